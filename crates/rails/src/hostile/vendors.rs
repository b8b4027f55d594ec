//! The same of the vendors' dialects: each answer by itself, with honest ones around it.

use std::sync::LazyLock;

use payfleet_domain::{Outcome, Reference, StatementLine};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use time::OffsetDateTime;

use crate::accounts::StripeAccount;
use crate::cause::Cause;
use crate::checks::{single, unanswered, unfound};
use crate::pages::NoPage;
use crate::paypal::batch::{Batch, Pages};
use crate::paypal::create::{Created, created};
use crate::transport::Reply;
use crate::wise::fund::{Funding, cancelled, rejected};
use crate::wise::transfer::{State, Transfer};
use crate::{Accounts, Answer, Call, Finding, FundingAccount, paypal, stripe, wise};

/// An answer as it came.
#[derive(Debug, Clone, Copy)]
pub struct Said<'a> {
    /// The HTTP status.
    pub status: u16,
    /// The rail's clock.
    pub at: Option<OffsetDateTime>,
    /// What counts of its headers.
    pub headers: &'a [(&'static str, &'static str)],
    /// The whole body.
    pub body: &'a [u8],
}

impl Said<'_> {
    fn reply(&self) -> Reply {
        let headers: HeaderMap = self
            .headers
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect();
        Reply { status: self.status, at: self.at, headers, body: self.body.to_owned() }
    }
}

fn answer(rail: &'static str, call: &Call<'_>, told: Result<Outcome, Cause>) -> Answer {
    match told {
        Ok(outcome) => Answer::Each(vec![outcome; call.instructions.len()]),
        Err(cause) => unanswered(&cause, rail, call),
    }
}

fn finding(rail: &'static str, call: &Call<'_>, told: Result<Finding, Cause>) -> Vec<Finding> {
    told.map_or_else(|cause| unfound(&cause, rail, call), |finding| vec![finding])
}

/// What PayPal's answer to a batch says; of a batch that was made before, when it cannot be read yet.
pub fn paypal_created(call: &Call<'_>, said: Said<'_>) -> Answer {
    let told = created(call, &said.reply(), true);
    answer(paypal::RAIL, call, told.map(|(Created::Now(id) | Created::Before(id))| Outcome::Accepted(id)))
}

fn paypal_batch(id: &Reference, said: &[Said<'_>]) -> Result<Batch, Cause> {
    let mut pages = Pages::of(id);
    for page in said {
        pages.take(&page.reply())?;
    }
    match pages.wanted() {
        None => pages.whole(),
        Some(_) => Err(Cause::Broken),
    }
}

/// What the pages of a batch that was accepted under this name say.
pub fn paypal_followed(call: &Call<'_>, id: &Reference, said: &[Said<'_>]) -> Vec<Finding> {
    match paypal_batch(id, said).and_then(|batch| batch.findings(call, id)) {
        Ok(found) => found.into_iter().map(|found| found.unwrap_or(Finding::Unanswered)).collect(),
        Err(cause) => unfound(&cause, paypal::RAIL, call),
    }
}

/// Whether they say that the batch is the one that was sent.
pub fn paypal_is_what_was_sent(call: &Call<'_>, id: &Reference, said: &[Said<'_>]) -> bool {
    paypal_batch(id, said).and_then(|batch| batch.is_what_was_sent(call)).is_ok()
}

static STRIPE: LazyLock<StripeAccount> = LazyLock::new(|| {
    let text = "[[account]]\nrail = \"stripe\"\nname = \"main\"\nbase_url = \"http://127.0.0.1\"";
    match Accounts::from_toml(text).map(|mut accounts| accounts.accounts.remove(0)) {
        Ok(FundingAccount::Stripe(one)) => one,
        other => panic!("the text above is an account at Stripe: {other:?}"),
    }
});

/// What Stripe's answer to a transfer says.
pub fn stripe_paid(call: &Call<'_>, said: Said<'_>) -> Answer {
    answer(stripe::RAIL, call, stripe::transfer::paid(call, &STRIPE, &said.reply()))
}

/// What Stripe's list of transfers says.
pub fn stripe_found(call: &Call<'_>, said: Said<'_>) -> Vec<Finding> {
    finding(stripe::RAIL, call, stripe::transfer::found(call, &STRIPE, &said.reply()))
}

/// The answers to the four steps of a payment at Wise.
pub struct WiseSteps<'a> {
    /// To the quote,
    pub quote: Said<'a>,
    /// to the transfer,
    pub transfer: Said<'a>,
    /// to its funding,
    pub funding: Said<'a>,
    /// and to its cancelling, where the funding was rejected.
    pub cancelling: Said<'a>,
}

/// What they say.
pub fn wise_submitted(call: &Call<'_>, said: &WiseSteps<'_>) -> Answer {
    answer(wise::RAIL, call, wise_outcome(call, said))
}

fn wise_outcome(call: &Call<'_>, said: &WiseSteps<'_>) -> Result<Outcome, Cause> {
    let instruction = single(call)?;
    let recipient = wise::recipient_of(instruction)?;
    wise::quoted(&said.quote.reply()).map_err(wise::not_begun)?;
    let transfer = wise::made(&said.transfer.reply(), instruction, recipient).map_err(wise::not_begun)?;
    if transfer.state() != State::Waiting {
        return transfer.outcome();
    }
    match Funding::of(&said.funding.reply())? {
        Funding::Completed | Funding::WaitsForAPerson => Ok(Outcome::Accepted(Reference(transfer.id()))),
        Funding::Stopped(reason) => Err(Cause::Stopped(reason)),
        Funding::Rejected(code) => Err(rejected(code, &transfer, &cancelled(&said.cancelling.reply())?)),
    }
}

/// What Wise says of a transfer: of the one with this number, or of all where there is none.
pub fn wise_found(call: &Call<'_>, said: Said<'_>, is_follow: bool) -> Vec<Finding> {
    let told = || {
        let (instruction, reply) = (single(call)?, said.reply());
        let found: Option<Transfer> = match &instruction.reference {
            Some(id) => Some(wise::numbered(&reply, id)?),
            None => {
                let (transfers, is_last) = wise::listed(&reply)?;
                match transfers.into_iter().find(|one| one.is_of(instruction)) {
                    None if !is_last => return Ok(Finding::Unanswered),
                    found => found,
                }
            }
        };
        let Some(transfer) = found else { return Err(Cause::NotFound { at: said.at }.by_the_rails_clock(call)) };
        transfer.check(instruction, wise::recipient_of(instruction)?)?;
        wise::told(call, &transfer, said.at, is_follow)
    };
    finding(wise::RAIL, call, told())
}

/// The lines of a page of a statement; of Wise in euros. `Err` with the number of the row that cannot be read, if it is
/// one row.
pub fn statement_page(rail: &str, body: &[u8]) -> Result<Vec<StatementLine>, Option<usize>> {
    let read = match rail {
        paypal::RAIL => paypal::statement::page(body),
        stripe::RAIL => stripe::statement::page(body),
        _ => wise::statement::page(body, "EUR"),
    };
    read.map_err(|no| match no {
        NoPage::Line(at, _) => Some(at),
        NoPage::Cause(_) | NoPage::Status(_) => None,
    })
}
