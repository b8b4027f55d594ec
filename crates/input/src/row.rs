//! A row with the names of its fields.

use std::borrow::Cow;

use crate::amount::Marks;
use crate::columns::Columns;
use crate::kinds::COLUMNS_MAX;
use crate::problems::Problem;
use crate::shown::{cut, shown};

/// A row, its values in the order of its kind's columns.
pub struct Row<'a> {
    /// The line on which it begins.
    pub line: u64,
    /// How it stands to the row that takes a sale back, or is one.
    pub reversal: Reversal<'a>,
    pub(crate) values: [Option<&'a str>; COLUMNS_MAX],
    pub(crate) columns: &'a Columns,
    pub(crate) marks: &'a Marks,
}

/// How a row stands to what a mapping makes of rows that were reversed: nothing of it is in the file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reversal<'a> {
    /// The id of what this row takes back: it was made for that.
    pub takes_back: Option<&'a str>,
    /// The id that would take this row back, if it had been reversed before.
    pub taken_back_by: Option<&'a str>,
    /// Rows of this one are left out, unless what was reversed was imported before.
    pub only_known: bool,
}

/// The longest id, in bytes.
const ID_MAX: usize = 200;

impl<'a> Row<'a> {
    /// The wanted column's text; `None` if the file does not have the column.
    pub fn get(&self, wanted: usize) -> Option<&'a str> {
        self.values[wanted]
    }

    /// The text of a required column.
    pub fn text(&self, wanted: usize) -> &'a str {
        self.get(wanted).unwrap_or("") // cannot be missing: the header was checked
    }

    /// The same of a short value. What is too long for any is cut, which makes it wrong, and short enough to be shown.
    pub fn short(&self, wanted: usize) -> Cow<'a, str> {
        cut(self.text(wanted))
    }

    /// The text of an id: not empty, without space around it, and short enough to be a key.
    pub fn id(&self, wanted: usize) -> Result<&'a str, Problem> {
        let text = self.text(wanted);
        match text {
            "" => Err(self.problem(wanted, "is empty; every row needs one")),
            _ if text.trim() != text => {
                Err(self.problem(wanted, format!("{} has space around it; remove it", shown(text))))
            }
            _ if text.len() > ID_MAX => {
                Err(self.problem(wanted, format!("{} is longer than 200 bytes; use a shorter one", shown(text))))
            }
            _ => match damaged(text) {
                Some(how) => Err(self.problem(wanted, format!("{} {how}", shown(text)))),
                None => Ok(text),
            },
        }
    }

    /// The text of an amount with a decimal point, however the file writes it.
    pub fn amount(&self, wanted: usize) -> Result<Cow<'a, str>, Problem> {
        match self.short(wanted) {
            Cow::Borrowed(text) => self.marks.plain(text).map_err(|what| self.problem(wanted, what)),
            cut => Ok(cut), // no amount is so long
        }
    }

    /// Something wrong in the wanted column.
    pub fn problem(&self, wanted: usize, what: impl Into<String>) -> Problem {
        Problem { line: self.line, column: self.columns.wanted_name(wanted).to_owned(), what: what.into() }
    }
}

/// What a spreadsheet has made of an id, and the way out. Several ids become one by it, and the same sale twice.
fn damaged(id: &str) -> Option<&'static str> {
    // As spreadsheets write long numbers: one digit, a decimal mark, digits, and an exponent of two digits.
    let is_rounded = id.split_once(['E', 'e']).is_some_and(|(digits, exponent)| {
        let digits = digits.strip_prefix(|first: char| first.is_ascii_digit());
        let is_number = digits.is_some_and(|rest| {
            rest.is_empty()
                || rest.len() > 1 && rest.starts_with(['.', ',']) && rest[1..].bytes().all(|d| d.is_ascii_digit())
        });
        is_number
            && exponent
                .strip_prefix('+')
                .is_some_and(|power| power.len() == 2 && power.bytes().all(|d| d.is_ascii_digit()))
    });
    const FAILED: &[&str] =
        &["#N/A", "#REF!", "#VALUE!", "#NAME?", "#DIV/0!", "#NUM!", "#NULL!", "#NV", "#BEZUG!", "#WERT!", "#ZAHL!"];
    match id {
        _ if is_rounded => Some(
            "is what a spreadsheet makes of a long number, and its digits are lost; export the file again, and open it \
             with the column as text",
        ),
        _ if FAILED.contains(&id) => Some("is what a spreadsheet writes where a formula failed; correct the id"),
        _ => None,
    }
}
