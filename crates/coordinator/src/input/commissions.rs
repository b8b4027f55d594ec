//! Files of commissions.

use payfleet_domain::{Currency, Money};
use payfleet_input::{COMMISSIONS, Faults, FileKind, Problem, Row, shown};
use payfleet_store::{CommissionRow, CommissionRows, Reversal};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::Table;

const ID: usize = 0;
const AFFILIATE: usize = 1;
const ORDER_REF: usize = 2;
const AMOUNT: usize = 3;
const CURRENCY: usize = 4;
const EARNED_AT: usize = 5;
const KIND: usize = 6;

/// A file of commissions.
#[derive(Debug, Default)]
pub struct Commissions {
    sums: Vec<(Currency, i128)>,
}

impl Table for Commissions {
    type Chunk = CommissionRows;
    const KIND: &'static FileKind = &COMMISSIONS;

    fn row(&mut self, row: &Row<'_>, chunk: &mut CommissionRows) -> Result<(), Faults> {
        let mut faults = Faults::default();
        let id = faults.keep(row.id(ID));
        let affiliate = faults.keep(row.id(AFFILIATE));
        let amount = faults.keep(currency(row, CURRENCY)).and_then(|currency| faults.keep(amount(row, currency)));
        let earned_at = row.short(EARNED_AT);
        let earned_at = faults.keep(self::earned_at(&earned_at).map_err(|what| row.problem(EARNED_AT, what)));
        if let (Some(amount), Some(earned_at)) = (amount, earned_at) {
            let exists = amount.currency.exists_on(earned_at.date());
            faults.keep(exists.map_err(|ended| row.problem(CURRENCY, ended.to_string())));
        }
        faults.keep(kind(row, amount));
        let (Some(id), Some(affiliate), Some(amount), Some(earned_at)) = (id, affiliate, amount, earned_at) else {
            return faults.verdict();
        };
        faults.verdict()?;
        let order_ref = row.text(ORDER_REF);
        let payfleet_input::Reversal { takes_back, taken_back_by, only_known } = row.reversal;
        let reversal = Reversal { takes_back, taken_back_by, only_known };
        chunk.push(&CommissionRow { line: row.line, id, affiliate, order_ref, amount, earned_at, reversal });
        match self.sums.iter_mut().find(|(currency, _)| *currency == amount.currency) {
            Some((_, sum)) => *sum += i128::from(amount.minor),
            None => self.sums.push((amount.currency, amount.minor.into())),
        }
        Ok(())
    }

    fn sums(&self) -> &[(Currency, i128)] {
        &self.sums
    }
}

fn amount(row: &Row<'_>, currency: Currency) -> Result<Money, Problem> {
    let found = currency.parse_amount(&row.amount(AMOUNT)?);
    found.map_err(|error| row.problem(AMOUNT, format!("{error}; correct the amount")))
}

/// Says whether the kind is one, and goes with the amount, if that is known.
fn kind(row: &Row<'_>, amount: Option<Money>) -> Result<(), Problem> {
    match (row.text(KIND), amount, amount.map(|amount| amount.minor.signum())) {
        ("sale" | "clawback", None, _) | ("sale", _, Some(1)) | ("clawback", _, Some(-1)) => Ok(()),
        ("sale" | "clawback", _, Some(0)) => Err(row.problem(AMOUNT, "is zero, which pays nobody; leave the row out")),
        ("sale", Some(amount), _) => Err(
            row.problem(KIND, format!("a sale of {amount}: a negative amount is a `clawback`; correct one of the two"))
        ),
        ("clawback", Some(amount), _) => {
            Err(row
                .problem(KIND, format!("a clawback of {amount}: the amount must be negative; correct one of the two")))
        }
        (other, ..) => Err(row.problem(KIND, format!("{} is not a kind; write `sale` or `clawback`", shown(other)))),
    }
}

/// The currency in a column.
pub(super) fn currency(row: &Row<'_>, column: usize) -> Result<Currency, Problem> {
    row.short(column).parse().map_err(|error| row.problem(column, format!("{error}; correct the code")))
}

fn earned_at(text: &str) -> Result<OffsetDateTime, String> {
    let at = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| {
        format!(
            "`{text}` is not an instant of RFC 3339; write date, time and offset, such as 2011-11-30T08:26:00Z, or say \
                 how they are written by `dates` and `time_zone` in a mapping file (--map)"
        )
    })?;
    // A typing error in the year would else open a window of centuries.
    if !(1970..3000).contains(&at.year()) {
        return Err(format!("`{text}` is not between the years 1970 and 2999; correct the year"));
    }
    Ok(at)
}
