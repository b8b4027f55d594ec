//! A caller that keeps its vendor's rules pays each payee once, whatever goes wrong on the way; and one that does not
//! is seen to pay twice.

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use crate::rail::Rail;
use crate::vendors::batch;
use crate::wise::{fund_request, prepare, status};

/// All that a call can meet, often.
fn storm(seed: u64) -> Value {
    json!({
        "lose_answer": 0.15, "lose_request": 0.15, "error_before": 0.1, "error_after": 0.1, "garble": 0.1,
        "rate_limit": 0.1, "execute_late": 0.1, "execute_late_ms": 20, "seed": seed,
    })
}

/// The status and the body, if there is a whole one.
async fn answer(request: RequestBuilder) -> Option<(u16, Value)> {
    let response = request.send().await.ok()?;
    let status = response.status().as_u16();
    Some((status, serde_json::from_str(&response.text().await.ok()?).ok()?))
}

#[tokio::test]
async fn the_same_stripe_key_until_there_is_an_answer() {
    let rail = Rail::start(&[]);
    rail.set_faults(storm(1)).await;
    for number in 0..60 {
        let key = format!("k{number}");
        loop {
            if let Some((200, body)) = answer(rail.transfer_request(&key, "1000")).await {
                assert_eq!(body["transfer_group"], key.as_str());
                break;
            }
        }
    }
    rail.do_post("/faults/hurry", json!({})).await;
    assert_eq!(rail.counts("stripe").await, [60, 60, 0]);
    let rail = rail.restart(&[]);
    assert_eq!(rail.counts("stripe").await, [60, 60, 0]);
}

#[tokio::test]
async fn the_same_batch_id_until_it_is_taken_or_known() {
    let rail = Rail::start(&["--batch-settle-after", "0s"]);
    let token = rail.paypal_token().await;
    rail.set_faults(storm(2)).await;
    for number in 0..40 {
        let keys = [format!("k{number}a"), format!("k{number}b")];
        let body = batch(&format!("b{number}"), &[&keys[0], &keys[1]]);
        loop {
            let request = rail.request(Method::POST, "/paypal/v1/payments/payouts").bearer_auth(&token).json(&body);
            let id = match answer(request).await {
                Some((201, body)) => body["batch_header"]["payout_batch_id"].clone(),
                Some((400, body)) => {
                    assert_eq!(body["details"][0]["field"], "SENDER_BATCH_ID", "{body}");
                    let href = body["details"][0]["link"][0]["href"].as_str().unwrap().to_owned();
                    href.rsplit('/').next().unwrap().into()
                }
                _ => continue,
            };
            assert!(id.is_string());
            break;
        }
    }
    rail.do_post("/faults/hurry", json!({})).await;
    assert_eq!(rail.counts("paypal").await, [80, 80, 0]);
}

#[tokio::test]
async fn a_transfer_is_looked_at_before_it_is_funded_again() {
    let rail = Rail::start(&["--batch-settle-after", "0s"]);
    for number in 0..30 {
        let id = prepare(&rail, &format!("k{number}")).await;
        rail.set_faults(storm(100 + number)).await;
        while !matches!(answer(fund_request(&rail, id)).await, Some((200, _))) {}
        rail.send(rail.request(Method::DELETE, "/faults")).await;
        rail.do_post("/faults/hurry", json!({})).await;
        assert_eq!(status(&rail, id).await, "outgoing_payment_sent");
    }
    assert_eq!(rail.counts("wise").await, [30, 30, 0]);
}

#[tokio::test]
async fn a_new_key_after_a_lost_answer_is_seen_to_pay_twice() {
    let rail = Rail::start(&["--batch-settle-after", "0s"]);
    rail.set_faults(json!({"lose_answer": 1, "max": 1})).await;
    assert!(rail.transfer_request("k", "1000").send().await.is_err());
    let parts = [("amount", "1000"), ("currency", "usd"), ("destination", "acct_1"), ("transfer_group", "k")];
    assert!(crate::vendors::told(rail.stripe_post("/v1/transfers", "retry", &parts)).await.is(200));
    assert_eq!(rail.counts("stripe").await, [2, 1, 1]);
    rail.payouts(&batch("b1", &["k"])).await;
    rail.payouts(&batch("b1-retry", &["k"])).await;
    assert_eq!(rail.counts("paypal").await, [2, 1, 1]);
    assert_eq!(rail.stats().await["paid_twice"], 2);
}
