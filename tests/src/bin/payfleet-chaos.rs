//! Chaos with real processes, for as long as one likes; `scripts/chaos` builds and starts it.

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use payfleet_tests::chaos::{ChaosOptions, run};

/// Kills, stops and cuts off real workers and servers while runs go on, and judges by the rail's journal.
#[derive(Debug, Parser)]
#[command(name = "payfleet-chaos", version)]
struct Options {
    /// How long the chaos lasts
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..))]
    minutes: u64,
    /// Repeats the kinds of faults and their order; a fresh one if left out
    #[arg(long)]
    seed: Option<u64>,
    /// Keep the folder with logs and journal even if all is well
    #[arg(long)]
    keep: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let options = Options::parse();
    let seed = options.seed.unwrap_or_else(|| rand::random_range(0..1_000_000));
    let report = run(ChaosOptions { lasts: Duration::from_secs(60 * options.minutes), seed, keep: options.keep }).await;
    println!("{report}");
    let broken = report.broken();
    for what in &broken {
        println!("broken: {what}");
    }
    if broken.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
