//! The report for programs: one JSON object, with every discrepancy.

use std::collections::BTreeMap;
use std::io::{self, Write};

use payfleet_store::{Reconciliation, SummaryLine};
use serde::Serialize;

use super::Shown;
use crate::ReconcileError;
use crate::step::{Ended, Outcome};

/// Differences are fetched in pages of so many: there may be a million.
const PAGE: i64 = 1_000;

#[derive(Serialize)]
struct Head<'a> {
    run: i64,
    tenant: &'a str,
    period: &'a str,
    sequence: i16,
    verdict: &'static str,
    state: String,
    why: Option<&'a str>,
    open: Option<serde_json::Value>,
    statement: &'a [String],
    without_statement: &'a [String],
    lines: i64,
    proven_paid: u64,
    proven_returned: u64,
    proven_late: u64,
    alarms: u64,
    /// Alarms of the run that wait for an answer.
    alarms_open: u64,
    /// How many lines are of payouts of other runs, by run.
    lines_of_other_runs: BTreeMap<String, u64>,
    /// How many lines are of no payout of ours.
    lines_of_no_payout: u64,
    /// Accounts whose statements do not reach far enough, as RAIL/ACCOUNT.
    uncovered: &'a [String],
    held_too_long: i64,
    summary: &'a [SummaryLine],
    discrepancies_total: i64,
    discrepancies_by_kind: BTreeMap<&'static str, i64>,
}

pub(super) async fn json(session: &mut Reconciliation, outcome: &Outcome, full: bool) -> Result<(), ReconcileError> {
    let kinds = session.discrepancies_count().await?;
    let run = session.run().clone();
    let mut uncovered: Vec<String> = Vec::new();
    let (verdict, state, why, open) = match &outcome.ended {
        Ended::Verdict(verdict) => (verdict.as_str(), row_state(session).await?, None, None),
        Ended::Kept { state, why } => ("none", state.to_string(), why.as_deref(), None),
        Ended::Open(open) => ("open", run.state.to_string(), None, serde_json::to_value(open).ok()),
        Ended::Uncovered(accounts) => {
            let names = accounts.iter().map(|one| format!("{}/{}", one.rail, one.account)).collect();
            uncovered = names;
            ("uncovered", run.state.to_string(), None, None)
        }
    };
    let head = Head {
        run: run.id.0,
        tenant: &run.tenant_name,
        period: &run.period,
        sequence: run.sequence,
        verdict,
        state,
        why,
        open,
        statement: &outcome.sources,
        without_statement: &outcome.without_statement,
        lines: session.lines(),
        proven_paid: outcome.applied.settled,
        proven_returned: outcome.applied.returned,
        proven_late: outcome.applied.late,
        alarms: outcome.applied.alarms,
        alarms_open: session.store().run_alarms_open(run.id).await?,
        lines_of_other_runs: outcome
            .applied
            .of_runs
            .iter()
            .filter_map(|(of, lines)| of.filter(|of| *of != run.id).map(|of| (of.to_string(), *lines)))
            .collect(),
        lines_of_no_payout: outcome.applied.of_runs.get(&None).copied().unwrap_or(0),
        uncovered: &uncovered,
        held_too_long: outcome.compared.summary.held_too_long,
        summary: &outcome.compared.summary.lines,
        discrepancies_total: outcome.compared.discrepancies,
        discrepancies_by_kind: kinds.iter().map(|(kind, count)| (kind.code(), *count)).collect(),
    };
    let mut out = serde_json::to_string(&head).map_err(io::Error::other)?;
    // Left open for the array, which may be longer than memory.
    out.pop();
    out.push_str(",\"discrepancies\":[");
    let mut after = 0;
    loop {
        let page = session.discrepancies_read(after, PAGE).await?;
        for one in &page {
            if after > 0 {
                out.push(',');
            }
            after = one.number;
            out.push_str(&serde_json::to_string(&Shown::of(one, full)).map_err(io::Error::other)?);
        }
        if (page.len() as i64) < PAGE {
            break;
        }
        io::stdout().lock().write_all(out.as_bytes())?;
        out.clear();
    }
    out.push_str("]}\n");
    io::stdout().lock().write_all(out.as_bytes())?;
    Ok(())
}

/// Where the run stands now: a cancelled one keeps its state, whatever the verdict.
async fn row_state(session: &Reconciliation) -> Result<String, ReconcileError> {
    let row = session.store().run_find(session.run().id).await?;
    Ok(row.map_or_else(String::new, |row| row.state.to_string()))
}
