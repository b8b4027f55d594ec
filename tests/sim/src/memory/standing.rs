//! Payouts by reference, and what follows from it, as `store` has it in `payout` and `movement`.

use std::collections::BTreeSet;

use payfleet_domain::{
    AlarmKind, Movement, PaymentAccount, PaymentStep, PayoutEvent, PayoutId, PayoutState, RunId, TransferKind, Witness,
};

use super::{Memory, Payout, Teller, Told};

/// What news of payments did.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Moved {
    pub paid: u64,
    pub returned: u64,
    pub late: u64,
    pub alarms: u64,
}

impl std::ops::AddAssign for Moved {
    fn add_assign(&mut self, more: Moved) {
        self.paid += more.paid;
        self.returned += more.returned;
        self.late += more.late;
        self.alarms += more.alarms;
    }
}

impl Payout {
    pub(super) fn account(&self) -> PaymentAccount {
        let mut account = PaymentAccount::default();
        let is_settled = matches!(self.state, PayoutState::Paid | PayoutState::Returned);
        if let Some(own) = self.reference.as_deref().filter(|_| is_settled) {
            account.pay(own, Witness::Told, self.amount_minor);
            if self.is_listed {
                account.pay(own, Witness::Listed, self.amount_minor);
            }
            if self.is_filed {
                account.pay(own, Witness::Filed, self.amount_minor);
            }
        }
        for ((movement, reference, teller), told) in self.known().filter(|(_, told)| told.counts) {
            let witness = match teller {
                Teller::Answer => Witness::Told,
                Teller::Rail => Witness::Listed,
                Teller::File => Witness::Filed,
            };
            match movement {
                Movement::Paid => account.pay(reference, witness, told.minor),
                // Moves no money, and is not kept as a movement.
                Movement::Rejected => {}
                Movement::Returned => {
                    account.give_back(reference, witness, told.minor);
                    if let Some(of) = &told.of {
                        account.give_back_of(of);
                    }
                }
            }
        }
        account
    }

    /// What a file says is not asked where the rail's own statement tells the same movement.
    pub(super) fn known(&self) -> impl Iterator<Item = (&(Movement, String, Teller), &Told)> {
        self.movements.iter().filter(|((kind, reference, teller), told)| {
            let is_own = *kind == Movement::Paid && self.is_listed && self.reference.as_ref() == Some(reference);
            *teller != Teller::File
                || !told.is_over && !is_own && !self.movements.contains_key(&(*kind, reference.clone(), Teller::Rail))
        })
    }

    /// Whether a return is told, and not only by a file that the rail corrects, that cannot be right.
    pub(super) fn has_wrong_return(&self) -> bool {
        self.wrong_returns.iter().any(|(reference, teller)| {
            *teller != Teller::File || !self.wrong_returns.contains(&(reference.clone(), Teller::Rail))
        })
    }

    /// Whether a file lists its payment, and the rail's own statement does not.
    pub(super) fn is_by_file(&self) -> bool {
        let tells = |by| self.movements.keys().any(|(kind, _, teller)| *kind == Movement::Paid && *teller == by);
        !(self.is_listed || tells(Teller::Rail)) && (self.is_filed || tells(Teller::File))
    }
}

impl Memory {
    fn is_open_to_pay(&self, payout: PayoutId) -> bool {
        self.payouts.get(&payout).is_some_and(|payout| payout.state.after(PayoutEvent::Pay).is_ok())
    }

    pub(super) fn run_news(&mut self, runs: impl IntoIterator<Item = RunId>) {
        for run in runs.into_iter().collect::<BTreeSet<_>>() {
            if let Some(run) = self.runs.get_mut(&run) {
                run.news_no += 1;
            }
        }
    }

    /// Keeps a movement; whether it is new.
    pub(super) fn keep(
        &mut self,
        payout: PayoutId,
        movement: Movement,
        reference: &str,
        by: Teller,
        minor: i64,
        of: Option<&str>,
    ) -> bool {
        let Some(payout) = self.payouts.get_mut(&payout) else { return false };
        let std::collections::btree_map::Entry::Vacant(new) =
            payout.movements.entry((movement, reference.to_owned(), by))
        else {
            return false;
        };
        self.movements += 1;
        let counts = movement == Movement::Paid || by != Teller::File;
        new.insert(Told {
            minor,
            of: of.map(str::to_owned),
            counts,
            is_over: false,
            proposal: None,
            nth: self.movements,
        });
        true
    }

    /// G4.
    pub(super) fn settle(&mut self, news: &[(PayoutId, &str)]) -> Moved {
        let mut moved = Moved::default();
        let (mut others, mut settled) = (Vec::new(), Vec::new());
        self.recorded += 1;
        for (id, reference) in news {
            let (now, recorded) = (self.now, self.recorded);
            if self.is_open_to_pay(*id) {
                let Some(payout) = self.payouts.get_mut(id) else { continue };
                if payout.state == PayoutState::Held {
                    let run = payout.run;
                    self.run_news([run]);
                    self.settle_anew(run);
                }
                let Some(payout) = self.payouts.get_mut(id) else { continue };
                payout.state = PayoutState::Paid;
                payout.reference = Some((*reference).to_owned());
                payout.settled_as = Some(recorded);
                payout.settled_at = Some(now);
                payout.transfers.insert(TransferKind::Settle, None);
                moved.paid += 1;
                settled.push(*id);
            } else if self.told(*id, reference) {
                others.push(*id);
            }
        }
        moved += self.weigh(&others);
        // Another payment may be known, or that the money came back.
        let is_back = |id: &PayoutId| {
            let told = self.payouts.get(id).map(|payout| payout.movements.values());
            told.into_iter().flatten().any(|told| told.counts)
        };
        let back: Vec<PayoutId> = settled.into_iter().filter(is_back).collect();
        moved += self.weigh(&back);
        moved
    }

