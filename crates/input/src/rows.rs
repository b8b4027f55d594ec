//! The rows of a file, one after the other, judged as far as that can be done without knowing what they mean.

use std::io::{self, BufReader, Read};

use encoding_rs::Encoding;

use crate::amount::Marks;
use crate::columns::{Columns, names, same, tidy};
use crate::csv::{CsvError, CsvReader, Record};
use crate::decode::{Surprise, decoded, name};
use crate::foreign;
use crate::kinds::{COLUMNS_MAX, FileKind};
use crate::map::{BadMapping, Mapping, Plan, Wanted};
use crate::problems::{Faults, Problem, Problems};
use crate::row::Row;
use crate::scan::Writing;
use crate::shown::{is_unseen, shown};
use crate::source::Source;
use crate::text::text;

/// How a file is to be read, where that is not left to what it looks like.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct How {
    /// How letters are written.
    pub encoding: Option<&'static Encoding>,
    /// What separates fields.
    pub delimiter: Option<u8>,
    /// What separates units and decimals.
    pub decimal: Option<char>,
    /// What another system's export means in our columns.
    pub map: Option<Mapping>,
    /// Columns of ours that have the same value in every row.
    pub set: Vec<(String, String)>,
}

impl How {
    /// The mapping for this kind of file, if there is one.
    fn wanted(&self, kind: &'static FileKind) -> Result<Option<Wanted>, BadMapping> {
        match &self.map {
            None if self.set.is_empty() => Ok(None),
            None => Wanted::new(&Mapping::ours(), &self.set, self.decimal, kind).map(Some),
            Some(mapping) => Wanted::new(mapping, &self.set, self.decimal, kind).map(Some),
        }
    }
}

/// Why a file cannot be read at all.
#[derive(Debug)]
pub enum OpenError {
    /// It is not what it should be.
    Problems(Problems),
    /// The mapping is not for such a file.
    Mapping(BadMapping),
    /// The operating system says no.
    Io(io::Error),
}

/// Why a row cannot be read.
#[derive(Debug)]
pub enum RowError {
    /// It is wrong.
    Wrong {
        /// What is wrong with it.
        faults: Faults,
        /// Whether nothing can be said of what follows.
        is_fatal: bool,
    },
    /// The operating system says no.
    Io(io::Error),
}

/// The rows of a file.
pub struct Rows {
    csv: Csv,
    columns: Columns,
    plan: Option<Plan>,
    marks: Marks,
    writing: Writing,
    delimiter: u8,
    rows: u64,
}

type Csv = CsvReader<BufReader<Box<dyn Read + Send>>>;

/// In so many rows the header is looked for if a mapping says what it must have: other systems write titles above it.
const HEADER_ROWS: usize = 30;

/// What separates fields, of which one is recognised by the header.
const DELIMITERS: [(u8, &str); 4] = [(b',', "commas"), (b';', "semicolons"), (b'\t', "tabs"), (b'|', "vertical bars")];

