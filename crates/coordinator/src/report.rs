//! What a run decided and what became of it, as tables for people and as JSON for programs.

use payfleet_domain::{Currency, PayoutState, RunState};
use payfleet_runtime::exit::ExitCode;
use payfleet_store::{OutcomeCount, PlanLine, RunRow};
use serde::Serialize;
use time::OffsetDateTime;
use time::serde::rfc3339;

use crate::show;

/// A run, for programs. Fields may be added, never changed.
#[derive(Debug, Serialize)]
pub struct RunFields<'a> {
    /// Its number.
    pub run: i64,
    tenant: &'a str,
    period: &'a str,
    sequence: i16,
    state: &'static str,
    /// What the reconciler has found, if it has looked.
    verdict: Option<String>,
    paused: Option<&'a str>,
    minimum: String,
    #[serde(with = "rfc3339")]
    cutoff: OffsetDateTime,
    payouts: i64,
    #[serde(with = "rfc3339")]
    created_at: OffsetDateTime,
    #[serde(with = "rfc3339::option")]
    paying_at: Option<OffsetDateTime>,
    #[serde(with = "rfc3339::option")]
    settled_at: Option<OffsetDateTime>,
}

impl<'a> From<&'a RunRow> for RunFields<'a> {
    fn from(run: &'a RunRow) -> Self {
        RunFields {
            run: run.id.0,
            tenant: &run.tenant_name,
            period: &run.period,
            sequence: run.sequence,
            state: run.state.as_str(),
            verdict: run.verdict.map(|verdict| verdict.to_string()),
            paused: run.pause_reason.as_deref(),
            minimum: show::units(run.minimum),
            cutoff: run.cutoff,
            payouts: run.payouts,
            created_at: run.created_at,
            paying_at: run.paying_at,
            settled_at: run.settled_at,
        }
    }
}

/// An outcome, for programs.
#[derive(Debug, Serialize)]
pub struct OutcomeFields {
    state: PayoutState,
    currency: Currency,
    payouts: i64,
    amount_minor: i128,
}

/// Outcomes, for programs.
pub fn outcome_fields(outcomes: &[OutcomeCount]) -> Vec<OutcomeFields> {
    outcomes
        .iter()
        .map(|line| OutcomeFields {
            state: line.state,
            currency: line.currency,
            payouts: line.payouts,
            amount_minor: line.amount_minor,
        })
        .collect()
}

/// A verdict that the state does not say: of a cancelled run what was sent before is compared too.
pub fn other_verdict(run: &RunRow) -> Option<RunState> {
    run.verdict.filter(|verdict| *verdict != run.state)
}

/// The run in one line.
pub fn headline(run: &RunRow) -> String {
    let sequence = if run.sequence == 1 { String::new() } else { format!(" ({})", run.sequence) };
    let verdict = other_verdict(run).map(|verdict| format!(" and {verdict}")).unwrap_or_default();
    let paused = run.pause_reason.as_deref().map(|why| format!(", paused: {why}")).unwrap_or_default();
    format!(
        "run {}: {} {}{sequence}, {}{verdict}{paused}; cutoff {}, minimum {}",
        run.id,
        run.tenant_name,
        run.period,
        run.state,
        show::instant(run.cutoff),
        show::units(run.minimum),
    )
}

/// The plan by currency: what is paid first, then who is excluded and why.
pub fn plan_table(lines: &[PlanLine]) -> String {
    if lines.is_empty() {
        return "nothing is due".to_owned();
    }
    let mut lines: Vec<&PlanLine> = lines.iter().collect();
    lines.sort_by_key(|line| (line.currency, line.verdict != "pay", &line.verdict));
    let mut table = show::table(&["currency", "verdict", "accounts", "amount"]);
    for line in lines {
        table.add_row([
            comfy_table::Cell::new(line.currency),
            show::word(&line.verdict),
            show::number(line.accounts),
            show::number(show::amount(line.amount_minor, line.currency)),
        ]);
    }
    table.to_string()
}

/// What became of the payouts, by currency.
pub fn outcome_table(outcomes: &[OutcomeCount]) -> String {
    if outcomes.is_empty() {
        return "no payouts".to_owned();
    }
    let mut lines: Vec<&OutcomeCount> = outcomes.iter().collect();
    lines.sort_by_key(|line| (line.currency, line.state));
    let mut table = show::table(&["currency", "outcome", "payouts", "amount"]);
    for line in lines {
        table.add_row([
            comfy_table::Cell::new(line.currency),
            show::word(line.state.as_str()),
            show::number(line.payouts),
            show::number(show::amount(line.amount_minor, line.currency)),
        ]);
    }
    table.to_string()
}

/// How to end after these outcomes.
pub fn exit_code(outcomes: &[OutcomeCount]) -> ExitCode {
    use PayoutState as S;
    let unpaid = |line: &OutcomeCount| match line.state {
        S::Refused | S::Held | S::Returned | S::Cancelled => true,
        S::Planned | S::Accepted | S::Paid | S::Unknown => false,
    };
    if outcomes.iter().any(unpaid) { ExitCode::Refused } else { ExitCode::Done }
}
