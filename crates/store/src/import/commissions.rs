//! Commissions: new ones are inserted, known ones must be what they were.

use payfleet_domain::{MAX_BALANCE_MINOR, Money, TenantId};
use rust_decimal::Decimal;
use sqlx::Row;
use sqlx::postgres::{PgConnection, PgRow};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::mpsc;

use super::copy::CopyRows;
use super::problem::{Fault, ImportError, Problems, RowProblem};
use super::{Feed, Imported, PROBLEMS_SHOWN, copy_feed};
use crate::batch::currency;
use crate::connect::{Step, Store, StoreError};
use crate::locks::CUTOFF_LOCK;

/// One earning, or a clawback (negative).
#[derive(Debug, Clone, Copy)]
pub struct CommissionRow<'a> {
    /// Where it is in the file.
    pub line: u64,
    /// The tenant's own name for it.
    pub id: &'a str,
    /// The tenant's own name for the affiliate.
    pub affiliate: &'a str,
    /// What it was earned by.
    pub order_ref: &'a str,
    /// How much; not zero.
    pub amount: Money,
    /// When.
    pub earned_at: OffsetDateTime,
}

/// Some commissions, ready to be sent.
#[derive(Debug, Default)]
pub struct CommissionRows(CopyRows);

impl CommissionRows {
    /// Adds one.
    pub fn push(&mut self, row: &CommissionRow<'_>) {
        self.0
            .row(7)
            .bigint(row.line.cast_signed())
            .text(row.id)
            .text(row.affiliate)
            .text(row.order_ref)
            .text(row.amount.currency.code())
            .bigint(row.amount.minor)
            .timestamptz(row.earned_at);
    }

    /// How large they are; to bound what is in memory.
    pub fn size(&self) -> usize {
        self.0.bytes().len()
    }
}

impl From<CommissionRows> for CopyRows {
    fn from(rows: CommissionRows) -> CopyRows {
        rows.0
    }
}

impl Store {
    /// Imports a file of commissions. The same row again is a no-op; the same id with anything else is an error.
    pub async fn commissions_import(
        &self,
        tenant: &str,
        mut feed: mpsc::Receiver<Feed<CommissionRows>>,
    ) -> Result<Imported, ImportError> {
        let tenant = tenant.to_owned();
        let imported = self
            .import("commissions_import", move |tx| Box::pin(async move { import(tx, tenant, &mut feed).await }))
            .await?;
        self.import_analyze(imported.new, "-- import_analyze\nANALYZE commission, account").await;
        Ok(imported)
    }
}

async fn import(
    tx: &mut PgConnection,
    tenant: String,
    feed: &mut mpsc::Receiver<Feed<CommissionRows>>,
) -> Result<Imported, ImportError> {
    sqlx::query(
        r#"-- import_commission_create
         CREATE TEMP TABLE import_commission (
           line bigint NOT NULL, external_id text COLLATE "C" NOT NULL, affiliate text NOT NULL, order_ref text NOT NULL,
           currency char(3) NOT NULL, amount_minor bigint NOT NULL, earned_at timestamptz NOT NULL) ON COMMIT DROP"#,
    )
    .execute(&mut *tx)
    .await
    .step("import_commission_create")?;
    let rows = copy_feed(
        tx,
        "import_commission_copy",
        "-- import_commission_copy\nCOPY import_commission FROM STDIN WITH (FORMAT binary)",
        feed,
    )
    .await?;
    sqlx::query("-- import_commission_analyze\nANALYZE import_commission (external_id, affiliate)")
        .execute(&mut *tx)
        .await
        .step("import_commission_analyze")?;

    // Only now the locks: a slow pipe must keep neither another import nor the fixing of a cutoff waiting. The tenant's row makes imports of one
    // tenant take turns, so that what is known cannot change between here and the end.
    let found: Option<(i32, i32)> =
        sqlx::query_as("-- import_tenant_lock\nSELECT id, hold_days FROM tenant WHERE name = $1 FOR NO KEY UPDATE")
            .bind(&tenant)
            .fetch_optional(&mut *tx)
            .await
            .step("import_tenant_lock")?;
    let Some((id, hold_days)) = found else { return Err(ImportError::UnknownTenant(tenant)) };
    sqlx::query("-- import_cutoff_lock\nSELECT pg_advisory_xact_lock_shared($1, $2)")
        .bind(CUTOFF_LOCK)
        .bind(id)
        .execute(&mut *tx)
        .await
        .step("import_cutoff_lock")?;
    // A statement of its own, after the lock: a run whose creation we waited for must be seen.
    let last: Option<(i32, OffsetDateTime)> = sqlx::query_as(
        "-- import_last_run\nSELECT ordinal, cutoff FROM run WHERE tenant_id = $1 ORDER BY ordinal DESC LIMIT 1",
    )
    .bind(id)
    .fetch_optional(&mut *tx)
    .await
    .step("import_last_run")?;

    volume_begin(tx, id).await?;
    let inserted = insert(tx, Target { tenant: id, hold_days, last }).await?;
    let new = inserted.iter().map(|one| one.rows).sum::<i64>().unsigned_abs();
    // Every row of a file that is new throughout was inserted; only if some were not is there anything to find out.
    if new != rows {
        let mut problems = Problems::default();
        unknown_affiliates(tx, id, &mut problems).await?;
        differing(tx, id, &mut problems).await?;
        problems.check()?;
    }
    balances_bound(tx, id, &inserted).await?;
    Ok(Imported {
        tenant: TenantId(id),
        tenant_is_new: false,
        rows,
        new,
        updated: 0,
        unchanged: rows - new,
        controls: None,
    })
}

