//! The database's clock steps while requests are under way.

#![allow(clippy::unwrap_used)]

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
