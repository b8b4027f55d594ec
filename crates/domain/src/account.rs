//! A payout's account by reference: what rails say was paid of it and came back, and what that proves together.
//!
//! There are two witnesses of a movement: an answer or a lookup tells it, and a statement lists it. They may give one payment two names, and neither
//! may know of all that the other knows. So what the payee has of the money is an interval: money is free only when even the most that may be out is
//! nothing, and it was paid twice only when the least that must be out is more than was ordered.

use std::collections::{BTreeMap, BTreeSet};

/// Who says that money moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Witness {
    /// An answer, a lookup or two people.
    Told,
    /// A statement.
    Listed,
}

/// The account. Amounts are minor units of the payout's currency, above zero.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PaymentAccount {
    paid: BTreeMap<(String, Witness), i64>,
    returned: BTreeMap<(String, Witness), i64>,
    /// Payments that a return is said to be of.
    given_back: BTreeSet<String>,
}

/// What is to be done about a payout whose account has changed. Pure bookkeeping: whether the news is to be believed was decided before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PaymentStep {
    /// The books are right.
    Keep,
    /// All that was paid has come back: the money is due again. Rule `net_over_references`.
    Return,
    /// It counts as not paid, and its money was due again; but the payee has some of it: late proof. Rule `late_proof`.
    Late,
}

impl PaymentAccount {
    /// A payment under this reference.
    pub fn pay(&mut self, reference: &str, witness: Witness, minor: i64) {
        let known = self.paid.entry((reference.to_owned(), witness)).or_default();
        *known = (*known).max(minor);
    }

    /// Money that came back, what the rail kept of it included. `reference` is the return's own.
    pub fn give_back(&mut self, reference: &str, witness: Witness, minor: i64) {
        let known = self.returned.entry((reference.to_owned(), witness)).or_default();
        *known = (*known).max(minor);
    }

    /// A return is of this payment, where the rail says so. Decides nothing about money: it only tells payments apart for people.
    pub fn give_back_of(&mut self, payment: &str) {
        self.given_back.insert(payment.to_owned());
    }

    /// Whether the payee must have more than was ordered. A single payment of another amount is one payment.
    pub fn is_paid_twice(&self, ordered_minor: i64) -> bool {
        self.least_out() > self.largest().max(ordered_minor).into()
    }

    /// Whether anything is known to have been paid.
    pub fn is_paid(&self) -> bool {
        !self.paid.is_empty()
    }

    /// Whether a statement lists a payment.
    pub fn is_listed(&self) -> bool {
        self.paid.keys().any(|(_, witness)| *witness == Witness::Listed)
    }

    /// The references under which a statement lists payments.
    pub fn listed(&self) -> impl Iterator<Item = &str> {
        self.paid.keys().filter(|(_, witness)| *witness == Witness::Listed).map(|(reference, _)| reference.as_str())
    }

    /// All references of payments, each once.
    pub fn references(&self) -> Vec<&str> {
        let mut references: Vec<&str> = self.paid.keys().map(|(reference, _)| reference.as_str()).collect();
        references.dedup(); // in order of reference
        references
    }

    /// The payment that the payee probably has: the first of which no return is said to be.
    pub fn outstanding(&self) -> Option<&str> {
        let is_back = |name: &str| self.given_back.contains(name);
        let names = self.references();
        names.iter().find(|name| !is_back(name)).or(names.first()).copied()
    }

    /// Whether any of it is known to have come back.
    pub fn has_returns(&self) -> bool {
        !self.returned.is_empty()
    }

    /// What came back: the more that one of the witnesses knows. Both may speak of the same money under two names.
    pub fn returned(&self) -> i128 {
        Self::of(&self.returned, Witness::Told).max(Self::of(&self.returned, Witness::Listed))
    }

    /// The most that the payee may have: payments with different names are different ones.
    pub fn most_out(&self) -> i128 {
        let mut by_name = BTreeMap::<&str, i64>::new();
        for ((reference, _), minor) in &self.paid {
            let known = by_name.entry(reference).or_default();
            *known = (*known).max(*minor);
        }
        by_name.values().map(|minor| i128::from(*minor)).sum::<i128>() - self.returned()
    }

