//! A process's way to the system of record: each operation an arrow, on which faults strike.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use payfleet_domain::{
    AccountChange, AccountNews, AttemptNo, BatchId, BatchState, Currency, Epoch, HoldReason, PayoutState, Rail, RunId,
    StatementEnd, StatementLine,
};
use payfleet_reconciler::ports::Reading;
use payfleet_store::{
    AccountRead, CloseVerdict, Compared, Intent, IntentRefused, Lease, LeasedBatch, NewRun, OpenBatches, Order,
    Planned, Recorded, Report, RunChangeError, RunCreateError, RunRow, SplitRefused, StatementAccount, StatementSource,
    StopConfirmed, StopSeen, StoreError, Uncovered, Verdict,
};
use time::OffsetDateTime;

use crate::backend::{Backend, SessionId};
use crate::fleet::RAILS;
use crate::matrix::Step;
use crate::scheduler::ProcessId;
use crate::world::{Gone, Server, World};

/// A process's way to the system of record.
#[derive(Clone)]
pub struct SimRecord {
    pub world: World,
    pub process: ProcessId,
}

/// An error that no fault explains is a broken invariant.
trait Unexplained {
    fn unexplained(&self) -> Option<String>;
}

impl Unexplained for StoreError {
    fn unexplained(&self) -> Option<String> {
        (!self.is_outage()).then(|| self.to_string())
    }
}

impl Unexplained for RunChangeError {
    fn unexplained(&self) -> Option<String> {
        match self {
            RunChangeError::Store(error) => error.unexplained(),
            _ => None,
        }
    }
}

impl Unexplained for RunCreateError {
    fn unexplained(&self) -> Option<String> {
        match self {
            RunCreateError::Store(error) => error.unexplained(),
            _ => None,
        }
    }
}

impl SimRecord {
    async fn arrow<T, E>(&self, step: Step, mut operation: impl FnMut(&mut dyn Backend) -> Result<T, E>) -> Result<T, E>
    where
        E: From<StoreError> + Unexplained,
    {
        let gone = |gone: Gone| E::from(StoreError::from(gone));
        let arrow = self.world.before(self.process, step, Server::Postgres).await.map_err(gone)?;
        let mut result = operation(self.world.backend().as_mut());
        if arrow.is_duplicated {
            result = operation(self.world.backend().as_mut());
        }
        if let Err(error) = &result
            && let Some(what) = error.unexplained()
        {
            self.world.broken(format!("{step:?}: {what}"));
        }
        self.world.after(self.process, step, Server::Postgres, arrow).await.map_err(gone)?;
        result
    }

    pub async fn run_create(&self, new: NewRun) -> Result<(RunRow, bool), RunCreateError> {
        self.arrow(Step::Plan, |backend| backend.run_create(new)).await
    }

    pub async fn accounts_to_read(&self) -> Result<Vec<StatementAccount>, StoreError> {
        self.arrow(Step::Reconcile, |backend| backend.accounts_to_read()).await
    }

    pub async fn runs_to_judge(&self) -> Result<Vec<RunId>, StoreError> {
        self.arrow(Step::Reconcile, |backend| backend.runs_to_judge()).await
    }

    pub async fn run_find(&self, run: RunId) -> Result<Option<RunRow>, StoreError> {
        self.arrow(Step::Reconcile, |backend| backend.run_find(run)).await
    }

    /// Opens a reconciliation, which ends with the result.
    pub async fn session_open(&self, run: RunRow) -> Result<Option<SimSession>, StoreError> {
        let arrow = self.world.before(self.process, Step::Reconcile, Server::Postgres).await?;
        // Guarded before anything can cut this short: a connection's end ends its session.
        let session = self.world.backend().session_open(run.id)?;
        let session = session.map(|id| SimSession { record: self.clone(), id, run });
        self.world.after(self.process, Step::Reconcile, Server::Postgres, arrow).await?;
        Ok(session)
    }

