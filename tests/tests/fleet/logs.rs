//! How much a worker writes into its log.

use std::time::Duration;

use payfleet_tests::{Fleet, FleetOptions, wait_for};

const LONG: Duration = Duration::from_secs(180);

#[tokio::test]
async fn a_worker_at_info_writes_at_most_20_lines_for_1000_payouts() {
    let mut fleet = Fleet::with_payouts(FleetOptions { batch_size: 20, ..FleetOptions::default() }, 1_000).await;
    let run = fleet.run("shop", "2026-01").await;
    let worker = fleet.worker(&[]);
    // The worker says it after it has written it.
    wait_for("the worker to say at info that the run is settled", LONG, async || {
        worker.log().contains("settled").then_some(())
    })
    .await;
    fleet.settled(run, LONG).await;
    let log = worker.log();
    assert!(log.lines().count() <= 20, "{} lines:\n{log}", log.lines().count());
}

#[tokio::test]
async fn what_is_away_is_told_once_and_not_with_every_try() {
    let mut fleet = Fleet::with_payouts(FleetOptions { batch_size: 20, ..FleetOptions::default() }, 1_000).await;
    fleet.faults(r#"{"latency_ms": 40}"#).await;
    let run = fleet.run("shop", "2026-01").await;
    let worker = fleet.worker(&["--calls", "8"]);
    fleet.paid_at_least(100, LONG).await;
    let before = worker.log().lines().count();
    fleet.redis.kill();
    wait_for("the worker to say so", LONG, async || worker.log().contains("no hints").then_some(())).await;
    // It tries more than twice a second.
    tokio::time::sleep(Duration::from_secs(15)).await;
    let log = worker.log();
    let lines = log.lines().count() - before;
    assert!(lines <= 20, "{lines} lines in 15 s without Redis:\n{log}");
    fleet.redis.restart().await;
    fleet.settled(run, LONG).await;
    fleet.assert_paid_exactly_once().await;
}
