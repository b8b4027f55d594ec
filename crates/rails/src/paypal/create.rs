//! The request that pays a batch, and what its answers say.

use payfleet_domain::{DestinationKind, Reference, RefusalCode, StopReason, rail_decimals};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use super::RAIL;
use crate::accounts::PaypalAccount;
use crate::cause::Cause;
use crate::checks::{currency_of, read, reference};
use crate::decimal::decimal_text;
use crate::transport::{Reply, json};
use crate::{Call, Instruction};

/// PayPal, Payouts API, `note`: 1,000 characters if some are not ASCII.
const NOTE_CHARS: usize = 1_000;
/// PayPal, Payouts API, `receiver`: at most 127 characters. A longer one would have the whole batch refused.
const RECEIVER_CHARS: usize = 127;

#[derive(Serialize)]
struct Create<'a> {
    sender_batch_header: Header<'a>,
    items: Vec<Item<'a>>,
}

#[derive(Serialize)]
struct Header<'a> {
    /// Optional in the contract; without one a repeated request pays twice.
    sender_batch_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    email_subject: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    email_message: Option<&'a str>,
}

#[derive(Serialize)]
struct Item<'a> {
    recipient_type: &'static str,
    amount: Amount<'a>,
    receiver: &'a str,
    sender_item_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    recipient_wallet: Option<&'a str>,
}

#[derive(Serialize)]
struct Amount<'a> {
    value: String,
    currency: &'a str,
}

