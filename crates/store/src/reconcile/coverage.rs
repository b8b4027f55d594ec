//! Which accounts are read, which runs are judged, and how far the statements must reach for that.

use std::time::Duration;

use payfleet_domain::{RAILS, Rail, RunId};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};
use time::OffsetDateTime;

use super::{Reconciliation, StatementAccount};
use crate::connect::{Step, Store, StoreError, detached};
use crate::lease::interval;

/// An account whose statement does not reach far enough yet to say anything of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uncovered {
    /// Which rail.
    pub rail: String,
    /// The account there.
    pub account: String,
    /// Up to when its statement is known without a gap, by our clock; `None` if nothing of it was ever read to its end.
    pub reaches: Option<OffsetDateTime>,
    /// When everybody in the run was accounted for: what it must reach.
    pub wanted: OffsetDateTime,
}

pub(super) fn account(row: &PgRow) -> Result<StatementAccount, StoreError> {
    Ok(StatementAccount {
        rail: row.try_get("rail").step("statement_accounts")?,
        account: row.try_get("account").step("statement_accounts")?,
        credential: row.try_get("credential").step("statement_accounts")?,
    })
}

/// Rails whose payments stand on no statement.
pub(super) fn silent_rails() -> Vec<&'static str> {
    RAILS.iter().filter(|rail| !rail.has_statement).map(|rail| rail.name).collect()
}

/// How long after a payment a statement may still bring news of it: until the money cannot come back any more, and what
/// is late on a statement is on it.
fn news_window(rail: &Rail) -> Duration {
    rail.return_window + rail.statement_lag + 2 * rail.dead_after()
}

impl Store {
    /// Every account that was ever paid from, while its statement may bring news: a run that is not over, or whose
    /// payments may still come back, or could when the statement was last read.
    pub async fn accounts_to_read(&self) -> Result<Vec<StatementAccount>, StoreError> {
        let pool = self.pool.clone();
        detached(async move {
            let listed = RAILS.iter().filter(|rail| rail.has_statement);
            let (rails, windows): (Vec<&str>, Vec<_>) =
                listed.clone().map(|rail| (rail.name, interval(news_window(rail)))).unzip();
            let dead_after: Vec<_> = listed.clone().map(|rail| interval(rail.dead_after())).collect();
            let is_asked: Vec<bool> = listed.map(Rail::lists_itself).collect();
            let rows = sqlx::query(
                "-- accounts_to_read
                 SELECT DISTINCT ON (rail, account) rail, account, credential FROM (
                   SELECT b.rail, b.account, b.credential, b.id
                     FROM run r JOIN batch b ON b.run_id = r.id
                     JOIN unnest($1::text[], $2::interval[]) AS known (rail, news_for) ON known.rail = b.rail
                     LEFT JOIN rail_account a ON a.rail = b.rail AND a.account = b.account
                    WHERE r.state NOT IN ('planning', 'planned')
                      -- What came while nobody read is read afterwards, however late.
                      AND (r.settled_at IS NULL OR r.settled_at > clock_timestamp() - known.news_for
                           OR coalesce(a.reaches_to, '-infinity') < r.settled_at + known.news_for)
                    UNION ALL
                   -- And what a plan waits for after a recovery (see `recovery_plan_guard`).
                   SELECT t.rail, t.account, t.credential, NULL
                     FROM (SELECT opened_at, doubted_at FROM recovery ORDER BY id DESC LIMIT 1) AS o
                     JOIN tenant_account t ON t.left_at IS NULL OR t.left_at >= o.opened_at
                     JOIN unnest($1::text[], $3::interval[], $4::bool[]) AS known (rail, dead_after, is_asked)
                       ON known.rail = t.rail
                     LEFT JOIN rail_account a ON a.rail = t.rail AND a.account = t.account
                    WHERE (CASE WHEN known.is_asked THEN a.reaches_ours
                                ELSE greatest(a.reaches_ours, a.file_reaches) END
                           >= o.doubted_at + known.dead_after) IS NOT TRUE) AS wanted
                  ORDER BY rail, account, credential IS NULL, id DESC NULLS LAST",
            )
            .bind(rails)
            .bind(windows)
            .bind(dead_after)
            .bind(is_asked)
            .fetch_all(&pool)
            .await
            .step("accounts_to_read")?;
            rows.iter().map(account).collect()
        })
        .await
    }

