//! When commissions are due. A sale is due when its hold period is over. A clawback is due at once; but one that refers
//! to a sale (the same affiliate and order) that no run has counted yet and that is due later, is due together with it,
//! so that both meet in one window. Of several such sales it is the one that is due first. Which of the two came first,
//! and in which file, makes no difference.
//!
//! What was made to take one row back refers to that row alone, whatever its order (see [`super::reversal`]).
//!
//! Only what no run has counted yet moves: the windows of runs that exist lie before it, so nothing is left out or
//! counted twice.

use sqlx::postgres::PgConnection;
use time::OffsetDateTime;

use crate::connect::{Step, StoreError};
use crate::late::{MonthCount, late_months};
use crate::row::from_row;
use crate::sql::month_of;

/// The tenant's newest run, as an import needs it: what is due up to its cutoff is late.
#[derive(Debug, Clone)]
pub(super) struct LastRun {
    pub(super) ordinal: i32,
    pub(super) cutoff: OffsetDateTime,
    pub(super) period: String,
    pub(super) sequence: i16,
}

from_row!(LastRun { ordinal, cutoff, period, sequence });

/// To be asked after the lock: a run whose creation we waited for must be seen.
pub(super) async fn last_run(tx: &mut PgConnection, tenant: i32) -> Result<Option<LastRun>, StoreError> {
    sqlx::query_as(
        "-- import_last_run
         SELECT ordinal, cutoff, period, sequence FROM run WHERE tenant_id = $1 ORDER BY ordinal DESC LIMIT 1",
    )
    .bind(tenant)
    .fetch_optional(tx)
    .await
    .step("import_last_run")
}

/// What waits for the next run since it came after the run of its month.
pub(super) async fn late_now(
    tx: &mut PgConnection,
    tenant: i32,
    last: Option<&LastRun>,
) -> Result<Vec<MonthCount>, StoreError> {
    match last {
        Some(last) => late_months(tx, tenant, last.ordinal, true).await,
        None => Ok(Vec::new()),
    }
}

/// What has come to wait, by month.
pub(super) fn late_more(before: &[MonthCount], now: Vec<MonthCount>) -> Vec<MonthCount> {
    let had = |month: &str| before.iter().find(|one| one.month == month).map_or(0, |one| one.commissions);
    let more = now.into_iter().map(|one| MonthCount { commissions: one.commissions - had(&one.month), ..one });
    more.filter(|one| one.commissions > 0).collect()
}

/// Finds, before anything is inserted, the orders of which a clawback may have to move: those that the file tells
/// something new of. Returns whether there are any.
pub(super) async fn orders_find(
    tx: &mut PgConnection,
    tenant: i32,
    last: Option<&LastRun>,
    file_has_clawbacks: bool,
) -> Result<bool, StoreError> {
    let step = "import_orders_find";
    let is_concerned = file_has_clawbacks
        || sqlx::query_scalar(
            "-- import_clawbacks_wait
             SELECT EXISTS (
                      SELECT FROM commission
                       WHERE tenant_id = $1 AND kind = 'clawback' AND order_ref <> ''
                         AND due_at > coalesce($2, '-infinity'))
                 OR EXISTS (
                      SELECT FROM commission
                       WHERE tenant_id = $1 AND late_for = $3 + 1 AND kind = 'clawback' AND order_ref <> '')",
        )
        .bind(tenant)
        .bind(last.map(|last| last.cutoff))
        .bind(last.map(|last| last.ordinal))
        .fetch_one(&mut *tx)
        .await
        .step("import_clawbacks_wait")?;
    if !is_concerned {
        return Ok(false);
    }
    sqlx::query(
        "-- import_order_create
         CREATE TEMP TABLE import_order (affiliate_id bigint NOT NULL, order_ref text NOT NULL) ON COMMIT DROP",
    )
    .execute(&mut *tx)
    .await
    .step(step)?;
    let found = sqlx::query(
        "-- import_orders_find
         WITH waiting AS MATERIALIZED (
           SELECT affiliate_id, order_ref FROM commission
            WHERE tenant_id = $1 AND kind = 'clawback' AND order_ref <> '' AND due_at > coalesce($2, '-infinity')
            UNION
           SELECT affiliate_id, order_ref FROM commission
            WHERE tenant_id = $1 AND late_for = $3 + 1 AND kind = 'clawback' AND order_ref <> ''),
         named AS MATERIALIZED (
           SELECT a.id, i.order_ref, i.external_id
             FROM import_commission i JOIN affiliate a ON a.tenant_id = $1 AND a.external_id = i.affiliate
            WHERE i.order_ref <> ''
              AND (i.amount_minor < 0 OR (a.id, i.order_ref) IN (SELECT affiliate_id, order_ref FROM waiting)))
         INSERT INTO import_order
         SELECT DISTINCT n.id, n.order_ref FROM named n
          WHERE NOT EXISTS (SELECT FROM commission k WHERE k.tenant_id = $1 AND k.external_id = n.external_id)",
    )
    .bind(tenant)
    .bind(last.map(|last| last.cutoff))
    .bind(last.map(|last| last.ordinal))
    .execute(&mut *tx)
    .await
    .step(step)?
    .rows_affected();
    if found == 0 {
        return Ok(false);
    }
    sqlx::query("-- import_order_analyze\nANALYZE import_order").execute(tx).await.step("import_order_analyze")?;
    Ok(true)
}

