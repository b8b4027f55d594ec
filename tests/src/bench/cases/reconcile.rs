//! Comparing a run of 1,000,000 payouts with a statement of as many lines.

use crate::bench::Bench;
use crate::bench::report::{Goal, Unit};
use crate::bench::run::{take, watch, workers_start};

const CASE: &str = "reconcile";

/// What the rail would send, were it a real one.
const STATEMENT: &str = r#"\copy (SELECT substr(p.reference, 6) AS key, p.reference, p.amount_minor, p.currency, m.destination, 'paid' AS status, to_char(p.settled_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') AS at FROM payout p JOIN payout_method m ON m.id = p.method_id ORDER BY p.id) TO 'statement.csv' (FORMAT csv, HEADER)"#;

/// A run over null, then its statement, then the reconciler.
pub async fn measure(bench: &mut Bench) {
    let data = bench.plain(bench.size(1_000_000)).await;
    let site = &bench.site;
    data.reset(site).await;
    let mut workers = workers_start(site, &data.database, 2, &[]).await;
    let run = take(site, &data, &mut workers, async |_| ()).await;
    drop(workers);
    site.execute(&data.database, STATEMENT).await;
    site.execute(&data.database, "CHECKPOINT").await;
    let mut command = site.program("payfleet-reconciler", &data.database);
    command.args(["run", &run.run.to_string(), "--statement", "statement.csv"]);
    let watched = watch(site, "payfleet-reconciler", command).await;
    let reconciled = sqlx::query_scalar("SELECT state FROM run WHERE id = $1").bind(run.run).fetch_one(&data.pool);
    let state: String = reconciled.await.expect("the run is there");
    assert_eq!(state, "reconciled", "the reconciler found differences where there are none");
    data.reset(site).await;
    let report = &mut bench.report;
    report.shown(CASE, "1,000,000 over null", run.seconds.total(), Unit::Seconds);
    report.shown(CASE, "reconciling it", watched.secs, Unit::Seconds);
    let ratio = watched.secs / run.seconds.total();
    report.judged(CASE, "reconciling against the run", ratio, Unit::Times, Goal::AtMost(0.25));
    let peak = watched.used.peak_kib as f64 / 1024.0;
    report.judged(CASE, "peak memory of the reconciler", peak, Unit::Mib, Goal::AtMost(24.0));
}
