//! Files of affiliates and commissions: `payfleet-input` reads their rows, here is what the columns mean. Rows are
//! judged one by one and handed on in chunks; nothing here speaks to a server, and no file is ever held in memory.

pub mod affiliates;
pub mod commissions;
mod expected;
mod feed;

use std::io;

use payfleet_domain::Currency;
use payfleet_input::{BadMapping, Faults, FileKind, How, OpenError, Problem, Problems, Row, RowError, Rows, Source};

pub use self::expected::{Expected, ExpectedSum, expected_sum};
pub use self::feed::{Chunk, FeedClosed, FeedWriter};

/// What a kind of file is made of.
pub trait Table {
    /// What its rows are collected in.
    type Chunk: Chunk;
    /// Its columns.
    const KIND: &'static FileKind;

    /// Judges a row and adds it to the chunk.
    fn row(&mut self, row: &Row<'_>, chunk: &mut Self::Chunk) -> Result<(), Faults>;

    /// What the rows come to so far, by currency.
    fn sums(&self) -> &[(Currency, i128)] {
        &[]
    }
}

/// Why a file was not handed on to its end.
#[derive(Debug)]
pub enum ReadError {
    /// The file is wrong.
    Problems(Problems),
    /// The mapping is not for such a file.
    Mapping(BadMapping),
    /// The file cannot be read.
    Io(io::Error),
    /// Nobody takes the rows any more; why is known at the other end.
    Closed,
}

impl From<OpenError> for ReadError {
    fn from(error: OpenError) -> ReadError {
        match error {
            OpenError::Problems(problems) => ReadError::Problems(problems),
            OpenError::Mapping(wrong) => ReadError::Mapping(wrong),
            OpenError::Io(error) => ReadError::Io(error),
        }
    }
}

/// How a file was read.
#[derive(Debug, Default)]
pub struct Reading {
    /// How it is written.
    pub read_as: String,
    /// How many rows it has.
    pub rows: u64,
    /// What its mapping left out: why, and how many rows.
    pub left_out: Vec<(String, u64)>,
    /// Commissions that are reversed, and came with what takes them back.
    pub reversed: u64,
    /// What our columns are called in it.
    titles: Vec<(&'static str, String)>,
}

impl Reading {
    /// What a column of ours is called in the file.
    pub fn title<'a>(&'a self, column: &'a str) -> &'a str {
        self.titles.iter().find(|(ours, _)| *ours == column).map_or(column, |(_, title)| title)
    }
}

/// Reads a file to its end and hands its rows on. After the first problem nothing is handed on any more, but the rest
/// is still judged. `recognised` is told how the file is read as soon as that is known.
pub fn read<T: Table>(
    table: &mut T,
    source: Source,
    how: &How,
    expected: &Expected,
    feed: FeedWriter<T::Chunk>,
    recognised: impl FnOnce(&Rows),
) -> Result<Reading, ReadError> {
    let mut rows = Rows::open(source, T::KIND, how)?;
    recognised(&rows);
    let mut feed = Some(feed);
    let mut problems = Problems::default();
    let mut judged = T::Chunk::default(); // takes the rows after a problem
    loop {
        let found = match rows.next() {
            Ok(None) => break,
            Ok(Some(row)) => table.row(&row, feed.as_mut().map_or(&mut judged, FeedWriter::chunk)),
            Err(RowError::Io(error)) => return Err(ReadError::Io(error)),
            Err(RowError::Wrong { faults, is_fatal }) => {
                problems.add_all(faults);
                feed = None;
                if is_fatal {
                    break;
                }
                continue;
            }
        };
        match (found, &mut feed) {
            (Ok(()), Some(feed)) => feed.flush_if_full().map_err(|FeedClosed| ReadError::Closed)?,
            (Ok(()), None) => judged.clear_if_full(),
            (Err(faults), _) => {
                problems.add_all(faults);
                feed = None; // closes the channel: nothing is imported
            }
        }
    }
    if problems.is_empty() {
        if rows.count() == 0 {
            let what = "the file has a header and no rows; nothing to import".to_owned();
            problems.add(Problem { line: 1, column: "header".to_owned(), what });
        } else {
            expected.check(&rows, table.sums(), &mut problems);
        }
    }
    if !problems.is_empty() {
        return Err(ReadError::Problems(problems));
    }
    feed.map_or(Ok(()), FeedWriter::end).map_err(|FeedClosed| ReadError::Closed)?;
    let (read_as, left_out) = (rows.read_as(), rows.left_out().to_vec());
    let titles = T::KIND.columns.iter().copied().zip(rows.titles().iter().cloned()).collect();
    Ok(Reading { read_as, rows: rows.count(), left_out, reversed: rows.reversed(), titles })
}
