//! Roles and passwords that change while a run is paid, in the wrong order: first the old one is taken away, then the
//! new one is handed out.

use std::time::Duration;

use deadpool_redis::redis::{self, Value};
use payfleet_tests::{Fleet, FleetOptions, wait_for};
use rustix::process::Signal;

const LONG: Duration = Duration::from_secs(90);

async fn sql(fleet: &Fleet, statement: &'static str) {
    sqlx::raw_sql(statement).execute(&fleet.database).await.unwrap();
}

async fn acl(fleet: &Fleet, words: &[&str]) {
    let mut connection = fleet.redis.connection().await.unwrap();
    let _: Value = redis::cmd("ACL").arg(words).query_async(&mut connection).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_that_may_not_log_in_any_more_loses_no_answer_and_its_successor_goes_on() {
    let mut fleet = Fleet::with_payouts(FleetOptions { batch_size: 10, ..FleetOptions::default() }, 600).await;
    fleet.faults(r#"{"latency_ms": 200}"#).await;
    sql(&fleet, "CREATE ROLE old SUPERUSER LOGIN; CREATE ROLE new SUPERUSER LOGIN").await;
    acl(&fleet, &["SETUSER", "fleet", "on", ">old", ">new", "~*", "&*", "+@all"]).await;
    let database = |role: &str| fleet.postgres.url("payfleet").replace("postgres@", &format!("{role}@"));
    let redis = |password: &str| format!("redis://fleet:{password}@{}/", fleet.redis.address());
    let (old, new) = ((database("old"), redis("old")), (database("new"), redis("new")));
    let mut before = fleet.worker(&["--database-url", &old.0, "--redis-url", &old.1]);
    let run = fleet.run("shop", "2026-01").await;
    fleet.paid_at_least(100, LONG).await;
    sql(&fleet, "ALTER ROLE old NOLOGIN").await;
    sql(&fleet, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'old'").await;
    acl(&fleet, &["SETUSER", "fleet", "<old"]).await;
    wait_for("a worker without its database to say so", LONG, async || {
        (before.readiness().await.0 == 503).then_some(())
    })
    .await;
    let _after = fleet.worker(&["--database-url", &new.0, "--redis-url", &new.1]);
    before.signal(Signal::TERM);
    let ended = before.process.ends_within(Duration::from_secs(25)).await;
    assert!(ended.is_some_and(|status| status.success()), "{ended:?}: {}", before.log());
    fleet.settled(run, LONG).await;
    fleet.assert_paid_exactly_once().await;
    fleet.assert_reconciled(run).await;
    let log = before.log();
    assert!(!log.contains("ERROR"), "{log}");
}
