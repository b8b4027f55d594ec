//! `watch`: what `run` does, for every run that a statement can bring news of, again and again.

use std::time::Duration;

use payfleet_domain::RunId;
use payfleet_runtime::exit::ExitCode;
use payfleet_runtime::shutdown::Shutdown;
use payfleet_store::Store;

use crate::options::WatchArgs;
use crate::step::{Ended, Rails, reconcile_once};
use crate::{ReconcileError, report};

/// Until it is asked to end. A run that cannot be compared now is tried again at the next turn; the others do not wait for it.
pub(crate) async fn watch(
    store: &Store,
    rails: &Rails,
    args: &WatchArgs,
    shutdown: &Shutdown,
) -> Result<ExitCode, ReconcileError> {
    while !shutdown.is_requested() {
        match store.runs_to_reconcile().await {
            Ok(runs) => {
                for run in runs {
                    if shutdown.is_requested() {
                        break;
                    }
                    if let Err(error) = turn(store, rails, run, args.compare.unknown_after, shutdown).await {
                        match error {
                            ReconcileError::Interrupted(_) => break,
                            ReconcileError::Busy(_) | ReconcileError::Restless(_) => tracing::info!(%run, "{error}"),
                            error => tracing::warn!(%run, "{}", error.with_sources()),
                        }
                    }
                }
            }
            Err(error) => tracing::warn!("{error}"),
        }
        tokio::select! {
            () = tokio::time::sleep(args.interval) => {}
            () = shutdown.requested() => {}
        }
    }
    Ok(ExitCode::Done)
}

async fn turn(
    store: &Store,
    rails: &Rails,
    run: RunId,
    unknown_after: Duration,
    shutdown: &Shutdown,
) -> Result<(), ReconcileError> {
    let row = store.run_find(run).await?.ok_or(ReconcileError::NoRun(run))?;
    let mut session = store.reconciliation_open(&row).await?.ok_or(ReconcileError::Busy(run))?;
    let outcome = reconcile_once(&mut session, rails, &[], unknown_after, shutdown).await?;
    let (lines, found, applied) = (session.lines(), outcome.compared.discrepancies, outcome.applied);
    match &outcome.ended {
        Ended::Verdict(state) if found == 0 => tracing::info!(%run, lines, state = %state, "compared"),
        Ended::Verdict(state) => {
            let kinds = report::kinds_line(&mut session).await?;
            tracing::error!(%run, lines, state = %state, found, kinds, "compared; `payfleet-reconciler run` shows the differences");
        }
        Ended::Kept { state, why } => {
            tracing::warn!(%run, lines, state = %state, found, why, "compared, and left in its state");
        }
        Ended::Open(open) => {
            let payouts: i64 = open.iter().map(|batches| batches.payouts).sum();
            tracing::info!(%run, lines, payouts, settled = applied.settled, returned = applied.returned, found, "still open");
        }
    }
    session.close().await?;
    Ok(())
}
