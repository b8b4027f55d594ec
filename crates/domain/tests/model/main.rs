//! The life of a payout, explored exhaustively within the bounds in `world.rs`: with every rule the promise holds, and
//! without any one of them it does not.
//!
//! The model calls the pure functions of this crate for every decision that they make, and repeats the guards of
//! `store` and the steps of `worker` by hand, one function for each transaction, under the same names. Whoever changes
//! one of those changes it here too.
//!
//! `cargo test -p payfleet-domain --test model -- --nocapture` prints the states explored and each counterexample as a
//! story.

mod action;
mod books;
mod database;
mod explorer;
mod others;
mod promise;
mod rails;
mod rules_in_code;
mod world;

use std::collections::BTreeSet;

use books::Books;
use explorer::{Counterexample, explore};
use others::Others;
use payfleet_domain::{Follow, PayoutState, RAILS, Rail, RailClass, Rule};
use promise::Promise;
use rails::Explored;
use world::{Fleet, Rules};

/// What breaks without a rule: the classes and the promise. The classes that are not named keep every promise, and
/// `others` says why.
struct Ablation {
    without: &'static [Rule],
    breaks: &'static [(&'static str, Promise)],
    others: &'static str,
}

const ABLATIONS: [Ablation; 13] = [
    Ablation {
        without: &[Rule::FixedKey],
        breaks: &[
            ("K", Promise::PaidOnce),
            ("K+L", Promise::PaidOnce),
            ("K unpinned", Promise::PaidOnce),
            ("K by reference", Promise::PaidOnce),
        ],
        others: "L and N have no key",
    },
    Ablation {
        without: &[Rule::WriteAheadIntent],
        breaks: &[
            ("K", Promise::PaidOnce),
            ("L", Promise::PaidOnce),
            ("K+L", Promise::PaidOnce),
            ("N", Promise::PaidOnce),
            ("K unpinned", Promise::PaidOnce),
            ("K by reference", Promise::PaidOnce),
        ],
        others: "",
    },
    Ablation {
        without: &[Rule::FencedIntent],
        breaks: &[("L", Promise::PaidOnce)],
        others: "with a key the second request is recognised; on N the state, read under the same lock, \
                 is a second fence",
    },
    Ablation {
        without: &[Rule::EvidenceUnfenced],
        breaks: &[
            ("K", Promise::EvidenceIsKept),
            ("L", Promise::EvidenceIsKept),
            ("K+L", Promise::EvidenceIsKept),
            ("N", Promise::EvidenceIsKept),
            ("K unpinned", Promise::EvidenceIsKept),
            ("K by reference", Promise::EvidenceIsKept),
        ],
        others: "",
    },
    Ablation {
        without: &[Rule::RefusalProof],
        breaks: &[
            ("L", Promise::RefusedIsUnpaid),
            ("K unpinned", Promise::RefusedIsUnpaid),
            ("K by reference", Promise::RefusedIsUnpaid),
        ],
        others: "K and K+L pin refusals, so one about an older attempt is about all; N never sends twice",
    },
    Ablation {
        without: &[Rule::HorizonGuard],
        breaks: &[
            ("K", Promise::PaidOnce),
            ("K+L", Promise::PaidOnce),
            ("K unpinned", Promise::PaidOnce),
            ("K by reference", Promise::PaidOnce),
        ],
        others: "L and N have no key, hence no horizon",
    },
    Ablation {
        without: &[Rule::ExpiredIsHeld],
        breaks: &[
            ("K", Promise::ItEnds),
            ("K+L", Promise::ItEnds),
            ("K unpinned", Promise::ItEnds),
            ("K by reference", Promise::ItEnds),
        ],
        others: "L and N have no key, hence no horizon",
    },
    Ablation {
        without: &[Rule::NeitherIsHeld],
        breaks: &[("N", Promise::PaidOnce)],
        others: "the rule is about class N",
    },
    Ablation {
        without: &[Rule::LookupAfterLifetime],
        breaks: &[("L", Promise::PaidOnce)],
        others: "the rule is about class L",
    },
    Ablation {
        without: &[Rule::TwoPeopleAfterDeath],
        breaks: &[
            ("K, people", Promise::MoneyPaidOnce),
            ("L, people", Promise::MoneyPaidOnce),
            ("K+L, people", Promise::MoneyPaidOnce),
            ("N, people", Promise::MoneyPaidOnce),
        ],
        others: "",
    },
    Ablation {
        without: &[Rule::StopSendsNothing],
        breaks: &[
            ("K, operators", Promise::StoppedIsStill),
            ("L, operators", Promise::StoppedIsStill),
            ("K+L, operators", Promise::StoppedIsStill),
            ("N, operators", Promise::StoppedIsStill),
        ],
        others: "",
    },
    Ablation {
        without: &[Rule::ControlsAtIntent],
        breaks: &[
            ("K, operators", Promise::ControlIsKept),
            ("L, operators", Promise::ControlIsKept),
            ("K+L, operators", Promise::ControlIsKept),
            ("N, operators", Promise::ControlIsKept),
        ],
        others: "",
    },
    Ablation {
        without: &[Rule::SuspendedTimeCounts],
        breaks: &[
            ("K", Promise::PaidOnce),
            ("L", Promise::PaidOnce),
            ("K+L", Promise::PaidOnce),
            ("K unpinned", Promise::PaidOnce),
            ("K by reference", Promise::PaidOnce),
            ("N, people", Promise::MoneyPaidOnce),
            ("K, operators", Promise::StoppedIsStill),
            ("L, operators", Promise::StoppedIsStill),
            ("K+L, operators", Promise::StoppedIsStill),
            ("N, operators", Promise::StoppedIsStill),
        ],
        others: "N sends once, so only the next run can pay again",
    },
];

