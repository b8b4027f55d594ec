//! The HTTP client that all rails share, and the one place that says what a failed call proves.
//!
//! It speaks of transport, statuses and error codes; what a successful body must hold is for each adapter to check. It never
//! repeats a request and never follows a redirect: where a request went, and how often, is the fleet's decision.

use std::time::Duration;

use payfleet_domain::{Outcome, Rail, RefusalCode};
use reqwest::{RequestBuilder, Url};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;

use crate::{Account, Call, Finding, RegistryError};

/// No connection is waited for longer; a rail that cannot be reached should not hold a lease for a whole call's time.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a statement may take.
const STATEMENT_PATIENCE: StatementPatience =
    StatementPatience { silence: Duration::from_secs(30), whole: Duration::from_secs(60 * 60) };
/// The largest body that is read: so much for a call, and so much more for each payment that the answer may tell of.
const BODY_BYTES_PER_CALL: usize = 64 * 1024;
const BODY_BYTES_PER_ITEM: usize = 512;

/// A client of one rail's server.
#[derive(Clone)]
pub(crate) struct Http {
    client: reqwest::Client,
    base: Url,
    call_timeout: Duration,
    statement: StatementPatience,
    /// Whose answers these are.
    rail: &'static str,
    /// Answers may tell of so many payments, whatever was asked about.
    items: usize,
}

/// How long a statement is waited for.
#[derive(Clone, Copy)]
struct StatementPatience {
    /// Longer silence in the middle of it is a lost connection.
    silence: Duration,
    /// A million lines take seconds; this ends a statement that drips.
    whole: Duration,
}

/// Why a call brought no payment, as far as that is known. One variant for each case that was thought about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The call was not one that this rail takes.
    Unfit(&'static str),
    /// No request could be made of it (a credential or account name that is not fit for a header).
    Unbuildable,
    /// No connection, so no request.
    Unconnected,
    /// The rail documents this answer as not executed.
    RateLimited,
    /// The rail documents this answer as not executed.
    Expired,
    /// The rail documents this answer as not executed.
    Unauthorised,
    /// The rail said no.
    Refused(RefusalCode),
    /// A lookup: the rail does not know it.
    NotFound {
        /// When it said so, by its own clock.
        at: Option<OffsetDateTime>,
    },
    /// A lookup: the rail does not know it yet, and by its own clock an older request can still arrive.
    TooEarly,
    /// The key was used for another body. Whatever that was, it may have been paid.
    KeyReused,
    /// An earlier request under the same key is still being worked on.
    InProgress,
    /// No complete answer in time.
    TimedOut,
    /// The connection was lost before the answer was complete.
    Broken,
    /// The body is larger than any answer can be.
    Oversized,
    /// The body is not what the rail documents.
    Unreadable,
    /// The body says something that cannot be true of this request.
    Contradictory(&'static str),
    /// 5xx.
    ServerError(u16),
    /// A status, or a status with an error code, that the rail does not document.
    Undocumented(u16),
}

/// A whole answer.
pub(crate) struct Reply {
    pub(crate) status: u16,
    /// When, by the rail's own clock.
    pub(crate) at: Option<OffsetDateTime>,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    /// The body of a documented success, still to be checked.
    pub(crate) fn success(&self, call: &Call<'_>, documented: Documented) -> Result<&[u8], Cause> {
        match documented.success.contains(&self.status) {
            true => Ok(&self.body),
            false => Err(Cause::of_status(self.status, self.at, &self.body, documented, call)),
        }
    }
}

/// What a request of this kind may be answered, as the rail documents it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Documented {
    /// Statuses of success.
    pub(crate) success: &'static [u16],
    /// 402 with a code: this payment was refused.
    pub(crate) refuses_payments: bool,
    /// 400 `invalid_item`: the request was refused, nothing of it was executed.
    pub(crate) refuses_requests: bool,
    /// 404 `not_found`: never executed.
    pub(crate) not_found: bool,
}

/// `{"error":{"code":..}}` and nothing beside it: a body that also names a payment is contradictory.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ErrorBody {
    error: ErrorDetail,
}

#[derive(Deserialize)]
struct ErrorDetail {
    code: String,
    /// The instruction that it is about, if it says so.
    key: Option<String>,
}

