//! Which column is where: found by name in the header, never by place.

use crate::csv::Record;
use crate::kinds::{FileKind, KINDS};
use crate::map::{PRESETS, Plan};
use crate::problems::{Problem, Problems};
use crate::shown::{cut, is_unseen, shown};

/// The header of a file.
#[derive(Debug)]
pub(crate) struct Columns {
    names: Vec<String>,
    places: Vec<Option<usize>>,
    /// What the columns of ours are called in messages.
    titles: Vec<String>,
}

impl Columns {
    /// Finds the columns, or says everything that is wrong with the header. Columns that are set have their value from elsewhere.
    pub(crate) fn find(header: &Record<'_>, kind: &'static FileKind, set: &[&str]) -> Result<Columns, Problems> {
        let names = names(header);
        if let Some(what) = wrong_file(&names, kind, set) {
            return Err(Problem { line: header.line, column: "header".to_owned(), what }.into());
        }
        let mut problems = Problems::default();
        let mut problem = |column: &str, what: String| {
            problems.add(Problem { line: header.line, column: cut(column).into_owned(), what });
        };
        let known = kind.columns.join(", ");
        for (at, name) in names.iter().enumerate().filter(|(_, name)| !name.is_empty()) {
            if !kind.columns.iter().any(|known| same(known, name)) {
                let perhaps = nearest(name, kind.columns);
                let perhaps = perhaps.map(|name| format!(", perhaps `{name}` misspelt")).unwrap_or_default();
                problem(name, format!("an unknown column{perhaps}; the columns are {known}; remove or rename it"));
            } else if names[..at].iter().any(|before| same(before, name)) {
                problem(name, "the column is there twice; remove one".to_owned());
            } else if set.iter().any(|set| same(set, name)) {
                problem(name, "the file has the column, and --set says it too; leave out one of the two".to_owned());
            }
        }
        let places: Vec<_> =
            kind.columns.iter().map(|wanted| names.iter().position(|name| same(name, wanted))).collect();
        let absent = kind.required().iter().zip(&places).filter(|(name, place)| place.is_none() && !set.contains(name));
        for (&name, _) in absent {
            problem(name, "the column is missing; add it to the header and to every row".to_owned());
        }
        let titles = kind.columns.iter().map(|&name| name.to_owned()).collect();
        if problems.is_empty() { Ok(Columns { names, places, titles }) } else { Err(problems) }
    }

    /// Of a file that a mapping reads, with what is read of it.
    pub(crate) fn mapped(names: Vec<String>, kind: &'static FileKind, plan: &Plan) -> Columns {
        let title = |(wanted, column): (usize, &&str)| plan.title(wanted, &names).unwrap_or(column).to_owned();
        let titles = kind.columns.iter().enumerate().map(title).collect();
        Columns { names, places: Vec::new(), titles }
    }

    /// What stands in the header.
    pub(crate) fn names(&self) -> &[String] {
        &self.names
    }

    /// How many fields each row has.
    pub(crate) fn len(&self) -> usize {
        self.names.len()
    }

    /// The wanted columns' places in the file.
    pub(crate) fn places(&self) -> &[Option<usize>] {
        &self.places
    }

    /// Places of fields that the header has no name for.
    pub(crate) fn nameless(&self) -> impl Iterator<Item = usize> {
        self.names.iter().enumerate().filter(|(_, name)| name.is_empty()).map(|(place, _)| place)
    }

    /// What the wanted columns are called.
    pub(crate) fn titles(&self) -> &[String] {
        &self.titles
    }

    /// What the wanted column is called.
    pub(crate) fn wanted_name(&self, wanted: usize) -> &str {
        &self.titles[wanted]
    }

    /// The name of what is at this place of a row.
    pub(crate) fn name(&self, place: usize) -> String {
        match self.names.get(place) {
            Some(name) if !name.is_empty() => name.clone(),
            _ => format!("field {}", place + 1),
        }
    }
}

/// What stands in a header.
pub(crate) fn names(header: &Record<'_>) -> Vec<String> {
    header.fields().map(|name| tidy(&String::from_utf8_lossy(name))).collect()
}

/// Without what is around a name and not seen.
pub(crate) fn tidy(name: &str) -> String {
    name.trim_matches(|c: char| c.is_whitespace() || is_unseen(c)).to_owned()
}

/// Whether two names mean the same column.
pub(crate) fn same(one: &str, other: &str) -> bool {
    one.eq_ignore_ascii_case(other) || one.to_lowercase() == other.to_lowercase()
}

/// The known word that was perhaps meant.
pub(crate) fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let word = word.to_lowercase();
    let near = known.iter().map(|known| (strsim::jaro_winkler(&word, &known.to_lowercase()), *known));
    near.filter(|(likeness, _)| *likeness > 0.84).max_by(|one, other| one.0.total_cmp(&other.0)).map(|(_, known)| known)
}

/// What to say if the header is not one of this kind of file at all.
fn wrong_file(names: &[String], kind: &'static FileKind, set: &[&str]) -> Option<String> {
    let has = |wanted: &&str| set.contains(wanted) || names.iter().any(|name| same(name, wanted));
    if kind.required().iter().all(|wanted| has(&wanted)) {
        return None;
    }
    let other = KINDS.iter().filter(|other| !std::ptr::eq(**other, kind));
    if let Some(other) = other.into_iter().find(|other| other.required().iter().all(|wanted| has(&wanted))) {
        return Some(format!("the file is {}, and this takes {}; {}", other.called, kind.called, other.home));
    }
    let exported = PRESETS.iter().find(|preset| preset.reads(names, kind));
    if let Some(preset) = exported {
        return Some(format!("the file is an export of {}; say --map {}", preset.of, preset.name));
    }
    if kind.columns.iter().any(|wanted| has(&wanted)) {
        return None;
    }
    let header = kind.required().join(",");
    let first = shown(&names.join(","));
    Some(match names.iter().any(|name| is_data(name)) {
        true => format!("the file has no header: its first line is {first}, a row; put this line before it: {header}"),
        false => format!(
            "the header has none of the columns that {} has: it is {first}, and should be {header}",
            kind.called
        ),
    })
}

/// Whether this stands in a row rather than in a header: a number, a date, an address.
fn is_data(text: &str) -> bool {
    let digits = text.chars().filter(char::is_ascii_digit).count();
    text.contains('@') || (digits > 0 && 2 * digits >= text.chars().count())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_name_finds_the_one_that_was_meant() {
        let columns = crate::kinds::COMMISSIONS.columns;
        for (word, meant) in [
            ("ammount", Some("amount")),
            ("Affiliate ID", Some("affiliate_id")),
            ("earned at", Some("earned_at")),
            ("curency", Some("currency")),
            ("order_reference", Some("order_ref")),
            ("publisher", None),
            ("note", None),
        ] {
            assert_eq!(nearest(word, columns), meant, "{word}");
        }
    }
}
