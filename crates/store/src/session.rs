//! Connections to Postgres, each of whose waits has an end.
//!
//! A server, or the way to it, can fall silent without a word: no packet arrives and none is refused. The driver waits
//! for an answer for ever then, and offers no way to set the keepalive of its sockets. So whoever waits is looked after
//! ([`look_after`]): the server is asked over another connection whether it still works for this one. If it does not
//! know of it, or cannot be asked, the connection is given up, and what waited for it fails as by an outage.
//!
//! sqlx's own pool is no help here: it asks a connection that is given back whether it still answers, and waits for
//! that without an end.

mod connection;
mod silence;

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use deadpool::managed::{self, Metrics, RecycleError, RecycleResult};
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt};
use sqlx::postgres::{PgConnectOptions, PgConnection, PgQueryResult, PgRow, PgStatement, PgTypeInfo};
use sqlx::{Connection as _, Either, Error, Execute, Executor, Postgres, Row as _, SqlStr};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::places::Places;
pub(crate) use connection::Connection;
use connection::Held;
use silence::{look_after, silences};

/// How long to wait for a connection, be it free, cleared or made.
const ACQUIRE: Duration = Duration::from_secs(5);
/// Between two tries to make one, while the server is not ready for it.
const AGAIN: Duration = Duration::from_millis(100);
/// What nobody has used for so long is closed: many workers share the server's places, and each needs all of its own
/// only now and then.
const UNUSED: Duration = Duration::from_secs(10);
/// How long a connection may take to be cleared for its next use, or to end, before another one is made.
const CLEAR: Duration = Duration::from_secs(2);
/// How often connections that are waited for are looked after, and how long they were waited for before that.
const LOOK: Duration = Duration::from_secs(3);
/// How long to wait for the end of what is under way when everything is closed.
const CLOSE: Duration = Duration::from_secs(5);

/// What each session is set to. A ROLLBACK outside a transaction warns, and the warning is expected. Postgres compiles
/// a query whose plan it believes to be dear, and believes that of a guard whose dear branch is hardly ever taken: 370
/// ms for each intent. A process that is stopped in the middle of a transaction would hold its rows for as long as it
/// is stopped: the server ends such a session. By keepalive, user time-out and the check of the connection it finds out
/// soon that a client is no more, in the middle of a statement too, where it would hold its locks. And of the payouts
/// that we move we keep the counts (see `outcomes`).
const SETTINGS: &str = "
SET client_min_messages = error; SET timezone = 'UTC'; SET jit = off;
SET idle_in_transaction_session_timeout = '10s';
SET tcp_keepalives_idle = 5; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3;
SET tcp_user_timeout = '20s';
SET client_connection_check_interval = '5s';
SET payfleet.counts_outcomes = on";

tokio::task_local! {
    /// Cancelled when a connection that the task waits for is given up.
    static LIFELINE: CancellationToken;
}

/// Runs `work` until it ends, or until a connection that it waits for is given up: then whatever it holds is dropped,
/// and each of its connections ends with it. `None` says so.
pub(crate) async fn with_lifeline<T>(work: impl Future<Output = T>) -> Option<T> {
    let lifeline = CancellationToken::new();
    LIFELINE.scope(lifeline.clone(), async move { lifeline.run_until_cancelled(work).await }).await
}

/// By this, a test that can do without its database once the machine stops accepts a server that may lose what it
/// confirmed. No option of any program, and nothing that a release build knows.
const MAY_LOSE_WRITES: &str = "PAYFLEET_THIS_SERVER_MAY_LOSE_CONFIRMED_PAYMENTS";
const FOR_A_TEST: &str = "yes, this is a test";

fn may_lose_writes() -> bool {
    cfg!(debug_assertions) && std::env::var(MAY_LOSE_WRITES).is_ok_and(|value| value == FOR_A_TEST)
}

/// A server of which nothing can be written.
fn no_writes() -> Error {
    Error::Io(std::io::Error::other("the server takes no writes: it is a standby, or was set to read only"))
}

