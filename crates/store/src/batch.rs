//! What several guards need of a batch: locking it, its payouts without an answer, and its next state from theirs.

use std::collections::HashMap;

use payfleet_domain::{AttemptNo, BatchId, BatchState, Currency, Epoch, Money, PayoutId, PayoutState, UnknownCurrency};
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
///
/// Three questions and no join: a join is planned for as many payouts as Postgres believes a range to hold, which before the first ANALYZE of a new
/// run is thousands too many, and even its best plan looks each name up alone; a list of keys costs a fifth of that.
pub(crate) async fn orders_in(
    tx: &mut PgConnection,
    first: PayoutId,
    last: PayoutId,
    states: &[PayoutState],
) -> Result<Vec<Order>, StoreError> {
    let states: Vec<&str> = states.iter().map(PayoutState::as_str).collect();
    let read = "orders_in";
    let payouts: Vec<(i64, i32, i64, i64, i64, String)> = sqlx::query_as(
        "-- orders_in
         SELECT id, tenant_id, affiliate_id, method_id, amount_minor, currency FROM payout
          WHERE id BETWEEN $1 AND $2 AND state = ANY($3) ORDER BY id",
    )
    .bind(first.0)
    .bind(last.0)
    .bind(states)
    .fetch_all(&mut *tx)
    .await
    .step(read)?;
    let Some((_, tenant, ..)) = payouts.first() else { return Ok(Vec::new()) };
    let mut names: HashMap<i64, String> = sqlx::query_as::<_, (i64, String)>(
        "-- orders_affiliates\nSELECT id, external_id FROM affiliate WHERE id = ANY($1) AND tenant_id = $2",
    )
    .bind(payouts.iter().map(|payout| payout.2).collect::<Vec<_>>())
    .bind(tenant)
    .fetch_all(&mut *tx)
    .await
    .step("orders_affiliates")?
    .into_iter()
    .collect();
    let mut destinations: HashMap<(i64, i64), String> = sqlx::query_as::<_, (i64, i64, String)>(
        "-- orders_methods\nSELECT id, affiliate_id, destination FROM payout_method WHERE id = ANY($1) AND tenant_id = $2",
    )
    .bind(payouts.iter().map(|payout| payout.3).collect::<Vec<_>>())
    .bind(tenant)
    .fetch_all(tx)
    .await
    .step("orders_methods")?
    .into_iter()
    .map(|(id, affiliate, destination)| ((id, affiliate), destination))
    .collect();
    let order = |(id, _, affiliate, method, minor, code): (i64, i32, i64, i64, i64, String)| {
        // Each is needed once: a batch has one currency, and a run one payout for each affiliate and currency.
        let (name, destination) = (names.remove(&affiliate), destinations.remove(&(method, affiliate)));
        let (Some(name), Some(destination)) = (name, destination) else {
            return Err(StoreError::Broken(format!("payout {id} has no affiliate or no method of its tenant's")));
        };
        let currency = code.parse().map_err(|unknown: UnknownCurrency| StoreError::Broken(unknown.to_string()))?;
        Ok(Order { payout: PayoutId(id), affiliate: name, amount: Money { minor, currency }, destination })
    };
    payouts.into_iter().map(order).collect()
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
