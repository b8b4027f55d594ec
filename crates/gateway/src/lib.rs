//! The gateway: what others may reach. Each door is on a listener of its own. It cannot pay: it links no rail, and its
//! role in Postgres may do no more than its doors need.

mod options;
mod webhooks;

use std::net::SocketAddr;
use std::path::PathBuf;

use payfleet_notices::AccountsError;
use payfleet_runtime::exit::ExitCode;
use payfleet_runtime::health::HealthError;
use payfleet_runtime::secret::SecretError;
use payfleet_store::StoreError;

pub use options::{Door, Options, WebhooksArgs};

/// Why the gateway did not start, or had to end.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// A URL or a secret is missing or cannot be read.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// Postgres.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The admin port.
    #[error(transparent)]
    Health(#[from] HealthError),
    /// The file of the funding accounts says nothing that can be used.
    #[error(transparent)]
    Accounts(#[from] AccountsError),
    /// It cannot be read.
    #[error("the funding accounts in {} cannot be read: {source}", path.display())]
    AccountsUnreadable {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The address is taken, or not ours.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// TLS or the resolver could not be set up.
    #[error("the HTTP client cannot be set up on this machine: {0}")]
    Client(reqwest::Error),
    /// Signals cannot be received.
    #[error("signals cannot be received: {0}")]
    Signals(std::io::Error),
}

impl GatewayError {
    /// How the program ends.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            GatewayError::Secret(_)
            | GatewayError::Accounts(_)
            | GatewayError::AccountsUnreadable { .. }
            | GatewayError::Store(StoreError::Url) => ExitCode::Usage,
            GatewayError::Store(StoreError::Broken(_)) => ExitCode::Broken,
            GatewayError::Store(_)
            | GatewayError::Health(_)
            | GatewayError::Listen { .. }
            | GatewayError::Client(_)
            | GatewayError::Signals(_) => ExitCode::Unavailable,
        }
    }
}

/// Opens the door that was asked for, until it is told to stop.
pub async fn run(options: Options) -> Result<(), GatewayError> {
    match &options.door {
        Door::Webhooks(args) => webhooks::run(&options.database, args).await,
    }
}