/// What we set of a session is not there, or is another's: something hands our transactions to whatever session is
/// free.
fn no_session() -> Error {
    let why = "this is no session: a pooler in transaction mode stands between, and locks and settings would be \
               others'; let it pool sessions, or lead past it";
    Error::Configuration(why.into())
}

/// What a connection that was given up looks like.
pub(crate) fn silence() -> Error {
    Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, "the server fell silent; the connection was given up"))
}

/// One connection, and what the server calls it.
struct Session {
    connection: PgConnection,
    name: SessionName,
    /// What it is marked with on the server, so that it is known again.
    mark: Uuid,
    /// How many connections the server allows to all.
    allows: u32,
}

/// The process number alone may be another's on another server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct SessionName {
    pid: i32,
    begun_micros: i64,
}

struct Manager {
    options: PgConnectOptions,
    statement: Duration,
    /// A session was found to be another's: none of them can be relied on.
    are_shared: AtomicBool,
    /// Why the last try to make one failed.
    last_error: Mutex<Option<String>>,
    /// How many connections the server allows to all; 0 before the first.
    allows: AtomicU32,
}

/// All connections of a store. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Sessions {
    inner: Arc<Inner>,
}

struct Inner {
    pool: managed::Pool<Manager>,
    places: Places,
    in_use: Mutex<HashMap<u64, InUse>>,
    next: AtomicU64,
    /// Counts connections that were lost and belong to no task that could be told.
    lost: watch::Sender<u64>,
}

/// A connection that somebody holds.
#[derive(Clone)]
struct InUse {
    name: SessionName,
    since: Instant,
    /// Of the task that holds it; nothing for one that is kept from one task to the next, or is held outside of
    /// [`with_lifeline`].
    lifeline: Option<CancellationToken>,
    /// Whoever holds it was told that it is lost.
    is_told: bool,
}

impl Session {
    async fn open(options: &PgConnectOptions, statement: Duration) -> Result<Session, Error> {
        let mut connection = PgConnection::connect_with(options).await?;
        connection.execute(SETTINGS).await?;
        let mark = Uuid::new_v4();
        let (pid, begun_micros, losing, takes_no_writes, allows) = sqlx::query_as(
            "-- session_open
             SELECT pg_backend_pid(), (extract(epoch FROM a.backend_start) * 1000000)::bigint,
                    (SELECT string_agg(name, ' and ') FROM pg_settings WHERE name IN ('fsync', 'full_page_writes')
                      AND setting = 'off'),
                    current_setting('transaction_read_only')::bool, current_setting('max_connections')::int,
                    set_config('statement_timeout', $1, false), set_config('payfleet.session', $2, false),
                    -- What is confirmed is on disk, whatever the server, the database or the role are set to; on the
                    -- standby's too, where there is one.
                    set_config('synchronous_commit', CASE current_setting('synchronous_commit')
                      WHEN 'remote_apply' THEN 'remote_apply' ELSE 'on' END, false)
               FROM pg_stat_activity a WHERE a.pid = pg_backend_pid()",
        )
        .bind(format!("{}ms", statement.as_millis()))
        .bind(mark.to_string())
        // Where sessions are shared, so are the names of statements.
        .persistent(false)
        .fetch_one(&mut connection)
        .await
        .map(
            |(pid, begun, losing, reads, allows, _, _, _): (
                i32,
                i64,
                Option<String>,
                bool,
                i32,
                String,
                String,
                String,
            )| { (pid, begun, losing, reads, allows.unsigned_abs()) },
        )?;
        if let Some(settings) = losing.filter(|_| !may_lose_writes()) {
            let why = format!("it would lose what it confirmed when its machine stops: set {settings} to on");
            return Err(Error::Configuration(why.into()));
        }
        if takes_no_writes {
            return Err(no_writes());
        }
        Ok(Session { connection, name: SessionName { pid, begun_micros }, mark, allows })
    }
}

