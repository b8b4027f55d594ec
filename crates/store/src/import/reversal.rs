//! What was reversed in the system that a file comes from: a row comes with another one that takes it back. That one is
//! due with its own row as long as no run has counted that, and else at once, so that the two meet in one window.

use sqlx::postgres::{PgConnection, PgRow};

use super::due::LastRun;
use crate::connect::{Step, StoreError};

/// How a row stands to what is made of rows that were reversed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reversal<'a> {
    /// The id of what this row takes back: it is due with that as long as no run has counted it, and else at once.
    pub takes_back: Option<&'a str>,
    /// The id that would take this row back, if it had been reversed before.
    pub taken_back_by: Option<&'a str>,
    /// It is left out, unless what was reversed was imported before.
    pub only_known: bool,
}

/// Leaves out what counts only if it is known, and is not. Returns how many rows that are reversed; as many that take
/// them back go with them.
pub(super) async fn unknown_leave_out(tx: &mut PgConnection, tenant: i32) -> Result<u64, StoreError> {
    let left_out: i64 = sqlx::query_scalar(
        "-- import_unknown_leave_out
         WITH gone AS (
           DELETE FROM import_commission i
            WHERE i.only_known AND NOT EXISTS (
                  SELECT FROM commission k
                   WHERE k.tenant_id = $1 AND k.external_id = coalesce(i.takes_back, i.external_id))
        RETURNING i.takes_back)
         SELECT count(*) FROM gone WHERE takes_back IS NULL",
    )
    .bind(tenant)
    .fetch_one(tx)
    .await
    .step("import_unknown_leave_out")?;
    Ok(left_out.unsigned_abs())
}

/// Makes what takes a row back due with that row: what this file brings, and, if clawbacks may have moved, what belongs
/// to their orders. After both were inserted, each as due at once or after the hold period.
pub(super) async fn due_with_its_own(
    tx: &mut PgConnection,
    tenant: i32,
    last: Option<&LastRun>,
    have_moved: bool,
) -> Result<(), StoreError> {
    let of_orders = match have_moved {
        true => {
            "UNION
             SELECT c.external_id FROM import_order o
               JOIN commission c ON c.affiliate_id = o.affiliate_id AND c.order_ref = o.order_ref
              WHERE c.tenant_id = $1 AND c.takes_back IS NOT NULL"
        }
        false => "",
    };
    let sql = format!(
        "-- reversals_meet
         WITH concerned AS (
           SELECT external_id FROM import_commission WHERE takes_back IS NOT NULL {of_orders}),
         next AS (
           SELECT c.external_id, coalesce(own.due_at, c.earned_at) AS due_at
             FROM concerned n JOIN commission c ON c.tenant_id = $1 AND c.external_id = n.external_id
             -- Of what a run has counted nothing moves.
             LEFT JOIN commission own ON own.tenant_id = $1 AND own.external_id = c.takes_back
               AND own.affiliate_id = c.affiliate_id AND own.currency = c.currency
               AND (own.late_for = $3 + 1 OR own.late_for IS NULL AND ($2::timestamptz IS NULL OR own.due_at > $2))
            WHERE c.takes_back IS NOT NULL
              AND (c.late_for = $3 + 1 OR c.late_for IS NULL AND ($2::timestamptz IS NULL OR c.due_at > $2)))
         UPDATE commission c SET due_at = n.due_at, late_for = CASE WHEN n.due_at <= $2 THEN $3 + 1 END
           FROM next n
          WHERE c.tenant_id = $1 AND c.external_id = n.external_id AND c.due_at <> n.due_at"
    );
    sqlx::query(sqlx::AssertSqlSafe(sql)) // only constants of this file
        .bind(tenant)
        .bind(last.map(|last| last.cutoff))
        .bind(last.map(|last| last.ordinal))
        .execute(tx)
        .await
        .step("reversals_meet")?;
    Ok(())
}

/// Rows that were taken back, and are not reversed any more.
pub(super) async fn said_again(tx: &mut PgConnection, tenant: i32, named: i64) -> Result<Vec<PgRow>, StoreError> {
    sqlx::query(
        "-- import_reversed_again
         SELECT i.line, i.external_id AS id, k.external_id AS other, NULL::bigint AS other_line,
                count(*) OVER () AS total
           FROM import_commission i
           JOIN commission k ON k.tenant_id = $1 AND k.external_id = i.taken_back_by
          ORDER BY i.line LIMIT $2",
    )
    .bind(tenant)
    .bind(named)
    .fetch_all(tx)
    .await
    .step("import_reversed_again")
}
