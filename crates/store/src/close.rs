//! Guard G5: a run is settled only when everybody is accounted for.

use payfleet_domain::{PayoutState, RunId};
use sqlx::Row;

use crate::connect::{Step, Store, StoreError};

/// What trying to close a run found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CloseVerdict {
    /// It is settled now.
    Settled,
    /// Work is left, or it is not in a state that can be closed.
    NotYet,
    /// Counts or sums do not add up to what was due. The run was paused.
    NotBalanced(NotBalanced),
}

/// By how much outcomes and plan differ in one currency.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotBalanced {
    /// In which currency.
    pub currency: String,
    /// Payouts planned, and payouts accounted for.
    pub payouts: (i64, i64),
    /// Exclusions planned, and exclusions written.
    pub exclusions: (i64, i64),
}

impl Store {
    /// G5. Settles a run if no batch is open and, by currency, the counts and sums of paid, refused, returned, held and cancelled payouts and of
    /// exclusions add up to what was due at the cutoff.
    pub async fn run_close(&self, run: RunId) -> Result<CloseVerdict, StoreError> {
        self.transaction("run_close", move |tx| {
            Box::pin(async move {
                let ready: Option<bool> = sqlx::query_scalar(
                    "-- run_close_lock\nSELECT paused_at IS NULL FROM run WHERE id = $1 AND state = 'paying' FOR NO KEY UPDATE",
                )
                .bind(run.0)
                .fetch_optional(&mut *tx)
                .await
                .step("run_close_lock")?;
                // A second statement, so that it sees what was committed while we waited for the lock.
                let open: bool = sqlx::query_scalar(
                    "-- run_open_batches
                     SELECT EXISTS (SELECT FROM batch WHERE run_id = $1 AND state IN ('ready', 'sending', 'accepted'))",
                )
                .bind(run.0)
                .fetch_one(&mut *tx)
                .await
                .step("run_open_batches")?;
                if ready != Some(true) || open {
                    return Ok(CloseVerdict::NotYet);
                }
                let accounted: Vec<&str> =
                    PayoutState::ALL.iter().filter(|state| state.is_accounted_for()).map(PayoutState::as_str).collect();
                let (first, last) = run.payouts();
                let wrong = sqlx::query(
                    "-- run_balance
                     WITH plan AS (
                       SELECT currency, sum(accounts) FILTER (WHERE verdict = 'pay') AS pay,
                              sum(amount_minor) FILTER (WHERE verdict = 'pay') AS pay_minor,
                              sum(accounts) FILTER (WHERE verdict <> 'pay') AS exclude,
                              sum(amount_minor) FILTER (WHERE verdict <> 'pay') AS exclude_minor
                         FROM run_plan WHERE run_id = $1 GROUP BY currency),
                     paid AS (
                       SELECT currency, count(*) AS n, sum(amount_minor) AS minor FROM payout
                        WHERE id BETWEEN $2 AND $3 AND state = ANY($4) GROUP BY currency),
                     excluded AS (
                       SELECT currency, count(*) AS n, sum(amount_minor) AS minor FROM exclusion WHERE run_id = $1 GROUP BY currency)
                     SELECT currency, coalesce(pay, 0)::bigint AS pay, coalesce(paid.n, 0) AS paid,
                            coalesce(exclude, 0)::bigint AS exclude, coalesce(excluded.n, 0) AS excluded
                       FROM plan FULL JOIN paid USING (currency) FULL JOIN excluded USING (currency)
                      WHERE (coalesce(pay, 0), coalesce(pay_minor, 0), coalesce(exclude, 0), coalesce(exclude_minor, 0))
                         <> (coalesce(paid.n, 0), coalesce(paid.minor, 0), coalesce(excluded.n, 0), coalesce(excluded.minor, 0))
                      ORDER BY currency LIMIT 1",
                )
                .bind(run.0)
                .bind(first.0)
                .bind(last.0)
                .bind(accounted)
                .fetch_optional(&mut *tx)
                .await
                .step("run_balance")?;
                if let Some(row) = wrong {
                    let count = |column: &str| row.try_get::<i64, _>(column).step("run_balance");
                    let difference = NotBalanced {
                        currency: row.try_get("currency").step("run_balance")?,
                        payouts: (count("pay")?, count("paid")?),
                        exclusions: (count("exclude")?, count("excluded")?),
                    };
                    sqlx::query(
                        "-- run_unbalanced
                         UPDATE run SET paused_at = clock_timestamp(), pause_reason = 'outcomes do not add up to what was due' WHERE id = $1",
                    )
                    .bind(run.0)
                    .execute(tx)
                    .await
                    .step("run_unbalanced")?;
                    return Ok(CloseVerdict::NotBalanced(difference));
                }
                sqlx::query("-- run_settle\nUPDATE run SET state = 'settled', settled_at = clock_timestamp() WHERE id = $1")
                    .bind(run.0)
                    .execute(tx)
                    .await
                    .step("run_settle")?;
                Ok(CloseVerdict::Settled)
            })
        })
        .await
    }
}
