//! What a program must still know when it is started again, whatever became of the servers: a folder beside it, and in
//! that the last things that it has seen.
//!
//! What stands in there is the caller's; here it is lines of text.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Where a program keeps what must outlive it. To be flattened into a program's options.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct StateArgs {
    /// A folder for what must outlive this program; several may share one [default: $STATE_DIRECTORY, as systemd sets
    /// it, else $XDG_STATE_HOME/payfleet, else ~/.local/state/payfleet]
    #[arg(long, env = "PAYFLEET_STATE_DIR", value_name = "DIR", global = true)]
    state_dir: Option<PathBuf>,
}

/// Why nothing can be kept.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Nobody said where.
    #[error(
        "there is no folder for what must outlive this program: give --state-dir or PAYFLEET_STATE_DIR (there is no \
         HOME either)"
    )]
    Nowhere,
    /// It cannot be used.
    #[error("--state-dir: cannot {doing} {}", path.display())]
    Unusable {
        /// What was tried.
        doing: &'static str,
        /// With what.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
}

impl StateArgs {
    /// This folder.
    pub fn of(dir: impl Into<PathBuf>) -> StateArgs {
        StateArgs { state_dir: Some(dir.into()) }
    }

    /// The folder, whether it is there or not.
    pub fn dir(&self) -> Result<PathBuf, StateError> {
        let named = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let systemd = || named("STATE_DIRECTORY")?.to_str()?.split(':').next().map(PathBuf::from);
        let xdg = || Some(PathBuf::from(named("XDG_STATE_HOME")?).join("payfleet"));
        let home = || Some(PathBuf::from(named("HOME")?).join(".local/state/payfleet"));
        self.state_dir.clone().or_else(systemd).or_else(xdg).or_else(home).ok_or(StateError::Nowhere)
    }
}

/// So many lines are kept by each process that shares a folder; more than one process has under way at once.
const LINES: u64 = 512;

/// Bytes of a line in the file, the line feed with it. A page of memory is a multiple of it, so that a process that is
/// killed leaves whole lines.
const WIDTH: usize = 128;

/// Processes at once that share a folder, at most.
const SLOTS: u32 = 256;

/// The last lines that the processes of one folder have kept. Each has a file of its own, which ends when it does: the
/// next process goes on with it.
#[derive(Debug)]
pub struct LastLines {
    folder: PathBuf,
    path: PathBuf,
    /// Locked for as long as this lives.
    file: File,
    /// The number of the next line.
    next: Mutex<u64>,
}

impl LastLines {
    /// Opens (or makes) the folder and takes a file in it that no process has. The file is as large from the beginning
    /// as it will ever be, so a disk that fills up later does not matter.
    pub fn open(folder: &Path) -> Result<LastLines, StateError> {
        let unusable = |doing: &'static str, path: &Path| {
            let path = path.to_owned();
            move |source| StateError::Unusable { doing, path, source }
        };
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(unusable("make the folder", folder))?;
        for slot in 0..SLOTS {
            let path = folder.join(format!("seen-{slot}"));
            let mut file = OpenOptions::new()
                .create(true)
                .truncate(false)
                .read(true)
                .write(true)
                .mode(0o600)
                .open(&path)
                .map_err(unusable("open", &path))?;
            match file.try_lock() {
                Ok(()) => {}
                Err(std::fs::TryLockError::WouldBlock) => continue,
                Err(std::fs::TryLockError::Error(source)) => return Err(unusable("lock", &path)(source)),
            }
            let next = numbered(&mut file, &path)?.into_iter().map(|(number, _)| number + 1).max().unwrap_or(0);
            let empty = blank(WIDTH);
            let length = file.metadata().map_err(unusable("look at", &path))?.len();
            for line in length / WIDTH as u64..LINES {
                file.write_all_at(&empty, line * WIDTH as u64).map_err(unusable("write to", &path))?;
            }
            return Ok(LastLines { folder: folder.to_owned(), path, file, next: Mutex::new(next) });
        }
        let source = std::io::Error::other(format!("{SLOTS} processes use it already"));
        Err(unusable("share", folder)(source))
    }

    /// Keeps a line, in place of the oldest. It is there when this has returned, however the process ends.
    pub fn keep(&self, line: &str) -> Result<(), StateError> {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner); // it is only counted up
        let mut text = format!("{} {line}", *next).into_bytes();
        if text.len() >= WIDTH || line.contains('\n') {
            let source = std::io::Error::other("a line that is too long, or several");
            return Err(StateError::Unusable { doing: "keep", path: self.path.clone(), source });
        }
        text.resize(WIDTH - 1, b' ');
        text.push(b'\n');
        self.file.write_all_at(&text, *next % LINES * WIDTH as u64).map_err(|source| StateError::Unusable {
            doing: "write to",
            path: self.path.clone(),
            source,
        })?;
        *next += 1;
        Ok(())
    }

    /// What all processes have kept that ever used the folder, file by file, in the order in which each kept it.
    pub fn all(&self) -> Result<Vec<String>, StateError> {
        lines_kept(&self.folder)
    }
}

