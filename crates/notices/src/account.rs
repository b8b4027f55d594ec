//! Which accounts send notices, and how those are verified: of the file of the funding accounts (`--rail-accounts`) the
//! part that is called `webhooks`. What else is in there is for those who pay, and is not read here.

use std::collections::HashSet;

use serde::Deserialize;

use crate::certificate::Authorities;
use crate::wise::PublicKey;

/// An account that sends notices.
#[derive(Debug, Clone)]
pub struct Account {
    /// The rail that it is at.
    pub rail: &'static str,
    /// The name that `rails set --account` gives it.
    pub name: String,
    /// Where its rail is.
    pub base_url: String,
    /// How its notices are verified.
    pub webhooks: Webhooks,
}

/// How notices of one account are verified.
#[derive(Debug, Clone)]
pub enum Webhooks {
    /// PayPal.
    Paypal(Paypal),
    /// Stripe.
    Stripe(Stripe),
    /// Wise.
    Wise(Wise),
}

/// Of PayPal.
#[derive(Debug, Clone)]
pub struct Paypal {
    /// The id of the subscription, which is signed and not sent.
    pub id: String,
    /// Who says whether a signature is right.
    pub check: PaypalCheck,
}

/// Who says whether a signature of PayPal's is right.
#[derive(Debug, Clone)]
pub enum PaypalCheck {
    /// The certificate that the notice names, if these vouch for it.
    Certificate(Authorities),
    /// PayPal itself, asked for each notice under the credential of this name.
    Api {
        /// As the worker's: `PAYFLEET_RAIL_CREDENTIAL_{name}`.
        credential: String,
    },
}

/// Of Stripe.
#[derive(Debug, Clone)]
pub struct Stripe {
    /// Names of secrets (`PAYFLEET_RAIL_CREDENTIAL_{name}`), one for each endpoint that Stripe sends to this address.
    pub secrets: Vec<String>,
}

/// Of Wise.
#[derive(Debug, Clone)]
pub struct Wise {
    /// The keys that Wise signs with: one, and another beside it while Wise changes them.
    pub keys: Vec<PublicKey>,
}

/// Why the file says nothing that can be used.
#[derive(Debug, thiserror::Error)]
pub enum AccountsError {
    /// It is no such file.
    #[error("the file of the funding accounts cannot be used from byte {at} on: {why}")]
    File {
        /// Where.
        at: usize,
        /// What is wrong. The line itself is not repeated: somebody may have written a secret there.
        why: String,
    },
    /// One of its accounts cannot be used.
    #[error("{rail}, account `{account}`, webhooks: {why}")]
    Account {
        /// Which rail.
        rail: String,
        /// Which account.
        account: String,
        /// What is wrong with it.
        why: String,
    },
    /// No account sends notices.
    #[error(
        "no account of this file has a table `webhooks`: whoever sends notices needs one, see \"Webhooks\" in \
         deploy/RAILS.md"
    )]
    None,
}

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    account: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    rail: String,
    name: String,
    #[serde(default)]
    base_url: String,
    webhooks: Option<toml::Table>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PaypalTable {
    id: String,
    authority: Option<String>,
    credential: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StripeTable {
    secrets: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WiseTable {
    public_keys: Vec<String>,
}

/// The accounts with a table `webhooks`.
pub fn accounts_from_toml(text: &str) -> Result<Vec<Account>, AccountsError> {
    let file: File = toml::from_str(text).map_err(|error| AccountsError::File {
        at: error.span().map_or(0, |span| span.start),
        why: error.message().to_owned(),
    })?;
    let (mut accounts, mut seen) = (Vec::new(), HashSet::new());
    for Entry { rail, name, base_url, webhooks } in file.account {
        let Some(table) = webhooks else { continue };
        let wrong = |why: String| AccountsError::Account { rail: rail.clone(), account: name.clone(), why };
        let is_segment = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
        if name.is_empty() || !name.bytes().all(is_segment) {
            return Err(wrong("its name is a part of the address, and may have letters, digits and -_.~ only".into()));
        }
        let (rail, webhooks) = match rail.as_str() {
            "paypal" => ("paypal", Webhooks::Paypal(paypal(table).map_err(wrong)?)),
            "stripe" => ("stripe", Webhooks::Stripe(stripe(table).map_err(wrong)?)),
            "wise" => ("wise", Webhooks::Wise(wise(table).map_err(wrong)?)),
            _ => return Err(wrong("notices are known of paypal, stripe and wise".into())),
        };
        if !seen.insert((rail, name.clone())) {
            return Err(AccountsError::Account { rail: rail.into(), account: name, why: "it is there twice".into() });
        }
        accounts.push(Account { rail, name, base_url, webhooks });
    }
    if accounts.is_empty() { Err(AccountsError::None) } else { Ok(accounts) }
}

fn table<T: serde::de::DeserializeOwned>(table: toml::Table) -> Result<T, String> {
    table.try_into().map_err(|error: toml::de::Error| error.message().to_owned())
}

/// What the name of an environment variable may end in, as the database has it of a tenant's rail.
fn credential(name: String) -> Result<String, String> {
    let rest = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
    let is_name = name.len() <= 64 && name.starts_with(|c: char| c.is_ascii_uppercase()) && name.bytes().all(rest);
    // What it is instead may be the secret itself, and is not repeated.
    is_name.then_some(name).ok_or_else(|| "a secret is named, not written down: capitals, digits and _".to_owned())
}

fn paypal(given: toml::Table) -> Result<Paypal, String> {
    let PaypalTable { id, authority, credential: asks } = table(given)?;
    if id.is_empty() || id.contains('|') {
        return Err("`id` is the webhook's id at PayPal".to_owned());
    }
    let check = match (authority, asks) {
        (None, None) => PaypalCheck::Certificate(Authorities::public()),
        (Some(pem), None) => {
            let authorities = Authorities::from_pem(&pem).map_err(|error| format!("`authority`: {error}"))?;
            PaypalCheck::Certificate(authorities)
        }
        (None, Some(name)) => PaypalCheck::Api { credential: credential(name)? },
        (Some(_), Some(_)) => return Err("`authority` and `credential` exclude each other".to_owned()),
    };
    Ok(Paypal { id, check })
}

fn stripe(given: toml::Table) -> Result<Stripe, String> {
    let StripeTable { secrets } = table(given)?;
    if !(1..=8).contains(&secrets.len()) {
        return Err("`secrets` names one secret, or up to eight".to_owned());
    }
    Ok(Stripe { secrets: secrets.into_iter().map(credential).collect::<Result<_, _>>()? })
}

fn wise(given: toml::Table) -> Result<Wise, String> {
    let WiseTable { public_keys } = table(given)?;
    if !(1..=8).contains(&public_keys.len()) {
        return Err("`public_keys` holds one key, or up to eight".to_owned());
    }
    let key = |pem: &String| PublicKey::from_pem(pem).ok_or("`public_keys` holds what is no RSA public key (PEM)");
    Ok(Wise { keys: public_keys.iter().map(key).collect::<Result<_, _>>()? })
}
