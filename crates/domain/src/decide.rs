//! The decisions of the protocol, as pure functions of what is known. The guards of `store` repeat in SQL what must
//! hold at the moment of writing; these say what to try.

use std::time::Duration;

use time::OffsetDateTime;

use crate::{AttemptNo, BatchState, Follow, HoldReason, KeyUnit, Rail, RailClass};

/// Leases that may end without any news of the batch (their workers died) before the batch itself is suspected.
pub const STALLED_LEASES_MAX: i32 = 5;

/// Attempts with an unknown outcome, and lookups that found out nothing, on a rail without a key horizon and without
/// news of any payout in between, after which people must look: about an hour of back-off.
pub const UNKNOWN_ATTEMPTS_MAX: i32 = 60;

/// What a fresh lease knows about its batch. All instants are of the database's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchFacts {
    /// Where it stands.
    pub state: BatchState,
    /// How many payouts it has.
    pub payouts: i32,
    /// Attempts so far.
    pub attempt: AttemptNo,
    /// When the first attempt was written down that may have been executed.
    pub first_sent_at: Option<OffsetDateTime>,
    /// Until when a request of an earlier attempt can still reach the rail, whether or not its answer is known by
    /// another one. See [`AttemptResult::may_arrive`](crate::AttemptResult::may_arrive).
    pub may_arrive_until: Option<OffsetDateTime>,
    /// Leases since there was last news of it.
    pub stalled_leases: i32,
    /// Attempts that ended unknown, and lookups that the rail left without any answer, since there was last news of a
    /// payout of it.
    pub unknown_attempts: i32,
    /// Its run was cancelled.
    pub run_cancelled: bool,
    /// It was perhaps sent, and somebody has put a payout of it on hold since.
    pub has_controls: bool,
    /// The database's clock when the lease was given.
    pub now: OffsetDateTime,
}

impl BatchFacts {
    /// Whether nothing of the batch is sent any more, not even to find out what became of it. What travels under a
    /// batch key is paid as a whole or not at all, so there a control of one payout stops all of them. Rule
    /// `stop_sends_nothing`.
    pub fn is_stopped(&self, rail: &Rail) -> bool {
        self.run_cancelled || (self.has_controls && rail.key_unit == KeyUnit::Batch)
    }
}

/// What to do with a batch that was just leased.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NextStep {
    /// Write down an intent and submit every payout that has no answer.
    Submit,
    /// Ask the rail what became of them first; submit only what it does not know, whatever it says of the others.
    LookUp,
    /// Ask for news of accepted payments.
    Follow,
    /// Nothing may be done before this instant.
    WaitUntil(OffsetDateTime),
    /// It is accepted, and only a statement brings news; after this instant nobody waits any more.
    AwaitStatement(OffsetDateTime),
    /// Replace the batch by its two halves.
    Split,
    /// Leave it to two people.
    Hold(HoldReason),
    /// Somebody finished it meanwhile.
    Nothing,
}

/// What to do with a batch that was just leased, by its rail's class.
/// Rules `expired_is_held`, `neither_is_held`, `lookup_after_lifetime` and `stop_sends_nothing`.
pub fn next_step(rail: &Rail, facts: &BatchFacts) -> NextStep {
    if let Some(step) = stall_step(rail, facts) {
        return step;
    }
    match (facts.state, rail.class) {
        (BatchState::Sending, _) if facts.is_stopped(rail) => stopped_step(rail, facts),
        (BatchState::Ready, _) => NextStep::Submit,
        (BatchState::Accepted, _) => match (rail.follow, rail.news_until(facts)) {
            (Follow::ByKey | Follow::ByReference, _) => NextStep::Follow,
            // The reconciler reads statements.
            (Follow::ByStatement, Some(until)) if until > facts.now => NextStep::AwaitStatement(until),
            (Follow::ByStatement, _) => NextStep::Hold(HoldReason::NoNews),
        },
        (BatchState::Sending, RailClass::Key { .. }) if rail.key_is_certain(facts.first_sent_at, facts.now) => {
            NextStep::Submit
        }
        (BatchState::Sending, RailClass::Key { .. }) => NextStep::Hold(HoldReason::HorizonExpired),
        (BatchState::Sending, RailClass::KeyAndLookup { .. }) => NextStep::LookUp,
        (BatchState::Sending, RailClass::Lookup) => match facts.may_arrive_until {
            _ if facts.unknown_attempts >= UNKNOWN_ATTEMPTS_MAX => NextStep::Hold(HoldReason::BudgetExhausted),
            Some(until) if until > facts.now => NextStep::WaitUntil(until),
            _ => NextStep::LookUp,
        },
        (BatchState::Sending, RailClass::Neither) => NextStep::Hold(HoldReason::NoWayToKnow),
        (BatchState::Done | BatchState::Held | BatchState::Split | BatchState::Cancelled, _) => NextStep::Nothing,
    }
}

