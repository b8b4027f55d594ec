//! Payouts, the bank leg: from a connected account to its bank, by the header `Stripe-Account`. `paid` is not final
//! [S1].
//!
//! The journal knows nothing of them: the payer's money went with the transfer, and what fails here goes back to the
//! connected account. There every account has enough, unless POST /faults/balance says otherwise.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::create::{self, Outcome, amount, metadata, unknown};
use super::lists::{Page, ask, list as page_of};
use super::state::StripeRecord;
use super::{errors, render};
use crate::core::Core;
use crate::dialect::money::is_currency;
use crate::dialect::{Answer, Kind, Record, part, text};
use crate::engine::Engine;
use crate::shapes::Payload;
use crate::wire::{At, Problem, Shape};

/// A payout.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Payout {
    /// `po_...`
    pub id: String,
    /// Whose key it was asked with.
    pub platform: String,
    /// From whose balance.
    pub account: String,
    /// As Stripe counts.
    pub amount: i64,
    /// In capitals.
    pub currency: String,
    /// standard, instant
    pub method: String,
    /// As it was asked for.
    pub statement_descriptor: Option<String>,
    /// As it was asked for.
    pub metadata: BTreeMap<String, String>,
    /// When.
    pub created: At,
    /// When it leaves, arrives, and fails, if it does.
    pub steps: [Option<At>; 3],
    /// Why it fails.
    pub failure_code: Option<String>,
    /// When it was cancelled.
    pub canceled: Option<At>,
}

impl Payout {
    fn status(&self, now: At) -> &'static str {
        let is_over = |at: Option<At>| at.is_some_and(|at| at <= now);
        let [leaves, arrives, fails] = self.steps;
        match () {
            () if is_over(self.canceled) => "canceled",
            () if is_over(fails) => "failed",
            () if is_over(arrives) => "paid",
            () if is_over(leaves) => "in_transit",
            () => "pending",
        }
    }

    /// As Stripe writes it.
    fn render(&self, now: At) -> Value {
        let status = self.status(now);
        let is_failed = status == "failed";
        let rest = self.id.trim_start_matches("po_");
        json!({
            "id": self.id,
            "object": "payout",
            "amount": self.amount,
            "application_fee": null,
            "application_fee_amount": null,
            "arrival_date": render::unix(self.steps[1].unwrap_or(self.created)),
            "automatic": false,
            "balance_transaction": format!("txn_p{rest}"),
            "created": render::unix(self.created),
            "currency": self.currency.to_ascii_lowercase(),
            "description": null,
            "destination": format!("ba_{rest}"),
            "failure_balance_transaction": is_failed.then(|| format!("txn_f{rest}")),
            "failure_code": self.failure_code.as_deref().filter(|_| is_failed),
            "failure_message": is_failed.then_some("The payout failed."),
            "livemode": false,
            "metadata": self.metadata,
            "method": self.method,
            "original_payout": null,
            "payout_method": null,
            "reconciliation_status": "not_applicable",
            "reversed_by": null,
            "source_type": "card",
            "statement_descriptor": self.statement_descriptor,
            "status": status,
            "trace_id": {"status": "pending", "value": null},
            "type": "bank_account",
        })
    }
}

/// The account that is acted for; the platform itself where none is named.
fn acted_for(headers: &HeaderMap) -> String {
    text(headers, "stripe-account").unwrap_or_default().to_owned()
}

/// `POST /v1/payouts`
pub async fn create(
    State(engine): State<Arc<Engine>>,
    headers: HeaderMap,
    payload: Result<Payload, Problem>,
) -> Answer {
    // Part of what a key stands for.
    let path = format!("/v1/payouts#{}", acted_for(&headers));
    create::post(&engine, &headers, path, payload).await
}

/// `POST /v1/payouts/{id}/cancel`
pub async fn cancel(
    State(engine): State<Arc<Engine>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    payload: Result<Payload, Problem>,
) -> Answer {
    let path = format!("/v1/payouts/{id}/cancel#{}", acted_for(&headers));
    create::post(&engine, &headers, path, payload).await
}

/// Executes what a path below `/v1/payouts` asks for.
pub fn run(core: &mut Core, platform: &str, path: &str, form: &[(String, String)], step: Duration) -> Outcome {
    let (path, account) = path.split_once('#').unwrap_or((path, ""));
    let id = path.strip_prefix('/').and_then(|rest| rest.strip_suffix("/cancel"));
    let done = match id {
        Some(id) => canceled(core, platform, account, id),
        None => made(core, platform, account, form, step),
    };
    match done {
        Ok(payout) => {
            let body = payout.render(core.rail_now());
            core.keep(0, Record::Stripe(StripeRecord::Payout(payout.clone())));
            announce(core, &payout);
            Outcome::Stored(0, StatusCode::OK, body)
        }
        Err(outcome) => outcome,
    }
}

