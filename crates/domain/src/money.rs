//! Amounts as whole minor units with their currency. Never a float; every sum is checked.

use std::fmt;
use std::str::FromStr;

use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;
use time::Date;
use time::macros::date;

/// The largest amount of one commission or payout, in minor units, either sign: ten trillion units of a currency with
/// two decimals. Far above any real payment and low enough that nine thousand of them fit in an `i64`.
pub const MAX_AMOUNT_MINOR: i64 = 1_000_000_000_000_000;

/// The largest balance of one account, in minor units, either sign: a tenth of what an `i64` holds, so that whatever is
/// added on the way (a payment that comes back, a debt, the batch that it travels in) fits too. Imports keep everything
/// that an account was ever credited or debited below it.
pub const MAX_BALANCE_MINOR: i64 = 900_000_000_000_000_000;

/// Payouts in one batch, at most: so many of the largest amount fit in an `i64`.
pub const MAX_PAYOUTS_PER_BATCH: u32 = 9_000;

const _: () = assert!(MAX_AMOUNT_MINOR.checked_mul(MAX_PAYOUTS_PER_BATCH as i64).is_some());

/// A currency of ISO 4217, with the number of decimals that the standard gives it (JPY 0, EUR 2, KWD 3; ISK 0 and UGX 0
/// too).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Currency([u8; 3]);

/// The text is no active currency code of ISO 4217.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a currency code of ISO 4217, such as EUR or JPY")]
pub struct UnknownCurrency(pub String);

/// Codes that ISO 4217 has withdrawn ("List three: codes for historic denominations of currencies and funds") and that
/// the list of active ones here still has: the first day on which each was no money any more, and what took its place.
/// Amendments 175 (SLL) and 177 (ZWL) name the days; Croatia (HRK) and Bulgaria (BGN) joined the euro, and Cuba took
/// the convertible peso (CUC) out of use, on those of the others.
const ENDED: [(&str, Date, &str); 5] = [
    ("BGN", date!(2026 - 01 - 01), "EUR"),
    ("CUC", date!(2021 - 07 - 01), "CUP"),
    ("HRK", date!(2023 - 01 - 01), "EUR"),
    ("SLL", date!(2024 - 01 - 01), "SLE"),
    ("ZWL", date!(2024 - 09 - 01), "ZWG"),
];

/// A currency that was no money any more on a day.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{currency} ended on {since}, and {successor} took its place; give what was earned since in {successor}")]
pub struct CurrencyEnded {
    /// Which.
    pub currency: Currency,
    /// The first day without it.
    pub since: Date,
    /// What took its place.
    pub successor: &'static str,
}

impl Currency {
    /// Whether there was the currency on this day. When one began is not asked: whoever has its code has heard of it.
    pub fn exists_on(&self, day: Date) -> Result<(), CurrencyEnded> {
        match ENDED.iter().find(|(code, since, _)| *code == self.code() && day >= *since) {
            Some(&(_, since, successor)) => Err(CurrencyEnded { currency: *self, since, successor }),
            None => Ok(()),
        }
    }

    /// The three letters, in capitals.
    pub fn code(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or("???") // always ASCII: made only from a code of iso_currency
    }

    /// Decimals of the minor unit, 0 to 4 (ISO 4217, column "minor unit").
    pub fn exponent(&self) -> u32 {
        iso_currency::Currency::from_code(self.code()).and_then(|known| known.exponent()).map_or(2, u32::from)
    }

    /// Every currency that an amount can be in: the active ones that have a minor unit (so no gold, no test code).
    pub fn all() -> impl Iterator<Item = Currency> {
        use iso_currency::IntoEnumIterator;
        iso_currency::Currency::iter().filter_map(|known| Currency::from_str(known.code()).ok())
    }

    /// Reads a decimal number as an amount of this currency. Accepts `-12.30`, `12`, `.5`; refuses thousands
    /// separators, exponents, and more decimals than the currency has, even if they are zeros beyond its unit (`1.000`
    /// EUR is most often a misread thousand).
    pub fn parse_amount(&self, text: &str) -> Result<Money, AmountError> {
        let plain = text.strip_prefix(['-', '+']).unwrap_or(text);
        let mut parts = plain.split('.');
        let (whole, decimals, rest) = (parts.next().unwrap_or(""), parts.next(), parts.next());
        let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if rest.is_some()
            || !digits(whole)
            || !decimals.is_none_or(|part| digits(part) && !part.is_empty())
            || (whole.is_empty() && decimals.is_none())
        {
            return Err(AmountError::NotANumber(text.to_owned()));
        }
        let found = decimals.map_or(0, str::len);
        if found > self.exponent() as usize {
            return Err(AmountError::TooManyDecimals {
                amount: text.to_owned(),
                currency: *self,
                allowed: self.exponent(),
            });
        }
        let overflow = || AmountError::TooLarge(text.to_owned());
        let mut minor: i64 = 0;
        let padding = std::iter::repeat_n(b'0', self.exponent() as usize - found);
        for digit in whole.bytes().chain(decimals.unwrap_or("").bytes()).chain(padding) {
            minor = minor
                .checked_mul(10)
                .and_then(|shifted| shifted.checked_add(i64::from(digit - b'0')))
                .ok_or_else(overflow)?;
        }
        if minor > MAX_AMOUNT_MINOR {
            return Err(overflow());
        }
        Ok(Money { minor: if text.starts_with('-') { -minor } else { minor }, currency: *self })
    }

    /// A threshold given in units ("10.00") as minor units of this currency, rounded up where the currency has fewer
    /// decimals.
    pub fn threshold_minor(&self, units: Decimal) -> Option<i64> {
        let scale = Decimal::from(10_i64.checked_pow(self.exponent())?);
        units.checked_mul(scale)?.ceil().to_i64()
    }
}

