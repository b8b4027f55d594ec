//! The one reader of every file that people hand in: affiliates, commissions, statements. It recognises how a file is
//! written and says so, finds columns by their names, and splits and judges rows strictly, one by one: no file is ever
//! held in memory, and nothing is guessed where money would be.
//!
//! It knows the columns of our files, and what a reversal in a foreign one becomes (`map/plan.rs`). What is in them,
//! from ids to currencies, the caller judges.

#![warn(missing_docs)]

mod amount;
mod args;
mod columns;
mod csv;
mod decode;
mod foreign;
mod kinds;
mod map;
mod problems;
mod row;
mod rows;
mod scan;
mod shown;
mod source;
mod text;

pub use amount::Marks;
pub use args::{ReadArgs, decimal, delimiter, encoding};
#[doc(hidden)] // for trying hostile files
pub use csv::{CsvError, CsvReader, Record};
pub use kinds::{AFFILIATES, COMMISSIONS, FileKind, STATEMENT};
pub use map::{BadMapping, FIELDS, Mapping, PRESETS, Preset};
pub use problems::{Faults, PROBLEMS_SHOWN, Problem, Problems};
pub use row::{Reversal, Row};
pub use rows::{How, OpenError, RowError, Rows};
pub use shown::{cut, shown, visible};
pub use source::Source;
