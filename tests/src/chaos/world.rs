//! The installation: servers, the weather in front of them, and how programs are started in it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use sqlx::PgPool;
use tokio::sync::RwLock;
use tokio::task::JoinSet;

use super::deeds::Deeds;
use super::fleet::Slot;
use super::journal::Journal;
use super::recovery::Outages;
use super::stops::Stops;
use super::table::Table;
use super::{ChaosOptions, clock};
use crate::disk::Disk;
use crate::fleet::bin;
use crate::process::{Process, free_port, wait_for};
use crate::proxy::Proxy;
use crate::servers::{Postgres, Redis};

/// What everybody sees.
pub struct World {
    pub options: ChaosOptions,
    /// Counts and figures.
    pub table: Table,
    /// When servers that lease and hint were not themselves.
    pub outages: Outages,
    /// When the way to the rail or the database's clock was not itself, so that it is not known when a call began.
    pub blurred: Outages,
    /// What the rail really did.
    pub journal: Journal,
    /// What nobody may hold against the fleet.
    pub deeds: Deeds,
    /// Runs that operators have stopped.
    pub stops: Stops,
    /// The harness's own eyes in the database, past all weather.
    pub database: PgPool,
    pub http: reqwest::Client,
    /// The way to Postgres.
    pub to_postgres: Proxy,
    /// The way to Redis.
    pub to_redis: Proxy,
    /// The way to the rail.
    pub to_rail: Proxy,
    /// The rail itself.
    pub rail: SocketAddr,
    /// The workers there are.
    pub workers: Mutex<Vec<Slot>>,
    /// Whoever measures something that kills and pauses would disturb holds them up for a moment.
    pub calm: RwLock<()>,
    /// Stop-watches that still run.
    pub watches: Mutex<JoinSet<()>>,
    /// By which somebody answers for alarms.
    pub token: OnceLock<String>,
    folder: PathBuf,
    started: AtomicUsize,
}

/// What may crash, each part with the one who crashes it.
pub struct Servers {
    pub rail: Rail,
    pub data: Data,
}

/// Postgres and two Redis, the second of which copies the first.
pub struct Data {
    pub postgres: Postgres,
    pub redis: [Redis; 2],
    /// How far the database's clock is ahead.
    pub ahead_ms: i64,
    /// After Postgres, which lives on it.
    pub disk: Option<Disk>,
}

/// The sandbox.
pub struct Rail {
    process: Option<Process>,
    address: SocketAddr,
    folder: PathBuf,
}

/// How a command ended.
pub struct Said {
    /// `None` if it was killed.
    pub code: Option<i32>,
    /// What it said, on both streams.
    pub text: String,
    what: String,
}

/// Longer than a lease, and than any outage: who has not ended by then is stuck.
/// Enough for hours of runs.
const DISK_MIB: u32 = 1_536;

const PATIENCE: Duration = Duration::from_secs(90);

/// What the rail does when nothing else is said.
pub const USUAL: &str = r#"{"latency_ms": 80, "latency_jitter_ms": 80, "lose_answer": 0.02}"#;

impl Rail {
    /// Starts it (again), with what its journal says.
    pub async fn start(&mut self, world: &World) {
        self.begin(&world.http).await;
        world.stops.latency_of(USUAL);
    }

    async fn begin(&mut self, http: &reqwest::Client) {
        self.kill();
        let mut command = Command::new(bin().join("payfleet-sandbox"));
        command.args(["--listen", &self.address.to_string(), "--data-dir"]).arg(self.folder.join("sandbox"));
        command.args(["--statement-after", "0s", "--batch-settle-after", "300ms", "--faults", USUAL]);
        self.process = Some(Process::start("payfleet-sandbox", &mut command, &self.folder.join("sandbox.log")));
        let url = format!("http://{}/healthz", self.address);
        wait_for("the sandbox", Duration::from_secs(60), async || http.get(&url).send().await.ok()).await;
    }

    /// kill -9.
    pub fn kill(&mut self) {
        self.process = None;
    }
}

