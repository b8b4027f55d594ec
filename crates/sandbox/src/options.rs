//! The options of the program. Parsing only.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::FalseyValueParser;
use payfleet_runtime::secret::{Secret, SecretError, read_secret};
use payfleet_runtime::telemetry::LogArgs;

use crate::engine::Settings;
use crate::faults::FaultConfig;

/// The sandbox rail: pays nobody, keeps a journal of what it would have paid, and misbehaves on demand.
///
/// Prints "listening on http://ADDRESS" on stdout once it takes requests.
#[derive(Clone, Debug, clap::Parser)]
#[command(name = "payfleet-sandbox", version)]
pub struct Options {
    /// Where to listen; port 0 takes any free one
    #[arg(long, env = "PAYFLEET_SANDBOX_LISTEN", default_value = "127.0.0.1:8090", value_name = "ADDRESS")]
    pub listen: SocketAddr,
    /// Where the journal is kept; made if it does not exist
    #[arg(long, env = "PAYFLEET_SANDBOX_DATA_DIR", value_name = "DIR")]
    pub data_dir: PathBuf,
    /// What every request must bear as `Authorization: Bearer TOKEN` [default: none needed]
    #[arg(long, env = "PAYFLEET_SANDBOX_TOKEN", hide_env_values = true)]
    token: Option<Secret>,
    /// A file that holds the token, instead of --token
    #[arg(long, env = "PAYFLEET_SANDBOX_TOKEN_FILE", value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Start of the generator that faults are drawn from
    #[arg(long, env = "PAYFLEET_SANDBOX_SEED", value_name = "N")]
    pub seed: Option<u64>,
    /// How long after its acceptance a batch settles
    #[arg(long, env = "PAYFLEET_SANDBOX_BATCH_SETTLE_AFTER", default_value = "200ms",
        value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub batch_settle_after: Duration,
    /// How long after its acceptance a file is on the statement
    #[arg(long, env = "PAYFLEET_SANDBOX_STATEMENT_AFTER", default_value = "24h",
        value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub statement_after: Duration,
    /// How long idempotency keys are remembered
    #[arg(long, env = "PAYFLEET_SANDBOX_KEY_HORIZON", default_value = "24h",
        value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub key_horizon: Duration,
    /// Requests a second and account, 429 above it; 0 is no limit
    #[arg(long, env = "PAYFLEET_SANDBOX_RATE_LIMIT", default_value = "0", value_name = "N")]
    pub rate_limit: u32,
    /// The faults to begin with, for example {"lose_answer":0.1,"refuse":{"account_closed":0.01}}
    #[arg(long, env = "PAYFLEET_SANDBOX_FAULTS", default_value = "{}", hide_default_value = true,
        value_name = "JSON", value_parser = FaultConfig::from_json)]
    pub faults: FaultConfig,
    /// Wait for the disk before answering, not only for the operating system
    #[arg(long, env = "PAYFLEET_SANDBOX_FSYNC", value_parser = FalseyValueParser::new())]
    pub fsync: bool,
    /// Logs
    #[command(flatten)]
    pub logs: LogArgs,
}

impl Options {
    /// The token, if requests must bear one.
    pub fn token(&self) -> Result<Option<Secret>, SecretError> {
        read_secret(self.token.clone(), self.token_file.clone(), "token")
    }
}

impl From<Options> for Settings {
    fn from(options: Options) -> Self {
        let mut faults = options.faults;
        faults.seed = options.seed.unwrap_or(faults.seed);
        Self {
            data_dir: options.data_dir,
            batch_settle_after: options.batch_settle_after,
            statement_after: options.statement_after,
            key_horizon: options.key_horizon,
            rate_limit: options.rate_limit,
            faults,
            fsync: options.fsync,
        }
    }
}
