//! A transfer as Wise tells it, and what its states say. They may roll back to an earlier one; whoever keeps the books
//! knows what was proven before.

use payfleet_domain::{Currency, Outcome, Reference};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};

use super::RAIL;
use crate::Instruction;
use crate::cause::Cause;
use crate::decimal::minor_of;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Transfer {
    id: u64,
    target_account: u64,
    status: String,
    target_currency: String,
    /// A JSON number: read as it is written, never as a float.
    target_value: Box<RawValue>,
    customer_transaction_id: Option<String>,
    #[serde(default)]
    created: Option<String>,
    #[serde(default)]
    errors: Option<IgnoredAny>,
}

/// Where a transfer stands: a closed list (Wise, "Track transfers").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Made, and not paid for.
    Waiting,
    /// On its way, or coming back: Wise has it.
    UnderWay,
    /// The last of the good path.
    Sent,
    /// What came back is on our balance again.
    Refunded,
    /// A word that is not documented.
    Unknown,
}

impl Transfer {
    /// Its number.
    pub(crate) fn id(&self) -> String {
        self.id.to_string()
    }

    /// Before it nothing can have moved for the transfer: a day before it was made, whatever zone the rail tells it in.
    /// (Wise, "The transfer object", `created`: `2017-11-24 10:47:49`.)
    pub(super) fn since(&self) -> Option<OffsetDateTime> {
        let created = self.created.as_deref()?;
        let written = match created.split_once(' ') {
            Some((date, time)) => format!("{date}T{time}Z"),
            None => created.to_owned(),
        };
        OffsetDateTime::parse(&written, &Rfc3339).ok()?.checked_sub(Duration::DAY)
    }

    /// Whether it was made for this payout.
    pub(crate) fn is_of(&self, asked: &Instruction) -> bool {
        let named = self.customer_transaction_id.as_deref().and_then(|id| uuid::Uuid::parse_str(id).ok());
        named == Some(asked.key.uuid())
    }

    /// Whether it is the payment that was ordered.
    pub(crate) fn check(&self, asked: &Instruction, recipient: u64) -> Result<(), Cause> {
        if self.errors.is_some() {
            return Err(Cause::Contradictory("a transfer and an error in one answer"));
        }
        if !self.is_of(asked) {
            return Err(Cause::Contradictory("the answer names another key"));
        }
        if self.target_account != recipient {
            return Err(Cause::Contradictory("the answer names another destination"));
        }
        let currency = asked.amount.currency;
        if self.target_currency != currency.code() {
            return Err(Cause::Contradictory("the answer names another currency"));
        }
        match minor_of(self.target_value.get(), currency) == Some(asked.amount.minor) {
            true => Ok(()),
            false => Err(Cause::Contradictory("the answer names another amount")),
        }
    }

    /// What it pays, in minor units of this currency; `None` if that is not the one in which it was sent.
    pub(super) fn paid_in(&self, currency: Currency) -> Option<i64> {
        minor_of(self.target_value.get(), currency).filter(|_| self.target_currency == currency.code())
    }

    pub(crate) fn state(&self) -> State {
        match self.status.as_str() {
            "incoming_payment_waiting" => State::Waiting,
            // Of a cancelled one it is not told whether money was in it: as long as none has come back, it is waited
            // for.
            "incoming_payment_initiated"
            | "processing"
            | "funds_converted"
            | "bounced_back"
            | "cancelled"
            | "charged_back" => State::UnderWay,
            "outgoing_payment_sent" => State::Sent,
            "funds_refunded" => State::Refunded,
            _ => State::Unknown,
        }
    }

    pub(super) fn is_cancelled(&self) -> bool {
        self.status == "cancelled"
    }

    /// What that says of the payment, where no amount is needed for it.
    pub(crate) fn outcome(&self) -> Result<Outcome, Cause> {
        let id = Reference(self.id());
        match self.state() {
            State::Waiting | State::UnderWay | State::Refunded => {
                if self.status == "charged_back" {
                    tracing::error!(rail = RAIL, transfer = id.0, "a transfer was charged back: look at it at Wise");
                }
                Ok(Outcome::Accepted(id))
            }
            State::Sent => Ok(Outcome::Paid(id)),
            State::Unknown => Err(Cause::Contradictory("a transfer with a state that is not documented")),
        }
    }
}
