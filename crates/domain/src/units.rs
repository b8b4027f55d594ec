//! The smallest unit that a rail counts a currency in, which is not always the one of ISO 4217. What does not come out
//! even in it is refused, never rounded.

use std::fmt;

use crate::{Currency, Money};

/// An amount that the rail cannot be told: it counts the currency in larger units. Neither it nor the payee is named.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{rail} pays {currency} in steps of {step_minor} minor units only")]
pub struct Uneven {
    /// Which rail.
    pub rail: Name,
    /// Which currency.
    pub currency: Currency,
    /// The rail's smallest step, in minor units of ISO 4217.
    pub step_minor: i64,
}

/// A rail's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Name(pub &'static str);

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// How a rail counts a currency.
#[derive(Debug, Clone, Copy)]
struct Unit {
    rail: &'static str,
    currency: &'static str,
    /// Decimals of the unit that is told to the rail.
    decimals: u32,
    /// So many of these units at least, and multiples of it.
    step: i64,
}

const fn unit(rail: &'static str, currency: &'static str, decimals: u32, step: i64) -> Unit {
    Unit { rail, currency, decimals, step }
}

/// Where a rail differs from ISO 4217. The decimals of the standard: HUF, MGA and TWD 2; ISK, JPY, KRW and UGX 0; BHD,
/// JOD, KWD, OMR and TND 3.
const UNITS: &[Unit] = &[
    // PayPal, "Currency codes": "This currency does not support decimals".
    unit("paypal", "HUF", 0, 1),
    unit("paypal", "TWD", 0, 1),
    // Stripe, "Supported currencies", zero-decimal currencies and special cases (partly from memory: unverified).
    unit("stripe", "MGA", 0, 1),
    unit("stripe", "ISK", 2, 100),
    unit("stripe", "UGX", 2, 100),
    unit("stripe", "BHD", 3, 10),
    unit("stripe", "JOD", 3, 10),
    unit("stripe", "KWD", 3, 10),
    unit("stripe", "OMR", 3, 10),
    unit("stripe", "TND", 3, 10),
    // Wise (unverified).
    unit("wise", "HUF", 0, 1),
];

fn unit_of(rail: &str, currency: Currency) -> Option<&'static Unit> {
    UNITS.iter().find(|unit| unit.rail == rail && unit.currency == currency.code())
}

impl Unit {
    /// The smallest step in minor units of ISO 4217, of which there are so many decimals.
    fn step_minor(&self, ours: u32) -> i64 {
        // Exponents are 0 to 4, so neither power overflows.
        let (more, fewer) =
            (10_i64.pow(self.decimals.saturating_sub(ours)), 10_i64.pow(ours.saturating_sub(self.decimals)));
        (self.step.saturating_mul(fewer) / more).max(1)
    }
}

/// Where a rail pays a currency in larger steps than a minor unit of ISO 4217: the rail, the code of the currency, and
/// the step in minor units. Nothing but its multiples can be paid.
pub fn rail_steps() -> impl Iterator<Item = (&'static str, Currency, i64)> {
    UNITS.iter().filter_map(|unit| {
        let currency: Currency = unit.currency.parse().ok()?; // a test reads them all
        let step_minor = unit.step_minor(currency.exponent());
        (step_minor > 1).then_some((unit.rail, currency, step_minor))
    })
}

/// Decimals that the rail gives a currency.
pub fn rail_decimals(rail: &str, currency: Currency) -> u32 {
    unit_of(rail, currency).map_or_else(|| currency.exponent(), |unit| unit.decimals)
}

/// The amount in the rail's own smallest units, if it comes out even.
pub fn to_rail_minor(rail: &'static str, amount: Money) -> Result<i64, Uneven> {
    let Some(unit) = unit_of(rail, amount.currency) else { return Ok(amount.minor) };
    let (ours, theirs) = (amount.currency.exponent(), unit.decimals);
    // Exponents are 0 to 4, so neither power overflows.
    let (more, fewer) = (10_i64.pow(theirs.saturating_sub(ours)), 10_i64.pow(ours.saturating_sub(theirs)));
    let uneven = Uneven { rail: Name(rail), currency: amount.currency, step_minor: unit.step_minor(ours) };
    let scaled = amount.minor.checked_mul(more).filter(|scaled| scaled % fewer == 0).ok_or(uneven.clone())? / fewer;
    if scaled % unit.step == 0 { Ok(scaled) } else { Err(uneven) }
}

