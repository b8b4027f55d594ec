//! What the store's SQL could lose without a test that notices: each guard is taken out in turn, and the other tests
//! must fail.
//!
//! Nothing is compiled: a proxy between the tests and Postgres rewrites the statements on their way. Takes about an
//! hour: `cargo test -p payfleet-store --no-run && cargo test -p payfleet-store --test mutants -- --ignored
//! --nocapture` `PAYFLEET_TEST_MUTANTS=lease_,intent_` tries only those whose statement's name begins so,
//! `PAYFLEET_TEST_SUITES=import,guards` only these tests, `PAYFLEET_TEST_SUITES=interleavings/paused` only those of
//! them whose names have this.

#![allow(clippy::unwrap_used)]

mod list;
#[allow(unused)]
#[path = "../../src/sql.rs"]
mod sql;
#[path = "../support/wire.rs"]
mod wire;

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use list::{MUTANTS, Mutant};
use sql::{alive, bit_of, may_arrive, open_runs, open_states, unanswered, unanswered_batches};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use tokio::io::{AsyncBufReadExt, BufReader};
use wire::{Message, Proxy, Session};

/// The quickest first.
const SUITES: &str = "import,methods,people,confirm,alarms,doubt,guards,claims,fences,proofs,accepted,stops,cancel,\
                      planning,reconcile,interleavings";
/// A mutant may make a test wait for ever; and a busy machine takes its time.
const LIMIT: Duration = Duration::from_secs(1800);
const AT_ONCE: usize = 4;

/// Rewrites what passes, and remembers which databases were made, since a test that is stopped drops none.
struct Mutator {
    mutant: &'static Mutant,
    /// For each edit: whether its statement passed, and whether it was changed.
    passed: Vec<AtomicBool>,
    changed: Vec<AtomicBool>,
    databases: Mutex<Vec<String>>,
}

impl Mutator {
    fn rewrite(&self, message: Message) -> Message {
        let Some((_, sql)) = message.statement() else { return message };
        if let Some(name) = sql.strip_prefix("CREATE DATABASE ") {
            self.databases.lock().unwrap().extend(name.split_whitespace().next().map(str::to_owned));
        }
        let mut mutated = sql.to_owned();
        for (n, (step, fragment, replacement)) in self.mutant.edits.iter().enumerate() {
            let Some(rest) = sql.strip_prefix("-- ").and_then(|sql| sql.strip_prefix(step)) else { continue };
            if rest.starts_with(|next: char| next.is_whitespace()) {
                self.passed[n].store(true, Ordering::Relaxed);
                if let Some(exchanged) = exchange(&mutated, fragment, replacement) {
                    self.changed[n].store(true, Ordering::Relaxed);
                    mutated = exchanged;
                }
            }
        }
        message.with_statement(&mutated)
    }
}

/// Replaces a fragment wherever it is. How a statement is broken into lines makes no difference.
fn exchange(text: &str, fragment: &str, replacement: &str) -> Option<String> {
    let words: Vec<&str> = fragment.split_whitespace().collect();
    let ends_at = |begin: usize| {
        let mut rest = text[begin..].strip_prefix(words[0])?;
        for word in &words[1..] {
            let next = rest.trim_start();
            rest = next.strip_prefix(word).filter(|_| next.len() < rest.len())?;
        }
        Some(text.len() - rest.len())
    };
    let (mut exchanged, mut from) = (String::new(), 0);
    for (begin, _) in text.match_indices(words[0]).filter(|(begin, _)| ends_at(*begin).is_some()) {
        if begin >= from {
            exchanged += &text[from..begin];
            exchanged += replacement;
            from = ends_at(begin)?;
        }
    }
    (from > 0).then(|| exchanged + &text[from..])
}

struct Through(Arc<Mutator>);

impl Session for Through {
    fn to_server(&self, group: Vec<Message>) -> BoxFuture<'_, Vec<Message>> {
        Box::pin(async move { group.into_iter().map(|message| self.0.rewrite(message)).collect() })
    }
}

#[derive(Debug)]
enum Fate {
    /// By this test.
    Killed(String),
    Survived,
    /// A test of this suite did not end.
    Endless(String),
    /// The list is out of date.
    MatchesNothing,
}

#[tokio::test]
#[ignore = "takes an hour"]
async fn every_guard_is_needed() {
    let server = std::env::var("PAYFLEET_TEST_POSTGRES").unwrap();
    let only = std::env::var("PAYFLEET_TEST_MUTANTS").unwrap_or_default();
    let asked = |mutant: &&Mutant| only.split(',').any(|name| mutant.edits[0].0.starts_with(name));
    let chosen: Vec<&Mutant> = MUTANTS.iter().filter(asked).collect();
    let total = chosen.len();
    let mut results = futures_util::stream::iter(chosen)
        .map(|mutant| {
            let server = server.clone();
            async move {
                let began = Instant::now();
                (mutant, judge(mutant, &server).await, began.elapsed())
            }
        })
        .buffer_unordered(AT_ONCE);
    let (mut killed, mut explained, mut wrong) = (0, 0, Vec::new());
    while let Some((mutant, fate, took)) = results.next().await {
        let word = match (&fate, mutant.explained) {
            (Fate::Killed(test), _) => {
                killed += 1;
                format!("killed by {test}")
            }
            (Fate::Survived, why) if !why.is_empty() => {
                explained += 1;
                format!("equal: {why}")
            }
            (Fate::Endless(suite), _) => {
                wrong.push(mutant.to_string());
                format!("ENDLESS: {suite}")
            }
            (Fate::Survived | Fate::MatchesNothing, _) => {
                wrong.push(mutant.to_string());
                format!("{fate:?}").to_uppercase()
            }
        };
        println!("{:>4.0} s  {mutant}  {word}", took.as_secs_f64());
    }
    println!("{total} mutants: {killed} killed, {explained} explained, {} neither", wrong.len());
    assert!(wrong.is_empty(), "no test needs these:\n{}", wrong.join("\n"));
}

