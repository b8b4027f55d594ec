//! Chaos with real processes: workers that are killed and stopped, servers that crash, lose their memory or their
//! clock, and connections that cut, drip and swallow, while runs go on over all four classes of rails, operators stop
//! them, people decide, files are handed in, and rails go on after their first answer. The judge is the sandbox's
//! journal.
//!
//! [`weather`] holds the faults, [`work`] what there is to do meanwhile, [`operators`], [`people`], [`files`] and
//! [`rails`] those who interfere, [`recovery`] and [`stops`] the stop-watches, [`table`] the figures, [`peace`] the way
//! to the end, [`end`] the judgement.

pub mod clock;
mod deeds;
mod end;
mod fault;
mod files;
mod fleet;
mod journal;
mod operators;
mod peace;
mod people;
mod rails;
mod recovery;
mod stops;
mod table;
mod weather;
mod work;
mod world;

use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand_pcg::Pcg64;
use tokio::task::JoinSet;

pub use fault::Fault;
use people::People;
pub use table::Report;
use world::World;

/// How long, and from which seed.
#[derive(Debug, Clone, Copy)]
pub struct ChaosOptions {
    /// How long the weather lasts; then there is peace until everything is settled.
    pub lasts: Duration,
    /// What every draw follows from. Moments are not repeated exactly, kinds and their order are.
    pub seed: u64,
    /// Whether logs and journal are kept even if all is well.
    pub keep: bool,
}

/// How long it may take until everything is settled when nothing strikes any more.
pub(crate) const PEACE: Duration = Duration::from_secs(120);

/// One part of the chaos has a generator of its own, so that the order of the others does not change its draws.
fn generator(seed: u64, part: u64) -> Pcg64 {
    Pcg64::seed_from_u64(seed.wrapping_mul(31).wrapping_add(part))
}

/// Runs it, and judges. Panics only if the harness itself cannot go on; what was found is in the report.
pub async fn run(options: ChaosOptions) -> Report {
    let begun = Instant::now();
    let (world, servers) = World::start(options).await;
    println!("seed {}; logs are in {}", options.seed, world.folder().display());
    work::prepare(&world).await;
    let people = Arc::new(People::added(&world).await);
    fleet::start_all(&world);
    let prepared = begun.elapsed();

    let ends = Instant::now() + options.lasts;
    let seed = options.seed;
    let mut storm = JoinSet::new();
    storm.spawn(fleet::kills(world.clone(), generator(seed, 1), ends));
    storm.spawn(fleet::pauses(world.clone(), generator(seed, 2), ends));
    storm.spawn(fleet::terminations(world.clone(), generator(seed, 3), ends));
    storm.spawn(work::keep_busy(world.clone(), generator(seed, 4), ends));
    storm.spawn(work::reconcile_now_and_then(world.clone(), generator(seed, 5), ends));
    storm.spawn(work::watch(world.clone(), generator(seed, 8), ends));
    storm.spawn(operators::act(world.clone(), generator(seed, 9), ends));
    storm.spawn(operators::act(world.clone(), generator(seed, 10), ends));
    storm.spawn(people::decide(world.clone(), people.clone(), generator(seed, 11), ends));
    storm.spawn(files::hand_in(world.clone(), people.clone(), generator(seed, 12), ends));
    storm.spawn(rails::go_on(world.clone(), generator(seed, 13), ends));
    storm.spawn(operators::let_go_on(world.clone(), ends));
    let reading = world.clone();
    let reader = tokio::spawn(async move { reading.journal.follow().await });
    let keeper = tokio::spawn(fleet::keep(world.clone()));
    let weather = async {
        tokio::join!(
            weather::data(world.clone(), servers.data, generator(seed, 7), ends),
            weather::rail(world.clone(), servers.rail, generator(seed, 6), ends)
        )
    };
    let fleet = async {
        while let Some(ended) = storm.join_next().await {
            ended.expect("no part of the storm ends abnormally");
        }
    };
    let (servers, ()) = tokio::join!(weather, fleet);
    let peace = Instant::now();
    peace::made(&world, &people, generator(seed, 14), peace).await;
    let report = end::judge(&world, prepared, peace).await;
    for told_to_end in [keeper, reader] {
        told_to_end.abort();
        let _ = told_to_end.await;
    }
    drop(servers);
    report
}
