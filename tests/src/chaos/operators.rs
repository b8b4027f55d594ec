//! Operators, who pause, resume and cancel runs, stop payouts and put affiliates on hold, whatever state they are in.
//! Some are killed half-way.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::RngExt;
use rand_pcg::Pcg64;

use super::fault::Fault;
use super::world::{Said, World};

/// Done, not possible in this state, a server away, somebody else was at it.
const ANSWERS: [i32; 4] = [0, 64, 69, 75];
/// Of a hundred acts.
const KILLED: u32 = 15;
/// With more runs paused than these, operators let some go on, so that there is work.
const PAUSED_AT_ONCE: i64 = 3;
/// How many stopped payouts and held affiliates stay so to the end.
const KEPT: i64 = 3;

/// Acts until the end.
pub async fn act(world: Arc<World>, mut generator: Pcg64, ends: Instant) {
    while Instant::now() < ends {
        tokio::time::sleep(Duration::from_millis(generator.random_range(100..700))).await;
        one(&world, &mut generator).await;
    }
}

async fn one(world: &World, generator: &mut Pcg64) {
    let lives = generator.random_ratio(KILLED, 100).then(|| Duration::from_millis(generator.random_range(5..250)));
    let paused: i64 = sqlx::query_scalar("SELECT count(*) FROM run WHERE paused_at IS NOT NULL")
        .fetch_one(&world.database)
        .await
        .unwrap_or(0);
    let drawn = generator.random_range(0..100);
    match drawn {
        _ if paused > PAUSED_AT_ONCE => on_run(world, Fault::RunResumed, lives).await,
        0..22 => on_run(world, Fault::RunPaused, lives).await,
        22..40 => on_run(world, Fault::RunResumed, lives).await,
        40..52 => on_run(world, Fault::RunCancelled, lives).await,
        52..68 => on_payout(world, Fault::PayoutStopped, lives).await,
        68..78 => on_payout(world, Fault::PayoutReleased, lives).await,
        78..90 => on_affiliate(world, Fault::AffiliateHeld, lives).await,
        _ => on_affiliate(world, Fault::AffiliateReleased, lives).await,
    }
}

/// Counts what was done, and in which state; who was killed counts as that.
fn count(world: &World, what: Fault, state: &str, said: &Said) {
    match said.code {
        None => world.table.count(Fault::OperatorKilled),
        Some(0) => {
            world.table.count(what);
            world.table.count_state(what, state);
        }
        Some(_) => {}
    }
}

async fn on_run(world: &World, what: Fault, lives: Option<Duration>) {
    // Mostly where it makes sense, now and then in any state at all.
    let wanted = match what {
        Fault::RunResumed => "r.paused_at IS NOT NULL",
        _ => "r.state IN ('planning', 'planned', 'paying') AND (r.paused_at IS NULL OR random() < 0.1)",
    };
    let sql = format!(
        "SELECT id, concat_ws(' ', state, CASE WHEN paused_at IS NOT NULL THEN 'paused' END) FROM run r
          WHERE (({wanted}) OR random() < 0.01) ORDER BY random() LIMIT 1"
    );
    let Ok(Some((run, state))) =
        sqlx::query_as::<_, (i64, String)>(sqlx::AssertSqlSafe(sql)).fetch_optional(&world.database).await
    else {
        return;
    };
    // One operator at a time has the run, or nobody could say from when until when it was stopped.
    let Some(_mine) = world.stops.take(run) else { return };
    let word = match what {
        Fault::RunPaused => "pause",
        Fault::RunResumed => "resume",
        _ => "cancel",
    };
    // Not while somebody measures how fast work is found again.
    let _calm = world.calm.read().await;
    if what == Fault::RunResumed {
        world.stops.goes_on(run);
        alarms_answered(world, run).await;
    }
    let said = world.say("payfleet-coordinator", None, &[word, &run.to_string()], lives).await;
    world.expect(&said, &ANSWERS);
    if said.code == Some(0) && what != Fault::RunResumed {
        world.stops.stopped(run, word);
    }
    count(world, what, &state, &said);
}

async fn on_payout(world: &World, what: Fault, lives: Option<Duration>) {
    let sql = match what {
        Fault::PayoutStopped => {
            "SELECT p.id, p.state FROM payout p JOIN run r ON r.id = p.run_id
              WHERE r.state IN ('planning', 'planned', 'paying')
                AND p.state IN ('planned', 'unknown', 'held', 'accepted')
                AND p.id >= (SELECT (max(id) - 12) << 32 FROM run) ORDER BY random() LIMIT 1"
        }
        _ => {
            "SELECT p.id, p.state FROM control c JOIN payout p ON p.id = c.payout_id WHERE c.lifted_at IS NULL
              ORDER BY random() LIMIT 1"
        }
    };
    let Ok(Some((payout, state))) = sqlx::query_as::<_, (i64, String)>(sql).fetch_optional(&world.database).await
    else {
        return;
    };
    let number = payout.to_string();
    let arguments = match what {
        Fault::PayoutStopped => vec!["payout", "stop", &number, "--reason", "asked by the bank"],
        _ => vec!["payout", "release", &number],
    };
    let said = world.say("payfleet-coordinator", None, &arguments, lives).await;
    world.expect(&said, &ANSWERS);
    count(world, what, &state, &said);
}

