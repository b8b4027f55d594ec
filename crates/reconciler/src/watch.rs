//! `watch`: reads on in the statement of every account that may bring news, and judges every run of which there is
//! some, again and again.

use std::time::Duration;

use payfleet_domain::RunId;
use payfleet_runtime::exit::ExitCode;
use payfleet_runtime::health::{AdminServer, Metrics, Readiness};
use payfleet_runtime::shutdown::Shutdown;
use payfleet_store::{Store, StoreError, chain};
use time::OffsetDateTime;

use crate::options::WatchArgs;
use crate::statement::account_fetch;
use crate::step::{Ended, Rails, judge};
use crate::{ReconcileError, report};

/// Until it is asked to end. An account or a run that cannot be looked at now is tried again at the next turn; the
/// others do not wait for it.
pub(crate) async fn watch(
    store: &Store,
    rails: &Rails,
    args: &WatchArgs,
    shutdown: &Shutdown,
) -> Result<ExitCode, ReconcileError> {
    let readiness = serve(args).await?;
    while !shutdown.is_requested() {
        let turned = tokio::select! {
            turned = turn(store, rails, args.compare.unknown_after, shutdown) => turned,
            // Whatever waits for that session waits in vain. The next turn begins where this one got to.
            () = store.lost() => Err(StoreError::silence().into()),
        };
        let code = match turned {
            Ok(code) => {
                readiness.set_ready();
                code
            }
            Err(error) => {
                tracing::warn!("{}", chain(&error));
                readiness.set_not_ready(chain(&error));
                error.exit_code()
            }
        };
        let watched = store.watched_read().await;
        metrics::gauge!("payfleet_dependency_up", "dependency" => "postgres").set(f64::from(u8::from(watched.is_ok())));
        match watched {
            Ok(watched) => {
                for (name, value) in watched.gauges() {
                    metrics::gauge!(name).set(value);
                }
                metrics::gauge!("payfleet_looked_at_seconds").set(OffsetDateTime::now_utc().unix_timestamp() as f64);
            }
            Err(error) => tracing::debug!(error = chain(&error), "what somebody should hear of is not known"),
        }
        if args.once {
            return Ok(code);
        }
        tokio::select! {
            () = tokio::time::sleep(args.interval) => {}
            () = shutdown.requested() => {}
        }
    }
    Ok(ExitCode::Done)
}

/// Serves probes and metrics, if it is asked for.
async fn serve(args: &WatchArgs) -> Result<Readiness, ReconcileError> {
    let readiness = Readiness::new();
    if let Some(address) = args.admin_listen {
        let admin = AdminServer::bind(address, readiness.clone(), Metrics::install()?).await?;
        tracing::info!(admin = %admin.address(), "watching");
        tokio::spawn(async move {
            if let Err(error) = admin.serve().await {
                tracing::error!("{}", chain(&error));
            }
        });
    }
    Ok(readiness)
}

async fn turn(
    store: &Store,
    rails: &Rails,
    unknown_after: Duration,
    shutdown: &Shutdown,
) -> Result<ExitCode, ReconcileError> {
    // What statements tell a database that is behind is for `recover`, which first lets what is open count as perhaps
    // sent.
    store.generation_check("reconciler").await?;
    let mut code = ExitCode::Done;
    for account in store.accounts_to_read().await? {
        if shutdown.is_requested() {
            return Ok(code);
        }
        let (rail, name) = (account.rail.as_str(), account.account.as_str());
        match account_fetch(store, rails, &account, shutdown).await {
            Ok(None) => tracing::info!(rail, account = name, "another reconciler reads the statement at this moment"),
            Ok(Some(read)) if read.lines == 0 => {}
            Ok(Some(read)) => {
                let applied = &read.applied;
                tracing::info!(
                    rail,
                    account = name,
                    lines = read.lines,
                    settled = applied.settled,
                    returned = applied.returned,
                    late = applied.late,
                    rejected = applied.rejected,
                    "the statement was read on"
                );
                if applied.rejected_otherwise > 0 {
                    tracing::error!(
                        rail,
                        account = name,
                        refusals = applied.rejected_otherwise,
                        "the statement refuses payments that were not waiting, or that count as paid: ask the rail; \
                         the evidence is kept"
                    );
                }
                metrics::counter!("payfleet_payouts_total", "rail" => rail.to_owned(), "outcome" => "late")
                    .increment(applied.late);
                if applied.alarms > 0 {
                    metrics::counter!("payfleet_alarms_total", "rail" => rail.to_owned()).increment(applied.alarms);
                    tracing::error!(
                        rail,
                        account = name,
                        alarms = applied.alarms,
                        "ALARM: the statement proves payments that nobody ordered from here, or more than was ordered; \
                         open runs are paused: `payfleet-coordinator alarms list`"
                    );
                }
            }
            Err(ReconcileError::Interrupted) => return Ok(code),
            Err(error) => {
                metrics::counter!("payfleet_statements_failed_total", "rail" => rail.to_owned()).increment(1);
                tracing::warn!(rail, account = name, "{}", chain(&error));
                code = error.exit_code();
            }
        }
    }
    store.contested_let_go().await?;
    // What a statement has just finished need not wait for a worker to close it.
    for run in store.runs_closable().await? {
        store.run_close(run).await?;
    }
    for run in store.runs_to_judge().await? {
        if shutdown.is_requested() {
            return Ok(code);
        }
        match run_judge(store, run, unknown_after).await {
            Ok(0) => {}
            // Whatever else there was: this wakes somebody.
            Ok(_) => code = ExitCode::Discrepant,
            Err(error) => {
                tracing::warn!(%run, "{}", chain(&error));
                if code != ExitCode::Discrepant {
                    code = error.exit_code();
                }
            }
        }
    }
    Ok(code)
}

/// Judges a run by what statements have said so far. Returns how many differences there are.
pub(crate) async fn run_judge(store: &Store, run: RunId, unknown_after: Duration) -> Result<i64, ReconcileError> {
    let row = store.run_find(run).await?.ok_or(ReconcileError::NoRun(run))?;
    let Some(mut session) = store.reconciliation_open(&row).await? else {
        tracing::info!(%run, "another reconciler compares the run at this moment");
        return Ok(0);
    };
    // A run that waits for its statements, and of which they say nothing odd, need not be compared at each turn.
    if !session.uncovered().await?.is_empty() && !session.has_odd().await? {
        session.close().await?;
        return Ok(0);
    }
    let (ended, compared, _) = judge(&mut session, &["watch".to_owned()], unknown_after).await?;
    let found = compared.discrepancies;
    match &ended {
        Ended::Verdict(verdict) if found == 0 => {
            let held = report::held(&compared.summary.lines).0;
            tracing::info!(%run, verdict = %verdict, held, "compared");
        }
        Ended::Verdict(verdict) => {
            let kinds = report::kinds_line(&mut session).await?;
            tracing::error!(
                %run, verdict = %verdict, found, kinds,
                "compared; `payfleet-reconciler run` shows the differences"
            );
        }
        Ended::Kept { state, why: Some(why) } => {
            tracing::warn!(%run, state = %state, found, why, "compared, and left in its state");
        }
        Ended::Kept { state, why: None } => {
            tracing::info!(%run, state = %state, "compared; its rail has no statements")
        }
        Ended::Open(open) => {
            let payouts: i64 = open.iter().map(|batches| batches.payouts).sum();
            tracing::info!(%run, payouts, found, "still open");
        }
        Ended::Uncovered(_) => tracing::debug!(%run, "the statements do not reach far enough yet"),
    }
    session.close().await?;
    Ok(found)
}
