//! Evidence of what nobody has sent, as far as we know: somebody used our keys, or the database has lost what it knew.
//! Then its batch was perhaps sent, all of it, and as it was before it was split; when, and under which keys, we do not
//! know. So nothing of it is sent any more: it is held in doubt, until the rail's own statement or two people say what
//! became of it.

use payfleet_domain::{AlarmKind, HoldReason, KeyUnit, PayoutEvent, PayoutState, RAILS, Rail};
use sqlx::PgConnection;
use sqlx::postgres::types::PgInterval;

use crate::alarm::alarms_tell;
use crate::batch::LockedBatch;
use crate::connect::{Step, StoreError};
use crate::hold::{Held, holds_doubt, payouts_hold};
use crate::lease::interval;
use crate::sql::unanswered;

/// Why they are held, for people.
const NOT_SENT: &str = "a payment of its batch is known that was not sent from here";

/// All that was one batch with these payouts, as `part`: up to the roots of their batches, and down again.
macro_rules! family_sql {
    () => {
        "
         WITH RECURSIVE up AS (
           SELECT b.id, b.parent_id FROM unnest($1::bigint[]) AS p (id)
             JOIN batch b ON b.run_id = p.id >> 32 AND b.state <> 'split'
               AND p.id BETWEEN b.first_payout_id AND b.last_payout_id
            UNION
           SELECT b.id, b.parent_id FROM up JOIN batch b ON b.id = up.parent_id),
         part AS (
           SELECT id FROM up WHERE parent_id IS NULL
           UNION
           SELECT b.id FROM part JOIN batch b ON b.parent_id = part.id),"
    };
}

/// When the requests that nobody here knows of are dead, by rail.
pub(crate) fn dead_after() -> (Vec<&'static str>, Vec<PgInterval>) {
    RAILS.iter().map(|rail| (rail.name, interval(rail.dead_after()))).unzip()
}

/// Holds all that was never sent below the roots of the batches of these payouts, under the locks of `batches`. What
/// controls hold is in doubt too, and not let go with them. Returns which payouts are in doubt by this.
pub(crate) async fn doubt_hold(
    tx: &mut PgConnection,
    payouts: &[i64],
    batches: &[i64],
) -> Result<Vec<i64>, StoreError> {
    if payouts.is_empty() {
        return Ok(Vec::new());
    }
    let found: Vec<i64> = sqlx::query_scalar(concat!(
        "-- doubt_find",
        family_sql!(),
        "
         unsent AS (
           SELECT b.first_payout_id, b.last_payout_id FROM part JOIN batch b USING (id)
            WHERE b.state IN ('ready', 'held') AND b.first_sent_at IS NULL)
         SELECT p.id FROM unsent b JOIN payout p ON p.id BETWEEN b.first_payout_id AND b.last_payout_id
          WHERE p.state = ANY($2) OR p.state = 'held' ORDER BY p.id"
    ))
    .bind(payouts)
    .bind(PayoutState::sources(PayoutEvent::Hold))
    .fetch_all(&mut *tx)
    .await
    .step("doubt_find")?;
    let mut doubted = holds_doubt(tx, &found, None).await?;
    doubted.extend(payouts_hold(tx, &Held::all(found, HoldReason::StoppedInDoubt, Some(NOT_SENT))).await?);
    doubted.sort_unstable();
    attempt_doubt(tx, batches).await?;
    sending_doubt(tx, payouts).await?;
    Ok(doubted)
}

/// What was one batch with these payouts and is under way: the request that nobody here knows of may have been for it
/// too. Nothing of it counts as unsent any more, whatever our own requests are answered, and it is resolved by the
/// rail's class.
async fn sending_doubt(tx: &mut PgConnection, payouts: &[i64]) -> Result<(), StoreError> {
    let (rails, dead_after) = dead_after();
    sqlx::query(concat!(
        "-- sending_doubt",
        family_sql!(),
        "
         doubted AS (
           UPDATE batch b SET attempt = b.attempt + 1, first_sent_at = least(b.first_sent_at, r.created_at)
             FROM part, run r
            WHERE b.id = part.id AND b.state = 'sending' AND r.id = b.run_id AND r.tenant_id = b.tenant_id
              AND NOT EXISTS (SELECT FROM attempt a WHERE a.batch_id = b.id AND a.worker = 'nobody known')
        RETURNING b.id, b.attempt, b.tenant_id, b.lease_epoch, b.rail, b.first_payout_id, b.last_payout_id,
          r.created_at),
         lost AS (
           UPDATE payout p SET state = 'unknown' FROM doubted d
            WHERE p.id BETWEEN d.first_payout_id AND d.last_payout_id AND p.state = ANY($2))
         INSERT INTO attempt (batch_id, n, tenant_id, epoch, worker, opened_at, may_arrive_until, closed_at, result)
         SELECT d.id, d.attempt, d.tenant_id, d.lease_epoch, 'nobody known', d.created_at,
                clock_timestamp() + coalesce(known.dead_after, '0') + interval '1 millisecond', clock_timestamp(),
                  'unknown'
           FROM doubted d LEFT JOIN unnest($3::text[], $4::interval[]) AS known (rail, dead_after)
             ON known.rail = d.rail"
    ))
    .bind(payouts)
    .bind(PayoutState::sources(PayoutEvent::LoseTrack))
    .bind(rails)
    .bind(dead_after)
    .execute(tx)
    .await
    .step("sending_doubt")?;
    Ok(())
}

