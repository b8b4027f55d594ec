//! Objects as Wise writes them: amounts are JSON numbers, printed from whole numbers and never through a float.

use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

use super::state::{Group, Quote, Recipient, Transfer};
use super::{decimals, state};
use crate::dialect::money::print_decimal;
use crate::wire::At;

/// JSON, as it is written.
pub type Raw = Box<RawValue>;

/// Anything as JSON.
pub fn raw(value: impl Serialize) -> Raw {
    to_raw_value(&value).expect("texts, numbers, lists and objects of these are written to memory")
}

/// An amount: `172.17`, `150`.
pub fn number(amount: i64, decimals: u32) -> Raw {
    let text = print_decimal(amount, decimals);
    let text = match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    };
    RawValue::from_string(text).expect("digits, a point and a sign are a JSON number")
}

/// An amount in this currency.
pub fn amount(amount: i64, currency: &str) -> Raw {
    number(amount, decimals(currency))
}

/// An amount with its currency.
pub fn money(value: i64, currency: &str) -> Raw {
    object(&[("value", amount(value, currency)), ("currency", raw(currency))])
}

/// An object of these fields, in their order.
pub fn object(fields: &[(&str, Raw)]) -> Raw {
    let fields: Vec<_> = fields.iter().map(|(name, value)| format!("\"{name}\":{}", value.get())).collect();
    RawValue::from_string(format!("{{{}}}", fields.join(","))).expect("names are plain, and values are JSON already")
}

/// `2026-11-25 03:00:10`: no zone, UTC.
fn zoneless(at: At) -> String {
    at.seconds().replace('T', " ").trim_end_matches('Z').to_owned()
}

/// A transfer, as it is now.
pub fn transfer(transfer: &Transfer, now: At) -> Raw {
    object(&[
        ("id", raw(transfer.id)),
        ("user", raw(4_342_275)),
        ("targetAccount", raw(transfer.target_account)),
        ("sourceAccount", raw(())),
        ("quote", raw(())),
        ("quoteUuid", raw(&transfer.quote)),
        ("status", raw(transfer.state(now).name())),
        ("reference", raw(&transfer.reference)),
        ("rate", number(transfer.rate, 6)),
        ("created", raw(zoneless(transfer.created))),
        ("business", raw(transfer.profile.parse::<u64>().ok())),
        ("transferRequest", raw(())),
        ("details", object(&[("reference", raw(&transfer.reference))])),
        ("hasActiveIssues", raw(false)),
        ("sourceCurrency", raw(&transfer.source)),
        ("sourceValue", amount(transfer.source_value(), &transfer.source)),
        ("targetCurrency", raw(&transfer.target)),
        ("targetValue", amount(transfer.target_amount, &transfer.target)),
        ("customerTransactionId", raw(&transfer.uuid)),
    ])
}

/// A group, as it is now.
pub fn group(group: &Group) -> Raw {
    object(&[
        ("id", raw(&group.id)),
        ("version", raw(group.version)),
        ("name", raw(&group.name)),
        ("sourceCurrency", raw(&group.source)),
        ("status", raw(&group.status)),
        ("transferIds", raw(&group.transfers)),
        ("payInDetails", raw([(); 0])),
    ])
}

/// A quote.
pub fn quote(quote: &Quote, now: At) -> Raw {
    let expires = quote.created.after(state::QUOTE_LIFE);
    let status = match (quote.is_used, now > expires) {
        (true, _) => "ACCEPTED",
        (false, true) => "EXPIRED",
        (false, false) => "PENDING",
    };
    let fee = object(&[
        ("transferwise", amount(quote.fee, &quote.source)),
        ("payIn", raw(0)),
        ("total", amount(quote.fee, &quote.source)),
    ]);
    let option = object(&[
        ("payIn", raw("BALANCE")),
        ("payOut", raw("BANK_TRANSFER")),
        ("sourceAmount", amount(quote.source_amount, &quote.source)),
        ("targetAmount", amount(quote.target_amount, &quote.target)),
        ("sourceCurrency", raw(&quote.source)),
        ("targetCurrency", raw(&quote.target)),
        ("fee", fee),
        ("disabled", raw(false)),
    ]);
    let asked = match quote.is_by_target {
        true => ("targetAmount", amount(quote.target_amount, &quote.target)),
        false => ("sourceAmount", amount(quote.source_amount, &quote.source)),
    };
    object(&[
        ("id", raw(&quote.id)),
        ("sourceCurrency", raw(&quote.source)),
        ("targetCurrency", raw(&quote.target)),
        asked,
        ("providedAmountType", raw(if quote.is_by_target { "TARGET" } else { "SOURCE" })),
        ("payOut", raw("BANK_TRANSFER")),
        ("rate", number(quote.rate, 6)),
        ("rateType", raw("FIXED")),
        ("createdTime", raw(quote.created.seconds())),
        ("rateExpirationTime", raw(expires.seconds())),
        ("expirationTime", raw(expires.seconds())),
        ("status", raw(status)),
        ("profile", raw(quote.profile.parse::<u64>().ok())),
        ("targetAccount", raw(quote.target_account)),
        ("paymentOptions", raw([option])),
    ])
}

/// A recipient: what was asked for, with its number.
pub fn recipient(recipient: &Recipient) -> serde_json::Value {
    let mut body: serde_json::Value = serde_json::from_str(&recipient.body).unwrap_or_default();
    body["id"] = recipient.id.into();
    body["active"] = true.into();
    body
}
