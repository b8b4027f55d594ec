//! What the status screen asks.

use payfleet_domain::{Currency, PayoutState, RunId};
use sqlx::Row;
use time::OffsetDateTime;

use crate::batch::{currency, word};
use crate::connect::{Step, Store, StoreError, detached};

/// Payouts of one state and currency.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutcomeCount {
    /// Where they stand.
    pub state: PayoutState,
    /// In which currency.
    pub currency: Currency,
    /// How many.
    pub payouts: i64,
    /// Their sum in minor units.
    pub amount_minor: i128,
}

/// How often a code occurs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CodeCount {
    /// A refusal code, a reason for a hold, or what a batch last failed with.
    pub code: String,
    /// On which rail.
    pub rail: String,
    /// How many payouts.
    pub payouts: i64,
}

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
    /// Batches that were leased again after a lease had run out: work taken over from a lost worker.
    pub batches_recovered: i64,
    /// Payouts in batches that were finished in the last ten seconds.
    pub payouts_last_10_secs: i64,
    /// Since when the oldest open batch could have been worked on.
    pub oldest_open: Option<OffsetDateTime>,
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
    /// The database's clock.
    pub now: OffsetDateTime,
}

impl Store {
    /// How far a run's batches are.
    pub async fn run_progress(&self, run: RunId) -> Result<BatchProgress, StoreError> {
        let pool = self.pool.clone();
        detached(async move {
            let row = sqlx::query(
                "-- run_progress
                 SELECT coalesce(sum(b.payouts) FILTER (WHERE b.state IN ('done', 'held', 'cancelled')), 0)::bigint AS payouts_done,
                        coalesce(sum(b.payouts) FILTER (WHERE b.state <> 'split'), 0)::bigint AS payouts,
                        count(*) FILTER (WHERE b.state IN ('ready', 'sending', 'accepted') AND b.lease_until < clock_timestamp()) AS waiting,
                        count(*) FILTER (WHERE b.state IN ('ready', 'sending', 'accepted') AND b.lease_until >= clock_timestamp()) AS leased,
                        count(*) FILTER (WHERE b.state IN ('done', 'held', 'cancelled')) AS closed,
                        (SELECT count(DISTINCT a.batch_id) FROM attempt a JOIN batch o ON o.id = a.batch_id
                          WHERE o.run_id = $1 AND (a.result IS NULL OR a.result = 'superseded')) AS recovered,
                        coalesce(sum(b.payouts) FILTER (WHERE b.state IN ('done', 'held')
                          AND b.closed_at > clock_timestamp() - interval '10 seconds'), 0)::bigint AS recent,
                        -- Before its payment begins it has waited for nothing.
                        nullif(min(greatest(b.available_at, r.paying_at))
                                 FILTER (WHERE b.state IN ('ready', 'sending', 'accepted')), '-infinity') AS oldest
                   FROM batch b JOIN run r ON r.id = b.run_id WHERE b.run_id = $1",
            )
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
            })
        })
        .await
    }

    /// Everything the screen shows of a run. Reads every payout of it, once.
    pub async fn run_status(&self, run: RunId) -> Result<RunStatus, StoreError> {
        let progress = self.run_progress(run).await?;
        let pool = self.pool.clone();
        let (first, last) = run.payouts();
        detached(async move {
            let rows = sqlx::query(
                "-- run_outcomes
                 SELECT state, currency, count(*) AS payouts, sum(amount_minor)::text AS minor FROM payout
                  WHERE id BETWEEN $1 AND $2 GROUP BY state, currency ORDER BY state, currency",
            )
            .bind(first.0)
            .bind(last.0)
            .fetch_all(&pool)
            .await
            .step("run_outcomes")?;
            let outcomes = rows
                .iter()
                .map(|row| {
                    let minor: String = row.try_get("minor").step("run_outcomes")?;
                    Ok(OutcomeCount {
                        state: word(row, "state")?,
                        currency: currency(row, "currency")?,
                        payouts: row.try_get("payouts").step("run_outcomes")?,
                        amount_minor: minor.parse().map_err(|error| StoreError::Broken(format!("a sum of `{minor}`: {error}")))?,
                    })
                })
                .collect::<Result<_, StoreError>>()?;
            let codes: Vec<(String, String, i64)> = sqlx::query_as(
                "-- run_codes
                 SELECT code, rail, sum(payouts)::bigint FROM (
                   SELECT p.code, b.rail, count(*) AS payouts
                     FROM payout p JOIN batch b ON b.run_id = $3 AND b.state <> 'split' AND p.id BETWEEN b.first_payout_id AND b.last_payout_id
                    WHERE p.id BETWEEN $1 AND $2 AND p.code IS NOT NULL GROUP BY p.code, b.rail
                   UNION ALL
                   SELECT b.last_code, b.rail, b.payouts FROM batch b
                    WHERE b.run_id = $3 AND b.state IN ('ready', 'sending') AND b.last_code IS NOT NULL) AS c
                  GROUP BY code, rail ORDER BY 3 DESC, 1, 2",
            )
            .bind(first.0)
            .bind(last.0)
            .bind(run.0)
            .fetch_all(&pool)
            .await
            .step("run_codes")?;
            let now = sqlx::query_scalar("-- now\nSELECT clock_timestamp()").fetch_one(&pool).await.step("now")?;
            let codes = codes.into_iter().map(|(code, rail, payouts)| CodeCount { code, rail, payouts }).collect();
            Ok(RunStatus { outcomes, progress, codes, now })
        })
        .await
    }
}
