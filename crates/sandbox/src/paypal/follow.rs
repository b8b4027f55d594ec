//! What one may ask about a batch, by PayPal's id only, and about one item of it.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode};

use super::{ask, errors, render};
use crate::dialect::{Answer, Kind, form, part};
use crate::engine::Engine;

/// Items a page can have, and pages a list [P1].
const MOST: usize = 1_000;

/// A number of a query, or what is said where there is none.
pub fn number(query: &[(String, String)], name: &str, most: usize, default: usize) -> Result<usize, Answer> {
    match part(query, name) {
        None => Ok(default),
        Some(text) => match text.parse() {
            Ok(number) if (1..=most).contains(&number) => Ok(number),
            _ => Err(errors::validation(&[errors::detail(name, "Value is invalid")])),
        },
    }
}

/// `GET /v1/payments/payouts/{id}`
pub async fn batch(
    State(engine): State<Arc<Engine>>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Answer {
    let query = form(&query.unwrap_or_default());
    ask(engine, headers, Kind::Listing, move |core, account| {
        let page = number(&query, "page", MOST, 1)?;
        let size = number(&query, "page_size", MOST, MOST)?;
        let now = core.rail_now();
        let hidden = Duration::from_millis(core.faults.config().paypal.not_found_ms);
        let paypal = &core.dialects.paypal;
        let batch = paypal.batch(account, &id).filter(|batch| batch.created.after(hidden) <= now);
        let batch = batch.ok_or_else(errors::not_found)?;
        let header = render::header(paypal, batch, now);
        let all = paypal.items(batch);
        let pages = all.len().div_ceil(size);
        let from = (page - 1).saturating_mul(size).min(all.len());
        let items = &all[from..(from + size).min(all.len())];
        // A part of the header alone, or of the items, is not asked for by anybody that is known.
        let is_header_only = part(&query, "fields").is_some_and(|fields| !fields.contains("items"));
        let items = if is_header_only { &[] } else { items };
        let told = items.iter().map(|item| render::item(item, batch, now, false)).collect();
        let mut body = render::batch(header, batch, told);
        if part(&query, "total_required") == Some("true") {
            body["total_items"] = all.len().into();
            body["total_pages"] = pages.into();
        }
        if page < pages
            && let Some(links) = body["links"].as_array_mut()
        {
            let path = format!("/v1/payments/payouts/{id}?page={}&page_size={size}", page + 1);
            links.push(render::link(&path, "next"));
        }
        Ok(Answer::json(StatusCode::OK, &body))
    })
    .await
}

/// `GET /v1/payments/payouts-item/{id}`
pub async fn item(State(engine): State<Arc<Engine>>, Path(id): Path<String>, headers: HeaderMap) -> Answer {
    ask(engine, headers, Kind::Asking, move |core, account| {
        let now = core.rail_now();
        let (item, batch) = core.dialects.paypal.item(account, &id).ok_or_else(errors::not_found)?;
        Ok(Answer::json(StatusCode::OK, &render::item(item, batch, now, true)))
    })
    .await
}
