//! Replacing a batch by its two halves, to find the one payout that spoils the others.

use payfleet_domain::BatchState;
use sqlx::PgConnection;

use crate::batch::{LockedBatch, batch_halves, batch_lock};
use crate::connect::{Step, Store, StoreError};
use crate::hold::batch_settle_held;
use crate::lease::Lease;
use crate::stop::payouts_clear;

/// Why a batch was not split.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SplitRefused {
    /// The lease was lost.
    LeaseLost,
}

impl Store {
    /// Splits a batch whose workers keep dying. Halves of a batch that was perhaps sent start as perhaps sent, with all that is known of the attempts.
    pub async fn batch_split(&self, lease: Lease) -> Result<Result<(), SplitRefused>, StoreError> {
        self.transaction("batch_split", move |tx| {
            Box::pin(async move {
                let batch = batch_lock(tx, lease.batch).await?;
                if batch.epoch != lease.epoch || !matches!(batch.state, BatchState::Ready | BatchState::Sending) {
                    return Ok(Err(SplitRefused::LeaseLost));
                }
                split(tx, &batch, batch.state).await?;
                Ok(Ok(()))
            })
        })
        .await
    }
}

/// Splits a batch that was provably refused as a whole: its halves were never sent, and get keys of their own.
pub(crate) async fn split_refused(tx: &mut PgConnection, batch: &LockedBatch) -> Result<(), StoreError> {
    payouts_clear(tx, batch.first.0, batch.last.0).await?;
    split(tx, batch, BatchState::Ready).await
}

async fn split(tx: &mut PgConnection, batch: &LockedBatch, halves: BatchState) -> Result<(), StoreError> {
    batch.state.to(BatchState::Split).map_err(|illegal| StoreError::Broken(illegal.to_string()))?;
    let made = sqlx::query(
        "-- batch_halves
         WITH half AS (
           SELECT b.*, part.first, part.last
             FROM batch b, LATERAL (VALUES (b.first_payout_id, b.first_payout_id + b.payouts / 2 - 1),
                                           (b.first_payout_id + b.payouts / 2, b.last_payout_id)) AS part (first, last)
            WHERE b.id = $1 AND b.payouts > 1)
         INSERT INTO batch (tenant_id, run_id, rail, account, credential, currency, first_payout_id, last_payout_id, payouts,
                            amount_minor, parent_id, state, attempt, first_sent_at, unknown_attempts, failures, last_code)
         SELECT tenant_id, run_id, rail, account, credential, currency, first, last, last - first + 1,
                (SELECT sum(p.amount_minor) FROM payout p WHERE p.id BETWEEN first AND last), id, $2,
                CASE $2 WHEN 'ready' THEN 0 ELSE attempt END, CASE $2 WHEN 'ready' THEN NULL ELSE first_sent_at END,
                unknown_attempts, failures, last_code
           FROM half ORDER BY first",
    )
    .bind(batch.id.0)
    .bind(halves.as_str())
    .execute(&mut *tx)
    .await
    .step("batch_halves")?
    .rows_affected();
    if made != 2 {
        return Err(StoreError::Broken(format!("batch {} has one payout and cannot be split", batch.id)));
    }
    if halves != BatchState::Ready {
        sqlx::query(
            "-- attempts_inherit
             INSERT INTO attempt (batch_id, n, tenant_id, epoch, worker, opened_at, may_arrive_until, closed_at, result)
             SELECT b.id, a.n, a.tenant_id, a.epoch, a.worker, a.opened_at, a.may_arrive_until, a.closed_at, a.result
               FROM attempt a JOIN batch b ON b.parent_id = a.batch_id WHERE a.batch_id = $1",
        )
        .bind(batch.id.0)
        .execute(&mut *tx)
        .await
        .step("attempts_inherit")?;
    }
    sqlx::query(
        "-- batch_split
         UPDATE batch SET state = 'split', closed_at = clock_timestamp(), lease_until = '-infinity', lease_owner = NULL WHERE id = $1",
    )
    .bind(batch.id.0)
    .execute(&mut *tx)
    .await
    .step("batch_split")?;
    for half in batch_halves(tx, batch.run, batch.id).await? {
        // All of a half may have its answer already; then nothing of it is left to do.
        batch_settle_held(tx, half.0).await?;
    }
    Ok(())
}
