//! The conditions inside the guards of proof (G3, G4) and in what follows from news (splits, holds), one by one, where
//! the guards' own tests pass without them: found by taking each away (see `mutants`). Those that come before a payment
//! are in `fences`.

use crate::support::{Db, accepted, looked_up, paid, rail, refused, report, unknown};
use payfleet_domain::{BatchState, Effect, Epoch, HoldReason, Outcome, PayoutId, Reference, RunState};
use payfleet_store::{CloseVerdict, Decision, HoldError, Report};

#[tokio::test]
async fn g4_proof_after_a_refusal_is_booked_once_and_news_never_goes_back() {
    let db = Db::new().await;
    let tenant = db.tenant("t", "sandbox-payout", 6).await;
    let run = db.run(tenant, "2026-01", 2).await;
    let batches = db.batches(run).await;
    let leased = db.lease(batches[0]).await;
    let intent = db.intent(&leased).await;
    assert_eq!(db.record(&leased, &intent, refused).await.refused, 2);
    assert_eq!(db.record(&leased, &intent, refused).await.refused, 0, "again");
    let late = db.record(&leased, &intent, paid).await;
    assert_eq!((late.late, late.alarms), (2, 0), "paid after it was refused, and not paid again meanwhile");
    assert_eq!(db.record(&leased, &intent, paid).await.late, 0, "the same proof again");
    assert_eq!(db.states(run).await, "paid 2, planned 4");
    let owed: i64 = db.scalar("SELECT sum(carried_minor)::bigint FROM account").await;
    assert_eq!(owed, 0, "what was released is taken back");
    let contested: i64 = db.scalar("SELECT count(*) FROM contest WHERE closed_at IS NULL").await;
    assert_eq!(contested, 2);
    let leased = db.lease(batches[1]).await;
    let intent = db.intent(&leased).await;
    assert_eq!(db.record(&leased, &intent, accepted).await.state, BatchState::Accepted);
    db.record(&leased, &intent, unknown).await;
    assert_eq!(db.states(run).await, "accepted 2, paid 2, planned 2", "accepted stays accepted");
    assert_eq!(db.store.run_close(run).await.unwrap(), CloseVerdict::NotYet, "accepted is open");
    db.record(&leased, &intent, paid).await;
    db.record(&leased, &intent, accepted).await;
    db.record(&leased, &intent, refused).await;
    assert_eq!(db.states(run).await, "paid 4, planned 2", "paid stays paid");
    db.pay(batches[2], paid).await;
    assert_eq!(db.store.run_close(run).await.unwrap(), CloseVerdict::Settled);
    assert_eq!(db.store.run_close(run).await.unwrap(), CloseVerdict::NotYet, "settled once");
    db.record(&leased, &intent, |_| Outcome::Paid(Reference("another".into()))).await;
    let found = db.store.run_find(run).await.unwrap().unwrap();
    assert_eq!((found.state, found.pause_reason), (RunState::Settled, None), "what is over is not paused");
    db.assert_ledger().await;
    db.drop().await;
}

#[tokio::test]
async fn money_that_comes_back_is_proof_that_it_went_out() {
    let db = Db::new().await;
    let tenant = db.tenant("t", "sandbox-payout", 3).await;
    let run = db.run(tenant, "2026-01", 3).await;
    let batch = db.batches(run).await[0];
    let leased = db.lease(batch).await;
    let intent = db.intent(&leased).await;
    let [one, two, three] = [0, 1, 2].map(|n| intent.orders[n].payout);
    let mut news = report(&leased, &intent, paid);
    news.outcomes = vec![(one, paid(one)), (two, Outcome::Unknown), (three, refused(three))];
    db.store.outcomes_record(news).await.unwrap();
    let back = |name: &str, payout: PayoutId| (payout, Outcome::Returned(Reference(format!("{name}-{payout}"))));
    // Of a payment that we do not know of one has come back: the one that we know of has not.
    db.store.outcomes_record(looked_up(batch, Epoch(1), vec![back("other", one)])).await.unwrap();
    assert_eq!(db.states(run).await, "paid 1, refused 1, unknown 1");
    for _ in 0..2 {
        let news = vec![back("ref", one), back("back", two), back("back", three)];
        db.store.outcomes_record(looked_up(batch, Epoch(1), news)).await.unwrap();
    }
    assert_eq!(db.states(run).await, "refused 1, returned 2");
    let references: Vec<String> =
        sqlx::query_scalar("SELECT reference FROM payout WHERE state = 'returned' ORDER BY id")
            .fetch_all(&db.sql)
            .await
            .unwrap();
    assert_eq!(references, [format!("ref-{one}"), format!("back-{two}")], "the payment's own name is kept");
    db.assert_ledger().await;
    db.drop().await;
}

