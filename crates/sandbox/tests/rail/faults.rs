//! Faults: what the caller sees, and what was really done.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::rail::{DEADLINE, Rail, column, instruction};

/// Everything the server says on one connection, until it closes it.
async fn raw_payout(rail: &Rail, key: &str) -> Vec<u8> {
    let mut stream = send_raw(rail, key).await;
    let mut said = Vec::new();
    tokio::time::timeout(DEADLINE, stream.read_to_end(&mut said)).await.unwrap().unwrap();
    said
}

async fn send_raw(rail: &Rail, key: &str) -> TcpStream {
    let mut stream = TcpStream::connect(&rail.address).await.unwrap();
    let body = instruction(key).to_string();
    let request = format!(
        "POST /payout/payouts HTTP/1.1\r\nHost: x\r\nIdempotency-Key: {key}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

async fn wait_for_payments(rail: &Rail, count: u64) {
    let deadline = Instant::now() + DEADLINE;
    while rail.stats().await["paid"] != count {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_lost_answer_is_a_closed_connection_and_a_payment() {
    let rail = Rail::start(&["--faults", r#"{"lose_answer":1}"#]);
    assert_eq!(raw_payout(&rail, "k").await, b"");
    assert_eq!(column(&rail.journal().await, "key"), ["k"]);
    assert!(rail.payout("k", &instruction("k")).send().await.is_err());
    rail.set_faults(json!({"lose_answer": 0})).await;
    assert!(rail.pay("k").await.replay);
    assert_eq!(rail.journal().await.len(), 1);
    assert_eq!(rail.stats().await["faults"], json!({"lose_answer": 2}));
}

#[tokio::test]
async fn a_lost_request_is_a_closed_connection_and_nothing_else() {
    let rail = Rail::start(&["--faults", r#"{"lose_request":1}"#]);
    assert_eq!(raw_payout(&rail, "k").await, b"");
    assert_eq!(rail.journal().await.len(), 0);
}

#[tokio::test]
async fn errors_before_paying_pay_nothing_and_errors_after_do() {
    let rail = Rail::start(&[]);
    for (faults, status, paid) in [
        (json!({"rate_limit": 1}), 429, 0),
        (json!({"rate_limit": null, "error_before": 1}), 500, 0),
        (json!({"error_before": null, "error_after": 1}), 500, 1),
    ] {
        rail.set_faults(faults).await;
        let answer = rail.pay("k").await;
        assert_eq!(answer.status, status);
        assert_eq!(rail.journal().await.len(), paid);
    }
    rail.set_faults(json!({"error_after": 0, "garble": 1})).await;
    let garbled = rail.payout("g", &instruction("g")).send().await.unwrap();
    assert_eq!(garbled.status(), 200);
    assert!(garbled.json::<Value>().await.is_err());
    assert_eq!(rail.journal().await.len(), 2);
    assert_eq!(rail.get("/faults").await.body["garble"], 1.0);
    let cleared = rail.send(rail.request(Method::DELETE, "/faults")).await;
    assert_eq!(cleared.body["garble"], 0.0);
    assert_eq!(rail.pay("g").await.status, 200);
}

#[tokio::test]
async fn a_hanging_call_pays_and_says_nothing() {
    let rail = Rail::start(&["--faults", r#"{"hang":1}"#]);
    let mut stream = send_raw(&rail, "k").await;
    wait_for_payments(&rail, 1).await;
    assert!(tokio::time::timeout(Duration::from_millis(50), stream.read_u8()).await.is_err());
}

#[tokio::test]
async fn a_delayed_request_is_executed_although_its_caller_has_gone() {
    let rail = Rail::start(&["--faults", r#"{"latency_ms":500}"#]);
    let impatient = tokio::spawn(rail.payout("k", &instruction("k")).send());
    let deadline = Instant::now() + DEADLINE;
    while rail.stats().await["requests"] != 1 {
        assert!(Instant::now() < deadline);
    }
    impatient.abort();
    wait_for_payments(&rail, 1).await;
}

#[tokio::test]
async fn payments_come_back_by_themselves_also_after_a_crash() {
    let rail = Rail::start(&["--faults", r#"{"return_rate":1,"return_after_ms":300}"#]);
    let paid = rail.pay("k").await;
    let rail = rail.restart(&[]);
    let statement = rail.statement_of("payout", 2).await;
    assert_eq!(column(&statement, "status"), ["paid", "returned"]);
    assert_eq!((&statement[0]["reference"], &statement[1]["of"]), (&paid.body["id"], &paid.body["id"]));
    let rail = rail.restart(&[]);
    assert_eq!(rail.stats().await["returned"], 1);
    assert_eq!(rail.stats().await["faults"], json!({}));
}

#[tokio::test]
async fn the_rate_limit_is_per_account_and_executes_nothing() {
    let rail = Rail::start(&["--rate-limit", "1"]);
    assert_eq!(rail.pay("k1").await.status, 200);
    let limited = rail.pay("k2").await;
    assert_eq!((limited.status.as_u16(), limited.code()), (429, "rate_limited"));
    let other = rail.payout("k2", &instruction("k2")).header("x-account", "acme");
    assert_eq!(rail.send(other).await.status, 200);
    assert_eq!(rail.journal().await.len(), 2);
}

#[tokio::test]
async fn a_wrong_configuration_is_refused_and_changes_nothing() {
    let rail = Rail::start(&[]);
    for faults in [json!({"lose_anwser": 1}), json!({"hang": 2}), json!({"lie": {"amuont": 1}}), json!(1)] {
        let answer = rail.send(rail.request(Method::PUT, "/faults").json(&faults)).await;
        assert_eq!((answer.status.as_u16(), answer.code()), (400, "invalid_request"));
    }
    assert_eq!(rail.pay("k").await.status, 200);
}
