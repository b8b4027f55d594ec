//! What is known of batches and items. What an item is follows from its fate, what came back of it, and the clock.

use std::collections::HashMap;
use std::ops::Range;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::decimals;
use crate::dialect::Balances;
use crate::dialect::money::{iso_decimals, rescaled_down};
use crate::lies::Phantom;
use crate::movement::{Event, Movement};
use crate::wire::{At, Shape};

/// How long an id is known, and how long a payee may take to claim [P1, P10].
pub const THIRTY_DAYS: Duration = Duration::from_secs(30 * 24 * 3600);

/// A token that was given out.
pub struct Token {
    /// To whom.
    pub account: String,
    /// It is refused from then on.
    pub until: At,
}

/// What becomes of an item once its batch is processed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// Paid.
    Success,
    /// Paid, and nobody has taken it.
    Unclaimed,
    /// Under review until then, and then this.
    OnHold(At, Box<Fate>),
    /// Blocked; whether money was taken is told by the statement only.
    Blocked,
    /// Not paid, with the name of the reason.
    Failed(String),
}

/// An item.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Item {
    /// `payout_item_id`
    pub id: String,
    /// `transaction_id`
    pub transaction: String,
    /// As it was asked for.
    pub sender_item_id: Option<String>,
    /// As it was asked for.
    pub receiver: String,
    /// As it was asked for.
    pub recipient_type: String,
    /// As it was asked for.
    pub wallet: Option<String>,
    /// As it was asked for.
    pub note: Option<String>,
    /// As PayPal counts.
    pub amount: i64,
    /// As PayPal counts.
    pub fee: i64,
    /// What becomes of it.
    pub fate: Fate,
    /// Whether its line of the journal is a payment.
    pub is_paid: bool,
    /// Of the journal; not its own field's name, so that nothing is confused with what stands around it.
    pub journal: u64,
    /// Its batch.
    #[serde(skip)]
    pub batch: usize,
    /// What came back of it.
    #[serde(skip)]
    pub back: Vec<Back>,
}

/// Money that came back.
#[derive(Clone, Debug)]
pub struct Back {
    /// RETURNED, REFUNDED, REVERSED.
    pub status: &'static str,
    /// Its own id.
    pub transaction: String,
    /// As PayPal counts, what arrived.
    pub amount: i64,
    /// What was kept.
    pub fee: i64,
    /// When.
    pub at: At,
}

/// A batch.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Batch {
    /// `payout_batch_id`
    pub id: String,
    /// Whose.
    pub account: String,
    /// As it was asked for.
    pub sender_batch_id: Option<String>,
    /// As it was asked for.
    pub recipient_type: Option<String>,
    /// As it was asked for.
    pub email_subject: Option<String>,
    /// As it was asked for.
    pub email_message: Option<String>,
    /// The one of all items.
    pub currency: String,
    /// When it was accepted.
    pub created: At,
    /// When it is processed.
    pub settles: At,
    /// Every item failed.
    pub denied: bool,
    /// Where its items are.
    #[serde(skip)]
    pub items: Range<usize>,
}

impl Batch {
    /// When it begins to be processed.
    pub fn begins(&self) -> At {
        At(self.created.0.saturating_add(self.settles.0.saturating_sub(self.created.0) / 2))
    }

    /// `batch_status`
    pub fn status(&self, now: At) -> &'static str {
        match (now >= self.settles, self.denied) {
            (true, true) => "DENIED",
            (true, false) => "SUCCESS",
            (false, _) if now >= self.begins() => "PROCESSING",
            (false, _) => "PENDING",
        }
    }
}

