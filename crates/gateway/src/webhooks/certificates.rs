//! Certificates of PayPal's: fetched once, checked, and kept.
//!
//! Where one is fetched from is said by whoever sends, before anything is known of them. So it is one of PayPal's hosts
//! or nothing, few are fetched at a time, and what was not believed is not asked for again at once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use payfleet_notices::{Authorities, Chain};
use time::OffsetDateTime;
use url::Url;

use super::vendor::{Base, bounded};

/// How long one may take to come. Wise would have given up by then, and PayPal waits longer (how long is undocumented).
const FETCH: Duration = Duration::from_secs(3);
/// Bytes of a chain, at most.
const BYTES: usize = 64 * 1024;
/// How long a chain is used before it is checked again: certificates end.
const CHECKED: Duration = Duration::from_secs(3_600);
/// How long an address is not asked again that brought none to be believed, or nothing.
const AGAIN: Duration = Duration::from_secs(30);
/// Addresses that are remembered, and that are asked within [`AGAIN`]. PayPal has one or two at a time.
const ADDRESSES: usize = 16;

/// Why there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoCertificate {
    /// What is there is not to be believed.
    NotBelieved,
    /// It cannot be had now.
    NotThere,
}

struct Remembered {
    at: Instant,
    /// The certificates, if they were believed.
    chain: Result<Arc<Chain>, NoCertificate>,
}

/// The certificates of one account's rail.
pub(super) struct Certificates {
    client: reqwest::Client,
    /// Of a rehearsal's own server, which has them under the same path.
    instead: Option<Base>,
    authorities: Authorities,
    remembered: Mutex<HashMap<String, Remembered>>,
    /// One is fetched at a time.
    fetching: tokio::sync::Mutex<()>,
}

impl Certificates {
    pub(super) fn new(
        client: reqwest::Client,
        base_url: &str,
        authorities: Authorities,
    ) -> Result<Certificates, &'static str> {
        let base = Base::new(base_url)?;
        let instead = (!base.is_paypals()).then_some(base);
        match (instead.is_some(), authorities.is_public()) {
            (true, true) => return Err("a server of your own needs its `authority`"),
            (false, false) => return Err("`authority` is for a rehearsal's own server, and this one is PayPal's"),
            (true, false) | (false, true) => {}
        }
        let (remembered, fetching) = (Mutex::default(), tokio::sync::Mutex::default());
        Ok(Certificates { client, instead, authorities, remembered, fetching })
    }

    /// The chain at an address that [`payfleet_notices::certificate_url`] let pass.
    pub(super) async fn chain(&self, url: &Url, now: OffsetDateTime) -> Result<Arc<Chain>, NoCertificate> {
        if let Some(known) = self.known(url, now) {
            return known;
        }
        let _one_at_a_time = self.fetching.lock().await;
        if let Some(known) = self.known(url, now) {
            return known;
        }
        if !self.makes_room() {
            return Err(NoCertificate::NotThere);
        }
        let chain = self.fetch(url, now).await;
        if let Err(why) = chain {
            tracing::warn!(host = url.host_str(), ?why, "a certificate that a notice names cannot be used");
        }
        self.remember(url, chain)
    }

    fn known(&self, url: &Url, now: OffsetDateTime) -> Option<Result<Arc<Chain>, NoCertificate>> {
        let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner); // each change is whole
        let known = remembered.get_mut(url.as_str())?;
        match &known.chain {
            Err(why) => (known.at.elapsed() < AGAIN).then_some(Err(*why)),
            Ok(chain) => {
                if known.at.elapsed() >= CHECKED {
                    // It is fetched anew if it has ended meanwhile.
                    chain.check(&self.authorities, now).ok()?;
                    known.at = Instant::now();
                }
                Some(Ok(chain.clone()))
            }
        }
    }

    /// Whether one more address may be asked: those that are no use are forgotten after a while, those that are when
    /// there is no other room.
    fn makes_room(&self) -> bool {
        let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        remembered.retain(|_, one| one.chain.is_ok() || one.at.elapsed() < AGAIN);
        if remembered.len() >= ADDRESSES {
            let believed = remembered.iter().filter(|(_, one)| one.chain.is_ok()).collect::<Vec<_>>();
            // Only when all of them are: else somebody tries addresses, and would push out those that are used.
            if believed.len() < ADDRESSES {
                return false;
            }
            let oldest = believed.into_iter().min_by_key(|(_, one)| one.at).map(|(url, _)| url.clone());
            oldest.and_then(|url| remembered.remove(&url));
        }
        true
    }

    fn remember(&self, url: &Url, chain: Result<Arc<Chain>, NoCertificate>) -> Result<Arc<Chain>, NoCertificate> {
        let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        remembered.insert(url.to_string(), Remembered { at: Instant::now(), chain: chain.clone() });
        chain
    }

    async fn fetch(&self, url: &Url, now: OffsetDateTime) -> Result<Arc<Chain>, NoCertificate> {
        let from = match &self.instead {
            None => url.clone(),
            Some(base) => base.at(url.path()),
        };
        let asked = async {
            let answer = self.client.get(from).send().await.map_err(|_| NoCertificate::NotThere)?;
            match answer.status().as_u16() {
                200 => bounded(answer, BYTES).await.ok_or(NoCertificate::NotThere),
                429 | 500.. => Err(NoCertificate::NotThere),
                _ => Err(NoCertificate::NotBelieved),
            }
        };
        let pem = tokio::time::timeout(FETCH, asked).await.map_err(|_| NoCertificate::NotThere)??;
        let chain = Chain::from_pem(&pem).map_err(|_| NoCertificate::NotBelieved)?;
        match chain.check(&self.authorities, now) {
            Ok(()) => Ok(Arc::new(chain)),
            Err(error) => {
                tracing::warn!(%error, "a certificate that a notice names is not believed");
                Err(NoCertificate::NotBelieved)
            }
        }
    }
}
