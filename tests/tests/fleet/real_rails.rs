//! One run over PayPal, Stripe and Wise, in the sandbox's dialects of them: everybody is paid once, and each account is
//! compared with its own kind of statement.

use std::time::Duration;

use payfleet_tests::real::{BEHIND, DAY, RAILS, VARIABLES};
use payfleet_tests::{Fleet, FleetOptions, RunReport, wait_for};

const LONG: Duration = Duration::from_secs(240);

/// What can go wrong with any of them, and with each alone.
const STORM: &str = r#"{"lose_answer": 0.1, "lose_request": 0.05, "error_before": 0.05, "error_after": 0.05,
 "execute_late": 0.03, "execute_late_ms": 45000, "rate_limit": 0.05, "garble": 0.03, "strike_preparing": true,
 "garble_list": 0.02,
 "paypal": {"denied": 0.2, "onhold": 0.04, "onhold_ms": 2000, "token_life_ms": 3000,
            "not_found_ms": 200},
 "stripe": {"stored_500_paid": 0.04, "key_in_use": 0.03, "lock_timeout": 0.03,
            "list_lag_ms": 300},
 "wise": {"any_recipient": true, "step_ms": 150, "roll_back": 0.05, "cancel": 0.03, "reject": 0.03},
 "return_rate": 0.05, "return_after_ms": 604800000}"#;

