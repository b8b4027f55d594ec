//! No idempotency key, so the same request pays again; but a lookup by our own key that can be relied on.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;

use super::{Account, Kind, Payload, PaymentBody, call, paid, pay, refused};
use crate::core::{Late, Order};
use crate::engine::Engine;
use crate::wire::{At, Instruction, Problem, Reply, Shape, check_expiry, parse};

/// `POST /lookup/transfers`
pub async fn create(State(engine): State<Arc<Engine>>, Account(account): Account, Payload(body): Payload) -> Reply {
    pay(engine, Shape::Lookup, account, None, body).await
}

pub(super) async fn execute(engine: &Engine, account: &str, body: &str, late: Late<'_>) -> Result<Reply, Problem> {
    let instruction: Instruction<'_> = parse(body.as_bytes())?;
    instruction.check(None)?;
    if instruction.expires_at.is_none() {
        return Err(Problem::invalid("expires_at is required"));
    }
    let order = Order {
        shape: Shape::Lookup,
        account,
        instruction: &instruction,
        batch: None,
        idempotency_key: None,
        plan: late.plan,
    };
    let receipt = engine
        .execute(|core| {
            // Under the lock: once a lookup after the expiry found nothing, nothing can come any more.
            let now = At::now();
            let checked = check_expiry(instruction.expires_at, core.clock(now));
            checked.map(|()| core.pay(order, now))
        })
        .await??;
    Ok(match receipt.refusal {
        Some(code) => refused(&code),
        None => paid(&receipt.reference, &instruction),
    })
}

/// `GET /lookup/transfers/{key}`
pub async fn find(State(engine): State<Arc<Engine>>, Account(account): Account, Path(key): Path<String>) -> Reply {
    let work = {
        let (engine, account) = (Arc::clone(&engine), Arc::clone(&account));
        async move { look_up(&engine, &account, &key).await }
    };
    call(&engine, Shape::Lookup, &account, Kind::Asking, work).await
}

async fn look_up(engine: &Engine, account: &str, key: &str) -> Result<Reply, Problem> {
    let (entry, back) = engine
        .execute(|core| {
            let entry = core.ledger.entry(Shape::Lookup, account, key)?;
            Some((entry, core.ledger.back(entry.place.line)))
        })
        .await?
        .ok_or_else(|| Problem::not_found("no transfer of this key"))?;
    let known = engine.read(entry.place)?;
    // While a part of it is with the payee, it is paid.
    let back = back.filter(|back| back.minor >= known.amount_minor);
    let returned = back.map(|back| engine.read(back.place)).transpose()?;
    let told = engine.lies().reference_of(known.line);
    let body = PaymentBody {
        id: told.as_deref().unwrap_or(&known.id),
        key: &known.key,
        status: match &returned {
            Some(_) => "returned",
            None if entry.refused => "refused",
            None => "paid",
        },
        amount_minor: known.amount_minor,
        currency: &known.currency,
        code: known.code.as_deref(),
        return_id: returned.as_ref().map(|returned| &*returned.id),
        count: Some(entry.times_paid),
    };
    Ok(Reply::json(StatusCode::OK, &body))
}
