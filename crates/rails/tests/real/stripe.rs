//! Stripe: transfers, their answers row by row, and the lookup by `transfer_group`.

use payfleet_domain::{Money, Outcome};
use payfleet_rails::{Adapter, Answer, Finding, Payee};
use serde_json::json;
use time::macros::datetime;

use crate::server::{Act, Server, reply};
use crate::world::{
    CREDENTIAL_REFUSED, NO_FUNDS, NOT_EXECUTED, Order, UNKNOWN, known, name, refused, registry, registry_of,
};

const SEND: &str = "POST /v1/transfers";
const LIST: &str = "GET /v1/transfers?transfer_group=";

pub fn order() -> Order {
    Order::new("stripe", 1, "USD")
}

pub fn transfer(id: &str, reversed: i64) -> serde_json::Value {
    let order = order();
    json!({
        "id": id, "object": "transfer", "amount": 1001, "amount_reversed": reversed, "created": 1_795_575_605,
        "currency": "usd", "destination": "acct_1PgafTB7WZ01zgk1", "livemode": false,
        "metadata": {"payout": order.key(0)}, "reversed": reversed == 1001, "source_type": "card",
        "transfer_group": order.key(0), "a_field_of_next_year": {"x": [1]},
    })
}

fn list(transfers: &[serde_json::Value]) -> String {
    json!({"object": "list", "data": transfers, "has_more": false, "url": "/v1/transfers"}).to_string()
}

fn error(kind: &str, code: Option<&str>, param: Option<&str>) -> String {
    let mut error = json!({"type": kind, "message": "..."});
    if let Some(code) = code {
        error["code"] = code.into();
    }
    if let Some(param) = param {
        error["param"] = param.into();
    }
    json!({"error": error}).to_string()
}

async fn submit(act: Act) -> Answer {
    let server = Server::start(&[(SEND, vec![act])]).await;
    let answer = registry(&server.url, "").stripe().unwrap().submit(&order().call()).await;
    assert_eq!(server.seen().len(), 1, "nothing is sent twice by one call");
    answer
}

async fn look_up(act: Act) -> Vec<Finding> {
    let server = Server::start(&[(LIST, vec![act])]).await;
    registry(&server.url, "").stripe().unwrap().look_up(&order().call()).await
}

#[tokio::test]
async fn the_request_is_this_form_and_never_another() {
    let server = Server::start(&[(SEND, vec![reply(500, "")])]).await;
    let stripe = registry(&server.url, "").stripe().unwrap();
    let mut order = order();
    stripe.submit(&order.call()).await;
    // Who the payee is may be imported anew between two requests: it is not in the form.
    order.instructions[0].payee = Payee { name: Some("Ann".to_owned()), country: Some("DE".to_owned()), text: None };
    stripe.submit(&order.call()).await;
    let seen = server.seen();
    assert_eq!(seen[0], seen[1]);
    let key = "12884901929-a94610cdbdd64ddc";
    assert_eq!(
        seen[0].body,
        format!(
            "amount=1001&currency=usd&destination=acct_1PgafTB7WZ01zgk1&transfer_group={key}&metadata%5Bpayout%5D={key}"
        )
    );
    assert_eq!(seen[0].header("idempotency-key"), Some(key));
    assert_eq!(seen[0].header("authorization"), Some("Bearer sk_test_s3cret"));
    assert_eq!(seen[0].header("stripe-version"), Some("2026-10-28.endive"));
    assert_eq!(seen[0].header("content-type"), Some("application/x-www-form-urlencoded"));
}

