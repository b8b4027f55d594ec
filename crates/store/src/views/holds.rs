//! Which payouts wait for people, by number, for a word about many of them.

use payfleet_domain::{HoldReason, PayoutId, RunId};

use crate::connect::{Step, Store, StoreError, detached};

impl Store {
    /// Payouts of a run that are held for this reason, behind the one that was read last, in order; at most so many.
    pub async fn held_page(
        &self,
        run: RunId,
        reason: HoldReason,
        after: Option<PayoutId>,
        limit: i64,
    ) -> Result<Vec<PayoutId>, StoreError> {
        let pool = self.pool.clone();
        let (first, last) = run.payouts();
        detached(async move {
            let held: Vec<i64> = sqlx::query_scalar(
                "-- held_page
                 SELECT payout_id FROM hold
                  WHERE resolved_at IS NULL AND payout_id > $1 AND payout_id <= $2 AND reason = $3
                  ORDER BY payout_id LIMIT $4",
            )
            .bind(after.map_or(first.0 - 1, |payout| payout.0))
            .bind(last.0)
            .bind(reason.code())
            .bind(limit)
            .fetch_all(&pool)
            .await
            .step("held_page")?;
            Ok(held.into_iter().map(PayoutId).collect())
        })
        .await
    }
}
