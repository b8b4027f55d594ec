//! Wise: quote, transfer, funding, and what is known after each.

use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use payfleet_domain::{Money, Outcome};
use payfleet_rails::{Adapter, Answer, Call, Finding, Going, Pace, Turns};
use serde_json::{Value, json};

use crate::server::{Act, Server, reply};
use crate::world::{CREDENTIAL_REFUSED, NO_FUNDS, NOT_EXECUTED, Order, UNKNOWN, known, name, refused, registry};

pub const QUOTE: &str = "POST /v3/profiles/12345678/quotes";
pub const MAKE: &str = "POST /v1/transfers";
pub const FUND: &str = "POST /v3/profiles/12345678/transfers/16521632/payments";
pub const CANCEL: &str = "PUT /v1/transfers/16521632/cancel";
pub const ONE: &str = "GET /v1/transfers/16521632";
const LIST: &str = "GET /v1/transfers?";
pub const STATEMENT: &str = "GET /v1/profiles/12345678/balance-statements/200001/statement.json?";

pub fn order() -> Order {
    Order::new("wise", 1, "EUR")
}

pub fn transfer(status: &str) -> Value {
    let uuid = order().instructions[0].key.uuid();
    json!({
        "id": 16_521_632, "user": 4_342_275, "targetAccount": 8_692_237, "status": status, "rate": 1.0,
        "quoteUuid": "bd244a95-dcf8-4c31-aac8-bf5e2f3e54c0", "created": "2026-01-02 03:00:10", "hasActiveIssues": false,
        "sourceCurrency": "EUR", "sourceValue": 10.01, "targetCurrency": "EUR", "targetValue": 10.01,
        "customerTransactionId": uuid.to_string(), "a_field_of_next_year": [],
    })
}

pub fn made(status: &str) -> Act {
    reply(200, transfer(status).to_string())
}

