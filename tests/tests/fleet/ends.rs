//! A worker that is asked to end does, whoever asks and whatever is away, and loses no answer. The judge is the
//! sandbox's journal.

use std::time::{Duration, Instant};

use payfleet_tests::proxy::{Proxy, Weather};
use payfleet_tests::{Fleet, FleetOptions, wait_for};
use rustix::process::Signal;

const LONG: Duration = Duration::from_secs(180);
const DRAIN: Duration = Duration::from_secs(5);
const GRACE: Duration = Duration::from_secs(5);

async fn count(fleet: &Fleet, query: &'static str) -> i64 {
    sqlx::query_scalar(query).fetch_one(&fleet.database).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_signal_that_asks_for_the_end_gets_a_good_one() {
    let mut fleet = Fleet::with_payouts(FleetOptions { batch_size: 50, ..FleetOptions::default() }, 2_000).await;
    fleet.faults(r#"{"latency_ms": 40}"#).await;
    let run = fleet.run("shop", "2026-01").await;
    let mut paid = 0;
    for signal in [Signal::TERM, Signal::INT, Signal::HUP, Signal::QUIT] {
        let mut worker = fleet.worker(&["--calls", "8"]);
        fleet.paid_at_least(paid + 20, LONG).await;
        worker.signal(signal);
        let status = worker.process.ends_within(Duration::from_secs(20)).await;
        assert!(status.is_some_and(|status| status.success()), "{signal:?}: {status:?}");
        let leased = "SELECT count(*) FROM batch WHERE lease_until > clock_timestamp()";
        assert_eq!(count(&fleet, leased).await, 0, "{signal:?} left something leased");
        paid = fleet.stats().await["paid"].as_u64().unwrap();
    }
    assert_ne!(fleet.state(run).await, "settled", "each came in the middle of the run");
    let _worker = fleet.workers(1);
    fleet.settled(run, LONG).await;
    fleet.assert_paid_exactly_once().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_whose_log_nobody_reads_pays_and_ends_when_it_is_told_to() {
    let mut fleet = Fleet::with_payouts(FleetOptions { batch_size: 20, ..FleetOptions::default() }, 1_000).await;
    let run = fleet.run("shop", "2026-01").await;
    let mut worker = fleet.worker_unread(&["--log", "trace"]); // far more than a pipe holds
    fleet.settled(run, LONG).await;
    worker.signal(Signal::TERM);
    let asked = Instant::now();
    let status = worker.process.ends_within(Duration::from_secs(25)).await;
    assert!(status.is_some_and(|status| status.success()), "{status:?}");
    println!("ended {:?} after it was asked to", asked.elapsed());
    fleet.assert_paid_exactly_once().await;
    fleet.assert_reconciled(run).await;
}

/// Over a rail that can neither be asked nor called again: an answer that is lost is a payout that two people must
/// decide about.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_cannot_be_recorded_at_the_end_are_recorded_by_the_next_worker() {
    let options =
        FleetOptions { paypal: "sandbox-file", sepa: "sandbox-file", batch_size: 50, ..FleetOptions::default() };
    let mut fleet = Fleet::with_payouts(options, 200).await;
    fleet.faults(r#"{"latency_ms": 1500}"#).await;
    fleet.run("shop", "2026-01").await;
    let way = Proxy::start(fleet.postgres.address()).await;
    let database = format!("postgres://postgres@{}/payfleet", way.address());
    let drain = format!("{}s", DRAIN.as_secs());
    let mut worker = fleet.worker(&["--database-url", &database, "--drain", &drain]);
    let open = "SELECT count(*) FROM attempt WHERE result IS NULL";
    wait_for("calls under way", LONG, async || (count(&fleet, open).await > 0).then_some(())).await;
    way.set(Weather::HalfOpen);
    wait_for("answers that cannot be recorded", LONG, async || {
        worker.log().contains("cannot be recorded yet").then_some(())
    })
    .await;
    worker.signal(Signal::TERM);
    let status = worker.process.ends_within(DRAIN + GRACE).await;
    assert!(status.is_some_and(|status| status.success()), "it ends within its drain and {GRACE:?}: {status:?}");
    let files = || std::fs::read_dir(fleet.state_dir()).unwrap().flatten().map(|file| file.path()).collect::<Vec<_>>();
    let answers = |path: &std::path::PathBuf| path.file_name().unwrap().to_str().unwrap().starts_with("answers-");
    let kept: Vec<_> = files().into_iter().filter(answers).collect();
    assert_eq!(kept.len(), 1, "{kept:?}");
    let text = std::fs::read_to_string(&kept[0]).unwrap();
    assert!(!text.contains('@'), "no destination is in it");
    assert!(count(&fleet, open).await > 0, "nobody has recorded them");
    let _next = fleet.worker(&[]);
    let known = "SELECT count(*) FROM payout WHERE state IN ('accepted', 'paid', 'held')";
    wait_for("everybody to be known", LONG, async || (count(&fleet, known).await == 200).then_some(())).await;
    // Held is only what an intent was confirmed for by nobody, and nothing was sent of it.
    let held: Vec<i64> = sqlx::query_scalar("SELECT payout_id FROM hold").fetch_all(&fleet.database).await.unwrap();
    let journal = fleet.journal().await;
    let lost = journal.iter().filter(|line| line.event == "paid" && held.contains(&line.payout())).count();
    assert_eq!(lost, 0, "answers were lost; {} payouts are held", held.len());
    assert!(held.len() < 200, "answers were recorded");
    wait_for("the file to go", LONG, async || (!kept[0].exists()).then_some(())).await;
    assert!(fleet.worker_logs().contains("recorded the answers"), "it is said");
}
