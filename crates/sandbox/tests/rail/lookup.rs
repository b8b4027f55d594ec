//! Shape `lookup`: pays each time, and tells what it paid.

use serde_json::{Value, json};

use crate::rail::{Rail, instruction};

fn transfer(key: &str, expires_at: &str) -> Value {
    let mut body = instruction(key);
    body["expires_at"] = json!(expires_at);
    body
}

const NEVER: &str = "2999-01-01T00:00:00Z";

#[tokio::test]
async fn a_repeated_request_pays_again_and_the_lookup_counts() {
    let rail = Rail::start(&[]);
    assert_eq!(rail.get("/lookup/transfers/k").await.code(), "not_found");
    let first = rail.post("/lookup/transfers", &transfer("k", NEVER)).await;
    assert_eq!(first.status, 200);
    let second = rail.post("/lookup/transfers", &transfer("k", NEVER)).await;
    assert_ne!(first.body["id"], second.body["id"]);
    let rail = rail.restart(&[]);
    let found = rail.get("/lookup/transfers/k").await;
    assert_eq!(found.body["id"], first.body["id"]);
    assert_eq!((&found.body["count"], &found.body["status"]), (&json!(2), &json!("paid")));
}

#[tokio::test]
async fn what_arrives_after_its_expiry_is_not_executed() {
    let rail = Rail::start(&[]);
    let late = rail.post("/lookup/transfers", &transfer("k", "2011-11-30T00:00:00Z")).await;
    assert_eq!((late.status.as_u16(), late.code()), (409, "expired"));
    assert_eq!(rail.post("/lookup/transfers", &instruction("k")).await.status, 400);
    assert_eq!(rail.get("/lookup/transfers/k").await.status, 404);
    assert_eq!(rail.journal().await.len(), 0);
}

#[tokio::test]
async fn a_request_that_is_delayed_beyond_its_expiry_is_not_executed() {
    let rail = Rail::start(&["--faults", r#"{"latency_ms":300}"#]);
    let soon = std::time::SystemTime::now() + std::time::Duration::from_millis(100);
    let soon = time::OffsetDateTime::from(soon).format(&time::format_description::well_known::Rfc3339).unwrap();
    let answer = rail.post("/lookup/transfers", &transfer("k", &soon)).await;
    assert_eq!((answer.status.as_u16(), answer.code()), (409, "expired"));
    assert_eq!(rail.journal().await.len(), 0);
}

#[tokio::test]
async fn a_refusal_is_not_pinned() {
    let rail = Rail::start(&["--faults", r#"{"refuse":{"insufficient_funds":1},"max":1}"#]);
    let refused = rail.post("/lookup/transfers", &transfer("k", NEVER)).await;
    assert_eq!((refused.status.as_u16(), refused.code()), (402, "insufficient_funds"));
    let found = rail.get("/lookup/transfers/k").await;
    assert_eq!((found.status.as_u16(), found.body["status"].as_str()), (200, Some("refused")));
    assert_eq!(found.body["code"], "insufficient_funds");
    assert_eq!(rail.post("/lookup/transfers", &transfer("k", NEVER)).await.status, 200);
    assert_eq!(rail.get("/lookup/transfers/k").await.body["status"], "paid");
}
