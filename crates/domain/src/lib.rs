//! What is true of money and payouts, whoever runs it: amounts, periods, states and their moves, rails as plain data,
//! and the decisions of the protocol as pure functions.
//!
//! Nothing here does I/O, reads a clock or is async; every rule can be tested in microseconds. The schema repeats the
//! rules as CHECKs, and a test in `store` holds the two against each other.

#![warn(missing_docs)]

mod account;
mod alarm;
mod alike;
mod attempt;
mod batch;
mod country;
mod dates;
mod decide;
mod decision;
mod destination;
mod discrepancy;
mod exclusion;
mod funding;
mod hold_reason;
mod ids;
pub mod invariant;
mod key;
mod mask;
mod money;
mod outcome;
mod payout;
mod period;
mod person;
mod rail;
mod rule;
mod run;
mod statement;
mod transfer;
mod units;
mod wait;

pub use account::{PaymentAccount, PaymentStep, Witness};
pub use alarm::AlarmKind;
pub use alike::{look, look_key};
pub use attempt::{AttemptResult, one_may_spoil};
pub use batch::{BatchStanding, BatchState, IllegalBatchMove};
pub use country::{Country, UnknownCountry};
pub use dates::{Believed, believed};
pub use decide::{
    Backoff, BatchFacts, NextStep, OlderAttempts, RefusalVerdict, STALLED_LEASES_MAX, UNKNOWN_ATTEMPTS_MAX, next_step,
    refusal_verdict, silence_step, stall_step,
};
pub use decision::{Effect, HoldFacts, NotPaid, SamePerson, Word, hear};
pub use destination::{Destination, DestinationError, DestinationKind, MethodKinds, UnknownKind, visible};
pub use discrepancy::DiscrepancyKind;
pub use exclusion::Exclusion;
pub use funding::{
    AccountChange, AccountNews, AccountStanding, AccountState, AccountStop, BREAKER_UNKNOWN_MIN, BREAKER_WINDOW,
    CallWindow, PROBE_LASTS, PROBES, StopReason, breaker_opens,
};
pub use hold_reason::HoldReason;
pub use ids::{AffiliateId, AttemptNo, BatchId, Epoch, PayoutId, PersonId, RunId, TenantId};
pub use key::{BatchKey, KeyError, PayoutKey};
pub use mask::masked;
pub use money::{
    AmountError, Currency, CurrencyEnded, MAX_AMOUNT_MINOR, MAX_BALANCE_MINOR, MAX_PAYOUTS_PER_BATCH, Money,
    UnknownCurrency,
};
pub use outcome::{Outcome, Reference, RefusalCode, RefusalKind};
pub use payout::{IllegalPayoutMove, PayoutEvent, PayoutState};
pub use period::{Period, PeriodError};
pub use person::{Act, NoToken, NotAllowed, Person, PersonName, Role, TokenHash};
pub use rail::{Follow, KeyUnit, RAILS, Rail, RailClass, UnknownRail};
pub use rule::Rule;
pub use run::{IllegalRunMove, RunState};
pub use statement::{LineDiffers, Movement, StatementEnd, StatementLine};
pub use transfer::TransferKind;
pub use units::{Uneven, from_rail_minor, rail_decimals, rail_steps, to_rail_minor};
pub use wait::{Turn, WaitFacts, WaitReason, WorkerOffer, wait_reason};
