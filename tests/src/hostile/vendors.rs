//! The answers of PayPal, Stripe and Wise. Three bytes say what was asked, which status came, and what stands in the
//! headers; the rest is the body. It is read once more here, without the adapters: refused and not executed are said
//! only where the vendor documents exactly that, and whatever is said of a payment is said of exactly this one.

use payfleet_domain::{DestinationKind, Money, Outcome, Reference, RefusalCode, StatementLine, StopReason};
use payfleet_rails::hostile::{self, Said, WiseSteps};
use payfleet_rails::{Answer, Finding};
use serde::de::IgnoredAny;
use serde_json::Value;
use time::OffsetDateTime;
use time::macros::datetime;

use super::Order;

const STATUSES: [u16; 16] = [200, 201, 202, 400, 401, 402, 403, 404, 409, 410, 422, 429, 500, 502, 503, 204];
const EARLY: OffsetDateTime = datetime!(2026-01-02 03:04:05 UTC);
const LATE: OffsetDateTime = datetime!(2026-01-02 03:04:06 UTC);
const HEADERS: [&[(&str, &str)]; 4] = [
    &[],
    &[("retry-after", "5")],
    &[("x-2fa-approval-result", "REJECTED"), ("x-2fa-approval", "token")],
    &[("idempotent-replayed", "true"), ("x-rate-limited-by", "wise-public-api")],
];

/// Which question, and what came.
fn said(bytes: &[u8]) -> Option<(u8, Said<'_>)> {
    let [what, status, more, body @ ..] = bytes else { return None };
    // A number beyond all floats, in a field that nobody asks for, is JSON: here it could not be read.
    let is_json = serde_json::from_slice::<IgnoredAny>(body).is_ok();
    if is_json && serde_json::from_slice::<Value>(body).is_err() {
        return None;
    }
    let at = [Some(LATE), Some(EARLY), None][usize::from(more % 3)];
    let headers = HEADERS[usize::from((more / 4) % 4)];
    Some((*what, Said { status: STATUSES[usize::from(status % 16)], at, headers, body }))
}

fn order(count: i64, destination: &str) -> Order {
    let mut order = Order::new(count);
    order.instructions.iter_mut().for_each(|one| one.destination = destination.to_owned());
    order
}

/// What everything that is believed must be.
fn json(said: &Said<'_>) -> Value {
    let text = std::str::from_utf8(said.body).expect("only UTF-8 is believed");
    serde_json::from_str(text).expect("only JSON is believed")
}

fn text<'v>(value: &'v Value, pointer: &str) -> &'v str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// The one word of an answer for all instructions.
fn outcome(answer: Answer, count: usize) -> Outcome {
    match answer {
        Answer::All(outcome) => outcome,
        Answer::Stopped(_) => Outcome::NotExecuted,
        Answer::Each(outcomes) => {
            assert_eq!(outcomes.len(), count);
            assert!(outcomes.iter().all(|one| *one == outcomes[0]), "one receipt is one word");
            outcomes[0].clone()
        }
    }
}

/// That nothing is there is said by the rail's clock, of a question that found nothing.
fn is_late(said: &Said<'_>) -> bool {
    said.at == Some(LATE)
}

fn statement_page(rail: &str, said: &Said<'_>, rows: &str) {
    match hostile::statement_page(rail, said.body) {
        Ok(lines) => {
            let all = json(said)[rows].as_array().map_or(0, Vec::len);
            assert!(lines.len() <= all, "a line for each row at most");
            lines.iter().for_each(line);
        }
        Err(Some(row)) => assert!(row < json(said)[rows].as_array().map_or(0, Vec::len), "a row that there is"),
        Err(None) => {}
    }
}

fn line(line: &StatementLine) {
    assert!(line.amount_minor > 0 && line.fee_minor >= 0, "money that moved");
    assert!(line.currency.len() == 3 && line.currency.bytes().all(|byte| byte.is_ascii_uppercase()));
}

/// PayPal: the answer to a batch, a batch as it is followed or compared, a page of transactions.
pub fn paypal_answer(bytes: &[u8]) {
    let Some((what, said)) = said(bytes) else { return };
    let order = order(2, "ann@example.com");
    let id = Reference("PB1".to_owned());
    match what % 4 {
        0 => paypal_created(&said, outcome(hostile::paypal_created(&order.call(), said), 2)),
        1 => {
            let found = hostile::paypal_followed(&accepted(order, "PB1").call(), &id, &[said]);
            assert_eq!(found.len(), 2);
            found.iter().enumerate().for_each(|(at, found)| paypal_found(&said, at, found));
        }
        2 => {
            if hostile::paypal_is_what_was_sent(&order.call(), &id, &[said]) {
                let told = json(&said);
                assert_eq!((said.status, text(&told, "/batch_header/payout_batch_id")), (200, "PB1"));
                let items = told["items"].as_array().map_or(0, Vec::len);
                let is_running = matches!(text(&told, "/batch_header/batch_status"), "PENDING" | "PROCESSING");
                assert!(items == 2 || (items < 2 && is_running), "all of it, or as far as it is");
            }
        }
        _ => statement_page("paypal", &said, "transaction_details"),
    }
}

