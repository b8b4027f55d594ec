//! The judge: plan, record and the rail's own journal against the invariants of `domain`, which are the reconciler's too.

use std::collections::BTreeMap;

use payfleet_domain::invariant::{
    AccountFacts, CLOCK_ERROR, PaymentFacts, PayoutFacts, Total, TransferFacts, balance_is_its_history, broken,
    every_payment_is_planned, ledger_follows_state, ledger_sums_to_zero, nobody_is_skipped, outcome_is_known_in_time,
    run_adds_up,
};
use payfleet_domain::{Movement, PayoutId, RunId, RunState};

use crate::backend::{Ended, PayoutEnd, RunEnd, Scenario};
use crate::rail::Entry;

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
        let sides = match kind {
            0 | 2 | 3 | 4 => [-i128::from(*amount), i128::from(*amount)],
            _ => [i128::from(*amount), 0],
        };
        sum += sides.iter().sum::<i128>();
    }
    BTreeMap::from([("EUR".to_owned(), sum)])
}

fn transfer_facts(payout: &PayoutEnd) -> TransferFacts {
    let count = |kind: u8| payout.transfers.iter().filter(|(other, _, _)| *other == kind).count();
    TransferFacts {
        reserved: count(0) == 1,
        settled: count(2) == 1,
        released: count(3) == 1,
        returned: count(4) == 1,
        amounts_agree: payout.transfers.iter().all(|(_, amount, _)| *amount == payout.amount_minor),
    }
}

fn account_facts(scenario: &Scenario, ended: &Ended, run: &RunEnd, affiliate: usize) -> AccountFacts {
    let earned = |run: &RunEnd| {
        let place = ended.runs.iter().position(|other| other.id == run.id).unwrap_or(usize::MAX);
        scenario.affiliates[affiliate].earned.get(place).copied().unwrap_or(0)
    };
    let payouts = || ended.payouts.iter().filter(|payout| payout.affiliate == affiliate);
    let decided: Vec<(RunId, i64, i64)> = payouts()
        .map(|payout| (payout.id.run(), payout.amount_minor, payout.carried_minor))
        .chain(
            ended
                .exclusions
                .iter()
                .filter(|excluded| excluded.affiliate == affiliate)
                .map(|excluded| (excluded.run, excluded.amount_minor, excluded.carried_minor)),
        )
        .collect();
    let ours = || decided.iter().filter(|(of, _, _)| *of == run.id);
    let missing = earned(run) - ours().map(|(_, amount, carried)| amount - carried).sum::<i64>();
    let closed = |window: &&RunEnd| affiliate < window.planned_up_to;
    let moved = |kind: u8, amount: i64| match kind {
        0 => -amount,
        3 | 4 => amount,
        _ => 0,
    };
    let opening = |at: Option<time::OffsetDateTime>| {
        let windows = ended.runs.iter().filter(|window| window.id < run.id);
        let before = payouts().filter(|payout| payout.id.run() < run.id).flat_map(|payout| &payout.transfers);
        let in_time = before.filter(|(kind, _, when)| *kind == 0 || at.is_none_or(|at| *when <= at));
        windows.map(earned).sum::<i64>() + in_time.map(|(kind, amount, _)| moved(*kind, *amount)).sum::<i64>()
    };
    let history: i64 = ended.runs.iter().filter(closed).map(earned).sum::<i64>()
        + payouts().flat_map(|payout| &payout.transfers).map(|(kind, amount, _)| moved(*kind, *amount)).sum::<i64>();
    AccountFacts {
        is_decided: ours().next().is_some(),
        missing,
        opening_low: opening(Some(run.created_at - CLOCK_ERROR)),
        opening_high: opening(run.planned_at.map(|planned_at| planned_at + CLOCK_ERROR)),
        residual: ended.carried[affiliate] - history,
    }
}

/// What the rail really did, against what was planned and recorded. This is the oracle: nothing that our record says is believed.
pub fn journal(ended: &Ended, entries: &[Entry], wrong: &mut Vec<String>) {
    let mut by_payout = BTreeMap::<PayoutId, Vec<&Entry>>::new();
    for entry in entries {
        let is_planned = ended.payouts.iter().any(|payout| payout.id == entry.payout);
        if every_payment_is_planned(&PaymentFacts { is_planned }) {
            by_payout.entry(entry.payout).or_default().push(entry);
        } else {
            wrong.push(format!("{} was paid and never planned", entry.payout));
        }
    }
    for payout in &ended.payouts {
        let entries = by_payout.remove(&payout.id).unwrap_or_default();
        let of = |movement: Movement| entries.iter().filter(move |entry| entry.movement == movement);
        let is_back = of(Movement::Returned).next().is_some();
        let facts = PayoutFacts {
            payments: of(Movement::Paid).count() as u32,
            returned: is_back,
            ours_returned: is_back,
            reference_differs: entries.iter().any(|entry| Some(&entry.reference) != payout.reference.as_ref()),
            amount_differs: entries.iter().any(|entry| entry.amount_minor != payout.amount_minor),
            destination_differs: entries.iter().any(|entry| entry.affiliate != payout.affiliate),
            ..PayoutFacts::as_planned(payout.state, 0)
        };
        for kind in broken(&facts) {
            wrong.push(format!("payout {} is {}: {kind}, {} payments", payout.id, payout.state, facts.payments));
        }
    }
}

/// Nobody is missing: every run is closed and adds up.
pub fn ends(ended: &Ended, wrong: &mut Vec<String>) {
    for run in &ended.runs {
        if !matches!(run.state, RunState::Reconciled | RunState::Cancelled) || run.is_paused {
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
