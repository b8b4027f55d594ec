//! What travels over HTTP: instructions, shapes, problems. Parsing and checking only; nothing here executes anything.

use std::borrow::Cow;
use std::fmt;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Which kind of rail is played.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Shape {
    /// One payment a call, with an idempotency key.
    Payout,
    /// Many payments a call, deduplicated by batch, settled later.
    Batch,
    /// One payment a call, no key, but a lookup.
    Lookup,
    /// Many payments a call, neither key nor lookup.
    File,
    /// The dialect of PayPal Payouts.
    Paypal,
    /// The dialect of Stripe Connect's transfers.
    Stripe,
    /// The dialect of Wise.
    Wise,
}

impl Shape {
    /// How many there are.
    pub const COUNT: usize = 7;
    /// All of them, in the order of `self as usize`.
    pub const ALL: [Self; Self::COUNT] =
        [Self::Payout, Self::Batch, Self::Lookup, Self::File, Self::Paypal, Self::Stripe, Self::Wise];

    /// Whether it is the dialect of a vendor, which lives by the rail's own clock.
    pub const fn is_dialect(self) -> bool {
        matches!(self, Self::Paypal | Self::Stripe | Self::Wise)
    }

    /// As it is written in JSON and in queries.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Payout => "payout",
            Self::Batch => "batch",
            Self::Lookup => "lookup",
            Self::File => "file",
            Self::Paypal => "paypal",
            Self::Stripe => "stripe",
            Self::Wise => "wise",
        }
    }

    /// What the reference of one payment begins with.
    pub const fn payment_prefix(self) -> &'static str {
        match self {
            Self::Payout => "po_",
            Self::Batch => "it_",
            Self::Lookup => "tr_",
            Self::File => "bk_",
            Self::Stripe => "tr_",
            // These two name payments as the vendor does, without a prefix.
            Self::Paypal | Self::Wise => "",
        }
    }

    /// What the reference of money that came back begins with.
    pub const RETURN_PREFIX: &str = "rt_";
    /// What the reference of a refusal after acceptance begins with.
    pub const REFUSAL_PREFIX: &str = "rf_";

    /// What the reference of many payments sent together begins with.
    pub const fn group_prefix(self) -> &'static str {
        match self {
            Self::File => "fi_",
            _ => "ba_",
        }
    }
}

/// An instant, in milliseconds since 1970; RFC 3339 in JSON.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct At(pub i64);

impl At {
    /// Now, by the wall clock.
    pub fn now() -> Self {
        let nanos = OffsetDateTime::now_utc().unix_timestamp_nanos();
        Self(i64::try_from(nanos / 1_000_000).unwrap_or(i64::MAX))
    }

    /// Later by so much; never overflows.
    pub fn after(self, duration: std::time::Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)))
    }

    /// Earlier by so much; never overflows.
    pub fn before(self, duration: std::time::Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)))
    }

    /// As RFC 3339 without a fraction, as most vendors write it.
    pub fn seconds(self) -> String {
        let text = self.to_string();
        text.split_once('.').map_or(text.clone(), |(seconds, _)| format!("{seconds}Z"))
    }

    /// Reads RFC 3339.
    pub fn parse(text: &str) -> Option<Self> {
        let nanos = OffsetDateTime::parse(text, &Rfc3339).ok()?.unix_timestamp_nanos();
        i64::try_from(nanos.div_euclid(1_000_000)).ok().map(Self)
    }
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Beyond what a date can say only by absurd options; then the first instant stands in.
        let t = OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.0) * 1_000_000)
            .unwrap_or(OffsetDateTime::UNIX_EPOCH);
        let (hour, minute, second, milli) = t.to_hms_milli();
        write!(
            f,
            "{:04}-{:02}-{:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z",
            t.year(),
            u8::from(t.month()),
            t.day()
        )
    }
}

impl Serialize for At {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for At {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("not an RFC 3339 instant"))
    }
}

