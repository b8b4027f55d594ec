//! The options of the commands with which people decide what no program may.

use std::path::PathBuf;

use clap::builder::FalseyValueParser;
use clap::{Args, Subcommand, value_parser};
use payfleet_domain::{HoldReason, PayoutId, RunId};
use payfleet_runtime::secret::TokenArgs;

use super::values::{reason, reference};

const DECIDE_HELP: &str = "\
Examples:
  payfleet-coordinator holds decide 4294967297 --paid 8XK2-77
  payfleet-coordinator holds decide --run 7 --code no_way_to_know --not-paid     all that are held for this reason
  payfleet-coordinator holds decide --from numbers.txt --not-paid

Ends with 0 if each was taken, with 75 if some can only be decided later, else with 64 if some were refused.";

/// Which holds.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct HoldsArgs {
    /// Or what to do about one
    #[command(subcommand)]
    pub what: Option<HoldsCommand>,
    /// Only this run's
    #[arg(env = "PAYFLEET_RUN")]
    pub run: Option<RunId>,
    /// How many are listed
    #[arg(long, env = "PAYFLEET_LIMIT", value_name = "N", default_value_t = 100,
          value_parser = value_parser!(i64).range(1..=1_000_000))]
    pub limit: i64,
    /// The result as JSON
    #[arg(long, env = "PAYFLEET_JSON", value_parser = FalseyValueParser::new())]
    pub json: bool,
}

/// About one hold.
#[derive(Debug, Subcommand)]
pub enum HoldsCommand {
    /// Say what was found out about payouts; it counts when a second person says the same
    ///
    /// Of several each is decided by itself, with every rule that it has alone: the answer counts what came of it, and
    /// names each that was refused.
    #[command(after_help = DECIDE_HELP)]
    Decide(DecideArgs),
}

/// About which payouts.
#[derive(Debug, Args)]
pub struct DecideArgs {
    /// The numbers of payouts; `holds` lists them
    #[arg(env = "PAYFLEET_PAYOUT", required_unless_present_any = ["from", "run"])]
    pub payouts: Vec<PayoutId>,
    /// A file of numbers or keys of payouts, one a line; - is the standard input. Empty lines and those that begin with
    /// # are passed over
    #[arg(long, env = "PAYFLEET_HOLDS_FROM", value_name = "FILE", conflicts_with_all = ["payouts", "run"])]
    pub from: Option<PathBuf>,
    /// All payouts of this run that are held for the reason of --code
    #[arg(long, env = "PAYFLEET_HOLDS_RUN", requires = "code", conflicts_with_all = ["payouts", "from"])]
    pub run: Option<RunId>,
    /// The reason for which they are held, as `holds` shows it
    #[arg(long, env = "PAYFLEET_HOLDS_CODE", value_name = "REASON", requires = "run")]
    pub code: Option<HoldReason>,
    /// What was found out
    #[command(flatten)]
    pub finding: Finding,
    /// Who says so
    #[command(flatten)]
    pub who: TokenArgs,
}

/// What was found out: one of the two.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct Finding {
    /// It was paid; this is the rail's reference of the payment. A warning names another payout that has this reference
    /// already
    #[arg(long, env = "PAYFLEET_PAID", value_name = "REFERENCE", value_parser = reference)]
    pub paid: Option<String>,
    /// It was not paid; taken only when nothing can pay it any more and its statement is known to be silent about it
    #[arg(long, env = "PAYFLEET_NOT_PAID", value_parser = FalseyValueParser::new())]
    pub not_paid: bool,
}

/// About statements.
#[derive(Debug, Subcommand)]
pub enum StatementsCommand {
    /// List the returns that only a file tells of; they count when two people have confirmed them
    List(WaitingArgs),
    /// Confirm a return that a file tells of: that the money is really back; the second person's word makes it due
    /// again
    Confirm(ConfirmArgs),
}

