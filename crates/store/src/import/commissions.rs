//! Commissions: new ones are inserted, known ones must be what they were.

use std::collections::HashMap;

use payfleet_domain::{MAX_BALANCE_MINOR, Money, TenantId, look, look_key};
use rust_decimal::Decimal;
use sqlx::Row;
use sqlx::postgres::{PgConnection, PgRow};
use time::OffsetDateTime;
use tokio::sync::mpsc;

use super::change::Changes;
use super::copy::CopyRows;
use super::differing::differing;
use super::due::LastRun;
use super::problem::{Fault, ImportError, Problems};
use super::reversal::Reversal;
use super::same::{Scope, same_find};
use super::suspicion::{Repeats, SuspicionKind, Suspicions, number_of};
use super::{Feed, Imported, PROBLEMS_SHOWN, Terms, change, copy_feed, dates, due, reversal};
use crate::batch::currency;
use crate::connect::{Step, Store, StoreError};
use crate::locks::CUTOFF_LOCK;
use crate::row::from_row;

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
    /// How it stands to what was reversed.
    pub reversal: Reversal<'a>,
}

/// Some commissions, ready to be sent.
#[derive(Debug, Default)]
pub struct CommissionRows {
    rows: CopyRows,
    traits: Traits,
}

/// What is known of rows without looking at them once more.
#[derive(Debug, Default)]
struct Traits {
    /// Whether there is a clawback that names an order.
    has_clawbacks: bool,
    /// Whether there is one that takes another one back.
    has_reversals: bool,
    /// Whether there is one that counts only if it is known.
    has_only_known: bool,
    /// The first and the last.
    earned: Option<(OffsetDateTime, OffsetDateTime)>,
    /// Of each: its line, what it says but for its id, and what its id looks like.
    looks: Vec<(i64, i64, i64)>,
}

impl Traits {
    fn see(&mut self, first: OffsetDateTime, last: OffsetDateTime) {
        let (earliest, latest) = self.earned.unwrap_or((first, last));
        self.earned = Some((earliest.min(first), latest.max(last)));
    }
}

impl CommissionRows {
    /// Adds one.
    pub fn push(&mut self, row: &CommissionRow<'_>) {
        let (line, id_key) = (row.line.cast_signed(), look_key(row.id));
        let money = (row.amount.currency.code(), row.amount.minor);
        let same = number_of((look(row.affiliate), row.order_ref, money, row.earned_at.unix_timestamp_nanos()));
        self.traits.has_clawbacks |= row.amount.minor < 0 && !row.order_ref.is_empty();
        let Reversal { takes_back, taken_back_by, only_known } = row.reversal;
        self.traits.has_reversals |= takes_back.is_some();
        self.traits.has_only_known |= only_known;
        // What is known was looked at when it came.
        if !only_known {
            self.traits.see(row.earned_at, row.earned_at);
            self.traits.looks.push((line, same, id_key));
        }
        self.rows.row(|fields| {
            fields
                .bigint(line)
                .text(row.id)
                .text(row.affiliate)
                .text(row.order_ref)
                .text(row.amount.currency.code())
                .bigint(row.amount.minor)
                .timestamptz(row.earned_at)
                .bigint(id_key)
                .text_or_null(takes_back)
                .text_or_null(taken_back_by)
                .boolean(only_known);
        });
    }

    /// How large they are; to bound what is in memory.
    pub fn size(&self) -> usize {
        self.rows.bytes().len()
    }
}

impl Store {
    /// Imports a file of commissions. The same row again is a no-op; the same id with anything else is an error.
    pub async fn commissions_import(
        &self,
        tenant: &str,
        feed: mpsc::Receiver<Feed<CommissionRows>>,
    ) -> Result<Imported, ImportError> {
        self.commissions_import_on(tenant, Terms::default(), feed).await
    }

