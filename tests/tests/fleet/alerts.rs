//! A real Prometheus with the rules of deploy/ over real programs: what goes away is told by its alert, and the alert
//! ends when it is back. The waits of the rules are made seconds; what they do over minutes is tried over recorded
//! series (deploy/alerts.test.yml).

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

use payfleet_tests::{Fleet, FleetOptions, Process, free_port, wait_for};
use serde_json::Value;

const LONG: Duration = Duration::from_secs(60);

const RULES: &str = include_str!("../../../deploy/alerts.yml");

struct Prometheus {
    _process: Process,
    port: u16,
    http: reqwest::Client,
}

impl Prometheus {
    /// Scrapes a worker and a reconciler each second.
    fn start(fleet: &Fleet, worker: u16, reconciler: u16) -> Prometheus {
        let minutes = |line: &str| match line.trim_start().strip_prefix("for:") {
            Some(_) => line.split("for:").next().unwrap_or_default().to_owned() + "for: 2s",
            None => ["30m", "10m", "5m", "1h"].iter().fold(line.to_owned(), |line, window| {
                line.replace(&format!("[{window}]"), "[10s]").replace(&format!("offset {window}"), "offset 10s")
            }),
        };
        let rules: Vec<String> = RULES.lines().map(minutes).collect();
        let folder = fleet.folder().join("prometheus");
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("alerts.yml"), rules.join("\n")).unwrap();
        let job = |name: &str, port: u16| {
            format!("  - job_name: {name}\n    static_configs:\n      - targets: ['127.0.0.1:{port}']\n")
        };
        let settings = format!(
            "global:\n  scrape_interval: 1s\n  evaluation_interval: 1s\n\
             rule_files: [alerts.yml]\n\
             scrape_configs:\n\
             {}{}",
            job("payfleet-worker", worker),
            job("payfleet-reconciler", reconciler)
        );
        std::fs::write(folder.join("prometheus.yml"), settings).unwrap();
        let port = free_port();
        let mut command = Command::new("prometheus");
        command.current_dir(&folder).args(["--config.file=prometheus.yml", "--storage.tsdb.path=data"]);
        command.arg(format!("--web.listen-address=127.0.0.1:{port}"));
        let process = Process::start("prometheus", &mut command, &fleet.folder().join("prometheus.log"));
        Prometheus { _process: process, port, http: payfleet_tests::http_client().build().unwrap() }
    }

    async fn firing(&self) -> Option<BTreeSet<String>> {
        let url = format!("http://127.0.0.1:{}/api/v1/alerts", self.port);
        let answer: Value = self.http.get(url).send().await.ok()?.json().await.ok()?;
        let alerts = answer["data"]["alerts"].as_array()?.iter().filter(|alert| alert["state"] == "firing");
        Some(alerts.filter_map(|alert| alert["labels"]["alertname"].as_str().map(str::to_owned)).collect())
    }

    /// Waits until just these fire, and perhaps some of the others.
    async fn fire(&self, what: &str, alerts: &[&str], perhaps: &[&str]) {
        let wanted: BTreeSet<String> = alerts.iter().map(|alert| (*alert).to_owned()).collect();
        let others: BTreeSet<String> = perhaps.iter().map(|alert| (*alert).to_owned()).collect();
        let mut last = BTreeSet::new();
        wait_for(&format!("{what}: {wanted:?}"), LONG, async || {
            let firing = self.firing().await?;
            if firing != last {
                println!("{what}: {firing:?}");
                last.clone_from(&firing);
            }
            (firing.is_superset(&wanted) && firing.difference(&wanted).all(|other| others.contains(other)))
                .then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_goes_away_is_told_by_its_alert_and_only_as_long_as_it_is_away() {
    let mut fleet = Fleet::with_payouts(FleetOptions { batch_size: 5, ..FleetOptions::default() }, 400).await;
    let mut worker = fleet.worker(&["--calls", "2"]);
    let (_watch, reconciler) = fleet.watch();
    let prometheus = Prometheus::start(&fleet, worker.admin, reconciler);
    wait_for("Prometheus to have looked", LONG, async || prometheus.firing().await.filter(BTreeSet::is_empty)).await;
    fleet.faults(r#"{"latency_ms": 500}"#).await;
    let run = fleet.run("shop", "2026-01").await;
    fleet.paid_at_least(10, LONG).await;
    prometheus.fire("all is well", &[], &[]).await;

    fleet.redis.kill();
    prometheus.fire("Redis is away", &["PayfleetRedisAway", "PayfleetNotReady"], &[]).await;
    fleet.redis.restart().await;
    prometheus.fire("Redis is back", &[], &[]).await;

    fleet.postgres.kill();
    let beside = ["PayfleetErrors", "PayfleetDatabaseSilent"];
    prometheus.fire("Postgres is away", &["PayfleetPostgresAway", "PayfleetNotReady"], &beside).await;
    fleet.postgres.restart().await;
    prometheus.fire("Postgres is back", &[], &[]).await;

    fleet.sandbox_kill();
    prometheus
        .fire("the rail is away", &["PayfleetRailAway"], &["PayfleetStatementsAway", "PayfleetManyUnknown"])
        .await;
    fleet.sandbox_start().await;
    fleet.faults(r#"{"latency_ms": 500}"#).await;
    prometheus.fire("the rail is back", &[], &["PayfleetManyUnknown"]).await;

    fleet.faults(r#"{"latency_ms": 0}"#).await;
    fleet.settled(run, LONG).await;
    fleet.assert_paid_exactly_once().await;
    worker.process.kill();
    prometheus.fire("the worker is gone", &["PayfleetNoWorkers"], &["PayfleetNotReady"]).await;
}
