//! What befalls the servers and the ways to them. One thing at a time befalls Postgres and Redis, another at the same
//! time the rail.
//!
//! Of each minute, the first part is left to kills and stopped workers, so that there are recoveries that nothing else
//! disturbs.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::RngExt;
use rand::seq::SliceRandom;
use rand_pcg::Pcg64;
use sqlx::Connection;
use sqlx::postgres::PgConnection;

use super::fault::Fault;
use super::world::{Data, Rail, USUAL, World};
use super::{clock, recovery};
use crate::proxy::{Proxy, Weather};

/// Of each minute: longer than a recovery may take, by the aftermath of the storm before and time for some kills.
const QUIET: Duration = Duration::from_secs(24);
const MINUTE: Duration = Duration::from_secs(60);
/// What is drawn from is drawn from completely in so long.
const BAG: Duration = Duration::from_secs(200);
/// The last faults come early enough that their end is before the end.
const MARGIN: Duration = Duration::from_secs(6);
/// At the end the rail does nothing but execute files late.
const LATE_FILES_LAST: Duration = Duration::from_secs(20);
/// How wrong the database's clock may become, about. What was perhaps sent by a clock that was ahead counts as alive
/// until the true time is there, so this is also how long that may wait after it was set right.
const CLOCK_AHEAD_MS: i64 = 30_000;
/// Less than a request of any rail lives, or none would arrive in time.
const CLOCK_BEHIND_MS: i64 = 2_500;

#[derive(Debug, Clone, Copy)]
enum Blow {
    PostgresCrash,
    RedisCrash,
    Failover,
    ClockForward,
    ClockBack,
    DiskFull,
    PoolExhausted,
    PostgresLink(Weather),
    RedisLink(Weather),
    RailCrash,
    RailLink(Weather),
    RailMisbehaves,
}

const SLOW: Weather = Weather::Slow(Duration::from_millis(8));
const CUT: Weather = Weather::Cut(12);
const LINKS: [Weather; 6] = [SLOW, CUT, Weather::HalfOpen, Weather::Deaf, Weather::DropAnswers, Weather::Refuse];

fn fault(weather: Weather) -> Option<Fault> {
    match weather {
        Weather::Fair => None,
        Weather::Slow(_) => Some(Fault::Slow),
        Weather::Cut(_) => Some(Fault::Cut),
        Weather::HalfOpen => Some(Fault::HalfOpen),
        Weather::Deaf => Some(Fault::Deaf),
        Weather::DropAnswers => Some(Fault::DropAnswers),
        Weather::Refuse => Some(Fault::Refuse),
    }
}

/// The sandbox's own misbehaviour. Each sets all of it.
const MISBEHAVIOUR: [&str; 12] = [
    r#"{"latency_ms": 80, "latency_jitter_ms": 80, "lose_answer": 0.1, "lose_request": 0.03}"#,
    r#"{"latency_ms": 80, "latency_jitter_ms": 80, "error_before": 0.05, "error_after": 0.05, "rate_limit": 0.1}"#,
    r#"{"latency_ms": 80, "latency_jitter_ms": 80, "garble": 0.08}"#,
    r#"{"latency_ms": 80, "latency_jitter_ms": 80, "hang": 0.01}"#,
    r#"{"latency_ms": 400, "latency_jitter_ms": 800, "lose_answer": 0.02, "reject_after": 0.1,
        "reject_after_ms": 500}"#,
    r#"{"latency_ms": 20, "latency_jitter_ms": 40, "refuse": {"receiver_unregistered": 0.05}, "only_shape": "payout"}"#,
    r#"{"latency_ms": 20, "latency_jitter_ms": 40, "reject_after": 0.1, "reject_after_ms": 500,
        "only_shape": "batch"}"#,
    // Late, but while the request lives.
    r#"{"latency_ms": 80, "latency_jitter_ms": 80, "execute_late": 0.1, "execute_late_ms": 3000}"#,
    FILES_LATE,
    r#"{"latency_ms": 20, "latency_jitter_ms": 40, "execute_late": 0.7, "execute_late_ms": 86400000,
        "execute_late_answered": true, "only_shape": "file"}"#,
    r#"{"latency_ms": 80, "latency_jitter_ms": 80, "reject_after": 0.25, "reject_after_ms": 1500,
        "duplicate_after": 0.001, "duplicate_after_ms": 2500}"#,
    STATEMENT_LAG,
];
/// A bank has days: everybody may have given a file up before it is executed.
const FILES_LATE: &str = r#"{"latency_ms": 20, "latency_jitter_ms": 40, "execute_late": 0.7,
 "execute_late_ms": 86400000, "only_shape": "file"}"#;
const STATEMENT_LAG: &str = r#"{"latency_ms": 80, "latency_jitter_ms": 80,
 "statement_lag_ms": {"payout": 2500, "batch": 4000, "lookup": 1500, "file": 6000}}"#;

