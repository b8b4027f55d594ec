//! Operators who stop single payouts and put affiliates on hold, in every state of the run, and who lift it again.

use std::collections::BTreeSet;

use payfleet_domain::{BatchId, PayoutId, PayoutState, RunId};
use payfleet_store::{ControlError, ControlLifted, StoreError};

use crate::backend::Backend;
use crate::matrix::Fault;
use crate::world::World;

/// What is under control by what the commands answered; the harness's own book.
#[derive(Debug, Clone, Default)]
pub struct Controls {
    stopped: BTreeSet<PayoutId>,
    /// By place in the scenario.
    on_hold: BTreeSet<usize>,
}

impl Controls {
    fn is_empty(&self) -> bool {
        self.stopped.is_empty() && self.on_hold.is_empty()
    }
}

/// One of them.
#[derive(Debug, Clone, Copy)]
enum Control {
    Payout(PayoutId),
    Affiliate(usize),
}

impl World {
    /// Sets or lifts a control at once. Returns whether anything was changed by it.
    pub fn control(&self, act: Fault) -> bool {
        let done = match act {
            Fault::PayoutStopped => self.payouts_by_lot().into_iter().find(|payout| self.stop(*payout)).is_some(),
            Fault::AffiliateHeld => self.hold_one(),
            Fault::ControlLifted => self.lift_one(),
            _ => false,
        };
        if done {
            self.scheduler.note(|| format!("meanwhile: {act:?}; now {:?}", self.controls()));
        }
        done
    }

    /// Numbers of payouts that there may be, from one that is drawn on.
    pub fn payouts_by_lot(&self) -> Vec<PayoutId> {
        let payees = self.scenario().affiliates.len() as u64;
        let (first_run, first) = (self.scheduler.below(2), self.scheduler.below(payees));
        let mut payouts = Vec::new();
        for place in [first_run, 1 - first_run] {
            let RunId(run) = self.backend().run_at(place as usize);
            payouts.extend((0..payees).map(|n| PayoutId((run << 32) + ((first + n) % payees) as i64)));
        }
        payouts
    }

    fn stop(&self, payout: PayoutId) -> bool {
        let Ok(set) = self.said(self.backend().payout_stop(payout)) else { return false };
        self.scheduler.mark(2 * set.unsent as u64 + set.perhaps_sent as u64);
        self.controls_mut(|controls| controls.stopped.insert(payout)) && !set.was_set
    }

    fn hold_one(&self) -> bool {
        let affiliate = self.scheduler.below(self.scenario().affiliates.len() as u64) as usize;
        let Ok(set) = self.said(self.backend().affiliate_hold(affiliate)) else { return false };
        self.scheduler.mark(8 * set.unsent as u64 + set.perhaps_sent as u64);
        self.controls_mut(|controls| controls.on_hold.insert(affiliate)) && !set.was_set
    }

    fn lift_one(&self) -> bool {
        let Controls { stopped, on_hold } = self.controls();
        let set = stopped.into_iter().map(Control::Payout).chain(on_hold.into_iter().map(Control::Affiliate));
        let set: Vec<Control> = set.collect();
        let drawn = self.scheduler.below(set.len() as u64) as usize;
        let Some(control) = set.get(drawn).copied() else { return false };
        let lifted = match control {
            Control::Payout(payout) => self.backend().payout_release(payout),
            Control::Affiliate(affiliate) => self.backend().affiliate_release(affiliate),
        };
        let Ok(ControlLifted { go_on, cancelled }) = self.said(lifted) else { return false };
        self.scheduler.mark(8 * go_on + cancelled);
        self.controls_mut(|controls| match control {
            Control::Payout(payout) => controls.stopped.remove(&payout),
            Control::Affiliate(affiliate) => controls.on_hold.remove(&affiliate),
        })
    }

    /// An answer to a command; only what a rule says may be a no.
    fn said<T>(&self, answer: Result<T, ControlError>) -> Result<T, ()> {
        answer.map_err(|no| {
            if let ControlError::Store(error) = no {
                self.broken(format!("a control: {error}"));
            }
        })
    }

    /// What an intent permits that was under control before: nothing may be.
    pub fn controls_kept(&self, backend: &mut dyn Backend, batch: BatchId) -> Result<(), StoreError> {
        let controls = self.controls();
        if controls.is_empty() {
            return Ok(());
        }
        // What has its answer already travels along under a batch key, and is not paid by that.
        let sent = backend.orders_read(batch, &PayoutState::UNANSWERED)?;
        let is_held = |name: &str| controls.on_hold.iter().any(|held| self.scenario().affiliates[*held].name == name);
        for order in sent {
            if controls.stopped.contains(&order.payout) || is_held(&order.affiliate) {
                self.broken(format!("payout {} is sent although it is under control", order.payout));
            }
        }
        Ok(())
    }
}
