//! Hints in, work out: reads the streams, starts work within the bound, and acknowledges when the work is committed.
//!
//! A hint is acknowledged whatever its work came to. Postgres knows what is still to be done, and the sweeper hints at it again; a hint that
//! was kept until success would only hide the batch from the sweeper.

use std::sync::Arc;
use std::time::Duration;

use payfleet_queue::Delivery;
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use crate::Worker;
use crate::batch::Worked;

/// Reads until the shutdown is requested, then waits for the work in flight, but not longer than the drain allows.
pub(crate) async fn read(worker: Arc<Worker>) {
    let rails = worker.registry.names();
    let places = Arc::new(Semaphore::new(worker.options.concurrency.into()));
    let mut reader = worker.queue.reader(&rails, &worker.name);
    // A tracker, which never aborts what it tracks: an answer on its way is evidence.
    let work = TaskTracker::new();
    let claiming = tokio::spawn(claim_forgotten(worker.clone(), places.clone(), work.clone()));
    while !worker.shutdown.is_requested() {
        let Ok(place) = places.acquire().await else { break }; // never closed
        drop(place);
        // As many as there are places; what comes in one read for several rails beyond that waits for a place below.
        match reader.read(places.available_permits().max(1)).await {
            Ok(deliveries) => {
                for delivery in deliveries {
                    start(&worker, &places, &work, delivery).await;
                }
            }
            Err(error) => {
                tracing::warn!(%error, "no hints");
                worker.readiness.set_not_ready(error.to_string());
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        }
    }
    claiming.abort(); // what it may have claimed is claimed by somebody else after the same while
    tracing::info!(batches = worker.leases.len(), "stopping: finishing or handing back what is held");
    work.close();
    let drained = tokio::time::timeout(worker.options.drain, work.wait()).await;
    if drained.is_err() {
        tracing::warn!(
            batches = worker.leases.len(),
            "the time to stop is over; others take over what is left when its leases end"
        );
    }
}

async fn start(worker: &Arc<Worker>, places: &Arc<Semaphore>, work: &TaskTracker, delivery: Delivery) {
    let Ok(place) = places.clone().acquire_owned().await else { return }; // never closed
    let worker = worker.clone();
    work.spawn(async move {
        handle(&worker, delivery).await;
        drop(place);
    });
}

async fn handle(worker: &Worker, delivery: Delivery) {
    let batch = match delivery.hint {
        Ok(hint) => hint.batch,
        Err(error) => {
            // Neither acknowledged nor deleted: a worker that can read it will.
            metrics::counter!("payfleet_hints_unreadable_total", "rail" => delivery.rail.clone()).increment(1);
            tracing::error!(rail = delivery.rail, entry = %delivery.entry, %error, "a hint was left in the stream");
            return;
        }
    };
    if worker.shutdown.is_requested() {
        // Given back unseen; the sweeper hints at the batch again.
        acknowledge(worker, &delivery).await;
        return;
    }
    match worker.work_on(batch).await {
        Ok(worked) => {
            let result = match worked {
                Worked::NotFree => "not_free",
                Worked::Recorded(state) => state.as_str(),
                Worked::Postponed => "postponed",
                Worked::Held(_) => "held",
                Worked::Split => "split",
            };
            metrics::counter!("payfleet_batches_total", "rail" => delivery.rail.clone(), "result" => result)
                .increment(1);
            tracing::debug!(%batch, rail = delivery.rail, result, "worked on");
        }
        Err(error) => {
            metrics::counter!("payfleet_batches_total", "rail" => delivery.rail.clone(), "result" => "error")
                .increment(1);
            if error.is_outage() {
                tracing::warn!(%batch, %error, "the batch is left until its lease ends");
            } else {
                tracing::error!(%batch, %error, "the batch is left until its lease ends");
            }
        }
    }
    acknowledge(worker, &delivery).await;
}

async fn acknowledge(worker: &Worker, delivery: &Delivery) {
    if let Err(error) = worker.queue.acknowledge(&delivery.rail, std::slice::from_ref(&delivery.entry)).await {
        tracing::debug!(%error, "a hint was not acknowledged; it will be given to somebody again, who finds nothing to do");
    }
}

/// Takes over hints of workers that died with them. The lease in Postgres says whether there is work; a hint for a batch that somebody works on is
/// simply used up.
async fn claim_forgotten(worker: Arc<Worker>, places: Arc<Semaphore>, work: TaskTracker) {
    loop {
        tokio::time::sleep((worker.options.lease_ttl / 8).min(Duration::from_secs(2))).await;
        for rail in worker.registry.names() {
            match worker.queue.claim_forgotten(rail, &worker.name, worker.options.lease_ttl, 16).await {
                Ok(deliveries) => {
                    for delivery in deliveries {
                        start(&worker, &places, &work, delivery).await;
                    }
                }
                Err(error) => tracing::debug!(rail, %error, "forgotten hints were not claimed"),
            }
        }
    }
}
