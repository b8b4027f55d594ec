//! Stop-watches: how long until others have what a killed worker had, and until workers get hints again after FLUSHALL.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use deadpool_redis::redis;
use sqlx::Row;

use super::table::Watch;
use super::world::World;
use crate::servers::Redis;

/// Longer than any promise; who has not recovered by then is late whatever happens.
pub(super) const LONGEST: Duration = Duration::from_secs(90);
/// Connections are made again and waits after failures end before an outage is quite over.
const AFTERMATH: Duration = Duration::from_secs(4);
/// A later recovery is told, with what it waits for.
const PROMISED: Duration = Duration::from_secs(15);
const LOOK: Duration = Duration::from_millis(100);

/// When Postgres, Redis, a clock or the rail was disturbed.
#[derive(Debug, Default)]
pub struct Outages {
    all: Mutex<Vec<(Instant, Option<Instant>)>>,
}

impl Outages {
    /// One begins. Returns its number.
    pub fn begin(&self) -> usize {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.push((Instant::now(), None));
        all.len() - 1
    }

    /// And ends.
    pub fn end(&self, number: usize) {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)[number].1 = Some(Instant::now());
    }

    /// Whether there was any between these two moments.
    pub fn any_between(&self, from: Instant, to: Instant) -> bool {
        let all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().any(|(begun, ended)| *begun <= to && ended.is_none_or(|ended| ended + AFTERMATH >= from))
    }
}

/// Starts a stop-watch for what a worker had at its kill, a moment ago. Does nothing if Postgres does not say what that
/// was.
pub async fn after_kill(world: &Arc<World>, process: u32) {
    let killed = Instant::now();
    let rows = sqlx::query(
        "SELECT id, lease_epoch FROM batch
          WHERE lease_owner LIKE 'worker-' || $1 || '-%' AND lease_until > clock_timestamp()
            AND state IN ('ready', 'sending', 'accepted')",
    );
    let Ok(rows) = rows.bind(process.to_string()).fetch_all(&world.database).await else { return };
    if rows.is_empty() {
        return;
    }
    let (batches, epochs): (Vec<i64>, Vec<i32>) =
        rows.iter().map(|row| (row.get::<i64, _>("id"), row.get::<i32, _>("lease_epoch"))).unzip();
    let watching = world.clone();
    let watch = async move {
        let mut late = false;
        let mut stopped: Vec<i64> = Vec::new();
        loop {
            tokio::time::sleep(LOOK).await;
            // What people have stopped meanwhile nobody has to take over.
            let of_stopped = sqlx::query_scalar::<_, i64>(
                "SELECT b.id FROM batch b JOIN run r ON r.id = b.run_id
                  WHERE b.id = ANY($1) AND (r.paused_at IS NOT NULL OR r.state = 'cancelled')",
            );
            stopped.extend(of_stopped.bind(&batches).fetch_all(&watching.database).await.unwrap_or_default());
            let left = sqlx::query_scalar::<_, String>(
                "SELECT concat_ws(' ', b.id, b.rail, b.state, b.lease_epoch, 'leased until', b.lease_until, 'available',
                   b.available_at,
                                  'run', r.state, r.pause_reason, 'now', clock_timestamp())
                   FROM batch b JOIN unnest($1::bigint[], $2::int[]) AS had (id, epoch) USING (id)
                   JOIN run r ON r.id = b.run_id
                  WHERE b.id <> ALL($3) AND b.lease_epoch = had.epoch AND b.state IN ('ready', 'sending', 'accepted')
                    AND b.lease_until > '-infinity' -- else the dead one's last transaction has given it back
                ",
            );
            let left = left.bind(&batches).bind(&epochs).bind(&stopped).fetch_all(&watching.database).await;
            let took = killed.elapsed();
            if took > PROMISED && !std::mem::replace(&mut late, took > PROMISED) {
                println!("process {process} was killed {took:.1?} ago, and nobody has yet {left:?}");
            }
            if took > LONGEST || left.is_ok_and(|left| left.is_empty()) {
                // What comes after the promise is broken excuses nothing.
                let undisturbed = !watching.outages.any_between(killed, killed + took.min(PROMISED));
                watching.table.measured(Watch::Kill, took, undisturbed);
                return;
            }
        }
    };
    world.watches.lock().unwrap_or_else(PoisonError::into_inner).spawn(watch);
}

/// FLUSHALL, and the time until a worker has leased something that it was hinted at afterwards. To be called while
/// nobody kills or pauses.
pub async fn flush(world: &World, redis: &Redis) {
    let due = "SELECT EXISTS (SELECT FROM batch b JOIN run r ON r.id = b.run_id
                WHERE b.state IN ('ready', 'sending') AND b.available_at <= clock_timestamp()
                  AND b.lease_until < clock_timestamp()
                  AND r.state = 'paying' AND r.paused_at IS NULL)";
    let patience = Instant::now();
    let mut there_is_work = false;
    while !there_is_work && patience.elapsed() < Duration::from_secs(5) {
        there_is_work =
            sqlx::query_scalar(due).fetch_one(&world.database).await.unwrap_or(false) && sweeper_lives(world).await;
        tokio::time::sleep(LOOK / 5).await;
    }
    let Some(mut connection) = redis.connection().await else { return };
    redis.flush_all().await;
    let flushed = Instant::now();
    if !there_is_work {
        return;
    }
    let mut delivered = false;
    while !delivered && flushed.elapsed() < LONGEST {
        tokio::time::sleep(LOOK / 5).await;
        for rail in super::work::RAILS {
            // A group that has handed out an entry made after the flush.
            let info = redis::cmd("XINFO").arg("GROUPS").arg(format!("payfleet:hints:{rail}")).to_owned();
            let groups: Vec<std::collections::HashMap<String, redis::Value>> =
                info.query_async(&mut connection).await.unwrap_or_default();
            delivered |= groups.iter().any(|group| match group.get("last-delivered-id") {
                Some(redis::Value::BulkString(id)) => id != b"0-0",
                _ => false,
            });
        }
    }
    let undisturbed = !world.outages.any_between(flushed, Instant::now());
    world.table.measured(Watch::Flush, flushed.elapsed(), undisturbed);
}

/// Whether somebody holds the sweeper's lock and was heard a moment ago.
async fn sweeper_lives(world: &World) -> bool {
    let lives = sqlx::query_scalar::<_, bool>(
        "SELECT EXISTS (SELECT FROM pg_locks l JOIN pg_stat_activity a USING (pid)
                WHERE l.locktype = 'advisory' AND l.granted AND l.mode = 'ExclusiveLock'
                  AND l.objid = x'50460002'::bigint::oid
                  AND a.state_change > pg_catalog.clock_timestamp() - interval '600 ms')",
    );
    lives.fetch_one(&world.database).await.unwrap_or(false)
}
