//! The options of each command.

use std::path::PathBuf;

use clap::builder::FalseyValueParser;
use clap::{Args, Subcommand, value_parser};
use payfleet_domain::{PayoutId, Period, PersonName, Role, RunId};
use payfleet_runtime::secret::TokenArgs;
use rust_decimal::Decimal;

use super::values::{minimum, reason, tenant_name};
use super::views::{AffiliateShowArgs, FormArgs, PayoutShowArgs, RunCommand};

/// What a sample is like.
#[derive(Debug, Args)]
pub struct SampleArgs {
    /// How many affiliates
    #[arg(long, env = "PAYFLEET_AFFILIATES", value_name = "N",
          value_parser = value_parser!(u64).range(1..=1_000_000_000))]
    pub affiliates: u64,
    /// How many commissions each has, on average
    #[arg(long, env = "PAYFLEET_COMMISSIONS_PER_AFFILIATE", value_name = "N", default_value_t = 1,
          value_parser = value_parser!(u32).range(1..=10_000))]
    pub commissions_per_affiliate: u32,
    /// Over how many months they are spread
    #[arg(long, env = "PAYFLEET_MONTHS", value_name = "N", default_value_t = 1,
          value_parser = value_parser!(u32).range(1..=120))]
    pub months: u32,
    /// The first of the months
    #[arg(long, env = "PAYFLEET_START", value_name = "MONTH", default_value = "2026-01")]
    pub start: Period,
    /// The same seed makes the same data, on any machine
    #[arg(long, env = "PAYFLEET_SEED", default_value_t = 1)]
    pub seed: u64,
    /// How many currencies
    #[arg(long, env = "PAYFLEET_CURRENCIES", value_name = "N", default_value_t = 8,
          value_parser = value_parser!(u32).range(1..=8))]
    pub currencies: u32,
    /// Everybody has one commission, above any minimum, in one currency; for measuring
    #[arg(long, env = "PAYFLEET_PLAIN", value_parser = FalseyValueParser::new(),
          conflicts_with_all = ["commissions_per_affiliate", "currencies", "months"])]
    pub plain: bool,
    /// Write sample_affiliates.csv and sample_commissions.csv into this folder, and nothing into the database
    #[arg(long, env = "PAYFLEET_INTO", value_name = "DIR", required_unless_present = "tenant")]
    pub into: Option<PathBuf>,
    /// Import into this tenant, which is made if it is new
    #[arg(long, env = "PAYFLEET_TENANT", value_parser = tenant_name)]
    pub tenant: Option<String>,
}

/// Whose months.
#[derive(Debug, Args)]
pub struct PeriodsArgs {
    /// Whose
    #[arg(long, env = "PAYFLEET_TENANT", value_parser = tenant_name)]
    pub tenant: String,
    /// The result as JSON
    #[arg(long, env = "PAYFLEET_JSON", value_parser = FalseyValueParser::new())]
    pub json: bool,
}

/// How plans are made.
#[derive(Debug, Clone, Copy, Args)]
pub struct PlanArgs {
    /// Accounts that are planned in one transaction
    #[arg(long, env = "PAYFLEET_CHUNK", value_name = "N", default_value_t = 10_000,
          value_parser = value_parser!(i64).range(1..=1_000_000))]
    pub chunk: i64,
    /// Payouts that travel together, at most; a rail may allow fewer
    #[arg(long, env = "PAYFLEET_BATCH_SIZE", value_name = "N", default_value_t = 2_000,
          value_parser = value_parser!(u32).range(1..=15_000))]
    pub batch_size: u32,
    /// Connections on which it is planned at once: as many as the database has cores to spare
    #[arg(long, env = "PAYFLEET_PLAN_CONNECTIONS", value_name = "N", default_value_t = 2,
          value_parser = value_parser!(u32).range(1..=64))]
    pub connections: u32,
}

