//! Keeping to the rate at which a rail's account takes calls from the whole fleet.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use payfleet_domain::Rail;
use payfleet_store::chain;

use crate::RateLimit;
use crate::ports::{Clock, Hints, Moment};

/// How long Redis is left alone that did not answer.
const ALONE: Duration = Duration::from_secs(2);

/// Before anything is known of them.
const WORKERS: u32 = 10;

/// So long it is said of an account that its rate was waited for.
const TOLD: Duration = Duration::from_secs(15);

/// Calls that may be made without asking again.
type Granted = Arc<tokio::sync::Mutex<u32>>;

/// The permits of this process, by rail and account.
#[derive(Debug)]
pub(crate) struct Paces {
    limits: Vec<RateLimit>,
    /// What single accounts allow, where it is another rate than their rail's.
    accounts: HashMap<(&'static str, String), u32>,
    granted: Mutex<HashMap<(&'static str, String), Granted>>,
    /// How many workers there are, as far as is known.
    workers: AtomicU32,
    /// Until when Redis is not asked, since it did not answer.
    alone_until: Mutex<Option<Moment>>,
    /// When the rate of an account was last waited for.
    waited: Mutex<HashMap<(&'static str, String), Moment>>,
}

impl Paces {
    pub(crate) fn new(limits: &[RateLimit], accounts: HashMap<(&'static str, String), u32>) -> Self {
        Paces {
            limits: limits.to_vec(),
            accounts,
            granted: Mutex::default(),
            workers: AtomicU32::new(WORKERS),
            alone_until: Mutex::default(),
            waited: Mutex::default(),
        }
    }

    /// Where calls have waited lately for the rate: `RAIL/ACCOUNT`.
    pub(crate) fn waited_lately(&self, now: Moment) -> Vec<String> {
        let mut waited = self.waited.lock().unwrap_or_else(PoisonError::into_inner); // each change is one operation
        waited.retain(|_, at| now < *at + TOLD);
        let mut names: Vec<String> = waited.keys().map(|(rail, account)| format!("{rail}/{account}")).collect();
        names.sort();
        names
    }

    async fn wait(&self, clock: &dyn Clock, rail: &'static Rail, account: &str, wait: Duration) {
        self.waited.lock().unwrap_or_else(PoisonError::into_inner).insert((rail.name, account.to_owned()), clock.now());
        clock.sleep(wait).await;
    }

    /// Takes note of how many workers share the rates. While Redis counted for all of them, that was nobody's business.
    pub(crate) fn shared_by(&self, workers: u32) {
        self.workers.store(workers.max(1), Ordering::Relaxed);
    }

    /// The same, by what can be seen without Redis: those that hold leases, which may not be all.
    pub(crate) fn shared_by_at_least(&self, workers: u32) {
        self.workers.fetch_max(workers, Ordering::Relaxed);
    }

    fn is_alone(&self, now: Moment) -> bool {
        let until = self.alone_until.lock().unwrap_or_else(PoisonError::into_inner); // it is only replaced
        until.is_some_and(|until| now < until)
    }

    /// The account's own rate stands for its rail's; what the command line says bounds both.
    fn calls_per_sec(&self, rail: &'static Rail, account: &str) -> Option<u32> {
        let set = self.limits.iter().filter(|limit| limit.rail == rail.name).map(|limit| limit.calls_per_sec);
        let account = self.accounts.get(&(rail.name, account.to_owned())).copied();
        set.chain(account.or(rail.calls_per_sec)).min()
    }

    /// Waits until one call may be made. Asks for a twentieth of a second's calls at a time, so that Redis is not asked
    /// for every call.
    ///
    /// A courtesy, not a guard of money: while Redis cannot be asked, this process goes on with its share of the rate.
    pub(crate) async fn permit(&self, hints: &dyn Hints, clock: &dyn Clock, rail: &'static Rail, account: &str) {
        let Some(per_sec) = self.calls_per_sec(rail, account) else { return };
        let granted = {
            let mut all = self.granted.lock().unwrap_or_else(PoisonError::into_inner); // one operation, always whole
            all.entry((rail.name, account.to_owned())).or_default().clone()
        };
        let mut granted = granted.lock().await;
        while *granted == 0 {
            let calls = (per_sec / 20).max(1);
            let share = Duration::from_secs(self.workers.load(Ordering::Relaxed).into()) / per_sec;
            if self.is_alone(clock.now()) {
                self.wait(clock, rail, account, share).await;
                *granted = 1;
                continue;
            }
            match hints.rate_permit(rail.name, account, calls, per_sec).await {
                Ok(Duration::ZERO) => *granted = calls,
                Ok(wait) => self.wait(clock, rail, account, wait).await,
                Err(error) => {
                    tracing::warn!(
                        rail = rail.name,
                        error = chain(&error),
                        "no rate permit; going on with a share of the rate"
                    );
                    // One that does not answer is not asked for each call: to wait for it takes longer than a call.
                    *self.alone_until.lock().unwrap_or_else(PoisonError::into_inner) = Some(clock.now() + ALONE);
                }
            }
        }
        *granted -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_accounts_own_rate_stands_for_its_rails_and_the_command_line_bounds_both() {
        let stripe = Rail::named("stripe").expect("a rail of this build");
        let own = HashMap::from([((stripe.name, "platform".to_owned()), 80)]);
        let paces = Paces::new(&[], own.clone());
        assert_eq!(paces.calls_per_sec(stripe, "platform"), Some(80));
        assert_eq!(paces.calls_per_sec(stripe, "other"), stripe.calls_per_sec);
        let bound = [RateLimit { rail: stripe.name, calls_per_sec: 5 }];
        assert_eq!(Paces::new(&bound, own).calls_per_sec(stripe, "platform"), Some(5));
    }
}
