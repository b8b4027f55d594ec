//! How people's stops reach the fleet: what workers ask, what they confirm, and what is then known of the money.
//!
//! A pause or a cancel changes the run's row, which every intent shares a lock on: so no intent is written after it.
//! Calls of intents that were written before are the workers' to stop. They ask for their leases, stop what is to be
//! stopped, and only then confirm.

use std::collections::BTreeMap;

use payfleet_domain::{BatchId, BatchState, Epoch, PayoutEvent, PayoutState, RunId};
use sqlx::{PgConnection, Row};

use crate::batch::batch_lock;
use crate::connect::{Step, Store, StoreError, detached};
use crate::doubt::known_hold;
use crate::hold::batch_settle_held;
use crate::intent::attempts_supersede;
use crate::lease::Lease;
use crate::outcomes::batches_count;
use crate::payout::payouts_cancel;
use crate::sql::{alive, unanswered_batches};

/// What the database says of a lease's run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StopSeen {
    /// Of which lease. One that was lost has no answer.
    pub lease: Lease,
    /// The run is paused or cancelled.
    pub is_stopped: bool,
    /// How often it was so far.
    pub stop_no: i32,
    /// Somebody waits for this lease's confirmation.
    pub is_unconfirmed: bool,
}

/// A worker's word that no call begins any more under a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StopConfirmed {
    /// Which lease.
    pub lease: Lease,
    /// Which stop.
    pub stop_no: i32,
    /// Calls that were under way.
    pub calls: i32,
    /// Payouts of its intent whose calls had not begun.
    pub unsent: i32,
}

/// Whether a stop has arrived everywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StopProgress {
    /// The run is still paused or cancelled.
    pub is_stopped: bool,
    /// Batches that may be under way, and whose lessees have not confirmed.
    pub unconfirmed: i64,
}

/// What a stop has left of a run, on one rail.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StopCounts {
    /// Calls that were under way when it arrived.
    pub calls: i64,
    /// Payouts that were not sent.
    pub unsent: i64,
    /// Payouts that were sent, and whose answers are coming in.
    pub answering: i64,
    /// Payouts that were perhaps sent, and have no answer.
    pub in_doubt: i64,
}

/// What is left of the payouts of a batch `b` of a run `r` that was stopped, as `n`.
macro_rules! left_sql {
    () => {
        concat!("CROSS JOIN LATERAL (
                     SELECT CASE WHEN b.state = 'ready' THEN p.planned
                                 WHEN b.lease_until > clock_timestamp() AND b.stop_seen = r.stop_no
                                   THEN least(b.stop_unsent, p.planned)
                                 WHEN EXISTS (SELECT FROM attempt a WHERE a.batch_id = b.id AND a.result IS NULL) THEN 0
                                 ELSE p.planned END AS unsent, p.planned + p.unknown AS open,
                            b.lease_until > clock_timestamp() AND b.stop_seen = r.stop_no AS is_answering
                       FROM (SELECT coalesce(sum(o.payouts) FILTER (WHERE o.state = 'planned'), 0)::bigint AS planned,
                                    coalesce(sum(o.payouts) FILTER (WHERE o.state = 'unknown'), 0)::bigint AS unknown
                               FROM batch_outcome o
                              WHERE b.state IN ", unanswered_batches!(), " AND o.batch_id = b.id) AS p) AS n")
    };
}

impl Store {
    /// Which of these leases are of stopped runs. What is missing was lost.
    pub async fn stops_find(&self, leases: Vec<(BatchId, Epoch)>) -> Result<Vec<StopSeen>, StoreError> {
        let (batches, epochs): (Vec<i64>, Vec<i32>) = leases.iter().map(|(batch, epoch)| (batch.0, epoch.0)).unzip();
        let pool = self.pool.clone();
        detached(async move {
            let rows: Vec<(i64, i32, bool, i32, bool)> = sqlx::query_as(
                "-- stops_find
                 SELECT b.id, b.lease_epoch, r.paused_at IS NOT NULL
                   OR r.state = 'cancelled', r.stop_no, b.stop_seen < r.stop_no
                   FROM unnest($1::bigint[], $2::int[]) AS held (id, epoch)
                   JOIN batch b ON b.id = held.id AND b.lease_epoch = held.epoch JOIN run r ON r.id = b.run_id",
            )
            .bind(batches)
            .bind(epochs)
            .fetch_all(&pool)
            .await
            .step("stops_find")?;
            let seen = |(batch, epoch, is_stopped, stop_no, is_unconfirmed)| StopSeen {
                lease: Lease { batch: BatchId(batch), epoch: Epoch(epoch) },
                is_stopped,
                stop_no,
                is_unconfirmed,
            };
            Ok(rows.into_iter().map(seen).collect())
        })
        .await
    }

