//! What a fleet uses that has nothing to do.

use std::time::{Duration, Instant};

use crate::bench::Bench;
use crate::bench::report::{Goal, Unit};
use crate::bench::run::workers_start;
use crate::bench::statements::{calls, counted, not_counted, top};
use crate::bench::usage::{cpu_secs, cpu_secs_of_family};

const CASE: &str = "idle";

const WORKERS: usize = 10;

/// Connections are opened and streams made in this time; it is not idle yet.
const SETTLE: Duration = Duration::from_secs(5);

const WATCHED: Duration = Duration::from_secs(30);

/// Ten workers for half a minute.
pub async fn measure(bench: &mut Bench) {
    let data = bench.plain(bench.size(10_000)).await;
    let site = &bench.site;
    data.reset(site).await;
    counted(site, &data.database).await;
    let workers = workers_start(site, &data.database, WORKERS, &[]).await;
    tokio::time::sleep(SETTLE).await;
    let spent = || workers.iter().map(|worker| cpu_secs(worker.process.id())).collect::<Vec<_>>();
    let servers = || cpu_secs_of_family(site.postgres.id()) + cpu_secs_of_family(site.redis.id());
    let (since, before, servers_before) = (Instant::now(), spent(), servers());
    let calls_before = calls(site, &data.database).await;
    tokio::time::sleep(WATCHED).await;
    let (after, servers_after, secs) = (spent(), servers(), since.elapsed().as_secs_f64());
    let calls = calls(site, &data.database).await - calls_before;
    let statements = top(site, &data.database, CASE).await;
    drop(workers);
    not_counted(site, &data.database).await;

    let share = |cpu: f64| cpu / secs * 100.0;
    let most = before.iter().zip(&after).map(|(before, after)| share(after - before)).fold(0.0, f64::max);
    let report = &mut bench.report;
    report.judged(CASE, "the busiest of 10 workers, of one core", most, Unit::Percent, Goal::Below(1.0));
    report.shown(CASE, "Postgres and Redis, of one core", share(servers_after - servers_before), Unit::Percent);
    let per_sec = calls as f64 / secs;
    report.judged(CASE, "statements in all", per_sec, Unit::PerSecond, Goal::Below(20.0));
    report.statements(statements);
}
