//! Runs: one for each trigger however often it fires, tenants apart, the real data to the cent, and a stream with
//! something strange in it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use payfleet_tests::{Fleet, FleetOptions, Process};
use sqlx::Row;

const LONG: Duration = Duration::from_secs(240);

#[tokio::test]
async fn triggered_many_times_at_once_and_later_it_is_one_run() {
    let mut fleet = Fleet::with_payouts(FleetOptions::default(), 1_000).await;
    let trigger = ["run", "--tenant", "shop", "--period", "2026-01", "--chunk", "100"];
    let log = fleet.folder().join("triggers.log");
    let mut triggers: Vec<Process> =
        (0..4).map(|_| Process::start("coordinator", &mut fleet.coordinator_command(&trigger), &log)).collect();
    for process in &mut triggers {
        let status = process.wait(LONG);
        assert!(status.success(), "{status}: {}", std::fs::read_to_string(&log).unwrap());
    }
    let run = fleet.run_id("shop", "2026-01").await;
    let _workers = fleet.workers(2);
    fleet.must(&trigger);
    fleet.settled(run, LONG).await;
    fleet.must(&trigger);
    assert_eq!(fleet.run_id("shop", "2026-01").await, run);
    assert_eq!(fleet.verdict().await.planned, 1_000);
    fleet.assert_paid_exactly_once().await;
    fleet.assert_reconciled(run).await;
}

#[tokio::test]
async fn two_tenants_with_the_same_affiliates_do_not_meet() {
    let mut fleet = Fleet::with_payouts(FleetOptions::default(), 300).await;
    fleet.must(&["sample", "--plain", "--affiliates", "200", "--start", "2026-01", "--tenant", "mart"]);
    fleet.rails_set("mart");
    let shared: i64 = sqlx::query_scalar(
        "SELECT count(*)
           FROM affiliate a JOIN affiliate b ON a.external_id = b.external_id AND a.tenant_id < b.tenant_id",
    )
    .fetch_one(&fleet.database)
    .await
    .unwrap();
    assert_eq!(shared, 200, "the same names");
    let (shop, mart) = (fleet.run("shop", "2026-01").await, fleet.run("mart", "2026-01").await);
    let _workers = fleet.workers(2);
    fleet.settled(shop, LONG).await;
    fleet.settled(mart, LONG).await;
    fleet.assert_paid_exactly_once().await;
    assert_eq!(fleet.payout_states(shop).await, [("paid".to_owned(), 300)]);
    assert_eq!(fleet.payout_states(mart).await, [("paid".to_owned(), 200)]);
    fleet.assert_reconciled(shop).await;
    fleet.assert_reconciled(mart).await;
}

#[tokio::test]
async fn what_is_wrong_with_one_tenants_run_keeps_no_other_from_its_end() {
    let mut fleet = Fleet::with_payouts(FleetOptions::default(), 50).await;
    fleet.must(&["sample", "--plain", "--affiliates", "50", "--start", "2026-01", "--tenant", "mart"]);
    fleet.rails_set("mart");
    let (shop, mart) = (fleet.run("shop", "2026-01").await, fleet.run("mart", "2026-01").await);
    let broken = format!(
        "CREATE FUNCTION broken() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'broken'; END $$;
         CREATE TRIGGER broken BEFORE UPDATE ON run FOR EACH ROW
           WHEN (NEW.state = 'settled' AND NEW.id = {shop}) EXECUTE FUNCTION broken()"
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(broken)).execute(&fleet.database).await.unwrap();
    let _workers = fleet.workers(1);
    // The sweeper comes to the older run first, each time.
    fleet.settled(mart, LONG).await;
    assert_eq!(fleet.state(shop).await, "paying");
    sqlx::raw_sql("DROP TRIGGER broken ON run").execute(&fleet.database).await.unwrap();
    fleet.settled(shop, LONG).await;
    fleet.assert_paid_exactly_once().await;
}

