//! What is true of money and payouts, whoever runs it: amounts, periods, states and their moves, rails as plain data, and
//! the decisions of the protocol as pure functions.
//!
//! Nothing here does I/O, reads a clock or is async; every rule can be tested in microseconds. The schema repeats the
//! rules as CHECKs, and a test in `store` holds the two against each other.

#![warn(missing_docs)]

mod account;
mod alarm;
mod attempt;
mod batch;
mod decide;
mod decision;
mod discrepancy;
mod exclusion;
mod ids;
pub mod invariant;
mod key;
mod mask;
mod money;
mod outcome;
mod payee;
mod payout;
mod period;
mod person;
mod rail;
mod rule;
mod run;
mod statement;
mod wait;

pub use account::{PaymentAccount, PaymentStep, Witness};
pub use alarm::AlarmKind;
pub use attempt::{AttemptResult, one_may_spoil};
pub use batch::{BatchStanding, BatchState, IllegalBatchMove};
pub use decide::{
    Backoff, BatchFacts, HoldReason, NextStep, OlderAttempts, RefusalVerdict, STALLED_LEASES_MAX, UNKNOWN_ATTEMPTS_MAX,
    next_step, refusal_verdict, silence_step, stall_step,
};
pub use decision::{Effect, HoldFacts, NotPaid, SamePerson, Word, hear};
pub use discrepancy::DiscrepancyKind;
pub use exclusion::Exclusion;
pub use ids::{AffiliateId, AttemptNo, BatchId, Epoch, PayoutId, PersonId, RunId, TenantId};
pub use key::{BatchKey, KeyError, PayoutKey};
pub use mask::masked;
pub use money::{
    AmountError, Currency, MAX_AMOUNT_MINOR, MAX_BALANCE_MINOR, MAX_PAYOUTS_PER_BATCH, Money, UnknownCurrency,
};
pub use outcome::{Outcome, Reference, RefusalCode, RefusalKind};
pub use payee::{Destination, DestinationError, normalise_destination};
pub use payout::{IllegalPayoutMove, PayoutEvent, PayoutState};
pub use period::{Period, PeriodError};
pub use person::{Act, NoToken, NotAllowed, Person, PersonName, Role, TokenHash};
pub use rail::{Follow, KeyUnit, RAILS, Rail, RailClass, UnknownRail};
pub use rule::Rule;
pub use run::{IllegalRunMove, RunState};
pub use statement::{LineDiffers, Movement, StatementEnd, StatementLine};
pub use wait::{Turn, WaitFacts, WaitReason, WorkerOffer, wait_reason};
