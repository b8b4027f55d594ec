//! Controls as `store` has them: read again at the intent, set and lifted by people.

use std::collections::BTreeSet;
use std::time::Duration;

use payfleet_domain::{
    AttemptResult, BatchId, BatchState, HoldReason, KeyUnit, PayoutEvent, PayoutId, PayoutState, Rail, RunId,
};
use payfleet_store::{ControlError, ControlLifted, ControlSet, IntentRefused, StoreError};

use super::{Attempt, Batch, Held, Memory};

/// What a batch is split into.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part {
    pub first: PayoutId,
    pub last: PayoutId,
    pub state: BatchState,
}

impl Memory {
    fn is_contested(&self, affiliate: usize) -> bool {
        self.payouts.values().any(|payout| payout.affiliate == affiliate && payout.is_contested)
    }

    /// By which control a payout without an answer is not to be sent.
    fn control_of(&self, id: PayoutId) -> Option<HoldReason> {
        let payout = &self.payouts[&id];
        if !payout.state.is_unanswered() {
            None
        } else if !payout.movements.is_empty() {
            // A payment of it is known though it has no answer.
            Some(HoldReason::StoppedInDoubt)
        } else if self.stopped.contains(&id) {
            Some(HoldReason::Stopped)
        } else if self.on_hold.contains(&payout.affiliate) {
            Some(HoldReason::OnHold)
        } else {
            self.is_contested(payout.affiliate).then_some(HoldReason::Contested)
        }
    }

    pub(super) fn may_be_planned(&self, affiliate: usize) -> bool {
        !self.on_hold.contains(&affiliate) && !self.is_contested(affiliate)
    }

    pub(super) fn has_controls(&self, id: BatchId) -> bool {
        self.in_batch(&self.batches[&id]).into_iter().any(|payout| self.control_of(payout).is_some())
    }

    pub(super) fn apply_controls(&mut self, id: BatchId, rail: &Rail) -> Result<Option<IntentRefused>, StoreError> {
        let batch = self.batch(id)?.clone();
        if let Some(refused) = self.hold_known(id)? {
            self.settle_held(id);
            return Ok(Some(refused));
        }
        let of = |id: PayoutId| self.control_of(id).map(|code| (id, code));
        let controls: Vec<(PayoutId, HoldReason)> = self.in_batch(&batch).into_iter().filter_map(of).collect();
        if controls.is_empty() || !batch.state.may_lack_answers() {
            return Ok(None);
        }
        if batch.state == BatchState::Sending && rail.key_unit == KeyUnit::Batch {
            return Ok(Some(IntentRefused::Controlled));
        }
        let is_open = batch.attempts.values().any(|attempt| attempt.result.is_none());
        let is_alive = batch.attempts.values().any(Attempt::is_alive);
        let (mut parts, mut holds) = (Vec::new(), Vec::new());
        let mut next = batch.first.0;
        let is_in_doubt = controls.iter().any(|(_, code)| *code == HoldReason::StoppedInDoubt);
        for (id, code) in controls {
            let is_planned = self.payouts[&id].state == PayoutState::Planned;
            let is_unsent = code != HoldReason::StoppedInDoubt
                && (batch.state == BatchState::Ready || !is_alive || !is_open && is_planned);
            self.parts_between(&batch, rail, next, id.0 - 1, &mut parts);
            let state = if is_unsent { BatchState::Ready } else { BatchState::Sending };
            parts.push(Part { first: id, last: id, state });
            holds.push((id, if is_unsent { code } else { HoldReason::StoppedInDoubt }));
            next = id.0 + 1;
        }
        self.parts_between(&batch, rail, next, batch.last.0, &mut parts);
        for (id, reason) in holds {
            self.hold_all(&[id], reason);
        }
        match parts[..] {
            [whole] => {
                if whole.state == BatchState::Ready {
                    let batch = self.batch(id)?;
                    batch.state = BatchState::Ready;
                    batch.first_sent_at = None;
                }
                self.settle_held(id);
            }
            _ => self.split_into(id, &parts)?,
        }
        Ok(Some(if is_in_doubt { IntentRefused::InDoubt } else { IntentRefused::Split }))
    }

    fn parts_between(&self, batch: &Batch, rail: &Rail, first: i64, last: i64, into: &mut Vec<Part>) {
        let (first, last) = (PayoutId(first), PayoutId(last));
        if first > last {
            return;
        }
        match rail.key_unit {
            KeyUnit::Payout => into.push(Part { first, last, state: batch.state }),
            KeyUnit::Batch => into.extend(self.answered_apart(first, last)),
        }
    }

