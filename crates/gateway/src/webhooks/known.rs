//! The accounts that are heard, and whether their rails have sent what comes in.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use payfleet_notices::{Account, Headers, Notice, PaypalCheck, Refusal, Webhooks, paypal, stripe, wise};
use payfleet_runtime::secret::{Secret, SecretError, rail_credential};
use time::OffsetDateTime;

use super::certificates::{Certificates, NoCertificate};
use super::vendor::{Vendor, client};
use crate::GatewayError;

/// How long a secret is used before its file is read again: it may be replaced while this runs.
const SECRETS: Duration = Duration::from_secs(5);

/// All accounts, by rail and name.
pub(super) struct Known(HashMap<(&'static str, Arc<str>), KnownAccount>);

/// One of them.
pub(super) struct KnownAccount {
    pub(super) rail: &'static str,
    pub(super) name: Arc<str>,
    check: Check,
}

enum Check {
    Stripe(Secrets),
    Wise(Vec<wise::PublicKey>),
    Paypal { id: String, how: PaypalHow },
}

enum PaypalHow {
    Certificate(Certificates),
    Api(Vendor),
}

/// Why a notice is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotTaken {
    /// By what it is.
    Refused(Refusal),
    /// Nobody can say now whether it is right.
    Unverified,
}

impl From<Refusal> for NotTaken {
    fn from(refusal: Refusal) -> NotTaken {
        NotTaken::Refused(refusal)
    }
}

impl Known {
    /// An error is the operator's: nothing is heard before all of it is in order.
    pub(super) fn new(accounts: Vec<Account>) -> Result<Known, GatewayError> {
        let client = client().map_err(GatewayError::Client)?;
        let mut known = HashMap::new();
        for Account { rail, name, base_url, webhooks } in accounts {
            let wrong = |why: &str| payfleet_notices::AccountsError::Account {
                rail: rail.to_owned(),
                account: name.clone(),
                why: why.to_owned(),
            };
            let check = match webhooks {
                Webhooks::Stripe(stripe) => {
                    let secrets = Secrets { names: stripe.secrets, read: Mutex::default() };
                    secrets.all()?;
                    Check::Stripe(secrets)
                }
                Webhooks::Wise(wise) => Check::Wise(wise.keys),
                Webhooks::Paypal(paypal) => {
                    let how = match paypal.check {
                        PaypalCheck::Certificate(authorities) => {
                            let certificates = Certificates::new(client.clone(), &base_url, authorities);
                            PaypalHow::Certificate(certificates.map_err(wrong)?)
                        }
                        PaypalCheck::Api { credential } => {
                            rail_credential(&credential)?;
                            PaypalHow::Api(Vendor::new(client.clone(), &base_url, credential).map_err(wrong)?)
                        }
                    };
                    Check::Paypal { id: paypal.id, how }
                }
            };
            let name: Arc<str> = name.into();
            known.insert((rail, name.clone()), KnownAccount { rail, name, check });
        }
        Ok(Known(known))
    }

    /// Where each is heard.
    pub(super) fn paths(&self) -> Vec<String> {
        let mut paths: Vec<_> = self.0.values().map(|one| format!("/webhooks/{}/{}", one.rail, one.name)).collect();
        paths.sort();
        paths
    }

    /// The account that is heard at a path.
    pub(super) fn at(&self, path: &str) -> Option<&KnownAccount> {
        let (rail, name) = path.strip_prefix("/webhooks/")?.split_once('/')?;
        let rail = ["paypal", "stripe", "wise"].into_iter().find(|known| *known == rail)?;
        self.0.get(&(rail, Arc::from(name)))
    }
}

impl KnownAccount {
    /// The notice, if its rail has sent it to this account.
    pub(super) async fn verify(
        &self,
        headers: &Headers<'_>,
        body: &[u8],
        now: OffsetDateTime,
    ) -> Result<Notice, NotTaken> {
        match &self.check {
            Check::Stripe(secrets) => {
                let secrets = secrets.all().map_err(|error| {
                    tracing::error!(account = %self.name, "{error}");
                    NotTaken::Unverified
                })?;
                let secrets: Vec<&str> = secrets.iter().map(Secret::expose).collect();
                Ok(stripe::notice(&secrets, headers, body, now)?)
            }
            Check::Wise(keys) => Ok(wise::notice(keys, headers, body)?),
            Check::Paypal { id, how } => {
                let transmission = paypal::transmission(headers)?;
                match how {
                    PaypalHow::Certificate(certificates) => {
                        let chain = certificates.chain(&transmission.certificate_url, now).await;
                        let chain = chain.map_err(|why| match why {
                            NoCertificate::NotBelieved => NotTaken::Refused(Refusal::Forged),
                            NoCertificate::NotThere => NotTaken::Unverified,
                        })?;
                        Ok(transmission.notice(&chain, id, body, now)?)
                    }
                    PaypalHow::Api(vendor) => match vendor.has_signed(&transmission, id, body).await {
                        Some(true) => Ok(transmission.notice_when_signed(body, now)?),
                        Some(false) => Err(NotTaken::Refused(Refusal::Forged)),
                        None => Err(NotTaken::Unverified),
                    },
                }
            }
        }
    }
}

/// Secrets by their names, read from the environment or their files now and then.
struct Secrets {
    names: Vec<String>,
    read: Mutex<Option<(Instant, Arc<Vec<Secret>>)>>,
}

impl Secrets {
    fn all(&self) -> Result<Arc<Vec<Secret>>, SecretError> {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner); // it is only replaced
        if let Some((at, secrets)) = &*read
            && at.elapsed() < SECRETS
        {
            return Ok(secrets.clone());
        }
        let secrets: Vec<_> = self.names.iter().map(|name| rail_credential(name)).collect::<Result<_, _>>()?;
        Ok(read.insert((Instant::now(), Arc::new(secrets))).1.clone())
    }
}
