//! Controls as people set and lift them.

use payfleet_domain::{
    BatchId, BatchState, Effect, HoldReason, PayoutId, PayoutState, RunId, SamePerson, TenantId, TokenHash,
};
use sqlx::PgConnection;

use super::{ControlError, ControlLifted, ControlSet, RunControls, control_codes, control_let_go};
use crate::batch::{batch_lock, batch_of};
use crate::confirm::Heard;
use crate::connect::{Step, Store, StoreError, detached};
use crate::decision::{Subject, word_say};
use crate::people::person_decides;
use crate::run::{runs_lock_against_intents, stop_turns};
use crate::sql::{open_runs, unanswered};
use crate::stray::{RECOVERED, strays_book, strays_of};

impl Store {
    /// Stops one payout: nothing of it is sent any more, whatever becomes of its run.
    pub async fn payout_stop(&self, payout: PayoutId, reason: &str) -> Result<ControlSet, ControlError> {
        let reason = reason.trim().to_owned();
        self.transaction("payout_stop", move |tx| {
            let reason = reason.clone();
            Box::pin(async move {
                let Some((batch, tenant)) = batch_of(tx, payout).await? else {
                    return Ok(Err(ControlError::NoPayout(payout)));
                };
                // An intent under way is committed before, or sees this.
                let batch = batch_lock(tx, batch).await?;
                let found: Option<(String, Option<String>)> =
                    sqlx::query_as("-- payout_state\nSELECT state, code FROM payout WHERE id = $1")
                        .bind(payout.0)
                        .fetch_optional(&mut *tx)
                        .await
                        .step("payout_state")?;
                let Some((state, code)) = found else { return Ok(Err(ControlError::NoPayout(payout))) };
                let state: PayoutState = state.parse().map_err(StoreError::Broken)?;
                if !(state.is_unanswered() || state == PayoutState::Held) {
                    return Ok(Err(ControlError::Settled { payout, state }));
                }
                let set = sqlx::query(
                    "-- control_payout
                     INSERT INTO control (tenant_id, payout_id, reason) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
                )
                .bind(tenant.0)
                .bind(payout.0)
                .bind(&reason)
                .execute(tx)
                .await
                .step("control_payout")?
                .rows_affected();
                // What is held in doubt was perhaps paid, whatever its batch is now.
                let is_sent = i64::from(match state {
                    PayoutState::Held => !code.is_some_and(|code| control_codes().contains(&code.as_str())),
                    _ => batch.state != BatchState::Ready,
                });
                Ok(Ok(ControlSet { was_set: set == 0, unsent: 1 - is_sent, perhaps_sent: is_sent }))
            })
        })
        .await?
    }

    /// Lifts the control of one payout.
    pub async fn payout_release(&self, payout: PayoutId) -> Result<ControlLifted, ControlError> {
        self.transaction("payout_release", move |tx| {
            Box::pin(async move {
                let Some((batch, _)) = batch_of(tx, payout).await? else {
                    return Ok(Err(ControlError::NoPayout(payout)));
                };
                let batch = batch_lock(tx, batch).await?;
                let lifted = sqlx::query(
                    "-- control_payout_lift
                     UPDATE control SET lifted_at = clock_timestamp() WHERE payout_id = $1 AND lifted_at IS NULL",
                )
                .bind(payout.0)
                .execute(&mut *tx)
                .await
                .step("control_payout_lift")?
                .rows_affected();
                if lifted == 0 {
                    return Ok(Err(ControlError::NotStopped(payout)));
                }
                Ok(Ok(control_let_go(tx, &batch).await?.unwrap_or_default()))
            })
        })
        .await?
    }

    /// Puts an affiliate on hold: nothing is planned for it, and nothing that is planned is sent.
    pub async fn affiliate_hold(
        &self,
        tenant: TenantId,
        affiliate: &str,
        reason: &str,
    ) -> Result<ControlSet, ControlError> {
        let (affiliate, reason) = (affiliate.to_owned(), reason.trim().to_owned());
        if reason.contains(RECOVERED.trim_end()) {
            return Err(ControlError::WordsOfRecovery);
        }
        let held = self
            .transaction("affiliate_hold", move |tx| {
                let (affiliate, reason) = (affiliate.clone(), reason.clone());
                Box::pin(async move {
                    let id: Option<i64> = sqlx::query_scalar(
                        "-- affiliate_hold
                         UPDATE affiliate SET on_hold = true WHERE tenant_id = $1 AND external_id = $2 RETURNING id",
                    )
                    .bind(tenant.0)
                    .bind(&affiliate)
                    .fetch_optional(&mut *tx)
                    .await
                    .step("affiliate_hold")?;
                    let Some(id) = id else { return Ok(Err(ControlError::NoAffiliate(affiliate))) };
                    let set = sqlx::query(
                        "-- control_affiliate
                         INSERT INTO control (tenant_id, affiliate_id, reason)
                         VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
                    )
                    .bind(tenant.0)
                    .bind(id)
                    .bind(&reason)
                    .execute(&mut *tx)
                    .await
                    .step("control_affiliate")?
                    .rows_affected();
                    Ok(Ok((id, set == 0)))
                })
            })
            .await?;
        let (id, was_set) = held?;
        let (unsent, perhaps_sent) = self.holds_arrive(tenant, vec![id]).await?;
        Ok(ControlSet { was_set, unsent, perhaps_sent })
    }

