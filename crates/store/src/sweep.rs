//! What keeps runs going when nothing else does: the sweeper's lock and its questions.

use std::collections::HashSet;
use std::time::Duration;

use payfleet_domain::{BatchId, RunId};
use sqlx::postgres::PgConnection;
use sqlx::{Connection, Executor, Row};

use crate::connect::{Step, Store, StoreError, detached, pass};
use crate::lease::interval;
use crate::locks::SWEEP_LOCK;
use crate::sql::open_states;

/// How long a sweeper may be silent. It pings before each sweep, every second as a rule. Whoever sweeps for longer
/// loses the right, and two sweep for a while, which harms nobody.
const SILENCE: &str = "SET idle_session_timeout = '3s'";

/// Work that was due before so long should have been hinted at: twice as long as a follower needs to become the
/// sweeper.
const LATE: Duration = Duration::from_secs(4);

/// How long the server may take to answer a ping before the right is taken for lost.
const PATIENCE: Duration = Duration::from_secs(2);

/// The right to sweep, held by a connection of its own: whatever ends the process or its connection ends the right. A
/// process that is stopped, or cut off, keeps its connection; so the server ends the session when nothing was heard on
/// it for [`SILENCE`].
#[derive(Debug)]
pub struct SweepLock {
    connection: PgConnection,
}

impl SweepLock {
    /// Whether the lock is still ours, that is, whether its connection lives.
    pub async fn is_held(mut self) -> Option<SweepLock> {
        // Spawned like every database future; the lock comes back with the answer.
        let checked = tokio::spawn(async move {
            let answered = tokio::time::timeout(PATIENCE, self.connection.ping()).await;
            matches!(answered, Ok(Ok(()))).then_some(self)
        });
        checked.await.ok().flatten()
    }
}

