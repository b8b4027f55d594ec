//! What the statement says that is not so, by the line of the journal it concerns. Kept until the process ends, and in
//! `faults.jsonl` beyond, beside what dialects remember; the journal itself never lies.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::dialect::Record;
use crate::wire::{At, Shape};

/// What is told differently of one payment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Alteration {
    /// The statement tells this amount.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub amount_minor: Option<i64>,
    /// The statement tells this currency.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub currency: Option<Arc<str>>,
    /// The statement tells this destination.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination: Option<Arc<str>>,
    /// The statement tells this instant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<At>,
    /// Every answer tells this reference.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reference: Option<Arc<str>>,
    /// The statement leaves it out.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub omit: bool,
}

impl Alteration {
    /// Whether it changes nothing.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    fn merge(&mut self, later: Self) {
        self.amount_minor = later.amount_minor.or(self.amount_minor);
        self.currency = later.currency.or(self.currency.take());
        self.destination = later.destination.or(self.destination.take());
        self.at = later.at.or(self.at);
        self.reference = later.reference.or(self.reference.take());
        self.omit |= later.omit;
    }
}

/// A line of the statement that nobody ordered.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Phantom {
    /// On the statement of this shape
    pub shape: Shape,
    /// and this account.
    pub account: String,
    /// As the statement tells it.
    pub key: String,
    /// As the statement tells it.
    pub reference: String,
    /// As the statement tells it.
    pub amount_minor: i64,
    /// As the statement tells it.
    pub currency: String,
    /// As the statement tells it.
    pub destination: String,
    /// As the statement tells it.
    pub at: At,
}

/// A line of `faults.jsonl`.
#[derive(Debug, Deserialize)]
pub struct FaultRecord {
    /// The line of the journal it concerns; for a phantom, the line it pretends to be.
    pub line: u64,
    /// What it is.
    #[serde(flatten)]
    pub kind: FaultKind,
}

/// The same, to be written.
#[derive(Debug, Serialize)]
pub struct FaultLine<'a> {
    /// As above.
    pub line: u64,
    /// As above.
    #[serde(flatten)]
    pub kind: &'a FaultKind,
}

/// What a line of `faults.jsonl` is.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum FaultKind {
    /// Of a payment something else is told.
    Alter(Alteration),
    /// A payment that does not exist is told.
    Phantom(Phantom),
    /// Something will happen.
    Plan(Plan),
    /// What was planned under the number of this line came to nothing.
    Done,
    /// Keys before this line are forgotten.
    ForgetKeys,
    /// A dialect remembers something that moves no money by itself.
    Dialect {
        /// What.
        record: Box<Record>,
    },
}

/// What will happen by itself. It is done once a movement of the journal names its number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// From the numbers of the journal's lines; no line has it.
    pub plan: u64,
    /// When.
    pub due: At,
    /// Whether by the rail's own clock, as all that dialects plan.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub by_rail: bool,
    /// What.
    #[serde(flatten)]
    pub event: Planned,
}

/// What a plan is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Planned {
    /// The payment comes back.
    Return(Return),
    /// The payment is made again.
    Duplicate {
        /// From this account instead.
        account: Option<Arc<str>>,
    },
    /// It is said that the payment, which was taken, is not made.
    Denial,
    /// A request is executed of which nobody was told.
    Late(LateRequest),
}

/// How money comes back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Return {
    /// Why.
    pub code: Option<Arc<str>>,
    /// How much of it; all that has not come back yet where it is not said.
    pub amount_minor: Option<i64>,
    /// What the rail keeps of that.
    pub fee_minor: i64,
}

/// A request as it came.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LateRequest {
    /// Through which shape.
    pub shape: Shape,
    /// Whose.
    pub account: Arc<str>,
    /// The header.
    pub idempotency_key: Option<Arc<str>>,
    /// The whole body.
    pub body: Arc<str>,
    /// The reference that it was answered with, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receipt: Option<Arc<str>>,
    /// The path below that of the dialect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<Arc<str>>,
}

/// All lies told.
#[derive(Default)]
pub struct Lies {
    altered: HashMap<u64, Alteration>,
    phantoms: BTreeMap<u64, Phantom>,
}

impl Lies {
    /// Tells something else of this line, on top of what is told differently already.
    pub fn alter(&mut self, line: u64, alteration: Alteration) {
        self.altered.entry(line).or_default().merge(alteration);
    }

    /// Tells of a payment that does not exist.
    pub fn invent(&mut self, line: u64, phantom: Phantom) {
        self.phantoms.insert(line, phantom);
    }

    /// What is told differently of this line.
    pub fn of(&self, line: u64) -> Option<&Alteration> {
        self.altered.get(&line)
    }

    /// The reference that answers tell, where it is not the true one.
    pub fn reference_of(&self, line: u64) -> Option<Arc<str>> {
        self.altered.get(&line)?.reference.clone()
    }

    /// The inventions for one statement, after this line.
    pub fn phantoms(&self, shape: Shape, account: &str, after: u64) -> Vec<(u64, Phantom)> {
        self.phantoms
            .range(after.saturating_add(1)..)
            .filter(|(_, phantom)| phantom.shape == shape && phantom.account == account)
            .map(|(line, phantom)| (*line, phantom.clone()))
            .collect()
    }
}