pub fn quoted() -> Act {
    reply(200, r#"{"id":"bd244a95-dcf8-4c31-aac8-bf5e2f3e54c0","status":"PENDING","paymentOptions":[]}"#)
}

pub fn funded() -> Act {
    reply(200, r#"{"type":"BALANCE","status":"COMPLETED","errorCode":null}"#)
}

fn errors(code: &str, path: &str) -> String {
    json!({"errors": [{"code": code, "message": "...", "path": path, "arguments": []}]}).to_string()
}

pub fn sca() -> Act {
    let headers = vec![("x-2fa-approval-result", "REJECTED".to_owned()), ("x-2fa-approval", "be2f184d".to_owned())];
    Act::Reply(403, headers, r#"{"status":403,"error":"Forbidden","message":"..."}"#.to_owned())
}

pub async fn submit_to(quote: Act, make: Act, fund: Act, cancel: Act) -> (Server, Answer) {
    let script = [(QUOTE, vec![quote]), (MAKE, vec![make]), (FUND, vec![fund]), (CANCEL, vec![cancel])];
    let server = Server::start(&script).await;
    let answer = registry(&server.url, "").wise().unwrap().submit(&order().call()).await;
    assert!(server.asked(FUND).len() <= 1, "nothing is funded twice by one call");
    (server, answer)
}

async fn fund_answers(fund: Act) -> Answer {
    submit_to(quoted(), made("incoming_payment_waiting"), fund, made("cancelled")).await.1
}

fn accepted() -> Answer {
    Answer::Each(vec![Outcome::Accepted(name("16521632"))])
}

#[tokio::test]
async fn a_payment_is_a_quote_a_transfer_and_its_funding() {
    let (server, answer) = submit_to(quoted(), made("incoming_payment_waiting"), funded(), Act::Hang).await;
    assert_eq!(answer, accepted(), "funded is not paid");
    let seen = server.seen();
    assert_eq!(seen.len(), 3);
    let quote = r#"{"sourceCurrency":"EUR","targetCurrency":"EUR","targetAmount":10.01,"targetAccount":8692237}"#;
    assert_eq!(seen[0].body, quote, "the amount is written as a decimal number");
    let key = order().key(0).to_owned();
    let expected = json!({
        "targetAccount": 8_692_237, "quoteUuid": "bd244a95-dcf8-4c31-aac8-bf5e2f3e54c0",
        "customerTransactionId": order().instructions[0].key.uuid().to_string(), "details": {"reference": key},
    });
    assert_eq!(seen[1].json(), expected);
    assert_eq!(seen[2].body, r#"{"type":"BALANCE"}"#);
    assert!(seen.iter().all(|one| one.header("authorization") == Some("Bearer sk_test_s3cret")));
}

#[tokio::test]
async fn what_fails_before_the_funding_has_paid_nothing() {
    for act in [
        Act::Lost,
        Act::Hang,
        reply(500, ""),
        reply(200, "{"),
        reply(429, ""),
        reply(418, ""),
        reply(401, "{}"),
        reply(302, ""),
    ] {
        let (server, answer) = submit_to(act.clone(), made("incoming_payment_waiting"), funded(), Act::Hang).await;
        assert_eq!((answer, server.asked(MAKE).len()), (NOT_EXECUTED, 0), "{act:?}");
        let (server, answer) = submit_to(quoted(), act.clone(), funded(), Act::Hang).await;
        assert_eq!((answer, server.asked(FUND).len()), (NOT_EXECUTED, 0), "{act:?}");
    }
    let expired = reply(422, errors("NOT_VALID", "quoteUuid"));
    let (server, answer) = submit_to(quoted(), expired, funded(), Act::Hang).await;
    assert_eq!((answer, server.asked(FUND).len()), (NOT_EXECUTED, 0), "the next request makes a new quote");
    let closed = reply(422, errors("NOT_VALID", "targetAccount"));
    assert_eq!(submit_to(quoted(), closed, funded(), Act::Hang).await.1, refused("target_account_not_valid"));
    let odd = reply(422, errors("of.next.year", ""));
    assert_eq!(submit_to(odd, Act::Hang, funded(), Act::Hang).await.1, refused("of_next_year"));
}

/// A run that is stopped while the quote is made: pause has returned by the time that the money would move.
#[tokio::test]
async fn what_is_stopped_before_its_funding_is_not_funded() {
    let script = [(QUOTE, vec![quoted()]), (MAKE, vec![made("incoming_payment_waiting")]), (FUND, vec![funded()])];
    let server = Server::start(&script).await;
    let wise = registry(&server.url, "").wise().unwrap();
    let order = order();
    for (is_going, expected, fundings) in [(false, NOT_EXECUTED, 0), (true, accepted(), 1)] {
        let going = || is_going;
        let call = Call { going: Going::While(&going), ..order.call() };
        assert_eq!((wise.submit(&call).await, server.asked(FUND).len()), (expected, fundings));
    }
}

#[tokio::test]
async fn every_answer_to_the_funding() {
    assert_eq!(fund_answers(funded()).await, accepted());
    assert_eq!(fund_answers(sca()).await, accepted(), "it waits for a person, and is no success");
    let limits = Act::Reply(429, vec![("retry-after", "5".to_owned())], "{}".to_owned());
    let by = Act::Reply(429, vec![("x-rate-limited-by", "wise-public-api".to_owned())], String::new());
    for (act, expected) in [
        (limits, NOT_EXECUTED),
        (by, NOT_EXECUTED),
        (reply(401, r#"{"error":"invalid_token","error_description":"x"}"#), CREDENTIAL_REFUSED),
        (reply(403, r#"{"status":403,"error":"Forbidden"}"#), CREDENTIAL_REFUSED),
        // Without what the contract has, somebody else may have said it.
        (reply(429, "{}"), UNKNOWN),
        (reply(401, "<html>"), UNKNOWN),
        (reply(403, "{}"), UNKNOWN),
        (reply(409, errors("transfer.already.funded", "")), UNKNOWN),
        (reply(422, errors("NOT_VALID", "")), UNKNOWN),
        (reply(500, ""), UNKNOWN),
        (reply(201, r#"{"status":"COMPLETED"}"#), UNKNOWN),
        (reply(200, r#"{"status":"PENDING"}"#), UNKNOWN),
        (reply(200, r#"{"status":"COMPLETED","errorCode":"x"}"#), UNKNOWN),
        (reply(200, r#"{"status":"COMPLETED","errors":[]}"#), UNKNOWN),
        (reply(200, r#"{"status":"REJECTED"}"#), UNKNOWN),
        (reply(200, "{"), UNKNOWN),
        (reply(200, ""), UNKNOWN),
        (Act::Lost, UNKNOWN),
        (Act::Hang, UNKNOWN),
    ] {
        assert_eq!(fund_answers(act.clone()).await, expected, "{act:?}");
    }
}

#[tokio::test]
async fn a_rejected_funding_is_a_refusal_once_the_transfer_cannot_be_paid_any_more() {
    let rejected = || reply(200, r#"{"type":"BALANCE","status":"REJECTED","errorCode":"transfer.limit"}"#);
    let waiting = || made("incoming_payment_waiting");
    let (server, answer) = submit_to(quoted(), waiting(), rejected(), made("cancelled")).await;
    assert_eq!((answer, server.asked(CANCEL).len()), (refused("transfer.limit"), 1));
    let not_allowed = reply(409, errors("transfer.cancellation.not.allowed", ""));
    for cancel in
        [not_allowed, made("incoming_payment_waiting"), made("processing"), reply(500, ""), Act::Lost, Act::Hang]
    {
        let answer = submit_to(quoted(), waiting(), rejected(), cancel.clone()).await.1;
        assert_eq!(answer, UNKNOWN, "{cancel:?}: it may be funded yet");
    }
}

/// Nothing was moved, and the transfer waits: the next request under its UUID funds it.
#[tokio::test]
async fn a_funding_without_money_stops_the_account_and_leaves_the_transfer() {
    let empty = reply(200, r#"{"type":"BALANCE","status":"REJECTED","errorCode":"transfer.insufficient_funds"}"#);
    let (server, answer) = submit_to(quoted(), made("incoming_payment_waiting"), empty, made("cancelled")).await;
    assert_eq!((answer, server.asked(CANCEL).len(), server.asked(FUND).len()), (NO_FUNDS, 0, 1));
    let denied = || reply(403, r#"{"error":"Forbidden"}"#);
    let (server, answer) = submit_to(denied(), made("incoming_payment_waiting"), funded(), Act::Hang).await;
    assert_eq!((answer, server.asked(FUND).len()), (CREDENTIAL_REFUSED, 0));
}

#[tokio::test]
async fn a_transfer_that_is_there_already_is_not_funded_again() {
    for (status, expected) in [
        ("processing", accepted()),
        ("funds_converted", accepted()),
        ("bounced_back", accepted()),
        ("cancelled", accepted()),
        ("funds_refunded", accepted()),
        ("outgoing_payment_sent", Answer::Each(vec![Outcome::Paid(name("16521632"))])),
        ("of_next_year", UNKNOWN),
    ] {
        let (server, answer) = submit_to(quoted(), made(status), funded(), Act::Hang).await;
        assert_eq!((answer, server.asked(FUND).len()), (expected, 0), "{status}");
    }
    for (field, lie) in [
        ("customerTransactionId", json!("b0edd3a3-1203-53a2-8b82-000000000000")),
        ("customerTransactionId", json!(null)),
        ("targetAccount", json!(1)),
        ("targetCurrency", json!("GBP")),
        ("targetValue", json!(10.02)),
        ("errors", json!([])),
    ] {
        let mut other = transfer("incoming_payment_waiting");
        other[field] = lie.clone();
        let (server, answer) = submit_to(quoted(), reply(200, other.to_string()), funded(), Act::Hang).await;
        assert_eq!((answer, server.asked(FUND).len()), (UNKNOWN, 0), "{field}: {lie}");
    }
}

#[tokio::test]
async fn nothing_is_funded_when_the_time_of_the_call_is_over() {
    // The worker counts on the end of a call: what is sent after it could outlive the request.
    let slow = format!("HTTP/1.1 200 X\r\ncontent-length: 9999\r\n\r\n{}", transfer("incoming_payment_waiting"));
    let (server, answer) = submit_to(quoted(), Act::Raw(slow.into_bytes()), funded(), Act::Hang).await;
    assert_eq!((answer, server.asked(FUND).len()), (NOT_EXECUTED, 0));
}

async fn ask(order: &Order, script: &[(&str, Vec<Act>)], is_follow: bool) -> (Server, Vec<Finding>) {
    let server = Server::start(script).await;
    let wise = registry(&server.url, "").wise().unwrap();
    let findings = if is_follow { wise.follow(&order.call()).await } else { wise.look_up(&order.call()).await };
    (server, findings)
}

#[tokio::test]
async fn every_state_of_a_transfer() {
    let accepted = || known(Outcome::Accepted(name("16521632")));
    let paid = || known(Outcome::Paid(name("16521632")));
    let order = order().accepted("16521632");
    for (status, followed) in [
        ("incoming_payment_waiting", accepted()),
        ("incoming_payment_initiated", accepted()),
        ("processing", accepted()),
        ("funds_converted", accepted()),
        ("outgoing_payment_sent", paid()),
        ("bounced_back", accepted()),
        ("charged_back", accepted()),
        ("of_next_year", Finding::Unanswered),
        ("", Finding::Unanswered),
    ] {
        let (_, found) = ask(&order, &[(ONE, vec![made(status)])], true).await;
        assert_eq!(found, [followed], "{status}");
    }
    // States roll back; each is told as it is, and whoever keeps the books knows what was proven.
    let server =
        Server::start(&[(ONE, vec![made("outgoing_payment_sent"), made("processing"), made("outgoing_payment_sent")])])
            .await;
    let wise = registry(&server.url, "").wise().unwrap();
    let mut told = Vec::new();
    for _ in 0..3 {
        told.extend(wise.follow(&order.call()).await);
    }
    assert_eq!(told, [paid(), accepted(), paid()]);
    for act in [reply(404, "{}"), reply(500, ""), reply(429, ""), reply(200, "{"), Act::Lost, Act::Hang] {
        let (_, found) = ask(&order, &[(ONE, vec![act.clone()])], true).await;
        assert_eq!(found, [Finding::Unanswered], "{act:?}");
    }
    for (field, lie) in [
        ("id", json!(1)),
        ("targetValue", json!(1)),
        ("customerTransactionId", json!("x")),
        ("targetAccount", json!(1)),
    ] {
        let mut other = transfer("outgoing_payment_sent");
        other[field] = lie;
        let (_, found) = ask(&order, &[(ONE, vec![reply(200, other.to_string())])], true).await;
        assert_eq!(found, [Finding::Unanswered], "{field}");
    }
}

#[tokio::test]
async fn a_transfer_without_its_number_is_looked_for_among_all() {
    let other = |number: i64| {
        let mut other = transfer("processing");
        other["id"] = number.into();
        other["customerTransactionId"] = uuid::Uuid::from_u128(number.unsigned_abs().into()).to_string().into();
        other
    };
    let page = |transfers: Vec<Value>| reply(200, Value::from(transfers).to_string());
    let full = || (0..100).map(other).collect::<Vec<_>>();
    let found = ask(&order(), &[(LIST, vec![page(full()), page(vec![other(1), transfer("processing")])])], false).await;
    assert_eq!(found.1, [known(Outcome::Accepted(name("16521632")))]);
    let asked = found.0.asked(LIST);
    assert!(asked[0].line.contains("profile=12345678&") && asked[0].line.ends_with("limit=100&offset=0"));
    assert!(asked[0].line.contains("createdDateStart=2025-12-17T03%3A04%3A05Z"), "{}", asked[0].line);
    assert!(asked[1].line.ends_with("offset=100"));
    // Not there, and no request for it can arrive any more, by the rail's clock.
    assert_eq!(ask(&order(), &[(LIST, vec![page(full()), page(vec![])])], false).await.1, [Finding::NotFound]);
    let early = vec![("date", "Fri, 02 Jan 2026 03:04:05 GMT".to_owned())];
    let soon = |body: String| Act::Reply(200, early.clone(), body);
    assert_eq!(ask(&order(), &[(LIST, vec![soon("[]".to_owned())])], false).await.1, [Finding::NotYet]);
    // There, and not funded: the funding may be made again when the old one is dead, and not before.
    let waiting = Value::from(vec![transfer("incoming_payment_waiting")]).to_string();
    assert_eq!(ask(&order(), &[(LIST, vec![reply(200, waiting.clone())])], false).await.1, [Finding::NotFound]);
    assert_eq!(ask(&order(), &[(LIST, vec![soon(waiting)])], false).await.1, [Finding::NotYet]);
    for act in [reply(500, ""), reply(403, "{}"), reply(200, "{}"), Act::Lost] {
        assert_eq!(ask(&order(), &[(LIST, vec![act.clone()])], false).await.1, [Finding::Unanswered], "{act:?}");
    }
    assert_eq!(ask(&order(), &[], true).await.1, [Finding::Unanswered], "it is followed by its number only");
}

/// How often somebody's turn to ask came.
#[derive(Default)]
struct Counted(AtomicUsize);

#[async_trait]
impl Turns for Counted {
    async fn turn(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// Nothing less than a list of all can be asked for, so that one list is for all payouts of a batch; and each of its
/// pages is a request.
#[tokio::test]
async fn one_list_answers_for_all_payouts_of_a_question() {
    let mut asked = Order::new("wise", 4, "EUR");
    let of = |number: u64, place: usize, status: &str| {
        let mut one = transfer(status);
        one["id"] = number.into();
        one["targetAccount"] = asked.instructions[place].destination.parse::<u64>().unwrap().into();
        one["targetValue"] = format!("10.0{}", place + 1).parse::<f64>().unwrap().into();
        one["customerTransactionId"] = asked.instructions[place].key.uuid().to_string().into();
        one
    };
    let other = |number: u64| {
        let mut other = transfer("processing");
        other["customerTransactionId"] = uuid::Uuid::from_u128(number.into()).to_string().into();
        other
    };
    let page = |transfers: Vec<Value>| reply(200, Value::from(transfers).to_string());
    let first: Vec<Value> = [of(1, 0, "processing")].into_iter().chain((1..100).map(other)).collect();
    let lie = {
        let mut lie = of(3, 3, "processing");
        lie["targetValue"] = json!(1);
        lie
    };
    let second = page(vec![of(2, 1, "outgoing_payment_sent"), lie]);
    let look = async |asked: &Order, list: Vec<Act>| {
        let server = Server::start(&[(LIST, list), (ONE, vec![made("processing")])]).await;
        let turns = Counted::default();
        let wise = registry(&server.url, "").wise().unwrap();
        assert!(wise.looks_up_together());
        let call = Call { pace: Pace::By(&turns), ..asked.call() };
        let found = wise.look_up(&call).await;
        assert_eq!(turns.0.load(Ordering::SeqCst) + 1, server.seen().len(), "each request has its turn");
        (server.asked(LIST).len(), found)
    };
    let accepted = |id: &str| known(Outcome::Accepted(name(id)));
    let all = [accepted("1"), known(Outcome::Paid(name("2"))), Finding::NotFound, Finding::Unanswered];
    assert_eq!(look(&asked, vec![page(first.clone()), second.clone()]).await, (2, all.to_vec()));
    // Of many pages one fails now and then.
    let shaken = vec![page(first.clone()), reply(500, ""), Act::Lost, second.clone()];
    assert_eq!(look(&asked, shaken).await, (4, all.to_vec()));
    // What was found before it breaks off is known; of the others nothing is.
    let broken = [accepted("1"), Finding::Unanswered, Finding::Unanswered, Finding::Unanswered];
    assert_eq!(look(&asked, vec![page(first.clone()), reply(500, "")]).await, (4, broken.to_vec()));
    // Who is asked by a number is not looked for in it, and a list is not read further than it is needed.
    asked.instructions.truncate(1);
    let mut named = order().accepted("16521632").instructions;
    named.append(&mut asked.instructions);
    asked.instructions = named;
    assert_eq!(look(&asked, vec![page(first)]).await, (1, vec![accepted("16521632"), accepted("1")]));
}

#[tokio::test]
async fn of_a_refunded_transfer_so_much_came_back_as_the_statement_shows() {
    let order = order().accepted("16521632");
    let credit = |value: &str, reference: &str| {
        let amount = format!(r#""amount":{{"value":{value},"currency":"EUR"}}"#);
        format!(r#"{{"type":"CREDIT","date":"2026-01-01T09:00:00Z",{amount},"referenceNumber":"{reference}"}}"#)
    };
    let statement = |lines: &[String]| reply(200, format!(r#"{{"transactions":[{}]}}"#, lines.join(",")));
    let back = |minor| Money { minor, currency: "EUR".parse().unwrap() };
    let mine = |value| credit(value, "TRANSFER-16521632");
    let waits = known(Outcome::Accepted(name("16521632")));
    for (case, act, expected) in [
        ("all of it", statement(&[mine("10.01")]), known(Outcome::Returned(name("16521632")))),
        ("its fee too", statement(&[mine("10.89")]), known(Outcome::Returned(name("16521632")))),
        ("less", statement(&[mine("9.5")]), known(Outcome::ReturnedPart(name("16521632"), back(950)))),
        ("in two parts", statement(&[mine("9.5"), mine("0.51")]), known(Outcome::Returned(name("16521632")))),
        ("only the payment is there", statement(&[mine("-10.89")]), waits.clone()),
        ("another's", statement(&[credit("10.01", "TRANSFER-1")]), waits.clone()),
        ("none", statement(&[]), waits),
        ("of no amount", statement(&[mine("9.501")]), Finding::Unanswered),
        ("a person is asked for", sca(), Finding::Unanswered),
        ("no answer", Act::Lost, Finding::Unanswered),
    ] {
        let empty = statement(&[]);
        // What is asked first is the week in which it came.
        let (_, found) = ask(&order, &[(ONE, vec![made("funds_refunded")]), (STATEMENT, vec![act, empty])], true).await;
        assert_eq!(found, [expected], "{case}");
    }
}

#[tokio::test]
async fn what_wise_cannot_be_told_is_not_sent() {
    let server = Server::start(&[(QUOTE, vec![quoted()])]).await;
    let wise = registry(&server.url, "limits = { largest_minor = { EUR = 1000 } }").wise().unwrap();
    let with = |change: fn(&mut Order)| {
        let mut order = order();
        change(&mut order);
        order
    };
    for (order, expected) in [
        (order(), NOT_EXECUTED),
        (Order::new("wise", 1, "HUF"), NOT_EXECUTED),
        (
            with(|order| order.instructions[0].destination = "b0edd3a3-1203-53a2-8b82-5261d402173f".to_owned()),
            NOT_EXECUTED,
        ),
        (with(|order| order.account.credential = None), NOT_EXECUTED),
        (with(|order| order.account.name = "another".to_owned()), NOT_EXECUTED),
        (Order::new("wise", 2, "EUR"), NOT_EXECUTED),
        (Order::new("wise", 0, "EUR"), NOT_EXECUTED),
    ] {
        let server_seen = server.seen().len();
        let answer = wise.submit(&order.call()).await;
        if order.account.credential.is_some() {
            assert_eq!(answer, expected);
        }
        assert_eq!(server.seen().len(), server_seen);
    }
    let uuid = with(|order| {
        order.instructions[0].destination = "b0edd3a3-1203-53a2-8b82-5261d402173f".to_owned();
        order.instructions[0].amount.minor = 5;
    });
    assert_eq!(wise.submit(&uuid.call()).await, NOT_EXECUTED);
}
