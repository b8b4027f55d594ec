//! The guards, one by one: what each lets pass and what it stops.

use std::time::Duration;

use crate::support::{Db, TTL, accepted, looked_up, paid, rail, refused, report, unknown};
use payfleet_domain::{
    AttemptNo, BatchId, BatchState, Effect, HoldReason, NextStep, Outcome, PayoutId, Reference, RunId, RunState,
    next_step,
};
use payfleet_store::{CloseVerdict, Decision, HoldError, IntentRefused, LeasedBatch, Report};

#[tokio::test]
async fn g1_a_lease_is_one_workers_until_it_ends() {
    let db = Db::new().await;
    let tenant = db.tenant("t", "sandbox-payout", 3).await;
    let run = db.run(tenant, "2026-01", 10).await;
    let batch = db.batches(run).await[0];
    let first = db.lease(batch).await;
    assert!(db.store.lease_acquire(batch, "other", TTL).await.unwrap().is_none());
    assert_eq!(db.store.leases_renew(vec![(batch, first.lease.epoch)], TTL).await.unwrap().len(), 1);
    db.expire_lease(batch).await;
    assert_eq!(
        db.store.leases_renew(vec![(batch, first.lease.epoch)], TTL).await.unwrap().len(),
        0,
        "an ended lease is not revived"
    );
    let second = db.lease(batch).await;
    assert_eq!(second.lease.epoch.0, first.lease.epoch.0 + 1);
    assert_eq!(db.store.leases_renew(vec![(batch, first.lease.epoch)], TTL).await.unwrap().len(), 0);
    db.store.lease_release(first.lease, Duration::ZERO).await.unwrap();
    assert!(
        db.store.lease_acquire(batch, "third", TTL).await.unwrap().is_none(),
        "an old lease cannot release a new one"
    );
    db.store.lease_release(second.lease, Duration::ZERO).await.unwrap();
    let third = db.lease(batch).await;
    db.store.lease_release(third.lease, Duration::from_secs(60)).await.unwrap();
    assert!(db.try_lease(batch).await.is_none(), "not before it is due again");
    db.drop().await;
}

#[tokio::test]
async fn g1_nothing_of_a_paused_run_is_leased() {
    let db = Db::new().await;
    let tenant = db.tenant("t", "sandbox-payout", 3).await;
    let run = db.run(tenant, "2026-01", 10).await;
    let batch = db.batches(run).await[0];
    db.store.run_pause(run, "a look").await.unwrap();
    assert!(db.store.lease_acquire(batch, "w", TTL).await.unwrap().is_none());
    db.store.run_resume(run).await.unwrap();
    db.lease(batch).await;
    db.drop().await;
}

/// Whether the affiliates of the batch lie next to each other, among those of others, or far apart: each way is read by
/// a statement of its own.
#[tokio::test]
async fn g2_orders_say_whom_and_where_to() {
    let db = Db::new().await;
    for (name, others) in [("near", 0), ("among", 3), ("far", 40)] {
        let tenant = db.tenant(name, "sandbox-payout", 2).await;
        db.tenant(&format!("beside-{name}"), "sandbox-payout", others).await;
        for statement in [
            "INSERT INTO affiliate (tenant_id, external_id, name, email, country, currency)
             VALUES ($1, 'z', 'n', 'e', 'DE', 'EUR')",
            "INSERT INTO payout_method (tenant_id, affiliate_id, method, destination)
             SELECT $1, id, 'paypal', 'z@example.com' FROM affiliate WHERE tenant_id = $1 AND external_id = 'z'",
            "INSERT INTO account (tenant_id, affiliate_id, currency)
             SELECT $1, id, 'EUR' FROM affiliate WHERE tenant_id = $1 AND external_id = 'z'",
        ] {
            sqlx::query(statement).bind(tenant.0).execute(&db.sql).await.unwrap();
        }
        db.commissions(tenant, "2026-01-16T12:00:00Z", 500).await;
        let run = db.run(tenant, "2026-01", 10).await;
        let leased = db.lease(db.batches(run).await[0]).await;
        let orders = db.intent(&leased).await.orders;
        let told: Vec<_> = orders
            .iter()
            .map(|order| (order.affiliate.as_str(), order.destination.as_str(), order.amount.to_string()))
            .collect();
        let order = |name, destination, amount: &str| (name, destination, amount.to_owned());
        let expected = [
            order("a1", "a1@example.com", "15.00 EUR"),
            order("a2", "a2@example.com", "15.00 EUR"),
            order("z", "z@example.com", "5.00 EUR"),
        ];
        assert_eq!(told, expected, "{name}");
        assert!(orders.is_sorted_by_key(|order| order.payout));
    }
    db.drop().await;
}

