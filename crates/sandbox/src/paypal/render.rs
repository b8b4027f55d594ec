//! Batches and items as PayPal writes them, at an instant.

use serde_json::{Value, json};

use super::state::{Batch, Item, Paypal};
use super::{decimals, errors};
use crate::dialect::money::print_decimal;
use crate::wire::At;

/// Where PayPal's links lead to: not here, so that nobody may follow them.
const HOST: &str = "https://api-m.sandbox.paypal.com";

/// An amount.
pub fn money(amount: i64, currency: &str) -> Value {
    json!({"currency": currency, "value": print_decimal(amount, decimals(currency))})
}

/// A link to somewhere.
pub fn link(path: &str, rel: &str) -> Value {
    json!({"href": format!("{HOST}{path}"), "rel": rel, "method": "GET", "encType": "application/json"})
}

/// What the sender said of the batch.
fn sender_header(batch: &Batch) -> Value {
    let mut header = json!({});
    let fields = [
        ("sender_batch_id", &batch.sender_batch_id),
        ("recipient_type", &batch.recipient_type),
        ("email_subject", &batch.email_subject),
        ("email_message", &batch.email_message),
    ];
    for (name, value) in fields {
        if let Some(value) = value {
            header[name] = value.as_str().into();
        }
    }
    header
}

/// The answer to a batch that was accepted: nothing is said about money yet.
pub fn accepted(batch: &Batch, has_id: bool) -> Value {
    let mut header = json!({"sender_batch_header": sender_header(batch), "batch_status": "PENDING"});
    if has_id {
        header["payout_batch_id"] = batch.id.as_str().into();
    }
    let links = if has_id { vec![self_link(batch)] } else { Vec::new() };
    json!({"batch_header": header, "links": links})
}

fn self_link(batch: &Batch) -> Value {
    link(&format!("/v1/payments/payouts/{}", batch.id), "self")
}

/// `batch_header` of a batch that is asked for; its fee is 0 until it is processed [P6].
pub fn header(paypal: &Paypal, batch: &Batch, now: At) -> Value {
    let status = batch.status(now);
    let items = paypal.items(batch);
    let total: i64 = items.iter().map(|item| item.amount).sum();
    let is_charged = matches!(status, "PROCESSING" | "SUCCESS");
    let fees: i64 = if is_charged { items.iter().map(|item| item.fee).sum() } else { 0 };
    let mut header = json!({
        "payout_batch_id": batch.id,
        "batch_status": status,
        "time_created": batch.created.seconds(),
        "sender_batch_header": sender_header(batch),
        "funding_source": "BALANCE",
        "amount": money(total, &batch.currency),
        "fees": money(fees, &batch.currency),
    });
    if status == "SUCCESS" {
        header["time_completed"] = batch.settles.seconds().into();
    }
    header
}

/// An item, in a batch or alone.
pub fn item(item: &Item, batch: &Batch, now: At, is_alone: bool) -> Value {
    let (status, reason) = item.status(batch, now);
    let mut asked = json!({
        "recipient_type": item.recipient_type,
        "amount": money(item.amount, &batch.currency),
        "receiver": item.receiver,
    });
    let fields = [("sender_item_id", &item.sender_item_id), ("recipient_wallet", &item.wallet), ("note", &item.note)];
    for (name, value) in fields {
        if let Some(value) = value {
            asked[name] = value.as_str().into();
        }
    }
    let mut body = json!({
        "payout_item_id": item.id,
        "activity_id": item.id.replacen("PI", "AC", 1),
        "payout_item_fee": money(item.fee, &batch.currency),
        "payout_batch_id": batch.id,
        "payout_item": asked,
        "links": [link(&format!("/v1/payments/payouts-item/{}", item.id), "item")],
    });
    if let Some(status) = status {
        body["transaction_status"] = status.into();
        let back = item.back.iter().rfind(|back| back.at <= now && back.status == status);
        body["time_processed"] = back.map_or(batch.settles, |back| back.at).seconds().into();
        if !matches!(status, "PENDING" | "FAILED") {
            body["transaction_id"] = item.transaction.as_str().into();
        }
    }
    if let Some(reason) = reason {
        body["errors"] = errors::item(reason);
    }
    if is_alone && let Some(id) = &batch.sender_batch_id {
        body["sender_batch_id"] = id.as_str().into();
    }
    body
}

/// A batch with these of its items.
pub fn batch(header: Value, batch: &Batch, items: Vec<Value>) -> Value {
    json!({"batch_header": header, "items": items, "links": [self_link(batch)]})
}
