//! A statement from a file: CSV, read line by line, and refused as a whole if one line cannot be understood. A payment could hide behind it.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use csv::{Position, StringRecord};
use payfleet_domain::{Movement, StatementLine};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::ReconcileError;

const COLUMNS: [&str; 7] = ["key", "reference", "amount_minor", "currency", "destination", "status", "at"];

/// No field of a statement is longer.
const FIELD_BYTES_MAX: usize = 4 * 1024;

/// The lines of a file.
pub struct CsvStatement<R> {
    path: PathBuf,
    reader: csv::Reader<R>,
    record: StringRecord,
}

impl CsvStatement<File> {
    /// Opens the file and checks its header.
    pub(crate) fn open(path: &Path) -> Result<CsvStatement<File>, ReconcileError> {
        let file = File::open(path).map_err(|source| ReconcileError::Unreadable { path: path.to_owned(), source })?;
        CsvStatement::new(path, file)
    }
}

impl<R: Read> CsvStatement<R> {
    /// Reads from here, under this name, and checks the header.
    pub fn new(path: &Path, input: R) -> Result<CsvStatement<R>, ReconcileError> {
        let reader = csv::ReaderBuilder::new().has_headers(false).from_reader(input);
        let mut statement = CsvStatement { path: path.to_owned(), reader, record: StringRecord::new() };
        if !statement.read()? {
            return Err(statement.malformed(1, "header", "the file is empty"));
        }
        // What a spreadsheet puts in front of UTF-8.
        let header = statement.record.iter().enumerate();
        let same = header.map(|(n, name)| if n == 0 { name.trim_start_matches('\u{feff}') } else { name }).eq(COLUMNS);
        if !same {
            let why = format!("the first line must be {}", COLUMNS.join(","));
            return Err(statement.malformed(1, "header", &why));
        }
        Ok(statement)
    }

