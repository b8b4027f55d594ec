//! Waiting for a run that others pay. It only looks; interrupting it changes nothing. When nothing moves it says why.

use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use payfleet_domain::{RunId, RunState, WaitReason};
use payfleet_runtime::telemetry::{LogArgs, LogFormat};
use payfleet_store::{BatchProgress, RunRow, Store};

use crate::failure::Failure;
use crate::plan::{find, paused};
use crate::{progress, waits};

/// How often to look.
const EVERY: Duration = Duration::from_millis(500);
/// When nothing has moved for so long, it is said why.
const QUIET: Duration = Duration::from_secs(5);
/// The same while workers have everything in hand or will: most often something moves by then.
const QUIET_AT_WORK: Duration = Duration::from_secs(30);
/// It is said again after so long, and at once when it is for another reason.
const AGAIN: Duration = Duration::from_secs(60);

/// Waits until everybody is accounted for. A paused run is not waited for. Of a run that somebody cancels meanwhile,
/// what was perhaps sent is waited for.
pub async fn until_closed(store: &Store, run: RunId, log: &LogArgs) -> Result<RunRow, Failure> {
    let bar = progress::steps(0, &format!("paying run {run}"));
    let mut every = tokio::time::interval(EVERY);
    let mut quiet = Quiet::new(log);
    let mut is_cancelled = false;
    loop {
        every.tick().await;
        let row = find(store, run).await?;
        let progress = store.run_progress(run).await?;
        let is_open = progress.batches_waiting + progress.batches_leased > 0;
        // Whoever sweeps settles it when nothing is open; until then its outcomes may change.
        if row.state == RunState::Cancelled && is_open && row.settled_at.is_none() {
            if !std::mem::replace(&mut is_cancelled, true) {
                quiet.say(&bar, &format!("run {run} was cancelled: what was perhaps sent is followed to its end"));
            }
        } else if !row.state.is_open() {
            bar.finish_and_clear();
            return Ok(row);
        }
        if row.pause_reason.is_some() {
            bar.finish_and_clear();
            return Err(paused(&row));
        }
        bar.set_length(progress.payouts.unsigned_abs());
        bar.set_position(progress.payouts_done.unsigned_abs());
        if quiet.has_lasted(&progress) {
            quiet.tell(store, &row, &bar).await?;
        }
    }
}

/// A time in which nothing moves.
struct Quiet<'a> {
    log: &'a LogArgs,
    since: Instant,
    seen: Option<(i64, i64)>,
    /// What was said last, and when.
    said: Option<(Vec<(WaitReason, String)>, Instant)>,
}

impl<'a> Quiet<'a> {
    fn new(log: &'a LogArgs) -> Quiet<'a> {
        Quiet { log, since: Instant::now(), seen: None, said: None }
    }

    /// Whether nothing has moved for so long that somebody may wonder. What is tried again and again does not move.
    fn has_lasted(&mut self, progress: &BatchProgress) -> bool {
        let now = (progress.payouts_done, progress.batches_closed);
        if self.seen.replace(now) != Some(now) {
            (self.since, self.said) = (Instant::now(), None);
        }
        self.since.elapsed() >= QUIET
    }

    async fn tell(&mut self, store: &Store, run: &RunRow, bar: &ProgressBar) -> Result<(), Failure> {
        let mut waits = store.waits_read(&[run.id]).await?;
        let at_work = waits.waiting.iter().all(|waiting| waiting.reason.is_work());
        if at_work && self.since.elapsed() < QUIET_AT_WORK {
            return Ok(());
        }
        // Who waits for a run need not hear of what goes on.
        waits.waiting.retain(|waiting| at_work || !waiting.reason.is_work());
        let reasons: Vec<_> = waits.waiting.iter().map(|waiting| (waiting.reason, waiting.rail.clone())).collect();
        if self.said.as_ref().is_some_and(|(said, at)| *said == reasons && at.elapsed() < AGAIN) {
            return Ok(());
        }
        let secs = self.since.elapsed().as_secs();
        self.say(bar, &format!("run {}: nothing has moved for {secs} s", run.id));
        if let Some(recovery) = store.recovery_find().await? {
            self.say(bar, &format!("  a recovery is open, and nothing is sent before it is over: {}", recovery.words));
        }
        for line in waits::lines(&waits, store.now().await?) {
            self.say(bar, &format!("  {line}"));
        }
        for line in waits::workers(&waits.workers).lines() {
            self.say(bar, line);
        }
        self.said = Some((reasons, Instant::now()));
        Ok(())
    }

    /// On stderr, whether or not it is a terminal, in the form of the logs.
    fn say(&self, bar: &ProgressBar, words: &str) {
        bar.suspend(|| match self.log.log_format {
            LogFormat::Text => eprintln!("{words}"),
            LogFormat::Json => tracing::warn!("{}", words.trim_start()),
        });
    }
}
