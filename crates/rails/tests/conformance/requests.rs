//! What is sent, byte by byte: a rail with keys compares the bodies of repeated requests, so they may not change
//! between versions of this program while a key is remembered.

use payfleet_rails::{Account, Answer};

use crate::Shape;
use crate::server::{Act, Seen, Server};

async fn sent(shape: Shape) -> Seen {
    let server = Server::with(Act::Reply(500, String::new())).await;
    let order = shape.order();
    let adapter = shape.adapter(&server.url);
    let _: Answer = adapter.submit(&order.call()).await;
    let _: Answer = adapter.submit(&order.call()).await;
    let mut seen = server.seen();
    assert_eq!(seen.len(), 2);
    assert_eq!(seen[0], seen[1], "{shape:?}: the same call is always the same request");
    seen.swap_remove(0)
}

#[tokio::test]
async fn requests_are_these() {
    const ITEM: &str = concat!(
        r#"{"key":"429496729N-0123456789abcdef","amount_minor":100X,"currency":"EUR","#,
        r#""destination":"payee-X@example.com"}"#
    );
    let item = |number: i64| ITEM.replace('N', &(6 + number).to_string()).replace('X', &number.to_string());
    let items = format!("[{},{},{}]", item(1), item(2), item(3));
    let key = Shape::BATCH.order().batch_key.to_string();

    let payout = sent(Shape::PAYOUT).await;
    assert_eq!(payout.line, "POST /payout/payouts HTTP/1.1");
    assert_eq!(payout.header("idempotency-key"), Some("4294967297-0123456789abcdef"));
    assert_eq!(payout.body, item(1));

    let batch = sent(Shape::BATCH).await;
    assert_eq!(batch.line, "POST /batch/batches HTTP/1.1");
    assert_eq!(batch.body, format!(r#"{{"sender_batch_id":"{key}","currency":"EUR","items":{items}}}"#));

    let lookup = sent(Shape::LOOKUP).await;
    assert_eq!(lookup.line, "POST /lookup/transfers HTTP/1.1");
    let expiring = item(1).replace('}', r#","expires_at":"2026-01-02T03:04:05Z"}"#);
    assert_eq!(lookup.body, expiring);

    let file = sent(Shape::FILE).await;
    assert_eq!(file.line, "POST /file/files HTTP/1.1");
    assert_eq!(file.body, format!(r#"{{"file_id":"{key}","currency":"EUR","items":{items}}}"#));

    for request in [payout, batch, lookup, file] {
        assert_eq!(request.header("x-account"), Some("main"));
        assert_eq!(request.header("authorization"), Some("Bearer s3cret"));
        assert_eq!(request.header("content-type"), Some("application/json"));
    }
}

#[tokio::test]
async fn an_account_without_credential_sends_none_and_a_base_path_is_kept() {
    let server = Server::with(Act::Reply(500, String::new())).await;
    let mut order = Shape::LOOKUP.order();
    order.account = Account { name: "other".to_owned(), credential: None };
    let adapter = Shape::LOOKUP.adapter(&format!("{}/rails/", server.url));
    adapter.submit(&order.call()).await;
    adapter.look_up(&order.call()).await;
    let seen = server.seen();
    assert_eq!(seen[0].line, "POST /rails/lookup/transfers HTTP/1.1");
    assert_eq!(seen[1].line, "GET /rails/lookup/transfers/4294967297-0123456789abcdef HTTP/1.1");
    assert!(seen.iter().all(|request| request.header("authorization").is_none()));
}
