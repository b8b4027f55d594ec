//! How fast the fleet is, against what Postgres can do at best; `scripts/bench` builds and starts it.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use payfleet_tests::bench::{BenchOptions, Case, run};
use tokio::signal::unix::{SignalKind, signal};

/// Measures the fleet against the limit: the same rows by plain SQL.
#[derive(Debug, Parser)]
#[command(name = "payfleet-bench", version)]
struct Options {
    /// Which cases; all if none is named
    cases: Vec<Case>,
    /// Write everything that was measured into this file too
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// 10,000,000 affiliates too; needs 30 GB of disk and half an hour
    #[arg(long)]
    large: bool,
    /// A tenth of all sizes, to try the bench itself
    #[arg(long)]
    quick: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let Options { cases, json, large, quick } = Options::parse();
    let cases = if cases.is_empty() { Case::value_variants().to_vec() } else { cases };
    let [mut interrupt, mut terminate] = [SignalKind::interrupt(), SignalKind::terminate()]
        .map(|kind| signal(kind).expect("signals can be listened to"));
    // Whoever interrupts it, its servers and programs end with it.
    let report = tokio::select! {
        report = run(BenchOptions { cases, large, quick }) => report,
        _ = interrupt.recv() => return ExitCode::from(130),
        _ = terminate.recv() => return ExitCode::from(143),
    };
    println!("\n{report}");
    if let Some(path) = json {
        let text = serde_json::to_string_pretty(&report).expect("a report is plain data");
        std::fs::write(&path, text + "\n").expect("the file can be written");
    }
    ExitCode::SUCCESS
}
