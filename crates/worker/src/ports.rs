//! What the work needs of the world, as the steps of the protocol name it. [`Store`] and [`Queue`] are the world; the
//! simulator of the package `tests` is another one, in which every await is a place for a fault.

use std::collections::HashSet;
use std::ops::Add;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use payfleet_domain::{
    AccountChange, AccountNews, AttemptNo, BatchId, BatchState, Currency, Epoch, HoldReason, PayoutState, Rail, RunId,
};
use payfleet_queue::{EntryId, Hint, Outstanding, Queue, QueueError};
use payfleet_store::{
    CloseVerdict, Intent, IntentRefused, Lease, LeasedBatch, Order, Recorded, Report, RunChangeError, SplitRefused,
    StopConfirmed, StopSeen, Store, StoreError,
};
use rustix::time::{ClockId, clock_gettime};
use time::OffsetDateTime;

/// What decides: see the methods of the same names of [`Store`].
#[allow(missing_docs)] // said there
#[async_trait]
pub trait SystemOfRecord: Send + Sync {
    async fn lease_acquire(
        &self,
        batch: BatchId,
        worker: &str,
        ttl: Duration,
    ) -> Result<Option<LeasedBatch>, StoreError>;
    async fn leases_renew(&self, leases: Vec<(BatchId, Epoch)>, ttl: Duration) -> Result<Vec<Lease>, StoreError>;
    async fn lease_release(&self, lease: Lease, available_in: Duration) -> Result<(), StoreError>;
    async fn stops_find(&self, leases: Vec<(BatchId, Epoch)>) -> Result<Vec<StopSeen>, StoreError>;
    async fn stops_confirm(&self, confirmed: Vec<StopConfirmed>) -> Result<(), StoreError>;
    async fn intent_write(
        &self,
        lease: Lease,
        worker: &str,
        rail: &'static Rail,
        looked_up: bool,
    ) -> Result<Result<Intent, IntentRefused>, StoreError>;
    async fn intent_withdraw(
        &self,
        lease: Lease,
        worker: &str,
        known: AttemptNo,
        available_in: Duration,
    ) -> Result<bool, StoreError>;
    async fn batch_clear(&self, lease: Lease) -> Result<Option<BatchState>, StoreError>;
    async fn orders_read(&self, batch: BatchId, states: &'static [PayoutState]) -> Result<Vec<Order>, StoreError>;
    async fn outcomes_record(&self, report: Arc<Report>) -> Result<Recorded, StoreError>;
    async fn account_hear(
        &self,
        rail: &'static str,
        account: &str,
        currency: Currency,
        news: AccountNews,
    ) -> Result<Vec<AccountChange>, StoreError>;
    async fn batch_split(&self, lease: Lease) -> Result<Result<(), SplitRefused>, StoreError>;
    async fn batch_hold(&self, lease: Lease, reason: HoldReason) -> Result<Option<u64>, StoreError>;

    async fn runs_begin(&self) -> Result<u64, StoreError>;
    async fn rails_open(&self) -> Result<Vec<String>, StoreError>;
    async fn batches_due(
        &self,
        rail: &'static str,
        hinted: HashSet<BatchId>,
        limit: i64,
    ) -> Result<Vec<BatchId>, StoreError>;
    async fn runs_to_cancel(&self) -> Result<Vec<RunId>, StoreError>;
    async fn run_cancel(&self, run: RunId) -> Result<u64, RunChangeError>;
    async fn runs_closable(&self) -> Result<Vec<RunId>, StoreError>;
    async fn run_close(&self, run: RunId) -> Result<CloseVerdict, StoreError>;
}

/// What wakes: see the methods of the same names of [`Queue`].
#[allow(missing_docs)] // said there
#[async_trait]
pub trait Hints: Send + Sync {
    async fn outstanding(&self, rail: &str, max: usize) -> Result<Outstanding, QueueError>;
    async fn publish(&self, rail: &str, hints: &[Hint]) -> Result<(), QueueError>;
    async fn acknowledge(&self, rail: &str, entries: &[EntryId]) -> Result<(), QueueError>;
    async fn set_aside(&self, rail: &str, entry: &EntryId) -> Result<bool, QueueError>;
    async fn rate_permit(&self, rail: &str, account: &str, calls: u32, per_sec: u32) -> Result<Duration, QueueError>;
}

/// An instant of a steady clock that goes on whatever stops: the process, the machine, or the machine that this one is
/// a guest of as far as it is told. Permission to send is measured by nothing else, and `std::time::Instant` is not
/// that: on Linux it stands still while the machine is suspended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment {
    since_boot: Duration,
}

impl Moment {
    /// This long after the beginning of the clock.
    pub fn since_boot(since_boot: Duration) -> Moment {
        Moment { since_boot }
    }
}

impl Add<Duration> for Moment {
    type Output = Moment;

    fn add(self, wait: Duration) -> Moment {
        Moment { since_boot: self.since_boot.saturating_add(wait) }
    }
}

/// Time and chance of one process.
#[async_trait]
pub trait Clock: Send + Sync {
    /// A steady clock, which goes on while the process is stopped or the machine suspended.
    fn now(&self) -> Moment;
    /// What the machine's calendar says. Only for instants that others have named: a guest whose host was suspended may
    /// not be told of it otherwise.
    fn wall(&self) -> OffsetDateTime;
    /// Waits.
    async fn sleep(&self, wait: Duration);
    /// From 0 to 1, so that a fleet that failed together does not come back together.
    fn jitter(&self) -> f64;
}

