//! What is signed right is taken, and what is not is not: with keys of our own, and with the vendors' vectors where
//! they lie beside the contracts.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use payfleet_domain::PayoutId;
use payfleet_notices::{
    About, AccountsError, Authorities, CertificateError, Chain, Notice, Refusal, Webhooks, accounts_from_toml,
    certificate_url, paypal, stripe, wise,
};
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_RSA_SHA256,
};
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use rustls_pki_types::PrivatePkcs8KeyDer;
use time::{Duration, OffsetDateTime};

/// A key of nobody's but these tests' and the sandbox's.
const PAYPAL_KEY: &[u8] = include_bytes!("../../sandbox/keys/paypal-signing.pk8");
const WISE_KEY: &[u8] = include_bytes!("../../sandbox/keys/wise-signing.pk8");
const WISE_PUBLIC: &str = include_str!("../../sandbox/keys/wise-public.pem");

const NOW: i64 = 1_795_575_700;
const SECRET: &str = "whsec_a";

type Headers = BTreeMap<&'static str, String>;

fn now() -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(NOW).unwrap()
}

fn payout(place: i64) -> About {
    About::Payout(PayoutId((3 << 32) | place))
}

fn of<'a>(headers: &'a Headers) -> impl Fn(&'static str) -> Option<&'a str> + 'a {
    |name| headers.get(name).map(String::as_str)
}

fn rsa(key: &[u8], message: &[u8]) -> String {
    let pair = RsaKeyPair::from_pkcs8(key).unwrap();
    let mut signature = vec![0; pair.public().modulus_len()];
    pair.sign(&RSA_PKCS1_SHA256, &ring::rand::SystemRandom::new(), message, &mut signature).unwrap();
    STANDARD.encode(signature)
}

// --- Stripe ---------------------------------------------------------------------------------------------------------

const TRANSFER: &str = r#"{"id":"evt_1","type":"transfer.created","data":{"object":{"id":"tr_1","object":"transfer",
 "transfer_group":"12884901929-a94610cdbdd64ddc","metadata":{"payout":"12884901929-a94610cdbdd64ddc"}}}}"#;

fn stripe_tag(secret: &str, at: i64, body: &str) -> String {
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret.as_bytes());
    let tag = ring::hmac::sign(&key, format!("{at}.{body}").as_bytes());
    tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn stripes(header: &str, body: &str) -> Result<Notice, Refusal> {
    let headers = Headers::from([("stripe-signature", header.to_owned())]);
    stripe::notice(&[SECRET, "whsec_of_another_endpoint"], &of(&headers), body.as_bytes(), now())
}

#[test]
fn stripe_is_known_by_the_secret_and_the_time() {
    let tag = stripe_tag(SECRET, NOW, TRANSFER);
    // As OpenSSL has it: printf '1795575700.{}' | openssl dgst -sha256 -hmac whsec_a
    assert_eq!(stripe_tag(SECRET, NOW, "{}"), "417702696004d16ab97ef659821e77db7c4f6a490ceac55d00ab61c8164d8620");
    let taken = stripes(&format!("t={NOW},v1={tag}"), TRANSFER).unwrap();
    assert_eq!((taken.id.as_str(), taken.kind.as_str()), ("evt_1", "transfer.created"));
    assert_eq!(taken.about, Some(payout(41)));
    // Any of several signatures may match, of any secret, and other schemes are not looked at.
    let zeros = "0".repeat(64);
    assert!(stripes(&format!("t={NOW},v0={zeros},v1={zeros},v1={tag}"), TRANSFER).is_ok());
    let other = stripe_tag("whsec_of_another_endpoint", NOW, TRANSFER);
    assert!(stripes(&format!("t={NOW},v1={other}"), TRANSFER).is_ok());
    for forged in [
        String::new(),
        format!("t={NOW}"),
        format!("v1={tag}"),
        format!("t={NOW},v0={tag}"),
        format!("t={NOW},v1={zeros}"),
        format!("t={NOW},v1={tag}00"),
        format!("t={NOW},v1={}", &tag[..62]),
        format!("t={},v1={tag}", NOW + 1),
        format!("t=+{NOW},v1={tag}"),
        format!("t={NOW},t={NOW},v1={tag}"),
        format!("t={NOW},v1={}", stripe_tag("whsec_b", NOW, TRANSFER)),
        format!("t={NOW},v1={}", stripe_tag("", NOW, TRANSFER)),
        format!("t={NOW}{}", format!(",v1={tag}").repeat(17)),
    ] {
        assert_eq!(stripes(&forged, TRANSFER), Err(Refusal::Forged), "{forged}");
    }
    assert_eq!(stripes(&format!("t={NOW},v1={tag}"), &format!("{TRANSFER} ")), Err(Refusal::Forged));
    assert_eq!(stripe::notice(&[""], &|_| None, b"{}", now()), Err(Refusal::Forged));
}

