//! Reconciliations in memory: what a statement says, against what is recorded, judged by the invariants of `domain`.

use std::collections::BTreeMap;

use payfleet_domain::invariant::{PayoutFacts, Proof, broken};
use payfleet_domain::{BatchState, Movement, PayoutId, PayoutKey, PayoutState, RunId, RunState, StatementLine};
use payfleet_store::{Applied, Compared, OpenBatches, RunRow, StatementAccount, StoreError, Verdict};

use super::Memory;
use crate::backend::{Backend, SessionId};
use crate::judge;

/// What a statement says of one payout.
#[derive(Debug, Clone, Default)]
struct Told {
    paid: Vec<StatementLine>,
    returned: Vec<StatementLine>,
}

/// One reconciliation.
#[derive(Debug, Clone)]
pub struct Session {
    run: RunId,
    /// How much had been recorded when the statement was asked for.
    asked_at: u64,
    pub(super) lines: Vec<StatementLine>,
    told: BTreeMap<PayoutId, Told>,
    strays: i64,
    found: i64,
}

impl Memory {
    pub(super) fn session(&mut self, id: SessionId) -> Result<&mut Session, StoreError> {
        self.sessions.get_mut(&id).ok_or_else(|| StoreError::Broken("a session that has ended".to_owned()))
    }

    pub(super) fn open_session(&mut self, run: RunId) -> Result<Option<SessionId>, StoreError> {
        if self.sessions.values().any(|session| session.run == run) {
            return Ok(None);
        }
        self.sessions_opened += 1;
        let id = SessionId(self.sessions_opened);
        let session =
            Session { run, asked_at: self.recorded, lines: Vec::new(), told: BTreeMap::new(), strays: 0, found: 0 };
        self.sessions.insert(id, session);
        Ok(Some(id))
    }

    pub(super) fn accounts(&mut self, id: SessionId) -> Result<Vec<StatementAccount>, StoreError> {
        let run = self.session(id)?.run;
        let mut rails: Vec<&str> =
            self.batches.values().filter(|batch| batch.run == run).map(|batch| batch.rail.name).collect();
        rails.sort_unstable();
        rails.dedup();
        let account =
            |rail: &str| StatementAccount { rail: rail.to_owned(), account: "shop".to_owned(), credential: None };
        Ok(rails.into_iter().map(account).collect())
    }

    fn genuine_key(&self, payout: PayoutId) -> Option<PayoutKey> {
        let planned = self.payouts.get(&payout)?;
        let affiliate = &self.scenario.affiliates[planned.affiliate].name;
        Some(PayoutKey::derive(self.runs[&planned.run].row.key, payout, affiliate, Memory::currency()))
    }

    pub(super) fn match_lines(&mut self, id: SessionId) -> Result<(), StoreError> {
        let (run, lines) = (self.session(id)?.run, self.session(id)?.lines.clone());
        let mut told = BTreeMap::<PayoutId, Told>::new();
        let mut strays = 0;
        for line in lines {
            let payout = line.key.parse::<PayoutKey>().ok().and_then(|key| key.payout().ok());
            let is_genuine =
                payout.and_then(|payout| self.genuine_key(payout)).is_some_and(|key| key.as_str() == line.key);
            match payout.filter(|_| is_genuine) {
                None => strays += 1,
                Some(payout) if payout.run() == run => {
                    let told = told.entry(payout).or_default();
                    match line.movement {
                        Movement::Paid => told.paid.push(line),
                        Movement::Returned => told.returned.push(line),
                    }
                }
                Some(_) => {}
            }
        }
        let session = self.session(id)?;
        (session.told, session.strays) = (told, strays);
        Ok(())
    }

    fn is_as_planned(&self, payout: PayoutId, line: &StatementLine) -> bool {
        self.payouts.get(&payout).is_some_and(|planned| {
            let affiliate = &self.scenario.affiliates[planned.affiliate];
            (line.amount_minor, line.currency.as_str(), &line.destination)
                == (planned.amount_minor, "EUR", &affiliate.name)
        })
    }

