//! What a rail says that it paid, line by line. A statement is somebody else's word: nothing in a line is trusted to be ours.

use time::OffsetDateTime;

use crate::Money;

/// What a statement line reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Movement {
    /// Money went out.
    Paid,
    /// Money came back.
    Returned,
    /// No money went out and none will, though the order was accepted: a bank's late refusal.
    Rejected,
}

/// One line of a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatementLine {
    /// The key that the payment was ordered under, as the rail repeats it. Perhaps no key of ours.
    pub key: String,
    /// The rail's name for this movement. A return has one of its own, which is not that of the payment that came back.
    pub reference: String,
    /// What moved, in minor units of the currency that the line names. Of a return: what arrived with us.
    pub amount_minor: i64,
    /// What the rail kept of money that came back, in minor units of the same currency; `amount_minor` is without it. 0
    /// of a payment.
    pub fee_minor: i64,
    /// Three letters, as the rail wrote them.
    pub currency: String,
    /// Where the money went.
    pub destination: String,
    /// Out, back, or neither.
    pub movement: Movement,
    /// When, by the rail's clock; `None` where the statement does not say.
    pub at: Option<OffsetDateTime>,
    /// Of a return: the reference of the payment that it gives back, where the rail says it. Banks say no more than the
    /// key.
    pub of: Option<String>,
}

/// What a statement says of its own reach, after its last line. Without it nothing is known to be missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatementEnd {
    /// It has everything since this instant, by the rail's clock,
    pub from: OffsetDateTime,
    /// and before this one, itself not included: what is booked later at the same instant is on the next part.
    pub until: OffsetDateTime,
    /// What the rail's clock said when the statement was made; `until` lies before it by what the rail's lines lag
    /// behind.
    pub now: OffsetDateTime,
    /// How many lines there were.
    pub lines: u64,
}

/// In what a line of a payout differs from what was planned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LineDiffers {
    /// In how much.
    pub amount: bool,
    /// In which currency.
    pub currency: bool,
    /// In where to.
    pub destination: bool,
}

impl LineDiffers {
    /// In something.
    pub fn in_something(&self) -> bool {
        self.amount || self.currency || self.destination
    }
}

impl StatementLine {
    /// Holds the line against the plan. Rails write codes of currencies in small letters too, and destinations with other
    /// capitals and spaces than they were given.
    pub fn differs(&self, planned: Money, destination: &str) -> LineDiffers {
        LineDiffers {
            amount: self.amount_minor != planned.minor,
            currency: !self.currency.eq_ignore_ascii_case(planned.currency.code()),
            destination: self.destination != destination && !bare(&self.destination).eq(bare(destination)),
        }
    }
}

/// A destination without what rails change in it.
fn bare(destination: &str) -> impl Iterator<Item = char> + '_ {
    destination.chars().filter(|letter| *letter != ' ').flat_map(char::to_lowercase)
}

impl Movement {
    /// The word in statements and in the schema.
    pub fn as_str(&self) -> &'static str {
        match self {
            Movement::Paid => "paid",
            Movement::Returned => "returned",
            Movement::Rejected => "rejected",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_differs_in_what_it_says_otherwise() {
        let planned = Money { minor: 500, currency: "EUR".parse().expect("a code of ISO 4217") };
        let line = StatementLine {
            key: String::new(),
            reference: String::new(),
            amount_minor: 500,
            currency: "eur".to_owned(),
            destination: "de00 1234 Añn".to_owned(),
            fee_minor: 0,
            movement: Movement::Paid,
            at: None,
            of: None,
        };
        let differs = |line: &StatementLine| line.differs(planned, "DE001234AÑN");
        assert_eq!(differs(&line), LineDiffers::default());
        assert!(!differs(&line).in_something());
        for (wrong, what) in [
            (
                StatementLine { amount_minor: 501, ..line.clone() },
                LineDiffers { amount: true, ..LineDiffers::default() },
            ),
            (
                StatementLine { currency: "EURO".to_owned(), ..line.clone() },
                LineDiffers { currency: true, ..LineDiffers::default() },
            ),
            (
                StatementLine { destination: "DE001235AÑN".to_owned(), ..line.clone() },
                LineDiffers { destination: true, ..LineDiffers::default() },
            ),
        ] {
            assert_eq!(differs(&wrong), what);
            assert!(differs(&wrong).in_something());
        }
    }
}
