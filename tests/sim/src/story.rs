//! One seed from its beginning to its judgement.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use payfleet_domain::{RunId, RunState};
use payfleet_runtime::shutdown::Shutdown;

use crate::backend::{Affiliate, Backend, Ended, Scenario};
use crate::fleet::{self, RAILS};
use crate::judge;
use crate::matrix::Matrix;
use crate::others;
use crate::people;
use crate::scheduler::{ProcessId, Scheduler, Tasks};
use crate::world::{Profile, World};

/// In peace everything ends within this time. The longest waits are those for a request of a rail without keys to die,
/// and for a clock that was put back.
const PEACE: Duration = Duration::from_secs(400);

/// So many days may lie between two runs.
const DAYS: u64 = 12;

/// What became of a seed.
#[derive(Debug)]
pub struct Story {
    pub seed: u64,
    /// What is wrong; empty if nothing is.
    pub wrong: Vec<String>,
    /// Everything that happened.
    pub text: String,
    /// Equal for equal orders of events.
    pub fingerprint: u64,
    pub ended: Ended,
    /// How long peace had lasted when everything had ended.
    pub peace: Duration,
    /// How often a task went on.
    pub events: u64,
}

/// The scenario of a seed.
pub fn scenario(seed: u64) -> Scenario {
    let scheduler = Scheduler::new(seed ^ 0x5cea_a210);
    let count = 1 + scheduler.below(7);
    let rails: Vec<&'static str> = (0..1 + scheduler.below(3)).map(|_| RAILS[scheduler.below(4) as usize]).collect();
    let periods: Vec<&'static str> = ["2026-01", "2026-02"][..1 + scheduler.below(2) as usize].to_vec();
    let affiliates = (0..count).map(|n| {
        let kind = match scheduler.below(20) {
            0 => "closed",
            1 => "spoiled",
            _ => "payee",
        };
        let rail = (!scheduler.chance(40)).then(|| rails[scheduler.below(rails.len() as u64) as usize]);
        let amount = |_: &&str| match scheduler.below(12) {
            0 => 0,
            1 => -(scheduler.below(5_000) as i64) - 1,
            2 => scheduler.below(150) as i64,
            _ => scheduler.below(100_000) as i64 + 100,
        };
        Affiliate { name: format!("{kind}-{n}"), rail, earned: periods.iter().map(amount).collect() }
    });
    Scenario {
        affiliates: affiliates.collect(),
        periods: periods.clone(),
        batch_size: 1 + scheduler.below(4) as u32,
        chunk: 1 + scheduler.below(5) as i64,
    }
}

/// The processes that are there now.
struct Cast {
    workers: Vec<(ProcessId, Shutdown)>,
    hired: usize,
    coordinator: Option<ProcessId>,
    reconciler: ProcessId,
    operator: ProcessId,
    clerk: ProcessId,
}