async fn on_affiliate(world: &World, what: Fault, lives: Option<Duration>) {
    let sql = match what {
        Fault::AffiliateHeld => {
            "SELECT t.name, a.external_id FROM affiliate a JOIN tenant t ON t.id = a.tenant_id
              WHERE t.id IN (SELECT tenant_id FROM run WHERE state IN ('planning', 'planned', 'paying'))
              ORDER BY random() LIMIT 1"
        }
        _ => {
            "SELECT t.name, a.external_id FROM affiliate a JOIN tenant t ON t.id = a.tenant_id
               JOIN control c ON c.affiliate_id = a.id AND c.lifted_at IS NULL ORDER BY random() LIMIT 1"
        }
    };
    let Ok(Some((tenant, name))) = sqlx::query_as::<_, (String, String)>(sql).fetch_optional(&world.database).await
    else {
        return;
    };
    let mut arguments = match what {
        Fault::AffiliateHeld => vec!["affiliate", "hold", "--reason", "a fraud, perhaps"],
        _ => vec!["affiliate", "release"],
    };
    arguments.extend(["--tenant", &tenant, &name]);
    let said = world.say("payfleet-coordinator", None, &arguments, lives).await;
    world.expect(&said, &ANSWERS);
    count(world, what, "", &said);
}

/// At the end of the storm every run goes on, but one that is kept.
pub async fn let_go_on(world: Arc<World>, ends: Instant) {
    tokio::time::sleep_until(ends.into()).await;
    runs_go_on(&world, true).await;
}

/// Somebody has looked at the alarms of a run, without which it is not resumed.
async fn alarms_answered(world: &World, run: i64) {
    let open = sqlx::query_scalar::<_, i64>("SELECT id FROM alarm_open WHERE run_id = $1 ORDER BY id").bind(run);
    for alarm in open.fetch_all(&world.database).await.unwrap_or_default() {
        let token = world.token.get().map(String::as_str);
        let arguments = ["alarms", "answer", &alarm.to_string(), "--words", "it was the rail"];
        let said = world.say("payfleet-coordinator", token, &arguments, None).await;
        world.expect(&said, &ANSWERS);
    }
}

/// Lets every run go on that is paused, but those that are kept, and one more if it is to be kept.
pub async fn runs_go_on(world: &World, mut keeps: bool) {
    let patience = Instant::now();
    loop {
        let paused: Vec<(i64, String)> =
            sqlx::query_as("SELECT id, state FROM run WHERE paused_at IS NOT NULL AND id <> ALL($1) ORDER BY id DESC")
                .bind(world.deeds.all().kept_runs.into_iter().collect::<Vec<_>>())
                .fetch_all(&world.database)
                .await
                .unwrap_or_default();
        if paused.is_empty() {
            return;
        }
        if patience.elapsed() > super::PEACE {
            world.table.broken(format!("paused runs do not go on: {paused:?}"));
            return;
        }
        for (run, state) in paused {
            // Half a plan keeps its tenant from everything else.
            if state == "paying" && std::mem::take(&mut keeps) {
                world.deeds.keep_paused(run);
                continue;
            }
            let Some(_mine) = world.stops.take(run) else { continue };
            world.stops.goes_on(run);
            alarms_answered(world, run).await;
            let said = world.say("payfleet-coordinator", None, &["resume", &run.to_string()], None).await;
            world.expect(&said, &ANSWERS);
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

/// In peace: stopped payouts and held affiliates are let go, but for a sample.
pub async fn controls_lifted(world: &World) -> Result<(), sqlx::Error> {
    let payouts: Vec<i64> = sqlx::query_scalar(
        "SELECT payout_id FROM control WHERE payout_id IS NOT NULL AND lifted_at IS NULL ORDER BY id OFFSET $1",
    )
    .bind(KEPT)
    .fetch_all(&world.database)
    .await?;
    for payout in payouts {
        let said = world.say("payfleet-coordinator", None, &["payout", "release", &payout.to_string()], None).await;
        world.expect(&said, &[0]);
    }
    let affiliates: Vec<(String, String)> = sqlx::query_as(
        "SELECT t.name, a.external_id FROM control c JOIN affiliate a ON a.id = c.affiliate_id
           JOIN tenant t ON t.id = a.tenant_id
          WHERE c.lifted_at IS NULL ORDER BY c.id OFFSET $1",
    )
    .bind(KEPT)
    .fetch_all(&world.database)
    .await?;
    for (tenant, name) in affiliates {
        let arguments = ["affiliate", "release", "--tenant", &tenant, &name];
        let said = world.say("payfleet-coordinator", None, &arguments, None).await;
        world.expect(&said, &[0]);
    }
    Ok(())
}