fn made(
    core: &mut Core,
    platform: &str,
    account: &str,
    form: &[(String, String)],
    step: Duration,
) -> Result<Payout, Outcome> {
    let known = ["amount", "currency", "description", "destination", "method", "source_type", "statement_descriptor"];
    if let Some(name) = unknown(form, &known) {
        return Err(Outcome::Answer(errors::unknown(name)));
    }
    let required = |name: &'static str| part(form, name).ok_or_else(|| Outcome::Answer(errors::missing(name)));
    let amount = amount(required("amount")?).map_err(Outcome::Answer)?;
    let currency = required("currency")?.to_ascii_uppercase();
    if !is_currency(&currency) {
        return Err(Outcome::Answer(errors::invalid(None, "Invalid currency", Some("currency"))));
    }
    // HUF and TWD: of payouts only, not of transfers [S6].
    if matches!(currency.as_str(), "HUF" | "TWD") && amount % 100 != 0 {
        let message = "Invalid amount: must be a multiple of 100.";
        let code = Some("parameter_invalid_integer");
        return Err(Outcome::Answer(errors::invalid(code, message, Some("amount"))));
    }
    if core.dialects.balances.of(Shape::Stripe, account, &currency) < amount {
        let message = "You have insufficient funds in your Stripe account for this transfer. Your card balance is too \
                       low.";
        let body = errors::body("invalid_request_error", Some("balance_insufficient"), message, None);
        return Err(Outcome::Stored(0, StatusCode::BAD_REQUEST, body));
    }
    let faults = core.faults.config().stripe.clone();
    let fails = core.faults.strikes_dialect(Shape::Stripe, "stripe_payout_fail", faults.payout_fail);
    let now = core.rail_now();
    let arrives = now.after(step * 2);
    let line = core.ledger.take_line();
    Ok(Payout {
        id: core.reference("po_", line),
        platform: platform.to_owned(),
        account: account.to_owned(),
        amount,
        currency,
        method: part(form, "method").unwrap_or("standard").to_owned(),
        statement_descriptor: part(form, "statement_descriptor").map(str::to_owned),
        metadata: metadata(form),
        created: now,
        steps: [
            Some(now.after(step)),
            Some(arrives),
            fails.then(|| arrives.after(Duration::from_millis(faults.payout_fail_after_ms))),
        ],
        failure_code: fails.then(|| faults.payout_failure_code.unwrap_or_else(|| "account_closed".to_owned())),
        canceled: None,
    })
}

fn canceled(core: &Core, platform: &str, account: &str, id: &str) -> Result<Payout, Outcome> {
    let found = core.dialects.stripe.payouts(platform, account).find(|payout| payout.id == id);
    let missing = || Outcome::Answer(errors::no_such(StatusCode::NOT_FOUND, "payout", id, "id"));
    let mut payout = found.ok_or_else(missing)?.clone();
    let now = core.rail_now();
    if payout.status(now) != "pending" {
        let message = "Payouts can only be canceled while they are pending.";
        return Err(Outcome::Answer(errors::invalid(None, message, None)));
    }
    payout.canceled = Some(now);
    Ok(payout)
}

/// `GET /v1/payouts`: there is no filter by our name of it.
pub async fn list(State(engine): State<Arc<Engine>>, RawQuery(query): RawQuery, headers: HeaderMap) -> Answer {
    let query = crate::dialect::form(&query.unwrap_or_default());
    let acted_for = acted_for(&headers);
    ask(engine, headers, Kind::Listing, move |core, platform| {
        let page = Page::read(&query)?;
        let now = core.rail_now();
        let all: Vec<_> = core.dialects.stripe.payouts(platform, &acted_for).collect();
        let place = |id: &str| all.iter().position(|payout| payout.id == id);
        let status = part(&query, "status");
        let (picked, has_more) = page.pick(all.len(), "payout", place, |at| {
            page.has(all[at].created) && status.is_none_or(|status| all[at].status(now) == status)
        })?;
        let data = picked.into_iter().map(|at| all[at].render(now)).collect();
        Ok(page_of(data, has_more, "/v1/payouts"))
    })
    .await
}

/// `GET /v1/payouts/{id}`
pub async fn one(State(engine): State<Arc<Engine>>, Path(id): Path<String>, headers: HeaderMap) -> Answer {
    let acted_for = acted_for(&headers);
    ask(engine, headers, Kind::Asking, move |core, platform| {
        let now = core.rail_now();
        let found = core.dialects.stripe.payouts(platform, &acted_for).find(|payout| payout.id == id);
        match found {
            Some(payout) => Ok(Answer::json(StatusCode::OK, &payout.render(now))),
            None => Err(errors::no_such(StatusCode::NOT_FOUND, "payout", &id, "id")),
        }
    })
    .await
}

/// Has everything told that becomes of a payout, to those who listen for connected accounts.
fn announce(core: &mut Core, payout: &Payout) {
    let [_, arrives, fails] = payout.steps;
    let told = match payout.canceled {
        Some(at) => [Some((at, "payout.canceled")), None, None],
        None => [
            Some((payout.created, "payout.created")),
            arrives.map(|at| (at, "payout.paid")),
            fails.map(|at| (at, "payout.failed")),
        ],
    };
    for (at, kind) in told.into_iter().flatten() {
        let number = core.dialects.notices.count();
        let event = format!("evt_{:016x}{number}", core.mixed(core.ledger.next_line()));
        let body = json!({
            "id": event,
            "object": "event",
            "account": payout.account,
            "api_version": "2026-10-28.endive",
            "created": render::unix(at),
            "livemode": false,
            "pending_webhooks": 1,
            "request": {"id": null, "idempotency_key": null},
            "type": kind,
            "data": {"object": payout.render(at)},
        });
        core.dialects.notify(Shape::Stripe, at, event, body.to_string());
    }
}