/// What to do with what was perhaps sent before it was stopped. Once its requests are dead, what the rail does not know
/// was never paid, whether or not there is a key; where the rail cannot be asked, only people can find out.
fn stopped_step(rail: &Rail, facts: &BatchFacts) -> NextStep {
    match facts.may_arrive_until {
        _ if !rail.can_be_looked_up() => NextStep::Hold(HoldReason::StoppedInDoubt),
        Some(until) if until > facts.now => NextStep::WaitUntil(until),
        _ => NextStep::LookUp,
    }
}

/// Whether a lookup that brought no answer for some payouts was one too many: then they are left to people. As long as
/// a key is certain it may be asked again, since the rail will still know then what was ordered under it; without a key
/// there is a budget, of which a lookup that was answered for others uses nothing. Rule `expired_is_held`.
pub fn silence_step(rail: &Rail, facts: &BatchFacts, is_partly_answered: bool) -> Option<HoldReason> {
    match rail.resend_window() {
        Some(_) => (!rail.key_is_certain(facts.first_sent_at, facts.now)).then_some(HoldReason::HorizonExpired),
        None if is_partly_answered => None,
        None => (facts.unknown_attempts + 1 >= UNKNOWN_ATTEMPTS_MAX).then_some(HoldReason::BudgetExhausted),
    }
}

/// What to do with a batch whose workers keep dying. `None` while it is not suspected.
///
/// Halves of a batch that may be under way keep the keys of their payouts, so they may be tried apart; what may be
/// under way under one batch key is resolved or held whole.
pub fn stall_step(rail: &Rail, facts: &BatchFacts) -> Option<NextStep> {
    if facts.stalled_leases <= STALLED_LEASES_MAX {
        return None;
    }
    match (facts.state, rail.key_unit) {
        (BatchState::Ready, _) | (BatchState::Sending, KeyUnit::Payout) if facts.payouts > 1 => Some(NextStep::Split),
        (BatchState::Ready | BatchState::Sending, _) => Some(NextStep::Hold(HoldReason::Poison)),
        // Money is with the rail; there is nothing to hold back.
        (BatchState::Accepted, _) => None,
        (BatchState::Done | BatchState::Held | BatchState::Split | BatchState::Cancelled, _) => None,
    }
}

impl Rail {
    /// Half the horizon: the longest after the first attempt that the same key may be used again. The other half is for
    /// requests on their way and for clocks that differ.
    pub fn resend_window(&self) -> Option<Duration> {
        match self.class {
            RailClass::Key { horizon } | RailClass::KeyAndLookup { horizon } => Some(horizon / 2),
            RailClass::Lookup | RailClass::Neither => None,
        }
    }

    /// Whether the rail is certain to recognise a key that it saw first then. Rule `horizon_guard`.
    pub fn key_is_certain(&self, first_sent_at: Option<OffsetDateTime>, now: OffsetDateTime) -> bool {
        match (first_sent_at, self.resend_window()) {
            (None, _) => true,
            (Some(first), Some(window)) => now < first + window,
            (Some(_), None) => false,
        }
    }

    /// Until when news of what was accepted is waited for.
    pub fn news_until(&self, facts: &BatchFacts) -> Option<OffsetDateTime> {
        facts.first_sent_at.map(|sent| sent + self.news_within)
    }

    /// Whether the rail can be asked what became of a payment.
    pub fn can_be_looked_up(&self) -> bool {
        match self.class {
            RailClass::Lookup | RailClass::KeyAndLookup { .. } => true,
            RailClass::Key { .. } | RailClass::Neither => false,
        }
    }

