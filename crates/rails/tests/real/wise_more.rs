//! Wise: what people do beside runs (recipients, groups, approval), and the statement.

use payfleet_domain::{Movement, Outcome, StatementLine};
use payfleet_rails::{Adapter, Answer, Finding, Recipient, StatementError, StatementItem};
use serde_json::json;
use time::OffsetDateTime;
use time::macros::datetime;

use crate::server::{Act, Server, reply};
use crate::wise::{CANCEL, FUND, MAKE, ONE, QUOTE, funded, made, order, quoted, sca, transfer};
use crate::world::{NOT_EXECUTED, UNKNOWN, known, name, read_all, refused, registry};

const ACCOUNTS: &str = "POST /v1/accounts";
const GROUPS: &str = "POST /v3/profiles/12345678/batch-groups";
const STATEMENT: &str = "GET /v1/profiles/12345678/balance-statements/200001/statement.json?";

#[tokio::test]
async fn a_recipient_is_made_once_and_known_by_its_number() {
    let made = reply(200, r#"{"id":8692237,"currency":"EUR","active":true,"details":{"x":1}}"#);
    let read = reply(200, r#"{"id":8692237,"currency":"EUR","active":false}"#);
    let server =
        Server::start(&[(ACCOUNTS, vec![made, reply(422, "{}")]), ("GET /v2/accounts/8692237", vec![read])]).await;
    let wise = registry(&server.url, "").wise().unwrap();
    let account = order().account;
    let details = json!({"legalType": "PRIVATE", "IBAN": "DE89370400440532013000"}).as_object().unwrap().clone();
    let who = Recipient { currency: "EUR".parse().unwrap(), kind: "iban".to_owned(), name: "Ann".to_owned(), details };
    assert_eq!(format!("{who:?}"), "[redacted]");
    let number = wise.recipient_make(&account, &who).await.unwrap().number;
    assert_eq!(number, 8_692_237);
    let expected = json!({"profile": 12_345_678, "currency": "EUR", "type": "iban", "accountHolderName": "Ann",
                          "details": {"legalType": "PRIVATE", "IBAN": "DE89370400440532013000"}});
    assert_eq!(server.seen()[0].json(), expected);
    assert!(!wise.recipient_read(&account, number).await.unwrap().is_active);
    let denied = wise.recipient_make(&account, &who).await;
    assert!(matches!(&denied, Err(StatementError::Denied { status: 422, .. })), "{denied:?}");
    assert!(!format!("{denied:?}").contains("DE89"));
}

#[tokio::test]
async fn what_a_recipient_needs_is_asked_of_a_quote() {
    let form = r#"[{"type":"iban","fields":[]}]"#;
    let path = "GET /v1/quotes/bd244a95-dcf8-4c31-aac8-bf5e2f3e54c0/account-requirements";
    let server = Server::start(&[(QUOTE, vec![quoted()]), (path, vec![reply(200, form)])]).await;
    let wise = registry(&server.url, "").wise().unwrap();
    let told = wise.recipient_requirements(&order().account, "EUR".parse().unwrap()).await.unwrap();
    assert_eq!(told[0]["type"], "iban");
}

#[tokio::test]
async fn a_group_is_filled_and_closed_for_a_person_to_fund() {
    let group = |version: i64, status: &str| {
        let body =
            json!({"id": "54a6bc09", "version": version, "status": status, "name": "n", "transferIds": [16_521_632]});
        reply(201, body.to_string())
    };
    let add = "POST /v3/profiles/12345678/batch-groups/54a6bc09/transfers";
    let close = "PATCH /v3/profiles/12345678/batch-groups/54a6bc09";
    let waiting = || made("incoming_payment_waiting");
    let script = [
        (add, vec![waiting(), reply(500, ""), reply(200, transfer("x").to_string().replace("10.01", "10.02"))]),
        (GROUPS, vec![group(1, "NEW")]),
        (close, vec![group(3, "COMPLETED"), reply(409, "{}")]),
        ("GET /v3/profiles/12345678/batch-groups/54a6bc09", vec![group(2, "NEW")]),
        (QUOTE, vec![quoted()]),
    ];
    let server = Server::start(&script).await;
    let wise = registry(&server.url, "").wise().unwrap();
    let order = order();
    let made = wise.group_make(&order.account, "EUR".parse().unwrap(), "run 2026-11").await.unwrap();
    let accepted = Answer::Each(vec![Outcome::Accepted(name("16521632"))]);
    assert_eq!(wise.group_add(&order.call(), &made).await, accepted);
    assert_eq!(wise.group_add(&order.call(), &made).await, NOT_EXECUTED, "nothing is paid by preparing");
    assert_eq!(wise.group_add(&order.call(), &made).await, UNKNOWN, "something else under the key");
    let now = wise.group_read(&order.account, &made.id).await.unwrap();
    let closed = wise.group_close(&order.account, &now).await.unwrap();
    assert_eq!((closed.status.as_str(), closed.version), ("COMPLETED", 3));
    assert_eq!(
        server.asked(close)[0].json(),
        json!({"status": "COMPLETED", "version": 2}),
        "the one that was read last"
    );
    assert!(wise.group_close(&order.account, &now).await.is_err(), "somebody has changed it meanwhile");
    assert!(server.seen().iter().all(|seen| !seen.line.contains("payments")), "no money moved");
}

#[tokio::test]
async fn what_waited_is_funded_when_a_person_has_authenticated() {
    let order = order().accepted("16521632");
    let waiting = || made("incoming_payment_waiting");
    let accepted = Answer::Each(vec![Outcome::Accepted(name("16521632"))]);
    for (case, one, fund, expected, funds) in [
        ("funded", waiting(), funded(), accepted.clone(), 1),
        ("asked for a person again", waiting(), sca(), accepted.clone(), 1),
        ("funded by hand before", made("processing"), funded(), accepted, 0),
        (
            "sent before",
            made("outgoing_payment_sent"),
            funded(),
            Answer::Each(vec![Outcome::Paid(name("16521632"))]),
            0,
        ),
        ("not there", reply(404, "{}"), funded(), NOT_EXECUTED, 0),
        ("no answer", waiting(), Act::Lost, UNKNOWN, 1),
    ] {
        let server = Server::start(&[(ONE, vec![one]), (FUND, vec![fund])]).await;
        let answer = registry(&server.url, "").wise().unwrap().fund(&order.call()).await;
        assert_eq!((answer, server.asked(FUND).len()), (expected, funds), "{case}");
    }
}

#[tokio::test]
async fn a_transfer_can_be_cancelled_and_its_money_is_waited_for() {
    let order = order().accepted("16521632");
    let accepted = || known(Outcome::Accepted(name("16521632")));
    for (cancel, expected) in [
        (made("cancelled"), accepted()),
        (reply(409, r#"{"errors":[{"code":"transfer.cancellation.not.allowed"}]}"#), Finding::Unanswered),
        (reply(500, ""), Finding::Unanswered),
        (Act::Lost, Finding::Unanswered),
    ] {
        let server = Server::start(&[(CANCEL, vec![cancel]), (ONE, vec![made("incoming_payment_waiting")])]).await;
        assert_eq!(registry(&server.url, "").wise().unwrap().cancel(&order.call()).await, expected);
    }
}

fn line(date: &str, value: &str, fees: &str, reference: &str, ours: &str) -> String {
    typed("TRANSFER", date, value, fees, reference, ours)
}

fn typed(kind: &str, date: &str, value: &str, fees: &str, reference: &str, ours: &str) -> String {
    let amounts =
        format!(r#""amount":{{"value":{value},"currency":"EUR"}},"totalFees":{{"value":{fees},"currency":"EUR"}}"#);
    let details = format!(r#""details":{{"type":"{kind}","paymentReference":"{ours}"}}"#);
    format!(r#"{{"type":"X","date":"{date}",{amounts},{details},"referenceNumber":"{reference}"}}"#)
}

fn page(lines: &[String]) -> Act {
    reply(200, format!(r#"{{"transactions":[{}],"a_field_of_next_year":1}}"#, lines.join(",")))
}

async fn statement(acts: Vec<Act>) -> (Server, Result<Vec<StatementItem>, StatementError>) {
    statement_of(acts, made("funds_refunded")).await
}

/// The same, where this is what there is to know of transfer 16521632.
async fn statement_of(acts: Vec<Act>, one: Act) -> (Server, Result<Vec<StatementItem>, StatementError>) {
    let server = Server::start(&[(STATEMENT, acts), (ONE, vec![one])]).await;
    let wise = registry(&server.url, "").wise().unwrap();
    let from = (OffsetDateTime::now_utc() - time::Duration::days(10)).replace_nanosecond(0).unwrap();
    let read = read_all(wise.statement(&order().account, from).await).await;
    (server, read)
}

#[tokio::test]
async fn transfers_and_refunds_are_the_lines_of_the_statement() {
    let key = order().key(0).to_owned();
    let first = page(&[
        line("2026-01-02T09:00:00Z", "9.5", "0", "TRANSFER-16521632", &key),
        line("2026-01-01T03:01:00Z", "-10.89", "0.88", "TRANSFER-16521632", &key),
        typed("CARD", "2026-01-01T03:01:00Z", "-5", "0", "CARD-1", ""),
    ]);
    let second = page(&[line("2026-01-02T03:01:00Z", "-7", "0", "TRANSFER-2", "rent")]);
    let (server, read) = statement(vec![first, second]).await;
    let items = read.unwrap();
    let paid = StatementLine {
        key,
        reference: "16521632".to_owned(),
        amount_minor: 1_001,
        fee_minor: 0,
        currency: "EUR".to_owned(),
        destination: String::new(),
        movement: Movement::Paid,
        at: Some(datetime!(2026-01-01 03:01 UTC)),
        of: None,
    };
    let back = StatementLine {
        key: String::new(),
        reference: "16521632-back-1767344400".to_owned(),
        amount_minor: 950,
        movement: Movement::Returned,
        at: Some(datetime!(2026-01-02 09:00 UTC)),
        of: Some("16521632".to_owned()),
        ..paid.clone()
    };
    assert_eq!(items[..2], [StatementItem::Line(back), StatementItem::Line(paid)]);
    let StatementItem::Line(foreign) = &items[2] else { panic!("a line") };
    assert_eq!((foreign.key.as_str(), foreign.reference.as_str(), foreign.amount_minor), ("", "2", 700));
    let StatementItem::End(end) = &items[3] else { panic!("no end") };
    // Less what a line may be late by.
    assert_eq!((end.lines, end.now, end.until), (3, datetime!(2026-01-03 0:00 UTC), datetime!(2026-01-02 23:00 UTC)));
    let asked = server.asked(STATEMENT);
    assert_eq!(asked.len(), 2, "in weeks");
    assert!(asked[0].line.contains("currency=EUR&intervalStart=") && asked[0].line.ends_with("type=COMPACT"));
}

/// The sender of a deposit writes its reference: whoever was paid can send as much back from another account, under our
/// key. Only the number of a transfer that was made here makes a credit its refund.
#[tokio::test]
async fn what_others_pay_in_is_no_refund_whatever_they_write() {
    let key = order().key(0).to_owned();
    let at = "2026-01-02T09:00:00Z";
    let paid_in = [
        typed("DEPOSIT", at, "10.01", "0", "TRANSFER-34188888", &key),
        typed("DEPOSIT", at, "250", "0", "TRANSFER-34188889", "invoice 7"),
        typed("MONEY_ADDED", at, "10.01", "0", "TRANSFER-34188890", &key),
        typed("CONVERSION", at, "9.94", "0", "CONVERSION-1511237", ""),
        typed("CONVERSION", at, "-9.94", "0.03", "CONVERSION-1511238", ""),
        typed("BALANCE_INTEREST", at, "0.01", "0", "INTEREST-1", &key),
        typed("UNKNOWN", at, "10.01", "0", "PAYMENT-1", &key),
    ];
    let items = statement(vec![page(&paid_in)]).await.1.unwrap();
    assert_eq!(items.len(), 1, "only the end: {items:?}");
    // Of what is not known not to be a refund, the number decides; the words never do.
    for kind in ["TRANSFER", "UNKNOWN", "OF_NEXT_YEAR"] {
        let items = statement(vec![page(&[typed(kind, at, "10.01", "0", "TRANSFER-16521632", "x")])]).await.1.unwrap();
        let StatementItem::Line(line) = &items[0] else { panic!("{kind}: {items:?}") };
        assert_eq!((line.movement, line.key.as_str(), line.of.as_deref()), (Movement::Returned, "", Some("16521632")));
    }
}

/// Our key on a debit is what we wrote on a transfer; who collects a direct debit writes what they like.
#[tokio::test]
async fn whatever_leaves_the_account_is_seen_unless_it_can_be_no_transfer() {
    let key = order().key(0).to_owned();
    let at = "2026-01-02T09:00:00Z";
    for (kind, number, expected) in [
        ("TRANSFER", "TRANSFER-7", Some((key.as_str(), "7"))),
        ("DEPOSIT", "TRANSFER-7", Some(("", "7"))),
        ("OF_NEXT_YEAR", "TRANSFER-7", Some(("", "7"))),
        ("OF_NEXT_YEAR", "PAYOUT-7", Some(("", "PAYOUT-7"))),
        ("UNKNOWN", "BATCH-7", Some(("", "BATCH-7"))),
        ("DIRECT_DEBIT", "DIRECT_DEBIT-7", None),
        ("OUTGOING_CROSS_BALANCE", "BALANCE-7", None),
    ] {
        let items = statement(vec![page(&[typed(kind, at, "-10.01", "0", number, &key)])]).await.1.unwrap();
        let seen = items.iter().find_map(|item| match item {
            StatementItem::Line(line) => Some((line.key.as_str(), line.reference.as_str())),
            StatementItem::End(_) => None,
        });
        assert_eq!(seen, expected, "{kind} {number}");
    }
    let bare = page(&[line(at, "-10.01", "0", "TRANSFER-7", &key)]);
    let Act::Reply(status, headers, body) = bare else { panic!("a page") };
    let bare = Act::Reply(status, headers, body.replace(r#""type":"TRANSFER","#, ""));
    assert!(matches!(&statement(vec![bare]).await.1.unwrap()[0], StatementItem::Line(_)), "without a word of its kind");
}

/// More than was paid cannot come back of a payment: what there is more is Wise's own fee, and the payer's.
#[tokio::test]
async fn a_refund_that_brings_its_fee_too_is_of_what_was_paid() {
    let at = "2026-01-02T09:00:00Z";
    let refund = || page(&[line(at, "10.89", "0", "TRANSFER-16521632", "")]);
    let amount = async |one: Act| match statement_of(vec![refund()], one).await.1 {
        Ok(items) => match items.into_iter().next() {
            Some(StatementItem::Line(line)) => Ok(line.amount_minor),
            other => panic!("{other:?}"),
        },
        Err(error) => Err(error),
    };
    assert_eq!(amount(made("funds_refunded")).await.unwrap(), 1_001);
    assert_eq!(amount(reply(404, "{}")).await.unwrap(), 1_089, "a transfer that nobody here can read is a stranger's");
    let mut converted = transfer("funds_refunded");
    converted["targetCurrency"] = "GBP".into();
    assert_eq!(amount(reply(200, converted.to_string())).await.unwrap(), 1_089, "what was sent is told in pounds");
    for lost in [reply(500, ""), Act::Lost, reply(200, transfer("x").to_string().replace("16521632", "16521633"))] {
        assert!(amount(lost.clone()).await.is_err(), "{lost:?}: then nobody knows how much it was");
    }
    // The same, where the transfer is asked about.
    let order = order().accepted("16521632");
    for (back, told) in [
        ("10.89", Outcome::Returned(name("16521632"))),
        (
            "9.5",
            Outcome::ReturnedPart(
                name("16521632"),
                payfleet_domain::Money { minor: 950, currency: order.instructions[0].amount.currency },
            ),
        ),
    ] {
        let lines = page(&[line(at, back, "0", "TRANSFER-16521632", "")]);
        let server = Server::start(&[(STATEMENT, vec![lines]), (ONE, vec![made("funds_refunded")])]).await;
        assert_eq!(registry(&server.url, "").wise().unwrap().follow(&order.call()).await, [known(told)]);
    }
}

/// The transfer does not say whether money was ever in it; its balance does, an hour after the last request for it.
#[tokio::test]
async fn a_cancelled_transfer_that_no_money_was_in_has_paid_nobody() {
    let order = order().accepted("16521632");
    let accepted = known(Outcome::Accepted(name("16521632")));
    let other = line("2026-01-01T03:01:00Z", "-10.89", "0.88", "TRANSFER-1", "");
    let debit = line("2026-01-01T03:01:00Z", "-10.89", "0.88", "TRANSFER-16521632", "");
    let refused = known(Outcome::Refused(payfleet_domain::RefusalCode::new("cancelled")));
    for (date, lines, told) in [
        ("Fri, 02 Jan 2026 04:04:04 GMT", vec![other.clone()], &accepted),
        ("Fri, 02 Jan 2026 04:04:05 GMT", vec![other.clone()], &refused),
        ("Sat, 03 Jan 2026 00:00:00 GMT", vec![], &refused),
        ("Sat, 03 Jan 2026 00:00:00 GMT", vec![other, debit], &accepted),
    ] {
        let cancelled = Act::Reply(200, vec![("date", date.to_owned())], transfer("cancelled").to_string());
        let server = Server::start(&[(ONE, vec![cancelled]), (STATEMENT, vec![page(&lines)])]).await;
        let wise = registry(&server.url, "").wise().unwrap();
        assert_eq!(wise.follow(&order.call()).await, std::slice::from_ref(told), "{date}");
    }
    // Every request has had its answer: none is said to expire, and it may have been funded a moment ago all the same.
    for (date, told) in [("Fri, 02 Jan 2026 05:00:00 GMT", &accepted), ("Sat, 03 Jan 2026 04:00:10 GMT", &refused)] {
        let cancelled = Act::Reply(200, vec![("date", date.to_owned())], transfer("cancelled").to_string());
        let server = Server::start(&[(ONE, vec![cancelled]), (STATEMENT, vec![page(&[])])]).await;
        let wise = registry(&server.url, "").wise().unwrap();
        let call = payfleet_rails::Call { expires_at: OffsetDateTime::UNIX_EPOCH, ..order.call() };
        assert_eq!(wise.follow(&call).await, std::slice::from_ref(told), "{date}");
    }
    // The statement is asked for from when the transfer was made, and not for a year.
    let mut made_lately = transfer("cancelled");
    let created = OffsetDateTime::now_utc() - time::Duration::days(2);
    made_lately["created"] = format!("{} 10:47:49", created.date()).into();
    let server = Server::start(&[(ONE, vec![reply(200, made_lately.to_string())]), (STATEMENT, vec![page(&[])])]).await;
    let wise = registry(&server.url, "").wise().unwrap();
    assert_eq!(wise.follow(&order.call()).await, [refused]);
    assert_eq!(server.asked(STATEMENT).len(), 1);
    let cancelled = reply(200, transfer("cancelled").to_string());
    let server = Server::start(&[(ONE, vec![cancelled]), (STATEMENT, vec![reply(500, "")])]).await;
    let wise = registry(&server.url, "").wise().unwrap();
    assert_eq!(wise.follow(&order.call()).await, [Finding::Unanswered], "nothing is known then");
}

#[tokio::test]
async fn what_was_booked_while_our_clock_was_behind_is_asked_for_too() {
    let at = |days| (OffsetDateTime::now_utc() + time::Duration::days(days)).replace_nanosecond(0).unwrap();
    let ahead = at(9);
    let date = ahead.format(&time::format_description::well_known::Rfc2822).unwrap();
    let one = |number: u32| {
        let paid = line("2026-01-01T03:01:00Z", "-10.89", "0.88", &format!("TRANSFER-{number}"), "");
        let Act::Reply(status, _, body) = page(&[paid]) else { panic!("a page") };
        Act::Reply(status, vec![("date", date.clone())], body)
    };
    let (server, read) = statement((1..=4).map(one).collect()).await;
    let items = read.unwrap();
    let Some(StatementItem::End(end)) = items.last() else { panic!("no end") };
    // Ten days behind us and nine ahead, in weeks.
    assert_eq!((end.lines, end.now, end.until), (3, ahead, ahead - time::Duration::HOUR));
    let asked = server.asked(STATEMENT);
    let part = |line: &str, name: &str| line.split(name).nth(1).unwrap().split('&').next().unwrap().to_owned();
    for (one, next) in asked.iter().zip(&asked[1..]) {
        assert_eq!(part(&next.line, "intervalStart="), part(&one.line, "intervalEnd="), "without a gap");
    }
}

#[tokio::test]
async fn what_cannot_be_read_ends_the_statement() {
    let good = line("2026-01-01T03:01:00Z", "-10.89", "0.88", "TRANSFER-1", "");
    let denied = statement(vec![sca()]).await.1;
    assert!(matches!(denied, Err(StatementError::Denied { status: 403, .. })), "{denied:?}");
    let broken = statement(vec![page(std::slice::from_ref(&good)), Act::Lost]).await.1;
    assert!(matches!(broken, Err(StatementError::BrokeOff { lines: 1, .. })), "{broken:?}");
    for odd in [
        line("2026-01-01T03:01:00Z", "-10.891", "0.88", "TRANSFER-2", ""),
        line("2026-01-01T03:01:00Z", "-1e3", "0", "TRANSFER-2", ""),
        line("2026-01-01T03:01:00Z", "-0.5", "0.88", "TRANSFER-2", ""),
        line("2026-01-01T03:01:00Z", "-5", "-1", "TRANSFER-2", ""),
        good.replace("EUR", "GBP"),
    ] {
        let read = statement(vec![page(&[good.clone(), odd.clone()])]).await.1;
        assert!(matches!(read, Err(StatementError::Unreadable { line: 2, .. })), "{odd}: {read:?}");
    }
    let garbled = statement(vec![page(&[good.replace("2026-01-01", "yesterday")])]).await.1;
    assert!(garbled.is_err(), "{garbled:?}");
}

#[tokio::test]
async fn without_a_balance_there_is_no_statement() {
    let accounts = "[[account]]\nrail = \"wise\"\nname = \"main\"\nbase_url = \"http://127.0.0.1:9\"\nprofile = 1";
    let wise = crate::world::registry_of(accounts).wise().unwrap();
    let read = wise.statement(&order().account, datetime!(2026-01-01 0:00 UTC)).await;
    assert!(matches!(read, Err(StatementError::Unreachable { .. })));
    assert_eq!(refused("a.b"), refused("a_b"), "codes are kept in one form ({MAKE})");
}