    /// Runs that are over, and of which something is known that no verdict has heard of.
    pub async fn runs_to_judge(&self) -> Result<Vec<RunId>, StoreError> {
        let pool = self.pool.clone();
        detached(async move {
            let rows: Vec<i64> = sqlx::query_scalar(
                "-- runs_to_judge
                 SELECT r.id FROM run r
                  WHERE r.news_no > r.judged_news AND r.settled_at IS NOT NULL
                  ORDER BY r.id",
            )
            .fetch_all(&pool)
            .await
            .step("runs_to_judge")?;
            Ok(rows.into_iter().map(RunId).collect())
        })
        .await
    }
}

impl Store {
    /// Whether a run had a verdict already.
    pub async fn run_is_judged(&self, run: RunId) -> Result<bool, StoreError> {
        let pool = self.pool.clone();
        detached(async move {
            sqlx::query_scalar(
                "-- run_is_judged\nSELECT EXISTS (SELECT FROM run WHERE id = $1 AND verdict IS NOT NULL)",
            )
            .bind(run.0)
            .fetch_one(&pool)
            .await
            .step("run_is_judged")
        })
        .await
    }
}

impl Reconciliation {
    /// Accounts of the run whose statements do not reach past its last payment. While there are some, nothing is proven
    /// to be missing or absent.
    pub async fn uncovered(&mut self) -> Result<Vec<Uncovered>, StoreError> {
        uncovered(&mut self.connection, self.run.id).await
    }

    /// Whether statements say anything of the run that is not simply as it should be.
    pub async fn has_odd(&mut self) -> Result<bool, StoreError> {
        let (first, last) = self.run.id.payouts();
        sqlx::query_scalar(
            "-- run_has_odd
             SELECT EXISTS (SELECT FROM statement_line WHERE run_id = $1)
               OR EXISTS (SELECT FROM movement WHERE payout_id BETWEEN $2 AND $3)
                 OR EXISTS (SELECT FROM contest WHERE payout_id BETWEEN $2 AND $3 AND closed_at IS NULL)",
        )
        .bind(self.run.id.0)
        .bind(first.0)
        .bind(last.0)
        .fetch_one(&mut *self.connection)
        .await
        .step("run_has_odd")
    }

    /// Whether payouts of the run travel over a rail without statements.
    pub async fn has_silent_rails(&mut self) -> Result<bool, StoreError> {
        sqlx::query_scalar(
            "-- run_silent_rails\nSELECT EXISTS (SELECT FROM batch WHERE run_id = $1 AND rail = ANY($2))",
        )
        .bind(self.run.id.0)
        .bind(silent_rails())
        .fetch_one(&mut *self.connection)
        .await
        .step("run_silent_rails")
    }
}

async fn uncovered(connection: &mut PgConnection, run: RunId) -> Result<Vec<Uncovered>, StoreError> {
    let read = "run_uncovered";
    let rows = sqlx::query(
        "-- run_uncovered
         SELECT b.rail, b.account, nullif(greatest(a.reaches_ours, a.file_reaches), '-infinity') AS reaches,
           last.at AS wanted
           FROM (SELECT DISTINCT rail, account FROM batch WHERE run_id = $1 AND rail <> ALL($2)) AS b
           JOIN (SELECT settled_at AS at FROM run WHERE id = $1 AND settled_at IS NOT NULL) AS last ON true
           LEFT JOIN rail_account a ON a.rail = b.rail AND a.account = b.account
          WHERE (greatest(a.reaches_ours, a.file_reaches) >= last.at) IS NOT TRUE ORDER BY 1, 2",
    )
    .bind(run.0)
    .bind(silent_rails())
    .fetch_all(connection)
    .await
    .step(read)?;
    rows.iter()
        .map(|row| {
            Ok(Uncovered {
                rail: row.try_get("rail").step(read)?,
                account: row.try_get("account").step(read)?,
                reaches: row.try_get("reaches").step(read)?,
                wanted: row.try_get("wanted").step(read)?,
            })
        })
        .collect()
}