    /// Whether "not found" must come before another request (there is no key that would recognise it).
    pub fn needs_dead_requests(&self) -> bool {
        match self.class {
            RailClass::Lookup => true,
            RailClass::Key { .. } | RailClass::KeyAndLookup { .. } | RailClass::Neither => false,
        }
    }
}

/// What is known of the attempts before the one that was refused, at the moment that it was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OlderAttempts {
    /// There were none, or each had its answer, or its lifetime had ended.
    AllDead,
    /// The rail could still execute one.
    MayStillArrive,
}

/// Whether a refusal is proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusalVerdict {
    /// It was not paid, and nothing under way can still pay it.
    Final,
    /// An older or newer request may pay it yet.
    StillUnknown,
}

/// Guard G3 as a rule: a refusal counts only for the newest attempt, and only if the rail pins refusals to the key or
/// no older attempt could still arrive when this one was opened. Rule `refusal_proof`.
///
/// What a lookup says tells the state of the payment itself, not of one request for it. It is proof if nothing new was
/// sent meanwhile, which only the lessee knows; so for that, whoever asks is the newest attempt, and every attempt is
/// older. Where a refusal frees the key ([`Rail::refusal_frees_key`]) it tells of one request all the same: of that by
/// which the payment was accepted.
pub fn refusal_verdict(rail: &Rail, is_newest_attempt: bool, older: OlderAttempts) -> RefusalVerdict {
    match (is_newest_attempt, rail.pins_refusals, older) {
        (true, true, _) | (true, false, OlderAttempts::AllDead) => RefusalVerdict::Final,
        (true, false, OlderAttempts::MayStillArrive) | (false, _, _) => RefusalVerdict::StillUnknown,
    }
}

/// Exponential back-off with full jitter, so that a fleet that failed together does not come back together.
#[derive(Debug, Clone, Copy)]
pub struct Backoff {
    /// The wait after the first failure, at most.
    pub first: Duration,
    /// No wait is longer.
    pub longest: Duration,
}

