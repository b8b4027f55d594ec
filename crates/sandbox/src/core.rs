//! What happens under the one lock: a payment is decided, journaled and known, or none of it. No waiting, no HTTP.
//!
//! A movement is applied and its line queued in one go; it is told to anyone only after the line is written.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::Range;
use std::sync::{Arc, PoisonError, RwLock, RwLockWriteGuard};

use crate::dialect::Dialects;
use crate::faults::{Faults, ItemFate, REJECTED};
use crate::ledger::{Ledger, Place};
use crate::lies::{Alteration, FaultKind, FaultLine, Lies, Phantom, Plan, Planned, Return};
use crate::limit::RateLimit;
use crate::movement::{Event, GroupHead, Movement, write_line};
use crate::wire::{At, Group, Instruction, Shape};

/// One payment to be made.
#[derive(Clone, Copy)]
pub struct Order<'a> {
    /// Through which shape.
    pub shape: Shape,
    /// Whose.
    pub account: &'a str,
    /// What was asked for.
    pub instruction: &'a Instruction<'a>,
    /// The batch or file it is part of.
    pub batch: Option<&'a str>,
    /// The idempotency key it came with.
    pub idempotency_key: Option<&'a str>,
    /// The plan that is done by it.
    pub plan: Option<u64>,
}

/// What is known of a request that came long ago; nothing of one that comes now.
#[derive(Clone, Copy, Default)]
pub struct Late<'a> {
    /// The plan that is done by it.
    pub plan: Option<u64>,
    /// The reference that it was answered with.
    pub receipt: Option<&'a str>,
}

/// What became of it, as it may be told.
pub struct Receipt {
    /// The reference to tell.
    pub reference: String,
    /// The code, if it was refused.
    pub refusal: Option<Arc<str>>,
}

/// Something that will happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// What, and when.
    pub plan: Plan,
    /// To which payment; to none where a request is still to be executed.
    pub place: Option<Place>,
}

/// Money that came back.
pub struct Returned {
    /// The number of its line.
    pub line: u64,
    /// Its reference.
    pub reference: String,
    /// What arrived.
    pub amount_minor: i64,
    /// What was kept.
    pub fee_minor: i64,
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.plan.due, self.plan.plan).cmp(&(other.plan.due, other.plan.plan))
    }
}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// See the module.
pub struct Core {
    /// What follows from the journal.
    pub ledger: Ledger,
    /// What goes wrong.
    pub faults: Faults,
    /// How much is let through.
    pub limit: RateLimit,
    /// Requests that were not.
    pub limited: u64,
    /// What will happen, soonest first.
    pub planned: BinaryHeap<Reverse<Due>>,
    /// What will happen by the rail's own clock.
    pub planned_by_rail: BinaryHeap<Reverse<Due>>,
    /// What the dialects remember.
    pub dialects: Dialects,
    /// Where the next line of the journal will be.
    pub end: u64,
    /// Lines to be written, with those of `faults.jsonl`.
    pub drafts: (Vec<u8>, Vec<u8>),
    lies: Arc<RwLock<Lies>>,
    nonce: u64,
}

impl Core {
    /// What the rail's own clock says when the machine's says `now`.
    pub fn clock(&self, now: At) -> At {
        At(now.0.saturating_add(self.faults.config().clock_ahead_ms))
    }

    /// From what was replayed.
    pub fn new(
        ledger: Ledger,
        faults: Faults,
        limit: RateLimit,
        (planned, planned_by_rail): (BinaryHeap<Reverse<Due>>, BinaryHeap<Reverse<Due>>),
        dialects: Dialects,
        end: u64,
        lies: Arc<RwLock<Lies>>,
    ) -> Self {
        Self {
            ledger,
            faults,
            limit,
            limited: 0,
            planned,
            planned_by_rail,
            dialects,
            end,
            drafts: (Vec::new(), Vec::new()),
            lies,
            // Not from the seed: two journals must not name different payments alike.
            nonce: rand::random(),
        }
    }

    /// Now, by the rail's own clock.
    pub fn rail_now(&self) -> At {
        self.clock(At::now())
    }

