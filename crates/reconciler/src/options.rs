//! The command line and its environment.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use payfleet_domain::{Person, Rail, RunId};
use payfleet_input::{How, ReadArgs};
use payfleet_runtime::secret::{DatabaseArgs, TokenArgs};
use payfleet_runtime::state::StateArgs;
use payfleet_runtime::telemetry::LogArgs;

/// Compares what rails say that they paid with plan and ledger.
///
/// A run becomes `reconciled` only by this program. Exit codes: 0 no difference; 4 differences found; 64 usage; 65 a
/// statement cannot be read; 69 Postgres or a rail cannot be reached, or the database is behind what was seen of it; 70
/// a broken invariant; 75 the run is still open, its statements do not reach far enough yet, or another reconciler is
/// at it.
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
    #[command(flatten)]
    pub(crate) state: StateArgs,
    /// How to log.
    #[command(flatten)]
    pub log: LogArgs,
}

/// What to do.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Compare one run now, and report
    Run(RunArgs),
    /// Read on in the statements of all accounts, and judge every run of which there is news, again and again, until
    /// SIGTERM
    Watch(WatchArgs),
    /// Read the statements of all accounts into a database that was restored from a backup, or promoted without its
    /// last writes
    ///
    /// Nothing is concluded but what the statements prove. The fleet goes on when two people say so:
    /// `payfleet-coordinator recover`. Ends with 75 while a statement does not reach past all requests that may be on
    /// their way.
    Recover(RecoverArgs),
}

/// Where the rails are. Credentials are read from PAYFLEET_RAIL_CREDENTIAL_<NAME>, or from the file named by
/// PAYFLEET_RAIL_CREDENTIAL_<NAME>_FILE.
#[derive(Debug, Clone, clap::Args)]
pub struct RailArgs {
    /// The sandbox rail, as http://host:port
    #[arg(long, env = "PAYFLEET_SANDBOX_URL", value_name = "URL", global = true)]
    pub sandbox_url: Option<String>,
    /// A file that says where the funding accounts of the real rails are (TOML, one `[[account]]` each; no secrets)
    #[arg(long, env = "PAYFLEET_RAIL_ACCOUNTS", value_name = "FILE", global = true)]
    pub rail_accounts: Option<PathBuf>,
    /// How long a rail may take to begin with its answer
    #[arg(long, env = "PAYFLEET_CALL_TIMEOUT", value_parser = humantime::parse_duration, default_value = "10s",
          value_name = "DURATION", global = true)]
    pub call_timeout: Duration,
}

/// What counts as a difference.
#[derive(Debug, Clone, clap::Args)]
pub struct CompareArgs {
    /// Payouts without an answer for longer than this are a difference
    #[arg(long, env = "PAYFLEET_UNKNOWN_AFTER", value_parser = humantime::parse_duration, default_value = "24h",
          value_name = "DURATION")]
    pub unknown_after: Duration,
}

/// How to compare one run.
#[derive(Debug, Clone, clap::Args)]
pub struct RunArgs {
    /// The number of the run, as `payfleet-coordinator status` shows it
    #[arg(value_name = "RUN")]
    pub run: RunId,
    /// A statement as CSV with the header key,reference,amount_minor,currency,destination,status,at; read instead of
    /// asking the rails. May be repeated
    ///
    /// Whose it is must be clear: by its end row (#end,RAIL/ACCOUNT,LINES,,FROM,complete,UNTIL), by RAIL/ACCOUNT=
    /// before the file, or because the run is paid from one account only. Payments on it count at once. A return makes
    /// money due again only when a second person has confirmed it (`payfleet-coordinator statements`): whoever hands it
    /// in with a token is the first. A payment that was accepted and is `rejected` there is held. Without the end row
    /// it proves nothing to be missing.
    ///
    /// A file of another encoding than UTF-8, or with other delimiters than commas, is recognised, and it is said how
    /// it was read. All that is wrong with it is said at once, and then nothing of it is taken.
    #[arg(long = "statement", value_name = "[RAIL/ACCOUNT=]FILE.csv")]
    pub statements: Vec<StatementFile>,
    /// How the statements are written
    #[command(flatten)]
    pub read: ReadArgs,
    /// Who hands them in
    #[command(flatten)]
    pub who: TokenArgs,
    /// Print one JSON object instead of tables
    #[arg(long)]
    pub json: bool,
    /// If the run is still open, try again until it is settled
    #[arg(long)]
    pub wait: bool,
    /// How long --wait waits
    #[arg(long, env = "PAYFLEET_RECONCILE_TIMEOUT", value_parser = humantime::parse_duration, default_value = "10m",
          value_name = "DURATION")]
    pub timeout: Duration,
    /// Print destinations in full
    #[arg(long)]
    pub show_destinations: bool,
    #[command(flatten)]
    pub(crate) compare: CompareArgs,
}

