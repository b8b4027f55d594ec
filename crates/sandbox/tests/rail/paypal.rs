//! The dialect of PayPal: what its documentation promises, and each fault. RAILS.md, section 1.

use reqwest::Method;
use serde_json::{Value, json};

use crate::rail::{Rail, column};
use crate::vendors::{Told, batch, told};

pub const AT_ONCE: [&str; 2] = ["--batch-settle-after", "0s"];

pub async fn batch_of(rail: &Rail, id: &str) -> Told {
    let answer = rail.paypal_get(&format!("/v1/payments/payouts/{id}?total_required=true")).await;
    assert!(answer.is(200), "{}", answer.text);
    answer
}

/// The id of a batch that was taken.
pub async fn send(rail: &Rail, id: &str, keys: &[&str]) -> String {
    let answer = rail.payouts(&batch(id, keys)).await;
    assert!(answer.is(201), "{}", answer.text);
    assert_eq!(answer.at("/batch_header/batch_status"), "PENDING");
    answer.at("/batch_header/payout_batch_id").to_owned()
}

pub fn statuses(told: &Told) -> Vec<&str> {
    column(told.body["items"].as_array().unwrap(), "transaction_status")
}

/// Answers of this name, and nothing was created.
#[track_caller]
pub fn is_error(answer: &Told, status: u16, name: &str) {
    assert_eq!((answer.status.as_u16(), answer.at("/name")), (status, name), "{}", answer.text);
    assert!(!answer.at("/debug_id").is_empty() && !answer.at("/message").is_empty());
}

#[tokio::test]
async fn a_batch_is_taken_and_its_items_are_paid_a_while_later() {
    let rail = Rail::start(&["--batch-settle-after", "1h"]);
    let id = send(&rail, "b", &["k1", "k2"]).await;
    let pending = batch_of(&rail, &id).await;
    assert_eq!((pending.at("/batch_header/batch_status"), pending.at("/batch_header/fees/value")), ("PENDING", "0.00"));
    assert_eq!(pending.body["items"][0]["transaction_status"], Value::Null, "no status yet");
    rail.set_faults(json!({"clock_ahead_ms": 1_900_000})).await;
    let begun = batch_of(&rail, &id).await;
    assert_eq!((begun.at("/batch_header/batch_status"), statuses(&begun)), ("PROCESSING", vec!["PENDING", "PENDING"]));
    assert_eq!((begun.at("/batch_header/amount/value"), begun.at("/batch_header/fees/value")), ("20.00", "0.40"));
    assert_eq!(begun.at("/items/0/transaction_id"), "");
    rail.set_faults(json!({"clock_ahead_ms": 3_700_000})).await;
    let done = batch_of(&rail, &id).await;
    assert_eq!((done.at("/batch_header/batch_status"), statuses(&done)), ("SUCCESS", vec!["SUCCESS", "SUCCESS"]));
    assert_eq!((&done.body["total_items"], &done.body["total_pages"]), (&json!(2), &json!(1)));
    let item = &done.body["items"][1];
    assert_eq!(
        (&item["payout_item"]["sender_item_id"], &item["payout_item"]["amount"]["value"]),
        (&json!("k2"), &json!("10.00"))
    );
    let rail = rail.restart(&[]);
    rail.set_faults(json!({"clock_ahead_ms": 3_700_000})).await;
    assert_eq!(batch_of(&rail, &id).await.text, done.text);
    let one = rail.paypal_get(&format!("/v1/payments/payouts-item/{}", item["payout_item_id"].as_str().unwrap())).await;
    assert_eq!(
        (one.at("/transaction_id"), one.at("/sender_batch_id")),
        (item["transaction_id"].as_str().unwrap(), "b")
    );
    let journal = rail.journal().await;
    assert_eq!((column(&journal, "key"), column(&journal, "batch")), (vec!["k1", "k2"], vec!["b", "b"]));
    assert_eq!((&journal[1]["id"], &journal[1]["account"]), (&item["transaction_id"], &json!("acme")));
    assert_eq!(rail.counts("paypal").await, [2, 2, 0]);
    is_error(&rail.paypal_get("/v1/payments/payouts/UNKNOWN").await, 404, "INVALID_RESOURCE_ID");
    is_error(&rail.paypal_get("/v1/payments/payouts-item/UNKNOWN").await, 404, "INVALID_RESOURCE_ID");
}

