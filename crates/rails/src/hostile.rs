//! What the adapters conclude from bytes, without a connection: so that hostile answers can be tried by the million.
//! Not for the fleet.

mod vendors;

use futures_util::{StreamExt, stream};

use time::{Duration, OffsetDateTime};

use reqwest::header::HeaderMap;

use crate::transport::Reply;
pub use vendors::{
    Said, WiseSteps, paypal_created, paypal_followed, paypal_is_what_was_sent, statement_page, stripe_found,
    stripe_paid, wise_found, wise_submitted,
};

use crate::{Answer, Call, Finding, StatementStream, sandbox};

/// What the sandbox rail's adapter concludes from this answer to a submission.
pub fn submitted(rail: &'static str, call: &Call<'_>, status: u16, body: &[u8]) -> Answer {
    sandbox::submitted(rail, call, &Reply { status, at: None, headers: HeaderMap::new(), body: body.to_owned() })
}

/// What the adapter concludes from this answer to a question; of the rails that can be asked.
pub fn looked_up(rail: &'static str, call: &Call<'_>, status: u16, body: &[u8]) -> Vec<Finding> {
    sandbox::looked_up(rail, call, &Reply { status, at: None, headers: HeaderMap::new(), body: body.to_owned() })
}

/// The lines of a statement that comes in these pieces.
pub fn statement(pieces: Vec<Vec<u8>>) -> StatementStream {
    let body = stream::iter(pieces.into_iter().map(|piece| Ok(piece.into()))).boxed();
    let from = OffsetDateTime::UNIX_EPOCH + Duration::days(365 * 56);
    sandbox::lines("sandbox-file", "main".to_owned(), from, body)
}
