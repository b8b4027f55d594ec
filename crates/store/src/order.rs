//! Reading payouts with what a rail needs to know of them: whom, and where to.
//!
//! Three questions and no join: a join is planned for as many payouts as Postgres believes a range to hold, which
//! before the first ANALYZE of a new run is thousands too many, and even its best plan looks each name up alone. Each
//! answer is one row of columns as arrays: a row for each payout would cost more to send and to take apart than to
//! find.

use std::collections::HashMap;

use payfleet_domain::{BatchId, Currency, Money, PayoutId, PayoutState, Reference, UnknownCurrency};
use sqlx::PgConnection;

use crate::connect::{Step, Store, StoreError, detached};
use crate::sql::{pays_currency, pays_minor};

/// One payout as the worker orders it from a rail. Amount and destination come from here and from nowhere else.
#[derive(Debug, Clone)]
pub struct Order {
    /// Its number.
    pub payout: PayoutId,
    /// The tenant's own name for the affiliate; part of the key.
    pub affiliate: String,
    /// What the rail is told to pay.
    pub amount: Money,
    /// In which currency it is due; part of the key, since an affiliate has one payout for each.
    pub due_currency: Currency,
    /// Where to, in normal form.
    pub destination: String,
    /// The affiliate's own name; empty where the tenant has not told it.
    pub payee_name: String,
    /// The affiliate's country as it was imported; empty where the tenant has not told it.
    pub payee_country: String,
    /// What the rail called it when it accepted it.
    pub reference: Option<Reference>,
}

/// Numbers as a range, where not much else lies between them. Plans go through affiliates in order, so those of a batch
/// mostly are, and their methods too: to read them in one go takes a quarter of the time of looking each up. What lies
/// between is ignored.
pub(crate) fn range(ids: &[i64]) -> Option<(i64, i64)> {
    let (low, high) = ids.iter().fold((i64::MAX, i64::MIN), |(low, high), id| (low.min(*id), high.max(*id)));
    let reach = high.checked_sub(low)?;
    (usize::try_from(reach).ok()? < 4 * ids.len()).then_some((low, high))
}

/// Payouts of one tenant, and of one currency that is due and one that is paid: numbers, affiliates, methods, what is
/// paid in minor units, references. All of a batch are.
type Alike = (i32, String, String, Vec<i64>, Vec<i64>, Vec<i64>, Vec<i64>, Vec<Option<String>>);