    pub(super) fn apply(&mut self, id: SessionId) -> Result<Applied, StoreError> {
        let (run, told) = (self.session(id)?.run, self.session(id)?.told.clone());
        let mut applied = Applied::default();
        let open =
            |state: PayoutState| matches!(state, PayoutState::Accepted | PayoutState::Unknown | PayoutState::Held);
        let mut news: Vec<(PayoutId, String)> = Vec::new();
        for (payout, told) in &told {
            let clean = told.paid.iter().filter(|line| self.is_as_planned(*payout, line));
            let reference = clean.map(|line| line.reference.clone()).min();
            if let Some(reference) = reference.filter(|_| open(self.payouts[payout].state)) {
                news.push((*payout, reference));
            }
        }
        let words: Vec<(PayoutId, &str)> = news.iter().map(|(id, word)| (*id, word.as_str())).collect();
        let (settled, alarms) = self.settle(&words);
        (applied.settled, applied.alarms) = (settled, alarms);
        let mut back: Vec<(PayoutId, String)> = Vec::new();
        for (payout, told) in &told {
            let clean = told.returned.iter().filter(|line| self.is_as_planned(*payout, line));
            let Some(reference) = clean.map(|line| line.reference.clone()).min() else { continue };
            let known = &self.payouts[payout];
            let ours_is_back = told.returned.iter().any(|line| Some(&line.reference) == known.reference.as_ref());
            let ours_is_listed = told.paid.iter().any(|line| Some(&line.reference) == known.reference.as_ref());
            let applies = match known.state {
                PayoutState::Paid => ours_is_back || !ours_is_listed,
                state => open(state) && told.paid.is_empty(),
            };
            if applies {
                back.push((*payout, reference));
            }
        }
        let words: Vec<(PayoutId, &str)> = back.iter().map(|(id, word)| (*id, word.as_str())).collect();
        applied.returned = self.give_back(&words);
        if applied.alarms > 0 {
            self.alarm(run);
        }
        let moved: Vec<PayoutId> = news.iter().chain(&back).map(|(payout, _)| *payout).collect();
        let batches: Vec<_> = self
            .batches
            .iter()
            .filter(|(_, batch)| batch.state != BatchState::Split && moved.iter().any(|payout| batch.has(*payout)))
            .map(|(id, _)| *id)
            .collect();
        for batch in batches {
            self.settle_held(batch);
        }
        Ok(applied)
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

    fn facts(&self, payout: PayoutId, told: &Told) -> PayoutFacts {
        let known = &self.payouts[&payout];
        let is_settled = matches!(known.state, PayoutState::Paid | PayoutState::Returned);
        let own = known.reference.as_ref().filter(|_| is_settled);
        let listed = || told.paid.iter().map(|line| &line.reference);
        let mut names: Vec<&String> = known.proofs.iter().collect();
        match own {
            Some(own) => names.push(own),
            None => names.extend(listed()),
        }
        names.sort();
        names.dedup();
        let proof = match (known.proofs.is_empty(), names.len()) {
            (true, _) => Proof::None,
            (false, 1) => Proof::OnePayment,
            (false, _) => Proof::SeveralPayments,
        };
        let lines = || told.paid.iter().chain(&told.returned);
        let ours_is_back = told.returned.iter().any(|line| Some(&line.reference) == own);
        let ours_is_listed = listed().any(|reference| Some(reference) == own);
        PayoutFacts {
            state: known.state,
            payments: told.paid.len() as u32,
            proof,
            returned: !told.returned.is_empty(),
            ours_returned: !told.returned.is_empty() && (ours_is_back || !ours_is_listed),
            reference_differs: listed().next().is_some_and(|reference| Some(reference) != own),
            amount_differs: lines().any(|line| line.amount_minor != known.amount_minor),
            currency_differs: lines().any(|line| line.currency != "EUR"),
            destination_differs: lines().any(|line| line.destination != self.scenario.affiliates[known.affiliate].name),
            is_listed: true,
        }
    }

    pub(super) fn compare(&mut self, id: SessionId) -> Result<Compared, StoreError> {
        let session = self.session(id)?.clone();
        let (mut found, mut newer) = (session.strays, 0);
        let nothing = Told::default();
        let ours: Vec<PayoutId> =
            self.payouts.iter().filter(|(_, payout)| payout.run == session.run).map(|(id, _)| *id).collect();
        for payout in ours {
            let facts = self.facts(payout, session.told.get(&payout).unwrap_or(&nothing));
            let known = &self.payouts[&payout];
            let is_newer = facts.payments == 0 && known.settled_as.is_some_and(|nth| nth > session.asked_at)
                || known.state == PayoutState::Returned
                    && !facts.ours_returned
                    && known.returned_as.is_some_and(|nth| nth > session.asked_at);
            match is_newer {
                true => newer += 1,
                false => found += broken(&facts).len() as i64,
            }
        }
        let scenario = self.scenario.clone();
        found += judge::books(&scenario, &self.ended(), Some(session.run)).len() as i64;
        self.session(id)?.found = found;
        Ok(Compared { discrepancies: found, newer_than_statement: newer, summary: Default::default() })
    }

    pub(super) fn restart(&mut self, id: SessionId) -> Result<RunRow, StoreError> {
        let asked_at = self.recorded;
        let session = self.session(id)?;
        session.lines.clear();
        session.asked_at = asked_at;
        let run = session.run;
        Ok(self.runs[&run].row.clone())
    }

    pub(super) fn conclude(&mut self, id: SessionId) -> Result<Verdict, StoreError> {
        let (run, found) = (self.session(id)?.run, self.session(id)?.found);
        let wanted = if found == 0 { RunState::Reconciled } else { RunState::Discrepant };
        let row = &mut self.runs.get_mut(&run).ok_or_else(|| StoreError::Broken("no such run".to_owned()))?.row;
        if let Ok(state) = row.state.to(wanted) {
            row.state = state;
        }
        Ok(Verdict { reconciliation: 1, state: row.state })
    }
}
