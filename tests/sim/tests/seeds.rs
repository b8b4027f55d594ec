//! The seeds: kept ones and fresh ones, in memory and over Postgres.
//!
//! `PAYFLEET_SIM_SEEDS` (20,000) and `PAYFLEET_SIM_POSTGRES_SEEDS` (60) say how many; `PAYFLEET_SIM_FROM` is the first
//! of them, and is drawn if it is not given. A seed that fails is told as a story; told again with
//! `PAYFLEET_SIM_FROM=<seed> PAYFLEET_SIM_SEEDS=1`, it is the same one.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use payfleet_domain::PayoutState;
use payfleet_sim::backend::{Affiliate, Backend, Scenario};
use payfleet_sim::matrix::Matrix;
use payfleet_sim::memory::Memory;
use payfleet_sim::postgres::Database;
use payfleet_sim::{Story, scenario, tell};

const THREADS: u64 = 2;

/// Seeds that once ended wrong, and what they found.
const KEPT: [(u64, &str); 5] = [
    (3398, "a refusal recorded by a clock that was put back looked as if its money had been skipped"),
    (9155, "the same, of a batch that was refused whole"),
    (
        1_465_370_198,
        "a payment recorded after the clock was put back looked older than a statement that could not know it",
    ),
    (1_010_443, "a request left a day after it was made, when its key was forgotten"),
    (40_017_096, "what was accepted of a batch whose rest was cancelled was followed by nobody"),
];

fn number(name: &str, default: u64) -> u64 {
    let given = std::env::var(name).ok();
    given.map_or(default, |given| given.parse().unwrap_or_else(|_| panic!("{name} must be a number")))
}

/// Fresh seeds for each run, told at its beginning.
fn first_seed() -> u64 {
    number("PAYFLEET_SIM_FROM", u64::from(rand::random::<u32>()))
}

fn in_memory(seed: u64, matrix: &Arc<Matrix>) -> Story {
    of(seed, matrix, &scenario(seed))
}

fn of(seed: u64, matrix: &Arc<Matrix>, scenario: &Scenario) -> Story {
    tell(seed, matrix.clone(), scenario, Box::new(Memory::new(scenario.clone())))
}

/// One batch over the rail that can only be asked. Whatever becomes of them, it never says anything of two of them.
fn silent() -> Scenario {
    let name = |n| if n == 1 || n == 4 { format!("silent-{n}") } else { format!("payee-{n}") };
    let affiliate = |n| Affiliate { name: name(n), rail: Some("sandbox-lookup"), earned: vec![10_000] };
    Scenario { affiliates: (0..7).map(affiliate).collect(), periods: vec!["2026-01"], batch_size: 7, chunk: 7 }
}

/// Plays seeds on two threads, and fails with the first story that ends wrong. Each thread has a
/// world of its own.
fn play<W>(what: &str, from: u64, count: u64, world: impl Fn() -> W + Sync, story: impl Fn(&W, u64) -> Story + Sync) {
    println!("{what}: {count} seeds from {from}");
    let (next, figures, began) = (AtomicU64::new(0), Figures::default(), Instant::now());
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                let world = world();
                loop {
                    let place = next.fetch_add(1, Ordering::Relaxed);
                    if place >= count {
                        break;
                    }
                    let story = story(&world, from + place);
                    assert!(story.wrong.is_empty(), "seed {}: {:#?}\n{}", story.seed, story.wrong, story.text);
                    figures.add(&story);
                }
            });
        }
    });
    println!("{what}: {count} seeds in {:.1?}: {figures}", began.elapsed());
}

/// What all stories came to.
#[derive(Default)]
struct Figures {
    payouts: AtomicU64,
    paid: AtomicU64,
    refused: AtomicU64,
    held: AtomicU64,
    returned: AtomicU64,
    cancelled: AtomicU64,
    longest_peace: AtomicU64,
}

impl Figures {
    fn add(&self, story: &Story) {
        for payout in &story.ended.payouts {
            self.payouts.fetch_add(1, Ordering::Relaxed);
            let counter = match payout.state {
                PayoutState::Paid => &self.paid,
                PayoutState::Refused => &self.refused,
                PayoutState::Held => &self.held,
                PayoutState::Returned => &self.returned,
                PayoutState::Cancelled => &self.cancelled,
                PayoutState::Planned | PayoutState::Accepted | PayoutState::Unknown => continue,
            };
            counter.fetch_add(1, Ordering::Relaxed);
        }
        // A night may be slept through in peace too; it is no part of what peace takes.
        if story.peace < Duration::from_secs(3600) {
            self.longest_peace.fetch_max(story.peace.as_secs(), Ordering::Relaxed);
        }
    }
}

impl std::fmt::Display for Figures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        write!(
            f,
            "payouts {}, twice 0, skipped 0, paid {}, refused {}, held {}, returned {}, cancelled {}; \
             longest peace {} s",
            of(&self.payouts),
            of(&self.paid),
            of(&self.refused),
            of(&self.held),
            of(&self.returned),
            of(&self.cancelled),
            of(&self.longest_peace)
        )
    }
}

