//! Why a payout waits for people.

use std::fmt;

use crate::PayoutEvent;

/// Why a payout waits for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HoldReason {
    /// It may have been sent, and the rail cannot be asked.
    NoWayToKnow,
    /// It may have been sent, and the rail is no longer certain to recognise the key.
    HorizonExpired,
    /// Asking again and again brought no answer.
    BudgetExhausted,
    /// Every worker that touched it died.
    Poison,
    /// It may have been sent before it was stopped, and the rail cannot be asked; sending it again to find out is what
    /// the stop forbids.
    StoppedInDoubt,
    /// The rail accepted it, and has told nothing more in the time that it declares.
    NoNews,
    /// The rail accepted it, and a file that somebody handed in says that it was not paid after all. Money is free only
    /// by the rail's own word.
    RejectedByFile,
    /// A control: its affiliate is on hold. Nothing of it was sent.
    OnHold,
    /// A control: somebody stopped this payout. Nothing of it was sent.
    Stopped,
    /// A control: the account is contested, since its money was perhaps paid already (see `PaymentStep::Late`). Nothing
    /// of it was sent.
    Contested,
}

impl HoldReason {
    /// The code in schema, logs and screens.
    pub fn code(&self) -> &'static str {
        match self {
            HoldReason::NoWayToKnow => "no_way_to_know",
            HoldReason::HorizonExpired => "horizon_expired",
            HoldReason::BudgetExhausted => "budget_exhausted",
            HoldReason::Poison => "poison",
            HoldReason::StoppedInDoubt => "stopped_in_doubt",
            HoldReason::NoNews => "no_news",
            HoldReason::RejectedByFile => "rejected_by_file",
            HoldReason::OnHold => "on_hold",
            HoldReason::Stopped => "stopped",
            HoldReason::Contested => "contested",
        }
    }
}

impl HoldReason {
    /// All reasons.
    pub const ALL: [HoldReason; 10] = [
        HoldReason::NoWayToKnow,
        HoldReason::HorizonExpired,
        HoldReason::BudgetExhausted,
        HoldReason::Poison,
        HoldReason::StoppedInDoubt,
        HoldReason::NoNews,
        HoldReason::RejectedByFile,
        HoldReason::OnHold,
        HoldReason::Stopped,
        HoldReason::Contested,
    ];

    /// The controls: nothing is in doubt about what they hold. One person lifts a hold or a stop; a contest ends by
    /// two.
    pub const CONTROLS: [HoldReason; 3] = [HoldReason::OnHold, HoldReason::Stopped, HoldReason::Contested];

    /// Whether it is about single requests of which nobody could say what became of them: then what was proven unsent
    /// of the same batch is not held with them, where each payout is a request of its own.
    pub fn spares_unsent(&self) -> bool {
        matches!(self, HoldReason::HorizonExpired | HoldReason::BudgetExhausted)
    }

    /// What happens to the payouts that are held for it.
    pub fn event(&self) -> PayoutEvent {
        match self {
            HoldReason::NoNews | HoldReason::RejectedByFile => PayoutEvent::Doubt,
            HoldReason::NoWayToKnow
            | HoldReason::HorizonExpired
            | HoldReason::BudgetExhausted
            | HoldReason::Poison
            | HoldReason::StoppedInDoubt
            | HoldReason::OnHold
            | HoldReason::Stopped
            | HoldReason::Contested => PayoutEvent::Hold,
        }
    }
}

impl std::str::FromStr for HoldReason {
    type Err = String;

    fn from_str(code: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|reason| reason.code() == code);
        found.ok_or_else(|| {
            let known: Vec<&str> = Self::ALL.iter().map(HoldReason::code).collect();
            format!("`{code}` is no reason for a hold; there are {}", known.join(", "))
        })
    }
}

impl fmt::Display for HoldReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.code())
    }
}