#[tokio::test]
async fn g2_without_the_newest_lease_or_in_a_stopped_run_nothing_is_intended() {
    let db = Db::new().await;
    let tenant = db.tenant("t", "sandbox-payout", 3).await;
    let run = db.run(tenant, "2026-01", 10).await;
    let batch = db.batches(run).await[0];
    let old = db.lease(batch).await;
    db.expire_lease(batch).await;
    let intent =
        |leased: &payfleet_store::LeasedBatch| db.store.intent_write(leased.lease, "w", rail("sandbox-payout"), false);
    assert_eq!(intent(&old).await.unwrap().unwrap_err(), IntentRefused::LeaseLost, "an ended lease");
    let new = db.lease(batch).await;
    assert_eq!(intent(&old).await.unwrap().unwrap_err(), IntentRefused::LeaseLost, "somebody else's lease");
    db.store.run_pause(run, "a look").await.unwrap();
    assert_eq!(intent(&new).await.unwrap().unwrap_err(), IntentRefused::RunStopped);
    db.store.run_resume(run).await.unwrap();
    let permitted = intent(&new).await.unwrap().unwrap();
    assert_eq!((permitted.attempt.0, permitted.orders.len()), (1, 3));
    let attempts: i64 = db.scalar("SELECT count(*) FROM attempt WHERE result IS NULL").await;
    assert_eq!(attempts, 1, "the attempt is written down before the call");
    db.drop().await;
}

#[tokio::test]
async fn g2_what_was_perhaps_sent_is_sent_again_only_as_its_class_allows() {
    for (name, again_at_once, again_after_a_day) in [
        ("sandbox-payout", true, false),
        ("sandbox-batch", true, true),
        ("sandbox-lookup", false, false),
        ("sandbox-file", false, false),
    ] {
        let db = Db::new().await;
        let tenant = db.tenant("t", name, 3).await;
        let run = db.run(tenant, "2026-01", 10).await;
        let batch = db.batches(run).await[0];
        let leased = db.lease(batch).await;
        db.intent(&leased).await;
        for (age, allowed) in [(0, again_at_once), (24 * 3600, again_after_a_day)] {
            db.age(batch, age).await;
            db.expire_lease(batch).await;
            let leased = db.lease(batch).await;
            let again = db.store.intent_write(leased.lease, "w", rail(name), false).await.unwrap();
            assert_eq!(again.is_ok(), allowed, "{name} after {age} s");
        }
        db.drop().await;
    }
}

#[tokio::test]
async fn g2_by_lookup_only_after_every_older_request_is_dead() {
    let db = Db::new().await;
    let tenant = db.tenant("t", "sandbox-lookup", 3).await;
    let run = db.run(tenant, "2026-01", 10).await;
    let batch = db.batches(run).await[0];
    let leased = db.lease(batch).await;
    db.intent(&leased).await;
    db.expire_lease(batch).await;
    let leased = db.lease(batch).await;
    assert!(matches!(next_step(rail("sandbox-lookup"), &leased.facts), NextStep::WaitUntil(_)));
    let early = db.store.intent_write(leased.lease, "w", rail("sandbox-lookup"), true).await.unwrap();
    assert_eq!(early.unwrap_err(), IntentRefused::NotSafe);
    db.age(batch, 60).await;
    let unasked = db.store.intent_write(leased.lease, "w", rail("sandbox-lookup"), false).await.unwrap();
    assert_eq!(unasked.unwrap_err(), IntentRefused::NotSafe, "dead is not enough: the rail must have been asked");
    let asked = db.store.intent_write(leased.lease, "w", rail("sandbox-lookup"), true).await.unwrap();
    assert_eq!(asked.unwrap().attempt.0, 2);
    db.drop().await;
}

#[tokio::test]
async fn g3_a_refusal_counts_only_for_the_newest_attempt() {
    let db = Db::new().await;
    let tenant = db.tenant("t", "sandbox-payout", 2).await;
    let run = db.run(tenant, "2026-01", 10).await;
    let batch = db.batches(run).await[0];
    let old = db.lease(batch).await;
    let first = db.intent(&old).await;
    db.expire_lease(batch).await;
    let new = db.lease(batch).await;
    let second = db.intent(&new).await;
    assert_eq!(db.record(&old, &first, refused).await.refused, 0);
    assert_eq!(db.states(run).await, "unknown 2");
    assert_eq!(db.record(&new, &second, refused).await.refused, 2, "this rail pins refusals to the key");
    assert_eq!(db.states(run).await, "refused 2");
    db.assert_ledger().await;
    db.drop().await;
}

