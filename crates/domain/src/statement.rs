//! What a rail says that it paid, line by line. A statement is somebody else's word: nothing in a line is trusted to be ours.

use time::OffsetDateTime;

/// What a statement line reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Movement {
    /// Money went out.
    Paid,
    /// Money came back.
    Returned,
}

/// One line of a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatementLine {
    /// The key that the payment was ordered under, as the rail repeats it. Perhaps no key of ours.
    pub key: String,
    /// The rail's name for the payment.
    pub reference: String,
    /// Minor units of the currency that the line names.
    pub amount_minor: i64,
    /// Three letters, as the rail wrote them.
    pub currency: String,
    /// Where the money went.
    pub destination: String,
    /// Out or back.
    pub movement: Movement,
    /// When, by the rail's clock; `None` where the statement does not say.
    pub at: Option<OffsetDateTime>,
}

impl Movement {
    /// The word in statements and in the schema.
    pub fn as_str(&self) -> &'static str {
        match self {
            Movement::Paid => "paid",
            Movement::Returned => "returned",
        }
    }
}
