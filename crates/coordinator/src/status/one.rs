//! Everything about one run.

use payfleet_domain::{Currency, PayoutState};
use payfleet_queue::WorkerBeat;
use payfleet_store::{PlanLine, ReturnedPayout, RunRow, RunStatus, Store};
use serde::Serialize;
use time::OffsetDateTime;
use time::serde::rfc3339;

use super::{Standing, json, workers_json, workers_text};
use crate::failure::Failure;
use crate::report::{OutcomeFields, RunFields, headline, outcome_fields, outcome_table, plan_table};
use crate::{show, waits};

/// The screen as JSON. Fields may be added, never changed.
#[derive(Serialize)]
struct StatusFields<'a> {
    #[serde(flatten)]
    standing: &'a Standing,
    #[serde(flatten)]
    run: RunFields<'a>,
    plan: &'a [PlanLine],
    outcomes: Vec<OutcomeFields>,
    progress: ProgressFields,
    codes: Vec<CodeFields<'a>>,
    /// The newest payouts whose money came back.
    returned: Vec<ReturnedFields<'a>>,
    /// What its batches wait for.
    waits: serde_json::Value,
    workers: serde_json::Value,
    /// The workers that live, as they say in Postgres what they can do.
    offers: serde_json::Value,
    #[serde(with = "rfc3339")]
    now: OffsetDateTime,
}

#[derive(Serialize)]
struct ProgressFields {
    payouts: i64,
    payouts_done: i64,
    payouts_per_sec: f64,
    secs_remaining: Option<u64>,
    batches_waiting: i64,
    batches_leased: i64,
    batches_closed: i64,
    batches_recovered: i64,
    #[serde(with = "rfc3339::option")]
    oldest_open: Option<OffsetDateTime>,
    oldest_open_secs: Option<u64>,
    failures: i32,
}

#[derive(Serialize)]
struct CodeFields<'a> {
    code: &'a str,
    rail: &'a str,
    payouts: i64,
}

#[derive(Serialize)]
struct ReturnedFields<'a> {
    payout: i64,
    affiliate: &'a str,
    amount_minor: i64,
    currency: Currency,
    #[serde(with = "rfc3339")]
    learned_at: OffsetDateTime,
}

impl<'a> From<&'a ReturnedPayout> for ReturnedFields<'a> {
    fn from(back: &'a ReturnedPayout) -> Self {
        ReturnedFields {
            payout: back.payout.0,
            affiliate: &back.affiliate,
            amount_minor: back.amount.minor,
            currency: back.amount.currency,
            learned_at: back.learned_at,
        }
    }
}

/// Payouts that came back are shown up to so many.
const RETURNED_SHOWN: i64 = 20;

/// The screen of a run, for people or for programs.
pub async fn show(
    store: &Store,
    run: &RunRow,
    workers: Option<&[WorkerBeat]>,
    standing: &Standing,
    as_json: bool,
) -> Result<String, Failure> {
    let plan = store.plan_lines(run.id).await?;
    let status = store.run_status(run.id).await?;
    let progress = progress(run, &status, status.now);
    let returned = store.returned_list(run.id, RETURNED_SHOWN).await?;
    if as_json {
        return json(&StatusFields {
            standing,
            run: run.into(),
            plan: &plan,
            outcomes: outcome_fields(&status.outcomes),
            progress,
            codes: status
                .codes
                .iter()
                .map(|line| CodeFields { code: &line.code, rail: &line.rail, payouts: line.payouts })
                .collect(),
            returned: returned.iter().map(ReturnedFields::from).collect(),
            waits: waits::json(&status.waits, status.now),
            workers: workers_json(workers),
            offers: waits::offers_json(&status.waits.workers),
            now: status.now,
        });
    }
    Ok(standing.text() + &text(run, &plan, &status, &progress, &returned, workers))
}

