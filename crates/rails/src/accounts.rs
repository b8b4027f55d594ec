//! Where the funding accounts of the real rails are, and how each is spoken to: a file of the operator's, without any
//! secret. Which tenant pays from which account, and what its credential is called, is in the database.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use payfleet_domain::{Currency, Money, to_rail_minor};
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::cause::Cause;
use crate::registry::RegistryError;
use crate::transport::{NoTransport, Transport, base_of};
use crate::{Call, Instruction};

/// All funding accounts, as `[[account]]` tables of a TOML file.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Accounts {
    /// One table each.
    #[serde(default, rename = "account")]
    pub accounts: Vec<FundingAccount>,
}

/// One of them; `rail` says whose it is.
#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "rail", rename_all = "lowercase")]
pub enum FundingAccount {
    /// PayPal Payouts.
    Paypal(PaypalAccount),
    /// Stripe Connect.
    Stripe(StripeAccount),
    /// Wise.
    Wise(WiseAccount),
}

/// An account at PayPal. Its credential is `CLIENT_ID:SECRET`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PaypalAccount {
    /// The name that `rails set --account` gives it.
    pub name: String,
    /// `https://api-m.sandbox.paypal.com`, `https://api-m.paypal.com`, or a rehearsal's own server.
    pub base_url: String,
    /// It pays real money. The worker must be started with `--live` then.
    #[serde(default)]
    pub live: bool,
    /// The subject of the mail that PayPal sends to payees: at most 255 characters of one byte.
    pub email_subject: Option<String>,
    /// The text of that mail: at most 1,000 characters.
    pub email_message: Option<String>,
    /// `PAYPAL`, `VENMO` or `RECIPIENT_SELECTED`; PayPal's default is the first.
    pub recipient_wallet: Option<String>,
    /// What the account may do at most.
    #[serde(default)]
    pub limits: Limits,
    /// How its notices are verified: for the gateway alone, which reads it itself (`payfleet-notices`).
    #[serde(default)]
    pub webhooks: IgnoredAny,
}

/// A platform account at Stripe. Its credential is a secret or restricted key.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StripeAccount {
    /// The name that `rails set --account` gives it.
    pub name: String,
    /// `https://api.stripe.com`, or a rehearsal's own server. Whether Stripe itself pays is said by the key: without
    /// `live` only test keys are shown to it.
    pub base_url: String,
    /// It pays real money. The worker must be started with `--live` then.
    #[serde(default)]
    pub live: bool,
    /// The version of the API that is spoken, sent with each request.
    #[serde(default = "stripe_version")]
    pub api_version: String,
    /// Which part of the balance pays: `card` is Stripe's default.
    pub source_type: Option<String>,
    /// What the account may do at most.
    #[serde(default)]
    pub limits: Limits,
    /// How its notices are verified: for the gateway alone, which reads it itself (`payfleet-notices`).
    #[serde(default)]
    pub webhooks: IgnoredAny,
}

fn stripe_version() -> String {
    "2026-10-28.endive".to_owned()
}

/// A business profile at Wise. Its credential is a token.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WiseAccount {
    /// The name that `rails set --account` gives it.
    pub name: String,
    /// `https://api.wise-sandbox.com`, `https://api.wise.com`, or a rehearsal's own server.
    pub base_url: String,
    /// It pays real money. The worker must be started with `--live` then.
    #[serde(default)]
    pub live: bool,
    /// The number of the profile that pays.
    pub profile: u64,
    /// The balances that pay, by currency. Each payout is paid from the balance of its own currency; without it there
    /// is no statement, and no word about how much of a refunded transfer came back.
    #[serde(default)]
    pub balances: BTreeMap<String, u64>,
    /// The first part of the paths of profiles: older pages of the reference have `v3`, newer ones a date such as
    /// `2026Q3` (whether both live side by side is unverified).
    #[serde(default = "wise_version")]
    pub api_version: String,
    /// Whether the payout's key is the reference of the transfer, which the payee reads and the statement repeats.
    /// Without it lines of the statement can be joined by the number of the transfer alone. How long a reference may be
    /// depends on the route (unverified): turn it off where Wise refuses it.
    #[serde(default = "yes")]
    pub key_as_reference: bool,
    /// What the account may do at most.
    #[serde(default)]
    pub limits: Limits,
    /// How its notices are verified: for the gateway alone, which reads it itself (`payfleet-notices`).
    #[serde(default)]
    pub webhooks: IgnoredAny,
}

fn wise_version() -> String {
    "v3".to_owned()
}

fn yes() -> bool {
    true
}

/// What an account may do at most, as its contract says it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// The largest single payment by currency, in minor units of ISO 4217. Each worker that starts tells it to the
    /// database, so that plans exclude what is more. (PayPal: USD 20,000 in one of its pages,
    /// 60,000 for registered payees in another, so it is not built in.)
    #[serde(default)]
    pub largest_minor: BTreeMap<String, i64>,
    /// Calls a second, where the contract allows others than the rail's declaration.
    pub calls_per_sec: Option<u32>,
}

