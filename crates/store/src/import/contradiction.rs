//! Lines of a file of affiliates that contradict each other. A line says nothing by what it leaves empty; what one line
//! of an affiliate says counts for all of them.

use sqlx::Row;
use sqlx::postgres::PgConnection;

use super::PROBLEMS_SHOWN;
use super::problem::{Fault, Problems};
use crate::connect::{Step, StoreError};

/// What must be said once, within which lines, and of which of them.
struct Once {
    within: &'static str,
    columns: &'static [&'static str],
    of: &'static str,
}

const ONCE: [Once; 4] = [
    Once { within: "external_id", columns: &["name", "email", "country", "currency", "on_hold"], of: "true" },
    Once { within: "external_id, priority", columns: &["method"], of: "true" },
    Once { within: "external_id, priority, method", columns: &["destination"], of: "true" },
    // One destination under two priorities of the file: which one counts?
    Once { within: "external_id, method, compared", columns: &["priority"], of: "destination IS NOT NULL" },
];

/// What decides whether two lines say the same of a column: a destination may be written in several ways.
fn decides(column: &'static str) -> &'static str {
    if column == "destination" { "compared" } else { column }
}

/// Finds lines of one affiliate that say different things; if there are none, makes them say the same.
pub(super) async fn between_lines(tx: &mut PgConnection, problems: &mut Problems) -> Result<(), StoreError> {
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
    for once in &ONCE {
        for column in contradicted(tx, once).await? {
            contradicting(tx, once, column, problems).await?;
        }
    }
    sqlx::raw_sql(
        "-- import_affiliates_merge
         UPDATE import_affiliate i SET name = s.name, email = s.email, country = s.country, on_hold = s.on_hold
           FROM (SELECT external_id, max(name) AS name, max(email) AS email, max(country) AS country,
             bool_or(on_hold) AS on_hold
                   FROM import_affiliate GROUP BY external_id HAVING count(*) > 1) AS s
          WHERE i.external_id = s.external_id
            AND (i.name, i.email, i.country, i.on_hold) IS DISTINCT FROM (s.name, s.email, s.country, s.on_hold);
         UPDATE import_affiliate i SET method = s.method, destination = s.destination, compared = s.compared
           FROM (SELECT external_id, priority, max(method) AS method, max(destination) AS destination,
                        max(compared) AS compared
                   FROM import_affiliate GROUP BY external_id, priority HAVING count(*) > 1) AS s
          WHERE i.external_id = s.external_id AND i.priority = s.priority AND i.method IS DISTINCT FROM s.method",
    )
    .execute(tx)
    .await
    .step("import_affiliates_merge")?;
    Ok(())
}

/// The columns of which lines say different things: in one pass, since almost always there are none.
async fn contradicted(tx: &mut PgConnection, once: &Once) -> Result<Vec<&'static str>, StoreError> {
    let each =
        |text: &dyn Fn(&'static str) -> String| once.columns.iter().map(|c| text(c)).collect::<Vec<_>>().join(", ");
    let sql = format!(
        "-- import_contradicted
         SELECT ARRAY[{}] FROM (SELECT {} FROM import_affiliate WHERE {} GROUP BY {} HAVING count(*) > 1) AS s",
        each(&|column| format!("coalesce(bool_or({column}), false)")),
        each(&|column| format!("min({0}::text) <> max({0}::text) AS {column}", decides(column))),
        once.of,
        once.within,
    );
    let found: Vec<bool> = sqlx::query_scalar(sqlx::AssertSqlSafe(sql)) // only constants of this file
        .fetch_one(tx)
        .await
        .step("import_contradicted")?;
    Ok(once.columns.iter().zip(found).filter(|(_, differs)| *differs).map(|(column, _)| *column).collect())
}

/// Lines that say something else of a column than the first line that says something of it.
async fn contradicting(
    tx: &mut PgConnection,
    once: &Once,
    column: &'static str,
    problems: &mut Problems,
) -> Result<(), StoreError> {
    let step = "import_contradicting";
    let Once { within, of, .. } = once;
    let decides = decides(column);
    let sql = format!(
        "-- import_contradicting
         WITH said AS (
           SELECT line, external_id, {column}::text AS given, first_value({column}::text) OVER first AS other,
                  first_value(line) OVER first AS other_line,
                  {decides}::text <> first_value({decides}::text) OVER first AS differs
             FROM import_affiliate WHERE {column} IS NOT NULL
               AND {of} WINDOW first AS (PARTITION BY {within} ORDER BY line))
         SELECT *, count(*) OVER () AS total FROM said WHERE differs ORDER BY line LIMIT $1"
    );
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql)) // only constants of this file
        .bind(PROBLEMS_SHOWN as i64)
        .fetch_all(tx)
        .await
        .step(step)?;
    problems.add(&rows, |row| {
        let text = |name: &str| row.try_get::<String, _>(name).step(step);
        let shown = |name: &str| Ok::<_, StoreError>(format!("`{}`", text(name)?));
        let line = row.try_get::<i64, _>("other_line").step(step)?.unsigned_abs();
        let (id, other, given) = (text("external_id")?, shown("other")?, shown("given")?);
        Ok((column, Fault::DiffersFromLine { id, line, other, given }))
    })
}

/// Destinations that an affiliate has already, under a priority that the file does not mention.
pub(super) async fn destinations_twice(
    tx: &mut PgConnection,
    tenant: i32,
    problems: &mut Problems,
) -> Result<(), StoreError> {
    let step = "import_destinations_twice";
    let rows = sqlx::query(
        "-- import_destinations_twice
         SELECT i.line, i.external_id, m.priority, count(*) OVER () AS total
           FROM import_affiliate i
           JOIN affiliate a ON a.tenant_id = $1 AND a.external_id = i.external_id
           JOIN payout_method m ON m.tenant_id = $1 AND m.affiliate_id = a.id AND m.method = i.method
                               AND coalesce(m.compared, m.destination) = i.compared
                               AND m.priority <> i.priority AND m.retired_at IS NULL
          ORDER BY i.line LIMIT $2",
    )
    .bind(tenant)
    .bind(PROBLEMS_SHOWN as i64)
    .fetch_all(tx)
    .await
    .step(step)?;
    problems.add(&rows, |row| {
        let (id, stored) = (row.try_get("external_id").step(step)?, row.try_get("priority").step(step)?);
        Ok(("destination", Fault::DestinationTwice { id, stored }))
    })
}
