//! Statements and reconciliations in memory: what a statement says, against what is recorded, judged by the invariants of `domain`.

use payfleet_domain::invariant::{PayoutFacts, broken};
use payfleet_domain::{
    BatchId, BatchState, LineDiffers, Movement, PayoutId, PayoutKey, PayoutState, Rail, RunId, RunState, StatementEnd,
    StatementLine, Witness,
};
use payfleet_store::{
    AccountRead, Applied, Compared, OpenBatches, RunRow, StatementAccount, StoreError, Uncovered, Verdict,
};
use time::OffsetDateTime;

use super::{Account, Memory};
use crate::backend::{Backend, Opened, SessionId};
use crate::judge;

/// One reconciliation.
#[derive(Debug, Clone)]
pub struct Session {
    run: RunId,
    judged_news: u64,
    found: i64,
}

/// One part of an account's statement on its way in.
#[derive(Debug, Clone, Copy)]
pub(super) struct ReadingOf {
    rail: &'static str,
    from: Option<OffsetDateTime>,
    asked_at: OffsetDateTime,
    asked_as: u64,
}

fn gone() -> StoreError {
    StoreError::Broken("a session that has ended".to_owned())
}

impl Memory {
    pub(super) fn session(&mut self, id: SessionId) -> Result<&mut Session, StoreError> {
        self.sessions.get_mut(&id).ok_or_else(gone)
    }

    fn next_session(&mut self) -> SessionId {
        self.sessions_opened += 1;
        SessionId(self.sessions_opened)
    }

    pub(super) fn open_session(&mut self, run: RunId) -> Result<Option<SessionId>, StoreError> {
        if self.sessions.values().any(|session| session.run == run) {
            return Ok(None);
        }
        let id = self.next_session();
        self.sessions.insert(id, Session { run, judged_news: 0, found: 0 });
        Ok(Some(id))
    }

    fn rails_of(&self, wanted: impl Fn(RunId, &'static Rail) -> bool) -> Vec<StatementAccount> {
        let mut rails: Vec<&str> =
            self.batches.values().filter(|batch| wanted(batch.run, batch.rail)).map(|batch| batch.rail.name).collect();
        rails.sort_unstable();
        rails.dedup();
        let account =
            |rail: &str| StatementAccount { rail: rail.to_owned(), account: "shop".to_owned(), credential: None };
        rails.into_iter().map(account).collect()
    }

    pub(super) fn accounts(&mut self, id: SessionId) -> Result<Vec<StatementAccount>, StoreError> {
        let run = self.session(id)?.run;
        Ok(self.rails_of(|of, _| of == run))
    }

    pub(super) fn to_read(&self) -> Vec<StatementAccount> {
        let brings_news = |of: RunId, rail: &'static Rail| {
            let run = &self.runs[&of].row;
            let is_begun = !matches!(run.state, RunState::Planning | RunState::Planned);
            let reaches = self.accounts.get(rail.name).and_then(|account| account.reaches_ours);
            let window = rail.return_window + rail.statement_lag + 2 * rail.dead_after();
            is_begun
                && run
                    .settled_at
                    .map(|at| at + window)
                    .is_none_or(|until| until > self.now || reaches.is_none_or(|reaches| reaches < until))
        };
        self.rails_of(brings_news)
    }

    pub(super) fn to_judge(&self) -> Vec<RunId> {
        let wants = |run: &super::Run| run.news_no > run.judged_news && run.row.settled_at.is_some();
        let ours = self.runs.iter().filter(|(_, run)| wants(run));
        ours.map(|(id, _)| *id).collect()
    }

    pub(super) fn open_reading(&mut self, account: &StatementAccount) -> Result<Option<Opened>, StoreError> {
        let rail = Rail::named(&account.rail).map_err(|unknown| StoreError::Broken(unknown.to_string()))?.name;
        if self.readings.values().any(|reading| reading.rail == rail) {
            return Ok(None);
        }
        let runs = self.batches.values().filter(|batch| batch.rail.name == rail).map(|batch| batch.run);
        let first_run = runs.map(|run| self.runs[&run].row.created_at).min();
        let known = self.accounts.get(rail).and_then(|account| account.reaches_to);
        let from = known.or(first_run.map(|at| at - time::Duration::DAY));
        let id = self.next_session();
        self.readings.insert(id, ReadingOf { rail, from, asked_at: self.now, asked_as: self.recorded });
        Ok(Some((id, from)))
    }

    fn genuine(&self, line: &StatementLine) -> Option<PayoutId> {
        let payout = line.key.parse::<PayoutKey>().ok()?.payout().ok()?;
        let planned = self.payouts.get(&payout)?;
        let affiliate = &self.scenario.affiliates[planned.affiliate].name;
        let key = PayoutKey::derive(self.runs[&planned.run].row.key, payout, affiliate, Memory::currency());
        (key.as_str() == line.key).then_some(payout)
    }