#[tokio::test]
async fn a_success_is_one_only_if_it_is_the_payment_that_was_ordered() {
    let good = transfer("tr_1", 0);
    let paid = Answer::Each(vec![Outcome::Paid(name("tr_1"))]);
    assert_eq!(submit(reply(200, good.to_string())).await, paid);
    let replayed = Act::Reply(200, vec![("idempotent-replayed", "true".to_owned())], good.to_string());
    assert_eq!(submit(replayed).await, paid, "the stored answer is the same proof");
    let mut expanded = good.clone();
    expanded["destination"] = json!({"id": "acct_1PgafTB7WZ01zgk1", "object": "account"});
    assert_eq!(submit(reply(200, expanded.to_string())).await, paid);
    for (field, lie) in [
        ("object", json!("payout")),
        ("amount", json!(1000)),
        ("amount", json!(1001.0)),
        ("currency", json!("eur")),
        ("destination", json!("acct_other")),
        ("transfer_group", json!("12884901930-a94610cdbdd64ddc")),
        ("transfer_group", json!(null)),
        ("id", json!("")),
        ("amount_reversed", json!(1002)),
        ("amount_reversed", json!(-1)),
        ("error", json!({"type": "api_error"})),
    ] {
        let mut body = good.clone();
        body[field] = lie.clone();
        assert_eq!(submit(reply(200, body.to_string())).await, UNKNOWN, "{field}: {lie}");
    }
    for body in ["", "{", "[]", "null", "{}"] {
        assert_eq!(submit(reply(200, body)).await, UNKNOWN, "{body}");
    }
    assert_eq!(submit(reply(201, good.to_string())).await, UNKNOWN, "success is 200");
}

#[tokio::test]
async fn every_row_of_the_table_of_answers() {
    let request = "invalid_request_error";
    let rows = [
        (400, error("idempotency_error", None, None), UNKNOWN),
        (409, error(request, Some("idempotency_key_in_use"), None), UNKNOWN),
        (409, String::new(), UNKNOWN),
        (400, error(request, Some("idempotency_key_in_use"), None), UNKNOWN),
        (400, error(request, Some("balance_insufficient"), None), NO_FUNDS),
        (400, error(request, Some("resource_missing"), Some("destination")), refused("resource_missing")),
        (
            400,
            error(request, Some("resource_missing"), Some("source_transaction")),
            refused("resource_missing_source_transaction"),
        ),
        (
            400,
            error(request, Some("insufficient_capabilities_for_transfer"), Some("destination")),
            refused("insufficient_capabilities_for_transfer"),
        ),
        (400, error(request, Some("amount_too_small"), None), refused("amount_too_small")),
        (402, error("card_error", Some("a_code_of_next_year"), None), refused("a_code_of_next_year")),
        (404, error(request, Some("no_such_thing"), None), refused("no_such_thing")),
        (401, error(request, None, None), CREDENTIAL_REFUSED),
        (403, error(request, Some("account_invalid"), None), CREDENTIAL_REFUSED),
        (429, error(request, Some("rate_limit"), None), NOT_EXECUTED),
        (429, error(request, Some("lock_timeout"), None), NOT_EXECUTED),
        (500, error("api_error", None, None), UNKNOWN),
        (500, error(request, Some("rate_limit"), None), UNKNOWN),
        (503, String::new(), UNKNOWN),
        // Without the word that the contract has, a proxy may have said it after Stripe had paid.
        (400, error(request, None, None), UNKNOWN),
        (400, error(request, Some(""), None), UNKNOWN),
        (400, error(request, Some("rate_limit"), None), UNKNOWN),
        (401, "<html>".to_owned(), UNKNOWN),
        (403, "{}".to_owned(), UNKNOWN),
        (429, "slow down".to_owned(), UNKNOWN),
        (429, error(request, Some("other"), None), UNKNOWN),
        (418, error(request, Some("teapot"), None), UNKNOWN),
        (302, String::new(), UNKNOWN),
    ];
    for (status, body, expected) in rows {
        assert_eq!(submit(reply(status, body.clone())).await, expected, "{status} {body}");
    }
    let mut both = transfer("tr_1", 0);
    both["error"] = json!({"type": request, "code": "balance_insufficient"});
    assert_eq!(submit(reply(400, both.to_string())).await, UNKNOWN, "refused and paid at once");
}

