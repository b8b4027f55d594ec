//! For those who test: which faults are on, lies on demand, the truth (`/journal`) and the counts (`/stats`).

use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::core::Core;
use crate::engine::Engine;
use crate::faults::ItemFate;
use crate::ledger::Entry;
use crate::movement::{Movement, write_line};
use crate::shapes::Payload;
use crate::statement::stream_lines;
use crate::wire::{At, Problem, Reply, Shape, is_name, parse};

/// `GET /faults`
pub async fn faults(State(engine): State<Arc<Engine>>) -> Result<Reply, Problem> {
    configured(&engine, |_| Ok(())).await
}

/// `PUT /faults`: changes what the body names.
pub async fn put_faults(State(engine): State<Arc<Engine>>, Payload(body): Payload) -> Result<Reply, Problem> {
    let patch: Value = parse(&body)?;
    configured(&engine, |core| core.faults.merge(&patch).map_err(Problem::invalid)).await
}

/// `DELETE /faults`: none from now on.
pub async fn clear_faults(State(engine): State<Arc<Engine>>) -> Result<Reply, Problem> {
    configured(&engine, |core| {
        core.faults.clear();
        Ok(())
    })
    .await
}

async fn configured(engine: &Engine, change: impl FnOnce(&mut Core) -> Result<(), Problem>) -> Result<Reply, Problem> {
    let config = engine.execute(|core| change(core).map(|()| core.faults.config().clone())).await??;
    Ok(Reply::json(StatusCode::OK, &config))
}

/// `POST /faults/prune-keys`: no idempotency key is known from now on.
pub async fn prune_keys(State(engine): State<Arc<Engine>>) -> Result<Reply, Problem> {
    engine.execute(Core::forget_keys).await?;
    Ok(Reply::json(StatusCode::OK, &json!({"pruned": true})))
}

/// Names a payment; shape and account only where the key alone could mean several.
#[derive(Debug, Deserialize)]
struct Named {
    key: Option<String>,
    shape: Option<Shape>,
    account: Option<String>,
}

