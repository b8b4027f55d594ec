//! What follows from the journal: which keys are known, which batches exist, what was paid how often.
//!
//! Holds no amount and no destination: those are read from the journal by offset. The same `apply` builds it from a
//! live payment and from a replayed one, so a restart cannot arrive at another state.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::ops::Range;
use std::time::Duration;

use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::movement::{Event, Movement};
use crate::wire::{At, Shape};

/// Lines between two entries of the index.
const INDEX_EVERY: u64 = 1024;

/// Where a movement is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// In the file.
    pub offset: u64,
    /// Its number.
    pub line: u64,
    /// When it happened.
    pub at: At,
}

/// What is known of a payment's key.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// The movement that stands for it: the first payment, or else the refusal; in shape `payout`, what the key
    /// answers.
    pub place: Place,
    /// Payments made for it.
    pub times_paid: u32,
    /// Whether `place` is a refusal.
    pub refused: bool,
    /// Whether it also served as idempotency key.
    own: bool,
}

/// Where the lines of a batch are, and when it was executed.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    /// Its first line.
    pub place: Place,
    /// Where its last line ends.
    pub end: u64,
}

#[derive(Clone, Copy)]
struct Batch {
    first: Span,
    latest: Span,
}

/// What came back of a payment.
#[derive(Clone, Copy, Debug)]
pub struct Back {
    /// How much, fees included.
    pub minor: i64,
    /// The latest return.
    pub place: Place,
}

/// Counts of one shape.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Tally {
    /// Calls received.
    pub requests: u64,
    /// Payments executed.
    pub paid: u64,
    /// Keys paid.
    pub distinct: u64,
    /// Keys paid more than once.
    pub paid_twice: u64,
    /// Refusals.
    pub refused: u64,
    /// Payments of which something came back.
    pub returned: u64,
}

type Map<V> = HashMap<u128, V, BuildHasherDefault<Prehashed>>;

/// See the module.
#[derive(Default)]
pub struct Ledger {
    entries: Map<Entry>,
    /// Idempotency keys that are not the key of the payment they came with.
    aliases: Map<Place>,
    batches: Map<Batch>,
    accounts: Vec<Box<str>>,
    returned: HashMap<u64, Back>,
    /// By shape.
    pub tallies: [Tally; Shape::COUNT],
    last_at: [At; Shape::COUNT],
    /// How far statements said to reach, by shape.
    told: [At; Shape::COUNT],
    last_line: u64,
    forgotten_before: u64,
    /// The batch or file of which lines are still to come.
    open: Option<Open>,
    index: Vec<Mark>,
    applied: u64,
}

/// An entry of the index: what lies before this offset.
#[derive(Clone, Copy)]
struct Mark {
    offset: u64,
    /// The number of the line that is there.
    line: u64,
    /// The last instant before it, by shape.
    last_at: [At; Shape::COUNT],
}

struct Open {
    start: u64,
    left: u32,
    batch: Option<u128>,
}

impl Ledger {
    /// Takes in a movement that is written at `span`. The error says how it contradicts those before it.
    pub fn apply(&mut self, movement: &Movement<'_>, span: Range<u64>) -> Result<(), String> {
        if movement.line <= self.last_line {
            return Err(format!("number {} does not follow {}", movement.line, self.last_line));
        }
        self.last_line = movement.line;
        if self.applied.is_multiple_of(INDEX_EVERY) {
            self.index.push(Mark { offset: span.start, line: movement.line, last_at: self.last_at });
        }
        let shape = movement.shape as usize;
        // A refusal is on no statement but a bank's, and may be dated to when it will be told.
        if movement.event != Event::Refused || movement.is_denial() {
            self.last_at[shape] = self.last_at[shape].max(movement.at);
        }
        self.applied += 1;
        self.apply_group(movement, &span)?;
        match movement.event {
            Event::Paid | Event::Refused => {
                self.apply_payment(movement, span.start);
                Ok(())
            }
            Event::Returned => self.apply_return(movement, span.start),
        }
    }

