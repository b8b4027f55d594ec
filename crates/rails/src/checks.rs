//! What is checked of every call and answer, whichever rail it is for.

use std::collections::HashSet;

use payfleet_domain::{Currency, Reference};
use serde::de::DeserializeOwned;

use crate::cause::Cause;
use crate::transport::json;
use crate::{Answer, Call, Finding, Instruction};

/// A rail's name for a payment, if it can be one: it is kept for ever, compared and printed.
pub(crate) fn reference(id: &str) -> Result<Reference, Cause> {
    if id.is_empty() {
        return Err(Cause::Contradictory("the answer names no payment"));
    }
    if id.len() > 255 || !id.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Cause::Contradictory("the answer's name for the payment is no reference"));
    }
    Ok(Reference(id.to_owned()))
}

/// Reads a body. Why it cannot be read is not passed on: the reason could quote it.
pub(crate) fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Cause> {
    json(body).ok_or(Cause::Unreadable)
}

/// The one instruction of a call on a rail whose key unit is the payout.
pub(crate) fn single<'a>(call: &Call<'a>) -> Result<&'a Instruction, Cause> {
    match call.instructions {
        [instruction] if instruction.amount.minor > 0 => Ok(instruction),
        [_] => Err(Cause::Unfit("an amount that is not more than nothing was not sent")),
        _ => Err(Cause::Unfit("this rail takes one instruction in a call")),
    }
}

/// Whether a batch may be sent as one request, and the currency that it has. A batch that would pay somebody twice in
/// one request is not sent.
pub(crate) fn currency_of(call: &Call<'_>) -> Result<Currency, Cause> {
    let Some(first) = call.instructions.first() else {
        return Err(Cause::Unfit("a batch without instructions was not sent"));
    };
    let currency = first.amount.currency;
    let mut keys = HashSet::with_capacity(call.instructions.len());
    for instruction in call.instructions {
        if instruction.amount.currency != currency {
            return Err(Cause::Unfit("a batch of more than one currency was not sent"));
        }
        if instruction.amount.minor <= 0 {
            return Err(Cause::Unfit("an amount that is not more than nothing was not sent"));
        }
        if !keys.insert(&instruction.key) {
            return Err(Cause::Unfit("a batch that holds a key twice was not sent"));
        }
    }
    Ok(currency)
}

/// What a failed submission is for the fleet.
pub(crate) fn unanswered(cause: &Cause, rail: &'static str, call: &Call<'_>) -> Answer {
    cause.report(rail, call);
    match cause.stops() {
        Some(reason) => Answer::Stopped(reason),
        None => Answer::All(cause.outcome()),
    }
}

/// What a failed lookup is for the fleet.
pub(crate) fn unfound(cause: &Cause, rail: &'static str, call: &Call<'_>) -> Vec<Finding> {
    cause.report(rail, call);
    vec![cause.finding(); call.instructions.len()]
}
