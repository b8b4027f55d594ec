//! Comparing a run of 1,000,000 payouts with a statement of as many lines.

use std::time::Duration;

use crate::bench::Bench;
use crate::bench::data::Data;
use crate::bench::report::{Goal, Unit};
use crate::bench::run::{Watched, take, watch, workers_start};
use crate::bench::site::Site;

const CASE: &str = "reconcile";

/// `null` has no statement, and nobody's word that it paid. So that there is something to compare, the run counts as
/// paid over a rail that has one.
const OVER_A_RAIL: &str =
    "SET session_replication_role = replica; UPDATE batch SET rail = 'sandbox-payout' WHERE run_id = :run;";

/// What that rail would send: a line for each payout, and how far it reaches.
const STATEMENT: &str = concat!(
    r#"CREATE TEMP VIEW statement AS
  SELECT p.id, substr(p.reference, 6) AS key, p.reference, p.amount_minor::text AS amount_minor,
         p.currency::text AS currency, m.destination, 'paid' AS status,
         to_char(p.settled_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') AS at
    FROM payout p JOIN payout_method m ON m.id = p.method_id WHERE p.run_id = :run
  UNION ALL
  SELECT 9223372036854775807, '#end', 'sandbox-payout/bench',
         (SELECT count(*) FROM payout WHERE run_id = :run)::text, '', '2000-01-01T00:00:00Z', 'complete',
         to_char((now() + interval '5 minutes') AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"');
"#,
    // psql takes its own commands up to the end of the line.
    r"\copy (SELECT key, reference, amount_minor, currency, destination, status, at FROM statement ORDER BY id) ",
    "TO 'statement.csv' (FORMAT csv, HEADER)\n"
);

/// A run over null, then its statement, then the reconciler.
pub async fn measure(bench: &mut Bench) {
    let data = bench.plain(bench.size(1_000_000)).await;
    let site = &bench.site;
    data.reset(site).await;
    let mut workers = workers_start(site, &data.database, 2, &[]).await;
    let run = take(site, &data, &mut workers, async |_| ()).await;
    drop(workers);
    let watched = reconcile(site, &data, run.run).await;
    data.reset(site).await;
    let report = &mut bench.report;
    report.shown(CASE, "1,000,000 over null", run.seconds.total(), Unit::Seconds);
    report.shown(CASE, "reconciling it", watched.secs, Unit::Seconds);
    let ratio = watched.secs / run.seconds.total();
    report.judged(CASE, "reconciling against the run", ratio, Unit::Times, Goal::AtMost(0.5));
    let peak = watched.used.peak_kib as f64 / 1024.0;
    report.judged(CASE, "peak memory of the reconciler", peak, Unit::Mib, Goal::AtMost(24.0));
}

/// Reconciles a run that was paid over null.
pub(super) async fn reconcile(site: &Site, data: &Data, run: i64) -> Watched {
    let variables = [("run", run.to_string())];
    site.psql(&data.database, OVER_A_RAIL, &variables).await;
    site.psql(&data.database, STATEMENT, &variables).await;
    site.execute(&data.database, "CHECKPOINT").await;
    // A file is believed up to a minute before it is read, since clocks differ.
    tokio::time::sleep(Duration::from_secs(65)).await;
    let mut command = site.program("payfleet-reconciler", &data.database);
    command.args(["run", &run.to_string(), "--statement", "statement.csv"]);
    let watched = watch(site, "payfleet-reconciler", command).await;
    let reconciled = sqlx::query_scalar("SELECT state FROM run WHERE id = $1").bind(run).fetch_one(&data.pool);
    let state: String = reconciled.await.expect("the run is there");
    assert_eq!(state, "reconciled", "the reconciler found differences where there are none");
    watched
}
