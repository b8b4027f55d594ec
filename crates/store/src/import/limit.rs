//! Limits: of an affiliate, a kind of method and a currency. Another address keeps them, and so does another currency:
//! then they bind the old one only.

use payfleet_domain::Money;
use sqlx::Row;
use sqlx::postgres::{PgConnection, PgRow};

use super::PROBLEMS_SHOWN;
use super::problem::{Fault, ImportError, Problems};
use crate::batch::currency;
use crate::connect::{Step, StoreError};

/// In place of an amount: the limit is taken away.
pub(super) const NO_LIMIT: i64 = 0;

/// Writes the limits that the file's lines say, and leaves those of which they say nothing.
pub(super) async fn limits_write(tx: &mut PgConnection, tenant: i32) -> Result<(), ImportError> {
    let said: bool = sqlx::query_scalar(
        "-- import_limits_said
         SELECT EXISTS (SELECT FROM import_affiliate WHERE min_minor IS NOT NULL OR max_minor IS NOT NULL)",
    )
    .fetch_one(&mut *tx)
    .await
    .step("import_limits_said")?;
    if !said {
        return Ok(());
    }
    sqlx::raw_sql(
        "-- import_limit_create
         CREATE TEMP TABLE import_limit (
           line bigint NOT NULL, external_id text NOT NULL, affiliate_id bigint NOT NULL, method text,
             currency char(3) NOT NULL,
           min_minor bigint, max_minor bigint) ON COMMIT DROP;
         CREATE TEMP TABLE import_limit_next (
           line bigint NOT NULL, external_id text NOT NULL, affiliate_id bigint NOT NULL, method text NOT NULL,
             currency char(3) NOT NULL,
           says_max boolean NOT NULL, old_min bigint, old_max bigint, new_min bigint, new_max bigint) ON COMMIT DROP",
    )
    .execute(&mut *tx)
    .await
    .step("import_limit_create")?;
    sqlx::query(LIMITS_SAID).bind(tenant).execute(&mut *tx).await.step("import_limits_read")?;
    let mut problems = Problems::default();
    without_method(tx, &mut problems).await?;
    for column in ["min", "max"] {
        contradicting(tx, column, &mut problems).await?;
    }
    problems.check()?;
    sqlx::query(LIMITS_NEXT).execute(&mut *tx).await.step("import_limits_next")?;
    let mut problems = Problems::default();
    crossing(tx, &mut problems).await?;
    problems.check()?;
    sqlx::query(LIMITS_WRITE).bind(tenant).execute(tx).await.step("limits_write")?;
    Ok(())
}

/// The method of a line that names none is the one that has its priority.
const LIMITS_SAID: &str = "-- import_limits_read
  INSERT INTO import_limit
  SELECT i.line, i.external_id, a.id, CASE WHEN i.destination IS NULL THEN m.method
    ELSE i.method END, i.currency, i.min_minor, i.max_minor
    FROM import_affiliate i JOIN affiliate a ON a.tenant_id = $1 AND a.external_id = i.external_id
    LEFT JOIN payout_method m ON m.tenant_id = $1 AND m.affiliate_id = a.id AND m.priority = i.priority
      AND m.retired_at IS NULL
   WHERE i.min_minor IS NOT NULL OR i.max_minor IS NOT NULL";

const LIMITS_NEXT: &str = "-- import_limits_next
  INSERT INTO import_limit_next
  SELECT s.line, s.external_id, s.affiliate_id, s.method, s.currency, s.max_minor IS NOT NULL, l.min_minor, l.max_minor,
         nullif(coalesce(s.min_minor, l.min_minor), 0), nullif(coalesce(s.max_minor, l.max_minor), 0)
    FROM (SELECT min(line) AS line, external_id, affiliate_id, method, currency, max(min_minor) AS min_minor,
      max(max_minor) AS max_minor
            FROM import_limit WHERE method IS NOT NULL GROUP BY external_id, affiliate_id, method, currency) AS s
    LEFT JOIN payout_limit l ON l.affiliate_id = s.affiliate_id AND l.method = s.method AND l.currency = s.currency";