fn paypal_created(said: &Said<'_>, outcome: Outcome) {
    if outcome == Outcome::Unknown {
        return;
    }
    let told = json(said);
    let name = if told["name"].is_string() { text(&told, "/name") } else { text(&told, "/error") };
    assert!(matches!(outcome, Outcome::Accepted(_)) || told.get("batch_header").is_none_or(Value::is_null), "{told}");
    match outcome {
        Outcome::Accepted(Reference(id)) if said.status == 201 => {
            assert_eq!(text(&told, "/batch_header/payout_batch_id"), id);
            assert!(told.get("name").is_none_or(Value::is_null) && told.get("error").is_none_or(Value::is_null));
        }
        Outcome::Accepted(Reference(id)) => {
            assert_eq!((said.status, name), (400, "USER_BUSINESS_ERROR"));
            let details = told["details"].as_array().expect("details");
            let about = details.iter().find(|detail| detail["field"] == "SENDER_BATCH_ID").expect("about the id");
            assert!(text(about, "/link/0/href").contains(&format!("/payouts/{id}")));
        }
        Outcome::Refused(_) => assert_eq!((said.status, name), (400, "VALIDATION_ERROR")),
        Outcome::NotExecuted => {
            let has_no_money =
                matches!((said.status, name), (400, "NON_HOLDING_CURRENCY") | (422, "INSUFFICIENT_FUNDS"));
            assert!(has_no_money || !name.is_empty() && matches!(said.status, 401 | 403 | 429));
        }
        other => panic!("a receipt pays nobody: {other:?}"),
    }
}

fn accepted(mut order: Order, reference: &str) -> Order {
    order.instructions.iter_mut().for_each(|one| one.reference = Some(Reference(reference.to_owned())));
    order
}

fn paypal_found(said: &Said<'_>, at: usize, found: &Finding) {
    let outcome = match found {
        Finding::Unanswered => return,
        Finding::Known(outcome) => outcome,
        Finding::NotFound | Finding::NotYet => panic!("PayPal proves no absence"),
    };
    let (told, order) = (json(said), order(2, "ann@example.com"));
    let asked = &order.instructions[at];
    assert_eq!((said.status, text(&told, "/batch_header/payout_batch_id")), (200, "PB1"));
    let none = Vec::new();
    let items = told["items"].as_array().unwrap_or(&none).iter();
    let mine: Vec<_> = items.filter(|one| one["payout_item"]["sender_item_id"] == asked.key.as_str()).collect();
    let item = match mine[..] {
        // It comes later.
        [] => return assert_eq!(*outcome, Outcome::Accepted(Reference("PB1".to_owned()))),
        [item] => item,
        _ => panic!("{} items for one payout", mine.len()),
    };
    assert_eq!(item["payout_item"]["amount"]["currency"], "EUR");
    let value: Vec<&str> = text(item, "/payout_item/amount/value").split('.').collect();
    assert_eq!(value[0].trim_start_matches('0'), (asked.amount.minor / 100).to_string());
    assert!(DestinationKind::Email.is_same(text(item, "/payout_item/receiver"), &asked.destination));
    let status = text(item, "/transaction_status");
    match outcome {
        Outcome::Paid(Reference(id)) => assert_eq!((status, text(item, "/transaction_id")), ("SUCCESS", id.as_str())),
        Outcome::Returned(_) => assert!(matches!(status, "RETURNED" | "REFUNDED" | "REVERSED")),
        Outcome::Refused(_) => {
            assert!(is_late(said), "a request of before may still make another batch");
            assert!(status == "FAILED" && !text(item, "/errors/name").is_empty());
        }
        Outcome::Accepted(Reference(id)) => {
            assert_eq!(id, "PB1");
            assert!(matches!(status, "" | "PENDING" | "UNCLAIMED" | "ONHOLD" | "BLOCKED"));
        }
        other => panic!("{other:?} is no state of an item"),
    }
}

