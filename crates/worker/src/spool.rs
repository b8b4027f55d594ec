//! Answers of rails that are not recorded yet, and the file in which they are kept if the worker must end before they
//! are.
//!
//! An answer is evidence. While the worker lives it tries again and again to record it; when it has to end and Postgres
//! is away, the answers are written to a file in the folder for what must outlive a program, and the next worker that
//! is given that folder records them. Recording is idempotent, and of an answer that is missed the worst is that the
//! rail is asked again. The file has no amount and no destination.

mod file;
mod take_over;

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use payfleet_domain::{AttemptNo, BatchId, Epoch, Outcome, PayoutId};
use payfleet_store::Report;
use uuid::Uuid;

use file::Kept;
pub(crate) use file::Spool;
pub(crate) use take_over::take_over;

/// The answers that this process has, and has not recorded.
#[derive(Debug, Default)]
pub(crate) struct InHand {
    pages: Mutex<Pages>,
}

#[derive(Debug, Default)]
struct Pages {
    next: u64,
    pages: BTreeMap<u64, Page>,
}

/// What is known of one batch.
#[derive(Debug, Clone)]
struct Page {
    run_key: Uuid,
    batch: BatchId,
    epoch: Epoch,
    attempt: Option<AttemptNo>,
    refused_whole: bool,
    /// Also of payouts without an answer: they are unknown, whatever becomes of their calls.
    outcomes: BTreeMap<PayoutId, Outcome>,
    /// How often it was written into, and how often it had been when it was last kept on disk.
    changes: u64,
    kept: u64,
}

/// Names a page.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PageNo(u64);

impl InHand {
    /// Opens a page for an attempt before its first call.
    pub(crate) fn open(
        &self,
        run_key: Uuid,
        batch: BatchId,
        epoch: Epoch,
        attempt: Option<AttemptNo>,
        payouts: impl IntoIterator<Item = PayoutId>,
    ) -> PageNo {
        let outcomes = payouts.into_iter().map(|payout| (payout, Outcome::Unknown)).collect();
        let page = Page { run_key, batch, epoch, attempt, refused_whole: false, outcomes, changes: 0, kept: 0 };
        let mut pages = self.lock();
        pages.next += 1;
        let no = pages.next;
        pages.pages.insert(no, page);
        PageNo(no)
    }

    /// Takes down an answer as it comes.
    pub(crate) fn answered(&self, no: PageNo, payout: PayoutId, outcome: Outcome) {
        if let Some(page) = self.lock().pages.get_mut(&no.0) {
            page.outcomes.insert(payout, outcome);
            page.changes += 1;
        }
    }

    /// Takes down what will be recorded.
    pub(crate) fn complete(&self, no: PageNo, report: &Report) {
        if let Some(page) = self.lock().pages.get_mut(&no.0) {
            page.outcomes = report.outcomes.iter().cloned().collect();
            page.refused_whole = report.refused_whole;
            page.changes += 1;
        }
    }

    /// It is recorded.
    pub(crate) fn recorded(&self, no: PageNo) {
        self.lock().pages.remove(&no.0);
    }

    /// Keeps on disk what would be lost if the process ended now: of all pages, or of this one. Only what is there when
    /// this returns counts as kept. Returns of how many batches, and where.
    pub(crate) fn keep(&self, only: Option<PageNo>, spool: &Spool) -> io::Result<Option<(usize, PathBuf)>> {
        let is_lost = |(no, page): &(&u64, &Page)| page.kept < page.changes && only.is_none_or(|only| only.0 == **no);
        let lost: Vec<(u64, u64, Kept)> = {
            let pages = self.lock();
            pages.pages.iter().filter(is_lost).map(|(no, page)| (*no, page.changes, Kept::of(page))).collect()
        };
        if lost.is_empty() {
            return Ok(None);
        }
        let mut seen = Vec::with_capacity(lost.len());
        let answers = lost.into_iter().map(|(no, changes, kept)| {
            seen.push((no, changes));
            kept
        });
        let path = spool.keep(answers.collect())?;
        let mut pages = self.lock();
        for (no, changes) in &seen {
            if let Some(page) = pages.pages.get_mut(no) {
                page.kept = *changes;
            }
        }
        Ok(Some((seen.len(), path)))
    }

