//! Pauses, cancels and controls: what reaches a lessee, what it confirms, and what is never sent.

use crate::support::{Db, paid, rail, refused, unknown};
use payfleet_domain::{BatchId, BatchState, Epoch, HoldReason, Outcome, Role, RunId, TokenHash};
use payfleet_store::{
    CloseVerdict, ControlLifted, ControlSet, Decision, HoldError, Intent, IntentRefused, LeasedBatch, RunControls,
    StopConfirmed, StopCounts, StopProgress, StopSeen,
};

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

/// Stops a run while an intent of it is being written, and begins another one while the stop waits. Returns what the
/// stop says and what that one came to.
async fn stopped_between<T: Send + 'static>(
    db: &Db,
    run: RunId,
    stop: impl Future<Output = T> + Send + 'static,
) -> (T, Result<Intent, IntentRefused>) {
    let leased = db.lease(db.batches(run).await[0]).await;
    let mut written = db.sql.begin().await.unwrap();
    for lock in ["SELECT pg_advisory_xact_lock_shared(1346764807, $1::int)", "SELECT FROM run WHERE id = $1 FOR SHARE"]
    {
        sqlx::query(lock).bind(run.0).execute(&mut *written).await.unwrap();
    }
    let stop = tokio::spawn(stop);
    db.until_waiting(1).await;
    let store = db.store.clone();
    let intent = async move { store.intent_write(leased.lease, "w", rail("sandbox-payout"), false).await.unwrap() };
    let mut intent = tokio::spawn(intent);
    tokio::select! {
        passed = &mut intent => panic!("an intent went past the stop that waits: {passed:?}"),
        () = db.until_waiting(2) => {}
    }
    written.commit().await.unwrap();
    (stop.await.unwrap(), intent.await.unwrap())
}

