//! Transaction Search, the statement [P7]: windows of at most 31 days, pages of at most 500, and up to hours behind.
//!
//! Around the payments of a batch stand what is held for it and let go again, which are no payments [P3, P8].

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use super::follow::number;
use super::state::{Booked, Fate, What};
use super::{ask, decimals, errors, render};
use crate::core::Core;
use crate::dialect::money::{iso_decimals, print_decimal, rescaled_down};
use crate::dialect::{Answer, Kind, OPENING_MINOR, form, part};
use crate::engine::Engine;
use crate::lies::Alteration;
use crate::wire::{At, Shape};

/// The payer's own id: made up, in the contract's form.
const ACCOUNT: &str = "SANDBXSANDBXS";

const DAY_MS: i64 = 24 * 3_600_000;

/// What is younger is not on it.
fn seen(core: &Core, settings: Duration) -> At {
    let lag = core.faults.config().statement_lag_ms.get(&Shape::Paypal).copied();
    core.rail_now().before(lag.map_or(settings, Duration::from_millis))
}

/// Up to when the books are that this answer is made from: they may stand still for some answers.
fn books(core: &mut Core, account: &str, settings: Duration) -> At {
    let (fresh, stand) = (seen(core, settings), core.faults.config().paypal.books_stand);
    core.dialects.paypal.books.entry(account.to_owned()).or_default().read(fresh, stand)
}

fn invalid(issue: &str) -> Answer {
    let message = "Request is not well-formed, syntactically incorrect, or violates schema.";
    let detail = errors::detail("start_date", issue);
    errors::detailed(StatusCode::BAD_REQUEST, "INVALID_REQUEST", message, &[detail])
}

/// `GET /v1/reporting/transactions`
pub async fn transactions(State(engine): State<Arc<Engine>>, RawQuery(query): RawQuery, headers: HeaderMap) -> Answer {
    let query = form(&query.unwrap_or_default());
    let lag = engine.settings().statement_lag[Shape::Paypal as usize];
    ask(engine, headers, Kind::Listing, move |core, account| {
        let instant = |name: &str| part(&query, name).and_then(At::parse);
        let (Some(start), Some(end)) = (instant("start_date"), instant("end_date")) else {
            return Err(invalid("start_date and end_date must be instants with seconds"));
        };
        let now = core.rail_now();
        if end < start {
            return Err(invalid("Start date is after end date"));
        }
        if end.0.saturating_sub(start.0) > 31 * DAY_MS {
            return Err(invalid("Date range is greater than 31 days"));
        }
        if start.0 < now.0.saturating_sub(3 * 366 * DAY_MS) {
            return Err(invalid("Data for the given start date is not available"));
        }
        let size = number(&query, "page_size", 500, 100)?;
        let page = number(&query, "page", i32::MAX as usize, 1)?;
        let seen = books(core, account, lag);
        let booked = core.dialects.paypal.booked(account).iter();
        let all: Vec<&Booked> = booked
            .filter(|line| line.at <= seen && is_told(core, line, start, end) && is_wanted(core, &query, line, now))
            .collect();
        let from = (page - 1).saturating_mul(size).min(all.len());
        let told: Vec<Value> = all[from..(from + size).min(all.len())]
            .iter()
            .map(|line| json!({"transaction_info": row(core, line, now)}))
            .collect();
        let body = json!({
            "transaction_details": told,
            "account_number": ACCOUNT,
            "start_date": start.seconds(),
            "end_date": end.seconds(),
            "last_refreshed_datetime": seen.seconds(),
            "page": page,
            "total_items": all.len(),
            "total_pages": all.len().div_ceil(size),
            "links": [render::link(&format!("/v1/reporting/transactions?page={page}"), "self")],
        });
        Ok(Answer::json(StatusCode::OK, &body))
    })
    .await
}

/// What is told differently of a line.
fn lie_of(core: &Core, line: &Booked) -> Option<Alteration> {
    if line.line == 0 { None } else { core.told(line.line) }
}

/// Whether it is told, and in this window: by whole seconds, as the rows tell them; both ends count.
fn is_told(core: &Core, line: &Booked, start: At, end: At) -> bool {
    let second = |at: At| at.0.div_euclid(1000);
    let lie = lie_of(core, line);
    let at = lie.as_ref().and_then(|lie| lie.at).unwrap_or(line.at);
    lie.is_none_or(|lie| !lie.omit) && (second(start)..=second(end)).contains(&second(at))
}

/// Whether it is of the kind that is asked for. Only then it has to be written to know.
fn is_wanted(core: &Core, query: &[(String, String)], line: &Booked, now: At) -> bool {
    let filters = [
        ("transaction_id", "/transaction_id"),
        ("transaction_type", "/transaction_event_code"),
        ("transaction_currency", "/transaction_amount/currency_code"),
    ];
    let mut asked = filters.iter().filter_map(|(name, field)| Some((part(query, name)?, *field))).peekable();
    if asked.peek().is_none() {
        return true;
    }
    let row = row(core, line, now);
    asked.all(|(wanted, field)| row.pointer(field).is_some_and(|value| value == wanted))
}

