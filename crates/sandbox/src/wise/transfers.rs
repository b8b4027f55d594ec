//! Transfers: made once for each `customerTransactionId` [W1], and no money moved by it.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use serde::Deserialize;

use super::prepare::{body, bytes, check_recipient};
use super::state::{QUOTE_LIFE, Quote, Transfer, WiseRecord};
use super::{ask, errors, notices, render};
use crate::core::Core;
use crate::dialect::{Answer, Kind, Record, form, part};
use crate::engine::Engine;
use crate::shapes::Payload;
use crate::wire::{At, Problem};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct NewTransfer {
    target_account: Option<u64>,
    quote_uuid: Option<String>,
    customer_transaction_id: Option<String>,
    details: Option<Details>,
}

#[derive(Deserialize)]
struct Details {
    reference: Option<String>,
}

/// `POST /v1/transfers`
pub async fn create(
    State(engine): State<Arc<Engine>>,
    headers: HeaderMap,
    payload: Result<Payload, Problem>,
) -> Answer {
    let bytes = match bytes(payload) {
        Ok(bytes) => bytes,
        Err(answer) => return answer,
    };
    let quote = body::<NewTransfer>(&bytes).ok().and_then(|new| new.quote_uuid).unwrap_or_default();
    let account = engine.with_core(|core| core.dialects.wise.quote(&quote).map(|quote| quote.profile.clone()));
    let account = account.unwrap_or_else(|| "default".to_owned());
    ask(engine, headers, account, Kind::Preparing, move |core| {
        let id = make(core, &bytes, None)?;
        told(core, id)
    })
    .await
}

/// A transfer as it is now.
pub fn told(core: &Core, id: u64) -> Result<Answer, Answer> {
    let transfer = core.dialects.wise.transfer(id).ok_or_else(|| errors::not_found("Transfer"))?;
    Ok(Answer::json(StatusCode::OK, &render::transfer(transfer, core.rail_now())))
}

/// Makes a transfer, or finds the one that its key has made; its number.
pub fn make(core: &mut Core, bytes: &[u8], group: Option<&str>) -> Result<u64, Answer> {
    let new: NewTransfer = body(bytes)?;
    let required = |path: &str| errors::invalid("This field is required", path);
    let uuid = new.customer_transaction_id.ok_or_else(|| required("customerTransactionId"))?;
    // Enforced [W8].
    let uuid = uuid::Uuid::parse_str(&uuid).map_err(|_| errors::invalid("Must be a UUID", "customerTransactionId"))?;
    let uuid = uuid.to_string();
    let quote_id = new.quote_uuid.ok_or_else(|| required("quoteUuid"))?;
    let target_account = new.target_account.ok_or_else(|| required("targetAccount"))?;
    let wise = &core.dialects.wise;
    let quote = wise.quote(&quote_id).ok_or_else(|| errors::invalid("Quote does not exist", "quoteUuid"))?.clone();
    let now = core.rail_now();
    let life = Duration::from_millis(core.faults.config().wise.forget_uuid_ms);
    // Before anything else, the quote's end included: a key that made a transfer must never be told otherwise.
    if let Some(known) = wise.known(&quote.profile, &uuid, now, life) {
        return Ok(known.id);
    }
    if now > quote.created.after(QUOTE_LIFE) {
        return Err(errors::invalid("Quote is expired", "quoteUuid"));
    }
    if quote.is_used {
        // One quote, one transfer; in which words is unverified.
        return Err(errors::invalid("Quote is already used", "quoteUuid"));
    }
    check_recipient(core, target_account, &quote.profile, &quote.target)?;
    if quote.target_account.is_some_and(|quoted| quoted != target_account) {
        return Err(errors::invalid("Recipient is not that of the quote", "targetAccount"));
    }
    let line = core.ledger.take_line();
    let transfer = Transfer {
        id: core.wise_number(line),
        profile: quote.profile.clone(),
        quote: quote_id,
        target_account,
        uuid,
        reference: new.details.and_then(|details| details.reference).unwrap_or_default(),
        group: group.map(str::to_owned),
        created: now,
        source: quote.source,
        target: quote.target,
        source_amount: quote.source_amount,
        fee: quote.fee,
        target_amount: quote.target_amount,
        rate: quote.rate,
        steps: Vec::new(),
        funded: None,
        refunds_fee: false,
    };
    let id = transfer.id;
    core.keep(0, Record::Wise(WiseRecord::Transfer(transfer)));
    notices::announce(core, id, now);
    Ok(id)
}

