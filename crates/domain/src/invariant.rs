//! What must hold of every payout, account and run, whatever failed on the way: the promise, each part as one named
//! function. The reconciler judges statements with them, and the simulator and the chaos harness judge a rail's own
//! journal with the same ones.

mod balance;

use std::collections::BTreeMap;

use crate::{DiscrepancyKind, PaymentAccount, PayoutState, Witness};

pub use balance::{AccountFacts, Decided, Total, balance_is_its_history, nobody_is_skipped, run_adds_up};

/// What is known of one payment on a rail's list, before anything else is asked of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PaymentFacts {
    /// Its key is that of a payout which some run planned.
    pub is_planned: bool,
}

/// Nothing is paid that no run planned.
pub fn every_payment_is_planned(facts: &PaymentFacts) -> bool {
    facts.is_planned
}

/// How much of a payout's money the payee has, beside what was ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Out {
    /// Nothing, or less: more came back than went out.
    Nothing,
    /// Less than one payment.
    Part,
    /// One payment.
    Whole,
    /// More than one payment.
    More,
}

impl Out {
    /// `whole` is one payment; all in minor units.
    fn of(out: i128, whole: i64) -> Out {
        match out {
            ..=0 => Out::Nothing,
            _ if out < whole.into() => Out::Part,
            _ if out == whole.into() => Out::Whole,
            _ => Out::More,
        }
    }
}

/// What our record and a rail's list of payments (its statements, or a test rail's journal) say of one payout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PayoutFacts {
    /// Where it stands by our record.
    pub state: PayoutState,
    /// The least that the payee must have, by all that is known.
    pub least_out: Out,
    /// The most that the payee may have.
    pub most_out: Out,
    /// Something proves that it was ever paid.
    pub is_proven: bool,
    /// The list has a payment of it.
    pub is_listed: bool,
    /// The rail lists its payments at all.
    pub has_list: bool,
    /// A file tells that money came back, and nobody has confirmed it yet.
    pub return_waits: bool,
    /// A return is told that cannot be right: before its payment, larger than it, or in another currency.
    pub return_differs: bool,
    /// It was proven paid after its money had been due again, and nobody has looked yet.
    pub is_contested: bool,
    /// The list names another reference than our record, and not ours.
    pub reference_differs: bool,
    /// The list names another amount than the plan.
    pub amount_differs: bool,
    /// The list names another currency than the plan.
    pub currency_differs: bool,
    /// The list names another destination than the plan.
    pub destination_differs: bool,
    /// It is on the list of an account that it was not to be paid from.
    pub account_differs: bool,
}

impl PayoutFacts {
    /// A payout in this state with this account, of so much in minor units, everything else as it should be.
    pub fn of(state: PayoutState, planned_minor: i64, account: &PaymentAccount) -> PayoutFacts {
        let whole = planned_minor.max(account.largest());
        PayoutFacts {
            state,
            least_out: Out::of(account.least_out(), whole),
            most_out: Out::of(account.most_out(), whole),
            is_proven: account.is_paid(),
            is_listed: account.is_listed(),
            has_list: true,
            return_waits: false,
            return_differs: false,
            is_contested: false,
            reference_differs: false,
            amount_differs: false,
            currency_differs: false,
            destination_differs: false,
            account_differs: false,
        }
    }

    /// A payout in this state that the rail paid so often, as planned and under the reference that we know.
    pub fn as_planned(state: PayoutState, payments: u32) -> PayoutFacts {
        let mut account = PaymentAccount::default();
        (0..payments).for_each(|n| account.pay(&n.to_string(), Witness::Listed, 1));
        if state == PayoutState::Returned && payments > 0 {
            account.give_back("back", Witness::Listed, 1);
        }
        PayoutFacts::of(state, 1, &account)
    }

    fn is_settled(&self) -> bool {
        matches!(self.state, PayoutState::Paid | PayoutState::Returned)
    }

    /// By our record the payee has nothing of it, and nothing is under way.
    fn is_unpaid(&self) -> bool {
        matches!(self.state, PayoutState::Refused | PayoutState::Cancelled | PayoutState::Planned)
    }
}

/// No affiliate is paid twice for one run.
pub fn paid_at_most_once(facts: &PayoutFacts) -> bool {
    facts.least_out != Out::More
}

