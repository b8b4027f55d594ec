//! Compares what rails say that they paid with plan and ledger, and says of each run whether it is reconciled.
//!
//! It believes statements, not what the workers wrote. It pays nothing, plans nothing, and never makes anything
//! refused: of money it records only what a statement proves. All SQL is in `store`.

mod error;
mod file;
mod options;
pub mod ports;
mod recover;
mod report;
mod statement;
mod step;
mod watch;

pub use error::ReconcileError;
#[doc(hidden)] // for trying hostile files
pub use file::{CsvStatement, FileEnd, FileItem};
pub use options::{Command, Options, StatementFile};
pub use statement::account_fetch;
pub use step::{Ended, Outcome, Rails, judge, reconcile_once};

use payfleet_runtime::exit::ExitCode;
use payfleet_runtime::shutdown::Shutdown;
use payfleet_store::{Store, StoreError};

/// Sessions at once: two pieces of a statement that are matched and recorded; or the comparison of payouts and, beside
/// it, of accounts. Those that hold a lock are beside the pool.
const CONNECTIONS: u32 = 2;

/// Does what the command line asks.
pub async fn run(options: Options) -> Result<ExitCode, ReconcileError> {
    let url = options.database.url()?;
    let rails = Rails::new(&options.rails)?;
    let shutdown = Shutdown::on_signals().map_err(ReconcileError::Signals)?;
    let store = Store::connect(url.expose(), CONNECTIONS).await?;
    store.schema_check().await?;
    // It has no Redis: what it remembers is beside it, and what others find out they write into the database.
    let store = payfleet_memory::remembering(store, &options.state, None).await?;
    let code = match &options.command {
        Command::Recover(args) => tokio::select! {
            code = recover::recover(&store, &rails, args, &shutdown) => code,
            () = store.lost() => Err(StoreError::silence().into()),
        },
        Command::Run(args) => tokio::select! {
            code = step::run_command(&store, &rails, args, &shutdown) => code,
            () = store.lost() => Err(StoreError::silence().into()),
        },
        Command::Watch(args) => watch::watch(&store, &rails, args, &shutdown).await,
    };
    store.close().await;
    code
}
