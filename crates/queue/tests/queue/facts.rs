//! Facts about Redis and its client that would cost hints: each shown with the bare client where it bites, and then
//! that ours is not bitten.

use std::time::{Duration, Instant};

use deadpool_redis::redis::{self, Value};
use payfleet_queue::{Queue, QueueError};

use crate::proxy::Proxy;
use crate::server::{PREFIX, RedisServer};
use crate::{RAIL, batches, entries, hints, pending, set, stream};

/// A bare blocking read, as `consumer`.
fn bare_read(consumer: &str, block: Duration) -> redis::Cmd {
    let mut command = redis::cmd("XREADGROUP");
    command.arg("GROUP").arg("workers").arg(consumer).arg("COUNT").arg(1);
    command.arg("BLOCK").arg(u64::try_from(block.as_millis()).unwrap()).arg("STREAMS").arg(stream()).arg(">");
    command
}

async fn make_group(server: &RedisServer) {
    let mut command = redis::cmd("XGROUP");
    command.arg("CREATE").arg(stream()).arg("workers").arg("0").arg("MKSTREAM");
    let _: Value = command.query_async(&mut server.raw().await).await.unwrap();
}

/// Which batches are pending with this consumer.
async fn pending_with(server: &RedisServer, consumer: &str) -> usize {
    let mut command = redis::cmd("XPENDING");
    command.arg(stream()).arg("workers").arg("-").arg("+").arg(100).arg(consumer);
    let found: Vec<Value> = command.query_async(&mut server.raw().await).await.unwrap();
    found.len()
}

#[tokio::test]
async fn a_client_that_gives_up_before_redis_does_strands_the_next_hint_and_ours_does_not() {
    let server = RedisServer::start();
    let queue = server.queue().await;
    make_group(&server).await;
    let mut bare = server.raw().await; // with the client's own response timeout
    let began = Instant::now();
    let gave_up: Result<Value, _> = bare_read("gone", Duration::from_secs(20)).query_async(&mut bare).await;
    assert!(gave_up.unwrap_err().is_timeout());
    assert!(began.elapsed() < Duration::from_secs(10), "long before Redis would have answered");
    queue.publish(RAIL, &hints(1..=1)).await.unwrap();
    assert_eq!(pending_with(&server, "gone").await, 1, "given to a reader that has gone");
    let found = queue.claim_forgotten(RAIL, "two", Duration::ZERO, 10).await.unwrap();
    assert_eq!(batches(&found), [1]);
    queue.acknowledge(RAIL, &entries(&found)).await.unwrap();

    // Ours outlasts the same wait several times, and what is published then comes to it.
    let mut reader = queue.reader(&[RAIL], "one");
    let waiting = tokio::spawn(async move { (reader.read(1).await, reader) });
    server.wait_for_reader().await;
    tokio::time::sleep(Duration::from_millis(1000)).await; // twice what the bare client waits
    queue.publish(RAIL, &hints(2..=2)).await.unwrap();
    let (given, mut reader) = waiting.await.unwrap();
    assert_eq!(batches(&given.unwrap()), [2]);
    assert_eq!(pending_with(&server, "one").await, 1);
    // And once its wait has ended, nothing of it is left behind at Redis to take the next hint.
    assert_eq!(reader.read(1).await.unwrap(), []);
    queue.publish(RAIL, &hints(3..=3)).await.unwrap();
    assert_eq!(pending_with(&server, "one").await, 1, "still waiting in the stream");
    assert_eq!(batches(&reader.read(1).await.unwrap()), [3]);
}

#[tokio::test]
async fn a_cancelled_read_strands_a_hint_and_what_a_dead_reader_was_given_is_found() {
    let server = RedisServer::start();
    let queue = server.queue().await;
    make_group(&server).await;
    let mut bare = server.raw().await;
    let command = bare_read("cancelled", Duration::from_secs(20));
    tokio::select! {
        biased;
        _ = command.query_async::<Value>(&mut bare) => panic!("there is nothing to read"),
        () = server.wait_for_reader() => {}
    }
    queue.publish(RAIL, &hints(1..=1)).await.unwrap();
    assert_eq!(pending_with(&server, "cancelled").await, 1);

    // Ours can only be dropped as a whole, and then Redis gives one more round to nobody.
    let mut dying = queue.reader(&[RAIL], "dying");
    tokio::select! {
        biased;
        _ = dying.read(1) => panic!("there is nothing to read"),
        () = server.wait_for_reader() => {}
    }
    drop(dying);
    queue.publish(RAIL, &hints(2..=3)).await.unwrap();
    assert_eq!(pending_with(&server, "dying").await, 1);
    let mut alive = queue.reader(&[RAIL], "alive");
    assert_eq!(batches(&alive.read(10).await.unwrap()), [3]);
    let mut found = batches(&queue.claim_forgotten(RAIL, "alive", Duration::ZERO, 10).await.unwrap());
    found.sort_unstable();
    assert_eq!(found, [1, 2, 3], "those of the dead, and what the living has in hand");
    // Neither is lost to the sweeper: what is outstanding is known without asking who has it.
    assert_eq!(queue.outstanding(RAIL, 10).await.unwrap().batches, set(1..=3));
}

