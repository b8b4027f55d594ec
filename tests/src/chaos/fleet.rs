//! The workers: started, killed, stopped past their lease, told to end, and replaced.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use rand::RngExt;
use rand_pcg::Pcg64;
use rustix::process::Signal;

use super::fault::Fault;
use super::recovery;
use super::world::World;
use crate::process::{Process, free_port};

/// With two or three of them stopped, as many are left.
const WORKERS: usize = 6;
/// A worker's lease, as shipped.
const LEASE: Duration = Duration::from_secs(8);
/// Of six, so that others work.
const STOPPED_AT_ONCE: usize = 3;
/// More than a minute's share of what is asked for in three minutes (100 and 30).
const KILLS_A_MINUTE: f64 = 38.0;
const PAUSES_A_MINUTE: f64 = 12.5;
const TERMINATIONS_A_MINUTE: f64 = 4.0;

/// A worker, and what is being done to it.
pub struct Slot {
    process: Process,
    started: Instant,
    stopped: bool,
}

fn start(world: &World) -> Slot {
    let admin = format!("127.0.0.1:{}", free_port());
    // Short waits after failures, so that there is much to disturb. As many calls at once as are usual: with fewer, the
    // batches of a killed worker wait for a place, and what is measured is the backlog and not the takeover.
    let arguments = ["--backoff-first", "100ms", "--backoff-longest", "2s", "--admin-listen", &admin];
    Slot { process: world.start_program("payfleet-worker", &arguments), started: Instant::now(), stopped: false }
}

/// Starts all workers.
pub fn start_all(world: &World) {
    let mut workers = world.workers.lock().unwrap_or_else(PoisonError::into_inner);
    workers.extend((0..WORKERS).map(|_| start(world)));
}

/// Takes one that runs out of the fleet, and puts another one into its place at once.
fn replace(world: &World, generator: &mut Pcg64) -> Option<Process> {
    let mut workers = world.workers.lock().unwrap_or_else(PoisonError::into_inner);
    let running = workers.iter_mut().enumerate().filter(|(_, slot)| !slot.stopped);
    let mut running: Vec<(Instant, usize)> =
        running.filter_map(|(n, slot)| slot.process.ended().is_none().then_some((slot.started, n))).collect();
    // Those that have come to work, if there are any: on a slow machine kills would else strike none but those that
    // start.
    running.sort();
    running.truncate(running.len().div_ceil(2));
    let (_, chosen) = *running.get(generator.random_range(0..running.len().max(1)))?;
    Some(std::mem::replace(&mut workers[chosen], start(world)).process)
}

/// Moments spread over the time until `ends`, each somewhere in its own share.
fn moments(generator: &mut Pcg64, a_minute: f64, ends: Instant) -> Vec<Instant> {
    let begins = Instant::now();
    let lasts = ends - begins;
    let count = (lasts.as_secs_f64() / 60.0 * a_minute).ceil().max(1.0) as u32;
    let share = lasts / count;
    (0..count).map(|n| begins + share * n + share.mul_f64(generator.random())).collect()
}

/// kill -9, again and again.
pub async fn kills(world: Arc<World>, mut generator: Pcg64, ends: Instant) {
    for moment in moments(&mut generator, KILLS_A_MINUTE, ends) {
        tokio::time::sleep_until(moment.into()).await;
        let calm = world.calm.read().await;
        if let Some(mut victim) = replace(&world, &mut generator) {
            victim.kill();
            world.table.count(Fault::WorkerKilled);
            recovery::after_kill(&world, victim.id()).await;
        }
        drop(calm);
    }
}

/// SIGSTOP until the lease is over and somewhat longer, then SIGCONT.
pub async fn pauses(world: Arc<World>, mut generator: Pcg64, ends: Instant) {
    let mut sleeping = tokio::task::JoinSet::new();
    for moment in moments(&mut generator, PAUSES_A_MINUTE, ends - LEASE - Duration::from_secs(4)) {
        tokio::time::sleep_until(moment.into()).await;
        while sleeping.len() >= STOPPED_AT_ONCE {
            sleeping.join_next().await;
        }
        let calm = world.calm.read().await;
        let lasts = LEASE + Duration::from_millis(generator.random_range(500..3_000));
        if let Some(process) = stop_one(&world, &mut generator) {
            let world = world.clone();
            sleeping.spawn(async move {
                tokio::time::sleep(lasts).await;
                resume(&world, process);
            });
        }
        drop(calm);
    }
    while sleeping.join_next().await.is_some() {}
}

fn stop_one(world: &World, generator: &mut Pcg64) -> Option<u32> {
    let mut workers = world.workers.lock().unwrap_or_else(PoisonError::into_inner);
    let running: Vec<&mut Slot> = workers.iter_mut().filter(|slot| !slot.stopped).collect();
    let chosen = generator.random_range(0..running.len().max(1));
    let slot = running.into_iter().nth(chosen)?;
    if slot.process.ended().is_some() {
        return None;
    }
    slot.process.signal(Signal::STOP);
    slot.stopped = true;
    Some(slot.process.id())
}

fn resume(world: &World, process: u32) {
    let mut workers = world.workers.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(slot) = workers.iter_mut().find(|slot| slot.stopped && slot.process.id() == process) {
        slot.process.signal(Signal::CONT);
        slot.stopped = false;
        world.table.count(Fault::Paused);
    }
}

/// SIGTERM: it finishes or hands back, and ends with 0.
pub async fn terminations(world: Arc<World>, mut generator: Pcg64, ends: Instant) {
    for moment in moments(&mut generator, TERMINATIONS_A_MINUTE, ends) {
        tokio::time::sleep_until(moment.into()).await;
        let calm = world.calm.read().await;
        let leaving = replace(&world, &mut generator);
        drop(calm);
        let Some(mut leaving) = leaving else { continue };
        leaving.signal(Signal::TERM);
        world.table.count(Fault::Terminated);
        let told = Instant::now();
        let watching = world.clone();
        let watch = async move {
            let ended = loop {
                if let Some(status) = leaving.ended() {
                    break Some(status);
                }
                if told.elapsed() > Duration::from_secs(60) {
                    break None;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            };
            // One that had not quite started knows no SIGTERM yet, or ends since a server is away.
            let fine = ended.is_some_and(|status| match status.code() {
                Some(code) => code == 0 || code == 69,
                None => told.elapsed() < Duration::from_secs(2),
            });
            if !fine {
                watching.table.broken(format!(
                    "worker {} was told to end, and after {:?}: {ended:?}",
                    leaving.id(),
                    told.elapsed()
                ));
            }
        };
        world.watches.lock().unwrap_or_else(PoisonError::into_inner).spawn(watch);
    }
}

/// Starts anew what has ended by itself, as systemd would. Only one reason is good: a server was away when it started.
pub async fn keep(world: Arc<World>) {
    loop {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let mut workers = world.workers.lock().unwrap_or_else(PoisonError::into_inner);
        for slot in workers.iter_mut() {
            if let Some(status) = slot.process.ended() {
                if status.code() != Some(69) {
                    world.table.broken(format!("worker {} ended by itself: {status}", slot.process.id()));
                }
                *slot = start(&world);
            }
        }
    }
}