#[tokio::test]
async fn g3_a_rail_that_does_not_pin_refusals_must_have_no_older_request_under_way() {
    let db = Db::new().await;
    let tenant = db.tenant("t", "sandbox-lookup", 2).await;
    let run = db.run(tenant, "2026-01", 10).await;
    let batch = db.batches(run).await[0];
    let old = db.lease(batch).await;
    let first = db.intent(&old).await;
    db.record(&old, &first, unknown).await;
    db.age(batch, 60).await;
    db.expire_lease(batch).await;
    let new = db.lease(batch).await;
    let second = db.store.intent_write(new.lease, "w", rail("sandbox-lookup"), true).await.unwrap().unwrap();
    // As if the first attempt's lifetime had not been over after all.
    db.change(
        "UPDATE attempt
            SET result = 'unknown', may_arrive_until = clock_timestamp() + interval '1 hour'
          WHERE batch_id = $1 AND n = 1",
        batch.0,
    )
    .await;
    assert_eq!(db.record(&new, &second, refused).await.refused, 0);
    assert_eq!(db.states(run).await, "unknown 2");
    db.drop().await;
}

fn accepted_as(name: &'static str) -> impl Fn(PayoutId) -> Outcome {
    move |_| Outcome::Accepted(Reference(name.into()))
}

/// What the rail says now of what it had accepted.
async fn refused_after_all(db: &Db, run: RunId, batch: BatchId) -> (u64, BatchState) {
    db.expire_lease(batch).await;
    let leased = db.lease(batch).await;
    let news = db.payouts(run).await.into_iter().map(|payout| (payout, refused(payout))).collect();
    let recorded = db.store.outcomes_record(looked_up(batch, leased.lease.epoch, news)).await.unwrap();
    (recorded.refused, recorded.state)
}

/// PayPal sets the id of a batch free that ends DENIED: an older request under it, whose answer is known by the newer
/// one, makes another batch when it arrives, and perhaps has. Only the same request again tells.
#[tokio::test]
async fn g3_what_was_accepted_is_refused_only_when_no_other_request_can_have_been_accepted() {
    for is_dead in [false, true] {
        let db = Db::new().await;
        let tenant = db.tenant("t", "paypal", 2).await;
        let run = db.run(tenant, "2026-01", 10).await;
        let batch = db.batches(run).await[0];
        let old = db.lease(batch).await;
        db.intent(&old).await;
        db.expire_lease(batch).await;
        let new = db.lease(batch).await;
        let second = db.intent(&new).await;
        assert_eq!(db.record(&new, &second, accepted_as("B1")).await.state, BatchState::Accepted);
        if is_dead {
            db.age(batch, 600).await;
        }
        assert_eq!(
            refused_after_all(&db, run, batch).await,
            (0, BatchState::Sending),
            "the first may have made another"
        );
        assert_eq!(db.states(run).await, "unknown 2");
        let waits: bool = db
            .scalar("SELECT available_at >= (SELECT max(may_arrive_until) FROM attempt WHERE n = 1) FROM batch")
            .await;
        assert!(waits, "as long as one can arrive");
        let said: i64 = db.scalar("SELECT count(*) FROM evidence WHERE says = 'refused' AND source = 'lookup'").await;
        assert_eq!(said, 2, "what the rail said is kept");
        db.age(batch, 600).await;
        db.expire_lease(batch).await;
        let again = db.lease(batch).await;
        assert_eq!(next_step(rail("paypal"), &again.facts), NextStep::Submit, "under the same key");
        let third = db.intent(&again).await;
        assert_eq!(db.record(&again, &third, accepted_as("B2")).await.state, BatchState::Accepted);
        // It was sent when every other was dead: whatever they had made is this one, or was refused.
        assert_eq!(refused_after_all(&db, run, batch).await, (2, BatchState::Done));
        db.assert_ledger().await;
        db.drop().await;
    }
}

/// The rail's own receipt for another request is no less than a request that nobody has heard of.
#[tokio::test]
async fn g3_what_was_accepted_under_two_names_is_not_refused_by_one_of_them() {
    for first_answers_last in [false, true] {
        let db = Db::new().await;
        let tenant = db.tenant("t", "paypal", 2).await;
        let run = db.run(tenant, "2026-01", 10).await;
        let batch = db.batches(run).await[0];
        let old = db.lease(batch).await;
        let first = db.intent(&old).await;
        db.expire_lease(batch).await;
        let new = db.lease(batch).await;
        let second = db.intent(&new).await;
        let mut answers = [(&new, &second, "B1"), (&old, &first, "B2")];
        if !first_answers_last {
            answers.reverse();
        }
        for (leased, intent, name) in answers {
            assert_eq!(db.record(leased, intent, accepted_as(name)).await.state, BatchState::Accepted);
        }
        db.age(batch, 600).await;
        assert_eq!(refused_after_all(&db, run, batch).await, (0, BatchState::Sending));
        assert_eq!(db.states(run).await, "unknown 2");
        db.drop().await;
    }
}

