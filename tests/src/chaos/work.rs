//! What there is to do while it storms: tenants over all classes of rails, run after run, and reconcilers that look now
//! and then.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;
use tokio::task::JoinSet;

use super::fault::Fault;
use super::world::World;

/// One of each class: K, K+L, L, N.
pub const RAILS: [&str; 4] = ["sandbox-payout", "sandbox-batch", "sandbox-lookup", "sandbox-file"];

/// Months in the data of one tenant; after them the next tenant comes.
const MONTHS: u32 = 24;
const FIRST_YEAR: u32 = 2_024;
/// With fewer unfinished batches than these, the next run of the tenant is triggered.
const ENOUGH: i64 = 12;

fn tenant_name(rail: &str, generation: u32) -> String {
    format!("{rail}-{generation}")
}

/// Runs a command of the coordinator again and again until it succeeds: every one of them may be repeated.
async fn until_done(world: &World, arguments: &[&str]) {
    let since = Instant::now();
    while since.elapsed() < Duration::from_secs(180) {
        let mut process = world.start_program("payfleet-coordinator", arguments);
        if process.ends_within(Duration::from_secs(60)).await.is_some_and(|status| status.success()) {
            return;
        }
        process.kill();
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    world.table.broken(format!("the coordinator does not succeed with {arguments:?}"));
}

async fn tenant(world: &World, rail: &str, generation: u32) {
    let name = tenant_name(rail, generation);
    let (months, start) = (MONTHS.to_string(), format!("{FIRST_YEAR}-01"));
    let sample = ["sample", "--affiliates", "800", "--months", &months, "--commissions-per-affiliate", &months];
    until_done(world, &[&sample[..], &["--currencies", "3", "--start", &start, "--tenant", &name]].concat()).await;
    for method in ["paypal", "sepa"] {
        until_done(world, &["rails", "set", "--tenant", &name, "--method", method, "--rail", rail, "--account", &name])
            .await;
    }
}

/// The first tenants, before it begins.
pub async fn prepare(world: &Arc<World>) {
    let mut tenants = JoinSet::new();
    for rail in RAILS {
        let world = world.clone();
        tenants.spawn(async move { tenant(&world, rail, 1).await });
    }
    while let Some(ended) = tenants.join_next().await {
        ended.expect("data can be imported");
    }
}

/// Triggers runs, so that there is always something to pay, by coordinators of which many are killed.
pub async fn keep_busy(world: Arc<World>, mut generator: Pcg64, ends: Instant) {
    let mut tenants = JoinSet::new();
    for rail in RAILS {
        tenants.spawn(keep_one_busy(world.clone(), rail, Pcg64::seed_from_u64(generator.random()), ends));
    }
    while let Some(ended) = tenants.join_next().await {
        ended.expect("no part of the storm ends abnormally");
    }
}

async fn keep_one_busy(world: Arc<World>, rail: &'static str, mut generator: Pcg64, ends: Instant) {
    let (mut month, mut generation) = (0, 1);
    // What was begun is brought to its end, however many of its coordinators are killed, and even after the storm.
    let mut begun = false;
    while begun || Instant::now() < ends {
        let name = tenant_name(rail, generation);
        if !begun && !wants_more(&world, &name).await {
            tokio::time::sleep(Duration::from_millis(200)).await;
            continue;
        }
        let period = format!("{}-{:02}", FIRST_YEAR + month / 12, month % 12 + 1);
        let arguments = ["run", "--tenant", &name, "--period", &period, "--chunk", "50"];
        if !std::mem::replace(&mut begun, true) || generator.random_bool(0.3) {
            let mut doomed = world.start_program("payfleet-coordinator", &arguments);
            let lives = Duration::from_millis(generator.random_range(5..500));
            if doomed.ends_within(lives).await.is_none() {
                doomed.kill();
                world.table.count(Fault::CoordinatorKilled);
            }
        }
        let mut coordinator = world.start_program("payfleet-coordinator", &arguments);
        match coordinator.ends_within(Duration::from_secs(60)).await.map(|status| status.code()) {
            // 3: what was not sent of a run that was cancelled is due again; the next month's run pays it.
            Some(Some(0 | 3)) => (month, begun) = (month + 1, false),
            Some(Some(69 | 75)) => tokio::time::sleep(Duration::from_millis(300)).await,
            ended => {
                world
                    .table
                    .broken(format!("the coordinator {} of {name} {period} ended with {ended:?}", coordinator.id()));
                return;
            }
        }
        if month == MONTHS {
            (month, generation) = (0, generation + 1);
            tenant(&world, rail, generation).await;
        }
    }
}

/// What the rail may still make wait is not counted: what a bank file holds waits for its statement. Nor is what an
/// operator has stopped.
async fn wants_more(world: &World, tenant: &str) -> bool {
    let open = sqlx::query_scalar::<_, i64>(
        "SELECT count(*) FROM batch b JOIN tenant t ON t.id = b.tenant_id
           JOIN run r ON r.id = b.run_id AND r.paused_at IS NULL
          WHERE t.name = $1 AND (b.state IN ('ready', 'sending') OR b.state = 'accepted' AND b.rail <> 'sandbox-file')",
    );
    open.bind(tenant).fetch_one(&world.database).await.is_ok_and(|open| open < ENOUGH)
}

/// A reconciler that watches, as a service: killed and started again.
pub async fn watch(world: Arc<World>, mut generator: Pcg64, ends: Instant) {
    while Instant::now() < ends {
        let mut service = world.start_program("payfleet-reconciler", &["watch", "--interval", "2s"]);
        let lives = Duration::from_millis(generator.random_range(4_000..20_000));
        match service.ends_within(lives.min(ends.saturating_duration_since(Instant::now()))).await {
            None => {
                service.kill();
                world.table.count(Fault::WatchKilled);
            }
            // It was started while Postgres was away.
            Some(status) if status.code() == Some(69) => tokio::time::sleep(Duration::from_millis(300)).await,
            Some(status) => {
                world.table.broken(format!("the reconciler {} that watches ended by itself: {status}", service.id()));
            }
        }
    }
}

/// Reconcilers on runs of which everything was sent; half of them are killed.
pub async fn reconcile_now_and_then(world: Arc<World>, mut generator: Pcg64, ends: Instant) {
    while Instant::now() < ends {
        tokio::time::sleep(Duration::from_millis(generator.random_range(500..3_500))).await;
        let ready = sqlx::query_scalar::<_, i64>(
            "SELECT r.id FROM run r WHERE r.state IN ('paying', 'settled', 'discrepant')
                AND NOT EXISTS (SELECT FROM batch b WHERE b.run_id = r.id AND b.state IN ('ready', 'sending'))
              ORDER BY random()
              LIMIT 1",
        );
        let Ok(Some(run)) = ready.fetch_optional(&world.database).await else { continue };
        let mut reconciler = world.start_program("payfleet-reconciler", &["run", &run.to_string()]);
        if generator.random_bool(0.5) {
            let lives = Duration::from_millis(generator.random_range(5..400));
            if reconciler.ends_within(lives).await.is_none() {
                reconciler.kill();
                world.table.count(Fault::ReconcilerKilled);
            }
        } else {
            match reconciler.ends_within(Duration::from_secs(120)).await.map(|status| status.code()) {
                // 4 is for what has not come in yet; at the end it counts.
                Some(Some(0 | 4 | 69 | 75)) => {}
                ended => {
                    world.table.broken(format!("the reconciler {} of run {run} ended with {ended:?}", reconciler.id()))
                }
            }
        }
    }
}
