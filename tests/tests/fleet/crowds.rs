//! Many workers, and what one server has for all of them together.

use std::time::{Duration, Instant};

use payfleet_tests::{Fleet, FleetOptions};

const LONG: Duration = Duration::from_secs(180);

/// And there is a place for an operator, whatever they do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thirty_workers_share_the_hundred_connections_of_postgres_as_it_is_shipped() {
    let options = FleetOptions { batch_size: 5, postgres: &["max_connections=100"], ..FleetOptions::default() };
    let mut fleet = Fleet::with_payouts(options, 1_500).await;
    fleet.faults(r#"{"latency_ms": 100}"#).await;
    // The share that they come to by themselves (store, `places.rs`), once they have counted each other.
    let mut workers: Vec<_> = (0..30).map(|_| fleet.worker(&["--connections", "3"])).collect();
    let run = fleet.run("shop", "2026-01").await;
    let since = Instant::now();
    let mut asked = 0;
    while fleet.state(run).await != "settled" {
        assert!(since.elapsed() < LONG, "{:?}", fleet.payout_states(run).await);
        fleet.must(&["status", &run.to_string(), "--json"]);
        asked += 1;
    }
    println!("{asked} times asked in {:?}", since.elapsed());
    assert!(workers.iter_mut().all(|worker| worker.process.is_running()));
    fleet.assert_paid_exactly_once().await;
    fleet.assert_reconciled(run).await;
}
