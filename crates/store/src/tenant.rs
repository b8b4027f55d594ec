//! Tenants and the rails they use.

use std::collections::BTreeMap;

use payfleet_domain::TenantId;

use crate::connect::{Step, Store, StoreError, detached};

/// Which rail pays a method of a tenant.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct TenantRail {
    /// As in the affiliates' data: `paypal`, `sepa`, ...
    pub method: String,
    /// The name of a rail of this build.
    pub rail: String,
    /// The account there.
    pub account: String,
    /// The name under which the worker finds the credential.
    pub credential: Option<String>,
}

/// Whom the end of a method concerns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RailRemoved {
    /// Affiliates that have a destination of it.
    pub affiliates: i64,
    /// Those of them who have no other way to be paid.
    pub without: i64,
}

impl Store {
    /// The tenant of this name, if there is one.
    pub async fn tenant_find(&self, name: &str) -> Result<Option<TenantId>, StoreError> {
        let (pool, name) = (self.pool.clone(), name.to_owned());
        detached(async move {
            let id: Option<i32> = sqlx::query_scalar("-- tenant_find\nSELECT id FROM tenant WHERE name = $1")
                .bind(name)
                .fetch_optional(&pool)
                .await
                .step("tenant_find")?;
            Ok(id.map(TenantId))
        })
        .await
    }

    /// The tenant of this name, made now if there is none. `hold_days` is set if given.
    pub async fn tenant_ensure(&self, name: &str, hold_days: Option<i32>) -> Result<TenantId, StoreError> {
        let name = name.to_owned();
        self.transaction("tenant_ensure", move |tx| {
            let name = name.clone();
            Box::pin(async move {
                let id: i32 = sqlx::query_scalar(
                    "-- tenant_ensure
                     INSERT INTO tenant (name, hold_days) VALUES ($1, coalesce($2, 0))
                         ON CONFLICT (name) DO UPDATE SET hold_days = coalesce($2, tenant.hold_days) RETURNING id",
                )
                .bind(name)
                .bind(hold_days)
                .fetch_one(tx)
                .await
                .step("tenant_ensure")?;
                Ok(TenantId(id))
            })
        })
        .await
    }

    /// All tenants, by name.
    pub async fn tenants_list(&self) -> Result<Vec<(TenantId, String)>, StoreError> {
        let pool = self.pool.clone();
        detached(async move {
            let rows: Vec<(i32, String)> = sqlx::query_as("-- tenants_list\nSELECT id, name FROM tenant ORDER BY name")
                .fetch_all(&pool)
                .await
                .step("tenants_list")?;
            Ok(rows.into_iter().map(|(id, name)| (TenantId(id), name)).collect())
        })
        .await
    }

    /// Says which rail pays a method from now on. Runs that are planned already keep theirs.
    pub async fn tenant_rail_set(&self, tenant: TenantId, rail: TenantRail) -> Result<(), StoreError> {
        self.transaction("tenant_rail_set", move |tx| {
            let rail = rail.clone();
            Box::pin(async move {
                sqlx::query(
                    "-- tenant_rail_set
                     INSERT INTO tenant_rail (tenant_id, method, rail, account, credential) VALUES ($1, $2, $3, $4, $5)
                         ON CONFLICT (tenant_id, method)
                         DO UPDATE SET rail = excluded.rail, account = excluded.account,
                           credential = excluded.credential",
                )
                .bind(tenant.0)
                .bind(rail.method)
                .bind(rail.rail)
                .bind(rail.account)
                .bind(rail.credential)
                .execute(tx)
                .await
                .step("tenant_rail_set")?;
                Ok(())
            })
        })
        .await
    }

    /// Says how much single payments of an account may be at most, by currency, in minor units; of the others nothing
    /// is said any more. Plans that are made from now on exclude what is more.
    pub async fn account_limits_say(
        &self,
        rail: &'static str,
        account: &str,
        largest_minor: &BTreeMap<String, i64>,
    ) -> Result<(), StoreError> {
        let (currencies, largest): (Vec<String>, Vec<i64>) =
            largest_minor.iter().map(|(code, minor)| (code.clone(), *minor)).unzip();
        let account = account.to_owned();
        self.transaction("account_limits_say", move |tx| {
            let (account, currencies, largest) = (account.clone(), currencies.clone(), largest.clone());
            Box::pin(async move {
                sqlx::query(
                    "-- account_limits_say
                     WITH said AS (SELECT * FROM unnest($3::text[], $4::bigint[]) AS said (currency, minor)),
                     unsaid AS (
                       DELETE FROM account_limit WHERE rail = $1 AND account = $2
                         AND currency::text <> ALL (SELECT said.currency FROM said))
                     INSERT INTO account_limit (rail, account, currency, max_minor)
                     SELECT $1, $2, currency, minor FROM said ORDER BY currency
                         ON CONFLICT (rail, account, currency) DO UPDATE SET max_minor = excluded.max_minor
                      WHERE account_limit.max_minor <> excluded.max_minor",
                )
                .bind(rail)
                .bind(account)
                .bind(currencies)
                .bind(largest)
                .execute(tx)
                .await
                .step("account_limits_say")?;
                Ok(())
            })
        })
        .await
    }

    /// Takes the rail of a method away from plans that are made from now on. `None` if the method has none.
    pub async fn tenant_rail_remove(&self, tenant: TenantId, method: &str) -> Result<Option<RailRemoved>, StoreError> {
        let method = method.to_owned();
        self.transaction("tenant_rail_remove", move |tx| {
            let method = method.clone();
            Box::pin(async move {
                let removed =
                    sqlx::query("-- tenant_rail_remove\nDELETE FROM tenant_rail WHERE tenant_id = $1 AND method = $2")
                        .bind(tenant.0)
                        .bind(&method)
                        .execute(&mut *tx)
                        .await
                        .step("tenant_rail_remove")?;
                if removed.rows_affected() == 0 {
                    return Ok(None);
                }
                let (affiliates, without): (i64, i64) = sqlx::query_as(
                    "-- tenant_rail_removed
                     SELECT count(*), count(*) FILTER (WHERE NOT EXISTS (
                              SELECT FROM payout_method o
                                JOIN tenant_rail t ON t.tenant_id = o.tenant_id AND t.method = o.method
                               WHERE o.tenant_id = $1 AND o.affiliate_id = m.affiliate_id
                                 AND o.retired_at IS NULL AND o.usable))
                       FROM (SELECT DISTINCT affiliate_id FROM payout_method
                              WHERE tenant_id = $1 AND method = $2 AND retired_at IS NULL) AS m",
                )
                .bind(tenant.0)
                .bind(&method)
                .fetch_one(tx)
                .await
                .step("tenant_rail_removed")?;
                Ok(Some(RailRemoved { affiliates, without }))
            })
        })
        .await
    }

    /// The rails that a tenant uses, by method.
    pub async fn tenant_rails(&self, tenant: TenantId) -> Result<Vec<TenantRail>, StoreError> {
        let pool = self.pool.clone();
        detached(async move {
            let rows: Vec<(String, String, String, Option<String>)> = sqlx::query_as(
                "-- tenant_rails
                 SELECT method, rail, account, credential FROM tenant_rail WHERE tenant_id = $1 ORDER BY method",
            )
            .bind(tenant.0)
            .fetch_all(&pool)
            .await
            .step("tenant_rails")?;
            Ok(rows
                .into_iter()
                .map(|(method, rail, account, credential)| TenantRail { method, rail, account, credential })
                .collect())
        })
        .await
    }
}
