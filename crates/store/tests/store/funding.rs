//! Funding accounts that can pay nothing for now: asked at each intent, and tried with one batch at a time.

use std::time::Duration;

use payfleet_domain::{AccountChange, AccountNews, AccountState, BatchId, Outcome, PROBES, Role, RunId, StopReason};
use payfleet_store::{FundingRow, Intent, IntentRefused, LeasedBatch, ResumeError, WhoError};

use crate::support::{Db, paid, rail};

const RAIL: &str = "sandbox-payout";
const TOLD: AccountNews =
    AccountNews { batch: BatchId(0), is_probe: false, calls: 1, unknown: 0, has_paid: false, stop: None };

async fn three_batches(db: &Db) -> (RunId, Vec<BatchId>) {
    let tenant = db.tenant("t", RAIL, 3).await;
    let run = db.run(tenant, "2026-01", 1).await;
    (run, db.batches(run).await)
}

async fn intend(db: &Db, leased: &LeasedBatch) -> Result<Intent, IntentRefused> {
    db.store.intent_write(leased.lease, "w", rail(RAIL), false).await.unwrap()
}

async fn hear(db: &Db, news: AccountNews) -> Vec<AccountChange> {
    db.store.account_hear(RAIL, "t", "EUR".parse().unwrap(), news).await.unwrap()
}

async fn stop(db: &Db, reason: StopReason) {
    assert_eq!(hear(db, AccountNews { stop: Some(reason), ..TOLD }).await, [AccountChange::Stopped(reason)]);
}

async fn list(db: &Db) -> Vec<FundingRow> {
    db.store.funding_list().await.unwrap()
}

/// The next probe is due.
async fn due(db: &Db) {
    sqlx::query("UPDATE funding_stop SET probe_at = clock_timestamp()").execute(&db.sql).await.unwrap();
}

#[tokio::test]
async fn of_what_goes_well_nothing_is_kept() {
    let db = Db::new().await;
    let (_, batches) = three_batches(&db).await;
    assert_eq!(hear(&db, AccountNews { has_paid: true, ..TOLD }).await, []);
    assert_eq!(list(&db).await, []);
    let intent = intend(&db, &db.lease(batches[0]).await).await.unwrap();
    assert!(!intent.is_probe && !intent.is_watched);
    db.drop().await;
}

#[tokio::test]
async fn from_a_stopped_account_nothing_is_sent_but_one_probe_and_then_all() {
    let db = Db::new().await;
    let (run, batches) = three_batches(&db).await;
    let leased = [db.lease(batches[0]).await, db.lease(batches[1]).await, db.lease(batches[2]).await];
    let before = intend(&db, &leased[0]).await.unwrap();
    stop(&db, StopReason::NoFunds).await;
    let refused = intend(&db, &leased[1]).await.unwrap_err();
    assert!(matches!(refused, IntentRefused::AccountStopped(wait) if wait <= PROBES.first), "{refused:?}");
    assert_eq!(db.scalar::<i64>("SELECT count(*) FROM attempt").await, 1, "nothing else is written down");
    due(&db).await;
    let (one, other) = tokio::join!(intend(&db, &leased[1]), intend(&db, &leased[2]));
    let (probe, refused, probed) = match (one, other) {
        (Ok(probe), Err(refused)) => (probe, refused, 1),
        (Err(refused), Ok(probe)) => (probe, refused, 2),
        both => panic!("one of the two finds out: {both:?}"),
    };
    assert!(probe.is_probe && matches!(refused, IntentRefused::AccountStopped(_)), "{refused:?}");
    assert_eq!(list(&db).await[0].state, AccountState::Probing);
    // Of the one that was under way nothing is known of the account now.
    assert_eq!(hear(&db, AccountNews { batch: batches[0], has_paid: true, ..TOLD }).await, []);
    let waiting = leased[3 - probed].lease;
    db.store.lease_release(waiting, Duration::from_secs(300)).await.unwrap();
    assert!(db.try_lease(waiting.batch).await.is_none());
    let news = AccountNews { batch: batches[probed], is_probe: true, has_paid: true, ..TOLD };
    assert_eq!(hear(&db, news).await, [AccountChange::Resumed]);
    let [row] = &list(&db).await[..] else { panic!("there is one row") };
    assert_eq!(
        (row.state, row.reason, row.resumed_by.as_deref()),
        (AccountState::Closed, Some(StopReason::NoFunds), None)
    );
    assert!(!intend(&db, &db.lease(waiting.batch).await).await.unwrap().is_probe, "what waited was woken");
    db.record(&leased[0], &before, paid).await;
    db.record(&leased[probed], &probe, paid).await;
    assert_eq!(db.states(run).await, "paid 2, planned 1");
    db.drop().await;
}

#[tokio::test]
async fn a_probe_in_vain_makes_the_next_one_wait_longer_and_refuses_nobody() {
    let db = Db::new().await;
    let (run, batches) = three_batches(&db).await;
    stop(&db, StopReason::NoFunds).await;
    for probes in 1..=3 {
        due(&db).await;
        let leased = db.lease(batches[0]).await;
        let probe = intend(&db, &leased).await.unwrap();
        let news = AccountNews { batch: batches[0], is_probe: true, stop: Some(StopReason::NoFunds), ..TOLD };
        assert_eq!(hear(&db, news).await, []);
        db.record(&leased, &probe, |_| Outcome::NotExecuted).await;
        assert_eq!((list(&db).await[0].probes, list(&db).await[0].state), (probes, AccountState::Open));
        let IntentRefused::AccountStopped(wait) = intend(&db, &db.lease(batches[1]).await).await.unwrap_err() else {
            panic!("it is stopped");
        };
        assert!(wait > PROBES.first * 2_u32.pow(probes.unsigned_abs()) - Duration::from_secs(1), "{wait:?}");
        for batch in &batches[..2] {
            db.expire_lease(*batch).await;
        }
    }
    assert_eq!(db.states(run).await, "planned 3");
    db.drop().await;
}

