//! What a dry run shows by name: what a file of affiliates would change, and which commissions come after the run of
//! their month.

use payfleet_domain::Money;
use sqlx::Row;
use sqlx::postgres::{PgConnection, PgRow};

use super::due::LastRun;
use crate::batch::currency;
use crate::connect::{Step, StoreError};
use crate::row::from_row;
use crate::sql::month_name;

/// Something that a file changes about an affiliate.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Change {
    /// The tenant's own name for the affiliate.
    pub affiliate: String,
    /// What is changed: `hold_set`, `hold_lifted`, `hold_kept`, `limit_changed`, `limit_removed`, `method_retired`,
    /// `destination_changed`, `method_added` or `currency_changed`.
    pub what: String,
    /// Of which method or limit.
    pub of: Option<String>,
    /// What it was.
    pub from: Option<String>,
    /// What it becomes.
    pub to: Option<String>,
}

/// What a file changes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// How many changes there are.
    pub total: u64,
    /// The first of them, by affiliate.
    pub first: Vec<Change>,
}

/// A commission that is new and due in a month that was run.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct LateRow {
    /// Where it is in the file.
    pub line: i64,
    /// The tenant's own name for it.
    pub commission: String,
    /// And for the affiliate.
    pub affiliate: String,
    /// The month in which it is due.
    pub month: String,
}

from_row!(LateRow { line, commission, affiliate, month });

/// What was noted of each change (see `import_changed`), in words. Of who is new only a hold is told.
pub(super) async fn changes_read(tx: &mut PgConnection, tenant: i32, named: i64) -> Result<Changes, StoreError> {
    let step = "import_changes_read";
    let rows = sqlx::query(
        "-- import_changes_read
         SELECT a.external_id, c.what, c.of_what, c.was, c.becomes, c.currency, count(*) OVER () AS total
           FROM (SELECT n.affiliate_id, n.what, n.of_what, n.was, n.becomes, n.currency FROM import_changed n
                  WHERE n.what <> 'affiliate'
                    AND NOT EXISTS (SELECT FROM import_new o WHERE o.affiliate_id = n.affiliate_id)
                    -- What takes the place of something is told with that.
                    AND NOT (n.what = 'method_added' AND EXISTS (
                          SELECT FROM import_changed r
                           WHERE r.affiliate_id = n.affiliate_id AND r.what = 'destination_changed'
                             AND r.of_what = n.of_what))
                  UNION ALL
                 SELECT affiliate_id, 'hold_set', NULL, NULL, 'on hold', NULL FROM import_new WHERE on_hold) AS c
           JOIN affiliate a ON a.tenant_id = $1 AND a.id = c.affiliate_id
          ORDER BY a.external_id, c.what, c.of_what, c.was LIMIT $2",
    )
    .bind(tenant)
    .bind(named)
    .fetch_all(tx)
    .await
    .step(step)?;
    let total = rows.first().map(|row| row.try_get::<i64, _>("total")).transpose().step(step)?;
    let first = rows.iter().map(change).collect::<Result<_, _>>()?;
    Ok(Changes { total: total.unwrap_or(0).unsigned_abs(), first })
}

fn change(row: &PgRow) -> Result<Change, StoreError> {
    let step = "import_changes_read";
    let text = |column: &str| row.try_get::<Option<String>, _>(column).step(step);
    // Of a limit: minor units of the currency.
    let is_limit = text("currency")?.is_some();
    let value = |column: &str| match text(column)? {
        Some(minor) if is_limit => {
            let wrong = |error| StoreError::Broken(format!("a limit of `{minor}`: {error}"));
            let minor = minor.parse().map_err(wrong)?;
            Ok(Some(Money { minor, currency: currency(row, "currency")? }.to_string()))
        }
        other => Ok::<_, StoreError>(other),
    };
    Ok(Change {
        affiliate: row.try_get("external_id").step(step)?,
        what: row.try_get("what").step(step)?,
        of: text("of_what")?,
        from: value("was")?,
        to: value("becomes")?,
    })
}

/// Notes, before anything is inserted, which rows may come after the run of their month.
pub(super) async fn late_rows_begin(
    tx: &mut PgConnection,
    tenant: i32,
    last: Option<&LastRun>,
) -> Result<(), StoreError> {
    let Some(last) = last else { return Ok(()) };
    sqlx::query(
        "-- import_late_create
         CREATE TEMP TABLE import_late (
           line bigint NOT NULL, external_id text COLLATE \"C\" NOT NULL, affiliate text NOT NULL) ON COMMIT DROP",
    )
    .execute(&mut *tx)
    .await
    .step("import_late_create")?;
    sqlx::query(
        "-- import_late_note
         INSERT INTO import_late
         SELECT i.line, i.external_id, i.affiliate FROM import_commission i
          WHERE i.earned_at <= $2
            AND NOT EXISTS (SELECT FROM commission k WHERE k.tenant_id = $1 AND k.external_id = i.external_id)",
    )
    .bind(tenant)
    .bind(last.cutoff)
    .execute(tx)
    .await
    .step("import_late_note")?;
    Ok(())
}

/// Those of them that wait for the next run now, the first by line.
pub(super) async fn late_rows(
    tx: &mut PgConnection,
    tenant: i32,
    last: Option<&LastRun>,
    named: i64,
) -> Result<Vec<LateRow>, StoreError> {
    let Some(last) = last else { return Ok(Vec::new()) };
    sqlx::query_as(concat!(
        "-- import_late_read
         SELECT min(l.line) AS line, l.external_id AS commission, l.affiliate,
                ",
        month_name!("c.due_month"),
        " AS month
           FROM import_late l
           JOIN commission c ON c.tenant_id = $1 AND c.external_id = l.external_id AND c.late_for = $2 + 1
          GROUP BY l.external_id, l.affiliate, c.due_month ORDER BY 1 LIMIT $3"
    ))
    .bind(tenant)
    .bind(last.ordinal)
    .bind(named)
    .fetch_all(tx)
    .await
    .step("import_late_read")
}
