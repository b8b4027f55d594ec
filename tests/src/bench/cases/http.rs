//! The sandbox rail over HTTP: whether calls are made as fast as concurrency and latency allow.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::bench::Bench;
use crate::bench::data::{Commissions, Data, TENANT, rail_set};
use crate::bench::limit::limit;
use crate::bench::report::{Goal, Unit};
use crate::bench::run::{Taken, Worker, take, workers_start};
use crate::bench::site::Site;
use crate::bench::usage::cpu_secs;
use crate::process::{Process, free_port, wait_for};

const CASE: &str = "http";

/// What the sandbox waits before each answer: with the ticks of its clock and the way to it, a call takes 20 ms.
const FAULTS: &str = r#"{"latency_ms":18}"#;

const CONCURRENCY: f64 = 64.0;

/// How often the sandbox is asked how many calls it had; asking costs it some.
const LOOK: Duration = Duration::from_millis(100);

/// A sandbox that takes 20 ms for each call.
struct Sandbox {
    process: Process,
    url: String,
}

impl Sandbox {
    async fn start(site: &Site, name: &str) -> Sandbox {
        let address = format!("127.0.0.1:{}", free_port());
        let mut command = site.program("payfleet-sandbox", "postgres");
        command.args(["--listen", &address, "--data-dir", name, "--faults", FAULTS]);
        let process = Process::start("payfleet-sandbox", &mut command, &site.folder().join("sandbox.log"));
        let sandbox = Sandbox { process, url: format!("http://{address}") };
        wait_for("the sandbox", Duration::from_secs(20), async || sandbox.stats(site).await).await;
        sandbox
    }

    async fn stats(&self, site: &Site) -> Option<Value> {
        site.http.get(format!("{}/stats", self.url)).send().await.ok()?.json().await.ok()
    }

    async fn count(&self, site: &Site, what: &str) -> f64 {
        let stats = self.stats(site).await.expect("the sandbox answers");
        stats[what].as_f64().expect("a count")
    }
}

/// What came of a run over the sandbox.
struct Called {
    taken: Taken,
    /// Calls a second between a tenth and nine tenths of all.
    per_sec: f64,
    /// Seconds of a call, as the workers saw it.
    call_secs: f64,
    requests: f64,
    sandbox_cpu_secs: f64,
}

/// A run over a sandbox of its own.
async fn call(site: &Site, data: &Data, rail: &str, workers: usize, arguments: &[&str]) -> Called {
    let sandbox = Sandbox::start(site, &format!("{rail}-{workers}-{}", data.payouts)).await;
    rail_set(site, &data.database, TENANT, rail).await;
    data.reset(site).await;
    let arguments: Vec<&str> = arguments.iter().copied().chain(["--sandbox-url", &sandbox.url]).collect();
    let mut fleet = workers_start(site, &data.database, workers, &arguments).await;
    let mut seen: Vec<(f64, f64)> = Vec::new();
    let since = Instant::now();
    let spent = cpu_secs(sandbox.process.id());
    let look = async |_: &mut Vec<Worker>| {
        let at = since.elapsed();
        if seen.last().is_none_or(|(last, _)| at.as_secs_f64() - last >= LOOK.as_secs_f64()) {
            seen.push((at.as_secs_f64(), sandbox.count(site, "paid").await));
        }
    };
    let taken = take(site, data, &mut fleet, look).await;
    let sandbox_cpu_secs = cpu_secs(sandbox.process.id()) - spent;
    let (mut secs, mut calls) = (0.0, 0.0);
    for worker in &fleet {
        let text = metrics(site, worker).await;
        let value = |part: &str| -> f64 {
            let name = format!("payfleet_call_seconds_{part}{{");
            let lines = text.lines().filter(|line| line.starts_with(&name) && line.contains(r#"call="submit""#));
            lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
        };
        secs += value("sum");
        calls += value("count");
    }
    let (paid, requests) = (sandbox.count(site, "paid").await, sandbox.count(site, "requests").await);
    assert_eq!(paid, data.payouts as f64, "the sandbox did not pay everybody once");
    let middle: Vec<&(f64, f64)> = seen.iter().filter(|(_, n)| *n >= paid / 10.0 && *n <= paid * 9.0 / 10.0).collect();
    let per_sec = match (middle.first(), middle.last()) {
        (Some(first), Some(last)) if last.0 > first.0 => (last.1 - first.1) / (last.0 - first.0),
        _ => paid / taken.seconds.settle,
    };
    Called { taken, per_sec, call_secs: secs / calls, requests, sandbox_cpu_secs }
}

async fn metrics(site: &Site, worker: &Worker) -> String {
    let answer = site.http.get(format!("http://127.0.0.1:{}/metrics", worker.admin)).send().await;
    answer.expect("the worker answers").text().await.expect("metrics are text")
}

/// One payout a call, then one batch a call.
pub async fn measure(bench: &mut Bench) {
    let site = &bench.site;
    let few = Data::make(site, "http_few", 200, Commissions::One, "2026-01").await;
    let alone = call(site, &few, "sandbox-payout", 1, &["--calls", "1", "--concurrency", "1"]).await;
    few.drop(site).await;

    let data = Data::make(site, "http", bench.size(60_000), Commissions::One, "2026-01").await;
    let each = call(site, &data, "sandbox-payout", 2, &["--concurrency", "64", "--calls", "64"]).await;
    data.drop(site).await;

    let data = Data::make(site, "http_batch", bench.size(200_000), Commissions::One, "2026-01").await;
    let before = limit(site, &data).await.total();
    let batch = call(site, &data, "sandbox-batch", 2, &["--concurrency", "64"]).await;
    let after = limit(site, &data).await.total();
    data.drop(site).await;

    let report = &mut bench.report;
    // Little's law: calls a second are calls in flight by the seconds that a call takes where nothing disturbs it.
    let allowed = 2.0 * CONCURRENCY / alone.call_secs;
    report.shown(CASE, "a call, one at a time", alone.call_secs * 1e3, Unit::Millis);
    report.shown(CASE, "a call, 128 at a time", each.call_secs * 1e3, Unit::Millis);
    report.shown(CASE, "calls, one payout each", each.per_sec, Unit::PerSecond);
    let share = each.per_sec / allowed * 100.0;
    report.judged(CASE, "of what 128 calls at that time allow", share, Unit::Percent, Goal::AtLeast(95.0));
    let share = each.per_sec * each.call_secs / (2.0 * CONCURRENCY) * 100.0;
    report.shown(CASE, "of what 128 calls at the time that they took allow", share, Unit::Percent);
    let secs = each.taken.seconds.total();
    report.shown(CASE, "60,000 over the payout shape", secs, Unit::Seconds);
    let fleet: f64 = each.taken.workers.iter().map(|worker| worker.cpu_secs).sum();
    report.shown(CASE, "cores that the workers used", fleet / secs, Unit::Count);
    report.shown(CASE, "cores that the sandbox used", each.sandbox_cpu_secs / secs, Unit::Count);
    report.shown(CASE, "cores that Postgres used", each.taken.postgres_cpu_secs / secs, Unit::Count);
    report.shown(CASE, "200,000 over the batch shape", batch.taken.seconds.total(), Unit::Seconds);
    let ratio = batch.taken.seconds.total() / f64::midpoint(before, after);
    report.shown(CASE, "the same, in limits", ratio, Unit::Times);
    let per_request = batch.taken.payouts as f64 / batch.requests;
    report.shown(CASE, "payouts per request, polls among them", per_request, Unit::Count);
}