/// Whether a batch of these rails was due so long ago.
macro_rules! late_sql {
    ($rails:literal, $ago:literal) => {
        concat!(
            "EXISTS (SELECT FROM run r WHERE r.state IN ('paying', 'cancelled') AND r.paused_at IS NULL AND EXISTS (
               SELECT FROM batch b
                WHERE b.rail = ANY(",
            $rails,
            ") AND b.run_id = r.id AND b.state IN ",
            open_states!(),
            "
                  AND b.available_at < clock_timestamp() - ",
            $ago,
            " AND b.lease_until < clock_timestamp() - ",
            $ago,
            "
                  AND (r.paying_at < clock_timestamp() - ",
            $ago,
            " AND r.state = 'paying' OR b.state <> 'ready')))"
        )
    };
}

/// Who sweeps.
#[derive(Debug)]
pub enum Sweeper {
    /// Whoever asked, from now on.
    Ours(SweepLock),
    /// Another.
    Anothers {
        /// Whether something of these rails waits for a worker though it was due some seconds ago.
        work_is_late: bool,
    },
}

impl Store {
    /// Tries to become the sweeper; and looks, in the same question, whether work waits that workers should have been
    /// hinted at long ago. It may: hints wait their turn behind those of a long run. To a worker with a free place that
    /// hears no hints it says that there are none to hear.
    pub async fn sweep_lock(&self, rails: Vec<&'static str>) -> Result<Sweeper, StoreError> {
        let pool = self.pool.clone();
        detached(async move {
            let mut connection = pool.acquire().await.step("sweep_lock")?;
            let (got, work_is_late): (bool, bool) =
                sqlx::query_as(concat!("-- sweep_lock\nSELECT pg_try_advisory_lock($1), ", late_sql!("$2", "$3")))
                    .bind(SWEEP_LOCK)
                    .bind(rails)
                    .bind(interval(LATE))
                    .fetch_one(&mut *connection)
                    .await
                    .step("sweep_lock")?;
            if !got {
                return Ok(Sweeper::Anothers { work_is_late });
            }
            connection.execute(SILENCE).await.step("sweep_lock")?;
            // Detached from the pool, or the next borrower would be the sweeper.
            Ok(Sweeper::Ours(SweepLock { connection: connection.detach() }))
        })
        .await
    }

    /// Whether something of these rails waits for a worker though it was due some seconds ago.
    pub async fn work_is_late(&self, rails: Vec<&'static str>) -> Result<bool, StoreError> {
        let pool = self.pool.clone();
        detached(async move {
            sqlx::query_scalar(concat!("-- work_is_late\nSELECT ", late_sql!("$1", "$2")))
                .bind(rails)
                .bind(interval(LATE))
                .fetch_one(&pool)
                .await
                .step("work_is_late")
        })
        .await
    }

    /// Asks for something real.
    pub async fn answers(&self) -> Result<(), StoreError> {
        let pool = self.pool.clone();
        detached(async move {
            let _: bool = sqlx::query_scalar("-- answers\nSELECT EXISTS (SELECT FROM run)")
                .fetch_one(&pool)
                .await
                .step("answers")?;
            Ok(())
        })
        .await
    }

    /// Lets the fleet begin on runs whose plan is complete. Returns how many.
    pub async fn runs_begin(&self) -> Result<u64, StoreError> {
        self.transaction("runs_begin", move |tx| {
            Box::pin(async move {
                let begun = sqlx::query(
                    "-- runs_begin
                     UPDATE run SET state = 'paying', paying_at = clock_timestamp() WHERE state = 'planned'
                       AND paused_at IS NULL
                         AND NOT EXISTS (SELECT FROM recovery WHERE closed_at IS NULL)",
                )
                .execute(tx)
                .await
                .step("runs_begin")?;
                Ok(begun.rows_affected())
            })
        })
        .await
    }

    /// Batches of a rail that are due and free and have no hint in the stream, at most `limit`, taking turns between
    /// runs, so that a small run never waits for a large one to end. Rule `expired_is_held`: what may not be sent any
    /// more too.
    pub async fn batches_due(
        &self,
        rail: &'static str,
        hinted: HashSet<BatchId>,
        limit: i64,
    ) -> Result<Vec<BatchId>, StoreError> {
        let pool = self.pool.clone();
        detached(async move {
            pass("batches_due", "before").await?;
            let hinted: Vec<i64> = hinted.into_iter().map(|batch| batch.0).collect();
            let rows: Vec<i64> = sqlx::query_scalar(concat!(
                "-- batches_due
                 SELECT due.id
                   FROM run r, LATERAL (
                     SELECT b.id, row_number() OVER (ORDER BY b.id) AS turn FROM batch b
                      WHERE b.rail = $1 AND b.run_id = r.id AND b.state IN ",
                open_states!(),
                "
                        AND b.available_at <= clock_timestamp() AND b.lease_until < clock_timestamp()
                        AND (r.state = 'paying' OR b.state <> 'ready') AND b.id <> ALL($2)
                      ORDER BY b.id LIMIT $3) AS due
                  WHERE r.state IN ('paying', 'cancelled') AND r.paused_at IS NULL
                    AND EXISTS (SELECT FROM batch o WHERE o.rail = $1 AND o.run_id = r.id
                      AND o.state IN ",
                open_states!(),
                ")
                  ORDER BY due.turn, r.id LIMIT $3"
            ))
            .bind(rail)
            .bind(hinted)
            .bind(limit)
            .fetch_all(&pool)
            .await
            .step("batches_due")?;
            pass("batches_due", "after").await?;
            Ok(rows.into_iter().map(BatchId).collect())
        })
        .await
    }

    /// Workers that hold leases now.
    pub async fn workers_leasing(&self) -> Result<u32, StoreError> {
        let pool = self.pool.clone();
        detached(async move {
            let workers: i64 = sqlx::query_scalar(concat!(
                "-- workers_leasing
                 SELECT count(DISTINCT lease_owner) FROM batch
                  WHERE state IN ",
                open_states!(),
                " AND lease_until > clock_timestamp()"
            ))
            .fetch_one(&pool)
            .await
            .step("workers_leasing")?;
            Ok(u32::try_from(workers).unwrap_or(u32::MAX))
        })
        .await
    }

    /// Rails with open batches.
    pub async fn rails_open(&self) -> Result<Vec<String>, StoreError> {
        let pool = self.pool.clone();
        detached(async move {
            let rows = sqlx::query(concat!(
                "-- rails_open
                 WITH RECURSIVE rail (name) AS (
                   SELECT min(rail) FROM batch WHERE state IN ",
                open_states!(),
                "
                   UNION ALL
                   SELECT (SELECT min(rail) FROM batch WHERE state IN ",
                open_states!(),
                " AND rail > name)
                     FROM rail WHERE name IS NOT NULL)
                 SELECT name FROM rail WHERE name IS NOT NULL"
            ))
            .fetch_all(&pool)
            .await
            .step("rails_open")?;
            rows.iter().map(|row| row.try_get("name").step("rails_open")).collect()
        })
        .await
    }

    /// Runs that may be ready to be closed: paying or cancelled, with nothing open.
    pub async fn runs_closable(&self) -> Result<Vec<RunId>, StoreError> {
        let pool = self.pool.clone();
        detached(async move {
            let rows: Vec<i64> = sqlx::query_scalar(concat!(
                "-- runs_closable
                 SELECT r.id FROM run r WHERE r.state IN ('paying', 'cancelled') AND r.settled_at IS NULL
                   AND r.paused_at IS NULL
                    AND NOT EXISTS (SELECT FROM batch b WHERE b.run_id = r.id
                      AND b.state IN ",
                open_states!(),
                ")"
            ))
            .fetch_all(&pool)
            .await
            .step("runs_closable")?;
            Ok(rows.into_iter().map(RunId).collect())
        })
        .await
    }

    /// Cancelled runs in which a batch, or a part of one, has come back unsent since.
    pub async fn runs_to_cancel(&self) -> Result<Vec<RunId>, StoreError> {
        let pool = self.pool.clone();
        detached(async move {
            let rows: Vec<i64> = sqlx::query_scalar(
                "-- runs_to_cancel
                 SELECT DISTINCT r.id FROM run r JOIN batch b ON b.run_id = r.id
                  WHERE r.state = 'cancelled'
                    AND (b.state = 'ready'
                         OR b.state = 'sending' AND b.lease_until < clock_timestamp()
                            AND NOT EXISTS (SELECT FROM attempt a WHERE a.batch_id = b.id AND a.result IS NULL)
                            AND EXISTS (SELECT FROM payout p WHERE p.id BETWEEN b.first_payout_id AND b.last_payout_id
                              AND p.state = 'planned'))",
            )
            .fetch_all(&pool)
            .await
            .step("runs_to_cancel")?;
            Ok(rows.into_iter().map(RunId).collect())
        })
        .await
    }
}
