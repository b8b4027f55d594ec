//! Shape `file` (as a bank file): accepted whole, neither key nor lookup; what was accepted is seen on the statement,
//! days later. Posting a file twice executes it twice.

use async_trait::async_trait;
use payfleet_domain::{Outcome, Rail};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::dialect::{Documented, asked_by, success};
use super::{WireInstruction, statement};
use crate::cause::Cause;
use crate::checks::{currency_of, read, reference, unanswered};
use crate::registry::declared;
use crate::transport::{Reply, Transport};
use crate::{Account, Adapter, Answer, Call, Finding, StatementError, StatementStream};

const DOCUMENTED: Documented =
    Documented { success: &[202], refuses_payments: false, refuses_requests: true, not_found: false };

pub(crate) struct SandboxFile {
    rail: &'static Rail,
    transport: Transport,
}

#[derive(Serialize)]
struct File<'a> {
    file_id: &'a str,
    currency: &'a str,
    items: Vec<WireInstruction<'a>>,
}

#[derive(Deserialize)]
struct Receipt {
    receipt: String,
    status: String,
    error: Option<IgnoredAny>,
}

impl SandboxFile {
    pub(crate) fn new(transport: Transport) -> Self {
        let rail = declared("sandbox-file");
        SandboxFile { rail, transport: transport.of(rail) }
    }

    async fn hand_in(&self, call: &Call<'_>) -> Result<Vec<Outcome>, Cause> {
        let currency = currency_of(call)?;
        let file = File {
            file_id: call.batch_key.as_str(),
            currency: currency.code(),
            items: call.instructions.iter().map(WireInstruction::from).collect(),
        };
        let request = asked_by(self.transport.post(&["file", "files"]), call.account).json(&file);
        accepted(call, &self.transport.send(request, call).await?)
    }
}

/// What the answer to a submission says.
pub(super) fn accepted(call: &Call<'_>, reply: &Reply) -> Result<Vec<Outcome>, Cause> {
    let receipt: Receipt = read(success(reply, call, DOCUMENTED)?)?;
    if receipt.error.is_some() || receipt.status != "accepted" {
        return Err(Cause::Contradictory("a success that is not accepted, or with an error in it"));
    }
    let accepted = Outcome::Accepted(reference(&receipt.receipt)?);
    Ok(vec![accepted; call.instructions.len()])
}

#[async_trait]
impl Adapter for SandboxFile {
    fn rail(&self) -> &'static Rail {
        self.rail
    }

    async fn submit(&self, call: &Call<'_>) -> Answer {
        match self.hand_in(call).await {
            Ok(outcomes) => Answer::Each(outcomes),
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
        statement::open(&self.transport, self.rail.name, "file", account, from).await
    }
}