/// How to read what was paid.
#[derive(Debug, Clone, clap::Args)]
pub struct RecoverArgs {
    /// A statement as CSV, as for `run`, of a rail that cannot be asked. May be repeated
    ///
    /// Handed in by an approver of all tenants, with their token: `payfleet-coordinator recover` shows whose file it
    /// is that says how far the account is known, and the two who decide go by it. A rail that answers is asked all
    /// the same.
    #[arg(long = "statement", value_name = "RAIL/ACCOUNT=FILE.csv")]
    pub statements: Vec<StatementFile>,
    /// How the statements are written
    #[command(flatten)]
    pub read: ReadArgs,
    /// Who hands them in
    #[command(flatten)]
    pub who: TokenArgs,
    /// Read on until every statement reaches far enough
    #[arg(long)]
    pub wait: bool,
    /// How long --wait waits
    #[arg(long, env = "PAYFLEET_RECOVER_TIMEOUT", value_parser = humantime::parse_duration, default_value = "10m",
          value_name = "DURATION")]
    pub timeout: Duration,
}

/// How to go on comparing.
#[derive(Debug, Clone, clap::Args)]
pub struct WatchArgs {
    /// How often to look
    #[arg(long, env = "PAYFLEET_RECONCILE_INTERVAL", value_parser = humantime::parse_duration, default_value = "60s",
          value_name = "DURATION")]
    pub interval: Duration,
    /// Where /healthz, /readyz and /metrics are served, as ADDRESS:PORT; nowhere if it is not said
    #[arg(long, env = "PAYFLEET_ADMIN_LISTEN", value_name = "ADDRESS")]
    pub admin_listen: Option<SocketAddr>,
    /// Look once, and end: for cron
    ///
    /// Ends with 4 if a run that it judged in this look differs, else with 69 if a rail or Postgres was away, 64
    /// without URL or credential for a rail, 65 if a statement cannot be read, and 0 otherwise. The next look without
    /// news ends with 0 though a run is still discrepant: `run` and `payfleet-coordinator status` show it. A double
    /// payment in a run that is not over pauses the run and is an ERROR in the log.
    #[arg(long, env = "PAYFLEET_ONCE")]
    pub once: bool,
    #[command(flatten)]
    pub(crate) compare: CompareArgs,
}

/// A statement that somebody hands in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatementFile {
    /// Rail and account that it is of, if that was said.
    pub account: Option<(String, String)>,
    /// The file.
    pub path: PathBuf,
    /// Who hands it in, if they said so.
    pub handed_in_by: Option<Person>,
    /// How it is written.
    pub how: How,
}

impl FromStr for StatementFile {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // A file of just this name is meant, whatever stands in it.
        let named = text.split_once('=').filter(|_| !Path::new(text).exists());
        let Some((account, path)) =
            named.and_then(|(account, path)| account.split_once('/').map(|account| (account, path)))
        else {
            return Ok(StatementFile { account: None, path: text.into(), handed_in_by: None, how: How::default() });
        };
        let rail = Rail::named(account.0).map_err(|unknown| unknown.to_string())?.name;
        if account.1.is_empty() || path.is_empty() {
            return Err(format!("`{text}` is not RAIL/ACCOUNT=FILE"));
        }
        let account = Some((rail.to_owned(), account.1.to_owned()));
        Ok(StatementFile { account, path: path.into(), handed_in_by: None, how: How::default() })
    }
}
