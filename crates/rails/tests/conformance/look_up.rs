//! What may be concluded from the answers to a question.

use std::time::Duration;

use payfleet_domain::{Outcome, Reference, RefusalCode};
use payfleet_rails::Finding;

use crate::server::{Act, Server};
use crate::{Order, Shape};

const ASKING: [Shape; 2] = [Shape::BATCH, Shape::LOOKUP];

async fn ask(shape: Shape, order: &Order, act: Act) -> Vec<Finding> {
    let server = Server::with(act).await;
    let findings = shape.adapter(&server.url).look_up(&order.call()).await;
    assert_eq!(findings.len(), order.instructions.len(), "{shape:?}");
    assert!(server.seen().len() <= 1, "{shape:?}: the question was repeated");
    findings
}

async fn expect(shape: Shape, case: &str, act: Act, expected: Finding) {
    let order = shape.order();
    let findings = ask(shape, &order, act).await;
    assert_eq!(findings, vec![expected; order.instructions.len()], "{shape:?}: {case}");
}

fn transfer(order: &Order, rest: &str) -> String {
    format!(r#"{{"key":"{}","amount_minor":1001,"currency":"EUR",{rest}}}"#, order.key(0))
}

fn item(key: &str, amount: i64, rest: &str) -> String {
    format!(r#"{{"key":"{key}","amount_minor":{amount},"currency":"EUR",{rest}}}"#)
}

fn batch(order: &Order, items: &[String]) -> String {
    let (key, items) = (&order.batch_key, items.join(","));
    format!(r#"{{"batch_id":"ba_1","sender_batch_id":"{key}","status":"pending","items":[{items}]}}"#)
}

fn paid(id: &str) -> Finding {
    Finding::Known(Outcome::Paid(Reference(id.to_owned())))
}

fn returned(id: &str) -> Finding {
    Finding::Known(Outcome::Returned(Reference(id.to_owned())))
}

fn good_items(order: &Order) -> Vec<String> {
    vec![
        item(order.key(0), 1001, r#""id":"it_1","status":"paid","code":null"#),
        item(order.key(1), 1002, r#""id":"it_2","status":"paid","code":null"#),
        item(order.key(2), 1003, r#""id":"it_3","status":"refused","code":"account_closed""#),
    ]
}

#[tokio::test]
async fn every_documented_status_is_understood() {
    let order = Order::new(6);
    let items = [
        item(order.key(5), 1006, r#""id":"it_6","status":"refused","code":"account_closed""#),
        item(order.key(0), 1001, r#""id":"it_1","status":"pending","code":null"#),
        item(order.key(1), 1002, r#""id":"","status":"pending""#),
        item(order.key(2), 1003, r#""id":"it_3","status":"paid""#),
        item(order.key(3), 1004, r#""id":"it_4","status":"returned","code":"x""#),
        item(order.key(4), 1005, r#""id":"it_5","status":"unclaimed""#),
    ];
    let reference = |id: &str| Reference(id.to_owned());
    let expected = [
        Outcome::Accepted(reference("it_1")),
        Outcome::Accepted(reference("ba_1")),
        Outcome::Paid(reference("it_3")),
        Outcome::Returned(reference("it_4")),
        Outcome::Accepted(reference("it_5")),
        Outcome::Refused(RefusalCode::new("account_closed")),
    ];
    let findings = ask(Shape::BATCH, &order, Act::Reply(200, batch(&order, &items))).await;
    assert_eq!(findings, expected.map(Finding::Known));

    let order = Shape::LOOKUP.order();
    for (rest, expected) in [
        (r#""id":"tr_1","status":"paid","count":1"#, paid("tr_1")),
        (r#""id":"tr_1","status":"paid","count":2"#, paid("tr_1")),
        (r#""id":"tr_1","status":"paid""#, paid("tr_1")),
        (r#""id":"tr_1","status":"returned","count":1"#, returned("tr_1")),
        (r#""id":"tr_1","status":"returned""#, returned("tr_1")),
        // One of two came back: no money is free.
        (r#""id":"tr_1","status":"returned","count":2"#, paid("tr_1")),
        (
            r#""id":"tr_1","status":"refused","code":"account_closed","count":0"#,
            Finding::Known(Outcome::Refused(RefusalCode::new("account_closed"))),
        ),
    ] {
        let findings = ask(Shape::LOOKUP, &order, Act::Reply(200, transfer(&order, rest))).await;
        assert_eq!(findings, [expected], "{rest}");
    }
}

#[tokio::test]
async fn a_part_of_a_batch_can_be_asked_for() {
    let whole = Shape::BATCH.order();
    let body = batch(&whole, &good_items(&whole));
    let mut part = Shape::BATCH.order();
    part.instructions.remove(0);
    part.instructions.remove(1);
    assert_eq!(ask(Shape::BATCH, &part, Act::Reply(200, body)).await, [paid("it_2")]);
}

#[tokio::test]
async fn not_found_needs_its_code() {
    let code = r#"{"error":{"code":"not_found","message":"..."}}"#;
    for shape in ASKING {
        expect(shape, "documented", Act::Reply(404, code.to_owned()), Finding::NotFound).await;
        for (status, body) in [
            (404, ""),
            (404, "<html>Not Found</html>"),
            (404, "{}"),
            (404, r#"{"error":{"code":"no_such_path"}}"#),
            (404, r#"{"error":{"code":"not_found"},"id":"tr_1"}"#),
            (410, code),
            (400, code),
            (200, code),
            (500, code),
            (503, code),
        ] {
            let act = Act::Reply(status, body.to_owned());
            expect(shape, &format!("{status} {body}"), act, Finding::Unanswered).await;
        }
    }
}

#[tokio::test]
async fn a_question_without_answer_changes_nothing() {
    let refusal = r#"{"error":{"code":"account_closed","message":"..."}}"#.to_owned();
    let drip = b"HTTP/1.1 200 X\r\ncontent-length: 100000\r\n\r\n{".to_vec();
    let endless = b"HTTP/1.1 200 X\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    let chunk = [b"4000\r\n".as_slice(), &[b' '; 0x4000], b"\r\n"].concat();
    for shape in ASKING {
        for (case, act) in [
            ("dropped unread", Act::DropUnread),
            ("dropped", Act::DropRead),
            ("hangs", Act::Hang),
            ("drips", Act::Endless(drip.clone(), b" ".to_vec(), Duration::from_millis(20))),
            ("endless", Act::Endless(endless.clone(), chunk.clone(), Duration::ZERO)),
            ("redirect", Act::Raw(b"HTTP/1.1 307 X\r\nlocation: /\r\ncontent-length: 0\r\n\r\n".to_vec())),
            // What would be proof after a payment is none after a question.
            ("402", Act::Reply(402, refusal.clone())),
            ("400", Act::Reply(400, r#"{"error":{"code":"invalid_item"}}"#.to_owned())),
            ("429", Act::Reply(429, r#"{"error":{"code":"rate_limited"}}"#.to_owned())),
            ("401", Act::Reply(401, r#"{"error":{"code":"unauthorized"}}"#.to_owned())),
            ("409", Act::Reply(409, r#"{"error":{"code":"expired"}}"#.to_owned())),
            ("500", Act::Reply(500, refusal.clone())),
            ("201", Act::Reply(201, refusal.clone())),
            ("empty", Act::Reply(200, String::new())),
            ("garbage", Act::Reply(200, "{".to_owned())),
            ("list", Act::Reply(200, "[]".to_owned())),
        ] {
            expect(shape, case, act, Finding::Unanswered).await;
        }
    }
}

#[tokio::test]
async fn a_transfer_that_contradicts_itself_is_no_answer() {
    let order = Shape::LOOKUP.order();
    let good = transfer(&order, r#""id":"tr_1","status":"paid","count":1"#);
    let refused = transfer(&order, r#""id":"tr_1","status":"refused","code":"account_closed","count":0"#);
    for (case, body) in [
        ("another key", good.replace("-0123456789abcdef", "-fedcba9876543210")),
        ("another amount", good.replace("1001", "1")),
        ("another currency", good.replace("EUR", "USD")),
        ("no reference", good.replace("tr_1", "")),
        ("paid no times", good.replace(r#""count":1"#, r#""count":0"#)),
        ("a status without a meaning", good.replace(r#""paid""#, r#""done""#)),
        ("with an error", good.replacen('{', r#"{"error":{"code":"x"},"#, 1)),
        ("refused and paid", refused.replace(r#""count":0"#, r#""count":1"#)),
        ("refused without a code", refused.replace(r#""account_closed""#, "null")),
        ("refused with an empty code", refused.replace("account_closed", "")),
        ("refused, another amount", refused.replace("1001", "1")),
    ] {
        assert_eq!(ask(Shape::LOOKUP, &order, Act::Reply(200, body)).await, [Finding::Unanswered], "{case}");
    }
}

#[tokio::test]
async fn a_batch_that_contradicts_itself_anywhere_is_believed_nowhere() {
    let order = Shape::BATCH.order();
    let good = good_items(&order);
    let with = |change: &dyn Fn(&mut Vec<String>)| {
        let mut items = good.clone();
        change(&mut items);
        batch(&order, &items)
    };
    let own = order.batch_key.to_string();
    let whole = batch(&order, &good);
    for (case, body) in [
        ("a missing item", with(&|items| drop(items.remove(1)))),
        ("no items", with(&Vec::clear)),
        ("a surplus item of nobody", with(&|items| items.push(items[0].replace(order.key(0), "x")))),
        (
            "a surplus item of another run",
            with(&|items| items.push(items[0].replace(order.key(0), "7-0123456789abcdef"))),
        ),
        ("an item twice", with(&|items| items.push(items[0].clone()))),
        ("an item twice, otherwise", with(&|items| items.push(items[0].replace("paid", "refused")))),
        ("an item instead of another", with(&|items| items[2] = items[0].clone())),
        ("another amount", with(&|items| items[0] = items[0].replace("1001", "1"))),
        ("another currency", with(&|items| items[0] = items[0].replace("EUR", "USD"))),
        ("no reference", with(&|items| items[0] = items[0].replace("it_1", ""))),
        ("a status without a meaning", with(&|items| items[0] = items[0].replace(r#""paid""#, r#""done""#))),
        ("a refusal without a code", with(&|items| items[2] = items[2].replace(r#""account_closed""#, "null"))),
        ("another batch", whole.replace(&own, "other")),
        ("with an error", whole.replacen('{', r#"{"error":{"code":"x"},"#, 1)),
    ] {
        assert_ne!(body, whole, "{case}");
        assert_eq!(ask(Shape::BATCH, &order, Act::Reply(200, body)).await, vec![Finding::Unanswered; 3], "{case}");
    }
}

/// Our calls expire on 2 January at 03:04:05. Before that, by the rail's clock, an older request may still be executed
/// whatever our clocks say.
#[tokio::test]
async fn not_found_proves_nothing_before_the_older_requests_have_expired_by_the_rails_clock() {
    let body = r#"{"error":{"code":"not_found","message":"no"}}"#;
    for (date, expected) in [
        ("date: Fri, 02 Jan 2026 03:04:04 GMT\r\n", Finding::NotYet),
        ("date: Fri, 02 Jan 2026 03:04:05 GMT\r\n", Finding::NotYet),
        ("date: Fri, 02 Jan 2026 03:04:06 GMT\r\n", Finding::NotFound),
        ("date: some day\r\n", Finding::NotYet),
        ("", Finding::NotYet),
    ] {
        let answer = format!("HTTP/1.1 404 X\r\n{date}content-length: {}\r\n\r\n{body}", body.len());
        for shape in [Shape::LOOKUP, Shape::BATCH] {
            expect(shape, date, Act::Raw(answer.clone().into_bytes()), expected.clone()).await;
        }
    }
}

#[tokio::test]
async fn rails_without_a_lookup_are_not_asked() {
    for shape in [Shape::PAYOUT, Shape::FILE] {
        let server = Server::with(Act::Hang).await;
        let order = shape.order();
        let findings = shape.adapter(&server.url).look_up(&order.call()).await;
        assert_eq!(findings, vec![Finding::Unanswered; order.instructions.len()]);
        assert_eq!(server.seen(), []);
    }
}