impl Item {
    /// `transaction_status`, and the reason if it is odd; no status while its batch has not begun.
    pub fn status(&self, batch: &Batch, now: At) -> (Option<&'static str>, Option<&str>) {
        if now < batch.begins() {
            return (None, None);
        }
        if now < batch.settles {
            return (Some("PENDING"), None);
        }
        let fate = match &self.fate {
            Fate::OnHold(until, becomes) if now >= *until => becomes,
            fate => fate,
        };
        let told: Vec<_> = self.back.iter().filter(|back| back.at <= now).collect();
        let gone = told.iter().fold(0_i64, |gone, back| gone.saturating_add(back.amount).saturating_add(back.fee));
        if let Some(last) = told.last().filter(|_| gone >= self.amount) {
            return (Some(last.status), (*fate == Fate::Unclaimed).then_some("RECEIVER_UNREGISTERED"));
        }
        match fate {
            Fate::Success => (Some("SUCCESS"), None),
            Fate::Unclaimed => (Some("UNCLAIMED"), Some("RECEIVER_UNREGISTERED")),
            Fate::OnHold(..) => (Some("ONHOLD"), Some("REGULATORY_PENDING")),
            Fate::Blocked => (Some("BLOCKED"), Some("REGULATORY_BLOCKED")),
            Fate::Failed(name) => (Some("FAILED"), Some(name)),
        }
    }
}

/// What is kept.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PaypalRecord {
    /// A batch was accepted.
    Batch {
        /// Itself.
        batch: Batch,
        /// In their order.
        items: Vec<Item>,
    },
}

/// A line of the statement.
#[derive(Clone, Debug)]
pub struct Booked {
    /// Of the journal; 0 where it is none.
    pub line: u64,
    /// When.
    pub at: At,
    /// What.
    pub what: What,
}

/// What the statement tells.
#[derive(Clone, Debug)]
pub enum What {
    /// T1503: money is held for a batch.
    Hold(usize),
    /// T0001: an item.
    Item(usize),
    /// T0104: the fee of a batch.
    Fee(usize),
    /// T1105: what was held is let go.
    Release(usize),
    /// T1114, T1115: this came back of this item.
    Back(usize, usize),
    /// Nothing: it is only said.
    Phantom(Box<Phantom>),
}

/// See the module.
#[derive(Default)]
pub struct Paypal {
    /// Those that are taken.
    pub tokens: HashMap<String, Token>,
    batches: Vec<Batch>,
    items: Vec<Item>,
    by_id: HashMap<String, usize>,
    by_sender_id: HashMap<(String, String), usize>,
    items_by_id: HashMap<String, usize>,
    items_by_line: HashMap<u64, usize>,
    booked: HashMap<String, Vec<Booked>>,
    /// What Transaction Search is made from, by account.
    pub books: HashMap<String, Books>,
}

/// The books of the last answer: up to when they were, and for how many more answers they stood still.
#[derive(Clone, Copy, Default)]
pub struct Books {
    at: At,
    stood: u64,
}

impl Books {
    /// Up to when they are for the next answer, if they could be so fresh, and stand still for so many.
    pub fn read(&mut self, fresh: At, stand: u64) -> At {
        *self = match self.stood < stand && self.at != At::default() {
            true => Books { stood: self.stood + 1, ..*self },
            false => Books { at: fresh, stood: 0 },
        };
        self.at
    }
}

impl Paypal {
    /// Takes in what was kept.
    pub fn apply(&mut self, record: PaypalRecord, balances: &mut Balances) {
        let PaypalRecord::Batch { mut batch, items } = record;
        let index = self.batches.len();
        batch.items = self.items.len()..self.items.len() + items.len();
        if let Some(id) = &batch.sender_batch_id {
            self.by_sender_id.insert((batch.account.clone(), id.clone()), index);
        }
        self.by_id.insert(batch.id.clone(), index);
        let mut held = 0;
        let mut lines = Vec::new();
        for mut item in items {
            let at = self.items.len();
            item.batch = index;
            self.items_by_id.insert(item.id.clone(), at);
            self.items_by_line.insert(item.journal, at);
            if item.is_paid {
                held += item.amount + item.fee;
                lines.push(Booked { line: item.journal, at: batch.settles, what: What::Item(at) });
            }
            self.items.push(item);
        }
        if held > 0 {
            balances.change(Shape::Paypal, &batch.account, &batch.currency, -held);
            let line = |what| Booked { line: 0, at: batch.settles, what };
            lines.insert(0, line(What::Hold(index)));
            lines.extend([line(What::Fee(index)), line(What::Release(index))]);
        }
        self.booked.entry(batch.account.clone()).or_default().extend(lines);
        self.batches.push(batch);
    }

