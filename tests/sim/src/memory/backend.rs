//! The operations as the simulator calls them.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use payfleet_domain::{
    AccountChange, AccountNews, AttemptNo, BatchId, BatchState, Epoch, HoldReason, NotPaid, PayoutId, PayoutState,
    Rail, RunId, RunState, StatementEnd, StatementLine, TenantId,
};
use payfleet_store::{
    AccountRead, CloseVerdict, Compared, ConfirmError, ControlError, ControlLifted, ControlSet, Decision, Heard,
    HoldError, HoldSaid, Intent, IntentRefused, Lease, LeasedBatch, NewRun, OpenBatches, Order, Planned, Recorded,
    Report, RunChangeError, RunCreateError, RunRow, SplitRefused, StatementAccount, StopConfirmed, StopSeen,
    StoreError, Uncovered, Verdict,
};
use time::OffsetDateTime;

use super::{Batch, Memory, Run, is_past};
use crate::backend::{Backend, Ended, ExclusionEnd, Handed, Opened, PayoutEnd, RunEnd, SessionId};

/// A number that no run has.
const NO_RUN: RunId = RunId(i32::MAX as i64);

impl Backend for Memory {
    fn clock(&mut self, now: OffsetDateTime) {
        self.now = now;
    }

    fn tenant(&self) -> TenantId {
        TenantId(1)
    }

    fn run_create(&mut self, new: NewRun) -> Result<(RunRow, bool), RunCreateError> {
        self.create(new)
    }

    fn plan_chunk(&mut self, run: RunId, chunk: i64, batch_size: u32) -> Result<Planned, StoreError> {
        self.plan(run, chunk, batch_size)
    }

    fn runs_begin(&mut self) -> Result<u64, StoreError> {
        let now = self.now;
        let planned = self.runs.values_mut().filter(|run| run.row.state == RunState::Planned && !run.paused);
        Ok(planned
            .map(|run| {
                run.row.state = RunState::Paying;
                run.row.paying_at = Some(now);
            })
            .count() as u64)
    }

    fn rails_open(&mut self) -> Result<Vec<String>, StoreError> {
        let open = self.batches.values().filter(|batch| batch.state.is_open());
        let mut rails: Vec<String> = open.map(|batch| batch.rail.name.to_owned()).collect();
        rails.sort();
        rails.dedup();
        Ok(rails)
    }

    fn batches_due(
        &mut self,
        rail: &'static str,
        hinted: HashSet<BatchId>,
        limit: i64,
    ) -> Result<Vec<BatchId>, StoreError> {
        let now = self.now;
        let is_due = |(id, batch): &(&BatchId, &Batch)| {
            let run = &self.runs[&batch.run];
            let may = run.row.state == RunState::Paying
                || run.row.state == RunState::Cancelled && batch.state != BatchState::Ready;
            batch.rail.name == rail
                && batch.state.is_open()
                && batch.available_at.is_none_or(|at| at <= now)
                && is_past(batch.lease_until, now)
                && may
                && !run.paused
                && !hinted.contains(id)
        };
        let mut turns = std::collections::BTreeMap::<RunId, i64>::new();
        let mut due: Vec<(i64, RunId, BatchId)> = Vec::new();
        for (id, batch) in self.batches.iter().filter(is_due) {
            let turn = turns.entry(batch.run).or_default();
            *turn += 1;
            due.push((*turn, batch.run, *id));
        }
        due.sort_unstable();
        Ok(due.into_iter().take(limit.max(0) as usize).map(|(_, _, id)| id).collect())
    }

    fn runs_to_cancel(&mut self) -> Result<Vec<RunId>, StoreError> {
        let cancelled = self.runs.values().filter(|run| run.row.state == RunState::Cancelled);
        Ok(cancelled.filter(|run| self.has_unsent(run.row.id)).map(|run| run.row.id).collect())
    }

    fn run_cancel(&mut self, id: RunId) -> Result<u64, RunChangeError> {
        let may = self
            .runs
            .get(&id)
            .is_some_and(|run| run.row.state == RunState::Cancelled || run.row.state.to(RunState::Cancelled).is_ok());
        if !may {
            return Err(self.illegal(id, "cancelled"));
        }
        let run = self.run(id)?;
        run.stop_no += i32::from(run.row.state != RunState::Cancelled);
        run.row.state = RunState::Cancelled;
        run.row.pause_reason = None;
        run.paused = false;
        Ok(self.cancel_unsent(id)?)
    }

