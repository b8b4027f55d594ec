//! The databases that are measured on: made once by `sample`, and emptied of each run before the next measurement.

use sqlx::PgPool;

use super::site::Site;

/// The tenant that has all the data.
pub const TENANT: &str = "bench";

/// A database full of affiliates with money due.
pub struct Data {
    pub database: String,
    /// The bench's own eyes.
    pub pool: PgPool,
    /// Payouts that its run plans.
    pub payouts: u64,
    pub period: String,
}

/// How many commissions each affiliate has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Commissions {
    /// One, above the minimum.
    One,
    /// Ten on average; sales only, everybody is payable.
    Ten,
}

/// Everybody gets the same method, nobody is on hold, and nothing was taken back, so that everybody is paid.
const MAKE_PAYABLE: &str = "
    ALTER TABLE payout_method DISABLE TRIGGER payout_method_fixed;
    UPDATE payout_method m SET method = 'paypal', destination = f.email FROM affiliate f WHERE f.id = m.affiliate_id;
    ALTER TABLE payout_method ENABLE TRIGGER payout_method_fixed;
    INSERT INTO payout_method (tenant_id, affiliate_id, method, destination)
    SELECT f.tenant_id, f.id, 'paypal', f.email FROM affiliate f
     WHERE NOT EXISTS (SELECT FROM payout_method m WHERE m.affiliate_id = f.id);
    UPDATE affiliate SET on_hold = false WHERE on_hold;
    DELETE FROM commission WHERE kind = 'clawback';";

impl Data {
    /// Makes it, with rail `null` and one month of commissions.
    pub async fn make(site: &Site, name: &str, affiliates: u64, commissions: Commissions, period: &str) -> Data {
        let database = format!("data_{name}");
        site.execute("postgres", &format!("CREATE DATABASE {database}")).await;
        site.coordinator(&database, &["migrate"]).await;
        sample(site, &database, TENANT, affiliates, commissions, period).await;
        if commissions == Commissions::Ten {
            site.execute(&database, MAKE_PAYABLE).await;
        }
        site.execute(&database, "VACUUM ANALYZE").await;
        let pool = site.open(&database).await;
        let payouts: i64 =
            sqlx::query_scalar("SELECT count(*) FROM (SELECT DISTINCT affiliate_id, currency FROM commission) AS c")
                .fetch_one(&pool)
                .await
                .expect("the data can be counted");
        Data { database, pool, payouts: payouts.unsigned_abs(), period: period.to_owned() }
    }

    /// Takes away what the last run left.
    pub async fn reset(&self, site: &Site) {
        site.execute(&self.database, include_str!("sql/reset.sql")).await;
        site.redis.flush_all().await;
        site.forget();
    }

    /// Gives its space back.
    pub async fn drop(self, site: &Site) {
        self.pool.close().await;
        site.execute("postgres", &format!("DROP DATABASE {} WITH (FORCE); CHECKPOINT;", self.database)).await;
    }
}

/// Adds a tenant with these affiliates.
pub async fn sample(
    site: &Site,
    database: &str,
    tenant: &str,
    affiliates: u64,
    commissions: Commissions,
    period: &str,
) {
    let affiliates = affiliates.to_string();
    let mut arguments = vec!["sample", "--affiliates", &affiliates, "--start", period, "--tenant", tenant];
    match commissions {
        Commissions::One => arguments.push("--plain"),
        Commissions::Ten => arguments.extend(["--commissions-per-affiliate", "10", "--currencies", "1"]),
    }
    site.coordinator(database, &arguments).await;
    rail_set(site, database, tenant, "null").await;
}

/// Says which rail pays a tenant's affiliates.
pub async fn rail_set(site: &Site, database: &str, tenant: &str, rail: &str) {
    let arguments = ["rails", "set", "--tenant", tenant, "--method", "paypal", "--rail", rail, "--account", "bench"];
    site.coordinator(database, &arguments).await;
}
