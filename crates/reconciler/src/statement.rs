//! Taking in the next part of an account's statement: from the rail, or from a file.

use futures_util::StreamExt;
use payfleet_domain::{Rail, RunId};
use payfleet_rails::{Account, Credential, StatementError, StatementItem};
use payfleet_runtime::secret::rail_credential;
use payfleet_runtime::shutdown::Shutdown;
use payfleet_store::{AccountRead, Applied, StatementAccount, StatementSource, Told};

use crate::ReconcileError;
use crate::file::{CsvStatement, FileItem};
use crate::options::StatementFile;
use crate::ports::{Books, Reading};
use crate::step::Rails;

/// Asks the rail for what is new since the last part, and takes it in. `None` if another one is at it.
pub async fn account_fetch(
    books: &dyn Books,
    rails: &Rails,
    account: &StatementAccount,
    shutdown: &Shutdown,
) -> Result<Option<AccountRead>, ReconcileError> {
    let Some(mut reading) = books.account_open(account, StatementSource::Rail).await? else { return Ok(None) };
    match fetch(reading.as_mut(), rails, account, shutdown).await {
        Ok(end) => {
            let read = reading.end(end).await?;
            tell(account, &read);
            Ok(Some(read))
        }
        Err(error) => {
            reading.abandon().await?;
            Err(error)
        }
    }
}

async fn fetch(
    reading: &mut dyn Reading,
    rails: &Rails,
    account: &StatementAccount,
    shutdown: &Shutdown,
) -> Result<Option<payfleet_domain::StatementEnd>, ReconcileError> {
    let adapter = rails
        .registry
        .adapter(&account.rail)
        .ok_or_else(|| ReconcileError::NoAdapter { rail: account.rail.clone() })?;
    let credential = match &account.credential {
        Some(name) => Some(Credential::new(rail_credential(name)?.expose())),
        None => None,
    };
    let Some(from) = reading.from() else { return Ok(None) };
    let account = Account { name: account.account.clone(), credential };
    pass(adapter.rail(), &account, "before").await?;
    let mut items = adapter.statement(&account, from).await?;
    pass(adapter.rail(), &account, "after").await?;
    let mut end = None;
    loop {
        let item = tokio::select! {
            item = items.next() => item,
            () = shutdown.requested() => return Err(ReconcileError::Interrupted),
        };
        match item {
            None => return Ok(end),
            Some(item) => match item? {
                StatementItem::Line(line) => reading.line_add(line).await?,
                StatementItem::End(mark) => end = Some(mark),
            },
        }
    }
}

/// Takes in a file, and says what it is called, and how it was read if that is anything but the usual. It is read to
/// its end before anything of it is believed: a payment could hide behind a line that cannot be understood.
pub(crate) async fn file_take(
    books: &dyn Books,
    file: &StatementFile,
    accounts: &[StatementAccount],
    shutdown: &Shutdown,
) -> Result<(String, Option<AccountRead>), ReconcileError> {
    let (read_as, named) = read_through(file, shutdown)?;
    let account = account_of(file, named, accounts)?;
    let name = file.path.display().to_string();
    let called = read_as.map_or_else(|| name.clone(), |read_as| format!("{name} ({read_as})"));
    let source = StatementSource::File { name, person: file.handed_in_by.clone() };
    let Some(mut reading) = books.account_open(&account, source).await? else { return Ok((called, None)) };
    let mut statement = CsvStatement::open(&file.path, &file.how)?;
    let mut end = None;
    while let Some(item) = statement.next()? {
        if shutdown.is_requested() {
            reading.abandon().await?;
            return Err(ReconcileError::Interrupted);
        }
        match item {
            FileItem::Line(line) => reading.line_add(line).await?,
            FileItem::End(mark) => end = Some(mark.reach),
        }
    }
    let read = reading.end(end).await?;
    tell(&account, &read);
    Ok((called, Some(read)))
}

/// That money came back, or had been paid after all, is said whatever the verdict: it changes none by itself.
fn tell(account: &StatementAccount, read: &AccountRead) {
    let applied = &read.applied;
    if applied.told.is_empty() {
        return;
    }
    tracing::warn!(
        rail = account.rail,
        account = account.account,
        returned = applied.returned,
        late = applied.late,
        runs = told_text(applied),
        "payouts came back, or were proven paid after their money was due again; \
         `payfleet-coordinator status RUN` shows what came back, `contests list` what was paid late"
    );
}

/// In which runs payouts came back or were proven paid late: how many, and which if they are few.
pub(crate) fn told_text(applied: &Applied) -> String {
    let run = |(run, told): (&RunId, &Told)| {
        let payouts: Vec<String> = told.payouts.iter().map(ToString::to_string).collect();
        let more = if told.count > told.payouts.len() as u64 { ", ..." } else { "" };
        format!("run {run}: {} ({}{more})", told.count, payouts.join(", "))
    };
    applied.told.iter().map(run).collect::<Vec<_>>().join("; ")
}

type ReadThrough = (Option<String>, Option<(String, String)>);

/// Reads all of a file; returns how, if that is anything but the usual, and the account that its end names, if it has
/// one.
fn read_through(file: &StatementFile, shutdown: &Shutdown) -> Result<ReadThrough, ReconcileError> {
    let statement = CsvStatement::open(&file.path, &file.how)?;
    let read_as = statement.read_as();
    if let Some(read_as) = &read_as {
        tracing::info!(file = %file.path.display(), "read as {read_as}");
    }
    let end = statement.check(|| shutdown.is_requested())?;
    Ok((read_as, end.map(|end| (end.rail.name.to_owned(), end.account))))
}

/// The account that a file is of: as it was said, as the file says, or the only one that there is.
fn account_of(
    file: &StatementFile,
    named: Option<(String, String)>,
    accounts: &[StatementAccount],
) -> Result<StatementAccount, ReconcileError> {
    let unclear = |why: String| ReconcileError::WhichAccount { path: file.path.clone(), why };
    let names = || accounts.iter().map(|one| format!("{}/{}", one.rail, one.account)).collect::<Vec<_>>().join(", ");
    let wanted = match (&file.account, named) {
        (Some(said), Some(named)) if *said != named => {
            return Err(unclear(format!(
                "its end says that it is of {}/{}, and {}/{} is asked for",
                named.0, named.1, said.0, said.1
            )));
        }
        (Some(said), _) => Some(said.clone()),
        (None, named) => named,
    };
    match (wanted, accounts) {
        (Some((rail, account)), _) => {
            let found = accounts.iter().find(|one| one.rail == rail && one.account == account).cloned();
            found.ok_or_else(|| unclear(format!("the run is not paid from {rail}/{account}, but from {}", names())))
        }
        (None, [only]) => Ok(only.clone()),
        (None, _) => Err(unclear(format!("the run is paid from {}: write --statement RAIL/ACCOUNT=FILE", names()))),
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
