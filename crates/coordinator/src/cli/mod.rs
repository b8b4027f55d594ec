//! The command line. Every option is also an environment variable.

mod args;
mod decisions;
mod import;
mod rails;
mod values;
mod views;

use clap::{Parser, Subcommand};
use payfleet_runtime::secret::{DatabaseArgs, RedisArgs};
use payfleet_runtime::state::StateArgs;
use payfleet_runtime::telemetry::LogArgs;

pub use args::{
    AffiliateCommand, CancelArgs, PauseArgs, PayoutCommand, PeopleAddArgs, PeopleCommand, PeopleListArgs,
    PeopleReplaceArgs, PeriodsArgs, PersonArgs, PlanArgs, RunArgs, RunNumber, SampleArgs, StatusArgs,
};
pub use decisions::{
    AlarmAnswerArgs, AlarmsCommand, AlarmsListArgs, ClearArgs, ConfirmArgs, ContestsCommand, DecideArgs, HoldsArgs,
    HoldsCommand, RecoverArgs, StatementsCommand, WaitingArgs,
};
pub use import::{ImportAffiliatesArgs, ImportArgs, ImportCommand, ImportCommissionsArgs, PresetsArgs};
pub use rails::{RailsCommand, RailsListArgs, RailsRemoveArgs, RailsResumeArgs, RailsSetArgs};
pub use values::is_method;
pub use views::{AffiliateShowArgs, FormArgs, PayoutName, PayoutShowArgs, RunCommand, RunShowArgs, WhichArgs};

const EXIT_CODES: &str = "\
Exit codes:
   0  done, or done already
   3  done, but some payouts were refused, held, returned or cancelled, or money of a month that was run is due since
  64  the command line is wrong, or names what does not exist
  65  the input is wrong; nothing of it was taken
  69  a server cannot be reached, its schema and this program do not go together, or the database is behind what was \
      seen of it before
  70  something that must always hold does not
  75  another one is at it, a person has paused it, or it is too early to decide; try later";

const EXAMPLES: &str = "\
A first run, from nothing:
  export PAYFLEET_DATABASE_URL=postgres://payfleet@localhost/payfleet PAYFLEET_REDIS_URL=redis://localhost
  payfleet-coordinator migrate
  payfleet-coordinator import affiliates --tenant acme affiliates.csv
  payfleet-coordinator import commissions --tenant acme commissions.csv
  payfleet-coordinator rails set --tenant acme --method paypal --rail sandbox-batch
  payfleet-coordinator run --tenant acme --period 2011-11 --dry-run --list
  payfleet-coordinator run --tenant acme --period 2011-11 --wait
  payfleet-coordinator status

From cron, each minute:
  payfleet-coordinator tick

Results are on stdout, logs and progress on stderr. Every option is also an environment variable, shown in its help.";

fn after_help() -> String {
    format!("{EXAMPLES}\n\n{EXIT_CODES}")
}

