//! What was found, written down: for ever, and as the state of the run.

use payfleet_domain::{DiscrepancyKind, PayoutId, RunState};
use sqlx::{Connection, Row};

use super::compare::kind;
use super::{Discrepancy, Reconciliation};
use crate::connect::{Step, StoreError, pass};

/// What became of the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// The number of the reconciliation.
    pub reconciliation: i64,
    /// Where the run stands now. A run that is not settled keeps its state, and so does a cancelled one.
    pub state: RunState,
    /// What was found about it: `reconciled` or `discrepant`. `None` if nothing can be said.
    pub verdict: Option<RunState>,
}

impl Reconciliation {
    /// Writes what was found, and the verdict, in one transaction under the run's row lock. `statement` says where the
    /// lines came from. A run over a rail without statements, of which nothing was found wrong, stays `settled`: nobody
    /// has said that it was paid.
    pub async fn verdict_write(&mut self, statement: &str, has_silent_rails: bool) -> Result<Verdict, StoreError> {
        pass("verdict_write", "before").await?;
        let mut tx = self.connection.begin().await.step("verdict_write")?;
        let state: String =
            sqlx::query_scalar("-- verdict_lock\nSELECT state FROM run WHERE id = $1 FOR NO KEY UPDATE")
                .bind(self.run.id.0)
                .fetch_one(&mut *tx)
                .await
                .step("verdict_lock")?;
        let state: RunState = state.parse().map_err(StoreError::Broken)?;
        let (reconciliation, found): (i64, i64) = sqlx::query_as(
            "-- reconciliation_insert
             INSERT INTO reconciliation (tenant_id, run_id, statement, lines, discrepancies)
             SELECT $1, $2, $3, $4, count(*) FROM finding WHERE kind <> '' RETURNING id, discrepancies",
        )
        .bind(self.run.tenant.0)
        .bind(self.run.id.0)
        .bind(statement)
        .bind(self.lines_read)
        .fetch_one(&mut *tx)
        .await
        .step("reconciliation_insert")?;
        sqlx::query(
            "-- discrepancy_insert
             INSERT INTO discrepancy (reconciliation_id, tenant_id, kind, payout_id, affiliate, currency, expected,
               found)
             SELECT $1, $2, kind, payout_id, affiliate, currency, expected, found FROM finding WHERE kind <> ''
               ORDER BY id",
        )
        .bind(reconciliation)
        .bind(self.run.tenant.0)
        .execute(&mut *tx)
        .await
        .step("discrepancy_insert")?;
        let verdict = match found {
            0 if has_silent_rails => None,
            0 => Some(RunState::Reconciled),
            _ => Some(RunState::Discrepant),
        };
        let is_over =
            matches!(state, RunState::Settled | RunState::Reconciled | RunState::Discrepant | RunState::Cancelled);
        let next = match verdict {
            Some(verdict) => state.to(verdict).unwrap_or(state),
            None => state.to(RunState::Settled).unwrap_or(state),
        };
        if is_over {
            sqlx::query(
                "-- run_verdict
                 UPDATE run SET state = $2, verdict = $3, judged_news = greatest(judged_news, $4),
                        judged_at = CASE WHEN $3 IS NULL THEN NULL ELSE clock_timestamp() END,
                        reconciled_at = CASE WHEN $2 IN ('reconciled', 'discrepant') THEN clock_timestamp() END
                  WHERE id = $1",
            )
            .bind(self.run.id.0)
            .bind(next.as_str())
            .bind(verdict.map(|verdict| verdict.as_str()))
            .bind(self.judged_news)
            .execute(&mut *tx)
            .await
            .step("run_verdict")?;
        }
        pass("verdict_write", "commit").await?;
        tx.commit().await.step("verdict_write")?;
        pass("verdict_write", "after").await?;
        Ok(Verdict { reconciliation, state: next, verdict: verdict.filter(|_| is_over) })
    }

    /// How many differences there are of each kind.
    pub async fn discrepancies_count(&mut self) -> Result<Vec<(DiscrepancyKind, i64)>, StoreError> {
        let rows: Vec<(String, i64)> = sqlx::query_as(
            "-- findings_by_kind\nSELECT kind, count(*) FROM finding WHERE kind <> '' GROUP BY kind ORDER BY min(id)",
        )
        .fetch_all(&mut *self.connection)
        .await
        .step("findings_by_kind")?;
        rows.into_iter().map(|(word, count)| Ok((kind(&word)?, count))).collect()
    }

    /// The next differences after this number, at most `limit`.
    pub async fn discrepancies_read(&mut self, after: i64, limit: i64) -> Result<Vec<Discrepancy>, StoreError> {
        let read = "findings_read";
        let rows = sqlx::query(
            "-- findings_read
             SELECT id, kind, payout_id, affiliate, currency, expected, found FROM finding WHERE id > $1 AND kind <> ''
               ORDER BY id LIMIT $2",
        )
        .bind(after)
        .bind(limit)
        .fetch_all(&mut *self.connection)
        .await
        .step(read)?;
        rows.iter()
            .map(|row| {
                Ok(Discrepancy {
                    number: row.try_get("id").step(read)?,
                    kind: kind(&row.try_get::<String, _>("kind").step(read)?)?,
                    payout: row.try_get::<Option<i64>, _>("payout_id").step(read)?.map(PayoutId),
                    affiliate: row.try_get("affiliate").step(read)?,
                    currency: row.try_get("currency").step(read)?,
                    expected: row.try_get("expected").step(read)?,
                    found: row.try_get("found").step(read)?,
                })
            })
            .collect()
    }
}
