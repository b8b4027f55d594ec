//! Disks that are full or take no writes: of Redis, of the folder that outlives a worker, and of the log. Postgres' own
//! is one of the rows of the chaos.

use std::time::Duration;

use payfleet_tests::{Disk, Fleet, FleetOptions, Redis, wait_for};
use rustix::process::Signal;

const LONG: Duration = Duration::from_secs(90);

fn disk() -> Option<Disk> {
    let disk = Disk::mount(24);
    if disk.is_none() {
        println!("nothing can be mounted here: not tried");
    }
    disk
}

async fn paying() -> (Fleet, i64) {
    let fleet = Fleet::with_payouts(FleetOptions { batch_size: 5, ..FleetOptions::default() }, 400).await;
    fleet.faults(r#"{"latency_ms": 100}"#).await;
    let run = fleet.run("shop", "2026-01").await;
    (fleet, run)
}

async fn ends_well(fleet: &Fleet, run: i64) {
    fleet.settled(run, LONG).await;
    fleet.assert_paid_exactly_once().await;
    fleet.assert_reconciled(run).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_on_a_full_disk_is_redis_that_is_away() {
    let Some(disk) = disk() else { return };
    let (mut fleet, run) = paying().await;
    fleet.redis = Redis::start_in(disk.path()).await;
    let worker = fleet.worker(&["--calls", "2"]);
    fleet.paid_at_least(30, LONG).await;
    disk.fill();
    wait_for("the fleet to work from Postgres", LONG, async || {
        worker.log().contains("working from Postgres").then_some(())
    })
    .await;
    let paid = fleet.stats().await["paid"].as_u64().unwrap();
    fleet.paid_at_least(paid + 30, LONG).await;
    disk.empty();
    ends_well(&fleet, run).await;
    drop(worker);
}

/// What is sent is remembered there, in a file that has its size from the beginning.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_folder_for_what_outlives_a_worker_stops_nobody_who_works_and_whoever_starts_says_so() {
    let Some(disk) = disk() else { return };
    let (mut fleet, run) = paying().await;
    let state = disk.path().join("state");
    let mut worker = fleet.worker(&["--calls", "8", "--state-dir", state.to_str().unwrap()]);
    fleet.paid_at_least(30, LONG).await;
    disk.fill();
    let other = disk.path().join("other");
    let mut late = fleet.worker(&["--state-dir", other.to_str().unwrap()]);
    let ended = late.process.ends_within(LONG).await.and_then(|status| status.code());
    assert_eq!(ended, Some(64), "{}", late.log());
    assert!(late.log().contains("No space left on device"), "{}", late.log());
    ends_well(&fleet, run).await;
    worker.signal(Signal::TERM);
    let ended = worker.process.ends_within(Duration::from_secs(25)).await;
    assert!(ended.is_some_and(|status| status.success()), "{ended:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_cannot_be_written_is_in_nobodys_way() {
    let (mut fleet, run) = paying().await;
    std::os::unix::fs::symlink("/dev/full", fleet.folder().join("worker-1.log")).unwrap();
    let mut worker = fleet.worker(&["--calls", "8"]);
    ends_well(&fleet, run).await;
    worker.signal(Signal::TERM);
    let ended = worker.process.ends_within(Duration::from_secs(25)).await;
    assert!(ended.is_some_and(|status| status.success()), "{ended:?}");
}