async fn judge(mutant: &'static Mutant, server: &str) -> Fate {
    let flags = || mutant.edits.iter().map(|_| AtomicBool::new(false)).collect();
    let mutator = Arc::new(Mutator { mutant, passed: flags(), changed: flags(), databases: Mutex::default() });
    let through = mutator.clone();
    let proxy = Proxy::start(server, move || Arc::new(Through(through.clone()))).await;
    let mut fate = Fate::Survived;
    let suites = std::env::var("PAYFLEET_TEST_SUITES").unwrap_or(SUITES.to_owned());
    for suite in suites.split(',') {
        fate = run(suite, &proxy.url).await;
        if !matches!(fate, Fate::Survived) {
            break;
        }
    }
    let all = |flags: &[AtomicBool]| flags.iter().all(|flag| flag.load(Ordering::Relaxed));
    let stale = mutator
        .passed
        .iter()
        .zip(&mutator.changed)
        .any(|(passed, changed)| passed.load(Ordering::Relaxed) && !changed.load(Ordering::Relaxed));
    if stale || matches!(fate, Fate::Survived) && !all(&mutator.changed) {
        fate = Fate::MatchesNothing;
    }
    let mut connection = PgConnection::connect(server).await.unwrap();
    let made = mutator.databases.lock().unwrap().clone();
    for name in made {
        let sql = format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)");
        // A database that a test drops at this moment is gone as well.
        let _ = connection.execute(AssertSqlSafe(sql)).await;
    }
    fate
}

/// Runs a suite until its first failure.
async fn run(suite: &str, url: &str) -> Fate {
    let (file, only) = suite.split_once('/').unwrap_or((suite, ""));
    let (program_of, only) = match file {
        "reconcile" | "interleavings" => (file, only.to_owned()),
        _ => ("store", format!("{file}::{only}")),
    };
    let mut child = tokio::process::Command::new(program(program_of))
        .args(["--test-threads=2", only.as_str()])
        .env("PAYFLEET_TEST_POSTGRES", url)
        .env("RUST_BACKTRACE", "0")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let read = async {
        while let Some(line) = lines.next_line().await.unwrap() {
            if let Some(test) = line.strip_prefix("test ").and_then(|line| line.strip_suffix(" ... FAILED")) {
                return Fate::Killed(format!("{suite}::{test}"));
            }
        }
        Fate::Survived
    };
    let fate = tokio::time::timeout(LIMIT, read).await.unwrap_or_else(|_| Fate::Endless(suite.to_owned()));
    if matches!(fate, Fate::Survived) {
        let status = child.wait().await.unwrap();
        return if status.success() { fate } else { Fate::Killed(format!("{suite}: {status}")) };
    }
    child.kill().await.unwrap();
    fate
}

/// The newest program of a suite, beside this one.
fn program(suite: &str) -> PathBuf {
    let folder = std::env::current_exe().unwrap().parent().unwrap().to_owned();
    let built = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap()).filter(|entry| {
        let name = entry.file_name().into_string().unwrap();
        name.strip_prefix(suite).is_some_and(|rest| rest.starts_with('-') && !rest.contains('.'))
    });
    let newest = built.max_by_key(|entry| entry.metadata().unwrap().modified().unwrap());
    newest.unwrap_or_else(|| panic!("{suite} is not built: cargo test -p payfleet-store --no-run")).path()
}

/// The code with the fragments of `sql` written out, as the server gets them: a statement is made of string literals
/// with these between.
fn expanded(code: &str) -> String {
    let fragments = [
        ("open_states!()", open_states!()),
        ("open_runs!()", open_runs!()),
        ("unanswered_batches!()", unanswered_batches!()),
        ("unanswered!()", unanswered!()),
        ("alive!(\"a\")", alive!("a")),
        ("alive!(\"attempt\")", alive!("attempt")),
        ("may_arrive!(\"a\")", may_arrive!("a")),
        ("bit_of!(\"l\", \"p.id\")", bit_of!("l", "p.id")),
        ("bit_of!(\"l\", \"m.payout_id\")", bit_of!("l", "m.payout_id")),
    ];
    let mut code = code.to_owned();
    for (call, text) in fragments {
        let mut parts = code.split(call);
        let mut whole = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let before = whole.trim_end().strip_suffix("\",").map(str::len);
            let after = part.strip_prefix(',').map(str::trim_start).and_then(|rest| rest.strip_prefix('"'));
            match before {
                Some(length) => whole.truncate(length),
                None => whole.push_str(call),
            }
            if before.is_some() {
                whole.push_str(text);
            }
            whole.push_str(after.unwrap_or(part));
        }
        code = whole;
    }
    code
}

/// A mutant of what is not there any more would pass for killed by nobody.
#[test]
fn what_mutants_change_is_in_the_code() {
    fn sources(folder: &std::path::Path, into: &mut String) {
        for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            match entry.is_dir() {
                true => sources(&entry, into),
                false => into.push_str(&std::fs::read_to_string(&entry).unwrap()),
            }
        }
    }
    let mut code = String::new();
    sources(&std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut code);
    let code = expanded(&code);
    let gone: Vec<String> = MUTANTS
        .iter()
        .flat_map(|mutant| mutant.edits)
        .filter(|(_, fragment, _)| exchange(&code, fragment, "").is_none())
        .map(|(step, fragment, _)| format!("{step}: {fragment}"))
        .collect();
    assert!(gone.is_empty(), "{gone:#?}");
}
