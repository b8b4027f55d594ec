//! Notices: who is told what, signed right and wrong, once, twice, late, or never.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::Method;
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, RsaKeyPair, UnparsedPublicKey};
use rustls_pki_types::{CertificateDer, UnixTime};
use serde_json::{Value, json};
use webpki::{EndEntityCert, KeyUsage};

use crate::rail::Rail;
use crate::vendors::{Told, batch, told, until};

const SECRET: &str = "whsec_for_tests";

/// Signs as the holder of the key whose public half the sandbox tells for Wise.
pub fn sign_as_wise(message: &[u8]) -> String {
    let pair = RsaKeyPair::from_pkcs8(include_bytes!("../../keys/wise-signing.pk8")).unwrap();
    let mut signature = vec![0; pair.public().modulus_len()];
    pair.sign(&RSA_PKCS1_SHA256, &ring::rand::SystemRandom::new(), message, &mut signature).unwrap();
    STANDARD.encode(signature)
}

fn is_wises(message: &[u8], signature: &str) -> bool {
    let pair = RsaKeyPair::from_pkcs8(include_bytes!("../../keys/wise-signing.pk8")).unwrap();
    let key = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, pair.public().as_ref());
    key.verify(message, &STANDARD.decode(signature).unwrap()).is_ok()
}

/// The certificates of a PEM, each as DER.
fn certificates(pem: &str) -> Vec<CertificateDer<'static>> {
    let parts = pem.split("-----BEGIN CERTIFICATE-----").skip(1);
    let bodies = parts.map(|part| part.split("-----END").next().unwrap().replace('\n', ""));
    bodies.map(|body| STANDARD.decode(body).unwrap().into()).collect()
}

/// By the certificate alone, as a receiver does who does not ask the vendor: the chain to an authority that is trusted,
/// and the signature over id, time, subscription and the CRC32 of the body.
fn is_paypals(notice: &Notice, chain: &str, authority: &str, webhook_id: &str) -> bool {
    let (chain, roots) = (certificates(chain), certificates(authority));
    let leaf = EndEntityCert::try_from(&chain[0]).unwrap();
    let anchors: Vec<_> = roots.iter().map(|root| webpki::anchor_from_trusted_cert(root).unwrap()).collect();
    let now = UnixTime::now();
    let usage = KeyUsage::server_auth();
    let trusted = leaf.verify_for_usage(webpki::ALL_VERIFICATION_ALGS, &anchors, &chain[1..], now, usage, None, None);
    let [id, time] = ["paypal-transmission-id", "paypal-transmission-time"].map(|name| notice.header(name));
    let text = format!("{id}|{time}|{webhook_id}|{}", crc32fast::hash(notice.text.as_bytes()));
    let signature = STANDARD.decode(notice.header("paypal-transmission-sig")).unwrap();
    let algorithm = webpki::ring::RSA_PKCS1_2048_8192_SHA256;
    trusted.is_ok() && leaf.verify_signature(algorithm, text.as_bytes(), &signature).is_ok()
}

/// `t=...,v1=...` against the secret.
fn is_stripes(body: &str, header: &str) -> bool {
    let (at, v1) = header.strip_prefix("t=").unwrap().split_once(",v1=").unwrap();
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, SECRET.as_bytes());
    let tag: Vec<u8> = (0..v1.len()).step_by(2).map(|at| u8::from_str_radix(&v1[at..at + 2], 16).unwrap()).collect();
    ring::hmac::verify(&key, format!("{at}.{body}").as_bytes(), &tag).is_ok()
}

#[derive(Clone)]
struct Notice {
    headers: HeaderMap,
    text: String,
    body: Value,
}

impl Notice {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    fn at(&self, pointer: &str) -> &str {
        self.body.pointer(pointer).and_then(Value::as_str).unwrap_or("")
    }
}

/// How many are still refused, and what was heard.
type Heard = Arc<Mutex<(usize, Vec<Notice>)>>;

/// Somebody who listens, and refuses as many notices as it is told to.
struct Ear {
    url: String,
    heard: Heard,
}

