//! What is thrown at the readers of webhooks.

use std::sync::LazyLock;

use payfleet_notices::{About, Authorities, Chain, Notice, Refusal, paypal, stripe, wise};
use ring::hmac;
use time::macros::datetime;

/// A webhook: the signature's header on the first line, and the body after it. Nothing is taken that is not signed; of
/// what is, names are names, and the same bytes are the same notice.
pub fn webhook(bytes: &[u8]) {
    let (line, body) = bytes.split_at(bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len()));
    let body = body.strip_prefix(b"\n").unwrap_or(body);
    let now = datetime!(2026-11-25 03:01:40 UTC);
    let header = String::from_utf8_lossy(line).into_owned();
    let hostile = |_: &'static str| Some(header.as_str());
    let keys = std::slice::from_ref(&*WISE);
    for taken in [stripe::notice(&["s"], &hostile, body, now), wise::notice(keys, &hostile, body)] {
        assert_eq!(taken, Err(Refusal::Forged), "nobody signed it");
    }
    // Each header by itself, the others in order: what it says is taken apart before anything is known of it.
    for spoilt in ["paypal-cert-url", "paypal-transmission-time", "paypal-transmission-id", "paypal-transmission-sig"] {
        let headers = |name: &'static str| match name {
            _ if name == spoilt => Some(header.as_str()),
            "paypal-auth-algo" => Some("SHA256withRSA"),
            "paypal-cert-url" => Some("https://api.paypal.com/c"),
            "paypal-transmission-time" => Some("2026-11-25T03:00:30Z"),
            _ => Some("x"),
        };
        let Ok(sent) = paypal::transmission(&headers) else { continue };
        let host = sent.certificate_url.host_str().unwrap_or_default();
        assert!(sent.certificate_url.scheme() == "https" && (host == "paypal.com" || host.ends_with(".paypal.com")));
        // As if PayPal had said that it is signed.
        if let Ok(notice) = sent.notice_when_signed(body, now) {
            is_in_order(&notice);
            assert_eq!(sent.notice_when_signed(body, now), Ok(notice));
        }
    }
    let at = now.unix_timestamp();
    let signed = format!("t={at},v1={}", hmac_sha256(b"s", &[at.to_string().as_bytes(), b".", body].concat()));
    if let Ok(notice) = stripe::notice(&["s"], &|_| Some(&signed), body, now) {
        is_in_order(&notice);
    }
    let _ = payfleet_notices::accounts_from_toml(&String::from_utf8_lossy(body));
    if let Ok(chain) = Chain::from_pem(body) {
        assert!(chain.check(&Authorities::public(), now).is_err() && !chain.has_signed(b"x", line));
    }
}

/// The key of the sandbox's Wise.
static WISE: LazyLock<wise::PublicKey> = LazyLock::new(|| {
    let pem = include_str!("../../../crates/sandbox/keys/wise-public.pem");
    wise::PublicKey::from_pem(pem).expect("a key that is part of this repository")
});

fn hmac_sha256(key: &[u8], message: &[u8]) -> String {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message);
    tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn is_in_order(notice: &Notice) {
    let is_name = |text: &str| (1..=200).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    assert!(is_name(&notice.id) && is_name(&notice.kind), "{notice:?}");
    match &notice.about {
        Some(About::Reference(name)) => assert!(is_name(name), "{name:?}"),
        Some(About::Payout(payout)) => assert!(payout.0 > 0, "{payout}"),
        None => {}
    }
}