/// `GET /v1/transfers/{id}`
pub async fn find(State(engine): State<Arc<Engine>>, Path(id): Path<String>, headers: HeaderMap) -> Answer {
    let id: u64 = id.parse().unwrap_or_default();
    let account = engine.with_core(|core| account_of(core, id));
    ask(engine, headers, account, Kind::Asking, move |core| told(core, id)).await
}

/// Whose a transfer is.
pub fn account_of(core: &Core, id: u64) -> String {
    core.dialects.wise.transfer(id).map_or_else(|| "default".to_owned(), |transfer| transfer.profile.clone())
}

/// An instant, or the beginning of a day.
fn instant(text: &str) -> Option<At> {
    At::parse(text).or_else(|| At::parse(&format!("{text}T00:00:00Z")))
}

/// `GET /v1/transfers`: newest first (unverified); without a profile it is the personal one that is listed, where
/// nothing is.
pub async fn list(State(engine): State<Arc<Engine>>, RawQuery(query): RawQuery, headers: HeaderMap) -> Answer {
    let query = form(&query.unwrap_or_default());
    let profile = part(&query, "profile").unwrap_or_default().to_owned();
    ask(engine, headers, profile.clone(), Kind::Listing, move |core| {
        let number = |name: &str, most: usize, default: usize| match part(&query, name) {
            None => Ok(default),
            Some(text) => {
                let number = text.parse().ok().filter(|number| *number <= most);
                number.ok_or_else(|| errors::listed(StatusCode::BAD_REQUEST, "NOT_VALID", "Not a number", name))
            }
        };
        let limit = number("limit", 1000, 20)?;
        let offset = number("offset", usize::MAX, 0)?;
        let at = |name: &str| match part(&query, name) {
            None => Ok(None),
            Some(text) => {
                let at = instant(text).map(Some);
                at.ok_or_else(|| errors::listed(StatusCode::BAD_REQUEST, "NOT_VALID", "Not an instant", name))
            }
        };
        let (from, until) = (at("createdDateStart")?, at("createdDateEnd")?);
        let (status, now) = (part(&query, "status"), core.rail_now());
        let told: Vec<_> = core
            .dialects
            .wise
            .transfers(&profile)
            .filter(|transfer| from.is_none_or(|from| transfer.created >= from))
            .filter(|transfer| until.is_none_or(|until| transfer.created <= until))
            .filter(|transfer| status.is_none_or(|status| transfer.state(now).name() == status))
            .skip(offset)
            .take(limit)
            .map(|transfer| render::transfer(transfer, now))
            .collect();
        Ok(Answer::json(StatusCode::OK, &told))
    })
    .await
}

/// The quote that a body names.
pub fn quote_of(core: &Core, bytes: &[u8]) -> Option<Quote> {
    let new: NewTransfer = body(bytes).ok()?;
    core.dialects.wise.quote(&new.quote_uuid?).cloned()
}

/// What the key of a body has made.
pub fn made_before(core: &Core, bytes: &[u8]) -> Option<u64> {
    let profile = quote_of(core, bytes)?.profile;
    let new: NewTransfer = body(bytes).ok()?;
    let uuid = uuid::Uuid::parse_str(&new.customer_transaction_id?).ok()?.to_string();
    let life = Duration::from_millis(core.faults.config().wise.forget_uuid_ms);
    core.dialects.wise.known(&profile, &uuid, core.rail_now(), life).map(|known| known.id)
}
