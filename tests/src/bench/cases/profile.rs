//! Which statements a run makes, and where Postgres spends its time.

use crate::bench::Bench;
use crate::bench::report::Unit;
use crate::bench::run::{take, workers_start};
use crate::bench::statements::{calls, counted, not_counted, top};

const CASE: &str = "profile";

/// A run of 100,000 whose statements are counted; its seconds are not: counting costs some.
pub async fn measure(bench: &mut Bench) {
    let data = bench.plain(bench.size(100_000)).await;
    let site = &bench.site;
    data.reset(site).await;
    counted(site, &data.database).await;
    let mut workers = workers_start(site, &data.database, 2, &[]).await;
    let before = calls(site, &data.database).await;
    take(site, &data, &mut workers, async |_| ()).await;
    let calls = calls(site, &data.database).await - before;
    drop(workers);
    let statements = top(site, &data.database, CASE).await;
    not_counted(site, &data.database).await;
    data.reset(site).await;
    let report = &mut bench.report;
    report.shown(CASE, "statements per payout, of 100,000", calls as f64 / data.payouts as f64, Unit::Count);
    report.statements(statements);
}