    fn apply_group(&mut self, movement: &Movement<'_>, span: &Range<u64>) -> Result<(), String> {
        if let Some(group) = &movement.group {
            if self.open.is_some() {
                return Err("begins a group inside another".to_owned());
            }
            let name = movement.batch.as_deref().unwrap_or_default();
            let batch = (movement.shape == Shape::Batch).then(|| {
                let batch = digest(Shape::Batch, &movement.account, name);
                let at = group.settles.unwrap_or(movement.at);
                let latest = Span { place: Place { at, ..place(movement, span.start) }, end: span.end };
                let known = self.batches.entry(batch);
                known.and_modify(|known| known.latest = latest).or_insert(Batch { first: latest, latest });
                batch
            });
            self.open = Some(Open { start: span.start, left: group.lines, batch });
        }
        let Some(open) = &mut self.open else {
            return Ok(());
        };
        if let Some(batch) = open.batch.and_then(|batch| self.batches.get_mut(&batch)) {
            batch.latest.end = span.end;
            if batch.first.place == batch.latest.place {
                batch.first.end = span.end;
            }
        }
        open.left = open.left.saturating_sub(1);
        if open.left == 0 {
            self.open = None;
        }
        Ok(())
    }

    fn apply_payment(&mut self, movement: &Movement<'_>, offset: u64) {
        let paid = movement.event == Event::Paid;
        let place = place(movement, offset);
        let own = movement.shape == Shape::Payout && movement.idempotency_key.is_none() && !movement.extra;
        if let Some(alias) = &movement.idempotency_key {
            self.aliases.insert(digest(movement.shape, &movement.account, alias), place);
        }
        if !self.accounts.iter().any(|known| **known == *movement.account) {
            self.accounts.push(movement.account.as_ref().into());
        }
        let key = digest(movement.shape, &movement.account, &movement.key);
        let tally = &mut self.tallies[movement.shape as usize];
        let entry = self.entries.entry(key).or_insert(Entry { place, times_paid: 0, refused: !paid, own });
        // A payment outweighs a refusal, and the first payment later ones; but what an idempotency key answers is its
        // own latest execution, and nothing else.
        if own || (entry.refused && !entry.own) {
            entry.place = place;
            entry.refused = !paid;
            entry.own |= own;
        }
        if paid {
            entry.times_paid += 1;
            tally.paid += 1;
            tally.distinct += u64::from(entry.times_paid == 1);
            tally.paid_twice += u64::from(entry.times_paid == 2);
        } else {
            tally.refused += 1;
        }
    }

    fn apply_return(&mut self, movement: &Movement<'_>, offset: u64) -> Result<(), String> {
        let of = movement.of.ok_or("a return that does not say of what")?;
        let place = place(movement, offset);
        let back = self.returned.entry(of).or_insert_with(|| {
            self.tallies[movement.shape as usize].returned += 1;
            Back { minor: 0, place }
        });
        back.minor = back.minor.saturating_add(movement.amount_minor).saturating_add(movement.fee_minor);
        back.place = place;
        Ok(())
    }

    /// The answer that this idempotency key has, unless it has been forgotten.
    pub fn answered(&self, account: &str, key: &str, not_before: At) -> Option<Place> {
        let digest = digest(Shape::Payout, account, key);
        let own = || self.entries.get(&digest).filter(|entry| entry.own);
        let place = match self.aliases.get(&digest) {
            Some(alias) => match own() {
                Some(own) if own.place.line > alias.line => own.place,
                _ => *alias,
            },
            None => own()?.place,
        };
        self.is_remembered(place, not_before).then_some(place)
    }

    /// The batch that this id answers with, unless the id has been forgotten.
    pub fn answered_batch(&self, account: &str, id: &str, not_before: At) -> Option<Span> {
        let span = self.batches.get(&digest(Shape::Batch, account, id))?.latest;
        self.is_remembered(span.place, not_before).then_some(span)
    }

    /// The first batch of this id; a lookup forgets nothing.
    pub fn batch(&self, account: &str, id: &str) -> Option<Span> {
        let batch = self.batches.get(&digest(Shape::Batch, account, id))?;
        Some(batch.first)
    }

    /// What is known of a payment's key.
    pub fn entry(&self, shape: Shape, account: &str, key: &str) -> Option<Entry> {
        self.entries.get(&digest(shape, account, key)).copied()
    }

    /// All accounts that ever had a movement.
    pub fn accounts(&self) -> &[Box<str>] {
        &self.accounts
    }

