//! A lookup that is answered for some payouts of a batch and not for others, on a rail without keys: nobody waits for
//! answers about others, and nobody is held because of them.

use std::time::Duration;

use crate::support::{Db, looked_up, paid, rail, report};
use payfleet_domain::{BatchId, BatchState, HoldReason, Outcome, PayoutId, RunId};
use payfleet_store::{Intent, IntentRefused, LeasedBatch, Report};

/// A run of one batch over this rail, which a worker that died had begun to send.
async fn broken_off(name: &str, payouts: i64) -> (Db, RunId, BatchId, Vec<PayoutId>) {
    let db = Db::new().await;
    let tenant = db.tenant("t", name, payouts).await;
    let run = db.run(tenant, "2026-01", 10).await;
    let batch = db.batches(run).await[0];
    db.intent(&db.lease(batch).await).await;
    db.expire_lease(batch).await;
    let payouts = db.payouts(run).await;
    (db, run, batch, payouts)
}

/// A lookup that found nothing of these, and goes on under its lease.
fn unfound(leased: &LeasedBatch, payouts: &[PayoutId]) -> Report {
    let news = payouts.iter().map(|payout| (*payout, Outcome::NotExecuted)).collect();
    Report { release: false, ..looked_up(leased.lease.batch, leased.lease.epoch, news) }
}

async fn intend(db: &Db, leased: &LeasedBatch) -> Result<Intent, IntentRefused> {
    db.store.intent_write(leased.lease, "w", rail(&leased.rail), false).await.unwrap()
}

fn sent(intent: &Intent) -> Vec<PayoutId> {
    intent.orders.iter().map(|order| order.payout).collect()
}

#[tokio::test]
async fn what_a_rail_does_not_know_is_sent_while_it_says_nothing_of_the_rest() {
    let (db, run, batch, payouts) = broken_off("sandbox-lookup", 4).await;
    let old = db.lease(batch).await;
    db.expire_lease(batch).await;
    let leased = db.lease(batch).await;
    assert_eq!(intend(&db, &leased).await.unwrap_err(), IntentRefused::NotSafe, "each may have been sent");
    let news = Report {
        outcomes: vec![(payouts[0], paid(payouts[0])), (payouts[1], Outcome::NotExecuted)],
        ..unfound(&leased, &[])
    };
    db.store.outcomes_record(unfound(&leased, &payouts[1..2])).await.unwrap();
    assert_eq!(intend(&db, &leased).await.unwrap_err(), IntentRefused::NotSafe, "it may still arrive");
    db.age(batch, 1_000).await;
    db.store.outcomes_record(unfound(&old, &payouts[1..2])).await.unwrap();
    let open: i64 = db.scalar("SELECT count(*) FROM attempt WHERE result IS NULL").await;
    assert_eq!(open, 1, "somebody else may have sent it since");
    assert_eq!(db.store.outcomes_record(news).await.unwrap().state, BatchState::Sending);
    assert_eq!(db.states(run).await, "paid 1, planned 1, unknown 2", "what was not found to be nowhere is in doubt");
    let intent = intend(&db, &leased).await.unwrap();
    assert_eq!(sent(&intent), payouts[1..2]);
    db.expire_lease(batch).await;
    let next = db.lease(batch).await;
    assert_eq!(next.facts.unknown_attempts, 0, "to find out something is no failure");
    assert_eq!(intend(&db, &next).await.unwrap_err(), IntentRefused::NotSafe, "it is under way again");
    db.store.outcomes_record(report(&leased, &intent, paid)).await.unwrap();
    assert_eq!(db.states(run).await, "paid 2, unknown 2");
    assert_eq!(intend(&db, &next).await.unwrap_err(), IntentRefused::NotSafe, "nothing of it is proven unsent");
    db.age(batch, 1_000).await;
    assert_eq!(intend(&db, &next).await.unwrap_err(), IntentRefused::NotSafe, "nor by the time that has passed");
    // At last it is asked with success.
    let all = db.store.intent_write(next.lease, "w", rail("sandbox-lookup"), true).await.unwrap().unwrap();
    assert_eq!(sent(&all), payouts[2..]);
    db.assert_ledger().await;
    db.drop().await;
}

/// What the rail itself has said that it did not execute needs no lookup, but the others of its batch may arrive yet.
#[tokio::test]
async fn nothing_is_sent_before_all_that_was_sent_is_dead() {
    let db = Db::new().await;
    let tenant = db.tenant("t", "sandbox-lookup", 3).await;
    let run = db.run(tenant, "2026-01", 3).await;
    let (batch, payouts) = (db.batches(run).await[0], db.payouts(run).await);
    let answer = |payout| if payout == payouts[0] { Outcome::Unknown } else { Outcome::NotExecuted };
    db.pay(batch, answer).await;
    let leased = db.lease(batch).await;
    for looked_up in [false, true] {
        let early = db.store.intent_write(leased.lease, "w", rail("sandbox-lookup"), looked_up).await.unwrap();
        assert_eq!(early.unwrap_err(), IntentRefused::NotSafe, "{looked_up}");
    }
    db.age(batch, 1_000).await;
    assert_eq!(sent(&intend(&db, &leased).await.unwrap()), payouts[1..]);
    db.drop().await;
}