    fn lock(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner) // each change is one operation
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::time::Duration;

    use payfleet_domain::{Money, Reference, RefusalCode};

    use super::file::Content;
    use super::*;

    #[test]
    fn what_is_kept_is_what_was_answered_and_the_rest_of_its_attempt_is_unknown() {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::open(folder.path().join("a/b"), "host/1").unwrap();
        let in_hand = InHand::default();
        let all = [PayoutId(1), PayoutId(2), PayoutId(3)];
        in_hand.open(Uuid::nil(), BatchId(6), Epoch(1), Some(AttemptNo(1)), all);
        assert!(
            in_hand.keep(None, &spool).unwrap().is_none() && spool.files().unwrap().is_empty(),
            "nothing was answered"
        );
        let open = in_hand.open(Uuid::nil(), BatchId(7), Epoch(2), Some(AttemptNo(3)), all);
        in_hand.answered(open, PayoutId(2), Outcome::Paid(Reference("po_1".to_owned())));
        let (batches, file) = in_hand.keep(None, &spool).unwrap().unwrap();
        assert_eq!((batches, spool.files().unwrap()), (1, vec![file.clone()]));
        let content: Content = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
        let report = content.answers[0].report();
        let paid = Outcome::Paid(Reference("po_1".to_owned()));
        assert_eq!((report.batch, report.epoch, report.attempt), (BatchId(7), Epoch(2), Some(AttemptNo(3))));
        let outcomes = [(PayoutId(1), Outcome::Unknown), (PayoutId(2), paid), (PayoutId(3), Outcome::Unknown)];
        assert_eq!(report.outcomes, outcomes);
        assert!(in_hand.keep(None, &spool).unwrap().is_none(), "it is kept once");
        in_hand.answered(open, PayoutId(3), Outcome::NotExecuted);
        let (_, next) = in_hand.keep(Some(open), &spool).unwrap().unwrap();
        assert_ne!(next, file, "nothing is written over");
        // What cannot be written is not lost by the try.
        in_hand.answered(open, PayoutId(1), Outcome::NotExecuted);
        std::fs::remove_dir_all(folder.path()).unwrap();
        assert!(in_hand.keep(None, &spool).is_err());
        std::fs::create_dir_all(folder.path().join("a/b")).unwrap();
        assert!(in_hand.keep(None, &spool).unwrap().is_some(), "it is still in hand");
        in_hand.recorded(open);
        assert!(in_hand.lock().pages.len() == 1, "the page that nobody answered");
    }

    #[test]
    fn every_outcome_is_kept_as_it_is() {
        let reference = || Reference("r".to_owned());
        let outcomes = [
            Outcome::Paid(reference()),
            Outcome::Accepted(reference()),
            Outcome::Returned(reference()),
            Outcome::ReturnedPart(reference(), Money { minor: 7, currency: "EUR".parse().unwrap() }),
            Outcome::Refused(RefusalCode::new("account_closed")),
            Outcome::Unknown,
            Outcome::NotExecuted,
        ];
        let outcomes: Vec<_> = (1..).map(PayoutId).zip(outcomes).collect();
        let report = Report {
            batch: BatchId(1),
            epoch: Epoch(1),
            attempt: None,
            outcomes,
            refused_whole: true,
            unanswered: false,
            available_in: Duration::ZERO,
            release: true,
        };
        let in_hand = InHand::default();
        let no = in_hand.open(Uuid::nil(), report.batch, report.epoch, None, []);
        in_hand.complete(no, &report);
        let folder = tempfile::tempdir().unwrap();
        let (_, file) = in_hand.keep(None, &Spool::open(folder.path().to_owned(), "w").unwrap()).unwrap().unwrap();
        let content: Content = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
        let read = &content.answers[0];
        assert_eq!((read.report().outcomes, read.report().refused_whole), (report.outcomes, true));
    }
}
