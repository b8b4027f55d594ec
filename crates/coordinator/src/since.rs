//! What became due of months that were run: what is said of it, and how it is paid.

use payfleet_domain::TenantId;
use payfleet_store::{DueSince, MonthCount, Store};
use serde::Serialize;

use crate::failure::Failure;

/// The tenant's next run of its newest month, which counts whatever became due since.
#[derive(Debug, Clone, Serialize)]
pub struct Next {
    /// The newest month that was run.
    pub period: String,
    /// How often, and once more.
    pub sequence: i16,
}

impl Next {
    /// After this one.
    pub fn further(period: &str, sequence: i16) -> Next {
        Next { period: period.to_owned(), sequence: sequence.saturating_add(1) }
    }

    /// As `run` takes it after `--period`.
    pub fn arguments(&self) -> String {
        format!("{} --sequence {}", self.period, self.sequence)
    }
}

/// What became due of months that were run, and the run that pays it.
#[derive(Debug, Clone, Serialize)]
pub struct Since {
    /// Commissions that became known late, by month.
    pub late: Vec<MonthCount>,
    /// Runs that were cancelled, and whose money is due again.
    pub cancelled: Vec<i64>,
    /// What pays it before the next month does.
    pub next: Next,
}

impl Since {
    /// Of this month and those before it, or of all. `None`: nothing.
    pub async fn find(store: &Store, tenant: TenantId, up_to: Option<&str>) -> Result<Option<Since>, Failure> {
        let runs = store.runs_list(Some(tenant), 1).await?;
        let Some(newest) = runs.first() else { return Ok(None) };
        let mut since: DueSince = store.due_since(tenant).await?;
        if let Some(month) = up_to {
            since = since.up_to(month);
        }
        Ok((!since.is_empty()).then(|| Since {
            late: since.late,
            cancelled: since.cancelled.iter().map(|cancelled| cancelled.run.0).collect(),
            next: Next::further(&newest.period, newest.sequence),
        }))
    }

    /// A sentence for each, and the way out.
    pub fn told(&self, tenant: &str) -> String {
        let mut told = String::new();
        if !self.late.is_empty() {
            told += &format!("money is due since: {} became known after the run of their month\n", months(&self.late));
        }
        for run in &self.cancelled {
            told += &format!("money is due since: run {run} was cancelled, and what of it was not sent is due again\n");
        }
        told + &format!(
            "the tenant's next run pays it: that of the next month, or now `run --tenant {tenant} --period {}`\n",
            self.next.arguments()
        )
    }
}

/// `3 commissions of 2026-08 (1), 2026-09 (2)`
pub fn months(late: &[MonthCount]) -> String {
    let all: i64 = late.iter().map(|month| month.commissions).sum();
    let each: Vec<String> = late.iter().map(|month| format!("{} ({})", month.month, month.commissions)).collect();
    format!("{all} {} of {}", if all == 1 { "commission" } else { "commissions" }, each.join(", "))
}
