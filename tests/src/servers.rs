//! Postgres and Redis of a test's own: on a free port, in a folder that goes with them.

use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use rustix::process::Signal;
use tempfile::TempDir;

use crate::process::{Process, free_port, wait_for};

/// A Postgres cluster. May be killed and started again.
pub struct Postgres {
    process: Option<Process>,
    folder: TempDir,
    port: u16,
    settings: Vec<String>,
}

/// The folder of the newest server's programs; the distributions keep it off the PATH.
pub(crate) fn postgres_bin() -> &'static Path {
    static BIN: OnceLock<PathBuf> = OnceLock::new();
    BIN.get_or_init(|| {
        let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
        let mut found: Vec<(u32, PathBuf)> = versions
            .filter_map(|version| Some((version.file_name().to_str()?.parse().ok()?, version.path().join("bin"))))
            .filter(|(_, bin): &(u32, PathBuf)| bin.join("initdb").exists())
            .collect();
        found.sort();
        found.pop().expect("PostgreSQL is not installed; scripts/test installs it").1
    })
}

/// Postgres refuses to run as root; then it runs as the user that its package made.
fn unprivileged(command: &mut Command) -> &mut Command {
    if let Some((uid, gid)) = postgres_user() {
        command.uid(uid).gid(gid);
    }
    command
}

fn postgres_user() -> Option<(u32, u32)> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let passwd = std::fs::read_to_string("/etc/passwd").expect("/etc/passwd is readable");
    let line = passwd.lines().find(|line| line.starts_with("postgres:")).expect("the package made the user postgres");
    let mut fields = line.split(':').skip(2);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

/// An initialised cluster that the others are copied from: a copy takes a tenth of the time.
fn template() -> &'static TempDir {
    static TEMPLATE: OnceLock<TempDir> = OnceLock::new();
    TEMPLATE.get_or_init(|| {
        let folder = tempfile::Builder::new().prefix("payfleet-pg-template-").tempdir().expect("a temporary folder");
        own(folder.path());
        let status = unprivileged(&mut Command::new(postgres_bin().join("initdb")))
            .args(["--auth=trust", "--username=postgres", "--no-sync", "--encoding=UTF8", "--locale=C", "-D"])
            .arg(folder.path().join("data"))
            .current_dir("/")
            .stdout(std::process::Stdio::null())
            .status()
            .expect("initdb runs");
        assert!(status.success(), "initdb failed");
        folder
    })
}

fn own(path: &Path) {
    if let Some((uid, gid)) = postgres_user() {
        std::os::unix::fs::chown(path, Some(uid), Some(gid)).expect("the folder can be given away");
    }
}

impl Postgres {
    /// A fresh cluster with an empty database `payfleet`.
    pub async fn start() -> Postgres {
        Postgres::start_in(&std::env::temp_dir(), &[]).await
    }

    /// The same with its data somewhere below `place`, and with settings of its own (`name=value`), which win over
    /// ours.
    pub async fn start_in(place: &Path, settings: &[&str]) -> Postgres {
        let folder = tempfile::Builder::new().prefix("payfleet-pg-").tempdir_in(place).expect("a temporary folder");
        own(folder.path());
        let status = unprivileged(&mut Command::new("cp"))
            .arg("-a")
            .arg(template().path().join("data"))
            .arg(folder.path().join("data"))
            .current_dir("/")
            .status()
            .expect("cp runs");
        assert!(status.success(), "the template cluster could not be copied");
        let settings = settings.iter().map(|setting| (*setting).to_owned()).collect();
        let mut postgres = Postgres { process: None, folder, port: free_port(), settings };
        postgres.restart().await;
        let admin = sqlx::PgPool::connect(&postgres.url("postgres")).await.expect("Postgres answers");
        sqlx::query("CREATE DATABASE payfleet").execute(&admin).await.expect("a database can be made");
        admin.close().await;
        postgres
    }

    /// Saves a database as it is now, as an operator's backup does.
    pub fn dump(&self, database: &str, file: &Path) {
        let mut command = Command::new(postgres_bin().join("pg_dump"));
        command.args(["--format=custom", "--file"]).arg(file).arg(format!("--dbname={}", self.url(database)));
        assert!(command.status().expect("pg_dump runs").success(), "pg_dump failed");
    }

