//! Wise: RSA over the raw body, and which transfer an event names [W2, W10 in RAILS.md].

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::SubjectPublicKeyInfoDer;
use rustls_pki_types::pem::PemObject as _;
use serde::Deserialize;
use serde_json::value::RawValue;
use webpki::RawPublicKeyEntity;

use crate::notice::{lenient, must_name, name, reference, sha256};
use crate::{About, Headers, Notice, Refusal};

/// A key that Wise signs with: another one in its sandbox than in production.
#[derive(Debug, Clone)]
pub struct PublicKey(SubjectPublicKeyInfoDer<'static>);

impl PublicKey {
    /// From a PEM (`BEGIN PUBLIC KEY`), as Wise's page has it; nothing if it is none of an RSA key of 2,048 bits or
    /// more.
    pub fn from_pem(pem: &str) -> Option<PublicKey> {
        let key = PublicKey(SubjectPublicKeyInfoDer::from_pem_slice(pem.as_bytes()).ok()?);
        // A signature that nobody made is refused by any key that can be used, and by what is none.
        let told = RawPublicKeyEntity::try_from(&key.0).ok()?.verify_signature(
            webpki::ring::RSA_PKCS1_2048_8192_SHA256,
            b"",
            &[0; 256],
        );
        matches!(told, Err(webpki::Error::InvalidSignatureForPublicKey)).then_some(key)
    }

    fn has_signed(&self, message: &[u8], signature: &[u8]) -> bool {
        let Ok(key) = RawPublicKeyEntity::try_from(&self.0) else { return false };
        key.verify_signature(webpki::ring::RSA_PKCS1_2048_8192_SHA256, message, signature).is_ok()
    }
}

#[derive(Deserialize)]
struct Event<'a> {
    event_type: Option<String>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Data {
    resource: Resource,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Resource {
    id: Option<serde_json::Number>,
    r#type: Option<String>,
}

/// The notice, if one of the keys signed it.
///
/// The scheme has no time, and its header `X-Delivery-Id`, by which a notice is known again, is not signed: whoever
/// heard one can send it again under another. So the body itself is what is known again ([`Notice::signed`]).
pub fn notice(keys: &[PublicKey], headers: &Headers<'_>, body: &[u8]) -> Result<Notice, Refusal> {
    let signature = headers("x-signature-sha256").and_then(|text| STANDARD.decode(text).ok()).ok_or(Refusal::Forged)?;
    if !keys.iter().any(|key| key.has_signed(body, &signature)) {
        return Err(Refusal::Forged);
    }
    let event: Event<'_> = serde_json::from_slice(body).map_err(|_| Refusal::Malformed)?;
    let signed = sha256(body);
    let by_body = || signed.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Notice {
        id: headers("x-delivery-id").and_then(name).map_or_else(by_body, str::to_owned),
        kind: must_name(event.event_type.as_deref())?,
        signed,
        about: about(lenient::<Data>(event.data).resource),
    })
}

fn about(resource: Resource) -> Option<About> {
    // Events of balances and batches have resources with numbers of their own.
    let id = resource.id.filter(|_| resource.r#type.as_deref() == Some("transfer"))?.as_u64()?;
    reference(&id.to_string())
}
