//! How Redis is reached, what it must be like, and what can go wrong with it.

use std::sync::Arc;
use std::time::Duration;

use deadpool_redis::redis::{
    self, AsyncConnectionConfig, Client, Cmd, FromRedisValue, Pipeline, RedisError, RedisResult,
};
use deadpool_redis::{Connection, Manager, Pool, PoolError, Runtime};

/// A server that takes longer to accept a connection is taken for gone.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Far above what any command here needs; the client's own default of 500 ms mistakes a busy moment for a failure.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(5);
/// Connections for everything but reading. Commands are short, so that a few serve a whole worker.
const CONNECTIONS_MAX: usize = 8;

/// The fleet's Redis. A clone is cheap and shares the connections, which are made when needed and made anew when lost.
#[derive(Clone)]
pub struct Queue {
    inner: Arc<Inner>,
}

struct Inner {
    client: Client,
    pool: Pool,
    prefix: String,
    /// Host and port, for errors: a URL may hold a password.
    place: String,
}

/// What went wrong with Redis. Nothing is lost by it: ask again later.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// The URL is none.
    #[error(
        "the Redis URL cannot be used: give it as redis://[user:password@]host:port/database, or rediss:// for TLS"
    )]
    Url(#[source] RedisError),
    /// The prefix cannot be part of keys and patterns.
    #[error("`{0}` cannot be the prefix of keys in Redis: use 1 to 64 letters, digits, `-`, `_` and `:`")]
    Prefix(String),
    /// No connection.
    #[error("Redis at {place} cannot be reached: check that it runs and that address and password are right")]
    Unreachable {
        /// Host and port.
        place: String,
        /// What the pool or the operating system said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// It may throw away hints, locks and limits when its memory is full.
    #[error(
        "Redis at {place} has maxmemory-policy {policy} and would throw hints away when its memory is full: run \
         `CONFIG SET maxmemory-policy noeviction` and set it in redis.conf"
    )]
    Evicts {
        /// Host and port.
        place: String,
        /// What it is set to.
        policy: String,
    },
    /// A command failed.
    #[error("Redis at {place} failed to {doing}")]
    Command {
        /// Host and port.
        place: String,
        /// What was to be done.
        doing: &'static str,
        /// What Redis or the connection said.
        source: RedisError,
    },
    /// An answer of another form than documented.
    #[error("Redis at {place} gave an answer that makes no sense when asked to {doing}: is it Redis 7 or Valkey?")]
    Answer {
        /// Host and port.
        place: String,
        /// What was to be done.
        doing: &'static str,
    },
    /// A rate that can never be met.
    #[error("{calls} calls at once are never permitted at {per_sec} calls a second: ask for fewer, or raise the limit")]
    Rate {
        /// How many were asked for.
        calls: u32,
        /// What is allowed in a second.
        per_sec: u32,
    },
}

impl Queue {
    /// Opens the fleet's Redis, and verifies that it answers and never evicts.
    pub async fn connect(url: &str, prefix: &str) -> Result<Queue, QueueError> {
        let queue = Queue::open(url, prefix)?;
        queue.verify().await?;
        Ok(queue)
    }

    /// Opens the fleet's Redis, which may be away. All keys begin with `prefix`, so that several installations can
    /// share a server.
    pub fn open(url: &str, prefix: &str) -> Result<Queue, QueueError> {
        let fit = |byte: u8| byte.is_ascii_alphanumeric() || b"-_:".contains(&byte);
        if prefix.is_empty() || prefix.len() > 64 || !prefix.bytes().all(fit) {
            return Err(QueueError::Prefix(prefix.to_owned()));
        }
        payfleet_runtime::tls::cryptography_set(); // for rediss://
        let client = Client::open(url).map_err(QueueError::Url)?;
        let place = client.get_connection_info().addr().to_string();
        let manager = Manager::new_with_config(url, settings(RESPONSE_TIMEOUT)).map_err(QueueError::Url)?;
        let pool = Pool::builder(manager)
            .max_size(CONNECTIONS_MAX)
            .runtime(Runtime::Tokio1)
            .wait_timeout(Some(RESPONSE_TIMEOUT))
            .create_timeout(Some(CONNECT_TIMEOUT))
            .recycle_timeout(Some(CONNECT_TIMEOUT))
            .build()
            .map_err(|source| QueueError::Unreachable { place: place.clone(), source: Box::new(source) })?;
        Ok(Queue { inner: Arc::new(Inner { client, pool, prefix: prefix.to_owned(), place }) })
    }

