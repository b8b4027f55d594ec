//! People who decide about holds and plan the next run, and operators who pause, cancel and put on hold: each in a
//! world of its own, with the same workers, network and rail.
//!
//! Where operators act, a worker's last look at lease and lifetime counts as one with the call that follows: what a
//! process does that stands still in between is bounded by the request's lifetime alone, which the other worlds show.

use payfleet_domain::{
    BatchFacts, BatchState, Effect, NextStep, NotPaid, PayoutState, PersonId, Rule, Word, hear, next_step,
};

use crate::action::Action;
use crate::database::Stop;
use crate::promise::Promise;
use crate::rails::{DEAD_AGE, LIFETIME_AGE};
use crate::world::{BOTH, Fleet, State, Steps, Who, Worker, fault, step};

/// Who acts beside workers, network, rail and clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Others {
    Nobody,
    People,
    Operators,
}

/// One says what they found out; the other says "not paid" at any time, and does not know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Person {
    Careful,
    Rash,
}

/// What people and operators have done. Nothing of it changes where neither acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Standing {
    /// Who said "not paid".
    proposal: Option<Person>,
    /// A statement that reaches past the death of every attempt does not have the payment.
    absent: bool,
    /// The next run has paid the money that was released.
    pub repaid: bool,
    /// Which workers know of the stop.
    pub told: [bool; 2],
    /// The command that stops has returned.
    in_effect: bool,
    /// Stops and controls so far.
    acts: u8,
}

/// How often operators may stop something on one way through the graph.
const ACTS: u8 = 2;

impl Fleet {
    /// `run_cancel` where nobody else acts: a batch that was not sent.
    pub fn cancel_unsent(&self, state: &State, into: &mut Steps) {
        let mut next = *state;
        if next.database.cancel() {
            fault(into, Action::Cancel, next);
        }
    }

    /// The look right before a call.
    pub fn may_send(&self, state: &State, who: Who, n: usize) -> bool {
        let operators = self.others == Others::Operators;
        let told = state.standing.told[who as usize] && self.rules.keep(Rule::StopSendsNothing);
        let in_time = state.requests[n].age <= LIFETIME_AGE && (!operators || state.is_lessee(who));
        !told && (in_time || !self.rules.keep(Rule::SuspendedTimeCounts))
    }

    /// What a lease does next.
    pub fn step_of(&self, facts: &BatchFacts) -> NextStep {
        let run_cancelled = facts.run_cancelled && self.rules.keep(Rule::StopSendsNothing);
        match facts.state {
            BatchState::Ready if run_cancelled => NextStep::Nothing,
            _ => next_step(&self.rail, &BatchFacts { run_cancelled, ..*facts }),
        }
    }

    /// People can be sure only of rails that decide about what they accepted within the lifetime of the request, where
    /// they did not tell us that they had accepted it.
    pub fn must_settle_first(&self, state: &State) -> bool {
        let untold = state.rail.pending && state.database.payout != PayoutState::Accepted;
        let dies = |age: u8| age + 1 >= DEAD_AGE;
        self.others == Others::People
            && !self.slow_to_settle
            && untold
            && state.database.attempts.iter().flatten().any(|row| dies(row.age))
    }

    pub fn people(&self, state: &State, into: &mut Steps) {
        let database = &state.database;
        if database.payout == PayoutState::Held {
            let listed = state.rail.executed > 0 && !state.rail.pending;
            let facts = database.hold_facts(&self.rail, state.standing.absent);
            if matches!(facts.not_paid(), NotPaid::NotBeforeStatement(_)) && !listed {
                let mut next = *state;
                next.standing.absent = true;
                step(into, Action::Absent, next);
            }
            self.say(state, Person::Rash, "not_paid", into);
            match listed {
                false => self.say(state, Person::Careful, "not_paid", into),
                // Alone it is no decision; but it ends what the other one said.
                true if state.standing.proposal.is_some() => self.say(state, Person::Careful, "paid", into),
                true => {}
            }
        }
        if database.released > 0 && !state.standing.repaid {
            let mut next = *state;
            next.standing.repaid = true;
            step(into, Action::NextRun, next);
        }
    }

