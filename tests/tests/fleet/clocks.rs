//! The database's clock steps while requests are under way.

use std::time::Duration;

use payfleet_tests::chaos::clock;
use payfleet_tests::proxy::{Proxy, Weather};
use payfleet_tests::{Fleet, FleetOptions, wait_for};

const LONG: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_on_its_way_is_not_taken_for_dead_because_the_clock_of_the_database_stepped() {
    let options = FleetOptions { paypal: "sandbox-lookup", sepa: "sandbox-lookup", ..FleetOptions::default() };
    let mut fleet = Fleet::with_payouts(options, 20).await;
    clock::install(&fleet.database).await;
    let database = clock::url(fleet.postgres.address());
    let seen = clock::connect(fleet.postgres.address());
    let run = fleet.run("shop", "2026-01").await;
    // Its requests take some seconds on their way, and arrive within their lifetime.
    let way = Proxy::start(fleet.sandbox_url().trim_start_matches("http://").parse().unwrap()).await;
    way.set(Weather::Slow(Duration::from_millis(1_500)));
    let slow = format!("http://{}", way.address());
    // With one place, so that what it has makes it deaf to hints.
    let _slow = fleet.worker(&["--database-url", &database, "--sandbox-url", &slow, "--concurrency", "1"]);
    wait_for("an intent", LONG, async || {
        let sending = sqlx::query_scalar::<_, i64>("SELECT count(*) FROM attempt").fetch_one(&seen).await.unwrap();
        (sending > 0).then_some(())
    })
    .await;
    assert!(clock::step(&seen, 120_000).await);
    // Else the hint that the first worker has not yet acknowledged keeps others away by chance.
    fleet.redis.flush_all().await;
    let _other = fleet.worker(&["--database-url", &database]);
    fleet.settled(run, LONG).await;
    tokio::time::sleep(Duration::from_secs(6)).await; // whatever still is on its way arrives, or has expired
    assert!(
        fleet.worker_logs().contains("did not say what became of them"),
        "the other one asked while they were on their way"
    );
    fleet.assert_paid_exactly_once().await;
}

/// As after a failover to a server whose clock is an hour behind the one that promised.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_goes_back_an_hour_costs_no_more_than_a_lease() {
    let mut fleet = Fleet::with_payouts(FleetOptions { batch_size: 10, ..FleetOptions::default() }, 200).await;
    clock::install(&fleet.database).await;
    let database = clock::url(fleet.postgres.address());
    let seen = clock::connect(fleet.postgres.address());
    assert!(clock::step(&seen, 3_600_000).await);
    fleet.faults(r#"{"latency_ms": 300, "rate_limit": 0.2}"#).await;
    let run = fleet.run("shop", "2026-01").await;
    let mut dies = fleet.worker(&["--database-url", &database, "--calls", "4"]);
    let count = async |query: &'static str| sqlx::query_scalar::<_, i64>(query).fetch_one(&seen).await.unwrap();
    let leased = "SELECT count(*) FROM batch WHERE state = 'sending' AND lease_until > clock_timestamp()";
    wait_for("batches in hand", LONG, async || (count(leased).await > 2).then_some(())).await;
    let wait =
        "UPDATE batch SET available_at = clock_timestamp() + interval '1 second', available_in = interval '1 second'
                 WHERE id = (SELECT max(id) FROM batch WHERE state = 'ready' AND lease_owner IS NULL)";
    assert_eq!(sqlx::query(wait).execute(&seen).await.unwrap().rows_affected(), 1, "one waits to be tried again");
    dies.process.kill();
    assert!(count(leased).await > 0, "a dead worker has leases");
    assert!(clock::step(&seen, -3_600_000).await);
    let _other = fleet.worker(&["--database-url", &database]);
    fleet.settled(run, LONG).await;
    assert!(fleet.worker_logs().contains("the database's clock has gone back"), "it is said");
    fleet.assert_paid_exactly_once().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rail_whose_clock_is_ahead_executes_nothing_and_that_is_said_and_counted() {
    let options = FleetOptions { paypal: "sandbox-lookup", sepa: "sandbox-lookup", ..FleetOptions::default() };
    let mut fleet = Fleet::with_payouts(options, 20).await;
    fleet.faults(r#"{"clock_ahead_ms": 600000}"#).await;
    let run = fleet.run("shop", "2026-01").await;
    let worker = fleet.worker(&[]);
    wait_for("some failures", LONG, async || {
        let status = fleet.must(&["status", &run.to_string()]);
        (status.contains("failures in a row") && status.contains("not_executed")).then_some(())
    })
    .await;
    let metrics = fleet.metrics(worker.admin).await;
    let ahead = metrics
        .lines()
        .find_map(|line| line.strip_prefix(r#"payfleet_rail_clock_ahead_seconds{rail="sandbox-lookup"} "#));
    let ahead: f64 = ahead.expect(&metrics).parse().unwrap();
    assert!((598.0..=602.0).contains(&ahead), "{ahead} s");
    assert!(worker.log().contains("is the rail's clock ahead of ours"), "{}", worker.log());
    // However often it was tried, nothing counts as perhaps executed, and the run as standing still.
    let perhaps = "SELECT count(*) FROM attempt WHERE result <> 'not_executed'";
    assert_eq!(sqlx::query_scalar::<_, i64>(perhaps).fetch_one(&fleet.database).await.unwrap(), 0);
    fleet.faults(r#"{"clock_ahead_ms": null}"#).await;
    fleet.settled(run, LONG).await;
    fleet.assert_paid_exactly_once().await;
    fleet.assert_reconciled(run).await;
}
