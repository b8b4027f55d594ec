//! Guards G3 (refusal) and G4 (success), and what follows for the batch: the one way in which news of payments becomes
//! state and ledger.
//!
//! Success is never fenced: a late worker's proof of payment always counts. A refusal counts only as G3 says. One
//! statement per kind of news (see `payout`), whatever the size of the batch. Rule `evidence_unfenced`.

use std::sync::Arc;
use std::time::Duration;

use payfleet_domain::{
    AttemptNo, AttemptResult, BatchId, BatchState, Epoch, Money, OlderAttempts, Outcome, PayoutId, Rail,
    RefusalVerdict, one_may_spoil, refusal_verdict,
};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::batch::{LockedBatch, batch_halves, batch_lock, batch_standing};
use crate::connect::{Step, Store, StoreError, detached};
use crate::hold::batch_settle_held;
use crate::lease::{Lease, interval};
use crate::method::methods_close;
use crate::payout::{
    News, Source, evidence_insert, payouts_accept, payouts_lose_track, payouts_refuse, payouts_reopen, payouts_settle,
};
use crate::returned::payouts_return;
use crate::split::split_refused;
use crate::sql::{alive, may_arrive, open_states};
use crate::unfound::unfound_record;

/// What a worker learned about a batch in one go.
#[derive(Debug, Clone)]
pub struct Report {
    /// About which batch.
    pub batch: BatchId,
    /// The lease under which it was learned. Need not be valid any more.
    pub epoch: Epoch,
    /// The attempt that was answered; `None` for a lookup or for following accepted payments.
    pub attempt: Option<AttemptNo>,
    /// What is known now, by payout. Nothing of an attempt for which no call was made. Of a lookup, `NotExecuted` says
    /// that the rail does not know it, and that by its clock no request for it can still arrive.
    pub outcomes: Vec<(PayoutId, Outcome)>,
    /// The rail was asked about payouts, and said nothing of any: as much a failure as an attempt that ends unknown.
    pub unanswered: bool,
    /// The request was refused as a whole: perhaps one payout in it spoils the others.
    pub refused_whole: bool,
    /// If the batch stays open: when it may be looked at again.
    pub available_in: Duration,
    /// Whether the lessee is done with the batch. If not, only the news is recorded and the lease goes on.
    pub release: bool,
}

impl Report {
    /// No call was made for an attempt, though it is written down. The lessee is done with the batch.
    pub fn nothing_sent(lease: Lease, attempt: AttemptNo, available_in: Duration) -> Report {
        Report {
            batch: lease.batch,
            epoch: lease.epoch,
            attempt: Some(attempt),
            outcomes: Vec::new(),
            unanswered: false,
            refused_whole: false,
            available_in,
            release: true,
        }
    }
}

/// What recording did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recorded {
    /// Payouts newly paid.
    pub paid: u64,
    /// Payouts newly refused.
    pub refused: u64,
    /// Payouts that were proven paid after their money had been due again. Booked; no plan pays their accounts before
    /// two people have looked.
    pub late: u64,
    /// Double payments: the payee has more than was ordered, or late proof came when the money had been paid again. The
    /// run is paused if it is open.
    pub alarms: u64,
    /// Where the batch stands now.
    pub state: BatchState,
}

impl Store {
    /// The key of the run of a batch, which no other database has, and its rail.
    pub async fn batch_run_key(&self, batch: BatchId) -> Result<Option<(Uuid, String)>, StoreError> {
        let pool = self.pool.clone();
        detached(async move {
            let sql =
                "-- batch_run_key\nSELECT r.key, b.rail FROM batch b JOIN run r ON r.id = b.run_id WHERE b.id = $1";
            sqlx::query_as(sql).bind(batch.0).fetch_optional(&pool).await.step("batch_run_key")
        })
        .await
    }

    /// Records what is known about a batch's payouts, closes the attempt, and moves the batch on. May be repeated.
    pub async fn outcomes_record(&self, report: impl Into<Arc<Report>>) -> Result<Recorded, StoreError> {
        let report = report.into();
        self.transaction("outcomes_record", move |tx| {
            let report = report.clone();
            Box::pin(async move { record(tx, &report).await })
        })
        .await
    }
}

