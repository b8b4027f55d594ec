//! Guards G3 and G4, splits and holds, as `store` has them.

use payfleet_domain::{
    AlarmKind, AttemptNo, AttemptResult, BatchId, BatchStanding, BatchState, HoldReason, KeyUnit, Movement,
    OlderAttempts, Outcome, PayoutEvent, PayoutId, PayoutState, RefusalVerdict, RunId, RunState, TransferKind,
    one_may_spoil, refusal_verdict,
};
use payfleet_store::{Lease, Recorded, Report, SplitRefused, StoreError};

use super::controls::Part;
use super::{Attempt, Batch, Memory, Teller};

type News<'a> = Vec<(PayoutId, &'a str)>;

impl Memory {
    pub(super) fn can(&self, payout: PayoutId, event: PayoutEvent) -> bool {
        self.payouts.get(&payout).is_some_and(|payout| payout.state.after(event).is_ok())
    }

    /// The run that counts what becomes due again now: the next one to be created.
    pub(super) fn counted_in(&self) -> Option<i32> {
        self.runs.values().next_back().map(|run| run.row.ordinal + 1)
    }

    fn accept(&mut self, news: &[(PayoutId, &str)]) {
        for (id, reference) in news {
            if !self.can(*id, PayoutEvent::Accept) {
                continue;
            }
            if self.payouts[id].state == PayoutState::Held {
                self.run_news([id.run()]);
            }
            if let Some(payout) = self.payouts.get_mut(id) {
                payout.state = PayoutState::Accepted;
                payout.reference = Some((*reference).to_owned());
            }
        }
    }

    /// Refusals and cancellations: the money is due again.
    pub(super) fn set_free(&mut self, ids: &[PayoutId], to: PayoutState, event: PayoutEvent) -> u64 {
        self.free(ids, to, event, |_| true)
    }

    /// The same; `counts` says whose word of a payment keeps the money.
    pub(super) fn free(
        &mut self,
        ids: &[PayoutId],
        to: PayoutState,
        event: PayoutEvent,
        counts: fn(Teller) -> bool,
    ) -> u64 {
        let mut freed = 0;
        for id in ids {
            if !self.can(*id, event) {
                continue;
            }
            let due_in = self.counted_in();
            let Some(payout) = self.payouts.get_mut(id) else { continue };
            if payout.state == PayoutState::Held {
                let run = payout.run;
                self.run_news([run]);
            }
            let Some(payout) = self.payouts.get_mut(id) else { continue };
            payout.state = to;
            payout.reference = None;
            payout.transfers.insert(TransferKind::Release, due_in);
            self.carried[payout.affiliate] += payout.amount_minor;
            freed += 1;
        }
        let is_paid = |id: &PayoutId| {
            self.payouts.get(id).is_some_and(|payout| {
                payout.movements.keys().any(|(kind, _, by)| *kind == Movement::Paid && counts(*by))
            })
        };
        let paid: Vec<PayoutId> = ids.iter().copied().filter(is_paid).collect();
        self.weigh(&paid);
        freed
    }

    pub(super) fn move_all(&mut self, ids: &[PayoutId], event: PayoutEvent) -> u64 {
        let mut moved = 0;
        for id in ids {
            if let Some(payout) = self.payouts.get_mut(id)
                && let Ok(state) = payout.state.after(event)
            {
                payout.state = state;
                moved += 1;
            }
        }
        moved
    }

    /// Which attempts beside one may have paid. No rail here frees a key by a refusal, so `another_accepted` has
    /// nothing to be compared with: the model and the fleet over PayPal's dialect try it.
    fn older(&self, batch: &Batch, than: Option<AttemptNo>) -> OlderAttempts {
        let opened = than.and_then(|n| batch.attempts.get(&n.0)).map_or(self.now, |attempt| attempt.opened_at);
        let others = batch.attempts.iter().filter(|(n, _)| than.is_none_or(|than| than.0 != **n));
        match others.into_iter().any(|(_, attempt)| attempt.may_arrive() && attempt.may_arrive_until > opened) {
            true => OlderAttempts::MayStillArrive,
            false => OlderAttempts::AllDead,
        }
    }

