//! Answers of rails that are not recorded yet, and the file in which they are kept if the worker must end before they
//! are.
//!
//! An answer is evidence. While the worker lives it tries again and again to record it; when it has to end and Postgres
//! is away, the answers are written to a file in the folder for what must outlive a program, and the next worker that
//! is given that folder records them. Recording is idempotent, and of an answer that is missed the worst is that the
//! rail is asked again. The file has no amount and no destination.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use payfleet_domain::{AttemptNo, BatchId, Currency, Epoch, Money, Outcome, PayoutId, Reference, RefusalCode};
use payfleet_store::{Report, chain};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::Process;

/// What files of answers are called.
const PREFIX: &str = "answers-";
const SUFFIX: &str = ".json";
/// The version of the file that is written, and read.
const VERSION: u32 = 1;

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

/// The folder, and what files of this process in it are called.
#[derive(Debug)]
pub(crate) struct Spool {
    dir: PathBuf,
    worker: String,
    /// The number of the next file: none is ever written over, since somebody may be reading it.
    next: AtomicU64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Content {
    version: u32,
    answers: Vec<Kept>,
}

/// The answers about one batch, as they are kept.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    /// The key of the batch's run: another database may have a batch of the same number.
    run_key: Uuid,
    batch: i64,
    epoch: i32,
    attempt: Option<i32>,
    refused_whole: bool,
    outcomes: Vec<(i64, Said)>,
}

/// What a rail said of one payout.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Said {
    Paid(String),
    Accepted(String),
    Returned(String),
    /// So many minor units of this currency came back, and not all.
    ReturnedPart(String, i64, Currency),
    Refused(String),
    Unknown,
    NotExecuted,
}

impl Kept {
    fn of(page: &Page) -> Kept {
        let said = |outcome: &Outcome| match outcome {
            Outcome::Paid(reference) => Said::Paid(reference.0.clone()),
            Outcome::Accepted(reference) => Said::Accepted(reference.0.clone()),
            Outcome::Returned(reference) => Said::Returned(reference.0.clone()),
            Outcome::ReturnedPart(reference, back) => {
                Said::ReturnedPart(reference.0.clone(), back.minor, back.currency)
            }
            Outcome::Refused(code) => Said::Refused(code.as_str().to_owned()),
            Outcome::Unknown => Said::Unknown,
            Outcome::NotExecuted => Said::NotExecuted,
        };
        Kept {
            run_key: page.run_key,
            batch: page.batch.0,
            epoch: page.epoch.0,
            attempt: page.attempt.map(|attempt| attempt.0),
            refused_whole: page.refused_whole,
            outcomes: page.outcomes.iter().map(|(payout, outcome)| (payout.0, said(outcome))).collect(),
        }
    }

    fn report(&self) -> Report {
        let outcome = |said: &Said| match said {
            Said::Paid(reference) => Outcome::Paid(Reference(reference.clone())),
            Said::Accepted(reference) => Outcome::Accepted(Reference(reference.clone())),
            Said::Returned(reference) => Outcome::Returned(Reference(reference.clone())),
            Said::ReturnedPart(reference, minor, currency) => {
                Outcome::ReturnedPart(Reference(reference.clone()), Money { minor: *minor, currency: *currency })
            }
            Said::Refused(code) => Outcome::Refused(RefusalCode::new(code)),
            Said::Unknown => Outcome::Unknown,
            Said::NotExecuted => Outcome::NotExecuted,
        };
        Report {
            batch: BatchId(self.batch),
            epoch: Epoch(self.epoch),
            // Of an attempt without outcomes it would be said that nothing was sent: no file of ours says that.
            attempt: self.attempt.filter(|_| !self.outcomes.is_empty()).map(AttemptNo),
            outcomes: self.outcomes.iter().map(|(payout, said)| (PayoutId(*payout), outcome(said))).collect(),
            refused_whole: self.refused_whole,
            // That a lookup was not answered counts where it was asked.
            unanswered: false,
            available_in: Duration::ZERO,
            release: true,
        }
    }
}

