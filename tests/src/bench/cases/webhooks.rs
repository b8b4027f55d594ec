//! The gateway under a rail's load: 5,000 events a second, a third of each rail, each signed as its rail signs.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use serde_json::json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::bench::Bench;
use crate::bench::report::{Goal, Unit};
use crate::bench::site::Site;
use crate::bench::usage::cpu_secs;
use crate::process::{Process, free_port, wait_for};

const CASE: &str = "webhooks";

const PER_SECOND: u64 = 5_000;
const SECONDS: u64 = 20;
/// What a rail keeps open, and sends over in turns.
const CONNECTIONS: u64 = 64;
const SECRET: &str = "whsec_bench";

const ROLE: &str = include_str!("../../../../deploy/gateway-role.sql");
const CERTIFICATE: &str = include_str!("../../../../crates/sandbox/keys/paypal-certificate.pem");
const AUTHORITY: &str = include_str!("../../../../crates/sandbox/keys/paypal-authority.pem");
const PAYPAL_KEY: &[u8] = include_bytes!("../../../../crates/sandbox/keys/paypal-signing.pk8");
const WISE_KEY: &[u8] = include_bytes!("../../../../crates/sandbox/keys/wise-signing.pk8");
const WISE_PUBLIC: &str = include_str!("../../../../crates/sandbox/keys/wise-public.pem");

/// Each event is new. What is measured is from the moment that an event was to be sent, not from when a connection was
/// free for it.
pub async fn measure(bench: &mut Bench) {
    let site = &bench.site;
    let database = "webhooks";
    site.execute("postgres", "CREATE DATABASE webhooks").await;
    site.coordinator(database, &["migrate"]).await;
    site.psql(database, ROLE, &[]).await;
    let certificates = certificates().await;
    let (gateway, port, admin) = gateway(site, database, certificates).await;

    let events = bench.size(PER_SECOND * SECONDS);
    let requests = Arc::new(signed(events, port).await);
    // The certificate is fetched, and the connections to Postgres are open, before it is counted.
    for request in &signed(6, port).await {
        let mut connection = TcpStream::connect(("127.0.0.1", port)).await.expect("the gateway listens");
        assert_eq!(sent(&mut connection, request).await, 200);
    }
    let before = cpu_secs(gateway.id());
    let begin = Instant::now() + Duration::from_millis(100);
    let tasks: Vec<_> = (0..CONNECTIONS).map(|n| tokio::spawn(connection(port, requests.clone(), n, begin))).collect();
    let mut took = Vec::new();
    for task in tasks {
        took.extend(task.await.expect("a connection ends well"));
    }
    let whole = begin.elapsed().as_secs_f64();
    let cpu = cpu_secs(gateway.id()) - before;
    took.sort_unstable();
    assert_eq!(took.len() as u64, events);
    let at = |share: f64| took[((took.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    let kept: String = site.psql(database, "SELECT count(*) FROM notice", &[]).await.concat();
    assert_eq!(kept, (events + 6).to_string(), "what was answered 200 is there");
    let metrics = site.http.get(format!("http://127.0.0.1:{admin}/metrics")).send().await.expect("it answers");
    let metrics = metrics.text().await.expect("metrics");
    let commits = metrics.lines().find_map(|line| line.strip_prefix("payfleet_notices_commits_total ")?.parse().ok());

    bench.report.judged(CASE, "events a second", events as f64 / whole, Unit::PerSecond, Goal::AtLeast(4_900.0));
    bench.report.shown(CASE, "answered, half of them within", at(0.5), Unit::Millis);
    bench.report.judged(CASE, "answered, 99 % within", at(0.99), Unit::Millis, Goal::Below(20.0));
    bench.report.shown(CASE, "answered, the last within", at(1.0), Unit::Millis);
    bench.report.shown(CASE, "cores that the gateway used", cpu / whole, Unit::Times);
    bench.report.shown(CASE, "events in a commit", events as f64 / commits.unwrap_or(f64::NAN), Unit::Count);
    let peak = gateway.peak_kib().unwrap_or(0) as f64 / 1024.0;
    bench.report.shown(CASE, "memory of the gateway", peak, Unit::Mib);
    drop(gateway);
    site.execute("postgres", "DROP DATABASE webhooks WITH (FORCE)").await;
}

/// Where the certificate is had, in PayPal's place.
async fn certificates() -> u16 {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut asked = [0; 4096];
            let _ = stream.read(&mut asked).await;
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", CERTIFICATE.len());
            let _ = stream.write_all(&[head.as_bytes(), CERTIFICATE.as_bytes()].concat()).await;
        }
    });
    port
}

