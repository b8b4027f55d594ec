//! The sweeper: whatever worker holds the lock hints again at batches that are due and not in the stream, lets planned
//! runs begin, and closes runs with nothing open. So nothing that keeps a run going lives in the coordinator, and a
//! wiped Redis costs a second.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use payfleet_domain::RunId;
use payfleet_queue::{Hint, LOOKED_AT};
use payfleet_store::{CloseVerdict, StoreError, SweepLock, Sweeper, Watched, chain};

use crate::{Process, Worker};

/// Hints of a rail that wait for a worker, at most and at least. How many there are in between follows from how fast
/// they are read (see [`Window`]).
const WINDOW: std::ops::RangeInclusive<usize> = 16..=1_024;

/// While something is open.
const BUSY: Duration = Duration::from_millis(200);
/// While nothing is.
const IDLE: Duration = Duration::from_secs(1);
/// Between two tries to become the sweeper. A sweeper that is stopped loses its lock after three seconds (see
/// [`SweepLock`]); with this, and the eight of a lease, others have a killed worker's batches within fifteen seconds
/// even if the sweeper hangs meanwhile. Most of what an idle fleet asks Postgres is this question.
const FOLLOWER: Duration = Duration::from_secs(2);

/// How often each worker asks whether the database is the one that the fleet knows.
const CHECKED: Duration = Duration::from_secs(15);
/// The same while it is not.
const CHECKED_BEHIND: Duration = Duration::from_secs(2);

/// How often the sweeper looks for leases and waits that count for longer than they were meant to; a new one begins
/// with it.
const SHORTENED: Duration = Duration::from_secs(5);

/// How often the sweeper asks whether work waits that nobody was hinted at; as often as the others.
const LOOKED_LATE: Duration = FOLLOWER;

/// How often the sweeper counts what somebody should hear of.
const COUNTED: Duration = Duration::from_secs(15);

/// How often the sweeper looks for batches whose outcomes nobody has counted, and how often while there are more; so
/// many at once, which takes some tenths of a second.
const UNCOUNTED: Duration = Duration::from_secs(15);
const UNCOUNTED_MORE: Duration = Duration::from_secs(1);
const UNCOUNTED_AT_ONCE: i64 = 200;

/// Sweeps whenever it can have the lock, until the shutdown is requested.
pub(crate) async fn sweep(process: Arc<Process>) {
    let worker = &process.worker;
    let mut lock: Option<SweepLock> = None;
    let mut windows = Windows::new();
    let (mut counted, mut shortened, mut looked_late) = (Turn::default(), Turn::default(), Turn::default());
    let (mut checked, mut swept) = (Turn::default(), false);
    let (mut outcomes_counted, mut outcomes_every) = (Turn::default(), UNCOUNTED);
    // Whether something was open at the last sweep.
    let mut is_busy = true;
    while !worker.shutdown.is_requested() {
        let answered = match lock {
            Some(held) => Ok(held.is_held().await),
            None => match process.store.sweep_lock(worker.registry.names()).await {
                Ok(Sweeper::Ours(lock)) => Ok(Some(lock)),
                Ok(Sweeper::Anothers { work_is_late }) => {
                    if work_is_late {
                        worker.work_is_late.notify_one();
                    }
                    Ok(None)
                }
                Err(error) => Err(error),
            },
        };
        process.heard.said(answered.as_ref().err());
        let servers_answer = answered.is_ok();
        lock = answered.unwrap_or_else(|error| {
            tracing::debug!(error = chain(&error), "nobody can be asked who sweeps");
            None
        });
        // Also of those who do not sweep: a promoted standby is found out while nothing is to be sent, and so is that
        // it was recovered.
        let every = if worker.behind.why().is_some() { CHECKED_BEHIND } else { CHECKED };
        if lock.is_some() && !swept {
            checked = Turn::default();
        }
        if servers_answer && checked.take(every) {
            let found = process.store.generation_check("worker").await;
            worker.behind.found(found.as_ref().copied());
        }
        swept = lock.is_some();
        let servers_answer = servers_answer && worker.behind.why().is_none();
        if lock.is_none() {
            // Whoever sweeps now says it.
            told_of(Watched::default());
            (counted, shortened, looked_late) = (Turn::default(), Turn::default(), Turn::default());
        } else if servers_answer && counted.take(COUNTED) {
            match process.store.watched_read().await {
                Ok(watched) => told_of(watched),
                Err(error) => tracing::debug!(error = chain(&error), "what somebody should hear of is not known"),
            }
        }
        if lock.is_some() && servers_answer && outcomes_counted.take(outcomes_every) {
            match process.store.outcomes_count(UNCOUNTED_AT_ONCE).await {
                Ok(batches) => {
                    let is_more = batches >= UNCOUNTED_AT_ONCE.unsigned_abs();
                    outcomes_every = if is_more { UNCOUNTED_MORE } else { UNCOUNTED };
                }
                Err(error) => {
                    tracing::debug!(error = chain(&error), "outcomes that nobody has counted are read from payouts")
                }
            }
        }
        let may_wait = lock.is_some() && servers_answer && is_busy;
        if may_wait && shortened.take(SHORTENED) {
            match process.store.waits_shorten().await {
                Ok(0) => {}
                Ok(batches) => tracing::warn!(
                    batches,
                    "the database's clock has gone back; leases and waits that would count for longer by it are \
                     shortened"
                ),
                Err(error) => tracing::warn!(error = chain(&error), "whether leases count for too long is not known"),
            }
        }
        // Whoever sweeps may hear no hints either, though it can publish them. Of the others the question who sweeps
        // tells.
        if may_wait && looked_late.take(LOOKED_LATE) {
            match process.store.work_is_late(worker.registry.names()).await {
                Ok(true) => worker.work_is_late.notify_one(),
                Ok(false) => {}
                Err(error) => tracing::debug!(error = chain(&error), "whether work is late is not known"),
            }
        }
        let (pause, wakes) = match (&lock, servers_answer) {
            (Some(_), true) => match worker.sweep_once(&mut windows).await {
                Ok(open) => {
                    is_busy = open;
                    if open { (BUSY, false) } else { (IDLE, true) }
                }
                Err(error) => {
                    tracing::warn!(error = chain(&error), "a sweep failed");
                    (IDLE, false)
                }
            },
            (None, true) => (FOLLOWER, false),
            (_, false) => (IDLE, false),
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            // The first hints of a run are few, and the workers are through with them long before a second is over.
            () = worker.hinted.notified(), if wakes => {}
            () = worker.shutdown.requested() => {}
        }
    }
}

