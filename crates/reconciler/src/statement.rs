//! Getting a statement into a session: from the rails of the run, or from files.

use futures_util::StreamExt;
use payfleet_domain::Rail;
use payfleet_rails::{Account, Credential, StatementError, StatementItem};
use payfleet_runtime::secret::rail_credential;
use payfleet_runtime::shutdown::Shutdown;
use payfleet_store::StatementAccount;
use std::path::PathBuf;
use time::Duration;

use crate::ReconcileError;
use crate::file::{CsvStatement, FileItem};
use crate::ports::Session;
use crate::step::{NO_STATEMENT, Rails};

/// Clocks of rail and database may differ, but not by this.
const BEFORE_THE_RUN: Duration = Duration::DAY;

/// Reads everything that there is to read; returns where it came from.
pub(crate) async fn read(
    session: &mut dyn Session,
    rails: &Rails,
    files: &[PathBuf],
    accounts: &[StatementAccount],
    shutdown: &Shutdown,
) -> Result<Vec<String>, ReconcileError> {
    let mut sources = Vec::new();
    for path in files {
        let mut statement = CsvStatement::open(path)?;
        while let Some(item) = statement.next()? {
            if let FileItem::Line(line) = item {
                session.line_add(line).await?;
            }
            interrupted(session, shutdown)?;
        }
        sources.push(path.display().to_string());
    }
    if files.is_empty() {
        for account in accounts.iter().filter(|account| !NO_STATEMENT.contains(&account.rail.as_str())) {
            ask(session, rails, account, shutdown).await?;
            sources.push(format!("{}/{}", account.rail, account.account));
        }
    }
    session.lines_match().await?;
    Ok(sources)
}

async fn ask(
    session: &mut dyn Session,
    rails: &Rails,
    account: &StatementAccount,
    shutdown: &Shutdown,
) -> Result<(), ReconcileError> {
    let adapter = rails
        .registry
        .adapter(&account.rail)
        .ok_or_else(|| ReconcileError::NoAdapter { rail: account.rail.clone() })?;
    let credential = match &account.credential {
        Some(name) => Some(Credential::new(rail_credential(name)?.expose())),
        None => None,
    };
    let from = session.run().created_at - BEFORE_THE_RUN;
    let account = Account { name: account.account.clone(), credential };
    pass(adapter.rail(), &account, "before").await?;
    let mut lines = adapter.statement(&account, from).await?;
    pass(adapter.rail(), &account, "after").await?;
    loop {
        let line = tokio::select! {
            line = lines.next() => line,
            () = shutdown.requested() => return Err(ReconcileError::Interrupted(session.run().id)),
        };
        match line {
            None => return Ok(()),
            Some(item) => match item? {
                StatementItem::Line(line) => session.line_add(line).await?,
                StatementItem::End(_) => {}
            },
        }
    }
}

/// A failpoint looks like a rail that cannot be reached.
async fn pass(rail: &'static Rail, account: &Account, place: &str) -> Result<(), StatementError> {
    let passed = payfleet_failpoint::pass("statement", place).await;
    passed.map_err(|_| StatementError::Unreachable {
        rail: rail.name,
        account: account.name.clone(),
        why: "a failpoint made it fail",
    })
}

fn interrupted(session: &dyn Session, shutdown: &Shutdown) -> Result<(), ReconcileError> {
    match shutdown.is_requested() {
        true => Err(ReconcileError::Interrupted(session.run().id)),
        false => Ok(()),
    }
}
