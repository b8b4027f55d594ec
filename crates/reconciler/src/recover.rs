//! `recover`: what was paid since a database was saved that was restored, or since a standby that was promoted had its
//! last write. The coordinator, which ends a recovery, knows no rails; here they are asked.

use std::time::{Duration, Instant};

use payfleet_domain::Rail;
use payfleet_runtime::exit::ExitCode;
use payfleet_runtime::shutdown::Shutdown;
use payfleet_store::{AccountRead, RecoveryAccount, StatementAccount, Store, chain};

use crate::ReconcileError;
use crate::options::RecoverArgs;
use crate::statement::{account_fetch, file_take};
use crate::step::{Rails, handed_in};

/// How often `--wait` reads on.
const POLL: Duration = Duration::from_secs(2);

pub(crate) async fn recover(
    store: &Store,
    rails: &Rails,
    args: &RecoverArgs,
    shutdown: &Shutdown,
) -> Result<ExitCode, ReconcileError> {
    let deadline = Instant::now() + args.timeout;
    // Whoever comes first, before anything is read: else a payment would look like one that nobody can have sent.
    if !store.recovery_doubt().await? {
        return Err(ReconcileError::NoRecovery);
    }
    files_take(store, args, shutdown).await?;
    loop {
        let mut code = ExitCode::Done;
        for RecoveryAccount { account, is_read, by_file, .. } in store.recovery_accounts().await? {
            let is_brought =
                args.statements.iter().any(|file| file.account.as_ref().is_some_and(|of| is_of(of, &account)));
            let lists_itself = Rail::named(&account.rail).is_ok_and(Rail::lists_itself);
            // Who answers is asked, whatever a file says.
            if is_read && (by_file.is_none() || !lists_itself) || is_brought && !lists_itself {
                continue;
            }
            match account_fetch(store, rails, &account, shutdown).await {
                Ok(None) => code = ExitCode::Busy,
                Ok(Some(read)) => told(&account, &read),
                Err(ReconcileError::Interrupted) => return Err(ReconcileError::Interrupted),
                // The others are read all the same.
                Err(error) => {
                    tracing::error!(rail = account.rail, account = account.account, "{}", chain(&error));
                    code = error.exit_code();
                }
            }
        }
        let unread: Vec<RecoveryAccount> =
            store.recovery_accounts().await?.into_iter().filter(|account| !account.is_read).collect();
        if unread.is_empty() {
            tracing::info!("all statements are read; `payfleet-coordinator recover` shows what they say");
            return Ok(ExitCode::Done);
        }
        if !args.wait || Instant::now() >= deadline {
            for RecoveryAccount { account, wanted, .. } in &unread {
                tracing::warn!(
                    rail = account.rail, account = account.account, %wanted,
                    "the statement does not reach far enough yet"
                );
            }
            return Ok(if code == ExitCode::Done { ExitCode::Busy } else { code });
        }
        tokio::select! {
            () = tokio::time::sleep(POLL) => {}
            () = shutdown.requested() => return Err(ReconcileError::Interrupted),
        }
    }
}

/// Takes in the files of the command line.
async fn files_take(store: &Store, args: &RecoverArgs, shutdown: &Shutdown) -> Result<(), ReconcileError> {
    let accounts: Vec<StatementAccount> =
        store.recovery_accounts().await?.into_iter().map(|account| account.account).collect();
    for file in handed_in(store, &args.statements, &args.read, &args.who).await? {
        if file.handed_in_by.is_none() {
            return Err(ReconcileError::NobodysFile(file.path));
        }
        let Some(account) = accounts.iter().find(|one| file.account.as_ref().is_some_and(|of| is_of(of, one))) else {
            return Err(ReconcileError::NoAccount(file.path));
        };
        if let (_, Some(read)) = file_take(store, &file, &accounts, shutdown).await? {
            told(account, &read);
        }
    }
    Ok(())
}

fn is_of(named: &(String, String), account: &StatementAccount) -> bool {
    *named == (account.rail.clone(), account.account.clone())
}

fn told(account: &StatementAccount, read: &AccountRead) {
    let applied = &read.applied;
    tracing::info!(
        rail = account.rail,
        account = account.account,
        lines = read.lines,
        settled = applied.settled,
        returned = applied.returned,
        late = applied.late,
        alarms = applied.alarms,
        "the statement was read"
    );
}
