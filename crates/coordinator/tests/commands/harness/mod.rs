//! A database and a folder of a test's own, and the real program run in them.

#![allow(dead_code)] // each test file uses its part

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, PgPool, Row};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// What the gate of [`Place::gate`] waits for.
const GATE: i64 = 42;

/// How a command ended.
#[derive(Debug)]
pub struct Done {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Done {
    fn of(output: Output) -> Done {
        Done {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Its stdout, if it ended well.
    pub fn ok(self) -> String {
        assert_eq!(self.code, 0, "{}{}", self.out, self.err);
        self.out
    }

    /// Ended with this code, and said exactly this on stderr and nothing on stdout.
    pub fn failed(&self, code: i32, message: &str) {
        assert_eq!(
            (self.code, self.err.trim_end(), self.out.as_str()),
            (code, format!("error: {message}").as_str(), "")
        );
    }

    /// The same, behind the note on how the file was read.
    pub fn failed_as_said(&self, code: i32, message: &str) {
        let error =
            self.err.split_once(": read as ").and_then(|(_, rest)| rest.split_once('\n')).map(|(_, error)| error);
        assert_eq!((self.code, error.map(str::trim_end)), (code, Some(format!("error: {message}").as_str())));
    }

    pub fn json(self) -> serde_json::Value {
        serde_json::from_str(&self.ok()).unwrap()
    }
}

/// Dropped at the end, with the database.
pub struct Place {
    pub url: String,
    pub dir: TempDir,
    admin: String,
    name: String,
    runtime: Runtime,
    pool: Option<PgPool>,
}

impl Place {
    /// With an empty database.
    pub fn empty() -> Place {
        let admin = std::env::var("PAYFLEET_TEST_POSTGRES")
            .expect("PAYFLEET_TEST_POSTGRES must name a Postgres for tests; scripts/test starts one and sets it");
        let dir = TempDir::new().unwrap();
        let unique = dir.path().file_name().unwrap().to_str().unwrap().trim_start_matches('.').to_lowercase();
        let name = format!("coord_{}_{unique}", std::process::id());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let url = format!("{}/{name}", admin.rsplit_once('/').unwrap().0);
        let pool = runtime.block_on(async {
            let server = PgPool::connect(&admin).await.unwrap();
            sqlx::query(AssertSqlSafe(format!("CREATE DATABASE {name}"))).execute(&server).await.unwrap();
            server.close().await;
            PgPool::connect(&url).await.unwrap()
        });
        Place { url, dir, admin, name, runtime, pool: Some(pool) }
    }

    /// With the schema.
    pub fn new() -> Place {
        let place = Place::empty();
        place.run(&["migrate"]).ok();
        place
    }

    /// With the tenant `acme`, whose affiliates a1 to a3 are paid in EUR over the rail `null`.
    pub fn with_affiliates() -> Place {
        let place = Place::new();
        let rows =
            ["a1", "a2", "a3"].map(|id| format!("{id},Name,{id}@example.com,Germany,EUR,paypal,{id}@example.com\n"));
        place.file("affiliates.csv", format!("{AFFILIATES}{}", rows.concat()));
        place.run(&["import", "affiliates", "--tenant", "acme", "affiliates.csv"]).ok();
        place.run(&["rails", "set", "--tenant", "acme", "--method", "paypal", "--rail", "null"]).ok();
        place
    }

    /// A file in the folder in which commands are run.
    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_payfleet-coordinator"));
        command.args(args).current_dir(self.dir.path()).env_clear();
        command.env("PAYFLEET_DATABASE_URL", &self.url).env("PAYFLEET_LOG", "error").env("PAYFLEET_NULL_RAIL", "true");
        command.env("PAYFLEET_STATE_DIR", self.dir.path().join("state"));
        // Their server runs without fsync.
        command.env("PAYFLEET_THIS_SERVER_MAY_LOSE_CONFIRMED_PAYMENTS", "yes, this is a test");
        command
    }

    pub fn run(&self, args: &[&str]) -> Done {
        Done::of(self.command(args).output().unwrap())
    }

    /// As whoever has this token.
    pub fn run_as(&self, token: &str, args: &[&str]) -> Done {
        Done::of(self.command(args).env("PAYFLEET_TOKEN", token).output().unwrap())
    }

    /// Adds somebody for all tenants, after an administrator called `root` if there is nobody, and gives their token.
    pub fn person(&self, name: &str, role: &str) -> String {
        let kept = self.dir.path().join("root.token");
        if !kept.exists() {
            let token =
                Done::of(self.command(&["people", "add", "root", "--role", "administrator"]).output().unwrap()).ok();
            std::fs::write(&kept, token).unwrap();
        }
        let root = std::fs::read_to_string(kept).unwrap();
        self.run_as(root.trim(), &["people", "add", name, "--role", role]).ok().trim().to_owned()
    }

    pub fn run_with_stdin(&self, args: &[&str], input: &str) -> Done {
        let mut child =
            self.command(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        Done::of(child.wait_with_output().unwrap())
    }

    pub fn start(&self, args: &[&str]) -> Child {
        self.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    pub fn finish(child: Child) -> Done {
        Done::of(child.wait_with_output().unwrap())
    }

    /// Imports commissions, given without their header.
    pub fn commissions(&self, rows: &str) -> Done {
        self.file("commissions.csv", format!("{COMMISSIONS}{rows}"));
        self.run(&["import", "commissions", "--tenant", "acme", "commissions.csv"])
    }

    pub fn execute(&self, sql: &str) {
        let sql = sqlx::raw_sql(AssertSqlSafe(sql.to_owned()));
        self.runtime.block_on(sql.execute(self.pool.as_ref().unwrap())).unwrap();
    }

    pub fn rows(&self, sql: &str) -> Vec<PgRow> {
        let query = sqlx::query(AssertSqlSafe(sql.to_owned()));
        self.runtime.block_on(query.fetch_all(self.pool.as_ref().unwrap())).unwrap()
    }

    pub fn number(&self, sql: &str) -> i64 {
        self.rows(sql)[0].get(0)
    }

    /// Every row as one text.
    pub fn texts(&self, sql: &str) -> Vec<String> {
        self.rows(&format!("SELECT row::text FROM ({sql}) AS row")).iter().map(|row| row.get(0)).collect()
    }

    /// Makes whatever fires `event` of `table` wait until the gate is opened. Returns the gate, closed.
    pub fn gate(&self, event: &str, table: &str, when: &str) -> Gate<'_> {
        self.execute(&format!(
            "CREATE FUNCTION wait_at_gate() RETURNS trigger LANGUAGE plpgsql AS $$
             BEGIN PERFORM pg_advisory_xact_lock_shared({GATE}); RETURN NEW; END $$;
             CREATE TRIGGER gate BEFORE {event} ON {table} FOR EACH ROW WHEN ({when}) EXECUTE FUNCTION wait_at_gate()"
        ));
        let keeper = self.runtime.block_on(async {
            let mut keeper = self.pool.as_ref().unwrap().acquire().await.unwrap();
            sqlx::query("SELECT pg_advisory_lock($1)").bind(GATE).execute(&mut *keeper).await.unwrap();
            keeper.detach()
        });
        Gate { place: self, keeper: Some(keeper), table: table.to_owned() }
    }

    /// Waits until so many sessions of this database wait for a lock.
    pub fn until_waiting(&self, sessions: i64) {
        let waiting = "SELECT count(DISTINCT pid) FROM pg_locks l JOIN pg_stat_activity a USING (pid)
                        WHERE NOT l.granted AND a.datname = current_database()";
        while self.number(waiting) < sessions {
            std::thread::yield_now();
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let pool = self.pool.take().unwrap();
        self.runtime.block_on(async {
            pool.close().await;
            let server = PgPool::connect(&self.admin).await.unwrap();
            let sql = format!("DROP DATABASE {} WITH (FORCE)", self.name);
            sqlx::query(AssertSqlSafe(sql)).execute(&server).await.unwrap();
            server.close().await;
        });
    }
}

/// Closed until it is opened.
pub struct Gate<'a> {
    place: &'a Place,
    keeper: Option<sqlx::PgConnection>,
    table: String,
}

impl Gate<'_> {
    pub fn open(mut self) {
        let keeper = self.keeper.take().unwrap();
        self.place.runtime.block_on(sqlx::Connection::close(keeper)).unwrap();
        self.place.execute(&format!("DROP TRIGGER gate ON {}; DROP FUNCTION wait_at_gate()", self.table));
    }
}

pub const AFFILIATES: &str = "affiliate_id,name,email,country,currency,method,destination\n";
pub const COMMISSIONS: &str = "commission_id,affiliate_id,order_ref,amount,currency,earned_at,kind\n";

/// The public data, if it is here.
pub fn data() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    let data = std::env::var_os("PAYFLEET_TEST_DATA").map_or(beside, PathBuf::from);
    if data.is_dir() {
        return Some(data.canonicalize().unwrap());
    }
    println!("left out: there is no {}", data.display());
    None
}
