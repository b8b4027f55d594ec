//! What is known of recipients, quotes, transfers and groups.

use std::collections::HashMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::decimals;
use super::timeline::{State, state_at};
use crate::dialect::Balances;
use crate::dialect::money::{iso_decimals, rescaled_down};
use crate::lies::Phantom;
use crate::movement::{Event, Movement};
use crate::wire::{At, Shape};

/// How long a rate is kept, and a quote can be used [W1].
pub const QUOTE_LIFE: Duration = Duration::from_secs(30 * 60);
/// How long a transfer waits for its money [W1].
pub const UNFUNDED_LIFE: Duration = Duration::from_secs(14 * 24 * 3600);

/// Where money can be sent to.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Recipient {
    /// `targetAccount`
    pub id: u64,
    /// Whose.
    pub profile: String,
    /// As it was asked for.
    pub currency: String,
    /// As it was asked for, `type` and `details` included.
    pub body: String,
}

/// What a transfer would cost.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Quote {
    /// A UUID.
    pub id: String,
    /// Whose.
    pub profile: String,
    /// What is paid with.
    pub source: String,
    /// What arrives.
    pub target: String,
    /// Taken from the balance, fee included, as Wise counts.
    pub source_amount: i64,
    /// Of that.
    pub fee: i64,
    /// What arrives, as Wise counts.
    pub target_amount: i64,
    /// In millionths.
    pub rate: i64,
    /// Where to, if it was said.
    pub target_account: Option<u64>,
    /// When.
    pub created: At,
    /// Whether the target's amount was asked for.
    pub is_by_target: bool,
    /// Whether a transfer was made of it: there is one only.
    #[serde(skip)]
    pub is_used: bool,
}

/// A transfer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Transfer {
    /// Counted.
    pub id: u64,
    /// Whose.
    pub profile: String,
    /// Of which quote.
    pub quote: String,
    /// Where to.
    pub target_account: u64,
    /// The key.
    pub uuid: String,
    /// As it was asked for.
    pub reference: String,
    /// The group that it is part of.
    pub group: Option<String>,
    /// When.
    pub created: At,
    /// Of the quote.
    pub source: String,
    /// Of the quote.
    pub target: String,
    /// Of the quote, fee included.
    pub source_amount: i64,
    /// Of the quote.
    pub fee: i64,
    /// Of the quote.
    pub target_amount: i64,
    /// Of the quote.
    pub rate: i64,
    /// Its states, in their order.
    #[serde(skip)]
    pub steps: Vec<(At, State)>,
    /// The line of the journal that its funding is.
    #[serde(skip)]
    pub funded: Option<u64>,
    /// Its fee comes back with it.
    #[serde(skip)]
    pub refunds_fee: bool,
}

impl Transfer {
    /// Where it is.
    pub fn state(&self, now: At) -> State {
        let state = state_at(&self.steps, now);
        // Nobody paid for it in two weeks.
        match state {
            State::IncomingPaymentWaiting if now > self.created.after(UNFUNDED_LIFE) => State::Cancelled,
            state => state,
        }
    }

    /// What is sent, without the fee.
    pub fn source_value(&self) -> i64 {
        self.source_amount - self.fee
    }

    /// What of this amount, as the journal counts it, comes back in what was paid with, at the rate at which it went
    /// out: without its fee, unless that is given back with the whole.
    pub fn back(&self, amount_minor: i64) -> i64 {
        let target = rescaled_down(amount_minor, iso_decimals(&self.target), decimals(&self.target));
        let back = i128::from(self.source_value()) * i128::from(target) / i128::from(self.target_amount.max(1));
        let fee = if self.refunds_fee && target >= self.target_amount { self.fee } else { 0 };
        i64::try_from(back).unwrap_or(i64::MAX).saturating_add(fee)
    }
}

/// Transfers that are funded together.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Group {
    /// A UUID.
    pub id: String,
    /// Whose.
    pub profile: String,
    /// As it was asked for.
    pub name: String,
    /// What all its transfers are paid with.
    pub source: String,
    /// NEW, COMPLETED, CANCELLED, ...
    pub status: String,
    /// Grows with each change.
    pub version: u64,
    /// Whether it was funded.
    pub is_paid: bool,
    /// In no order that is promised.
    #[serde(skip)]
    pub transfers: Vec<u64>,
}

