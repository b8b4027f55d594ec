//! How cost and memory grow with the number of affiliates.

use crate::bench::Bench;
use crate::bench::data::{Commissions, Data};
use crate::bench::report::{Goal, Unit};
use crate::bench::run::{Measured, Plan, measure as measure_run};

const CASE: &str = "scale";

/// Measured only if asked for.
const LARGE: u64 = 10_000_000;

/// Two workers, from small to large.
pub async fn measure(bench: &mut Bench) {
    let mut sizes = vec![10_000, 100_000, 1_000_000];
    sizes.extend(bench.options.large.then_some(LARGE));
    let mut measured = Vec::new();
    for size in sizes {
        measured.push((size, one(bench, size, 2).await));
    }
    let [tens, hundreds, millions] = [0, 1, 2].map(|n: usize| measured[n].1.clone());
    bench.million = Some(millions.clone());
    let report = &mut bench.report;
    report.judged(CASE, "1,000,000 over null, in limits", millions.ratio(), Unit::Times, Goal::AtMost(1.25));
    if let Some(reference) = millions.reference_secs() {
        let ratio = millions.taken.seconds.total() / reference;
        report.judged(CASE, "the same, in references", ratio, Unit::Times, Goal::AtMost(1.1));
    }
    let each = hundreds.taken.micros_each();
    for (size, goal) in [(1_000_000, 1.1), (LARGE, 1.2)] {
        if let Some((_, run)) = measured.iter().find(|(of, _)| *of == size) {
            let what = format!("seconds per payout at {} against 100,000", grouped(size));
            report.judged(CASE, what, run.taken.micros_each() / each, Unit::Times, Goal::AtMost(goal));
        }
    }
    let largest = measured.last().map_or(&millions, |(_, run)| run);
    let peaks = |run: &Measured| {
        let worker = run.taken.workers.iter().map(|worker| worker.peak_kib).max().unwrap_or(0);
        [("the coordinator", run.taken.coordinator.peak_kib), ("a worker", worker)]
    };
    for ((name, small), (_, large)) in peaks(&tens).into_iter().zip(peaks(largest)) {
        let most = small.max(large) as f64 / 1024.0;
        report.judged(CASE, format!("peak memory of {name}"), most, Unit::Mib, Goal::AtMost(24.0));
        let differs = (large as f64 / small as f64 - 1.0).abs() * 100.0;
        let what = format!("the same at 10,000 and the largest: {name} differs by");
        report.judged(CASE, what, differs, Unit::Percent, Goal::AtMost(5.0));
    }
}

/// Measures one size. The largest gives its space back.
pub async fn one(bench: &mut Bench, size: u64, workers: usize) -> Measured {
    let affiliates = bench.size(size);
    let s = if workers == 1 { "" } else { "s" };
    let label = format!("{} × 1, {workers} worker{s}", grouped(affiliates));
    let plan = Plan { label: &label, workers, reference: true };
    let measured = if size == LARGE {
        let data = Data::make(&bench.site, "large", affiliates, Commissions::One, "2026-01").await;
        let measured = measure_run(&bench.site, &data, plan).await;
        data.drop(&bench.site).await;
        measured
    } else {
        let data = bench.plain(affiliates).await;
        measure_run(&bench.site, &data, plan).await
    };
    bench.report.run(measured.clone());
    measured
}

/// 1000000 as 1,000,000.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> = digits.as_bytes().rchunks(3).rev().filter_map(|group| str::from_utf8(group).ok()).collect();
    groups.join(",")
}
