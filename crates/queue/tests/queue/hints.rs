//! Hints from publishing to acknowledgement, and all that may happen to them in between.

use std::time::Duration;

use deadpool_redis::redis;
use payfleet_domain::BatchId;
use payfleet_queue::{HintError, Outstanding};

use crate::server::RedisServer;
use crate::{RAIL, batches, entries, hints, length, pending, set, stream};

const HOUR: Duration = Duration::from_secs(60 * 60);

#[tokio::test]
async fn a_hint_is_outstanding_until_it_is_acknowledged() {
    let server = RedisServer::start();
    let queue = server.queue().await;
    let mut reader = queue.reader(&[RAIL, "null"], "one");
    queue.publish(RAIL, &hints(1..=3)).await.unwrap();
    queue.publish("null", &hints(9..=9)).await.unwrap();

    assert_eq!(queue.outstanding(RAIL, 100).await.unwrap(), Outstanding { batches: set(1..=3), waiting: 3 });
    let mut given = reader.read(10).await.unwrap();
    given.sort_by_key(|delivery| delivery.rail != RAIL);
    assert_eq!(batches(&given), [1, 2, 3, 9]);
    let null = given.pop().unwrap();
    assert_eq!((null.rail.as_str(), given[0].rail.as_str()), ("null", RAIL));
    let read = Outstanding { batches: set(1..=3), waiting: 0 };
    assert_eq!(queue.outstanding(RAIL, 100).await.unwrap(), read, "read is not done, but in hand");

    queue.acknowledge(RAIL, &entries(&given[..2])).await.unwrap();
    assert_eq!(queue.outstanding(RAIL, 100).await.unwrap(), Outstanding { batches: set(3..=3), waiting: 0 });
    let mut raw = server.raw().await;
    assert_eq!((pending(&mut raw).await, length(&mut raw).await), (1, 1));
    for _ in 0..2 {
        queue.acknowledge(RAIL, &entries(&given)).await.unwrap(); // again, and then a third time: harmless
    }
    queue.acknowledge(RAIL, &[]).await.unwrap();
    assert_eq!((pending(&mut raw).await, length(&mut raw).await), (0, 0));
    assert_eq!(queue.outstanding("never-used", 100).await.unwrap(), Outstanding::default());
}

#[tokio::test]
async fn many_hints_are_published_and_listed_in_pages() {
    let server = RedisServer::start();
    let queue = server.queue().await;
    queue.publish(RAIL, &[]).await.unwrap();
    queue.publish(RAIL, &hints(1..=2500)).await.unwrap();
    for (max, found) in [(0, 0), (1, 1), (1000, 1000), (1500, 1500), (2500, 2500), (9999, 2500)] {
        let outstanding = queue.outstanding(RAIL, max).await.unwrap();
        assert_eq!((outstanding.waiting, outstanding.batches.len()), (2500, found));
    }
    let given = queue.reader(&[RAIL], "one").read(2500).await.unwrap();
    assert_eq!(batches(&given), (1..=2500).collect::<Vec<_>>(), "in the order of their publishing");
    queue.acknowledge(RAIL, &entries(&given)).await.unwrap();
    assert_eq!(length(&mut server.raw().await).await, 0);
}

#[tokio::test]
async fn one_hint_goes_to_one_reader() {
    let server = RedisServer::start();
    let queue = server.queue().await;
    queue.publish(RAIL, &hints(1..=4)).await.unwrap();
    let (mut one, mut two) = (queue.reader(&[RAIL], "one"), queue.reader(&[RAIL], "two"));
    assert_eq!(batches(&one.read(3).await.unwrap()), [1, 2, 3]);
    assert_eq!(batches(&two.read(3).await.unwrap()), [4]);
}

#[tokio::test]
async fn what_cannot_be_read_is_set_aside() {
    let server = RedisServer::start();
    let queue = server.queue().await;
    let mut raw = server.raw().await;
    for (field, bytes) in [("h", &[9_u8, 0x91, 1][..]), ("h", b""), ("x", b"1")] {
        let mut command = redis::cmd("XADD");
        let _: String = command.arg(stream()).arg("*").arg(field).arg(bytes).query_async(&mut raw).await.unwrap();
    }
    queue.publish(RAIL, &hints(5..=5)).await.unwrap();
    let outstanding = queue.outstanding(RAIL, 100).await.unwrap();
    assert_eq!((outstanding.batches, outstanding.waiting), (set(5..=5), 4));

    let mut given = queue.reader(&[RAIL], "one").read(10).await.unwrap();
    let good = given.pop().unwrap();
    assert_eq!(good.hint.unwrap().batch, BatchId(5));
    let errors: Vec<_> = given.iter().map(|delivery| delivery.hint.clone().unwrap_err()).collect();
    assert_eq!(errors, [HintError::UnknownVersion(9), HintError::Unreadable, HintError::Unreadable]);
    queue.acknowledge(RAIL, &[good.entry]).await.unwrap();

    let claimed = queue.claim_forgotten(RAIL, "two", Duration::ZERO, 10).await.unwrap();
    assert_eq!(claimed, given, "found again, errors and all");
    assert_eq!((pending(&mut raw).await, length(&mut raw).await), (3, 3));

    // Set aside they are in nobody's way, and can be looked at.
    for delivery in &given {
        assert!(queue.set_aside(RAIL, &delivery.entry).await.unwrap());
        assert!(!queue.set_aside(RAIL, &delivery.entry).await.unwrap(), "once");
    }
    assert_eq!((pending(&mut raw).await, length(&mut raw).await), (0, 0));
    let mut aside = redis::cmd("XRANGE");
    let aside: Vec<(String, Vec<Vec<u8>>)> = aside
        .arg(format!("{}:unreadable:{RAIL}", crate::server::PREFIX))
        .arg("-")
        .arg("+")
        .query_async(&mut raw)
        .await
        .unwrap();
    let kept: Vec<&[u8]> = aside.iter().map(|(_, fields)| fields[3].as_slice()).collect();
    assert_eq!(kept, [&[9_u8, 0x91, 1][..], b"", b"1"]);
    assert_eq!(aside[0].1[1], given[0].entry.to_string().into_bytes(), "by the number that it had");
}