    /// Whether Redis answers now.
    pub async fn ping(&self) -> Result<(), QueueError> {
        let _: redis::Value = self.command("answer a ping", &redis::cmd("PING")).await?;
        Ok(())
    }

    /// Whether Redis answers, and never throws away what it was given.
    pub async fn verify(&self) -> Result<(), QueueError> {
        let doing = "tell its maxmemory-policy";
        let memory: String = self.command(doing, redis::cmd("INFO").arg("memory")).await?;
        match memory.lines().find_map(|line| line.strip_prefix("maxmemory_policy:")).map(str::trim) {
            Some("noeviction") => Ok(()),
            Some(policy) => Err(QueueError::Evicts { place: self.inner.place.clone(), policy: policy.to_owned() }),
            None => Err(self.nonsense(doing)),
        }
    }

    /// The key with this name.
    pub(crate) fn key(&self, kind: &str, name: &str) -> String {
        format!("{}:{kind}:{name}", self.inner.prefix)
    }

    /// A connection from the pool.
    pub(crate) async fn connection(&self) -> Result<Connection, QueueError> {
        self.inner.pool.get().await.map_err(|error| match error {
            PoolError::Backend(source) => self.unreachable(source),
            other => QueueError::Unreachable { place: self.inner.place.clone(), source: Box::new(other) },
        })
    }

    /// A connection that nobody else uses, whose answers may take as long as `patience`.
    pub(crate) async fn own_connection(
        &self,
        patience: Duration,
    ) -> Result<redis::aio::MultiplexedConnection, QueueError> {
        let settings = settings(patience);
        self.inner
            .client
            .get_multiplexed_async_connection_with_config(&settings)
            .await
            .map_err(|source| self.unreachable(source))
    }

    pub(crate) async fn command<T: FromRedisValue>(&self, doing: &'static str, command: &Cmd) -> Result<T, QueueError> {
        self.pass(doing, "before").await?;
        let mut connection = self.connection().await?;
        let result = command.query_async(&mut connection).await;
        self.pass(doing, "after").await?;
        self.judge(doing, connection, result)
    }

    pub(crate) async fn pipeline<T: FromRedisValue>(
        &self,
        doing: &'static str,
        pipeline: &Pipeline,
    ) -> Result<T, QueueError> {
        self.pass(doing, "before").await?;
        let mut connection = self.connection().await?;
        let result = pipeline.query_async(&mut connection).await;
        self.pass(doing, "after").await?;
        self.judge(doing, connection, result)
    }

    /// A failpoint looks like a server that is gone.
    pub(crate) async fn pass(&self, doing: &str, place: &str) -> Result<(), QueueError> {
        payfleet_failpoint::pass(doing, place)
            .await
            .map_err(|injected| QueueError::Unreachable { place: self.inner.place.clone(), source: Box::new(injected) })
    }

    /// Gives an answer its error, and a connection that led to a demoted master no second use.
    pub(crate) fn judge<T>(
        &self,
        doing: &'static str,
        connection: Connection,
        result: RedisResult<T>,
    ) -> Result<T, QueueError> {
        result.map_err(|source| {
            if source.code() == Some("READONLY") {
                drop(Connection::take(connection));
            }
            self.failed(doing, source)
        })
    }

    pub(crate) fn failed(&self, doing: &'static str, source: RedisError) -> QueueError {
        QueueError::Command { place: self.inner.place.clone(), doing, source }
    }

    pub(crate) fn nonsense(&self, doing: &'static str) -> QueueError {
        QueueError::Answer { place: self.inner.place.clone(), doing }
    }

    fn unreachable(&self, source: RedisError) -> QueueError {
        QueueError::Unreachable { place: self.inner.place.clone(), source: Box::new(source) }
    }
}

fn settings(patience: Duration) -> AsyncConnectionConfig {
    AsyncConnectionConfig::new().set_connection_timeout(Some(CONNECT_TIMEOUT)).set_response_timeout(Some(patience))
}
