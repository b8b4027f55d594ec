//! What workers have seen of the database, for all programs of the fleet to compare. May vanish: each keeps its own
//! beside itself.
//!
//! What a line says is the store's; here it is text.

use deadpool_redis::redis;

use crate::{Queue, QueueError};

/// So many lines are kept: more than a fleet has intents under way at once.
const LINES: isize = 1_024;

impl Queue {
    /// Adds lines about an installation, newest last.
    pub async fn seen_add(&self, installation: &str, lines: &[String]) -> Result<(), QueueError> {
        if lines.is_empty() {
            return Ok(());
        }
        let key = self.key("seen", installation);
        let mut pipeline = redis::pipe();
        pipeline.rpush(&key, lines).ignore().ltrim(&key, -LINES, -1).ignore();
        self.pipeline("remember what was seen", &pipeline).await
    }

    /// The lines about an installation, oldest first.
    pub async fn seen(&self, installation: &str) -> Result<Vec<String>, QueueError> {
        let mut command = redis::cmd("LRANGE");
        command.arg(self.key("seen", installation)).arg(0).arg(-1);
        self.command("tell what was seen", &command).await
    }
}
