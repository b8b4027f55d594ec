//! The options of the commands that show by name.

use std::str::FromStr;

use clap::builder::FalseyValueParser;
use clap::{Args, Subcommand, value_parser};
use payfleet_domain::{PayoutId, PayoutKey, RunId};

use super::EXIT_CODES;
use super::args::AffiliateName;

/// What a list looks like.
#[derive(Debug, Clone, Copy, Args)]
pub struct FormArgs {
    /// As CSV, with amounts in units. Safe to open in a spreadsheet: a text that begins with =, +, -, @, a tab or a
    /// line end gets an ' in front
    #[arg(long, env = "PAYFLEET_CSV", value_parser = FalseyValueParser::new(), conflicts_with = "json")]
    pub csv: bool,
    /// Show where money goes in full, and not masked
    #[arg(long, env = "PAYFLEET_DESTINATIONS", value_parser = FalseyValueParser::new())]
    pub destinations: bool,
}

/// About one run.
#[derive(Debug, Subcommand)]
pub enum RunCommand {
    /// Show the payouts and exclusions of a run, by name
    #[command(after_help = show_help())]
    Show(RunShowArgs),
}

fn show_help() -> String {
    format!(
        "Examples:
  payfleet-coordinator run show 7                              everybody
  payfleet-coordinator run show 7 --excluded                   who was not paid, why, and what stands in the way now
  payfleet-coordinator run show 7 --payouts --csv --destinations > run-7.csv

An exclusion was counted under its first reason; what stands in the way now is all that would keep that amount
from being paid as the data are at this moment.

{EXIT_CODES}"
    )
}

/// Which run, and what of it.
#[derive(Debug, Args)]
pub struct RunShowArgs {
    /// The number of the run; `status` lists them
    #[arg(env = "PAYFLEET_RUN")]
    pub run: RunId,
    /// What is shown of it
    #[command(flatten)]
    pub which: WhichArgs,
    /// As JSON: one object, with amounts in minor units
    #[arg(long, env = "PAYFLEET_JSON", value_parser = FalseyValueParser::new())]
    pub json: bool,
    /// What it looks like
    #[command(flatten)]
    pub form: FormArgs,
}

/// A part of a run; without any, everybody.
#[derive(Debug, Clone, Copy, Default, Args)]
#[group(multiple = false)]
pub struct WhichArgs {
    /// Only payouts
    #[arg(long)]
    pub payouts: bool,
    /// Only who was excluded
    #[arg(long)]
    pub excluded: bool,
    /// Only payouts that were refused
    #[arg(long)]
    pub refused: bool,
    /// Only payouts that are held
    #[arg(long)]
    pub held: bool,
}

/// Which affiliate, and how much of it.
#[derive(Debug, Args)]
pub struct AffiliateShowArgs {
    /// Which affiliate
    #[command(flatten)]
    pub of: AffiliateName,
    /// How many of the tenant's last runs are looked through
    #[arg(long, env = "PAYFLEET_RUNS", value_name = "N", default_value_t = 12,
          value_parser = value_parser!(i64).range(1..=1_000))]
    pub runs: i64,
    /// Show where it is paid in full, and not masked
    #[arg(long, env = "PAYFLEET_DESTINATIONS", value_parser = FalseyValueParser::new())]
    pub destinations: bool,
    /// As JSON: one object, with amounts in minor units
    #[arg(long, env = "PAYFLEET_JSON", value_parser = FalseyValueParser::new())]
    pub json: bool,
}

/// Which payout.
#[derive(Debug, Args)]
pub struct PayoutShowArgs {
    /// The number of the payout, or its key as the rail has it (`run show` has the numbers)
    #[arg(env = "PAYFLEET_PAYOUT", value_name = "PAYOUT|KEY")]
    pub payout: PayoutName,
    /// Show where it goes in full, and not masked
    #[arg(long, env = "PAYFLEET_DESTINATIONS", value_parser = FalseyValueParser::new())]
    pub destinations: bool,
    /// As JSON: one object, with amounts in minor units
    #[arg(long, env = "PAYFLEET_JSON", value_parser = FalseyValueParser::new())]
    pub json: bool,
}

/// A payout by its number, or by its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PayoutName {
    /// Its number.
    Number(PayoutId),
    /// Its key, which has the number in it.
    Key(PayoutKey, PayoutId),
}

impl PayoutName {
    /// Its number.
    pub fn number(&self) -> PayoutId {
        match self {
            PayoutName::Number(payout) | PayoutName::Key(_, payout) => *payout,
        }
    }
}

impl FromStr for PayoutName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        if let Ok(number) = text.parse() {
            return Ok(PayoutName::Number(number));
        }
        let key: PayoutKey = text.parse().map_err(|_| {
            format!(
                "`{text}` is neither the number of a payout, such as 4294967297, nor a key, such as \
                 4294967297-75bdaf23be364a57"
            )
        })?;
        let payout = key.payout().map_err(|error| error.to_string())?;
        Ok(PayoutName::Key(key, payout))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payout_is_named_by_its_number_or_its_key() {
        let name = |text: &str| text.parse::<PayoutName>().map(|name| name.number());
        assert_eq!(name("4294967297"), Ok(PayoutId(4_294_967_297)));
        assert_eq!(name(" 4294967297-75bdaf23be364a57\n"), Ok(PayoutId(4_294_967_297)));
        for wrong in ["", "a1", "4294967297-75bd", "4294967297-"] {
            assert!(name(wrong).is_err(), "{wrong}");
        }
    }
}
