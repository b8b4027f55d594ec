//! What frees money: not one person, not one file, and not before a request that may still be executed is dead. Real
//! programs, and a bank that takes its time.

use std::io::Write;
use std::time::Duration;

use payfleet_tests::{Fleet, FleetOptions, wait_for};

const LONG: Duration = Duration::from_secs(120);

/// Why nobody is believed who says that it was not paid.
const ALIVE: &str = "a request for it can be executed until";

/// A bank: neither key nor lookup, and a file may be executed for three days.
async fn bank(affiliates: u32) -> Fleet {
    let options = FleetOptions {
        paypal: "sandbox-file",
        sepa: "sandbox-file",
        sandbox: ["--statement-after", "0s"].map(String::from).to_vec(),
        ..FleetOptions::default()
    };
    Fleet::with_payouts(options, affiliates).await
}

async fn payouts_in(fleet: &Fleet, state: &str) -> Vec<i64> {
    let payouts = sqlx::query_scalar("SELECT id FROM payout WHERE state = $1 ORDER BY id").bind(state);
    payouts.fetch_all(&fleet.database).await.unwrap()
}

/// Waits until all payouts of a run are in this state.
async fn all_are(fleet: &Fleet, run: i64, state: &str) {
    wait_for(state, LONG, async || {
        let states = fleet.payout_states(run).await;
        (states.len() == 1 && states[0].0 == state).then_some(())
    })
    .await;
}

/// The exit codes of one word of each of these people about each of these payouts. Who is not heard is told why.
fn not_paid(fleet: &Fleet, people: &[String], payouts: &[i64], why: &str) -> Vec<i32> {
    let say = |token: &String, payout: &i64| {
        let said = fleet.coordinator_as(token, &["holds", "decide", &payout.to_string(), "--not-paid"]);
        let told = String::from_utf8_lossy(&said.stderr);
        assert!(said.status.success() || told.contains(why), "{told}");
        said.status.code().unwrap()
    };
    people.iter().flat_map(|token| payouts.iter().map(move |payout| say(token, payout))).collect()
}

/// Runs the month again, and returns the number of the run.
fn next_run(fleet: &Fleet) -> i64 {
    let ran = fleet.must(&["run", "--tenant", "shop", "--period", "2026-01", "--sequence", "2", "--json"]);
    let ran: serde_json::Value = serde_json::from_str(&ran).unwrap();
    ran["run"].as_i64().unwrap()
}