    /// The same on these terms.
    pub async fn commissions_import_on(
        &self,
        tenant: &str,
        terms: Terms,
        mut feed: mpsc::Receiver<Feed<CommissionRows>>,
    ) -> Result<Imported, ImportError> {
        let tenant = tenant.to_owned();
        let imported = self
            .import("commissions_import", terms, move |tx| {
                Box::pin(async move { import(tx, tenant, terms, &mut feed).await })
            })
            .await?;
        if !terms.dry_run {
            self.import_analyze(imported.new, "-- import_analyze\nANALYZE commission, account").await;
        }
        Ok(imported)
    }
}

async fn import(
    tx: &mut PgConnection,
    tenant: String,
    terms: Terms,
    feed: &mut mpsc::Receiver<Feed<CommissionRows>>,
) -> Result<Imported, ImportError> {
    sqlx::query(
        r#"-- import_commission_create
         CREATE TEMP TABLE import_commission (
           line bigint NOT NULL, external_id text COLLATE "C" NOT NULL, affiliate text NOT NULL,
             order_ref text NOT NULL,
           currency char(3) NOT NULL, amount_minor bigint NOT NULL, earned_at timestamptz NOT NULL,
           id_key bigint NOT NULL, takes_back text COLLATE "C", taken_back_by text COLLATE "C",
             only_known boolean NOT NULL) ON COMMIT DROP"#,
    )
    .execute(&mut *tx)
    .await
    .step("import_commission_create")?;
    let (mut traits, mut same, mut alike_ids) = (Traits::default(), Repeats::new(), Repeats::new());
    let copy = "-- import_commission_copy\nCOPY import_commission FROM STDIN WITH (FORMAT binary)";
    let copied = copy_feed(tx, "import_commission_copy", copy, feed, |chunk: CommissionRows| {
        traits.has_clawbacks |= chunk.traits.has_clawbacks;
        traits.has_reversals |= chunk.traits.has_reversals;
        traits.has_only_known |= chunk.traits.has_only_known;
        if let Some((first, last)) = chunk.traits.earned {
            traits.see(first, last);
        }
        for (line, says, id_key) in chunk.traits.looks {
            same.pass(says, line);
            alike_ids.pass(id_key, id_key);
        }
        chunk.rows
    })
    .await?;
    sqlx::query("-- import_commission_analyze\nANALYZE import_commission (external_id, affiliate)")
        .execute(&mut *tx)
        .await
        .step("import_commission_analyze")?;
    if let Some(earned) = traits.earned.filter(|_| !terms.allow_dates) {
        dates::far_refuse(tx, earned).await?;
    }

    // Only now the locks: a slow pipe must keep neither another import nor the fixing of a cutoff waiting. The tenant's
    // row makes imports of one tenant take turns, so that what is known cannot change between here and the end.
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
    let last = due::last_run(tx, id).await?;
    let last = last.as_ref();
    let left_out = if traits.has_only_known { reversal::unknown_leave_out(tx, id).await? } else { 0 };
    // Each of them with what takes it back.
    let rows = copied - 2 * left_out;

    volume_begin(tx, id).await?;
    let mut suspicions = match traits.earned {
        Some(earned) => {
            let scope = Scope { tenant: id, hold_days, last, earned, named: terms.named };
            same_find(tx, &scope, same, alike_ids).await?
        }
        None => Suspicions::default(),
    };
    let late = due::late_now(tx, id, last).await?;
    if terms.dry_run {
        change::late_rows_begin(tx, id, last).await?;
    }
    let clawbacks_may_move = due::orders_find(tx, id, last, traits.has_clawbacks).await?;
    let inserted = insert(tx, Target { tenant: id, hold_days, last }).await?;
    if clawbacks_may_move {
        due::clawbacks_meet(tx, id, last).await?;
    }
    if clawbacks_may_move || traits.has_reversals {
        reversal::due_with_its_own(tx, id, last, clawbacks_may_move).await?;
    }
    let new = inserted.iter().map(|one| one.rows).sum::<i64>().unsigned_abs();
    // Every row of a file that is new throughout was inserted; only if some were not is there anything to find out.
    if new != rows {
        let mut problems = Problems::default();
        unknown_affiliates(tx, id, &mut problems).await?;
        differing(tx, id, &mut problems).await?;
        problems.check()?;
        let again = sqlx::query(SAID_AGAIN).bind(terms.named).fetch_all(&mut *tx).await.step("import_said_again")?;
        suspicions.add(SuspicionKind::SaidAgain, &again)?;
        suspicions.add(SuspicionKind::Reversed, &reversal::said_again(tx, id, terms.named).await?)?;
    }
    balances_bound(tx, id, &inserted).await?;
    terms.refuse_if_strict(&suspicions)?;
    let late_rows = if terms.dry_run { change::late_rows(tx, id, last, terms.named).await? } else { Vec::new() };
    Ok(Imported {
        tenant: TenantId(id),
        tenant_is_new: false,
        hold_days: None,
        rows,
        new,
        updated: 0,
        unchanged: rows - new,
        left_out,
        controls: None,
        late: due::late_more(&late, due::late_now(tx, id, last).await?),
        newest: last.map(|last| (last.period.clone(), last.sequence)),
        suspicions,
        changes: Changes::default(),
        late_rows,
    })
}

