//! The leases that this process holds: their renewal, and what may still be sent under each.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use payfleet_domain::{BatchId, Epoch};
use payfleet_store::{Lease, StopConfirmed, StopSeen, chain};

use crate::Worker;
use crate::ports::Moment;

/// How old the last look at whether people have stopped a run may be when a call begins.
pub const LOOK_MAX_AGE: Duration = Duration::from_secs(1);

/// All leases of this process.
#[derive(Debug, Default)]
pub struct LeaseBook {
    held: Mutex<BTreeMap<(BatchId, Epoch), Entry>>,
}

/// What the book says of one lease.
#[derive(Debug, Clone, Copy)]
struct Entry {
    /// When to stop believing in it.
    deadline: Moment,
    /// When the database was last asked whether the run is stopped, and said no.
    looked_at: Moment,
    /// It said yes. Nothing is sent under this lease any more, also if the run goes on meanwhile.
    is_stopped: bool,
    /// Calls that have begun and not ended.
    calls: i32,
    /// Payouts of the intent whose calls have not begun.
    unsent: i32,
}

/// A lease while it is worked under. Dropping it ends its renewal, not the lease.
#[derive(Debug)]
pub struct Held {
    book: Arc<LeaseBook>,
    /// The lease as it was given.
    pub lease: Lease,
}

/// A call that has begun. Dropping it ends it.
#[derive(Debug)]
pub struct UnderWay<'a> {
    held: &'a Held,
}

/// Why a call may not begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoCall {
    /// The lease is over, or the run was stopped: never under this lease.
    Never,
    /// Nobody knows whether the run was stopped: not before it was looked at again.
    NotNow,
}