    /// Executes one payment, now.
    pub fn pay(&mut self, order: Order<'_>, now: At) -> Receipt {
        let fate = self.faults.draw_item(order.shape);
        let at = self.ledger.at(order.shape, now);
        self.execute(order, fate, at, None)
    }

    /// Executes many payments together, to be effective at this instant; returns the reference of the whole.
    pub fn pay_group(&mut self, shape: Shape, account: &str, group: &Group<'_>, at: At, late: Late<'_>) -> String {
        let fates: Vec<_> = group.items.iter().map(|_| self.faults.draw_item(shape)).collect();
        let lines = fates.len() + fates.iter().filter(|fate| fate.duplicate).count();
        let at = self.ledger.at(shape, at);
        let id = match late.receipt {
            Some(told) => told.to_owned(),
            None => self.group_reference(shape),
        };
        let mut plan = late.plan;
        let lines = u32::try_from(lines).unwrap_or(u32::MAX);
        let mut head = Some(GroupHead { id: Cow::Borrowed(&id), lines, settles: None });
        for (instruction, fate) in group.items.iter().zip(fates) {
            let batch = Some(&*group.name);
            let order = Order { shape, account, instruction, batch, idempotency_key: None, plan: plan.take() };
            self.execute(order, fate, at, head.take());
        }
        id
    }

    /// The reference of the next batch or file.
    pub fn group_reference(&self, shape: Shape) -> String {
        self.reference(shape.group_prefix(), !self.ledger.next_line())
    }

    fn execute(&mut self, order: Order<'_>, fate: ItemFate, at: At, mut group: Option<GroupHead<'_>>) -> Receipt {
        let line = self.ledger.next_line();
        let reference = self.reference(order.shape.payment_prefix(), line);
        let is_unpaid = fate.rejected_after.is_some() || fate.denied_after.is_some() || fate.silent;
        let refusal = fate.refusal.clone().or(is_unpaid.then(|| REJECTED.into()));
        // A reference of its own for the refusal; the payment's was told before.
        let rejection = fate.rejected_after.map(|_| self.reference(Shape::REFUSAL_PREFIX, line));
        if let (Some(group), Some(_)) = (&mut group, fate.rejected_after) {
            group.settles = Some(at);
        }
        // Of a batch one may ask what became of it before the money comes back; of a file one may not.
        let unclaimed = fate.bounce.as_deref().filter(|_| order.shape == Shape::Batch);
        let instruction = order.instruction;
        let movement = Movement {
            line,
            shape: order.shape,
            account: order.account.into(),
            key: instruction.key.as_ref().into(),
            id: rejection.as_deref().unwrap_or(&reference).into(),
            amount_minor: instruction.amount_minor,
            fee_minor: 0,
            currency: instruction.currency.as_ref().into(),
            destination: instruction.destination.as_ref().into(),
            event: if refusal.is_some() { Event::Refused } else { Event::Paid },
            code: refusal.as_deref().or(unclaimed).map(Cow::Borrowed),
            batch: order.batch.map(Cow::Borrowed),
            at: at.after(fate.rejected_after.unwrap_or_default()),
            of_id: rejection.as_ref().map(|_| reference.as_str().into()),
            idempotency_key: order.idempotency_key.filter(|key| **key != *instruction.key).map(Cow::Borrowed),
            group,
            of: None,
            extra: false,
            plan: order.plan,
        };
        let span = self.record(&movement);
        let place = Place { offset: span.start, line, at };
        if let Some(after) = fate.returns_after {
            let fee_minor = self.faults.config().return_fee_minor;
            let back = Return { code: fate.bounce.clone(), amount_minor: None, fee_minor };
            self.plan(Some(place), at.after(after), Planned::Return(back));
        }
        if let Some(after) = fate.denied_after {
            self.plan(Some(place), at.after(after), Planned::Denial);
        }
        if let Some(after) = fate.again_after {
            self.plan(Some(place), at.after(after), Planned::Duplicate { account: None });
        }
        let alteration = self.draw_alteration(&fate, &movement);
        let told = alteration.reference.clone();
        if !alteration.is_none() {
            self.alter(line, alteration);
        }
        if fate.duplicate {
            self.duplicate(movement, None, None, at);
        }
        if fate.phantom {
            self.invent(order.shape, order.account, &instruction.currency, at);
        }
        Receipt { reference: told.map_or(reference, |told| told.to_string()), refusal }
    }

