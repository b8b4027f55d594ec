//! Files of affiliates: one row is an affiliate with one of its payout methods, or with none. What a row does not say stays as it is: a column that
//! is not there and an empty field are the same. Something is taken away by the word `none`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use payfleet_domain::{Country, Currency, Destination, DestinationError, DestinationKind, MethodKinds, visible};
use payfleet_store::{AffiliateRow, AffiliateRows, Said};

use super::commissions::currency;
use super::{Problem, Row, Table};

const ID: usize = 0;
const NAME: usize = 1;
const EMAIL: usize = 2;
const COUNTRY: usize = 3;
const CURRENCY: usize = 4;
const METHOD: usize = 5;
const DESTINATION: usize = 6;
const PRIORITY: usize = 7;
const ON_HOLD: usize = 8;
const MIN: usize = 9;
const MAX: usize = 10;

/// A file of affiliates.
#[derive(Debug, Default)]
pub struct Affiliates {
    /// Whose.
    pub tenant: String,
    /// What the destinations of its methods are.
    pub kinds: MethodKinds,
    /// Rows that name a country in words.
    pub named_countries: Arc<AtomicU64>,
}

impl Table for Affiliates {
    type Chunk = AffiliateRows;
    const COLUMNS: &'static [&'static str] = &[
        "affiliate_id",
        "name",
        "email",
        "country",
        "currency",
        "method",
        "destination",
        "priority",
        "on_hold",
        "min",
        "max",
    ];
    const REQUIRED: usize = 7;

    fn row(&mut self, row: &Row<'_>, chunk: &mut AffiliateRows) -> Result<(), Problem> {
        let id = row.id(ID)?;
        let currency = currency(row, CURRENCY)?;
        let country = country(row)?;
        if country.is_name {
            self.named_countries.fetch_add(1, Ordering::Relaxed);
        }
        let destination = self.destination(row)?;
        let (min, max) = (limit(row, MIN, currency)?, limit(row, MAX, currency)?);
        if let (Said::Is(min), Said::Is(max)) = (min, max)
            && min > max
        {
            return Err(row.problem(MAX, "is less than `min`; exchange them"));
        }
        for (column, limit) in [(MIN, min), (MAX, max)] {
            if destination == Said::Gone && matches!(limit, Said::Is(_)) {
                return Err(row.problem(column, "is a limit of a method that the row takes away; leave it empty"));
            }
        }
        let priority = match row.get(PRIORITY) {
            None | Some("") => 0,
            Some(text) => text.parse().ok().filter(|priority| (0..=99).contains(priority)).ok_or_else(|| {
                row.problem(PRIORITY, format!("`{text}` is not a whole number from 0 to 99; 0 is tried first"))
            })?,
        };
        let on_hold = match row.get(ON_HOLD) {
            None | Some("") => None,
            Some("true") => Some(true),
            Some("false") => Some(false),
            Some(text) => return Err(row.problem(ON_HOLD, format!("`{text}` is neither; write `true` or `false`"))),
        };
        chunk.push(&AffiliateRow {
            line: row.line,
            id,
            name: row.text(NAME).trim(),
            email: row.text(EMAIL).trim(),
            country: &country.text,
            currency,
            on_hold,
            method: match &destination {
                Said::Is((method, destination)) => Said::Is((method, destination)),
                Said::Gone => Said::Gone,
                Said::Nothing => Said::Nothing,
            },
            priority,
            min,
            max,
        });
        Ok(())
    }
}

/// What takes something away.
const NONE: &str = "none";

impl Affiliates {
    /// Method and destination: both, or neither.
    fn destination<'a>(&self, row: &Row<'a>) -> Result<Said<(&'a str, Destination)>, Problem> {
        match (row.text(METHOD), row.text(DESTINATION)) {
            ("", "") => Ok(Said::Nothing),
            (NONE, "" | NONE) => Ok(Said::Gone),
            (NONE, _) => {
                Err(row.problem(DESTINATION, "is not empty and `method` is none; leave it empty or name the method"))
            }
            ("", _) => Err(row.problem(METHOD, "is empty and `destination` is not; fill both or neither")),
            (_, "") => Err(row.problem(DESTINATION, "is empty and `method` is not; fill both or neither")),
            (method, _) if !crate::cli::is_method(method) => Err(row.problem(
                METHOD,
                format!("`{method}` is not a method; use small letters, digits, `-` and `_`, such as paypal or sepa"),
            )),
            (method, text) => {
                let checked = self.kinds.of(method).check(text);
                checked.map(|destination| Said::Is((method, destination))).map_err(|error| {
                    let way = self.another_kind(method, text, &error).unwrap_or_default();
                    row.problem(DESTINATION, format!("`{}`: {error}{way}", visible(text)))
                })
            }
        }
    }

    /// What to do if not the destination is wrong, but what its method is taken for.
    fn another_kind(&self, method: &str, text: &str, error: &DestinationError) -> Option<String> {
        let is_form = matches!(error, DestinationError::Form { .. } | DestinationError::NotAllowed { .. });
        let fits = |kind: &DestinationKind| *kind != DestinationKind::Opaque && kind.check(text).is_ok();
        let kind = DestinationKind::ALL.into_iter().find(|kind| is_form && fits(kind))?;
        let tenant = &self.tenant;
        Some(format!(
            "; if those of `{method}` are of kind {kind}, say so: `rails set --tenant {tenant} --method {method} \
             --kind {kind}`"
        ))
    }
}

fn country<'a>(row: &Row<'a>) -> Result<Country<'a>, Problem> {
    Country::read(row.text(COUNTRY)).map_err(|error| row.problem(COUNTRY, error.to_string()))
}

fn limit(row: &Row<'_>, column: usize, currency: Currency) -> Result<Said<i64>, Problem> {
    match row.get(column) {
        None | Some("") => Ok(Said::Nothing),
        Some(NONE) => Ok(Said::Gone),
        Some(text) => match currency.parse_amount(text) {
            Ok(money) if money.minor > 0 => Ok(Said::Is(money.minor)),
            Ok(_) => Err(row.problem(column, format!("`{text}` is not above zero; write `none` for no limit"))),
            Err(error) => Err(row.problem(column, format!("{error}; correct the amount"))),
        },
    }
}
