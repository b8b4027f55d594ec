//! Lines on their way to stderr. Whoever logs never waits: a thread of its own writes, and what does not fit into its
//! queue is dropped and counted.
//!
//! tracing-appender does the same, but says so on stdout when it ends, where it may wait for ever in turn, and does not
//! tell what is still unwritten.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

/// Lines that wait, at most. Some megabytes.
const WAITING: usize = 8_192;
/// How long the end of the process waits for them.
const LAST: Duration = Duration::from_millis(500);

/// Where lines are written to. Clones share the queue.
#[derive(Clone)]
pub(super) struct Lines {
    queue: SyncSender<Vec<u8>>,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    taken: AtomicU64,
    written: AtomicU64,
    dropped: AtomicU64,
}

impl Lines {
    pub(super) fn to_stderr() -> io::Result<Lines> {
        // Not `io::stderr()`, whose lock would be held for as long as nobody reads.
        Lines::to(File::from(io::stderr().as_fd().try_clone_to_owned()?), WAITING)
    }

    fn to(target: impl Write + Send + 'static, waiting: usize) -> io::Result<Lines> {
        let (queue, lines) = sync_channel(waiting);
        let counts = Arc::new(Counts::default());
        let counted = counts.clone();
        std::thread::Builder::new().name("log".to_owned()).spawn(move || write_all(target, &lines, &counted))?;
        Ok(Lines { queue, counts })
    }

    /// How many lines there was no place for.
    pub(super) fn dropped(&self) -> u64 {
        self.counts.dropped.load(Ordering::Relaxed)
    }

    /// Waits until everything is written, for a moment at most.
    pub(super) fn flush(&self) {
        let begun = Instant::now();
        let left = || self.counts.taken.load(Ordering::Acquire) > self.counts.written.load(Ordering::Acquire);
        while left() && begun.elapsed() < LAST {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

fn write_all(mut target: impl Write, lines: &Receiver<Vec<u8>>, counts: &Counts) {
    for line in lines {
        // Where would it be told? A reader that is gone is like one that does not read.
        if target.write_all(&line).is_err() {
            counts.dropped.fetch_add(1, Ordering::Relaxed);
        }
        counts.written.fetch_add(1, Ordering::Release);
    }
}

impl Write for Lines {
    /// A whole line, as the layer hands it over.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match self.queue.try_send(line.to_vec()) {
            Ok(()) => self.counts.taken.fetch_add(1, Ordering::Release),
            Err(_) => self.counts.dropped.fetch_add(1, Ordering::Relaxed),
        };
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::io::Read;

    use super::*;

    #[test]
    fn nobody_waits_for_a_reader_that_does_not_read_and_what_is_lost_is_counted() {
        let (mut reader, writer) = io::pipe().unwrap();
        let mut lines = Lines::to(writer, 4).unwrap();
        let line = vec![b'x'; 64 * 1024]; // as much as a pipe holds
        let begun = Instant::now();
        for _ in 0..100 {
            lines.write_all(&line).unwrap();
        }
        assert!(begun.elapsed() < Duration::from_secs(5), "it waited for the reader");
        // One in the pipe, one in the thread's hand, four that wait, give or take what the thread has taken meanwhile.
        assert!((90..=96).contains(&lines.dropped()), "{} were dropped", lines.dropped());
        lines.flush(); // comes back, though they are not written
        let mut read = vec![0; 3 * line.len()];
        reader.read_exact(&mut read).unwrap();
        lines.write_all(b"again").unwrap();
        let wanted = (100 - lines.dropped()) as usize * line.len() + 5 - read.len();
        let mut rest = vec![0; wanted];
        reader.read_exact(&mut rest).unwrap();
        assert!(rest.ends_with(b"again"), "what is written after a silence arrives");
    }
}
