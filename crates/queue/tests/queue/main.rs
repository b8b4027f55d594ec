//! The queue against real Redis servers, each a process of its own that only its test knows, so that they can be wiped,
//! restarted and misconfigured at will.

#![allow(clippy::unwrap_used)]

mod faces;
mod facts;
mod hints;
mod outage;
mod proxy;
mod server;

use std::collections::HashSet;

use deadpool_redis::redis;
use payfleet_domain::BatchId;
use payfleet_queue::{Delivery, EntryId, Hint};

const RAIL: &str = "sandbox-payout";

fn hints(batches: std::ops::RangeInclusive<i64>) -> Vec<Hint> {
    batches.map(|batch| Hint { batch: BatchId(batch) }).collect()
}

fn batches(deliveries: &[Delivery]) -> Vec<i64> {
    deliveries.iter().map(|delivery| delivery.hint.as_ref().unwrap().batch.0).collect()
}

fn entries(deliveries: &[Delivery]) -> Vec<EntryId> {
    deliveries.iter().map(|delivery| delivery.entry.clone()).collect()
}

fn set(batches: std::ops::RangeInclusive<i64>) -> HashSet<BatchId> {
    batches.map(BatchId).collect()
}

fn stream() -> String {
    format!("{}:hints:{RAIL}", server::PREFIX)
}

/// Entries given to somebody and not acknowledged, as Redis counts them.
async fn pending(connection: &mut redis::aio::MultiplexedConnection) -> usize {
    let mut command = redis::cmd("XPENDING");
    let found: Vec<redis::Value> =
        command.arg(stream()).arg("workers").arg("-").arg("+").arg(10_000).query_async(connection).await.unwrap();
    found.len()
}

async fn length(connection: &mut redis::aio::MultiplexedConnection) -> usize {
    redis::cmd("XLEN").arg(stream()).query_async(connection).await.unwrap()
}
