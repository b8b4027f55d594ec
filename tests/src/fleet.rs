//! A whole installation for one test: servers, the sandbox rail, and as many workers as the test wants.

mod gateway;
mod sandbox;
mod worker;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;
use std::time::Duration;

use payfleet_domain::invariant::ledger_sums_to_zero;
use sqlx::{PgPool, Row};
use tempfile::TempDir;

pub use gateway::Gateway;
pub use worker::Worker;

use crate::chaos::clock;
use crate::oracle::{self, Verdict};
use crate::process::{Process, free_port};
use crate::servers::{Postgres, Redis};

/// How a fleet is to be.
#[derive(Debug, Clone)]
pub struct FleetOptions {
    /// The rail of method `paypal`, of which sample data has most.
    pub paypal: &'static str,
    /// The rail of method `sepa`.
    pub sepa: &'static str,
    /// Further arguments of the sandbox.
    pub sandbox: Vec<String>,
    /// Payouts in a batch, at most.
    pub batch_size: u32,
    /// Settings of Postgres, as `name=value`.
    pub postgres: &'static [&'static str],
    /// Variables of every program.
    pub variables: &'static [(&'static str, &'static str)],
    /// The database's clock can be put forward, as the rails' can: see [`Fleet::time_passes`].
    pub virtual_time: bool,
}

impl Default for FleetOptions {
    fn default() -> Self {
        FleetOptions {
            paypal: "sandbox-payout",
            sepa: "sandbox-payout",
            sandbox: Vec::new(),
            batch_size: 50,
            postgres: &[],
            variables: &[],
            virtual_time: false,
        }
    }
}

/// An installation. Everything of it ends with it.
pub struct Fleet {
    /// The system of record.
    pub postgres: Postgres,
    /// The wakers.
    pub redis: Redis,
    /// The harness's own eyes in the database.
    pub database: PgPool,
    options: FleetOptions,
    sandbox: Option<Process>,
    sandbox_port: u16,
    folder: TempDir,
    http: reqwest::Client,
    workers_started: usize,
}

/// What the reconciler said.
#[derive(Debug)]
pub struct RunReport {
    /// Its exit code.
    pub code: i32,
    /// What it printed on stdout.
    pub stdout: String,
    /// And on stderr.
    pub stderr: String,
}

/// Where the programs are. `cargo test` does not build binaries of other packages, so they are built here, once for
/// each test process, unless scripts/test has done it and says where: a cargo within a cargo sees another environment,
/// and builds dependencies again for it.
pub(crate) fn bin() -> &'static Path {
    static BIN: OnceLock<PathBuf> = OnceLock::new();
    BIN.get_or_init(|| {
        if let Some(programs) = std::env::var_os("PAYFLEET_TEST_PROGRAMS") {
            return PathBuf::from(programs);
        }
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut build = Command::new(cargo);
        build.current_dir(root).args(["build", "--quiet", "--workspace", "--bins"]);
        if !cfg!(debug_assertions) {
            build.arg("--release");
        }
        assert!(build.status().expect("cargo runs").success(), "the programs do not build");
        // target/PROFILE/deps/TEST
        let test = std::env::current_exe().expect("a test has a path");
        test.parent().and_then(Path::parent).expect("target/PROFILE").to_owned()
    })
}

impl Fleet {
    /// Servers up, schema there, sandbox up; no data, no workers.
    pub async fn start(options: FleetOptions) -> Fleet {
        bin();
        let postgres = Postgres::start_in(&std::env::temp_dir(), options.postgres).await;
        let redis = Redis::start().await;
        // Connections of a killed server are found dead before they are used.
        let database = sqlx::postgres::PgPoolOptions::new().max_connections(4).test_before_acquire(true);
        let database = database.connect_lazy(&postgres.url("payfleet")).expect("a valid URL");
        let mut fleet = Fleet {
            postgres,
            redis,
            database,
            options,
            sandbox: None,
            sandbox_port: free_port(),
            folder: tempfile::Builder::new().prefix("payfleet-test-").tempdir().expect("a temporary folder"),
            http: crate::http_client().build().expect("a client"),
            workers_started: 0,
        };
        fleet.sandbox_start().await;
        let is_virtual = std::mem::take(&mut fleet.options.virtual_time);
        fleet.must(&["migrate"]);
        if is_virtual {
            clock::install(&fleet.database).await;
        }
        fleet.options.virtual_time = is_virtual;
        fleet
    }

