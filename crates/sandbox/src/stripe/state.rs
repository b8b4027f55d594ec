//! What is known of transfers, of what came back of them, and of the answers that keys have.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::decimals;
use super::payouts::Payout;
use super::render::{booked_id, transaction};
use crate::dialect::Balances;
use crate::dialect::money::{iso_decimals, rescaled_down};
use crate::lies::Phantom;
use crate::movement::{Event, Movement};
use crate::wire::{At, Shape};

/// A transfer as it was asked for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Transfer {
    /// `tr_...`
    pub id: String,
    /// Whose balance it is from.
    pub account: String,
    /// As Stripe counts.
    pub amount: i64,
    /// In capitals.
    pub currency: String,
    /// `acct_...`
    pub destination: String,
    /// As it was asked for.
    pub description: Option<String>,
    /// As it was asked for.
    pub metadata: BTreeMap<String, String>,
    /// As it was asked for.
    pub transfer_group: Option<String>,
    /// As it was asked for.
    pub source_type: String,
    /// When.
    pub created: At,
    /// As the journal names it.
    pub key: String,
    /// Of the journal.
    #[serde(skip)]
    pub line: u64,
    /// What came back of it, in its order.
    #[serde(skip)]
    pub reversals: Vec<Reversal>,
}

impl Transfer {
    /// How much came back.
    pub fn reversed(&self) -> i64 {
        self.reversals.iter().fold(0, |sum, reversal| sum.saturating_add(reversal.amount))
    }
}

/// Money that came back.
#[derive(Clone, Debug)]
pub struct Reversal {
    /// `trr_...`
    pub id: String,
    /// As Stripe counts.
    pub amount: i64,
    /// When.
    pub created: At,
    /// As it was asked for.
    pub metadata: BTreeMap<String, String>,
}

/// What a key answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Stored {
    /// Of the path and the parameters.
    pub print: String,
    /// When it was first used.
    pub at: At,
    /// The request that it was first used by.
    pub request: String,
    /// The answer.
    pub answer: StoredAnswer,
}

/// An answer that is repeated.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StoredAnswer {
    /// The transfer as it was made.
    Transfer(String),
    /// Anything else.
    Body {
        /// The HTTP status.
        status: u16,
        /// The whole of it.
        body: String,
    },
}

/// What is kept.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StripeRecord {
    /// A transfer was made.
    Transfer(Transfer),
    /// A key has an answer.
    Stored {
        /// Whose.
        account: String,
        /// Which.
        key: String,
        /// What.
        stored: Stored,
    },
    /// A reversal was asked for with this.
    Described {
        /// `trr_...`
        reversal: String,
        /// As it was asked for.
        metadata: BTreeMap<String, String>,
    },
    /// A payout was made, or changed.
    Payout(Payout),
}

/// A line of the balance.
#[derive(Clone, Debug)]
pub struct Booked {
    /// Of the journal.
    pub line: u64,
    /// When.
    pub at: At,
    /// What.
    pub what: What,
}

/// What moved a balance.
#[derive(Clone, Debug)]
pub enum What {
    /// This transfer.
    Transfer(usize),
    /// This reversal of this transfer.
    Reversal(usize, usize),
    /// Nothing: it is only said.
    Phantom(Box<Phantom>),
}

/// See the module.
#[derive(Default)]
pub struct Stripe {
    transfers: Vec<Transfer>,
    by_id: HashMap<String, usize>,
    by_line: HashMap<u64, usize>,
    by_group: HashMap<String, Vec<usize>>,
    by_account: HashMap<String, Vec<usize>>,
    booked: HashMap<String, Vec<Booked>>,
    /// Where a line of a balance is, by its id.
    places: HashMap<String, usize>,
    stored: HashMap<(String, String), Stored>,
    /// What reversals were asked for with that are still to be read.
    described: HashMap<String, BTreeMap<String, String>>,
    payouts: Vec<Payout>,
    /// Requests of which nobody knows yet how they end.
    pub running: HashSet<(String, String)>,
}

impl Stripe {
    /// Takes in what was kept.
    pub fn apply(&mut self, line: u64, record: StripeRecord, balances: &mut Balances) {
        match record {
            StripeRecord::Transfer(transfer) => self.add(line, transfer, balances),
            StripeRecord::Stored { account, key, stored } => {
                self.stored.insert((account, key), stored);
            }
            StripeRecord::Described { reversal, metadata } => {
                let all = self.transfers.iter_mut().rev().flat_map(|transfer| &mut transfer.reversals);
                match all.into_iter().find(|known| known.id == reversal) {
                    Some(known) => known.metadata = metadata,
                    // After a restart what is kept comes before the line of the journal that it is about.
                    None => drop(self.described.insert(reversal, metadata)),
                }
            }
            StripeRecord::Payout(payout) => match self.payouts.iter_mut().find(|known| known.id == payout.id) {
                Some(known) => {
                    balances.change(Shape::Stripe, &payout.account, &payout.currency, payout.amount);
                    *known = payout;
                }
                None => {
                    balances.change(Shape::Stripe, &payout.account, &payout.currency, -payout.amount);
                    self.payouts.push(payout);
                }
            },
        }
    }

