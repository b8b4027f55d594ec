//! What every real rail's adapter must survive, whatever its dialect: over submission, question and statement as far as
//! each has them. What the sandbox's own adapters survive is in the suite `conformance`.
//!
//! An adapter keeps nothing, so it cannot tell old news from new: what several answers say it hands on as they say it,
//! in their order, and the store decides what counts.

use std::time::{Duration, Instant};

use futures_util::StreamExt;
use payfleet_domain::{Movement, Outcome, RAILS};
use payfleet_rails::{Answer, Finding, StatementError, StatementItem};
use time::OffsetDateTime;

use crate::dialects::{ALL, Dialect};
use crate::server::{Act, LATER, Server, reply};
use crate::world::{CALL_TIMEOUT, CREDENTIAL_REFUSED, NOT_EXECUTED, UNKNOWN, refused, registry};

/// Far more than any case may take, and far less than what never ends.
const SOON: Duration = Duration::from_secs(30);
/// What fits into an adapter and into the buffers of a connection, generously.
const POURED_MAX: usize = 64 << 20;

fn good(rail: &Dialect) -> (Act, Answer) {
    let order = rail.order();
    let (status, body) = (rail.taken)(&order);
    (reply(status, body), Answer::Each(vec![(rail.means)(); order.instructions.len()]))
}

fn unanswered(rail: &Dialect) -> Vec<Finding> {
    vec![Finding::Unanswered; rail.order().instructions.len()]
}

/// Several submissions of one order, each answered by its act. Whatever is answered, one call asks for payment once,
/// and always under the same key.
async fn submit(rail: &Dialect, acts: Vec<Act>) -> Vec<Answer> {
    let server = Server::start(&rail.script(rail.pays, acts.clone())).await;
    let (registry, order) = (registry(&server.url, ""), rail.order());
    let adapter = rail.adapter(&registry);
    let mut answers = Vec::new();
    for _ in &acts {
        answers.push(adapter.submit(&order.call()).await);
    }
    assert_eq!(
        server.asked(rail.pays).iter().filter(|seen| seen.line == rail.pays).count(),
        acts.len(),
        "{}",
        rail.rail
    );
    let keys = (rail.key)(&server.seen());
    assert!(
        keys.len() >= acts.len() && keys.iter().all(|key| *key == keys[0]),
        "{}: a second key: {keys:?}",
        rail.rail
    );
    assert!(server.poured() < POURED_MAX, "{}", rail.rail);
    answers
}

/// Several questions about one order, each answered by its act.
async fn follow(rail: &Dialect, acts: Vec<Act>) -> Vec<Vec<Finding>> {
    let server = Server::start(&rail.script(rail.asks, acts.clone())).await;
    let (registry, order) = (registry(&server.url, ""), rail.held());
    let mut findings = Vec::new();
    for _ in &acts {
        findings.push(rail.adapter(&registry).follow(&order.call()).await);
    }
    assert!(server.asked(rail.pays).iter().all(|seen| seen.line != rail.pays), "{}: a question pays nobody", rail.rail);
    assert!(server.poured() < POURED_MAX, "{}", rail.rail);
    findings
}

/// The movements of a statement, and how it ended.
async fn statement(rail: &Dialect, acts: Vec<Act>) -> (Vec<Movement>, Result<(), StatementError>) {
    let server = Server::start(&rail.script(rail.page, acts)).await;
    let registry = registry(&server.url, "");
    let from = OffsetDateTime::now_utc() - time::Duration::days(2);
    let mut stream = match rail.adapter(&registry).statement(&rail.order().account, from).await {
        Ok(stream) => stream,
        Err(error) => return (Vec::new(), Err(error)),
    };
    let mut movements = Vec::new();
    while let Some(item) = stream.next().await {
        match item {
            Ok(StatementItem::Line(line)) => movements.push(line.movement),
            Ok(StatementItem::End(_)) => {}
            Err(error) => return (movements, Err(error)),
        }
    }
    assert!(server.poured() < POURED_MAX, "{}", rail.rail);
    (movements, Ok(()))
}

/// With something else in one place; `{300}` is a word of so many letters.
fn lied(rail: &str, case: &str, honest: &str, from: &str, to: &str) -> String {
    let lie = honest.replace(from, &to.replace("{300}", &"x".repeat(300)));
    assert_ne!(lie, honest, "{rail}: {case}");
    lie
}

fn news(rail: &Dialect, state: &str) -> (Act, Vec<Finding>) {
    let order = rail.held();
    (reply(200, (rail.told)(&order, state)), (rail.found)(&order, state))
}

