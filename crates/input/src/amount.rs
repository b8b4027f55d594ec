//! Amounts as people write them, made plain: digits with a decimal point. Nothing is guessed: a mark that was not said is an error that says how to say it.

use std::borrow::Cow;

use crate::shown::shown;

/// How a file writes amounts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marks {
    /// Between units and decimals.
    pub decimal: char,
    /// Between groups of three digits, if there is any. A space stands for each kind of space that does not break a line too.
    pub grouping: Option<char>,
    /// What may stand before or behind an amount and is no part of it, such as `€`.
    pub strip: Vec<String>,
}

impl Default for Marks {
    fn default() -> Self {
        Marks { decimal: '.', grouping: None, strip: Vec::new() }
    }
}

impl Marks {
    /// The amount with a decimal point and without anything else but a sign, or what is wrong with it. Whether the rest are digits is for whoever reads it.
    pub(crate) fn plain<'a>(&self, text: &'a str) -> Result<Cow<'a, str>, String> {
        if self.decimal == '.' && self.grouping.is_none() && self.strip.is_empty() {
            return if text.contains(',') { Err(self.advice(text)) } else { Ok(Cow::Borrowed(text)) };
        }
        let (sign, rest) = signed(text.trim());
        let rest = self.stripped(rest);
        // The sign stands before the currency or behind it.
        let (sign, rest) = if sign.is_empty() { signed(rest) } else { (sign, rest) };
        let (whole, decimals) = match rest.split_once(self.decimal) {
            Some((whole, decimals)) => (whole, Some(decimals)),
            None => (rest, None),
        };
        let whole = self.ungrouped(whole).ok_or_else(|| self.advice(text))?;
        let has_mark = |part: &str| part.contains(['.', ',']);
        if has_mark(&whole) || decimals.is_some_and(has_mark) {
            return Err(self.advice(text));
        }
        let decimals = decimals.map(|decimals| format!(".{decimals}")).unwrap_or_default();
        Ok(Cow::Owned(format!("{sign}{whole}{decimals}")))
    }

    fn stripped<'a>(&self, text: &'a str) -> &'a str {
        let without = |symbol: &String| {
            let behind = || text.strip_suffix(symbol.as_str()).map(str::trim_end);
            text.strip_prefix(symbol.as_str()).map(str::trim_start).or_else(behind)
        };
        self.strip.iter().find_map(without).unwrap_or(text)
    }

    /// Whole groups of three digits, the first perhaps shorter; nothing else.
    fn ungrouped(&self, whole: &str) -> Option<String> {
        let Some(mark) = self.grouping else { return Some(whole.to_owned()) };
        let is_mark = |c: char| c == mark || (mark == ' ' && matches!(c, '\u{a0}' | '\u{202f}' | '\u{2009}'));
        let mut groups = whole.split(is_mark);
        let first = groups.next()?;
        let mut plain = first.to_owned();
        for group in groups {
            if group.len() != 3 || !(1..=3).contains(&first.len()) {
                return None;
            }
            plain.push_str(group);
        }
        Some(plain)
    }

    /// What to say of an amount with a mark that was not said.
    fn advice(&self, text: &str) -> String {
        let value = shown(text);
        let (point, comma) = (text.rfind('.'), text.rfind(','));
        let is_thousand = |at: usize| text[at + 1..].len() == 3;
        let in_a_map = "in a mapping file (--map FILE.toml)";
        if let Some(grouping) = self.grouping {
            let decimal = self.decimal;
            return format!(
                "{value} is not written as was said: `{decimal}` before decimals, and `{grouping}` between whole groups of three digits"
            );
        }
        match (self.decimal, point, comma) {
            (',', Some(point), Some(comma)) if point < comma => {
                format!("{value} has points between thousands; write `grouping = \".\"` {in_a_map}, or leave them out")
            }
            (',', ..) => format!("{value} has a point, and the decimal mark is a comma; correct one of the two"),
            (_, Some(point), Some(comma)) if point < comma => format!(
                "{value} has a decimal comma, and points between thousands; say --decimal , and write `grouping = \".\"` {in_a_map}"
            ),
            (_, None, Some(comma)) if text.matches(',').count() == 1 && is_thousand(comma) => format!(
                "{value} may be a thousand or a decimal comma; say --decimal , if it is decimal, else write `grouping = \",\"` {in_a_map}"
            ),
            (_, None, Some(_)) if text.matches(',').count() == 1 => {
                format!("{value} has a decimal comma; say --decimal ,")
            }
            _ => {
                format!("{value} has commas between thousands; write `grouping = \",\"` {in_a_map}, or leave them out")
            }
        }
    }
}

fn signed(text: &str) -> (&str, &str) {
    let begin = text.len() - text.trim_start_matches(['-', '+']).len();
    (&text[..begin], text[begin..].trim_start())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marks(decimal: char, grouping: Option<char>, strip: &[&str]) -> Marks {
        Marks { decimal, grouping, strip: strip.iter().map(|&symbol| symbol.to_owned()).collect() }
    }

    #[test]
    fn amounts_become_plain_by_the_marks_that_were_said() {
        let german = marks(',', Some('.'), &["€", "EUR"]);
        let french = marks(',', Some(' '), &["€"]);
        let american = marks('.', Some(','), &["$", "US$"]);
        for (marks, text, plain) in [
            (&Marks::default(), "-12.30", "-12.30"),
            (&marks(',', None, &[]), "1234,56", "1234.56"),
            (&german, "1.234,56", "1234.56"),
            (&german, "-1.234.567 €", "-1234567"),
            (&german, "€ 12", "12"),
            (&german, "EUR 12,50", "12.50"),
            (&french, "1\u{202f}234,56\u{a0}€", "1234.56"),
            (&french, "1 234", "1234"),
            (&american, "$1,234.56", "1234.56"),
            (&american, "-$5.00", "-5.00"),
            (&american, "$-5.00", "-5.00"),
            (&american, "999", "999"),
        ] {
            assert_eq!(marks.plain(text).as_deref(), Ok(plain), "{text}");
        }
    }

    #[test]
    fn a_mark_that_was_not_said_is_an_error_that_says_how() {
        let comma = marks(',', None, &[]);
        let american = marks('.', Some(','), &[]);
        for (marks, text, advice) in [
            (&Marks::default(), "1234,56", "`1234,56` has a decimal comma; say --decimal ,"),
            (&Marks::default(), "1.234,56", "say --decimal , and write `grouping = \".\"`"),
            (&Marks::default(), "1,234.56", "write `grouping = \",\"`"),
            (&Marks::default(), "1,234", "say --decimal , if it is decimal, else write `grouping = \",\"`"),
            (&Marks::default(), "1,234,567", "write `grouping = \",\"`"),
            (&comma, "1.234,56", "write `grouping = \".\"`"),
            (&comma, "12.50", "correct one of the two"),
            (&american, "12,34.00", "whole groups of three"),
            (&american, "1,2345", "whole groups of three"),
            (&american, ",123", "whole groups of three"),
            (&american, "1234,567.00", "whole groups of three"),
        ] {
            let wrong = marks.plain(text).map_err(|what| what.contains(advice));
            assert_eq!(wrong, Err(true), "{text}: {:?}", marks.plain(text));
        }
    }
}
