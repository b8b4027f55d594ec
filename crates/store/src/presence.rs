//! What a worker says of itself, for screens that explain why work waits. Nothing is decided by it. In Postgres, since
//! Redis may be what is away.

use time::OffsetDateTime;

use crate::connect::{Step, Store, StoreError, detached};
use crate::sql::open_states;

/// What a worker says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerWords {
    /// Its name: that of one process incarnation.
    pub name: String,
    /// The version of its build.
    pub version: String,
    /// When it started, by its own clock.
    pub started_at: OffsetDateTime,
    /// It takes no new work.
    pub is_ending: bool,
    /// Which rails it can call.
    pub rails: Vec<String>,
    /// Names of credentials that are used on those rails, and that it cannot read.
    pub lacks: Vec<String>,
    /// Where it has lately waited for the rate at which an account takes calls: `RAIL/ACCOUNT`.
    pub paced: Vec<String>,
    /// Why it is not ready, if so.
    pub trouble: Option<String>,
}

impl Store {
    /// Takes down what a worker says, and forgets those that have long been silent. Returns the names of the
    /// credentials that tenants and open batches use on its rails, and no name if some need none. One statement: an
    /// idle fleet says it all the time.
    pub async fn worker_say(&self, words: WorkerWords) -> Result<Vec<Option<String>>, StoreError> {
        let pool = self.pool.clone();
        detached(async move {
            sqlx::query_scalar(concat!(
                "-- worker_say
                 WITH said AS (
                   INSERT INTO worker (name, version, started_at, is_ending, rails, lacks, paced, trouble)
                   VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
                       ON CONFLICT (name) DO UPDATE
                      SET seen_at = clock_timestamp(), is_ending = excluded.is_ending, rails = excluded.rails,
                          lacks = excluded.lacks, paced = excluded.paced, trouble = excluded.trouble),
                 gone AS (
                   DELETE FROM worker WHERE seen_at < clock_timestamp() - interval '1 hour' AND name <> $1)
                 SELECT credential FROM tenant_rail WHERE rail = ANY($5)
                  UNION
                 SELECT credential FROM batch
                  WHERE state IN ",
                open_states!(),
                " AND rail = ANY($5)
                  ORDER BY credential"
            ))
            .bind(words.name)
            .bind(words.version)
            .bind(words.started_at)
            .bind(words.is_ending)
            .bind(words.rails)
            .bind(words.lacks)
            .bind(words.paced)
            .bind(words.trouble)
            .fetch_all(&pool)
            .await
            .step("worker_say")
        })
        .await
    }

    /// Takes a worker that has ended off the list.
    pub async fn worker_leave(&self, name: &str) -> Result<(), StoreError> {
        let (pool, name) = (self.pool.clone(), name.to_owned());
        detached(async move {
            sqlx::query("-- worker_leave\nDELETE FROM worker WHERE name = $1")
                .bind(name)
                .execute(&pool)
                .await
                .step("worker_leave")?;
            Ok(())
        })
        .await
    }
}
