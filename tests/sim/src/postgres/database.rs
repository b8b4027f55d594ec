//! The database that the real store stands on in simulations, and the data of a seed in it.

use std::collections::BTreeMap;
use std::sync::Arc;

use payfleet_domain::{Role, TenantId};
use payfleet_store::{Store, TenantRail};
use sqlx::PgPool;
use tokio::runtime::Runtime;

use super::{Postgres, token};
use crate::backend::{Affiliate, Scenario};
use crate::fleet::RAILS;
use crate::people::PEOPLE;

const CLOCK: &str = "
CREATE SCHEMA sim;
CREATE TABLE sim.clock (at timestamptz NOT NULL);
INSERT INTO sim.clock VALUES ('2026-03-05');
CREATE FUNCTION sim.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE AS 'SELECT at FROM sim.clock';
CREATE FUNCTION sim.now() RETURNS timestamptz LANGUAGE sql VOLATILE AS 'SELECT at FROM sim.clock';";

/// A database with the simulator's clock; every seed gets a tenant of its own in it.
#[derive(Clone)]
pub struct Database {
    pub(super) runtime: Arc<Runtime>,
    pub(super) store: Store,
    pub(super) sql: PgPool,
}

impl Database {
    /// Makes one on the Postgres of the tests.
    pub fn create() -> Database {
        let admin = std::env::var("PAYFLEET_TEST_POSTGRES")
            .expect("PAYFLEET_TEST_POSTGRES must name a Postgres for tests; scripts/test starts one and sets it");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let (store, sql) = runtime.block_on(async {
            let name = format!("sim_{}", uuid::Uuid::new_v4().simple());
            let server = PgPool::connect(&admin).await.expect("Postgres answers");
            sqlx::query(sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"))).execute(&server).await.unwrap();
            server.close().await;
            let url = format!("{}/{name}", admin.rsplit_once('/').unwrap().0);
            let plain = PgPool::connect(&url).await.unwrap();
            sqlx::raw_sql(CLOCK).execute(&plain).await.unwrap();
            plain.close().await;
            let url = format!("{url}?options=-c%20search_path%3Dsim%2Cpg_catalog");
            let store = Store::connect(&url, 4).await.unwrap();
            store.schema_migrate().await.unwrap();
            let administrator = token(PEOPLE);
            let first = ("administrator".to_owned(), Role::Administrator, None, administrator);
            let others = (0..PEOPLE).map(|n| (format!("person-{n}"), Role::Approver, Some(administrator), token(n)));
            for (name, role, by, token) in std::iter::once(first).chain(others) {
                store.person_add(by, name.parse().unwrap(), role, None, token).await.unwrap();
            }
            (store, PgPool::connect(&url).await.unwrap())
        });
        Database { runtime: Arc::new(runtime), store, sql }
    }

    /// Writes the scenario of a seed.
    pub fn load(&self, seed: u64, scenario: &Scenario) -> Postgres {
        let (tenant, affiliates) = self.runtime.block_on(async {
            let tenant = self.store.tenant_ensure(&format!("seed-{seed}"), None).await.unwrap();
            for rail in RAILS {
                let row = TenantRail {
                    method: rail.into(),
                    rail: rail.into(),
                    account: format!("shop-{seed}"),
                    credential: None,
                };
                self.store.tenant_rail_set(tenant, row).await.unwrap();
            }
            let mut ids = Vec::new();
            for affiliate in &scenario.affiliates {
                ids.push(self.affiliate(tenant, affiliate, &scenario.periods).await);
            }
            (tenant, ids)
        });
        Postgres {
            database: self.clone(),
            scenario: scenario.clone(),
            tenant,
            affiliates,
            now: crate::EPOCH,
            account: format!("shop-{seed}"),
            sessions: BTreeMap::new(),
            readings: BTreeMap::new(),
            sessions_opened: 0,
        }
    }

    async fn affiliate(&self, tenant: TenantId, affiliate: &Affiliate, periods: &[&str]) -> i64 {
        let id: i64 = sqlx::query_scalar(
            "WITH made AS (
               INSERT INTO affiliate (tenant_id, external_id, name, email, country, currency)
               VALUES ($1, $2, 'n', 'e', 'DE', 'EUR') RETURNING id),
             account AS (INSERT INTO account (tenant_id, affiliate_id, currency) SELECT $1, id, 'EUR' FROM made),
             method AS (
               INSERT INTO payout_method (tenant_id, affiliate_id, method, destination)
               SELECT $1, id, $3, $2 FROM made WHERE $3 IS NOT NULL)
             SELECT id FROM made",
        )
        .bind(tenant.0)
        .bind(&affiliate.name)
        .bind(affiliate.rail)
        .fetch_one(&self.sql)
        .await
        .unwrap();
        for (period, earned) in periods.iter().zip(&affiliate.earned).filter(|(_, earned)| **earned != 0) {
            sqlx::query(
                "INSERT INTO commission (tenant_id, external_id, affiliate_id, currency, amount_minor, earned_at,
                   due_at, kind, order_ref)
                 VALUES ($1, $2 || $3, $4, 'EUR', $5, ($3 || '-15')::timestamptz, ($3 || '-15')::timestamptz,
                         CASE WHEN $5 < 0 THEN 'clawback' ELSE 'sale' END, '')",
            )
            .bind(tenant.0)
            .bind(&affiliate.name)
            .bind(*period)
            .bind(id)
            .bind(*earned)
            .execute(&self.sql)
            .await
            .unwrap();
        }
        id
    }
}