impl Manager {
    fn failed(&self, why: Option<String>) {
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = why; // it is only replaced
    }

    /// Nobody was given one in time: all are in use, or none could be made, and then it is said why.
    fn timed_out(&self) -> Error {
        match &*self.last_error.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(why) => Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, why.clone())),
            None => Error::PoolTimedOut,
        }
    }
}

/// It starts, restarts, or has no place for one more now.
fn is_not_ready(error: &Error) -> bool {
    match error {
        Error::Io(error) => error.kind() == std::io::ErrorKind::ConnectionRefused,
        Error::Database(error) => error.is_transient_in_connect_phase(),
        _ => false,
    }
}

impl managed::Manager for Manager {
    type Type = Session;
    type Error = Error;

    async fn create(&self) -> Result<Session, Error> {
        let opened = Session::open(&self.options, self.statement).await;
        self.failed(opened.as_ref().err().map(ToString::to_string));
        if let Ok(session) = &opened {
            self.allows.store(session.allows, Ordering::Relaxed);
        }
        opened
    }

    /// A cancelled `begin` of sqlx 0.9.0 leaves an open transaction, and the next write without one joins it and is
    /// lost with it (sqlx #4385, #4393). Our transactions are never cancelled without their connection; the ROLLBACK
    /// before each use is the second lock on that door. With a BEGIN before it, or the server would write a warning
    /// into its log each time: there is no transaction.
    ///
    /// And a server may take no writes any more: a connection to it is no use, and a new one may lead to another.
    async fn recycle(&self, session: &mut Session, _: &Metrics) -> RecycleResult<Error> {
        let clear = sqlx::raw_sql(
            "BEGIN;
             ROLLBACK;
             SELECT current_setting('transaction_read_only'), coalesce(current_setting('payfleet.session', true), '')",
        )
        .fetch_one(&mut session.connection);
        match tokio::time::timeout(CLEAR, clear).await {
            Ok(Ok(row)) if row.try_get::<&str, _>(0).map_err(RecycleError::Backend)? == "on" => {
                Err(RecycleError::Backend(no_writes()))
            }
            Ok(Ok(row)) if row.try_get::<&str, _>(1).map_err(RecycleError::Backend)? != session.mark.to_string() => {
                self.are_shared.store(true, Ordering::Relaxed);
                Err(RecycleError::Backend(no_session()))
            }
            Ok(cleared) => cleared.map(|_| ()).map_err(RecycleError::Backend),
            Err(_) => {
                tracing::warn!("a connection to Postgres fell silent; another one takes its place");
                silences(1);
                Err(RecycleError::Backend(silence()))
            }
        }
    }
}

impl Sessions {
    /// Connects, with at most `max` at once.
    pub(crate) async fn open(options: PgConnectOptions, max: u32, statement: Duration) -> Result<Sessions, Error> {
        let watched = options.clone();
        let pool = managed::Pool::builder(Manager {
            options: options.clone(),
            statement,
            are_shared: AtomicBool::new(false),
            last_error: Mutex::default(),
            allows: AtomicU32::new(0),
        })
        .max_size(max as usize)
        // The same few are used as long as they are enough.
        .queue_mode(managed::QueueMode::Lifo)
        .runtime(deadpool::Runtime::Tokio1)
        .build()
        .map_err(|error| Error::Configuration(error.into()))?;
        let inner = Inner {
            pool,
            places: Places::new(max),
            in_use: Mutex::default(),
            next: AtomicU64::new(0),
            lost: watch::Sender::new(0),
        };
        let sessions = Sessions { inner: Arc::new(inner) };
        drop(sessions.acquire().await?);
        // A pooler in transaction mode hands out whatever session is free: this one marks the one that the first was
        // given, which is found out then.
        let manager = sessions.inner.pool.manager();
        drop(sessions.in_time(|| managed::Manager::create(manager)).await?);
        drop(sessions.acquire().await?);
        tokio::spawn(look_after(Arc::downgrade(&sessions.inner), watched));
        Ok(sessions)
    }