/// The same of a folder that this process keeps nothing in; nothing, if it is not there.
pub fn lines_kept(folder: &Path) -> Result<Vec<String>, StateError> {
    let mut lines = Vec::new();
    for slot in 0..SLOTS {
        let path = folder.join(format!("seen-{slot}"));
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => break,
            Err(source) => return Err(StateError::Unusable { doing: "read", path, source }),
        };
        let mut found = numbered(&mut file, &path)?;
        found.sort_unstable_by_key(|(number, _)| *number);
        lines.extend(found.into_iter().map(|(_, line)| line));
    }
    Ok(lines)
}

fn blank(width: usize) -> Vec<u8> {
    let mut line = vec![b' '; width - 1];
    line.push(b'\n');
    line
}

/// The lines of a file with their numbers. What is no line of ours is left out: the machine may have lost its power in
/// the middle of one.
fn numbered(file: &mut File, path: &Path) -> Result<Vec<(u64, String)>, StateError> {
    let mut text = Vec::new();
    file.seek(SeekFrom::Start(0)).and_then(|_| file.read_to_end(&mut text)).map_err(|source| StateError::Unusable {
        doing: "read",
        path: path.to_owned(),
        source,
    })?;
    let line = |bytes: &[u8]| {
        let (number, line) = std::str::from_utf8(bytes).ok()?.trim_end().split_once(' ')?;
        Some((number.parse().ok()?, line.to_owned()))
    };
    Ok(text.chunks(WIDTH).filter_map(line).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn the_last_lines_of_every_process_are_there_for_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("a/b");
        let one = LastLines::open(&folder).unwrap();
        let other = LastLines::open(&folder).unwrap();
        for n in 0..LINES + 3 {
            one.keep(&format!("one {n}")).unwrap();
        }
        other.keep("other").unwrap();
        let all = other.all().unwrap();
        assert_eq!(all.len() as u64, LINES + 1);
        assert_eq!((all[0].as_str(), all[all.len() - 1].as_str()), ("one 3", "other"));
        drop(one);
        let next = LastLines::open(&folder).unwrap();
        next.keep("next").unwrap();
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 2, "it goes on with the file of the one that ended");
        let all = next.all().unwrap();
        assert_eq!((all[0].as_str(), all[all.len() - 2].as_str()), ("one 4", "next"));
    }

    #[test]
    fn half_a_line_is_left_out_and_a_line_that_does_not_fit_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let lines = LastLines::open(folder.path()).unwrap();
        lines.keep("first").unwrap();
        lines.keep("second").unwrap();
        lines.file.write_all_at(b"\0\xff", 0).unwrap();
        assert_eq!(lines.all().unwrap(), ["second"]);
        assert!(lines.keep(&"x".repeat(WIDTH)).is_err() && lines.keep("two\nlines").is_err());
        assert_eq!(lines.file.metadata().unwrap().len(), LINES * WIDTH as u64, "as large as it will ever be");
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_named() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("file"), "").unwrap();
        let told = LastLines::open(&folder.path().join("file/x")).unwrap_err().to_string();
        assert!(told.contains("file/x") && told.contains("--state-dir"), "{told}");
        assert_eq!(StateArgs::of("/x").dir().unwrap(), Path::new("/x"));
    }
}