/// A key needs no such proof; and under a batch key, what the rail does not know of it as a part proves nothing.
#[tokio::test]
async fn where_a_key_decides_a_lookup_proves_nothing_of_single_payouts() {
    for name in ["sandbox-payout", "sandbox-batch"] {
        let (db, run, batch, payouts) = broken_off(name, 2).await;
        db.age(batch, 1_000).await;
        let leased = db.lease(batch).await;
        db.store.outcomes_record(unfound(&leased, &payouts[..1])).await.unwrap();
        assert_eq!(db.states(run).await, "planned 2", "{name}");
        let open: i64 = db.scalar("SELECT count(*) FROM attempt WHERE result IS NULL").await;
        assert_eq!(open, 1, "{name}");
        db.drop().await;
    }
}

#[tokio::test]
async fn who_is_held_for_silence_is_who_it_is_about() {
    for (name, reason) in
        [("sandbox-lookup", HoldReason::BudgetExhausted), ("sandbox-payout", HoldReason::HorizonExpired)]
    {
        let db = Db::new().await;
        let tenant = db.tenant("t", name, 4).await;
        let run = db.run(tenant, "2026-01", 4).await;
        let (batch, payouts) = (db.batches(run).await[0], db.payouts(run).await);
        db.pay(batch, |payout| match payouts.iter().position(|other| *other == payout) {
            Some(0) => paid(payout),
            Some(1) => Outcome::Unknown,
            _ => Outcome::NotExecuted,
        })
        .await;
        let leased = db.lease(batch).await;
        assert_eq!(db.store.batch_hold(leased.lease, reason).await.unwrap(), Some(1), "{name}");
        assert_eq!(db.states(run).await, "held 1, paid 1, planned 2", "{name}");
        let next = db.lease(batch).await;
        assert_eq!((next.facts.state, next.facts.unknown_attempts), (BatchState::Ready, 0), "{name}");
        let intent = intend(&db, &next).await.unwrap();
        assert_eq!(sent(&intent), payouts[2..], "{name}");
        let recorded = db.record(&next, &intent, paid).await;
        assert_eq!((recorded.paid, recorded.state), (2, BatchState::Held), "{name}");
        // That the one who is held was not paid can be said only when all that was sent is dead.
        let alive: bool = db.scalar("SELECT bool_and(may_arrive_until > now()) FROM attempt").await;
        assert!(alive);
        let holds = db.store.holds_list(Some(run), 10).await.unwrap();
        assert_eq!(holds.len(), 1, "{name}");
        assert!(matches!(holds[0].not_paid, Some(payfleet_domain::NotPaid::NotBefore(_))), "{:?}", holds[0].not_paid);
        db.assert_ledger().await;
        db.drop().await;
    }
}

#[tokio::test]
async fn what_was_perhaps_sent_is_held_whole_and_so_is_poison() {
    let (db, run, batch, _) = broken_off("sandbox-lookup", 3).await;
    let leased = db.lease(batch).await;
    assert_eq!(db.store.batch_hold(leased.lease, HoldReason::BudgetExhausted).await.unwrap(), Some(3));
    assert_eq!(db.states(run).await, "held 3", "an attempt without a result is about all of them");
    db.drop().await;
    for (name, reason) in [
        ("sandbox-lookup", HoldReason::Poison),
        // Under a batch key they are unsent together or not at all.
        ("sandbox-batch", HoldReason::HorizonExpired),
    ] {
        let db = Db::new().await;
        let tenant = db.tenant("t", name, 3).await;
        let run = db.run(tenant, "2026-01", 3).await;
        let (batch, payouts) = (db.batches(run).await[0], db.payouts(run).await);
        let answer = |payout| if payout == payouts[0] { Outcome::Unknown } else { Outcome::NotExecuted };
        db.pay(batch, answer).await;
        let leased = db.lease(batch).await;
        assert_eq!(db.store.batch_hold(leased.lease, reason).await.unwrap(), Some(3), "{name}");
        assert_eq!(db.states(run).await, "held 3", "{name}");
        db.drop().await;
    }
}

#[tokio::test]
async fn a_budget_is_for_lookups_without_any_news() {
    let (db, _, batch, payouts) = broken_off("sandbox-lookup", 4).await;
    db.age(batch, 1_000).await;
    let look = async |report: fn(&LeasedBatch, &[PayoutId]) -> Report| {
        let leased = db.lease(batch).await;
        let report = Report { release: true, available_in: Duration::ZERO, ..report(&leased, &payouts) };
        db.store.outcomes_record(report).await.unwrap();
        let facts: (i32, i32) =
            sqlx::query_as("SELECT unknown_attempts, failures FROM batch").fetch_one(&db.sql).await.unwrap();
        facts
    };
    let silence = |leased: &LeasedBatch, _: &[PayoutId]| Report { unanswered: true, ..unfound(leased, &[]) };
    assert_eq!(look(silence).await, (1, 1));
    assert_eq!(look(silence).await, (2, 2));
    assert_eq!(look(|leased, payouts| unfound(leased, &payouts[..1])).await, (2, 2), "nothing failed");
    let news = |leased: &LeasedBatch, payouts: &[PayoutId]| Report {
        outcomes: vec![(payouts[1], paid(payouts[1]))],
        ..unfound(leased, &[])
    };
    assert_eq!(look(news).await, (0, 0), "counted anew from the last news of a payment");
    let code: Option<String> = db.scalar("SELECT last_code FROM batch").await;
    assert_eq!(code.as_deref(), Some("unknown"), "that nothing was found is no refusal to work");
    db.drop().await;
}
