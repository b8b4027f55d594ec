//! For those who test dialects: balances, credentials, and where notices go to.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::json;

use super::Record;
use super::hooks::Hook;
use super::money::{is_currency, iso_decimals, rescaled};
use super::sign;
use crate::engine::Engine;
use crate::shapes::Payload;
use crate::wire::{Problem, Reply, Shape, parse};
use crate::{paypal, stripe, wise};

#[derive(Debug, Deserialize)]
struct Balance {
    shape: Shape,
    account: String,
    currency: String,
    /// What it is from now on, in the smallest unit of ISO 4217.
    amount_minor: i64,
}

/// `POST /faults/balance`: what an account has at a vendor, from now on.
pub async fn balance(State(engine): State<Arc<Engine>>, Payload(body): Payload) -> Result<Reply, Problem> {
    let Balance { shape, account, currency, amount_minor } = parse(&body)?;
    if !is_currency(&currency) {
        return Err(Problem::invalid("currency must be three capital letters"));
    }
    let decimals = decimals(shape, &currency)?;
    let amount = rescaled(amount_minor, iso_decimals(&currency), decimals)
        .ok_or_else(|| Problem::invalid("amount_minor is not even in what the vendor counts in"))?;
    engine
        .execute(|core| {
            let change_minor = amount.saturating_sub(core.dialects.balances.of(shape, &account, &currency));
            core.keep(0, Record::Balance { shape, account, currency, change_minor });
        })
        .await?;
    Ok(Reply::json(StatusCode::OK, &json!({"amount_minor": amount_minor})))
}

fn decimals(shape: Shape, currency: &str) -> Result<u32, Problem> {
    match shape {
        Shape::Paypal => Ok(paypal::decimals(currency)),
        Shape::Stripe => Ok(stripe::decimals(currency)),
        Shape::Wise => Ok(wise::decimals(currency)),
        Shape::Payout | Shape::Batch | Shape::Lookup | Shape::File => Err(no_dialect()),
    }
}

fn no_dialect() -> Problem {
    Problem::invalid("shape must be paypal, stripe or wise")
}

#[derive(Debug, Deserialize)]
struct Revoke {
    credential: String,
    #[serde(default = "yes")]
    revoked: bool,
}

fn yes() -> bool {
    true
}

/// `POST /faults/revoke`: a key, a token or a client id is refused from now on, or taken again.
pub async fn revoke(State(engine): State<Arc<Engine>>, Payload(body): Payload) -> Result<Reply, Problem> {
    let Revoke { credential, revoked } = parse(&body)?;
    engine.execute(|core| core.keep(0, Record::Revoked { credential, revoked })).await?;
    Ok(Reply::json(StatusCode::OK, &json!({"revoked": revoked})))
}

/// `POST /faults/revoke-tokens`: every token that was given out is refused from now on; new ones can be had.
pub async fn revoke_tokens(State(engine): State<Arc<Engine>>) -> Result<Reply, Problem> {
    engine
        .execute(|core| {
            core.dialects.paypal.tokens.clear();
            core.dialects.wise.tokens.clear();
        })
        .await?;
    Ok(Reply::json(StatusCode::OK, &json!({"revoked": true})))
}

/// `PUT /webhooks/{shape}`: where the notices of a dialect go to, and how they are signed.
pub async fn put_hook(
    State(engine): State<Arc<Engine>>,
    Path(shape): Path<Shape>,
    Payload(body): Payload,
) -> Result<Reply, Problem> {
    let hook: Hook = parse(&body)?;
    hook.check(shape).map_err(Problem::invalid)?;
    let told = json!(hook);
    engine.execute(|core| core.keep(0, Record::Hook { shape, hook: Some(hook) })).await?;
    Ok(Reply::json(StatusCode::OK, &told))
}

/// `DELETE /webhooks/{shape}`: nobody is told any more; what waits is dropped.
pub async fn delete_hook(State(engine): State<Arc<Engine>>, Path(shape): Path<Shape>) -> Result<Reply, Problem> {
    engine
        .execute(|core| {
            core.keep(0, Record::Hook { shape, hook: None });
            core.dialects.notices.drop_all(shape);
        })
        .await?;
    Ok(Reply::json(StatusCode::OK, &json!({"deleted": true})))
}

/// `GET /webhooks/keys`: what notices are verified with.
pub async fn keys() -> Reply {
    let keys = json!({
        "paypal_certificate": sign::PAYPAL_CERTIFICATE,
        "paypal_authority": sign::PAYPAL_AUTHORITY,
        "wise_public_key": sign::WISE_PUBLIC,
    });
    Reply::json(StatusCode::OK, &keys)
}
