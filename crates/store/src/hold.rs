//! What only people may decide: payouts that may have been sent and cannot be asked about. One person proposes, another
//! agrees.

mod sent;

use payfleet_domain::{
    BatchId, BatchState, Effect, HoldFacts, HoldReason, Money, NotPaid, PayoutEvent, PayoutId, PayoutState, RunId,
    TokenHash,
};
use sqlx::{PgConnection, Row};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::batch::{batch_lock, batch_of, batch_standing, currency};
use crate::connect::{Step, Store, StoreError, detached};
use crate::decision::{Subject, WordRow, word_ended, word_say, words_about};
use crate::lease::Lease;
use crate::movement::{runs_have_news, runs_settle_anew};
use crate::payout::{News, Source, payouts_refuse, payouts_settle};
use crate::people::{WhoError, person_decides};
use crate::stop::part_cancel;
use sent::{known_read, sent_read};

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

/// What people found out about a held payout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// It was paid; this is the rail's name for the payment.
    Paid(String),
    /// It was not paid, and nothing under way can pay it.
    NotPaid,
}

/// What a word about a held payout did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HoldSaid {
    /// Whether it is carried out, waits for a second person, or ended a proposal.
    pub effect: Effect,
    /// Who said it.
    pub by: String,
    /// What is known of payments and returns of this payout under other references than the one that was named.
    pub known: Vec<String>,
    /// The proposal that a contradiction has ended: who had said what, and the reference, if there is one.
    pub ended: Option<(String, String)>,
    /// Other payouts of the tenant that the named reference is known to be of.
    pub others: Vec<PayoutId>,
}