/// Brings affiliates and commissions in, plans runs of payouts, shows and steers them. It cannot pay; the workers do.
#[derive(Debug, Parser)]
#[command(name = "payfleet-coordinator", version, after_long_help = after_help(), after_help = EXIT_CODES)]
pub struct Cli {
    /// What to do
    #[command(subcommand)]
    pub command: Command,
    /// Where Postgres is
    #[command(flatten)]
    pub database: DatabaseArgs,
    /// Where Redis is
    #[command(flatten)]
    pub redis: RedisArgs,
    /// What all keys in Redis begin with; the same for the whole fleet
    #[arg(long, env = "PAYFLEET_REDIS_PREFIX", default_value = "payfleet", value_name = "PREFIX", global = true)]
    pub redis_prefix: String,
    /// What outlives it
    #[command(flatten)]
    pub state: StateArgs,
    /// What is logged
    #[command(flatten)]
    pub log: LogArgs,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Bring the schema of the database up to this program's version
    ///
    /// Safe to start twice at once, and safe to repeat. Never goes back: a schema that is newer than the program is
    /// left alone (69).
    #[command(after_help = EXIT_CODES)]
    Migrate,
    /// Import a CSV file: all of it or nothing
    ///
    /// A file begins with a header; columns are found by name, whatever their order and case. UTF-8, UTF-16 and
    /// Windows-1252 are recognised, with or without byte order mark, and so are commas, semicolons, tabs and vertical
    /// bars, and a first line such as `sep=;`; if it is not UTF-8 with commas, it is said how the file was read. A row
    /// that was imported before is passed over; what is wrong is told as FILE:LINE:COLUMN, the first 100 errors and how
    /// many there are, and then nothing of the file is imported. `--dry-run` shows what an import would do.
    Import {
        /// What the file is of
        #[command(subcommand)]
        what: ImportCommand,
    },
    /// Make realistic data of any size, the same for the same seed
    #[command(after_help = "Examples:
  payfleet-coordinator sample --affiliates 1000 --into data/
  payfleet-coordinator sample --affiliates 1000000 --plain --tenant bench")]
    Sample(SampleArgs),
    /// Say which rail pays which method
    Rails {
        /// What about them
        #[command(subcommand)]
        what: RailsCommand,
    },
    /// List the months that are over, have commissions due and were not run yet, in order
    ///
    /// Each line is what `run` takes after --period. What became due of months that were run comes first, as one more
    /// run of the newest of them: commissions that became known late, and what was not sent of a cancelled run. Which
    /// months it is of is said on stderr.
    #[command(after_help = "Example, all months one after the other:
  payfleet-coordinator periods --tenant acme | while read -r period; do
    payfleet-coordinator run --tenant acme --period $period --wait </dev/null || break
  done")]
    Periods(PeriodsArgs),
    /// Plan a tenant's payouts for a month and let the fleet pay them; or show a run by name
    ///
    /// Asked for twice, at once or later, there is one run: the second call reports it, and goes on with its plan if
    /// that was interrupted. If money of the month or one before it became due since (a file came late, or the run was
    /// cancelled), the answer says so and how it is paid, and the exit code is 3.
    ///
    /// A run that was cancelled stays cancelled, whoever asks for it again: its money is due again, and --sequence, as
    /// the answer names it, pays it. A run that would close months before it which have money due and were never run
    /// is refused; --skip-months says that it is meant.
    #[command(after_help = run_help())]
    Run(RunArgs),
    /// Go on with whatever was left half-way; for cron, each minute
    ///
    /// Finishes interrupted plans, lets planned runs begin, and publishes work. Does nothing if there is nothing to do,
    /// and is safe to run several times at once.
    #[command(after_help = "Example, in a crontab:
  * * * * * payfleet-coordinator tick")]
    Tick(PlanArgs),
    /// Show runs, or one run, and why what waits is not paid
    #[command(after_help = "Examples:
  payfleet-coordinator status                 the latest runs, and the workers alive
  payfleet-coordinator status 7 --watch       one run, until it is closed
  payfleet-coordinator status 7 --json        the same for programs: amounts are whole minor units")]
    Status(StatusArgs),
    /// Stop a run: nothing more of it is sent until it is resumed; answers still come in
    Pause(PauseArgs),
    /// Let a paused run go on
    Resume(RunNumber),
    /// Cancel a run: what was not sent is never sent, and its money is due again in the next run
    ///
    /// What was perhaps sent is followed to its end. A plan that was interrupted is finished first, without anything
    /// being sent. Nobody begins it again by asking for its month; the answer names the run that pays what is due
    /// again.
    Cancel(CancelArgs),
    /// Stop one payout, let it go on, or show its life
    Payout {
        /// What about it
        #[command(subcommand)]
        what: PayoutCommand,
    },
    /// Put an affiliate on hold, let it be paid again, or show what stands between it and its money
    Affiliate {
        /// What about it
        #[command(subcommand)]
        what: AffiliateCommand,
    },
    /// List the payouts that only people may decide, or decide one
    #[command(
        after_help = "A payout is decided by two approvers: the first proposes, the second says the same. Who they are \
is known by their tokens.
  PAYFLEET_TOKEN_FILE=bob.token payfleet-coordinator holds decide 4294967297 --paid 8XK2-77
  PAYFLEET_TOKEN_FILE=cid.token payfleet-coordinator holds decide 4294967297 --paid 8XK2-77

Another word ends the proposal, also one's own: say the right one again, and it is the first of two. That it was not \
paid can be said once nothing can pay it any more and its statement is known to be silent about it; \
the list shows when."
    )]
    Holds(HoldsArgs),
    /// List and confirm what only a file says of money that came back
    #[command(after_help = "Example, two approvers who have both seen the money on the account:
  payfleet-coordinator statements list
  PAYFLEET_TOKEN_FILE=bob.token payfleet-coordinator statements confirm 7
  PAYFLEET_TOKEN_FILE=cid.token payfleet-coordinator statements confirm 7

