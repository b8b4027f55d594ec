//! Chaos with real processes: workers that are killed and stopped, servers that crash, lose their memory or their clock, and connections that cut, drip and
//! swallow, while runs go on over all four classes of rails. The judge is the sandbox's journal.
//!
//! [`weather`] holds the faults, [`work`] what there is to do meanwhile, [`recovery`] the stop-watches, [`table`] the figures, [`end`] the judgement.

pub mod clock;
mod disk;
mod end;
mod fleet;
mod recovery;
mod table;
mod weather;
mod work;
mod world;

use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand_pcg::Pcg64;
use tokio::task::JoinSet;

pub use table::{Fault, Report};
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
    let report = end::judge(&world, prepared, peace).await;
    keeper.abort();
    let _ = keeper.await; // it was told to end
    drop(servers);
    report
}
