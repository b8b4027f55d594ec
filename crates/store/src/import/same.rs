//! The same sale: commissions that are another one in all but the id, or whose id looks like another one's; in the
//! file, and among those that are known and due in its months. Asked before anything of the file is inserted. A row
//! that is known itself was looked at when it came.

use sqlx::postgres::{PgConnection, PgRow};
use time::{Duration, OffsetDateTime};

use super::due::LastRun;
use super::suspicion::{Repeats, SuspicionKind, Suspicions};
use crate::connect::{Step, StoreError};

/// Where to look, and how many to name of each kind.
pub(super) struct Scope<'a> {
    pub(super) tenant: i32,
    pub(super) hold_days: i32,
    pub(super) last: Option<&'a LastRun>,
    /// Of the file's rows.
    pub(super) earned: (OffsetDateTime, OffsetDateTime),
    pub(super) named: i64,
}

/// Finds them. `alike` are the lines of rows that may be another one of the file, `alike_ids` the looks of ids that may
/// be there twice.
pub(super) async fn same_find(
    tx: &mut PgConnection,
    scope: &Scope<'_>,
    same: Repeats,
    alike_ids: Repeats,
) -> Result<Suspicions, StoreError> {
    let mut found = Suspicions::default();
    if same.is_any() {
        let (all, lines) = same.again();
        let rows = in_file(tx, IN_FILE_SAME, scope, all, lines).await?;
        found.add(SuspicionKind::SameSale, &rows)?;
    }
    if alike_ids.is_any() {
        let (all, looks) = alike_ids.again();
        let rows = in_file(tx, IN_FILE_ALIKE, scope, all, looks).await?;
        found.add(SuspicionKind::CommissionIdAlike, &rows)?;
    }
    if is_any_known(tx, scope).await? {
        let is_any_twin: bool = sqlx::query_scalar(
            "-- affiliates_alike_any
             SELECT EXISTS (SELECT FROM affiliate WHERE tenant_id = $1 AND alike_of IS NOT NULL)",
        )
        .bind(scope.tenant)
        .fetch_one(&mut *tx)
        .await
        .step("affiliates_alike_any")?;
        for (kind, condition) in
            [(SuspicionKind::SameSale, KNOWN_SAME), (SuspicionKind::CommissionIdAlike, KNOWN_ALIKE)]
        {
            let rows = among_known(tx, scope, condition, is_any_twin).await?;
            found.add(kind, &rows)?;
        }
    }
    Ok(found)
}

/// $1 tenant, $2 all or $3 only these lines, $4 how many are named. The payee of affiliates whose ids look alike is
/// one.
const IN_FILE_SAME: &str = "-- import_same_in_file
  WITH suspect AS (
    SELECT DISTINCT order_ref, currency, amount_minor, earned_at FROM import_commission WHERE $2 OR line = ANY($3)),
  said AS (
    SELECT i.line, i.external_id, min(i.line) OVER (PARTITION BY i.external_id) AS own_line,
           first_value(i.line) OVER same AS first_line, first_value(i.external_id) OVER same AS first_id
      FROM suspect s JOIN import_commission i USING (order_ref, currency, amount_minor, earned_at)
      JOIN affiliate a ON a.tenant_id = $1 AND a.external_id = i.affiliate
    WINDOW same AS (
             PARTITION BY coalesce(a.alike_of, a.id), i.order_ref, i.currency, i.amount_minor, i.earned_at
             ORDER BY i.line))
  SELECT line, external_id AS id, first_id AS other, first_line AS other_line, count(*) OVER () AS total
    FROM said s
   WHERE external_id <> first_id AND line = own_line
     AND NOT EXISTS (SELECT FROM commission k WHERE k.tenant_id = $1 AND k.external_id = s.external_id)
   ORDER BY line LIMIT $4";

const IN_FILE_ALIKE: &str = "-- import_alike_in_file
  WITH said AS (
    SELECT line, external_id, min(line) OVER (PARTITION BY external_id) AS own_line,
           first_value(line) OVER alike AS first_line, first_value(external_id) OVER alike AS first_id
      FROM import_commission WHERE $2 OR id_key = ANY($3) WINDOW alike AS (PARTITION BY id_key ORDER BY line))
  SELECT line, external_id AS id, first_id AS other, first_line AS other_line, count(*) OVER () AS total
    FROM said s
   WHERE external_id <> first_id AND line = own_line
     AND NOT EXISTS (SELECT FROM commission k WHERE k.tenant_id = $1 AND k.external_id = s.external_id)
   ORDER BY line LIMIT $4";

