//! How many payouts of a batch are in which state, and their sums: kept on the batch by every transaction that moves
//! them, under the batch's lock. Whoever looks asks the view `batch_outcome`, and reads no payouts.
//!
//! Counted anew each time and not added to. It costs next to nothing where the payouts are read anyway to see where the
//! batch stands, and no mistake outlives the next count. What moves payouts and does not count leaves a mark (see the
//! migration), and what is not newer than all marks is not believed; [`Store::outcomes_count`] counts such batches when
//! nobody leaves marks any more.
//!
//! Kept counts are for people. Guards do not ask them: G5 and the reconciler read the payouts, and say so if the counts
//! should be wrong.

use payfleet_domain::{BatchId, RunId};
use sqlx::PgConnection;

use crate::connect::{Step, Store, StoreError};

/// What the payouts of a batch were found to be, to be kept on the batch.
#[derive(Debug, Clone)]
pub(crate) struct Counted {
    /// As column `outcomes` has it.
    pub outcomes: String,
    /// As column `counted_after` has it.
    pub after: String,
}

/// The counts of the states of payouts as column `outcomes` has them, from rows of (`state`, `payouts`, `minor`).
macro_rules! outcomes_sql {
    () => {
        "coalesce(jsonb_agg(jsonb_build_object('state', state, 'payouts', payouts, 'minor', minor) ORDER BY state),
           '[]')"
    };
}
pub(crate) use outcomes_sql;

/// How long nobody must have left a mark before the fleet counts again: as long as programs of the version before are
/// at work, each count would be in doubt at once.
const QUIET: &str = "1 minute";

/// Counts the payouts of batches, and keeps that. The caller has their locks, since an earlier statement: what another
/// transaction moved before it let go of them is seen then.
pub(crate) async fn batches_count(tx: &mut PgConnection, batches: &[i64]) -> Result<(), StoreError> {
    if batches.is_empty() {
        return Ok(());
    }
    sqlx::query(concat!(
        "-- batches_count
         UPDATE batch b SET outcomes = counted.outcomes, counted_after = pg_snapshot_xmin(pg_current_snapshot())
           FROM (SELECT o.id, (
                   SELECT ",
        outcomes_sql!(),
        "
                     FROM (SELECT p.state, count(*) AS payouts, sum(p.amount_minor) AS minor FROM payout p
                            WHERE p.id BETWEEN o.first_payout_id AND o.last_payout_id
                            GROUP BY p.state) AS s) AS outcomes
                   FROM batch o WHERE o.id = ANY($1)) AS counted
          WHERE b.id = counted.id"
    ))
    .bind(batches)
    .execute(tx)
    .await
    .step("batches_count")?;
    Ok(())
}

/// Counts the batches that have these payouts now, under their locks: one that is being split meanwhile is not among
/// them, and its parts are.
pub(crate) async fn payouts_count(tx: &mut PgConnection, payouts: &[i64]) -> Result<(), StoreError> {
    let mut batches = batches_of_lock(tx, payouts).await?;
    loop {
        let again = batches_of_lock(tx, payouts).await?;
        if again == batches {
            return batches_count(tx, &batches).await;
        }
        batches = again;
    }
}

/// Locks the batches that have these payouts, in order.
pub(crate) async fn batches_of_lock(tx: &mut PgConnection, payouts: &[i64]) -> Result<Vec<i64>, StoreError> {
    if payouts.is_empty() {
        return Ok(Vec::new());
    }
    sqlx::query_scalar(
        "-- batches_of_lock
         SELECT b.id FROM batch b
          WHERE b.state <> 'split' AND b.id IN (
                SELECT o.id FROM unnest($1::bigint[]) AS p (id)
                  JOIN batch o ON o.run_id = p.id >> 32 AND p.id BETWEEN o.first_payout_id AND o.last_payout_id)
          ORDER BY b.id FOR NO KEY UPDATE OF b",
    )
    .bind(payouts)
    .fetch_all(tx)
    .await
    .step("batches_of_lock")
}

/// Keeps what was counted of one batch.
pub(crate) async fn batch_keep(tx: &mut PgConnection, batch: BatchId, counted: &Counted) -> Result<(), StoreError> {
    sqlx::query("-- batch_keep\nUPDATE batch SET outcomes = $2::jsonb, counted_after = $3::xid8 WHERE id = $1")
        .bind(batch.0)
        .bind(&counted.outcomes)
        .bind(&counted.after)
        .execute(tx)
        .await
        .step("batch_keep")?;
    Ok(())
}

/// What is kept of a run was found to differ from its payouts, which must not be: says so, and counts them again.
pub(crate) async fn run_count(tx: &mut PgConnection, run: RunId) -> Result<(), StoreError> {
    tracing::error!(%run, "what was kept of its outcomes is wrong; its payouts are counted again");
    let batches: Vec<i64> = sqlx::query_scalar(
        "-- run_count
         SELECT id FROM batch WHERE run_id = $1 AND state <> 'split' ORDER BY id FOR NO KEY UPDATE",
    )
    .bind(run.0)
    .fetch_all(&mut *tx)
    .await
    .step("run_count")?;
    batches_count(tx, &batches).await
}

impl Store {
    /// Counts the payouts of batches, at most `limit`, of which nobody has counted them, or not surely so: those from
    /// before they were kept, and those that were moved by programs of that time. Returns how many; fewer than `limit`
    /// say that nothing is left. Nothing is done while such programs are at work.
    pub async fn outcomes_count(&self, limit: i64) -> Result<u64, StoreError> {
        self.transaction("outcomes_count", move |tx| {
            Box::pin(async move {
                let batches: Vec<i64> = sqlx::query_scalar(
                    "-- outcomes_uncounted
                     SELECT k.batch_id FROM batch_counted k
                      WHERE NOT k.is_kept AND NOT EXISTS (
                            SELECT FROM uncounted_move u
                             WHERE u.xid BETWEEN pg_snapshot_xmin(pg_current_snapshot())
                                             AND pg_snapshot_xmax(pg_current_snapshot())
                                OR u.at > clock_timestamp() - $2::text::interval)
                      LIMIT $1 FOR NO KEY UPDATE OF k SKIP LOCKED",
                )
                .bind(limit)
                .bind(QUIET)
                .fetch_all(&mut *tx)
                .await
                .step("outcomes_uncounted")?;
                batches_count(tx, &batches).await?;
                Ok(batches.len() as u64)
            })
        })
        .await
    }
}
