//! Why nothing is paid: what a worker lacks it says on its own port and in Postgres, and `status` names it for each
//! batch that waits.

use std::time::Duration;

use payfleet_tests::{Fleet, FleetOptions, wait_for};
use rustix::process::Signal;

const LONG: Duration = Duration::from_secs(120);

fn reasons(fleet: &Fleet, run: i64) -> Vec<String> {
    let status: serde_json::Value = serde_json::from_str(&fleet.must(&["status", &run.to_string(), "--json"])).unwrap();
    let waits = status["waits"].as_array().unwrap();
    waits.iter().map(|wait| wait["reason"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_credential_that_no_worker_can_read_is_named_until_one_can() {
    let mut fleet = Fleet::with_payouts(FleetOptions::default(), 20).await;
    let set = |method: &str, rail: &str, more: &[&str]| {
        let args = ["rails", "set", "--tenant", "shop", "--method", method, "--rail", rail, "--account", "shop"];
        fleet.must(&[&args[..], more].concat());
    };
    for method in ["paypal", "sepa"] {
        set(method, "sandbox-payout", &["--credential", "ABSENT"]);
    }
    let poor = fleet.worker(&[]);
    let told = wait_for("the worker to say that it can pay nothing", LONG, async || {
        let (code, told) = poor.readiness().await;
        (code == 503 && told.contains("ABSENT")).then_some(told)
    })
    .await;
    assert!(told.contains("PAYFLEET_RAIL_CREDENTIAL_ABSENT; it could pay nothing"), "{told}");
    let run = fleet.run("shop", "2026-01").await;
    wait_for("status to name it", LONG, async || {
        let reasons = reasons(&fleet, run);
        (!reasons.is_empty() && reasons.iter().all(|reason| reason == "credential_missing")).then_some(())
    })
    .await;
    let text = fleet.must(&["status"]);
    assert!(
        text.contains("no worker can read the credential ABSENT") && text.contains(" cannot read ABSENT"),
        "{text}"
    );
    // Something that it can pay: it is ready, and says what it lacks all the same.
    let args =
        ["rails", "set", "--tenant", "shop", "--method", "other", "--rail", "sandbox-lookup", "--account", "shop"];
    fleet.must(&args);
    wait_for("it to be ready", LONG, async || {
        let (code, told) = poor.readiness().await;
        (code == 200 && told.starts_with("ready; cannot read credentials that are used: ")).then_some(())
    })
    .await;
    let _rich = fleet.worker_with(&[("PAYFLEET_RAIL_CREDENTIAL_ABSENT", "here")], &[]);
    fleet.settled(run, LONG).await;
    fleet.assert_paid_exactly_once().await;
    // Who ends says so: nobody waits for the time after which the silent count as dead.
    poor.signal(Signal::TERM);
    wait_for("it to leave", LONG, async || {
        let left: i64 = sqlx::query_scalar("SELECT count(*) FROM worker").fetch_one(&fleet.database).await.unwrap();
        (left == 1).then_some(())
    })
    .await;
}
