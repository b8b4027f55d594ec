//! Stripe Connect: one transfer a payout, from the platform's balance to the payee's connected account. A transfer
//! moves money at once and has no pending state; the payout from there to the payee's bank is Stripe's or the payee's
//! affair ([`Stripe::bank_payouts`] shows it).

mod bank;
pub(crate) mod statement;
pub(crate) mod transfer;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use payfleet_domain::{Outcome, Rail};
use reqwest::RequestBuilder;
use time::OffsetDateTime;

pub use bank::{BankPayout, BankPayoutState};

use crate::accounts::{Place, StripeAccount};
use crate::cause::Cause;
use crate::checks::{single, unanswered, unfound};
use crate::registry::{RegistryError, declared};
use crate::transport::{Transport, form};
use crate::{Account, Adapter, Answer, Call, Finding, StatementError, StatementStream};

pub(crate) const RAIL: &str = "stripe";

/// The adapter.
pub struct Stripe {
    rail: &'static Rail,
    sites: HashMap<String, Site>,
}

/// One platform account.
#[derive(Clone)]
struct Site {
    settings: StripeAccount,
    transport: Transport,
    is_rails_own: bool,
    spent: Spent,
}

/// More keys than a payout can have had refused in the day that Stripe remembers them: an account that has no money is
/// tried again every five minutes.
const KEYS_MAX: u32 = 400;

/// Which keys of a payout Stripe has stored a refusal under, as it told this process: only so that it need not be asked
/// again for each of them. Whoever does not know begins with the first, and is told.
#[derive(Clone, Default)]
struct Spent(Arc<Mutex<HashMap<String, u32>>>);

impl Spent {
    /// So many are remembered; then it is begun anew.
    const MOST: usize = 10_000;

    /// The first one that may be used.
    fn of(&self, key: &str) -> u32 {
        self.lock().get(key).copied().unwrap_or(1)
    }

    fn know(&self, key: &str, first_unspent: u32) {
        let mut known = self.lock();
        if known.len() >= Spent::MOST {
            known.clear();
        }
        known.insert(key.to_owned(), first_unspent);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, u32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner) // each change is one operation
    }
}

impl Stripe {
    pub(crate) fn new<'a>(
        accounts: impl Iterator<Item = &'a StripeAccount>,
        call_timeout: Duration,
        is_live_allowed: bool,
    ) -> Result<Option<Stripe>, RegistryError> {
        let rail = declared(RAIL);
        let mut sites = HashMap::new();
        for settings in accounts {
            let StripeAccount { name, base_url, live, .. } = settings;
            // Stripe has one host for tests and for money: the key says which it is, at each call.
            let place = Place { rail: RAIL, name, base_url, live: *live, key_decides: true };
            let transport = place.transport(call_timeout, is_live_allowed)?.of(rail).saying(4 * 1024);
            let (settings, is_rails_own) = (settings.clone(), place.is_rails_own());
            let site = Site { settings, transport, is_rails_own, spent: Spent::default() };
            if sites.insert(name.clone(), site).is_some() {
                return Err(place.wrong("there are two accounts of this name"));
            }
        }
        Ok((!sites.is_empty()).then_some(Stripe { rail, sites }))
    }

    fn site(&self, account: &Account) -> Result<&Site, Cause> {
        self.sites
            .get(&account.name)
            .ok_or(Cause::Unfit("the account is not among the funding accounts of this process"))
    }

    async fn pay(&self, call: &Call<'_>) -> Result<Outcome, Cause> {
        let (site, instruction) = (self.site(call.account)?, single(call)?);
        let amounts = site.settings.limits.amounts(RAIL, call)?;
        let amount = amounts.first().ok_or(Cause::Unfit("a call without an amount was not sent"))?.to_string();
        let currency = instruction.amount.currency.code().to_ascii_lowercase();
        let key = instruction.key.as_str();
        // The form of a repeated request must be the same, letter by letter: its fields are in this order for ever.
        let mut fields = vec![
            ("amount", amount.as_str()),
            ("currency", &currency),
            ("destination", &instruction.destination),
            ("transfer_group", key),
            ("metadata[payout]", key),
        ];
        fields.extend(instruction.payee.text.as_deref().map(|text| ("description", text)));
        fields.extend(site.settings.source_type.as_deref().map(|part| ("source_type", part)));
        let (body, budget) = (form(fields), site.transport.budget());
        let mut nth = site.spent.of(key);
        loop {
            // Of the first one, that no time is left for it is impossible; of the others it says what the first did.
            let request = budget.left(site.transport.post(&["v1", "transfers"])).map_err(|_| Cause::StoppedBefore)?;
            let request = site
                .asked(request, call.account)?
                .header("Idempotency-Key", nth_key(key, nth))
                .header("Content-Type", "application/x-www-form-urlencoded")
                .body(body.clone());
            let said = transfer::paid(call, &site.settings, &site.transport.send(request, call).await?);
            match said {
                // Nothing was executed under this key, and for a day nothing will be: with that proof, and no other,
                // the payout gets another one.
                Err(Cause::StoppedBefore) if nth < KEYS_MAX && call.going.is_on() => {
                    nth += 1;
                    site.spent.know(key, nth);
                }
                said => return said,
            }
        }
    }

    async fn ask(&self, call: &Call<'_>) -> Result<Finding, Cause> {
        let (site, instruction) = (self.site(call.account)?, single(call)?);
        let query = [("transfer_group", instruction.key.as_str()), ("limit", "100")];
        let request = site.asked(site.transport.get_query(&["v1", "transfers"], &query), call.account)?;
        transfer::found(call, &site.settings, &site.transport.exchange(request, 100).await?)
    }
}

/// A payout's idempotency key: the first is its own. (Its transfer is found by that in `transfer_group`, whatever key
/// it was made under.)
fn nth_key(key: &str, nth: u32) -> String {
    match nth {
        1 => key.to_owned(),
        nth => format!("{key}-{nth}"),
    }
}

impl Site {
    /// Who asks, in which version of the API. A key that goes with the other kind of account is not shown.
    fn asked(&self, request: RequestBuilder, account: &Account) -> Result<RequestBuilder, Cause> {
        let Some(credential) = &account.credential else {
            return Err(Cause::Unfit("the account has no credential"));
        };
        let is_test = ["sk_test_", "rk_test_"].iter().any(|kind| credential.expose().starts_with(kind));
        match (self.is_rails_own, self.settings.live, is_test) {
            (true, false, false) => Err(Cause::Unfit("its key pays real money, and the account is not live")),
            (_, true, true) => Err(Cause::Unfit("its key is one for tests, and the account is live")),
            _ => Ok(request.bearer_auth(credential.expose()).header("Stripe-Version", &self.settings.api_version)),
        }
    }
}

#[async_trait]
impl Adapter for Stripe {
    fn rail(&self) -> &'static Rail {
        self.rail
    }

    async fn submit(&self, call: &Call<'_>) -> Answer {
        match self.pay(call).await {
            Ok(outcome) => Answer::Each(vec![outcome]),
            Err(cause) => unanswered(&cause, RAIL, call),
        }
    }

    async fn look_up(&self, call: &Call<'_>) -> Vec<Finding> {
        match self.ask(call).await {
            Ok(finding) => vec![finding],
            Err(cause) => unfound(&cause, RAIL, call),
        }
    }

    async fn follow(&self, call: &Call<'_>) -> Vec<Finding> {
        self.look_up(call).await
    }

    async fn statement(&self, account: &Account, from: OffsetDateTime) -> Result<StatementStream, StatementError> {
        statement::open(self, account, from).await
    }
}
