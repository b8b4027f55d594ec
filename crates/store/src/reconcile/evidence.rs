//! What a statement proves about payments that had no answer: evidence like any other, recorded under guard G4.
//!
//! A line proves something only if key, amount, currency and destination are those of the payout. A statement never makes anything refused: what
//! is not on it may be on the next.

use futures_util::TryStreamExt;
use payfleet_domain::RunId;
use sqlx::{PgConnection, Row};

use super::Reconciliation;
use crate::connect::{Step, Store, StoreError};
use crate::hold::batch_settle_held;
use crate::payout::{News, Source, payouts_return, payouts_settle};
use crate::record::run_alarm;

/// Payouts in one transaction, at most.
const CHUNK: usize = 5_000;
/// And how far apart their numbers may be: all batches between them are locked.
const SPAN: i64 = 20_000;

/// What a statement proved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Applied {
    /// Payouts that are paid now.
    pub settled: u64,
    /// Payouts whose money came back.
    pub returned: u64,
    /// Payouts that were paid or refused meanwhile, and contradict the statement. The run is paused.
    pub alarms: u64,
}

#[derive(Debug, Clone, Copy)]
enum Proof {
    Paid,
    Returned,
}

impl Reconciliation {
    /// Records what the statement proves: that accepted, unknown or held payouts were paid, and that paid money came back.
    pub async fn evidence_apply(&mut self) -> Result<Applied, StoreError> {
        let mut applied = Applied::default();
        // The second sees what the first has settled.
        let passes = [
            (
                Proof::Paid,
                "-- evidence_paid
                 SELECT p.id, t.clean AS reference FROM told t JOIN payout p ON p.id = t.payout_id
                  WHERE p.id BETWEEN $1 AND $2 AND p.state IN ('accepted', 'unknown', 'held') AND t.clean IS NOT NULL
                  ORDER BY p.id",
            ),
            (
                // Of a payment made twice the second may have come back; then ours is still paid.
                Proof::Returned,
                "-- evidence_returned
                 SELECT p.id, t.clean_back AS reference FROM told t JOIN payout p ON p.id = t.payout_id
                  WHERE p.id BETWEEN $1 AND $2 AND t.clean_back IS NOT NULL
                    AND (p.state IN ('accepted', 'unknown', 'held') AND t.paid = 0
                      OR p.state = 'paid' AND (p.reference IN (t.back_low, t.back_high) OR (p.reference IN (t.low, t.high)) IS NOT TRUE))
                  ORDER BY p.id",
            ),
        ];
        let (first, last) = self.run.id.payouts();
        for (proof, sql) in passes {
            let Self { store, connection, run, .. } = self;
            let mut rows = sqlx::query(sql).bind(first.0).bind(last.0).fetch(connection);
            let mut chunk = News { ids: Vec::new(), words: Vec::new() };
            while let Some(row) = rows.try_next().await.step("evidence_read")? {
                let id: i64 = row.try_get("id").step("evidence_read")?;
                let full = chunk.ids.len() >= CHUNK || chunk.ids.first().is_some_and(|first| id - first >= SPAN);
                if full {
                    applied.add(store.statement_record(run.id, proof, &mut chunk).await?);
                }
                chunk.ids.push(id);
                chunk.words.push(row.try_get("reference").step("evidence_read")?);
            }
            drop(rows);
            applied.add(store.statement_record(run.id, proof, &mut chunk).await?);
        }
        Ok(applied)
    }
}

impl Applied {
    fn add(&mut self, more: Applied) {
        self.settled += more.settled;
        self.returned += more.returned;
        self.alarms += more.alarms;
    }
}

impl Store {
    /// Records one chunk, and moves the batches on. Empties the chunk.
    async fn statement_record(&self, run: RunId, proof: Proof, chunk: &mut News) -> Result<Applied, StoreError> {
        let (ids, words) = (std::mem::take(&mut chunk.ids), std::mem::take(&mut chunk.words));
        if ids.is_empty() {
            return Ok(Applied::default());
        }
        let news = std::sync::Arc::new(News { ids, words });
        self.transaction("statement_record", move |tx| {
            let news = news.clone();
            Box::pin(async move { record(tx, run, proof, &news).await })
        })
        .await
    }
}

async fn record(tx: &mut PgConnection, run: RunId, proof: Proof, news: &News) -> Result<Applied, StoreError> {
    // In the order in which every other transaction locks: batches by number, then payouts.
    let batches: Vec<i64> = sqlx::query_scalar(
        "-- evidence_batches
         SELECT id FROM batch WHERE run_id = $1 AND state <> 'split' AND first_payout_id <= $3 AND last_payout_id >= $2
          ORDER BY id FOR NO KEY UPDATE",
    )
    .bind(run.0)
    .bind(news.ids.first())
    .bind(news.ids.last())
    .fetch_all(&mut *tx)
    .await
    .step("evidence_batches")?;
    let mut applied = Applied::default();
    match proof {
        Proof::Paid => (applied.settled, applied.alarms) = payouts_settle(tx, news, Source::Statement, None).await?,
        Proof::Returned => applied.returned = payouts_return(tx, news, Source::Statement).await?,
    }
    if applied.alarms > 0 {
        run_alarm(tx, run.0).await?;
    }
    for batch in batches {
        batch_settle_held(tx, batch).await?;
    }
    Ok(applied)
}