impl World {
    /// Everything up, the schema there, no data and no workers.
    pub async fn start(options: ChaosOptions) -> (Arc<World>, Servers) {
        bin();
        let folder = tempfile::Builder::new().prefix("payfleet-chaos-").tempdir().expect("a temporary folder").keep();
        let table = Table::default();
        let disk = Disk::mount(DISK_MIB);
        if disk.is_none() {
            table.note("nothing may be mounted here, so no disk was full".to_owned());
        }
        let place = disk.as_ref().map_or_else(std::env::temp_dir, |disk| disk.path().to_owned());
        let settings = ["max_connections=150", "max_wal_size=192MB", "min_wal_size=32MB", "log_min_messages=fatal"];
        let postgres = Postgres::start_in(&place, &settings).await;
        let redis = [Redis::start().await, Redis::start().await];
        redis[1].replicate(Some(&redis[0])).await;
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let http = crate::http_client().timeout(Duration::from_secs(60)).build().expect("a client");
        let mut rail = Rail { process: None, address, folder: folder.clone() };
        rail.begin(&http).await;

        let world = World {
            options,
            table,
            outages: Outages::default(),
            blurred: Outages::default(),
            journal: Journal::of(&folder.join("sandbox")),
            deeds: Deeds::default(),
            stops: Stops::default(),
            database: clock::connect(postgres.address()),
            http,
            to_postgres: Proxy::start(postgres.address()).await,
            to_redis: Proxy::start(redis[0].address()).await,
            to_rail: Proxy::start(address).await,
            rail: address,
            workers: Mutex::default(),
            calm: RwLock::new(()),
            watches: Mutex::default(),
            folder,
            started: AtomicUsize::new(0),
            token: OnceLock::new(),
        };
        let migrated = world
            .program("payfleet-coordinator")
            .env("PAYFLEET_DATABASE_URL", postgres.url("payfleet"))
            .arg("migrate")
            .output();
        let migrated = migrated.expect("the coordinator runs");
        assert!(migrated.status.success(), "migrate: {}", String::from_utf8_lossy(&migrated.stderr));
        clock::install(&world.database).await;
        world.stops.latency_of(USUAL);
        (Arc::new(world), Servers { rail, data: Data { postgres, redis, ahead_ms: 0, disk } })
    }

    /// Where logs and the journal are.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A program that sees everything through the weather.
    pub fn program(&self, name: &str) -> Command {
        let mut command = Command::new(bin().join(name));
        command
            .current_dir(&self.folder)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("PAYFLEET_DATABASE_URL", clock::url(self.to_postgres.address()))
            .env("PAYFLEET_REDIS_URL", format!("redis://{}/", self.to_redis.address()))
            .env("PAYFLEET_SANDBOX_URL", format!("http://{}", self.to_rail.address()))
            .env("PAYFLEET_STATE_DIR", self.folder.join("state"))
            .env("PAYFLEET_BATCH_SIZE", "40")
            .env("PAYFLEET_LOG", "info")
            .env("RUST_BACKTRACE", "1");
        command
    }

    /// Starts a program with these arguments; its log has its name and number.
    pub fn start_program(&self, name: &str, arguments: &[&str]) -> Process {
        Process::start(name, self.program(name).args(arguments), &self.log(name))
    }

    fn log(&self, name: &str) -> PathBuf {
        let number = self.started.fetch_add(1, Ordering::Relaxed) + 1;
        self.folder.join(format!("{number:05}-{name}.log"))
    }

    /// Lets somebody with this token run a command to its end, or kills it after so long.
    pub async fn say(&self, name: &str, token: Option<&str>, arguments: &[&str], lives: Option<Duration>) -> Said {
        let log = self.log(name);
        let mut command = self.program(name);
        command.args(arguments);
        if let Some(token) = token {
            command.env("PAYFLEET_TOKEN", token);
        }
        let mut process = Process::start(name, &mut command, &log);
        let status = process.ends_within(lives.unwrap_or(PATIENCE)).await;
        process.kill();
        let what = format!("{} {name} {arguments:?}", process.id());
        if status.is_none() && lives.is_none() {
            self.table.broken(format!("{what} did not end within {PATIENCE:?}"));
        }
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        Said { code: status.and_then(|status| status.code()), text, what }
    }

    /// It must have ended with one of these, if it was not killed.
    pub fn expect(&self, said: &Said, codes: &[i32]) {
        if let Some(code) = said.code.filter(|code| !codes.contains(code)) {
            self.table.broken(format!("{} ended with {code}, not with one of {codes:?}: {}", said.what, said.text));
        }
    }

    /// Sets the sandbox's faults. Returns whether it took them.
    pub async fn misbehave(&self, faults: &str) -> bool {
        self.stops.latency_of(faults);
        let request = self.http.put(format!("http://{}/faults", self.rail)).header("content-type", "application/json");
        let answer = request.body(faults.to_owned()).send().await;
        answer.is_ok_and(|answer| answer.status().is_success())
    }
}
