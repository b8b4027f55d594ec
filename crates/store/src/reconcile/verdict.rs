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
    /// Where the run stands now. A run that is not settled keeps its state.
    pub state: RunState,
}

impl Reconciliation {
    /// Writes what was found, and moves the run if it is settled, in one transaction under the run's row lock. `statement` says where the lines came
    /// from.
    pub async fn verdict_write(&mut self, statement: &str) -> Result<Verdict, StoreError> {
        pass("verdict_write", "before").await?;
        let mut tx = self.connection.begin().await.step("verdict_write")?;
        let state: String =
            sqlx::query_scalar("-- verdict_lock\nSELECT state FROM run WHERE id = $1 FOR NO KEY UPDATE")
                .bind(self.run.id.0)
                .fetch_one(&mut *tx)
                .await
                .step("verdict_lock")?;
        let (reconciliation, found): (i64, i64) = sqlx::query_as(
            "-- reconciliation_insert
             INSERT INTO reconciliation (tenant_id, run_id, statement, lines, discrepancies)
             SELECT $1, $2, $3, $4, count(*) FROM finding WHERE kind <> '' RETURNING id, discrepancies",
        )
        .bind(self.run.tenant.0)
        .bind(self.run.id.0)
        .bind(statement)
        .bind(self.lines.read())
        .fetch_one(&mut *tx)
        .await
        .step("reconciliation_insert")?;
        sqlx::query(
            "-- discrepancy_insert
             INSERT INTO discrepancy (reconciliation_id, tenant_id, kind, payout_id, affiliate, currency, expected, found)
             SELECT $1, $2, kind, payout_id, affiliate, currency, expected, found FROM finding WHERE kind <> '' ORDER BY id",
        )
        .bind(reconciliation)
        .bind(self.run.tenant.0)
        .execute(&mut *tx)
        .await
        .step("discrepancy_insert")?;
        let wanted = if found == 0 { RunState::Reconciled } else { RunState::Discrepant };
        let moved = sqlx::query(
            "-- run_verdict
             UPDATE run SET state = $2, reconciled_at = clock_timestamp() WHERE id = $1 AND state = ANY($3)",
        )
        .bind(self.run.id.0)
        .bind(wanted.as_str())
        .bind(RunState::sources(wanted))
        .execute(&mut *tx)
        .await
        .step("run_verdict")?
        .rows_affected();
        pass("verdict_write", "commit").await?;
        tx.commit().await.step("verdict_write")?;
        pass("verdict_write", "after").await?;
        let state = if moved == 1 { wanted } else { state.parse().map_err(StoreError::Broken)? };
        Ok(Verdict { reconciliation, state })
    }

    /// How many differences there are of each kind.
    pub async fn discrepancies_count(&mut self) -> Result<Vec<(DiscrepancyKind, i64)>, StoreError> {
        let rows: Vec<(String, i64)> = sqlx::query_as(
            "-- findings_by_kind\nSELECT kind, count(*) FROM finding WHERE kind <> '' GROUP BY kind ORDER BY min(id)",
        )
        .fetch_all(&mut self.connection)
        .await
        .step("findings_by_kind")?;
        rows.into_iter().map(|(word, count)| Ok((kind(&word)?, count))).collect()
    }

    /// The next differences after this number, at most `limit`.
    pub async fn discrepancies_read(&mut self, after: i64, limit: i64) -> Result<Vec<Discrepancy>, StoreError> {
        let read = "findings_read";
        let rows = sqlx::query(
            "-- findings_read
             SELECT id, kind, payout_id, affiliate, currency, expected, found FROM finding WHERE id > $1 AND kind <> '' ORDER BY id LIMIT $2",
        )
        .bind(after)
        .bind(limit)
        .fetch_all(&mut self.connection)
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