/// What breaks without a rule about money that goes on moving.
const OF_BOOKS: [(Rule, Promise); 4] = [
    (Rule::LateProof, Promise::MoneyPaidOnce),
    (Rule::NetOverReferences, Promise::MoneyPaidOnce),
    (Rule::FileNeedsSecondPerson, Promise::MoneyPaidOnce),
    (Rule::VerdictFollowsNews, Promise::VerdictIsTrue),
];

/// Whether the model asks for a rule at all in this world; where it does not, there is nothing new to explore.
fn concerns(rule: Rule, explored: &Explored) -> bool {
    let Explored { rail, others, .. } = explored;
    match rule {
        Rule::FixedKey | Rule::HorizonGuard | Rule::ExpiredIsHeld => alone(*others) && rail.resend_window().is_some(),
        Rule::NeitherIsHeld => alone(*others) && rail.class == RailClass::Neither,
        Rule::LookupAfterLifetime => alone(*others) && rail.needs_dead_requests(),
        Rule::WriteAheadIntent | Rule::FencedIntent | Rule::EvidenceUnfenced | Rule::RefusalProof => alone(*others),
        Rule::TwoPeopleAfterDeath => *others == Others::People,
        Rule::StopSendsNothing | Rule::ControlsAtIntent => *others == Others::Operators,
        Rule::SuspendedTimeCounts => *others != Others::People || rail.class == RailClass::Neither,
        Rule::LateProof | Rule::NetOverReferences | Rule::FileNeedsSecondPerson | Rule::VerdictFollowsNews => false,
    }
}

/// Rules of the protocol itself are taken out where nobody else acts.
fn alone(others: Others) -> bool {
    others == Others::Nobody
}

fn fleet(explored: &Explored, without: &'static [Rule]) -> Fleet {
    let Explored { rail, others, faults, .. } = *explored;
    Fleet { rail, rules: Rules(without), others, faults, sought: None, loose_copies: false, slow_to_settle: false }
}

fn tell(what: &str, counterexample: &Counterexample<Promise>) {
    println!("{what}:\n{counterexample}\n");
}

#[test]
fn with_every_rule_the_promise_holds() {
    for explored in rails::explored() {
        let found = explore(&fleet(&explored, &[]));
        println!("{}: {} states, every promise holds", explored.name, found.states.len());
        if let Some(counterexample) = found.counterexample {
            panic!("{}:\n{counterexample}", explored.name);
        }
        // Or it would be no wonder that nothing is broken.
        let reached: BTreeSet<PayoutState> = found.states.iter().map(|state| state.database.payout).collect();
        let mut possible = BTreeSet::from(PayoutState::ALL);
        possible.remove(&PayoutState::Returned);
        if matches!(explored.rail.class, RailClass::Key { .. }) && explored.rail.follow != Follow::ByReference {
            possible.remove(&PayoutState::Accepted);
        }
        if explored.others == Others::People {
            possible.remove(&PayoutState::Cancelled);
        }
        assert_eq!(reached, possible, "{}", explored.name);
    }
}

