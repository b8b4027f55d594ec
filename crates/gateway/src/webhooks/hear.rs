//! One request: from its bytes to the answer.

use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::{HeaderValue, Method, Request, Response, StatusCode, header};
use futures_util::StreamExt as _;
use payfleet_notices::Refusal;
use payfleet_store::NewNotice;
use time::OffsetDateTime;

use super::keep::{Keeper, Kept, named};
use super::known::{Known, KnownAccount, NotTaken};

/// How long a body may take to come.
const BODY: Duration = Duration::from_secs(5);
/// How long until a rail is told to come again. Wise waits for 5 s, and keeping takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(4);

/// Hears requests.
pub(super) struct Ear {
    pub(super) known: Known,
    pub(super) keeper: Keeper,
    pub(super) body_limit: usize,
}

/// What became of a request; in metrics by its word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Heard {
    Kept,
    /// An event that was kept before: what is answered is what it was answered then.
    Replayed,
    Forged,
    Stale,
    Malformed,
    Oversized,
    /// It came too slowly, or broke off.
    Slow,
    NotPost,
    /// Nobody is heard at this address.
    Unknown,
    /// It could not be verified now.
    Unverified,
    /// It could not be kept now.
    Unkept,
}

impl Heard {
    fn word(self) -> &'static str {
        match self {
            Heard::Kept => "kept",
            Heard::Replayed => "replayed",
            Heard::Forged => "forged",
            Heard::Stale => "stale",
            Heard::Malformed => "malformed",
            Heard::Oversized => "oversized",
            Heard::Slow => "slow",
            Heard::NotPost => "not_post",
            Heard::Unknown => "unknown",
            Heard::Unverified => "unverified",
            Heard::Unkept => "unkept",
        }
    }

    fn status(self) -> StatusCode {
        match self {
            Heard::Kept | Heard::Replayed => StatusCode::OK,
            Heard::Forged | Heard::Stale => StatusCode::UNAUTHORIZED,
            Heard::Malformed => StatusCode::BAD_REQUEST,
            Heard::Oversized => StatusCode::PAYLOAD_TOO_LARGE,
            Heard::Slow => StatusCode::REQUEST_TIMEOUT,
            Heard::NotPost => StatusCode::METHOD_NOT_ALLOWED,
            Heard::Unknown => StatusCode::NOT_FOUND,
            Heard::Unverified | Heard::Unkept => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The rest of the request was not read, and would be taken for the next one.
    fn leaves_a_rest(self) -> bool {
        match self {
            Heard::Oversized | Heard::Slow | Heard::NotPost | Heard::Unknown => true,
            Heard::Kept
            | Heard::Replayed
            | Heard::Forged
            | Heard::Stale
            | Heard::Malformed
            | Heard::Unverified
            | Heard::Unkept => false,
        }
    }

    fn answer(self) -> Response<Body> {
        let mut answer = Response::new(Body::from(format!("{}\n", self.word())));
        *answer.status_mut() = self.status();
        let headers = answer.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        if self.status() == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("30"));
        }
        if self == Heard::NotPost {
            headers.insert(header::ALLOW, HeaderValue::from_static("POST"));
        }
        if self.leaves_a_rest() {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        answer
    }
}

impl From<NotTaken> for Heard {
    fn from(not: NotTaken) -> Heard {
        match not {
            NotTaken::Refused(Refusal::Forged) => Heard::Forged,
            NotTaken::Refused(Refusal::Stale) => Heard::Stale,
            NotTaken::Refused(Refusal::Malformed) => Heard::Malformed,
            NotTaken::Unverified => Heard::Unverified,
        }
    }
}

impl Ear {
    /// The answer. 2xx is answered only for what is committed.
    pub(super) async fn hear(&self, request: Request<Body>) -> Response<Body> {
        let since = Instant::now();
        let account = self.known.at(request.uri().path());
        let heard = match account {
            None => Heard::Unknown,
            Some(_) if request.method() != Method::POST => Heard::NotPost,
            Some(account) => self.take(account, request).await.unwrap_or_else(|not| not),
        };
        // What is not configured is not a label, or anybody could make as many as they like.
        let rail = account.map_or("", |account| account.rail);
        metrics::counter!("payfleet_notices_total", "rail" => rail, "outcome" => heard.word()).increment(1);
        metrics::histogram!("payfleet_notice_seconds").record(since.elapsed().as_secs_f64());
        if let Some(account) = account
            && !matches!(heard, Heard::Kept | Heard::Replayed)
        {
            tracing::warn!(rail, account = %account.name, outcome = heard.word(), "a notice was not taken");
        }
        heard.answer()
    }

    async fn take(&self, account: &KnownAccount, request: Request<Body>) -> Result<Heard, Heard> {
        let (parts, body) = request.into_parts();
        let body = self.body(body).await?;
        let header = |name: &'static str| {
            let mut all = parts.headers.get_all(name).iter();
            let only = all.next().filter(|_| all.next().is_none());
            only.and_then(|value| value.to_str().ok())
        };
        let notice = account.verify(&header, &body, OffsetDateTime::now_utc()).await?;
        let about = notice.about.map(|about| named(account, about));
        let new = NewNotice {
            rail: account.rail,
            account: account.name.clone(),
            event: notice.id,
            kind: notice.kind,
            signed: notice.signed,
            body,
        };
        match tokio::time::timeout(PATIENCE, self.keeper.keep(new, about)).await {
            Ok(Some(Kept::New)) => Ok(Heard::Kept),
            Ok(Some(Kept::Before)) => Ok(Heard::Replayed),
            // It may be committed yet; then it is known when it comes again.
            Ok(None) | Err(_) => Err(Heard::Unkept),
        }
    }

    /// The whole body, if it is not larger than it may be.
    async fn body(&self, body: Body) -> Result<Vec<u8>, Heard> {
        use axum::body::HttpBody as _;
        let least = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
        if least > self.body_limit {
            return Err(Heard::Oversized);
        }
        let read = async {
            let mut whole = Vec::with_capacity(least);
            let mut pieces = body.into_data_stream();
            while let Some(piece) = pieces.next().await {
                let piece = piece.map_err(|_| Heard::Slow)?;
                if whole.len() + piece.len() > self.body_limit {
                    return Err(Heard::Oversized);
                }
                whole.extend_from_slice(&piece);
            }
            Ok(whole)
        };
        tokio::time::timeout(BODY, read).await.unwrap_or(Err(Heard::Slow))
    }
}
