//! Hints in, work out: reads the streams, starts work within the bound, and acknowledges when the work is committed.
//!
//! A hint is acknowledged whatever its work came to. Postgres knows what is still to be done, and the sweeper hints at it again; a hint that
//! was kept until success would only hide the batch from the sweeper.

use std::collections::HashSet;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use payfleet_domain::BatchId;
use payfleet_queue::Delivery;
use payfleet_runtime::shutdown::Shutdown;
use payfleet_store::StoreError;
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use crate::{Process, Worker};

/// How long to wait for the read under way once the shutdown was requested. Redis answers after two seconds if there is no hint.
const LAST_READ: Duration = Duration::from_millis(2_500);

/// Without a hint for so long a worker looks for work itself, if there is some. Longer than the sweeper rests.
const NOTHING_HEARD: Duration = Duration::from_secs(3);
/// Batches of a rail that are looked at at once then, and for how long that look is good.
const UNHINTED: i64 = 256;
const UNHINTED_AGE: Duration = Duration::from_secs(1);

/// Reads until the shutdown is requested, then waits for the work in flight, but not longer than the drain allows.
pub(crate) async fn read(process: Arc<Process>) {
    let worker = process.worker.clone();
    let rails = worker.registry.names();
    let places = Arc::new(Semaphore::new(worker.options.concurrency.into()));
    let mut reader = process.queue.reader(&rails, &worker.name);
    // A tracker, which never aborts what it tracks: an answer on its way is evidence.
    let work = TaskTracker::new();
    let claiming = tokio::spawn(claim_forgotten(process.clone(), places.clone(), work.clone()));
    let unhinted = tokio::spawn(work_unhinted(process.clone(), places.clone(), work.clone()));
    while !worker.shutdown.is_requested() {
        tokio::select! {
            place = places.acquire() => drop(place), // it is never closed
            () = worker.shutdown.requested() => break,
        }
        // As many as there are places; what comes in one read for several rails beyond that waits for a place below.
        let read = tokio::select! {
            read = reader.read(places.available_permits().max(1)) => read,
            // A read that Redis answers as usual has ended by then, and what it was given is handed back.
            () = after(&worker.shutdown, LAST_READ) => break,
        };
        match read {
            Ok(deliveries) => {
                for delivery in deliveries {
                    start(&worker, &places, &work, delivery).await;
                }
            }
            Err(error) => {
                tracing::warn!(%error, "no hints");
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        }
    }
    unhinted.abort(); // between two batches
    claiming.abort(); // what it may have claimed is claimed by somebody else after the same while
    tracing::info!(batches = worker.leases.len(), "stopping: finishing or handing back what is held");
    work.close();
    let drained = tokio::time::timeout_at(worker.shutdown.deadline(worker.options.drain), work.wait()).await;
    if drained.is_err() {
        tracing::warn!(
            batches = worker.leases.len(),
            "the time to stop is over; others take over what is left when its leases end"
        );
    }
}

/// So long after the shutdown was requested.
async fn after(shutdown: &Shutdown, wait: Duration) {
    shutdown.requested().await;
    tokio::time::sleep_until(shutdown.deadline(wait)).await;
}

async fn start(worker: &Arc<Worker>, places: &Arc<Semaphore>, work: &TaskTracker, delivery: Delivery) {
    let place = tokio::select! {
        place = places.clone().acquire_owned() => place,
        // It is claimed by somebody else.
        () = worker.shutdown.requested() => return,
    };
    let Ok(place) = place else { return }; // never closed
    let worker = worker.clone();
    work.spawn(async move {
        worker.take(delivery).await;
        drop(place);
    });
}

impl Worker {
    /// Does the work of one hint and acknowledges it.
    pub async fn take(&self, delivery: Delivery) {
        self.hinted.notify_one();
        *self.heard_at.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        let batch = match &delivery.hint {
            Ok(hint) => hint.batch,
            Err(error) => {
                metrics::counter!("payfleet_hints_unreadable_total", "rail" => delivery.rail.clone()).increment(1);
                // Left in the stream it would be found again for ever, before the hints of workers that died.
                match self.hints.set_aside(&delivery.rail, &delivery.entry).await {
                    Ok(_) => {
                        tracing::error!(rail = delivery.rail, entry = %delivery.entry, %error, "set aside: a hint that cannot be read");
                    }
                    Err(away) => {
                        tracing::debug!(rail = delivery.rail, entry = %delivery.entry, %error, %away, "an unreadable hint stays");
                    }
                }
                return;
            }
        };
        // Told to stop, or if nothing may be sent, it is given back unseen; the sweeper hints at the batch again.
        if !self.shutdown.is_requested() && self.behind.why().is_none() {
            self.work(&delivery.rail, batch).await;
        }
        if let Err(error) = self.hints.acknowledge(&delivery.rail, std::slice::from_ref(&delivery.entry)).await {
            tracing::debug!(%error, "a hint was not acknowledged; it will be given to somebody again, who finds nothing to do");
        }
    }
}

/// Works from Postgres while work waits and no hints come: Redis is away, full, a replica that takes no writes, or whatever else. A hint is a convenience;
/// the lease alone says who works on a batch.
async fn work_unhinted(process: Arc<Process>, places: Arc<Semaphore>, work: TaskTracker) {
    let worker = &process.worker;
    let mut was_told = false;
    loop {
        worker.unhinted.notified().await;
        while worker.hears_nothing() && worker.behind.why().is_none() {
            let (due, workers) = match unhinted(&process).await {
                Ok(found) => found,
                Err(error) => {
                    tracing::debug!(%error, "what waits cannot be asked");
                    break;
                }
            };
            if due.is_empty() {
                break;
            }
            worker.paces.shared_by_at_least(workers);
            if !std::mem::replace(&mut was_told, true) {
                tracing::warn!("work waits and no hints come; working from Postgres");
            }
            let looked = Instant::now();
            for (rail, batch) in due {
                // What was seen is old soon: others work on it too.
                if looked.elapsed() > UNHINTED_AGE || !worker.hears_nothing() {
                    break;
                }
                let Ok(place) = places.clone().acquire_owned().await else { return }; // never closed
                if worker.shutdown.is_requested() {
                    return;
                }
                let worker = worker.clone();
                work.spawn(async move {
                    worker.work(rail, batch).await;
                    drop(place);
                });
            }
        }
        if !worker.hears_nothing() && std::mem::take(&mut was_told) {
            tracing::info!("hints come again");
        }
    }
}

/// Batches that are due, in an order of our own, and how many workers there are.
async fn unhinted(process: &Process) -> Result<(Vec<(&'static str, BatchId)>, u32), StoreError> {
    let worker = &process.worker;
    let open = worker.record.rails_open().await?;
    let mut due = Vec::new();
    for rail in worker.registry.names().into_iter().filter(|rail| open.iter().any(|name| name == rail)) {
        let batches = worker.record.batches_due(rail, HashSet::new(), UNHINTED).await?;
        due.extend(batches.into_iter().map(|batch| (rail, batch)));
    }
    // Others look at the same; in each other's way they would each find little.
    let mut shuffled: Vec<_> = due.into_iter().map(|found| (worker.clock.jitter(), found)).collect();
    shuffled.sort_by(|one, other| one.0.total_cmp(&other.0));
    Ok((shuffled.into_iter().map(|(_, found)| found).collect(), process.store.workers_leasing().await?))
}

impl Worker {
    fn hears_nothing(&self) -> bool {
        self.heard_at.lock().unwrap_or_else(PoisonError::into_inner).elapsed() >= NOTHING_HEARD
    }

    async fn work(&self, rail: &str, batch: BatchId) {
        let result = match self.work_on(batch).await {
            Ok(worked) => worked.code(),
            Err(error @ StoreError::Behind(_)) => {
                self.behind.found(Err(&error));
                "behind"
            }
            Err(error) => {
                if error.is_outage() {
                    tracing::warn!(%batch, %error, "the batch is left until its lease ends");
                } else {
                    tracing::error!(%batch, %error, "the batch is left until its lease ends");
                }
                "error"
            }
        };
        metrics::counter!("payfleet_batches_total", "rail" => rail.to_owned(), "result" => result).increment(1);
        tracing::debug!(%batch, rail, result, "worked on");
    }
}

/// Takes over hints of workers that died or hang with them. The lease in Postgres says whether there is work; a hint for a batch that somebody works on
/// is simply used up. So they are taken over long before a lease ends: Redis gives hints to a stopped process too, through the read that it had begun,
/// and until somebody takes it over such a hint keeps the sweeper from hinting again.
async fn claim_forgotten(process: Arc<Process>, places: Arc<Semaphore>, work: TaskTracker) {
    let worker = &process.worker;
    loop {
        tokio::time::sleep((worker.options.lease_ttl / 8).min(Duration::from_secs(2))).await;
        for rail in worker.registry.names() {
            match process.queue.claim_forgotten(rail, &worker.name, worker.options.lease_ttl / 4, 16).await {
                Ok(deliveries) => {
                    for delivery in deliveries {
                        start(worker, &places, &work, delivery).await;
                    }
                }
                Err(error) => tracing::debug!(rail, %error, "forgotten hints were not claimed"),
            }
        }
    }
}
