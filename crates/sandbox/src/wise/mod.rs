//! The dialect of Wise. RAILS.md, section 3.
//!
//! The profile in path or body names the account; any bearer token is taken, and those of
//! `/oauth/token` while they live. Money moves in funding alone.

mod cancel;
mod deposit;
pub mod errors;
pub mod fund;
mod groups;
mod notices;
mod prepare;
mod render;
mod sca;
mod simulate;
pub mod state;
mod statement;
mod timeline;
mod token;
mod transfers;

use std::future::Future;
use std::sync::Arc;

use axum::Router;
use axum::http::HeaderMap;
use axum::routing::{get, post, put};

use crate::core::Core;
use crate::dialect::money::iso_decimals;
use crate::dialect::{Answer, Kind, bearer, call};
use crate::engine::Engine;
use crate::wire::Shape;

pub use deposit::put_deposit;
pub use notices::told_return;
pub use sca::{approve, put_key};

/// Everything below `/wise`.
pub fn router() -> Router<Arc<Engine>> {
    let no_such_path = async || errors::no_such_path();
    routes().fallback(no_such_path).method_not_allowed_fallback(no_such_path)
}

/// The same, for where others answer what is not there.
pub fn routes() -> Router<Arc<Engine>> {
    Router::new()
        .route("/oauth/token", post(token::token))
        .route("/v1/accounts", post(prepare::recipient))
        .route("/v1/accounts/{id}", get(prepare::find_recipient))
        .route("/v2/accounts/{id}", get(prepare::find_recipient))
        .route("/v3/profiles/{profile}/quotes", post(prepare::quote))
        .route("/v3/profiles/{profile}/quotes/{id}", get(prepare::find_quote))
        .route("/v1/transfers", post(transfers::create).get(transfers::list))
        .route("/v1/transfers/{id}", get(transfers::find))
        .route("/v1/transfers/{id}/cancel", put(cancel::cancel))
        .route("/v3/profiles/{profile}/transfers/{id}/payments", post(fund::transfer))
        .route("/v3/profiles/{profile}/batch-groups", post(groups::create))
        .route("/v3/profiles/{profile}/batch-groups/{id}", get(groups::find).patch(groups::change))
        .route("/v3/profiles/{profile}/batch-groups/{id}/transfers", post(groups::add))
        .route("/v3/profiles/{profile}/batch-payments/{id}/payments", post(fund::group))
        .route("/v1/profiles/{profile}/balance-statements/{balance}/statement.json", get(statement::statement))
        .route("/v4/profiles/{profile}/balances", get(statement::balances))
        .route("/v1/simulation/transfers/{id}/{status}", get(simulate::simulate))
}

/// How many decimals Wise writes at most; JPY, KRW and HUF in whole units (unverified).
pub fn decimals(currency: &str) -> u32 {
    match currency {
        "JPY" | "KRW" | "HUF" => 0,
        _ => iso_decimals(currency),
    }
}

/// Whether the caller bears a token that is taken.
fn authorized(engine: &Engine, headers: &HeaderMap) -> Result<(), Answer> {
    let token = bearer(headers).ok_or_else(errors::invalid_token)?;
    let is_taken = engine.with_core(|core| {
        let is_known = || core.dialects.wise.tokens.get(token).is_some_and(|until| *until > core.rail_now());
        // A personal token does not end by itself.
        !core.dialects.revoked.contains(token) && (!token.starts_with(token::PREFIX) || is_known())
    });
    if is_taken { Ok(()) } else { Err(errors::invalid_token()) }
}

/// Runs a call of this account.
async fn asked(
    engine: &Arc<Engine>,
    headers: &HeaderMap,
    account: &str,
    kind: Kind,
    work: impl Future<Output = Answer> + Send + 'static,
) -> Answer {
    match authorized(engine, headers) {
        Ok(()) => call(engine, Shape::Wise, account, kind, work).await,
        Err(answer) => answer,
    }
}

/// Does something under the lock, as this account.
async fn ask(
    engine: Arc<Engine>,
    headers: HeaderMap,
    account: String,
    kind: Kind,
    work: impl FnOnce(&mut Core) -> Result<Answer, Answer> + Send + 'static,
) -> Answer {
    let inner = Arc::clone(&engine);
    asked(&engine, &headers, &account, kind, async move {
        let done = inner.execute(|core| Answer::from(work(core))).await;
        done.unwrap_or_else(Answer::from)
    })
    .await
}
