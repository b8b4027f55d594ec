//! The HTTP transport that all rails share: one request, once, in bounded time and memory, and whether it certainly
//! never left.
//!
//! It knows no rail's words. It never repeats a request and never follows a redirect: where a request went, and how
//! often, is the fleet's decision.

use std::time::{Duration, Instant};

use payfleet_domain::Rail;
use reqwest::header::HeaderMap;
use reqwest::{RequestBuilder, Url};
use serde::de::DeserializeOwned;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;

use crate::cause::Cause;
use crate::{Call, RegistryError};

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
pub(crate) struct Transport {
    client: reqwest::Client,
    base: Url,
    call_timeout: Duration,
    statement: StatementPatience,
    /// Whose answers these are.
    rail: &'static str,
    /// Answers may tell of so many payments, whatever was asked about,
    items: usize,
    /// in so many bytes each.
    item_bytes: usize,
}

/// Why there is no transport to an address.
#[derive(Debug)]
pub(crate) enum NoTransport {
    /// Nothing could be answered in no time.
    NoTime,
    /// The address is no base for requests.
    Url(&'static str),
    /// TLS or the resolver could not be set up.
    Client(reqwest::Error),
}

impl From<NoTransport> for RegistryError {
    fn from(no: NoTransport) -> Self {
        match no {
            NoTransport::NoTime => RegistryError::NoTime,
            NoTransport::Url(why) => RegistryError::SandboxUrl { why },
            NoTransport::Client(source) => RegistryError::Client(source),
        }
    }
}

/// How long a statement is waited for.
#[derive(Clone, Copy)]
struct StatementPatience {
    /// Longer silence in the middle of it is a lost connection.
    silence: Duration,
    /// A million lines take seconds; this ends a statement that drips.
    whole: Duration,
}

/// A whole answer.
pub(crate) struct Reply {
    pub(crate) status: u16,
    /// When, by the rail's own clock.
    pub(crate) at: Option<OffsetDateTime>,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    /// What a header says, if it is text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

impl Transport {
    /// A client for the server at `base`.
    pub(crate) fn new(base: &str, call_timeout: Duration) -> Result<Transport, NoTransport> {
        Transport::with_patience(base, call_timeout, STATEMENT_PATIENCE)
    }

    fn with_patience(
        base: &str,
        call_timeout: Duration,
        statement: StatementPatience,
    ) -> Result<Transport, NoTransport> {
        if call_timeout.is_zero() {
            return Err(NoTransport::NoTime);
        }
        let base = base_of(base).map_err(NoTransport::Url)?;
        payfleet_runtime::tls::cryptography_set();
        let client = reqwest::Client::builder()
            // Not even what looks safe: the attempts of a payment are counted in the database. (The pool below may
            // still move a request to a fresh connection, but only one of which no byte was written.)
            .retry(reqwest::retry::never())
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .connect_timeout(CONNECT_TIMEOUT.min(call_timeout / 2))
            .read_timeout(statement.silence)
            // Below what servers commonly keep, so that a request seldom meets a connection that is being closed.
            .pool_idle_timeout(Duration::from_secs(20))
            .user_agent(concat!("payfleet/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(NoTransport::Client)?;
        Ok(Transport { client, base, call_timeout, statement, rail: "", items: 0, item_bytes: BODY_BYTES_PER_ITEM })
    }

    /// A request that pays. Who asks is for the rail's dialect to say.
    pub(crate) fn post(&self, path: &[&str]) -> RequestBuilder {
        self.client.post(self.url(path)).timeout(self.call_timeout)
    }

    /// A request that asks.
    pub(crate) fn get(&self, path: &[&str]) -> RequestBuilder {
        self.client.get(self.url(path)).timeout(self.call_timeout)
    }

    /// A request that asks, with what is asked for.
    pub(crate) fn get_query(&self, path: &[&str], query: &[(&str, &str)]) -> RequestBuilder {
        let mut url = self.url(path);
        url.query_pairs_mut().extend_pairs(query);
        self.client.get(url).timeout(self.call_timeout)
    }

    /// A request that changes something that was made before.
    pub(crate) fn change(&self, method: reqwest::Method, path: &[&str]) -> RequestBuilder {
        self.client.request(method, self.url(path)).timeout(self.call_timeout)
    }

    /// A request for a statement, which may take long but not fall silent.
    pub(crate) fn get_statement(&self, path: &[&str], query: &[(&str, &str)]) -> RequestBuilder {
        let mut url = self.url(path);
        url.query_pairs_mut().extend_pairs(query);
        self.client.get(url).timeout(self.statement.whole)
    }

    /// The same, for this rail.
    pub(crate) fn of(self, rail: &Rail) -> Transport {
        Transport { rail: rail.name, ..self }
    }

    /// The same, for a rail that tells of a whole batch when it is asked about what is left of it.
    pub(crate) fn telling_of(self, rail: &Rail) -> Transport {
        Transport { items: rail.payouts_per_batch as usize, ..self.of(rail) }
    }

    /// The same, for a rail that says so much of each payment.
    pub(crate) fn saying(self, item_bytes: usize) -> Transport {
        Transport { item_bytes, ..self }
    }

    /// The time of a call that begins now.
    pub(crate) fn budget(&self) -> Budget {
        Budget { until: Instant::now() + self.call_timeout }
    }

    /// Sends a request once, and reads the answer to its end.
    pub(crate) async fn send(&self, request: RequestBuilder, call: &Call<'_>) -> Result<Reply, Cause> {
        self.exchange(request, call.instructions.len().max(self.items)).await
    }

    /// The same for a request whose answer tells of so many payments.
    pub(crate) async fn exchange(&self, request: RequestBuilder, items: usize) -> Result<Reply, Cause> {
        let limit = BODY_BYTES_PER_CALL + self.item_bytes * items;
        let mut response = request.send().await.map_err(|error| Cause::of_transport(&error))?;
        let (status, at) = (response.status(), clock_of(&response));
        if let Some(at) = at {
            clock_told(self.rail, at);
        }
        let headers = std::mem::take(response.headers_mut());
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
        Ok(Reply { status: status.as_u16(), at, headers, body })
    }

    fn url(&self, path: &[&str]) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path); // always: http and https have paths
        }
        url
    }
}

/// The time of one call, however many requests it takes: it ends well before a request's lifetime does.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Budget {
    until: Instant,
}

