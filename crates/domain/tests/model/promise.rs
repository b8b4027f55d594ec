//! What must hold in every state that can be reached.

use payfleet_domain::{BatchState, PayoutState};

use crate::world::State;

/// What the design promises of one payout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Promise {
    /// The rail executes it once at most.
    PaidOnce,
    /// What is recorded as refused or cancelled is not paid, and nothing under way can still pay it.
    RefusedIsUnpaid,
    /// What is recorded as paid or accepted is with the rail.
    PaidIsPaid,
    /// What a rail said to a worker that lived to record it is recorded.
    EvidenceIsKept,
    /// Money is settled or released once, as the payout's state says, and never both.
    LedgerAgrees,
    /// The schema's CHECKs hold, and an open batch has a payout without an answer.
    SchemaHolds,
    /// The same money is not paid by this run and by the next.
    MoneyPaidOnce,
    /// What is called reconciled is so, as far as was read.
    VerdictIsTrue,
    /// After a stop took effect nothing is sent, and nothing is about to be.
    StoppedIsStill,
    /// Who was put on hold meanwhile is not paid.
    ControlIsKept,
    /// Without further faults it ends as paid, refused, cancelled or held.
    ItEnds,
}

/// The first promise that a state breaks.
pub fn broken(state: &State) -> Option<Promise> {
    let (database, rail) = (&state.database, &state.rail);
    let unpaid = matches!(database.payout, PayoutState::Refused | PayoutState::Cancelled);
    let paid = database.payout == PayoutState::Paid;
    let ledger = (u8::from(paid), u8::from(unpaid));
    let no_answer = database.payout.is_unanswered();
    let schema = database.checks_hold()
        && match database.batch {
            BatchState::Ready => database.payout == PayoutState::Planned,
            BatchState::Sending => no_answer,
            BatchState::Accepted => database.payout == PayoutState::Accepted,
            BatchState::Held => database.payout == PayoutState::Held,
            BatchState::Done | BatchState::Cancelled | BatchState::Split => database.payout.is_accounted_for(),
        };
    if let Some(promise) = state.broken {
        Some(promise)
    } else if rail.executed > 1 {
        Some(Promise::PaidOnce)
    } else if state.standing.repaid && rail.executed > 0 {
        Some(Promise::MoneyPaidOnce)
    } else if unpaid && (rail.executed > 0 || state.can_still_pay()) {
        Some(Promise::RefusedIsUnpaid)
    } else if paid && (rail.executed == 0 || rail.pending) {
        Some(Promise::PaidIsPaid)
    } else if ledger != (database.settled, database.released) {
        Some(Promise::LedgerAgrees)
    } else if !schema {
        Some(Promise::SchemaHolds)
    } else {
        None
    }
}
