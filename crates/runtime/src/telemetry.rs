//! Logs, always on stderr, for people or for machines. Metrics are in [`health`](crate::health).
//!
//! A log is never in the way of work: lines wait in memory until somebody reads them, and are dropped and counted if
//! nobody does. What is said again and again is said once, and counted.

mod lines;
mod repeats;

use std::io::IsTerminal;
use std::sync::OnceLock;

use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};
use tracing_subscriber::{EnvFilter, Layer as _, fmt};

use lines::Lines;
use repeats::Repeats;

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
    /// stderr cannot be used.
    #[error("the log cannot be begun")]
    Stderr(#[source] std::io::Error),
}

static LINES: OnceLock<Lines> = OnceLock::new();

/// Sends the logs of this process to stderr. To be called once, first thing; and [`end`] last thing.
pub fn init(args: &LogArgs) -> Result<(), TelemetryError> {
    let filter =
        EnvFilter::try_new(&args.log).map_err(|source| TelemetryError::Filter { filter: args.log.clone(), source })?;
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let lines = Lines::to_stderr().map_err(TelemetryError::Stderr)?;
    let (writer, repeats) = (lines.clone(), Repeats::default());
    let layer =
        fmt::layer().with_writer(move || writer.clone()).with_ansi(std::io::stderr().is_terminal() && !no_color);
    let layer = match args.log_format {
        LogFormat::Text => layer.boxed(),
        LogFormat::Json => layer.json().flatten_event(true).boxed(),
    };
    tracing_subscriber::registry()
        .with(filter)
        .with(repeats.clone())
        .with(layer)
        .try_init()
        .map_err(TelemetryError::AlreadySet)?;
    repeats::tell(repeats, lines.clone());
    let _ = LINES.set(lines); // `try_init` lets nobody come here twice
    // The usual hook writes to stderr itself, and waits there if nobody reads it.
    std::panic::set_hook(Box::new(|panic| tracing::error!("{panic}")));
    Ok(())
}

/// Waits a moment for the lines that were not written yet.
pub fn end() {
    if let Some(lines) = LINES.get() {
        lines.flush();
    }
}

/// How many lines were dropped since nobody read them.
pub fn lines_dropped() -> u64 {
    LINES.get().map_or(0, Lines::dropped)
}
