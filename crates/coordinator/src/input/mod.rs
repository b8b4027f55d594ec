//! Input files: read row by row, judged row by row, and handed on in chunks. Nothing here speaks to a server, and no file is ever held in memory.

pub mod affiliates;
mod columns;
pub mod commissions;
pub mod csv;
mod feed;
mod problems;

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use self::columns::{Columns, other_separator};
use self::csv::{CsvError, CsvReader, Record};
pub use self::feed::{Chunk, FeedClosed, FeedWriter};
pub use self::problems::{Problem, Problems};

/// What a kind of file is made of.
pub trait Table {
    /// What its rows are collected in.
    type Chunk: Chunk;
    /// All columns, the required ones first.
    const COLUMNS: &'static [&'static str];
    /// How many are required.
    const REQUIRED: usize;

    /// Judges a row and adds it to the chunk.
    fn row(&mut self, row: &Row<'_>, chunk: &mut Self::Chunk) -> Result<(), Problem>;
}

/// Why a file was not handed on to its end.
#[derive(Debug)]
pub enum ReadError {
    /// The file is wrong.
    Problems(Problems),
    /// The file cannot be read.
    Io(io::Error),
    /// Nobody takes the rows any more; why is known at the other end.
    Closed,
}

/// A file or the standard input.
pub struct Source {
    /// What it is called in messages.
    pub name: String,
    /// Its size, if it has one.
    pub size: Option<u64>,
    input: Box<dyn Read + Send>,
}

impl Source {
    /// Opens a file; `-` is the standard input.
    pub fn open(path: &Path) -> io::Result<Source> {
        if path.as_os_str() == "-" {
            return Ok(Source { name: "stdin".to_owned(), size: None, input: Box::new(io::stdin()) });
        }
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        if metadata.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        let size = metadata.is_file().then_some(metadata.len());
        Ok(Source { name: path.display().to_string(), size, input: Box::new(file) })
    }

    /// Bytes that are in memory.
    pub fn of(name: &str, bytes: Vec<u8>) -> Source {
        Source { name: name.to_owned(), size: Some(bytes.len() as u64), input: Box::new(io::Cursor::new(bytes)) }
    }

    /// Passes everything that is read through `wrap`, for counting.
    pub fn wrapped<R: Read + Send + 'static>(self, wrap: impl FnOnce(Box<dyn Read + Send>) -> R) -> Source {
        Source { name: self.name, size: self.size, input: Box::new(wrap(self.input)) }
    }
}

/// A row with the names of its fields.
pub struct Row<'a> {
    /// The line on which it begins.
    pub line: u64,
    text: &'a [&'a str],
    columns: &'a Columns,
}

impl<'a> Row<'a> {
    /// The wanted column's text; `None` if the file does not have the column.
    pub fn get(&self, wanted: usize) -> Option<&'a str> {
        self.columns.place(wanted).map(|place| self.text[place])
    }

    /// The text of a required column.
    pub fn text(&self, wanted: usize) -> &'a str {
        self.get(wanted).unwrap_or("") // cannot be missing: the header was checked
    }

    /// The text of an id: not empty, without space around it, and short enough to be a key.
    pub fn id(&self, wanted: usize) -> Result<&'a str, Problem> {
        let text = self.text(wanted);
        match text {
            "" => Err(self.problem(wanted, "is empty; every row needs one")),
            _ if text.trim() != text => Err(self.problem(wanted, format!("`{text}` has space around it; remove it"))),
            _ if text.len() > ID_MAX => Err(self.problem(wanted, "is longer than 200 bytes; use a shorter one")),
            _ => Ok(text),
        }
    }

    /// Something wrong in the wanted column.
    pub fn problem(&self, wanted: usize, what: impl Into<String>) -> Problem {
        Problem { line: self.line, column: self.columns.wanted_name(wanted).to_owned(), what: what.into() }
    }
}

const ID_MAX: usize = 200;