#[tokio::test]
async fn an_answer_that_was_lost_garbled_or_is_none_is_unknown_and_nothing_is_sent_twice() {
    let elsewhere = Server::start(&[("", vec![reply(200, "{}")])]).await;
    let redirect = |status: u16| Act::Reply(status, vec![("location", elsewhere.url.clone())], String::new());
    let mut acts = vec![
        Act::Lost,
        Act::Hang,
        Act::Raw(b"hello\r\n\r\n".to_vec()),
        Act::Raw(b"HTTP/1.1 200 OK\r\ncontent-le".to_vec()),
        Act::Raw(b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{\"id\":\"tr_1\"".to_vec()),
        Act::Raw(b"HTTP/1.1 201 OK\r\ncontent-length: 13\r\n\r\n{\"id\":\"\xff\xfe\"} ".to_vec()),
        Act::Raw(b"HTTP/1.1 429 X\r\nretry-after: 1\r\ntransfer-encoding: chunked\r\n\r\n30\r\n{\"name\":".to_vec()),
        reply(200, " ".repeat(8 << 20)),
        reply(201, format!("{}{{}}", " ".repeat(8 << 20))),
        reply(400, " ".repeat(8 << 20)),
    ];
    acts.extend([301, 302, 303, 307, 308].map(redirect));
    for status in [200, 201, 202, 204, 205, 207, 400, 402, 404, 408, 409, 410, 422, 500, 502, 503, 504, 599] {
        for body in ["", "null", "[]", "{}", "{", "\u{0}", r#"{"status":"OF_NEXT_YEAR"}"#, "<html>OK</html>"] {
            acts.push(reply(status, body));
        }
    }
    for rail in &ALL {
        for (answer, act) in submit(rail, acts.clone()).await.iter().zip(&acts) {
            assert_eq!(*answer, UNKNOWN, "{}: {act:.80?}", rail.rail);
        }
        for (found, act) in follow(rail, acts.clone()).await.iter().zip(&acts) {
            assert_eq!(*found, unanswered(rail), "{}: {act:.80?}", rail.rail);
        }
    }
    assert_eq!(elsewhere.seen(), []);
}

#[tokio::test]
async fn no_connection_means_that_nothing_was_sent() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let registry = registry(&url, "");
    for rail in &ALL {
        assert_eq!(rail.adapter(&registry).submit(&rail.order().call()).await, NOT_EXECUTED, "{}", rail.rail);
        assert_eq!(rail.adapter(&registry).follow(&rail.held().call()).await, unanswered(rail), "{}", rail.rail);
    }
}

#[tokio::test]
async fn a_request_on_a_kept_connection_is_not_repeated_when_that_is_lost() {
    for rail in &ALL {
        let answers = submit(rail, vec![reply(500, "{}"), Act::Lost, reply(500, "{}")]).await;
        assert_eq!(answers, [UNKNOWN, UNKNOWN, UNKNOWN], "{}", rail.rail);
    }
}

#[tokio::test]
async fn late_success() {
    for rail in &ALL {
        let (act, expected) = good(rail);
        let (status, body) = (rail.taken)(&rail.order());
        assert_eq!(submit(rail, vec![Act::TooLate(status, body), act]).await, [UNKNOWN, expected], "{}", rail.rail);
        let (act, found) = news(rail, rail.states[0]);
        let late = Act::TooLate(200, (rail.told)(&rail.held(), rail.states[0]));
        assert_eq!(follow(rail, vec![late, act]).await, [unanswered(rail), found], "{}", rail.rail);
    }
}

#[tokio::test]
async fn the_same_news_again_and_out_of_order() {
    for rail in &ALL {
        let (act, expected) = good(rail);
        assert_eq!(submit(rail, vec![act; 3]).await, vec![expected; 3], "{}: the same proof each time", rail.rail);
        let forth_and_back: Vec<&str> = rail.states.iter().chain(rail.states.iter().rev()).copied().collect();
        let (acts, expected): (Vec<_>, Vec<_>) = forth_and_back.into_iter().map(|state| news(rail, state)).unzip();
        assert_eq!(follow(rail, acts).await, expected, "{}", rail.rail);
        let line = (rail.line)();
        let twice = reply(200, (rail.statement)(&[line.clone(), line]));
        let told = statement(rail, vec![twice]).await;
        assert_eq!(told, (vec![Movement::Paid; 2], Ok(())), "{}: the reconciler counts", rail.rail);
    }
}

