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
    /// The statement says that money came back which we count as paid, or the other way round.
    ReturnUnrecorded,
    /// An affiliate with money due has neither payout nor exclusion, or not of all that was due.
    Skipped,
    /// The transfers of a payout do not add up to what its state says, or an account's balance to its transfers.
    LedgerOutOfBalance,
    /// A payout whose outcome has not been known for too long.
    UnknownTooLong,
}

impl DiscrepancyKind {
    /// All kinds.
    pub const ALL: [DiscrepancyKind; 12] = [
        DiscrepancyKind::PaidTwice,
        DiscrepancyKind::NeverPlanned,
        DiscrepancyKind::PaidUnrecorded,
        DiscrepancyKind::NotOnStatement,
        DiscrepancyKind::AmountDiffers,
        DiscrepancyKind::CurrencyDiffers,
        DiscrepancyKind::DestinationDiffers,
        DiscrepancyKind::ReferenceDiffers,
        DiscrepancyKind::ReturnUnrecorded,
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
            DiscrepancyKind::NotOnStatement => "not_on_statement",
            DiscrepancyKind::AmountDiffers => "amount_differs",
            DiscrepancyKind::CurrencyDiffers => "currency_differs",
            DiscrepancyKind::DestinationDiffers => "destination_differs",
            DiscrepancyKind::ReferenceDiffers => "reference_differs",
            DiscrepancyKind::ReturnUnrecorded => "return_unrecorded",
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
            DiscrepancyKind::NotOnStatement => "settled here, but not on the statement",
            DiscrepancyKind::AmountDiffers => "the statement names another amount",
            DiscrepancyKind::CurrencyDiffers => "the statement names another currency",
            DiscrepancyKind::DestinationDiffers => "the statement names another destination",
            DiscrepancyKind::ReferenceDiffers => "the statement names another reference",
            DiscrepancyKind::ReturnUnrecorded => "returned on one side only",
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
