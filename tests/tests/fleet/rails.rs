//! Rails of all four classes that misbehave: nobody is paid twice, nobody is left out, and what cannot be known is
//! held.

use std::time::Duration;

use payfleet_tests::{Fleet, FleetOptions, Worker};

const LONG: Duration = Duration::from_secs(240);

/// One answer in ten lost after paying, requests lost, 5xx before and after paying, 429, unreadable answers.
const EVERYTHING: &str = r#"{"lose_answer": 0.1, "lose_request": 0.03, "error_before": 0.05, "error_after": 0.05,
 "rate_limit": 0.05, "garble": 0.03}"#;

async fn on(rail: &'static str, affiliates: u32, faults: &str) -> (Fleet, i64, Vec<Worker>) {
    let options = FleetOptions {
        paypal: rail,
        sepa: rail,
        batch_size: 20,
        sandbox: ["--statement-after", "0s", "--batch-settle-after", "300ms"].map(String::from).to_vec(),
        ..FleetOptions::default()
    };
    let mut fleet = Fleet::with_payouts(options, affiliates).await;
    fleet.faults(faults).await;
    let run = fleet.run("shop", "2026-01").await;
    let workers = fleet.workers(2);
    (fleet, run, workers)
}

#[tokio::test]
async fn class_k_pays_everybody_exactly_once() {
    let (fleet, run, _workers) = on("sandbox-payout", 2_000, EVERYTHING).await;
    fleet.settled(run, LONG).await;
    let stats = fleet.stats().await;
    for fault in ["lose_answer", "error_before", "error_after", "rate_limit"] {
        assert!(stats["faults"][fault].as_u64().unwrap() > 10, "{fault} struck: {stats}");
    }
    fleet.assert_paid_exactly_once().await;
    fleet.assert_reconciled(run).await;
}

#[tokio::test]
async fn class_k_and_l_pays_everybody_exactly_once() {
    let (fleet, run, _workers) = on("sandbox-batch", 2_000, EVERYTHING).await;
    fleet.settled(run, LONG).await;
    assert!(fleet.stats().await["faults"]["lose_answer"].as_u64().unwrap() > 3);
    fleet.assert_paid_exactly_once().await;
    fleet.assert_reconciled(run).await;
}

#[tokio::test]
async fn class_l_pays_everybody_exactly_once_though_a_repeated_request_would_pay_again() {
    let (fleet, run, _workers) = on("sandbox-lookup", 600, EVERYTHING).await;
    fleet.settled(run, LONG).await;
    assert!(fleet.stats().await["faults"]["lose_answer"].as_u64().unwrap() > 10);
    fleet.assert_paid_exactly_once().await;
    fleet.assert_reconciled(run).await;
}

