//! Connections to Postgres, each of whose waits has an end.
//!
//! A server, or the way to it, can fall silent without a word: no packet arrives and none is refused. The driver waits for an answer for ever then, and
//! offers no way to set the keepalive of its sockets. So whoever waits is looked after ([`look_after`]): the server is asked over another connection whether it
//! still works for this one. If it does not know of it, or cannot be asked, the connection is given up, and what waited for it fails as by an outage.
//!
//! sqlx's own pool is no help here: it asks a connection that is given back whether it still answers, and waits for that without an end.

use std::collections::HashMap;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use deadpool::managed::{self, Metrics, Object, RecycleError, RecycleResult};
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt};
use sqlx::postgres::{PgConnectOptions, PgConnection, PgQueryResult, PgRow, PgStatement, PgTypeInfo};
use sqlx::{Connection as _, Describe, Either, Error, Execute, Executor, Postgres, Row as _, SqlStr};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::places::Places;

/// How long to wait for a connection, be it free, cleared or made.
const ACQUIRE: Duration = Duration::from_secs(5);
/// Between two tries to make one, while the server is not ready for it.
const AGAIN: Duration = Duration::from_millis(100);
/// What nobody has used for so long is closed: many workers share the server's places, and each needs all of its own only now and then.
const UNUSED: Duration = Duration::from_secs(10);
/// How long a connection may take to be cleared for its next use, or to end, before another one is made.
const CLEAR: Duration = Duration::from_secs(2);
/// How often connections that are waited for are looked after, and how long they were waited for before that.
const LOOK: Duration = Duration::from_secs(3);
/// How long to wait for the end of what is under way when everything is closed.
const CLOSE: Duration = Duration::from_secs(5);

/// What each session is set to. A ROLLBACK outside a transaction warns, and the warning is expected. Postgres compiles a query whose plan it believes to be dear,
/// and believes that of a guard whose dear branch is hardly ever taken: 370 ms for each intent. A process that is stopped in the middle of a transaction would
/// hold its rows for as long as it is stopped: the server ends such a session. By keepalive, user time-out and the check of the connection it finds out soon
/// that a client is no more, in the middle of a statement too, where it would hold its locks.
const SETTINGS: &str = "
SET client_min_messages = error; SET timezone = 'UTC'; SET jit = off; SET idle_in_transaction_session_timeout = '10s';
SET tcp_keepalives_idle = 5; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3; SET tcp_user_timeout = '20s';
SET client_connection_check_interval = '5s'";

tokio::task_local! {
    /// Cancelled when a connection that the task waits for is given up.
    static LIFELINE: CancellationToken;
}

/// Runs `work` until it ends, or until a connection that it waits for is given up: then whatever it holds is dropped, and each of its connections ends
/// with it. `None` says so.
pub(crate) async fn with_lifeline<T>(work: impl Future<Output = T>) -> Option<T> {
    let lifeline = CancellationToken::new();
    LIFELINE.scope(lifeline.clone(), async move { lifeline.run_until_cancelled(work).await }).await
}

/// By this, a test that can do without its database once the machine stops accepts a server that may lose what it confirmed. No option of any program, and
/// nothing that a release build knows.
const MAY_LOSE_WRITES: &str = "PAYFLEET_THIS_SERVER_MAY_LOSE_CONFIRMED_PAYMENTS";
const FOR_A_TEST: &str = "yes, this is a test";

fn may_lose_writes() -> bool {
    cfg!(debug_assertions) && std::env::var(MAY_LOSE_WRITES).is_ok_and(|value| value == FOR_A_TEST)
}

/// A server of which nothing can be written.
fn no_writes() -> Error {
    Error::Io(std::io::Error::other("the server takes no writes: it is a standby, or was set to read only"))
}

/// What we set of a session is not there, or is another's: something hands our transactions to whatever session is free.
fn no_session() -> Error {
    let why = "this is no session: a pooler in transaction mode stands between, and locks and settings would be others'; let it pool sessions, or lead past it";
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
    /// Of the task that holds it; nothing for one that is kept from one task to the next, or is held outside of [`with_lifeline`].
    lifeline: Option<CancellationToken>,
    /// Whoever holds it was told that it is lost.
    is_told: bool,
}

/// A connection on loan. Given back when dropped, unless it is kept, given up, or in a transaction.
pub(crate) struct Connection {
    session: Option<Held>,
    /// Given back after it.
    place: Option<OwnedSemaphorePermit>,
    sessions: Sessions,
    number: u64,
}

enum Held {
    /// Of the pool.
    Lent(Object<Manager>),
    /// Beside it, from now on to its end.
    Kept(Session),
}

