//! A system of record in memory: the store's operations written down a second time, plainly, with the rules of
//! `domain`. Over the same seed it must come to the same end as the real store (see [`crate::postgres`]).

mod backend;
mod controls;
mod funding;
mod outcomes;
mod people;
mod runs;
mod session;
mod standing;
mod statement;
mod stops;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use payfleet_domain::{
    AccountStanding, AlarmKind, AttemptNo, AttemptResult, BatchFacts, BatchId, BatchState, Currency, Epoch, HoldReason,
    LineDiffers, Money, Movement, PayoutId, PayoutState, Rail, Reference, RunId, RunState, TenantId, TransferKind,
};
use payfleet_store::{Intent, IntentRefused, Lease, LeasedBatch, Order, Report, RunRow, StoreError};
use time::OffsetDateTime;

use crate::backend::{Scenario, SessionId};

use session::ReadingOf;
pub use session::Session;

#[derive(Debug, Clone)]
struct Run {
    row: RunRow,
    paused: bool,
    /// Pauses and cancels so far.
    stop_no: i32,
    cursor: usize,
    /// What was learned of its payments, and what the last verdict knew of.
    news_no: u64,
    judged_news: u64,
    verdict: Option<RunState>,
}

#[derive(Debug, Clone)]
struct Payout {
    run: RunId,
    affiliate: usize,
    amount_minor: i64,
    carried_minor: i64,
    state: PayoutState,
    reference: Option<String>,
    /// Its place in the order of records, which no clock can change.
    settled_as: Option<u64>,
    settled_at: Option<OffsetDateTime>,
    /// Each with the ordinal of the run that counts what became due again.
    transfers: BTreeMap<TransferKind, Option<i32>>,
    /// On the rail's own statement just as it should be.
    is_listed: bool,
    /// In a file just as it should be.
    is_filed: bool,
    /// Payments and returns beyond the first payment, as somebody tells them under a reference.
    movements: BTreeMap<(Movement, String, Teller), Told>,
    /// Returns that cannot be right, and whether a file says so.
    wrong_returns: BTreeSet<(String, Teller)>,
    is_contested: bool,
    /// A line says another amount, currency or destination.
    differs: LineDiffers,
    /// Of one that is held.
    held: Held,
}

/// Who tells of a movement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Teller {
    /// An answer, a lookup, or people.
    Answer,
    /// The rail's own statement.
    Rail,
    File,
}

/// A movement as it is told.
#[derive(Debug, Clone)]
struct Told {
    minor: i64,
    /// The payment that a return is of.
    of: Option<String>,
    /// A return that a file tells waits for a second person.
    counts: bool,
    /// Two people have said since that it was not paid.
    is_over: bool,
    proposal: Option<people::Said>,
    /// Its place in the order of all of them.
    nth: u64,
}

/// A hold.
#[derive(Debug, Clone)]
struct Held {
    reason: HoldReason,
    proposal: Option<people::Said>,
}

impl Default for Held {
    fn default() -> Held {
        Held { reason: HoldReason::Poison, proposal: None }
    }
}

impl Held {
    fn is_by_control(&self) -> bool {
        HoldReason::CONTROLS.contains(&self.reason)
    }
}

#[derive(Debug, Clone)]
struct Attempt {
    opened_at: OffsetDateTime,
    may_arrive_until: OffsetDateTime,
    result: Option<AttemptResult>,
    /// Under which it was opened.
    epoch: Epoch,
    /// Of a request that nobody here has made.
    is_nobodys: bool,
}

impl Attempt {
    /// A request that nobody here has made, as old as its run.
    fn nobodys(opened_at: OffsetDateTime, may_arrive_until: OffsetDateTime, epoch: Epoch) -> Attempt {
        Attempt { opened_at, may_arrive_until, result: Some(AttemptResult::Unknown), epoch, is_nobodys: true }
    }

    fn is_alive(&self) -> bool {
        AttemptResult::is_alive(self.result)
    }

    fn may_arrive(&self) -> bool {
        AttemptResult::may_arrive(self.result)
    }

