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
/// run is thousands too many, and even its best plan looks each name up alone; a list of keys costs a fifth of that. Each answer is one row of
/// columns as arrays: a row for each payout would cost more to send and to take apart than to find.
pub(crate) async fn orders_in(
    tx: &mut PgConnection,
    first: PayoutId,
    last: PayoutId,
    states: &[PayoutState],
) -> Result<Vec<Order>, StoreError> {
    let states: Vec<&str> = states.iter().map(PayoutState::as_str).collect();
    let alike: Vec<Alike> = sqlx::query_as(
        "-- orders_in
         SELECT tenant_id, currency::text, array_agg(id), array_agg(affiliate_id), array_agg(method_id), array_agg(amount_minor)
           FROM (SELECT * FROM payout WHERE id BETWEEN $1 AND $2 AND state = ANY($3) ORDER BY id) AS p GROUP BY tenant_id, currency",
    )
    .bind(first.0)
    .bind(last.0)
    .bind(states)
    .fetch_all(&mut *tx)
    .await
    .step("orders_in")?;
    let mut orders = Vec::new();
    for (tenant, code, payouts, affiliates, methods, amounts) in alike {
        let currency = code.parse().map_err(|unknown: UnknownCurrency| StoreError::Broken(unknown.to_string()))?;
        let mut names = names_of(tx, tenant, &affiliates).await?;
        let mut destinations = destinations_of(tx, tenant, &methods).await?;
        orders.reserve(payouts.len());
        for (((payout, affiliate), method), minor) in payouts.into_iter().zip(affiliates).zip(methods).zip(amounts) {
            // Each is needed once: a run has one payout for each affiliate and currency.
            let (Some(name), Some(destination)) = (names.remove(&affiliate), destinations.remove(&(method, affiliate)))
            else {
                return Err(StoreError::Broken(format!(
                    "payout {payout} has no affiliate or no method of its tenant's"
                )));
            };
            let amount = Money { minor, currency };
            orders.push(Order { payout: PayoutId(payout), affiliate: name, amount, destination });
        }
    }
    orders.sort_unstable_by_key(|order| order.payout);
    Ok(orders)
}

/// Payouts of one tenant and currency: numbers, affiliates, methods, amounts in minor units. All of a batch are.
type Alike = (i32, String, Vec<i64>, Vec<i64>, Vec<i64>, Vec<i64>);

/// The tenant's own names for affiliates.
pub(crate) async fn names_of(
    tx: &mut PgConnection,
    tenant: i32,
    ids: &[i64],
) -> Result<HashMap<i64, String>, StoreError> {
    let (ids, names): (Vec<i64>, Vec<String>) = sqlx::query_as(
        "-- orders_affiliates
         SELECT coalesce(array_agg(id), '{}'), coalesce(array_agg(external_id), '{}') FROM affiliate WHERE id = ANY($1) AND tenant_id = $2",
    )
    .bind(ids)
    .bind(tenant)
    .fetch_one(tx)
    .await
    .step("orders_affiliates")?;
    Ok(ids.into_iter().zip(names).collect())
}

/// Where methods lead to, by method and its affiliate.
pub(crate) async fn destinations_of(
    tx: &mut PgConnection,
    tenant: i32,
    ids: &[i64],
) -> Result<HashMap<(i64, i64), String>, StoreError> {
    let (ids, affiliates, destinations): (Vec<i64>, Vec<i64>, Vec<String>) = sqlx::query_as(
        "-- orders_methods
         SELECT coalesce(array_agg(id), '{}'), coalesce(array_agg(affiliate_id), '{}'), coalesce(array_agg(destination), '{}')
           FROM payout_method WHERE id = ANY($1) AND tenant_id = $2",
    )
    .bind(ids)
    .bind(tenant)
    .fetch_one(tx)
    .await
    .step("orders_methods")?;
    Ok(ids.into_iter().zip(affiliates).zip(destinations).collect())
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
