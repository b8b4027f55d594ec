//! Controls: what one person has stopped, and what is contested, read again at each intent. Rule `controls_at_intent`.
//!
//! A batch's membership never changes, so a batch with payouts under control is split at the intent: each of those gets
//! a batch of its own and is held there, and the others are picked up as if nothing had been. What was never sent is
//! held by the control, and goes on when that is lifted; what was perhaps sent is held in doubt, as after a cancel.

mod people;

use payfleet_domain::{
    BatchId, BatchState, HoldReason, KeyUnit, PayoutEvent, PayoutId, PayoutState, Rail, RunState, TransferKind,
};
use sqlx::{PgConnection, Row};

use crate::batch::{LockedBatch, batch_lock, word};
use crate::connect::{Step, StoreError};
use crate::doubt::{Known, doubt_tell, known_hold};
use crate::hold::{Held, batch_settle_held, payouts_hold};
use crate::intent::IntentRefused;
use crate::movement::numbers;
use crate::outcomes::batches_count;
use crate::payout::payouts_cancel;
use crate::people::WhoError;
use crate::split::{Part, split_into};
use crate::sql::{alive, unanswered};
use crate::stray::RECOVERED;

/// Why a control was not set or lifted.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// No such payout.
    #[error("there is no payout {0}")]
    NoPayout(PayoutId),
    /// No such affiliate.
    #[error("this tenant has no affiliate `{0}`")]
    NoAffiliate(String),
    /// It is too late, or not needed.
    #[error("payout {payout} is {state} and cannot be stopped")]
    Settled {
        /// Which.
        payout: PayoutId,
        /// Where it stands.
        state: PayoutState,
    },
    /// There is nothing to lift.
    #[error("payout {0} is not stopped")]
    NotStopped(PayoutId),
    /// There is nothing to lift.
    #[error("affiliate `{0}` is not on hold")]
    NotOnHold(String),
    /// It was paid by what no run knows any more: to be booked first.
    #[error(
        "affiliate `{affiliate}` is on hold ({reason}). It got {payments}. Book that as a clawback, \
         so that the next run pays the less, and then say so, a second person too: `affiliate release --booked`"
    )]
    Recovered {
        /// Who.
        affiliate: String,
        /// Why, all of it.
        reason: String,
        /// What it got, for people.
        payments: String,
    },
    /// Nobody has to say that anything is booked.
    #[error("affiliate `{0}` is not on hold since a recovery; release it without --booked")]
    NotRecovered(String),
    /// By these words a recovery's own hold is known, which is released otherwise.
    #[error(
        "a reason cannot have `{RECOVERED}` in it, which is how the holds of a recovery begin; say it in other words"
    )]
    WordsOfRecovery,
    /// Who says so has no say.
    #[error(transparent)]
    Who(#[from] WhoError),
    /// The same person twice.
    #[error("{0} has said this already; a second person must say the same")]
    SamePerson(String),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What setting a control has found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ControlSet {
    /// It was set before; its reason is the old one.
    pub was_set: bool,
    /// Open payouts of which nothing was sent: they will be held.
    pub unsent: i64,
    /// Open payouts that may be on their way.
    pub perhaps_sent: i64,
}

/// What lifting a control has moved.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ControlLifted {
    /// Held payouts that go on to be paid.
    pub go_on: u64,
    /// Held payouts whose run is over, or whose money late proof has used up: cancelled, and what is due is paid by the
    /// next run.
    pub cancelled: u64,
}

/// Controls in a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RunControls {
    /// Payouts held by them.
    pub held: i64,
    /// Payouts that will be, when their turn comes.
    pub waiting: i64,
}

/// A payout under control.
#[derive(Debug)]
struct Controlled {
    payout: PayoutId,
    code: HoldReason,
    note: Option<String>,
    state: PayoutState,
    /// A payment of it that is known though it has no answer.
    known: Option<String>,
}

fn control_codes() -> Vec<&'static str> {
    HoldReason::CONTROLS.iter().map(HoldReason::code).collect()
}