/// What counts as not paid, or as paid back, is not in the payee's hands.
pub fn unpaid_is_unpaid(facts: &PayoutFacts) -> bool {
    let counts_as_free = facts.is_unpaid() || facts.state == PayoutState::Returned;
    !(counts_as_free && facts.most_out != Out::Nothing && paid_at_most_once(facts))
}

/// What counts as paid was paid.
pub fn settled_is_paid(facts: &PayoutFacts) -> bool {
    !(facts.is_settled() && !facts.is_listed && facts.has_list)
}

/// The amount that was planned was paid.
pub fn amount_is_planned(facts: &PayoutFacts) -> bool {
    !facts.amount_differs || facts.is_unpaid()
}

/// The currency that was planned was paid.
pub fn currency_is_planned(facts: &PayoutFacts) -> bool {
    !facts.currency_differs || facts.is_unpaid()
}

/// The destination that was planned was paid.
pub fn destination_is_planned(facts: &PayoutFacts) -> bool {
    !facts.destination_differs || facts.is_unpaid()
}

/// It was paid from the account that was planned.
pub fn account_is_planned(facts: &PayoutFacts) -> bool {
    !facts.account_differs
}

/// A payment can be followed to the rail by its reference.
pub fn reference_is_known(facts: &PayoutFacts) -> bool {
    !(facts.is_settled() && facts.is_listed && paid_at_most_once(facts) && facts.reference_differs)
}

/// Money that came back, all of it as far as any one witness knows, is recorded as returned.
pub fn return_is_recorded(facts: &PayoutFacts) -> bool {
    !(facts.state == PayoutState::Paid && facts.is_proven && facts.least_out == Out::Nothing)
}

/// Money comes back whole, the rail's fee counted in.
pub fn return_is_whole(facts: &PayoutFacts) -> bool {
    !(facts.is_settled() && facts.least_out == Out::Part)
}

/// No return waits for a second person.
pub fn return_is_confirmed(facts: &PayoutFacts) -> bool {
    !facts.return_waits
}

/// A return is one of a payment that was made before, of no more than that and in its currency.
pub fn return_is_of_its_payment(facts: &PayoutFacts) -> bool {
    !facts.return_differs
}

/// Late proof has been looked at by people.
pub fn late_proof_is_settled(facts: &PayoutFacts) -> bool {
    !facts.is_contested
}

/// Whether something holds of a payout.
pub type OfAPayout = fn(&PayoutFacts) -> bool;

/// The invariants of a payout, each with what it is called when it is broken; in the order of reports.
pub const OF_A_PAYOUT: [(DiscrepancyKind, OfAPayout); 13] = [
    (DiscrepancyKind::PaidTwice, paid_at_most_once),
    (DiscrepancyKind::PaidUnrecorded, unpaid_is_unpaid),
    (DiscrepancyKind::PaidLate, late_proof_is_settled),
    (DiscrepancyKind::NotOnStatement, settled_is_paid),
    (DiscrepancyKind::AmountDiffers, amount_is_planned),
    (DiscrepancyKind::CurrencyDiffers, currency_is_planned),
    (DiscrepancyKind::DestinationDiffers, destination_is_planned),
    (DiscrepancyKind::AccountDiffers, account_is_planned),
    (DiscrepancyKind::ReferenceDiffers, reference_is_known),
    (DiscrepancyKind::ReturnUnrecorded, return_is_recorded),
    (DiscrepancyKind::ReturnInPart, return_is_whole),
    (DiscrepancyKind::ReturnUnconfirmed, return_is_confirmed),
    (DiscrepancyKind::ReturnDiffers, return_is_of_its_payment),
];

/// What is broken about a payout.
pub fn broken(facts: &PayoutFacts) -> Vec<DiscrepancyKind> {
    OF_A_PAYOUT.iter().filter(|(_, holds)| !holds(facts)).map(|(kind, _)| *kind).collect()
}

/// The outcome of a payment is known in time. A held payout has left the time limit behind: people decide about it.
/// `is_late` says that it was sent for the first time longer ago than the limit.
pub fn outcome_is_known_in_time(state: PayoutState, is_late: bool) -> bool {
    let waits = matches!(state, PayoutState::Planned | PayoutState::Accepted | PayoutState::Unknown);
    !(waits && is_late)
}

/// The transfers of a payout, as the ledger has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct TransferFacts {
    /// Its money was reserved.
    pub reserved: bool,
    /// And paid out.
    pub settled: bool,
    /// Or released.
    pub released: bool,
    /// How often it came back.
    pub returns: u32,
    /// How often it was proven paid after it had been due again.
    pub lates: u32,
    /// Every one of them has the payout's amount and currency; a return and what the rail kept of it count together.
    pub amounts_agree: bool,
}