    /// Whether it keeps what is proven unsent of its batch, or all that was looked up, from being sent.
    fn hinders(&self, looked_up: bool, now: OffsetDateTime) -> bool {
        self.is_alive() && (looked_up || self.result.is_none() || self.may_arrive_until >= now)
    }
}

#[derive(Debug, Clone)]
struct Batch {
    run: RunId,
    rail: &'static Rail,
    first: PayoutId,
    last: PayoutId,
    parent: Option<BatchId>,
    state: BatchState,
    available_at: Option<OffsetDateTime>,
    epoch: Epoch,
    lease_until: Option<OffsetDateTime>,
    first_sent_at: Option<OffsetDateTime>,
    stalled_leases: i32,
    unknown_attempts: i32,
    failures: u32,
    /// The newest stop of the run that a lessee has confirmed.
    stop_seen: i32,
    attempts: BTreeMap<i32, Attempt>,
    /// Attempts so far; inherited by halves.
    attempt: i32,
}

impl Batch {
    fn payouts(&self) -> i32 {
        (self.last.0 - self.first.0 + 1) as i32
    }

    /// What is dead and not known to the rail never was.
    fn supersede(&mut self, now: OffsetDateTime) {
        for attempt in self.attempts.values_mut() {
            if attempt.is_alive() && attempt.may_arrive_until < now {
                attempt.result = Some(AttemptResult::Superseded);
            }
        }
    }

    fn has(&self, payout: PayoutId) -> bool {
        self.first <= payout && payout <= self.last
    }
}

#[derive(Debug, Clone)]
struct Exclusion {
    run: RunId,
    affiliate: usize,
    amount_minor: i64,
    carried_minor: i64,
}

/// The whole of it.
pub struct Memory {
    scenario: Scenario,
    now: OffsetDateTime,
    runs: BTreeMap<RunId, Run>,
    batches: BTreeMap<BatchId, Batch>,
    payouts: BTreeMap<PayoutId, Payout>,
    exclusions: Vec<Exclusion>,
    /// By affiliate.
    carried: Vec<i64>,
    sessions: BTreeMap<SessionId, Session>,
    readings: BTreeMap<SessionId, ReadingOf>,
    sessions_opened: u64,
    /// By rail: how far its statement is known.
    accounts: BTreeMap<&'static str, Account>,
    /// Payouts that people have stopped, and affiliates that they have put on hold.
    stopped: BTreeSet<PayoutId>,
    /// Of funding accounts: by rail, all of each and its one currency.
    funding: BTreeMap<&'static str, [AccountStanding; 2]>,
    on_hold: BTreeSet<usize>,
    /// Lines whose key is none of ours.
    strays: i64,
    /// Alarms about payouts: told once each.
    alarms: BTreeSet<(PayoutId, AlarmKind, String)>,
    /// How often something was settled.
    recorded: u64,
    /// Movements that were kept.
    movements: u64,
}

/// How far the statement of an account is known.
#[derive(Debug, Clone, Copy, Default)]
struct Account {
    reaches_to: Option<OffsetDateTime>,
    reaches_ours: Option<OffsetDateTime>,
    /// How much had been recorded when the last part was asked for.
    asked_as: u64,
    /// The same of files.
    file_reaches: Option<OffsetDateTime>,
    file_asked_as: u64,
}

/// Reads as "free" and as "due": `-infinity` of the schema.
fn is_past(instant: Option<OffsetDateTime>, now: OffsetDateTime) -> bool {
    instant.is_none_or(|instant| instant < now)
}

impl Memory {
    pub fn new(scenario: Scenario) -> Memory {
        let carried = vec![0; scenario.affiliates.len()];
        Memory {
            scenario,
            now: crate::EPOCH,
            runs: BTreeMap::new(),
            batches: BTreeMap::new(),
            payouts: BTreeMap::new(),
            exclusions: Vec::new(),
            carried,
            sessions: BTreeMap::new(),
            readings: BTreeMap::new(),
            sessions_opened: 0,
            accounts: BTreeMap::new(),
            stopped: BTreeSet::new(),
            funding: BTreeMap::new(),
            on_hold: BTreeSet::new(),
            strays: 0,
            alarms: BTreeSet::new(),
            recorded: 0,
            movements: 0,
        }
    }