    /// Puts a saved database in the place of the one that is there.
    pub async fn restore(&self, database: &str, file: &Path) {
        let admin = sqlx::PgPool::connect(&self.url("postgres")).await.expect("Postgres answers");
        // Under another name first: programs that live write into what is half there.
        let beside = format!("{database}_restored");
        let replace = async |statement: String| {
            sqlx::query(sqlx::AssertSqlSafe(statement)).execute(&admin).await.expect("a database can be replaced");
        };
        replace(format!("CREATE DATABASE {beside}")).await;
        let mut command = Command::new(postgres_bin().join("pg_restore"));
        command.args(["--exit-on-error", &format!("--dbname={}", self.url(&beside))]).arg(file);
        assert!(command.status().expect("pg_restore runs").success(), "pg_restore failed");
        replace(format!("DROP DATABASE {database} WITH (FORCE)")).await;
        replace(format!("ALTER DATABASE {beside} RENAME TO {database}")).await;
        admin.close().await;
    }

    /// A standby that copies it from now on, and without which it confirms nothing any more. The name by which it is
    /// promoted is [`Postgres::promote`].
    pub async fn standby(&self) -> Postgres {
        let folder = tempfile::Builder::new().prefix("payfleet-pg-").tempdir().expect("a temporary folder");
        own(folder.path());
        let port = self.port.to_string();
        let status = unprivileged(&mut Command::new(postgres_bin().join("pg_basebackup")))
            .args([
                "-h",
                "127.0.0.1",
                "-p",
                &port,
                "-U",
                "postgres",
                "-X",
                "stream",
                "-c",
                "fast",
                "--no-sync",
                "-R",
                "-D",
            ])
            .arg(folder.path().join("data"))
            .current_dir("/")
            .status()
            .expect("pg_basebackup runs");
        assert!(status.success(), "pg_basebackup failed");
        let mut standby = Postgres { process: None, folder, port: free_port(), settings: self.settings.clone() };
        standby.restart().await;
        let primary = sqlx::PgPool::connect(&self.url("postgres")).await.expect("Postgres answers");
        for statement in ["ALTER SYSTEM SET synchronous_standby_names = '*'", "SELECT pg_reload_conf()"] {
            sqlx::query(statement).execute(&primary).await.expect("a superuser may");
        }
        wait_for("the standby to keep up", Duration::from_secs(60), async || {
            let synchronous = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'";
            (sqlx::query_scalar::<_, i64>(synchronous).fetch_one(&primary).await.ok()? == 1).then_some(())
        })
        .await;
        primary.close().await;
        standby
    }

    /// Makes a primary of a standby, which waits for no other.
    pub async fn promote(&self) {
        let pool = sqlx::PgPool::connect(&self.url("postgres")).await.expect("Postgres answers");
        sqlx::query("SELECT pg_promote()").execute(&pool).await.expect("a standby can be promoted");
        for statement in ["ALTER SYSTEM RESET synchronous_standby_names", "SELECT pg_reload_conf()"] {
            sqlx::query(statement).execute(&pool).await.expect("a superuser may");
        }
        pool.close().await;
    }

    /// Where a database of it is.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    /// Its address.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// The number of its first process.
    pub fn id(&self) -> u32 {
        self.process.as_ref().expect("it was not killed").id()
    }

    /// Whether it runs; it may have ended by itself when its disk was full.
    pub fn is_running(&mut self) -> bool {
        self.process.as_mut().is_some_and(Process::is_running)
    }

