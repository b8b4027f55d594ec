//! The programs of the fleet as processes of the simulator: the same decisions, with the loops around them that a
//! process has.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use clap::Parser;
use payfleet_coordinator::PlanArgs;
use payfleet_coordinator::plan::{OnPause, complete};
use payfleet_domain::Rail;
use payfleet_rails::{Adapter, Registry};
use payfleet_reconciler::{Ended, Rails, account_fetch, judge, reconcile_once};
use payfleet_runtime::shutdown::Shutdown;
use payfleet_store::{AccountRead, Compared, NewRun, RunRow};
use payfleet_worker::ports::{Clock, Moment, SystemOfRecord};
use payfleet_worker::sweep::Windows;
use payfleet_worker::{Options, Worker, leases};
use rust_decimal::Decimal;
use time::OffsetDateTime;
use tokio::sync::Semaphore;

use crate::EPOCH;
use crate::backend::Scenario;
use crate::queue::SimHints;
use crate::rail::SimAdapter;
use crate::record::{SimRecord, SimSession};
use crate::scheduler::ProcessId;
use crate::world::{LEASE_TTL, World};

/// Batches in flight in one worker.
const CONCURRENCY: usize = 2;

pub const RAILS: [&str; 4] = ["sandbox-payout", "sandbox-batch", "sandbox-lookup", "sandbox-file"];

struct SimClock(World);

#[async_trait]
impl Clock for SimClock {
    fn now(&self) -> Moment {
        Moment::since_boot(self.0.scheduler.now())
    }

    fn wall(&self) -> OffsetDateTime {
        EPOCH + self.0.scheduler.now()
    }

    async fn sleep(&self, wait: Duration) {
        self.0.scheduler.sleep(wait).await;
    }

    fn jitter(&self) -> f64 {
        self.0.scheduler.below(1_000) as f64 / 1_000.0
    }
}

fn registry(world: &World, process: ProcessId) -> Registry {
    let adapters = RAILS.into_iter().filter_map(|name| Rail::named(name).ok());
    Registry::of(
        adapters.map(|rail| Arc::new(SimAdapter { world: world.clone(), process, rail }) as Arc<dyn Adapter>).collect(),
    )
}

fn options() -> Options {
    static OPTIONS: OnceLock<Options> = OnceLock::new();
    let ttl = format!("{}ms", LEASE_TTL.as_millis());
    let parse = || {
        Options::try_parse_from([
            "payfleet-worker",
            "--lease-ttl",
            &ttl,
            "--backoff-first",
            "100ms",
            "--backoff-longest",
            "2s",
        ])
        .expect("a command line")
    };
    OPTIONS.get_or_init(parse).clone()
}

/// Starts a worker. The result asks it to stop, as SIGTERM does.
pub fn worker(world: &World, number: usize) -> (ProcessId, Shutdown) {
    let scheduler = &world.scheduler;
    let process = scheduler.process(&format!("worker-{number}"));
    let shutdown = Shutdown::manual();
    let hints = SimHints { world: world.clone(), process };
    let worker = Arc::new(Worker::new(
        format!("worker-{number}"),
        options(),
        Arc::new(SimRecord { world: world.clone(), process }),
        Arc::new(hints.clone()),
        registry(world, process),
        Arc::new(SimClock(world.clone())),
        shutdown.clone(),
    ));
    scheduler.spawn(process, leases::renew(worker.clone()));
    scheduler.spawn(process, leases::watch_stops(worker.clone()));
    // Every worker sweeps, as if the lock did not keep the others from it: sweeping twice must be harmless too.
    scheduler.spawn(process, {
        let (world, worker, shutdown) = (world.clone(), worker.clone(), shutdown.clone());
        async move {
            let mut windows = Windows::new();
            while !shutdown.is_requested() {
                if let Err(error) = worker.sweep_once(&mut windows).await
                    && !error.is_outage()
                {
                    world.broken(format!("sweep: {error}"));
                }
                world.scheduler.sleep(world.scheduler.millis(700, 3_000)).await;
            }
        }
    });
    scheduler.spawn(process, {
        let (world, worker, shutdown) = (world.clone(), worker.clone(), shutdown.clone());
        async move {
            let places = Arc::new(Semaphore::new(CONCURRENCY));
            let mut turn = 0_u64;
            while !shutdown.is_requested() {
                turn += 1;
                let free = places.available_permits();
                let given = match turn.is_multiple_of(4) {
                    _ if free == 0 => Ok(Vec::new()),
                    true => {
                        let rail = RAILS[world.scheduler.below(4) as usize];
                        hints.claim_forgotten(rail, LEASE_TTL, free).await
                    }
                    false => hints.read(&RAILS, free).await,
                };
                let given = given.unwrap_or_default();
                let wait = if given.is_empty() { world.scheduler.millis(100, 800) } else { Duration::ZERO };
                for delivery in given {
                    let Ok(place) = places.clone().acquire_owned().await else { return };
                    let worker = worker.clone();
                    world.scheduler.spawn(process, async move {
                        worker.take(delivery).await;
                        drop(place);
                    });
                }
                world.scheduler.sleep(wait).await;
            }
            // The drain: what is in flight goes on for a while, then the process ends.
            world.scheduler.sleep(Duration::from_secs(5)).await;
            world.scheduler.kill(process);
        }
    });
    (process, shutdown)
}