/// One request, of which nobody can have made another.
#[tokio::test]
async fn g3_what_one_request_was_accepted_as_is_refused_by_its_name() {
    let db = Db::new().await;
    let tenant = db.tenant("t", "paypal", 2).await;
    let run = db.run(tenant, "2026-01", 10).await;
    let batch = db.batches(run).await[0];
    let leased = db.lease(batch).await;
    let intent = db.intent(&leased).await;
    db.record(&leased, &intent, accepted_as("B1")).await;
    assert_eq!(refused_after_all(&db, run, batch).await, (2, BatchState::Done));
    db.assert_ledger().await;
    db.drop().await;
}

/// The same request right after a refusal that is not believed would have no better answer, for days: the next one
/// waits until its refusal would be proof.
#[tokio::test]
async fn g3_after_a_refusal_that_proves_nothing_the_next_request_waits_until_one_does() {
    let db = Db::new().await;
    let tenant = db.tenant("t", "paypal", 2).await;
    let run = db.run(tenant, "2026-01", 10).await;
    let batch = db.batches(run).await[0];
    let old = db.lease(batch).await;
    let first = db.intent(&old).await;
    db.record(&old, &first, unknown).await;
    db.expire_lease(batch).await;
    let new = db.lease(batch).await;
    let second = db.intent(&new).await;
    let whole = |leased, intent| Report { refused_whole: true, ..report(leased, intent, refused) };
    let recorded = db.store.outcomes_record(whole(&new, &second)).await.unwrap();
    assert_eq!((recorded.refused, recorded.state), (0, BatchState::Sending));
    let waits: bool = db
        .scalar(
            "SELECT b.available_at >= (SELECT max(may_arrive_until) FROM attempt WHERE batch_id = b.id)
               AND b.available_in > interval '1 minute' FROM batch b",
        )
        .await;
    assert!(waits, "a request of it may arrive until then");
    assert_eq!(db.scalar::<i32>("SELECT failures FROM batch").await, 2, "two in a row");
    db.age(batch, 600).await;
    db.expire_lease(batch).await;
    let third = db.lease(batch).await;
    let intent = db.intent(&third).await;
    assert_eq!(db.record(&third, &intent, refused).await.refused, 2, "nothing else can arrive");
    db.assert_ledger().await;
    db.drop().await;
}

#[tokio::test]
async fn g4_a_late_workers_proof_counts_and_recording_twice_is_once() {
    let db = Db::new().await;
    let tenant = db.tenant("t", "sandbox-payout", 3).await;
    let run = db.run(tenant, "2026-01", 10).await;
    let batch = db.batches(run).await[0];
    let old = db.lease(batch).await;
    let first = db.intent(&old).await;
    db.expire_lease(batch).await;
    let new = db.lease(batch).await;
    let late = db.record(&old, &first, paid).await;
    assert_eq!((late.paid, late.alarms, late.state), (3, 0, BatchState::Done));
    let again = db.record(&old, &first, paid).await;
    assert_eq!((again.paid, again.alarms, again.state), (0, 0, BatchState::Done));
    assert!(db.store.intent_write(new.lease, "w", rail("sandbox-payout"), false).await.unwrap().is_err());
    assert_eq!(db.store.run_close(run).await.unwrap(), CloseVerdict::Settled);
    db.assert_ledger().await;
    db.drop().await;
}

#[tokio::test]
async fn g4_another_reference_is_an_alarm_that_stops_the_run() {
    let db = Db::new().await;
    let tenant = db.tenant("t", "sandbox-payout", 4).await;
    let run = db.run(tenant, "2026-01", 2).await;
    let batches = db.batches(run).await;
    let leased = db.lease(batches[0]).await;
    let intent = db.intent(&leased).await;
    db.record(&leased, &intent, paid).await;
    let second = db.record(&leased, &intent, |_| Outcome::Paid(Reference("another".into()))).await;
    assert_eq!((second.paid, second.alarms), (0, 2));
    let kept: i64 = db.scalar("SELECT count(*) FROM movement WHERE kind = 'paid' AND reference = 'another'").await;
    assert_eq!(kept, 2);
    let found = db.store.run_find(run).await.unwrap().unwrap();
    assert_eq!(found.pause_reason.as_deref(), Some("double payment"));
    assert!(db.store.lease_acquire(batches[1], "w", TTL).await.unwrap().is_none());
    db.assert_ledger().await;
    db.drop().await;
}

#[tokio::test]
async fn an_unknown_outcome_is_never_ready_and_what_was_not_executed_is() {
    let db = Db::new().await;
    let tenant = db.tenant("t", "sandbox-file", 5).await;
    let run = db.run(tenant, "2026-01", 2).await;
    let batches = db.batches(run).await;
    let back = db.pay(batches[0], |_| Outcome::NotExecuted).await;
    assert_eq!(back.state, BatchState::Ready);
    assert_eq!(db.pay(batches[0], paid).await.state, BatchState::Done);
    let lost = db.pay(batches[1], unknown).await;
    assert_eq!(lost.state, BatchState::Sending);
    assert_eq!(db.pay(batches[2], unknown).await.state, BatchState::Sending, "of one payout too");
    let leased = db.lease(batches[1]).await;
    assert_eq!(next_step(rail("sandbox-file"), &leased.facts), NextStep::Hold(HoldReason::NoWayToKnow));
    assert_eq!(db.store.batch_hold(leased.lease, HoldReason::NoWayToKnow).await.unwrap(), Some(2));
    let alone = db.lease(batches[2]).await;
    assert_eq!(db.store.batch_hold(alone.lease, HoldReason::NoWayToKnow).await.unwrap(), Some(1));
    assert_eq!(db.states(run).await, "held 3, paid 2");
    assert_eq!(db.store.run_close(run).await.unwrap(), CloseVerdict::Settled);
    db.assert_ledger().await;
    db.drop().await;
}

