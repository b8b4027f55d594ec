//! The life of a payout: which moves are legal, said once.

use std::fmt;
use std::str::FromStr;

/// Where a payout stands. The words are those of the schema, the logs and the screens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PayoutState {
    /// Money is reserved; nothing definite is known yet. Whether it may be under way is said by its batch.
    Planned,
    /// The rail has it and will pay later.
    Accepted,
    /// Paid, with a reference.
    Paid,
    /// Provably not paid; its money is due again.
    Refused,
    /// It may have been paid. Never becomes refused without evidence.
    Unknown,
    /// Only two people may decide, or evidence.
    Held,
    /// Paid, and all of the money came back; it is due again.
    Returned,
    /// Never sent; its money is due again.
    Cancelled,
}

/// What can happen to a payout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PayoutEvent {
    /// Proof that the rail has accepted it.
    Accept,
    /// Proof that it was paid.
    Pay,
    /// Proof that it was not and will not be paid (guard G3 decides what is proof).
    Refuse,
    /// An attempt ended without an answer.
    LoseTrack,
    /// The request that the rail had accepted was refused, and another one for it may have been accepted: the same
    /// request is made again, and tells.
    Reopen,
    /// Proof that no request for it was executed or still can be: it may be sent again, even under another key.
    Clear,
    /// Nothing more can be found out by asking.
    Hold,
    /// The rail had accepted it, and either says no more of it in time, or only a file says that it was not paid.
    Doubt,
    /// Proof that all that was paid came back.
    Return,
    /// Proof that it was paid although it counts as not paid: late proof.
    PayLate,
    /// The run was cancelled before it was sent.
    Cancel,
    /// The control that held it before it was sent was lifted.
    Lift,
}

/// A move that no rule allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a payout that is {from} cannot {event:?}")]
pub struct IllegalPayoutMove {
    /// Where it stood.
    pub from: PayoutState,
    /// What was tried.
    pub event: PayoutEvent,
}

impl PayoutState {
    /// All states.
    pub const ALL: [PayoutState; 8] = [
        PayoutState::Planned,
        PayoutState::Accepted,
        PayoutState::Paid,
        PayoutState::Refused,
        PayoutState::Unknown,
        PayoutState::Held,
        PayoutState::Returned,
        PayoutState::Cancelled,
    ];

    /// The one place that says which moves are legal.
    pub fn after(self, event: PayoutEvent) -> Result<PayoutState, IllegalPayoutMove> {
        use PayoutEvent as E;
        use PayoutState as S;
        match (self, event) {
            (S::Planned | S::Unknown | S::Held, E::Accept) => Ok(S::Accepted),
            (S::Planned | S::Unknown | S::Held | S::Accepted, E::Pay) => Ok(S::Paid),
            (S::Planned | S::Unknown | S::Held | S::Accepted, E::Refuse) => Ok(S::Refused),
            (S::Planned, E::LoseTrack) => Ok(S::Unknown),
            (S::Accepted, E::Reopen) => Ok(S::Unknown),
            (S::Unknown, E::Clear) => Ok(S::Planned),
            (S::Planned | S::Unknown, E::Hold) => Ok(S::Held),
            (S::Accepted, E::Doubt) => Ok(S::Held),
            // What came back went out before: news of a return is news of its payment first.
            (S::Paid, E::Return) => Ok(S::Returned),
            // Its money was due again, so this takes it back from the affiliate's balance.
            (S::Refused | S::Cancelled | S::Returned, E::PayLate) => Ok(S::Paid),
            (S::Planned, E::Cancel) => Ok(S::Cancelled),
            (S::Held, E::Lift) => Ok(S::Planned),
            (from, event) => Err(IllegalPayoutMove { from, event }),
        }
    }

