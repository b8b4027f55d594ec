//! What happens under the one lock: a payment is decided, journaled and known, or none of it. No waiting, no HTTP.
//!
//! A movement is applied and its line queued in one go; it is told to anyone only after the line is written.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::Range;
use std::sync::{Arc, PoisonError, RwLock, RwLockWriteGuard};

use crate::faults::{Faults, ItemFate};
use crate::ledger::{Ledger, Place};
use crate::lies::{Alteration, FaultKind, FaultRecord, Lies, Phantom};
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
}

/// What became of it, as it may be told.
pub struct Receipt {
    /// The reference to tell.
    pub reference: String,
    /// The code, if it was refused.
    pub refusal: Option<Arc<str>>,
}

/// A payment that will come back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// When.
    pub at: At,
    /// Which.
    pub place: Place,
    /// Why.
    pub code: Option<Arc<str>>,
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.place.line).cmp(&(other.at, other.place.line))
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
    /// Returns to come, soonest first.
    pub returns: BinaryHeap<Reverse<Due>>,
    /// Where the next line of the journal will be.
    pub end: u64,
    /// Lines to be written, with those of `faults.jsonl`.
    pub drafts: (Vec<u8>, Vec<u8>),
    lies: Arc<RwLock<Lies>>,
    nonce: u64,
}

impl Core {
    /// From what was replayed.
    pub fn new(
        ledger: Ledger,
        faults: Faults,
        limit: RateLimit,
        returns: BinaryHeap<Reverse<Due>>,
        end: u64,
        lies: Arc<RwLock<Lies>>,
    ) -> Self {
        Self {
            ledger,
            faults,
            limit,
            limited: 0,
            returns,
            end,
            drafts: (Vec::new(), Vec::new()),
            lies,
            // Not from the seed: two journals must not name different payments alike.
            nonce: rand::random(),
        }
    }

    /// Executes one payment, now.
    pub fn pay(&mut self, order: Order<'_>, now: At) -> Receipt {
        let fate = self.faults.draw_item(order.shape);
        let at = self.ledger.at(order.shape, now);
        self.execute(order, fate, at, None)
    }

    /// Executes many payments together, to be effective at this instant; returns the reference of the whole.
    pub fn pay_group(&mut self, shape: Shape, account: &str, group: &Group<'_>, at: At) -> String {
        let fates: Vec<_> = group.items.iter().map(|_| self.faults.draw_item(shape)).collect();
        let lines = fates.len() + fates.iter().filter(|fate| fate.duplicate).count();
        let at = self.ledger.at(shape, at);
        let id = self.reference(shape.group_prefix(), !self.ledger.next_line());
        let mut head = Some(GroupHead { id: Cow::Borrowed(&id), lines: u32::try_from(lines).unwrap_or(u32::MAX) });
        for (instruction, fate) in group.items.iter().zip(fates) {
            let order = Order { shape, account, instruction, batch: Some(&group.name), idempotency_key: None };
            self.execute(order, fate, at, head.take());
        }
        id
    }

    fn execute(&mut self, order: Order<'_>, fate: ItemFate, at: At, group: Option<GroupHead<'_>>) -> Receipt {
        let line = self.ledger.next_line();
        let reference = self.reference(order.shape.payment_prefix(), line);
        let refusal = fate.refusal.clone();
        // Of a batch one may ask what became of it before the money comes back; of a file one may not.
        let unclaimed = fate.bounce.as_deref().filter(|_| order.shape == Shape::Batch);
        let instruction = order.instruction;
        let movement = Movement {
            line,
            shape: order.shape,
            account: order.account.into(),
            key: instruction.key.as_ref().into(),
            id: reference.as_str().into(),
            amount_minor: instruction.amount_minor,
            currency: instruction.currency.as_ref().into(),
            destination: instruction.destination.as_ref().into(),
            event: if refusal.is_some() { Event::Refused } else { Event::Paid },
            code: refusal.as_deref().or(unclaimed).map(Cow::Borrowed),
            batch: order.batch.map(Cow::Borrowed),
            at,
            idempotency_key: order.idempotency_key.filter(|key| **key != *instruction.key).map(Cow::Borrowed),
            group,
            of: None,
            extra: false,
        };
        let span = self.record(&movement);
        if let Some(after) = fate.returns_after {
            let place = Place { offset: span.start, line, at };
            let due = at.after(after);
            self.plan_return(place, due, fate.bounce.clone());
        }
        let alteration = self.draw_alteration(&fate, &movement);
        let told = alteration.reference.clone();
        if !alteration.is_none() {
            self.alter(line, alteration);
        }
        if fate.duplicate {
            self.duplicate(movement, at);
        }
        if fate.phantom {
            self.invent(order.shape, order.account, &instruction.currency, at);
        }
        Receipt { reference: told.map_or(reference, |told| told.to_string()), refusal }
    }