#[tokio::test]
async fn an_unknown_outcome_that_a_lookup_overtook_changes_nothing() {
    let db = Db::new().await;
    let tenant = db.tenant("t", "sandbox-lookup", 2).await;
    let run = db.run(tenant, "2026-01", 10).await;
    let batch = db.batches(run).await[0];
    let stopped = db.lease(batch).await;
    let first = db.intent(&stopped).await;
    db.expire_lease(batch).await;
    db.age(batch, 60).await;
    let leased = db.lease(batch).await;
    let second = db.store.intent_write(leased.lease, "w", rail("sandbox-lookup"), true).await.unwrap().unwrap();
    assert_eq!(db.record(&leased, &second, |_| Outcome::NotExecuted).await.state, BatchState::Ready);
    assert_eq!(db.record(&stopped, &first, unknown).await.state, BatchState::Ready);
    assert_eq!(db.states(run).await, "planned 2", "ready means that nothing is under way");
    db.store.run_cancel(run).await.unwrap();
    assert_eq!(db.states(run).await, "cancelled 2", "nobody is left behind in a cancelled run");
    db.assert_ledger().await;
    db.drop().await;
}

#[tokio::test]
async fn g3_what_one_request_got_accepted_no_answer_to_another_refuses() {
    let db = Db::new().await;
    let tenant = db.tenant("t", "sandbox-lookup", 2).await;
    let run = db.run(tenant, "2026-01", 10).await;
    let batch = db.batches(run).await[0];
    let stopped = db.lease(batch).await;
    let first = db.intent(&stopped).await;
    db.expire_lease(batch).await;
    db.age(batch, 60).await;
    let leased = db.lease(batch).await;
    let second = db.store.intent_write(leased.lease, "w", rail("sandbox-lookup"), true).await.unwrap().unwrap();
    db.record(&stopped, &first, |payout| Outcome::Accepted(Reference(format!("r{}", payout.0)))).await;
    assert_eq!(db.record(&leased, &second, refused).await.refused, 0);
    assert_eq!(db.states(run).await, "accepted 2");
    db.assert_ledger().await;
    db.drop().await;
}

#[tokio::test]
async fn not_executed_after_an_unknown_attempt_proves_nothing_about_the_first() {
    let db = Db::new().await;
    let tenant = db.tenant("t", "sandbox-payout", 2).await;
    let run = db.run(tenant, "2026-01", 2).await;
    let batch = db.batches(run).await[0];
    let old = db.lease(batch).await;
    db.intent(&old).await; // and the worker dies
    db.expire_lease(batch).await;
    assert_eq!(db.pay(batch, |_| Outcome::NotExecuted).await.state, BatchState::Sending);
    db.drop().await;
}

#[tokio::test]
async fn g4_proof_counts_even_where_the_rail_had_said_that_nothing_was_executed() {
    for (outcome, state) in
        [(paid as fn(payfleet_domain::PayoutId) -> Outcome, BatchState::Done), (accepted, BatchState::Accepted)]
    {
        let db = Db::new().await;
        let tenant = db.tenant("t", "sandbox-batch", 2).await;
        let run = db.run(tenant, "2026-01", 10).await;
        let batch = db.batches(run).await[0];
        let leased = db.lease(batch).await;
        let intent = db.intent(&leased).await;
        assert_eq!(db.record(&leased, &intent, |_| Outcome::NotExecuted).await.state, BatchState::Ready);
        assert_eq!(db.record(&leased, &intent, outcome).await.state, state);
        db.assert_ledger().await;
        db.drop().await;
    }
}

