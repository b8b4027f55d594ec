//! Servers that lose their memory, or die and come back, in the middle of a run.

use std::time::{Duration, Instant};

use payfleet_tests::{Fleet, FleetOptions, wait_for};

const LONG: Duration = Duration::from_secs(180);
const SLOW: &str = r#"{"latency_ms": 40, "latency_jitter_ms": 40}"#;

async fn in_the_middle_of_a_run() -> (Fleet, i64, Vec<payfleet_tests::Worker>) {
    let mut fleet = Fleet::with_payouts(FleetOptions { batch_size: 20, ..FleetOptions::default() }, 2_000).await;
    fleet.faults(SLOW).await;
    let run = fleet.run("shop", "2026-01").await;
    let workers = (0..2).map(|_| fleet.worker(&["--calls", "24"])).collect();
    fleet.paid_at_least(300, LONG).await;
    assert_eq!(fleet.state(run).await, "paying");
    (fleet, run, workers)
}

async fn ends_well(fleet: &Fleet, run: i64) {
    fleet.settled(run, LONG).await;
    fleet.assert_paid_exactly_once().await;
    fleet.assert_reconciled(run).await;
}

#[tokio::test]
async fn flushall_costs_seconds_and_no_payment() {
    let (fleet, run, _workers) = in_the_middle_of_a_run().await;
    for _ in 0..3 {
        fleet.redis.flush_all().await;
        let flushed = Instant::now();
        let paid = fleet.stats().await["paid"].as_u64().unwrap();
        fleet.paid_at_least((paid + 150).min(2_000), LONG).await;
        println!("going on {:?} after FLUSHALL", flushed.elapsed());
    }
    ends_well(&fleet, run).await;
}

#[tokio::test]
async fn redis_killed_and_restarted() {
    let (mut fleet, run, _workers) = in_the_middle_of_a_run().await;
    for _ in 0..2 {
        fleet.redis.kill();
        fleet.redis.restart().await;
        let paid = fleet.stats().await["paid"].as_u64().unwrap();
        fleet.paid_at_least((paid + 150).min(2_000), LONG).await;
    }
    ends_well(&fleet, run).await;
}

#[tokio::test]
async fn postgres_killed_and_restarted() {
    let (mut fleet, run, _workers) = in_the_middle_of_a_run().await;
    for _ in 0..3 {
        fleet.postgres.kill();
        fleet.postgres.restart().await;
        let paid = fleet.stats().await["paid"].as_u64().unwrap();
        fleet.paid_at_least((paid + 150).min(2_000), LONG).await;
    }
    ends_well(&fleet, run).await;
}

#[tokio::test]
async fn the_rail_killed_and_restarted() {
    let (mut fleet, run, _workers) = in_the_middle_of_a_run().await;
    for _ in 0..2 {
        fleet.sandbox_kill();
        fleet.sandbox_start().await;
        let paid = fleet.stats().await["paid"].as_u64().unwrap();
        fleet.paid_at_least((paid + 150).min(2_000), LONG).await;
    }
    ends_well(&fleet, run).await;
}

#[tokio::test]
async fn everything_killed_at_once() {
    let (mut fleet, run, workers) = in_the_middle_of_a_run().await;
    for worker in workers {
        worker.kill();
    }
    fleet.redis.kill();
    fleet.postgres.kill();
    fleet.sandbox_kill();
    fleet.postgres.restart().await;
    fleet.redis.restart().await;
    fleet.sandbox_start().await;
    let _workers = fleet.workers(2);
    ends_well(&fleet, run).await;
}

/// Waits until a program tells each of these, as the beginning of a line of its metrics.
async fn tells(fleet: &Fleet, admin: u16, lines: &[&str]) {
    wait_for("metrics", LONG, async || {
        let told = fleet.metrics(admin).await;
        lines.iter().all(|line| told.lines().any(|there| there.starts_with(line))).then_some(())
    })
    .await;
}

