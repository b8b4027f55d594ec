//! Objects as Stripe writes them.

use serde_json::{Value, json};

use super::decimals;
use super::state::{Booked, Reversal, Stripe, Transfer, What};
use crate::dialect::money::{iso_decimals, rescaled_down};
use crate::lies::Alteration;
use crate::wire::At;

/// Seconds, as Stripe counts time.
pub fn unix(at: At) -> i64 {
    at.0.div_euclid(1000)
}

/// The line of the balance that this object is.
pub fn transaction(id: &str) -> String {
    let (prefix, rest) = id.split_once('_').unwrap_or(("", id));
    if prefix == "trr" { format!("txn_r{rest}") } else { format!("txn_{rest}") }
}

/// A transfer as it is now.
pub fn transfer(transfer: &Transfer) -> Value {
    transfer_with(transfer, &transfer.reversals)
}

/// A transfer as it was made.
pub fn transfer_at_first(transfer: &Transfer) -> Value {
    transfer_with(transfer, &[])
}

fn transfer_with(transfer: &Transfer, back: &[Reversal]) -> Value {
    let amount_reversed = back.iter().fold(0_i64, |sum, reversal| sum.saturating_add(reversal.amount));
    // Newest first, as every list.
    let data: Vec<_> = back.iter().rev().map(|back| reversal(transfer, back)).collect();
    json!({
        "id": transfer.id,
        "object": "transfer",
        "amount": transfer.amount,
        "amount_reversed": amount_reversed,
        "balance_transaction": transaction(&transfer.id),
        "created": unix(transfer.created),
        "currency": transfer.currency.to_ascii_lowercase(),
        "description": transfer.description,
        "destination": transfer.destination,
        "destination_payment": format!("py_{}", transfer.id.trim_start_matches("tr_")),
        "livemode": false,
        "metadata": transfer.metadata,
        "reversals": {
            "object": "list",
            "data": data,
            "has_more": false,
            "url": format!("/v1/transfers/{}/reversals", transfer.id),
        },
        "reversed": amount_reversed >= transfer.amount,
        "source_transaction": null,
        "source_type": transfer.source_type,
        "transfer_group": transfer.transfer_group,
    })
}

/// A reversal of this transfer.
pub fn reversal(transfer: &Transfer, reversal: &Reversal) -> Value {
    json!({
        "id": reversal.id,
        "object": "transfer_reversal",
        "amount": reversal.amount,
        "balance_transaction": transaction(&reversal.id),
        "created": unix(reversal.created),
        "currency": transfer.currency.to_ascii_lowercase(),
        "destination_payment_refund": format!("pyr_{}", reversal.id.trim_start_matches("trr_")),
        "metadata": reversal.metadata,
        "source_refund": null,
        "transfer": transfer.id,
    })
}

/// What a line of the balance is called.
pub fn booked_id(stripe: &Stripe, booked: &Booked) -> String {
    match &booked.what {
        What::Transfer(index) => transaction(&stripe.transfer(*index).id),
        What::Reversal(index, back) => transaction(&stripe.transfer(*index).reversals[*back].id),
        What::Phantom(phantom) => transaction(&phantom.reference),
    }
}

/// A line of the balance: what was told about it by a lie stands before what is so.
pub fn booked(stripe: &Stripe, booked: &Booked, lie: Option<&Alteration>, is_expanded: bool) -> Value {
    let (kind, category, amount, currency, mut source) = match &booked.what {
        What::Transfer(index) => {
            let known = stripe.transfer(*index);
            ("transfer", "transfer", -known.amount, known.currency.as_str(), transfer(known))
        }
        What::Reversal(index, back) => {
            let known = stripe.transfer(*index);
            let back = &known.reversals[*back];
            let source = reversal(known, back);
            ("transfer_refund", "transfer_reversal", back.amount, known.currency.as_str(), source)
        }
        What::Phantom(phantom) => {
            let invented = Transfer {
                id: phantom.reference.clone(),
                account: phantom.account.clone(),
                amount: phantom.amount_minor,
                currency: phantom.currency.clone(),
                destination: phantom.destination.clone(),
                description: None,
                metadata: [("payout".to_owned(), phantom.key.clone())].into(),
                transfer_group: Some(phantom.key.clone()),
                source_type: "card".to_owned(),
                created: phantom.at,
                key: phantom.key.clone(),
                line: booked.line,
                reversals: Vec::new(),
            };
            ("transfer", "transfer", -phantom.amount_minor, phantom.currency.as_str(), transfer(&invented))
        }
    };
    let in_units = |minor| rescaled_down(minor, iso_decimals(currency), decimals(currency));
    let told = lie.and_then(|lie| lie.amount_minor).map_or(amount, |told| in_units(told) * amount.signum());
    let currency = lie.and_then(|lie| lie.currency.as_deref()).unwrap_or(currency).to_ascii_lowercase();
    let created = unix(lie.and_then(|lie| lie.at).unwrap_or(booked.at));
    if let Some(lie) = lie.filter(|_| matches!(booked.what, What::Transfer(_))) {
        // Its source is told the same way.
        source["amount"] = told.abs().into();
        source["currency"] = currency.as_str().into();
        if let Some(destination) = &lie.destination {
            source["destination"] = (**destination).into();
        }
    }
    let source = if is_expanded { source } else { source["id"].take() };
    json!({
        "id": booked_id(stripe, booked),
        "object": "balance_transaction",
        "amount": told,
        "available_on": created,
        "balance_type": "payments",
        "created": created,
        "currency": currency,
        "description": null,
        "exchange_rate": null,
        "fee": 0,
        "fee_details": [],
        "net": told,
        "reporting_category": category,
        "source": source,
        "status": "available",
        "type": kind,
    })
}