    async fn due(&self, rail: &'static str, hinted: HashSet<BatchId>, limit: i64) -> Result<Vec<BatchId>, StoreError> {
        self.arrow(Step::Sweep, |backend| backend.batches_due(rail, hinted.clone(), limit)).await
    }
}

/// An operator's commands.
impl SimRecord {
    pub async fn pause(&self, run: RunId) -> Result<(), RunChangeError> {
        self.world.scheduler.note(|| "a run is to be paused".to_owned());
        self.arrow(Step::Operate, |backend| backend.run_pause(run)).await
    }

    pub async fn resume(&self, run: RunId) -> Result<(), RunChangeError> {
        self.arrow(Step::Operate, |backend| backend.run_resume(run)).await
    }

    /// Whoever says that an account is mended may be wrong.
    pub async fn account_resume(&self) -> Result<usize, StoreError> {
        let rail = RAILS[self.world.scheduler.below(RAILS.len() as u64) as usize];
        self.arrow(Step::Operate, |backend| backend.account_resume(rail)).await
    }

    pub async fn cancel(&self, run: RunId) -> Result<u64, RunChangeError> {
        self.world.scheduler.note(|| "a run is to be cancelled".to_owned());
        self.arrow(Step::Operate, |backend| backend.run_cancel(run)).await
    }
}

#[async_trait]
impl payfleet_worker::ports::SystemOfRecord for SimRecord {
    async fn lease_acquire(
        &self,
        batch: BatchId,
        worker: &str,
        ttl: Duration,
    ) -> Result<Option<LeasedBatch>, StoreError> {
        self.arrow(Step::Lease, |backend| backend.lease_acquire(batch, worker, ttl)).await
    }

    async fn leases_renew(&self, leases: Vec<(BatchId, Epoch)>, ttl: Duration) -> Result<Vec<Lease>, StoreError> {
        self.arrow(Step::Lease, |backend| backend.leases_renew(leases.clone(), ttl)).await
    }

    async fn lease_release(&self, lease: Lease, available_in: Duration) -> Result<(), StoreError> {
        self.arrow(Step::Lease, |backend| backend.lease_release(lease, available_in)).await
    }

    async fn stops_find(&self, leases: Vec<(BatchId, Epoch)>) -> Result<Vec<StopSeen>, StoreError> {
        self.arrow(Step::Lease, |backend| backend.stops_find(leases.clone())).await
    }

    async fn stops_confirm(&self, confirmed: Vec<StopConfirmed>) -> Result<(), StoreError> {
        self.arrow(Step::Lease, |backend| backend.stops_confirm(confirmed.clone())).await
    }

    async fn batch_clear(&self, lease: Lease) -> Result<Option<BatchState>, StoreError> {
        self.arrow(Step::Record, |backend| backend.batch_clear(lease)).await
    }

    async fn intent_write(
        &self,
        lease: Lease,
        worker: &str,
        rail: &'static Rail,
        looked_up: bool,
    ) -> Result<Result<Intent, IntentRefused>, StoreError> {
        let write = |backend: &mut dyn Backend| {
            let intent = backend.intent_write(lease, worker, rail, looked_up)?;
            if intent.is_ok() {
                self.world.controls_kept(backend, lease.batch)?;
            }
            Ok(intent)
        };
        self.arrow(Step::Intent, write).await
    }

    async fn intent_withdraw(
        &self,
        lease: Lease,
        worker: &str,
        known: AttemptNo,
        available_in: Duration,
    ) -> Result<bool, StoreError> {
        self.arrow(Step::Withdraw, |backend| backend.intent_withdraw(lease, worker, known, available_in)).await
    }

    async fn orders_read(&self, batch: BatchId, states: &'static [PayoutState]) -> Result<Vec<Order>, StoreError> {
        self.arrow(Step::Lease, |backend| backend.orders_read(batch, states)).await
    }

    async fn outcomes_record(&self, report: Arc<Report>) -> Result<Recorded, StoreError> {
        self.arrow(Step::Record, |backend| backend.outcomes_record(report.clone())).await
    }