#[tokio::test]
async fn g3_an_older_request_counts_until_it_is_dead_or_answered() {
    // The first attempt: how it ended, and how long before the second; and whether the second's refusal is final.
    for (ended, age, last) in [(None, 0, false), (Some(unknown as fn(PayoutId) -> Outcome), 0, false), (None, 60, true)]
    {
        let db = Db::new().await;
        let lookup = rail("sandbox-lookup");
        let tenant = db.tenant("t", lookup.name, 2).await;
        let run = db.run(tenant, "2026-01", 2).await;
        let batch = db.batches(run).await[0];
        let old = db.lease(batch).await;
        let first = db.intent(&old).await;
        if let Some(outcome) = ended {
            db.record(&old, &first, outcome).await;
        }
        db.age(batch, 60).await;
        db.expire_lease(batch).await;
        let new = db.lease(batch).await;
        let second = db.store.intent_write(new.lease, "w", lookup, true).await.unwrap().unwrap();
        // As if the first were not known to have ended, and had been opened later.
        sqlx::query(
            "UPDATE attempt SET result = $2, closed_at = CASE WHEN $2 IS NULL THEN NULL ELSE closed_at END,
                    opened_at = clock_timestamp() - interval '1 hour',
                      may_arrive_until = clock_timestamp() + interval '1 hour' - $3::int * interval '90 seconds'
              WHERE batch_id = $1 AND n = 1",
        )
        .bind(batch.0)
        .bind(ended.map(|_| "unknown"))
        .bind(age)
        .execute(&db.sql)
        .await
        .unwrap();
        let recorded = db.record(&new, &second, refused).await;
        assert_eq!(recorded.refused == 2, last, "{age} s");
        db.drop().await;
    }
}

#[tokio::test]
async fn g3_what_could_arrive_when_the_newest_was_opened_counts_after_it_is_dead() {
    let db = Db::new().await;
    let lookup = rail("sandbox-lookup");
    let tenant = db.tenant("t", lookup.name, 2).await;
    let run = db.run(tenant, "2026-01", 2).await;
    let batch = db.batches(run).await[0];
    let old = db.lease(batch).await;
    db.intent(&old).await;
    db.age(batch, 60).await;
    db.expire_lease(batch).await;
    let new = db.lease(batch).await;
    let second = db.store.intent_write(new.lease, "w", lookup, true).await.unwrap().unwrap();
    // The first could arrive for a moment after the second was opened; by now it is dead.
    db.change(
        "UPDATE attempt a SET result = NULL, closed_at = NULL,
                may_arrive_until = (SELECT opened_at + interval '1 microsecond' FROM attempt WHERE batch_id = $1
                  AND n = 2)
          WHERE batch_id = $1 AND n = 1",
        batch.0,
    )
    .await;
    assert_eq!(db.record(&new, &second, refused).await.refused, 0);
    let asked =
        looked_up(batch, new.lease.epoch, second.orders.iter().map(|o| (o.payout, refused(o.payout))).collect());
    db.age(batch, 60).await;
    let stale = Report { epoch: old.lease.epoch, ..asked.clone() };
    assert_eq!(db.store.outcomes_record(stale).await.unwrap().refused, 0, "a lookup under an old lease proves nothing");
    assert_eq!(db.store.outcomes_record(asked).await.unwrap().refused, 2, "a lookup after all have ended does");
    assert_eq!(db.scalar::<i64>("SELECT count(*) FROM attempt WHERE result IS NULL OR result = 'unknown'").await, 0);
    db.assert_ledger().await;
    db.drop().await;
}

