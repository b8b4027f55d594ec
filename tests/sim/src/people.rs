//! People who decide about what is held in doubt: early, late, twice, against each other, with and without looking at
//! the rail.

use std::collections::BTreeMap;

use payfleet_domain::{Effect, NotPaid, PayoutId};
use payfleet_store::{Decision, HoldError};

use crate::matrix::{Fault, Step};
use crate::scheduler::ProcessId;
use crate::world::{Profile, Server, World};

/// Approvers of all tenants.
pub const PEOPLE: usize = 3;

/// The words that wait for a second person, by what the commands answered; the harness's own book.
#[derive(Debug, Clone, Default)]
pub struct Words {
    open: BTreeMap<PayoutId, (usize, Decision)>,
    /// Said so far.
    count: u64,
}

impl World {
    /// Somebody says something about a hold. Returns whether there was one in doubt.
    pub fn decide(&self, act: Fault) -> bool {
        let holds = self.holds_in_doubt();
        let drawn = self.scheduler.below(holds.len() as u64) as usize;
        let Some(payout) = holds.get(drawn).copied() else { return false };
        let one = self.scheduler.below(PEOPLE as u64) as usize;
        let other = (one + 1 + self.scheduler.below(PEOPLE as u64 - 1) as usize) % PEOPLE;
        self.scheduler.note(|| format!("meanwhile: {act:?}, payout {payout}"));
        match act {
            Fault::HoldDecided => {
                self.say(payout, self.seen_of(payout), one);
                self.say(payout, self.seen_of(payout), other);
            }
            Fault::HoldDecidedRashly => {
                self.say(payout, Decision::NotPaid, one);
                if self.scheduler.chance(600) {
                    self.say(payout, Decision::NotPaid, other);
                }
            }
            Fault::HoldSaidTwice => {
                self.say(payout, self.seen_of(payout), one);
                self.say(payout, self.seen_of(payout), one);
            }
            Fault::HoldContradicted => {
                self.say(payout, self.seen_of(payout), one);
                self.say(payout, self.made_up(), other);
            }
            _ => return false,
        }
        true
    }

    fn holds_in_doubt(&self) -> Vec<PayoutId> {
        let mut all = Vec::new();
        for place in 0..self.scenario().periods.len() {
            let run = self.backend().run_at(place);
            let holds = self.backend().holds(run);
            match holds {
                Ok(holds) => all.extend(holds),
                Err(error) => self.broken(format!("holds: {error}")),
            }
        }
        for (_, not_paid) in &all {
            self.scheduler.mark(match not_paid {
                None => 0,
                Some(NotPaid::MayBeSaid) => 1,
                Some(NotPaid::NotBefore(_)) => 2,
                Some(NotPaid::NotBeforeStatement(_)) => 3,
                Some(NotPaid::OnStatement) => 4,
            });
        }
        all.into_iter().filter(|(_, not_paid)| not_paid.is_some()).map(|(payout, _)| payout).collect()
    }

    /// What somebody says who has looked at the rail.
    fn seen_of(&self, payout: PayoutId) -> Decision {
        self.rails().paid_as(payout).map_or(Decision::NotPaid, Decision::Paid)
    }

    /// What nobody else says.
    fn made_up(&self) -> Decision {
        Decision::Paid(format!("made-up-{}", self.words_mut(|words| words.count)))
    }

    fn say(&self, payout: PayoutId, decision: Decision, person: usize) {
        self.words_mut(|words| words.count += 1);
        let answer = self.backend().hold_decide(payout, decision.clone(), person);
        self.scheduler.note(|| format!("person-{person} on {payout}: {decision:?}: {answer:?}"));
        let said = match answer {
            Ok(said) => said,
            Err(no) => return self.not_heard(no),
        };
        self.scheduler.mark(8 * said.known.len() as u64 + said.effect as u64);
        if decision == Decision::NotPaid
            && let Some(why) = self.rails().may_be_paid(payout, self.scheduler.now())
        {
            self.broken(format!("payout {payout} was said to be not paid, and {why}"));
        }
        let open = self.words_mut(|words| words.open.remove(&payout));
        match said.effect {
            Effect::Proposes => drop(self.words_mut(|words| words.open.insert(payout, (person, decision)))),
            Effect::Contradicts => {}
            Effect::Agrees if open.as_ref().is_some_and(|(by, word)| *by != person && *word == decision) => {}
            Effect::Agrees => self.broken(format!("person-{person} decided about {payout} alone, after {open:?}")),
        }
    }

    fn not_heard(&self, no: HoldError) {
        self.scheduler.mark(match no {
            HoldError::NotHeld(_) => 100,
            HoldError::SamePerson(_) => 101,
            HoldError::Control { .. } => 102,
            HoldError::NotBefore { .. } => 103,
            HoldError::NotBeforeStatement { .. } => 104,
            HoldError::OnStatement { .. } => 105,
            HoldError::Who(_) | HoldError::Store(_) => return self.broken(format!("a word: {no}")),
        });
    }

    /// Whether there are people in this seed who decide.
    pub fn has_deciders(&self) -> bool {
        !self.profile().decisions.is_empty()
    }

    /// What people do about holds when time has gone by.
    pub async fn decide_by_lot(&self) {
        let acts = &self.profile().decisions;
        if acts.is_empty() {
            return;
        }
        for _ in 0..self.scheduler.below(6) {
            self.scheduler.sleep(self.scheduler.millis(500, 6_000)).await;
            self.act(acts[self.scheduler.below(acts.len() as u64) as usize]);
        }
    }

    /// When everything has ended: what is still held in doubt is decided by two who look.
    pub fn decide_at_last(&self) {
        for payout in self.holds_in_doubt() {
            for person in 0..PEOPLE {
                if self.holds_in_doubt().contains(&payout) {
                    self.say(payout, self.seen_of(payout), person);
                }
            }
        }
    }
}

/// Starts somebody who acts on single payouts, payees and holds now and then until there is peace, where there are
/// people in this seed at all.
pub fn clerk(world: &World) -> ProcessId {
    let process = world.scheduler.process("clerk");
    let Profile { acts, decisions, .. } = world.profile();
    let acts: Vec<Fault> = acts.iter().filter(|act| act.is_of_people()).chain(decisions).copied().collect();
    if acts.is_empty() {
        return process;
    }
    let world = world.clone();
    world.scheduler.clone().spawn(process, async move {
        while !world.is_peace() {
            world.scheduler.sleep(world.scheduler.millis(100, 4_000)).await;
            let act = acts[world.scheduler.below(acts.len() as u64) as usize];
            let Ok(arrow) = world.before(process, Step::Operate, Server::Postgres).await else {
                continue;
            };
            let times = if arrow.is_duplicated { 2 } else { 1 };
            for _ in 0..times {
                if world.act(act) {
                    world.matrix.hit(Step::Operate, act);
                }
            }
            let _ = world.after(process, Step::Operate, Server::Postgres, arrow).await; // nobody waits for it
        }
        world.scheduler.never().await;
    });
    process
}