/// Stripe: the answer to a transfer, a list of them, a page of the balance.
pub fn stripe_answer(bytes: &[u8]) {
    let Some((what, said)) = said(bytes) else { return };
    let order = order(1, "acct_1PgafTB7WZ01zgk1");
    match what % 3 {
        0 => match outcome(hostile::stripe_paid(&order.call(), said), 1) {
            Outcome::Unknown => {}
            Outcome::Refused(_) => {
                assert!(matches!(said.status, 400 | 402 | 404));
                let told = json(&said);
                let code = text(&told, "/error/code");
                assert!(!matches!(code, "" | "idempotency_key_in_use" | "rate_limit" | "lock_timeout"));
                assert!(text(&told, "/error/type") != "idempotency_error" && told.get("id").is_none_or(Value::is_null));
            }
            Outcome::NotExecuted => {
                let told = json(&said);
                let (kind, code) = (text(&told, "/error/type"), text(&told, "/error/code"));
                let is_limited = said.status == 429 && matches!(code, "rate_limit" | "lock_timeout");
                let has_no_money = (said.status, code) == (400, "balance_insufficient");
                assert!(is_limited || has_no_money || (matches!(said.status, 401 | 403) && !kind.is_empty()));
            }
            told => {
                assert_eq!(said.status, 200);
                stripe_transfer(&order, &json(&said), &told);
            }
        },
        1 => match &hostile::stripe_found(&order.call(), said)[..] {
            [Finding::Unanswered] => {}
            [none @ (Finding::NotFound | Finding::NotYet)] => {
                let told = json(&said);
                assert_eq!((said.status, text(&told, "/object"), &told["has_more"]), (200, "list", &false.into()));
                assert_eq!(told["data"].as_array().map(Vec::len), Some(0));
                assert_eq!(*none == Finding::NotFound, is_late(&said));
            }
            [Finding::Known(outcome)] => {
                let told = json(&said);
                let all = told["data"].as_array().expect("a list");
                let (id, part) = stripe_part(&order, outcome);
                // Each must be this payment, and one of them is the one that is named.
                let is_named = |one: &&Value| one["id"] == id && reversed(one) == part;
                stripe_transfer(&order, all.iter().find(is_named).expect("it is on the list"), outcome);
                assert!(all.iter().all(|one| one["transfer_group"] == order.instructions[0].key.as_str()));
            }
            other => panic!("{other:?}"),
        },
        _ => statement_page("stripe", &said, "data"),
    }
}

fn stripe_transfer(order: &Order, told: &Value, outcome: &Outcome) {
    let asked = &order.instructions[0];
    assert_eq!((text(told, "/object"), &told["amount"]), ("transfer", &asked.amount.minor.into()));
    assert!(text(told, "/currency").eq_ignore_ascii_case("EUR") && told.get("error").is_none_or(Value::is_null));
    assert_eq!(told["transfer_group"], asked.key.as_str());
    assert!([&told["destination"], &told["destination"]["id"]].iter().any(|to| **to == asked.destination.as_str()));
    assert_eq!((text(told, "/id"), reversed(told)), stripe_part(order, outcome));
}

fn reversed(told: &Value) -> i64 {
    told.get("amount_reversed").and_then(Value::as_i64).unwrap_or(0)
}

/// Which transfer, and how much of it came back.
fn stripe_part<'o>(order: &Order, outcome: &'o Outcome) -> (&'o str, i64) {
    match outcome {
        Outcome::Paid(id) => (&id.0, 0),
        Outcome::Returned(id) => (&id.0, order.instructions[0].amount.minor),
        Outcome::ReturnedPart(id, Money { minor, .. }) => (&id.0, *minor),
        other => panic!("{other:?} is no state of a transfer"),
    }
}

const QUOTE: &[u8] = br#"{"id":"bd244a95-dcf8-4c31-aac8-bf5e2f3e54c0"}"#;
const REJECTED: &[u8] = br#"{"status":"REJECTED","errorCode":"transfer.limit"}"#;

