//! A statement from a file: read line by line, and refused as a whole if one line cannot be understood. A payment could
//! hide behind it.
//!
//! Its last row may say whose statement it is and how far it reaches: `#end,RAIL/ACCOUNT,<number of
//! lines>,,<from>,complete,<until>`, in the columns key, reference, amount_minor, currency, destination, status and at.
//! Without it the file proves what it has, and nothing to be missing.

mod line;

use std::path::{Path, PathBuf};

use payfleet_domain::{Rail, StatementEnd, StatementLine};
use payfleet_input::{How, OpenError, Problem, Problems, RowError, Rows, STATEMENT, Source};

use self::line::{KEY, end, line};
use crate::ReconcileError;

/// In the place of a key: the row is the end.
const END: &str = "#end";

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
pub struct CsvStatement {
    path: PathBuf,
    rows: Rows,
}

impl CsvStatement {
    /// Opens the file and checks its header.
    pub(crate) fn open(path: &Path, how: &How) -> Result<CsvStatement, ReconcileError> {
        let source =
            Source::open(path).map_err(|source| ReconcileError::Unreadable { path: path.to_owned(), source })?;
        CsvStatement::new(path, source, how)
    }

    /// Reads from here, under this name, and checks the header.
    pub fn new(path: &Path, source: Source, how: &How) -> Result<CsvStatement, ReconcileError> {
        match Rows::open(source, &STATEMENT, how) {
            Ok(rows) => Ok(CsvStatement { path: path.to_owned(), rows }),
            Err(OpenError::Io(source)) => Err(ReconcileError::Unreadable { path: path.to_owned(), source }),
            Err(OpenError::Problems(problems)) => Err(malformed(path, &problems)),
            // Statements have none.
            Err(OpenError::Mapping(wrong)) => Err(ReconcileError::Malformed { report: wrong.to_string() }),
        }
    }

    /// Reads on to the end, and says everything that is wrong. Returns the end that the file names, if it has one.
    /// `is_asked_to_end` is asked for each line.
    pub fn check(mut self, is_asked_to_end: impl Fn() -> bool) -> Result<Option<FileEnd>, ReconcileError> {
        let mut problems = Problems::default();
        let mut end = None;
        loop {
            if is_asked_to_end() {
                return Err(ReconcileError::Interrupted);
            }
            match self.item() {
                Ok(None) => break,
                Ok(Some(FileItem::End(found))) => end = Some(found),
                Ok(Some(FileItem::Line(_))) => {}
                Err(RowError::Io(source)) => return Err(ReconcileError::Unreadable { path: self.path, source }),
                Err(RowError::Wrong { faults, is_fatal }) => {
                    problems.add_all(faults);
                    if is_fatal {
                        break;
                    }
                }
            }
        }
        if problems.is_empty() { Ok(end) } else { Err(malformed(&self.path, &problems)) }
    }

    /// What comes next, if anything does.
    #[allow(clippy::should_implement_trait)] // one that can fail
    pub fn next(&mut self) -> Result<Option<FileItem>, ReconcileError> {
        self.item().map_err(|error| match error {
            RowError::Io(source) => ReconcileError::Unreadable { path: self.path.clone(), source },
            RowError::Wrong { faults, .. } => {
                let mut problems = Problems::default();
                problems.add_all(faults);
                malformed(&self.path, &problems)
            }
        })
    }

    /// How the file is read, if that is anything but the usual.
    pub fn read_as(&self) -> Option<String> {
        (!self.rows.is_plain()).then(|| self.rows.read_as())
    }