    /// Executes a payment once more that nobody asked for, on an account that may be another one.
    pub fn duplicate(&mut self, paid: Movement<'_>, account: Option<&str>, plan: Option<u64>, at: At) -> u64 {
        let at = if paid.shape.is_dialect() { at.max(self.rail_now()) } else { at };
        let line = self.ledger.next_line();
        let id = self.payment_name(paid.shape, line);
        let at = self.ledger.at(paid.shape, at);
        let account = account.map_or_else(|| paid.account.clone(), |account| account.to_owned().into());
        let (id, extra) = (id.into(), true);
        // A dialect has more to say about it than a line holds, and finds it with the first.
        let of = paid.shape.is_dialect().then_some(paid.line);
        self.record(&Movement { line, id, account, at, idempotency_key: None, group: None, of, extra, plan, ..paid });
        line
    }

    /// Says on the statement that a payment which was taken is not made.
    pub fn deny(&mut self, taken: Movement<'_>, plan: Option<u64>, at: At) {
        let line = self.ledger.next_line();
        let id = self.reference(Shape::REFUSAL_PREFIX, line).into();
        let at = self.ledger.at(taken.shape, at);
        let of_id = Some(taken.id.clone());
        self.record(&Movement { line, id, at, of_id, idempotency_key: None, group: None, plan, ..taken });
    }

    /// Gives a payment back; `None` if nothing of it is left. An amount that is named is not questioned: rails make
    /// mistakes.
    pub fn give_back(&mut self, paid: &Movement<'_>, back: &Return, plan: Option<u64>, now: At) -> Option<Returned> {
        let gone = self.ledger.back(paid.line).map_or(0, |back| back.minor);
        let (amount_minor, fee_minor) = match back.amount_minor {
            Some(amount) => (amount, back.fee_minor),
            None => {
                let left = paid.amount_minor.saturating_sub(gone);
                if left <= 0 {
                    return None;
                }
                let fee = back.fee_minor.min(left - 1);
                (left - fee, fee)
            }
        };
        let line = self.ledger.next_line();
        let reference = self.return_name(paid.shape, line);
        let now = if paid.shape.is_dialect() { self.clock(now) } else { now };
        let at = self.ledger.at(paid.shape, now.max(paid.at));
        self.record(&Movement {
            line,
            id: reference.as_str().into(),
            amount_minor,
            fee_minor,
            event: Event::Returned,
            code: back.code.as_deref().map(Cow::Borrowed),
            at,
            of_id: Some(paid.id.clone()),
            idempotency_key: None,
            group: None,
            of: Some(paid.line),
            extra: false,
            plan,
            ..paid.clone()
        });
        Some(Returned { line, reference, amount_minor, fee_minor })
    }

    /// Tells on the statement a payment that does not exist.
    pub fn invent(&mut self, shape: Shape, account: &str, currency: &str, at: At) -> u64 {
        let line = self.ledger.next_line();
        self.ledger.skip_line(line);
        let phantom = Phantom {
            shape,
            account: account.to_owned(),
            key: format!("phantom-{:016x}", self.faults.draw_number(u64::MAX)),
            reference: self.payment_name(shape, line),
            amount_minor: self.draw_amount(),
            currency: currency.to_owned(),
            destination: format!("phantom-{:08x}", self.faults.draw_number(1 << 32)),
            at: self.ledger.at(shape, at),
        };
        self.note(line, &FaultKind::Phantom(phantom.clone()));
        self.dialects.invent(line, &phantom);
        self.lies().invent(line, phantom);
        line
    }

    /// Tells something else of a payment from now on.
    pub fn alter(&mut self, line: u64, alteration: Alteration) {
        self.note(line, &FaultKind::Alter(alteration.clone()));
        self.lies().alter(line, alteration);
    }

