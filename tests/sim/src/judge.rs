//! The judge: plan, record and the rail's own journal against the invariants of `domain`, which are the reconciler's
//! too.

use std::collections::{BTreeMap, BTreeSet};

use payfleet_domain::invariant::{
    AccountFacts, Decided, PaymentFacts, PayoutFacts, Total, TransferFacts, balance_is_its_history, broken,
    every_payment_is_planned, ledger_follows_state, ledger_sums_to_zero, nobody_is_skipped, outcome_is_known_in_time,
    run_adds_up,
};
use payfleet_domain::{Movement, PaymentAccount, PayoutId, PayoutState, RunId, RunState, TransferKind, Witness};

use crate::backend::{Ended, PayoutEnd, RunEnd, Scenario};
use crate::rail::{Entry, Rails};

/// What the books themselves contradict: ledger, balances, counts and sums. Of one run, or of all.
pub fn books(scenario: &Scenario, ended: &Ended, only: Option<RunId>) -> Vec<String> {
    let mut wrong = Vec::new();
    let of_interest = |run: RunId| only.is_none_or(|only| only == run);
    for payout in ended.payouts.iter().filter(|payout| of_interest(payout.id.run())) {
        if !ledger_follows_state(payout.state, &transfer_facts(payout)) {
            wrong.push(format!("payout {} is {} and has {:?}", payout.id, payout.state, payout.transfers));
        }
    }
    if !ledger_sums_to_zero(&ledger(ended)) {
        wrong.push("the ledger does not sum to zero".to_owned());
    }
    for run in ended.runs.iter().filter(|run| of_interest(run.id) && run.state != RunState::Planning) {
        for affiliate in 0..scenario.affiliates.len() {
            let facts = account_facts(scenario, ended, run, affiliate);
            if !nobody_is_skipped(&facts) || !balance_is_its_history(&facts) {
                wrong.push(format!("{} in run {}: {facts:?}", scenario.affiliates[affiliate].name, run.id));
            }
        }
    }
    wrong
}

/// Debits and credits of all transfers, as table `transfer_kind` names their two sides.
fn ledger(ended: &Ended) -> BTreeMap<String, i128> {
    let mut sum = 0;
    for (kind, amount, _) in ended.payouts.iter().flat_map(|payout| &payout.transfers) {
        // No rail here keeps anything of what comes back.
        let sides = match TransferKind::FEES.contains(kind) {
            false => [-i128::from(*amount), i128::from(*amount)],
            true => [i128::from(*amount), 0],
        };
        sum += sides.iter().sum::<i128>();
    }
    BTreeMap::from([("EUR".to_owned(), sum)])
}

fn transfer_facts(payout: &PayoutEnd) -> TransferFacts {
    let count = |kind: TransferKind| payout.transfers.iter().filter(|(other, _, _)| *other == kind).count();
    TransferFacts {
        reserved: count(TransferKind::Reserve) == 1,
        settled: count(TransferKind::Settle) == 1,
        released: count(TransferKind::Release) == 1,
        returns: TransferKind::RETURNS.map(count).iter().sum::<usize>() as u32,
        lates: TransferKind::LATES.map(count).iter().sum::<usize>() as u32,
        amounts_agree: payout.transfers.iter().all(|(_, amount, _)| *amount == payout.amount_minor),
    }
}

fn account_facts(scenario: &Scenario, ended: &Ended, run: &RunEnd, affiliate: usize) -> AccountFacts {
    let place = ended.runs.iter().position(|other| other.id == run.id).unwrap_or(usize::MAX);
    let left_over = |of: &RunEnd| {
        let own = ended.exclusions.iter().filter(|excluded| excluded.affiliate == affiliate && excluded.run == of.id);
        own.map(|excluded| excluded.amount_minor).sum::<i64>()
    };
    // Ordinals are places, counted from 1.
    let due_again = |counts: &dyn Fn(usize) -> bool| {
        let own = ended.payouts.iter().filter(|payout| payout.affiliate == affiliate);
        let moved = own.flat_map(|payout| &payout.transfers);
        let counted = moved.filter(|(_, _, due_in)| due_in.is_some_and(|due_in| counts(due_in as usize - 1)));
        counted.map(|(kind, amount, _)| if kind.takes_back() { -amount } else { *amount }).sum::<i64>()
    };
    let payouts = ended.payouts.iter().filter(|payout| payout.affiliate == affiliate && payout.id.run() == run.id);
    let exclusions =
        ended.exclusions.iter().filter(|excluded| excluded.affiliate == affiliate && excluded.run == run.id);
    let decided = payouts
        .map(|payout| Decided { carried: payout.carried_minor, amount: payout.amount_minor })
        .chain(exclusions.map(|excluded| Decided { carried: excluded.carried_minor, amount: excluded.amount_minor }))
        .next();
    let before = place.checked_sub(1).map_or(0, |before| left_over(&ended.runs[before]));
    // The newest plan that has gone through this affiliate.
    let newest = ended.runs.iter().rposition(|window| affiliate < window.planned_up_to);
    let expected = newest.map_or(0, |newest| left_over(&ended.runs[newest]) + due_again(&|place| place > newest));
    AccountFacts {
        opening: Some(before + due_again(&|counted| counted == place)),
        earned: scenario.affiliates[affiliate].earned.get(place).copied().unwrap_or(0),
        decided,
        residual: ended.carried[affiliate] - expected,
    }
}

