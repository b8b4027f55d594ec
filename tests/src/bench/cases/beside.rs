//! Small runs beside a large one.

use std::time::Duration;

use crate::bench::Bench;
use crate::bench::data::{Commissions, Data, TENANT, sample};
use crate::bench::report::{Goal, Unit};
use crate::bench::run::{check, settled, trigger, workers_start};
use crate::process::wait_for;

const CASE: &str = "beside";

/// Tenants with a small run each, one after the other.
const SMALL: [&str; 3] = ["small-1", "small-2", "small-3"];

const PAYOUTS: u64 = 100;

/// Each alone, then each while 1,000,000 payouts of another tenant are being paid.
pub async fn measure(bench: &mut Bench) {
    let site = &bench.site;
    let data = Data::make(site, "beside", bench.size(1_000_000), Commissions::One, "2026-01").await;
    for tenant in SMALL {
        sample(site, &data.database, tenant, PAYOUTS, Commissions::One, &data.period).await;
    }
    data.reset(site).await;
    let small = async |tenant: &str| {
        let mut trigger = trigger(site, &data.database, tenant, &data.period);
        let (run, seconds) = settled(site, &data.pool, &mut trigger, tenant, &data.period).await;
        check(&data.pool, run, PAYOUTS).await;
        seconds.total()
    };
    let workers = workers_start(site, &data.database, 2, &[]).await;
    let mut alone = Vec::new();
    for tenant in SMALL {
        alone.push(small(tenant).await);
    }
    drop(workers);

    data.reset(site).await;
    let workers = workers_start(site, &data.database, 2, &[]).await;
    let mut large = trigger(site, &data.database, TENANT, &data.period);
    wait_for("the large run to be paid", Duration::from_secs(600), async || {
        let done = sqlx::query_scalar("SELECT count(*) FROM batch WHERE state = 'done'").fetch_one(&data.pool).await;
        let done: i64 = done.expect("batches can be counted");
        (done > 0).then_some(())
    })
    .await;
    let mut beside = Vec::new();
    for tenant in SMALL {
        let seconds = small(tenant).await;
        let paying = sqlx::query_scalar(
            "SELECT EXISTS (SELECT FROM run r JOIN tenant t ON t.id = r.tenant_id WHERE t.name = $1
               AND r.settled_at IS NULL)",
        );
        let goes_on: bool = paying.bind(TENANT).fetch_one(&data.pool).await.expect("the run can be looked at");
        if goes_on {
            beside.push(seconds);
        }
    }
    let (run, _) = settled(site, &data.pool, &mut large, TENANT, &data.period).await;
    check(&data.pool, run, data.payouts).await;
    drop(workers);
    data.drop(site).await;

    let report = &mut bench.report;
    let mut worst: Option<f64> = None;
    for (alone, beside) in alone.iter().zip(&beside) {
        report.shown(CASE, "a run of 100 alone", *alone, Unit::Seconds);
        report.shown(CASE, "the same beside 1,000,000", *beside, Unit::Seconds);
        worst = Some(worst.map_or(beside - alone, |worst| worst.max(beside - alone)));
    }
    match worst {
        Some(worst) => {
            report.judged(CASE, "longer beside 1,000,000, the worst of these", worst, Unit::Seconds, Goal::AtMost(2.0));
        }
        None => println!("  the large run ended before the first small one: nothing is measured"),
    }
}
