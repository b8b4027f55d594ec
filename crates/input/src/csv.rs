//! A strict CSV reader (RFC 4180): what is not well-formed is an error with its line and field, where a lenient reader would guess, and guess
//! at money. It reads bytes and knows nothing of columns.
//!
//! The splitting is ours for that reason alone: the `csv` crate, which is right for data that one has written oneself, takes any bytes for a table. It
//! reads `"1"0.00` as 10.00, and of a quote that is never closed it makes one field of the rest of the file. It has no switch for either.

use std::io::{self, BufRead, Read};

/// The longest row, in bytes, that is read. Far above any real one; an open quote must not swallow the rest of a file into memory.
const ROW_MAX: usize = 64 * 1024;

/// A row: its fields, unquoted.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    /// The line on which it begins; the first is 1.
    pub line: u64,
    text: &'a [u8],
    ends: &'a [usize],
    /// How many bytes are between the end of a field and the next: the delimiter, if the text is the line itself.
    gap: usize,
}

impl<'a> Record<'a> {
    /// How many fields it has.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// A field; empty beyond the last.
    pub fn field(&self, at: usize) -> &'a [u8] {
        let Some(&end) = self.ends.get(at) else { return &[] };
        let begin = if at == 0 { 0 } else { self.ends[at - 1] + self.gap };
        &self.text[begin..end]
    }

    /// All fields.
    pub fn fields(self) -> impl Iterator<Item = &'a [u8]> {
        (0..self.len()).map(move |at| self.field(at))
    }
}

/// Why a row could not be read.
#[derive(Debug)]
pub enum CsvError {
    /// The input failed.
    Io(io::Error),
    /// It is not well-formed.
    Malformed {
        /// On which line.
        line: u64,
        /// In which field, counted from 0.
        field: usize,
        /// What is wrong, and the way out.
        what: &'static str,
        /// Whether reading cannot go on with the next line.
        fatal: bool,
    },
}

/// Reads rows one after the other into a buffer of its own.
pub struct CsvReader<R> {
    input: R,
    delimiter: u8,
    line: u64,
    raw: Vec<u8>,
    text: Vec<u8>,
    ends: Vec<usize>,
    /// The line on which the row begins that was read last.
    begin: u64,
    /// Whether that row had quotes, and so is in `text`; else it is the line itself.
    is_quoted: bool,
}

impl<R: BufRead> CsvReader<R> {
    /// Reads from here; fields are separated by this.
    pub fn new(input: R, delimiter: u8) -> Self {
        let (raw, text, ends) = (Vec::new(), Vec::new(), Vec::new());
        CsvReader { input, delimiter, line: 0, raw, text, ends, begin: 0, is_quoted: false }
    }

    /// Goes to the next row. `false` at the end. Empty lines are passed over.
    pub fn advance(&mut self) -> Result<bool, CsvError> {
        self.text.clear();
        self.ends.clear();
        self.begin = loop {
            self.raw.clear();
            if !self.append_line()? {
                return Ok(false);
            }
            if !trimmed(&self.raw).is_empty() {
                break self.line;
            }
        };
        self.is_quoted = self.raw.contains(&b'"');
        if self.is_quoted {
            self.split_quoted(self.begin)?;
        } else {
            let line = trimmed(&self.raw);
            let delimiters = line.iter().enumerate().filter(|(_, byte)| **byte == self.delimiter);
            self.ends.extend(delimiters.map(|(at, _)| at).chain([line.len()]));
        }
        Ok(true)
    }

    /// The row that was read last.
    pub fn record(&self) -> Record<'_> {
        match self.is_quoted {
            true => Record { line: self.begin, text: &self.text, ends: &self.ends, gap: 0 },
            false => Record { line: self.begin, text: &self.raw, ends: &self.ends, gap: 1 },
        }
    }

    /// The line that was read last; the first is 1.
    pub fn line(&self) -> u64 {
        self.line
    }

    /// Appends one more line with its line end. `false` at the end of the input.
    fn append_line(&mut self) -> Result<bool, CsvError> {
        let room = (ROW_MAX + 1).saturating_sub(self.raw.len());
        let read = self.input.by_ref().take(room as u64).read_until(b'\n', &mut self.raw).map_err(CsvError::Io)?;
        if read == 0 {
            return Ok(false);
        }
        self.line += 1;
        if self.raw.len() > ROW_MAX {
            let what = "the row is longer than 65,536 bytes; look for a quote that is opened and never closed";
            return Err(CsvError::Malformed { line: self.line, field: self.ends.len(), what, fatal: true });
        }
        Ok(true)
    }

    fn split_quoted(&mut self, line: u64) -> Result<(), CsvError> {
        let malformed = |field, what, fatal| CsvError::Malformed { line, field, what, fatal };
        let mut at = 0;
        loop {
            if self.raw.get(at) == Some(&b'"') {
                at = self.quoted_field(line, at + 1)?;
            } else {
                while let Some(&byte) = self.raw.get(at).filter(|byte| **byte != self.delimiter && **byte != b'\n') {
                    if byte == b'"' {
                        let what = "a quote inside a field that does not begin with one; put the field in quotes and double those inside";
                        return Err(malformed(self.ends.len(), what, false));
                    }
                    self.text.push(byte);
                    at += 1;
                }
            }
            match &self.raw[at..] {
                [byte, ..] if *byte == self.delimiter => at += 1,
                [] | [b'\n'] | [b'\r', b'\n'] => {
                    // An unquoted last field has taken the carriage return with it.
                    let begin = self.ends.last().copied().unwrap_or(0);
                    if self.text[begin..].ends_with(b"\r") && self.raw.trim_ascii_end().len() < self.raw.len() {
                        self.text.pop();
                    }
                    self.ends.push(self.text.len());
                    return Ok(());
                }
                _ => {
                    let what = "text after a closing quote; double the quotes inside a field";
                    return Err(malformed(self.ends.len(), what, false));
                }
            }
            self.ends.push(self.text.len());
        }
    }

    /// Reads a field from behind its opening quote, over several lines if need be. Returns the place behind its closing quote.
    fn quoted_field(&mut self, line: u64, mut at: usize) -> Result<usize, CsvError> {
        loop {
            match self.raw.get(at..).unwrap_or(&[]) {
                [b'"', b'"', ..] => {
                    self.text.push(b'"');
                    at += 2;
                }
                [b'"', ..] => return Ok(at + 1),
                [byte, ..] => {
                    self.text.push(*byte);
                    at += 1;
                }
                [] => {
                    if !self.append_line()? {
                        let what = "a quote is opened here and never closed; close it";
                        return Err(CsvError::Malformed { line, field: self.ends.len(), what, fatal: true });
                    }
                }
            }
        }
    }
}

