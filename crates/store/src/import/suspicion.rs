//! What is right by itself and should be looked at all the same: the same sale twice under two ids, the same payee
//! twice. It is said by name, and refused only if the caller wants so.

use std::hash::{DefaultHasher, Hash, Hasher};

use fastbloom::BloomFilter;
use sqlx::Row;
use sqlx::postgres::PgRow;

use crate::connect::{Step, StoreError};

/// What is suspicious about a row that is new.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SuspicionKind {
    /// A commission that the file has before, in all and the id: it counts once. Sales whose ids a spreadsheet made
    /// one are lost so.
    SaidAgain,
    /// A commission that was taken back, and is not reversed any more: it does not count again.
    Reversed,
    /// A commission that is another one in all but the id.
    SameSale,
    /// A commission whose id looks like that of another one.
    CommissionIdAlike,
    /// An affiliate whose id looks like that of another one.
    AffiliateIdAlike,
    /// A destination that another affiliate has.
    DestinationShared,
    /// A destination that another affiliate had before.
    DestinationWasAnothers,
}

/// One such row.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Suspicion {
    /// The row.
    pub line: u64,
    /// What is suspicious about it.
    pub kind: SuspicionKind,
    /// The id of the commission or affiliate.
    pub id: String,
    /// The id of the other one.
    pub other: String,
    /// Where the other one is in the same file; absent, if it was known before.
    pub other_line: Option<u64>,
}

/// What is suspicious in a file.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Suspicions {
    /// How many rows, by kind.
    pub counts: Vec<(SuspicionKind, u64)>,
    /// The first of each kind.
    pub first: Vec<Suspicion>,
}

impl Suspicions {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    /// Those of one kind: each row of the answer has how many there are.
    pub(super) fn add(&mut self, kind: SuspicionKind, rows: &[PgRow]) -> Result<(), StoreError> {
        let step = "suspicions_read";
        let Some(first) = rows.first() else { return Ok(()) };
        let total = first.try_get::<i64, _>("total").step(step)?.unsigned_abs();
        match self.counts.iter_mut().find(|(of, _)| *of == kind) {
            Some((_, count)) => *count += total,
            None => self.counts.push((kind, total)),
        }
        for row in rows {
            self.first.push(Suspicion {
                line: row.try_get::<i64, _>("line").step(step)?.unsigned_abs(),
                kind,
                id: row.try_get("id").step(step)?,
                other: row.try_get("other").step(step)?,
                other_line: row.try_get::<Option<i64>, _>("other_line").step(step)?.map(i64::unsigned_abs),
            });
        }
        Ok(())
    }
}

/// So many bits are set aside for all that was seen (8 MiB), and so many of them set for each. Of a million rows none
/// seems to repeat another one that does not, as a rule; of ten million one in five hundred.
const SEEN_BITS: usize = 1 << 26;
const SEEN_HASHES: u32 = 6;
/// So many are remembered one by one; if there are more, all are looked at.
const AGAIN_MAX: usize = 100_000;

/// Finds which of the things that pass by may have passed before, in memory that does not grow with them: all that
/// have, and a few that have not.
pub(super) struct Repeats {
    seen: BloomFilter,
    again: Vec<i64>,
    too_many: bool,
}

impl Repeats {
    pub(super) fn new() -> Repeats {
        Repeats { seen: BloomFilter::with_num_bits(SEEN_BITS).hashes(SEEN_HASHES), again: Vec::new(), too_many: false }
    }

    /// One passes; `remembered` is what to look for if it has passed before.
    pub(super) fn pass(&mut self, key: i64, remembered: i64) {
        if self.seen.insert(&key) {
            self.too_many |= self.again.len() >= AGAIN_MAX;
            if !self.too_many {
                self.again.push(remembered);
            }
        }
    }

    /// Whether any may have.
    pub(super) fn is_any(&self) -> bool {
        !self.again.is_empty()
    }

    /// Whether all must be looked at; else, which.
    pub(super) fn again(self) -> (bool, Vec<i64>) {
        if self.too_many { (true, Vec::new()) } else { (false, self.again) }
    }
}

/// A number for these values, the same for the same within one import.
pub(super) fn number_of(values: impl Hash) -> i64 {
    let mut hasher = DefaultHasher::new();
    values.hash(&mut hasher);
    hasher.finish().cast_signed()
}
