//! The report: tables for people, one JSON object for programs. Goes to stdout only; destinations are masked unless
//! asked for.

mod json;

use std::collections::BTreeMap;
use std::io::{self, Write};

use comfy_table::presets::UTF8_BORDERS_ONLY;
use comfy_table::{CellAlignment, Table};
use payfleet_domain::{Currency, DiscrepancyKind, HoldReason, Money, PayoutState, RunId, masked};
use payfleet_store::{Applied, Discrepancy, Reconciliation, SummaryLine};
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::ReconcileError;
use crate::options::RunArgs;
use crate::statement::told_text;
use crate::step::{Ended, Outcome};
use json::json;

/// Differences in the table for people; all of them are in the JSON.
const SHOWN: i64 = 20;

/// Prints what the session found.
pub(crate) async fn print(
    session: &mut Reconciliation,
    outcome: &Outcome,
    args: &RunArgs,
) -> Result<(), ReconcileError> {
    let printed = match args.json {
        true => json(session, outcome, args.show_destinations).await,
        false => text(session, outcome, args.show_destinations).await,
    };
    match printed {
        // Whoever read it has seen enough.
        Err(ReconcileError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        printed => printed,
    }
}

/// The kinds found, as a log line shows them.
pub(crate) async fn kinds_line(session: &mut Reconciliation) -> Result<String, ReconcileError> {
    let kinds = session.discrepancies_count().await?;
    Ok(kinds.iter().map(|(kind, count)| format!("{kind}={count}")).collect::<Vec<_>>().join(" "))
}

async fn text(session: &mut Reconciliation, outcome: &Outcome, full: bool) -> Result<(), ReconcileError> {
    let mut page = String::new();
    let run = session.run();
    page.push_str(&format!("run {} of {}, period {}.{}\n\n", run.id, run.tenant_name, run.period, run.sequence));
    page.push_str(&format!("{}\n\n", sums(&outcome.compared.summary.lines)));
    let (applied, lines) = (&outcome.applied, session.lines());
    let sources = if outcome.sources.is_empty() { "no statement".to_owned() } else { outcome.sources.join(", ") };
    page.push_str(&format!("{lines} statement lines read: {sources}\n"));
    page.push_str(&elsewhere(applied, run.id));
    if applied.settled + applied.returned > 0 {
        let (settled, returned) = (applied.settled, applied.returned);
        page.push_str(&format!("proven by them: {settled} payouts paid, {returned} returned\n"));
    }
    if !applied.told.is_empty() {
        page.push_str(&format!("  came back, or paid after all: {}\n", told_text(applied)));
    }
    if applied.rejected > 0 {
        page.push_str(&format!(
            "{} payouts that were accepted are refused; those that only a file tells of are held\n",
            applied.rejected
        ));
    }
    if applied.rejected_otherwise > 0 {
        page.push_str(&format!(
            "{} refusals are of what was not waiting for its payment: kept as evidence, and nothing is concluded\n",
            applied.rejected_otherwise
        ));
    }
    if applied.late > 0 {
        page.push_str(&format!(
            "{} payouts were paid although their money was due again: booked, and nobody pays these accounts before \
             two people have looked\n",
            applied.late
        ));
    }
    if applied.alarms > 0 {
        page.push_str(&format!("{} new alarms: runs that are open are paused; see `alarms list`\n", applied.alarms));
    }
    for rail in &outcome.without_statement {
        page.push_str(&format!("rail {rail} has no statement: its payouts were compared with plan and ledger only\n"));
    }
    let held = outcome.compared.summary.held_too_long;
    if held > 0 {
        page.push_str(&format!(
            "{held} payouts have been waiting for people for too long; `payfleet-coordinator holds` lists them\n"
        ));
    }
    let total = outcome.compared.discrepancies;
    if total > 0 {
        let kinds = session.discrepancies_count().await?;
        if kinds.iter().any(|(kind, _)| *kind == DiscrepancyKind::ReturnUnconfirmed) {
            page.push_str(
                "returns that only a file tells of count when two people have said so; \
                 `payfleet-coordinator statements list` shows who has\n",
            );
        }
        let first = session.discrepancies_read(0, SHOWN).await?;
        page.push_str(&format!("\n{}\n\n{}\n", by_kind(&kinds), rows(&first, full)));
        if total > SHOWN {
            page.push_str(&format!("and {} more; --json has all of them\n", total - SHOWN));
        }
    }
    page.push('\n');
    let alarms = session.store().run_alarms_open(session.run().id).await?;
    page.push_str(&conclusion(outcome, session.run().id, alarms));
    io::stdout().lock().write_all(page.as_bytes())?;
    Ok(())
}

/// Lines that are of other runs than the one that was asked for, or of no payout of ours: a line each, by run.
fn elsewhere(applied: &Applied, run: RunId) -> String {
    let told = |(of, lines): (&Option<RunId>, &u64)| match of {
        Some(of) if *of == run => None,
        Some(of) => Some(format!("  {lines} of them are of payouts of run {of}, and are booked there\n")),
        None => Some(format!(
            "  {lines} of them fit no payout of ours: their keys are not of this installation, so they prove nothing\n"
        )),
    };
    // Those that fit nothing last.
    let (fits_none, others): (Vec<_>, Vec<_>) = applied.of_runs.iter().partition(|(of, _)| of.is_none());
    others.into_iter().chain(fits_none).filter_map(told).collect()
}

/// Payouts that are held: how many, their sums, and who lets them go on; nothing if there are none.
pub(crate) fn held(lines: &[SummaryLine]) -> (i64, String) {
    let is_by_one = |line: &&SummaryLine| {
        let by_one = [HoldReason::OnHold.code(), HoldReason::Stopped.code()];
        line.reason.as_deref().is_some_and(|reason| by_one.contains(&reason))
    };
    let held: Vec<&SummaryLine> = lines.iter().filter(|line| line.what == PayoutState::Held.as_str()).collect();
    let accounts = |of: &[&SummaryLine]| of.iter().map(|line| line.accounts).sum::<i64>();
    let sums = |of: &[&SummaryLine]| {
        let mut sums = BTreeMap::<Currency, i128>::new();
        of.iter().for_each(|line| *sums.entry(line.currency).or_default() += line.amount_minor);
        sums.into_iter().map(|(currency, minor)| amount(minor, currency)).collect::<Vec<_>>().join(", ")
    };
    let (by_one, by_two): (Vec<&SummaryLine>, Vec<&SummaryLine>) = held.iter().copied().partition(is_by_one);
    let part = |of: &[&SummaryLine], waits: &str| match accounts(of) {
        0 => None,
        1 => Some(format!("1 payout ({}) is held and waits for {waits}", sums(of))),
        n => Some(format!("{n} payouts ({}) are held and wait for {waits}", sums(of))),
    };
    let parts = [part(&by_two, "two people"), part(&by_one, "whoever lets it go on")];
    (accounts(&held), parts.into_iter().flatten().collect::<Vec<_>>().join("; "))
}

fn conclusion(outcome: &Outcome, run: RunId, alarms: u64) -> String {
    let held = match held(&outcome.compared.summary.lines) {
        (0, _) => String::new(),
        (_, held) => format!("; {held}: `payfleet-coordinator holds {run}`"),
    };
    // Whatever the statements say: somebody must look.
    let alarmed = match alarms {
        0 => String::new(),
        1 => "; 1 ALARM of it waits for an answer: `payfleet-coordinator alarms list`".to_owned(),
        n => format!("; {n} ALARMS of it wait for an answer: `payfleet-coordinator alarms list`"),
    };
    let held = held + &alarmed;
    let found = match outcome.compared.discrepancies {
        0 => "no discrepancy".to_owned(),
        1 => "1 discrepancy".to_owned(),
        n => format!("{n} discrepancies"),
    };
    match &outcome.ended {
        Ended::Verdict(verdict) => format!("{verdict}: {found}{held}\n"),
        Ended::Kept { state, why: None } => format!("{found}; the run stays {state}{held}\n"),
        Ended::Kept { state, why: Some(why) } => format!("{found}; the run stays {state}: {why}{held}\n"),
        Ended::Open(open) => {
            let mut text = format!("no verdict: payments are under way ({found} so far){alarmed}\n");
            for part in open {
                let (payouts, batches) = (part.payouts, part.batches);
                text.push_str(&format!("  {}: {payouts} payouts in {batches} batches are {}\n", part.rail, part.state));
            }
            text
        }
        Ended::Uncovered(accounts) => {
            let mut text =
                format!("no verdict: {found}, but the statements do not reach past the last payment yet{alarmed}\n");
            for one in accounts {
                let instant =
                    |at: OffsetDateTime| at.replace_nanosecond(0).unwrap_or(at).format(&Rfc3339).unwrap_or_default();
                let reaches = one
                    .reaches
                    .map_or("was never read to an end mark".to_owned(), |at| format!("reaches to {}", instant(at)));
                text.push_str(&format!("  {}/{} {reaches}; wanted: {}\n", one.rail, one.account, instant(one.wanted)));
            }
            text
        }
    }
}

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_BORDERS_ONLY).set_header(header);
    table
}