#[tokio::test]
async fn refusal_after_acceptance() {
    for rail in &ALL {
        let (act, expected) = good(rail);
        let (status, body, code) = rail.refused;
        let answers = submit(rail, vec![act.clone(), reply(status, body), act]).await;
        assert_eq!(answers, [expected.clone(), refused(code), expected], "{}", rail.rail);
    }
}

#[tokio::test]
async fn a_refusal_under_another_status_or_from_another_rail_is_none() {
    for rail in &ALL {
        let (at, body, _) = rail.refused;
        let statuses = [201, 202, 207, 301, 401, 403, 408, 409, 410, 418, 425, 429, 451, 500, 503, 599];
        let answers = submit(rail, statuses.map(|status| reply(status, body)).to_vec()).await;
        for (status, answer) in statuses.into_iter().zip(answers) {
            // Whatever else the body names: who is not known, or may not, has paid nobody.
            let expected = match (rail.rail, status) {
                ("stripe", 401 | 403) => CREDENTIAL_REFUSED,
                // Of a token that was taken before it says that it has ended.
                ("paypal", 401) => NOT_EXECUTED,
                _ => UNKNOWN,
            };
            assert_eq!(answer, expected, "{}: {status} instead of {at}", rail.rail);
        }
        for other in ALL.iter().filter(|other| other.rail != rail.rail) {
            let (status, body, _) = other.refused;
            assert_eq!(submit(rail, vec![reply(status, body)]).await, [UNKNOWN], "{}: {}", rail.rail, other.rail);
            // And what another rail calls taken is not.
            let (status, body) = (other.taken)(&other.order());
            assert_eq!(submit(rail, vec![reply(status, body)]).await, [UNKNOWN], "{}: {}", rail.rail, other.rail);
        }
    }
}

#[tokio::test]
async fn key_pruned() {
    // A rail that has forgotten a name proves nothing about the request before.
    for rail in &ALL {
        let (act, found) = news(rail, rail.states[0]);
        for status in [404, 410] {
            for body in [
                r#"{"name":"INVALID_RESOURCE_ID","message":"...","debug_id":"d"}"#,
                r#"{"error":{"type":"invalid_request_error","code":"resource_missing","param":"id"}}"#,
                r#"{"errors":[{"code":"NOT_FOUND","path":"id"}]}"#,
            ] {
                let told = follow(rail, vec![act.clone(), reply(status, body)]).await;
                assert_eq!(told, [found.clone(), unanswered(rail)], "{}: {status} {body}", rail.rail);
            }
        }
    }
}