    /// The next line, if there is one.
    #[allow(clippy::should_implement_trait)] // a lending one that can fail
    pub fn next(&mut self) -> Result<Option<StatementLine>, ReconcileError> {
        if !self.read()? {
            return Ok(None);
        }
        let line = self.record.position().map_or(0, Position::line);
        let wrong = |column: &str, why: &str| self.malformed(line, column, why);
        let field = |n: usize| self.record.get(n).unwrap_or("");
        if let Some(n) = (0..COLUMNS.len()).find(|n| field(*n).len() > FIELD_BYTES_MAX) {
            return Err(wrong(COLUMNS[n], "longer than any field can be"));
        }
        if field(1).is_empty() {
            return Err(wrong("reference", "it is empty"));
        }
        let digits = field(2).strip_prefix('-').unwrap_or(field(2));
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(wrong("amount_minor", "not a whole number of minor units"));
        }
        let amount_minor = field(2).parse().map_err(|_| wrong("amount_minor", "too large"))?;
        if field(3).len() != 3 || !field(3).bytes().all(|byte| byte.is_ascii_alphabetic()) {
            return Err(wrong("currency", "not three letters"));
        }
        let movement = match field(5) {
            "paid" => Movement::Paid,
            "returned" => Movement::Returned,
            _ => return Err(wrong("status", "neither `paid` nor `returned`")),
        };
        let at = match field(6) {
            "" => None,
            text => Some(
                OffsetDateTime::parse(text, &Rfc3339)
                    .map_err(|_| wrong("at", "not an instant such as 2011-12-05T10:00:00Z"))?,
            ),
        };
        Ok(Some(StatementLine {
            key: field(0).to_owned(),
            reference: field(1).to_owned(),
            amount_minor,
            fee_minor: 0,
            currency: field(3).to_owned(),
            destination: field(4).to_owned(),
            movement,
            at,
            of: None,
        }))
    }

    fn read(&mut self) -> Result<bool, ReconcileError> {
        match self.reader.read_record(&mut self.record) {
            Ok(false) => Ok(false),
            Ok(true) if self.record.len() == COLUMNS.len() => Ok(true),
            Ok(true) => {
                let line = self.record.position().map_or(1, Position::line);
                Err(self.malformed(
                    line,
                    "line",
                    &format!("{} columns instead of {}", self.record.len(), COLUMNS.len()),
                ))
            }
            Err(error) => {
                let line = error.position().map_or_else(|| self.reader.position().line(), Position::line);
                match error.into_kind() {
                    csv::ErrorKind::Io(source) => Err(ReconcileError::Unreadable { path: self.path.clone(), source }),
                    csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
                        Err(self.malformed(line, "line", &format!("{len} columns instead of {expected_len}")))
                    }
                    csv::ErrorKind::Utf8 { err, .. } => {
                        let column = COLUMNS.get(err.field()).copied().unwrap_or("line");
                        Err(self.malformed(line, column, "not UTF-8"))
                    }
                    _ => Err(self.malformed(line, "line", "not CSV")),
                }
            }
        }
    }

    fn malformed(&self, line: u64, column: &str, why: &str) -> ReconcileError {
        let column = if COLUMNS.contains(&column) { format!("column {column}") } else { column.to_owned() };
        ReconcileError::Malformed { path: self.path.clone(), line, column, why: why.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn read(text: &[u8]) -> Result<Vec<StatementLine>, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let name = file.path().display().to_string();
        let all = || {
            let mut statement = CsvStatement::open(file.path())?;
            let mut lines = Vec::new();
            while let Some(line) = statement.next()? {
                lines.push(line);
            }
            Ok(lines)
        };
        all().map_err(|error: ReconcileError| error.to_string().replace(&name, "F"))
    }

    const HEADER: &str = "key,reference,amount_minor,currency,destination,status,at\n";

    #[test]
    fn a_statement_is_read_with_quotes_and_line_ends_of_any_kind() {
        let text = format!(
            "\u{feff}{HEADER}k,po_1,-5,EUR,\"a,\"\"b\"\"\",returned,\r\nk2,po_2,7,eur,d,paid,2011-12-05T10:00:00Z\r\n"
        );
        let lines = read(text.as_bytes()).unwrap();
        assert_eq!(lines.len(), 2);
        assert_eq!((lines[0].amount_minor, lines[0].destination.as_str()), (-5, "a,\"b\""));
        assert_eq!((lines[0].movement, lines[1].movement), (Movement::Returned, Movement::Paid));
        assert!(lines[0].at.is_none() && lines[1].at.is_some());
    }

    #[test]
    fn what_cannot_be_read_is_named_by_line_and_column() {
        let good = "k,po_1,5,EUR,d,paid,\n";
        for (text, expected) in [
            ("", "F:1: header: the file is empty"),
            ("key,reference\n", "F:1: line: 2 columns"),
            ("key,reference,amount,currency,destination,status,at\n", "F:1: header: the first line must be key,"),
            (&format!("{HEADER}{good}k,po_1,5.00,EUR,d,paid,\n"), "F:3: column amount_minor: not a whole"),
            (&format!("{HEADER}k,po_1,99999999999999999999,EUR,d,paid,\n"), "F:2: column amount_minor: too large"),
            (&format!("{HEADER}k,po_1,5,EURO,d,paid,\n"), "F:2: column currency"),
            (&format!("{HEADER}k,po_1,5,EUR,d,PAID,\n"), "F:2: column status"),
            (&format!("{HEADER}k,,5,EUR,d,paid,\n"), "F:2: column reference"),
            (&format!("{HEADER}k,po_1,5,EUR,d,paid,yesterday\n"), "F:2: column at"),
            (&format!("{HEADER}k,po_1,5,EUR,d,paid\n"), "F:2: line: 6 columns instead of 7"),
        ] {
            let error = read(text.as_bytes()).unwrap_err();
            assert!(error.starts_with(expected), "{error}");
            assert!(error.ends_with("nothing of it was taken"));
        }
        let mut binary = format!("{HEADER}k,po_1,5,EUR,").into_bytes();
        binary.extend([0xff, b',', b'p', b'a', b'i', b'd', b',', b'\n']);
        assert!(read(&binary).unwrap_err().starts_with("F:2: column destination: not UTF-8"));
    }
}
