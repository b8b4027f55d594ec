//! One comparison of one run: read, record what is proven, close, compare, conclude.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use payfleet_domain::RunState;
use payfleet_rails::{RailsConfig, Registry};
use payfleet_runtime::exit::ExitCode;
use payfleet_runtime::shutdown::Shutdown;
use payfleet_store::{Applied, CloseVerdict, Compared, OpenBatches, Store};

use crate::options::{RailArgs, RunArgs};
use crate::ports::Session;
use crate::{ReconcileError, report, statement};

/// Rails that move no money, and so have no statement.
pub(crate) const NO_STATEMENT: &[&str] = &["null"];

/// How often a statement is read again because the run changed meanwhile.
const PASSES_MAX: u32 = 3;

/// How often `--wait` looks again.
const POLL: Duration = Duration::from_secs(2);

/// The rails that can be asked.
pub struct Rails {
    pub(crate) registry: Registry,
}

impl Rails {
    /// By the command line.
    pub fn new(args: &RailArgs) -> Result<Rails, ReconcileError> {
        let config = RailsConfig { sandbox_url: args.sandbox_url.clone(), call_timeout: args.call_timeout };
        Ok(Rails::of(Registry::new(&config)?))
    }

    /// These.
    pub fn of(registry: Registry) -> Rails {
        Rails { registry }
    }
}

/// How a comparison ended.
#[derive(Debug, Clone)]
pub enum Ended {
    /// With a verdict; the run is `reconciled` or `discrepant` now.
    Verdict(RunState),
    /// Everything was compared, but the run cannot be settled: it is cancelled, or stopped for people. It keeps its state.
    Kept {
        /// Its state.
        state: RunState,
        /// Why it is not settled, if people must act.
        why: Option<String>,
    },
    /// Payments are under way, so that nothing can be said but what has been unknown for too long.
    Open(Vec<OpenBatches>),
}

/// What one comparison did and found. The differences themselves wait in the session.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// How it ended.
    pub ended: Ended,
    /// What the statement proved.
    pub applied: Applied,
    /// What was found.
    pub compared: Compared,
    /// Where the statement came from.
    pub sources: Vec<String>,
    /// Rails of the run that have no statement.
    pub without_statement: Vec<String>,
}

impl Outcome {
    /// How the program ends by it.
    pub fn exit_code(&self) -> ExitCode {
        match (&self.ended, self.compared.discrepancies) {
            (_, 1..) => ExitCode::Discrepant,
            (Ended::Verdict(_) | Ended::Kept { why: None, .. }, _) => ExitCode::Done,
            (Ended::Open(_) | Ended::Kept { why: Some(_), .. }, _) => ExitCode::Busy,
        }
    }
}

/// Compares the run of the session once.
pub async fn reconcile_once(
    session: &mut dyn Session,
    rails: &Rails,
    files: &[PathBuf],
    unknown_after: Duration,
    shutdown: &Shutdown,
) -> Result<Outcome, ReconcileError> {
    let run = session.run().id;
    let mut applied = Applied::default();
    for _ in 0..PASSES_MAX {
        let accounts = session.accounts().await?;
        let sources = statement::read(session, rails, files, &accounts, shutdown).await?;
        let proven = session.evidence_apply().await?;
        applied = Applied {
            settled: applied.settled + proven.settled,
            returned: applied.returned + proven.returned,
            alarms: applied.alarms + proven.alarms,
        };
        let balance = session.run_close().await?;
        let without_statement: Vec<String> = accounts
            .into_iter()
            .map(|account| account.rail)
            .filter(|rail| NO_STATEMENT.contains(&rail.as_str()))
            .collect();
        let open = session.batches_open().await?;
        if !open.is_empty() {
            let compared = session.compare_open(unknown_after).await?;
            return Ok(Outcome { ended: Ended::Open(open), applied, compared, sources, without_statement });
        }
        let compared = session.compare(NO_STATEMENT, unknown_after).await?;
        if compared.newer_than_statement > 0 {
            tracing::info!(%run, payouts = compared.newer_than_statement, "payouts are newer than the statement; reading it again");
            session.restart().await?;
            continue;
        }
        let verdict = session.verdict_write(&sources.join(", ")).await?;
        let ended = match verdict.state {
            state @ (RunState::Reconciled | RunState::Discrepant) => Ended::Verdict(state),
            state @ (RunState::Planning | RunState::Planned | RunState::Paying | RunState::Settled) => {
                Ended::Kept { state, why: Some(why_open(session, &balance).await?) }
            }
            state @ RunState::Cancelled => Ended::Kept { state, why: None },
        };
        return Ok(Outcome { ended, applied, compared, sources, without_statement });
    }
    Err(ReconcileError::Restless(run))
}

async fn why_open(session: &mut dyn Session, balance: &CloseVerdict) -> Result<String, ReconcileError> {
    if let CloseVerdict::NotBalanced(difference) = balance {
        return Ok(format!(
            "outcomes do not add up to what was due in {}: {} payouts planned and {} accounted for, {} exclusions planned and {} written",
            difference.currency,
            difference.payouts.0,
            difference.payouts.1,
            difference.exclusions.0,
            difference.exclusions.1
        ));
    }
    let row = session.run_read().await?;
    let reason = row.as_ref().and_then(|run| run.pause_reason.clone());
    Ok(match reason {
        None if row.is_some_and(|run| run.state == RunState::Planned) => "its payment has not begun".to_owned(),
        Some(reason) => format!("it is paused ({reason}); `payfleet-coordinator resume` lets it go on"),
        None => "nothing of it is open; it is about to be settled".to_owned(),
    })
}

/// The command `run`.
pub(crate) async fn run_command(
    store: &Store,
    rails: &Rails,
    args: &RunArgs,
    shutdown: &Shutdown,
) -> Result<ExitCode, ReconcileError> {
    let deadline = Instant::now() + args.timeout;
    loop {
        let row = store.run_find(args.run).await?.ok_or(ReconcileError::NoRun(args.run))?;
        let may_wait = args.wait && Instant::now() < deadline;
        match row.state {
            RunState::Planning if !may_wait => return Err(ReconcileError::NotPlanned(args.run)),
            RunState::Planning => {}
            _ => match store.reconciliation_open(&row).await? {
                None if !may_wait => return Err(ReconcileError::Busy(args.run)),
                None => {}
                Some(mut session) => {
                    let after = args.compare.unknown_after;
                    let outcome = reconcile_once(&mut session, rails, &args.statements, after, shutdown).await?;
                    if outcome.exit_code() != ExitCode::Busy || !may_wait {
                        report::print(&mut session, &outcome, args).await?;
                        session.close().await?;
                        return Ok(outcome.exit_code());
                    }
                    session.close().await?;
                }
            },
        }
        tokio::select! {
            () = tokio::time::sleep(POLL.min(deadline.saturating_duration_since(Instant::now()))) => {}
            () = shutdown.requested() => return Err(ReconcileError::Interrupted(args.run)),
        }
    }
}
