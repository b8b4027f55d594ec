//! Wise: a payment is a quote, a transfer made from it, and its funding, which alone moves money. All three are one
//! submission; what fails before the funding has paid nothing. A transfer that waits for a person (strong customer
//! authentication) is accepted and says so each time that it is followed; it is never a success.
//!
//! Recipients are made beforehand ([`Wise::recipient_make`]); their numbers are destinations like any other and are
//! kept with the affiliate, not here. Each payout is paid from the balance of its own currency.

mod ask;
pub(crate) mod fund;
mod group;
mod recipient;
pub(crate) mod statement;
pub(crate) mod transfer;

use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;
use payfleet_domain::{Outcome, Rail, Reference, RefusalCode, rail_decimals};
use reqwest::RequestBuilder;
use serde::Deserialize;
use time::OffsetDateTime;

pub(crate) use ask::{listed, told};
pub use group::Group;
pub use recipient::{Recipient, RecipientMade};

use crate::accounts::{Place, WiseAccount};
use crate::cause::Cause;
use crate::checks::{read, single, unanswered, unfound};
use crate::decimal::decimal_text;
use crate::registry::{RegistryError, declared};
use crate::transport::{Budget, Reply, Transport, json};
use crate::{Account, Adapter, Answer, Call, Finding, Instruction, StatementError, StatementStream};
use transfer::{State, Transfer};

pub(crate) const RAIL: &str = "wise";
/// The adapter.
pub struct Wise {
    rail: &'static Rail,
    sites: HashMap<String, Site>,
}

/// One profile.
struct Site {
    settings: WiseAccount,
    transport: Transport,
    profile: String,
}

#[derive(Deserialize)]
struct Quote {
    id: uuid::Uuid,
}

#[derive(Deserialize)]
struct ErrorBody {
    #[serde(default)]
    errors: Vec<ErrorDetail>,
    error: Option<String>,
}

#[derive(Deserialize)]
struct ErrorDetail {
    code: Option<String>,
    path: Option<String>,
}

impl Wise {
    pub(crate) fn new<'a>(
        accounts: impl Iterator<Item = &'a WiseAccount>,
        call_timeout: Duration,
        is_live_allowed: bool,
    ) -> Result<Option<Wise>, RegistryError> {
        let rail = declared(RAIL);
        let mut sites = HashMap::new();
        for settings in accounts {
            let WiseAccount { name, base_url, live, profile, .. } = settings;
            let place = Place { rail: RAIL, name, base_url, live: *live, key_decides: false };
            let transport = place.transport(call_timeout, is_live_allowed)?.of(rail).saying(4 * 1024);
            let site = Site { settings: settings.clone(), transport, profile: profile.to_string() };
            if sites.insert(name.clone(), site).is_some() {
                return Err(place.wrong("there are two accounts of this name"));
            }
        }
        Ok((!sites.is_empty()).then_some(Wise { rail, sites }))
    }

    fn site(&self, account: &Account) -> Result<&Site, Cause> {
        self.sites
            .get(&account.name)
            .ok_or(Cause::Unfit("the account is not among the funding accounts of this process"))
    }

    async fn pay(&self, call: &Call<'_>) -> Result<Outcome, Cause> {
        let (site, instruction) = (self.site(call.account)?, single(call)?);
        let budget = site.transport.budget();
        // Nothing is paid by a quote or a transfer: whatever becomes of them, this request did not pay.
        let transfer = site.prepare(call, instruction, &["v1", "transfers"], budget).await.map_err(not_begun)?;
        match transfer.state() {
            // The steps before may have taken seconds, and a stop is kept within one.
            State::Waiting if !call.going.is_on() => Err(Cause::NotBegun("it was stopped before it was funded")),
            State::Waiting => fund::fund(site, call, &transfer, budget).await,
            // An earlier request has funded it.
            _ => transfer.outcome(),
        }
    }

    /// The transfer of this number, with the rail's clock.
    async fn by_number(
        &self,
        site: &Site,
        call: &Call<'_>,
        id: &Reference,
        budget: Budget,
    ) -> Result<(Transfer, Option<OffsetDateTime>), Cause> {
        if id.0.is_empty() || !id.0.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(Cause::Unfit("the reference is no number of a transfer"));
        }
        let request = budget.left(site.transport.get(&["v1", "transfers", &id.0]))?;
        let reply = site.transport.send(site.asked(request, call.account)?, call).await?;
        Ok((numbered(&reply, id)?, reply.at))
    }

    /// Cancels the transfer of the call's one instruction, which Wise has told the number of: what nobody has funded,
    /// or has funded and is not converted yet. Money that was in it comes back later, and is waited for.
    pub async fn cancel(&self, call: &Call<'_>) -> Finding {
        let cancel = async {
            let (site, instruction) = (self.site(call.account)?, single(call)?);
            let id = instruction.reference.as_ref().ok_or(Cause::Unfit("a transfer without a number"))?;
            let (transfer, _) = self.by_number(site, call, id, site.transport.budget()).await?;
            transfer.check(instruction, recipient_of(instruction)?)?;
            let canceled = fund::cancel(site, call, &transfer, site.transport.budget()).await?;
            canceled.check(instruction, recipient_of(instruction)?)?;
            canceled.outcome().map(Finding::Known)
        };
        cancel.await.unwrap_or_else(|cause: Cause| {
            cause.report(RAIL, call);
            Finding::Unanswered
        })
    }

    /// Funds the transfer of the call's one instruction, which was made and waits: for after a person has
    /// authenticated. It pays, so it needs what a submission needs.
    pub async fn fund(&self, call: &Call<'_>) -> Answer {
        let fund = async {
            let (site, instruction) = (self.site(call.account)?, single(call)?);
            let budget = site.transport.budget();
            let id = instruction.reference.as_ref().ok_or(Cause::Unfit("a transfer without a number"))?;
            let read = self
                .by_number(site, call, id, budget)
                .await
                .and_then(|(transfer, _)| transfer.check(instruction, recipient_of(instruction)?).map(|()| transfer));
            let transfer = read.map_err(|cause| Cause::NotBegun(cause.reason()))?;
            match transfer.state() {
                State::Waiting => fund::fund(site, call, &transfer, budget).await,
                _ => transfer.outcome(),
            }
        };
        match fund.await {
            Ok(outcome) => Answer::Each(vec![outcome]),
            Err(cause) => unanswered(&cause, RAIL, call),
        }
    }
}

