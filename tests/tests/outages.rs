//! Servers that lose their memory, or die and come back, in the middle of a run.

#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use payfleet_tests::{Fleet, FleetOptions};

const LONG: Duration = Duration::from_secs(180);
const SLOW: &str = r#"{"latency_ms": 40, "latency_jitter_ms": 40}"#;

async fn in_the_middle_of_a_run() -> (Fleet, i64, Vec<payfleet_tests::Worker>) {
    let mut fleet = Fleet::with_payouts(FleetOptions { batch_size: 20, ..FleetOptions::default() }, 2_000).await;
    fleet.faults(SLOW).await;
    let run = fleet.run("shop", "2026-01").await;
    let workers = (0..2).map(|_| fleet.worker(&["--calls", "24"])).collect();
    fleet.paid_at_least(300, LONG).await;
    assert_eq!(fleet.state(run).await, "paying");
    (fleet, run, workers)
}

async fn ends_well(fleet: &Fleet, run: i64) {
    fleet.settled(run, LONG).await;
    fleet.assert_paid_exactly_once().await;
    fleet.assert_reconciled(run).await;
}

#[tokio::test]
async fn flushall_costs_seconds_and_no_payment() {
    let (fleet, run, _workers) = in_the_middle_of_a_run().await;
    for _ in 0..3 {
        fleet.redis.flush_all().await;
        let flushed = Instant::now();
        let paid = fleet.stats().await["paid"].as_u64().unwrap();
        fleet.paid_at_least((paid + 150).min(2_000), LONG).await;
        println!("going on {:?} after FLUSHALL", flushed.elapsed());
    }
    ends_well(&fleet, run).await;
}

#[tokio::test]
async fn redis_killed_and_restarted() {
    let (mut fleet, run, _workers) = in_the_middle_of_a_run().await;
    for _ in 0..2 {
        fleet.redis.kill();
        fleet.redis.restart().await;
        let paid = fleet.stats().await["paid"].as_u64().unwrap();
        fleet.paid_at_least((paid + 150).min(2_000), LONG).await;
    }
    ends_well(&fleet, run).await;
}

#[tokio::test]
async fn postgres_killed_and_restarted() {
    let (mut fleet, run, _workers) = in_the_middle_of_a_run().await;
    for _ in 0..3 {
        fleet.postgres.kill();
        fleet.postgres.restart().await;
        let paid = fleet.stats().await["paid"].as_u64().unwrap();
        fleet.paid_at_least((paid + 150).min(2_000), LONG).await;
    }
    ends_well(&fleet, run).await;
}

#[tokio::test]
async fn the_rail_killed_and_restarted() {
    let (mut fleet, run, _workers) = in_the_middle_of_a_run().await;
    for _ in 0..2 {
        fleet.sandbox_kill();
        fleet.sandbox_start().await;
        let paid = fleet.stats().await["paid"].as_u64().unwrap();
        fleet.paid_at_least((paid + 150).min(2_000), LONG).await;
    }
    ends_well(&fleet, run).await;
}

#[tokio::test]
async fn everything_killed_at_once() {
    let (mut fleet, run, workers) = in_the_middle_of_a_run().await;
    for worker in workers {
        worker.kill();
    }
    fleet.redis.kill();
    fleet.postgres.kill();
    fleet.sandbox_kill();
    fleet.postgres.restart().await;
    fleet.redis.restart().await;
    fleet.sandbox_start().await;
    let _workers = fleet.workers(2);
    ends_well(&fleet, run).await;
}
