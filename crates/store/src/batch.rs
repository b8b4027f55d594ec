//! What several guards need of a batch: locking it, its payouts without an answer, and its next state from theirs.

use payfleet_domain::{AttemptNo, BatchId, BatchState, Currency, Epoch, Money, PayoutId, PayoutState};
use sqlx::PgConnection;
use sqlx::Row;
use sqlx::postgres::PgRow;

use crate::connect::{Step, Store, StoreError, detached};

/// One payout as the worker orders it from a rail. Amount and destination come from here and from nowhere else.
#[derive(Debug, Clone)]
pub struct Order {
    /// Its number.
    pub payout: PayoutId,
    /// The tenant's own name for the affiliate; part of the key.
    pub affiliate: String,
    /// How much.
    pub amount: Money,
    /// Where to, in normal form.
    pub destination: String,
}

/// A batch whose row is locked by the running transaction.
#[derive(Debug, Clone)]
pub(crate) struct LockedBatch {
    pub id: BatchId,
    pub run: i64,
    pub rail: String,
    pub state: BatchState,
    pub epoch: Epoch,
    pub attempt: AttemptNo,
    pub first: PayoutId,
    pub last: PayoutId,
    pub payouts: i32,
}

/// Reads a word that a CHECK constrains.
pub(crate) fn word<T: std::str::FromStr<Err = String>>(row: &PgRow, column: &str) -> Result<T, StoreError> {
    let text: String = row.try_get(column).step("row_read")?;
    text.parse().map_err(StoreError::Broken)
}

/// Reads a currency column. `char(3)` never pads a three-letter code.
pub(crate) fn currency(row: &PgRow, column: &str) -> Result<Currency, StoreError> {
    let code: String = row.try_get(column).step("row_read")?;
    code.parse().map_err(|unknown: payfleet_domain::UnknownCurrency| StoreError::Broken(unknown.to_string()))
}

/// Takes the row lock that every fence begins with.
pub(crate) async fn batch_lock(tx: &mut PgConnection, batch: BatchId) -> Result<LockedBatch, StoreError> {
    let row = sqlx::query(
        "-- batch_lock
         SELECT id, run_id, rail, state, lease_epoch, attempt, first_payout_id, last_payout_id, payouts
           FROM batch WHERE id = $1 FOR NO KEY UPDATE",
    )
    .bind(batch.0)
    .fetch_optional(tx)
    .await
    .step("batch_lock")?
    .ok_or_else(|| StoreError::Broken(format!("batch {batch} does not exist")))?;
    Ok(LockedBatch {
        id: batch,
        run: row.try_get("run_id").step("batch_lock")?,
        rail: row.try_get("rail").step("batch_lock")?,
        state: word(&row, "state")?,
        epoch: Epoch(row.try_get("lease_epoch").step("batch_lock")?),
        attempt: AttemptNo(row.try_get("attempt").step("batch_lock")?),
        first: PayoutId(row.try_get("first_payout_id").step("batch_lock")?),
        last: PayoutId(row.try_get("last_payout_id").step("batch_lock")?),
        payouts: row.try_get("payouts").step("batch_lock")?,
    })
}

/// What a batch was split into.
pub(crate) async fn batch_halves(tx: &mut PgConnection, run: i64, batch: BatchId) -> Result<Vec<BatchId>, StoreError> {
    let halves: Vec<i64> =
        sqlx::query_scalar("-- batch_parts\nSELECT id FROM batch WHERE run_id = $1 AND parent_id = $2 ORDER BY id")
            .bind(run)
            .bind(batch.0)
            .fetch_all(tx)
            .await
            .step("batch_parts")?;
    Ok(halves.into_iter().map(BatchId).collect())
}

/// The payouts of a range in one of these states, in order.
pub(crate) async fn orders_in(
    tx: &mut PgConnection,
    first: PayoutId,
    last: PayoutId,
    states: &[PayoutState],
) -> Result<Vec<Order>, StoreError> {
    let states: Vec<&str> = states.iter().map(PayoutState::as_str).collect();
    let rows = sqlx::query(
        // Looked up one by one: a join's plan is made for as many payouts as Postgres believes a range to hold, and before the first ANALYZE of a new
        // run that is thousands too many; it then reads all affiliates for each batch.
        "-- orders_in
         SELECT p.id, p.amount_minor, p.currency,
                (SELECT a.external_id FROM affiliate a WHERE a.id = p.affiliate_id AND a.tenant_id = p.tenant_id) AS external_id,
                (SELECT m.destination FROM payout_method m
                  WHERE m.id = p.method_id AND m.tenant_id = p.tenant_id AND m.affiliate_id = p.affiliate_id) AS destination
           FROM payout p
          WHERE p.id BETWEEN $1 AND $2 AND p.state = ANY($3)
          ORDER BY p.id",
    )
    .bind(first.0)
    .bind(last.0)
    .bind(states)
    .fetch_all(tx)
    .await
    .step("orders_in")?;
    rows.iter()
        .map(|row| {
            Ok(Order {
                payout: PayoutId(row.try_get("id").step("orders_in")?),
                affiliate: row.try_get("external_id").step("orders_in")?,
                amount: Money {
                    minor: row.try_get("amount_minor").step("orders_in")?,
                    currency: currency(row, "currency")?,
                },
                destination: row.try_get("destination").step("orders_in")?,
            })
        })
        .collect()
}

impl Store {
    /// The payouts of a batch that are in one of these states, for asking the rail about them.
    pub async fn orders_read(&self, batch: BatchId, states: &'static [PayoutState]) -> Result<Vec<Order>, StoreError> {
        let pool = self.pool.clone();
        detached(async move {
            let mut connection = pool.acquire().await.step("orders_read")?;
            let (first, last): (i64, i64) =
                sqlx::query_as("-- batch_range\nSELECT first_payout_id, last_payout_id FROM batch WHERE id = $1")
                    .bind(batch.0)
                    .fetch_one(&mut *connection)
                    .await
                    .step("batch_range")?;
            orders_in(&mut connection, PayoutId(first), PayoutId(last), states).await
        })
        .await
    }
}
