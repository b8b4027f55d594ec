//! Logs, always on stderr, for people or for machines. Metrics are in [`health`](crate::health).

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::TryInitError;

/// How and what to log. To be flattened into a program's options.
#[derive(Clone, Debug, clap::Args)]
pub struct LogArgs {
    /// How log lines look
    #[arg(long, env = "PAYFLEET_LOG_FORMAT", value_enum, default_value = "text", value_name = "FORMAT", global = true)]
    pub log_format: LogFormat,
    /// What is logged: a level, or a filter such as info,payfleet_store=debug
    #[arg(long, env = "PAYFLEET_LOG", default_value = "info", value_name = "FILTER", global = true)]
    pub log: String,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// One line for people; coloured on a terminal unless NO_COLOR is set.
    Text,
    /// One JSON object a line.
    Json,
}

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter cannot be parsed: a mistake on the command line.
    #[error("--log {filter}: not a filter; use a level, or for example info,payfleet_store=debug")]
    Filter {
        /// What was given.
        filter: String,
        /// What is wrong with it.
        source: tracing_subscriber::filter::ParseError,
    },
    /// Something else in this process logs already.
    #[error("logging is already set up")]
    AlreadySet(#[source] TryInitError),
}

/// Sends the logs of this process to stderr. To be called once, first thing.
pub fn init(args: &LogArgs) -> Result<(), TelemetryError> {
    use tracing_subscriber::util::SubscriberInitExt as _;

    let filter =
        EnvFilter::try_new(&args.log).map_err(|source| TelemetryError::Filter { filter: args.log.clone(), source })?;
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal() && !no_color);
    match args.log_format {
        LogFormat::Text => builder.finish().try_init(),
        LogFormat::Json => builder.json().flatten_event(true).finish().try_init(),
    }
    .map_err(TelemetryError::AlreadySet)
}