#[tokio::test]
async fn a_reply_cut_in_the_middle_costs_an_error_and_no_hint() {
    let server = RedisServer::start();
    let proxy = Proxy::to(&server.url()).await;
    let (queue, direct) = (Queue::connect(&proxy.url, PREFIX).await.unwrap(), server.queue().await);
    let mut reader = queue.reader(&[RAIL], "one");
    direct.publish(RAIL, &hints(1..=1)).await.unwrap();
    assert_eq!(batches(&reader.read(10).await.unwrap()), [1]);
    for cut in [0, 1, 30] {
        // The read is given its hints, and they get lost on the way.
        let before = pending(&mut server.raw().await).await;
        direct.publish(RAIL, &hints(2..=3)).await.unwrap();
        proxy.cut_after(cut);
        let error = reader.read(10).await.unwrap_err();
        assert!(matches!(error, QueueError::Command { doing: "read hints", .. }), "{error}");
        assert!(proxy.has_cut());
        assert_eq!(pending(&mut server.raw().await).await, before + 2, "cut after {cut} bytes");
        direct.publish(RAIL, &hints(4..=4)).await.unwrap();
        let given = reader.read(10).await.unwrap();
        assert_eq!(batches(&given), [4], "the next read connects again and goes on");
        queue.acknowledge(RAIL, &entries(&given)).await.unwrap();
        let found = queue.claim_forgotten(RAIL, "two", Duration::ZERO, 10).await.unwrap();
        assert_eq!(batches(&found)[1..], [2, 3], "cut after {cut} bytes");
        queue.acknowledge(RAIL, &entries(&found[1..])).await.unwrap();
    }
    // A command whose reply was cut was executed all the same: done again it does no harm. (The pool's own ping comes
    // first, and is let through.)
    for cut in [20, 30] {
        proxy.cut_after(cut);
        assert!(queue.publish(RAIL, &hints(7..=8)).await.is_err());
        queue.publish(RAIL, &hints(7..=8)).await.unwrap();
        let outstanding = direct.outstanding(RAIL, 100).await.unwrap();
        assert!([7, 8].iter().all(|batch| outstanding.batches.contains(&payfleet_domain::BatchId(*batch))));
    }
}

#[tokio::test]
async fn a_group_that_was_destroyed_is_made_again_from_the_first_hint() {
    let server = RedisServer::start();
    let queue = server.queue().await;
    let mut reader = queue.reader(&[RAIL], "one");
    queue.publish(RAIL, &hints(1..=2)).await.unwrap();
    let given = reader.read(10).await.unwrap();
    queue.acknowledge(RAIL, &entries(&given[..1])).await.unwrap();
    let mut destroy = redis::cmd("XGROUP");
    destroy.arg("DESTROY").arg(stream()).arg("workers");
    let _: i64 = destroy.query_async(&mut server.raw().await).await.unwrap();
    queue.publish(RAIL, &hints(3..=3)).await.unwrap();
    assert_eq!(queue.claim_forgotten(RAIL, "two", Duration::ZERO, 10).await.unwrap(), [], "no group is no error");
    assert_eq!(batches(&reader.read(10).await.unwrap()), [2, 3], "also what was given to somebody before");
}

#[tokio::test]
async fn after_a_failover_no_connection_stays_with_the_demoted_server() {
    let (old, new) = (RedisServer::start(), RedisServer::start());
    let proxy = Proxy::to(&old.url()).await;
    let queue = Queue::connect(&proxy.url, PREFIX).await.unwrap();
    let mut reader = queue.reader(&[RAIL], "one");
    queue.publish(RAIL, &hints(1..=1)).await.unwrap();
    assert_eq!(batches(&reader.read(10).await.unwrap()), [1]);

    // While a read waits: the old one becomes the new one's replica, and the address leads to the new one. The pool's
    // connection stays open.
    let waiting = tokio::spawn(async move { (reader.read(10).await, reader) });
    old.wait_for_reader().await;
    proxy.lead_to(&new.url());
    let (host, port) = ("127.0.0.1", new.port());
    let _: () = redis::cmd("REPLICAOF").arg(host).arg(port).query_async(&mut old.raw().await).await.unwrap();
    let (_, mut reader) = waiting.await.unwrap();

    // Whichever of the two met the demoted server first, each meets it once at most.
    if let Err(error) = queue.publish(RAIL, &hints(2..=2)).await {
        assert!(matches!(&error, QueueError::Command { source, .. } if source.code() == Some("READONLY")), "{error:?}");
        queue.publish(RAIL, &hints(2..=2)).await.unwrap();
    }
    let mut given = reader.read(10).await;
    if given.is_err() {
        given = reader.read(10).await;
    }
    assert_eq!(batches(&given.unwrap()), [2]);
    assert_eq!(
        new.queue().await.outstanding(RAIL, 10).await.unwrap().batches.len(),
        1,
        "it is the new one that is used"
    );
}

#[tokio::test]
async fn a_connection_to_a_demoted_server_is_used_once_and_never_again() {
    let (old, new) = (RedisServer::start(), RedisServer::start());
    let proxy = Proxy::to(&old.url()).await;
    let queue = Queue::connect(&proxy.url, PREFIX).await.unwrap();
    queue.publish(RAIL, &hints(1..=1)).await.unwrap();
    let _: () =
        redis::cmd("REPLICAOF").arg("127.0.0.1").arg(new.port()).query_async(&mut old.raw().await).await.unwrap();
    proxy.lead_to(&new.url());
    queue.ping().await.unwrap(); // which a replica answers, so that nothing seems wrong
    let error = queue.publish(RAIL, &hints(2..=2)).await.unwrap_err();
    assert!(matches!(&error, QueueError::Command { source, .. } if source.code() == Some("READONLY")), "{error:?}");
    queue.publish(RAIL, &hints(2..=2)).await.unwrap();
    assert_eq!(new.queue().await.outstanding(RAIL, 10).await.unwrap().batches.len(), 1);
}
