//! What may be concluded from every way in which a submission can go wrong.

use std::time::Duration;

use payfleet_domain::{Outcome, RefusalCode, StopReason};
use payfleet_rails::Answer;

use crate::server::{Act, Server};
use crate::{Order, Shape};

const UNKNOWN: Answer = Answer::All(Outcome::Unknown);
const NOT_EXECUTED: Answer = Answer::All(Outcome::NotExecuted);
const CREDENTIAL_REFUSED: Answer = Answer::Stopped(StopReason::CredentialRefused);

fn refused(code: &str) -> Answer {
    Answer::All(Outcome::Refused(RefusalCode::new(code)))
}

fn error(code: &str) -> String {
    format!(r#"{{"error":{{"code":"{code}","message":"..."}}}}"#)
}

/// Submits once and asserts what came of it, and that the rail was asked once at most.
async fn expect(shape: Shape, case: &str, act: Act, expected: Answer) {
    let server = Server::with(act).await;
    let order = shape.order();
    let answer = shape.adapter(&server.url).submit(&order.call()).await;
    assert_eq!(answer, expected, "{shape:?}: {case}");
    assert!(server.seen().len() <= 1, "{shape:?}: {case}: the request was repeated");
}

async fn expect_of_all(case: &str, act: Act, expected: Answer) {
    for shape in Shape::ALL {
        expect(shape, case, act.clone(), expected.clone()).await;
    }
}

#[tokio::test]
async fn a_rail_that_behaves_is_believed() {
    for shape in Shape::ALL {
        let order = shape.order();
        let (status, body) = shape.success(&order);
        let expected = vec![shape.succeeded(); order.instructions.len()];
        expect(shape, "success", Act::Reply(status, body), Answer::Each(expected)).await;
    }
    // A batch that is known already.
    let known = Act::Reply(200, r#"{"batch_id":"ba_1","status":"completed"}"#.to_owned());
    let accepted = Outcome::Accepted(payfleet_domain::Reference("ba_1".to_owned()));
    expect(Shape::BATCH, "replay", known, Answer::Each(vec![accepted; 3])).await;
}

#[tokio::test]
async fn no_connection_means_that_nothing_was_sent() {
    // A port that was free a moment ago, and is not listened at.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    for shape in Shape::ALL {
        let order = shape.order();
        assert_eq!(shape.adapter(&url).submit(&order.call()).await, NOT_EXECUTED, "{shape:?}");
    }
}

#[tokio::test]
async fn a_lost_connection_is_unknown() {
    expect_of_all("dropped unread", Act::DropUnread, UNKNOWN).await;
    expect_of_all("dropped after reading", Act::DropRead, UNKNOWN).await;
    expect_of_all("not HTTP", Act::Raw(b"hello\r\n\r\n".to_vec()), UNKNOWN).await;
    expect_of_all("half a head", Act::Raw(b"HTTP/1.1 200 OK\r\ncontent-le".to_vec()), UNKNOWN).await;
    for shape in Shape::ALL {
        let (status, body) = shape.success(&shape.order());
        let longer = body.len() + 1;
        let raw = format!("HTTP/1.1 {status} X\r\ncontent-length: {longer}\r\n\r\n{body}");
        expect(shape, "a success cut short", Act::Raw(raw.into_bytes()), UNKNOWN).await;
    }
    // Cut short inside the answer that would otherwise prove the most.
    let raw = format!("HTTP/1.1 402 X\r\ncontent-length: 500\r\n\r\n{}", error("account_closed"));
    expect_of_all("a refusal cut short", Act::Raw(raw.into_bytes()), UNKNOWN).await;
}

#[tokio::test]
async fn no_answer_in_time_is_unknown() {
    expect_of_all("hangs", Act::Hang, UNKNOWN).await;
    let head = b"HTTP/1.1 200 X\r\ncontent-length: 100000\r\n\r\n{".to_vec();
    expect_of_all("drips", Act::Endless(head, b" ".to_vec(), Duration::from_millis(20)), UNKNOWN).await;
    let refusal = format!("HTTP/1.1 429 X\r\ntransfer-encoding: chunked\r\n\r\n30\r\n{}", error("rate_limited"));
    let drip = Act::Endless(refusal.into_bytes(), Vec::new(), Duration::from_millis(20));
    expect_of_all("never ends what would prove that nothing happened", drip, UNKNOWN).await;
}

#[tokio::test]
async fn an_endless_or_huge_answer_is_unknown_and_not_read_to_its_end() {
    let head = b"HTTP/1.1 200 X\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    let chunk = [b"4000\r\n".as_slice(), &[b' '; 0x4000], b"\r\n"].concat();
    expect_of_all("endless", Act::Endless(head, chunk, Duration::ZERO), UNKNOWN).await;
    for shape in Shape::ALL {
        let (status, body) = shape.success(&shape.order());
        let huge = format!("{}{body}", " ".repeat(1_000_000));
        expect(shape, "huge", Act::Reply(status, huge), UNKNOWN).await;
    }
}

#[tokio::test]
async fn server_errors_are_unknown_whatever_they_say() {
    for status in [500, 502, 503, 504, 599] {
        for body in
            [String::new(), error("rate_limited"), error("expired"), error("account_closed"), error("invalid_item")]
        {
            expect_of_all(&format!("{status} {body}"), Act::Reply(status, body), UNKNOWN).await;
        }
    }
}

#[tokio::test]
async fn not_executed_needs_the_documented_code() {
    expect_of_all("unauthorized", Act::Reply(401, error("unauthorized")), CREDENTIAL_REFUSED).await;
    for (status, code) in [(429, "rate_limited"), (409, "expired")] {
        expect_of_all(code, Act::Reply(status, error(code)), NOT_EXECUTED).await;
        for body in
            ["", "Too Many Requests", "{}", r#"{"error":"x"}"#, r#"{"error":{"code":""}}"#, r#"{"error":{"code":1}}"#]
        {
            expect_of_all(&format!("{status} {body}"), Act::Reply(status, body.to_owned()), UNKNOWN).await;
        }
    }
    for (status, code) in [
        (429, "expired"),
        (409, "rate_limited"),
        (409, "key_reused"),
        (409, "in_progress"),
        (409, "conflict"),
        (403, "forbidden"),
        (404, "not_found"),
        (408, "expired"),
        (422, "invalid_item"),
        (400, "invalid_request"),
        (400, "expired"),
    ] {
        expect_of_all(&format!("{status} {code}"), Act::Reply(status, error(code)), UNKNOWN).await;
    }
}

#[tokio::test]
async fn a_refusal_is_one_only_where_the_rail_documents_it() {
    for shape in Shape::ALL {
        let expected = if shape.refuses_payments { refused("account_closed") } else { UNKNOWN };
        expect(shape, "402", Act::Reply(402, error("account_closed")), expected).await;
        let own = format!(r#"{{"error":{{"code":"invalid_item","key":"{}"}}}}"#, shape.order().key(0));
        expect(shape, "an item of ours", Act::Reply(400, own), refused("invalid_item")).await;
        let (_, paid) = shape.success(&shape.order());
        let both = paid.replacen('{', r#"{"error":{"code":"account_closed"},"#, 1);
        for status in [400, 402] {
            expect(shape, "refused and paid at once", Act::Reply(status, both.clone()), UNKNOWN).await;
        }
    }
    expect_of_all("the whole request", Act::Reply(400, error("invalid_item")), refused("invalid_item")).await;
    let foreign = r#"{"error":{"code":"invalid_item","key":"9-0123456789abcdef"}}"#;
    expect_of_all("an item of somebody else", Act::Reply(400, foreign.to_owned()), UNKNOWN).await;
    for body in ["", "<html>Payment Required</html>", "{}", r#"{"error":{}}"#, r#"{"error":null}"#] {
        for status in [400, 402] {
            expect_of_all(&format!("{status} {body}"), Act::Reply(status, body.to_owned()), UNKNOWN).await;
        }
    }
}

#[tokio::test]
async fn redirects_are_not_followed() {
    for shape in Shape::ALL {
        let order = shape.order();
        let (status, body) = shape.success(&order);
        let elsewhere = Server::with(Act::Reply(status, body)).await;
        for status in [301, 302, 303, 307, 308] {
            let raw = format!("HTTP/1.1 {status} X\r\nlocation: {}/\r\ncontent-length: 0\r\n\r\n", elsewhere.url);
            expect(shape, "redirect", Act::Raw(raw.into_bytes()), UNKNOWN).await;
        }
        assert_eq!(elsewhere.seen(), []);
    }
}

#[tokio::test]
async fn a_success_without_its_proof_is_unknown() {
    for shape in Shape::ALL {
        let (status, good) = shape.success(&shape.order());
        let garbage = ["", "null", "[]", "{}", "{", "OK", "\u{0}", r#"{"error":{"code":"account_closed"}}"#];
        for body in garbage {
            expect(shape, body, Act::Reply(status, body.to_owned()), UNKNOWN).await;
        }
        let trailing = format!("{good}{good}");
        let with_error = good.replacen('{', r#"{"error":{"code":"internal"},"#, 1);
        for body in [trailing, with_error] {
            expect(shape, &body.clone(), Act::Reply(status, body), UNKNOWN).await;
        }
        for other in [203, 204, 205, 206, 207] {
            expect(shape, "another success", Act::Raw(format!("HTTP/1.1 {other} X\r\n\r\n").into_bytes()), UNKNOWN)
                .await;
        }
    }
    // The status of another shape's success is none of this one.
    for (shape, status) in [(Shape::PAYOUT, 201), (Shape::LOOKUP, 202), (Shape::BATCH, 202), (Shape::FILE, 200)] {
        let (_, body) = shape.success(&shape.order());
        expect(shape, "another shape's status", Act::Reply(status, body), UNKNOWN).await;
    }
}

#[tokio::test]
async fn an_answer_about_something_else_is_unknown() {
    let swaps = [
        ("another key", "-0123456789abcdef", "-fedcba9876543210"),
        ("another amount", "1001", "1002"),
        ("a negative amount", "1001", "-1001"),
        ("an amount that is no whole number", "1001", "1001.0"),
        ("an amount beyond all numbers", "1001", "99999999999999999999"),
        ("an amount in quotes", "1001", "\"1001\""),
        ("another currency", "EUR", "USD"),
        ("no status known", r#""paid""#, r#""processing""#),
        ("refused with a success", r#""paid""#, r#""refused""#),
        ("no reference", "po_1", ""),
        ("a reference with a line end", "po_1", r"po\n1"),
        ("a field twice", r#""status":"paid""#, r#""status":"paid","status":"paid""#),
        ("no key at all", r#""key""#, r#""kez""#),
    ];
    for shape in [Shape::PAYOUT, Shape::LOOKUP] {
        let (status, good) = shape.success(&shape.order());
        for (case, from, to) in swaps {
            let body = good.replace(from, to);
            assert_ne!(body, good, "{case}");
            expect(shape, case, Act::Reply(status, body), UNKNOWN).await;
        }
        let long = good.replace("po_1", &"x".repeat(256));
        expect(shape, "a reference without end", Act::Reply(status, long), UNKNOWN).await;
    }
    for (shape, from, to) in [
        (Shape::BATCH, "ba_1", ""),
        (Shape::BATCH, "pending", "denied"),
        (Shape::BATCH, r#""status""#, r#""sender_batch_id":"other","status""#),
        (Shape::FILE, "fi_1", ""),
        (Shape::FILE, "accepted", "rejected"),
    ] {
        let (status, good) = shape.success(&shape.order());
        expect(shape, to, Act::Reply(status, good.replace(from, to)), UNKNOWN).await;
    }
}

#[tokio::test]
async fn a_call_that_the_rail_does_not_take_is_not_sent() {
    let mut unfit = Vec::new();
    for shape in Shape::ALL {
        unfit.push((shape, Order::new(0)));
        let mut zero = shape.order();
        zero.instructions[0].amount.minor = 0;
        unfit.push((shape, zero));
        let mut nameless = shape.order();
        nameless.account.name = "line\nend".to_owned();
        unfit.push((shape, nameless));
    }
    for shape in [Shape::PAYOUT, Shape::LOOKUP] {
        unfit.push((shape, Order::new(2)));
    }
    for shape in [Shape::BATCH, Shape::FILE] {
        let mut twice = shape.order();
        twice.instructions[2] = twice.instructions[0].clone();
        unfit.push((shape, twice));
        let mut mixed = shape.order();
        mixed.instructions[2].amount.currency = "USD".parse().unwrap();
        unfit.push((shape, mixed));
    }
    for (shape, order) in unfit {
        let server = Server::with(Act::Hang).await;
        let answer = shape.adapter(&server.url).submit(&order.call()).await;
        assert_eq!(answer, NOT_EXECUTED, "{shape:?}");
        assert_eq!(server.seen(), [], "{shape:?}");
    }
}

#[tokio::test]
async fn a_request_on_a_kept_connection_is_not_repeated_when_that_is_lost() {
    for shape in Shape::ALL {
        let order = shape.order();
        let (status, body) = shape.success(&order);
        let good = Act::Reply(status, body);
        // Were the second request repeated, it would be answered.
        let server = Server::start(vec![good.clone(), Act::DropRead, good]).await;
        let adapter = shape.adapter(&server.url);
        assert!(matches!(adapter.submit(&order.call()).await, Answer::Each(_)));
        assert_eq!(adapter.submit(&order.call()).await, UNKNOWN, "{shape:?}");
        assert_eq!(server.seen().len(), 2, "{shape:?}");
    }
}
