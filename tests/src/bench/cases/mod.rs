//! What is measured, one file a case.

use super::Bench;

mod archive;
mod beside;
mod history;
mod http;
mod idle;
mod import;
mod kill;
mod profile;
mod reconcile;
mod scale;
mod ten;
mod webhooks;
mod workers;

/// A case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Case {
    /// 10,000 to 1,000,000 affiliates, two workers
    Scale,
    /// 1,000,000 with 1, 2 and 4 workers
    Workers,
    /// 100,000 with ten commissions each
    Ten,
    /// The 24th monthly run against the first
    History,
    /// A thousand runs that are over, against none
    Archive,
    /// 1,000,000 payouts against a statement
    Reconcile,
    /// 1,000,000 commissions from CSV against COPY
    Import,
    /// The sandbox rail at 20 ms a call
    Http,
    /// kill -9 of one of two workers at 40 %
    Kill,
    /// A run of 100 beside one of 1,000,000
    Beside,
    /// Ten workers that have nothing to do
    Idle,
    /// Statements per payout
    Profile,
    /// 5,000 webhooks a second
    Webhooks,
}

impl Case {
    /// What it measures, in words.
    pub fn title(self) -> &'static str {
        match self {
            Case::Scale => "scale: from 10,000 affiliates up, one commission each, 2 workers, rail null",
            Case::Workers => "workers: 1,000,000 with 1, 2 and 4",
            Case::Ten => "ten: 100,000 affiliates with ten commissions each, 2 workers",
            Case::History => "history: 24 monthly runs of the same 100,000 affiliates, 2 workers",
            Case::Archive => "archive: 1,000 runs of 50 tenants that are over, against none",
            Case::Reconcile => "reconcile: 1,000,000 payouts against a statement of as many lines",
            Case::Import => "import: 1,000,000 commissions from CSV, against COPY",
            Case::Http => "http: the sandbox rail at 20 ms a call, 2 workers",
            Case::Kill => "kill: kill -9 of one of 2 workers at 40 % of 1,000,000",
            Case::Beside => "beside: runs of 100 beside one of 1,000,000, 2 workers",
            Case::Idle => "idle: 10 workers, 30 s",
            Case::Profile => "profile: the statements of a run of 100,000, 2 workers",
            Case::Webhooks => "webhooks: 5,000 events a second at the gateway, 20 s",
        }
    }
}

/// Measures one.
pub(crate) async fn measure(bench: &mut Bench, case: Case) {
    match case {
        Case::Scale => scale::measure(bench).await,
        Case::Workers => workers::measure(bench).await,
        Case::Ten => ten::measure(bench).await,
        Case::History => history::measure(bench).await,
        Case::Archive => archive::measure(bench).await,
        Case::Reconcile => reconcile::measure(bench).await,
        Case::Import => import::measure(bench).await,
        Case::Http => http::measure(bench).await,
        Case::Kill => kill::measure(bench).await,
        Case::Beside => beside::measure(bench).await,
        Case::Idle => idle::measure(bench).await,
        Case::Profile => profile::measure(bench).await,
        Case::Webhooks => webhooks::measure(bench).await,
    }
}