    /// Takes down that these stops have arrived.
    pub async fn stops_confirm(&self, confirmed: Vec<StopConfirmed>) -> Result<(), StoreError> {
        self.transaction("stops_confirm", move |tx| {
            let confirmed = confirmed.clone();
            Box::pin(async move {
                // Locked in one order, as in `leases_renew`.
                sqlx::query(
                    "-- stops_confirm
                     WITH mine AS (
                       SELECT b.id, said.* FROM batch b
                         JOIN unnest($1::bigint[], $2::int[], $3::int[], $4::int[], $5::int[]) AS said (batch, epoch,
                           stop_no, calls, unsent)
                           ON b.id = said.batch
                        WHERE b.lease_epoch = said.epoch AND b.stop_seen < said.stop_no
                        ORDER BY b.id FOR NO KEY UPDATE OF b)
                     UPDATE batch b SET stop_seen = mine.stop_no, stop_calls = mine.calls, stop_unsent = mine.unsent
                       FROM mine WHERE b.id = mine.id",
                )
                .bind(confirmed.iter().map(|one| one.lease.batch.0).collect::<Vec<_>>())
                .bind(confirmed.iter().map(|one| one.lease.epoch.0).collect::<Vec<_>>())
                .bind(confirmed.iter().map(|one| one.stop_no).collect::<Vec<_>>())
                .bind(confirmed.iter().map(|one| one.calls).collect::<Vec<_>>())
                .bind(confirmed.iter().map(|one| one.unsent).collect::<Vec<_>>())
                .execute(tx)
                .await
                .step("stops_confirm")?;
                Ok(())
            })
        })
        .await
    }

    /// Whether the last stop of a run has arrived at every worker that may have calls of it under way or in mind. A
    /// lease that has ended is as good as a word: its worker knows that it has, and believes so sooner than the
    /// database.
    pub async fn stop_progress(&self, run: RunId) -> Result<StopProgress, StoreError> {
        let pool = self.pool.clone();
        detached(async move {
            let (is_stopped, unconfirmed) = sqlx::query_as(
                "-- stop_progress
                 SELECT r.paused_at IS NOT NULL OR r.state = 'cancelled',
                        (SELECT count(*) FROM batch b WHERE b.run_id = r.id AND b.state = 'sending'
                          AND b.stop_seen < r.stop_no
                            AND b.lease_until > clock_timestamp())
                   FROM run r WHERE r.id = $1",
            )
            .bind(run.0)
            .fetch_one(&pool)
            .await
            .step("stop_progress")?;
            Ok(StopProgress { is_stopped, unconfirmed })
        })
        .await
    }

    /// What the last stop of a run has left, by rail.
    pub async fn stop_counts(&self, run: RunId) -> Result<BTreeMap<String, StopCounts>, StoreError> {
        let pool = self.pool.clone();
        detached(async move {
            let rows = sqlx::query(concat!(
                "-- stop_counts
                 SELECT b.rail, sum(CASE WHEN b.stop_seen = r.stop_no THEN b.stop_calls ELSE 0 END) AS calls,
                        sum(n.unsent)::bigint AS unsent,
                        coalesce(sum(n.open - n.unsent) FILTER (WHERE n.is_answering), 0)::bigint AS answering,
                        coalesce(sum(n.open - n.unsent) FILTER (WHERE NOT n.is_answering), 0)::bigint AS in_doubt
                   FROM run r JOIN batch b ON b.run_id = r.id ",
                left_sql!(),
                " WHERE r.id = $1 AND (b.state IN ",
                unanswered_batches!(),
                " OR b.stop_seen = r.stop_no) GROUP BY b.rail"
            ))
            .bind(run.0)
            .fetch_all(&pool)
            .await
            .step("stop_counts")?;
            let read = "stop_counts";
            rows.iter()
                .map(|row| {
                    let counts = StopCounts {
                        calls: row.try_get("calls").step(read)?,
                        unsent: row.try_get("unsent").step(read)?,
                        answering: row.try_get("answering").step(read)?,
                        in_doubt: row.try_get("in_doubt").step(read)?,
                    };
                    Ok((row.try_get("rail").step(read)?, counts))
                })
                .collect()
        })
        .await
    }