    /// Takes in a return, or a second payment that nobody asked for.
    pub fn follow(&mut self, movement: &Movement<'_>, balances: &mut Balances) {
        let Some(index) = movement.of.and_then(|line| self.by_line.get(&line)).copied() else { return };
        if movement.event == Event::Paid {
            let mut again = self.transfers[index].clone();
            again.id = movement.id.clone().into_owned();
            again.account = movement.account.clone().into_owned();
            again.created = movement.at;
            again.reversals.clear();
            self.add(movement.line, again, balances);
            return;
        }
        let transfer = &mut self.transfers[index];
        let vendors = decimals(&transfer.currency);
        let amount = rescaled_down(movement.amount_minor, iso_decimals(&transfer.currency), vendors);
        let reversal = Reversal {
            id: movement.id.clone().into_owned(),
            amount,
            created: movement.at,
            metadata: self.described.remove(&*movement.id).unwrap_or_default(),
        };
        transfer.reversals.push(reversal);
        let what = What::Reversal(index, transfer.reversals.len() - 1);
        let (id, account) = (transaction(&movement.id), transfer.account.clone());
        balances.change(Shape::Stripe, &account, &transfer.currency, amount);
        self.tell(id, account, Booked { line: movement.line, at: movement.at, what });
    }

    /// Takes in a line that tells what never was.
    pub fn invent(&mut self, line: u64, phantom: &Phantom) {
        let booked = Booked { line, at: phantom.at, what: What::Phantom(Box::new(phantom.clone())) };
        self.tell(transaction(&phantom.reference), phantom.account.clone(), booked);
    }

    fn tell(&mut self, id: String, account: String, booked: Booked) {
        let lines = self.booked.entry(account).or_default();
        self.places.insert(id, lines.len());
        lines.push(booked);
    }

    fn add(&mut self, line: u64, mut transfer: Transfer, balances: &mut Balances) {
        let index = self.transfers.len();
        transfer.line = line;
        balances.change(Shape::Stripe, &transfer.account, &transfer.currency, -transfer.amount);
        self.by_id.insert(transfer.id.clone(), index);
        self.by_line.insert(line, index);
        if let Some(group) = &transfer.transfer_group {
            self.by_group.entry(group.clone()).or_default().push(index);
        }
        self.by_account.entry(transfer.account.clone()).or_default().push(index);
        let booked = Booked { line, at: transfer.created, what: What::Transfer(index) };
        self.tell(transaction(&transfer.id), transfer.account.clone(), booked);
        self.transfers.push(transfer);
    }

    /// The payouts of a connected account of this platform, oldest first.
    pub fn payouts(&self, platform: &str, account: &str) -> impl Iterator<Item = &Payout> {
        self.payouts.iter().filter(move |payout| payout.platform == platform && payout.account == account)
    }

    /// No key is known from now on.
    pub fn forget_keys(&mut self) {
        self.stored.clear();
    }

    /// What this key answers, if it is remembered.
    pub fn stored(&self, account: &str, key: &str, now: At, horizon: Duration) -> Option<&Stored> {
        let stored = self.stored.get(&(account.to_owned(), key.to_owned()))?;
        (stored.at >= now.before(horizon)).then_some(stored)
    }

    /// A transfer of this account.
    pub fn find(&self, account: &str, id: &str) -> Option<(usize, &Transfer)> {
        let index = *self.by_id.get(id)?;
        let transfer = &self.transfers[index];
        (transfer.account == account).then_some((index, transfer))
    }

    /// By its place.
    pub fn transfer(&self, index: usize) -> &Transfer {
        &self.transfers[index]
    }

    /// Transfers of this account, oldest first; of one group if it is named.
    pub fn list(&self, account: &str, group: Option<&str>) -> Vec<usize> {
        match group {
            Some(group) => {
                let all = self.by_group.get(group).map_or(&[][..], Vec::as_slice);
                all.iter().copied().filter(|index| self.transfers[*index].account == account).collect()
            }
            None => self.by_account.get(account).cloned().unwrap_or_default(),
        }
    }

    /// Where the line of this id is among the account's.
    pub fn place(&self, account: &str, id: &str) -> Option<usize> {
        let place = *self.places.get(id)?;
        let line = self.booked(account).get(place)?;
        (booked_id(self, line) == id).then_some(place)
    }

    /// The lines of this account's balance, oldest first.
    pub fn booked(&self, account: &str) -> &[Booked] {
        self.booked.get(account).map_or(&[], Vec::as_slice)
    }
}
