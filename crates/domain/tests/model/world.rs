//! One payout, two workers, an adversarial network, a rail and a clock.
//!
//! A worker is stopped wherever it is not the next to act, for as long as the others like: its own look at the clock
//! and at its lease right before a call is therefore no protection here, and is left out. What is taken for granted is
//! what a rail's class declares: a request is executed within its lifetime after the intent or never; a key is
//! remembered for the horizon; a lookup tells of every payment; without a key, one request is executed once at most;
//! and with one, a copy that the network made is not executed after its request was answered by "not executed", nor
//! after what its request was accepted as was refused, where that frees the key. Left out, since nothing of it is
//! particular to one payout: splitting, and answers about some of a batch. People and operators act in worlds of their
//! own (`others.rs`); money that goes on moving after its first answer has one without workers (`books.rs`).

use payfleet_domain::{Follow, HoldReason, NextStep, PayoutState, Rail, RailClass, Rule};

use crate::action::Action;
use crate::database::{ATTEMPTS, Database};
use crate::explorer::{Step, World};
use crate::others::{Others, Standing};
use crate::promise::{self, Promise};
use crate::rails::{HORIZON_AGE, LIFETIME_AGE};

/// How often the rail may refuse.
const REFUSALS: u8 = 1;
/// How often the rail may accept now and pay later.
const ACCEPTS: u8 = 1;

/// The rules that are kept: all, or all but some.
#[derive(Debug, Clone, Copy)]
pub struct Rules(pub &'static [Rule]);

impl Rules {
    /// Whether this rule is kept.
    pub fn keep(self, rule: Rule) -> bool {
        !self.0.contains(&rule)
    }
}

/// One of the workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Who {
    A,
    B,
}

/// What a worker was told. As `Outcome`, without its texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Answer {
    Paid,
    /// With the rail's own name for it: the how manyeth that it accepted.
    Accepted(u8),
    Refused,
    NotExecuted,
    Unknown,
}

/// What a worker makes of "not found".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NotFound {
    /// It may be sent again.
    Send,
    /// The key is no longer certain.
    Hold,
    /// Its run was cancelled, and every request is dead: it was not sent.
    Cancel,
    /// It was accepted, so this says nothing.
    Nothing,
}

/// Where a worker stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Worker {
    Idle,
    /// About to look up what was perhaps sent; knows since it got the lease what "not found" will mean.
    Asking(NotFound),
    /// About to ask for news of an accepted payment.
    Following,
    Holding(HoldReason),
    /// About to write an intent.
    Intending {
        looked_up: bool,
    },
    /// The intent is written; about to call.
    Calling(usize),
    /// The call is out.
    Waiting(usize),
    /// About to record an answer, of an attempt or of a lookup.
    Recording(Option<usize>, Answer),
}

/// An attempt's requests on their way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Request {
    copies: u8,
    /// Ticks since the intent, up to one more than the lifetime.
    pub age: u8,
}

/// What the rail remembers under a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key {
    age: u8,
    refused: bool,
}

/// What is true.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RailState {
    /// Payments executed or accepted.
    pub executed: u8,
    /// How many were accepted, each under a name of its own. All but the newest were refused then, or there would be no
    /// newer one.
    accepted: u8,
    /// By which attempt's request the newest was.
    by: usize,
    /// One is accepted and not yet paid.
    pub pending: bool,
    /// One was refused.
    refused: bool,
    /// By attempt; a fixed key is the first attempt's.
    keys: [Option<Key>; ATTEMPTS],
}

/// Everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct State {
    pub database: Database,
    pub workers: [Worker; 2],
    pub requests: [Request; ATTEMPTS],
    pub rail: RailState,
    /// What people and operators have done, where there are any.
    pub standing: Standing,
    pub faults: u8,
    refusals: u8,
    accepts: u8,
    /// Set by a step that broke a promise without leaving other traces.
    pub broken: Option<Promise>,
}

