//! `tick`: what cron does each minute, so that an interrupted coordinator delays a run by a minute at most. Safe to run
//! several times at once. What goes wrong with one run is told, and keeps it from no other.

use payfleet_domain::RunState;
use payfleet_runtime::exit::ExitCode;
use payfleet_store::Store;

use crate::cli::{Cli, PlanArgs};
use crate::connect::{SWEEPER_WILL, open_queue};
use crate::failure::Failure;
use crate::plan::{OnPause, Planning, complete};
use crate::recover::plan_guard;
use crate::{hints, show};

/// Far more runs than are ever planned at once.
const RUNS_MAX: i64 = 10_000;

/// `tick`.
pub async fn tick(store: &Store, cli: &Cli, args: &PlanArgs) -> Result<ExitCode, Failure> {
    let mut failed = 0_u64;
    for run in store.runs_list(None, RUNS_MAX).await? {
        if run.state != RunState::Planning || run.pause_reason.is_some() {
            continue;
        }
        let planned = match plan_guard(store, run.tenant).await {
            Ok(()) => complete(store, run.id, *args, OnPause::Stop).await,
            Err(wait) => Err(wait),
        };
        match planned {
            Ok(Planning::Complete) => show::print(&format!("run {}: the plan is complete\n", run.id)),
            Ok(Planning::Paused) => {}
            // It goes on by itself when that is over.
            Err(wait) if wait.code() == ExitCode::Busy => {
                show::print(&format!("run {} of {} waits: {wait}\n", run.id, run.tenant_name));
            }
            // The others would meet the same.
            Err(failure) if failure.code() == ExitCode::Unavailable => return Err(failure),
            Err(failure) => {
                failed += 1;
                show::print(&format!("run {} of {}: the plan failed: {failure}\n", run.id, run.tenant_name));
            }
        }
    }
    let begun = store.runs_begin().await?;
    if begun > 0 {
        show::print(&format!("runs begun: {begun}\n"));
    }
    if let Some(queue) = open_queue(cli, SWEEPER_WILL).await? {
        let published = hints::publish(store, &queue).await?;
        if published > 0 {
            show::print(&format!("hints published: {published}\n"));
        }
    }
    match failed {
        0 => Ok(ExitCode::Done),
        _ => Err(Failure::broken(format!("plans that failed: {failed}; the others went on"))),
    }
}
