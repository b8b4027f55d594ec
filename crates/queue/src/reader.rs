//! Reading hints. A reader has a connection of its own, because a read that waits holds up everything else on its
//! connection.

use std::time::Duration;

use deadpool_redis::redis::aio::MultiplexedConnection;
use deadpool_redis::redis::{self, RedisError, Value};
use tokio::task::JoinHandle;

use crate::entry::{array, entries, text};
use crate::stream::GROUP;
use crate::{Delivery, Queue, QueueError};

/// How long Redis waits for a hint before it answers that there is none. Short, so that a worker that is told to stop
/// does.
const BLOCK: Duration = Duration::from_secs(2);
/// Longer than Redis may wait: a client that gives up first leaves a read behind, and the next hint goes to nobody.
const PATIENCE: Duration = Duration::from_secs(10);

const DOING: &str = "read hints";

/// Reads the hints of some rails as one consumer.
///
/// A read is never cancelled: it runs as a task of its own, and if the future of [`read`](Reader::read) is dropped (a
/// timeout, a `select!`), the next call gets what that read was given. Only a reader that is dropped in the middle of a
/// read leaves hints behind; they are pending, and `claim_forgotten` finds them.
pub struct Reader {
    queue: Queue,
    rails: Vec<String>,
    consumer: String,
    connection: Option<MultiplexedConnection>,
    running: Option<JoinHandle<Round>>,
}

/// What one read came to.
enum Round {
    Given(Value),
    /// Redis has lost the group or the stream.
    NoGroup,
    Failed(RedisError),
}

impl Queue {
    /// A reader of the hints of these rails. `consumer` must be the name of one process incarnation: two that share one
    /// take each other's hints for their own. It connects with its first read.
    pub fn reader(&self, rails: &[&str], consumer: &str) -> Reader {
        Reader {
            queue: self.clone(),
            rails: rails.iter().map(|rail| (*rail).to_owned()).collect(),
            consumer: consumer.to_owned(),
            connection: None,
            running: None,
        }
    }
}

impl Reader {
    /// The next hints, at most `count` of each rail. Waits up to two seconds for the first of them; none is an empty
    /// answer.
    ///
    /// The group is made, or made again after Redis was wiped, beginning at the stream's first entry, so that no hint
    /// is passed over. After an error the next call connects again; do not call it in a tight loop.
    pub async fn read(&mut self, count: usize) -> Result<Vec<Delivery>, QueueError> {
        self.queue.pass(DOING, "before").await?;
        let given = self.read_twice(count).await;
        self.queue.pass(DOING, "after").await?;
        given
    }

    async fn read_twice(&mut self, count: usize) -> Result<Vec<Delivery>, QueueError> {
        // Twice, since a group that was missing is made in between.
        for _ in 0..2 {
            match self.round(count).await? {
                Round::Given(value) => return self.deliveries(value).ok_or_else(|| self.queue.nonsense(DOING)),
                Round::NoGroup => self.make_groups().await?,
                Round::Failed(error) => {
                    self.connection = None;
                    return Err(self.queue.failed(DOING, error));
                }
            }
        }
        // Wiped again in this very moment. No hint is a true answer.
        Ok(Vec::new())
    }

    async fn round(&mut self, count: usize) -> Result<Round, QueueError> {
        let running = match self.running.take() {
            Some(running) => running,
            None => tokio::spawn(read_once(self.connection().await?, self.command(count))),
        };
        // The handle stays with the reader while it is awaited: if this is cancelled here, the task goes on and is
        // found again.
        let ended = self.running.insert(running).await;
        self.running = None;
        // A task ends in no other way than with its round, unless the whole runtime is shut down.
        ended.map_err(|_| self.queue.nonsense(DOING))
    }

    async fn connection(&mut self) -> Result<MultiplexedConnection, QueueError> {
        match &self.connection {
            Some(connection) => Ok(connection.clone()),
            None => Ok(self.connection.insert(self.queue.own_connection(PATIENCE).await?).clone()),
        }
    }

    fn command(&self, count: usize) -> redis::Cmd {
        let mut command = redis::cmd("XREADGROUP");
        command.arg("GROUP").arg(GROUP).arg(&self.consumer).arg("COUNT").arg(count.max(1));
        command.arg("BLOCK").arg(BLOCK.as_millis() as u64).arg("STREAMS");
        for rail in &self.rails {
            command.arg(self.queue.stream(rail));
        }
        for _ in &self.rails {
            command.arg(">");
        }
        command
    }

    async fn make_groups(&self) -> Result<(), QueueError> {
        for rail in &self.rails {
            let mut command = redis::cmd("XGROUP");
            // At 0 and not at `$`, which would skip what was published before the group was there.
            command.arg("CREATE").arg(self.queue.stream(rail)).arg(GROUP).arg("0").arg("MKSTREAM");
            match self.queue.command::<Value>("make a group", &command).await {
                Ok(_) => tracing::info!(rail, "made the group of a stream; all hints in it are read from the first on"),
                // Somebody else made it.
                Err(QueueError::Command { source, .. }) if source.code() == Some("BUSYGROUP") => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// `nil`, or `[[stream, entries], ...]`.
    fn deliveries(&self, value: Value) -> Option<Vec<Delivery>> {
        let mut deliveries = Vec::new();
        for stream in array(value)? {
            let mut parts = array(stream)?.into_iter();
            let key = text(parts.next()?)?;
            let rail = self.rails.iter().find(|rail| self.queue.stream(rail) == key)?;
            let given = entries(parts.next()?)?;
            deliveries.extend(given.into_iter().map(|(entry, hint)| Delivery { rail: rail.clone(), entry, hint }));
        }
        Some(deliveries)
    }
}

async fn read_once(mut connection: MultiplexedConnection, command: redis::Cmd) -> Round {
    match command.query_async(&mut connection).await {
        Ok(value) => Round::Given(value),
        // UNBLOCKED: the stream went away while the read was waiting at it.
        Err(error) if matches!(error.code(), Some("NOGROUP" | "UNBLOCKED")) => Round::NoGroup,
        Err(error) => Round::Failed(error),
    }
}