    /// kill -9 of the whole server: its children end with it.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Starts it (again) and waits until it answers.
    pub async fn restart(&mut self) {
        self.kill();
        let mut command = Command::new(postgres_bin().join("postgres"));
        unprivileged(&mut command).current_dir("/").arg("-D").arg(self.folder.path().join("data"));
        command.args([
            "-p",
            &self.port.to_string(),
            "-c",
            "listen_addresses=127.0.0.1",
            "-c",
            "unix_socket_directories=",
        ]);
        command.args(["-c", "max_connections=200", "-c", "shared_buffers=128MB"]);
        command.args(self.settings.iter().flat_map(|setting| ["-c", setting]));
        // After a kill -9 the old children may hold the shared memory for a moment, and the server refuses to start.
        let log = self.folder.path().join("log");
        let url = self.url("postgres");
        for _ in 0..100 {
            let process = self.process.insert(Process::start("postgres", &mut command, &log));
            let answered = wait_for("Postgres to answer or to end", Duration::from_secs(60), async || {
                if let Ok(pool) = sqlx::PgPool::connect(&url).await {
                    pool.close().await;
                    return Some(true);
                }
                (!process.is_running()).then_some(false)
            });
            if answered.await {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("Postgres does not start: {}", std::fs::read_to_string(log).unwrap_or_default());
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take()
            && process.is_running()
        {
            process.signal(Signal::QUIT); // immediate shut-down, so that no child is left behind
            process.wait(Duration::from_secs(20));
        }
    }
}

/// A Redis server with AOF. May be killed and started again.
pub struct Redis {
    process: Option<Process>,
    folder: TempDir,
    port: u16,
}

impl Redis {
    /// A fresh one.
    pub async fn start() -> Redis {
        Redis::start_in(&std::env::temp_dir()).await
    }

    /// The same with its data somewhere below `place`.
    pub async fn start_in(place: &Path) -> Redis {
        let folder = tempfile::Builder::new().prefix("payfleet-redis-").tempdir_in(place).expect("a temporary folder");
        let mut redis = Redis { process: None, folder, port: free_port() };
        redis.restart().await;
        redis
    }

    /// Where it is.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    /// Its address.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// kill -9.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// The number of its process.
    pub fn id(&self) -> u32 {
        self.process.as_ref().expect("it was not killed").id()
    }

    /// Copies another one from now on, or, with `None`, is on its own from now on, with what it has.
    pub async fn replicate(&self, master: Option<&Redis>) {
        let (host, port) = master
            .map_or(("NO".to_owned(), "ONE".to_owned()), |master| ("127.0.0.1".to_owned(), master.port.to_string()));
        let mut connection = self.connection().await.expect("Redis answers");
        let command = deadpool_redis::redis::cmd("REPLICAOF").arg(host).arg(port).to_owned();
        let _: () = command.query_async(&mut connection).await.expect("REPLICAOF is allowed");
    }

    /// Starts it (again) and waits until it answers.
    pub async fn restart(&mut self) {
        self.kill();
        let mut command = Command::new("redis-server");
        command.args(["--port", &self.port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "yes"]);
        command
            .args(["--appendfsync", "everysec", "--maxmemory-policy", "noeviction", "--dir"])
            .arg(self.folder.path());
        self.process = Some(Process::start("redis-server", &mut command, &self.folder.path().join("log")));
        wait_for("Redis to answer", Duration::from_secs(20), async || {
            let mut connection = self.connection().await?;
            deadpool_redis::redis::cmd("PING").query_async::<String>(&mut connection).await.ok()
        })
        .await;
    }

    /// Forgets everything at once.
    pub async fn flush_all(&self) {
        let mut connection = self.connection().await.expect("Redis answers");
        let _: () =
            deadpool_redis::redis::cmd("FLUSHALL").query_async(&mut connection).await.expect("FLUSHALL is allowed");
    }

    /// Its file of everything that was ever written there.
    pub fn everything_written(&self) -> String {
        let files = std::fs::read_dir(self.folder.path().join("appendonlydir")).expect("it has one");
        let text = |path| String::from_utf8_lossy(&std::fs::read(path).expect("a file of ours")).into_owned();
        files.flatten().map(|file| text(file.path())).collect()
    }

    /// A connection for tests that look into it.
    pub async fn connection(&self) -> Option<deadpool_redis::redis::aio::MultiplexedConnection> {
        let client = deadpool_redis::redis::Client::open(self.url()).expect("a valid URL");
        client.get_multiplexed_async_connection().await.ok()
    }
}
