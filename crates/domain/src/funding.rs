//! Funding accounts that can pay nothing for now. That says nothing of any payee: payouts over such an account are not
//! executed, the account is stopped for the whole fleet, and one batch at a time is sent to find out whether it pays
//! again.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use time::OffsetDateTime;

use crate::{Backoff, BatchId, RefusalCode};

/// Why nothing is sent from a funding account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StopReason {
    /// It has not enough money, of one currency.
    NoFunds,
    /// What proves that it is ours is not accepted, or not for this.
    CredentialRefused,
    /// The rail lets it pay nobody.
    Restricted,
    /// Of too many of its calls nobody knows what became of them.
    ManyUnknown,
}

/// Of a batch that was sent to find out, so long nobody else's is.
pub const PROBE_LASTS: Duration = Duration::from_secs(60);

/// How long until the first try of a stopped account, and between the tries. A wrong stop costs the first; of an
/// account that is empty over a weekend the rail hears every five minutes, in one call, and whoever has paid money in
/// need not wait for longer.
pub const PROBES: Backoff = Backoff { first: Duration::from_secs(5), longest: Duration::from_secs(300) };

/// So long calls are counted from the first one whose outcome is unknown: longer than any call may take, so that those
/// which were under way with it count too.
pub const BREAKER_WINDOW: Duration = Duration::from_secs(60);

/// Fewer unknown outcomes in a window stop nothing. What one connection takes with it when it breaks is less on a rail
/// that takes a batch in a call, and where it is more, the fleet has waited for nothing for [`PROBES`]' first.
pub const BREAKER_UNKNOWN_MIN: i64 = 20;

/// Whether so many unknown outcomes among so many calls of a window stop their account: at least half. A rail that
/// answers more often than not pays more by going on, and what it did not answer is asked again.
pub fn breaker_opens(calls: i64, unknown: i64) -> bool {
    unknown >= BREAKER_UNKNOWN_MIN && unknown.saturating_mul(2) >= calls
}

/// Codes that say of the account that it has not the money.
const NO_FUNDS: &[&str] = &[
    "insufficient_funds",
    // PayPal
    "negative_balance",
    "non_holding_currency",
    "user_funding_source_ineligible",
    // Stripe
    "balance_insufficient",
    // Wise
    "transfer_insufficient_funds",
];

/// Codes that say of the account that it may pay nobody. Not among them is a limit of one payment, which is the next
/// one's affair.
const RESTRICTED: &[&str] = &[
    "payer_suspended",
    // PayPal
    "pos_limit_exceeded",
    "sender_account_locked",
    "sender_secondary_user_unverified",
    "sender_state_restricted",
    "spending_limit_exceeded",
];

impl StopReason {
    /// All of them.
    pub const ALL: [StopReason; 4] =
        [StopReason::NoFunds, StopReason::CredentialRefused, StopReason::Restricted, StopReason::ManyUnknown];

    /// What a refusal says of the account that it was to be paid from, whatever it says of the payout.
    pub fn of_code(code: &RefusalCode) -> Option<StopReason> {
        match code.as_str() {
            code if NO_FUNDS.contains(&code) => Some(StopReason::NoFunds),
            code if RESTRICTED.contains(&code) => Some(StopReason::Restricted),
            _ => None,
        }
    }

    /// Whether it is of one currency: rails keep a balance for each.
    pub fn is_of_currency(&self) -> bool {
        match self {
            StopReason::NoFunds => true,
            StopReason::CredentialRefused | StopReason::Restricted | StopReason::ManyUnknown => false,
        }
    }

    /// The schema's word, which screens show too.
    pub fn as_str(&self) -> &'static str {
        match self {
            StopReason::NoFunds => "no_funds",
            StopReason::CredentialRefused => "credential_refused",
            StopReason::Restricted => "restricted",
            StopReason::ManyUnknown => "many_unknown",
        }
    }

    /// The same in a sentence.
    pub fn meaning(&self) -> &'static str {
        match self {
            StopReason::NoFunds => "the account has not enough money",
            StopReason::CredentialRefused => "the rail does not accept the account's credential, or not for this",
            StopReason::Restricted => "the rail lets the account pay nobody",
            StopReason::ManyUnknown => "the rail leaves too many calls without an answer that counts",
        }
    }
}

impl FromStr for StopReason {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|reason| reason.as_str() == word);
        found.ok_or_else(|| format!("`{word}` is no reason for which a funding account is stopped"))
    }
}