    /// Takes in a return, or a second payment that nobody asked for.
    pub fn follow(&mut self, movement: &Movement<'_>, balances: &mut Balances) {
        let Some(index) = movement.of.and_then(|line| self.items_by_line.get(&line)).copied() else { return };
        let batch = &self.batches[self.items[index].batch];
        let booked = self.booked.entry(movement.account.clone().into_owned()).or_default();
        if movement.event == Event::Paid {
            // An item of the same batch, but in no list of it: the statement alone knows.
            let mut again = self.items[index].clone();
            again.transaction = movement.id.clone().into_owned();
            again.journal = movement.line;
            again.back.clear();
            balances.change(Shape::Paypal, &movement.account, &batch.currency, -again.amount);
            let at = self.items.len();
            self.items_by_line.insert(movement.line, at);
            booked.push(Booked { line: movement.line, at: movement.at, what: What::Item(at) });
            self.items.push(again);
            return;
        }
        let in_units = |minor| rescaled_down(minor, iso_decimals(&batch.currency), decimals(&batch.currency));
        let item = &mut self.items[index];
        let status = match movement.code.as_deref() {
            Some("RETURNED") => "RETURNED",
            Some("REVERSED") => "REVERSED",
            _ if item.fate == Fate::Unclaimed => "RETURNED",
            _ => "REFUNDED",
        };
        let (amount, fee) = (in_units(movement.amount_minor), in_units(movement.fee_minor));
        let transaction = movement.id.clone().into_owned();
        item.back.push(Back { status, transaction, amount, fee, at: movement.at });
        balances.change(Shape::Paypal, &movement.account, &batch.currency, amount);
        booked.push(Booked { line: movement.line, at: movement.at, what: What::Back(index, item.back.len() - 1) });
    }

    /// Takes in a line that tells what never was.
    pub fn invent(&mut self, line: u64, phantom: &Phantom) {
        let booked = Booked { line, at: phantom.at, what: What::Phantom(Box::new(phantom.clone())) };
        self.booked.entry(phantom.account.clone()).or_default().push(booked);
    }

    /// No id is known from now on.
    pub fn forget_keys(&mut self) {
        self.by_sender_id.clear();
    }

    /// What this id was used for, unless it is free: after 30 days, or since that batch was denied [P1, P6].
    pub fn used(&self, account: &str, sender_batch_id: &str, now: At) -> Option<&Batch> {
        let index = *self.by_sender_id.get(&(account.to_owned(), sender_batch_id.to_owned()))?;
        let batch = &self.batches[index];
        (batch.created >= now.before(THIRTY_DAYS) && batch.status(now) != "DENIED").then_some(batch)
    }

    /// A batch of this account.
    pub fn batch(&self, account: &str, id: &str) -> Option<&Batch> {
        let batch = &self.batches[*self.by_id.get(id)?];
        (batch.account == account).then_some(batch)
    }

    /// By its place.
    pub fn batch_at(&self, index: usize) -> &Batch {
        &self.batches[index]
    }

    /// The items of a batch, in their order.
    pub fn items(&self, batch: &Batch) -> &[Item] {
        &self.items[batch.items.clone()]
    }

    /// An item of this account, and its batch.
    pub fn item(&self, account: &str, id: &str) -> Option<(&Item, &Batch)> {
        let item = &self.items[*self.items_by_id.get(id)?];
        let batch = &self.batches[item.batch];
        (batch.account == account).then_some((item, batch))
    }

    /// The item that this line of the journal is, and its batch.
    pub fn item_of(&self, line: u64) -> Option<(&Item, &Batch)> {
        let item = &self.items[*self.items_by_line.get(&line)?];
        Some((item, &self.batches[item.batch]))
    }

    /// By its place.
    pub fn item_at(&self, index: usize) -> &Item {
        &self.items[index]
    }

    /// The lines of this account's statement, oldest first.
    pub fn booked(&self, account: &str) -> &[Booked] {
        self.booked.get(account).map_or(&[], Vec::as_slice)
    }
}
