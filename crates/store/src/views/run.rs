//! The payouts and exclusions of a run, by name, in pages.

use payfleet_domain::{AffiliateId, Exclusion, Money, PayoutId, PayoutState, RunId};
use sqlx::Row;
use sqlx::postgres::PgRow;
use time::OffsetDateTime;

use super::decided::{Decided, LISTED, Obstacle, Way, decided};
use crate::batch::{currency, word};
use crate::connect::{Step, Store, StoreError, detached};
use crate::obstacle::{Asked, Part, Rules, bind, judged};
use crate::run::RunRow;

/// A payout of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PayoutRow {
    /// Its number.
    pub payout: PayoutId,
    /// The tenant's own name for the affiliate.
    pub affiliate: String,
    /// How it is called.
    pub name: String,
    /// How much.
    pub amount: Money,
    /// Where it stands.
    pub state: PayoutState,
    /// Why it was refused or is held.
    pub code: Option<String>,
    /// The rail's name for the payment.
    pub reference: Option<String>,
    /// When it was proven paid.
    pub settled_at: Option<OffsetDateTime>,
    /// How it is paid.
    pub way: Way,
}

/// Which payouts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PayoutFilter {
    /// All.
    All,
    /// Those in one state.
    In(PayoutState),
}

/// An exclusion of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Excluded {
    /// Behind which the next page begins, with the currency.
    pub affiliate_id: AffiliateId,
    /// The tenant's own name for the affiliate.
    pub affiliate: String,
    /// How it is called.
    pub name: String,
    /// What was due, or owed.
    pub amount: Money,
    /// Why it was not paid: what the plan counted it under.
    pub reason: Exclusion,
    /// All that stands in the way of this amount as the data are now; none if nothing would any more.
    pub now: Vec<Obstacle>,
}

impl Store {
    /// Payouts of a run behind the one that was read last, in order; at most so many.
    pub async fn payouts_page(
        &self,
        run: RunId,
        filter: PayoutFilter,
        after: Option<PayoutId>,
        limit: i64,
    ) -> Result<Vec<PayoutRow>, StoreError> {
        let pool = self.pool.clone();
        let (first, last) = run.payouts();
        detached(async move {
            let read = "payouts_page";
            let state = match filter {
                PayoutFilter::All => None,
                PayoutFilter::In(state) => Some(state.as_str()),
            };
            let has_code = matches!(filter, PayoutFilter::In(PayoutState::Refused | PayoutState::Held));
            // Those with a code are found without a look at the others.
            let sql = format!(
                "-- payouts_page
                 SELECT p.id, a.external_id, a.name, p.currency, p.amount_minor, p.state, p.code, p.reference,
                        p.settled_at, m.method, m.destination
                   FROM (SELECT * FROM payout
                          WHERE id > $1 AND id <= $2 AND ($3::text IS NULL OR state = $3) {}
                          ORDER BY id LIMIT $4) AS p
                   JOIN affiliate a ON a.id = p.affiliate_id AND a.tenant_id = p.tenant_id
                   JOIN payout_method m ON m.id = p.method_id AND m.tenant_id = p.tenant_id
                  ORDER BY p.id",
                if has_code { "AND code IS NOT NULL" } else { "" }
            );
            let rows = sqlx::query(sqlx::AssertSqlSafe(sql)) // only constants of this file
                .bind(after.map_or(first.0 - 1, |payout| payout.0))
                .bind(last.0)
                .bind(state)
                .bind(limit)
                .fetch_all(&pool)
                .await
                .step(read)?;
            let ids: Vec<i64> = rows.iter().map(|row| row.try_get("id").step(read)).collect::<Result<_, _>>()?;
            let (Some(low), Some(high)) = (ids.first(), ids.last()) else { return Ok(Vec::new()) };
            let batches: Vec<(i64, i64, String, String)> = sqlx::query_as(
                "-- payouts_batches
                 SELECT first_payout_id, last_payout_id, rail, account FROM batch
                  WHERE run_id = $1 AND state <> 'split' AND last_payout_id >= $2 AND first_payout_id <= $3
                  ORDER BY first_payout_id",
            )
            .bind(run.0)
            .bind(low)
            .bind(high)
            .fetch_all(&pool)
            .await
            .step("payouts_batches")?;
            let batch_of = |payout: i64| {
                let at = batches.partition_point(|(first, ..)| *first <= payout).checked_sub(1)?;
                batches.get(at).filter(|(_, last, ..)| payout <= *last)
            };
            let payout = |row: &PgRow| {
                let id: i64 = row.try_get("id").step(read)?;
                let Some((_, _, rail, account)) = batch_of(id) else {
                    return Err(StoreError::Broken(format!("payout {id} is in no batch")));
                };
                Ok(PayoutRow {
                    payout: PayoutId(id),
                    affiliate: row.try_get("external_id").step(read)?,
                    name: row.try_get("name").step(read)?,
                    amount: Money {
                        minor: row.try_get("amount_minor").step(read)?,
                        currency: currency(row, "currency")?,
                    },
                    state: word(row, "state")?,
                    code: row.try_get("code").step(read)?,
                    reference: row.try_get("reference").step(read)?,
                    settled_at: row.try_get("settled_at").step(read)?,
                    way: Way {
                        method: row.try_get("method").step(read)?,
                        rail: rail.clone(),
                        account: account.clone(),
                        destination: row.try_get("destination").step(read)?,
                    },
                })
            };
            rows.iter().map(payout).collect()
        })
        .await
    }