impl Rows {
    /// Recognises how the file is written, and finds its columns.
    pub fn open(mut source: Source, kind: &'static FileKind, how: &How) -> Result<Rows, OpenError> {
        let wanted = how.wanted(kind).map_err(OpenError::Mapping)?;
        let scan = source.scan().map_err(OpenError::Io)?;
        let wrong = |line, what| OpenError::Problems(Problem { line, column: "file".to_owned(), what }.into());
        let is = |what| wrong(1, format!("the file is {what}"));
        if let Some(what) = foreign::binary(scan.begin()) {
            return Err(is(what));
        }
        let encoding = how.encoding.or(how.map.as_ref().and_then(|map| map.encoding));
        let writing = match scan.writing(encoding) {
            Ok(writing) => writing,
            Err(unwritten) => {
                let line = source.line_of(unwritten.at).map_err(OpenError::Io)?;
                return Err(wrong(line, unwritten.what.to_owned()));
            }
        };
        let (begin, _) = writing.encoding.decode_without_bom_handling(&scan.begin()[writing.mark..]);
        if let Some(what) = foreign::text(&begin) {
            return Err(is(what));
        }
        if begin.trim().is_empty() {
            return Err(wrong(1, format!("the file is empty; it begins with a header: {}", kind.required().join(","))));
        }
        let mut lines = begin.split(['\n', '\r']).filter(|line| !line.is_empty()).peekable();
        let separator = lines.peek().and_then(|first| separator(first));
        if separator.is_some() {
            lines.next();
        }
        let said = how.delimiter.or(how.map.as_ref().and_then(|map| map.delimiter)).or(separator);
        let delimiter = said.unwrap_or_else(|| match &wanted {
            Some(wanted) if wanted.set().is_none() => recognised(lines.take(HEADER_ROWS), &wanted.names()),
            _ => recognised(lines.take(1), kind.columns),
        });
        let input = decoded(source.into_read(), writing).map_err(OpenError::Io)?;
        let mut csv = CsvReader::new(BufReader::with_capacity(64 * 1024, input), delimiter);
        if separator.is_some() {
            // Whatever it is for the reader, it is one line.
            let _ = csv.advance();
        }
        let (columns, plan) = match wanted {
            None => (header(&mut csv, kind, &[])?, None),
            Some(wanted) => {
                let names = match wanted.set() {
                    Some(set) => header(&mut csv, kind, &set)?.names().to_vec(),
                    None => mapped_header(&mut csv, &wanted, kind)?,
                };
                let plan = wanted.plan(&names);
                (Columns::mapped(names, kind, &plan), Some(plan))
            }
        };
        // What a mapping reads is plain already.
        let decimal = how.decimal.filter(|_| plan.is_none()).unwrap_or('.');
        let marks = Marks { decimal, ..Marks::default() };
        Ok(Rows { csv, columns, plan, marks, writing, delimiter, rows: 0 })
    }

