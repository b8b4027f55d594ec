//! A statement from a file: CSV, read line by line, and refused as a whole if one line cannot be understood. A payment could hide behind it.
//!
//! Its last row may say whose statement it is and how far it reaches:
//! `#end,RAIL/ACCOUNT,<number of lines>,,<from>,complete,<until>`. Without it the file proves what it has, and nothing to
//! be missing.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use csv::{Position, StringRecord};
use payfleet_domain::{Movement, Rail, StatementEnd, StatementLine};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::ReconcileError;

const COLUMNS: [&str; 7] = ["key", "reference", "amount_minor", "currency", "destination", "status", "at"];

/// What may follow them: what the rail kept of money that came back, and the reference of the payment that it is of.
const MORE_COLUMNS: [&str; 2] = ["fee_minor", "of"];

/// In the place of a key: the row is the end.
const END: &str = "#end";

/// No field of a statement is longer.
const FIELD_BYTES_MAX: usize = 4 * 1024;

/// What a file consists of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileItem {
    /// A line.
    Line(StatementLine),
    /// The row that ends it. Nothing follows.
    End(FileEnd),
}

/// Whose statement a file is, and how far it reaches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileEnd {
    /// The rail, one that has statements.
    pub rail: &'static Rail,
    /// The rail's name for the account.
    pub account: String,
    /// The reach. A file does not say when it was made, so `now` is `until`.
    pub reach: StatementEnd,
}