/// Where commissions go: whose, their hold period, and the newest run.
#[derive(Clone, Copy)]
struct Target {
    tenant: i32,
    hold_days: i32,
    last: Option<(i32, OffsetDateTime)>,
}

/// What was inserted in one currency.
#[derive(sqlx::FromRow)]
struct Inserted {
    currency: String,
    rows: i64,
    /// The sum without signs.
    gross: Decimal,
}

/// Inserts what is not known yet, and returns how many, and how much.
///
/// Most files are new throughout, and looking up every id before inserting it takes a third longer. So that is done only after the first id that
/// is known, or there twice, was met without it.
async fn insert(tx: &mut PgConnection, target: Target) -> Result<Vec<Inserted>, StoreError> {
    sqlx::query("-- import_savepoint\nSAVEPOINT import_insert").execute(&mut *tx).await.step("import_savepoint")?;
    match insert_new(tx, target, "").await {
        Err(error) if error.sqlstate().is_some_and(|code| code == UNIQUE_VIOLATION) => {
            sqlx::query("-- import_savepoint_back\nROLLBACK TO SAVEPOINT import_insert")
                .execute(&mut *tx)
                .await
                .step("import_savepoint_back")?;
            insert_new(tx, target, "ON CONFLICT (tenant_id, external_id) DO NOTHING").await
        }
        result => result,
    }
}

const UNIQUE_VIOLATION: &str = "23505";

/// In the order in which plans read them, with the accounts that they need. Nobody else makes accounts of this tenant meanwhile: its row is locked.
async fn insert_new(
    tx: &mut PgConnection,
    target: Target,
    on_conflict: &'static str,
) -> Result<Vec<Inserted>, StoreError> {
    let sql = format!(
        "-- commissions_insert
         WITH inserted AS (
           INSERT INTO commission (tenant_id, external_id, affiliate_id, currency, amount_minor, earned_at, due_at, late_for, kind, order_ref)
           SELECT $1, c.external_id, a.id, c.currency, c.amount_minor, c.earned_at, c.earned_at + make_interval(days => $2),
                  CASE WHEN c.earned_at + make_interval(days => $2) <= $4 THEN $3 + 1 END,
                  CASE WHEN c.amount_minor < 0 THEN 'clawback' ELSE 'sale' END, c.order_ref
             FROM import_commission c JOIN affiliate a ON a.tenant_id = $1 AND a.external_id = c.affiliate
            ORDER BY a.id, c.earned_at, c.external_id
           {on_conflict}
        RETURNING affiliate_id, currency, amount_minor),
         opened AS (
           INSERT INTO account (tenant_id, affiliate_id, currency)
           SELECT $1, i.affiliate_id, i.currency FROM (SELECT DISTINCT affiliate_id, currency FROM inserted) AS i
            WHERE NOT EXISTS (SELECT FROM account o WHERE o.tenant_id = $1 AND o.affiliate_id = i.affiliate_id AND o.currency = i.currency)
            ORDER BY 2, 3)
         SELECT currency, count(*) AS rows, sum(abs(amount_minor)) AS gross FROM inserted GROUP BY currency"
    );
    sqlx::query_as(sqlx::AssertSqlSafe(sql)) // only constants of this file
        .bind(target.tenant)
        .bind(target.hold_days)
        .bind(target.last.map(|(ordinal, _)| ordinal))
        .bind(target.last.map(|(_, cutoff)| cutoff))
        .fetch_all(tx)
        .await
        .step("commissions_insert")
}

/// Counts once what a tenant imported before volumes were counted.
async fn volume_begin(tx: &mut PgConnection, tenant: i32) -> Result<(), StoreError> {
    sqlx::query(
        "-- import_volume_begin
         INSERT INTO tenant_volume (tenant_id, currency, gross_minor)
         SELECT tenant_id, currency, sum(abs(amount_minor)) FROM commission
          WHERE tenant_id = $1 AND NOT EXISTS (SELECT FROM tenant_volume WHERE tenant_id = $1) GROUP BY tenant_id, currency",
    )
    .bind(tenant)
    .execute(tx)
    .await
    .step("import_volume_begin")?;
    Ok(())
}

