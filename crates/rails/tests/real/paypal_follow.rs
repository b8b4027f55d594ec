//! PayPal: a batch is followed by PayPal's own name for it, every page; and an item that nobody claims is taken back.

use payfleet_domain::{Outcome, RefusalCode};
use payfleet_rails::{Adapter, Finding};
use serde_json::{Value, json};

use crate::paypal_create::{TOKEN, order, token};
use crate::server::{Act, Server, reply};
use crate::world::{Order, known, name, registry};

const GET: &str = "GET /v1/payments/payouts/PB1";

/// An item in this state; what is paid or came back has its payment's name.
pub fn item(order: &Order, at: usize, status: Option<&str>, error: Option<&str>) -> Value {
    let one = &order.instructions[at];
    let mut item = json!({
        "payout_item_id": format!("PI{at}"), "activity_id": "A", "payout_batch_id": "PB1",
        "payout_item_fee": {"currency": "USD", "value": "0.20"},
        "payout_item": {
            "recipient_type": "EMAIL", "receiver": one.destination, "sender_item_id": one.key.as_str(),
            "amount": {"value": format!("10.0{}", at + 1), "currency": "USD"},
        },
        "links": [{"href": "https://x", "rel": "item"}], "a_field_of_next_year": null,
    });
    if let Some(status) = status {
        item["transaction_status"] = status.into();
        if !matches!(status, "PENDING" | "FAILED") {
            item["transaction_id"] = format!("T{at}").into();
        }
    }
    if let Some(error) = error {
        item["errors"] = json!({"name": error, "message": "...", "debug_id": "0"});
    }
    item
}

/// A batch with these items, on one page.
pub fn batch(order: &Order, status: &str, items: &[Value]) -> String {
    let sum: i64 = order.instructions.iter().map(|one| one.amount.minor).sum();
    let value = format!("{}.{:02}", sum / 100, sum % 100);
    json!({
        "total_items": items.len(), "total_pages": 1,
        "batch_header": {
            "payout_batch_id": "PB1", "batch_status": status,
            "sender_batch_header": {"sender_batch_id": order.batch_key.as_str()},
            "amount": {"currency": "USD", "value": value}, "fees": {"currency": "USD", "value": "8.69"},
        },
        "items": items, "links": [],
    })
    .to_string()
}

async fn follow(order: &Order, acts: Vec<Act>) -> (Server, Vec<Finding>) {
    let server = Server::start(&[(TOKEN, vec![token("t", 32_400)]), (GET, acts)]).await;
    let findings = registry(&server.url, "").paypal().unwrap().follow(&order.call()).await;
    (server, findings)
}

#[tokio::test]
async fn every_row_of_the_table_of_items() {
    let order = order(1).accepted("PB1");
    let accepted = || known(Outcome::Accepted(name("PB1")));
    let rows = [
        (None, None, accepted()),
        (Some("PENDING"), None, accepted()),
        (Some("SUCCESS"), None, known(Outcome::Paid(name("T0")))),
        (Some("UNCLAIMED"), Some("RECEIVER_UNREGISTERED"), accepted()),
        (Some("UNCLAIMED"), Some("RECEIVER_UNCONFIRMED"), accepted()),
        (Some("ONHOLD"), Some("REGULATORY_PENDING"), accepted()),
        (Some("BLOCKED"), Some("REGULATORY_BLOCKED"), accepted()),
        (
            Some("FAILED"),
            Some("RECEIVER_ACCOUNT_INVALID"),
            known(Outcome::Refused(RefusalCode::new("receiver_account_invalid"))),
        ),
        (Some("FAILED"), Some("A_NAME_OF_NEXT_YEAR"), known(Outcome::Refused(RefusalCode::new("a_name_of_next_year")))),
        (Some("RETURNED"), Some("RECEIVER_UNREGISTERED"), known(Outcome::Returned(name("T0")))),
        (Some("REFUNDED"), None, known(Outcome::Returned(name("T0")))),
        (Some("REVERSED"), None, known(Outcome::Returned(name("T0")))),
        // Nothing is concluded from what the contract does not have.
        (Some("FAILED"), None, Finding::Unanswered),
        (Some("FAILED"), Some("DUPLICATE_ITEM"), Finding::Unanswered),
        (Some("DENIED"), Some("RECEIVER_ACCOUNT_INVALID"), Finding::Unanswered),
        (Some("success"), None, Finding::Unanswered),
        (Some(""), None, Finding::Unanswered),
    ];
    for (status, error, expected) in rows {
        let body = batch(&order, "SUCCESS", &[item(&order, 0, status, error)]);
        let (_, found) = follow(&order, vec![reply(200, body)]).await;
        assert_eq!(found, [expected], "{status:?} {error:?}");
    }
    let mut nameless = item(&order, 0, Some("SUCCESS"), None);
    nameless.as_object_mut().unwrap().remove("transaction_id");
    let (_, found) = follow(&order, vec![reply(200, batch(&order, "SUCCESS", &[nameless]))]).await;
    assert_eq!(found, [Finding::Unanswered], "paid without a proof");
}