impl State {
    /// Whether a request that is or may yet be under way would be executed if it arrived now.
    pub fn can_still_pay(&self) -> bool {
        (0..ATTEMPTS).any(|n| {
            let about_to = self.workers.contains(&Worker::Calling(n));
            let pinned = self.rail.keys.iter().flatten().any(|key| key.refused);
            (self.requests[n].copies > 0 || about_to) && self.requests[n].age <= LIFETIME_AGE && !pinned
        })
    }
}

/// A rail, and the rules that the fleet keeps.
pub struct Fleet {
    pub rail: Rail,
    pub rules: Rules,
    /// Who else acts.
    pub others: Others,
    /// How often something may go wrong on one way through the graph, of any kind of fault.
    pub faults: u8,
    /// The broken promise that is looked for; any, if `None`.
    pub sought: Option<Promise>,
    /// Whether a copy that the network made may be executed although its request was answered by "not executed" or by a
    /// refusal that is not pinned, or what it was accepted as was refused.
    pub loose_copies: bool,
    /// Whether a rail may still pay what it accepted when the request is long dead, and tell nobody before.
    pub slow_to_settle: bool,
}

pub type Steps = Vec<Step<State, Action>>;

pub const BOTH: [Who; 2] = [Who::A, Who::B];

impl World for Fleet {
    type State = State;
    type Action = Action;
    type Promise = Promise;

    fn start(&self) -> State {
        State {
            database: Database::planned(),
            workers: [Worker::Idle; 2],
            requests: [Request { copies: 0, age: 0 }; ATTEMPTS],
            rail: RailState { executed: 0, accepted: 0, by: 0, pending: false, refused: false, keys: [None; ATTEMPTS] },
            standing: Standing::default(),
            faults: self.faults,
            refusals: REFUSALS,
            // A rail with a key pays at once if it can be asked in no way.
            accepts: if self.can_be_asked() { ACCEPTS } else { 0 },
            broken: None,
        }
    }

    fn steps(&self, state: &State, into: &mut Steps) {
        for who in BOTH {
            self.work(state, who, into);
        }
        for n in 0..ATTEMPTS {
            self.deliver(state, n, into);
        }
        self.pass_time(state, into);
        self.rail_and_statement(state, into);
        match self.others {
            Others::Nobody => self.cancel_unsent(state, into),
            Others::People => self.people(state, into),
            Others::Operators => self.operators(state, into),
        }
    }

    fn broken(&self, state: &State) -> Option<Promise> {
        promise::broken(state).filter(|promise| self.sought.is_none_or(|sought| sought == *promise))
    }

    fn is_end(&self, state: &State) -> bool {
        state.database.payout.is_accounted_for() && !state.database.batch.is_open()
    }

    fn stuck(&self) -> Promise {
        Promise::ItEnds
    }
}

/// Adds a step that needs no fault.
pub fn step(into: &mut Steps, action: Action, next: State) {
    into.push(Step { action, is_fault: false, next });
}

/// Adds a step that is a fault, while there may be more of them.
pub fn fault(into: &mut Steps, action: Action, mut next: State) {
    if next.faults > 0 {
        next.faults -= 1;
        into.push(Step { action, is_fault: true, next });
    }
}

impl Fleet {
    fn has_key(&self) -> bool {
        matches!(self.rail.class, RailClass::Key { .. } | RailClass::KeyAndLookup { .. })
    }

    /// Whether a payment that it accepted can be asked about, or a bank takes its time.
    fn can_be_asked(&self) -> bool {
        !matches!(self.rail.class, RailClass::Key { .. }) || self.rail.follow == Follow::ByReference
    }

