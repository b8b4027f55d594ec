//! Guard G1: the right to work on a batch for a while.

use std::time::Duration;

use payfleet_domain::{AttemptNo, BatchFacts, BatchId, BatchState, Epoch, PayoutId, RunId, TenantId};
use sqlx::Row;
use sqlx::postgres::types::PgInterval;
use uuid::Uuid;

use crate::batch::word;
use crate::connect::{Step, Store, StoreError};
use crate::control::has_controls;
use crate::sql::{may_arrive, open_states};

/// The right itself: valid only with the batch's newest epoch, and only until the database's clock says that it has
/// ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// Of which batch.
    pub batch: BatchId,
    /// Which of its leases this is.
    pub epoch: Epoch,
}

/// A batch as its new lessee finds it.
#[derive(Debug, Clone)]
pub struct LeasedBatch {
    /// The right to work on it.
    pub lease: Lease,
    /// Whose it is.
    pub tenant: TenantId,
    /// Of which run.
    pub run: RunId,
    /// The run's own random key.
    pub run_key: Uuid,
    /// Which rail pays it.
    pub rail: String,
    /// From which account there.
    pub account: String,
    /// Under which name the worker finds the credential.
    pub credential: Option<String>,
    /// Its first payout.
    pub first: PayoutId,
    /// Its last payout.
    pub last: PayoutId,
    /// What decides the next step.
    pub facts: BatchFacts,
    /// Failures in a row.
    pub failures: u32,
}

pub(crate) fn interval(duration: Duration) -> PgInterval {
    // A duration of ours is seconds to days; more microseconds than fit mean "for ever", and the largest interval says
    // that.
    PgInterval { months: 0, days: 0, microseconds: i64::try_from(duration.as_micros()).unwrap_or(i64::MAX) }
}