/// The lines of a file.
pub struct CsvStatement<R> {
    path: PathBuf,
    reader: csv::Reader<R>,
    record: StringRecord,
    /// The names of all columns.
    columns: Vec<&'static str>,
    /// Lines read so far.
    lines: u64,
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
        let (record, columns) = (StringRecord::new(), COLUMNS.to_vec());
        let mut statement = CsvStatement { path: path.to_owned(), reader, record, columns, lines: 0 };
        if !statement.read()? {
            return Err(statement.malformed(1, "header", "the file is empty"));
        }
        // What a spreadsheet puts in front of UTF-8.
        let header = statement.record.iter().enumerate();
        let mut names = header.map(|(n, name)| if n == 0 { name.trim_start_matches('\u{feff}') } else { name });
        let is_known = names.by_ref().take(COLUMNS.len()).eq(COLUMNS);
        let more: Vec<_> = names.map(|name| MORE_COLUMNS.into_iter().find(|known| *known == name)).collect();
        let is_twice = matches!(more[..], [Some(one), Some(other)] if one == other);
        let columns: Option<Vec<_>> = COLUMNS.map(Some).into_iter().chain(more).collect();
        match columns {
            Some(columns) if is_known && !is_twice && columns.len() <= COLUMNS.len() + MORE_COLUMNS.len() => {
                statement.columns = columns;
                Ok(statement)
            }
            _ => {
                let (columns, more) = (COLUMNS.join(","), MORE_COLUMNS.join(" and "));
                let why = format!("the first line must be {columns}, and {more} may follow");
                Err(statement.malformed(1, "header", &why))
            }
        }
    }

    /// What comes next, if anything does.
    #[allow(clippy::should_implement_trait)] // a lending one that can fail
    pub fn next(&mut self) -> Result<Option<FileItem>, ReconcileError> {
        if !self.read()? {
            return Ok(None);
        }
        let line = self.record.position().map_or(0, Position::line);
        if let Some(n) = self.record.iter().position(|field| field.len() > FIELD_BYTES_MAX) {
            return Err(self.malformed(line, self.columns[n], "longer than any field can be"));
        }
        if self.record.get(0) == Some(END) {
            let end = self.end(line)?;
            // A second statement behind the first, or lines that were added by hand.
            return match self.read()? {
                false => Ok(Some(FileItem::End(end))),
                true => {
                    let line = self.record.position().map_or(0, Position::line);
                    Err(self.malformed(line, "line", "it follows the row that ends the statement"))
                }
            };
        }
        let item = self.line(line)?;
        self.lines += 1;
        Ok(Some(FileItem::Line(item)))
    }

    /// The field of this column; nothing where the file has no such column.
    fn field(&self, column: &str) -> &str {
        let place = self.columns.iter().position(|name| *name == column);
        place.and_then(|place| self.record.get(place)).unwrap_or("")
    }

    fn line(&self, line: u64) -> Result<StatementLine, ReconcileError> {
        let wrong = |column: &str, why: &str| self.malformed(line, column, why);
        let field = |n: usize| self.record.get(n).unwrap_or("");
        if field(1).is_empty() {
            return Err(wrong("reference", "it is empty"));
        }
        let minor = |column: &str, text: &str| match text.strip_prefix('-').unwrap_or(text) {
            digits if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                Err(wrong(column, "not a whole number of minor units"))
            }
            _ => text.parse::<i64>().map_err(|_| wrong(column, "too large")),
        };
        let amount_minor = minor("amount_minor", field(2))?;
        if amount_minor <= 0 {
            return Err(wrong("amount_minor", "not more than nothing; what came back is `returned`, and has no sign"));
        }
        if field(3).len() != 3 || !field(3).bytes().all(|byte| byte.is_ascii_alphabetic()) {
            return Err(wrong("currency", "not three letters"));
        }
        let movement = match field(5) {
            "paid" => Movement::Paid,
            "returned" => Movement::Returned,
            "rejected" => Movement::Rejected,
            _ => return Err(wrong("status", "neither `paid` nor `returned` nor `rejected`")),
        };
        let at = match field(6) {
            "" => None,
            text => Some(
                OffsetDateTime::parse(text, &Rfc3339)
                    .map_err(|_| wrong("at", "not an instant such as 2011-12-05T10:00:00Z"))?,
            ),
        };
        let (fee, of) = (self.field("fee_minor"), self.field("of"));
        let fee_minor = if fee.is_empty() { 0 } else { minor("fee_minor", fee)? };
        if fee_minor < 0 || (fee_minor > 0 && movement != Movement::Returned) {
            return Err(wrong("fee_minor", "only what came back has a fee, and none is below nothing"));
        }
        if !of.is_empty() && movement != Movement::Returned {
            return Err(wrong("of", "only what came back is of another payment"));
        }
        Ok(StatementLine {
            key: field(0).to_owned(),
            reference: field(1).to_owned(),
            amount_minor,
            fee_minor,
            currency: field(3).to_owned(),
            destination: field(4).to_owned(),
            movement,
            at,
            of: (!of.is_empty()).then(|| of.to_owned()),
        })
    }

    fn end(&self, line: u64) -> Result<FileEnd, ReconcileError> {
        let wrong = |column: &str, why: &str| self.malformed(line, column, why);
        let field = |column: &str| self.field(column);
        let whose = field("reference").split_once('/').filter(|(_, account)| !account.is_empty());
        let (rail, account) = whose.ok_or_else(|| wrong("reference", "not RAIL/ACCOUNT, as the end needs it"))?;
        let rail = Rail::named(rail).map_err(|unknown| wrong("reference", &unknown.to_string()))?;
        if !rail.has_statement {
            return Err(wrong("reference", "this rail has no statements"));
        }
        let lines = field("amount_minor");
        if lines.is_empty() || !lines.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(wrong("amount_minor", "not the number of lines, as the end needs it"));
        }
        if lines.parse() != Ok(self.lines) {
            let why = format!("the end counts {lines} lines, and there are {}", self.lines);
            return Err(wrong("amount_minor", &why));
        }
        if field("status") != "complete" {
            return Err(wrong("status", "not `complete`, as the end needs it"));
        }
        if let Some(column) = ["currency", "fee_minor", "of"].into_iter().find(|column| !field(column).is_empty()) {
            return Err(wrong(column, "the end has none"));
        }
        let instant = |column: &str, what: &str| {
            let why = || format!("{what}: not an instant such as 2011-12-05T10:00:00Z");
            OffsetDateTime::parse(field(column), &Rfc3339).map_err(|_| wrong(column, &why()))
        };
        let from = instant("destination", "from when the statement has everything")?;
        let until = instant("at", "until when the statement has everything")?;
        if until < from {
            return Err(wrong("at", "it ends before it begins"));
        }
        let reach = StatementEnd { from, until, now: until, lines: self.lines };
        Ok(FileEnd { rail, account: account.to_owned(), reach })
    }

    fn read(&mut self) -> Result<bool, ReconcileError> {
        match self.reader.read_record(&mut self.record) {
            Ok(false) => Ok(false),
            // Of the first line: the others have as many as that one.
            Ok(true) if self.record.len() >= COLUMNS.len() => Ok(true),
            Ok(true) => {
                let line = self.record.position().map_or(1, Position::line);
                let why = format!("{} columns instead of {}", self.record.len(), COLUMNS.len());
                Err(self.malformed(line, "line", &why))
            }
            Err(error) => {
                let line = error.position().map_or_else(|| self.reader.position().line(), Position::line);
                match error.into_kind() {
                    csv::ErrorKind::Io(source) => Err(ReconcileError::Unreadable { path: self.path.clone(), source }),
                    csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
                        Err(self.malformed(line, "line", &format!("{len} columns instead of {expected_len}")))
                    }
                    csv::ErrorKind::Utf8 { err, .. } => {
                        let column = self.columns.get(err.field()).copied().unwrap_or("line");
                        Err(self.malformed(line, column, "not UTF-8"))
                    }
                    _ => Err(self.malformed(line, "line", "not CSV")),
                }
            }
        }
    }

    fn malformed(&self, line: u64, column: &str, why: &str) -> ReconcileError {
        let is_column = COLUMNS.contains(&column) || MORE_COLUMNS.contains(&column);
        let column = if is_column { format!("column {column}") } else { column.to_owned() };
        ReconcileError::Malformed { path: self.path.clone(), line, column, why: why.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn read(text: &[u8]) -> Result<(Vec<StatementLine>, Option<FileEnd>), String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let name = file.path().display().to_string();
        let all = || {
            let mut statement = CsvStatement::open(file.path())?;
            let (mut lines, mut end) = (Vec::new(), None);
            while let Some(item) = statement.next()? {
                match item {
                    FileItem::Line(line) => lines.push(line),
                    FileItem::End(found) => end = Some(found),
                }
            }
            Ok((lines, end))
        };
        all().map_err(|error: ReconcileError| error.to_string().replace(&name, "F"))
    }

    const HEADER: &str = "key,reference,amount_minor,currency,destination,status,at\n";

    #[test]
    fn a_statement_is_read_with_quotes_and_line_ends_of_any_kind() {
        let text = format!(
            "\u{feff}{HEADER}k,po_1,5,EUR,\"a,\"\"b\"\"\",returned,\r\nk2,po_2,7,eur,d,paid,2011-12-05T10:00:00Z\r\n"
        );
        let (lines, end) = read(text.as_bytes()).unwrap();
        assert_eq!((lines.len(), end), (2, None));
        assert_eq!((lines[0].amount_minor, lines[0].destination.as_str()), (5, "a,\"b\""));
        assert_eq!((lines[0].movement, lines[1].movement), (Movement::Returned, Movement::Paid));
        assert!(lines[0].at.is_none() && lines[1].at.is_some());
    }

    const FROM: &str = "2011-12-01T00:00:00Z";
    const UNTIL: &str = "2011-12-06T00:00:00Z";

    #[test]
    fn the_last_row_says_whose_statement_it_is_and_how_far_it_reaches() {
        let lines = "k,po_1,5,EUR,d,paid,\nk,rt_1,4,EUR,d,returned,\n";
        let (read_lines, end) =
            read(format!("{HEADER}{lines}#end,sandbox-file/a/b,2,,{FROM},complete,{UNTIL}\n").as_bytes()).unwrap();
        let instant = |text| OffsetDateTime::parse(text, &Rfc3339).unwrap();
        let (from, until) = (instant(FROM), instant(UNTIL));
        let reach = StatementEnd { from, until, now: until, lines: 2 };
        let rail = Rail::named("sandbox-file").unwrap();
        assert_eq!((read_lines.len(), end), (2, Some(FileEnd { rail, account: "a/b".to_owned(), reach })));
    }

    #[test]
    fn a_statement_may_say_fees_and_what_came_back() {
        for (columns, paid, returned) in [
            ("fee_minor,of", "0,", "1,po_1"),
            ("of,fee_minor", ",0", "po_1,1"),
            ("fee_minor", "", "1"),
            ("of", "", "po_1"),
        ] {
            let header = HEADER.trim_end();
            let lines = format!("k,po_1,5,EUR,d,paid,,{paid}\nk,rt_1,4,EUR,d,returned,,{returned}");
            let empty = if columns.contains(',') { "," } else { "" };
            let end = format!("#end,sandbox-payout/a,2,,{FROM},complete,{UNTIL},{empty}");
            let text = format!("{header},{columns}\n{lines}\n{end}\n");
            let (lines, end) = read(text.as_bytes()).unwrap();
            assert!(end.is_some());
            assert_eq!((lines[0].fee_minor, &lines[0].of), (0, &None));
            assert_eq!(lines[1].fee_minor, i64::from(columns.contains("fee_minor")), "{columns}");
            assert_eq!(lines[1].of.is_some(), columns.contains("of"), "{columns}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_named_by_line_and_column() {
        let good = "k,po_1,5,EUR,d,paid,\n";
        let first = HEADER.trim_end();
        let all = format!("{first},fee_minor,of");
        let end = |whose: &str, count: &str, currency: &str, from: &str, status: &str, until: &str| {
            format!("{HEADER}{good}#end,{whose},{count},{currency},{from},{status},{until}\n")
        };
        let whole = end("sandbox-file/a", "1", "", FROM, "complete", UNTIL);
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
            (&format!("{HEADER}k,po_1,5,EUR,d,paid,,1\n"), "F:2: line: 8 columns instead of 7"),
            (&format!("{HEADER}k,po_1,-5,EUR,d,paid,\n"), "F:2: column amount_minor: not more than nothing"),
            (&format!("{HEADER}k,po_1,0,EUR,d,returned,\n"), "F:2: column amount_minor: not more than nothing"),
            (&format!("{all},extra\n"), "F:1: header: the first line must be key,"),
            (&format!("{first},of,of\n"), "F:1: header: the first line must be key,"),
            (&format!("{all}\nk,po_1,5,EUR,d,paid,,1,\n"), "F:2: column fee_minor: only what came back"),
            (&format!("{all}\nk,po_1,5,EUR,d,returned,,-1,\n"), "F:2: column fee_minor: only what came back"),
            (&format!("{all}\nk,po_1,5,EUR,d,returned,,x,\n"), "F:2: column fee_minor: not a whole number"),
            (&format!("{all}\nk,po_1,5,EUR,d,paid,,,po_2\n"), "F:2: column of: only what came back"),
            (&end("sandbox-file", "1", "", FROM, "complete", UNTIL), "F:3: column reference: not RAIL/ACCOUNT"),
            (&end("bank/a", "1", "", FROM, "complete", UNTIL), "F:3: column reference: `bank` is not a rail"),
            (&end("null/a", "1", "", FROM, "complete", UNTIL), "F:3: column reference: this rail has no statements"),
            (&end("sandbox-file/", "1", "", FROM, "complete", UNTIL), "F:3: column reference: not RAIL/ACCOUNT"),
            (&end("sandbox-file/a", "", "", FROM, "complete", UNTIL), "F:3: column amount_minor: not the number"),
            (
                &end("sandbox-file/a", "2", "", FROM, "complete", UNTIL),
                "F:3: column amount_minor: the end counts 2 lines, and there are 1",
            ),
            (&end("sandbox-file/a", "1", "EUR", FROM, "complete", UNTIL), "F:3: column currency: the end has none"),
            (&end("sandbox-file/a", "1", "", FROM, "paid", UNTIL), "F:3: column status: not `complete`"),
            (&end("sandbox-file/a", "1", "", "", "complete", UNTIL), "F:3: column destination: from when"),
            (&end("sandbox-file/a", "1", "", FROM, "complete", ""), "F:3: column at: until when"),
            (&end("sandbox-file/a", "1", "", UNTIL, "complete", FROM), "F:3: column at: it ends before"),
            (&format!("{whole}{good}"), "F:4: line: it follows the row that ends"),
            (&format!("{whole}{}", whole.trim_start_matches(HEADER)), "F:4: line: it follows the row that ends"),
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
