//! PayPal: RSA by a certificate of PayPal's over ids, the time and the CRC32 of the body; and what an event of a payout
//! names [P4, P5 in RAILS.md].
//!
//! CRC32 binds little of the body: whoever has heard one notice can make another body that goes with its signature. So
//! a transmission is known again whatever its body says ([`Notice::signed`]), and nothing but names is taken from it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use payfleet_domain::{BatchKey, PayoutKey};
use serde::Deserialize;
use serde_json::value::RawValue;
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};
use url::Url;

use crate::notice::{lenient, must_name, reference, sha256};
use crate::{About, Chain, Headers, Notice, Refusal, certificate_url};

/// How old a transmission may be. PayPal tries for three days, and documents no limit of its own.
pub const OLDEST: Duration = Duration::days(4);

/// How far the clocks of PayPal and of this machine may be apart.
pub const AHEAD: Duration = Duration::minutes(5);

/// What says of a request that PayPal sent it. Not yet whether that is so.
#[derive(Debug, Clone)]
pub struct Transmission<'a> {
    /// Unique for each; signed.
    pub id: &'a str,
    /// When; signed.
    pub time: &'a str,
    /// In base64.
    pub signature: &'a str,
    /// Whose text is passed on to PayPal, where PayPal is asked.
    pub certificate: &'a str,
    /// The same, as what may be fetched.
    pub certificate_url: Url,
    /// `SHA256withRSA`: there is no other.
    pub algorithm: &'a str,
    at: OffsetDateTime,
}

#[derive(Deserialize)]
struct Event<'a> {
    id: Option<String>,
    event_type: Option<String>,
    #[serde(borrow)]
    resource: Option<&'a RawValue>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Resource {
    payout_batch_id: Option<String>,
    sender_batch_id: Option<String>,
    payout_item: Item,
    batch_header: Header,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Item {
    sender_item_id: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Header {
    payout_batch_id: Option<String>,
    sender_batch_header: Sender,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Sender {
    sender_batch_id: Option<String>,
}

/// What a request says of its signature. Refused is what no signature of PayPal's goes with, a certificate from
/// elsewhere with it.
pub fn transmission<'a>(headers: &Headers<'a>) -> Result<Transmission<'a>, Refusal> {
    let header = |name| headers(name).ok_or(Refusal::Forged);
    let (id, time) = (header("paypal-transmission-id")?, header("paypal-transmission-time")?);
    let algorithm = header("paypal-auth-algo")?;
    // A bar in one of them would let two different requests have one text.
    if algorithm != "SHA256withRSA" || id.is_empty() || id.contains('|') || time.contains('|') {
        return Err(Refusal::Forged);
    }
    let certificate = header("paypal-cert-url")?;
    Ok(Transmission {
        id,
        time,
        signature: header("paypal-transmission-sig")?,
        certificate,
        certificate_url: certificate_url(certificate).ok_or(Refusal::Forged)?,
        algorithm,
        at: OffsetDateTime::parse(time, &Rfc3339).map_err(|_| Refusal::Forged)?,
    })
}

impl Transmission<'_> {
    /// The notice, if the owner of this certificate signed it for the subscription `webhook_id`, which is ours and not
    /// sent with it.
    pub fn notice(&self, chain: &Chain, webhook_id: &str, body: &[u8], now: OffsetDateTime) -> Result<Notice, Refusal> {
        let text = format!("{}|{}|{webhook_id}|{}", self.id, self.time, crc32fast::hash(body));
        let signature = STANDARD.decode(self.signature).map_err(|_| Refusal::Forged)?;
        if !chain.has_signed(text.as_bytes(), &signature) {
            return Err(Refusal::Forged);
        }
        self.notice_when_signed(body, now)
    }

    /// The same, where PayPal itself has said that it is signed.
    pub fn notice_when_signed(&self, body: &[u8], now: OffsetDateTime) -> Result<Notice, Refusal> {
        let age = now - self.at;
        if age > OLDEST || age < -AHEAD {
            return Err(Refusal::Stale);
        }
        let event: Event<'_> = serde_json::from_slice(body).map_err(|_| Refusal::Malformed)?;
        Ok(Notice {
            id: must_name(event.id.as_deref())?,
            kind: must_name(event.event_type.as_deref())?,
            signed: sha256(self.id.as_bytes()),
            about: about(&lenient(event.resource)),
        })
    }
}

/// The batch before the item: all events of a batch then have one name, and wake it once.
fn about(resource: &Resource) -> Option<About> {
    let header = &resource.batch_header;
    let batch = resource.sender_batch_id.as_deref().or(header.sender_batch_header.sender_batch_id.as_deref());
    let item = || resource.payout_item.sender_item_id.as_deref()?.parse::<PayoutKey>().ok()?.payout().ok();
    let theirs = resource.payout_batch_id.as_deref().or(header.payout_batch_id.as_deref());
    let ours = batch.and_then(|key| BatchKey::first_payout(key).ok());
    ours.map(About::Payout).or_else(|| theirs.and_then(reference)).or_else(|| item().map(About::Payout))
}