    /// A connection, cleared.
    pub(crate) async fn acquire(&self) -> Result<Connection, Error> {
        let place = tokio::time::timeout(ACQUIRE, self.inner.places.take()).await;
        let place = place.map_err(|_| self.inner.pool.manager().timed_out())?;
        // While none can be made, one that is given back will do.
        let pool = &self.inner.pool;
        let get = || async {
            pool.get().await.map_err(|error| match error {
                managed::PoolError::Backend(error) => error,
                managed::PoolError::Closed => Error::PoolClosed,
                managed::PoolError::Timeout(_)
                | managed::PoolError::NoRuntimeSpecified
                | managed::PoolError::PostCreateHook(_) => Error::PoolTimedOut,
            })
        };
        let session = self.in_time(get).await?;
        if self.inner.pool.manager().are_shared.load(Ordering::Relaxed) {
            return Err(no_session());
        }
        let number = self.inner.next.fetch_add(1, Ordering::Relaxed);
        let lifeline = LIFELINE.try_with(Clone::clone).ok();
        self.inner
            .in_use()
            .insert(number, InUse { name: session.name, since: Instant::now(), lifeline, is_told: false });
        Ok(Connection { session: Some(Held::Lent(session)), place, sessions: self.clone(), number })
    }

    /// So many processes share what the server allows.
    pub(crate) fn share(&self, processes: u32) {
        match self.inner.pool.manager().allows.load(Ordering::Relaxed) {
            0 => {}
            allows => self.inner.places.share(allows, processes),
        }
    }

    /// Tries as long as one may wait, while the server is not ready for it.
    async fn in_time<T, F: Future<Output = Result<T, Error>>>(&self, attempt: impl Fn() -> F) -> Result<T, Error> {
        let tries = async {
            loop {
                match attempt().await {
                    Err(error) if is_not_ready(&error) => tokio::time::sleep(AGAIN).await,
                    done => return done,
                }
            }
        };
        tokio::time::timeout(ACQUIRE, tries).await.map_err(|_| self.inner.pool.manager().timed_out())?
    }

    /// Ends all connections, after the statements under way, if those end soon.
    pub(crate) async fn close(&self) {
        let begun = Instant::now();
        while !self.inner.in_use().is_empty() && begun.elapsed() < CLOSE {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        self.inner.pool.close();
    }

    /// Waits until a connection is lost that is kept from one task to the next.
    pub(crate) async fn lost(&self) {
        // Cannot fail: `self` keeps the sender alive.
        let _ = self.inner.lost.subscribe().changed().await;
    }
}

impl Inner {
    fn in_use(&self) -> MutexGuard<'_, HashMap<u64, InUse>> {
        // Every critical section is one change.
        self.in_use.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions").finish_non_exhaustive()
    }
}

/// One statement on any connection, outside a transaction.
impl<'p> Executor<'p> for &'p Sessions {
    type Database = Postgres;

    fn fetch_many<'e, 'q: 'e, E>(self, query: E) -> BoxStream<'e, Result<Either<PgQueryResult, PgRow>, Error>>
    where
        'p: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        // Whole: each of these answers is small, and a connection is not held for a reader that dawdles.
        let whole = async move {
            let mut connection = self.acquire().await?;
            (&mut *connection).fetch_many(query).try_collect::<Vec<_>>().await
        };
        futures_util::stream::once(whole)
            .map_ok(|steps| futures_util::stream::iter(steps.into_iter().map(Ok)))
            .try_flatten()
            .boxed()
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Result<Option<PgRow>, Error>>
    where
        'p: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        Box::pin(async move { (&mut *self.acquire().await?).fetch_optional(query).await })
    }

    fn prepare_with<'e>(self, sql: SqlStr, parameters: &'e [PgTypeInfo]) -> BoxFuture<'e, Result<PgStatement, Error>>
    where
        'p: 'e,
    {
        Box::pin(async move { (&mut *self.acquire().await?).prepare_with(sql, parameters).await })
    }
}
