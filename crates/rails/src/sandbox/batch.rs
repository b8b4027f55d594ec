//! Shape `batch` (as PayPal): a batch is one request under one key, accepted whole and paid item by item later; its
//! items are found again by the batch's key.

use std::collections::{HashMap, HashSet};

use async_trait::async_trait;
use payfleet_domain::{Outcome, PayoutKey, Rail, RefusalCode, RunId};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::dialect::{Documented, asked_by, success};
use super::{WireInstruction, check_amount, statement};
use crate::cause::Cause;
use crate::checks::{currency_of, read, reference, unanswered, unfound};
use crate::registry::declared;
use crate::transport::{Reply, Transport};
use crate::{Account, Adapter, Answer, Call, Finding, Instruction, StatementError, StatementStream};

const PAYING: Documented =
    Documented { success: &[200, 201], refuses_payments: false, refuses_requests: true, not_found: false };
const ASKING: Documented =
    Documented { success: &[200], refuses_payments: false, refuses_requests: false, not_found: true };

pub(crate) struct SandboxBatch {
    rail: &'static Rail,
    transport: Transport,
}

#[derive(Serialize)]
struct Batch<'a> {
    sender_batch_id: &'a str,
    currency: &'a str,
    items: Vec<WireInstruction<'a>>,
}

#[derive(Deserialize)]
struct Receipt {
    batch_id: String,
    status: String,
    sender_batch_id: Option<String>,
    error: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Found {
    batch_id: String,
    sender_batch_id: String,
    items: Vec<Item>,
    error: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Item {
    key: String,
    #[serde(default)]
    id: Option<String>,
    status: String,
    code: Option<String>,
    amount_minor: i64,
    currency: String,
}

impl SandboxBatch {
    pub(crate) fn new(transport: Transport) -> Self {
        let rail = declared("sandbox-batch");
        SandboxBatch { rail, transport: transport.telling_of(rail) }
    }

    async fn pay(&self, call: &Call<'_>) -> Result<Vec<Outcome>, Cause> {
        let currency = currency_of(call)?;
        let batch = Batch {
            sender_batch_id: call.batch_key.as_str(),
            currency: currency.code(),
            items: call.instructions.iter().map(WireInstruction::from).collect(),
        };
        let request = asked_by(self.transport.post(&["batch", "batches"]), call.account).json(&batch);
        accepted(call, &self.transport.send(request, call).await?)
    }

    async fn ask(&self, call: &Call<'_>) -> Result<Vec<Finding>, Cause> {
        let request = asked_by(self.transport.get(&["batch", "batches", call.batch_key.as_str()]), call.account);
        found(call, &self.transport.send(request, call).await?)
    }
}

/// What the answer to a submission says.
pub(super) fn accepted(call: &Call<'_>, reply: &Reply) -> Result<Vec<Outcome>, Cause> {
    let receipt: Receipt = read(success(reply, call, PAYING)?)?;
    if receipt.error.is_some() || receipt.sender_batch_id.is_some_and(|key| key != call.batch_key.as_str()) {
        return Err(Cause::Contradictory("a receipt for another batch, or with an error in it"));
    }
    match receipt.status.as_str() {
        // The items' own references are found by a lookup; until then the batch's stands for them.
        "pending" | "completed" => {
            let accepted = Outcome::Accepted(reference(&receipt.batch_id)?);
            Ok(vec![accepted; call.instructions.len()])
        }
        _ => Err(Cause::Contradictory("a success that is not accepted")),
    }
}

/// What the answer to a question says.
pub(super) fn found(call: &Call<'_>, reply: &Reply) -> Result<Vec<Finding>, Cause> {
    let found: Found = read(success(reply, call, ASKING).map_err(|cause| cause.by_the_rails_clock(call))?)?;
    if found.error.is_some() || found.sender_batch_id != call.batch_key.as_str() {
        return Err(Cause::Contradictory("the answer is about another batch, or has an error in it"));
    }
    // What contradicts itself anywhere is believed nowhere: a refusal read from it could cause a second payment.
    let runs: Vec<RunId> = call.instructions.iter().filter_map(|asked| run_of(asked.key.as_str())).collect();
    let mut items = HashMap::with_capacity(found.items.len());
    let mut payments = HashSet::with_capacity(found.items.len());
    for item in &found.items {
        // The call may ask for a part of the batch; an item of no run that was asked about is not from this batch.
        if !run_of(&item.key).is_some_and(|run| runs.contains(&run)) {
            return Err(Cause::Contradictory("the answer holds an item that was never in the batch"));
        }
        if items.insert(item.key.as_str(), item).is_some() {
            return Err(Cause::Contradictory("the answer holds an item twice"));
        }
        if item.id.as_ref().is_some_and(|id| !id.is_empty() && !payments.insert(id)) {
            return Err(Cause::Contradictory("the answer names one payment for two items"));
        }
    }
    call.instructions
        .iter()
        .map(|asked| match items.get(asked.key.as_str()) {
            Some(item) => item.outcome(asked, &found.batch_id).map(Finding::Known),
            None => Err(Cause::Contradictory("the answer lacks an item of the batch")),
        })
        .collect()
}

impl Item {
    fn outcome(&self, asked: &Instruction, batch_id: &str) -> Result<Outcome, Cause> {
        check_amount(asked, self.amount_minor, &self.currency)?;
        let id = self.id.as_deref().unwrap_or("");
        match (self.status.as_str(), &self.code) {
            ("paid", _) => Ok(Outcome::Paid(reference(id)?)),
            // Unclaimed: the money is with the rail until the payee takes it, or it comes back.
            ("pending" | "unclaimed", _) => {
                Ok(Outcome::Accepted(reference(if id.is_empty() { batch_id } else { id })?))
            }
            ("returned", _) => Ok(Outcome::Returned(reference(id)?)),
            ("refused", Some(code)) if !code.is_empty() => Ok(Outcome::Refused(RefusalCode::new(code))),
            _ => Err(Cause::Contradictory("an item with a status that is not documented, or a refusal without a code")),
        }
    }
}

fn run_of(key: &str) -> Option<RunId> {
    let key: PayoutKey = key.parse().ok()?;
    key.payout().ok().map(|payout| payout.run())
}

#[async_trait]
impl Adapter for SandboxBatch {
    fn rail(&self) -> &'static Rail {
        self.rail
    }

    async fn submit(&self, call: &Call<'_>) -> Answer {
        match self.pay(call).await {
            Ok(outcomes) => Answer::Each(outcomes),
            Err(cause) => unanswered(&cause, self.rail.name, call),
        }
    }

    async fn look_up(&self, call: &Call<'_>) -> Vec<Finding> {
        match self.ask(call).await {
            Ok(findings) => findings,
            Err(cause) => unfound(&cause, self.rail.name, call),
        }
    }

    async fn follow(&self, call: &Call<'_>) -> Vec<Finding> {
        self.look_up(call).await
    }

    async fn statement(&self, account: &Account, from: OffsetDateTime) -> Result<StatementStream, StatementError> {
        statement::open(&self.transport, self.rail.name, "batch", account, from).await
    }
}
