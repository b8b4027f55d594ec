//! `POST /v1/transfers`, and what keys promise [S2]: the first answer is stored once execution has begun, errors
//! included, and repeated until the key is pruned; what was refused before is not.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::state::{Stored, StoredAnswer, StripeRecord, Transfer};
use super::{account, decimals, errors, finished, multiple, payouts, render, reverse};
use crate::core::Core;
use crate::dialect::book::Booking;
use crate::dialect::money::{is_currency, iso_decimals, rescaled};
use crate::dialect::{Answer, Kind, Record, call, form, part, text};
use crate::engine::Engine;
use crate::lies::LateRequest;
use crate::movement::Event;
use crate::shapes::Payload;
use crate::wire::{Problem, Shape};

/// What a transfer may be asked with, beside `metadata[...]` and `expand[]`.
const KNOWN: [&str; 7] =
    ["amount", "currency", "destination", "description", "source_transaction", "source_type", "transfer_group"];

/// The longest key [S2].
const LONGEST_KEY: usize = 255;

/// `POST /v1/transfers`
pub async fn create(
    State(engine): State<Arc<Engine>>,
    headers: HeaderMap,
    payload: Result<Payload, Problem>,
) -> Answer {
    post(&engine, &headers, "/v1/transfers".to_owned(), payload).await
}

/// Any POST.
pub async fn post(
    engine: &Arc<Engine>,
    headers: &HeaderMap,
    path: String,
    payload: Result<Payload, Problem>,
) -> Answer {
    let answer = Answer::from(post_checked(engine, headers, path, payload).await);
    let answer = finished(engine, headers, answer);
    match text(headers, "idempotency-key") {
        Some(key) => answer.with("idempotency-key", key),
        None => answer,
    }
}

async fn post_checked(
    engine: &Arc<Engine>,
    headers: &HeaderMap,
    path: String,
    payload: Result<Payload, Problem>,
) -> Result<Answer, Answer> {
    let account = account(engine, headers)?;
    let Payload(body) = payload.map_err(Answer::from)?;
    let is_form =
        text(headers, "content-type").is_none_or(|kind| kind.starts_with("application/x-www-form-urlencoded"));
    if !is_form {
        let message = "Invalid request (check that your POST content type is application/x-www-form-urlencoded).";
        return Err(errors::invalid(None, message, None));
    }
    let key = text(headers, "idempotency-key").map(str::to_owned);
    if key.as_ref().is_some_and(|key| key.is_empty() || key.len() > LONGEST_KEY) {
        let message = "Idempotency keys must have 1 to 255 characters.";
        return Err(Answer::json(StatusCode::BAD_REQUEST, &errors::body("idempotency_error", None, message, None)));
    }
    let body = String::from_utf8_lossy(&body).into_owned();
    let running = match &key {
        Some(key) => Some(Running::begin(engine, &account, key).ok_or_else(errors::key_in_use)?),
        None => None,
    };
    let request = LateRequest {
        shape: Shape::Stripe,
        account: account.as_str().into(),
        idempotency_key: key.as_deref().map(Into::into),
        body: body.as_str().into(),
        receipt: None,
        path: Some(path.as_str().into()),
    };
    let work = {
        let (engine, account) = (Arc::clone(engine), account.clone());
        async move {
            let answer = execute_late(&engine, &account, &path, key.as_deref(), &body).await;
            drop(running);
            answer
        }
    };
    Ok(call(engine, Shape::Stripe, &account, Kind::Paying(request), work).await)
}

/// A key under which a request is running; whatever becomes of it, it is not when this is dropped.
struct Running {
    engine: Arc<Engine>,
    key: (String, String),
}

impl Running {
    fn begin(engine: &Arc<Engine>, account: &str, key: &str) -> Option<Self> {
        let key = (account.to_owned(), key.to_owned());
        let is_new = engine.with_core(|core| core.dialects.stripe.running.insert(key.clone()));
        is_new.then(|| Self { engine: Arc::clone(engine), key })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.engine.with_core(|core| core.dialects.stripe.running.remove(&self.key));
    }
}