/// Wise: the answer to one of the four steps, a transfer by its number, a list of them, a statement.
pub fn wise_answer(bytes: &[u8]) {
    let Some((what, said)) = said(bytes) else { return };
    let order = order(1, "8692237");
    let uuid = order.instructions[0].key.uuid();
    let waiting = format!(
        r#"{{"id":16521632,"targetAccount":8692237,"status":"incoming_payment_waiting","targetCurrency":"EUR",
            "targetValue":10.01,"customerTransactionId":"{uuid}"}}"#
    );
    let called_off = waiting.replace(WAITING, "cancelled");
    let good = |body| Said { status: 200, at: Some(LATE), headers: &[], body };
    let mut steps =
        WiseSteps { quote: good(QUOTE), transfer: good(waiting.as_bytes()), funding: good(REJECTED), cancelling: said };
    match what % 7 {
        0 => steps.quote = said,
        1 => steps.transfer = said,
        2 => steps.funding = said,
        3 => {}
        4 => return wise_found(&order, &said, &hostile::wise_found(&order.call(), said, false), false),
        5 => {
            let held = accepted(order, "16521632");
            return wise_found(&held, &said, &hostile::wise_found(&held.call(), said, true), true);
        }
        _ => return statement_page("wise", &said, "transactions"),
    }
    // What comes after is honest.
    match what % 7 {
        0 | 1 => steps.funding = good(br#"{"status":"COMPLETED"}"#),
        2 => steps.cancelling = good(called_off.as_bytes()),
        _ => {}
    }
    match (what % 7, outcome(hostile::wise_submitted(&order.call(), &steps), 1)) {
        // Nothing is paid by a quote or a transfer; but one that was there before may have been paid.
        (_, Outcome::Unknown) | (0 | 1, Outcome::NotExecuted) => {}
        (0 | 1, Outcome::Refused(_)) => {
            assert!(matches!(said.status, 400 | 404 | 422));
            let told = json(&said);
            assert!(!text(&told, "/errors/0/code").is_empty() && text(&told, "/errors/0/path") != "quoteUuid");
        }
        (0, told) => assert_eq!((said.status, told), (200, Outcome::Accepted(Reference("16521632".to_owned())))),
        (1, told) => {
            assert!(matches!(said.status, 200 | 201));
            wise_transfer(&order, &json(&said), &told);
        }
        (2, Outcome::NotExecuted) if said.status == 429 => {
            assert!(said.headers.iter().any(|(name, _)| matches!(*name, "retry-after" | "x-rate-limited-by")));
        }
        (2, Outcome::NotExecuted) if said.status == 200 => {
            let told = json(&said);
            assert_eq!(text(&told, "/status"), "REJECTED");
            assert!(StopReason::of_code(&RefusalCode::new(text(&told, "/errorCode"))).is_some());
        }
        (2, Outcome::NotExecuted) => {
            let told = json(&said);
            let is_told = told["errors"].as_array().is_some_and(|all| !all.is_empty()) || told["error"] != "";
            assert!(matches!(said.status, 401 | 403) && is_told && !told.is_null());
        }
        (2, Outcome::Accepted(_)) => {
            let is_asked = said.status == 403 && said.headers.iter().any(|(name, _)| *name == "x-2fa-approval");
            assert!(is_asked || (said.status == 200 && json(&said)["status"] == "COMPLETED"));
        }
        (2, Outcome::Refused(_)) => {
            let told = json(&said);
            assert_eq!((said.status, text(&told, "/status")), (200, "REJECTED"));
            assert!(!text(&told, "/errorCode").is_empty());
        }
        (_, Outcome::Refused(_)) => {
            let told = json(&said);
            assert_eq!((said.status, text(&told, "/status"), &told["id"]), (200, "cancelled", &16_521_632.into()));
        }
        (_, told) => panic!("{told:?} of a transfer whose funding was rejected"),
    }
}

fn wise_found(order: &Order, said: &Said<'_>, found: &[Finding], is_follow: bool) {
    match found {
        [Finding::Unanswered] => {}
        [none @ (Finding::NotFound | Finding::NotYet)] => {
            assert!(!is_follow && said.status == 200);
            assert_eq!(*none == Finding::NotFound, is_late(said));
            let told = json(said);
            let first = told.as_array().expect("a list").iter().find(|one| is_of(order, one));
            assert!(first.is_none_or(|one| one["status"] == WAITING), "it is there, and not only waiting");
        }
        [Finding::Known(outcome)] => {
            assert_eq!(said.status, 200);
            let told = json(said);
            let one = told.as_array().map_or(Some(&told), |all| all.iter().find(|one| is_of(order, one)));
            wise_transfer(order, one.expect("it is on the list"), outcome);
        }
        other => panic!("{other:?}"),
    }
}

const WAITING: &str = "incoming_payment_waiting";

fn is_of(order: &Order, one: &Value) -> bool {
    uuid::Uuid::parse_str(text(one, "/customerTransactionId")) == Ok(order.instructions[0].key.uuid())
}

fn wise_transfer(order: &Order, told: &Value, outcome: &Outcome) {
    let id = told["id"].as_u64().expect("a number").to_string();
    assert!(is_of(order, told));
    assert_eq!((&told["targetAccount"], text(told, "/targetCurrency")), (&8_692_237.into(), "EUR"));
    assert_eq!(told["targetValue"].as_f64(), Some(10.01));
    assert!(told.get("errors").is_none_or(Value::is_null));
    match outcome {
        Outcome::Paid(named) => assert_eq!((text(told, "/status"), &named.0), ("outgoing_payment_sent", &id)),
        Outcome::Accepted(named) => {
            assert!(named.0 == id && text(told, "/status") != "outgoing_payment_sent");
        }
        other => panic!("{other:?} is no state of a transfer"),
    }
}