    /// A fleet with a tenant `shop` that has this many affiliates with money due for 2026-01, one plain commission
    /// each.
    pub async fn with_payouts(options: FleetOptions, affiliates: u32) -> Fleet {
        let fleet = Fleet::start(options).await;
        fleet.must(&[
            "sample",
            "--plain",
            "--affiliates",
            &affiliates.to_string(),
            "--start",
            "2026-01",
            "--tenant",
            "shop",
        ]);
        fleet.rails_set("shop");
        fleet
    }

    /// Says which rails a tenant uses.
    pub fn rails_set(&self, tenant: &str) {
        for (method, rail) in [("paypal", self.options.paypal), ("sepa", self.options.sepa)] {
            self.must(&["rails", "set", "--tenant", tenant, "--method", method, "--rail", rail, "--account", tenant]);
        }
    }

    /// A folder for a test's files.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The folder for what must outlive a worker; all of them share it.
    pub fn state_dir(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    fn database_url(&self) -> String {
        match self.options.virtual_time {
            true => clock::url(self.postgres.address()),
            false => self.postgres.url("payfleet"),
        }
    }

    pub(crate) fn program(&self, name: &str) -> Command {
        let mut command = Command::new(bin().join(name));
        command
            .current_dir(self.folder.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("PAYFLEET_DATABASE_URL", self.database_url())
            .env("PAYFLEET_REDIS_URL", self.redis.url())
            .env("PAYFLEET_SANDBOX_URL", self.sandbox_url())
            .env("PAYFLEET_BATCH_SIZE", self.options.batch_size.to_string())
            .env("PAYFLEET_NULL_RAIL", (self.options.paypal == "null").to_string())
            .env("PAYFLEET_STATE_DIR", self.folder.path().join("state"))
            .env("PAYFLEET_LOG", "info")
            .env("RUST_BACKTRACE", "1")
            .envs(self.options.variables.iter().copied());
        command
    }

    /// A command of the coordinator, not yet started.
    pub fn coordinator_command(&self, arguments: &[&str]) -> Command {
        let mut command = self.program("payfleet-coordinator");
        command.args(arguments);
        command
    }

    /// A run of the reconciler, not yet started.
    pub fn reconciler_command(&self, run: i64) -> Command {
        let mut command = self.program("payfleet-reconciler");
        command.args(["run", &run.to_string()]);
        command
    }

    /// Runs a command of the coordinator to its end.
    pub fn coordinator(&self, arguments: &[&str]) -> Output {
        self.coordinator_command(arguments).output().expect("the coordinator runs")
    }

    /// The same, as whoever has this token.
    pub fn coordinator_as(&self, token: &str, arguments: &[&str]) -> Output {
        self.coordinator_command(arguments).env("PAYFLEET_TOKEN", token).output().expect("the coordinator runs")
    }

    /// Adds two approvers for all tenants, and gives their tokens.
    pub fn approvers(&self) -> [String; 2] {
        let root = self.must(&["people", "add", "root", "--role", "administrator"]);
        ["first", "second"].map(|name| {
            let added = self.coordinator_as(root.trim(), &["people", "add", name, "--role", "approver"]);
            assert!(added.status.success(), "{}", String::from_utf8_lossy(&added.stderr));
            String::from_utf8_lossy(&added.stdout).trim().to_owned()
        })
    }

    /// Runs a command of the coordinator, which must end with 0. Returns what it printed on stdout.
    pub fn must(&self, arguments: &[&str]) -> String {
        let output = self.coordinator(arguments);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "coordinator {arguments:?} ended with {}: {stderr}", output.status);
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Triggers the run of a tenant and period and returns its number.
    pub async fn run(&self, tenant: &str, period: &str) -> i64 {
        self.must(&["run", "--tenant", tenant, "--period", period]);
        self.run_id(tenant, period).await
    }

    /// The number of a run.
    pub async fn run_id(&self, tenant: &str, period: &str) -> i64 {
        sqlx::query_scalar(
            "SELECT r.id FROM run r JOIN tenant t ON t.id = r.tenant_id WHERE t.name = $1 AND r.period = $2",
        )
        .bind(tenant)
        .bind(period)
        .fetch_one(&self.database)
        .await
        .expect("the run is there")
    }

    /// Starts a worker.
    pub fn worker(&mut self, arguments: &[&str]) -> Worker {
        self.worker_armed("", arguments)
    }

    /// Starts a worker with these failpoints.
    pub fn worker_armed(&mut self, failpoints: &str, arguments: &[&str]) -> Worker {
        self.worker_with(&[("PAYFLEET_FAILPOINTS", failpoints)], arguments)
    }

    /// Starts a worker with these variables.
    pub fn worker_with(&mut self, variables: &[(&str, &str)], arguments: &[&str]) -> Worker {
        let (mut command, admin) = self.worker_command(arguments);
        let log = self.folder.path().join(format!("worker-{}.log", self.workers_started));
        command.envs(variables.iter().copied());
        Worker { process: Process::start("payfleet-worker", &mut command, &log), admin, log }
    }

    /// Starts a worker whose log nobody reads.
    pub fn worker_unread(&mut self, arguments: &[&str]) -> Worker {
        let (mut command, admin) = self.worker_command(arguments);
        Worker { process: Process::start_unread("payfleet-worker", &mut command), admin, log: PathBuf::new() }
    }

    fn worker_command(&mut self, arguments: &[&str]) -> (Command, u16) {
        self.workers_started += 1;
        let admin = free_port();
        let mut command = self.program("payfleet-worker");
        // Short waits, so that tests of failures take seconds. Leases and their renewal are as shipped.
        for (option, wait) in [("--backoff-first", "100ms"), ("--backoff-longest", "2s")] {
            if !arguments.contains(&option) {
                command.args([option, wait]);
            }
        }
        command.args(["--admin-listen", &format!("127.0.0.1:{admin}")]).args(arguments);
        (command, admin)
    }

    /// Several workers.
    pub fn workers(&mut self, count: usize) -> Vec<Worker> {
        (0..count).map(|_| self.worker(&[])).collect()
    }

    /// What all workers have logged.
    pub fn worker_logs(&self) -> String {
        let logs = (1..=self.workers_started).map(|n| self.folder.path().join(format!("worker-{n}.log")));
        logs.map(|log| std::fs::read_to_string(log).unwrap_or_default()).collect()
    }

    /// Where a run stands.
    pub async fn state(&self, run: i64) -> String {
        let state = sqlx::query_scalar("SELECT state FROM run WHERE id = $1").bind(run);
        state.fetch_one(&self.database).await.unwrap_or_else(|_| "unreadable".to_owned()) // while Postgres is down
    }

    /// How many payouts stand in each state.
    pub async fn payout_states(&self, run: i64) -> Vec<(String, i64)> {
        let rows =
            sqlx::query("SELECT state, count(*) AS n FROM payout WHERE run_id = $1 GROUP BY state ORDER BY state");
        let rows = rows.bind(run).fetch_all(&self.database).await.unwrap_or_default();
        rows.iter().map(|row| (row.get("state"), row.get("n"))).collect()
    }

    /// Waits until a run is settled.
    pub async fn settled(&self, run: i64, within: Duration) {
        let since = std::time::Instant::now();
        while self.state(run).await != "settled" {
            if since.elapsed() > within {
                panic!("run {run} is {} after {within:?}: {:?}", self.state(run).await, self.payout_states(run).await);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Journal against plan, for all runs there are.
    pub async fn verdict(&self) -> Verdict {
        let runs: Vec<i64> = sqlx::query_scalar("SELECT id FROM run").fetch_all(&self.database).await.expect("runs");
        let mut planned = Vec::new();
        for run in runs {
            planned.extend(oracle::planned(&self.database, run).await);
        }
        oracle::judge(&planned, &self.journal_by_payout().await)
    }

    /// Every planned payout stands in the journal exactly once, and nothing else does.
    pub async fn assert_paid_exactly_once(&self) {
        let verdict = self.verdict().await;
        let perfect = Verdict { planned: verdict.planned, paid_once: verdict.planned, ..Verdict::default() };
        assert!(verdict.planned > 0, "nothing was planned");
        assert_eq!(verdict, perfect);
    }

    /// Nothing was paid twice or wrongly, and what was not paid exactly once is held.
    pub async fn assert_never_twice_and_the_rest_held(&self) -> Verdict {
        let verdict = self.verdict().await;
        assert_eq!((verdict.twice.len(), verdict.wrong.len()), (0, 0), "{verdict:?}");
        assert!(verdict.unpaid.iter().all(|(_, state)| state == "held"), "{verdict:?}");
        verdict
    }

    /// Runs the reconciler.
    pub fn reconcile(&self, run: i64, arguments: &[&str]) -> RunReport {
        RunReport::of(self.reconciler_command(run).args(arguments))
    }

    /// Starts `watch`, which looks several times a second, and says on which port it tells its metrics.
    pub fn watch(&self) -> (Process, u16) {
        let admin = free_port();
        let mut command = self.program("payfleet-reconciler");
        command.args(["watch", "--interval", "200ms", "--admin-listen", &format!("127.0.0.1:{admin}")]);
        (Process::start("payfleet-reconciler", &mut command, &self.folder.path().join("watch.log")), admin)
    }

    /// What a program tells of itself on its admin port; nothing, as long as nobody listens there.
    pub async fn metrics(&self, admin: u16) -> String {
        let Ok(answer) = self.http.get(format!("http://127.0.0.1:{admin}/metrics")).send().await else {
            return String::new();
        };
        answer.text().await.unwrap_or_default()
    }

    /// Lets the reconciler read what a database that is behind does not know.
    pub fn recover(&self, arguments: &[&str]) -> RunReport {
        RunReport::of(self.program("payfleet-reconciler").arg("recover").args(arguments))
    }

    /// Lets the reconciler look once at what is new, as cron does.
    pub fn watch_once(&self) -> RunReport {
        RunReport::of(self.program("payfleet-reconciler").args(["watch", "--once"]))
    }

    /// The reconciler finds nothing, and the ledger sums to zero.
    pub async fn assert_reconciled(&self, run: i64) {
        let report = self.reconcile(run, &[]);
        assert_eq!(report.code, 0, "{}\n{}", report.stdout, report.stderr);
        assert_eq!(self.state(run).await, "reconciled");
        let sums = oracle::ledger_sums(&self.database).await.expect("the ledger can be read");
        assert!(ledger_sums_to_zero(&sums), "the ledger does not sum to zero: {sums:?}");
    }
}

impl RunReport {
    fn of(command: &mut Command) -> RunReport {
        let output = command.output().expect("the reconciler runs");
        RunReport {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Drop for Fleet {
    /// After a failed test, the end of each log says more than the assertion.
    fn drop(&mut self) {
        if std::thread::panicking() {
            let logs = std::fs::read_dir(self.folder.path()).into_iter().flatten().flatten().map(|entry| entry.path());
            for log in logs.filter(|path| path.extension().is_some_and(|extension| extension == "log")) {
                let text = std::fs::read_to_string(&log).unwrap_or_default();
                let tail: Vec<&str> = text.lines().rev().take(15).collect();
                eprintln!("--- end of {}", log.file_name().unwrap_or_default().display());
                tail.iter().rev().for_each(|line| eprintln!("{line}"));
            }
        }
    }
}
