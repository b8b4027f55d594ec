//! What can go wrong in one dialect alone. Probabilities are 0 to 1; what RAILS.md marks as unverified is a switch.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Of PayPal Payouts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PaypalFaults {
    /// An item waits for a payee without an account; what nobody claims comes back after 30 days.
    pub unclaimed: f64,
    /// An item is under review for `onhold_ms`, and ends as `onhold_becomes` says.
    pub onhold: f64,
    /// How long a review takes; 0 is an hour.
    pub onhold_ms: u64,
    /// SUCCESS where it is not said, FAILED, or BLOCKED.
    pub onhold_becomes: Option<String>,
    /// An item is blocked.
    pub blocked: f64,
    /// A blocked item has taken the money. Whether it does is told by the statement only (unverified).
    pub blocked_takes_money: bool,
    /// What becomes of an item, by its `sender_item_id` or its receiver, before anything is drawn: SUCCESS, UNCLAIMED,
    /// ONHOLD, BLOCKED, or the name of an error, with which it fails.
    pub script: BTreeMap<String, String>,
    /// A batch ends as DENIED: every item failed, and its id is free again.
    pub denied: f64,
    /// The answer to a used id has no link to the batch (seen in 2015).
    pub duplicate_without_link: f64,
    /// The answer to an accepted batch has no id.
    pub created_without_id: f64,
    /// So long after it was accepted a batch is not found.
    pub not_found_ms: u64,
    /// How long a token lives; 0 is 32,400 s.
    pub token_life_ms: u64,
    /// Statements leave out `custom_field`, which "usually" carries our id of the item.
    pub without_custom_field: bool,
    /// So many answers of Transaction Search are made from the books of the one before, until they are refreshed.
    pub books_stand: u64,
    /// POST answers 403 with this name: AUTHORIZATION_ERROR, SENDER_RESTRICTED, SENDER_EMAIL_UNCONFIRMED, ...
    pub forbidden: Option<String>,
    /// Currencies that are not held, and not converted by themselves.
    pub not_held: Vec<String>,
    /// Looks for money before it looks whether the id was used: an account that is empty by now hides a batch that was
    /// taken (nobody promises the order).
    pub funds_first: bool,
}

impl PaypalFaults {
    /// What must be 0 to 1.
    pub fn shares(&self) -> [(&'static str, f64); 6] {
        [
            ("paypal.unclaimed", self.unclaimed),
            ("paypal.onhold", self.onhold),
            ("paypal.blocked", self.blocked),
            ("paypal.denied", self.denied),
            ("paypal.duplicate_without_link", self.duplicate_without_link),
            ("paypal.created_without_id", self.created_without_id),
        ]
    }

    /// What else must be so.
    pub fn check(&self) -> Result<(), String> {
        match self.onhold_becomes.as_deref() {
            None | Some("SUCCESS" | "FAILED" | "BLOCKED") => Ok(()),
            Some(other) => Err(format!("paypal.onhold_becomes must be SUCCESS, FAILED or BLOCKED, not {other}")),
        }
    }
}

/// Of Stripe Connect.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StripeFaults {
    /// Pays, and stores a 500 under the key: the same key repeats it for a day.
    pub stored_500_paid: f64,
    /// Pays nothing, and stores a 500 under the key.
    pub stored_500_unpaid: f64,
    /// Answers 409, as if a request with this key were running.
    pub key_in_use: f64,
    /// 429 with code `lock_timeout`.
    pub lock_timeout: f64,
    /// Refusals other than `balance_insufficient` are stored under the key too (unverified).
    pub refusals_stored: bool,
    /// Lists do not see what is younger.
    pub list_lag_ms: u64,
    /// A payout fails so much after it was paid...
    pub payout_fail_after_ms: u64,
    /// ...with this probability...
    pub payout_fail: f64,
    /// ...for this reason; `account_closed` where none is named.
    pub payout_failure_code: Option<String>,
}

impl StripeFaults {
    /// What must be 0 to 1.
    pub fn shares(&self) -> [(&'static str, f64); 5] {
        [
            ("stripe.payout_fail", self.payout_fail),
            ("stripe.stored_500_paid", self.stored_500_paid),
            ("stripe.stored_500_unpaid", self.stored_500_unpaid),
            ("stripe.key_in_use", self.key_in_use),
            ("stripe.lock_timeout", self.lock_timeout),
        ]
    }
}

/// Of Wise.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WiseFaults {
    /// Funding asks for strong customer authentication, unless an approval comes with it.
    pub sca: f64,
    /// Statements ask for it too.
    pub sca_statement: f64,
    /// How long a transfer stays in each state; 0 is what --batch-settle-after says.
    pub step_ms: u64,
    /// A transfer leaves, and bounces; what comes back is less `return_fee_minor`, `return_after_ms` later.
    pub bounce: f64,
    /// A transfer is cancelled before it is sent, and its money comes back whole.
    pub cancel: f64,
    /// A transfer that was sent goes back to an earlier state once, and is sent again.
    pub roll_back: f64,
    /// A transfer stays in `processing`.
    pub stuck: f64,
    /// Funding is answered with REJECTED, whatever the balance.
    pub reject: f64,
    /// What comes back of a transfer that is funded now brings its fee too.
    pub refund_with_fee: bool,
    /// A payee pays as much in as was sent, of their own money and with the transfer's reference: a deposit, no refund.
    pub paid_in: f64,
    /// Any number is a recipient, of whatever currency is asked for, though nobody made it: for files of payees that
    /// were written before there was a sandbox.
    pub any_recipient: bool,
    /// How long a token of `/oauth/token` lives; 0 is 12 hours.
    pub token_life_ms: u64,
    /// A transfer that nobody asked for a second time under its UUID is forgotten after so long; 0 is never (how long
    /// is not published).
    pub forget_uuid_ms: u64,
}

impl WiseFaults {
    /// What must be 0 to 1.
    pub fn shares(&self) -> [(&'static str, f64); 8] {
        [
            ("wise.sca", self.sca),
            ("wise.sca_statement", self.sca_statement),
            ("wise.bounce", self.bounce),
            ("wise.cancel", self.cancel),
            ("wise.roll_back", self.roll_back),
            ("wise.stuck", self.stuck),
            ("wise.reject", self.reject),
            ("wise.paid_in", self.paid_in),
        ]
    }
}

/// Of the notices that a dialect sends.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WebhookFaults {
    /// It is never sent.
    pub lose: f64,
    /// It is sent twice.
    pub twice: f64,
    /// It is sent so much later, and those after it before it...
    pub late_ms: u64,
    /// ...with this probability.
    pub late: f64,
    /// It is sent with a signature that is not right.
    pub forge: f64,
    /// It says something else than what was signed.
    pub tamper: f64,
    /// It is dated so much before it is sent, and so is what is signed.
    pub stale_ms: u64,
}

impl WebhookFaults {
    /// What must be 0 to 1.
    pub fn shares(&self) -> [(&'static str, f64); 5] {
        [
            ("webhook.lose", self.lose),
            ("webhook.twice", self.twice),
            ("webhook.late", self.late),
            ("webhook.forge", self.forge),
            ("webhook.tamper", self.tamper),
        ]
    }
}
