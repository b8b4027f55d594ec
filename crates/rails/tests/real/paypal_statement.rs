//! PayPal's Transaction Search as a statement.

use payfleet_domain::{Movement, StatementLine};
use payfleet_rails::{Adapter, StatementError, StatementItem};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::{Rfc2822, Rfc3339};
use time::macros::datetime;

use crate::paypal_create::{TOKEN, order, token};
use crate::server::{Act, Server, reply};
use crate::world::{read_all, registry};

const GET: &str = "GET /v1/reporting/transactions?";

fn transaction(id: &str, code: &str, status: &str, value: &str, key: Option<&str>, of: Option<&str>) -> Value {
    let mut info = json!({
        "transaction_id": id, "transaction_event_code": code, "transaction_status": status,
        "transaction_initiation_date": "2026-01-01T03:00:21Z",
        "transaction_amount": {"currency_code": "USD", "value": value},
    });
    if let Some(key) = key {
        info["custom_field"] = key.into();
    }
    if let Some(of) = of {
        info["paypal_reference_id"] = of.into();
        info["paypal_reference_id_type"] = "TXN".into();
    }
    json!({"transaction_info": info, "payer_info": {"a_field_of_next_year": 1}})
}

fn page(transactions: &[Value], pages: u32, refreshed: Option<&str>) -> Act {
    let mut body = json!({"transaction_details": transactions, "total_pages": pages, "page": 1});
    if let Some(refreshed) = refreshed {
        body["last_refreshed_datetime"] = refreshed.into();
    }
    let date = now().format(&Rfc2822).unwrap();
    Act::Reply(200, vec![("date", date)], body.to_string())
}

/// The rail's clock, which is ours here: what may be behind is counted from it.
fn now() -> OffsetDateTime {
    OffsetDateTime::now_utc().replace_nanosecond(0).unwrap()
}

async fn statement(from: OffsetDateTime, acts: Vec<Act>) -> (Server, Result<Vec<StatementItem>, StatementError>) {
    let server = Server::start(&[(TOKEN, vec![token("t", 32_400)]), (GET, acts)]).await;
    let paypal = registry(&server.url, "").paypal().unwrap();
    let read = read_all(paypal.statement(&order(1).account, from).await).await;
    (server, read)
}

fn recently() -> OffsetDateTime {
    (OffsetDateTime::now_utc() - time::Duration::days(2)).replace_nanosecond(0).unwrap()
}

#[tokio::test]
async fn payments_and_what_came_back_are_its_lines_and_holds_are_not() {
    let order = order(1);
    let key = Some(order.key(0));
    let transactions = [
        transaction("H1", "T1503", "S", "-442.79", None, None),
        transaction("T1", "T0001", "S", "-10.01", key, None),
        transaction("F1", "T0104", "S", "-0.20", key, None),
        transaction("H2", "T1105", "S", "442.79", None, Some("H1")),
        transaction("R1", "T1115", "S", "10.00", key, Some("T1")),
        transaction("R2", "T1114", "S", "0.01", key, Some("T1")),
        transaction("P1", "T0001", "P", "-5.00", key, None),
        transaction("D1", "T0001", "D", "-5.00", key, None),
        transaction("I1", "T0001", "S", "7.00", None, None),
        transaction("X1", "T0400", "S", "-7.00", None, None),
        transaction("X2", "T9999", "S", "-7.00", key, None),
        transaction("T2", "T0001", "V", "-5.00", None, None),
    ];
    let refreshed = now() - time::Duration::hours(5);
    let refreshed_at = refreshed.format(&Rfc3339).unwrap();
    let from = recently();
    let (_, read) = statement(from, vec![page(&transactions, 1, Some(&refreshed_at))]).await;
    let items = read.unwrap();
    let line = |key: &str, id: &str, minor, movement, of: Option<&str>| {
        StatementItem::Line(StatementLine {
            key: key.to_owned(),
            reference: id.to_owned(),
            amount_minor: minor,
            fee_minor: 0,
            currency: "USD".to_owned(),
            destination: String::new(),
            movement,
            at: Some(datetime!(2026-01-01 03:00:21 UTC)),
            of: of.map(str::to_owned),
        })
    };
    let expected = [
        line(order.key(0), "T1", 1_001, Movement::Paid, None),
        line(order.key(0), "R1", 1_000, Movement::Returned, Some("T1")),
        line(order.key(0), "R2", 1, Movement::Returned, Some("T1")),
        line("", "T2", 500, Movement::Paid, None),
    ];
    assert_eq!(items[..4], expected);
    let StatementItem::End(end) = &items[4] else { panic!("no end") };
    assert_eq!((end.lines, items.len()), (4, 5));
    assert_eq!(end.until, refreshed, "as far as PayPal's own books have come");
    assert!(end.now > refreshed);
    let pending = datetime!(2026-01-01 03:00:21 UTC);
    assert_eq!(end.open_from, Some(pending), "what becomes of P1 is told by P1");
}

