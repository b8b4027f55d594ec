//! Statement, states and ledger against each other, in one snapshot, so that nothing that goes on meanwhile looks like a difference.

use std::time::Duration;

use payfleet_domain::{DiscrepancyKind, RunId};
use sqlx::postgres::PgArguments;
use sqlx::query::Query;
use sqlx::{Executor, Postgres};

use super::Reconciliation;
use super::due::accounts_compare;
use super::summary::{Summary, summary_read};
use crate::connect::{Step, StoreError};
use crate::lease::interval;

/// What the comparison found.
#[derive(Debug, Clone)]
pub struct Compared {
    /// Differences in all; they wait in the session.
    pub discrepancies: i64,
    /// Payouts that were settled or returned after the statement had been asked for, and so need not be on it. If there are some, the
    /// statement must be read again before anything is said.
    pub newer_than_statement: i64,
    /// Counts and sums of the same snapshot.
    pub summary: Summary,
}

/// One row of `odd` is a payout that is not simply as it should be; each difference of it is one row of the result. Of a payment in two
/// there is no saying which of its references is the wrong one, and of one that should not be at all the values do not matter.
const STATEMENT: &str = "-- compare_statement
WITH proof AS (
  SELECT payout_id, min(reference) AS low, max(reference) AS high FROM evidence
   WHERE payout_id BETWEEN $1 AND $2 AND says = 'paid' GROUP BY payout_id),
 odd AS (
  SELECT p.id, p.affiliate_id, p.tenant_id, p.currency::text AS currency, p.state, p.amount_minor, p.method_id, p.settled_at,
         p.state IN ('paid', 'returned') AS settled, p.state IN ('refused', 'cancelled', 'planned') AS unpaid,
         CASE WHEN p.state IN ('paid', 'returned') THEN p.reference END AS own,
         coalesce(t.paid, 0) AS paid, coalesce(t.returned, 0) AS returned, t.low, t.high, t.back_low, t.back_high,
         t.amount_minor AS other_amount, t.currency AS other_currency, t.destination AS other_destination,
         e.low AS proof_low, e.high AS proof_high
    FROM payout p LEFT JOIN told t ON t.payout_id = p.id LEFT JOIN proof e ON e.payout_id = p.id
   WHERE p.id BETWEEN $1 AND $2
     AND (p.state = 'paid' AND t.paid = 1 AND t.returned = 0 AND t.low = p.reference
          AND t.amount_minor IS NULL AND t.currency IS NULL AND t.destination IS NULL AND e.payout_id IS NULL) IS NOT TRUE
     AND (p.state IN ('paid', 'returned') OR t.payout_id IS NOT NULL OR e.payout_id IS NOT NULL)),
 judged AS (
  SELECT o.*,
         o.paid >= 2
           OR o.proof_low IS NOT NULL AND CASE WHEN o.settled THEN least(o.own, o.proof_low) <> greatest(o.own, o.proof_high)
                                               ELSE least(o.low, o.proof_low) <> greatest(o.high, o.proof_high) END AS twice,
         o.settled AND o.paid = 0 AND NOT o.id <@ $3::int8multirange AS absent,
         -- Of a payment made twice the second may have come back; then ours is still paid.
         o.returned > 0 AND (o.own IN (o.back_low, o.back_high) OR (o.own IN (o.low, o.high)) IS NOT TRUE) AS came_back
    FROM odd o),
 news AS (
  SELECT j.*,
         j.absent AND j.settled_at > $4
           OR j.state = 'returned' AND NOT j.came_back
              AND EXISTS (SELECT FROM transfer t WHERE t.payout_id = j.id AND t.kind / 2 = 2 AND t.at > $4) AS is_newer
    FROM judged j),
 found AS (
  SELECT n.id, n.affiliate_id, n.tenant_id, n.currency, n.is_newer, f.*
    FROM news n
    LEFT JOIN payout_method m ON m.id = n.method_id AND m.tenant_id = n.tenant_id,
         LATERAL (VALUES
           (1, 'paid_twice', n.twice, coalesce(n.own, n.state),
               (SELECT string_agg(DISTINCT r, ', ' ORDER BY r) FROM unnest(ARRAY[n.low, n.high, n.proof_low, n.proof_high]) AS r)
                 || CASE WHEN n.paid > 1 THEN ' (' || n.paid || ' lines)' ELSE '' END),
           (2, 'paid_unrecorded', n.unpaid AND NOT n.twice AND (n.paid > 0 OR n.proof_low IS NOT NULL), n.state, coalesce(n.low, n.proof_low)),
           (3, 'not_on_statement', n.absent, n.own, NULL),
           (4, 'amount_differs', n.other_amount IS NOT NULL AND NOT n.unpaid, n.amount_minor::text, n.other_amount::text),
           (5, 'currency_differs', n.other_currency IS NOT NULL AND NOT n.unpaid, n.currency, n.other_currency),
           (6, 'destination_differs', n.other_destination IS NOT NULL AND NOT n.unpaid, m.destination, n.other_destination),
           (7, 'reference_differs', n.settled AND n.paid = 1 AND NOT n.twice AND n.low <> n.own, n.own, n.low),
           (8, 'return_unrecorded',
               CASE WHEN n.settled THEN n.paid > 0 AND (n.state = 'returned') <> n.came_back
                    ELSE n.unpaid AND n.returned > 0 AND n.paid = 0 AND n.proof_low IS NULL END, n.state,
               CASE WHEN n.returned > 0 THEN 'returned ' || n.back_low END)
         ) AS f (rank, kind, holds, expected, found)
   WHERE f.holds)
