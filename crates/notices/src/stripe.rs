//! Stripe: HMAC-SHA256 over the time and the raw body, and what an event of a transfer names [S1, S4 in RAILS.md].

use payfleet_domain::PayoutKey;
use ring::hmac;
use serde::Deserialize;
use serde_json::value::RawValue;
use time::{Duration, OffsetDateTime};

use crate::notice::{lenient, must_name, reference, sha256};
use crate::{About, Headers, Notice, Refusal};

/// How far the time of a signature may be from now, either way. Stripe's own clients look at the past side alone.
pub const TOLERANCE: Duration = Duration::seconds(300);

/// More signatures than this are no header of Stripe's: it sends one for each secret that is still good.
const SIGNATURES: usize = 16;

#[derive(Deserialize)]
struct Event<'a> {
    id: Option<String>,
    r#type: Option<String>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Data {
    object: Object,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Object {
    id: Option<String>,
    transfer_group: Option<String>,
    metadata: Option<Metadata>,
}

#[derive(Deserialize)]
struct Metadata {
    payout: Option<String>,
}

/// The notice, if one of the secrets signed it not long ago. A secret is the whole `whsec_...` text.
pub fn notice(secrets: &[&str], headers: &Headers<'_>, body: &[u8], now: OffsetDateTime) -> Result<Notice, Refusal> {
    let header = headers("stripe-signature").ok_or(Refusal::Forged)?;
    let at = signed_at(secrets, header, body)?;
    if (now - at).abs() > TOLERANCE {
        return Err(Refusal::Stale);
    }
    let event: Event<'_> = serde_json::from_slice(body).map_err(|_| Refusal::Malformed)?;
    let id = must_name(event.id.as_deref())?;
    let Data { object } = lenient(event.data);
    Ok(Notice {
        // The whole body is signed, its id with it; what is sent again has another time and is the same.
        signed: sha256(id.as_bytes()),
        id,
        kind: must_name(event.r#type.as_deref())?,
        about: about(&object),
    })
}

fn about(object: &Object) -> Option<About> {
    let keys = [object.transfer_group.as_deref(), object.metadata.as_ref().and_then(|ours| ours.payout.as_deref())];
    let ours = keys.into_iter().flatten().find_map(|key| key.parse::<PayoutKey>().ok()?.payout().ok());
    ours.map(About::Payout).or_else(|| object.id.as_deref().and_then(reference))
}

/// When it was signed, by the clock of whoever did, if that was with one of the secrets.
fn signed_at(secrets: &[&str], header: &str, body: &[u8]) -> Result<OffsetDateTime, Refusal> {
    let (mut time, mut signatures) = (None, Vec::new());
    for part in header.split(',') {
        match part.trim().split_once('=') {
            Some(("t", text)) if time.is_none() => time = Some(text),
            // Nobody knows which of two was signed.
            Some(("t", _)) => return Err(Refusal::Forged),
            Some(("v1", hex)) => signatures.push(hex),
            // Of schemes that are weaker, or to come.
            Some(_) | None => {}
        }
    }
    let time = time.filter(|text| text.bytes().all(|byte| byte.is_ascii_digit())).ok_or(Refusal::Forged)?;
    if signatures.len() > SIGNATURES {
        return Err(Refusal::Forged);
    }
    let message = [time.as_bytes(), b".", body].concat();
    let tags: Vec<_> = signatures.into_iter().filter_map(unhex).collect();
    let is_signed = secrets.iter().filter(|secret| !secret.is_empty()).any(|secret| {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        // In constant time, each.
        tags.iter().any(|tag| hmac::verify(&key, &message, tag).is_ok())
    });
    if !is_signed {
        return Err(Refusal::Forged);
    }
    let seconds = time.parse().map_err(|_| Refusal::Stale)?;
    OffsetDateTime::from_unix_timestamp(seconds).map_err(|_| Refusal::Stale)
}

/// The 32 bytes of a signature.
fn unhex(text: &str) -> Option<[u8; 32]> {
    let digit = |byte: u8| (byte as char).to_digit(16);
    let mut bytes = [0; 32];
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if pairs.len() != bytes.len() || !rest.is_empty() {
        return None;
    }
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = u8::try_from(digit(*high)? << 4 | digit(*low)?).ok()?;
    }
    Some(bytes)
}