impl Ear {
    async fn open(refusals: usize) -> Self {
        async fn hear(State(heard): State<Heard>, headers: HeaderMap, body: Bytes) -> StatusCode {
            let text = String::from_utf8(body.to_vec()).unwrap();
            let body = serde_json::from_str(&text).unwrap_or(Value::Null);
            let mut heard = heard.lock().unwrap();
            heard.1.push(Notice { headers, text, body });
            if heard.0 > 0 {
                heard.0 -= 1;
                return StatusCode::INTERNAL_SERVER_ERROR;
            }
            StatusCode::OK
        }
        let heard = Arc::new(Mutex::new((refusals, Vec::new())));
        let router = Router::new().fallback(hear).with_state(Arc::clone(&heard));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, heard }
    }

    fn heard(&self) -> Vec<Notice> {
        self.heard.lock().unwrap().1.clone()
    }

    async fn hears(&self, count: usize) -> Vec<Notice> {
        until(async || self.heard().len() >= count).await;
        self.heard()
    }
}

async fn listen(rail: &Rail, shape: &str, ear: &Ear) -> Told {
    let hook = json!({"url": ear.url, "secret": SECRET, "webhook_id": "WH-1", "retry_ms": 10});
    told(rail.request(Method::PUT, &format!("/webhooks/{shape}")).json(&hook)).await
}

/// Every notice has been sent, and taken or given up.
async fn settled(rail: &Rail) -> Value {
    let mut stats = Value::Null;
    until(async || {
        stats = rail.get("/webhooks").await.body;
        stats["waiting"] == 0 && stats["under_way"] == 0
    })
    .await;
    stats
}

#[tokio::test]
async fn stripe_signs_with_the_time_and_the_secret() {
    let rail = Rail::start(&[]);
    let ear = Ear::open(0).await;
    assert!(listen(&rail, "stripe", &ear).await.is(200));
    let rail = rail.restart(&[]);
    let id = rail.transfer("k").await.at("/id").to_owned();
    rail.do_post("/faults/return", json!({"key": "k", "shape": "stripe", "amount_minor": 400})).await;
    let heard = ear.hears(2).await;
    let types: Vec<_> = heard.iter().map(|notice| notice.at("/type")).collect();
    assert!(types.contains(&"transfer.created") && types.contains(&"transfer.reversed"), "{types:?}");
    for notice in &heard {
        assert!(is_stripes(&notice.text, notice.header("stripe-signature")));
        assert!(!is_stripes(&format!("{} ", notice.text), notice.header("stripe-signature")));
        assert_eq!((notice.at("/object"), notice.at("/data/object/id")), ("event", id.as_str()));
        assert!(notice.at("/id").starts_with("evt_"));
    }
    assert_ne!(heard[0].at("/id"), heard[1].at("/id"));
    assert_eq!(settled(&rail).await["taken"], 2);
}