INSERT INTO finding (kind, payout_id, affiliate_id, currency, expected, found)
SELECT CASE WHEN is_newer AND kind IN ('not_on_statement', 'return_unrecorded') THEN '' ELSE kind END, id, affiliate_id, currency, expected, found
  FROM found ORDER BY rank, id";

/// A payment that came and went under one key and one reference is one difference.
const STRAYS: &str = "-- compare_strays
INSERT INTO finding (kind, payout_id, currency, found)
SELECT 'never_planned', CASE WHEN min(payout_id) BETWEEN $1 AND $2 THEN min(payout_id) END, min(currency),
       'key ' || key || ', reference ' || reference || ', ' || min(amount_minor) || ' minor units'
  FROM stray GROUP BY key, reference ORDER BY min(line)";

/// Bit n of `kinds` is a transfer of kind n: 1 reserve, 4 settle, 8 release, 16 return.
const LEDGER: &str = "-- compare_ledger
WITH posted AS (
  SELECT payout_id, bit_or(1 << kind) AS kinds, min(amount_minor) AS low, max(amount_minor) AS high,
         min(currency) AS currency_low, max(currency) AS currency_high
    FROM transfer WHERE payout_id BETWEEN $1 AND $2 GROUP BY payout_id),
 compared AS (
  SELECT coalesce(p.id, t.payout_id) AS id, p.affiliate_id, coalesce(p.currency, t.currency_low)::text AS currency, p.state, p.amount_minor,
         p.currency AS own, CASE p.state WHEN 'paid' THEN 5 WHEN 'returned' THEN 21 WHEN 'refused' THEN 9 WHEN 'cancelled' THEN 9 ELSE 1 END AS due, t.*
    FROM (SELECT * FROM payout WHERE id BETWEEN $1 AND $2) AS p FULL JOIN posted t ON t.payout_id = p.id)
INSERT INTO finding (kind, payout_id, affiliate_id, currency, expected, found)
SELECT 'ledger_out_of_balance', c.id, c.affiliate_id, c.currency,
       coalesce(c.state || ' ' || c.amount_minor || ': ' || (SELECT string_agg(k.name, ', ' ORDER BY k.kind) FROM transfer_kind k WHERE c.due & (1 << k.kind) <> 0), 'no such payout'),
       coalesce((SELECT string_agg(k.name || ' ' || t.amount_minor || CASE WHEN t.currency <> c.currency THEN ' ' || t.currency ELSE '' END, ', ' ORDER BY k.kind)
                   FROM transfer t JOIN transfer_kind k USING (kind) WHERE t.payout_id = c.id), 'no transfer')
  FROM compared c
 WHERE (c.kinds = c.due AND c.low = c.amount_minor AND c.high = c.amount_minor AND c.currency_low = c.own AND c.currency_high = c.own) IS NOT TRUE
    OR c.state IS NULL
 ORDER BY 2";