    /// What comes next, if anything does. Rows of which every field is empty are passed over, as spreadsheets write
    /// them.
    #[allow(clippy::should_implement_trait)] // a lending one that can fail
    pub fn next(&mut self) -> Result<Option<Row<'_>>, RowError> {
        let wrong = |faults| RowError::Wrong { faults, is_fatal: false };
        // Of what was reversed, what takes it back comes next.
        while !self.plan.as_mut().is_some_and(Plan::turn) {
            if !self.advance()? {
                return Ok(None);
            }
            let Some(plan) = &mut self.plan else { break };
            let record = self.csv.record();
            fields(&record, &self.columns, self.delimiter).map_err(|problem| wrong(problem.into()))?;
            if plan.take(&record, self.columns.names(), self.writing).map_err(wrong)? {
                break;
            }
        }
        let record = self.csv.record();
        let values = match &self.plan {
            Some(plan) => plan.values(),
            None => self.judge(&record).map_err(wrong)?,
        };
        let reversal = self.plan.as_ref().map(Plan::reversal).unwrap_or_default();
        Ok(Some(Row { line: record.line, reversal, values, columns: &self.columns, marks: &self.marks }))
    }

    /// Goes to the next row that is not empty.
    fn advance(&mut self) -> Result<bool, RowError> {
        loop {
            match self.csv.advance() {
                Ok(false) => return Ok(false),
                Ok(true) if self.csv.record().fields().all(|field| field.trim_ascii().is_empty()) => {}
                Ok(true) => {
                    self.rows += 1;
                    return Ok(true);
                }
                Err(CsvError::Malformed { line, field, what, fatal }) => {
                    self.rows += 1;
                    let problem = Problem { line, column: self.columns.name(field), what: what.to_owned() };
                    return Err(RowError::Wrong { faults: problem.into(), is_fatal: fatal });
                }
                Err(CsvError::Io(error)) => return Err(self.broken_off(error)),
            }
        }
    }

    /// What a mapping has left out so far: why, and how many rows.
    pub fn left_out(&self) -> &[(String, u64)] {
        self.plan.as_ref().map_or(&[], Plan::left_out)
    }

    /// How many rows were reversed so far, and came with what takes them back. Those that are to be left out if they
    /// were not imported before are among them.
    pub fn reversed(&self) -> u64 {
        self.plan.as_ref().map_or(0, Plan::reversed)
    }

    /// What the columns of ours are called in the file.
    pub fn titles(&self) -> &[String] {
        self.columns.titles()
    }

    /// How many rows there were so far, right or wrong; not those that are empty.
    pub fn count(&self) -> u64 {
        self.rows
    }

    /// The line that was read last.
    pub fn line(&self) -> u64 {
        self.csv.line()
    }

    /// How the file was read, such as `UTF-16, separated by semicolons`.
    pub fn read_as(&self) -> String {
        let mut encoding = name(self.writing.encoding).to_owned();
        if encoding == "UTF-8" && self.writing.mark > 0 {
            encoding.push_str(" with a byte order mark");
        }
        if self.writing.is_macintosh {
            encoding.push_str(" with the line ends of an old Macintosh");
        }
        format!("{encoding}, separated by {}", separated_by(self.delimiter))
    }

    /// Whether that is anything but the usual.
    pub fn is_plain(&self) -> bool {
        self.read_as() == "UTF-8, separated by commas"
    }

    /// The texts of the wanted columns.
    fn judge<'a>(&self, record: &Record<'a>) -> Result<[Option<&'a str>; COLUMNS_MAX], Faults> {
        fields(record, &self.columns, self.delimiter)?;
        let mut values = [None; COLUMNS_MAX];
        if let Some(line) = record.plain().filter(|_| self.columns.nameless().is_empty()) {
            for (value, place) in values.iter_mut().zip(self.columns.places()) {
                *value = place.and_then(|place| line.get(record.span(place)));
            }
            return Ok(values);
        }
        let problem =
            |place: usize, what: String| Problem { line: record.line, column: self.columns.name(place), what };
        let mut faults = Faults::default();
        for (value, place) in values.iter_mut().zip(self.columns.places()) {
            if let Some(place) = *place {
                let found = text(record.field(place), self.writing).map_err(|what| problem(place, what));
                *value = faults.keep(found);
            }
        }
        for &place in self.columns.nameless() {
            let field = record.field(place);
            if !field.trim_ascii().is_empty() {
                let value = shown(&String::from_utf8_lossy(field));
                let what = format!("{value} stands in a column that the header has no name for; name it, or remove it");
                faults.add(problem(place, what));
            }
        }
        faults.verdict().map(|()| values)
    }

    /// The input failed, or the rest of a pipe is not what its beginning made believe.
    fn broken_off(&self, error: io::Error) -> RowError {
        if !error.get_ref().is_some_and(|inner| inner.is::<Surprise>()) {
            return RowError::Io(error);
        }
        let what = "the input is UTF-8 from here on, and its beginning is not; name the file instead of a pipe, or \
             say how it is written, such as \
                    --encoding windows-1252";
        let problem = Problem { line: self.csv.line() + 1, column: "file".to_owned(), what: what.to_owned() };
        RowError::Wrong { faults: problem.into(), is_fatal: true }
    }
}

/// What the line `sep=;` says, which Excel writes and obeys.
fn separator(line: &str) -> Option<u8> {
    let line: String = line.chars().filter(|c| !matches!(c, '"' | ' ')).collect();
    let (word, mark) = line.split_at_checked(4)?;
    let mark = mark.as_bytes();
    // What stands behind it was added by whoever saved the file again.
    let is_said = word.eq_ignore_ascii_case("sep=") && mark.iter().all(|byte| Some(byte) == mark.first());
    mark.first().copied().filter(|byte| is_said && byte.is_ascii() && !byte.is_ascii_alphanumeric())
}

/// By which delimiter one of these lines falls into the most known names; if none does, into the most fields.
fn recognised<'a>(lines: impl Iterator<Item = &'a str>, known: &[&str]) -> u8 {
    let lines: Vec<&str> = lines.collect();
    let score = |delimiter: u8| {
        let of = |line: &&str| {
            let names = loose(line, char::from(delimiter));
            (names.iter().filter(|name| known.iter().any(|known| same(known, name))).count(), names.len())
        };
        lines.iter().map(of).max()
    };
    // The first of those that are equal: commas.
    let best = DELIMITERS.iter().rev().max_by_key(|(delimiter, _)| score(*delimiter));
    best.map_or(b',', |(delimiter, _)| *delimiter)
}

