//! What people decide, as `store` has it: the rule of two, and from when on it may be said that a payout was not paid.

use payfleet_domain::{
    AttemptResult, BatchId, Effect, HoldFacts, Movement, NotPaid, PayoutEvent, PayoutId, PayoutState, PersonId, RunId,
    SamePerson, Word, hear,
};
use payfleet_store::{ConfirmError, Decision, Heard, HoldError, HoldSaid, RailAccount};

use super::{Memory, Teller};

/// The open proposal of a subject.
#[derive(Debug, Clone)]
pub(super) struct Said {
    person: usize,
    says: &'static str,
    reference: String,
}

impl Said {
    /// Who hands in a file says with it that what it tells is so.
    pub(super) fn by_file(person: usize) -> Said {
        Said { person, says: "confirm", reference: String::new() }
    }

    fn word(&self) -> Word<'_> {
        Word { person: PersonId(self.person as i32), says: self.says, reference: &self.reference }
    }
}

/// What a word does to the proposal that is open.
fn say(open: &mut Option<Said>, said: Said) -> Result<Effect, SamePerson> {
    let effect = hear(open.as_ref().map(Said::word).as_ref(), &said.word())?;
    *open = (effect == Effect::Proposes).then_some(said);
    Ok(effect)
}

pub(super) fn name(person: usize) -> String {
    format!("person-{person}")
}

impl Memory {
    /// Holds of a run, and whether they may be said to be not paid; `None` of what controls hold.
    pub(super) fn holds_of(&self, run: RunId) -> Vec<(PayoutId, Option<NotPaid>)> {
        let held = self.payouts.iter().filter(|(id, payout)| id.run() == run && payout.state == PayoutState::Held);
        let row = |id: PayoutId| {
            let batch = self.batch_of(id)?;
            let in_doubt = !self.payouts[&id].held.is_by_control();
            Some((id, in_doubt.then(|| self.hold_facts(id, batch).not_paid())))
        };
        held.filter_map(|(id, _)| row(*id)).collect()
    }

    /// What rails have told of a payout, and not only a file.
    fn known(&self, id: PayoutId) -> Vec<(Movement, String)> {
        let mut known: Vec<(Movement, String)> = self.payouts[&id]
            .movements
            .keys()
            .filter(|(.., by)| *by != Teller::File)
            .map(|(kind, own, _)| (*kind, own.clone()))
            .collect();
        let wrong = self.payouts[&id].wrong_returns.iter().filter(|(_, by)| *by != Teller::File);
        known.extend(wrong.map(|(own, _)| (Movement::Returned, own.clone())));
        known.sort();
        known.dedup();
        known
    }

    fn hold_facts(&self, id: PayoutId, batch: BatchId) -> HoldFacts {
        let account = self.accounts.get(self.batches[&batch].rail.name).copied().unwrap_or_default();
        let mut may_arrive_until = None;
        let mut of = Some(batch);
        while let Some(batch) = of.map(|id| &self.batches[&id]) {
            let sent = batch.attempts.values().filter(|attempt| attempt.result != Some(AttemptResult::NotExecuted));
            may_arrive_until = may_arrive_until.max(sent.map(|attempt| attempt.may_arrive_until).max());
            of = batch.parent;
        }
        HoldFacts {
            has_statement: true,
            may_arrive_until,
            statement_reaches: account.reaches_ours,
            is_on_statement: !self.known(id).is_empty(),
            now: self.now,
        }
    }

    /// Returns that only a file tells of, in the order in which they were told.
    pub(super) fn waiting(&self) -> Vec<(PayoutId, String)> {
        let mut waiting = Vec::new();
        for (id, payout) in &self.payouts {
            let known = payout.known().filter(|(_, told)| !told.counts);
            waiting.extend(known.map(|((_, reference, _), told)| (told.nth, *id, reference.clone())));
        }
        waiting.sort();
        waiting.into_iter().map(|(_, id, reference)| (id, reference)).collect()
    }

    /// Confirms the first return of a payout that waits.
    pub(super) fn confirm(&mut self, payout: PayoutId, person: usize) -> Result<Heard, ConfirmError> {
        let waiting = self.waiting().into_iter().find(|(id, _)| *id == payout);
        let key = waiting.map(|(_, reference)| (Movement::Returned, reference, Teller::File));
        let told = key.and_then(|key| self.payouts.get_mut(&payout)?.movements.get_mut(&key));
        let Some(told) = told else { return Err(ConfirmError::NotWaiting(payout.0)) };
        let effect = say(&mut told.proposal, Said::by_file(person))
            .map_err(|SamePerson| ConfirmError::SamePerson(name(person)))?;
        if effect == Effect::Agrees {
            told.counts = true;
            self.weigh(&[payout]);
        }
        Ok(Heard { number: payout.0, effect, by: name(person) })
    }

    pub(super) fn decide(
        &mut self,
        payout: PayoutId,
        decision: &Decision,
        person: usize,
    ) -> Result<HoldSaid, HoldError> {
        let held = self.payouts.get(&payout).filter(|payout| payout.state == PayoutState::Held);
        let (Some(batch), Some(held)) = (self.batch_of(payout), held) else { return Err(HoldError::NotHeld(payout)) };
        if held.held.is_by_control() {
            return Err(HoldError::Control { payout, reason: held.held.reason.code().to_owned() });
        }
        let account = || RailAccount {
            rail: self.batches[&batch].rail.name.to_owned(),
            account: "shop".to_owned(),
            has_statement: true,
        };
        let mut known = self.known(payout);
        let (says, reference) = match decision {
            Decision::Paid(reference) => ("paid", reference.clone()),
            Decision::NotPaid => match self.hold_facts(payout, batch).not_paid() {
                NotPaid::MayBeSaid => ("not_paid", String::new()),
                NotPaid::NotBefore(until) => return Err(HoldError::NotBefore { payout, until }),
                NotPaid::NotBeforeStatement(until) => {
                    return Err(HoldError::NotBeforeStatement { payout, until, account: account() });
                }
                NotPaid::OnStatement => {
                    let known = known.into_iter().map(|(_, reference)| reference).collect();
                    return Err(HoldError::OnStatement { payout, known });
                }
            },
        };
        let Some(row) = self.payouts.get_mut(&payout) else { return Err(HoldError::NotHeld(payout)) };
        let effect = say(&mut row.held.proposal, Said { person, says, reference: reference.clone() })
            .map_err(|SamePerson| HoldError::SamePerson(name(person)))?;
        if effect == Effect::Agrees {
            match decision {
                Decision::Paid(_) => {
                    self.settle_anew(payout.run());
                    self.settle(&[(payout, &reference)]);
                }
                Decision::NotPaid => {
                    if let Some(row) = self.payouts.get_mut(&payout) {
                        row.movements.values_mut().for_each(|told| told.is_over = true);
                    }
                    self.free(&[payout], PayoutState::Refused, PayoutEvent::Refuse, |teller| teller != Teller::File);
                }
            }
            self.settle_held(batch);
        }
        known.retain(|(_, known)| *known != reference);
        let known = known.into_iter().map(|(_, known)| known).collect();
        Ok(HoldSaid { effect, by: name(person), known, ended: None, others: Vec::new() })
    }
}
