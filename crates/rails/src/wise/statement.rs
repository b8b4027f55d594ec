//! Balance statements: transfers, and what of them came back. They know neither our key, unless it is the transfer's
//! reference, nor where the money went. A refund is often smaller than the payment, and sometimes brings its fee too.
//!
//! What others pay in stands there in the same form, under a number of its own and with words that the sender chose. So
//! a credit is known by its number alone, and only as the refund of a transfer that was made here.

use async_trait::async_trait;
use payfleet_domain::{Currency, Money, Movement, Outcome, PayoutKey, Reference, RefusalCode, StatementLine};
use serde::Deserialize;
use serde_json::value::RawValue;
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};

use super::ask::LOOKS_BACK;
use super::transfer::Transfer;
use super::{RAIL, Site, Wise, no_answer, numbered};
use crate::cause::Cause;
use crate::checks::{read, single};
use crate::decimal::minor_of;
use crate::pages::{self, NoPage, Page, Pages, Reach};
use crate::registry::declared;
use crate::transport::Reply;
use crate::{Account, Call, StatementError, StatementStream};

/// A statement comes whole, so it is asked for in weeks. (Wise allows 469 days.)
const WINDOW: Duration = Duration::days(7);
/// So many transactions of a week are read.
const TRANSACTIONS_MAX: usize = 25_000;
/// What a transfer's lines are called; and what others pay in.
const PREFIX: &str = "TRANSFER-";
/// What `details.type` can be beside `TRANSFER` and `UNKNOWN` (Wise, "Balance statement"): money that comes in so is no
/// refund, and what leaves so, without the number of a transfer, is no payment that we could have ordered.
const NO_TRANSFERS: [&str; 14] = [
    "ACCRUAL_CHARGE",
    "ACQUIRING_PAYMENT",
    "BALANCE_ADJUSTMENT",
    "BALANCE_INTEREST",
    "CARD",
    "CARD_CASHBACK",
    "CARD_ORDER_CHECKOUT",
    "CONVERSION",
    "DEPOSIT",
    "DIRECT_DEBIT",
    "INCOMING_CROSS_BALANCE",
    "INVESTMENT_TRADE_ORDER",
    "MONEY_ADDED",
    "OUTGOING_CROSS_BALANCE",
];

#[derive(Deserialize)]
struct Statement {
    transactions: Vec<Transaction>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Transaction {
    #[serde(with = "time::serde::rfc3339")]
    date: OffsetDateTime,
    amount: Amount,
    total_fees: Option<Amount>,
    reference_number: String,
    #[serde(default)]
    details: Details,
}

#[derive(Deserialize)]
struct Amount {
    value: Box<RawValue>,
    currency: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Details {
    #[serde(rename = "type")]
    kind: Option<String>,
    /// Of a debit what we wrote on the transfer, of a credit what anybody wrote.
    payment_reference: Option<String>,
}

impl Details {
    fn is_no_transfer(&self) -> bool {
        self.kind.as_deref().is_some_and(|kind| NO_TRANSFERS.contains(&kind))
    }

