//! A thousand runs of fifty tenants that are over: whether they cost anything who looks, plans or waits today.

use std::time::{Duration, Instant};

use crate::bench::Bench;
use crate::bench::data::{Commissions, Data, TENANT, sample};
use crate::bench::report::{Goal, Unit};
use crate::bench::run::workers_start;
use crate::bench::site::Site;
use crate::bench::statements::{counted, millis, not_counted};
use crate::process::wait_for;

const CASE: &str = "archive";

const TENANTS: u64 = 50;
const MONTHS: u32 = 20;
/// Of each of those tenants.
const AFFILIATES: u64 = 20;
/// Of the one whose plan is timed.
const PLANNED: u64 = 20_000;
/// Of each command, in turns.
const TIMES: usize = 15;
/// It is not idle before.
const SETTLE: Duration = Duration::from_secs(5);
/// How long a worker that has nothing to do is watched.
const WATCHED: Duration = Duration::from_secs(20);

/// The commissions of all further months.
const MONTHS_AFTER: &str = "
    INSERT INTO commission (tenant_id, external_id, affiliate_id, currency, amount_minor, earned_at, due_at, kind,
      order_ref)
    SELECT c.tenant_id, c.external_id || '-' || month, c.affiliate_id, c.currency, c.amount_minor,
           c.earned_at + make_interval(months => month), c.earned_at + make_interval(months => month), c.kind,
             c.order_ref || '-' || month
      FROM commission c JOIN tenant t ON t.id = c.tenant_id, generate_series(1, :months - 1) AS month
     WHERE t.name <> ':tenant' ORDER BY c.affiliate_id;";

fn tenant(n: u64) -> String {
    format!("tenant-{n}")
}

/// The same tenant to plan for, in a database with a history and in one without.
pub async fn measure(bench: &mut Bench) {
    let (tenants, planned) = (bench.size(TENANTS), bench.size(PLANNED));
    let site = &bench.site;
    let full = Data::make(site, "archive", planned, Commissions::One, "2026-01").await;
    let empty = Data::make(site, "no_archive", planned, Commissions::One, "2026-01").await;
    for n in 0..tenants {
        sample(site, &full.database, &tenant(n), AFFILIATES, Commissions::One, "2024-01").await;
    }
    let script = MONTHS_AFTER.replace(":tenant", TENANT);
    site.psql(&full.database, &script, &[("months", MONTHS.to_string())]).await;
    let workers = workers_start(site, &full.database, 2, &[]).await;
    for month in 0..MONTHS {
        let period = format!("{}-{:02}", 2024 + month / 12, month % 12 + 1);
        for n in 0..tenants {
            let run = ["run", "--minimum", "0.01", "--tenant", &tenant(n), "--period", &period];
            site.coordinator(&full.database, &run).await;
        }
    }
    wait_for("all runs to be settled", Duration::from_secs(600), async || {
        let open = sqlx::query_scalar("SELECT count(*) FROM run WHERE state <> 'settled'").fetch_one(&full.pool).await;
        let open: i64 = open.expect("runs can be counted");
        (open == 0).then_some(())
    })
    .await;
    drop(workers);
    for data in [&full, &empty] {
        site.execute(&data.database, "VACUUM ANALYZE").await;
    }
    site.execute("postgres", "CHECKPOINT").await;

    let plan = ["run", "--minimum", "0.01", "--tenant", TENANT, "--period", "2026-01"];
    let idle = [idle(site, &full).await, idle(site, &empty).await];
    let mut ratios = vec![("what an idle worker asks of Postgres", idle)];
    for (what, arguments) in [("status", &["status"][..]), ("tick", &["tick"]), ("planning", &plan)] {
        // A plan is made once; each time anew would be of another database.
        let times = if what == "planning" { 1 } else { TIMES };
        let mut secs = [Vec::new(), Vec::new()];
        for _ in 0..times {
            for (secs, data) in secs.iter_mut().zip([&full, &empty]) {
                secs.push(timed(site, data, arguments).await);
            }
        }
        ratios.push((what, secs.map(median)));
    }
    full.drop(site).await;
    empty.drop(site).await;
    for (what, [full, empty]) in ratios {
        bench.report.shown(
            CASE,
            format!("{what} with {} runs of history", tenants * u64::from(MONTHS)),
            full,
            Unit::Seconds,
        );
        bench.report.shown(CASE, format!("{what} without"), empty, Unit::Seconds);
        bench.report.judged(
            CASE,
            format!("{what}, with against without"),
            full / empty,
            Unit::Times,
            Goal::AtMost(1.1),
        );
    }
}

async fn timed(site: &Site, data: &Data, arguments: &[&str]) -> f64 {
    let since = Instant::now();
    site.coordinator(&data.database, arguments).await;
    since.elapsed().as_secs_f64()
}

/// Seconds that Postgres works for a worker that has nothing to do.
async fn idle(site: &Site, data: &Data) -> f64 {
    counted(site, &data.database).await;
    let workers = workers_start(site, &data.database, 1, &[]).await;
    tokio::time::sleep(SETTLE).await;
    counted(site, &data.database).await; // from zero
    tokio::time::sleep(WATCHED).await;
    let millis = millis(site, &data.database).await;
    drop(workers);
    not_counted(site, &data.database).await;
    millis / 1e3
}

fn median(mut of: Vec<f64>) -> f64 {
    of.sort_by(f64::total_cmp);
    of[of.len() / 2]
}
