//! For those who test: which faults are on, lies on demand, the truth (`/journal`) and the counts (`/stats`).

use std::io;
use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::core::Core;
use crate::engine::{Engine, unreadable};
use crate::faults::ItemFate;
use crate::ledger::Place;
use crate::lies::{Alteration, Planned, Return};
use crate::movement::{Event, Movement, write_line};
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

/// Names a payment; shape and account only where the key alone could mean several, `id` where the key was paid more
/// than once.
#[derive(Debug, Deserialize)]
struct Named {
    key: Option<String>,
    shape: Option<Shape>,
    account: Option<String>,
    /// The payment's own reference.
    id: Option<String>,
}

#[derive(Debug, Deserialize)]
struct GiveBack {
    #[serde(flatten)]
    named: Named,
    /// All that is left of it, where it is not said.
    amount_minor: Option<i64>,
    /// What the fault `return_fee_minor` says, where it is not said.
    fee_minor: Option<i64>,
    code: Option<Arc<str>>,
    /// Later: it happens then. Earlier: it happens now, and the statement tells this instant.
    at: Option<At>,
}

/// `POST /faults/return`: the payment comes back, now or later, as a whole or in part.
pub async fn give_back(State(engine): State<Arc<Engine>>, Payload(body): Payload) -> Result<Reply, Problem> {
    let GiveBack { named, amount_minor, fee_minor, code, at } = parse(&body)?;
    if amount_minor.is_some_and(|amount| amount <= 0) || fee_minor.is_some_and(|fee| fee < 0) {
        return Err(Problem::invalid("amount_minor must be above 0, and fee_minor not below it"));
    }
    let paid = find(&engine, &named).await?;
    let fee_minor = match fee_minor {
        Some(fee_minor) => fee_minor,
        None => engine.execute(|core| core.faults.config().return_fee_minor).await?,
    };
    let back = Return { code, amount_minor, fee_minor };
    if let Some(due) = at
        && planned(&engine, paid, due, Planned::Return(back.clone())).await?
    {
        return Ok(Reply::json(StatusCode::OK, &json!({"planned": true, "at": due})));
    }
    let (paid, returned) = engine
        .give_back(paid, &back, None)
        .await?
        .ok_or_else(|| Problem::new(StatusCode::CONFLICT, "already_returned", "this payment came back before"))?;
    if at.is_some() {
        let alteration = Alteration { at, ..Alteration::default() };
        engine.execute(|core| core.alter(returned.line, alteration)).await?;
    }
    let returned = json!({
        "key": paid.key,
        "id": paid.id,
        "shape": paid.shape,
        "return_id": returned.reference,
        "amount_minor": returned.amount_minor,
        "fee_minor": returned.fee_minor,
    });
    Ok(Reply::json(StatusCode::OK, &json!({ "returned": returned })))
}

/// Plans it, if it lies ahead: by the clock of the rail that is played.
async fn planned(engine: &Engine, paid: Place, due: At, event: Planned) -> Result<bool, Problem> {
    let is_dialect = engine.read_written(paid).await?.shape.is_dialect();
    let planned = engine.execute(|core| {
        let now = if is_dialect { core.rail_now() } else { At::now() };
        match (due > now, is_dialect) {
            (true, true) => core.plan_by_rail(Some(paid), due, event),
            (true, false) => core.plan(Some(paid), due, event),
            (false, _) => {}
        }
        due > now
    });
    Ok(planned.await?)
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
    WrongAccount,
}

#[derive(Debug, Deserialize)]
struct Plant {
    kind: Lie,
    #[serde(flatten)]
    named: Named,
    /// Of `wrong_account`: where the payment is made again.
    to_account: Option<Arc<str>>,
    /// Of a payment that is made again: when.
    at: Option<At>,
}