/// Reads a file to its end and hands its rows on. After the first problem nothing is handed on any more, but the rest is still judged.
pub fn read<T: Table>(table: &mut T, source: Source, feed: FeedWriter<T::Chunk>) -> Result<(), ReadError> {
    let mut input = BufReader::with_capacity(64 * 1024, source.input);
    if let Some(what) = byte_order_mark(input.fill_buf().map_err(ReadError::Io)?) {
        return Err(single("header", 1, what));
    }
    let mut reader = CsvReader::new(input);
    let header = match reader.read() {
        Ok(header) => header,
        Err(CsvError::Io(error)) => return Err(ReadError::Io(error)),
        Err(CsvError::Malformed { line, what, .. }) => {
            let what = other_separator(reader.raw(), T::COLUMNS).unwrap_or_else(|| what.to_owned());
            return Err(single("header", line, what));
        }
    };
    let Some(header) = header else {
        return Err(single(
            "header",
            1,
            format!("the file is empty; it begins with a header: {}", T::COLUMNS.join(",")),
        ));
    };
    let columns = Columns::find(&header, T::COLUMNS, T::REQUIRED).map_err(ReadError::Problems)?;
    let mut feed = Some(feed);
    let mut problems = Problems::default();
    let mut judged = T::Chunk::default(); // takes the rows after a problem
    let mut rows = 0_u64;
    loop {
        let (found, fatal) = match reader.read() {
            Ok(None) => break,
            Ok(Some(record)) => {
                rows += 1;
                let chunk = feed.as_mut().map_or(&mut judged, FeedWriter::chunk);
                (judge(table, &record, &columns, chunk), false)
            }
            Err(CsvError::Io(error)) => return Err(ReadError::Io(error)),
            Err(CsvError::Malformed { line, field, what, fatal }) => {
                (Err(Problem { line, column: columns.name(field), what: what.to_owned() }), fatal)
            }
        };
        match (found, &mut feed) {
            (Ok(()), Some(feed)) => feed.flush_if_full().map_err(|FeedClosed| ReadError::Closed)?,
            (Ok(()), None) => judged.clear_if_full(),
            (Err(problem), _) => {
                problems.add(problem);
                feed = None; // closes the channel: nothing is imported
            }
        }
        if fatal {
            break;
        }
    }
    if !problems.is_empty() {
        return Err(ReadError::Problems(problems));
    }
    if rows == 0 {
        return Err(single("header", 1, "the file has a header and no rows; nothing to import"));
    }
    feed.map_or(Ok(()), FeedWriter::end).map_err(|FeedClosed| ReadError::Closed)
}

fn judge<T: Table>(table: &mut T, record: &Record<'_>, columns: &Columns, chunk: &mut T::Chunk) -> Result<(), Problem> {
    let problem = |place: usize, what: String| Problem { line: record.line, column: columns.name(place), what };
    let (found, expected) = (record.len(), columns.len());
    if found != expected {
        let what = format!(
            "the row has {found} fields and the header {expected}; look for a comma too {}, or a text with commas that is not in quotes",
            if found < expected { "few" } else { "many" }
        );
        return Err(problem(found.min(expected), what));
    }
    let mut text = [""; FIELDS_MAX];
    for (place, field) in record.fields().enumerate() {
        text[place] = std::str::from_utf8(field)
            .map_err(|_| problem(place, "is not UTF-8; save the file in UTF-8".to_owned()))?;
        if field.iter().any(u8::is_ascii_control) {
            return Err(problem(place, "has a line break, a tab or another control character; remove it".to_owned()));
        }
    }
    table.row(&Row { line: record.line, text: &text[..found], columns }, chunk)
}

/// No kind of file has more columns; the header refuses unknown ones.
const FIELDS_MAX: usize = 16;

fn single(column: &str, line: u64, what: impl Into<String>) -> ReadError {
    let mut problems = Problems::default();
    problems.add(Problem { line, column: column.to_owned(), what: what.into() });
    ReadError::Problems(problems)
}

fn byte_order_mark(begin: &[u8]) -> Option<&'static str> {
    match begin {
        [0xef, 0xbb, 0xbf, ..] => Some(
            "the file begins with a byte order mark (BOM); save it as `UTF-8` without BOM (in Excel `CSV (Comma delimited)`, not `CSV UTF-8`), \
             or remove its first 3 bytes: tail -c +4 FILE",
        ),
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => {
            Some("the file is UTF-16; save it as UTF-8 without byte order mark (BOM)")
        }
        _ => None,
    }
}
