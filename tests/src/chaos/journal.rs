//! The rail's journal as it grows, with the moment at which each line was first seen: what the rail executed was begun
//! before that.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::oracle::Movement;

const LOOK: Duration = Duration::from_millis(30);

/// See the module.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    read_to: u64,
    lines: Vec<Movement>,
    seen: HashMap<String, Instant>,
}

impl Journal {
    /// Of a sandbox with this folder.
    pub fn of(folder: &Path) -> Journal {
        Journal { path: folder.join("journal.jsonl"), inner: Mutex::default() }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads on, for ever.
    pub async fn follow(&self) {
        loop {
            self.read_on();
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Takes what is new. A rail that was killed in the middle of a batch cuts it off when it comes back: nobody was
    /// told of it, and it is read anew.
    pub fn read_on(&self) {
        let mut inner = self.inner();
        let Ok(mut file) = File::open(&self.path) else { return };
        if file.metadata().is_ok_and(|metadata| metadata.len() < inner.read_to) {
            (inner.read_to, inner.lines) = (0, Vec::new());
        }
        if file.seek(SeekFrom::Start(inner.read_to)).is_err() {
            return;
        }
        let now = Instant::now();
        let mut reader = BufReader::new(file);
        let mut line = String::new();
        // The last line may still be on its way to the file.
        while reader.read_line(&mut line).is_ok_and(|length| length > 0) && line.ends_with('\n') {
            inner.read_to += line.len() as u64;
            let movement: Movement = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
            inner.seen.entry(movement.id.clone()).or_insert(now);
            inner.lines.push(movement);
            line.clear();
        }
    }

    /// Every line so far.
    pub fn lines(&self) -> Vec<Movement> {
        self.inner().lines.clone()
    }

    /// One line of those that are wanted, by lot; `draw` is given how many there are.
    pub fn one(&self, wanted: impl Fn(&Movement) -> bool, draw: impl FnOnce(usize) -> usize) -> Option<Movement> {
        let inner = self.inner();
        let found: Vec<&Movement> = inner.lines.iter().filter(|line| wanted(line)).collect();
        (!found.is_empty()).then(|| found[draw(found.len())].clone())
    }

    /// When the line with this reference was first seen.
    pub fn seen(&self, id: &str) -> Option<Instant> {
        self.inner().seen.get(id).copied()
    }
}
