//! One line of the journal: one real movement of money, or a refusal. The form only; reading and writing are elsewhere.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::wire::{At, Shape};

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Event {
    /// Money went out.
    Paid,
    /// It was asked for, and no money went out.
    Refused,
    /// Money that went out came back.
    Returned,
}

/// A line of the journal. The fields after `of_id` are for rebuilding state, present only where needed, and not shown.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Movement<'a> {
    /// Grows from line to line, with gaps.
    pub line: u64,
    /// Through which shape.
    pub shape: Shape,
    /// Whose.
    #[serde(borrow)]
    pub account: Cow<'a, str>,
    /// The payment's key, as the payer named it.
    #[serde(borrow)]
    pub key: Cow<'a, str>,
    /// Its reference, as the rail named it. What comes later to a payment, a return or a refusal, has one of its own.
    #[serde(borrow)]
    pub id: Cow<'a, str>,
    /// In the smallest unit. Of a return, what arrives with the payer.
    pub amount_minor: i64,
    /// What the rail keeps of money that comes back, beside that.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub fee_minor: i64,
    /// ISO 4217.
    #[serde(borrow)]
    pub currency: Cow<'a, str>,
    /// Where to.
    #[serde(borrow)]
    pub destination: Cow<'a, str>,
    /// What happened.
    pub event: Event,
    /// Why it was refused or came back.
    #[serde(borrow)]
    pub code: Option<Cow<'a, str>>,
    /// The batch or file it travelled in, by the payer's name.
    #[serde(borrow)]
    pub batch: Option<Cow<'a, str>>,
    /// When; for a batch, when it settles.
    pub at: At,
    /// The reference of the payment that comes back, or that is refused after it was accepted.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub of_id: Option<Cow<'a, str>>,
    /// The idempotency key, where it is not the payment's key.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<Cow<'a, str>>,
    /// On the first line of a batch or file.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub group: Option<GroupHead<'a>>,
    /// The line of the payment that this returns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<u64>,
    /// A payment nobody asked for: the second of a `duplicate_payment`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub extra: bool,
    /// What `faults.jsonl` planned, and is done by this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<u64>,
}

fn is_zero(number: &i64) -> bool {
    *number == 0
}

/// What holds the lines of a batch or file together: without all of them it was never accepted.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GroupHead<'a> {
    /// The rail's reference of the whole.
    #[serde(borrow)]
    pub id: Cow<'a, str>,
    /// How many lines, this one included.
    pub lines: u32,
    /// When the whole settles, where this line bears another instant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settles: Option<At>,
}

impl Movement<'_> {
    /// Whether a bank says by it that what it had taken is not paid.
    pub fn is_denial(&self) -> bool {
        self.event == Event::Refused && self.shape == Shape::File && self.of_id.is_some()
    }

    /// Without what only serves to rebuild state.
    pub fn public(mut self) -> Self {
        self.idempotency_key = None;
        self.group = None;
        self.of = None;
        self.extra = false;
        self.plan = None;
        self
    }

    /// The same, borrowing from nothing.
    pub fn into_owned(self) -> Movement<'static> {
        fn own(text: Cow<'_, str>) -> Cow<'static, str> {
            Cow::Owned(text.into_owned())
        }
        Movement {
            account: own(self.account),
            key: own(self.key),
            id: own(self.id),
            currency: own(self.currency),
            destination: own(self.destination),
            code: self.code.map(own),
            batch: self.batch.map(own),
            idempotency_key: self.idempotency_key.map(own),
            group: self.group.map(|group| GroupHead { id: own(group.id), ..group }),
            line: self.line,
            shape: self.shape,
            amount_minor: self.amount_minor,
            fee_minor: self.fee_minor,
            event: self.event,
            at: self.at,
            of_id: self.of_id.map(own),
            of: self.of,
            extra: self.extra,
            plan: self.plan,
        }
    }

    /// Appends it as one line.
    pub fn write_to(&self, buffer: &mut Vec<u8>) {
        write_line(self, buffer);
    }
}

/// Appends anything as one line of JSON.
pub fn write_line(value: &impl Serialize, buffer: &mut Vec<u8>) {
    serde_json::to_writer(&mut *buffer, value)
        .expect("writing to memory, and no type here has a key that is not a string");
    buffer.push(b'\n');
}
