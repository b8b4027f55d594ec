//! Keeps the readiness true to what Postgres and Redis say, beside all work: so a worker whose work stands still says why.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use payfleet_store::StoreError;

use crate::Process;

/// Between two looks.
const EVERY: Duration = Duration::from_secs(2);
/// How long a server may be silent. Postgres is asked every two seconds at least, and an acquisition whose error says more takes five.
const PATIENCE: Duration = Duration::from_secs(6);

/// What Postgres answered last, and when. It is asked who sweeps, through every connection in turn: an idle fleet asks nothing else, and one more question
/// for each worker would be a quarter of what it asks.
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
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = (Instant::now(), error.map(ToString::to_string));
    }

    fn answers(&self) -> Result<(), String> {
        let heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*heard {
            (_, Some(error)) => Err(format!("Postgres: {error}")),
            (at, None) if at.elapsed() > PATIENCE => Err(silent("Postgres")),
            (_, None) => Ok(()),
        }
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
            Ok(()) => {
                if !was_ready {
                    tracing::info!("ready: Postgres and Redis answer");
                }
                process.readiness.set_ready();
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

async fn answers(process: &Process) -> Result<(), String> {
    let postgres = process.heard.answers();
    dependency("postgres", postgres.is_ok());
    let redis = tokio::time::timeout(PATIENCE, process.queue.verify()).await;
    let redis = redis.map_err(|_| silent("Redis")).and_then(|answer| answer.map_err(|error| error.to_string()));
    dependency("redis", redis.is_ok());
    postgres?;
    redis?;
    process.worker.behind.why().map_or(Ok(()), Err)
}

fn dependency(name: &'static str, is_up: bool) {
    metrics::gauge!("payfleet_dependency_up", "dependency" => name).set(f64::from(u8::from(is_up)));
}