#[tokio::test]
async fn what_was_not_executed_after_all_is_as_if_it_had_never_been_sent() {
    let db = Db::new().await;
    let key = rail("sandbox-payout");
    let tenant = db.tenant("t", key.name, 2).await;
    let run = db.run(tenant, "2026-01", 2).await;
    let batch = db.batches(run).await[0];
    let old = db.lease(batch).await;
    let first = db.intent(&old).await;
    db.expire_lease(batch).await;
    let new = db.lease(batch).await;
    let second = db.intent(&new).await;
    let not_executed = |_| Outcome::NotExecuted;
    assert_eq!(db.record(&new, &second, not_executed).await.state, BatchState::Sending, "the first may still arrive");
    let results = "SELECT string_agg(coalesce(result, '?'), ' ' ORDER BY n) FROM attempt";
    assert_eq!(db.scalar::<String>(results).await, "? not_executed");
    db.record(&old, &first, not_executed).await;
    db.record(&new, &second, paid).await;
    assert_eq!(db.scalar::<String>(results).await, "not_executed not_executed", "a closed attempt is not closed again");
    db.assert_ledger().await;
    db.drop().await;
}

#[tokio::test]
async fn the_parts_of_a_split_batch_end_with_it() {
    let db = Db::new().await;
    let tenant = db.tenant("t", "sandbox-payout", 5).await;
    let run = db.run(tenant, "2026-01", 5).await;
    let whole = db.batches(run).await[0];
    let leased = db.lease(whole).await;
    let intent = db.intent(&leased).await;
    db.store.batch_split(leased.lease).await.unwrap().unwrap();
    assert!(db.store.batch_split(leased.lease).await.unwrap().is_err(), "split already");
    let halves = db.batches(run).await;
    let half = db.lease(halves[1]).await;
    assert!(half.facts.first_sent_at.is_some(), "the keys are as old as they were");
    db.store.batch_hold(half.lease, HoldReason::Poison).await.unwrap();
    let held = half.first;
    let ann = db.approver("ann").await;
    db.all_is_dead_and_listed().await;
    let said = db.store.hold_decide(held, Decision::NotPaid, ann).await.unwrap();
    assert_eq!(said.effect, Effect::Proposes, "found in the half that has it");
    db.record(&leased, &intent, accepted).await;
    let states: Vec<String> =
        sqlx::query_scalar("SELECT state FROM batch ORDER BY id").fetch_all(&db.sql).await.unwrap();
    assert_eq!(states, ["split", "accepted", "accepted"]);
    assert!(db.store.holds_list(Some(run), 10).await.unwrap().is_empty(), "evidence overtakes people");
    let open: i64 = db.scalar("SELECT count(*) FROM attempt WHERE result IS NULL").await;
    assert_eq!(open, 0, "the halves' copies of the attempt are closed too");
    db.record(&leased, &intent, paid).await;
    assert_eq!(db.store.run_close(run).await.unwrap(), CloseVerdict::Settled);
    db.assert_ledger().await;
    db.drop().await;
}

#[tokio::test]
async fn a_half_that_has_all_its_answers_is_done() {
    for whole in [false, true] {
        let db = Db::new().await;
        let tenant = db.tenant("t", "sandbox-payout", 2).await;
        let run = db.run(tenant, "2026-01", 2).await;
        let leased = db.lease(db.batches(run).await[0]).await;
        let intent = db.intent(&leased).await;
        let mut news = report(&leased, &intent, paid);
        news.outcomes.truncate(1);
        news.release = false;
        db.store.outcomes_record(news).await.unwrap();
        let again = db.intent(&leased).await;
        match whole {
            true => {
                let refused = Report { refused_whole: true, ..report(&leased, &again, refused) };
                db.store.outcomes_record(refused).await.map(drop).unwrap();
            }
            false => db.store.batch_split(leased.lease).await.unwrap().unwrap(),
        }
        assert_eq!(db.states(run).await, "paid 1, planned 1");
        let states: String = db.scalar("SELECT string_agg(state, ' ' ORDER BY id) FROM batch").await;
        assert_eq!(states, format!("split done {}", if whole { "ready" } else { "sending" }));
        db.pay(db.batches(run).await[1], paid).await;
        assert_eq!(db.store.run_close(run).await.unwrap(), CloseVerdict::Settled);
        db.assert_ledger().await;
        db.drop().await;
    }
}

