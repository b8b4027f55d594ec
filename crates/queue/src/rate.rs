//! The rate at which the whole fleet calls a rail. A courtesy to the rail and no guard of money: when Redis is wiped,
//! calls come faster for a moment, and the rail says so.

use std::time::Duration;

use deadpool_redis::redis::Script;

use crate::{Queue, QueueError};

/// Permits are counted in whole microseconds, so that no higher rate can be kept.
const CALLS_PER_SEC_MAX: u32 = 1_000_000;

impl Queue {
    /// Asks to make `calls` on an account of a rail that takes `per_sec` calls a second from the whole fleet.
    ///
    /// Zero: go, they are counted. Otherwise nothing was counted: wait that long and ask again (waiting is no promise,
    /// another worker may be first). At once go a tenth of a second's calls, or `calls` if that is more, so that within
    /// any second there are at most `per_sec` and this burst.
    pub async fn rate_permit(
        &self,
        rail: &str,
        account: &str,
        calls: u32,
        per_sec: u32,
    ) -> Result<Duration, QueueError> {
        let per_sec = per_sec.min(CALLS_PER_SEC_MAX);
        if calls > per_sec {
            return Err(QueueError::Rate { calls, per_sec });
        }
        if calls == 0 {
            return Ok(Duration::ZERO);
        }
        let interval_us = 1_000_000_u32.div_ceil(per_sec); // rounded up: never faster than allowed
        let burst = (per_sec / 10).max(1).max(calls);
        let script = Script::new(include_str!("scripts/rate_permit.lua"));
        let mut connection = self.connection().await?;
        let mut invocation = script.key(self.key("rate", &format!("{rail}:{account}")));
        let result = invocation.arg(calls).arg(interval_us).arg(burst).invoke_async::<u64>(&mut connection).await;
        self.judge("give a rate permit", connection, result).map(Duration::from_micros)
    }
}
