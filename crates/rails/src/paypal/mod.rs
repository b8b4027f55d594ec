//! PayPal Payouts: a batch is one request under its `sender_batch_id`, paid item by item later. It can be followed by
//! PayPal's own `payout_batch_id` only; the same request again brings that id, as an answer of its own kind.

pub(crate) mod batch;
pub(crate) mod create;
pub(crate) mod statement;

use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;
use payfleet_domain::{Outcome, Rail, Reference};
use reqwest::RequestBuilder;
use serde::Deserialize;
use time::OffsetDateTime;

use crate::accounts::{PaypalAccount, Place};
use crate::cause::Cause;
use crate::checks::{read, single, unanswered, unfound};
use crate::oauth::{Issued, Token, Tokens};
use crate::registry::{RegistryError, declared};
use crate::transport::{Budget, Reply, Transport, json};
use crate::{Account, Adapter, Answer, Call, Finding, StatementError, StatementStream};
use batch::Batch;
use create::Created;

pub(crate) const RAIL: &str = "paypal";
/// PayPal repeats each item with its links: about 1,200 bytes, and a note of at most 1,000 letters.
const ITEM_BYTES: usize = 4 * 1024;

/// The adapter.
pub struct Paypal {
    rail: &'static Rail,
    sites: HashMap<String, Site>,
}

/// One account.
struct Site {
    settings: PaypalAccount,
    transport: Transport,
    tokens: Tokens,
}

#[derive(Deserialize)]
struct Issue {
    access_token: String,
    token_type: String,
    expires_in: u64,
}

#[derive(Deserialize)]
struct NoIssue {
    error: String,
}

