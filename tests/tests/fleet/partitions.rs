//! Servers that fall silent: no packet arrives, none is refused, and nobody is told. The judge is the sandbox's
//! journal.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use payfleet_tests::proxy::{Proxy, Weather};
use payfleet_tests::{Fleet, FleetOptions, Worker, wait_for};
use rustix::process::Signal;

const LONG: Duration = Duration::from_secs(180);
/// How long the workers of these tests may drain, and how long after it they may take to end.
const DRAIN: Duration = Duration::from_secs(3);
const GRACE: Duration = Duration::from_secs(5);

/// In the middle of a run, one worker each of whose ways to a server leads through a proxy.
struct Middle {
    fleet: Fleet,
    run: i64,
    worker: Worker,
    postgres: Proxy,
    redis: Proxy,
    rail: Proxy,
}

async fn in_the_middle_of_a_run() -> Middle {
    let options = FleetOptions { batch_size: 20, ..FleetOptions::default() };
    let mut fleet = Fleet::with_payouts(options, 1_000).await;
    fleet.faults(r#"{"latency_ms": 40, "latency_jitter_ms": 40}"#).await;
    let run = fleet.run("shop", "2026-01").await;
    let sandbox: SocketAddr = fleet.sandbox_url().trim_start_matches("http://").parse().unwrap();
    let postgres = Proxy::start(fleet.postgres.address()).await;
    let (redis, rail) = (Proxy::start(fleet.redis.address()).await, Proxy::start(sandbox).await);
    let worker = fleet.worker(&[
        "--calls",
        "8",
        "--call-timeout",
        "2s",
        "--drain",
        &format!("{}s", DRAIN.as_secs()),
        "--database-url",
        &format!("postgres://postgres@{}/payfleet", postgres.address()),
        "--redis-url",
        &format!("redis://{}/", redis.address()),
        "--sandbox-url",
        &format!("http://{}", rail.address()),
    ]);
    fleet.paid_at_least(100, LONG).await;
    wait_for("the worker to be ready", LONG, async || (worker.readiness().await.0 == 200).then_some(())).await;
    Middle { fleet, run, worker, postgres, redis, rail }
}

impl Middle {
    async fn not_ready(&self, because_of: &str) {
        wait_for("the worker to say that it is not ready", Duration::from_secs(20), async || {
            let (status, reason) = self.worker.readiness().await;
            (status == 503 && reason.contains(because_of)).then_some(())
        })
        .await;
    }

    /// Told to stop, it does; somebody else finishes the run.
    async fn stops_and_others_go_on(mut self) {
        self.worker.signal(Signal::TERM);
        let asked = Instant::now();
        let status = self.worker.process.ends_within(DRAIN + GRACE).await;
        assert!(status.is_some_and(|status| status.success()), "it ends within its drain and {GRACE:?}: {status:?}");
        println!("ended {:?} after it was asked to", asked.elapsed());
        let _others = self.fleet.workers(1);
        self.fleet.settled(self.run, LONG).await;
        self.fleet.assert_paid_exactly_once().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_whose_connections_to_postgres_fell_silent_makes_new_ones_and_goes_on() {
    let middle = in_the_middle_of_a_run().await;
    let paid = middle.fleet.stats().await["paid"].as_u64().unwrap();
    middle.postgres.strand();
    let stranded = Instant::now();
    middle.fleet.paid_at_least(paid + 150, Duration::from_secs(40)).await;
    println!("going on {:?} after the connections fell silent", stranded.elapsed());
    assert!(middle.fleet.worker_logs().contains("fell silent"), "it is said");
    middle.fleet.settled(middle.run, LONG).await;
    middle.fleet.assert_paid_exactly_once().await;
    middle.fleet.assert_reconciled(middle.run).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_an_answer_of_postgres_a_worker_says_so_and_stops_when_it_is_told_to() {
    let middle = in_the_middle_of_a_run().await;
    middle.postgres.set(Weather::HalfOpen);
    middle.not_ready("Postgres").await;
    middle.stops_and_others_go_on().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_an_answer_of_redis_a_worker_says_so_and_stops_when_it_is_told_to() {
    let middle = in_the_middle_of_a_run().await;
    middle.redis.set(Weather::HalfOpen);
    middle.not_ready("Redis").await;
    middle.stops_and_others_go_on().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_an_answer_of_the_rail_a_worker_stops_when_it_is_told_to() {
    let middle = in_the_middle_of_a_run().await;
    middle.rail.set(Weather::HalfOpen);
    let open = "SELECT count(*) FROM attempt WHERE result IS NULL";
    wait_for("calls under way", LONG, async || {
        (sqlx::query_scalar::<_, i64>(open).fetch_one(&middle.fleet.database).await.ok()? > 0).then_some(())
    })
    .await;
    middle.stops_and_others_go_on().await;
}

/// The primary falls silent, the name leads to its standby, and that is promoted a while later. The standby has all
/// that was confirmed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_to_a_standby_loses_no_answer_and_pays_nobody_twice() {
    // Of this rail an answer that is lost is a payout that two people must decide about.
    let sandbox = ["--statement-after", "0s"].map(String::from).to_vec();
    let options = FleetOptions {
        paypal: "sandbox-file",
        sepa: "sandbox-file",
        sandbox,
        batch_size: 20,
        ..FleetOptions::default()
    };
    let mut fleet = Fleet::with_payouts(options, 1_000).await;
    fleet.faults(r#"{"latency_ms": 40, "latency_jitter_ms": 40}"#).await;
    let run = fleet.run("shop", "2026-01").await;
    let mut standby = fleet.postgres.standby().await;
    let way = Proxy::start(fleet.postgres.address()).await;
    let database = format!("postgres://postgres@{}/payfleet", way.address());
    let worker = fleet.worker(&["--calls", "8", "--database-url", &database]);
    fleet.paid_at_least(100, LONG).await;
    wait_for("the worker to be ready", LONG, async || (worker.readiness().await.0 == 200).then_some(())).await;
    way.strand();
    way.lead_to(standby.address());
    fleet.postgres.kill();
    std::mem::swap(&mut fleet.postgres, &mut standby);
    let failed = Instant::now();
    wait_for("the worker to say that nothing can be written", Duration::from_secs(30), async || {
        let (status, reason) = worker.readiness().await;
        (status == 503 && reason.contains("takes no writes")).then_some(())
    })
    .await;
    println!("not ready {:?} after the primary fell silent", failed.elapsed());
    fleet.postgres.promote().await;
    let promoted = Instant::now();
    fleet.database = sqlx::PgPool::connect(&fleet.postgres.url("payfleet")).await.unwrap();
    let count =
        async |query: &'static str| sqlx::query_scalar::<_, i64>(query).fetch_one(&fleet.database).await.unwrap();
    let known = "SELECT count(*) FROM payout WHERE state IN ('accepted', 'paid', 'held')";
    wait_for("everybody to be sent", LONG, async || (count(known).await == 1_000).then_some(())).await;
    println!("everybody was sent {:?} after the promotion", promoted.elapsed());
    // Held is only what an intent was confirmed for by nobody: nothing was sent, and over this rail two people say so.
    let held: Vec<i64> = sqlx::query_scalar("SELECT payout_id FROM hold").fetch_all(&fleet.database).await.unwrap();
    let journal = fleet.journal().await;
    let lost = journal.iter().filter(|line| line.event == "paid" && held.contains(&line.payout())).count();
    assert_eq!(lost, 0, "answers were lost; {} payouts are held", held.len());
    wait_for("the worker to be ready", LONG, async || (worker.readiness().await.0 == 200).then_some(())).await;
    // What was accepted is told by the statement.
    wait_for("the run to be over", LONG, async || {
        fleet.watch_once();
        matches!(fleet.state(run).await.as_str(), "settled" | "reconciled").then_some(())
    })
    .await;
    let verdict = fleet.verdict().await;
    assert_eq!((verdict.twice.len(), verdict.wrong.len(), verdict.unpaid.len()), (0, 0, held.len()));
}