#[tokio::test]
async fn held_payouts_are_decided_by_two_people_or_by_evidence() {
    let db = Db::new().await;
    let tenant = db.tenant("t", "sandbox-file", 3).await;
    let run = db.run(tenant, "2026-01", 10).await;
    let batch = db.batches(run).await[0];
    let old = db.lease(batch).await;
    let intent = db.intent(&old).await;
    db.expire_lease(batch).await;
    let new = db.lease(batch).await;
    db.store.batch_hold(new.lease, HoldReason::NoWayToKnow).await.unwrap();
    let [first, second, third] = [0, 1, 2].map(|n| intent.orders[n].payout);
    let (ann, bob) = (db.approver("ann").await, db.approver("bob").await);
    let decision = Decision::Paid("bank-1".into());
    let says = |payout, decision: &Decision, person| db.store.hold_decide(payout, decision.clone(), person);
    assert_eq!(says(first, &decision, ann).await.unwrap().effect, Effect::Proposes);
    assert!(matches!(says(first, &decision, ann).await, Err(HoldError::SamePerson(_))));
    assert_eq!(says(first, &decision, bob).await.unwrap().effect, Effect::Agrees);
    assert!(matches!(says(second, &Decision::NotPaid, ann).await, Err(HoldError::NotBefore { .. })));
    db.all_is_dead_and_listed().await;
    assert_eq!(says(second, &Decision::NotPaid, ann).await.unwrap().effect, Effect::Proposes);
    assert_eq!(says(second, &Decision::NotPaid, bob).await.unwrap().effect, Effect::Agrees);
    let mut late = report(&old, &intent, paid);
    late.outcomes.retain(|(payout, _)| *payout == third);
    assert_eq!(db.store.outcomes_record(late).await.unwrap().state, BatchState::Done, "a late proof decides too");
    assert_eq!(db.states(run).await, "paid 2, refused 1");
    assert!(db.store.holds_list(Some(run), 10).await.unwrap().is_empty());
    db.assert_ledger().await;
    db.drop().await;
}

#[tokio::test]
async fn a_batch_refused_whole_is_split_down_to_the_payout_that_spoils_it() {
    let db = Db::new().await;
    let tenant = db.tenant("t", "sandbox-batch", 7).await;
    let run = db.run(tenant, "2026-01", 10).await;
    let spoiler = db.payouts(run).await[4];
    for leases in 1.. {
        assert!(leases < 20, "seven payouts are split less often");
        let open: Vec<i64> = sqlx::query_scalar("SELECT id FROM batch WHERE state = 'ready' ORDER BY id")
            .fetch_all(&db.sql)
            .await
            .unwrap();
        let Some(batch) = open.first() else { break };
        let leased = db.lease(payfleet_domain::BatchId(*batch)).await;
        let intent = db.intent(&leased).await;
        let spoiled = intent.orders.iter().any(|order| order.payout == spoiler);
        let mut news = report(&leased, &intent, if spoiled { refused } else { paid });
        news.refused_whole = spoiled;
        db.store.outcomes_record(news).await.unwrap();
    }
    assert_eq!(db.states(run).await, "paid 6, refused 1");
    assert_eq!(db.store.run_close(run).await.unwrap(), CloseVerdict::Settled);
    db.assert_ledger().await;
    db.drop().await;
}

#[tokio::test]
async fn a_batch_whose_workers_keep_dying_is_split_with_all_that_is_known_of_it() {
    let db = Db::new().await;
    let tenant = db.tenant("t", "sandbox-payout", 5).await;
    let run = db.run(tenant, "2026-01", 10).await;
    let batch = db.batches(run).await[0];
    let mut leased = db.lease(batch).await;
    let intent = db.intent(&leased).await;
    while next_step(rail("sandbox-payout"), &leased.facts) != NextStep::Split {
        assert!(leased.lease.epoch.0 < 10, "nobody suspects it");
        db.expire_lease(batch).await;
        leased = db.lease(batch).await;
    }
    let first = leased.clone();
    db.store.batch_split(leased.lease).await.unwrap().unwrap();
    let halves = db.batches(run).await;
    assert_eq!(halves.len(), 2);
    let half = db.lease(halves[0]).await;
    assert_eq!((half.facts.state, half.facts.payouts, half.facts.attempt.0), (BatchState::Sending, 2, 1));
    assert!(half.facts.may_arrive_until.is_some(), "the attempt may still arrive");
    // The first attempt's answer comes after all: success counts, refusal does not.
    let mut late = report(&first, &intent, refused);
    late.epoch = payfleet_domain::Epoch(1);
    assert_eq!(db.store.outcomes_record(late).await.unwrap().refused, 0);
    let mut late = report(&first, &intent, paid);
    late.epoch = payfleet_domain::Epoch(1);
    assert_eq!(db.store.outcomes_record(late).await.unwrap().paid, 5);
    assert_eq!(db.store.run_close(run).await.unwrap(), CloseVerdict::Settled, "nothing of the halves is open any more");
    db.assert_ledger().await;
    db.drop().await;
}