/// What waits for people.
#[derive(Debug, Args)]
pub struct WaitingArgs {
    /// How many are listed
    #[arg(long, env = "PAYFLEET_LIMIT", value_name = "N", default_value_t = 100,
          value_parser = value_parser!(i64).range(1..=1_000_000))]
    pub limit: i64,
    /// The result as JSON
    #[arg(long, env = "PAYFLEET_JSON", value_parser = FalseyValueParser::new())]
    pub json: bool,
}

/// Which return.
#[derive(Debug, Args)]
pub struct ConfirmArgs {
    /// The number of the return, or of its payout; `statements list` shows both
    #[arg(env = "PAYFLEET_RETURN", value_name = "ID|PAYOUT")]
    pub number: i64,
    /// Who says so
    #[command(flatten)]
    pub who: TokenArgs,
}

/// About contested accounts.
#[derive(Debug, Subcommand)]
pub enum ContestsCommand {
    /// List the accounts that no plan pays, since a payment was proven after their money was due again
    List(WaitingArgs),
    /// Say that an account may be paid again: by the next run, when a second person says the same
    ///
    /// It moves no money, and is not taken back: a balance below zero stays a debt, which later earnings clear, and a
    /// payment that was none stays booked. What was held as `contested` is not sent by its old run; what is due is paid
    /// by the next.
    Clear(ClearArgs),
}

/// Which contest.
#[derive(Debug, Args)]
pub struct ClearArgs {
    /// The number of the contest; `contests list` shows it
    #[arg(env = "PAYFLEET_CONTEST", value_name = "ID")]
    pub contest: i64,
    /// Who says so
    #[command(flatten)]
    pub who: TokenArgs,
}

/// About alarms.
#[derive(Debug, Subcommand)]
pub enum AlarmsCommand {
    /// List the alarms that nobody has answered, the newest last
    List(AlarmsListArgs),
    /// Say what an alarm was about, having looked; a run can be resumed when each of its alarms is answered
    Answer(AlarmAnswerArgs),
}

/// Which alarms are listed.
#[derive(Debug, Args)]
pub struct AlarmsListArgs {
    /// Those with an answer too
    #[arg(long, env = "PAYFLEET_ALL", value_parser = FalseyValueParser::new())]
    pub all: bool,
    /// How many, and how
    #[command(flatten)]
    pub list: WaitingArgs,
}

/// Which alarm, and what is said of it.
#[derive(Debug, Args)]
pub struct AlarmAnswerArgs {
    /// The number of the alarm; `alarms list` shows it
    #[arg(env = "PAYFLEET_ALARM", value_name = "ID")]
    pub alarm: i64,
    /// What it was, and what was done about it
    #[arg(long, env = "PAYFLEET_WORDS", value_name = "TEXT", value_parser = reason)]
    pub words: String,
    /// Who says so
    #[command(flatten)]
    pub who: TokenArgs,
}

/// How to recover.
#[derive(Debug, Args)]
pub struct RecoverArgs {
    /// Say that the database was restored from a backup, or promoted without its last writes, if no program has found
    /// it out: stops the whole fleet
    #[arg(long, env = "PAYFLEET_BEGIN", value_parser = FalseyValueParser::new(), conflicts_with = "decide")]
    pub begin: bool,
    /// Say that the fleet may go on; it does when a second person says the same
    #[arg(long, env = "PAYFLEET_DECIDE", value_parser = FalseyValueParser::new())]
    pub decide: bool,
    /// Say that you have looked at the rails for what they have accepted and do not list yet, and that whoever it goes
    /// to is on hold. Asked for where an account is at such a rail
    #[arg(long, env = "PAYFLEET_PENDING_ON_HOLD", value_parser = FalseyValueParser::new(), requires = "decide")]
    pub pending_on_hold: bool,
    /// Who says so
    #[command(flatten)]
    pub who: TokenArgs,
    /// The result as JSON
    #[arg(long, env = "PAYFLEET_JSON", value_parser = FalseyValueParser::new())]
    pub json: bool,
}
