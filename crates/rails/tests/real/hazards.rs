//! What every real rail's adapter must survive, whatever its dialect.

use std::sync::Arc;

use payfleet_domain::RAILS;
use payfleet_rails::{Adapter, Finding, Registry};

use crate::paypal_create::{TOKEN, token};
use crate::server::{Act, Server, reply};
use crate::wise::{FUND, MAKE, QUOTE, made, quoted};
use crate::world::{NOT_EXECUTED, Order, UNKNOWN, registry};

/// A request, and how such ones are answered.
type Answered = (&'static str, Vec<Act>);

/// Each rail with the request that pays, and what comes before it.
fn rails() -> Vec<(&'static str, &'static str, Vec<Answered>)> {
    vec![
        ("paypal", "POST /v1/payments/payouts", vec![(TOKEN, vec![token("t", 32_400)])]),
        ("stripe", "POST /v1/transfers", vec![]),
        ("wise", FUND, vec![(QUOTE, vec![quoted()]), (MAKE, vec![made("incoming_payment_waiting")])]),
    ]
}

fn order(rail: &str) -> Order {
    Order::new(rail, 1, if rail == "wise" { "EUR" } else { "USD" })
}

fn adapter(registry: &Registry, rail: &str) -> Arc<dyn Adapter> {
    registry.adapter(rail).unwrap()
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
    for (rail, pays, before) in rails() {
        let mut script = before.clone();
        script.insert(0, (pays, acts.clone()));
        let server = Server::start(&script).await;
        let adapter = adapter(&registry(&server.url, ""), rail);
        for (act, sent) in acts.iter().zip(1..) {
            assert_eq!(adapter.submit(&order(rail).call()).await, UNKNOWN, "{rail}: {act:.80?}");
            assert_eq!(server.asked(pays).len(), sent, "{rail}: {act:.80?}");
        }
    }
    assert_eq!(elsewhere.seen(), []);
}

#[tokio::test]
async fn no_connection_means_that_nothing_was_sent() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    for (rail, ..) in rails() {
        assert_eq!(adapter(&registry(&url, ""), rail).submit(&order(rail).call()).await, NOT_EXECUTED, "{rail}");
        let asked = order(rail).accepted("1");
        assert_eq!(adapter(&registry(&url, ""), rail).follow(&asked.call()).await, [Finding::Unanswered], "{rail}");
    }
}

#[tokio::test]
async fn a_request_on_a_kept_connection_is_not_repeated_when_that_is_lost() {
    for (rail, pays, before) in rails() {
        let mut script = before.clone();
        script.insert(0, (pays, vec![reply(500, "{}"), Act::Lost, reply(500, "{}")]));
        let server = Server::start(&script).await;
        let adapter = adapter(&registry(&server.url, ""), rail);
        for sent in 1..=2 {
            assert_eq!(adapter.submit(&order(rail).call()).await, UNKNOWN, "{rail}");
            assert_eq!(server.asked(pays).len(), sent, "{rail}");
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
}
