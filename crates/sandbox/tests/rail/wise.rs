//! The dialect of Wise: what its documentation promises, and each fault. RAILS.md, section 3.

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use crate::rail::{Rail, column};
use crate::vendors::{Told, told};

/// States follow each other at once.
pub const AT_ONCE: [&str; 2] = ["--batch-settle-after", "0s"];
/// States follow each other by the hour.
pub const BY_THE_HOUR: [&str; 2] = ["--batch-settle-after", "1h"];
pub const HOUR: i64 = 3_600_000;

pub fn uuid_of(key: &str) -> String {
    uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_DNS, key.as_bytes()).to_string()
}

pub async fn recipient(rail: &Rail, currency: &str) -> Value {
    let body = json!({"profile": 7, "currency": currency, "type": "iban", "accountHolderName": "Ada Payee"});
    let answer = rail.wise_post("/v1/accounts", &body).await;
    assert!(answer.is(200), "{}", answer.text);
    answer.body["id"].clone()
}

pub async fn quote(rail: &Rail, target_account: &Value, target: &str) -> Told {
    let body = format!(
        r#"{{"sourceCurrency":"EUR","targetCurrency":"{target}","sourceAmount":null,"targetAmount":150.50,
        "targetAccount":{target_account},"payOut":null}}"#
    );
    told(rail.wise(Method::POST, "/v3/profiles/7/quotes").body(body)).await
}

pub fn transfer_body(account: &Value, quote: &str, key: &str) -> Value {
    json!({
        "targetAccount": account,
        "quoteUuid": quote,
        "customerTransactionId": uuid_of(key),
        "details": {"reference": "Nov 2026"},
    })
}

/// A transfer that waits for its money.
pub async fn prepare(rail: &Rail, key: &str) -> u64 {
    let account = recipient(rail, "EUR").await;
    let quoted = quote(rail, &account, "EUR").await;
    let made = rail.wise_post("/v1/transfers", &transfer_body(&account, quoted.at("/id"), key)).await;
    assert_eq!((made.status.as_u16(), made.at("/status")), (200, "incoming_payment_waiting"), "{}", made.text);
    made.body["id"].as_u64().unwrap()
}

pub fn fund_request(rail: &Rail, id: u64) -> RequestBuilder {
    rail.wise(Method::POST, &format!("/v3/profiles/7/transfers/{id}/payments")).json(&json!({"type": "BALANCE"}))
}

pub async fn fund(rail: &Rail, id: u64) -> Told {
    told(fund_request(rail, id)).await
}

pub async fn status(rail: &Rail, id: u64) -> String {
    let told = rail.wise_get(&format!("/v1/transfers/{id}")).await;
    assert!(told.is(200), "{}", told.text);
    told.at("/status").to_owned()
}

pub async fn ahead(rail: &Rail, millis: i64) {
    rail.set_faults(json!({"clock_ahead_ms": millis})).await;
}

/// So many days back and ahead.
pub fn window(back: i64, ahead: i64) -> String {
    let format = time::format_description::well_known::Rfc3339;
    let now = time::OffsetDateTime::now_utc().replace_nanosecond(0).unwrap();
    let at = |days: i64| (now + time::Duration::days(days)).format(&format).unwrap();
    format!("currency=EUR&intervalStart={}&intervalEnd={}&type=COMPACT", at(-back), at(ahead))
}

pub async fn statement(rail: &Rail) -> Told {
    rail.wise_get(&format!("/v1/profiles/7/balance-statements/200001/statement.json?{}", window(200, 200))).await
}

