//! What the tests of all three rails need: an adapter at a server, and a call.

use std::time::Duration;

use payfleet_domain::{BatchKey, Money, Outcome, PayoutId, Reference, RefusalCode, StopReason};
use payfleet_rails::{
    Account, Accounts, Answer, Call, Credential, Finding, Going, Instruction, Pace, Payee, RailsConfig, RealRails,
    Registry, StatementError, StatementItem, StatementStream,
};
use time::macros::datetime;
use uuid::Uuid;

use futures_util::StreamExt;

/// Short, since some cases wait for it to end.
pub const CALL_TIMEOUT: Duration = Duration::from_millis(600);
pub const UNKNOWN: Answer = Answer::All(Outcome::Unknown);
pub const NOT_EXECUTED: Answer = Answer::All(Outcome::NotExecuted);

/// What stops all payouts from the account, and refuses none.
pub const NO_FUNDS: Answer = Answer::Stopped(StopReason::NoFunds);
pub const CREDENTIAL_REFUSED: Answer = Answer::Stopped(StopReason::CredentialRefused);
pub const RESTRICTED: Answer = Answer::Stopped(StopReason::Restricted);

pub fn refused(code: &str) -> Answer {
    Answer::All(Outcome::Refused(RefusalCode::new(code)))
}

pub fn name(text: &str) -> Reference {
    Reference(text.to_owned())
}

/// The registry with one account `main` at each rail, all at this address.
pub fn registry(url: &str, more: &str) -> Registry {
    let accounts = format!(
        r#"
        [[account]]
        rail = "paypal"
        name = "main"
        base_url = "{url}"
        email_subject = "Your commission"
        {more}
        [[account]]
        rail = "stripe"
        name = "main"
        base_url = "{url}"
        {more}
        [[account]]
        rail = "wise"
        name = "main"
        base_url = "{url}"
        profile = 12345678
        balances = {{ EUR = 200001 }}
        {more}
        "#
    );
    registry_of(&accounts)
}

/// The registry with these accounts.
pub fn registry_of(accounts: &str) -> Registry {
    let config = RailsConfig { sandbox_url: None, call_timeout: CALL_TIMEOUT, null_rail: false };
    let real = RealRails { accounts: Accounts::from_toml(accounts).unwrap(), live: false };
    Registry::with_real(&config, &real).unwrap()
}

/// What a call borrows from.
pub struct Order {
    pub account: Account,
    pub batch_key: BatchKey,
    pub instructions: Vec<Instruction>,
}

impl Order {
    /// So many payouts of 10.01, 10.02 ... of this currency.
    pub fn new(rail: &str, count: i64, currency: &str) -> Order {
        let destination = |number: i64| match rail {
            "paypal" => format!("payee{number}@example.com"),
            "stripe" => format!("acct_1PgafTB7WZ01zgk{number}"),
            _ => (8_692_236 + number).to_string(),
        };
        let instructions = (1..=count).map(|number| Instruction {
            key: format!("{}-a94610cdbdd64ddc", 12_884_901_928 + number).parse().unwrap(),
            amount: Money { minor: 1000 + number, currency: currency.parse().unwrap() },
            destination: destination(number),
            payee: Payee::default(),
            reference: None,
        });
        let credential = if rail == "paypal" { "client-id:s3cret" } else { "sk_test_s3cret" };
        Order {
            account: Account { name: "main".to_owned(), credential: Some(Credential::new(credential)) },
            batch_key: BatchKey::derive(Uuid::from_u128(7), PayoutId(1), PayoutId(count)),
            instructions: instructions.collect(),
        }
    }

    /// The same, accepted under this name.
    pub fn accepted(mut self, reference: &str) -> Order {
        self.instructions.iter_mut().for_each(|one| one.reference = Some(name(reference)));
        self
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
}

pub fn known(outcome: Outcome) -> Finding {
    Finding::Known(outcome)
}

/// All of a statement: its lines, and how it ended.
pub async fn read_all(stream: Result<StatementStream, StatementError>) -> Result<Vec<StatementItem>, StatementError> {
    let mut stream = stream?;
    let mut items = Vec::new();
    while let Some(item) = stream.next().await {
        items.push(item?);
    }
    Ok(items)
}
