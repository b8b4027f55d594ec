//! Redis is slow, wiped, restarted, unfit or away.

use std::time::{Duration, Instant};

use deadpool_redis::redis;
use payfleet_queue::{Queue, QueueError};

use crate::server::{PREFIX, RedisServer};
use crate::{RAIL, batches, entries, hints, pending};

#[tokio::test]
async fn a_read_waits_longer_than_the_client_by_itself_would() {
    let server = RedisServer::start();
    let queue = server.queue().await;
    let mut reader = queue.reader(&[RAIL], "one");
    let start = Instant::now();
    assert_eq!(reader.read(1).await.unwrap(), [], "no hint is no error");
    assert!(start.elapsed() > Duration::from_millis(1900));
    queue.publish(RAIL, &hints(1..=2)).await.unwrap();
    assert_eq!(batches(&reader.read(10).await.unwrap()), [1, 2], "the read that ended took nothing with it");
}

#[tokio::test]
async fn a_read_that_its_caller_dropped_is_not_lost() {
    let server = RedisServer::start();
    let queue = server.queue().await;
    let mut reader = queue.reader(&[RAIL], "one");
    tokio::select! {
        biased;
        _ = reader.read(1) => panic!("there is nothing to read"),
        () = server.wait_for_reader() => {}
    }
    // Redis gives this one to the read that nobody waits for any more.
    queue.publish(RAIL, &hints(1..=2)).await.unwrap();
    assert_eq!(batches(&reader.read(1).await.unwrap()), [1]);
    assert_eq!(batches(&reader.read(1).await.unwrap()), [2]);
    assert_eq!(pending(&mut server.raw().await).await, 2);
}

#[tokio::test]
async fn a_wiped_redis_is_read_from_the_first_new_hint_on() {
    let server = RedisServer::start();
    let queue = server.queue().await;
    let mut raw = server.raw().await;
    let mut reader = queue.reader(&[RAIL, "null"], "one");
    queue.publish(RAIL, &hints(1..=1)).await.unwrap();
    let lost = reader.read(1).await.unwrap();

    let _: () = redis::cmd("FLUSHALL").query_async(&mut raw).await.unwrap();
    queue.acknowledge(RAIL, &entries(&lost)).await.unwrap();
    assert_eq!(queue.claim_forgotten(RAIL, "two", Duration::ZERO, 10).await.unwrap(), []);
    queue.publish(RAIL, &hints(2..=3)).await.unwrap();
    assert_eq!(batches(&reader.read(10).await.unwrap()), [2, 3]);

    // And while a read is waiting.
    let waiting = tokio::spawn(async move {
        let given = reader.read(10).await.unwrap();
        // The wipe alone may have ended the read.
        if given.is_empty() { reader.read(10).await.unwrap() } else { given }
    });
    server.wait_for_reader().await;
    let _: () = redis::cmd("FLUSHALL").query_async(&mut raw).await.unwrap();
    queue.publish(RAIL, &hints(4..=4)).await.unwrap();
    assert_eq!(batches(&waiting.await.unwrap()), [4]);
}

#[tokio::test]
async fn a_restart_costs_errors_and_nothing_else() {
    let mut server = RedisServer::start();
    let queue = server.queue().await;
    let mut reader = queue.reader(&[RAIL], "one");
    queue.publish(RAIL, &hints(1..=1)).await.unwrap();
    reader.read(1).await.unwrap();

    server.stop();
    assert!(matches!(queue.ping().await, Err(QueueError::Unreachable { .. })));
    assert!(queue.publish(RAIL, &hints(2..=2)).await.is_err());
    assert!(reader.read(1).await.is_err());
    assert!(queue.rate_permit(RAIL, "main", 1, 10).await.is_err());

    server.start_again();
    queue.ping().await.unwrap();
    queue.publish(RAIL, &hints(3..=3)).await.unwrap();
    assert_eq!(batches(&reader.read(1).await.unwrap()), [3]);
    assert_eq!(queue.rate_permit(RAIL, "main", 1, 10).await.unwrap(), Duration::ZERO, "scripts are loaded again");
}

#[tokio::test]
async fn a_restart_under_a_waiting_read_is_an_error_and_the_next_read_works() {
    let mut server = RedisServer::start();
    let queue = server.queue().await;
    let mut reader = queue.reader(&[RAIL], "one");
    let waiting = tokio::spawn(async move { (reader.read(1).await, reader) });
    server.wait_for_reader().await;
    server.stop();
    let (result, mut reader) = waiting.await.unwrap();
    assert!(matches!(result, Err(QueueError::Command { doing: "read hints", .. })), "{result:?}");
    server.start_again();
    queue.publish(RAIL, &hints(1..=1)).await.unwrap();
    assert_eq!(batches(&reader.read(1).await.unwrap()), [1]);
}

#[tokio::test]
async fn a_redis_that_evicts_is_refused_with_the_way_out() {
    let server = RedisServer::start();
    let mut command = redis::cmd("CONFIG");
    command.arg("SET").arg("maxmemory-policy").arg("allkeys-lru");
    let _: () = command.query_async(&mut server.raw().await).await.unwrap();
    let Err(error) = Queue::connect(&server.url(), PREFIX).await else { panic!("taken") };
    assert!(matches!(&error, QueueError::Evicts { policy, .. } if policy == "allkeys-lru"));
    assert!(error.to_string().contains("CONFIG SET maxmemory-policy noeviction"), "{error}");
}

#[tokio::test]
async fn what_cannot_be_reached_or_used_is_named_without_its_password() {
    let mut server = RedisServer::start();
    server.stop();
    let url = server.url().replace("redis://", "redis://:hunter2@");
    let Err(error) = Queue::connect(&url, PREFIX).await else { panic!("taken") };
    assert!(matches!(error, QueueError::Unreachable { .. }), "{error:?}");
    assert!(error.to_string().contains("127.0.0.1:"), "{error}");
    assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");

    assert!(matches!(Queue::connect("localhost", PREFIX).await, Err(QueueError::Url(_))));
    for prefix in ["", "a*", "a b", "a?", "[a]", &"a".repeat(65)] {
        assert!(matches!(Queue::connect(&url, prefix).await, Err(QueueError::Prefix(_))), "{prefix}");
    }
}