/// The header of a file of ours: its first row.
fn header(csv: &mut Csv, kind: &'static FileKind, set: &[&str]) -> Result<Columns, OpenError> {
    match csv.advance() {
        Ok(true) => Columns::find(&csv.record(), kind, set).map_err(OpenError::Problems),
        Ok(false) => {
            let what = format!("the file has no header; it is {}", kind.required().join(","));
            Err(OpenError::Problems(Problem { line: 1, column: "header".to_owned(), what }.into()))
        }
        Err(error) => Err(unheaded(error)),
    }
}

/// Columns that are missing, each with what to say of it.
type Missing = Vec<(String, String)>;

/// The first row that has all columns which the mapping reads.
fn mapped_header(csv: &mut Csv, wanted: &Wanted, kind: &'static FileKind) -> Result<Vec<String>, OpenError> {
    // The row that comes nearest: its line, what stands in it, and what is missing.
    let mut nearest: Option<(u64, Vec<String>, Missing)> = None;
    for _ in 0..HEADER_ROWS {
        let record = match csv.advance() {
            Ok(true) => csv.record(),
            Ok(false) => break,
            // A title above the header is no row.
            Err(CsvError::Malformed { fatal: false, .. }) => continue,
            Err(error) => return Err(unheaded(error)),
        };
        let names = names(&record);
        let missing = wanted.missing(&names);
        if missing.is_empty() {
            return Ok(names);
        }
        if nearest.as_ref().is_none_or(|(.., before)| missing.len() < before.len()) {
            nearest = Some((record.line, names, missing));
        }
    }
    let mut problems = Problems::default();
    match nearest {
        Some((line, names, _)) if kind.required().iter().all(|ours| names.iter().any(|name| same(name, ours))) => {
            let what = "the file has our own columns; leave out --map".to_owned();
            problems.add(Problem { line, column: "header".to_owned(), what });
        }
        Some((line, _, missing)) => {
            missing.into_iter().for_each(|(column, what)| problems.add(Problem { line, column, what }));
        }
        None => {
            let what = "the file has no header".to_owned();
            problems.add(Problem { line: 1, column: "header".to_owned(), what });
        }
    }
    Err(OpenError::Problems(problems))
}

fn unheaded(error: CsvError) -> OpenError {
    match error {
        CsvError::Io(error) => OpenError::Io(error),
        CsvError::Malformed { line, what, .. } => {
            let what = what.to_owned();
            OpenError::Problems(Problem { line, column: "header".to_owned(), what }.into())
        }
    }
}

/// Whether a row has as many fields as the header.
fn fields(record: &Record<'_>, columns: &Columns, delimiter: u8) -> Result<(), Problem> {
    let (found, expected) = (record.len(), columns.len());
    if found == expected {
        return Ok(());
    }
    let (mark, sense) = (separated_by(delimiter), if found < expected { "few" } else { "many" });
    let what = format!(
        "the row has {found} fields and the header {expected}; look for {mark}, one too {sense}, or for a text with \
         {mark} that is not in quotes"
    );
    Err(Problem { line: record.line, column: columns.name(found.min(expected)), what })
}

/// The names of a header by this delimiter, without asking whether it is well-formed.
fn loose(header: &str, delimiter: char) -> Vec<String> {
    let mut is_quoted = false;
    let names = header.split(|c| {
        is_quoted ^= c == '"';
        c == delimiter && !is_quoted
    });
    names.map(|name| tidy(name.trim_matches(|c: char| c == '"' || c == ' ' || is_unseen(c)))).collect()
}

fn separated_by(delimiter: u8) -> String {
    let known = DELIMITERS.iter().find(|(known, _)| *known == delimiter);
    known.map_or_else(|| format!("`{}`", char::from(delimiter)), |(_, name)| (*name).to_owned())
}