    fn answered_apart(&self, first: PayoutId, last: PayoutId) -> Vec<Part> {
        let (mut parts, mut was_answered) = (Vec::<Part>::new(), None);
        for (id, payout) in self.payouts.range(first..=last) {
            let is_answered = payout.state != PayoutState::Planned;
            match parts.last_mut() {
                Some(part) if was_answered == Some(is_answered) => part.last = *id,
                _ => parts.push(Part { first: *id, last: *id, state: BatchState::Ready }),
            }
            was_answered = Some(is_answered);
        }
        parts
    }

    /// The batches that were one with this one before it was split, and are not split themselves.
    pub(super) fn family(&self, id: BatchId) -> Vec<BatchId> {
        let of = self.family_of(id).into_iter();
        of.filter(|id| self.batches[id].state != BatchState::Split).collect()
    }

    /// The same with those that are.
    fn family_of(&self, id: BatchId) -> Vec<BatchId> {
        let root = |mut id: BatchId| {
            while let Some(parent) = self.batches[&id].parent {
                id = parent;
            }
            id
        };
        let of = root(id);
        self.batches.keys().copied().filter(|id| root(*id) == of).collect()
    }

    /// A payment is known of something that nobody has sent: all that was never sent of what was one batch with it is
    /// held in doubt.
    pub(super) fn doubt(&mut self, family: &[BatchId]) -> Result<BTreeSet<PayoutId>, StoreError> {
        let mut doubted = BTreeSet::new();
        for id in family {
            let batch = self.batch(*id)?.clone();
            if batch.state == BatchState::Sending {
                self.sending_doubt(*id)?;
            }
            if !matches!(batch.state, BatchState::Ready | BatchState::Held) || batch.first_sent_at.is_some() {
                continue;
            }
            let payouts = self.in_batch(&batch);
            let is_in_doubt = |payout: &super::Payout| {
                payout.state == PayoutState::Held && payout.held.reason == HoldReason::StoppedInDoubt
            };
            let before: BTreeSet<PayoutId> =
                payouts.iter().copied().filter(|id| is_in_doubt(&self.payouts[id])).collect();
            self.hold_all(&payouts, HoldReason::StoppedInDoubt);
            for payout in &payouts {
                if let Some(payout) = self.payouts.get_mut(payout).filter(|payout| payout.state == PayoutState::Held) {
                    payout.held.reason = HoldReason::StoppedInDoubt;
                }
            }
            let after = payouts.into_iter().filter(|id| is_in_doubt(&self.payouts[id]) && !before.contains(id));
            doubted.extend(after);
            self.doubt_attempt(*id)?;
        }
        Ok(doubted)
    }

    /// What is under way may have been sent by somebody else too: nothing of it counts as unsent any more.
    fn sending_doubt(&mut self, id: BatchId) -> Result<(), StoreError> {
        let now = self.now;
        let created_at = self.runs[&self.batches[&id].run].row.created_at;
        let batch = self.batch(id)?;
        if batch.attempts.values().any(|attempt| attempt.is_nobodys) {
            return Ok(());
        }
        batch.attempt += 1;
        batch.first_sent_at = batch.first_sent_at.map(|at| at.min(created_at)).or(Some(created_at));
        let may_arrive_until = now + batch.rail.dead_after() + Duration::from_millis(1);
        let unknown = Attempt::nobodys(created_at, may_arrive_until, batch.epoch);
        batch.attempts.insert(batch.attempt, unknown);
        let batch = batch.clone();
        self.move_all(&self.in_batch(&batch), PayoutEvent::LoseTrack);
        Ok(())
    }

    /// The request that nobody here knows of.
    fn doubt_attempt(&mut self, id: BatchId) -> Result<(), StoreError> {
        let now = self.now;
        let created_at = self.runs[&self.batches[&id].run].row.created_at;
        let batch = self.batches[&id].clone();
        let is_doubted = |payout: &PayoutId| {
            let payout = &self.payouts[payout];
            payout.state == PayoutState::Held && payout.held.reason == HoldReason::StoppedInDoubt
        };
        let knows = batch.attempts.values().any(|attempt| attempt.is_nobodys);
        if knows || !self.in_batch(&batch).iter().any(is_doubted) {
            return Ok(());
        }
        let batch = self.batch(id)?;
        batch.attempt += 1;
        let may_arrive_until = now + batch.rail.dead_after() + Duration::from_millis(1);
        let unknown = Attempt::nobodys(created_at, may_arrive_until, batch.epoch);
        batch.attempts.insert(batch.attempt, unknown);
        Ok(())
    }