#[tokio::test]
async fn one_item_that_says_nothing_does_not_silence_the_others() {
    let order = order(3).accepted("PB1");
    let items = [
        item(&order, 0, Some("SUCCESS"), None),
        item(&order, 1, Some("OF_NEXT_YEAR"), None),
        item(&order, 2, Some("FAILED"), Some("INVALID_EMAIL")),
    ];
    let (server, found) = follow(&order, vec![reply(200, batch(&order, "SUCCESS", &items))]).await;
    let expected = [
        known(Outcome::Paid(name("T0"))),
        Finding::Unanswered,
        known(Outcome::Refused(RefusalCode::new("invalid_email"))),
    ];
    assert_eq!(found, expected);
    assert_eq!(server.asked(GET)[0].line, format!("{GET}?page=1&page_size=1000&total_required=true"));
}

#[tokio::test]
async fn a_denied_batch_refuses_what_it_names_as_failed() {
    let order = order(2).accepted("PB1");
    let items = [item(&order, 0, Some("FAILED"), Some("SELF_PAY_NOT_ALLOWED")), item(&order, 1, Some("FAILED"), None)];
    let (_, found) = follow(&order, vec![reply(200, batch(&order, "DENIED", &items))]).await;
    assert_eq!(found, [known(Outcome::Refused(RefusalCode::new("self_pay_not_allowed"))), Finding::Unanswered]);
    let (_, found) = follow(&order, vec![reply(200, batch(&order, "DENIED", &items[..1]))]).await;
    assert_eq!(found, [Finding::Unanswered, Finding::Unanswered], "an item is missing: it is believed nowhere");
}

/// A denied batch frees its id, so a request of before that is still under way would make another one.
#[tokio::test]
async fn a_refusal_is_believed_when_every_request_is_dead_by_paypals_clock_and_a_payment_at_once() {
    let order = order(2).accepted("PB1");
    let items = [item(&order, 0, Some("FAILED"), Some("INVALID_EMAIL")), item(&order, 1, Some("SUCCESS"), None)];
    let refused = known(Outcome::Refused(RefusalCode::new("invalid_email")));
    for (date, first) in [
        ("Fri, 02 Jan 2026 03:04:05 GMT", Finding::Unanswered),
        ("no date", Finding::Unanswered),
        ("Fri, 02 Jan 2026 03:04:06 GMT", refused),
    ] {
        let told = Act::Reply(200, vec![("date", date.to_owned())], batch(&order, "SUCCESS", &items));
        let (_, found) = follow(&order, vec![told]).await;
        assert_eq!(found, [first, known(Outcome::Paid(name("T1")))], "{date}");
    }
}

#[tokio::test]
async fn items_that_are_not_there_yet_are_waited_for_while_the_batch_runs() {
    let order = order(2).accepted("PB1");
    let one = [item(&order, 0, Some("SUCCESS"), None)];
    for status in ["PENDING", "PROCESSING"] {
        let (_, found) = follow(&order, vec![reply(200, batch(&order, status, &one))]).await;
        assert_eq!(found, [known(Outcome::Paid(name("T0"))), known(Outcome::Accepted(name("PB1")))], "{status}");
    }
    for status in ["SUCCESS", "CANCELED", "OF_NEXT_YEAR"] {
        let (_, found) = follow(&order, vec![reply(200, batch(&order, status, &one))]).await;
        assert_eq!(found, [Finding::Unanswered, Finding::Unanswered], "{status}");
    }
}