impl fmt::Display for StopReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// How a funding account stands, in the words of circuit breakers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum AccountState {
    /// It pays.
    Closed,
    /// Nothing is sent from it.
    Open,
    /// One batch is on its way, to find out.
    Probing,
}

impl AccountState {
    /// The word on screens.
    pub fn as_str(&self) -> &'static str {
        match self {
            AccountState::Closed => "closed",
            AccountState::Open => "open",
            AccountState::Probing => "probing",
        }
    }
}

impl fmt::Display for AccountState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What calls have told of the account that they were made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AccountNews {
    /// Of which batch they were.
    pub batch: BatchId,
    /// It was sent to find out whether the account pays again.
    pub is_probe: bool,
    /// So many were made.
    pub calls: i64,
    /// Of so many of them nobody knows what became of them.
    pub unknown: i64,
    /// At least one has paid, or was accepted.
    pub has_paid: bool,
    /// The rail said why nothing can be paid.
    pub stop: Option<StopReason>,
}

/// What is kept of a funding account: of one currency of it, or of all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AccountStanding {
    /// Nothing is sent from it.
    pub stop: Option<AccountStop>,
    /// Its calls since the first that was unknown, lately. Of all of it alone.
    pub window: Option<CallWindow>,
}

/// A stop of a funding account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AccountStop {
    /// Why.
    pub reason: StopReason,
    /// Since when.
    pub since: OffsetDateTime,
    /// Batches that were sent in vain to find out.
    pub probes: i32,
    /// From when on the next one may be.
    pub probe_at: OffsetDateTime,
    /// The one that is on its way, and until when nobody else's is.
    pub probe: Option<(BatchId, OffsetDateTime)>,
}

/// Calls from a moment on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallWindow {
    /// The moment.
    pub from: OffsetDateTime,
    /// All of them.
    pub calls: i64,
    /// Those whose outcomes are unknown.
    pub unknown: i64,
}

/// An instant ahead that was set at most so far ahead; if it is further, the clock was put back since, and it has come.
fn ahead(at: OffsetDateTime, at_most: Duration, now: OffsetDateTime) -> Option<Duration> {
    Duration::try_from(at - now).ok().filter(|wait| !wait.is_zero() && *wait <= at_most)
}

/// What news has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccountChange {
    /// It is stopped now.
    Stopped(StopReason),
    /// It pays again.
    Resumed,
}

impl CallWindow {
    fn is_open(&self, now: OffsetDateTime) -> bool {
        ahead(self.from + BREAKER_WINDOW, BREAKER_WINDOW, now).is_some()
    }
}

impl AccountStop {
    fn new(reason: StopReason, now: OffsetDateTime) -> AccountStop {
        AccountStop { reason, since: now, probes: 0, probe_at: now + PROBES.wait(1, 1.0), probe: None }
    }

    /// How it stands.
    pub fn state(&self, now: OffsetDateTime) -> AccountState {
        match self.probe {
            Some((_, until)) if ahead(until, PROBE_LASTS, now).is_some() => AccountState::Probing,
            _ => AccountState::Open,
        }
    }

    /// How long a batch has to wait until it may be sent to find out: not at all, if nobody else's is on its way and it
    /// is time. Whoever has taken a probe's batch over goes on with it.
    pub fn probe_in(&self, batch: BatchId, now: OffsetDateTime) -> Duration {
        let others = match self.probe {
            Some((mine, _)) if mine == batch => return Duration::ZERO,
            Some((_, until)) => ahead(until, PROBE_LASTS, now),
            None => None,
        };
        others.max(ahead(self.probe_at, PROBES.longest, now)).unwrap_or(Duration::ZERO)
    }

    /// A batch is sent to find out.
    pub fn probe_begin(&mut self, batch: BatchId, now: OffsetDateTime) {
        self.probe = Some((batch, now + PROBE_LASTS));
    }

    fn probe_failed(&mut self, now: OffsetDateTime) {
        self.probes = self.probes.saturating_add(1);
        self.probe_at = now + PROBES.wait(self.probes.unsigned_abs().saturating_add(1), 1.0);
        self.probe = None;
    }
}

impl AccountStanding {
    /// Whether calls are counted now: something was unknown a moment ago.
    pub fn is_watched(&self, now: OffsetDateTime) -> bool {
        self.stop.is_none() && self.window.is_some_and(|window| window.is_open(now))
    }

