//! Funding: the one step that moves money. A refusal comes with HTTP 200, and so does the word that it was paid.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::json;

use super::prepare::{self, bytes};
use super::sca::Approval;
use super::state::{Transfer, WiseRecord};
use super::timeline::{Course, State as Step};
use super::{asked, decimals, errors, notices, render};
use crate::core::Core;
use crate::dialect::book::Booking;
use crate::dialect::money::{iso_decimals, rescaled};
use crate::dialect::{Answer, Kind, Record};
use crate::engine::Engine;
use crate::faults::ItemFate;
use crate::lies::LateRequest;
use crate::movement::{Event, GroupHead};
use crate::shapes::Payload;
use crate::wire::{At, Problem, Shape};

/// What RAILS.md names; the other codes here are made up, and stand for "refused".
const INSUFFICIENT: &str = "transfer.insufficient_funds";

#[derive(Deserialize)]
struct Fund {
    r#type: Option<String>,
}

/// `POST /v3/profiles/{profile}/transfers/{id}/payments`
pub async fn transfer(
    State(engine): State<Arc<Engine>>,
    Path((profile, id)): Path<(String, String)>,
    headers: HeaderMap,
    payload: Result<Payload, Problem>,
) -> Answer {
    fund(engine, headers, profile, format!("transfers/{id}"), payload).await
}

/// `POST /v3/profiles/{profile}/batch-payments/{id}/payments`
pub async fn group(
    State(engine): State<Arc<Engine>>,
    Path((profile, id)): Path<(String, String)>,
    headers: HeaderMap,
    payload: Result<Payload, Problem>,
) -> Answer {
    fund(engine, headers, profile, format!("groups/{id}"), payload).await
}

async fn fund(
    engine: Arc<Engine>,
    headers: HeaderMap,
    profile: String,
    path: String,
    payload: Result<Payload, Problem>,
) -> Answer {
    let body: Arc<str> = match bytes(payload) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into(),
        Err(answer) => return answer,
    };
    let request = LateRequest {
        shape: Shape::Wise,
        account: profile.as_str().into(),
        idempotency_key: None,
        body: Arc::clone(&body),
        receipt: None,
        path: Some(path.as_str().into()),
    };
    let work = {
        let (engine, profile, approval) = (Arc::clone(&engine), profile.clone(), Approval::read(&headers));
        async move { execute_approved(&engine, &profile, &path, &body, approval).await }
    };
    asked(&engine, &headers, &profile, Kind::Paying(request), work).await
}

/// Executes it, now; also if it came long ago.
pub async fn execute(engine: &Arc<Engine>, profile: &str, path: &str, body: &str) -> Answer {
    execute_approved(engine, profile, path, body, Approval::default()).await
}

async fn execute_approved(engine: &Arc<Engine>, profile: &str, path: &str, body: &str, approval: Approval) -> Answer {
    let settle = engine.settings().batch_settle_after;
    let done = engine.execute(|core| Answer::from(run(core, profile, path, body, &approval, settle)));
    done.await.unwrap_or_else(Answer::from)
}

fn run(
    core: &mut Core,
    profile: &str,
    path: &str,
    body: &str,
    approval: &Approval,
    settle: Duration,
) -> Result<Answer, Answer> {
    let fund: Fund = prepare::body(body.as_bytes())?;
    if fund.r#type.as_deref() != Some("BALANCE") {
        return Err(errors::invalid("Only BALANCE can be paid from", "type"));
    }
    let p = core.faults.config().wise.sca;
    let step = match core.faults.config().wise.step_ms {
        0 => settle,
        step => Duration::from_millis(step),
    };
    match path.split_once('/') {
        Some(("groups", id)) => fund_group(core, profile, id, approval, p, step),
        Some((_, id)) => fund_one(core, profile, id, approval, p, step),
        None => Err(errors::no_such_path()),
    }
}

fn fund_one(
    core: &mut Core,
    profile: &str,
    id: &str,
    approval: &Approval,
    p: f64,
    step: Duration,
) -> Result<Answer, Answer> {
    let known = id.parse().ok().and_then(|id| core.dialects.wise.transfer(id));
    let known = known.filter(|transfer| transfer.profile == profile);
    let transfer = known.ok_or_else(|| errors::not_found("Transfer"))?.clone();
    approval.check(core, profile, "wise_sca", p)?;
    let rejected = |code: &str| {
        Ok(Answer::json(StatusCode::OK, &json!({"type": "BALANCE", "status": "REJECTED", "errorCode": code})))
    };
    if transfer.funded.is_some() || transfer.state(core.rail_now()) != Step::IncomingPaymentWaiting {
        // A transfer is one debit and is funded once; the code is made up.
        return rejected("transfer.already_funded");
    }
    let mut fate = core.faults.draw_item(Shape::Wise);
    let p = core.faults.config().wise.reject;
    if fate.refusal.is_none() {
        let has = core.dialects.balances.of(Shape::Wise, profile, &transfer.source);
        if has < transfer.source_amount || core.faults.strikes_dialect(Shape::Wise, "wise_reject", p) {
            fate.refusal = Some(INSUFFICIENT.into());
        }
    }
    if let Some(code) = fate.refusal.clone() {
        let (names, now) = (Names::of(&transfer), core.rail_now());
        core.book(booking(&transfer, &names, Event::Refused, Some(&code), None, now), &fate);
        return rejected(&code);
    }
    pay(core, &transfer, fate, step, None);
    Ok(Answer::json(StatusCode::OK, &json!({"type": "BALANCE", "status": "COMPLETED", "errorCode": null})))
}