    async fn account_hear(
        &self,
        rail: &'static str,
        _: &str,
        _: Currency,
        news: AccountNews,
    ) -> Result<Vec<AccountChange>, StoreError> {
        self.arrow(Step::Record, |backend| backend.account_hear(rail, news)).await
    }

    async fn batch_split(&self, lease: Lease) -> Result<Result<(), SplitRefused>, StoreError> {
        self.arrow(Step::Record, |backend| backend.batch_split(lease)).await
    }

    async fn batch_hold(&self, lease: Lease, reason: HoldReason) -> Result<Option<u64>, StoreError> {
        self.arrow(Step::Record, |backend| backend.batch_hold(lease, reason)).await
    }

    async fn runs_begin(&self) -> Result<u64, StoreError> {
        self.arrow(Step::Sweep, |backend| backend.runs_begin()).await
    }

    async fn rails_open(&self) -> Result<Vec<String>, StoreError> {
        self.arrow(Step::Sweep, |backend| backend.rails_open()).await
    }

    async fn batches_due(
        &self,
        rail: &'static str,
        hinted: HashSet<BatchId>,
        limit: i64,
    ) -> Result<Vec<BatchId>, StoreError> {
        self.due(rail, hinted, limit).await
    }

    async fn runs_to_cancel(&self) -> Result<Vec<RunId>, StoreError> {
        self.arrow(Step::Sweep, |backend| backend.runs_to_cancel()).await
    }

    async fn run_cancel(&self, run: RunId) -> Result<u64, RunChangeError> {
        self.arrow(Step::Sweep, |backend| backend.run_cancel(run)).await
    }

    async fn runs_closable(&self) -> Result<Vec<RunId>, StoreError> {
        self.arrow(Step::Close, |backend| backend.runs_closable()).await
    }

    async fn run_close(&self, run: RunId) -> Result<CloseVerdict, StoreError> {
        self.arrow(Step::Close, |backend| backend.run_close(run)).await
    }
}

#[async_trait]
impl payfleet_coordinator::ports::SystemOfRecord for SimRecord {
    async fn plan_chunk(&self, run: RunId, chunk: i64, batch_size: u32) -> Result<Planned, StoreError> {
        self.arrow(Step::Plan, |backend| backend.plan_chunk(run, chunk, batch_size)).await
    }

    async fn plan_chunk_paused(&self, run: RunId, chunk: i64, batch_size: u32) -> Result<Planned, StoreError> {
        self.arrow(Step::Plan, |backend| backend.plan_chunk(run, chunk, batch_size)).await
    }

    async fn rails_open(&self) -> Result<Vec<String>, StoreError> {
        self.arrow(Step::Publish, |backend| backend.rails_open()).await
    }

    async fn batches_due(
        &self,
        rail: &'static str,
        hinted: HashSet<BatchId>,
        limit: i64,
    ) -> Result<Vec<BatchId>, StoreError> {
        self.due(rail, hinted, limit).await
    }
}

#[async_trait]
impl payfleet_reconciler::ports::Books for SimRecord {
    async fn account_open(
        &self,
        account: &StatementAccount,
        _source: StatementSource,
    ) -> Result<Option<Box<dyn Reading>>, StoreError> {
        let arrow = self.world.before(self.process, Step::Reconcile, Server::Postgres).await?;
        // Guarded before anything can cut this short: a connection's end ends its reading.
        let opened = self.world.backend().account_open(account)?;
        let reading = opened.map(|(id, from)| SimReading { record: self.clone(), id, from, lines: Vec::new() });
        self.world.after(self.process, Step::Reconcile, Server::Postgres, arrow).await?;
        Ok(reading.map(|reading| Box::new(reading) as Box<dyn Reading>))
    }
}

/// One part of an account's statement. Its end is the end of its connection.
pub struct SimReading {
    record: SimRecord,
    id: SessionId,
    from: Option<OffsetDateTime>,
    lines: Vec<StatementLine>,
}

impl Drop for SimReading {
    fn drop(&mut self) {
        self.record.world.backend().session_end(self.id);
    }
}