/// The quote that was made.
pub(crate) fn quoted(reply: &Reply) -> Result<String, Cause> {
    match reply.status {
        200 => Ok(read::<Quote>(&reply.body)?.id.to_string()),
        _ => Err(before_funding(reply)),
    }
}

/// The transfer that was made of it, or before under the same UUID.
pub(crate) fn made(reply: &Reply, asked: &Instruction, recipient: u64) -> Result<Transfer, Cause> {
    // The digest of a third party has 201 too.
    if !matches!(reply.status, 200 | 201) {
        return Err(before_funding(reply));
    }
    let transfer: Transfer = read(&reply.body)?;
    // Another one under the UUID: whoever made it may have paid it.
    transfer.check(asked, recipient).map_err(|_| Cause::KeyReused)?;
    Ok(transfer)
}

/// The transfer of this number.
pub(crate) fn numbered(reply: &Reply, id: &Reference) -> Result<Transfer, Cause> {
    if reply.status != 200 {
        return Err(no_answer(reply));
    }
    let transfer: Transfer = read(&reply.body)?;
    match transfer.id() == id.0 {
        true => Ok(transfer),
        false => Err(Cause::Contradictory("the answer is about another transfer")),
    }
}

/// What failed before the step that moves money: whatever it is, this request did not pay.
pub(crate) fn not_begun(cause: Cause) -> Cause {
    match cause {
        Cause::Refused(_)
        | Cause::Stopped(_)
        | Cause::KeyReused
        | Cause::Unauthorised
        | Cause::RateLimited
        | Cause::Unfit(_) => cause,
        cause => Cause::NotBegun(cause.reason()),
    }
}

/// The number of a recipient. One that is a UUID is not taken by transfers.
pub(crate) fn recipient_of(instruction: &Instruction) -> Result<u64, Cause> {
    let number = instruction.destination.parse().ok().filter(|number| *number > 0);
    number.ok_or(Cause::Unfit("a destination that is no number of a recipient"))
}

/// What an answer says that came before anything could be paid. Wise, "Errors": a list, of which the code alone says
/// too little.
fn before_funding(reply: &Reply) -> Cause {
    let body = json::<ErrorBody>(&reply.body);
    let named = body.as_ref().and_then(|body| body.errors.first());
    match (reply.status, named) {
        (401 | 403, _) if is_documented_error(reply) => Cause::Unauthorised,
        // Somebody else may have said it.
        (401 | 403, _) => Cause::Undocumented(reply.status),
        // The next request makes a quote of its own.
        (_, Some(ErrorDetail { path: Some(path), .. })) if path == "quoteUuid" => Cause::Undocumented(reply.status),
        (400 | 404 | 422, Some(ErrorDetail { code: Some(code), path })) if !code.is_empty() => {
            let text = match path.as_deref().filter(|path| !path.is_empty()) {
                Some("targetAccount") => format!("target_account_{code}"),
                Some(path) => format!("{path}_{code}"),
                None => code.clone(),
            };
            Cause::Refused(RefusalCode::new(&text))
        }
        _ => no_answer(reply),
    }
}