    /// The states from which an event is legal, in the schema's words, for the WHERE of the bulk statement that makes
    /// the move.
    pub fn sources(event: PayoutEvent) -> Vec<&'static str> {
        Self::ALL.iter().filter(|state| state.after(event).is_ok()).map(PayoutState::as_str).collect()
    }

    /// Those of which nobody has said yet what becomes of them.
    pub const UNANSWERED: [PayoutState; 2] = [PayoutState::Planned, PayoutState::Unknown];

    /// Whether nobody has said yet what becomes of it.
    pub fn is_unanswered(self) -> bool {
        Self::UNANSWERED.contains(&self)
    }

    /// Whether the run may close over it: nothing more is expected to happen by itself.
    pub fn is_accounted_for(self) -> bool {
        use PayoutState as S;
        match self {
            S::Paid | S::Refused | S::Held | S::Returned | S::Cancelled => true,
            S::Planned | S::Accepted | S::Unknown => false,
        }
    }

    /// The schema's word.
    pub fn as_str(&self) -> &'static str {
        match self {
            PayoutState::Planned => "planned",
            PayoutState::Accepted => "accepted",
            PayoutState::Paid => "paid",
            PayoutState::Refused => "refused",
            PayoutState::Unknown => "unknown",
            PayoutState::Held => "held",
            PayoutState::Returned => "returned",
            PayoutState::Cancelled => "cancelled",
        }
    }
}

impl FromStr for PayoutState {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|state| state.as_str() == word)
            .ok_or_else(|| format!("`{word}` is not a payout state"))
    }
}

impl fmt::Display for PayoutState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENTS: [PayoutEvent; 12] = [
        PayoutEvent::Accept,
        PayoutEvent::Pay,
        PayoutEvent::Refuse,
        PayoutEvent::LoseTrack,
        PayoutEvent::Reopen,
        PayoutEvent::Clear,
        PayoutEvent::Hold,
        PayoutEvent::Doubt,
        PayoutEvent::Return,
        PayoutEvent::PayLate,
        PayoutEvent::Cancel,
        PayoutEvent::Lift,
    ];

    #[test]
    fn money_that_moved_is_never_forgotten() {
        for event in EVENTS {
            for from in [PayoutState::Paid, PayoutState::Refused, PayoutState::Returned, PayoutState::Cancelled] {
                match (from, from.after(event)) {
                    (PayoutState::Paid, Ok(to)) => assert_eq!(to, PayoutState::Returned),
                    (_, Ok(to)) => assert_eq!((event, to), (PayoutEvent::PayLate, PayoutState::Paid), "{from}"),
                    (_, Err(_)) => {}
                }
            }
        }
    }

    #[test]
    fn what_may_have_been_sent_is_never_cancelled() {
        assert!(PayoutState::Unknown.after(PayoutEvent::Cancel).is_err());
        assert!(PayoutState::Accepted.after(PayoutEvent::Cancel).is_err());
        assert!(PayoutState::Held.after(PayoutEvent::Cancel).is_err());
    }

    #[test]
    fn these_moves_are_legal_and_no_others() {
        use PayoutState::*;
        let legal: [(PayoutEvent, PayoutState, &[PayoutState]); 12] = [
            (PayoutEvent::Accept, Accepted, &[Planned, Unknown, Held]),
            (PayoutEvent::Pay, Paid, &[Planned, Accepted, Unknown, Held]),
            (PayoutEvent::Refuse, Refused, &[Planned, Accepted, Unknown, Held]),
            (PayoutEvent::LoseTrack, Unknown, &[Planned]),
            (PayoutEvent::Reopen, Unknown, &[Accepted]),
            (PayoutEvent::Clear, Planned, &[Unknown]),
            (PayoutEvent::Hold, Held, &[Planned, Unknown]),
            (PayoutEvent::Doubt, Held, &[Accepted]),
            (PayoutEvent::Return, Returned, &[Paid]),
            (PayoutEvent::PayLate, Paid, &[Refused, Returned, Cancelled]),
            (PayoutEvent::Cancel, Cancelled, &[Planned]),
            (PayoutEvent::Lift, Planned, &[Held]),
        ];
        for (event, to, sources) in legal {
            let found: Vec<PayoutState> =
                PayoutState::ALL.into_iter().filter(|from| from.after(event) == Ok(to)).collect();
            assert_eq!(found, sources, "{event:?}");
            let words: Vec<&str> = sources.iter().map(PayoutState::as_str).collect();
            assert_eq!(PayoutState::sources(event), words, "{event:?}");
        }
    }

    #[test]
    fn a_run_closes_over_what_ends_by_itself_no_more() {
        use PayoutState::*;
        let accounted = PayoutState::ALL.into_iter().filter(|state| state.is_accounted_for());
        assert_eq!(accounted.collect::<Vec<_>>(), [Paid, Refused, Held, Returned, Cancelled]);
    }
}