/// What has no answer is not known to be unsent by an answer to another request for it.
#[tokio::test]
async fn what_was_perhaps_sent_stays_unknown_when_the_account_is_empty_by_now() {
    let db = Db::new().await;
    let tenant = db.tenant("t", "paypal", 2).await;
    let run = db.run(tenant, "2026-01", 10).await;
    let batch = db.batches(run).await[0];
    db.pay(batch, |_| Outcome::Unknown).await;
    let again = db.pay(batch, |_| Outcome::NotExecuted).await;
    assert_eq!((again.refused, again.state.as_str()), (0, "sending"));
    assert_eq!(db.states(run).await, "unknown 2");
    db.drop().await;
}

#[tokio::test]
async fn money_stops_its_currency_and_other_tenants_and_rails_go_on() {
    let db = Db::new().await;
    let (_, batches) = three_batches(&db).await;
    let dollar = "USD".parse().unwrap();
    let empty = AccountNews { stop: Some(StopReason::NoFunds), ..TOLD };
    db.store.account_hear(RAIL, "t", dollar, empty).await.unwrap();
    db.store.account_hear(RAIL, "u", "EUR".parse().unwrap(), empty).await.unwrap();
    let locked = AccountNews { stop: Some(StopReason::Restricted), ..TOLD };
    db.store.account_hear("sandbox-batch", "t", "EUR".parse().unwrap(), locked).await.unwrap();
    let leased = db.lease(batches[0]).await;
    assert!(!intend(&db, &leased).await.unwrap().is_probe, "none of these is its account, or its currency");
    stop(&db, StopReason::CredentialRefused).await;
    let refused = intend(&db, &db.lease(batches[1]).await).await.unwrap_err();
    assert!(matches!(refused, IntentRefused::AccountStopped(_)), "all currencies: {refused:?}");
    db.drop().await;
}

#[tokio::test]
async fn a_person_who_may_steer_for_all_lets_an_account_go_on() {
    let db = Db::new().await;
    let (_, batches) = three_batches(&db).await;
    stop(&db, StopReason::NoFunds).await;
    stop(&db, StopReason::Restricted).await;
    let leased = db.lease(batches[0]).await;
    db.store.lease_release(leased.lease, Duration::from_secs(300)).await.unwrap();
    let tenant = db.store.tenant_find("t").await.unwrap();
    let viewer = db.person("viv", Role::Viewer, None).await;
    let theirs = db.person("tom", Role::Operator, tenant).await;
    for nobody in [viewer, theirs] {
        let refused = db.store.funding_resume(RAIL, None, nobody).await.unwrap_err();
        assert!(matches!(refused, ResumeError::Who(WhoError::NotAllowed(_))), "{refused}");
    }
    let operator = db.person("olga", Role::Operator, None).await;
    let (_, none) = db.store.funding_resume(RAIL, Some("other".to_owned()), operator).await.unwrap();
    assert_eq!(none, []);
    let (by, resumed) = db.store.funding_resume(RAIL, Some("t".to_owned()), operator).await.unwrap();
    assert_eq!((by.as_str(), resumed.len()), ("olga", 2));
    let rows = list(&db).await;
    assert!(rows.iter().all(|row| row.state == AccountState::Closed && row.resumed_by.as_deref() == Some("olga")));
    let intent = intend(&db, &db.lease(batches[0]).await).await.unwrap();
    assert!(!intent.is_probe, "and what waited was woken");
    db.drop().await;
}

#[tokio::test]
async fn many_unknown_outcomes_of_all_workers_stop_an_account() {
    let db = Db::new().await;
    let (_, batches) = three_batches(&db).await;
    assert_eq!(hear(&db, AccountNews { calls: 10, unknown: 10, ..TOLD }).await, []);
    let watched = intend(&db, &db.lease(batches[0]).await).await.unwrap();
    assert!(watched.is_watched, "what goes well counts now too");
    assert_eq!(hear(&db, AccountNews { calls: 9, has_paid: true, ..TOLD }).await, []);
    let (one, other) = tokio::join!(
        hear(&db, AccountNews { calls: 5, unknown: 5, ..TOLD }),
        hear(&db, AccountNews { calls: 5, unknown: 5, ..TOLD })
    );
    assert_eq!([one, other].concat(), [AccountChange::Stopped(StopReason::ManyUnknown)], "20 of 29, told once");
    let refused = intend(&db, &db.lease(batches[1]).await).await.unwrap_err();
    assert!(matches!(refused, IntentRefused::AccountStopped(_)), "{refused:?}");
    db.drop().await;
}

/// Programs of before know nothing of it, and a worker that ends in the middle of finding out is no end of it.
#[tokio::test]
async fn of_a_probe_that_nobody_heard_of_again_another_one_is_sent() {
    let db = Db::new().await;
    let (_, batches) = three_batches(&db).await;
    stop(&db, StopReason::NoFunds).await;
    due(&db).await;
    assert!(intend(&db, &db.lease(batches[0]).await).await.unwrap().is_probe);
    db.expire_lease(batches[0]).await;
    let taken_over = intend(&db, &db.lease(batches[0]).await).await.unwrap();
    assert!(taken_over.is_probe, "whoever takes its batch over goes on with it");
    let other = db.lease(batches[1]).await;
    assert!(intend(&db, &other).await.is_err());
    sqlx::query("UPDATE funding_stop SET probe_until = clock_timestamp()").execute(&db.sql).await.unwrap();
    assert!(intend(&db, &other).await.unwrap().is_probe);
    db.drop().await;
}
