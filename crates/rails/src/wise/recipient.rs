//! Recipients: made once for an affiliate and a bank account, and then known by their number, which is the destination
//! of payouts. Making one moves no money; it has no key, so a second one is harmless and litters.

use payfleet_domain::Currency;
use serde::Deserialize;

use super::{RAIL, Site, Wise};
use crate::cause::Cause;
use crate::checks::read;
use crate::{Account, StatementError};

/// Somebody who is to be paid. Which details a currency needs is asked with [`Wise::recipient_requirements`]. Never
/// printed.
#[derive(Clone)]
pub struct Recipient {
    /// What the account is in.
    pub currency: Currency,
    /// Wise's word for the kind of account: `iban`, `sort_code`, `aba`.
    pub kind: String,
    /// The holder's name, as the bank knows it.
    pub name: String,
    /// Everything else, by Wise's names: `legalType`, `IBAN`, `accountNumber`, an `address` as an object.
    pub details: serde_json::Map<String, serde_json::Value>,
}

impl std::fmt::Debug for Recipient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[redacted]")
    }
}

/// A recipient that Wise knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecipientMade {
    /// Its number: the destination of payouts.
    pub number: u64,
    /// What it is paid in.
    pub currency: String,
    /// Whether it can be paid.
    pub is_active: bool,
}

#[derive(Deserialize)]
struct Made {
    id: u64,
    currency: String,
    #[serde(default = "yes")]
    active: bool,
}

fn yes() -> bool {
    true
}

impl Wise {
    /// Makes a recipient. Whoever calls keeps its number, and asks for no second one.
    pub async fn recipient_make(&self, account: &Account, who: &Recipient) -> Result<RecipientMade, StatementError> {
        let failed = |cause: Cause| error(account, &cause);
        let site = self.site(account).map_err(failed)?;
        let body = serde_json::json!({
            "profile": site.settings.profile,
            "currency": who.currency.code(),
            "type": who.kind,
            "accountHolderName": who.name,
            "details": who.details,
        });
        let budget = site.transport.budget();
        let reply = site.post(account, &["v1", "accounts"], body.to_string(), budget).await.map_err(failed)?;
        match reply.status {
            200 | 201 => read::<Made>(&reply.body).map(RecipientMade::from).map_err(failed),
            // Which field is wrong is Wise's text, and may quote it.
            status => Err(StatementError::Denied { rail: RAIL, account: account.name.clone(), status }),
        }
    }

    /// Asks for a recipient by its number, so that one that is inactive or in another currency is found before a run.
    pub async fn recipient_read(&self, account: &Account, number: u64) -> Result<RecipientMade, StatementError> {
        let site = self.site(account).map_err(|cause| error(account, &cause))?;
        let reply = site.read_one(account, &["v2", "accounts", &number.to_string()]).await?;
        read::<Made>(&reply).map(RecipientMade::from).map_err(|cause| error(account, &cause))
    }

    /// What Wise wants to know of recipients in this currency, as it says it: a form that depends on the route. Makes a
    /// quote, which pays nobody.
    pub async fn recipient_requirements(
        &self,
        account: &Account,
        currency: Currency,
    ) -> Result<serde_json::Value, StatementError> {
        let failed = |cause: Cause| error(account, &cause);
        let site = self.site(account).map_err(failed)?;
        let code = currency.code();
        let body = format!(r#"{{"sourceCurrency":"{code}","targetCurrency":"{code}","targetAmount":100}}"#);
        let path = [site.settings.api_version.as_str(), "profiles", &site.profile, "quotes"];
        let reply = site.post(account, &path, body, site.transport.budget()).await.map_err(failed)?;
        if reply.status != 200 {
            return Err(StatementError::Denied { rail: RAIL, account: account.name.clone(), status: reply.status });
        }
        let quote: super::Quote = read(&reply.body).map_err(failed)?;
        let body = site.read_one(account, &["v1", "quotes", &quote.id.to_string(), "account-requirements"]).await?;
        read(&body).map_err(failed)
    }
}

impl Site {
    async fn read_one(&self, account: &Account, path: &[&str]) -> Result<Vec<u8>, StatementError> {
        let failed = |cause: Cause| error(account, &cause);
        let request = self.asked(self.transport.get(path), account).map_err(failed)?;
        let reply = self.transport.exchange(request, 100).await.map_err(failed)?;
        match reply.status {
            200 => Ok(reply.body),
            status => Err(StatementError::Denied { rail: RAIL, account: account.name.clone(), status }),
        }
    }
}

impl From<Made> for RecipientMade {
    fn from(made: Made) -> Self {
        RecipientMade { number: made.id, currency: made.currency, is_active: made.active }
    }
}

fn error(account: &Account, cause: &Cause) -> StatementError {
    StatementError::Unreachable { rail: RAIL, account: account.name.clone(), why: cause.reason() }
}
