//! Why work waits, in words: for `status`, and for whoever waits for a run.

use payfleet_domain::{WaitReason, WorkerOffer};
use payfleet_store::{Waiting, Waits};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::show;

/// Workers that lack something are named up to so many.
const WORKERS_SHOWN: usize = 5;

/// Why these wait, in a sentence.
fn why(waiting: &Waiting, workers: &[WorkerOffer]) -> String {
    let until = waiting.until.map_or("soon".to_owned(), |until| format!("at {}", show::instant(until)));
    let rail = &waiting.rail;
    match waiting.reason {
        WaitReason::Paused => "the run is paused".to_owned(),
        WaitReason::Held => format!("people must decide: `holds {}`", waiting.run),
        WaitReason::NoWorker => "no worker lives".to_owned(),
        WaitReason::NotBegun => "no worker has let the run begin yet".to_owned(),
        WaitReason::NoWorkerForRail => format!("no worker that lives offers the rail {rail}"),
        WaitReason::CredentialMissing => {
            let name = waiting.credential.as_deref().unwrap_or_default();
            format!("no worker can read the credential {name} (PAYFLEET_RAIL_CREDENTIAL_{name})")
        }
        WaitReason::AccountStopped => {
            format!("nothing is sent from {rail}/{}: `rails list` says why", waiting.account)
        }
        WaitReason::WorkersInTrouble => {
            let trouble = workers.iter().find_map(|worker| worker.trouble.as_deref()).unwrap_or("not ready");
            format!("every worker that could take them is in trouble: {trouble}")
        }
        WaitReason::RateLimit => format!("{rail}/{} takes no more calls a second", waiting.account),
        WaitReason::InHand => "workers have them in hand".to_owned(),
        WaitReason::BackOff => {
            let times =
                if waiting.failures == 1 { "once".to_owned() } else { format!("{} times in a row", waiting.failures) };
            let code = waiting.code.as_deref().unwrap_or("unknown");
            format!("tried {times} without a result ({code}: {}); tried again {until}", failure(code))
        }
        WaitReason::Postponed => format!("handed back without a try; looked at again {until}"),
        WaitReason::Lookup => format!("perhaps sent; the rail is asked {until}, when the request is dead"),
        WaitReason::News => format!("accepted; the rail is asked for news {until}"),
        WaitReason::Statement => {
            format!(
                "accepted; the statement of {rail}/{} tells, which `payfleet-reconciler watch` reads",
                waiting.account
            )
        }
        WaitReason::Turn => "the next worker that is free takes them".to_owned(),
    }
}

/// What a try brought that was no result.
fn failure(code: &str) -> &'static str {
    match code {
        "unknown" => "no answer that says what became of it",
        "not_executed" => "the rail took nothing, as when it is asked too often or cannot be reached",
        _ => "what the rail said last",
    }
}

fn open_since(waiting: &Waiting, now: OffsetDateTime) -> Option<u64> {
    waiting.since.map(|since| (now - since).whole_seconds().max(0).unsigned_abs())
}

/// One line for each reason.
pub fn lines(waits: &Waits, now: OffsetDateTime) -> Vec<String> {
    let line = |waiting: &Waiting| {
        let since = open_since(waiting, now).map_or(String::new(), |secs| format!(", open since {}", show::span(secs)));
        let batches = if waiting.batches == 1 { "1 batch".to_owned() } else { format!("{} batches", waiting.batches) };
        format!(
            "{batches} ({} payouts) of {}/{}{since}: {}",
            waiting.payouts,
            waiting.rail,
            waiting.account,
            why(waiting, &waits.workers)
        )
    };
    waits.waiting.iter().map(line).collect()
}

/// What waits, as a table; nothing if nothing does.
pub fn table(waits: &Waits, now: OffsetDateTime) -> String {
    if waits.waiting.is_empty() {
        return String::new();
    }
    let mut table = show::table(&["reason", "rail/account", "batches", "payouts", "open since", "why"]);
    for waiting in &waits.waiting {
        let since = open_since(waiting, now).map_or("-".to_owned(), show::span);
        table.add_row([
            show::word(waiting.reason.code()),
            comfy_table::Cell::new(format!("{}/{}", waiting.rail, waiting.account)),
            show::number(waiting.batches),
            show::number(waiting.payouts),
            comfy_table::Cell::new(since),
            comfy_table::Cell::new(why(waiting, &waits.workers)),
        ]);
    }
    format!("{table}\n")
}

/// What the workers that live lack, a line each; nothing if they have what they need.
pub fn workers(workers: &[WorkerOffer]) -> String {
    let lacking: Vec<String> = workers.iter().filter_map(lacking).collect();
    let more = lacking.len().saturating_sub(WORKERS_SHOWN);
    let mut text: String = lacking.iter().take(WORKERS_SHOWN).map(|line| format!("  {line}\n")).collect();
    if more > 0 {
        text.push_str(&format!("  and {more} more\n"));
    }
    text
}

fn lacking(worker: &WorkerOffer) -> Option<String> {
    let mut parts: Vec<String> = Vec::new();
    parts.extend(worker.trouble.clone().map(|trouble| format!("is not ready: {trouble}")));
    if !worker.lacks.is_empty() {
        parts.push(format!("cannot read {}", worker.lacks.join(", ")));
    }
    (!parts.is_empty()).then(|| format!("worker {} {}", worker.name, parts.join("; ")))
}

/// The same for programs.
pub fn json(waits: &Waits, now: OffsetDateTime) -> Value {
    let instant = |at: Option<OffsetDateTime>| at.and_then(|at| at.format(&Rfc3339).ok());
    waits
        .waiting
        .iter()
        .map(|waiting| {
            json!({
                "run": waiting.run.0, "reason": waiting.reason.code(), "why": why(waiting, &waits.workers),
                "rail": waiting.rail, "account": waiting.account, "credential": waiting.credential,
                "batches": waiting.batches, "payouts": waiting.payouts, "since": instant(waiting.since),
                "since_secs": open_since(waiting, now), "until": instant(waiting.until), "failures": waiting.failures,
                "code": waiting.code,
            })
        })
        .collect()
}

/// The workers that have said so in Postgres, for programs.
pub fn offers_json(workers: &[WorkerOffer]) -> Value {
    workers
        .iter()
        .map(|worker| {
            json!({
                "worker": worker.name, "rails": worker.rails, "lacks": worker.lacks, "paced": worker.paced,
                "trouble": worker.trouble, "draining": worker.is_ending,
            })
        })
        .collect()
}
