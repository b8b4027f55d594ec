//! `POST /v1/payments/payouts`: a batch is taken whole or not at all [P1]. What becomes of each item is decided and
//! journaled as it is taken, dated to when it is processed; until then those who ask hear that it is pending.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use serde::Deserialize;

use super::state::{Batch, Fate, Item, PaypalRecord, THIRTY_DAYS};
use super::{asked, decimals, errors, fee, is_paid_in, notices, render};
use crate::core::Core;
use crate::dialect::book::{Booking, capitals};
use crate::dialect::money::{iso_decimals, parse_decimal, rescaled};
use crate::dialect::{Answer, Kind, Record, text};
use crate::engine::Engine;
use crate::faults::ItemFate;
use crate::lies::LateRequest;
use crate::movement::{Event, GroupHead};
use crate::shapes::Payload;
use crate::wire::{At, Problem, Shape};

/// Items in a batch [P1].
const MOST_ITEMS: usize = 15_000;

#[derive(Deserialize)]
struct Request {
    sender_batch_header: Option<Header>,
    items: Option<Vec<Asked>>,
}

#[derive(Deserialize)]
struct Header {
    sender_batch_id: Option<String>,
    recipient_type: Option<String>,
    email_subject: Option<String>,
    email_message: Option<String>,
}

#[derive(Deserialize)]
struct Asked {
    recipient_type: Option<String>,
    amount: Option<Amount>,
    receiver: Option<String>,
    sender_item_id: Option<String>,
    note: Option<String>,
    recipient_wallet: Option<String>,
}

#[derive(Deserialize)]
struct Amount {
    currency: Option<String>,
    value: Option<String>,
}

/// `POST /v1/payments/payouts`
pub async fn create(
    State(engine): State<Arc<Engine>>,
    headers: HeaderMap,
    payload: Result<Payload, Problem>,
) -> Answer {
    if !text(&headers, "content-type").is_some_and(|kind| kind.starts_with("application/json")) {
        return errors::media_type();
    }
    let body: Arc<str> = match payload {
        Ok(Payload(body)) => String::from_utf8_lossy(&body).into(),
        Err(problem) => return problem.into(),
    };
    let request = |account: &str| LateRequest {
        shape: Shape::Paypal,
        account: account.into(),
        idempotency_key: None,
        body: Arc::clone(&body),
        receipt: None,
        path: None,
    };
    let (inner, sent) = (Arc::clone(&engine), Arc::clone(&body));
    asked(
        &engine,
        &headers,
        |account| Kind::Paying(request(account)),
        |account| async move { execute(&inner, &account, &sent).await },
    )
    .await
}

/// Executes it, now; also if it came long ago.
pub async fn execute(engine: &Arc<Engine>, account: &str, body: &str) -> Answer {
    let request: Request = match serde_json::from_str(body) {
        Ok(request) => request,
        // Its name is unverified.
        Err(error) => return errors::validation(&[errors::detail("body", &error.to_string())]),
    };
    let settle = engine.settings().batch_settle_after;
    let done = engine.execute(|core| Answer::from(run(core, account, &request, settle)));
    done.await.unwrap_or_else(Answer::from)
}

fn run(core: &mut Core, account: &str, request: &Request, settle: Duration) -> Result<Answer, Answer> {
    let faults = core.faults.config().paypal.clone();
    if let Some(name) = &faults.forbidden {
        return Err(errors::named(StatusCode::FORBIDDEN, name, "Authorization error occurred."));
    }
    let now = core.rail_now();
    if faults.funds_first {
        let (currency, wanted) = check(request)?;
        funds(core, account, &currency, &wanted)?;
    }
    let sender_batch_id = request.sender_batch_header.as_ref().and_then(|header| header.sender_batch_id.as_deref());
    // The rail looks at the id alone, whatever the body [P1].
    if let Some(id) = sender_batch_id
        && let Some(used) = core.dialects.paypal.used(account, id, now)
    {
        let batch_id = used.id.clone();
        let p = faults.duplicate_without_link;
        let has_link = !core.faults.strikes_dialect(Shape::Paypal, "paypal_duplicate_without_link", p);
        return Err(errors::duplicate(has_link.then_some(&batch_id)));
    }
    let (currency, wanted) = check(request)?;
    if faults.not_held.contains(&currency) {
        let message = "As your PayPal balance is not held in this currency, you'll not be able to send Payouts.";
        return Err(errors::named(StatusCode::BAD_REQUEST, "NON_HOLDING_CURRENCY", message));
    }
    funds(core, account, &currency, &wanted)?;
    let batch = accept(core, account, request, currency, wanted, now, now.after(settle));
    let has_id = !core.faults.strikes_dialect(Shape::Paypal, "paypal_created_without_id", faults.created_without_id);
    Ok(Answer::json(StatusCode::CREATED, &render::accepted(&batch, has_id)))
}

