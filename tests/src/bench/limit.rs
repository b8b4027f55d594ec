//! What everything is measured against: the same rows by plain SQL (the limit), and the rows of a lean schema (the
//! reference). Both time themselves by the database's clock, so that starting psql costs them nothing.

use serde::Serialize;
use sqlx::Row;

use super::data::{Data, TENANT};
use super::site::Site;

/// Seconds of planning and settling.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Seconds {
    pub plan: f64,
    pub settle: f64,
}

impl Seconds {
    /// Both.
    pub fn total(self) -> f64 {
        self.plan + self.settle
    }
}

/// Affiliates and payouts of one of the two sessions.
struct Half {
    n: i64,
    after: i64,
    up_to: i64,
    first: i64,
    end: i64,
}

/// Writes what a run would, in two sessions at once.
pub async fn limit(site: &Site, data: &Data) -> Seconds {
    data.reset(site).await;
    let tenant = tenant(data).await;
    let row = sqlx::query(
        "INSERT INTO run (tenant_id, period, sequence, ordinal, cutoff, minimum, payouts)
         SELECT $1, $2, 1, 1, $3::timestamptz, 0, $4
         RETURNING id, (SELECT min(affiliate_id) FROM account WHERE tenant_id = $1) AS low,
                   (SELECT max(affiliate_id) FROM account WHERE tenant_id = $1) AS high",
    );
    let row = row.bind(tenant).bind(&data.period).bind(cutoff(data)).bind(data.payouts.cast_signed());
    let row = row.fetch_one(&data.pool).await.expect("a run can be written");
    let (run, low, high): (i64, i64, i64) = (row.get("id"), row.get("low"), row.get("high"));
    let middle = low + (high - low) / 2;
    let (first, half) = (run << 32, middle - low + 1);
    let halves = [
        Half { n: 1, after: low - 1, up_to: middle, first, end: first + half },
        Half { n: 2, after: middle, up_to: high, first: first + half, end: first + (1 << 32) },
    ];
    let plan = both(site, data, include_str!("sql/limit_plan.sql"), run, tenant, &halves).await;
    sqlx::query("UPDATE run SET state = 'paying', planned_at = clock_timestamp(), paying_at = clock_timestamp()")
        .execute(&data.pool)
        .await
        .expect("the run can be moved on");
    let settle = both(site, data, include_str!("sql/limit_settle.sql"), run, tenant, &halves).await;
    let written: (i64, i64, i64) = sqlx::query_as(
        "SELECT (SELECT count(*) FROM payout WHERE state = 'paid'), (SELECT count(*) FROM transfer),
                (SELECT sum(payouts)::bigint FROM batch WHERE state = 'done')",
    )
    .fetch_one(&data.pool)
    .await
    .expect("what was written can be counted");
    let payouts = data.payouts.cast_signed();
    assert_eq!(written, (payouts, 2 * payouts, payouts), "the limit wrote something else than a run would");
    Seconds { plan, settle }
}

/// From the first session's begin to the last one's end.
async fn both(site: &Site, data: &Data, script: &str, run: i64, tenant: i32, halves: &[Half; 2]) -> f64 {
    let session = async |half: &Half| {
        let numbers = [
            ("run", run),
            ("n", half.n),
            ("tenant", tenant.into()),
            ("after", half.after),
            ("up_to", half.up_to),
            ("first", half.first),
            ("end", half.end),
        ];
        let mut variables: Vec<(&str, String)> =
            numbers.iter().map(|(name, number)| (*name, number.to_string())).collect();
        variables.push(("cutoff", cutoff(data)));
        instants(&site.psql(&data.database, script, &variables).await)
    };
    let (one, other) = tokio::join!(session(&halves[0]), session(&halves[1]));
    one[1].max(other[1]) - one[0].min(other[0])
}

/// Writes what a lean schema would need, in one session.
pub async fn reference(site: &Site, data: &Data) -> Seconds {
    data.reset(site).await;
    let variables = [("tenant", tenant(data).await.to_string()), ("cutoff", cutoff(data))];
    let at = instants(&site.psql(&data.database, include_str!("sql/reference.sql"), &variables).await);
    Seconds { plan: at[1] - at[0], settle: at[2] - at[1] }
}

/// What scripts print: seconds since 1970.
fn instants(lines: &[String]) -> Vec<f64> {
    lines.iter().map(|line| line.parse().unwrap_or_else(|_| panic!("psql printed `{line}`"))).collect()
}

async fn tenant(data: &Data) -> i32 {
    let id = sqlx::query_scalar("SELECT id FROM tenant WHERE name = $1").bind(TENANT).fetch_one(&data.pool);
    id.await.expect("the tenant is there")
}

/// The last instant of the data's month.
fn cutoff(data: &Data) -> String {
    let (year, month) = data.period.split_once('-').expect("a period is YEAR-MONTH");
    let (year, month): (u32, u32) = (year.parse().expect("a year"), month.parse().expect("a month"));
    format!("{}-{:02}-01T00:00:00Z", year + month / 12, month % 12 + 1)
}
