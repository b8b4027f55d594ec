//! What a rail is to the fleet: a trait and the words it speaks in. Nothing here sends anything.

use std::fmt;

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use payfleet_domain::{BatchKey, Money, Outcome, PayoutKey, Rail, Reference, StatementEnd, StatementLine, StopReason};
use time::OffsetDateTime;

/// What proves to a rail that we may use an account. Never printed.
#[derive(Clone)]
pub struct Credential(String);

impl Credential {
    /// Takes the secret as it was read from the environment or a file.
    pub fn new(secret: impl Into<String>) -> Self {
        Credential(secret.into())
    }

    /// The secret itself, for the request that carries it.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// An account on a rail, from which payouts are paid.
#[derive(Debug, Clone)]
pub struct Account {
    /// The rail's name for it.
    pub name: String,
    /// What opens it; `None` where the rail asks for nothing.
    pub credential: Option<Credential>,
}

/// What rails ask about the payee beside the destination. It comes from the tenant's own list of affiliates, and may be
/// missing or change between two requests for one payout: a rail that compares the bytes of repeated requests must not
/// be sent it. Never printed.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Payee {
    /// The name, as a bank knows it.
    pub name: Option<String>,
    /// The country, two letters of ISO 3166-1.
    pub country: Option<String>,
    /// What the payee reads beside the payment. The same for each request of a payout: it is part of the request.
    pub text: Option<String>,
}

impl fmt::Debug for Payee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// One payment to be made. `Debug` shows its key only.
#[derive(Clone, PartialEq, Eq)]
pub struct Instruction {
    /// What the rail recognises it by.
    pub key: PayoutKey,
    /// How much, more than nothing.
    pub amount: Money,
    /// To whom.
    pub destination: String,
    /// Who that is, as far as it is known.
    pub payee: Payee,
    /// The rail's name for the payment, where it has told one: by accepting it, or by what it answered to an earlier
    /// request.
    pub reference: Option<Reference>,
}

impl fmt::Debug for Instruction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Instruction").field("key", &self.key).finish_non_exhaustive()
    }
}

/// One request to a rail.
///
/// On a rail whose key unit is the payout it holds exactly one instruction, but for a lookup of an adapter that
/// [looks up together](Adapter::looks_up_together). On a rail whose key unit is the batch, a
/// submission holds all of the batch in an order that never changes: the rail compares the bytes of a repeated request.
/// A lookup may ask for some of them.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// From which account.
    pub account: &'a Account,
    /// The key of the batch that the instructions belong to.
    pub batch_key: &'a BatchKey,
    /// What to pay, or what to ask for.
    pub instructions: &'a [Instruction],
    /// After this instant the request must not be executed any more. Told to the rails that enforce it and have no key;
    /// under a key it would make a repeated request a different one. Of a lookup: after this instant no older request
    /// can be executed any more.
    pub expires_at: OffsetDateTime,
    /// Whether people still want it, asked once more before the step that moves money where others come before it.
    pub going: Going<'a>,
    /// How a question of several requests keeps to the rate of its account.
    pub pace: Pace<'a>,
}

/// Whose turn it is to ask, where a rail bounds how often it is asked.
#[async_trait]
pub trait Turns: Send + Sync {
    /// Waits until one more request may be made.
    async fn turn(&self);
}

/// How each request of a question after its first one waits for its turn. That of the first was waited for by the
/// caller.
#[derive(Clone, Copy)]
pub enum Pace<'a> {
    /// Nobody bounds it.
    Free,
    /// By these.
    By(&'a dyn Turns),
}

impl Pace<'_> {
    /// Waits until one more request may be made.
    pub async fn turn(&self) {
        match self {
            Pace::Free => {}
            Pace::By(turns) => turns.turn().await,
        }
    }
}

impl fmt::Debug for Pace<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Pace::Free => "free",
            Pace::By(_) => "in turn",
        })
    }
}

/// Whether a call that has begun may go on. A call of several requests takes seconds, and a stop is kept within one: it
/// is for the steps before the one that moves money to be given up then.
#[derive(Clone, Copy)]
pub enum Going<'a> {
    /// It is a question, or nobody can stop it.
    On,
    /// As long as this says so: nobody has stopped it, and its lease and its time last.
    While(&'a (dyn Fn() -> bool + Send + Sync)),
}

impl Going<'_> {
    /// Whether it may go on at this moment.
    pub fn is_on(&self) -> bool {
        match self {
            Going::On => true,
            Going::While(is_on) => is_on(),
        }
    }
}

impl fmt::Debug for Going<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_on() { "on" } else { "stopped" })
    }
}

/// What is known after a submission. It speaks of this one request only: `NotExecuted` says nothing about an earlier
/// request for the same payout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// One outcome for each instruction, in their order.
    Each(Vec<Outcome>),
    /// One outcome for all of them. `Refused` means that the request was refused as a whole and nothing of it was
    /// executed.
    All(Outcome),
    /// Nothing of the request was executed, and not because of a payee: for this reason nothing can be paid from the
    /// account at all.
    Stopped(StopReason),
}

