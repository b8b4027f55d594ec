//! What the suite must know of an adapter. Another one joins it by a line in [`Shape::ALL`].

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use payfleet_domain::{BatchKey, Money, Outcome, PayoutId, Reference, RefusalCode};
use payfleet_rails::{
    Account, Adapter, Call, Credential, Finding, Going, Instruction, Pace, Payee, RailsConfig, Registry,
};
use time::macros::datetime;
use uuid::Uuid;

use crate::server::Act;

/// Short, since some cases wait for it to end.
pub const CALL_TIMEOUT: Duration = Duration::from_millis(400);

/// An adapter, and the words in which its rail answers. In the templates stand `{number}` (of an item, from 1),
/// `{key}`, `{amount}`, `{batch}`, `{items}`, `{line}` and `{status}`.
#[derive(Clone, Copy)]
pub struct Shape {
    pub rail: &'static str,
    /// As many instructions as one call holds in these tests.
    pub instructions: i64,
    /// A submission that succeeds: its status and body, the reference in it, and what that proves.
    pub success: (u16, &'static str, &'static str),
    pub success_means: fn(Reference) -> Outcome,
    /// Whether 402 with a code refuses a payment.
    pub refuses_payments: bool,
    /// How it answers a question; `None` where nothing can be asked.
    pub lookup: Option<LookUp>,
    /// A line of its statement.
    pub statement_line: &'static str,
}

/// The answer to a question: what stands around its items, one item, and the states that an item can have.
#[derive(Clone, Copy)]
pub struct LookUp {
    pub around: &'static str,
    pub item: &'static str,
    pub paid: State,
    pub returned: State,
    pub refused: State,
    /// Not every rail has it.
    pub pending: Option<State>,
}

/// The rail's words for a state, and what they prove of the payout with this number.
pub type State = (&'static str, fn(usize) -> Outcome);

const STATEMENT_LINE: &str = concat!(
    r#"{"line":{line},"key":"k1","reference":"po_1","amount_minor":5,"currency":"EUR","#,
    r#""destination":"ann@example.com","status":"{status}","at":null}"#
);

const BATCH_LOOKUP: LookUp = LookUp {
    around: r#"{"batch_id":"ba_1","sender_batch_id":"{batch}","status":"pending","items":[{items}]}"#,
    item: r#"{"key":"{key}","amount_minor":{amount},"currency":"EUR",{status}}"#,
    paid: (r#""id":"it_{number}","status":"paid""#, |number| Outcome::Paid(item(number))),
    returned: (r#""id":"it_{number}","status":"returned""#, |number| Outcome::Returned(item(number))),
    refused: (r#""id":"it_{number}","status":"refused","code":"account_closed""#, |_| {
        Outcome::Refused(RefusalCode::new("account_closed"))
    }),
    pending: Some((r#""id":"it_{number}","status":"pending""#, |number| Outcome::Accepted(item(number)))),
};

fn item(number: usize) -> Reference {
    Reference(format!("it_{number}"))
}

const TRANSFER_LOOKUP: LookUp = LookUp { around: "{items}", pending: None, ..BATCH_LOOKUP };

impl Shape {
    pub const PAYOUT: Shape = Shape {
        rail: "sandbox-payout",
        instructions: 1,
        success: (
            200,
            r#"{"id":"po_1","key":"{key}","status":"paid","amount_minor":{amount},"currency":"EUR"}"#,
            "po_1",
        ),
        success_means: Outcome::Paid,
        refuses_payments: true,
        lookup: None,
        statement_line: STATEMENT_LINE,
    };
    pub const BATCH: Shape = Shape {
        rail: "sandbox-batch",
        instructions: 3,
        success: (201, r#"{"batch_id":"ba_1","status":"pending"}"#, "ba_1"),
        success_means: Outcome::Accepted,
        refuses_payments: false,
        lookup: Some(BATCH_LOOKUP),
        statement_line: STATEMENT_LINE,
    };
    pub const LOOKUP: Shape = Shape { rail: "sandbox-lookup", lookup: Some(TRANSFER_LOOKUP), ..Shape::PAYOUT };
    pub const FILE: Shape = Shape {
        rail: "sandbox-file",
        success: (202, r#"{"receipt":"fi_1","status":"accepted"}"#, "fi_1"),
        lookup: None,
        ..Shape::BATCH
    };

    pub const ALL: [Shape; 4] = [Shape::PAYOUT, Shape::BATCH, Shape::LOOKUP, Shape::FILE];

    /// As many instructions as one call of this shape holds.
    pub fn order(self) -> Order {
        Order::new(self.instructions)
    }

    pub fn adapter(self, url: &str) -> Arc<dyn Adapter> {
        adapter(self.rail, url, CALL_TIMEOUT)
    }

    /// The answer of a rail that behaves: status and body.
    pub fn success(self, order: &Order) -> (u16, String) {
        let (status, body, _) = self.success;
        (status, order.fill(body, 0))
    }

    /// What that answer proves of one payout.
    pub fn succeeded(self) -> Outcome {
        (self.success_means)(Reference(self.success.2.to_owned()))
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.rail)
    }
}

impl LookUp {
    /// The answer that says the same of all items of an order, and what it proves.
    pub fn reply(&self, order: &Order, (state, means): State) -> (Act, Vec<Finding>) {
        let template = self.item.replace("{status}", state);
        let numbers = 0..order.instructions.len();
        let items: Vec<String> = numbers.clone().map(|at| order.fill(&template, at)).collect();
        let body = order.fill(self.around, 0).replace("{items}", &items.join(","));
        (Act::Reply(200, body), numbers.map(|at| Finding::Known(means(at + 1))).collect())
    }
}

pub fn adapter(rail: &str, url: &str, call_timeout: Duration) -> Arc<dyn Adapter> {
    let config = RailsConfig { sandbox_url: Some(url.to_owned()), call_timeout, null_rail: true };
    Registry::new(&config).unwrap().adapter(rail).unwrap()
}

/// What a call borrows from.
pub struct Order {
    pub account: Account,
    pub batch_key: BatchKey,
    pub instructions: Vec<Instruction>,
}

impl Order {
    pub fn new(count: i64) -> Order {
        let instructions = (1..=count).map(|number| Instruction {
            key: format!("{}-0123456789abcdef", (1_i64 << 32) + number).parse().unwrap(),
            amount: Money { minor: 1000 + number, currency: "EUR".parse().unwrap() },
            destination: format!("payee-{number}@example.com"),
            payee: Payee::default(),
            reference: None,
        });
        Order {
            account: Account { name: "main".to_owned(), credential: Some(Credential::new("s3cret")) },
            batch_key: BatchKey::derive(Uuid::from_u128(7), PayoutId(1), PayoutId(count)),
            instructions: instructions.collect(),
        }
    }

    pub fn call(&self) -> Call<'_> {
        Call {
            account: &self.account,
            batch_key: &self.batch_key,
            instructions: &self.instructions,
            expires_at: datetime!(2026-01-02 03:04:05 UTC),
            going: Going::On,
            pace: Pace::Free,
        }
    }

    pub fn key(&self, index: usize) -> &str {
        self.instructions[index].key.as_str()
    }

    fn fill(&self, template: &str, index: usize) -> String {
        let amount = self.instructions[index].amount.minor.to_string();
        template
            .replace("{number}", &(index + 1).to_string())
            .replace("{key}", self.key(index))
            .replace("{amount}", &amount)
            .replace("{batch}", self.batch_key.as_str())
    }
}