/// Whether there is money for all of it, with its fees.
fn funds(core: &Core, account: &str, currency: &str, wanted: &[Wanted<'_>]) -> Result<(), Answer> {
    let needed = wanted.iter().map(|wanted| i128::from(wanted.amount) + i128::from(wanted.fee)).sum::<i128>();
    if needed > i128::from(core.dialects.balances.of(Shape::Paypal, account, currency)) {
        let message = "Sender does not have sufficient funds. Please add funds and retry.";
        return Err(errors::named(StatusCode::UNPROCESSABLE_ENTITY, "INSUFFICIENT_FUNDS", message));
    }
    Ok(())
}

/// An item that can be paid.
struct Wanted<'r> {
    asked: &'r Asked,
    recipient_type: &'r str,
    receiver: &'r str,
    amount: i64,
    /// As ISO 4217 counts.
    minor: i64,
    fee: i64,
}

fn check(request: &Request) -> Result<(String, Vec<Wanted<'_>>), Answer> {
    let required = |field: &str| errors::validation(&[errors::detail(field, "Required field missing")]);
    let header = request.sender_batch_header.as_ref().ok_or_else(|| required("sender_batch_header"))?;
    let items = request.items.as_deref().ok_or_else(|| required("items"))?;
    if items.is_empty() || items.len() > MOST_ITEMS {
        return Err(errors::validation(&[errors::detail("items", "Number of items must be 1 to 15000")]));
    }
    for (field, value, most) in [
        ("sender_batch_id", &header.sender_batch_id, 256),
        ("email_subject", &header.email_subject, 255),
        ("email_message", &header.email_message, 1000),
    ] {
        if value.as_ref().is_some_and(|value| value.chars().count() > most) {
            let field = format!("sender_batch_header.{field}");
            return Err(errors::validation(&[errors::detail(field, "Value is too long")]));
        }
    }
    let currencies: HashSet<_> = items.iter().filter_map(|item| item.amount.as_ref()?.currency.as_deref()).collect();
    if currencies.len() > 1 {
        let issue = "Multiple currencies within a batch is not allowed";
        return Err(errors::validation(&[errors::detail("items", issue)]));
    }
    let currency = currencies.into_iter().next().unwrap_or_default().to_owned();
    let default_type = header.recipient_type.as_deref();
    let (mut wanted, mut details) = (Vec::with_capacity(items.len()), Vec::new());
    for (at, asked) in items.iter().enumerate() {
        match check_item(asked, default_type, &currency) {
            Ok(item) => wanted.push(item),
            Err((field, issue)) => details.push(errors::detail(format!("items[{at}].{field}"), issue)),
        }
    }
    if details.is_empty() { Ok((currency, wanted)) } else { Err(errors::validation(&details)) }
}

fn check_item<'r>(
    asked: &'r Asked,
    default_type: Option<&'r str>,
    currency: &str,
) -> Result<Wanted<'r>, (&'static str, &'static str)> {
    let money = asked.amount.as_ref().ok_or(("amount", "Required field missing"))?;
    money.currency.as_ref().ok_or(("amount.currency", "Required field missing"))?;
    if !is_paid_in(currency) {
        return Err(("amount.currency", "Currency is not supported"));
    }
    let value = money.value.as_deref().ok_or(("amount.value", "Required field missing"))?;
    let amount = parse_decimal(value, decimals(currency)).filter(|amount| *amount > 0);
    let amount = amount.ok_or(("amount.value", "Amount is invalid"))?;
    let minor = rescaled(amount, decimals(currency), iso_decimals(currency));
    let minor = minor.ok_or(("amount.value", "Amount is invalid"))?;
    let recipient_type = asked.recipient_type.as_deref().or(default_type);
    let recipient_type = recipient_type.ok_or(("recipient_type", "Required field missing"))?;
    let receiver = asked.receiver.as_deref().ok_or(("receiver", "Required field missing"))?;
    if !is_receiver(recipient_type, receiver) {
        return Err(("receiver", "Receiver is invalid or does not match with type"));
    }
    let is_long = |text: &Option<String>, most| text.as_ref().is_some_and(|text| text.chars().count() > most);
    if is_long(&asked.sender_item_id, 63) {
        return Err(("sender_item_id", "Value is too long"));
    }
    if is_long(&asked.note, 4000) {
        return Err(("note", "Value is too long"));
    }
    Ok(Wanted { asked, recipient_type, receiver, amount, minor, fee: fee(amount, currency) })
}