    /// What came back of the payment of this line.
    pub fn back(&self, line: u64) -> Option<Back> {
        self.returned.get(&line).copied()
    }

    /// A number for what is not a movement.
    pub fn take_line(&mut self) -> u64 {
        let line = self.next_line();
        self.skip_line(line);
        line
    }

    /// Forgets the idempotency keys of everything before this line.
    pub fn forget_keys_before(&mut self, line: u64) {
        self.forgotten_before = self.forgotten_before.max(line);
    }

    /// The number that follows all others.
    pub fn next_line(&self) -> u64 {
        (self.last_line + 1).max(self.forgotten_before)
    }

    /// Skips numbers that something else uses.
    pub fn skip_line(&mut self, line: u64) {
        self.last_line = self.last_line.max(line);
    }

    /// Not before anything else of that shape, and not before what a statement said to reach: a clock that is set back
    /// must neither reorder a statement nor add to one.
    pub fn at(&self, shape: Shape, wanted: At) -> At {
        wanted.max(self.last_at[shape as usize]).max(self.told[shape as usize])
    }

    /// The instant before which a statement of this shape has everything that is older than `lag`; from now on nothing
    /// happens before it.
    pub fn reach(&mut self, shape: Shape, now: At, lag: Duration) -> At {
        let told = &mut self.told[shape as usize];
        // Instants are whole milliseconds: what comes in the same one, after a statement, must not lie behind its end.
        let reach = if lag.is_zero() { now.max(*told) } else { now.before(lag) };
        let reach = reach.after(Duration::from_millis(1));
        *told = reach.max(*told);
        reach
    }

    /// An offset from which every line with this number or a higher one is found.
    pub fn offset_before(&self, line: u64) -> u64 {
        let after = self.index.partition_point(|mark| mark.line <= line);
        after.checked_sub(1).map_or(0, |at| self.index[at].offset)
    }

    /// An offset from which everything of this shape is found that happened at this instant or later.
    pub fn offset_since(&self, shape: Shape, at: At) -> u64 {
        let after = self.index.partition_point(|mark| mark.last_at[shape as usize] < at);
        after.checked_sub(1).map_or(0, |at| self.index[at].offset)
    }

    /// Where a group begins of which lines are missing.
    pub fn incomplete_from(&self) -> Option<u64> {
        self.open.as_ref().map(|open| open.start)
    }

    fn is_remembered(&self, place: Place, not_before: At) -> bool {
        place.line >= self.forgotten_before && place.at >= not_before
    }
}

fn place(movement: &Movement<'_>, offset: u64) -> Place {
    Place { offset, line: movement.line, at: movement.at }
}

/// A name as 128 bits: short, and no two names share one.
fn digest(shape: Shape, account: &str, key: &str) -> u128 {
    let mut hash = Sha256::new();
    hash.update([shape as u8]);
    hash.update(account);
    // No UTF-8 text contains this byte, so account and key cannot run into each other.
    hash.update([0xff]);
    hash.update(key);
    let digest: [u8; 32] = hash.finalize().into();
    let mut half = [0; 16];
    half.copy_from_slice(&digest[..16]);
    u128::from_le_bytes(half)
}

/// The keys are digests already; hashing them again would gain nothing.
#[derive(Default)]
struct Prehashed(u64);

impl Hasher for Prehashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for (at, byte) in bytes.iter().take(8).enumerate() {
            self.0 ^= u64::from(*byte) << (8 * at);
        }
    }

    fn write_u128(&mut self, digest: u128) {
        self.0 = digest as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_set_back_adds_nothing_before_the_end_of_a_statement() {
        let mut ledger = Ledger::default();
        let reach = ledger.reach(Shape::Payout, At(1000), Duration::ZERO);
        assert!(reach > At(1000), "what happened in this millisecond is on it");
        assert_eq!(ledger.at(Shape::Payout, At(1000)), reach);
        assert_eq!(ledger.at(Shape::Payout, At(500)), reach);
        assert_eq!(ledger.at(Shape::Batch, At(500)), At(500), "of another shape nothing was said");
        assert!(ledger.reach(Shape::Payout, At(500), Duration::ZERO) > reach, "and what came then is on the next");
        let lagging = ledger.reach(Shape::Payout, At(2000), Duration::from_millis(600));
        assert_eq!(lagging, At(1401));
    }
}
