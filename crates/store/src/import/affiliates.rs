//! Affiliates and where they can be paid: new ones are inserted, changed ones updated. A payout method never changes its destination: another
//! one is another row, and the old one is retired.

use payfleet_domain::{Currency, TenantId};
use sqlx::Row;
use sqlx::postgres::PgConnection;
use tokio::sync::mpsc;

use super::commissions::total;
use super::copy::CopyRows;
use super::problem::{Fault, ImportError, Problems, RowProblem};
use super::{Feed, Imported, PROBLEMS_SHOWN, copy_feed};
use crate::connect::{Step, Store, StoreError};

/// An affiliate with one of its payout methods, or with none.
#[derive(Debug, Clone, Copy)]
pub struct AffiliateRow<'a> {
    /// Where it is in the file.
    pub line: u64,
    /// The tenant's own name for the affiliate.
    pub id: &'a str,
    /// Its name.
    pub name: &'a str,
    /// Its e-mail address.
    pub email: &'a str,
    /// Where it is.
    pub country: &'a str,
    /// What it is usually paid in.
    pub currency: Currency,
    /// Whether it is not to be paid for now; `None` leaves that as it is.
    pub on_hold: Option<bool>,
    /// The method of this priority and its destination in normal form; `None` retires the method that had it.
    pub method: Option<(&'a str, &'a str)>,
    /// Methods are tried from the lowest up.
    pub priority: i16,
    /// The least and the most that the method is used for, in minor units of the affiliate's currency; `None` leaves both as they are.
    pub limits: Option<(Option<i64>, Option<i64>)>,
}

/// Some affiliates, ready to be sent.
#[derive(Debug, Default)]
pub struct AffiliateRows(CopyRows);

impl AffiliateRows {
    /// Adds one.
    pub fn push(&mut self, row: &AffiliateRow<'_>) {
        let rows = &mut self.0;
        rows.row(13).bigint(row.line.cast_signed()).text(row.id).text(row.name).text(row.email).text(row.country);
        rows.text(row.currency.code());
        match row.on_hold {
            Some(on_hold) => rows.boolean(on_hold),
            None => rows.null(),
        };
        match row.method {
            Some((method, destination)) => rows.text(method).text(destination),
            None => rows.null().null(),
        };
        rows.smallint(row.priority).boolean(row.limits.is_some());
        let (min, max) = row.limits.unwrap_or_default();
        for limit in [min, max] {
            match limit {
                Some(minor) => rows.bigint(minor),
                None => rows.null(),
            };
        }
    }

    /// How large they are; to bound what is in memory.
    pub fn size(&self) -> usize {
        self.0.bytes().len()
    }
}

impl From<AffiliateRows> for CopyRows {
    fn from(rows: AffiliateRows) -> CopyRows {
        rows.0
    }
}

/// Where a file of affiliates goes.
#[derive(Debug, Clone)]
pub struct AffiliatesTarget {
    /// The tenant; it is made if there is none of this name.
    pub tenant: String,
    /// Days until a commission is due, from now on; `None` leaves that as it is.
    pub hold_days: Option<i32>,
}

impl Store {
    /// Imports a file of affiliates.
    pub async fn affiliates_import(
        &self,
        target: AffiliatesTarget,
        mut feed: mpsc::Receiver<Feed<AffiliateRows>>,
    ) -> Result<Imported, ImportError> {
        let imported = self
            .import("affiliates_import", move |tx| Box::pin(async move { import(tx, target, &mut feed).await }))
            .await?;
        self.import_analyze(imported.new + imported.updated, "-- import_analyze\nANALYZE affiliate, payout_method")
            .await;
        Ok(imported)
    }
}

