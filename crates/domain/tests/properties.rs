//! Rules that must hold for every input, tried on many.

use payfleet_domain::{
    AttemptNo, BatchFacts, BatchState, Currency, DestinationKind, KeyUnit, Money, NextStep, PayoutEvent, PayoutId,
    PayoutKey, PayoutState, RAILS, Rail, RailClass, RunState, next_step, visible,
};
use proptest::prelude::*;
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

fn currency() -> impl Strategy<Value = Currency> {
    let all: Vec<Currency> = Currency::all().collect();
    assert!(all.len() > 140, "ISO 4217 has more currencies than {}", all.len());
    proptest::sample::select(all)
}

fn event() -> impl Strategy<Value = PayoutEvent> {
    use PayoutEvent::*;
    proptest::sample::select(vec![Accept, Pay, Refuse, LoseTrack, Clear, Hold, Return, Cancel])
}

fn facts() -> impl Strategy<Value = BatchFacts> {
    let now = OffsetDateTime::UNIX_EPOCH + Duration::days(20_000);
    (0_usize..7, 1..1000_i32, 0..20_i32, 0_i64..4_000_000, -100_i64..100, 0..12_i32, 0..80_i32).prop_map(
        move |(state, payouts, attempt, sent_secs_ago, dead_in_secs, stalled_leases, unknown_attempts)| {
            let state = BatchState::ALL[state];
            let sent = state != BatchState::Ready;
            BatchFacts {
                state,
                payouts,
                attempt: AttemptNo(attempt),
                first_sent_at: sent.then(|| now - Duration::seconds(sent_secs_ago)),
                may_arrive_until: sent.then(|| now + Duration::seconds(dead_in_secs)),
                stalled_leases,
                unknown_attempts,
                run_cancelled: false,
                has_controls: false,
                now,
            }
        },
    )
}

