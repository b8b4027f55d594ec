//! What can be wrong with the rows of an import.

use sqlx::Row;
use sqlx::postgres::PgRow;

use super::suspicion::Suspicions;
use crate::connect::{Step, StoreError};

/// What is wrong with one row, and where. The way out is part of the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowProblem {
    /// The line of the file.
    pub line: u64,
    /// The column.
    pub field: &'static str,
    /// What is wrong.
    pub fault: Fault,
}

/// What is wrong with a row that would be right if it were alone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The tenant has no such affiliate.
    #[error("there is no affiliate `{id}`{}; import it first, or correct the id", perhaps(alike.as_deref()))]
    UnknownAffiliate {
        /// Who.
        id: String,
        /// One whose id looks like it, as when a spreadsheet has taken the zeros off.
        alike: Option<String>,
    },
    /// The same id was said before in this file, with another value of the field.
    #[error("`{id}` is on line {line} too, with {other} there and {given} here; keep the line that is right")]
    DiffersFromLine {
        /// The id that is there twice.
        id: String,
        /// The earlier line.
        line: u64,
        /// Its value.
        other: String,
        /// The value of this line.
        given: String,
    },
    /// The same id was imported before, with another value of the field.
    #[error(
        "`{id}` was imported before with {stored}, and is {given} here; a commission never changes: \
         correct it by one with an id of its own"
    )]
    DiffersFromStored {
        /// The id.
        id: String,
        /// What is stored.
        stored: String,
        /// The value of this line.
        given: String,
    },
    /// One affiliate, one destination, two priorities.
    #[error(
        "`{id}` has this destination already, with priority {stored}; give each destination of an affiliate one \
         priority, and name both in the file to swap them"
    )]
    DestinationTwice {
        /// The affiliate.
        id: String,
        /// The other priority.
        stored: i16,
    },
    /// Everything that an account was ever credited or debited would be more than a balance can be.
    #[error(
        "with this row, sales and clawbacks of `{id}` are more than {most} in all, and no balance can be larger; \
         correct the amount, or give what is beyond it to another affiliate"
    )]
    BalanceOutOfRange {
        /// The affiliate.
        id: String,
        /// The largest balance.
        most: String,
    },
    /// Nobody has earned that yet.
    #[error(
        "`{id}` is earned at {at}, which is more than a day from now; correct the date, or say --allow-dates if it is \
         meant"
    )]
    EarnedAhead {
        /// The commission.
        id: String,
        /// When.
        at: String,
    },
    /// Long ago, or long before the rest of the file.
    #[error(
        "`{id}` is earned at {at}, which is 20 years ago, or 3 years before the last of this file; \
         correct the date, or say --allow-dates if it is meant"
    )]
    EarnedLongAgo {
        /// The commission.
        id: String,
        /// When.
        at: String,
    },
    /// A limit without a method that it could belong to.
    #[error("`{id}` has no method of this priority that a limit could belong to; name its method and destination")]
    LimitOfNothing {
        /// The affiliate.
        id: String,
    },
    /// One limit was given, and the other one was set before and stays.
    #[error(
        "`{id}` would have a `min` of {min} above its `max` of {max}, of which one was set before; give both, or `none`"
    )]
    LimitsCross {
        /// The affiliate.
        id: String,
        /// The least.
        min: String,
        /// The most.
        max: String,
    },
}

fn perhaps(alike: Option<&str>) -> String {
    alike.map(|alike| format!(", perhaps `{alike}`")).unwrap_or_default()
}

/// Why nothing was imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// Rows contradict each other, or what is known.
    #[error("{total} rows contradict what is known")]
    Problems {
        /// The first of them, by line.
        first: Vec<RowProblem>,
        /// How many there are.
        total: u64,
    },
    /// The rows may be the same sale, or the same payee, twice; and such rows are not wanted.
    #[error("rows are suspicious")]
    Suspicious(Suspicions),
    /// There is no tenant of this name.
    #[error("there is no tenant `{0}`; importing its affiliates makes it")]
    UnknownTenant(String),
    /// What the destinations of a method are was said otherwise while the file was read.
    #[error("the kind of a method was changed while the file was read; nothing was imported: import it again")]
    KindsChanged,
    /// The reader gave up.
    #[error("the rows ended before their end was told; nothing was imported")]
    Aborted,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Puts together what several checks found.
#[derive(Debug, Default)]
pub(super) struct Problems {
    first: Vec<RowProblem>,
    total: u64,
}

impl Problems {
    /// Of one check: its first rows, each with its `line` and what is wrong in which field; and how many there are, as
    /// `total` in each of them.
    pub(super) fn add(
        &mut self,
        rows: &[PgRow],
        problem: impl Fn(&PgRow) -> Result<(&'static str, Fault), StoreError>,
    ) -> Result<(), StoreError> {
        for row in rows {
            let line = row.try_get::<i64, _>("line").step("import_problems")?.unsigned_abs();
            let (field, fault) = problem(row)?;
            self.first.push(RowProblem { line, field, fault });
        }
        if let Some(row) = rows.first() {
            self.total += row.try_get::<i64, _>("total").step("import_problems")?.unsigned_abs();
        }
        Ok(())
    }

    /// An error if there are any.
    pub(super) fn check(mut self) -> Result<(), ImportError> {
        if self.total == 0 {
            return Ok(());
        }
        self.first.sort_by_key(|problem| problem.line);
        self.first.truncate(super::PROBLEMS_SHOWN);
        Err(ImportError::Problems { first: self.first, total: self.total })
    }
}