    /// Waits until every intent that has not seen what holds these affiliates now is written, and counts their payouts
    /// that are open: those that are not sent any more, and those that perhaps were. Whatever begins afterwards sees
    /// it.
    pub(crate) async fn holds_arrive(&self, tenant: TenantId, affiliates: Vec<i64>) -> Result<(i64, i64), StoreError> {
        self.transaction("holds_arrive", move |tx| {
            let affiliates = affiliates.clone();
            Box::pin(async move {
                stop_turns(tx, tenant).await?;
                runs_lock_against_intents(tx, &[tenant.0]).await?;
                sqlx::query_as(concat!(
                    "-- affiliate_open_payouts
                     SELECT count(*) FILTER (WHERE CASE p.state WHEN 'held' THEN p.code = ANY($3)
                       ELSE b.state = 'ready' END),
                            count(*) FILTER (WHERE CASE p.state WHEN 'held' THEN p.code <> ALL($3)
                              ELSE b.state <> 'ready' END)
                       FROM run r JOIN payout p ON p.run_id = r.id AND p.affiliate_id = ANY($2)
                       JOIN batch b ON b.run_id = r.id AND b.state <> 'split'
                         AND p.id BETWEEN b.first_payout_id AND b.last_payout_id
                      WHERE r.tenant_id = $1 AND r.state IN ",
                    open_runs!(),
                    "
                        AND (p.state = 'held' OR p.state IN ",
                    unanswered!(),
                    ")"
                ))
                .bind(tenant.0)
                .bind(affiliates)
                .bind(control_codes())
                .fetch_one(tx)
                .await
                .step("affiliate_open_payouts")
            })
        })
        .await
    }

    /// Takes an affiliate off hold; what was held for it and never sent goes on. Whoever was paid by what a recovery
    /// has lost is not let go by this.
    pub async fn affiliate_release(&self, tenant: TenantId, affiliate: &str) -> Result<ControlLifted, ControlError> {
        let name = affiliate.to_owned();
        let released = self.transaction("affiliate_release", move |tx| {
            let name = name.clone();
            Box::pin(async move {
                let Some(hold) = affiliate_hold_lock(tx, tenant, &name).await? else {
                    return Ok(Err(ControlError::NoAffiliate(name)));
                };
                if let Some(reason) = hold.recovered() {
                    let (payments, _) = strays_of(tx, hold.affiliate).await?;
                    let reason = reason.to_owned();
                    return Ok(Err(ControlError::Recovered { affiliate: name, reason, payments }));
                }
                let batches = affiliate_let_go(tx, tenant, hold.affiliate).await?;
                Ok(if hold.is_on_hold || !batches.is_empty() {
                    Ok(batches)
                } else {
                    Err(ControlError::NotOnHold(name))
                })
            })
        });
        // Each on its own, in the order of locks that intents have. Interrupted, this is said again.
        Ok(self.batches_let_go(released.await??).await?)
    }

    /// Says that what an affiliate got by payments which a recovery has lost is booked. When a second person says the
    /// same of the same payments, they are off hold, and what was planned for them before the recovery is cancelled. It
    /// frees money, since only these two have seen that it is booked.
    pub async fn affiliate_booked(
        &self,
        tenant: TenantId,
        affiliate: &str,
        by: TokenHash,
    ) -> Result<(Heard, ControlLifted), ControlError> {
        let name = affiliate.to_owned();
        let heard = self.transaction("affiliate_booked", move |tx| {
            let name = name.clone();
            Box::pin(async move {
                let person = match person_decides(tx, by, Some(tenant)).await? {
                    Ok(person) => person,
                    Err(who) => return Ok(Err(who.into())),
                };
                let Some(hold) = affiliate_hold_lock(tx, tenant, &name).await? else {
                    return Ok(Err(ControlError::NoAffiliate(name)));
                };
                let Some(number) = hold.control.filter(|_| hold.recovered().is_some()) else {
                    return Ok(Err(ControlError::NotRecovered(name)));
                };
                let (payments, lines) = strays_of(tx, hold.affiliate).await?;
                let effect = match word_say(tx, &person, tenant, Subject::Control(number), "booked", &payments).await? {
                    Ok((effect, _)) => effect,
                    Err(SamePerson) => return Ok(Err(ControlError::SamePerson(person.name))),
                };
                let batches = match effect {
                    Effect::Agrees => {
                        strays_book(tx, tenant, hold.affiliate, number, &lines).await?;
                        affiliate_let_go(tx, tenant, hold.affiliate).await?
                    }
                    Effect::Proposes | Effect::Contradicts => Vec::new(),
                };
                Ok(Ok((Heard { number, effect, by: person.name }, batches)))
            })
        });
        let (heard, batches) = heard.await??;
        Ok((heard, self.batches_let_go(batches).await?))
    }

    /// Cancels what was held since its account was contested, and no contest of it is open any more: the next run pays
    /// what is due. Each batch on its own, in the order of locks that intents have. Safe to repeat: whoever watches
    /// does so, since the program that cleared the contest may have died in between, and an intent that had seen the
    /// contest open may hold a payout just after it was cleared.
    pub async fn contested_let_go(&self) -> Result<ControlLifted, StoreError> {
        let pool = self.pool.clone();
        let batches: Vec<i64> = detached(async move {
            sqlx::query_scalar(
                "-- contested_held
                 SELECT b.id FROM hold h JOIN payout p ON p.id = h.payout_id
                   JOIN batch b ON b.run_id = h.run_id AND b.state = 'held'
                     AND p.id BETWEEN b.first_payout_id AND b.last_payout_id
                  WHERE h.resolved_at IS NULL AND h.reason = $1
                    AND NOT EXISTS (SELECT FROM contest k WHERE k.tenant_id = p.tenant_id
                      AND k.affiliate_id = p.affiliate_id
                                       AND k.currency = p.currency AND k.closed_at IS NULL) ORDER BY b.id",
            )
            .bind(HoldReason::Contested.code())
            .fetch_all(&pool)
            .await
            .step("contested_held")
        })
        .await?;
        self.batches_let_go(batches).await
    }

    async fn batches_let_go(&self, batches: Vec<i64>) -> Result<ControlLifted, StoreError> {
        let mut all = ControlLifted::default();
        for batch in batches {
            let lifted = self
                .transaction("control_let_go", move |tx| {
                    Box::pin(async move {
                        let batch = batch_lock(tx, BatchId(batch)).await?;
                        control_let_go(tx, &batch).await
                    })
                })
                .await?
                .unwrap_or_default();
            all.go_on += lifted.go_on;
            all.cancelled += lifted.cancelled;
        }
        Ok(all)
    }

    /// How many payouts of a run controls hold, or will.
    pub async fn run_controls(&self, run: RunId) -> Result<RunControls, StoreError> {
        let pool = self.pool.clone();
        detached(async move {
            let (held, waiting) = sqlx::query_as(concat!(
                "-- run_controls
                 SELECT (SELECT count(*) FROM hold h
                          WHERE h.payout_id BETWEEN $1::bigint << 32 AND (($1::bigint + 1) << 32) - 1
                            AND h.resolved_at IS NULL AND h.reason = ANY($2)),
                        (SELECT count(*) FROM (
                           SELECT p.id FROM run r JOIN affiliate a ON a.tenant_id = r.tenant_id AND a.on_hold
                             JOIN payout p ON p.run_id = r.id AND p.affiliate_id = a.id WHERE r.id = $1
                               AND p.state IN ",
                unanswered!(),
                "
                           UNION
                           SELECT p.id FROM control c JOIN payout p ON p.id = c.payout_id
                            WHERE c.payout_id BETWEEN $1::bigint << 32 AND (($1::bigint + 1) << 32) - 1
                              AND c.lifted_at IS NULL
                              AND p.state IN ",
                unanswered!(),
                "
                           UNION
                           SELECT p.id FROM run r JOIN contest k ON k.tenant_id = r.tenant_id AND k.closed_at IS NULL
                             JOIN payout p ON p.run_id = r.id AND p.affiliate_id = k.affiliate_id
                               AND p.currency = k.currency
                            WHERE r.id = $1 AND p.state IN ",
                unanswered!(),
                ") AS waiting)"
            ))
            .bind(run.0)
            .bind(control_codes())
            .fetch_one(&pool)
            .await
            .step("run_controls")?;
            Ok(RunControls { held, waiting })
        })
        .await
    }

    /// Releases one payout of a cancelled run that a control holds.
    pub(crate) async fn controlled_cancel_next(&self, run: RunId) -> Result<Option<u64>, StoreError> {
        self.transaction("controlled_cancel", move |tx| {
            Box::pin(async move {
                let next: Option<i64> = sqlx::query_scalar(
                    "-- controlled_cancel_next
                     SELECT b.id FROM hold h
                       JOIN batch b ON b.run_id = $1 AND b.state = 'held' AND b.first_sent_at IS NULL
                                   AND h.payout_id BETWEEN b.first_payout_id AND b.last_payout_id
                      WHERE h.payout_id BETWEEN $1::bigint << 32 AND (($1::bigint + 1) << 32) - 1
                        AND h.resolved_at IS NULL AND h.reason = ANY($2)
                      ORDER BY b.id LIMIT 1 FOR NO KEY UPDATE OF b",
                )
                .bind(run.0)
                .bind(control_codes())
                .fetch_optional(&mut *tx)
                .await
                .step("controlled_cancel_next")?;
                let Some(batch) = next else { return Ok(None) };
                let batch = batch_lock(tx, BatchId(batch)).await?;
                Ok(control_let_go(tx, &batch).await?.map(|lifted| lifted.cancelled))
            })
        })
        .await
    }
}

/// An affiliate whose row is locked, and what keeps it on hold.
struct AffiliateHold {
    affiliate: i64,
    is_on_hold: bool,
    /// The control that a person or a recovery has set, and why; a file sets none.
    control: Option<i64>,
    reason: Option<String>,
}

impl AffiliateHold {
    /// Why, if a recovery is among the reasons.
    fn recovered(&self) -> Option<&str> {
        self.reason.as_deref().filter(|reason| reason.contains(RECOVERED))
    }
}

async fn affiliate_hold_lock(
    tx: &mut PgConnection,
    tenant: TenantId,
    name: &str,
) -> Result<Option<AffiliateHold>, StoreError> {
    let step = "affiliate_hold_lock";
    let found: Option<(i64, bool)> = sqlx::query_as(
        "-- affiliate_hold_lock
         SELECT id, on_hold FROM affiliate WHERE tenant_id = $1 AND external_id = $2 FOR UPDATE",
    )
    .bind(tenant.0)
    .bind(name)
    .fetch_optional(&mut *tx)
    .await
    .step(step)?;
    let Some((affiliate, is_on_hold)) = found else { return Ok(None) };
    let control: Option<(i64, String)> = sqlx::query_as(
        "-- control_affiliate_lock
         SELECT id, reason FROM control WHERE affiliate_id = $1 AND lifted_at IS NULL FOR UPDATE",
    )
    .bind(affiliate)
    .fetch_optional(tx)
    .await
    .step("control_affiliate_lock")?;
    let (control, reason) = control.unzip();
    Ok(Some(AffiliateHold { affiliate, is_on_hold, control, reason }))
}

/// Lifts what keeps an affiliate on hold. Returns the batches that are held for it.
async fn affiliate_let_go(tx: &mut PgConnection, tenant: TenantId, affiliate: i64) -> Result<Vec<i64>, StoreError> {
    sqlx::query("-- affiliate_release\nUPDATE affiliate SET on_hold = false WHERE id = $1 AND on_hold")
        .bind(affiliate)
        .execute(&mut *tx)
        .await
        .step("affiliate_release")?;
    sqlx::query(
        "-- control_affiliate_lift
         UPDATE control SET lifted_at = clock_timestamp() WHERE affiliate_id = $1 AND lifted_at IS NULL",
    )
    .bind(affiliate)
    .execute(&mut *tx)
    .await
    .step("control_affiliate_lift")?;
    sqlx::query_scalar(
        "-- affiliate_held
         SELECT b.id FROM hold h JOIN payout p ON p.id = h.payout_id AND p.affiliate_id = $2
           JOIN batch b ON b.run_id = h.run_id AND b.state = 'held'
             AND p.id BETWEEN b.first_payout_id AND b.last_payout_id
          WHERE h.tenant_id = $1 AND h.resolved_at IS NULL AND h.reason = $3 ORDER BY b.id",
    )
    .bind(tenant.0)
    .bind(affiliate)
    .bind(HoldReason::OnHold.code())
    .fetch_all(tx)
    .await
    .step("affiliate_held")
}