impl FundingAccount {
    /// The rail that it is at.
    pub fn rail(&self) -> &'static str {
        match self {
            FundingAccount::Paypal(_) => "paypal",
            FundingAccount::Stripe(_) => "stripe",
            FundingAccount::Wise(_) => "wise",
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        match self {
            FundingAccount::Paypal(one) => &one.name,
            FundingAccount::Stripe(one) => &one.name,
            FundingAccount::Wise(one) => &one.name,
        }
    }

    /// What it may do at most.
    pub fn limits(&self) -> &Limits {
        match self {
            FundingAccount::Paypal(one) => &one.limits,
            FundingAccount::Stripe(one) => &one.limits,
            FundingAccount::Wise(one) => &one.limits,
        }
    }

    pub(crate) fn paypal(&self) -> Option<&PaypalAccount> {
        if let FundingAccount::Paypal(one) = self { Some(one) } else { None }
    }

    pub(crate) fn stripe(&self) -> Option<&StripeAccount> {
        if let FundingAccount::Stripe(one) = self { Some(one) } else { None }
    }

    pub(crate) fn wise(&self) -> Option<&WiseAccount> {
        if let FundingAccount::Wise(one) = self { Some(one) } else { None }
    }
}

impl Accounts {
    /// The accounts of a file; none without one.
    pub fn from_file(path: Option<&Path>) -> Result<Accounts, RegistryError> {
        let Some(path) = path else { return Ok(Accounts::default()) };
        let unreadable = |source| RegistryError::AccountsUnreadable { path: path.to_owned(), source };
        Accounts::from_toml(&std::fs::read_to_string(path).map_err(unreadable)?)
    }

    /// The accounts of what such a file holds.
    pub fn from_toml(text: &str) -> Result<Accounts, RegistryError> {
        toml::from_str(text).map_err(|error| RegistryError::AccountsFile {
            at: error.span().map_or(0, |span| span.start),
            why: error.message().to_owned(),
        })
    }
}

/// Hosts that pay real money, and hosts below them that do not.
const LIVE_HOSTS: [&str; 4] = ["paypal.com", "stripe.com", "wise.com", "transferwise.com"];
const SANDBOX_HOSTS: [&str; 1] = ["sandbox.paypal.com"];

fn is_under(host: &str, domain: &str) -> bool {
    let host = host.trim_end_matches('.');
    host.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// Where an account is, before anything of its own.
pub(crate) struct Place<'a> {
    pub(crate) rail: &'static str,
    pub(crate) name: &'a str,
    pub(crate) base_url: &'a str,
    pub(crate) live: bool,
    /// The host pays real money with some credentials only.
    pub(crate) key_decides: bool,
}

impl Place<'_> {
    pub(crate) fn wrong(&self, why: &'static str) -> RegistryError {
        RegistryError::Account { rail: self.rail, account: self.name.to_owned(), why }
    }

    /// The way to it, if it may be used: what pays real money is used only where both the account and the process say
    /// so, and no secret travels in the open to the rail itself.
    pub(crate) fn transport(&self, call_timeout: Duration, is_live_allowed: bool) -> Result<Transport, RegistryError> {
        let url = base_of(self.base_url).map_err(|why| self.wrong(why))?;
        let host = url.host_str().unwrap_or_default();
        let is_rails_own = LIVE_HOSTS.iter().any(|domain| is_under(host, domain));
        let is_sandbox = SANDBOX_HOSTS.iter().any(|domain| is_under(host, domain));
        if self.name.is_empty() {
            return Err(self.wrong("it has no name"));
        }
        if is_rails_own && !is_sandbox && !self.live && !self.key_decides {
            return Err(self.wrong("this host pays real money; if that is meant, say `live = true`"));
        }
        if self.live && !is_live_allowed {
            return Err(self.wrong("it pays real money, and this process was not started with --live"));
        }
        if url.scheme() != "https" && (is_rails_own || self.live) {
            return Err(self.wrong("its secret would travel in the open: use https"));
        }
        Transport::new(self.base_url, call_timeout).map_err(|no| match no {
            NoTransport::Url(why) => self.wrong(why),
            no => no.into(),
        })
    }

    /// Whether its host is the rail's own, and not a rehearsal's server.
    pub(crate) fn is_rails_own(&self) -> bool {
        let host = base_of(self.base_url).ok().and_then(|url| url.host_str().map(str::to_owned)).unwrap_or_default();
        LIVE_HOSTS.iter().any(|domain| is_under(&host, domain))
    }
}

