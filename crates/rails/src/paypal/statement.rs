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
        until: from,
        page: 1,
        rows: 0,
        end: now.replace_nanosecond(0).unwrap_or(now),
        now: None,
        refreshed: None,
        open_from: None,
    };
    pages::open(RAIL, &account.name, reading).await
}

struct Reading {
    site: Site,
    account: Account,
    from: OffsetDateTime,
    /// Where the window begins that is being read,
    window: OffsetDateTime,
    /// and ends, the same for all of its pages,
    until: OffsetDateTime,
    /// and its next page.
    page: u32,
    /// and so many rows that were on the pages before.
    rows: u64,
    /// Where the last one ends.
    end: OffsetDateTime,
    /// PayPal's clock at the first answer: what is booked after it is on none of those windows, or by luck.
    now: Option<OffsetDateTime>,
    /// How far PayPal had come with its own books when it made the answer that was furthest behind. They are refreshed
    /// between two answers, too: what came into them then is outside of the windows that are still asked for.
    refreshed: Option<OffsetDateTime>,
    /// The first payment that is pending.
    open_from: Option<OffsetDateTime>,
}

#[async_trait]
impl Pages for Reading {
    async fn next(&mut self) -> Result<Page, NoPage> {
        if self.page == 1 {
            self.until = (self.window + WINDOW).min(self.end).max(self.window);
        }
        let until = self.until;
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
        let mut lines = Vec::new();
        for told in told(found.transaction_details)? {
            match told {
                Told::Final(line) => lines.push(line),
                Told::Pending(at) => self.open_from = Some(self.open_from.map_or(at, |first| first.min(at))),
                Told::Nothing => {}
            }
        }
        let now = *self.now.get_or_insert(reply.at.unwrap_or(self.end));
        // Our clock may be behind: what it calls the future has been booked.
        self.end = self.end.max(now.replace_nanosecond(0).unwrap_or(now));
        // Where it does not say how far it has come, as far as it may be behind.
        let told = found.last_refreshed_datetime.and_then(|at| OffsetDateTime::parse(&at, &Rfc3339).ok());
        let refreshed = told.unwrap_or(now - BEHIND);
        let refreshed = self.refreshed.map_or(refreshed, |before| before.min(refreshed));
        self.refreshed = Some(refreshed);
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
        let until = until.min(refreshed).max(self.from);
        Ok(Page::Last(lines, Reach { from: self.from, until, now, open_from: self.open_from }))
    }
}

/// A page's lines.
pub(crate) fn page(body: &[u8]) -> Result<Vec<StatementLine>, NoPage> {
    let told = told(read::<Found>(body)?.transaction_details)?;
    let line = |told| match told {
        Told::Final(line) => Some(line),
        Told::Pending(_) | Told::Nothing => None,
    };
    Ok(told.into_iter().filter_map(line).collect())
}

fn told(all: Vec<Details>) -> Result<Vec<Told>, NoPage> {
    let all = all.into_iter().enumerate();
    all.map(|(at, one)| line(one.transaction_info).map_err(|why| NoPage::Line(at, why))).collect()
}

/// What a transaction tells.
enum Told {
    /// Money that moved.
    Final(StatementLine),
    /// A payment that has not moved money for good, of this instant: nobody has claimed it, or it is being reviewed.
    /// Its own transaction tells later what became of it (unverified).
    Pending(OffsetDateTime),
    /// Nothing of payouts.
    Nothing,
}

/// What it tells of a payment, or of one that came back. (PayPal, "Transaction event codes".)
fn line(info: Info) -> Result<Told, &'static str> {
    let code = info.transaction_event_code.as_deref().unwrap_or_default();
    let key = info.custom_field.unwrap_or_default();
    let is_ours = key.parse::<PayoutKey>().is_ok();
    let is_payout = match code {
        "T0001" => true,
        "T1114" | "T1115" => false,
        // A hold when the batch begins, its release, and fees: they look like payments.
        "T1503" | "T1105" | "T0104" => return Ok(Told::Nothing),
        _ if is_ours => {
            tracing::warn!(rail = RAIL, code, "a payout's transaction of a kind that is not known was left out");
            return Ok(Told::Nothing);
        }
        _ => return Ok(Told::Nothing),
    };
    let at = info.transaction_initiation_date.as_deref().map(|at| OffsetDateTime::parse(at, &Rfc3339));
    let at = at.transpose().map_err(|_| "an instant that cannot be read")?;
    match info.transaction_status.as_deref() {
        // V: reversed later; that is a transaction of its own.
        Some("S" | "V") => {}
        Some("P") => {
            // What others pay to us is none of ours.
            let is_ours = !is_payout || info.transaction_amount.is_some_and(|amount| amount.value.starts_with('-'));
            return Ok(at.filter(|_| is_ours).map_or(Told::Nothing, Told::Pending));
        }
        // Denied: no money has moved.
        Some("D") => return Ok(Told::Nothing),
        _ => return Err("a status that is not documented"),
    }
    let amount = info.transaction_amount.ok_or("a transaction without an amount")?;
    let currency: Currency = amount.currency_code.parse().map_err(|_| "a currency that there is not")?;
    let minor = minor_of(&amount.value, currency).ok_or("an amount that the currency does not have")?;
    let (movement, amount_minor) = match (is_payout, minor) {
        (true, ..0) => (Movement::Paid, minor.checked_neg().ok_or("an amount beyond all numbers")?),
        (false, 1..) => (Movement::Returned, minor),
        // Paid to us by others, and what we gave back to them.
        _ => return Ok(Told::Nothing),
    };
    let is_of = movement == Movement::Returned && info.paypal_reference_id_type.as_deref() == Some("TXN");
    Ok(Told::Final(StatementLine {
        key,
        reference: info.transaction_id.unwrap_or_default(),
        amount_minor,
        fee_minor: 0,
        currency: amount.currency_code,
        destination: String::new(),
        movement,
        at,
        of: info.paypal_reference_id.filter(|_| is_of),
    }))
}
