//! Pauses, cancels and controls: what reaches a lessee, what it confirms, and what is never sent.

#![allow(clippy::unwrap_used)]

mod support;

use payfleet_domain::{BatchState, Epoch, HoldReason, Outcome, RunId};
use payfleet_store::{LeasedBatch, StopConfirmed, StopCounts, StopProgress, StopSeen};
use support::{Db, paid, rail, unknown};

fn seen(leased: &LeasedBatch, is_stopped: bool, stop_no: i32, is_unconfirmed: bool) -> StopSeen {
    StopSeen { lease: leased.lease, is_stopped, stop_no, is_unconfirmed }
}

async fn look(db: &Db, leased: &LeasedBatch) -> Vec<StopSeen> {
    db.store.stops_find(vec![(leased.lease.batch, leased.lease.epoch)]).await.unwrap()
}

async fn unconfirmed(db: &Db, run: RunId) -> i64 {
    let StopProgress { is_stopped, unconfirmed } = db.store.stop_progress(run).await.unwrap();
    assert!(is_stopped);
    unconfirmed
}

async fn confirm(db: &Db, leased: &LeasedBatch, epoch: Epoch, stop_no: i32) {
    let lease = payfleet_store::Lease { epoch, ..leased.lease };
    db.store.stops_confirm(vec![StopConfirmed { lease, stop_no, calls: 2, unsent: 1 }]).await.unwrap();
}

#[tokio::test]
async fn a_stop_is_over_when_every_lessee_that_may_send_has_confirmed_it() {
    let db = Db::new().await;
    let tenant = db.tenant("t", "sandbox-payout", 6).await;
    let run = db.run(tenant, "2026-01", 2).await;
    let batches = db.batches(run).await;
    let (sending, other, reading) =
        (db.lease(batches[0]).await, db.lease(batches[1]).await, db.lease(batches[2]).await);
    db.intent(&sending).await;
    db.intent(&other).await;
    assert_eq!(look(&db, &sending).await, [seen(&sending, false, 0, false)]);
    db.store.run_pause(run, "a look").await.unwrap();
    assert_eq!(unconfirmed(&db, run).await, 2, "whoever has no intent gets none");
    assert_eq!(look(&db, &sending).await, [seen(&sending, true, 1, true)]);
    assert_eq!(look(&db, &reading).await, [seen(&reading, true, 1, true)]);
    confirm(&db, &sending, Epoch(sending.lease.epoch.0 - 1), 1).await;
    assert_eq!(unconfirmed(&db, run).await, 2, "an old lease confirms nothing");
    let old = vec![(sending.lease.batch, Epoch(0))];
    assert_eq!(db.store.stops_find(old).await.unwrap(), [], "nor is it told anything");
    confirm(&db, &sending, sending.lease.epoch, 1).await;
    assert_eq!(look(&db, &sending).await, [seen(&sending, true, 1, false)]);
    assert_eq!(unconfirmed(&db, run).await, 1);
    db.expire_lease(batches[1]).await;
    assert_eq!(unconfirmed(&db, run).await, 0, "the end of a lease is a confirmation");
    let counts = db.store.stop_counts(run).await.unwrap();
    assert_eq!(counts["sandbox-payout"], StopCounts { calls: 2, unsent: 3, answering: 1, in_doubt: 2 });
    db.store.run_resume(run).await.unwrap();
    assert_eq!(look(&db, &sending).await, [seen(&sending, false, 1, false)]);
    assert!(!db.store.stop_progress(run).await.unwrap().is_stopped);
    db.store.run_pause(run, "again").await.unwrap();
    assert_eq!(look(&db, &sending).await, [seen(&sending, true, 2, true)], "each stop is confirmed anew");
    db.store.run_cancel(run).await.unwrap();
    db.store.run_cancel(run).await.unwrap();
    assert_eq!(look(&db, &sending).await, [seen(&sending, true, 3, true)], "cancelled once");
    db.drop().await;
}

