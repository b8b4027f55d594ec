//! Alarms: each is kept, tells which payments, and keeps its run from going on until somebody has answered for it.

use crate::support::{Db, accepted, looked_up, paid, unknown};
use payfleet_domain::{AlarmKind, HoldReason, Outcome, PayoutId, Reference, Role, RunId, TokenHash};
use payfleet_store::{AlarmError, CloseVerdict, RunChangeError, Watched, WhoError};

/// The rail tells another payment of a payout that is paid.
async fn paid_again(db: &Db, run: RunId, payout: PayoutId, reference: &str) {
    let batch = db.batches(run).await[0];
    let outcome = Outcome::Paid(Reference(reference.to_owned()));
    let epoch = db.scalar::<i32>("SELECT lease_epoch FROM batch ORDER BY id LIMIT 1").await;
    db.store.outcomes_record(looked_up(batch, payfleet_domain::Epoch(epoch), vec![(payout, outcome)])).await.unwrap();
}

async fn open(db: &Db) -> Vec<(i64, AlarmKind, Option<PayoutId>)> {
    let listed = db.store.alarms_list(false, 10).await.unwrap();
    listed.into_iter().map(|alarm| (alarm.id, alarm.kind, alarm.payout)).collect()
}

async fn answer(db: &Db, alarm: i64, by: TokenHash) -> Result<String, AlarmError> {
    db.store.alarm_answer(alarm, "ticket 4711", by).await
}

#[tokio::test]
async fn a_run_goes_on_when_each_of_its_alarms_is_answered() {
    let db = Db::new().await;
    let tenant = db.tenant("t", "sandbox-payout", 4).await;
    let other = db.store.tenant_ensure("u", None).await.unwrap();
    let run = db.run(tenant, "2026-01", 2).await;
    let payouts = db.payouts(run).await;
    db.pay(db.batches(run).await[0], paid).await;
    // It was paused before, for another reason.
    db.store.run_pause(run, "a look").await.unwrap();
    for _ in 0..2 {
        paid_again(&db, run, payouts[0], "other").await;
    }
    paid_again(&db, run, payouts[1], "other").await;
    let found = [(1, AlarmKind::DoublePayment, Some(payouts[0])), (2, AlarmKind::DoublePayment, Some(payouts[1]))];
    assert_eq!(open(&db).await, found, "the same news twice is one alarm");
    let told = db.store.alarms_list(false, 10).await.unwrap().remove(0);
    assert_eq!((told.run, told.words.contains("other"), told.words.contains(", ")), (run, true, true), "{told:?}");

    let ann = db.person("ann", Role::Operator, Some(tenant)).await;
    for nobody in [db.person("viewer", Role::Viewer, None).await, db.person("far", Role::Operator, Some(other)).await] {
        let said = answer(&db, 1, nobody).await;
        assert!(matches!(said, Err(AlarmError::Who(WhoError::NotAllowed(_)))), "{said:?}");
    }
    assert!(matches!(db.store.run_resume(run).await, Err(RunChangeError::Alarmed(_))));
    assert_eq!(answer(&db, 1, ann).await.unwrap(), "ann");
    assert!(matches!(answer(&db, 1, ann).await, Err(AlarmError::NotOpen(1))), "it is answered");
    assert!(matches!(db.store.run_resume(run).await, Err(RunChangeError::Alarmed(_))), "one is left");
    answer(&db, 2, ann).await.unwrap();
    db.store.run_resume(run).await.unwrap();
    assert_eq!((open(&db).await, db.store.alarms_open().await.unwrap()), (vec![], 0));
    let all = db.store.alarms_list(true, 10).await.unwrap();
    assert_eq!(all[0].answer, Some(("ann".to_owned(), "ticket 4711".to_owned())));
    // A third payment is more than they have looked at.
    paid_again(&db, run, payouts[0], "third").await;
    assert_eq!(open(&db).await, [(3, AlarmKind::DoublePayment, Some(payouts[0]))]);
    db.drop().await;
}