    /// How many payouts of a cancelled run are never sent: those that are cancelled, and those that will be when the
    /// calls under way have ended. Of one moment, so that none is in both.
    pub async fn cancel_counts(&self, run: RunId) -> Result<(i64, i64), StoreError> {
        let pool = self.pool.clone();
        detached(async move {
            sqlx::query_as(concat!(
                "-- cancel_counts
                 SELECT (SELECT coalesce(sum(payouts), 0)::bigint FROM batch_outcome
                          WHERE run_id = $1 AND state = 'cancelled'),
                        coalesce((SELECT sum(n.unsent) FROM run r JOIN batch b ON b.run_id = r.id ",
                left_sql!(),
                " WHERE r.id = $1 AND b.state IN ",
                unanswered_batches!(),
                "), 0)::bigint"
            ))
            .bind(run.0)
            .fetch_one(&pool)
            .await
            .step("cancel_counts")
        })
        .await
    }

    /// What the rail was asked about, under this lease and after every request of it was dead, and did not know, was
    /// never paid: the batch is ready again, which means that nothing of it is under way. `None` if that cannot be
    /// said: the lease was lost, or a request may still arrive. Rule `stop_sends_nothing`.
    pub async fn batch_clear(&self, lease: Lease) -> Result<Option<BatchState>, StoreError> {
        self.transaction("batch_clear", move |tx| {
            Box::pin(async move {
                let batch = batch_lock(tx, lease.batch).await?;
                if batch.epoch != lease.epoch || batch.state != BatchState::Sending {
                    return Ok(None);
                }
                attempts_supersede(tx, lease.batch).await?;
                let cleared = sqlx::query(concat!(
                    "-- batch_clear
                     UPDATE batch b
                        SET state = 'ready', first_sent_at = NULL, stalled_leases = 0, lease_until = '-infinity',
                          lease_owner = NULL,
                            available_at = clock_timestamp(), available_in = NULL
                      WHERE b.id = $1 AND NOT EXISTS (
                              SELECT FROM attempt a WHERE a.batch_id = b.id
                                AND ",
                    alive!("a"),
                    ")"
                ))
                .bind(lease.batch.0)
                .execute(&mut *tx)
                .await
                .step("batch_clear")?
                .rows_affected();
                if cleared == 0 {
                    return Ok(None);
                }
                payouts_clear(tx, batch.first.0, batch.last.0).await?;
                // Everything of it may have been answered meanwhile.
                batch_settle_held(tx, lease.batch.0).await?;
                Ok(Some(batch_lock(tx, lease.batch).await?.state))
            })
        })
        .await
    }

    /// Cancels whatever of a cancelled run was provably not sent: batches that are ready, and of those that were
    /// perhaps sent and that nobody works on, the payouts that every attempt has said it did not execute, and what
    /// controls hold that never was sent. Returns how many payouts.
    pub(crate) async fn unsent_cancel(&self, run: RunId) -> Result<u64, StoreError> {
        let mut cancelled = 0;
        while let Some(payouts) = self.batch_cancel_next(run).await? {
            cancelled += payouts;
        }
        while let Some(payouts) = self.batch_cancel_part_next(run).await? {
            cancelled += payouts;
        }
        while let Some(payouts) = self.controlled_cancel_next(run).await? {
            cancelled += payouts;
        }
        Ok(cancelled)
    }

    /// Cancels one batch of a cancelled run that is ready: nothing of it is under way, and the run's state lets no
    /// intent pass any more.
    async fn batch_cancel_next(&self, run: RunId) -> Result<Option<u64>, StoreError> {
        self.transaction("batch_cancel", move |tx| {
            Box::pin(async move {
                let next: Option<(i64, i64, i64, bool)> = sqlx::query_as(
                    "-- batch_cancel_next
                     SELECT id, first_payout_id, last_payout_id, attempt > 0 OR parent_id IS NOT NULL OR EXISTS (
                              SELECT FROM movement w WHERE w.payout_id BETWEEN first_payout_id AND last_payout_id)
                       FROM batch WHERE run_id = $1 AND state = $2
                      ORDER BY id LIMIT 1 FOR NO KEY UPDATE",
                )
                .bind(run.0)
                .bind(BatchState::Ready.as_str())
                .fetch_optional(&mut *tx)
                .await
                .step("batch_cancel_next")?;
                let Some((batch, first, last, has_history)) = next else { return Ok(None) };
                if has_history {
                    // What an intent would hold is not let go either.
                    let locked = batch_lock(tx, BatchId(batch)).await?;
                    known_hold(tx, &locked).await?;
                }
                let payouts = payouts_cancel(tx, &(first..=last).collect::<Vec<i64>>()).await?;
                // What the rail has accepted of it is followed to its end: a batch whose rest was proven unsent is
                // ready too.
                let cancelled = sqlx::query(
                    "-- batch_cancel_ready
                     UPDATE batch b SET state = 'cancelled', closed_at = clock_timestamp(), lease_until = '-infinity',
                       lease_owner = NULL
                      WHERE b.id = $1 AND NOT EXISTS (
                            SELECT FROM payout p WHERE p.id BETWEEN b.first_payout_id AND b.last_payout_id
                              AND p.state IN ('accepted', 'held'))",
                )
                .bind(batch)
                .execute(&mut *tx)
                .await
                .step("batch_cancel_ready")?
                .rows_affected();
                if cancelled > 0 {
                    batches_count(tx, &[batch]).await?;
                } else {
                    batch_settle_held(tx, batch).await?;
                    // Or the next one would be this one again, for ever.
                    if batch_lock(tx, BatchId(batch)).await?.state == BatchState::Ready {
                        return Err(StoreError::Broken(format!("batch {batch} is ready, and not all of it is unsent")));
                    }
                }
                Ok(Some(payouts))
            })
        })
        .await
    }

    async fn batch_cancel_part_next(&self, run: RunId) -> Result<Option<u64>, StoreError> {
        self.transaction("batch_cancel_part", move |tx| {
            Box::pin(async move {
                let next: Option<(i64, i64, i64)> = sqlx::query_as(
                    "-- batch_cancel_part_next
                     SELECT b.id, b.first_payout_id, b.last_payout_id FROM batch b
                      WHERE b.run_id = $1 AND b.state = 'sending' AND b.lease_until < clock_timestamp()
                        AND NOT EXISTS (SELECT FROM attempt a WHERE a.batch_id = b.id AND a.result IS NULL)
                        AND EXISTS (SELECT FROM payout p WHERE p.id BETWEEN b.first_payout_id AND b.last_payout_id
                          AND p.state = 'planned')
                      ORDER BY b.id LIMIT 1 FOR NO KEY UPDATE OF b",
                )
                .bind(run.0)
                .fetch_optional(&mut *tx)
                .await
                .step("batch_cancel_part_next")?;
                let Some((batch, first, last)) = next else { return Ok(None) };
                let payouts = part_cancel(tx, BatchId(batch), first, last).await?;
                batch_settle_held(tx, batch).await?;
                Ok(Some(payouts))
            })
        })
        .await
    }
}

/// Of a batch that was perhaps sent and whose run was cancelled: cancels what provably was not. While an attempt has no
/// result, that is nothing.
pub(crate) async fn part_cancel(
    tx: &mut PgConnection,
    batch: BatchId,
    first: i64,
    last: i64,
) -> Result<u64, StoreError> {
    let is_open: bool = sqlx::query_scalar(
        "-- attempts_open\nSELECT EXISTS (SELECT FROM attempt WHERE batch_id = $1 AND result IS NULL)",
    )
    .bind(batch.0)
    .fetch_one(&mut *tx)
    .await
    .step("attempts_open")?;
    if is_open {
        return Ok(0);
    }
    payouts_cancel(tx, &(first..=last).collect::<Vec<i64>>()).await
}

/// Proof that nothing of a batch was executed or still can be.
pub(crate) async fn payouts_clear(tx: &mut PgConnection, first: i64, last: i64) -> Result<(), StoreError> {
    sqlx::query(
        "-- payouts_clear
         UPDATE payout SET state = 'planned' WHERE id BETWEEN $1 AND $2 AND state = ANY($3)",
    )
    .bind(first)
    .bind(last)
    .bind(PayoutState::sources(PayoutEvent::Clear))
    .execute(tx)
    .await
    .step("payouts_clear")?;
    Ok(())
}
