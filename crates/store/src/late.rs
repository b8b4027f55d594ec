//! What waits for a run: months that none has counted yet, and what became due of months that one has. Nothing here
//! moves money; it is what imports and commands say, so that nothing slips in silence.

use payfleet_domain::{RunId, TenantId, TransferKind};
use sqlx::PgConnection;
use time::OffsetDateTime;

use crate::connect::{Step, Store, StoreError, detached};
use crate::row::from_row;
use crate::sql::{month_name, month_of};

/// So many commissions of a month.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct MonthCount {
    /// The month in which they are due, as `2011-11`.
    pub month: String,
    /// How many.
    pub commissions: i64,
}

from_row!(MonthCount { month, commissions });

/// A run that was cancelled, and whose money is due again in the next one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CancelledRun {
    /// Which.
    pub run: RunId,
    /// Its month.
    pub period: String,
}

/// What became due of months that were run, for the tenant's next run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DueSince {
    /// What became known after the run of its month.
    pub late: Vec<MonthCount>,
    /// What was cancelled.
    pub cancelled: Vec<CancelledRun>,
}

impl DueSince {
    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.late.is_empty() && self.cancelled.is_empty()
    }

    /// Only what is of this month and those before it.
    pub fn up_to(mut self, month: &str) -> DueSince {
        self.late.retain(|late| late.month.as_str() <= month);
        self.cancelled.retain(|cancelled| cancelled.period.as_str() <= month);
        self
    }
}

impl Store {
    /// What became due of months that were run, for the run after the tenant's newest.
    pub async fn due_since(&self, tenant: TenantId) -> Result<DueSince, StoreError> {
        let pool = self.pool.clone();
        detached(async move {
            let mut connection = pool.acquire().await.step("due_since")?;
            let newest: Option<i32> =
                sqlx::query_scalar("-- due_since_newest\nSELECT max(ordinal) FROM run WHERE tenant_id = $1")
                    .bind(tenant.0)
                    .fetch_one(&mut *connection)
                    .await
                    .step("due_since_newest")?;
            let Some(newest) = newest else { return Ok(DueSince::default()) };
            let late = late_months(&mut connection, tenant.0, newest, false).await?;
            let cancelled: Vec<(i64, String)> = sqlx::query_as(
                "-- due_since_cancelled
                 SELECT r.id, r.period
                   FROM (SELECT DISTINCT payout_id >> 32 AS run_id FROM transfer
                          WHERE tenant_id = $1 AND due_in = $2 + 1 AND kind = $3) AS t
                   JOIN run r ON r.id = t.run_id
                  WHERE r.tenant_id = $1 AND r.state = 'cancelled' ORDER BY r.id",
            )
            .bind(tenant.0)
            .bind(newest)
            .bind(TransferKind::Release.number())
            .fetch_all(&mut *connection)
            .await
            .step("due_since_cancelled")?;
            let cancelled =
                cancelled.into_iter().map(|(run, period)| CancelledRun { run: RunId(run), period }).collect();
            Ok(DueSince { late, cancelled })
        })
        .await
    }

    /// The months after the tenant's newest run and before this instant in which commissions are due, in order.
    pub async fn months_unrun(&self, tenant: TenantId, before: OffsetDateTime) -> Result<Vec<String>, StoreError> {
        let pool = self.pool.clone();
        detached(async move {
            let mut connection = pool.acquire().await.step("months_unrun")?;
            months_unrun(&mut connection, tenant.0, before).await
        })
        .await
    }
}

/// What waits for the run after this one since it became known late, by the month in which it is due; or all that
/// waits, also what the run left to the next one since its account's balance is too large to be told, which its
/// exclusion says.
pub(crate) async fn late_months(
    connection: &mut PgConnection,
    tenant: i32,
    newest: i32,
    all: bool,
) -> Result<Vec<MonthCount>, StoreError> {
    sqlx::query_as(concat!(
        "-- late_months
         SELECT ",
        month_name!("m"),
        " AS month, commissions
           FROM (SELECT due_month AS m, count(*) AS commissions FROM commission
                  WHERE tenant_id = $1 AND late_for = $2 + 1
                    AND ($3 OR (affiliate_id, currency) NOT IN (
                          SELECT x.affiliate_id, x.currency FROM run r JOIN exclusion x ON x.run_id = r.id
                           WHERE r.tenant_id = $1 AND r.ordinal = $2 AND x.reason = 'balance_out_of_range'))
                  GROUP BY due_month) AS late
          ORDER BY m"
    ))
    .bind(tenant)
    .bind(newest)
    .bind(all)
    .fetch_all(connection)
    .await
    .step("late_months")
}

/// The months after the newest run's window and before the one of this instant, by skipping from one to the next.
pub(crate) async fn months_unrun(
    connection: &mut PgConnection,
    tenant: i32,
    before: OffsetDateTime,
) -> Result<Vec<String>, StoreError> {
    sqlx::query_scalar(concat!(
        "-- months_unrun
         WITH RECURSIVE bound AS (
           SELECT (SELECT ",
        month_of!("at"),
        "
                     FROM (SELECT max(cutoff) AS at FROM run WHERE tenant_id = $1) AS newest) AS low,
                  (SELECT ",
        month_of!("at"),
        "
                     FROM (SELECT $2::timestamptz AS at) AS utc) AS high),
         month (m) AS (
           SELECT (SELECT min(due_month) FROM commission
                    WHERE tenant_id = $1 AND late_for IS NULL AND due_month > coalesce((SELECT low FROM bound), -1))
            UNION ALL
           SELECT (SELECT min(due_month) FROM commission WHERE tenant_id = $1 AND late_for IS NULL AND due_month > m)
             FROM month WHERE m < (SELECT high FROM bound))
         SELECT ",
        month_name!("m"),
        "
           FROM month WHERE m < (SELECT high FROM bound) ORDER BY m"
    ))
    .bind(tenant)
    .bind(before)
    .fetch_all(connection)
    .await
    .step("months_unrun")
}
