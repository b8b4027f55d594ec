//! Why an affiliate with money due is not paid in a run.

use std::fmt;
use std::str::FromStr;

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
    /// The rail of the method does not pay destinations of its kind.
    KindUnsupported,
    /// No rail for the affiliate's methods pays this currency.
    CurrencyUnsupported,
    /// The amount is outside the limits of the method, of its rail, or of the account there that pays.
    OutsideLimits,
    /// The rail counts the currency in larger units (see [`to_rail_minor`](crate::to_rail_minor)), and the amount does
    /// not come out even in them. It is never rounded.
    AmountUneven,
}

impl Exclusion {
    /// All reasons.
    pub const ALL: [Exclusion; 12] = [
        Exclusion::BalanceOutOfRange,
        Exclusion::NegativeBalance,
        Exclusion::BelowMinimum,
        Exclusion::OnHold,
        Exclusion::Contested,
        Exclusion::NoMethod,
        Exclusion::MethodUnusable,
        Exclusion::NoRail,
        Exclusion::KindUnsupported,
        Exclusion::CurrencyUnsupported,
        Exclusion::OutsideLimits,
        Exclusion::AmountUneven,
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
            Exclusion::KindUnsupported => "kind_unsupported",
            Exclusion::CurrencyUnsupported => "currency_unsupported",
            Exclusion::OutsideLimits => "outside_limits",
            Exclusion::AmountUneven => "amount_uneven",
        }
    }

    /// The same for people who do not know the code.
    pub fn meaning(&self) -> &'static str {
        match self {
            Exclusion::BalanceOutOfRange => "the balance is too large to be right; what was earned waits",
            Exclusion::NegativeBalance => "the affiliate owes more than was earned; later earnings clear it",
            Exclusion::BelowMinimum => "less is due than the run's minimum; it adds up",
            Exclusion::OnHold => "the affiliate is on hold",
            Exclusion::Contested => "a payment was proven too late; two people must look",
            Exclusion::NoMethod => "nobody has said where to pay",
            Exclusion::MethodUnusable => "a rail has refused the destination for ever, as of a closed account",
            Exclusion::NoRail => "the tenant has no rail for the method",
            Exclusion::KindUnsupported => "the method's rail does not pay destinations of its kind",
            Exclusion::CurrencyUnsupported => "the method's rail does not pay this currency",
            Exclusion::OutsideLimits => "the amount is outside the limits of the method, its rail or the account there",
            Exclusion::AmountUneven => "the method's rail counts this currency in larger units; it adds up",
        }
    }
}

impl FromStr for Exclusion {
    type Err = String;

    fn from_str(code: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|reason| reason.code() == code);
        found.ok_or_else(|| format!("`{code}` is no reason why somebody is not paid"))
    }
}

impl fmt::Display for Exclusion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_read_back() {
        for reason in Exclusion::ALL {
            assert_eq!(reason.code().parse(), Ok(reason));
        }
        assert!("pay".parse::<Exclusion>().is_err());
    }
}
