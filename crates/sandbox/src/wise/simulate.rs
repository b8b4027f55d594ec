//! `GET /v1/simulation/transfers/{id}/{status}`, as the vendor's own sandbox has it: puts a transfer into a state.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::HeaderMap;

use super::cancel::refund;
use super::state::WiseRecord;
use super::timeline::State as Step;
use super::{ask, errors, notices, transfers};
use crate::dialect::{Answer, Kind, Record};
use crate::engine::Engine;

/// `GET /v1/simulation/transfers/{id}/{status}`
pub async fn simulate(
    State(engine): State<Arc<Engine>>,
    Path((id, status)): Path<(String, String)>,
    headers: HeaderMap,
) -> Answer {
    let id: u64 = id.parse().unwrap_or_default();
    let account = engine.with_core(|core| transfers::account_of(core, id));
    ask(engine, headers, account, Kind::Asking, move |core| {
        let known = core.dialects.wise.transfer(id).ok_or_else(|| errors::not_found("Transfer"))?.clone();
        if known.funded.is_none() {
            return Err(errors::invalid("Transfer is not funded", "status"));
        }
        let state = match status.as_str() {
            "processing" => Step::Processing,
            "funds_converted" => Step::FundsConverted,
            "outgoing_payment_sent" => Step::OutgoingPaymentSent,
            "bounced_back" => Step::BouncedBack,
            "charged_back" => Step::ChargedBack,
            "funds_refunded" => {
                let fee = core.faults.config().return_fee_minor;
                core.dialects.notices.drop_about(&id.to_string());
                refund(core, &known, "funds_refunded", Some(fee));
                return transfers::told(core, id);
            }
            _ => return Err(errors::no_such_path()),
        };
        let now = core.rail_now();
        core.dialects.notices.drop_about(&id.to_string());
        core.keep(0, Record::Wise(WiseRecord::Steps { id, steps: vec![(now, state)] }));
        notices::announce(core, id, now);
        transfers::told(core, id)
    })
    .await
}
