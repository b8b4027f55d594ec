//! Waiting for a run that others pay. It only looks; interrupting it changes nothing.

use std::time::Duration;

use payfleet_domain::RunId;
use payfleet_store::{RunRow, Store};

use crate::failure::Failure;
use crate::plan::{find, paused};
use crate::progress;

/// How often to look.
const EVERY: Duration = Duration::from_millis(500);

/// Waits until a run is closed. A paused one is not waited for.
pub async fn until_closed(store: &Store, run: RunId) -> Result<RunRow, Failure> {
    let bar = progress::steps(0, &format!("paying run {run}"));
    let mut every = tokio::time::interval(EVERY);
    loop {
        every.tick().await;
        let row = find(store, run).await?;
        if !row.state.is_open() {
            bar.finish_and_clear();
            return Ok(row);
        }
        if row.pause_reason.is_some() {
            bar.finish_and_clear();
            return Err(paused(&row));
        }
        let progress = store.run_progress(run).await?;
        bar.set_length(progress.payouts.unsigned_abs());
        bar.set_position(progress.payouts_done.unsigned_abs());
    }
}