fn trimmed(raw: &[u8]) -> &[u8] {
    let line = raw.strip_suffix(b"\n").unwrap_or(raw);
    line.strip_suffix(b"\r").unwrap_or(line)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// Line and fields, or line and field of what is broken.
    type Found = Result<(u64, Vec<String>), (u64, usize)>;

    fn rows(text: &str) -> Vec<Found> {
        let mut reader = CsvReader::new(text.as_bytes(), b',');
        let mut rows = Vec::new();
        loop {
            match reader.advance() {
                Ok(false) => return rows,
                Ok(true) => {
                    let record = reader.record();
                    let fields = record.fields().map(|field| String::from_utf8(field.to_vec()).unwrap()).collect();
                    rows.push(Ok((record.line, fields)));
                }
                Err(CsvError::Malformed { line, field, fatal, .. }) => {
                    rows.push(Err((line, field)));
                    if fatal {
                        return rows;
                    }
                }
                Err(CsvError::Io(error)) => panic!("{error}"),
            }
        }
    }

    fn row(line: u64, fields: &[&str]) -> Found {
        Ok((line, fields.iter().map(|&field| field.to_owned()).collect()))
    }

    #[test]
    fn well_formed_rows_are_read() {
        assert_eq!(rows("a,b\r\n\n1,\n,2"), [row(1, &["a", "b"]), row(3, &["1", ""]), row(4, &["", "2"])]);
        assert_eq!(
            rows("\"x, y\",\"say \"\"hi\"\"\"\r\n\"\",z\r\n"),
            [row(1, &["x, y", "say \"hi\""]), row(2, &["", "z"])]
        );
        assert_eq!(rows("\"two\nlines\",1\n2,3\n"), [row(1, &["two\nlines", "1"]), row(3, &["2", "3"])]);
        assert_eq!(rows("\"a\",b\r\n"), [row(1, &["a", "b"])]);
        assert_eq!(rows("a,\"b\""), [row(1, &["a", "b"])]);
    }

    #[test]
    fn broken_quotes_are_errors_with_their_place() {
        assert_eq!(rows("a,b\n1,x\"y\n2,3\n"), [row(1, &["a", "b"]), Err((2, 1)), row(3, &["2", "3"])]);
        assert_eq!(rows("1,\"x\"y,3\n"), [Err((1, 1))]);
        assert_eq!(rows("1,2\n3,\"open\n4,5\n"), [row(1, &["1", "2"]), Err((2, 1))]);
    }

    /// Why the splitting is ours. If this fails, the `csv` crate has become strict, and could be used.
    #[test]
    fn a_lenient_reader_would_guess_at_money() {
        let theirs = |text: &str| {
            let mut reader = ::csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(text.as_bytes());
            let rows = reader.records().map(|record| record.unwrap().iter().map(str::to_owned).collect());
            rows.collect::<Vec<Vec<String>>>()
        };
        assert_eq!(theirs("c1,\"1\"0.00\n"), [["c1", "10.00"]]);
        assert_eq!(rows("c1,\"1\"0.00\n"), [Err((1, 1))]);
        assert_eq!(theirs("c1,\"5\nc2,7\n"), [["c1", "5\nc2,7\n"]]);
        assert_eq!(rows("c1,\"5\nc2,7\n"), [Err((1, 1))]);
    }

    #[test]
    fn fields_are_separated_by_whatever_was_said() {
        let fields = |text: &str, delimiter| {
            let mut reader = CsvReader::new(text.as_bytes(), delimiter);
            assert!(reader.advance().unwrap());
            let record = reader.record();
            record.fields().map(|field| String::from_utf8(field.to_vec()).unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(fields("a;b,c;\"d;e\"\r\n", b';'), ["a", "b,c", "d;e"]);
        assert_eq!(fields("a;b,c;\r\n", b';'), ["a", "b,c", ""]);
        assert_eq!(fields("a\t\"b\"\t\t\r\n", b'\t'), ["a", "b", "", ""]);
        assert_eq!(fields("\ta\t", b'\t'), ["", "a", ""]);
    }

    #[test]
    fn an_open_quote_does_not_swallow_the_file() {
        let mut text = String::from("a,\"b\n");
        for _ in 0..100_000 {
            text.push_str("1,2\n");
        }
        let mut reader = CsvReader::new(text.as_bytes(), b',');
        assert!(matches!(reader.advance(), Err(CsvError::Malformed { fatal: true, .. })));
        assert!(reader.raw.len() <= ROW_MAX + 1);
    }
}