Who handed the file in with a token has said the first word with it, and the second approver confirms.")]
    Statements {
        /// What about them
        #[command(subcommand)]
        what: StatementsCommand,
    },
    /// List and clear accounts that were perhaps paid twice, and are not paid until two people have looked
    Contests {
        /// What about them
        #[command(subcommand)]
        what: ContestsCommand,
    },
    /// List alarms about money, or answer one
    #[command(
        after_help = "An alarm pauses its run if that is open. Whoever may steer runs answers for it, with a token; \
then `resume` lets the run go on.
  payfleet-coordinator alarms list
  PAYFLEET_TOKEN_FILE=ann.token payfleet-coordinator alarms answer 3 --words \
'the rail paid twice, ticket 4711; one is on its way back'"
    )]
    Alarms {
        /// What about them
        #[command(subcommand)]
        what: AlarmsCommand,
    },
    /// Let the fleet go on with a database that was restored from a backup, or promoted without its last writes
    ///
    /// Such a database does not know what was sent, so nothing is planned, sent or freed before it is recovered.
    /// `--begin` says so to all programs, and lets whatever is open count as perhaps sent. Then `payfleet-reconciler
    /// recover` reads the statements of all accounts, which tell what was paid; and two approvers of all tenants say,
    /// each with `recover`, that the fleet may go on.
    #[command(after_help = "Example; see \"A backup is restored, or a standby is promoted\" in deploy/RUNBOOK.md:
  payfleet-coordinator recover --begin                if no program has found it out
  payfleet-coordinator recover                        what is still to be read
  payfleet-reconciler recover --wait
  PAYFLEET_TOKEN_FILE=ann.token payfleet-coordinator recover --decide
  PAYFLEET_TOKEN_FILE=bob.token payfleet-coordinator recover --decide")]
    Recover(RecoverArgs),
    /// Say who may look, steer, decide and manage people
    People {
        /// What about them
        #[command(subcommand)]
        what: PeopleCommand,
    },
}

fn run_help() -> String {
    format!(
        "Examples:
  payfleet-coordinator run --tenant acme --period 2011-11 --dry-run                 counts and sums
  payfleet-coordinator run --tenant acme --period 2011-11 --dry-run --list          everybody, by name
  payfleet-coordinator run --tenant acme --period 2011-11 --minimum 25.00 --wait
  payfleet-coordinator run --tenant acme --period 2011-11 --sequence 2      pays what became known after the first
  payfleet-coordinator run show 7                                             who was paid, and who not and why

Who is not paid is excluded with a reason code: balance_out_of_range, negative_balance, below_minimum, on_hold, \
contested, no_method,
method_unusable, no_rail, kind_unsupported, currency_unsupported, outside_limits, amount_uneven. What is excluded \
stays due.

{EXIT_CODES}"
    )
}
