//! A million affiliates, and flat memory.

#![allow(clippy::unwrap_used)]

use std::time::Instant;

use payfleet_tests::{Fleet, FleetOptions, Process};

/// No program may ever have more resident.
const PEAK_KIB: u64 = 64 * 1024;

#[tokio::test]
async fn a_million_affiliates_run_through_and_no_program_needs_more_than_64_mib() {
    let affiliates = std::env::var("PAYFLEET_TEST_AFFILIATES").unwrap_or_else(|_| "1000000".to_owned());
    let rails = FleetOptions { paypal: "null", sepa: "null", batch_size: 500, ..FleetOptions::default() };
    let mut fleet = Fleet::start(rails).await;
    let mut workers = Vec::new();

    let sample = ["sample", "--plain", "--affiliates", &affiliates, "--start", "2026-01", "--tenant", "shop"];
    watched(&fleet, "sample and import", fleet.coordinator_command(&sample)).await;
    fleet.rails_set("shop");
    workers.extend(fleet.workers(2));
    let run = ["run", "--tenant", "shop", "--period", "2026-01", "--wait"];
    watched(&fleet, "plan and pay", fleet.coordinator_command(&run)).await;
    let run = fleet.run_id("shop", "2026-01").await;
    assert_eq!(fleet.payout_states(run).await, [("paid".to_owned(), affiliates.parse().unwrap())]);
    for worker in &workers {
        let peak = worker.process.peak_kib().unwrap();
        println!("worker: {peak} KiB at most");
        assert!(peak < PEAK_KIB, "a worker had {peak} KiB");
    }
    watched(&fleet, "reconcile", fleet.reconciler_command(run)).await;
    assert_eq!(fleet.state(run).await, "settled", "nobody but null says that it was paid");
}

async fn watched(fleet: &Fleet, what: &str, mut command: std::process::Command) {
    let (since, log) = (Instant::now(), fleet.folder().join("watched.log"));
    let (status, peak) = Process::start(what, &mut command, &log).wait_and_watch().await;
    println!("{what}: {:.1} s, {peak} KiB at most", since.elapsed().as_secs_f64());
    assert!(status.success(), "{what} ended with {status}: {}", std::fs::read_to_string(&log).unwrap());
    assert!(peak < PEAK_KIB, "{what} had {peak} KiB");
}
