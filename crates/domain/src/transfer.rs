//! What the ledger's rows are: each moves the money of a payout from one account of the ledger to another.

use crate::PaymentStep;

/// A kind of transfer, as table `transfer_kind` numbers it. A payout has each at most once. The numbers are chosen so
/// that half of one is its step, of which none is taken twice: settled or released, and never both; then returns and
/// late proofs in turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(i16)]
pub enum TransferKind {
    /// The plan sets it aside for its payee.
    Reserve = 0,
    /// It is paid.
    Settle = 2,
    /// It never will be: it is due again.
    Release = 3,
    /// What was paid came back, and is due again.
    Return = 4,
    /// What had been due again is proven paid.
    Late = 6,
    /// It came back once more.
    SecondReturn = 8,
    /// And was proven paid once more.
    SecondLate = 10,
    /// It came back for the third time.
    ThirdReturn = 12,
    /// What the rail kept of a return, which is due again too: the payer's loss.
    Fee = 32,
    /// What it kept of the second one.
    SecondFee = 36,
    /// What it kept of the third one.
    ThirdFee = 40,
}

impl TransferKind {
    /// All kinds.
    pub const ALL: [TransferKind; 11] = [
        TransferKind::Reserve,
        TransferKind::Settle,
        TransferKind::Release,
        TransferKind::Return,
        TransferKind::Late,
        TransferKind::SecondReturn,
        TransferKind::SecondLate,
        TransferKind::ThirdReturn,
        TransferKind::Fee,
        TransferKind::SecondFee,
        TransferKind::ThirdFee,
    ];
    /// Money that came back, in turn.
    pub const RETURNS: [TransferKind; 3] =
        [TransferKind::Return, TransferKind::SecondReturn, TransferKind::ThirdReturn];
    /// What the rail kept of each of them.
    pub const FEES: [TransferKind; 3] = [TransferKind::Fee, TransferKind::SecondFee, TransferKind::ThirdFee];
    /// Late proof, in turn.
    pub const LATES: [TransferKind; 2] = [TransferKind::Late, TransferKind::SecondLate];
    /// By how much the number of a fee is higher than that of its return.
    pub const FEE_OF: i16 = TransferKind::Fee as i16 - TransferKind::Return as i16;

    /// Its number in the schema.
    pub fn number(self) -> i16 {
        self as i16
    }

    /// The kind with this number.
    pub fn of_number(number: i16) -> Option<TransferKind> {
        Self::ALL.into_iter().find(|kind| kind.number() == number)
    }

    /// Whether it takes what was due again from its payee's balance: late proof. All others that change the balance
    /// outside of a plan add to it.
    pub fn takes_back(self) -> bool {
        Self::LATES.contains(&self)
    }

    /// Whether it says that the payee was paid.
    pub fn pays(self) -> bool {
        self == TransferKind::Settle || self.takes_back()
    }

    /// Whether its money is due again by it, wholly or in part.
    pub fn frees(self) -> bool {
        self == TransferKind::Release || Self::RETURNS.contains(&self) || Self::FEES.contains(&self)
    }

    /// How often money came back, and was proven paid late, by the kinds of a payout's transfers. All of a return may
    /// have been kept as a fee.
    pub fn turns(has: impl Fn(TransferKind) -> bool) -> (usize, usize) {
        let returns = Self::RETURNS.iter().zip(Self::FEES).filter(|(kind, fee)| has(**kind) || has(*fee)).count();
        (returns, Self::LATES.iter().filter(|kind| has(**kind)).count())
    }

    /// The next return or late proof after the transfers that a payout has. `None` where nothing follows, or the ledger
    /// cannot follow.
    pub fn next(step: PaymentStep, has: impl Fn(TransferKind) -> bool) -> Option<TransferKind> {
        let (returns, lates) = Self::turns(has);
        match step {
            PaymentStep::Return => Self::RETURNS.get(returns).copied(),
            PaymentStep::Late => Self::LATES.get(lates).copied(),
            PaymentStep::Keep => None,
        }
    }

    /// Whether returns and lates were counted up from the first.
    pub fn are_in_turn(has: impl Fn(TransferKind) -> bool) -> bool {
        let returns = Self::RETURNS.iter().zip(Self::FEES).map(|(kind, fee)| has(*kind) || has(fee));
        returns.is_sorted_by(|before, after| before >= after)
            && Self::LATES.iter().map(|kind| has(*kind)).is_sorted_by(|before, after| before >= after)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lates_and_returns_take_turns() {
        use TransferKind::*;
        let next = |had: &[TransferKind]| {
            let has = |kind| had.contains(&kind);
            (TransferKind::next(PaymentStep::Return, has), TransferKind::next(PaymentStep::Late, has))
        };
        assert_eq!(next(&[Reserve, Settle]), (Some(Return), Some(Late)));
        assert_eq!(next(&[Reserve, Settle, Return]), (Some(SecondReturn), Some(Late)));
        assert_eq!(next(&[Reserve, Settle, Return, Late]), (Some(SecondReturn), Some(SecondLate)));
        let kept = [Reserve, Release, Late, Fee];
        assert_eq!(next(&kept), (Some(SecondReturn), Some(SecondLate)), "all of the return was kept as a fee");
        let all = [Reserve, Settle, Return, Late, SecondReturn, SecondLate, ThirdReturn];
        assert_eq!(next(&all), (None, None));
        assert_eq!(TransferKind::next(PaymentStep::Keep, |_| false), None);
    }

    #[test]
    fn numbers_say_what_excludes_what() {
        let step = |kind: TransferKind| kind.number() / 2;
        for one in TransferKind::ALL {
            assert_eq!(TransferKind::of_number(one.number()), Some(one));
            let others = TransferKind::ALL.into_iter().filter(|other| *other != one && step(*other) == step(one));
            let is_end = matches!(one, TransferKind::Settle | TransferKind::Release);
            assert_eq!(others.count(), usize::from(is_end), "{one:?}");
            let does = [one == TransferKind::Reserve, one.pays(), one.frees()];
            assert_eq!(does.iter().filter(|is| **is).count(), 1, "{one:?}");
        }
        for (back, fee) in TransferKind::RETURNS.into_iter().zip(TransferKind::FEES) {
            assert_eq!(fee.number(), back.number() + TransferKind::FEE_OF);
        }
    }
}