#[test]
fn every_seed_in_memory_ends_well_and_every_cell_of_the_fault_matrix_is_hit() {
    let matrix = Arc::new(Matrix::default());
    let (from, count) = (first_seed(), number("PAYFLEET_SIM_SEEDS", 20_000));
    play("in memory", from, count, || (), |(), seed| in_memory(seed, &matrix));
    // The rarest cells are hit four times in 20,000 seeds, so that in one of fifty runs one is not. One that none of
    // five times as many hits is one that cannot be.
    for more in (1..=16).take_while(|_| count >= 20_000 && !matrix.unhit().is_empty()) {
        println!("not hit yet: {:?}", matrix.unhit());
        play("in memory", from + count + more * 5_000, 5_000, || (), |(), seed| in_memory(seed, &matrix));
    }
    println!("{matrix}");
    let unhit = matrix.unhit();
    assert!(unhit.is_empty() || count < 20_000, "cells of the fault matrix that were not hit: {unhit:?}");
}

#[test]
fn the_same_seeds_over_postgres_end_as_in_memory() {
    let matrix = Arc::new(Matrix::default());
    let count = number("PAYFLEET_SIM_POSTGRES_SEEDS", 40);
    play("over Postgres", first_seed(), count, Database::create, |database, seed| {
        let scenario = if seed % 5 == 0 { silent() } else { scenario(seed) };
        let backend: Box<dyn Backend> = Box::new(database.load(seed, &scenario));
        let real = tell(seed, matrix.clone(), &scenario, backend);
        let memory = of(seed, &matrix, &scenario);
        let is_same = memory.fingerprint == real.fingerprint && ends(&memory) == ends(&real);
        let parted = || difference(&memory.text, &real.text);
        assert!(is_same, "seed {seed} goes another way:\n{}\n{:?}\n{:?}", parted(), memory.ended, real.ended);
        real
    });
}

/// How every payout ended. Their numbers differ, as runs have other numbers in a database that has seen other seeds.
fn ends(story: &Story) -> Vec<(PayoutState, i64, Option<String>)> {
    story.ended.payouts.iter().map(|payout| (payout.state, payout.amount_minor, payout.reference.clone())).collect()
}

/// Where two stories part. Runs have other numbers in a database that has seen other seeds; the place of a payout is
/// the same.
fn difference(memory: &str, real: &str) -> String {
    let place = |word: &str| match word.parse::<i64>() {
        Ok(number) if number >= 1 << 32 => format!("#{}", number & 0xffff_ffff),
        _ => word.to_owned(),
    };
    let plain = |line: &str| line.split(' ').map(place).collect::<Vec<_>>().join(" ");
    let (memory, real): (Vec<_>, Vec<_>) = (memory.lines().map(plain).collect(), real.lines().map(plain).collect());
    let common = memory.iter().zip(&real).take_while(|(memory, real)| memory == real).count();
    let around = |story: &[String]| story.iter().skip(common.saturating_sub(8)).take(12).cloned().collect::<Vec<_>>();
    format!("in memory:\n{}\nover Postgres:\n{}", around(&memory).join("\n"), around(&real).join("\n"))
}

/// Who the rail says nothing of is held at last, and keeps nobody else from being paid.
#[test]
fn silence_about_some_holds_no_others() {
    let (matrix, scenario) = (Arc::new(Matrix::default()), silent());
    let (mut held, mut seen) = (0, 0);
    for seed in 0..1_500 {
        let story = of(seed, &matrix, &scenario);
        assert!(story.wrong.is_empty(), "seed {seed}: {:#?}\n{}", story.wrong, story.text);
        // People hold whom they like, and what every worker died of is held too.
        let is_by_others = !story.text.contains("acts: []") || story.text.contains("poison");
        for payout in story.ended.payouts.iter().filter(|payout| payout.state == PayoutState::Held) {
            let is_silent = matches!(payout.affiliate, 1 | 4);
            assert!(is_silent || is_by_others, "seed {seed}: {payout:?}\n{}", story.text);
            held += u64::from(is_silent);
        }
        seen += u64::from(!is_by_others);
    }
    println!("{seen} stories without people, {held} held that nothing was said of");
    assert!(seen > 200 && held > 100, "{seen} {held}");
}

#[test]
fn kept_seeds_end_well() {
    let matrix = Arc::new(Matrix::default());
    for (seed, found) in KEPT {
        let story = in_memory(seed, &matrix);
        assert!(story.wrong.is_empty(), "seed {seed} ({found}): {:#?}\n{}", story.wrong, story.text);
    }
}

#[test]
fn a_seed_tells_the_same_story_every_time() {
    let matrix = Arc::new(Matrix::default());
    for seed in 0..200 {
        let (first, second) = (in_memory(seed, &matrix), in_memory(seed, &matrix));
        assert_eq!(first.fingerprint, second.fingerprint, "seed {seed}");
        assert_eq!(first.text, second.text);
    }
}