#[tokio::test]
async fn class_l_survives_a_worker_that_is_killed_while_it_pays() {
    let (mut fleet, run, mut workers) = on("sandbox-lookup", 600, r#"{"latency_ms": 100, "lose_answer": 0.1}"#).await;
    for paid in [30, 120, 240] {
        fleet.paid_at_least(paid, LONG).await;
        workers.remove(0).kill();
        workers.push(fleet.worker(&[]));
    }
    fleet.settled(run, LONG).await;
    fleet.assert_paid_exactly_once().await;
    fleet.assert_reconciled(run).await;
}

#[tokio::test]
async fn class_n_pays_nobody_twice_and_holds_what_cannot_be_known() {
    let (mut fleet, run, mut workers) =
        on("sandbox-file", 2_000, r#"{"latency_ms": 100, "lose_answer": 0.1, "lose_request": 0.1, "rate_limit": 0.1}"#)
            .await;
    for paid in [200, 600] {
        fleet.paid_at_least(paid, LONG).await;
        workers.remove(0).kill();
        workers.push(fleet.worker(&[]));
    }
    // What the bank took is accepted until its statement says that it was paid; nothing is left to send then.
    payfleet_tests::wait_for("every file to be sent or held", LONG, async || {
        let states = fleet.payout_states(run).await;
        let pending = |state: &str| state == "planned" || state == "unknown";
        (!states.is_empty() && !states.iter().any(|(state, _)| pending(state))).then_some(())
    })
    .await;
    let held =
        sqlx::query_scalar::<_, i64>("SELECT count(*) FROM payout WHERE state = 'held'").fetch_one(&fleet.database);
    assert!(held.await.unwrap() > 0, "answers were lost, so something is held");
    fleet.faults(r#"{"lose_answer": 0, "lose_request": 0, "rate_limit": 0}"#).await;
    // The statement settles what was accepted, and proves which of the held ones were paid.
    let report = fleet.reconcile(run, &["--wait"]);
    assert_eq!(report.code, 0, "{}\n{}", report.stdout, report.stderr);
    let verdict = fleet.assert_never_twice_and_the_rest_held().await;
    assert!(!verdict.unpaid.is_empty() && verdict.paid_once + verdict.unpaid.len() == 2_000, "{verdict:?}");
    assert_eq!(fleet.state(run).await, "reconciled");

    // Two people find out that one of the others was never paid; its money is due again, and everything still adds up.
    // Not before its request is dead.
    let payout = verdict.unpaid[0].0;
    let held = payout.to_string();
    let people = fleet.approvers();
    let decide = |token: &str| fleet.coordinator_as(token, &["holds", "decide", &held, "--not-paid"]);
    for token in &people {
        let early = decide(token);
        let told = String::from_utf8_lossy(&early.stderr);
        assert_eq!(early.status.code(), Some(75), "{told}");
        assert!(told.contains("can be executed until"), "{told}");
    }
    let dead = "UPDATE attempt SET may_arrive_until = opened_at + interval '1 millisecond'";
    sqlx::query(dead).execute(&fleet.database).await.unwrap();
    fleet.reconcile(run, &[]);
    let decided: Vec<_> = people.iter().chain(&people[..1]).map(|token| decide(token).status.code()).collect();
    assert_eq!(decided, [Some(0), Some(0), Some(64)], "two people, and then it is not held any more");
    let state: String = sqlx::query_scalar("SELECT state FROM payout WHERE id = $1")
        .bind(payout)
        .fetch_one(&fleet.database)
        .await
        .unwrap();
    assert_eq!(state, "refused");
    fleet.assert_reconciled(run).await;
}

#[tokio::test]
async fn refused_payouts_are_refused_with_their_code_and_due_again_in_the_next_run() {
    let faults = r#"{"refuse": {"receiver_unregistered": 0.1}}"#;
    for rail in ["sandbox-payout", "sandbox-batch", "sandbox-lookup"] {
        let (fleet, run, _workers) = on(rail, 400, faults).await;
        fleet.settled(run, LONG).await;
        let verdict = fleet.verdict().await;
        assert_eq!((verdict.twice.len(), verdict.wrong.len()), (0, 0), "{rail}: {verdict:?}");
        assert!(
            verdict.unpaid.len() > 10 && verdict.unpaid.iter().all(|(_, state)| state == "refused"),
            "{rail}: {verdict:?}"
        );
        fleet.assert_reconciled(run).await;
        let again = fleet.coordinator(&["run", "--tenant", "shop", "--period", "2026-01", "--wait"]);
        assert_eq!(again.status.code(), Some(3), "{rail}: some were refused, and the exit code says so");
        fleet.faults(r#"{"refuse": {"receiver_unregistered": 0}}"#).await;
        let next = fleet.run("shop", "2026-02").await;
        fleet.settled(next, LONG).await;
        let again = fleet.payout_states(next).await;
        assert_eq!(again, [("paid".to_owned(), verdict.unpaid.len() as i64)], "{rail}");
        fleet.assert_reconciled(next).await;
    }
}

#[tokio::test]
async fn the_fleet_keeps_to_an_accounts_rate_limit_together() {
    let options =
        FleetOptions { sandbox: ["--rate-limit", "150"].map(String::from).to_vec(), ..FleetOptions::default() };
    let mut fleet = Fleet::with_payouts(options, 600).await;
    let run = fleet.run("shop", "2026-01").await;
    let limit = ["--rate-limit", "sandbox-payout=100"];
    let _workers = [fleet.worker(&limit), fleet.worker(&limit), fleet.worker(&limit)];
    fleet.settled(run, LONG).await;
    fleet.assert_paid_exactly_once().await;
    assert_eq!(fleet.stats().await["rate_limited"].as_u64().unwrap_or(0), 0, "the rail never had to say no");
    fleet.assert_reconciled(run).await;
}