/// Something that is done now and then.
#[derive(Debug, Default)]
struct Turn {
    taken: Option<Instant>,
}

impl Turn {
    /// Whether it is to be done now; it counts as done from here on.
    fn take(&mut self, every: Duration) -> bool {
        let is_due = self.taken.is_none_or(|at| at.elapsed() >= every);
        if is_due {
            self.taken = Some(Instant::now());
        }
        is_due
    }
}

/// How many hints of a rail should wait for a worker: twice as many as were read since the last sweep. A fast rail
/// never runs dry between two sweeps, and behind a slow one no long line forms in which a run that comes later would
/// have to wait. Hints that were read do not count: they are work in hand, and workers with places to spare would get
/// none.
#[derive(Debug, Default)]
pub struct Window {
    hinted: usize,
}

impl Window {
    fn size(&self, left: usize) -> usize {
        (2 * self.hinted.saturating_sub(left)).clamp(*WINDOW.start(), *WINDOW.end())
    }
}

/// The windows of all rails, kept while this worker is the sweeper.
pub type Windows = HashMap<&'static str, Window>;

impl Worker {
    /// One sweep. Returns whether anything is open.
    pub async fn sweep_once(&self, windows: &mut Windows) -> Result<bool, StoreError> {
        let begun = self.record.runs_begin().await?;
        if begun > 0 {
            tracing::info!(runs = begun, "runs begun");
        }
        let open = self.record.rails_open().await?;
        for rail in self.registry.names().into_iter().filter(|rail| open.iter().any(|name| name == rail)) {
            let hinted = match self.hints.outstanding(rail, LOOKED_AT).await {
                Ok(hinted) => hinted,
                Err(error) => {
                    tracing::warn!(rail, error = chain(&error), "nothing can be hinted at");
                    self.work_is_late.notify_one();
                    continue;
                }
            };
            let window = windows.entry(rail).or_default();
            let left = hinted.waiting;
            let room = window.size(left).saturating_sub(left);
            window.hinted = left;
            if room == 0 {
                continue;
            }
            let due = self.record.batches_due(rail, hinted.batches, i64::try_from(room).unwrap_or(0)).await?;
            let hints: Vec<Hint> = due.into_iter().map(|batch| Hint { batch }).collect();
            if hints.is_empty() {
                continue;
            }
            match self.hints.publish(rail, &hints).await {
                Ok(()) => {
                    window.hinted += hints.len();
                    tracing::debug!(rail, hints = hints.len(), "hinted again");
                }
                Err(error) => {
                    tracing::warn!(rail, error = chain(&error), "nothing can be hinted at");
                    self.work_is_late.notify_one();
                }
            }
        }
        for run in self.record.runs_to_cancel().await? {
            if let Err(error) = self.record.run_cancel(run).await {
                failed("cancel");
                tracing::warn!(%run, error = chain(&error), "a batch of a cancelled run could not be cancelled");
            }
        }
        for run in self.record.runs_closable().await? {
            match self.record.run_close(run).await {
                // The other runs are none the worse for it.
                Err(error) => {
                    failed("close");
                    tracing::warn!(%run, error = chain(&error), "a run could not be closed");
                }
                Ok(verdict) => told(run, &verdict),
            }
        }
        Ok(begun > 0 || !open.is_empty())
    }
}

fn told_of(watched: Watched) {
    for (name, value) in watched.gauges() {
        metrics::gauge!(name).set(value);
    }
}

/// Counts what went wrong with one run.
fn failed(what: &'static str) {
    metrics::counter!("payfleet_runs_failed_total", "what" => what).increment(1);
}

fn told(run: RunId, verdict: &CloseVerdict) {
    match verdict {
        CloseVerdict::Settled => tracing::info!(%run, "settled: everybody is accounted for"),
        CloseVerdict::NotYet => {}
        CloseVerdict::NotBalanced(difference) => {
            metrics::counter!("payfleet_alarms_total", "rail" => "").increment(1);
            tracing::error!(%run, ?difference, "outcomes do not add up to what was due; the run is paused");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_follows_the_pace_at_which_hints_are_read() {
        assert_eq!(Window::default().size(0), 16, "before anything is known");
        assert_eq!(Window { hinted: 16 }.size(15), 16, "a slow rail has no long line");
        assert_eq!(Window { hinted: 100 }.size(10), 180);
        assert_eq!(Window { hinted: 1_024 }.size(0), 1_024, "no longer than what one look at the stream sees");
        assert_eq!(Window { hinted: 16 }.size(40), 16, "others hinted too");
    }
}