#[tokio::test]
async fn every_page_is_read() {
    let order = order(3).accepted("PB1");
    let page = |total: u32, items: &[Value]| {
        reply(200, batch(&order, "SUCCESS", items).replace(r#""total_pages":1"#, &format!(r#""total_pages":{total}"#)))
    };
    let items: Vec<Value> = (0..3).map(|at| item(&order, at, Some("SUCCESS"), None)).collect();
    let (server, found) = follow(&order, vec![page(3, &items[..1]), page(3, &items[1..2]), page(3, &items[2..])]).await;
    assert_eq!(found, [0, 1, 2].map(|at| known(Outcome::Paid(name(&format!("T{at}"))))));
    let asked: Vec<bool> =
        server.asked(GET).iter().zip(1..).map(|(seen, page)| seen.line.contains(&format!("page={page}&"))).collect();
    assert_eq!(asked, [true, true, true]);
    for odd in [
        vec![page(2, &items[..1]), page(3, &items[1..2]), page(3, &items[2..])],
        vec![page(2, &items[..2]), reply(500, "")],
        vec![page(2, &items[..2]), Act::Lost],
        vec![page(2, &items), page(2, &items[2..])],
        vec![page(1_001, &items)],
    ] {
        let (_, found) = follow(&order, odd.clone()).await;
        assert_eq!(found, vec![Finding::Unanswered; 3], "{odd:?}");
    }
}

#[tokio::test]
async fn what_contradicts_itself_anywhere_is_believed_nowhere() {
    let order = order(2).accepted("PB1");
    let items = [item(&order, 0, Some("SUCCESS"), None), item(&order, 1, Some("FAILED"), Some("INVALID_EMAIL"))];
    let good = batch(&order, "SUCCESS", &items);
    for (case, body) in [
        ("another batch", good.replace("PB1", "PB2")),
        ("another id of ours", good.replace(order.batch_key.as_str(), "another")),
        ("another amount", good.replace("10.01", "10.10")),
        ("an amount that is none", good.replace("10.01", "10.011")),
        (
            "another currency",
            good.replace(r#""currency":"USD","value":"10.01""#, r#""currency":"EUR","value":"10.01""#),
        ),
        ("another receiver", good.replace("payee1@", "mallory@")),
        ("an item twice", good.replace(order.key(1), order.key(0))),
        (
            "one payment for two",
            good.replace(r#""transaction_status":"FAILED""#, r#""transaction_status":"SUCCESS","transaction_id":"T0""#),
        ),
        ("with an error in it", good.replacen('{', r#"{"name":"INTERNAL_ERROR","#, 1)),
        ("garbled", good.replacen('{', "", 1)),
        ("nothing", String::new()),
    ] {
        assert_ne!(body, good, "{case}");
        let (_, found) = follow(&order, vec![reply(200, body)]).await;
        assert_eq!(found, vec![Finding::Unanswered; 2], "{case}");
    }
    for act in [reply(404, r#"{"name":"INVALID_RESOURCE_ID"}"#), reply(429, ""), reply(500, good), Act::Lost, Act::Hang]
    {
        let (_, found) = follow(&order, vec![act.clone()]).await;
        assert_eq!(found, vec![Finding::Unanswered; 2], "{act:?}: no proof that there is none");
    }
    let huge = format!("{}{}", " ".repeat(8 << 20), batch(&order, "SUCCESS", &items));
    let (_, found) = follow(&order, vec![reply(200, huge)]).await;
    assert_eq!(found, vec![Finding::Unanswered; 2], "an oversize answer");
}

#[tokio::test]
async fn what_has_no_name_at_paypal_cannot_be_asked_for() {
    let server = Server::start(&[(TOKEN, vec![token("t", 32_400)])]).await;
    let paypal = registry(&server.url, "").paypal().unwrap();
    let order = order(2);
    assert_eq!(paypal.follow(&order.call()).await, vec![Finding::Unanswered; 2]);
    assert_eq!(paypal.look_up(&order.call()).await, vec![Finding::NotYet; 2], "no proof that it was not paid");
    assert_eq!(server.seen(), []);
}

#[tokio::test]
async fn what_nobody_claims_can_be_taken_back() {
    let order = order(1).accepted("PB1");
    let cancel = "POST /v1/payments/payouts-item/PI0/cancel";
    let there = |status| reply(200, batch(&order, "SUCCESS", &[item(&order, 0, Some(status), None)]));
    let back = || reply(200, item(&order, 0, Some("RETURNED"), None).to_string());
    let late = || reply(400, r#"{"name":"ITEM_INCORRECT_STATUS","message":"...","debug_id":"d"}"#);
    let mut other = item(&order, 0, Some("RETURNED"), None);
    other["payout_item_id"] = "PI9".into();
    let returned = || known(Outcome::Returned(name("T0")));
    let paid = || known(Outcome::Paid(name("T0")));
    for (case, gets, post, expected, posts) in [
        ("taken back", vec![there("UNCLAIMED")], back(), returned(), 1),
        ("claimed before", vec![there("SUCCESS")], back(), paid(), 0),
        ("claimed meanwhile", vec![there("UNCLAIMED"), there("SUCCESS")], late(), paid(), 1),
        ("taken back before", vec![there("UNCLAIMED"), there("RETURNED")], late(), returned(), 1),
        ("an answer about another", vec![there("UNCLAIMED")], reply(200, other.to_string()), Finding::Unanswered, 1),
        ("no answer", vec![there("UNCLAIMED")], Act::Lost, Finding::Unanswered, 1),
        ("no batch", vec![reply(404, "{}")], back(), Finding::Unanswered, 0),
    ] {
        let server = Server::start(&[(TOKEN, vec![token("t", 32_400)]), (GET, gets), (cancel, vec![post])]).await;
        let found = registry(&server.url, "").paypal().unwrap().recall(&order.call()).await;
        assert_eq!(found, expected, "{case}");
        assert_eq!(server.asked(cancel).len(), posts, "{case}");
    }
}
