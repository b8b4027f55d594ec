//! What became of a run's payouts, in counts.

use payfleet_domain::{Currency, PayoutState, RunId};
use sqlx::PgConnection;
use sqlx::postgres::PgRow;

use crate::batch::{currency, word};
use crate::close::total;
use crate::connect::{Step, Store, StoreError, detached};
use crate::sql::{unanswered, unanswered_batches};

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

impl Store {
    /// What became of a run's payouts, by state and currency. Reads batches, and no payouts but those of batches that
    /// nobody has counted.
    pub async fn run_outcomes(&self, run: RunId) -> Result<Vec<OutcomeCount>, StoreError> {
        let pool = self.pool.clone();
        detached(async move {
            let mut connection = pool.acquire().await.step("run_outcomes")?;
            outcomes_read(&mut connection, run).await
        })
        .await
    }

    /// What went wrong in a run, by code, most frequent first. Looks at what was refused or is held, and into batches
    /// that are tried again.
    pub async fn run_codes(&self, run: RunId) -> Result<Vec<CodeCount>, StoreError> {
        let pool = self.pool.clone();
        let (first, last) = run.payouts();
        detached(async move {
            let codes: Vec<(String, String, i64)> = sqlx::query_as(concat!(
                "-- run_codes
                 SELECT code, rail, sum(payouts)::bigint FROM (
                   SELECT p.code, b.rail, count(*) AS payouts
                     FROM payout p JOIN batch b ON b.run_id = $3 AND b.state <> 'split'
                                               AND p.id BETWEEN b.first_payout_id AND b.last_payout_id
                    WHERE p.id BETWEEN $1 AND $2 AND p.code IS NOT NULL GROUP BY p.code, b.rail
                   UNION ALL
                   -- Of a batch that is tried again: those without an answer, not those that have one meanwhile.
                   SELECT b.last_code, b.rail, o.payouts
                     FROM batch b JOIN batch_outcome o ON o.batch_id = b.id
                    WHERE b.run_id = $3 AND b.state IN ",
                unanswered_batches!(),
                " AND b.last_code IS NOT NULL
                      AND o.state IN ",
                unanswered!(),
                ") AS c
                  GROUP BY code, rail ORDER BY 3 DESC, 1, 2"
            ))
            .bind(first.0)
            .bind(last.0)
            .bind(run.0)
            .fetch_all(&pool)
            .await
            .step("run_codes")?;
            Ok(codes.into_iter().map(|(code, rail, payouts)| CodeCount { code, rail, payouts }).collect())
        })
        .await
    }
}

/// See [`Store::run_outcomes`].
pub(crate) async fn outcomes_read(connection: &mut PgConnection, run: RunId) -> Result<Vec<OutcomeCount>, StoreError> {
    let read = "run_outcomes";
    let rows = sqlx::query(
        "-- run_outcomes
         SELECT state, currency, sum(payouts)::bigint AS payouts, sum(minor)::text AS minor FROM batch_outcome
          WHERE run_id = $1 GROUP BY state, currency ORDER BY state, currency",
    )
    .bind(run.0)
    .fetch_all(connection)
    .await
    .step(read)?;
    let count = |row: &PgRow| {
        let sum = total(row, "payouts", "minor")?;
        Ok(OutcomeCount {
            state: word(row, "state")?,
            currency: currency(row, "currency")?,
            payouts: sum.accounts,
            amount_minor: sum.amount_minor,
        })
    };
    rows.iter().map(count).collect()
}
