//! Planning a run to its end, chunk by chunk, several at once. Every chunk is a transaction of the store's own, so this
//! may be interrupted anywhere and gone on with by anybody.

use futures_util::future::try_join_all;
use indicatif::ProgressBar;
use payfleet_domain::RunId;
use payfleet_store::{Planned, RunRow, Store};

use crate::cli::PlanArgs;
use crate::failure::Failure;
use crate::ports::SystemOfRecord;
use crate::progress;

/// How far planning came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Planning {
    /// Everybody is planned.
    Complete,
    /// The run is paused.
    Paused,
}

/// Whether a pause stops the planning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnPause {
    /// It does.
    Stop,
    /// The plan is finished only to be cancelled, and the pause keeps it from being paid meanwhile.
    GoOn,
}

/// Plans what is left of a run.
pub async fn complete(
    store: &dyn SystemOfRecord,
    run: RunId,
    args: PlanArgs,
    on_pause: OnPause,
) -> Result<Planning, Failure> {
    let bar = progress::spinner(&format!("planning run {run}"));
    let sessions = (0..args.connections).map(|_| session(store, run, args, on_pause, &bar));
    let ended = try_join_all(sessions).await?;
    bar.finish_and_clear();
    // A session that found nothing left ended with the plan, whatever the others met.
    Ok(if ended.contains(&Planning::Complete) { Planning::Complete } else { Planning::Paused })
}

/// What one connection does: the next chunk that nobody is at, until there is none.
async fn session(
    store: &dyn SystemOfRecord,
    run: RunId,
    args: PlanArgs,
    on_pause: OnPause,
    bar: &ProgressBar,
) -> Result<Planning, Failure> {
    loop {
        let planned = match on_pause {
            OnPause::Stop => store.plan_chunk(run, args.chunk, args.batch_size).await?,
            OnPause::GoOn => store.plan_chunk_paused(run, args.chunk, args.batch_size).await?,
        };
        match planned {
            Planned::Chunk(chunk) => {
                bar.inc(chunk.accounts.unsigned_abs());
                bar.set_message(format!("planning run {run}: {} accounts", bar.position()));
            }
            Planned::Complete => return Ok(Planning::Complete),
            Planned::Paused => return Ok(Planning::Paused),
        }
    }
}

/// Why nothing goes on, and how it would.
pub fn paused(run: &RunRow) -> Failure {
    let why = run.pause_reason.as_deref().unwrap_or("no reason is given");
    Failure::busy(format!("run {id} is paused: {why}; `resume {id}` lets it go on", id = run.id))
}

/// The run as it stands now.
pub async fn find(store: &Store, run: RunId) -> Result<RunRow, Failure> {
    store.run_find(run).await?.ok_or_else(|| Failure::usage(format!("there is no run {run}; `status` lists them")))
}
