//! Everything about one run.

use payfleet_queue::WorkerBeat;
use payfleet_store::{BatchProgress, PlanLine, RunRow, RunStatus, Store};
use serde::Serialize;
use time::OffsetDateTime;
use time::serde::rfc3339;

use super::{json, workers_json, workers_line};
use crate::failure::Failure;
use crate::report::{OutcomeFields, RunFields, headline, outcome_fields, outcome_table, plan_table};
use crate::show;

/// The screen as JSON. Fields may be added, never changed.
#[derive(Serialize)]
struct StatusFields<'a> {
    #[serde(flatten)]
    run: RunFields<'a>,
    plan: &'a [PlanLine],
    outcomes: Vec<OutcomeFields>,
    progress: ProgressFields,
    codes: Vec<CodeFields<'a>>,
    workers: serde_json::Value,
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
}

#[derive(Serialize)]
struct CodeFields<'a> {
    code: &'a str,
    rail: &'a str,
    payouts: i64,
}

/// The screen of a run, for people or for programs.
pub async fn show(
    store: &Store,
    run: &RunRow,
    workers: Option<&[WorkerBeat]>,
    as_json: bool,
) -> Result<String, Failure> {
    let plan = store.plan_lines(run.id).await?;
    let status = store.run_status(run.id).await?;
    let progress = progress(run, &status.progress, status.now);
    if as_json {
        return json(&StatusFields {
            run: run.into(),
            plan: &plan,
            outcomes: outcome_fields(&status.outcomes),
            progress,
            codes: status
                .codes
                .iter()
                .map(|line| CodeFields { code: &line.code, rail: &line.rail, payouts: line.payouts })
                .collect(),
            workers: workers_json(workers),
            now: status.now,
        });
    }
    Ok(text(run, &plan, &status, &progress, workers))
}

fn text(
    run: &RunRow,
    plan: &[PlanLine],
    status: &RunStatus,
    progress: &ProgressFields,
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
    let remaining = match progress.secs_remaining {
        Some(secs) => format!(", about {} left", show::span(secs)),
        None => String::new(),
    };
    let oldest = match progress.oldest_open_secs {
        Some(secs) => format!("; the oldest open one waits since {}", show::span(secs)),
        None => String::new(),
    };
    screen.push_str(&format!(
        "\npayouts done: {} of {}, {:.1} a second{remaining}\nbatches: {} waiting, {} in hand, {} closed, {} taken over{oldest}\n{}\n",
        progress.payouts_done,
        progress.payouts,
        progress.payouts_per_sec,
        progress.batches_waiting,
        progress.batches_leased,
        progress.batches_closed,
        progress.batches_recovered,
        workers_line(workers),
    ));
    screen
}

/// The seconds that [`BatchProgress::payouts_last_10_secs`] looks back.
const RECENT_SECS: f64 = 10.0;

fn progress(run: &RunRow, batches: &BatchProgress, now: OffsetDateTime) -> ProgressFields {
    let since = |at: OffsetDateTime| (now - at).as_seconds_f64().max(0.0);
    let per_sec = match (run.paying_at, run.settled_at) {
        // Of a finished run, what it was over all.
        (Some(begun), Some(settled)) => batches.payouts_done as f64 / (settled - begun).as_seconds_f64().max(0.001),
        (Some(begun), None) => batches.payouts_last_10_secs as f64 / since(begun).clamp(0.001, RECENT_SECS),
        (None, _) => 0.0,
    };
    let left = batches.payouts - batches.payouts_done;
    ProgressFields {
        payouts: batches.payouts,
        payouts_done: batches.payouts_done,
        payouts_per_sec: (per_sec * 10.0).round() / 10.0,
        secs_remaining: (run.state.is_open() && left > 0 && per_sec > 0.0)
            .then(|| (left as f64 / per_sec).ceil() as u64),
        batches_waiting: batches.batches_waiting,
        batches_leased: batches.batches_leased,
        batches_closed: batches.batches_closed,
        batches_recovered: batches.batches_recovered,
        oldest_open: batches.oldest_open,
        oldest_open_secs: batches.oldest_open.map(|at| since(at) as u64),
    }
}
