//! The two append-only files, and the one thread that writes them.
//!
//! `journal.jsonl` is the truth: every real movement. `faults.jsonl` holds what is not: the lies, the planned returns,
//! the moments at which keys were forgotten. Faults are written first, so that no payment is ever known without its
//! lies. What the lines mean is not known here.
//!
//! Writes are grouped: whatever has queued while the last group was written is the next group.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;

use tokio::sync::watch;

/// Why the files cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// Another process has them.
    #[error("{} is in use by another process", path.display())]
    Busy {
        /// The data directory.
        path: PathBuf,
    },
    /// The operating system refuses.
    #[error("{}", path.display())]
    Io {
        /// Which file or directory.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// A line that was written whole cannot be read, or contradicts those before it.
    #[error("{}: line {line}: {reason}", path.display())]
    Corrupt {
        /// Which file.
        path: PathBuf,
        /// Counted from 1.
        line: u64,
        /// What is wrong with it.
        reason: String,
    },
}

/// How far the writer has come.
#[derive(Clone, Copy, Debug)]
enum Progress {
    Written(u64),
    Failed,
}

/// The files were lost (disk full, for example): nothing can be said any more about what was executed.
#[derive(Debug, thiserror::Error)]
#[error("the journal cannot be written")]
pub struct Lost;

struct Queue {
    journal: Vec<u8>,
    faults: Vec<u8>,
    ticket: u64,
    closed: bool,
}

struct Shared {
    queue: Mutex<Queue>,
    wake: Condvar,
    progress: watch::Sender<Progress>,
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().expect("no holder of this lock can panic: it only moves bytes")
    }
}

/// The files of one data directory.
pub struct Journal {
    shared: Arc<Shared>,
    reader: Arc<File>,
    writer: Option<JoinHandle<()>>,
}

/// The files, opened and locked, before anything is written.
pub struct Opened {
    journal: File,
    faults: File,
    journal_path: PathBuf,
    faults_path: PathBuf,
}

impl Opened {
    /// Opens the files, and makes directory and files where they are missing.
    pub fn open(dir: &Path) -> Result<Self, JournalError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| JournalError::Io { path, source }
        };
        std::fs::create_dir_all(dir).map_err(failed(dir))?;
        let open = |name: &str| {
            let path = dir.join(name);
            let file = OpenOptions::new().read(true).append(true).create(true).open(&path).map_err(failed(&path))?;
            Ok((file, path))
        };
        let (journal, journal_path) = open("journal.jsonl")?;
        let (faults, faults_path) = open("faults.jsonl")?;
        match journal.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(JournalError::Busy { path: dir.into() }),
            Err(TryLockError::Error(source)) => return Err(failed(&journal_path)(source)),
        }
        let opened = Self { journal, faults, journal_path, faults_path };
        // A line without its end was being written when the process was killed; nobody was answered on its account.
        for (file, path) in [(&opened.journal, &opened.journal_path), (&opened.faults, &opened.faults_path)] {
            cut_torn_line(file).map_err(failed(path))?;
        }
        Ok(opened)
    }

    /// Reads the faults, line by line.
    pub fn each_fault(&self, mut each: impl FnMut(&[u8]) -> Result<(), String>) -> Result<(), JournalError> {
        read_all(&self.faults, &self.faults_path, |_, line| each(line)).map(drop)
    }

    /// Reads the journal, line by line with its offset; returns where it ends.
    pub fn each_movement(&self, each: impl FnMut(u64, &[u8]) -> Result<(), String>) -> Result<u64, JournalError> {
        read_all(&self.journal, &self.journal_path, each)
    }

    /// Forgets everything from this offset on.
    pub fn cut(&self, offset: u64) -> Result<(), JournalError> {
        self.journal.set_len(offset).map_err(|source| JournalError::Io { path: self.journal_path.clone(), source })
    }

    /// Starts writing. With `fsync`, written means on disk.
    pub fn start(self, fsync: bool) -> Result<Journal, JournalError> {
        let failed = |source| JournalError::Io { path: self.journal_path.clone(), source };
        let reader = Arc::new(self.journal.try_clone().map_err(failed)?);
        let shared = Arc::new(Shared {
            queue: Mutex::new(Queue { journal: Vec::new(), faults: Vec::new(), ticket: 0, closed: false }),
            wake: Condvar::new(),
            progress: watch::Sender::new(Progress::Written(0)),
        });
        let writer = std::thread::Builder::new()
            .name("journal".to_owned())
            .spawn({
                let shared = Arc::clone(&shared);
                let (journal, faults) = (self.journal, self.faults);
                move || write_all(&shared, &journal, &faults, fsync)
            })
            .map_err(|source| JournalError::Io { path: self.journal_path.clone(), source })?;
        Ok(Journal { shared, reader, writer: Some(writer) })
    }
}

