//! PayPal: the request that pays a batch, and its answers row by row.

use payfleet_domain::{DestinationKind, Outcome};
use payfleet_rails::{Adapter, Answer, Payee};
use serde_json::json;

use crate::paypal_follow::{batch, item};
use crate::server::{Act, Server, reply};
use crate::world::{
    CREDENTIAL_REFUSED, NO_FUNDS, NOT_EXECUTED, Order, RESTRICTED, UNKNOWN, name, refused, registry, registry_of,
};

pub const TOKEN: &str = "POST /v1/oauth2/token";
const SEND: &str = "POST /v1/payments/payouts";
const GET: &str = "GET /v1/payments/payouts/";

pub fn order(count: i64) -> Order {
    Order::new("paypal", count, "USD")
}

pub fn token(text: &str, lives: u64) -> Act {
    let body = json!({"scope": "x", "access_token": text, "token_type": "Bearer", "expires_in": lives, "nonce": "n"});
    reply(200, body.to_string())
}

pub fn created() -> Act {
    reply(
        201,
        r#"{"batch_header":{"payout_batch_id":"PB1","batch_status":"PENDING","sender_batch_header":{}},"links":[]}"#,
    )
}

fn error(name: &str, details: serde_json::Value) -> String {
    json!({"name": name, "message": "...", "debug_id": "d", "details": details, "links": []}).to_string()
}

pub fn duplicate(links: serde_json::Value) -> String {
    let issue = "Batch with given sender_batch_id already exists";
    error(
        "USER_BUSINESS_ERROR",
        json!([{"field": "SENDER_BATCH_ID", "location": "body", "issue": issue, "link": links}]),
    )
}

fn link(href: &str) -> serde_json::Value {
    json!([{"href": href, "rel": "self", "method": "GET", "encType": "application/json"}])
}

async fn submit_to(send: Act, get: Act) -> (Server, Answer) {
    let script = [(TOKEN, vec![token("t", 32_400)]), (GET, vec![get]), (SEND, vec![send])];
    let server = Server::start(&script).await;
    let answer = registry(&server.url, "").paypal().unwrap().submit(&order(3).call()).await;
    assert_eq!(server.asked(SEND).len(), 1, "nothing is sent twice by one call");
    (server, answer)
}

async fn submit(send: Act) -> Answer {
    submit_to(send, reply(404, "{}")).await.1
}

#[tokio::test]
async fn the_request_is_this_and_the_same_each_time() {
    let server = Server::start(&[(TOKEN, vec![token("t", 32_400)]), (SEND, vec![reply(500, "")])]).await;
    let paypal = registry_of(&format!(
        r#"
        [[account]]
        rail = "paypal"
        name = "main"
        base_url = "{}"
        email_subject = "Your commission"
        recipient_wallet = "PAYPAL"
        "#,
        server.url
    ));
    let paypal = paypal.paypal().unwrap();
    let mut order = order(3);
    order.instructions[1].destination = "WXKH2C8V6BQTE".to_owned();
    order.instructions[2].destination = "+4915112345678".to_owned();
    assert!(DestinationKind::Phone.check("+4915112345678").is_ok());
    paypal.submit(&order.call()).await;
    // Notes make PayPal's sandbox fail on purpose, so no text of others goes there.
    order.instructions[0].payee =
        Payee { name: Some("Ann".to_owned()), country: None, text: Some("ERRPYO002".to_owned()) };
    paypal.submit(&order.call()).await;
    let sent = server.asked(SEND);
    assert_eq!(sent[0], sent[1]);
    let item = |number: i64, kind: &str, receiver: &str| {
        let amount = json!({"value": format!("10.0{number}"), "currency": "USD"});
        json!({"recipient_type": kind, "amount": amount, "receiver": receiver,
               "sender_item_id": order.key(number as usize - 1), "recipient_wallet": "PAYPAL"})
    };
    let expected = json!({
        "sender_batch_header": {"sender_batch_id": order.batch_key.as_str(), "email_subject": "Your commission"},
        "items": [
            item(1, "EMAIL", "payee1@example.com"),
            item(2, "PAYPAL_ID", "WXKH2C8V6BQTE"),
            item(3, "PHONE", "+4915112345678"),
        ],
    });
    assert_eq!(sent[0].json(), expected);
    assert_eq!(sent[0].header("content-type"), Some("application/json"));
    assert_eq!(sent[0].header("paypal-request-id"), None, "it does not stop a second batch, and may replay an error");
}

