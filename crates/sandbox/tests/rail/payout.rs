//! Shape `payout`: what its idempotency keys promise.

use std::collections::HashSet;
use std::sync::Arc;

use reqwest::Method;
use serde_json::json;

use crate::rail::{Rail, column, instruction};

#[tokio::test]
async fn a_repeated_request_gets_the_first_answer_and_pays_once() {
    let rail = Rail::start(&[]);
    let first = rail.pay("k").await;
    assert_eq!((first.status.as_u16(), first.replay), (200, false));
    assert!(first.body["id"].as_str().unwrap().starts_with("po_"));
    assert_eq!(first.body["status"], "paid");
    let again = rail.pay("k").await;
    assert_eq!((again.status.as_u16(), again.replay), (200, true));
    assert_eq!(again.body, first.body);
    let journal = rail.journal().await;
    assert_eq!(column(&journal, "id"), [first.body["id"].as_str().unwrap()]);
}

#[tokio::test]
async fn simultaneous_requests_with_one_key_pay_once() {
    let rail = Arc::new(Rail::start(&[]));
    for round in 0..20 {
        let key = format!("k{round}");
        let calls: Vec<_> = (0..16)
            .map(|_| {
                let (rail, key) = (Arc::clone(&rail), key.clone());
                tokio::spawn(async move { rail.pay(&key).await })
            })
            .collect();
        let mut ids = HashSet::new();
        let mut first = 0;
        for call in calls {
            let answer = call.await.unwrap();
            assert_eq!(answer.status, 200);
            first += usize::from(!answer.replay);
            ids.insert(answer.body["id"].as_str().unwrap().to_owned());
        }
        assert_eq!((ids.len(), first), (1, 1));
    }
    let stats = rail.stats().await;
    assert_eq!((&stats["paid"], &stats["paid_twice"]), (&json!(20), &json!(0)));
}

#[tokio::test]
async fn a_key_with_another_body_is_refused_and_the_field_named() {
    let rail = Rail::start(&[]);
    rail.pay("k").await;
    for (field, value) in [
        ("amount_minor", json!(1235)),
        ("currency", json!("USD")),
        ("destination", json!("thief@example.org")),
        ("key", json!("other")),
    ] {
        let mut body = instruction("k");
        body[field] = value;
        let answer = rail.send(rail.payout("k", &body)).await;
        assert_eq!((answer.status.as_u16(), answer.code()), (409, "key_reused"));
        assert!(answer.body["error"]["message"].as_str().unwrap().contains(field));
    }
    assert_eq!(rail.journal().await.len(), 1);
}

#[tokio::test]
async fn a_pruned_key_pays_again() {
    let rail = Rail::start(&[]);
    let first = rail.pay("k").await;
    assert_eq!(rail.post("/faults/prune-keys", &json!({})).await.status, 200);
    // A restart does not bring the keys back.
    let rail = rail.restart(&[]);
    let second = rail.pay("k").await;
    assert!(!second.replay);
    assert_ne!(first.body["id"], second.body["id"]);
    let third = rail.pay("k").await;
    assert!(third.replay);
    assert_eq!(second.body, third.body);
    let stats = rail.stats().await;
    assert_eq!([&stats["paid"], &stats["distinct"], &stats["paid_twice"]], [2, 1, 1]);
}

#[tokio::test]
async fn a_key_is_forgotten_after_its_horizon() {
    let rail = Rail::start(&["--key-horizon", "1ms"]);
    rail.pay("k").await;
    let deadline = std::time::Instant::now() + crate::rail::DEADLINE;
    while rail.pay("k").await.replay {
        assert!(std::time::Instant::now() < deadline);
    }
    assert_eq!(rail.stats().await["paid_twice"], 1);
}

#[tokio::test]
async fn a_refusal_is_pinned_to_its_key() {
    let rail = Rail::start(&["--faults", r#"{"refuse":{"account_closed":1}}"#]);
    let first = rail.pay("k").await;
    assert_eq!((first.status.as_u16(), first.code()), (402, "account_closed"));
    let rail = rail.restart(&[]);
    let again = rail.pay("k").await;
    assert_eq!((again.status.as_u16(), again.code(), again.replay), (402, "account_closed", true));
    assert_eq!(column(&rail.journal().await, "event"), ["refused"]);
    assert_eq!(rail.statement("payout").await.len(), 0);

    // Paying under another idempotency key does not unpin it.
    let other = rail.send(rail.payout("other", &instruction("k"))).await;
    assert_eq!(other.status, 200);
    assert_eq!(rail.pay("k").await.code(), "account_closed");
}

#[tokio::test]
async fn a_new_idempotency_key_for_the_same_payment_pays_twice() {
    let rail = Rail::start(&[]);
    rail.pay("k").await;
    let second = rail.send(rail.payout("retry-1", &instruction("k"))).await;
    assert_eq!((second.status.as_u16(), second.replay), (200, false));
    assert_eq!(rail.stats().await["paid_twice"], 1);
    let rail = rail.restart(&[]);
    let again = rail.send(rail.payout("retry-1", &instruction("k"))).await;
    assert!(again.replay);
    assert_eq!(again.body, second.body);
    assert_eq!(rail.stats().await["paid_twice"], 1);
}

#[tokio::test]
async fn late_and_malformed_requests_are_not_executed() {
    let rail = Rail::start(&[]);
    let mut late = instruction("k");
    late["expires_at"] = json!("2011-11-30T00:00:00Z");
    let answer = rail.send(rail.payout("k", &late)).await;
    assert_eq!((answer.status.as_u16(), answer.code()), (409, "expired"));
    let mut empty = instruction("k");
    empty["destination"] = json!("");
    let answer = rail.send(rail.payout("k", &empty)).await;
    assert_eq!((answer.status.as_u16(), answer.code()), (400, "invalid_item"));
    let without_key = rail.request(Method::POST, "/payout/payouts").json(&instruction("k"));
    assert_eq!(rail.send(without_key).await.code(), "invalid_request");
    assert_eq!(rail.journal().await.len(), 0);

    // A key that paid is never told that it came too late.
    rail.pay("k").await;
    let answer = rail.send(rail.payout("k", &late)).await;
    assert_eq!((answer.status.as_u16(), answer.replay), (200, true));
}

#[tokio::test]
async fn accounts_see_nothing_of_each_other() {
    let rail = Rail::start(&[]);
    rail.pay("k").await;
    let other = rail.send(rail.payout("k", &instruction("k")).header("x-account", "acme")).await;
    assert!(!other.replay);
    assert_eq!(rail.statement("payout").await.len(), 1);
    let stats = rail.stats().await;
    assert_eq!([&stats["distinct"], &stats["paid_twice"]], [2, 0]);
    assert_eq!(rail.lines("/journal?account=acme").await.len(), 1);
    assert_eq!(rail.lines("/journal?from_line=2").await.len(), 1);
    assert_eq!(rail.lines("/journal?shape=file").await.len(), 0);
}
