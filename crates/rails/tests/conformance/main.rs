//! The suite that every adapter must pass: a server that does whatever a rail should not, and the one thing that may be
//! concluded from it. Above all: nothing that may have been paid is ever called refused or not executed.
//!
//! It judges the adapters by their public face. What a well-behaved rail and the whole fleet do together is tested elsewhere.

#![allow(clippy::unwrap_used)]

mod look_up;
mod requests;
mod server;
mod statement;
mod submit;

use std::sync::Arc;
use std::time::Duration;

use payfleet_domain::{BatchKey, Money, PayoutId};
use payfleet_rails::{Account, Adapter, Call, Credential, Instruction, RailsConfig, Registry};
use time::macros::datetime;
use uuid::Uuid;

/// Short, since some cases wait for it to end.
const CALL_TIMEOUT: Duration = Duration::from_millis(400);

/// The shapes of the sandbox, by which the cases differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    Payout,
    Batch,
    Lookup,
    File,
}

impl Shape {
    const ALL: [Shape; 4] = [Shape::Payout, Shape::Batch, Shape::Lookup, Shape::File];

    fn rail(self) -> &'static str {
        match self {
            Shape::Payout => "sandbox-payout",
            Shape::Batch => "sandbox-batch",
            Shape::Lookup => "sandbox-lookup",
            Shape::File => "sandbox-file",
        }
    }

    /// As many instructions as one call of this shape holds.
    fn order(self) -> Order {
        let count = match self {
            Shape::Payout | Shape::Lookup => 1,
            Shape::Batch | Shape::File => 3,
        };
        Order::new(count)
    }

    fn adapter(self, url: &str) -> Arc<dyn Adapter> {
        adapter(self.rail(), url, CALL_TIMEOUT)
    }
}

fn adapter(rail: &str, url: &str, call_timeout: Duration) -> Arc<dyn Adapter> {
    let config = RailsConfig { sandbox_url: Some(url.to_owned()), call_timeout };
    Registry::new(&config).unwrap().adapter(rail).unwrap()
}

/// What a call borrows from.
struct Order {
    account: Account,
    batch_key: BatchKey,
    instructions: Vec<Instruction>,
}

impl Order {
    fn new(count: i64) -> Order {
        let instructions = (1..=count).map(|number| Instruction {
            key: format!("{}-0123456789abcdef", (1_i64 << 32) + number).parse().unwrap(),
            amount: Money { minor: 1000 + number, currency: "EUR".parse().unwrap() },
            destination: format!("payee-{number}@example.com"),
        });
        Order {
            account: Account { name: "main".to_owned(), credential: Some(Credential::new("s3cret")) },
            batch_key: BatchKey::derive(Uuid::from_u128(7), PayoutId(1), PayoutId(count)),
            instructions: instructions.collect(),
        }
    }

    fn call(&self) -> Call<'_> {
        Call {
            account: &self.account,
            batch_key: &self.batch_key,
            instructions: &self.instructions,
            expires_at: datetime!(2026-01-02 03:04:05 UTC),
        }
    }

    fn key(&self, index: usize) -> &str {
        self.instructions[index].key.as_str()
    }
}
