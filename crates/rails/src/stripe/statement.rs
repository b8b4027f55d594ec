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
use crate::registry::declared;
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
        site: Site { settings: site.settings.clone(), transport: site.transport.clone(), ..*site },
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
        if list.object != "list" || (list.has_more && list.data.is_empty()) {
            return Err(Cause::Contradictory("a page that is no list").into());
        }
        let mut lines = Vec::new();
        for (at, transaction) in list.data.iter().enumerate() {
            lines.extend(self.line(transaction).await.map_err(|no| match no {
                NoPage::Line(_, why) => NoPage::Line(at, why),
                no => no,
            })?);
        }
        self.after = list.data.last().map(|last| last.id.clone());
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
        // What is booked is listed some minutes later.
        let until = (until.min(now) - declared(RAIL).statement_lag).max(self.from);
        Ok(Page::Last(lines, Reach { from: self.from, until, now, open_from: None }))
    }
}

impl Reading {
    async fn line(&self, transaction: &Transaction) -> Result<Option<StatementLine>, NoPage> {
        let unreadable = |why| NoPage::Line(0, why);
        let (movement, minor) = match (transaction.kind.as_str(), transaction.amount) {
            ("transfer", ..0) => (Movement::Paid, transaction.amount.checked_neg()),
            ("transfer_refund" | "transfer_reversal", 1..) => (Movement::Returned, Some(transaction.amount)),
            ("transfer" | "transfer_refund" | "transfer_reversal", _) => {
                return Err(unreadable("a transfer that moves money the wrong way"));
            }
            _ => return Ok(None),
        };
        let code = transaction.currency.to_ascii_uppercase();
        let currency: Currency = code.parse().map_err(|_| unreadable("a currency that there is not"))?;
        let minor = minor.and_then(|minor| from_rail_minor(RAIL, currency, minor));
        let amount_minor = minor.ok_or(unreadable("an amount that the currency does not have"))?;
        let at = OffsetDateTime::from_unix_timestamp(transaction.created).ok();
        let line = |key: Option<String>, reference: String, destination: String, of: Option<String>| StatementLine {
            key: key.unwrap_or_default(),
            reference,
            amount_minor,
            fee_minor: 0,
            currency: code.clone(),
            destination,
            movement,
            at,
            of,
        };
        let source = transaction.source.clone();
        let no_source = unreadable("a transfer without what it is of");
        Ok(Some(match movement {
            Movement::Returned => {
                let Ok(ReversalSource { id, transfer }) = serde_json::from_value(source) else { return Err(no_source) };
                // A reversal does not say whose transfer it gives back.
                let key = self.key_of(transfer.id()).await?;
                line(key, id, String::new(), Some(transfer.id().to_owned()))
            }
            _ => {
                let Ok(source) = serde_json::from_value(source) else { return Err(no_source) };
                let TransferSource { id, transfer_group, destination } = source;
                line(transfer_group, id, destination.id().to_owned(), None)
            }
        }))
    }

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