/// Puts back what the others set.
const RESET: &str = r#"{"latency_ms": null, "latency_jitter_ms": null, "lose_answer": null, "lose_request": null,
 "error_before": null, "error_after": null, "rate_limit": null, "garble": null, "hang": null, "refuse": null,
 "only_shape": null, "execute_late": null, "execute_late_ms": null, "execute_late_answered": null, "reject_after": null,
 "reject_after_ms": null, "duplicate_after": null, "duplicate_after_ms": null, "statement_lag_ms": null}"#;

fn filled(lasts: Duration, one: &[(Blow, usize)], generator: &mut Pcg64) -> Vec<Blow> {
    let bags = lasts.as_secs().div_ceil(BAG.as_secs()).max(1);
    let mut blows = Vec::new();
    for _ in 0..bags {
        let mut bag: Vec<Blow> = one.iter().flat_map(|(blow, times)| std::iter::repeat_n(*blow, *times)).collect();
        bag.shuffle(generator);
        blows.extend(bag);
    }
    blows
}

/// The moments of the storms, evenly spread.
fn moments(begins: Instant, ends: Instant, quiet: Duration, count: usize) -> Vec<Instant> {
    let storm = MINUTE - quiet;
    let lasts = ends - begins - MARGIN;
    let minutes = u32::try_from(lasts.as_secs() / 60).unwrap_or(u32::MAX);
    let total = storm * minutes + (lasts - MINUTE * minutes).saturating_sub(quiet);
    (0..count)
        .map(|n| {
            let at = total.mul_f64((n as f64 + 0.2) / count as f64);
            let minute = at.div_duration_f64(storm).floor() as u32;
            begins + MINUTE * minute + quiet + (at - storm * minute)
        })
        .collect()
}

/// What befalls Postgres and Redis. Gives them back at the end, well.
pub async fn data(world: Arc<World>, mut data: Data, mut generator: Pcg64, ends: Instant) -> Data {
    let begins = Instant::now();
    let mut bag = vec![
        (Blow::PostgresCrash, 4),
        (Blow::RedisCrash, 3),
        (Blow::Failover, 2),
        (Blow::ClockForward, 3),
        (Blow::ClockBack, 3),
        (Blow::PoolExhausted, 1),
    ];
    if data.disk.is_some() {
        bag.push((Blow::DiskFull, 1));
    }
    bag.extend(LINKS.into_iter().flat_map(|weather| [(Blow::PostgresLink(weather), 1), (Blow::RedisLink(weather), 1)]));
    let blows = filled(ends - begins, &bag, &mut generator);
    let mut flushes = begins + QUIET / 3;
    for (moment, blow) in moments(begins, ends, QUIET, blows.len()).into_iter().zip(blows) {
        if flushes < moment {
            flush(&world, &data, flushes, ends).await;
            flushes += MINUTE / 2;
        }
        tokio::time::sleep_until(moment.into()).await;
        let number = world.outages.begin();
        strike(&world, &mut data, blow, &mut generator).await;
        world.outages.end(number);
    }
    world.to_postgres.set(Weather::Fair);
    world.to_redis.set(Weather::Fair);
    data
}

async fn flush(world: &World, data: &Data, at: Instant, ends: Instant) {
    if at + MARGIN > ends || (at < Instant::now() && at.elapsed() > MINUTE) {
        return;
    }
    tokio::time::sleep_until(at.into()).await;
    let calm = world.calm.write().await;
    recovery::flush(world, &data.redis[0]).await;
    world.table.count(Fault::Flushed);
    drop(calm);
}

/// What befalls the rail. Gives it back at the end, well.
pub async fn rail(world: Arc<World>, mut rail: Rail, mut generator: Pcg64, ends: Instant) -> Rail {
    let begins = Instant::now();
    let mut bag = vec![(Blow::RailCrash, 5), (Blow::RailMisbehaves, MISBEHAVIOUR.len())];
    bag.extend(LINKS.into_iter().map(|weather| (Blow::RailLink(weather), 2)));
    let blows = filled(ends - begins, &bag, &mut generator);
    let mut misbehaviour = MISBEHAVIOUR.iter().cycle();
    // A rail that hangs keeps the places of all workers taken, so its bad times are outages too; they end with the
    // storm of each minute.
    let mut bad_times: Option<(usize, u64)> = None;
    for (moment, blow) in moments(begins, ends - LATE_FILES_LAST, QUIET, blows.len()).into_iter().zip(blows) {
        let minute = (moment - begins).as_secs() / MINUTE.as_secs();
        if let Some((number, of_minute)) = bad_times
            && of_minute < minute
        {
            world.misbehave(RESET).await;
            world.misbehave(USUAL).await;
            world.outages.end(number);
            bad_times = None;
        }
        tokio::time::sleep_until(moment.into()).await;
        bad_times.get_or_insert_with(|| (world.outages.begin(), minute));
        match blow {
            Blow::RailCrash => {
                rail.kill();
                world.table.count(Fault::RailCrash);
                between(&mut generator, 100, 1_500).await;
                rail.start(&world).await;
            }
            Blow::RailLink(weather) => {
                // Now and then longer than a call may take.
                let longest = if weather == Weather::HalfOpen { 12_000 } else { 4_000 };
                let blur = world.blurred.begin();
                turn(&world, &world.to_rail, weather, &mut generator, longest).await;
                world.blurred.end(blur);
            }
            _ => {
                let faults = misbehaviour.next().copied().unwrap_or(USUAL);
                if world.misbehave(RESET).await && world.misbehave(faults).await {
                    world.table.count(if faults == STATEMENT_LAG {
                        Fault::StatementLags
                    } else {
                        Fault::RailMisbehaves
                    });
                }
            }
        }
    }
    // So that there are files that people can give up in peace, and that are executed after that.
    if world.misbehave(RESET).await && world.misbehave(FILES_LATE).await {
        tokio::time::sleep_until(ends.into()).await;
    }
    for faults in [RESET, r#"{"latency_ms": 5}"#] {
        assert!(world.misbehave(faults).await, "the sandbox takes {faults}");
    }
    if let Some((number, _)) = bad_times {
        world.outages.end(number);
    }
    rail
}

