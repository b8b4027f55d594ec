//! The leases that this process holds, and their renewal.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use payfleet_domain::{BatchId, Epoch};
use payfleet_store::Lease;

use crate::Worker;

/// All leases of this process.
#[derive(Debug, Default)]
pub struct LeaseBook {
    held: Mutex<BTreeMap<(BatchId, Epoch), Instant>>,
}

/// A lease while it is worked under. Dropping it ends its renewal, not the lease.
#[derive(Debug)]
pub struct Held {
    book: Arc<LeaseBook>,
    /// The lease as it was given.
    pub lease: Lease,
}

impl LeaseBook {
    /// Keeps a lease renewed for as long as the result lives. `deadline` is when to stop believing in it, by the worker's own steady clock: counted from
    /// before the database was asked, it is never later than what the database thinks.
    pub fn hold(self: &Arc<Self>, lease: Lease, deadline: Instant) -> Held {
        self.lock().insert((lease.batch, lease.epoch), deadline);
        Held { book: self.clone(), lease }
    }

    /// How many are held.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether none is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn all(&self) -> Vec<(BatchId, Epoch)> {
        self.lock().keys().copied().collect()
    }

    fn renewed(&self, leases: &[Lease], until: Instant) {
        let mut held = self.lock();
        for lease in leases {
            if let Some(deadline) = held.get_mut(&(lease.batch, lease.epoch)) {
                *deadline = until;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<(BatchId, Epoch), Instant>> {
        // Every critical section is one operation on the map, so a panic leaves it whole.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    /// Whether the lease is still ours, as far as can be known here: its deadline counts from before the database was asked, on a clock that goes on
    /// while the process is stopped. To be asked right before each call.
    pub fn is_valid(&self, now: Instant) -> bool {
        let deadline = self.book.lock().get(&(self.lease.batch, self.lease.epoch)).copied();
        deadline.is_some_and(|deadline| now < deadline)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.book.lock().remove(&(self.lease.batch, self.lease.epoch));
    }
}

/// Renews all leases, again and again, in one statement each time.
pub async fn renew(worker: Arc<Worker>) {
    let ttl = worker.options.lease_ttl;
    loop {
        worker.clock.sleep(ttl / 4).await;
        let held = worker.leases.all();
        if held.is_empty() {
            continue;
        }
        let asked = worker.clock.now();
        match worker.record.leases_renew(held.clone(), ttl).await {
            Ok(renewed) => {
                worker.leases.renewed(&renewed, asked + ttl);
                if renewed.len() < held.len() {
                    // Finished meanwhile, or lost; whoever works under a lost one sees its deadline pass.
                    tracing::debug!(held = held.len(), renewed = renewed.len(), "not every lease was renewed");
                }
            }
            Err(error) => tracing::warn!(%error, "leases could not be renewed"),
        }
    }
}
