//! Alarms: each is kept, tells which payments, and keeps its run from going on until somebody has answered for it.

#![allow(clippy::unwrap_used)]

mod support;

use payfleet_domain::{AlarmKind, Outcome, PayoutId, Reference, Role, RunId, TokenHash};
use payfleet_store::{AlarmError, CloseVerdict, RunChangeError, WhoError};
use support::{Db, looked_up, paid};

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
