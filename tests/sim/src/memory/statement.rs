//! What a part of a statement changes, from the rail itself or from a file, as `store` has it.

use std::collections::{BTreeMap, BTreeSet};

use payfleet_domain::{
    AlarmKind, BatchId, BatchState, LineDiffers, Movement, PayoutEvent, PayoutId, PayoutState, RunId, RunState,
    StatementEnd, StatementLine,
};
use payfleet_store::{AccountRead, Applied, StatementAccount, StoreError};
use time::Duration;

use super::people::Said;
use super::session::{ReadingOf, gone};
use super::{Memory, Teller};
use crate::backend::{Handed, SessionId};

/// What is allowed for the clock of whoever wrote a file.
const FILE_CLOCK_ERROR: Duration = Duration::MINUTE;

/// A line that is not simply a payment as it was ordered.
struct Odd<'a> {
    payout: PayoutId,
    line: &'a StatementLine,
    differs: LineDiffers,
    is_wrong_return: bool,
}

impl Memory {
    pub(super) fn take(
        &mut self,
        id: SessionId,
        lines: &[StatementLine],
        end: Option<StatementEnd>,
    ) -> Result<AccountRead, StoreError> {
        let reading = *self.readings.get(&id).ok_or_else(gone)?;
        let applied = self.apply(lines, Teller::Rail, None)?;
        let reaches_ours = end.map(|end| reading.asked_at - (end.now - end.until).max(Duration::ZERO));
        let goes_on = end.filter(|end| reading.from.is_none_or(|from| end.from <= from));
        let before = self.accounts.get(reading.rail).and_then(|account| account.reaches_ours);
        if let Some(reaches) = reaches_ours.filter(|_| goes_on.is_some()) {
            // Verdicts by a file that came before.
            let is_reached = |run: &&super::Run| {
                run.row.settled_at.is_some_and(|at| before.is_none_or(|before| at > before) && at <= reaches)
            };
            let runs: Vec<_> = self.runs.values().filter(is_reached).map(|run| run.row.id).collect();
            let of_account =
                |run: &RunId| self.batches.values().any(|one| one.run == *run && one.rail.name == reading.rail);
            let runs: Vec<_> = runs.into_iter().filter(of_account).collect();
            self.run_news(runs);
        }
        let account = self.accounts.entry(reading.rail).or_default();
        account.reaches_to = account.reaches_to.max(goes_on.map(|end| end.until));
        if goes_on.is_some() {
            account.reaches_ours = account.reaches_ours.max(reaches_ours);
            account.asked_as = reading.asked_as;
        }
        let reaches_to = account.reaches_to;
        self.readings.remove(&id);
        Ok(AccountRead { lines: lines.len() as i64, applied, reaches_to })
    }

    /// A file is no reading of the rail: it moves no mark from which that goes on.
    pub(super) fn take_file(&mut self, file: &Handed) -> Result<Option<AccountRead>, StoreError> {
        let account = StatementAccount { rail: file.rail.to_owned(), account: "shop".to_owned(), credential: None };
        let Some((id, _)) = self.open_reading(&account)? else { return Ok(None) };
        let ReadingOf { from, asked_at, asked_as, .. } = *self.readings.get(&id).ok_or_else(gone)?;
        let applied = self.apply(&file.lines, Teller::File, file.person)?;
        let goes_on = file.end.filter(|end| from.is_none_or(|from| end.from <= from));
        let account = self.accounts.entry(file.rail).or_default();
        if let Some(end) = goes_on {
            account.file_reaches = account.file_reaches.max(Some(end.until.min(asked_at) - FILE_CLOCK_ERROR));
            account.file_asked_as = asked_as;
        }
        let reaches_to = account.reaches_to;
        self.readings.remove(&id);
        Ok(Some(AccountRead { lines: file.lines.len() as i64, applied, reaches_to }))
    }

    /// Nothing of it was ever sent, as far as we know.
    fn is_unsent(&self, payout: PayoutId) -> bool {
        matches!(self.payouts[&payout].state, PayoutState::Planned | PayoutState::Held)
            && self.batch_of(payout).is_some_and(|batch| {
                let batch = &self.batches[&batch];
                matches!(batch.state, BatchState::Ready | BatchState::Held) && batch.first_sent_at.is_none()
            })
    }

    /// What is ready again, or half of what was sent, was sent all the same.
    fn was_sent(&self, payout: PayoutId) -> bool {
        let mut of = self.batch_of(payout);
        let is_sent = of.is_some_and(|batch| self.batches[&batch].first_sent_at.is_some());
        let mut has_attempts = false;
        while let Some(batch) = of.map(|id| &self.batches[&id]) {
            has_attempts |= !batch.attempts.is_empty();
            of = batch.parent;
        }
        is_sent || has_attempts
    }

