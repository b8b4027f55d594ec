//! The options of `import`.

use std::path::PathBuf;

use clap::builder::FalseyValueParser;
use clap::{Args, Subcommand, value_parser};
use payfleet_input::{BadMapping, FIELDS, How, Mapping, ReadArgs, decimal};

use super::EXIT_CODES;
use super::values::{column_value, tenant_name};
use crate::input::{ExpectedSum, expected_sum};

/// What can be imported.
#[derive(Debug, Subcommand)]
pub enum ImportCommand {
    /// Affiliates and where they are paid; makes the tenant if it is new
    ///
    /// Columns that must be there: affiliate_id, name, email, country, currency, method, destination. Columns that may
    /// be left out: priority (0 is tried first; one row for each), on_hold (true or false), min and max (limits of the
    /// method, in units of the row's currency). In every row affiliate_id and currency must be filled. Another
    /// destination replaces the one before; payouts that are planned keep theirs. What a destination is follows from
    /// its method (`rails set --help`); it is checked as that, and sent as it is written. country is two letters of ISO
    /// 3166, or empty.
    ///
    /// Any other empty field leaves what is there as it is, like an optional column that is not there; no priority is
    /// 0. What is to be taken away is said: on_hold false lifts a hold that a file has set (one that a person placed
    /// with `affiliate hold` is lifted by `affiliate release` alone); none in min or max removes that limit; none in
    /// method retires the method of this priority. The answer counts what was changed so.
    ///
    /// Limits belong to an affiliate and a method, whatever the address, and bind only payouts in their own currency.
    /// Who is moved to another currency keeps the limits of the one before, for that one; limits of the new one are
    /// given with it.
    #[command(after_help = EXIT_CODES)]
    Affiliates(ImportAffiliatesArgs),
    /// Commissions and clawbacks of affiliates that are known
    ///
    /// Columns, all of which must be there: commission_id, affiliate_id, order_ref (may be empty), amount (in units, at
    /// most as many decimals as the currency has), currency (ISO 4217, one that there was at that time), earned_at (RFC
    /// 3339), kind (sale: above zero; clawback: below). A commission never changes: the same id with anything else is
    /// an error.
    ///
    /// A sale is due after the hold period. A clawback is due at once; one with the order_ref of a sale of the same
    /// affiliate that no run has counted yet and that is due later, is due together with it. What is of a month that
    /// was run already is paid by the tenant's next run; the answer says so.
    #[command(after_help = EXIT_CODES)]
    Commissions(ImportCommissionsArgs),
    /// List the mappings that are built in, or print one, to be changed and used as a file
    #[command(after_long_help = mapping_fields())]
    Presets(PresetsArgs),
}

/// Which mapping.
#[derive(Debug, Args)]
pub struct PresetsArgs {
    /// The one to print
    #[arg(env = "PAYFLEET_PRESET")]
    pub name: Option<String>,
}

fn mapping_fields() -> String {
    let fields: Vec<String> = FIELDS.iter().map(|(field, what)| format!("  {field}\n      {what}")).collect();
    format!(
        "Fields of a mapping file (TOML), of which any may be left out; SECTION is commissions or \
         affiliates:\n{}\n\nExample:\n  payfleet-coordinator import presets \
         impact > ours.toml\n  payfleet-coordinator import commissions --tenant acme --map ours.toml export.csv",
        fields.join("\n")
    )
}

/// A file and its owner.
#[derive(Debug, Args)]
pub struct ImportArgs {
    /// Whose data it is
    #[arg(long, env = "PAYFLEET_TENANT", value_parser = tenant_name)]
    pub tenant: String,
    /// The CSV file; - is the standard input
    #[arg(env = "PAYFLEET_FILE")]
    pub file: PathBuf,
    /// Only show what would be done, by name; nothing is written
    #[arg(long, env = "PAYFLEET_DRY_RUN", value_parser = FalseyValueParser::new())]
    pub dry_run: bool,
    /// Take nothing of a file with rows that may be the same sale or the same payee twice: equal in all but the id,
    /// with ids that look alike, or with a destination that another affiliate has or had; without it they are told
    #[arg(long, env = "PAYFLEET_STRICT", value_parser = FalseyValueParser::new())]
    pub strict: bool,
    /// How much is told by name, of each kind [default: 10; of a dry run 100]
    #[arg(long, env = "PAYFLEET_LIMIT", value_name = "N", value_parser = value_parser!(i64).range(1..=1_000_000))]
    pub limit: Option<i64>,
    /// The result as JSON
    #[arg(long, env = "PAYFLEET_JSON", value_parser = FalseyValueParser::new())]
    pub json: bool,
    /// How it is written
    #[command(flatten)]
    pub read: ReadArgs,
    /// What separates units and decimals: `.` or `,` [default: .]
    ///
    /// Marks between thousands are read only where a mapping file names them, as in grouping = "."
    #[arg(long, env = "PAYFLEET_DECIMAL", value_name = "MARK", value_parser = decimal)]
    pub decimal: Option<char>,
    /// What another system's export means in our columns: a mapping file, or a preset: awin, cj, impact,
    /// post-affiliate-pro, rewardful, tapfiliate
    ///
    /// Only the columns that a mapping names are read. `payfleet-coordinator import presets NAME` prints a preset, to
    /// be changed and used as a file; `import presets --help` says what a mapping file is made of.
    #[arg(long, env = "PAYFLEET_MAP", value_name = "PRESET|FILE.toml")]
    pub map: Option<String>,
    /// A column of ours that has the same value in every row, and is not in the file: currency=EUR. May be repeated
    #[arg(long, env = "PAYFLEET_SET", value_name = "COLUMN=VALUE", value_delimiter = ',', value_parser = column_value)]
    pub set: Vec<(String, String)>,
    /// How many rows the file must have, without the header; else nothing of it is imported
    #[arg(long, env = "PAYFLEET_EXPECT_ROWS", value_name = "N")]
    pub expect_rows: Option<u64>,
}

impl ImportArgs {
    /// How the file is to be read.
    pub fn how(&self) -> Result<How, BadMapping> {
        let map = self.map.as_deref().map(Mapping::open).transpose()?;
        Ok(How { decimal: self.decimal, map, set: self.set.clone(), ..self.read.how() })
    }
}

/// Of commissions.
#[derive(Debug, Args)]
pub struct ImportCommissionsArgs {
    /// The file
    #[command(flatten)]
    pub import: ImportArgs,
    /// What its rows must come to, clawbacks taken off, as EUR=1234.56; else nothing of it is imported. May be
    /// repeated, once for each currency: a currency that is not named must not occur then
    #[arg(long, env = "PAYFLEET_EXPECT_SUM", value_name = "CURRENCY=AMOUNT", value_delimiter = ',',
          value_parser = expected_sum)]
    pub expect_sum: Vec<ExpectedSum>,
    /// Say that dates are meant which are more than a day ahead, 20 years ago, or 3 years before the last of the file;
    /// without it they refuse the file
    #[arg(long, env = "PAYFLEET_ALLOW_DATES", value_parser = FalseyValueParser::new())]
    pub allow_dates: bool,
}

/// Of affiliates.
#[derive(Debug, Args)]
pub struct ImportAffiliatesArgs {
    /// The file
    #[command(flatten)]
    pub import: ImportArgs,
    /// Days until a commission is due, for those imported from now on [a new tenant's default: 0]
    #[arg(long, env = "PAYFLEET_HOLD_DAYS", value_name = "DAYS", value_parser = value_parser!(i32).range(0..=365))]
    pub hold_days: Option<i32>,
}
