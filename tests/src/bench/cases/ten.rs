//! Ten commissions for each affiliate.

use crate::bench::Bench;
use crate::bench::data::{Commissions, Data};
use crate::bench::report::Unit;
use crate::bench::run::{Plan, measure as measure_run};

use super::scale::grouped;

const CASE: &str = "ten";

/// 100,000 affiliates.
pub async fn measure(bench: &mut Bench) {
    let affiliates = bench.size(100_000);
    let data = Data::make(&bench.site, "ten", affiliates, Commissions::Ten, "2026-01").await;
    let label = format!("{} × 10, 2 workers", grouped(affiliates));
    let plan = Plan { label: &label, workers: 2, reference: true };
    let measured = measure_run(&bench.site, &data, plan).await;
    data.drop(&bench.site).await;
    bench.report.shown(CASE, "100,000 with ten commissions each, in limits", measured.ratio(), Unit::Times);
    bench.report.run(measured);
}
