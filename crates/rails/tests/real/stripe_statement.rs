//! Stripe's balance transactions as a statement, and the bank leg of connected accounts.

use payfleet_domain::{Movement, RefusalCode, StatementLine};
use payfleet_rails::{Adapter, BankPayoutState, StatementError, StatementItem};
use serde_json::json;
use time::OffsetDateTime;
use time::macros::datetime;

use crate::server::{Act, LATER, Server, reply};
use crate::stripe::{order, transfer};
use crate::world::{read_all, registry};

const FROM: OffsetDateTime = datetime!(2025-12-01 00:00 UTC);
const PAGE: &str = "GET /v1/balance_transactions?";

fn transaction(id: &str, kind: &str, amount: i64, source: serde_json::Value) -> serde_json::Value {
    json!({"id": id, "object": "balance_transaction", "type": kind, "amount": amount, "currency": "usd",
           "created": 1_767_200_000, "fee": 0, "net": amount, "source": source})
}

fn page(transactions: &[serde_json::Value], has_more: bool) -> Act {
    reply(200, json!({"object": "list", "data": transactions, "has_more": has_more}).to_string())
}

async fn statement(script: &[(&str, Vec<Act>)]) -> (Server, Result<Vec<StatementItem>, StatementError>) {
    let server = Server::start(script).await;
    let stripe = registry(&server.url, "").stripe().unwrap();
    let read = read_all(stripe.statement(&order().account, FROM).await).await;
    (server, read)
}

fn lines(items: &[StatementItem]) -> Vec<&StatementLine> {
    items.iter().filter_map(|item| if let StatementItem::Line(line) = item { Some(line) } else { None }).collect()
}

#[tokio::test]
async fn transfers_and_reversals_are_its_lines_and_all_pages_are_read() {
    let reversal = json!({"id": "trr_1", "object": "transfer_reversal", "amount": 1, "transfer": "tr_1"});
    let first = page(
        &[
            transaction("txn_4", "transfer_refund", 1, reversal),
            transaction("txn_3", "stripe_fee", -30, json!(null)),
            transaction("txn_2", "a_kind_of_next_year", -5, json!("x_1")),
        ],
        true,
    );
    let second = page(&[transaction("txn_1", "transfer", -1001, transfer("tr_1", 1))], false);
    let one = reply(200, transfer("tr_1", 1).to_string());
    let (server, read) = statement(&[(PAGE, vec![first, second]), ("GET /v1/transfers/tr_1", vec![one])]).await;
    let items = read.unwrap();
    let lines = lines(&items);
    let at = OffsetDateTime::from_unix_timestamp(1_767_200_000).ok();
    let paid = StatementLine {
        key: order().key(0).to_owned(),
        reference: "tr_1".to_owned(),
        amount_minor: 1001,
        fee_minor: 0,
        currency: "USD".to_owned(),
        destination: "acct_1PgafTB7WZ01zgk1".to_owned(),
        movement: Movement::Paid,
        at,
        of: None,
    };
    let back = StatementLine {
        reference: "trr_1".to_owned(),
        amount_minor: 1,
        destination: String::new(),
        movement: Movement::Returned,
        of: Some("tr_1".to_owned()),
        ..paid.clone()
    };
    assert_eq!(lines, [&back, &paid], "the reversal has the key of its transfer");
    let Some(StatementItem::End(end)) = items.last() else { panic!("no end") };
    assert_eq!((end.lines, end.from), (2, FROM));
    assert_eq!(end.now, datetime!(2026-01-03 0:00 UTC), "by Stripe's clock ({LATER})");
    let lags = end.now - time::Duration::minutes(5);
    assert_eq!(end.until, lags, "our clock is ahead of it, and what is booked is listed later");
    let asked = server.asked(PAGE);
    assert!(asked[0].line.contains("created%5Bgte%5D=1764547200&created%5Blt%5D="), "{}", asked[0].line);
    assert!(asked[0].line.ends_with("&limit=100&expand%5B%5D=data.source"));
    assert!(asked[1].line.ends_with("&starting_after=txn_2"), "{}", asked[1].line);
}

