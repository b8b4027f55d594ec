//! Statement, states and ledger against each other, in one snapshot, so that nothing that goes on meanwhile looks like
//! a difference.

use std::time::Duration;

use payfleet_domain::invariant::{PaymentFacts, every_payment_is_planned, outcome_is_known_in_time};
use payfleet_domain::{DiscrepancyKind, PayoutState, RunId};
use sqlx::postgres::PgArguments;
use sqlx::query::Query;
use sqlx::{Executor, Postgres};
use tokio_util::task::AbortOnDropHandle;

use super::Reconciliation;
use super::coverage::silent_rails;
use super::due::accounts_compare;
use super::summary::{Summary, summary_read};
use crate::connect::{Step, StoreError};
use crate::lease::interval;

/// A statement of the comparison that is being bound.
pub(super) type Statement<'q> = Query<'q, Postgres, PgArguments>;

/// What the comparison found.
#[derive(Debug, Clone)]
pub struct Compared {
    /// Differences in all; they wait in the session.
    pub discrepancies: i64,
    /// Payouts that were settled after the statement had been asked for, and so need not be on it. If there are some,
    /// the statement must be read on before anything is said.
    pub newer_than_statement: i64,
    /// Counts and sums of the same snapshot.
    pub summary: Summary,
}

/// A payment that came and went under one key and one reference is one difference.
const STRAYS: &str = "-- compare_strays
INSERT INTO finding (kind, currency, found)
SELECT 'never_planned', min(currency),
  'key ' || key || ', reference ' || reference || ', ' || min(amount_minor) || ' minor units'
  FROM statement_line l
 WHERE run_id = $1 AND payout_id IS NULL AND NOT EXISTS (SELECT FROM statement_line_named n WHERE n.line_id = l.id)
 GROUP BY key, reference ORDER BY min(id)";

/// $3 are the states that wait for an outcome. Batch by batch: a join of ranges from the other side would compare every
/// payout with every batch.
const UNKNOWN: &str = "-- compare_unknown
INSERT INTO finding (kind, payout_id, affiliate_id, currency, expected, found)
SELECT 'unknown_too_long', p.id, p.affiliate_id, p.currency, 'an outcome',
  p.state || ' since ' || to_char(b.first_sent_at, 'YYYY-MM-DD HH24:MI:SS') || ' UTC'
  FROM batch b JOIN payout p ON p.id BETWEEN b.first_payout_id AND b.last_payout_id
 WHERE b.run_id = $1 AND b.state <> 'split' AND b.first_sent_at < clock_timestamp() - $2 AND p.state = ANY($3)
 ORDER BY p.id";

impl Reconciliation {
    /// Compares everything in one snapshot. Payouts without an answer for longer than `unknown_after` are differences
    /// too.
    pub async fn compare(&mut self, unknown_after: Duration) -> Result<Compared, StoreError> {
        self.begin().await?;
        self.judged_news = sqlx::query_scalar("-- run_news\nSELECT news_no FROM run WHERE id = $1")
            .bind(self.run.id.0)
            .fetch_one(&mut *self.connection)
            .await
            .step("run_news")?;
        let snapshot: String = sqlx::query_scalar("-- snapshot_export\nSELECT pg_export_snapshot()")
            .fetch_one(&mut *self.connection)
            .await
            .step("snapshot_export")?;
        // Beside the rest. Whoever drops us, as when a session is lost, ends it too, and its connection with it.
        let accounts =
            AbortOnDropHandle::new(tokio::spawn(accounts_compare(self.store.pool.clone(), self.run.clone(), snapshot)));
        let beside = self.beside_accounts(unknown_after).await;
        let lost = |lost| StoreError::Broken(format!("the comparison of accounts was lost: {lost}"));
        let accounts = accounts.await.map_err(lost)?;
        let (newer, summary) = beside?;
        self.connection.execute("-- compare_end\nCOMMIT").await.step("compare_end")?;
        accounts?.judge(&mut self.connection).await?;
        self.outcomes_mend(&summary).await?;
        super::due::balances_compare(&mut self.connection).await?;
        let found = self.findings_name().await?;
        Ok(Compared { discrepancies: found, newer_than_statement: newer, summary })
    }