/// Executes a POST, now; also if it came long ago.
pub async fn execute_late(engine: &Arc<Engine>, account: &str, path: &str, key: Option<&str>, body: &str) -> Answer {
    let form = form(body);
    let horizon = engine.settings().key_horizon;
    let step = engine.settings().batch_settle_after;
    let done = engine.execute(|core| {
        let request = core.request_name();
        let now = core.rail_now();
        let print = print(path, &form);
        if let Some(stored) = key.and_then(|key| core.dialects.stripe.stored(account, key, now, horizon)) {
            return repeated(core, account, key.unwrap_or_default(), stored.clone(), &print, request);
        }
        let faults = core.faults.config().stripe.clone();
        if key.is_some() && core.faults.strikes_dialect(Shape::Stripe, "stripe_key_in_use", faults.key_in_use) {
            return errors::key_in_use();
        }
        if core.faults.strikes_dialect(Shape::Stripe, "stripe_lock_timeout", faults.lock_timeout) {
            return errors::lock_timeout();
        }
        let p = faults.stored_500_unpaid;
        let outcome = if key.is_some() && core.faults.strikes_dialect(Shape::Stripe, "stripe_stored_500_unpaid", p) {
            Outcome::Stored(0, StatusCode::INTERNAL_SERVER_ERROR, errors::unknown_error())
        } else {
            match path.strip_prefix("/v1/transfers/").and_then(|rest| rest.strip_suffix("/reversals")) {
                Some(id) => reverse::run(core, account, id, &form),
                None => match path.strip_prefix("/v1/payouts") {
                    Some(rest) => payouts::run(core, account, rest, &form, step),
                    None => run(core, account, key, &form),
                },
            }
        };
        let p = faults.stored_500_paid;
        let is_made = matches!(outcome, Outcome::Transfer(..) | Outcome::Stored(_, StatusCode::OK, _));
        let outcome = match outcome.line().filter(|_| is_made && key.is_some()) {
            Some(line) if core.faults.strikes_dialect(Shape::Stripe, "stripe_stored_500_paid", p) => {
                Outcome::Stored(line, StatusCode::INTERNAL_SERVER_ERROR, errors::unknown_error())
            }
            _ => outcome,
        };
        told(core, account, key, print, request, outcome)
    });
    done.await.unwrap_or_else(Answer::from)
}

/// What executing came to.
pub enum Outcome {
    /// Not begun: nothing is remembered.
    Answer(Answer),
    /// A transfer, with the line of the journal.
    Transfer(u64, String),
    /// Anything else that its key repeats.
    Stored(u64, StatusCode, Value),
}

impl Outcome {
    fn line(&self) -> Option<u64> {
        match self {
            Self::Answer(_) => None,
            Self::Transfer(line, _) | Self::Stored(line, ..) => Some(*line),
        }
    }
}

/// Stores an outcome under its key, and tells it.
fn told(core: &mut Core, account: &str, key: Option<&str>, print: String, request: String, done: Outcome) -> Answer {
    let (line, answer) = match done {
        Outcome::Answer(answer) => return answer.with("request-id", request),
        Outcome::Transfer(line, id) => (line, StoredAnswer::Transfer(id)),
        Outcome::Stored(line, status, body) => {
            (line, StoredAnswer::Body { status: status.as_u16(), body: body.to_string() })
        }
    };
    let stored = Stored { print, at: core.rail_now(), request: request.clone(), answer };
    let answer = stored_answer(core, account, &stored).with("request-id", request.as_str());
    let is_error = answer.status() != Some(StatusCode::OK);
    if let Some(key) = key {
        let (account, key) = (account.to_owned(), key.to_owned());
        core.keep(line, Record::Stripe(StripeRecord::Stored { account, key, stored }));
    }
    match is_error {
        true => answer.with("original-request", request).with("stripe-should-retry", "false"),
        false => answer,
    }
}