#[tokio::test]
async fn what_was_booked_while_our_clock_was_behind_is_asked_for_too() {
    let ahead = (now() + time::Duration::days(40)).format(&Rfc2822).unwrap();
    let one = |id: &str| {
        let Act::Reply(status, _, body) = page(&[transaction(id, "T0001", "S", "-1.00", None, None)], 1, None) else {
            panic!("a page")
        };
        Act::Reply(status, vec![("date", ahead.clone())], body)
    };
    let (server, read) = statement(recently(), vec![one("A"), one("B"), one("C")]).await;
    let items = read.unwrap();
    assert_eq!(items.len(), 4, "{items:?}");
    let StatementItem::End(end) = &items[3] else { panic!("no end") };
    assert_eq!((end.until, end.open_from), (end.now - time::Duration::hours(3), None));
    let lines: Vec<String> = server.asked(GET).into_iter().map(|seen| seen.line).collect();
    let part = |line: &str, name: &str| line.split(name).nth(1).unwrap().split('&').next().unwrap().to_owned();
    assert_eq!(part(&lines[1], "start_date="), part(&lines[0], "end_date="), "without a gap");
    assert_eq!(part(&lines[2], "start_date="), part(&lines[1], "end_date="), "without a gap");
}

/// What is booked between two answers stands in neither: it is younger than the books that the first was made from, and
/// outside of what the second was asked for. So the statement reaches as far as the oldest books of all its answers.
#[tokio::test]
async fn books_that_are_refreshed_between_two_answers_prove_no_more_than_the_older_ones() {
    let hours = |hours: i64| (now() - time::Duration::hours(hours)).format(&Rfc3339).unwrap();
    let one = |id, pages, behind: Option<i64>| {
        page(&[transaction(id, "T0001", "S", "-1.00", None, None)], pages, behind.map(hours).as_deref())
    };
    let long_ago = (OffsetDateTime::now_utc() - time::Duration::days(40)).replace_nanosecond(0).unwrap();
    for (case, from, acts, reaches) in [
        ("two windows", long_ago, vec![one("A", 1, Some(5)), one("B", 1, Some(1))], 5),
        ("two pages", recently(), vec![one("A", 2, Some(5)), one("B", 2, Some(1))], 5),
        ("books that went back", recently(), vec![one("A", 2, Some(1)), one("B", 2, Some(5))], 5),
        ("one that does not say", recently(), vec![one("A", 2, None), one("B", 2, Some(1))], 3),
        ("another that does not say", recently(), vec![one("A", 2, Some(1)), one("B", 2, None)], 3),
    ] {
        let items = statement(from, acts).await.1.unwrap();
        let Some(StatementItem::End(end)) = items.last() else { panic!("{case}: no end") };
        let behind = now() - end.until;
        assert!((0..60).contains(&(behind - time::Duration::hours(reaches)).whole_seconds()), "{case}: {behind}");
    }
}

/// By the clock of the first answer: what is booked while the others are asked for is on none of them.
#[tokio::test]
async fn what_it_may_be_behind_is_counted_from_the_first_answer() {
    let dated = |id: &str, at: OffsetDateTime| {
        let Act::Reply(status, _, body) = page(&[transaction(id, "T0001", "S", "-1.00", None, None)], 2, None) else {
            panic!("a page")
        };
        Act::Reply(status, vec![("date", at.format(&Rfc2822).unwrap())], body)
    };
    let first = now();
    let acts = vec![dated("A", first), dated("B", first + time::Duration::hours(4)), dated("C", first)];
    let items = statement(recently(), acts).await.1.unwrap();
    let Some(StatementItem::End(end)) = items.last() else { panic!("no end") };
    assert_eq!((end.now, end.until, end.lines), (first, first - time::Duration::hours(3), 2));
}