/// Holds what is left of a batch that is to be sent, if more is known of it than we have done: to send it could be the
/// second payment. (It came while the answer was on its way that nothing was executed, or to another part of what was
/// one batch.)
///
/// That is: a statement tells of something in it that has no answer; or something in it is paid that our attempts say
/// they did not pay, its own and those of what it was a part of, or, under a batch key, is paid at all; or a request
/// that nobody here knows of was found for what was one batch with it.
pub(crate) async fn known_hold(tx: &mut PgConnection, batch: &LockedBatch) -> Result<Known, StoreError> {
    let goes_together = Rail::named(&batch.rail).map_or(true, |rail| rail.key_unit == KeyUnit::Batch);
    let (is_more, open, references): (bool, Vec<i64>, Vec<String>) = sqlx::query_as(concat!(
        "-- known_find
         WITH RECURSIVE up AS (
           SELECT id, parent_id FROM batch WHERE id = $4 UNION SELECT b.id, b.parent_id FROM up JOIN batch b
             ON b.id = up.parent_id),
         part AS (
           SELECT id FROM up WHERE parent_id IS NULL UNION SELECT b.id FROM part JOIN batch b ON b.parent_id = part.id),
         known AS (
           SELECT EXISTS (SELECT FROM movement w JOIN payout k ON k.id = w.payout_id
                           WHERE w.payout_id BETWEEN $1 AND $2 AND k.state IN ",
        unanswered!(),
        ")
               OR EXISTS (SELECT FROM part JOIN attempt a ON a.batch_id = part.id WHERE a.worker = 'nobody known')
               OR EXISTS (SELECT FROM payout k WHERE k.id BETWEEN $1 AND $2
                 AND k.state IN ('paid', 'returned', 'accepted'))
                  AND ($5 OR NOT EXISTS (SELECT FROM up JOIN attempt a ON a.batch_id = up.id
                    WHERE a.result IS DISTINCT FROM 'not_executed')) AS more)
         SELECT (SELECT more FROM known),
                ARRAY (SELECT id FROM payout WHERE id BETWEEN $1 AND $2 AND state = ANY($3) ORDER BY id),
                ARRAY (SELECT reference FROM movement WHERE payout_id BETWEEN $1 AND $2 ORDER BY id LIMIT 3)"
    ))
    .bind(batch.first.0)
    .bind(batch.last.0)
    .bind(PayoutState::sources(PayoutEvent::Hold))
    .bind(batch.id.0)
    .bind(goes_together)
    .fetch_one(&mut *tx)
    .await
    .step("known_find")?;
    if open.is_empty() {
        return Ok(Known::Answered);
    }
    if !is_more {
        return Ok(Known::Nothing);
    }
    let held = payouts_hold(tx, &Held::all(open, HoldReason::StoppedInDoubt, Some(NOT_SENT))).await?;
    let Some(first) = held.first() else {
        return Err(StoreError::Broken(format!("batch {} is in doubt, and nothing of it can be held", batch.id)));
    };
    attempt_doubt(tx, &[batch.id.0]).await?;
    doubt_tell(tx, *first, held.len(), batch, &references).await?;
    Ok(Known::Held)
}

/// What is known of a batch that is to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Known {
    /// No more than we have done.
    Nothing,
    /// All of it has its answer: there is nothing left to send.
    Answered,
    /// More: what was left of it is held now.
    Held,
}

/// Told, but the run is not paused by it: an intent shares the lock on the run with others, and nothing of this is sent
/// any more.
pub(crate) async fn doubt_tell(
    tx: &mut PgConnection,
    first: i64,
    held: usize,
    batch: &LockedBatch,
    references: &[String],
) -> Result<(), StoreError> {
    let known = match references {
        [] => "of what was one batch with it".to_owned(),
        some => some.join(", "),
    };
    let words = format!("{known}; {held} payouts of batch {} are held", batch.id);
    alarms_tell(tx, &[(first, AlarmKind::PaidUnsent, words)]).await?;
    Ok(())
}

/// The request that nobody here knows of: it may have left as soon as the run was there, and may arrive as late as one
/// that leaves now. Before it is dead nobody may say that it did not pay.
async fn attempt_doubt(tx: &mut PgConnection, batches: &[i64]) -> Result<(), StoreError> {
    let (rails, dead_after) = dead_after();
    sqlx::query(
        "-- attempt_doubt
         WITH doubted AS (
           UPDATE batch b SET attempt = b.attempt + 1
             FROM run r
            WHERE b.id = ANY($1) AND b.state IN ('ready', 'held') AND b.first_sent_at IS NULL AND r.id = b.run_id
              AND r.tenant_id = b.tenant_id
              AND EXISTS (SELECT FROM payout p WHERE p.id BETWEEN b.first_payout_id AND b.last_payout_id
                AND p.state = 'held' AND p.code = $2)
              AND NOT EXISTS (SELECT FROM attempt a WHERE a.batch_id = b.id AND a.worker = 'nobody known')
        RETURNING b.id, b.attempt, b.tenant_id, b.lease_epoch, b.rail, r.created_at)
         INSERT INTO attempt (batch_id, n, tenant_id, epoch, worker, opened_at, may_arrive_until, closed_at, result)
         SELECT d.id, d.attempt, d.tenant_id, d.lease_epoch, 'nobody known', d.created_at,
                clock_timestamp() + coalesce(known.dead_after, '0') + interval '1 millisecond', clock_timestamp(),
                  'unknown'
           FROM doubted d LEFT JOIN unnest($3::text[], $4::interval[]) AS known (rail, dead_after)
             ON known.rail = d.rail",
    )
    .bind(batches)
    .bind(HoldReason::StoppedInDoubt.code())
    .bind(rails)
    .bind(dead_after)
    .execute(tx)
    .await
    .step("attempt_doubt")?;
    Ok(())
}
