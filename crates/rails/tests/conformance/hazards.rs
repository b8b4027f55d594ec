//! What every adapter must survive. One test for each hazard: over all shapes, and there over submission, lookup and
//! statement as far as the shape has them.
//!
//! An adapter keeps nothing, so it cannot tell old news from new: what several answers say it hands on as they say it,
//! in their order, and the store decides what counts (its tests `notices`).

use std::time::{Duration, Instant};

use payfleet_domain::{Movement, Outcome, RefusalCode};
use payfleet_rails::{Answer, Finding, StatementError};

use crate::server::{Act, Server};
use crate::shapes::{LookUp, State};
use crate::statement::{END, chunked, end, read};
use crate::{CALL_TIMEOUT, Order, Shape};

const UNKNOWN: Answer = Answer::All(Outcome::Unknown);
/// Far more than any case may take, and far less than what never ends.
const SOON: Duration = Duration::from_secs(20);
/// What fits into an adapter and into the buffers of a connection, generously.
const TAKEN_MAX: usize = 32 << 20;

/// Several submissions of one order, each answered by its act.
async fn submit(shape: Shape, acts: Vec<Act>) -> Vec<Answer> {
    let (server, order) = (Server::start(acts.clone()).await, shape.order());
    let adapter = shape.adapter(&server.url);
    let mut answers = Vec::new();
    for _ in &acts {
        answers.push(adapter.submit(&order.call()).await);
    }
    assert!(server.taken() < TAKEN_MAX, "{shape:?}");
    answers
}

/// Several lookups of one order, each answered by its act.
async fn look_up(shape: Shape, acts: Vec<Act>) -> Vec<Vec<Finding>> {
    let (server, order) = (Server::start(acts.clone()).await, shape.order());
    let adapter = shape.adapter(&server.url);
    let mut findings = Vec::new();
    for _ in &acts {
        findings.push(adapter.look_up(&order.call()).await);
    }
    assert!(server.taken() < TAKEN_MAX, "{shape:?}");
    findings
}

fn success(shape: Shape) -> (Act, Answer) {
    let order = shape.order();
    let (status, body) = shape.success(&order);
    (Act::Reply(status, body), Answer::Each(vec![shape.succeeded(); order.instructions.len()]))
}

fn asking() -> impl Iterator<Item = (Shape, LookUp, Order)> {
    Shape::ALL.into_iter().filter_map(|shape| Some((shape, shape.lookup?, shape.order())))
}

fn unanswered(shape: Shape) -> Vec<Finding> {
    vec![Finding::Unanswered; shape.order().instructions.len()]
}