fn repeated(core: &Core, account: &str, key: &str, stored: Stored, print: &str, request: String) -> Answer {
    if stored.print != print {
        return errors::key_reused(key).with("request-id", request);
    }
    let answer = stored_answer(core, account, &stored);
    let is_error = answer.status() != Some(StatusCode::OK);
    let answer = answer
        .with("request-id", request)
        .with("original-request", stored.request.as_str())
        .with("idempotent-replayed", "true");
    if is_error { answer.with("stripe-should-retry", "false") } else { answer }
}

fn stored_answer(core: &Core, account: &str, stored: &Stored) -> Answer {
    match &stored.answer {
        StoredAnswer::Transfer(id) => match core.dialects.stripe.find(account, id) {
            Some((_, transfer)) => Answer::json(StatusCode::OK, &render::transfer_at_first(transfer)),
            None => errors::internal(),
        },
        StoredAnswer::Body { status, body } => Answer::Full {
            status: StatusCode::from_u16(*status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            headers: Vec::new(),
            body: body.clone().into_bytes(),
        },
    }
}

/// Path and parameters as one text: the same whatever the order of the parameters.
fn print(path: &str, form: &[(String, String)]) -> String {
    let mut sorted: Vec<_> = form.iter().collect();
    sorted.sort_unstable();
    let mut hash = Sha256::new();
    for text in [path].into_iter().chain(sorted.into_iter().flat_map(|(name, value)| [name.as_str(), value])) {
        hash.update(text);
        // No UTF-8 text contains this byte.
        hash.update([0xff]);
    }
    hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

/// All `metadata[...]` of a form.
pub fn metadata(form: &[(String, String)]) -> BTreeMap<String, String> {
    form.iter()
        .filter_map(|(name, value)| {
            let name = name.strip_prefix("metadata[")?.strip_suffix(']')?;
            Some((name.to_owned(), value.clone()))
        })
        .collect()
}

/// The first parameter that nobody knows.
pub fn unknown<'f>(form: &'f [(String, String)], known: &[&str]) -> Option<&'f str> {
    let is_known = |name: &str| known.contains(&name) || name.starts_with("metadata[") || name.starts_with("expand");
    form.iter().map(|(name, _)| name.as_str()).find(|name| !is_known(name))
}

/// An amount that is asked for.
pub fn amount(text: &str) -> Result<i64, Answer> {
    match text.parse::<i64>() {
        Ok(amount) if amount >= 1 => Ok(amount),
        Ok(_) => {
            let message = "This value must be greater than or equal to 1.";
            Err(errors::invalid(Some("parameter_invalid_integer"), message, Some("amount")))
        }
        Err(_) => Err(errors::integer(text, "amount")),
    }
}

/// A transfer that can be made.
struct Wanted<'f> {
    amount: i64,
    minor: i64,
    currency: String,
    destination: &'f str,
}

fn check(form: &[(String, String)]) -> Result<Wanted<'_>, Answer> {
    if let Some(name) = unknown(form, &KNOWN) {
        return Err(errors::unknown(name));
    }
    let required =
        |name: &'static str| part(form, name).filter(|value| !value.is_empty()).ok_or_else(|| errors::missing(name));
    let currency = required("currency")?.to_ascii_uppercase();
    let destination = required("destination")?;
    let amount = amount(required("amount")?)?;
    if !is_currency(&currency) {
        let message = format!("Invalid currency: {}", currency.to_ascii_lowercase());
        return Err(errors::invalid(None, &message, Some("currency")));
    }
    if amount % multiple(&currency) != 0 {
        let message = format!("Invalid amount: must be a multiple of {}.", multiple(&currency));
        return Err(errors::invalid(Some("parameter_invalid_integer"), &message, Some("amount")));
    }
    let minor = rescaled(amount, decimals(&currency), iso_decimals(&currency))
        .ok_or_else(|| errors::invalid(Some("amount_too_large"), "Amount is too large.", Some("amount")))?;
    Ok(Wanted { amount, minor, currency, destination })
}