    fn run_pause(&mut self, id: RunId) -> Result<(), RunChangeError> {
        match self.runs.get_mut(&id).filter(|run| run.row.state.is_open()) {
            None => Err(self.illegal(id, "paused")),
            Some(run) => {
                run.paused = true;
                run.stop_no += 1;
                run.row.pause_reason.get_or_insert_with(|| "a person".to_owned());
                Ok(())
            }
        }
    }

    fn run_resume(&mut self, id: RunId) -> Result<(), RunChangeError> {
        match self.runs.get_mut(&id).filter(|run| run.row.state.is_open()) {
            None => Err(self.illegal(id, "resumed")),
            Some(run) => {
                run.paused = false;
                run.row.pause_reason = None;
                Ok(())
            }
        }
    }

    fn payout_stop(&mut self, payout: PayoutId) -> Result<ControlSet, ControlError> {
        self.stop_payout(payout)
    }

    fn payout_release(&mut self, payout: PayoutId) -> Result<ControlLifted, ControlError> {
        self.release_payout(payout)
    }

    fn affiliate_hold(&mut self, affiliate: usize) -> Result<ControlSet, ControlError> {
        Ok(self.hold_affiliate(affiliate))
    }

    fn affiliate_release(&mut self, affiliate: usize) -> Result<ControlLifted, ControlError> {
        self.release_affiliate(affiliate)
    }

    fn holds(&mut self, run: RunId) -> Result<Vec<(PayoutId, Option<NotPaid>)>, StoreError> {
        Ok(self.holds_of(run))
    }

    fn hold_decide(&mut self, payout: PayoutId, decision: Decision, person: usize) -> Result<HoldSaid, HoldError> {
        self.decide(payout, &decision, person)
    }

    fn runs_closable(&mut self) -> Result<Vec<RunId>, StoreError> {
        let may_close = |run: &&Run| {
            matches!(run.row.state, RunState::Paying | RunState::Cancelled)
                && run.row.settled_at.is_none()
                && !run.paused
        };
        let paying = self.runs.values().filter(may_close);
        Ok(paying.filter(|run| !self.has_open(run.row.id)).map(|run| run.row.id).collect())
    }

    fn run_close(&mut self, run: RunId) -> Result<CloseVerdict, StoreError> {
        self.close(run)
    }

    fn run_find(&mut self, run: RunId) -> Result<Option<RunRow>, StoreError> {
        Ok(self.runs.get(&run).map(|run| run.row.clone()))
    }

    fn accounts_to_read(&mut self) -> Result<Vec<StatementAccount>, StoreError> {
        Ok(self.to_read())
    }

    fn runs_to_judge(&mut self) -> Result<Vec<RunId>, StoreError> {
        Ok(self.to_judge())
    }

    fn lease_acquire(&mut self, batch: BatchId, _: &str, ttl: Duration) -> Result<Option<LeasedBatch>, StoreError> {
        self.acquire(batch, ttl)
    }

    fn leases_renew(&mut self, leases: Vec<(BatchId, Epoch)>, ttl: Duration) -> Result<Vec<Lease>, StoreError> {
        Ok(self.renew(leases, ttl))
    }

    fn lease_release(&mut self, lease: Lease, available_in: Duration) -> Result<(), StoreError> {
        self.release(lease, available_in);
        Ok(())
    }

    fn stops_find(&mut self, leases: Vec<(BatchId, Epoch)>) -> Result<Vec<StopSeen>, StoreError> {
        Ok(self.find_stops(leases))
    }

    fn stops_confirm(&mut self, confirmed: Vec<StopConfirmed>) -> Result<(), StoreError> {
        self.confirm_stops(&confirmed);
        Ok(())
    }

    fn batch_clear(&mut self, lease: Lease) -> Result<Option<BatchState>, StoreError> {
        self.clear(lease)
    }

    fn intent_write(
        &mut self,
        lease: Lease,
        _: &str,
        rail: &'static Rail,
        looked_up: bool,
    ) -> Result<Result<Intent, IntentRefused>, StoreError> {
        self.intend(lease, rail, looked_up)
    }

    fn intent_withdraw(
        &mut self,
        lease: Lease,
        _: &str,
        known: AttemptNo,
        available_in: Duration,
    ) -> Result<bool, StoreError> {
        self.withdraw(lease, known, available_in)
    }

    fn orders_read(&mut self, batch: BatchId, states: &'static [PayoutState]) -> Result<Vec<Order>, StoreError> {
        let (first, last) = (self.batch(batch)?.first, self.batch(batch)?.last);
        Ok(self.orders_in(first, last, states))
    }