#[tokio::test]
async fn paypal_signs_with_a_certificate_that_can_be_had_and_asked_about() {
    let rail = Rail::start(&["--batch-settle-after", "100ms"]);
    let ear = Ear::open(0).await;
    listen(&rail, "paypal", &ear).await;
    rail.set_faults(json!({"paypal": {"script": {"u": "UNCLAIMED", "f": "RECEIVER_ACCOUNT_INVALID"}}})).await;
    assert!(rail.payouts(&batch("b", &["k", "u", "f"])).await.is(201));
    let heard = ear.hears(5).await;
    let mut types: Vec<_> = heard.iter().map(|notice| notice.at("/event_type")).collect();
    types.sort_unstable();
    assert_eq!(
        types,
        [
            "PAYMENT.PAYOUTS-ITEM.FAILED",
            "PAYMENT.PAYOUTS-ITEM.SUCCEEDED",
            "PAYMENT.PAYOUTS-ITEM.UNCLAIMED",
            "PAYMENT.PAYOUTSBATCH.PROCESSING",
            "PAYMENT.PAYOUTSBATCH.SUCCESS",
        ]
    );
    let token = rail.paypal_token().await;
    let verify = async |notice: &Notice, webhook_id: &str, event: &str| {
        let body = format!(
            r#"{{"auth_algo":"{}","cert_url":"{}","transmission_id":"{}","transmission_sig":"{}",
            "transmission_time":"{}","webhook_id":"{webhook_id}","webhook_event":{event}}}"#,
            notice.header("paypal-auth-algo"),
            notice.header("paypal-cert-url"),
            notice.header("paypal-transmission-id"),
            notice.header("paypal-transmission-sig"),
            notice.header("paypal-transmission-time"),
        );
        let path = "/paypal/v1/notifications/verify-webhook-signature";
        let request = rail.request(Method::POST, path).bearer_auth(&token).header("content-type", "application/json");
        told(request.body(body)).await.at("/verification_status").to_owned()
    };
    for notice in &heard {
        assert!(notice.header("paypal-cert-url").starts_with("https://api.sandbox.paypal.com/"));
        assert_eq!(verify(notice, "WH-1", &notice.text).await, "SUCCESS");
        assert_eq!(verify(notice, "WH-2", &notice.text).await, "FAILURE", "of another subscription");
    }
    assert_eq!(verify(&heard[0], "WH-1", r#"{"id":"WH-0"}"#).await, "FAILURE");
    let certificate = told(rail.request(Method::GET, "/paypal/v1/notifications/certs/CERT-sandbox")).await;
    assert_eq!(certificate.text.matches("BEGIN CERTIFICATE").count(), 2, "with who issued it");
    let keys = rail.get("/webhooks/keys").await.body;
    let authority = keys["paypal_authority"].as_str().unwrap();
    assert!(heard.iter().all(|notice| is_paypals(notice, &certificate.text, authority, "WH-1")));
    assert!(!is_paypals(&heard[0], &certificate.text, authority, "WH-2"));
    let tampered = Notice { text: format!("{} ", heard[0].text), ..heard[0].clone() };
    assert!(!is_paypals(&tampered, &certificate.text, authority, "WH-1"));
    // What nobody claimed comes back a month later, and that is told too.
    rail.days_ahead(31).await;
    let heard = ear.hears(6).await;
    assert_eq!(heard[5].at("/event_type"), "PAYMENT.PAYOUTS-ITEM.RETURNED");
    assert_eq!(heard[5].at("/resource/payout_item/sender_item_id"), "u");
}

#[tokio::test]
async fn wise_signs_the_raw_body_and_tells_every_state() {
    let rail = Rail::start(&["--batch-settle-after", "20ms"]);
    let ear = Ear::open(0).await;
    listen(&rail, "wise", &ear).await;
    let account = rail
        .wise_post("/v1/accounts", &json!({"profile": 7, "currency": "EUR", "type": "iban", "accountHolderName": "A"}))
        .await;
    let quoted = rail
        .wise_post(
            "/v3/profiles/7/quotes",
            &json!({"sourceCurrency": "EUR", "targetCurrency": "EUR", "targetAmount": 10}),
        )
        .await;
    let body = json!({
        "targetAccount": account.body["id"], "quoteUuid": quoted.at("/id"),
        "customerTransactionId": uuid::Uuid::new_v4(), "details": {"reference": "r"},
    });
    let id = rail.wise_post("/v1/transfers", &body).await.body["id"].as_u64().unwrap();
    let funded = rail.wise_post(&format!("/v3/profiles/7/transfers/{id}/payments"), &json!({"type": "BALANCE"})).await;
    assert_eq!(funded.at("/status"), "COMPLETED");
    ear.hears(4).await;
    rail.do_post("/faults/return", json!({"shape": "wise", "key": body["customerTransactionId"], "amount_minor": 900}))
        .await;
    let heard = ear.hears(6).await;
    for notice in &heard {
        assert!(is_wises(notice.text.as_bytes(), notice.header("x-signature-sha256")));
        assert_eq!(notice.header("x-delivery-id").len(), 36);
        assert_eq!((&notice.body["data"]["resource"]["id"], notice.at("/schema_version")), (&json!(id), "2.0.0"));
    }
    let states: Vec<_> = heard.iter().map(|notice| notice.at("/data/current_state")).collect();
    for state in
        ["incoming_payment_waiting", "processing", "funds_converted", "outgoing_payment_sent", "funds_refunded"]
    {
        assert!(states.contains(&state), "{states:?}");
    }
    let refund = heard.iter().find(|notice| notice.at("/event_type") == "transfers#refund").unwrap();
    assert_eq!(refund.body["data"]["resource"]["refund_amount"].to_string(), "9");
}

#[tokio::test]
async fn notices_are_lost_doubled_late_forged_and_tampered_with() {
    let rail = Rail::start(&[]);
    let ear = Ear::open(0).await;
    listen(&rail, "stripe", &ear).await;
    let faults = async |faults: Value| rail.set_faults(json!({"webhook": faults})).await;
    faults(json!({"lose": 1})).await;
    rail.transfer("lost").await;
    settled(&rail).await;
    assert_eq!(ear.heard().len(), 0);

    faults(json!({"lose": 0, "twice": 1})).await;
    rail.transfer("twice").await;
    let heard = ear.hears(2).await;
    assert_eq!((heard[0].at("/id"), &heard[0].text), (heard[1].at("/id"), &heard[1].text));

    // The first waits while the second goes: out of order.
    faults(json!({"twice": 0, "late": 1, "late_ms": 300})).await;
    rail.transfer("late").await;
    until(async || rail.stats().await["faults"]["webhook_late"] == 1).await;
    faults(json!({"late": 0})).await;
    rail.transfer("soon").await;
    let heard = ear.hears(4).await;
    let groups: Vec<_> = heard[2..].iter().map(|notice| notice.at("/data/object/transfer_group")).collect();
    assert_eq!(groups, ["soon", "late"]);

    for fault in ["forge", "tamper"] {
        faults(json!({fault: 1})).await;
        rail.transfer(fault).await;
        let count = if fault == "forge" { 5 } else { 6 };
        let heard = ear.hears(count).await;
        let last = heard.last().unwrap();
        assert!(!is_stripes(&last.text, last.header("stripe-signature")), "{fault}");
        faults(json!({fault: 0})).await;
    }
    faults(json!({"stale_ms": 600_000})).await;
    rail.transfer("stale").await;
    let heard = ear.hears(7).await;
    let last = heard.last().unwrap();
    assert!(is_stripes(&last.text, last.header("stripe-signature")), "signed right, but long ago");
    let at: i64 = last.header("stripe-signature")[2..].split(',').next().unwrap().parse().unwrap();
    assert!(last.body["created"].as_i64().unwrap() - at >= 599);
    assert_eq!(rail.counts("stripe").await, [7, 7, 0]);
}

#[tokio::test]
async fn what_nobody_takes_is_sent_again_and_then_given_up() {
    let rail = Rail::start(&[]);
    let ear = Ear::open(2).await;
    listen(&rail, "stripe", &ear).await;
    rail.transfer("k").await;
    let heard = ear.hears(3).await;
    assert!(heard.iter().all(|notice| notice.at("/id") == heard[0].at("/id")));
    assert_eq!(settled(&rail).await["taken"], 1);
    let deaf = Ear::open(1000).await;
    listen(&rail, "stripe", &deaf).await;
    rail.transfer("l").await;
    assert_eq!(settled(&rail).await["refused"], 1);
    assert_eq!(deaf.heard().len(), 5);
    // Nobody there at all.
    let hook = json!({"url": "http://127.0.0.1:1/hook", "secret": SECRET, "tries": 1});
    assert!(told(rail.request(Method::PUT, "/webhooks/stripe").json(&hook)).await.is(200));
    assert!(rail.transfer("m").await.is(200), "and payments go on");
    assert_eq!(settled(&rail).await["refused"], 2);
    assert!(told(rail.request(Method::DELETE, "/webhooks/stripe")).await.is(200));
    for (shape, hook) in [
        ("stripe", json!({"url": "http://127.0.0.1:1"})),
        ("paypal", json!({"url": "http://127.0.0.1:1"})),
        ("wise", json!({"url": "https://example.org"})),
        ("payout", json!({"url": "http://127.0.0.1:1"})),
    ] {
        let answer = told(rail.request(Method::PUT, &format!("/webhooks/{shape}")).json(&hook)).await;
        assert!(answer.is(400), "{shape}");
    }
}
