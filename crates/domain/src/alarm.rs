//! Alarms: what must not be, and has happened to money all the same.

use std::fmt;
use std::str::FromStr;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AlarmKind {
    /// The payee has more of one payout than was ordered.
    DoublePayment,
    /// A payout was proven paid after its money was due again, and it had been paid again meanwhile.
    PaidAgain,
    /// A statement has a payment of a payout that was never sent.
    PaidUnsent,
    /// Money went out and came back so often that the ledger has no more kinds for it.
    Uncountable,
    /// What became of a run does not add up to what was due.
    OutOfBalance,
}

impl AlarmKind {
    /// All kinds.
    pub const ALL: [AlarmKind; 5] = [
        AlarmKind::DoublePayment,
        AlarmKind::PaidAgain,
        AlarmKind::PaidUnsent,
        AlarmKind::Uncountable,
        AlarmKind::OutOfBalance,
    ];

    /// The schema's word.
    pub fn as_str(&self) -> &'static str {
        match self {
            AlarmKind::DoublePayment => "double_payment",
            AlarmKind::PaidAgain => "paid_again",
            AlarmKind::PaidUnsent => "paid_unsent",
            AlarmKind::Uncountable => "uncountable",
            AlarmKind::OutOfBalance => "out_of_balance",
        }
    }

    /// Why a run is paused by it, for people.
    pub fn pause_reason(&self) -> &'static str {
        match self {
            AlarmKind::DoublePayment => "double payment",
            AlarmKind::PaidAgain => "paid late, and again meanwhile",
            AlarmKind::PaidUnsent => "paid, and never sent from here",
            AlarmKind::Uncountable => "went out and came back too often to be counted",
            AlarmKind::OutOfBalance => "outcomes do not add up to what was due",
        }
    }
}

impl FromStr for AlarmKind {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word).ok_or_else(|| format!("`{word}` is not an alarm"))
    }
}

impl fmt::Display for AlarmKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