    /// Of a batch that is to be sent, more is known than we have done: what is left of it is held.
    pub(super) fn hold_known(&mut self, id: BatchId) -> Result<Option<IntentRefused>, StoreError> {
        let batch = self.batches[&id].clone();
        let payouts = self.in_batch(&batch);
        let is_unanswered = |id: &PayoutId| self.payouts[id].state.is_unanswered();
        let is_settled = |id: &PayoutId| {
            matches!(self.payouts[id].state, PayoutState::Paid | PayoutState::Returned | PayoutState::Accepted)
        };
        let is_told = payouts.iter().any(|id| is_unanswered(id) && !self.payouts[id].movements.is_empty());
        let is_plain = payouts.iter().all(|id| self.payouts[id].movements.is_empty());
        if batch.state != BatchState::Ready || batch.attempt == 0 && batch.parent.is_none() && is_plain {
            return Ok(None);
        }
        let goes_together = batch.rail.key_unit == KeyUnit::Batch;
        let mut up = Some(id);
        let mut did_nothing = true;
        while let Some(batch) = up.map(|id| &self.batches[&id]) {
            did_nothing &= batch.attempts.values().all(|attempt| attempt.result == Some(AttemptResult::NotExecuted));
            up = batch.parent;
        }
        let is_known = is_told
            || self.family_of(id).iter().any(|id| self.batches[id].attempts.values().any(|attempt| attempt.is_nobodys))
            || payouts.iter().any(is_settled) && (goes_together || did_nothing);
        let is_left = payouts.iter().any(is_unanswered);
        if is_known {
            self.hold_all(&payouts, HoldReason::StoppedInDoubt);
            self.doubt_attempt(id)?;
        }
        Ok(match (is_known && is_left, is_left) {
            (true, _) => Some(IntentRefused::InDoubt),
            (false, false) => Some(IntentRefused::Split),
            (false, true) => None,
        })
    }

    pub(super) fn hold_all(&mut self, ids: &[PayoutId], reason: HoldReason) -> u64 {
        let mut held = 0;
        for id in ids {
            if self.move_all(&[*id], reason.event()) > 0
                && let Some(payout) = self.payouts.get_mut(id)
            {
                payout.held = Held { reason, ..Held::default() };
                held += 1;
            }
        }
        held
    }

    /// Replaces a batch by its parts.
    pub(super) fn split_into(&mut self, id: BatchId, parts: &[Part]) -> Result<(), StoreError> {
        let batch = self.batch(id)?.clone();
        batch.state.to(BatchState::Split).map_err(|illegal| StoreError::Broken(illegal.to_string()))?;
        let mut new = Vec::new();
        for Part { first, last, state } in parts.iter().copied() {
            let is_new = state == BatchState::Ready;
            let part = Batch {
                first,
                last,
                parent: Some(id),
                state,
                available_at: None,
                epoch: payfleet_domain::Epoch(0),
                lease_until: None,
                first_sent_at: if is_new { None } else { batch.first_sent_at },
                stalled_leases: 0,
                stop_seen: 0,
                attempts: if is_new { Default::default() } else { batch.attempts.clone() },
                attempt: if is_new { 0 } else { batch.attempt },
                ..batch.clone()
            };
            let next = BatchId(self.batches.last_key_value().map_or(1, |(id, _)| id.0 + 1));
            self.batches.insert(next, part);
            new.push(next);
        }
        let batch = self.batch(id)?;
        batch.state = BatchState::Split;
        batch.lease_until = None;
        new.into_iter().for_each(|part| self.settle_held(part));
        Ok(())
    }

    /// Lets a batch go on that a control has held; where its run is over, its money is released. `None` if it is no
    /// such batch.
    fn let_go(&mut self, id: BatchId) -> Result<Option<ControlLifted>, StoreError> {
        let now = self.now;
        let batch = self.batch(id)?.clone();
        let payouts = self.in_batch(&batch);
        let is_by_control = |id: &PayoutId| {
            let payout = &self.payouts[id];
            payout.state == PayoutState::Held && payout.held.is_by_control()
        };
        if batch.state != BatchState::Held || batch.first_sent_at.is_some() || !payouts.iter().all(is_by_control) {
            return Ok(None);
        }
        // What was contested was planned before its account had late proof, which has used up its money.
        let was_contested = payouts.iter().any(|id| self.payouts[id].held.reason == HoldReason::Contested);
        let is_open = self.runs[&batch.run].row.state.is_open() && !was_contested;
        self.move_all(&payouts, PayoutEvent::Lift);
        let cancelled = match is_open {
            true => 0,
            false => self.set_free(&payouts, PayoutState::Cancelled, PayoutEvent::Cancel),
        };
        let batch = self.batch(id)?;
        batch.state = if is_open { BatchState::Ready } else { BatchState::Cancelled };
        batch.stalled_leases = 0;
        batch.available_at = Some(now);
        let go_on = if is_open { payouts.len() as u64 } else { 0 };
        Ok(Some(ControlLifted { go_on, cancelled }))
    }