#[async_trait]
impl Reading for SimReading {
    fn from(&self) -> Option<OffsetDateTime> {
        self.from
    }

    async fn line_add(&mut self, line: StatementLine) -> Result<(), StoreError> {
        // No arrow of its own: lines are buffered, and sent with the end.
        self.lines.push(line);
        Ok(())
    }

    async fn end(self: Box<Self>, end: Option<StatementEnd>) -> Result<AccountRead, StoreError> {
        // Not repeated: a reading that breaks is opened anew.
        let arrow = self.record.world.before(self.record.process, Step::Reconcile, Server::Postgres).await?;
        let taken = self.record.world.backend().account_take(self.id, &self.lines, end);
        if let Err(error) = &taken
            && let Some(what) = error.unexplained()
        {
            self.record.world.broken(format!("a statement: {what}"));
        }
        self.record.world.after(self.record.process, Step::Reconcile, Server::Postgres, arrow).await?;
        taken
    }

    async fn abandon(self: Box<Self>) -> Result<(), StoreError> {
        Ok(())
    }
}

/// One reconciliation. Its end is the end of its connection.
pub struct SimSession {
    record: SimRecord,
    id: SessionId,
    run: RunRow,
}

impl Drop for SimSession {
    fn drop(&mut self) {
        self.record.world.backend().session_end(self.id);
    }
}

#[async_trait]
impl payfleet_reconciler::ports::Session for SimSession {
    fn run(&self) -> &RunRow {
        &self.run
    }

    fn lines_add(&mut self, _lines: i64) {}

    async fn accounts(&mut self) -> Result<Vec<StatementAccount>, StoreError> {
        let id = self.id;
        self.record.arrow(Step::Reconcile, |backend| backend.session_accounts(id)).await
    }

    async fn run_close(&mut self) -> Result<CloseVerdict, StoreError> {
        let run = self.run.id;
        self.record.arrow(Step::Close, |backend| backend.run_close(run)).await
    }

    async fn batches_open(&mut self) -> Result<Vec<OpenBatches>, StoreError> {
        let id = self.id;
        self.record.arrow(Step::Reconcile, |backend| backend.session_open_batches(id)).await
    }

    async fn uncovered(&mut self) -> Result<Vec<Uncovered>, StoreError> {
        let id = self.id;
        self.record.arrow(Step::Reconcile, |backend| backend.session_uncovered(id)).await
    }

    async fn has_silent_rails(&mut self) -> Result<bool, StoreError> {
        Ok(false) // every rail of the simulator has statements
    }

    async fn compare(&mut self, unknown_after: Duration) -> Result<Compared, StoreError> {
        let arrow = self.record.world.before(self.record.process, Step::Reconcile, Server::Postgres).await?;
        let compared = self.record.world.backend().session_compare(self.id, unknown_after);
        self.record.world.after(self.record.process, Step::Reconcile, Server::Postgres, arrow).await?;
        compared
    }

    async fn compare_open(&mut self, unknown_after: Duration) -> Result<Compared, StoreError> {
        let arrow = self.record.world.before(self.record.process, Step::Reconcile, Server::Postgres).await?;
        let compared = self.record.world.backend().session_compare_open(self.id, unknown_after);
        self.record.world.after(self.record.process, Step::Reconcile, Server::Postgres, arrow).await?;
        compared
    }

    async fn restart(&mut self) -> Result<(), StoreError> {
        let id = self.id;
        self.run = self.record.arrow(Step::Reconcile, |backend| backend.session_restart(id)).await?;
        Ok(())
    }

    async fn verdict_write(&mut self, statement: &str, _has_silent_rails: bool) -> Result<Verdict, StoreError> {
        let id = self.id;
        self.record.arrow(Step::Reconcile, |backend| backend.session_verdict(id, statement)).await
    }

    async fn run_read(&mut self) -> Result<Option<RunRow>, StoreError> {
        self.record.run_find(self.run.id).await
    }
}