#[tokio::test]
async fn a_stored_answer_proves_what_it_says_and_no_more() {
    let stored = |status, body| Act::Reply(status, vec![("idempotent-replayed", "true".to_owned())], body);
    let balance = error("invalid_request_error", Some("balance_insufficient"), None);
    // A day long, also after funding: proof that nothing was paid under this key, and no word about the account. With
    // that proof the same call asks under another key, and under each only once.
    let script =
        [stored(400, balance.clone()), stored(400, balance.clone()), reply(200, transfer("tr_1", 0).to_string())];
    let (order, server) = (order(), Server::start(&[(SEND, script.to_vec())]).await);
    let stripe = registry(&server.url, "").stripe().unwrap();
    let paid = Answer::Each(vec![Outcome::Paid(name("tr_1"))]);
    assert_eq!(stripe.submit(&order.call()).await, paid);
    let key = order.key(0).to_owned();
    let keys = |server: &Server| {
        let keys = server.asked(SEND).into_iter().map(|seen| seen.header("idempotency-key").unwrap().to_owned());
        keys.collect::<Vec<_>>()
    };
    let third = format!("{key}-3");
    assert_eq!(keys(&server), [key.clone(), format!("{key}-2"), third.clone()]);
    assert!(server.asked(SEND).iter().all(|seen| seen.body == server.asked(SEND)[0].body), "the form is the same");
    // Who was told so knows it: the last key is asked for again, and none of those before.
    assert_eq!(stripe.submit(&order.call()).await, paid);
    assert_eq!(keys(&server)[3..], [third]);
    // What the first request is told is of now, and so nothing follows it.
    let server = Server::start(&[(SEND, vec![reply(400, balance), reply(200, transfer("tr_1", 0).to_string())])]).await;
    assert_eq!(registry(&server.url, "").stripe().unwrap().submit(&order.call()).await, NO_FUNDS);
    assert_eq!(keys(&server), [key]);
    assert_eq!(submit(stored(500, error("api_error", None, None))).await, UNKNOWN, "only the lookup tells");
}

#[tokio::test]
async fn a_list_that_is_empty_is_believed_after_the_requests_lifetime_by_the_rails_clock() {
    let expiry = order().call().expires_at;
    assert_eq!(expiry, datetime!(2026-01-02 03:04:05 UTC));
    let at = |date: &str| Act::Reply(200, vec![("date", date.to_owned())], list(&[]));
    assert_eq!(look_up(at("Fri, 02 Jan 2026 03:04:04 GMT")).await, [Finding::NotYet]);
    assert_eq!(look_up(at("Fri, 02 Jan 2026 03:04:05 GMT")).await, [Finding::NotYet], "at its last instant");
    assert_eq!(look_up(at("Fri, 02 Jan 2026 03:04:06 GMT")).await, [Finding::NotFound]);
    assert_eq!(look_up(at("no date")).await, [Finding::NotYet], "its clock did not say");
}

#[tokio::test]
async fn a_list_tells_what_was_paid_and_what_of_it_came_back() {
    let found = |transfers: &[serde_json::Value]| look_up(reply(200, list(transfers)));
    let money = |minor| Money { minor, currency: "USD".parse().unwrap() };
    let paid = |id| known(Outcome::Paid(name(id)));
    assert_eq!(found(&[transfer("tr_1", 0)]).await, [paid("tr_1")]);
    assert_eq!(found(&[transfer("tr_1", 1001)]).await, [known(Outcome::Returned(name("tr_1")))]);
    assert_eq!(found(&[transfer("tr_1", 1)]).await, [known(Outcome::ReturnedPart(name("tr_1"), money(1)))]);
    assert_eq!(found(&[transfer("tr_1", 0), transfer("tr_2", 0)]).await, [paid("tr_1")], "twice: the first is proof");
    let one_back = found(&[transfer("tr_1", 1001), transfer("tr_2", 0)]).await;
    assert_eq!(one_back, [paid("tr_2")], "the payee has the other");
}