/// See [`Store::outcomes_record`].
pub(crate) async fn record(tx: &mut PgConnection, report: &Report) -> Result<Recorded, StoreError> {
    let batch = batch_lock(tx, report.batch).await?;
    let rail = Rail::named(&batch.rail).map_err(|unknown| StoreError::Broken(unknown.to_string()))?;
    if let Some((stray, _)) = report.outcomes.iter().find(|(id, _)| *id < batch.first || *id > batch.last) {
        return Err(StoreError::Broken(format!("payout {stray} is not in batch {}", batch.id)));
    }
    let parts = parts_lock(tx, &batch).await?;
    let source = if report.attempt.is_some() { Source::Answer } else { Source::Lookup };
    let news = |pick: fn(&Outcome) -> Option<&str>| News::of(&report.outcomes, pick);

    let mut moved = payouts_settle(
        tx,
        &news(|outcome| match outcome {
            Outcome::Paid(reference) => Some(&reference.0),
            _ => None,
        }),
        source,
    )
    .await?;
    let back = news(|outcome| match outcome {
        Outcome::Returned(reference) | Outcome::ReturnedPart(reference, _) => Some(&reference.0),
        _ => None,
    });
    let parts_back: Vec<Option<Money>> = report
        .outcomes
        .iter()
        .filter_map(|(_, outcome)| match outcome {
            Outcome::Returned(_) => Some(None),
            Outcome::ReturnedPart(_, part) => Some(Some(*part)),
            _ => None,
        })
        .collect();
    moved += payouts_return(tx, &back, &parts_back, source).await?;
    payouts_accept(
        tx,
        &news(|outcome| match outcome {
            Outcome::Accepted(reference) => Some(&reference.0),
            _ => None,
        }),
        source,
    )
    .await?;

    let refusals = news(|outcome| match outcome {
        Outcome::Refused(code) => Some(code.as_str()),
        _ => None,
    });
    let lost_track = news(|outcome| match outcome {
        Outcome::Unknown => Some(""),
        _ => None,
    });
    let mut lost_track = lost_track.ids;
    let mut refused = 0;
    let mut split = false;
    let mut is_unproven = false;
    if !refusals.is_empty() {
        let codes = refusals.words.iter().map(String::as_str);
        let may_spoil = one_may_spoil(batch.state, batch.payouts, codes);
        match refusal_is_final(tx, &batch, rail, report).await? {
            RefusalVerdict::Final if report.refused_whole && may_spoil => split = true,
            RefusalVerdict::Final => {
                refused = payouts_refuse(tx, &refusals, source, report.attempt).await?;
                // One code for all of a request says nothing of each destination in it.
                if !report.refused_whole || batch.payouts == 1 {
                    methods_close(tx, &refusals).await?;
                }
            }
            RefusalVerdict::StillUnknown => {
                is_unproven = true;
                if report.attempt.is_none() && rail.refusal_frees_key() {
                    payouts_reopen(tx, &refusals, source).await?;
                }
                lost_track.extend(&refusals.ids);
            }
        }
    }
    if report.attempt.is_none() && report.epoch == batch.epoch {
        let unfound = news(|outcome| (*outcome == Outcome::NotExecuted).then_some(""));
        unfound_record(tx, &batch, rail, &unfound.ids).await?;
    }
    let lost = !lost_track.is_empty();
    // Of a batch that is ready nothing is under way: that is proven, and news that proves nothing cannot change it.
    let under_way: Vec<&LockedBatch> = match batch.state {
        BatchState::Split => parts.iter().filter(|part| part.state != BatchState::Ready).collect(),
        BatchState::Ready => Vec::new(),
        _ => vec![&batch],
    };
    lost_track.retain(|id| under_way.iter().any(|part| (part.first.0..=part.last.0).contains(id)));
    payouts_lose_track(tx, &lost_track).await?;

    if let Some(attempt) = report.attempt {
        let result = AttemptResult::of(lost, report.outcomes.iter().map(|(_, outcome)| outcome));
        attempt_close(tx, batch.id, attempt, result).await?;
    }
    for part in parts {
        // What came late for the whole may have answered all of a part, which nobody else would notice: it has no news
        // of its own.
        batch_settle_held(tx, part.id.0).await?;
    }
    let state = if split {
        evidence_insert(tx, &refusals, "refused", source, Some(batch.id), report.attempt).await?;
        split_refused(tx, &batch).await?;
        BatchState::Split
    } else {
        batch_advance(tx, &batch, report, lost, is_unproven, &refusals).await?
    };
    Ok(Recorded { paid: moved.paid, refused, late: moved.late, alarms: moved.alarms, state })
}