impl FromStr for Currency {
    type Err = UnknownCurrency;

    fn from_str(code: &str) -> Result<Self, Self::Err> {
        let known = iso_currency::Currency::from_code(code)
            .filter(|known| known.exponent().is_some() && code != "XXX" && code != "XTS")
            .ok_or_else(|| UnknownCurrency(code.to_owned()))?;
        let mut letters = [0; 3];
        letters.copy_from_slice(known.code().as_bytes());
        Ok(Currency(letters))
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.code())
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl serde::Serialize for Currency {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.code())
    }
}

impl<'de> serde::Deserialize<'de> for Currency {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let code = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        code.parse().map_err(serde::de::Error::custom)
    }
}

/// An amount: whole minor units of one currency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct Money {
    /// Minor units (cents, pence, yen), signed.
    pub minor: i64,
    /// What they are units of.
    pub currency: Currency,
}

/// Why a text is no amount.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AmountError {
    /// Not plain decimal digits with at most one point.
    #[error("`{0}` is not an amount: write digits with a decimal point, such as 12.30")]
    NotANumber(String),
    /// More decimals than ISO 4217 gives the currency.
    #[error("`{amount}` has too many decimals: {currency} has {allowed}")]
    TooManyDecimals {
        /// The text.
        amount: String,
        /// Its currency.
        currency: Currency,
        /// Decimals that the currency has.
        allowed: u32,
    },
    /// Beyond [`MAX_AMOUNT_MINOR`].
    #[error("`{0}` is too large: one amount has at most 1,000,000,000,000,000 minor units")]
    TooLarge(String),
}

impl Money {
    /// The sum, if both are of one currency and it fits.
    pub fn checked_add(self, other: Money) -> Option<Money> {
        (self.currency == other.currency)
            .then(|| self.minor.checked_add(other.minor))
            .flatten()
            .map(|minor| Money { minor, currency: self.currency })
    }

    /// The amount as a decimal number with the currency's own number of decimals.
    pub fn to_decimal(self) -> Decimal {
        Decimal::new(self.minor, self.currency.exponent())
    }
}

impl fmt::Display for Money {
    /// `12.30 EUR`, `1230 JPY`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.to_decimal(), self.currency)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use iso_currency::IntoEnumIterator;

    fn currency(code: &str) -> Currency {
        code.parse().expect("a code of ISO 4217")
    }

    #[test]
    fn exponents_are_those_of_iso_4217() {
        for (code, exponent) in [("EUR", 2), ("JPY", 0), ("ISK", 0), ("UGX", 0), ("HUF", 2), ("TWD", 2), ("KWD", 3)] {
            assert_eq!(currency(code).exponent(), exponent, "{code}");
        }
        for code in ["eur", "XXX", "XTS", "XAU", "EURO", ""] {
            assert_eq!(code.parse::<Currency>(), Err(UnknownCurrency(code.to_owned())));
        }
    }

    #[test]
    fn a_currency_that_ended_is_none_from_that_day_on() {
        assert_eq!(currency("HRK").exists_on(date!(2022 - 12 - 31)), Ok(()));
        let ended = currency("HRK").exists_on(date!(2023 - 01 - 01)).map_err(|ended| ended.to_string());
        let told = "HRK ended on 2023-01-01, and EUR took its place; give what was earned since in EUR";
        assert_eq!(ended, Err(told.to_owned()));
        for (code, since, successor) in ENDED {
            assert!(
                currency(code).exists_on(since).is_err()
                    && currency(code).exists_on(since - time::Duration::DAY).is_ok()
            );
            assert_eq!(currency(successor).exists_on(date!(2999 - 01 - 01)), Ok(()), "{successor}");
        }
        // Those that the library knows to be superseded; of the bolívar it means another name for the same money.
        let known: Vec<&str> =
            iso_currency::Currency::iter().filter(|one| one.is_superseded().is_some()).map(|one| one.code()).collect();
        let listed: Vec<&str> = known.into_iter().filter(|code| *code != "VES").collect();
        assert_eq!(listed, ENDED.map(|(code, ..)| code));
    }

    #[test]
    fn amounts_are_read_to_the_minor_unit() {
        let minor = |code: &str, text: &str| currency(code).parse_amount(text).map(|money| money.minor);
        assert_eq!(minor("EUR", "12.3"), Ok(1230));
        assert_eq!(minor("EUR", "-0.05"), Ok(-5));
        assert_eq!(minor("EUR", ".5"), Ok(50));
        assert_eq!(minor("JPY", "1200"), Ok(1200));
        assert_eq!(minor("EUR", "10000000000000"), Ok(MAX_AMOUNT_MINOR));
        for text in ["", "-", ".", "1.", "1,50", "1e3", "1.2.3", " 1", "NaN", "١"] {
            assert!(matches!(minor("EUR", text), Err(AmountError::NotANumber(_))), "{text:?}");
        }
        assert!(matches!(minor("JPY", "1.0"), Err(AmountError::TooManyDecimals { allowed: 0, .. })));
        assert!(matches!(minor("EUR", "1.000"), Err(AmountError::TooManyDecimals { allowed: 2, .. })));
        for text in ["10000000000000.01", "99999999999999999999999999"] {
            assert!(matches!(minor("EUR", text), Err(AmountError::TooLarge(_))), "{text:?}");
        }
    }

    #[test]
    fn a_threshold_is_never_rounded_down() {
        let threshold = |code: &str, units: &str| currency(code).threshold_minor(units.parse().expect("a decimal"));
        assert_eq!(threshold("EUR", "10.00"), Some(1000));
        assert_eq!(threshold("JPY", "10.00"), Some(10));
        assert_eq!(threshold("JPY", "10.01"), Some(11));
    }
}