/// `POST /faults/return`: the payment comes back now.
pub async fn give_back(State(engine): State<Arc<Engine>>, Payload(body): Payload) -> Result<Reply, Problem> {
    let named: Named = parse(&body)?;
    let entry = engine.execute(|core| find(core, &named)).await??;
    let paid = engine
        .give_back(entry.place, None)
        .await?
        .ok_or_else(|| Problem::new(StatusCode::CONFLICT, "already_returned", "this payment came back before"))?;
    let returned = json!({"key": paid.key, "id": paid.id, "shape": paid.shape});
    Ok(Reply::json(StatusCode::OK, &json!({ "returned": returned })))
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Lie {
    Amount,
    Currency,
    Destination,
    OmitStatement,
    PhantomStatement,
    DuplicatePayment,
}

#[derive(Debug, Deserialize)]
struct Plant {
    kind: Lie,
    #[serde(flatten)]
    named: Named,
}

/// `POST /faults/plant`: a lie about a payment that was made, or about one that never was.
pub async fn plant(State(engine): State<Arc<Engine>>, Payload(body): Payload) -> Result<Reply, Problem> {
    let Plant { kind, named } = parse(&body)?;
    let line = match kind {
        Lie::PhantomStatement => {
            let account = named.account.as_deref().unwrap_or("default");
            if !is_name(account) {
                return Err(Problem::invalid("account must have 1 to 64 characters"));
            }
            let shape = named.shape.ok_or_else(|| Problem::invalid("a phantom needs a shape"))?;
            let now = At::now();
            engine
                .execute(|core| {
                    core.faults.count("planted");
                    core.invent(shape, account, "EUR", now)
                })
                .await?
        }
        kind => {
            let entry = engine.execute(|core| find(core, &named)).await??;
            let paid = engine.read(entry.place)?;
            engine
                .execute(|core| {
                    core.faults.count("planted");
                    tell_otherwise(core, kind, paid)
                })
                .await?
        }
    };
    Ok(Reply::json(StatusCode::OK, &json!({"planted": true, "line": line})))
}

fn tell_otherwise(core: &mut Core, kind: Lie, paid: Movement<'_>) -> u64 {
    let fate = ItemFate {
        amount: matches!(kind, Lie::Amount),
        currency: matches!(kind, Lie::Currency),
        destination: matches!(kind, Lie::Destination),
        omit: matches!(kind, Lie::OmitStatement),
        ..ItemFate::default()
    };
    if let Lie::DuplicatePayment = kind {
        return core.duplicate(paid, At::now());
    }
    let alteration = core.draw_alteration(&fate, &paid);
    core.alter(paid.line, alteration);
    paid.line
}

fn find(core: &Core, named: &Named) -> Result<Entry, Problem> {
    let key = named.key.as_deref().ok_or_else(|| Problem::invalid("key is missing"))?;
    let shapes = Shape::ALL.into_iter().filter(|shape| named.shape.is_none_or(|wanted| wanted == *shape));
    let mut found = shapes
        .flat_map(|shape| {
            let accounts = core.ledger.accounts().iter().filter(|account| {
                let wanted = named.account.as_deref();
                wanted.is_none_or(|wanted| wanted == &***account)
            });
            accounts.filter_map(move |account| core.ledger.entry(shape, account, key))
        })
        .filter(|entry| !entry.refused);
    let entry = found.next().ok_or_else(|| Problem::not_found("no payment was made for this key"))?;
    match found.next() {
        None => Ok(entry),
        Some(_) => {
            Err(Problem::new(StatusCode::CONFLICT, "ambiguous", "several shapes or accounts have this key: name them"))
        }
    }
}

/// Which lines of the journal are wanted.
#[derive(Debug, Deserialize)]
pub struct Wanted {
    shape: Option<Shape>,
    account: Option<String>,
    #[serde(default)]
    from_line: u64,
}

/// `GET /journal`: every real movement.
pub async fn journal(
    State(engine): State<Arc<Engine>>,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(wanted) = wanted.map_err(|rejection| Problem::invalid(rejection.body_text()))?;
    let (mut lines, ()) = engine.snapshot(|core| (core.ledger.offset_before(wanted.from_line), ())).await?;
    let body = stream_lines(move |chunks| {
        while let Some((_, line)) = lines.next_line()? {
            let movement: Movement<'_> = serde_json::from_slice(line)?;
            let is_wanted = movement.line >= wanted.from_line
                && wanted.shape.is_none_or(|shape| shape == movement.shape)
                && wanted.account.as_ref().is_none_or(|account| **account == *movement.account);
            if !is_wanted {
                continue;
            }
            write_line(&movement.public(), chunks.buffer());
            if let Err(gone) = chunks.flush_if_full() {
                return Ok(Err(gone));
            }
        }
        Ok(Ok(()))
    });
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response())
}

/// `GET /stats`
pub async fn stats(State(engine): State<Arc<Engine>>) -> Result<Reply, Problem> {
    let (tallies, faults, limited) = engine
        .execute(|core| {
            let faults = core.faults.counts().clone();
            (core.ledger.tallies, faults, core.limited)
        })
        .await?;
    let sum = |field: fn(&crate::ledger::Tally) -> u64| tallies.iter().map(field).sum::<u64>();
    let by_shape: Map<String, Value> = Shape::ALL
        .iter()
        .map(|shape| {
            let tally = json!(tallies[*shape as usize]);
            (shape.name().to_owned(), tally)
        })
        .collect();
    let body = json!({
        "requests": sum(|tally| tally.requests),
        "paid": sum(|tally| tally.paid),
        "distinct": sum(|tally| tally.distinct),
        "paid_twice": sum(|tally| tally.paid_twice),
        "refused": sum(|tally| tally.refused),
        "returned": sum(|tally| tally.returned),
        "rate_limited": limited,
        "faults": faults,
        "by_shape": by_shape,
    });
    Ok(Reply::json(StatusCode::OK, &body))
}
