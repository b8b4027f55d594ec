//! What Postgres keeps of one batch of one payout, and the guards of `store`, one function for each transaction.

use payfleet_domain::{
    AttemptNo, BatchFacts, BatchStanding, BatchState, HoldFacts, HoldReason, OlderAttempts, PayoutEvent, PayoutState,
    Rail, RefusalVerdict, Rule, STALLED_LEASES_MAX, UNKNOWN_ATTEMPTS_MAX, refusal_verdict,
};
use time::OffsetDateTime;

use crate::promise::Promise;
use crate::rails::{DEAD_AGE, TICK, WINDOW_AGE};
use crate::world::{Answer, Rules, Who};

/// What operators did to a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stop {
    Paused,
    Cancelled,
}

/// Attempts that a state has room for. Every one after the first needs something to go wrong, so the budgets keep them
/// below it.
pub const ATTEMPTS: usize = 6;
/// Leases without news that make a batch suspicious here; six in the code.
const STALLED_MAX: u8 = 2;
/// Unknown attempts after which people must look; sixty in the code.
const UNKNOWN_MAX: u8 = 3;

/// How an attempt ended, in the schema's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ended {
    Open,
    Answered,
    NotExecuted,
    Unknown,
    Superseded,
}

/// A row of table `attempt`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Attempt {
    /// Ticks since `opened_at`, up to [`DEAD_AGE`].
    pub age: u8,
    pub ended: Ended,
    /// The older attempts whose `may_arrive_until` is later than this one's `opened_at`, as bits.
    pub overlaps: u8,
}

impl Attempt {
    /// Whether it has no definite answer.
    fn is_alive(&self) -> bool {
        matches!(self.ended, Ended::Open | Ended::Unknown)
    }
}

/// What is committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Database {
    pub payout: PayoutState,
    pub batch: BatchState,
    /// Transfers of kind settle and release.
    pub settled: u8,
    pub released: u8,
    /// Whose lease has the newest epoch. Nobody else's epoch is equal to the batch's.
    pub newest: Option<Who>,
    /// Whether `lease_until` is in the future.
    pub leased: bool,
    /// Ticks since `first_sent_at`, up to [`WINDOW_AGE`].
    pub first_sent: Option<u8>,
    pub attempts: [Option<Attempt>; ATTEMPTS],
    stalled: u8,
    unknown: u8,
    /// The run is paused, or was cancelled while something of it was in doubt.
    pub stopped: Option<Stop>,
    /// The affiliate is on hold, or the payout was stopped.
    pub control: bool,
    /// The rail's name of what it accepted.
    pub reference: Option<u8>,
    /// How many attempts there were when it was last seen that the rail has accepted the payment under another name
    /// too.
    other_name: usize,
}

/// Any instant: only differences count.
const NOW: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

fn ago(ticks: u8) -> OffsetDateTime {
    NOW - TICK * u32::from(ticks)
}

impl Database {
    pub fn planned() -> Database {
        Database {
            payout: PayoutState::Planned,
            batch: BatchState::Ready,
            settled: 0,
            released: 0,
            newest: None,
            leased: false,
            first_sent: None,
            attempts: [None; ATTEMPTS],
            stalled: 0,
            unknown: 0,
            stopped: None,
            control: false,
            reference: None,
            other_name: 0,
        }
    }

    /// Column `attempt`: how many were opened.
    pub fn opened(&self) -> usize {
        self.attempts.iter().flatten().count()
    }

    fn alive(&self) -> impl Iterator<Item = (usize, &Attempt)> {
        self.attempts
            .iter()
            .enumerate()
            .filter_map(|(n, row)| row.as_ref().map(|row| (n, row)))
            .filter(|(_, row)| row.is_alive())
    }

    /// Whose requests may still reach the rail, as far as answers tell.
    fn arriving(&self) -> impl Iterator<Item = (usize, &Attempt)> {
        let superseded = |row: &&Attempt| row.ended == Ended::Superseded;
        let rows = self.attempts.iter().enumerate().filter_map(|(n, row)| row.as_ref().map(|row| (n, row)));
        rows.filter(move |(_, row)| row.is_alive() || superseded(row))
    }

    /// Whether the lease is the newest and has not ended.
    fn is_lessee(&self, who: Who) -> bool {
        self.newest == Some(who) && self.leased
    }

