//! A mapping applied to the header of a file, and then to its rows.

use super::{BadMapping, Column, Dates, Mapping, Negative, Origin, Section, Status, Whole, Zero};
use crate::amount::Marks;
use crate::columns::{nearest, same};
use crate::csv::Record;
use crate::kinds::{COLUMNS_MAX, FileKind};
use crate::problems::{Faults, Problem};
use crate::row::Reversal;
use crate::scan::Writing;
use crate::shown::shown;
use crate::text::text;

/// A mapping for one kind of file, before the header is known.
#[derive(Debug)]
pub(crate) struct Wanted {
    name: String,
    kind: &'static FileKind,
    section: Section,
    /// Whether the columns are our own.
    is_ours: bool,
    set: Vec<String>,
    marks: Marks,
    dates: Dates,
}

impl Wanted {
    /// By this mapping; columns of ours that are set have the same value in every row.
    pub(crate) fn new(
        mapping: &Mapping,
        set: &[(String, String)],
        decimal: Option<char>,
        kind: &'static FileKind,
    ) -> Result<Wanted, BadMapping> {
        let (mut section, is_ours) = mapping.section(kind)?;
        for (column, value) in set {
            if !kind.columns.contains(&column.as_str()) {
                let perhaps =
                    nearest(column, kind.columns).map(|near| format!(", perhaps `{near}`")).unwrap_or_default();
                let known = kind.columns.join(", ");
                return Err(BadMapping(format!(
                    "--set {column}: no column of {}{perhaps}; there are {known}",
                    kind.called
                )));
            }
            section.columns.insert(column.clone(), Origin::Constant { constant: value.clone() });
        }
        if let Some(missing) = kind.keys.iter().find(|key| !section.columns.contains_key(**key)) {
            return Err(BadMapping(format!(
                "the mapping {} does not say where `{missing}` comes from; add it to the mapping, or say it for \
                 every row, such as --set {missing}=EUR",
                mapping.name()
            )));
        }
        let mut marks = mapping.marks.clone();
        marks.decimal = decimal.unwrap_or(marks.decimal);
        if marks.grouping == Some(marks.decimal) {
            let mark = marks.decimal;
            return Err(BadMapping(match decimal {
                Some(_) => {
                    format!(
                        "--decimal {mark}: `{mark}` is the mark between thousands in the mapping {}",
                        mapping.name()
                    )
                }
                None => format!(
                    "{}: grouping: `{mark}` is the decimal mark too; they must differ: write `decimal` beside it, or \
                     say --decimal",
                    mapping.name()
                ),
            }));
        }
        let (name, dates) = (mapping.name().to_owned(), mapping.dates.clone());
        let set = set.iter().map(|(column, _)| column.clone()).collect();
        Ok(Wanted { name, kind, section, is_ours, set, marks, dates })
    }

    /// If the file has our own columns, those that are set beside it.
    pub(crate) fn set(&self) -> Option<Vec<&str>> {
        self.is_ours.then(|| self.set.iter().map(String::as_str).collect())
    }

    /// The names of all columns of theirs that may be read.
    pub(crate) fn names(&self) -> Vec<&str> {
        self.columns().flat_map(Column::names).map(String::as_str).collect()
    }

    fn columns(&self) -> impl Iterator<Item = &Column> {
        let columns = self.section.columns.values().flat_map(Origin::columns);
        columns.chain(self.section.status.iter().map(|rule| &rule.column))
    }

    /// What is wrong with this header: columns that are not there, or twice.
    pub(crate) fn missing(&self, names: &[String]) -> Vec<(String, String)> {
        let theirs: Vec<&str> = names.iter().map(String::as_str).filter(|name| !name.is_empty()).collect();
        let count = |wanted: &String| theirs.iter().filter(|name| same(name, wanted)).count();
        let mut wrong = Vec::new();
        for column in self.columns() {
            let called = column.names().join(" or ");
            let what = match column.names().iter().map(count).find(|count| *count > 0) {
                Some(1) => continue,
                Some(_) => "the column is there twice, and the mapping reads it; remove one".to_owned(),
                None => {
                    let near = column.names().iter().find_map(|name| nearest(name, &theirs));
                    let perhaps = near.map(|near| format!(", perhaps `{near}`")).unwrap_or_default();
                    let (mapping, theirs) = (&self.name, theirs.join(", "));
                    format!(
                        "the mapping {mapping} reads this column, and the file does not have it{perhaps}; its \
                         columns are {theirs}; export it too, or \
                         change the mapping"
                    )
                }
            };
            if !wrong.iter().any(|(other, _)| *other == called) {
                wrong.push((called, what));
            }
        }
        wrong
    }

