//! What must not be seen where it is not asked for: secrets, names and addresses of payees, and amounts. Not in logs,
//! not in metrics, not in the list of processes, and not in Redis.

use std::fmt::Write as _;
use std::time::Duration;

use deadpool_redis::redis::{self, Value};
use payfleet_tests::{Fleet, FleetOptions, wait_for};
use rustix::process::Signal;

const LONG: Duration = Duration::from_secs(90);
const PAYEES: usize = 60;
/// Each stands for a kind: passwords of both servers, a rail's credential, a name, an address, an amount in units and
/// in minor units.
const CANARIES: [&str; 7] =
    ["canary-password", "canary-lock", "canary-credential", "Nightingale", "canary-address", "31415.92", "3141592"];

fn nowhere_in(what: &str, text: &str) {
    for canary in CANARIES {
        assert!(
            !text.contains(canary),
            "{canary} is in {what}: {}",
            text.lines().find(|line| line.contains(canary)).unwrap_or("")
        );
    }
}

async fn fleet_of_canaries() -> Fleet {
    let options = FleetOptions { paypal: "sandbox-lookup", batch_size: 5, ..FleetOptions::default() };
    let fleet = Fleet::start(options).await;
    let mut affiliates = "affiliate_id,name,email,country,currency,method,destination\n".to_owned();
    let mut commissions = "commission_id,affiliate_id,order_ref,amount,currency,earned_at,kind\n".to_owned();
    for n in 0..PAYEES {
        let method = ["paypal", "sepa"][n % 2];
        let destination = match method {
            "paypal" => format!("canary-address-{n}@example.com"),
            _ => "DE89370400440532013000".to_owned(),
        };
        writeln!(affiliates, "A{n},Nightingale {n},canary-address-{n}@example.com,DE,EUR,{method},{destination}")
            .unwrap();
        writeln!(commissions, "C{n},A{n},,31415.92,EUR,2026-01-05T00:00:00Z,sale").unwrap();
    }
    for (kind, text) in [("affiliates", affiliates), ("commissions", commissions)] {
        let file = fleet.folder().join(format!("{kind}.csv"));
        std::fs::write(&file, text).unwrap();
        fleet.must(&["import", kind, "--tenant", "shop", file.to_str().unwrap()]);
    }
    for (method, rail) in [("paypal", "sandbox-lookup"), ("sepa", "sandbox-payout")] {
        let set = ["rails", "set", "--tenant", "shop", "--method", method, "--rail", rail, "--account", "shop"];
        fleet.must(&[&set[..], &["--credential", "CANARY"]].concat());
    }
    fleet
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_no_address_and_no_amount_is_seen_by_the_way() {
    let mut fleet = fleet_of_canaries().await;
    let mut redis = fleet.redis.connection().await.unwrap();
    let user = ["SETUSER", "canary", "on", ">canary-lock", "allkeys", "allchannels", "allcommands"];
    let _: Value = redis::cmd("ACL").arg(&user[..]).query_async(&mut redis).await.unwrap();
    let database = format!("postgres://postgres:canary-password@{}/payfleet", fleet.postgres.address());
    let queue = format!("redis://canary:canary-lock@{}/", fleet.redis.address());
    let variables = [
        ("PAYFLEET_DATABASE_URL", database.as_str()),
        ("PAYFLEET_REDIS_URL", queue.as_str()),
        ("PAYFLEET_RAIL_CREDENTIAL_CANARY", "canary-credential"),
    ];
    // Everything that a worker has words for.
    fleet
        .faults(
            r#"{"latency_ms": 50, "garble": 0.1, "error_after": 0.1, "error_before": 0.1, "lose_answer": 0.1,
        "rate_limit": 0.1, "refuse": {"account_closed": 0.1}, "lie": {"amount": 0.1, "destination": 0.1}}"#,
        )
        .await;
    let mut dies = fleet.worker_with(&variables, &["--calls", "2"]);
    let run = fleet.run("shop", "2026-01").await;
    wait_for("calls", LONG, async || (fleet.stats().await["paid"].as_u64()? > 5).then_some(())).await;
    dies.process.kill();
    let mut worker = fleet.worker_with(&variables, &[]);
    // One that finds no server at its start ends.
    wait_for("the worker to be ready", LONG, async || worker.log().contains("ready: ").then_some(())).await;
    fleet.postgres.kill();
    tokio::time::sleep(Duration::from_secs(1)).await; // it says what it has to say about that
    fleet.postgres.restart().await;
    fleet.redis.kill();
    fleet.redis.restart().await;
    wait_for("the run to be over", LONG, async || {
        let open = fleet.payout_states(run).await.iter().any(|(state, _)| state == "planned" || state == "unknown");
        (!open).then_some(())
    })
    .await;
    let said = fleet.reconcile(run, &[]);
    nowhere_in("the reconciler's log", &said.stderr);
    nowhere_in("metrics", &fleet.metrics(worker.admin).await);
    let line = std::fs::read(format!("/proc/{}/cmdline", worker.process.id())).unwrap();
    nowhere_in("the list of processes", &String::from_utf8_lossy(&line));
    worker.signal(Signal::TERM);
    assert!(worker.process.ends_within(LONG).await.is_some_and(|status| status.success()), "{}", worker.log());
    let logs = fleet.worker_logs();
    assert!(logs.contains("WARN"), "it had something to say");
    nowhere_in("a worker's log", &logs);
    // All that was ever written there: whoever reads a dump of it reads this.
    let written = fleet.redis.everything_written();
    assert!(written.contains("payfleet:hints:"), "hints were written");
    nowhere_in("Redis", &written);
}