/// What is kept.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WiseRecord {
    /// A recipient was made.
    Recipient(Recipient),
    /// A quote was made.
    Quote(Quote),
    /// A transfer was made.
    Transfer(Transfer),
    /// A group was made, or changed.
    Group(Group),
    /// A transfer was funded, and these states follow.
    Funded {
        /// Which.
        id: u64,
        /// From then on.
        steps: Vec<(At, State)>,
        /// If it comes back, so does its fee.
        #[serde(default)]
        refunds_fee: bool,
    },
    /// Somebody has paid in.
    Deposit(Deposit),
    /// Other states follow from this instant on.
    Steps {
        /// Of which transfer.
        id: u64,
        /// What was to follow is forgotten from the first on.
        steps: Vec<(At, State)>,
    },
    /// Who signs approvals.
    Key {
        /// Whose.
        profile: String,
        /// A PEM.
        public_key: String,
    },
}

/// Money that somebody has paid in.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Deposit {
    /// To whose balance.
    pub profile: String,
    /// Its number, from those of transfers.
    pub id: u64,
    /// When.
    pub at: At,
    /// Of which balance.
    pub currency: String,
    /// As Wise counts.
    pub amount: i64,
    /// As whoever sent it wrote it.
    pub reference: String,
}

/// A line of the statement.
#[derive(Clone, Debug)]
pub struct Booked {
    /// Of the journal; 0 of what stands in none, since no payment came or went.
    pub line: u64,
    /// When.
    pub at: At,
    /// Of which balance.
    pub currency: String,
    /// More or, below 0, less.
    pub change: i64,
    /// Of that.
    pub fee: i64,
    /// Which transfer, or which deposit.
    pub transfer: u64,
    /// As it was said by the payer.
    pub reference: String,
}

/// See the module.
#[derive(Default)]
pub struct Wise {
    recipients: HashMap<u64, Recipient>,
    quotes: HashMap<String, Quote>,
    transfers: Vec<Transfer>,
    by_id: HashMap<u64, usize>,
    by_uuid: HashMap<(String, String), usize>,
    by_line: HashMap<u64, usize>,
    by_profile: HashMap<String, Vec<usize>>,
    groups: HashMap<String, Group>,
    booked: HashMap<String, Vec<Booked>>,
    /// Tokens that were given out, and until when they are taken.
    pub tokens: HashMap<String, At>,
    /// Who signs approvals, by profile.
    pub keys: HashMap<String, String>,
    /// Approvals that were asked for, and whether a person gave them.
    pub challenges: HashMap<String, bool>,
}

impl Wise {
    /// Takes in what was kept.
    pub fn apply(&mut self, line: u64, record: WiseRecord, balances: &mut Balances) {
        match record {
            WiseRecord::Recipient(recipient) => {
                self.recipients.insert(recipient.id, recipient);
            }
            WiseRecord::Quote(quote) => {
                self.quotes.insert(quote.id.clone(), quote);
            }
            WiseRecord::Transfer(transfer) => self.add(transfer),
            WiseRecord::Group(mut group) => {
                if let Some(known) = self.groups.remove(&group.id) {
                    group.transfers = known.transfers;
                }
                self.groups.insert(group.id.clone(), group);
            }
            WiseRecord::Funded { id, steps, refunds_fee } => {
                let Some(index) = self.by_id.get(&id).copied() else { return };
                self.transfers[index].refunds_fee = refunds_fee;
                let at = steps.first().map_or_else(At::default, |(at, _)| *at);
                self.set_steps(index, steps);
                self.fund(index, line, at, balances);
            }
            WiseRecord::Deposit(Deposit { profile, id, at, currency, amount, reference }) => {
                balances.change(Shape::Wise, &profile, &currency, amount);
                let booked = Booked { line: 0, at, currency, change: amount, fee: 0, transfer: id, reference };
                self.booked.entry(profile).or_default().push(booked);
            }
            WiseRecord::Steps { id, steps } => {
                if let Some(index) = self.by_id.get(&id).copied() {
                    self.set_steps(index, steps);
                }
            }
            WiseRecord::Key { profile, public_key } => {
                self.keys.insert(profile, public_key);
            }
        }
    }

    fn add(&mut self, mut transfer: Transfer) {
        let index = self.transfers.len();
        transfer.steps = vec![(transfer.created, State::IncomingPaymentWaiting)];
        if let Some(quote) = self.quotes.get_mut(&transfer.quote) {
            quote.is_used = true;
        }
        if let Some(group) = transfer.group.as_ref().and_then(|id| self.groups.get_mut(id)) {
            group.transfers.push(transfer.id);
            group.version += 1;
        }
        self.by_id.insert(transfer.id, index);
        self.by_uuid.insert((transfer.profile.clone(), transfer.uuid.clone()), index);
        self.by_profile.entry(transfer.profile.clone()).or_default().push(index);
        self.transfers.push(transfer);
    }