    fn differs(&self, payout: PayoutId, line: &StatementLine) -> LineDiffers {
        let planned = &self.payouts[&payout];
        LineDiffers {
            amount: line.amount_minor != planned.amount_minor,
            currency: line.currency != "EUR",
            destination: line.destination != self.scenario.affiliates[planned.affiliate].name,
        }
    }

    fn batch_of(&self, payout: PayoutId) -> Option<BatchId> {
        let open = self.batches.iter().filter(|(_, batch)| batch.state != BatchState::Split);
        open.filter(|(_, batch)| batch.has(payout)).map(|(id, _)| *id).next()
    }

    /// Whether a statement may settle it: its outcome is open, and it may have been sent.
    fn may_settle(&self, payout: PayoutId) -> bool {
        match self.payouts[&payout].state {
            PayoutState::Accepted | PayoutState::Unknown | PayoutState::Held => true,
            PayoutState::Planned => {
                self.batch_of(payout).is_some_and(|batch| self.batches[&batch].state != BatchState::Ready)
            }
            _ => false,
        }
    }

    pub(super) fn take(
        &mut self,
        id: SessionId,
        lines: &[StatementLine],
        end: Option<StatementEnd>,
    ) -> Result<AccountRead, StoreError> {
        let reading = *self.readings.get(&id).ok_or_else(gone)?;
        let applied = self.apply(lines);
        let account = self.accounts.entry(reading.rail).or_default();
        if let Some(end) = end.filter(|end| reading.from.is_none_or(|from| end.from <= from)) {
            account.reaches_to = account.reaches_to.max(Some(end.until));
            account.reaches_ours = account.reaches_ours.max(Some(reading.asked_at - (end.now - end.until)));
            account.asked_as = reading.asked_as;
        }
        let reaches_to = account.reaches_to;
        self.readings.remove(&id);
        Ok(AccountRead { lines: lines.len() as i64, applied, reaches_to })
    }

    fn apply(&mut self, lines: &[StatementLine]) -> Applied {
        let mut plain = Vec::new();
        let mut odd = Vec::new();
        for line in lines {
            match self.genuine(line) {
                None => self.strays += 1,
                Some(payout) => {
                    let differs = self.differs(payout, line);
                    match line.movement {
                        Movement::Paid if !differs.in_something() => plain.push((payout, line)),
                        _ => odd.push((payout, line, differs)),
                    }
                }
            }
        }
        let mut proven: std::collections::BTreeMap<PayoutId, String> = Default::default();
        for (payout, line) in plain.iter().filter(|(payout, _)| self.may_settle(*payout)) {
            proven.entry(*payout).or_insert_with(|| line.reference.clone());
        }
        for (payout, line, _) in
            odd.iter().filter(|(payout, line, _)| line.movement == Movement::Returned && self.may_settle(*payout))
        {
            let accepted = self.payouts[payout].reference.clone();
            proven
                .entry(*payout)
                .or_insert_with(|| line.of.clone().or(accepted).unwrap_or_else(|| line.reference.clone()));
        }
        let news: Vec<(PayoutId, &str)> = proven.iter().map(|(id, word)| (*id, word.as_str())).collect();
        let mut moved = self.settle(&news);
        let settled: Vec<PayoutId> = proven.keys().copied().collect();
        let mut changed = Vec::new();
        for (id, line) in plain {
            let payout = &self.payouts[&id];
            let is_settled = matches!(payout.state, PayoutState::Paid | PayoutState::Returned);
            if is_settled && payout.reference.as_ref() == Some(&line.reference) {
                let (run, was_listed) = (payout.run, payout.is_listed);
                if let Some(payout) = self.payouts.get_mut(&id) {
                    payout.is_listed = true;
                }
                if !was_listed && self.runs[&run].verdict == Some(RunState::Discrepant) {
                    self.run_news([run]);
                }
            } else if self.keep(id, Movement::Paid, &line.reference, Witness::Listed, line.amount_minor, None) {
                changed.push(id);
            }
        }
        for (id, line, differs) in odd {
            if line.movement == Movement::Paid
                && let Some(payout) = self.payouts.get_mut(&id)
            {
                payout.differs.amount |= differs.amount;
                payout.differs.currency |= differs.currency;
                payout.differs.destination |= differs.destination;
            }
            let minor = line.amount_minor + line.fee_minor;
            let of = (line.movement == Movement::Returned).then_some(line.of.as_deref()).flatten();
            if self.keep(id, line.movement, &line.reference, Witness::Listed, minor, of) {
                changed.push(id);
            }
        }
        moved += self.weigh(&changed);
        self.run_news(settled.iter().map(|id| id.run()));
        let batches: Vec<BatchId> = settled.iter().filter_map(|payout| self.batch_of(*payout)).collect();
        for batch in batches {
            self.settle_held(batch);
        }
        // Of what is still to be sent, a payment is known: nothing more of its run is sent before people have looked.
        let is_unsent = |line: &&StatementLine| {
            let payout = self.genuine(line).filter(|_| line.movement == Movement::Paid);
            payout.is_some_and(|payout| self.payouts[&payout].state == PayoutState::Planned)
        };
        let unsent = lines.iter().filter(is_unsent).count() as u64;
        if moved.alarms + unsent > 0 {
            for payout in changed.iter().chain(&settled) {
                self.alarm(payout.run());
            }
        }
        let alarms = moved.alarms + unsent;
        Applied { settled: moved.paid, returned: moved.returned, late: moved.late, alarms }
    }