/// Starts a coordinator for one period, as cron does.
pub fn coordinator(world: &World, scenario: &Scenario, period: &'static str) -> ProcessId {
    let process = world.scheduler.process("coordinator");
    let (record, hints) = (SimRecord { world: world.clone(), process }, SimHints { world: world.clone(), process });
    let args = PlanArgs { chunk: scenario.chunk, batch_size: scenario.batch_size, connections: 1 };
    let tenant = world.backend().tenant();
    let world = world.clone();
    world.scheduler.clone().spawn(process, async move {
        let minimum = Decimal::ONE;
        let period = period.parse().expect("a period of the scenario");
        let Ok((run, _)) = record.run_create(NewRun { tenant, period, sequence: 1, minimum }).await else { return };
        if run.state == payfleet_domain::RunState::Planning
            && complete(&record, run.id, args, OnPause::Stop).await.is_err()
        {
            return;
        }
        let begun = SystemOfRecord::runs_begin(&record).await;
        if begun.is_ok() {
            // Whatever goes wrong here, the sweeper will do it.
            let _ =
                payfleet_coordinator::hints::publish(&record, &hints as &dyn payfleet_coordinator::ports::Hints).await;
        }
    });
    process
}

/// Starts a reconciler that reads on in the statements of all accounts, and judges the runs of which there is news.
pub fn reconciler(world: &World) -> ProcessId {
    let process = world.scheduler.process("reconciler");
    let record = SimRecord { world: world.clone(), process };
    let world = world.clone();
    world.scheduler.clone().spawn(process, async move {
        let (rails, shutdown) = (Rails::of(registry(&world, process)), Shutdown::manual());
        loop {
            world.scheduler.sleep(world.scheduler.millis(2_000, 9_000)).await;
            for account in record.accounts_to_read().await.unwrap_or_default() {
                if let Ok(Some(read)) = account_fetch(&record, &rails, &account, &shutdown).await {
                    contradicted(&world, &read);
                }
            }
            for run in record.runs_to_judge().await.unwrap_or_default() {
                if let Ok(Some(row)) = record.run_find(run).await
                    && let Ok(Some(mut session)) = record.session_open(row).await
                    && let Ok((_, compared, _)) = judge(&mut session, &[], UNKNOWN_AFTER).await
                {
                    found(&world, &compared);
                }
            }
        }
    });
    process
}

/// Longer than any story.
const UNKNOWN_AFTER: Duration = Duration::from_secs(10 * 24 * 3600);

fn contradicted(world: &World, read: &AccountRead) {
    if read.applied.alarms + read.applied.late > 0 && !world.rails().has_misbehaved() {
        world.broken("the statement contradicts the record".to_owned());
    }
}

fn found(world: &World, compared: &Compared) {
    if compared.discrepancies > 0 && !world.may_seem_discrepant() {
        world.broken(format!("the reconciler found {} differences", compared.discrepancies));
    }
}

/// One comparison; what goes wrong on the way is tried again by the next.
pub async fn compare(world: &World, process: ProcessId, mut session: SimSession) -> bool {
    let rails = Rails::of(registry(world, process));
    let (books, shutdown) = (SimRecord { world: world.clone(), process }, Shutdown::manual());
    let compared = reconcile_once(&mut session, &books, &rails, &[], UNKNOWN_AFTER, &shutdown).await;
    let Ok(outcome) = compared else { return false };
    found(world, &outcome.compared);
    contradicted(world, &AccountRead { applied: outcome.applied, ..AccountRead::default() });
    !matches!(outcome.ended, Ended::Uncovered(_))
}

/// Compares every run once more, in peace: what came back after the last comparison is recorded by it.
pub fn auditor(world: &World, runs: Vec<RunRow>) -> ProcessId {
    let process = world.scheduler.process("auditor");
    let record = SimRecord { world: world.clone(), process };
    let world = world.clone();
    world.scheduler.clone().spawn(process, async move {
        for row in runs {
            loop {
                match record.session_open(row.clone()).await {
                    Ok(Some(session)) => {
                        if compare(&world, process, session).await {
                            break;
                        }
                        // The database's clock may still be behind what was recorded before it was set right.
                        world.scheduler.sleep(Duration::from_millis(500)).await;
                    }
                    _ => world.scheduler.sleep(Duration::from_millis(500)).await,
                }
            }
        }
        world.scheduler.kill(process);
    });
    process
}