    /// What a worker does next, and what may befall it there.
    fn work(&self, state: &State, who: Who, into: &mut Steps) {
        let at = state.workers[who as usize];
        let to = |worker: Worker| {
            let mut next = *state;
            next.set(who, worker);
            next
        };
        if at != Worker::Idle {
            fault(into, Action::Crash(who), to(Worker::Idle));
        }
        match at {
            Worker::Idle => self.lease(state, who, into),
            Worker::Asking(then) => self.ask(state, who, then, into),
            Worker::Following => self.ask(state, who, NotFound::Nothing, into),
            Worker::Holding(reason) => {
                let mut next = *state;
                next.database.hold(who, reason);
                next.set(who, Worker::Idle);
                step(into, Action::Hold(who), next);
            }
            Worker::Intending { looked_up } => {
                let mut next = *state;
                let attempt = next.database.intent(who, &self.rail, self.rules, looked_up);
                match attempt {
                    Some(n) => {
                        next.requests[n].age = 0;
                        next.set(who, Worker::Calling(n));
                        next.broken = next.standing_broken(true);
                    }
                    None => next.hand_back(who),
                }
                step(into, Action::Intent(who, attempt), next);
            }
            Worker::Calling(n) => {
                let not_executed = to(Worker::Recording(Some(n), Answer::NotExecuted));
                if self.may_send(state, who, n) {
                    let mut next = to(Worker::Waiting(n));
                    next.requests[n].copies += 1;
                    next.broken = next.standing_broken(false);
                    step(into, Action::Call(who, n), next);
                    fault(into, Action::CallNot(who, n), not_executed);
                } else {
                    step(into, Action::CallNot(who, n), not_executed);
                }
            }
            Worker::Waiting(n) => {
                let next = to(Worker::Recording(Some(n), Answer::Unknown));
                match state.requests[n].copies {
                    0 => step(into, Action::TimeOut(who, n), next),
                    _ => fault(into, Action::TimeOut(who, n), next),
                }
            }
            Worker::Recording(attempt, answer) => {
                let mut next = *state;
                next.broken = next.database.record(who, &self.rail, self.rules, attempt, answer);
                let kept = match answer {
                    Answer::Paid => next.database.payout == PayoutState::Paid,
                    Answer::Accepted(_) => matches!(next.database.payout, PayoutState::Accepted | PayoutState::Paid),
                    Answer::Refused | Answer::NotExecuted | Answer::Unknown => true,
                };
                if !kept && next.rail.executed > 0 {
                    next.broken = next.broken.or(Some(Promise::EvidenceIsKept));
                }
                let unconfirmed = next;
                next.set(who, Worker::Idle);
                step(into, Action::Record(who, answer), next);
                fault(into, Action::RecordUnconfirmed(who, answer), unconfirmed);
            }
        }
    }

    fn lease(&self, state: &State, who: Who, into: &mut Steps) {
        if who == Who::B && state.workers[Who::A as usize] == Worker::Idle {
            return; // two idle workers are alike
        }
        let mut next = *state;
        let Some(mut facts) = next.database.lease(who, &self.rail) else { return };
        if !self.rules.keep(Rule::HorizonGuard) {
            facts.first_sent_at = facts.first_sent_at.map(|_| facts.now);
        }
        if !self.rules.keep(Rule::LookupAfterLifetime) {
            facts.may_arrive_until = None;
        }
        let what = self.step_of(&facts);
        let worker = match what {
            NextStep::Submit => Worker::Intending { looked_up: false },
            NextStep::LookUp if next.is_cancelled() => Worker::Asking(NotFound::Cancel),
            NextStep::LookUp if self.rail.needs_dead_requests() => Worker::Asking(NotFound::Send),
            NextStep::LookUp => match self.rail.key_is_certain(facts.first_sent_at, facts.now) {
                true => Worker::Asking(NotFound::Send),
                false => Worker::Asking(NotFound::Hold),
            },
            NextStep::Follow => Worker::Following,
            NextStep::Hold(HoldReason::NoWayToKnow) if !self.rules.keep(Rule::NeitherIsHeld) => {
                Worker::Intending { looked_up: false }
            }
            NextStep::Hold(HoldReason::HorizonExpired) if !self.rules.keep(Rule::ExpiredIsHeld) => Worker::Idle,
            NextStep::Hold(reason) => Worker::Holding(reason),
            NextStep::Nothing if next.is_cancelled() => {
                next.database.cancel_unsent(who);
                Worker::Idle
            }
            NextStep::WaitUntil(_) | NextStep::AwaitStatement(_) | NextStep::Nothing => Worker::Idle,
            NextStep::Split => unreachable!("a batch of one payout is never split"),
        };
        match worker {
            Worker::Idle => next.hand_back(who),
            worker => next.set(who, worker),
        }
        step(into, Action::Lease(who, what), next);
    }