impl Held {
    fn take(self) -> Session {
        match self {
            Held::Lent(session) => Object::take(session),
            Held::Kept(session) => session,
        }
    }
}

impl Session {
    async fn open(options: &PgConnectOptions, statement: Duration) -> Result<Session, Error> {
        let mut connection = PgConnection::connect_with(options).await?;
        connection.execute(SETTINGS).await?;
        let mark = Uuid::new_v4();
        let (pid, begun_micros, losing, takes_no_writes, allows) = sqlx::query_as(
            "-- session_open
             SELECT pg_backend_pid(), (extract(epoch FROM a.backend_start) * 1000000)::bigint,
                    (SELECT string_agg(name, ' and ') FROM pg_settings WHERE name IN ('fsync', 'full_page_writes') AND setting = 'off'),
                    current_setting('transaction_read_only')::bool, current_setting('max_connections')::int,
                    set_config('statement_timeout', $1, false), set_config('payfleet.session', $2, false),
                    -- What is confirmed is on disk, whatever the server, the database or the role are set to; on the standby's too, where there is one.
                    set_config('synchronous_commit', CASE current_setting('synchronous_commit') WHEN 'remote_apply' THEN 'remote_apply' ELSE 'on' END, false)
               FROM pg_stat_activity a WHERE a.pid = pg_backend_pid()",
        )
        .bind(format!("{}ms", statement.as_millis()))
        .bind(mark.to_string())
        // Where sessions are shared, so are the names of statements.
        .persistent(false)
        .fetch_one(&mut connection)
        .await
        .map(
            |(pid, begun, losing, reads, allows, _, _, _): (i32, i64, Option<String>, bool, i32, String, String, String)| {
                (pid, begun, losing, reads, allows.unsigned_abs())
            },
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

    /// A cancelled `begin` of sqlx 0.9.0 leaves an open transaction, and the next write without one joins it and is lost with it (sqlx #4385, #4393).
    /// Our transactions are never cancelled without their connection; the ROLLBACK before each use is the second lock on that door. With a BEGIN before it, or the
    /// server would write a warning into its log each time: there is no transaction.
    ///
    /// And a server may take no writes any more: a connection to it is no use, and a new one may lead to another.
    async fn recycle(&self, session: &mut Session, _: &Metrics) -> RecycleResult<Error> {
        let clear = sqlx::raw_sql(
            "BEGIN; ROLLBACK; SELECT current_setting('transaction_read_only'), coalesce(current_setting('payfleet.session', true), '')",
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
        // A pooler in transaction mode hands out whatever session is free: this one marks the one that the first was given, which is found out then.
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

impl Connection {
    /// Has it stay with its holder from now on, whatever task that is, and end with it: what the session has (locks, tables, an open transaction) is
    /// nobody else's. The pool has a place for another one.
    pub(crate) fn keep(mut self) -> Connection {
        self.session = self.session.take().map(|session| Held::Kept(session.take()));
        self.place = None;
        if let Some(in_use) = self.sessions.inner.in_use().get_mut(&self.number) {
            in_use.lifeline = None;
        }
        self
    }

    /// Ends it, and waits a moment for the server to know.
    pub(crate) async fn end(self) -> Result<(), Error> {
        tokio::time::timeout(CLEAR, self.detach().close()).await.unwrap_or_else(|_| Err(silence()))
    }

    /// Takes it out, for somebody who watches it by other means.
    pub(crate) fn detach(mut self) -> PgConnection {
        let session = self.session.take().expect("it is there until it is dropped");
        session.take().connection
    }

    /// Whether the task that holds it was told that it is lost.
    fn is_given_up(&self) -> bool {
        let in_use = self.sessions.inner.in_use();
        in_use.get(&self.number).is_some_and(|held| held.lifeline.as_ref().is_some_and(CancellationToken::is_cancelled))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let is_given_up = self.is_given_up();
        self.sessions.inner.in_use().remove(&self.number);
        // The server rolls back what is open when it sees the end of the connection, at once.
        if let Some(Held::Lent(session)) = self.session.take()
            && (is_given_up || session.connection.is_in_transaction())
        {
            drop(Object::take(session));
        }
    }
}

impl Inner {
    fn in_use(&self) -> MutexGuard<'_, HashMap<u64, InUse>> {
        // Every critical section is one change.
        self.in_use.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the wait for these, and every connection that nobody waits for: they lead to the same place.
    fn give_up(&self, numbers: &[u64]) {
        tracing::warn!(connections = numbers.len(), "Postgres fell silent; connections to it are given up");
        silences(numbers.len() as u64);
        let tell = |number: &u64| {
            let mut in_use = self.in_use();
            let held = in_use.get_mut(number)?;
            (!std::mem::replace(&mut held.is_told, true)).then(|| held.clone())
        };
        let lost: Vec<InUse> = numbers.iter().filter_map(tell).collect();
        for held in lost {
            match held.lifeline {
                Some(lifeline) => lifeline.cancel(),
                None => self.lost.send_modify(|lost| *lost += 1),
            }
        }
        self.pool.retain(|_, _| false);
    }
}

fn silences(connections: u64) {
    metrics::counter!("payfleet_database_silences_total").increment(connections);
}

/// What the server says of sessions: their last change, if nothing is asked of them now.
type Activity = HashMap<SessionName, Option<i64>>;

/// Looks after the connections that are waited for, until the store is dropped.
async fn look_after(inner: Weak<Inner>, options: PgConnectOptions) {
    // What was seen of whom at the last look: not asked for anything since that instant.
    let mut idle: HashMap<u64, i64> = HashMap::new();
    let mut unanswered = 0;
    loop {
        tokio::time::sleep(LOOK).await;
        let Some(inner) = inner.upgrade() else { return };
        for unused in inner.pool.retain(|_, used| used.last_used() < UNUSED).removed {
            // The server sees the end of the connection in any case.
            tokio::spawn(tokio::time::timeout(CLEAR, unused.connection.close()));
        }
        let waiting: Vec<(u64, InUse)> = inner
            .in_use()
            .iter()
            .filter(|(_, held)| held.since.elapsed() >= LOOK && !held.is_told)
            .map(|(number, held)| (*number, held.clone()))
            .collect();
        if waiting.is_empty() {
            (idle, unanswered) = (HashMap::new(), 0);
            continue;
        }
        let pids: Vec<i32> = waiting.iter().map(|(_, held)| held.name.pid).collect();
        let lost: Vec<u64> = match tokio::time::timeout(LOOK, activity(&options, pids)).await {
            Ok(Ok(activity)) => {
                unanswered = 0;
                let mut now = HashMap::new();
                let mut lost = Vec::new();
                for (number, held) in &waiting {
                    let is_lost = match activity.get(&held.name) {
                        None => true,
                        // It has answered, and the answer did not arrive. One that is kept may rest.
                        Some(Some(changed)) if held.lifeline.is_some() => {
                            now.insert(*number, *changed);
                            idle.get(number) == Some(changed)
                        }
                        Some(_) => false,
                    };
                    lost.extend(is_lost.then_some(*number));
                }
                idle = now;
                lost
            }
            // It lives, and has no place for one more.
            Ok(Err(Error::Database(_))) => Vec::new(),
            Ok(Err(_)) | Err(_) => {
                unanswered += 1;
                match unanswered {
                    1 => Vec::new(),
                    _ => waiting.iter().map(|(number, _)| *number).collect(),
                }
            }
        };
        if !lost.is_empty() {
            inner.give_up(&lost);
        }
    }
}

/// Over a connection of its own: it must lead where a new one leads.
async fn activity(options: &PgConnectOptions, pids: Vec<i32>) -> Result<Activity, Error> {
    let mut connection = PgConnection::connect_with(options).await?;
    let rows: Vec<(i32, i64, Option<i64>)> = sqlx::query_as(
        "-- sessions_look
         SELECT pid, (extract(epoch FROM backend_start) * 1000000)::bigint,
                CASE WHEN state <> 'active' THEN (extract(epoch FROM state_change) * 1000000)::bigint END
           FROM pg_stat_activity WHERE pid = ANY($1)",
    )
    .bind(pids)
    .fetch_all(&mut connection)
    .await?;
    let named = |(pid, begun_micros, idle_since)| (SessionName { pid, begun_micros }, idle_since);
    Ok(rows.into_iter().map(named).collect())
}

impl Deref for Connection {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        match self.session.as_ref().expect("it is there until it is dropped") {
            Held::Lent(session) => &session.connection,
            Held::Kept(session) => &session.connection,
        }
    }
}

impl DerefMut for Connection {
    fn deref_mut(&mut self) -> &mut PgConnection {
        match self.session.as_mut().expect("it is there until it is dropped") {
            Held::Lent(session) => &mut session.connection,
            Held::Kept(session) => &mut session.connection,
        }
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("number", &self.number).finish_non_exhaustive()
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

    fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, Result<Describe<Postgres>, Error>>
    where
        'p: 'e,
    {
        Box::pin(async move { (&mut *self.acquire().await?).describe(sql).await })
    }
}