async fn import(
    tx: &mut PgConnection,
    target: AffiliatesTarget,
    feed: &mut mpsc::Receiver<Feed<AffiliateRows>>,
) -> Result<Imported, ImportError> {
    sqlx::raw_sql(
        "-- import_affiliate_create
         CREATE TEMP TABLE import_affiliate (
           line bigint NOT NULL, external_id text NOT NULL, name text NOT NULL, email text NOT NULL, country text NOT NULL,
           currency char(3) NOT NULL, on_hold boolean, method text, destination text, priority smallint NOT NULL,
           says_limits boolean NOT NULL, min_minor bigint, max_minor bigint) ON COMMIT DROP;
         CREATE TEMP TABLE import_new (affiliate_id bigint NOT NULL) ON COMMIT DROP;
         CREATE TEMP TABLE import_changed (affiliate_id bigint NOT NULL) ON COMMIT DROP",
    )
    .execute(&mut *tx)
    .await
    .step("import_affiliate_create")?;
    let rows = copy_feed(
        tx,
        "import_affiliate_copy",
        "-- import_affiliate_copy\nCOPY import_affiliate FROM STDIN WITH (FORMAT binary)",
        feed,
    )
    .await?;
    sqlx::query("-- import_affiliate_analyze\nANALYZE import_affiliate (external_id)")
        .execute(&mut *tx)
        .await
        .step("import_affiliate_analyze")?;

    // The tenant's row is locked from here on: imports of one tenant take turns.
    let (tenant, tenant_is_new): (i32, bool) = sqlx::query_as(
        "-- import_tenant_ensure
         INSERT INTO tenant (name, hold_days) VALUES ($1, coalesce($2, 0))
             ON CONFLICT (name) DO UPDATE SET hold_days = coalesce($2, tenant.hold_days) RETURNING id, xmax = 0",
    )
    .bind(&target.tenant)
    .bind(target.hold_days)
    .fetch_one(&mut *tx)
    .await
    .step("import_tenant_ensure")?;

    let mut problems = Problems::default();
    contradictions(tx, &mut problems).await?;
    problems.check()?;
    let new = run(tx, "affiliates_insert", AFFILIATES_INSERT, tenant).await?;
    run(tx, "affiliates_update", AFFILIATES_UPDATE, tenant).await?;
    run(tx, "methods_retire", METHODS_RETIRE, tenant).await?;
    run(tx, "methods_limit", METHODS_LIMIT, tenant).await?;
    let mut problems = Problems::default();
    destinations_twice(tx, tenant, &mut problems).await?;
    problems.check()?;
    run(tx, "methods_insert", METHODS_INSERT, tenant).await?;
    let updated: i64 = sqlx::query_scalar(
        "-- import_affiliates_changed
         SELECT count(DISTINCT c.affiliate_id) FROM import_changed c
          WHERE NOT EXISTS (SELECT FROM import_new n WHERE n.affiliate_id = c.affiliate_id)",
    )
    .fetch_one(&mut *tx)
    .await
    .step("import_affiliates_changed")?;
    let updated = updated.unsigned_abs();
    let known: i64 =
        sqlx::query_scalar("-- import_affiliates_count\nSELECT count(DISTINCT external_id) FROM import_affiliate")
            .fetch_one(&mut *tx)
            .await
            .step("import_affiliates_count")?;
    Ok(Imported {
        tenant: TenantId(tenant),
        tenant_is_new,
        rows,
        new,
        updated,
        unchanged: known.unsigned_abs() - new - updated,
    })
}

async fn run(
    tx: &mut PgConnection,
    step: &'static str,
    statement: &'static str,
    tenant: i32,
) -> Result<u64, StoreError> {
    let done = sqlx::query(statement).bind(tenant).execute(tx).await.step(step)?;
    Ok(done.rows_affected())
}

/// In the order of the file, so that the numbers of affiliates follow it.
const AFFILIATES_INSERT: &str = "-- affiliates_insert
  WITH inserted AS (
    INSERT INTO affiliate (tenant_id, external_id, name, email, country, currency, on_hold)
    SELECT $1, i.external_id, i.name, i.email, i.country, i.currency, coalesce(i.on_hold, false)
      FROM import_affiliate i
     WHERE NOT EXISTS (SELECT FROM affiliate a WHERE a.tenant_id = $1 AND a.external_id = i.external_id)
     ORDER BY i.line
        ON CONFLICT (tenant_id, external_id) DO NOTHING
 RETURNING id)
  INSERT INTO import_new SELECT id FROM inserted";