fn fund_group(
    core: &mut Core,
    profile: &str,
    id: &str,
    approval: &Approval,
    p: f64,
    step: Duration,
) -> Result<Answer, Answer> {
    let known = core.dialects.wise.group(id).filter(|group| group.profile == profile);
    let mut group = known.ok_or_else(|| errors::not_found("Batch group"))?.clone();
    if group.status != "COMPLETED" {
        return Err(errors::invalid("Batch group is not completed", "status"));
    }
    approval.check(core, profile, "wise_sca", p)?;
    let now = core.rail_now();
    let all = group.transfers.iter().filter_map(|id| core.dialects.wise.transfer(*id));
    let waiting = all.filter(|transfer| transfer.state(now) == Step::IncomingPaymentWaiting);
    let waiting: Vec<Transfer> = waiting.cloned().collect();
    // A group is funded once: a second time nothing is left that waits.
    if !group.is_paid {
        let sum: i128 = waiting.iter().map(|transfer| i128::from(transfer.source_amount)).sum();
        let p = core.faults.config().wise.reject;
        let is_rejected = core.faults.strikes_dialect(Shape::Wise, "wise_reject", p);
        if is_rejected || sum > i128::from(core.dialects.balances.of(Shape::Wise, profile, &group.source)) {
            return Err(errors::listed(StatusCode::UNPROCESSABLE_ENTITY, INSUFFICIENT, "Not enough money", ""));
        }
        let fates: Vec<_> = waiting.iter().map(|_| core.faults.draw_item(Shape::Wise)).collect();
        let twice = fates.iter().filter(|fate| fate.duplicate).count();
        let lines = u32::try_from(waiting.len() + twice).unwrap_or(u32::MAX);
        let mut head = Some(GroupHead { id: Cow::Owned(group.id.clone()), lines, settles: None });
        for (transfer, fate) in waiting.iter().zip(fates) {
            // Within a group nothing is refused.
            pay(core, transfer, ItemFate { refusal: None, ..fate }, step, head.take());
        }
        group.is_paid = true;
        core.keep(0, Record::Wise(WiseRecord::Group(group.clone())));
    }
    let body = render::object(&[
        ("id", render::raw(&group.id)),
        ("name", render::raw(&group.name)),
        ("fileName", render::raw(())),
        ("alreadyPaid", render::raw(true)),
        ("shortId", render::raw(12345)),
        ("userId", render::raw(4_342_275)),
        ("profileId", render::raw(profile.parse::<u64>().ok())),
        ("sourceCurrency", render::raw(&group.source)),
        ("status", render::raw(&group.status)),
        ("groupType", render::raw("API")),
        ("transferIds", render::raw(&group.transfers)),
    ]);
    Ok(Answer::json(StatusCode::OK, &body))
}

/// Debits a transfer, and lets it run its course.
fn pay(core: &mut Core, transfer: &Transfer, mut fate: ItemFate, step: Duration, head: Option<GroupHead<'_>>) {
    let faults = core.faults.config().wise.clone();
    let after = Duration::from_millis(core.faults.config().return_after_ms);
    let mut strikes = |name, p| core.faults.strikes_dialect(Shape::Wise, name, p);
    let course = if strikes("wise_cancel", faults.cancel) {
        Course::Cancel
    } else if strikes("wise_bounce", faults.bounce) || fate.returns_after.is_some() {
        Course::Bounce
    } else if strikes("wise_roll_back", faults.roll_back) {
        Course::RollBack
    } else if strikes("wise_stuck", faults.stuck) {
        Course::Stuck
    } else {
        Course::Good
    };
    let last = step * u32::try_from(course.states().len()).unwrap_or(0);
    match course {
        Course::Bounce => {
            fate.bounce = Some("bounced_back".into());
            fate.returns_after = Some(last + after);
        }
        Course::Cancel => {
            fate.bounce = Some("cancelled".into());
            fate.returns_after = Some(last + after);
        }
        Course::Good | Course::RollBack | Course::Stuck => {}
    }
    let now = core.ledger.at(Shape::Wise, core.rail_now());
    let line = core.ledger.next_line();
    let names = Names::of(transfer);
    core.book(booking(transfer, &names, Event::Paid, None, head, now), &fate);
    let steps = course.steps(now, step);
    let refunds_fee = faults.refund_with_fee;
    core.keep(line, Record::Wise(WiseRecord::Funded { id: transfer.id, steps, refunds_fee }));
    if fate.duplicate {
        core.book_again(line, booking(transfer, &names, Event::Paid, None, None, now));
    }
    if core.faults.strikes_dialect(Shape::Wise, "wise_paid_in", faults.paid_in) {
        core.deposit(&transfer.profile, &transfer.source, transfer.source_value(), &transfer.reference, now);
    }
    notices::announce(core, transfer.id, now);
}

/// Numbers as the journal writes them.
struct Names {
    id: String,
    destination: String,
}

impl Names {
    fn of(transfer: &Transfer) -> Self {
        Self { id: transfer.id.to_string(), destination: transfer.target_account.to_string() }
    }
}

fn booking<'a>(
    transfer: &'a Transfer,
    names: &'a Names,
    event: Event,
    code: Option<&'a str>,
    group: Option<GroupHead<'a>>,
    at: At,
) -> Booking<'a> {
    let minor = rescaled(transfer.target_amount, decimals(&transfer.target), iso_decimals(&transfer.target));
    Booking {
        shape: Shape::Wise,
        account: &transfer.profile,
        key: &transfer.uuid,
        id: &names.id,
        // Always even: ISO 4217 never gives a currency fewer decimals than Wise writes.
        amount_minor: minor.unwrap_or(transfer.target_amount),
        fee_minor: 0,
        currency: &transfer.target,
        destination: &names.destination,
        event,
        code,
        batch: transfer.group.as_deref(),
        idempotency_key: None,
        group,
        at,
    }
}