    /// The plan for a file whose header misses nothing.
    pub(crate) fn plan(self, names: &[String]) -> Plan {
        let place = |column: &Column| {
            let mut places =
                column.names().iter().filter_map(|wanted| names.iter().position(|name| same(name, wanted)));
            places.next()
        };
        let source = |column: &&str| match self.section.columns.get(*column) {
            Some(Origin::Constant { constant }) => Source::Constant(constant.clone()),
            Some(origin) => match origin.columns().iter().filter_map(place).collect::<Vec<_>>() {
                places if places.is_empty() => Source::Nothing, // an optional column of our own
                places => Source::Places(places),
            },
            None => Source::Nothing,
        };
        let sources = self.kind.columns.iter().map(source).collect();
        let rules = self.section.status.iter().filter_map(|rule| Some((place(&rule.column)?, rule.clone()))).collect();
        let wanted = |column: &str| self.kind.columns.iter().position(|name| *name == column);
        let signed = match (wanted("commission_id"), wanted("amount"), wanted("kind")) {
            (Some(id), Some(amount), Some(kind)) if !self.section.columns.contains_key("kind") => {
                Some(Signed { id, amount, kind })
            }
            _ => None,
        };
        Plan {
            name: self.name,
            kind: self.kind,
            sources,
            rules,
            signed,
            marks: self.marks,
            dates: self.dates,
            negative: self.section.negative,
            zero: self.section.zero,
            whole: self.section.whole,
            suffix: self.section.reversed_id.unwrap_or_else(|| "/reversed".to_owned()),
            made: Vec::new(),
            counter: None,
            takes_back: None,
            taken_back_by: None,
            only_known: false,
            left_out: Vec::new(),
            reversed: 0,
        }
    }
}

/// Where a value of ours comes from.
#[derive(Debug)]
enum Source {
    Nothing,
    Places(Vec<usize>),
    Constant(String),
}

/// Columns that say together whether a row is a sale or a clawback.
#[derive(Debug, Clone, Copy)]
struct Signed {
    id: usize,
    amount: usize,
    kind: usize,
}

/// What a word of a status says of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Fate {
    Import,
    Clawback,
    Reversed,
    LeftOut(String),
}

/// What all words of a row say together.
#[derive(Debug, Default)]
struct Verdict {
    is_clawback: bool,
    is_reversed: bool,
    left_out: Option<String>,
}

impl Verdict {
    fn and(&mut self, fate: Fate) {
        match fate {
            Fate::Import => {}
            Fate::Clawback => self.is_clawback = true,
            Fate::Reversed => self.is_reversed = true,
            Fate::LeftOut(why) => self.left_out = Some(why),
        }
    }
}

/// What takes a row back: a clawback of a sale, and a sale of a clawback.
#[derive(Debug)]
struct Counter {
    id: String,
    amount: String,
    kind: &'static str,
}

/// A mapping for one file.
#[derive(Debug)]
pub(crate) struct Plan {
    name: String,
    kind: &'static FileKind,
    sources: Vec<Source>,
    rules: Vec<(usize, Status)>,
    signed: Option<Signed>,
    marks: Marks,
    dates: Dates,
    negative: Negative,
    zero: Zero,
    whole: Whole,
    suffix: String,
    /// The row in our columns.
    made: Vec<Option<String>>,
    /// If the row was reversed: what takes it back, which follows it.
    counter: Option<Counter>,
    /// See [`Reversal`].
    takes_back: Option<String>,
    taken_back_by: Option<String>,
    only_known: bool,
    left_out: Vec<(String, u64)>,
    reversed: u64,
}