const AFFILIATES_UPDATE: &str = "-- affiliates_update
  WITH changed AS (
    UPDATE affiliate a
       SET name = i.name, email = i.email, country = i.country, currency = i.currency, on_hold = coalesce(i.on_hold, a.on_hold)
      FROM import_affiliate i
     WHERE a.tenant_id = $1 AND a.external_id = i.external_id
       AND (a.name, a.email, a.country, a.currency, a.on_hold)
        IS DISTINCT FROM (i.name, i.email, i.country, i.currency, coalesce(i.on_hold, a.on_hold))
 RETURNING a.id)
  INSERT INTO import_changed SELECT id FROM changed";

const METHODS_RETIRE: &str = "-- methods_retire
  WITH changed AS (
    UPDATE payout_method m SET retired_at = clock_timestamp()
      FROM import_affiliate i JOIN affiliate a ON a.tenant_id = $1 AND a.external_id = i.external_id
     WHERE m.tenant_id = $1 AND m.affiliate_id = a.id AND m.priority = i.priority AND m.retired_at IS NULL
       AND (m.method, m.destination) IS DISTINCT FROM (i.method, i.destination)
 RETURNING m.affiliate_id)
  INSERT INTO import_changed SELECT affiliate_id FROM changed";

const METHODS_LIMIT: &str = "-- methods_limit
  WITH changed AS (
    UPDATE payout_method m SET min_minor = i.min_minor, max_minor = i.max_minor
      FROM import_affiliate i JOIN affiliate a ON a.tenant_id = $1 AND a.external_id = i.external_id
     WHERE i.says_limits AND m.tenant_id = $1 AND m.affiliate_id = a.id AND m.priority = i.priority AND m.retired_at IS NULL
       AND (m.min_minor, m.max_minor) IS DISTINCT FROM (i.min_minor, i.max_minor)
 RETURNING m.affiliate_id)
  INSERT INTO import_changed SELECT affiliate_id FROM changed";

const METHODS_INSERT: &str = "-- methods_insert
  WITH changed AS (
    INSERT INTO payout_method (tenant_id, affiliate_id, method, destination, priority, min_minor, max_minor)
    SELECT $1, i.id, i.method, i.destination, i.priority, i.min_minor, i.max_minor
      FROM (SELECT DISTINCT a.id, i.method, i.destination, i.priority, i.min_minor, i.max_minor
              FROM import_affiliate i JOIN affiliate a ON a.tenant_id = $1 AND a.external_id = i.external_id
             WHERE i.method IS NOT NULL) AS i
     WHERE NOT EXISTS (SELECT FROM payout_method m
                        WHERE m.tenant_id = $1 AND m.affiliate_id = i.id AND m.priority = i.priority AND m.retired_at IS NULL)
     ORDER BY i.id, i.priority
 RETURNING affiliate_id)
  INSERT INTO import_changed SELECT affiliate_id FROM changed";

/// The columns that say something about the affiliate and must be the same on each of its lines, then those of one priority.
const OF_AFFILIATE: [&str; 5] = ["name", "email", "country", "currency", "on_hold"];
const OF_METHOD: [&str; 4] = ["method", "destination", "min_minor", "max_minor"];

/// Lines of one affiliate that say different things.
async fn contradictions(tx: &mut PgConnection, problems: &mut Problems) -> Result<(), StoreError> {
    let repeated: bool = sqlx::query_scalar(
        "-- import_affiliates_repeated
         SELECT EXISTS (SELECT FROM import_affiliate GROUP BY external_id HAVING count(*) > 1)",
    )
    .fetch_one(&mut *tx)
    .await
    .step("import_affiliates_repeated")?;
    if !repeated {
        return Ok(());
    }
    contradicting(tx, "external_id", &OF_AFFILIATE, problems).await?;
    contradicting(tx, "external_id, priority", &OF_METHOD, problems).await?;
    // One destination under two priorities of the file: which one counts?
    contradicting(tx, "external_id, method, destination", &["priority"], problems).await
}

