//! Month after month: whether what was paid long ago costs anything today.

use super::reconcile::reconcile;
use crate::bench::Bench;
use crate::bench::data::{Commissions, Data};
use crate::bench::limit::limit;
use crate::bench::report::{Goal, Unit};
use crate::bench::run::{take, workers_start};

const CASE: &str = "history";

const MONTHS: u32 = 24;

/// How many of the first and of the last runs make a mean, against noise.
const OF_EACH_END: usize = 3;

/// The commissions of the next month, as importing them would leave them: no run has fixed a cutoff after they were
/// earned.
const NEXT_MONTH: &str = "
    INSERT INTO commission (tenant_id, external_id, affiliate_id, currency, amount_minor, earned_at, due_at, kind,
      order_ref)
    SELECT tenant_id, external_id || '-' || :month, affiliate_id, currency, amount_minor,
           earned_at + make_interval(months => :month), earned_at + make_interval(months => :month), kind,
             order_ref || '-' || :month
      FROM commission WHERE external_id !~ '-.*-' ORDER BY affiliate_id;";

/// The same 100,000 affiliates with one commission a month.
pub async fn measure(bench: &mut Bench) {
    let size = bench.size(100_000);
    let yardstick = bench.plain(size).await;
    let site = &bench.site;
    let mut data = Data::make(site, "history", size, Commissions::One, "2024-01").await;
    let (mut seconds, mut reconciling) = (Vec::new(), Vec::new());
    let mut limits = Vec::new();
    for month in 0..MONTHS {
        if month > 0 {
            site.psql(&data.database, NEXT_MONTH, &[("month", month.to_string())]).await;
        }
        data.period = format!("{}-{:02}", 2024 + month / 12, month % 12 + 1);
        if [0, MONTHS as usize - OF_EACH_END].contains(&(month as usize)) {
            limits.push(limit(site, &yardstick).await.total());
        }
        site.execute(&data.database, "VACUUM ANALYZE; CHECKPOINT;").await;
        let mut workers = workers_start(site, &data.database, 2, &[]).await;
        let run = take(site, &data, &mut workers, async |_| ()).await;
        seconds.push(run.seconds.total());
        drop(workers);
        reconciling.push(reconcile(site, &data, run.run).await.secs);
        if [OF_EACH_END, MONTHS as usize].contains(&seconds.len()) {
            limits.push(limit(site, &yardstick).await.total());
        }
    }
    yardstick.reset(site).await;
    data.drop(site).await;
    let mean = |of: &[f64]| of.iter().sum::<f64>() / of.len() as f64;
    let (first, last) = (mean(&seconds[..OF_EACH_END]), mean(&seconds[seconds.len() - OF_EACH_END..]));
    let report = &mut bench.report;
    for (month, (seconds, reconciling)) in seconds.iter().zip(&reconciling).enumerate() {
        report.shown(CASE, format!("run {}", month + 1), *seconds, Unit::Seconds);
        report.shown(CASE, format!("reconciling run {}", month + 1), *reconciling, Unit::Seconds);
    }
    report.shown(CASE, "runs 1 to 3, in limits", first / mean(&limits[..2]), Unit::Times);
    report.shown(CASE, "runs 22 to 24, in limits", last / mean(&limits[2..]), Unit::Times);
    let ratio = (last / mean(&limits[2..])) / (first / mean(&limits[..2]));
    report.judged(CASE, "runs 22 to 24 against runs 1 to 3", ratio, Unit::Times, Goal::AtMost(1.1));
    let (first, last) = (mean(&reconciling[..OF_EACH_END]), mean(&reconciling[reconciling.len() - OF_EACH_END..]));
    let ratio = (last / mean(&limits[2..])) / (first / mean(&limits[..2]));
    report.judged(CASE, "reconciling runs 22 to 24 against runs 1 to 3", ratio, Unit::Times, Goal::AtMost(1.1));
}