#[tokio::test]
async fn people_decide_about_the_part_that_has_the_payout() {
    let db = Db::new().await;
    let tenant = db.tenant("t", "sandbox-payout", 2).await;
    let run = db.run(tenant, "2026-01", 2).await;
    let leased = db.lease(db.batches(run).await[0]).await;
    db.store.batch_split(leased.lease).await.unwrap().unwrap();
    let halves = db.batches(run).await;
    let half = db.lease(halves[1]).await;
    db.store.batch_hold(half.lease, HoldReason::Poison).await.unwrap();
    for person in [db.approver("ann").await, db.approver("bob").await] {
        db.store.hold_decide(half.first, Decision::NotPaid, person).await.unwrap();
    }
    let states: String = db.scalar("SELECT string_agg(state, ' ' ORDER BY id) FROM batch").await;
    assert_eq!(states, "split ready done");
    db.assert_ledger().await;
    db.drop().await;
}

#[tokio::test]
async fn one_payout_cannot_be_split_and_what_is_refused_whole_starts_anew() {
    let db = Db::new().await;
    let tenant = db.tenant("t", "sandbox-batch", 2).await;
    let run = db.run(tenant, "2026-01", 2).await;
    let batch = db.batches(run).await[0];
    let leased = db.lease(batch).await;
    let intent = db.intent(&leased).await;
    let whole = Report { refused_whole: true, ..report(&leased, &intent, refused) };
    db.store.outcomes_record(whole).await.unwrap();
    let halves = db.batches(run).await;
    let half = db.lease(halves[0]).await;
    assert_eq!((half.facts.state, half.facts.attempt.0, half.facts.first_sent_at), (BatchState::Ready, 0, None));
    assert!(db.store.batch_split(half.lease).await.is_err());
    assert_eq!(db.batches(run).await, halves);
    // The rail contradicts itself: what it had refused whole it has accepted.
    db.record(&leased, &intent, accepted).await;
    let states: String = db.scalar("SELECT string_agg(state, ' ' ORDER BY id) FROM batch").await;
    assert_eq!(states, "split accepted accepted");
    db.record(&leased, &intent, paid).await;
    assert_eq!(db.store.run_close(run).await.unwrap(), CloseVerdict::Settled);
    db.assert_ledger().await;
    db.drop().await;
}

#[tokio::test]
async fn a_decision_and_a_late_proof_close_only_their_own_holds() {
    let db = Db::new().await;
    let tenant = db.tenant("t", "sandbox-file", 3).await;
    let run = db.run(tenant, "2026-01", 3).await;
    let batch = db.batches(run).await[0];
    let leased = db.lease(batch).await;
    let intent = db.intent(&leased).await;
    let [one, two, three] = [0, 1, 2].map(|n| intent.orders[n].payout);
    let mut first = report(&leased, &intent, paid);
    first.outcomes = vec![(one, paid(one)), (two, Outcome::Unknown), (three, Outcome::Unknown)];
    first.release = false;
    db.store.outcomes_record(first).await.unwrap();
    assert_eq!(
        db.store.batch_hold(leased.lease, HoldReason::NoWayToKnow).await.unwrap(),
        Some(2),
        "what is paid is not held"
    );
    let [ann, bob, eve] = [db.approver("ann").await, db.approver("bob").await, db.approver("eve").await];
    db.all_is_dead_and_listed().await;
    let says = |person| db.store.hold_decide(two, Decision::NotPaid, person);
    assert_eq!(says(ann).await.unwrap().effect, Effect::Proposes);
    assert_eq!(says(bob).await.unwrap().effect, Effect::Agrees);
    assert!(matches!(says(eve).await, Err(HoldError::NotHeld(_))));
    assert_eq!(db.scalar::<String>("SELECT state FROM batch").await, "held");
    // The proof names all; it is news of the third only.
    db.record(&leased, &intent, accepted).await;
    let resolutions = "SELECT string_agg(coalesce(resolution, '?'), ' ' ORDER BY payout_id) FROM hold";
    assert_eq!(db.scalar::<String>(resolutions).await, "not_paid evidence");
    assert_eq!(db.scalar::<String>("SELECT state FROM batch").await, "accepted");
    assert_eq!(db.store.run_close(run).await.unwrap(), CloseVerdict::NotYet);
    db.assert_ledger().await;
    db.drop().await;
}