impl LeaseBook {
    /// Keeps a lease renewed for as long as the result lives. `deadline` is when to stop believing in it, by the
    /// worker's own steady clock: counted from before the database was `asked`, it is never later than what the
    /// database thinks. It has just said that the run is not stopped.
    pub fn hold(self: &Arc<Self>, lease: Lease, asked: Moment, deadline: Moment) -> Held {
        let entry = Entry { deadline, looked_at: asked, is_stopped: false, calls: 0, unsent: 0 };
        self.lock().insert((lease.batch, lease.epoch), entry);
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

    /// The batches that are held.
    pub fn batches(&self) -> HashSet<BatchId> {
        self.lock().keys().map(|(batch, _)| *batch).collect()
    }

    fn all(&self) -> Vec<(BatchId, Epoch)> {
        self.lock().keys().copied().collect()
    }

    fn renewed(&self, leases: &[Lease], until: Moment) {
        let mut held = self.lock();
        for lease in leases {
            if let Some(entry) = held.get_mut(&(lease.batch, lease.epoch)) {
                entry.deadline = until;
            }
        }
    }

    /// Takes down what the database said when it was `asked` which leases are of stopped runs. Returns what there is to
    /// confirm: once this has returned, no call begins any more under those leases.
    pub fn looked(&self, seen: &[StopSeen], asked: Moment) -> Vec<StopConfirmed> {
        let mut held = self.lock();
        let mut confirmed = Vec::new();
        for stop in seen {
            let Some(entry) = held.get_mut(&(stop.lease.batch, stop.lease.epoch)) else { continue };
            if !stop.is_stopped {
                entry.looked_at = entry.looked_at.max(asked);
                continue;
            }
            entry.is_stopped = true;
            if stop.is_unconfirmed {
                let Entry { calls, unsent, .. } = *entry;
                confirmed.push(StopConfirmed { lease: stop.lease, stop_no: stop.stop_no, calls, unsent });
            }
        }
        confirmed
    }

    /// Whether people have stopped the run since the lease was given.
    pub fn is_stopped(&self, lease: Lease) -> bool {
        self.lock().get(&(lease.batch, lease.epoch)).is_some_and(|entry| entry.is_stopped)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<(BatchId, Epoch), Entry>> {
        // Every critical section writes whole pages, so a panic leaves the book right.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    /// An intent for so many payouts was written: when the database was `asked` for it, the run was not stopped.
    pub fn intended(&self, payouts: usize, asked: Moment) {
        if let Some(entry) = self.book.lock().get_mut(&(self.lease.batch, self.lease.epoch)) {
            entry.looked_at = entry.looked_at.max(asked);
            entry.unsent = i32::try_from(payouts).unwrap_or(i32::MAX);
        }
    }

    /// Begins a call for so many payouts, right before it is made, if the lease is still ours, as far as can be known
    /// here, and the run was not stopped a moment ago. It is in the same breath that it is asked and noted down, so a
    /// stop is confirmed either with this call or before it.
    pub fn begin(&self, payouts: usize, now: Moment) -> Result<UnderWay<'_>, NoCall> {
        let mut held = self.book.lock();
        let entry = held.get_mut(&(self.lease.batch, self.lease.epoch)).ok_or(NoCall::Never)?;
        if entry.is_stopped || now >= entry.deadline {
            return Err(NoCall::Never);
        }
        if now >= entry.looked_at + LOOK_MAX_AGE {
            return Err(NoCall::NotNow);
        }
        entry.calls += 1;
        entry.unsent = entry.unsent.saturating_sub(i32::try_from(payouts).unwrap_or(i32::MAX));
        Ok(UnderWay { held: self })
    }

    /// Whether a call that has begun may take its next step: the lease is still ours, and the run was not stopped a
    /// moment ago.
    pub fn is_going(&self, now: Moment) -> bool {
        let held = self.book.lock();
        let entry = held.get(&(self.lease.batch, self.lease.epoch));
        entry.is_some_and(|entry| !entry.is_stopped && now < entry.deadline && now < entry.looked_at + LOOK_MAX_AGE)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.book.lock().remove(&(self.lease.batch, self.lease.epoch));
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        let lease = self.held.lease;
        if let Some(entry) = self.held.book.lock().get_mut(&(lease.batch, lease.epoch)) {
            entry.calls -= 1;
        }
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
            Err(error) => tracing::warn!(error = chain(&error), "leases could not be renewed"),
        }
    }
}

/// Looks whether people have stopped the runs of what is held, in one statement for all of it, and confirms stops. Asks
/// nothing while nothing is held.
pub async fn watch_stops(worker: Arc<Worker>) {
    const EVERY: Duration = Duration::from_millis(250);
    loop {
        worker.clock.sleep(EVERY).await;
        let held = worker.leases.all();
        if held.is_empty() {
            continue;
        }
        let asked = worker.clock.now();
        match worker.record.stops_find(held).await {
            Ok(seen) => {
                let confirmed = worker.leases.looked(&seen, asked);
                if confirmed.is_empty() {
                    continue;
                }
                tracing::info!(batches = confirmed.len(), "stopped by people; nothing more of them is sent");
                // Not confirmed, it is seen again as unconfirmed.
                if let Err(error) = worker.record.stops_confirm(confirmed).await {
                    tracing::warn!(error = chain(&error), "a stop could not be confirmed");
                }
            }
            Err(error) => tracing::warn!(
                error = chain(&error),
                "whether people have stopped anything cannot be asked; sending waits"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Moment {
        Moment::since_boot(Duration::from_millis(millis))
    }

    fn held(book: &Arc<LeaseBook>) -> Held {
        book.hold(Lease { batch: BatchId(1), epoch: Epoch(3) }, at(0), at(8_000))
    }

    fn seen(epoch: i32, is_stopped: bool) -> StopSeen {
        let lease = Lease { batch: BatchId(1), epoch: Epoch(epoch) };
        StopSeen { lease, is_stopped, is_unconfirmed: is_stopped, stop_no: 7 }
    }

    #[test]
    fn a_call_begins_only_after_a_look_that_is_no_older_than_a_second() {
        let book = Arc::new(LeaseBook::default());
        let lease = held(&book);
        assert!(lease.begin(1, at(999)).is_ok(), "the lease itself was a look");
        assert_eq!(lease.begin(1, at(1_000)).err(), Some(NoCall::NotNow));
        assert!(book.looked(&[seen(3, false)], at(600)).is_empty());
        assert!(lease.begin(1, at(1_599)).is_ok());
        lease.intended(5, at(2_000));
        assert!(lease.begin(1, at(2_999)).is_ok(), "an intent is a look too");
        book.looked(&[seen(2, false)], at(7_000));
        assert_eq!(lease.begin(1, at(7_000)).err(), Some(NoCall::NotNow), "that was about another lease");
        book.looked(&[seen(3, false)], at(7_900));
        assert_eq!(lease.begin(1, at(8_000)).err(), Some(NoCall::Never), "the lease is over");
    }

    #[test]
    fn a_stop_is_confirmed_with_the_calls_under_way_and_lets_none_begin() {
        let book = Arc::new(LeaseBook::default());
        let lease = held(&book);
        lease.intended(10, at(0));
        let first = lease.begin(1, at(1)).expect("it may begin");
        let second = lease.begin(1, at(2)).expect("it may begin");
        drop(first);
        let confirmed = book.looked(&[seen(3, true)], at(3));
        assert_eq!(confirmed.iter().map(|c| (c.stop_no, c.calls, c.unsent)).collect::<Vec<_>>(), [(7, 1, 8)]);
        drop(second);
        assert!(book.is_stopped(lease.lease));
        assert_eq!(lease.begin(1, at(4)).err(), Some(NoCall::Never));
        book.looked(&[seen(3, false)], at(5));
        assert_eq!(lease.begin(1, at(6)).err(), Some(NoCall::Never), "resumed, it takes another lease");
        assert!(book.looked(&[seen(3, true)], at(7))[0].calls == 0, "as long as nobody has taken note");
    }
}
