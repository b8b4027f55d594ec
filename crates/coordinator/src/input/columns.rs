//! Which column is where: found by name in the header, never by place.

use super::csv::Record;
use super::problems::{Problem, Problems};

/// Separators that files come with instead of commas.
const OTHER_SEPARATORS: [(u8, &str); 3] = [(b';', "semicolons"), (b'\t', "tabs"), (b'|', "vertical bars")];

/// The header of a file.
#[derive(Debug)]
pub struct Columns {
    names: Vec<String>,
    wanted: &'static [&'static str],
    places: Vec<Option<usize>>,
}

impl Columns {
    /// Finds the columns, or says everything that is wrong with the header. `wanted` are the required and then the optional ones.
    pub fn find(header: &Record<'_>, wanted: &'static [&'static str], required: usize) -> Result<Columns, Problems> {
        let names: Vec<String> = header.fields().map(|name| String::from_utf8_lossy(name).into_owned()).collect();
        let mut problems = Problems::default();
        let mut problem = |column: &str, what: String| {
            problems.add(Problem { line: header.line, column: column.to_owned(), what });
        };
        let known = wanted.join(", ");
        if !names.iter().any(|name| wanted.contains(&name.as_str()))
            && let Some(what) = other_separator(names.join(",").as_bytes(), wanted)
        {
            problem("header", what);
            return Err(problems);
        }
        for (at, name) in names.iter().enumerate() {
            if !wanted.contains(&name.as_str()) {
                let shown = if name.is_empty() { format!("field {}", at + 1) } else { name.clone() };
                problem(&shown, format!("an unknown column; the columns are {known}; remove or rename it"));
            } else if names[..at].contains(name) {
                problem(name, "the column is there twice; remove one".to_owned());
            }
        }
        for &name in &wanted[..required] {
            if !names.iter().any(|found| found == name) {
                problem(name, "the column is missing; add it to the header and to every row".to_owned());
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let places = wanted.iter().map(|wanted| names.iter().position(|name| name == wanted)).collect();
        Ok(Columns { names, wanted, places })
    }

    /// How many fields each row has.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// The wanted column's place in the file.
    pub fn place(&self, wanted: usize) -> Option<usize> {
        self.places[wanted]
    }

    /// The wanted column's name.
    pub fn wanted_name(&self, wanted: usize) -> &'static str {
        self.wanted[wanted]
    }

    /// The name of what is at this place of a row.
    pub fn name(&self, place: usize) -> String {
        self.names.get(place).cloned().unwrap_or_else(|| format!("field {}", place + 1))
    }
}

/// What to say about a header that has another separator than the comma.
pub fn other_separator(line: &[u8], wanted: &[&str]) -> Option<String> {
    let known = |name: &[u8]| {
        let name = String::from_utf8_lossy(name);
        wanted.contains(&name.trim().trim_matches(['"', ' ']))
    };
    let fits = |separator: u8| line.split(|&byte| byte == separator).filter(|name| known(name)).count() > 1;
    OTHER_SEPARATORS
        .iter()
        .find(|(separator, _)| fits(*separator))
        .map(|(_, name)| format!("the columns are separated by {name}; save the file with commas between them"))
}
