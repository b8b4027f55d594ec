//! Amounts as vendors write them, and as the journal does. Whole numbers only.
//!
//! The journal counts in the smallest unit of ISO 4217, so that an adapter that mistakes the vendor's unit is a factor
//! of 100 away from what was to be paid, and is seen.

/// How many decimals ISO 4217 gives a currency.
pub fn iso_decimals(currency: &str) -> u32 {
    match currency {
        "BIF" | "CLP" | "DJF" | "GNF" | "ISK" | "JPY" | "KMF" | "KRW" | "PYG" | "RWF" | "UGX" | "UYI" | "VND"
        | "VUV" | "XAF" | "XOF" | "XPF" => 0,
        "BHD" | "IQD" | "JOD" | "KWD" | "LYD" | "OMR" | "TND" => 3,
        "CLF" | "UYW" => 4,
        _ => 2,
    }
}

/// The same amount with other decimals; `None` if it does not come out even, or is too large.
pub fn rescaled(minor: i64, from: u32, to: u32) -> Option<i64> {
    if to >= from {
        return minor.checked_mul(10_i64.checked_pow(to - from)?);
    }
    let unit = 10_i64.checked_pow(from - to)?;
    (minor % unit == 0).then_some(minor / unit)
}

/// The same, towards zero where it does not come out even: for what a person said in another unit.
pub fn rescaled_down(minor: i64, from: u32, to: u32) -> i64 {
    let unit = 10_i64.pow(from.saturating_sub(to));
    rescaled(minor - minor % unit, from, to).unwrap_or(i64::MAX)
}

/// Reads `12`, `12.3`, `12.30` as a number with so many decimals. No sign, no exponent, and nothing that does not come
/// out even; with no decimals there must be no point either.
pub fn parse_decimal(text: &str, decimals: u32) -> Option<i64> {
    let (whole, part) = match text.split_once('.') {
        Some((_, part)) if part.is_empty() || part.len() > decimals as usize => return None,
        Some((whole, part)) => (whole, part),
        None => (text, ""),
    };
    let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !is_digits(whole) || !is_digits(part) {
        return None;
    }
    let digits: i64 = format!("{whole}{part}").parse().ok()?;
    digits.checked_mul(10_i64.checked_pow(decimals - part.len() as u32)?)
}

/// Reads a JSON number, which may have more zeros than decimals, and an exponent never.
pub fn parse_number(text: &str, decimals: u32) -> Option<i64> {
    let trimmed = match text.split_once('.') {
        Some((whole, part)) => match part.trim_end_matches('0') {
            "" => whole.to_owned(),
            part => format!("{whole}.{part}"),
        },
        None => text.to_owned(),
    };
    parse_decimal(&trimmed, decimals)
}

/// Writes it with a point and all its decimals.
pub fn print_decimal(minor: i64, decimals: u32) -> String {
    let sign = if minor < 0 { "-" } else { "" };
    let minor = minor.unsigned_abs();
    if decimals == 0 {
        return format!("{sign}{minor}");
    }
    let unit = 10_u64.pow(decimals);
    format!("{sign}{}.{:0width$}", minor / unit, minor % unit, width = decimals as usize)
}

/// Whether it looks like a code of ISO 4217.
pub fn is_currency(text: &str) -> bool {
    text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_read_and_written_exactly() {
        for (text, decimals, minor) in [
            ("10.00", 2, Some(1000)),
            ("10", 2, Some(1000)),
            ("10.5", 2, Some(1050)),
            ("10.005", 2, None),
            ("10.0", 0, None),
            ("10.", 2, None),
            (".5", 2, None),
            ("-1", 2, None),
            ("1e3", 2, None),
            ("", 2, None),
            ("92233720368547758.07", 2, Some(i64::MAX)),
            ("92233720368547758.08", 2, None),
        ] {
            assert_eq!(parse_decimal(text, decimals), minor, "{text}");
        }
        assert_eq!(parse_number("150.500", 2), Some(15050));
        assert_eq!(parse_number("150.000", 0), Some(150));
        assert_eq!(parse_number("150.001", 2), None);
        assert_eq!(print_decimal(-17305, 2), "-173.05");
        assert_eq!(print_decimal(5, 2), "0.05");
        assert_eq!(print_decimal(7, 0), "7");
        assert_eq!((rescaled(10_000, 2, 0), rescaled(10_050, 2, 0), rescaled(5, 0, 2)), (Some(100), None, Some(500)));
        assert_eq!(rescaled_down(10_050, 2, 0), 100);
    }
}