#[tokio::test]
async fn a_late_refusal_makes_nothing_unknown_of_a_batch_that_was_proven_unsent() {
    let db = Db::new().await;
    let tenant = db.tenant("t", "sandbox-batch", 4).await;
    let run = db.run(tenant, "2026-01", 10).await;
    let batch = db.batches(run).await[0];
    let old = db.lease(batch).await;
    let first = db.intent(&old).await;
    db.expire_lease(batch).await;
    let new = db.lease(batch).await;
    let second = db.intent(&new).await;
    let mut whole = report(&new, &second, refused);
    whole.refused_whole = true;
    assert_eq!(db.store.outcomes_record(whole).await.unwrap().state, BatchState::Split);
    db.record(&old, &first, refused).await;
    assert_eq!(db.states(run).await, "planned 4");
    assert_eq!(db.store.run_cancel(run).await.unwrap(), 4, "or they would be unknown in cancelled batches, for ever");
    assert_eq!(db.record(&old, &first, paid).await.late, 4, "proof still counts");
    let states: String = db.scalar("SELECT string_agg(state, ' ' ORDER BY id) FROM batch").await;
    assert_eq!(states, "split cancelled cancelled");
    db.assert_ledger().await;
    db.drop().await;
}

#[tokio::test]
async fn g5_a_run_with_somebody_unaccounted_for_is_not_settled() {
    let db = Db::new().await;
    let tenant = db.tenant("t", "sandbox-payout", 4).await;
    let run = db.run(tenant, "2026-01", 2).await;
    let batches = db.batches(run).await;
    db.pay(batches[0], paid).await;
    assert_eq!(db.store.run_close(run).await.unwrap(), CloseVerdict::NotYet);
    db.pay(batches[1], paid).await;
    sqlx::query("DELETE FROM payout WHERE id = (SELECT max(id) FROM payout)").execute(&db.sql).await.unwrap();
    let verdict = db.store.run_close(run).await.unwrap();
    let CloseVerdict::NotBalanced(difference) = verdict else { panic!("{verdict:?}") };
    assert_eq!((difference.payouts, difference.exclusions), ((4, 3), (0, 0)));
    let found = db.store.run_find(run).await.unwrap().unwrap();
    assert!(found.pause_reason.is_some() && found.state == RunState::Paying);
    db.drop().await;
}

#[tokio::test]
async fn refused_returned_and_cancelled_money_is_due_again_once() {
    let db = Db::new().await;
    let tenant = db.tenant("t", "sandbox-payout", 6).await;
    let first = db.run(tenant, "2026-01", 2).await;
    let batches = db.batches(first).await;
    db.pay(batches[0], paid).await;
    db.pay(batches[1], refused).await;
    assert!(db.store.lease_acquire(batches[0], "w", TTL).await.unwrap().is_none(), "a finished batch is not leased");
    // One of the paid ones comes back.
    let (payout, reference): (i64, String) =
        sqlx::query_as("SELECT id, reference FROM payout WHERE state = 'paid' ORDER BY id LIMIT 1")
            .fetch_one(&db.sql)
            .await
            .unwrap();
    let back = vec![(payfleet_domain::PayoutId(payout), Outcome::Returned(Reference(reference)))];
    let news = looked_up(batches[0], payfleet_domain::Epoch(1), back);
    db.store.outcomes_record(news.clone()).await.unwrap();
    db.store.outcomes_record(news).await.unwrap();
    assert_eq!(db.store.run_cancel(first).await.unwrap(), 2);
    assert_eq!(db.states(first).await, "cancelled 2, paid 1, refused 2, returned 1");
    db.assert_ledger().await;
    let second = db.run(tenant, "2026-02", 10).await;
    let due: String = db.scalar("SELECT count(*) || ' ' || sum(amount_minor) FROM payout WHERE run_id = 2").await;
    assert_eq!(due, "5 5000", "all but the one that was paid");
    db.pay(db.batches(second).await[0], paid).await;
    assert_eq!(db.store.run_close(second).await.unwrap(), CloseVerdict::Settled);
    db.assert_ledger().await;
    db.drop().await;
}

#[tokio::test]
async fn tenants_with_the_same_names_do_not_meet() {
    let db = Db::new().await;
    let (one, two) = (db.tenant("one", "sandbox-payout", 3).await, db.tenant("two", "sandbox-payout", 3).await);
    let first = db.run(one, "2026-01", 10).await;
    let second = db.run(two, "2026-01", 10).await;
    assert_eq!(db.pay(db.batches(first).await[0], paid).await.paid, 3);
    assert_eq!((db.states(first).await.as_str(), db.states(second).await.as_str()), ("paid 3", "planned 3"));
    let strangers: i64 = db
        .scalar(
            "SELECT count(*)
               FROM payout p JOIN affiliate a ON a.id = p.affiliate_id JOIN payout_method m ON m.id = p.method_id
              WHERE a.tenant_id <> p.tenant_id OR m.tenant_id <> p.tenant_id OR m.affiliate_id <> p.affiliate_id",
        )
        .await;
    assert_eq!(strangers, 0);
    db.drop().await;
}

