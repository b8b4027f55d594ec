//! Statement files that people hand in: some part of what the rail's own statement says, whole or cut, once or again,
//! and sometimes with a return that the rail knows nothing of.

use std::collections::BTreeSet;

use payfleet_domain::{Effect, Movement, PayoutId, StatementEnd, StatementLine};
use payfleet_store::ConfirmError;

use crate::EPOCH;
use crate::backend::Handed;
use crate::fleet::RAILS;
use crate::matrix::Fault;
use crate::people::PEOPLE;
use crate::world::World;

/// The one who makes things up. Nobody else says the same.
pub const LIAR: usize = PEOPLE - 1;

/// What was handed in; the harness's own book.
#[derive(Debug, Clone, Default)]
pub struct Files {
    /// Handed in so far.
    pub count: u64,
    /// Payouts of which a file told a return that never was. Nobody can take that back, so their runs stay discrepant.
    pub forged: BTreeSet<PayoutId>,
}

impl World {
    /// Somebody hands in a file, or confirms what one tells. Returns whether there was anything to hand in or to
    /// confirm.
    pub fn file(&self, act: Fault) -> bool {
        if act == Fault::ReturnConfirmed {
            return self.confirm_one();
        }
        let Some(mut file) = self.true_part() else { return false };
        match act {
            Fault::FileHandedIn | Fault::FileAgain => {}
            Fault::FileCut => {
                file.lines.truncate(self.scheduler.below(file.lines.len() as u64 + 1) as usize);
                file.end = None;
            }
            Fault::FileForged => match self.forged(&file) {
                None => return false,
                Some(line) => {
                    file.lines.push(line);
                    file.end = file.end.map(|end| StatementEnd { lines: end.lines + 1, ..end });
                    file.person = file.person.map(|_| LIAR);
                }
            },
            _ => return false,
        }
        let times = if act == Fault::FileAgain { 2 } else { 1 };
        (0..times).map(|_| self.hand_in(act, &file)).fold(false, |any, taken| any | taken)
    }

    /// A part of the true statement of some rail, with all of its lines.
    fn true_part(&self) -> Option<Handed> {
        let scheduler = &self.scheduler;
        let rail = RAILS[scheduler.below(RAILS.len() as u64) as usize];
        let now = EPOCH + scheduler.now();
        let from = match scheduler.chance(500) {
            true => EPOCH - time::Duration::days(2),
            false => now - scheduler.millis(1_000, 60_000),
        };
        let (until, said) = match scheduler.below(4) {
            0 => (now, now),
            // Whoever wrote it says that it reaches farther than anybody can know.
            1 => (now, now + time::Duration::HOUR),
            _ => {
                let until = from.max(now - scheduler.millis(0, 20_000));
                (until, until)
            }
        };
        let lines = self.rails().lines(rail, |at| from <= at && at <= until);
        if lines.is_empty() {
            return None;
        }
        let person = scheduler.chance(700).then(|| scheduler.below(PEOPLE as u64) as usize);
        let end = StatementEnd { from, until: said, now: said, open_from: None, lines: lines.len() as u64 };
        Some(Handed { rail, lines, end: Some(end), person })
    }

    /// A return of a payment on the file, of which the rail knows nothing.
    fn forged(&self, file: &Handed) -> Option<StatementLine> {
        let mistreated = self.rails().mistreated.clone();
        let is_whole = |line: &&StatementLine| {
            let payout = payout_of(line);
            line.movement == Movement::Paid && payout.is_some_and(|payout| !mistreated.contains(&payout))
        };
        let paid: Vec<&StatementLine> = file.lines.iter().filter(is_whole).collect();
        let drawn = self.scheduler.below(paid.len() as u64) as usize;
        let line = paid.get(drawn).copied()?.clone();
        let number = self.files(|files| files.count);
        self.files(|files| files.forged.extend(payout_of(&line)));
        let (of, reference) = (Some(line.reference.clone()), format!("forged-{number}"));
        Some(StatementLine { reference, of, movement: Movement::Returned, ..line })
    }

    fn hand_in(&self, act: Fault, file: &Handed) -> bool {
        self.files(|files| files.count += 1);
        let read = self.backend().file_take(file);
        let (lines, by) = (file.lines.len(), file.person);
        self.scheduler
            .note(|| format!("meanwhile: {act:?}, {} by {by:?}, {lines} lines, {:?}: {read:?}", file.rail, file.end));
        let applied = match read {
            Ok(Some(read)) => read.applied,
            Ok(None) => return false,
            Err(error) => {
                self.broken(format!("a file: {error}"));
                return false;
            }
        };
        self.scheduler.mark(applied.settled * 64 + applied.late * 16 + applied.alarms * 4 + applied.returned);
        if applied.returned > 0 {
            self.broken("a file alone has freed money".to_owned());
        }
        if applied.alarms + applied.late > 0 && !self.rails().has_misbehaved() {
            self.broken("a file contradicts the record".to_owned());
        }
        true
    }

    /// Somebody confirms a return that waits, and has looked at the rail or told it.
    fn confirm_one(&self) -> bool {
        let waiting = match self.backend().returns_waiting() {
            Ok(waiting) => waiting,
            Err(error) => {
                self.broken(format!("returns: {error}"));
                return false;
            }
        };
        self.scheduler.mark(waiting.len() as u64);
        let (first, person) =
            (self.scheduler.below(waiting.len() as u64) as usize, self.scheduler.below(PEOPLE as u64));
        let Some((payout, _)) = waiting.get(first) else { return false };
        // Confirmed is always the first of a payout that waits.
        let Some((_, reference)) = waiting.iter().find(|(other, _)| other == payout) else { return false };
        // Who made it up says so again, and nobody else does.
        let person = if self.rails().has_returned(*payout, reference) { person as usize } else { LIAR };
        let heard = self.backend().return_confirm(*payout, person);
        self.scheduler.note(|| format!("meanwhile: person-{person} confirms {reference} of {payout}: {heard:?}"));
        match heard {
            Ok(heard) => self.scheduler.mark(1 + u64::from(heard.effect == Effect::Agrees)),
            Err(ConfirmError::SamePerson(_)) => self.scheduler.mark(3),
            Err(no) => self.broken(format!("a return: {no}")),
        }
        true
    }
}

fn payout_of(line: &StatementLine) -> Option<PayoutId> {
    line.key.parse::<payfleet_domain::PayoutKey>().ok()?.payout().ok()
}