    /// The key, if we gave it to a transfer as its reference.
    fn key(&self) -> String {
        let ours = self.payment_reference.as_deref().filter(|_| self.kind.as_deref() == Some("TRANSFER"));
        ours.and_then(|ours| ours.parse::<PayoutKey>().ok()).map_or_else(String::new, |key| key.to_string())
    }
}

pub(super) async fn open(
    wise: &Wise,
    account: &Account,
    from: OffsetDateTime,
) -> Result<StatementStream, StatementError> {
    let unreachable =
        |cause: Cause| StatementError::Unreachable { rail: RAIL, account: account.name.clone(), why: cause.reason() };
    let site = wise.site(account).map_err(unreachable)?;
    if site.settings.balances.is_empty() {
        return Err(unreachable(Cause::Unfit("the account's settings name no balance")));
    }
    let now = OffsetDateTime::now_utc();
    let from = from.replace_nanosecond(0).unwrap_or(from);
    let reading = Reading {
        site: Site {
            settings: site.settings.clone(),
            transport: site.transport.clone(),
            profile: site.profile.clone(),
        },
        balances: site.settings.balances.iter().map(|(code, id)| (code.clone(), *id)).collect(),
        at_balance: 0,
        account: account.clone(),
        from,
        window: from,
        end: now.replace_nanosecond(0).unwrap_or(now),
        now: None,
    };
    pages::open(RAIL, &account.name, reading).await
}

struct Reading {
    site: Site,
    balances: Vec<(String, u64)>,
    /// Which of them is being read,
    at_balance: usize,
    account: Account,
    from: OffsetDateTime,
    /// and since when.
    window: OffsetDateTime,
    end: OffsetDateTime,
    /// Wise's clock at the first page.
    now: Option<OffsetDateTime>,
}

#[async_trait]
impl Pages for Reading {
    async fn next(&mut self) -> Result<Page, NoPage> {
        let (code, id) = self.balances.get(self.at_balance).ok_or(Cause::Unfit("a statement that was read"))?;
        let until = (self.window + WINDOW).min(self.end).max(self.window);
        let reply = ask(&self.site, &self.account, code, *id, self.window, until, true).await?;
        if reply.status != 200 {
            if reply.header("x-2fa-approval").is_some() {
                let account = self.account.name.as_str();
                tracing::warn!(rail = RAIL, account, "a person must authenticate before the statement can be read");
            }
            return Err(NoPage::Status(reply.status));
        }
        let now = *self.now.get_or_insert(reply.at.unwrap_or(self.end));
        // Our clock may be behind: what it calls the future has been booked.
        self.end = self.end.max(now.replace_nanosecond(0).unwrap_or(now));
        let statement: Statement = read(&reply.body)?;
        let mut lines = lines(&statement, code)?;
        for line in lines.iter_mut().filter(|line| line.movement == Movement::Returned) {
            if let Some(paid) = paid_by(&self.site, &self.account, line).await? {
                let fee = line.amount_minor - paid;
                tracing::info!(rail = RAIL, transfer = line.of, fee, "a refund brought fees back, too");
                line.amount_minor = paid;
            }
        }
        if until < self.end {
            self.window = until;
            return Ok(Page::Lines(lines));
        }
        (self.at_balance, self.window) = (self.at_balance + 1, self.from);
        Ok(match self.at_balance < self.balances.len() {
            true => Page::Lines(lines),
            false => Page::Last(lines, Reach::less_the_lag(RAIL, self.from, self.end, now)),
        })
    }
}

/// What the transfer of a refund had paid, if that is less than came back: the rest is Wise's own fee, which is the
/// payer's and no part of what the payee was due.
async fn paid_by(site: &Site, account: &Account, line: &StatementLine) -> Result<Option<i64>, Cause> {
    let of = line.of.as_deref().filter(|of| of.bytes().all(|byte| byte.is_ascii_digit()));
    let (Some(of), Ok(currency)) = (of, line.currency.parse::<Currency>()) else { return Ok(None) };
    let request = site.asked(site.transport.get(&["v1", "transfers", of]), account)?;
    let reply = site.transport.exchange(request, 1).await?;
    // Nothing that we could have made.
    if matches!(reply.status, 403 | 404) {
        return Ok(None);
    }
    let transfer = numbered(&reply, &Reference(of.to_owned()))?;
    Ok(transfer.paid_in(currency).filter(|paid| (1..line.amount_minor).contains(paid)))
}

async fn ask(
    site: &Site,
    account: &Account,
    code: &str,
    balance: u64,
    since: OffsetDateTime,
    until: OffsetDateTime,
    is_statement: bool,
) -> Result<Reply, Cause> {
    let format = |at: OffsetDateTime| at.format(&Rfc3339).map_err(|_| Cause::Unfit("an instant without a form"));
    let (since, until, balance) = (format(since)?, format(until)?, balance.to_string());
    let query = [("currency", code), ("intervalStart", &since), ("intervalEnd", &until), ("type", "COMPACT")];
    let path = ["v1", "profiles", &site.profile, "balance-statements", &balance, "statement.json"];
    let request = match is_statement {
        true => site.transport.get_statement(&path, &query),
        // A question about one payment: it has the time of a call.
        false => site.transport.get_query(&path, &query),
    };
    // A transaction takes about 500 bytes.
    site.transport.exchange(site.asked(request, account)?, TRANSACTIONS_MAX / 8).await
}

/// The lines of a balance in this currency; of refunds with all that came back.
pub(crate) fn page(body: &[u8], code: &str) -> Result<Vec<StatementLine>, NoPage> {
    lines(&read(body)?, code)
}

fn lines(statement: &Statement, code: &str) -> Result<Vec<StatementLine>, NoPage> {
    let lines = statement.transactions.iter().enumerate();
    let lines = lines.map(|(at, one)| line(one, code).map_err(|why| NoPage::Line(at, why)));
    lines.filter_map(Result::transpose).collect()
}

/// The line, if it is of a transfer. Whatever leaves the account is one, unless its kind says that it is none.
fn line(transaction: &Transaction, code: &str) -> Result<Option<StatementLine>, &'static str> {
    let number = transaction.reference_number.strip_prefix(PREFIX);
    let is_debit = transaction.amount.value.get().starts_with('-');
    let is_none = match is_debit {
        true => number.is_none() && transaction.details.is_no_transfer(),
        false => number.is_none() || transaction.details.is_no_transfer(),
    };
    if is_none {
        return Ok(None);
    }
    let currency: Currency = code.parse().map_err(|_| "a currency that there is not")?;
    let minor = |amount: &Amount| minor_of(amount.value.get(), currency).filter(|_| amount.currency == code);
    let amount = minor(&transaction.amount).ok_or("an amount that the currency does not have")?;
    let fees = match &transaction.total_fees {
        Some(fees) => minor(fees).filter(|fees| *fees >= 0).ok_or("fees that the currency does not have")?,
        None => 0,
    };
    let (movement, amount_minor, key, reference, of) = match (amount, number) {
        // What the payee gets: Wise's fee is in the debit.
        (..0, Some(number)) => {
            let paid = amount.checked_neg().and_then(|out| out.checked_sub(fees)).filter(|paid| *paid > 0);
            let paid = paid.ok_or("a payment of nothing but fees")?;
            (Movement::Paid, paid, transaction.details.key(), number.to_owned(), None)
        }
        (..0, None) => {
            let out = amount.checked_neg().ok_or("an amount beyond all numbers")?;
            (Movement::Paid, out, String::new(), transaction.reference_number.clone(), None)
        }
        // A refund has the name of its payment; told apart by when it came, for a transfer may have several. What it
        // bears for a key, anybody may have written.
        (1.., Some(number)) => {
            let name = format!("{number}-back-{}", transaction.date.unix_timestamp());
            (Movement::Returned, amount, String::new(), name, Some(number.to_owned()))
        }
        (0.., _) => return Ok(None),
    };
    Ok(Some(StatementLine {
        key,
        reference,
        amount_minor,
        fee_minor: 0,
        currency: code.to_owned(),
        destination: String::new(),
        movement,
        at: Some(transaction.date),
        of,
    }))
}

/// How much of a refunded transfer came back: the transfer does not say it, the statement of its balance does. As long
/// as that does not show it, the transfer is waited for: nothing is free that has not come back.
///
/// `at` is Wise's clock, as it told the transfer: ours may be behind it.
pub(super) async fn refund(
    site: &Site,
    call: &Call<'_>,
    transfer: &Transfer,
    at: Option<OffsetDateTime>,
) -> Result<Outcome, Cause> {
    let (instruction, id) = (single(call)?, transfer.id());
    let Money { minor: paid, currency } = instruction.amount;
    let waits = Ok(Outcome::Accepted(Reference(id.clone())));
    let Some(balance) = site.settings.balances.get(currency.code()) else {
        tracing::warn!(
            rail = RAIL,
            transfer = id,
            "it was refunded, and the account's settings name no balance to see how much"
        );
        return waits;
    };
    let since = transfer.since().or(call.expires_at.checked_sub(Duration::DAY)).unwrap_or(call.expires_at);
    let lines = lines_of(site, call, &id, currency, *balance, since, at).await?;
    let back = lines.into_iter().filter(|minor| *minor > 0).try_fold(0_i64, i64::checked_add);
    let back = back.ok_or(Cause::Contradictory("a refund beyond all numbers"))?;
    match back {
        ..=0 => waits,
        // Fees that were given back too are the payer's.
        back if back >= paid => Ok(Outcome::Returned(Reference(id))),
        minor => Ok(Outcome::ReturnedPart(Reference(id), Money { minor, currency })),
    }
}

/// What became of a transfer that is cancelled: whether money was ever in it the transfer does not say, its balance
/// does. Where there was none and none can come any more, nobody was paid, and nothing will come back; as long as
/// that is not known, it is waited for.
///
/// `at` is Wise's clock, as it told the transfer.
pub(super) async fn cancelled(
    site: &Site,
    call: &Call<'_>,
    transfer: &Transfer,
    at: Option<OffsetDateTime>,
) -> Result<Outcome, Cause> {
    let (instruction, id) = (single(call)?, transfer.id());
    let currency = instruction.amount.currency;
    let waits = Ok(Outcome::Accepted(Reference(id.clone())));
    // Of the last request that could have funded it the statement tells an hour later. Where each has had its answer
    // nobody says when that was: it was made, whatever zone that is told in, at most two days after `since`.
    let funded_until = match call.expires_at > OffsetDateTime::UNIX_EPOCH {
        true => Some(call.expires_at),
        false => transfer.since().map(|since| since + 2 * Duration::DAY),
    };
    let is_told = at.zip(funded_until).is_some_and(|(at, until)| at >= until + declared(RAIL).statement_lag);
    let (true, Some(balance)) = (is_told, site.settings.balances.get(currency.code())) else { return waits };
    let since = transfer.since().or(call.expires_at.checked_sub(LOOKS_BACK)).unwrap_or(call.expires_at);
    match lines_of(site, call, &id, currency, *balance, since, at).await?.is_empty() {
        true => Ok(Outcome::Refused(RefusalCode::new("cancelled"))),
        false => waits,
    }
}

/// What a balance says of a transfer since then: its debits, below 0, and what came back of them, in minor units.
async fn lines_of(
    site: &Site,
    call: &Call<'_>,
    id: &str,
    currency: Currency,
    balance: u64,
    since: OffsetDateTime,
    at: Option<OffsetDateTime>,
) -> Result<Vec<i64>, Cause> {
    let name = format!("{PREFIX}{id}");
    let now = OffsetDateTime::now_utc();
    let end = at.map_or(now, |at| at.max(now));
    // Nothing comes later than a year after; the windows end, whatever `since` was.
    let (mut since, mut lines) = (since.max(end - Duration::days(400)), Vec::new());
    while since < end {
        let until = (since + WINDOW).min(end);
        let seconds = |at: OffsetDateTime| at.replace_nanosecond(0).unwrap_or(at);
        let reply = ask(site, call.account, currency.code(), balance, seconds(since), seconds(until), false).await?;
        if reply.status != 200 {
            return Err(no_answer(&reply));
        }
        let statement: Statement = read(&reply.body)?;
        // The end of a window is the beginning of the next: each line counts once.
        let here = |line: &&Transaction| line.date >= seconds(since) && (line.date < seconds(until) || until == end);
        for line in statement.transactions.iter().filter(|line| line.reference_number == name).filter(here) {
            let minor = minor_of(line.amount.value.get(), currency).filter(|_| line.amount.currency == currency.code());
            lines.push(minor.ok_or(Cause::Contradictory("an amount of a transfer that there is not"))?);
        }
        since = until;
    }
    Ok(lines)
}
