//! `PUT /v1/transfers/{id}/cancel`: only before it is converted [W7]; what was paid for comes back whole.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};

use super::state::{Transfer, WiseRecord};
use super::timeline::State as Step;
use super::{ask, decimals, errors, notices, transfers};
use crate::core::Core;
use crate::dialect::money::{iso_decimals, rescaled};
use crate::dialect::{Answer, Kind, Record};
use crate::engine::Engine;
use crate::lies::Return;
use crate::movement::{Event, Movement};
use crate::wire::{At, Shape};

/// `PUT /v1/transfers/{id}/cancel`
pub async fn cancel(State(engine): State<Arc<Engine>>, Path(id): Path<String>, headers: HeaderMap) -> Answer {
    let id: u64 = id.parse().unwrap_or_default();
    let account = engine.with_core(|core| transfers::account_of(core, id));
    ask(engine, headers, account, Kind::Preparing, move |core| {
        let known = core.dialects.wise.transfer(id).ok_or_else(|| errors::not_found("Transfer"))?.clone();
        let now = core.rail_now();
        if !matches!(known.state(now), Step::IncomingPaymentWaiting | Step::Processing) {
            let message = "Transfer cannot be cancelled";
            return Err(errors::listed(StatusCode::CONFLICT, "transfer.cancellation.not.allowed", message, ""));
        }
        core.dialects.notices.drop_about(&id.to_string());
        let steps = vec![(now, Step::Cancelled)];
        core.keep(0, Record::Wise(WiseRecord::Steps { id, steps }));
        notices::announce(core, id, now);
        if known.funded.is_some() {
            refund(core, &known, "cancelled", None);
        }
        transfers::told(core, id)
    })
    .await
}

/// Gives a transfer back, whole or in part.
pub fn refund(core: &mut Core, transfer: &Transfer, code: &str, fee_minor: Option<i64>) {
    let Some(line) = transfer.funded else { return };
    let minor = rescaled(transfer.target_amount, decimals(&transfer.target), iso_decimals(&transfer.target));
    let amount_minor = minor.unwrap_or(transfer.target_amount);
    let paid = Movement {
        line,
        shape: Shape::Wise,
        account: transfer.profile.clone().into(),
        key: transfer.uuid.clone().into(),
        id: transfer.id.to_string().into(),
        amount_minor,
        fee_minor: 0,
        currency: transfer.target.clone().into(),
        destination: transfer.target_account.to_string().into(),
        event: Event::Paid,
        code: None,
        batch: transfer.group.clone().map(Into::into),
        at: transfer.created,
        of_id: None,
        idempotency_key: None,
        group: None,
        of: None,
        extra: false,
        plan: None,
    };
    let back = Return { code: Some(code.into()), amount_minor: None, fee_minor: fee_minor.unwrap_or(0) };
    core.give_back(&paid, &back, None, At::now());
}