async fn fleet(affiliates: u32, wise: &str) -> Fleet {
    let options = FleetOptions { batch_size: 20, variables: VARIABLES, virtual_time: true, ..FleetOptions::default() };
    let fleet = Fleet::start(options).await;
    fleet.faults(r#"{"wise": {"any_recipient": true}}"#).await;
    fleet.real_rails(affiliates, "{ calls_per_sec = 200 }", wise);
    fleet
}

/// Waits until the run is settled; requests that were lost are dead after a while that nobody waits for.
async fn settled(fleet: &Fleet, run: i64) {
    fleet.settled_as_time_passes(run, LONG, |_| {}).await;
}

/// Reads the statements, which reach far enough when some hours have passed.
async fn reconciled(fleet: &Fleet, run: i64) -> RunReport {
    fleet.time_passes(BEHIND).await;
    let report = fleet.reconcile_insisting(run, &[]).await;
    assert_eq!(report.code, 0, "{}\n{}", report.stdout, report.stderr);
    assert_eq!(fleet.state(run).await, "reconciled");
    report
}

/// How many payouts of a run went over each rail.
async fn by_rail(fleet: &Fleet, run: i64) -> Vec<(String, i64)> {
    sqlx::query_as(
        "SELECT rail, sum(payouts)::bigint FROM batch WHERE run_id = $1 AND state <> 'split'
          GROUP BY rail ORDER BY rail",
    )
    .bind(run)
    .fetch_all(&fleet.database)
    .await
    .unwrap()
}

#[tokio::test]
async fn a_run_over_three_real_rails_is_paid_once_and_reconciled_by_itself() {
    let mut fleet = fleet(100, "").await;
    let run = fleet.run("shop", "2026-01").await;
    let _workers = fleet.workers(2);
    fleet.settled(run, LONG).await;
    assert_eq!(by_rail(&fleet, run).await, RAILS.map(str::to_owned).into_iter().zip([50, 30, 20]).collect::<Vec<_>>());
    fleet.assert_paid_exactly_once().await;
    // No statement reaches to now: the run waits, and says which it waits for.
    let early = fleet.reconcile(run, &[]);
    assert_eq!(early.code, 75, "{}\n{}", early.stdout, early.stderr);
    reconciled(&fleet, run).await;
}

#[tokio::test]
async fn whatever_the_three_rails_do_nobody_is_paid_twice_and_the_next_run_pays_the_rest() {
    let mut fleet = fleet(300, "").await;
    fleet.faults(STORM).await;
    let run = fleet.run("shop", "2026-01").await;
    let mut workers = fleet.workers(2);
    for paid in [30, 100] {
        fleet.paid_at_least(paid, LONG).await;
        workers.remove(0).kill();
        workers.push(fleet.worker(&[]));
    }
    settled(&fleet, run).await;
    let stats = fleet.stats().await;
    for fault in ["lose_answer", "error_after", "rate_limit"] {
        assert!(stats["faults"][fault].as_u64().unwrap_or(0) > 0, "{fault} struck: {stats}");
    }
    let before = fleet.payout_states(run).await;
    // Whoever asks for a statement again and again asks too often.
    fleet
        .faults(r#"{"lose_answer": 0, "lose_request": 0, "error_before": 0, "error_after": 0, "rate_limit": 0}"#)
        .await;
    fleet.faults(r#"{"garble": 0, "garble_list": 0, "execute_late": 0}"#).await;
    reconciled(&fleet, run).await;
    // A week later money comes back.
    fleet.time_passes(8 * DAY).await;
    wait_for("returns at the rails", LONG, async || {
        let journal = fleet.journal().await;
        journal.iter().any(|one| one.event == "returned").then_some(())
    })
    .await;
    reconciled(&fleet, run).await;
    let after = fleet.payout_states(run).await;
    assert_ne!(before, after, "money came back");
    let verdict = fleet.verdict().await;
    assert_eq!((verdict.twice.len(), verdict.wrong.len()), (0, 0), "{verdict:?}");
    assert!(verdict.unpaid.iter().all(|(_, state)| state == "refused"), "{verdict:?}");
    // And is due again, with what was refused.
    fleet
        .faults(
            r#"{"return_rate": 0, "lose_answer": 0, "lose_request": 0, "error_before": 0, "error_after": 0,
        "rate_limit": 0, "garble": 0, "garble_list": 0, "paypal": null, "stripe": null,
        "wise": {"roll_back": 0, "cancel": 0, "reject": 0}}"#,
        )
        .await;
    let again = fleet.run("shop", "2026-02").await;
    settled(&fleet, again).await;
    let due: i64 = after.iter().filter(|(state, _)| state == "refused" || state == "returned").map(|(_, n)| n).sum();
    assert_eq!(fleet.payout_states(again).await, [("paid".to_owned(), due)]);
    let verdict = fleet.verdict().await;
    assert_eq!((verdict.twice.len(), verdict.wrong.len()), (0, 0), "{verdict:?}");
    reconciled(&fleet, again).await;
}

#[tokio::test]
async fn statements_without_our_keys_reconcile_a_run_all_the_same() {
    let mut fleet = fleet(100, "key_as_reference = false\n").await;
    fleet.faults(r#"{"paypal": {"without_custom_field": true}}"#).await;
    let run = fleet.run("shop", "2026-01").await;
    let _worker = fleet.worker(&[]);
    fleet.settled(run, LONG).await;
    fleet.assert_paid_exactly_once().await;
    let report = reconciled(&fleet, run).await;
    assert!(report.stdout.contains("reconciled"), "{}", report.stdout);
    let strays = sqlx::query_scalar::<_, i64>("SELECT count(*) FROM statement_line WHERE payout_id IS NULL");
    assert_eq!(strays.fetch_one(&fleet.database).await.unwrap(), 0);
}

#[tokio::test]
async fn what_nobody_claims_comes_back_after_a_month_and_is_due_again() {
    let mut fleet = fleet(40, "").await;
    fleet.faults(r#"{"paypal": {"unclaimed": 0.3}}"#).await;
    let run = fleet.run("shop", "2026-01").await;
    let _worker = fleet.worker(&[]);
    let accepted = wait_for("all but what nobody claims to be paid", LONG, async || {
        let open: Vec<(String, String, i64)> = sqlx::query_as(
            "SELECT b.rail, p.state, count(*) FROM payout p JOIN batch b ON p.id BETWEEN b.first_payout_id
               AND b.last_payout_id WHERE p.run_id = $1 AND p.state <> 'paid' GROUP BY 1, 2",
        )
        .bind(run)
        .fetch_all(&fleet.database)
        .await
        .unwrap();
        match &open[..] {
            // An item that is claimed is settled some moments after its batch.
            [(rail, state, n)] if rail == "paypal" && state == "accepted" && *n < 20 => Some(*n),
            _ => None,
        }
    })
    .await;
    // What is pending is neither missing nor paid, however far the statement reaches.
    fleet.time_passes(BEHIND).await;
    assert_eq!(fleet.reconcile(run, &[]).code, 75);
    fleet.faults(r#"{"paypal": {"unclaimed": 0}}"#).await;
    fleet.time_passes(31 * DAY).await;
    fleet.settled(run, LONG).await;
    reconciled(&fleet, run).await;
    let states = [("paid".to_owned(), 40 - accepted), ("returned".to_owned(), accepted)];
    assert_eq!(fleet.payout_states(run).await, states);
    let again = fleet.run("shop", "2026-02").await;
    fleet.settled(again, LONG).await;
    assert_eq!(fleet.payout_states(again).await, [("paid".to_owned(), accepted)]);
    let verdict = fleet.verdict().await;
    assert_eq!((verdict.twice.len(), verdict.wrong.len(), verdict.unpaid.len()), (0, 0, 0), "{verdict:?}");
    reconciled(&fleet, again).await;
}

/// PayPal refuses the batch of the second request, which frees its id, and the first arrives then, late, and is paid
/// under a name that nobody was told.
#[tokio::test]
async fn what_an_older_request_was_accepted_as_is_found_when_the_newer_one_is_refused() {
    let mut fleet = fleet(12, "").await;
    fleet.faults(r#"{"only_shape": "paypal", "execute_late": 1, "execute_late_ms": 45000}"#).await;
    let run = fleet.run("shop", "2026-01").await;
    let killed = fleet.worker(&[]);
    // One batch for each of two currencies.
    wait_for("both requests to be late", LONG, async || {
        fleet.stats().await["faults"]["execute_late"].as_u64().filter(|late| *late >= 2)
    })
    .await;
    killed.kill();
    fleet.faults(r#"{"execute_late": 0, "paypal": {"denied": 1}}"#).await;
    let _worker = fleet.worker(&[]);
    wait_for("the second request of each to be accepted", LONG, async || {
        let accepted: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM batch b JOIN attempt a ON a.batch_id = b.id
              WHERE b.rail = 'paypal' AND b.state = 'accepted' AND a.result = 'answered'",
        )
        .fetch_one(&fleet.database)
        .await
        .unwrap();
        (accepted == 2).then_some(())
    })
    .await;
    fleet.faults(r#"{"paypal": {"denied": 0}}"#).await;
    fleet.time_passes(Duration::from_secs(50)).await;
    settled(&fleet, run).await;
    assert_eq!(fleet.payout_states(run).await, [("paid".to_owned(), 12)]);
    fleet.assert_paid_exactly_once().await;
    reconciled(&fleet, run).await;
}