/// `POST /faults/plant`: a lie about a payment that was made, or about one that never was; or one that is made again.
pub async fn plant(State(engine): State<Arc<Engine>>, Payload(body): Payload) -> Result<Reply, Problem> {
    let Plant { kind, named, to_account, at } = parse(&body)?;
    let now = At::now();
    let account = match (kind, &to_account) {
        (Lie::WrongAccount, None) => return Err(Problem::invalid("wrong_account needs to_account")),
        (Lie::WrongAccount, Some(name)) if !is_name(name) => {
            return Err(Problem::invalid("to_account must have 1 to 64 characters"));
        }
        (_, account) => account.clone(),
    };
    if let Lie::PhantomStatement = kind {
        let account = named.account.as_deref().unwrap_or("default");
        if !is_name(account) {
            return Err(Problem::invalid("account must have 1 to 64 characters"));
        }
        let shape = named.shape.ok_or_else(|| Problem::invalid("a phantom needs a shape"))?;
        return planted(&engine, |core| core.invent(shape, account, "EUR", now)).await;
    }
    let found = find(&engine, &named).await?;
    let is_again = matches!(kind, Lie::DuplicatePayment | Lie::WrongAccount);
    if let Some(due) = at.filter(|_| is_again)
        && planned(&engine, found, due, Planned::Duplicate { account: account.clone() }).await?
    {
        return Ok(Reply::json(StatusCode::OK, &json!({"planned": true, "at": due})));
    }
    let paid = engine.read(found)?;
    planted(&engine, |core| match is_again {
        true => core.duplicate(paid, account.as_deref(), None, now),
        false => tell_otherwise(core, kind, &paid),
    })
    .await
}

/// `POST /faults/hurry`: what is planned happens now.
pub async fn hurry(State(engine): State<Arc<Engine>>) -> Result<Reply, Problem> {
    // Of its own, so that nothing is left undone if the caller goes away.
    let all = tokio::spawn(async move { engine.hurry().await });
    let count = all.await.map_err(unreadable)??;
    Ok(Reply::json(StatusCode::OK, &json!({"done": count})))
}

async fn planted(engine: &Engine, plant: impl FnOnce(&mut Core) -> u64) -> Result<Reply, Problem> {
    let line = engine
        .execute(|core| {
            core.faults.count("planted");
            plant(core)
        })
        .await?;
    Ok(Reply::json(StatusCode::OK, &json!({"planted": true, "line": line})))
}

fn tell_otherwise(core: &mut Core, kind: Lie, paid: &Movement<'_>) -> u64 {
    let fate = ItemFate {
        amount: matches!(kind, Lie::Amount),
        currency: matches!(kind, Lie::Currency),
        destination: matches!(kind, Lie::Destination),
        omit: matches!(kind, Lie::OmitStatement),
        ..ItemFate::default()
    };
    let alteration = core.draw_alteration(&fate, paid);
    core.alter(paid.line, alteration);
    paid.line
}

/// Where a payment is that was made.
async fn find(engine: &Arc<Engine>, named: &Named) -> Result<Place, Problem> {
    match &named.id {
        None => engine.execute(|core| find_by_key(core, named)).await?,
        Some(id) => find_by_reference(engine, id).await,
    }
}

fn find_by_key(core: &Core, named: &Named) -> Result<Place, Problem> {
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
        None => Ok(entry.place),
        Some(_) => {
            Err(Problem::new(StatusCode::CONFLICT, "ambiguous", "several shapes or accounts have this key: name them"))
        }
    }
}

/// Reads the journal: references have no index, since only those who test ask by them.
async fn find_by_reference(engine: &Arc<Engine>, id: &str) -> Result<Place, Problem> {
    let (mut lines, ()) = engine.snapshot(|_| (0, ())).await?;
    let id = id.to_owned();
    let search = move || -> io::Result<Option<Place>> {
        while let Some((offset, line)) = lines.next_line()? {
            let movement: Movement<'_> = serde_json::from_slice(line)?;
            if movement.event == Event::Paid && *movement.id == *id {
                return Ok(Some(Place { offset, line: movement.line, at: movement.at }));
            }
        }
        Ok(None)
    };
    let found = tokio::task::spawn_blocking(search).await.map_err(io::Error::other).flatten();
    found.map_err(unreadable)?.ok_or_else(|| Problem::not_found("no payment has this reference"))
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
