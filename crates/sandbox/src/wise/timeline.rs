//! The states of a transfer, and when it is in which [W7]. Nothing here moves money.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::wire::At;

/// A state, as Wise names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Not funded.
    IncomingPaymentWaiting,
    /// Funded.
    Processing,
    /// Converted: cannot be cancelled any more.
    FundsConverted,
    /// The last of the good path, and no proof of arrival.
    OutgoingPaymentSent,
    /// It could not be delivered.
    BouncedBack,
    /// It will not be delivered; its money may still be on its way back.
    Cancelled,
    /// The money is back.
    FundsRefunded,
    /// The incoming payment was taken back.
    ChargedBack,
}

impl State {
    /// As Wise writes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::IncomingPaymentWaiting => "incoming_payment_waiting",
            Self::Processing => "processing",
            Self::FundsConverted => "funds_converted",
            Self::OutgoingPaymentSent => "outgoing_payment_sent",
            Self::BouncedBack => "bounced_back",
            Self::Cancelled => "cancelled",
            Self::FundsRefunded => "funds_refunded",
            Self::ChargedBack => "charged_back",
        }
    }
}

/// What becomes of a transfer that is funded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Course {
    /// It is sent.
    Good,
    /// It is sent, goes back to an earlier state once, and is sent again.
    RollBack,
    /// It is sent, and bounces.
    Bounce,
    /// It is cancelled before it is sent.
    Cancel,
    /// It stays where it is.
    Stuck,
}

impl Course {
    /// Its states from the moment of its funding, each for one step.
    pub fn states(self) -> &'static [State] {
        use State::{BouncedBack, Cancelled, FundsConverted, OutgoingPaymentSent, Processing};
        match self {
            Self::Good => &[Processing, FundsConverted, OutgoingPaymentSent],
            Self::RollBack => {
                &[Processing, FundsConverted, OutgoingPaymentSent, Processing, FundsConverted, OutgoingPaymentSent]
            }
            Self::Bounce => &[Processing, FundsConverted, OutgoingPaymentSent, BouncedBack, Processing, Cancelled],
            Self::Cancel => &[Processing, Cancelled],
            Self::Stuck => &[Processing],
        }
    }

    /// The same with instants.
    pub fn steps(self, from: At, step: Duration) -> Vec<(At, State)> {
        let states = self.states().iter().enumerate();
        states.map(|(count, state)| (from.after(step * u32::try_from(count).unwrap_or(0)), *state)).collect()
    }
}

/// What was last of what has come.
pub fn state_at(steps: &[(At, State)], now: At) -> State {
    let come = steps.iter().rev().find(|(at, _)| *at <= now).or(steps.first());
    come.map_or(State::IncomingPaymentWaiting, |(_, state)| *state)
}
