//! Notices of rails: they only hurry what asking finds as well. The real gateway in its own role, and the sandbox
//! sending to it as the three vendors do.

use std::time::Duration;

use payfleet_tests::{Fleet, FleetOptions, Gateway, Worker, oracle, wait_for};

const LONG: Duration = Duration::from_secs(120);

const OPTIONS: FleetOptions = FleetOptions {
    paypal: "sandbox-payout",
    sepa: "sandbox-payout",
    sandbox: Vec::new(),
    batch_size: 10,
    postgres: &[],
    variables: &[
        ("PAYFLEET_RAIL_ACCOUNTS", "rails.toml"),
        ("PAYFLEET_RAIL_CREDENTIAL_PAYPAL", "shop:secret"),
        ("PAYFLEET_RAIL_CREDENTIAL_STRIPE", "sk_test_shop"),
        ("PAYFLEET_RAIL_CREDENTIAL_WISE", "wise-shop"),
    ],
    virtual_time: false,
};

/// Thirty affiliates, ten at each rail, with money due for 2026-01. Batches settle at PayPal after a second, and
/// transfers at Wise are sent a second and a half after they were funded.
async fn fleet() -> Fleet {
    let sandbox = ["--statement-lag", "0s", "--batch-settle-after", "1s"].map(String::from).to_vec();
    let fleet = Fleet::start(FleetOptions { sandbox, ..OPTIONS }).await;
    fleet.faults(r#"{"wise": {"any_recipient": true, "step_ms": 500}}"#).await;
    fleet.rail_accounts().await;
    let (mut affiliates, mut commissions) = (String::new(), String::new());
    for n in 0..30 {
        let (method, destination) = match n % 3 {
            0 => ("paypal", format!("payee{n}@example.com")),
            1 => ("stripe", format!("acct_1PgafTB7WZ01zg{n:02}")),
            _ => ("wise", (8_692_236 + n).to_string()),
        };
        affiliates += &format!("a{n},Name {n},payee{n}@example.com,DE,EUR,{method},{destination}\n");
        commissions += &format!("c{n},a{n},o{n},1{n:02}.50,EUR,2026-01-10T08:00:00Z,sale\n");
    }
    for (what, head, rows) in [
        ("affiliates", "affiliate_id,name,email,country,currency,method,destination\n", affiliates),
        ("commissions", "commission_id,affiliate_id,order_ref,amount,currency,earned_at,kind\n", commissions),
    ] {
        let file = fleet.folder().join(format!("{what}.csv"));
        std::fs::write(&file, format!("{head}{rows}")).unwrap();
        fleet.must(&["import", what, file.to_str().unwrap(), "--tenant", "shop"]);
    }
    for (rail, credential) in [("paypal", "PAYPAL"), ("stripe", "STRIPE"), ("wise", "WISE")] {
        let at = ["rails", "set", "--tenant", "shop", "--method", rail, "--rail", rail, "--account", "shop"];
        fleet.must(&[&at[..], &["--credential", credential]].concat());
    }
    fleet
}

/// A worker that asks for news of what was accepted so seldom.
fn patient(fleet: &mut Fleet) -> Worker {
    fleet.worker(&["--backoff-first", "90s", "--backoff-longest", "90s"])
}

async fn counted(fleet: &Fleet, gateway: &Gateway, outcome: &str) -> u64 {
    let metrics = fleet.metrics(gateway.admin).await;
    let of = |line: &&str| line.starts_with("payfleet_notices_total") && line.contains(&format!("\"{outcome}\""));
    metrics.lines().filter(of).filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok()).sum()
}

/// By who got how much: Wise knows payments by another key than ours, so that the journal's do not lead to payouts.
async fn assert_paid_exactly_once(fleet: &Fleet, run: i64) {
    let planned = oracle::planned(&fleet.database, run).await;
    assert!(planned.iter().all(|payout| payout.state == "paid"), "{planned:?}");
    let mut planned: Vec<_> =
        planned.into_iter().map(|one| (one.destination, one.amount_minor, one.currency)).collect();
    let journal = fleet.journal().await.into_iter().filter(|movement| movement.event == "paid");
    let mut paid: Vec<_> = journal.map(|one| (one.destination, one.amount_minor, one.currency)).collect();
    planned.sort();
    paid.sort();
    assert_eq!(planned.len(), 30);
    assert_eq!(paid, planned);
}

async fn kept(fleet: &Fleet) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM notice").fetch_one(&fleet.database).await.unwrap()
}

