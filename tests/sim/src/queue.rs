//! Redis Streams as the fleet uses them, in memory: may forget everything, or go back to an older state.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use payfleet_domain::BatchId;
use payfleet_queue::{Delivery, EntryId, Hint, Outstanding, QueueError};

use crate::matrix::Step;
use crate::scheduler::ProcessId;
use crate::world::{Gone, Server, World};

/// One stream: entries, and to whom and when each was given.
type Stream = BTreeMap<u64, (BatchId, Option<Duration>)>;

/// All of Redis.
#[derive(Default)]
pub struct Streams {
    streams: BTreeMap<String, Stream>,
    /// What a replica has that is behind.
    replica: BTreeMap<String, Stream>,
    last: u64,
}

impl Streams {
    pub fn flush_all(&mut self) {
        self.streams.clear();
    }

    /// The replica takes over: what was written since is lost, what was deleted since is back.
    pub fn fail_over(&mut self) {
        self.streams = std::mem::take(&mut self.replica);
    }

    /// The replica catches up.
    pub fn replicate(&mut self) {
        self.replica = self.streams.clone();
    }

    fn publish(&mut self, rail: &str, hints: &[Hint]) {
        for hint in hints {
            self.last += 1;
            self.streams.entry(rail.to_owned()).or_default().insert(self.last, (hint.batch, None));
        }
    }

    fn outstanding(&self, rail: &str, max: usize) -> Outstanding {
        let entries = || self.streams.get(rail).into_iter().flatten();
        Outstanding {
            batches: entries().take(max).map(|(_, (batch, _))| *batch).collect(),
            waiting: entries().filter(|(_, (_, given))| given.is_none()).count(),
        }
    }

    fn deliver(
        &mut self,
        now: Duration,
        rail: &str,
        count: usize,
        is_wanted: impl Fn(Option<Duration>) -> bool,
    ) -> Vec<Delivery> {
        let stream = self.streams.entry(rail.to_owned()).or_default();
        let wanted = stream.iter_mut().filter(|(_, (_, given))| is_wanted(*given)).take(count);
        wanted
            .map(|(id, (batch, given))| {
                *given = Some(now);
                Delivery { rail: rail.to_owned(), entry: EntryId(id.to_string()), hint: Ok(Hint { batch: *batch }) }
            })
            .collect()
    }

    fn acknowledge(&mut self, rail: &str, entries: &[EntryId]) {
        if let Some(stream) = self.streams.get_mut(rail) {
            let ids: Vec<u64> = entries.iter().filter_map(|entry| entry.0.parse().ok()).collect();
            stream.retain(|id, _| !ids.contains(id));
        }
    }
}

/// A process's way to Redis.
#[derive(Clone)]
pub struct SimHints {
    pub world: World,
    pub process: ProcessId,
}

impl From<Gone> for QueueError {
    fn from(_: Gone) -> QueueError {
        QueueError::Answer { place: "nowhere".to_owned(), doing: "simulate" }
    }
}

impl SimHints {
    async fn arrow<T>(&self, step: Step, mut command: impl FnMut(&mut Streams) -> T) -> Result<T, QueueError> {
        let arrow = self.world.before(self.process, step, Server::Redis).await?;
        if self.world.scheduler.chance(300) {
            self.world.streams().replicate();
        }
        let mut answer = command(&mut self.world.streams());
        if arrow.is_duplicated {
            answer = command(&mut self.world.streams());
        }
        self.world.after(self.process, step, Server::Redis, arrow).await?;
        Ok(answer)
    }

    /// The next hints, of any rail.
    pub async fn read(&self, rails: &[&str], count: usize) -> Result<Vec<Delivery>, QueueError> {
        let now = self.world.scheduler.now();
        let read = |streams: &mut Streams| {
            rails.iter().flat_map(|rail| streams.deliver(now, rail, count, |given| given.is_none())).collect()
        };
        self.arrow(Step::Read, read).await
    }

    /// Hints that were given to somebody long ago.
    pub async fn claim_forgotten(&self, rail: &str, idle: Duration, count: usize) -> Result<Vec<Delivery>, QueueError> {
        let now = self.world.scheduler.now();
        let is_old = |given: Option<Duration>| given.is_some_and(|given| now >= given + idle);
        self.arrow(Step::Reclaim, |streams| streams.deliver(now, rail, count, is_old)).await
    }

    async fn publish_step(&self, rail: &str, hints: &[Hint]) -> Result<(), QueueError> {
        self.arrow(Step::Publish, |streams| streams.publish(rail, hints)).await
    }

    async fn outstanding_step(&self, rail: &str, max: usize) -> Result<Outstanding, QueueError> {
        self.arrow(Step::Sweep, |streams| streams.outstanding(rail, max)).await
    }
}

#[async_trait]
impl payfleet_worker::ports::Hints for SimHints {
    async fn outstanding(&self, rail: &str, max: usize) -> Result<Outstanding, QueueError> {
        self.outstanding_step(rail, max).await
    }

    async fn publish(&self, rail: &str, hints: &[Hint]) -> Result<(), QueueError> {
        self.publish_step(rail, hints).await
    }

    async fn acknowledge(&self, rail: &str, entries: &[EntryId]) -> Result<(), QueueError> {
        self.arrow(Step::Acknowledge, |streams| streams.acknowledge(rail, entries)).await
    }

    async fn set_aside(&self, _: &str, _: &EntryId) -> Result<bool, QueueError> {
        Ok(false) // everything here can be read
    }

    async fn rate_permit(&self, _: &str, _: &str, _: u32, _: u32) -> Result<Duration, QueueError> {
        Ok(Duration::ZERO)
    }
}

#[async_trait]
impl payfleet_coordinator::ports::Hints for SimHints {
    async fn outstanding(&self, rail: &str, max: usize) -> Result<Outstanding, QueueError> {
        self.outstanding_step(rail, max).await
    }

    async fn publish(&self, rail: &str, hints: &[Hint]) -> Result<(), QueueError> {
        self.publish_step(rail, hints).await
    }
}
