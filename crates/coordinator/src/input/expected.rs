//! Control totals: what whoever hands a file in knows of it from elsewhere. A file that comes to anything else is refused as a whole.

use payfleet_domain::Currency;
use payfleet_input::{Problem, Problems, Rows};
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;

use crate::show;

/// What a file must come to.
#[derive(Debug, Clone, Default)]
pub struct Expected {
    /// How many rows, if that was said.
    pub rows: Option<u64>,
    /// The sums by currency; if any is said, there is no other currency.
    pub sums: Vec<ExpectedSum>,
}

/// The sum of a currency, in minor units.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExpectedSum {
    currency: Currency,
    minor: i128,
}

impl Expected {
    /// Says with both figures where the file comes to something else.
    pub fn check(&self, rows: &Rows, sums: &[(Currency, i128)], problems: &mut Problems) {
        let mut problem = |option: &str, what: String| {
            problems.add(Problem { line: rows.line(), column: option.to_owned(), what });
        };
        if let Some(expected) = self.rows.filter(|expected| *expected != rows.count()) {
            let found = rows.count();
            problem("--expect-rows", format!("{expected} rows are expected, and the file has {found}; {WAY_OUT}"));
        }
        if self.sums.is_empty() {
            return;
        }
        let found = |wanted: Currency| sums.iter().find(|(currency, _)| *currency == wanted).map_or(0, |(_, sum)| *sum);
        for &ExpectedSum { currency, minor } in &self.sums {
            if found(currency) != minor {
                let [expected, found] = [minor, found(currency)].map(|minor| show::amount(minor, currency));
                problem(
                    "--expect-sum",
                    format!("{expected} {currency} is expected, and the rows come to {found} {currency}; {WAY_OUT}"),
                );
            }
        }
        for (currency, sum) in sums {
            if !self.sums.iter().any(|expected| expected.currency == *currency) {
                let found = show::amount(*sum, *currency);
                problem(
                    "--expect-sum",
                    format!("nothing in {currency} is expected, and the rows come to {found} {currency}; {WAY_OUT}"),
                );
            }
        }
    }
}

const WAY_OUT: &str = "look for what is missing or there twice, or correct the figure";

/// For clap: `EUR=1234.56`.
pub fn expected_sum(text: &str) -> Result<ExpectedSum, String> {
    let (code, amount) = text.split_once('=').ok_or("a sum is written as CURRENCY=AMOUNT, such as EUR=1234.56")?;
    let currency: Currency = code.parse().map_err(|unknown: payfleet_domain::UnknownCurrency| unknown.to_string())?;
    let exponent = currency.exponent();
    // As in a file, a sum has no more decimals than its currency, and no marks between thousands.
    let is_plain = amount.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.' || byte == b'-');
    let amount = Decimal::from_str_exact(amount).ok().filter(|amount| is_plain && amount.scale() <= exponent);
    let scale = 10_i64.checked_pow(exponent).map(Decimal::from);
    let minor =
        amount.zip(scale).and_then(|(amount, scale)| amount.checked_mul(scale)).and_then(|minor| minor.to_i128());
    let minor = minor
        .ok_or_else(|| format!("not a sum in {code}: write digits with a decimal point, such as {code}=1234.56"))?;
    Ok(ExpectedSum { currency, minor })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_names_its_currency() {
        let minor = |text: &str| expected_sum(text).map(|sum| sum.minor);
        assert_eq!(minor("EUR=1234.56"), Ok(123_456));
        assert_eq!(minor("JPY=-7"), Ok(-7));
        assert_eq!(minor("KWD=0.5"), Ok(500));
        assert_eq!(minor("EUR=99999999999999999.99"), Ok(9_999_999_999_999_999_999), "more than one amount can be");
        for wrong in ["EUR", "EUR=", "EUR=1,50", "EUR=1.005", "JPY=1.0", "EURO=1", "EUR=1e3", "=1"] {
            assert!(minor(wrong).is_err(), "{wrong}");
        }
    }
}
