//! What a rail without keys was asked about and does not know, while it says nothing of others in the same batch.

use payfleet_domain::{BatchState, PayoutEvent, PayoutState, Rail};
use sqlx::PgConnection;

use crate::batch::LockedBatch;
use crate::connect::{Step, StoreError};
use crate::payout::payouts_lose_track;
use crate::sql::may_arrive;

/// Takes down of single payouts that the rail does not know them, by its lessee's lookup: each is planned again, which
/// says that no request for it was executed or still can be, and goes out by the next intent. Only where nothing but a
/// lookup tells (a key needs no such proof), and only when every request of the batch is dead. Rule
/// `lookup_after_lifetime`.
///
/// While an attempt is open, all that is planned may be under way. So it is closed, and whatever of it was not found to
/// be nowhere is unknown from now on.
pub(crate) async fn unfound_record(
    tx: &mut PgConnection,
    batch: &LockedBatch,
    rail: &Rail,
    unfound: &[i64],
) -> Result<(), StoreError> {
    if unfound.is_empty() || batch.state != BatchState::Sending || !rail.needs_dead_requests() {
        return Ok(());
    }
    let may_arrive: bool = sqlx::query_scalar(concat!(
        "-- unfound_too_early
         SELECT EXISTS (SELECT FROM attempt a WHERE a.batch_id = $1 AND a.may_arrive_until >= clock_timestamp() AND ",
        may_arrive!("a"),
        ")"
    ))
    .bind(batch.id.0)
    .fetch_one(&mut *tx)
    .await
    .step("unfound_too_early")?;
    if may_arrive {
        return Ok(());
    }
    let closed = sqlx::query(
        "-- unfound_attempts_close
         UPDATE attempt SET result = 'unknown', closed_at = clock_timestamp() WHERE batch_id = $1 AND result IS NULL",
    )
    .bind(batch.id.0)
    .execute(&mut *tx)
    .await
    .step("unfound_attempts_close")?;
    if closed.rows_affected() > 0 {
        let others = (batch.first.0..=batch.last.0).filter(|payout| !unfound.contains(payout));
        payouts_lose_track(tx, &others.collect::<Vec<i64>>()).await?;
    }
    sqlx::query("-- unfound_clear\nUPDATE payout SET state = 'planned' WHERE id = ANY($1) AND state = ANY($2)")
        .bind(unfound)
        .bind(PayoutState::sources(PayoutEvent::Clear))
        .execute(tx)
        .await
        .step("unfound_clear")?;
    Ok(())
}