impl Cause {
    /// The one decision about what a failed call proves. Only what provably did not happen is "not executed", only what the
    /// rail documents as a refusal is "refused"; everything else may have been paid.
    pub(crate) fn outcome(&self) -> Outcome {
        match self {
            Cause::Unfit(_) | Cause::Unbuildable | Cause::Unconnected => Outcome::NotExecuted,
            Cause::RateLimited | Cause::Expired | Cause::Unauthorised => Outcome::NotExecuted,
            Cause::Refused(code) => Outcome::Refused(code.clone()),
            Cause::NotFound { .. }
            | Cause::TooEarly
            | Cause::KeyReused
            | Cause::InProgress
            | Cause::TimedOut
            | Cause::Broken
            | Cause::Oversized
            | Cause::Unreadable
            | Cause::Contradictory(_)
            | Cause::ServerError(_)
            | Cause::Undocumented(_) => Outcome::Unknown,
        }
    }

    /// The same for a question: only the documented "not found" is an answer.
    pub(crate) fn finding(&self) -> Finding {
        match self {
            Cause::NotFound { .. } => Finding::NotFound,
            Cause::TooEarly => Finding::NotYet,
            Cause::Unfit(_)
            | Cause::Unbuildable
            | Cause::Unconnected
            | Cause::RateLimited
            | Cause::Expired
            | Cause::Unauthorised
            | Cause::Refused(_)
            | Cause::KeyReused
            | Cause::InProgress
            | Cause::TimedOut
            | Cause::Broken
            | Cause::Oversized
            | Cause::Unreadable
            | Cause::Contradictory(_)
            | Cause::ServerError(_)
            | Cause::Undocumented(_) => Finding::Unanswered,
        }
    }

    /// Expiry is the rail's to enforce, by its own clock; so it is by that clock that the older requests must have expired. Ours may have been stepped
    /// since they were sent.
    pub(crate) fn by_the_rails_clock(self, call: &Call<'_>) -> Cause {
        match self {
            Cause::NotFound { at } if at.is_none_or(|at| at <= call.expires_at) => Cause::TooEarly,
            cause => cause,
        }
    }

    /// For logs and errors. Holds nothing that the rail or the payee wrote.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Cause::Unfit(why) => why,
            Cause::Unbuildable => "account name or credential do not fit into a header",
            Cause::Unconnected => "no connection",
            Cause::RateLimited => "rate limited",
            Cause::Expired => "the request arrived after its expiry",
            Cause::Unauthorised => "the credential was not accepted",
            Cause::Refused(_) => "refused",
            Cause::NotFound { .. } => "not found",
            Cause::TooEarly => "not found, but an older request can still arrive",
            Cause::KeyReused => "the key was used for another body",
            Cause::InProgress => "an earlier request under the key is in progress",
            Cause::TimedOut => "no complete answer in time",
            Cause::Broken => "connection lost",
            Cause::Oversized => "answer too large",
            Cause::Unreadable => "answer not readable",
            Cause::Contradictory(why) => why,
            Cause::ServerError(_) => "server error",
            Cause::Undocumented(_) => "undocumented answer",
        }
    }

    /// Tells the operator what the outcome alone does not say.
    pub(crate) fn report(&self, rail: &'static str, call: &Call<'_>) {
        let (account, batch, reason) = (call.account.name.as_str(), call.batch_key, self.reason());
        match self {
            Cause::Unfit(_) | Cause::Unbuildable | Cause::KeyReused | Cause::Unauthorised | Cause::Contradictory(_) => {
                tracing::error!(rail, account, %batch, reason, "a call that somebody must look at");
            }
            Cause::ServerError(status) | Cause::Undocumented(status) => {
                tracing::warn!(rail, account, %batch, reason, status, "a call without an answer that counts");
            }
            Cause::Expired => {
                tracing::warn!(
                    rail,
                    account,
                    reason,
                    "nothing was executed: is the rail's clock ahead of ours, or its way here slow?"
                );
            }
            Cause::Unconnected
            | Cause::InProgress
            | Cause::TimedOut
            | Cause::Broken
            | Cause::Oversized
            | Cause::Unreadable => {
                tracing::warn!(rail, account, %batch, reason, "a call without an answer that counts")
            }
            Cause::Refused(code) => tracing::debug!(rail, account, %batch, %code, "refused"),
            Cause::RateLimited | Cause::NotFound { .. } | Cause::TooEarly => {
                tracing::debug!(rail, account, %batch, reason, "answered")
            }
        }
    }

    fn of_transport(error: &reqwest::Error) -> Cause {
        // A connection that was never made comes first: its own time-out is also "a time-out", and no request left. The time-out
        // of the whole call is not one of connecting, wherever it struck.
        if error.is_connect() {
            Cause::Unconnected
        } else if error.is_builder() {
            Cause::Unbuildable
        } else if error.is_timeout() {
            Cause::TimedOut
        } else {
            Cause::Broken
        }
    }

    fn of_status(
        status: u16,
        at: Option<OffsetDateTime>,
        body: &[u8],
        documented: Documented,
        call: &Call<'_>,
    ) -> Cause {
        let detail = json::<ErrorBody>(body).map(|body| body.error);
        if let Some(ErrorDetail { key: Some(key), .. }) = &detail
            && !call.instructions.iter().any(|instruction| instruction.key.as_str() == key)
        {
            return Cause::Contradictory("an error about an instruction that was not sent");
        }
        let code = detail.as_ref().map(|detail| detail.code.as_str()).filter(|code| !code.is_empty());
        match (status, code) {
            (500..=599, _) => Cause::ServerError(status),
            (401, Some(_)) => Cause::Unauthorised,
            (402, Some(code)) if documented.refuses_payments => Cause::Refused(RefusalCode::new(code)),
            (400, Some("invalid_item")) if documented.refuses_requests => {
                Cause::Refused(RefusalCode::new("invalid_item"))
            }
            (404, Some("not_found")) if documented.not_found => Cause::NotFound { at },
            (409, Some("expired")) => Cause::Expired,
            (409, Some("key_reused")) => Cause::KeyReused,
            (409, Some("in_progress")) => Cause::InProgress,
            (429, Some("rate_limited")) => Cause::RateLimited,
            // Also 403, and any of the above without its code: a proxy or a firewall can answer so after the rail has paid.
            (_, _) => Cause::Undocumented(status),
        }
    }
}

