//! Rails that go on after their first answer. Of the payouts that they mistreat the judge asks only that nobody calls
//! their runs reconciled.

use payfleet_domain::{Movement, Outcome, PayoutId, Rail, RefusalCode};
use payfleet_rails::Instruction;

use crate::matrix::Fault;
use crate::rail::{Rails, Request, Slot};
use crate::scheduler::Scheduler;
use crate::world::World;

/// Payments of one payout, at most; the ledger has kinds for three.
const PAYMENTS_MAX: usize = 3;

impl Rails {
    /// Does something that nobody expects any more. Returns whether there was anything to do it to.
    pub fn go_on(&mut self, scheduler: &Scheduler, world: &World, what: Fault) -> bool {
        match what {
            Fault::PaidTwice => self.pay_twice(scheduler),
            Fault::PaidAfterRefusal => self.pay_refused(scheduler),
            Fault::GivenBack => self.give_back(scheduler),
            Fault::RefusedLate => self.refuse_accepted(scheduler),
            Fault::ExecutedLate => self.execute_late(scheduler, world),
            _ => false,
        }
    }

    /// Whether a rail has done what its class denies.
    pub fn has_misbehaved(&self) -> bool {
        !self.mistreated.is_empty()
    }

    /// One payment of those that are so, by lot.
    fn one_of(
        &self,
        scheduler: &Scheduler,
        wanted: impl Fn(&Rails, &Slot, &Outcome) -> bool,
    ) -> Option<(Slot, usize, Instruction)> {
        let mut all = Vec::new();
        for slot in &self.slots {
            for (place, payment) in self.payments[slot].iter().enumerate() {
                if wanted(self, slot, &payment.outcome) {
                    all.push((slot.clone(), place, payment.one.clone()));
                }
            }
        }
        let drawn = scheduler.below(all.len() as u64) as usize;
        (!all.is_empty()).then(|| all.swap_remove(drawn))
    }

    fn mistreats(&mut self, scheduler: &Scheduler, one: &Instruction, what: &str) {
        let payout = one.key.payout().unwrap_or(PayoutId(-1));
        scheduler.note(|| format!("the rail goes on: {payout} {what}"));
        self.mistreated.insert(payout);
    }

    fn pay_twice(&mut self, scheduler: &Scheduler) -> bool {
        let paid = |rails: &Rails, slot: &Slot, outcome: &Outcome| {
            matches!(outcome, Outcome::Paid(_)) && rails.payments[slot].len() < PAYMENTS_MAX
        };
        let Some((slot, _, one)) = self.one_of(scheduler, paid) else { return false };
        self.mistreats(scheduler, &one, "is paid twice");
        self.pay_more(scheduler, slot, one);
        true
    }

    fn pay_more(&mut self, scheduler: &Scheduler, slot: Slot, one: Instruction) {
        let reference = self.reference();
        self.enter(scheduler, slot.0, &one, &reference, Movement::Paid, None);
        self.payments.entry(slot).or_default().push(crate::rail::Payment { outcome: Outcome::Paid(reference), one });
    }

    fn pay_refused(&mut self, scheduler: &Scheduler) -> bool {
        let refused = |rails: &Rails, slot: &Slot, outcome: &Outcome| {
            let all = &rails.payments[slot];
            matches!(outcome, Outcome::Refused(_))
                && all.len() < PAYMENTS_MAX
                && all.iter().all(|payment| matches!(payment.outcome, Outcome::Refused(_)))
        };
        let Some((slot, _, one)) = self.one_of(scheduler, refused) else { return false };
        self.mistreats(scheduler, &one, "is paid after it was refused");
        self.pay_more(scheduler, slot, one);
        true
    }

    fn give_back(&mut self, scheduler: &Scheduler) -> bool {
        let paid = |_: &Rails, _: &Slot, outcome: &Outcome| matches!(outcome, Outcome::Paid(_));
        let Some((slot, place, one)) = self.one_of(scheduler, paid) else { return false };
        self.come_back(scheduler, &slot, place, &one);
        true
    }

    /// A payment comes back, under a reference of its own.
    pub fn come_back(&mut self, scheduler: &Scheduler, slot: &Slot, place: usize, one: &Instruction) {
        let own = self.reference();
        let Some(payment) = self.payments.get_mut(slot).and_then(|payments| payments.get_mut(place)) else { return };
        let Outcome::Paid(reference) = payment.outcome.clone() else { return };
        payment.outcome = Outcome::Returned(reference.clone());
        self.enter(scheduler, slot.0, one, &own, Movement::Returned, Some(&reference));
    }

    fn refuse_accepted(&mut self, scheduler: &Scheduler) -> bool {
        let accepted = |_: &Rails, slot: &Slot, outcome: &Outcome| {
            matches!(outcome, Outcome::Accepted(_)) && Rail::named(slot.0).is_ok_and(Rail::can_be_looked_up)
        };
        let Some((slot, place, one)) = self.one_of(scheduler, accepted) else { return false };
        scheduler.note(|| format!("the rail goes on: {:?} is refused after all", one.key.payout()));
        if let Some(payment) = self.payments.get_mut(&slot).and_then(|payments| payments.get_mut(place)) {
            payment.outcome = Outcome::Refused(RefusalCode::new("receiver_unregistered"));
        }
        true
    }

    fn execute_late(&mut self, scheduler: &Scheduler, world: &World) -> bool {
        let drawn = scheduler.below(self.requests.len() as u64) as usize;
        let Some(Request { rail, instructions, .. }) = self.requests.get(drawn).cloned() else { return false };
        let mut has_paid = false;
        for one in &instructions {
            let slot = (rail.name, one.key.as_str().to_owned());
            if self.payments.get(&slot).is_some_and(|all| all.len() >= PAYMENTS_MAX) {
                continue;
            }
            // Also if it refuses: it has said so of a request that may still arrive, and then be paid.
            self.pay(scheduler, world, rail, one);
            self.mistreats(scheduler, one, "is executed although its request was executed or is dead");
            has_paid = true;
        }
        has_paid
    }
}
