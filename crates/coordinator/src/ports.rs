//! What planning needs of the world. [`Store`] and [`Queue`] are the world; the simulator of the package `tests` is
//! another.

use std::collections::HashSet;

use async_trait::async_trait;
use payfleet_domain::{BatchId, RunId};
use payfleet_queue::{Hint, Outstanding, Queue, QueueError};
use payfleet_store::{Planned, Store, StoreError};

/// What decides: see the methods of the same names of [`Store`].
#[allow(missing_docs)] // said there
#[async_trait]
pub trait SystemOfRecord: Send + Sync {
    async fn plan_chunk(&self, run: RunId, chunk: i64, batch_size: u32) -> Result<Planned, StoreError>;
    async fn plan_chunk_paused(&self, run: RunId, chunk: i64, batch_size: u32) -> Result<Planned, StoreError>;
    async fn rails_open(&self) -> Result<Vec<String>, StoreError>;
    async fn batches_due(
        &self,
        rail: &'static str,
        hinted: HashSet<BatchId>,
        limit: i64,
    ) -> Result<Vec<BatchId>, StoreError>;
}

/// What wakes: see the methods of the same names of [`Queue`].
#[allow(missing_docs)] // said there
#[async_trait]
pub trait Hints: Send + Sync {
    async fn outstanding(&self, rail: &str, max: usize) -> Result<Outstanding, QueueError>;
    async fn publish(&self, rail: &str, hints: &[Hint]) -> Result<(), QueueError>;
}

#[async_trait]
impl SystemOfRecord for Store {
    async fn plan_chunk(&self, run: RunId, chunk: i64, batch_size: u32) -> Result<Planned, StoreError> {
        self.plan_chunk(run, chunk, batch_size).await
    }

    async fn plan_chunk_paused(&self, run: RunId, chunk: i64, batch_size: u32) -> Result<Planned, StoreError> {
        self.plan_chunk_paused(run, chunk, batch_size).await
    }

    async fn rails_open(&self) -> Result<Vec<String>, StoreError> {
        self.rails_open().await
    }

    async fn batches_due(
        &self,
        rail: &'static str,
        hinted: HashSet<BatchId>,
        limit: i64,
    ) -> Result<Vec<BatchId>, StoreError> {
        self.batches_due(rail, hinted, limit).await
    }
}

#[async_trait]
impl Hints for Queue {
    async fn outstanding(&self, rail: &str, max: usize) -> Result<Outstanding, QueueError> {
        self.outstanding(rail, max).await
    }

    async fn publish(&self, rail: &str, hints: &[Hint]) -> Result<(), QueueError> {
        self.publish(rail, hints).await
    }
}
