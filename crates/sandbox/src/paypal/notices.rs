//! What PayPal says unasked [P4, P5], the certificate it is signed under, and whether a signature is its own.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::state::{Batch, Fate};
use super::{ask, errors, render};
use crate::core::Core;
use crate::dialect::book::capitals;
use crate::dialect::{Answer, Kind, sign};
use crate::engine::Engine;
use crate::movement::Movement;
use crate::shapes::Payload;
use crate::wire::{At, Problem, Shape};

/// Has everything told that will become of a batch by itself.
pub fn announce(core: &mut Core, batch: &Batch) {
    if !core.dialects.is_heard(Shape::Paypal) {
        return;
    }
    let last = if batch.denied { "DENIED" } else { "SUCCESS" };
    for (at, name) in [(batch.begins(), "PROCESSING"), (batch.settles, last)] {
        let header = render::header(&core.dialects.paypal, batch, at);
        let event = format!("PAYMENT.PAYOUTSBATCH.{name}");
        tell(core, at, "payouts", &event, &json!({"batch_header": header, "links": []}));
    }
    let items: Vec<_> = core.dialects.paypal.items(batch).to_vec();
    for item in &items {
        let review = match &item.fate {
            Fate::OnHold(until, _) => Some(*until),
            _ => None,
        };
        for at in [Some(batch.settles), review].into_iter().flatten() {
            if let Some(event) = item.status(batch, at).0.and_then(event_of) {
                tell(core, at, "payouts_item", event, &render::item(item, batch, at, true));
            }
        }
    }
}

/// Has it told that money came back.
pub fn told_return(core: &mut Core, movement: &Movement<'_>) {
    let Some(line) = movement.of.filter(|_| core.dialects.is_heard(Shape::Paypal)) else { return };
    let Some((item, batch)) = core.dialects.paypal.item_of(line) else { return };
    let Some(event) = item.status(batch, movement.at).0.and_then(event_of) else { return };
    let body = render::item(item, batch, movement.at, true);
    tell(core, movement.at, "payouts_item", event, &body);
}

/// The names of events are not those of states [P4].
fn event_of(status: &str) -> Option<&'static str> {
    Some(match status {
        "SUCCESS" => "PAYMENT.PAYOUTS-ITEM.SUCCEEDED",
        "UNCLAIMED" => "PAYMENT.PAYOUTS-ITEM.UNCLAIMED",
        "RETURNED" => "PAYMENT.PAYOUTS-ITEM.RETURNED",
        "FAILED" => "PAYMENT.PAYOUTS-ITEM.FAILED",
        "BLOCKED" => "PAYMENT.PAYOUTS-ITEM.BLOCKED",
        "ONHOLD" => "PAYMENT.PAYOUTS-ITEM.HELD",
        "REFUNDED" => "PAYMENT.PAYOUTS-ITEM.REFUNDED",
        _ => return None,
    })
}

fn tell(core: &mut Core, at: At, kind: &str, event: &str, resource: &Value) {
    let number = core.dialects.notices.count() + 1;
    let id = format!("WH-{}-{}", capitals(core.mixed(number << 32)), capitals(core.mixed(number)));
    let body = json!({
        "id": id,
        "event_version": "1.0",
        "create_time": at.to_string(),
        "resource_type": kind,
        "event_type": event,
        "summary": "A payout changed",
        "resource": resource,
        "links": [],
    });
    core.dialects.notify(Shape::Paypal, at, id, body.to_string());
}

/// `GET /v1/notifications/certs/{id}`: the certificate, and who issued it.
pub async fn certificate(Path(_): Path<String>) -> Response {
    let chain = format!("{}{}", sign::PAYPAL_CERTIFICATE, sign::PAYPAL_AUTHORITY);
    ([(header::CONTENT_TYPE, "application/x-pem-file")], chain).into_response()
}

#[derive(Deserialize)]
struct Verify<'b> {
    auth_algo: String,
    transmission_id: String,
    transmission_sig: String,
    transmission_time: String,
    webhook_id: String,
    /// As it was sent: printed anew it is another one.
    #[serde(borrow)]
    webhook_event: &'b RawValue,
}

/// `POST /v1/notifications/verify-webhook-signature`
pub async fn verify(
    State(engine): State<Arc<Engine>>,
    headers: HeaderMap,
    payload: Result<Payload, Problem>,
) -> Answer {
    let body = match payload {
        Ok(Payload(body)) => body,
        Err(problem) => return problem.into(),
    };
    ask(engine, headers, Kind::Asking, move |core, _| {
        let wrong = |error: serde_json::Error| errors::validation(&[errors::detail("body", &error.to_string())]);
        let asked: Verify<'_> = serde_json::from_slice(&body).map_err(wrong)?;
        let event = asked.webhook_event.get().as_bytes();
        let text = sign::paypal_text(&asked.transmission_id, &asked.transmission_time, &asked.webhook_id, event);
        let is_ours = core.dialects.hooks.get(&Shape::Paypal).is_some_and(|hook| hook.webhook_id == asked.webhook_id);
        let is_signed = asked.auth_algo == "SHA256withRSA" && sign::is_paypals(&text, &asked.transmission_sig);
        let status = if is_ours && is_signed { "SUCCESS" } else { "FAILURE" };
        Ok(Answer::json(StatusCode::OK, &json!({"verification_status": status})))
    })
    .await
}
