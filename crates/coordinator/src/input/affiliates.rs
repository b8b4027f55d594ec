//! Files of affiliates: one row is an affiliate with one of its payout methods, or with none. What a row does not say
//! stays as it is: a column that is not there and an empty field are the same. Something is taken away by the word
//! `none`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use payfleet_domain::{Country, Currency, Destination, DestinationError, DestinationKind, MethodKinds};
use payfleet_input::{AFFILIATES, Faults, FileKind, Problem, Row, shown};
use payfleet_store::{AffiliateRow, AffiliateRows, Said};

use super::Table;
use super::commissions::currency;

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
    const KIND: &'static FileKind = &AFFILIATES;

    fn row(&mut self, row: &Row<'_>, chunk: &mut AffiliateRows) -> Result<(), Faults> {
        let mut faults = Faults::default();
        let id = faults.keep(row.id(ID));
        let currency = faults.keep(currency(row, CURRENCY));
        let country = faults.keep(country(row));
        let destination = faults.keep(self.destination(row));
        let limits = currency.map(|currency| [MIN, MAX].map(|column| faults.keep(limit(row, column, currency))));
        let is_gone = destination == Some(Said::Gone);
        if let Some([min, max]) = limits {
            if let (Some(Said::Is(min)), Some(Said::Is(max))) = (min, max)
                && min > max
            {
                faults.add(row.problem(MAX, "is less than `min`; exchange them"));
            }
            for (column, limit) in [(MIN, min), (MAX, max)] {
                if is_gone && matches!(limit, Some(Said::Is(_))) {
                    faults.add(row.problem(column, "is a limit of a method that the row takes away; leave it empty"));
                }
            }
        }
        let priority = faults.keep(priority(row));
        let on_hold = faults.keep(on_hold(row));
        let (Some(id), Some(currency), Some(country), Some(destination)) = (id, currency, country, destination) else {
            return faults.verdict();
        };
        let (Some([Some(min), Some(max)]), Some(priority), Some(on_hold)) = (limits, priority, on_hold) else {
            return faults.verdict();
        };
        faults.verdict()?;
        if country.is_name {
            self.named_countries.fetch_add(1, Ordering::Relaxed);
        }
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

fn priority(row: &Row<'_>) -> Result<i16, Problem> {
    match row.get(PRIORITY) {
        None | Some("") => Ok(0),
        Some(text) => text.parse().ok().filter(|priority| (0..=99).contains(priority)).ok_or_else(|| {
            row.problem(PRIORITY, format!("{} is not a whole number from 0 to 99; 0 is tried first", shown(text)))
        }),
    }
}

fn on_hold(row: &Row<'_>) -> Result<Option<bool>, Problem> {
    match row.get(ON_HOLD) {
        None | Some("") => Ok(None),
        // Spreadsheets save these in capitals, in the language of the office.
        Some(text) if ["true", "wahr", "vrai"].iter().any(|word| text.eq_ignore_ascii_case(word)) => Ok(Some(true)),
        Some(text) if ["false", "falsch", "faux"].iter().any(|word| text.eq_ignore_ascii_case(word)) => Ok(Some(false)),
        Some(text) => Err(row.problem(ON_HOLD, format!("{} is neither `true` nor `false`; write one", shown(text)))),
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
                format!(
                    "{} is not a method; use small letters, digits, `-` and `_`, such as paypal or sepa",
                    shown(method)
                ),
            )),
            (method, text) => {
                let checked = self.kinds.of(method).check(text);
                checked.map(|destination| Said::Is((method, destination))).map_err(|error| {
                    let way = self.another_kind(method, text, &error).unwrap_or_default();
                    row.problem(DESTINATION, format!("{}: {error}{way}", shown(text)))
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
        Some(text) => match currency.parse_amount(&row.amount(column)?) {
            Ok(money) if money.minor > 0 => Ok(Said::Is(money.minor)),
            Ok(_) => Err(row.problem(column, format!("{} is not above zero; write `none` for no limit", shown(text)))),
            Err(error) => Err(row.problem(column, format!("{error}; correct the amount"))),
        },
    }
}