/// Plays a seed over a backend that holds the scenario of the same seed.
pub fn tell(seed: u64, matrix: Arc<Matrix>, scenario: &Scenario, backend: Box<dyn Backend>) -> Story {
    let scheduler = Scheduler::new(seed);
    let profile = Profile::draw(seed, &scheduler);
    let peace_at = profile.until;
    let world = World::new(scheduler.clone(), matrix, backend, profile, scenario.clone());
    scheduler.note(|| format!("{scenario:?}\n{:?}", world.profile()));
    let mut tasks = Tasks::default();

    let fate = scheduler.process("fate");
    let has_ended = Arc::new(Mutex::new(None::<Vec<RunId>>));
    scheduler.spawn(fate, direct(world.clone(), scenario.clone(), peace_at, has_ended.clone()));
    // Longer only by the nights that everybody may have slept through.
    let limit = peace_at + PEACE + Duration::from_secs((40 + 24 * DAYS) * 3600);
    let done = |_: &Scheduler| has_ended.lock().unwrap().is_some();
    let in_time = scheduler.run(&mut tasks, limit, done);
    let mut wrong = Vec::new();
    if !in_time {
        wrong.push("not everything ended in time".to_owned());
    }
    let ended_at = scheduler.now();

    // Requests that still travel arrive; nobody works any more. Then one last comparison records what came back
    // meanwhile.
    let runs = has_ended.lock().unwrap().take().unwrap_or_default();
    scheduler.kill(fate);
    world.afterwards();
    let mut beyond = scheduler.now() + Duration::from_secs(90);
    if world.has_deciders() {
        beyond += Duration::from_secs(scheduler.below(24 * DAYS) * 3600);
    }
    scheduler.run(&mut tasks, beyond, |_| false);
    let mut audit = || {
        let find = |run: &RunId| world.backend().run_find(*run).ok().flatten();
        let auditor = fleet::auditor(&world, runs.iter().filter_map(find).collect());
        let until = scheduler.now() + Duration::from_secs(60);
        if !scheduler.run(&mut tasks, until, |now| now.is_dead(auditor)) {
            wrong.push("the last comparison did not end".to_owned());
        }
    };
    audit();
    if world.has_deciders() {
        world.decide_at_last();
        audit();
    }

    let ended = world.backend().ended();
    wrong.extend(judge::books(scenario, &ended, None));
    judge::journal(scenario, &ended, &world.rails(), &mut wrong);
    let mut slandered = world.rails().mistreated.clone();
    slandered.extend(world.files(|files| files.forged.clone()));
    judge::ends(&ended, &slandered, &mut wrong);
    wrong.extend(world.all_broken());
    Story {
        seed,
        wrong,
        text: scheduler.story(),
        fingerprint: scheduler.fingerprint(),
        ended,
        peace: ended_at.saturating_sub(peace_at),
        events: scheduler.events(),
    }
}

/// Fate: starts what has to run, takes the place of cron, of the supervisor and of the operator, and says when
/// everything has ended.
async fn direct(world: World, scenario: Scenario, peace_at: Duration, has_ended: Arc<Mutex<Option<Vec<RunId>>>>) {
    let scheduler = world.scheduler.clone();
    let count = 2 + scheduler.below(2) as usize;
    let mut cast = Cast {
        workers: (0..count).map(|n| fleet::worker(&world, n)).collect(),
        hired: count,
        coordinator: None,
        reconciler: fleet::reconciler(&world),
        operator: others::operator(&world),
        clerk: people::clerk(&world),
    };
    let second_at = scheduler.millis(500, 8_000);
    let night_at = scheduler.chance(100).then(|| scheduler.millis(500, 6_000));
    // The rail may go on between a verdict and the next run.
    let comes_after_verdict = scheduler.chance(300);
    let (mut had_night, mut is_peace, mut had_afterthoughts) = (false, false, false);
    loop {
        scheduler.sleep(scheduler.millis(100, 900)).await;
        let now = scheduler.now();
        if night_at.is_some_and(|at| now >= at) && !had_night && !is_peace {
            had_night = true;
            night(&world, &cast, 11 + scheduler.below(20)).await;
        }
        if comes_after_verdict && !had_afterthoughts && is_judged(&world) {
            had_afterthoughts = true;
            world.afterwards();
            match scheduler.below(3) {
                0 => {}
                1 => scheduler.sleep(scheduler.millis(500, 30_000)).await,
                _ => night(&world, &cast, 1 + scheduler.below(24 * DAYS)).await,
            }
            world.decide_by_lot().await;
        }
        if now >= peace_at && !is_peace {
            is_peace = true;
            world.make_peace();
        }
        supervise(&world, &mut cast);
        if !is_peace {
            terminate(&world, &cast);
        }
        let is_time = if comes_after_verdict { had_afterthoughts } else { now >= second_at || is_peace };
        trigger(&world, &scenario, &mut cast, if is_time { 2 } else { 1 });
        if is_peace && let Some(runs) = all_ended(&world, &scenario) {
            for process in
                cast.workers.iter().map(|(process, _)| *process).chain([cast.reconciler, cast.operator, cast.clerk])
            {
                scheduler.kill(process);
            }
            *has_ended.lock().unwrap() = Some(runs);
            scheduler.never().await;
        }
    }
}

