//! The public samples of the contracts, where this machine has them (`PAYFLEET_SPECS` names their folder): the adapters
//! understand bodies that others wrote.

use std::path::PathBuf;

use payfleet_domain::{Money, Outcome, RefusalCode};
use payfleet_rails::{Adapter, Answer, Finding, Instruction, Payee, StatementItem};
use serde_json::Value;
use time::OffsetDateTime;

use crate::paypal_create::{TOKEN, token};
use crate::server::{Act, Server};
use crate::world::{
    CREDENTIAL_REFUSED, NO_FUNDS, NOT_EXECUTED, Order, UNKNOWN, known, name, read_all, refused, registry,
};

/// The response of a sample, and its request's body.
fn sample(rail: &str, file: &str) -> Option<(Act, Value)> {
    let folder = PathBuf::from(std::env::var_os("PAYFLEET_SPECS")?).join(rail).join("examples");
    let text = std::fs::read_to_string(folder.join(format!("{file}.json"))).unwrap();
    let sample: Value = serde_json::from_str(&text).unwrap();
    let response = &sample["response"];
    let headers = response["headers"].as_object().cloned().unwrap_or_default();
    let names = ["x-2fa-approval", "x-2fa-approval-result", "Retry-After", "Idempotent-Replayed"];
    let headers = names.into_iter().filter_map(|name| Some((name, headers.get(name)?.as_str()?.to_owned()))).collect();
    let status = response["status"].as_u64().unwrap().try_into().unwrap();
    Some((Act::Reply(status, headers, response["body"].to_string()), sample["request"]["body"].clone()))
}

fn instruction(key: &str, minor: i64, currency: &str, destination: &str) -> Instruction {
    Instruction {
        key: key.parse().unwrap(),
        amount: Money { minor, currency: currency.parse().unwrap() },
        destination: destination.to_owned(),
        payee: Payee::default(),
        reference: None,
    }
}

/// The batch that the samples speak of.
fn paypal_order(body: &Value) -> Order {
    let mut order = Order::new("paypal", 0, "USD");
    order.instructions = body["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| {
            let value = item["amount"]["value"].as_str().unwrap().replace('.', "");
            let key = item["sender_item_id"].as_str().unwrap();
            instruction(key, value.parse().unwrap(), "USD", item["receiver"].as_str().unwrap())
        })
        .collect();
    let id = body["sender_batch_header"]["sender_batch_id"].clone();
    order.batch_key = serde_json::from_value(id).unwrap();
    order
}

#[tokio::test]
async fn paypals() {
    let Some((created, request)) = sample("paypal", "10-create-201") else { return };
    let order = paypal_order(&request);
    let accepted = Answer::Each(vec![Outcome::Accepted(name("RBUCFZADTJ2K8")); 8]);
    let read = |file| sample("paypal", file).unwrap().0;
    let send = "POST /v1/payments/payouts";
    for (act, expected) in [
        (created, accepted.clone()),
        (read("11-create-400-duplicate"), accepted),
        (read("12-create-400-validation"), refused("invalid_item")),
        (read("13-create-400-mixed-currency"), refused("validation_error")),
        (read("14-create-400-currency-not-held"), NO_FUNDS),
        (read("15-create-422-insufficient-funds"), NO_FUNDS),
        (read("16-create-403"), CREDENTIAL_REFUSED),
        (read("17-create-429"), NOT_EXECUTED),
        (read("18-create-500"), UNKNOWN),
    ] {
        let there = read("21-batch-200-success-every-item-state");
        let script = [(TOKEN, vec![read("00-token")]), (send, vec![act]), ("GET /v1/payments/payouts/", vec![there])];
        let server = Server::start(&script).await;
        assert_eq!(registry(&server.url, "").paypal().unwrap().submit(&order.call()).await, expected);
    }
    let order = order.accepted("RBUCFZADTJ2K8");
    let news = async |file| {
        let script = [(TOKEN, vec![token("t", 32_400)]), ("GET /v1/payments/payouts/", vec![read(file)])];
        let server = Server::start(&script).await;
        registry(&server.url, "").paypal().unwrap().follow(&order.call()).await
    };
    let waits = || known(Outcome::Accepted(name("RBUCFZADTJ2K8")));
    let back = |id| known(Outcome::Returned(name(id)));
    let expected = [
        known(Outcome::Paid(name("8AELMXH8UB2P0001T"))),
        waits(),
        back("8AELMXH8UB2P0003T"),
        known(Outcome::Refused(RefusalCode::new("receiver_account_invalid"))),
        waits(),
        waits(),
        back("8AELMXH8UB2P0007T"),
        back("8AELMXH8UB2P0008T"),
    ];
    assert_eq!(news("21-batch-200-success-every-item-state").await, expected);
    assert_eq!(news("20-batch-200-processing").await, vec![waits(); 8]);
    assert_eq!(news("23-batch-404").await, vec![Finding::Unanswered; 8]);
    let transactions = read("50-transactions-200");
    let script = [(TOKEN, vec![token("t", 32_400)]), ("GET /v1/reporting/", vec![transactions])];
    let server = Server::start(&script).await;
    let from = OffsetDateTime::now_utc() - time::Duration::DAY;
    let paypal = registry(&server.url, "").paypal().unwrap();
    let items = read_all(paypal.statement(&order.account, from).await).await.unwrap();
    assert_eq!(items.len(), 4, "two payments, one of them refunded, and the end");
}

