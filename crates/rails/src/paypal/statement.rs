//! Transaction Search as the account's statement: payments of payouts and what came back of them. Holds and their
//! release look like payments and are none. It does not say where the money went.

use async_trait::async_trait;
use payfleet_domain::{Currency, Movement, PayoutKey, StatementLine};
use serde::Deserialize;
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};

use super::{Paypal, RAIL, Site};
use crate::cause::Cause;
use crate::checks::read;
use crate::decimal::minor_of;
use crate::oauth::Tokens;
use crate::pages::{self, NoPage, Page, Pages, Reach};
use crate::{Account, StatementError, StatementStream};

/// PayPal, Transaction Search: "Date range is greater than 31 days" is an error; a day less, for whole seconds.
const WINDOW: Duration = Duration::days(30);
/// It goes three years back.
const OLDEST: Duration = Duration::days(3 * 365 - 1);
/// It may be three hours behind.
const BEHIND: Duration = Duration::hours(3);
/// PayPal, Transaction Search, `page_size`: at most 500.
const PAGE_SIZE: &str = "500";

#[derive(Deserialize)]
struct Found {
    transaction_details: Vec<Details>,
    #[serde(default)]
    total_pages: Option<u32>,
    #[serde(default)]
    total_items: Option<u64>,
    #[serde(default)]
    last_refreshed_datetime: Option<String>,
}

#[derive(Deserialize)]
struct Details {
    transaction_info: Info,
}

#[derive(Deserialize)]
struct Info {
    transaction_id: Option<String>,
    transaction_event_code: Option<String>,
    transaction_initiation_date: Option<String>,
    transaction_amount: Option<Amount>,
    transaction_status: Option<String>,
    custom_field: Option<String>,
    paypal_reference_id: Option<String>,
    paypal_reference_id_type: Option<String>,
}

#[derive(Deserialize)]
struct Amount {
    currency_code: String,
    value: String,
}

pub(super) async fn open(
    paypal: &Paypal,
    account: &Account,
    from: OffsetDateTime,
) -> Result<StatementStream, StatementError> {
    let unreachable =
        |cause: Cause| StatementError::Unreachable { rail: RAIL, account: account.name.clone(), why: cause.reason() };
    let site = paypal.site(account).map_err(unreachable)?;
    let now = OffsetDateTime::now_utc();
    // To the second, and never later than asked for.
    let from = from.max(now - OLDEST).replace_nanosecond(0).unwrap_or(from);
    let reading = Reading {
        // One token more than there is, and nothing that a payment waits for.
        site: Site { settings: site.settings.clone(), transport: site.transport.clone(), tokens: Tokens::default() },
        account: account.clone(),
        from,
        window: from,
        page: 1,
        rows: 0,
        end: now.replace_nanosecond(0).unwrap_or(now),
        pending: None,
    };
    pages::open(RAIL, &account.name, reading).await
}

struct Reading {
    site: Site,
    account: Account,
    from: OffsetDateTime,
    /// Where the window begins that is being read,
    window: OffsetDateTime,
    /// and its next page.
    page: u32,
    /// and so many rows that were on the pages before.
    rows: u64,
    /// Where the last one ends.
    end: OffsetDateTime,
    /// Since when the oldest payment is pending: held for review, or unclaimed.
    pending: Option<OffsetDateTime>,
}

#[async_trait]
impl Pages for Reading {
    async fn next(&mut self) -> Result<Page, NoPage> {
        let until = (self.window + WINDOW).min(self.end).max(self.window);
        let format = |at: OffsetDateTime| at.format(&Rfc3339).map_err(|_| Cause::Unfit("an instant without a form"));
        let (start, end, page) = (format(self.window)?, format(until)?, self.page.to_string());
        let query = [
            ("start_date", start.as_str()),
            ("end_date", &end),
            ("fields", "transaction_info"),
            ("balance_affecting_records_only", "Y"),
            ("page_size", PAGE_SIZE),
            ("page", &page),
        ];
        let (site, budget) = (&self.site, self.site.transport.budget());
        let path = ["v1", "reporting", "transactions"];
        let reply = site.get(&self.account, budget, || site.transport.get_query(&path, &query)).await?;
        if reply.status != 200 {
            return Err(NoPage::Status(reply.status));
        }
        let found: Found = read(&reply.body)?;
        self.rows += found.transaction_details.len() as u64;
        for (at, details) in found.transaction_details.iter().enumerate() {
            let since = pending_since(&details.transaction_info).map_err(|why| NoPage::Line(at, why))?;
            self.pending = [self.pending, since].into_iter().flatten().min();
        }
        let lines = lines(found.transaction_details)?;
        if self.page < found.total_pages.unwrap_or(1) {
            self.page += 1;
            return Ok(Page::Lines(lines));
        }
        // All of the window, or those from this page on: by the contract it may mean either.
        if found.total_items.is_some_and(|items| items > self.rows) {
            return Err(Cause::Contradictory("the rail counts more transactions than it lists").into());
        }
        if until < self.end {
            (self.window, self.page, self.rows) = (until, 1, 0);
            return Ok(Page::Lines(lines));
        }
        // How far PayPal has come with its own books; where it does not say, as far as it may be behind.
        let now = reply.at.unwrap_or(self.end);
        let refreshed = found.last_refreshed_datetime.and_then(|at| OffsetDateTime::parse(&at, &Rfc3339).ok());
        let until = until.min(refreshed.unwrap_or(now - BEHIND));
        if let Some(since) = self.pending.filter(|since| *since < until) {
            let (account, since) = (self.account.name.as_str(), since.to_string());
            tracing::info!(
                rail = RAIL,
                account,
                since,
                "payments are pending; the statement counts as read up to the oldest of them"
            );
        }
        // What is pending keeps its date when it is paid: further on it would never be read.
        let until = self.pending.map_or(until, |since| until.min(since)).max(self.from);
        Ok(Page::Last(lines, Reach { from: self.from, until, now }))
    }
}