/// Locks what a split batch was split into, from above down, so that none of it is split or answered meanwhile.
async fn parts_lock(tx: &mut PgConnection, batch: &LockedBatch) -> Result<Vec<LockedBatch>, StoreError> {
    let mut parts = Vec::new();
    let mut split = Vec::from_iter((batch.state == BatchState::Split).then_some(batch.id));
    while let Some(parent) = split.pop() {
        let halves = batch_halves(tx, batch.run, parent).await?;
        for half in halves {
            let half = batch_lock(tx, half).await?;
            match half.state {
                BatchState::Split => split.push(half.id),
                _ => parts.push(half),
            }
        }
    }
    Ok(parts)
}

/// G3, with what the database knows at this moment under the batch's lock. Rule `refusal_proof`.
async fn refusal_is_final(
    tx: &mut PgConnection,
    batch: &LockedBatch,
    rail: &Rail,
    report: &Report,
) -> Result<RefusalVerdict, StoreError> {
    let Some(attempt) = report.attempt else {
        if rail.refusal_frees_key() {
            return Ok(refusal_verdict(rail, report.epoch == batch.epoch, other_attempts(tx, batch).await?));
        }
        let attempts = alive_attempts(tx, batch.id, None).await?;
        return Ok(refusal_verdict(rail, report.epoch == batch.epoch, attempts));
    };
    let newest = attempt == batch.attempt && batch.state != BatchState::Split;
    Ok(refusal_verdict(rail, newest, alive_attempts(tx, batch.id, Some(attempt)).await?))
}

/// Whether an attempt other than `than` has no definite answer of its own and could still arrive when `than` was opened
/// (or can now). See [`AttemptResult::may_arrive`].
async fn alive_attempts(
    tx: &mut PgConnection,
    batch: BatchId,
    than: Option<AttemptNo>,
) -> Result<OlderAttempts, StoreError> {
    let is_alive: bool = sqlx::query_scalar(concat!(
        "-- attempts_alive
         SELECT EXISTS (
           SELECT FROM attempt a
            WHERE a.batch_id = $1 AND a.n IS DISTINCT FROM $2 AND ",
        may_arrive!("a"),
        "
              AND a.may_arrive_until > coalesce((SELECT opened_at FROM attempt WHERE batch_id = $1 AND n = $2),
                clock_timestamp()))"
    ))
    .bind(batch.0)
    .bind(than.map(|n| n.0))
    .fetch_one(tx)
    .await
    .step("attempts_alive")?;
    Ok(if is_alive { OlderAttempts::MayStillArrive } else { OlderAttempts::AllDead })
}

