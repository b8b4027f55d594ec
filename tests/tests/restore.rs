//! A database that does not know what was sent: restored from a backup that was made when the runs were planned, after they were paid. The short form of
//! `scripts/drill restore`.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::Duration;

use payfleet_tests::{Fleet, FleetOptions, Worker};
use rustix::process::Signal;

const LONG: Duration = Duration::from_secs(90);

/// Half of these people are paid over a rail that can be looked up, the others by files, of which nobody can be asked.
const PEOPLE: u32 = 60;

fn options() -> FleetOptions {
    FleetOptions { paypal: "sandbox-lookup", sepa: "sandbox-file", batch_size: 20, ..FleetOptions::default() }
}

async fn stop(worker: Worker) {
    worker.signal(Signal::TERM);
    let mut worker = worker;
    let ended = worker.process.ends_within(LONG).await;
    assert_eq!(ended.and_then(|status| status.code()), Some(0), "{}", worker.log());
}

/// A run that was planned, saved, and paid; then the saved database takes its place, as the runbook says it.
async fn restored() -> (Fleet, i64) {
    let mut fleet = Fleet::with_payouts(options(), PEOPLE).await;
    let run = fleet.run("shop", "2026-01").await;
    let backup = fleet.folder().join("backup");
    fleet.postgres.dump("payfleet", &backup);
    let worker = fleet.worker(&[]);
    fleet.paid_at_least(PEOPLE.into(), LONG).await;
    stop(worker).await;
    fleet.postgres.restore("payfleet", &backup).await;
    (fleet, run)
}

/// Two people say that the fleet may go on, when the statements were read.
fn recovered(fleet: &Fleet) {
    let read = fleet.recover(&["--wait"]);
    assert_eq!(read.code, 0, "{}\n{}", read.stdout, read.stderr);
    for token in fleet.approvers() {
        let said = fleet.coordinator_as(&token, &["recover", "--decide"]);
        assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    }
}

#[tokio::test]
async fn a_restored_backup_is_refused_by_all_who_could_send_and_pays_nobody_again() {
    let (mut fleet, run) = restored().await;

    // A worker that is started does not begin, and says what to do.
    let mut worker = fleet.worker(&[]);
    let ended = worker.process.ends_within(LONG).await;
    assert_eq!(ended.and_then(|status| status.code()), Some(69), "{}", worker.log());
    assert!(worker.log().contains("recover"), "{}", worker.log());
    let refused = |arguments: &[&str]| {
        let output = fleet.coordinator(arguments);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(69), "{arguments:?}: {told}");
        assert!(told.contains("behind") && told.contains("recover"), "{told}");
    };
    let number = run.to_string();
    refused(&["run", "--tenant", "shop", "--period", "2026-01"]);
    refused(&["run", "--tenant", "shop", "--period", "2026-02"]);
    refused(&["tick"]);
    refused(&["cancel", &number]);
    assert_eq!(fleet.watch_once().code, 69, "what frees money reads nothing into it");
    assert_eq!(fleet.reconcile(run, &[]).code, 69);
    // Looking and stopping are free.
    fleet.must(&["status", &number]);
    fleet.must(&["pause", &number]);
    let early = fleet.coordinator(&["recover", "--json"]);
    assert_eq!(early.status.code(), Some(75), "{}", String::from_utf8_lossy(&early.stderr));

    recovered(&fleet);
    fleet.must(&["resume", &number]);
    let _worker = fleet.worker(&[]);
    fleet.settled(run, LONG).await;
    fleet.assert_paid_exactly_once().await;
    fleet.assert_reconciled(run).await;
}
