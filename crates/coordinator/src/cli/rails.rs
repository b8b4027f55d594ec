//! The options of `rails`.

use clap::builder::{FalseyValueParser, NonEmptyStringValueParser};
use clap::{Args, Subcommand};
use payfleet_domain::{DestinationKind, Rail};
use payfleet_runtime::secret::TokenArgs;

use super::values::{credential_name, kind_name, method_name, rail_name, tenant_name};

/// About rails.
#[derive(Debug, Subcommand)]
pub enum RailsCommand {
    /// Pay a method over this rail from now on, or say what its destinations are; runs that are planned keep their
    /// rails
    ///
    /// What a destination is decides how it is checked when it is imported, and when two of them are the same: email
    /// and iban without regard to letter case (and spaces, in an IBAN), paypal-id, phone, stripe-account,
    /// wise-recipient, us-bank (ROUTING:ACCOUNT) and opaque (anything) as they are written. It is sent as it was
    /// written. Without --kind it follows from the method's name: paypal is email; sepa, iban and bank are iban;
    /// stripe, wise, ach and us-bank are what they say; anything else is opaque. With --kind a tenant is made that does
    /// not exist, so that it can be said before the first file comes.
    #[command(after_help = "Examples:
  payfleet-coordinator rails set --tenant acme --method paypal --rail sandbox-batch --credential ACME_SANDBOX
  payfleet-coordinator rails set --tenant acme --method bank --kind us-bank")]
    Set(RailsSetArgs),
    /// Pay a method over no rail any more, in plans that are made from now on; runs that are planned keep theirs
    ///
    /// Affiliates who can be paid in no other way are excluded from plans as no_rail, and are told here by their
    /// number. What the method's destinations are stays known.
    Remove(RailsRemoveArgs),
    /// Let a funding account go on from which nothing is sent: what was wrong with it is mended
    ///
    /// An account is stopped for the whole fleet when its rail says that it has not enough money, that its credential
    /// is not accepted, or that it may pay nobody; and when too many of its calls have no answer that counts. No payout
    /// is refused for it: all of them wait. One batch at a time is sent to find out whether it pays again, at the
    /// latest every five minutes; this says so at once, for all that waits. Whoever is wrong costs a call.
    #[command(after_help = "Example:
  payfleet-coordinator rails resume paypal --account main")]
    Resume(RailsResumeArgs),
    /// List the rails that tenants use, and with their classes those there are; and how their accounts stand
    List(RailsListArgs),
}

/// Which account.
#[derive(Debug, Args)]
pub struct RailsResumeArgs {
    /// On which rail
    #[arg(env = "PAYFLEET_RAIL", value_parser = rail_name)]
    pub rail: &'static Rail,
    /// Which account there; all that are stopped, if it is not said
    #[arg(long, env = "PAYFLEET_ACCOUNT", value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    pub account: Option<String>,
    /// Who says so
    #[command(flatten)]
    pub who: TokenArgs,
}

/// Which rail.
#[derive(Debug, Args)]
pub struct RailsSetArgs {
    /// Whose
    #[arg(long, env = "PAYFLEET_TENANT", value_parser = tenant_name)]
    pub tenant: String,
    /// The method, as in the affiliates' data
    #[arg(long, env = "PAYFLEET_METHOD", value_parser = method_name)]
    pub method: String,
    /// The rail; `rails list` shows which there are
    #[arg(long, env = "PAYFLEET_RAIL", value_parser = rail_name, required_unless_present = "kind")]
    pub rail: Option<&'static Rail>,
    /// What the method's destinations are: email, iban, paypal-id, phone, stripe-account, wise-recipient, us-bank or
    /// opaque
    #[arg(long, env = "PAYFLEET_KIND", value_parser = kind_name)]
    pub kind: Option<DestinationKind>,
    /// The account there that pays
    #[arg(long, env = "PAYFLEET_ACCOUNT", default_value = "default", value_name = "NAME",
          value_parser = NonEmptyStringValueParser::new())]
    pub account: String,
    /// Say that you know what the rail `null` does: it marks everybody paid and pays nobody; for measuring
    #[arg(long, env = "PAYFLEET_NULL_RAIL", value_parser = FalseyValueParser::new())]
    pub null_rail: bool,
    /// The name under which the workers find the credential; never the credential itself
    #[arg(long, env = "PAYFLEET_CREDENTIAL", value_name = "NAME", value_parser = credential_name)]
    pub credential: Option<String>,
}

/// Which method.
#[derive(Debug, Args)]
pub struct RailsRemoveArgs {
    /// Whose
    #[arg(long, env = "PAYFLEET_TENANT", value_parser = tenant_name)]
    pub tenant: String,
    /// The method; `rails list` shows which have a rail
    #[arg(long, env = "PAYFLEET_METHOD", value_parser = method_name)]
    pub method: String,
}

/// Whose rails.
#[derive(Debug, Args)]
pub struct RailsListArgs {
    /// Only this tenant's
    #[arg(long, env = "PAYFLEET_TENANT", value_parser = tenant_name)]
    pub tenant: Option<String>,
    /// The result as JSON
    #[arg(long, env = "PAYFLEET_JSON", value_parser = FalseyValueParser::new())]
    pub json: bool,
}
