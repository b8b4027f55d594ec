//! Work without hints: Redis is away, full, a replica that takes no writes, or whatever else. A hint is a convenience;
//! the lease alone says who works on a batch, and Postgres knows what is due.

use std::collections::HashSet;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use payfleet_domain::BatchId;
use payfleet_store::{StoreError, chain};
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use crate::{Process, Worker};

/// Without a hint for so long a worker looks for work itself, if some is late. Longer than the sweeper rests.
const NO_HINTS: Duration = Duration::from_secs(3);
/// Batches of a rail that are looked at at once.
const LOOK: i64 = 256;
/// How long that look is good, since others work on the same, and the shortest time from one to the next.
const AGE: std::ops::RangeInclusive<Duration> = Duration::from_millis(200)..=Duration::from_secs(1);

/// Works from Postgres while work is late and no hints come.
pub(crate) async fn work(process: Arc<Process>, places: Arc<Semaphore>, tracker: TaskTracker) {
    let worker = &process.worker;
    loop {
        worker.work_is_late.notified().await;
        while worker.hears_nothing() && worker.behind.why().is_none() {
            let looked = Instant::now();
            let due = match due(&process).await {
                Ok(due) if due.is_empty() => break,
                Ok(due) => due,
                Err(error) => {
                    tracing::debug!(error = chain(&error), "what waits cannot be asked");
                    break;
                }
            };
            tracing::warn!("work waits and no hints come; working from Postgres");
            for (rail, batch) in due {
                if looked.elapsed() > *AGE.end() || !worker.hears_nothing() {
                    break;
                }
                let Ok(place) = places.clone().acquire_owned().await else { return }; // never closed
                if worker.shutdown.is_requested() {
                    return;
                }
                let worker = worker.clone();
                tracker.spawn(async move {
                    worker.work(rail, batch).await;
                    drop(place);
                });
            }
            tokio::time::sleep(AGE.start().saturating_sub(looked.elapsed())).await;
        }
    }
}

/// What is due and not in hand here, in an order of our own: others look at the same, and in each other's way they
/// would each find little. Takes note of how many they are.
async fn due(process: &Process) -> Result<Vec<(&'static str, BatchId)>, StoreError> {
    let worker = &process.worker;
    let open = worker.record.rails_open().await?;
    let mut found = Vec::new();
    for rail in worker.registry.names().into_iter().filter(|rail| open.iter().any(|name| name == rail)) {
        let in_hand: HashSet<BatchId> = worker.leases.batches();
        let due = worker.record.batches_due(rail, in_hand, LOOK).await?;
        found.extend(due.into_iter().map(|batch| (worker.clock.jitter(), rail, batch)));
    }
    found.sort_by(|one, other| one.0.total_cmp(&other.0));
    worker.paces.shared_by_at_least(process.store.workers_leasing().await?);
    Ok(found.into_iter().map(|(_, rail, batch)| (rail, batch)).collect())
}

impl Worker {
    fn hears_nothing(&self) -> bool {
        let last = *self.last_hint_at.lock().unwrap_or_else(PoisonError::into_inner); // it is only replaced
        self.clock.now() >= last + NO_HINTS
    }
}