async fn in_file(
    tx: &mut PgConnection,
    statement: &'static str,
    scope: &Scope<'_>,
    all: bool,
    suspects: Vec<i64>,
) -> Result<Vec<PgRow>, StoreError> {
    sqlx::query(statement)
        .bind(scope.tenant)
        .bind(all)
        .bind(suspects)
        .bind(scope.named)
        .fetch_all(tx)
        .await
        .step("import_same_in_file")
}

/// The months in which a row of the file, or the same one under another id, is due.
fn months(scope: &Scope<'_>) -> (i32, i32) {
    let month = |at: OffsetDateTime| {
        let at = at.to_offset(time::UtcOffset::UTC);
        at.year() * 12 + i32::from(u8::from(at.month())) - 1
    };
    let (first, last) = scope.earned;
    (month(first), month(last.saturating_add(Duration::days(scope.hold_days.into()))))
}

/// Whether there is anything to compare with: in a month of which nothing is known yet there is not.
async fn is_any_known(tx: &mut PgConnection, scope: &Scope<'_>) -> Result<bool, StoreError> {
    let (first, last) = months(scope);
    sqlx::query_scalar(
        "-- import_known_any
         SELECT EXISTS (
                  SELECT FROM commission WHERE tenant_id = $1 AND late_for IS NULL AND due_month BETWEEN $2 AND $3)
             OR EXISTS (SELECT FROM commission WHERE tenant_id = $1 AND late_for BETWEEN 2 AND $4)",
    )
    .bind(scope.tenant)
    .bind(first)
    .bind(last)
    .bind(scope.last.map(|last| last.ordinal + 1))
    .fetch_one(tx)
    .await
    .step("import_known_any")
}

const KNOWN_SAME: &str = "order_ref, currency, amount_minor, earned_at";
const KNOWN_ALIKE: &str = "id_key";

/// Against what is known of the same payee. Most tenants have no affiliates whose ids look alike, and then an index
/// finds what belongs to one.
async fn among_known(
    tx: &mut PgConnection,
    scope: &Scope<'_>,
    condition: &'static str,
    is_any_twin: bool,
) -> Result<Vec<PgRow>, StoreError> {
    let (payee, twins) = match is_any_twin {
        true => (
            "coalesce(t.payee, c.affiliate_id)",
            "LEFT JOIN (SELECT id, alike_of AS payee FROM affiliate WHERE tenant_id = $1 AND alike_of IS NOT NULL) AS t
                    ON t.id = c.affiliate_id",
        ),
        false => ("c.affiliate_id", ""),
    };
    let columns = format!(
        "SELECT {payee} AS payee, c.external_id, c.order_ref, c.currency, c.amount_minor, c.earned_at, c.id_key
                FROM commission c {twins}"
    );
    let sql = format!(
        "-- import_same_as_known
         WITH fresh AS MATERIALIZED (
           SELECT i.*, coalesce(a.alike_of, a.id) AS payee
             FROM import_commission i JOIN affiliate a ON a.tenant_id = $1 AND a.external_id = i.affiliate
            WHERE NOT EXISTS (SELECT FROM commission k WHERE k.tenant_id = $1 AND k.external_id = i.external_id)),
         -- One of each, since a thousand that are equal would meet a thousand.
         known AS (
           SELECT payee, {condition}, min(external_id) AS known_id
             FROM ({columns} WHERE c.tenant_id = $1 AND c.late_for IS NULL AND c.due_month BETWEEN $2 AND $3
                    UNION ALL
                   {columns} WHERE c.tenant_id = $1 AND c.late_for BETWEEN 2 AND $4) AS k
            GROUP BY payee, {condition}),
         said AS (
           SELECT DISTINCT ON (external_id) line, external_id AS id, known_id AS other
             FROM fresh JOIN known USING (payee, {condition}) ORDER BY external_id, line)
         SELECT line, id, other, NULL::bigint AS other_line, count(*) OVER () AS total FROM said
          ORDER BY line LIMIT $5"
    );
    let (first, last) = months(scope);
    sqlx::query(sqlx::AssertSqlSafe(sql)) // only constants of this file
        .bind(scope.tenant)
        .bind(first)
        .bind(last)
        .bind(scope.last.map(|last| last.ordinal + 1))
        .bind(scope.named)
        .fetch_all(tx)
        .await
        .step("import_same_as_known")
}
