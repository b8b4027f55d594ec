//! From the text of a mapping file to a mapping: every name and every value is known, or the error says which is not.

use toml::{Table, Value};

use super::dates::Dates;
use super::{BadMapping, Column, FIELDS, Mapping, MappingFile, Origin, Section, section_name};
use crate::amount::Marks;
use crate::args;
use crate::columns::nearest;
use crate::kinds::{AFFILIATES, COMMISSIONS, FileKind};
use crate::shown::shown;

pub(super) fn mapping(name: &str, text: &str) -> Result<Mapping, BadMapping> {
    let bad = |what: String| BadMapping(format!("{name}: {what}"));
    let unreadable = |error: toml::de::Error| {
        let line = error.span().map_or(1, |span| 1 + text[..span.start.min(text.len())].matches('\n').count());
        BadMapping(format!("{name}:{line}: {}", error.message()))
    };
    // First the names: an unknown one is told with the one that was perhaps meant.
    let table: Table = toml::from_str(text).map_err(unreadable)?;
    names(&table).map_err(bad)?;
    let file: MappingFile = toml::from_str(text).map_err(unreadable)?;

    let said = |field: &str, value: &Option<String>| value.clone().map(|value| (field.to_owned(), value));
    let parsed = |said: Option<(String, String)>, parse: &dyn Fn(&str) -> Result<char, String>| match said {
        None => Ok(None),
        Some((field, value)) => match parse(&value) {
            Ok(found) => Ok(Some(found)),
            Err(what) => Err(bad(format!("{field}: {}: {what}", shown(&value)))),
        },
    };
    let encoding = match &file.encoding {
        None => None,
        Some(label) => Some(args::encoding(label).map_err(|what| bad(format!("encoding: {}: {what}", shown(label))))?),
    };
    let delimiter = parsed(said("delimiter", &file.delimiter), &|text| args::delimiter(text).map(char::from))?;
    let decimal = parsed(said("decimal", &file.decimal), &args::decimal)?.unwrap_or('.');
    let grouping = parsed(said("grouping", &file.grouping), &grouping)?;
    // Where the file does not say the decimal mark, the command line may (see `Wanted::new`).
    if grouping == Some(decimal) && file.decimal.is_some() {
        return Err(bad(format!("grouping: `{decimal}` is the decimal mark too; they must differ")));
    }
    if file.strip.iter().any(|symbol| symbol.trim() != symbol || symbol.is_empty() || symbol.contains(is_of_amount)) {
        return Err(bad("strip: a symbol has no space around it, no digit, no mark and no sign".to_owned()));
    }
    let dates = Dates::new(&file.dates, file.time_zone.as_deref()).map_err(bad)?;
    for (section, kind) in [(&file.commissions, &COMMISSIONS), (&file.affiliates, &AFFILIATES)] {
        if let Some(section) = section {
            self::section(section, kind).map_err(bad)?;
        }
    }
    Ok(Mapping {
        name: name.to_owned(),
        encoding,
        delimiter: delimiter.and_then(|sign| u8::try_from(sign).ok()),
        marks: Marks { decimal, grouping, strip: file.strip },
        dates,
        commissions: file.commissions,
        affiliates: file.affiliates,
    })
}

fn is_of_amount(c: char) -> bool {
    c.is_ascii_digit() || matches!(c, '.' | ',' | '-' | '+')
}

fn grouping(text: &str) -> Result<char, String> {
    let mut letters = text.chars();
    match (letters.next(), letters.next()) {
        (Some(mark), None) if !mark.is_alphanumeric() && !matches!(mark, '-' | '+' | '"') && !mark.is_control() => {
            Ok(mark)
        }
        _ => Err("a mark between thousands is one sign, such as \",\", \".\", \"'\" or \" \"".to_owned()),
    }
}

/// Every name is one that a mapping has at this place.
fn names(file: &Table) -> Result<(), String> {
    known(file, "", "")?;
    for kind in [&COMMISSIONS, &AFFILIATES] {
        let name = section_name(kind);
        let Some(Value::Table(section)) = file.get(name) else { continue };
        known(section, name, "SECTION.")?;
        if let Some(Value::Table(columns)) = section.get("columns") {
            for (column, from) in columns {
                one_of(column, kind.columns, &format!("{name}.columns"), "column of ours")?;
                if let Value::Table(from) = from {
                    known(from, &format!("{name}.columns.{column}"), "SECTION.columns.*.")?;
                }
            }
        }
        if let Some(Value::Array(rules)) = section.get("status") {
            for rule in rules.iter().filter_map(Value::as_table) {
                known(rule, &format!("{name}.status"), "SECTION.status.")?;
            }
        }
    }
    Ok(())
}

/// Of the fields below this prefix.
fn known(table: &Table, place: &str, prefix: &str) -> Result<(), String> {
    let below = FIELDS.iter().filter_map(|(field, _)| field.strip_prefix(prefix));
    let fields: Vec<&str> = below.filter(|field| !field.contains('.')).collect();
    table.keys().try_for_each(|name| one_of(name, &fields, place, "field of a mapping"))
}

fn one_of(name: &str, known: &[&str], place: &str, what: &str) -> Result<(), String> {
    if known.contains(&name) {
        return Ok(());
    }
    let place = if place.is_empty() { name.to_owned() } else { format!("{place}.{name}") };
    let perhaps = nearest(name, known).map(|near| format!(", perhaps `{near}` misspelt")).unwrap_or_default();
    Err(format!("`{place}` is no {what}{perhaps}; there are {}", known.join(", ")))
}

/// What a section says fits together.
fn section(section: &Section, kind: &'static FileKind) -> Result<(), String> {
    let name = section_name(kind);
    let is_nameless =
        |column: &Column| column.names().is_empty() || column.names().iter().any(|name| name.trim().is_empty());
    let rules = section.status.iter().map(|rule| &rule.column);
    if section.columns.values().flat_map(Origin::columns).chain(rules).any(is_nameless) {
        return Err(format!("{name}.columns: a column of theirs has a name; what the file does not have is left out"));
    }
    let mut words: Vec<(String, String)> = Vec::new();
    for rule in &section.status {
        let column = rule.column.names().join(" or ");
        for word in [&rule.import, &rule.left_out, &rule.reversed, &rule.clawback].into_iter().flatten() {
            let both = (column.to_lowercase(), word.trim().to_lowercase());
            if words.contains(&both) {
                return Err(format!(
                    "{name}.status: the word {} of `{column}` is there twice; say what it means once",
                    shown(word)
                ));
            }
            words.push(both);
        }
    }
    let is_reversing = section.status.iter().any(|rule| !rule.reversed.is_empty() || !rule.clawback.is_empty());
    if std::ptr::eq(kind, &AFFILIATES) && is_reversing {
        return Err("affiliates.status: affiliates are not reversed; put the word under import or left_out".to_owned());
    }
    let is_kind_mapped = section.columns.contains_key("kind");
    if is_kind_mapped && is_reversing {
        return Err(format!("{name}.columns.kind: the status says which rows are clawbacks; leave kind out"));
    }
    Ok(())
}