impl Budget {
    /// What is left for the next request; nothing is asked when nothing is left.
    pub(crate) fn left(&self, request: RequestBuilder) -> Result<RequestBuilder, Cause> {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(Cause::TimedOut) } else { Ok(request.timeout(left)) }
    }
}

/// An address that requests can be made from.
pub(crate) fn base_of(base: &str) -> Result<Url, &'static str> {
    let base = Url::parse(base).map_err(|_| "not a URL")?;
    if !matches!(base.scheme(), "http" | "https") || base.host_str().is_none() {
        return Err("neither http nor https");
    }
    if !base.username().is_empty() || base.password().is_some() {
        return Err("holds a user or password");
    }
    if base.query().is_some() || base.fragment().is_some() {
        return Err("holds a query or fragment");
    }
    Ok(base)
}

/// A form as browsers send it (`application/x-www-form-urlencoded`), its fields in this order.
pub(crate) fn form<'a>(fields: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    // The rules are those of a query.
    let mut url = Url::parse("http://form/").expect("a URL as it stands here");
    url.query_pairs_mut().extend_pairs(fields);
    url.query().unwrap_or_default().to_owned()
}

/// The server's clock when it began to answer, to the second that had begun.
fn clock_of(response: &reqwest::Response) -> Option<OffsetDateTime> {
    let date = response.headers().get(reqwest::header::DATE)?.to_str().ok()?;
    OffsetDateTime::parse(date, &Rfc2822).ok()
}

/// Says by how much the rail's clock differs from ours. By its clock requests expire, and by the database's they are
/// dated; none is executed where it is ahead by more than a request lives.
fn clock_told(rail: &'static str, at: OffsetDateTime) {
    // It is told to the second that had begun.
    let ahead = (at - OffsetDateTime::now_utc()).as_seconds_f64() + 0.5;
    metrics::gauge!("payfleet_rail_clock_ahead_seconds", "rail" => rail).set(ahead);
}

/// What went wrong on the way to a statement, for its error.
pub(crate) fn transport_reason(error: &reqwest::Error) -> &'static str {
    Cause::of_transport(error).reason()
}

/// Reads JSON. All of it must be UTF-8: serde_json does not look into the strings of fields that nobody asks for, and
/// what is garbled in one place is believed in none.
pub(crate) fn json<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    serde_json::from_str(std::str::from_utf8(bytes).ok()?).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use futures_util::TryStreamExt;
    use time::macros::datetime;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::{Account, Adapter, StatementError};

    /// Serves one statement that begins and then sends a byte at this pace, for ever. The way of a statement is that of
    /// all shapes.
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
        let adapter = crate::sandbox::SandboxFile::new(
            Transport::with_patience(&url, Duration::from_secs(20), patience).unwrap(),
        );
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