#[tokio::test]
async fn a_used_id_is_answered_with_what_it_was_used_for() {
    let rail = Rail::start(&AT_ONCE);
    let id = send(&rail, "b", &["k1"]).await;
    // Whatever the body.
    for body in [batch("b", &["k1"]), batch("b", &["k1", "k2"]), batch("b", &[])] {
        let again = rail.payouts(&body).await;
        is_error(&again, 400, "USER_BUSINESS_ERROR");
        assert_eq!(again.at("/details/0/field"), "SENDER_BATCH_ID");
        assert_eq!(again.at("/details/0/issue"), "Batch with given sender_batch_id already exists");
        let href = again.at("/details/0/link/0/href");
        assert_eq!(href.rsplit('/').next().unwrap(), id);
        assert_eq!(again.body["links"], json!([]));
    }
    rail.set_faults(json!({"paypal": {"duplicate_without_link": 1}})).await;
    let bare = rail.payouts(&batch("b", &["k1"])).await;
    is_error(&bare, 400, "USER_BUSINESS_ERROR");
    assert_eq!((bare.at("/details/0/field"), &bare.body["details"][0]["link"]), ("SENDER_BATCH_ID", &Value::Null));
    assert_eq!(rail.counts("paypal").await, [1, 1, 0]);
    // Of another account it is free.
    let rail = rail.restart(&AT_ONCE);
    is_error(&rail.payouts(&batch("b", &["k1"])).await, 400, "USER_BUSINESS_ERROR");
    rail.days_ahead(29).await;
    is_error(&rail.payouts(&batch("b", &["k1"])).await, 400, "USER_BUSINESS_ERROR");
    rail.days_ahead(31).await;
    send(&rail, "b", &["k1"]).await;
    assert_eq!(rail.counts("paypal").await, [2, 1, 1], "after 30 days it pays again, and that is seen");
}

#[tokio::test]
async fn an_item_in_two_batches_or_a_batch_without_id_is_paid_twice() {
    let rail = Rail::start(&AT_ONCE);
    send(&rail, "b1", &["k"]).await;
    send(&rail, "b2", &["k"]).await;
    let mut without = batch("", &["l"]);
    without["sender_batch_header"] = json!({});
    for _ in 0..2 {
        let request = rail.paypal(Method::POST, "/v1/payments/payouts").await.header("paypal-request-id", "same");
        assert!(told(request.json(&without)).await.is(201), "the request id stops nothing");
    }
    assert_eq!(rail.counts("paypal").await, [4, 2, 2]);
}

