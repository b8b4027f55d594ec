//! Lists that may be long: a table for people, CSV for spreadsheets, JSON for programs. Rows are written page by page,
//! and none is kept.

use std::io::{self, Write};

use comfy_table::Cell;
use payfleet_domain::Money;
use serde_json::{Map, Value};

use crate::failure::Failure;
use crate::show;

/// What a list looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Tables, one a page.
    Text,
    /// CSV with a header. Amounts are in units.
    Csv,
    /// One object, whose last field is the list. Amounts are in minor units, and so called.
    Json,
}

/// One field of a row.
#[derive(Debug, Clone)]
pub enum Field {
    /// Nothing.
    None,
    /// A text, which others may have written.
    Text(String),
    /// Several.
    Texts(Vec<String>),
    /// A number, to the right.
    Number(i64),
    /// An amount without its currency, which has a column of its own.
    Amount(Money),
}

impl Field {
    /// A text, or nothing.
    pub fn text(text: Option<impl Into<String>>) -> Field {
        text.map_or(Field::None, |text| Field::Text(text.into()))
    }
}

/// A list that is being written.
pub struct Sheet<W: Write> {
    form: Form,
    columns: &'static [&'static str],
    out: W,
    rows: u64,
    /// Whoever read it has seen enough.
    is_closed: bool,
}

impl Sheet<io::Stdout> {
    /// Begins a list on stdout. For programs it has this head, and this name.
    pub fn begin(
        form: Form,
        head: &Map<String, Value>,
        name: &str,
        columns: &'static [&'static str],
    ) -> Result<Sheet<io::Stdout>, Failure> {
        Sheet::begin_on(io::stdout(), form, head, name, columns)
    }
}

impl<W: Write> Sheet<W> {
    fn begin_on(
        out: W,
        form: Form,
        head: &Map<String, Value>,
        name: &str,
        columns: &'static [&'static str],
    ) -> Result<Sheet<W>, Failure> {
        let mut sheet = Sheet { form, columns, out, rows: 0, is_closed: false };
        let head = match form {
            Form::Text => String::new(),
            Form::Csv => csv_of([columns.iter().map(|column| (*column).to_owned()).collect()])?,
            Form::Json => {
                let mut head = members(head).collect::<Vec<_>>();
                head.push(format!("{}:[", Value::from(name)));
                format!("{{{}", head.join(","))
            }
        };
        sheet.write(&head)?;
        Ok(sheet)
    }

    /// Writes rows. Returns whether there is somebody who wants more.
    pub fn page(&mut self, rows: &[Vec<Field>]) -> Result<bool, Failure> {
        if !rows.is_empty() {
            let page = match self.form {
                Form::Text => self.text(rows),
                Form::Csv => csv_of(rows.iter().map(|row| row.iter().map(cell).collect()))?,
                Form::Json => self.json(rows),
            };
            self.rows += rows.len() as u64;
            self.write(&page)?;
        }
        Ok(!self.is_closed)
    }

    fn text(&self, rows: &[Vec<Field>]) -> String {
        let mut table = show::table(self.columns);
        for row in rows {
            table.add_row(row.iter().map(|field| match field {
                Field::None => Cell::new("-"),
                Field::Number(number) => show::number(number),
                Field::Amount(amount) => show::number(show::amount(amount.minor.into(), amount.currency)),
                Field::Text(text) => show::word(&show::printable(text)),
                Field::Texts(texts) => Cell::new(show::printable(&texts.join("; "))),
            }));
        }
        format!("{table}\n")
    }

    fn json(&self, rows: &[Vec<Field>]) -> String {
        let object = |row: &Vec<Field>| {
            let fields: Map<String, Value> =
                self.columns.iter().zip(row).map(|(column, field)| member(column, field)).collect();
            Value::from(fields).to_string()
        };
        let objects: Vec<String> = rows.iter().map(object).collect();
        let before = if self.rows > 0 { "," } else { "" };
        format!("{before}{}", objects.join(","))
    }

    /// Ends it; for programs with these fields behind the list. Returns how many rows it has.
    pub fn end(mut self, tail: &Map<String, Value>) -> Result<u64, Failure> {
        if self.form == Form::Json {
            let tail: String = members(tail).map(|member| format!(",{member}")).collect();
            self.write(&format!("]{tail}}}\n"))?;
        }
        Ok(self.rows)
    }

    fn write(&mut self, text: &str) -> Result<(), Failure> {
        if self.is_closed {
            return Ok(());
        }
        match self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.is_closed = true;
                Ok(())
            }
            Err(error) => Err(Failure::broken(format!("a result cannot be written: {error}"))),
            Ok(()) => Ok(()),
        }
    }
}

