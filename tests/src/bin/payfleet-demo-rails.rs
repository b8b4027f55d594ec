//! What `scripts/demo --rails` shows: one run over PayPal, Stripe and Wise; the script builds and starts it.

use std::process::ExitCode;

use clap::Parser;
use payfleet_tests::demo::{DemoOptions, run};

/// Pays affiliates who are spread over PayPal, Stripe and Wise (the sandbox's dialects of them), kills a worker, drops
/// answers, loses webhooks, lets a week pass after which money comes back, and compares each account with its
/// statement.
#[derive(Debug, Parser)]
#[command(name = "payfleet-demo-rails", version)]
struct Options {
    /// How many affiliates there are
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(20..))]
    affiliates: u32,
    /// How many workers are started
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..))]
    workers: u8,
    /// Let all workers live
    #[arg(long)]
    no_kill: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let Options { affiliates, workers, no_kill } = Options::parse();
    let result = run(DemoOptions { affiliates, workers: workers.into(), kills: !no_kill && workers > 1 }).await;
    println!("\n{result}");
    if result.is_good() { ExitCode::SUCCESS } else { ExitCode::from(4) }
}
