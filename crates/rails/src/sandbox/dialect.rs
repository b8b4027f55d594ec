//! How the sandbox is spoken to: who asks, and what its statuses and codes mean, as its documentation says it.

use payfleet_domain::RefusalCode;
use reqwest::RequestBuilder;
use serde::Deserialize;
use time::OffsetDateTime;

use crate::cause::Cause;
use crate::transport::{Reply, json};
use crate::{Account, Call};

/// The account that pays, and what proves that it is ours.
pub(super) fn asked_by(request: RequestBuilder, account: &Account) -> RequestBuilder {
    let request = request.header("X-Account", &account.name);
    match &account.credential {
        Some(credential) => request.bearer_auth(credential.expose()),
        None => request,
    }
}

/// What a request of this kind may be answered, as the rail documents it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Documented {
    /// Statuses of success.
    pub(super) success: &'static [u16],
    /// 402 with a code: this payment was refused.
    pub(super) refuses_payments: bool,
    /// 400 `invalid_item`: the request was refused, nothing of it was executed.
    pub(super) refuses_requests: bool,
    /// 404 `not_found`: never executed.
    pub(super) not_found: bool,
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

/// The body of a documented success, still to be checked.
pub(super) fn success<'r>(reply: &'r Reply, call: &Call<'_>, documented: Documented) -> Result<&'r [u8], Cause> {
    match documented.success.contains(&reply.status) {
        true => Ok(&reply.body),
        false => Err(cause_of(reply.status, reply.at, &reply.body, documented, call)),
    }
}

fn cause_of(status: u16, at: Option<OffsetDateTime>, body: &[u8], documented: Documented, call: &Call<'_>) -> Cause {
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
        (400, Some("invalid_item")) if documented.refuses_requests => Cause::Refused(RefusalCode::new("invalid_item")),
        (404, Some("not_found")) if documented.not_found => Cause::NotFound { at },
        (409, Some("expired")) => Cause::Expired,
        (409, Some("key_reused")) => Cause::KeyReused,
        (409, Some("in_progress")) => Cause::InProgress,
        (429, Some("rate_limited")) => Cause::RateLimited,
        // Also 403, and any of the above without its code: a proxy or a firewall can answer so after the rail has paid.
        (_, _) => Cause::Undocumented(status),
    }
}
