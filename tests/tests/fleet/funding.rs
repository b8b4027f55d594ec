//! Funding accounts that can pay nothing for now, with real processes over the sandbox's dialects: nobody is refused
//! for it, nothing is paid twice, few calls fail, and when the account can pay again the run ends by itself.

use std::time::Duration;

use payfleet_tests::real::{PROFILE, VARIABLES};
use payfleet_tests::{Fleet, FleetOptions, wait_for};

const LONG: Duration = Duration::from_secs(240);

async fn fleet(affiliates: u32, batch_size: u32) -> Fleet {
    let options = FleetOptions { batch_size, variables: VARIABLES, virtual_time: true, ..FleetOptions::default() };
    let fleet = Fleet::start(options).await;
    fleet.faults(r#"{"wise": {"any_recipient": true}}"#).await;
    fleet.real_rails(affiliates, "{ calls_per_sec = 1000 }", "");
    fleet
}

/// What an account has from now on.
async fn balance(fleet: &Fleet, shape: &str, currency: &str, amount_minor: i64) {
    let account = if shape == "wise" { PROFILE.to_string() } else { "shop".to_owned() };
    let body = serde_json::json!({
        "shape": shape, "account": account, "currency": currency, "amount_minor": amount_minor,
    });
    fleet.sandbox_post("/faults/balance", &body.to_string()).await;
}

/// Rail, currency (empty of all) and reason of what is stopped.
async fn stopped(fleet: &Fleet) -> Vec<(String, String, String)> {
    let sql = "SELECT rail, currency, reason FROM funding_stop WHERE stopped_at IS NOT NULL ORDER BY 1, 2";
    sqlx::query_as(sql).fetch_all(&fleet.database).await.unwrap()
}

async fn until_stopped(fleet: &Fleet, count: usize) {
    wait_for("funding accounts to be stopped", LONG, async || (stopped(fleet).await.len() >= count).then_some(()))
        .await;
}

async fn count(fleet: &Fleet, sql: &'static str) -> i64 {
    sqlx::query_scalar(sql).fetch_one(&fleet.database).await.unwrap()
}

/// 100,000 take some minutes, and are tried by hand.
fn payouts() -> u32 {
    std::env::var("PAYFLEET_FUNDING_PAYOUTS").ok().and_then(|text| text.parse().ok()).unwrap_or(300)
}

#[tokio::test]
async fn an_empty_account_in_the_middle_of_a_run_refuses_nobody_and_pays_all_when_it_is_funded() {
    const WORKERS: i64 = 2;
    const CALLS: i64 = 4;
    let affiliates = payouts();
    let size = (affiliates / 30).clamp(5, 1_000);
    let mut fleet = fleet(affiliates, size).await;
    // About a third of what is due in each.
    let due: Vec<(String, String, i64)> = sqlx::query_as(
        "SELECT m.method, c.currency, sum(c.amount_minor)::bigint FROM commission c
           JOIN payout_method m ON m.affiliate_id = c.affiliate_id GROUP BY 1, 2",
    )
    .fetch_all(&fleet.database)
    .await
    .unwrap();
    for (method, currency, minor) in &due {
        balance(&fleet, method, currency, minor / 3).await;
    }
    let run = fleet.run("shop", "2026-01").await;
    let mut workers: Vec<_> = (0..WORKERS).map(|_| fleet.worker(&["--calls", "4", "--concurrency", "4"])).collect();
    until_stopped(&fleet, due.len()).await;
    wait_for("everything that was under way to end", LONG, async || {
        (count(&fleet, "SELECT count(*) FROM attempt WHERE result IS NULL").await == 0).then_some(())
    })
    .await;
    assert!(stopped(&fleet).await.iter().all(|(_, currency, why)| !currency.is_empty() && why == "no_funds"));
    let states = fleet.payout_states(run).await;
    assert!(states.iter().any(|(state, _)| state == "paid"), "there was money for some: {states:?}");
    assert!(states.iter().all(|(state, _)| state != "refused" && state != "held"), "{states:?}");
    // In the journal of the sandbox stands each payment that it refused, over Stripe and Wise.
    let probes = count(&fleet, "SELECT coalesce(sum(probes), 0)::bigint + count(*) FROM funding_stop").await;
    let failed = fleet.journal().await.iter().filter(|one| one.event == "refused").count();
    let most = WORKERS * CALLS * due.len() as i64 + probes;
    assert!(failed > 0 && failed as i64 <= most, "{failed} calls failed, and {most} were under way at most");
    let status = fleet.must(&["status", &run.to_string()]);
    assert!(status.contains("NOTHING IS SENT from paypal/shop, EUR"), "{status}");
    assert!(status.contains("account_stopped"), "{status}");
    let listed: serde_json::Value = serde_json::from_str(&fleet.must(&["rails", "list", "--json"])).unwrap();
    assert!(listed["used"].as_array().unwrap().iter().all(|one| one["account_state"] != "closed"), "{listed}");
    // Who ends meanwhile changes nothing.
    workers.remove(0).kill();
    workers.push(fleet.worker(&[]));
    for (method, currency, _) in &due {
        balance(&fleet, method, currency, 1_000_000_000_000).await;
    }
    match affiliates {
        // What the killed worker had sent over Stripe or Wise is looked up when it is dead.
        ..=1_000 => fleet.settled_as_time_passes(run, LONG, |_| {}).await,
        // Batches of so many take longer than whoever puts clocks forward waits.
        _ => fleet.settled(run, LONG * 4).await,
    }
    assert_eq!(fleet.payout_states(run).await, [("paid".to_owned(), i64::from(affiliates))]);
    fleet.assert_paid_exactly_once().await;
    assert_eq!(stopped(&fleet).await, [], "and nobody had to say so");
}

/// The answer to a batch that was taken is lost, and when it is asked for again the account is empty, and PayPal looks
/// for money first: that proves nothing of the batch.
#[tokio::test]
async fn what_was_perhaps_taken_stays_unknown_while_its_account_is_empty() {
    let mut fleet = fleet(40, 50).await;
    fleet.faults(r#"{"only_shape": "paypal", "lose_answer": 1, "paypal": {"funds_first": true}}"#).await;
    let run = fleet.run("shop", "2026-01").await;
    let _worker = fleet.worker(&[]);
    let of_paypal = "SELECT count(*) FROM payout p JOIN batch b ON p.id BETWEEN b.first_payout_id AND b.last_payout_id
                      WHERE b.rail = 'paypal' AND p.state = 'unknown'";
    wait_for("answers to be lost", LONG, async || (count(&fleet, of_paypal).await == 20).then_some(())).await;
    for currency in ["EUR", "USD"] {
        balance(&fleet, "paypal", currency, 0).await;
    }
    fleet.faults(r#"{"lose_answer": 0}"#).await;
    until_stopped(&fleet, 2).await;
    wait_for("a probe in vain", LONG, async || {
        let least = "SELECT coalesce(min(probes), 0)::bigint FROM funding_stop WHERE stopped_at IS NOT NULL";
        (count(&fleet, least).await > 0).then_some(())
    })
    .await;
    assert_eq!(count(&fleet, of_paypal).await, 20, "neither refused nor free: {:?}", fleet.payout_states(run).await);
    for currency in ["EUR", "USD"] {
        balance(&fleet, "paypal", currency, 1_000_000_000).await;
    }
    fleet.settled_as_time_passes(run, LONG, |_| {}).await;
    assert_eq!(fleet.payout_states(run).await, [("paid".to_owned(), 40)]);
    fleet.assert_paid_exactly_once().await;
}

#[tokio::test]
async fn credentials_that_are_refused_stop_an_account_and_a_person_or_a_probe_lets_it_go_on() {
    let mut fleet = fleet(60, 10).await;
    let [token, _] = fleet.approvers();
    let body = |revoked: bool, of: &str| serde_json::json!({"credential": of, "revoked": revoked}).to_string();
    let credentials = ["shop", "sk_test_shop", "token-of-shop"];
    for credential in credentials {
        fleet.sandbox_post("/faults/revoke", &body(true, credential)).await;
    }
    let run = fleet.run("shop", "2026-01").await;
    let _workers = [fleet.worker(&[]), fleet.worker(&[])];
    until_stopped(&fleet, 3).await;
    let reason = "credential_refused".to_owned();
    let all = ["paypal", "stripe", "wise"].map(|rail| (rail.to_owned(), String::new(), reason.clone()));
    assert_eq!(stopped(&fleet).await, all);
    assert_eq!(fleet.payout_states(run).await, [("planned".to_owned(), 60)]);
    let nobody = fleet.coordinator(&["rails", "resume", "paypal"]);
    assert_eq!(nobody.status.code(), Some(64), "{}", String::from_utf8_lossy(&nobody.stderr));
    for credential in credentials {
        fleet.sandbox_post("/faults/revoke", &body(false, credential)).await;
    }
    let said = fleet.coordinator_as(&token, &["rails", "resume", "paypal", "--account", "shop"]);
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    fleet.settled_as_time_passes(run, LONG, |_| {}).await;
    fleet.assert_paid_exactly_once().await;
    assert_eq!(stopped(&fleet).await, []);
    let listed = fleet.must(&["rails", "list"]);
    assert!(listed.contains("first said so") && listed.contains("a batch was paid"), "{listed}");
}

#[tokio::test]
async fn a_rail_that_leaves_its_calls_without_an_answer_stops_its_account_for_a_while() {
    let mut fleet = Fleet::with_payouts(FleetOptions { batch_size: 20, ..FleetOptions::default() }, 400).await;
    fleet.faults(r#"{"error_after": 0.9}"#).await;
    let run = fleet.run("shop", "2026-01").await;
    let _workers = [fleet.worker(&[]), fleet.worker(&[])];
    until_stopped(&fleet, 1).await;
    assert_eq!(stopped(&fleet).await[0].2, "many_unknown");
    fleet.faults(r#"{"error_after": 0}"#).await;
    fleet.settled(run, LONG).await;
    fleet.assert_paid_exactly_once().await;
    assert_eq!(stopped(&fleet).await, []);
}
