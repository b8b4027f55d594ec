//! One comparison of one run: read what is new of its accounts' statements, record what is proven, close, compare,
//! conclude.

use std::time::{Duration, Instant};

use payfleet_domain::{Rail, RunId, RunState, TokenHash};
use payfleet_input::ReadArgs;
use payfleet_rails::{Accounts, RailsConfig, RealRails, Registry};
use payfleet_runtime::exit::ExitCode;
use payfleet_runtime::secret::TokenArgs;
use payfleet_runtime::shutdown::Shutdown;
use payfleet_store::{AccountRead, Applied, CloseVerdict, Compared, OpenBatches, StatementAccount, Store, Uncovered};

use crate::options::{RailArgs, RunArgs, StatementFile};
use crate::ports::{Books, Session};
use crate::statement::{account_fetch, file_take};
use crate::{ReconcileError, report};

/// How often statements are read on because the run changed meanwhile, or they do not reach far enough.
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
        // A reconciler never submits.
        let config =
            RailsConfig { sandbox_url: args.sandbox_url.clone(), call_timeout: args.call_timeout, null_rail: true };
        let accounts = Accounts::from_file(args.rail_accounts.as_deref())?;
        Ok(Rails::of(Registry::with_real(&config, &RealRails { accounts, live: true })?))
    }

    /// The rails of a registry that is there already.
    pub fn of(registry: Registry) -> Rails {
        Rails { registry }
    }
}

/// How a comparison ended.
#[derive(Debug, Clone)]
pub enum Ended {
    /// With a verdict, `reconciled` or `discrepant`. It is the run's state too, unless that is `cancelled`.
    Verdict(RunState),
    /// Everything was compared, but the run gets no verdict: it is stopped for people, or paid over a rail without
    /// statements. It keeps its state.
    Kept {
        /// Its state.
        state: RunState,
        /// Why it is not settled, if people must act.
        why: Option<String>,
    },
    /// Payments are under way, so that nothing can be said but what has been unknown for too long.
    Open(Vec<OpenBatches>),
    /// Nothing speaks against the run, but the statements of these accounts do not reach past its last payment, so
    /// nothing is proven to be there.
    Uncovered(Vec<Uncovered>),
}

/// What one comparison did and found. The differences themselves wait in the session.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// How it ended.
    pub ended: Ended,
    /// What the statements proved, whichever run they spoke of.
    pub applied: Applied,
    /// What was found.
    pub compared: Compared,
    /// Where the statements came from.
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
            (Ended::Open(_) | Ended::Uncovered(_) | Ended::Kept { why: Some(_), .. }, _) => ExitCode::Busy,
        }
    }
}

/// Whether the rail of an account has statements.
pub(crate) fn has_statement(account: &StatementAccount) -> bool {
    Rail::named(&account.rail).is_ok_and(|rail| rail.has_statement)
}

/// Compares the run of the session once, with what is new of the statements of its accounts, or with files.
pub async fn reconcile_once(
    session: &mut dyn Session,
    books: &dyn Books,
    rails: &Rails,
    files: &[StatementFile],
    unknown_after: Duration,
    shutdown: &Shutdown,
) -> Result<Outcome, ReconcileError> {
    let run = session.run().id;
    let mut applied = Applied::default();
    let mut passes = 0;
    loop {
        passes += 1;
        let accounts: Vec<StatementAccount> = session.accounts().await?.into_iter().filter(has_statement).collect();
        let mut sources = Vec::new();
        let mut take = |session: &mut dyn Session, source: String, read: Option<AccountRead>| match read {
            None => Err(ReconcileError::Busy(run)),
            Some(read) => {
                session.lines_add(read.lines);
                applied += read.applied;
                sources.push(source);
                Ok(())
            }
        };
        for file in files {
            let (source, read) = file_take(books, file, &accounts, shutdown).await?;
            take(session, source, read)?;
        }
        if files.is_empty() {
            for account in &accounts {
                let read = account_fetch(books, rails, account, shutdown).await?;
                take(session, format!("{}/{}", account.rail, account.account), read)?;
            }
        }
        let judged = judge(session, &sources, unknown_after).await?;
        // Files do not grow while one looks at them.
        let may_read_on = files.is_empty() && passes < PASSES_MAX;
        match &judged.0 {
            Ended::Uncovered(_) if may_read_on => {
                tracing::info!(%run, "payouts are newer than the statement; reading on");
                session.restart().await?;
            }
            _ => {
                let (ended, compared, without_statement) = judged;
                return Ok(Outcome { ended, applied, compared, sources, without_statement });
            }
        }
    }
}

