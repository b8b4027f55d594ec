//! Requests to the adapters as JSON, and what they conclude as JSON: for programs that are not written in Rust.

use std::path::Path;
use std::time::Duration;

use futures_util::StreamExt;
use payfleet_domain::{BatchKey, Currency, Money, Outcome, Reference};
use payfleet_rails::{
    Account, Accounts, Answer, Call, Credential, Finding, Going, Group, Instruction, Pace, Payee, RailsConfig,
    RealRails, Recipient, Registry, StatementItem,
};
use serde::Deserialize;
use serde_json::{Value, json};
use time::OffsetDateTime;

/// The adapters of the real rails that have an account.
pub struct Adapters {
    registry: Registry,
}

/// What an adapter is asked to do.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    rail: String,
    #[serde(rename = "do")]
    what: What,
    #[serde(default = "main")]
    account: String,
    credential: String,
    #[serde(default)]
    batch_key: Option<BatchKey>,
    #[serde(default)]
    instructions: Vec<Ordered>,
    /// So many seconds ago, or ahead, every older request has died.
    #[serde(default)]
    expires_in_s: i64,
    /// Of a statement: since so many seconds.
    #[serde(default = "day")]
    since_s: i64,
    /// Of Wise: what is made, or which one.
    #[serde(default)]
    recipient: Option<NewRecipient>,
    #[serde(default)]
    number: u64,
    #[serde(default)]
    currency: Option<Currency>,
    #[serde(default)]
    group: Option<Group>,
    /// Of Stripe: whose payouts to the bank.
    #[serde(default)]
    connected: String,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum What {
    Submit,
    LookUp,
    Follow,
    Statement,
    Recall,
    Cancel,
    Fund,
    GroupMake,
    GroupRead,
    GroupAdd,
    GroupClose,
    RecipientMake,
    RecipientRead,
    RecipientRequirements,
    BankPayouts,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Ordered {
    key: String,
    minor: i64,
    currency: Currency,
    destination: String,
    #[serde(default)]
    reference: Option<String>,
    #[serde(default)]
    text: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewRecipient {
    currency: Currency,
    kind: String,
    name: String,
    details: serde_json::Map<String, Value>,
}

fn main() -> String {
    "main".to_owned()
}

fn day() -> i64 {
    24 * 3_600
}

impl Adapters {
    /// Those whose accounts are in this file.
    pub fn open(accounts: &Path, call_timeout: Duration) -> Result<Adapters, String> {
        let said = |error: payfleet_rails::RegistryError| error.to_string();
        let accounts = Accounts::from_file(Some(accounts)).map_err(said)?;
        let config = RailsConfig { sandbox_url: None, call_timeout, null_rail: false };
        let registry = Registry::with_real(&config, &RealRails { accounts, live: false }).map_err(said)?;
        Ok(Adapters { registry })
    }

    /// Answers one request; `{"error":...}` if it is none, or if what was asked for could not be had.
    pub async fn answer(&self, line: &str) -> Value {
        let answered = match serde_json::from_str(line) {
            Ok(asked) => self.answered(asked).await,
            Err(error) => Err(error.to_string()),
        };
        answered.unwrap_or_else(|error| json!({"error": error}))
    }

    async fn answered(&self, asked: Asked) -> Result<Value, String> {
        let account = Account { name: asked.account, credential: Some(Credential::new(asked.credential)) };
        let instructions: Vec<Instruction> =
            asked.instructions.into_iter().map(Ordered::into_instruction).collect::<Result<_, _>>()?;
        let now = OffsetDateTime::now_utc();
        let call = asked.batch_key.as_ref().map(|batch_key| Call {
            account: &account,
            batch_key,
            instructions: &instructions,
            expires_at: now + time::Duration::seconds(asked.expires_in_s),
            going: Going::On,
            pace: Pace::Free,
        });
        let call = || call.ok_or("batch_key is missing");
        let adapter = self.registry.adapter(&asked.rail).ok_or("no account at this rail")?;
        let (paypal, stripe, wise) = (self.registry.paypal(), self.registry.stripe(), self.registry.wise());
        let paypal = || paypal.as_ref().ok_or("no account at paypal");
        let stripe = || stripe.as_ref().ok_or("no account at stripe");
        let wise = || wise.as_ref().ok_or("no account at wise");
        let said = |error: payfleet_rails::StatementError| error.to_string();
        let group = asked.group.as_ref().ok_or("group is missing");
        let currency = asked.currency.ok_or("currency is missing");
        Ok(match asked.what {
            What::Submit => of_answer(adapter.submit(&call()?).await),
            What::LookUp => of_findings(adapter.look_up(&call()?).await),
            What::Follow => of_findings(adapter.follow(&call()?).await),
            What::Statement => {
                let since = now - time::Duration::seconds(asked.since_s);
                let mut stream = adapter.statement(&account, since).await.map_err(said)?;
                let mut lines = Vec::new();
                while let Some(item) = stream.next().await {
                    lines.push(of_item(item.map_err(said)?));
                }
                json!({"statement": lines})
            }
            What::Recall => of_findings(vec![paypal()?.recall(&call()?).await]),
            What::Cancel => of_findings(vec![wise()?.cancel(&call()?).await]),
            What::Fund => of_answer(wise()?.fund(&call()?).await),
            What::GroupMake => of_group(&wise()?.group_make(&account, currency?, "contract").await.map_err(said)?),
            What::GroupRead => of_group(&wise()?.group_read(&account, &group?.id).await.map_err(said)?),
            What::GroupAdd => of_answer(wise()?.group_add(&call()?, group?).await),
            What::GroupClose => of_group(&wise()?.group_close(&account, group?).await.map_err(said)?),
            What::RecipientMake => {
                let NewRecipient { currency, kind, name, details } = asked.recipient.ok_or("recipient is missing")?;
                let who = Recipient { currency, kind, name, details };
                json!({"number": wise()?.recipient_make(&account, &who).await.map_err(said)?.number})
            }
            What::RecipientRead => {
                let read = wise()?.recipient_read(&account, asked.number).await.map_err(said)?;
                json!({"number": read.number, "currency": read.currency, "is_active": read.is_active})
            }
            What::RecipientRequirements => {
                json!({"form": wise()?.recipient_requirements(&account, currency?).await.map_err(said)?})
            }
            What::BankPayouts => {
                let since = now - time::Duration::seconds(asked.since_s);
                let told = stripe()?.bank_payouts(&account, &asked.connected, since).await.map_err(said)?;
                let told = told.iter().map(|one| json!({"id": one.id, "state": format!("{:?}", one.state)}));
                json!({"payouts": told.collect::<Vec<_>>()})
            }
        })
    }
}

impl Ordered {
    fn into_instruction(self) -> Result<Instruction, String> {
        Ok(Instruction {
            key: self.key.parse().map_err(|_| "key is no payout key")?,
            amount: Money { minor: self.minor, currency: self.currency },
            destination: self.destination,
            payee: Payee { text: self.text, ..Payee::default() },
            reference: self.reference.map(Reference),
        })
    }
}

fn of_answer(answer: Answer) -> Value {
    match answer {
        Answer::Each(outcomes) => json!({"each": outcomes.iter().map(of_outcome).collect::<Vec<_>>()}),
        Answer::All(outcome) => json!({"all": of_outcome(&outcome)}),
        Answer::Stopped(reason) => json!({"stopped": reason.as_str()}),
    }
}

fn of_findings(findings: Vec<Finding>) -> Value {
    let of_finding = |finding: &Finding| match finding {
        Finding::Known(outcome) => of_outcome(outcome),
        Finding::NotFound => json!({"is": "not_found"}),
        Finding::NotYet => json!({"is": "not_yet"}),
        Finding::Unanswered => json!({"is": "unanswered"}),
    };
    json!({"findings": findings.iter().map(of_finding).collect::<Vec<_>>()})
}

fn of_outcome(outcome: &Outcome) -> Value {
    match outcome {
        Outcome::Paid(name) => json!({"is": "paid", "reference": name}),
        Outcome::Accepted(name) => json!({"is": "accepted", "reference": name}),
        Outcome::Refused(code) => json!({"is": "refused", "code": code}),
        Outcome::Returned(name) => json!({"is": "returned", "reference": name}),
        Outcome::ReturnedPart(name, back) => json!({"is": "returned_part", "reference": name, "minor": back.minor}),
        Outcome::NotExecuted => json!({"is": "not_executed"}),
        Outcome::Unknown => json!({"is": "unknown"}),
    }
}

fn of_item(item: StatementItem) -> Value {
    match item {
        StatementItem::Line(line) => json!({
            "key": line.key,
            "reference": line.reference,
            "minor": line.amount_minor,
            "currency": line.currency,
            "destination": line.destination,
            "movement": line.movement,
            "of": line.of,
        }),
        StatementItem::End(end) => json!({"end": true, "lines": end.lines}),
    }
}

fn of_group(group: &Group) -> Value {
    let Group { id, version, status, transfer_ids } = group;
    json!({"id": id, "version": version, "status": status, "transferIds": transfer_ids})
}