/// What the rail really did, against what was planned and recorded. This is the oracle: nothing that our record says is
/// believed.
///
/// What a rail did that its class denies must be said: the run is not called reconciled.
pub fn journal(scenario: &Scenario, ended: &Ended, rails: &Rails, wrong: &mut Vec<String>) {
    let mut by_payout = BTreeMap::<PayoutId, Vec<&Entry>>::new();
    for entry in &rails.journal {
        let is_planned = ended.payouts.iter().any(|payout| payout.id == entry.payout);
        if every_payment_is_planned(&PaymentFacts { is_planned }) {
            by_payout.entry(entry.payout).or_default().push(entry);
        } else {
            wrong.push(format!("{} was paid and never planned", entry.payout));
        }
    }
    let mut taken = vec![0; scenario.affiliates.len()];
    for payout in &ended.payouts {
        let entries = by_payout.remove(&payout.id).unwrap_or_default();
        let mut account = PaymentAccount::default();
        for (entry, nth) in entries.iter().zip(0..) {
            match entry.movement {
                Movement::Paid => account.pay(&entry.reference, Witness::Listed, entry.amount_minor),
                Movement::Rejected => {}
                // A return may be told under the payment's own name.
                Movement::Returned => account.give_back(&format!("{nth}"), Witness::Listed, entry.amount_minor),
            }
        }
        let paid = || entries.iter().filter(|entry| entry.movement == Movement::Paid);
        let facts = PayoutFacts {
            reference_differs: !entries.is_empty()
                && !paid().any(|entry| Some(&entry.reference) == payout.reference.as_ref()),
            amount_differs: paid().any(|entry| entry.amount_minor != payout.amount_minor),
            destination_differs: entries.iter().any(|entry| entry.affiliate != payout.affiliate),
            ..PayoutFacts::of(payout.state, payout.amount_minor, &account)
        };
        let kinds = broken(&facts);
        let verdict = ended.runs.iter().find(|run| run.id == payout.id.run()).and_then(|run| run.verdict);
        let is_told = rails.mistreated.contains(&payout.id) && verdict == Some(RunState::Discrepant);
        for kind in kinds.iter().filter(|_| !is_told) {
            let payments = paid().count();
            let run = verdict.map_or("not judged", |verdict| verdict.as_str());
            wrong.push(format!(
                "payout {} is {}: {kind}, {payments} payments; its run is {run}",
                payout.id, payout.state
            ));
        }
        if account.least_out() > 0 || !payout.state.is_accounted_for() || payout.state == PayoutState::Held {
            taken[payout.affiliate] += payout.amount_minor;
        }
    }
    // Whatever went out of an affiliate's money is gone from the balance, once for each payout, and nothing else is.
    for (place, affiliate) in scenario.affiliates.iter().enumerate() {
        let planned = ended.runs.iter().zip(&affiliate.earned).filter(|(run, _)| place < run.planned_up_to);
        let left = planned.map(|(_, earned)| earned).sum::<i64>() - taken[place];
        if left != ended.carried[place] {
            wrong.push(format!("{} has {} left, and {} in the books", affiliate.name, left, ended.carried[place]));
        }
    }
}

/// Nobody is missing: every run is closed and adds up.
pub fn ends(ended: &Ended, mistreated: &BTreeSet<PayoutId>, wrong: &mut Vec<String>) {
    for run in &ended.runs {
        let is_mistreated = mistreated.iter().any(|payout| payout.run() == run.id);
        let is_over = match run.state {
            RunState::Reconciled | RunState::Cancelled => true,
            RunState::Discrepant => is_mistreated,
            _ => false,
        };
        if !is_over || run.is_paused {
            wrong.push(format!("run {} ended as {}{}", run.id, run.state, if run.is_paused { ", paused" } else { "" }));
        }
        let total = |accounted: bool| {
            let payouts = ended.payouts.iter().filter(|payout| payout.id.run() == run.id);
            let counted = payouts.filter(|payout| !accounted || payout.state.is_accounted_for());
            counted.fold(Total::default(), |sum, payout| Total {
                accounts: sum.accounts + 1,
                amount_minor: sum.amount_minor + i128::from(payout.amount_minor),
            })
        };
        if !run_adds_up(total(false), total(true)) {
            wrong.push(format!("run {} does not add up", run.id));
        }
    }
    // Peace was long enough for every answer.
    for payout in ended.payouts.iter().filter(|payout| !outcome_is_known_in_time(payout.state, true)) {
        wrong.push(format!("payout {} ended as {}", payout.id, payout.state));
    }
    if ended.batches_open > 0 {
        wrong.push(format!("{} batches are open", ended.batches_open));
    }
}