/// Batch by batch: a join of ranges from the other side would compare every payout with every batch.
pub(super) const UNKNOWN: &str = "-- compare_unknown
INSERT INTO finding (kind, payout_id, affiliate_id, currency, expected, found)
SELECT 'unknown_too_long', p.id, p.affiliate_id, p.currency, 'an outcome', p.state || ' since ' || to_char(b.first_sent_at, 'YYYY-MM-DD HH24:MI:SS') || ' UTC'
  FROM batch b JOIN payout p ON p.id BETWEEN b.first_payout_id AND b.last_payout_id
 WHERE b.run_id = $1 AND b.state <> 'split' AND b.first_sent_at < clock_timestamp() - $2 AND p.state IN ('planned', 'unknown', 'accepted')
 ORDER BY p.id";

impl Reconciliation {
    /// Compares everything in one snapshot. `rails_without_statement` are those whose payments stand on no statement; payouts without an answer for
    /// longer than `unknown_after` are differences too.
    pub async fn compare(
        &mut self,
        rails_without_statement: &[&str],
        unknown_after: Duration,
    ) -> Result<Compared, StoreError> {
        self.connection
            .execute("-- compare_begin\nBEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            .await
            .step("compare_begin")?;
        let RunId(run) = self.run.id;
        let (first, last) = (self.run.id.payouts().0.0, self.run.id.payouts().1.0);
        let silent: String = sqlx::query_scalar(
            "-- payouts_without_statement
             SELECT coalesce(range_agg(int8range(first_payout_id, last_payout_id, '[]')), '{}')::text FROM batch
              WHERE run_id = $1 AND state <> 'split' AND rail = ANY($2)",
        )
        .bind(run)
        .bind(rails_without_statement)
        .fetch_one(&mut self.connection)
        .await
        .step("payouts_without_statement")?;
        let started_at = self.started_at;
        self.step("compare_statement", |q| q.bind(first).bind(last).bind(silent).bind(started_at), STATEMENT).await?;
        let newer: i64 = sqlx::query_scalar("-- findings_newer\nSELECT count(*) FROM finding WHERE kind = ''")
            .fetch_one(&mut self.connection)
            .await
            .step("findings_newer")?;
        self.step("compare_strays", |q| q.bind(first).bind(last), STRAYS).await?;
        accounts_compare(&mut self.connection, &self.run).await?;
        self.step("compare_ledger", |q| q.bind(first).bind(last), LEDGER).await?;
        super::due::balances_compare(&mut self.connection).await?;
        self.step("compare_unknown", |q| q.bind(run).bind(interval(unknown_after)), UNKNOWN).await?;
        let found = self.findings_name().await?;
        let summary = summary_read(&mut self.connection, &self.run, unknown_after).await?;
        self.connection.execute("-- compare_end\nCOMMIT").await.step("compare_end")?;
        Ok(Compared { discrepancies: found, newer_than_statement: newer, summary })
    }

    /// Of a run that is still open: only what has been unknown for too long.
    pub async fn compare_open(&mut self, unknown_after: Duration) -> Result<Compared, StoreError> {
        self.connection
            .execute("-- compare_begin\nBEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            .await
            .step("compare_begin")?;
        let run = self.run.id.0;
        self.step("compare_unknown", |q| q.bind(run).bind(interval(unknown_after)), UNKNOWN).await?;
        let found = self.findings_name().await?;
        let summary = summary_read(&mut self.connection, &self.run, unknown_after).await?;
        self.connection.execute("-- compare_end\nCOMMIT").await.step("compare_end")?;
        Ok(Compared { discrepancies: found, newer_than_statement: 0, summary })
    }

    async fn step<'q>(
        &mut self,
        step: &'static str,
        bind: impl FnOnce(Query<'q, Postgres, PgArguments>) -> Query<'q, Postgres, PgArguments>,
        sql: &'static str,
    ) -> Result<(), StoreError> {
        let started = std::time::Instant::now();
        let done = bind(sqlx::query(sql)).execute(&mut self.connection).await.step(step)?;
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
            .fetch_one(&mut self.connection)
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
