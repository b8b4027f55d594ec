//! How each vendor signs what it sends. Nothing is sent from here.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, RsaKeyPair, UnparsedPublicKey};

const PAYPAL_KEY: &[u8] = include_bytes!("../../keys/paypal-signing.pk8");
const WISE_KEY: &[u8] = include_bytes!("../../keys/wise-signing.pk8");

/// The certificate of PayPal's dialect, and who issued it.
pub const PAYPAL_CERTIFICATE: &str = include_str!("../../keys/paypal-certificate.pem");
/// What a verifier of it must trust.
pub const PAYPAL_AUTHORITY: &str = include_str!("../../keys/paypal-authority.pem");
/// The key that verifies Wise's dialect.
pub const WISE_PUBLIC: &str = include_str!("../../keys/wise-public.pem");

/// `Stripe-Signature`: HMAC-SHA256 over `t.body`, with the whole text of the secret as its key [S1].
pub fn stripe(secret: &str, unix_seconds: i64, body: &str) -> String {
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret.as_bytes());
    let tag = ring::hmac::sign(&key, format!("{unix_seconds}.{body}").as_bytes());
    let hex: String = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("t={unix_seconds},v1={hex}")
}

/// The text that PayPal signs: the body is bound by its CRC32 only [P5].
pub fn paypal_text(transmission_id: &str, time: &str, webhook_id: &str, body: &[u8]) -> String {
    format!("{transmission_id}|{time}|{webhook_id}|{}", crc32fast::hash(body))
}

/// `PAYPAL-TRANSMISSION-SIG` of that text.
pub fn paypal(text: &str) -> String {
    rsa(PAYPAL_KEY, text.as_bytes())
}

/// `X-Signature-SHA256`: over the raw body [W2].
pub fn wise(body: &[u8]) -> String {
    rsa(WISE_KEY, body)
}

fn rsa(pkcs8: &[u8], message: &[u8]) -> String {
    let pair = RsaKeyPair::from_pkcs8(pkcs8).expect("the key is part of the program, and a test signs with it");
    let mut signature = vec![0; pair.public().modulus_len()];
    pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature)
        .expect("the buffer has the length of the modulus");
    STANDARD.encode(signature)
}

/// Whether PayPal's dialect signed this text.
pub fn is_paypals(text: &str, signature: &str) -> bool {
    let Ok(pair) = RsaKeyPair::from_pkcs8(PAYPAL_KEY) else { return false };
    is_signed(pair.public().as_ref(), text.as_bytes(), signature)
}

/// Whether the owner of this public key signed this message; the key is a PEM of an SPKI, as tools write it.
pub fn is_signed_by(public_pem: &str, message: &[u8], signature: &str) -> bool {
    pkcs1_of(public_pem).is_some_and(|key| is_signed(&key, message, signature))
}

fn is_signed(pkcs1: &[u8], message: &[u8], signature: &str) -> bool {
    let Ok(signature) = STANDARD.decode(signature) else { return false };
    UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, pkcs1).verify(message, &signature).is_ok()
}

/// The PKCS#1 key inside an SPKI: what ring wants.
pub fn pkcs1_of(public_pem: &str) -> Option<Vec<u8>> {
    // SEQUENCE { AlgorithmIdentifier rsaEncryption, BIT STRING { the key } }, whose head has the same bytes always but
    // for the two lengths, which take two bytes each for keys of 1024 to 8192 bits.
    const ALGORITHM: [u8; 15] = [0x30, 0x0d, 6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1, 5, 0];
    let lines = public_pem.lines().map(str::trim).filter(|line| !line.starts_with("-----"));
    let der = STANDARD.decode(lines.collect::<String>()).ok()?;
    let rest = der.strip_prefix(&[0x30, 0x82])?.get(2..)?;
    let bits = rest.strip_prefix(&ALGORITHM)?.strip_prefix(&[0x03, 0x82])?.get(2..)?;
    bits.strip_prefix(&[0]).map(<[u8]>::to_vec)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn what_is_signed_verifies_and_one_byte_more_does_not() {
        let signature = wise(b"{}");
        assert!(is_signed_by(WISE_PUBLIC, b"{}", &signature));
        assert!(!is_signed_by(WISE_PUBLIC, b"{} ", &signature));
        let text = paypal_text("id", "2026-11-25T03:00:30Z", "W", b"{}");
        let signature = paypal(&text);
        assert!(is_paypals(&text, &signature) && !is_paypals("other", &signature));
        assert!(!is_paypals(&text, "not base64"));
        // Of RFC 4231, case 2, with the time in front that Stripe puts there.
        assert!(stripe("Jefe", 1, "x").starts_with("t=1,v1=") && stripe("a", 1, "x") != stripe("b", 1, "x"));
    }

    /// The vectors that lie beside the contracts, if they are there.
    #[test]
    fn the_vendors_vectors_come_out_the_same() {
        let above = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
        let mut specs = above.map(|folder| folder.join("shared/specs")).filter(|folder| folder.is_dir());
        let Some(specs) = specs.next().and_then(|specs| specs.to_str().map(str::to_owned)) else { return };
        let read = |path: &str| -> serde_json::Value {
            serde_json::from_str(&std::fs::read_to_string(format!("{specs}/{path}")).unwrap()).unwrap()
        };
        let vector = read("stripe/examples/40-webhook-signature-vector.json");
        let at = vector["timestamp"].as_i64().unwrap();
        let signed = stripe(vector["secret"].as_str().unwrap(), at, vector["body"].as_str().unwrap());
        assert!(vector["headers"]["Stripe-Signature"].as_str().unwrap().starts_with(&format!("{signed},v0=")));

        let vector = read("paypal/examples/42-webhook-signature-vector.json");
        let header = |name: &str| vector["headers"][name].as_str().unwrap();
        let text = paypal_text(
            header("PAYPAL-TRANSMISSION-ID"),
            header("PAYPAL-TRANSMISSION-TIME"),
            vector["webhook_id"].as_str().unwrap(),
            vector["body"].as_str().unwrap().as_bytes(),
        );
        assert_eq!(text, vector["signed_string"].as_str().unwrap());

        let vector = read("wise/webhook_signed_example.json");
        let key = std::fs::read_to_string(format!("{specs}/wise/webhook_sandbox_public_key.pem")).unwrap();
        let body = vector["body"].as_str().unwrap().as_bytes();
        let signature = vector["headers"]["X-Signature-SHA256"].as_str().unwrap();
        assert!(is_signed_by(&key, body, signature) && !is_signed_by(&key, &body[1..], signature));
    }
}