#[tokio::test]
async fn money_moves_in_funding_alone_and_once() {
    let rail = Rail::start(&BY_THE_HOUR);
    let id = prepare(&rail, "k").await;
    assert_eq!(rail.journal().await.len(), 0, "a transfer is no payment");
    let rail = rail.restart(&BY_THE_HOUR);
    let funded = fund(&rail, id).await;
    assert_eq!(
        (funded.status.as_u16(), funded.body),
        (200, json!({"type": "BALANCE", "status": "COMPLETED", "errorCode": null}))
    );
    for (after, state) in
        [(0, "processing"), (1, "funds_converted"), (2, "outgoing_payment_sent"), (2000, "outgoing_payment_sent")]
    {
        ahead(&rail, after * HOUR + after.min(1) * 60_000).await;
        assert_eq!(status(&rail, id).await, state);
    }
    let again = fund(&rail, id).await;
    assert_eq!((again.status.as_u16(), again.at("/status")), (200, "REJECTED"));
    let rail = rail.restart(&BY_THE_HOUR);
    assert_eq!(fund(&rail, id).await.at("/status"), "REJECTED");
    let journal = rail.journal().await;
    assert_eq!(
        (journal.len(), &journal[0]["key"], &journal[0]["id"]),
        (1, &json!(uuid_of("k")), &json!(id.to_string()))
    );
    assert_eq!((&journal[0]["amount_minor"], &journal[0]["account"]), (&json!(15_050), &json!("7")));
    assert_eq!(rail.counts("wise").await, [1, 1, 0]);
    assert!(fund(&rail, 1).await.is(404));
}

#[tokio::test]
async fn the_same_uuid_makes_the_same_transfer_whatever_became_of_the_quote() {
    let rail = Rail::start(&AT_ONCE);
    let account = recipient(&rail, "EUR").await;
    let quoted = quote(&rail, &account, "EUR").await;
    let body = transfer_body(&account, quoted.at("/id"), "k");
    let first = rail.wise_post("/v1/transfers", &body).await;
    ahead(&rail, HOUR).await;
    let again = rail.wise_post("/v1/transfers", &body).await;
    assert_eq!((again.status.as_u16(), &again.text), (200, &first.text), "though the quote has expired");
    ahead(&rail, 0).await;
    let other = quote(&rail, &account, "EUR").await;
    let with_other = rail.wise_post("/v1/transfers", &transfer_body(&account, other.at("/id"), "k")).await;
    assert_eq!(with_other.body["id"], first.body["id"]);
    let rail = rail.restart(&AT_ONCE);
    assert_eq!(rail.wise_post("/v1/transfers", &body).await.body["id"], first.body["id"]);

    // One transfer for each quote, and none for an expired one.
    let second = rail.wise_post("/v1/transfers", &transfer_body(&account, quoted.at("/id"), "l")).await;
    assert_eq!((second.status.as_u16(), second.at("/errors/0/path")), (422, "quoteUuid"));
    ahead(&rail, HOUR).await;
    let expired = rail.wise_post("/v1/transfers", &transfer_body(&account, other.at("/id"), "l")).await;
    assert_eq!((expired.status.as_u16(), expired.at("/errors/0/message")), (422, "Quote is expired"));
    ahead(&rail, 0).await;
    // Forgotten, it makes another, which can be funded as well: that is seen.
    let id = first.body["id"].as_u64().unwrap();
    fund(&rail, id).await;
    rail.do_post("/faults/prune-keys", json!({})).await;
    let fresh = rail.wise_post("/v1/transfers", &transfer_body(&account, other.at("/id"), "k")).await;
    assert_ne!(fresh.body["id"], first.body["id"]);
    fund(&rail, fresh.body["id"].as_u64().unwrap()).await;
    assert_eq!(rail.counts("wise").await, [2, 1, 1]);
}

