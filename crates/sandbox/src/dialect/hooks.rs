//! Notices on their way: kept until they are due, signed as their vendor does, sent, and sent again while nobody takes
//! them. Only in memory: a restart loses those under way, as a vendor may, and asking finds the same.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderName, HeaderValue, Request, StatusCode, Uri, header};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::net::TcpStream;

use super::sign;
use crate::core::Core;
use crate::engine::Engine;
use crate::wire::{At, Problem, Reply, Shape};

/// How long somebody may take to answer a notice; Wise waits 5 s [W10].
const PATIENCE: Duration = Duration::from_secs(5);

/// Where notices of one dialect go to.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hook {
    /// Only `http://`: the sandbox speaks to those beside it.
    pub url: String,
    /// Of Stripe: `whsec_...`, the whole of it the key.
    #[serde(default)]
    pub secret: String,
    /// Of PayPal: the id of the subscription, which is signed and not sent.
    #[serde(default)]
    pub webhook_id: String,
    /// Of PayPal: what `PAYPAL-CERT-URL` says instead of an address at PayPal.
    #[serde(default)]
    pub cert_url: Option<String>,
    /// How often a notice is sent that nobody takes.
    #[serde(default = "five")]
    pub tries: u32,
    /// How long until it is sent the second time; twice as long until the third, and so on.
    #[serde(default = "second")]
    pub retry_ms: u64,
}

fn five() -> u32 {
    5
}

fn second() -> u64 {
    1_000
}

impl Hook {
    /// Whether it can be used for this dialect.
    pub fn check(&self, shape: Shape) -> Result<(), &'static str> {
        if !shape.is_dialect() {
            return Err("only paypal, stripe and wise send notices");
        }
        let uri: Option<Uri> = self.url.parse().ok();
        if !uri.is_some_and(|uri| uri.scheme_str() == Some("http") && uri.host().is_some()) {
            return Err("url must be http://HOST[:PORT]/PATH");
        }
        match shape {
            Shape::Stripe if self.secret.is_empty() => Err("stripe needs a secret"),
            Shape::Paypal if self.webhook_id.is_empty() => Err("paypal needs a webhook_id"),
            _ => Ok(()),
        }
    }
}

/// One notice.
#[derive(Clone, Debug)]
pub struct Notice {
    /// Of which dialect.
    pub shape: Shape,
    /// When it is sent, by the rail's clock.
    pub due: At,
    /// The same whenever it is sent again.
    pub id: String,
    /// What it is about, where it may be overtaken by something else.
    pub about: Option<String>,
    /// As it is sent and signed.
    pub body: String,
    /// How often it was sent.
    pub tries: u32,
    /// Whether faults have been drawn for it.
    pub is_extra: bool,
}

/// What is to be sent, and what became of the rest.
#[derive(Default)]
pub struct Notices {
    waiting: BTreeMap<(At, u64), Notice>,
    number: u64,
    under_way: u64,
    taken: u64,
    refused: u64,
}

impl Notices {
    /// One more.
    pub fn push(&mut self, notice: Notice) {
        self.number += 1;
        self.waiting.insert((notice.due, self.number), notice);
    }

    /// How many there ever were.
    pub fn count(&self) -> u64 {
        self.number
    }

    /// Forgets what waits.
    pub fn drop_all(&mut self, shape: Shape) {
        self.waiting.retain(|_, notice| notice.shape != shape);
    }

    /// Forgets what waits about this.
    pub fn drop_about(&mut self, about: &str) {
        self.waiting.retain(|_, notice| notice.about.as_deref() != Some(about));
    }

    fn pop(&mut self, now: At) -> Result<Notice, Option<i64>> {
        let Some(first) = self.waiting.first_entry() else { return Err(None) };
        let due = first.key().0;
        if due > now {
            return Err(Some(due.0.saturating_sub(now.0)));
        }
        Ok(first.remove())
    }
}

/// What is sent, and how it is spoilt.
struct Parcel {
    notice: Notice,
    hook: Hook,
    forge: bool,
    tamper: bool,
    dated: At,
}

/// `GET /webhooks`: where notices go to, and what became of them.
pub async fn show(State(engine): State<Arc<Engine>>) -> Result<Reply, Problem> {
    let body = engine
        .execute(|core| {
            let notices = &core.dialects.notices;
            let hooks: BTreeMap<_, _> = core.dialects.hooks.iter().map(|(shape, hook)| (shape.name(), hook)).collect();
            json!({
                "hooks": hooks,
                "waiting": notices.waiting.len(),
                "under_way": notices.under_way,
                "taken": notices.taken,
                "refused": notices.refused,
            })
        })
        .await?;
    Ok(Reply::json(StatusCode::OK, &body))
}

/// Sends what is due, for ever. To be run beside the server.
pub async fn send_all(engine: &Arc<Engine>) {
    loop {
        match engine.with_core(next) {
            Ok(Some(parcel)) => {
                let engine = Arc::clone(engine);
                tokio::spawn(async move { deliver(&engine, parcel).await });
            }
            Ok(None) => {}
            Err(millis) => {
                let wait = Duration::from_millis(u64::try_from(millis.unwrap_or(3_600_000)).unwrap_or(0));
                // Either way it is looked up again.
                let _ = tokio::time::timeout(wait, engine.notices_changed()).await;
            }
        }
    }
}

