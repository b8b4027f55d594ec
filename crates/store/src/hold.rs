//! What only people may decide: payouts that may have been sent and cannot be asked about. One person proposes, another
//! agrees.

mod decide;
mod open;
mod sent;

use payfleet_domain::{
    BatchId, BatchState, HoldFacts, HoldReason, KeyUnit, Money, NotPaid, PayoutEvent, PayoutId, Rail, RunId,
};
use sqlx::{PgConnection, Row};
use time::OffsetDateTime;

use crate::batch::{LockedBatch, batch_lock, batch_standing, currency};
use crate::connect::{Step, Store, StoreError, detached};
use crate::decision::{WordRow, words_about};
use crate::lease::Lease;
use crate::outcomes::batch_keep;
use crate::sql::alive;
use crate::stop::part_cancel;
use sent::{known_read, sent_read};

pub use decide::{Decision, HoldError, HoldSaid};
pub(crate) use open::{Held, holds_doubt, payouts_hold};

/// An open hold.
#[derive(Debug, Clone)]
pub struct HoldRow {
    /// Which payout.
    pub payout: PayoutId,
    /// Of which run.
    pub run: RunId,
    /// The tenant's own name for the affiliate.
    pub affiliate: String,
    /// How much.
    pub amount: Money,
    /// Why it is held.
    pub reason: String,
    /// In the words of whoever wanted it held.
    pub note: Option<String>,
    /// Since when.
    pub opened_at: OffsetDateTime,
    /// Whether it may be said by now that it was not paid; `None` where nothing is in doubt: a control holds it, and
    /// one person lifts that.
    pub not_paid: Option<NotPaid>,
    /// The rail and account that it may have been paid from.
    pub account: RailAccount,
    /// What people have said.
    pub words: Vec<WordRow>,
}

/// An account at a rail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RailAccount {
    /// The rail's name.
    pub rail: String,
    /// The account there.
    pub account: String,
    /// Whether its rail tells by statements what it paid.
    pub has_statement: bool,
}

/// Whether a hold has this reason because somebody wants it so, and not for want of knowledge.
pub(crate) fn is_control(reason: &str) -> bool {
    HoldReason::CONTROLS.iter().any(|control| control.code() == reason)
}

impl Store {
    /// Holds every payout of a batch that has no answer, or of which the rail that accepted it says no more, and closes
    /// the batch. Of a cancelled run, what provably was not sent is cancelled; of another one it goes on, where each
    /// payout is a request of its own and only silence about others is what holds them. Returns how many are held, or
    /// `None` if the lease was lost.
    pub async fn batch_hold(&self, lease: Lease, reason: HoldReason) -> Result<Option<u64>, StoreError> {
        self.transaction("batch_hold", move |tx| {
            Box::pin(async move {
                let batch = batch_lock(tx, lease.batch).await?;
                let is_held_from: &[BatchState] = match reason.event() {
                    PayoutEvent::Doubt => &[BatchState::Accepted],
                    _ => &[BatchState::Ready, BatchState::Sending],
                };
                if batch.epoch != lease.epoch || !is_held_from.contains(&batch.state) {
                    return Ok(None);
                }
                let is_cancelled: bool =
                    sqlx::query_scalar("-- run_is_cancelled\nSELECT state = 'cancelled' FROM run WHERE id = $1")
                        .bind(batch.run)
                        .fetch_one(&mut *tx)
                        .await
                        .step("run_is_cancelled")?;
                if is_cancelled && batch.state == BatchState::Sending {
                    part_cancel(tx, batch.id, batch.first.0, batch.last.0).await?;
                }
                let spared = match reason.spares_unsent() && !is_cancelled {
                    true => unsent_in(tx, &batch).await?,
                    false => Vec::new(),
                };
                let in_doubt = (batch.first.0..=batch.last.0).filter(|payout| spared.binary_search(payout).is_err());
                let held = payouts_hold(tx, &Held::all(in_doubt, reason, None)).await?;
                if !spared.is_empty() {
                    unsent_free(tx, batch.id).await?;
                }
                batch_settle_held(tx, lease.batch.0).await?;
                Ok(Some(held.len() as u64))
            })
        })
        .await
    }

