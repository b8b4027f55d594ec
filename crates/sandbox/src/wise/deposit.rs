//! Money that somebody pays in. No payment of ours, and in no journal: the statement tells it in the same form as what
//! comes back of a transfer, under a number of its own and with what the sender wrote.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::json;

use super::decimals;
use super::state::{self, WiseRecord};
use crate::core::Core;
use crate::dialect::Record;
use crate::dialect::money::{is_currency, iso_decimals, rescaled};
use crate::engine::Engine;
use crate::shapes::Payload;
use crate::wire::{At, Problem, Reply, Shape, parse};

#[derive(Debug, Deserialize)]
struct Deposit {
    account: String,
    currency: String,
    /// In the smallest unit of ISO 4217.
    amount_minor: i64,
    #[serde(default)]
    reference: String,
}

/// `POST /faults/deposit`: somebody pays in, now.
pub async fn put_deposit(State(engine): State<Arc<Engine>>, Payload(body): Payload) -> Result<Reply, Problem> {
    let Deposit { account, currency, amount_minor, reference } = parse(&body)?;
    if !is_currency(&currency) {
        return Err(Problem::invalid("currency must be three capital letters"));
    }
    let amount = rescaled(amount_minor, iso_decimals(&currency), decimals(&currency)).filter(|amount| *amount > 0);
    let amount =
        amount.ok_or_else(|| Problem::invalid("amount_minor must be above 0 and even in what Wise counts in"))?;
    let id = engine
        .execute(|core| {
            let now = core.ledger.at(Shape::Wise, core.rail_now());
            core.deposit(&account, &currency, amount, &reference, now)
        })
        .await?;
    Ok(Reply::json(StatusCode::OK, &json!({"id": id, "amount_minor": amount_minor})))
}

impl Core {
    /// Books what somebody pays in; returns its number.
    pub fn deposit(&mut self, profile: &str, currency: &str, amount: i64, reference: &str, at: At) -> u64 {
        let line = self.ledger.take_line();
        let deposit = state::Deposit {
            profile: profile.to_owned(),
            id: self.wise_number(line),
            at,
            currency: currency.to_owned(),
            amount,
            reference: reference.to_owned(),
        };
        let id = deposit.id;
        self.keep(0, Record::Wise(WiseRecord::Deposit(deposit)));
        id
    }
}
