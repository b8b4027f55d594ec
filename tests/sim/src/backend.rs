//! A system of record as the simulator drives it: one whole operation at a time, at a time of the simulator's choosing.
//! Two kinds: [`crate::memory`], and the real store over a real Postgres, [`crate::postgres`].

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use payfleet_domain::{
    AccountChange, AccountNews, AttemptNo, BatchId, BatchState, Epoch, HoldReason, NotPaid, PayoutId, PayoutState,
    Rail, RunId, RunState, StatementEnd, StatementLine, TenantId, TransferKind,
};
use payfleet_store::{
    AccountRead, CloseVerdict, Compared, ConfirmError, ControlError, ControlLifted, ControlSet, Decision, Heard,
    HoldError, HoldSaid, Intent, IntentRefused, Lease, LeasedBatch, NewRun, OpenBatches, Order, Planned, Recorded,
    Report, RunChangeError, RunCreateError, RunRow, SplitRefused, StatementAccount, StopConfirmed, StopSeen,
    StoreError, Uncovered, Verdict,
};
use time::OffsetDateTime;
use uuid::Uuid;

/// An affiliate of the scenario, with what it earned in each period.
#[derive(Debug, Clone)]
pub struct Affiliate {
    /// Also its destination.
    pub name: String,
    /// On which rail it is paid; `None` is no method.
    pub rail: Option<&'static str>,
    /// Minor units, by period; negative is a clawback.
    pub earned: Vec<i64>,
}

/// What is in the system of record at the beginning.
#[derive(Debug, Clone)]
pub struct Scenario {
    pub affiliates: Vec<Affiliate>,
    /// The months that are paid, in order.
    pub periods: Vec<&'static str>,
    /// Payouts in a batch, at most.
    pub batch_size: u32,
    /// Affiliates in a planning transaction.
    pub chunk: i64,
}

/// A run as it ended.
#[derive(Debug, Clone)]
pub struct RunEnd {
    pub id: RunId,
    pub key: Uuid,
    pub state: RunState,
    pub verdict: Option<RunState>,
    /// How many of the scenario's affiliates its plan has gone through.
    pub planned_up_to: usize,
    pub is_paused: bool,
}

/// A payout as it ended.
#[derive(Debug, Clone)]
pub struct PayoutEnd {
    pub id: PayoutId,
    /// Its place in the scenario.
    pub affiliate: usize,
    pub amount_minor: i64,
    pub carried_minor: i64,
    pub state: PayoutState,
    pub reference: Option<String>,
    /// Kind, amount, and the ordinal of the run that counts what became due again.
    pub transfers: Vec<(TransferKind, i64, Option<i32>)>,
}

/// An exclusion.
#[derive(Debug, Clone)]
pub struct ExclusionEnd {
    pub run: RunId,
    pub affiliate: usize,
    pub amount_minor: i64,
    pub carried_minor: i64,
}

/// Everything that the invariants are about, as it ended.
#[derive(Debug, Clone, Default)]
pub struct Ended {
    /// In the order of their windows.
    pub runs: Vec<RunEnd>,
    pub payouts: Vec<PayoutEnd>,
    pub exclusions: Vec<ExclusionEnd>,
    /// Balances, by affiliate.
    pub carried: Vec<i64>,
    /// Batches that are neither done, held, split nor cancelled.
    pub batches_open: usize,
}

/// One whole operation after the other; `now` is the database's clock.
pub trait Backend: Send {
    /// Sets the database's clock.
    fn clock(&mut self, now: OffsetDateTime);
    fn tenant(&self) -> TenantId;

    fn run_create(&mut self, new: NewRun) -> Result<(RunRow, bool), RunCreateError>;
    fn plan_chunk(&mut self, run: RunId, chunk: i64, batch_size: u32) -> Result<Planned, StoreError>;
    fn runs_begin(&mut self) -> Result<u64, StoreError>;
    fn rails_open(&mut self) -> Result<Vec<String>, StoreError>;
    fn batches_due(
        &mut self,
        rail: &'static str,
        hinted: HashSet<BatchId>,
        limit: i64,
    ) -> Result<Vec<BatchId>, StoreError>;
    fn runs_to_cancel(&mut self) -> Result<Vec<RunId>, StoreError>;
    fn run_cancel(&mut self, run: RunId) -> Result<u64, RunChangeError>;
    fn run_pause(&mut self, run: RunId) -> Result<(), RunChangeError>;
    fn run_resume(&mut self, run: RunId) -> Result<(), RunChangeError>;
    fn payout_stop(&mut self, payout: PayoutId) -> Result<ControlSet, ControlError>;
    fn payout_release(&mut self, payout: PayoutId) -> Result<ControlLifted, ControlError>;
    /// Affiliates are named by their place in the scenario.
    fn affiliate_hold(&mut self, affiliate: usize) -> Result<ControlSet, ControlError>;
    fn affiliate_release(&mut self, affiliate: usize) -> Result<ControlLifted, ControlError>;
    /// Open holds of a run, and whether they may be said to be not paid; `None` of what controls hold.
    fn holds(&mut self, run: RunId) -> Result<Vec<(PayoutId, Option<NotPaid>)>, StoreError>;
    /// People are numbered.
    fn hold_decide(&mut self, payout: PayoutId, decision: Decision, person: usize) -> Result<HoldSaid, HoldError>;
    fn runs_closable(&mut self) -> Result<Vec<RunId>, StoreError>;
    fn run_close(&mut self, run: RunId) -> Result<CloseVerdict, StoreError>;
    fn run_find(&mut self, run: RunId) -> Result<Option<RunRow>, StoreError>;
    fn accounts_to_read(&mut self) -> Result<Vec<StatementAccount>, StoreError>;
    fn runs_to_judge(&mut self) -> Result<Vec<RunId>, StoreError>;

