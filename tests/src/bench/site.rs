//! The bench's own servers, and how programs and psql are started against them.

use std::path::Path;
use std::process::{Command, Stdio};

use serde::Serialize;
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use tempfile::TempDir;

use crate::fleet::bin;
use crate::servers::{Postgres, Redis, postgres_bin};

/// Stock, but for what issue and design name, and for counting statements where that is asked for. fsync is on.
const SETTINGS: [&str; 5] = [
    "shared_buffers=1GB",
    "max_wal_size=8GB",
    "max_connections=300",
    "shared_preload_libraries=pg_stat_statements",
    "pg_stat_statements.track=none",
];

/// Servers, and a folder for files.
pub struct Site {
    pub postgres: Postgres,
    pub redis: Redis,
    /// In database `postgres`, so that what is asked through it is not counted as the fleet's.
    pub admin: PgPool,
    pub http: reqwest::Client,
    folder: TempDir,
}

/// Where figures were measured.
#[derive(Debug, Clone, Serialize)]
pub struct Machine {
    pub processor: String,
    pub cores: usize,
    pub memory_mib: u64,
    pub postgres: String,
}

impl Site {
    /// Servers up, no data.
    pub async fn start() -> Site {
        let postgres = Postgres::start_in(&std::env::temp_dir(), &SETTINGS).await;
        let admin = PgPoolOptions::new().max_connections(2).connect(&postgres.url("postgres")).await;
        let admin = admin.expect("Postgres answers");
        sqlx::query("CREATE EXTENSION pg_stat_statements").execute(&admin).await.expect("contrib is installed");
        Site {
            postgres,
            redis: Redis::start().await,
            admin,
            http: crate::http_client().build().expect("a client"),
            folder: tempfile::Builder::new().prefix("payfleet-bench-").tempdir().expect("a temporary folder"),
        }
    }

    /// For files and logs.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// One of our programs, with this database, not yet started. Every other option is as shipped.
    pub fn program(&self, name: &str, database: &str) -> Command {
        let mut command = Command::new(bin().join(name));
        command
            .current_dir(self.folder())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("PAYFLEET_DATABASE_URL", self.postgres.url(database))
            .env("PAYFLEET_NULL_RAIL", "true")
            .env("PAYFLEET_STATE_DIR", self.folder().join("state"))
            .env("PAYFLEET_REDIS_URL", self.redis.url());
        command
    }

    /// What programs remember of a database outside of it: one that was emptied would be taken for one that lost what
    /// it had confirmed.
    pub fn forget(&self) {
        let state = self.folder().join("state");
        if state.exists() {
            std::fs::remove_dir_all(state).expect("nobody works");
        }
    }

    /// Runs a command of the coordinator, which must end well.
    pub async fn coordinator(&self, database: &str, arguments: &[&str]) -> String {
        let mut command = self.program("payfleet-coordinator", database);
        command.args(arguments);
        output("the coordinator", command).await
    }

    /// A session of the bench's own in a database. It stays, so that what it asks is not counted when counting begins
    /// later.
    pub async fn open(&self, database: &str) -> PgPool {
        let options = PgPoolOptions::new().max_connections(1).idle_timeout(None).max_lifetime(None);
        options.connect(&self.postgres.url(database)).await.expect("the database answers")
    }

    /// Runs statements in a database, each by itself unless the text says BEGIN.
    pub async fn execute(&self, database: &str, statements: &str) {
        self.psql(database, statements, &[]).await;
    }

    /// Runs a script in a psql session of its own and returns the lines that it printed.
    pub async fn psql(&self, database: &str, script: &str, variables: &[(&str, String)]) -> Vec<String> {
        let file = tempfile::Builder::new().suffix(".sql").tempfile_in(self.folder()).expect("a temporary file");
        std::fs::write(file.path(), script).expect("the script can be written");
        let mut command = Command::new(postgres_bin().join("psql"));
        command
            .current_dir(self.folder())
            .args(["-XqAt", "-v", "ON_ERROR_STOP=1", "-d", &self.postgres.url(database), "-f"])
            .arg(file.path());
        for (name, value) in variables {
            command.arg("-v").arg(format!("{name}={value}"));
        }
        let printed = output("psql", command).await;
        printed.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
    }

    /// Bytes of write-ahead log so far.
    pub async fn wal_bytes(&self) -> i64 {
        let bytes = sqlx::query_scalar("SELECT (pg_current_wal_lsn() - '0/0')::bigint").fetch_one(&self.admin);
        bytes.await.expect("the position can be read")
    }

    /// What this is measured on.
    pub async fn machine(&self) -> Machine {
        let line = |file: &str, name: &str| {
            let text = std::fs::read_to_string(file).unwrap_or_default();
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.split_once(':'));
            line.map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
        };
        let version: String =
            sqlx::query_scalar("SHOW server_version").fetch_one(&self.admin).await.expect("it has a version");
        Machine {
            processor: line("/proc/cpuinfo", "model name"),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_mib: line("/proc/meminfo", "MemTotal").trim_end_matches(" kB").parse().unwrap_or(0) / 1024,
            postgres: version,
        }
    }
}

/// What a command printed; it must end well.
async fn output(name: &str, command: Command) -> String {
    let mut command = tokio::process::Command::from(command);
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output().await.expect("the program starts");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name} ended with {}: {stderr}", output.status);
    String::from_utf8_lossy(&output.stdout).into_owned()
}
