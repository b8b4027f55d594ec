//! The dialect of Stripe Connect: transfers from a platform's balance to connected accounts. RAILS.md, section 2.
//!
//! The secret key names the account: `sk_test_ACCOUNT` or `rk_test_ACCOUNT`.

pub mod create;
pub mod errors;
mod lists;
mod payouts;
mod render;
mod reverse;
pub mod state;
mod statement;

use std::sync::Arc;

use axum::Router;
use axum::http::HeaderMap;
use axum::routing::{get, post};

use crate::core::Core;
use crate::dialect::{Answer, bearer, text};
use crate::engine::Engine;
use crate::movement::{Event, Movement};
use crate::wire::is_name;

/// Everything below `/stripe`.
pub fn router() -> Router<Arc<Engine>> {
    let no_such_path = async || errors::no_such_path();
    routes().fallback(no_such_path).method_not_allowed_fallback(no_such_path)
}

/// The same, for where others answer what is not there.
pub fn routes() -> Router<Arc<Engine>> {
    Router::new()
        .route("/v1/transfers", post(create::create).get(lists::transfers))
        .route("/v1/transfers/{id}", get(lists::transfer))
        .route("/v1/transfers/{id}/reversals", post(reverse::reverse).get(lists::reversals))
        .route("/v1/transfers/{id}/reversals/{reversal}", get(lists::reversal))
        .route("/v1/payouts", post(payouts::create).get(payouts::list))
        .route("/v1/payouts/{id}", get(payouts::one))
        .route("/v1/payouts/{id}/cancel", post(payouts::cancel))
        .route("/v1/balance", get(statement::balance))
        .route("/v1/balance_transactions", get(statement::list))
        .route("/v1/balance_transactions/{id}", get(statement::one))
}

/// How many decimals Stripe counts a currency in [S6]: ISK and UGX in hundredths, which must be whole; MGA in units.
pub fn decimals(currency: &str) -> u32 {
    match currency {
        "BIF" | "CLP" | "DJF" | "GNF" | "JPY" | "KMF" | "KRW" | "MGA" | "PYG" | "RWF" | "VND" | "VUV" | "XAF"
        | "XOF" | "XPF" => 0,
        "BHD" | "JOD" | "KWD" | "OMR" | "TND" => 3,
        _ => 2,
    }
}

/// What an amount must be a multiple of [S6, the last one unverified].
fn multiple(currency: &str) -> i64 {
    match currency {
        "ISK" | "UGX" => 100,
        "BHD" | "JOD" | "KWD" | "OMR" | "TND" => 10,
        _ => 1,
    }
}

/// Has it told that money came back, or that a transfer was made again.
pub fn told_later(core: &mut Core, movement: &Movement<'_>) {
    let (id, kind) = match movement.event {
        Event::Paid => (Some(&*movement.id), "transfer.created"),
        Event::Returned | Event::Refused => (movement.of_id.as_deref(), "transfer.reversed"),
    };
    if let Some(id) = id {
        reverse::notify(core, &movement.account, id, kind, None);
    }
}

/// Whose key this is; an answer if it is nobody's.
fn account(engine: &Engine, headers: &HeaderMap) -> Result<String, Answer> {
    let key = bearer(headers).ok_or_else(errors::no_key)?;
    let name = ["sk_test_", "rk_test_", "sk_live_", "rk_live_"].iter().find_map(|prefix| key.strip_prefix(prefix));
    let is_revoked = engine.with_core(|core| core.dialects.revoked.contains(key));
    match name.filter(|name| is_name(name) && !is_revoked) {
        Some(name) => Ok(name.to_owned()),
        None => Err(errors::invalid_key(key)),
    }
}

/// Gives the answer the headers that all have.
fn finished(engine: &Engine, headers: &HeaderMap, answer: Answer) -> Answer {
    let version = text(headers, "stripe-version").unwrap_or("2026-10-28.endive");
    let has_id =
        matches!(&answer, Answer::Full { headers, .. } if headers.iter().any(|(name, _)| *name == "request-id"));
    let answer = answer.with("stripe-version", version);
    if has_id { answer } else { answer.with("request-id", engine.with_core(Core::request_name)) }
}