#[test]
fn stripe_is_heard_for_five_minutes() {
    for (off, is_heard) in [(-301, false), (-300, true), (300, true), (301, false)] {
        let at = NOW + off;
        let told = stripes(&format!("t={at},v1={}", stripe_tag(SECRET, at, TRANSFER)), TRANSFER);
        assert_eq!(told.is_ok(), is_heard, "{off}");
        assert!(is_heard || told == Err(Refusal::Stale));
    }
    let huge = "99999999999999999999";
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, SECRET.as_bytes());
    let tag: String = ring::hmac::sign(&key, format!("{huge}.{TRANSFER}").as_bytes())
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert_eq!(stripes(&format!("t={huge},v1={tag}"), TRANSFER), Err(Refusal::Stale));
}

#[test]
fn stripe_names_a_payout_by_our_key_or_its_own() {
    let about = |body: &str| stripes(&format!("t={NOW},v1={}", stripe_tag(SECRET, NOW, body)), body).map(|it| it.about);
    let body = |object: &str| format!(r#"{{"id":"evt_1","type":"x.y","data":{{"object":{object}}}}}"#);
    assert_eq!(
        about(&body(r#"{"id":"tr_1","metadata":{"payout":"12884901930-a94610cdbdd64ddc"}}"#)),
        Ok(Some(payout(42)))
    );
    let theirs = Ok(Some(About::Reference("tr_1".into())));
    assert_eq!(about(&body(r#"{"id":"tr_1","transfer_group":"ORDER_1","metadata":{}}"#)), theirs);
    assert_eq!(about(&body(r#"{"id":null}"#)), Ok(None));
    // Of a type that nobody knows it is kept, and wakes nobody.
    for other in [r#"{"id":"evt_1","type":"x.y"}"#, r#"{"id":"evt_1","type":"x.y","data":7}"#, &body("[1]")] {
        assert_eq!(about(other), Ok(None), "{other}");
    }
    let long = format!(r#"{{"id":"{}","type":"x"}}"#, "x".repeat(201));
    for malformed in [
        "",
        "[]",
        "null",
        "{",
        r#"{"type":"x"}"#,
        r#"{"id":"e"}"#,
        r#"{"id":1,"type":"x"}"#,
        &long,
        r#"{"id":"a\u0000b","type":"x"}"#,
        r#"{"id":"","type":"x"}"#,
    ] {
        assert_eq!(about(malformed), Err(Refusal::Malformed), "{malformed}");
    }
}

// --- Wise -----------------------------------------------------------------------------------------------------------

const CHANGE: &str = r#"{"data":{"resource":{"id":16521632,"profile_id":1,"type":"transfer"},
 "current_state":"outgoing_payment_sent"},"event_type":"transfers#state-change","schema_version":"2.0.0"}"#;

fn wises(signature: &str, delivery: Option<&str>, body: &str) -> Result<Notice, Refusal> {
    let keys = [wise::PublicKey::from_pem(WISE_PUBLIC).unwrap()];
    let mut headers = Headers::from([("x-signature-sha256", signature.to_owned())]);
    headers.extend(delivery.map(|id| ("x-delivery-id", id.to_owned())));
    wise::notice(&keys, &of(&headers), body.as_bytes())
}

#[test]
fn wise_is_known_by_its_key_and_a_replay_by_its_body() {
    let signature = rsa(WISE_KEY, CHANGE.as_bytes());
    let taken = wises(&signature, Some("d-1"), CHANGE).unwrap();
    assert_eq!((taken.id.as_str(), taken.kind.as_str()), ("d-1", "transfers#state-change"));
    assert_eq!(taken.about, Some(About::Reference("16521632".into())));
    // The delivery's id is not signed: under another one it is the same notice.
    let again = wises(&signature, Some("d-2"), CHANGE).unwrap();
    assert_eq!((again.id.as_str(), again.signed), ("d-2", taken.signed));
    for odd in [None, Some(""), Some("a b"), Some("\u{e9}")] {
        assert_eq!(wises(&signature, odd, CHANGE).unwrap().id.len(), 64, "by its body: {odd:?}");
    }
    assert_eq!(wises(&signature, None, &format!("{CHANGE} ")), Err(Refusal::Forged));
    assert_eq!(wises(&rsa(PAYPAL_KEY, CHANGE.as_bytes()), None, CHANGE), Err(Refusal::Forged));
    for forged in ["", "not base64", "AAAA"] {
        assert_eq!(wises(forged, None, CHANGE), Err(Refusal::Forged));
    }
    let balance = CHANGE.replace(r#""type":"transfer""#, r#""type":"balance-account""#);
    assert_eq!(wises(&rsa(WISE_KEY, balance.as_bytes()), None, &balance).unwrap().about, None);
    for malformed in ["{}", "", r#"{"event_type":null}"#] {
        assert_eq!(wises(&rsa(WISE_KEY, malformed.as_bytes()), None, malformed), Err(Refusal::Malformed));
    }
    assert!(
        wise::PublicKey::from_pem("").is_none() && wise::PublicKey::from_pem("-----BEGIN PUBLIC KEY-----").is_none()
    );
    let curve = KeyPair::generate().unwrap().public_key_pem();
    assert!(wise::PublicKey::from_pem(&curve).is_none(), "no RSA key");
}

// --- PayPal ---------------------------------------------------------------------------------------------------------

const ITEM: &str = r#"{"id":"WH-1","event_type":"PAYMENT.PAYOUTS-ITEM.SUCCEEDED","resource":{"payout_batch_id":"RB",
 "payout_item":{"sender_item_id":"12884901930-a94610cdbdd66ccb"},
 "sender_batch_id":"12884901929-42-e797d6cb5b15b7a9"}}"#;
const HOST: &str = "messageverificationcerts.paypal.com";

/// An authority, and a chain of it for a host, good from day to day.
fn chain(host: &str, days: (i64, i64), is_client: bool) -> (Authorities, Chain) {
    let mut root = CertificateParams::new(Vec::new()).unwrap();
    root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    root.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let root_key = KeyPair::generate().unwrap();
    let authority = root.self_signed(&root_key).unwrap().pem();
    let mut leaf = CertificateParams::new(vec![host.to_owned()]).unwrap();
    (leaf.not_before, leaf.not_after) = (now() + Duration::days(days.0), now() + Duration::days(days.1));
    let usage = if is_client { ExtendedKeyUsagePurpose::ClientAuth } else { ExtendedKeyUsagePurpose::ServerAuth };
    leaf.extended_key_usages = vec![usage];
    let key = KeyPair::from_pkcs8_der_and_sign_algo(&PrivatePkcs8KeyDer::from(PAYPAL_KEY), &PKCS_RSA_SHA256).unwrap();
    let leaf = leaf.signed_by(&key, &Issuer::from_params(&root, &root_key)).unwrap().pem();
    (Authorities::from_pem(&authority).unwrap(), Chain::from_pem(leaf.as_bytes()).unwrap())
}

fn sent(body: &str, at: &str) -> Headers {
    let text = format!("tx-1|{at}|WEBHOOK|{}", crc32fast::hash(body.as_bytes()));
    Headers::from([
        ("paypal-auth-algo", "SHA256withRSA".to_owned()),
        ("paypal-cert-url", "https://api.paypal.com/v1/notifications/certs/CERT-1".to_owned()),
        ("paypal-transmission-id", "tx-1".to_owned()),
        ("paypal-transmission-time", at.to_owned()),
        ("paypal-transmission-sig", rsa(PAYPAL_KEY, text.as_bytes())),
    ])
}

fn paypals(headers: &Headers, webhook: &str, body: &str) -> Result<Notice, Refusal> {
    let (_, chain) = chain(HOST, (-1, 1), false);
    paypal::transmission(&of(headers))?.notice(&chain, webhook, body.as_bytes(), now())
}

/// A minute before [`NOW`].
const AT: &str = "2026-11-25T03:00:40Z";

#[test]
fn paypal_is_known_by_its_certificate_and_a_replay_by_its_transmission() {
    let headers = sent(ITEM, AT);
    let taken = paypals(&headers, "WEBHOOK", ITEM).unwrap();
    assert_eq!((taken.id.as_str(), taken.kind.as_str()), ("WH-1", "PAYMENT.PAYOUTS-ITEM.SUCCEEDED"));
    assert_eq!(taken.about, Some(payout(41)), "the first payout of the batch");
    assert_eq!(paypals(&headers, "ANOTHER", ITEM), Err(Refusal::Forged), "of another subscription");
    assert_eq!(paypals(&headers, "WEBHOOK", &ITEM.replace("WH-1", "WH-2")), Err(Refusal::Forged));
    for name in headers.keys() {
        let mut without = headers.clone();
        without.remove(name);
        assert_eq!(paypals(&without, "WEBHOOK", ITEM), Err(Refusal::Forged), "without {name}");
    }
    for (name, value) in [
        ("paypal-auth-algo", "SHA1withRSA"),
        ("paypal-cert-url", "https://paypal.com.example/c"),
        ("paypal-transmission-id", "tx-2"),
        ("paypal-transmission-id", "tx-1|x"),
        ("paypal-transmission-time", "2026-11-25T03:00:31Z"),
        ("paypal-transmission-time", "today"),
        ("paypal-transmission-sig", "AAAA"),
        ("paypal-transmission-sig", "%"),
    ] {
        let mut other = headers.clone();
        other.insert(name, value.to_owned());
        assert_eq!(paypals(&other, "WEBHOOK", ITEM), Err(Refusal::Forged), "{name}: {value}");
    }
    // CRC32 does not keep a body: another one with the same sum is the same transmission, and is known by it.
    let other = same_crc32(&ITEM.replace("WH-1", "WH-3"), crc32fast::hash(ITEM.as_bytes()));
    let forged = paypals(&headers, "WEBHOOK", &other).unwrap();
    assert_eq!((forged.id.as_str(), forged.signed), ("WH-3", taken.signed));
}

/// The text with a few spaces and tabs behind it, so that its CRC32 is this.
fn same_crc32(text: &str, wanted: u32) -> String {
    // Each of 48 places may be a space or a tab; what that changes in the sum is linear, so the places are solved for.
    let places = 48;
    let with = |bits: u64| -> Vec<u8> {
        let blanks = (0..places).map(|place| if bits >> place & 1 == 1 { b'\t' } else { b' ' });
        text.bytes().chain(blanks).collect()
    };
    let base = crc32fast::hash(&with(0));
    let mut rows: Vec<(u32, u64)> =
        (0..places).map(|place| (crc32fast::hash(&with(1 << place)) ^ base, 1 << place)).collect();
    let (mut target, mut chosen) = (wanted ^ base, 0_u64);
    for bit in (0..32).rev() {
        let Some(at) = rows.iter().position(|(sum, _)| sum >> bit & 1 == 1) else { continue };
        let (sum, bits) = rows.swap_remove(at);
        rows.iter_mut().filter(|(other, _)| other >> bit & 1 == 1).for_each(|row| *row = (row.0 ^ sum, row.1 ^ bits));
        if target >> bit & 1 == 1 {
            (target, chosen) = (target ^ sum, chosen ^ bits);
        }
    }
    let found = String::from_utf8(with(chosen)).unwrap();
    assert_eq!(crc32fast::hash(found.as_bytes()), wanted);
    found
}

#[test]
fn paypal_is_heard_for_four_days() {
    for (at, is_heard) in [
        ("2026-11-21T03:01:41Z", true),
        ("2026-11-21T02:01:00Z", false),
        ("2026-11-25T03:06:00Z", true),
        ("2026-11-25T03:07:00Z", false),
    ] {
        let now =
            OffsetDateTime::parse("2026-11-25T03:01:40Z", &time::format_description::well_known::Rfc3339).unwrap();
        let (_, chain) = chain(HOST, (-1, 1), false);
        let headers = sent(ITEM, at);
        let told = paypal::transmission(&of(&headers)).unwrap().notice(&chain, "WEBHOOK", ITEM.as_bytes(), now);
        assert_eq!(told.is_ok(), is_heard, "{at}");
        assert!(is_heard || told == Err(Refusal::Stale));
    }
}

#[test]
fn paypal_names_a_batch_by_our_key_or_its_own_and_else_an_item() {
    let about = |resource: &str| {
        let body = format!(r#"{{"id":"WH-1","event_type":"E","resource":{resource}}}"#);
        paypals(&sent(&body, AT), "WEBHOOK", &body).map(|notice| notice.about)
    };
    let header = r#"{"batch_header":{"payout_batch_id":"RB",
        "sender_batch_header":{"sender_batch_id":"12884901929-42-e797d6cb5b15b7a9"}}}"#;
    assert_eq!(about(header), Ok(Some(payout(41))));
    assert_eq!(about(r#"{"batch_header":{"payout_batch_id":"RB"}}"#), Ok(Some(About::Reference("RB".into()))));
    assert_eq!(
        about(r#"{"payout_batch_id":"RB","sender_batch_id":"theirs"}"#),
        Ok(Some(About::Reference("RB".into())))
    );
    assert_eq!(about(r#"{"payout_item":{"sender_item_id":"12884901930-a94610cdbdd66ccb"}}"#), Ok(Some(payout(42))));
    assert_eq!(about(r#"{"disposition":"other"}"#), Ok(None));
    for other in ["[]", "null", "7", r#"{"payout_batch_id":7}"#, r#"{"payout_item":"x"}"#] {
        assert_eq!(about(other), Ok(None), "of a kind that nobody knows it is kept, and wakes nobody: {other}");
    }
    let (body, nothing) = (r#"{"event_type":"E","resource":{}}"#, sent(r#"{"event_type":"E","resource":{}}"#, AT));
    assert_eq!(paypals(&nothing, "WEBHOOK", body), Err(Refusal::Malformed));
}

#[test]
fn only_a_chain_to_an_authority_is_believed() {
    let (authorities, good) = chain(HOST, (-1, 1), false);
    assert_eq!(good.check(&authorities, now()), Ok(()));
    let wrong = |chain: &Chain, authorities: &Authorities| chain.check(authorities, now()).unwrap_err();
    let (others, _) = chain(HOST, (-1, 1), false);
    assert!(matches!(wrong(&good, &others), CertificateError::Chain(_)), "another authority of the same name");
    assert!(matches!(wrong(&good, &Authorities::public()), CertificateError::Chain(_)), "nobody's authority");
    for (days, told) in [((-2, -1), "CertExpired"), ((1, 2), "CertNotValidYet")] {
        let (authorities, chain) = chain(HOST, days, false);
        assert!(wrong(&chain, &authorities).to_string().contains(told));
    }
    let (authorities, client) = chain(HOST, (-1, 1), true);
    assert!(wrong(&client, &authorities).to_string().contains("RequiredEkuNotFound"));
    // A certificate that is good, and of somebody else.
    let (_, elsewhere) = chain("notpaypal.com", (-1, 1), false);
    assert_eq!(wrong(&elsewhere, &Authorities::public()), CertificateError::Name);
    for none in ["", "-----BEGIN CERTIFICATE-----\nAAAA\n", "x"] {
        assert_eq!(Chain::from_pem(none.as_bytes()).unwrap_err(), CertificateError::None);
        assert!(Authorities::from_pem(none).is_err());
    }
}

#[test]
fn certificates_come_from_paypals_hosts_alone() {
    for url in [
        "https://api.paypal.com/v1/notifications/certs/CERT-1",
        "https://api.sandbox.paypal.com/v1/notifications/certs/CERT-1",
        "https://paypal.com/c",
        "https://API.PAYPAL.COM:443/c",
    ] {
        assert!(certificate_url(url).is_some(), "{url}");
    }
    for url in [
        "http://api.paypal.com/c",
        "https://paypal.com.example/c",
        "https://notpaypal.com/c",
        "https://api.paypal.com@example.com/c",
        "https://user@api.paypal.com/c",
        "https://api.paypal.com:8443/c",
        "https://example.com/https://api.paypal.com/c",
        "https://example.com\\.paypal.com/c",
        "https://127.0.0.1/paypal.com",
        "https://[::1]/",
        "ftp://api.paypal.com/c",
        "file:///etc/passwd",
        "//api.paypal.com/c",
        "https://paypal.com./c",
        "",
    ] {
        assert!(certificate_url(url).is_none(), "{url}");
    }
}

// --- Accounts -------------------------------------------------------------------------------------------------------

fn file(rail: &str, webhooks: &str) -> String {
    format!("[[account]]\nrail = \"{rail}\"\nname = \"main\"\nbase_url = \"http://x\"\nprofile = 1\n{webhooks}")
}

#[test]
fn accounts_say_how_their_notices_are_verified() {
    let pem = format!("\"\"\"\n{WISE_PUBLIC}\"\"\"");
    let good = [
        file("paypal", "webhooks = { id = \"WH\" }"),
        file("stripe", "webhooks = { secrets = [\"STRIPE_HOOK\"] }"),
        file("wise", &format!("[account.webhooks]\npublic_keys = [{pem}]")),
        "[[account]]\nrail = \"stripe\"\nname = \"silent\"\nbase_url = \"x\"\n".to_owned(),
    ];
    let read = accounts_from_toml(&good.join("\n")).unwrap();
    assert_eq!(read.iter().map(|one| one.rail).collect::<Vec<_>>(), ["paypal", "stripe", "wise"]);
    assert!(matches!(&read[1].webhooks, Webhooks::Stripe(one) if one.secrets == ["STRIPE_HOOK"]));
    let told = |text: &str| accounts_from_toml(text).unwrap_err().to_string();
    assert!(matches!(accounts_from_toml(&good[3]), Err(AccountsError::None)));
    for (rail, webhooks, why) in [
        ("stripe", "webhooks = { secrets = [\"whsec_hunter2\"] }", "named, not written down"),
        ("stripe", "webhooks = { secrets = [] }", "one secret"),
        ("stripe", "webhooks = { secret = \"whsec_hunter2\" }", "unknown field"),
        ("paypal", "webhooks = { id = \"\" }", "webhook's id"),
        ("paypal", "webhooks = { id = \"W\", credential = \"hunter2\" }", "named, not written down"),
        ("paypal", "webhooks = { id = \"W\", authority = \"hunter2\" }", "no certificate"),
        ("paypal", "webhooks = { id = \"W\", authority = \"hunter2\", credential = \"A\" }", "exclude"),
        ("wise", "webhooks = { public_keys = [\"hunter2\"] }", "no RSA public key"),
        ("sepa", "webhooks = {}", "paypal, stripe and wise"),
        ("paypal", "webhooks = 1", "invalid type"),
    ] {
        let told = told(&file(rail, webhooks));
        assert!(told.contains(why) && !told.contains("hunter2"), "{rail} {webhooks}: {told}");
    }
    assert_eq!(accounts_from_toml(include_str!("../../../deploy/rails.toml")).unwrap().len(), 3, "all of it is heard");
    let twice = format!("{}\n{}", good[0], good[0]);
    assert!(told(&twice).contains("twice"));
    assert!(told(&good[0].replace("main", "a/b")).contains("address"));
}

// --- The vendors' vectors -------------------------------------------------------------------------------------------

fn vector(path: &str) -> Option<serde_json::Value> {
    let above = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
    let found = above.map(|folder| folder.join("shared/specs").join(path)).find(|path| path.exists())?;
    Some(serde_json::from_str(&std::fs::read_to_string(found).unwrap()).unwrap())
}

fn headers_of(vector: &serde_json::Value) -> Headers {
    let headers = vector["headers"].as_object().unwrap();
    let lower = |name: &String| -> &'static str { name.to_lowercase().leak() };
    headers.iter().map(|(name, value)| (lower(name), value.as_str().unwrap().to_owned())).collect()
}

#[test]
fn the_vendors_vectors_verify_and_no_byte_may_change() {
    if let Some(vector) = vector("stripe/examples/40-webhook-signature-vector.json") {
        let (headers, body) = (headers_of(&vector), vector["body"].as_str().unwrap());
        let secret = vector["secret"].as_str().unwrap();
        let at = OffsetDateTime::from_unix_timestamp(vector["timestamp"].as_i64().unwrap()).unwrap();
        let told = |body: &str| stripe::notice(&[secret], &of(&headers), body.as_bytes(), at);
        assert_eq!(told(body).unwrap().about, Some(payout(41)));
        assert_eq!(told(&body.replace("1000", "1001")), Err(Refusal::Forged));
    }
    if let Some(vector) = vector("wise/webhook_signed_example.json") {
        let (headers, body) = (headers_of(&vector), vector["body"].as_str().unwrap());
        let above = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
        let pem = above.map(|folder| folder.join("shared/specs/wise/webhook_sandbox_public_key.pem"));
        let pem = std::fs::read_to_string(pem.into_iter().find(|path| path.exists()).unwrap()).unwrap();
        let keys = [wise::PublicKey::from_pem(&pem).unwrap()];
        let told = |body: &str| wise::notice(&keys, &of(&headers), body.as_bytes());
        assert_eq!(told(body).unwrap().about, Some(About::Reference("49983981".into())));
        assert_eq!(told(&format!("{body} ")), Err(Refusal::Forged));
    }
    if let Some(vector) = vector("paypal/examples/42-webhook-signature-vector.json") {
        let (headers, body) = (headers_of(&vector), vector["body"].as_str().unwrap());
        let chain = Chain::from_pem(vector["certificate_pem"].as_str().unwrap().as_bytes()).unwrap();
        let id = vector["webhook_id"].as_str().unwrap();
        let told = |headers: &Headers, body: &str| {
            paypal::transmission(&of(headers)).unwrap().notice(&chain, id, body.as_bytes(), now())
        };
        assert_eq!(told(&headers, body).unwrap().about, Some(payout(41)));
        assert_eq!(told(&headers, &format!("{body} ")), Err(Refusal::Forged));
        for (name, from, to) in [
            ("paypal-transmission-id", "d938", "d939"),
            ("paypal-transmission-time", ":30Z", ":31Z"),
            ("paypal-transmission-sig", "AXJj", "AXJk"),
        ] {
            let mut other = headers.clone();
            other.insert(name, headers[name].replace(from, to));
            assert_ne!(other, headers);
            assert_eq!(told(&other, body), Err(Refusal::Forged), "{name}");
        }
        let told = chain.check(&Authorities::public(), now()).unwrap_err();
        assert_eq!(told, CertificateError::Name, "it is a test's own");
    }
}