    pub(super) fn open_batches(&mut self, id: SessionId) -> Result<Vec<OpenBatches>, StoreError> {
        let run = self.session(id)?.run;
        let open = self.batches.values().filter(|batch| batch.run == run && batch.state.is_open());
        Ok(open
            .map(|batch| OpenBatches {
                rail: batch.rail.name.to_owned(),
                state: batch.state,
                batches: 1,
                payouts: batch.payouts().into(),
            })
            .collect())
    }

    pub(super) fn uncovered(&mut self, id: SessionId) -> Result<Vec<Uncovered>, StoreError> {
        let run = self.session(id)?.run;
        let Some(wanted) = self.runs[&run].row.settled_at else { return Ok(Vec::new()) };
        let known = |rail: &str| self.accounts.get(rail).and_then(|account| account.reaches_ours);
        let accounts = self.rails_of(|of, _| of == run).into_iter();
        let short = accounts.filter(|account| known(&account.rail).is_none_or(|reaches| reaches < wanted));
        Ok(short
            .map(|account| Uncovered {
                reaches: known(&account.rail),
                rail: account.rail,
                account: account.account,
                wanted,
            })
            .collect())
    }

    fn facts(&self, id: PayoutId) -> PayoutFacts {
        let payout = &self.payouts[&id];
        let account = payout.account();
        let own = payout.reference.as_deref();
        PayoutFacts {
            is_contested: payout.is_contested,
            reference_differs: account.is_listed() && !account.listed().any(|listed| Some(listed) == own),
            amount_differs: payout.differs.amount,
            currency_differs: payout.differs.currency,
            destination_differs: payout.differs.destination,
            ..PayoutFacts::of(payout.state, payout.amount_minor, &account)
        }
    }

    fn is_newer(&self, id: PayoutId) -> bool {
        let payout = &self.payouts[&id];
        let rail = self.batch_of(id).map(|batch| self.batches[&batch].rail.name).unwrap_or_default();
        let known = self.accounts.get(rail).copied().unwrap_or(Account::default());
        let in_time = payout.settled_at.is_some_and(|at| known.reaches_ours.is_some_and(|reaches| at <= reaches));
        !in_time || payout.settled_as.is_some_and(|nth| nth > known.asked_as)
    }

    pub(super) fn compare(&mut self, id: SessionId) -> Result<Compared, StoreError> {
        let run = self.session(id)?.run;
        let (mut found, mut newer) = (self.strays, 0);
        let ours: Vec<PayoutId> =
            self.payouts.iter().filter(|(_, payout)| payout.run == run).map(|(id, _)| *id).collect();
        for payout in ours {
            let mut kinds = broken(&self.facts(payout));
            if kinds.contains(&payfleet_domain::DiscrepancyKind::NotOnStatement) && self.is_newer(payout) {
                newer += 1;
                kinds.retain(|kind| *kind != payfleet_domain::DiscrepancyKind::NotOnStatement);
            }
            found += kinds.len() as i64;
        }
        let scenario = self.scenario.clone();
        found += judge::books(&scenario, &self.ended(), Some(run)).len() as i64;
        let news = self.runs[&run].news_no;
        let session = self.session(id)?;
        (session.found, session.judged_news) = (found, news);
        Ok(Compared { discrepancies: found, newer_than_statement: newer, summary: Default::default() })
    }

    pub(super) fn restart(&mut self, id: SessionId) -> Result<RunRow, StoreError> {
        let run = self.session(id)?.run;
        Ok(self.runs[&run].row.clone())
    }

    pub(super) fn conclude(&mut self, id: SessionId) -> Result<Verdict, StoreError> {
        let Session { run, found, judged_news } = self.session(id)?.clone();
        let wanted = if found == 0 { RunState::Reconciled } else { RunState::Discrepant };
        let run = self.runs.get_mut(&run).ok_or_else(|| StoreError::Broken("no such run".to_owned()))?;
        let is_over = matches!(
            run.row.state,
            RunState::Settled | RunState::Reconciled | RunState::Discrepant | RunState::Cancelled
        );
        run.row.state = run.row.state.to(wanted).unwrap_or(run.row.state);
        if is_over {
            run.verdict = Some(wanted);
            run.judged_news = run.judged_news.max(judged_news);
        }
        Ok(Verdict { reconciliation: 1, state: run.row.state, verdict: Some(wanted).filter(|_| is_over) })
    }
}
