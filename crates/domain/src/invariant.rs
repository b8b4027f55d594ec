//! What must hold of every payout, account and run, whatever failed on the way: the promise, each part as one named
//! function. The reconciler judges statements with them, and the simulator and the chaos harness judge a rail's own
//! journal with the same ones.

use std::collections::BTreeMap;

use crate::{DiscrepancyKind, PayoutState};

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

/// What the references under which a payout was proven to be paid say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Proof {
    /// There is no proof of payment beside the rail's list.
    None,
    /// All name one payment.
    OnePayment,
    /// They name several.
    SeveralPayments,
}

/// What our record and a rail's list of payments (its statement, or a test rail's journal) say of one payout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PayoutFacts {
    /// Where it stands by our record.
    pub state: PayoutState,
    /// Payments of it on the list.
    pub payments: u32,
    /// What evidence kept beside the payout, together with its own reference and those on the list, proves.
    pub proof: Proof,
    /// The list says that its money came back.
    pub returned: bool,
    /// And that it was the payment which we know of that came back.
    pub ours_returned: bool,
    /// The list names another reference than our record.
    pub reference_differs: bool,
    /// The list names another amount than the plan.
    pub amount_differs: bool,
    /// The list names another currency than the plan.
    pub currency_differs: bool,
    /// The list names another destination than the plan.
    pub destination_differs: bool,
    /// The rail lists its payments at all.
    pub is_listed: bool,
}

impl PayoutFacts {
    /// A payout in this state that the rail paid so often, as planned and under the reference that we know.
    pub fn as_planned(state: PayoutState, payments: u32) -> PayoutFacts {
        let returned = state == PayoutState::Returned;
        PayoutFacts {
            state,
            payments,
            proof: Proof::None,
            returned,
            ours_returned: returned,
            reference_differs: false,
            amount_differs: false,
            currency_differs: false,
            destination_differs: false,
            is_listed: true,
        }
    }

    fn is_settled(&self) -> bool {
        matches!(self.state, PayoutState::Paid | PayoutState::Returned)
    }

    /// By our record it was not paid and nothing is under way.
    fn is_unpaid(&self) -> bool {
        matches!(self.state, PayoutState::Refused | PayoutState::Cancelled | PayoutState::Planned)
    }
}

/// No affiliate is paid twice for one run.
pub fn paid_at_most_once(facts: &PayoutFacts) -> bool {
    facts.payments < 2 && facts.proof != Proof::SeveralPayments
}

/// What counts as not paid was not paid: nothing is refused, cancelled or still to be sent that the rail has paid.
pub fn unpaid_is_unpaid(facts: &PayoutFacts) -> bool {
    let was_paid = facts.payments > 0 || facts.proof != Proof::None;
    !(facts.is_unpaid() && was_paid && paid_at_most_once(facts))
}

/// What counts as paid was paid.
pub fn settled_is_paid(facts: &PayoutFacts) -> bool {
    !(facts.is_settled() && facts.payments == 0 && facts.is_listed)
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

/// A payment can be followed to the rail by its reference.
pub fn reference_is_known(facts: &PayoutFacts) -> bool {
    !(facts.is_settled() && facts.payments == 1 && paid_at_most_once(facts) && facts.reference_differs)
}

/// Money that came back is recorded as returned, and no other is.
pub fn return_is_recorded(facts: &PayoutFacts) -> bool {
    if facts.is_settled() {
        facts.payments == 0 || (facts.state == PayoutState::Returned) == facts.ours_returned
    } else {
        !(facts.is_unpaid() && facts.returned && facts.payments == 0 && facts.proof == Proof::None)
    }
}

/// Whether something holds of a payout.
pub type OfAPayout = fn(&PayoutFacts) -> bool;

/// The invariants of a payout, each with what it is called when it is broken; in the order of reports.
pub const OF_A_PAYOUT: [(DiscrepancyKind, OfAPayout); 8] = [
    (DiscrepancyKind::PaidTwice, paid_at_most_once),
    (DiscrepancyKind::PaidUnrecorded, unpaid_is_unpaid),
    (DiscrepancyKind::NotOnStatement, settled_is_paid),
    (DiscrepancyKind::AmountDiffers, amount_is_planned),
    (DiscrepancyKind::CurrencyDiffers, currency_is_planned),
    (DiscrepancyKind::DestinationDiffers, destination_is_planned),
    (DiscrepancyKind::ReferenceDiffers, reference_is_known),
    (DiscrepancyKind::ReturnUnrecorded, return_is_recorded),
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
    /// And came back.
    pub returned: bool,
    /// Every one of them has the payout's amount and currency.
    pub amounts_agree: bool,
}

/// The ledger says what the state says: reserved, then settled or released, then returned, each at most once and with
/// the whole amount.
pub fn ledger_follows_state(state: PayoutState, transfers: &TransferFacts) -> bool {
    let (settled, released, returned) = match state {
        PayoutState::Paid => (true, false, false),
        PayoutState::Returned => (true, false, true),
        PayoutState::Refused | PayoutState::Cancelled => (false, true, false),
        PayoutState::Planned | PayoutState::Accepted | PayoutState::Unknown | PayoutState::Held => {
            (false, false, false)
        }
    };
    let due = TransferFacts { reserved: true, settled, released, returned, amounts_agree: true };
    *transfers == due
}

/// What a run decided about an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Decided {
    /// The balance that the plan saw.
    pub carried: i64,
    /// What the payout or the exclusion is about.
    pub amount: i64,
}