    /// Takes in what calls have told; `is_whole` says that this is of all of the account, and not of one currency.
    pub fn hear(&mut self, news: &AccountNews, is_whole: bool, now: OffsetDateTime) -> Option<AccountChange> {
        let is_probe = |stop: &AccountStop| news.is_probe && stop.probe.is_some_and(|(batch, _)| batch == news.batch);
        let is_mine = |reason: &StopReason| reason.is_of_currency() != is_whole;
        let told = news.stop.filter(is_mine);
        match (&mut self.stop, told) {
            (Some(stop), told) if is_probe(stop) => {
                stop.reason = told.unwrap_or(stop.reason);
                // Half of the calls without an answer is what stops an account.
                if news.stop.is_none() && news.has_paid && news.unknown * 2 < news.calls {
                    *self = AccountStanding::default();
                    return Some(AccountChange::Resumed);
                }
                stop.probe_failed(now);
                None
            }
            // It was under way with the call that told it first.
            (Some(_), _) => None,
            (None, Some(reason)) => self.open(reason, now),
            (None, None) if is_whole => {
                self.count(news, now);
                let window = self.window?;
                breaker_opens(window.calls, window.unknown).then(|| self.open(StopReason::ManyUnknown, now))?
            }
            (None, None) => None,
        }
    }

    fn open(&mut self, reason: StopReason, now: OffsetDateTime) -> Option<AccountChange> {
        *self = AccountStanding { stop: Some(AccountStop::new(reason, now)), window: None };
        Some(AccountChange::Stopped(reason))
    }