/// Why a decision was not taken.
#[derive(Debug, thiserror::Error)]
pub enum HoldError {
    /// The payout is not held.
    #[error("payout {0} is not held; `holds` lists those that are")]
    NotHeld(PayoutId),
    /// Who says so has no say.
    #[error(transparent)]
    Who(#[from] WhoError),
    /// The same person twice.
    #[error("{0} has said this already; a second person must say the same")]
    SamePerson(String),
    /// It is held by a control, not for want of knowledge.
    #[error(
        "payout {payout} is held as `{reason}`: nothing of it is in doubt; it is lifted by `affiliate release`, \
         `payout release`, or `contests clear`"
    )]
    Control {
        /// Which.
        payout: PayoutId,
        /// The hold's reason.
        reason: String,
    },
    /// A request for it can still be executed.
    #[error(
        "payout {payout} may still be paid: a request for it can be executed until {}; \
         only then can it be said that it was not paid",
        rfc3339(until)
    )]
    NotBefore {
        /// Which.
        payout: PayoutId,
        /// Until when.
        until: OffsetDateTime,
    },
    /// The statement does not reach far enough to be silent about it.
    #[error(
        "whether payout {payout} was paid is not known before the statement of {}/{} reaches past {}; \
         `payfleet-reconciler watch` fetches it; that it is not in a file proves nothing",
        account.rail, account.account, rfc3339(until)
    )]
    NotBeforeStatement {
        /// Which.
        payout: PayoutId,
        /// Past when it must reach.
        until: OffsetDateTime,
        /// Whose statement.
        account: RailAccount,
    },
    /// A statement names it.
    #[error("payout {payout} is known to the rail ({}); it cannot be said that it was not paid", known.join(", "))]
    OnStatement {
        /// Which.
        payout: PayoutId,
        /// What is known.
        known: Vec<String>,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Whether a hold has this reason because somebody wants it so, and not for want of knowledge.
pub(crate) fn is_control(reason: &str) -> bool {
    HoldReason::CONTROLS.iter().any(|control| control.code() == reason)
}

fn rfc3339(at: &OffsetDateTime) -> String {
    at.format(&Rfc3339).unwrap_or_else(|_| at.to_string())
}

impl Store {
    /// Holds every payout of a batch that has no answer, or of which the rail that accepted it says no more, and closes
    /// the batch. Of a cancelled run, what provably was not sent is cancelled. Returns how many are held, or `None` if
    /// the lease was lost.
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
                let held: i64 = sqlx::query_scalar(
                    "-- payouts_hold
                     WITH moved AS (
                       UPDATE payout SET state = 'held', code = $3 WHERE id BETWEEN $1 AND $2 AND state = ANY($4)
                    RETURNING id, tenant_id, run_id),
                     opened AS (
                       INSERT INTO hold (tenant_id, run_id, payout_id, reason) SELECT tenant_id, run_id, id, $3
                         FROM moved ORDER BY id RETURNING 1)
                     SELECT count(*) FROM opened",
                )
                .bind(batch.first.0)
                .bind(batch.last.0)
                .bind(reason.code())
                .bind(PayoutState::sources(reason.event()))
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

    /// Decides about a held payout: the first person's word is a proposal, and the same of a second person carries it
    /// out.
    pub async fn hold_decide(
        &self,
        payout: PayoutId,
        decision: Decision,
        by: TokenHash,
    ) -> Result<HoldSaid, HoldError> {
        let named = match &decision {
            Decision::Paid(reference) => Some(reference.clone()),
            Decision::NotPaid => None,
        };
        let said = self
            .transaction("hold_decide", move |tx| {
                let decision = decision.clone();
                Box::pin(async move { hold_decide(tx, payout, &decision, by).await })
            })
            .await?;
        // After the word, which keeps others waiting: there is no index over references.
        match (said, named) {
            (Ok(said), Some(reference)) => {
                Ok(HoldSaid { others: self.reference_others(payout, reference).await?, ..said })
            }
            (said, _) => said,
        }
    }

    /// Other payouts of the tenant of this one whose payment has this name; a few of them.
    async fn reference_others(&self, payout: PayoutId, reference: String) -> Result<Vec<PayoutId>, StoreError> {
        let pool = self.pool.clone();
        detached(async move {
            let others: Vec<i64> = sqlx::query_scalar(
                "-- reference_others
                 SELECT id FROM (
                   SELECT p.id FROM run o JOIN run r ON r.tenant_id = o.tenant_id
                     JOIN payout p ON p.id BETWEEN r.id << 32 AND (r.id << 32) + 4294967295 AND p.reference = $2
                       WHERE o.id = $1 >> 32
                    UNION
                   SELECT m.payout_id FROM run o JOIN movement m ON m.tenant_id = o.tenant_id AND m.kind = 'paid'
                     AND m.reference = $2
                    WHERE o.id = $1 >> 32) AS known
                  WHERE id <> $1 ORDER BY id LIMIT 5",
            )
            .bind(payout.0)
            .bind(reference)
            .fetch_all(&pool)
            .await
            .step("reference_others")?;
            Ok(others.into_iter().map(PayoutId).collect())
        })
        .await
    }
}

async fn hold_decide(
    tx: &mut PgConnection,
    payout: PayoutId,
    decision: &Decision,
    by: TokenHash,
) -> Result<Result<HoldSaid, HoldError>, StoreError> {
    let found = batch_of(tx, payout).await?;
    let tenant = found.map(|(_, tenant)| tenant);
    // Under the batch's lock nothing more of it is sent, and no other word about it is heard.
    if let Some((batch, _)) = found {
        batch_lock(tx, batch).await?;
    }
    let person = match person_decides(tx, by, tenant).await? {
        Ok(person) => person,
        Err(who) => return Ok(Err(who.into())),
    };
    let Some((batch, tenant)) = found else { return Ok(Err(HoldError::NotHeld(payout))) };
    let batch = batch.0;
    let open: Option<(i64, String)> = sqlx::query_as(
        "-- hold_find\nSELECT id, reason FROM hold WHERE payout_id = $1 AND resolved_at IS NULL FOR UPDATE",
    )
    .bind(payout.0)
    .fetch_optional(&mut *tx)
    .await
    .step("hold_find")?;
    let Some((hold, reason)) = open else { return Ok(Err(HoldError::NotHeld(payout))) };
    if is_control(&reason) {
        return Ok(Err(HoldError::Control { payout, reason }));
    }
    let mut known = known_read(tx, &[payout.0]).await?.remove(&payout.0).unwrap_or_default();
    let (says, reference) = match decision {
        Decision::Paid(reference) => ("paid", reference.as_str()),
        Decision::NotPaid => match not_paid_refused(tx, payout, batch, &known).await? {
            None => ("not_paid", ""),
            Some(refused) => return Ok(Err(refused)),
        },
    };
    let (effect, word) = match word_say(tx, &person, tenant, Subject::Hold(hold), says, reference).await? {
        Ok(said) => said,
        Err(payfleet_domain::SamePerson) => return Ok(Err(HoldError::SamePerson(person.name))),
    };
    if effect == Effect::Agrees {
        hold_carry_out(tx, hold, word, payout, decision).await?;
        batch_settle_held(tx, batch).await?;
    }
    known.retain(|(_, known)| known != reference);
    let known = known.into_iter().map(|(kind, reference)| format!("{kind} {reference}")).collect();
    let ended = match effect {
        Effect::Contradicts => Some(word_ended(tx, word).await?),
        Effect::Proposes | Effect::Agrees => None,
    };
    Ok(Ok(HoldSaid { effect, by: person.name, known, ended, others: Vec::new() }))
}

/// Why it cannot be said that a payout was not paid, if it cannot. Looked at for each of the two words, under the
/// batch's lock. Rule `two_people_after_death`.
async fn not_paid_refused(
    tx: &mut PgConnection,
    payout: PayoutId,
    batch: i64,
    known: &[(String, String)],
) -> Result<Option<HoldError>, StoreError> {
    let sent = sent_read(tx, &[payout.run().0], Some(batch)).await?;
    let Some(sent) = sent.into_iter().next() else {
        return Err(StoreError::Broken(format!("batch {batch} was locked, and is not there")));
    };
    Ok(match sent.facts(!known.is_empty()).not_paid() {
        NotPaid::MayBeSaid => None,
        NotPaid::NotBefore(until) => Some(HoldError::NotBefore { payout, until }),
        NotPaid::NotBeforeStatement(until) => {
            Some(HoldError::NotBeforeStatement { payout, until, account: sent.account })
        }
        NotPaid::OnStatement => {
            let known = known.iter().map(|(kind, reference)| format!("{kind} {reference}")).collect();
            Some(HoldError::OnStatement { payout, known })
        }
    })
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

async fn hold_carry_out(
    tx: &mut PgConnection,
    hold: i64,
    word: i64,
    payout: PayoutId,
    decision: &Decision,
) -> Result<(), StoreError> {
    let (resolution, news) = match decision {
        Decision::Paid(reference) => ("paid", reference.clone()),
        Decision::NotPaid => ("not_paid", "not_paid".to_owned()),
    };
    sqlx::query(
        "-- hold_resolve
         UPDATE hold SET decided_by = $2, resolution = $3, resolved_at = clock_timestamp() WHERE id = $1",
    )
    .bind(hold)
    .bind(word)
    .bind(resolution)
    .execute(&mut *tx)
    .await
    .step("hold_resolve")?;
    let news = News { ids: vec![payout.0], words: vec![news] };
    // Here, as the hold is resolved and its batch will not say it.
    runs_have_news(tx, news.ids.iter().map(|id| PayoutId(*id).run())).await?;
    match decision {
        Decision::Paid(_) => {
            payouts_settle(tx, &news, Source::Person).await?;
            runs_settle_anew(tx, [payout.run()]).await
        }
        Decision::NotPaid => payouts_refuse(tx, &news, Source::Person, None).await.map(drop),
    }
}

/// Holds accepted payouts that a file says were refused. Returns how many.
pub(crate) async fn payouts_doubt(tx: &mut PgConnection, ids: &[i64]) -> Result<u64, StoreError> {
    if ids.is_empty() {
        return Ok(0);
    }
    let held = sqlx::query(
        "-- payouts_doubt
         WITH moved AS (
           UPDATE payout SET state = 'held', code = $2 WHERE id = ANY($1) AND state = ANY($3)
             RETURNING id, tenant_id, run_id)
         INSERT INTO hold (tenant_id, run_id, payout_id, reason)
         SELECT tenant_id, run_id, id, $2 FROM moved ORDER BY id",
    )
    .bind(ids)
    .bind(HoldReason::RejectedByFile.code())
    .bind(PayoutState::sources(HoldReason::RejectedByFile.event()))
    .execute(tx)
    .await
    .step("payouts_doubt")?;
    Ok(held.rows_affected())
}

/// Moves a batch with nothing unanswered to where its payouts say. The caller has its lock.
pub(crate) async fn batch_settle_held(tx: &mut PgConnection, batch: i64) -> Result<(), StoreError> {
    let locked = batch_lock(tx, BatchId(batch)).await?;
    let standing = batch_standing(tx, &locked).await?;
    let Some(next) = locked.state.settled(&standing) else { return Ok(()) };
    sqlx::query(
        "-- batch_settle_held
         UPDATE batch
            SET state = $2, stalled_leases = 0, lease_until = '-infinity', lease_owner = NULL,
                -- A part of a split batch may be answered by what was sent before it was one.
                first_sent_at = CASE $2 WHEN 'accepted' THEN coalesce(first_sent_at, clock_timestamp())
                  ELSE first_sent_at END,
                attempt = CASE $2 WHEN 'accepted' THEN greatest(attempt, 1) ELSE attempt END,
                closed_at = CASE $2 WHEN 'accepted' THEN NULL ELSE coalesce(closed_at, clock_timestamp()) END
          WHERE id = $1",
    )
    .bind(batch)
    .bind(next.as_str())
    .execute(tx)
    .await
    .step("batch_settle_held")?;
    Ok(())
}
