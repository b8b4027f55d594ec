//! The one way in which payouts come to wait for people.

use payfleet_domain::{HoldReason, PayoutEvent, PayoutState};
use sqlx::PgConnection;

use crate::connect::{Step, StoreError};

/// What is to be held, and why.
#[derive(Debug, Clone)]
pub(crate) struct Held {
    pub payout: i64,
    pub reason: HoldReason,
    /// In the words of whoever wants it held.
    pub note: Option<String>,
}

impl Held {
    /// Several for one reason.
    pub(crate) fn all(payouts: impl IntoIterator<Item = i64>, reason: HoldReason, note: Option<&str>) -> Vec<Held> {
        payouts.into_iter().map(|payout| Held { payout, reason, note: note.map(str::to_owned) }).collect()
    }
}

/// Holds those of these payouts that are in a state from which their reason holds them. Returns which, in order.
pub(crate) async fn payouts_hold(tx: &mut PgConnection, held: &[Held]) -> Result<Vec<i64>, StoreError> {
    let mut opened = Vec::new();
    for event in [PayoutEvent::Hold, PayoutEvent::Doubt] {
        let some: Vec<&Held> = held.iter().filter(|one| one.reason.event() == event).collect();
        if some.is_empty() {
            continue;
        }
        let payouts: Vec<i64> = sqlx::query_scalar(
            "-- payouts_hold
             WITH moved AS (
               UPDATE payout p SET state = 'held', code = one.code
                 FROM unnest($1::bigint[], $2::text[], $3::text[]) AS one (id, code, note)
                WHERE p.id = one.id AND p.state = ANY($4)
            RETURNING p.id, p.tenant_id, p.run_id, one.code, one.note)
             INSERT INTO hold (tenant_id, run_id, payout_id, reason, note)
             SELECT tenant_id, run_id, id, code, note FROM moved ORDER BY id
          RETURNING payout_id",
        )
        .bind(some.iter().map(|one| one.payout).collect::<Vec<_>>())
        .bind(some.iter().map(|one| one.reason.code()).collect::<Vec<_>>())
        .bind(some.iter().map(|one| one.note.clone()).collect::<Vec<_>>())
        .bind(PayoutState::sources(event))
        .fetch_all(&mut *tx)
        .await
        .step("payouts_hold")?;
        opened.extend(payouts);
    }
    opened.sort_unstable();
    Ok(opened)
}

/// What controls hold of these payouts is in doubt too, and not let go with them. `more` is added to what is said of
/// the hold. Returns which, in order.
pub(crate) async fn holds_doubt(
    tx: &mut PgConnection,
    payouts: &[i64],
    more: Option<&str>,
) -> Result<Vec<i64>, StoreError> {
    let mut doubted: Vec<i64> = sqlx::query_scalar(
        "-- holds_doubt
         WITH doubted AS (
           UPDATE payout p SET code = $2 WHERE p.id = ANY($1) AND p.state = 'held' AND p.code <> $2 RETURNING p.id)
         UPDATE hold h SET reason = $2, note = coalesce(coalesce(h.note || '; ', '') || $3, h.note)
           FROM doubted d WHERE h.payout_id = d.id AND h.resolved_at IS NULL
      RETURNING h.payout_id",
    )
    .bind(payouts)
    .bind(HoldReason::StoppedInDoubt.code())
    .bind(more)
    .fetch_all(tx)
    .await
    .step("holds_doubt")?;
    doubted.sort_unstable();
    Ok(doubted)
}
