//! Keeps the readiness true to what Postgres and Redis say, beside all work: so a worker whose work stands still says
//! why.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use payfleet_store::{StoreError, chain};

use crate::Process;

/// Between two looks.
const EVERY: Duration = Duration::from_secs(2);
/// How long a server may be silent. Longer than the wait for a connection, whose error says more.
const PATIENCE: Duration = Duration::from_secs(6);
/// How old what was heard of Postgres may be: whoever does not sweep asks it every two seconds.
const FRESH: Duration = Duration::from_secs(4);

/// What Postgres answered last, and when. It is asked who sweeps, through every connection in turn: an idle fleet asks
/// nothing else, and one more question for each worker would be a quarter of what it asks.
pub(crate) struct Heard(Mutex<(Instant, Option<String>)>);

impl Default for Heard {
    fn default() -> Heard {
        Heard(Mutex::new((Instant::now(), None)))
    }
}

impl Heard {
    /// It has answered, or failed.
    pub(crate) fn said(&self, error: Option<&StoreError>) {
        // It is only replaced.
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = (Instant::now(), error.map(|error| chain(error)));
    }

    /// `None` if it is too long ago.
    fn answers(&self) -> Option<Result<(), String>> {
        let heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, error) = &*heard;
        (at.elapsed() <= FRESH).then(|| error.as_ref().map_or(Ok(()), |error| Err(format!("Postgres: {error}"))))
    }
}

fn silent(what: &str) -> String {
    format!("{what} does not answer within {PATIENCE:?}")
}

/// Looks until it is dropped.
pub(crate) async fn keep(process: Arc<Process>) {
    let mut was_ready = false;
    loop {
        match answers(&process).await {
            Ok(lacks) => {
                if !was_ready {
                    tracing::info!("ready: Postgres and Redis answer");
                }
                process.readiness.set_ready_with(lacks);
                was_ready = true;
            }
            Err(reason) => {
                if was_ready {
                    tracing::warn!(reason, "not ready");
                }
                process.readiness.set_not_ready(reason);
                was_ready = false;
            }
        }
        tokio::time::sleep(EVERY).await;
    }
}

/// Whether there is all that it needs; and what it can do without.
async fn answers(process: &Process) -> Result<Option<String>, String> {
    let postgres = match process.heard.answers() {
        Some(said) => said,
        // Whoever asks otherwise is busy with something long, or waits in vain. Dropped, the question itself goes on,
        // and ends by itself (see `Store`).
        None => match tokio::time::timeout(PATIENCE, process.store.answers()).await {
            Ok(answer) => answer.map_err(|error| format!("Postgres: {}", chain(&error))),
            Err(_) => Err(silent("Postgres")),
        },
    };
    dependency("postgres", postgres.is_ok());
    let redis = tokio::time::timeout(PATIENCE, process.queue.verify()).await;
    let redis = redis.map_err(|_| silent("Redis")).and_then(|answer| answer.map_err(|error| chain(&error)));
    dependency("redis", redis.is_ok());
    postgres?;
    redis?;
    process.worker.behind.why().map_or(Ok(()), Err)?;
    process.lacks.told()
}

fn dependency(name: &'static str, is_up: bool) {
    metrics::gauge!("payfleet_dependency_up", "dependency" => name).set(f64::from(u8::from(is_up)));
}