impl Paypal {
    pub(crate) fn new<'a>(
        accounts: impl Iterator<Item = &'a PaypalAccount>,
        call_timeout: Duration,
        is_live_allowed: bool,
    ) -> Result<Option<Paypal>, RegistryError> {
        let rail = declared(RAIL);
        let mut sites = HashMap::new();
        for settings in accounts {
            let PaypalAccount { name, base_url, live, .. } = settings;
            let place = Place { rail: RAIL, name, base_url, live: *live, key_decides: false };
            // PayPal, Payouts API: `email_subject` 255 single-byte characters, `email_message` 1,000.
            if settings.email_subject.as_ref().is_some_and(|text| !text.is_ascii() || text.len() > 255) {
                return Err(place.wrong("email_subject has more than 255 characters, or others than ASCII"));
            }
            if settings.email_message.as_ref().is_some_and(|text| text.chars().count() > 1_000) {
                return Err(place.wrong("email_message has more than 1,000 characters"));
            }
            let wallets = ["PAYPAL", "VENMO", "RECIPIENT_SELECTED"];
            if settings.recipient_wallet.as_deref().is_some_and(|wallet| !wallets.contains(&wallet)) {
                return Err(place.wrong("recipient_wallet is none of PAYPAL, VENMO and RECIPIENT_SELECTED"));
            }
            let transport = place.transport(call_timeout, is_live_allowed)?.telling_of(rail).saying(ITEM_BYTES);
            let site = Site { settings: settings.clone(), transport, tokens: Tokens::default() };
            if sites.insert(name.clone(), site).is_some() {
                return Err(place.wrong("there are two accounts of this name"));
            }
        }
        Ok((!sites.is_empty()).then_some(Paypal { rail, sites }))
    }

    fn site(&self, account: &Account) -> Result<&Site, Cause> {
        self.sites
            .get(&account.name)
            .ok_or(Cause::Unfit("the account is not among the funding accounts of this process"))
    }

    async fn pay(&self, call: &Call<'_>) -> Result<Vec<Outcome>, Cause> {
        let site = self.site(call.account)?;
        let body = create::body(call, &site.settings)?;
        let budget = site.transport.budget();
        let token = site.token(call.account, budget).await?;
        // No time for it means that it was not sent.
        let request = budget
            .left(site.transport.post(&["v1", "payments", "payouts"]))
            .map_err(|_| Cause::NoToken("the access token took the time of the call"))?;
        // So it may have, and been stopped meanwhile.
        if !call.going.is_on() {
            return Err(Cause::NotBegun("it was stopped before it was sent"));
        }
        let request = request.bearer_auth(token.expose()).header("Content-Type", "application/json").body(body);
        let reply = site.transport.send(request, call).await?;
        site.judge(call.account, &token, &reply).await;
        let id = match create::created(call, &reply, token.is_new)? {
            Created::Now(id) => id,
            Created::Before(id) => {
                // PayPal looks at the id alone: whether that batch is the one that was meant, nobody has asked.
                match self.batch(site, call, &id, budget).await {
                    Ok(found) => found.is_what_was_sent(call)?,
                    Err(cause) => tracing::warn!(
                        rail = RAIL,
                        account = call.account.name,
                        batch = %call.batch_key,
                        reason = cause.reason(),
                        "a batch that exists was adopted and could not be compared yet; following it compares it"
                    ),
                }
                id
            }
        };
        Ok(vec![Outcome::Accepted(id); call.instructions.len()])
    }

    /// The batch with PayPal's own name, all pages of it.
    async fn batch(&self, site: &Site, call: &Call<'_>, id: &Reference, budget: Budget) -> Result<Batch, Cause> {
        let mut pages = batch::Pages::of(id);
        while let Some(page) = pages.wanted() {
            let page = page.to_string();
            let query = [("page", page.as_str()), ("page_size", batch::PAGE_SIZE), ("total_required", "true")];
            let path = ["v1", "payments", "payouts", id.0.as_str()];
            let reply = site.get(call.account, budget, || site.transport.get_query(&path, &query)).await?;
            pages.take(&reply)?;
        }
        pages.whole()
    }

    /// What became of instructions that were accepted under these names.
    async fn news(&self, call: &Call<'_>) -> Result<Vec<Finding>, Cause> {
        let site = self.site(call.account)?;
        let mut findings = vec![Finding::Unanswered; call.instructions.len()];
        let mut ids: Vec<&Reference> = call.instructions.iter().filter_map(|one| one.reference.as_ref()).collect();
        ids.sort_unstable_by(|one, other| one.0.cmp(&other.0));
        ids.dedup();
        for id in ids {
            match self.batch(site, call, id, site.transport.budget()).await.and_then(|batch| batch.findings(call, id)) {
                Ok(found) => {
                    for (finding, found) in findings.iter_mut().zip(found) {
                        if let Some(found) = found {
                            *finding = found;
                        }
                    }
                }
                Err(cause) => cause.report(RAIL, call),
            }
        }
        Ok(findings)
    }

    /// Takes back a payment that nobody has claimed: the call holds its one instruction, with the reference under which
    /// it was accepted. Answers with what is known of it then; `Unanswered` says that nothing is known to have changed.
    /// (PayPal, Payouts API, "Cancel unclaimed payout item": only after its batch has finished.)
    pub async fn recall(&self, call: &Call<'_>) -> Finding {
        match self.take_back(call).await {
            Ok(finding) => finding,
            Err(cause) => {
                cause.report(RAIL, call);
                Finding::Unanswered
            }
        }
    }

    async fn take_back(&self, call: &Call<'_>) -> Result<Finding, Cause> {
        let (site, instruction) = (self.site(call.account)?, single(call)?);
        let id = instruction.reference.as_ref().ok_or(Cause::Unfit("what was not accepted cannot be taken back"))?;
        let batch = self.batch(site, call, id, site.transport.budget()).await?;
        let now = batch.findings(call, id)?.into_iter().next().flatten().unwrap_or(Finding::Unanswered);
        let Some(item) = batch.unclaimed(instruction) else { return Ok(now) };
        let budget = site.transport.budget();
        let token = site.token(call.account, budget).await?;
        let path = ["v1", "payments", "payouts-item", item, "cancel"];
        let request = budget.left(site.transport.post(&path))?;
        let request = request.bearer_auth(token.expose()).header("Content-Type", "application/json");
        let reply = site.transport.send(request, call).await?;
        site.judge(call.account, &token, &reply).await;
        if reply.status == 200 {
            return batch::item_of(&reply, instruction, item, id).map(Finding::Known);
        }
        create::cause_of(&reply, call, token.is_new).report(RAIL, call);
        // Too late, or done before: what it is now is asked again.
        let batch = self.batch(site, call, id, site.transport.budget()).await?;
        Ok(batch.findings(call, id)?.into_iter().next().flatten().unwrap_or(Finding::Unanswered))
    }
}