impl Backoff {
    /// How long to wait after `failures` in a row. `jitter` is drawn from 0 to 1; the result is from half to the whole
    /// of the step.
    pub fn wait(&self, failures: u32, jitter: f64) -> Duration {
        let doublings = failures.saturating_sub(1).min(20);
        let step = self.first.saturating_mul(1 << doublings).min(self.longest);
        step.mul_f64(0.5 + 0.5 * jitter.clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RAILS;
    use time::macros::datetime;

    const NOW: OffsetDateTime = datetime!(2026-01-02 12:00 UTC);

    fn rail(name: &str) -> &'static Rail {
        Rail::named(name).expect("a rail of this build")
    }

    fn sent(ago: Duration) -> BatchFacts {
        BatchFacts {
            state: BatchState::Sending,
            payouts: 10,
            attempt: AttemptNo(1),
            first_sent_at: Some(NOW - ago),
            may_arrive_until: Some(NOW - ago + Duration::from_secs(10)),
            stalled_leases: 1,
            unknown_attempts: 0,
            run_cancelled: false,
            has_controls: false,
            now: NOW,
        }
    }

    #[test]
    fn what_was_perhaps_sent_is_resolved_by_class() {
        let just_now = sent(Duration::from_secs(1));
        let yesterday = sent(Duration::from_secs(20 * 3600));
        assert_eq!(next_step(rail("sandbox-payout"), &just_now), NextStep::Submit);
        assert_eq!(next_step(rail("sandbox-payout"), &yesterday), NextStep::Hold(HoldReason::HorizonExpired));
        assert_eq!(next_step(rail("sandbox-batch"), &just_now), NextStep::LookUp);
        assert_eq!(next_step(rail("sandbox-lookup"), &just_now), NextStep::WaitUntil(NOW + Duration::from_secs(9)));
        assert_eq!(next_step(rail("sandbox-lookup"), &yesterday), NextStep::LookUp);
        assert_eq!(next_step(rail("sandbox-file"), &just_now), NextStep::Hold(HoldReason::NoWayToKnow));
    }

    #[test]
    fn what_was_never_sent_is_submitted_by_every_class() {
        for rail in RAILS {
            let ready = BatchFacts {
                state: BatchState::Ready,
                first_sent_at: None,
                may_arrive_until: None,
                ..sent(Duration::ZERO)
            };
            assert_eq!(next_step(rail, &ready), NextStep::Submit, "{}", rail.name);
        }
    }

    #[test]
    fn a_batch_under_a_batch_key_is_never_split_once_it_may_be_under_way() {
        for rail in RAILS {
            for payouts in [1, 2, 500] {
                let facts = BatchFacts { stalled_leases: STALLED_LEASES_MAX + 1, payouts, ..sent(Duration::ZERO) };
                let expected = match (rail.key_unit, payouts) {
                    (KeyUnit::Payout, 2..) => NextStep::Split,
                    _ => NextStep::Hold(HoldReason::Poison),
                };
                assert_eq!(next_step(rail, &facts), expected, "{} {payouts}", rail.name);
            }
        }
    }

    #[test]
    fn a_refusal_is_proof_only_when_nothing_older_can_pay() {
        use OlderAttempts::*;
        use RefusalVerdict::*;
        let (pins, forgets) = (rail("sandbox-payout"), rail("sandbox-lookup"));
        assert_eq!(refusal_verdict(pins, true, MayStillArrive), Final);
        assert_eq!(refusal_verdict(forgets, true, AllDead), Final);
        assert_eq!(refusal_verdict(forgets, true, MayStillArrive), StillUnknown);
        assert_eq!(refusal_verdict(pins, false, AllDead), StillUnknown);
        assert_eq!(refusal_verdict(forgets, false, AllDead), StillUnknown);
    }

    #[test]
    fn a_key_is_used_in_the_first_half_of_its_horizon_and_not_at_its_end() {
        let (key, half) = (rail("sandbox-payout"), Duration::from_secs(12 * 3600));
        assert_eq!(key.resend_window(), Some(half));
        assert_eq!(rail("sandbox-batch").resend_window(), Some(Duration::from_secs(15 * 24 * 3600)));
        assert!(key.key_is_certain(Some(NOW - half + Duration::from_nanos(1)), NOW));
        assert!(!key.key_is_certain(Some(NOW - half), NOW));
        assert!(key.key_is_certain(None, NOW));
        for name in ["sandbox-lookup", "sandbox-file"] {
            assert_eq!(rail(name).resend_window(), None, "{name}");
            assert!(!rail(name).key_is_certain(Some(NOW), NOW), "{name}");
            assert!(rail(name).key_is_certain(None, NOW), "{name}: what was never sent can be recognised by no one");
        }
    }

    #[test]
    fn a_lookup_waits_until_the_request_is_dead_and_is_not_repeated_for_ever() {
        let lookup = rail("sandbox-lookup");
        let dead_now = BatchFacts { may_arrive_until: Some(NOW), ..sent(Duration::ZERO) };
        assert_eq!(next_step(lookup, &dead_now), NextStep::LookUp);
        assert_eq!(next_step(lookup, &BatchFacts { may_arrive_until: None, ..dead_now }), NextStep::LookUp);
        let asked = |unknown_attempts| next_step(lookup, &BatchFacts { unknown_attempts, ..dead_now });
        assert_eq!(asked(UNKNOWN_ATTEMPTS_MAX - 1), NextStep::LookUp);
        assert_eq!(asked(UNKNOWN_ATTEMPTS_MAX), NextStep::Hold(HoldReason::BudgetExhausted));
        for rail in RAILS {
            let asks = matches!(rail.class, RailClass::Lookup | RailClass::KeyAndLookup { .. });
            assert_eq!(rail.can_be_looked_up(), asks, "{}", rail.name);
            assert_eq!(rail.needs_dead_requests(), rail.class == RailClass::Lookup, "{}", rail.name);
        }
    }

    #[test]
    fn silence_is_borne_until_the_key_is_uncertain_or_the_budget_is_used_up() {
        let (both, lookup) = (rail("sandbox-batch"), rail("sandbox-lookup"));
        let asked = |unknown_attempts| BatchFacts { unknown_attempts, ..sent(Duration::from_secs(3600)) };
        let last = asked(UNKNOWN_ATTEMPTS_MAX - 1);
        assert_eq!(silence_step(lookup, &asked(UNKNOWN_ATTEMPTS_MAX - 2), false), None);
        assert_eq!(silence_step(lookup, &last, false), Some(HoldReason::BudgetExhausted));
        assert_eq!(silence_step(lookup, &last, true), None, "something was found out");
        assert_eq!(silence_step(both, &asked(UNKNOWN_ATTEMPTS_MAX), false), None, "the key is good for half a month");
        let half_a_month = sent(Duration::from_secs(15 * 24 * 3600));
        for is_partly_answered in [false, true] {
            let step = silence_step(both, &half_a_month, is_partly_answered);
            assert_eq!(step, Some(HoldReason::HorizonExpired), "no answer is worth more than the key");
        }
        // Also of what was stopped: nobody may decide about it as long as it is not held.
        let stopped = BatchFacts { run_cancelled: true, ..half_a_month };
        assert_eq!(silence_step(both, &stopped, false), Some(HoldReason::HorizonExpired));
    }

    #[test]
    fn accepted_payments_are_followed_where_the_rail_can_be_asked_and_waited_for_elsewhere() {
        for rail in RAILS {
            for stalled_leases in [1, STALLED_LEASES_MAX + 1] {
                let accepted =
                    BatchFacts { state: BatchState::Accepted, stalled_leases, ..sent(Duration::from_secs(1)) };
                let until = NOW - Duration::from_secs(1) + rail.news_within;
                let expected = match rail.follow {
                    Follow::ByKey | Follow::ByReference => NextStep::Follow,
                    Follow::ByStatement => NextStep::AwaitStatement(until),
                };
                assert_eq!(next_step(rail, &accepted), expected, "{} {stalled_leases}", rail.name);
                let late = BatchFacts { now: until, ..accepted };
                // Who can be asked is asked once more before anybody is held.
                let expected = match rail.follow {
                    Follow::ByKey | Follow::ByReference => NextStep::Follow,
                    Follow::ByStatement => NextStep::Hold(HoldReason::NoNews),
                };
                assert_eq!(next_step(rail, &late), expected, "{} {stalled_leases}", rail.name);
            }
        }
    }

    #[test]
    fn a_batch_is_suspected_only_after_its_last_lease() {
        for rail in RAILS {
            let ready = |stalled_leases, payouts| {
                let facts = BatchFacts { state: BatchState::Ready, payouts, stalled_leases, ..sent(Duration::ZERO) };
                stall_step(rail, &facts)
            };
            assert_eq!(ready(STALLED_LEASES_MAX, 500), None, "{}", rail.name);
            assert_eq!(ready(STALLED_LEASES_MAX + 1, 2), Some(NextStep::Split), "{}", rail.name);
            assert_eq!(ready(STALLED_LEASES_MAX + 1, 1), Some(NextStep::Hold(HoldReason::Poison)), "{}", rail.name);
        }
    }

    #[test]
    fn what_was_stopped_is_never_sent_again_to_find_out() {
        let dead_now = |facts| BatchFacts { may_arrive_until: Some(NOW), ..facts };
        for rail in RAILS {
            let cancelled = BatchFacts { run_cancelled: true, ..sent(Duration::from_secs(1)) };
            let (alive, dead) = match rail.can_be_looked_up() {
                true => (NextStep::WaitUntil(NOW + Duration::from_secs(9)), NextStep::LookUp),
                false => (NextStep::Hold(HoldReason::StoppedInDoubt), NextStep::Hold(HoldReason::StoppedInDoubt)),
            };
            assert_eq!(next_step(rail, &cancelled), alive, "{}", rail.name);
            assert_eq!(next_step(rail, &dead_now(cancelled)), dead, "{}", rail.name);
            let controlled = BatchFacts { has_controls: true, ..sent(Duration::from_secs(1)) };
            match rail.key_unit {
                KeyUnit::Batch => assert_eq!(next_step(rail, &controlled), alive, "{}", rail.name),
                // The others of its batch go on; the intent leaves it out.
                KeyUnit::Payout => {
                    let free = sent(Duration::from_secs(1));
                    assert_eq!(next_step(rail, &controlled), next_step(rail, &free), "{}", rail.name);
                }
            }
        }
    }

    #[test]
    fn waits_grow_and_end() {
        let backoff = Backoff { first: Duration::from_millis(500), longest: Duration::from_secs(60) };
        assert_eq!(backoff.wait(1, 1.0), Duration::from_millis(500));
        assert_eq!(backoff.wait(3, 0.0), Duration::from_secs(1));
        assert_eq!(backoff.wait(u32::MAX, 1.0), Duration::from_secs(60));
    }
}
