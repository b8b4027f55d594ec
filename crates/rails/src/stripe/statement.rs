//! The platform's balance transactions as its statement: transfers and their reversals. Payouts of the platform
//! itself, charges and fees are no payments of ours. Stripe lists the newest first, and so do we: the lines of one
//! statement may come in any order.

use async_trait::async_trait;
use payfleet_domain::{Currency, Movement, StatementLine, from_rail_minor};
use serde::Deserialize;
use time::OffsetDateTime;

use super::transfer::{Destination, Transfer};
use super::{RAIL, Site, Stripe};
use crate::cause::Cause;
use crate::checks::read;
use crate::pages::{self, NoPage, Page, Pages, Reach};
use crate::{Account, StatementError, StatementStream};

/// Lines on a page: the most that Stripe gives.
const PAGE: usize = 100;

#[derive(Deserialize)]
struct List {
    object: String,
    data: Vec<Transaction>,
    has_more: bool,
}

#[derive(Deserialize)]
struct Transaction {
    id: String,
    #[serde(rename = "type")]
    kind: String,
    amount: i64,
    currency: String,
    created: i64,
    #[serde(default)]
    source: serde_json::Value,
}

#[derive(Deserialize)]
struct TransferSource {
    id: String,
    #[serde(default)]
    transfer_group: Option<String>,
    destination: Destination,
}

#[derive(Deserialize)]
struct ReversalSource {
    id: String,
    transfer: Destination,
}

pub(super) async fn open(
    stripe: &Stripe,
    account: &Account,
    from: OffsetDateTime,
) -> Result<StatementStream, StatementError> {
    let unreachable =
        |cause: Cause| StatementError::Unreachable { rail: RAIL, account: account.name.clone(), why: cause.reason() };
    let site = stripe.site(account).map_err(unreachable)?;
    let reading = Reading {
        site: site.clone(),
        account: account.clone(),
        from,
        since: from,
        // Up to the second that has begun by our clock, and by Stripe's.
        until: OffsetDateTime::now_utc(),
        now: None,
        after: None,
    };
    pages::open(RAIL, &account.name, reading).await
}

struct Reading {
    site: Site,
    account: Account,
    from: OffsetDateTime,
    /// What is being read,
    since: OffsetDateTime,
    /// and up to where, not included.
    until: OffsetDateTime,
    /// Stripe's clock at the first page: what was booked later is not on it.
    now: Option<OffsetDateTime>,
    /// The last transaction of the page before.
    after: Option<String>,
}

#[async_trait]
impl Pages for Reading {
    async fn next(&mut self) -> Result<Page, NoPage> {
        let (since, before) = (self.since.unix_timestamp().to_string(), self.until.unix_timestamp().to_string());
        let limit = PAGE.to_string();
        let mut query = vec![
            ("created[gte]", since.as_str()),
            ("created[lt]", &before),
            ("limit", &limit),
            ("expand[]", "data.source"),
        ];
        query.extend(self.after.as_deref().map(|id| ("starting_after", id)));
        let request = self.site.transport.get_query(&["v1", "balance_transactions"], &query);
        let request = self.site.asked(request, &self.account)?;
        let reply = self.site.transport.exchange(request, PAGE).await?;
        if reply.status != 200 {
            return Err(NoPage::Status(reply.status));
        }
        let now = *self.now.get_or_insert(reply.at.unwrap_or(self.until));
        let list: List = read(&reply.body)?;
        let last = list.data.last().map(|last| last.id.clone());
        // More of the same would never end.
        if list.object != "list" || (list.has_more && (last.is_none() || last == self.after)) {
            return Err(Cause::Contradictory("a page that is no list, or the one before").into());
        }
        let mut lines = lines(&list)?;
        for line in lines.iter_mut().filter(|line| line.movement == Movement::Returned) {
            // A reversal does not say whose transfer it gives back.
            line.key = self.key_of(line.of.as_deref().unwrap_or_default()).await?.unwrap_or_default();
        }
        self.after = last;
        if list.has_more {
            return Ok(Page::Lines(lines));
        }
        // To the second: of the one that had begun, more may come.
        let whole = |at: OffsetDateTime| at.replace_nanosecond(0).unwrap_or(at);
        let until = whole(self.until);
        if until < whole(now) {
            // Our clock is behind: what it calls the future has been booked.
            (self.since, self.until, self.after) = (until, now, None);
            return Ok(Page::Lines(lines));
        }
        Ok(Page::Last(lines, Reach::less_the_lag(RAIL, self.from, until, now)))
    }
}

impl Reading {
    /// The key under which a transfer was made.
    async fn key_of(&self, transfer: &str) -> Result<Option<String>, NoPage> {
        let request = self.site.asked(self.site.transport.get(&["v1", "transfers", transfer]), &self.account)?;
        let reply = self.site.transport.exchange(request, 1).await?;
        if reply.status != 200 {
            return Err(NoPage::Status(reply.status));
        }
        let found: Transfer = read(&reply.body)?;
        if found.object != "transfer" || found.id != transfer {
            return Err(Cause::Contradictory("the answer is about another transfer").into());
        }
        Ok(found.transfer_group)
    }
}

/// A page's lines; of a reversal without the key.
pub(crate) fn page(body: &[u8]) -> Result<Vec<StatementLine>, NoPage> {
    lines(&read(body)?)
}

fn lines(list: &List) -> Result<Vec<StatementLine>, NoPage> {
    let lines = list.data.iter().enumerate().map(|(at, one)| line(one).map_err(|why| NoPage::Line(at, why)));
    lines.filter_map(Result::transpose).collect()
}

fn line(transaction: &Transaction) -> Result<Option<StatementLine>, &'static str> {
    let (movement, minor) = match (transaction.kind.as_str(), transaction.amount) {
        ("transfer", ..0) => (Movement::Paid, transaction.amount.checked_neg()),
        ("transfer_refund" | "transfer_reversal", 1..) => (Movement::Returned, Some(transaction.amount)),
        ("transfer" | "transfer_refund" | "transfer_reversal", _) => {
            return Err("a transfer that moves money the wrong way");
        }
        _ => return Ok(None),
    };
    let code = transaction.currency.to_ascii_uppercase();
    let currency: Currency = code.parse().map_err(|_| "a currency that there is not")?;
    let minor = minor.and_then(|minor| from_rail_minor(RAIL, currency, minor));
    let amount_minor = minor.ok_or("an amount that the currency does not have")?;
    let line = |key: Option<String>, reference: String, destination: String, of: Option<String>| StatementLine {
        key: key.unwrap_or_default(),
        reference,
        amount_minor,
        fee_minor: 0,
        currency: code.clone(),
        destination,
        movement,
        at: OffsetDateTime::from_unix_timestamp(transaction.created).ok(),
        of,
    };
    let source = transaction.source.clone();
    let no_source = "a transfer without what it is of";
    Ok(Some(match movement {
        Movement::Returned => {
            let ReversalSource { id, transfer } = serde_json::from_value(source).map_err(|_| no_source)?;
            line(None, id, String::new(), Some(transfer.id().to_owned()))
        }
        _ => {
            let TransferSource { id, transfer_group, destination } =
                serde_json::from_value(source).map_err(|_| no_source)?;
            line(transfer_group, id, destination.id().to_owned(), None)
        }
    }))
}