/// A run to make or to find; or to show.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct RunArgs {
    /// Or what to see of one that there is
    #[command(subcommand)]
    pub what: Option<RunCommand>,
    /// Whose
    #[arg(long, env = "PAYFLEET_TENANT", value_parser = tenant_name, required = true)]
    pub tenant: Option<String>,
    /// The month, as 2011-11; everything that was due by its end (UTC) and is not paid yet
    #[arg(long, env = "PAYFLEET_PERIOD", value_name = "MONTH", required = true)]
    pub period: Option<Period>,
    /// 2 or more for a further run of the same month
    #[arg(long, env = "PAYFLEET_SEQUENCE", value_name = "N", default_value_t = 1,
          value_parser = value_parser!(i16).range(1..))]
    pub sequence: i16,
    /// The least that is paid, in units of each currency [default: 10.00]
    #[arg(long, env = "PAYFLEET_MINIMUM", value_name = "AMOUNT", value_parser = minimum)]
    pub minimum: Option<Decimal>,
    /// Say that months before it which were never run are meant to be paid with it, and closed by it
    #[arg(long, env = "PAYFLEET_SKIP_MONTHS", value_parser = FalseyValueParser::new())]
    pub skip_months: bool,
    /// Only show what would be decided: counts and sums, by currency and reason, without names
    #[arg(long, env = "PAYFLEET_DRY_RUN", value_parser = FalseyValueParser::new())]
    pub dry_run: bool,
    /// With --dry-run: who would be paid, and who not and all that stands in the way, by name
    #[arg(long, env = "PAYFLEET_LIST", value_parser = FalseyValueParser::new(), requires = "dry_run")]
    pub list: bool,
    /// What that looks like
    #[command(flatten)]
    pub form: FormArgs,
    /// Wait until everybody is accounted for
    #[arg(long, env = "PAYFLEET_WAIT", value_parser = FalseyValueParser::new(), conflicts_with = "dry_run")]
    pub wait: bool,
    /// The result as JSON
    #[arg(long, env = "PAYFLEET_JSON", value_parser = FalseyValueParser::new())]
    pub json: bool,
    /// How it is planned
    #[command(flatten)]
    pub plan: PlanArgs,
}

/// What to show.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// The number of a run; without it, the latest runs
    #[arg(env = "PAYFLEET_RUN")]
    pub run: Option<RunId>,
    /// Only this tenant's runs
    #[arg(long, env = "PAYFLEET_TENANT", value_parser = tenant_name)]
    pub tenant: Option<String>,
    /// How many runs are listed
    #[arg(long, env = "PAYFLEET_LIMIT", value_name = "N", default_value_t = 20,
          value_parser = value_parser!(i64).range(1..=10_000))]
    pub limit: i64,
    /// Show it again every two seconds, until the run is closed
    #[arg(long, env = "PAYFLEET_WATCH", value_parser = FalseyValueParser::new())]
    pub watch: bool,
    /// As JSON: one object, with amounts in minor units
    #[arg(long, env = "PAYFLEET_JSON", value_parser = FalseyValueParser::new())]
    pub json: bool,
}

/// A run that exists.
#[derive(Debug, Args)]
pub struct RunNumber {
    /// The number of the run; `status` lists them
    #[arg(env = "PAYFLEET_RUN")]
    pub run: RunId,
}

/// Which run, and why.
#[derive(Debug, Args)]
pub struct PauseArgs {
    /// The run
    #[command(flatten)]
    pub run: RunNumber,
    /// Why, for those who look at it later
    #[arg(long, env = "PAYFLEET_REASON", value_name = "TEXT", default_value = "paused by hand")]
    pub reason: String,
}

/// Which run.
#[derive(Debug, Args)]
pub struct CancelArgs {
    /// The run
    #[command(flatten)]
    pub run: RunNumber,
    /// How its plan is finished, if it must be
    #[command(flatten)]
    pub plan: PlanArgs,
}

/// About people.
#[derive(Debug, Subcommand)]
pub enum PeopleCommand {
    /// Add somebody, and print their token, once
    ///
    /// The first person of a database is made without a token, and must be an administrator of all tenants. Everybody
    /// else is added by an administrator: of all tenants, or of the tenant that they are added to.
    #[command(after_help = "Example:
  (umask 077; set -o noclobber; payfleet-coordinator people add ann --role administrator > ann.token)
  PAYFLEET_TOKEN_FILE=ann.token payfleet-coordinator people add bob --role approver --tenant acme

With noclobber the shell does not empty a token's file that is there already.")]
    Add(PeopleAddArgs),
    /// List people, what they may do and where
    List(PeopleListArgs),
    /// Take the say from somebody; their words stay, and their name is nobody else's
    Revoke(PersonArgs),
    /// Give somebody a new token, printed once: into a new file; the old one ends, and who was revoked is back
    Replace(PeopleReplaceArgs),
}

/// Somebody new.
#[derive(Debug, Args)]
pub struct PeopleAddArgs {
    /// How they are called
    #[arg(env = "PAYFLEET_NAME")]
    pub name: PersonName,
    /// viewer looks, operator steers runs, approver decides with another one, administrator manages people (and does
    /// not decide)
    #[arg(long, env = "PAYFLEET_ROLE")]
    pub role: Role,
    /// Only for this tenant; without it, for all
    #[arg(long, env = "PAYFLEET_TENANT", value_parser = tenant_name)]
    pub tenant: Option<String>,
    /// Who says so
    #[command(flatten)]
    pub who: TokenArgs,
}