/// When a payout was made that is pending still: it may be paid, or come back.
fn pending_since(info: &Info) -> Result<Option<OffsetDateTime>, &'static str> {
    let is_pending = info.transaction_status.as_deref() == Some("P");
    if !is_pending || info.transaction_event_code.as_deref() != Some("T0001") {
        return Ok(None);
    }
    let at = info.transaction_initiation_date.as_deref().ok_or("a pending payment without an instant")?;
    OffsetDateTime::parse(at, &Rfc3339).map(Some).map_err(|_| "an instant that cannot be read")
}

/// A page's lines.
pub(crate) fn page(body: &[u8]) -> Result<Vec<StatementLine>, NoPage> {
    lines(read::<Found>(body)?.transaction_details)
}

fn lines(all: Vec<Details>) -> Result<Vec<StatementLine>, NoPage> {
    let lines = all.into_iter().enumerate();
    let lines = lines.map(|(at, one)| line(one.transaction_info).map_err(|why| NoPage::Line(at, why)));
    lines.filter_map(Result::transpose).collect()
}

/// The line, if it is a payment or one that came back. (PayPal, "Transaction event codes".)
fn line(info: Info) -> Result<Option<StatementLine>, &'static str> {
    let code = info.transaction_event_code.as_deref().unwrap_or_default();
    let key = info.custom_field.unwrap_or_default();
    let is_ours = key.parse::<PayoutKey>().is_ok();
    let is_payout = match code {
        "T0001" => true,
        "T1114" | "T1115" => false,
        // A hold when the batch begins, its release, and fees: they look like payments.
        "T1503" | "T1105" | "T0104" => return Ok(None),
        _ if is_ours => {
            tracing::warn!(rail = RAIL, code, "a payout's transaction of a kind that is not known was left out");
            return Ok(None);
        }
        _ => return Ok(None),
    };
    match info.transaction_status.as_deref() {
        // V: reversed later; that is a transaction of its own.
        Some("S" | "V") => {}
        // Pending, denied: no money has moved for good.
        Some("P" | "D") => return Ok(None),
        _ => return Err("a status that is not documented"),
    }
    let amount = info.transaction_amount.ok_or("a transaction without an amount")?;
    let currency: Currency = amount.currency_code.parse().map_err(|_| "a currency that there is not")?;
    let minor = minor_of(&amount.value, currency).ok_or("an amount that the currency does not have")?;
    let (movement, amount_minor) = match (is_payout, minor) {
        (true, ..0) => (Movement::Paid, minor.checked_neg().ok_or("an amount beyond all numbers")?),
        (false, 1..) => (Movement::Returned, minor),
        // Paid to us by others, and what we gave back to them.
        _ => return Ok(None),
    };
    let at = info.transaction_initiation_date.as_deref().map(|at| OffsetDateTime::parse(at, &Rfc3339));
    let is_of = movement == Movement::Returned && info.paypal_reference_id_type.as_deref() == Some("TXN");
    Ok(Some(StatementLine {
        key,
        reference: info.transaction_id.unwrap_or_default(),
        amount_minor,
        fee_minor: 0,
        currency: amount.currency_code,
        destination: String::new(),
        movement,
        at: at.transpose().map_err(|_| "an instant that cannot be read")?,
        of: info.paypal_reference_id.filter(|_| is_of),
    }))
}
