//! As a bank file: taken whole and executed each time it comes. What became of it is on the statement only.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use serde_json::json;

use super::{Account, Payload, parse_group, pay};
use crate::core::Late;
use crate::engine::Engine;
use crate::wire::{At, Problem, Reply, Shape, check_expiry};

/// What a body of the largest size can hold anyway.
const MOST_ITEMS: usize = 1_000_000;

/// `POST /file/files`
pub async fn create(State(engine): State<Arc<Engine>>, Account(account): Account, Payload(body): Payload) -> Reply {
    pay(engine, Shape::File, account, None, body).await
}

pub(super) async fn execute(engine: &Engine, account: &str, body: &str, late: Late<'_>) -> Result<Reply, Problem> {
    let group = parse_group(body, MOST_ITEMS)?;
    let receipt = engine
        .execute(|core| {
            let now = At::now();
            let checked = check_expiry(group.expires_at, core.clock(now));
            checked.map(|()| core.pay_group(Shape::File, account, &group, now, late))
        })
        .await??;
    Ok(accepted(&receipt))
}

/// Whether a file can be taken at all.
pub(super) fn check(body: &str) -> Result<(), Problem> {
    parse_group(body, MOST_ITEMS).map(drop)
}

/// The answer to a file that was taken.
pub(super) fn accepted(receipt: &str) -> Reply {
    Reply::json(StatusCode::ACCEPTED, &json!({"receipt": receipt, "status": "accepted"}))
}