/// Pay this amount there: one payment, as asked for. `expires_at` counts only where the instruction is the whole body.
#[derive(Debug, Deserialize)]
pub struct Instruction<'a> {
    /// Our name of the payment.
    #[serde(borrow)]
    pub key: Cow<'a, str>,
    /// In the smallest unit of the currency.
    pub amount_minor: i64,
    /// ISO 4217.
    #[serde(borrow)]
    pub currency: Cow<'a, str>,
    /// Where to; opaque.
    #[serde(borrow)]
    pub destination: Cow<'a, str>,
    /// Not to be executed after this instant.
    #[serde(default)]
    pub expires_at: Option<At>,
}

impl Instruction<'_> {
    /// Well formed, and in this currency if one is given; otherwise the problem that refuses the whole request.
    pub fn check(&self, currency: Option<&str>) -> Result<(), Problem> {
        let wrong = if !is_name(&self.key) {
            "key must have 1 to 64 characters"
        } else if self.amount_minor <= 0 {
            "amount_minor must be positive"
        } else if self.destination.is_empty() {
            "destination is empty"
        } else if self.destination.chars().any(char::is_control) {
            "destination contains a control character"
        } else if !is_currency(&self.currency) {
            "currency must be three capital letters"
        } else if currency.is_some_and(|currency| currency != self.currency) {
            "currency differs from that of the request"
        } else {
            return Ok(());
        };
        Err(Problem {
            key: Some(self.key.chars().take(64).collect()),
            ..Problem::new(StatusCode::BAD_REQUEST, "invalid_item", wrong)
        })
    }
}

/// Many instructions that travel together: the body of the shapes `batch` and `file`.
#[derive(Debug, Deserialize)]
pub struct Group<'a> {
    /// The name of the whole, by which the shape `batch` deduplicates.
    #[serde(borrow, rename = "sender_batch_id", alias = "file_id")]
    pub name: Cow<'a, str>,
    /// The one currency.
    #[serde(borrow)]
    pub currency: Cow<'a, str>,
    /// At least one.
    #[serde(borrow)]
    pub items: Vec<Instruction<'a>>,
    /// Not to be executed after this instant.
    #[serde(default)]
    pub expires_at: Option<At>,
}

impl Group<'_> {
    /// Well formed as a whole and in each item.
    pub fn check(&self, most: usize) -> Result<(), Problem> {
        if !is_name(&self.name) {
            return Err(Problem::invalid("its id must have 1 to 64 characters"));
        }
        if self.items.is_empty() || self.items.len() > most {
            return Err(Problem::invalid(format!("must have 1 to {most} items")));
        }
        self.items.iter().try_for_each(|item| item.check(Some(&self.currency)))
    }
}

/// Reads a body, or says what is wrong with it.
pub fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Problem> {
    serde_json::from_slice(body).map_err(|error| Problem::invalid(format!("unreadable body: {error}")))
}

/// Refuses what came too late to be executed.
pub fn check_expiry(expires_at: Option<At>, now: At) -> Result<(), Problem> {
    match expires_at {
        Some(expires_at) if now > expires_at => {
            Err(Problem::new(StatusCode::CONFLICT, "expired", "arrived after expires_at; not executed"))
        }
        _ => Ok(()),
    }
}

/// Whether this can be a key, an account, or the id of a batch.
pub fn is_name(name: &str) -> bool {
    !name.is_empty() && name.chars().count() <= 64
}

fn is_currency(text: &str) -> bool {
    text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_uppercase())
}

/// A request that is answered with an error body.
#[derive(Debug)]
pub struct Problem {
    /// The HTTP status.
    pub status: StatusCode,
    /// For programs.
    pub code: Cow<'static, str>,
    /// For people.
    pub message: Cow<'static, str>,
    /// The key of the item at fault, where there is one.
    pub key: Option<String>,
}

impl Problem {
    /// A problem without a key.
    pub fn new(status: StatusCode, code: impl Into<Cow<'static, str>>, message: impl Into<Cow<'static, str>>) -> Self {
        Self { status, code: code.into(), message: message.into(), key: None }
    }

