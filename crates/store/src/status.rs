//! What the status screen asks.

use std::collections::HashMap;

use payfleet_domain::{Money, PayoutId, RunId};
use sqlx::Row;
use sqlx::postgres::PgRow;
use time::OffsetDateTime;

use crate::batch::currency;
use crate::connect::{Step, Store, StoreError, detached};
use crate::sql::open_states;
use crate::views::{CodeCount, OutcomeCount, Waits};

/// How far the batches of a run are. Cheap: reads batches, not payouts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchProgress {
    /// Payouts in batches that are finished or held.
    pub payouts_done: i64,
    /// Payouts in all.
    pub payouts: i64,
    /// Open batches that nobody has leased.
    pub batches_waiting: i64,
    /// Batches under a lease.
    pub batches_leased: i64,
    /// Batches that are finished, held, or cancelled.
    pub batches_closed: i64,
    /// Batches that another worker took over when a lease had ended that was not given back.
    pub batches_recovered: i64,
    /// Payouts in batches that were finished in the last ten seconds.
    pub payouts_last_10_secs: i64,
    /// Since when the oldest open batch has been: since it was first sent, or could have been.
    pub oldest_open: Option<OffsetDateTime>,
    /// Failures in a row of the open batch that has most.
    pub failures: i32,
}

/// What is told of a run beside its state: what waits for people, and what came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RunAside {
    /// Payouts that are held.
    pub held: i64,
    /// Payouts whose money came back.
    pub returned: i64,
}

/// A payout whose money came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReturnedPayout {
    /// Which.
    pub payout: PayoutId,
    /// The tenant's own name for the affiliate.
    pub affiliate: String,
    /// How much is due again.
    pub amount: Money,
    /// When that was learned, by the database's clock.
    pub learned_at: OffsetDateTime,
}

/// Everything the screen shows of one run.
#[derive(Debug, Clone)]
pub struct RunStatus {
    /// By state and currency.
    pub outcomes: Vec<OutcomeCount>,
    /// How far the batches are.
    pub progress: BatchProgress,
    /// What went wrong, by code, most frequent first.
    pub codes: Vec<CodeCount>,
    /// What its batches wait for, and who works.
    pub waits: Waits,
    /// The database's clock.
    pub now: OffsetDateTime,
}

impl Store {
    /// What is told of these runs beside their states, by run; nothing of those of which nothing is. Reads what is held
    /// and what came back, and no other payouts.
    pub async fn runs_aside(&self, runs: &[RunId]) -> Result<HashMap<RunId, RunAside>, StoreError> {
        let pool = self.pool.clone();
        let (runs, (first, last)): (Vec<i64>, (Vec<i64>, Vec<i64>)) =
            runs.iter().map(|run| (run.0, (run.payouts().0.0, run.payouts().1.0))).unzip();
        detached(async move {
            let rows: Vec<(i64, i64, i64)> = sqlx::query_as(
                "-- runs_aside
                 SELECT r.id, held.payouts, returned.payouts
                   FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS r (id, first, last),
                        LATERAL (SELECT count(*) AS payouts FROM hold h
                                  WHERE h.resolved_at IS NULL AND h.payout_id BETWEEN r.first AND r.last) AS held,
                        LATERAL (SELECT count(DISTINCT p.id) AS payouts FROM movement m JOIN payout p
                          ON p.id = m.payout_id
                                  WHERE m.payout_id BETWEEN r.first AND r.last AND m.kind = 'returned'
                                    AND p.state = 'returned') AS returned
                  WHERE held.payouts + returned.payouts > 0",
            )
            .bind(runs)
            .bind(first)
            .bind(last)
            .fetch_all(&pool)
            .await
            .step("runs_aside")?;
            Ok(rows.into_iter().map(|(run, held, returned)| (RunId(run), RunAside { held, returned })).collect())
        })
        .await
    }

