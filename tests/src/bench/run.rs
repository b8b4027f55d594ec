//! One run of the fleet, watched from outside: how long, and what it used.

use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::Serialize;
use sqlx::{PgPool, Row};

use super::data::{Data, TENANT};
use super::limit::{Seconds, limit, reference};
use super::site::Site;
use super::usage::{Peaks, cpu_secs, cpu_secs_of_family, has_ended};
use crate::process::{Process, free_port, wait_for};

/// How often processes are looked at.
const LOOK: Duration = Duration::from_millis(10);

/// Longer than any run should take.
const PATIENCE: Duration = Duration::from_secs(3600);

/// A worker process.
pub struct Worker {
    pub process: Process,
    pub admin: u16,
}

/// Starts workers and waits until they are ready.
pub async fn workers_start(site: &Site, database: &str, count: usize, arguments: &[&str]) -> Vec<Worker> {
    let mut workers = Vec::new();
    for _ in 0..count {
        let admin = free_port();
        let mut command = site.program("payfleet-worker", database);
        command.args(["--admin-listen", &format!("127.0.0.1:{admin}")]).args(arguments);
        let log = site.folder().join("workers.log");
        workers.push(Worker { process: Process::start("payfleet-worker", &mut command, &log), admin });
    }
    for worker in &workers {
        let url = format!("http://127.0.0.1:{}/readyz", worker.admin);
        wait_for("a worker to be ready", Duration::from_secs(30), async || {
            site.http.get(&url).send().await.ok().filter(|answer| answer.status().is_success())
        })
        .await;
    }
    workers
}

/// A run that was triggered and goes on.
pub struct Trigger {
    process: Process,
    /// Seconds since 1970, before the coordinator was started.
    at: f64,
}

/// Triggers a run; the coordinator waits for its end.
pub fn trigger(site: &Site, database: &str, tenant: &str, period: &str) -> Trigger {
    let mut command = site.program("payfleet-coordinator", database);
    command.args(["run", "--wait", "--minimum", "0.01", "--tenant", tenant, "--period", period]);
    let at = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970").as_secs_f64();
    Trigger {
        process: Process::start("payfleet-coordinator", &mut command, &site.folder().join("coordinator.log")),
        at,
    }
}

/// What a process used.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Used {
    pub cpu_secs: f64,
    pub peak_kib: u64,
}

/// What a run took and used.
#[derive(Debug, Clone, Serialize)]
pub struct Taken {
    pub run: i64,
    pub payouts: u64,
    /// Trigger to planned, planned to settled.
    pub seconds: Seconds,
    pub coordinator: Used,
    pub workers: Vec<Used>,
    pub postgres_cpu_secs: f64,
    pub redis_cpu_secs: f64,
    pub wal_bytes: i64,
}

impl Taken {
    /// Microseconds of each payout.
    pub fn micros_each(&self) -> f64 {
        self.seconds.total() * 1e6 / self.payouts as f64
    }

    /// The most memory that any of its processes had, in KiB.
    pub fn peak_kib(&self) -> u64 {
        self.workers.iter().chain([&self.coordinator]).map(|used| used.peak_kib).max().unwrap_or(0)
    }
}

/// What a program took that ended by itself.
pub struct Watched {
    pub secs: f64,
    pub used: Used,
}

/// Runs a program to its end, which must be a good one.
pub async fn watch(site: &Site, name: &str, mut command: Command) -> Watched {
    let log = site.folder().join(format!("{name}.log"));
    let since = Instant::now();
    let mut process = Process::start(name, &mut command, &log);
    let mut peaks = Peaks::default();
    while !has_ended(process.id()) {
        peaks.look(process.id());
        tokio::time::sleep(LOOK).await;
    }
    let secs = since.elapsed().as_secs_f64();
    let used = Used { cpu_secs: cpu_secs(process.id()), peak_kib: peaks.of(process.id()) };
    let status = process.wait(PATIENCE);
    assert!(status.success(), "{name} ended with {status}: {}", std::fs::read_to_string(log).unwrap_or_default());
    Watched { secs, used }
}

/// Triggers the run of this data and watches it to its end. `meanwhile` is called again and again, and may do to the
/// workers what it likes.
pub async fn take(
    site: &Site,
    data: &Data,
    workers: &mut Vec<Worker>,
    mut meanwhile: impl AsyncFnMut(&mut Vec<Worker>),
) -> Taken {
    let pids: Vec<u32> = workers.iter().map(|worker| worker.process.id()).collect();
    let servers = || (cpu_secs_of_family(site.postgres.id()), cpu_secs_of_family(site.redis.id()));
    let wal = site.wal_bytes().await;
    let (before, servers_before) = (pids.iter().map(|pid| cpu_secs(*pid)).collect::<Vec<_>>(), servers());
    let mut trigger = trigger(site, &data.database, TENANT, &data.period);
    let coordinator = trigger.process.id();
    let mut peaks = Peaks::default();
    let mut spent = before.clone();
    let look = |peaks: &mut Peaks, spent: &mut Vec<f64>| {
        for (pid, spent) in pids.iter().zip(spent) {
            peaks.look(*pid);
            *spent = cpu_secs(*pid).max(*spent);
        }
    };
    let since = Instant::now();
    while !has_ended(coordinator) {
        peaks.look(coordinator);
        look(&mut peaks, &mut spent);
        meanwhile(workers).await;
        assert!(since.elapsed() < PATIENCE, "a run goes on for more than {PATIENCE:?}");
        tokio::time::sleep(LOOK).await;
    }
    look(&mut peaks, &mut spent);
    let coordinator = Used { cpu_secs: cpu_secs(coordinator), peak_kib: peaks.of(coordinator) };
    let servers = servers();
    let (run, seconds) = settled(site, &data.pool, &mut trigger, TENANT, &data.period).await;
    let taken = Taken {
        run,
        payouts: data.payouts,
        seconds,
        coordinator,
        workers: (0..pids.len())
            .map(|n| Used { cpu_secs: spent[n] - before[n], peak_kib: peaks.of(pids[n]) })
            .collect(),
        postgres_cpu_secs: servers.0 - servers_before.0,
        redis_cpu_secs: servers.1 - servers_before.1,
        wal_bytes: site.wal_bytes().await - wal,
    };
    check(&data.pool, run, data.payouts).await;
    taken
}

