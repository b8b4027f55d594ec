//! A machine that is suspended between two calls of one batch: what the steps of the work make of it, with clocks that
//! go on or stand still.

#![allow(clippy::unwrap_used)]

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use clap::Parser;
use payfleet_domain::{
    AccountChange, AccountNews, AttemptNo, BatchFacts, BatchId, BatchState, Currency, Epoch, HoldReason, Money,
    Outcome, PayoutId, PayoutState, Rail, Reference, RunId, TenantId,
};
use payfleet_queue::{EntryId, Hint, Outstanding, QueueError};
use payfleet_rails::{Account, Adapter, Answer, Call, Finding, Registry, StatementError, StatementStream};
use payfleet_runtime::shutdown::Shutdown;
use payfleet_store::{
    CloseVerdict, Intent, IntentRefused, Lease, LeasedBatch, Order, Recorded, Report, RunChangeError, SplitRefused,
    StopConfirmed, StopSeen, StoreError,
};
use payfleet_worker::ports::{Clock, Hints, Moment, SystemOfRecord};
use payfleet_worker::{Options, Worker};
use time::OffsetDateTime;
use time::macros::datetime;

const NOW: OffsetDateTime = datetime!(2026-03-01 12:00 UTC);

/// What a clock of a machine that was suspended shows.
#[derive(Debug, Clone, Copy)]
struct GoesOn {
    boot: bool,
    wall: bool,
}

struct Machine {
    clock: GoesOn,
    suspended: Mutex<Duration>,
}

#[async_trait]
impl Clock for Machine {
    fn now(&self) -> Moment {
        let suspended = if self.clock.boot { *self.suspended.lock().unwrap() } else { Duration::ZERO };
        Moment::since_boot(Duration::from_secs(100) + suspended)
    }

    fn wall(&self) -> OffsetDateTime {
        let suspended = if self.clock.wall { *self.suspended.lock().unwrap() } else { Duration::ZERO };
        NOW + suspended
    }

    async fn sleep(&self, _: Duration) {
        tokio::task::yield_now().await;
    }

    fn jitter(&self) -> f64 {
        0.5
    }
}

fn rail() -> &'static Rail {
    Rail::named("sandbox-payout").unwrap()
}

/// A rail at which the machine is suspended while it answers the first call.
struct Suspending {
    machine: Arc<Machine>,
    time: Duration,
    calls: AtomicUsize,
}

#[async_trait]
impl Adapter for Suspending {
    fn rail(&self) -> &'static Rail {
        rail()
    }

    async fn submit(&self, _: &Call<'_>) -> Answer {
        *self.machine.suspended.lock().unwrap() = self.time;
        let nth = self.calls.fetch_add(1, Ordering::SeqCst);
        Answer::All(Outcome::Paid(Reference(format!("r{nth}"))))
    }

    async fn look_up(&self, _: &Call<'_>) -> Vec<Finding> {
        unreachable!("nothing is looked up here")
    }

    async fn follow(&self, _: &Call<'_>) -> Vec<Finding> {
        unreachable!("nothing is followed here")
    }

    async fn statement(&self, _: &Account, _: OffsetDateTime) -> Result<StatementStream, StatementError> {
        unreachable!("no statement is read here")
    }
}

/// A system of record with one batch of three payouts that is ready.
#[derive(Default)]
struct OneBatch {
    reported: Mutex<Vec<Outcome>>,
}

#[async_trait]
impl SystemOfRecord for OneBatch {
    async fn lease_acquire(&self, batch: BatchId, _: &str, _: Duration) -> Result<Option<LeasedBatch>, StoreError> {
        Ok(Some(LeasedBatch {
            lease: Lease { batch, epoch: Epoch(1) },
            tenant: TenantId(1),
            run: RunId(1),
            run_key: uuid::Uuid::from_u128(1),
            rail: rail().name.to_owned(),
            account: "main".to_owned(),
            credential: None,
            first: PayoutId(1 << 32),
            last: PayoutId((1 << 32) + 2),
            facts: BatchFacts {
                state: BatchState::Ready,
                payouts: 3,
                attempt: AttemptNo(0),
                first_sent_at: None,
                may_arrive_until: None,
                stalled_leases: 1,
                unknown_attempts: 0,
                run_cancelled: false,
                has_controls: false,
                now: NOW,
            },
            failures: 0,
        }))
    }

    async fn intent_write(
        &self,
        _: Lease,
        _: &str,
        rail: &'static Rail,
        _: bool,
    ) -> Result<Result<Intent, IntentRefused>, StoreError> {
        let order = |place: i64| Order {
            payout: PayoutId((1 << 32) + place),
            affiliate: format!("a{place}"),
            amount: Money { minor: 100, currency: "EUR".parse().unwrap() },
            due_currency: "EUR".parse().unwrap(),
            destination: format!("a{place}@example.com"),
            payee_name: String::new(),
            payee_country: String::new(),
            reference: None,
        };
        let orders = (0..3).map(order).collect();
        let expires_at = NOW + rail.request_lifetime;
        Ok(Ok(Intent { attempt: AttemptNo(1), expires_at, orders, is_probe: false, is_watched: false }))
    }

    async fn intent_withdraw(&self, _: Lease, _: &str, _: AttemptNo, _: Duration) -> Result<bool, StoreError> {
        unreachable!("no intent fails here")
    }

    async fn outcomes_record(&self, report: Arc<Report>) -> Result<Recorded, StoreError> {
        let outcomes = report.outcomes.iter().map(|(_, outcome)| outcome.clone());
        self.reported.lock().unwrap().extend(outcomes);
        Ok(Recorded { paid: 0, late: 0, refused: 0, alarms: 0, state: BatchState::Ready })
    }