/// An amount that the rail tells in its own smallest units, in minor units of ISO 4217; `None` if it has no such
/// amount.
pub fn from_rail_minor(rail: &str, currency: Currency, theirs: i64) -> Option<i64> {
    let (decimals, ours) = (rail_decimals(rail, currency), currency.exponent());
    let fewer = 10_i64.pow(decimals.saturating_sub(ours));
    (theirs % fewer == 0).then_some(theirs / fewer)?.checked_mul(10_i64.pow(ours.saturating_sub(decimals)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(rail: &'static str, code: &str, minor: i64) -> Result<i64, i64> {
        let currency = code.parse().expect("a code of ISO 4217");
        to_rail_minor(rail, Money { minor, currency }).map_err(|uneven| uneven.step_minor)
    }

    #[test]
    fn what_does_not_come_out_even_is_refused_and_never_rounded() {
        assert_eq!(told("paypal", "USD", 1234), Ok(1234));
        assert_eq!(told("paypal", "JPY", 1234), Ok(1234), "no decimals in the standard either");
        assert_eq!(told("paypal", "HUF", 123_400), Ok(1_234));
        assert_eq!(told("paypal", "HUF", 123_450), Err(100));
        assert_eq!(told("paypal", "TWD", 1), Err(100));
        assert_eq!(told("stripe", "HUF", 123_450), Ok(123_450), "of transfers that is not asked");
        assert_eq!(told("stripe", "ISK", 12), Ok(1_200), "sent as hundredths, and whole");
        assert_eq!(told("stripe", "UGX", 7), Ok(700));
        assert_eq!(told("stripe", "MGA", 500), Ok(5));
        assert_eq!(told("stripe", "MGA", 550), Err(100));
        assert_eq!(told("stripe", "KWD", 12_340), Ok(12_340));
        assert_eq!(told("stripe", "KWD", 12_345), Err(10));
        assert_eq!(told("wise", "HUF", 50), Err(100));
        assert_eq!(told("stripe", "ISK", i64::MAX), Err(1), "an overflow is no amount");
    }

    #[test]
    fn what_the_rail_tells_is_the_amount_that_it_was_told() {
        for unit in UNITS {
            let currency: Currency = unit.currency.parse().expect("a code of ISO 4217");
            for minor in [1_000, 100_000, 123_000] {
                let told = to_rail_minor(unit.rail, Money { minor, currency }).expect("even in every unit");
                assert_eq!(from_rail_minor(unit.rail, currency, told), Some(minor), "{}", unit.currency);
            }
        }
        let isk = "ISK".parse().expect("a code of ISO 4217");
        assert_eq!(from_rail_minor("stripe", isk, 150), None, "half a króna is no amount");
        assert_eq!(from_rail_minor("paypal", "HUF".parse().expect("a code of ISO 4217"), i64::MAX), None);
    }

    #[test]
    fn just_the_multiples_of_a_step_come_out_even() {
        let steps: Vec<_> = rail_steps().collect();
        for (rail, currency, step_minor) in &steps {
            for minor in [1, step_minor - 1, *step_minor, step_minor + 1, 7 * step_minor, 123_456] {
                let even = to_rail_minor(rail, Money { minor, currency: *currency }).is_ok();
                assert_eq!(even, minor % step_minor == 0, "{rail} {currency} {minor}");
            }
        }
        for unit in UNITS {
            let currency: Currency = unit.currency.parse().expect("a code of ISO 4217");
            let is_listed = steps.iter().any(|(rail, listed, _)| *rail == unit.rail && *listed == currency);
            let one = to_rail_minor(unit.rail, Money { minor: 1, currency }).is_ok();
            assert!(is_listed != one, "{} {}", unit.rail, unit.currency);
        }
    }

    #[test]
    fn decimals_are_the_rails() {
        let decimals = |rail, code: &str| rail_decimals(rail, code.parse().expect("a code of ISO 4217"));
        assert_eq!((decimals("paypal", "HUF"), decimals("paypal", "EUR")), (0, 2));
        assert_eq!((decimals("stripe", "ISK"), decimals("stripe", "JPY")), (2, 0));
        for unit in UNITS {
            let currency = unit.currency.parse::<Currency>().expect("a code of ISO 4217");
            assert!(unit.decimals != currency.exponent() || unit.step != 1, "{}: it does not differ", unit.currency);
        }
    }
}