/// The machine's own.
pub struct SystemClock;

#[async_trait]
impl Clock for SystemClock {
    fn now(&self) -> Moment {
        let boot = clock_gettime(ClockId::Boottime);
        // Neither is ever negative, on a clock that begins with the machine.
        Moment::since_boot(Duration::new(boot.tv_sec.unsigned_abs(), boot.tv_nsec.unsigned_abs() as u32))
    }

    fn wall(&self) -> OffsetDateTime {
        OffsetDateTime::now_utc()
    }

    async fn sleep(&self, wait: Duration) {
        tokio::time::sleep(wait).await;
    }

    fn jitter(&self) -> f64 {
        rand::random()
    }
}

#[async_trait]
impl SystemOfRecord for Store {
    async fn lease_acquire(
        &self,
        batch: BatchId,
        worker: &str,
        ttl: Duration,
    ) -> Result<Option<LeasedBatch>, StoreError> {
        self.lease_acquire(batch, worker, ttl).await
    }

    async fn leases_renew(&self, leases: Vec<(BatchId, Epoch)>, ttl: Duration) -> Result<Vec<Lease>, StoreError> {
        self.leases_renew(leases, ttl).await
    }

    async fn lease_release(&self, lease: Lease, available_in: Duration) -> Result<(), StoreError> {
        self.lease_release(lease, available_in).await
    }

    async fn stops_find(&self, leases: Vec<(BatchId, Epoch)>) -> Result<Vec<StopSeen>, StoreError> {
        self.stops_find(leases).await
    }

    async fn stops_confirm(&self, confirmed: Vec<StopConfirmed>) -> Result<(), StoreError> {
        self.stops_confirm(confirmed).await
    }

    async fn intent_write(
        &self,
        lease: Lease,
        worker: &str,
        rail: &'static Rail,
        looked_up: bool,
    ) -> Result<Result<Intent, IntentRefused>, StoreError> {
        self.intent_write(lease, worker, rail, looked_up).await
    }

    async fn intent_withdraw(
        &self,
        lease: Lease,
        worker: &str,
        known: AttemptNo,
        available_in: Duration,
    ) -> Result<bool, StoreError> {
        self.intent_withdraw(lease, worker, known, available_in).await
    }

    async fn batch_clear(&self, lease: Lease) -> Result<Option<BatchState>, StoreError> {
        self.batch_clear(lease).await
    }

    async fn orders_read(&self, batch: BatchId, states: &'static [PayoutState]) -> Result<Vec<Order>, StoreError> {
        self.orders_read(batch, states).await
    }

    async fn outcomes_record(&self, report: Arc<Report>) -> Result<Recorded, StoreError> {
        self.outcomes_record(report).await
    }

    async fn account_hear(
        &self,
        rail: &'static str,
        account: &str,
        currency: Currency,
        news: AccountNews,
    ) -> Result<Vec<AccountChange>, StoreError> {
        self.account_hear(rail, account, currency, news).await
    }

    async fn batch_split(&self, lease: Lease) -> Result<Result<(), SplitRefused>, StoreError> {
        self.batch_split(lease).await
    }

    async fn batch_hold(&self, lease: Lease, reason: HoldReason) -> Result<Option<u64>, StoreError> {
        self.batch_hold(lease, reason).await
    }

    async fn runs_begin(&self) -> Result<u64, StoreError> {
        self.runs_begin().await
    }

    async fn rails_open(&self) -> Result<Vec<String>, StoreError> {
        self.rails_open().await
    }

    async fn batches_due(
        &self,
        rail: &'static str,
        hinted: HashSet<BatchId>,
        limit: i64,
    ) -> Result<Vec<BatchId>, StoreError> {
        self.batches_due(rail, hinted, limit).await
    }

    async fn runs_to_cancel(&self) -> Result<Vec<RunId>, StoreError> {
        self.runs_to_cancel().await
    }

    async fn run_cancel(&self, run: RunId) -> Result<u64, RunChangeError> {
        self.run_cancel(run).await
    }

    async fn runs_closable(&self) -> Result<Vec<RunId>, StoreError> {
        self.runs_closable().await
    }

    async fn run_close(&self, run: RunId) -> Result<CloseVerdict, StoreError> {
        self.run_close(run).await
    }
}

#[async_trait]
impl Hints for Queue {
    async fn outstanding(&self, rail: &str, max: usize) -> Result<Outstanding, QueueError> {
        self.outstanding(rail, max).await
    }

    async fn publish(&self, rail: &str, hints: &[Hint]) -> Result<(), QueueError> {
        self.publish(rail, hints).await
    }

    async fn acknowledge(&self, rail: &str, entries: &[EntryId]) -> Result<(), QueueError> {
        self.acknowledge(rail, entries).await
    }

    async fn set_aside(&self, rail: &str, entry: &EntryId) -> Result<bool, QueueError> {
        self.set_aside(rail, entry).await
    }

    async fn rate_permit(&self, rail: &str, account: &str, calls: u32, per_sec: u32) -> Result<Duration, QueueError> {
        self.rate_permit(rail, account, calls, per_sec).await
    }
}