impl Spool {
    /// Opens (or makes) the folder, and sees that a file can be written there: not at the end is the time to find out.
    pub(crate) fn open(dir: PathBuf, worker: &str) -> io::Result<Spool> {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir)?;
        let fit = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' };
        let spool = Spool { dir, worker: worker.chars().map(fit).collect(), next: AtomicU64::new(1) };
        let tried = spool.path().with_extension("new");
        drop(create(&tried)?);
        std::fs::remove_file(tried)?;
        Ok(spool)
    }

    fn path(&self) -> PathBuf {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.dir.join(format!("{PREFIX}{}-{number}{SUFFIX}", self.worker))
    }

    /// Keeps these answers in a file of their own. On disk when it returns.
    fn keep(&self, answers: Vec<Kept>) -> io::Result<PathBuf> {
        let path = self.path();
        let new = path.with_extension("new");
        let mut file = create(&new)?;
        let mut text = serde_json::to_vec(&Content { version: VERSION, answers })?;
        text.push(b'\n');
        file.write_all(&text)?;
        file.sync_all()?;
        std::fs::rename(&new, &path)?;
        File::open(&self.dir)?.sync_all()?;
        Ok(path)
    }

    /// The files of answers in the folder: of workers that have ended, of others that live, and of this one.
    fn files(&self) -> io::Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        for entry in std::fs::read_dir(&self.dir)? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if name.starts_with(PREFIX) && name.ends_with(SUFFIX) {
                files.push(path);
            }
        }
        Ok(files)
    }
}

fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
}

/// How often a worker looks whether somebody has left something.
const AGAIN: Duration = Duration::from_secs(30);

/// Records what workers have kept in the folder, this one too, as long as it runs. A file goes when all of it is
/// recorded; with what cannot be recorded it stays, and that is said.
pub(crate) async fn take_over(process: Arc<Process>) {
    let Some(spool) = process.worker.spool.get() else { return };
    loop {
        take_over_all(&process, spool).await;
        tokio::time::sleep(AGAIN).await;
    }
}

async fn take_over_all(process: &Process, spool: &Spool) {
    // A refusal frees money, and a database that lost something frees none.
    if process.worker.behind.why().is_some() {
        return;
    }
    let files = match spool.files() {
        Ok(files) => files,
        Err(error) => {
            tracing::error!(
                folder = %spool.dir.display(), error = chain(&error),
                "whether earlier workers have left answers cannot be seen"
            );
            return;
        }
    };
    for path in files {
        let file = path.display();
        match take_over_file(process, &path).await {
            Ok(0) => {}
            Ok(batches) => tracing::info!(%file, batches, "recorded the answers that an earlier worker had left"),
            Err(why) if process.worker.shutdown.is_requested() => {
                tracing::info!(%file, why, "not recorded before the end; the file stays for the next worker");
            }
            Err(why) => {
                metrics::counter!("payfleet_answers_left_total").increment(1);
                tracing::error!(%file, why, "answers that an earlier worker had left are not recorded; the file stays");
            }
        }
    }
}

async fn take_over_file(process: &Process, path: &Path) -> Result<usize, String> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        // Another worker was faster.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(error.to_string()),
    };
    let content: Content = serde_json::from_str(&text).map_err(|error| format!("it cannot be read: {error}"))?;
    if content.version != VERSION {
        return Err(format!("it is of version {}, and this program reads version {VERSION}", content.version));
    }
    // Each is about another batch: one that cannot be recorded is in nobody's way.
    let (mut left, mut why) = (Vec::new(), None);
    let batches = content.answers.len();
    for kept in content.answers {
        if let Err(error) = record(process, &kept).await {
            left.push(kept);
            why = Some(error);
        }
    }
    if let Some(why) = why {
        // What was recorded is not recorded again and again.
        if left.len() < batches
            && let Some(spool) = process.worker.spool.get()
        {
            spool.keep(left).map_err(|error| error.to_string())?;
            std::fs::remove_file(path).map_err(|error| error.to_string())?;
        }
        return Err(why);
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(format!("it is recorded, and cannot be removed: {error}"))
        }
        _ => Ok(batches),
    }
}

async fn record(process: &Process, kept: &Kept) -> Result<(), String> {
    let worker = &process.worker;
    let report = Arc::new(kept.report());
    let record = || -> BoxFuture<'_, _> {
        Box::pin(async {
            match process.store.batch_run_key(report.batch).await? {
                Some((key, rail)) if key == kept.run_key => {
                    worker.record.outcomes_record(report.clone()).await.map(|recorded| Some((recorded, rail)))
                }
                _ => Ok(None),
            }
        })
    };
    let recorded = tokio::select! {
        recorded = worker.insist(report.batch, "an answer that was left cannot be recorded yet", record) => recorded,
        () = worker.shutdown.requested() => return Err("the worker ends".to_owned()),
    };
    match recorded {
        Ok(Some((recorded, rail))) => {
            worker.told(&rail, report.batch, &recorded);
            Ok(())
        }
        Ok(None) => Err(format!("batch {} is of another database", report.batch)),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

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