#[tokio::test]
async fn notices_end_a_run_long_before_anybody_would_have_asked() {
    let mut fleet = fleet().await;
    let mut gateway = fleet.gateway().await;
    let run = fleet.run("shop", "2026-01").await;
    let _worker = patient(&mut fleet);
    fleet.settled(run, LONG).await;
    let longest: f64 = sqlx::query_scalar(
        "SELECT extract(epoch FROM max(closed_at - first_sent_at))::float8 FROM batch WHERE rail IN ('paypal', 'wise')",
    )
    .fetch_one(&fleet.database)
    .await
    .unwrap();
    println!("the longest batch took {longest:.1} s");
    assert!(longest < 60.0, "nobody asks before 90 s, and the last news was of 1.5 s: {longest}");
    assert_paid_exactly_once(&fleet, run).await;
    // Each notice is there once, of all three rails; none was refused.
    let told = fleet.notices_settled().await;
    assert_eq!(told["refused"], 0, "{told}");
    assert_eq!(kept(&fleet).await, told["taken"].as_i64().unwrap());
    let rails: i64 =
        sqlx::query_scalar("SELECT count(DISTINCT rail) FROM notice").fetch_one(&fleet.database).await.unwrap();
    assert_eq!(rails, 3);
    gateway.process.signal(rustix::process::Signal::TERM);
    let ended = gateway.process.ends_within(Duration::from_secs(15)).await.expect("it ends");
    assert!(ended.success(), "{ended}");
}

#[tokio::test]
async fn losing_every_notice_costs_nothing_but_time() {
    let mut fleet = fleet().await;
    let _gateway = fleet.gateway().await;
    fleet.faults(r#"{"wise": {"any_recipient": true, "step_ms": 500}, "webhook": {"lose": 1.0}}"#).await;
    let run = fleet.run("shop", "2026-01").await;
    let _worker = fleet.worker(&[]);
    fleet.settled(run, LONG).await;
    assert_paid_exactly_once(&fleet, run).await;
    fleet.notices_settled().await;
    assert_eq!(kept(&fleet).await, 0);
    assert!(fleet.stats().await["faults"]["webhook_lose"].as_u64().unwrap() > 30, "they were lost");
}

#[tokio::test]
async fn forged_repeated_late_and_disordered_notices_change_nothing() {
    let mut fleet = fleet().await;
    let gateway = fleet.gateway().await;
    let faults = r#"{"wise": {"any_recipient": true, "step_ms": 500}, "webhook":
        {"forge": 0.2, "tamper": 0.2, "twice": 0.3, "late": 0.3, "late_ms": 1500}}"#;
    fleet.faults(faults).await;
    let run = fleet.run("shop", "2026-01").await;
    let worker = patient(&mut fleet);
    fleet.settled(run, LONG).await;
    let told = fleet.notices_settled().await;
    // What is signed wrong is refused, and comes again.
    let struck = &fleet.stats().await["faults"];
    let spoilt = counted(&fleet, &gateway, "forged").await;
    assert!(spoilt > 10, "{struck}");
    let (forged, tampered) = (&struck["webhook_forge"], &struck["webhook_tamper"]);
    let most = forged.as_u64().unwrap() + tampered.as_u64().unwrap();
    assert!(spoilt <= most, "{spoilt} of {struck}: nothing else is called forged");
    let (new, again) = (counted(&fleet, &gateway, "kept").await, counted(&fleet, &gateway, "replayed").await);
    assert!(again > 5, "{struck}");
    assert_eq!(new + again, told["taken"].as_u64().unwrap(), "{told}");
    assert_eq!(kept(&fleet).await, i64::try_from(new).unwrap());
    assert_paid_exactly_once(&fleet, run).await;
    drop(worker);
}

#[tokio::test]
async fn a_gateway_that_is_killed_loses_nothing_that_it_answered() {
    let mut fleet = fleet().await;
    let mut gateway = fleet.gateway().await;
    let run = fleet.run("shop", "2026-01").await;
    let _worker = fleet.worker(&[]);
    wait_for("some notices", LONG, async || (kept(&fleet).await > 5).then_some(())).await;
    gateway.process.kill();
    // The sandbox gives up after some tries; the fleet asks.
    fleet.settled(run, LONG).await;
    let told = fleet.notices_settled().await;
    assert!(kept(&fleet).await >= told["taken"].as_i64().unwrap(), "2xx was answered after the commit: {told}");
    assert!(told["refused"].as_u64().unwrap() > 0, "{told}");
    assert_paid_exactly_once(&fleet, run).await;
}