/// What an answer says that is none to a question.
fn no_answer(reply: &Reply) -> Cause {
    match reply.status {
        500..=599 => Cause::ServerError(reply.status),
        401 => Cause::Unauthorised,
        // Wise, "Rate limits": these headers are with it.
        429 if reply.header("retry-after").is_some() || reply.header("x-rate-limited-by").is_some() => {
            Cause::RateLimited
        }
        status => Cause::Undocumented(status),
    }
}

/// Whether a body is an error as Wise writes it.
fn is_documented_error(reply: &Reply) -> bool {
    let body = json::<ErrorBody>(&reply.body);
    body.is_some_and(|body| !body.errors.is_empty() || body.error.is_some_and(|error| !error.is_empty()))
}

impl Site {
    fn asked(&self, request: RequestBuilder, account: &Account) -> Result<RequestBuilder, Cause> {
        let Some(credential) = &account.credential else { return Err(Cause::Unfit("the account has no credential")) };
        Ok(request.bearer_auth(credential.expose()))
    }

    async fn post(&self, account: &Account, path: &[&str], body: String, budget: Budget) -> Result<Reply, Cause> {
        let request = budget.left(self.transport.post(path))?;
        let request = self.asked(request, account)?.header("Content-Type", "application/json").body(body);
        self.transport.exchange(request, 1).await
    }

    /// A quote, and the transfer under the payout's own UUID, made here; if that exists already, the one that there is.
    /// (Wise, "Create a transfer", `customerTransactionId`; one transfer a quote.)
    async fn prepare(
        &self,
        call: &Call<'_>,
        instruction: &Instruction,
        transfers: &[&str],
        budget: Budget,
    ) -> Result<Transfer, Cause> {
        let amounts = self.settings.limits.amounts(RAIL, call)?;
        let amount = amounts.first().ok_or(Cause::Unfit("a call without an amount was not sent"))?;
        let recipient = recipient_of(instruction)?;
        let currency = instruction.amount.currency;
        // Written from whole numbers, never from floats.
        let amount = decimal_text(*amount, rail_decimals(RAIL, currency));
        let code = currency.code();
        let currencies = format!(r#""sourceCurrency":"{code}","targetCurrency":"{code}""#);
        let quote = format!(r#"{{{currencies},"targetAmount":{amount},"targetAccount":{recipient}}}"#);
        let path = [self.settings.api_version.as_str(), "profiles", &self.profile, "quotes"];
        let reply = self.post(call.account, &path, quote, budget).await?;
        let body = self.transfer_body(instruction, recipient, &quoted(&reply)?);
        made(&self.post(call.account, transfers, body, budget).await?, instruction, recipient)
    }

    fn transfer_body(&self, instruction: &Instruction, recipient: u64, quote: &str) -> String {
        let mut details = serde_json::Map::new();
        if self.settings.key_as_reference {
            details.insert("reference".to_owned(), instruction.key.as_str().into());
        } else if let Some(text) = &instruction.payee.text {
            details.insert("reference".to_owned(), text.as_str().into());
        }
        let key = instruction.key.uuid().to_string();
        serde_json::json!({
            "targetAccount": recipient,
            "quoteUuid": quote,
            "customerTransactionId": key,
            "details": details,
        })
        .to_string()
    }
}

#[async_trait]
impl Adapter for Wise {
    fn rail(&self) -> &'static Rail {
        self.rail
    }

    async fn submit(&self, call: &Call<'_>) -> Answer {
        match self.pay(call).await {
            Ok(outcome) => Answer::Each(vec![outcome]),
            Err(cause) => unanswered(&cause, RAIL, call),
        }
    }

    fn looks_up_together(&self) -> bool {
        true
    }

    async fn look_up(&self, call: &Call<'_>) -> Vec<Finding> {
        ask::look_up(self, call).await
    }

    async fn follow(&self, call: &Call<'_>) -> Vec<Finding> {
        match ask::follow(self, call).await {
            Ok(finding) => vec![finding],
            Err(cause) => unfound(&cause, RAIL, call),
        }
    }

    async fn statement(&self, account: &Account, from: OffsetDateTime) -> Result<StatementStream, StatementError> {
        statement::open(self, account, from).await
    }
}
