//! From when on no call of a run may begin, since `pause` or `cancel` has returned, and what the journal says of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::recovery::Outages;
use crate::oracle::Movement;

/// Longer than that no call begins after it: the fleet has confirmed the stop before it returns.
const PROMISED: Duration = Duration::from_millis(250);
/// From the execution until the harness saw it in the journal, on a busy machine.
const SEEN_WITHIN: Duration = Duration::from_millis(200);

/// See the module.
#[derive(Debug, Default)]
pub struct Stops {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    taken: BTreeSet<i64>,
    stopped: BTreeMap<i64, Vec<Stop>>,
    /// The longest that the rail may take for a call, since when.
    latencies: Vec<(Instant, Duration)>,
}

#[derive(Debug, Clone, Copy)]
struct Stop {
    what: &'static str,
    from: Instant,
    until: Option<Instant>,
}

/// Somebody has a run for themselves.
pub struct Taken<'a>(&'a Stops, i64);

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        self.0.inner().taken.remove(&self.1);
    }
}

/// How the promise was kept.
#[derive(Debug, Default, Clone)]
pub struct Kept {
    /// Stops that returned.
    pub stops: usize,
    /// Payments of which it is not known when their calls began: the way to the rail or a clock was not itself.
    pub unknown: usize,
    /// The latest beginning of a call after its stop had returned, among those that are known.
    pub latest: Duration,
    /// What must not be.
    pub broken: Vec<String>,
}

impl Stops {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        // Every critical section is one operation on one field.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a run, if nobody else has it.
    pub fn take(&self, run: i64) -> Option<Taken<'_>> {
        let is_free = self.inner().taken.insert(run);
        is_free.then(|| Taken(self, run))
    }

    /// `pause` or `cancel` has returned.
    pub fn stopped(&self, run: i64, what: &'static str) {
        let stop = Stop { what, from: Instant::now(), until: None };
        self.inner().stopped.entry(run).or_default().push(stop);
    }

    /// Somebody is about to let it go on.
    pub fn goes_on(&self, run: i64) {
        let now = Instant::now();
        let mut inner = self.inner();
        for stop in inner.stopped.entry(run).or_default().iter_mut().filter(|stop| stop.what == "pause") {
            stop.until.get_or_insert(now);
        }
    }

    /// From now on the rail takes at most so long as these faults say.
    pub fn latency_of(&self, faults: &str) {
        let faults: serde_json::Value = serde_json::from_str(faults).expect("faults are JSON");
        let millis = |name: &str| faults[name].as_u64().unwrap_or(0);
        let longest = Duration::from_millis(millis("latency_ms") + millis("latency_jitter_ms"));
        self.inner().latencies.push((Instant::now(), longest));
    }

    /// Judges these payments, each with when it was seen. Those are left out that the rail made later than it was asked
    /// to, or without.
    pub fn judge(&self, payments: &[(&Movement, Instant)], blurred: &Outages) -> Kept {
        let inner = self.inner();
        let mut kept = Kept { stops: inner.stopped.values().map(|stops| stops.len()).sum(), ..Kept::default() };
        for (payment, seen) in payments {
            let run = payment.payout() >> 32;
            for stop in inner.stopped.get(&run).into_iter().flatten() {
                let begun = *seen - SEEN_WITHIN - inner.longest_before(*seen);
                let after = begun.saturating_duration_since(stop.from);
                if after.is_zero() || stop.until.is_some_and(|until| until <= *seen) {
                    continue;
                }
                if blurred.any_between(stop.from, *seen) {
                    kept.unknown += 1;
                    continue;
                }
                kept.latest = kept.latest.max(after);
                if after > PROMISED {
                    let (key, what) = (&payment.key, stop.what);
                    kept.broken.push(format!("{key} of run {run} was called {after:?} after {what} had returned"));
                }
            }
        }
        kept
    }
}

impl Inner {
    fn longest_before(&self, seen: Instant) -> Duration {
        let mut longest = Duration::ZERO;
        for (nth, (since, latency)) in self.latencies.iter().enumerate() {
            let until = self.latencies.get(nth + 1).map(|(until, _)| *until + *latency + SEEN_WITHIN);
            if *since <= seen && until.is_none_or(|until| until >= seen) {
                longest = longest.max(*latency);
            }
        }
        longest
    }
}