async fn gateway(site: &Site, database: &str, certificates: u16) -> (Process, u16, u16) {
    let accounts = format!(
        r#"
        [[account]]
        rail = "paypal"
        name = "bench"
        base_url = "http://127.0.0.1:{certificates}"
        webhooks = {{ id = "WH-1", authority = """{AUTHORITY}""" }}
        [[account]]
        rail = "stripe"
        name = "bench"
        webhooks = {{ secrets = ["HOOK"] }}
        [[account]]
        rail = "wise"
        name = "bench"
        webhooks = {{ public_keys = ["""{WISE_PUBLIC}"""] }}
        "#
    );
    std::fs::write(site.folder().join("rails.toml"), accounts).expect("a file can be written");
    site.execute(
        database,
        "DO $$ BEGIN CREATE ROLE bench_gateway LOGIN IN ROLE payfleet_gateway;
         EXCEPTION WHEN duplicate_object THEN NULL; END $$",
    )
    .await;
    let (port, admin) = (free_port(), free_port());
    let mut command = site.program("payfleet-gateway", database);
    command
        .args(["webhooks", "--rail-accounts", "rails.toml"])
        .args(["--listen", &format!("127.0.0.1:{port}"), "--admin-listen", &format!("127.0.0.1:{admin}")])
        .env("PAYFLEET_DATABASE_URL", site.postgres.url(database).replacen("postgres@", "bench_gateway@", 1))
        .env("PAYFLEET_RAIL_CREDENTIAL_HOOK", SECRET);
    let process = Process::start("payfleet-gateway", &mut command, &site.folder().join("gateway.log"));
    let ready = format!("http://127.0.0.1:{admin}/readyz");
    wait_for("the gateway", Duration::from_secs(20), async || {
        site.http.get(&ready).send().await.ok().filter(|answer| answer.status().is_success()).map(drop)
    })
    .await;
    (process, port, admin)
}

/// So many requests, each of another event, of the three rails in turns.
async fn signed(events: u64, port: u16) -> Vec<Vec<u8>> {
    const SIGNERS: u64 = 2;
    let parts: Vec<_> = (0..SIGNERS)
        .map(|part| {
            let mine = (0..events).filter(move |n| n % SIGNERS == part);
            tokio::task::spawn_blocking(move || {
                let keys = [PAYPAL_KEY, WISE_KEY].map(|key| RsaKeyPair::from_pkcs8(key).expect("a key"));
                mine.map(|n| request(n, &keys, port)).collect::<Vec<_>>()
            })
        })
        .collect();
    let mut signed = Vec::new();
    for part in parts {
        signed.extend(part.await.expect("they sign"));
    }
    signed
}