/// Whether a batch may have payouts under control; a look that costs little where there are none.
async fn controls_any(tx: &mut PgConnection, batch: BatchId) -> Result<bool, StoreError> {
    sqlx::query_scalar(
        "-- controls_any
         SELECT CASE
                  WHEN EXISTS (SELECT FROM control c WHERE c.payout_id BETWEEN b.first_payout_id AND b.last_payout_id
                    AND c.lifted_at IS NULL)
                    THEN true
                  WHEN EXISTS (SELECT FROM contest k WHERE k.tenant_id = b.tenant_id
                    AND (k.closed_at IS NULL OR EXISTS (
                    SELECT FROM transfer t JOIN run r ON r.id = b.run_id WHERE t.payout_id = k.payout_id
                      AND t.kind = ANY($2) AND t.due_in > r.ordinal)))
                    THEN true
                  WHEN EXISTS (SELECT FROM recovery) AND EXISTS (
                    SELECT FROM control f JOIN run r ON r.id = b.run_id AND r.created_at < f.lifted_at
                     WHERE f.tenant_id = b.tenant_id AND f.affiliate_id IS NOT NULL AND f.reason LIKE '%' || $3 || '%')
                    THEN true
                  WHEN b.state = 'ready' AND (b.attempt > 0 OR b.parent_id IS NOT NULL) THEN true
                  WHEN EXISTS (SELECT FROM movement w
                    WHERE w.payout_id BETWEEN b.first_payout_id AND b.last_payout_id) THEN true
                  WHEN NOT EXISTS (SELECT FROM affiliate a WHERE a.tenant_id = b.tenant_id AND a.on_hold) THEN false
                  ELSE EXISTS (
                    SELECT FROM affiliate a
                     WHERE a.tenant_id = b.tenant_id AND a.on_hold
                       AND a.id >= (SELECT min(p.affiliate_id) FROM payout p
                         WHERE p.id BETWEEN b.first_payout_id AND b.last_payout_id)
                       AND a.id <= (SELECT max(p.affiliate_id) FROM payout p
                         WHERE p.id BETWEEN b.first_payout_id AND b.last_payout_id))
                END
           FROM batch b WHERE b.id = $1",
    )
    .bind(batch.0)
    .bind(numbers(TransferKind::LATES))
    .bind(RECOVERED)
    .fetch_one(tx)
    .await
    .step("controls_any")
}

