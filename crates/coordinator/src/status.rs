//! `status`: the latest runs, or everything about one.

mod one;

use std::io::IsTerminal;
use std::time::Duration;

use payfleet_domain::RunId;
use payfleet_memory::MemoryError;
use payfleet_queue::{Queue, WorkerBeat};
use payfleet_runtime::exit::ExitCode;
use payfleet_store::{FundingRow, RunAside, RunRow, Store, Waits, chain};
use serde_json::Value;

use crate::cli::{Cli, StatusArgs};
use crate::connect::open_queue;
use crate::failure::Failure;
use crate::rails::tenant;
use crate::report::{RunFields, other_verdict};
use crate::{funding, plan, show, waits};

/// How often the screen is drawn again.
const EVERY: Duration = Duration::from_secs(2);

/// `status`.
pub async fn status(store: &Store, cli: &Cli, args: &StatusArgs) -> Result<ExitCode, Failure> {
    let queue = open_queue(cli, "which workers are alive is not known").await?;
    let mut every = tokio::time::interval(EVERY);
    loop {
        every.tick().await;
        let workers = workers(queue.as_ref()).await;
        let standing = Standing::of(store, cli, queue.as_ref()).await?;
        let (text, is_open) = match args.run {
            Some(run) => {
                let row = plan::find(store, run).await?;
                (one::show(store, &row, workers.as_deref(), &standing, args.json).await?, row.state.is_open())
            }
            None => (list(store, args, workers.as_deref(), &standing).await?, true),
        };
        if args.watch && !args.json && std::io::stdout().is_terminal() {
            show::print("\x1b[H\x1b[2J"); // to the top, and clear
        }
        show::print(&text);
        if !args.watch || !is_open {
            return Ok(ExitCode::Done);
        }
    }
}

/// Whether the database is the one that the fleet knows. If not, nothing else matters; so it is said first, and the
/// rest all the same.
#[derive(Debug, serde::Serialize)]
struct Standing {
    /// What the database lacks of what was seen of it, by what is remembered here and in Redis.
    behind: Option<String>,
    /// The recovery that is open.
    recovery: Option<OpenRecovery>,
    /// Funding accounts with which something is or was wrong.
    accounts: Value,
    #[serde(skip)]
    funding: Vec<FundingRow>,
}

#[derive(Debug, serde::Serialize)]
struct OpenRecovery {
    #[serde(with = "time::serde::rfc3339")]
    opened_at: time::OffsetDateTime,
    found_by: String,
    words: String,
}

impl Standing {
    async fn of(store: &Store, cli: &Cli, queue: Option<&Queue>) -> Result<Standing, Failure> {
        let behind = match payfleet_memory::missing(store, &cli.state, queue).await {
            Ok(behind) => behind,
            Err(MemoryError::Store(error)) => return Err(error.into()),
            Err(error) => {
                tracing::warn!(error = chain(&error), "what this host has seen of the database is not known");
                None
            }
        };
        let recovery = store.recovery_find().await?.map(|recovery| OpenRecovery {
            opened_at: recovery.opened_at,
            found_by: recovery.found_by,
            words: recovery.words,
        });
        let funding = store.funding_list().await?;
        Ok(Standing { behind, recovery, accounts: funding::as_json(&funding), funding })
    }

    fn text(&self) -> String {
        let mut text = String::new();
        if let Some(behind) = &self.behind {
            text.push_str(&format!(
                "THE DATABASE IS BEHIND what was seen of it before: {behind}\n  it was restored from a backup, or a \
                 standby was promoted that lacked the last writes; do not let it pay: deploy/RUNBOOK.md, \
                 \"A backup is restored, or a standby is promoted\"\n\n"
            ));
        }
        if let Some(recovery) = &self.recovery {
            text.push_str(&format!(
                "A RECOVERY IS OPEN since {}: nothing is planned, sent or freed before two people agree that it is \
                 over: `recover`\n  found by {}: {}\n\n",
                show::instant(recovery.opened_at),
                recovery.found_by,
                recovery.words
            ));
        }
        let stopped = funding::lines(&self.funding);
        if !stopped.is_empty() {
            text.push_str(&format!("{stopped}\n"));
        }
        text
    }
}

/// The workers alive; `None` if that is not known.
async fn workers(queue: Option<&Queue>) -> Option<Vec<WorkerBeat>> {
    match queue?.workers().await {
        Ok(workers) => Some(workers),
        Err(error) => {
            tracing::warn!(error = chain(&error), "which workers are alive is not known");
            None
        }
    }
}