    /// The request itself is wrong; nothing was executed.
    pub fn invalid(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request", message)
    }

    /// There is no such thing.
    pub fn not_found(what: &'static str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", what)
    }

    /// Too many requests; documented as not executed.
    pub fn rate_limited() -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", "too many requests; not executed")
    }

    /// A known key came with another body.
    pub fn key_reused(field: &'static str) -> Self {
        Self::new(StatusCode::CONFLICT, "key_reused", format!("known with another body: {field} differs"))
    }

    fn body(&self) -> Vec<u8> {
        let mut error = serde_json::json!({"code": self.code, "message": self.message});
        if let Some(key) = &self.key {
            error["key"] = key.as_str().into();
        }
        serde_json::json!({ "error": error }).to_string().into_bytes()
    }
}

/// What a call ends in.
#[derive(Debug)]
pub enum Reply {
    /// An answer.
    Json {
        /// The HTTP status.
        status: StatusCode,
        /// The whole body.
        body: Vec<u8>,
        /// Whether this repeats an earlier answer.
        replay: bool,
    },
    /// The connection is closed without a byte.
    Drop,
}

impl Reply {
    /// A first answer.
    pub fn json(status: StatusCode, body: &impl Serialize) -> Self {
        match serde_json::to_vec(body) {
            Ok(body) => Self::Json { status, body, replay: false },
            // Cannot happen with the types used; saying nothing is the one answer that asserts nothing.
            Err(_) => Self::Drop,
        }
    }

    /// The same, marked as repeated.
    pub fn replayed(self) -> Self {
        match self {
            Self::Json { status, body, .. } => Self::Json { status, body, replay: true },
            Self::Drop => Self::Drop,
        }
    }
}

impl From<Problem> for Reply {
    fn from(problem: Problem) -> Self {
        Self::Json { status: problem.status, body: problem.body(), replay: false }
    }
}

impl From<Result<Reply, Problem>> for Reply {
    fn from(result: Result<Reply, Problem>) -> Self {
        result.unwrap_or_else(Into::into)
    }
}

/// Marks a response that the server must not send.
#[derive(Clone, Copy, Debug)]
pub struct DropConnection;

impl IntoResponse for Reply {
    fn into_response(self) -> Response {
        match self {
            Self::Json { status, body, replay } => {
                let json = [(header::CONTENT_TYPE, "application/json")];
                let mut response = (status, json, body).into_response();
                if replay {
                    response.headers_mut().insert("idempotent-replay", HeaderValue::from_static("true"));
                }
                response
            }
            Self::Drop => {
                let mut response = StatusCode::INTERNAL_SERVER_ERROR.into_response();
                response.extensions_mut().insert(DropConnection);
                response
            }
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        Reply::from(self).into_response()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn instants_are_written_as_they_are_read() {
        let text = "2011-11-30T23:59:59.007Z";
        let at = At::parse(text).unwrap();
        assert_eq!(at.to_string(), text);
        assert_eq!(At::parse("2011-12-01T00:59:59.007+01:00"), Some(at));
        assert_eq!(At::parse("yesterday"), None);
    }

    #[test]
    fn a_malformed_item_is_named() {
        let check = |body: &str| {
            let item: Instruction<'_> = serde_json::from_str(body).unwrap();
            item.check(Some("EUR")).map_err(|p| (p.code.into_owned(), p.key.unwrap()))
        };
        let bad = Err(("invalid_item".to_owned(), "k".to_owned()));
        let body = |amount: i64, currency: &str, destination: &str| {
            serde_json::json!({"key":"k","amount_minor":amount,"currency":currency,"destination":destination})
                .to_string()
        };
        assert_eq!(check(&body(1, "EUR", "a@b")), Ok(()));
        assert_eq!(check(&body(0, "EUR", "a@b")), bad);
        assert_eq!(check(&body(1, "USD", "a@b")), bad);
        assert_eq!(check(&body(1, "EUR", "")), bad);
        assert_eq!(check(&body(1, "EUR", "a\nb")), bad);
    }
}
