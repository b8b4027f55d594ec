//! The balance statement as JSON [W1], newest first, and balances. Our key is not in it, only the transfer's number.
//! What somebody paid in has a number of the same form, and bears what the sender wrote.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode};

use super::render::{Raw, money, object, raw};
use super::sca::Approval;
use super::state::Booked;
use super::{ask, decimals, errors};
use crate::core::Core;
use crate::dialect::money::{is_currency, iso_decimals, rescaled_down};
use crate::dialect::{Answer, Kind, OPENING_MINOR, form, part};
use crate::engine::Engine;
use crate::lies::Alteration;
use crate::wire::{At, Shape};

/// The longest interval [W1].
const MOST_DAYS: i64 = 469;

/// What is younger is not on it.
fn seen(core: &Core, settings: Duration) -> At {
    let lag = core.faults.config().statement_lag_ms.get(&Shape::Wise).copied();
    core.rail_now().before(lag.map_or(settings, Duration::from_millis))
}

/// The number of the balance in this currency: made up, and always the same.
fn balance_id(currency: &str) -> u64 {
    200_000 + currency.bytes().fold(0, |id, byte| id * 26 + u64::from(byte.wrapping_sub(b'A')) % 26)
}

/// `GET /v1/profiles/{profile}/balance-statements/{balance}/statement.json`
pub async fn statement(
    State(engine): State<Arc<Engine>>,
    Path((profile, balance)): Path<(String, String)>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Answer {
    let query = form(&query.unwrap_or_default());
    let lag = engine.settings().statement_lag[Shape::Wise as usize];
    let approval = Approval::read(&headers);
    ask(engine, headers, profile.clone(), Kind::Listing, move |core| {
        let p = core.faults.config().wise.sca_statement;
        approval.check(core, &profile, "wise_sca_statement", p)?;
        let wrong = |path: &str| errors::listed(StatusCode::BAD_REQUEST, "NOT_VALID", "Not valid", path);
        let currency = part(&query, "currency").filter(|code| is_currency(code)).ok_or_else(|| wrong("currency"))?;
        let instant = |name: &str| part(&query, name).and_then(At::parse).ok_or_else(|| wrong(name));
        let (start, end) = (instant("intervalStart")?, instant("intervalEnd")?);
        if end < start || end.0.saturating_sub(start.0) > MOST_DAYS * 24 * 3_600_000 {
            return Err(wrong("intervalEnd"));
        }
        let seen = seen(core, lag);
        let mut running = core.dialects.balances.of(Shape::Wise, &profile, currency);
        let mut at_end = running;
        let mut told = Vec::new();
        for line in core.dialects.wise.booked(&profile).iter().rev().filter(|line| line.currency == currency) {
            if line.at > end {
                running = running.saturating_sub(line.change);
                at_end = running;
                continue;
            }
            let lie = if line.line == 0 { None } else { core.told(line.line) };
            let is_told = line.at >= start && line.at <= seen && lie.as_ref().is_none_or(|lie| !lie.omit);
            if is_told {
                told.push(row(line, lie.as_ref(), running));
            }
            running = running.saturating_sub(line.change);
        }
        let query = object(&[
            ("intervalStart", raw(start.seconds())),
            ("intervalEnd", raw(end.seconds())),
            ("currency", raw(currency)),
            ("accountId", raw(balance.parse::<u64>().ok())),
        ]);
        let body = object(&[
            ("transactions", raw(&told)),
            ("endOfStatementBalance", money(at_end, currency)),
            ("query", query),
        ]);
        Ok(Answer::json(StatusCode::OK, &body))
    })
    .await
}

fn row(line: &Booked, lie: Option<&Alteration>, running: i64) -> Raw {
    let in_units = |minor| rescaled_down(minor, iso_decimals(&line.currency), decimals(&line.currency));
    let told = lie.and_then(|lie| lie.amount_minor).map(|told| in_units(told) * line.change.signum());
    let currency = lie.and_then(|lie| lie.currency.as_deref()).unwrap_or(&line.currency);
    let at = lie.and_then(|lie| lie.at).unwrap_or(line.at);
    let is_debit = line.change < 0;
    let (kind, description) = match (is_debit, line.line) {
        (true, _) => ("TRANSFER", "Sent money".to_owned()),
        (false, 0) => ("DEPOSIT", format!("Received money from ADA PAYEE with reference {}", line.reference)),
        (false, _) => ("TRANSFER", format!("Refund for transfer {}", line.transfer)),
    };
    let mut details = vec![("type", raw(kind)), ("description", raw(description))];
    if kind == "DEPOSIT" {
        details.extend([("senderName", raw("ADA PAYEE")), ("senderAccount", raw("EE76 1700 0170 0049 6704"))]);
    }
    details.push(("paymentReference", raw(&line.reference)));
    let details = object(&details);
    object(&[
        ("type", raw(if is_debit { "DEBIT" } else { "CREDIT" })),
        ("date", raw(at.to_string())),
        ("amount", money(told.unwrap_or(line.change), currency)),
        ("totalFees", money(line.fee, currency)),
        ("details", details),
        ("exchangeDetails", raw(())),
        ("runningBalance", money(running, &line.currency)),
        ("referenceNumber", raw(format!("TRANSFER-{}", line.transfer))),
    ])
}

/// `GET /v4/profiles/{profile}/balances`
pub async fn balances(State(engine): State<Arc<Engine>>, Path(profile): Path<String>, headers: HeaderMap) -> Answer {
    ask(engine, headers, profile.clone(), Kind::Asking, move |core| {
        let mut known: Vec<_> = core.dialects.balances.all(Shape::Wise, &profile).collect();
        if known.is_empty() {
            known.push(("EUR", OPENING_MINOR));
        }
        let told: Vec<_> = known
            .into_iter()
            .map(|(currency, balance)| {
                object(&[
                    ("id", raw(balance_id(currency))),
                    ("currency", raw(currency)),
                    ("type", raw("STANDARD")),
                    ("amount", money(balance, currency)),
                    ("reservedAmount", money(0, currency)),
                ])
            })
            .collect();
        Ok(Answer::json(StatusCode::OK, &told))
    })
    .await
}
