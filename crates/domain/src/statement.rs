//! What a rail says that it paid, line by line. A statement is somebody else's word: nothing in a line is trusted to be
//! ours.

use time::OffsetDateTime;
use uuid::Uuid;

use crate::{DestinationKind, Money};

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
    /// Where the money went; empty where the rail's statement does not say (`Rail::statement_names_payee`).
    pub destination: String,
    /// Out, back, or neither.
    pub movement: Movement,
    /// When, by the rail's clock; `None` where the statement does not say.
    pub at: Option<OffsetDateTime>,
    /// Of a return: the reference of the payment that it gives back, where the rail says it. Banks say no more than the
    /// key.
    pub of: Option<String>,
}

/// The longest name of a movement, in bytes. Real ones have some dozen; longer ones do not fit into an index.
const REFERENCE_BYTES_MAX: usize = 255;

impl StatementLine {
    /// The same line with a name that the books can keep. One whose name cannot be written down is called by a hash of
    /// it; one that has none, by what it says, so that it is in the books like any other, and is the same line when it
    /// is read again.
    #[must_use]
    pub fn named(mut self) -> StatementLine {
        if self.is_nameless() {
            self.reference = format!("nameless-{}", self.hash());
        } else if !is_reference(&self.reference) {
            self.reference = format!("name-{}", Uuid::new_v5(&Uuid::NAMESPACE_OID, self.reference.as_bytes()));
        }
        if self.of.as_deref().is_some_and(|of| !is_reference(of)) {
            self.of = None;
        }
        self
    }

    /// It has no name, so the same movement told at another time may be taken for another one. For a payment that is
    /// the safe way: more counts as out. A return that is nameless must prove nothing, or it would free money twice.
    pub fn is_nameless(&self) -> bool {
        self.reference.trim().is_empty()
    }

    fn hash(&self) -> Uuid {
        let at = self.at.map_or(0, OffsetDateTime::unix_timestamp_nanos).to_string();
        let (amount, fee) = (self.amount_minor.to_string(), self.fee_minor.to_string());
        let movement = self.movement.as_str().to_owned();
        let says = [&movement, &self.key, &amount, &fee, &self.currency, &self.destination, &at];
        Uuid::new_v5(&Uuid::NAMESPACE_OID, says.map(String::as_str).join("\u{1f}").as_bytes())
    }
}

/// Whether the books can keep this as the name of a movement.
fn is_reference(name: &str) -> bool {
    !name.trim().is_empty() && name.len() <= REFERENCE_BYTES_MAX && !name.contains(char::is_control)
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
    /// The instant of the first payment on it that is not final: what becomes of it is told by the same line, so the
    /// next part is asked for from there. `None` if all of it is final.
    pub open_from: Option<OffsetDateTime>,
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
    /// Whether the line differs from what was ordered at all.
    pub fn in_something(&self) -> bool {
        self.amount || self.currency || self.destination
    }
}

impl StatementLine {
    /// Holds the line against the plan. Rails write codes of currencies in small letters too, and destinations as their
    /// kind allows it.
    pub fn differs(&self, planned: Money, destination: &str, kind: DestinationKind) -> LineDiffers {
        LineDiffers {
            amount: self.amount_minor != planned.minor,
            currency: !self.currency.eq_ignore_ascii_case(planned.currency.code()),
            destination: !kind.is_same(&self.destination, destination),
        }
    }
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

    fn line(reference: &str, amount_minor: i64) -> StatementLine {
        StatementLine {
            key: "k".to_owned(),
            reference: reference.to_owned(),
            amount_minor,
            currency: "EUR".to_owned(),
            destination: "d".to_owned(),
            fee_minor: 0,
            movement: Movement::Paid,
            at: None,
            of: None,
        }
    }

    #[test]
    fn a_line_without_a_name_that_can_be_kept_is_called_by_what_it_says() {
        for good in ["po_1", "Überweisung 7/2026 Nr. 4", &"x".repeat(255)] {
            assert_eq!(line(good, 500).named(), line(good, 500));
        }
        for bad in ["po\0", "po\n1", &"x".repeat(256)] {
            let named = line(bad, 500).named();
            assert!(named.reference.starts_with("name-") && named.reference.len() < 64, "{named:?}");
            assert_eq!(named.reference, line(bad, 501).named().reference, "whatever else it says");
            assert_eq!(named.clone().named(), named, "once is enough");
        }
        for none in ["", " "] {
            let named = line(none, 500).named();
            assert!(line(none, 500).is_nameless() && named.reference.starts_with("nameless-"), "{named:?}");
            assert_eq!(named, line(none, 500).named(), "the same when it is read again");
            assert_ne!(named.reference, line(none, 501).named().reference);
        }
        let of = |of: &str| StatementLine { of: Some(of.to_owned()), ..line("r", 500) }.named().of;
        assert_eq!((of("po_1"), of("")), (Some("po_1".to_owned()), None));
    }

    #[test]
    fn a_line_differs_in_what_it_says_otherwise() {
        let planned = Money { minor: 500, currency: "EUR".parse().expect("a code of ISO 4217") };
        let line = StatementLine {
            key: String::new(),
            reference: String::new(),
            amount_minor: 500,
            currency: "eur".to_owned(),
            destination: "de00 1234 5abc".to_owned(),
            fee_minor: 0,
            movement: Movement::Paid,
            at: None,
            of: None,
        };
        let differs = |line: &StatementLine| line.differs(planned, "DE0012345ABC", DestinationKind::Iban);
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
                StatementLine { destination: "DE0012346ABC".to_owned(), ..line.clone() },
                LineDiffers { destination: true, ..LineDiffers::default() },
            ),
        ] {
            assert_eq!(differs(&wrong), what);
            assert!(differs(&wrong).in_something());
        }
        assert!(differs(&StatementLine { destination: String::new(), ..line.clone() }).destination);
        // Another kind counts the same letters otherwise.
        assert!(line.differs(planned, "DE0012345ABC", DestinationKind::Opaque).destination);
    }
}