async fn list(
    store: &Store,
    args: &StatusArgs,
    workers: Option<&[WorkerBeat]>,
    known: &Standing,
) -> Result<String, Failure> {
    let tenant = match &args.tenant {
        Some(name) => Some(tenant(store, name).await?),
        None => None,
    };
    let runs = store.runs_list(tenant, args.limit).await?;
    let alarms = store.alarms_open().await?;
    let ids: Vec<RunId> = runs.iter().map(|run| run.id).collect();
    let asides = store.runs_aside(&ids).await?;
    let aside = |run: &RunRow| asides.get(&run.id).copied().unwrap_or_default();
    let open: Vec<RunId> = runs.iter().filter(|run| run.state.is_open()).map(|run| run.id).collect();
    let (waits, now) = (store.waits_read(&open).await?, store.now().await?);
    if args.json {
        let runs: Vec<ListFields<'_>> = runs.iter().map(|run| ListFields::of(run, aside(run))).collect();
        return json(&serde_json::json!({
            "behind": known.behind, "recovery": known.recovery, "accounts": known.accounts, "runs": runs,
            "waits": waits::json(&waits, now),
            "workers": workers_json(workers), "offers": waits::offers_json(&waits.workers), "alarms": alarms,
        }));
    }
    let mut table = show::table(&["run", "tenant", "period", "state", "payouts", "cutoff", "created"]);
    for run in &runs {
        table.add_row([
            show::number(run.id),
            comfy_table::Cell::new(&run.tenant_name),
            comfy_table::Cell::new(period(run)),
            standing(run, aside(run)),
            show::number(run.payouts),
            comfy_table::Cell::new(show::instant(run.cutoff)),
            comfy_table::Cell::new(show::instant(run.created_at)),
        ]);
    }
    let runs = if runs.is_empty() { "no runs yet".to_owned() } else { table.to_string() };
    let alarms = match alarms {
        0 => String::new(),
        open => format!("{open} alarms wait for an answer: `alarms list`\n"),
    };
    let waiting: String = waits::lines(&waits, now)
        .iter()
        .zip(&waits.waiting)
        .filter(|(_, waiting)| !waiting.reason.is_work())
        .map(|(line, waiting)| format!("run {} waits: {line}\n", waiting.run))
        .collect();
    Ok(format!("{}{runs}\n{waiting}{}\n{alarms}", known.text(), workers_text(workers, &waits)))
}

/// Who is alive, and what they lack.
fn workers_text(beats: Option<&[WorkerBeat]>, waits: &Waits) -> String {
    let lacking = waits::workers(&waits.workers);
    let line = match beats {
        Some(_) => workers_line(beats),
        None => format!("workers alive: {} by Postgres; Redis is not there to ask", waits.workers.len()),
    };
    format!("{line}\n{lacking}").trim_end().to_owned()
}

/// A run in the list, for programs. Fields may be added, never changed.
#[derive(serde::Serialize)]
struct ListFields<'a> {
    #[serde(flatten)]
    run: RunFields<'a>,
    /// Payouts that are held, and that came back.
    held: i64,
    returned: i64,
}

impl<'a> ListFields<'a> {
    fn of(run: &'a RunRow, aside: RunAside) -> ListFields<'a> {
        ListFields { run: run.into(), held: aside.held, returned: aside.returned }
    }
}

/// Where a run stands: its state, a verdict that says something else, and what came back or waits for people.
fn standing(run: &RunRow, aside: RunAside) -> comfy_table::Cell {
    let state = match &run.pause_reason {
        Some(_) => "paused",
        None => run.state.as_str(),
    };
    let verdict = other_verdict(run);
    let mut words = vec![match verdict {
        Some(verdict) => format!("{state} and {verdict}"),
        None => state.to_owned(),
    }];
    words.extend((aside.returned > 0).then(|| format!("{} returned", aside.returned)));
    words.extend((aside.held > 0).then(|| format!("{} held", aside.held)));
    // Whatever else there is: a difference waits for people.
    let word = verdict.map_or(state, |verdict| verdict.as_str());
    show::in_colour_of(word, &words.join(", "))
}

fn period(run: &RunRow) -> String {
    if run.sequence == 1 { run.period.clone() } else { format!("{} ({})", run.period, run.sequence) }
}

fn workers_line(workers: Option<&[WorkerBeat]>) -> String {
    let workers = workers.unwrap_or_default();
    let draining = workers.iter().filter(|worker| worker.draining).count();
    let batches: u32 = workers.iter().map(|worker| worker.batches_in_flight).sum();
    let ending = if draining > 0 { format!(" ({draining} ending)") } else { String::new() };
    format!("workers alive: {}{ending}, with {batches} batches in hand", workers.len())
}

fn workers_json(workers: Option<&[WorkerBeat]>) -> serde_json::Value {
    match workers {
        None => serde_json::Value::Null,
        Some(workers) => workers
            .iter()
            .map(|worker| {
                serde_json::json!({
                    "worker": worker.worker, "version": worker.version,
                    "started_at": worker.started_at.unix_timestamp(),
                    "batches_in_flight": worker.batches_in_flight, "draining": worker.draining,
                })
            })
            .collect(),
    }
}

fn json(value: &impl serde::Serialize) -> Result<String, Failure> {
    serde_json::to_string(value)
        .map(|text| text + "\n")
        .map_err(|error| Failure::broken(format!("a result cannot be written: {error}")))
}
