//! The coordinator's commands: bring data in, plan runs, show and steer them. Each is run by cron or by a person and
//! ends; nothing that keeps a run going lives here.
//!
//! All SQL is in `payfleet-store`, all Redis in `payfleet-queue`; here is what the commands do with them, files, and
//! the screens.

#![warn(missing_docs)]

mod alarms;
mod by_name;
mod cancel;
mod cli;
mod confirm;
mod connect;
mod control;
mod failure;
mod funding;
pub mod hints;
mod holds;
#[doc(hidden)]
pub mod hostile;
mod import;
mod input;
mod life;
mod people;
mod periods;
pub mod plan;
pub mod ports;
mod progress;
mod rails;
mod recover;
mod report;
mod run;
mod sample;
mod sheet;
mod show;
mod since;
mod status;
mod tick;
mod wait;
mod waits;
mod who;
mod words;

pub use cli::{Cli, PlanArgs};
pub use failure::Failure;

use cli::{
    AffiliateCommand, AlarmsCommand, Command, ContestsCommand, HoldsCommand, ImportCommand, PayoutCommand,
    PeopleCommand, RailsCommand, RunArgs, StatementsCommand,
};
use connect::{open_schema, open_store, open_to_act, open_to_recover};
use payfleet_runtime::exit::ExitCode;
use payfleet_runtime::telemetry;
use payfleet_store::Store;

/// Does what the command line asks.
pub async fn run(cli: Cli) -> ExitCode {
    if let Err(error) = telemetry::init(&cli.log) {
        eprintln!("error: {error}");
        return ExitCode::Usage;
    }
    let done = dispatch(&cli).await;
    telemetry::end(); // what is said of a failure comes last
    match done {
        Ok(code) => code,
        Err(failure) => {
            let code = failure.tell(&cli.log);
            telemetry::end();
            code
        }
    }
}

/// To look at what a run would be, nothing need be certain.
async fn open_run(cli: &Cli, args: &RunArgs) -> Result<Store, Failure> {
    if args.dry_run || args.what.is_some() { open_schema(cli).await } else { open_to_act(cli).await }
}

async fn dispatch(cli: &Cli) -> Result<ExitCode, Failure> {
    match &cli.command {
        Command::Migrate => {
            let changed = open_store(cli).await?.schema_migrate().await?;
            show::print(if changed { "the schema was brought up to date\n" } else { "the schema is up to date\n" });
            Ok(ExitCode::Done)
        }
        Command::Import { what: ImportCommand::Affiliates(args) } => {
            import::affiliates(open_schema(cli).await?, args).await
        }
        Command::Import { what: ImportCommand::Commissions(args) } => {
            import::commissions(open_schema(cli).await?, args).await
        }
        Command::Import { what: ImportCommand::Presets(args) } => import::presets(args),
        Command::Sample(args) => sample::sample(cli, args).await,
        Command::Rails { what: RailsCommand::Set(args) } => rails::set(&open_schema(cli).await?, args).await,
        Command::Rails { what: RailsCommand::Remove(args) } => rails::remove(&open_schema(cli).await?, args).await,
        Command::Rails { what: RailsCommand::Resume(args) } => funding::resume(&open_schema(cli).await?, args).await,
        Command::Rails { what: RailsCommand::List(args) } => rails::list(&open_schema(cli).await?, args).await,
        Command::Periods(args) => periods::list(&open_schema(cli).await?, args).await,
        Command::Run(args) => run::run(&open_run(cli, args).await?, cli, args).await,
        Command::Tick(args) => tick::tick(&open_to_act(cli).await?, cli, args).await,
        Command::Status(args) => status::status(&open_schema(cli).await?, cli, args).await,
        Command::Pause(args) => cancel::pause(&open_schema(cli).await?, args).await,
        Command::Resume(args) => cancel::resume(&open_to_act(cli).await?, args).await,
        Command::Cancel(args) => cancel::cancel(&open_to_act(cli).await?, args).await,
        Command::Payout { what: what @ PayoutCommand::Release(_) } => {
            control::payout(&open_to_act(cli).await?, what).await
        }
        Command::Payout { what } => control::payout(&open_schema(cli).await?, what).await,
        Command::Affiliate { what: what @ AffiliateCommand::Release(_) } => {
            control::affiliate(&open_to_act(cli).await?, what).await
        }
        Command::Affiliate { what } => control::affiliate(&open_schema(cli).await?, what).await,
        Command::Recover(args) => recover::recover(&open_to_recover(cli).await?, args).await,
        Command::Holds(args) => match &args.what {
            Some(HoldsCommand::Decide(decide)) => holds::decide(&open_to_act(cli).await?, decide).await,
            None => holds::list(&open_schema(cli).await?, args).await,
        },
        Command::Statements { what: StatementsCommand::List(args) } => {
            confirm::returns(&open_schema(cli).await?, args).await
        }
        Command::Statements { what: StatementsCommand::Confirm(args) } => {
            confirm::confirm(&open_to_act(cli).await?, args).await
        }
        Command::Contests { what: ContestsCommand::List(args) } => {
            confirm::contests(&open_schema(cli).await?, args).await
        }
        Command::Contests { what: ContestsCommand::Clear(args) } => {
            confirm::clear(&open_to_act(cli).await?, args).await
        }
        Command::Alarms { what: AlarmsCommand::List(args) } => alarms::list(&open_schema(cli).await?, args).await,
        Command::Alarms { what: AlarmsCommand::Answer(args) } => alarms::answer(&open_schema(cli).await?, args).await,
        Command::People { what } => {
            let store = open_schema(cli).await?;
            match what {
                PeopleCommand::Add(args) => people::add(&store, args).await,
                PeopleCommand::List(args) => people::list(&store, args).await,
                PeopleCommand::Revoke(args) => people::revoke(&store, args).await,
                PeopleCommand::Replace(args) => people::replace(&store, args).await,
            }
        }
    }
}
