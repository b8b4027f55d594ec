//! Nothing that is secret, and nothing of the payee or the amount, is in a log, an error or what is printed of a value,
//! whatever the rail answers.

use std::fmt::{Debug, Write};
use std::sync::{Arc, Mutex};

use payfleet_rails::Registry;
use time::macros::datetime;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use crate::paypal_create::{TOKEN, duplicate, token};
use crate::paypal_follow::{batch, item};
use crate::server::{Act, Server, reply};
use crate::stripe::transfer;
use crate::wise::{CANCEL, FUND, MAKE, ONE, QUOTE, made, quoted, sca};
use crate::world::{Order, registry};

/// All events, as text.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<String>>);

struct Written<'a>(&'a mut String);

impl Visit for Written<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let _ = write!(self.0, "{}={value:?} ", field.name());
    }
}

impl Subscriber for Heard {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("payfleet")
    }

    fn event(&self, event: &Event<'_>) {
        let mut text = self.0.lock().unwrap();
        event.record(&mut Written(&mut text));
        text.push('\n');
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// Asks an adapter everything.
async fn ask(registry: &Registry, rail: &str, order: &Order, printed: &mut String) {
    let adapter = registry.adapter(rail).unwrap();
    let _ = write!(printed, "{:?}", adapter.submit(&order.call()).await);
    let _ = write!(printed, "{:?}", adapter.look_up(&order.call()).await);
    let _ = write!(printed, "{:?}", adapter.follow(&order.call()).await);
    if let Err(error) = adapter.statement(&order.account, datetime!(2026-01-01 0:00 UTC)).await {
        let _ = write!(printed, "{error} {error:?}");
    }
    let _ = write!(printed, "{:?} {:?} {:?}", order.call(), order.account, order.instructions);
}

#[tokio::test]
async fn neither_secrets_nor_payees_nor_amounts_are_told() {
    let heard = Heard::default();
    let _guard = tracing::subscriber::set_default(heard.clone());
    let mut printed = String::new();
    let paypal = Order::new("paypal", 1, "USD");
    let stripe = Order::new("stripe", 1, "USD");
    let mut other = item(&paypal, 0, Some("BLOCKED"), Some("REGULATORY_BLOCKED"));
    other["payout_item"]["amount"]["value"] = "10.02".into();
    let href = serde_json::json!([{"href": "https://x/v1/payments/payouts/PB1"}]);
    let quoting =
        r#"{"name":"VALIDATION_ERROR","message":"payee1@example.com 10.01","details":[{"field":"items[0].payee1"}]}"#;
    for (send, get) in [
        (reply(400, duplicate(href.clone())), reply(200, batch(&paypal, "SUCCESS", &[other]))),
        (reply(400, quoting), reply(200, batch(&paypal, "SUCCESS", &[item(&paypal, 0, Some("BLOCKED"), None)]))),
        (reply(401, r#"{"error":"payee1@example.com"}"#), reply(400, quoting)),
        (Act::Lost, Act::Lost),
    ] {
        let script = [
            (TOKEN, vec![token("t0ken", 32_400)]),
            ("POST /v1/payments/payouts", vec![send]),
            ("GET /v1/payments/payouts", vec![get]),
            ("GET /v1/reporting", vec![reply(400, quoting)]),
        ];
        let server = Server::start(&script).await;
        let order = Order::new("paypal", 1, "USD").accepted("PB1");
        ask(&registry(&server.url, ""), "paypal", &order, &mut printed).await;
    }
    let twice =
        serde_json::json!({"object": "list", "data": [transfer("tr_1", 0), transfer("tr_2", 0)], "has_more": true});
    let quoting = r#"{"error":{"type":"idempotency_error","message":"acct_1PgafTB7WZ01zgk1 sk_test_s3cret"}}"#;
    for (send, get) in
        [(reply(400, quoting), reply(200, twice.to_string())), (reply(401, quoting), reply(400, quoting))]
    {
        let script = [
            ("POST /v1/transfers", vec![send]),
            ("GET /v1/transfers", vec![get]),
            ("GET /v1/balance_transactions", vec![reply(400, quoting)]),
        ];
        let server = Server::start(&script).await;
        ask(&registry(&server.url, ""), "stripe", &stripe, &mut printed).await;
    }
    let order = Order::new("wise", 1, "EUR").accepted("16521632");
    let rejected = r#"{"type":"BALANCE","status":"REJECTED","errorCode":"transfer.limit"}"#;
    for (fund, state) in [(sca(), "incoming_payment_waiting"), (reply(200, rejected), "charged_back"), (Act::Lost, "x")]
    {
        let script = [
            (QUOTE, vec![quoted()]),
            (FUND, vec![fund]),
            (MAKE, vec![made("incoming_payment_waiting")]),
            (CANCEL, vec![made("processing")]),
            (ONE, vec![made(state)]),
            ("GET /v1/profiles", vec![sca()]),
        ];
        let server = Server::start(&script).await;
        ask(&registry(&server.url, ""), "wise", &order, &mut printed).await;
    }
    let heard = heard.0.lock().unwrap().clone();
    assert!(heard.lines().count() > 15, "{heard}");
    assert!(heard.contains("a person must approve it at Wise"), "what waits for a person says so: {heard}");
    for text in [&heard, &printed] {
        for hidden in ["s3cret", "t0ken", "payee1", "acct_1Pgaf", "8692237", "10.01", "1001", "be2f184d"] {
            assert!(!text.contains(hidden), "{hidden}: {text}");
        }
    }
}
