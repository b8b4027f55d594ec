//! The stream of hints of each rail: what is written, acknowledged and found again. Reading is in `reader`.

use std::collections::HashSet;
use std::time::Duration;

use deadpool_redis::redis::{self, Script, Value};
use payfleet_domain::BatchId;

use crate::entry::{FIELD, array, entries, text};
use crate::{Delivery, EntryId, Hint, HintError, Queue, QueueError};

/// The one group of every stream.
pub(crate) const GROUP: &str = "workers";
/// Entries in one round trip; more would keep Redis from others for too long.
const CHUNK: usize = 1_000;
/// Entries of a stream to look at, so as not to hint twice at a batch; which would be harmless. What waits, and what
/// some hundreds of workers have in hand.
pub const LOOKED_AT: usize = 4_096;
/// A hint keeps its batch from being hinted at again for so long: some leases. After it, whoever should have read it
/// has not, or has lost it, and one more does no harm. An entry that bears an instant that far ahead was written by
/// nobody of ours.
const HIDES_FOR: Duration = Duration::from_secs(60);
/// Entries that could not be read are kept, but not without end: whoever writes them could fill the memory.
const SET_ASIDE_MAX: usize = 10_000;
/// Calls of one search for forgotten hints. Each looks at ten times its count of entries, so that this is far more than
/// a stream ever holds; the next search goes on.
const CLAIM_ROUNDS_MAX: usize = 1_000;

/// The hints that are in a stream, whether or not somebody has read them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outstanding {
    /// The batches that they name: of as many entries as were looked at.
    pub batches: HashSet<BatchId>,
    /// How many entries of the stream nobody has read yet, or about that: it moves while it is counted.
    pub waiting: usize,
}

impl Queue {
    /// Puts hints into a rail's stream, in order. Several hints for one batch are harmless. Not all or nothing: after
    /// an error some may be in the stream.
    pub async fn publish(&self, rail: &str, hints: &[Hint]) -> Result<(), QueueError> {
        let stream = self.stream(rail);
        for chunk in hints.chunks(CHUNK) {
            let mut pipeline = redis::pipe();
            for hint in chunk {
                // Never with MAXLEN: it throws away what nobody has acknowledged.
                pipeline.cmd("XADD").arg(&stream).arg("*").arg(FIELD).arg(hint.encode()).ignore();
            }
            let _: () = self.pipeline("publish hints", &pipeline).await?;
        }
        Ok(())
    }

    /// Which batches have a hint in the stream already that is not older than a minute, read or not, oldest first and
    /// of at most `max` entries (the fleet looks at [`LOOKED_AT`]); and how many nobody has read.
    pub async fn outstanding(&self, rail: &str, max: usize) -> Result<Outstanding, QueueError> {
        let doing = "list the hints of a stream";
        let stream = self.stream(rail);
        let mut found = Outstanding::default();
        let now = self.clock_millis(doing).await?;
        let hides = |entry: &EntryId| entry.millis().is_some_and(|at| now.abs_diff(at) <= millis(HIDES_FOR));
        let mut from = "-".to_owned();
        let mut entries_seen = 0;
        while entries_seen < max {
            let count = CHUNK.min(max - entries_seen);
            let mut command = redis::cmd("XRANGE");
            command.arg(&stream).arg(&from).arg("+").arg("COUNT").arg(count);
            let page = entries(self.command(doing, &command).await?).ok_or_else(|| self.nonsense(doing))?;
            entries_seen += page.len();
            let hiding = page.iter().filter(|(entry, _)| hides(entry));
            found.batches.extend(hiding.filter_map(|(_, hint)| hint.as_ref().ok()).map(|hint| hint.batch));
            match page.last() {
                Some((last, _)) if page.len() == count => from = format!("({last}"),
                _ => break,
            }
        }
        let mut length = redis::cmd("XLEN");
        let length: usize = self.command(doing, length.arg(&stream)).await?;
        found.waiting = length.saturating_sub(self.pending(doing, &stream).await?);
        Ok(found)
    }

    /// What Redis' own clock says, by which entries are numbered.
    async fn clock_millis(&self, doing: &'static str) -> Result<u64, QueueError> {
        let (secs, micros): (u64, u64) = self.command(doing, &redis::cmd("TIME")).await?;
        Ok(secs.saturating_mul(1_000).saturating_add(micros / 1_000))
    }

    /// Moves an entry that cannot be read into a stream of its own, `PREFIX:unreadable:RAIL`, where it hides no work
    /// and keeps no worker from other hints. Answers whether it was still there. The batch that it names, if it names
    /// one, is found again through Postgres.
    pub async fn set_aside(&self, rail: &str, entry: &EntryId) -> Result<bool, QueueError> {
        let script = Script::new(include_str!("scripts/set_aside.lua"));
        let mut connection = self.connection().await?;
        let mut invocation = script.key(self.stream(rail));
        let invocation = invocation.key(self.key("unreadable", rail)).arg(GROUP).arg(entry).arg(SET_ASIDE_MAX);
        let result = invocation.invoke_async::<bool>(&mut connection).await;
        self.judge("set an unreadable hint aside", connection, result)
    }