proptest! {
    #[test]
    fn an_amount_is_read_back_as_it_was_written(
        minor in -1_000_000_000_000_000_i64..=1_000_000_000_000_000,
        currency in currency(),
    ) {
        let money = Money { minor, currency };
        prop_assert_eq!(currency.parse_amount(&money.to_decimal().to_string()), Ok(money));
    }

    #[test]
    fn no_text_makes_an_amount_panic_or_lose_digits(text in "[-+0-9.,eE ]{0,24}", currency in currency()) {
        if let Ok(money) = currency.parse_amount(&text) {
            let decimal: rust_decimal::Decimal = text.parse().expect("what we read, decimals read too");
            prop_assert_eq!(money.to_decimal(), decimal);
        }
    }

    #[test]
    fn sums_are_exact_or_refused(a in any::<i64>(), b in any::<i64>(), currency in currency()) {
        let sum = Money { minor: a, currency }.checked_add(Money { minor: b, currency });
        prop_assert_eq!(
            sum.map(|money| i128::from(money.minor)),
            i64::try_from(i128::from(a) + i128::from(b)).ok().map(i128::from)
        );
    }

    #[test]
    fn a_key_leads_back_to_its_payout_and_differs_for_every_other(
        run in any::<u128>(),
        id in 1..i64::MAX,
        affiliate in ".{1,40}",
        currency in currency(),
    ) {
        let key = PayoutKey::derive(Uuid::from_u128(run), PayoutId(id), &affiliate, currency);
        prop_assert_eq!(key.payout(), Ok(PayoutId(id)));
        prop_assert!(key.as_str().len() <= 36);
        let other = PayoutKey::derive(Uuid::from_u128(run), PayoutId(id), &format!("{affiliate} "), currency);
        prop_assert_ne!(key, other);
    }

    #[test]
    fn no_history_turns_money_that_moved_into_money_that_did_not(events in proptest::collection::vec(event(), 0..40)) {
        let (mut state, mut moved) = (PayoutState::Planned, false);
        for event in events {
            if let Ok(next) = state.after(event) {
                state = next;
                moved |= matches!(state, PayoutState::Paid | PayoutState::Returned);
            }
            if moved {
                prop_assert!(matches!(state, PayoutState::Paid | PayoutState::Returned));
            }
        }
    }

    #[test]
    fn what_may_be_under_way_is_sent_again_only_where_the_rail_can_recognise_it(
        facts in facts(),
        rail in 0..RAILS.len(),
    ) {
        let rail: &Rail = &RAILS[rail];
        let step = next_step(rail, &facts);
        if facts.state == BatchState::Sending && step == NextStep::Submit {
            let by_key_alone = matches!(rail.class, RailClass::Key { .. });
            prop_assert!(by_key_alone);
            prop_assert!(rail.key_is_certain(facts.first_sent_at, facts.now));
        }
        if facts.state == BatchState::Sending && step == NextStep::Split {
            prop_assert_eq!(rail.key_unit, KeyUnit::Payout);
        }
        if !facts.state.is_open() {
            prop_assert_eq!(step, NextStep::Nothing);
        }
    }

    #[test]
    fn a_destination_is_sent_as_written_and_its_compared_form_is_final(
        text in "(\\PC{0,30}|[a-zA-Zéжα0-9+_.:@ -]{0,30}|[a-zé.]{1,8}@[a-zß-]{1,8}\\.[a-zA-Z]{2,4}\
                 |[A-Z]{2}[0-9]{13,20})",
        kind in proptest::sample::select(DestinationKind::ALL.to_vec()),
    ) {
        let form = kind.compared(&text);
        let again = kind.compared(&form);
        prop_assert_eq!(again.as_ref(), form.as_ref());
        prop_assert!(kind.is_same(&text, &form) && kind.is_same(&form, &text));
        match kind.check(&text) {
            Ok(destination) => {
                prop_assert_eq!(destination.as_str(), text.trim());
                prop_assert_eq!(destination.compared(), form.as_ref());
                prop_assert_eq!(visible(destination.as_str()), destination.as_str());
                prop_assert_eq!(kind.check(destination.as_str()), Ok(destination));
            }
            Err(wrong) => prop_assert!(!wrong.to_string().is_empty()),
        }
    }

    #[test]
    fn a_threshold_is_the_least_amount_that_reaches_it(
        minor in 0_i64..=10_000_000,
        scale in 0_u32..6,
        currency in currency(),
    ) {
        let units = rust_decimal::Decimal::new(minor, scale);
        let threshold = currency.threshold_minor(units).expect("far below any limit");
        let at = |minor| Money { minor, currency }.to_decimal();
        prop_assert!(at(threshold) >= units);
        prop_assert!(at(threshold - 1) < units);
    }

    #[test]
    fn money_is_in_one_place_whatever_happens(events in proptest::collection::vec(event(), 0..40)) {
        // Reserved, with the payee, and due again: one of them holds the amount, and what is due again never leaves.
        let place = |state: PayoutState| match state {
            PayoutState::Planned | PayoutState::Accepted | PayoutState::Unknown | PayoutState::Held => "reserved",
            PayoutState::Paid => "payee",
            PayoutState::Refused | PayoutState::Returned | PayoutState::Cancelled => "due",
        };
        let mut state = PayoutState::Planned;
        for event in events {
            if let Ok(next) = state.after(event) {
                prop_assert_ne!(place(state), "due", "{} {:?}", state, event);
                prop_assert!((place(state), place(next)) != ("payee", "reserved"));
                if next == PayoutState::Refused {
                    prop_assert_eq!(event, PayoutEvent::Refuse);
                }
                if next == PayoutState::Cancelled {
                    prop_assert_eq!(state, PayoutState::Planned);
                }
                state = next;
            }
        }
    }

    #[test]
    fn what_was_perhaps_sent_is_never_cancelled_and_what_is_over_stays_over(
        path in proptest::collection::vec(0_usize..7, 0..40),
    ) {
        let (mut batch, mut sent) = (BatchState::Ready, false);
        let (mut run, mut closed) = (RunState::Planning, false);
        for to in path {
            if let Ok(next) = batch.to(BatchState::ALL[to]) {
                prop_assert!(!matches!(batch, BatchState::Done | BatchState::Split | BatchState::Cancelled));
                // Only by way of `ready`, which needs proof that nothing is under way.
                prop_assert!(next != BatchState::Cancelled || !sent);
                sent = matches!(next, BatchState::Sending | BatchState::Accepted) || sent && next != BatchState::Ready;
                batch = next;
            }
            if let Ok(next) = run.to(RunState::ALL[to]) {
                prop_assert!(!closed || !next.is_open(), "{} {}", run, next);
                prop_assert!(run != RunState::Cancelled && (next != RunState::Cancelled || run.is_open()));
                closed |= !next.is_open();
                run = next;
            }
        }
    }
}
