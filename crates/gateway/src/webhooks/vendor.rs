//! What PayPal itself is asked: whether it has sent a notice. It is for where its certificates cannot be had: it costs
//! a call for each notice, and a credential that may do more than this.

use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use payfleet_notices::paypal::Transmission;
use payfleet_runtime::secret::rail_credential;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::sync::Mutex;
use url::Url;

/// How long the question may take, with what it needs.
const ASK: Duration = Duration::from_secs(3);
/// Bytes of an answer, at most.
const BYTES: usize = 64 * 1024;
/// So long before its end a token is not used any more.
const EARLY: Duration = Duration::from_secs(60);

/// A client that goes where it is told, once.
pub(super) fn client() -> Result<reqwest::Client, reqwest::Error> {
    payfleet_runtime::tls::cryptography_set();
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .connect_timeout(Duration::from_secs(2))
        .user_agent(concat!("payfleet/", env!("CARGO_PKG_VERSION")))
        .build()
}

/// The body of an answer, if it is not larger than that.
pub(super) async fn bounded(answer: reqwest::Response, most: usize) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    let mut pieces = answer.bytes_stream();
    while let Some(piece) = pieces.next().await {
        let piece = piece.ok()?;
        if body.len() + piece.len() > most {
            return None;
        }
        body.extend_from_slice(&piece);
    }
    Some(body)
}

/// Where a rail is.
#[derive(Debug, Clone)]
pub(super) struct Base(Url);

impl Base {
    /// An error says what is wrong with it. The address may hold a password, so it is not repeated.
    pub(super) fn new(base_url: &str) -> Result<Base, &'static str> {
        let url = Url::parse(base_url).map_err(|_| "`base_url` is no address")?;
        let is_plain = url.username().is_empty() && url.password().is_none() && url.query().is_none();
        if !is_plain || !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
            return Err("`base_url` must be http(s)://HOST[:PORT][/PATH], without user, password or query");
        }
        let base = Base(url);
        if base.is_paypals() && base.0.scheme() != "https" {
            return Err("its secret would travel in the open: use https");
        }
        Ok(base)
    }

    /// Whether PayPal is there.
    pub(super) fn is_paypals(&self) -> bool {
        let host = self.0.host_str().unwrap_or_default().trim_end_matches('.');
        host.strip_suffix("paypal.com").is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    }

    /// A path below it.
    pub(super) fn at(&self, path: &str) -> Url {
        let mut url = self.0.clone();
        url.set_path(&format!("{}{path}", url.path().trim_end_matches('/')));
        url
    }
}

/// PayPal, as what it is asked under one credential.
pub(super) struct Vendor {
    client: reqwest::Client,
    base: Base,
    credential: String,
    token: Mutex<Option<Token>>,
}

#[derive(Clone)]
struct Token {
    text: String,
    until: Instant,
}

#[derive(Deserialize)]
struct Issued {
    access_token: String,
    expires_in: u64,
}

#[derive(Serialize)]
struct Question<'a> {
    auth_algo: &'a str,
    cert_url: &'a str,
    transmission_id: &'a str,
    transmission_sig: &'a str,
    transmission_time: &'a str,
    webhook_id: &'a str,
    /// As it was sent: printed anew it is another one.
    webhook_event: &'a RawValue,
}

#[derive(Deserialize)]
struct Verdict {
    verification_status: String,
}

impl Vendor {
    pub(super) fn new(client: reqwest::Client, base_url: &str, credential: String) -> Result<Vendor, &'static str> {
        Ok(Vendor { client, base: Base::new(base_url)?, credential, token: Mutex::default() })
    }

    /// Whether PayPal says that it has sent this; nothing if it does not say now. What is no JSON it has not sent.
    pub(super) async fn has_signed(&self, sent: &Transmission<'_>, webhook_id: &str, body: &[u8]) -> Option<bool> {
        let Ok(webhook_event) = serde_json::from_slice::<&RawValue>(body) else { return Some(false) };
        let question = Question {
            auth_algo: sent.algorithm,
            cert_url: sent.certificate,
            transmission_id: sent.id,
            transmission_sig: sent.signature,
            transmission_time: sent.time,
            webhook_id,
            webhook_event,
        };
        match tokio::time::timeout(ASK, self.ask(&question)).await {
            Ok(Ok(verdict)) => Some(verdict),
            Ok(Err(why)) => {
                tracing::warn!(why, "PayPal does not say whether it has sent a notice");
                None
            }
            Err(_) => {
                tracing::warn!("PayPal does not say within {ASK:?} whether it has sent a notice");
                None
            }
        }
    }

    async fn ask(&self, question: &Question<'_>) -> Result<bool, &'static str> {
        let url = self.base.at("/v1/notifications/verify-webhook-signature");
        // A token may have been taken back: another one, once.
        for is_last in [false, true] {
            let token = self.token().await?;
            let asked = self.client.post(url.clone()).bearer_auth(&token.text).json(question).send().await;
            let answer = asked.map_err(|_| "it cannot be reached")?;
            match answer.status().as_u16() {
                200 => {
                    let body = bounded(answer, BYTES).await.ok_or("its answer broke off")?;
                    let verdict: Verdict = serde_json::from_slice(&body).map_err(|_| "its answer is unreadable")?;
                    return match verdict.verification_status.as_str() {
                        "SUCCESS" => Ok(true),
                        "FAILURE" => Ok(false),
                        _ => Err("its answer has another status than SUCCESS or FAILURE"),
                    };
                }
                401 if !is_last => {
                    let mut held = self.token.lock().await;
                    // Unless somebody has fetched another one.
                    held.take_if(|held| held.text == token.text);
                }
                // What it cannot read as a question about a notice it has not sent.
                400 | 422 => return Ok(false),
                401 | 403 => return Err("it does not accept the credential"),
                _ => return Err("it answers with another status than 200"),
            }
        }
        Err("it does not accept the credential")
    }

    /// One is fetched at a time, and whoever comes meanwhile waits for it.
    async fn token(&self) -> Result<Token, &'static str> {
        let mut held = self.token.lock().await;
        if let Some(token) = held.as_ref().filter(|token| token.until > Instant::now()) {
            return Ok(token.clone());
        }
        let secret = rail_credential(&self.credential).map_err(|_| "its credential cannot be read")?;
        let (id, secret) = secret.expose().split_once(':').ok_or("its credential is not CLIENT_ID:SECRET")?;
        let request = self.client.post(self.base.at("/v1/oauth2/token")).basic_auth(id, Some(secret));
        let request = request.header("Content-Type", "application/x-www-form-urlencoded");
        let answer = request.body("grant_type=client_credentials").send().await;
        let answer = answer.map_err(|_| "it cannot be reached")?;
        if answer.status().as_u16() != 200 {
            return Err("it gives no token");
        }
        let body = bounded(answer, BYTES).await.ok_or("its token broke off")?;
        let issued: Issued = serde_json::from_slice(&body).map_err(|_| "its token is unreadable")?;
        let lives = Duration::from_secs(issued.expires_in).saturating_sub(EARLY);
        let until = Instant::now().checked_add(lives).ok_or("its token never ends")?;
        let token = Token { text: issued.access_token, until };
        *held = Some(token.clone());
        Ok(token)
    }
}