/// Share locks on a row that overlap would keep a stop waiting for as long as there are some.
#[tokio::test]
async fn whoever_stops_a_run_waits_for_the_intents_before_it_and_for_none_after_it() {
    let db = Db::new().await;
    let tenant = db.tenant("t", "sandbox-payout", 2).await;
    let run = db.run(tenant, "2026-01", 1).await;
    let store = db.store.clone();
    let ((), after) = stopped_between(&db, run, async move { store.run_pause(run, "now").await.unwrap() }).await;
    assert_eq!(after.unwrap_err(), IntentRefused::RunStopped);
    let run = db.run(db.tenant("u", "sandbox-payout", 2).await, "2026-01", 1).await;
    let store = db.store.clone();
    let (cancelled, after) = stopped_between(&db, run, async move { store.run_cancel(run).await.unwrap() }).await;
    assert_eq!((cancelled, after.unwrap_err()), (2, IntentRefused::RunStopped));
    let tenant = db.tenant("v", "sandbox-payout", 2).await;
    let run = db.run(tenant, "2026-01", 1).await;
    let name: String = db.scalar("SELECT external_id FROM affiliate ORDER BY id DESC LIMIT 1 OFFSET 1").await;
    let store = db.store.clone();
    let hold = async move { store.affiliate_hold(tenant, &name, "fraud").await.unwrap() };
    let (held, after) = stopped_between(&db, run, hold).await;
    assert_eq!(held, ControlSet { was_set: false, unsent: 1, perhaps_sent: 0 });
    assert_eq!(after.unwrap_err(), IntentRefused::Split);
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
    let mut news = crate::support::report(&leased, &intent, outcome);
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

async fn intend(db: &Db, batch: BatchId) -> Result<payfleet_store::Intent, IntentRefused> {
    let leased = db.lease(batch).await;
    db.store.intent_write(leased.lease, "w", rail(&leased.rail), false).await.unwrap()
}

async fn held_codes(db: &Db) -> String {
    db.scalar(
        "SELECT coalesce(string_agg(code || ' ' || coalesce(note, '-'), ', ' ORDER BY p.id), '')
           FROM payout p JOIN hold h ON h.payout_id = p.id AND h.resolved_at IS NULL WHERE p.state = 'held'",
    )
    .await
}

#[tokio::test]
async fn whoever_was_put_on_hold_after_the_plan_is_not_paid_and_the_others_are() {
    for name in ["sandbox-payout", "sandbox-batch", "sandbox-lookup", "sandbox-file"] {
        let db = Db::new().await;
        let tenant = db.tenant("t", name, 6).await;
        let run = db.run(tenant, "2026-01", 6).await;
        let whole = db.batches(run).await[0];
        let payouts = db.payouts(run).await;
        db.change("UPDATE affiliate SET on_hold = true WHERE external_id = 'a1' AND $1 > 0", 1).await;
        let set = db.store.affiliate_hold(tenant, "a4", " fraud ").await.unwrap();
        assert_eq!(set, ControlSet { was_set: false, unsent: 1, perhaps_sent: 0 }, "{name}");
        assert!(db.store.payout_stop(payouts[4], "ask ann").await.unwrap().unsent == 1);
        assert_eq!(db.store.run_controls(run).await.unwrap(), RunControls { held: 0, waiting: 3 });
        assert_eq!(intend(&db, whole).await.unwrap_err(), IntentRefused::Split, "{name}");
        assert_eq!(held_codes(&db).await, "on_hold -, on_hold fraud, stopped ask ann", "{name}");
        assert_eq!(db.store.run_controls(run).await.unwrap(), RunControls { held: 3, waiting: 0 });
        for batch in db.batches(run).await {
            if db.try_lease(batch).await.is_some() {
                db.expire_lease(batch).await;
                db.pay(batch, paid).await;
            }
        }
        assert_eq!(db.states(run).await, "held 3, paid 3", "{name}");
        let decided = db.store.hold_decide(payouts[0], Decision::NotPaid, TokenHash([0; 32])).await;
        assert!(decided.is_err(), "a control is lifted, not decided");
        // One goes on by itself; what is lifted is paid once.
        let lifted = db.store.affiliate_release(tenant, "a4").await.unwrap();
        assert_eq!((lifted.go_on, lifted.cancelled), (1, 0), "{name}");
        assert_eq!(db.store.payout_release(payouts[4]).await.unwrap().go_on, 1);
        assert!(db.store.payout_release(payouts[4]).await.is_err(), "it is not stopped any more");
        assert!(db.store.affiliate_release(tenant, "a4").await.is_err(), "it is not on hold any more");
        assert_eq!(db.store.run_close(run).await.unwrap(), CloseVerdict::NotYet, "{name}: they are to be paid");
        for batch in db.batches(run).await {
            if let Some(leased) = db.try_lease(batch).await {
                let intent = db.intent(&leased).await;
                assert_eq!(intent.orders.len(), 1, "{name}");
                db.record(&leased, &intent, paid).await;
            }
        }
        assert_eq!(db.states(run).await, "held 1, paid 5", "{name}");
        assert_eq!(db.store.run_close(run).await.unwrap(), CloseVerdict::Settled, "{name}");
        // The run is over: its money is due again.
        let lifted = db.store.affiliate_release(tenant, "a1").await.unwrap();
        assert_eq!((lifted.go_on, lifted.cancelled), (0, 1), "{name}");
        assert_eq!(db.states(run).await, "cancelled 1, paid 5", "{name}");
        db.assert_ledger().await;
        db.drop().await;
    }
}

#[tokio::test]
async fn a_cancel_releases_what_controls_hold() {
    let db = Db::new().await;
    let tenant = db.tenant("t", "sandbox-batch", 3).await;
    let run = db.run(tenant, "2026-01", 3).await;
    db.store.affiliate_hold(tenant, "a2", "fraud").await.unwrap();
    assert_eq!(intend(&db, db.batches(run).await[0]).await.unwrap_err(), IntentRefused::Split);
    assert_eq!(db.states(run).await, "held 1, planned 2");
    assert_eq!(db.store.run_cancel(run).await.unwrap(), 3);
    assert_eq!(db.states(run).await, "cancelled 3");
    assert_eq!(db.store.affiliate_release(tenant, "a2").await.unwrap(), ControlLifted::default());
    db.assert_ledger().await;
    db.drop().await;
}

/// Found by the chaos run: whoever asked about a run before its payment began was told of a broken invariant.
#[tokio::test]
async fn a_run_whose_payment_has_not_begun_can_be_looked_at() {
    let db = Db::new().await;
    let tenant = db.tenant("t", "sandbox-payout", 2).await;
    let run = db.planned(tenant, "2026-01", 2).await;
    let progress = db.store.run_status(run).await.unwrap().progress;
    assert_eq!((progress.batches_waiting, progress.payouts, progress.oldest_open), (1, 2, None));
    db.drop().await;
}

#[tokio::test]
async fn what_was_perhaps_sent_before_it_was_stopped_is_not_sent_again() {
    let db = Db::new().await;
    let tenant = db.tenant("t", "sandbox-payout", 3).await;
    let run = db.run(tenant, "2026-01", 3).await;
    let batch = db.batches(run).await[0];
    let payouts = db.payouts(run).await;
    let leased = db.lease(batch).await;
    let intent = db.intent(&leased).await;
    let outcome = |payout| if payout == payouts[2] { Outcome::NotExecuted } else { Outcome::Unknown };
    db.record(&leased, &intent, outcome).await;
    for payout in &payouts[1..] {
        db.store.payout_stop(*payout, "wait").await.unwrap();
    }
    assert_eq!(intend(&db, batch).await.unwrap_err(), IntentRefused::Split);
    assert_eq!(held_codes(&db).await, "stopped_in_doubt wait, stopped wait", "the last one was not executed");
    let first = db.batches(run).await[0];
    let again = intend(&db, first).await.unwrap();
    assert_eq!((again.attempt.0, again.orders.len()), (2, 1), "under the same key, after the attempt that it shared");
    assert_eq!(db.store.payout_release(payouts[1]).await.unwrap(), ControlLifted::default(), "that is for two people");
    assert_eq!(db.store.payout_release(payouts[2]).await.unwrap().go_on, 1);
    assert_eq!(db.states(run).await, "held 1, planned 1, unknown 1");
    db.assert_ledger().await;
    db.drop().await;
}

#[tokio::test]
async fn under_a_batch_key_a_control_of_one_stops_all_until_it_is_known_what_became_of_them() {
    let db = Db::new().await;
    let tenant = db.tenant("t", "sandbox-batch", 3).await;
    let run = db.run(tenant, "2026-01", 3).await;
    let batch = db.batches(run).await[0];
    db.pay(batch, unknown).await;
    let before = db.lease(batch).await;
    assert!(!before.facts.has_controls);
    db.store.affiliate_hold(tenant, "a2", "fraud").await.unwrap();
    let refused = db.store.intent_write(before.lease, "w", rail("sandbox-batch"), true).await.unwrap();
    assert_eq!(refused.unwrap_err(), IntentRefused::Controlled);
    db.expire_lease(batch).await;
    let leased = db.lease(batch).await;
    assert!(leased.facts.has_controls);
    db.age(batch, 1_000).await;
    assert_eq!(db.store.batch_clear(leased.lease).await.unwrap(), Some(BatchState::Ready));
    assert_eq!(intend(&db, batch).await.unwrap_err(), IntentRefused::Split);
    assert_eq!(held_codes(&db).await, "on_hold fraud");
    assert_eq!(db.states(run).await, "held 1, planned 2");
    db.assert_ledger().await;
    db.drop().await;
}

/// Money that was released is planned again, and only then proven paid: what is planned and not sent yet does not go
/// out, before two people have looked.
#[tokio::test]
async fn an_account_that_is_contested_is_not_paid_by_what_was_planned_before() {
    let db = Db::new().await;
    let tenant = db.tenant("t", "sandbox-payout", 3).await;
    let run = db.run(tenant, "2026-01", 3).await;
    let batch = db.batches(run).await[0];
    let leased = db.lease(batch).await;
    let intent = db.intent(&leased).await;
    assert_eq!(db.record(&leased, &intent, refused).await.refused, 3);
    let next = db.run(tenant, "2026-02", 3).await;
    let planned = db.batches(next).await[0];
    let two = intent.orders[1].payout;
    let news = vec![(two, paid(two))];
    let late = db.store.outcomes_record(crate::support::looked_up(batch, leased.lease.epoch, news)).await.unwrap();
    assert_eq!((late.late, late.alarms), (1, 0), "its money is planned again already, and not sent");

    let leased = db.lease(planned).await;
    let split = db.store.intent_write(leased.lease, "w", rail("sandbox-payout"), false).await.unwrap();
    assert_eq!(split.unwrap_err(), IntentRefused::Split);
    assert_eq!(db.states(next).await, "held 1, planned 2");
    for part in db.batches(next).await {
        if let Some(leased) = db.try_lease(part).await {
            let intent = db.intent(&leased).await;
            db.record(&leased, &intent, paid).await;
        }
    }
    assert_eq!(db.states(next).await, "held 1, paid 2");
    let reason: String = db.scalar("SELECT reason FROM hold WHERE resolved_at IS NULL").await;
    assert_eq!(reason, "contested");
    // While the contest is open nobody lets it go; then it is cancelled, since late proof has used up its money, and
    // the next run pays what is due.
    assert_eq!(db.store.contested_let_go().await.unwrap(), ControlLifted::default());
    sqlx::query("UPDATE contest SET closed_at = clock_timestamp()").execute(&db.sql).await.unwrap();
    assert_eq!(db.store.contested_let_go().await.unwrap(), ControlLifted { go_on: 0, cancelled: 1 });
    assert_eq!(db.store.contested_let_go().await.unwrap(), ControlLifted::default());
    assert_eq!(db.states(next).await, "cancelled 1, paid 2");
    db.assert_ledger().await;
    db.drop().await;
}

/// Evidence of one payment of a batch that nobody has sent is evidence that the batch was perhaps sent, all of it and
/// whole: a database may have lost what it knew. Nothing of it is sent any more, whatever its rail is, and nobody says
/// at once that it was not paid.
#[tokio::test]
async fn of_a_batch_that_nobody_has_sent_a_known_payment_holds_all() {
    for name in ["sandbox-payout", "sandbox-batch", "sandbox-lookup", "sandbox-file"] {
        let db = Db::new().await;
        let tenant = db.tenant("t", name, 4).await;
        let run = db.run(tenant, "2026-01", 4).await;
        let payouts = db.payouts(run).await;
        // It was parted meanwhile: one payout is stopped, and held in a batch of its own.
        db.store.payout_stop(payouts[3], "fraud").await.unwrap();
        assert_eq!(intend(&db, db.batches(run).await[0]).await.unwrap_err(), IntentRefused::Split, "{name}");
        for alarms in [1, 0] {
            let applied = db.line_read(name, db.line(payouts[1], "theirs").await).await;
            assert_eq!(applied.alarms, alarms, "{name}");
        }
        assert_eq!(db.states(run).await, "held 3, paid 1", "{name}");
        let ann = db.person("ann", Role::Operator, None).await;
        db.store.alarm_answer(1, "a restored database", ann).await.unwrap();
        db.store.run_resume(run).await.unwrap();
        for batch in db.batches(run).await {
            assert!(db.try_lease(batch).await.is_none(), "{name}: nothing is left to send");
        }
        assert_eq!(db.store.payout_release(payouts[3]).await.unwrap().go_on, 0, "{name}: it is in doubt too");
        let [bob, cat] = [db.approver("bob").await, db.approver("cat").await];
        let refused = db.store.hold_decide(payouts[0], Decision::NotPaid, bob).await;
        assert!(matches!(refused, Err(HoldError::NotBefore { .. })), "{name}: {refused:?}");
        db.all_is_dead_and_listed().await;
        for by in [bob, cat] {
            db.store.hold_decide(payouts[0], Decision::NotPaid, by).await.unwrap();
        }
        assert_eq!(db.states(run).await, "held 2, paid 1, refused 1", "{name}");
        db.assert_ledger().await;
        db.drop().await;
    }
}

/// The line comes while the answer is on its way that nothing was executed. It is not as planned, so it settles
/// nothing; but to send again could be the second payment.
#[tokio::test]
async fn what_a_statement_knows_is_not_sent_again_when_nothing_was_executed() {
    let db = Db::new().await;
    let tenant = db.tenant("t", "sandbox-file", 2).await;
    let run = db.run(tenant, "2026-01", 2).await;
    let (batch, payouts) = (db.batches(run).await[0], db.payouts(run).await);
    let leased = db.lease(batch).await;
    let intent = db.intent(&leased).await;
    let line = db.line(payouts[0], "theirs").await;
    let less = payfleet_domain::StatementLine { amount_minor: line.amount_minor - 1, ..line };
    assert_eq!(db.line_read("sandbox-file", less).await.alarms, 0, "it was sent");
    db.record(&leased, &intent, |_| Outcome::NotExecuted).await;
    assert_eq!(intend(&db, batch).await.unwrap_err(), IntentRefused::InDoubt);
    assert_eq!((db.states(run).await, db.store.alarms_open().await.unwrap()), ("held 2".to_owned(), 1));
    db.drop().await;
}

/// Found by the simulator: a rail accepted one payout and provably did not execute the others, and the run was
/// cancelled then. Nobody followed the one any more, and the run did not add up for ever.
#[tokio::test]
async fn what_was_accepted_of_a_batch_whose_rest_is_cancelled_is_followed_to_its_end() {
    let db = Db::new().await;
    let tenant = db.tenant("t", "sandbox-lookup", 2).await;
    let run = db.run(tenant, "2026-01", 2).await;
    let (batch, payouts) = (db.batches(run).await[0], db.payouts(run).await);
    let leased = db.lease(batch).await;
    let intent = db.intent(&leased).await;
    let outcome = |payout| if payout == payouts[0] { crate::support::accepted(payout) } else { Outcome::NotExecuted };
    db.record(&leased, &intent, outcome).await;
    db.store.run_cancel(run).await.unwrap();
    assert_eq!(db.states(run).await, "accepted 1, cancelled 1");
    assert_eq!(db.store.run_close(run).await.unwrap(), CloseVerdict::NotYet);
    let leased = db.lease(batch).await;
    assert_eq!(leased.facts.state, BatchState::Accepted);
    db.store
        .outcomes_record(crate::support::looked_up(batch, leased.lease.epoch, vec![(payouts[0], paid(payouts[0]))]))
        .await
        .unwrap();
    assert_eq!(db.store.run_close(run).await.unwrap(), CloseVerdict::Settled);
    db.assert_ledger().await;
    db.drop().await;
}

/// The line is just as planned and settles its payout while the call is under way; then nothing of the call was
/// executed. Somebody else has sent the batch, and the rest of it is not sent again, nor is what is paid; a cancel
/// frees nothing of it either.
#[tokio::test]
async fn what_somebody_else_has_paid_of_a_batch_holds_the_rest_when_nothing_was_executed() {
    for (name, cancels) in [("sandbox-file", false), ("sandbox-payout", false), ("sandbox-lookup", true)] {
        let db = Db::new().await;
        let tenant = db.tenant("t", name, 3).await;
        let run = db.run(tenant, "2026-01", 3).await;
        let (batch, payouts) = (db.batches(run).await[0], db.payouts(run).await);
        let leased = db.lease(batch).await;
        let intent = db.intent(&leased).await;
        let applied = db.line_read(name, db.line(payouts[0], "theirs").await).await;
        assert_eq!(applied.settled, 1, "{name}");
        db.record(&leased, &intent, |_| Outcome::NotExecuted).await;
        if cancels {
            db.store.run_cancel(run).await.unwrap();
        } else {
            assert_eq!(intend(&db, batch).await.unwrap_err(), IntentRefused::InDoubt, "{name}");
        }
        assert_eq!(db.states(run).await, "held 2, paid 1", "{name}");
        db.assert_ledger().await;
        db.drop().await;
    }
}

/// A worker repeats what it could not see committed, and meanwhile the batch was parted, and a part is on its way under
/// an attempt of the same number.
#[tokio::test]
async fn an_answer_that_is_repeated_closes_no_attempt_of_a_part_that_was_made_since() {
    let db = Db::new().await;
    let tenant = db.tenant("t", "sandbox-lookup", 2).await;
    let run = db.run(tenant, "2026-01", 2).await;
    let (batch, payouts) = (db.batches(run).await[0], db.payouts(run).await);
    let leased = db.lease(batch).await;
    let intent = db.intent(&leased).await;
    let report = || crate::support::report(&leased, &intent, |_| Outcome::NotExecuted);
    db.store.outcomes_record(report()).await.unwrap();
    db.store.payout_stop(payouts[1], "fraud").await.unwrap();
    assert_eq!(intend(&db, batch).await.unwrap_err(), IntentRefused::Split);
    let part = db.batches(run).await[0];
    assert_eq!(intend(&db, part).await.unwrap().attempt.0, 1);
    db.store.outcomes_record(report()).await.unwrap();
    assert_eq!(db.scalar::<i64>("SELECT count(*) FROM attempt WHERE result IS NULL").await, 1, "it is on its way");
    db.drop().await;
}
