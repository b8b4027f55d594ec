//! Statements and reconciliations in memory: what a statement says, against what is recorded, judged by the invariants
//! of `domain`.

use payfleet_domain::invariant::{PayoutFacts, broken};
use payfleet_domain::{BatchId, BatchState, LineDiffers, PayoutId, PayoutKey, Rail, RunId, RunState, StatementLine};
use payfleet_store::{Compared, OpenBatches, RunRow, StatementAccount, StoreError, Uncovered, Verdict};
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
    pub rail: &'static str,
    pub from: Option<OffsetDateTime>,
    pub asked_at: OffsetDateTime,
    pub asked_as: u64,
}

pub(super) fn gone() -> StoreError {
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
            let reaches = self.accounts.get(rail.name).and_then(|account| account.reaches_to);
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

    pub(super) fn genuine(&self, line: &StatementLine) -> Option<PayoutId> {
        let payout = line.key.parse::<PayoutKey>().ok()?.payout().ok()?;
        let planned = self.payouts.get(&payout)?;
        let affiliate = &self.scenario.affiliates[planned.affiliate].name;
        let key = PayoutKey::derive(self.runs[&planned.run].row.key, payout, affiliate, Memory::currency());
        (key.as_str() == line.key).then_some(payout)
    }

    pub(super) fn differs(&self, payout: PayoutId, line: &StatementLine) -> LineDiffers {
        let planned = &self.payouts[&payout];
        LineDiffers {
            amount: line.amount_minor != planned.amount_minor,
            currency: line.currency != "EUR",
            destination: line.destination != self.scenario.affiliates[planned.affiliate].name,
        }
    }

    pub(super) fn batch_of(&self, payout: PayoutId) -> Option<BatchId> {
        let open = self.batches.iter().filter(|(_, batch)| batch.state != BatchState::Split);
        open.filter(|(_, batch)| batch.has(payout)).map(|(id, _)| *id).next()
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
        let known =
            |rail: &str| self.accounts.get(rail).and_then(|account| account.reaches_ours.max(account.file_reaches));
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
            return_waits: payout.known().any(|(_, told)| !told.counts),
            return_differs: payout.has_wrong_return(),
            is_listed: account.is_listed() && !(payout.is_by_file() && self.is_reached(id).0),
            reference_differs: account.is_listed() && !account.listed().any(|listed| Some(listed) == own)
                || account.filed_otherwise().is_some(),
            amount_differs: payout.differs.amount,
            currency_differs: payout.differs.currency,
            destination_differs: payout.differs.destination,
            ..PayoutFacts::of(payout.state, payout.amount_minor, &account)
        }
    }

    /// Whether the rail's own statement, and whether a file, was asked for after a payout was recorded as paid and
    /// reaches past that.
    fn is_reached(&self, id: PayoutId) -> (bool, bool) {
        let payout = &self.payouts[&id];
        let rail = self.batch_of(id).map(|batch| self.batches[&batch].rail.name).unwrap_or_default();
        let known = self.accounts.get(rail).copied().unwrap_or(Account::default());
        let by = |reaches: Option<OffsetDateTime>, asked_as: u64| {
            let in_time = payout.settled_at.is_some_and(|at| reaches.is_some_and(|reaches| at <= reaches));
            in_time && payout.settled_as.is_none_or(|nth| nth <= asked_as)
        };
        (by(known.reaches_ours, known.asked_as), by(known.file_reaches, known.file_asked_as))
    }

    fn is_newer(&self, id: PayoutId) -> bool {
        self.is_reached(id) == (false, false)
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
