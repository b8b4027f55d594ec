//! Signs of life, for screens and people. Nothing is decided by them: whether a worker may work is said by its leases.

use std::time::Duration;

use deadpool_redis::redis;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::stream::millis;
use crate::{Queue, QueueError};

/// Keys in one step of the search for workers.
const SCAN_COUNT: usize = 1_000;

/// What a worker says about itself now and then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerBeat {
    /// Its name: that of one process incarnation.
    pub worker: String,
    /// The version of its build.
    #[serde(default)]
    pub version: String,
    /// When it started, by its own clock.
    #[serde(with = "time::serde::timestamp")]
    pub started_at: OffsetDateTime,
    /// Batches that it holds a lease on.
    #[serde(default)]
    pub batches_in_flight: u32,
    /// It takes no new work and ends when it has finished what it has.
    #[serde(default)]
    pub draining: bool,
}

impl Queue {
    /// Says that a worker lives; forgotten after `ttl` unless it is said again.
    pub async fn heartbeat(&self, beat: &WorkerBeat, ttl: Duration) -> Result<(), QueueError> {
        // By field names, unlike hints: two versions of the program look at each other while one replaces the other.
        let bytes = rmp_serde::to_vec_named(beat).expect("a Vec takes whatever is written to it");
        let mut command = redis::cmd("SET");
        command.arg(self.key("worker", &beat.worker)).arg(bytes).arg("PX").arg(millis(ttl).max(1));
        self.command("take a heartbeat", &command).await
    }

    /// The workers that said so lately, by name.
    pub async fn workers(&self) -> Result<Vec<WorkerBeat>, QueueError> {
        let doing = "list the workers";
        let pattern = self.key("worker", "*"); // the prefix has no character that means something in a pattern
        let mut beats = Vec::new();
        let mut cursor = 0_u64;
        loop {
            let mut command = redis::cmd("SCAN");
            command.arg(cursor).arg("MATCH").arg(&pattern).arg("COUNT").arg(SCAN_COUNT);
            let (next, keys): (u64, Vec<String>) = self.command(doing, &command).await?;
            if !keys.is_empty() {
                // One that has expired meanwhile is nil.
                let values: Vec<Option<Vec<u8>>> = self.command(doing, redis::cmd("MGET").arg(&keys)).await?;
                beats.extend(values.into_iter().flatten().filter_map(|bytes| read(&bytes)));
            }
            cursor = next;
            if cursor == 0 {
                break;
            }
        }
        // SCAN may show a key twice.
        beats.sort_by(|one: &WorkerBeat, other| one.worker.cmp(&other.worker));
        beats.dedup_by(|one, other| one.worker == other.worker);
        Ok(beats)
    }
}

fn read(bytes: &[u8]) -> Option<WorkerBeat> {
    rmp_serde::from_slice(bytes).inspect_err(|_| tracing::warn!("a heartbeat that cannot be read was left out")).ok()
}