#[tokio::test]
async fn racing_workers_never_intend_under_a_lost_lease() {
    let db = Db::new().await;
    let tenant = db.tenant("t", "sandbox-payout", 2).await;
    let run = db.run(tenant, "2026-01", 10).await;
    let batch = db.batches(run).await[0];
    let enough = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(40));
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..6 {
        let (store, enough) = (db.store.clone(), enough.clone());
        tasks.spawn(async move {
            let mut intended = Vec::new();
            let worker = format!("w{n}");
            while enough.load(std::sync::atomic::Ordering::Relaxed) > 0 {
                // Leases that end at about the time when the intent is written.
                if let Some(leased) =
                    store.lease_acquire(batch, &worker, Duration::from_millis(5 + n * 3)).await.unwrap()
                {
                    let rail = rail("sandbox-payout");
                    if let Ok(intent) = store.intent_write(leased.lease, &worker, rail, false).await.unwrap() {
                        intended.push((leased.lease.epoch.0, intent.attempt.0));
                        let _ = enough.fetch_update(
                            std::sync::atomic::Ordering::Relaxed,
                            std::sync::atomic::Ordering::Relaxed,
                            |left| left.checked_sub(1),
                        );
                    }
                }
            }
            intended
        });
    }
    let mut intended: Vec<(i32, i32)> = tasks.join_all().await.into_iter().flatten().collect();
    intended.sort_by_key(|(_, attempt)| *attempt);
    assert!(
        intended.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 < pair[1].1),
        "attempts follow epochs: {intended:?}"
    );
    db.drop().await;
}

#[tokio::test]
async fn a_lookup_without_an_answer_counts_as_a_failure_of_its_lessee() {
    let db = Db::new().await;
    let tenant = db.tenant("t", "sandbox-lookup", 3).await;
    let run = db.run(tenant, "2026-01", 10).await;
    let batch = db.batches(run).await[0];
    let first = db.lease(batch).await;
    let intent = db.intent(&first).await;
    db.store.outcomes_record(report(&first, &intent, unknown)).await.unwrap();
    let second = db.lease(batch).await;
    assert_eq!((second.failures, second.facts.unknown_attempts), (1, 1));
    let wait = Duration::from_secs(60);
    let in_vain = Report { unanswered: true, available_in: wait, ..looked_up(batch, second.lease.epoch, Vec::new()) };
    let recorded = db.store.outcomes_record(in_vain.clone()).await.unwrap();
    assert_eq!(recorded.state, BatchState::Sending, "silence proves nothing");
    assert!(db.try_lease(batch).await.is_none(), "not before it is due again");
    sqlx::query("UPDATE batch SET available_at = '-infinity'").execute(&db.sql).await.unwrap();
    let third = db.lease(batch).await;
    assert_eq!((third.failures, third.facts.unknown_attempts), (2, 2));
    // Whoever comes late with it has failed at nothing that counts.
    db.store.outcomes_record(in_vain).await.unwrap();
    let counted: (i32, i32) = sqlx::query_as("SELECT failures, unknown_attempts FROM batch WHERE id = $1")
        .bind(batch.0)
        .fetch_one(&db.sql)
        .await
        .unwrap();
    assert_eq!(counted, (2, 2));
    db.drop().await;
}

/// The database did not say whether it is written down, and its worker has sent nothing. Of other leases and workers it
/// knows nothing.
#[tokio::test]
async fn an_intent_without_an_answer_is_taken_back_and_no_other() {
    let db = Db::new().await;
    let tenant = db.tenant("t", "sandbox-file", 3).await;
    let run = db.run(tenant, "2026-01", 3).await;
    let batch = db.batches(run).await[0];
    let lost = db.lease(batch).await;
    db.intent(&lost).await;
    let withdraw = |leased: &LeasedBatch, worker: &'static str, known| {
        let (store, lease) = (db.store.clone(), leased.lease);
        async move { store.intent_withdraw(lease, worker, AttemptNo(known), Duration::ZERO).await.unwrap() }
    };
    assert!(!withdraw(&lost, "somebody else", 0).await);
    assert!(!withdraw(&lost, "w", 1).await, "calls may have been made for it");
    assert!(withdraw(&lost, "w", 0).await);
    assert!(!withdraw(&lost, "w", 0).await, "it is taken back already");
    let next = db.lease(batch).await;
    assert_eq!(next.facts.state, BatchState::Ready);
    let intent = db.intent(&next).await;
    assert_eq!((intent.attempt.0, intent.orders.len()), (2, 3));
    assert!(!withdraw(&lost, "w", 0).await, "the next one is under way");
    let code: Option<String> = db.scalar("SELECT last_code FROM batch").await;
    assert_eq!(code.as_deref(), Some("not_executed"));
    let results: Vec<Option<String>> =
        sqlx::query_scalar("SELECT result FROM attempt ORDER BY n").fetch_all(&db.sql).await.unwrap();
    assert_eq!(results, [Some("not_executed".to_owned()), None]);
    db.drop().await;
}