const LIMITS_WRITE: &str = "-- limits_write
  WITH next AS (SELECT * FROM import_limit_next WHERE (old_min, old_max) IS DISTINCT FROM (new_min, new_max)),
  removed AS (
    DELETE FROM payout_limit l USING next n
     WHERE l.affiliate_id = n.affiliate_id AND l.method = n.method AND l.currency = n.currency AND n.new_min IS NULL
       AND n.new_max IS NULL),
  written AS (
    INSERT INTO payout_limit AS l (tenant_id, affiliate_id, method, currency, min_minor, max_minor)
    SELECT $1, affiliate_id, method, currency, new_min, new_max FROM next WHERE new_min IS NOT NULL
      OR new_max IS NOT NULL
     ORDER BY affiliate_id, method, currency
        ON CONFLICT (affiliate_id, method, currency) DO UPDATE
          SET min_minor = excluded.min_minor, max_minor = excluded.max_minor)
  INSERT INTO import_changed
  SELECT affiliate_id, CASE WHEN new IS NULL THEN 'limit_removed' ELSE 'limit_changed' END,
         method || ' ' || bound, old::text, new::text, currency
    FROM next, LATERAL (VALUES ('min', old_min, new_min), ('max', old_max, new_max)) AS b (bound, old, new)
   WHERE old IS DISTINCT FROM new";

/// A limit of a method that is not there.
async fn without_method(tx: &mut PgConnection, problems: &mut Problems) -> Result<(), StoreError> {
    let rows = sqlx::query(
        "-- import_limits_without_method
         SELECT line, external_id, min_minor > 0 AS is_min, count(*) OVER () AS total FROM import_limit
          WHERE method IS NULL AND (min_minor > 0 OR max_minor > 0) ORDER BY line LIMIT $1",
    )
    .bind(PROBLEMS_SHOWN as i64)
    .fetch_all(tx)
    .await
    .step("import_limits_without_method")?;
    problems.add(&rows, |row| {
        let is_min: Option<bool> = row.try_get("is_min").step("import_limits_without_method")?;
        Ok((if is_min == Some(true) { "min" } else { "max" }, Fault::LimitOfNothing { id: id(row)? }))
    })
}

/// Lines that give one kind of method of one affiliate different limits.
async fn contradicting(tx: &mut PgConnection, field: &'static str, problems: &mut Problems) -> Result<(), StoreError> {
    let step = "import_limits_contradicting";
    let sql = format!(
        "-- import_limits_contradicting
         WITH said AS (
           SELECT line, external_id, currency, {field}_minor AS given, first_value({field}_minor) OVER first AS other,
                  first_value(line) OVER first AS other_line
             FROM import_limit WHERE {field}_minor IS NOT NULL
               AND method IS NOT NULL WINDOW first AS (PARTITION BY affiliate_id, method ORDER BY line))
         SELECT *, count(*) OVER () AS total FROM said WHERE given <> other ORDER BY line LIMIT $1"
    );
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql)) // only constants of this file
        .bind(PROBLEMS_SHOWN as i64)
        .fetch_all(tx)
        .await
        .step(step)?;
    problems.add(&rows, |row| {
        let line = row.try_get::<i64, _>("other_line").step(step)?.unsigned_abs();
        let (other, given) = (amount(row, "other")?, amount(row, "given")?);
        Ok((field, Fault::DiffersFromLine { id: id(row)?, line, other, given }))
    })
}

/// A new limit that does not go with the other one, which stays.
async fn crossing(tx: &mut PgConnection, problems: &mut Problems) -> Result<(), StoreError> {
    let step = "import_limits_crossing";
    let rows = sqlx::query(
        "-- import_limits_crossing
         SELECT line, external_id, currency, says_max, new_min, new_max, count(*) OVER () AS total
           FROM import_limit_next
          WHERE new_min > new_max ORDER BY line LIMIT $1",
    )
    .bind(PROBLEMS_SHOWN as i64)
    .fetch_all(tx)
    .await
    .step(step)?;
    problems.add(&rows, |row| {
        let field = if row.try_get("says_max").step(step)? { "max" } else { "min" };
        let (min, max) = (amount(row, "new_min")?, amount(row, "new_max")?);
        Ok((field, Fault::LimitsCross { id: id(row)?, min, max }))
    })
}

fn id(row: &PgRow) -> Result<String, StoreError> {
    row.try_get("external_id").step("import_limits_read")
}

fn amount(row: &PgRow, column: &str) -> Result<String, StoreError> {
    Ok(match row.try_get(column).step("import_limits_read")? {
        NO_LIMIT => "`none`".to_owned(),
        minor => Money { minor, currency: currency(row, "currency")? }.to_string(),
    })
}
