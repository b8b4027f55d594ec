//! Keeping to the rate at which a rail's account takes calls from the whole fleet.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use payfleet_domain::Rail;

use crate::RateLimit;
use crate::ports::{Clock, Hints};

/// Calls that may be made without asking again.
type Granted = Arc<tokio::sync::Mutex<u32>>;

/// The permits of this process, by rail and account.
#[derive(Debug, Default)]
pub(crate) struct Paces {
    limits: Vec<RateLimit>,
    granted: Mutex<HashMap<(&'static str, String), Granted>>,
}

impl Paces {
    pub(crate) fn new(limits: &[RateLimit]) -> Self {
        Paces { limits: limits.to_vec(), granted: Mutex::default() }
    }

    fn calls_per_sec(&self, rail: &Rail) -> Option<u32> {
        let set = self.limits.iter().filter(|limit| limit.rail == rail.name).map(|limit| limit.calls_per_sec);
        set.chain(rail.calls_per_sec).min()
    }

    /// Waits until one call may be made. Asks for a twentieth of a second's calls at a time, so that Redis is not asked for every call.
    ///
    /// A courtesy, not a guard of money: while Redis cannot be asked, this process goes on at a tenth of the rate.
    pub(crate) async fn permit(&self, hints: &dyn Hints, clock: &dyn Clock, rail: &'static Rail, account: &str) {
        let Some(per_sec) = self.calls_per_sec(rail) else { return };
        let granted = {
            let mut all = self.granted.lock().unwrap_or_else(PoisonError::into_inner); // one operation, always whole
            all.entry((rail.name, account.to_owned())).or_default().clone()
        };
        let mut granted = granted.lock().await;
        while *granted == 0 {
            let calls = (per_sec / 20).max(1);
            match hints.rate_permit(rail.name, account, calls, per_sec).await {
                Ok(Duration::ZERO) => *granted = calls,
                Ok(wait) => clock.sleep(wait).await,
                Err(error) => {
                    tracing::warn!(rail = rail.name, %error, "no rate permit; going on at a tenth of the rate");
                    clock.sleep(Duration::from_secs(10) / per_sec).await;
                    *granted = 1;
                }
            }
        }
        *granted -= 1;
    }
}
