//! A payout's account by reference: what rails say was paid of it and came back, and what that proves together.
//!
//! There are three witnesses of a movement: an answer or a lookup tells it, the rail's own statement lists it, and so
//! may a file that people hand in. They may give one payment three names, and none may know of all that the others
//! know. So what the payee has of the money is an interval: money is free only when even the most that may be out is
//! nothing, and it was paid twice only when the least that must be out is more than was ordered. What came back is
//! never added up over witnesses either: a bank's name for a return and the rail's may be of the same money.

use std::collections::{BTreeMap, BTreeSet};

/// Who says that money moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Witness {
    /// An answer, a lookup or two people.
    Told,
    /// A file.
    Filed,
    /// The rail's own statement.
    Listed,
}

impl Witness {
    /// All of them.
    pub const ALL: [Witness; 3] = [Witness::Told, Witness::Filed, Witness::Listed];
}

/// The account. Amounts are minor units of the payout's currency, above zero.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PaymentAccount {
    paid: BTreeMap<(String, Witness), i64>,
    returned: BTreeMap<(String, Witness), i64>,
    /// What the rail kept of each return.
    fees: BTreeMap<(String, Witness), i64>,
    /// Payments that a return is said to be of.
    given_back: BTreeSet<String>,
}

/// So many references of payments are named to people.
const NAMED: usize = 6;

