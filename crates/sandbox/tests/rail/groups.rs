//! Shapes `batch` and `file`: many payments that are taken together or not at all.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::rail::{Answer, DEADLINE, Rail, column, instruction};

fn batch(id: &str, keys: &[&str]) -> Value {
    let items: Vec<_> = keys.iter().map(|key| instruction(key)).collect();
    json!({"sender_batch_id": id, "currency": "EUR", "items": items})
}

fn file(keys: &[&str]) -> Value {
    let items: Vec<_> = keys.iter().map(|key| instruction(key)).collect();
    json!({"file_id": "f", "currency": "EUR", "items": items})
}

async fn completed(rail: &Rail, id: &str) -> Answer {
    let deadline = Instant::now() + DEADLINE;
    loop {
        let answer = rail.get(&format!("/batch/batches/{id}")).await;
        if answer.body["status"] == "completed" {
            return answer;
        }
        assert_eq!(answer.body["items"][0]["status"], "pending");
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_batch_settles_after_a_while_and_is_known_by_its_id() {
    let rail = Rail::start(&["--batch-settle-after", "300ms"]);
    let body = batch("b1", &["k1", "k2"]);
    let first = rail.post("/batch/batches", &body).await;
    assert_eq!((first.status.as_u16(), first.body["status"].as_str()), (201, Some("pending")));
    let again = rail.post("/batch/batches", &body).await;
    assert_eq!((again.status.as_u16(), again.replay), (200, true));
    assert_eq!(again.body["batch_id"], first.body["batch_id"]);

    let found = completed(&rail, "b1").await;
    assert_eq!(found.body["batch_id"], first.body["batch_id"]);
    let items = found.body["items"].as_array().unwrap();
    assert_eq!(column(items, "key"), ["k1", "k2"]);
    assert_eq!(column(items, "status"), ["paid", "paid"]);
    let statement = rail.statement_of("batch", 2).await;
    assert_eq!(column(&statement, "reference"), column(items, "id"));

    for other in [batch("b1", &["k1"]), batch("b1", &["k1", "k2", "k3"]), batch("b1", &["k2", "k1"])] {
        let answer = rail.post("/batch/batches", &other).await;
        assert_eq!((answer.status.as_u16(), answer.code()), (409, "key_reused"));
    }
    assert_eq!(rail.get("/batch/batches/unknown").await.code(), "not_found");

    let rail = rail.restart(&[]);
    assert!(rail.post("/batch/batches", &body).await.replay);
    assert_eq!(completed(&rail, "b1").await.body, found.body);
    assert_eq!(rail.journal().await.len(), 2);
    assert_eq!(rail.journal().await[0]["batch"], "b1");
}

#[tokio::test]
async fn one_malformed_item_refuses_the_whole() {
    let rail = Rail::start(&[]);
    for (field, value) in [
        ("destination", json!("")),
        ("destination", json!("a\u{7}b")),
        ("amount_minor", json!(0)),
        ("amount_minor", json!(-5)),
        ("currency", json!("USD")),
    ] {
        for (path, mut body) in [("/batch/batches", batch("b", &["k1", "k2"])), ("/file/files", file(&["k1", "k2"]))] {
            body["items"][1][field] = value.clone();
            let answer = rail.post(path, &body).await;
            assert_eq!((answer.status.as_u16(), answer.code()), (400, "invalid_item"));
            assert_eq!(answer.body["error"]["key"], "k2");
        }
    }
    assert_eq!(rail.journal().await.len(), 0);
    // Not remembered: the id is still free.
    assert_eq!(rail.post("/batch/batches", &batch("b", &["k1"])).await.status, 201);
}

#[tokio::test]
async fn items_of_a_batch_can_be_refused_and_come_back() {
    let rail = Rail::start(&["--batch-settle-after", "0s"]);
    rail.set_faults(json!({"refuse": {"account_closed": 1}, "max": 1})).await;
    rail.post("/batch/batches", &batch("b", &["k1", "k2"])).await;
    let found = completed(&rail, "b").await;
    assert_eq!(found.body["items"][0]["status"], "refused");
    assert_eq!(found.body["items"][0]["code"], "account_closed");
    assert_eq!(found.body["items"][1]["status"], "paid");

    assert_eq!(rail.post("/faults/return", &json!({"key": "k1"})).await.code(), "not_found");
    assert_eq!(rail.post("/faults/return", &json!({"key": "k2"})).await.status, 200);
    assert_eq!(rail.post("/faults/return", &json!({"key": "k2"})).await.code(), "already_returned");
    assert_eq!(completed(&rail, "b").await.body["items"][1]["status"], "returned");
    let statement = rail.statement("batch").await;
    assert_eq!(column(&statement, "status"), ["paid", "returned"]);
    assert_eq!(statement[0]["reference"], statement[1]["of"]);
}

#[tokio::test]
async fn a_batch_that_was_not_written_whole_never_came() {
    let rail = Rail::start(&["--batch-settle-after", "0s"]);
    rail.pay("before").await;
    rail.post("/batch/batches", &batch("b", &["k1", "k2", "k3"])).await;
    let dir = rail.kill();
    // As if killed while the third line was being written.
    let path = dir.path().join("journal.jsonl");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, &text[..text.len() - 10]).unwrap();
    let rail = Rail::start_in(dir, &["--batch-settle-after", "0s"]);
    assert_eq!(column(&rail.journal().await, "key"), ["before"]);
    assert_eq!(rail.get("/batch/batches/b").await.status, 404);
    assert_eq!(rail.post("/batch/batches", &batch("b", &["k1", "k2", "k3"])).await.status, 201);
    assert_eq!(rail.stats().await["paid_twice"], 0);
    assert_eq!(rail.journal().await.len(), 4);
}

#[tokio::test]
async fn a_file_is_on_the_statement_after_a_while_and_pays_each_time() {
    let rail = Rail::start(&["--statement-after", "1h"]);
    let answer = rail.post("/file/files", &file(&["k1", "k2"])).await;
    assert_eq!((answer.status.as_u16(), answer.body["status"].as_str()), (202, Some("accepted")));
    assert!(answer.body["receipt"].as_str().unwrap().starts_with("fi_"));
    assert_eq!(rail.journal().await.len(), 2);
    assert_eq!(rail.statement("file").await.len(), 0);
    let rail = rail.restart(&["--statement-after", "50ms"]);
    rail.post("/file/files", &file(&["k1"])).await;
    assert_eq!(column(&rail.statement_of("file", 3).await, "key"), ["k1", "k2", "k1"]);
    assert_eq!(rail.stats().await["paid_twice"], 1);
}

#[tokio::test]
async fn what_a_bank_refuses_is_paid_and_then_returned() {
    let rail = Rail::start(&["--statement-after", "0s"]);
    rail.set_faults(json!({"refuse": {"account_closed": 1}, "return_after_ms": 20})).await;
    assert_eq!(rail.post("/file/files", &file(&["k1"])).await.status, 202);
    let statement = rail.statement_of("file", 2).await;
    assert_eq!(column(&statement, "status"), ["paid", "returned"]);
    assert_eq!(rail.journal().await[1]["code"], "account_closed");
}

#[tokio::test]
async fn what_nobody_claims_in_a_batch_is_paid_and_then_returned() {
    let rail = Rail::start(&["--batch-settle-after", "0s"]);
    rail.set_faults(json!({"refuse": {"unclaimed": 1}, "return_after_ms": 3_600_000})).await;
    rail.post("/batch/batches", &batch("b", &["k1"])).await;
    assert_eq!(completed(&rail, "b").await.body["items"][0]["status"], "unclaimed");
    assert_eq!(column(&rail.statement("batch").await, "status"), ["paid"]);
    assert_eq!(rail.post("/faults/return", &json!({"key": "k1"})).await.status, 200);
    assert_eq!(completed(&rail, "b").await.body["items"][0]["status"], "returned");
}