fn sums(lines: &[SummaryLine]) -> Table {
    let mut table = table(&["", "accounts", "amount"]);
    for line in lines {
        let what = match &line.reason {
            Some(reason) => format!("{}: {reason}", line.what),
            None => line.what.clone(),
        };
        table.add_row([what, line.accounts.to_string(), amount(line.amount_minor, line.currency)]);
    }
    for column in [1, 2] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

fn by_kind(kinds: &[(DiscrepancyKind, i64)]) -> Table {
    let mut table = table(&["discrepancies", "", "meaning"]);
    for (kind, count) in kinds {
        table.add_row([count.to_string(), kind.to_string(), kind.meaning().to_owned()]);
    }
    table
}

fn rows(found: &[Discrepancy], full: bool) -> Table {
    let mut table = table(&["kind", "payout", "affiliate", "currency", "expected", "found"]);
    for one in found {
        let one = Shown::of(one, full);
        let text = |value: &Option<String>| printable(value.as_deref().unwrap_or("-"));
        table.add_row([
            one.kind.to_string(),
            one.payout.map_or_else(|| "-".to_owned(), |payout| payout.to_string()),
            text(&one.affiliate),
            text(&one.currency),
            text(&one.in_units(&one.expected)),
            text(&one.in_units(&one.found)),
        ]);
    }
    table
}

/// What others wrote must not steer a terminal, nor fill it.
fn printable(text: &str) -> String {
    let shown: String = text.chars().take(120).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if text.chars().nth(120).is_some() { shown + "..." } else { shown }
}

/// An amount in units, from a sum that may be larger than any single amount.
fn amount(minor: i128, currency: Currency) -> String {
    match i64::try_from(minor) {
        Ok(minor) => Money { minor, currency }.to_string(),
        Err(_) => format!("{minor} minor units {currency}"),
    }
}

#[derive(Serialize)]
struct Shown {
    kind: DiscrepancyKind,
    payout: Option<i64>,
    affiliate: Option<String>,
    currency: Option<String>,
    expected: Option<String>,
    found: Option<String>,
}

impl Shown {
    fn of(one: &Discrepancy, full: bool) -> Shown {
        let value = |value: &Option<String>| match one.kind {
            DiscrepancyKind::DestinationDiffers if !full => value.as_deref().map(masked),
            _ => value.clone(),
        };
        Shown {
            kind: one.kind,
            payout: one.payout.map(|payout| payout.0),
            affiliate: one.affiliate.clone(),
            currency: one.currency.clone(),
            expected: value(&one.expected),
            found: value(&one.found),
        }
    }
}

impl Shown {
    /// An amount as people write it; anything else as it is.
    fn in_units(&self, value: &Option<String>) -> Option<String> {
        let currency = self.currency.as_deref().and_then(|code| code.parse::<Currency>().ok());
        match (self.kind, value.as_deref().map(str::parse), currency) {
            (DiscrepancyKind::AmountDiffers, Some(Ok(minor)), Some(currency)) => Some(amount(minor, currency)),
            _ => value.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use payfleet_domain::RunState;
    use payfleet_store::{Compared, Summary};

    use super::*;

    #[test]
    fn what_is_held_is_told_with_who_lets_it_go_on() {
        let line = |what: &str, reason: Option<&str>, accounts, currency: &str| SummaryLine {
            currency: currency.parse().unwrap(),
            what: what.to_owned(),
            reason: reason.map(str::to_owned),
            accounts,
            amount_minor: i128::from(accounts) * 2_000,
        };
        let paid = line("paid", None, 5, "EUR");
        assert_eq!(held(std::slice::from_ref(&paid)), (0, String::new()));
        let doubt = [line("held", Some("no_way_to_know"), 2, "EUR"), line("held", Some("contested"), 1, "JPY")];
        let lines = [paid, doubt[0].clone(), doubt[1].clone(), line("held", Some("stopped"), 1, "EUR")];
        let told = "3 payouts (40.00 EUR, 2000 JPY) are held and wait for two people; \
                    1 payout (20.00 EUR) is held and waits for whoever lets it go on";
        assert_eq!(held(&lines), (4, told.to_owned()));
    }

    #[test]
    fn lines_of_other_runs_and_of_none_are_told() {
        let of_runs = [(None, 2), (Some(RunId(1)), 5), (Some(RunId(3)), 7)].into_iter().collect();
        let told = elsewhere(&Applied { of_runs, ..Applied::default() }, RunId(1));
        let lines: Vec<&str> = told.lines().map(str::trim).collect();
        assert_eq!(lines.len(), 2, "those of the run itself are what was asked for: {told}");
        assert!(lines[0].starts_with("7 of them are of payouts of run 3") && lines[1].starts_with("2 of them fit no"));
    }

    #[test]
    fn an_alarm_is_named_in_the_same_breath() {
        let outcome = |ended| Outcome {
            ended,
            applied: Applied::default(),
            compared: Compared { discrepancies: 0, newer_than_statement: 0, summary: Summary::default() },
            sources: Vec::new(),
            without_statement: Vec::new(),
        };
        for ended in [Ended::Open(Vec::new()), Ended::Uncovered(Vec::new()), Ended::Verdict(RunState::Reconciled)] {
            let outcome = outcome(ended);
            assert!(!conclusion(&outcome, RunId(1), 0).contains("ALARM"));
            let told = conclusion(&outcome, RunId(1), 1);
            let first = told.lines().next().unwrap();
            assert!(first.contains("no discrepancy") && first.contains("1 ALARM of it waits for an answer"), "{told}");
            assert!(conclusion(&outcome, RunId(1), 2).contains("2 ALARMS of it wait"));
        }
    }

    #[test]
    fn a_terminal_is_not_steered() {
        assert_eq!(printable("a\u{1b}[2Jb"), "a\u{fffd}[2Jb");
        assert_eq!(printable(&"x".repeat(500)).len(), 123);
    }
}
