//! The pool, and the one way in which transactions are run.

use std::future::Future;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgDatabaseError, PgSeverity};
use sqlx::{ConnectOptions, Connection as _};

use crate::session::{Sessions, silence, with_lifeline};

use crate::generation::Memory;

/// What can go wrong between us and Postgres.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The URL cannot be read. It may hold a password, so it is not repeated.
    #[error("the database URL is not valid: write postgres://USER:PASSWORD@HOST:PORT/DATABASE")]
    Url,
    /// Postgres answers, and must not be used.
    #[error("Postgres at {place} cannot be used: {why}")]
    Unfit {
        /// Host and port.
        place: String,
        /// What is wrong with it.
        why: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Postgres cannot be reached.
    #[error("cannot reach Postgres at {place}: check that it runs and that the database URL is right")]
    Unreachable {
        /// Host and port.
        place: String,
        /// What the driver said.
        source: sqlx::Error,
    },
    /// The schema is not the one that this program was built for.
    #[error("{0}")]
    Schema(crate::SchemaState),
    /// A statement failed.
    #[error("{step} failed")]
    Statement {
        /// The named step.
        step: &'static str,
        /// What the driver said.
        source: sqlx::Error,
    },
    /// The database lost what it had confirmed: it was restored, or promoted too early.
    #[error(
        "the database is behind what was seen of it before ({0}): it was restored from a backup, or a standby was \
         promoted that lacked the last writes. Nothing is planned, sent or freed before `payfleet-coordinator recover` \
         has brought it up to date; deploy/RUNBOOK.md, \"A backup is restored, or a standby is promoted\""
    )]
    Behind(String),
    /// What was seen cannot be remembered, or what was remembered cannot be read.
    #[error("what was seen of the database cannot be remembered: {0}")]
    Memory(String),
    /// Data that our own rules exclude.
    #[error("a broken invariant: {0}")]
    Broken(String),
}

/// An error with what it was caused by: what people are told and logs say. Errors of ours do not repeat their sources;
/// those of drivers do, and are said once.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let more = cause.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        source = cause.source();
    }
    text
}

impl StoreError {
    /// A session was lost without a word (see [`Store::lost`]).
    pub fn silence() -> StoreError {
        StoreError::Statement { step: "the wait for an answer", source: silence() }
    }

    /// Whether the server was gone, so that trying again later may help. Whether a write took effect is then unknown.
    pub fn is_outage(&self) -> bool {
        match self {
            StoreError::Unreachable { .. } => true,
            StoreError::Unfit { .. } => false,
            StoreError::Statement { source, .. } => is_outage(source),
            StoreError::Url
            | StoreError::Schema(_)
            | StoreError::Behind(_)
            | StoreError::Memory(_)
            | StoreError::Broken(_) => false,
        }
    }

    /// Whether trying again may help: the server was gone, or others were in the way.
    pub fn may_pass(&self) -> bool {
        self.is_outage() || self.is_conflict()
    }

    /// Whether others were in the way, again and again: trying again later helps.
    pub fn is_conflict(&self) -> bool {
        self.sqlstate().is_some_and(|code| code == "40P01" || code == "40001")
    }

    pub(crate) fn sqlstate(&self) -> Option<String> {
        match self {
            StoreError::Statement { source: sqlx::Error::Database(error), .. } => error.code().map(Into::into),
            _ => None,
        }
    }
}

/// What the server says when it cannot serve, by the beginnings of SQLSTATEs.
const OUTAGES: [&str; 8] = [
    "08",    // the connection
    "25006", // it takes no writes: a standby, or told so
    "25P03", // idle in a transaction for too long
    "28",    // a password or a role is being changed; whoever starts this program again gives it the new one
    "53",    // out of disk, memory or connections
    "55P03", // somebody holds a lock for too long
    "57",    // shut down, crash, starting up, idle for too long, a statement that took too long or was cancelled
    "58",    // its own system fails it
];
fn is_outage(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed
        // The server that the name leads to now is unfit (see `session`).
        | sqlx::Error::Configuration(_) => true,
        sqlx::Error::Database(error) => {
            let error = error.downcast_ref::<PgDatabaseError>();
            OUTAGES.iter().any(|class| error.code().starts_with(class))
                // A disk that is full while a session begins is no more than an "internal error" to it ("could not
                // write init file").
                || error.code() == "XX000" && matches!(error.severity(), PgSeverity::Fatal | PgSeverity::Panic)
        }
        _ => false,
    }
}