    /// Executes a payment once more that nobody asked for.
    pub fn duplicate(&mut self, movement: Movement<'_>, at: At) -> u64 {
        let line = self.ledger.next_line();
        let id = self.reference(movement.shape.payment_prefix(), line);
        let at = self.ledger.at(movement.shape, at);
        self.record(&Movement { line, id: id.into(), at, idempotency_key: None, group: None, extra: true, ..movement });
        line
    }

    /// Gives a payment back, once: `None` if that was done before.
    pub fn give_back(&mut self, paid: &Movement<'_>, code: Option<&str>, now: At) -> Option<u64> {
        if self.ledger.is_returned(paid.line) {
            return None;
        }
        let line = self.ledger.next_line();
        let at = self.ledger.at(paid.shape, now.max(paid.at));
        self.record(&Movement {
            line,
            event: Event::Returned,
            code: code.map(Cow::Borrowed),
            at,
            idempotency_key: None,
            group: None,
            of: Some(paid.line),
            extra: false,
            ..paid.clone()
        });
        Some(line)
    }

    /// Tells on the statement a payment that does not exist.
    pub fn invent(&mut self, shape: Shape, account: &str, currency: &str, at: At) -> u64 {
        let line = self.ledger.next_line();
        self.ledger.skip_line(line);
        let phantom = Phantom {
            shape,
            account: account.to_owned(),
            key: format!("phantom-{:016x}", self.faults.draw_number(u64::MAX)),
            reference: self.reference(shape.payment_prefix(), line),
            amount_minor: self.draw_amount(),
            currency: currency.to_owned(),
            destination: format!("phantom-{:08x}", self.faults.draw_number(1 << 32)),
            at: self.ledger.at(shape, at),
        };
        self.note(line, FaultKind::Phantom(phantom.clone()));
        self.lies().invent(line, phantom);
        line
    }

    /// Tells something else of a payment from now on.
    pub fn alter(&mut self, line: u64, alteration: Alteration) {
        self.note(line, FaultKind::Alter(alteration.clone()));
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
        self.note(line, FaultKind::ForgetKeys);
    }

    fn plan_return(&mut self, place: Place, at: At, code: Option<Arc<str>>) {
        let kind = FaultKind::Return { due: at, code: code.clone() };
        self.note(place.line, kind);
        self.returns.push(Reverse(Due { at, place, code }));
    }

    fn record(&mut self, movement: &Movement<'_>) -> Range<u64> {
        let before = self.drafts.0.len();
        movement.write_to(&mut self.drafts.0);
        let start = self.end;
        self.end += (self.drafts.0.len() - before) as u64;
        let span = start..self.end;
        self.ledger
            .apply(movement, span.clone())
            .expect("numbers come from the ledger, and each caller has checked what it asks for");
        span
    }

    fn note(&mut self, line: u64, kind: FaultKind) {
        write_line(&FaultRecord { line, kind }, &mut self.drafts.1);
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
    fn reference(&self, prefix: &str, number: u64) -> String {
        // The finalizer of SplitMix64, a bijection.
        let mut z = number ^ self.nonce;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        format!("{prefix}{z:016x}")
    }
}