#[test]
fn with_every_rule_the_books_are_true() {
    let found = explore(&Books { rules: Rules(&[]), sought: None });
    println!("books: {} states, every promise holds", found.states.len());
    if let Some(counterexample) = found.counterexample {
        panic!("books:\n{counterexample}");
    }
    // A rail that pays what it refused may do so after the next run has paid: that is a debt, and the only one.
    assert!(found.states.iter().any(|state| state.debt() > 0), "no run was overtaken by a late proof");
}

#[test]
fn without_any_one_rule_it_does_not() {
    let mut left: BTreeSet<Rule> = Rule::ALL.into();
    for Ablation { without, breaks, others } in ABLATIONS {
        let name = without.iter().map(Rule::as_str).collect::<Vec<_>>().join(" and ");
        assert!(!breaks.is_empty(), "{name} would not be needed");
        without.iter().for_each(|rule| assert!(left.remove(rule), "{rule} is tried twice"));
        for explored in rails::explored() {
            let expected = breaks.iter().find(|(class, _)| *class == explored.name).map(|(_, promise)| *promise);
            if expected.is_none() && !without.iter().any(|rule| concerns(*rule, &explored)) {
                continue;
            }
            let found = explore(&Fleet { sought: expected, ..fleet(&explored, without) }).counterexample;
            let story = found.as_ref().map(ToString::to_string).unwrap_or_default();
            let promise = found.as_ref().map(|found| found.promise);
            assert_eq!(promise, expected, "{} without {name} (others: {others})\n{story}", explored.name);
            if let Some(counterexample) = found {
                tell(&format!("{} without {name}", explored.name), &counterexample);
            }
        }
    }
    for (rule, expected) in &OF_BOOKS {
        assert!(left.remove(rule), "{rule} is tried twice");
        let found = explore(&Books { rules: Rules(std::slice::from_ref(rule)), sought: Some(*expected) });
        let counterexample = found.counterexample.unwrap_or_else(|| panic!("books without {rule} keep every promise"));
        tell(&format!("books without {rule}"), &counterexample);
    }
    assert!(left.is_empty(), "not tried: {left:?}");
}

/// What is taken for granted of "not executed" is needed: it must speak of every copy of its request. Where something
/// between us and a rail repeats requests, its 429 is no proof, and the adapter must not say `NotExecuted`.
#[test]
fn not_executed_must_speak_of_every_copy_of_a_request() {
    for explored in
        rails::explored().into_iter().filter(|explored| alone(explored.others) && explored.name.starts_with('K'))
    {
        let found = explore(&Fleet { loose_copies: true, ..fleet(&explored, &[]) }).counterexample;
        let counterexample = found.unwrap_or_else(|| panic!("{}: the assumption is not needed", explored.name));
        assert_eq!(counterexample.promise, Promise::RefusedIsUnpaid, "{}", explored.name);
        tell(&format!("{} with loose copies", explored.name), &counterexample);
    }
}

/// What people take for granted: a rail that accepted a request and told nobody pays or refuses it before the request
/// counts as dead. Where a rail is slower, its declared lifetime must contain the time that it takes.
#[test]
fn a_rail_that_accepts_in_silence_decides_within_the_lifetime() {
    for explored in rails::explored().into_iter().filter(|explored| explored.name == "N, people") {
        let sought = Some(Promise::MoneyPaidOnce);
        let found = explore(&Fleet { slow_to_settle: true, sought, ..fleet(&explored, &[]) }).counterexample;
        let counterexample = found.unwrap_or_else(|| panic!("{}: the assumption is not needed", explored.name));
        tell(&format!("{}, slow to settle", explored.name), &counterexample);
    }
}

/// A lookup that says "refused" may speak of one attempt while another, under way when it was asked and dead when it is
/// recorded, has paid. On L a lookup waits until all are dead; with a key it does not, so there refusals must be
/// pinned.
#[test]
fn a_rail_with_key_and_lookup_pins_its_refusals() {
    for rail in RAILS.iter().filter(|rail| matches!(rail.class, RailClass::KeyAndLookup { .. })) {
        assert!(rail.pins_refusals, "{}: a refusal that was looked up would be no proof", rail.name);
        let rail_unpinned = Rail { pins_refusals: false, ..rails::in_ticks(rail) };
        let unpinned = Explored { rail: rail_unpinned, ..rails::explored()[0] };
        let found = explore(&fleet(&unpinned, &[])).counterexample;
        let counterexample = found.unwrap_or_else(|| panic!("{}: need not pin its refusals", rail.name));
        assert_eq!(counterexample.promise, Promise::RefusedIsUnpaid, "{}", rail.name);
        tell("K+L, were refusals not pinned", &counterexample);
    }
}