    /// A lookup, with what the worker makes of it.
    fn ask(&self, state: &State, who: Who, not_found: NotFound, into: &mut Steps) {
        let mut postponed = *state;
        postponed.hand_back(who);
        fault(into, Action::LookUpFails(who), postponed);
        let known = match &state.rail {
            // Asked by its name, it tells of what it accepted under that name and of nothing else.
            rail if self.rail.follow == Follow::ByReference => match state.database.reference {
                Some(name) if name + 1 < rail.accepted || rail.executed == 0 => Some(Answer::Refused),
                Some(name) if rail.pending => Some(Answer::Accepted(name)),
                Some(_) => Some(Answer::Paid),
                None => None,
            },
            rail if rail.executed > 0 && rail.pending => Some(Answer::Accepted(0)),
            rail if rail.executed > 0 => Some(Answer::Paid),
            rail if rail.refused => Some(Answer::Refused),
            _ => None,
        };
        if let Some(answer) = known {
            let mut next = *state;
            next.set(who, Worker::Recording(None, answer));
            step(into, Action::LookUp(who, known), next);
        }
        if known.is_none() {
            let mut next = *state;
            match not_found {
                NotFound::Send => next.set(who, Worker::Intending { looked_up: true }),
                NotFound::Hold if self.rules.keep(Rule::ExpiredIsHeld) => {
                    next.set(who, Worker::Holding(HoldReason::HorizonExpired));
                }
                NotFound::Cancel => {
                    next.database.cancel_unsent(who);
                    next.set(who, Worker::Idle);
                }
                NotFound::Hold | NotFound::Nothing => next.hand_back(who),
            }
            step(into, Action::LookUp(who, None), next);
        }
    }

    /// What may become of a request under way.
    fn deliver(&self, state: &State, n: usize, into: &mut Steps) {
        let request = state.requests[n];
        if request.copies == 0 {
            return;
        }
        if request.copies == 1 && self.has_key() {
            let mut next = *state;
            next.requests[n].copies = 2;
            fault(into, Action::Duplicate(n), next);
        }
        let waiting = BOTH.into_iter().find(|who| state.workers[*who as usize] == Worker::Waiting(n));
        let mut arrive = |mut next: State, answer: Answer| {
            next.requests[n].copies -= 1;
            let Some(who) = waiting else {
                step(into, Action::Arrive { n, answer, to: None }, next);
                return;
            };
            let lost = next;
            next.set(who, Worker::Recording(Some(n), answer));
            step(into, Action::Arrive { n, answer, to: Some(who) }, next);
            fault(into, Action::AnswerLost { n, answer }, lost);
        };
        let key = if self.rules.keep(Rule::FixedKey) { 0 } else { n };
        if let Some(known) = state.rail.keys[key] {
            let answer = match (known.refused, state.rail.pending) {
                (true, _) => Answer::Refused,
                (false, true) => Answer::Accepted(state.rail.accepted.saturating_sub(1)),
                (false, false) => Answer::Paid,
            };
            arrive(*state, answer);
            return;
        }
        let remember = |next: &mut State, refused: bool| {
            if self.has_key() {
                next.rail.keys[key] = Some(Key { age: 0, refused });
            }
        };
        let mut paid = *state;
        paid.rail.executed = (paid.rail.executed + 1).min(2);
        if self.rail.follow == Follow::ByReference {
            paid.rail.accepted += 1;
            paid.rail.by = n;
        }
        remember(&mut paid, false);
        arrive(paid, Answer::Paid);
        if state.accepts > 0 {
            let mut accepted = paid;
            accepted.accepts -= 1;
            accepted.rail.pending = true;
            arrive(accepted, Answer::Accepted(accepted.rail.accepted.saturating_sub(1)));
        }
        if state.refusals > 0 && (request.copies == 1 || self.loose_copies || self.rail.pins_refusals) {
            let mut refused = *state;
            refused.refusals -= 1;
            if self.rail.pins_refusals {
                remember(&mut refused, true);
            } else {
                // What it turned away at the door, a lookup may know nothing of.
                arrive(refused, Answer::Refused);
            }
            refused.rail.refused = true;
            arrive(refused, Answer::Refused);
        }
        if let Some(who) = waiting.filter(|_| request.copies == 1 || self.loose_copies) {
            let mut busy = *state;
            busy.requests[n].copies -= 1;
            busy.set(who, Worker::Recording(Some(n), Answer::NotExecuted));
            fault(into, Action::Busy { n, to: who }, busy);
        }
    }

