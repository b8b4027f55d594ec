//! The way from a connected account to its bank, for those who show it: it moves no money of ours. A failed payout's
//! money is back in the connected account, not in the platform's.

use payfleet_domain::RefusalCode;
use serde::Deserialize;
use time::OffsetDateTime;

use super::Stripe;
use super::transfer::cause_of;
use crate::checks::read;
use crate::{Account, StatementError};

/// Where a payout to a bank stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BankPayoutState {
    /// Not sent to the bank yet.
    Pending,
    /// On its way.
    InTransit,
    /// Arrived; may become failed within five business days.
    Paid,
    /// It came back to the connected account.
    Failed,
    /// It was taken back before it was sent.
    Canceled,
    /// A word that this build does not know.
    Unknown,
}

/// A payout from a connected account to its bank. It says neither how much nor where to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BankPayout {
    /// Stripe's name for it.
    pub id: String,
    /// Where it stands.
    pub state: BankPayoutState,
    /// Why it failed.
    pub failure: Option<RefusalCode>,
    /// When it was made.
    pub created: Option<OffsetDateTime>,
}

#[derive(Deserialize)]
struct List {
    object: String,
    data: Vec<Payout>,
}

#[derive(Deserialize)]
struct Payout {
    id: String,
    status: String,
    failure_code: Option<String>,
    created: i64,
}

impl Stripe {
    /// The newest payouts of a connected account to its bank since then, at most 100.
    pub async fn bank_payouts(
        &self,
        account: &Account,
        connected: &str,
        since: OffsetDateTime,
    ) -> Result<Vec<BankPayout>, StatementError> {
        let unreachable = |why| StatementError::Unreachable { rail: super::RAIL, account: account.name.clone(), why };
        let site = self.site(account).map_err(|cause| unreachable(cause.reason()))?;
        let since = since.unix_timestamp().to_string();
        let request = site.transport.get_query(&["v1", "payouts"], &[("created[gte]", &since), ("limit", "100")]);
        let request = site.asked(request, account).map_err(|cause| unreachable(cause.reason()))?;
        let request = request.header("Stripe-Account", connected);
        let reply = site.transport.exchange(request, 100).await.map_err(|cause| unreachable(cause.reason()))?;
        if reply.status != 200 {
            tracing::warn!(rail = super::RAIL, reason = cause_of(&reply, false).reason(), "no payouts of an account");
            let account = account.name.clone();
            return Err(StatementError::Denied { rail: super::RAIL, account, status: reply.status });
        }
        let list: List = read(&reply.body).map_err(|cause| unreachable(cause.reason()))?;
        if list.object != "list" {
            return Err(unreachable("a success that is no list"));
        }
        Ok(list.data.into_iter().map(BankPayout::from).collect())
    }
}

impl From<Payout> for BankPayout {
    fn from(payout: Payout) -> Self {
        let state = match payout.status.as_str() {
            "pending" => BankPayoutState::Pending,
            "in_transit" => BankPayoutState::InTransit,
            "paid" => BankPayoutState::Paid,
            "failed" => BankPayoutState::Failed,
            "canceled" => BankPayoutState::Canceled,
            _ => BankPayoutState::Unknown,
        };
        BankPayout {
            id: payout.id,
            state,
            failure: payout.failure_code.as_deref().map(RefusalCode::new),
            created: OffsetDateTime::from_unix_timestamp(payout.created).ok(),
        }
    }
}