impl Http {
    /// A client for the server at `base`.
    pub(crate) fn new(base: &str, call_timeout: Duration) -> Result<Http, RegistryError> {
        Http::with_patience(base, call_timeout, STATEMENT_PATIENCE)
    }

    fn with_patience(base: &str, call_timeout: Duration, statement: StatementPatience) -> Result<Http, RegistryError> {
        if call_timeout.is_zero() {
            return Err(RegistryError::NoTime);
        }
        let wrong = |why| RegistryError::SandboxUrl { why };
        let base = Url::parse(base).map_err(|_| wrong("not a URL"))?;
        if !matches!(base.scheme(), "http" | "https") || base.host_str().is_none() {
            return Err(wrong("neither http nor https"));
        }
        if !base.username().is_empty() || base.password().is_some() {
            return Err(wrong("holds a user or password"));
        }
        if base.query().is_some() || base.fragment().is_some() {
            return Err(wrong("holds a query or fragment"));
        }
        payfleet_runtime::tls::cryptography_set();
        let client = reqwest::Client::builder()
            // Not even what looks safe: the attempts of a payment are counted in the database. (The pool below may still move
            // a request to a fresh connection, but only one of which no byte was written.)
            .retry(reqwest::retry::never())
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .connect_timeout(CONNECT_TIMEOUT.min(call_timeout / 2))
            .read_timeout(statement.silence)
            // Below what servers commonly keep, so that a request seldom meets a connection that is being closed.
            .pool_idle_timeout(Duration::from_secs(20))
            .user_agent(concat!("payfleet/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(RegistryError::Client)?;
        Ok(Http { client, base, call_timeout, statement, rail: "", items: 0 })
    }

    /// A request that pays.
    pub(crate) fn post(&self, account: &Account, path: &[&str]) -> RequestBuilder {
        self.with_account(self.client.post(self.url(path)), account).timeout(self.call_timeout)
    }

    /// A request that asks.
    pub(crate) fn get(&self, account: &Account, path: &[&str]) -> RequestBuilder {
        self.with_account(self.client.get(self.url(path)), account).timeout(self.call_timeout)
    }

    /// A request for a statement, which may take long but not fall silent.
    pub(crate) fn get_statement(&self, account: &Account, path: &[&str], query: &[(&str, &str)]) -> RequestBuilder {
        let mut url = self.url(path);
        url.query_pairs_mut().extend_pairs(query);
        self.with_account(self.client.get(url), account).timeout(self.statement.whole)
    }

    /// The same, for this rail.
    pub(crate) fn of(self, rail: &Rail) -> Http {
        Http { rail: rail.name, ..self }
    }

    /// The same, for a rail that tells of a whole batch when it is asked about what is left of it.
    pub(crate) fn telling_of(self, rail: &Rail) -> Http {
        Http { items: rail.payouts_per_batch as usize, ..self.of(rail) }
    }

    /// Sends a request once, and reads the answer to its end.
    pub(crate) async fn send(&self, request: RequestBuilder, call: &Call<'_>) -> Result<Reply, Cause> {
        let limit = BODY_BYTES_PER_CALL + BODY_BYTES_PER_ITEM * call.instructions.len().max(self.items);
        let mut response = request.send().await.map_err(|error| Cause::of_transport(&error))?;
        let (status, at) = (response.status(), clock_of(&response));
        if let Some(at) = at {
            clock_told(self.rail, at);
        }
        let mut body = Vec::new();
        loop {
            match response.chunk().await {
                // Whatever the status was: without its code it is not one that the rail documents.
                Err(error) if error.is_timeout() => return Err(Cause::TimedOut),
                Err(_) => return Err(Cause::Broken),
                Ok(Some(chunk)) if body.len() + chunk.len() > limit => return Err(Cause::Oversized),
                Ok(Some(chunk)) => body.extend_from_slice(&chunk),
                Ok(None) => break,
            }
        }
        Ok(Reply { status: status.as_u16(), at, body })
    }

    fn url(&self, path: &[&str]) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path); // always: http and https have paths
        }
        url
    }

    fn with_account(&self, request: RequestBuilder, account: &Account) -> RequestBuilder {
        let request = request.header("X-Account", &account.name);
        match &account.credential {
            Some(credential) => request.bearer_auth(credential.expose()),
            None => request,
        }
    }
}