#[tokio::test]
async fn old_hints_and_those_of_the_future_hide_no_batch() {
    let server = RedisServer::start();
    let queue = server.queue().await;
    let mut raw = server.raw().await;
    let (secs, _): (i64, i64) = redis::cmd("TIME").query_async(&mut raw).await.unwrap();
    for (batch, at) in [(1, secs - 3_600), (2, secs - 61), (3, secs - 50), (4, secs + 3_600)] {
        let mut command = redis::cmd("XADD");
        command.arg(stream()).arg(format!("{at}000-0")).arg("h").arg(hints(batch..=batch)[0].encode());
        let _: String = command.query_async(&mut raw).await.unwrap();
    }
    let outstanding = queue.outstanding(RAIL, 100).await.unwrap();
    assert_eq!((outstanding.batches, outstanding.waiting), (set(3..=3), 4));
}

#[tokio::test]
async fn the_hints_of_the_dead_are_found() {
    let server = RedisServer::start();
    let queue = server.queue().await;
    assert_eq!(queue.claim_forgotten(RAIL, "two", Duration::ZERO, 10).await.unwrap(), [], "no stream yet");
    queue.publish(RAIL, &hints(1..=25)).await.unwrap();
    let given = queue.reader(&[RAIL], "dead").read(25).await.unwrap();

    assert_eq!(queue.claim_forgotten(RAIL, "two", HOUR, 100).await.unwrap(), [], "not forgotten yet");
    // One was deleted by somebody without being acknowledged: there is nothing left to claim of it.
    let mut raw = server.raw().await;
    let _: i64 = redis::cmd("XDEL").arg(stream()).arg(given[0].entry.to_string()).query_async(&mut raw).await.unwrap();
    let claimed = queue.claim_forgotten(RAIL, "two", Duration::ZERO, 100).await.unwrap();
    assert_eq!(batches(&claimed), (2..=25).collect::<Vec<_>>());
    queue.acknowledge(RAIL, &entries(&claimed)).await.unwrap();
    assert_eq!((pending(&mut raw).await, length(&mut raw).await), (0, 0));
}

#[tokio::test]
async fn a_forgotten_hint_is_found_behind_many_that_are_not() {
    let server = RedisServer::start();
    let queue = server.queue().await;
    queue.publish(RAIL, &hints(1..=300)).await.unwrap();
    let given = queue.reader(&[RAIL], "alive").read(300).await.unwrap();
    let mut age = redis::cmd("XCLAIM");
    age.arg(stream()).arg("workers").arg("alive").arg(0).arg(given[299].entry.to_string()).arg("IDLE").arg(7_200_000);
    let _: redis::Value = age.query_async(&mut server.raw().await).await.unwrap();
    // One call with a count of one looks at ten entries.
    let claimed = queue.claim_forgotten(RAIL, "two", HOUR, 1).await.unwrap();
    assert_eq!(batches(&claimed), [300]);
}

#[tokio::test]
async fn a_consumer_with_hints_is_not_retired() {
    let server = RedisServer::start();
    let queue = server.queue().await;
    let rails = [RAIL, "null", "never-used"];
    assert_eq!(queue.retire(&rails, "one").await.unwrap(), [""; 0], "nothing to do");
    let mut reader = queue.reader(&[RAIL, "null"], "one");
    queue.publish(RAIL, &hints(1..=1)).await.unwrap();
    let given = reader.read(1).await.unwrap();

    assert_eq!(queue.retire(&rails, "one").await.unwrap(), [RAIL]);
    assert_eq!(pending(&mut server.raw().await).await, 1, "its hint was not destroyed");
    queue.acknowledge(RAIL, &entries(&given)).await.unwrap();
    assert_eq!(queue.retire(&rails, "one").await.unwrap(), [""; 0]);
    let mut command = redis::cmd("XINFO");
    command.arg("CONSUMERS").arg(stream()).arg("workers");
    let consumers: Vec<redis::Value> = command.query_async(&mut server.raw().await).await.unwrap();
    assert_eq!(consumers, []);
}
