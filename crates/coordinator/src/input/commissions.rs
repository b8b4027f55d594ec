//! Files of commissions.

use payfleet_domain::Currency;
use payfleet_store::{CommissionRow, CommissionRows};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{Problem, Row, Table};

const ID: usize = 0;
const AFFILIATE: usize = 1;
const ORDER_REF: usize = 2;
const AMOUNT: usize = 3;
const CURRENCY: usize = 4;
const EARNED_AT: usize = 5;
const KIND: usize = 6;

/// A file of commissions.
#[derive(Debug, Default)]
pub struct Commissions;

impl Table for Commissions {
    type Chunk = CommissionRows;
    const COLUMNS: &'static [&'static str] =
        &["commission_id", "affiliate_id", "order_ref", "amount", "currency", "earned_at", "kind"];
    const REQUIRED: usize = 7;

    fn row(&mut self, row: &Row<'_>, chunk: &mut CommissionRows) -> Result<(), Problem> {
        let id = row.id(ID)?;
        let affiliate = row.id(AFFILIATE)?;
        let currency = currency(row, CURRENCY)?;
        let amount = currency
            .parse_amount(row.text(AMOUNT))
            .map_err(|error| row.problem(AMOUNT, format!("{error}; correct the amount")))?;
        let earned_at = earned_at(row.text(EARNED_AT)).map_err(|what| row.problem(EARNED_AT, what))?;
        currency.exists_on(earned_at.date()).map_err(|ended| row.problem(CURRENCY, ended.to_string()))?;
        match (row.text(KIND), amount.minor.signum()) {
            ("sale", 1) | ("clawback", -1) => {}
            ("sale" | "clawback", 0) => {
                return Err(row.problem(AMOUNT, "is zero, which pays nobody; leave the row out"));
            }
            ("sale", _) => {
                return Err(row.problem(
                    KIND,
                    format!("a sale of {amount}: a negative amount is a `clawback`; correct one of the two"),
                ));
            }
            ("clawback", _) => {
                return Err(row.problem(
                    KIND,
                    format!("a clawback of {amount}: the amount must be negative; correct one of the two"),
                ));
            }
            (other, _) => return Err(row.problem(KIND, format!("`{other}` is not a kind; write `sale` or `clawback`"))),
        }
        chunk.push(&CommissionRow { line: row.line, id, affiliate, order_ref: row.text(ORDER_REF), amount, earned_at });
        Ok(())
    }
}

/// The currency in a column.
pub(super) fn currency(row: &Row<'_>, column: usize) -> Result<Currency, Problem> {
    row.text(column).parse().map_err(|error| row.problem(column, format!("{error}; correct the code")))
}

fn earned_at(text: &str) -> Result<OffsetDateTime, String> {
    let at = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| {
        format!("`{text}` is not an instant of RFC 3339; write date, time and offset, such as 2011-11-30T08:26:00Z")
    })?;
    // A typing error in the year would else open a window of centuries.
    if !(1970..3000).contains(&at.year()) {
        return Err(format!("`{text}` is not between the years 1970 and 2999; correct the year"));
    }
    Ok(at)
}
