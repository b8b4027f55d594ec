//! The sandbox rail's four shapes, one adapter each, and what their bodies have in common. The server is a program of
//! its own; nothing of it is linked here.

mod batch;
mod dialect;
mod file;
mod lookup;
mod payout;
mod statement;

pub(crate) use batch::SandboxBatch;
pub(crate) use file::SandboxFile;
pub(crate) use lookup::SandboxLookup;
pub(crate) use payout::SandboxPayout;
pub(crate) use statement::lines;

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use crate::cause::Cause;
use crate::checks::{unanswered, unfound};
use crate::transport::Reply;
use crate::{Answer, Call, Finding, Instruction};

/// An instruction as it is sent. Its fields are written in this order by every version: the rail compares bodies.
#[derive(Serialize)]
struct WireInstruction<'a> {
    key: &'a str,
    amount_minor: i64,
    currency: &'a str,
    destination: &'a str,
}

/// One payment as the shapes `payout` and `lookup` answer it.
#[derive(Deserialize)]
struct WirePayment {
    key: String,
    #[serde(default)]
    id: String,
    status: String,
    amount_minor: i64,
    currency: String,
    /// Why it was refused.
    code: Option<String>,
    /// How many payments the rail made under the key.
    count: Option<u64>,
    /// A payment and an error at once is neither.
    error: Option<IgnoredAny>,
}

impl<'a> From<&'a Instruction> for WireInstruction<'a> {
    fn from(instruction: &'a Instruction) -> Self {
        WireInstruction {
            key: instruction.key.as_str(),
            amount_minor: instruction.amount.minor,
            currency: instruction.amount.currency.code(),
            destination: &instruction.destination,
        }
    }
}

impl WirePayment {
    /// Whether this is about the instruction at all.
    fn check(&self, instruction: &Instruction) -> Result<(), Cause> {
        if self.error.is_some() {
            return Err(Cause::Contradictory("a payment and an error in one answer"));
        }
        if self.key != instruction.key.as_str() {
            return Err(Cause::Contradictory("the answer names another key"));
        }
        check_amount(instruction, self.amount_minor, &self.currency)
    }
}

fn check_amount(instruction: &Instruction, amount_minor: i64, currency: &str) -> Result<(), Cause> {
    if currency != instruction.amount.currency.code() {
        return Err(Cause::Contradictory("the answer names another currency"));
    }
    if amount_minor != instruction.amount.minor {
        return Err(Cause::Contradictory("the answer names another amount"));
    }
    Ok(())
}

/// What the adapter of a rail concludes from an answer to a submission, wherever that came from.
pub(crate) fn submitted(rail: &'static str, call: &Call<'_>, reply: &Reply) -> Answer {
    let outcomes = match rail {
        "sandbox-payout" => payout::paid(call, reply).map(|outcome| vec![outcome]),
        "sandbox-lookup" => lookup::paid(call, reply).map(|outcome| vec![outcome]),
        "sandbox-batch" => batch::accepted(call, reply),
        _ => file::accepted(call, reply),
    };
    outcomes.map_or_else(|cause| unanswered(&cause, rail, call), Answer::Each)
}

/// The same for the answer to a question.
pub(crate) fn looked_up(rail: &'static str, call: &Call<'_>, reply: &Reply) -> Vec<Finding> {
    let findings = match rail {
        "sandbox-lookup" => lookup::found(call, reply).map(|finding| vec![finding]),
        _ => batch::found(call, reply),
    };
    findings.unwrap_or_else(|cause| unfound(&cause, rail, call))
}
