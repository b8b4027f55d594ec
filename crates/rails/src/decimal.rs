//! Amounts as decimal text, for rails that write them so. Exact both ways: never a float, never rounded.

use payfleet_domain::Currency;

/// So many of the smallest units as a number with so many decimals: `12.30`, `1230`.
pub(crate) fn decimal_text(units: i64, decimals: u32) -> String {
    let digits = units.unsigned_abs().to_string();
    let decimals = decimals as usize; // at most 4
    let padded = format!("{digits:0>width$}", width = decimals + 1);
    let (whole, fraction) = padded.split_at(padded.len() - decimals);
    let sign = if units < 0 { "-" } else { "" };
    match fraction {
        "" => format!("{sign}{whole}"),
        _ => format!("{sign}{whole}.{fraction}"),
    }
}

/// Minor units of ISO 4217 that a decimal number is. More decimals than the currency has must be zeros; anything but
/// digits and one point (an exponent too) is no amount.
pub(crate) fn minor_of(text: &str, currency: Currency) -> Option<i64> {
    let plain = text.strip_prefix('-').unwrap_or(text);
    let (whole, fraction) = plain.split_once('.').unwrap_or((plain, "0"));
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(whole) || !is_number(fraction) {
        return None;
    }
    let decimals = currency.exponent() as usize; // at most 4
    let (kept, rest) = fraction.split_at(fraction.len().min(decimals));
    if rest.bytes().any(|byte| byte != b'0') {
        return None;
    }
    let digits = whole.bytes().chain(kept.bytes()).chain(std::iter::repeat_n(b'0', decimals - kept.len()));
    let mut minor: i64 = 0;
    for digit in digits {
        minor = minor.checked_mul(10)?.checked_add(i64::from(digit - b'0'))?;
    }
    Some(if text.starts_with('-') { -minor } else { minor })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn currency(code: &str) -> Currency {
        code.parse().expect("a code of ISO 4217")
    }

    #[test]
    fn an_amount_is_written_to_its_smallest_unit() {
        for (units, decimals, text) in [
            (1, 2, "0.01"),
            (100, 2, "1.00"),
            (123_456, 2, "1234.56"),
            (-5, 2, "-0.05"),
            (1_234, 0, "1234"),
            (1, 3, "0.001"),
            (i64::MIN, 0, "-9223372036854775808"),
        ] {
            assert_eq!(decimal_text(units, decimals), text);
        }
    }

    #[test]
    fn an_amount_is_read_exactly_or_not_at_all() {
        let minor = |code, text| minor_of(text, currency(code));
        for (code, text, units) in [
            ("EUR", "12.3", 1_230),
            ("EUR", "150", 15_000),
            ("EUR", "-173.05", -17_305),
            ("EUR", "1.000", 100),
            ("JPY", "1200.00", 1_200),
            ("HUF", "1234", 123_400),
            ("KWD", "0.001", 1),
        ] {
            assert_eq!(minor(code, text), Some(units), "{code} {text}");
        }
        for text in ["", "-", ".", "1.", ".5", "1e2", "1,5", "+1", "1.001", " 1", "NaN", "99999999999999999999"] {
            assert_eq!(minor("EUR", text), None, "{text:?}");
        }
        assert_eq!(minor("JPY", "1.5"), None);
    }
}