impl Journal {
    /// Queues bytes to be appended, in the order of the calls; the ticket says when they are written.
    pub fn append(&self, journal: &mut Vec<u8>, faults: &mut Vec<u8>) -> u64 {
        let mut queue = self.shared.queue();
        if !(journal.is_empty() && faults.is_empty()) {
            // Taken over whole where nothing waits, so that a large batch is not copied.
            take_over(&mut queue.journal, journal);
            take_over(&mut queue.faults, faults);
            queue.ticket += 1;
            self.shared.wake.notify_one();
        }
        queue.ticket
    }

    /// Waits until everything up to this ticket is written.
    pub async fn written(&self, ticket: u64) -> Result<(), Lost> {
        let mut progress = self.shared.progress.subscribe();
        let reached = progress
            .wait_for(|progress| match progress {
                Progress::Written(written) => *written >= ticket,
                Progress::Failed => true,
            })
            .await;
        match reached.as_deref() {
            Ok(Progress::Written(_)) => Ok(()),
            Ok(Progress::Failed) | Err(_) => Err(Lost),
        }
    }

    /// Returns if the files are ever lost.
    pub async fn lost(&self) -> Lost {
        let mut progress = self.shared.progress.subscribe();
        // Cannot fail: `self` keeps the sender alive.
        let _ = progress.wait_for(|progress| matches!(progress, Progress::Failed)).await;
        Lost
    }

    /// Reads lines of the journal, each with its offset; only what is written may be asked for.
    pub fn lines(&self, start: u64, end: u64) -> Lines {
        Lines::new(Arc::clone(&self.reader), start, end, 64 * 1024)
    }

    /// Reads the one line at this offset, which must be written.
    pub fn line(&self, offset: u64) -> io::Result<Vec<u8>> {
        let mut lines = Lines::new(Arc::clone(&self.reader), offset, u64::MAX, 512);
        let line = lines.next_line()?.map(|(_, line)| line.to_vec());
        line.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.shared.queue().closed = true;
        self.shared.wake.notify_one();
        if let Some(writer) = self.writer.take() {
            // A writer that panicked has nothing left to write.
            let _ = writer.join();
        }
    }
}

/// Lines between two offsets of a file, whatever is appended meanwhile.
pub struct Lines {
    reader: BufReader<Section>,
    offset: u64,
    line: Vec<u8>,
}

impl Lines {
    fn new(file: Arc<File>, start: u64, end: u64, capacity: usize) -> Self {
        let section = Section { file, offset: start, end };
        Self { reader: BufReader::with_capacity(capacity, section), offset: start, line: Vec::with_capacity(256) }
    }

    /// The next line without its end, and its offset.
    pub fn next_line(&mut self) -> io::Result<Option<(u64, &[u8])>> {
        self.line.clear();
        let read = self.reader.read_until(b'\n', &mut self.line)?;
        if self.line.last() != Some(&b'\n') {
            return Ok(None);
        }
        let offset = self.offset;
        self.offset += read as u64;
        Ok(Some((offset, &self.line[..read - 1])))
    }
}

struct Section {
    file: Arc<File>,
    offset: u64,
    end: u64,
}

impl Read for Section {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end - self.offset).unwrap_or(usize::MAX);
        let most = buffer.len().min(left);
        let read = self.file.read_at(&mut buffer[..most], self.offset)?;
        self.offset += read as u64;
        Ok(read)
    }
}

