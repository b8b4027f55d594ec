//! Mapping files: what another system's export means in our columns. Typed, so that a misspelt field is an error and
//! not a rule that is silently not followed; and nothing in them leaves a row out without its being counted.

mod check;
mod dates;
mod plan;
mod presets;

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use serde::Deserialize;

use crate::amount::Marks;
use crate::kinds::{AFFILIATES, COMMISSIONS, FileKind};
pub(crate) use dates::Dates;
pub(crate) use plan::{Plan, Wanted};
pub use presets::{PRESETS, Preset};

/// What a mapping file may say; [`Field`](FIELDS) by field it is documented there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct MappingFile {
    encoding: Option<String>,
    delimiter: Option<String>,
    decimal: Option<String>,
    grouping: Option<String>,
    strip: Vec<String>,
    dates: Vec<String>,
    time_zone: Option<String>,
    commissions: Option<Section>,
    affiliates: Option<Section>,
}

/// What a mapping says of one kind of file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Section {
    pub(crate) columns: BTreeMap<String, Origin>,
    pub(crate) status: Vec<Status>,
    pub(crate) negative: Negative,
    pub(crate) zero: Zero,
    pub(crate) whole: Whole,
    pub(crate) reversed_id: Option<String>,
}

/// A column of theirs, by its name or by several, of which a file has the one or the other.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub(crate) enum Column {
    /// Its name.
    One(String),
    /// The first of these that the file has.
    FirstOf(Vec<String>),
}

impl Column {
    pub(crate) fn names(&self) -> &[String] {
        match self {
            Column::One(name) => std::slice::from_ref(name),
            Column::FirstOf(names) => names,
        }
    }
}

/// Where a value of ours comes from.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub(crate) enum Origin {
    /// A column of theirs.
    Column(Column),
    /// Always this.
    Constant {
        /// What.
        constant: String,
    },
    /// Several columns of theirs, with a space between what they hold.
    Join {
        /// Which.
        join: Vec<Column>,
    },
}

impl Origin {
    /// The columns of theirs that it reads.
    pub(crate) fn columns(&self) -> &[Column] {
        match self {
            Origin::Column(column) => std::slice::from_ref(column),
            Origin::Constant { .. } => &[],
            Origin::Join { join } => join,
        }
    }
}

/// What the words of a column mean.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Status {
    pub(crate) column: Column,
    #[serde(default)]
    pub(crate) import: Vec<String>,
    #[serde(default)]
    pub(crate) left_out: Vec<String>,
    #[serde(default)]
    pub(crate) reversed: Vec<String>,
    #[serde(default)]
    pub(crate) clawback: Vec<String>,
}

/// What an amount below zero is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Negative {
    #[default]
    Error,
    Clawback,
}

/// What an amount of zero is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Zero {
    #[default]
    Error,
    LeftOut,
}

/// What an amount without decimals is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Whole {
    #[default]
    Units,
    Error,
}

/// Each field of a mapping file, with what it says.
pub const FIELDS: &[(&str, &str)] = &[
    ("encoding", "how letters are written, as for --encoding; recognised if it is not said"),
    ("delimiter", "what separates fields, as for --delimiter; recognised if it is not said"),
    ("decimal", "the decimal mark, \".\" or \",\"; \".\" if it is not said"),
    (
        "grouping",
        "the mark between whole groups of three digits, such as \",\" or \".\" or \" \"; none if it is not said",
    ),
    ("strip", "what may stand before or behind an amount and is no part of it, such as [\"€\", \"EUR\"]"),
    (
        "dates",
        "one or several forms of dates, as for strptime, such as [\"%Y-%m-%d %H:%M:%S\", \"%d/%m/%Y\"], or \
         \"rfc3339\"; a date without time is the \
         beginning of that day; a text that is two instants by two forms is an error",
    ),
    (
        "time_zone",
        "of dates that name none, such as \"Europe/Berlin\"; of an hour that is there twice the first is meant, and \
         one that is not there is an error",
    ),
    ("commissions", "the section for files of commissions"),
    ("affiliates", "the section for files of affiliates"),
    (
        "SECTION.columns",
        "for each column of ours one of theirs: amount = \"Commission\"; or the first of several that the file has: \
         amount = [\"Commission\", \"Payout\"]; or always the same: currency = { constant = \"EUR\" }; or several \
         with a space between: name = { join = [\"First name\", \"Last name\"] }. Without it the file has our columns",
    ),
    ("SECTION.columns.*.constant", "the value of every row"),
    ("SECTION.columns.*.join", "columns of theirs"),
    (
        "SECTION.status",
        "what the words of a column mean; for several columns several times, and the strictest counts: what one leaves \
         out is left out, unless another one says that it was reversed and it was imported before",
    ),
    ("SECTION.status.column", "their column, or the first of several that the file has"),
    ("SECTION.status.import", "words of rows that are imported"),
    ("SECTION.status.left_out", "words of rows that are left out; they are counted, and the answer says how many"),
    (
        "SECTION.status.reversed",
        "words of rows that were a sale and are none any more: the sale is imported with its clawback, which has the \
         same order_ref, the negative amount and the sale's own due date, so that it comes to nothing whether or not \
         the sale was imported before; a clawback that is none any more comes with a sale in the same way",
    ),
    (
        "SECTION.status.clawback",
        "words of rows that are a clawback of their own; the amount may be written with or without its sign",
    ),
    (
        "SECTION.negative",
        "what an amount below zero is, if kind is not mapped: \"clawback\", or an \"error\" if it is not said",
    ),
    ("SECTION.zero", "what an amount of zero is: \"left_out\" and counted, or an \"error\" if it is not said"),
    (
        "SECTION.whole",
        "what an amount without decimals is: \"units\" if it is not said, or an \"error\", of a system that always \
         writes decimals: so that cents are not \
         taken for units",
    ),
    ("SECTION.reversed_id", "what the clawback of a reversed sale adds to its id; \"/reversed\" if it is not said"),
];

