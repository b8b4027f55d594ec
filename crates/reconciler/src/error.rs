//! Why a comparison was not made, and the exit code that says so.

use std::path::PathBuf;

use payfleet_domain::{NoToken, RunId};
use payfleet_memory::MemoryError;
use payfleet_rails::{RegistryError, StatementError};
use payfleet_runtime::exit::ExitCode;
use payfleet_runtime::health::HealthError;
use payfleet_runtime::secret::SecretError;
use payfleet_store::{StoreError, WhoError};

/// Why a comparison was not made.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// There is no such run.
    #[error("there is no run {0}; `payfleet-coordinator status` lists them")]
    NoRun(RunId),
    /// The run is not even planned.
    #[error("run {0} is still being planned; try again when it has been paid")]
    NotPlanned(RunId),
    /// Another reconciler holds the run.
    #[error("another reconciler compares run {0} at this moment; try again when it has ended")]
    Busy(RunId),
    /// SIGTERM came first.
    #[error("asked to end before the comparison was made; nothing was concluded")]
    Interrupted,
    /// It is not clear which account a file is of.
    #[error("--statement {}: {why}", path.display())]
    WhichAccount {
        /// The file.
        path: PathBuf,
        /// What is not clear, and what to write.
        why: String,
    },
    /// A rail of the run has no adapter in this process.
    #[error(
        "the run is paid over {rail}, which this process cannot ask: give --sandbox-url, or its statement with \
         --statement"
    )]
    NoAdapter {
        /// The rail.
        rail: String,
    },
    /// A secret is missing or ambiguous.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// Nobody is known by the token.
    #[error(transparent)]
    Who(#[from] WhoError),
    /// What was given is no token.
    #[error("PAYFLEET_TOKEN: {0}")]
    NoToken(#[from] NoToken),
    /// The rails are not configured.
    #[error(transparent)]
    Rails(#[from] RegistryError),
    /// The admin port.
    #[error(transparent)]
    Health(#[from] HealthError),
    /// A rail gave no whole statement.
    #[error(transparent)]
    Statement(#[from] StatementError),
    /// A file cannot be opened or read.
    #[error("--statement: cannot read {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A file is not a statement. Nothing of it was taken.
    #[error("{report}")]
    Malformed {
        /// What is wrong, one line for each, with its place.
        report: String,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The folder for what must outlive it.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// Nothing is to be recovered.
    #[error("no recovery is open; `payfleet-coordinator recover --begin` opens one")]
    NoRecovery,
    /// It is not clear which account a file is of, since a recovery reads all.
    #[error("--statement {}: write RAIL/ACCOUNT=FILE", .0.display())]
    NoAccount(PathBuf),
    /// By what a file leaves out, money may go out again.
    #[error(
        "--statement {}: by what a file leaves out, money may go out again after a recovery, so a person hands it in, \
         with the token in PAYFLEET_TOKEN_FILE",
        .0.display()
    )]
    NobodysFile(PathBuf),
    /// The report could not be written.
    #[error("the report could not be written")]
    Output(#[from] std::io::Error),
    /// The signals could not be taken.
    #[error("signals cannot be handled")]
    Signals(#[source] std::io::Error),
}

/// A server that cannot be used as it is.
macro_rules! unusable {
    () => {
        StoreError::Unreachable { .. }
            | StoreError::Unfit { .. }
            | StoreError::Schema(_)
            | StoreError::Behind(_)
            | StoreError::Memory(_)
    };
}

impl ReconcileError {
    /// How the program ends by it.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            ReconcileError::NoRun(_)
            | ReconcileError::WhichAccount { .. }
            | ReconcileError::NoAdapter { .. }
            | ReconcileError::Secret(_)
            | ReconcileError::Who(_)
            | ReconcileError::NoToken(_)
            | ReconcileError::Statement(StatementError::None { .. })
            | ReconcileError::Rails(
                RegistryError::SandboxUrl { .. }
                | RegistryError::NoTime
                | RegistryError::Account { .. }
                | RegistryError::AccountsUnreadable { .. }
                | RegistryError::AccountsFile { .. },
            )
            | ReconcileError::NoRecovery
            | ReconcileError::NoAccount(_)
            | ReconcileError::NobodysFile(_)
            | ReconcileError::Memory(MemoryError::State(_))
            | ReconcileError::Store(StoreError::Url)
            | ReconcileError::Memory(MemoryError::Store(StoreError::Url)) => ExitCode::Usage,
            ReconcileError::Unreadable { .. }
            | ReconcileError::Malformed { .. }
            | ReconcileError::Statement(StatementError::Unreadable { .. }) => ExitCode::BadInput,
            ReconcileError::Statement(
                StatementError::Unreachable { .. } | StatementError::Denied { .. } | StatementError::BrokeOff { .. },
            )
            | ReconcileError::Rails(RegistryError::Client(_))
            | ReconcileError::Signals(_)
            | ReconcileError::Health(_)
            | ReconcileError::Store(unusable!())
            | ReconcileError::Memory(MemoryError::Store(unusable!())) => ExitCode::Unavailable,
            ReconcileError::NotPlanned(_) | ReconcileError::Busy(_) | ReconcileError::Interrupted => ExitCode::Busy,
            ReconcileError::Store(error @ StoreError::Statement { .. })
            | ReconcileError::Memory(MemoryError::Store(error @ StoreError::Statement { .. }))
                if error.is_outage() =>
            {
                ExitCode::Unavailable
            }
            ReconcileError::Store(StoreError::Statement { .. } | StoreError::Broken(_))
            | ReconcileError::Memory(MemoryError::Store(StoreError::Statement { .. } | StoreError::Broken(_)))
            | ReconcileError::Output(_) => ExitCode::Broken,
        }
    }
}