/// What is to be done about a payout whose account has changed. Pure bookkeeping: whether the news is to be believed
/// was decided before.
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

    /// What the rail kept of a return: a part of what came back.
    pub fn keep_fee(&mut self, reference: &str, witness: Witness, minor: i64) {
        let known = self.fees.entry((reference.to_owned(), witness)).or_default();
        *known = (*known).max(minor);
    }

    /// What was kept of all that came back, in minor units: what the witness says who knows of most of it.
    pub fn fees(&self) -> i64 {
        Self::most(&self.fees).try_into().unwrap_or(i64::MAX)
    }

    /// A return is of this payment, where the rail says so. Decides nothing about money: it only tells payments apart
    /// for people.
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

    /// Whether a statement lists a payment, the rail's own or a file.
    pub fn is_listed(&self) -> bool {
        self.paid.keys().any(|(_, witness)| *witness != Witness::Told)
    }

    /// The references under which the rail's own statement lists payments; if it has none, those of files.
    pub fn listed(&self) -> impl Iterator<Item = &str> {
        let by = |by: Witness| move |(_, witness): &&(String, Witness)| *witness == by;
        let best = if self.paid.keys().any(|key| by(Witness::Listed)(&key)) { Witness::Listed } else { Witness::Filed };
        self.paid.keys().filter(by(best)).map(|(reference, _)| reference.as_str())
    }

    /// A payment that only a file names: perhaps another one.
    pub fn filed_otherwise(&self) -> Option<&str> {
        let is_told = |name: &str| {
            [Witness::Told, Witness::Listed].into_iter().any(|by| self.paid.contains_key(&(name.to_owned(), by)))
        };
        let filed = self.paid.keys().filter(|(_, witness)| *witness == Witness::Filed).map(|(name, _)| name.as_str());
        filed.into_iter().find(|name| !is_told(name))
    }

    /// All references of payments, each once.
    pub fn references(&self) -> Vec<&str> {
        let mut references: Vec<&str> = self.paid.keys().map(|(reference, _)| reference.as_str()).collect();
        references.dedup(); // in order of reference
        references
    }

    /// The references of payments for people, as many as can be read.
    pub fn named(&self) -> String {
        let names = self.references();
        let more = names.len().saturating_sub(NAMED);
        let named = names[..names.len() - more].join(", ");
        if more > 0 { format!("{named}, and {more} more") } else { named }
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

    /// What came back: the most that one of the witnesses knows. All may speak of the same money under several names.
    pub fn returned(&self) -> i128 {
        Self::most(&self.returned)
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
        Self::most(&self.paid) - self.returned()
    }

    /// The largest single payment; 0 if there was none.
    pub fn largest(&self) -> i64 {
        self.paid.values().copied().max().unwrap_or(0)
    }

    /// What follows for a payout. `counts_as_paid` is false for one whose money was due again after it had been
    /// reserved.
    pub fn step(&self, counts_as_paid: bool) -> PaymentStep {
        match (counts_as_paid, self.most_out()) {
            (true, ..=0) if self.is_paid() && self.has_returns() => PaymentStep::Return,
            (false, 1..) => PaymentStep::Late,
            _ => PaymentStep::Keep,
        }
    }

    /// What the witness says who knows of most.
    fn most(movements: &BTreeMap<(String, Witness), i64>) -> i128 {
        let of = |witness: Witness| movements.iter().filter(move |((_, by), _)| *by == witness);
        let sum = |witness| of(witness).map(|(_, minor)| i128::from(*minor)).sum();
        Witness::ALL.into_iter().map(sum).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::Witness::{Filed, Listed, Told};
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

    /// A bank's file and the rail's own statement have their own names for the same money.
    #[test]
    fn what_a_file_says_is_not_added_to_what_the_rail_says() {
        let twice = account(&[("a", Told), ("a", Listed), ("b", Listed)], &[("bank's", Filed), ("r", Listed)]);
        assert_eq!((twice.step(true), twice.returned()), (PaymentStep::Keep, 500), "one of two payments came back");
        let mut half = account(&[("a", Told)], &[]);
        half.give_back("bank's", Filed, 250);
        half.give_back("r", Listed, 250);
        assert_eq!(half.step(true), PaymentStep::Keep);
        let once = account(&[("a", Told), ("bank's", Filed), ("b", Listed)], &[]);
        assert!(!once.is_paid_twice(500) && once.is_listed());
        assert_eq!(once.listed().collect::<Vec<_>>(), ["b"]);
        assert_eq!(account(&[("bank's", Filed)], &[]).listed().collect::<Vec<_>>(), ["bank's"]);
    }

    #[test]
    fn the_payment_that_is_left_is_the_one_that_did_not_come_back() {
        let mut one = account(&[("a", Listed), ("b", Listed)], &[("r", Listed)]);
        assert_eq!(one.outstanding(), Some("a"));
        one.give_back_of("a");
        assert_eq!(one.outstanding(), Some("b"));
        one.give_back_of("b");
        assert_eq!(one.outstanding(), Some("a"), "there must be one");
    }

    #[test]
    fn it_was_paid_twice_if_one_witness_knows_two_payments() {
        let twice = |paid: &[_], returned: &[_]| account(paid, returned).is_paid_twice(500);
        let mut larger = account(&[], &[]);
        larger.pay("a", Listed, 700);
        assert!(!larger.is_paid_twice(500), "one payment of another amount");
        larger.pay("b", Listed, 1);
        assert!(larger.is_paid_twice(500));
        assert!(!twice(&[("a", Told), ("b", Listed)], &[]), "perhaps one payment with two names");
        assert!(twice(&[("a", Listed), ("b", Listed)], &[]));
        assert!(twice(&[("a", Told), ("b", Told)], &[]));
        assert!(!twice(&[("a", Listed), ("b", Listed)], &[("r", Listed)]), "one came back, and the sum is right again");
    }

    #[test]
    fn what_was_kept_is_told_once_whoever_tells_it() {
        let mut one = account(&[("a", Listed)], &[("r", Listed), ("bank's", Filed)]);
        for (reference, witness, minor) in
            [("r", Listed, 100), ("r", Listed, 100), ("bank's", Filed, 100), ("s", Listed, 20)]
        {
            one.keep_fee(reference, witness, minor);
        }
        assert_eq!(one.fees(), 120);
    }

    #[test]
    fn so_many_references_are_named_as_can_be_read() {
        let names: Vec<String> = (0..9).map(|n| n.to_string()).collect();
        let paid: Vec<(&str, Witness)> = names.iter().map(|name| (name.as_str(), Listed)).collect();
        assert_eq!(account(&paid[..2], &[]).named(), "0, 1");
        assert_eq!(account(&paid, &[]).named(), "0, 1, 2, 3, 4, 5, and 3 more");
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