    fn let_all_go(&mut self, batches: Vec<BatchId>) -> Result<ControlLifted, StoreError> {
        let mut all = ControlLifted::default();
        for batch in batches {
            let lifted = self.let_go(batch)?.unwrap_or_default();
            all.go_on += lifted.go_on;
            all.cancelled += lifted.cancelled;
        }
        Ok(all)
    }

    /// Batches that are held, with a payout among them that is held for such a reason.
    fn held_batches(&self, wanted: impl Fn(PayoutId, HoldReason) -> bool) -> Vec<BatchId> {
        let has = |batch: &Batch| {
            self.in_batch(batch).into_iter().any(|id| {
                let payout = &self.payouts[&id];
                payout.state == PayoutState::Held && wanted(id, payout.held.reason)
            })
        };
        let held = self.batches.iter().filter(|(_, batch)| batch.state == BatchState::Held);
        held.filter(|(_, batch)| has(batch)).map(|(id, _)| *id).collect()
    }

    /// What controls hold of a cancelled run was never sent.
    pub(super) fn cancel_controlled(&mut self, run: RunId) -> Result<u64, StoreError> {
        let mut cancelled = 0;
        loop {
            let held = self.held_batches(|id, reason| id.run() == run && HoldReason::CONTROLS.contains(&reason));
            let unsent = held.into_iter().find(|id| self.batches[id].first_sent_at.is_none());
            let Some(lifted) = unsent.map(|id| self.let_go(id)).transpose()?.flatten() else { return Ok(cancelled) };
            cancelled += lifted.cancelled;
        }
    }

    pub(super) fn stop_payout(&mut self, payout: PayoutId) -> Result<ControlSet, ControlError> {
        let Some(batch) = self.batch_of(payout) else { return Err(ControlError::NoPayout(payout)) };
        let state = self.payouts[&payout].state;
        if !(state.is_unanswered() || state == PayoutState::Held) {
            return Err(ControlError::Settled { payout, state });
        }
        let is_sent = i64::from(self.is_perhaps_sent(payout, batch));
        Ok(ControlSet { was_set: !self.stopped.insert(payout), unsent: 1 - is_sent, perhaps_sent: is_sent })
    }

    /// What is held in doubt was perhaps paid, whatever its batch is now.
    fn is_perhaps_sent(&self, payout: PayoutId, batch: BatchId) -> bool {
        let payout = &self.payouts[&payout];
        match payout.state {
            PayoutState::Held => !HoldReason::CONTROLS.contains(&payout.held.reason),
            _ => self.batches[&batch].state != BatchState::Ready,
        }
    }

    pub(super) fn release_payout(&mut self, payout: PayoutId) -> Result<ControlLifted, ControlError> {
        let Some(batch) = self.batch_of(payout) else { return Err(ControlError::NoPayout(payout)) };
        if !self.stopped.remove(&payout) {
            return Err(ControlError::NotStopped(payout));
        }
        Ok(self.let_go(batch)?.unwrap_or_default())
    }

    pub(super) fn hold_affiliate(&mut self, affiliate: usize) -> ControlSet {
        let mut set = ControlSet { was_set: !self.on_hold.insert(affiliate), ..ControlSet::default() };
        for (id, payout) in self.payouts.iter().filter(|(_, payout)| payout.affiliate == affiliate) {
            let is_open = self.runs[&payout.run].row.state.is_open();
            let is_undecided = payout.state.is_unanswered() || payout.state == PayoutState::Held;
            let Some(batch) = self.batch_of(*id).filter(|_| is_open && is_undecided) else { continue };
            match self.is_perhaps_sent(*id, batch) {
                false => set.unsent += 1,
                true => set.perhaps_sent += 1,
            }
        }
        set
    }

    pub(super) fn release_affiliate(&mut self, affiliate: usize) -> Result<ControlLifted, ControlError> {
        let was_on_hold = self.on_hold.remove(&affiliate);
        let is_ours = |id: PayoutId, reason| self.payouts[&id].affiliate == affiliate && reason == HoldReason::OnHold;
        let batches = self.held_batches(is_ours);
        if !was_on_hold && batches.is_empty() {
            return Err(ControlError::NotOnHold(self.scenario.affiliates[affiliate].name.clone()));
        }
        Ok(self.let_all_go(batches)?)
    }
}