    /// `hold_decide`.
    fn say(&self, state: &State, person: Person, says: &'static str, into: &mut Steps) {
        let facts = state.database.hold_facts(&self.rail, state.standing.absent);
        let id = |person: Person| PersonId(person as i32);
        let word = Word { person: id(person), says, reference: "" };
        let proposal = state.standing.proposal.map(|first| Word { person: id(first), says: "not_paid", reference: "" });
        let effect = match self.rules.keep(Rule::TwoPeopleAfterDeath) {
            true if says == "not_paid" && facts.not_paid() != NotPaid::MayBeSaid => return,
            true => hear(proposal.as_ref(), &word),
            false => Ok(Effect::Agrees),
        };
        let Ok(effect) = effect else { return };
        let mut next = *state;
        match effect {
            Effect::Proposes => next.standing.proposal = Some(person),
            Effect::Contradicts => next.standing.proposal = None,
            Effect::Agrees => {
                next.standing = Standing { proposal: None, absent: false, ..next.standing };
                next.database.refuse_held();
            }
        }
        step(into, Action::Say(person, says, effect), next);
    }

    pub fn operators(&self, state: &State, into: &mut Steps) {
        let stopped = state.database.stopped;
        let open = state.database.batch.is_open();
        if state.standing.acts < ACTS && open {
            let mut next = *state;
            next.standing.acts += 1;
            let acted = next;
            if stopped.is_none() {
                next.stop(Stop::Paused);
                fault_free(into, Action::Pause, next);
            }
            if stopped != Some(Stop::Cancelled) {
                let mut next = acted;
                if !next.database.cancel() {
                    next.stop(Stop::Cancelled);
                }
                fault_free(into, Action::Cancel, next);
            }
            if !state.database.control {
                let mut next = acted;
                next.database.control = true;
                fault_free(into, Action::Control, next);
            }
        }
        if stopped == Some(Stop::Paused) {
            let mut next = *state;
            next.database.stopped = None;
            next.standing.told = [false; 2];
            next.standing.in_effect = false;
            step(into, Action::Resume, next);
        }
        if stopped.is_none() || state.standing.in_effect {
            return;
        }
        for who in BOTH {
            let busy = matches!(state.workers[who as usize], Worker::Calling(_));
            if busy && !state.standing.told[who as usize] {
                let mut next = *state;
                next.standing.told[who as usize] = true;
                step(into, Action::Hears(who), next);
            }
        }
        let confirmed = |who: Who| {
            let calling = matches!(state.workers[who as usize], Worker::Calling(_));
            !calling || state.standing.told[who as usize] || !state.is_lessee(who)
        };
        if BOTH.into_iter().all(confirmed) {
            let mut next = *state;
            next.standing.in_effect = true;
            step(into, Action::InEffect, next);
        }
    }
}

/// Adds a step that nobody has to take, and that costs no fault.
fn fault_free(into: &mut Steps, action: Action, next: State) {
    into.push(crate::explorer::Step { action, is_fault: true, next });
}

impl State {
    fn stop(&mut self, stop: Stop) {
        self.database.stopped = Some(stop);
        self.standing.told = [false; 2];
        self.standing.in_effect = false;
    }

    pub fn is_cancelled(&self) -> bool {
        self.database.stopped == Some(Stop::Cancelled)
    }

    pub fn is_lessee(&self, who: Who) -> bool {
        self.database.newest == Some(who) && self.database.leased
    }

    /// What an intent, or a call, breaks of what operators were promised.
    pub fn standing_broken(&self, is_intent: bool) -> Option<Promise> {
        match self.database.stopped {
            Some(_) if is_intent || self.standing.in_effect => Some(Promise::StoppedIsStill),
            _ if is_intent && self.database.control => Some(Promise::ControlIsKept),
            _ => None,
        }
    }
}
