//! The file in which answers are kept: what it says, and how it is written so that it is there or is not.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use payfleet_domain::{AttemptNo, BatchId, Currency, Epoch, Money, Outcome, PayoutId, Reference, RefusalCode};
use payfleet_store::Report;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Page;

/// What files of answers are called.
const PREFIX: &str = "answers-";
const SUFFIX: &str = ".json";
/// The version of the file that is written, and read.
const VERSION: u32 = 1;

/// The folder, and what files of this process in it are called.
#[derive(Debug)]
pub(crate) struct Spool {
    pub(super) dir: PathBuf,
    worker: String,
    /// The number of the next file: none is ever written over, since somebody may be reading it.
    next: AtomicU64,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Content {
    version: u32,
    pub answers: Vec<Kept>,
}

/// The answers about one batch, as they are kept.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Kept {
    /// The key of the batch's run: another database may have a batch of the same number.
    pub run_key: Uuid,
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
    pub(super) fn of(page: &Page) -> Kept {
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

    pub(super) fn report(&self) -> Report {
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
    pub(super) fn keep(&self, answers: Vec<Kept>) -> io::Result<PathBuf> {
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
    pub(super) fn files(&self) -> io::Result<Vec<PathBuf>> {
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

impl Content {
    /// The answers in a file; if it cannot be read, why.
    pub(super) fn read(text: &str) -> Result<Vec<Kept>, String> {
        let content: Content = serde_json::from_str(text).map_err(|error| format!("it cannot be read: {error}"))?;
        match content.version {
            VERSION => Ok(content.answers),
            other => Err(format!("it is of version {other}, and this program reads version {VERSION}")),
        }
    }
}