#[tokio::test]
async fn it_is_read_in_windows_and_pages_up_to_what_may_be_behind() {
    let from = (OffsetDateTime::now_utc() - time::Duration::days(65)).replace_nanosecond(0).unwrap();
    let one = |id| page(&[transaction(id, "T0001", "S", "-1.00", None, None)], 2, None);
    let last = page(&[], 1, None);
    let (server, read) = statement(from, vec![one("A"), one("B"), last.clone(), last]).await;
    let items = read.unwrap();
    assert_eq!(items.len(), 3);
    let StatementItem::End(end) = &items[2] else { panic!("no end") };
    let behind = end.now - time::Duration::hours(3);
    assert_eq!((end.from, end.until), (from, behind), "PayPal does not say how far it has come");
    let lines: Vec<String> = server.asked(GET).into_iter().map(|seen| seen.line).collect();
    assert_eq!(lines.len(), 4, "two pages of the first of three windows: {lines:?}");
    assert!(lines[0].contains("page=1") && lines[1].contains("page=2") && lines[2].contains("page=1"));
    assert!(lines[0].contains("page_size=500") && lines[0].contains("balance_affecting_records_only=Y"));
    let start = |line: &str| line.split("start_date=").nth(1).unwrap().split('&').next().unwrap().to_owned();
    let end = |line: &str| line.split("end_date=").nth(1).unwrap().split('&').next().unwrap().to_owned();
    assert_eq!(
        (start(&lines[0]), start(&lines[2]), start(&lines[3])),
        (start(&lines[1]), end(&lines[1]), end(&lines[2]))
    );
    assert!(!start(&lines[0]).contains('.'), "whole seconds: {}", lines[0]);
}

#[tokio::test]
async fn what_cannot_be_read_ends_it_and_what_is_denied_is_said() {
    let good = transaction("T1", "T0001", "S", "-10.01", None, None);
    let denied = statement(recently(), vec![reply(403, r#"{"name":"NOT_AUTHORIZED"}"#)]).await.1;
    assert!(matches!(denied, Err(StatementError::Denied { status: 403, .. })), "{denied:?}");
    let lost = statement(recently(), vec![Act::Lost]).await.1;
    assert!(matches!(lost, Err(StatementError::Unreachable { .. })), "{lost:?}");
    for then in [reply(500, ""), Act::Lost, reply(200, "{")] {
        let broken = statement(recently(), vec![page(std::slice::from_ref(&good), 2, None), then]).await.1;
        assert!(matches!(broken, Err(StatementError::BrokeOff { lines: 1, .. })), "{broken:?}");
    }
    for odd in [
        transaction("T2", "T0001", "X", "-10.01", None, None),
        transaction("T2", "T0001", "S", "-10.011", None, None),
        transaction("T2", "T0001", "S", "1e3", None, None),
        json!({"transaction_info":
            {"transaction_id": "T2", "transaction_event_code": "T0001", "transaction_status": "S"}}),
    ] {
        let read = statement(recently(), vec![page(&[good.clone(), odd.clone()], 1, None)]).await.1;
        assert!(matches!(read, Err(StatementError::Unreadable { line: 2, .. })), "{odd}: {read:?}");
    }
}

#[tokio::test]
async fn what_paypal_counts_and_does_not_list_is_missed() {
    let one = |id| transaction(id, "T0001", "S", "-1.00", None, None);
    let counted = |transactions: &[Value], pages: u32, items: u32| {
        let Act::Reply(status, headers, body) = page(transactions, pages, None) else { unreachable!() };
        Act::Reply(status, headers, body.replacen('{', &format!(r#"{{"total_items":{items},"#), 1))
    };
    let two = [one("A"), one("B")];
    for (case, acts) in [
        ("all of it", vec![counted(&two, 1, 2)]),
        ("on two pages", vec![counted(&two, 2, 3), counted(&two[..1], 2, 3)]),
        // By the contract perhaps only those from this page on.
        ("from this page on", vec![counted(&two, 2, 3), counted(&two[..1], 2, 1)]),
        ("fewer than there are", vec![counted(&two, 1, 1)]),
    ] {
        assert!(statement(recently(), acts).await.1.is_ok(), "{case}");
    }
    for (case, acts) in [
        ("one is not there", vec![counted(&two, 1, 3)]),
        ("nor on the second page", vec![counted(&two, 2, 4), counted(&two[..1], 2, 4)]),
        ("none is there", vec![counted(&[], 1, 1)]),
    ] {
        let read = statement(recently(), acts).await.1;
        let is_said = matches!(read, Err(StatementError::BrokeOff { .. } | StatementError::Unreachable { .. }));
        assert!(is_said, "{case}: a payment that is left out would count as not made: {read:?}");
    }
}
