//! The `null` rail: answers at once inside the process, so that everything but a rail can be measured. It moves no
//! money and remembers nothing, and so it has no statement: a run paid over it cannot be reconciled.

use async_trait::async_trait;
use payfleet_domain::{Outcome, Rail, Reference};
use time::OffsetDateTime;

use crate::registry::declared;
use crate::{Account, Adapter, Answer, Call, Finding, StatementError, StatementStream};

pub(crate) struct Null {
    rail: &'static Rail,
}

impl Null {
    pub(crate) fn new() -> Self {
        Null { rail: declared("null") }
    }
}

#[async_trait]
impl Adapter for Null {
    fn rail(&self) -> &'static Rail {
        self.rail
    }

    async fn submit(&self, call: &Call<'_>) -> Answer {
        // Derived from the key, so that a repeated submission names the same payment.
        let paid = |key| Outcome::Paid(Reference(format!("null-{key}")));
        Answer::Each(call.instructions.iter().map(|instruction| paid(&instruction.key)).collect())
    }

    async fn look_up(&self, call: &Call<'_>) -> Vec<Finding> {
        vec![Finding::Unanswered; call.instructions.len()]
    }

    async fn follow(&self, call: &Call<'_>) -> Vec<Finding> {
        vec![Finding::Unanswered; call.instructions.len()]
    }

    async fn statement(&self, _: &Account, _: OffsetDateTime) -> Result<StatementStream, StatementError> {
        Err(StatementError::None { rail: self.rail.name })
    }
}