#[tokio::test]
async fn a_question_without_a_usable_answer_says_nothing() {
    let mut foreign = transfer("tr_1", 0);
    foreign["transfer_group"] = "12884901930-a94610cdbdd64ddc".into();
    let mut other = transfer("tr_1", 0);
    other["amount"] = 5.into();
    let more = json!({"object": "list", "data": [], "has_more": true}).to_string();
    for act in [
        reply(200, list(&[foreign])),
        reply(200, list(&[other])),
        reply(200, more),
        reply(200, r#"{"object":"search_result","data":[],"has_more":false}"#),
        reply(200, r#"{"object":"list","data":[],"has_more":false,"error":{"type":"api_error"}}"#),
        reply(200, r#"{"object":"list","has_more":false}"#),
        reply(404, error("invalid_request_error", Some("resource_missing"), None)),
        reply(400, error("invalid_request_error", Some("balance_insufficient"), None)),
        reply(401, error("invalid_request_error", None, None)),
        reply(429, error("invalid_request_error", Some("rate_limit"), None)),
        reply(500, ""),
        Act::Lost,
        Act::Hang,
    ] {
        assert_eq!(look_up(act.clone()).await, [Finding::Unanswered], "{act:?}");
    }
}

#[tokio::test]
async fn amounts_are_told_in_stripes_units_or_not_at_all() {
    let server = Server::start(&[(SEND, vec![reply(500, "")])]).await;
    let stripe = registry(&server.url, "limits = { largest_minor = { EUR = 500 } }").stripe().unwrap();
    for (currency, minor, told) in
        [("JPY", 1_234, "amount=1234&"), ("ISK", 12, "amount=1200&"), ("MGA", 500, "amount=5&")]
    {
        let mut order = Order::new("stripe", 1, currency);
        order.instructions[0].amount.minor = minor;
        assert_eq!(stripe.submit(&order.call()).await, UNKNOWN);
        assert!(server.seen().last().unwrap().body.starts_with(told), "{currency}");
    }
    let asked = server.seen().len();
    for (currency, minor) in [("MGA", 550), ("KWD", 12_345), ("EUR", 501)] {
        let mut order = Order::new("stripe", 1, currency);
        order.instructions[0].amount.minor = minor;
        assert_eq!(stripe.submit(&order.call()).await, NOT_EXECUTED, "{currency}");
    }
    for unfit in [Order::new("stripe", 0, "USD"), Order::new("stripe", 2, "USD")] {
        assert_eq!(stripe.submit(&unfit.call()).await, NOT_EXECUTED);
    }
    assert_eq!(server.seen().len(), asked, "nothing of it was sent");
}

#[tokio::test]
async fn a_key_for_money_is_not_shown_to_stripe_by_an_account_for_tests() {
    let accounts = "[[account]]\nrail = \"stripe\"\nname = \"main\"\nbase_url = \"https://api.stripe.com\"";
    let stripe = registry_of(accounts).stripe();
    // At Stripe's own host nothing is sent here: the key is looked at first.
    let mut order = order();
    order.account.credential = Some(payfleet_rails::Credential::new("sk_live_s3cret"));
    assert_eq!(stripe.unwrap().submit(&order.call()).await, NOT_EXECUTED);
    order.account.credential = None;
    let server = Server::start(&[(SEND, vec![reply(200, transfer("tr_1", 0).to_string())])]).await;
    let stripe = registry(&server.url, "").stripe().unwrap();
    assert_eq!(stripe.submit(&order.call()).await, NOT_EXECUTED);
    order.account.name = "another".to_owned();
    assert_eq!(stripe.submit(&order.call()).await, NOT_EXECUTED);
    assert_eq!(stripe.look_up(&order.call()).await, [Finding::Unanswered]);
    assert_eq!(server.seen(), []);
}