impl Store {
    /// G1. Takes the lease of a batch that is open, due and free, of a run that is not paused. `None` if it is none of
    /// that: somebody else has it, or it is finished, or not due.
    pub async fn lease_acquire(
        &self,
        batch: BatchId,
        worker: &str,
        ttl: Duration,
    ) -> Result<Option<LeasedBatch>, StoreError> {
        let worker = worker.to_owned();
        self.transaction("lease_acquire", move |tx| {
            let worker = worker.clone();
            Box::pin(async move {
                let row = sqlx::query(concat!(
                    "-- lease_acquire
                     UPDATE batch b
                        SET lease_epoch = b.lease_epoch + 1, lease_until = clock_timestamp() + $3, lease_length = $3,
                          lease_owner = $2,
                            stalled_leases = b.stalled_leases + 1,
                            -- Who gives a lease back takes the name off.
                            taken_over = b.taken_over + CASE WHEN b.lease_owner <> $2 THEN 1 ELSE 0 END
                       FROM run r
                      WHERE b.id = $1 AND b.state IN ",
                    open_states!(),
                    "
                        AND b.available_at <= clock_timestamp() AND b.lease_until < clock_timestamp()
                        AND r.id = b.run_id AND r.tenant_id = b.tenant_id AND r.paused_at IS NULL
                        AND (r.state = 'paying' OR r.state = 'cancelled' AND b.state <> 'ready')
                  RETURNING b.lease_epoch, b.tenant_id, b.run_id, r.key, b.rail, b.account, b.credential,
                    b.first_payout_id,
                            b.last_payout_id, b.payouts, b.state, b.attempt, b.first_sent_at, b.stalled_leases,
                              b.unknown_attempts,
                            b.failures, r.state = 'cancelled' AS cancelled, clock_timestamp() AS now,
                            (SELECT max(a.may_arrive_until) FROM attempt a
                              WHERE a.batch_id = b.id AND ",
                    may_arrive!("a"),
                    ") AS may_arrive_until"
                ))
                .bind(batch.0)
                .bind(&worker)
                .bind(interval(ttl))
                .fetch_optional(&mut *tx)
                .await
                .step("lease_acquire")?;
                let Some(row) = row else { return Ok(None) };
                let read = "lease_acquire";
                let state: BatchState = word(&row, "state")?;
                let first = PayoutId(row.try_get("first_payout_id").step(read)?);
                let last = PayoutId(row.try_get("last_payout_id").step(read)?);
                // Of what is ready, the intent will see to it.
                let has_controls = state == BatchState::Sending && has_controls(tx, batch, first, last).await?;
                Ok(Some(LeasedBatch {
                    lease: Lease { batch, epoch: Epoch(row.try_get("lease_epoch").step(read)?) },
                    tenant: TenantId(row.try_get("tenant_id").step(read)?),
                    run: RunId(row.try_get("run_id").step(read)?),
                    run_key: row.try_get("key").step(read)?,
                    rail: row.try_get("rail").step(read)?,
                    account: row.try_get("account").step(read)?,
                    credential: row.try_get("credential").step(read)?,
                    first,
                    last,
                    facts: BatchFacts {
                        state,
                        payouts: row.try_get("payouts").step(read)?,
                        attempt: AttemptNo(row.try_get("attempt").step(read)?),
                        first_sent_at: row.try_get("first_sent_at").step(read)?,
                        may_arrive_until: row.try_get("may_arrive_until").step(read)?,
                        stalled_leases: row.try_get("stalled_leases").step(read)?,
                        unknown_attempts: row.try_get("unknown_attempts").step(read)?,
                        run_cancelled: row.try_get("cancelled").step(read)?,
                        has_controls,
                        now: row.try_get("now").step(read)?,
                    },
                    failures: row.try_get::<i32, _>("failures").step(read)?.unsigned_abs(),
                }))
            })
        })
        .await
    }

    /// Renews leases that are still valid, all in one statement. Returns those that were renewed; whoever is missing
    /// was lost.
    pub async fn leases_renew(&self, leases: Vec<(BatchId, Epoch)>, ttl: Duration) -> Result<Vec<Lease>, StoreError> {
        let (batches, epochs): (Vec<i64>, Vec<i32>) = leases.iter().map(|(batch, epoch)| (batch.0, epoch.0)).unzip();
        self.transaction("leases_renew", move |tx| {
            let (batches, epochs) = (batches.clone(), epochs.clone());
            Box::pin(async move {
                // The time is looked at again in what the locks have let through: of the table itself it might be
                // before they were waited for. Locked in one order, or two workers that renew sets with a common stale
                // batch could wait for each other.
                let renewed: Vec<(i64, i32)> = sqlx::query_as(
                    "-- leases_renew
                     WITH mine AS (
                       SELECT b.id, b.lease_until FROM batch b JOIN unnest($1::bigint[], $2::int[]) AS held (id, epoch)
                         ON b.id = held.id
                        WHERE b.lease_epoch = held.epoch AND b.lease_until > clock_timestamp()
                        ORDER BY b.id FOR NO KEY UPDATE OF b)
                     UPDATE batch b SET lease_until = clock_timestamp() + $3, lease_length = $3
                       FROM mine WHERE b.id = mine.id AND mine.lease_until > clock_timestamp()
                  RETURNING b.id, b.lease_epoch",
                )
                .bind(batches)
                .bind(epochs)
                .bind(interval(ttl))
                .fetch_all(tx)
                .await
                .step("leases_renew")?;
                Ok(renewed.into_iter().map(|(id, epoch)| Lease { batch: BatchId(id), epoch: Epoch(epoch) }).collect())
            })
        })
        .await
    }

    /// Gives a lease back without having opened an attempt, for instance because the batch may not be touched before
    /// `available_in`. Counts as news of it: the worker lives. Does nothing if the lease was lost.
    pub async fn lease_release(&self, lease: Lease, available_in: Duration) -> Result<(), StoreError> {
        self.transaction("lease_release", move |tx| {
            Box::pin(async move {
                sqlx::query(
                    "-- lease_release
                     UPDATE batch SET lease_until = '-infinity', lease_owner = NULL, stalled_leases = 0,
                            available_at = clock_timestamp() + $3, available_in = $3
                      WHERE id = $1 AND lease_epoch = $2 AND lease_until > clock_timestamp()",
                )
                .bind(lease.batch.0)
                .bind(lease.epoch.0)
                .bind(interval(available_in))
                .execute(tx)
                .await
                .step("lease_release")?;
                Ok(())
            })
        })
        .await
    }

    /// Shortens each lease and each wait that counts for longer than its length from now. They do where the server's
    /// clock has gone back, as after a failover to one that is behind. Returns of how many batches.
    ///
    /// A lease is not over by that: whoever holds it renews it meanwhile, and if nobody does it ends after its own
    /// length.
    pub async fn waits_shorten(&self) -> Result<u64, StoreError> {
        self.transaction("waits_shorten", move |tx| {
            Box::pin(async move {
                let shortened = sqlx::query(concat!(
                    "-- waits_shorten
                     WITH longer AS (
                       SELECT id FROM batch
                        WHERE state IN ",
                    open_states!(),
                    "
                          AND (lease_until > clock_timestamp() + lease_length
                            OR available_at > clock_timestamp() + coalesce(available_in, '0'))
                        ORDER BY id FOR NO KEY UPDATE)
                     UPDATE batch b
                        SET lease_until = least(b.lease_until, clock_timestamp() + b.lease_length),
                            available_at = least(b.available_at, clock_timestamp() + coalesce(b.available_in, '0'))
                       FROM longer WHERE b.id = longer.id"
                ))
                .execute(tx)
                .await
                .step("waits_shorten")?;
                Ok(shortened.rows_affected())
            })
        })
        .await
    }
}
