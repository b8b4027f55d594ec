//! What comes before a transfer, and moves no money: recipients and quotes. None has a key; a second one is harmless.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::state::{Quote, Recipient, WiseRecord};
use super::{ask, decimals, errors, render};
use crate::core::Core;
use crate::dialect::money::{is_currency, parse_number};
use crate::dialect::{Answer, Kind, Record};
use crate::engine::Engine;
use crate::shapes::Payload;
use crate::wire::Problem;

/// What Wise charges here, in hundredths of a percent, rounded up; what it really charges is in its quotes.
const FEE_BASIS_POINTS: i128 = 50;

/// What a unit of this currency is worth in millionths of a euro: made up, and always the same.
fn worth(currency: &str) -> i128 {
    match currency {
        "EUR" => 1_000_000,
        "GBP" => 1_147_842,
        "USD" => 900_000,
        "JPY" => 6_000,
        "HUF" => 2_500,
        _ => 500_000,
    }
}

/// Reads a body, or says what is wrong with it.
pub fn body<'b, T: Deserialize<'b>>(body: &'b [u8]) -> Result<T, Answer> {
    serde_json::from_slice(body)
        .map_err(|error| errors::listed(StatusCode::BAD_REQUEST, "NOT_VALID", &format!("Unreadable body: {error}"), ""))
}

