//! Shape `payout` (as Stripe): one payment a request under an idempotency key, refusals pinned to the key, no lookup.

use async_trait::async_trait;
use payfleet_domain::{Outcome, Rail};
use time::OffsetDateTime;

use super::dialect::{Documented, asked_by, success};
use super::{WireInstruction, WirePayment, statement};
use crate::cause::Cause;
use crate::checks::{read, reference, single, unanswered};
use crate::registry::declared;
use crate::transport::{Reply, Transport};
use crate::{Account, Adapter, Answer, Call, Finding, StatementError, StatementStream};

const DOCUMENTED: Documented =
    Documented { success: &[200], refuses_payments: true, refuses_requests: true, not_found: false };

pub(crate) struct SandboxPayout {
    rail: &'static Rail,
    transport: Transport,
}

impl SandboxPayout {
    pub(crate) fn new(transport: Transport) -> Self {
        let rail = declared("sandbox-payout");
        SandboxPayout { rail, transport: transport.of(rail) }
    }

    async fn pay(&self, call: &Call<'_>) -> Result<Outcome, Cause> {
        let instruction = single(call)?;
        let request = asked_by(self.transport.post(&["payout", "payouts"]), call.account)
            .header("Idempotency-Key", instruction.key.as_str())
            .json(&WireInstruction::from(instruction));
        paid(call, &self.transport.send(request, call).await?)
    }
}

/// What the answer to a submission says.
pub(super) fn paid(call: &Call<'_>, reply: &Reply) -> Result<Outcome, Cause> {
    let payment: WirePayment = read(success(reply, call, DOCUMENTED)?)?;
    payment.check(single(call)?)?;
    match payment.status.as_str() {
        "paid" => Ok(Outcome::Paid(reference(&payment.id)?)),
        _ => Err(Cause::Contradictory("a success that is not paid")),
    }
}

#[async_trait]
impl Adapter for SandboxPayout {
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
        vec![Finding::Unanswered; call.instructions.len()]
    }

    async fn follow(&self, call: &Call<'_>) -> Vec<Finding> {
        vec![Finding::Unanswered; call.instructions.len()]
    }

    async fn statement(&self, account: &Account, from: OffsetDateTime) -> Result<StatementStream, StatementError> {
        statement::open(&self.transport, self.rail.name, "payout", account, from).await
    }
}