/// The payouts of a range without an answer that are under control, in order. Also those of which a payment is known
/// all the same, under another name or account or with another amount: to send them again could be the second one. And
/// those that were planned before their account had late proof, or before it was booked what it got by what no run
/// knows: that has used up their money, whether or not people have looked since.
async fn controls_in(tx: &mut PgConnection, first: PayoutId, last: PayoutId) -> Result<Vec<Controlled>, StoreError> {
    let read = "controls_in";
    let rows = sqlx::query(concat!(
        "-- controls_in
         SELECT p.id, s.id IS NOT NULL AS is_stopped, a.on_hold,
                coalesce('payment ' || w.reference || ' of it is known', s.reason, c.reason,
                  'payout ' || k.payout_id || ' was proven paid late',
                  CASE WHEN NOT a.on_hold
                    THEN 'planned before it was booked what its payee got by what no run knows' END) AS note,
                p.state, w.reference AS known
           FROM payout p JOIN run r ON r.id = p.run_id
           JOIN affiliate a ON a.id = p.affiliate_id AND a.tenant_id = p.tenant_id
           LEFT JOIN control s ON s.payout_id = p.id AND s.lifted_at IS NULL
           LEFT JOIN control c ON c.affiliate_id = p.affiliate_id AND c.lifted_at IS NULL
           LEFT JOIN LATERAL (
             SELECT min(o.payout_id) AS payout_id FROM contest o
              WHERE o.tenant_id = p.tenant_id AND o.affiliate_id = p.affiliate_id AND o.currency = p.currency
                 AND (o.closed_at IS NULL OR EXISTS (
                       SELECT FROM transfer t WHERE t.payout_id = o.payout_id AND t.kind = ANY($3)
                         AND t.due_in > r.ordinal))) AS k ON true
           -- A request that went to another account took all of its batch there; to ask ours proves nothing.
           CROSS JOIN (SELECT min(m.reference) AS reference FROM movement m JOIN payout q ON q.id = m.payout_id
             AND q.state IN ",
        unanswered!(),
        "
                         JOIN statement_line l ON l.id = m.line_id AND l.differs_account
                        WHERE m.payout_id BETWEEN $1 AND $2 AND m.kind = 'paid') AS e
           LEFT JOIN LATERAL (SELECT coalesce(min(m.reference), e.reference) AS reference FROM movement m
             WHERE m.payout_id = p.id) AS w ON true
          WHERE p.id BETWEEN $1 AND $2 AND p.state IN ",
        unanswered!(),
        "
            AND (a.on_hold OR s.id IS NOT NULL OR k.payout_id IS NOT NULL OR w.reference IS NOT NULL
                 OR EXISTS (SELECT FROM control f
                             WHERE f.affiliate_id = p.affiliate_id AND f.reason LIKE '%' || $4 || '%'
                               AND f.lifted_at > r.created_at))
          ORDER BY p.id"
    ))
    .bind(first.0)
    .bind(last.0)
    .bind(numbers(TransferKind::LATES))
    .bind(RECOVERED)
    .fetch_all(tx)
    .await
    .step(read)?;
    rows.iter()
        .map(|row| {
            let known: Option<String> = row.try_get("known").step(read)?;
            let (is_stopped, is_on_hold) = (row.try_get("is_stopped").step(read)?, row.try_get("on_hold").step(read)?);
            let code = match (&known, is_stopped, is_on_hold) {
                (Some(_), ..) => HoldReason::StoppedInDoubt,
                (None, true, _) => HoldReason::Stopped,
                (None, false, true) => HoldReason::OnHold,
                (None, false, false) => HoldReason::Contested,
            };
            let payout = PayoutId(row.try_get("id").step(read)?);
            let (note, state) = (row.try_get("note").step(read)?, word(row, "state")?);
            Ok(Controlled { payout, code, note, state, known })
        })
        .collect()
}

/// Whether a batch that was perhaps sent has payouts under control.
pub(crate) async fn has_controls(
    tx: &mut PgConnection,
    batch: BatchId,
    first: PayoutId,
    last: PayoutId,
) -> Result<bool, StoreError> {
    Ok(controls_any(tx, batch).await? && !controls_in(tx, first, last).await?.is_empty())
}

