//! Redis as operators lock it up: a user with no right that is not used, and TLS.

use std::net::TcpListener;
use std::time::Duration;

use deadpool_redis::redis::{self, Value};
use payfleet_tests::{Fleet, FleetOptions};

const LONG: Duration = Duration::from_secs(60);

async fn say(fleet: &Fleet, words: &[&str]) {
    let mut connection = fleet.redis.connection().await.unwrap();
    let (name, arguments) = words.split_first().unwrap();
    let _: Value = redis::cmd(name).arg(arguments).query_async(&mut connection).await.unwrap();
}

/// It pays, is woken by hints, and nothing was forbidden to it.
async fn pays_by_hints(mut fleet: Fleet, url: &str, variables: &[(&str, &str)]) {
    let workers =
        [(); 2].map(|()| fleet.worker_with(variables, &["--redis-url", url, "--rate-limit", "sandbox-payout=1000"]));
    let run = fleet.run("shop", "2026-01").await;
    fleet.settled(run, LONG).await;
    let mut pings = fleet.redis.connection().await.unwrap();
    let groups: Vec<Value> =
        redis::cmd("XINFO").arg("GROUPS").arg("payfleet:hints:sandbox-payout").query_async(&mut pings).await.unwrap();
    assert_eq!(groups.len(), 1, "hints were read");
    for mut worker in workers {
        worker.signal(rustix::process::Signal::TERM);
        let ended = worker.process.ends_within(Duration::from_secs(30)).await;
        assert!(ended.is_some_and(|status| status.success()), "{ended:?}");
        let log = worker.log();
        assert!(!log.contains("NOPERM"), "{log}");
        // A machine that is busy is slow to answer, which is said, and says nothing about rights or certificates.
        let mut bad = log.lines().filter(|line| line.contains("WARN") || line.contains("ERROR"));
        assert_eq!(bad.find(|line| !line.contains("no answer within")), None, "{log}");
    }
    fleet.assert_paid_exactly_once().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_with_the_rights_that_are_listed_is_enough() {
    let fleet = Fleet::with_payouts(FleetOptions { batch_size: 10, ..FleetOptions::default() }, 200).await;
    let listed = include_str!("../../../deploy/redis-acl.conf");
    let user = listed.lines().find_map(|line| line.strip_prefix("user ")).unwrap().replace(">PASSWORD", ">secret");
    let words: Vec<&str> = ["ACL", "SETUSER"].into_iter().chain(user.split(' ')).collect();
    say(&fleet, &words).await;
    let url = format!("redis://payfleet:secret@{}/", fleet.redis.address());
    pays_by_hints(fleet, &url, &[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_behind_tls_of_an_authority_of_its_own() {
    let fleet = Fleet::with_payouts(FleetOptions { batch_size: 10, ..FleetOptions::default() }, 200).await;
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (cert, key) = (fleet.folder().join("redis.crt"), fleet.folder().join("redis.key"));
    std::fs::write(&cert, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    let (cert, key) = (cert.to_str().unwrap(), key.to_str().unwrap());
    let tls = [
        "tls-cert-file",
        cert,
        "tls-key-file",
        key,
        "tls-ca-cert-file",
        cert,
        "tls-auth-clients",
        "no",
        "tls-port",
        &port,
    ];
    say(&fleet, &[&["CONFIG", "SET"][..], &tls].concat()).await;
    let url = format!("rediss://localhost:{port}/");
    pays_by_hints(fleet, &url, &[("SSL_CERT_FILE", cert)]).await;
}