async fn between(generator: &mut Pcg64, least_ms: u64, most_ms: u64) {
    tokio::time::sleep(Duration::from_millis(generator.random_range(least_ms..most_ms))).await;
}

async fn turn(world: &World, link: &Proxy, weather: Weather, generator: &mut Pcg64, longest_ms: u64) {
    link.set(weather);
    if let Some(fault) = fault(weather) {
        world.table.count(fault);
    }
    between(generator, 700, longest_ms).await;
    link.set(Weather::Fair);
}

async fn strike(world: &World, data: &mut Data, blow: Blow, generator: &mut Pcg64) {
    match blow {
        Blow::PostgresCrash => {
            data.postgres.kill();
            world.table.count(Fault::PostgresCrash);
            between(generator, 50, 1_500).await;
            data.postgres.restart().await;
        }
        Blow::RedisCrash => {
            data.redis[0].kill();
            world.table.count(Fault::RedisCrash);
            between(generator, 50, 1_500).await;
            data.redis[0].restart().await;
        }
        Blow::Failover => failover(world, data, generator).await,
        Blow::ClockForward => {
            // Further than a lease and than a request lives.
            let by = generator.random_range(9_000..=CLOCK_AHEAD_MS.max(data.ahead_ms + 10_000) - data.ahead_ms);
            step(world, data, by, Fault::ClockForward).await;
        }
        Blow::ClockBack => {
            let by = generator.random_range(1_000..=data.ahead_ms.max(0) + CLOCK_BEHIND_MS);
            step(world, data, -by, Fault::ClockBack).await;
        }
        Blow::DiskFull => disk_full(world, data, generator).await,
        Blow::PoolExhausted => {
            // The programs are superusers here, so no connection is kept back for us either.
            let mut taken = Vec::new();
            let url = data.postgres.url("postgres");
            while let Ok(connection) = PgConnection::connect(&url).await {
                taken.push(connection);
            }
            world.table.count(Fault::PoolExhausted);
            between(generator, 1_000, 3_000).await;
        }
        Blow::PostgresLink(weather) => turn(world, &world.to_postgres, weather, generator, 2_500).await,
        Blow::RedisLink(weather) => turn(world, &world.to_redis, weather, generator, 2_500).await,
        Blow::RailCrash | Blow::RailLink(_) | Blow::RailMisbehaves => {}
    }
}

async fn step(world: &World, data: &mut Data, by_ms: i64, fault: Fault) {
    if clock::step(&world.database, by_ms).await {
        data.ahead_ms += by_ms;
        // Leases that live look as if they had ended.
        world.blurred.end(world.blurred.begin());
        world.table.count(fault);
    }
}

/// The replica hears nothing of the last moments; then the master dies and the replica is the master. The old one comes
/// back as its replica.
async fn failover(world: &World, data: &mut Data, generator: &mut Pcg64) {
    data.redis[1].replicate(None).await;
    between(generator, 300, 1_500).await;
    data.redis[0].kill();
    world.to_redis.lead_to(data.redis[1].address());
    world.table.count(Fault::Failover);
    data.redis.swap(0, 1);
    data.redis[1].restart().await;
    data.redis[1].replicate(Some(&data.redis[0])).await;
}

/// Postgres may survive that, or stop by itself; then it is started again once there is room.
async fn disk_full(world: &World, data: &mut Data, generator: &mut Pcg64) {
    let Some(disk) = &data.disk else { return };
    disk.fill();
    world.table.count(Fault::DiskFull);
    between(generator, 500, 2_000).await;
    disk.empty();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let url = data.postgres.url("postgres");
    let since = Instant::now();
    while PgConnection::connect(&url).await.is_err() {
        if !data.postgres.is_running() || since.elapsed() > Duration::from_secs(20) {
            data.postgres.restart().await;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