    fn item(&mut self) -> Result<Option<FileItem>, RowError> {
        let wrong = |faults| RowError::Wrong { faults, is_fatal: false };
        let before = self.rows.count();
        let end = match self.rows.next()? {
            None => return Ok(None),
            Some(row) if row.text(KEY) == END => end(&row, before),
            Some(row) => return line(&row).map(|line| Some(FileItem::Line(line))).map_err(wrong),
        };
        // A second statement behind the first, or lines that were added by hand.
        let behind = self.rows.next()?.map(|row| Problem {
            line: row.line,
            column: "line".to_owned(),
            what: "it follows the row that ends the statement; remove what is behind it, or hand it in as a file of \
                 its own"
                .to_owned(),
        });
        match (end, behind) {
            (Ok(end), None) => Ok(Some(FileItem::End(end))),
            (Err(faults), None) => Err(wrong(faults)),
            (end, Some(behind)) => {
                let mut faults = end.err().unwrap_or_default();
                faults.add(behind);
                Err(RowError::Wrong { faults, is_fatal: true })
            }
        }
    }
}

fn malformed(path: &Path, problems: &Problems) -> ReconcileError {
    ReconcileError::Malformed { report: problems.report(&path.display().to_string(), "nothing of it was taken") }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use payfleet_domain::Movement;
    use time::OffsetDateTime;
    use time::format_description::well_known::Rfc3339;

    use super::*;

    fn read(text: &[u8]) -> Result<(Vec<StatementLine>, Option<FileEnd>), String> {
        let open = || CsvStatement::new(Path::new("F"), Source::of("F", text.to_owned()), &How::default());
        let all = || {
            open()?.check(|| false)?;
            let mut statement = open()?;
            let (mut lines, mut end) = (Vec::new(), None);
            while let Some(item) = statement.next()? {
                match item {
                    FileItem::Line(line) => lines.push(line),
                    FileItem::End(found) => end = Some(found),
                }
            }
            Ok((lines, end))
        };
        all().map_err(|error: ReconcileError| error.to_string())
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
        let reach = StatementEnd { from, until, now: until, open_from: None, lines: 2 };
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
            ("", "F:1:file: the file is empty"),
            ("key,reference\n", "F:1:amount_minor: the column is missing"),
            (
                "key,reference,amount,currency,destination,status,at\n",
                "F:1:amount: an unknown column, perhaps `amount_minor` misspelt",
            ),
            (&format!("{HEADER}{good}k,po_1,5.00,EUR,d,paid,\n"), "F:3:amount_minor: `5.00` is not a whole"),
            (
                &format!("{HEADER}k,po_1,99999999999999999999,EUR,d,paid,\n"),
                "F:2:amount_minor: `99999999999999999999` is too large",
            ),
            (&format!("{HEADER}k,po_1,5,EURO,d,paid,\n"), "F:2:currency"),
            (&format!("{HEADER}k,po_1,5,EUR,d,PAID,\n"), "F:2:status"),
            (&format!("{HEADER}k,,5,EUR,d,paid,\n"), "F:2:reference"),
            (&format!("{HEADER}k,po_1,5,EUR,d,paid,yesterday\n"), "F:2:at"),
            (&format!("{HEADER}k,po_1,5,EUR,d,paid\n"), "F:2:at: the row has 6 fields and the header 7"),
            (&format!("{HEADER}k,po_1,5,EUR,d,paid,,1\n"), "F:2:field 8: the row has 8 fields and the header 7"),
            (&format!("{HEADER}k,po_1,-5,EUR,d,paid,\n"), "F:2:amount_minor: `-5` is not more than nothing"),
            (&format!("{HEADER}k,po_1,0,EUR,d,returned,\n"), "F:2:amount_minor: `0` is not more than nothing"),
            (&format!("{all},extra\n"), "F:1:extra: an unknown column; the columns are key,"),
            (&format!("{first},of,of\n"), "F:1:of: the column is there twice"),
            (&format!("{all}\nk,po_1,5,EUR,d,paid,,1,\n"), "F:2:fee_minor: only what came back"),
            (&format!("{all}\nk,po_1,5,EUR,d,returned,,-1,\n"), "F:2:fee_minor: only what came back"),
            (&format!("{all}\nk,po_1,5,EUR,d,returned,,x,\n"), "F:2:fee_minor: `x` is not a whole number"),
            (&format!("{all}\nk,po_1,5,EUR,d,paid,,,po_2\n"), "F:2:of: only what came back"),
            (
                &end("sandbox-file", "1", "", FROM, "complete", UNTIL),
                "F:3:reference: `sandbox-file` is not RAIL/ACCOUNT",
            ),
            (&end("bank/a", "1", "", FROM, "complete", UNTIL), "F:3:reference: `bank` is not a rail"),
            (&end("null/a", "1", "", FROM, "complete", UNTIL), "F:3:reference: the rail null has no statements"),
            (
                &end("sandbox-file/", "1", "", FROM, "complete", UNTIL),
                "F:3:reference: `sandbox-file/` is not RAIL/ACCOUNT",
            ),
            (&end("sandbox-file/a", "", "", FROM, "complete", UNTIL), "F:3:amount_minor: `` is not the number"),
            (
                &end("sandbox-file/a", "2", "", FROM, "complete", UNTIL),
                "F:3:amount_minor: the end counts `2` lines, and there are 1",
            ),
            (
                &end("sandbox-file/a", "1", "EUR", FROM, "complete", UNTIL),
                "F:3:currency: `EUR` stands there, and the end has none",
            ),
            (&end("sandbox-file/a", "1", "", FROM, "paid", UNTIL), "F:3:status: `paid` is not `complete`"),
            (&end("sandbox-file/a", "1", "", "", "complete", UNTIL), "F:3:destination: from when"),
            (&end("sandbox-file/a", "1", "", FROM, "complete", ""), "F:3:at: until when"),
            (&end("sandbox-file/a", "1", "", UNTIL, "complete", FROM), "F:3:at: it ends before"),
            (&format!("{whole}{good}"), "F:4:line: it follows the row that ends"),
            (&format!("{whole}{}", whole.trim_start_matches(HEADER)), "F:4:line: it follows the row that ends"),
        ] {
            let error = read(text.as_bytes()).unwrap_err();
            assert!(error.starts_with(expected), "{error}");
            assert!(error.contains("\nnothing of it was taken: "), "{error}");
        }
        let mut binary = format!("{HEADER}k,po_1,5,EUR,").into_bytes();
        binary.extend([0xff, b',', b'p', b'a', b'i', b'd', b',', b'\n']);
        let letter = String::from_utf8_lossy(&binary).into_owned();
        assert!(read(&binary).is_ok(), "a letter of Windows-1252: {letter}");
        binary.extend("k,po_2,5,EUR,ü,paid,\n".as_bytes());
        assert!(read(&binary).unwrap_err().starts_with("F:2:file: some letters are UTF-8 and this one is not"));
    }

    #[test]
    fn all_that_is_wrong_is_said_at_once() {
        let wrong = "k,,5.0,EURO,d,PAID,yesterday\n".repeat(60);
        let error = read(format!("{HEADER}{wrong}k,po_1,5,EUR,d,paid\n").as_bytes()).unwrap_err();
        for expected in
            ["F:2:reference: ", "F:2:amount_minor: ", "F:2:currency: ", "F:2:status: ", "F:2:at: ", "F:21:at: "]
        {
            assert!(error.contains(expected), "{expected} in {error}");
        }
        assert!(error.ends_with("\nnothing of it was taken: 301 errors, of which these are the first 100"), "{error}");
    }

    #[test]
    fn a_statement_comes_as_spreadsheets_write_it() {
        let rows = "sep=;\nAmount_Minor; KEY \
             ;reference;currency;destination;at;status\n;;;;;;\n5;k;po_1;EUR;Jürgen;;paid\n\
                    1;#end;sandbox-file/a;;2011-12-01T00:00:00Z;2011-12-06T00:00:00Z;complete\n";
        let bytes: Vec<u8> = format!("\u{feff}{rows}").encode_utf16().flat_map(u16::to_le_bytes).collect();
        let (lines, end) = read(&bytes).unwrap();
        assert_eq!((lines.len(), lines[0].destination.as_str(), end.unwrap().reach.lines), (1, "Jürgen", 1));
        let statement = CsvStatement::new(Path::new("F"), Source::of("F", bytes), &How::default()).unwrap();
        assert_eq!(statement.read_as().as_deref(), Some("UTF-16, separated by semicolons"));
    }
}