    fn outcomes_record(&mut self, report: Arc<Report>) -> Result<Recorded, StoreError> {
        self.record(&report)
    }

    fn account_hear(&mut self, rail: &'static str, news: AccountNews) -> Result<Vec<AccountChange>, StoreError> {
        Ok(self.hear_account(rail, &news))
    }

    fn account_resume(&mut self, rail: &'static str) -> Result<usize, StoreError> {
        Ok(self.resume_account(rail))
    }

    fn batch_split(&mut self, lease: Lease) -> Result<Result<(), SplitRefused>, StoreError> {
        self.split(lease)
    }

    fn batch_hold(&mut self, lease: Lease, reason: HoldReason) -> Result<Option<u64>, StoreError> {
        self.hold(lease, reason)
    }

    fn session_open(&mut self, run: RunId) -> Result<Option<SessionId>, StoreError> {
        self.open_session(run)
    }

    fn account_open(&mut self, account: &StatementAccount) -> Result<Option<Opened>, StoreError> {
        self.open_reading(account)
    }

    fn account_take(
        &mut self,
        reading: SessionId,
        lines: &[StatementLine],
        end: Option<StatementEnd>,
    ) -> Result<AccountRead, StoreError> {
        self.take(reading, lines, end)
    }

    fn file_take(&mut self, file: &Handed) -> Result<Option<AccountRead>, StoreError> {
        self.take_file(file)
    }

    fn returns_waiting(&mut self) -> Result<Vec<(PayoutId, String)>, StoreError> {
        Ok(self.waiting())
    }

    fn return_confirm(&mut self, payout: PayoutId, person: usize) -> Result<Heard, ConfirmError> {
        self.confirm(payout, person)
    }

    fn session_end(&mut self, session: SessionId) {
        self.sessions.remove(&session);
        self.readings.remove(&session);
    }

    fn session_accounts(&mut self, session: SessionId) -> Result<Vec<StatementAccount>, StoreError> {
        self.accounts(session)
    }

    fn session_open_batches(&mut self, session: SessionId) -> Result<Vec<OpenBatches>, StoreError> {
        self.open_batches(session)
    }

    fn session_uncovered(&mut self, session: SessionId) -> Result<Vec<Uncovered>, StoreError> {
        self.uncovered(session)
    }

    fn session_compare(&mut self, session: SessionId, _unknown_after: Duration) -> Result<Compared, StoreError> {
        self.compare(session)
    }

    fn session_compare_open(&mut self, _: SessionId, _: Duration) -> Result<Compared, StoreError> {
        Ok(Compared { discrepancies: 0, newer_than_statement: 0, summary: Default::default() })
    }

    fn session_restart(&mut self, session: SessionId) -> Result<RunRow, StoreError> {
        self.restart(session)
    }

    fn session_verdict(&mut self, session: SessionId, _statement: &str) -> Result<Verdict, StoreError> {
        self.conclude(session)
    }

    fn run_at(&mut self, place: usize) -> RunId {
        let run = RunId(place as i64 + 1);
        // What is not there yet is not meant, also if it is there when a command arrives.
        if self.runs.contains_key(&run) { run } else { NO_RUN }
    }

    fn is_open(&mut self, run: RunId) -> bool {
        self.has_open(run)
    }

    fn ended(&mut self) -> Ended {
        let runs = self.runs.values().map(|run| RunEnd {
            id: run.row.id,
            key: run.row.key,
            state: run.row.state,
            verdict: run.verdict,
            planned_up_to: run.cursor,
            is_paused: run.paused,
        });
        let payouts = self.payouts.iter().map(|(id, payout)| PayoutEnd {
            id: *id,
            affiliate: payout.affiliate,
            amount_minor: payout.amount_minor,
            carried_minor: payout.carried_minor,
            state: payout.state,
            reference: payout.reference.clone(),
            transfers: payout.transfers.iter().map(|(kind, due_in)| (*kind, payout.amount_minor, *due_in)).collect(),
        });
        let exclusions = self.exclusions.iter().map(|excluded| ExclusionEnd {
            run: excluded.run,
            affiliate: excluded.affiliate,
            amount_minor: excluded.amount_minor,
            carried_minor: excluded.carried_minor,
        });
        Ended {
            runs: runs.collect(),
            payouts: payouts.collect(),
            exclusions: exclusions.collect(),
            carried: self.carried.clone(),
            batches_open: self.batches.values().filter(|batch| batch.state.is_open()).count(),
        }
    }
}