#[tokio::test]
async fn body_that_lies() {
    for rail in &ALL {
        let (status, honest) = (rail.taken)(&rail.order());
        for (case, from, to) in rail.lies {
            let lie = lied(rail.rail, case, &honest, from, to);
            assert_eq!(submit(rail, vec![reply(status, lie)]).await, [UNKNOWN], "{}: {case}", rail.rail);
        }
        let honest = (rail.told)(&rail.held(), rail.states[0]);
        for (case, from, to) in rail.false_news {
            let told = follow(rail, vec![reply(200, lied(rail.rail, case, &honest, from, to))]).await;
            assert_eq!(told[0][0], Finding::Unanswered, "{}: {case}", rail.rail);
        }
        let honest = (rail.line)();
        for (case, from, to) in rail.false_lines {
            let lie = lied(rail.rail, case, &honest.to_string(), from, to);
            let body = (rail.statement)(&[honest.clone(), serde_json::json!("LIE")]).replace(r#""LIE""#, &lie);
            let (lines, end) = statement(rail, vec![reply(200, body)]).await;
            // A page that cannot be read at all has no line.
            let is_said = matches!(end, Err(StatementError::Unreadable { line: 2, .. }))
                || matches!((&end, lines.len()), (Err(StatementError::Unreachable { .. }), 0));
            assert!(is_said, "{}: {case}: {lines:?} {end:?}", rail.rail);
        }
    }
}

#[tokio::test]
async fn more_than_one_answer_in_one() {
    for rail in &ALL {
        let (status, body) = (rail.taken)(&rail.order());
        let (_, refusal, _) = rail.refused;
        for body in [format!("{body}{body}"), format!("{body}{refusal}"), format!("{refusal}{body}")] {
            assert_eq!(submit(rail, vec![reply(status, body)]).await, [UNKNOWN], "{}", rail.rail);
        }
        let told = (rail.told)(&rail.held(), rail.states[0]);
        assert_eq!(follow(rail, vec![reply(200, format!("{told}{told}"))]).await, [unanswered(rail)], "{}", rail.rail);
    }
}

/// What is believed is the body: a label makes it neither more nor less.
#[tokio::test]
async fn content_types_that_are_wrong() {
    for rail in &ALL {
        let (status, body) = (rail.taken)(&rail.order());
        let labelled =
            |status, name, label: &str, body: &str| Act::Reply(status, vec![(name, label.to_owned())], body.to_owned());
        for label in ["application/json", "text/html", "application/octet-stream", "nonsense"] {
            let answers = submit(rail, vec![labelled(status, "content-type", label, &body)]).await;
            assert_eq!(answers, [good(rail).1], "{}: {label}", rail.rail);
            let html = "<html><body>insufficient_funds</body></html>";
            let pages = [200, 201, 400, 401, 402, 403, 404, 422, 429]
                .map(|status| labelled(status, "content-type", label, html));
            assert_eq!(submit(rail, pages.to_vec()).await, vec![UNKNOWN; 9], "{}: {label}", rail.rail);
        }
        // In another form nobody can read it.
        let (refused_with, refusal, _) = rail.refused;
        let wide: Vec<u8> = refusal.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let head = format!("HTTP/1.1 {refused_with} X\r\ncontent-length: {}\r\n\r\n", wide.len());
        let marked = format!("\u{feff}{refusal}");
        for act in [
            Act::Raw([head.into_bytes(), wide].concat()),
            reply(refused_with, marked),
            labelled(refused_with, "content-encoding", "gzip", &format!("\u{1f}\u{8b}{refusal}")),
        ] {
            assert_eq!(submit(rail, vec![act.clone()]).await, [UNKNOWN], "{}: {act:?}", rail.rail);
        }
    }
}

#[tokio::test]
async fn endless_body() {
    let chunk = [b"4000\r\n".as_slice(), &[b' '; 0x4000], b"\r\n"].concat();
    let began = Instant::now();
    for rail in &ALL {
        for status in [200, 201, 400, 401, 422, 429] {
            let head = format!("HTTP/1.1 {status} X\r\nretry-after: 1\r\ntransfer-encoding: chunked\r\n\r\n");
            let endless = Act::Endless(head.into_bytes(), chunk.clone(), Duration::ZERO);
            assert_eq!(submit(rail, vec![endless.clone()]).await, [UNKNOWN], "{} {status}", rail.rail);
            assert_eq!(follow(rail, vec![endless.clone()]).await, [unanswered(rail)], "{} {status}", rail.rail);
            let (lines, end) = statement(rail, vec![endless]).await;
            assert!(lines.is_empty() && end.is_err(), "{} {status}: {end:?}", rail.rail);
        }
    }
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
}

#[tokio::test]
async fn slow_drip() {
    let began = Instant::now();
    for rail in &ALL {
        let (status, body, _) = rail.refused;
        // All that would refuse it, but for its end.
        let head = format!("HTTP/1.1 {status} X\r\ndate: {LATER}\r\ncontent-length: 100000\r\n\r\n{body}");
        let drip = Act::Endless(head.into_bytes(), b" ".to_vec(), CALL_TIMEOUT / 10);
        assert_eq!(submit(rail, vec![drip.clone()]).await, [UNKNOWN], "{}", rail.rail);
        assert_eq!(follow(rail, vec![drip]).await, [unanswered(rail)], "{}", rail.rail);
    }
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
}

#[tokio::test]
async fn what_was_learned_of_no_payout_is_said_of_none() {
    for rail in &ALL {
        let server = Server::start(&(rail.around)()).await;
        let registry = registry(&server.url, "");
        for order in [rail.order(), rail.held()] {
            for found in rail.adapter(&registry).look_up(&order.call()).await {
                assert!(matches!(found, Finding::Unanswered | Finding::NotYet), "{}: {found:?}", rail.rail);
            }
        }
    }
}

#[tokio::test]
async fn only_the_real_rails_that_have_an_account_are_offered() {
    let registry = registry("http://127.0.0.1:9", "");
    assert_eq!(registry.names(), ["paypal", "stripe", "wise"]);
    for name in registry.names() {
        assert!(RAILS.iter().any(|rail| rail.name == name), "{name}");
    }
    assert_eq!(ALL.map(|rail| rail.rail).to_vec(), registry.names(), "all of them are tried here");
    assert!(ALL.iter().all(|rail| !matches!((rail.means)(), Outcome::Unknown)));
}