/// What a lookup found out about one instruction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// The rail knows it. Never `NotExecuted` or `Unknown`.
    Known(Outcome),
    /// The rail says that it has never executed it, and by its own clock no request for it can still arrive.
    NotFound,
    /// The rail does not know it, and by its own clock an older request can still arrive. No proof; under a key the
    /// same request may be made again.
    NotYet,
    /// The question itself got no usable answer, or the rail has no lookup. Nothing is known that was not known before.
    Unanswered,
}

/// What a statement consists of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StatementItem {
    /// A line.
    Line(StatementLine),
    /// How far it reaches. Nothing follows.
    End(StatementEnd),
}

/// A statement as it comes: lines, and then exactly one end, whose count of lines is right. Without it comes an error,
/// after which the stream ends.
pub type StatementStream = BoxStream<'static, Result<StatementItem, StatementError>>;

/// Why a statement could not be read to its end. What was read before it is true, but it proves nothing to be missing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StatementError {
    /// No answer.
    #[error(
        "{rail}, account `{account}`: the statement could not be fetched ({why}); \
         check that the rail can be reached, then ask again"
    )]
    Unreachable {
        /// Which rail.
        rail: &'static str,
        /// Which account.
        account: String,
        /// What happened.
        why: &'static str,
    },
    /// There are none.
    #[error("{rail} has no statements; what was paid over it cannot be compared")]
    None {
        /// Which rail.
        rail: &'static str,
    },
    /// An answer other than a statement.
    #[error(
        "{rail}, account `{account}`: the rail gave no statement but HTTP {status}; \
         check the account's name and its credential"
    )]
    Denied {
        /// Which rail.
        rail: &'static str,
        /// Which account.
        account: String,
        /// The status that came instead.
        status: u16,
    },
    /// It ended before its end.
    #[error(
        "{rail}, account `{account}`: the statement broke off after {lines} lines ({why}); \
         what is missing from it may have been paid: fetch it again"
    )]
    BrokeOff {
        /// Which rail.
        rail: &'static str,
        /// Which account.
        account: String,
        /// Lines that were read whole.
        lines: u64,
        /// What happened.
        why: &'static str,
    },
    /// A line that cannot be understood. The rest is not read: a payment could hide behind it.
    #[error(
        "{rail}, account `{account}`: line {line} of the statement cannot be read ({why}); \
         the statement was left there: have the rail correct it, or this adapter"
    )]
    Unreadable {
        /// Which rail.
        rail: &'static str,
        /// Which account.
        account: String,
        /// Which line, counted from 1.
        line: u64,
        /// What is wrong with it.
        why: &'static str,
    },
}

/// One way to pay.
///
/// Dropping a future of [`submit`](Adapter::submit) does not take the request back, but throws its answer away: let it
/// end.
#[async_trait]
pub trait Adapter: Send + Sync {
    /// What this rail promises.
    fn rail(&self) -> &'static Rail;

    /// Sends one request and waits for what comes of it, for no longer than the configured time. Every failure is an
    /// outcome. Nothing is ever sent twice by one call; under another key only after the rail has said, to this call,
    /// that nothing was executed under the one before, and never will be.
    async fn submit(&self, call: &Call<'_>) -> Answer;

    /// Whether one lookup is for as many payouts of a batch as there are, although each is a request of its own: where
    /// the rail can be asked for nothing less than a list of all.
    fn looks_up_together(&self) -> bool {
        false
    }

    /// Asks whether payments were ever executed: one finding for each instruction, in their order. Changes nothing at
    /// the rail.
    async fn look_up(&self, call: &Call<'_>) -> Vec<Finding>;

    /// Asks what became of payments that the rail has accepted, as its declaration says how (`Rail::follow`). Not being
    /// found is no proof of anything then.
    async fn follow(&self, call: &Call<'_>) -> Vec<Finding>;

    /// What the rail says that it paid from this account since `from` (by the rail's clock, that instant included), up
    /// to the instant that the statement's end names.
    async fn statement(&self, account: &Account, from: OffsetDateTime) -> Result<StatementStream, StatementError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_secret_nor_payee_nor_amount_is_printed() {
        let account = Account { name: "main".to_owned(), credential: Some(Credential::new("hunter2")) };
        let instruction = Instruction {
            key: "7-0123456789abcdef".parse().expect("a well-formed key"),
            amount: Money { minor: 98_765, currency: "EUR".parse().expect("a code of ISO 4217") },
            destination: "ann@example.com".to_owned(),
            payee: Payee { name: Some("ann".to_owned()), country: None, text: Some("ann".to_owned()) },
            reference: None,
        };
        let printed = format!("{account:?} {instruction:?} {:?}", instruction.payee);
        for hidden in ["hunter2", "98765", "ann"] {
            assert!(!printed.contains(hidden), "{printed}");
        }
        assert!(printed.contains("7-0123456789abcdef"));
    }
}