    fn count(&mut self, news: &AccountNews, now: OffsetDateTime) {
        self.window = match self.window {
            Some(window) if window.is_open(now) => Some(CallWindow {
                calls: window.calls.saturating_add(news.calls),
                unknown: window.unknown.saturating_add(news.unknown),
                ..window
            }),
            _ if news.unknown > 0 => Some(CallWindow { from: now, calls: news.calls, unknown: news.unknown }),
            _ => None,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RefusalKind;
    use time::macros::datetime;

    const NOW: OffsetDateTime = datetime!(2026-01-02 12:00 UTC);
    const PAID: AccountNews =
        AccountNews { batch: BatchId(1), is_probe: false, calls: 1, unknown: 0, has_paid: true, stop: None };

    fn told(reason: StopReason) -> AccountNews {
        AccountNews { has_paid: false, stop: Some(reason), ..PAID }
    }

    fn stopped() -> AccountStanding {
        let mut standing = AccountStanding::default();
        let change = standing.hear(&told(StopReason::NoFunds), false, NOW);
        assert_eq!(change, Some(AccountChange::Stopped(StopReason::NoFunds)));
        standing
    }

    #[test]
    fn one_batch_at_a_time_finds_out_and_rarer_and_rarer() {
        let mut stop = stopped().stop.unwrap_or_else(|| panic!("it is stopped"));
        let (one, other) = (BatchId(1), BatchId(2));
        assert_eq!(stop.probe_in(one, NOW), PROBES.first, "not at once");
        let mut now = NOW + PROBES.first;
        for wait in [10, 20, 40, 80, 160, 300, 300] {
            assert_eq!((stop.probe_in(one, now), stop.state(now)), (Duration::ZERO, AccountState::Open));
            stop.probe_begin(one, now);
            assert_eq!((stop.probe_in(other, now), stop.state(now)), (PROBE_LASTS, AccountState::Probing));
            assert_eq!(stop.probe_in(one, now), Duration::ZERO, "whoever took it over goes on with it");
            let mut standing = AccountStanding { stop: Some(stop), window: None };
            let news = AccountNews { is_probe: true, ..told(StopReason::NoFunds) };
            assert_eq!(standing.hear(&news, false, now), None);
            stop = standing.stop.unwrap_or_else(|| panic!("it is stopped"));
            assert_eq!(stop.probe_in(other, now), Duration::from_secs(wait));
            now += Duration::from_secs(wait);
        }
        // Of a probe that nobody heard of again another one is sent.
        stop.probe_begin(one, now);
        assert_eq!(stop.probe_in(other, now + PROBE_LASTS), Duration::ZERO);
        assert_eq!((stop.since, stop.state(now + PROBE_LASTS)), (NOW, AccountState::Open));
    }

    #[test]
    fn a_clock_that_is_put_back_keeps_no_account_stopped() {
        let hour = Duration::from_secs(3_600);
        let mut stop = stopped().stop.unwrap_or_else(|| panic!("it is stopped"));
        assert_eq!(stop.probe_in(BatchId(1), NOW - hour), Duration::ZERO);
        stop.probe_begin(BatchId(1), NOW);
        assert_eq!(stop.probe_in(BatchId(2), NOW - hour), Duration::ZERO);
        assert_eq!((stop.state(NOW - hour), stop.state(NOW)), (AccountState::Open, AccountState::Probing));
        let window = CallWindow { from: NOW, calls: 1, unknown: 1 };
        let watched = AccountStanding { stop: None, window: Some(window) };
        assert!(watched.is_watched(NOW) && !watched.is_watched(NOW - hour));
    }

    #[test]
    fn only_its_own_probe_that_paid_lets_an_account_go_on() {
        let probing = || {
            let mut standing = stopped();
            standing.stop.iter_mut().for_each(|stop| stop.probe_begin(BatchId(1), NOW));
            standing
        };
        let heard = |news: AccountNews| probing().hear(&news, false, NOW);
        let probe = AccountNews { is_probe: true, ..PAID };
        assert_eq!(heard(probe), Some(AccountChange::Resumed));
        // What was sent before, another batch, a refusal of the payee's, no answer, and money for a part of it.
        assert_eq!(heard(PAID), None);
        assert_eq!(heard(AccountNews { batch: BatchId(2), ..probe }), None);
        assert_eq!(heard(AccountNews { has_paid: false, ..probe }), None);
        assert_eq!(heard(AccountNews { unknown: 1, calls: 2, ..probe }), None);
        assert_eq!(heard(AccountNews { stop: Some(StopReason::NoFunds), ..probe }), None);
        let mut late = probing();
        assert_eq!(late.hear(&told(StopReason::NoFunds), false, NOW), None, "it was under way");
        assert_eq!(late, probing());
    }

    #[test]
    fn money_stops_one_currency_and_all_else_all_of_them() {
        let hear = |reason, is_whole| AccountStanding::default().hear(&told(reason), is_whole, NOW);
        for reason in StopReason::ALL {
            assert_eq!(hear(reason, true).is_some(), !reason.is_of_currency());
            assert_eq!(hear(reason, false).is_some(), reason.is_of_currency());
        }
    }

    #[test]
    fn calls_are_counted_from_the_first_that_is_unknown_for_a_minute() {
        let mut standing = AccountStanding::default();
        let lost = AccountNews { unknown: 1, has_paid: false, ..PAID };
        let mut hear = |news: &AccountNews, now| (standing.hear(news, true, now), standing.is_watched(now));
        assert_eq!(hear(&PAID, NOW), (None, false), "nothing is kept of what goes well");
        assert_eq!(hear(&AccountNews { calls: 100, unknown: 19, ..lost }, NOW), (None, true));
        let later = NOW + BREAKER_WINDOW;
        assert_eq!(hear(&AccountNews { calls: 38, unknown: 19, ..lost }, later), (None, true), "another minute");
        assert_eq!(hear(&AccountNews { calls: 2, ..PAID }, later), (None, true));
        assert_eq!(hear(&lost, later), (None, true), "20 of 41");
        assert_eq!(hear(&lost, later), (Some(AccountChange::Stopped(StopReason::ManyUnknown)), false));
    }

    #[test]
    fn what_stops_an_account_is_the_payers_to_mend() {
        for code in NO_FUNDS.iter().chain(RESTRICTED) {
            assert_eq!(RefusalCode::new(code).kind(), RefusalKind::Payer, "{code}");
            assert!(!(NO_FUNDS.contains(code) && RESTRICTED.contains(code)), "{code}");
        }
        for code in ["account_closed", "invalid_item", "per_transaction_sending_limit_exceeded", "never heard of"] {
            assert_eq!(StopReason::of_code(&RefusalCode::new(code)), None, "{code}");
        }
        assert_eq!(StopReason::of_code(&RefusalCode::new("INSUFFICIENT_FUNDS")), Some(StopReason::NoFunds));
        assert_eq!(StopReason::of_code(&RefusalCode::new("payer_suspended")), Some(StopReason::Restricted));
    }

    #[test]
    fn only_money_is_of_one_currency() {
        let of_one: Vec<_> = StopReason::ALL.into_iter().filter(StopReason::is_of_currency).collect();
        assert_eq!(of_one, [StopReason::NoFunds]);
        for reason in StopReason::ALL {
            assert_eq!(reason.as_str().parse(), Ok(reason));
        }
    }

    #[test]
    fn a_breaker_opens_at_half_of_many_calls() {
        assert!(breaker_opens(20, 20) && breaker_opens(40, 20));
        assert!(!breaker_opens(41, 20), "more than half were answered");
        assert!(!breaker_opens(19, 19), "so few are a broken connection");
        assert!(!breaker_opens(1_000, 499) && breaker_opens(1_000, 500));
    }
}