#[tokio::test]
async fn a_hold_is_decided_while_the_rail_has_the_rest() {
    let db = Db::new().await;
    let tenant = db.tenant("t", "sandbox-payout", 2).await;
    let run = db.run(tenant, "2026-01", 2).await;
    let batch = db.batches(run).await[0];
    let leased = db.lease(batch).await;
    let intent = db.intent(&leased).await;
    let [one, two] = [0, 1].map(|n| intent.orders[n].payout);
    let mut news = report(&leased, &intent, paid);
    news.outcomes = vec![(one, accepted(one)), (two, Outcome::Unknown)];
    news.release = false;
    db.store.outcomes_record(news).await.unwrap();
    db.store.batch_hold(leased.lease, HoldReason::Poison).await.unwrap();
    assert_eq!(db.scalar::<String>("SELECT state FROM batch").await, "accepted", "the rail has one of them");
    let mut other = report(&leased, &intent, paid);
    other.outcomes = vec![(one, paid(one))];
    assert_eq!(db.store.outcomes_record(other.clone()).await.unwrap().state, BatchState::Held);
    assert_eq!(
        db.store.holds_list(Some(run), 10).await.unwrap().len(),
        1,
        "news of one payout leaves the other's hold"
    );
    other.outcomes = vec![(one, paid(one)), (two, refused(two))];
    other.attempt = None;
    db.store.outcomes_record(other).await.unwrap();
    assert_eq!(db.states(run).await, "paid 1, refused 1");
    db.assert_ledger().await;
    db.drop().await;
}

#[tokio::test]
async fn news_of_a_payout_of_another_batch_changes_nothing() {
    let db = Db::new().await;
    let tenant = db.tenant("t", "sandbox-payout", 6).await;
    let run = db.run(tenant, "2026-01", 2).await;
    let payouts = db.payouts(run).await;
    let leased = db.lease(db.batches(run).await[1]).await;
    let intent = db.intent(&leased).await;
    for stray in [payouts[1], payouts[4]] {
        let mut news = report(&leased, &intent, paid);
        news.outcomes.push((stray, paid(stray)));
        assert!(db.store.outcomes_record(news).await.is_err());
    }
    assert_eq!(db.states(run).await, "planned 6");
    db.drop().await;
}

#[tokio::test]
async fn late_proof_ends_the_parts_of_parts_too() {
    let db = Db::new().await;
    let tenant = db.tenant("t", "sandbox-payout", 4).await;
    let run = db.run(tenant, "2026-01", 4).await;
    let leased = db.lease(db.batches(run).await[0]).await;
    let intent = db.intent(&leased).await;
    db.store.batch_split(leased.lease).await.unwrap().unwrap();
    let half = db.lease(db.batches(run).await[0]).await;
    db.store.batch_split(half.lease).await.unwrap().unwrap();
    assert_eq!(db.record(&leased, &intent, paid).await.paid, 4);
    let states: String = db.scalar("SELECT string_agg(state, ' ' ORDER BY id) FROM batch").await;
    assert_eq!(states, "split split done done done");
    assert_eq!(db.store.run_close(run).await.unwrap(), CloseVerdict::Settled);
    db.assert_ledger().await;
    db.drop().await;
}