    async fn leases_renew(&self, _: Vec<(BatchId, Epoch)>, _: Duration) -> Result<Vec<Lease>, StoreError> {
        unreachable!("nobody renews here")
    }

    async fn lease_release(&self, _: Lease, _: Duration) -> Result<(), StoreError> {
        unreachable!("nothing is handed back here")
    }

    async fn stops_find(&self, _: Vec<(BatchId, Epoch)>) -> Result<Vec<StopSeen>, StoreError> {
        unreachable!("nobody looks for stops here")
    }

    async fn stops_confirm(&self, _: Vec<StopConfirmed>) -> Result<(), StoreError> {
        unreachable!("nobody looks for stops here")
    }

    async fn batch_clear(&self, _: Lease) -> Result<Option<BatchState>, StoreError> {
        unreachable!("nothing is in doubt here")
    }

    async fn orders_read(&self, _: BatchId, _: &'static [PayoutState]) -> Result<Vec<Order>, StoreError> {
        unreachable!("nothing is in doubt here")
    }

    async fn account_hear(
        &self,
        _: &'static str,
        _: &str,
        _: Currency,
        _: AccountNews,
    ) -> Result<Vec<AccountChange>, StoreError> {
        unreachable!("nothing is wrong with the account here")
    }

    async fn batch_split(&self, _: Lease) -> Result<Result<(), SplitRefused>, StoreError> {
        unreachable!("nobody dies here")
    }

    async fn batch_hold(&self, _: Lease, _: HoldReason) -> Result<Option<u64>, StoreError> {
        unreachable!("nothing is in doubt here")
    }

    async fn runs_begin(&self) -> Result<u64, StoreError> {
        unreachable!("nobody sweeps here")
    }

    async fn rails_open(&self) -> Result<Vec<String>, StoreError> {
        unreachable!("nobody sweeps here")
    }

    async fn batches_due(&self, _: &'static str, _: HashSet<BatchId>, _: i64) -> Result<Vec<BatchId>, StoreError> {
        unreachable!("nobody sweeps here")
    }

    async fn runs_to_cancel(&self) -> Result<Vec<RunId>, StoreError> {
        unreachable!("nobody sweeps here")
    }

    async fn run_cancel(&self, _: RunId) -> Result<u64, RunChangeError> {
        unreachable!("nobody sweeps here")
    }

    async fn runs_closable(&self) -> Result<Vec<RunId>, StoreError> {
        unreachable!("nobody sweeps here")
    }

    async fn run_close(&self, _: RunId) -> Result<CloseVerdict, StoreError> {
        unreachable!("nobody sweeps here")
    }
}

struct NoHints;

#[async_trait]
impl Hints for NoHints {
    async fn outstanding(&self, _: &str, _: usize) -> Result<Outstanding, QueueError> {
        unreachable!("nobody sweeps here")
    }

    async fn publish(&self, _: &str, _: &[Hint]) -> Result<(), QueueError> {
        unreachable!("nobody sweeps here")
    }

    async fn acknowledge(&self, _: &str, _: &[EntryId]) -> Result<(), QueueError> {
        unreachable!("no hint is read here")
    }

    async fn set_aside(&self, _: &str, _: &EntryId) -> Result<bool, QueueError> {
        unreachable!("no hint is read here")
    }

    async fn rate_permit(&self, _: &str, _: &str, _: u32, _: u32) -> Result<Duration, QueueError> {
        unreachable!("this rail has no limit")
    }
}

/// How many of three calls are made, one after the other, if the machine is suspended for so long during the first.
async fn calls(clock: GoesOn, time: Duration) -> usize {
    let machine = Arc::new(Machine { clock, suspended: Mutex::default() });
    let adapter = Arc::new(Suspending { machine: machine.clone(), time, calls: AtomicUsize::new(0) });
    let record = Arc::new(OneBatch::default());
    let options = Options::try_parse_from(["payfleet-worker", "--calls", "1"]).unwrap();
    let registry = Registry::of(vec![adapter.clone()]);
    let shutdown = Shutdown::manual();
    let worker = Worker::new("w".to_owned(), options, record.clone(), Arc::new(NoHints), registry, machine, shutdown);
    worker.work_on(BatchId(1)).await.unwrap();
    let reported = record.reported.lock().unwrap();
    let paid = reported.iter().filter(|outcome| matches!(outcome, Outcome::Paid(_))).count();
    let unsent = reported.iter().filter(|outcome| **outcome == Outcome::NotExecuted).count();
    assert_eq!((paid, unsent), (adapter.calls.load(Ordering::SeqCst), 3 - paid), "what was not sent is said to be so");
    paid
}

/// Rule `suspended_time_counts`.
#[tokio::test]
async fn after_a_suspension_that_outlives_the_lease_nothing_more_is_sent() {
    let lease = Duration::from_secs(8);
    let day = Duration::from_secs(25 * 3600);
    // What was asked before: a clock that stands still with the machine believes in lease and intent for ever.
    let stands_still = GoesOn { boot: false, wall: false };
    assert_eq!((calls(stands_still, lease).await, calls(stands_still, day).await), (3, 3), "it pays, and must not");
    let counts = GoesOn { boot: true, wall: true };
    assert_eq!((calls(counts, lease).await, calls(counts, day).await), (1, 1));
    // A guest that is not told of its host's suspension, but whose calendar is set right.
    let told_by_the_calendar = GoesOn { boot: false, wall: true };
    assert_eq!(calls(told_by_the_calendar, rail().request_lifetime).await, 1);
    // And one whose calendar was set back meanwhile.
    let told_by_the_clock = GoesOn { boot: true, wall: false };
    assert_eq!(calls(told_by_the_clock, lease).await, 1);
    assert_eq!(calls(counts, Duration::from_millis(900)).await, 3, "a short nap is nothing");
}