/// Compares the run of the session with what statements have said so far, and writes its verdict. Returns with it the
/// rails of the run that have none.
pub async fn judge(
    session: &mut dyn Session,
    sources: &[String],
    unknown_after: Duration,
) -> Result<(Ended, Compared, Vec<String>), ReconcileError> {
    let balance = session.run_close().await?;
    let mut silent: Vec<String> = session
        .accounts()
        .await?
        .into_iter()
        .filter(|account| !has_statement(account))
        .map(|account| account.rail)
        .collect();
    silent.dedup();
    let open = session.batches_open().await?;
    if !open.is_empty() {
        let compared = session.compare_open(unknown_after).await?;
        return Ok((Ended::Open(open), compared, silent));
    }
    let uncovered = session.uncovered().await?;
    let compared = session.compare(unknown_after).await?;
    if compared.discrepancies == 0 && (!uncovered.is_empty() || compared.newer_than_statement > 0) {
        return Ok((Ended::Uncovered(uncovered), compared, silent));
    }
    let has_silent_rails = session.has_silent_rails().await?;
    let verdict = session.verdict_write(&sources.join(", "), has_silent_rails).await?;
    let ended = match (verdict.verdict, verdict.state) {
        (Some(verdict), _) => Ended::Verdict(verdict),
        (None, state @ (RunState::Settled | RunState::Cancelled)) => Ended::Kept { state, why: None },
        (None, state) => Ended::Kept { state, why: Some(why_open(session, &balance).await?) },
    };
    Ok((ended, compared, silent))
}

async fn why_open(session: &mut dyn Session, balance: &CloseVerdict) -> Result<String, ReconcileError> {
    if let CloseVerdict::NotBalanced(difference) = balance {
        return Ok(format!(
            "outcomes do not add up to what was due in {}: {} payouts planned and {} accounted for, \
             {} exclusions planned and {} written",
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

/// The command `run`. What the statements say of other runs is judged too, after this one.
pub(crate) async fn run_command(
    store: &Store,
    rails: &Rails,
    args: &RunArgs,
    shutdown: &Shutdown,
) -> Result<ExitCode, ReconcileError> {
    let deadline = Instant::now() + args.timeout;
    let files = handed_in(store, &args.statements, &args.read, &args.who).await?;
    store.generation_check("reconciler").await?;
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
                    let outcome = reconcile_once(&mut session, store, rails, &files, after, shutdown).await?;
                    if outcome.exit_code() != ExitCode::Busy || !may_wait {
                        report::print(&mut session, &outcome, args).await?;
                        session.close().await?;
                        others_judge(store, args.run, after).await?;
                        return Ok(outcome.exit_code());
                    }
                    session.close().await?;
                }
            },
        }
        tokio::select! {
            () = tokio::time::sleep(POLL.min(deadline.saturating_duration_since(Instant::now()))) => {}
            () = shutdown.requested() => return Err(ReconcileError::Interrupted),
        }
    }
}

/// The files of the command line, with who hands them in.
pub(crate) async fn handed_in(
    store: &Store,
    files: &[StatementFile],
    read: &ReadArgs,
    who: &TokenArgs,
) -> Result<Vec<StatementFile>, ReconcileError> {
    let token = match files.is_empty() {
        true => None,
        false => who.given()?,
    };
    let person = match token {
        Some(token) => Some(store.person_find(TokenHash::of(token.expose())?).await??),
        None => None,
    };
    let files = files.iter().cloned();
    Ok(files.map(|file| StatementFile { handed_in_by: person.clone(), how: read.how(), ..file }).collect())
}

/// Judges the runs of which the statements brought news, beside the one that was asked for.
async fn others_judge(store: &Store, but: RunId, unknown_after: Duration) -> Result<(), ReconcileError> {
    for run in store.runs_to_judge().await? {
        if run != but && store.run_is_judged(run).await? {
            crate::watch::run_judge(store, run, unknown_after).await?;
        }
    }
    Ok(())
}