/// The bytes of a request.
pub fn bytes(payload: Result<Payload, Problem>) -> Result<bytes::Bytes, Answer> {
    payload.map(|Payload(body)| body).map_err(Answer::from)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct NewRecipient {
    profile: Option<u64>,
    currency: Option<String>,
    account_holder_name: Option<String>,
    r#type: Option<String>,
}

/// `POST /v1/accounts`
pub async fn recipient(
    State(engine): State<Arc<Engine>>,
    headers: HeaderMap,
    payload: Result<Payload, Problem>,
) -> Answer {
    let bytes = match bytes(payload) {
        Ok(bytes) => bytes,
        Err(answer) => return answer,
    };
    let profile = body::<NewRecipient>(&bytes).ok().and_then(|new| new.profile).map(|profile| profile.to_string());
    let account = profile.unwrap_or_else(|| "default".to_owned());
    ask(engine, headers, account, Kind::Preparing, move |core| {
        let new: NewRecipient = body(&bytes)?;
        let required = |path: &str| errors::invalid("This field is required", path);
        let profile = new.profile.ok_or_else(|| required("profile"))?.to_string();
        let currency = new.currency.filter(|code| is_currency(code)).ok_or_else(|| required("currency"))?;
        let name = new.account_holder_name.filter(|name| !name.trim().is_empty());
        let name = name.ok_or_else(|| required("accountHolderName"))?;
        new.r#type.ok_or_else(|| required("type"))?;
        let mut told: Value = body(&bytes)?;
        told["name"] = serde_json::json!({"fullName": name});
        told["profileId"] = new.profile.into();
        let line = core.ledger.take_line();
        let recipient = Recipient { id: core.wise_number(line), profile, currency, body: told.to_string() };
        let answer = Answer::json(StatusCode::OK, &render::recipient(&recipient));
        core.keep(0, Record::Wise(WiseRecord::Recipient(recipient)));
        Ok(answer)
    })
    .await
}

/// `GET /v1/accounts/{id}` and `GET /v2/accounts/{id}`
pub async fn find_recipient(State(engine): State<Arc<Engine>>, Path(id): Path<String>, headers: HeaderMap) -> Answer {
    ask(engine, headers, "default".to_owned(), Kind::Asking, move |core| {
        let found = id.parse().ok().and_then(|id| core.dialects.wise.recipient(id));
        let recipient = found.ok_or_else(|| errors::not_found("Recipient"))?;
        Ok(Answer::json(StatusCode::OK, &render::recipient(recipient)))
    })
    .await
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct NewQuote<'b> {
    source_currency: Option<String>,
    target_currency: Option<String>,
    #[serde(borrow)]
    source_amount: Option<&'b RawValue>,
    #[serde(borrow)]
    target_amount: Option<&'b RawValue>,
    target_account: Option<u64>,
}

/// Whether this profile can pay this recipient in this currency.
pub fn check_recipient(core: &Core, id: u64, profile: &str, currency: &str) -> Result<(), Answer> {
    match core.dialects.wise.recipient(id) {
        Some(known) if known.profile == profile && known.currency == currency => Ok(()),
        Some(known) if known.profile == profile => {
            Err(errors::invalid("Recipient is of another currency", "targetAccount"))
        }
        None if core.faults.config().wise.any_recipient => Ok(()),
        _ => Err(errors::invalid("Recipient does not exist", "targetAccount")),
    }
}

/// `POST /v3/profiles/{profile}/quotes`
pub async fn quote(
    State(engine): State<Arc<Engine>>,
    Path(profile): Path<String>,
    headers: HeaderMap,
    payload: Result<Payload, Problem>,
) -> Answer {
    ask(engine, headers, profile.clone(), Kind::Preparing, move |core| {
        let bytes = bytes(payload)?;
        let new: NewQuote<'_> = body(&bytes)?;
        let currency = |code: &Option<String>, path: &str| {
            let code = code.clone().filter(|code| is_currency(code));
            code.ok_or_else(|| errors::invalid("Currency is not valid", path))
        };
        let source = currency(&new.source_currency, "sourceCurrency")?;
        let target = currency(&new.target_currency, "targetCurrency")?;
        if let Some(id) = new.target_account {
            check_recipient(core, id, &profile, &target)?;
        }
        let amount = |raw: &RawValue, currency: &str, path: &str| {
            let amount = parse_number(raw.get(), decimals(currency)).filter(|amount| *amount > 0);
            amount.ok_or_else(|| errors::invalid("Amount is not valid", path))
        };
        let is_by_target = new.target_amount.is_some();
        let (source_amount, fee, target_amount) = match (new.source_amount, new.target_amount) {
            (Some(raw), None) => from_source(amount(raw, &source, "sourceAmount")?, &source, &target),
            (None, Some(raw)) => from_target(amount(raw, &target, "targetAmount")?, &source, &target),
            _ => return Err(errors::invalid("Exactly one amount is required", "sourceAmount")),
        }
        .ok_or_else(|| errors::invalid("Amount is not valid", "sourceAmount"))?;
        let quote = Quote {
            id: uuid::Uuid::new_v4().to_string(),
            profile: profile.clone(),
            rate: i64::try_from(worth(&source) * 1_000_000 / worth(&target)).unwrap_or(i64::MAX),
            source,
            target,
            source_amount,
            fee,
            target_amount,
            target_account: new.target_account,
            created: core.rail_now(),
            is_by_target,
            is_used: false,
        };
        let answer = Answer::json(StatusCode::OK, &render::quote(&quote, core.rail_now()));
        core.keep(0, Record::Wise(WiseRecord::Quote(quote)));
        Ok(answer)
    })
    .await
}

/// Source, its fee, and target, where the source is given: the fee is taken from it.
fn from_source(source: i64, from: &str, to: &str) -> Option<(i64, i64, i64)> {
    let fee = rounded_up(i128::from(source) * FEE_BASIS_POINTS, 10_000);
    let (up, down) = ratio(from, to);
    let target = (i128::from(source) - fee) * up / down;
    checked(i128::from(source), fee, target)
}

/// The same where the target is given: the fee comes on top.
fn from_target(target: i64, from: &str, to: &str) -> Option<(i64, i64, i64)> {
    let (up, down) = ratio(from, to);
    let value = rounded_up(i128::from(target) * down, up);
    let fee = rounded_up(value * FEE_BASIS_POINTS, 10_000);
    checked(value + fee, fee, i128::from(target))
}

/// By which the smallest units of one become those of the other.
fn ratio(from: &str, to: &str) -> (i128, i128) {
    let unit = |currency: &str| 10_i128.pow(decimals(currency));
    (worth(from) * unit(to), worth(to) * unit(from))
}

fn checked(source: i128, fee: i128, target: i128) -> Option<(i64, i64, i64)> {
    let amount = |amount: i128| i64::try_from(amount).ok();
    Some((amount(source)?, amount(fee)?, amount(target).filter(|target| *target > 0)?))
}

fn rounded_up(amount: i128, by: i128) -> i128 {
    (amount + by - 1) / by
}

/// `GET /v3/profiles/{profile}/quotes/{id}`
pub async fn find_quote(
    State(engine): State<Arc<Engine>>,
    Path((profile, id)): Path<(String, String)>,
    headers: HeaderMap,
) -> Answer {
    ask(engine, headers, profile.clone(), Kind::Asking, move |core| {
        let now = core.rail_now();
        let found = core.dialects.wise.quote(&id).filter(|quote| quote.profile == profile);
        let quote = found.ok_or_else(|| errors::not_found("Quote"))?;
        Ok(Answer::json(StatusCode::OK, &render::quote(quote, now)))
    })
    .await
}
