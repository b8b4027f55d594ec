//! How fast the fleet is, and how small, measured against what Postgres can do at best with the same rows: real
//! programs and servers, as shipped.
//!
//! [`limit`] holds what it is measured against, [`run`] a run of the fleet watched from outside, [`cases`] what is
//! measured, [`report`] the tables.

use std::collections::HashMap;
use std::sync::Arc;

mod cases;
mod data;
mod limit;
mod report;
mod run;
mod site;
mod statements;
mod usage;

pub use cases::Case;
use data::{Commissions, Data};
pub use report::Report;
use run::Measured;
use site::Site;

/// What is measured.
#[derive(Debug, Clone)]
pub struct BenchOptions {
    /// Which cases.
    pub cases: Vec<Case>,
    /// Whether 10,000,000 affiliates are measured too.
    pub large: bool,
    /// A tenth of all sizes, to try the bench itself.
    pub quick: bool,
}

/// What all cases share.
pub(crate) struct Bench {
    pub site: Site,
    pub options: BenchOptions,
    pub report: Report,
    /// The run of 1,000,000 with two workers, if it was measured.
    pub million: Option<Measured>,
    /// Data with one commission each, by the number of affiliates; made when it is first needed.
    plain: HashMap<u64, Arc<Data>>,
}

impl Bench {
    /// A size, or a tenth of it.
    pub fn size(&self, affiliates: u64) -> u64 {
        if self.options.quick { affiliates / 10 } else { affiliates }
    }

    /// So many affiliates with one commission each. Several cases share it, and leave it as they found it.
    pub async fn plain(&mut self, affiliates: u64) -> Arc<Data> {
        if let Some(data) = self.plain.get(&affiliates) {
            return data.clone();
        }
        let name = format!("plain_{affiliates}");
        let data = Arc::new(Data::make(&self.site, &name, affiliates, Commissions::One, "2026-01").await);
        self.plain.insert(affiliates, data.clone());
        data
    }
}

/// Measures. Panics when a run goes wrong: its figures would mean nothing.
pub async fn run(options: BenchOptions) -> Report {
    let site = Site::start().await;
    let report = Report::new(site.machine().await, options.quick);
    let mut bench = Bench { site, report, options: options.clone(), million: None, plain: HashMap::new() };
    for case in options.cases {
        println!("{}", case.title());
        cases::measure(&mut bench, case).await;
    }
    bench.report
}