    /// Exclusions of a run behind the affiliate that was read last, in order: of at most so many accounts, or a few
    /// more where the last affiliate has several.
    pub async fn exclusions_page(
        &self,
        run: &RunRow,
        after: Option<AffiliateId>,
        limit: i64,
    ) -> Result<Vec<Excluded>, StoreError> {
        let pool = self.pool.clone();
        let rules = Rules::new(run.minimum, u32::MAX)?;
        let (run, tenant, after) = (run.id, run.tenant, after.map_or(0, |affiliate| affiliate.0));
        detached(async move {
            let read = "exclusions_page";
            let mut connection = pool.acquire().await.step(read)?;
            let up_to: Option<i64> = sqlx::query_scalar(
                "-- exclusions_page_end
                 SELECT max(affiliate_id) FROM (
                   SELECT affiliate_id FROM exclusion WHERE run_id = $1 AND affiliate_id > $2
                    ORDER BY affiliate_id LIMIT $3) AS page",
            )
            .bind(run.0)
            .bind(after)
            .bind(limit)
            .fetch_one(&mut *connection)
            .await
            .step("exclusions_page_end")?;
            let Some(up_to) = up_to else { return Ok(Vec::new()) };
            let part = Part { tenant: tenant.0, after, up_to };
            let sql = format!(
                "-- exclusions_page
                 WITH due AS (
                   SELECT x.affiliate_id, x.currency, x.carried_minor, x.reason,
                          x.reason <> 'balance_out_of_range' AS is_told, x.amount_minor
                     FROM exclusion x
                    WHERE x.run_id = $7 AND x.tenant_id = $1 AND x.affiliate_id > $2 AND x.affiliate_id <= $3),
                 {judged}, {LISTED}
                 SELECT listed.*, due.reason FROM listed
                   JOIN due ON due.affiliate_id = listed.affiliate_id AND due.currency = listed.currency
                  ORDER BY listed.affiliate_id, listed.currency",
                judged = judged(Asked::Reasons),
            );
            let rows = bind(sqlx::query(sqlx::AssertSqlSafe(sql)), &part, &rules) // only constants of this crate
                .bind(run.0)
                .fetch_all(&mut *connection)
                .await
                .step(read)?;
            let excluded = |row: &PgRow| {
                let Decided { affiliate, name, amount, obstacles, .. } = decided(row)?;
                let affiliate_id = AffiliateId(row.try_get("affiliate_id").step(read)?);
                Ok(Excluded { affiliate_id, affiliate, name, amount, reason: word(row, "reason")?, now: obstacles })
            };
            rows.iter().map(excluded).collect()
        })
        .await
    }
}
