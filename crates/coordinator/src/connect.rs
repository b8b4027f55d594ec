//! The servers that the commands use.

use payfleet_queue::Queue;
use payfleet_runtime::secret::SecretError;
use payfleet_store::{Store, chain};

use crate::cli::Cli;
use crate::failure::Failure;

/// At most. Commands do one thing at a time and open one, and a second for what is asked meanwhile; only planning uses
/// more (`--connections`).
const CONNECTIONS: u32 = 64;

/// Postgres, whatever its schema.
pub async fn open_store(cli: &Cli) -> Result<Store, Failure> {
    Ok(Store::connect(cli.database.url()?.expose(), CONNECTIONS).await?)
}

/// Postgres, with the schema of this program.
pub async fn open_schema(cli: &Cli) -> Result<Store, Failure> {
    let store = open_store(cli).await?;
    store.schema_check().await?;
    Ok(store)
}

/// The same, for what plans, frees money or lets it go on: only if it is the database that the fleet knows.
pub async fn open_to_act(cli: &Cli) -> Result<Store, Failure> {
    let store = open_to_recover(cli).await?;
    store.generation_check("coordinator").await?;
    Ok(store)
}

/// The same, with what is remembered of it outside, and not asked whether it has all that.
pub async fn open_to_recover(cli: &Cli) -> Result<Store, Failure> {
    let store = open_schema(cli).await?;
    let queue = open_queue(cli, "what the fleet has seen of the database is not known here").await?;
    Ok(payfleet_memory::remembering(store, &cli.state, queue).await?)
}

/// What it means to a command that plans, if Redis is not there.
pub const SWEEPER_WILL: &str = "the workers' sweeper will publish the work";

/// Redis, if it is there. Nothing here needs it; `without` says what is missed.
pub async fn open_queue(cli: &Cli, without: &str) -> Result<Option<Queue>, Failure> {
    let url = match cli.redis.url() {
        Ok(url) => url,
        Err(SecretError::Missing { .. }) => {
            tracing::info!("no Redis URL is given (PAYFLEET_REDIS_URL): {without}");
            return Ok(None);
        }
        Err(error) => return Err(error.into()),
    };
    match Queue::connect(url.expose(), &cli.redis_prefix).await {
        Ok(queue) => Ok(Some(queue)),
        Err(error @ (payfleet_queue::QueueError::Url(_) | payfleet_queue::QueueError::Prefix(_))) => Err(error.into()),
        Err(error) => {
            tracing::warn!(error = chain(&error), "Redis cannot be used: {without}");
            Ok(None)
        }
    }
}