/// Moves the clawbacks of these orders that no run has counted to their sales that no run has counted, after both were
/// inserted as due at once and after the hold period. In the order of instants from the last to the first, the least
/// that was passed is the sale that follows first, in the same currency: it can take from no other.
pub(super) async fn clawbacks_meet(
    tx: &mut PgConnection,
    tenant: i32,
    last: Option<&LastRun>,
) -> Result<(), StoreError> {
    sqlx::query(concat!(
        "-- clawbacks_meet
         WITH known AS (
           SELECT min(due_month) AS first, max(due_month) AS last FROM commission
            WHERE tenant_id = $1 AND late_for IS NULL),
         cutoff AS (
           SELECT ",
        month_of!("at"),
        " AS month
             FROM (SELECT $2::timestamptz AS at) AS utc),
         months AS MATERIALIZED (
           SELECT ARRAY(SELECT generate_series(coalesce((SELECT month FROM cutoff), (SELECT first FROM known)),
                                               (SELECT last FROM known))) AS list),
         uncounted AS (
           SELECT c.external_id, c.affiliate_id, c.order_ref, c.currency, c.kind, c.earned_at, c.due_at
             FROM import_order o JOIN commission c ON c.affiliate_id = o.affiliate_id AND c.order_ref = o.order_ref
            WHERE c.tenant_id = $1 AND c.late_for IS NULL AND c.due_month = ANY((SELECT list FROM months)::int[])
              AND ($2::timestamptz IS NULL OR c.due_at > $2) AND c.takes_back IS NULL
            UNION ALL
           SELECT c.external_id, c.affiliate_id, c.order_ref, c.currency, c.kind, c.earned_at, c.due_at
             FROM import_order o JOIN commission c ON c.affiliate_id = o.affiliate_id AND c.order_ref = o.order_ref
            WHERE c.tenant_id = $1 AND c.late_for = $3 + 1 AND c.takes_back IS NULL),
         next AS (
           SELECT external_id, kind, due_at,
                  coalesce(min(CASE kind WHEN 'sale' THEN due_at END) OVER (
                             PARTITION BY affiliate_id, order_ref, currency
                             ORDER BY CASE kind WHEN 'sale' THEN due_at ELSE earned_at END DESC),
                           earned_at) AS meets_at
             FROM uncounted)
         UPDATE commission c SET due_at = n.meets_at, late_for = CASE WHEN n.meets_at <= $2 THEN $3 + 1 END
           FROM next n
          WHERE c.tenant_id = $1 AND c.external_id = n.external_id AND n.kind = 'clawback' AND n.due_at <> n.meets_at"
    ))
    .bind(tenant)
    .bind(last.map(|last| last.cutoff))
    .bind(last.map(|last| last.ordinal))
    .execute(tx)
    .await
    .step("clawbacks_meet")?;
    Ok(())
}