#[tokio::test]
async fn a_denied_batch_sets_its_id_free() {
    let rail = Rail::start(&AT_ONCE);
    rail.set_faults(json!({"paypal": {"denied": 1}, "max": 1})).await;
    let denied = send(&rail, "b", &["k1", "k2"]).await;
    let told = batch_of(&rail, &denied).await;
    assert_eq!((told.at("/batch_header/batch_status"), statuses(&told)), ("DENIED", vec!["FAILED", "FAILED"]));
    assert_eq!((told.at("/batch_header/fees/value"), told.at("/items/0/transaction_id")), ("0.00", ""));
    assert!(!told.at("/items/0/errors/name").is_empty());
    assert_eq!(rail.counts("paypal").await, [0, 0, 0]);
    let rail = rail.restart(&AT_ONCE);
    let again = send(&rail, "b", &["k1", "k2"]).await;
    assert_ne!(again, denied);
    is_error(&rail.payouts(&batch("b", &["k1"])).await, 400, "USER_BUSINESS_ERROR");
    assert_eq!(rail.counts("paypal").await, [2, 2, 0]);
    assert_eq!(batch_of(&rail, &denied).await.at("/batch_header/batch_status"), "DENIED");
    // Until it is processed the id is held.
    let rail = Rail::start(&["--batch-settle-after", "1h", "--faults", r#"{"paypal":{"denied":1}}"#]);
    send(&rail, "b", &["k"]).await;
    is_error(&rail.payouts(&batch("b", &["k"])).await, 400, "USER_BUSINESS_ERROR");
    rail.days_ahead(1).await;
    send(&rail, "b", &["k"]).await;
}

#[tokio::test]
async fn what_is_wrong_with_a_request_creates_nothing_and_names_the_field() {
    let rail = Rail::start(&AT_ONCE);
    let wrong = |change: &dyn Fn(&mut Value)| {
        let mut body = batch("b", &["k0", "k1"]);
        change(&mut body);
        body
    };
    for (field, body) in [
        ("items[1].receiver", wrong(&|body| body["items"][1]["receiver"] = "nobody".into())),
        ("items[1].receiver", wrong(&|body| body["items"][1]["recipient_type"] = "PAYPAL_ID".into())),
        ("items[0].amount.value", wrong(&|body| body["items"][0]["amount"]["value"] = "10.005".into())),
        ("items[0].amount.value", wrong(&|body| body["items"][0]["amount"]["value"] = "0.00".into())),
        ("items[0].amount.value", wrong(&|body| body["items"][0]["amount"]["value"] = "-1.00".into())),
        ("items[1].recipient_type", wrong(&|body| body["items"][1]["recipient_type"] = Value::Null)),
        ("items[1].sender_item_id", wrong(&|body| body["items"][1]["sender_item_id"] = "x".repeat(64).into())),
        (
            "items[0].amount.currency",
            wrong(&|body| {
                body["items"][0]["amount"]["currency"] = "XTS".into();
                body["items"][1]["amount"]["currency"] = "XTS".into();
            }),
        ),
        ("items", wrong(&|body| body["items"][1]["amount"]["currency"] = "EUR".into())),
        ("items", wrong(&|body| body["items"] = json!([]))),
        (
            "sender_batch_header.sender_batch_id",
            wrong(&|body| {
                body["sender_batch_header"]["sender_batch_id"] = "x".repeat(257).into();
            }),
        ),
    ] {
        let answer = rail.payouts(&body).await;
        is_error(&answer, 400, "VALIDATION_ERROR");
        assert_eq!(answer.at("/details/0/field"), field, "{}", answer.text);
    }
    let mixed = wrong(&|body| body["items"][1]["amount"]["currency"] = "EUR".into());
    let answer = rail.payouts(&mixed).await;
    assert_eq!(answer.at("/details/0/issue"), "Multiple currencies within a batch is not allowed");
    let keys: Vec<_> = (0..15_001).map(|number| format!("k{number}")).collect();
    let keys: Vec<_> = keys.iter().map(String::as_str).collect();
    is_error(&rail.payouts(&batch("b", &keys)).await, 400, "VALIDATION_ERROR");
    let text = rail.paypal(Method::POST, "/v1/payments/payouts").await.body(batch("b", &["k"]).to_string());
    is_error(&told(text).await, 415, "UNSUPPORTED_MEDIA_TYPE");
    assert_eq!(rail.journal().await.len(), 0);
    // The id is not used up.
    send(&rail, "b", &["k0", "k1"]).await;
}

#[tokio::test]
async fn money_and_rights_are_asked_about_the_whole_batch() {
    let rail = Rail::start(&AT_ONCE);
    let balance =
        |amount: i64| json!({"shape": "paypal", "account": "acme", "currency": "USD", "amount_minor": amount});
    rail.do_post("/faults/balance", balance(2_039)).await;
    is_error(&rail.payouts(&batch("b", &["k1", "k2"])).await, 422, "INSUFFICIENT_FUNDS");
    rail.do_post("/faults/balance", balance(2_040)).await;
    send(&rail, "b", &["k1", "k2"]).await;
    let balances = rail.paypal_get("/v1/reporting/balances?currency_code=USD").await;
    assert_eq!(balances.at("/balances/0/available_balance/value"), "0.00", "with the fees");
    rail.set_faults(json!({"paypal": {"not_held": ["BRL"]}})).await;
    let mut brazil = batch("c", &["k3"]);
    brazil["items"][0]["amount"]["currency"] = "BRL".into();
    is_error(&rail.payouts(&brazil).await, 400, "NON_HOLDING_CURRENCY");
    for name in ["AUTHORIZATION_ERROR", "SENDER_RESTRICTED", "REQUIRED_SCOPE_MISSING"] {
        rail.set_faults(json!({"paypal": {"forbidden": name}})).await;
        is_error(&rail.payouts(&batch("d", &["k4"])).await, 403, name);
    }
    assert_eq!(rail.counts("paypal").await, [2, 2, 0]);
}

#[tokio::test]
async fn every_state_of_an_item_can_be_had() {
    let rail = Rail::start(&AT_ONCE);
    let script = json!({
        "unclaimed": "UNCLAIMED", "onhold": "ONHOLD", "blocked": "BLOCKED", "failed": "RECEIVER_ACCOUNT_INVALID",
    });
    rail.set_faults(json!({"paypal": {"script": script}})).await;
    let id = send(&rail, "b", &["good", "unclaimed", "onhold", "blocked", "failed", "refunded", "reversed"]).await;
    rail.do_post("/faults/return", json!({"key": "refunded", "shape": "paypal"})).await;
    rail.do_post("/faults/return", json!({"key": "reversed", "shape": "paypal", "code": "REVERSED"})).await;
    let told = batch_of(&rail, &id).await;
    assert_eq!(told.at("/batch_header/batch_status"), "SUCCESS");
    let states = ["SUCCESS", "UNCLAIMED", "ONHOLD", "BLOCKED", "FAILED", "REFUNDED", "REVERSED"];
    assert_eq!(statuses(&told), states);
    let names: Vec<_> = (1..5).map(|at| told.at(&format!("/items/{at}/errors/name"))).collect();
    assert_eq!(
        names,
        ["RECEIVER_UNREGISTERED", "REGULATORY_PENDING", "REGULATORY_BLOCKED", "RECEIVER_ACCOUNT_INVALID"]
    );
    rail.set_faults(json!({"clock_ahead_ms": 3_700_000})).await;
    assert_eq!(statuses(&batch_of(&rail, &id).await)[2], "SUCCESS", "the review is over");
    // What nobody claims comes back by itself.
    rail.days_ahead(31).await;
    rail.journal_of(10).await;
    let rail = rail.restart(&AT_ONCE);
    rail.days_ahead(31).await;
    assert_eq!(statuses(&batch_of(&rail, &id).await)[1], "RETURNED");
    let journal = rail.journal().await;
    let of = |key: &str| {
        journal.iter().filter(|line| line["key"] == key).map(|line| line["event"].as_str().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!((of("good"), of("failed"), of("blocked")), (vec!["paid"], vec!["refused"], vec!["refused"]));
    assert_eq!(
        (of("unclaimed"), of("onhold"), of("reversed")),
        (vec!["paid", "returned"], vec!["paid"], vec!["paid", "returned"])
    );

    for (becomes, event) in [("FAILED", "refused"), ("BLOCKED", "refused"), ("SUCCESS", "paid")] {
        let rail = Rail::start(&AT_ONCE);
        rail.set_faults(json!({"paypal": {"onhold": 1, "onhold_ms": 1000, "onhold_becomes": becomes}})).await;
        let id = send(&rail, "b", &["k"]).await;
        assert_eq!(statuses(&batch_of(&rail, &id).await), ["ONHOLD"]);
        rail.set_faults(json!({"clock_ahead_ms": 60_000})).await;
        assert_eq!(statuses(&batch_of(&rail, &id).await), [becomes]);
        assert_eq!(column(&rail.journal().await, "event"), [event]);
    }
    let rail = Rail::start(&AT_ONCE);
    rail.set_faults(json!({"paypal": {"blocked": 1, "blocked_takes_money": true}})).await;
    send(&rail, "b", &["k"]).await;
    assert_eq!(column(&rail.journal().await, "event"), ["paid"]);
}

#[tokio::test]
async fn an_unclaimed_item_is_cancelled_once_its_batch_has_finished() {
    let rail = Rail::start(&["--batch-settle-after", "1h", "--faults", r#"{"paypal":{"unclaimed":1}}"#]);
    let id = send(&rail, "b", &["k"]).await;
    let item = batch_of(&rail, &id).await.at("/items/0/payout_item_id").to_owned();
    let cancel = async |rail: &Rail| {
        told(rail.paypal(Method::POST, &format!("/v1/payments/payouts-item/{item}/cancel")).await).await
    };
    is_error(&cancel(&rail).await, 400, "ITEM_INCORRECT_STATUS");
    rail.days_ahead(1).await;
    let cancelled = cancel(&rail).await;
    assert_eq!((cancelled.status.as_u16(), cancelled.at("/transaction_status")), (200, "RETURNED"));
    is_error(&cancel(&rail).await, 400, "ITEM_ALREADY_CANCELLED");
    let journal = rail.journal().await;
    assert_eq!((column(&journal, "event"), &journal[1]["amount_minor"]), (vec!["paid", "returned"], &json!(1000)));
    // That it would have come back by itself is no second return.
    rail.days_ahead(40).await;
    let rail = rail.restart(&[]);
    rail.days_ahead(40).await;
    rail.do_post("/faults/hurry", json!({})).await;
    assert_eq!(rail.journal().await.len(), 2);
    assert_eq!(batch_of(&rail, &id).await.at("/items/0/transaction_status"), "RETURNED");
}

#[tokio::test]
async fn every_page_has_to_be_read() {
    let rail = Rail::start(&AT_ONCE);
    let keys: Vec<_> = (0..2_500).map(|number| format!("k{number}")).collect();
    let keys: Vec<_> = keys.iter().map(String::as_str).collect();
    let id = send(&rail, "b", &keys).await;
    let mut seen = Vec::new();
    for page in 1..=3 {
        let told =
            rail.paypal_get(&format!("/v1/payments/payouts/{id}?page={page}&page_size=1000&total_required=true")).await;
        assert_eq!((&told.body["total_items"], &told.body["total_pages"]), (&json!(2500), &json!(3)));
        assert_eq!(told.at("/batch_header/amount/value"), "25000.00");
        let next = told.body["links"].as_array().unwrap().iter().any(|link| link["rel"] == "next");
        assert_eq!(next, page < 3);
        seen.extend(
            told.body["items"].as_array().unwrap().iter().map(|item| item["payout_item"]["sender_item_id"].clone()),
        );
    }
    assert_eq!(seen.len(), 2_500);
    assert_eq!(seen[1_000], "k1000");
    let plain = rail.paypal_get(&format!("/v1/payments/payouts/{id}")).await;
    assert_eq!((plain.body["items"].as_array().unwrap().len(), &plain.body["total_items"]), (1000, &Value::Null));
    let header = rail.paypal_get(&format!("/v1/payments/payouts/{id}?fields=batch_header")).await;
    assert_eq!(header.body["items"], json!([]));
    is_error(&rail.paypal_get(&format!("/v1/payments/payouts/{id}?page_size=1001")).await, 400, "VALIDATION_ERROR");
    rail.set_faults(json!({"garble_list": 1})).await;
    let cut = rail.paypal_get(&format!("/v1/payments/payouts/{id}")).await;
    assert!(cut.is(200) && cut.body.is_null());
}

#[tokio::test]
async fn answers_are_lost_without_an_id_or_before_the_batch_is_found() {
    let rail = Rail::start(&AT_ONCE);
    rail.paypal_token().await;
    rail.set_faults(json!({"lose_answer": 1, "max": 1})).await;
    let request = rail.paypal(Method::POST, "/v1/payments/payouts").await.json(&batch("lost", &["k1"]));
    assert!(request.send().await.is_err());
    let adopted = rail.payouts(&batch("lost", &["k1"])).await;
    is_error(&adopted, 400, "USER_BUSINESS_ERROR");
    let id = adopted.at("/details/0/link/0/href").rsplit('/').next().unwrap().to_owned();
    assert_eq!(statuses(&batch_of(&rail, &id).await), ["SUCCESS"]);

    rail.set_faults(json!({"lose_answer": 0, "paypal": {"created_without_id": 1}, "max": 1})).await;
    let bare = rail.payouts(&batch("bare", &["k2"])).await;
    assert_eq!((bare.status.as_u16(), bare.at("/batch_header/payout_batch_id")), (201, ""));
    is_error(&rail.payouts(&batch("bare", &["k2"])).await, 400, "USER_BUSINESS_ERROR");

    rail.set_faults(json!({"error_after": 1, "paypal": {"created_without_id": 0}, "max": 1})).await;
    is_error(&rail.payouts(&batch("500", &["k3"])).await, 500, "INTERNAL_ERROR");
    rail.set_faults(json!({"error_after": 0, "error_before": 0, "max": null})).await;
    is_error(&rail.payouts(&batch("500", &["k3"])).await, 400, "USER_BUSINESS_ERROR");

    rail.set_faults(json!({"paypal": {"not_found_ms": 60_000}})).await;
    let id = send(&rail, "slow", &["k4"]).await;
    is_error(&rail.paypal_get(&format!("/v1/payments/payouts/{id}")).await, 404, "INVALID_RESOURCE_ID");
    rail.set_faults(json!({"clock_ahead_ms": 61_000})).await;
    assert_eq!(statuses(&batch_of(&rail, &id).await), ["SUCCESS"]);
    assert_eq!(rail.counts("paypal").await, [4, 4, 0]);
}

#[tokio::test]
async fn a_batch_that_was_not_written_whole_never_came() {
    let rail = Rail::start(&AT_ONCE);
    send(&rail, "before", &["k"]).await;
    send(&rail, "b", &["k1", "k2", "k3"]).await;
    let dir = rail.kill();
    let path = dir.path().join("journal.jsonl");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, &text[..text.len() - 10]).unwrap();
    let rail = Rail::start_in(dir, &AT_ONCE);
    assert_eq!(column(&rail.journal().await, "key"), ["k"]);
    is_error(&rail.payouts(&batch("before", &["k"])).await, 400, "USER_BUSINESS_ERROR");
    send(&rail, "b", &["k1", "k2", "k3"]).await;
    let rail = rail.restart(&AT_ONCE);
    is_error(&rail.payouts(&batch("b", &["k1"])).await, 400, "USER_BUSINESS_ERROR");
    assert_eq!(rail.counts("paypal").await, [4, 4, 0]);
}

#[tokio::test]
async fn tokens_end_are_revoked_and_belong_to_a_client() {
    let rail = Rail::start(&AT_ONCE);
    let with = |token: &str| rail.request(Method::GET, "/paypal/v1/payments/payouts/X").bearer_auth(token.to_owned());
    let token = rail.paypal_token().await;
    assert!(told(with(&token)).await.is(404));
    for wrong in ["", "nobodys"] {
        let answer = told(with(wrong)).await;
        assert_eq!((answer.status.as_u16(), answer.at("/error")), (401, "invalid_token"));
    }
    rail.do_post("/faults/revoke-tokens", json!({})).await;
    assert!(told(with(&token)).await.is(401));
    let token = rail.paypal_token().await;
    assert!(told(with(&token)).await.is(404));
    rail.set_faults(json!({"clock_ahead_ms": 32_401_000})).await;
    assert!(told(with(&token)).await.is(401), "after nine hours");
    rail.set_faults(json!({"clock_ahead_ms": 0, "paypal": {"token_life_ms": 60_000}})).await;
    let issue = |client: &str, grant: &str| {
        let request = rail.request(Method::POST, "/paypal/v1/oauth2/token").basic_auth(client.to_owned(), Some("s"));
        request.header("content-type", "application/x-www-form-urlencoded").body(format!("grant_type={grant}"))
    };
    let issued = told(issue("acme", "client_credentials")).await;
    assert_eq!((&issued.body["expires_in"], issued.at("/token_type")), (&json!(60), "Bearer"));
    assert_eq!(told(issue("acme", "password")).await.at("/error"), "unsupported_grant_type");
    rail.do_post("/faults/revoke", json!({"credential": "acme"})).await;
    assert!(told(with(issued.at("/access_token"))).await.is(401));
    let refused = told(issue("acme", "client_credentials")).await;
    assert_eq!((refused.status.as_u16(), refused.at("/error")), (401, "invalid_client"));
    rail.do_post("/faults/revoke", json!({"credential": "acme", "revoked": false})).await;
    let id = send(&rail, "b", &["k"]).await;
    let other = told(issue("other", "client_credentials")).await;
    let theirs =
        rail.request(Method::GET, &format!("/paypal/v1/payments/payouts/{id}")).bearer_auth(other.at("/access_token"));
    assert!(told(theirs).await.is(404), "accounts see nothing of each other");
}

#[tokio::test]
async fn posts_are_counted_by_the_minute() {
    let rail = Rail::start(&["--faults", r#"{"limit":{"paypal":3}}"#]);
    let token = rail.paypal_token().await;
    let mut refused = 0;
    for number in 0..8 {
        let request = rail.request(Method::POST, "/paypal/v1/payments/payouts").bearer_auth(&token);
        let answer = told(request.json(&batch(&format!("b{number}"), &["k"]))).await;
        if answer.is(429) {
            is_error(&answer, 429, "RATE_LIMIT_REACHED");
            refused += 1;
        }
        let asked = rail.request(Method::GET, "/paypal/v1/payments/payouts/X").bearer_auth(&token);
        assert!(told(asked).await.is(404), "asking is not counted");
    }
    assert!(refused >= 2);
    assert_eq!(rail.counts("paypal").await[0], 8 - refused);
    rail.set_faults(json!({"clock_ahead_ms": 61_000})).await;
    let request = rail.request(Method::POST, "/paypal/v1/payments/payouts").bearer_auth(&token);
    assert!(told(request.json(&batch("later", &["l"]))).await.is(201));
}

#[tokio::test]
async fn decimals_are_paypals_and_the_journal_is_in_iso_units() {
    let rail = Rail::start(&AT_ONCE);
    for (currency, value, minor) in [
        ("USD", "12.34", Some(1234)),
        ("USD", "12", Some(1200)),
        ("JPY", "1234", Some(1234)),
        ("JPY", "1234.00", None),
        ("HUF", "1234", Some(123_400)),
        ("HUF", "1234.5", None),
        ("TWD", "5", Some(500)),
        ("KWD", "1.000", None),
    ] {
        let mut body = batch(&format!("{currency}{value}"), &["k"]);
        body["items"][0]["amount"] = json!({"currency": currency, "value": value});
        let answer = rail.payouts(&body).await;
        match minor {
            Some(minor) => assert_eq!(rail.journal().await.last().unwrap()["amount_minor"], minor),
            None => is_error(&answer, 400, "VALIDATION_ERROR"),
        }
    }
}
