//! The way to the end: nothing strikes any more, all windows close, people let go what they hold, and what is due again
//! is paid by one more run.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rand_pcg::Pcg64;
use tokio::task::JoinSet;

use super::people::{self, People};
use super::world::World;
use super::{PEACE, clock, operators, rails};

/// The longest that a request of a rail that can be asked is waited for, and half as much again: see
/// `Rail::dead_after`.
const ALL_DEAD_MS: i64 = 100_000;
/// What was on its way has arrived.
const ARRIVED: Duration = Duration::from_secs(3);

/// Who waits longer is told of, with what it waits for.
const LATE: Duration = Duration::from_secs(15);

/// Until every run is over and has its verdict, by all that statements say.
pub async fn made(world: &Arc<World>, people: &People, mut generator: Pcg64, since: Instant) {
    if let Err(what) = all_of_it(world, people, &mut generator).await {
        world.table.broken(format!("after {:.0?} of peace: {what}", since.elapsed()));
    }
}

async fn all_of_it(world: &Arc<World>, people: &People, generator: &mut Pcg64) -> Result<(), String> {
    tokio::time::sleep(ARRIVED).await;
    let readable = |error: sqlx::Error| format!("the database cannot be read: {error}");
    people::last_given_up(world, people, generator).await;
    once_more(world).await.map_err(readable)?;
    // What the rail was to do in days it does now: the end of all windows.
    if !rails::ask(world, "hurry", &serde_json::Value::Null).await {
        return Err("the rail does not hurry".to_owned());
    }
    // Whatever was asked before the peace has arrived or is lost, so this is no lie: time goes by until nobody must
    // wait for it any more.
    if !clock::step(&world.database, ALL_DEAD_MS).await {
        return Err("the clock cannot be stepped".to_owned());
    }
    judged(world).await?;
    operators::controls_lifted(world).await.map_err(readable)?;
    people::contests_cleared(world, people).await.map_err(readable)?;
    judged(world).await?;
    once_more(world).await.map_err(readable)?;
    judged(world).await
}

/// Waits until every run is closed but those that are kept, nothing of any is under way, and every verdict has heard of
/// everything that is known.
async fn judged(world: &World) -> Result<(), String> {
    let mut since = Instant::now();
    let mut before = usize::MAX;
    let mut problems = String::new();
    let mut late = false;
    loop {
        // What is read on a statement now may stop an open run: an operator looks, and lets it go on.
        operators::runs_go_on(world, false).await;
        let watched = world.say("payfleet-reconciler", None, &["watch", "--once"], None).await;
        world.expect(&watched, &[0, 4, 69]);
        if watched.code != Some(0) {
            problems = watched.text;
        }
        let left: Vec<(String,)> = sqlx::query_as(
            "SELECT concat_ws(' ', 'run', r.id, t.name, r.period, r.sequence, r.state, 'verdict', r.verdict,
               r.pause_reason)
               FROM run r JOIN tenant t ON t.id = r.tenant_id
              WHERE NOT (r.id = ANY($1) AND NOT EXISTS (SELECT FROM batch b WHERE b.run_id = r.id
                                                           AND b.lease_until > clock_timestamp()))
                AND (r.settled_at IS NULL OR r.verdict IS NULL OR r.judged_news < r.news_no
                     OR EXISTS (SELECT FROM batch b WHERE b.run_id = r.id
                                   AND b.state IN ('ready', 'sending', 'accepted')))
              ORDER BY r.id",
        )
        .bind(world.deeds.all().kept_runs.into_iter().collect::<Vec<_>>())
        .fetch_all(&world.database)
        .await
        .map_err(|error| format!("the database cannot be read: {error}"))?;
        // The last look brought no news.
        if left.is_empty() && watched.code == Some(0) {
            return Ok(());
        }
        if left.len() < before {
            (before, since) = (left.len(), Instant::now());
        } else if !late && since.elapsed() > LATE {
            late = true;
            println!("nothing got better for {LATE:?}: {left:?}\n{problems}");
        } else if since.elapsed() > PEACE {
            return Err(format!("{} runs are not over: {left:?}\n{problems}", left.len()));
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

/// One more run of each tenant, of the month that it has come to: it pays whatever is due again.
async fn once_more(world: &Arc<World>) -> Result<(), sqlx::Error> {
    let tenants: Vec<(String, String, i16)> = sqlx::query_as(
        "SELECT DISTINCT ON (t.id) t.name, r.period, r.sequence FROM run r JOIN tenant t ON t.id = r.tenant_id
          ORDER BY t.id, r.ordinal DESC",
    )
    .fetch_all(&world.database)
    .await?;
    let mut runs = JoinSet::new();
    for (tenant, period, sequence) in tenants {
        let world = world.clone();
        runs.spawn(async move {
            let sequence = (sequence + 1).to_string();
            let arguments = ["run", "--tenant", &tenant, "--period", &period, "--sequence", &sequence];
            let said = world.say("payfleet-coordinator", None, &arguments, None).await;
            // 3: of a run that was cancelled more has come back unsent since.
            world.expect(&said, &[0, 3]);
        });
    }
    runs.join_all().await;
    Ok(())
}
