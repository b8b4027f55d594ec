//! Planning a run to its end, chunk by chunk. Every chunk is a transaction of the store's own, so this may be interrupted anywhere and gone on
//! with by anybody.

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
    let bar = progress::steps(0, &format!("planning run {run}"));
    let planning = loop {
        let planned = match on_pause {
            OnPause::Stop => store.plan_chunk(run, args.chunk, args.batch_size).await?,
            OnPause::GoOn => store.plan_chunk_paused(run, args.chunk, args.batch_size).await?,
        };
        match planned {
            Planned::Chunk(chunk) => {
                bar.set_length(chunk.end.unsigned_abs());
                bar.set_position(chunk.cursor.unsigned_abs());
            }
            Planned::Complete => break Planning::Complete,
            Planned::Paused => break Planning::Paused,
        }
    };
    bar.finish_and_clear();
    Ok(planning)
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