/// There is no run left to pause.
#[tokio::test]
async fn of_a_run_that_is_over_an_alarm_is_kept_too() {
    let db = Db::new().await;
    let tenant = db.tenant("t", "sandbox-payout", 2).await;
    let run = db.run(tenant, "2026-01", 2).await;
    db.pay(db.batches(run).await[0], paid).await;
    assert_eq!(db.store.run_close(run).await.unwrap(), CloseVerdict::Settled);
    let payout = db.payouts(run).await[0];
    paid_again(&db, run, payout, "other").await;
    assert_eq!(open(&db).await, [(1, AlarmKind::DoublePayment, Some(payout))]);
    db.drop().await;
}

#[tokio::test]
async fn a_run_that_does_not_add_up_raises_one_alarm_until_it_is_answered() {
    let db = Db::new().await;
    let tenant = db.tenant("t", "sandbox-payout", 2).await;
    let run = db.run(tenant, "2026-01", 2).await;
    db.pay(db.batches(run).await[0], paid).await;
    sqlx::query("UPDATE run_plan SET accounts = accounts + 1").execute(&db.sql).await.unwrap();
    let ann = db.person("ann", Role::Operator, None).await;
    for alarm in 1..3 {
        assert!(matches!(db.store.run_close(run).await.unwrap(), CloseVerdict::NotBalanced(_)));
        assert_eq!(open(&db).await, [(alarm, AlarmKind::OutOfBalance, None)]);
        assert!(matches!(db.store.run_resume(run).await, Err(RunChangeError::Alarmed(_))));
        answer(&db, alarm, ann).await.unwrap();
        db.store.run_resume(run).await.unwrap();
    }
    db.drop().await;
}

#[tokio::test]
async fn what_somebody_should_hear_of_is_counted() {
    let db = Db::new().await;
    assert_eq!(db.store.watched_read().await.unwrap(), Watched::default());
    let tenant = db.tenant("t", "sandbox-file", 2).await;
    let run = db.run(tenant, "2026-01", 1).await;
    let [first, second] = db.batches(run).await[..] else { panic!("two batches") };
    // Since it was begun nothing was sent.
    let ago = "UPDATE run
                  SET created_at = created_at - interval '1 hour', planned_at = planned_at - interval '1 hour',
                    paying_at = paying_at - interval '1 hour'";
    sqlx::query(ago).execute(&db.sql).await.unwrap();
    let still = async || db.store.watched_read().await.unwrap().run_still_secs;
    assert!((3_600.0..3_700.0).contains(&still().await), "{}", still().await);
    db.store.run_pause(run, "a look").await.unwrap();
    assert_eq!(still().await, 0.0, "somebody knows");
    db.store.run_resume(run).await.unwrap();
    db.pay(first, unknown).await;
    assert!(still().await < 100.0, "an attempt was made");
    let leased = db.lease(first).await;
    db.store.batch_hold(leased.lease, HoldReason::NoWayToKnow).await.unwrap();
    sqlx::query("UPDATE hold SET opened_at = opened_at - interval '2 days'").execute(&db.sql).await.unwrap();
    sqlx::query("UPDATE batch SET closed_at = closed_at - interval '1 hour' WHERE closed_at IS NOT NULL")
        .execute(&db.sql)
        .await
        .unwrap();
    db.age(first, 3_600).await;
    assert!(still().await > 3_500.0, "the other batch waits");
    db.pay(second, accepted).await;
    assert_eq!(still().await, 0.0, "what only waits for its rail does not stand still");
    let payout = db.payouts(run).await[1];
    for reference in ["one", "other"] {
        let outcome = Outcome::Paid(Reference(reference.to_owned()));
        let told = looked_up(second, payfleet_domain::Epoch(1), vec![(payout, outcome)]);
        db.store.outcomes_record(told).await.unwrap();
    }
    sqlx::query("UPDATE run SET verdict = 'discrepant', judged_at = clock_timestamp()").execute(&db.sql).await.unwrap();
    let watched = db.store.watched_read().await.unwrap();
    assert_eq!((watched.alarms_open, watched.runs_discrepant), (1.0, 1.0));
    assert!(watched.hold_oldest_secs > 170_000.0, "{watched:?}");
    // What somebody wants held is no news to them.
    sqlx::query("UPDATE hold SET reason = 'on_hold'").execute(&db.sql).await.unwrap();
    assert_eq!(db.store.watched_read().await.unwrap().hold_oldest_secs, 0.0);
    db.drop().await;
}