    /// Payouts of a run whose money came back, the newest first.
    pub async fn returned_list(&self, run: RunId, limit: i64) -> Result<Vec<ReturnedPayout>, StoreError> {
        let pool = self.pool.clone();
        let (first, last) = run.payouts();
        detached(async move {
            let read = "returned_list";
            let rows = sqlx::query(
                "-- returned_list
                 SELECT p.id, a.external_id, p.amount_minor, p.currency, back.learned_at
                   FROM (SELECT payout_id, max(seen_at) AS learned_at FROM movement
                          WHERE payout_id BETWEEN $1 AND $2 AND kind = 'returned' GROUP BY payout_id) AS back
                   JOIN payout p ON p.id = back.payout_id AND p.state = 'returned'
                   JOIN affiliate a ON a.id = p.affiliate_id AND a.tenant_id = p.tenant_id
                  ORDER BY back.learned_at DESC, p.id LIMIT $3",
            )
            .bind(first.0)
            .bind(last.0)
            .bind(limit)
            .fetch_all(&pool)
            .await
            .step(read)?;
            let returned = |row: &PgRow| {
                let currency = currency(row, "currency")?;
                Ok(ReturnedPayout {
                    payout: PayoutId(row.try_get("id").step(read)?),
                    affiliate: row.try_get("external_id").step(read)?,
                    amount: Money { minor: row.try_get("amount_minor").step(read)?, currency },
                    learned_at: row.try_get("learned_at").step(read)?,
                })
            };
            rows.iter().map(returned).collect()
        })
        .await
    }

    /// How far a run's batches are.
    pub async fn run_progress(&self, run: RunId) -> Result<BatchProgress, StoreError> {
        let pool = self.pool.clone();
        detached(async move {
            let row = sqlx::query(concat!(
                "-- run_progress
                 SELECT coalesce(sum(b.payouts) FILTER (WHERE b.state NOT IN ",
                open_states!(),
                "
                   AND b.state <> 'split'), 0)::bigint AS payouts_done,
                        coalesce(sum(b.payouts) FILTER (WHERE b.state <> 'split'), 0)::bigint AS payouts,
                        count(*) FILTER (WHERE b.state IN ",
                open_states!(),
                "
                          AND b.lease_until < clock_timestamp()) AS waiting,
                        count(*) FILTER (WHERE b.state IN ",
                open_states!(),
                "
                          AND b.lease_until >= clock_timestamp()) AS leased,
                        count(*) FILTER (WHERE b.state NOT IN ",
                open_states!(),
                " AND b.state <> 'split') AS closed,
                        count(*) FILTER (WHERE b.taken_over > 0) AS recovered,
                        coalesce(sum(b.payouts) FILTER (WHERE b.state IN ('done', 'held')
                          AND b.closed_at > clock_timestamp() - interval '10 seconds'), 0)::bigint AS recent,
                        -- Since it was first sent, or could have been: a try that brought nothing makes it no younger.
                        min(CASE WHEN b.state = 'ready' THEN r.paying_at
                                 ELSE coalesce(b.first_sent_at, r.paying_at) END)
                          FILTER (WHERE b.state IN ",
                open_states!(),
                ") AS oldest,
                        coalesce(max(b.failures) FILTER (WHERE b.state IN ",
                open_states!(),
                "),
                          0) AS failures
                   FROM batch b JOIN run r ON r.id = b.run_id WHERE b.run_id = $1"
            ))
            .bind(run.0)
            .fetch_one(&pool)
            .await
            .step("run_progress")?;
            let read = |column: &str| row.try_get::<i64, _>(column).step("run_progress");
            Ok(BatchProgress {
                payouts_done: read("payouts_done")?,
                payouts: read("payouts")?,
                batches_waiting: read("waiting")?,
                batches_leased: read("leased")?,
                batches_closed: read("closed")?,
                batches_recovered: read("recovered")?,
                payouts_last_10_secs: read("recent")?,
                oldest_open: row.try_get("oldest").step("run_progress")?,
                failures: row.try_get("failures").step("run_progress")?,
            })
        })
        .await
    }

    /// Everything the screen shows of a run.
    pub async fn run_status(&self, run: RunId) -> Result<RunStatus, StoreError> {
        Ok(RunStatus {
            progress: self.run_progress(run).await?,
            outcomes: self.run_outcomes(run).await?,
            codes: self.run_codes(run).await?,
            waits: self.waits_read(&[run]).await?,
            now: self.now().await?,
        })
    }

    /// The database's clock.
    pub async fn now(&self) -> Result<OffsetDateTime, StoreError> {
        let pool = self.pool.clone();
        detached(
            async move { sqlx::query_scalar("-- now\nSELECT clock_timestamp()").fetch_one(&pool).await.step("now") },
        )
        .await
    }
}
