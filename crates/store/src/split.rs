//! Replacing a batch by parts of it: by its two halves, to find the one payout that spoils the others; or around
//! payouts that are under control.

use payfleet_domain::{BatchState, PayoutId};
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
    /// Splits a batch whose workers keep dying. Halves of a batch that was perhaps sent start as perhaps sent, with all
    /// that is known of the attempts.
    pub async fn batch_split(&self, lease: Lease) -> Result<Result<(), SplitRefused>, StoreError> {
        self.transaction("batch_split", move |tx| {
            Box::pin(async move {
                let batch = batch_lock(tx, lease.batch).await?;
                if batch.epoch != lease.epoch || !batch.state.may_lack_answers() {
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

async fn split(tx: &mut PgConnection, batch: &LockedBatch, state: BatchState) -> Result<(), StoreError> {
    if batch.payouts < 2 {
        return Err(StoreError::Broken(format!("batch {} has one payout and cannot be split", batch.id)));
    }
    let middle = batch.first.0 + i64::from(batch.payouts / 2);
    let halves = [
        Part { first: batch.first, last: PayoutId(middle - 1), state },
        Part { first: PayoutId(middle), last: batch.last, state },
    ];
    split_into(tx, batch, &halves).await
}

/// What a batch is split into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Part {
    /// Its first payout.
    pub first: PayoutId,
    /// Its last one.
    pub last: PayoutId,
    /// `ready` is proven never to have been sent; what is `sending` keeps all that is known of the attempts.
    pub state: BatchState,
}

/// Replaces a batch by its parts, which together are all of it. Parts without anything unanswered end up where their
/// payouts are.
pub(crate) async fn split_into(tx: &mut PgConnection, batch: &LockedBatch, parts: &[Part]) -> Result<(), StoreError> {
    batch.state.to(BatchState::Split).map_err(|illegal| StoreError::Broken(illegal.to_string()))?;
    sqlx::query(
        "-- batch_parts_insert
         INSERT INTO batch (tenant_id, run_id, rail, account, credential, currency, first_payout_id, last_payout_id,
           payouts,
                            amount_minor, parent_id, state, attempt, first_sent_at, unknown_attempts, failures,
                              last_code)
         SELECT b.tenant_id, b.run_id, b.rail, b.account, b.credential, b.currency, part.first, part.last,
           part.last - part.first + 1,
                (SELECT sum(p.amount_minor) FROM payout p WHERE p.id BETWEEN part.first AND part.last), b.id,
                  part.state,
                CASE part.state WHEN 'ready' THEN 0 ELSE b.attempt END, CASE part.state WHEN 'ready' THEN NULL
                  ELSE b.first_sent_at END,
                b.unknown_attempts, b.failures, b.last_code
           FROM batch b, unnest($2::bigint[], $3::bigint[], $4::text[]) AS part (first, last, state)
          WHERE b.id = $1 ORDER BY part.first",
    )
    .bind(batch.id.0)
    .bind(parts.iter().map(|part| part.first.0).collect::<Vec<_>>())
    .bind(parts.iter().map(|part| part.last.0).collect::<Vec<_>>())
    .bind(parts.iter().map(|part| part.state.as_str()).collect::<Vec<_>>())
    .execute(&mut *tx)
    .await
    .step("batch_parts_insert")?;
    sqlx::query(
        "-- attempts_inherit
         INSERT INTO attempt (batch_id, n, tenant_id, epoch, worker, opened_at, may_arrive_until, closed_at, result)
         SELECT b.id, a.n, a.tenant_id, a.epoch, a.worker, a.opened_at, a.may_arrive_until, a.closed_at, a.result
           FROM attempt a JOIN batch b ON b.parent_id = a.batch_id WHERE a.batch_id = $1 AND b.state <> 'ready'",
    )
    .bind(batch.id.0)
    .execute(&mut *tx)
    .await
    .step("attempts_inherit")?;
    sqlx::query(
        "-- batch_split
         UPDATE batch SET state = 'split', closed_at = clock_timestamp(), lease_until = '-infinity', lease_owner = NULL,
           outcomes = NULL, counted_after = NULL
           WHERE id = $1",
    )
    .bind(batch.id.0)
    .execute(&mut *tx)
    .await
    .step("batch_split")?;
    for part in batch_halves(tx, batch.run, batch.id).await? {
        // All of a part may have its answer already; then nothing of it is left to do.
        batch_settle_held(tx, part.0).await?;
    }
    Ok(())
}