/// Rows of the file whose id it has before. Those that differ are refused.
const SAID_AGAIN: &str = "-- import_said_again
  SELECT line, external_id AS id, external_id AS other, first AS other_line, count(*) OVER () AS total
    FROM (SELECT line, external_id, min(line) OVER (PARTITION BY external_id) AS first FROM import_commission) AS i
   WHERE line > first ORDER BY line LIMIT $1";

/// Where commissions go: whose, their hold period, and the newest run.
#[derive(Clone, Copy)]
struct Target<'a> {
    tenant: i32,
    hold_days: i32,
    last: Option<&'a LastRun>,
}

/// What was inserted in one currency.
struct Inserted {
    currency: String,
    rows: i64,
    /// The sum without signs.
    gross: Decimal,
}

from_row!(Inserted { currency, rows, gross });

/// Inserts what is not known yet, and returns how many, and how much.
///
/// Most files are new throughout, and looking up every id before inserting it takes a third longer. So that is done
/// only after the first id that is known, or there twice, was met without it.
async fn insert(tx: &mut PgConnection, target: Target<'_>) -> Result<Vec<Inserted>, StoreError> {
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

/// In the order in which plans read them, with the accounts that they need. Nobody else makes accounts of this tenant
/// meanwhile: its row is locked.
async fn insert_new(
    tx: &mut PgConnection,
    target: Target<'_>,
    on_conflict: &'static str,
) -> Result<Vec<Inserted>, StoreError> {
    let sql = format!(
        "-- commissions_insert
         WITH inserted AS (
           INSERT INTO commission
             (tenant_id, external_id, affiliate_id, currency, amount_minor, earned_at, due_at, late_for, kind,
               order_ref,
              id_key, takes_back)
           SELECT $1, c.external_id, a.id, c.currency, c.amount_minor, c.earned_at, c.due_at,
                  CASE WHEN c.due_at <= $4 THEN $3 + 1 END,
                  CASE WHEN c.amount_minor < 0 THEN 'clawback' ELSE 'sale' END, c.order_ref, c.id_key,
                  c.takes_back
             FROM (SELECT *, CASE WHEN amount_minor < 0 OR takes_back IS NOT NULL THEN earned_at
                                  ELSE earned_at + make_interval(days => $2) END AS due_at
                     FROM import_commission) AS c
             JOIN affiliate a ON a.tenant_id = $1 AND a.external_id = c.affiliate
            ORDER BY a.id, c.earned_at, c.external_id
           {on_conflict}
        RETURNING affiliate_id, currency, amount_minor),
         opened AS (
           INSERT INTO account (tenant_id, affiliate_id, currency)
           SELECT $1, i.affiliate_id, i.currency FROM (SELECT DISTINCT affiliate_id, currency FROM inserted) AS i
            WHERE NOT EXISTS (SELECT FROM account o WHERE o.tenant_id = $1 AND o.affiliate_id = i.affiliate_id
              AND o.currency = i.currency)
            ORDER BY 2, 3)
         SELECT currency, count(*) AS rows, sum(abs(amount_minor)) AS gross FROM inserted GROUP BY currency"
    );
    sqlx::query_as(sqlx::AssertSqlSafe(sql)) // only constants of this file
        .bind(target.tenant)
        .bind(target.hold_days)
        .bind(target.last.map(|last| last.ordinal))
        .bind(target.last.map(|last| last.cutoff))
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
          WHERE tenant_id = $1 AND NOT EXISTS (SELECT FROM tenant_volume WHERE tenant_id = $1)
            GROUP BY tenant_id, currency",
    )
    .bind(tenant)
    .execute(tx)
    .await
    .step("import_volume_begin")?;
    Ok(())
}

