//! The one place that says what a failed call proves, whichever rail it went to.

use payfleet_domain::{Outcome, RefusalCode, StopReason};
use time::OffsetDateTime;

use crate::{Call, Finding};

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
    /// An access token was not accepted that had been in use before: it has expired or was revoked. The next call gets
    /// a new one.
    TokenExpired,
    /// A step before the one that moves money failed, so that one was not taken.
    NotBegun(&'static str),
    /// There is no access token to ask with, so nothing was asked.
    NoToken(&'static str),
    /// The rail said no, for something that is wrong with the account: nothing was executed.
    Stopped(StopReason),
    /// The same, repeated for a request that the rail had refused earlier under the same key: nothing was executed
    /// under it, and it says nothing of the account as it is now.
    StoppedBefore,
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

impl Cause {
    /// The one decision about what a failed call proves. Only what provably did not happen is "not executed", only what
    /// the rail documents as a refusal is "refused"; everything else may have been paid.
    pub(crate) fn outcome(&self) -> Outcome {
        match self {
            Cause::Unfit(_) | Cause::Unbuildable | Cause::Unconnected => Outcome::NotExecuted,
            Cause::RateLimited | Cause::Expired | Cause::Unauthorised => Outcome::NotExecuted,
            Cause::TokenExpired | Cause::NoToken(_) | Cause::NotBegun(_) => Outcome::NotExecuted,
            Cause::Stopped(_) | Cause::StoppedBefore => Outcome::NotExecuted,
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

    /// Why nothing can be paid from the account for now, if it says so.
    pub(crate) fn stops(&self) -> Option<StopReason> {
        match self {
            Cause::Unauthorised => Some(StopReason::CredentialRefused),
            Cause::Stopped(reason) => Some(*reason),
            _ => None,
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
            | Cause::TokenExpired
            | Cause::NoToken(_)
            | Cause::NotBegun(_)
            | Cause::Stopped(_)
            | Cause::StoppedBefore
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

    /// Expiry is the rail's to enforce, by its own clock; so it is by that clock that the older requests must have
    /// expired. Ours may have been stepped since they were sent.
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
            Cause::TokenExpired => "the access token has expired",
            Cause::NoToken(why) | Cause::NotBegun(why) => why,
            Cause::Stopped(reason) => reason.meaning(),
            Cause::StoppedBefore => "the rail repeats what it said of the account under this key before",
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
            Cause::Unfit(_)
            | Cause::Unbuildable
            | Cause::KeyReused
            | Cause::Unauthorised
            | Cause::NoToken(_)
            | Cause::Stopped(_)
            | Cause::Contradictory(_) => {
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
            | Cause::NotBegun(_)
            | Cause::InProgress
            | Cause::TimedOut
            | Cause::Broken
            | Cause::Oversized
            | Cause::Unreadable => {
                tracing::warn!(rail, account, %batch, reason, "a call without an answer that counts")
            }
            Cause::Refused(code) => tracing::debug!(rail, account, %batch, %code, "refused"),
            Cause::RateLimited
            | Cause::TokenExpired
            | Cause::StoppedBefore
            | Cause::NotFound { .. }
            | Cause::TooEarly => {
                tracing::debug!(rail, account, %batch, reason, "answered")
            }
        }
    }

    pub(crate) fn of_transport(error: &reqwest::Error) -> Cause {
        // A connection that was never made comes first: its own time-out is also "a time-out", and no request left. The
        // time-out of the whole call is not one of connecting, wherever it struck.
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
}
