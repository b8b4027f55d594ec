//! As PayPal: many payments a call, deduplicated by the batch's id only, final a while later, with a lookup.
//!
//! What becomes of each item is decided and journaled as the batch is accepted, dated to when it settles; until then
//! the lookup says pending. So nothing has to be remembered to be done later, and a crash cannot forget it.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::Serialize;
use serde_json::json;

use super::{Account, Kind, Payload, call, difference, parse_group, pay};
use crate::core::Late;
use crate::engine::Engine;
use crate::faults::UNCLAIMED;
use crate::ledger::Span;
use crate::movement::{Event, Movement};
use crate::wire::{At, Group, Problem, Reply, Shape, check_expiry};

/// As the rail it plays.
const MOST_ITEMS: usize = 15_000;

/// `POST /batch/batches`
pub async fn create(State(engine): State<Arc<Engine>>, Account(account): Account, Payload(body): Payload) -> Reply {
    pay(engine, Shape::Batch, account, None, body).await
}

enum Seen {
    First(Result<String, Problem>),
    Again(Span),
}

pub(super) async fn execute(
    engine: &Arc<Engine>,
    account: &str,
    body: &Arc<str>,
    late: Late<'_>,
) -> Result<Reply, Problem> {
    let group = parse_group(body, MOST_ITEMS)?;
    let settings = engine.settings();
    let seen = engine
        .execute(|core| {
            let now = At::now();
            // Before anything else, expiry included: an id that paid must never be told otherwise.
            let remembered = now.before(settings.key_horizon);
            if let Some(span) = core.ledger.answered_batch(account, &group.name, remembered) {
                return Seen::Again(span);
            }
            let settled = now.after(settings.batch_settle_after);
            let checked = check_expiry(group.expires_at, core.clock(now));
            Seen::First(checked.map(|()| core.pay_group(Shape::Batch, account, &group, settled, late)))
        })
        .await?;
    match seen {
        Seen::First(id) => Ok(accepted(StatusCode::CREATED, &id?, "pending")),
        Seen::Again(span) => {
            let (engine, body) = (Arc::clone(engine), Arc::clone(body));
            blocking(move || again(&engine, &parse_group(&body, MOST_ITEMS)?, span)).await
        }
    }
}

fn accepted(status: StatusCode, id: &str, state: &str) -> Reply {
    Reply::json(status, &json!({"batch_id": id, "status": state}))
}

fn again(engine: &Engine, group: &Group<'_>, span: Span) -> Result<Reply, Problem> {
    let mut id = String::new();
    let mut items = group.items.iter();
    let mut differs = None;
    each_item(engine, span, |known| {
        if let Some(head) = &known.group {
            id = head.id.to_string();
        }
        differs = differs.or(match items.next() {
            Some(item) => difference(item, &known),
            None => Some("items"),
        });
    })?;
    if let Some(field) = differs.or(items.next().map(|_| "items")) {
        return Err(Problem::key_reused(field));
    }
    let state = state_of(span);
    Ok(accepted(StatusCode::OK, &id, state).replayed())
}

/// `GET /batch/batches/{sender_batch_id}`
pub async fn find(State(engine): State<Arc<Engine>>, Account(account): Account, Path(name): Path<String>) -> Reply {
    let work = {
        let (engine, account) = (Arc::clone(&engine), Arc::clone(&account));
        async move {
            let span = engine
                .execute(|core| core.ledger.batch(&account, &name))
                .await?
                .ok_or_else(|| Problem::not_found("no batch of this id"))?;
            let batch = blocking({
                let engine = Arc::clone(&engine);
                move || read(&engine, name, span)
            })
            .await?;
            let batch = with_returns(&engine, batch).await?;
            Ok(Reply::json(StatusCode::OK, &batch))
        }
    };
    call(&engine, Shape::Batch, &account, Kind::Asking, work).await
}

#[derive(Serialize)]
struct BatchBody {
    batch_id: String,
    sender_batch_id: String,
    status: &'static str,
    items: Vec<ItemBody>,
}

#[derive(Serialize)]
struct ItemBody {
    #[serde(skip)]
    line: u64,
    key: String,
    id: String,
    status: &'static str,
    code: Option<String>,
    amount_minor: i64,
    currency: String,
    /// The return's own reference.
    #[serde(skip_serializing_if = "Option::is_none")]
    return_id: Option<String>,
    /// The reference of a refusal that came after the acceptance.
    #[serde(skip_serializing_if = "Option::is_none")]
    refusal_id: Option<String>,
}

fn read(engine: &Engine, name: String, span: Span) -> Result<BatchBody, Problem> {
    let now = At::now();
    let status = state_of(span);
    let mut batch = BatchBody { batch_id: String::new(), sender_batch_id: name, status, items: Vec::new() };
    each_item(engine, span, |known| {
        if let Some(head) = &known.group {
            batch.batch_id = head.id.to_string();
            batch.items.reserve(head.lines as usize);
        }
        let told = engine.lies().reference_of(known.line);
        let (status, code) = match (status, known.event) {
            ("pending", _) => ("pending", None),
            (_, Event::Refused) if known.at > now => ("pending", None),
            (_, Event::Refused) => ("refused", known.code.map(Into::into)),
            (_, Event::Paid | Event::Returned) => match known.code {
                Some(_) => (UNCLAIMED, None),
                None => ("paid", None),
            },
        };
        // One that is refused later was known under another reference until then.
        let (id, refusal_id) = match known.of_id {
            Some(id) => (id, Some(known.id.into())),
            None => (known.id, None),
        };
        batch.items.push(ItemBody {
            line: known.line,
            key: known.key.into(),
            id: told.map_or_else(|| id.into(), |told| told.to_string()),
            return_id: None,
            refusal_id: refusal_id.filter(|_| status == "refused"),
            status,
            code,
            amount_minor: known.amount_minor,
            currency: known.currency.into(),
        });
    })?;
    Ok(batch)
}

async fn with_returns(engine: &Engine, mut batch: BatchBody) -> Result<BatchBody, Problem> {
    if batch.status == "pending" {
        return Ok(batch);
    }
    let back: Vec<_> = engine
        .execute(|core| {
            let back = |item: &ItemBody| core.ledger.back(item.line).filter(|back| back.minor >= item.amount_minor);
            batch.items.iter().map(back).collect()
        })
        .await?;
    for (item, back) in batch.items.iter_mut().zip(back) {
        if let Some(back) = back {
            item.status = "returned";
            item.return_id = Some(engine.read(back.place)?.id.into());
        }
    }
    Ok(batch)
}

fn state_of(span: Span) -> &'static str {
    if span.place.at > At::now() { "pending" } else { "completed" }
}

/// Hands out the items of a batch in the order they came, without what nobody asked for.
fn each_item(engine: &Engine, span: Span, mut each: impl FnMut(Movement<'_>)) -> Result<(), Problem> {
    let unreadable = |error: String| {
        tracing::error!(error, "cannot read the journal");
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the journal cannot be read")
    };
    let mut lines = engine.lines(span.place.offset, span.end);
    while let Some((_, line)) = lines.next_line().map_err(|e| unreadable(e.to_string()))? {
        let known: Movement<'_> = serde_json::from_slice(line).map_err(|e| unreadable(e.to_string()))?;
        if !known.extra {
            each(known);
        }
    }
    Ok(())
}

/// Runs what takes milliseconds away from the threads that serve others.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Problem> + Send + 'static) -> Result<T, Problem> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|_| Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "failed")))
}
