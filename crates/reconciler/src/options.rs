//! The command line and its environment.

use std::path::PathBuf;
use std::time::Duration;

use payfleet_domain::RunId;
use payfleet_runtime::secret::DatabaseArgs;
use payfleet_runtime::telemetry::LogArgs;

/// Compares what rails say that they paid with plan and ledger.
///
/// A run becomes `reconciled` only by this program. Exit codes: 0 no difference; 4 differences found; 64 usage; 65 a statement cannot be read;
/// 69 Postgres or a rail cannot be reached; 70 a broken invariant; 75 the run is still open, or another reconciler is at it.
#[derive(Debug, clap::Parser)]
#[command(name = "payfleet-reconciler", version, max_term_width = 120)]
pub struct Options {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    #[command(flatten)]
    pub(crate) database: DatabaseArgs,
    #[command(flatten)]
    pub(crate) rails: RailArgs,
    /// How to log.
    #[command(flatten)]
    pub log: LogArgs,
}

/// What to do.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Compare one run now, and report
    Run(RunArgs),
    /// Compare every run that a statement can bring news of, again and again, until SIGTERM
    Watch(WatchArgs),
}

/// Where the rails are. Credentials are read from PAYFLEET_RAIL_CREDENTIAL_<NAME>, or from the file named by PAYFLEET_RAIL_CREDENTIAL_<NAME>_FILE.
#[derive(Debug, Clone, clap::Args)]
pub struct RailArgs {
    /// The sandbox rail, as http://host:port
    #[arg(long, env = "PAYFLEET_SANDBOX_URL", value_name = "URL", global = true)]
    pub sandbox_url: Option<String>,
    /// How long a rail may take to begin with its answer
    #[arg(long, env = "PAYFLEET_CALL_TIMEOUT", value_parser = humantime::parse_duration, default_value = "10s", value_name = "DURATION", global = true)]
    pub call_timeout: Duration,
}

/// What counts as a difference.
#[derive(Debug, Clone, clap::Args)]
pub struct CompareArgs {
    /// Payouts without an answer for longer than this are a difference
    #[arg(long, env = "PAYFLEET_UNKNOWN_AFTER", value_parser = humantime::parse_duration, default_value = "24h", value_name = "DURATION")]
    pub unknown_after: Duration,
}

/// How to compare one run.
#[derive(Debug, Clone, clap::Args)]
pub struct RunArgs {
    /// The number of the run, as `payfleet-coordinator status` shows it
    #[arg(value_name = "RUN")]
    pub run: RunId,
    /// A statement as CSV with the header key,reference,amount_minor,currency,destination,status,at; read instead of asking the rails. May be repeated
    #[arg(long = "statement", value_name = "FILE.csv")]
    pub statements: Vec<PathBuf>,
    /// Print one JSON object instead of tables
    #[arg(long)]
    pub json: bool,
    /// If the run is still open, try again until it is settled
    #[arg(long)]
    pub wait: bool,
    /// How long --wait waits
    #[arg(long, env = "PAYFLEET_RECONCILE_TIMEOUT", value_parser = humantime::parse_duration, default_value = "10m", value_name = "DURATION")]
    pub timeout: Duration,
    /// Print destinations in full
    #[arg(long)]
    pub show_destinations: bool,
    #[command(flatten)]
    pub(crate) compare: CompareArgs,
}

/// How to go on comparing.
#[derive(Debug, Clone, clap::Args)]
pub struct WatchArgs {
    /// How often to look for runs
    #[arg(long, env = "PAYFLEET_RECONCILE_INTERVAL", value_parser = humantime::parse_duration, default_value = "60s", value_name = "DURATION")]
    pub interval: Duration,
    #[command(flatten)]
    pub(crate) compare: CompareArgs,
}