#[tokio::test]
async fn programs_tell_by_metrics_who_is_away() {
    let mut fleet = Fleet::with_payouts(FleetOptions::default(), 20).await;
    let run = fleet.run("shop", "2026-01").await;
    let workers = fleet.workers(1);
    let (_watch, watch) = fleet.watch();
    fleet.settled(run, LONG).await;
    let worker = workers[0].admin;
    let up = ["payfleet_ready 1", r#"payfleet_dependency_up{dependency="postgres"} 1"#, "payfleet_run_still_seconds 0"];
    tells(&fleet, worker, &[&up[..], &[r#"payfleet_dependency_up{dependency="redis"} 1"#]].concat()).await;
    tells(&fleet, watch, &[&up[..], &["payfleet_looked_at_seconds 1"]].concat()).await;

    fleet.sandbox_kill();
    tells(&fleet, watch, &[r#"payfleet_statements_failed_total{rail="sandbox-"#]).await;
    fleet.redis.kill();
    tells(&fleet, worker, &["payfleet_ready 0", r#"payfleet_dependency_up{dependency="redis"} 0"#]).await;
    fleet.postgres.kill();
    let away = ["payfleet_ready 0", r#"payfleet_dependency_up{dependency="postgres"} 0"#];
    tells(&fleet, worker, &away).await;
    tells(&fleet, watch, &away).await;
    fleet.postgres.restart().await;
    fleet.redis.restart().await;
    tells(&fleet, worker, &up).await;
    tells(&fleet, watch, &up).await;
}

/// Redis only wakes: whatever becomes of it, the fleet goes on from Postgres, and so does a worker that starts without
/// it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_redis_the_fleet_goes_on_from_postgres() {
    let options = FleetOptions { batch_size: 5, ..FleetOptions::default() };
    let mut fleet = Fleet::with_payouts(options, 400).await;
    fleet.faults(r#"{"latency_ms": 50}"#).await;
    let run = fleet.run("shop", "2026-01").await;
    let _workers = fleet.workers(2);
    fleet.paid_at_least(60, LONG).await;
    fleet.redis.kill();
    let late = fleet.worker(&[]);
    fleet.settled(run, LONG).await;
    assert!(fleet.worker_logs().contains("working from Postgres"), "it is said");
    assert!(late.log().contains("started"), "{}", late.log());
    fleet.assert_paid_exactly_once().await;
    fleet.redis.restart().await;
    let next = fleet.run("shop", "2026-02").await;
    ends_well(&fleet, next).await;
}

/// It answers, and takes nothing: full, a replica, or behind another password.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_takes_no_hints_stops_nobody() {
    let mut fleet = Fleet::start(FleetOptions { batch_size: 10, ..FleetOptions::default() }).await;
    let sample =
        ["sample", "--affiliates", "150", "--months", "3", "--commissions-per-affiliate", "3", "--start", "2026-01"];
    fleet.must(&[&sample[..], &["--tenant", "shop"]].concat());
    fleet.rails_set("shop");
    let mut redis = fleet.redis.connection().await.unwrap();
    let _workers = fleet.workers(2);
    let spoilt: [&[&str]; 3] = [
        &["CONFIG", "SET", "maxmemory", "1"],
        &["REPLICAOF", "127.0.0.1", "1"],
        &["CONFIG", "SET", "requirepass", "another"],
    ];
    for (month, (spoil, mend)) in
        spoilt.iter().zip([&["CONFIG", "SET", "maxmemory", "0"][..], &["REPLICAOF", "NO", "ONE"], &[]]).enumerate()
    {
        let mut say = async |words: &[&str]| {
            let [name, arguments @ ..] = words else { return };
            let _: deadpool_redis::redis::Value =
                deadpool_redis::redis::cmd(name).arg(arguments).query_async(&mut redis).await.unwrap();
        };
        say(spoil).await;
        if mend.is_empty() {
            // Those that are connected stay so, and would not mind.
            say(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]).await;
        }
        let run = fleet.run("shop", &format!("2026-0{}", month + 1)).await;
        fleet.settled(run, LONG).await;
        let paid = fleet.payout_states(run).await.iter().find(|(state, _)| state == "paid").map_or(0, |(_, n)| *n);
        assert!(paid > 50, "{paid} were paid after {spoil:?}");
        say(mend).await;
    }
    fleet.assert_paid_exactly_once().await;
}
