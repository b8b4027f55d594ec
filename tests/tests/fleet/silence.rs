//! Rails that take payments and are then asked in vain: the fleet asks ever more rarely, and not for ever.

use std::time::Duration;

use payfleet_tests::{Fleet, FleetOptions, wait_for};

const LONG: Duration = Duration::from_secs(120);
const SILENT: &str = r#"{"error_before": 1.0}"#;

async fn on(rail: &'static str) -> (Fleet, i64) {
    let options = FleetOptions {
        paypal: rail,
        sepa: rail,
        batch_size: 20,
        sandbox: ["--batch-settle-after", "1h", "--statement-after", "0s"].map(String::from).to_vec(),
        ..FleetOptions::default()
    };
    let fleet = Fleet::with_payouts(options, 8).await;
    let run = fleet.run("shop", "2026-01").await;
    (fleet, run)
}

async fn failures(fleet: &Fleet, least: i32) {
    wait_for("lookups in vain to be counted", LONG, async || {
        let failures: i32 =
            sqlx::query_scalar("SELECT min(failures) FROM batch").fetch_one(&fleet.database).await.unwrap();
        (failures >= least).then_some(())
    })
    .await;
}

async fn held_for(fleet: &Fleet, run: i64, reason: &str) {
    wait_for("everything to be held", LONG, async || {
        let states = fleet.payout_states(run).await;
        matches!(states.as_slice(), [(state, 8)] if state == "held").then_some(())
    })
    .await;
    let other: i64 = sqlx::query_scalar("SELECT count(*) FROM hold WHERE reason <> $1")
        .bind(reason)
        .fetch_one(&fleet.database)
        .await
        .unwrap();
    assert_eq!(other, 0, "all are held as {reason}");
    fleet.settled(run, LONG).await;
}

#[tokio::test]
async fn lookups_in_vain_use_up_the_budget_of_a_rail_without_keys() {
    let (mut fleet, run) = on("sandbox-lookup").await;
    fleet.faults(SILENT).await;
    let _workers = fleet.workers(1);
    // The first failure is the attempt itself; all others are lookups.
    failures(&fleet, 3).await;
    sqlx::query("UPDATE batch SET unknown_attempts = 57").execute(&fleet.database).await.unwrap();
    held_for(&fleet, run, "budget_exhausted").await;
}

#[tokio::test]
async fn lookups_in_vain_end_with_the_certainty_of_the_key() {
    let (mut fleet, run) = on("sandbox-batch").await;
    fleet.faults(SILENT).await;
    let _workers = fleet.workers(1);
    failures(&fleet, 3).await;
    sqlx::query("UPDATE batch SET unknown_attempts = 70").execute(&fleet.database).await.unwrap();
    failures(&fleet, 5).await;
    let held: i64 = sqlx::query_scalar("SELECT count(*) FROM hold").fetch_one(&fleet.database).await.unwrap();
    assert_eq!(held, 0, "a key that is certain may be asked for again");
    let long_ago = "UPDATE batch SET first_sent_at = first_sent_at - interval '16 days'";
    sqlx::query(long_ago).execute(&fleet.database).await.unwrap();
    held_for(&fleet, run, "horizon_expired").await;
}

#[tokio::test]
async fn accepted_payments_are_asked_after_ever_more_rarely() {
    let (mut fleet, run) = on("sandbox-batch").await;
    let _workers = fleet.workers(1);
    wait_for("everything to be accepted", LONG, async || {
        let states = fleet.payout_states(run).await;
        matches!(states.as_slice(), [(state, 8)] if state == "accepted").then_some(())
    })
    .await;
    fleet.faults(SILENT).await;
    failures(&fleet, 1).await;
    let since = std::time::Instant::now();
    failures(&fleet, 5).await;
    // At least half of 200, 400, 800 and 1600 ms: each wait is from half to the whole of its step.
    assert!(since.elapsed() >= Duration::from_millis(1_000), "{:?}", since.elapsed());
    // And whoever answers again is asked at once as before.
    fleet.faults(r#"{"error_before": 0.0}"#).await;
    wait_for("an answer", LONG, async || {
        let failures: i32 =
            sqlx::query_scalar("SELECT max(failures) FROM batch").fetch_one(&fleet.database).await.unwrap();
        (failures == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_bank_that_takes_a_file_and_then_refuses_or_says_nothing_leaves_nobody_waiting() {
    let (mut fleet, run) = on("sandbox-file").await;
    fleet.faults(r#"{"file_denied": 0.4, "file_silent": 0.4, "reject_after_ms": 200, "seed": 1}"#).await;
    let _workers = fleet.workers(1);
    wait_for("everything to be accepted", LONG, async || {
        let states = fleet.payout_states(run).await;
        matches!(states.as_slice(), [(state, 8)] if state == "accepted").then_some(())
    })
    .await;
    let stats = fleet.stats().await;
    let struck = |fault: &str| stats["faults"][fault].as_u64().unwrap_or(0) as i64;
    let (denied, silent) = (struck("file_denied"), struck("file_silent"));
    assert!(denied > 0 && silent > 0 && denied + silent < 8, "{stats}");
    fleet.hurry().await;
    // The bank's statement says who was paid and who is refused; the others wait, but not for ever.
    wait_for("the statement to be read", LONG, async || {
        fleet.watch_once();
        let states = fleet.payout_states(run).await;
        let count = |wanted: &str| states.iter().find(|(state, _)| state == wanted).map_or(0, |(_, n)| *n);
        (count("refused") == denied && count("accepted") == silent).then_some(())
    })
    .await;
    let late = "UPDATE batch
                   SET first_sent_at = first_sent_at - interval '14 days', available_at = '-infinity'
                 WHERE state = 'accepted'";
    sqlx::query(late).execute(&fleet.database).await.unwrap();
    fleet.settled(run, LONG).await;
    let held: i64 = sqlx::query_scalar("SELECT count(*) FROM hold WHERE reason = 'no_news'")
        .fetch_one(&fleet.database)
        .await
        .unwrap();
    assert_eq!(held, silent);
}
