//! What the values of options may be. The schema says the same again.

use payfleet_domain::Rail;
use rust_decimal::Decimal;

/// Whether a text can be a method's name; the schema says the same. `none` is none: it takes a method away.
pub fn is_method(text: &str) -> bool {
    is_name(text, 32) && text != "none"
}

fn is_name(text: &str, max: usize) -> bool {
    let fit = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte);
    text.len() <= max && text.bytes().all(fit) && !text.starts_with(['-', '_']) && !text.is_empty()
}

/// For clap.
pub fn column_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((column, value)) if !column.is_empty() => Ok((column.to_owned(), value.to_owned())),
        _ => Err("write COLUMN=VALUE, such as currency=EUR".to_owned()),
    }
}

/// For clap.
pub fn tenant_name(text: &str) -> Result<String, String> {
    match is_name(text, 63) {
        true => Ok(text.to_owned()),
        false => {
            Err("a tenant's name is 1 to 63 small letters, digits, `-` and `_`, and begins with a letter or digit"
                .into())
        }
    }
}

/// For clap.
pub fn method_name(text: &str) -> Result<String, String> {
    match is_method(text) {
        true => Ok(text.to_owned()),
        false => {
            Err("a method is 1 to 32 small letters, digits, `-` and `_`, such as paypal or sepa, and not `none`".into())
        }
    }
}

/// For clap.
pub fn rail_name(text: &str) -> Result<&'static Rail, String> {
    Rail::named(text).map_err(|error| error.to_string())
}

/// For clap.
pub fn credential_name(text: &str) -> Result<String, String> {
    let fit = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
    match text.len() <= 64 && text.starts_with(|first: char| first.is_ascii_uppercase()) && text.bytes().all(fit) {
        true => Ok(text.to_owned()),
        false => Err("a credential's name is 1 to 64 capital letters, digits and `_`, and begins with a letter".into()),
    }
}

/// For clap.
pub fn reference(text: &str) -> Result<String, String> {
    match text.trim() {
        "" => Err("a reference is what the rail calls the payment, and not empty".into()),
        reference => Ok(reference.to_owned()),
    }
}

/// Thresholds beyond this are typing errors, and would not fit in every currency.
const MINIMUM_MAX: i64 = 1_000_000_000;

/// For clap.
pub fn minimum(text: &str) -> Result<Decimal, String> {
    let wrong = || "a minimum is an amount from 0 to 1000000000 with at most 4 decimals, such as 10.00".to_owned();
    let minimum = Decimal::from_str_exact(text).map_err(|_| wrong())?;
    let fits = minimum >= Decimal::ZERO && minimum <= Decimal::from(MINIMUM_MAX) && minimum.scale() <= 4;
    if fits { Ok(minimum) } else { Err(wrong()) }
}

/// For clap.
pub fn reason(text: &str) -> Result<String, String> {
    match text.trim() {
        "" => Err("say why".into()),
        reason => Ok(reason.to_owned()),
    }
}
