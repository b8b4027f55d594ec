//! Funding: the step that moves money. It has no key of its own; a transfer is one debt, and is funded once.

use payfleet_domain::{Outcome, Reference, RefusalCode, StopReason};
use reqwest::Method;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::transfer::Transfer;
use super::{RAIL, Site, is_documented_error, no_answer};
use crate::Call;
use crate::cause::Cause;
use crate::checks::read;
use crate::transport::{Budget, Reply};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Funded {
    status: String,
    error_code: Option<String>,
    #[serde(default)]
    errors: Option<IgnoredAny>,
}

/// What the answer to a funding says.
pub(crate) enum Funding {
    /// Money moves, or has moved.
    Completed,
    /// Nothing was executed before a person has authenticated.
    WaitsForAPerson,
    /// A refusal with HTTP 200, and its code. The transfer could still be funded by hand, or by a request of before: it
    /// is refused when it is cancelled, and not earlier.
    Rejected(RefusalCode),
    /// Such a refusal, because the balance has not enough money: this request has moved none. The transfer is left as
    /// it is, and the next request for the payout finds it under its UUID and funds it, or finds it funded.
    Stopped(StopReason),
}

impl Funding {
    pub(crate) fn of(reply: &Reply) -> Result<Funding, Cause> {
        if reply.status == 403 && asks_for_a_person(reply) {
            return Ok(Funding::WaitsForAPerson);
        }
        if reply.status != 200 {
            return Err(cause_of(reply));
        }
        let funded: Funded = read(&reply.body)?;
        if funded.errors.is_some() {
            return Err(Cause::Contradictory("a funding and an error in one answer"));
        }
        match (funded.status.as_str(), funded.error_code.as_deref()) {
            ("COMPLETED", None | Some("")) => Ok(Funding::Completed),
            ("REJECTED", Some(code)) if !code.is_empty() => {
                let code = RefusalCode::new(code);
                Ok(StopReason::of_code(&code).map_or(Funding::Rejected(code), Funding::Stopped))
            }
            _ => Err(Cause::Contradictory("a funding that is neither completed nor rejected")),
        }
    }
}

/// Funds a transfer that waits for it.
pub(super) async fn fund(site: &Site, call: &Call<'_>, transfer: &Transfer, budget: Budget) -> Result<Outcome, Cause> {
    let id = transfer.id();
    let path = [site.settings.api_version.as_str(), "profiles", &site.profile, "transfers", &id, "payments"];
    // Before it is sent, that no time is left for it is proof.
    let request = budget
        .left(site.transport.post(&path))
        .map_err(|_| Cause::NotBegun("the steps before the funding took the time of the call"))?;
    let request = site.asked(request, call.account)?.header("Content-Type", "application/json");
    let reply = site.transport.send(request.body(r#"{"type":"BALANCE"}"#), call).await?;
    match Funding::of(&reply)? {
        // Not paid yet: it is followed until it is sent.
        Funding::Completed => {}
        Funding::WaitsForAPerson => waits_for_a_person(call, transfer),
        Funding::Stopped(reason) => return Err(Cause::Stopped(reason)),
        Funding::Rejected(code) => return Err(rejected(code, transfer, &cancel(site, call, transfer, budget).await?)),
    }
    Ok(Outcome::Accepted(Reference(id)))
}

/// What a rejected funding is, once it was tried to cancel its transfer.
pub(crate) fn rejected(code: RefusalCode, transfer: &Transfer, cancelled: &Transfer) -> Cause {
    match cancelled.is_cancelled() && cancelled.id() == transfer.id() {
        true => Cause::Refused(code),
        false => Cause::Contradictory("funding was rejected, and the transfer is not cancelled"),
    }
}

/// Wise, "Strong customer authentication over API": 403 with these headers. Nothing was executed.
fn asks_for_a_person(reply: &Reply) -> bool {
    reply.header("x-2fa-approval").is_some_and(|token| !token.is_empty())
        && reply.header("x-2fa-approval-result").is_none_or(|result| result == "REJECTED")
}

/// Says so where people look.
pub(super) fn waits_for_a_person(call: &Call<'_>, transfer: &Transfer) {
    metrics::counter!("payfleet_rail_waits_for_a_person_total", "rail" => RAIL).increment(1);
    tracing::warn!(
        rail = RAIL,
        account = call.account.name,
        batch = %call.batch_key,
        transfer = transfer.id(),
        "the transfer is made and not funded: a person must approve it at Wise, or fund it by command"
    );
}

/// Cancels a transfer; answers with what it is then.
pub(super) async fn cancel(
    site: &Site,
    call: &Call<'_>,
    transfer: &Transfer,
    budget: Budget,
) -> Result<Transfer, Cause> {
    let id = transfer.id();
    let request = budget.left(site.transport.change(Method::PUT, &["v1", "transfers", &id, "cancel"]))?;
    let request = site.asked(request, call.account)?.header("Content-Type", "application/json");
    cancelled(&site.transport.send(request, call).await?)
}

/// What the answer to a cancelling says.
pub(crate) fn cancelled(reply: &Reply) -> Result<Transfer, Cause> {
    match reply.status {
        200 => read(&reply.body),
        // `transfer.cancellation.not.allowed`: too late.
        409 => Err(Cause::InProgress),
        // Even that nothing was cancelled is no word about the funding.
        _ => Err(Cause::Undocumented(reply.status)),
    }
}

/// What an answer other than success proves of the funding.
fn cause_of(reply: &Reply) -> Cause {
    match reply.status {
        401 | 403 if is_documented_error(reply) => Cause::Unauthorised,
        401 => Cause::Undocumented(401),
        _ => no_answer(reply),
    }
}