/// Lines that differ in `columns` from the first line with the same `key`.
async fn contradicting(
    tx: &mut PgConnection,
    key: &'static str,
    columns: &'static [&'static str],
    problems: &mut Problems,
) -> Result<(), StoreError> {
    let step = "import_contradicting";
    let of = |alias: &str, cast: &str| {
        columns.iter().map(|column| format!("{alias}.{column}{cast}")).collect::<Vec<_>>().join(", ")
    };
    let sql = format!(
        "-- import_contradicting
         WITH said AS (
           SELECT *, first_value(line) OVER (PARTITION BY {key} ORDER BY line) AS first_line, count(*) OVER (PARTITION BY {key}) AS times
             FROM import_affiliate WHERE '{key}' NOT LIKE '%method%' OR method IS NOT NULL)
         SELECT s.line, f.line AS other_line, s.external_id, ARRAY[{}]::text[] AS given, ARRAY[{}]::text[] AS other, count(*) OVER () AS total
           FROM said s JOIN import_affiliate f ON f.line = s.first_line
          WHERE s.times > 1 AND s.line <> s.first_line AND ROW({}) IS DISTINCT FROM ROW({})
          ORDER BY s.line LIMIT $1",
        of("s", "::text"),
        of("f", "::text"),
        of("s", ""),
        of("f", ""),
    );
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql)) // only constants of this file
        .bind(PROBLEMS_SHOWN as i64)
        .fetch_all(tx)
        .await
        .step(step)?;
    let found = rows
        .iter()
        .map(|row| {
            let given: Vec<Option<String>> = row.try_get("given").step(step)?;
            let other: Vec<Option<String>> = row.try_get("other").step(step)?;
            let at = given
                .iter()
                .zip(&other)
                .position(|(given, other)| given != other)
                .ok_or_else(|| StoreError::Broken("two rows that differ are the same".into()))?;
            let show = |value: &Option<String>| match value {
                Some(text) if !text.is_empty() => format!("`{text}`"),
                _ => "nothing".to_owned(),
            };
            Ok(RowProblem {
                line: row.try_get::<i64, _>("line").step(step)?.unsigned_abs(),
                field: match columns[at] {
                    "min_minor" => "min",
                    "max_minor" => "max",
                    column => column,
                },
                fault: Fault::DiffersFromLine {
                    id: row.try_get("external_id").step(step)?,
                    line: row.try_get::<i64, _>("other_line").step(step)?.unsigned_abs(),
                    other: show(&other[at]),
                    given: show(&given[at]),
                },
            })
        })
        .collect::<Result<_, StoreError>>()?;
    problems.add(found, total(&rows)?);
    Ok(())
}

/// Destinations that an affiliate has already, under a priority that the file does not mention.
async fn destinations_twice(tx: &mut PgConnection, tenant: i32, problems: &mut Problems) -> Result<(), StoreError> {
    let step = "import_destinations_twice";
    let rows = sqlx::query(
        "-- import_destinations_twice
         SELECT i.line, i.external_id, m.priority, count(*) OVER () AS total
           FROM import_affiliate i
           JOIN affiliate a ON a.tenant_id = $1 AND a.external_id = i.external_id
           JOIN payout_method m ON m.tenant_id = $1 AND m.affiliate_id = a.id AND m.method = i.method AND m.destination = i.destination
                               AND m.priority <> i.priority AND m.retired_at IS NULL
          ORDER BY i.line LIMIT $2",
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
                field: "destination",
                fault: Fault::DestinationTwice {
                    id: row.try_get("external_id").step(step)?,
                    stored: row.try_get("priority").step(step)?,
                },
            })
        })
        .collect::<Result<_, StoreError>>()?;
    problems.add(found, total(&rows)?);
    Ok(())
}
