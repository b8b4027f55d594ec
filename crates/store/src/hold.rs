//! What only people may decide: payouts that may have been sent and cannot be asked about. One person proposes, another agrees.

use payfleet_domain::{BatchState, HoldReason, Money, PayoutEvent, PayoutId, PayoutState, RunId};
use sqlx::{PgConnection, Row};
use time::OffsetDateTime;

use crate::batch::{batch_lock, currency};
use crate::connect::{Step, Store, StoreError, detached};
use crate::lease::Lease;
use crate::payout::{News, Source, payouts_refuse, payouts_settle};

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
    /// Since when.
    pub opened_at: OffsetDateTime,
    /// What one person has proposed, and who.
    pub proposal: Option<(String, String)>,
}

/// What people found out about a held payout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// It was paid; this is the rail's name for the payment.
    Paid(String),
    /// It was not paid, and nothing under way can pay it.
    NotPaid,
}

/// Why a decision was not taken.
#[derive(Debug, thiserror::Error)]
pub enum HoldError {
    /// The payout is not held.
    #[error("payout {0} is not held; `holds` lists those that are")]
    NotHeld(PayoutId),
    /// The same person twice.
    #[error("{0} has proposed this; somebody else must agree")]
    SamePerson(String),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Store {
    /// Holds every payout of a batch that has no answer, and closes the batch. Returns how many, or `None` if the lease was lost.
    pub async fn batch_hold(&self, lease: Lease, reason: HoldReason) -> Result<Option<u64>, StoreError> {
        self.transaction("batch_hold", move |tx| {
            Box::pin(async move {
                let batch = batch_lock(tx, lease.batch).await?;
                if batch.epoch != lease.epoch || !matches!(batch.state, BatchState::Ready | BatchState::Sending) {
                    return Ok(None);
                }
                let held: i64 = sqlx::query_scalar(
                    "-- payouts_hold
                     WITH moved AS (
                       UPDATE payout SET state = 'held', code = $3 WHERE id BETWEEN $1 AND $2 AND state = ANY($4)
                    RETURNING id, tenant_id, run_id),
                     opened AS (
                       INSERT INTO hold (tenant_id, run_id, payout_id, reason) SELECT tenant_id, run_id, id, $3 FROM moved ORDER BY id RETURNING 1)
                     SELECT count(*) FROM opened",
                )
                .bind(batch.first.0)
                .bind(batch.last.0)
                .bind(reason.code())
                .bind(PayoutState::sources(PayoutEvent::Hold))
                .fetch_one(&mut *tx)
                .await
                .step("payouts_hold")?;
                batch_settle_held(tx, lease.batch.0).await?;
                Ok(Some(held.unsigned_abs()))
            })
        })
        .await
    }

    /// Open holds, oldest first; of one run or of all.
    pub async fn holds_list(&self, run: Option<RunId>, limit: i64) -> Result<Vec<HoldRow>, StoreError> {
        let pool = self.pool.clone();
        detached(async move {
            let rows = sqlx::query(
                "-- holds_list
                 SELECT h.payout_id, h.run_id, a.external_id, p.amount_minor, p.currency, h.reason, h.opened_at, h.proposal, h.proposed_by
                   FROM hold h JOIN payout p ON p.id = h.payout_id JOIN affiliate a ON a.id = p.affiliate_id AND a.tenant_id = p.tenant_id
                  WHERE h.resolved_at IS NULL AND ($1::bigint IS NULL OR h.run_id = $1) ORDER BY h.id LIMIT $2",
            )
            .bind(run.map(|run| run.0))
            .bind(limit)
            .fetch_all(&pool)
            .await
            .step("holds_list")?;
            rows.iter()
                .map(|row| {
                    let read = "holds_list";
                    let proposal: Option<String> = row.try_get("proposal").step(read)?;
                    let by: Option<String> = row.try_get("proposed_by").step(read)?;
                    Ok(HoldRow {
                        payout: PayoutId(row.try_get("payout_id").step(read)?),
                        run: RunId(row.try_get("run_id").step(read)?),
                        affiliate: row.try_get("external_id").step(read)?,
                        amount: Money { minor: row.try_get("amount_minor").step(read)?, currency: currency(row, "currency")? },
                        reason: row.try_get("reason").step(read)?,
                        opened_at: row.try_get("opened_at").step(read)?,
                        proposal: proposal.zip(by),
                    })
                })
                .collect()
        })
        .await
    }

    /// Decides about a held payout. The first person's word is a proposal; the same word of a second person carries it out; another word of
    /// anybody replaces the proposal. Returns whether it was carried out.
    pub async fn hold_decide(&self, payout: PayoutId, decision: Decision, person: &str) -> Result<bool, HoldError> {
        let person = person.to_owned();
        self.transaction("hold_decide", move |tx| {
            let (person, decision) = (person.clone(), decision.clone());
            Box::pin(async move { hold_decide(tx, payout, &decision, &person).await })
        })
        .await?
    }
}

/// Its number; the proposal, its reference, and who made it.
type OpenHold = (i64, Option<String>, Option<String>, Option<String>);

async fn hold_decide(
    tx: &mut PgConnection,
    payout: PayoutId,
    decision: &Decision,
    person: &str,
) -> Result<Result<bool, HoldError>, StoreError> {
    let batch: Option<i64> = sqlx::query_scalar(
        "-- hold_batch
         SELECT b.id FROM batch b WHERE b.run_id = $1 AND b.state <> 'split' AND $2 BETWEEN b.first_payout_id AND b.last_payout_id",
    )
    .bind(payout.run().0)
    .bind(payout.0)
    .fetch_optional(&mut *tx)
    .await
    .step("hold_batch")?;
    let Some(batch) = batch else { return Ok(Err(HoldError::NotHeld(payout))) };
    batch_lock(tx, payfleet_domain::BatchId(batch)).await?;
    let (word, reference) = match decision {
        Decision::Paid(reference) => ("paid", Some(reference.as_str())),
        Decision::NotPaid => ("not_paid", None),
    };
    let open: Option<OpenHold> = sqlx::query_as(
        "-- hold_find
         SELECT id, proposal, proposed_reference, proposed_by FROM hold WHERE payout_id = $1 AND resolved_at IS NULL FOR UPDATE",
    )
    .bind(payout.0)
    .fetch_optional(&mut *tx)
    .await
    .step("hold_find")?;
    let Some((hold, proposal, proposed_reference, proposed_by)) = open else {
        return Ok(Err(HoldError::NotHeld(payout)));
    };
    if proposal.as_deref() != Some(word) || proposed_reference.as_deref() != reference {
        sqlx::query(
            "-- hold_propose\nUPDATE hold SET proposal = $2, proposed_reference = $3, proposed_by = $4 WHERE id = $1",
        )
        .bind(hold)
        .bind(word)
        .bind(reference)
        .bind(person)
        .execute(tx)
        .await
        .step("hold_propose")?;
        return Ok(Ok(false));
    }
    if let Some(first) = proposed_by.filter(|first| first.eq_ignore_ascii_case(person)) {
        return Ok(Err(HoldError::SamePerson(first)));
    }
    sqlx::query("-- hold_resolve\nUPDATE hold SET approved_by = $2, resolution = proposal, resolved_at = clock_timestamp() WHERE id = $1")
        .bind(hold)
        .bind(person)
        .execute(&mut *tx)
        .await
        .step("hold_resolve")?;
    match decision {
        Decision::Paid(reference) => {
            let news = News { ids: vec![payout.0], words: vec![reference.clone()] };
            payouts_settle(tx, &news, Source::Person, None).await?;
        }
        Decision::NotPaid => {
            let news = News { ids: vec![payout.0], words: vec!["not_paid".to_owned()] };
            payouts_refuse(tx, &news, Source::Person, None).await?;
        }
    }
    batch_settle_held(tx, batch).await?;
    Ok(Ok(true))
}

/// Moves a batch with nothing unanswered to where its payouts say: `accepted` while the rail has some, `held` while people have, else `done`.
pub(crate) async fn batch_settle_held(tx: &mut PgConnection, batch: i64) -> Result<(), StoreError> {
    sqlx::query(
        "-- batch_settle_held
         UPDATE batch b
            SET state = now.state, stalled_leases = 0, lease_until = '-infinity', lease_owner = NULL,
                -- A part of a split batch may be answered by what was sent before it was one.
                first_sent_at = CASE now.state WHEN 'accepted' THEN coalesce(b.first_sent_at, clock_timestamp()) ELSE b.first_sent_at END,
                attempt = CASE now.state WHEN 'accepted' THEN greatest(b.attempt, 1) ELSE b.attempt END,
                closed_at = CASE now.state WHEN 'accepted' THEN NULL ELSE coalesce(b.closed_at, clock_timestamp()) END
           FROM (SELECT CASE WHEN bool_or(p.state = 'accepted') THEN 'accepted' WHEN bool_or(p.state = 'held') THEN 'held' ELSE 'done' END AS state,
                        bool_or(p.state IN ('planned', 'unknown')) AS unanswered
                   FROM batch o JOIN payout p ON p.id BETWEEN o.first_payout_id AND o.last_payout_id WHERE o.id = $1) AS now
          WHERE b.id = $1 AND NOT now.unanswered AND b.state NOT IN ('split', 'cancelled')",
    )
    .bind(batch)
    .execute(tx)
    .await
    .step("batch_settle_held")?;
    Ok(())
}