/// Names the step in the errors of a statement.
pub(crate) trait Step<T> {
    fn step(self, step: &'static str) -> Result<T, StoreError>;
}

impl<T> Step<T> for Result<T, sqlx::Error> {
    fn step(self, step: &'static str) -> Result<T, StoreError> {
        self.map_err(|source| StoreError::Statement { step, source })
    }
}

/// The system of record. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {
    pub(crate) pool: Sessions,
    /// Of who sends, plans or frees.
    pub(crate) memory: Option<Arc<dyn Memory>>,
}

/// How long one statement may take on the server if nothing else is said: longer by far than any is meant to. How a
/// server that fell silent is noticed is in [`session`](crate::session).
const STATEMENT: Duration = Duration::from_secs(60 * 60);

impl Store {
    /// Connects, with at most `connections` at once. Fails if Postgres does not answer within five seconds.
    pub async fn connect(url: &str, connections: u32) -> Result<Store, StoreError> {
        Store::connect_for(url, connections, STATEMENT).await
    }

    /// The same for work of which no statement takes longer than this.
    pub async fn connect_for(url: &str, connections: u32, statement: Duration) -> Result<Store, StoreError> {
        let options = PgConnectOptions::from_str(url).map_err(|_| StoreError::Url)?.application_name("payfleet");
        // Imports and plans take seconds by design; the server's log_min_duration_statement shows what is slow by their
        // names.
        let options = options.disable_statement_logging();
        let place = format!("{}:{}", options.get_host(), options.get_port());
        let opened = Sessions::open(options, connections, statement).await;
        let pool = opened.map_err(|source| match source {
            sqlx::Error::Configuration(why) => StoreError::Unfit { place, why },
            source => StoreError::Unreachable { place, source },
        })?;
        Ok(Store { pool, memory: None })
    }

    /// So many processes like this one share what the server allows: from now on this one opens no more than its share,
    /// and three at least.
    pub fn connections_share(&self, processes: u32) {
        self.pool.share(processes);
    }

    /// Ends all connections, after the statements under way, if those end within seconds.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    /// Waits until a session of this store that holds something from one question to the next (a lock, what was
    /// compared) is lost without a word. What uses it waits in vain, and may be dropped.
    pub async fn lost(&self) {
        self.pool.lost().await;
    }

    /// Runs `work` in one transaction, as a task that goes on even if the caller is dropped, and again if Postgres
    /// chose it as the victim of a deadlock or a serialisation conflict.
    ///
    /// An error of COMMIT leaves unknown whether the transaction took effect. Every caller can therefore be repeated:
    /// it reads back by key and finds its work done.
    pub(crate) async fn transaction<T, F>(&self, step: &'static str, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'t> Fn(&'t mut PgConnection) -> BoxFuture<'t, Result<T, StoreError>> + Send + Sync + 'static,
    {
        let pool = self.pool.clone();
        detached(async move {
            for _ in 0..DEADLOCK_RETRIES {
                match once(&pool, step, &work).await {
                    Err(error) if error.is_conflict() => {
                        tracing::debug!(step, error = chain(&error), "trying again");
                    }
                    result => return result,
                }
            }
            once(&pool, step, &work).await
        })
        .await
    }
}

const DEADLOCK_RETRIES: usize = 10;

async fn once<T, F>(pool: &Sessions, step: &'static str, work: &F) -> Result<T, StoreError>
where
    F: for<'t> Fn(&'t mut PgConnection) -> BoxFuture<'t, Result<T, StoreError>>,
{
    pass(step, "before").await?;
    let mut connection = pool.acquire().await.step(step)?;
    let mut transaction = connection.begin().await.step(step)?;
    match work(&mut transaction).await {
        Ok(done) => {
            pass(step, "commit").await?;
            transaction.commit().await.step(step)?;
            pass(step, "after").await?;
            Ok(done)
        }
        Err(error) => {
            if let Err(why) = transaction.rollback().await {
                tracing::debug!(step, error = chain(&why), "the connection was gone before it could be rolled back");
            }
            Err(error)
        }
    }
}

/// A failpoint looks like a server that is gone.
pub(crate) async fn pass(step: &'static str, place: &str) -> Result<(), StoreError> {
    let passed = payfleet_failpoint::pass(step, place).await;
    passed.map_err(|injected| sqlx::Error::Io(std::io::Error::other(injected))).step(step)
}

/// Runs a future of the driver to its end whatever becomes of the caller; or until a connection that it waits for is
/// given up, which ends with it.
pub(crate) async fn detached<T: Send + 'static>(
    work: impl Future<Output = Result<T, StoreError>> + Send + 'static,
) -> Result<T, StoreError> {
    match tokio::spawn(with_lifeline(work)).await {
        Ok(Some(result)) => result,
        Ok(None) => Err(StoreError::silence()),
        Err(lost) => Err(StoreError::Broken(format!("a database task ended abnormally: {lost}"))),
    }
}
