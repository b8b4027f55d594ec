//! What several guards need of a batch: locking it, its payouts without an answer, and its next state from theirs.

use payfleet_domain::{AttemptNo, BatchId, BatchStanding, BatchState, Currency, Epoch, PayoutId, TenantId};
use sqlx::PgConnection;
use sqlx::Row;
use sqlx::postgres::PgRow;

use crate::connect::{Step, StoreError};
use crate::outcomes::{Counted, outcomes_sql};
use crate::sql::{alive, unanswered};

/// A batch whose row is locked by the running transaction.
#[derive(Debug, Clone)]
pub(crate) struct LockedBatch {
    pub id: BatchId,
    pub run: i64,
    pub rail: String,
    pub state: BatchState,
    pub epoch: Epoch,
    pub attempt: AttemptNo,
    pub first: PayoutId,
    pub last: PayoutId,
    pub payouts: i32,
}

/// Reads a word that a CHECK constrains.
pub(crate) fn word<T: std::str::FromStr<Err = String>>(row: &PgRow, column: &str) -> Result<T, StoreError> {
    let text: String = row.try_get(column).step("row_read")?;
    text.parse().map_err(StoreError::Broken)
}

/// Reads a currency column. `char(3)` never pads a three-letter code.
pub(crate) fn currency(row: &PgRow, column: &str) -> Result<Currency, StoreError> {
    let code: String = row.try_get(column).step("row_read")?;
    code.parse().map_err(|unknown: payfleet_domain::UnknownCurrency| StoreError::Broken(unknown.to_string()))
}

/// Takes the row lock that every fence begins with.
pub(crate) async fn batch_lock(tx: &mut PgConnection, batch: BatchId) -> Result<LockedBatch, StoreError> {
    let row = sqlx::query(
        "-- batch_lock
         SELECT id, run_id, rail, state, lease_epoch, attempt, first_payout_id, last_payout_id, payouts
           FROM batch WHERE id = $1 FOR NO KEY UPDATE",
    )
    .bind(batch.0)
    .fetch_optional(tx)
    .await
    .step("batch_lock")?
    .ok_or_else(|| StoreError::Broken(format!("batch {batch} does not exist")))?;
    Ok(LockedBatch {
        id: batch,
        run: row.try_get("run_id").step("batch_lock")?,
        rail: row.try_get("rail").step("batch_lock")?,
        state: word(&row, "state")?,
        epoch: Epoch(row.try_get("lease_epoch").step("batch_lock")?),
        attempt: AttemptNo(row.try_get("attempt").step("batch_lock")?),
        first: PayoutId(row.try_get("first_payout_id").step("batch_lock")?),
        last: PayoutId(row.try_get("last_payout_id").step("batch_lock")?),
        payouts: row.try_get("payouts").step("batch_lock")?,
    })
}

/// What decides where a batch stands, of which the caller has the lock; and its payouts in numbers, since each is read.
pub(crate) async fn batch_standing(
    tx: &mut PgConnection,
    batch: &LockedBatch,
) -> Result<(BatchStanding, Counted), StoreError> {
    let read = "batch_standing";
    let row = sqlx::query(concat!(
        "-- batch_standing
         SELECT coalesce(bool_or(state IN ",
        unanswered!(),
        "), false) AS is_unanswered,
                coalesce(bool_or(state = 'unknown'), false) OR EXISTS (
                  SELECT FROM attempt WHERE batch_id = $3 AND ",
        alive!("attempt"),
        ") AS is_under_way,
                coalesce(bool_or(state = 'accepted'), false) AS has_accepted,
                coalesce(bool_or(state = 'held'), false) AS has_held,
                ",
        outcomes_sql!(),
        "::text AS outcomes, pg_snapshot_xmin(pg_current_snapshot())::text AS after
           FROM (SELECT state, count(*) AS payouts, sum(amount_minor) AS minor FROM payout
                  WHERE id BETWEEN $1 AND $2 GROUP BY state) AS s"
    ))
    .bind(batch.first.0)
    .bind(batch.last.0)
    .bind(batch.id.0)
    .fetch_one(tx)
    .await
    .step(read)?;
    let standing = BatchStanding {
        is_unanswered: row.try_get("is_unanswered").step(read)?,
        is_under_way: row.try_get("is_under_way").step(read)?,
        has_accepted: row.try_get("has_accepted").step(read)?,
        has_held: row.try_get("has_held").step(read)?,
    };
    let counted = Counted { outcomes: row.try_get("outcomes").step(read)?, after: row.try_get("after").step(read)? };
    Ok((standing, counted))
}

/// What a batch was split into.
pub(crate) async fn batch_halves(tx: &mut PgConnection, run: i64, batch: BatchId) -> Result<Vec<BatchId>, StoreError> {
    let halves: Vec<i64> =
        sqlx::query_scalar("-- batch_parts\nSELECT id FROM batch WHERE run_id = $1 AND parent_id = $2 ORDER BY id")
            .bind(run)
            .bind(batch.0)
            .fetch_all(tx)
            .await
            .step("batch_parts")?;
    Ok(halves.into_iter().map(BatchId).collect())
}

/// The batch that has a payout now, and whose it is.
pub(crate) async fn batch_of(
    tx: &mut PgConnection,
    payout: PayoutId,
) -> Result<Option<(BatchId, TenantId)>, StoreError> {
    let batch: Option<(i64, i32)> = sqlx::query_as(
        "-- batch_of
         SELECT b.id, b.tenant_id FROM batch b WHERE b.run_id = $1 AND b.state <> 'split'
           AND $2 BETWEEN b.first_payout_id AND b.last_payout_id",
    )
    .bind(payout.run().0)
    .bind(payout.0)
    .fetch_optional(tx)
    .await
    .step("batch_of")?;
    Ok(batch.map(|(batch, tenant)| (BatchId(batch), TenantId(tenant))))
}
