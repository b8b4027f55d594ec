//! Where one invariant ends and the next begins: each difference is reported once, under the name that explains it.

use std::collections::BTreeMap;

use payfleet_domain::invariant::{
    AccountFacts, Decided, Out, PayoutFacts, Total, TransferFacts, balance_is_its_history, broken,
    ledger_follows_state, ledger_sums_to_zero, nobody_is_skipped, outcome_is_known_in_time, run_adds_up,
};
use payfleet_domain::{DiscrepancyKind as Kind, PayoutState as State};

#[test]
fn a_payment_that_nobody_recorded_is_not_called_anything_else() {
    for state in [State::Refused, State::Cancelled, State::Planned] {
        let paid = PayoutFacts::as_planned(state, 1);
        assert_eq!(broken(&PayoutFacts::as_planned(state, 0)), [], "{state}");
        assert_eq!(broken(&paid), [Kind::PaidUnrecorded], "{state}");
        assert_eq!(broken(&PayoutFacts { is_listed: false, ..paid }), [Kind::PaidUnrecorded], "{state}: only told");
        assert_eq!(broken(&PayoutFacts::as_planned(state, 2)), [Kind::PaidTwice], "{state}");
        let perhaps_one = PayoutFacts { most_out: Out::More, ..paid };
        assert_eq!(broken(&perhaps_one), [Kind::PaidUnrecorded], "{state}: two names, perhaps of one payment");
        let all_differs = PayoutFacts {
            amount_differs: true,
            currency_differs: true,
            destination_differs: true,
            reference_differs: true,
            ..paid
        };
        assert_eq!(broken(&all_differs), [Kind::PaidUnrecorded], "{state}: nothing was planned to compare it with");
    }
}

#[test]
fn what_a_rail_does_not_list_is_not_missed() {
    for state in [State::Paid, State::Returned] {
        let absent = PayoutFacts { has_list: false, is_listed: false, ..PayoutFacts::as_planned(state, 1) };
        assert_eq!(broken(&absent), [], "{state}");
        assert_eq!(broken(&PayoutFacts { has_list: true, ..absent }), [Kind::NotOnStatement], "{state}");
        assert_eq!(
            broken(&PayoutFacts { reference_differs: true, ..absent }),
            [],
            "{state}: a list without the payment says nothing of it"
        );
    }
}

#[test]
fn a_reference_is_compared_where_one_payment_was_recorded() {
    let differs = |facts: PayoutFacts| broken(&PayoutFacts { reference_differs: true, ..facts });
    let paid = PayoutFacts::as_planned(State::Paid, 1);
    assert_eq!(differs(paid), [Kind::ReferenceDiffers]);
    assert_eq!(differs(PayoutFacts::as_planned(State::Returned, 1)), [Kind::ReferenceDiffers]);
    assert_eq!(differs(PayoutFacts { most_out: Out::More, ..paid }), [Kind::ReferenceDiffers]);
    assert_eq!(differs(PayoutFacts::as_planned(State::Paid, 2)), [Kind::PaidTwice]);
    assert_eq!(differs(PayoutFacts::as_planned(State::Unknown, 1)), []);
}

#[test]
fn money_that_came_back_is_recorded() {
    let out =
        |state, least_out, most_out| broken(&PayoutFacts { least_out, most_out, ..PayoutFacts::as_planned(state, 1) });
    assert_eq!(out(State::Paid, Out::Nothing, Out::Nothing), [Kind::ReturnUnrecorded]);
    assert_eq!(out(State::Paid, Out::Nothing, Out::Whole), [Kind::ReturnUnrecorded], "or another payment of it");
    assert_eq!(out(State::Paid, Out::Part, Out::Part), [Kind::ReturnInPart]);
    assert_eq!(out(State::Returned, Out::Nothing, Out::Nothing), []);
    assert_eq!(out(State::Returned, Out::Nothing, Out::Whole), [Kind::PaidUnrecorded], "the payee may have it");
    for state in [State::Accepted, State::Unknown, State::Held] {
        assert_eq!(out(state, Out::Nothing, Out::Nothing), [], "{state}: nobody says yet what became of it");
    }
    for state in [State::Refused, State::Cancelled, State::Planned] {
        assert_eq!(out(state, Out::Nothing, Out::Nothing), [], "{state}: it went out, and came back");
    }
}