    /// How many entries were read and not acknowledged.
    async fn pending(&self, doing: &'static str, stream: &str) -> Result<usize, QueueError> {
        let mut command = redis::cmd("XPENDING");
        let reply: Value = match self.command(doing, command.arg(stream).arg(GROUP)).await {
            // No stream or no group: nothing was ever given to anybody.
            Err(QueueError::Command { source, .. }) if source.code() == Some("NOGROUP") => return Ok(0),
            reply => reply?,
        };
        let count = array(reply).and_then(|summary| redis::from_redis_value(summary.into_iter().next()?).ok());
        count.ok_or_else(|| self.nonsense(doing))
    }

    /// Says that what these entries led to is committed, and deletes them. Doing it twice, or after Redis was wiped, is
    /// harmless.
    pub async fn acknowledge(&self, rail: &str, entries: &[EntryId]) -> Result<(), QueueError> {
        let stream = self.stream(rail);
        for chunk in entries.chunks(CHUNK) {
            let mut pipeline = redis::pipe();
            // In one transaction: an entry that is acknowledged and stays would be published as if it were outstanding.
            pipeline.atomic();
            pipeline.cmd("XACK").arg(&stream).arg(GROUP).arg(chunk).ignore();
            pipeline.cmd("XDEL").arg(&stream).arg(chunk).ignore();
            let _: () = self.pipeline("acknowledge hints", &pipeline).await?;
        }
        Ok(())
    }

    /// Takes over hints that were given to somebody at least `min_idle` ago and never acknowledged: about `count`, at
    /// most twice as many.
    ///
    /// Redis cannot tell the dead from the slow, nor the caller's own running entries from others': `min_idle` must be
    /// longer than any work, and whoever gets a hint asks Postgres for the lease anyway. Entries that cannot be read
    /// are handed out too, as often as they are found.
    pub async fn claim_forgotten(
        &self,
        rail: &str,
        consumer: &str,
        min_idle: Duration,
        count: usize,
    ) -> Result<Vec<Delivery>, QueueError> {
        let doing = "claim forgotten hints";
        let stream = self.stream(rail);
        let mut claimed = Vec::new();
        let mut cursor = "0-0".to_owned();
        for _ in 0..CLAIM_ROUNDS_MAX {
            if claimed.len() >= count {
                break;
            }
            let mut command = redis::cmd("XAUTOCLAIM");
            command
                .arg(&stream)
                .arg(GROUP)
                .arg(consumer)
                .arg(millis(min_idle))
                .arg(&cursor)
                .arg("COUNT")
                .arg(count.max(1));
            let reply: Value = match self.command(doing, &command).await {
                // No stream or no group: nothing was ever given to anybody.
                Err(QueueError::Command { source, .. }) if source.code() == Some("NOGROUP") => break,
                reply => reply?,
            };
            let (next, given, deleted) = self.claim_reply(doing, reply)?;
            if !deleted.is_empty() {
                tracing::error!(
                    rail,
                    deleted = deleted.len(),
                    "hints were deleted before they were acknowledged; does something trim the stream?"
                );
            }
            claimed.extend(given.into_iter().map(|(entry, hint)| Delivery { rail: rail.to_owned(), entry, hint }));
            cursor = next;
            // One call looks at a part of the pending entries only; back at the beginning is the end.
            if cursor == "0-0" {
                break;
            }
        }
        Ok(claimed)
    }

    /// Takes a consumer that will read no more out of the groups of these rails, unless hints are still pending with
    /// it: deleting it would forget them. Answers with the rails where it had to stay.
    pub async fn retire(&self, rails: &[&str], consumer: &str) -> Result<Vec<String>, QueueError> {
        let script = Script::new(include_str!("scripts/retire.lua"));
        let mut stayed = Vec::new();
        for rail in rails {
            let mut connection = self.connection().await?;
            let mut invocation = script.key(self.stream(rail));
            let result = invocation.arg(GROUP).arg(consumer).invoke_async::<bool>(&mut connection).await;
            if !self.judge("retire a consumer", connection, result)? {
                stayed.push((*rail).to_owned());
            }
        }
        Ok(stayed)
    }

    pub(crate) fn stream(&self, rail: &str) -> String {
        self.key("hints", rail)
    }

    fn claim_reply(&self, doing: &'static str, reply: Value) -> Result<ClaimReply, QueueError> {
        let parsed = || {
            let mut parts = array(reply)?.into_iter();
            let next = text(parts.next()?)?;
            let given = entries(parts.next()?)?;
            let deleted = array(parts.next()?)?;
            Some((next, given, deleted))
        };
        parsed().ok_or_else(|| self.nonsense(doing))
    }
}

/// Where to go on, what was claimed, and what had been pending but is no longer in the stream.
type ClaimReply = (String, Vec<(EntryId, Result<Hint, HintError>)>, Vec<Value>);

pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