fn write_all(shared: &Shared, journal: &File, faults: &File, fsync: bool) {
    let mut group = (Vec::new(), Vec::new());
    loop {
        let ticket = {
            let mut queue = shared.queue();
            while queue.journal.is_empty() && queue.faults.is_empty() {
                if queue.closed {
                    return;
                }
                queue = shared.wake.wait(queue).expect("no holder of this lock can panic: it only moves bytes");
            }
            std::mem::swap(&mut queue.journal, &mut group.0);
            std::mem::swap(&mut queue.faults, &mut group.1);
            queue.ticket
        };
        // Faults first: see the module.
        let written = write_group(faults, &mut group.1, fsync).and_then(|()| write_group(journal, &mut group.0, fsync));
        if let Err(error) = written {
            tracing::error!(%error, "cannot write the journal; no further request will be answered");
            shared.progress.send_replace(Progress::Failed);
            return;
        }
        shared.progress.send_replace(Progress::Written(ticket));
    }
}

fn write_group(mut file: &File, bytes: &mut Vec<u8>, fsync: bool) -> io::Result<()> {
    if bytes.is_empty() {
        return Ok(());
    }
    file.write_all(bytes)?;
    bytes.clear();
    // What one large batch needed is not kept for ever.
    bytes.shrink_to(1 << 20);
    if fsync { file.sync_data() } else { Ok(()) }
}

fn take_over(queue: &mut Vec<u8>, bytes: &mut Vec<u8>) {
    if queue.is_empty() {
        std::mem::swap(queue, bytes);
    } else {
        queue.append(bytes);
    }
}

fn cut_torn_line(file: &File) -> io::Result<()> {
    let length = file.metadata()?.len();
    let mut end = length;
    let mut chunk = [0; 4096];
    while end > 0 {
        let start = end.saturating_sub(chunk.len() as u64);
        let part = &mut chunk[..(end - start) as usize];
        file.read_exact_at(part, start)?;
        if let Some(last) = part.iter().rposition(|byte| *byte == b'\n') {
            end = start + last as u64 + 1;
            break;
        }
        end = start;
    }
    if end < length {
        tracing::warn!(bytes = length - end, "cut off a line that was not written whole");
        file.set_len(end)?;
    }
    Ok(())
}

fn read_all(
    file: &File,
    path: &Path,
    mut each: impl FnMut(u64, &[u8]) -> Result<(), String>,
) -> Result<u64, JournalError> {
    let failed = |source| JournalError::Io { path: path.to_owned(), source };
    let end = file.metadata().map_err(failed)?.len();
    let file = Arc::new(file.try_clone().map_err(failed)?);
    let mut lines = Lines::new(file, 0, end, 256 * 1024);
    let mut count = 0;
    while let Some((offset, line)) = lines.next_line().map_err(failed)? {
        count += 1;
        each(offset, line).map_err(|reason| JournalError::Corrupt { path: path.to_owned(), line: count, reason })?;
    }
    Ok(end)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[tokio::test]
    async fn what_is_written_is_read_back_and_a_torn_line_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Opened::open(dir.path()).unwrap().start(true).unwrap();
        assert!(matches!(Opened::open(dir.path()), Err(JournalError::Busy { .. })));
        journal.append(&mut b"one\n".to_vec(), &mut Vec::new());
        let ticket = journal.append(&mut b"two\nthr".to_vec(), &mut b"lie\n".to_vec());
        journal.written(ticket).await.unwrap();
        let mut lines = journal.lines(4, 11);
        assert_eq!(lines.next_line().unwrap(), Some((4, &b"two"[..])));
        assert_eq!(lines.next_line().unwrap(), None);
        drop((lines, journal));

        let opened = Opened::open(dir.path()).unwrap();
        let mut read = Vec::new();
        let end = opened
            .each_movement(|offset, line| {
                read.push((offset, line.to_vec()));
                Ok(())
            })
            .unwrap();
        assert_eq!(end, 8);
        assert_eq!(read, [(0, b"one".to_vec()), (4, b"two".to_vec())]);
        let error = opened.each_fault(|_| Err("odd".to_owned())).unwrap_err();
        assert!(error.to_string().ends_with("faults.jsonl: line 1: odd"));
    }
}