    /// A tick of the clock. Whether the lease lives on is said by the caller.
    pub fn tick(&mut self, lease_lives: bool) {
        self.leased &= lease_lives;
        self.first_sent = self.first_sent.map(|age| (age + 1).min(WINDOW_AGE));
        for row in self.attempts.iter_mut().flatten() {
            row.age = (row.age + 1).min(DEAD_AGE);
        }
    }

    /// G1, `lease_acquire`.
    pub fn lease(&mut self, who: Who, rail: &Rail) -> Option<BatchFacts> {
        if !self.batch.is_open() || self.leased {
            return None;
        }
        self.newest = Some(who);
        self.leased = true;
        self.stalled = (self.stalled + 1).min(STALLED_MAX + 1);
        Some(BatchFacts {
            state: self.batch,
            payouts: 1,
            attempt: AttemptNo(self.opened() as i32),
            first_sent_at: self.first_sent.map(ago),
            may_arrive_until: self.arriving().map(|(_, row)| ago(row.age) + rail.dead_after()).max(),
            stalled_leases: if self.stalled > STALLED_MAX { STALLED_LEASES_MAX + 1 } else { self.stalled.into() },
            unknown_attempts: if self.unknown >= UNKNOWN_MAX { UNKNOWN_ATTEMPTS_MAX } else { self.unknown.into() },
            run_cancelled: self.stopped == Some(Stop::Cancelled),
            has_controls: false,
            now: NOW,
        })
    }

    /// `lease_release`. That the batch is due later is left out: here it may always be due at once.
    pub fn release(&mut self, who: Who) {
        if self.is_lessee(who) {
            self.leased = false;
            self.stalled = 0;
        }
    }

    /// G2, `intent_write`. Returns the number of the attempt.
    pub fn intent(&mut self, who: Who, rail: &Rail, rules: Rules, looked_up: bool) -> Option<usize> {
        if rules.keep(Rule::FencedIntent) && !self.is_lessee(who) {
            return None;
        }
        match self.stopped {
            Some(Stop::Paused) => return None,
            Some(Stop::Cancelled) if rules.keep(Rule::StopSendsNothing) => return None,
            _ => {}
        }
        if self.control && rules.keep(Rule::ControlsAtIntent) {
            self.hold(who, HoldReason::NoWayToKnow);
            return None;
        }
        let mut after = *self;
        if rail.needs_dead_requests() && looked_up {
            for row in after.attempts.iter_mut().flatten().filter(|row| row.is_alive()) {
                if row.age >= DEAD_AGE || !rules.keep(Rule::LookupAfterLifetime) {
                    row.ended = Ended::Superseded;
                }
            }
        }
        let certain = match (rail.resend_window(), rules.keep(Rule::HorizonGuard)) {
            (Some(_), true) => rail.key_is_certain(self.first_sent.map(ago), NOW),
            (Some(_), false) => true,
            (None, _) => !rail.needs_dead_requests() && !rules.keep(Rule::NeitherIsHeld),
        };
        let nobody_sends = rail.needs_dead_requests() && after.alive().next().is_none();
        let may = match self.batch {
            BatchState::Ready => true,
            BatchState::Sending => certain || nobody_sends,
            _ => false,
        };
        if !may {
            return None;
        }
        if self.opened() == ATTEMPTS {
            assert!(!rules.0.is_empty(), "the budgets allow for more attempts than there is room for");
            return None;
        }
        *self = after;
        if rules.keep(Rule::WriteAheadIntent) {
            self.attempt_insert();
            Some(self.opened() - 1)
        } else {
            Some(self.opened())
        }
    }

    fn attempt_insert(&mut self) {
        let n = self.opened();
        let overlaps = self.attempts.iter().flatten().enumerate().filter(|(_, row)| row.age < DEAD_AGE);
        let overlaps = overlaps.fold(0, |bits, (older, _)| bits | 1 << older);
        self.batch = BatchState::Sending;
        self.first_sent.get_or_insert(0);
        self.attempts[n] = Some(Attempt { age: 0, ended: Ended::Open, overlaps });
    }