    fn apply(&mut self, lines: &[StatementLine], by: Teller, person: Option<usize>) -> Result<Applied, StoreError> {
        let (mut plain, mut odd) = (Vec::new(), Vec::new());
        for line in lines {
            let Some(payout) = self.genuine(line) else {
                self.strays += 1;
                continue;
            };
            let differs = self.differs(payout, line);
            let is_before = |(other, _): &(PayoutId, &StatementLine)| *other == payout;
            let is_wrong_return =
                line.movement == Movement::Returned && !plain.iter().any(is_before) && !self.was_sent(payout);
            match line.movement {
                Movement::Paid if !differs.in_something() => plain.push((payout, line)),
                _ => odd.push(Odd { payout, line, differs, is_wrong_return }),
            }
        }
        let is_open =
            |payout: &PayoutId| self.can(*payout, PayoutEvent::Pay) && (by == Teller::Rail || !self.is_unsent(*payout));
        let mut proven = BTreeMap::<PayoutId, String>::new();
        for (payout, line) in plain.iter().filter(|(payout, _)| is_open(payout)) {
            proven.entry(*payout).or_insert_with(|| line.reference.clone());
        }
        let returns = odd.iter().filter(|odd| odd.line.movement == Movement::Returned && !odd.is_wrong_return);
        for Odd { payout, line, .. } in returns.filter(|odd| by == Teller::Rail && is_open(&odd.payout)) {
            let accepted = self.payouts[payout].reference.clone();
            let name = || line.of.clone().or(accepted).unwrap_or_else(|| line.reference.clone());
            proven.entry(*payout).or_insert_with(name);
        }
        let told = plain.iter().map(|(payout, line)| (*payout, *line));
        let told = told.chain(odd.iter().map(|odd| (odd.payout, odd.line)));
        let told: BTreeMap<PayoutId, &str> = told.map(|(payout, line)| (payout, line.reference.as_str())).collect();
        let mut unsent: BTreeSet<PayoutId> = told.keys().copied().filter(|payout| self.is_unsent(*payout)).collect();
        let mut batches: BTreeSet<BatchId> = proven.keys().filter_map(|payout| self.batch_of(*payout)).collect();
        let of_unsent = unsent.iter().filter_map(|payout| self.batch_of(*payout));
        let family: BTreeSet<BatchId> = of_unsent.flat_map(|batch| self.family(batch)).collect();
        batches.extend(&family);
        let doubted = self.doubt(&family.into_iter().collect::<Vec<_>>())?;
        let news: Vec<(PayoutId, &str)> = proven.iter().map(|(id, word)| (*id, word.as_str())).collect();
        let mut moved = self.settle(&news);
        let mut changed = Vec::new();
        let is_settled = |payout: &super::Payout| matches!(payout.state, PayoutState::Paid | PayoutState::Returned);
        for odd in odd.iter_mut().filter(|odd| odd.is_wrong_return) {
            let payout = &self.payouts[&odd.payout];
            odd.is_wrong_return = !(is_settled(payout) || by == Teller::Rail && payout.state == PayoutState::Held);
        }
        for (id, line) in plain {
            let payout = &self.payouts[&id];
            if is_settled(payout) && payout.reference.as_ref() == Some(&line.reference) {
                let is_new = self.list(id, by);
                if is_new && !self.payouts[&id].movements.is_empty() {
                    changed.push(id);
                }
            } else if self.keep(id, Movement::Paid, &line.reference, by, line.amount_minor, None) {
                changed.push(id);
            }
        }
        for Odd { payout, line, differs, is_wrong_return } in &odd {
            if self.keep_odd(*payout, line, *differs, *is_wrong_return, by, person) {
                changed.push(*payout);
            }
        }
        moved += self.weigh(&changed);
        self.run_news(proven.keys().map(|id| id.run()));
        for batch in batches {
            self.settle_held(batch);
        }
        // Of what nobody had sent, a payment is news: nothing more of its run is sent before people have looked.
        unsent.retain(|id| proven.contains_key(id) || changed.contains(id) || doubted.contains(id));
        let mut runs = BTreeMap::<RunId, Vec<PayoutId>>::new();
        unsent.iter().for_each(|id| runs.entry(id.run()).or_default().push(*id));
        for of_run in runs.values() {
            let words = match of_run.len() - 1 {
                0 => told[&of_run[0]].to_owned(),
                more => format!("{}, and {more} more", told[&of_run[0]]),
            };
            moved.alarms += u64::from(self.raise(of_run[0], AlarmKind::PaidUnsent, words));
        }
        Ok(Applied {
            settled: moved.paid,
            returned: moved.returned,
            late: moved.late,
            alarms: moved.alarms,
            ..Applied::default()
        })
    }

    /// On a statement just as it should be. Whether that is new.
    fn list(&mut self, id: PayoutId, by: Teller) -> bool {
        let Some(payout) = self.payouts.get_mut(&id) else { return false };
        let run = payout.run;
        let listed = if by == Teller::File { &mut payout.is_filed } else { &mut payout.is_listed };
        let is_new = !std::mem::replace(listed, true);
        if is_new && self.runs[&run].verdict == Some(RunState::Discrepant) {
            self.run_news([run]);
        }
        is_new
    }

    fn keep_odd(
        &mut self,
        id: PayoutId,
        line: &StatementLine,
        differs: LineDiffers,
        is_wrong_return: bool,
        by: Teller,
        person: Option<usize>,
    ) -> bool {
        if let Some(payout) = self.payouts.get_mut(&id) {
            if line.movement == Movement::Paid {
                payout.differs.amount |= differs.amount;
                payout.differs.currency |= differs.currency;
                payout.differs.destination |= differs.destination;
            }
            if is_wrong_return {
                if payout.wrong_returns.insert((line.reference.clone(), by)) {
                    self.run_news([id.run()]);
                }
                return false;
            }
        }
        let minor = line.amount_minor + line.fee_minor;
        let of = (line.movement == Movement::Returned).then_some(line.of.as_deref()).flatten();
        let is_new = self.keep(id, line.movement, &line.reference, by, minor, of);
        // Also of what another file told before; never the second word.
        if let Some(payout) = self.payouts.get_mut(&id)
            && let Some(told) = payout.movements.get_mut(&(line.movement, line.reference.clone(), by))
            && !told.counts
            && told.minor == minor
            && told.proposal.is_none()
        {
            told.proposal = person.map(Said::by_file);
        }
        is_new
    }
}
