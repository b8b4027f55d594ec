//! The dialect of PayPal Payouts. RAILS.md, section 1.
//!
//! The client id names the account; any secret is taken. Tokens live in memory, so that a restart refuses all of them.

mod cancel;
pub mod create;
pub mod errors;
mod follow;
mod notices;
mod render;
mod search;
pub mod state;
mod token;

use std::future::Future;
use std::sync::Arc;

use axum::Router;
use axum::http::HeaderMap;
use axum::routing::{get, post};

use crate::core::Core;
use crate::dialect::{Answer, Kind, bearer, call};
use crate::engine::Engine;
use crate::wire::Shape;

pub use notices::told_return;

/// Everything below `/paypal`.
pub fn router() -> Router<Arc<Engine>> {
    let no_such_path = async || errors::no_such_path();
    routes().fallback(no_such_path).method_not_allowed_fallback(no_such_path)
}

/// The same, for where others answer what is not there.
pub fn routes() -> Router<Arc<Engine>> {
    Router::new()
        .route("/v1/oauth2/token", post(token::token))
        .route("/v1/payments/payouts", post(create::create))
        .route("/v1/payments/payouts/{id}", get(follow::batch))
        .route("/v1/payments/payouts-item/{id}", get(follow::item))
        .route("/v1/payments/payouts-item/{id}/cancel", post(cancel::cancel))
        .route("/v1/reporting/transactions", get(search::transactions))
        .route("/v1/reporting/balances", get(search::balances))
        .route("/v1/notifications/certs/{id}", get(notices::certificate))
        .route("/v1/notifications/verify-webhook-signature", post(notices::verify))
}

/// How many decimals PayPal writes [P9].
pub fn decimals(currency: &str) -> u32 {
    match currency {
        "HUF" | "JPY" | "TWD" => 0,
        _ => 2,
    }
}

/// Whether PayPal pays in it [P9].
fn is_paid_in(currency: &str) -> bool {
    const PAID_IN: [&str; 24] = [
        "AUD", "BRL", "CAD", "CHF", "CZK", "DKK", "EUR", "GBP", "HKD", "HUF", "ILS", "JPY", "MXN", "MYR", "NOK", "NZD",
        "PHP", "PLN", "RUB", "SEK", "SGD", "THB", "TWD", "USD",
    ];
    PAID_IN.contains(&currency)
}

/// What PayPal charges for an item: 2 %, of USD at most 14.00, as was seen [P6].
fn fee(amount: i64, currency: &str) -> i64 {
    let fee = (i128::from(amount) * 2 + 49) / 100;
    let fee = i64::try_from(fee).unwrap_or(i64::MAX);
    if currency == "USD" { fee.min(1_400) } else { fee }
}

/// Whose token this is; an answer if it is nobody's, or not any more.
fn account(core: &Core, headers: &HeaderMap) -> Result<String, Answer> {
    let token = bearer(headers).ok_or_else(errors::invalid_token)?;
    let now = core.rail_now();
    let known = core.dialects.paypal.tokens.get(token).filter(|token| token.until > now);
    let revoked = &core.dialects.revoked;
    known
        .filter(|known| !revoked.contains(token) && !revoked.contains(&known.account))
        .map(|known| known.account.clone())
        .ok_or_else(errors::invalid_token)
}

/// Runs a call as the account whose token it bears.
async fn asked<F>(
    engine: &Arc<Engine>,
    headers: &HeaderMap,
    kind: impl FnOnce(&str) -> Kind,
    work: impl FnOnce(String) -> F,
) -> Answer
where
    F: Future<Output = Answer> + Send + 'static,
{
    match engine.with_core(|core| account(core, headers)) {
        Err(answer) => answer,
        Ok(account) => {
            let (kind, work) = (kind(&account), work(account.clone()));
            call(engine, Shape::Paypal, &account, kind, work).await
        }
    }
}

/// Asks under the lock, as the account whose token it bears.
async fn ask(
    engine: Arc<Engine>,
    headers: HeaderMap,
    kind: Kind,
    work: impl FnOnce(&mut Core, &str) -> Result<Answer, Answer> + Send + 'static,
) -> Answer {
    let inner = Arc::clone(&engine);
    asked(
        &engine,
        &headers,
        |_| kind,
        move |account| async move {
            let done = inner.execute(|core| Answer::from(work(core, &account))).await;
            done.unwrap_or_else(Answer::from)
        },
    )
    .await
}