/// The payouts of a range in one of these states, in order.
pub(crate) async fn orders_in(
    tx: &mut PgConnection,
    first: PayoutId,
    last: PayoutId,
    states: &[PayoutState],
) -> Result<Vec<Order>, StoreError> {
    let states: Vec<&str> = states.iter().map(PayoutState::as_str).collect();
    let alike: Vec<Alike> = sqlx::query_as(concat!(
        "-- orders_in
         SELECT tenant_id, currency::text, ",
        pays_currency!("p"),
        "::text, array_agg(id), array_agg(affiliate_id),
                array_agg(method_id), array_agg(",
        pays_minor!("p"),
        "), array_agg(reference)
           FROM (SELECT * FROM payout WHERE id BETWEEN $1 AND $2 AND state = ANY($3) ORDER BY id) AS p
             GROUP BY tenant_id, currency, ",
        pays_currency!("p")
    ))
    .bind(first.0)
    .bind(last.0)
    .bind(states)
    .fetch_all(&mut *tx)
    .await
    .step("orders_in")?;
    let mut orders = Vec::new();
    for (tenant, due, pays, payouts, affiliates, methods, amounts, references) in alike {
        let read = |code: String| code.parse().map_err(|no: UnknownCurrency| StoreError::Broken(no.to_string()));
        let (due_currency, currency) = (read(due)?, read(pays)?);
        let mut payees = payees_of(tx, tenant, &affiliates).await?;
        let mut destinations = destinations_of(tx, tenant, &methods).await?;
        orders.reserve(payouts.len());
        let payouts = payouts.into_iter().zip(affiliates).zip(methods).zip(amounts).zip(references);
        for ((((payout, affiliate), method), minor), reference) in payouts {
            // Each is needed once: a run has one payout for each affiliate and currency.
            let (Some(payee), Some(destination)) =
                (payees.remove(&affiliate), destinations.remove(&(method, affiliate)))
            else {
                return Err(StoreError::Broken(format!(
                    "payout {payout} has no affiliate or no method of its tenant's"
                )));
            };
            let amount = Money { minor, currency };
            let (payout, reference) = (PayoutId(payout), reference.map(Reference));
            let Payee { affiliate, payee_name, payee_country } = payee;
            orders.push(Order {
                payout,
                affiliate,
                amount,
                due_currency,
                destination,
                payee_name,
                payee_country,
                reference,
            });
        }
    }
    orders.sort_unstable_by_key(|order| order.payout);
    Ok(orders)
}

/// Whom a payout is for.
struct Payee {
    affiliate: String,
    payee_name: String,
    payee_country: String,
}

/// Affiliates with what rails ask about them, at least these.
async fn payees_of(tx: &mut PgConnection, tenant: i32, ids: &[i64]) -> Result<HashMap<i64, Payee>, StoreError> {
    macro_rules! payees {
        ($which:literal) => {
            sqlx::query_as(concat!(
                "-- orders_payees
                 SELECT coalesce(array_agg(id), '{}'), coalesce(array_agg(external_id), '{}'),
                        coalesce(array_agg(name), '{}'), coalesce(array_agg(country), '{}')
                   FROM affiliate WHERE tenant_id = $1 AND ",
                $which
            ))
            .bind(tenant)
        };
    }
    let (ids, affiliates, names, countries): (Vec<i64>, Vec<String>, Vec<String>, Vec<String>) = match range(ids) {
        Some((low, high)) => payees!("id BETWEEN $2 AND $3").bind(low).bind(high),
        None => payees!("id = ANY($2)").bind(ids),
    }
    .fetch_one(tx)
    .await
    .step("orders_payees")?;
    let payees = affiliates
        .into_iter()
        .zip(names)
        .zip(countries)
        .map(|((affiliate, payee_name), payee_country)| Payee { affiliate, payee_name, payee_country });
    Ok(ids.into_iter().zip(payees).collect())
}

/// The tenant's own names for affiliates, at least for these.
pub(crate) async fn names_of(
    tx: &mut PgConnection,
    tenant: i32,
    ids: &[i64],
) -> Result<HashMap<i64, String>, StoreError> {
    macro_rules! names {
        ($which:literal) => {
            sqlx::query_as(concat!(
                "-- orders_affiliates
                 SELECT coalesce(array_agg(id), '{}'), coalesce(array_agg(external_id), '{}') FROM affiliate
                   WHERE tenant_id = $1 AND ",
                $which
            ))
            .bind(tenant)
        };
    }
    let (ids, names): (Vec<i64>, Vec<String>) = match range(ids) {
        Some((low, high)) => names!("id BETWEEN $2 AND $3").bind(low).bind(high),
        None => names!("id = ANY($2)").bind(ids),
    }
    .fetch_one(tx)
    .await
    .step("orders_affiliates")?;
    Ok(ids.into_iter().zip(names).collect())
}

/// Where methods lead to, by method and its affiliate; at least these.
pub(crate) async fn destinations_of(
    tx: &mut PgConnection,
    tenant: i32,
    ids: &[i64],
) -> Result<HashMap<(i64, i64), String>, StoreError> {
    macro_rules! methods {
        ($which:literal) => {
            sqlx::query_as(concat!(
                "-- orders_methods
                 SELECT coalesce(array_agg(id), '{}'), coalesce(array_agg(affiliate_id), '{}'),
                   coalesce(array_agg(destination), '{}')
                   FROM payout_method WHERE tenant_id = $1 AND ",
                $which
            ))
            .bind(tenant)
        };
    }
    let (ids, affiliates, destinations): (Vec<i64>, Vec<i64>, Vec<String>) = match range(ids) {
        Some((low, high)) => methods!("id BETWEEN $2 AND $3").bind(low).bind(high),
        None => methods!("id = ANY($2)").bind(ids),
    }
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

#[cfg(test)]
mod tests {
    use super::range;

    #[test]
    fn numbers_that_lie_close_together_are_a_range() {
        assert_eq!(range(&[7, 5, 8]), Some((5, 8)));
        assert_eq!(range(&[7]), Some((7, 7)));
        assert_eq!(range(&[1, 8]), Some((1, 8)), "a quarter of it is of interest");
        assert_eq!(range(&[1, 9]), None);
        assert_eq!(range(&[i64::MIN, i64::MAX]), None);
        assert_eq!(range(&[]), None);
    }
}
