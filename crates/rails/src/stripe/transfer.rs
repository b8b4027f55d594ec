//! What Stripe's answers to a transfer, and to the question for one, say.

use payfleet_domain::{Money, Outcome, RefusalCode, StopReason, from_rail_minor, to_rail_minor};
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::RAIL;
use crate::accounts::StripeAccount;
use crate::cause::Cause;
use crate::checks::{read, reference, single};
use crate::transport::{Reply, json};
use crate::{Call, Finding, Instruction};

#[derive(Deserialize)]
pub(super) struct Transfer {
    pub(super) object: String,
    pub(super) id: String,
    amount: i64,
    #[serde(default)]
    amount_reversed: i64,
    currency: String,
    /// Its id, or the account itself where that was asked for.
    destination: Destination,
    #[serde(default)]
    pub(super) transfer_group: Option<String>,
    #[serde(default)]
    livemode: Option<bool>,
    error: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Destination {
    Id(String),
    Object { id: String },
}

impl Destination {
    pub(super) fn id(&self) -> &str {
        match self {
            Destination::Id(id) | Destination::Object { id } => id,
        }
    }
}

#[derive(Deserialize)]
struct List {
    object: String,
    data: Vec<Transfer>,
    has_more: bool,
    error: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct ErrorBody {
    error: Detail,
    /// A payment and an error at once is neither.
    id: Option<IgnoredAny>,
    data: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Detail {
    #[serde(rename = "type", default)]
    kind: String,
    code: Option<String>,
    param: Option<String>,
}

/// What the answer to a submission says.
pub(crate) fn paid(call: &Call<'_>, settings: &StripeAccount, reply: &Reply) -> Result<Outcome, Cause> {
    if is_stored(reply) {
        tracing::debug!(rail = RAIL, status = reply.status, "the answer is the stored one of an earlier request");
    }
    match reply.status {
        200 => read::<Transfer>(&reply.body)?.outcome(single(call)?, settings),
        _ => Err(cause_of(reply, true)),
    }
}

/// Whether an answer is that to an earlier request under the key, which Stripe keeps for a day.
fn is_stored(reply: &Reply) -> bool {
    reply.header("idempotent-replayed").is_some_and(|said| said == "true")
}

/// What the answer to a question says. That nothing is listed proves something only after the request's lifetime, by
/// Stripe's own clock: nothing promises that a list shows at once what was written.
pub(crate) fn found(call: &Call<'_>, settings: &StripeAccount, reply: &Reply) -> Result<Finding, Cause> {
    let instruction = single(call)?;
    if reply.status != 200 {
        return Err(cause_of(reply, false));
    }
    let list: List = read(&reply.body)?;
    if list.object != "list" || list.error.is_some() {
        return Err(Cause::Contradictory("a success that is no list"));
    }
    let outcomes: Vec<Outcome> =
        list.data.iter().map(|transfer| transfer.outcome(instruction, settings)).collect::<Result<_, _>>()?;
    if outcomes.len() > 1 || list.has_more {
        // The first of them is still the proof of payment; the others are found on the statement.
        let (key, count) = (&instruction.key, outcomes.len());
        tracing::error!(rail = RAIL, %key, count, "the rail paid one key more than once");
    }
    // Of several payments one came back, and the payee has the others.
    let out = outcomes.iter().find(|outcome| !matches!(outcome, Outcome::Returned(_))).or(outcomes.first());
    match out {
        Some(outcome) => Ok(Finding::Known(outcome.clone())),
        None if list.has_more => Err(Cause::Contradictory("a list without its first page")),
        None => Err(Cause::NotFound { at: reply.at }.by_the_rails_clock(call)),
    }
}

impl Transfer {
    /// Whether it is the payment that was asked for, and how much of it the payee still has.
    fn outcome(&self, asked: &Instruction, settings: &StripeAccount) -> Result<Outcome, Cause> {
        if self.object != "transfer" || self.error.is_some() {
            return Err(Cause::Contradictory("a success that is no transfer, or with an error in it"));
        }
        let ordered =
            to_rail_minor(RAIL, asked.amount).map_err(|_| Cause::Contradictory("an amount that was never sent"))?;
        if self.transfer_group.as_deref() != Some(asked.key.as_str()) {
            return Err(Cause::Contradictory("the answer names another key"));
        }
        if self.amount != ordered || !self.currency.eq_ignore_ascii_case(asked.amount.currency.code()) {
            return Err(Cause::Contradictory("the answer names another amount"));
        }
        if self.destination.id() != asked.destination {
            return Err(Cause::Contradictory("the answer names another destination"));
        }
        match (self.livemode, settings.live) {
            (Some(false), true) => return Err(Cause::Contradictory("a live account answered in test mode")),
            (Some(true), false) => {
                tracing::error!(rail = RAIL, account = settings.name, "real money was paid from an account for tests");
            }
            _ => {}
        }
        let id = reference(&self.id)?;
        match self.amount_reversed {
            0 => Ok(Outcome::Paid(id)),
            back if back == self.amount => Ok(Outcome::Returned(id)),
            back if back > 0 && back < self.amount => {
                let currency = asked.amount.currency;
                let minor = from_rail_minor(RAIL, currency, back)
                    .ok_or(Cause::Contradictory("a reversal of an amount that there is not"))?;
                Ok(Outcome::ReturnedPart(id, Money { minor, currency }))
            }
            _ => Err(Cause::Contradictory("more was reversed than was paid")),
        }
    }
}

/// What an answer other than success proves. Stripe, "Errors" and "Idempotent requests".
pub(super) fn cause_of(reply: &Reply, is_payment: bool) -> Cause {
    let status = reply.status;
    let body = match json::<ErrorBody>(&reply.body) {
        _ if (500..=599).contains(&status) => return Cause::ServerError(status),
        None => return Cause::Undocumented(status),
        Some(ErrorBody { id, data, .. }) if id.is_some() || data.is_some() => {
            return Cause::Contradictory("a payment and an error in one answer");
        }
        Some(body) => body.error,
    };
    let code = body.code.as_deref().filter(|code| !code.is_empty());
    match (status, body.kind.as_str(), code) {
        // It has no code (stripe/stripe-ruby#503).
        (_, "idempotency_error", _) => Cause::KeyReused,
        (409, ..) | (_, _, Some("idempotency_key_in_use")) => Cause::InProgress,
        (429, _, Some("rate_limit" | "lock_timeout")) => Cause::RateLimited,
        (_, _, Some("rate_limit" | "lock_timeout")) => Cause::Undocumented(status),
        (401 | 403, kind, _) if !kind.is_empty() => Cause::Unauthorised,
        (400 | 402 | 404, _, Some("resource_missing")) if is_payment => match body.param.as_deref() {
            Some("destination") => Cause::Refused(RefusalCode::new("resource_missing")),
            // Something else that the request names is missing: not for the payee to mend.
            param => Cause::Refused(RefusalCode::new(&format!("resource_missing_{}", param.unwrap_or_default()))),
        },
        // The key's first request was executed and found too little money, which is kept under the key for a day, also
        // when there is enough: the payout needs another key then, and no transfer was ever made under this one.
        (400, _, Some("balance_insufficient")) if is_payment && is_stored(reply) => Cause::StoppedBefore,
        (400, _, Some("balance_insufficient")) if is_payment => Cause::Stopped(StopReason::NoFunds),
        (400 | 402 | 404, _, Some(code)) if is_payment => Cause::Refused(RefusalCode::new(code)),
        _ => Cause::Undocumented(status),
    }
}
