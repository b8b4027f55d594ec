//! Processes that die, hang or are told to stop. The judge is the sandbox's journal.

use std::time::{Duration, Instant};

use payfleet_tests::{Fleet, FleetOptions};
use rand::RngExt;
use rustix::process::Signal;

const LONG: Duration = Duration::from_secs(180);

/// Slow enough that there is a middle of the run.
const SLOW: &str = r#"{"latency_ms": 40, "latency_jitter_ms": 40}"#;

#[tokio::test]
async fn a_worker_killed_20_times_at_random_moments_pays_everybody_once() {
    let mut fleet = Fleet::with_payouts(FleetOptions { batch_size: 20, ..FleetOptions::default() }, 3_000).await;
    fleet.faults(r#"{"latency_ms": 150, "latency_jitter_ms": 100}"#).await;
    let run = fleet.run("shop", "2026-01").await;
    // A short lease, so that 20 deaths take less than minutes; the one at the end is as shipped.
    let arguments = ["--lease-ttl", "1s", "--calls", "16"];
    let mut workers = vec![fleet.worker(&arguments), fleet.worker(&arguments)];
    let mut paid = 0;
    for _ in 0..20 {
        // Each life is to see some payments, so that each death is in the middle of work.
        fleet.paid_at_least(paid + 5, LONG).await;
        tokio::time::sleep(Duration::from_millis(rand::rng().random_range(0..300))).await;
        workers.remove(0).kill();
        workers.push(fleet.worker(&arguments));
        paid = fleet.stats().await["paid"].as_u64().unwrap();
    }
    assert_ne!(fleet.state(run).await, "settled", "the deaths were in the middle of the run");
    fleet.faults(r#"{"latency_ms": 0, "latency_jitter_ms": 0}"#).await;
    fleet.settled(run, LONG).await;
    fleet.assert_paid_exactly_once().await;
    fleet.assert_reconciled(run).await;
}

#[tokio::test]
async fn the_others_take_over_from_a_killed_worker_within_15_seconds() {
    let mut fleet = Fleet::with_payouts(FleetOptions { batch_size: 50, ..FleetOptions::default() }, 1_000).await;
    fleet.faults(SLOW).await;
    let run = fleet.run("shop", "2026-01").await;
    let mut workers = fleet.workers(2);
    fleet.paid_at_least(200, LONG).await;
    workers.remove(0).kill();
    let killed = Instant::now();
    fleet.settled(run, LONG).await;
    let recovered = killed.elapsed();
    println!("recovered {recovered:?} after the kill");
    assert!(recovered < Duration::from_secs(15), "{recovered:?}");
    fleet.assert_paid_exactly_once().await;
    fleet.assert_reconciled(run).await;
}

#[tokio::test]
async fn a_worker_stopped_past_its_lease_and_continued_harms_nothing() {
    let mut fleet = Fleet::with_payouts(FleetOptions { batch_size: 50, ..FleetOptions::default() }, 1_000).await;
    fleet.faults(SLOW).await;
    let run = fleet.run("shop", "2026-01").await;
    let arguments = ["--lease-ttl", "2s", "--calls", "16"];
    let sleeper = fleet.worker(&arguments);
    fleet.paid_at_least(50, LONG).await;
    sleeper.signal(Signal::STOP);
    let _other = fleet.worker(&arguments);
    fleet.settled(run, LONG).await;
    sleeper.signal(Signal::CONT);
    // It wakes up with answers and calls of a lost lease; when it has signed off, all that it had to say is said.
    sleeper.signal(Signal::TERM);
    let mut sleeper = sleeper;
    assert!(sleeper.process.wait(LONG).success());
    fleet.assert_paid_exactly_once().await;
    fleet.assert_reconciled(run).await;
}

#[tokio::test]
async fn a_worker_told_to_stop_finishes_or_hands_back_and_ends_with_0() {
    let mut fleet = Fleet::with_payouts(FleetOptions { batch_size: 100, ..FleetOptions::default() }, 2_000).await;
    fleet.faults(SLOW).await;
    let run = fleet.run("shop", "2026-01").await;
    let mut first = fleet.worker(&["--calls", "8"]);
    fleet.paid_at_least(30, LONG).await;
    first.signal(Signal::TERM);
    assert!(first.process.wait(Duration::from_secs(20)).success());
    let leased: i64 = sqlx::query_scalar("SELECT count(*) FROM batch WHERE lease_until > clock_timestamp()")
        .fetch_one(&fleet.database)
        .await
        .unwrap();
    assert_eq!(leased, 0, "nothing is left leased");
    assert_ne!(fleet.state(run).await, "settled");
    // Replicas come and go while the run goes on.
    let _second = fleet.workers(2);
    fleet.settled(run, LONG).await;
    fleet.assert_paid_exactly_once().await;
    fleet.assert_reconciled(run).await;
}

#[tokio::test]
async fn a_coordinator_killed_while_planning_is_run_again_and_plans_everybody_once() {
    let mut fleet = Fleet::with_payouts(FleetOptions::default(), 3_000).await;
    let mut kills = 0;
    for _ in 0..8 {
        let mut command =
            fleet.coordinator_command(&["run", "--tenant", "shop", "--period", "2026-01", "--chunk", "25"]);
        let mut coordinator =
            payfleet_tests::Process::start("coordinator", &mut command, &fleet.folder().join("run.log"));
        let before = cursor(&fleet).await;
        while cursor(&fleet).await == before && coordinator.is_running() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        kills += usize::from(coordinator.is_running());
        coordinator.kill();
    }
    assert!(kills >= 3, "the coordinator was caught while planning {kills} times");
    let run = fleet.run("shop", "2026-01").await;
    let _workers = fleet.workers(2);
    fleet.settled(run, LONG).await;
    fleet.assert_paid_exactly_once().await;
    assert_eq!(fleet.verdict().await.planned, 3_000);
    fleet.assert_reconciled(run).await;
}

async fn cursor(fleet: &Fleet) -> i64 {
    let cursor = sqlx::query_scalar("SELECT coalesce(max(n), -1)::bigint FROM plan_chunk WHERE is_planned")
        .fetch_one(&fleet.database);
    cursor.await.unwrap()
}
