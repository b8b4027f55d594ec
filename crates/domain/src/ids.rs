//! The numbers that name rows. Each is its own type, so that a batch can never be passed for a payout.

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }

        impl std::str::FromStr for $name {
            type Err = std::num::ParseIntError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }
    };
}

id!(/// A merchant with an affiliate program of its own.
    TenantId(i32));
id!(/// Somebody who is known by a token.
    PersonId(i32));
id!(/// One tenant's payouts for one period.
    RunId(i64));
id!(/// Payouts that travel together.
    BatchId(i64));
id!(/// Who earns commissions; the number inside, not the tenant's own name for them.
    AffiliateId(i64));
id!(/// One instruction. The upper 31 bits are its run, the lower 32 its place in the plan, so that the payouts of a
    /// batch are one range of numbers and a payout's run is known without looking.
    PayoutId(i64));
id!(/// How often a batch was leased. A lease is valid only with the newest.
    Epoch(i32));
id!(/// How often a batch was submitted, this time included. The first is 1.
    AttemptNo(i32));

impl PayoutId {
    /// The run that planned this payout.
    pub fn run(self) -> RunId {
        RunId(self.0 >> 32)
    }
}

impl RunId {
    /// The numbers of all payouts that this run can plan, first and last.
    pub fn payouts(self) -> (PayoutId, PayoutId) {
        (PayoutId(self.0 << 32), PayoutId((self.0 << 32) | 0xffff_ffff))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payout_knows_its_run_and_a_run_its_payouts() {
        let (first, last) = RunId(3).payouts();
        assert_eq!((first, last), (PayoutId(12_884_901_888), PayoutId(17_179_869_183)));
        assert_eq!((first.run(), last.run()), (RunId(3), RunId(3)));
        assert_eq!((PayoutId(first.0 - 1).run(), PayoutId(last.0 + 1).run()), (RunId(2), RunId(4)));
    }
}
