//! How a dialect writes what it has decided: the movement into the journal, and what it has to remember beside it. And
//! how it names things, in the form of its vendor.

use std::borrow::Cow;

use super::Record;
use crate::core::Core;
use crate::faults::ItemFate;
use crate::ledger::Place;
use crate::lies::{FaultKind, Planned, Return};
use crate::movement::{Event, GroupHead, Movement};
use crate::wire::{At, Shape};

/// A payment or a refusal that a dialect has decided, ready to be written.
pub struct Booking<'a> {
    /// Through which dialect.
    pub shape: Shape,
    /// Whose.
    pub account: &'a str,
    /// As the payer named it.
    pub key: &'a str,
    /// As the vendor names it.
    pub id: &'a str,
    /// In the smallest unit that ISO 4217 gives the currency, whatever the vendor counts in.
    pub amount_minor: i64,
    /// What the vendor charges beside.
    pub fee_minor: i64,
    /// ISO 4217, in capitals.
    pub currency: &'a str,
    /// Where to.
    pub destination: &'a str,
    /// Whether money moves.
    pub event: Event,
    /// Why not, or what is odd about it.
    pub code: Option<&'a str>,
    /// The batch it came in.
    pub batch: Option<&'a str>,
    /// The key it came with.
    pub idempotency_key: Option<&'a str>,
    /// On the first of many that belong together.
    pub group: Option<GroupHead<'a>>,
    /// When, by the rail's clock.
    pub at: At,
}

impl Core {
    /// Writes what a dialect has decided, with the lies and the later events that its fate wants; returns its line.
    ///
    /// A payment that is executed twice has its second line right behind it, in the same group.
    pub fn book(&mut self, booking: Booking<'_>, fate: &ItemFate) -> u64 {
        let line = self.ledger.next_line();
        let Booking { shape, account, key, id, amount_minor, fee_minor, currency, destination, .. } = booking;
        let movement = Movement {
            line,
            shape,
            account: account.into(),
            key: key.into(),
            id: id.into(),
            amount_minor,
            fee_minor,
            currency: currency.into(),
            destination: destination.into(),
            event: booking.event,
            code: booking.code.map(Cow::Borrowed),
            batch: booking.batch.map(Cow::Borrowed),
            at: self.ledger.at(shape, booking.at),
            of_id: None,
            idempotency_key: booking.idempotency_key.filter(|other| *other != key).map(Cow::Borrowed),
            group: booking.group,
            of: None,
            extra: false,
            plan: None,
        };
        let span = self.record(&movement);
        if booking.event != Event::Paid {
            return line;
        }
        let place = Place { offset: span.start, line, at: movement.at };
        if let Some(after) = fate.returns_after {
            let fee_minor = self.faults.config().return_fee_minor;
            let back = Return { code: fate.bounce.clone(), amount_minor: None, fee_minor };
            self.plan_by_rail(Some(place), movement.at.after(after), Planned::Return(back));
        }
        if let Some(after) = fate.again_after {
            self.plan_by_rail(Some(place), movement.at.after(after), Planned::Duplicate { account: None });
        }
        let alteration = self.draw_alteration(fate, &movement);
        if !alteration.is_none() {
            self.alter(line, alteration);
        }
        if fate.phantom {
            self.invent(shape, account, currency, movement.at);
        }
        line
    }

    /// Executes a payment again that was just booked; only once what it is known by is kept.
    pub fn book_again(&mut self, line: u64, booking: Booking<'_>) {
        let at = booking.at;
        let paid = Movement {
            line,
            shape: booking.shape,
            account: booking.account.into(),
            key: booking.key.into(),
            id: booking.id.into(),
            amount_minor: booking.amount_minor,
            fee_minor: booking.fee_minor,
            currency: booking.currency.into(),
            destination: booking.destination.into(),
            event: Event::Paid,
            code: booking.code.map(Cow::Borrowed),
            batch: booking.batch.map(Cow::Borrowed),
            at,
            of_id: None,
            idempotency_key: None,
            group: None,
            of: None,
            extra: true,
            plan: None,
        };
        self.duplicate(paid, None, None, at);
    }

    /// Keeps what a dialect has to remember; with a line, only if that line of the journal is there.
    pub fn keep(&mut self, line: u64, record: Record) {
        let kind = FaultKind::Dialect { record: Box::new(record) };
        self.note(line, &kind);
        if let FaultKind::Dialect { record } = kind {
            self.dialects.apply(line, *record);
        }
    }

    /// A name for an answer, which no answer of another process has either.
    pub fn request_name(&mut self) -> String {
        let number = self.dialects.next_request();
        format!("req_{:016x}", self.mixed(number | 1 << 62))
    }

    /// What the payment of this line is called, in the form of its vendor.
    pub fn payment_name(&self, shape: Shape, line: u64) -> String {
        match shape {
            Shape::Paypal => format!("{}TXN{}", capitals(self.mixed(line)), line % 10),
            Shape::Wise => self.wise_number(line).to_string(),
            _ => self.reference(shape.payment_prefix(), line),
        }
    }

    /// What the return of this line is called, in the form of its vendor.
    pub fn return_name(&self, shape: Shape, line: u64) -> String {
        match shape {
            Shape::Paypal => self.payment_name(shape, line),
            Shape::Stripe => self.reference("trr_", line),
            Shape::Wise => format!("REFUND-{}", self.wise_number(line)),
            _ => self.reference(Shape::RETURN_PREFIX, line),
        }
    }

    /// Numbers of Wise are counted, and must stay exact in readers that know only 53 bits.
    pub fn wise_number(&self, line: u64) -> u64 {
        (1 + self.mixed(0) % 8_000_000) * 1_000_000_000 + line % 1_000_000_000
    }
}

/// As 13 capital letters and digits, as PayPal names things.
pub fn capitals(mut number: u64) -> String {
    let mut text = [b'0'; 13];
    for place in text.iter_mut().rev() {
        *place = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"[(number % 36) as usize];
        number /= 36;
    }
    text.iter().map(|byte| char::from(*byte)).collect()
}
