//! What people say of a held payout, and what comes of it: one proposes, another agrees.

use payfleet_domain::{Effect, NotPaid, PayoutId, TokenHash};
use sqlx::PgConnection;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::sent::{known_read, sent_read};
use super::{RailAccount, batch_settle_held, is_control};
use crate::batch::{batch_lock, batch_of};
use crate::connect::{Step, Store, StoreError, detached};
use crate::decision::{Subject, word_ended, word_say};
use crate::movement::{runs_have_news, runs_settle_anew};
use crate::outcomes::payouts_count;
use crate::payout::{News, Source, payouts_refuse, payouts_settle};
use crate::people::{WhoError, person_decides};

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

fn rfc3339(at: &OffsetDateTime) -> String {
    at.format(&Rfc3339).unwrap_or_else(|_| at.to_string())
}

impl Store {
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
        payouts_count(tx, &[payout.0]).await?;
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
