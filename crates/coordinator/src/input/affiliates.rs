//! Files of affiliates: one row is an affiliate with one of its payout methods, or with none.

use payfleet_domain::{Currency, Destination, normalise_destination};
use payfleet_store::{AffiliateRow, AffiliateRows};

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
pub struct Affiliates;

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
        let destination = destination(row)?;
        let (min, max) = (limit(row, MIN, currency)?, limit(row, MAX, currency)?);
        if let (Some(min), Some(max)) = (min, max)
            && min > max
        {
            return Err(row.problem(MAX, "is less than `min`; exchange them"));
        }
        let priority = match row.get(PRIORITY) {
            None | Some("") => 0,
            Some(text) => text.parse().ok().filter(|priority| (0..=99).contains(priority)).ok_or_else(|| {
                row.problem(PRIORITY, format!("`{text}` is not a whole number from 0 to 99; 0 is tried first"))
            })?,
        };
        let on_hold = match row.get(ON_HOLD) {
            None => None,
            Some("true") => Some(true),
            Some("false" | "") => Some(false),
            Some(text) => return Err(row.problem(ON_HOLD, format!("`{text}` is neither; write `true` or `false`"))),
        };
        chunk.push(&AffiliateRow {
            line: row.line,
            id,
            name: row.text(NAME).trim(),
            email: row.text(EMAIL).trim(),
            country: row.text(COUNTRY).trim(),
            currency,
            on_hold,
            method: destination.as_ref().map(|(method, destination)| (*method, destination.as_str())),
            priority,
            limits: (row.get(MIN).is_some() || row.get(MAX).is_some()).then_some((min, max)),
        });
        Ok(())
    }
}

/// Method and destination: both, or neither.
fn destination<'a>(row: &Row<'a>) -> Result<Option<(&'a str, Destination)>, Problem> {
    match (row.text(METHOD), row.text(DESTINATION)) {
        ("", "") => Ok(None),
        ("", _) => Err(row.problem(METHOD, "is empty and `destination` is not; fill both or neither")),
        (_, "") => Err(row.problem(DESTINATION, "is empty and `method` is not; fill both or neither")),
        (method, _) if !crate::cli::is_method(method) => Err(row.problem(
            METHOD,
            format!("`{method}` is not a method; use small letters, digits, `-` and `_`, such as paypal or sepa"),
        )),
        (method, text) => normalise_destination(method, text)
            .map(|destination| Some((method, destination)))
            .map_err(|error| row.problem(DESTINATION, format!("`{text}`: {error}; correct it"))),
    }
}

fn limit(row: &Row<'_>, column: usize, currency: Currency) -> Result<Option<i64>, Problem> {
    match row.get(column) {
        None | Some("") => Ok(None),
        Some(text) => match currency.parse_amount(text) {
            Ok(money) if money.minor > 0 => Ok(Some(money.minor)),
            Ok(_) => Err(row.problem(column, format!("`{text}` is not above zero; leave it empty for no limit"))),
            Err(error) => Err(row.problem(column, format!("{error}; correct the amount"))),
        },
    }
}
