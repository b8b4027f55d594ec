//! The words of the schema, the logs, the screens and the metrics, written down once more: rows that exist are read by
//! them, so none may change unnoticed. Each is the same in a column, in a sentence and in JSON.

use std::fmt::Display;

use payfleet_domain::{
    BatchState, Currency, DiscrepancyKind, Effect, Exclusion, HoldReason, Money, Movement, PayoutState, RAILS,
    Reference, RefusalCode, Role, Rule, RunState,
};
use serde::Serialize;

const BATCH_STATES: [&str; 7] = ["ready", "sending", "accepted", "done", "held", "split", "cancelled"];
const PAYOUT_STATES: [&str; 8] = ["planned", "accepted", "paid", "refused", "unknown", "held", "returned", "cancelled"];
const RUN_STATES: [&str; 7] = ["planning", "planned", "paying", "settled", "reconciled", "discrepant", "cancelled"];
const EXCLUSIONS: [&str; 12] = [
    "balance_out_of_range",
    "negative_balance",
    "below_minimum",
    "on_hold",
    "contested",
    "no_method",
    "method_unusable",
    "no_rail",
    "kind_unsupported",
    "currency_unsupported",
    "outside_limits",
    "amount_uneven",
];
const DISCREPANCIES: [&str; 17] = [
    "paid_twice",
    "never_planned",
    "paid_unrecorded",
    "paid_late",
    "not_on_statement",
    "amount_differs",
    "currency_differs",
    "destination_differs",
    "reference_differs",
    "account_differs",
    "return_unrecorded",
    "return_in_part",
    "return_unconfirmed",
    "return_differs",
    "skipped",
    "ledger_out_of_balance",
    "unknown_too_long",
];
const RULES: [&str; 17] = [
    "fixed_key",
    "write_ahead_intent",
    "fenced_intent",
    "evidence_unfenced",
    "refusal_proof",
    "horizon_guard",
    "expired_is_held",
    "neither_is_held",
    "lookup_after_lifetime",
    "late_proof",
    "net_over_references",
    "file_needs_second_person",
    "verdict_follows_news",
    "two_people_after_death",
    "stop_sends_nothing",
    "controls_at_intent",
    "suspended_time_counts",
];

fn json(value: impl Serialize) -> String {
    serde_json::to_string(&value).expect("a word is JSON")
}

/// In a sentence, and in a column of a table as wide as this.
fn assert_shown(value: impl Display, word: &str) {
    assert_eq!(value.to_string(), word);
    assert_eq!(format!("{value:>25}"), format!("{word:>25}"), "it fills a column");
}

#[test]
fn states_have_these_words() {
    for (state, word) in BatchState::ALL.into_iter().zip(BATCH_STATES) {
        assert_eq!((state.as_str(), json(state), word.parse()), (word, format!("\"{word}\""), Ok(state)));
        assert_shown(state, word);
    }
    for (state, word) in PayoutState::ALL.into_iter().zip(PAYOUT_STATES) {
        assert_eq!((state.as_str(), json(state), word.parse()), (word, format!("\"{word}\""), Ok(state)));
        assert_shown(state, word);
    }
    for (state, word) in RunState::ALL.into_iter().zip(RUN_STATES) {
        assert_eq!((state.as_str(), json(state), word.parse()), (word, format!("\"{word}\""), Ok(state)));
        assert_shown(state, word);
    }
    for (role, word) in Role::ALL.into_iter().zip(["viewer", "operator", "approver", "administrator"]) {
        assert_eq!((role.as_str(), json(role), word.parse()), (word, format!("\"{word}\""), Ok(role)));
        assert_shown(role, word);
    }
    for (effect, word) in
        [(Effect::Proposes, "proposes"), (Effect::Agrees, "agrees"), (Effect::Contradicts, "contradicts")]
    {
        assert_eq!(effect.as_str(), word);
        assert_shown(effect, word);
    }
    assert!("Ready".parse::<BatchState>().is_err());
    assert!("paying".parse::<PayoutState>().is_err());
    assert!("".parse::<RunState>().is_err());
}

#[test]
fn reasons_have_these_words() {
    for (reason, word) in Exclusion::ALL.into_iter().zip(EXCLUSIONS) {
        assert_eq!((reason.code(), json(reason)), (word, format!("\"{word}\"")));
        assert_shown(reason, word);
    }
    for (kind, word) in DiscrepancyKind::ALL.into_iter().zip(DISCREPANCIES) {
        assert_eq!((kind.code(), json(kind)), (word, format!("\"{word}\"")));
        assert_shown(kind, word);
        let others = DiscrepancyKind::ALL.into_iter().filter(|other| other.meaning() == kind.meaning());
        assert!(others.count() == 1 && kind.meaning().contains(' '), "{kind} is told to people in words of its own");
    }
    for (reason, word) in [
        (HoldReason::NoWayToKnow, "no_way_to_know"),
        (HoldReason::HorizonExpired, "horizon_expired"),
        (HoldReason::BudgetExhausted, "budget_exhausted"),
        (HoldReason::Poison, "poison"),
        (HoldReason::StoppedInDoubt, "stopped_in_doubt"),
        (HoldReason::NoNews, "no_news"),
        (HoldReason::RejectedByFile, "rejected_by_file"),
        (HoldReason::OnHold, "on_hold"),
        (HoldReason::Stopped, "stopped"),
        (HoldReason::Contested, "contested"),
    ] {
        assert_eq!(reason.code(), word);
        assert_shown(reason, word);
    }
    for (rule, word) in Rule::ALL.into_iter().zip(RULES) {
        assert_eq!(rule.as_str(), word);
        assert_shown(rule, word);
    }
    for (movement, word) in
        [(Movement::Paid, "paid"), (Movement::Returned, "returned"), (Movement::Rejected, "rejected")]
    {
        assert_eq!((movement.as_str(), json(movement)), (word, format!("\"{word}\"")));
    }
    let letters: Vec<&str> = RAILS.iter().map(|rail| rail.class.letter()).collect();
    assert_eq!(letters, ["K", "K+L", "L", "N", "K", "K", "L", "L"]);
}

#[test]
fn money_and_names_are_shown_as_they_are() {
    let currency = |code: &str| code.parse::<Currency>().expect("a code of ISO 4217");
    let (eur, jpy) = (currency("EUR"), currency("JPY"));
    assert_shown(eur, "EUR");
    assert_eq!((json(eur), format!("{eur:?}")), ("\"EUR\"".to_owned(), "EUR".to_owned()));
    assert_eq!(serde_json::from_str::<Currency>("\"JPY\"").ok(), Some(jpy));
    assert!(serde_json::from_str::<Currency>("\"jpy\"").is_err());
    assert_eq!(Money { minor: -1230, currency: eur }.to_string(), "-12.30 EUR");
    assert_eq!(Money { minor: 1230, currency: jpy }.to_string(), "1230 JPY");
    assert_eq!(Reference("R-1".to_owned()).to_string(), "R-1");
    assert_eq!(RefusalCode::new("Closed").to_string(), "closed");
}
