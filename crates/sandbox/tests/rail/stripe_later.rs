//! The dialect of Stripe: what is told of transfers afterwards, and what happens to them.

use reqwest::Method;
use serde_json::json;

use crate::rail::{Rail, column};
use crate::vendors::{Told, told};

async fn statement(rail: &Rail, query: &str) -> Told {
    let answer = rail.stripe_get(&format!("/v1/balance_transactions?limit=100&expand[]=data.source{query}")).await;
    assert!(answer.is(200), "{}", answer.text);
    answer
}

#[tokio::test]
async fn the_statement_has_transfers_and_reversals_with_their_sources() {
    let rail = Rail::start(&[]);
    let first = rail.transfer("k").await;
    let created = first.body["created"].as_i64().unwrap();
    rail.transfer("l").await;
    rail.do_post("/faults/return", json!({"key": "k", "shape": "stripe"})).await;
    let all = statement(&rail, "").await;
    let data = all.body["data"].as_array().unwrap();
    assert_eq!(column(data, "type"), ["transfer_refund", "transfer", "transfer"]);
    assert_eq!((&data[0]["amount"], &data[2]["amount"], &data[2]["net"]), (&json!(1000), &json!(-1000), &json!(-1000)));
    assert_eq!(
        (&data[2]["source"]["transfer_group"], &data[2]["source"]["amount_reversed"]),
        (&json!("k"), &json!(1000))
    );
    assert_eq!(data[2]["id"], first.body["balance_transaction"]);
    assert_eq!(data[0]["source"]["transfer"], first.body["id"]);
    let one = rail.stripe_get(&format!("/v1/balance_transactions/{}", first.at("/balance_transaction"))).await;
    assert_eq!(one.body["source"], first.body["id"], "not expanded");
    assert_eq!(statement(&rail, &format!("&created[gte]={}", created + 3600)).await.body["data"], json!([]));
    assert_eq!(statement(&rail, &format!("&created[lt]={created}")).await.body["data"], json!([]));
    let window =
        statement(&rail, &format!("&created[gte]={created}&created[lt]={}&type=transfer", created + 3600)).await;
    assert_eq!(window.body["data"].as_array().unwrap().len(), 2);
    rail.set_faults(json!({"statement_lag_ms": {"stripe": 60_000}})).await;
    assert_eq!(statement(&rail, "").await.body["data"], json!([]));
    let pages = rail.stripe_get("/v1/balance_transactions?limit=1").await;
    assert_eq!(pages.body["has_more"], false);
}