/// The next one, none if a fault kept it, or how long until there is one.
fn next(core: &mut Core) -> Result<Option<Parcel>, Option<i64>> {
    let now = core.rail_now();
    let mut notice = core.dialects.notices.pop(now)?;
    let Some(hook) = core.dialects.hooks.get(&notice.shape).cloned() else { return Ok(None) };
    let faults = core.faults.config().webhook.clone();
    if !notice.is_extra {
        notice.is_extra = true;
        if core.faults.strikes_dialect(notice.shape, "webhook_lose", faults.lose) {
            return Ok(None);
        }
        if core.faults.strikes_dialect(notice.shape, "webhook_twice", faults.twice) {
            core.dialects.notices.push(notice.clone());
        }
        if core.faults.strikes_dialect(notice.shape, "webhook_late", faults.late) {
            notice.due = now.after(Duration::from_millis(faults.late_ms));
            core.dialects.notices.push(notice);
            return Ok(None);
        }
    }
    let forge = core.faults.strikes_dialect(notice.shape, "webhook_forge", faults.forge);
    let tamper = core.faults.strikes_dialect(notice.shape, "webhook_tamper", faults.tamper);
    core.dialects.notices.under_way += 1;
    Ok(Some(Parcel { notice, hook, forge, tamper, dated: now.before(Duration::from_millis(faults.stale_ms)) }))
}

async fn deliver(engine: &Arc<Engine>, parcel: Parcel) {
    let answered = tokio::time::timeout(PATIENCE, post(&parcel)).await;
    let is_taken = matches!(answered, Ok(Ok(status)) if status.is_success());
    if !is_taken {
        tracing::info!(shape = parcel.notice.shape.name(), ?answered, "a notice was not taken");
    }
    let changed = engine.execute(move |core| {
        let Parcel { mut notice, hook, .. } = parcel;
        let now = core.rail_now();
        let notices = &mut core.dialects.notices;
        notices.under_way -= 1;
        if is_taken {
            notices.taken += 1;
            return;
        }
        notice.tries += 1;
        if notice.tries >= hook.tries {
            notices.refused += 1;
            return;
        }
        let wait = hook.retry_ms.saturating_mul(1 << (notice.tries - 1).min(20));
        notice.due = now.after(Duration::from_millis(wait));
        notices.push(notice);
    });
    // Where the journal is lost the server stops, and nobody asks any more.
    let _ = changed.await;
}

async fn post(parcel: &Parcel) -> Result<StatusCode, Box<dyn std::error::Error + Send + Sync>> {
    let uri: Uri = parcel.hook.url.parse()?;
    let host = uri.host().unwrap_or("127.0.0.1");
    let stream = TcpStream::connect((host, uri.port_u16().unwrap_or(80))).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "the connection of a notice ended");
        }
    });
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let authority = uri.authority().map_or(host, |authority| authority.as_str());
    let mut request = Request::post(path)
        .header(header::HOST, authority)
        .header(header::CONTENT_TYPE, "application/json; charset=utf-8")
        .header(header::USER_AGENT, "payfleet-sandbox");
    for (name, value) in signed(parcel) {
        request = request.header(HeaderName::from_static(name), HeaderValue::from_str(&value)?);
    }
    let mut body = parcel.notice.body.clone();
    if parcel.tamper {
        body.push(' ');
    }
    let response = sender.send_request(request.body(Body::from(body))?).await?;
    Ok(response.status())
}

/// The headers by which its receiver may know who sent it.
fn signed(parcel: &Parcel) -> Vec<(&'static str, String)> {
    let Parcel { notice, hook, forge, dated, .. } = parcel;
    // Another body is signed than the one that is sent.
    let body = if *forge { format!("{} ", notice.body) } else { notice.body.clone() };
    match notice.shape {
        Shape::Stripe => vec![("stripe-signature", sign::stripe(&hook.secret, dated.0.div_euclid(1000), &body))],
        Shape::Paypal => {
            let id = uuid::Uuid::new_v4().to_string();
            let time = dated.seconds();
            let text = sign::paypal_text(&id, &time, &hook.webhook_id, body.as_bytes());
            let url = "https://api.sandbox.paypal.com/v1/notifications/certs/CERT-sandbox";
            vec![
                ("paypal-auth-algo", "SHA256withRSA".to_owned()),
                ("paypal-cert-url", hook.cert_url.clone().unwrap_or_else(|| url.to_owned())),
                ("paypal-transmission-id", id),
                ("paypal-transmission-time", time),
                ("paypal-transmission-sig", sign::paypal(&text)),
            ]
        }
        _ => vec![("x-signature-sha256", sign::wise(body.as_bytes())), ("x-delivery-id", notice.id.clone())],
    }
}