/// How people are listed.
#[derive(Debug, Args)]
pub struct PeopleListArgs {
    /// The result as JSON
    #[arg(long, env = "PAYFLEET_JSON", value_parser = FalseyValueParser::new())]
    pub json: bool,
}

/// Somebody.
#[derive(Debug, Args)]
pub struct PersonArgs {
    /// How they are called; `people list` shows who there is
    #[arg(env = "PAYFLEET_NAME")]
    pub name: PersonName,
    /// Who says so
    #[command(flatten)]
    pub who: TokenArgs,
}

/// Somebody, and what they become.
#[derive(Debug, Args)]
pub struct PeopleReplaceArgs {
    /// Who
    #[command(flatten)]
    pub person: PersonArgs,
    /// Another role than they have
    #[arg(long, env = "PAYFLEET_ROLE")]
    pub role: Option<Role>,
}

/// About one payout.
#[derive(Debug, Subcommand)]
pub enum PayoutCommand {
    /// Send nothing of a payout any more, whatever becomes of its run
    ///
    /// What was not sent is held as `stopped` when its turn comes; what was perhaps sent is never sent again. Where the
    /// rail knows a whole batch by one key, nothing of a batch that was perhaps sent is sent again then: its other
    /// payouts wait until it is known what became of them.
    ///
    /// Numbers of payouts are shown by `run show` and `affiliate show`. Before the payouts exist, `affiliate hold` is
    /// what stops that affiliate.
    Stop(PayoutStopArgs),
    /// Let a stopped payout go on; if its run is over, its money is due again
    Release(PayoutNumber),
    /// Show the whole life of a payout, in the order of time, and what to do next
    Show(PayoutShowArgs),
}

/// A payout that exists.
#[derive(Debug, Args)]
pub struct PayoutNumber {
    /// The number of the payout; `holds` lists those that are held
    #[arg(env = "PAYFLEET_PAYOUT")]
    pub payout: PayoutId,
}

/// Which payout, and why.
#[derive(Debug, Args)]
pub struct PayoutStopArgs {
    /// The number of the payout
    #[arg(env = "PAYFLEET_PAYOUT")]
    pub payout: PayoutId,
    /// Why, for those who look at it later
    #[arg(long, env = "PAYFLEET_REASON", value_name = "TEXT", value_parser = reason)]
    pub reason: String,
}

/// About one affiliate.
#[derive(Debug, Subcommand)]
pub enum AffiliateCommand {
    /// Pay an affiliate nothing any more, in runs that are planned too
    ///
    /// What was not sent is held as `on_hold` when its turn comes; what was perhaps sent is never sent again. What is
    /// due stays due.
    Hold(AffiliateHoldArgs),
    /// Let an affiliate be paid again; what was held goes on, or is due again if its run is over
    Release(AffiliateReleaseArgs),
    /// Show what stands between an affiliate and its money: balances, methods, holds, the last runs
    Show(AffiliateShowArgs),
}

/// Which affiliate, and what was done first.
#[derive(Debug, Args)]
pub struct AffiliateReleaseArgs {
    /// Which affiliate
    #[command(flatten)]
    pub of: AffiliateName,
    /// What it got by payments that no run knows since a recovery is booked as a clawback; counts when a second person
    /// says the same
    #[arg(long, env = "PAYFLEET_BOOKED", value_parser = FalseyValueParser::new())]
    pub booked: bool,
    /// Who says so; needed with --booked alone
    #[command(flatten)]
    pub who: TokenArgs,
}

/// An affiliate that exists.
#[derive(Debug, Args)]
pub struct AffiliateName {
    /// Whose affiliate it is
    #[arg(long, env = "PAYFLEET_TENANT", value_parser = tenant_name)]
    pub tenant: String,
    /// The affiliate, as in the data
    #[arg(env = "PAYFLEET_AFFILIATE")]
    pub affiliate: String,
}

/// Which affiliate, and why.
#[derive(Debug, Args)]
pub struct AffiliateHoldArgs {
    /// Which affiliate
    #[command(flatten)]
    pub of: AffiliateName,
    /// Why, for those who look at it later
    #[arg(long, env = "PAYFLEET_REASON", value_name = "TEXT", value_parser = reason)]
    pub reason: String,
}