impl Plan {
    /// What a column of ours is called in the file, if it is one column there.
    pub(crate) fn title<'a>(&self, wanted: usize, names: &'a [String]) -> Option<&'a str> {
        match &self.sources[wanted] {
            Source::Places(places) if places.len() == 1 => names.get(places[0]).map(String::as_str),
            _ => None,
        }
    }

    /// Rows that were left out so far: why, and how many.
    pub(crate) fn left_out(&self) -> &[(String, u64)] {
        &self.left_out
    }

    /// Rows that came with what takes them back.
    pub(crate) fn reversed(&self) -> u64 {
        self.reversed
    }

    /// The row in our columns.
    pub(crate) fn values(&self) -> [Option<&str>; COLUMNS_MAX] {
        let mut values = [None; COLUMNS_MAX];
        values.iter_mut().zip(&self.made).for_each(|(value, made)| *value = made.as_deref());
        values
    }

    /// How the row stands to what takes it back.
    pub(crate) fn reversal(&self) -> Reversal<'_> {
        Reversal {
            takes_back: self.takes_back.as_deref(),
            taken_back_by: self.taken_back_by.as_deref(),
            only_known: self.only_known,
        }
    }

    /// Goes on to what takes the row back that was just read, if it was reversed.
    pub(crate) fn turn(&mut self) -> bool {
        let (Some(counter), Some(signed)) = (self.counter.take(), self.signed) else { return false };
        self.takes_back = self.made[signed.id].replace(counter.id);
        self.made[signed.amount] = Some(counter.amount);
        self.made[signed.kind] = Some(counter.kind.to_owned());
        true
    }

    /// Makes a row of theirs one of ours. `false` if it is left out.
    pub(crate) fn take(&mut self, record: &Record<'_>, names: &[String], writing: Writing) -> Result<bool, Faults> {
        let problem = |place: usize, what| {
            let column = names.get(place).cloned().unwrap_or_default();
            Problem { line: record.line, column, what }
        };
        let read = |place: usize| text(record.field(place), writing).map_err(|what| problem(place, what));
        let mut faults = Faults::default();
        let mut verdict = Verdict::default();
        for (place, rule) in &self.rules {
            let found = read(*place).and_then(|word| rule.fate(word).map_err(|what| problem(*place, what)));
            if let Some(fate) = faults.keep(found) {
                verdict.and(fate);
            }
        }
        // Of what is left out nobody cares how the rest of it is written; but what was reversed is taken back, if it
        // was imported before there was a reason to leave it out.
        if let Some(why) = verdict.left_out.take_if(|_| !verdict.is_reversed) {
            self.count(why);
            return faults.verdict().map(|()| false);
        }
        self.made.clear();
        for wanted in 0..self.sources.len() {
            let made = match &self.sources[wanted] {
                Source::Nothing => None,
                Source::Constant(constant) => Some(constant.clone()),
                Source::Places(places) => faults.keep(joined(places, read)),
            };
            let column = self.kind.columns[wanted];
            let made = made.and_then(|made| {
                let plain = match made.as_str() {
                    "" | "none" => Ok(made),
                    _ if self.kind.amounts.contains(&column) => self.marks.plain(&made).map(|plain| plain.into_owned()),
                    _ if self.kind.instants.contains(&column) => self.dates.instant(&made),
                    _ => Ok(made),
                };
                let title = self.title(wanted, names).unwrap_or(column).to_owned();
                faults.keep(plain.map_err(|what| Problem { line: record.line, column: title, what }))
            });
            self.made.push(made);
        }
        faults.verdict()?;
        self.method_with_destination();
        match self.signed {
            None => Ok(true),
            Some(signed) => self.sign(signed, &verdict).map_err(|what| {
                let column = self.title(signed.amount, names).unwrap_or("amount").to_owned();
                Problem { line: record.line, column, what }.into()
            }),
        }
    }

    /// Makes the row a sale or a clawback, with what takes it back if it was reversed. `false` if it is neither.
    fn sign(&mut self, signed: Signed, verdict: &Verdict) -> Result<bool, String> {
        let amount = self.made[signed.amount].clone().unwrap_or_default();
        let size = amount.trim_start_matches(['-', '+']);
        let is_below = amount.starts_with('-');
        let is_zero = size.contains('0') && size.bytes().all(|byte| matches!(byte, b'0' | b'.'));
        if !is_zero && self.whole == Whole::Error && !size.contains('.') {
            return Err(format!(
                "{} has no decimals, and this system always writes them: perhaps it is in cents; look at the file, \
                 and at `whole` in the mapping {}",
                shown(&amount),
                self.name
            ));
        }
        if is_zero && verdict.is_reversed {
            return Err(format!(
                "{} is what is left of a sale that was reversed, and not what it was; map a column that keeps \
                 it, or put the word under left_out and \
                 enter the clawback by a file of its own",
                shown(&amount)
            ));
        }
        if is_zero && self.zero == Zero::LeftOut {
            self.count("amount 0".to_owned());
            return Ok(false);
        }
        // The sign of what was reversed may be that of its being taken back; only its type says what it was.
        if is_below && !verdict.is_clawback && !verdict.is_reversed && self.negative == Negative::Error {
            return Err(format!(
                "{} is below zero; if that is a clawback, say negative = \"clawback\" in the mapping {}",
                shown(&amount),
                self.name
            ));
        }
        let is_clawback = verdict.is_clawback || is_below && !verdict.is_reversed;
        let (above, below) = (size.to_owned(), format!("-{size}"));
        let (sale, clawback) = ((above, "sale"), (below, "clawback"));
        let (it, counter) = if is_clawback { (clawback, sale) } else { (sale, clawback) };
        let id = format!("{}{}", self.made[signed.id].as_deref().unwrap_or_default(), self.suffix);
        self.takes_back = None;
        self.taken_back_by = None;
        self.only_known = verdict.left_out.is_some();
        if verdict.is_reversed {
            self.reversed += 1;
            self.counter = Some(Counter { id, amount: counter.0, kind: counter.1 });
        } else if self.rules.iter().any(|(_, rule)| !rule.reversed.is_empty()) {
            self.taken_back_by = Some(id);
        }
        self.made[signed.amount] = Some(it.0);
        self.made[signed.kind] = Some(it.1.to_owned());
        Ok(true)
    }

    /// A method that is the same for all is one of those who have a destination.
    fn method_with_destination(&mut self) {
        let place = |column| self.kind.columns.iter().position(|name| *name == column);
        if let (Some(method), Some(destination)) = (place("method"), place("destination"))
            && matches!(self.sources[method], Source::Constant(_))
            && self.made[destination].as_ref().is_none_or(|text| text.trim().is_empty())
        {
            self.made[method] = None;
        }
    }

    fn count(&mut self, why: String) {
        match self.left_out.iter_mut().find(|(known, _)| *known == why) {
            Some((_, count)) => *count += 1,
            None => self.left_out.push((why, 1)),
        }
    }
}