#[tokio::test]
async fn stripes() {
    let Some((success, _)) = sample("stripe", "10-transfer-200") else { return };
    let mut order = Order::new("stripe", 0, "USD");
    order.instructions = vec![instruction("12884901929-a94610cdbdd64ddc", 1_000, "USD", "acct_1PgafTB7WZ01zgkW")];
    let read = |file| sample("stripe", file).unwrap().0;
    let paid = Answer::Each(vec![Outcome::Paid(name("tr_1Pgc7BB7WZ01zgkWVJfE40RX"))]);
    for (act, expected) in [
        (success, paid.clone()),
        (read("11-transfer-200-replayed"), paid),
        (read("12-transfer-400-idempotency-error"), UNKNOWN),
        (read("13-transfer-409-key-in-use"), UNKNOWN),
        (read("14-transfer-400-balance-insufficient"), NO_FUNDS),
        (read("15-transfer-400-no-such-destination"), refused("resource_missing")),
        (read("16-transfer-400-capability"), refused("insufficient_capabilities_for_transfer")),
        (read("17-transfer-429"), NOT_EXECUTED),
        (read("18-transfer-500"), UNKNOWN),
        (read("19-transfer-401"), CREDENTIAL_REFUSED),
    ] {
        let server = Server::start(&[("POST /v1/transfers", vec![act])]).await;
        assert_eq!(registry(&server.url, "").stripe().unwrap().submit(&order.call()).await, expected);
    }
    for (file, expected) in [
        ("20-transfers-list-200", known(Outcome::Paid(name("tr_1Pgc7BB7WZ01zgkWVJfE40RX")))),
        ("21-transfers-list-200-empty", Finding::NotFound),
    ] {
        let server = Server::start(&[("GET /v1/transfers?", vec![read(file)])]).await;
        assert_eq!(registry(&server.url, "").stripe().unwrap().look_up(&order.call()).await, [expected], "{file}");
    }
    let script = [
        ("GET /v1/balance_transactions", vec![read("50-balance-transactions-200")]),
        ("GET /v1/transfers/", vec![read("22-transfer-200-reversed")]),
    ];
    let server = Server::start(&script).await;
    let stripe = registry(&server.url, "").stripe().unwrap();
    let from = OffsetDateTime::UNIX_EPOCH;
    let items = read_all(stripe.statement(&order.account, from).await).await.unwrap();
    let keys: Vec<_> = items
        .iter()
        .filter_map(|item| match item {
            StatementItem::Line(line) => Some(line.key.as_str()),
            StatementItem::End(_) => None,
        })
        .collect();
    assert_eq!(keys, [order.key(0), order.key(0)]);
}

#[tokio::test]
async fn wises() {
    let Some((quote, _)) = sample("wise", "10-quote-200") else { return };
    let read = |file| sample("wise", file).unwrap().0;
    let mut order = Order::new("wise", 0, "GBP");
    order.instructions = vec![instruction("12884901929-a94610cdbdd64ddc", 15_000, "GBP", "8692237")];
    let accepted = Answer::Each(vec![Outcome::Accepted(name("16521632"))]);
    for (make, fund, expected) in [
        ("21-group-add-transfer-200", "30-transfer-fund-200-completed", accepted.clone()),
        ("21-group-add-transfer-200", "24-group-fund-403-sca", accepted),
        ("21-group-add-transfer-200", "39-error-429", NOT_EXECUTED),
        ("38-error-422", "30-transfer-fund-200-completed", NOT_EXECUTED),
    ] {
        let script = [
            ("POST /v3/profiles/12345678/quotes", vec![quote.clone()]),
            ("POST /v3/profiles/12345678/transfers/16521632/payments", vec![read(fund)]),
            ("POST /v1/transfers", vec![read(make)]),
        ];
        let server = Server::start(&script).await;
        assert_eq!(registry(&server.url, "").wise().unwrap().submit(&order.call()).await, expected, "{make} {fund}");
    }
    let server = Server::start(&[("GET /v1/transfers?", vec![read("33-transfers-list-200")])]).await;
    let found = registry(&server.url, "").wise().unwrap().look_up(&order.call()).await;
    assert_eq!(found, [known(Outcome::Paid(name("16521632")))]);
    let order = order.accepted("16521632");
    let server = Server::start(&[("GET /v1/transfers/16521632", vec![read("32-transfer-200-bounced")])]).await;
    let found = registry(&server.url, "").wise().unwrap().follow(&order.call()).await;
    assert_eq!(found, [known(Outcome::Accepted(name("16521632")))]);
    let script = [
        ("GET /v1/profiles/12345678/balance-statements/", vec![read("50-statement-200")]),
        ("GET /v1/transfers/16521632", vec![read("32-transfer-200-bounced")]),
    ];
    let server = Server::start(&script).await;
    let from = OffsetDateTime::now_utc() - time::Duration::DAY;
    let wise = registry(&server.url, "").wise().unwrap();
    let items = read_all(wise.statement(&order.account, from).await).await.unwrap();
    assert_eq!(items.len(), 3, "a payment, its refund, and the end");
}