    pub(super) fn currency() -> Currency {
        "EUR".parse().expect("a code of ISO 4217")
    }

    fn batch(&mut self, id: BatchId) -> Result<&mut Batch, StoreError> {
        self.batches.get_mut(&id).ok_or_else(|| StoreError::Broken(format!("batch {id} does not exist")))
    }

    fn in_batch(&self, batch: &Batch) -> Vec<PayoutId> {
        self.payouts.range(batch.first..=batch.last).map(|(id, _)| *id).collect()
    }

    fn orders_in(&self, first: PayoutId, last: PayoutId, states: &[PayoutState]) -> Vec<Order> {
        let wanted = self.payouts.range(first..=last).filter(|(_, payout)| states.contains(&payout.state));
        wanted
            .map(|(id, payout)| {
                let affiliate = &self.scenario.affiliates[payout.affiliate];
                Order {
                    payout: *id,
                    affiliate: affiliate.name.clone(),
                    amount: Money { minor: payout.amount_minor, currency: Memory::currency() },
                    due_currency: Memory::currency(),
                    destination: affiliate.name.clone(),
                    payee_name: String::new(),
                    payee_country: String::new(),
                    reference: payout.reference.clone().map(Reference),
                }
            })
            .collect()
    }

    /// G1.
    pub(super) fn acquire(&mut self, id: BatchId, ttl: Duration) -> Result<Option<LeasedBatch>, StoreError> {
        let now = self.now;
        let is_sending = self.batches.get(&id).is_some_and(|batch| batch.state == BatchState::Sending);
        let has_controls = is_sending && self.has_controls(id);
        let Some(batch) = self.batches.get_mut(&id) else { return Ok(None) };
        let run = &self.runs[&batch.run];
        let may_work = run.row.state == RunState::Paying
            || run.row.state == RunState::Cancelled && batch.state != BatchState::Ready;
        let is_due = batch.available_at.is_none_or(|at| at <= now);
        if !batch.state.is_open() || !is_due || !is_past(batch.lease_until, now) || run.paused || !may_work {
            return Ok(None);
        }
        batch.epoch = Epoch(batch.epoch.0 + 1);
        batch.lease_until = Some(now + ttl);
        batch.stalled_leases += 1;
        let arriving = batch.attempts.values().filter(|attempt| attempt.may_arrive());
        Ok(Some(LeasedBatch {
            lease: Lease { batch: id, epoch: batch.epoch },
            tenant: TenantId(1),
            run: batch.run,
            run_key: run.row.key,
            rail: batch.rail.name.to_owned(),
            account: "shop".to_owned(),
            credential: None,
            first: batch.first,
            last: batch.last,
            facts: BatchFacts {
                state: batch.state,
                payouts: batch.payouts(),
                attempt: AttemptNo(batch.attempt),
                first_sent_at: batch.first_sent_at,
                may_arrive_until: arriving.map(|attempt| attempt.may_arrive_until).max(),
                stalled_leases: batch.stalled_leases,
                unknown_attempts: batch.unknown_attempts,
                run_cancelled: run.row.state == RunState::Cancelled,
                has_controls,
                now,
            },
            failures: batch.failures,
        }))
    }

    pub(super) fn renew(&mut self, leases: Vec<(BatchId, Epoch)>, ttl: Duration) -> Vec<Lease> {
        let now = self.now;
        let mut renewed = Vec::new();
        for (id, epoch) in leases {
            if let Some(batch) = self.batches.get_mut(&id)
                && batch.epoch == epoch
                && !is_past_or_now(batch.lease_until, now)
            {
                batch.lease_until = Some(now + ttl);
                renewed.push(Lease { batch: id, epoch });
            }
        }
        renewed
    }

    pub(super) fn release(&mut self, lease: Lease, available_in: Duration) {
        let now = self.now;
        if let Some(batch) = self.batches.get_mut(&lease.batch)
            && batch.epoch == lease.epoch
            && !is_past_or_now(batch.lease_until, now)
        {
            batch.lease_until = None;
            batch.stalled_leases = 0;
            batch.available_at = Some(now + available_in);
        }
    }