    /// `batch_hold`.
    pub fn hold(&mut self, who: Who, reason: HoldReason) {
        if self.newest != Some(who) || !self.batch.may_lack_answers() {
            return;
        }
        let is_unsent = self.batch == BatchState::Sending
            && self.payout == PayoutState::Planned
            && self.attempts.iter().flatten().all(|row| row.ended != Ended::Open);
        if reason.spares_unsent() && is_unsent && self.stopped != Some(Stop::Cancelled) {
            for row in self.attempts.iter_mut().flatten().filter(|row| row.is_alive()) {
                row.ended = Ended::Superseded;
            }
            self.batch = BatchState::Ready;
            self.first_sent = None;
            self.unknown = 0;
            self.stalled = 0;
            self.leased = false;
            return;
        }
        if let Ok(held) = self.payout.after(PayoutEvent::Hold) {
            self.payout = held;
        }
        self.settle_batch();
    }

    /// `run_cancel`, as far as it goes for one batch.
    pub fn cancel(&mut self) -> bool {
        let ready = self.batch == BatchState::Ready;
        if ready {
            self.free(PayoutEvent::Cancel);
            self.batch = BatchState::Cancelled;
            self.leased = false;
        }
        ready
    }

    /// A cancelled run's batch of which nothing was sent, or by a lookup after every request was dead: provably not
    /// sent.
    pub fn cancel_unsent(&mut self, who: Who) {
        if self.newest != Some(who) || !self.batch.may_lack_answers() {
            return;
        }
        for row in self.attempts.iter_mut().flatten().filter(|row| row.is_alive()) {
            row.ended = Ended::Superseded;
        }
        self.payout = self.payout.after(PayoutEvent::Clear).unwrap_or(self.payout);
        self.batch = BatchState::Ready;
        self.first_sent = None;
        self.cancel();
    }

    /// `hold_decide`, carried out: it was not paid.
    pub fn refuse_held(&mut self) {
        self.free(PayoutEvent::Refuse);
        self.settle_batch();
    }

    /// `sent_read`, for people who want to say that it was not paid. `absent`: a statement that reaches until now is
    /// silent.
    pub fn hold_facts(&self, rail: &Rail, absent: bool) -> HoldFacts {
        let perhaps = self.attempts.iter().flatten().filter(|row| row.ended != Ended::NotExecuted);
        HoldFacts {
            has_statement: rail.has_statement,
            may_arrive_until: perhaps.map(|row| ago(row.age) + rail.dead_after()).max(),
            statement_reaches: absent.then_some(NOW),
            is_on_statement: false,
            now: NOW,
        }
    }

    /// `statement_record`, for a line that proves payment.
    pub fn statement(&mut self) -> Option<Promise> {
        let broken = self.pay();
        self.settle_batch();
        broken
    }

    /// `batch_settle_held`.
    fn settle_batch(&mut self) {
        if let Some(state) = self.batch.settled(&self.standing()) {
            self.batch = state;
            self.stalled = 0;
            self.leased = false;
        }
    }

    fn standing(&self) -> BatchStanding {
        BatchStanding {
            is_unanswered: self.payout.is_unanswered(),
            is_under_way: self.payout == PayoutState::Unknown || self.alive().next().is_some(),
            has_accepted: self.payout == PayoutState::Accepted,
            has_held: self.payout == PayoutState::Held,
        }
    }

    /// `payouts_settle`: G4.
    fn pay(&mut self) -> Option<Promise> {
        match self.payout.after(PayoutEvent::Pay) {
            Ok(paid) => {
                self.payout = paid;
                self.settled += 1;
                None
            }
            // The same reference again is no news; a payout that counts as not paid is the alarm.
            Err(_) if self.payout == PayoutState::Paid => None,
            Err(_) => Some(Promise::RefusedIsUnpaid),
        }
    }

    /// `payouts_release`.
    fn free(&mut self, event: PayoutEvent) {
        if let Ok(freed) = self.payout.after(event) {
            self.payout = freed;
            self.released += 1;
        }
    }

    /// G3, `refusal_is_final`.
    fn refusal_is_final(&self, who: Who, rail: &Rail, attempt: Option<usize>) -> bool {
        let Some(n) = attempt else {
            if rail.refusal_frees_key() {
                return self.newest == Some(who) && !self.another_may_be_accepted();
            }
            let older = self.arriving().any(|(_, row)| row.age < DEAD_AGE);
            return self.newest == Some(who) && (rail.pins_refusals || !older);
        };
        let overlaps = self.attempts[n].map_or(0, |row| row.overlaps);
        let older = match self.arriving().any(|(older, _)| overlaps & 1 << older != 0) {
            true => OlderAttempts::MayStillArrive,
            false => OlderAttempts::AllDead,
        };
        refusal_verdict(rail, n + 1 == self.opened(), older) == RefusalVerdict::Final
    }