fn is_receiver(kind: &str, receiver: &str) -> bool {
    let is_plain = receiver.len() <= 127 && !receiver.chars().any(|c| c.is_control() || c.is_whitespace());
    let digits = receiver.bytes().filter(u8::is_ascii_digit).count();
    is_plain
        && match kind {
            "EMAIL" => receiver
                .split_once('@')
                .is_some_and(|(who, host)| !who.is_empty() && host.contains('.') && !host.contains('@')),
            "PHONE" => digits >= 5 && receiver.bytes().all(|byte| byte.is_ascii_digit() || b"+-.()".contains(&byte)),
            "PAYPAL_ID" => {
                receiver.len() == 13 && receiver.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
            }
            "USER_HANDLE" => !receiver.is_empty(),
            _ => false,
        }
}

fn accept(
    core: &mut Core,
    account: &str,
    request: &Request,
    currency: String,
    wanted: Vec<Wanted<'_>>,
    now: At,
    settles: At,
) -> Batch {
    let header = request.sender_batch_header.as_ref();
    let said = |field: fn(&Header) -> &Option<String>| header.and_then(|header| field(header).clone());
    // Within the dialect instants grow with the lines.
    let settles = core.ledger.at(Shape::Paypal, settles);
    let mut fates: Vec<_> = wanted.iter().map(|wanted| draw(core, wanted, settles)).collect();
    let p = core.faults.config().paypal.denied;
    if core.faults.strikes_dialect(Shape::Paypal, "paypal_denied", p) {
        for (fate, drawn) in &mut fates {
            if !matches!(fate, Fate::Failed(_)) {
                *fate = Fate::Failed("USER_FUNDING_SOURCE_INELIGIBLE".to_owned());
            }
            *drawn = ItemFate::default();
        }
    }
    let takes_blocked = core.faults.config().paypal.blocked_takes_money;
    let mut batch = Batch {
        id: capitals(core.mixed(!core.ledger.next_line())),
        account: account.to_owned(),
        sender_batch_id: said(|header| &header.sender_batch_id),
        recipient_type: said(|header| &header.recipient_type),
        email_subject: said(|header| &header.email_subject),
        email_message: said(|header| &header.email_message),
        currency,
        created: now,
        settles,
        denied: fates.iter().all(|(fate, _)| matches!(fate, Fate::Failed(_))),
        items: 0..0,
    };
    let twice = fates.iter().filter(|(_, drawn)| drawn.duplicate).count();
    let lines = u32::try_from(wanted.len() + twice).unwrap_or(u32::MAX);
    let mut head = Some(GroupHead { id: Cow::Owned(batch.id.clone()), lines, settles: None });
    let mut items = Vec::with_capacity(wanted.len());
    for (wanted, (fate, drawn)) in wanted.iter().zip(&fates) {
        let line = core.ledger.next_line();
        let is_paid = is_paid(fate, takes_blocked);
        let item = Item {
            id: format!("PI{}", capitals(core.mixed(line))),
            transaction: core.payment_name(Shape::Paypal, line),
            sender_item_id: wanted.asked.sender_item_id.clone(),
            receiver: wanted.receiver.to_owned(),
            recipient_type: wanted.recipient_type.to_owned(),
            wallet: wanted.asked.recipient_wallet.clone(),
            note: wanted.asked.note.clone(),
            amount: wanted.amount,
            fee: wanted.fee,
            fate: fate.clone(),
            is_paid,
            journal: line,
            batch: 0,
            back: Vec::new(),
        };
        let booking = booking(&batch, &item, wanted.minor, head.take());
        core.book(booking, drawn);
        items.push(item);
    }
    let first = items.first().map_or(0, |item| item.journal);
    let again: Vec<_> = (0..items.len()).filter(|at| fates[*at].1.duplicate).map(|at| items[at].clone()).collect();
    let minors: Vec<_> = (0..items.len()).filter(|at| fates[*at].1.duplicate).map(|at| wanted[at].minor).collect();
    let record = PaypalRecord::Batch { batch: batch.clone(), items };
    core.keep(first, Record::Paypal(record));
    for (item, minor) in again.iter().zip(minors) {
        core.book_again(item.journal, booking(&batch, item, minor, None));
    }
    if let Some(known) = core.dialects.paypal.batch(account, &batch.id) {
        batch = known.clone();
    }
    notices::announce(core, &batch);
    batch
}