/// What happened to one account in one run, by rows and never by instants: minor units of one currency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AccountFacts {
    /// What the run before left over, and what was due again in this run. Not known of runs from before that was written down.
    pub opening: Option<i64>,
    /// Earned in the run's window.
    pub earned: i64,
    /// Its payout or its exclusion.
    pub decided: Option<Decided>,
    /// The balance, less what the newest run left over and what became due again since.
    pub residual: i64,
}

impl AccountFacts {
    /// What neither payout nor exclusion took.
    pub fn skipped(&self) -> i128 {
        let taken = self.decided.map_or(0, |decided| decided.amount);
        match (self.opening, self.decided) {
            (Some(opening), _) => i128::from(opening) + i128::from(self.earned) - i128::from(taken),
            // Whatever it had before, this much is new.
            (None, Some(decided)) => i128::from(self.earned) + i128::from(decided.carried) - i128::from(taken),
            (None, None) => 0,
        }
    }
}

/// Everything that was due to the account is in a payout or an exclusion, and the plan saw the balance that there was: nobody is left out.
pub fn nobody_is_skipped(facts: &AccountFacts) -> bool {
    let saw_the_balance = match (facts.opening, facts.decided) {
        (Some(opening), Some(decided)) => decided.carried == opening,
        _ => true,
    };
    facts.skipped() == 0 && saw_the_balance
}

/// The balance follows from the decisions. What was skipped is missing from the balance too; that is the same difference, not another one.
pub fn balance_is_its_history(facts: &AccountFacts) -> bool {
    let residual = i128::from(facts.residual);
    residual == 0 || (!nobody_is_skipped(facts) && residual == facts.skipped())
}

/// How many accounts, and the sum of their amounts in minor units.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Total {
    /// How many.
    pub accounts: i64,
    /// How much.
    pub amount_minor: i128,
}

/// Guard G5 as a rule: whoever had money due at the cutoff is paid, refused, returned, held or cancelled, or excluded
/// with a reason; counts and sums add up to what was due. Both in one currency.
pub fn run_adds_up(due: Total, accounted_for: Total) -> bool {
    due == accounted_for
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
            (PayoutFacts { payments: 2, ..paid }, K::PaidTwice),
            (PayoutFacts { proof: Proof::SeveralPayments, ..paid }, K::PaidTwice),
            (PayoutFacts::as_planned(S::Refused, 1), K::PaidUnrecorded),
            (PayoutFacts { payments: 0, ..paid }, K::NotOnStatement),
            (PayoutFacts { amount_differs: true, ..paid }, K::AmountDiffers),
            (PayoutFacts { currency_differs: true, ..paid }, K::CurrencyDiffers),
            (PayoutFacts { destination_differs: true, ..paid }, K::DestinationDiffers),
            (PayoutFacts { reference_differs: true, ..paid }, K::ReferenceDiffers),
            (PayoutFacts { returned: true, ours_returned: true, ..paid }, K::ReturnUnrecorded),
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
                K::PaidTwice => (paid_at_most_once(&PayoutFacts { payments: 2, ..paid }), true),
                K::PaidUnrecorded => (unpaid_is_unpaid(&PayoutFacts { state: S::Refused, ..paid }), true),
                K::NotOnStatement => (settled_is_paid(&PayoutFacts { payments: 0, ..paid }), true),
                K::AmountDiffers => (amount_is_planned(&PayoutFacts { amount_differs: true, ..paid }), true),
                K::CurrencyDiffers => (currency_is_planned(&PayoutFacts { currency_differs: true, ..paid }), true),
                K::DestinationDiffers => {
                    (destination_is_planned(&PayoutFacts { destination_differs: true, ..paid }), true)
                }
                K::ReferenceDiffers => (reference_is_known(&PayoutFacts { reference_differs: true, ..paid }), true),
                K::ReturnUnrecorded => (return_is_recorded(&PayoutFacts { ours_returned: true, ..paid }), true),
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
        let paid = TransferFacts { reserved: true, settled: true, amounts_agree: true, ..TransferFacts::default() };
        assert!(ledger_follows_state(PayoutState::Paid, &paid));
        for state in PayoutState::ALL {
            assert_eq!(ledger_follows_state(state, &paid), state == PayoutState::Paid);
        }
        assert!(!ledger_follows_state(PayoutState::Paid, &TransferFacts { amounts_agree: false, ..paid }));
    }

    #[test]
    fn nobody_with_money_due_is_left_out() {
        let decided = Some(Decided { carried: 500, amount: 700 });
        let fine = AccountFacts { opening: Some(500), earned: 200, decided, residual: 0 };
        let nothing_due = AccountFacts { earned: -500, decided: None, ..fine };
        let before_that_was_written = AccountFacts { opening: None, ..fine };
        for facts in [fine, nothing_due, before_that_was_written] {
            assert!(nobody_is_skipped(&facts) && balance_is_its_history(&facts), "{facts:?}");
        }
        assert!(!nobody_is_skipped(&AccountFacts { earned: 201, ..fine }));
        assert!(!nobody_is_skipped(&AccountFacts { decided: None, ..fine }));
        assert!(!nobody_is_skipped(&AccountFacts { opening: Some(499), ..fine }));
        let saw_another_balance = Some(Decided { carried: 499, amount: 700 });
        assert!(!nobody_is_skipped(&AccountFacts { decided: saw_another_balance, ..fine }));
        assert!(!nobody_is_skipped(&AccountFacts { decided: saw_another_balance, ..before_that_was_written }));
        assert!(!balance_is_its_history(&AccountFacts { residual: -1, ..fine }));
        let left_out = AccountFacts { decided: None, residual: 700, ..fine };
        assert!(balance_is_its_history(&left_out), "what was left out is in the balance, and said already");
        assert!(!balance_is_its_history(&AccountFacts { residual: 701, ..left_out }));
    }
}
