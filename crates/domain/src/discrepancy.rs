//! The ways in which plan, ledger and statement can differ.

use std::fmt;

/// What the reconciler found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DiscrepancyKind {
    /// More than one payment of one payout stands on the statement.
    PaidTwice,
    /// A payment on the statement that no run planned.
    NeverPlanned,
    /// A payment on the statement of a payout that we count as refused or cancelled, or never sent.
    PaidUnrecorded,
    /// Proven paid after its money had been due again; booked, and the account waits for two people.
    PaidLate,
    /// Planned and settled, but not on the statement.
    NotOnStatement,
    /// The statement names another amount.
    AmountDiffers,
    /// The statement names another currency.
    CurrencyDiffers,
    /// The statement names another destination.
    DestinationDiffers,
    /// The statement names another reference than the one that we were given.
    ReferenceDiffers,
    /// Paid from another account than was planned.
    AccountDiffers,
    /// All of the money has come back, but it counts as paid.
    ReturnUnrecorded,
    /// Less came back than was paid, and the rail names no fee.
    ReturnInPart,
    /// A file says that money came back, and no second person has confirmed it.
    ReturnUnconfirmed,
    /// A return is told that is older or larger than its payment, or in another currency.
    ReturnDiffers,
    /// An affiliate with money due has neither payout nor exclusion, or not of all that was due.
    Skipped,
    /// The transfers of a payout do not add up to what its state says, or an account's balance to its transfers.
    LedgerOutOfBalance,
    /// A payout whose outcome has not been known for too long.
    UnknownTooLong,
}

impl DiscrepancyKind {
    /// All kinds.
    pub const ALL: [DiscrepancyKind; 17] = [
        DiscrepancyKind::PaidTwice,
        DiscrepancyKind::NeverPlanned,
        DiscrepancyKind::PaidUnrecorded,
        DiscrepancyKind::PaidLate,
        DiscrepancyKind::NotOnStatement,
        DiscrepancyKind::AmountDiffers,
        DiscrepancyKind::CurrencyDiffers,
        DiscrepancyKind::DestinationDiffers,
        DiscrepancyKind::ReferenceDiffers,
        DiscrepancyKind::AccountDiffers,
        DiscrepancyKind::ReturnUnrecorded,
        DiscrepancyKind::ReturnInPart,
        DiscrepancyKind::ReturnUnconfirmed,
        DiscrepancyKind::ReturnDiffers,
        DiscrepancyKind::Skipped,
        DiscrepancyKind::LedgerOutOfBalance,
        DiscrepancyKind::UnknownTooLong,
    ];

    /// The code in reports and in the schema.
    pub fn code(&self) -> &'static str {
        match self {
            DiscrepancyKind::PaidTwice => "paid_twice",
            DiscrepancyKind::NeverPlanned => "never_planned",
            DiscrepancyKind::PaidUnrecorded => "paid_unrecorded",
            DiscrepancyKind::PaidLate => "paid_late",
            DiscrepancyKind::NotOnStatement => "not_on_statement",
            DiscrepancyKind::AmountDiffers => "amount_differs",
            DiscrepancyKind::CurrencyDiffers => "currency_differs",
            DiscrepancyKind::DestinationDiffers => "destination_differs",
            DiscrepancyKind::ReferenceDiffers => "reference_differs",
            DiscrepancyKind::AccountDiffers => "account_differs",
            DiscrepancyKind::ReturnUnrecorded => "return_unrecorded",
            DiscrepancyKind::ReturnInPart => "return_in_part",
            DiscrepancyKind::ReturnUnconfirmed => "return_unconfirmed",
            DiscrepancyKind::ReturnDiffers => "return_differs",
            DiscrepancyKind::Skipped => "skipped",
            DiscrepancyKind::LedgerOutOfBalance => "ledger_out_of_balance",
            DiscrepancyKind::UnknownTooLong => "unknown_too_long",
        }
    }

    /// What it means, for people.
    pub fn meaning(&self) -> &'static str {
        match self {
            DiscrepancyKind::PaidTwice => "more than one payment of one payout is on the statement",
            DiscrepancyKind::NeverPlanned => "on the statement, but no run planned it",
            DiscrepancyKind::PaidUnrecorded => "on the statement as paid, but refused, cancelled or unsent here",
            DiscrepancyKind::PaidLate => {
                "proven paid after its money was due again; no plan pays the account before two people have looked"
            }
            DiscrepancyKind::NotOnStatement => "settled here, but not on the statement",
            DiscrepancyKind::AmountDiffers => "the statement names another amount",
            DiscrepancyKind::CurrencyDiffers => "the statement names another currency",
            DiscrepancyKind::DestinationDiffers => "the statement names another destination",
            DiscrepancyKind::ReferenceDiffers => "the statement names another reference",
            DiscrepancyKind::AccountDiffers => "paid from another account than was planned",
            DiscrepancyKind::ReturnUnrecorded => "all of the money has come back, but it counts as paid here",
            DiscrepancyKind::ReturnInPart => "less came back than was paid, and the rail names no fee",
            DiscrepancyKind::ReturnUnconfirmed => {
                "a file says that the money came back; a second person must confirm it"
            }
            DiscrepancyKind::ReturnDiffers => "a return is older or larger than its payment, or in another currency",
            DiscrepancyKind::Skipped => "money was due, but is neither in a payout nor in an exclusion",
            DiscrepancyKind::LedgerOutOfBalance => "transfers do not add up to what the states say",
            DiscrepancyKind::UnknownTooLong => "the outcome has not been known for too long",
        }
    }
}

impl fmt::Display for DiscrepancyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.code())
    }
}
