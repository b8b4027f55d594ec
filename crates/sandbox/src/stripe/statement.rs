//! The statement: `GET /v1/balance_transactions`, newest first, in pages; and the balance.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use serde_json::json;

use super::lists::{Page, ask, list as page_of};
use super::state::{Booked, What};
use super::{errors, render};
use crate::core::Core;
use crate::dialect::{Answer, Kind, OPENING_MINOR, form, part};
use crate::engine::Engine;
use crate::wire::{At, Shape};

/// What is younger is not on it.
fn seen(core: &Core, settings: Duration) -> At {
    let lag = core.faults.config().statement_lag_ms.get(&Shape::Stripe).copied();
    core.rail_now().before(lag.map_or(settings, Duration::from_millis))
}

/// `GET /v1/balance_transactions`
pub async fn list(State(engine): State<Arc<Engine>>, RawQuery(query): RawQuery, headers: HeaderMap) -> Answer {
    let query = form(&query.unwrap_or_default());
    let lag = engine.settings().statement_lag[Shape::Stripe as usize];
    ask(engine, headers, Kind::Listing, move |core, account| {
        let page = Page::read(&query)?;
        let seen = seen(core, lag);
        let stripe = &core.dialects.stripe;
        let booked = stripe.booked(account);
        let kind = part(&query, "type");
        let currency = part(&query, "currency").map(str::to_ascii_uppercase);
        let place = |id: &str| stripe.place(account, id);
        let is_wanted = |line: &Booked| {
            let (is, of) = match &line.what {
                What::Transfer(index) => ("transfer", stripe.transfer(*index).currency.as_str()),
                What::Reversal(index, _) => ("transfer_refund", stripe.transfer(*index).currency.as_str()),
                What::Phantom(phantom) => ("transfer", phantom.currency.as_str()),
            };
            kind.is_none_or(|kind| kind == is) && currency.as_ref().is_none_or(|currency| currency == of)
        };
        let (picked, has_more) = page.pick(booked.len(), "balance transaction", place, |at| {
            let line = &booked[at];
            let is_told = || core.told(line.line).is_none_or(|lie| !lie.omit);
            line.at <= seen && page.has(line.at) && is_wanted(line) && is_told()
        })?;
        let is_expanded = query.iter().any(|(name, value)| name.starts_with("expand") && value == "data.source");
        let data = picked
            .into_iter()
            .map(|at| {
                let line = &booked[at];
                render::booked(stripe, line, core.told(line.line).as_ref(), is_expanded)
            })
            .collect();
        Ok(page_of(data, has_more, "/v1/balance_transactions"))
    })
    .await
}

/// `GET /v1/balance_transactions/{id}`
pub async fn one(
    State(engine): State<Arc<Engine>>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Answer {
    let is_expanded = form(&query.unwrap_or_default()).iter().any(|(_, value)| value == "source");
    ask(engine, headers, Kind::Asking, move |core, account| {
        let stripe = &core.dialects.stripe;
        let found = stripe.place(account, &id).map(|place| &stripe.booked(account)[place]);
        match found {
            Some(line) => {
                let lie = core.told(line.line);
                Ok(Answer::json(StatusCode::OK, &render::booked(stripe, line, lie.as_ref(), is_expanded)))
            }
            None => Err(errors::no_such(StatusCode::NOT_FOUND, "balance transaction", &id, "id")),
        }
    })
    .await
}

/// `GET /v1/balance`
pub async fn balance(State(engine): State<Arc<Engine>>, headers: HeaderMap) -> Answer {
    ask(engine, headers, Kind::Asking, |core, account| {
        let mut balances: Vec<_> = core.dialects.balances.all(Shape::Stripe, account).collect();
        if balances.is_empty() {
            balances.push(("USD", OPENING_MINOR));
        }
        let told = |amounts: &[(&str, i64)]| -> Vec<_> {
            let told = amounts.iter().map(|(currency, amount)| {
                let currency = currency.to_ascii_lowercase();
                json!({"amount": amount, "currency": currency, "source_types": {"card": amount}})
            });
            told.collect()
        };
        let none: Vec<_> = balances.iter().map(|(currency, _)| (*currency, 0)).collect();
        let body = json!({
            "object": "balance",
            "available": told(&balances),
            "connect_reserved": none.iter().map(|(currency, amount)| {
                json!({"amount": amount, "currency": currency.to_ascii_lowercase()})
            }).collect::<Vec<_>>(),
            "livemode": false,
            "pending": told(&none),
        });
        Ok(Answer::json(StatusCode::OK, &body))
    })
    .await
}