fn booking<'a>(batch: &'a Batch, item: &'a Item, minor: i64, group: Option<GroupHead<'a>>) -> Booking<'a> {
    let fate = match &item.fate {
        Fate::OnHold(_, becomes) => becomes,
        fate => fate,
    };
    let code = match fate {
        Fate::Failed(name) => Some(name.as_str()),
        Fate::Blocked => Some("REGULATORY_BLOCKED"),
        Fate::Unclaimed => Some("UNCLAIMED"),
        Fate::Success | Fate::OnHold(..) => None,
    };
    Booking {
        shape: Shape::Paypal,
        account: &batch.account,
        key: item.sender_item_id.as_deref().unwrap_or(&item.id),
        id: &item.transaction,
        amount_minor: minor,
        fee_minor: 0,
        currency: &batch.currency,
        destination: &item.receiver,
        event: if item.is_paid { Event::Paid } else { Event::Refused },
        code,
        batch: batch.sender_batch_id.as_deref(),
        idempotency_key: None,
        group,
        at: batch.settles,
    }
}

fn is_paid(fate: &Fate, takes_blocked: bool) -> bool {
    match fate {
        Fate::Success | Fate::Unclaimed => true,
        Fate::OnHold(_, becomes) => is_paid(becomes, takes_blocked),
        Fate::Blocked => takes_blocked,
        Fate::Failed(_) => false,
    }
}

/// What becomes of an item: as the script says, else as faults are drawn.
fn draw(core: &mut Core, wanted: &Wanted<'_>, settles: At) -> (Fate, ItemFate) {
    let mut drawn = core.faults.draw_item(Shape::Paypal);
    let faults = core.faults.config().paypal.clone();
    let review = Duration::from_millis(if faults.onhold_ms == 0 { 3_600_000 } else { faults.onhold_ms });
    let script = &faults.script;
    let key = wanted.asked.sender_item_id.as_deref().unwrap_or_default();
    let state = match script.get(key).or_else(|| script.get(wanted.receiver)) {
        Some(state) => state.clone(),
        None => match drawn.refusal.take() {
            Some(code) => code.to_string(),
            None => {
                let mut strikes = |name, p| core.faults.strikes_dialect(Shape::Paypal, name, p);
                if strikes("paypal_unclaimed", faults.unclaimed) {
                    "UNCLAIMED".to_owned()
                } else if strikes("paypal_onhold", faults.onhold) {
                    "ONHOLD".to_owned()
                } else if strikes("paypal_blocked", faults.blocked) {
                    "BLOCKED".to_owned()
                } else {
                    "SUCCESS".to_owned()
                }
            }
        },
    };
    let fate = match state.as_str() {
        "SUCCESS" => Fate::Success,
        "UNCLAIMED" | crate::faults::UNCLAIMED => Fate::Unclaimed,
        "BLOCKED" => Fate::Blocked,
        "ONHOLD" => {
            let becomes = match faults.onhold_becomes.as_deref() {
                Some("FAILED") => Fate::Failed("RISK_DECLINE".to_owned()),
                Some("BLOCKED") => Fate::Blocked,
                _ => Fate::Success,
            };
            Fate::OnHold(settles.after(review), Box::new(becomes))
        }
        name => Fate::Failed(name.to_owned()),
    };
    match fate {
        Fate::Success => {}
        // What nobody claims comes back by itself.
        Fate::Unclaimed => {
            drawn = ItemFate { bounce: Some("RETURNED".into()), returns_after: Some(THIRTY_DAYS), ..drawn };
        }
        Fate::OnHold(..) | Fate::Blocked | Fate::Failed(_) => drawn = ItemFate::default(),
    }
    (fate, drawn)
}
