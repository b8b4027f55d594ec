//! A worker that is killed in the middle.

use crate::bench::Bench;
use crate::bench::report::{Goal, Unit};
use crate::bench::run::{Worker, take, workers_start};

const CASE: &str = "kill";

/// The workers' default.
const LEASE_SECS: f64 = 8.0;

/// A run that nobody disturbs, and one of whose workers dies.
pub async fn measure(bench: &mut Bench) {
    let data = bench.plain(bench.size(1_000_000)).await;
    let site = &bench.site;
    data.reset(site).await;
    let mut workers = workers_start(site, &data.database, 2, &[]).await;
    let undisturbed = take(site, &data, &mut workers, async |_| ()).await.seconds.total();
    drop(workers);

    data.reset(site).await;
    let mut workers = workers_start(site, &data.database, 2, &[]).await;
    let enough = data.payouts.cast_signed() * 2 / 5;
    let kill_one = async |workers: &mut Vec<Worker>| {
        if workers.len() == 2 && paid(&data.pool).await >= enough {
            workers.remove(0).process.kill();
        }
    };
    let disturbed = take(site, &data, &mut workers, kill_one).await.seconds.total();
    assert_eq!(workers.len(), 1, "nobody was killed");
    drop(workers);
    data.reset(site).await;

    let report = &mut bench.report;
    report.shown(CASE, "1,000,000 undisturbed", undisturbed, Unit::Seconds);
    report.shown(CASE, "one of two workers killed at 40 %", disturbed, Unit::Seconds);
    let goal = Goal::AtMost(LEASE_SECS + 2.0);
    report.judged(CASE, "the kill costs (lease + 2 s)", disturbed - undisturbed, Unit::Seconds, goal);
}

/// Payouts of batches that are done.
async fn paid(pool: &sqlx::PgPool) -> i64 {
    let sum = sqlx::query_scalar("SELECT coalesce(sum(payouts), 0)::bigint FROM batch WHERE state = 'done'");
    sum.fetch_one(pool).await.expect("batches can be counted")
}
