//! A database that does not know what was sent: restored from a backup that was made when the runs were planned, after
//! they were paid. The short form of `scripts/drill restore`.
use std::time::Duration;

use payfleet_tests::{Fleet, FleetOptions, Worker, wait_for};
use rustix::process::Signal;

const LONG: Duration = Duration::from_secs(90);

const PEOPLE: u32 = 60;

/// Everybody is paid over this rail; of files there is a statement at once.
fn over(rail: &'static str) -> FleetOptions {
    let sandbox = vec!["--statement-after".to_owned(), "0s".to_owned()];
    FleetOptions { paypal: rail, sepa: rail, batch_size: 20, sandbox, ..FleetOptions::default() }
}

async fn stop(worker: Worker) {
    worker.signal(Signal::TERM);
    let mut worker = worker;
    let ended = worker.process.ends_within(LONG).await;
    assert_eq!(ended.and_then(|status| status.code()), Some(0), "{}", worker.log());
}

/// A run that was planned, saved, and paid; then the saved database takes its place, as the runbook says it.
async fn restored(rail: &'static str) -> (Fleet, i64) {
    let mut fleet = Fleet::with_payouts(over(rail), PEOPLE).await;
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
        let said = fleet.coordinator_as(&token, &["recover", "--decide", "--pending-on-hold"]);
        assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    }
}

#[tokio::test]
async fn a_restored_backup_is_refused_by_all_who_could_send_and_pays_nobody_again() {
    refused_and_recovered("sandbox-lookup").await;
}

#[tokio::test]
async fn nor_does_it_by_files_of_which_nobody_can_be_asked() {
    refused_and_recovered("sandbox-file").await;
}

async fn refused_and_recovered(rail: &'static str) {
    let (mut fleet, run) = restored(rail).await;

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

/// The same while two workers live, half of the people are paid, and calls are under way: as when a standby is promoted
/// without the last writes.
#[tokio::test]
async fn workers_that_live_send_nothing_more_into_a_database_that_lost_their_intents() {
    let mut fleet = Fleet::with_payouts(over("sandbox-lookup"), PEOPLE).await;
    fleet.faults(r#"{"latency_jitter_ms": 1500}"#).await;
    let run = fleet.run("shop", "2026-01").await;
    let backup = fleet.folder().join("backup");
    fleet.postgres.dump("payfleet", &backup);
    let workers = fleet.workers(2);
    fleet.paid_at_least(u64::from(PEOPLE) / 3, LONG).await;
    fleet.postgres.restore("payfleet", &backup).await;
    wait_for("a worker that says why it is not ready", LONG, async || {
        workers.iter().any(|worker| worker.log().contains("behind what was seen of it")).then_some(())
    })
    .await;
    fleet.faults(r#"{"latency_jitter_ms": 0}"#).await;
    assert_eq!(fleet.coordinator(&["tick"]).status.code(), Some(69));
    recovered(&fleet);
    // They go on by themselves.
    fleet.settled(run, LONG).await;
    let verdict = fleet.assert_never_twice_and_the_rest_held().await;
    assert_eq!(verdict.paid_once, verdict.planned, "what can be looked up needs no people: {verdict:?}");
}

/// The backup is older than the run that was paid: its payments have keys that no run knows, and whoever got one is not
/// paid by the next plan.
#[tokio::test]
async fn payments_of_a_run_that_was_lost_hold_whoever_got_them() {
    let mut fleet = Fleet::with_payouts(over("sandbox-lookup"), PEOPLE).await;
    let backup = fleet.folder().join("backup");
    fleet.postgres.dump("payfleet", &backup);
    let run = fleet.run("shop", "2026-01").await;
    let worker = fleet.worker(&[]);
    fleet.paid_at_least(PEOPLE.into(), LONG).await;
    stop(worker).await;
    fleet.postgres.restore("payfleet", &backup).await;
    assert_eq!(fleet.coordinator(&["run", "--tenant", "shop", "--period", "2026-01"]).status.code(), Some(69));
    assert!(fleet.must(&["status"]).contains("A RECOVERY IS OPEN"), "whoever looks first sees it");
    recovered(&fleet);
    assert!(!fleet.must(&["status"]).contains("RECOVERY"));
    let again = fleet.run("shop", "2026-01").await;
    assert!(again > run, "the number of a run that was lost is not given again");
    let plan = fleet.must(&["status", &again.to_string()]);
    assert!(plan.contains("on_hold") && !plan.contains("pay "), "{plan}");
    assert_eq!(fleet.journal().await.len(), PEOPLE as usize);
}

/// Without any memory outside of the database nobody can know; then a person says it, and the fleet stops.
#[tokio::test]
async fn who_restores_a_database_says_so_if_nobody_remembers() {
    let (mut fleet, run) = restored("sandbox-lookup").await;
    fleet.redis.flush_all().await;
    std::fs::remove_dir_all(fleet.folder().join("state")).unwrap();
    let begun = fleet.coordinator(&["recover", "--begin"]);
    assert_eq!(begun.status.code(), Some(75), "{}", String::from_utf8_lossy(&begun.stderr));
    let mut worker = fleet.worker(&[]);
    let ended = worker.process.ends_within(LONG).await;
    assert_eq!(ended.and_then(|status| status.code()), Some(69), "{}", worker.log());
    recovered(&fleet);
    let _worker = fleet.worker(&[]);
    fleet.settled(run, LONG).await;
    fleet.assert_paid_exactly_once().await;
}

/// The same backup once more, after the fleet had gone on from it: what was sent in between is remembered outside, of a
/// time that this database has never heard of. One recovery is enough, also if a person says it before any program
/// finds out.
#[tokio::test]
async fn the_same_backup_restored_twice_is_recovered_once_each_time() {
    let (mut fleet, run) = restored("sandbox-lookup").await;
    for time in ["first", "second"] {
        let begun = fleet.coordinator(&["recover", "--begin"]);
        assert_eq!(begun.status.code(), Some(75), "{}", String::from_utf8_lossy(&begun.stderr));
        recovered(&fleet);
        let worker = fleet.worker(&[]);
        fleet.settled(run, LONG).await;
        fleet.must(&["sample", "--plain", "--affiliates", "5", "--start", "2026-01", "--tenant", "mart"]);
        fleet.rails_set("mart");
        // An account that is new after a recovery may be one that was forgotten.
        let early = fleet.coordinator(&["run", "--tenant", "mart", "--period", "2026-01"]);
        assert_eq!(early.status.code(), Some(75), "{}", String::from_utf8_lossy(&early.stderr));
        let read = fleet.watch_once();
        assert_eq!(read.code, 0, "{}", read.stderr);
        let sent = fleet.run("mart", "2026-01").await;
        fleet.settled(sent, LONG).await;
        stop(worker).await;
        if time == "first" {
            fleet.postgres.restore("payfleet", &fleet.folder().join("backup")).await;
        }
    }
    let mut shop = fleet.journal().await;
    shop.retain(|movement| movement.account == "shop");
    assert_eq!(shop.len(), PEOPLE as usize, "{shop:?}");
}