impl Limits {
    /// What must be so.
    pub(crate) fn check(&self) -> Result<(), &'static str> {
        if self.largest_minor.keys().any(|code| code.parse::<Currency>().is_err()) {
            return Err("largest_minor names a currency that there is not");
        }
        match self.largest_minor.values().any(|largest| *largest <= 0) {
            true => Err("largest_minor has an amount that is not above 0"),
            false => Ok(()),
        }
    }

    /// The amount in the rail's own units, or why this payment cannot be ordered from this rail at all.
    fn units(&self, rail: &'static str, amount: Money) -> Result<i64, &'static str> {
        let largest = self.largest_minor.get(amount.currency.code());
        if largest.is_some_and(|largest| amount.minor > *largest) {
            return Err("an amount above `largest_minor` of the account");
        }
        to_rail_minor(rail, amount).map_err(|_| "an amount that does not come out even in the rail's own unit")
    }

    /// The amounts of a call in the rail's own units. A call with a payment that cannot be ordered is not sent, and
    /// that is all that is known by it: the rail has refused nothing, and may have been sent the same before, when the
    /// limits were others. Plans leave such payments out (`store/src/obstacle.rs`); where one is met all the same,
    /// people stop it or mend the limit.
    pub(crate) fn amounts(&self, rail: &'static str, call: &Call<'_>) -> Result<Vec<i64>, Cause> {
        self.fitting(rail, call, |instruction| self.units(rail, instruction.amount))
    }

    /// The same for anything else that is asked of each payment.
    pub(crate) fn fitting<T>(
        &self,
        rail: &'static str,
        call: &Call<'_>,
        fit: impl Fn(&Instruction) -> Result<T, &'static str>,
    ) -> Result<Vec<T>, Cause> {
        let fitted = call.instructions.iter().map(|instruction| {
            fit(instruction).map_err(|why| {
                let payout = instruction.key.as_str();
                tracing::error!(
                    rail,
                    payout,
                    "nothing is sent: {why}; mend the accounts file, or stop this payout: `payout stop`"
                );
                Cause::Unfit(why)
            })
        });
        fitted.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transport(base_url: &str, live: bool, allowed: bool) -> Result<(), String> {
        let place = Place { rail: "paypal", name: "main", base_url, live, key_decides: false };
        place.transport(Duration::from_secs(1), allowed).map(|_| ()).map_err(|error| error.to_string())
    }

    #[test]
    fn what_pays_real_money_needs_two_words_and_no_rehearsal_any() {
        for host in
            ["https://api-m.paypal.com", "https://api.stripe.com", "https://api.wise.com", "https://paypal.com."]
        {
            assert!(transport(host, false, false).is_err(), "{host}: its account does not say so");
            assert!(transport(host, false, true).is_err(), "{host}: its account does not say so");
            let told = transport(host, true, false).expect_err("the process was not started so");
            assert!(told.contains("--live"), "{told}");
            assert_eq!(transport(host, true, true), Ok(()), "{host}");
        }
        for host in [
            "https://api-m.sandbox.paypal.com",
            "https://api.wise-sandbox.com",
            "http://127.0.0.1:1",
            "http://sandbox:8080/paypal",
        ] {
            assert_eq!(transport(host, false, false), Ok(()), "{host}");
        }
        assert!(transport("https://notpaypal.com", false, false).is_ok(), "another host of a name that ends so");
        for open in ["http://api-m.paypal.com", "http://api-m.sandbox.paypal.com", "http://proxy.internal"] {
            assert!(transport(open, true, true).is_err(), "{open}: the secret would travel in the open");
        }
        for odd in ["", "ftp://h", "https://u:hunter2@h", "https://h/?t=hunter2"] {
            let told = transport(odd, false, false).expect_err("no base");
            assert!(!told.contains("hunter2"), "{told}");
        }
    }

    #[test]
    fn accounts_are_read_and_what_is_not_known_is_refused() {
        let text = r#"
            [[account]]
            rail = "paypal"
            name = "main"
            base_url = "https://api-m.sandbox.paypal.com"
            limits = { largest_minor = { USD = 2000000 } }
            webhooks = { id = "for whoever hears them" }
            [[account]]
            rail = "stripe"
            name = "platform"
            base_url = "https://api.stripe.com"
            [[account]]
            rail = "wise"
            name = "business"
            base_url = "https://api.wise-sandbox.com"
            profile = 12345678
            balances = { EUR = 200001 }
        "#;
        let read = Accounts::from_toml(text).expect("a file in order");
        assert_eq!(read.accounts.len(), 3);
        assert!(matches!(&read.accounts[1], FundingAccount::Stripe(one) if one.api_version == "2026-10-28.endive"));
        assert!(matches!(&read.accounts[2], FundingAccount::Wise(one) if one.key_as_reference && !one.live));
        let secret = text.replace("profile = 12345678", "secret = \"hunter2\"");
        let told = Accounts::from_toml(&secret).expect_err("it has no place for secrets").to_string();
        assert!(told.contains("secret") && !told.contains("hunter2"), "{told}");
        assert!(Accounts::from_toml(&text.replace("profile", "profil")).is_err());
        assert_eq!(read.accounts[0].limits().check(), Ok(()));
        for wrong in ["USDX = 2000000", "USD = 0"] {
            let read = Accounts::from_toml(&text.replace("USD = 2000000", wrong)).expect("a file in order");
            assert!(read.accounts[0].limits().check().is_err(), "{wrong}");
        }
        assert!(Accounts::from_toml(&text.replace("\"stripe\"", "\"stripes\"")).is_err());
        let shipped = Accounts::from_toml(include_str!("../../../deploy/rails.toml"));
        assert_eq!(shipped.expect("a file that operators copy").accounts.len(), 3);
    }
}