    fn pass_time(&self, state: &State, into: &mut Steps) {
        let live =
            state.database.newest.filter(|who| state.database.leased && state.workers[*who as usize] != Worker::Idle);
        let mut next = *state;
        for request in &mut next.requests {
            request.age = (request.age + 1).min(LIFETIME_AGE + 1);
            if request.age > LIFETIME_AGE {
                request.copies = 0;
            }
        }
        if self.must_settle_first(state) {
            return;
        }
        // A worker that is too late to call, or waits for a request that has got lost, is a fault; else there would be
        // attempts without end.
        let late = state.workers.iter().any(|worker| match *worker {
            Worker::Calling(n) => state.requests[n].age == LIFETIME_AGE,
            Worker::Waiting(n) => state.requests[n].copies > next.requests[n].copies,
            _ => false,
        });
        for slot in &mut next.rail.keys {
            *slot = slot.map(|key| Key { age: key.age + 1, ..key }).filter(|key| key.age < HORIZON_AGE);
        }
        let before = next.database;
        next.database.tick(live.is_some());
        match late {
            false => step(into, Action::Tick, next),
            true => fault(into, Action::Tick, next),
        }
        if let Some(who) = live {
            next.database = before;
            next.database.tick(false);
            fault(into, Action::TickLosesLease(who), next);
        }
    }

    /// What the rail does by itself, and its statement.
    fn rail_and_statement(&self, state: &State, into: &mut Steps) {
        if state.rail.pending {
            let mut settled = *state;
            settled.rail.pending = false;
            step(into, Action::Settles, settled);
            let tells = self.rail.can_be_looked_up() || self.rail.follow == Follow::ByReference;
            let copies = state.requests[state.rail.by].copies;
            let may = self.rail.follow != Follow::ByReference || copies == 0 || self.loose_copies;
            if tells && may && state.refusals > 0 && state.rail.executed == 1 {
                let mut failed = settled;
                failed.refusals -= 1;
                failed.rail.executed = 0;
                failed.rail.refused = true;
                for key in &mut failed.rail.keys {
                    // What is refused after it was accepted frees its key, where refusals are not pinned.
                    *key = key.filter(|_| self.rail.pins_refusals).map(|key| Key { refused: true, ..key });
                }
                step(into, Action::Fails, failed);
            }
        }
        let listed = state.rail.executed > 0 && !state.rail.pending;
        let unproven =
            matches!(state.database.payout, PayoutState::Accepted | PayoutState::Unknown | PayoutState::Held);
        if listed && unproven {
            let mut next = *state;
            next.broken = next.database.statement();
            step(into, Action::Statement, next);
        }
    }
}

impl State {
    pub fn set(&mut self, who: Who, worker: Worker) {
        self.workers[who as usize] = worker;
        if !matches!(worker, Worker::Calling(_)) {
            self.standing.told[who as usize] = false;
        }
        if worker == Worker::Idle && self.database.newest == Some(who) {
            self.database.newest = None;
        }
    }

    /// The lease is released without news, and the worker is free.
    fn hand_back(&mut self, who: Who) {
        self.database.release(who);
        self.set(who, Worker::Idle);
    }
}
