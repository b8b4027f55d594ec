//! What the status screen asks.

use std::collections::HashMap;

use payfleet_domain::{Currency, Money, PayoutId, PayoutState, RunId};
use sqlx::Row;
use sqlx::postgres::PgRow;
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
    /// Since when the oldest open batch could have been worked on, or was first.
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
    /// The database's clock.
    pub now: OffsetDateTime,
}

impl Store {
    /// What is told of these runs beside their states, by run; nothing of those of which nothing is. Reads what is held and what came back, and no other
    /// payouts.
    pub async fn runs_aside(&self, runs: &[RunId]) -> Result<HashMap<RunId, RunAside>, StoreError> {
        let pool = self.pool.clone();
        let (runs, (first, last)): (Vec<i64>, (Vec<i64>, Vec<i64>)) =
            runs.iter().map(|run| (run.0, (run.payouts().0.0, run.payouts().1.0))).unzip();
        detached(async move {
            let rows: Vec<(i64, i64, i64)> = sqlx::query_as(
                "-- runs_aside
                 SELECT r.id, held.payouts, returned.payouts FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS r (id, first, last),
                        LATERAL (SELECT count(*) AS payouts FROM hold h
                                  WHERE h.resolved_at IS NULL AND h.payout_id BETWEEN r.first AND r.last) AS held,
                        LATERAL (SELECT count(DISTINCT p.id) AS payouts FROM movement m JOIN payout p ON p.id = m.payout_id
                                  WHERE m.payout_id BETWEEN r.first AND r.last AND m.kind = 'returned' AND p.state = 'returned') AS returned
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
                        nullif(min(greatest(least(b.available_at, (SELECT min(a.opened_at) FROM attempt a WHERE a.batch_id = b.id)), r.paying_at))
                                 FILTER (WHERE b.state IN ('ready', 'sending', 'accepted')), '-infinity') AS oldest,
                        coalesce(max(b.failures) FILTER (WHERE b.state IN ('ready', 'sending', 'accepted')), 0) AS failures
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
                failures: row.try_get("failures").step("run_progress")?,
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
                   -- Of a batch that is tried again: those without an answer, not those that have one meanwhile.
                   SELECT b.last_code, b.rail, count(*) FROM batch b JOIN payout p ON p.id BETWEEN b.first_payout_id AND b.last_payout_id
                    WHERE b.run_id = $3 AND b.state IN ('ready', 'sending') AND b.last_code IS NOT NULL
                      AND p.id BETWEEN $1 AND $2 AND p.code IS NULL AND p.state IN ('planned', 'unknown') GROUP BY b.id) AS c
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