    fn lease_acquire(&mut self, batch: BatchId, worker: &str, ttl: Duration)
    -> Result<Option<LeasedBatch>, StoreError>;
    fn leases_renew(&mut self, leases: Vec<(BatchId, Epoch)>, ttl: Duration) -> Result<Vec<Lease>, StoreError>;
    fn lease_release(&mut self, lease: Lease, available_in: Duration) -> Result<(), StoreError>;
    fn stops_find(&mut self, leases: Vec<(BatchId, Epoch)>) -> Result<Vec<StopSeen>, StoreError>;
    fn stops_confirm(&mut self, confirmed: Vec<StopConfirmed>) -> Result<(), StoreError>;
    fn batch_clear(&mut self, lease: Lease) -> Result<Option<BatchState>, StoreError>;
    fn intent_write(
        &mut self,
        lease: Lease,
        worker: &str,
        rail: &'static Rail,
        looked_up: bool,
    ) -> Result<Result<Intent, IntentRefused>, StoreError>;
    fn intent_withdraw(
        &mut self,
        lease: Lease,
        worker: &str,
        known: AttemptNo,
        available_in: Duration,
    ) -> Result<bool, StoreError>;
    fn orders_read(&mut self, batch: BatchId, states: &'static [PayoutState]) -> Result<Vec<Order>, StoreError>;
    fn outcomes_record(&mut self, report: Arc<Report>) -> Result<Recorded, StoreError>;
    /// Of the scenario's account there.
    fn account_hear(&mut self, rail: &'static str, news: AccountNews) -> Result<Vec<AccountChange>, StoreError>;
    /// A person lets the scenario's account there go on.
    fn account_resume(&mut self, rail: &'static str) -> Result<usize, StoreError>;
    fn batch_split(&mut self, lease: Lease) -> Result<Result<(), SplitRefused>, StoreError>;
    fn batch_hold(&mut self, lease: Lease, reason: HoldReason) -> Result<Option<u64>, StoreError>;

    /// Begins with the next part of an account's statement, and says from when on it is wanted; `None` while another
    /// one reads it.
    fn account_open(&mut self, account: &StatementAccount) -> Result<Option<Opened>, StoreError>;
    /// Takes in the part, with its end mark if it has one.
    fn account_take(
        &mut self,
        reading: SessionId,
        lines: &[StatementLine],
        end: Option<StatementEnd>,
    ) -> Result<AccountRead, StoreError>;
    /// Takes in a file; `None` while somebody reads the account's statement.
    fn file_take(&mut self, file: &Handed) -> Result<Option<AccountRead>, StoreError>;
    /// Returns that only a file tells of, in the order in which they were told: of which payout, under which reference.
    fn returns_waiting(&mut self) -> Result<Vec<(PayoutId, String)>, StoreError>;
    /// Confirms the first return of a payout that waits.
    fn return_confirm(&mut self, payout: PayoutId, person: usize) -> Result<Heard, ConfirmError>;
    /// Opens a reconciliation; `None` while another of the run is open.
    fn session_open(&mut self, run: RunId) -> Result<Option<SessionId>, StoreError>;
    /// Forgets a reconciliation or a reading, as the end of its connection does.
    fn session_end(&mut self, session: SessionId);
    fn session_accounts(&mut self, session: SessionId) -> Result<Vec<StatementAccount>, StoreError>;
    fn session_open_batches(&mut self, session: SessionId) -> Result<Vec<OpenBatches>, StoreError>;
    fn session_uncovered(&mut self, session: SessionId) -> Result<Vec<Uncovered>, StoreError>;
    fn session_compare(&mut self, session: SessionId, unknown_after: Duration) -> Result<Compared, StoreError>;
    fn session_compare_open(&mut self, session: SessionId, unknown_after: Duration) -> Result<Compared, StoreError>;
    fn session_restart(&mut self, session: SessionId) -> Result<RunRow, StoreError>;
    fn session_verdict(&mut self, session: SessionId, statement: &str) -> Result<Verdict, StoreError>;

    /// The run of the scenario's period at this place; a number that no run has, while there is none.
    fn run_at(&mut self, place: usize) -> RunId;
    /// Whether a batch of the run is open.
    fn is_open(&mut self, run: RunId) -> bool;
    /// Everything, for the judge.
    fn ended(&mut self) -> Ended;
}

/// A file as somebody hands it in.
#[derive(Debug, Clone)]
pub struct Handed {
    /// Of the scenario's account there.
    pub rail: &'static str,
    pub lines: Vec<StatementLine>,
    /// Without one it was cut.
    pub end: Option<StatementEnd>,
    /// Who handed it in, if they said so by a token.
    pub person: Option<usize>,
}

/// A reading of an account's statement: its number, and from when on the next part is wanted.
pub type Opened = (SessionId, Option<OffsetDateTime>);

/// A reconciliation of a backend, or a reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SessionId(pub u64);