/// Keeps every balance below what can be told, whatever the order in which commissions become due. Accounts are looked at one by one only where all
/// of them together could be more.
async fn balances_bound(tx: &mut PgConnection, tenant: i32, inserted: &[Inserted]) -> Result<(), ImportError> {
    let beyond: Vec<String> = sqlx::query_scalar(
        "-- import_volume_add
         WITH volume AS (
           INSERT INTO tenant_volume AS v (tenant_id, currency, gross_minor)
           SELECT $1, i.currency, i.gross FROM unnest($2::text[], $3::numeric[]) AS i (currency, gross) ORDER BY 2
               ON CONFLICT (tenant_id, currency) DO UPDATE SET gross_minor = v.gross_minor + excluded.gross_minor
        RETURNING currency, gross_minor)
         SELECT currency FROM volume WHERE gross_minor > $4",
    )
    .bind(tenant)
    .bind(inserted.iter().map(|one| one.currency.clone()).collect::<Vec<_>>())
    .bind(inserted.iter().map(|one| one.gross).collect::<Vec<_>>())
    .bind(MAX_BALANCE_MINOR)
    .fetch_all(&mut *tx)
    .await
    .step("import_volume_add")?;
    if beyond.is_empty() {
        return Ok(());
    }
    let step = "import_balances_beyond";
    let rows = sqlx::query(
        "-- import_balances_beyond
         WITH said AS (SELECT external_id, min(line) AS line FROM import_commission WHERE currency = ANY($2) GROUP BY external_id),
         account AS (
           SELECT DISTINCT c.affiliate_id, c.currency FROM said s JOIN commission c ON c.tenant_id = $1 AND c.external_id = s.external_id),
         gross AS (
           SELECT s.line, c.affiliate_id, c.currency, c.amount_minor, sum(abs(c.amount_minor)) OVER so_far AS minor, sum(c.amount_minor) OVER so_far AS net
             FROM account a JOIN commission c ON c.tenant_id = $1 AND c.affiliate_id = a.affiliate_id AND c.currency = a.currency
             LEFT JOIN said s ON s.external_id = c.external_id
           WINDOW so_far AS (PARTITION BY c.affiliate_id, c.currency ORDER BY s.line NULLS FIRST, c.external_id))
         SELECT g.line, a.external_id, g.currency, count(*) OVER () AS total
           FROM gross g JOIN affiliate a ON a.tenant_id = $1 AND a.id = g.affiliate_id
          -- What brings the sum nearer to zero is how too much is taken back.
          WHERE g.minor > $3 AND abs(g.net) >= abs(g.net - g.amount_minor) AND g.line IS NOT NULL ORDER BY g.line LIMIT $4",
    )
    .bind(tenant)
    .bind(beyond)
    .bind(MAX_BALANCE_MINOR)
    .bind(PROBLEMS_SHOWN as i64)
    .fetch_all(tx)
    .await
    .step(step)?;
    let found = rows
        .iter()
        .map(|row| {
            Ok(RowProblem {
                line: row.try_get::<i64, _>("line").step(step)?.unsigned_abs(),
                field: "amount",
                fault: Fault::BalanceOutOfRange {
                    id: row.try_get("external_id").step(step)?,
                    most: Money { minor: MAX_BALANCE_MINOR, currency: currency(row, "currency")? }.to_string(),
                },
            })
        })
        .collect::<Result<_, StoreError>>()?;
    let mut problems = Problems::default();
    problems.add(found, total(&rows)?);
    problems.check()
}

async fn unknown_affiliates(tx: &mut PgConnection, tenant: i32, problems: &mut Problems) -> Result<(), StoreError> {
    let step = "import_unknown_affiliates";
    let rows = sqlx::query(
        "-- import_unknown_affiliates
         SELECT c.line, c.affiliate, count(*) OVER () AS total FROM import_commission c
          WHERE NOT EXISTS (SELECT FROM affiliate a WHERE a.tenant_id = $1 AND a.external_id = c.affiliate)
          ORDER BY c.line LIMIT $2",
    )
    .bind(tenant)
    .bind(PROBLEMS_SHOWN as i64)
    .fetch_all(tx)
    .await
    .step(step)?;
    let found = rows
        .iter()
        .map(|row| {
            Ok(RowProblem {
                line: row.try_get::<i64, _>("line").step(step)?.unsigned_abs(),
                field: "affiliate_id",
                fault: Fault::UnknownAffiliate(row.try_get("affiliate").step(step)?),
            })
        })
        .collect::<Result<_, StoreError>>()?;
    problems.add(found, total(&rows)?);
    Ok(())
}