    pub(super) fn record(&mut self, report: &Report) -> Result<Recorded, StoreError> {
        let batch = self.batch(report.batch)?.clone();
        if report.outcomes.iter().any(|(id, _)| !batch.has(*id)) {
            return Err(StoreError::Broken("a stray payout".to_owned()));
        }
        fn pick(report: &Report, which: fn(&Outcome) -> Option<&str>) -> News<'_> {
            report.outcomes.iter().filter_map(|(id, outcome)| which(outcome).map(|word| (*id, word))).collect()
        }
        let paid_news = pick(report, |outcome| match outcome {
            Outcome::Paid(reference) => Some(&reference.0),
            _ => None,
        });
        let mut moved = self.settle(&paid_news);
        let returned: Vec<_> = report
            .outcomes
            .iter()
            .filter_map(|(id, outcome)| match outcome {
                Outcome::Returned(reference) => Some((*id, reference.0.as_str(), None)),
                Outcome::ReturnedPart(reference, part) => Some((*id, reference.0.as_str(), Some(part.minor))),
                _ => None,
            })
            .collect();
        moved += self.give_back(&returned);
        let accepted = pick(report, |outcome| match outcome {
            Outcome::Accepted(reference) => Some(&reference.0),
            _ => None,
        });
        self.accept(&accepted);
        let refusals = pick(report, |outcome| match outcome {
            Outcome::Refused(code) => Some(code.as_str()),
            _ => None,
        });
        let mut lost: Vec<PayoutId> =
            report.outcomes.iter().filter(|(_, outcome)| *outcome == Outcome::Unknown).map(|(id, _)| *id).collect();
        let refused_ids: Vec<PayoutId> = refusals.iter().map(|(id, _)| *id).collect();
        let (mut refused, mut split, mut is_unproven) = (0, false, false);
        if !refusals.is_empty() {
            let verdict = match report.attempt {
                None => {
                    let attempts = self.older(&batch, None);
                    refusal_verdict(batch.rail, report.epoch == batch.epoch, attempts)
                }
                Some(attempt) => {
                    let newest = attempt.0 == batch.attempt && batch.state != BatchState::Split;
                    refusal_verdict(batch.rail, newest, self.older(&batch, Some(attempt)))
                }
            };
            let may_spoil = one_may_spoil(batch.state, batch.payouts(), refusals.iter().map(|(_, code)| *code));
            match verdict {
                RefusalVerdict::Final if report.refused_whole && may_spoil => split = true,
                RefusalVerdict::Final => {
                    // The answer to one request says nothing of the payment that the rail accepted by another.
                    let is_accepted = |id: &PayoutId| self.payouts[id].state == PayoutState::Accepted;
                    let refused_ids: Vec<PayoutId> =
                        refused_ids.iter().copied().filter(|id| report.attempt.is_none() || !is_accepted(id)).collect();
                    refused = self.set_free(&refused_ids, PayoutState::Refused, PayoutEvent::Refuse);
                }
                RefusalVerdict::StillUnknown => {
                    is_unproven = true;
                    lost.extend(&refused_ids);
                }
            }
        }
        if report.attempt.is_none() && report.epoch == batch.epoch {
            let unfound: Vec<PayoutId> =
                report.outcomes.iter().filter(|(_, told)| *told == Outcome::NotExecuted).map(|(id, _)| *id).collect();
            self.record_unfound(report.batch, &unfound)?;
        }
        let has_lost = !lost.is_empty();
        // Of a batch that is ready nothing is under way: news that proves nothing cannot change that.
        let parts = self.parts(report.batch, &batch);
        lost.retain(|id| match batch.state {
            BatchState::Split => parts.iter().any(|part| {
                let part = &self.batches[part];
                part.state != BatchState::Ready && part.has(*id)
            }),
            state => state != BatchState::Ready,
        });
        self.move_all(&lost, PayoutEvent::LoseTrack);
        if let Some(attempt) = report.attempt {
            let result = AttemptResult::of(has_lost, report.outcomes.iter().map(|(_, outcome)| outcome));
            let opened_at = self.batches[&report.batch].attempts.get(&attempt.0).map(|attempt| attempt.opened_at);
            for (id, other) in &mut self.batches {
                if (*id == report.batch || other.parent == Some(report.batch))
                    && let Some(open) = other.attempts.get_mut(&attempt.0)
                    && open.result.is_none()
                    && Some(open.opened_at) == opened_at
                {
                    open.result = Some(result);
                }
            }
        }
        for part in parts {
            self.settle_held(part);
        }
        let state = if split {
            let unknown = self.in_batch(&batch);
            self.move_all(&unknown, PayoutEvent::Clear);
            self.halve(report.batch, BatchState::Ready)?;
            BatchState::Split
        } else {
            self.advance(report, has_lost, is_unproven)?
        };
        Ok(Recorded { paid: moved.paid, refused, late: moved.late, alarms: moved.alarms, state })
    }

    /// What the rail was asked about and does not know, when every request is dead.
    fn record_unfound(&mut self, id: BatchId, unfound: &[PayoutId]) -> Result<(), StoreError> {
        let now = self.now;
        let batch = self.batch(id)?;
        let mut arriving = batch.attempts.values().filter(|attempt| attempt.may_arrive());
        let may_arrive = arriving.any(|attempt| attempt.may_arrive_until >= now);
        if unfound.is_empty() || batch.state != BatchState::Sending || !batch.rail.needs_dead_requests() || may_arrive {
            return Ok(());
        }
        let mut was_open = false;
        for attempt in batch.attempts.values_mut().filter(|attempt| attempt.result.is_none()) {
            attempt.result = Some(AttemptResult::Unknown);
            was_open = true;
        }
        let batch = batch.clone();
        if was_open {
            // Any of it may have been under way.
            let others: Vec<PayoutId> =
                self.in_batch(&batch).into_iter().filter(|payout| !unfound.contains(payout)).collect();
            self.move_all(&others, PayoutEvent::LoseTrack);
        }
        self.move_all(unfound, PayoutEvent::Clear);
        Ok(())
    }

    /// What a split batch was split into, and what those were.
    fn parts(&self, id: BatchId, batch: &Batch) -> Vec<BatchId> {
        let mut parts = Vec::new();
        let mut split = Vec::from_iter((batch.state == BatchState::Split).then_some(id));
        while let Some(parent) = split.pop() {
            for (half, other) in self.batches.iter().filter(|(_, other)| other.parent == Some(parent)) {
                match other.state {
                    BatchState::Split => split.push(*half),
                    _ => parts.push(*half),
                }
            }
        }
        parts
    }

    /// Keeps an alarm, and pauses its run where that is open. Whether it is new: the same again pauses nothing.
    pub(super) fn raise(&mut self, payout: PayoutId, kind: AlarmKind, words: String) -> bool {
        let is_new = self.alarms.insert((payout, kind, words));
        if is_new {
            self.alarm(payout.run(), kind);
        }
        is_new
    }

    fn alarm(&mut self, run: RunId, kind: AlarmKind) {
        if let Some(run) = self.runs.get_mut(&run)
            && run.row.state.is_open()
            && !run.paused
        {
            run.paused = true;
            run.row.pause_reason = Some(kind.pause_reason().to_owned());
        }
    }

    fn advance(&mut self, report: &Report, lost_track: bool, is_unproven: bool) -> Result<BatchState, StoreError> {
        let now = self.now;
        let batch = self.batch(report.batch)?.clone();
        let is_lessee = report.epoch == batch.epoch;
        let next = batch.state.after_news(&self.standing(&batch), is_lessee);
        if next != batch.state {
            batch.state.to(next).map_err(|illegal| StoreError::Broken(illegal.to_string()))?;
        }
        let progressed = report
            .outcomes
            .iter()
            .any(|(_, outcome)| outcome.is_news() && !(is_unproven && matches!(outcome, Outcome::Refused(_))));
        let batch = self.batch(report.batch)?;
        if matches!(next, BatchState::Done | BatchState::Accepted) {
            batch
                .attempts
                .values_mut()
                .filter(|attempt| attempt.is_alive())
                .for_each(|attempt| attempt.result = Some(AttemptResult::Superseded));
        }
        batch.state = next;
        batch.first_sent_at = match next {
            BatchState::Accepted => batch.first_sent_at.or(Some(now)),
            BatchState::Ready => None,
            _ => batch.first_sent_at,
        };
        if progressed {
            batch.unknown_attempts = 0;
        }
        batch.unknown_attempts += i32::from(lost_track || (report.unanswered && is_lessee));
        if is_lessee {
            batch.stalled_leases = 0;
            let unsent = report.outcomes.iter().any(|(_, outcome)| *outcome == Outcome::NotExecuted);
            let is_failure = report.attempt.is_some() || !unsent;
            batch.failures = if progressed { 0 } else { batch.failures + u32::from(is_failure) };
            if report.release {
                // When every older request is dead, the next refusal proves something.
                let arriving = batch.attempts.values().filter(|attempt| is_unproven && attempt.may_arrive());
                let dead_at = arriving.map(|attempt| attempt.may_arrive_until).max();
                batch.available_at = Some(now + report.available_in).max(dead_at);
                batch.lease_until = None;
            }
        }
        Ok(next)
    }

    pub(super) fn split(&mut self, lease: Lease) -> Result<Result<(), SplitRefused>, StoreError> {
        let batch = self.batch(lease.batch)?.clone();
        if batch.epoch != lease.epoch || !batch.state.may_lack_answers() {
            return Ok(Err(SplitRefused::LeaseLost));
        }
        self.halve(lease.batch, batch.state)?;
        Ok(Ok(()))
    }

    fn halve(&mut self, id: BatchId, halves: BatchState) -> Result<(), StoreError> {
        let batch = self.batch(id)?.clone();
        if batch.payouts() < 2 {
            return Err(StoreError::Broken(format!("batch {id} cannot be split")));
        }
        let middle = PayoutId(batch.first.0 + i64::from(batch.payouts() / 2));
        let part = |first, last| Part { first, last, state: halves };
        self.split_into(id, &[part(batch.first, PayoutId(middle.0 - 1)), part(middle, batch.last)])
    }

    pub(super) fn hold(&mut self, lease: Lease, reason: HoldReason) -> Result<Option<u64>, StoreError> {
        let batch = self.batch(lease.batch)?.clone();
        let is_held_from: &[BatchState] = match reason.event() {
            PayoutEvent::Doubt => &[BatchState::Accepted],
            _ => &[BatchState::Ready, BatchState::Sending],
        };
        if batch.epoch != lease.epoch || !is_held_from.contains(&batch.state) {
            return Ok(None);
        }
        let is_cancelled = self.runs[&batch.run].row.state == RunState::Cancelled;
        if is_cancelled && batch.state == BatchState::Sending {
            self.cancel_part(lease.batch)?;
        }
        let goes_apart = reason.spares_unsent()
            && !is_cancelled
            && batch.state == BatchState::Sending
            && batch.rail.key_unit == KeyUnit::Payout
            && batch.attempts.values().all(|attempt| attempt.result.is_some());
        let is_spared = |payout: &PayoutId| goes_apart && self.payouts[payout].state == PayoutState::Planned;
        let (spared, in_doubt): (Vec<PayoutId>, Vec<PayoutId>) = self.in_batch(&batch).into_iter().partition(is_spared);
        let held = self.hold_all(&in_doubt, reason);
        if !spared.is_empty() {
            let now = self.now;
            let batch = self.batch(lease.batch)?;
            let alive = batch.attempts.values_mut().filter(|attempt| attempt.is_alive());
            alive.for_each(|attempt| attempt.result = Some(AttemptResult::Superseded));
            batch.state = BatchState::Ready;
            batch.first_sent_at = None;
            batch.stalled_leases = 0;
            batch.unknown_attempts = 0;
            batch.failures = 0;
            batch.lease_until = None;
            batch.available_at = Some(now);
        }
        self.settle_held(lease.batch);
        Ok(Some(held))
    }

    fn standing(&self, batch: &Batch) -> BatchStanding {
        let has = |state: PayoutState| self.in_batch(batch).iter().any(|id| self.payouts[id].state == state);
        BatchStanding {
            is_unanswered: has(PayoutState::Planned) || has(PayoutState::Unknown),
            is_under_way: has(PayoutState::Unknown) || batch.attempts.values().any(Attempt::is_alive),
            has_accepted: has(PayoutState::Accepted),
            has_held: has(PayoutState::Held),
        }
    }

    /// Moves a batch with nothing unanswered to where its payouts say.
    pub(super) fn settle_held(&mut self, id: BatchId) {
        let Some(batch) = self.batches.get(&id) else { return };
        let Some(next) = batch.state.settled(&self.standing(batch)) else { return };
        let now = self.now;
        if let Some(batch) = self.batches.get_mut(&id) {
            batch.state = next;
            batch.stalled_leases = 0;
            batch.lease_until = None;
            // A part of a split batch may be answered by what was sent before it was one.
            if next == BatchState::Accepted {
                batch.first_sent_at = batch.first_sent_at.or(Some(now));
                batch.attempt = batch.attempt.max(1);
            }
        }
    }
}