/// The server's clock when it began to answer, to the second that had begun.
fn clock_of(response: &reqwest::Response) -> Option<OffsetDateTime> {
    let date = response.headers().get(reqwest::header::DATE)?.to_str().ok()?;
    OffsetDateTime::parse(date, &Rfc2822).ok()
}

/// Says by how much the rail's clock differs from ours. By its clock requests expire, and by the database's they are dated; none is executed where it is ahead by
/// more than a request lives.
fn clock_told(rail: &'static str, at: OffsetDateTime) {
    // It is told to the second that had begun.
    let ahead = (at - OffsetDateTime::now_utc()).as_seconds_f64() + 0.5;
    metrics::gauge!("payfleet_rail_clock_ahead_seconds", "rail" => rail).set(ahead);
}

/// What went wrong on the way to a statement, for its error.
pub(crate) fn transport_reason(error: &reqwest::Error) -> &'static str {
    Cause::of_transport(error).reason()
}

/// Reads JSON. All of it must be UTF-8: serde_json does not look into the strings of fields that nobody asks for, and what is garbled in one place
/// is believed in none.
pub(crate) fn json<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    serde_json::from_str(std::str::from_utf8(bytes).ok()?).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::time::Instant;

    use futures_util::TryStreamExt;
    use time::macros::datetime;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::{Adapter, StatementError};

    /// Serves one statement that begins and then sends a byte at this pace, for ever. The way of a statement is that of all shapes.
    async fn dripping(pace: Duration, patience: StatementPatience) -> (StatementError, Duration) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 4096];
            assert!(stream.read(&mut request).await.unwrap() > 0);
            stream.write_all(b"HTTP/1.1 200 X\r\ncontent-length: 100000\r\n\r\n{").await.unwrap();
            while stream.write_all(b" ").await.is_ok() {
                tokio::time::sleep(pace).await;
            }
        });
        let adapter =
            crate::sandbox::SandboxFile::new(Http::with_patience(&url, Duration::from_secs(20), patience).unwrap());
        let account = Account { name: "main".to_owned(), credential: None };
        let began = Instant::now();
        let mut lines = adapter.statement(&account, datetime!(2026-01-02 0:00 UTC)).await.unwrap();
        let error = lines.try_next().await.unwrap_err();
        server.abort();
        (error, began.elapsed())
    }

    #[tokio::test]
    async fn a_statement_neither_falls_silent_nor_drips_for_ever() {
        let (short, long) = (Duration::from_secs(1), Duration::from_secs(3600));
        for (case, pace, patience) in [
            ("silent", long, StatementPatience { silence: short, whole: long }),
            ("drips", Duration::from_millis(50), StatementPatience { silence: Duration::from_secs(600), whole: short }),
        ] {
            let (error, took) = dripping(pace, patience).await;
            assert!(matches!(error, StatementError::BrokeOff { lines: 0, .. }), "{case}: {error}");
            assert!(took >= short && took < Duration::from_secs(20), "{case}: {took:?}");
        }
        assert!(STATEMENT_PATIENCE.silence < STATEMENT_PATIENCE.whole && STATEMENT_PATIENCE.whole <= long);
    }
}
