//! The declarations that are explored: the sandbox's four, with their times in ticks, and those that do not pin
//! refusals.

use std::time::Duration;

use payfleet_domain::{Follow, RAILS, Rail, RailClass};

use crate::others::Others;

/// The clock's step: a request's lifetime. A lease is shorter, so it ends with the tick that does not renew it.
pub const TICK: Duration = Duration::from_secs(60);
/// After this many ticks a request may not be executed any more.
pub const LIFETIME_AGE: u8 = 1;
/// After this many it is certainly dead: `dead_after` is one and a half lifetimes.
pub const DEAD_AGE: u8 = 2;
/// After this many a key may not be used again.
pub const WINDOW_AGE: u8 = 2;
/// After this many the rail forgets a key.
pub const HORIZON_AGE: u8 = 4;

/// What one test explores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Explored {
    /// How the tables write it.
    pub name: &'static str,
    /// In ticks.
    pub rail: Rail,
    /// Who else acts.
    pub others: Others,
    /// See `Fleet::faults`.
    pub faults: u8,
}

/// The four classes as the sandbox's rails declare them; a key without pinned refusals; and the same where what was
/// accepted is asked about by the rail's own name, which tells of that request alone, as PayPal has it.
pub fn explored() -> Vec<Explored> {
    let declared = |name| in_ticks(Rail::named(name).expect("a rail of this build"));
    let key = declared("sandbox-payout");
    let (lookup, both, neither) = (declared("sandbox-lookup"), declared("sandbox-batch"), declared("sandbox-file"));
    let by_reference = Rail { pins_refusals: false, follow: Follow::ByReference, ..key };
    let alone = |name, rail| Explored { name, rail, others: Others::Nobody, faults: 3 };
    let people = |name, rail, faults| Explored { name, rail, others: Others::People, faults };
    let operators = |name, rail| Explored { name, rail, others: Others::Operators, faults: 1 };
    vec![
        alone("K", key),
        alone("L", lookup),
        alone("K+L", both),
        alone("N", neither),
        alone("K unpinned", Rail { pins_refusals: false, ..key }),
        // With three faults it holds in 2,998,714 states, and takes as long as all others together.
        Explored { faults: 2, ..alone("K by reference", by_reference) },
        people("K, people", key, 2),
        people("L, people", lookup, 3),
        people("K+L, people", both, 2),
        people("N, people", neither, 3),
        operators("K, operators", key),
        operators("L, operators", lookup),
        operators("K+L, operators", both),
        operators("N, operators", neither),
    ]
}

/// A declaration with its times in ticks.
pub fn in_ticks(declared: &Rail) -> Rail {
    let horizon = TICK * u32::from(HORIZON_AGE);
    let class = match declared.class {
        RailClass::Key { .. } => RailClass::Key { horizon },
        RailClass::KeyAndLookup { .. } => RailClass::KeyAndLookup { horizon },
        other => other,
    };
    Rail { class, request_lifetime: TICK * u32::from(LIFETIME_AGE), ..*declared }
}

/// Ticks keep the order of the real times, which is all that the rules depend on: a request is certainly dead before
/// its key's window ends, and one that is sent at the end of the window is dead before the rail may have forgotten the
/// key.
#[test]
fn ticks_keep_the_order_of_the_declared_times() {
    let order = |rail: &Rail| {
        rail.resend_window().map(|window| {
            (
                rail.request_lifetime < rail.dead_after(),
                rail.dead_after() <= window,
                window + rail.dead_after() <= window * 2,
            )
        })
    };
    for rail in RAILS {
        assert_eq!(order(rail), order(&in_ticks(rail)), "{}", rail.name);
        assert!(order(rail).is_none_or(|order| order == (true, true, true)), "{}", rail.name);
    }
    let key = in_ticks(Rail::named("sandbox-payout").expect("a rail of this build"));
    assert_eq!(key.resend_window(), Some(TICK * u32::from(WINDOW_AGE)));
    assert!(key.dead_after() > TICK * u32::from(DEAD_AGE - 1) && key.dead_after() <= TICK * u32::from(DEAD_AGE));
}