#[test]
fn an_outcome_is_waited_for_only_so_long() {
    for state in State::ALL {
        let waits = matches!(state, State::Planned | State::Accepted | State::Unknown);
        assert_eq!(outcome_is_known_in_time(state, true), !waits, "{state}");
        assert!(outcome_is_known_in_time(state, false), "{state}");
    }
}

#[test]
fn each_state_has_its_transfers_and_no_others() {
    let reserved = TransferFacts { reserved: true, amounts_agree: true, ..TransferFacts::default() };
    for state in State::ALL {
        let due = match state {
            State::Planned | State::Accepted | State::Unknown | State::Held => reserved,
            State::Paid => TransferFacts { settled: true, ..reserved },
            State::Refused | State::Cancelled => TransferFacts { released: true, ..reserved },
            State::Returned => TransferFacts { settled: true, returns: 1, ..reserved },
        };
        assert!(ledger_follows_state(state, &due), "{state}");
        for wrong in [
            TransferFacts { reserved: false, ..due },
            TransferFacts { settled: !due.settled, ..due },
            TransferFacts { released: !due.released, ..due },
            TransferFacts { returns: 1 - due.returns, ..due },
            TransferFacts { amounts_agree: false, ..due },
        ] {
            assert!(!ledger_follows_state(state, &wrong), "{state} {wrong:?}");
        }
    }
}

#[test]
fn an_account_that_nobody_decided_about_is_owed_all_of_its_balance() {
    let left_out = AccountFacts { opening: Some(4), earned: 3, decided: None, residual: 0 };
    assert_eq!(left_out.skipped(), 7);
    assert!(!nobody_is_skipped(&left_out));
    let decided = Some(Decided { carried: 4, amount: 4 });
    assert_eq!(AccountFacts { decided, ..left_out }.skipped(), 3);
    assert!(nobody_is_skipped(&AccountFacts { earned: -4, ..left_out }));
    let unknown = AccountFacts { opening: None, ..left_out };
    assert!(nobody_is_skipped(&unknown), "what it had before is not known");
    assert_eq!(AccountFacts { decided, ..unknown }.skipped(), 3);
}

#[test]
fn a_plan_counts_the_balance_that_there_was() {
    let decided = |carried, amount| Some(Decided { carried, amount });
    let facts = AccountFacts { opening: Some(4), earned: 3, decided: decided(4, 7), residual: 0 };
    assert!(nobody_is_skipped(&facts));
    assert!(
        !nobody_is_skipped(&AccountFacts { decided: decided(5, 7), ..facts }),
        "the sum is right, and its parts are not"
    );
    assert!(!nobody_is_skipped(&AccountFacts { decided: decided(5, 8), ..facts }));
    assert!(nobody_is_skipped(&AccountFacts { opening: None, decided: decided(5, 8), ..facts }));
}

#[test]
fn a_balance_has_what_was_skipped_and_nothing_else() {
    let left_out = AccountFacts { opening: Some(4), earned: 3, decided: None, residual: 0 };
    let holds = |residual| balance_is_its_history(&AccountFacts { residual, ..left_out });
    assert_eq!([0, 7].map(holds), [true; 2]);
    assert_eq!([3, -7, -4, -1, 1].map(holds), [false; 5]);
    assert!(!balance_is_its_history(&AccountFacts { earned: -4, residual: 1, ..left_out }));
}

#[test]
fn counts_and_sums_add_up() {
    let due = Total { accounts: 2, amount_minor: 300 };
    assert!(run_adds_up(due, due));
    assert!(!run_adds_up(due, Total { accounts: 1, ..due }));
    assert!(!run_adds_up(due, Total { amount_minor: 299, ..due }));
    let sums = |eur, jpy| BTreeMap::from([("EUR".to_owned(), eur), ("JPY".to_owned(), jpy)]);
    assert!(ledger_sums_to_zero(&sums(0, 0)));
    assert!(!ledger_sums_to_zero(&sums(1, -1)), "currencies are not added to each other");
}