impl Site {
    /// An access token (PayPal, "Get an access token"). What fails before the request that pays has paid nothing.
    async fn token(&self, account: &Account, budget: Budget) -> Result<Token, Cause> {
        let Some(credential) = &account.credential else { return Err(Cause::Unfit("the account has no credential")) };
        let Some((client, secret)) = credential.expose().split_once(':') else {
            return Err(Cause::Unfit("the account's credential is not CLIENT_ID:SECRET"));
        };
        self.tokens
            .token(credential, || async move {
                let request = budget
                    .left(self.transport.post(&["v1", "oauth2", "token"]))?
                    .basic_auth(client, Some(secret))
                    .header("Content-Type", "application/x-www-form-urlencoded")
                    .body("grant_type=client_credentials");
                let reply = self.transport.exchange(request, 1).await?;
                if reply.status != 200 {
                    tracing::error!(rail = RAIL, account = account.name, status = reply.status, "no access token");
                    return Err(no_token(&reply));
                }
                let issue: Issue = read(&reply.body)?;
                let is_fit = !issue.access_token.is_empty()
                    && issue.access_token.bytes().all(|byte| byte.is_ascii_graphic())
                    && issue.token_type.eq_ignore_ascii_case("bearer");
                if !is_fit {
                    return Err(Cause::Unreadable);
                }
                Ok(Issued { text: issue.access_token, lives: Duration::from_secs(issue.expires_in) })
            })
            .await
    }

    /// A token that is not accepted is not shown again.
    async fn judge(&self, account: &Account, token: &Token, reply: &Reply) {
        if let (401, Some(credential)) = (reply.status, &account.credential) {
            self.tokens.refused(credential, token).await;
        }
    }

    /// Asks, and asks once more with a new token if the old one had expired. A question may be repeated.
    async fn get(
        &self,
        account: &Account,
        budget: Budget,
        request: impl Fn() -> RequestBuilder,
    ) -> Result<Reply, Cause> {
        let mut token = self.token(account, budget).await?;
        let mut reply = self.asked(&token, budget, &request).await?;
        self.judge(account, &token, &reply).await;
        if reply.status == 401 && !token.is_new {
            token = self.token(account, budget).await?;
            reply = self.asked(&token, budget, &request).await?;
            self.judge(account, &token, &reply).await;
        }
        Ok(reply)
    }

    async fn asked(&self, token: &Token, budget: Budget, request: impl Fn() -> RequestBuilder) -> Result<Reply, Cause> {
        // Written in its examples for questions too.
        let request = budget.left(request())?.bearer_auth(token.expose()).header("Content-Type", "application/json");
        self.transport.exchange(request, self.most_items()).await
    }

    fn most_items(&self) -> usize {
        declared(RAIL).payouts_per_batch as usize
    }
}

/// What an answer without a token says. RFC 6749, 5.2: `invalid_client` says that it does not know us, with 401 or 400.
fn no_token(reply: &Reply) -> Cause {
    let said = json::<NoIssue>(&reply.body).map(|body| body.error);
    match (reply.status, said.as_deref()) {
        (400 | 401, Some("invalid_client")) | (401 | 403, Some("unauthorized_client")) => Cause::Unauthorised,
        _ => Cause::NoToken("the rail gave no access token"),
    }
}

#[async_trait]
impl Adapter for Paypal {
    fn rail(&self) -> &'static Rail {
        self.rail
    }

    async fn submit(&self, call: &Call<'_>) -> Answer {
        match self.pay(call).await {
            Ok(outcomes) => Answer::Each(outcomes),
            Err(cause) => unanswered(&cause, RAIL, call),
        }
    }

    /// There is no lookup by our key. Where PayPal has told its own, that is asked; otherwise nothing is known, and the
    /// same request, which is safe for half the horizon, tells.
    async fn look_up(&self, call: &Call<'_>) -> Vec<Finding> {
        let mut findings = self.follow(call).await;
        for (finding, instruction) in findings.iter_mut().zip(call.instructions) {
            if instruction.reference.is_none() {
                *finding = Finding::NotYet;
            }
        }
        findings
    }

    async fn follow(&self, call: &Call<'_>) -> Vec<Finding> {
        match self.news(call).await {
            Ok(findings) => findings,
            Err(cause) => unfound(&cause, RAIL, call),
        }
    }

    async fn statement(&self, account: &Account, from: OffsetDateTime) -> Result<StatementStream, StatementError> {
        statement::open(self, account, from).await
    }
}
