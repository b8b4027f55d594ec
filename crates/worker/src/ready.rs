//! Keeps the readiness true, by asking Postgres and Redis for something real, beside all work: so a worker whose work stands still says why.

use std::sync::Arc;
use std::time::Duration;

use crate::Process;

/// Between two questions.
const EVERY: Duration = Duration::from_secs(2);
/// How long an answer may take. Longer than the wait for a connection, whose error says more.
const PATIENCE: Duration = Duration::from_secs(6);

/// Asks until it is dropped.
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
    let silent = |what: &str| format!("{what} does not answer within {PATIENCE:?}");
    // Dropped, the question itself goes on, and ends by itself (see `Store`).
    let postgres = tokio::time::timeout(PATIENCE, process.store.answers()).await;
    postgres.map_err(|_| silent("Postgres"))?.map_err(|error| format!("Postgres: {error}"))?;
    let redis = tokio::time::timeout(PATIENCE, process.queue.ping()).await;
    redis.map_err(|_| silent("Redis"))?.map_err(|error| error.to_string())
}
