//! What the harness did, or made rails and people do, that nobody may hold against the fleet; and what it keeps as it
//! is to the end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use time::OffsetDateTime;

/// See the module.
#[derive(Debug, Default)]
pub struct Deeds {
    inner: Mutex<Done>,
}

/// By payout.
#[derive(Debug, Default, Clone)]
pub struct Done {
    /// What a rail or people did to it that must be told as a discrepancy if it is not right in the end.
    pub wronged: BTreeMap<i64, &'static str>,
    /// Every request of these was declared dead by then; if the rail executes one after all, it breaks its word.
    pub given_up: BTreeMap<i64, OffsetDateTime>,
    /// Keys and references of payments to which something was done already.
    touched: BTreeSet<String>,
    /// Runs that stay paused.
    pub kept_runs: BTreeSet<i64>,
}

impl Deeds {
    fn done(&self) -> MutexGuard<'_, Done> {
        // Every critical section is one operation on one field.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// To be called before it is done: afterwards it may be too late.
    pub fn wrong(&self, payout: i64, what: &'static str) {
        self.done().wronged.insert(payout, what);
    }

    /// Whether something was done to it.
    pub fn is_wronged(&self, payout: i64) -> bool {
        self.done().wronged.contains_key(&payout)
    }

    /// Something is about to be done to the payment with this key or reference.
    pub fn touch(&self, name: &str) {
        self.done().touched.insert(name.to_owned());
    }

    /// Whether something was.
    pub fn is_touched(&self, name: &str) -> bool {
        self.done().touched.contains(name)
    }

    /// Nothing can execute these any more, it is said.
    pub fn give_up(&self, payouts: impl IntoIterator<Item = i64>) {
        let now = OffsetDateTime::now_utc();
        self.done().given_up.extend(payouts.into_iter().map(|payout| (payout, now)));
    }

    /// It stays paused.
    pub fn keep_paused(&self, run: i64) {
        self.done().kept_runs.insert(run);
    }

    /// All of it.
    pub fn all(&self) -> Done {
        self.done().clone()
    }
}