    fn set_steps(&mut self, index: usize, steps: Vec<(At, State)>) {
        let known = &mut self.transfers[index].steps;
        if let Some((from, _)) = steps.first() {
            known.retain(|(at, _)| at <= from);
        }
        known.extend(steps);
    }

    fn fund(&mut self, index: usize, line: u64, at: At, balances: &mut Balances) {
        let transfer = &mut self.transfers[index];
        transfer.funded = Some(line);
        let booked = Booked {
            line,
            at,
            currency: transfer.source.clone(),
            change: -transfer.source_amount,
            fee: transfer.fee,
            transfer: transfer.id,
            reference: transfer.reference.clone(),
        };
        balances.change(Shape::Wise, &transfer.profile, &transfer.source, -transfer.source_amount);
        self.by_line.insert(line, index);
        self.booked.entry(transfer.profile.clone()).or_default().push(booked);
    }

    /// Takes in a return, or a second payment that nobody asked for.
    pub fn follow(&mut self, movement: &Movement<'_>, balances: &mut Balances) {
        let Some(index) = movement.of.and_then(|line| self.by_line.get(&line)).copied() else { return };
        let mut known = self.transfers[index].clone();
        if movement.event == Event::Paid {
            known.profile = movement.account.clone().into_owned();
            known.id = movement.id.parse().unwrap_or_default();
            known.created = movement.at;
            known.group = None;
            let uuid = (known.profile.clone(), known.uuid.clone());
            let first = self.by_uuid.get(&uuid).copied();
            self.add(known);
            let again = self.transfers.len() - 1;
            // Whoever asks by the key still finds the first.
            self.by_uuid.insert(uuid, first.unwrap_or(again));
            self.set_steps(again, vec![(movement.at, State::OutgoingPaymentSent)]);
            self.fund(again, movement.line, movement.at, balances);
            return;
        }
        let back = known.back(movement.amount_minor);
        balances.change(Shape::Wise, &known.profile, &known.source, back);
        self.set_steps(index, vec![(movement.at, State::Cancelled), (movement.at, State::FundsRefunded)]);
        self.booked.entry(known.profile).or_default().push(Booked {
            line: movement.line,
            at: movement.at,
            currency: known.source,
            change: back,
            fee: 0,
            transfer: known.id,
            reference: known.reference,
        });
    }

    /// Takes in a line that tells what never was.
    pub fn invent(&mut self, line: u64, phantom: &Phantom) {
        self.booked.entry(phantom.account.clone()).or_default().push(Booked {
            line,
            at: phantom.at,
            currency: phantom.currency.clone(),
            change: -phantom.amount_minor,
            fee: 0,
            transfer: phantom.reference.parse().unwrap_or_default(),
            reference: phantom.key.clone(),
        });
    }

    /// No UUID is known from now on.
    pub fn forget_keys(&mut self) {
        self.by_uuid.clear();
    }

    /// What this UUID made, if it is remembered; for ever where the life is 0.
    pub fn known(&self, profile: &str, uuid: &str, now: At, life: Duration) -> Option<&Transfer> {
        let index = *self.by_uuid.get(&(profile.to_owned(), uuid.to_owned()))?;
        let transfer = &self.transfers[index];
        (life.is_zero() || transfer.created >= now.before(life)).then_some(transfer)
    }

    /// By its number.
    pub fn recipient(&self, id: u64) -> Option<&Recipient> {
        self.recipients.get(&id)
    }

    /// By its UUID.
    pub fn quote(&self, id: &str) -> Option<&Quote> {
        self.quotes.get(id)
    }

    /// By its number.
    pub fn transfer(&self, id: u64) -> Option<&Transfer> {
        self.by_id.get(&id).map(|index| &self.transfers[*index])
    }

    /// What this line of the journal paid.
    pub fn transfer_of(&self, line: u64) -> Option<&Transfer> {
        self.by_line.get(&line).map(|index| &self.transfers[*index])
    }

    /// All of a profile, newest first.
    pub fn transfers(&self, profile: &str) -> impl Iterator<Item = &Transfer> {
        let all = self.by_profile.get(profile).map_or(&[][..], Vec::as_slice);
        all.iter().rev().map(|index| &self.transfers[*index])
    }

    /// By its UUID.
    pub fn group(&self, id: &str) -> Option<&Group> {
        self.groups.get(id)
    }

    /// The lines of this profile's statements, oldest first.
    pub fn booked(&self, profile: &str) -> &[Booked] {
        self.booked.get(profile).map_or(&[], Vec::as_slice)
    }
}