/// Rows that are not what is stored under their id. What is stored may be an earlier line of this very file: then that line is named.
async fn differing(tx: &mut PgConnection, tenant: i32, problems: &mut Problems) -> Result<(), StoreError> {
    let rows = sqlx::query(
        "-- import_differing
         WITH differs AS MATERIALIZED (
           SELECT DISTINCT i.external_id FROM import_commission i
             JOIN commission c ON c.tenant_id = $1 AND c.external_id = i.external_id
             JOIN affiliate a ON a.tenant_id = $1 AND a.id = c.affiliate_id
            WHERE (a.external_id, c.currency, c.amount_minor, c.earned_at, c.order_ref)
               IS DISTINCT FROM (i.affiliate, i.currency, i.amount_minor, i.earned_at, i.order_ref)),
         said AS MATERIALIZED (
           SELECT i.*, first_value(i.line) OVER (PARTITION BY external_id ORDER BY i.line) AS first_line
             FROM import_commission i JOIN differs USING (external_id)),
         -- Against the first line of the same id, if the file contradicts itself.
         within AS (
           SELECT s.*, f.line AS other_line, f.affiliate AS other_affiliate, f.currency AS other_currency, f.amount_minor AS other_minor,
                  f.earned_at AS other_earned_at, f.order_ref AS other_order_ref
             FROM said s JOIN said f ON f.external_id = s.external_id AND f.line = s.first_line
            WHERE s.line <> f.line AND (s.affiliate, s.currency, s.amount_minor, s.earned_at, s.order_ref)
                   IS DISTINCT FROM (f.affiliate, f.currency, f.amount_minor, f.earned_at, f.order_ref)),
         before AS (
           SELECT s.*, NULL::bigint AS other_line, a.external_id AS other_affiliate, c.currency AS other_currency, c.amount_minor AS other_minor,
                  c.earned_at AS other_earned_at, c.order_ref AS other_order_ref
             FROM said s
             JOIN commission c ON c.tenant_id = $1 AND c.external_id = s.external_id
             JOIN affiliate a ON a.tenant_id = $1 AND a.id = c.affiliate_id
            WHERE NOT EXISTS (SELECT FROM within w WHERE w.external_id = s.external_id)
              AND (a.external_id, c.currency, c.amount_minor, c.earned_at, c.order_ref)
               IS DISTINCT FROM (s.affiliate, s.currency, s.amount_minor, s.earned_at, s.order_ref))
         SELECT *, count(*) OVER () AS total FROM (SELECT * FROM within UNION ALL SELECT * FROM before) AS found
          ORDER BY line LIMIT $2",
    )
    .bind(tenant)
    .bind(PROBLEMS_SHOWN as i64)
    .fetch_all(tx)
    .await
    .step("import_differing")?;
    problems.add(rows.iter().map(difference).collect::<Result<_, _>>()?, total(&rows)?);
    Ok(())
}

pub(super) fn total(rows: &[PgRow]) -> Result<u64, StoreError> {
    let total = rows.first().map(|row| row.try_get::<i64, _>("total")).transpose().step("import_total")?;
    Ok(total.unwrap_or(0).unsigned_abs())
}

/// The first field in which a row and the other one differ.
fn difference(row: &PgRow) -> Result<RowProblem, StoreError> {
    let step = "import_differing";
    let text = |column: &str| row.try_get::<String, _>(column).step(step);
    let money = |minor: &str, code: &str| {
        Ok::<_, StoreError>(Money { minor: row.try_get(minor).step(step)?, currency: currency(row, code)? }.to_string())
    };
    let instant = |column: &str| {
        let at: OffsetDateTime = row.try_get(column).step(step)?;
        at.format(&Rfc3339).map_err(|error| StoreError::Broken(format!("{at}: {error}")))
    };
    let fields = [
        ("affiliate_id", text("affiliate")?, text("other_affiliate")?),
        ("currency", text("currency")?, text("other_currency")?),
        ("amount", money("amount_minor", "currency")?, money("other_minor", "other_currency")?),
        ("earned_at", instant("earned_at")?, instant("other_earned_at")?),
        ("order_ref", text("order_ref")?, text("other_order_ref")?),
    ];
    let (field, given, other) = fields
        .into_iter()
        .find(|(_, given, other)| given != other)
        .ok_or_else(|| StoreError::Broken("two rows that differ are the same".into()))?;
    let id = text("external_id")?;
    let other_line: Option<i64> = row.try_get("other_line").step(step)?;
    let fault = match other_line {
        Some(line) => Fault::DiffersFromLine { id, line: line.unsigned_abs(), other, given },
        None => Fault::DiffersFromStored { id, stored: other, given },
    };
    Ok(RowProblem { line: row.try_get::<i64, _>("line").step(step)?.unsigned_abs(), field, fault })
}
