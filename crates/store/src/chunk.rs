//! The parts of a plan: a run's affiliates are cut into chunks once, and each chunk is planned by whoever locks it
//! first. So a plan is made on several connections at once, and a crash leaves what is planned planned and the rest to
//! the next coordinator.

use payfleet_domain::RunId;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};

use crate::connect::{Step, StoreError};

/// A part of a plan, locked by the running transaction.
pub(crate) struct Chunk {
    pub n: i32,
    /// The affiliates in it: excluded, included.
    pub after: i64,
    pub up_to: i64,
    /// Where the numbers of its payouts begin.
    pub first_place: i64,
    pub accounts: i64,
}

/// Above every affiliate's number. A range of Postgres cannot include the largest bigint.
const AFTER_ALL: i64 = i64::MAX - 1;

/// Cuts the run's affiliates into chunks of `size` accounts, or a few more where the last affiliate has several, if
/// that was not done yet. Everybody is in one of them: the first begins before all, the last ends after all, and who
/// comes later has nothing due in this run.
pub(crate) async fn cut(tx: &mut PgConnection, run: RunId, tenant: i32, size: i64) -> Result<(), StoreError> {
    if is_cut(tx, run).await? {
        return Ok(());
    }
    // Two coordinators cut the same run one after the other, and the second finds it done: it looks again after the
    // lock.
    sqlx::query("-- plan_cut_lock\nSELECT FROM run WHERE id = $1 FOR NO KEY UPDATE")
        .bind(run.0)
        .execute(&mut *tx)
        .await
        .step("plan_cut_lock")?;
    if is_cut(tx, run).await? {
        return Ok(());
    }
    sqlx::query(
        "-- plan_cut
         -- By skipping from one cut to the next in the order of affiliates: numbering all accounts takes three times as
         -- long.
         WITH RECURSIVE cut (n, after, up_to) AS (
           SELECT 1, 0::bigint,
                  (SELECT affiliate_id FROM account WHERE tenant_id = $4 ORDER BY tenant_id, affiliate_id OFFSET $2 - 1
                    LIMIT 1)
            UNION ALL
           SELECT n + 1, up_to,
                  (SELECT affiliate_id FROM account WHERE tenant_id = $4 AND affiliate_id > cut.up_to
                    ORDER BY tenant_id, affiliate_id OFFSET $2 - 1 LIMIT 1)
             FROM cut WHERE up_to IS NOT NULL),
         counted AS (
           SELECT n, after, coalesce(up_to, $3) AS up_to,
                  (SELECT count(*) FROM account WHERE tenant_id = $4 AND affiliate_id > after
                    AND affiliate_id <= coalesce(up_to, $3)) AS accounts
             FROM cut)
         INSERT INTO plan_chunk (run_id, n, tenant_id, after_affiliate, up_to, first_place, accounts)
         SELECT $1, n, $4, after, CASE WHEN lead(n) OVER (ORDER BY n) IS NULL THEN $3 ELSE up_to END,
                sum(accounts) OVER (ORDER BY n) - accounts, accounts
           FROM counted WHERE accounts > 0 OR n = 1
          ORDER BY n",
    )
    .bind(run.0)
    .bind(size)
    .bind(AFTER_ALL)
    .bind(tenant)
    .execute(tx)
    .await
    .step("plan_cut")?;
    Ok(())
}

async fn is_cut(tx: &mut PgConnection, run: RunId) -> Result<bool, StoreError> {
    sqlx::query_scalar("-- plan_is_cut\nSELECT EXISTS (SELECT FROM plan_chunk WHERE run_id = $1 AND n = 1)")
        .bind(run.0)
        .fetch_one(tx)
        .await
        .step("plan_is_cut")
}

/// Locks a chunk that is not planned: one that nobody is at, or, where somebody is at each, whichever is left behind
/// unplanned. `None`: all are planned.
pub(crate) async fn chunk_lock(tx: &mut PgConnection, run: RunId) -> Result<Option<Chunk>, StoreError> {
    loop {
        let free = sqlx::query(
            "-- plan_chunk_free
             SELECT n, after_affiliate, up_to, first_place, accounts FROM plan_chunk
              WHERE run_id = $1 AND NOT is_planned ORDER BY n LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED",
        )
        .bind(run.0)
        .fetch_optional(&mut *tx)
        .await
        .step("plan_chunk_free")?;
        if let Some(row) = free {
            return chunk(&row).map(Some);
        }
        // Waits for whoever is at the first of them; it is planned then, unless its transaction failed.
        let left = sqlx::query(
            "-- plan_chunk_left
             SELECT n, after_affiliate, up_to, first_place, accounts FROM plan_chunk
              WHERE run_id = $1 AND n = (SELECT min(n) FROM plan_chunk WHERE run_id = $1
                AND NOT is_planned) FOR NO KEY UPDATE",
        )
        .bind(run.0)
        .fetch_optional(&mut *tx)
        .await
        .step("plan_chunk_left")?;
        if left.is_none() {
            return Ok(None);
        }
    }
}

fn chunk(row: &PgRow) -> Result<Chunk, StoreError> {
    let read = "plan_chunk_read";
    Ok(Chunk {
        n: row.try_get("n").step(read)?,
        after: row.try_get("after_affiliate").step(read)?,
        up_to: row.try_get("up_to").step(read)?,
        first_place: row.try_get("first_place").step(read)?,
        accounts: row.try_get("accounts").step(read)?,
    })
}

/// Marks a chunk that the running transaction has planned.
pub(crate) async fn chunk_done(tx: &mut PgConnection, run: RunId, n: i32) -> Result<(), StoreError> {
    sqlx::query("-- plan_chunk_done\nUPDATE plan_chunk SET is_planned = true WHERE run_id = $1 AND n = $2")
        .bind(run.0)
        .bind(n)
        .execute(tx)
        .await
        .step("plan_chunk_done")?;
    Ok(())
}

/// Ends the planning of a run of which every chunk is planned. Does nothing to one that is planned already.
pub(crate) async fn plan_complete(tx: &mut PgConnection, run: RunId) -> Result<(), StoreError> {
    sqlx::query(
        "-- plan_complete
         UPDATE run SET state = 'planned', planned_at = clock_timestamp(),
                payouts = (SELECT coalesce(sum(accounts), 0) FROM run_plan WHERE run_id = $1 AND verdict = 'pay')
          WHERE id = $1 AND state = 'planning'
            AND NOT EXISTS (SELECT FROM plan_chunk WHERE run_id = $1 AND NOT is_planned)",
    )
    .bind(run.0)
    .execute(tx)
    .await
    .step("plan_complete")?;
    Ok(())
}
