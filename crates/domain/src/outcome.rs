//! What one submission did for one payout. A time-out is an outcome, not an error.

use std::fmt;

use crate::Money;

/// The rail's own name for a payment.
#[derive(Debug, Clone, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Reference(pub String);

/// Why a rail refused, in its own words, cut to 64 characters of `[a-z0-9_]`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct RefusalCode(String);

/// Who must act before a refused payout can be paid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RefusalKind {
    /// The affiliate: a closed account, a wrong address.
    Payee,
    /// The tenant: not enough money on the rail's account.
    Payer,
    /// Nobody at once: limits, sanctions, a country that the rail does not serve.
    Policy,
}

/// What is known about a payout after a rail was asked to pay it, or was looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Final: it was paid, and this is the proof.
    Paid(Reference),
    /// The rail has it and will pay later.
    Accepted(Reference),
    /// The rail said that it will not pay.
    Refused(RefusalCode),
    /// It was paid and came back, all of it: proof of both.
    Returned(Reference),
    /// It was paid, and so much of it came back, which is less than was paid: the payee has the rest, or somebody kept
    /// it on the way. Proof of both; it frees no more than came back.
    ReturnedPart(Reference, Money),
    /// The request provably did not leave us, or the rail documents its answer as "not executed". Nothing happened.
    NotExecuted,
    /// Anything else: a time-out, a lost connection, 5xx, an unreadable or contradictory answer. It may have been paid.
    Unknown,
}

/// Codes that the affiliate must act upon. The sandbox's, then those of PayPal ("Payouts", item errors), Stripe ("Error
/// codes", "Payout failure codes") and Wise, as RAILS.md and its tables name them.
const PAYEES: &[&str] = &[
    "account_closed",
    "invalid_destination",
    "invalid_item",
    "name_mismatch",
    "receiver_unregistered",
    // PayPal
    "currency_not_receivable",
    "invalid_email",
    "receiver_account_invalid",
    "receiver_account_locked",
    "receiver_country_not_allowed",
    "receiver_state_restricted",
    "receiver_unconfirmed",
    "receiver_youth_account",
    "receiving_limit_exceeded",
    // Stripe
    "account_frozen",
    "bank_account_restricted",
    "insufficient_capabilities_for_transfer",
    "no_account",
    "resource_missing",
    // Wise
    "target_account_not_valid",
];

/// Codes that the tenant must act upon: money, or a permission of its own account, is missing.
const PAYERS: &[&str] = &[
    "insufficient_funds",
    "payer_suspended",
    // PayPal
    "negative_balance",
    "non_holding_currency",
    "per_transaction_sending_limit_exceeded",
    "pos_limit_exceeded",
    "sender_account_locked",
    "sender_secondary_user_unverified",
    "sender_state_restricted",
    "spending_limit_exceeded",
    "user_funding_source_ineligible",
    // Stripe
    "balance_insufficient",
    "transfers_not_allowed",
    // Wise
    "transfer_insufficient_funds",
];

impl RefusalCode {
    /// Takes what a rail sent, whatever it is, as a code that is fit for a column, a label and a log line.
    pub fn new(text: &str) -> Self {
        let code: String = text
            .chars()
            .take(64)
            .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' })
            .collect();
        RefusalCode(if code.is_empty() { "unspecified".to_owned() } else { code })
    }

    /// The code.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Who must act. What is not known to be the payee's or the payer's is policy.
    pub fn kind(&self) -> RefusalKind {
        let code = self.0.as_str();
        match (PAYEES.contains(&code), PAYERS.contains(&code)) {
            (true, _) => RefusalKind::Payee,
            (false, true) => RefusalKind::Payer,
            (false, false) => RefusalKind::Policy,
        }
    }

    /// Whether the destination will never be paid, whatever anybody does but giving another one: its account is closed,
    /// or there is none. Who is only not registered yet, or has another name there, can mend that at the rail.
    pub fn is_for_ever(&self) -> bool {
        matches!(self.0.as_str(), "account_closed" | "invalid_destination")
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for RefusalCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_fit_for_a_label() {
        assert_eq!(RefusalCode::new("Account Closed!\n").as_str(), "account_closed__");
        assert_eq!(RefusalCode::new("").as_str(), "unspecified");
        assert_eq!(RefusalCode::new(&"x".repeat(500)).as_str().len(), 64);
    }

    #[test]
    fn a_code_says_who_must_act() {
        for code in ["account_closed", "invalid_destination", "invalid_item", "receiver_unregistered", "name_mismatch"]
        {
            assert_eq!(RefusalCode::new(code).kind(), RefusalKind::Payee, "{code}");
        }
        for code in ["insufficient_funds", "payer_suspended", "balance_insufficient", "transfer.insufficient_funds"] {
            assert_eq!(RefusalCode::new(code).kind(), RefusalKind::Payer, "{code}");
        }
        assert_eq!(RefusalCode::new("RECEIVER_ACCOUNT_INVALID").kind(), RefusalKind::Payee);
        assert_eq!(RefusalCode::new("never heard of").kind(), RefusalKind::Policy);
        for code in PAYEES.iter().chain(PAYERS) {
            assert_eq!(RefusalCode::new(code).as_str(), *code, "it is written as a code is kept");
            assert!(!(PAYEES.contains(code) && PAYERS.contains(code)), "{code}: one of them must act");
        }
    }

    #[test]
    fn only_what_the_payee_alone_can_change_is_for_ever() {
        for code in ["Account closed", "invalid_destination"] {
            let code = RefusalCode::new(code);
            assert!(code.is_for_ever() && code.kind() == RefusalKind::Payee, "{code}");
        }
        for code in ["receiver_unregistered", "name_mismatch", "invalid_item", "insufficient_funds", "never heard of"] {
            assert!(!RefusalCode::new(code).is_for_ever(), "{code}");
        }
    }
}