    async fn begin(&mut self) -> Result<(), StoreError> {
        // It may wait for the accounts for longer than a session that changes something may do nothing.
        let begin = "-- compare_begin
                     BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;
                     SET LOCAL idle_in_transaction_session_timeout = 0";
        self.connection.execute(begin).await.step("compare_begin")?;
        Ok(())
    }

    /// Payouts against the statements and against their transfers, and the run in numbers.
    async fn beside_accounts(&mut self, unknown_after: Duration) -> Result<(i64, Summary), StoreError> {
        let RunId(run) = self.run.id;
        let silent: String = sqlx::query_scalar(
            "-- payouts_without_statement
             SELECT coalesce(range_agg(int8range(first_payout_id, last_payout_id, '[]')), '{}')::text FROM batch
              WHERE run_id = $1 AND state <> 'split' AND rail = ANY($2)",
        )
        .bind(run)
        .bind(silent_rails())
        .fetch_one(&mut *self.connection)
        .await
        .step("payouts_without_statement")?;
        let newer = self.payouts_compare(&silent).await?;
        if !every_payment_is_planned(&PaymentFacts { is_planned: false }) {
            self.step("compare_strays", |q| q.bind(run), STRAYS).await?;
        }
        self.ledger_compare().await?;
        self.unknown_compare(unknown_after).await?;
        let summary = summary_read(&mut self.connection, &self.run, unknown_after).await?;
        Ok((newer, summary))
    }

    /// Of a run that is still open: only what has been unknown for too long.
    pub async fn compare_open(&mut self, unknown_after: Duration) -> Result<Compared, StoreError> {
        self.begin().await?;
        self.unknown_compare(unknown_after).await?;
        let found = self.findings_name().await?;
        let summary = summary_read(&mut self.connection, &self.run, unknown_after).await?;
        self.connection.execute("-- compare_end\nCOMMIT").await.step("compare_end")?;
        self.outcomes_mend(&summary).await?;
        Ok(Compared { discrepancies: found, newer_than_statement: 0, summary })
    }

    /// Finds payouts that have waited for an answer for longer than this.
    async fn unknown_compare(&mut self, limit: Duration) -> Result<(), StoreError> {
        let run = self.run.id.0;
        let late: Vec<&str> = PayoutState::ALL
            .iter()
            .filter(|state| !outcome_is_known_in_time(**state, true))
            .map(PayoutState::as_str)
            .collect();
        self.step("compare_unknown", |q| q.bind(run).bind(interval(limit)).bind(late), UNKNOWN).await
    }

    /// Carries out one statement of the comparison.
    pub(super) async fn step<'q>(
        &mut self,
        step: &'static str,
        bind: impl FnOnce(Statement<'q>) -> Statement<'q>,
        sql: &'static str,
    ) -> Result<(), StoreError> {
        let started = std::time::Instant::now();
        let done = bind(sqlx::query(sql)).execute(&mut *self.connection).await.step(step)?;
        tracing::debug!(step, rows = done.rows_affected(), millis = started.elapsed().as_millis(), "compared");
        Ok(())
    }

    /// Gives the affiliates in the findings their names, and counts the findings.
    async fn findings_name(&mut self) -> Result<i64, StoreError> {
        let tenant = self.run.tenant.0;
        self.step(
            "findings_name",
            |q| q.bind(tenant),
            "-- findings_name
             UPDATE finding f SET affiliate = a.external_id FROM affiliate a
              WHERE a.id = f.affiliate_id AND a.tenant_id = $1 AND f.affiliate IS NULL",
        )
        .await?;
        sqlx::query_scalar("-- findings_count\nSELECT count(*) FROM finding WHERE kind <> ''")
            .fetch_one(&mut *self.connection)
            .await
            .step("findings_count")
    }
}

/// The word of a kind; the statements of this module name them literally, and a test holds the two against each other.
pub(super) fn kind(word: &str) -> Result<DiscrepancyKind, StoreError> {
    DiscrepancyKind::ALL
        .into_iter()
        .find(|kind| kind.code() == word)
        .ok_or_else(|| StoreError::Broken(format!("`{word}` is not a kind of discrepancy")))
}