#[tokio::test]
async fn who_lost_the_lease_neither_splits_nor_holds() {
    let db = Db::new().await;
    let tenant = db.tenant("t", "sandbox-payout", 2).await;
    let run = db.run(tenant, "2026-01", 2).await;
    let batch = db.batches(run).await[0];
    let old = db.lease(batch).await;
    db.intent(&old).await;
    db.expire_lease(batch).await;
    db.lease(batch).await;
    assert!(db.store.batch_split(old.lease).await.unwrap().is_err());
    assert_eq!(db.store.batch_hold(old.lease, HoldReason::Poison).await.unwrap(), None);
    assert_eq!(db.scalar::<String>("SELECT state FROM batch").await, "sending");
    db.drop().await;
}

#[tokio::test]
async fn failures_are_counted_until_something_is_known() {
    let db = Db::new().await;
    let tenant = db.tenant("t", "sandbox-payout", 2).await;
    let run = db.run(tenant, "2026-01", 2).await;
    let batch = db.batches(run).await[0];
    for (failures, outcome) in [(0, unknown as fn(PayoutId) -> Outcome), (1, |_| Outcome::NotExecuted), (2, accepted)] {
        let leased = db.lease(batch).await;
        assert_eq!(leased.failures, failures);
        let intent = db.intent(&leased).await;
        db.record(&leased, &intent, outcome).await;
    }
    assert_eq!(db.lease(batch).await.failures, 0);
    db.drop().await;
}

#[tokio::test]
async fn two_people_must_mean_the_same_payment() {
    let db = Db::new().await;
    let tenant = db.tenant("t", "sandbox-file", 1).await;
    let run = db.run(tenant, "2026-01", 1).await;
    let leased = db.lease(db.batches(run).await[0]).await;
    let intent = db.intent(&leased).await;
    db.record(&leased, &intent, unknown).await;
    let leased = db.lease(leased.lease.batch).await;
    db.store.batch_hold(leased.lease, HoldReason::NoWayToKnow).await.unwrap();
    let [ann, bob] = [db.approver("ann").await, db.approver("bob").await];
    let says = |person, reference: &str| db.store.hold_decide(leased.first, Decision::Paid(reference.into()), person);
    assert_eq!(says(ann, "bank-1").await.unwrap().effect, Effect::Proposes);
    assert_eq!(says(bob, "bank-2").await.unwrap().effect, Effect::Contradicts, "the proposal has ended");
    assert_eq!(says(ann, "bank-2").await.unwrap().effect, Effect::Proposes, "and two must agree anew");
    assert_eq!(says(bob, "bank-2").await.unwrap().effect, Effect::Agrees);
    assert_eq!(db.scalar::<String>("SELECT reference FROM payout").await, "bank-2");
    db.drop().await;
}

#[tokio::test]
async fn a_second_acceptance_under_another_reference_is_kept() {
    let db = Db::new().await;
    let tenant = db.tenant("t", "sandbox-payout", 1).await;
    let run = db.run(tenant, "2026-01", 10).await;
    let batch = db.batches(run).await[0];
    let leased = db.lease(batch).await;
    let intent = db.intent(&leased).await;
    for _ in 0..2 {
        db.record(&leased, &intent, accepted).await;
        assert_eq!(db.scalar::<i64>("SELECT count(*) FROM evidence").await, 0, "the same said twice");
    }
    for _ in 0..2 {
        db.record(&leased, &intent, |_| Outcome::Accepted(Reference("another".to_owned()))).await;
        let kept: String =
            db.scalar("SELECT string_agg(source || ' ' || says || ' ' || reference, ', ') FROM evidence").await;
        assert_eq!(kept, "answer accepted another");
    }
    assert!(
        db.scalar::<String>("SELECT reference FROM payout").await.starts_with("ref-"),
        "the first is what is followed"
    );
    db.drop().await;
}
