//! Funding accounts that can pay nothing for now: what this process has heard of them a moment ago, and what it tells
//! the fleet. Whether an account is stopped is asked at each intent; this is for the calls of intents that were written
//! before.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use payfleet_domain::{AccountChange, AccountNews, Currency, Outcome, StopReason};
use payfleet_rails::Answer;
use payfleet_store::{StoreError, chain};

use crate::Worker;
use crate::calls::Route;
use crate::ports::Moment;

/// An account, or one currency of it.
type Place = (&'static str, String, Option<Currency>);

/// When this process last heard that nothing can be paid from an account.
#[derive(Debug, Default)]
pub(crate) struct Stops {
    heard: Mutex<HashMap<Place, Moment>>,
}

impl Stops {
    fn heard(&self, rail: &'static str, account: &str, currency: Currency, reason: StopReason, at: Moment) {
        let currency = reason.is_of_currency().then_some(currency);
        self.lock().insert((rail, account.to_owned(), currency), at);
    }

    /// Whether nothing may be sent that was permitted then.
    pub(crate) fn is_stopped_since(
        &self,
        rail: &'static str,
        account: &str,
        currency: Currency,
        permitted: Moment,
    ) -> bool {
        let heard = self.lock();
        let is_later = |currency| heard.get(&(rail, account.to_owned(), currency)).is_some_and(|at| *at >= permitted);
        // As a rule nothing was ever heard.
        !heard.is_empty() && (is_later(None) || is_later(Some(currency)))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Place, Moment>> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner) // each change is one operation
    }
}

/// What the calls of one batch have told of its account.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Tally {
    pub calls: i64,
    pub unknown: i64,
    pub stop: Option<StopReason>,
}

impl Tally {
    pub(crate) fn add(&mut self, answer: &Answer) {
        self.calls += 1;
        self.unknown += i64::from(match answer {
            Answer::All(outcome) => *outcome == Outcome::Unknown,
            Answer::Each(outcomes) => outcomes.iter().all(|outcome| *outcome == Outcome::Unknown),
            Answer::Stopped(_) => false,
        });
        self.stop = self.stop.or(stop_of(answer));
    }

    /// What outcomes tell that were asked for.
    pub(crate) fn of_outcomes<'o>(outcomes: impl IntoIterator<Item = &'o Outcome>) -> Tally {
        Tally { stop: outcomes.into_iter().find_map(stop_of_outcome), ..Tally::default() }
    }
}

/// Why nothing can be paid from the account, if an answer says so.
pub(crate) fn stop_of(answer: &Answer) -> Option<StopReason> {
    match answer {
        Answer::Stopped(reason) => Some(*reason),
        Answer::All(outcome) => stop_of_outcome(outcome),
        Answer::Each(outcomes) => outcomes.iter().find_map(stop_of_outcome),
    }
}

/// A payout may be refused for what is wrong with the account: where a rail does so, that is proof for this payout, and
/// news for the others.
fn stop_of_outcome(outcome: &Outcome) -> Option<StopReason> {
    match outcome {
        Outcome::Refused(code) => StopReason::of_code(code),
        _ => None,
    }
}

/// How a batch was sent, as far as its account is concerned.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sent {
    pub currency: Currency,
    pub is_probe: bool,
    pub is_watched: bool,
}

impl Sent {
    /// Nothing was sent; it was only asked.
    pub(crate) fn nothing(currency: Currency) -> Sent {
        Sent { currency, is_probe: false, is_watched: false }
    }
}

impl Worker {
    /// Takes down at once what a call has told, so that no other begins that was permitted before.
    pub(crate) fn account_told(&self, route: &Route<'_>, currency: Currency, answer: &Answer) {
        if let Some(reason) = stop_of(answer) {
            self.stops.heard(route.rail.name, &route.account.name, currency, reason, self.clock.now());
        }
    }

    /// Tells the fleet what calls have told of their account, if there is anything to tell. Nothing depends on it but
    /// how soon others hear.
    pub(crate) async fn account_hear(
        &self,
        route: &Route<'_>,
        sent: Sent,
        tally: Tally,
        outcomes: impl IntoIterator<Item = &Outcome>,
    ) -> Result<(), StoreError> {
        if tally.stop.is_none() && tally.unknown == 0 && !sent.is_probe && !sent.is_watched {
            return Ok(());
        }
        let has_paid = |outcome: &Outcome| matches!(outcome, Outcome::Paid(_) | Outcome::Accepted(_));
        let Tally { calls, unknown, stop } = tally;
        let has_paid = outcomes.into_iter().any(has_paid);
        let batch = route.batch.lease.batch;
        let news = AccountNews { batch, is_probe: sent.is_probe, calls, unknown, has_paid, stop };
        let (rail, account) = (route.rail.name, route.account.name.as_str());
        let changes = self.record.account_hear(rail, account, sent.currency, news).await?;
        if let Some(reason) = stop {
            // What was permitted until it was known to all of them.
            self.stops.heard(rail, account, sent.currency, reason, self.clock.now());
        }
        for change in changes {
            match change {
                AccountChange::Stopped(reason) => {
                    metrics::counter!("payfleet_funding_stops_total", "rail" => rail, "reason" => reason.as_str())
                        .increment(1);
                    tracing::error!(
                        rail, account, %reason,
                        "nothing more is sent from this funding account: {}; one batch at a time finds out whether it \
                         pays again, and `payfleet-coordinator rails resume` says so at once",
                        reason.meaning()
                    );
                }
                AccountChange::Resumed => {
                    tracing::info!(rail, account, batch = %news.batch, "a funding account pays again");
                }
            }
        }
        Ok(())
    }

    /// The same where it could not be told before its outcomes were recorded.
    pub(crate) fn account_unheard(&self, route: &Route<'_>, error: &StoreError) {
        tracing::warn!(
            rail = route.rail.name,
            account = route.account.name,
            error = chain(error),
            "what calls have told of their funding account is not known to the fleet; others will be told the same"
        );
    }
}