#[tokio::test]
async fn a_batch_that_was_taken_is_accepted_and_not_paid() {
    let accepted = Answer::Each(vec![Outcome::Accepted(name("PB1")); 3]);
    assert_eq!(submit(created()).await, accepted);
    let with = |status: &str, id: &str, sender: &str| {
        let header =
            json!({"payout_batch_id": id, "batch_status": status, "sender_batch_header": {"sender_batch_id": sender}});
        reply(201, json!({"batch_header": header, "a_field_of_next_year": 1}).to_string())
    };
    let key = order(3).batch_key.to_string();
    for status in ["PENDING", "PROCESSING", "SUCCESS"] {
        assert_eq!(submit(with(status, "PB1", &key)).await, accepted, "{status}");
    }
    for odd in [
        with("DENIED", "PB1", &key),
        with("CANCELED", "PB1", &key),
        with("OF_NEXT_YEAR", "PB1", &key),
        with("PENDING", "", &key),
        with("PENDING", "../x", &key),
        with("PENDING", "PB1", "another"),
        reply(201, r#"{"links":[]}"#),
        reply(201, r#"{"batch_header":{"batch_status":"PENDING"}}"#),
        reply(201, r#"{"name":"X","batch_header":{"payout_batch_id":"PB1","batch_status":"PENDING"}}"#),
        reply(201, ""),
        reply(201, "{"),
        reply(200, r#"{"batch_header":{"payout_batch_id":"PB1","batch_status":"PENDING"}}"#),
        reply(202, r#"{"batch_header":{"payout_batch_id":"PB1","batch_status":"PENDING"}}"#),
    ] {
        assert_eq!(submit(odd.clone()).await, UNKNOWN, "{odd:?}");
    }
}

#[tokio::test]
async fn every_row_of_the_table_of_answers() {
    let none = json!([]);
    let item = |at: i32| json!([{"field": format!("items[{at}].receiver"), "location": "body", "issue": "..."}]);
    let rows = [
        (400, error("VALIDATION_ERROR", item(1)), refused("invalid_item")),
        (
            400,
            error(
                "VALIDATION_ERROR",
                json!([{"field": "items", "issue": "Multiple currencies within a batch is not allowed"}]),
            ),
            refused("validation_error"),
        ),
        (400, error("VALIDATION_ERROR", item(3)), UNKNOWN),
        (400, error("NON_HOLDING_CURRENCY", none.clone()), NO_FUNDS),
        (422, error("INSUFFICIENT_FUNDS", none.clone()), NO_FUNDS),
        (401, r#"{"error":"invalid_token"}"#.to_owned(), CREDENTIAL_REFUSED),
        (401, error("AUTHENTICATION_FAILURE", none.clone()), CREDENTIAL_REFUSED),
        (403, error("AUTHORIZATION_ERROR", none.clone()), CREDENTIAL_REFUSED),
        (403, error("SENDER_RESTRICTED", none.clone()), RESTRICTED),
        (403, error("SENDER_EMAIL_UNCONFIRMED", none.clone()), RESTRICTED),
        (403, error("REQUIRED_SCOPE_MISSING", none.clone()), CREDENTIAL_REFUSED),
        (429, error("RATE_LIMIT_REACHED", none.clone()), NOT_EXECUTED),
        (500, error("INTERNAL_ERROR", none.clone()), UNKNOWN),
        (503, error("RATE_LIMIT_REACHED", none.clone()), UNKNOWN),
        (504, String::new(), UNKNOWN),
        // The batch exists, and nobody knows what it is called.
        (400, duplicate(json!([])), UNKNOWN),
        (400, error("USER_BUSINESS_ERROR", json!([{"field": "SENDER_BATCH_ID", "issue": "x"}])), UNKNOWN),
        (400, r#"{"name":"USER_BUSINESS_ERROR","message":"Duplicate batch request"}"#.to_owned(), UNKNOWN),
        (400, duplicate(link("https://api.paypal.com/v1/payments/payouts-item/PI1")), UNKNOWN),
        (400, duplicate(link("nonsense")), UNKNOWN),
        (400, error("USER_BUSINESS_ERROR", none.clone()), UNKNOWN),
        // What the contract does not have.
        (400, error("INSUFFICIENT_FUNDS", none.clone()), UNKNOWN),
        (400, error("A_NAME_OF_NEXT_YEAR", none.clone()), UNKNOWN),
        (403, error("A_NAME_OF_NEXT_YEAR", none.clone()), UNKNOWN),
        (401, "<html>".to_owned(), UNKNOWN),
        (403, "{}".to_owned(), UNKNOWN),
        (429, "slow down".to_owned(), UNKNOWN),
        (429, "{}".to_owned(), UNKNOWN),
        (429, error("A_NAME_OF_NEXT_YEAR", none.clone()), UNKNOWN),
        (404, error("INVALID_RESOURCE_ID", none.clone()), UNKNOWN),
        (409, error("VALIDATION_ERROR", item(0)), UNKNOWN),
        (302, String::new(), UNKNOWN),
    ];
    for (status, body, expected) in rows {
        assert_eq!(submit(reply(status, body.clone())).await, expected, "{status} {body}");
    }
    let both = r#"{"name":"VALIDATION_ERROR","details":[],"batch_header":{"payout_batch_id":"PB1"}}"#;
    assert_eq!(submit(reply(400, both)).await, UNKNOWN, "refused and taken at once");
}

#[tokio::test]
async fn a_lost_answer_is_found_again_by_the_same_request() {
    let order = order(3);
    let there = reply(200, batch(&order, "PROCESSING", &[]));
    let href = "https://api.sandbox.paypal.com/v1/payments/payouts/PB1";
    let script = [
        (TOKEN, vec![token("t", 32_400)]),
        (GET, vec![there]),
        (SEND, vec![Act::Lost, reply(400, duplicate(link(href)))]),
    ];
    let server = Server::start(&script).await;
    let paypal = registry(&server.url, "").paypal().unwrap();
    assert_eq!(paypal.submit(&order.call()).await, UNKNOWN);
    assert_eq!(paypal.submit(&order.call()).await, Answer::Each(vec![Outcome::Accepted(name("PB1")); 3]));
    let sent = server.asked(SEND);
    assert_eq!(sent[0].body, sent[1].body);
    assert_eq!(server.asked(GET).len(), 1, "the link's own host was not asked");
}

#[tokio::test]
async fn what_is_adopted_is_compared() {
    let order = order(3);
    let duplicate = || reply(400, duplicate(link("https://api.paypal.com/v1/payments/payouts/PB1?x=1")));
    let accepted = Answer::Each(vec![Outcome::Accepted(name("PB1")); 3]);
    let good: Vec<_> = (0..3).map(|at| item(&order, at, Some("PENDING"), None)).collect();
    let whole = batch(&order, "SUCCESS", &good);
    let running = |items: &[serde_json::Value]| batch(&order, "PROCESSING", items);
    for (case, get) in [
        ("whole", reply(200, whole.clone())),
        ("still running, and not all there", reply(200, running(&good[..1]))),
        ("not readable yet", reply(404, r#"{"name":"INVALID_RESOURCE_ID"}"#)),
        ("no answer", Act::Lost),
        ("a garbled answer", reply(200, "{")),
    ] {
        assert_eq!(submit_to(duplicate(), get).await.1, accepted, "{case}");
    }
    let mut other = good.clone();
    other[1]["payout_item"]["amount"]["value"] = "10.20".into();
    let mut receiver = good.clone();
    receiver[1]["payout_item"]["receiver"] = "mallory@example.com".into();
    let mut more = good.clone();
    more.push(item(&Order::new("paypal", 4, "USD"), 3, Some("PENDING"), None));
    let mut twice = good.clone();
    twice[1] = twice[0].clone();
    for (case, body) in [
        ("another amount", batch(&order, "SUCCESS", &other)),
        ("another amount, still running", running(&other)),
        ("another receiver", batch(&order, "SUCCESS", &receiver)),
        ("one more", batch(&order, "SUCCESS", &more)),
        ("one more, still running", running(&more)),
        ("one fewer", batch(&order, "SUCCESS", &good[..2])),
        ("one twice", batch(&order, "SUCCESS", &twice)),
        ("another sum", whole.replace("30.06", "30.07")),
        (
            "another currency of the sum",
            whole.replacen(r#""currency":"USD","value":"30.06""#, r#""currency":"EUR","value":"30.06""#, 1),
        ),
        ("another batch of ours", whole.replace(order.batch_key.as_str(), "another")),
    ] {
        assert_ne!(body, whole, "{case}");
        assert_eq!(
            submit_to(duplicate(), reply(200, body)).await.1,
            UNKNOWN,
            "{case}: whatever it is may have been paid"
        );
    }
}

#[tokio::test]
async fn what_paypal_cannot_be_told_is_not_sent() {
    let server = Server::start(&[(TOKEN, vec![token("t", 32_400)]), (SEND, vec![created()])]).await;
    let registry = registry(&server.url, "limits = { largest_minor = { USD = 2000 } }");
    let paypal = registry.paypal().unwrap();
    let with = |count, currency: &str, change: fn(&mut Order)| {
        let mut order = Order::new("paypal", count, currency);
        change(&mut order);
        order
    };
    let uneven = |order: &mut Order| order.instructions[0].amount.minor = 123_450;
    // An address may have 254 bytes, and a receiver at PayPal 127.
    let long = |order: &mut Order| {
        let domain = "d.".repeat(32) + "com";
        order.instructions[0].destination = format!("{}@{domain}", "a".repeat(127 - domain.len()));
        assert!(DestinationKind::Email.check(&order.instructions[0].destination).is_ok());
    };
    for (order, expected) in [
        // PayPal has refused nothing, and may have been sent the same when the limits were others.
        (with(1, "HUF", uneven), NOT_EXECUTED),
        (with(3, "HUF", uneven), NOT_EXECUTED),
        (with(1, "USD", |order| order.instructions[0].amount.minor = 2_001), NOT_EXECUTED),
        (with(2, "USD", |order| order.instructions[1].destination = "acct_1".to_owned()), NOT_EXECUTED),
        (with(1, "USD", long), NOT_EXECUTED),
        (with(0, "USD", |_| ()), NOT_EXECUTED),
        (with(2, "USD", |order| order.instructions[1].amount.currency = "EUR".parse().unwrap()), NOT_EXECUTED),
        (with(2, "USD", |order| order.instructions[1] = order.instructions[0].clone()), NOT_EXECUTED),
        (with(1, "USD", |order| order.instructions[0].amount.minor = 0), NOT_EXECUTED),
        (with(1, "USD", |order| order.account.name = "another".to_owned()), NOT_EXECUTED),
    ] {
        assert_eq!(paypal.submit(&order.call()).await, expected);
    }
    assert_eq!(server.asked(SEND).len(), 0);
    let even = with(1, "HUF", |order| order.instructions[0].amount.minor = 123_400);
    paypal.submit(&even.call()).await;
    assert_eq!(server.asked(SEND)[0].json()["items"][0]["amount"]["value"], "1234");
}