fn run(core: &mut Core, account: &str, key: Option<&str>, form: &[(String, String)]) -> Outcome {
    let wanted = match check(form) {
        Ok(wanted) => wanted,
        Err(answer) => return Outcome::Answer(answer),
    };
    let Wanted { amount, minor, ref currency, destination } = wanted;
    let text = |name: &str| part(form, name).filter(|value| !value.is_empty()).map(str::to_owned);
    let now = core.rail_now();
    let line = core.ledger.next_line();
    let mut fate = core.faults.draw_item(Shape::Stripe);
    if !destination.starts_with("acct_") {
        fate.refusal = Some("resource_missing".into());
    } else if fate.refusal.is_none() && core.dialects.balances.of(Shape::Stripe, account, currency) < amount {
        fate.refusal = Some("balance_insufficient".into());
    }
    let metadata = metadata(form);
    let id = core.payment_name(Shape::Stripe, line);
    let group = text("transfer_group");
    let our_key = group.as_deref().or(metadata.get("payout").map(String::as_str)).or(key).unwrap_or(&id);
    let booking = |refusal| Booking {
        shape: Shape::Stripe,
        account,
        key: our_key,
        id: &id,
        amount_minor: minor,
        fee_minor: 0,
        currency,
        destination,
        event: if refusal { Event::Refused } else { Event::Paid },
        code: fate.refusal.as_deref(),
        batch: None,
        idempotency_key: key,
        group: None,
        at: now,
    };
    if let Some(code) = &fate.refusal {
        core.book(booking(true), &fate);
        return refused(core, line, code, destination);
    }
    core.book(booking(false), &fate);
    let transfer = Transfer {
        id: id.clone(),
        account: account.to_owned(),
        amount,
        currency: currency.clone(),
        destination: destination.to_owned(),
        description: text("description"),
        transfer_group: group.clone(),
        source_type: text("source_type").unwrap_or_else(|| "card".to_owned()),
        created: core.ledger.at(Shape::Stripe, now),
        key: our_key.to_owned(),
        line,
        reversals: Vec::new(),
        metadata: metadata.clone(),
    };
    core.keep(line, Record::Stripe(StripeRecord::Transfer(transfer)));
    if fate.duplicate {
        core.book_again(line, booking(false));
    }
    reverse::notify(core, account, &id, "transfer.created", key);
    Outcome::Transfer(line, id)
}

fn refused(core: &Core, line: u64, code: &str, destination: &str) -> Outcome {
    let (status, message, param) = match code {
        "balance_insufficient" => {
            let message = "You have insufficient funds in your Stripe account for this transfer. Your card balance is \
                           too low.";
            (StatusCode::BAD_REQUEST, message.to_owned(), None)
        }
        "resource_missing" => {
            (StatusCode::BAD_REQUEST, format!("No such destination: '{destination}'"), Some("destination"))
        }
        "insufficient_capabilities_for_transfer" => {
            let message = "Your destination account needs to have at least one of the following capabilities enabled: \
                           transfers, crypto_transfers, legacy_payments";
            (StatusCode::BAD_REQUEST, message.to_owned(), Some("destination"))
        }
        "account_invalid" => (StatusCode::FORBIDDEN, "The provided key does not have access.".to_owned(), None),
        other => (StatusCode::BAD_REQUEST, format!("The transfer was refused: {other}"), None),
    };
    let body = errors::body("invalid_request_error", Some(code), &message, param);
    let is_stored = code == "balance_insufficient" || core.faults.config().stripe.refusals_stored;
    if is_stored { Outcome::Stored(line, status, body) } else { Outcome::Answer(Answer::json(status, &body)) }
}