fn request(n: u64, keys: &[RsaKeyPair; 2], port: u16) -> Vec<u8> {
    let now = OffsetDateTime::now_utc();
    // Two thousand bytes, as events of PayPal's and Stripe's are.
    let (filler, id) = ("x".repeat(1_600), format!("{n:08}-{:08x}", rand::random::<u32>()));
    let (rail, body) = match n % 3 {
        0 => (
            "paypal",
            json!({
                "id": format!("WH-{id}"), "event_type": "PAYMENT.PAYOUTS-ITEM.SUCCEEDED", "summary": filler,
                "resource": {
                    "payout_item_id": "PI", "transaction_status": "SUCCESS", "payout_batch_id": format!("RB{n}"),
                    "payout_item": {"sender_item_id": format!("{n}-a94610cdbdd66ccb")},
                },
            }),
        ),
        1 => (
            "stripe",
            json!({
                "id": format!("evt_{id}"), "type": "transfer.created",
                "data": {"object": {"id": format!("tr_{n}"), "object": "transfer", "description": filler}},
            }),
        ),
        _ => (
            "wise",
            json!({
                "event_type": "transfers#state-change", "subscription_id": id, "schema_version": "2.0.0",
                "data": {
                    "resource": {"id": n, "profile_id": 1, "account_id": 2, "type": "transfer"},
                    "current_state": "outgoing_payment_sent", "previous_state": "funds_converted",
                },
            }),
        ),
    };
    let body = body.to_string();
    let headers = match rail {
        "paypal" => {
            let at = now.format(&Rfc3339).expect("a time");
            let text = format!("tx-{id}|{at}|WH-1|{}", crc32fast::hash(body.as_bytes()));
            format!(
                "PAYPAL-AUTH-ALGO: SHA256withRSA\r\nPAYPAL-CERT-URL: https://api.paypal.com/certs/C\r\n\
                 PAYPAL-TRANSMISSION-ID: tx-{id}\r\nPAYPAL-TRANSMISSION-TIME: {at}\r\nPAYPAL-TRANSMISSION-SIG: {}\r\n",
                rsa(&keys[0], text.as_bytes())
            )
        }
        "stripe" => {
            let at = now.unix_timestamp();
            let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, SECRET.as_bytes());
            let tag = ring::hmac::sign(&key, format!("{at}.{body}").as_bytes());
            let hex: String = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
            format!("Stripe-Signature: t={at},v1={hex}\r\n")
        }
        _ => format!("X-Signature-SHA256: {}\r\nX-Delivery-Id: {id}\r\n", rsa(&keys[1], body.as_bytes())),
    };
    let host = format!("Host: 127.0.0.1:{port}\r\nContent-Type: application/json\r\nContent-Length: {}", body.len());
    format!("POST /webhooks/{rail}/bench HTTP/1.1\r\n{host}\r\n{headers}\r\n{body}").into_bytes()
}

fn rsa(key: &RsaKeyPair, message: &[u8]) -> String {
    let mut signature = vec![0; key.public().modulus_len()];
    key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature).expect("it has the key's length");
    STANDARD.encode(signature)
}

/// Every [`CONNECTIONS`]th of the requests, each when it is due. Returns how long each took from then.
async fn connection(port: u16, requests: Arc<Vec<Vec<u8>>>, nth: u64, begin: Instant) -> Vec<Duration> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.expect("the gateway listens");
    stream.set_nodelay(true).expect("a socket");
    let mut took = Vec::new();
    for (n, request) in (0..).zip(requests.iter()).filter(|(n, _)| n % CONNECTIONS == nth) {
        let due = begin + Duration::from_nanos(n * 1_000_000_000 / PER_SECOND);
        tokio::time::sleep_until(due).await;
        assert_eq!(sent(&mut stream, request).await, 200);
        took.push(due.elapsed());
    }
    took
}

/// The status of the answer, of which all is read.
async fn sent(stream: &mut TcpStream, request: &[u8]) -> u16 {
    stream.write_all(request).await.expect("it is written");
    let mut answer = Vec::new();
    loop {
        let read = stream.read_buf(&mut answer).await.expect("it is read");
        assert!(read > 0, "the gateway closed the connection: {}", String::from_utf8_lossy(&answer));
        let Some(end) = answer.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&answer[..end]).to_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
        if answer.len() >= end + 4 + length.unwrap_or(0) {
            return head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        }
    }
}