/// Waits for the end of a run that was triggered; the result is its number, and its times from the trigger.
pub async fn settled(site: &Site, pool: &PgPool, trigger: &mut Trigger, tenant: &str, period: &str) -> (i64, Seconds) {
    let (status, _) = trigger.process.wait_and_watch().await;
    let log = || std::fs::read_to_string(site.folder().join("coordinator.log")).unwrap_or_default();
    assert!(status.success(), "the coordinator ended with {status}: {}", log());
    let row = sqlx::query(
        "SELECT r.id, r.state, extract(epoch FROM r.planned_at)::float8 AS planned,
           extract(epoch FROM r.settled_at)::float8 AS settled
           FROM run r JOIN tenant t ON t.id = r.tenant_id WHERE t.name = $1 AND r.period = $2",
    );
    let row = row.bind(tenant).bind(period).fetch_one(pool).await.expect("the run is there");
    assert_eq!(row.get::<String, _>("state"), "settled");
    let (planned, settled): (f64, f64) = (row.get("planned"), row.get("settled"));
    (row.get("id"), Seconds { plan: planned - trigger.at, settle: settled - planned })
}

/// Everybody is paid, once, and the ledger says the same.
pub async fn check(pool: &PgPool, run: i64, payouts: u64) {
    let counts: (i64, i64, i64) = sqlx::query_as(
        "SELECT (SELECT count(*) FROM payout WHERE run_id = $1 AND state = 'paid'),
                (SELECT count(*) FROM transfer WHERE kind = 0 AND payout_id >= $1 << 32 AND payout_id < ($1 + 1) << 32),
                (SELECT count(*) FROM transfer WHERE kind = 2 AND payout_id >= $1 << 32
                  AND payout_id < ($1 + 1) << 32)",
    )
    .bind(run)
    .fetch_one(pool)
    .await
    .expect("payouts can be counted");
    let expected = payouts.cast_signed();
    assert_eq!(counts, (expected, expected, expected), "run {run}: paid, reserved, settled are not the planned ones");
    let sums: (bool, bool) = sqlx::query_as(
        "SELECT (SELECT sum(amount_minor) FROM payout WHERE run_id = $1)
                = (SELECT sum(amount_minor) FROM transfer WHERE kind = 2 AND payout_id >= $1 << 32
                  AND payout_id < ($1 + 1) << 32),
                (SELECT sum(amount_minor) FROM payout WHERE run_id = $1)
                = (SELECT sum(amount_minor) FROM run_plan WHERE run_id = $1 AND verdict = 'pay')",
    )
    .bind(run)
    .fetch_one(pool)
    .await
    .expect("amounts can be summed");
    assert_eq!(sums, (true, true), "run {run}: the sums of plan, payouts and ledger differ");
}

/// A run with what it is measured against.
#[derive(Debug, Clone, Serialize)]
pub struct Measured {
    pub label: String,
    #[serde(flatten)]
    pub taken: Taken,
    /// Before and after.
    pub limit: [Seconds; 2],
    pub reference: Option<[Seconds; 2]>,
}

fn mean(of: [Seconds; 2]) -> f64 {
    f64::midpoint(of[0].total(), of[1].total())
}

impl Measured {
    /// The run's seconds in limits.
    pub fn ratio(&self) -> f64 {
        self.taken.seconds.total() / self.limit_secs()
    }

    /// The limit's seconds, the mean of before and after.
    pub fn limit_secs(&self) -> f64 {
        mean(self.limit)
    }

    /// The same for the reference.
    pub fn reference_secs(&self) -> Option<f64> {
        self.reference.map(mean)
    }
}

/// How a run is measured.
#[derive(Debug, Clone, Copy)]
pub struct Plan<'a> {
    pub label: &'a str,
    pub workers: usize,
    /// Whether the reference is timed as well.
    pub reference: bool,
}

/// Measures one run, right between two looks at the limit.
pub async fn measure(site: &Site, data: &Data, plan: Plan<'_>) -> Measured {
    let mut references = Vec::new();
    if plan.reference {
        references.push(reference(site, data).await);
    }
    let before = limit(site, data).await;
    data.reset(site).await;
    let mut workers = workers_start(site, &data.database, plan.workers, &[]).await;
    let taken = take(site, data, &mut workers, async |_| ()).await;
    drop(workers);
    let after = limit(site, data).await;
    if plan.reference {
        references.push(reference(site, data).await);
    }
    data.reset(site).await;
    let reference = references.try_into().ok();
    Measured { label: plan.label.to_owned(), taken, limit: [before, after], reference }
}
