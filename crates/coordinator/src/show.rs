//! How results look: tables and amounts for people. Results are on stdout and nothing else is.

use std::io::{IsTerminal, Write};

use comfy_table::{Attribute, Cell, CellAlignment, Color, ContentArrangement, Table, presets};
use payfleet_domain::Currency;
use rust_decimal::Decimal;
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::failure::Failure;

/// Writes a result. A reader that has gone (`| head`) is no error.
pub fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Writes beside the result, on stderr, what a person should know of how it came about.
pub fn note(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Writes a result as one JSON object on one line.
pub fn print_json(value: &impl Serialize) -> Result<(), Failure> {
    let json = serde_json::to_string(value)
        .map_err(|error| Failure::broken(format!("a result cannot be written: {error}")))?;
    print(&format!("{json}\n"));
    Ok(())
}

/// Whether stdout shows colours.
fn coloured() -> bool {
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    std::io::stdout().is_terminal() && !no_color
}

/// A table with these columns. On a terminal it fits its width, elsewhere it is as wide as its content.
pub fn table(columns: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_BORDERS_ONLY).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(columns.iter().map(|&column| {
        let cell = Cell::new(column);
        if coloured() { cell.add_attribute(Attribute::Bold) } else { cell }
    }));
    if !std::io::stdout().is_terminal() {
        table.set_content_arrangement(ContentArrangement::Disabled);
    }
    table
}

/// What others wrote must not steer a terminal, nor turn a line around.
pub fn printable(text: &str) -> String {
    let steers = |c: char| c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars().map(|c| if steers(c) { '\u{fffd}' } else { c }).collect()
}

/// A number, to the right.
pub fn number(text: impl ToString) -> Cell {
    Cell::new(text.to_string()).set_alignment(CellAlignment::Right)
}

/// A word of state, in the colour of good or bad news.
pub fn word(text: &str) -> Cell {
    in_colour_of(text, text)
}

/// A text in the colour of this word.
pub fn in_colour_of(word: &str, text: &str) -> Cell {
    let cell = Cell::new(text);
    if !coloured() {
        return cell;
    }
    match word {
        "pay" | "paid" | "settled" | "reconciled" => cell.fg(Color::Green),
        "refused" | "held" | "returned" | "discrepant" | "unknown" => cell.fg(Color::Red),
        "planning" | "planned" | "paying" | "accepted" => cell.fg(Color::Cyan),
        _ => cell.fg(Color::Yellow),
    }
}

/// An amount in units, with the currency's own number of decimals.
pub fn amount(minor: i128, currency: Currency) -> String {
    let scale = 10_u128.pow(currency.exponent());
    let (units, rest) = (minor.unsigned_abs() / scale, minor.unsigned_abs() % scale);
    let sign = if minor < 0 { "-" } else { "" };
    match currency.exponent() as usize {
        0 => format!("{sign}{units}"),
        width => format!("{sign}{units}.{rest:0width$}"),
    }
}

/// A threshold in units, with two decimals at least.
pub fn units(units: Decimal) -> String {
    let mut units = units.normalize();
    units.rescale(units.scale().max(2));
    units.to_string()
}

/// An instant in UTC, to the second.
pub fn instant(at: OffsetDateTime) -> String {
    let at = at.replace_nanosecond(0).unwrap_or(at);
    at.format(&Rfc3339).unwrap_or_else(|_| at.to_string())
}

/// A time span in words.
pub fn span(secs: u64) -> String {
    humantime::format_duration(std::time::Duration::from_secs(secs)).to_string()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn amounts_have_the_decimals_of_their_currency() {
        let show = |minor, code: &str| amount(minor, code.parse().unwrap());
        assert_eq!(show(123_456, "EUR"), "1234.56");
        assert_eq!(show(-5, "EUR"), "-0.05");
        assert_eq!(show(1_200, "JPY"), "1200");
        assert_eq!(show(1, "KWD"), "0.001");
        assert_eq!(show(i128::from(i64::MAX) * 2, "JPY"), "18446744073709551614");
    }
}