    /// Makes up the lies that this fate wants told of this payment.
    pub fn draw_alteration(&mut self, fate: &ItemFate, of: &Movement<'_>) -> Alteration {
        let mut alteration = Alteration { omit: fate.omit, ..Alteration::default() };
        if fate.amount {
            let other = of.amount_minor.saturating_add(self.draw_amount());
            alteration.amount_minor = Some(other);
        }
        if fate.currency {
            let other = if of.currency == "EUR" { "USD" } else { "EUR" };
            alteration.currency = Some(other.into());
        }
        if fate.destination {
            let other = format!("elsewhere-{:08x}", self.faults.draw_number(1 << 32));
            alteration.destination = Some(other.into());
        }
        if fate.reference {
            // No line has this number, so no payment has this reference.
            let other = self.reference(of.shape.payment_prefix(), of.line | 1 << 63);
            alteration.reference = Some(other.into());
        }
        alteration
    }

    /// From now on, no idempotency key is known.
    pub fn forget_keys(&mut self) {
        let line = self.ledger.next_line();
        self.ledger.forget_keys_before(line);
        self.dialects.forget_keys();
        self.note(line, &FaultKind::ForgetKeys);
    }

    /// Something will happen, to this payment if there is one.
    pub fn plan(&mut self, place: Option<Place>, due: At, event: Planned) {
        let due = self.noted_plan(place, due, false, event);
        self.planned.push(Reverse(due));
    }

    /// Something will happen by the rail's own clock.
    pub fn plan_by_rail(&mut self, place: Option<Place>, due: At, event: Planned) {
        let due = self.noted_plan(place, due, true, event);
        self.planned_by_rail.push(Reverse(due));
    }

    fn noted_plan(&mut self, place: Option<Place>, due: At, by_rail: bool, event: Planned) -> Due {
        let plan = Plan { plan: self.ledger.take_line(), due, by_rail, event };
        self.note(place.map_or(plan.plan, |place| place.line), &FaultKind::Plan(plan.clone()));
        Due { plan, place }
    }

    /// The next thing that is due, and how long until the one after it.
    pub fn next_due(&mut self, now: At) -> (Option<Due>, Option<i64>) {
        let rail = self.clock(now);
        let mut wait = None;
        for (heap, now) in [(&mut self.planned, now), (&mut self.planned_by_rail, rail)] {
            match heap.peek() {
                Some(Reverse(due)) if due.plan.due <= now => return (heap.pop().map(|Reverse(due)| due), None),
                Some(Reverse(due)) => {
                    let millis = due.plan.due.0.saturating_sub(now.0);
                    wait = Some(wait.map_or(millis, |other: i64| other.min(millis)));
                }
                None => {}
            }
        }
        (None, wait)
    }

    /// A plan came to nothing, or to what no movement tells.
    pub fn give_up(&mut self, plan: u64) {
        self.note(plan, &FaultKind::Done);
    }

    /// Takes in a movement, and queues its line.
    pub fn record(&mut self, movement: &Movement<'_>) -> Range<u64> {
        let before = self.drafts.0.len();
        movement.write_to(&mut self.drafts.0);
        let start = self.end;
        self.end += (self.drafts.0.len() - before) as u64;
        let span = start..self.end;
        self.ledger
            .apply(movement, span.clone())
            .expect("numbers come from the ledger, and each caller has checked what it asks for");
        if movement.shape.is_dialect() && movement.of.is_some() {
            self.dialects.follow(movement);
            crate::dialect::told_later(self, movement);
        }
        span
    }

    /// Queues a line of `faults.jsonl`.
    pub fn note(&mut self, line: u64, kind: &FaultKind) {
        write_line(&FaultLine { line, kind }, &mut self.drafts.1);
    }

    /// What is told differently of this line.
    pub fn told(&self, line: u64) -> Option<Alteration> {
        // As below.
        self.lies.read().unwrap_or_else(PoisonError::into_inner).of(line).cloned()
    }

    fn lies(&self) -> RwLockWriteGuard<'_, Lies> {
        // A lie is added in one step, so a panic elsewhere leaves none half told.
        self.lies.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn draw_amount(&mut self) -> i64 {
        // Always fits: below 10,000.
        1 + self.faults.draw_number(9_999) as i64
    }

    /// A reference that looks random; different numbers never get the same one.
    pub fn reference(&self, prefix: &str, number: u64) -> String {
        format!("{prefix}{:016x}", self.mixed(number))
    }

    /// A number that looks random, and that no other number gets.
    pub fn mixed(&self, number: u64) -> u64 {
        // The finalizer of SplitMix64, a bijection.
        let mut z = number ^ self.nonce;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