/// The bank takes the file, drops the connection, and executes it a day later. Whoever believes meanwhile that nothing
/// was paid pays twice.
#[tokio::test]
async fn a_file_that_is_executed_late_is_not_given_up_by_anybody() {
    let mut fleet = bank(3).await;
    fleet.faults(r#"{"execute_late": 1, "execute_late_ms": 86400000, "max": 1}"#).await;
    let run = fleet.run("shop", "2026-01").await;
    let _worker = fleet.worker(&[]);
    all_are(&fleet, run, "held").await;
    let held = payouts_in(&fleet, "held").await;
    let people = fleet.approvers();
    assert_eq!(not_paid(&fleet, &people, &held, ALIVE), [75; 6]);
    // However far the statement reaches: the request is alive.
    fleet.reconcile(run, &[]);
    assert_eq!(not_paid(&fleet, &people, &held, ALIVE), [75; 6]);
    next_run(&fleet);
    let planned: i64 = sqlx::query_scalar("SELECT count(*) FROM payout").fetch_one(&fleet.database).await.unwrap();
    assert_eq!(planned, 3, "nobody's money is due again");

    fleet.hurry().await;
    assert_eq!(fleet.journal().await.len(), 3, "the bank has executed it after all");
    fleet.assert_reconciled(run).await;
    assert!(payouts_in(&fleet, "held").await.is_empty());
    fleet.assert_paid_exactly_once().await;
}

/// The file is lost on its way. When it cannot arrive any more and the statement has been read past that instant, two
/// people say so, and the next run pays.
#[tokio::test]
async fn a_file_that_was_lost_is_given_up_by_two_people_once_the_statement_is_silent_about_it() {
    let mut fleet = bank(3).await;
    fleet.faults(r#"{"lose_request": 1, "max": 1}"#).await;
    let run = fleet.run("shop", "2026-01").await;
    let _worker = fleet.worker(&[]);
    all_are(&fleet, run, "held").await;
    let held = payouts_in(&fleet, "held").await;
    let people = fleet.approvers();
    // As if four and a half days had gone by.
    let dead = "UPDATE attempt SET may_arrive_until = opened_at + interval '1 millisecond'";
    sqlx::query(dead).execute(&fleet.database).await.unwrap();
    assert_eq!(not_paid(&fleet, &people, &held, "reaches past"), [75; 6], "no statement was read");
    let listed = fleet.must(&["holds", &run.to_string()]);
    assert!(listed.contains("when the statement of sandbox-file/shop reaches past"), "{listed}");
    fleet.settled(run, LONG).await;
    let report = fleet.reconcile(run, &[]);
    let waits = format!("are held and wait for two people: `payfleet-coordinator holds {run}`\n");
    assert!(
        report.stdout.contains("reconciled: no discrepancy; 3 payouts (") && report.stdout.ends_with(&waits),
        "{}",
        report.stdout
    );
    assert!(fleet.must(&["status"]).contains("reconciled, 3 held"));
    assert!(fleet.must(&["holds", &run.to_string()]).contains("now"));
    assert_eq!(not_paid(&fleet, &people[..1], &held, ""), [0; 3]);
    assert_eq!(not_paid(&fleet, &people[..1], &held, "has said this already"), [64; 3], "one person is one person");
    assert_eq!(payouts_in(&fleet, "held").await, held);
    assert_eq!(not_paid(&fleet, &people[1..], &held, ""), [0; 3]);
    assert_eq!(payouts_in(&fleet, "refused").await, held);

    let next = next_run(&fleet);
    all_are(&fleet, next, "accepted").await;
    fleet.reconcile(next, &["--wait"]);
    fleet.assert_reconciled(next).await;
    let verdict = fleet.verdict().await;
    assert_eq!((verdict.twice.len(), verdict.wrong.len(), verdict.paid_once), (0, 0, 3), "{verdict:?}");
    fleet.assert_reconciled(run).await;
}

/// One line of a file, handed in by one person, makes nothing due again.
#[tokio::test]
async fn a_return_that_only_a_file_tells_of_needs_two_people() {
    let mut fleet = bank(2).await;
    let run = fleet.run("shop", "2026-01").await;
    let _worker = fleet.worker(&[]);
    wait_for("the bank", LONG, async || (fleet.journal().await.len() == 2).then_some(())).await;
    all_are(&fleet, run, "accepted").await;
    fleet.reconcile(run, &["--wait"]);
    fleet.assert_reconciled(run).await;
    let people = fleet.approvers();
    let hand_in = |n: usize, key: &str, minor: i64, currency: &str, destination: &str, token: Option<&str>| {
        let path = fleet.folder().join(format!("returns-{n}.csv"));
        let mut file = std::fs::File::create(&path).unwrap();
        writeln!(file, "key,reference,amount_minor,currency,destination,status,at").unwrap();
        writeln!(file, "{key},back-{n},{minor},{currency},{destination},returned,2030-01-01T00:00:00Z").unwrap();
        let mut command = fleet.reconciler_command(run);
        command.arg("--statement").arg(&path);
        token.map(|token| command.env("PAYFLEET_TOKEN", token));
        command.output().unwrap()
    };
    let journal = fleet.journal().await;
    for (n, paid) in journal.iter().enumerate() {
        // The first is handed in by a person, the second one by nobody in particular.
        let token = (n == 0).then_some(people[0].as_str());
        let read = hand_in(n, &paid.key, paid.amount_minor, &paid.currency, &paid.destination, token);
        assert!(read.status.code().is_some_and(|code| code < 64), "{}", String::from_utf8_lossy(&read.stderr));
    }
    assert_eq!(fleet.payout_states(run).await, [("paid".to_owned(), 2)], "a file alone frees nothing");
    let listed: serde_json::Value = serde_json::from_str(&fleet.must(&["statements", "list", "--json"])).unwrap();
    let words: Vec<usize> =
        listed["returns"].as_array().unwrap().iter().map(|back| back["words"].as_array().unwrap().len()).collect();
    assert_eq!(words, [1, 0], "who handed it in has said the first word: {listed}");
    let id = |n: usize| listed["returns"][n]["id"].to_string();
    let confirm = |token: &String, id: &str| fleet.coordinator_as(token, &["statements", "confirm", id]).status.code();
    assert_eq!(confirm(&people[0], &id(0)), Some(64), "the same person is one person");
    assert_eq!(confirm(&people[1], &id(0)), Some(0));
    assert_eq!(fleet.payout_states(run).await, [("paid".to_owned(), 1), ("returned".to_owned(), 1)]);
    assert_eq!(confirm(&people[0], &id(1)), Some(0));
    assert_eq!(fleet.payout_states(run).await, [("paid".to_owned(), 1), ("returned".to_owned(), 1)], "one is not two");
    assert_eq!(confirm(&people[1], &id(1)), Some(0));
    assert_eq!(fleet.payout_states(run).await, [("returned".to_owned(), 2)]);

    let strange = hand_in(9, "k", 1, "EUR", "d", Some("payfleet_not_a_token"));
    assert_eq!(strange.status.code(), Some(64), "{}", String::from_utf8_lossy(&strange.stderr));
}
