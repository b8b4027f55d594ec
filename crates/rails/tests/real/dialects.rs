//! What the hazards must know of each real rail: its requests, and the words in which it answers. Another rail joins by
//! a line in [`ALL`].

use std::sync::Arc;

use payfleet_domain::{Money, Outcome, RefusalCode};
use payfleet_rails::{Adapter, Finding, Registry};
use serde_json::{Value, json};

use crate::paypal_create::{TOKEN, token};
use crate::paypal_follow::{batch, item};
use crate::server::{Act, Seen, reply};
use crate::world::{Order, known, name};
use crate::{stripe, wise};

/// A request, and how such ones are answered.
pub type Answered = (&'static str, Vec<Act>);
/// A lie: what it is about, and what stands in an honest answer and in the lie.
pub type Lie = (&'static str, &'static str, &'static str);

pub struct Dialect {
    pub rail: &'static str,
    /// Instructions of one call.
    pub count: i64,
    /// The request that pays.
    pub pays: &'static str,
    /// What comes before it, or after a refusal.
    pub around: fn() -> Vec<Answered>,
    /// The one answer that says that it was taken, and what that means of each payout.
    pub taken: fn(&Order) -> (u16, String),
    pub means: fn() -> Outcome,
    /// An answer that refuses by the contract, and its code.
    pub refused: (u16, &'static str, &'static str),
    /// What nobody may believe of what was taken.
    pub lies: &'static [Lie],
    /// Which request was repeated under which key.
    pub key: fn(&[Seen]) -> Vec<String>,
    /// The question, and what it says: states by name, `paid` first.
    pub asks: &'static str,
    pub told: fn(&Order, &str) -> String,
    pub states: &'static [&'static str],
    pub found: fn(&Order, &str) -> Vec<Finding>,
    /// What nobody may believe of `paid`, of the first payout.
    pub false_news: &'static [Lie],
    /// A page of its statement, and payments on it.
    pub page: &'static str,
    pub statement: fn(&[Value]) -> String,
    pub line: fn() -> Value,
    /// A line that nobody may believe.
    pub false_lines: &'static [Lie],
}

impl Dialect {
    pub fn order(&self) -> Order {
        Order::new(self.rail, self.count, if self.rail == "wise" { "EUR" } else { "USD" })
    }

    /// As the fleet holds it once the rail has named it.
    pub fn held(&self) -> Order {
        let (Outcome::Accepted(reference) | Outcome::Paid(reference)) = (self.means)() else { panic!("no reference") };
        self.order().accepted(&reference.0)
    }

    pub fn adapter(&self, registry: &Registry) -> Arc<dyn Adapter> {
        registry.adapter(self.rail).unwrap()
    }

    /// How a server answers: to this request in this way, to all others as it should.
    pub fn script(&self, line: &'static str, acts: Vec<Act>) -> Vec<Answered> {
        let mut script = (self.around)();
        script.insert(0, (line, acts));
        script
    }
}

pub const ALL: [Dialect; 3] = [PAYPAL, STRIPE, WISE];

const PAYPAL: Dialect = Dialect {
    rail: "paypal",
    count: 2,
    pays: "POST /v1/payments/payouts",
    around: || vec![(TOKEN, vec![token("t", 32_400)])],
    taken: |order| {
        let sender = json!({"sender_batch_id": order.batch_key.as_str()});
        let header = json!({"payout_batch_id": "PB1", "batch_status": "PENDING", "sender_batch_header": sender});
        (201, json!({"batch_header": header, "links": []}).to_string())
    },
    means: || Outcome::Accepted(name("PB1")),
    refused: (400, r#"{"name":"VALIDATION_ERROR","message":"...","debug_id":"d"}"#, "validation_error"),
    lies: &[
        ("another batch", r#""sender_batch_id":""#, r#""sender_batch_id":"1"#),
        ("no name", "PB1", ""),
        ("a name that is none", "PB1", r"a\u0000b"),
        ("a name that leads elsewhere", "PB1", "../PB1"),
        ("a name without end", "PB1", "{300}"),
        ("denied at once", "PENDING", "DENIED"),
        ("a status of next year", "PENDING", "OF_NEXT_YEAR"),
        ("no status", r#""batch_status""#, r#""batch_state""#),
        ("a field twice", r#""batch_status":"PENDING""#, r#""batch_status":"PENDING","batch_status":"PENDING""#),
        ("a name that is a number", r#""PB1""#, "1"),
    ],
    key: |seen| {
        let id = |one: &Seen| one.json()["sender_batch_header"]["sender_batch_id"].as_str().unwrap().to_owned();
        seen.iter().filter(|one| one.line == "POST /v1/payments/payouts").map(id).collect()
    },
    asks: "GET /v1/payments/payouts/PB1",
    told: |order, state| {
        let failed = (state == "FAILED").then_some("INVALID_EMAIL");
        let items = [item(order, 0, Some(state), failed), item(order, 1, Some(state), failed)];
        batch(order, "SUCCESS", &items)
    },
    states: &["SUCCESS", "UNCLAIMED", "ONHOLD", "FAILED", "RETURNED", "PENDING"],
    found: |_, state| {
        let of = |at: usize| match state {
            "SUCCESS" => Outcome::Paid(name(&format!("T{at}"))),
            "RETURNED" => Outcome::Returned(name(&format!("T{at}"))),
            "FAILED" => Outcome::Refused(RefusalCode::new("invalid_email")),
            _ => Outcome::Accepted(name("PB1")),
        };
        vec![known(of(0)), known(of(1))]
    },
    false_news: &[
        ("another amount", "10.01", "10.10"),
        ("an amount below nothing", "10.01", "-10.01"),
        ("an amount in words", r#""10.01""#, "10.01"),
        (
            "another currency",
            r#""amount":{"currency":"USD","value":"10.01"}"#,
            r#""amount":{"currency":"EUR","value":"10.01"}"#,
        ),
        ("another payee", "payee1@", "mallory@"),
        ("another key", "12884901929-", "12884901931-"),
        ("another batch", r#""payout_batch_id":"PB1""#, r#""payout_batch_id":"PB2""#),
        ("no name", r#""transaction_id":"T0""#, r#""transaction_id":"""#),
        ("a name that is none", r#""transaction_id":"T0""#, r#""transaction_id":"T\n0""#),
        ("one payment for two payouts", r#""T1""#, r#""T0""#),
        ("a status of next year", r#""SUCCESS""#, r#""SUCCEEDED""#),
        ("an error beside it", r#"{"batch_header""#, r#"{"name":"INTERNAL_ERROR","batch_header""#),
    ],
    page: "GET /v1/reporting/transactions?",
    statement: |lines| json!({"transaction_details": lines, "total_pages": 1, "page": 1}).to_string(),
    line: || {
        json!({"transaction_info": {
            "transaction_id": "T1", "transaction_event_code": "T0001", "transaction_status": "S",
            "transaction_initiation_date": "2026-01-01T03:00:21Z",
            "transaction_amount": {"currency_code": "USD", "value": "-10.01"},
        }})
    },
    false_lines: &[
        ("an amount that the currency does not have", "-10.01", "-10.011"),
        ("an amount that is a number", r#""-10.01""#, "-10.01"),
        ("a currency that there is not", "USD", "usd"),
        ("a status of next year", r#""S""#, r#""Z""#),
        ("an instant that is none", "2026-01-01T03:00:21Z", "yesterday"),
    ],
};

const STRIPE: Dialect = Dialect {
    rail: "stripe",
    count: 1,
    pays: "POST /v1/transfers",
    around: || vec![("GET /v1/transfers/tr_1", vec![reply(200, stripe::transfer("tr_1", 0).to_string())])],
    taken: |_| (200, stripe::transfer("tr_1", 0).to_string()),
    means: || Outcome::Paid(name("tr_1")),
    refused: (
        400,
        r#"{"error":{"type":"invalid_request_error","code":"amount_too_small","message":"..."}}"#,
        "amount_too_small",
    ),
    lies: STRIPE_LIES,
    key: |seen| {
        let paying = seen.iter().filter(|one| one.line == "POST /v1/transfers");
        paying.map(|one| one.header("idempotency-key").unwrap().to_owned()).collect()
    },
    asks: "GET /v1/transfers?transfer_group=",
    told: |_, state| {
        let back = state.parse().unwrap_or(0);
        json!({"object": "list", "data": [stripe::transfer("tr_1", back)], "has_more": false}).to_string()
    },
    states: &["0", "400", "1001"],
    found: |order, state| {
        let money = |minor| Money { minor, currency: order.instructions[0].amount.currency };
        vec![known(match state {
            "0" => Outcome::Paid(name("tr_1")),
            "1001" => Outcome::Returned(name("tr_1")),
            back => Outcome::ReturnedPart(name("tr_1"), money(back.parse().unwrap())),
        })]
    },
    false_news: STRIPE_LIES,
    page: "GET /v1/balance_transactions?",
    statement: |lines| json!({"object": "list", "data": lines, "has_more": false}).to_string(),
    line: || {
        json!({
            "id": "txn_1", "object": "balance_transaction", "type": "transfer", "amount": -1001, "currency": "usd",
            "created": 1_767_200_000, "fee": 0, "net": -1001, "source": stripe::transfer("tr_1", 0),
        })
    },
    false_lines: &[
        ("an amount the wrong way", r#""amount":-1001"#, r#""amount":1001"#),
        ("an amount that is no whole number", r#""amount":-1001"#, r#""amount":-1001.0"#),
        ("a currency that there is not", r#""currency":"usd","fee""#, r#""currency":"u$d","fee""#),
        ("a payee that is none", r#""object":"transfer""#, r#""object":"transfer","destination":5"#),
    ],
};

const STRIPE_LIES: &[Lie] = &[
    ("another amount", r#""amount":1001"#, r#""amount":1002"#),
    ("an amount in quotes", r#""amount":1001"#, r#""amount":"1001""#),
    ("an amount that is no whole number", r#""amount":1001"#, r#""amount":1001.0"#),
    ("an amount beyond all numbers", r#""amount":1001"#, r#""amount":99999999999999999999"#),
    ("another currency", r#""usd""#, r#""eur""#),
    ("another payee", "acct_1PgafTB7WZ01zgk1", "acct_1PgafTB7WZ01zgk2"),
    ("another key", r#""transfer_group":"12884901929-"#, r#""transfer_group":"12884901930-"#),
    ("no key", r#""transfer_group""#, r#""transfer_gruop""#),
    ("no name", r#""id":"tr_1""#, r#""id":"""#),
    ("a name that is none", r#""id":"tr_1""#, r#""id":"tr\n1""#),
    ("a name without end", "tr_1", "{300}"),
    ("something else", r#""object":"transfer""#, r#""object":"payout""#),
    ("more came back than went out", r#""amount_reversed":0"#, r#""amount_reversed":1002"#),
    ("less than nothing came back", r#""amount_reversed":0"#, r#""amount_reversed":-1"#),
    ("an error in it", r#""object":"transfer""#, r#""object":"transfer","error":{"type":"api_error"}"#),
    ("a field twice", r#""amount":1001"#, r#""amount":1001,"amount":1001"#),
];

const WISE: Dialect = Dialect {
    rail: "wise",
    count: 1,
    pays: wise::FUND,
    around: || {
        vec![
            (wise::QUOTE, vec![wise::quoted()]),
            (wise::MAKE, vec![wise::made("incoming_payment_waiting")]),
            (wise::CANCEL, vec![wise::made("cancelled")]),
            (wise::STATEMENT, vec![reply(200, r#"{"transactions":[]}"#)]),
        ]
    },
    taken: |_| (200, r#"{"type":"BALANCE","status":"COMPLETED","errorCode":null}"#.to_owned()),
    means: || Outcome::Accepted(name("16521632")),
    refused: (200, r#"{"type":"BALANCE","status":"REJECTED","errorCode":"transfer.limit"}"#, "transfer_limit"),
    lies: &[
        ("a status of next year", "COMPLETED", "OF_NEXT_YEAR"),
        ("no status", r#""status""#, r#""state""#),
        ("completed and not", "null", r#""transfer.insufficient_funds""#),
        ("rejected without a reason", "COMPLETED", "REJECTED"),
        ("an error in it", r#""errorCode":null"#, r#""errors":[{"code":"x"}]"#),
        ("a field twice", r#""status":"COMPLETED""#, r#""status":"COMPLETED","status":"COMPLETED""#),
    ],
    key: |seen| {
        let key = |one: &Seen| one.json()["customerTransactionId"].as_str().unwrap().to_owned();
        seen.iter().filter(|one| one.line == wise::MAKE).map(key).collect()
    },
    asks: wise::ONE,
    told: |_, state| wise::transfer(state).to_string(),
    states: &[
        "outgoing_payment_sent",
        "processing",
        "bounced_back",
        "incoming_payment_waiting",
        "cancelled",
        "funds_refunded",
    ],
    found: |_, state| {
        let id = name("16521632");
        vec![known(match state {
            "outgoing_payment_sent" => Outcome::Paid(id),
            // Its balance, which is asked, says that no money was ever in it.
            "cancelled" => Outcome::Refused(RefusalCode::new("cancelled")),
            _ => Outcome::Accepted(id),
        })]
    },
    false_news: &[
        ("another amount", r#""targetValue":10.01"#, r#""targetValue":10.02"#),
        ("an amount in quotes", r#""targetValue":10.01"#, r#""targetValue":"10.01""#),
        ("an amount through a float", r#""targetValue":10.01"#, r#""targetValue":10.010000000000001"#),
        ("another currency", r#""targetCurrency":"EUR""#, r#""targetCurrency":"GBP""#),
        ("another payee", "8692237", "8692238"),
        ("another key", r#""customerTransactionId":""#, r#""customerTransactionId":"0"#),
        ("another transfer", r#""id":16521632"#, r#""id":16521633"#),
        ("a status of next year", "outgoing_payment_sent", "OUTGOING_PAYMENT_SENT"),
        ("an error in it", r#""hasActiveIssues""#, r#""errors":[],"hasActiveIssues""#),
        ("a field twice", r#""targetCurrency":"EUR""#, r#""targetCurrency":"EUR","targetCurrency":"EUR""#),
    ],
    page: wise::STATEMENT,
    statement: |lines| {
        // Numbers as they are written.
        let lines: Vec<String> = lines.iter().map(Value::to_string).collect();
        format!(r#"{{"transactions":[{}]}}"#, lines.join(","))
    },
    line: || {
        json!({
            "type": "DEBIT", "date": "2026-01-01T03:01:00Z", "referenceNumber": "TRANSFER-16521632",
            "amount": {"value": -10.89, "currency": "EUR"}, "totalFees": {"value": 0.88, "currency": "EUR"},
            "details": {"type": "TRANSFER", "paymentReference": ""},
        })
    },
    false_lines: &[
        ("an amount that the currency does not have", "-10.89", "-10.891"),
        ("fees below nothing", "0.88", "-0.88"),
        ("nothing but fees", "-10.89", "-0.88"),
        ("another currency", r#""currency":"EUR","value":-10.89"#, r#""currency":"GBP","value":-10.89"#),
    ],
};