#[tokio::test]
async fn what_was_booked_while_our_clock_was_behind_is_asked_for_too() {
    let first = page(&[transaction("txn_1", "transfer", -1001, transfer("tr_1", 0))], false);
    let Act::Reply(status, _, body) = first else { panic!("a page") };
    let ahead = Act::Reply(status, vec![("date", "Sun, 03 Jan 2100 00:00:00 GMT".to_owned())], body);
    let second = page(&[transaction("txn_2", "transfer", -1001, transfer("tr_2", 0))], false);
    let (server, read) = statement(&[(PAGE, vec![ahead, second])]).await;
    let items = read.unwrap();
    assert_eq!(lines(&items).len(), 2);
    let Some(StatementItem::End(end)) = items.last() else { panic!("no end") };
    assert_eq!((end.now, end.until), (datetime!(2100-01-03 0:00 UTC), datetime!(2100-01-02 23:55 UTC)));
    let asked = server.asked(PAGE);
    let part = |line: &str, name: &str| line.split(name).nth(1).unwrap().split('&').next().unwrap().to_owned();
    assert_eq!(part(&asked[1].line, "gte%5D="), part(&asked[0].line, "lt%5D="), "without a gap");
    assert_eq!(part(&asked[1].line, "lt%5D="), "4102617600");
}

#[tokio::test]
async fn what_cannot_be_read_ends_it_and_what_is_denied_is_said() {
    let denied = statement(&[(PAGE, vec![reply(401, r#"{"error":{"type":"x"}}"#)])]).await.1;
    assert!(matches!(denied, Err(StatementError::Denied { status: 401, .. })), "{denied:?}");
    let lost = statement(&[(PAGE, vec![Act::Lost])]).await.1;
    assert!(matches!(lost, Err(StatementError::Unreachable { .. })), "{lost:?}");
    let good = transaction("txn_1", "transfer", -1001, transfer("tr_1", 0));
    let broken = statement(&[(PAGE, vec![page(std::slice::from_ref(&good), true), reply(500, "")])]).await.1;
    assert!(matches!(broken, Err(StatementError::BrokeOff { lines: 1, .. })), "{broken:?}");
    for odd in [
        transaction("txn_2", "transfer", 1001, transfer("tr_1", 0)),
        transaction("txn_2", "transfer_refund", -1, json!({"id": "trr_1", "transfer": "tr_1"})),
        transaction("txn_2", "transfer", -1001, json!("tr_1")),
        transaction("txn_2", "transfer_refund", 1, json!(null)),
    ] {
        let read = statement(&[(PAGE, vec![page(&[good.clone(), odd.clone()], false)])]).await.1;
        assert!(matches!(read, Err(StatementError::Unreadable { line: 2, .. })), "{odd}: {read:?}");
    }
    let endless = statement(&[(PAGE, vec![page(&[], true)])]).await.1;
    assert!(endless.is_err(), "more without anything");
    let again = statement(&[(PAGE, vec![page(std::slice::from_ref(&good), true)])]).await.1;
    assert!(matches!(again, Err(StatementError::BrokeOff { lines: 1, .. })), "the same page for ever: {again:?}");
}

#[tokio::test]
async fn the_way_to_the_bank_can_be_shown() {
    let payouts = json!({"object": "list", "data": [
        {"id": "po_1", "status": "paid", "failure_code": null, "created": 1_767_200_000},
        {"id": "po_2", "status": "failed", "failure_code": "account_closed", "created": 1_767_200_000},
        {"id": "po_3", "status": "of_next_year", "created": 1_767_200_000},
    ]});
    let server = Server::start(&[("GET /v1/payouts?", vec![reply(200, payouts.to_string())])]).await;
    let stripe = registry(&server.url, "").stripe().unwrap();
    let found = stripe.bank_payouts(&order().account, "acct_1", FROM).await.unwrap();
    let states: Vec<_> = found.iter().map(|one| (one.state, one.failure.clone())).collect();
    let closed = Some(RefusalCode::new("account_closed"));
    let expected = [(BankPayoutState::Paid, None), (BankPayoutState::Failed, closed), (BankPayoutState::Unknown, None)];
    assert_eq!(states, expected);
    assert_eq!(server.seen()[0].header("stripe-account"), Some("acct_1"));
}