    /// Open holds, oldest first; of one run or of all.
    pub async fn holds_list(&self, run: Option<RunId>, limit: i64) -> Result<Vec<HoldRow>, StoreError> {
        let pool = self.pool.clone();
        detached(async move {
            let read = "holds_list";
            let rows = sqlx::query(
                "-- holds_list
                 SELECT h.id, h.payout_id, h.run_id, a.external_id, p.amount_minor, p.currency, h.reason, h.note,
                   h.opened_at
                   FROM hold h JOIN payout p ON p.id = h.payout_id
                   JOIN affiliate a ON a.id = p.affiliate_id AND a.tenant_id = p.tenant_id
                  WHERE h.resolved_at IS NULL AND ($1::bigint IS NULL OR h.run_id = $1) ORDER BY h.id LIMIT $2",
            )
            .bind(run.map(|run| run.0))
            .bind(limit)
            .fetch_all(&pool)
            .await
            .step(read)?;
            let column =
                |name: &str| rows.iter().map(|row| row.try_get(name).step(read)).collect::<Result<Vec<i64>, _>>();
            let (ids, payouts, runs) = (column("id")?, column("payout_id")?, column("run_id")?);
            let mut words = words_about(&pool, "hold", &ids).await?;
            let mut connection = pool.acquire().await.step(read)?;
            let sent = sent_read(&mut connection, &runs, None).await?;
            let known = known_read(&mut connection, &payouts).await?;
            rows.iter()
                .map(|row| {
                    let payout = PayoutId(row.try_get("payout_id").step(read)?);
                    let found =
                        sent.partition_point(|batch| batch.first <= payout.0).checked_sub(1).map(|at| &sent[at]);
                    let Some(batch) = found.filter(|batch| payout.0 <= batch.last) else {
                        return Err(StoreError::Broken(format!("payout {payout} is held, and in no batch")));
                    };
                    let hold: i64 = row.try_get("id").step(read)?;
                    let reason: String = row.try_get("reason").step(read)?;
                    Ok(HoldRow {
                        payout,
                        run: RunId(row.try_get("run_id").step(read)?),
                        affiliate: row.try_get("external_id").step(read)?,
                        amount: Money {
                            minor: row.try_get("amount_minor").step(read)?,
                            currency: currency(row, "currency")?,
                        },
                        not_paid: (!is_control(&reason)).then(|| batch.facts(known.contains_key(&payout.0)).not_paid()),
                        reason,
                        note: row.try_get("note").step(read)?,
                        opened_at: row.try_get("opened_at").step(read)?,
                        account: batch.account.clone(),
                        words: words.remove(&hold).unwrap_or_default(),
                    })
                })
                .collect()
        })
        .await
    }
}

/// Payouts of a batch that was perhaps sent that provably were not, where each is a request of its own: every attempt
/// has said that it did not execute them, or the rail does not know them. While an attempt has no result, that is none.
async fn unsent_in(tx: &mut PgConnection, batch: &LockedBatch) -> Result<Vec<i64>, StoreError> {
    let is_apart = Rail::named(&batch.rail).is_ok_and(|rail| rail.key_unit == KeyUnit::Payout);
    if !is_apart || batch.state != BatchState::Sending {
        return Ok(Vec::new());
    }
    sqlx::query_scalar(
        "-- unsent_in
         SELECT p.id FROM payout p WHERE p.id BETWEEN $1 AND $2 AND p.state = 'planned'
           AND NOT EXISTS (SELECT FROM attempt a WHERE a.batch_id = $3 AND a.result IS NULL) ORDER BY p.id",
    )
    .bind(batch.first.0)
    .bind(batch.last.0)
    .bind(batch.id.0)
    .fetch_all(tx)
    .await
    .step("unsent_in")
}

/// What is left of a batch when all that was in doubt is held: nothing of it is under way. What those that are held
/// wait for is said by all attempts, whatever their results.
async fn unsent_free(tx: &mut PgConnection, batch: BatchId) -> Result<(), StoreError> {
    sqlx::query(concat!(
        "-- unsent_free
         WITH over AS (
           UPDATE attempt SET result = 'superseded', closed_at = coalesce(closed_at, clock_timestamp())
            WHERE batch_id = $1 AND ",
        alive!("attempt"),
        ")
         UPDATE batch SET state = 'ready', first_sent_at = NULL, stalled_leases = 0, unknown_attempts = 0, failures = 0,
                lease_until = '-infinity', lease_owner = NULL, available_at = clock_timestamp(), available_in = NULL
          WHERE id = $1"
    ))
    .bind(batch.0)
    .execute(tx)
    .await
    .step("unsent_free")?;
    Ok(())
}

/// What is known of a payout of this batch that is held for want of knowledge.
pub(crate) async fn held_facts(
    connection: &mut PgConnection,
    payout: PayoutId,
    batch: BatchId,
) -> Result<HoldFacts, StoreError> {
    let sent = sent_read(connection, &[payout.run().0], Some(batch.0)).await?;
    let known = known_read(connection, &[payout.0]).await?;
    let sent = sent.first().ok_or_else(|| StoreError::Broken(format!("payout {payout} is held, and in no batch")))?;
    Ok(sent.facts(known.contains_key(&payout.0)))
}

/// Moves a batch with nothing unanswered to where its payouts say, and counts them. The caller has its lock.
pub(crate) async fn batch_settle_held(tx: &mut PgConnection, batch: i64) -> Result<(), StoreError> {
    let locked = batch_lock(tx, BatchId(batch)).await?;
    let (standing, counted) = batch_standing(tx, &locked).await?;
    let Some(next) = locked.state.settled(&standing) else { return batch_keep(tx, locked.id, &counted).await };
    sqlx::query(
        "-- batch_settle_held
         UPDATE batch
            SET state = $2, stalled_leases = 0, lease_until = '-infinity', lease_owner = NULL,
                -- A part of a split batch may be answered by what was sent before it was one.
                first_sent_at = CASE $2 WHEN 'accepted' THEN coalesce(first_sent_at, clock_timestamp())
                  ELSE first_sent_at END,
                attempt = CASE $2 WHEN 'accepted' THEN greatest(attempt, 1) ELSE attempt END,
                closed_at = CASE $2 WHEN 'accepted' THEN NULL ELSE coalesce(closed_at, clock_timestamp()) END,
                outcomes = $3::jsonb, counted_after = $4::xid8
          WHERE id = $1",
    )
    .bind(batch)
    .bind(next.as_str())
    .bind(&counted.outcomes)
    .bind(&counted.after)
    .execute(tx)
    .await
    .step("batch_settle_held")?;
    Ok(())
}
