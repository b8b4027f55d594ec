//! As Stripe: one payment a call, an idempotency key with a horizon, refusals pinned to the key, no lookup.

use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderMap;

use super::{Account, Payload, difference, paid, pay, refused};
use crate::core::{Late, Order, Receipt};
use crate::engine::Engine;
use crate::ledger::Place;
use crate::movement::Event;
use crate::wire::{At, Instruction, Problem, Reply, Shape, check_expiry, is_name, parse};

/// `POST /payout/payouts`
pub async fn create(
    State(engine): State<Arc<Engine>>,
    Account(account): Account,
    headers: HeaderMap,
    Payload(body): Payload,
) -> Reply {
    let key = headers.get("idempotency-key").and_then(|value| value.to_str().ok());
    pay(engine, Shape::Payout, account, key.map(Into::into), body).await
}

enum Seen {
    First(Result<Receipt, Problem>),
    Again(Place),
}

pub(super) async fn execute(
    engine: &Engine,
    account: &str,
    idempotency_key: Option<&str>,
    body: &str,
    late: Late<'_>,
) -> Result<Reply, Problem> {
    let idempotency_key = idempotency_key
        .filter(|key| is_name(key))
        .ok_or_else(|| Problem::invalid("the header Idempotency-Key must have 1 to 64 characters"))?;
    let instruction: Instruction<'_> = parse(body.as_bytes())?;
    instruction.check(None)?;
    let horizon = engine.settings().key_horizon;
    let seen = engine
        .execute(|core| {
            let now = At::now();
            // Before anything else, expiry included: a key that paid must never be told otherwise.
            if let Some(place) = core.ledger.answered(account, idempotency_key, now.before(horizon)) {
                return Seen::Again(place);
            }
            let order = Order {
                shape: Shape::Payout,
                account,
                instruction: &instruction,
                batch: None,
                idempotency_key: Some(idempotency_key),
                plan: late.plan,
            };
            let checked = check_expiry(instruction.expires_at, core.clock(now));
            Seen::First(checked.map(|()| core.pay(order, now)))
        })
        .await?;
    match seen {
        Seen::First(receipt) => {
            let receipt = receipt?;
            Ok(match receipt.refusal {
                Some(code) => refused(&code),
                None => paid(&receipt.reference, &instruction),
            })
        }
        Seen::Again(place) => again(engine, place, &instruction),
    }
}

fn again(engine: &Engine, place: Place, instruction: &Instruction<'_>) -> Result<Reply, Problem> {
    let known = engine.read(place)?;
    if let Some(field) = difference(instruction, &known) {
        return Err(Problem::key_reused(field));
    }
    let reply = match (known.event, known.code) {
        (Event::Refused, code) => refused(&code.unwrap_or_default()),
        (Event::Paid | Event::Returned, _) => {
            let told = engine.lies().reference_of(known.line);
            paid(told.as_deref().unwrap_or(&known.id), instruction)
        }
    };
    Ok(reply.replayed())
}