/// What an intent does about controls, under the batch's lock: `None` if there are none. Otherwise nothing is sent, and
/// either the batch is split, with what is under control held, or it must be resolved first, since it was perhaps sent
/// as a whole.
pub(crate) async fn controls_apply(
    tx: &mut PgConnection,
    batch: BatchId,
    rail: &Rail,
) -> Result<Option<IntentRefused>, StoreError> {
    if !controls_any(tx, batch).await? {
        return Ok(None);
    }
    let batch = batch_lock(tx, batch).await?;
    if batch.state == BatchState::Ready {
        let known = known_hold(tx, &batch).await?;
        if known != Known::Nothing {
            batch_settle_held(tx, batch.id.0).await?;
            return Ok(Some(if known == Known::Held { IntentRefused::InDoubt } else { IntentRefused::Split }));
        }
    }
    let controls = controls_in(tx, batch.first, batch.last).await?;
    if controls.is_empty() || !batch.state.may_lack_answers() {
        return Ok(None);
    }
    if batch.state == BatchState::Sending && rail.key_unit == KeyUnit::Batch {
        return Ok(Some(IntentRefused::Controlled));
    }
    let (open, alive): (i64, i64) = sqlx::query_as(concat!(
        "-- attempts_count
         SELECT count(*) FILTER (WHERE result IS NULL), count(*) FILTER (WHERE ",
        alive!("attempt"),
        ")
           FROM attempt WHERE batch_id = $1"
    ))
    .bind(batch.id.0)
    .fetch_one(&mut *tx)
    .await
    .step("attempts_count")?;
    // Of what is ready nothing is under way; of the rest, what every attempt has said it did not execute, and what no
    // attempt can any more.
    let unsent = |one: &Controlled| {
        one.known.is_none()
            && (batch.state == BatchState::Ready || alive == 0 || open == 0 && one.state == PayoutState::Planned)
    };
    let mut parts = Vec::new();
    let mut next = batch.first;
    for one in &controls {
        parts_between(tx, &batch, rail, next, PayoutId(one.payout.0 - 1), &mut parts).await?;
        let state = if unsent(one) { BatchState::Ready } else { BatchState::Sending };
        parts.push(Part { first: one.payout, last: one.payout, state });
        next = PayoutId(one.payout.0 + 1);
    }
    parts_between(tx, &batch, rail, next, batch.last, &mut parts).await?;
    let held = controls.iter().map(|one| Held {
        payout: one.payout.0,
        reason: if unsent(one) { one.code } else { HoldReason::StoppedInDoubt },
        note: one.note.clone(),
    });
    payouts_hold(tx, &held.collect::<Vec<_>>()).await?;
    match parts.as_slice() {
        [whole] => {
            if whole.state == BatchState::Ready {
                unsent_mark(tx, batch.id).await?;
            }
            batch_settle_held(tx, batch.id.0).await?;
        }
        // Each part with nothing left unanswered moves to where its payouts are.
        _ => split_into(tx, &batch, &parts).await?,
    }
    let known: Vec<(i64, String)> = controls.into_iter().filter_map(|one| Some((one.payout.0, one.known?))).collect();
    let Some((first, _)) = known.first() else { return Ok(Some(IntentRefused::Split)) };
    let references: Vec<String> = known.iter().take(3).map(|(_, reference)| reference.clone()).collect();
    doubt_tell(tx, *first, known.len(), &batch, &references).await?;
    Ok(Some(IntentRefused::InDoubt))
}

/// The parts of what lies between two payouts under control. A new batch key is for what was never sent alone: with an
/// answered payout among it, that would be paid again.
async fn parts_between(
    tx: &mut PgConnection,
    batch: &LockedBatch,
    rail: &Rail,
    first: PayoutId,
    last: PayoutId,
    into: &mut Vec<Part>,
) -> Result<(), StoreError> {
    if first > last {
        return Ok(());
    }
    if rail.key_unit == KeyUnit::Payout {
        into.push(Part { first, last, state: batch.state });
        return Ok(());
    }
    let rows: Vec<(i64, bool)> = sqlx::query_as(
        "-- answered_in\nSELECT id, state <> 'planned' FROM payout WHERE id BETWEEN $1 AND $2 ORDER BY id",
    )
    .bind(first.0)
    .bind(last.0)
    .fetch_all(tx)
    .await
    .step("answered_in")?;
    let mut was_answered = None;
    for (id, is_answered) in rows {
        match into.last_mut() {
            Some(part) if was_answered == Some(is_answered) => part.last = PayoutId(id),
            _ => into.push(Part { first: PayoutId(id), last: PayoutId(id), state: BatchState::Ready }),
        }
        was_answered = Some(is_answered);
    }
    Ok(())
}

/// A batch of one payout that was proven unsent is as one that never was sent.
async fn unsent_mark(tx: &mut PgConnection, batch: BatchId) -> Result<(), StoreError> {
    sqlx::query("-- unsent_mark\nUPDATE batch SET state = 'ready', first_sent_at = NULL WHERE id = $1")
        .bind(batch.0)
        .execute(tx)
        .await
        .step("unsent_mark")?;
    Ok(())
}

/// Lets a batch go on that a control has held, under its lock. Its money is released where its run is over, and where
/// it was contested: it was planned before its account had late proof, which has used it up; the next run pays what is
/// due. `None` if it is no such batch.
pub(crate) async fn control_let_go(
    tx: &mut PgConnection,
    batch: &LockedBatch,
) -> Result<Option<ControlLifted>, StoreError> {
    let lifted = sqlx::query(
        "-- batch_lift
         UPDATE batch b SET state = 'ready', closed_at = NULL, stalled_leases = 0, available_at = clock_timestamp(),
           available_in = NULL
          WHERE b.id = $1 AND b.state = 'held' AND b.first_sent_at IS NULL
            AND NOT EXISTS (SELECT FROM payout p WHERE p.id BETWEEN b.first_payout_id AND b.last_payout_id
                               AND (p.state <> 'held' OR p.code <> ALL($2)))",
    )
    .bind(batch.id.0)
    .bind(control_codes())
    .execute(&mut *tx)
    .await
    .step("batch_lift")?
    .rows_affected();
    if lifted == 0 {
        return Ok(None);
    }
    let reasons: Vec<String> = sqlx::query_scalar(
        "-- payouts_lift
         WITH moved AS (
           UPDATE payout SET state = 'planned', code = NULL WHERE id BETWEEN $1 AND $2 AND state = ANY($3) RETURNING id)
         UPDATE hold h SET resolution = 'lifted', resolved_at = clock_timestamp()
           FROM moved WHERE h.payout_id = moved.id AND h.resolved_at IS NULL RETURNING h.reason",
    )
    .bind(batch.first.0)
    .bind(batch.last.0)
    .bind(PayoutState::sources(PayoutEvent::Lift))
    .fetch_all(&mut *tx)
    .await
    .step("payouts_lift")?;
    // What they are paid was paid before a recovery, or late: the next run pays what is due then.
    let was_paid =
        reasons.iter().any(|reason| reason == HoldReason::Contested.code()) || is_recovered(tx, batch).await?;
    // Shared, so that the run is neither closed nor cancelled in between.
    let state: String = sqlx::query_scalar("-- run_share\nSELECT state FROM run WHERE id = $1 FOR SHARE")
        .bind(batch.run)
        .fetch_one(&mut *tx)
        .await
        .step("run_share")?;
    let state: RunState = state.parse().map_err(StoreError::Broken)?;
    let lifted = if state.is_open() && !was_paid {
        ControlLifted { go_on: batch.payouts.unsigned_abs().into(), cancelled: 0 }
    } else {
        let cancelled = payouts_cancel(tx, &(batch.first.0..=batch.last.0).collect::<Vec<i64>>()).await?;
        let sql = "-- batch_cancel\nUPDATE batch SET state = 'cancelled', closed_at = clock_timestamp() WHERE id = $1";
        sqlx::query(sql).bind(batch.id.0).execute(&mut *tx).await.step("batch_cancel")?;
        ControlLifted { go_on: 0, cancelled }
    };
    batches_count(tx, &[batch.id.0]).await?;
    Ok(Some(lifted))
}

/// Whether a payee of this batch is on hold by a recovery, or was when it had been planned: it got what no run knows.
/// What was planned before that was booked is no more what is due.
async fn is_recovered(tx: &mut PgConnection, batch: &LockedBatch) -> Result<bool, StoreError> {
    sqlx::query_scalar(
        "-- batch_recovered
         SELECT EXISTS (
           SELECT FROM payout p JOIN run r ON r.id = p.run_id
             JOIN control c ON c.affiliate_id = p.affiliate_id AND c.reason LIKE '%' || $3 || '%'
                                AND (c.lifted_at IS NULL OR c.lifted_at > r.created_at)
            WHERE p.id BETWEEN $1 AND $2)",
    )
    .bind(batch.first.0)
    .bind(batch.last.0)
    .bind(RECOVERED)
    .fetch_one(tx)
    .await
    .step("batch_recovered")
}
