//! A strict CSV reader (RFC 4180): what is not well-formed is an error with its line and field, where a lenient reader would guess, and guess
//! at money. It reads bytes and knows nothing of columns.

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
}

impl<'a> Record<'a> {
    /// How many fields it has.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// A field; empty beyond the last.
    pub fn field(&self, at: usize) -> &'a [u8] {
        let Some(&end) = self.ends.get(at) else { return &[] };
        let begin = if at == 0 { 0 } else { self.ends[at - 1] };
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
    line: u64,
    raw: Vec<u8>,
    text: Vec<u8>,
    ends: Vec<usize>,
}

impl<R: BufRead> CsvReader<R> {
    /// Reads from here.
    pub fn new(input: R) -> Self {
        CsvReader { input, line: 0, raw: Vec::new(), text: Vec::new(), ends: Vec::new() }
    }

    /// The next row, or `None` at the end. Empty lines are passed over.
    pub fn read(&mut self) -> Result<Option<Record<'_>>, CsvError> {
        let line = loop {
            self.raw.clear();
            if !self.append_line()? {
                return Ok(None);
            }
            if !trimmed(&self.raw).is_empty() {
                break self.line;
            }
        };
        self.text.clear();
        self.ends.clear();
        if self.raw.contains(&b'"') {
            self.split_quoted(line)?;
        } else {
            for &byte in trimmed(&self.raw) {
                if byte == b',' {
                    self.ends.push(self.text.len());
                } else {
                    self.text.push(byte);
                }
            }
            self.ends.push(self.text.len());
        }
        Ok(Some(Record { line, text: &self.text, ends: &self.ends }))
    }

    /// The line that was read last, as it is.
    pub fn raw(&self) -> &[u8] {
        &self.raw
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
                while let Some(&byte) = self.raw.get(at).filter(|byte| !matches!(byte, b',' | b'\n')) {
                    if byte == b'"' {
                        let what = "a quote inside a field that does not begin with one; put the field in quotes and double those inside";
                        return Err(malformed(self.ends.len(), what, false));
                    }
                    self.text.push(byte);
                    at += 1;
                }
            }
            match &self.raw[at..] {
                [b',', ..] => at += 1,
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
        let mut reader = CsvReader::new(text.as_bytes());
        let mut rows = Vec::new();
        loop {
            match reader.read() {
                Ok(None) => return rows,
                Ok(Some(record)) => {
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

    #[test]
    fn an_open_quote_does_not_swallow_the_file() {
        let mut text = String::from("a,\"b\n");
        for _ in 0..100_000 {
            text.push_str("1,2\n");
        }
        let mut reader = CsvReader::new(text.as_bytes());
        assert!(matches!(reader.read(), Err(CsvError::Malformed { fatal: true, .. })));
        assert!(reader.raw.len() <= ROW_MAX + 1);
    }
}