fn error(code: &str) -> String {
    format!(r#"{{"error":{{"code":"{code}","message":"..."}}}}"#)
}

/// A statement with these words of state, numbered in order.
fn statement(shape: Shape, states: &[&str]) -> String {
    let line = |(at, state): (usize, &&str)| {
        shape.statement_line.replace("{line}", &(at + 1).to_string()).replace("{status}", state) + "\n"
    };
    states.iter().enumerate().map(line).collect::<String>() + &end(states.len())
}

async fn movements(shape: Shape, act: Act) -> (Vec<Movement>, Result<(), StatementError>) {
    let (lines, end) = read(shape, act).await;
    (lines.iter().map(|line| line.movement).collect(), end)
}

#[tokio::test]
async fn late_success() {
    for shape in Shape::ALL {
        let (good, expected) = success(shape);
        let Act::Reply(status, body) = good.clone() else { unreachable!() };
        let too_late = Act::ReplyTooLate(status, body);
        assert_eq!(submit(shape, vec![too_late, good]).await, [UNKNOWN, expected], "{shape:?}");
    }
    for (shape, rail, order) in asking() {
        let (paid, found) = rail.reply(&order, rail.paid);
        let Act::Reply(status, body) = paid.clone() else { unreachable!() };
        let findings = look_up(shape, vec![Act::ReplyTooLate(status, body), paid]).await;
        assert_eq!(findings, [unanswered(shape), found], "{shape:?}");
    }
}

#[tokio::test]
async fn duplicate_notices() {
    for shape in Shape::ALL {
        let (good, expected) = success(shape);
        let answers = submit(shape, vec![good; 3]).await;
        assert_eq!(answers, vec![expected; 3], "{shape:?}: the same proof each time");
        let lines = Act::Reply(200, statement(shape, &["paid", "paid", "returned", "returned"]));
        let (told, end) = movements(shape, lines).await;
        use Movement::{Paid, Returned};
        assert_eq!((told, end), (vec![Paid, Paid, Returned, Returned], Ok(())), "{shape:?}: the reconciler counts");
    }
    for (shape, rail, order) in asking() {
        for state in [Some(rail.paid), Some(rail.returned), Some(rail.refused), rail.pending].into_iter().flatten() {
            let (act, found) = rail.reply(&order, state);
            assert_eq!(look_up(shape, vec![act; 3]).await, vec![found; 3], "{shape:?}");
        }
    }
}

#[tokio::test]
async fn notices_out_of_order() {
    for (shape, rail, order) in asking() {
        let mut states: Vec<State> = vec![rail.returned, rail.paid, rail.refused, rail.paid, rail.returned];
        states.extend(rail.pending.iter().flat_map(|&pending| [pending, rail.paid, pending, rail.refused, pending]));
        let (acts, expected): (Vec<_>, Vec<_>) = states.into_iter().map(|state| rail.reply(&order, state)).unzip();
        assert_eq!(look_up(shape, acts).await, expected, "{shape:?}");
    }
    for shape in Shape::ALL {
        let told = movements(shape, Act::Reply(200, statement(shape, &["returned", "paid"]))).await;
        assert_eq!(told, (vec![Movement::Returned, Movement::Paid], Ok(())), "{shape:?}");
    }
}

#[tokio::test]
async fn partial_batch() {
    // A receipt says nothing of single items; that only some were taken is no status that a rail here documents.
    for shape in Shape::ALL {
        let (_, body) = shape.success(&shape.order());
        assert_eq!(submit(shape, vec![Act::Reply(207, body)]).await, [UNKNOWN], "{shape:?}");
    }
    for (shape, rail, order) in asking().filter(|(shape, ..)| shape.instructions > 1) {
        let fewer = Order::new(shape.instructions - 1);
        let (act, _) = rail.reply(&fewer, rail.paid);
        let Act::Reply(status, body) = act else { unreachable!() };
        let body = body.replace(fewer.batch_key.as_str(), order.batch_key.as_str());
        assert_eq!(look_up(shape, vec![Act::Reply(status, body)]).await, [unanswered(shape)], "{shape:?}");
    }
    for shape in Shape::ALL {
        let whole = statement(shape, &["paid", "paid"]);
        let lines = &whole[..whole.len() - end(2).len()];
        let (told, end) = movements(shape, chunked(&[&lines[..lines.len() - 10]], END)).await;
        assert_eq!(told, [Movement::Paid], "{shape:?}");
        assert!(matches!(end, Err(StatementError::BrokeOff { lines: 1, .. })), "{shape:?}: {end:?}");
    }
}

#[tokio::test]
async fn refusal_after_acceptance() {
    for shape in Shape::ALL {
        let (good, expected) = success(shape);
        let refusal = match shape.refuses_payments {
            true => Answer::All(Outcome::Refused(RefusalCode::new("account_closed"))),
            false => UNKNOWN,
        };
        let refuse = Act::Reply(402, error("account_closed"));
        let answers = submit(shape, vec![good.clone(), refuse, good]).await;
        assert_eq!(answers, [expected.clone(), refusal, expected], "{shape:?}");
    }
    for (shape, rail, order) in asking() {
        let (states, expected): (Vec<_>, Vec<_>) = [rail.pending.unwrap_or(rail.paid), rail.refused]
            .into_iter()
            .map(|state| rail.reply(&order, state))
            .unzip();
        assert_eq!(look_up(shape, states).await, expected, "{shape:?}");
    }
}

#[tokio::test]
async fn key_pruned() {
    // A rail that has forgotten a key, or holds it for something else, proves nothing about the request before.
    for shape in Shape::ALL {
        let (good, expected) = success(shape);
        for (status, code) in [
            (404, "not_found"),
            (410, "gone"),
            (409, "key_reused"),
            (409, "conflict"),
            (422, "key_expired"),
            (400, "key_expired"),
        ] {
            let answers = submit(shape, vec![good.clone(), Act::Reply(status, error(code))]).await;
            assert_eq!(answers, [expected.clone(), UNKNOWN], "{shape:?}: {status} {code}");
        }
    }
    for (shape, rail, order) in asking() {
        let (paid, found) = rail.reply(&order, rail.paid);
        for status in [404, 410] {
            let forgotten = Act::Reply(status, error("key_expired"));
            let findings = look_up(shape, vec![paid.clone(), forgotten]).await;
            assert_eq!(
                findings,
                [found.clone(), unanswered(shape)],
                "{shape:?}: only `not_found` is \"never executed\""
            );
        }
    }
}

#[tokio::test]
async fn body_that_lies() {
    for shape in Shape::ALL {
        let (Act::Reply(status, body), good) = success(shape) else { unreachable!() };
        let reference = shape.success.2;
        for (case, lie) in [
            ("amount", body.replace(":1001", ":1")),
            ("currency", body.replace("EUR", "USD")),
            ("key", body.replace("-0123456789abcdef", "-fedcba9876543210")),
            ("no reference", body.replace(reference, "")),
            ("a reference that is none", body.replace(reference, r"a\u0000b")),
            ("a long reference", body.replace(reference, &"x".repeat(300))),
            (
                "status",
                body.replace("\"paid\"", "\"failed\"").replace("pending", "denied").replace("accepted", "denied"),
            ),
        ] {
            let expected = if lie == body { good.clone() } else { UNKNOWN }; // not every shape repeats everything
            assert_eq!(submit(shape, vec![Act::Reply(status, lie)]).await, [expected], "{shape:?}: {case}");
        }
    }
    for (shape, rail, order) in asking() {
        let (Act::Reply(status, body), _) = rail.reply(&order, rail.paid) else { unreachable!() };
        for (case, lie) in [
            ("amount", body.replace(":1001", ":1")),
            ("currency", body.replacen("EUR", "USD", 1)),
            ("key", body.replace("4294967297-0123456789abcdef", "4294967297-fedcba9876543210")),
            ("no reference", body.replace("it_1", "")),
            ("status", body.replacen("\"paid\"", "\"failed\"", 1)),
            ("one payment for two payouts", body.replace("it_2", "it_1")),
        ] {
            if lie != body {
                assert_eq!(
                    look_up(shape, vec![Act::Reply(status, lie)]).await,
                    [unanswered(shape)],
                    "{shape:?}: {case}"
                );
            }
        }
    }
    // Of a statement only the form is checked here: what it says is for the reconciler to believe or not.
    for shape in Shape::ALL {
        for (case, lie) in [
            ("amount", statement(shape, &["paid"]).replace(":5,", ":\"5\",")),
            ("status", statement(shape, &["settled"])),
            ("number", statement(shape, &["paid", "paid"]).replace("\"line\":2", "\"line\":1")),
        ] {
            let (_, end) = movements(shape, Act::Reply(200, lie)).await;
            assert!(matches!(end, Err(StatementError::Unreadable { .. })), "{shape:?}: {case}: {end:?}");
        }
    }
}

#[tokio::test]
async fn success_with_an_error_inside() {
    let inside = |body: &str| body.replacen('{', r#"{"error":{"code":"account_closed"},"#, 1);
    for shape in Shape::ALL {
        let (status, body) = shape.success(&shape.order());
        for body in [error("account_closed"), inside(&body)] {
            assert_eq!(submit(shape, vec![Act::Reply(status, body)]).await, [UNKNOWN], "{shape:?}");
        }
        let (told, end) = movements(shape, Act::Reply(200, error("internal") + "\n")).await;
        assert!(
            told.is_empty() && matches!(end, Err(StatementError::Unreadable { line: 1, .. })),
            "{shape:?}: {end:?}"
        );
        let whole = statement(shape, &["paid"]);
        let (line, _) = whole.split_once('\n').expect("a line and the end");
        let broken = format!("{line}\n{}\n", error("internal"));
        let (told, end) = movements(shape, Act::Reply(200, broken)).await;
        assert_eq!(told.len(), 1, "{shape:?}");
        assert!(matches!(end, Err(StatementError::Unreadable { line: 2, .. })), "{shape:?}: {end:?}");
    }
    for (shape, rail, order) in asking() {
        let (Act::Reply(status, body), _) = rail.reply(&order, rail.paid) else { unreachable!() };
        for body in [error("not_found"), inside(&body)] {
            assert_eq!(look_up(shape, vec![Act::Reply(status, body)]).await, [unanswered(shape)], "{shape:?}");
        }
    }
}

#[tokio::test]
async fn endless_body() {
    let head = b"HTTP/1.1 200 X\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    let chunk = [b"4000\r\n".as_slice(), &[b' '; 0x4000], b"\r\n"].concat();
    let endless = Act::Endless(head, chunk, Duration::ZERO);
    let began = Instant::now();
    for shape in Shape::ALL {
        assert_eq!(submit(shape, vec![endless.clone()]).await, [UNKNOWN], "{shape:?}");
        assert_eq!(look_up(shape, vec![endless.clone()]).await, [unanswered(shape)], "{shape:?}");
        let (told, end) = movements(shape, endless.clone()).await;
        assert!(
            told.is_empty() && matches!(end, Err(StatementError::Unreadable { line: 1, .. })),
            "{shape:?}: {end:?}"
        );
    }
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
}

// Of a statement see `http`: it may take an hour, which is no time for a test from outside.
#[tokio::test]
async fn slow_drip() {
    let head = b"HTTP/1.1 200 X\r\ncontent-length: 100000\r\n\r\n{".to_vec();
    let drip = Act::Endless(head, b" ".to_vec(), CALL_TIMEOUT / 10);
    let began = Instant::now();
    for shape in Shape::ALL {
        assert_eq!(submit(shape, vec![drip.clone()]).await, [UNKNOWN], "{shape:?}");
        assert_eq!(look_up(shape, vec![drip.clone()]).await, [unanswered(shape)], "{shape:?}");
    }
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
}