#[tokio::test]
async fn of_a_cancelled_batch_in_doubt_what_was_not_sent_is_cancelled_and_the_rest_never_sent_again() {
    let db = Db::new().await;
    let tenant = db.tenant("t", "sandbox-payout", 4).await;
    let run = db.run(tenant, "2026-01", 4).await;
    let batch = db.batches(run).await[0];
    let leased = db.lease(batch).await;
    let intent = db.intent(&leased).await;
    db.store.run_cancel(run).await.unwrap();
    assert_eq!(db.store.runs_to_cancel().await.unwrap(), [], "its attempt is open");
    let payouts = db.payouts(run).await;
    let outcome = |payout| match payouts.iter().position(|other| *other == payout) {
        Some(0) => paid(payout),
        Some(1) => Outcome::Unknown,
        _ => Outcome::NotExecuted,
    };
    let mut news = support::report(&leased, &intent, outcome);
    news.release = false;
    db.store.outcomes_record(news.clone()).await.unwrap();
    assert_eq!(db.store.run_cancel(run).await.unwrap(), 0, "somebody works on it");
    assert_eq!(db.store.runs_to_cancel().await.unwrap(), []);
    news.release = true;
    db.store.outcomes_record(news).await.unwrap();
    assert_eq!(db.store.runs_to_cancel().await.unwrap(), [run]);
    assert_eq!(db.store.run_cancel(run).await.unwrap(), 2);
    assert_eq!(db.states(run).await, "cancelled 2, paid 1, unknown 1");
    assert_eq!(db.store.runs_to_cancel().await.unwrap(), []);
    let next = db.lease(batch).await;
    assert!(next.facts.run_cancelled);
    assert_eq!(db.store.batch_hold(next.lease, HoldReason::StoppedInDoubt).await.unwrap(), Some(1));
    assert_eq!(db.states(run).await, "cancelled 2, held 1, paid 1");
    db.assert_ledger().await;
    db.drop().await;
}

#[tokio::test]
async fn what_a_crash_left_behind_is_held_whole_after_a_cancel() {
    let db = Db::new().await;
    let tenant = db.tenant("t", "sandbox-payout", 3).await;
    let run = db.run(tenant, "2026-01", 3).await;
    let batch = db.batches(run).await[0];
    db.intent(&db.lease(batch).await).await;
    db.expire_lease(batch).await;
    assert_eq!(db.store.run_cancel(run).await.unwrap(), 0, "each may have been sent");
    let leased = db.lease(batch).await;
    assert_eq!(db.store.batch_hold(leased.lease, HoldReason::StoppedInDoubt).await.unwrap(), Some(3));
    assert_eq!(db.states(run).await, "held 3");
    db.assert_ledger().await;
    db.drop().await;
}

#[tokio::test]
async fn what_a_rail_does_not_know_of_dead_requests_is_ready_again_and_cancelled() {
    for name in ["sandbox-lookup", "sandbox-batch"] {
        let db = Db::new().await;
        let tenant = db.tenant("t", name, 2).await;
        let run = db.run(tenant, "2026-01", 2).await;
        let batch = db.batches(run).await[0];
        let old = db.lease(batch).await;
        let intent = db.intent(&old).await;
        db.record(&old, &intent, unknown).await;
        db.store.run_cancel(run).await.unwrap();
        let leased = db.lease(batch).await;
        assert_eq!(db.store.batch_clear(leased.lease).await.unwrap(), None, "{name}: it may still arrive");
        assert_eq!(db.states(run).await, "unknown 2");
        db.age(batch, 1_000).await;
        assert_eq!(db.store.batch_clear(old.lease).await.unwrap(), None, "{name}: of an old lease");
        assert_eq!(db.store.batch_clear(leased.lease).await.unwrap(), Some(BatchState::Ready));
        assert_eq!(db.store.batch_clear(leased.lease).await.unwrap(), None, "{name}: once");
        assert_eq!(db.states(run).await, "planned 2");
        let again = db.store.intent_write(leased.lease, "w", rail(name), true).await.unwrap();
        assert!(again.is_err(), "{name}");
        assert_eq!(db.store.run_cancel(run).await.unwrap(), 2);
        assert_eq!(db.states(run).await, "cancelled 2");
        db.assert_ledger().await;
        db.drop().await;
    }
}

#[tokio::test]
async fn a_crash_that_a_lookup_has_explained_is_cleared_too() {
    let db = Db::new().await;
    let tenant = db.tenant("t", "sandbox-lookup", 2).await;
    let run = db.run(tenant, "2026-01", 2).await;
    let batch = db.batches(run).await[0];
    db.intent(&db.lease(batch).await).await;
    db.expire_lease(batch).await;
    db.store.run_cancel(run).await.unwrap();
    let leased = db.lease(batch).await;
    assert_eq!(db.store.batch_clear(leased.lease).await.unwrap(), None, "it may still arrive");
    db.age(batch, 1_000).await;
    assert_eq!(db.store.batch_clear(leased.lease).await.unwrap(), Some(BatchState::Ready));
    assert_eq!(db.store.run_cancel(run).await.unwrap(), 2);
    db.drop().await;
}