#[tokio::test]
async fn what_is_wrong_is_named_by_its_path() {
    let rail = Rail::start(&AT_ONCE);
    let account = recipient(&rail, "EUR").await;
    let quoted = quote(&rail, &account, "EUR").await;
    let good = transfer_body(&account, quoted.at("/id"), "k");
    for (field, value) in [
        ("customerTransactionId", json!("12884901929-a94610cdbdd64ddc")),
        ("customerTransactionId", Value::Null),
        ("quoteUuid", json!(uuid_of("none"))),
        ("targetAccount", json!(1)),
    ] {
        let mut body = good.clone();
        body[field] = value;
        let answer = rail.wise_post("/v1/transfers", &body).await;
        assert_eq!((answer.status.as_u16(), answer.at("/errors/0/path")), (422, field));
        assert!(!answer.at("/errors/0/code").is_empty() && answer.body["errors"][0]["arguments"] == json!([]));
    }
    for (body, path) in [
        (
            json!({"sourceCurrency": "EUR", "targetCurrency": "EUR", "sourceAmount": 1, "targetAmount": 1}),
            "sourceAmount",
        ),
        (json!({"sourceCurrency": "EUR", "targetCurrency": "EUR"}), "sourceAmount"),
        (json!({"sourceCurrency": "eur", "targetCurrency": "EUR", "targetAmount": 1}), "sourceCurrency"),
        (json!({"sourceCurrency": "EUR", "targetCurrency": "EUR", "targetAmount": 1.005}), "targetAmount"),
        (json!({"sourceCurrency": "EUR", "targetCurrency": "JPY", "targetAmount": 1.5}), "targetAmount"),
        (json!({"sourceCurrency": "EUR", "targetCurrency": "EUR", "targetAmount": "1"}), "targetAmount"),
        (
            json!({"sourceCurrency": "EUR", "targetCurrency": "GBP", "targetAmount": 1, "targetAccount": account}),
            "targetAccount",
        ),
    ] {
        let answer = rail.wise_post("/v3/profiles/7/quotes", &body).await;
        assert_eq!((answer.status.as_u16(), answer.at("/errors/0/path")), (422, path), "{body}");
    }
    let nameless = rail.wise_post("/v1/accounts", &json!({"profile": 7, "currency": "EUR", "type": "iban"})).await;
    assert_eq!((nameless.status.as_u16(), nameless.at("/errors/0/path")), (422, "accountHolderName"));
    assert!(rail.wise_get("/v1/transfers/5").await.is(404));
    let nobody = told(rail.request(Method::GET, "/wise/v1/transfers/5")).await;
    assert_eq!((nobody.status.as_u16(), nobody.at("/error")), (401, "invalid_token"));
    rail.do_post("/faults/revoke", json!({"credential": "token"})).await;
    assert!(rail.wise_get("/v1/transfers/5").await.is(401));
}