#[tokio::test]
async fn lies_are_told_on_the_statement_and_the_journal_is_true() {
    let rail = Rail::start(&[]);
    for (key, kind) in [("a", "amount"), ("b", "omit_statement"), ("c", "duplicate_payment")] {
        rail.transfer(key).await;
        rail.do_post("/faults/plant", json!({"kind": kind, "key": key, "shape": "stripe"})).await;
    }
    rail.do_post("/faults/plant", json!({"kind": "phantom_statement", "shape": "stripe", "account": "acme"})).await;
    let rail = rail.restart(&[]);
    let all = statement(&rail, "").await;
    let data = all.body["data"].as_array().unwrap();
    let groups: Vec<_> = data.iter().map(|line| line["source"]["transfer_group"].as_str().unwrap()).collect();
    assert!(groups[0].starts_with("phantom-"), "{groups:?}");
    assert_eq!(groups[1..], ["c", "c", "a"]);
    assert_ne!(data[3]["amount"], -1000);
    assert_eq!(rail.counts("stripe").await, [4, 3, 1]);
    assert_eq!(rail.stripe_get("/v1/transfers?transfer_group=c").await.body["data"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_payout_is_paid_and_then_fails_and_only_a_pending_one_is_cancelled() {
    fn payout(rail: &Rail, key: &str, amount: &str) -> reqwest::RequestBuilder {
        let parts = [("amount", amount), ("currency", "usd"), ("metadata[payout]", key)];
        rail.stripe_post("/v1/payouts", key, &parts).header("stripe-account", "acct_1")
    }
    let rail = Rail::start(&["--batch-settle-after", "1h"]);
    rail.set_faults(json!({"stripe": {"payout_fail": 1, "payout_fail_after_ms": 3 * 24 * 3_600_000}, "max": 1})).await;
    let made = told(payout(&rail, "k", "1000")).await;
    assert_eq!((made.at("/object"), made.at("/status"), made.at("/metadata/payout")), ("payout", "pending", "k"));
    assert_eq!(told(payout(&rail, "k", "1000")).await.header("idempotent-replayed"), "true");
    let path = format!("/v1/payouts/{}", made.at("/id"));
    let rail = rail.restart(&["--batch-settle-after", "1h"]);
    let at = async |hours: i64| {
        rail.set_faults(json!({"clock_ahead_ms": hours * 3_600_000 + 60_000})).await;
        told(rail.stripe(Method::GET, &path).header("stripe-account", "acct_1")).await
    };
    for (hours, status) in [(0, "pending"), (1, "in_transit"), (2, "paid"), (75, "failed")] {
        assert_eq!(at(hours).await.at("/status"), status);
    }
    assert_eq!(at(75).await.at("/failure_code"), "account_closed");
    assert!(rail.stripe_get(&path).await.is(404), "of the connected account only");
    let second = told(payout(&rail, "l", "500")).await;
    let cancel = |id: &str, key: &str| {
        let path = format!("/v1/payouts/{id}/cancel");
        rail.stripe_post(&path, key, &[]).header("stripe-account", "acct_1")
    };
    assert_eq!(told(cancel(second.at("/id"), "c1")).await.at("/status"), "canceled");
    assert!(told(cancel(made.at("/id"), "c2")).await.is(400));
    let listed = told(rail.stripe(Method::GET, "/v1/payouts?limit=10").header("stripe-account", "acct_1")).await;
    assert_eq!(column(listed.body["data"].as_array().unwrap(), "status"), ["canceled", "failed"]);
    let empty = json!({"shape": "stripe", "account": "acct_1", "currency": "USD", "amount_minor": 99});
    rail.do_post("/faults/balance", empty).await;
    assert_eq!(told(payout(&rail, "m", "100")).await.at("/error/code"), "balance_insufficient");
    assert_eq!(rail.journal().await.len(), 0, "the payer's money went with the transfer");
}

#[tokio::test]
async fn a_killed_process_keeps_every_transfer_it_answered_for() {
    let mut rail = Rail::start(&[]);
    let (sender, mut answers) = tokio::sync::mpsc::unbounded_channel();
    let mut payers = Vec::new();
    for payer in 0..8 {
        let requests: Vec<_> = (0..2_000)
            .map(|number| format!("p{payer}-{number}"))
            .map(|key| (rail.transfer_request(&key, "1000"), key))
            .collect();
        let sender = sender.clone();
        payers.push(tokio::spawn(async move {
            for (request, key) in requests {
                let Ok(response) = request.send().await else { return };
                let Ok(text) = response.text().await else { return };
                sender.send((key, text)).unwrap();
            }
        }));
    }
    drop(sender);
    let mut answered = Vec::new();
    while answered.len() < 300 {
        answered.push(answers.recv().await.unwrap());
    }
    rail.child.kill().unwrap();
    while let Some(answer) = answers.recv().await {
        answered.push(answer);
    }
    for payer in payers {
        payer.await.unwrap();
    }
    let rail = rail.restart(&[]);
    let paid = rail.counts("stripe").await[0];
    assert!(paid >= answered.len() as u64);
    for (key, text) in answered {
        let again = rail.transfer(&key).await;
        assert_eq!((again.text, again.headers.contains_key("idempotent-replayed")), (text, true));
    }
    assert_eq!(rail.counts("stripe").await, [paid, paid, 0]);
}

#[tokio::test]
async fn what_is_planned_for_a_transfer_happens_by_the_rails_clock() {
    let rail = Rail::start(&[]);
    rail.transfer("k").await;
    rail.transfer("l").await;
    let format = time::format_description::well_known::Rfc3339;
    let at = (time::OffsetDateTime::now_utc() + time::Duration::days(7)).format(&format).unwrap();
    let back = json!({"key": "k", "shape": "stripe", "amount_minor": 100, "at": at});
    assert_eq!(rail.do_post("/faults/return", back).await["planned"], true);
    let again = json!({"kind": "duplicate_payment", "key": "l", "shape": "stripe", "at": at});
    assert_eq!(rail.do_post("/faults/plant", again).await["planned"], true);
    let rail = rail.restart(&[]);
    assert_eq!(rail.journal().await.len(), 2, "not yet");
    rail.days_ahead(8).await;
    rail.journal_of(4).await;
    let journal = rail.journal().await;
    let week_later = &journal[2..];
    assert!(week_later.iter().all(|line| line["at"].as_str().unwrap() >= at.as_str()), "{week_later:?}");
    assert_eq!(rail.counts("stripe").await, [3, 2, 1]);
}