impl Status {
    /// What a word means.
    fn fate(&self, word: &str) -> Result<Fate, String> {
        let word = word.trim();
        let is = |words: &[String]| words.iter().find(|known| same(known.trim(), word)).cloned();
        if let Some(known) = is(&self.left_out) {
            return Ok(Fate::LeftOut(format!("{} {known}", self.column.names().join(" or "))));
        }
        let fates = [(&self.reversed, Fate::Reversed), (&self.clawback, Fate::Clawback), (&self.import, Fate::Import)];
        if let Some((_, fate)) = fates.into_iter().find(|(words, _)| is(words).is_some()) {
            return Ok(fate);
        }
        let all = [&self.import, &self.left_out, &self.reversed, &self.clawback].map(|words| words.join(", "));
        let known: Vec<String> = all.into_iter().filter(|words| !words.is_empty()).collect();
        Err(format!(
            "{} is a word that the mapping does not know; it knows {}; add it to the mapping's status",
            shown(word),
            known.join(", ")
        ))
    }
}

/// What these places hold, with a space between.
fn joined<'a>(places: &[usize], read: impl Fn(usize) -> Result<&'a str, Problem>) -> Result<String, Problem> {
    match places {
        [place] => read(*place).map(str::to_owned),
        _ => {
            let parts = places.iter().map(|place| read(*place)).collect::<Result<Vec<_>, _>>()?;
            Ok(parts.into_iter().map(str::trim).filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" "))
        }
    }
}
