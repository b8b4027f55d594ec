//! `POST /v1/payments/payouts-item/{id}/cancel`: only while nobody has claimed it, and when its batch is done [P6].

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};

use super::{ask, errors, render};
use crate::dialect::money::{iso_decimals, rescaled};
use crate::dialect::{Answer, Kind};
use crate::engine::Engine;
use crate::lies::Return;
use crate::movement::{Event, Movement};
use crate::wire::{At, Shape};

/// `POST /v1/payments/payouts-item/{id}/cancel`
pub async fn cancel(State(engine): State<Arc<Engine>>, Path(id): Path<String>, headers: HeaderMap) -> Answer {
    ask(engine, headers, Kind::Preparing, move |core, account| {
        let now = core.rail_now();
        let (item, batch) = core.dialects.paypal.item(account, &id).ok_or_else(errors::not_found)?;
        let refused = |name: &str| errors::named(StatusCode::BAD_REQUEST, name, "The item cannot be cancelled.");
        match item.status(batch, now).0 {
            Some("UNCLAIMED") => {}
            Some("RETURNED") => return Err(refused("ITEM_ALREADY_CANCELLED")),
            _ => return Err(refused("ITEM_INCORRECT_STATUS")),
        }
        let back = item.back.iter().fold(0_i64, |back, one| back.saturating_add(one.amount).saturating_add(one.fee));
        let left =
            rescaled(item.amount.saturating_sub(back), super::decimals(&batch.currency), iso_decimals(&batch.currency));
        let returned = Return { code: Some("RETURNED".into()), amount_minor: left, fee_minor: 0 };
        let paid = Movement {
            line: item.journal,
            shape: Shape::Paypal,
            account: batch.account.clone().into(),
            key: item.sender_item_id.clone().unwrap_or_else(|| item.id.clone()).into(),
            id: item.transaction.clone().into(),
            amount_minor: 0,
            fee_minor: 0,
            currency: batch.currency.clone().into(),
            destination: item.receiver.clone().into(),
            event: Event::Paid,
            code: None,
            batch: batch.sender_batch_id.clone().map(Into::into),
            at: batch.settles,
            of_id: None,
            idempotency_key: None,
            group: None,
            of: None,
            extra: false,
            plan: None,
        };
        core.give_back(&paid, &returned, None, At::now());
        let now = core.rail_now();
        let (item, batch) = core.dialects.paypal.item(account, &id).ok_or_else(errors::not_found)?;
        Ok(Answer::json(StatusCode::OK, &render::item(item, batch, now.max(at_last(item)), true)))
    })
    .await
}

/// The instant of what came back last, which may be a moment ahead where the clock was set back.
fn at_last(item: &super::state::Item) -> At {
    item.back.iter().map(|back| back.at).max().unwrap_or_default()
}