fn text(
    run: &RunRow,
    plan: &[PlanLine],
    status: &RunStatus,
    progress: &ProgressFields,
    returned: &[ReturnedPayout],
    workers: Option<&[WorkerBeat]>,
) -> String {
    let mut screen =
        format!("{}\n\nPlan\n{}\n\nOutcomes\n{}\n", headline(run), plan_table(plan), outcome_table(&status.outcomes));
    if !status.codes.is_empty() {
        let mut table = show::table(&["code", "rail", "payouts"]);
        for line in &status.codes {
            table.add_row([
                comfy_table::Cell::new(&line.code),
                comfy_table::Cell::new(&line.rail),
                show::number(line.payouts),
            ]);
        }
        screen.push_str(&format!("\nErrors by code\n{table}\n"));
    }
    if !returned.is_empty() {
        let mut table = show::table(&["payout", "affiliate", "amount", "learned"]);
        for back in returned {
            table.add_row([
                show::number(back.payout),
                comfy_table::Cell::new(&back.affiliate),
                show::number(back.amount),
                comfy_table::Cell::new(show::instant(back.learned_at)),
            ]);
        }
        let all = done_of(status, |state| state == PayoutState::Returned);
        let more = all - returned.len() as i64;
        let more = if more > 0 { format!("and {more} that came back earlier\n") } else { String::new() };
        screen.push_str(&format!("\nCame back, and due again\n{table}\n{more}"));
    }
    let remaining = match progress.secs_remaining {
        Some(secs) => format!(", about {} left", show::span(secs)),
        None => String::new(),
    };
    let oldest = match progress.oldest_open_secs {
        Some(secs) if progress.failures > 0 => {
            format!("; the oldest is open since {}, {} failures in a row", show::span(secs), progress.failures)
        }
        Some(secs) => format!("; the oldest is open since {}", show::span(secs)),
        None => String::new(),
    };
    if !status.waits.waiting.is_empty() {
        screen.push_str(&format!("\nWhat waits, and why\n{}", waits::table(&status.waits, status.now)));
    }
    screen.push_str(&format!(
        "\n\
         payouts done: {} of {}, {:.1} a second{remaining}\n\
         batches: {} waiting, {} in hand, {} closed, {} taken over{oldest}\n\
         {}\n",
        progress.payouts_done,
        progress.payouts,
        progress.payouts_per_sec,
        progress.batches_waiting,
        progress.batches_leased,
        progress.batches_closed,
        progress.batches_recovered,
        workers_text(workers, &status.waits),
    ));
    screen
}

/// The seconds that `payouts_last_10_secs` looks back.
const RECENT_SECS: f64 = 10.0;

/// Payouts in such states.
fn done_of(status: &RunStatus, is_one: impl Fn(PayoutState) -> bool) -> i64 {
    status.outcomes.iter().filter(|line| is_one(line.state)).map(|line| line.payouts).sum()
}

/// Whether nothing more is to be done for a payout by the fleet.
fn is_done(state: PayoutState) -> bool {
    use PayoutState as S;
    match state {
        S::Planned | S::Accepted | S::Unknown => false,
        S::Paid | S::Refused | S::Held | S::Returned | S::Cancelled => true,
    }
}

fn progress(run: &RunRow, status: &RunStatus, now: OffsetDateTime) -> ProgressFields {
    let batches = &status.progress;
    // By payouts, as they are shown above it: a batch is closed when the last of its payouts is done.
    let payouts_done = done_of(status, is_done).min(batches.payouts);
    let since = |at: OffsetDateTime| (now - at).as_seconds_f64().max(0.0);
    let per_sec = match (run.paying_at, run.settled_at) {
        // Of a finished run, what it was over all.
        (Some(begun), Some(settled)) => payouts_done as f64 / (settled - begun).as_seconds_f64().max(0.001),
        (Some(begun), None) => batches.payouts_last_10_secs as f64 / since(begun).clamp(0.001, RECENT_SECS),
        (None, _) => 0.0,
    };
    let left = batches.payouts - payouts_done;
    ProgressFields {
        payouts: batches.payouts,
        payouts_done,
        payouts_per_sec: (per_sec * 10.0).round() / 10.0,
        secs_remaining: (run.state.is_open() && left > 0 && per_sec > 0.0)
            .then(|| (left as f64 / per_sec).ceil() as u64),
        batches_waiting: batches.batches_waiting,
        batches_leased: batches.batches_leased,
        batches_closed: batches.batches_closed,
        batches_recovered: batches.batches_recovered,
        oldest_open: batches.oldest_open,
        oldest_open_secs: batches.oldest_open.map(|at| since(at) as u64),
        failures: batches.failures,
    }
}
