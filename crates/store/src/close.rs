//! Guard G5: a run is settled only when everybody is accounted for.

use std::fmt;

use payfleet_domain::invariant::{Total, run_adds_up};
use payfleet_domain::{AlarmKind, PayoutState, RunId};
use sqlx::Row;
use sqlx::postgres::PgRow;

use crate::alarm::run_raise;
use crate::connect::{Step, Store, StoreError};
use crate::outcomes::run_count;
use crate::sql::open_states;

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

impl fmt::Display for NotBalanced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let NotBalanced { currency, payouts, exclusions } = self;
        write!(f, "{currency}: {} payouts planned and {} accounted for, ", payouts.0, payouts.1)?;
        write!(f, "{} exclusions planned and {} written; or their sums differ", exclusions.0, exclusions.1)
    }
}

impl Store {
    /// G5. Settles a run, or what was sent of a cancelled one, if no batch is open and, by currency, the counts and
    /// sums of paid, refused, returned, held and cancelled payouts and of exclusions add up to what was due at the
    /// cutoff.
    ///
    /// Reads each payout, once in a run's life: a guard does not ask what is kept for people to look at, and it is the
    /// moment in which that is proven too.
    pub async fn run_close(&self, run: RunId) -> Result<CloseVerdict, StoreError> {
        self.transaction("run_close", move |tx| {
            Box::pin(async move {
                let ready: Option<bool> = sqlx::query_scalar(
                    "-- run_close_lock
                     SELECT paused_at IS NULL FROM run WHERE id = $1 AND state IN ('paying', 'cancelled')
                       AND settled_at IS NULL FOR NO KEY UPDATE",
                )
                .bind(run.0)
                .fetch_optional(&mut *tx)
                .await
                .step("run_close_lock")?;
                // A second statement, so that it sees what was committed while we waited for the lock.
                let open: bool = sqlx::query_scalar(concat!(
                    "-- run_open_batches
                     SELECT EXISTS (SELECT FROM batch WHERE run_id = $1 AND state IN ",
                    open_states!(),
                    ")"
                ))
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
                let balances = sqlx::query(
                    "-- run_balance
                     WITH plan AS (
                       SELECT currency, sum(accounts) FILTER (WHERE verdict = 'pay') AS pay,
                              sum(amount_minor) FILTER (WHERE verdict = 'pay') AS pay_minor,
                              sum(accounts) FILTER (WHERE verdict <> 'pay') AS exclude,
                              sum(amount_minor) FILTER (WHERE verdict <> 'pay') AS exclude_minor
                         FROM run_plan WHERE run_id = $1 GROUP BY currency),
                     stands AS MATERIALIZED (
                       SELECT currency, state, count(*) AS n, sum(amount_minor) AS minor FROM payout
                        WHERE id BETWEEN $2 AND $3 GROUP BY currency, state),
                     kept AS (
                       SELECT currency, state, sum(payouts) AS n, sum(minor) AS minor FROM batch_outcome
                        WHERE run_id = $1 GROUP BY currency, state),
                     paid AS (
                       SELECT currency, sum(n)::bigint AS n, sum(minor) AS minor FROM stands
                        WHERE state = ANY($4) GROUP BY currency),
                     excluded AS (
                       SELECT currency, count(*) AS n, sum(amount_minor) AS minor FROM exclusion WHERE run_id = $1
                         GROUP BY currency)
                     SELECT currency, coalesce(pay, 0)::bigint AS pay, coalesce(pay_minor, 0)::text AS pay_minor,
                            coalesce(paid.n, 0) AS paid, coalesce(paid.minor, 0)::text AS paid_minor,
                            coalesce(exclude, 0)::bigint AS exclude, coalesce(exclude_minor, 0)::text AS exclude_minor,
                            coalesce(excluded.n, 0) AS excluded, coalesce(excluded.minor, 0)::text AS excluded_minor,
                            EXISTS (SELECT FROM stands s FULL JOIN kept k USING (currency, state)
                                     WHERE (s.n, s.minor) IS DISTINCT FROM (k.n, k.minor)) AS is_miscounted
                       FROM plan FULL JOIN paid USING (currency) FULL JOIN excluded USING (currency)
                      ORDER BY currency",
                )
                .bind(run.0)
                .bind(first.0)
                .bind(last.0)
                .bind(accounted)
                .fetch_all(&mut *tx)
                .await
                .step("run_balance")?;
                let mut is_miscounted = false;
                for row in balances {
                    is_miscounted = row.try_get("is_miscounted").step("run_balance")?;
                    let payouts = (total(&row, "pay", "pay_minor")?, total(&row, "paid", "paid_minor")?);
                    let excluded = total(&row, "excluded", "excluded_minor")?;
                    let exclusions = (total(&row, "exclude", "exclude_minor")?, excluded);
                    if run_adds_up(payouts.0, payouts.1) && run_adds_up(exclusions.0, exclusions.1) {
                        continue;
                    }
                    let difference = NotBalanced {
                        currency: row.try_get("currency").step("run_balance")?,
                        payouts: (payouts.0.accounts, payouts.1.accounts),
                        exclusions: (exclusions.0.accounts, exclusions.1.accounts),
                    };
                    run_raise(tx, run, AlarmKind::OutOfBalance, &difference.to_string()).await?;
                    return Ok(CloseVerdict::NotBalanced(difference));
                }
                sqlx::query(
                    "-- run_settle
                     UPDATE run SET state = CASE state WHEN 'paying' THEN 'settled'
                       ELSE state END, settled_at = clock_timestamp() WHERE id = $1",
                )
                .bind(run.0)
                .execute(&mut *tx)
                .await
                .step("run_settle")?;
                if is_miscounted {
                    run_count(tx, run).await?;
                }
                Ok(CloseVerdict::Settled)
            })
        })
        .await
    }
}

/// Reads how many there are, and their sum: as text, since it may be more than a bigint.
pub(crate) fn total(row: &PgRow, accounts: &str, minor: &str) -> Result<Total, StoreError> {
    let text: String = row.try_get(minor).step("row_read")?;
    let amount_minor = text.parse().map_err(|error| StoreError::Broken(format!("a sum of `{text}`: {error}")))?;
    Ok(Total { accounts: row.try_get(accounts).step("row_read")?, amount_minor })
}
