//! Funding accounts that can pay nothing for now, as `store` keeps them.

use std::time::Duration;

use payfleet_domain::{AccountChange, AccountNews, AccountStanding, BatchId, BatchState};

use super::{Memory, is_past};

/// All of an account, and its one currency.
const IS_WHOLE: [bool; 2] = [true, false];

impl Memory {
    /// Whether a batch may be sent from its account, and if so, whether to find out if that pays again.
    pub(super) fn may_send(&mut self, batch: BatchId, rail: &'static str) -> Result<bool, Duration> {
        let now = self.now;
        let Some(standings) = self.funding.get_mut(rail) else { return Ok(false) };
        let wait = standings.iter().filter_map(|one| one.stop).map(|stop| stop.probe_in(batch, now)).max();
        match wait {
            None => Ok(false),
            Some(Duration::ZERO) => {
                standings.iter_mut().filter_map(|one| one.stop.as_mut()).for_each(|stop| stop.probe_begin(batch, now));
                Ok(true)
            }
            Some(wait) => Err(wait),
        }
    }

    pub(super) fn is_watched(&self, rail: &'static str) -> bool {
        self.funding.get(rail).is_some_and(|[whole, _]| whole.is_watched(self.now))
    }

    pub(super) fn hear_account(&mut self, rail: &'static str, news: &AccountNews) -> Vec<AccountChange> {
        let now = self.now;
        let standings = self.funding.entry(rail).or_default();
        let hear = |(standing, is_whole): (&mut AccountStanding, bool)| standing.hear(news, is_whole, now);
        let changes: Vec<AccountChange> = standings.iter_mut().zip(IS_WHOLE).filter_map(hear).collect();
        if changes.contains(&AccountChange::Resumed) {
            self.wake(rail);
        }
        changes
    }

    pub(super) fn resume_account(&mut self, rail: &'static str) -> usize {
        let Some(standings) = self.funding.get_mut(rail) else { return 0 };
        let mut resumed = 0;
        for standing in standings.iter_mut().filter(|standing| standing.stop.is_some()) {
            *standing = AccountStanding::default();
            resumed += 1;
        }
        if resumed > 0 {
            self.wake(rail);
        }
        resumed
    }

    fn wake(&mut self, rail: &'static str) {
        let now = self.now;
        let waits = |batch: &&mut super::Batch| {
            batch.rail.name == rail
                && matches!(batch.state, BatchState::Ready | BatchState::Sending)
                && is_past(batch.lease_until, now)
                && batch.available_at.is_some_and(|at| at > now)
        };
        self.batches.values_mut().filter(waits).for_each(|batch| batch.available_at = Some(now));
    }
}