    /// `another_accepted`: whether a request other than the one that was answered last may have been accepted under
    /// another name, or was.
    fn another_may_be_accepted(&self) -> bool {
        let is_answered = |row: &Option<Attempt>| row.is_some_and(|row| row.ended == Ended::Answered);
        let Some(told) = self.attempts.iter().rposition(is_answered) else { return true };
        let overlaps = self.attempts[told].map_or(0, |row| row.overlaps);
        self.other_name > told || self.arriving().any(|(n, _)| n > told || overlaps & 1 << n != 0)
    }

    /// G3 and G4, `outcomes_record`. Always gives the lease back, as a worker does that has one payout.
    pub fn record(
        &mut self,
        who: Who,
        rail: &Rail,
        rules: Rules,
        attempt: Option<usize>,
        answer: Answer,
    ) -> Option<Promise> {
        if !rules.keep(Rule::EvidenceUnfenced) && !self.is_lessee(who) {
            return None;
        }
        if let Some(n) = attempt.filter(|_| !rules.keep(Rule::WriteAheadIntent)) {
            // Written down only now. Whoever else did the same meanwhile has taken the number.
            if self.attempts[n].is_none() && self.opened() < ATTEMPTS && self.batch.is_open() {
                self.attempt_insert();
            }
        }
        let mut broken = None;
        let mut lost_track = false;
        match answer {
            Answer::Paid => broken = self.pay(),
            Answer::Accepted(name) => match self.payout.after(PayoutEvent::Accept) {
                Ok(accepted) => (self.payout, self.reference) = (accepted, Some(name)),
                Err(_) if self.reference != Some(name) => self.other_name = self.opened(),
                Err(_) => {}
            },
            Answer::Refused if !rules.keep(Rule::RefusalProof) || self.refusal_is_final(who, rail, attempt) => {
                // What was accepted, no answer to another request refuses; only asking for that very payment does.
                if attempt.is_none() || self.payout != PayoutState::Accepted {
                    self.free(PayoutEvent::Refuse);
                }
            }
            Answer::Refused => {
                lost_track = true;
                if attempt.is_none() && rail.refusal_frees_key() {
                    self.payout = self.payout.after(PayoutEvent::Reopen).unwrap_or(self.payout);
                }
            }
            Answer::Unknown => lost_track = true,
            Answer::NotExecuted => {}
        }
        // A batch that is ready again has proof that nothing is under way, so an attempt without an answer says nothing
        // any more.
        if lost_track && self.batch == BatchState::Sending {
            self.payout = self.payout.after(PayoutEvent::LoseTrack).unwrap_or(self.payout);
        }
        if let Some(row) = attempt.and_then(|n| self.attempts[n].as_mut()).filter(|row| row.ended == Ended::Open) {
            row.ended = match answer {
                _ if lost_track => Ended::Unknown,
                Answer::NotExecuted => Ended::NotExecuted,
                _ => Ended::Answered,
            };
        }
        broken.or(self.advance(who, lost_track))
    }

    /// `batch_advance`.
    fn advance(&mut self, who: Who, lost_track: bool) -> Option<Promise> {
        let is_newest = self.newest == Some(who);
        let next = self.batch.after_news(&self.standing(), is_newest);
        if next != self.batch && self.batch.to(next).is_err() {
            return Some(Promise::EvidenceIsKept);
        }
        self.batch = next;
        match next {
            BatchState::Done | BatchState::Accepted => {
                for row in self.attempts.iter_mut().flatten().filter(|row| row.is_alive()) {
                    row.ended = Ended::Superseded;
                }
                if next == BatchState::Accepted {
                    self.first_sent.get_or_insert(0);
                }
            }
            BatchState::Ready => self.first_sent = None,
            _ => {}
        }
        if lost_track {
            self.unknown = (self.unknown + 1).min(UNKNOWN_MAX);
        }
        if is_newest {
            self.stalled = 0;
            self.leased = false;
        }
        None
    }

    /// What the schema's CHECKs say of a batch.
    pub fn checks_hold(&self) -> bool {
        let sent = self.first_sent.is_some();
        match self.batch {
            BatchState::Ready | BatchState::Cancelled => !sent,
            BatchState::Sending | BatchState::Accepted => sent && self.opened() > 0,
            BatchState::Done | BatchState::Held | BatchState::Split => true,
        }
    }
}
