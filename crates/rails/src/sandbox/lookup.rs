//! Shape `lookup`: one payment a request, no idempotency key (a second request pays again), an authoritative lookup by
//! our key. The rail refuses a request that arrives after its expiry, so that "not found" becomes proof once that has
//! passed.

use async_trait::async_trait;
use payfleet_domain::{Outcome, Rail, RefusalCode};
use serde::Serialize;
use time::OffsetDateTime;

use super::dialect::{Documented, asked_by, success};
use super::{WireInstruction, WirePayment, statement};
use crate::cause::Cause;
use crate::checks::{read, reference, single, unanswered, unfound};
use crate::registry::declared;
use crate::transport::{Reply, Transport};
use crate::{Account, Adapter, Answer, Call, Finding, StatementError, StatementStream};

const RAIL: &str = "sandbox-lookup";
const PAYING: Documented =
    Documented { success: &[200], refuses_payments: true, refuses_requests: true, not_found: false };
const ASKING: Documented =
    Documented { success: &[200], refuses_payments: false, refuses_requests: false, not_found: true };

pub(crate) struct SandboxLookup {
    rail: &'static Rail,
    transport: Transport,
}

#[derive(Serialize)]
struct Transfer<'a> {
    #[serde(flatten)]
    instruction: WireInstruction<'a>,
    #[serde(with = "time::serde::rfc3339")]
    expires_at: OffsetDateTime,
}

impl SandboxLookup {
    pub(crate) fn new(transport: Transport) -> Self {
        let rail = declared(RAIL);
        SandboxLookup { rail, transport: transport.of(rail) }
    }

    async fn pay(&self, call: &Call<'_>) -> Result<Outcome, Cause> {
        let instruction = single(call)?;
        let body = Transfer { instruction: instruction.into(), expires_at: call.expires_at };
        let request = asked_by(self.transport.post(&["lookup", "transfers"]), call.account).json(&body);
        paid(call, &self.transport.send(request, call).await?)
    }

    async fn ask(&self, call: &Call<'_>) -> Result<Finding, Cause> {
        let instruction = single(call)?;
        let request = asked_by(self.transport.get(&["lookup", "transfers", instruction.key.as_str()]), call.account);
        found(call, &self.transport.send(request, call).await?)
    }
}

/// What the answer to a submission says.
pub(super) fn paid(call: &Call<'_>, reply: &Reply) -> Result<Outcome, Cause> {
    let payment: WirePayment = read(success(reply, call, PAYING)?)?;
    payment.check(single(call)?)?;
    match payment.status.as_str() {
        "paid" => Ok(Outcome::Paid(reference(&payment.id)?)),
        _ => Err(Cause::Contradictory("a success that is not paid")),
    }
}

/// What the answer to a question says.
pub(super) fn found(call: &Call<'_>, reply: &Reply) -> Result<Finding, Cause> {
    let instruction = single(call)?;
    let body = success(reply, call, ASKING).map_err(|cause| cause.by_the_rails_clock(call))?;
    let payment: WirePayment = read(body)?;
    payment.check(instruction)?;
    if let Some(count @ 2..) = payment.count {
        // The first of them is still the proof of payment; the others are found on the statement.
        tracing::error!(rail = RAIL, key = %instruction.key, count, "the rail paid one key more than once");
    }
    let outcome = match (payment.status.as_str(), payment.count, &payment.code) {
        // Of several payments one came back, and the payee has the others: its return is found on the statement too.
        ("paid", None | Some(1..), _) | ("returned", Some(2..), _) => Outcome::Paid(reference(&payment.id)?),
        ("returned", None | Some(1), _) => Outcome::Returned(reference(&payment.id)?),
        ("refused", None | Some(0), Some(code)) if !code.is_empty() => Outcome::Refused(RefusalCode::new(code)),
        _ => return Err(Cause::Contradictory("a status that does not go with the rest of the answer")),
    };
    Ok(Finding::Known(outcome))
}

#[async_trait]
impl Adapter for SandboxLookup {
    fn rail(&self) -> &'static Rail {
        self.rail
    }

    async fn submit(&self, call: &Call<'_>) -> Answer {
        match self.pay(call).await {
            Ok(outcome) => Answer::Each(vec![outcome]),
            Err(cause) => unanswered(&cause, self.rail.name, call),
        }
    }

    async fn look_up(&self, call: &Call<'_>) -> Vec<Finding> {
        match self.ask(call).await {
            Ok(finding) => vec![finding],
            Err(cause) => unfound(&cause, self.rail.name, call),
        }
    }

    async fn follow(&self, call: &Call<'_>) -> Vec<Finding> {
        self.look_up(call).await
    }

    async fn statement(&self, account: &Account, from: OffsetDateTime) -> Result<StatementStream, StatementError> {
        statement::open(&self.transport, self.rail.name, "lookup", account, from).await
    }
}