/// Everything is stopped for longer than half of a key's day, perhaps longer than the day.
async fn night(world: &World, cast: &Cast, hours: u64) {
    world.scheduler.note(|| format!("a night of {hours} hours"));
    let night = Duration::from_secs(hours * 3600);
    let everybody = cast
        .workers
        .iter()
        .map(|(process, _)| *process)
        .chain([cast.reconciler, cast.operator, cast.clerk])
        .chain(cast.coordinator);
    everybody.for_each(|process| world.scheduler.stop(process, night));
    world.scheduler.sleep(night).await;
}

/// What a supervisor does: what has died is started again.
fn supervise(world: &World, cast: &mut Cast) {
    for slot in 0..cast.workers.len() {
        if world.scheduler.is_dead(cast.workers[slot].0) && (world.is_peace() || world.scheduler.chance(600)) {
            cast.workers[slot] = fleet::worker(world, cast.hired);
            cast.hired += 1;
        }
    }
    if world.scheduler.is_dead(cast.reconciler) {
        cast.reconciler = fleet::reconciler(world);
    }
    if world.scheduler.is_dead(cast.operator) && !world.is_peace() {
        cast.operator = others::operator(world);
    }
    if world.scheduler.is_dead(cast.clerk) && !world.is_peace() {
        cast.clerk = people::clerk(world);
    }
}

/// Stops a worker in good order.
fn terminate(world: &World, cast: &Cast) {
    let scheduler = &world.scheduler;
    if scheduler.chance(15) {
        let (process, shutdown) = &cast.workers[scheduler.below(cast.workers.len() as u64) as usize];
        let name = scheduler.name(*process);
        scheduler.note(|| format!("SIGTERM to {name}"));
        shutdown.request();
    }
}

/// What cron does each minute, here more often.
fn trigger(world: &World, scenario: &Scenario, cast: &mut Cast, months: usize) {
    if cast.coordinator.is_some_and(|process| !world.scheduler.is_dead(process)) && !world.scheduler.chance(300) {
        return;
    }
    for (place, period) in scenario.periods.iter().take(months).enumerate() {
        let run = world_run(world, place);
        let run = world.backend().run_find(run).ok().flatten();
        if run.is_none_or(|run| matches!(run.state, RunState::Planning | RunState::Planned)) {
            cast.coordinator = Some(fleet::coordinator(world, scenario, period));
            return;
        }
    }
}

/// Whether the first run has its verdict, whichever.
fn is_judged(world: &World) -> bool {
    let run = world.backend().run_at(0);
    let row = world.backend().run_find(run).ok().flatten();
    match row.map(|row| row.state) {
        Some(RunState::Reconciled | RunState::Discrepant) => true,
        Some(RunState::Cancelled) => !world.backend().is_open(run),
        _ => false,
    }
}

fn world_run(world: &World, place: usize) -> RunId {
    world.backend().run_at(place)
}

/// The runs, if every one of them has ended.
fn all_ended(world: &World, scenario: &Scenario) -> Option<Vec<RunId>> {
    let runs: Vec<RunId> = (0..scenario.periods.len()).map(|place| world_run(world, place)).collect();
    for run in &runs {
        world.resume(*run);
        let row = world.backend().run_find(*run).ok().flatten()?;
        let is_over = match row.state {
            RunState::Reconciled | RunState::Discrepant => true,
            RunState::Cancelled => !world.backend().is_open(*run),
            _ => false,
        };
        if !is_over {
            return None;
        }
    }
    Some(runs)
}