#[tokio::test]
async fn a_small_run_does_not_wait_for_a_large_one() {
    let mut fleet = Fleet::with_payouts(FleetOptions { batch_size: 20, ..FleetOptions::default() }, 8_000).await;
    fleet.must(&["sample", "--plain", "--affiliates", "40", "--start", "2026-01", "--tenant", "kiosk"]);
    fleet.rails_set("kiosk");
    fleet.faults(r#"{"latency_ms": 400}"#).await;
    let large = fleet.run("shop", "2026-01").await;
    let _workers = fleet.workers(2);
    fleet.paid_at_least(200, LONG).await;
    let small = fleet.run("kiosk", "2026-01").await;
    fleet.settled(small, LONG).await;
    assert_eq!(fleet.state(large).await, "paying", "the large run is still going on");
    fleet.faults(r#"{"latency_ms": 0}"#).await;
    fleet.settled(large, LONG).await;
    fleet.assert_paid_exactly_once().await;
}

/// They are work in hand, not work that waits: with them counted, a worker with forty places got sixteen batches. Lease
/// and call are long, so that no hint is used up meanwhile by being taken over (after a quarter of a lease), or by a
/// call that is given up.
#[tokio::test]
async fn hints_in_hand_keep_nobody_from_work() {
    let mut fleet = Fleet::with_payouts(FleetOptions { batch_size: 5, ..FleetOptions::default() }, 200).await;
    fleet.faults(r#"{"latency_ms": 600000}"#).await; // nothing ends, so every hint that was read stays in hand
    let run = fleet.run("shop", "2026-01").await;
    let _worker = fleet.worker(&["--concurrency", "40", "--lease-ttl", "10m", "--call-timeout", "10m"]);
    payfleet_tests::wait_for("all batches to be leased", Duration::from_secs(60), async || {
        let leased = sqlx::query_scalar::<_, i64>(
            "SELECT count(*) FROM batch WHERE run_id = $1 AND lease_until > clock_timestamp()",
        );
        (leased.bind(run).fetch_one(&fleet.database).await.unwrap() == 40).then_some(())
    })
    .await;
}

#[tokio::test]
async fn paused_nothing_more_is_sent_and_resumed_it_ends() {
    let mut fleet = Fleet::with_payouts(FleetOptions { batch_size: 20, ..FleetOptions::default() }, 2_000).await;
    fleet.faults(r#"{"latency_ms": 40}"#).await;
    let run = fleet.run("shop", "2026-01").await;
    let _workers = fleet.workers(2);
    fleet.paid_at_least(100, LONG).await;
    fleet.must(&["pause", &run.to_string()]);
    payfleet_tests::wait_for("what is in flight", LONG, async || {
        let leased = sqlx::query_scalar::<_, i64>("SELECT count(*) FROM batch WHERE lease_until > clock_timestamp()");
        (leased.fetch_one(&fleet.database).await.unwrap() == 0).then_some(())
    })
    .await;
    let paid = fleet.stats().await["paid"].clone();
    assert!(paid.as_u64().unwrap() < 2_000);
    fleet.redis.flush_all().await; // whatever hints there were, they are not what keeps it from being paid
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(fleet.stats().await["paid"], paid);
    fleet.must(&["resume", &run.to_string()]);
    fleet.settled(run, LONG).await;
    fleet.assert_paid_exactly_once().await;
    fleet.assert_reconciled(run).await;
}

#[tokio::test]
async fn cancelled_what_was_not_sent_is_due_again() {
    let mut fleet = Fleet::with_payouts(FleetOptions { batch_size: 20, ..FleetOptions::default() }, 2_000).await;
    fleet.faults(r#"{"latency_ms": 40}"#).await;
    let run = fleet.run("shop", "2026-01").await;
    let _workers = fleet.workers(2);
    fleet.paid_at_least(100, LONG).await;
    fleet.must(&["cancel", &run.to_string()]);
    payfleet_tests::wait_for("what was under way", LONG, async || {
        let states = fleet.payout_states(run).await;
        states.iter().all(|(state, _)| state == "paid" || state == "cancelled").then_some(())
    })
    .await;
    let next = fleet.run("shop", "2026-02").await;
    fleet.faults(r#"{"latency_ms": 0}"#).await;
    fleet.settled(next, LONG).await;
    let verdict = fleet.verdict().await;
    assert_eq!((verdict.paid_once, verdict.twice.len(), verdict.wrong.len()), (2_000, 0, 0));
    fleet.assert_reconciled(next).await;
}

/// As XRANGE gives it: the entry's id and its fields.
type Entry = (String, Vec<(String, Vec<u8>)>);

/// The entries of a stream, oldest first.
async fn entries(connection: &mut deadpool_redis::redis::aio::MultiplexedConnection, stream: &str) -> Vec<Entry> {
    let mut read = deadpool_redis::redis::cmd("XRANGE");
    read.arg(stream).arg("-").arg("+").query_async(connection).await.unwrap()
}

#[tokio::test]
async fn a_hint_of_an_unknown_version_is_set_aside_whole() {
    let mut fleet = Fleet::with_payouts(FleetOptions::default(), 200).await;
    let mut connection = fleet.redis.connection().await.unwrap();
    let unknown = [9_u8, 0x91, 0x01];
    let mut add = deadpool_redis::redis::cmd("XADD");
    add.arg("payfleet:hints:sandbox-payout").arg("*").arg("h").arg(&unknown[..]);
    let entry: String = add.query_async(&mut connection).await.unwrap();
    let run = fleet.run("shop", "2026-01").await;
    let workers = fleet.workers(2);
    fleet.settled(run, LONG).await;
    drop(workers);
    assert_eq!(entries(&mut connection, "payfleet:hints:sandbox-payout").await, [], "it hides no work");
    let aside = entries(&mut connection, "payfleet:unreadable:sandbox-payout").await;
    let kept = [("entry".to_owned(), entry.into_bytes()), ("h".to_owned(), unknown.to_vec())];
    assert_eq!(
        aside.iter().map(|(_, fields)| fields.as_slice()).collect::<Vec<_>>(),
        [&kept[..]],
        "with where it stood and what it said"
    );
    assert!(fleet.worker_logs().contains("version 9"), "the log says so");
    fleet.assert_paid_exactly_once().await;
    fleet.assert_reconciled(run).await;
}

/// The 13 monthly runs of the Online Retail data, to the cent, as the rail's journal has them.
#[tokio::test]
async fn the_real_data_is_paid_to_the_cent() {
    let data = std::env::var_os("PAYFLEET_TEST_DATA").map_or_else(|| PathBuf::from("../../shared/data"), PathBuf::from);
    if !data.join("retail_commissions.csv").exists() {
        println!("skipped: {} has no retail data", data.display());
        return;
    }
    let options = FleetOptions {
        paypal: "sandbox-batch",
        batch_size: 500,
        sandbox: ["--batch-settle-after", "200ms"].map(String::from).to_vec(),
        ..FleetOptions::default()
    };
    let mut fleet = Fleet::start(options).await;
    let file = |name: &str| data.join(name).canonicalize().unwrap().to_str().unwrap().to_owned();
    fleet.must(&["import", "affiliates", "--tenant", "retail", &file("retail_affiliates.csv")]);
    fleet.must(&["import", "commissions", "--tenant", "retail", &file("retail_commissions.csv")]);
    fleet.rails_set("retail");
    let _workers = fleet.workers(2);

    let mut expected: BTreeMap<(String, String, String), String> = BTreeMap::new();
    let mut reader = csv::Reader::from_path(data.join("retail_expected_payouts.csv")).unwrap();
    for record in reader.records() {
        let record = record.unwrap();
        let key = (record[0].to_owned(), record[1].to_owned(), record[2].to_owned());
        assert!(expected.insert(key, record[3].to_owned()).is_none());
    }
    let periods: std::collections::BTreeSet<String> = expected.keys().map(|(period, _, _)| period.clone()).collect();
    assert_eq!((expected.len(), periods.len()), (10_398, 13));
    for period in &periods {
        let run = fleet.run("retail", period).await;
        fleet.settled(run, LONG).await;
        fleet.assert_reconciled(run).await;
    }
    fleet.assert_paid_exactly_once().await;

    let names: BTreeMap<i64, (String, String)> = sqlx::query(
        "SELECT p.id, r.period, a.external_id
           FROM payout p JOIN run r ON r.id = p.run_id JOIN affiliate a ON a.id = p.affiliate_id",
    )
    .fetch_all(&fleet.database)
    .await
    .unwrap()
    .iter()
    .map(|row| (row.get("id"), (row.get("period"), row.get("external_id"))))
    .collect();
    let mut paid: BTreeMap<(String, String, String), String> = BTreeMap::new();
    for movement in fleet.journal().await {
        let (period, affiliate) = names[&movement.key.split('-').next().unwrap().parse().unwrap()].clone();
        let currency: payfleet_domain::Currency = movement.currency.parse().unwrap();
        let amount = payfleet_domain::Money { minor: movement.amount_minor, currency }.to_decimal().to_string();
        assert!(paid.insert((period, affiliate, movement.currency), amount).is_none());
    }
    let wrong: Vec<_> = expected.iter().filter(|(key, amount)| paid.get(*key) != Some(*amount)).take(5).collect();
    assert!(
        wrong.is_empty() && paid.len() == expected.len(),
        "{} of {}, such as {wrong:?}",
        paid.len(),
        expected.len()
    );
}