    /// G2.
    pub(super) fn intend(
        &mut self,
        lease: Lease,
        rail: &'static Rail,
        looked_up: bool,
    ) -> Result<Result<Intent, IntentRefused>, StoreError> {
        let now = self.now;
        let runs = &self.runs;
        let batch = self.batches.get_mut(&lease.batch).filter(|batch| batch.epoch == lease.epoch);
        let Some(batch) = batch else { return Ok(Err(IntentRefused::LeaseLost)) };
        let run = &runs[&batch.run];
        if run.paused || run.row.state != RunState::Paying {
            return Ok(Err(IntentRefused::RunStopped));
        }
        if rail.needs_dead_requests() && looked_up {
            batch.supersede(now);
        }
        if let Some(refused) = self.apply_controls(lease.batch, rail)? {
            return Ok(Err(refused));
        }
        let (is_probe, is_watched) = match self.may_send(lease.batch, rail.name) {
            Ok(is_probe) => (is_probe, self.is_watched(rail.name)),
            Err(wait) => return Ok(Err(IntentRefused::AccountStopped(wait))),
        };
        let batch = self.batch(lease.batch)?;
        let (first, last) = (batch.first, batch.last);
        let has_unsent = !self.orders_in(first, last, &[PayoutState::Planned]).is_empty();
        let batch = self.batch(lease.batch)?;
        if is_past_or_now(batch.lease_until, now) {
            return Ok(Err(IntentRefused::LeaseLost));
        }
        let is_safe = match batch.state {
            BatchState::Ready => true,
            BatchState::Sending => {
                rail.resend_window().is_some() && rail.key_is_certain(batch.first_sent_at, now)
                    || rail.needs_dead_requests()
                        && (looked_up || has_unsent)
                        && !batch.attempts.values().any(|attempt| attempt.hinders(looked_up, now))
            }
            _ => false,
        };
        if !is_safe {
            return Ok(Err(IntentRefused::NotSafe));
        }
        batch.state = BatchState::Sending;
        batch.attempt += 1;
        batch.first_sent_at = batch.first_sent_at.or(Some(now));
        let attempt = AttemptNo(batch.attempt);
        let opened = Attempt {
            opened_at: now,
            may_arrive_until: now + rail.dead_after(),
            result: None,
            epoch: lease.epoch,
            is_nobodys: false,
        };
        batch.attempts.insert(batch.attempt, opened);
        let states: &[PayoutState] = match rail.key_unit {
            payfleet_domain::KeyUnit::Payout if rail.needs_dead_requests() && !looked_up => &[PayoutState::Planned],
            payfleet_domain::KeyUnit::Payout => &PayoutState::UNANSWERED,
            payfleet_domain::KeyUnit::Batch => &PayoutState::ALL,
        };
        let orders = self.orders_in(first, last, states);
        if orders.is_empty() {
            return Err(StoreError::Broken(format!("batch {} has nothing to send", lease.batch)));
        }
        Ok(Ok(Intent { attempt, expires_at: now + rail.request_lifetime, orders, is_probe, is_watched }))
    }

    /// What was opened under a lease, is new, and has no answer was not sent.
    pub(super) fn withdraw(
        &mut self,
        lease: Lease,
        known: AttemptNo,
        available_in: Duration,
    ) -> Result<bool, StoreError> {
        let attempts = &self.batch(lease.batch)?.attempts;
        let is_open =
            |(n, attempt): &(&i32, &Attempt)| **n > known.0 && attempt.epoch == lease.epoch && attempt.result.is_none();
        let open: Vec<i32> = attempts.iter().filter(is_open).map(|(n, _)| *n).collect();
        for n in &open {
            self.record(&Report::nothing_sent(lease, AttemptNo(*n), available_in))?;
        }
        Ok(!open.is_empty())
    }
}

/// Not `> now`, as the schema's conditions have it.
fn is_past_or_now(instant: Option<OffsetDateTime>, now: OffsetDateTime) -> bool {
    instant.is_none_or(|instant| instant <= now)
}
