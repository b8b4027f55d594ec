//! Why an affiliate with money due is not paid in a run.

use std::fmt;

/// The reason codes, in the order in which they are looked for: the first that holds is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Exclusion {
    /// The balance is beyond [`MAX_BALANCE_MINOR`](crate::MAX_BALANCE_MINOR); what was earned waits for the next run.
    BalanceOutOfRange,
    /// Clawbacks exceed what was earned; the affiliate owes the difference.
    NegativeBalance,
    /// Less is due than the run's minimum.
    BelowMinimum,
    /// The tenant has put the affiliate on hold.
    OnHold,
    /// The account was paid by a payout that counted as not paid; nobody has looked at it yet.
    Contested,
    /// The affiliate has no payout method.
    NoMethod,
    /// A rail has refused the affiliate's destination for ever, as of a closed account, and no other method can be
    /// used.
    MethodUnusable,
    /// The tenant has no rail for any of the affiliate's methods.
    NoRail,
    /// No rail for the affiliate's methods pays this currency.
    CurrencyUnsupported,
    /// The amount is outside the limits of the method or its rail.
    OutsideLimits,
}

impl Exclusion {
    /// All reasons.
    pub const ALL: [Exclusion; 10] = [
        Exclusion::BalanceOutOfRange,
        Exclusion::NegativeBalance,
        Exclusion::BelowMinimum,
        Exclusion::OnHold,
        Exclusion::Contested,
        Exclusion::NoMethod,
        Exclusion::MethodUnusable,
        Exclusion::NoRail,
        Exclusion::CurrencyUnsupported,
        Exclusion::OutsideLimits,
    ];

    /// The reason code.
    pub fn code(&self) -> &'static str {
        match self {
            Exclusion::BalanceOutOfRange => "balance_out_of_range",
            Exclusion::NegativeBalance => "negative_balance",
            Exclusion::BelowMinimum => "below_minimum",
            Exclusion::OnHold => "on_hold",
            Exclusion::Contested => "contested",
            Exclusion::NoMethod => "no_method",
            Exclusion::MethodUnusable => "method_unusable",
            Exclusion::NoRail => "no_rail",
            Exclusion::CurrencyUnsupported => "currency_unsupported",
            Exclusion::OutsideLimits => "outside_limits",
        }
    }
}

impl fmt::Display for Exclusion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.code())
    }
}
