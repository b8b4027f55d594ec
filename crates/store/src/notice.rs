//! What rails say unasked: kept once, and the batch that it names is made due. By functions of the schema, which are
//! all that the gateway's role may call ([`deploy/gateway-role.sql`]).
//!
//! [`deploy/gateway-role.sql`]: ../../../deploy/gateway-role.sql

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use payfleet_domain::{BatchId, PayoutId};

use crate::connect::{Step, Store, StoreError};

/// A notice to keep.
#[derive(Debug, Clone)]
pub struct NewNotice {
    /// Which rail sent it.
    pub rail: &'static str,
    /// To which of its accounts.
    pub account: Arc<str>,
    /// The rail's own name of the event.
    pub event: String,
    /// What happened, in the rail's word.
    pub kind: String,
    /// SHA-256 of what no replay can change.
    pub signed: [u8; 32],
    /// As it was sent; at most 1 MiB.
    pub body: Vec<u8>,
}

/// A payment that a notice names.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct NamedPayment {
    /// At which rail.
    pub rail: &'static str,
    /// From which account.
    pub account: Arc<str>,
    /// As what.
    pub name: PaymentName,
}

/// How a payment is named.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum PaymentName {
    /// By our number of it.
    Payout(PayoutId),
    /// By the rail's name.
    Reference(String),
}

impl Store {
    /// Keeps notices. Returns which of them are new, in their order: of two of one event the first.
    pub async fn notices_keep(&self, notices: Arc<Vec<NewNotice>>) -> Result<Vec<bool>, StoreError> {
        self.transaction("notices_keep", move |tx| {
            let notices = Arc::clone(&notices);
            Box::pin(async move {
                let new: Vec<(String, String, String)> =
                    sqlx::query_as("-- notices_keep\nSELECT * FROM notices_keep($1, $2, $3, $4, $5, $6)")
                        .bind(notices.iter().map(|one| one.rail).collect::<Vec<_>>())
                        .bind(notices.iter().map(|one| &*one.account).collect::<Vec<_>>())
                        .bind(notices.iter().map(|one| one.event.as_str()).collect::<Vec<_>>())
                        .bind(notices.iter().map(|one| one.kind.as_str()).collect::<Vec<_>>())
                        .bind(notices.iter().map(|one| one.signed.as_slice()).collect::<Vec<_>>())
                        .bind(notices.iter().map(|one| one.body.as_slice()).collect::<Vec<_>>())
                        .fetch_all(&mut *tx)
                        .await
                        .step("notices_keep")?;
                let mut new: HashSet<_> = new
                    .iter()
                    .map(|(rail, account, event)| (rail.as_str(), account.as_str(), event.as_str()))
                    .collect();
                Ok(notices.iter().map(|one| new.remove(&(one.rail, &*one.account, one.event.as_str()))).collect())
            })
        })
        .await
    }

    /// The open batches that these names lead to: the place of a name in the list, and a batch. A name may lead to
    /// none: its batch is done, or the rail's name is not recorded yet.
    pub async fn notices_batches(&self, names: Vec<NamedPayment>) -> Result<Vec<(usize, BatchId)>, StoreError> {
        self.transaction("notices_batches", move |tx| {
            let names = names.clone();
            Box::pin(async move {
                let payout = |one: &NamedPayment| match &one.name {
                    PaymentName::Payout(payout) => Some(payout.0),
                    PaymentName::Reference(_) => None,
                };
                let reference = |one: &NamedPayment| match &one.name {
                    PaymentName::Payout(_) => None,
                    PaymentName::Reference(reference) => Some(reference.clone()),
                };
                let found: Vec<(i64, i64)> =
                    sqlx::query_as("-- notices_batches\nSELECT n, batch FROM notices_batches($1, $2, $3, $4)")
                        .bind(names.iter().map(|one| one.rail).collect::<Vec<_>>())
                        .bind(names.iter().map(|one| &*one.account).collect::<Vec<_>>())
                        .bind(names.iter().map(payout).collect::<Vec<_>>())
                        .bind(names.iter().map(reference).collect::<Vec<_>>())
                        .fetch_all(&mut *tx)
                        .await
                        .step("notices_batches")?;
                let place = |n: i64| usize::try_from(n - 1).unwrap_or_default(); // Postgres counts from 1
                Ok(found.into_iter().map(|(n, batch)| (place(n), BatchId(batch))).collect())
            })
        })
        .await
    }

    /// Makes batches due now, as far as they are open and perhaps sent: those are returned, and whether each is due.
    /// What somebody works on at this moment is not touched.
    pub async fn notices_wake(&self, batches: Vec<BatchId>) -> Result<HashMap<BatchId, bool>, StoreError> {
        self.transaction("notices_wake", move |tx| {
            let batches: Vec<i64> = batches.iter().map(|batch| batch.0).collect();
            Box::pin(async move {
                let open: Vec<(i64, bool)> =
                    sqlx::query_as("-- notices_wake\nSELECT batch, is_due FROM notices_wake($1)")
                        .bind(batches)
                        .fetch_all(&mut *tx)
                        .await
                        .step("notices_wake")?;
                Ok(open.into_iter().map(|(batch, is_due)| (BatchId(batch), is_due)).collect())
            })
        })
        .await
    }
}
