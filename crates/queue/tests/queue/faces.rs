//! Rate permits and heartbeats: what the fleet knows of itself.

use std::time::{Duration, Instant};

use deadpool_redis::redis;
use payfleet_queue::{Queue, QueueError, WorkerBeat};
use time::macros::datetime;

use crate::RAIL;
use crate::server::{PREFIX, RedisServer};

/// Asks until it is permitted, as a worker does.
async fn permitted(queue: &Queue, calls: u32, per_sec: u32) {
    loop {
        let wait = queue.rate_permit(RAIL, "main", calls, per_sec).await.unwrap();
        if wait.is_zero() {
            return;
        }
        tokio::time::sleep(wait).await;
    }
}

#[tokio::test]
async fn two_clients_together_keep_the_rate() {
    const PER_SEC: u32 = 100;
    const EACH: u32 = 75;
    let server = RedisServer::start();
    let start = Instant::now();
    let client = |queue: Queue| async move {
        for _ in 0..EACH {
            permitted(&queue, 1, PER_SEC).await;
        }
    };
    let (one, two) = (server.queue().await, server.queue().await);
    let clients = [tokio::spawn(client(one)), tokio::spawn(client(two))];
    for client in clients {
        client.await.unwrap();
    }
    let burst = PER_SEC / 10;
    let shortest = Duration::from_secs(1) * (2 * EACH - burst - 1) / PER_SEC;
    let taken = start.elapsed();
    assert!(taken >= shortest, "150 calls at 100 a second in {taken:?}");
    assert!(taken < shortest * 3, "the rate is used, not only kept: {taken:?}");
}

#[tokio::test]
async fn a_permit_for_many_calls_pays_for_all_of_them() {
    let server = RedisServer::start();
    let queue = server.queue().await;
    assert_eq!(queue.rate_permit(RAIL, "main", 0, 0).await.unwrap(), Duration::ZERO);
    assert_eq!(queue.rate_permit(RAIL, "main", 10, 10).await.unwrap(), Duration::ZERO);
    let wait = queue.rate_permit(RAIL, "main", 10, 10).await.unwrap();
    assert!(wait > Duration::from_millis(500) && wait <= Duration::from_secs(1), "{wait:?}");
    assert!(queue.rate_permit(RAIL, "main", 1, 10).await.unwrap() > Duration::from_millis(500));
    assert_eq!(queue.rate_permit(RAIL, "other", 1, 10).await.unwrap(), Duration::ZERO, "another account");
    for (calls, per_sec) in [(11, 10), (1, 0)] {
        let error = queue.rate_permit(RAIL, "main", calls, per_sec).await.unwrap_err();
        assert!(matches!(error, QueueError::Rate { .. }), "{error}");
    }
}

#[tokio::test]
async fn a_clock_that_was_set_back_does_not_stop_the_fleet() {
    let server = RedisServer::start();
    let queue = server.queue().await;
    let mut command = redis::cmd("SET");
    command.arg(format!("{PREFIX}:rate:{RAIL}:main")).arg("9999999999999999");
    let _: () = command.query_async(&mut server.raw().await).await.unwrap();
    assert_eq!(queue.rate_permit(RAIL, "main", 1, 10).await.unwrap(), Duration::ZERO);
    assert_eq!(queue.rate_permit(RAIL, "idle", 1, 1).await.unwrap(), Duration::ZERO);
    let expiry: i64 = redis::cmd("PTTL")
        .arg(format!("{PREFIX}:rate:{RAIL}:idle"))
        .query_async(&mut server.raw().await)
        .await
        .unwrap();
    assert!((1..=2_000).contains(&expiry), "an idle account leaves no key behind: {expiry}");
}

fn beat(worker: &str, in_flight: u32) -> WorkerBeat {
    WorkerBeat {
        worker: worker.to_owned(),
        version: "0.1.0".to_owned(),
        started_at: datetime!(2026-01-02 03:04:05 UTC),
        batches_in_flight: in_flight,
        draining: false,
    }
}

#[tokio::test]
async fn workers_are_seen_while_they_live() {
    let server = RedisServer::start();
    let queue = server.queue().await;
    assert_eq!(queue.workers().await.unwrap(), []);
    let ttl = Duration::from_secs(60);
    for (worker, in_flight) in [("two", 5), ("one", 0), ("two", 7)] {
        queue.heartbeat(&beat(worker, in_flight), ttl).await.unwrap();
    }
    let mut raw = server.raw().await;
    let _: () = redis::cmd("SET").arg(format!("{PREFIX}:worker:odd")).arg("?").query_async(&mut raw).await.unwrap();
    let elsewhere = Queue::connect(&server.url(), "another").await.unwrap();
    elsewhere.heartbeat(&beat("three", 1), ttl).await.unwrap();
    assert_eq!(queue.workers().await.unwrap(), [beat("one", 0), beat("two", 7)]);

    let expiry: i64 = redis::cmd("PTTL").arg(format!("{PREFIX}:worker:two")).query_async(&mut raw).await.unwrap();
    assert!((1..=60_000).contains(&expiry), "{expiry}");
    let _: i64 = redis::cmd("PEXPIRE").arg(format!("{PREFIX}:worker:two")).arg(0).query_async(&mut raw).await.unwrap();
    assert_eq!(queue.workers().await.unwrap(), [beat("one", 0)]);
}