/// What an export of another system means in our columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapping {
    name: String,
    pub(crate) encoding: Option<&'static encoding_rs::Encoding>,
    pub(crate) delimiter: Option<u8>,
    pub(crate) marks: Marks,
    pub(crate) dates: Dates,
    commissions: Option<Section>,
    affiliates: Option<Section>,
}

/// Why a mapping cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadMapping(pub(crate) String);

impl fmt::Display for BadMapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BadMapping {}

impl Mapping {
    /// The preset of this name, or a file.
    pub fn open(name: &str) -> Result<Mapping, BadMapping> {
        if let Some(preset) = Preset::named(name) {
            return Mapping::parse(name, preset.text);
        }
        match std::fs::read_to_string(Path::new(name)) {
            Ok(text) => Mapping::parse(name, &text),
            Err(error) => {
                let names: Vec<&str> = PRESETS.iter().map(|preset| preset.name).collect();
                let perhaps = crate::columns::nearest(name, &names);
                let perhaps = perhaps.map(|name| format!("; perhaps {name}")).unwrap_or_default();
                let presets = names.join(", ");
                Err(BadMapping(format!(
                    "{name}: cannot be read: {error}; it is no preset either: there are {presets}{perhaps}"
                )))
            }
        }
    }

    /// Reads a mapping.
    pub fn parse(name: &str, text: &str) -> Result<Mapping, BadMapping> {
        check::mapping(name, text)
    }

    /// Of our own columns, but for those that are set.
    pub(crate) fn ours() -> Mapping {
        Mapping {
            name: "of our own columns".to_owned(),
            encoding: None,
            delimiter: None,
            marks: Marks::default(),
            dates: Dates::default(),
            commissions: None,
            affiliates: None,
        }
    }

    /// What it is called.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// What it says of this kind of file, and whether that is of our own columns, as where it says nothing of any.
    pub(crate) fn section(&self, kind: &'static FileKind) -> Result<(Section, bool), BadMapping> {
        let (mine, other) = if std::ptr::eq(kind, &COMMISSIONS) {
            (&self.commissions, &self.affiliates)
        } else {
            (&self.affiliates, &self.commissions)
        };
        let mut section = match (mine, other) {
            (Some(section), _) => section.clone(),
            (None, None) => Section::default(),
            (None, Some(_)) => {
                return Err(BadMapping(format!(
                    "the mapping {} says nothing of {}; add a section [{}] to it, or leave it out",
                    self.name,
                    kind.called,
                    section_name(kind)
                )));
            }
        };
        let is_ours = section.columns.is_empty();
        if is_ours {
            section.columns = kind.columns.iter().map(|&column| (column.to_owned(), ours(column))).collect();
        }
        Ok((section, is_ours))
    }
}

fn ours(column: &str) -> Origin {
    Origin::Column(Column::One(column.to_owned()))
}

fn section_name(kind: &'static FileKind) -> &'static str {
    if std::ptr::eq(kind, &AFFILIATES) { "affiliates" } else { "commissions" }
}
