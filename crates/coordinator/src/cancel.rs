//! `pause`, `resume`, `cancel`: how people steer a run.

use payfleet_domain::RunState;
use payfleet_runtime::exit::ExitCode;
use payfleet_store::Store;

use crate::cli::{CancelArgs, PauseArgs, RunNumber};
use crate::failure::Failure;
use crate::plan::{OnPause, complete, find};
use crate::show;

/// `pause`.
pub async fn pause(store: &Store, args: &PauseArgs) -> Result<ExitCode, Failure> {
    store.run_pause(args.run.run, &args.reason).await?;
    show::print(&format!("run {} is paused; what was sent before may still be answered\n", args.run.run));
    Ok(ExitCode::Done)
}

/// `resume`.
pub async fn resume(store: &Store, args: &RunNumber) -> Result<ExitCode, Failure> {
    store.run_resume(args.run).await?;
    show::print(&format!("run {} goes on\n", args.run));
    Ok(ExitCode::Done)
}

/// `cancel`.
pub async fn cancel(store: &Store, args: &CancelArgs) -> Result<ExitCode, Failure> {
    let run = args.run.run;
    if find(store, run).await?.state == RunState::Planning {
        // A half-made plan has closed the windows of half of the accounts, so it must be finished before it can be undone. The pause keeps it
        // from being paid in between, whoever else runs meanwhile.
        store.run_pause(run, "is being cancelled").await?;
        complete(store, run, args.plan, OnPause::GoOn).await?;
    }
    let cancelled = store.run_cancel(run).await?;
    show::print(&format!(
        "run {run} is cancelled: {cancelled} payouts will not be sent, and their money is due again; what was sent before is followed to its end\n"
    ));
    Ok(ExitCode::Done)
}