fn members(of: &Map<String, Value>) -> impl Iterator<Item = String> {
    of.iter().map(|(key, value)| format!("{}:{value}", Value::from(key.as_str())))
}

/// A field of an object. Amounts are minor units, and say so.
fn member(column: &str, field: &Field) -> (String, Value) {
    match field {
        Field::None => (column.to_owned(), Value::Null),
        Field::Text(text) => (column.to_owned(), Value::from(text.as_str())),
        Field::Texts(texts) => (column.to_owned(), Value::from(texts.as_slice())),
        Field::Number(number) => (column.to_owned(), Value::from(*number)),
        Field::Amount(amount) => (format!("{column}_minor"), Value::from(amount.minor)),
    }
}

/// A cell of a spreadsheet. Numbers stay numbers, also those below zero: they are ours.
fn cell(field: &Field) -> String {
    match field {
        Field::None => String::new(),
        Field::Text(text) => defused(text),
        Field::Texts(texts) => defused(&texts.join("; ")),
        Field::Number(number) => number.to_string(),
        Field::Amount(amount) => show::amount(amount.minor.into(), amount.currency),
    }
}

/// A text that no spreadsheet takes for a formula, whoever wrote it.
fn defused(text: &str) -> String {
    match text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n']) {
        true => format!("'{text}"),
        false => text.to_owned(),
    }
}

fn csv_of(rows: impl IntoIterator<Item = Vec<String>>) -> Result<String, Failure> {
    let broken = |why: String| Failure::broken(format!("a result cannot be written as CSV: {why}"));
    let mut csv = csv::Writer::from_writer(Vec::new());
    for row in rows {
        csv.write_record(row).map_err(|error| broken(error.to_string()))?;
    }
    let bytes = csv.into_inner().map_err(|error| broken(error.to_string()))?;
    String::from_utf8(bytes).map_err(|error| broken(error.to_string()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use payfleet_domain::Currency;

    use super::*;

    const COLUMNS: &[&str] = &["who", "amount", "why"];

    fn written(form: Form) -> String {
        let eur: Currency = "EUR".parse().unwrap();
        let row = |who: &str, minor, why: &[&str]| {
            let why = why.iter().map(|why| (*why).to_owned()).collect();
            vec![Field::Text(who.to_owned()), Field::Amount(Money { minor, currency: eur }), Field::Texts(why)]
        };
        let mut out = Vec::new();
        let head = Map::from_iter([("run".to_owned(), Value::from(7))]);
        let mut sheet = Sheet::begin_on(&mut out, form, &head, "rows", COLUMNS).unwrap();
        assert!(sheet.page(&[]).unwrap());
        assert!(sheet.page(&[row("=1+1", -5, &["a", "b"]), row("\ttab, \"q\"", 123_456, &[])]).unwrap());
        assert!(sheet.page(&[row("+49", 1, &["@x"])]).unwrap());
        assert_eq!(sheet.end(&Map::from_iter([("more".to_owned(), Value::Null)])).unwrap(), 3);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn csv_is_safe_to_open_and_its_amounts_are_numbers() {
        let csv = "who,amount,why\n'=1+1,-0.05,a; b\n\"'\ttab, \"\"q\"\"\",1234.56,\n'+49,0.01,'@x\n";
        assert_eq!(written(Form::Csv), csv);
        for harmless in ["", "a=1", " =1", "'", "1-2"] {
            assert_eq!(defused(harmless), harmless);
        }
        for formula in ["=1", "+1", "-1", "@a", "\t=1", "\r=1", "\n=1"] {
            assert_eq!(defused(formula), format!("'{formula}"));
        }
    }

    #[test]
    fn json_is_one_object_whatever_the_pages() {
        let json: Value = serde_json::from_str(&written(Form::Json)).unwrap();
        assert_eq!((&json["run"], &json["more"]), (&Value::from(7), &Value::Null));
        let rows = json["rows"].as_array().unwrap();
        assert_eq!((rows.len(), &rows[0]["who"]), (3, &Value::from("=1+1")));
        assert_eq!((&rows[1]["amount_minor"], &rows[0]["why"][1]), (&Value::from(123_456), &Value::from("b")));
    }

    #[test]
    fn a_table_does_not_steer_a_terminal() {
        let text = written(Form::Text);
        assert!(text.contains("\u{fffd}tab") && !text.contains('\t'), "{text}");
        assert!(text.contains("1234.56") && text.contains("=1+1"), "{text}");
    }

    struct Gone;

    impl Write for Gone {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_has_seen_enough_ends_the_list() {
        let mut sheet = Sheet::begin_on(Gone, Form::Csv, &Map::new(), "rows", COLUMNS).unwrap();
        assert!(!sheet.page(&[vec![Field::None, Field::None, Field::None]]).unwrap());
    }
}
