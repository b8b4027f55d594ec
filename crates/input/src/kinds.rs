//! The kinds of files that people hand in, and their columns: so that a file of one kind that is given for another is told by its name.

/// A kind of file.
#[derive(Debug)]
pub struct FileKind {
    /// What such a file is called.
    pub called: &'static str,
    /// All columns, the required ones first.
    pub columns: &'static [&'static str],
    /// How many are required.
    pub required: usize,
    /// Columns that every row must fill, so that a mapping must say where they come from.
    pub keys: &'static [&'static str],
    /// Columns that hold amounts.
    pub amounts: &'static [&'static str],
    /// Columns that hold instants.
    pub instants: &'static [&'static str],
    /// What is done with such a file.
    pub home: &'static str,
}

impl FileKind {
    /// The columns that must be there.
    pub fn required(&self) -> &'static [&'static str] {
        &self.columns[..self.required]
    }
}

/// Affiliates and where they are paid.
pub static AFFILIATES: FileKind = FileKind {
    called: "a file of affiliates",
    columns: &[
        "affiliate_id",
        "name",
        "email",
        "country",
        "currency",
        "method",
        "destination",
        "priority",
        "on_hold",
        "min",
        "max",
    ],
    required: 7,
    keys: &["affiliate_id", "currency"],
    amounts: &["min", "max"],
    instants: &[],
    home: "import it with `payfleet-coordinator import affiliates`",
};

/// Commissions and clawbacks.
pub static COMMISSIONS: FileKind = FileKind {
    called: "a file of commissions",
    columns: &["commission_id", "affiliate_id", "order_ref", "amount", "currency", "earned_at", "kind"],
    required: 7,
    keys: &["commission_id", "affiliate_id", "amount", "currency", "earned_at"],
    amounts: &["amount"],
    instants: &["earned_at"],
    home: "import it with `payfleet-coordinator import commissions`",
};

/// What a rail says that it paid.
pub static STATEMENT: FileKind = FileKind {
    called: "a statement",
    columns: &["key", "reference", "amount_minor", "currency", "destination", "status", "at", "fee_minor", "of"],
    required: 7,
    keys: &[],
    amounts: &[],
    instants: &[],
    home: "hand it in with `payfleet-reconciler run RUN --statement FILE`",
};

pub(crate) static KINDS: [&FileKind; 3] = [&AFFILIATES, &COMMISSIONS, &STATEMENT];

/// No kind has more columns.
pub(crate) const COLUMNS_MAX: usize = 16;
