//! Counts and sums of a run beside what was found.

use std::collections::BTreeMap;
use std::time::Duration;

use payfleet_domain::{BatchState, Currency, PayoutState};
use sqlx::{PgConnection, Row};

use super::Reconciliation;
use crate::batch::{currency, word};
use crate::close::total;
use crate::connect::{Step, StoreError};
use crate::lease::interval;
use crate::outcomes::run_count;
use crate::run::RunRow;
use crate::sql::open_states;
use crate::views::outcomes_read;

/// How many, and how much.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct SummaryLine {
    /// In which currency.
    pub currency: Currency,
    /// `due`, a payout's state, or `excluded`.
    pub what: String,
    /// The reason code of an exclusion, or the code of a refusal or hold.
    pub reason: Option<String>,
    /// How many accounts.
    pub accounts: i64,
    /// Their sum in minor units.
    pub amount_minor: i128,
}

/// A run in numbers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Summary {
    /// By currency, what, and reason.
    pub lines: Vec<SummaryLine>,
    /// Payouts that have been waiting for people for too long.
    pub held_too_long: i64,
    /// What is kept of its outcomes for people to look at differs from its payouts.
    pub is_miscounted: bool,
}

/// Batches that keep a run open.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct OpenBatches {
    /// Of which rail.
    pub rail: String,
    /// Where they stand.
    pub state: BatchState,
    /// How many.
    pub batches: i64,
    /// Payouts in them.
    pub payouts: i64,
}

pub(super) async fn summary_read(
    connection: &mut PgConnection,
    run: &RunRow,
    held_after: Duration,
) -> Result<Summary, StoreError> {
    let read = "summary_read";
    let rows = sqlx::query(
        "-- summary_read
         SELECT currency, 'due' AS what, NULL AS reason, sum(accounts)::bigint AS accounts,
           sum(amount_minor)::text AS minor, 0 AS rank
           FROM run_plan WHERE run_id = $1 GROUP BY currency
         UNION ALL
         SELECT currency, state, code, count(*), sum(amount_minor)::text, 1 FROM payout WHERE id BETWEEN $2 AND $3
           GROUP BY currency, state, code
         UNION ALL
         SELECT currency, 'excluded', reason, count(*), sum(amount_minor)::text, 2 FROM exclusion WHERE run_id = $1
           GROUP BY currency, reason
          ORDER BY currency, rank, what, reason",
    )
    .bind(run.id.0)
    .bind(run.id.payouts().0.0)
    .bind(run.id.payouts().1.0)
    .fetch_all(&mut *connection)
    .await
    .step(read)?;
    let lines = rows
        .iter()
        .map(|row| {
            let sum = total(row, "accounts", "minor")?;
            Ok(SummaryLine {
                currency: currency(row, "currency")?,
                what: row.try_get("what").step(read)?,
                reason: row.try_get("reason").step(read)?,
                accounts: sum.accounts,
                amount_minor: sum.amount_minor,
            })
        })
        .collect::<Result<Vec<SummaryLine>, StoreError>>()?;
    let mut payouts = BTreeMap::<(PayoutState, Currency), (i64, i128)>::new();
    for line in &lines {
        if let Ok(state) = line.what.parse() {
            let sum = payouts.entry((state, line.currency)).or_default();
            *sum = (sum.0 + line.accounts, sum.1 + line.amount_minor);
        }
    }
    let kept = outcomes_read(&mut *connection, run.id).await?.into_iter();
    let kept = kept.map(|kept| ((kept.state, kept.currency), (kept.payouts, kept.amount_minor)));
    let is_miscounted = payouts != kept.collect();
    let held_too_long = sqlx::query_scalar(
        "-- held_too_long
         SELECT count(*) FROM hold WHERE run_id = $1 AND resolved_at IS NULL AND opened_at < clock_timestamp() - $2",
    )
    .bind(run.id.0)
    .bind(interval(held_after))
    .fetch_one(connection)
    .await
    .step("held_too_long")?;
    Ok(Summary { lines, held_too_long, is_miscounted })
}

impl Reconciliation {
    /// Counts the run's outcomes again if they were found to be wrong.
    pub(super) async fn outcomes_mend(&self, summary: &Summary) -> Result<(), StoreError> {
        if !summary.is_miscounted {
            return Ok(());
        }
        let run = self.run.id;
        self.store.transaction("run_count", move |tx| Box::pin(run_count(tx, run))).await
    }

    /// The batches that keep the run open.
    pub async fn batches_open(&mut self) -> Result<Vec<OpenBatches>, StoreError> {
        let read = "batches_open";
        let rows = sqlx::query(concat!(
            "-- batches_open
             SELECT rail, state, count(*) AS batches, sum(payouts)::bigint AS payouts FROM batch
              WHERE run_id = $1 AND state IN ",
            open_states!(),
            "
              GROUP BY rail, state
              ORDER BY rail, state"
        ))
        .bind(self.run.id.0)
        .fetch_all(&mut *self.connection)
        .await
        .step(read)?;
        rows.iter()
            .map(|row| {
                Ok(OpenBatches {
                    rail: row.try_get("rail").step(read)?,
                    state: word(row, "state")?,
                    batches: row.try_get("batches").step(read)?,
                    payouts: row.try_get("payouts").step(read)?,
                })
            })
            .collect()
    }
}
