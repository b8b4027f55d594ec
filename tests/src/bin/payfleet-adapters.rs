//! The adapters of the real rails, driven from outside: one JSON request a line on stdin, one JSON answer a line on
//! stdout. So that programs of others (`scripts/contract-check`) can judge what they send and what they conclude.

use std::io::{BufRead, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use payfleet_tests::adapters::Adapters;

/// Speaks to rails for whoever writes to it; pays nobody for real (an account that is live keeps it from starting).
#[derive(Debug, Parser)]
#[command(name = "payfleet-adapters", version)]
struct Options {
    /// The funding accounts, as workers read them
    #[arg(long, value_name = "FILE")]
    rail_accounts: PathBuf,
    /// How long a call may take
    #[arg(long, default_value_t = 10_000, value_name = "MS")]
    call_timeout_ms: u64,
}

#[tokio::main]
async fn main() -> ExitCode {
    let options = Options::parse();
    match Adapters::open(&options.rail_accounts, Duration::from_millis(options.call_timeout_ms)) {
        Ok(adapters) => serve(&adapters).await,
        Err(why) => {
            eprintln!("payfleet-adapters: {why}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(adapters: &Adapters) -> ExitCode {
    for line in std::io::stdin().lock().lines() {
        let answered = match line {
            Ok(line) => adapters.answer(&line).await,
            Err(_) => break,
        };
        // Whoever asks reads one answer for each line, whatever it is.
        let mut out = std::io::stdout().lock();
        if writeln!(out, "{answered}").and_then(|()| out.flush()).is_err() {
            break;
        }
    }
    ExitCode::SUCCESS
}
