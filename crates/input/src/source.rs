//! Where a file comes from: a file, which can be looked at before it is read, or a pipe, which cannot.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::Path;

use crate::scan::{BEGIN_BYTES, Scan};

/// So much of a pipe is kept back to be looked at, at most.
const PIPE_BYTES: usize = 256 * 1024;

/// A file or the standard input.
pub struct Source {
    /// What it is called in messages.
    pub name: String,
    /// Its size, if it has one.
    pub size: Option<u64>,
    input: Input,
    read: Box<dyn FnMut(u64) + Send>,
}

enum Input {
    /// Can be read twice.
    File(File),
    Pipe(Box<dyn Read + Send>),
    /// Bytes that are in memory, for tests.
    Bytes(Vec<u8>),
}

impl Source {
    /// Opens a file; `-` is the standard input.
    pub fn open(path: &Path) -> io::Result<Source> {
        if path.as_os_str() == "-" {
            return Ok(Source::new("stdin".to_owned(), None, Input::Pipe(Box::new(io::stdin()))));
        }
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        if metadata.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        let name = path.display().to_string();
        Ok(match metadata.is_file() {
            true => Source::new(name, Some(metadata.len()), Input::File(file)),
            false => Source::new(name, None, Input::Pipe(Box::new(file))),
        })
    }

    /// Bytes that are in memory.
    pub fn of(name: &str, bytes: Vec<u8>) -> Source {
        Source::new(name.to_owned(), Some(bytes.len() as u64), Input::Bytes(bytes))
    }

    /// What can be read once only.
    pub fn pipe(name: &str, input: impl Read + Send + 'static) -> Source {
        Source::new(name.to_owned(), None, Input::Pipe(Box::new(input)))
    }

    fn new(name: String, size: Option<u64>, input: Input) -> Source {
        Source { name, size, input, read: Box::new(|_| {}) }
    }

    /// Tells how many bytes were read, each time that some were. To be looked at is not to be read.
    pub fn watched(self, read: impl FnMut(u64) + Send + 'static) -> Source {
        Source { read: Box::new(read), ..self }
    }

    /// Looks at all of it, or at what of a pipe can be kept back.
    pub(crate) fn scan(&mut self) -> io::Result<Scan> {
        let mut scan = Scan::default();
        match &mut self.input {
            Input::Bytes(bytes) => {
                scan.feed(bytes);
                scan.end();
            }
            Input::File(file) => {
                let mut piece = vec![0; BEGIN_BYTES];
                loop {
                    match file.read(&mut piece) {
                        Ok(0) => break,
                        Ok(count) => scan.feed(&piece[..count]),
                        Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                        Err(error) => return Err(error),
                    }
                }
                scan.end();
                file.rewind()?;
            }
            Input::Pipe(pipe) => {
                let mut kept = Vec::new();
                pipe.take(PIPE_BYTES as u64).read_to_end(&mut kept)?;
                scan.feed(&kept);
                if kept.len() < PIPE_BYTES {
                    scan.end();
                }
                let rest = std::mem::replace(pipe, Box::new(io::empty()));
                self.input = Input::Pipe(Box::new(io::Cursor::new(kept).chain(rest)));
            }
        }
        Ok(scan)
    }

    /// On which line a byte is. Of a file that can be read twice; what was kept of a pipe stands at its beginning.
    pub(crate) fn line_of(&mut self, at: u64) -> io::Result<u64> {
        let count = |bytes: &[u8]| {
            let (mut lines, mut last) = (0, 0);
            for &byte in bytes {
                lines += u64::from(byte == b'\n' || (byte != b'\n' && last == b'\r'));
                last = byte;
            }
            (lines, last)
        };
        match &mut self.input {
            Input::Bytes(bytes) => {
                Ok(1 + count(&bytes[..usize::try_from(at).unwrap_or(bytes.len()).min(bytes.len())]).0)
            }
            Input::File(file) => {
                let mut head = file.take(at);
                let mut piece = vec![0; BEGIN_BYTES];
                let mut lines = 1;
                loop {
                    match head.read(&mut piece)? {
                        0 => return Ok(lines),
                        read => lines += count(&piece[..read]).0,
                    }
                }
            }
            Input::Pipe(pipe) => {
                let mut head = Vec::new();
                pipe.take(at.min(PIPE_BYTES as u64)).read_to_end(&mut head)?;
                Ok(1 + count(&head).0)
            }
        }
    }

    /// What is in it.
    pub(crate) fn into_read(self) -> Box<dyn Read + Send> {
        let input: Box<dyn Read + Send> = match self.input {
            Input::File(file) => Box::new(file),
            Input::Pipe(pipe) => pipe,
            Input::Bytes(bytes) => Box::new(io::Cursor::new(bytes)),
        };
        Box::new(Watched { input, read: self.read })
    }
}

struct Watched {
    input: Box<dyn Read + Send>,
    read: Box<dyn FnMut(u64) + Send>,
}

impl Read for Watched {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(out)?;
        (self.read)(count as u64);
        Ok(count)
    }
}
