//! A batch as PayPal tells it, page by page, and what that says of its items.

use std::collections::{HashMap, HashSet};

use payfleet_domain::{DestinationKind, Outcome, Reference, RefusalCode};
use serde::Deserialize;
use serde::de::IgnoredAny;
use time::OffsetDateTime;

use super::RAIL;
use super::create::kind_of;
use crate::cause::Cause;
use crate::checks::{read, reference};
use crate::decimal::minor_of;
use crate::transport::Reply;
use crate::{Call, Finding, Instruction};

/// The most that PayPal gives; a batch of ours fits on one page.
pub(super) const PAGE_SIZE: &str = "1000";
/// PayPal, Payouts API, `page`: at most 1,000.
const PAGES_MAX: u32 = 1_000;

#[derive(Deserialize)]
struct BatchPage {
    total_pages: Option<u32>,
    batch_header: Header,
    #[serde(default)]
    items: Vec<Item>,
    /// A batch and an error at once is neither.
    name: Option<IgnoredAny>,
    error: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Header {
    payout_batch_id: String,
    batch_status: String,
    amount: Option<Amount>,
    sender_batch_header: Sender,
}

#[derive(Deserialize)]
struct Sender {
    sender_batch_id: Option<String>,
}

#[derive(Deserialize)]
struct Amount {
    currency: String,
    value: String,
}

#[derive(Deserialize)]
struct Item {
    payout_item_id: String,
    transaction_id: Option<String>,
    transaction_status: Option<String>,
    payout_item: Ordered,
    errors: Option<ItemError>,
}

#[derive(Deserialize)]
struct Ordered {
    amount: Amount,
    receiver: String,
    sender_item_id: Option<String>,
}

#[derive(Deserialize)]
struct ItemError {
    name: Option<String>,
}

/// Pages as they come.
pub(crate) struct Pages<'a> {
    id: &'a Reference,
    read: u32,
    total: Option<u32>,
    header: Option<Header>,
    /// PayPal's clock at the first page.
    at: Option<OffsetDateTime>,
    items: Vec<Item>,
}

/// All of a batch.
pub(crate) struct Batch {
    header: Header,
    at: Option<OffsetDateTime>,
    items: Vec<Item>,
}

impl<'a> Pages<'a> {
    pub(crate) fn of(id: &'a Reference) -> Pages<'a> {
        Pages { id, read: 0, total: None, header: None, at: None, items: Vec::new() }
    }

    /// The number of the next page, if there is one.
    pub(crate) fn wanted(&self) -> Option<u32> {
        match self.total {
            None => Some(1),
            Some(total) => (self.read < total).then_some(self.read + 1),
        }
    }

    /// Takes the page that was wanted.
    pub(crate) fn take(&mut self, reply: &Reply) -> Result<(), Cause> {
        if reply.status != 200 {
            // That there is no such batch may be told for a moment after it was made.
            return Err(match reply.status {
                500..=599 => Cause::ServerError(reply.status),
                401 => Cause::Unauthorised,
                429 => Cause::RateLimited,
                status => Cause::Undocumented(status),
            });
        }
        let page: BatchPage = read(&reply.body)?;
        if page.name.is_some() || page.error.is_some() {
            return Err(Cause::Contradictory("a batch with an error in it"));
        }
        if page.batch_header.payout_batch_id != self.id.0 {
            return Err(Cause::Contradictory("the answer is about another batch"));
        }
        let total = page.total_pages.unwrap_or(1).max(1);
        if total > PAGES_MAX || self.total.is_some_and(|known| known != total) {
            return Err(Cause::Contradictory("the number of pages cannot be right"));
        }
        if self.read == 0 {
            self.at = reply.at;
        }
        self.total = Some(total);
        self.read += 1;
        self.items.extend(page.items);
        // The newest: the batch may have ended meanwhile.
        self.header = Some(page.batch_header);
        Ok(())
    }

    pub(crate) fn whole(self) -> Result<Batch, Cause> {
        let header = self.header.ok_or(Cause::Contradictory("a batch without a page"))?;
        Ok(Batch { header, at: self.at, items: self.items })
    }
}

impl Batch {
    /// While it runs, items may be missing.
    fn has_ended(&self) -> bool {
        !matches!(self.header.batch_status.as_str(), "PENDING" | "PROCESSING")
    }