    /// Something is paid of a run that was over: its statements are asked again.
    pub(super) fn settle_anew(&mut self, run: RunId) {
        let now = self.now;
        if let Some(run) = self.runs.get_mut(&run) {
            run.row.settled_at = run.row.settled_at.map(|_| now);
        }
    }

    /// Keeps a payment other than the one that the payout knows of.
    fn told(&mut self, id: PayoutId, reference: &str) -> bool {
        let known = self.payouts.get(&id).map(|payout| (payout.reference.clone(), payout.amount_minor));
        known.is_some_and(|(own, minor)| {
            own.as_deref() != Some(reference) && self.keep(id, Movement::Paid, reference, Teller::Answer, minor, None)
        })
    }

    /// A payment came back, as an answer or a lookup tells it.
    pub(super) fn give_back(&mut self, news: &[(PayoutId, &str, Option<i64>)]) -> Moved {
        let named = news.iter().map(|(id, reference, _)| (*id, *reference));
        let (open, others): (Vec<_>, Vec<_>) = named.partition(|(id, _)| self.is_open_to_pay(*id));
        for (id, reference) in others {
            self.told(id, reference);
        }
        let mut moved = self.settle(&open);
        let mut returned = Vec::new();
        for (id, reference, part) in news {
            let minor = part.unwrap_or_else(|| self.payouts.get(id).map_or(0, |payout| payout.amount_minor));
            if self.keep(*id, Movement::Returned, reference, Teller::Answer, minor, Some(reference)) {
                returned.push(*id);
            }
        }
        moved += self.weigh(&returned);
        moved
    }

    /// Does what follows for payouts of whose payments or returns there is news.
    pub(super) fn weigh(&mut self, payouts: &[PayoutId]) -> Moved {
        let mut moved = Moved::default();
        let payouts: BTreeSet<PayoutId> = payouts.iter().copied().collect();
        let mut alarms: Vec<(PayoutId, AlarmKind, String)> = Vec::new();
        let mut lates = Vec::new();
        for id in &payouts {
            let due_in = self.counted_in();
            let Some(payout) = self.payouts.get_mut(id) else { continue };
            let account = payout.account();
            let step = match payout.state {
                PayoutState::Paid => account.step(true),
                PayoutState::Refused | PayoutState::Cancelled | PayoutState::Returned => account.step(false),
                _ => PaymentStep::Keep,
            };
            if account.is_paid_twice(payout.amount_minor) {
                alarms.push((*id, AlarmKind::DoublePayment, account.named()));
            }
            if step == PaymentStep::Keep {
                continue;
            }
            let Some(kind) = TransferKind::next(step, |kind| payout.transfers.contains_key(&kind)) else {
                alarms.push((*id, AlarmKind::Uncountable, account.named()));
                continue;
            };
            if step == PaymentStep::Late {
                lates.push((*id, kind, account));
                continue;
            }
            payout.transfers.insert(kind, due_in);
            payout.state = PayoutState::Returned;
            self.carried[payout.affiliate] += payout.amount_minor;
            moved.returned += 1;
        }
        let again: BTreeSet<PayoutId> =
            lates.iter().map(|(id, ..)| *id).filter(|id| self.was_paid_again(*id)).collect();
        let booked: BTreeSet<RunId> = lates.iter().map(|(id, ..)| id.run()).collect();
        for (id, kind, account) in lates {
            let (now, due_in) = (self.now, self.counted_in());
            self.recorded += 1;
            let recorded = self.recorded;
            let Some(payout) = self.payouts.get_mut(&id) else { continue };
            payout.transfers.insert(kind, due_in);
            payout.state = PayoutState::Paid;
            payout.reference = payout.reference.take().or_else(|| account.outstanding().map(str::to_owned));
            payout.settled_as = Some(recorded);
            payout.settled_at = Some(now);
            payout.is_contested = true;
            self.carried[payout.affiliate] -= payout.amount_minor;
            moved.late += 1;
            if again.contains(&id) {
                alarms.push((id, AlarmKind::PaidAgain, account.named()));
            }
        }
        booked.into_iter().for_each(|run| self.settle_anew(run));
        for (id, kind, words) in alarms {
            moved.alarms += u64::from(self.raise(id, kind, words));
        }
        self.run_news(payouts.iter().map(|id| id.run()));
        moved
    }

    /// Whether a later payout has taken the money that this one had released, and was perhaps sent.
    fn was_paid_again(&self, id: PayoutId) -> bool {
        let late = &self.payouts[&id];
        let released = late.transfers.iter().filter(|(kind, _)| kind.frees()).filter_map(|(_, due_in)| *due_in).max();
        self.payouts.iter().any(|(other, payout)| {
            payout.affiliate == late.affiliate
                && !matches!(payout.state, PayoutState::Refused | PayoutState::Returned | PayoutState::Cancelled)
                && released.is_some_and(|released| self.runs[&payout.run].row.ordinal >= released)
                && (matches!(payout.state, PayoutState::Paid | PayoutState::Accepted)
                    || self.batch_of(*other).is_some_and(|batch| self.batches[&batch].first_sent_at.is_some()))
        })
    }
}
