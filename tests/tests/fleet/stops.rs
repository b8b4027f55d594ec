//! Pause and cancel: what the sandbox's journal says of calls that begin after people have stopped a run.

use std::time::Duration;

use payfleet_tests::proxy::{Proxy, Weather};
use payfleet_tests::{Fleet, FleetOptions, Worker, wait_for};
use rustix::process::Signal;
use time::OffsetDateTime;

const LONG: Duration = Duration::from_secs(60);

/// How long the rail takes for a call before it executes it.
const LATENCY: Duration = Duration::from_millis(250);

const PAYOUTS: usize = 2_000;

/// A run of 2,000 in batches of 500 over a rail that takes its time, and one worker with four calls at a time that has
/// begun.
async fn paying(arguments: &[&str], rail: &'static str) -> (Fleet, i64, Worker) {
    let options = FleetOptions { batch_size: 500, paypal: rail, sepa: rail, ..FleetOptions::default() };
    let mut fleet = Fleet::with_payouts(options, PAYOUTS as u32).await;
    fleet.faults(r#"{"latency_ms": 250}"#).await;
    let run = fleet.run("shop", "2026-01").await;
    let worker = fleet.worker(&[&["--calls", "4", "--concurrency", "4"], arguments].concat());
    fleet.paid_at_least(20, LONG).await;
    (fleet, run, worker)
}

/// Runs a command that stops, and says when it returned and what it said.
fn stop(fleet: &Fleet, arguments: &[&str]) -> (OffsetDateTime, String) {
    let said = fleet.must(arguments);
    (OffsetDateTime::now_utc(), said)
}

/// When the last call began of which the sandbox has executed something.
async fn last_begun(fleet: &Fleet) -> OffsetDateTime {
    let last = fleet.journal().await.iter().map(|movement| movement.at).max();
    last.unwrap() - LATENCY
}

/// Waits until nobody works on a batch of the run that may be under way.
async fn quiet(fleet: &Fleet, run: i64) {
    let leased = "SELECT count(*) FROM batch WHERE run_id = $1 AND state = 'sending' AND lease_until > now()";
    wait_for("the calls under way", LONG, async || {
        let leased: i64 = sqlx::query_scalar(leased).bind(run).fetch_one(&fleet.database).await.unwrap();
        (leased == 0).then_some(())
    })
    .await;
    tokio::time::sleep(2 * LATENCY).await; // whatever was sent without anybody's knowing it is in the journal now
}

/// The number before these words.
fn said_number(said: &str, words: &str) -> usize {
    let before = said.split(words).next().unwrap();
    before.split_whitespace().next_back().unwrap().parse().unwrap_or_else(|_| panic!("`{words}` in {said}"))
}

async fn pays_the_rest_once(fleet: &Fleet, run: i64) {
    fleet.faults(r#"{"latency_ms": 0}"#).await;
    fleet.must(&["resume", &run.to_string()]);
    fleet.settled(run, LONG).await;
    fleet.assert_paid_exactly_once().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_begins_once_pause_has_returned_and_resume_pays_the_rest_once() {
    let (fleet, run, _worker) = paying(&[], "sandbox-payout").await;
    let begun = OffsetDateTime::now_utc();
    let (returned, said) = stop(&fleet, &["pause", &run.to_string()]);
    quiet(&fleet, run).await;
    let paid = fleet.journal().await.len();
    let last = last_begun(&fleet).await;
    assert!(last <= returned, "a call began {} after pause had returned", last - returned);
    assert!(last <= begun + Duration::from_secs(2), "the fleet stops within a second, and a program starts in less");
    // One semaphore bounds the calls of all its batches.
    assert!((1..=4).contains(&said_number(&said, "calls were under way")), "{said}");
    let unsent = said_number(&said, "payouts were not sent");
    assert_eq!(unsent, PAYOUTS - paid, "{said}");
    let again = stop(&fleet, &["pause", &run.to_string()]).1;
    assert_eq!(said_number(&again, "calls were under way"), 0, "{again}");
    assert_eq!(said_number(&again, "payouts were not sent"), unsent, "{again}");
    pays_the_rest_once(&fleet, run).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_begins_once_cancel_has_returned_and_the_next_run_pays_the_rest_once() {
    let (fleet, run, _worker) = paying(&[], "sandbox-payout").await;
    let (returned, said) = stop(&fleet, &["cancel", &run.to_string()]);
    quiet(&fleet, run).await;
    let paid = fleet.journal().await.len();
    let last = last_begun(&fleet).await;
    assert!(last <= returned, "a call began {} after cancel had returned", last - returned);
    wait_for("what was not sent to be cancelled", LONG, async || {
        let states = fleet.payout_states(run).await;
        (states == [("cancelled".to_owned(), (PAYOUTS - paid) as i64), ("paid".to_owned(), paid as i64)]).then_some(())
    })
    .await;
    // Those that are cancelled by then, by whomever, and those that will be.
    assert_eq!(said_number(&said, "payouts are never sent"), PAYOUTS - paid, "{said}");
    fleet.faults(r#"{"latency_ms": 0}"#).await;
    let next = fleet.run("shop", "2026-02").await;
    fleet.settled(next, LONG).await;
    let verdict = fleet.verdict().await;
    assert_eq!((verdict.paid_once, verdict.twice.len(), verdict.wrong.len()), (PAYOUTS, 0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_was_stopped_over_the_pause_sends_nothing_when_it_goes_on() {
    let (fleet, run, worker) = paying(&[], "sandbox-payout").await;
    worker.signal(Signal::STOP);
    let (returned, said) = stop(&fleet, &["pause", &run.to_string()]);
    let paid = fleet.journal().await.len();
    worker.signal(Signal::CONT);
    quiet(&fleet, run).await;
    wait_for("its word about what it had sent", LONG, async || {
        let open = "SELECT count(*) FROM attempt WHERE result IS NULL";
        let open: i64 = sqlx::query_scalar(open).fetch_one(&fleet.database).await.unwrap();
        (open == 0).then_some(())
    })
    .await;
    let last = last_begun(&fleet).await;
    assert!(last <= returned, "a call began {} after pause had returned: {said}", last - returned);
    assert_eq!(fleet.journal().await.len(), paid);
    pays_the_rest_once(&fleet, run).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_cannot_ask_sends_nothing_after_a_second() {
    let options = FleetOptions { batch_size: 500, ..FleetOptions::default() };
    let mut fleet = Fleet::with_payouts(options, PAYOUTS as u32).await;
    fleet.faults(r#"{"latency_ms": 250}"#).await;
    let run = fleet.run("shop", "2026-01").await;
    let way = Proxy::start(fleet.postgres.address()).await;
    let database = format!("postgres://postgres@{}/payfleet", way.address());
    let _worker = fleet.worker(&["--calls", "4", "--concurrency", "4", "--database-url", &database]);
    fleet.paid_at_least(20, LONG).await;
    way.set(Weather::HalfOpen);
    let cut = OffsetDateTime::now_utc();
    let (returned, said) = stop(&fleet, &["pause", &run.to_string()]);
    quiet(&fleet, run).await;
    let last = last_begun(&fleet).await;
    assert!(last <= cut + Duration::from_millis(1_300), "a call began {} after the last look: {said}", last - cut);
    assert!(last <= returned);
    assert!(said_number(&said, "payouts were perhaps sent") > 20, "it could not say what it had sent: {said}");
    way.set(Weather::Fair);
    pays_the_rest_once(&fleet, run).await;
}

/// Case 05: an affiliate who was put on hold while its run waited, by a file or by a command, is not paid; it is once
/// that is lifted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_put_on_hold_while_the_run_is_paused_is_not_paid() {
    let mut fleet = Fleet::start(FleetOptions::default()).await;
    let file = |name: &str, text: &str| {
        let path = fleet.folder().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let affiliates = file(
        "affiliates.csv",
        "affiliate_id,name,email,country,currency,method,destination\n\
         F1,Flo,flo@example.org,NL,EUR,paypal,flo@example.org\n\
         G1,Gus,gus@example.org,NL,EUR,paypal,gus@example.org\n\
         H1,Hal,hal@example.org,NL,EUR,paypal,hal@example.org\n\
         I1,Ida,ida@example.org,NL,EUR,paypal,ida@example.org\n",
    );
    let commissions = file(
        "commissions.csv",
        "commission_id,affiliate_id,order_ref,amount,currency,earned_at,kind\n\
         f1,F1,O1,20.00,EUR,2026-01-10T10:00:00Z,sale\n\
         g1,G1,O2,20.00,EUR,2026-01-10T10:00:00Z,sale\n\
         h1,H1,O3,20.00,EUR,2026-01-10T10:00:00Z,sale\n\
         i1,I1,O4,20.00,EUR,2026-01-10T10:00:00Z,sale\n",
    );
    let on_hold = file(
        "on_hold.csv",
        "affiliate_id,name,email,country,currency,method,destination,on_hold\n\
         F1,Flo,flo@example.org,NL,EUR,paypal,flo@example.org,true\n",
    );
    fleet.must(&["import", "affiliates", "--tenant", "case05", &affiliates]);
    fleet.must(&["import", "commissions", "--tenant", "case05", &commissions]);
    fleet.must(&["rails", "set", "--tenant", "case05", "--method", "paypal", "--rail", "sandbox-payout"]);
    let run = fleet.run("case05", "2026-01").await;
    fleet.must(&["pause", &run.to_string(), "--reason", "F1 is a fraud"]);
    fleet.must(&["import", "affiliates", "--tenant", "case05", &on_hold]);
    fleet.must(&["affiliate", "hold", "--tenant", "case05", "G1", "--reason", "asked by the bank"]);
    let payout_of = "SELECT p.id FROM payout p JOIN affiliate a ON a.id = p.affiliate_id WHERE a.external_id = $1";
    let stopped: i64 = sqlx::query_scalar(payout_of).bind("H1").fetch_one(&fleet.database).await.unwrap();
    fleet.must(&["payout", "stop", &stopped.to_string(), "--reason", "wrong amount"]);
    let said = fleet.must(&["resume", &run.to_string()]);
    assert!(said.contains("3 payouts are under control, and will be held"), "{said}");
    let _worker = fleet.worker(&[]);
    fleet.settled(run, LONG).await;
    let paid: Vec<String> = fleet.journal().await.into_iter().map(|movement| movement.destination).collect();
    assert_eq!(paid, ["ida@example.org"]);
    let holds = fleet.must(&["holds", &run.to_string()]);
    assert_eq!((holds.matches("on_hold").count(), holds.matches("stopped").count()), (2, 1), "{holds}");
    let said = fleet.must(&["affiliate", "release", "--tenant", "case05", "G1"]);
    assert!(said.contains("their money is due again"), "the run is over: {said}");
    fleet.must(&["run", "--tenant", "case05", "--period", "2026-01", "--sequence", "2", "--wait"]);
    let mut paid: Vec<String> = fleet.journal().await.into_iter().map(|movement| movement.destination).collect();
    paid.sort();
    assert_eq!(paid, ["gus@example.org", "ida@example.org"]);
}