/// Keeps every balance below what can be told, whatever the order in which commissions become due. Accounts are looked
/// at one by one only where all of them together could be more.
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
         WITH said AS (SELECT external_id, min(line) AS line FROM import_commission WHERE currency = ANY($2)
           GROUP BY external_id),
         account AS (
           SELECT DISTINCT c.affiliate_id, c.currency FROM said s JOIN commission c ON c.tenant_id = $1
             AND c.external_id = s.external_id),
         gross AS (
           SELECT s.line, c.affiliate_id, c.currency, c.amount_minor, sum(abs(c.amount_minor)) OVER so_far AS minor,
             sum(c.amount_minor) OVER so_far AS net
             FROM account a JOIN commission c ON c.tenant_id = $1 AND c.affiliate_id = a.affiliate_id
               AND c.currency = a.currency
             LEFT JOIN said s ON s.external_id = c.external_id
           WINDOW so_far AS (PARTITION BY c.affiliate_id, c.currency ORDER BY s.line NULLS FIRST, c.external_id))
         SELECT g.line, a.external_id, g.currency, count(*) OVER () AS total
           FROM gross g JOIN affiliate a ON a.tenant_id = $1 AND a.id = g.affiliate_id
          -- What brings the sum nearer to zero is how too much is taken back.
          WHERE g.minor > $3 AND abs(g.net) >= abs(g.net - g.amount_minor) AND g.line IS NOT NULL ORDER BY g.line
            LIMIT $4",
    )
    .bind(tenant)
    .bind(beyond)
    .bind(MAX_BALANCE_MINOR)
    .bind(PROBLEMS_SHOWN as i64)
    .fetch_all(tx)
    .await
    .step(step)?;
    let mut problems = Problems::default();
    problems.add(&rows, |row| {
        let id = row.try_get("external_id").step(step)?;
        let most = Money { minor: MAX_BALANCE_MINOR, currency: currency(row, "currency")? }.to_string();
        Ok(("amount", Fault::BalanceOutOfRange { id, most }))
    })?;
    problems.check()
}

/// With the ids that look like theirs, if there are any.
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
    .fetch_all(&mut *tx)
    .await
    .step(step)?;
    let id = |row: &PgRow| row.try_get::<String, _>("affiliate").step(step);
    let keys = rows.iter().map(|row| Ok(look_key(&id(row)?))).collect::<Result<Vec<i64>, StoreError>>()?;
    let alike: HashMap<i64, String> = sqlx::query_as(
        "-- import_affiliates_alike
         SELECT id_key, min(external_id) FROM affiliate WHERE tenant_id = $1 AND id_key = ANY($2) GROUP BY id_key",
    )
    .bind(tenant)
    .bind(keys)
    .fetch_all(tx)
    .await
    .step("import_affiliates_alike")?
    .into_iter()
    .collect();
    problems.add(&rows, |row| {
        let id = id(row)?;
        Ok(("affiliate_id", Fault::UnknownAffiliate { alike: alike.get(&look_key(&id)).cloned(), id }))
    })
}
