//! The door for webhooks as a process over a real Postgres, and whatever may come to it.

#![allow(clippy::unwrap_used)]

#[path = "../../store/tests/support/mod.rs"]
mod support;

use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use sqlx::AssertSqlSafe;
use support::Db;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const PAYPAL_KEY: &[u8] = include_bytes!("../../sandbox/keys/paypal-signing.pk8");
const PAYPAL_CERTIFICATE: &str = include_str!("../../sandbox/keys/paypal-certificate.pem");
const PAYPAL_AUTHORITY: &str = include_str!("../../sandbox/keys/paypal-authority.pem");
const WISE_KEY: &[u8] = include_bytes!("../../sandbox/keys/wise-signing.pk8");
const WISE_PUBLIC: &str = include_str!("../../sandbox/keys/wise-public.pem");
const ROLE: &str = include_str!("../../../deploy/gateway-role.sql");
const SECRET: &str = "whsec_of_this_test";

/// A server in PayPal's place: certificates, tokens and verdicts; and what it was asked.
#[derive(Default)]
struct Vendor {
    certificates: AtomicUsize,
    tokens: AtomicUsize,
    /// 200: it answers; else the status of everything.
    status: AtomicU64,
}

impl Vendor {
    async fn open() -> (Arc<Vendor>, SocketAddr) {
        async fn answer(State(vendor): State<Arc<Vendor>>, uri: Uri, body: String) -> (StatusCode, String) {
            let status = vendor.status.load(Ordering::SeqCst);
            if status != 200 {
                return (StatusCode::from_u16(status as u16).unwrap(), String::new());
            }
            let told = match uri.path() {
                "/v1/oauth2/token" => {
                    vendor.tokens.fetch_add(1, Ordering::SeqCst);
                    r#"{"access_token": "t", "expires_in": 32400}"#.to_owned()
                }
                "/v1/notifications/verify-webhook-signature" => {
                    let asked: serde_json::Value = serde_json::from_str(&body).unwrap();
                    assert_eq!((&asked["webhook_id"], &asked["auth_algo"]), (&"WH-2".into(), &"SHA256withRSA".into()));
                    // The event as it was sent, spaces and all.
                    let is_right = body.contains(r#""webhook_event":{"id":  "WH-api""#);
                    format!(r#"{{"verification_status": "{}"}}"#, if is_right { "SUCCESS" } else { "FAILURE" })
                }
                "/v1/notifications/certs/good" => {
                    vendor.certificates.fetch_add(1, Ordering::SeqCst);
                    PAYPAL_CERTIFICATE.to_owned()
                }
                "/v1/notifications/certs/huge" => "x".repeat(100_000),
                "/v1/notifications/certs/none" => return (StatusCode::NOT_FOUND, String::new()),
                _ => "no certificate".to_owned(),
            };
            (StatusCode::OK, told)
        }
        let vendor = Arc::new(Vendor { status: AtomicU64::new(200), ..Vendor::default() });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().fallback(answer).with_state(vendor.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        (vendor, address)
    }
}

/// A gateway in its own role.
struct Door {
    db: Db,
    child: Child,
    address: SocketAddr,
    admin: SocketAddr,
    http: reqwest::Client,
    login: String,
}

fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

impl Door {
    async fn open(vendor: SocketAddr, arguments: &[&str]) -> Door {
        let db = Db::new().await;
        sqlx::raw_sql(ROLE).execute(&db.sql).await.unwrap();
        let login = format!("door_{}", uuid::Uuid::new_v4().simple());
        let create = format!("CREATE ROLE {login} LOGIN IN ROLE payfleet_gateway");
        sqlx::query(AssertSqlSafe(create)).execute(&db.sql).await.unwrap();
        let database: String = db.scalar("SELECT current_database()::text").await;
        let server = std::env::var("PAYFLEET_TEST_POSTGRES").unwrap();
        let place = server.split_once('@').unwrap().1.rsplit_once('/').unwrap().0.to_owned();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("rails.toml");
        let accounts = format!(
            r#"
            [[account]]
            rail = "paypal"
            name = "main"
            base_url = "http://{vendor}"
            webhooks = {{ id = "WH-1", authority = """{PAYPAL_AUTHORITY}""" }}
            [[account]]
            rail = "paypal"
            name = "asks"
            base_url = "http://{vendor}"
            webhooks = {{ id = "WH-2", credential = "PAYPAL" }}
            [[account]]
            rail = "stripe"
            name = "main"
            base_url = "https://api.stripe.com"
            webhooks = {{ secrets = ["HOOK"] }}
            [[account]]
            rail = "wise"
            name = "main"
            base_url = "https://api.wise-sandbox.com"
            webhooks = {{ public_keys = ["""{WISE_PUBLIC}"""] }}
            [[account]]
            rail = "stripe"
            name = "silent"
            base_url = "https://api.stripe.com"
            "#
        );
        std::fs::write(&file, accounts).unwrap();
        let (address, admin) = (free(), free());
        let mut command = Command::new(env!("CARGO_BIN_EXE_payfleet-gateway"));
        command
            .args(["webhooks", "--listen", &address.to_string(), "--admin-listen", &admin.to_string()])
            .arg("--rail-accounts")
            .arg(&file)
            .args(arguments)
            .env("PAYFLEET_DATABASE_URL", format!("postgres://{login}@{place}/{database}"))
            .env("PAYFLEET_RAIL_CREDENTIAL_HOOK", SECRET)
            .env("PAYFLEET_RAIL_CREDENTIAL_PAYPAL", "client:secret")
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        let child = command.spawn().unwrap();
        payfleet_runtime::tls::cryptography_set();
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let door = Door { db, child, address, admin, http, login };
        until(async || door.http.get(format!("http://{admin}/readyz")).send().await.is_ok_and(|a| a.status() == 200))
            .await;
        door
    }

    async fn post(&self, path: &str, headers: &[(&str, String)], body: &str) -> (u16, String) {
        let mut request = self.http.post(format!("http://{}{path}", self.address)).body(body.to_owned());
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap().trim().to_owned())
    }

    /// Sent byte by byte as it is here.
    async fn raw(&self, request: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        // It may have closed before all was written.
        let _ = stream.write_all(request).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    }

    async fn kept(&self) -> i64 {
        self.db.scalar("SELECT count(*) FROM notice").await
    }

    async fn counted(&self, rail: &str, outcome: &str) -> u64 {
        let metrics =
            self.http.get(format!("http://{}/metrics", self.admin)).send().await.unwrap().text().await.unwrap();
        let name = format!("payfleet_notices_total{{rail=\"{rail}\",outcome=\"{outcome}\"}} ");
        metrics.lines().find_map(|line| line.strip_prefix(&name)?.parse().ok()).unwrap_or(0)
    }

    async fn close(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        let drop = format!("DROP OWNED BY {0}; DROP ROLE {0}", self.login);
        sqlx::raw_sql(AssertSqlSafe(drop)).execute(&self.db.sql).await.unwrap();
        self.db.drop().await;
    }
}

async fn until(mut is_so: impl AsyncFnMut() -> bool) {
    let since = Instant::now();
    while !is_so().await {
        assert!(since.elapsed() < Duration::from_secs(30), "waited in vain");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn event(id: &str) -> String {
    format!(r#"{{"id":"{id}","type":"transfer.created","data":{{"object":{{"id":"tr_1"}}}}}}"#)
}

fn stripe(body: &str, at: i64) -> Vec<(&'static str, String)> {
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, SECRET.as_bytes());
    let tag = ring::hmac::sign(&key, format!("{at}.{body}").as_bytes());
    let hex: String = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    vec![("stripe-signature", format!("t={at},v1={hex}"))]
}

fn now() -> i64 {
    OffsetDateTime::now_utc().unix_timestamp()
}

fn rsa(key: &[u8], message: &[u8]) -> String {
    let pair = RsaKeyPair::from_pkcs8(key).unwrap();
    let mut signature = vec![0; pair.public().modulus_len()];
    pair.sign(&RSA_PKCS1_SHA256, &ring::rand::SystemRandom::new(), message, &mut signature).unwrap();
    STANDARD.encode(signature)
}

/// As PayPal sends it, for the subscription `WH-1`.
fn paypal(id: &str, certificate: &str, body: &str) -> Vec<(&'static str, String)> {
    let at = OffsetDateTime::now_utc().format(&Rfc3339).unwrap();
    let text = format!("{id}|{at}|WH-1|{}", crc32fast::hash(body.as_bytes()));
    vec![
        ("paypal-auth-algo", "SHA256withRSA".to_owned()),
        ("paypal-cert-url", format!("https://api.paypal.com/v1/notifications/certs/{certificate}")),
        ("paypal-transmission-id", id.to_owned()),
        ("paypal-transmission-time", at),
        ("paypal-transmission-sig", rsa(PAYPAL_KEY, text.as_bytes())),
    ]
}

const STRIPE: &str = "/webhooks/stripe/main";

#[tokio::test]
async fn what_is_right_is_kept_once_and_what_is_not_changes_nothing_and_is_counted() {
    let (_, vendor) = Vendor::open().await;
    let door = Door::open(vendor, &["--body-limit", "4096"]).await;
    let body = event("evt_1");
    assert_eq!(door.post(STRIPE, &stripe(&body, now()), &body).await, (200, "kept".to_owned()));
    assert_eq!(door.post(STRIPE, &stripe(&body, now() - 1), &body).await, (200, "replayed".to_owned()));
    let wise = r#"{"event_type":"unheard#of","data":{}}"#;
    let signed =
        |id: &str| vec![("x-signature-sha256", rsa(WISE_KEY, wise.as_bytes())), ("x-delivery-id", id.to_owned())];
    assert_eq!(door.post("/webhooks/wise/main", &signed("d-1"), wise).await, (200, "kept".to_owned()), "of any kind");
    assert_eq!(door.post("/webhooks/wise/main", &signed("d-2"), wise).await, (200, "replayed".to_owned()));
    assert_eq!(door.kept().await, 2);
    let kept: String = door
        .db
        .scalar("SELECT event || ' ' || kind || ' ' || convert_from(body, 'UTF8') FROM notice WHERE rail = 'stripe'")
        .await;
    assert_eq!(kept, format!("evt_1 transfer.created {body}"), "as it was sent");

    let other = event("evt_2");
    let mut twice = stripe(&other, now());
    twice.extend(stripe(&other, now()));
    for (headers, body, told) in [
        (vec![], other.clone(), (401, "forged")),
        (stripe(&body, now()), other.clone(), (401, "forged")),
        (twice, other.clone(), (401, "forged")),
        (stripe(&other, now() - 301), other.clone(), (401, "stale")),
        (stripe("[]", now()), "[]".to_owned(), (400, "malformed")),
        (stripe("", now()), String::new(), (400, "malformed")),
        (stripe(&"x".repeat(4096), now()), "x".repeat(4096), (400, "malformed")),
        (stripe(&"x".repeat(4097), now()), "x".repeat(4097), (413, "oversized")),
    ] {
        let answer = door.post(STRIPE, &headers, &body).await;
        assert_eq!((answer.0, answer.1.as_str()), told, "{headers:?} {}", &body[..body.len().min(80)]);
    }
    for path in [
        "/",
        "/webhooks/stripe/silent",
        "/webhooks/stripe/",
        "/webhooks/sepa/main",
        "/metrics",
        "/webhooks/stripe/main/x",
    ] {
        assert_eq!(door.post(path, &stripe(&other, now()), &other).await, (404, "unknown".to_owned()), "{path}");
    }
    let got = door.http.get(format!("http://{}{STRIPE}", door.address)).send().await.unwrap();
    assert_eq!((got.status().as_u16(), got.headers()["allow"].to_str().unwrap()), (405, "POST"));
    assert_eq!(door.kept().await, 2, "none of them changed anything");
    for (rail, outcome, count) in [
        ("stripe", "kept", 1),
        ("stripe", "replayed", 1),
        ("wise", "replayed", 1),
        ("stripe", "forged", 3),
        ("stripe", "stale", 1),
        ("stripe", "malformed", 3),
        ("stripe", "oversized", 1),
        ("stripe", "not_post", 1),
        ("", "unknown", 6),
    ] {
        assert_eq!(door.counted(rail, outcome).await, count, "{rail} {outcome}");
    }
    door.close().await;
}

#[tokio::test]
async fn requests_that_are_no_http_or_do_not_end_cost_one_connection_for_a_while() {
    let (_, vendor) = Vendor::open().await;
    let door = Door::open(vendor, &["--connections", "3", "--body-limit", "1024"]).await;
    let large = format!("POST {STRIPE} HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "x".repeat(20_000));
    let many = format!("POST {STRIPE} HTTP/1.1\r\nHost: x\r\n{}\r\n", "X: y\r\n".repeat(100));
    for (request, status) in [
        ("nonsense\r\n\r\n".to_owned(), "400"),
        (large, "431"),
        (many, "431"),
        (format!("POST {STRIPE} HTTP/1.1\r\nHost: x\r\nContent-Length: 99999\r\n\r\n"), "413"),
        (
            format!(
                "POST {STRIPE} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n800\r\n{}\r\n",
                "x".repeat(0x800)
            ),
            "413",
        ),
        (format!("POST {STRIPE} HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx"), "400"),
        // It says that more will come, and nothing does.
        (format!("POST {STRIPE} HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nx"), "408"),
    ] {
        let told = door.raw(request.as_bytes()).await;
        assert!(told.starts_with(&format!("HTTP/1.1 {status}")), "{}: {told}", &request[..request.len().min(120)]);
    }
    // Three that say nothing have all the places, until their time is over.
    let _silent = [
        TcpStream::connect(door.address).await.unwrap(),
        TcpStream::connect(door.address).await.unwrap(),
        TcpStream::connect(door.address).await.unwrap(),
    ];
    let body = event("evt_1");
    assert_eq!(door.post(STRIPE, &stripe(&body, now()), &body).await.0, 200);
    door.close().await;
}

#[tokio::test]
async fn paypal_is_believed_by_its_certificate_which_is_fetched_once() {
    let (vendor, address) = Vendor::open().await;
    let door = Door::open(address, &[]).await;
    let at = "/webhooks/paypal/main";
    let body = r#"{"id":"WH-a","event_type":"PAYMENT.PAYOUTSBATCH.SUCCESS","resource":{}}"#;
    let other = r#"{"id":"WH-b","event_type":"PAYMENT.PAYOUTSBATCH.SUCCESS","resource":{}}"#;
    assert_eq!(door.post(at, &paypal("tx-1", "good", body), body).await, (200, "kept".to_owned()));
    // The same event in another transmission.
    assert_eq!(door.post(at, &paypal("tx-2", "good", body), body).await, (200, "replayed".to_owned()));
    assert_eq!(
        door.post(at, &paypal("tx-1", "good", other), other).await.1,
        "replayed",
        "a transmission of another body"
    );
    assert_eq!(door.post(at, &paypal("tx-3", "good", body), other).await, (401, "forged".to_owned()));
    for bad in ["none", "huge", "text"] {
        let told = door.post(at, &paypal("tx-4", bad, other), other).await;
        assert_eq!(told, (if bad == "huge" { 503 } else { 401 }, told.1.clone()), "{bad}: {told:?}");
    }
    assert_eq!(vendor.certificates.load(Ordering::SeqCst), 1, "it was fetched once");
    // While the vendor is away, what is known goes on; what is not known is neither believed nor called forged.
    vendor.status.store(500, Ordering::SeqCst);
    assert_eq!(door.post(at, &paypal("tx-5", "other", other), other).await, (503, "unverified".to_owned()));
    assert_eq!(door.post(at, &paypal("tx-6", "good", other), other).await, (200, "kept".to_owned()));
    let elsewhere = paypal("tx-7", "good", other).into_iter().map(|(name, value)| match name {
        "paypal-cert-url" => (name, "https://paypal.com.example/v1/notifications/certs/good".to_owned()),
        _ => (name, value),
    });
    assert_eq!(door.post(at, &elsewhere.collect::<Vec<_>>(), other).await, (401, "forged".to_owned()));
    // Whoever tries many addresses is not let ask many.
    vendor.status.store(200, Ordering::SeqCst);
    for n in 0..40 {
        door.post(at, &paypal("tx-8", &format!("text{n}"), other), other).await;
    }
    assert!(door.counted("paypal", "unverified").await > 20, "it did not ask for all of them");
    assert_eq!(door.post(at, &paypal("tx-9", "good", other), other).await, (200, "replayed".to_owned()));
    assert_eq!(door.kept().await, 2);
    door.close().await;
}

#[tokio::test]
async fn paypal_itself_is_asked_where_that_is_configured() {
    let (vendor, address) = Vendor::open().await;
    let door = Door::open(address, &[]).await;
    let at = "/webhooks/paypal/asks";
    let body = r#"{"id":  "WH-api","event_type":"E"}"#;
    let other = r#"{"id":"WH-b","event_type":"E"}"#;
    assert_eq!(door.post(at, &paypal("tx-1", "any", body), body).await, (200, "kept".to_owned()));
    assert_eq!(door.post(at, &paypal("tx-2", "any", other), other).await, (401, "forged".to_owned()));
    assert_eq!(door.post(at, &paypal("tx-3", "any", "no"), "no").await, (401, "forged".to_owned()));
    assert_eq!(vendor.tokens.load(Ordering::SeqCst), 1);
    vendor.status.store(401, Ordering::SeqCst);
    assert_eq!(door.post(at, &paypal("tx-4", "any", body), body).await, (503, "unverified".to_owned()));
    vendor.status.store(200, Ordering::SeqCst);
    assert_eq!(door.post(at, &paypal("tx-5", "any", body), body).await, (200, "replayed".to_owned()));
    assert_eq!(vendor.tokens.load(Ordering::SeqCst), 2, "another token, since the first was refused");
    assert_eq!(door.kept().await, 1);
    door.close().await;
}

#[tokio::test]
async fn what_cannot_be_kept_is_not_said_to_be() {
    let (_, vendor) = Vendor::open().await;
    let door = Door::open(vendor, &[]).await;
    let body = event("evt_1");
    let forbid = |what: &str| {
        format!(
            "{what} EXECUTE ON FUNCTION notices_keep {} payfleet_gateway",
            if what == "GRANT" { "TO" } else { "FROM" }
        )
    };
    sqlx::query(AssertSqlSafe(forbid("REVOKE"))).execute(&door.db.sql).await.unwrap();
    assert_eq!(door.post(STRIPE, &stripe(&body, now()), &body).await, (503, "unkept".to_owned()));
    assert_eq!(door.kept().await, 0);
    sqlx::query(AssertSqlSafe(forbid("GRANT"))).execute(&door.db.sql).await.unwrap();
    assert_eq!(door.post(STRIPE, &stripe(&body, now()), &body).await, (200, "kept".to_owned()));
    // A commit that waits for a lock is waited for as long as a rail would wait, and may be found done afterwards.
    let mut lock = door.db.sql.begin().await.unwrap();
    sqlx::query("LOCK TABLE notice IN EXCLUSIVE MODE").execute(&mut *lock).await.unwrap();
    let other = event("evt_2");
    assert_eq!(door.post(STRIPE, &stripe(&other, now()), &other).await, (503, "unkept".to_owned()));
    lock.rollback().await.unwrap();
    until(async || door.kept().await == 2).await;
    assert_eq!(door.post(STRIPE, &stripe(&other, now()), &other).await, (200, "replayed".to_owned()));
    door.close().await;
}

#[test]
fn a_mistake_ends_it_at_its_start_and_says_where() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rails.toml");
    let ended = |accounts: &str, credential: &str| {
        std::fs::write(&file, accounts).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_payfleet-gateway"));
        command.args(["webhooks", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--rail-accounts"]);
        command.arg(&file).env("PAYFLEET_DATABASE_URL", "postgres://x@127.0.0.1:1/x");
        let told = command.env("PAYFLEET_RAIL_CREDENTIAL_HOOK", credential).output().unwrap();
        (told.status.code().unwrap(), String::from_utf8(told.stderr).unwrap())
    };
    let account = |rail: &str, rest: &str| format!("[[account]]\nrail = \"{rail}\"\nname = \"main\"\n{rest}");
    let stripe = account("stripe", "webhooks = { secrets = [\"HOOK\"] }");
    let rehearsal = "base_url = \"http://127.0.0.1:1\"\nwebhooks = { id = \"WH\" }";
    let open = "base_url = \"http://api.paypal.com\"\nwebhooks = { id = \"WH\", credential = \"HOOK\" }";
    for (accounts, credential, code, why) in [
        (stripe.as_str(), "x", 69, "cannot reach Postgres"),
        (&stripe, "", 64, "PAYFLEET_RAIL_CREDENTIAL_HOOK"),
        (&account("stripe", ""), "x", 64, "deploy/RAILS.md"),
        ("nonsense", "x", 64, "byte"),
        (&account("paypal", rehearsal), "x", 64, "`authority`"),
        (&account("paypal", open), "x", 64, "use https"),
    ] {
        let told = ended(accounts, credential);
        assert!(told.0 == code && told.1.contains(why), "{accounts}: {told:?}");
    }
    let help = Command::new(env!("CARGO_BIN_EXE_payfleet-gateway")).args(["webhooks", "--help"]).output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    for part in ["--listen", "PAYFLEET_RAIL_ACCOUNTS", "POST /webhooks/RAIL/ACCOUNT", "gateway-role.sql"] {
        assert!(help.contains(part), "{help}");
    }
}