    /// What contradicts itself anywhere is believed nowhere: a refusal read from it could cause a second payment.
    fn by_key(&self, call: &Call<'_>) -> Result<HashMap<&str, &Item>, Cause> {
        if self.header.sender_batch_header.sender_batch_id.as_deref().is_some_and(|id| id != call.batch_key.as_str()) {
            return Err(Cause::Contradictory("the answer is about a batch under another id"));
        }
        let mut by_key = HashMap::with_capacity(self.items.len());
        let mut payments = HashSet::with_capacity(self.items.len());
        for item in &self.items {
            let key = item.payout_item.sender_item_id.as_deref().unwrap_or_default();
            if by_key.insert(key, item).is_some() {
                return Err(Cause::Contradictory("the answer holds an item twice"));
            }
            if item.transaction_id.as_ref().is_some_and(|id| !payments.insert(id)) {
                return Err(Cause::Contradictory("the answer names one payment for two items"));
            }
        }
        Ok(by_key)
    }

    /// Holds a batch that an earlier request made against the one that was meant: the id proves nothing about what is
    /// under it. The call holds all of the batch.
    pub(crate) fn is_what_was_sent(&self, call: &Call<'_>) -> Result<(), Cause> {
        let items = self.by_key(call).map_err(|_| Cause::KeyReused)?;
        let is_whole = items.len() == call.instructions.len();
        let mut sum: i64 = 0;
        for asked in call.instructions {
            match items.get(asked.key.as_str()) {
                Some(item) => item.check(asked).map_err(|_| Cause::KeyReused)?,
                None if self.has_ended() => return Err(Cause::KeyReused),
                None => {}
            }
            sum = sum.checked_add(asked.amount.minor).ok_or(Cause::KeyReused)?;
        }
        let currency = call.instructions.first().map(|one| one.amount.currency).ok_or(Cause::KeyReused)?;
        // It is told once the batch is being processed.
        let is_sum = self.header.amount.as_ref().is_none_or(|amount| {
            amount.currency == currency.code() && minor_of(&amount.value, currency).is_some_and(|told| told == sum)
        });
        let is_more = items.len() > call.instructions.len();
        match is_sum && !is_more && (is_whole || !self.has_ended()) {
            true => Ok(()),
            false => Err(Cause::KeyReused),
        }
    }

    /// What it says of the instructions that were accepted under this name; `None` of the others.
    pub(crate) fn findings(&self, call: &Call<'_>, id: &Reference) -> Result<Vec<Option<Finding>>, Cause> {
        let items = self.by_key(call)?;
        // A batch that ends DENIED frees its id: a request of before that is still under way makes another one. So a
        // refusal is believed only if it was told when all of them were dead, by PayPal's own clock.
        let proves_refusals = self.at.is_some_and(|at| at > call.expires_at);
        let finding = |asked: &Instruction| match items.get(asked.key.as_str()) {
            Some(item) => {
                item.check(asked)?;
                Ok(match item.outcome(id) {
                    Ok(Outcome::Refused(_)) if !proves_refusals => Finding::Unanswered,
                    Ok(outcome) => Finding::Known(outcome),
                    Err(cause) => {
                        cause.report(RAIL, call);
                        Finding::Unanswered
                    }
                })
            }
            None if self.has_ended() => Err(Cause::Contradictory("the answer lacks an item of the batch")),
            None => Ok(Finding::Known(Outcome::Accepted(id.clone()))),
        };
        let is_here = |asked: &Instruction| asked.reference.as_ref() == Some(id);
        call.instructions.iter().map(|asked| is_here(asked).then(|| finding(asked)).transpose()).collect()
    }

