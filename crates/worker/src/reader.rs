//! Hints in, work out: reads the streams, starts work within the bound, and acknowledges when the work is committed.
//!
//! A hint is acknowledged whatever its work came to. Postgres knows what is still to be done, and the sweeper hints at
//! it again; a hint that was kept until success would only hide the batch from the sweeper.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use payfleet_domain::BatchId;
use payfleet_queue::Delivery;
use payfleet_runtime::shutdown::Shutdown;
use payfleet_store::{StoreError, chain};
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use crate::{Process, Worker, unhinted};

/// How long to wait for the read under way once the shutdown was requested. Redis answers after two seconds if there is
/// no hint.
const LAST_READ: Duration = Duration::from_millis(2_500);

/// Reads until the shutdown is requested, then waits for the work in flight, but not longer than the drain allows.
pub(crate) async fn read(process: Arc<Process>) {
    let worker = process.worker.clone();
    let rails = worker.registry.names();
    let places = Arc::new(Semaphore::new(worker.options.concurrency.into()));
    let mut reader = process.queue.reader(&rails, &worker.name);
    // A tracker, which never aborts what it tracks: an answer on its way is evidence.
    let work = TaskTracker::new();
    let claiming = tokio::spawn(claim_forgotten(process.clone(), places.clone(), work.clone()));
    let unhinted = tokio::spawn(unhinted::work(process.clone(), places.clone(), work.clone()));
    while !worker.shutdown.is_requested() {
        tokio::select! {
            place = places.acquire() => drop(place), // it is never closed
            () = worker.shutdown.requested() => break,
        }
        // As many as there are places; what comes in one read for several rails beyond that waits for a place below.
        let read = tokio::select! {
            read = reader.read(places.available_permits().max(1)) => read,
            // A read that Redis answers as usual has ended by then, and what it was given is handed back.
            () = after(&worker.shutdown, LAST_READ.min(worker.options.drain)) => break,
        };
        match read {
            Ok(deliveries) => {
                for delivery in deliveries {
                    start(&worker, &places, &work, delivery).await;
                }
            }
            Err(error) => {
                tracing::warn!(error = chain(&error), "no hints");
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
        *self.last_hint_at.lock().unwrap_or_else(PoisonError::into_inner) = self.clock.now(); // it is only replaced
        let batch = match &delivery.hint {
            Ok(hint) => hint.batch,
            Err(error) => {
                metrics::counter!("payfleet_hints_unreadable_total", "rail" => delivery.rail.clone()).increment(1);
                // Left in the stream it would be found again for ever, before the hints of workers that died.
                match self.hints.set_aside(&delivery.rail, &delivery.entry).await {
                    Ok(_) => {
                        tracing::error!(
                            rail = delivery.rail, entry = %delivery.entry, error = chain(&error),
                            "set aside: a hint that cannot be read"
                        );
                    }
                    Err(away) => {
                        tracing::debug!(
                            rail = delivery.rail, entry = %delivery.entry, error = chain(&error), %away,
                            "an unreadable hint stays"
                        );
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
            tracing::debug!(
                error = chain(&error),
                "a hint was not acknowledged; it will be given to somebody again, who finds nothing to do"
            );
        }
    }

    /// Works on a batch, whoever said that it is due.
    pub(crate) async fn work(&self, rail: &str, batch: BatchId) {
        let result = match self.work_on(batch).await {
            Ok(worked) => worked.code(),
            Err(error @ StoreError::Behind(_)) => {
                self.behind.found(Err(&error));
                "behind"
            }
            Err(error) => {
                if error.is_outage() {
                    tracing::warn!(%batch, error = chain(&error), "the batch is left until its lease ends");
                } else {
                    tracing::error!(%batch, error = chain(&error), "the batch is left until its lease ends");
                }
                "error"
            }
        };
        metrics::counter!("payfleet_batches_total", "rail" => rail.to_owned(), "result" => result).increment(1);
        tracing::debug!(%batch, rail, result, "worked on");
    }
}

/// Takes over hints of workers that died or hang with them. The lease in Postgres says whether there is work; a hint
/// for a batch that somebody works on is simply used up. So they are taken over long before a lease ends: Redis gives
/// hints to a stopped process too, through the read that it had begun, and until somebody takes it over such a hint
/// keeps the sweeper from hinting again.
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
                Err(error) => tracing::debug!(rail, error = chain(&error), "forgotten hints were not claimed"),
            }
        }
    }
}
