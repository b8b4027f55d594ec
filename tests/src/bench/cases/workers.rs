//! Whether more workers help, and never hurt.

use crate::bench::Bench;
use crate::bench::report::{Goal, Unit};

use super::scale::one;

const CASE: &str = "workers";

/// 1,000,000 with one, two and four.
pub async fn measure(bench: &mut Bench) {
    let single = one(bench, 1_000_000, 1).await;
    let two = match bench.million.clone() {
        Some(two) => two,
        None => one(bench, 1_000_000, 2).await,
    };
    let four = one(bench, 1_000_000, 4).await;
    // Limits, not seconds: the machine may have become slower meanwhile.
    let report = &mut bench.report;
    report.shown(CASE, "2 workers against 1", two.ratio() / single.ratio(), Unit::Times);
    report.judged(CASE, "4 workers against 2", four.ratio() / two.ratio(), Unit::Times, Goal::AtMost(1.0));
}