    /// PayPal's name for an item that nobody has claimed.
    pub(super) fn unclaimed(&self, asked: &Instruction) -> Option<&str> {
        let is_it = |item: &&Item| {
            item.payout_item.sender_item_id.as_deref() == Some(asked.key.as_str())
                && item.transaction_status.as_deref() == Some("UNCLAIMED")
        };
        self.items.iter().find(is_it).map(|item| item.payout_item_id.as_str())
    }
}

/// What an answer about one item says of it.
pub(super) fn item_of(reply: &Reply, asked: &Instruction, name: &str, id: &Reference) -> Result<Outcome, Cause> {
    let item: Item = read(&reply.body)?;
    if item.payout_item_id != name || item.payout_item.sender_item_id.as_deref() != Some(asked.key.as_str()) {
        return Err(Cause::Contradictory("the answer is about another item"));
    }
    item.check(asked)?;
    item.outcome(id)
}

impl Item {
    /// Whether it is the payment that was ordered.
    fn check(&self, asked: &Instruction) -> Result<(), Cause> {
        let Ordered { amount, receiver, .. } = &self.payout_item;
        let currency = asked.amount.currency;
        if amount.currency != currency.code() {
            return Err(Cause::Contradictory("the answer names another currency"));
        }
        if minor_of(&amount.value, currency) != Some(asked.amount.minor) {
            return Err(Cause::Contradictory("the answer names another amount"));
        }
        let digits = |text: &str| text.bytes().filter(u8::is_ascii_digit).collect::<Vec<u8>>();
        let is_same = match kind_of(&asked.destination) {
            // Written with blanks or without a plus, it is the same number.
            Some((DestinationKind::Phone, _)) => digits(receiver) == digits(&asked.destination),
            Some((kind, _)) => kind.is_same(receiver, &asked.destination),
            None => *receiver == asked.destination,
        };
        match is_same {
            true => Ok(()),
            false => Err(Cause::Contradictory("the answer names another receiver")),
        }
    }

    /// What its status says. Statuses are a closed list: one that is not on it says nothing. What waits keeps the name
    /// of the batch, by which it is followed.
    fn outcome(&self, batch: &Reference) -> Result<Outcome, Cause> {
        let payment = || reference(self.transaction_id.as_deref().unwrap_or_default());
        match self.transaction_status.as_deref() {
            // UNCLAIMED: the money is with PayPal until the payee takes it, or it comes back after 30 days.
            None | Some("PENDING" | "UNCLAIMED" | "ONHOLD") => Ok(Outcome::Accepted(batch.clone())),
            Some("BLOCKED") => {
                // Whether money was taken for it is told by the statement only (unverified).
                tracing::error!(
                    rail = RAIL,
                    item = self.payout_item_id,
                    "PayPal has blocked a payment: look at it there"
                );
                Ok(Outcome::Accepted(batch.clone()))
            }
            Some("SUCCESS") => Ok(Outcome::Paid(payment()?)),
            Some("FAILED") => self.failure(),
            Some("RETURNED" | "REFUNDED" | "REVERSED") => {
                Ok(Outcome::Returned(payment().or_else(|_| reference(&self.payout_item_id))?))
            }
            Some(_) => Err(Cause::Contradictory("an item with a status that is not documented")),
        }
    }

    fn failure(&self) -> Result<Outcome, Cause> {
        match self.errors.as_ref().and_then(|errors| errors.name.as_deref()).filter(|name| !name.is_empty()) {
            // Another item is the payment: this one says nothing of it. (PayPal, item error `DUPLICATE_ITEM`.)
            Some("DUPLICATE_ITEM") => Err(Cause::Contradictory("an item failed because it had been paid before")),
            Some(name) => Ok(Outcome::Refused(RefusalCode::new(name))),
            None => Err(Cause::Contradictory("an item failed without a reason")),
        }
    }
}
