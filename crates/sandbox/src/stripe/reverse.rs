//! `POST /v1/transfers/{id}/reversals`: a transfer comes back, whole or in part; only the platform asks for it.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use serde_json::json;

use super::create::{self, Outcome, amount, metadata, unknown};
use super::state::StripeRecord;
use super::{decimals, errors, render};
use crate::core::Core;
use crate::dialect::money::{iso_decimals, rescaled};
use crate::dialect::{Answer, Record, part};
use crate::engine::Engine;
use crate::lies::Return;
use crate::movement::{Event, Movement};
use crate::shapes::Payload;
use crate::wire::{Problem, Shape};

/// `POST /v1/transfers/{id}/reversals`
pub async fn reverse(
    State(engine): State<Arc<Engine>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    payload: Result<Payload, Problem>,
) -> Answer {
    create::post(&engine, &headers, format!("/v1/transfers/{id}/reversals"), payload).await
}

/// Executes it.
pub fn run(core: &mut Core, account: &str, id: &str, form: &[(String, String)]) -> Outcome {
    match reversed(core, account, id, form) {
        Ok((line, body)) => Outcome::Stored(line, StatusCode::OK, body),
        Err(answer) => Outcome::Answer(answer),
    }
}

fn reversed(
    core: &mut Core,
    account: &str,
    id: &str,
    form: &[(String, String)],
) -> Result<(u64, serde_json::Value), Answer> {
    let Some((index, transfer)) = core.dialects.stripe.find(account, id) else {
        return Err(errors::no_such(StatusCode::NOT_FOUND, "transfer", id, "id"));
    };
    if let Some(name) = unknown(form, &["amount", "description", "refund_application_fee"]) {
        return Err(errors::unknown(name));
    }
    let left = transfer.amount.saturating_sub(transfer.reversed());
    let amount = match part(form, "amount") {
        Some(text) => amount(text)?,
        None => left,
    };
    if left <= 0 {
        return Err(errors::invalid(None, &format!("Transfer {id} is already fully reversed."), None));
    }
    if amount > left {
        let message = format!("Reversal amount ({amount}) is greater than unreversed amount on transfer ({left})");
        return Err(errors::invalid(None, &message, Some("amount")));
    }
    let (currency, line) = (&transfer.currency, transfer.line);
    let minor = rescaled(amount, decimals(currency), iso_decimals(currency))
        .ok_or_else(|| errors::integer(&amount.to_string(), "amount"))?;
    let paid = Movement {
        line,
        shape: Shape::Stripe,
        account: account.to_owned().into(),
        key: transfer.key.clone().into(),
        id: id.to_owned().into(),
        amount_minor: 0,
        fee_minor: 0,
        currency: currency.clone().into(),
        destination: transfer.destination.clone().into(),
        event: Event::Paid,
        code: None,
        batch: None,
        at: transfer.created,
        of_id: None,
        idempotency_key: None,
        group: None,
        of: None,
        extra: false,
        plan: None,
    };
    let back = Return { code: Some("reversed".into()), amount_minor: Some(minor), fee_minor: 0 };
    let now = crate::wire::At::now();
    let Some(returned) = core.give_back(&paid, &back, None, now) else {
        return Err(errors::internal());
    };
    let metadata = metadata(form);
    if !metadata.is_empty() {
        let reversal = returned.reference.clone();
        core.keep(returned.line, Record::Stripe(StripeRecord::Described { reversal, metadata }));
    }
    let transfer = core.dialects.stripe.transfer(index);
    let body = transfer.reversals.last().map(|back| render::reversal(transfer, back));
    Ok((returned.line, body.unwrap_or_else(|| json!({}))))
}

/// Tells those who want to know about a transfer.
pub fn notify(core: &mut Core, account: &str, id: &str, kind: &str, key: Option<&str>) {
    if !core.dialects.is_heard(Shape::Stripe) {
        return;
    }
    let now = core.rail_now();
    let number = core.dialects.notices.count();
    let event = format!("evt_{:016x}{number}", core.mixed(core.ledger.next_line()));
    let Some((_, transfer)) = core.dialects.stripe.find(account, id) else { return };
    let body = json!({
        "id": event,
        "object": "event",
        "api_version": "2026-10-28.endive",
        "created": render::unix(now),
        "livemode": false,
        "pending_webhooks": 1,
        "request": {"id": null, "idempotency_key": key},
        "type": kind,
        "data": {"object": render::transfer(transfer)},
    });
    core.dialects.notify(Shape::Stripe, now, event, body.to_string());
}