/// A row.
fn row(core: &Core, line: &Booked, now: At) -> Value {
    let lie = lie_of(core, line);
    let paypal = &core.dialects.paypal;
    let sums = |index| {
        let batch = paypal.batch_at(index);
        let paid = paypal.items(batch).iter().filter(|item| item.is_paid);
        let sums = paid.fold((0, 0), |(amount, fee), item| (amount + item.amount, fee + item.fee));
        (batch, sums)
    };
    let (id, code, amount, currency, status, ours, of) = match &line.what {
        What::Hold(index) => {
            let (batch, (amount, fee)) = sums(*index);
            (format!("{}HLD1", batch.id), "T1503", -(amount + fee), batch.currency.clone(), "S", None, None)
        }
        What::Release(index) => {
            let (batch, (amount, fee)) = sums(*index);
            let of = Some(format!("{}HLD1", batch.id));
            (format!("{}REL1", batch.id), "T1105", amount + fee, batch.currency.clone(), "S", None, of)
        }
        What::Fee(index) => {
            let (batch, (_, fee)) = sums(*index);
            (format!("{}FEE1", batch.id), "T0104", -fee, batch.currency.clone(), "S", None, None)
        }
        What::Item(index) => {
            let item = paypal.item_at(*index);
            let batch = paypal.batch_at(item.batch);
            let is_pending = matches!(item.status(batch, now).0, Some("UNCLAIMED" | "ONHOLD"));
            // P while it waits (unverified).
            let status = if is_pending && item.fate != Fate::Success { "P" } else { "S" };
            let ours = item.sender_item_id.clone();
            (item.transaction.clone(), "T0001", -item.amount, batch.currency.clone(), status, ours, None)
        }
        What::Back(index, back) => {
            let item = paypal.item_at(*index);
            let back = &item.back[*back];
            // That what nobody claimed comes back as a reversal is unverified.
            let code = if back.status == "REFUNDED" { "T1115" } else { "T1114" };
            let currency = paypal.batch_at(item.batch).currency.clone();
            let (ours, of) = (item.sender_item_id.clone(), Some(item.transaction.clone()));
            (back.transaction.clone(), code, back.amount, currency, "S", ours, of)
        }
        What::Phantom(phantom) => {
            let ours = Some(phantom.key.clone());
            let currency = phantom.currency.clone();
            (phantom.reference.clone(), "T0001", -phantom.amount_minor, currency, "S", ours, None)
        }
    };
    let in_units = |minor| rescaled_down(minor, iso_decimals(&currency), decimals(&currency));
    let amount = lie.as_ref().and_then(|lie| lie.amount_minor).map_or(amount, |told| in_units(told) * amount.signum());
    let currency = lie.as_ref().and_then(|lie| lie.currency.as_deref()).unwrap_or(&currency);
    let at = lie.as_ref().and_then(|lie| lie.at).unwrap_or(line.at);
    let mut row = json!({
        "transaction_id": id,
        "transaction_event_code": code,
        "transaction_initiation_date": at.seconds(),
        "transaction_updated_date": at.seconds(),
        "transaction_amount": {"currency_code": currency, "value": print_decimal(amount, decimals(currency))},
        "transaction_status": status,
    });
    if let Some(ours) = ours.filter(|_| !core.faults.config().paypal.without_custom_field) {
        row["custom_field"] = ours.into();
    }
    if let Some(of) = of {
        row["paypal_reference_id"] = of.into();
        row["paypal_reference_id_type"] = "TXN".into();
    }
    row
}

/// `GET /v1/reporting/balances`
pub async fn balances(State(engine): State<Arc<Engine>>, RawQuery(query): RawQuery, headers: HeaderMap) -> Answer {
    let query = form(&query.unwrap_or_default());
    ask(engine, headers, Kind::Asking, move |core, account| {
        let mut known: Vec<_> = core.dialects.balances.all(Shape::Paypal, account).collect();
        if known.is_empty() {
            known.push(("USD", OPENING_MINOR));
        }
        let wanted = part(&query, "currency_code").filter(|code| *code != "ALL");
        let told: Vec<_> = known
            .into_iter()
            .filter(|(currency, _)| wanted.is_none_or(|wanted| wanted == *currency))
            .map(|(currency, balance)| {
                let money =
                    |amount| json!({"currency_code": currency, "value": print_decimal(amount, decimals(currency))});
                json!({
                    "currency": currency,
                    "total_balance": money(balance),
                    "available_balance": money(balance),
                    "withheld_balance": money(0),
                })
            })
            .collect();
        let now = core.rail_now().seconds();
        let body = json!({"balances": told, "account_id": ACCOUNT, "as_of_time": now, "last_refresh_time": now});
        Ok(Answer::json(StatusCode::OK, &body))
    })
    .await
}
