//! Groups: transfers that a person approves and funds together at Wise. Making, filling and closing one moves no money;
//! a group that is COMPLETED is closed, not paid. Whoever makes one keeps its id: its name finds a closed group too
//! (opencollective/opencollective-api#6280).

use payfleet_domain::{Currency, Outcome, Reference};
use reqwest::Method;
use serde::Deserialize;

use super::{RAIL, Wise, not_begun};
use crate::cause::Cause;
use crate::checks::{read, single, unanswered};
use crate::transport::Reply;
use crate::{Account, Answer, Call, StatementError};

/// A group as Wise told it last.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Group {
    /// Wise's name for it.
    pub id: String,
    /// Which state of it this is: only compared, for what is changed must be the one that was read last.
    pub version: i64,
    /// NEW, COMPLETED (closed, not paid), MARKED_FOR_CANCELLATION, PROCESSING_CANCEL, CANCELLED.
    pub status: String,
    /// The numbers of its transfers.
    #[serde(default)]
    pub transfer_ids: Vec<u64>,
}

impl Wise {
    /// Makes an empty group.
    pub async fn group_make(&self, account: &Account, currency: Currency, name: &str) -> Result<Group, StatementError> {
        let site = self.site(account).map_err(|cause| error(account, &cause))?;
        let body = serde_json::json!({ "sourceCurrency": currency.code(), "name": name }).to_string();
        let path = [site.settings.api_version.as_str(), "profiles", &site.profile, "batch-groups"];
        let reply = site.post(account, &path, body, site.transport.budget()).await;
        group_of(account, reply)
    }

    /// A group as it is now.
    pub async fn group_read(&self, account: &Account, id: &str) -> Result<Group, StatementError> {
        let site = self.site(account).map_err(|cause| error(account, &cause))?;
        let path = [site.settings.api_version.as_str(), "profiles", &site.profile, "batch-groups", id];
        let request = site.asked(site.transport.get(&path), account).map_err(|cause| error(account, &cause))?;
        group_of(account, site.transport.exchange(request, 1_000).await)
    }

    /// Prepares the payment of the call's one instruction in a group. Nothing is paid by it: `Accepted` says that it
    /// waits for the group to be closed and funded.
    pub async fn group_add(&self, call: &Call<'_>, group: &Group) -> Answer {
        let add = async {
            let (site, instruction) = (self.site(call.account)?, single(call)?);
            let budget = site.transport.budget();
            let version = site.settings.api_version.as_str();
            let path = [version, "profiles", &site.profile, "batch-groups", group.id.as_str(), "transfers"];
            let transfer = site.prepare(call, instruction, &path, budget).await.map_err(not_begun)?;
            Ok(Outcome::Accepted(Reference(transfer.id())))
        };
        match add.await {
            Ok(outcome) => Answer::Each(vec![outcome]),
            Err(cause) => unanswered(&cause, RAIL, call),
        }
    }

    /// Closes a group, so that it can be funded. It must be the one that was read last.
    pub async fn group_close(&self, account: &Account, group: &Group) -> Result<Group, StatementError> {
        let site = self.site(account).map_err(|cause| error(account, &cause))?;
        let body = serde_json::json!({ "status": "COMPLETED", "version": group.version }).to_string();
        let path = [site.settings.api_version.as_str(), "profiles", &site.profile, "batch-groups", group.id.as_str()];
        let request = site.transport.change(Method::PATCH, &path);
        let request = site.asked(request, account).map_err(|cause| error(account, &cause))?;
        let request = request.header("Content-Type", "application/json").body(body);
        group_of(account, site.transport.exchange(request, 1_000).await)
    }
}

fn group_of(account: &Account, reply: Result<Reply, Cause>) -> Result<Group, StatementError> {
    let reply = reply.map_err(|cause| error(account, &cause))?;
    match reply.status {
        200 | 201 => read(&reply.body).map_err(|cause| error(account, &cause)),
        status => Err(StatementError::Denied { rail: RAIL, account: account.name.clone(), status }),
    }
}

fn error(account: &Account, cause: &Cause) -> StatementError {
    StatementError::Unreachable { rail: RAIL, account: account.name.clone(), why: cause.reason() }
}