#[derive(Deserialize)]
struct Receipt {
    batch_header: ReceiptHeader,
    /// A receipt and an error at once is neither.
    name: Option<IgnoredAny>,
    error: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct ReceiptHeader {
    payout_batch_id: String,
    batch_status: String,
    sender_batch_header: Option<ReceiptSender>,
}

#[derive(Deserialize)]
struct ReceiptSender {
    sender_batch_id: Option<String>,
}

#[derive(Deserialize)]
struct ErrorBody {
    /// Of the payouts themselves.
    name: Option<String>,
    /// Of the door before them (RFC 6750).
    error: Option<String>,
    #[serde(default)]
    details: Vec<Detail>,
    batch_header: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Detail {
    field: Option<String>,
    /// So it is called here, and not `links`.
    #[serde(default)]
    link: Vec<Link>,
}

#[derive(Deserialize)]
struct Link {
    href: String,
}

/// A batch that exists.
pub(crate) enum Created {
    /// By this request.
    Now(Reference),
    /// By an earlier one under the same id.
    Before(Reference),
}

/// What kind of receiver a destination is, in PayPal's words.
pub(super) fn kind_of(destination: &str) -> Option<(DestinationKind, &'static str)> {
    let kinds = [
        (DestinationKind::Email, "EMAIL"),
        (DestinationKind::PaypalId, "PAYPAL_ID"),
        (DestinationKind::Phone, "PHONE"),
    ];
    kinds.into_iter().find(|(kind, _)| kind.check(destination).is_ok())
}

/// The request, the same for each submission of a batch.
pub(super) fn body(call: &Call<'_>, settings: &PaypalAccount) -> Result<String, Cause> {
    let currency = currency_of(call)?;
    let limits = &settings.limits;
    let decimals = rail_decimals(RAIL, currency);
    let amounts = limits.amounts(RAIL, call)?;
    let receiver = |one: &Instruction| {
        let kind = kind_of(&one.destination).filter(|_| one.destination.chars().count() <= RECEIVER_CHARS);
        kind.ok_or("a receiver that PayPal cannot pay, or longer than 127 characters")
    };
    let receivers = limits.fitting(RAIL, call, receiver)?;
    let items = call.instructions.iter().zip(amounts).zip(receivers).map(|((one, amount), (_, recipient_type))| Item {
        recipient_type,
        amount: Amount { value: decimal_text(amount, decimals), currency: currency.code() },
        receiver: &one.destination,
        sender_item_id: one.key.as_str(),
        note: note(one, settings),
        recipient_wallet: settings.recipient_wallet.as_deref(),
    });
    let header = Header {
        sender_batch_id: call.batch_key.as_str(),
        email_subject: settings.email_subject.as_deref(),
        email_message: settings.email_message.as_deref(),
    };
    serde_json::to_string(&Create { sender_batch_header: header, items: items.collect() })
        .map_err(|_| Cause::Unfit("the request could not be written"))
}

/// The payee's text. Not outside of real payments: notes such as `ERRPYO002` make PayPal's sandbox fail on purpose
/// (PayPal, "Payouts API test values").
fn note(instruction: &Instruction, settings: &PaypalAccount) -> Option<String> {
    let text = instruction.payee.text.as_deref().filter(|text| settings.live && !text.is_empty())?;
    Some(text.chars().take(NOTE_CHARS).collect())
}

/// What the answer to a submission says.
pub(crate) fn created(call: &Call<'_>, reply: &Reply, is_new_token: bool) -> Result<Created, Cause> {
    if reply.status != 201 {
        return match adopted(reply)? {
            Some(id) => Ok(Created::Before(id)),
            None => Err(cause_of(reply, call, is_new_token)),
        };
    }
    let receipt: Receipt = read(&reply.body)?;
    if receipt.name.is_some() || receipt.error.is_some() {
        return Err(Cause::Contradictory("a receipt with an error in it"));
    }
    let ReceiptHeader { payout_batch_id, batch_status, sender_batch_header } = receipt.batch_header;
    let named = sender_batch_header.and_then(|sender| sender.sender_batch_id);
    if named.is_some_and(|named| named != call.batch_key.as_str()) {
        return Err(Cause::Contradictory("a receipt for another batch"));
    }
    match batch_status.as_str() {
        "PENDING" | "PROCESSING" | "SUCCESS" => Ok(Created::Now(batch_id(&payout_batch_id)?)),
        _ => Err(Cause::Contradictory("a receipt for a batch that is not accepted")),
    }
}

/// PayPal's name for a batch; it becomes part of an address.
fn batch_id(text: &str) -> Result<Reference, Cause> {
    match text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')) {
        true => reference(text),
        false => Err(Cause::Contradictory("the answer's name for the batch is none")),
    }
}

/// The batch that an earlier request under the same id has made. PayPal, Payouts API, error `USER_BUSINESS_ERROR` about
/// `SENDER_BATCH_ID`: its id is the last part of the link. The host in it is another one, so nothing else is taken.
fn adopted(reply: &Reply) -> Result<Option<Reference>, Cause> {
    let Some(body) = json::<ErrorBody>(&reply.body).filter(|_| reply.status == 400) else { return Ok(None) };
    let is_about_id = |detail: &&Detail| detail.field.as_deref() == Some("SENDER_BATCH_ID");
    let detail = body.details.iter().find(is_about_id);
    let Some(detail) = detail.filter(|_| body.name.as_deref() == Some("USER_BUSINESS_ERROR")) else { return Ok(None) };
    if body.batch_header.is_some() {
        return Err(Cause::Contradictory("a receipt and an error in one answer"));
    }
    // Without a link (seen in 2015) the batch exists and nobody knows what it is called.
    let unnamed = Cause::Contradictory("a batch under this id exists, and the answer does not name it");
    let href = detail.link.first().map(|link| link.href.as_str()).ok_or(unnamed.clone())?;
    let path = href.split(['?', '#']).next().unwrap_or_default().trim_end_matches('/');
    let (before, id) = path.rsplit_once('/').ok_or(unnamed)?;
    match before.ends_with("/payouts") {
        true => batch_id(id).map(Some),
        false => Err(Cause::Contradictory("a link that is not one of a batch")),
    }
}

/// What an answer other than success proves. PayPal, Payouts API, "Error messages".
pub(super) fn cause_of(reply: &Reply, call: &Call<'_>, is_new_token: bool) -> Cause {
    let status = reply.status;
    if (500..=599).contains(&status) {
        return Cause::ServerError(status);
    }
    let Some(body) = json::<ErrorBody>(&reply.body) else { return Cause::Undocumented(status) };
    if body.batch_header.is_some() {
        return Cause::Contradictory("a receipt and an error in one answer");
    }
    let name = body.name.as_deref().or(body.error.as_deref()).filter(|name| !name.is_empty());
    match (status, name) {
        (400, Some("VALIDATION_ERROR")) => validation(&body.details, call),
        // The payer's: this request has made no batch. Nobody promises that a used id is looked for before money is,
        // so of an earlier request under the id it says nothing.
        (400, Some("NON_HOLDING_CURRENCY")) | (422, Some("INSUFFICIENT_FUNDS")) => Cause::Stopped(StopReason::NoFunds),
        (401, Some(_)) if is_new_token => Cause::Unauthorised,
        (401, Some(_)) => Cause::TokenExpired,
        (403, Some("SENDER_ACCOUNT_UNVERIFIED" | "SENDER_EMAIL_UNCONFIRMED" | "SENDER_RESTRICTED")) => {
            Cause::Stopped(StopReason::Restricted)
        }
        (403, Some("AUTHORIZATION_ERROR" | "NOT_AUTHORIZED" | "REQUIRED_SCOPE_MISSING")) => Cause::Unauthorised,
        (429, Some("RATE_LIMIT_REACHED" | "RATE_LIMIT_VALIDATION_FAILURES")) => Cause::RateLimited,
        // Also a used id whose answer says nothing of it: that batch may have been paid.
        _ => Cause::Undocumented(status),
    }
}

/// Nothing was made, and the id is still free. Items that are named are at fault, the others not: parts of the batch
/// may fare better.
fn validation(details: &[Detail], call: &Call<'_>) -> Cause {
    let at = |field: &str| field.strip_prefix("items[")?.split_once(']')?.0.parse::<usize>().ok();
    let named: Vec<usize> = details.iter().filter_map(|detail| at(detail.field.as_deref()?)).collect();
    if named.iter().any(|at| *at >= call.instructions.len()) {
        return Cause::Contradictory("an error about an item that was not sent");
    }
    let code = if named.is_empty() { "validation_error" } else { "invalid_item" };
    Cause::Refused(RefusalCode::new(code))
}