    /// The least that the payee must have: what one witness calls by another name may be the same payment.
    pub fn least_out(&self) -> i128 {
        Self::of(&self.paid, Witness::Told).max(Self::of(&self.paid, Witness::Listed)) - self.returned()
    }

    /// The largest single payment; 0 if there was none.
    pub fn largest(&self) -> i64 {
        self.paid.values().copied().max().unwrap_or(0)
    }

    /// What follows for a payout. `counts_as_paid` is false for one whose money was due again after it had been reserved.
    pub fn step(&self, counts_as_paid: bool) -> PaymentStep {
        match (counts_as_paid, self.most_out()) {
            (true, ..=0) if self.is_paid() && self.has_returns() => PaymentStep::Return,
            (false, 1..) => PaymentStep::Late,
            _ => PaymentStep::Keep,
        }
    }

    fn of(movements: &BTreeMap<(String, Witness), i64>, witness: Witness) -> i128 {
        movements.iter().filter(|((_, of), _)| *of == witness).map(|(_, minor)| i128::from(*minor)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::Witness::{Listed, Told};
    use super::*;

    fn account(paid: &[(&str, Witness)], returned: &[(&str, Witness)]) -> PaymentAccount {
        let mut account = PaymentAccount::default();
        paid.iter().for_each(|(reference, witness)| account.pay(reference, *witness, 500));
        returned.iter().for_each(|(reference, witness)| account.give_back(reference, *witness, 500));
        account
    }

    #[test]
    fn money_is_free_when_all_that_was_paid_has_come_back() {
        let free = |paid: &[_], returned: &[_]| account(paid, returned).step(true) == PaymentStep::Return;
        assert!(!free(&[("a", Told)], &[]));
        assert!(free(&[("a", Told)], &[("r", Listed)]));
        assert!(free(&[("a", Told), ("a", Listed)], &[("a", Told), ("r", Listed)]), "two witnesses of one return");
        // Paid twice, and one came back: the payee has the other, whichever name it has.
        assert!(!free(&[("a", Told), ("b", Listed)], &[("r", Listed)]));
        assert!(!free(&[("a", Told), ("b", Told)], &[("b", Told)]));
        assert!(!free(&[("a", Told), ("b", Listed)], &[("a", Told), ("r", Listed)]), "perhaps one return");
        assert!(free(&[("a", Told), ("b", Listed)], &[("r", Listed), ("s", Listed)]));
    }

    #[test]
    fn it_was_paid_twice_if_one_witness_knows_two_payments() {
        let twice = |paid: &[_], returned: &[_]| account(paid, returned).least_out() > 500;
        assert!(!twice(&[("a", Told), ("b", Listed)], &[]), "perhaps one payment with two names");
        assert!(twice(&[("a", Listed), ("b", Listed)], &[]));
        assert!(twice(&[("a", Told), ("b", Told)], &[]));
        assert!(!twice(&[("a", Listed), ("b", Listed)], &[("r", Listed)]), "one came back, and the sum is right again");
    }

    #[test]
    fn part_of_the_money_frees_none_of_it() {
        let mut part = account(&[("a", Told)], &[]);
        part.give_back("r", Listed, 499);
        assert_eq!((part.step(true), part.most_out()), (PaymentStep::Keep, 1));
        part.give_back("s", Listed, 1);
        assert_eq!(part.step(true), PaymentStep::Return);
    }

    #[test]
    fn a_payment_of_what_counts_as_not_paid_is_late_proof() {
        assert_eq!(account(&[("a", Told)], &[]).step(false), PaymentStep::Late);
        assert_eq!(account(&[("a", Told)], &[("a", Told)]).step(false), PaymentStep::Keep);
        assert_eq!(account(&[], &[]).step(false), PaymentStep::Keep);
        assert_eq!(account(&[], &[]).step(true), PaymentStep::Keep, "its payment is on its way to us");
    }
}