/// What is known of the attempts beside the one by which the rail accepted the payment that it has refused: the newest
/// that was answered. One that could still arrive when that was opened may have been accepted under another name,
/// however long ago it died; so may one whose answer named another.
async fn other_attempts(tx: &mut PgConnection, batch: &LockedBatch) -> Result<OlderAttempts, StoreError> {
    let is_perhaps_accepted: bool = sqlx::query_scalar(concat!(
        "-- another_accepted
         WITH told AS (
           SELECT n, opened_at FROM attempt WHERE batch_id = $1 AND result = 'answered' ORDER BY n DESC LIMIT 1)
         SELECT NOT EXISTS (SELECT FROM told)
             OR EXISTS (
                  SELECT FROM attempt a, told
                   WHERE a.batch_id = $1 AND a.n <> told.n AND a.may_arrive_until > told.opened_at AND ",
        may_arrive!("a"),
        ")
             OR EXISTS (
                  SELECT FROM payout p JOIN evidence e ON e.payout_id = p.id AND e.says = 'accepted', told
                   WHERE p.id BETWEEN $2 AND $3 AND e.reference IS DISTINCT FROM p.reference
                     AND e.seen_at > told.opened_at)"
    ))
    .bind(batch.id.0)
    .bind(batch.first.0)
    .bind(batch.last.0)
    .fetch_one(tx)
    .await
    .step("another_accepted")?;
    Ok(if is_perhaps_accepted { OlderAttempts::MayStillArrive } else { OlderAttempts::AllDead })
}

async fn attempt_close(
    tx: &mut PgConnection,
    batch: BatchId,
    n: AttemptNo,
    result: AttemptResult,
) -> Result<(), StoreError> {
    // The halves of a split batch keep the attempts made before; an answer that comes late closes those too.
    sqlx::query(
        "-- attempt_close
         UPDATE attempt SET result = $3, closed_at = clock_timestamp()
          WHERE n = $2 AND result IS NULL
            AND batch_id IN (SELECT $1 UNION ALL SELECT id FROM batch WHERE parent_id = $1)
            -- Parts that were proven unsent begin to count anew: an attempt of theirs is not this one.
            AND opened_at = (SELECT opened_at FROM attempt WHERE batch_id = $1 AND n = $2)",
    )
    .bind(batch.0)
    .bind(n.0)
    .bind(result.as_str())
    .execute(tx)
    .await
    .step("attempt_close")?;
    Ok(())
}

/// Moves the batch to where its payouts say that it is.
async fn batch_advance(
    tx: &mut PgConnection,
    batch: &LockedBatch,
    report: &Report,
    lost_track: bool,
    is_unproven: bool,
    refusals: &News,
) -> Result<BatchState, StoreError> {
    let (standing, counted) = batch_standing(tx, batch).await?;
    let next = batch.state.after_news(&standing, report.epoch == batch.epoch);
    if next != batch.state {
        batch.state.to(next).map_err(|illegal| StoreError::Broken(illegal.to_string()))?;
    }
    if matches!(next, BatchState::Done | BatchState::Accepted) {
        // Every payout has its answer, so what an unanswered attempt did is known too.
        sqlx::query(concat!(
            "-- attempts_resolve
             UPDATE attempt SET result = 'superseded', closed_at = coalesce(closed_at, clock_timestamp())
              WHERE batch_id = $1 AND ",
            alive!("attempt")
        ))
        .bind(batch.id.0)
        .execute(&mut *tx)
        .await
        .step("attempts_resolve")?;
    }
    // A refusal that is not believed is a failure, and the same request right after it would have no better answer:
    // only when every older one is dead does the next refusal prove anything.
    let progressed = report
        .outcomes
        .iter()
        .any(|(_, outcome)| outcome.is_news() && !(is_unproven && matches!(outcome, Outcome::Refused(_))));
    let unsent = report.outcomes.iter().any(|(_, outcome)| *outcome == Outcome::NotExecuted);
    let nothing_executed = !progressed && report.attempt.is_some() && (unsent || report.outcomes.is_empty());
    // To find out that payments are nowhere is neither news of one nor a failure.
    let is_failure = report.attempt.is_some() || !unsent;
    let code = refusals.words.first().map(String::as_str);
    sqlx::query(concat!(
        "-- batch_advance
         WITH wait AS (
           SELECT CASE WHEN $10 THEN greatest($8, max(may_arrive_until) - clock_timestamp()) ELSE $8 END AS length
             FROM attempt a WHERE a.batch_id = $1 AND $10 AND ",
        may_arrive!("a"),
        ")
         UPDATE batch
            SET state = $2,
                closed_at = CASE WHEN $2 NOT IN ",
        open_states!(),
        " THEN coalesce(closed_at,
                  clock_timestamp()) END,
                first_sent_at = CASE WHEN $2 = 'accepted' THEN coalesce(first_sent_at, clock_timestamp())
                  WHEN $2 <> 'ready' THEN first_sent_at END,
                stalled_leases = CASE WHEN $3 THEN 0 ELSE stalled_leases END,
                unknown_attempts = CASE WHEN $5 THEN 0 ELSE unknown_attempts END + $4::int,
                failures = CASE WHEN NOT $3 THEN failures WHEN $5 THEN 0 ELSE failures + $13::int END,
                last_code = coalesce($6, CASE WHEN $4 THEN 'unknown' WHEN $9 THEN 'not_executed' ELSE last_code END),
                available_at = CASE WHEN $3 AND $7 THEN clock_timestamp() + wait.length ELSE available_at END,
                available_in = CASE WHEN $3 AND $7 THEN wait.length ELSE available_in END,
                lease_until = CASE WHEN $3 AND $7 THEN '-infinity' ELSE lease_until END,
                lease_owner = CASE WHEN $3 AND $7 THEN NULL ELSE lease_owner END,
                outcomes = $11::jsonb, counted_after = $12::xid8
           FROM wait
          WHERE id = $1"
    ))
    .bind(batch.id.0)
    .bind(next.as_str())
    .bind(report.epoch == batch.epoch)
    .bind(lost_track || (report.unanswered && report.epoch == batch.epoch))
    .bind(progressed)
    .bind(code)
    .bind(report.release)
    .bind(interval(report.available_in))
    .bind(nothing_executed)
    .bind(is_unproven)
    .bind(&counted.outcomes)
    .bind(&counted.after)
    .bind(is_failure)
    .execute(tx)
    .await
    .step("batch_advance")?;
    Ok(next)
}
