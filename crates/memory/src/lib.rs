//! What programs remember of the database outside of it: the last intents that they have seen, in a file beside them,
//! which survives, and in Redis, which all see and which may vanish. By it they know a database that lost what it had
//! confirmed (see `generation.rs` of the store, which decides).

#![warn(missing_docs)]

use std::collections::{HashSet, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use payfleet_queue::Queue;
use payfleet_runtime::state::{LastLines, StateArgs, StateError, lines_kept};
use payfleet_store::{Mark, Memory, Store, StoreError, chain};

/// Marks of this process that are asked for with each intent.
const OWN: usize = 8;

/// Marks that wait for a Redis that is away, at most.
const WAITING: usize = 1_024;

/// How long an intent, and whoever asks about the database, waits for Redis, which need not be there.
const PATIENCE: Duration = Duration::from_millis(250);

/// How long it is left alone after it did not answer.
const REST: Duration = Duration::from_secs(2);

/// Why a program cannot remember.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    /// The file beside it.
    #[error(transparent)]
    State(#[from] StateError),
    /// The database whose name it needs.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The memory of one process.
pub struct Remembered {
    file: LastLines,
    queue: Option<Queue>,
    installation: String,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    own: VecDeque<Mark>,
    /// What is in our file, or was.
    kept: HashSet<Mark>,
    /// What Redis has not got yet.
    waiting: VecDeque<String>,
    rests_until: Option<Instant>,
}

/// A store that remembers in this folder and, if there is one, in this Redis.
pub async fn remembering(store: Store, state: &StateArgs, queue: Option<Queue>) -> Result<Store, MemoryError> {
    let installation = store.installation().await?.to_string();
    let file = LastLines::open(&state.dir()?.join(&installation))?;
    let memory = Remembered { file, queue, installation, inner: Mutex::default() };
    Ok(store.remembering(Arc::new(memory)))
}

/// What of all that was seen of a database it does not have, in words, as far as is known in this folder and this
/// Redis. Only looks: keeps nothing, and stops nobody. For programs that show, and go on.
pub async fn missing(store: &Store, state: &StateArgs, queue: Option<&Queue>) -> Result<Option<String>, MemoryError> {
    let installation = store.installation().await?.to_string();
    let mut lines = lines_kept(&state.dir()?.join(&installation))?;
    lines.extend(told(queue, &installation).await);
    Ok(store.generation_missing(marks(&lines)).await?)
}

/// What others have seen. Redis may be away.
async fn told(queue: Option<&Queue>, installation: &str) -> Vec<String> {
    let Some(queue) = queue else { return Vec::new() };
    let asked = tokio::time::timeout(PATIENCE, queue.seen(installation)).await;
    let told = asked.map_err(|_| format!("no answer within {PATIENCE:?}"));
    told.and_then(|told| told.map_err(|error| chain(&error))).unwrap_or_else(|why| {
        tracing::warn!(
            why,
            "what other workers have seen of the database is not known; it is compared with what this host has seen"
        );
        Vec::new()
    })
}

/// The marks in lines, each once.
fn marks(lines: &[String]) -> Vec<Mark> {
    let mut marks: Vec<Mark> = lines.iter().filter_map(|line| line.parse().ok()).collect();
    let mut once = HashSet::new();
    marks.retain(|mark| once.insert(*mark));
    marks
}

impl fmt::Debug for Remembered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remembered").field("file", &self.file).field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl Remembered {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Whatever was interrupted, a mark is in it or not.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn file_keep(&self, mark: &Mark) -> Result<(), String> {
        self.file.keep(&mark.to_string()).map_err(|error| chain(&error))?;
        self.lock().kept.insert(*mark);
        Ok(())
    }

    /// Tells Redis, with what it did not get before. It may be away.
    async fn tell(&self, line: String) {
        let Some(queue) = &self.queue else { return };
        let lines: Vec<String> = {
            let mut inner = self.lock();
            inner.waiting.push_back(line);
            while inner.waiting.len() > WAITING {
                inner.waiting.pop_front();
            }
            if inner.rests_until.is_some_and(|until| Instant::now() < until) {
                return;
            }
            inner.waiting.drain(..).collect()
        };
        let told = match tokio::time::timeout(PATIENCE, queue.seen_add(&self.installation, &lines)).await {
            Ok(told) => told.map_err(|error| chain(&error)),
            Err(_) => Err(format!("no answer within {PATIENCE:?}")),
        };
        if let Err(why) = told {
            tracing::debug!(why, "Redis does not remember the last intents yet; the file does");
            let mut inner = self.lock();
            inner.rests_until = Some(Instant::now() + REST);
            lines.into_iter().rev().for_each(|line| inner.waiting.push_front(line));
        }
    }
}

impl Memory for Remembered {
    fn keep<'a>(&'a self, mark: &'a Mark) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(async move {
            self.file_keep(mark)?;
            {
                let mut inner = self.lock();
                inner.own.push_back(*mark);
                if inner.own.len() > OWN {
                    inner.own.pop_front();
                }
            }
            self.tell(mark.to_string()).await;
            Ok(())
        })
    }

    fn own(&self) -> Vec<Mark> {
        self.lock().own.iter().copied().collect()
    }

    fn seen(&self) -> BoxFuture<'_, Result<Vec<Mark>, String>> {
        Box::pin(async move {
            let mut lines = self.file.all().map_err(|error| chain(&error))?;
            lines.extend(told(self.queue.as_ref(), &self.installation).await);
            Ok(marks(&lines))
        })
    }

    fn learn<'a>(&'a self, marks: &'a [Mark]) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            for mark in marks {
                if self.lock().kept.contains(mark) {
                    continue;
                }
                if let Err(why) = self.file_keep(mark) {
                    tracing::warn!(why, "an intent of others is not remembered here");
                }
            }
        })
    }
}
