//! What a recovery begins with: whatever is open counts as perhaps sent, and no number of the time that was lost is
//! given again.

use payfleet_domain::{PayoutEvent, PayoutState};
use sqlx::PgConnection;

use super::LOST;
use crate::connect::{Step, StoreError};
use crate::doubt::dead_after;
use crate::hold::holds_doubt;
use crate::outcomes::batches_count;
use crate::sql::{open_states, unanswered_batches};

/// Seconds since 2025 began: numbers go on from there after a recovery. A database that was restored gives numbers out
/// again that the one before it had given, or another one that was restored from the same backup: answers that come
/// late are named by batch, attempt and lease, and must never meet another of the same name. No batch is leased or sent
/// once a second for years, so a later time begins above all that an earlier one has given. It fits an `int` until
/// 2093.
macro_rules! seconds_sql {
    () => {
        "extract(epoch FROM clock_timestamp() - timestamptz '2025-01-01Z')::int"
    };
}
/// No fleet makes as many batches in a second, for long.
const BATCHES_PER_SECOND: i64 = 1_000;
/// Runs begin in steps of so many seconds: their numbers are a part of those of payouts, which must stay below 2^53 to
/// be read as numbers of JSON, for decades.
const SECONDS_PER_RUN: i64 = 300;

/// Has no number of a time that was lost be given again: of the leases of what may still change, and of runs and
/// batches. Attempts go on by the one that stands for what was lost.
pub(super) async fn numbers_go_on(tx: &mut PgConnection) -> Result<(), StoreError> {
    sqlx::query(concat!(
        "-- recovery_epochs
         UPDATE batch SET lease_epoch = greatest(lease_epoch + 1, ",
        seconds_sql!(),
        ") WHERE state = 'held' OR state IN ",
        open_states!()
    ))
    .execute(&mut *tx)
    .await
    .step("recovery_epochs")?;
    sqlx::query(concat!(
        "-- recovery_sequences
         SELECT setval(pg_get_serial_sequence('run', 'id'), greatest(nextval(pg_get_serial_sequence('run', 'id')), ",
        seconds_sql!(),
        " / $1)),
                setval(pg_get_serial_sequence('batch', 'id'),
                       greatest(nextval(pg_get_serial_sequence('batch', 'id')), ",
        seconds_sql!(),
        " * $2))"
    ))
    .bind(SECONDS_PER_RUN)
    .bind(BATCHES_PER_SECOND)
    .execute(tx)
    .await
    .step("recovery_sequences")?;
    Ok(())
}

/// What was never sent, as far as this database knows, or was sent before it was saved, was perhaps sent since. What
/// controls hold may have been let go and sent too.
pub(super) async fn batches_doubt(tx: &mut PgConnection) -> Result<(), StoreError> {
    let open: Vec<i64> = sqlx::query_scalar(concat!(
        "-- recovery_batches_lock
         SELECT id FROM batch WHERE state IN ",
        unanswered_batches!(),
        " OR state = 'held' AND first_sent_at IS NULL
           ORDER BY id FOR NO KEY UPDATE"
    ))
    .fetch_all(&mut *tx)
    .await
    .step("recovery_batches_lock")?;
    let (rails, dead_after) = dead_after();
    sqlx::query(concat!(
        "-- recovery_attempts
         WITH doubted AS (
           UPDATE batch b SET attempt = greatest(b.attempt + 1, ",
        seconds_sql!(),
        "), state = CASE b.state WHEN 'ready' THEN 'sending' ELSE b.state END,
                  first_sent_at = least(b.first_sent_at, r.created_at), available_at = '-infinity'
             FROM run r
            WHERE b.id = ANY($1) AND r.id = b.run_id AND r.tenant_id = b.tenant_id
        RETURNING b.id, b.attempt, b.tenant_id, b.lease_epoch, b.rail, r.created_at)
         INSERT INTO attempt (batch_id, n, tenant_id, epoch, worker, opened_at, may_arrive_until, closed_at, result)
         SELECT d.id, d.attempt, d.tenant_id, d.lease_epoch, $4, d.created_at,
                clock_timestamp() + coalesce(known.dead_after, '0') + interval '1 millisecond', clock_timestamp(),
                  'unknown'
           FROM doubted d LEFT JOIN unnest($2::text[], $3::interval[]) AS known (rail, dead_after)
             ON known.rail = d.rail"
    ))
    .bind(&open)
    .bind(rails)
    .bind(dead_after)
    .bind(LOST)
    .execute(&mut *tx)
    .await
    .step("recovery_attempts")?;
    sqlx::query(
        "-- recovery_payouts
         UPDATE payout p SET state = 'unknown' FROM batch b
          WHERE b.id = ANY($1) AND p.id BETWEEN b.first_payout_id AND b.last_payout_id AND p.state = ANY($2)",
    )
    .bind(&open)
    .bind(PayoutState::sources(PayoutEvent::LoseTrack))
    .execute(&mut *tx)
    .await
    .step("recovery_payouts")?;
    let held: Vec<i64> = sqlx::query_scalar(
        "-- recovery_held
         SELECT p.id FROM batch b JOIN payout p ON p.id BETWEEN b.first_payout_id AND b.last_payout_id
          WHERE b.id = ANY($1) AND b.state = 'held' AND p.state = 'held' ORDER BY p.id",
    )
    .bind(&open)
    .fetch_all(&mut *tx)
    .await
    .step("recovery_held")?;
    holds_doubt(tx, &held, Some("perhaps let go and sent before the recovery")).await?;
    batches_count(tx, &open).await
}