#[tokio::test]
async fn amounts_are_exact_numbers_and_convert() {
    let rail = Rail::start(&AT_ONCE);
    let account = recipient(&rail, "GBP").await;
    let quoted = quote(&rail, &account, "GBP").await;
    assert!(quoted.text.contains(r#""targetAmount":150.5,"#), "{}", quoted.text);
    let option = &quoted.body["paymentOptions"][0];
    assert_eq!((option["payIn"].as_str(), option["targetAmount"].to_string().as_str()), (Some("BALANCE"), "150.5"));
    let made = rail.wise_post("/v1/transfers", &transfer_body(&account, quoted.at("/id"), "k")).await;
    let id = made.body["id"].as_u64().unwrap();
    assert!(id < 1 << 53);
    fund(&rail, id).await;
    let told = statement(&rail).await;
    let row = &told.body["transactions"][0];
    assert_eq!(row["amount"]["value"].to_string(), format!("-{}", option["sourceAmount"]));
    assert_eq!(row["totalFees"]["value"], option["fee"]["total"]);
    let journal = rail.journal().await;
    assert_eq!((&journal[0]["amount_minor"], &journal[0]["currency"]), (&json!(15_050), &json!("GBP")));
    let yen = rail
        .wise_post(
            "/v3/profiles/7/quotes",
            &json!({"sourceCurrency": "EUR", "targetCurrency": "JPY", "sourceAmount": 100}),
        )
        .await;
    assert!(yen.body["paymentOptions"][0]["targetAmount"].is_u64());
    assert_eq!(yen.at("/providedAmountType"), "SOURCE");
}

#[tokio::test]
async fn too_little_money_is_a_refusal_with_200_and_may_be_tried_again() {
    let rail = Rail::start(&AT_ONCE);
    let id = prepare(&rail, "k").await;
    let balance = |amount: i64| json!({"shape": "wise", "account": "7", "currency": "EUR", "amount_minor": amount});
    rail.do_post("/faults/balance", balance(15_050)).await;
    let refused = fund(&rail, id).await;
    assert_eq!((refused.status.as_u16(), refused.at("/status")), (200, "REJECTED"));
    assert_eq!(refused.at("/errorCode"), "transfer.insufficient_funds");
    assert_eq!(status(&rail, id).await, "incoming_payment_waiting");
    rail.do_post("/faults/balance", balance(20_000)).await;
    assert_eq!(fund(&rail, id).await.at("/status"), "COMPLETED");
    let balances = rail.wise_get("/v4/profiles/7/balances").await;
    assert_eq!(
        (balances.at("/0/currency"), balances.body[0]["amount"]["value"].to_string()),
        ("EUR", "48.74".to_owned())
    );
    rail.set_faults(json!({"refuse": {"transfer.refused": 1}, "max": 1})).await;
    let other = prepare(&rail, "l").await;
    assert_eq!(fund(&rail, other).await.at("/errorCode"), "transfer.refused");
    assert_eq!(column(&rail.journal().await, "event"), ["refused", "paid", "refused"]);
    assert_eq!(rail.counts("wise").await, [1, 1, 0]);
}

#[tokio::test]
async fn groups_are_closed_and_then_funded_together_and_once() {
    let rail = Rail::start(&AT_ONCE);
    let group = rail.wise_post("/v3/profiles/7/batch-groups", &json!({"sourceCurrency": "EUR", "name": "run"})).await;
    assert_eq!((group.status.as_u16(), group.at("/status"), &group.body["version"]), (201, "NEW", &json!(1)));
    let path = format!("/v3/profiles/7/batch-groups/{}", group.at("/id"));
    let pay = format!("/v3/profiles/7/batch-payments/{}/payments", group.at("/id"));
    let account = recipient(&rail, "EUR").await;
    let mut bodies = Vec::new();
    for key in ["k", "l"] {
        let quoted = quote(&rail, &account, "EUR").await;
        let body = transfer_body(&account, quoted.at("/id"), key);
        let added = rail.wise_post(&format!("{path}/transfers"), &body).await;
        assert_eq!((added.status.as_u16(), added.at("/status")), (200, "incoming_payment_waiting"));
        let again = rail.wise_post(&format!("{path}/transfers"), &body).await;
        assert_eq!(again.body["id"], added.body["id"]);
        bodies.push(body);
    }
    let open = rail.wise_get(&path).await;
    assert_eq!((&open.body["version"], open.body["transferIds"].as_array().unwrap().len()), (&json!(3), 2));
    let fund = async |rail: &Rail| rail.wise_post(&pay, &json!({"type": "BALANCE"})).await;
    assert!(fund(&rail).await.is(422), "not closed");
    let patch = async |rail: &Rail, version: u64, status: &str| {
        told(rail.wise(Method::PATCH, &path).json(&json!({"status": status, "version": version}))).await
    };
    assert!(patch(&rail, 2, "COMPLETED").await.is(409), "not the version read last");
    let closed = patch(&rail, 3, "COMPLETED").await;
    assert_eq!((closed.at("/status"), &closed.body["version"]), ("COMPLETED", &json!(4)));
    assert_eq!(rail.journal().await.len(), 0, "closed is not paid");
    let quoted = quote(&rail, &account, "EUR").await;
    let late = rail.wise_post(&format!("{path}/transfers"), &transfer_body(&account, quoted.at("/id"), "m")).await;
    assert!(late.is(422), "a closed group takes no more");
    assert!(rail.wise_post(&format!("{path}/transfers"), &bodies[0]).await.is(200), "what is in it is found");

    let poor = json!({"shape": "wise", "account": "7", "currency": "EUR", "amount_minor": 20_000});
    rail.do_post("/faults/balance", poor).await;
    assert_eq!(fund(&rail).await.at("/errors/0/code"), "transfer.insufficient_funds");
    assert_eq!(rail.journal().await.len(), 0, "all or none");
    rail.do_post(
        "/faults/balance",
        json!({"shape": "wise", "account": "7", "currency": "EUR", "amount_minor": 50_000}),
    )
    .await;
    rail.set_faults(json!({"wise": {"sca": 1}})).await;
    assert!(fund(&rail).await.is(403));
    rail.set_faults(json!({"wise": {"sca": 0}, "lose_answer": 1, "max": 1})).await;
    assert!(rail.wise(Method::POST, &pay).json(&json!({"type": "BALANCE"})).send().await.is_err());
    let rail = rail.restart(&AT_ONCE);
    let again = fund(&rail).await;
    assert_eq!((again.status.as_u16(), &again.body["alreadyPaid"]), (200, &json!(true)));
    assert_eq!(rail.counts("wise").await, [2, 2, 0]);
    assert_eq!(column(&rail.journal().await, "batch"), [group.at("/id"), group.at("/id")]);
    for id in open.body["transferIds"].as_array().unwrap() {
        assert_eq!(status(&rail, id.as_u64().unwrap()).await, "outgoing_payment_sent");
    }
    let empty = rail.wise_post("/v3/profiles/7/batch-groups", &json!({"sourceCurrency": "EUR", "name": "run"})).await;
    assert_ne!(empty.at("/id"), group.at("/id"), "a name is no key");
    let path = format!("/v3/profiles/7/batch-groups/{}", empty.at("/id"));
    let given_up = told(rail.wise(Method::PATCH, &path).json(&json!({"status": "CANCELLED", "version": 1}))).await;
    assert_eq!(given_up.at("/status"), "CANCELLED");
}

#[tokio::test]
async fn a_lost_answer_of_funding_has_paid_and_a_lost_request_has_not() {
    let rail = Rail::start(&AT_ONCE);
    let (paid, unpaid) = (prepare(&rail, "k").await, prepare(&rail, "l").await);
    let request = |id: u64| fund_request(&rail, id);
    rail.set_faults(json!({"lose_answer": 1, "max": 1})).await;
    assert!(request(paid).send().await.is_err());
    rail.set_faults(json!({"lose_answer": 0, "lose_request": 1, "max": 1})).await;
    assert!(request(unpaid).send().await.is_err());
    assert_eq!(status(&rail, paid).await, "outgoing_payment_sent");
    assert_eq!(status(&rail, unpaid).await, "incoming_payment_waiting");
    assert_eq!(fund(&rail, unpaid).await.at("/status"), "COMPLETED");
    rail.set_faults(json!({"lose_request": 0, "execute_late": 1, "execute_late_ms": 60_000, "max": 1})).await;
    let late = prepare(&rail, "m").await;
    assert!(request(late).send().await.is_err());
    assert_eq!(status(&rail, late).await, "incoming_payment_waiting");
    let rail = rail.restart(&AT_ONCE);
    ahead(&rail, 61_000).await;
    rail.journal_of(3).await;
    assert_eq!(fund(&rail, late).await.at("/status"), "REJECTED", "and it was not paid again");
    assert_eq!(rail.counts("wise").await, [3, 3, 0]);
}

#[tokio::test]
async fn transfers_are_listed_by_profile_and_window_in_pages() {
    let rail = Rail::start(&AT_ONCE);
    let mut made = Vec::new();
    for number in 0..5 {
        made.push(prepare(&rail, &format!("k{number}")).await);
    }
    fund(&rail, made[0]).await;
    let ids = async |query: &str| -> Vec<u64> {
        let told = rail.wise_get(&format!("/v1/transfers?{query}")).await;
        told.body.as_array().unwrap().iter().map(|transfer| transfer["id"].as_u64().unwrap()).collect()
    };
    assert_eq!(ids("limit=10").await, Vec::<u64>::new(), "the personal profile has none");
    let first = ids("profile=7&limit=3&offset=0").await;
    let second = ids("profile=7&limit=3&offset=3").await;
    let mut all = [first, second].concat();
    all.sort_unstable();
    assert_eq!(all, made);
    assert_eq!(ids("profile=7&status=outgoing_payment_sent").await, [made[0]]);
    assert_eq!(ids("profile=7&createdDateEnd=2026-01-01").await, Vec::<u64>::new());
    assert_eq!(
        ids("profile=7&createdDateStart=2026-01-01T00:00:00Z&createdDateEnd=2099-01-01T00:00:00Z").await.len(),
        5
    );
    assert!(rail.wise_get("/v1/transfers?profile=7&limit=1001").await.is(400));
}

#[tokio::test]
async fn more_than_the_limit_is_429_with_how_long_to_wait() {
    let rail = Rail::start(&["--faults", r#"{"limit":{"wise":2}}"#]);
    let mut limited = None;
    for _ in 0..12 {
        let answer = rail.wise_get("/v1/transfers?profile=7").await;
        if answer.is(429) {
            limited = Some(answer);
        }
    }
    let limited = limited.unwrap();
    assert_eq!((limited.header("retry-after"), limited.header("x-rate-limited-by")), ("1", "wise-public-api"));
    assert_eq!(limited.body, json!({}));
}