/// The ledger says what the state says: reserved, then settled or released, then returns and late proofs in turn, each
/// with the whole amount.
pub fn ledger_follows_state(state: PayoutState, transfers: &TransferFacts) -> bool {
    let TransferFacts { reserved, settled, released, returns, lates, amounts_agree } = *transfers;
    // After a settlement money may come back, after a release it may be proven paid; and so on in turn.
    let is_out = match (settled, released) {
        (true, false) if returns == lates => true,
        (true, false) if returns == lates + 1 => false,
        (false, true) if lates == returns + 1 => true,
        (false, true) if lates == returns => false,
        (false, false) if returns == 0 && lates == 0 => false,
        _ => return false,
    };
    let follows = match state {
        PayoutState::Paid => is_out,
        PayoutState::Returned => !is_out && returns > 0,
        PayoutState::Refused | PayoutState::Cancelled => released && returns == 0 && !is_out,
        PayoutState::Planned | PayoutState::Accepted | PayoutState::Unknown | PayoutState::Held => {
            !settled && !released
        }
    };
    reserved && amounts_agree && follows
}

/// Money in the ledger sums to zero in every currency.
pub fn ledger_sums_to_zero(sums: &BTreeMap<String, i128>) -> bool {
    sums.values().all(|sum| *sum == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_as_it_should_be_breaks_nothing() {
        for state in PayoutState::ALL {
            let paid = matches!(state, PayoutState::Paid | PayoutState::Returned);
            assert_eq!(broken(&PayoutFacts::as_planned(state, u32::from(paid))), [], "{state}");
        }
        // The outcome of these is not known, so that the rail may have paid or not.
        for state in [PayoutState::Unknown, PayoutState::Held, PayoutState::Accepted] {
            assert_eq!(broken(&PayoutFacts::as_planned(state, 1)), [], "{state}");
        }
    }

    #[test]
    fn each_difference_breaks_its_own_invariant() {
        use DiscrepancyKind as K;
        use PayoutState as S;
        let paid = PayoutFacts::as_planned(S::Paid, 1);
        for (facts, kind) in [
            (PayoutFacts { least_out: Out::More, ..paid }, K::PaidTwice),
            (PayoutFacts::as_planned(S::Paid, 2), K::PaidTwice),
            (PayoutFacts::as_planned(S::Refused, 1), K::PaidUnrecorded),
            (PayoutFacts { most_out: Out::Whole, ..PayoutFacts::as_planned(S::Returned, 1) }, K::PaidUnrecorded),
            (PayoutFacts { is_contested: true, ..paid }, K::PaidLate),
            (PayoutFacts { is_listed: false, ..paid }, K::NotOnStatement),
            (PayoutFacts { amount_differs: true, ..paid }, K::AmountDiffers),
            (PayoutFacts { currency_differs: true, ..paid }, K::CurrencyDiffers),
            (PayoutFacts { destination_differs: true, ..paid }, K::DestinationDiffers),
            (PayoutFacts { reference_differs: true, ..paid }, K::ReferenceDiffers),
            (PayoutFacts { account_differs: true, ..paid }, K::AccountDiffers),
            (PayoutFacts { least_out: Out::Nothing, most_out: Out::Nothing, ..paid }, K::ReturnUnrecorded),
            (PayoutFacts { least_out: Out::Part, ..paid }, K::ReturnInPart),
            (PayoutFacts { return_waits: true, ..paid }, K::ReturnUnconfirmed),
            (PayoutFacts { return_differs: true, ..paid }, K::ReturnDiffers),
        ] {
            assert_eq!(broken(&facts), [kind], "{facts:?}");
        }
    }

    /// A new kind does not compile here before it has an invariant, and an example that breaks it.
    #[test]
    fn each_kind_of_discrepancy_is_a_broken_invariant() {
        use DiscrepancyKind as K;
        use PayoutState as S;
        let paid = PayoutFacts::as_planned(S::Paid, 1);
        let account = AccountFacts { opening: Some(0), earned: 0, decided: None, residual: 0 };
        for kind in K::ALL {
            let is_of_a_payout = OF_A_PAYOUT.iter().filter(|(other, _)| *other == kind).count() == 1;
            let (holds, of_a_payout) = match kind {
                K::PaidTwice => (paid_at_most_once(&PayoutFacts::as_planned(S::Paid, 2)), true),
                K::PaidUnrecorded => (unpaid_is_unpaid(&PayoutFacts { state: S::Refused, ..paid }), true),
                K::PaidLate => (late_proof_is_settled(&PayoutFacts { is_contested: true, ..paid }), true),
                K::NotOnStatement => (settled_is_paid(&PayoutFacts { is_listed: false, ..paid }), true),
                K::AmountDiffers => (amount_is_planned(&PayoutFacts { amount_differs: true, ..paid }), true),
                K::CurrencyDiffers => (currency_is_planned(&PayoutFacts { currency_differs: true, ..paid }), true),
                K::DestinationDiffers => {
                    (destination_is_planned(&PayoutFacts { destination_differs: true, ..paid }), true)
                }
                K::ReferenceDiffers => (reference_is_known(&PayoutFacts { reference_differs: true, ..paid }), true),
                K::AccountDiffers => (account_is_planned(&PayoutFacts { account_differs: true, ..paid }), true),
                K::ReturnUnrecorded => (return_is_recorded(&PayoutFacts { least_out: Out::Nothing, ..paid }), true),
                K::ReturnInPart => (return_is_whole(&PayoutFacts { least_out: Out::Part, ..paid }), true),
                K::ReturnUnconfirmed => (return_is_confirmed(&PayoutFacts { return_waits: true, ..paid }), true),
                K::ReturnDiffers => (return_is_of_its_payment(&PayoutFacts { return_differs: true, ..paid }), true),
                K::NeverPlanned => (every_payment_is_planned(&PaymentFacts { is_planned: false }), false),
                // Of an account, and of the whole run where no account explains it.
                K::Skipped => {
                    let due = Total { accounts: 1, amount_minor: 1 };
                    let of_run = run_adds_up(due, Total { accounts: 1, amount_minor: 0 });
                    (nobody_is_skipped(&AccountFacts { earned: 1, ..account }) || of_run, false)
                }
                // Of a payout, of an account, and of all.
                K::LedgerOutOfBalance => {
                    let of_payout = ledger_follows_state(S::Paid, &TransferFacts::default());
                    let of_account = balance_is_its_history(&AccountFacts { residual: 1, ..account });
                    (of_payout || of_account || ledger_sums_to_zero(&BTreeMap::from([("EUR".to_owned(), 1)])), false)
                }
                K::UnknownTooLong => (outcome_is_known_in_time(S::Unknown, true), false),
            };
            assert!(!holds, "{kind} is seen");
            assert_eq!(is_of_a_payout, of_a_payout, "{kind}");
        }
        assert!(outcome_is_known_in_time(S::Unknown, false) && outcome_is_known_in_time(S::Held, true));
        assert!(every_payment_is_planned(&PaymentFacts { is_planned: true }));
    }

    #[test]
    fn the_ledger_follows_the_state() {
        let reserved = TransferFacts { reserved: true, amounts_agree: true, ..TransferFacts::default() };
        let settled = TransferFacts { settled: true, ..reserved };
        let released = TransferFacts { released: true, ..reserved };
        let followed = |transfers: TransferFacts| {
            PayoutState::ALL
                .into_iter()
                .filter(move |state| ledger_follows_state(*state, &transfers))
                .collect::<Vec<_>>()
        };
        use PayoutState::*;
        for (transfers, states) in [
            (reserved, vec![Planned, Accepted, Unknown, Held]),
            (settled, vec![Paid]),
            (TransferFacts { returns: 1, ..settled }, vec![Returned]),
            (TransferFacts { returns: 1, lates: 1, ..settled }, vec![Paid]),
            (TransferFacts { returns: 2, lates: 1, ..settled }, vec![Returned]),
            (released, vec![Refused, Cancelled]),
            (TransferFacts { lates: 1, ..released }, vec![Paid]),
            (TransferFacts { lates: 1, returns: 1, ..released }, vec![Returned]),
            (TransferFacts { lates: 1, ..settled }, vec![]),
            (TransferFacts { returns: 1, ..released }, vec![]),
            (TransferFacts { released: true, ..settled }, vec![]),
            (TransferFacts { amounts_agree: false, ..settled }, vec![]),
            (TransferFacts { reserved: false, ..settled }, vec![]),
        ] {
            assert_eq!(followed(transfers), states, "{transfers:?}");
        }
    }
}
