//! How values of a file are shown to people: long ones cut, and letters that nobody sees or that look like others by
//! their number.

use std::borrow::Cow;

use payfleet_letters::is_invisible;

/// Longer values are cut; what is wrong with them stands at their beginning, or is their length.
const LONGEST: usize = 80;

/// A value in backticks, cut if it is long.
pub fn shown(text: &str) -> String {
    format!("`{}`", cut(text))
}

/// A value, cut if it is long.
pub fn cut(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(LONGEST) {
        None => Cow::Borrowed(text),
        Some((end, _)) => Cow::Owned(format!("{}…", &text[..end])),
    }
}

/// The text with every letter made visible that is not seen, or that looks like another in a word of Latin letters:
/// `zo<U+200B>e@example.org`. It has no line breaks, so that what quotes from a file is one line whatever the file
/// holds.
pub fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let letters = |wanted: bool| move |c: char| c.is_alphanumeric() != wanted;
        let word = &rest[..rest.find(letters(true)).unwrap_or(rest.len())];
        rest = &rest[word.len()..];
        let between = &rest[..rest.find(letters(false)).unwrap_or(rest.len())];
        rest = &rest[between.len()..];
        let is_latin = word.chars().any(|c| c.is_ascii_alphabetic());
        for c in word.chars().chain(between.chars()) {
            match is_unseen(c) || (is_latin && is_alike(c)) {
                true => out.push_str(&format!("<U+{:04X}>", u32::from(c))),
                false => out.push(c),
            }
        }
    }
    out
}

/// Whether nothing is seen of it, or no more than a space: controls, marks of direction, joiners, any space but the
/// usual one.
pub fn is_unseen(c: char) -> bool {
    c != ' ' && (is_invisible(c) || c.is_whitespace())
}

/// Whether it is of a script whose letters are taken for Latin ones. Alone it is what it is; in a word of Latin letters
/// it is a trap or a slip.
fn is_alike(c: char) -> bool {
    matches!(u32::from(c),
        0x0300..=0x036f | 0xfe00..=0xfe0f // marks that join the letter before, such as an accent of its own
        | 0x0370..=0x03ff // Greek
        | 0x0400..=0x052f | 0x1c80..=0x1c8f // Cyrillic
        | 0x0530..=0x058f // Armenian
        | 0x13a0..=0x13ff | 0xab70..=0xabbf // Cherokee
        | 0xff01..=0xff5e // full width
        | 0x1d400..=0x1d7ff) // mathematical
}

#[cfg(test)]
mod tests {
    use super::*;

    const LETTERS: &str = "Ελένη, 張, Анна и Ann, हिन्दी";

    #[test]
    fn what_nobody_sees_is_made_visible() {
        for (text, expected) in [
            ("zo\u{200b}e@example.org", "zo<U+200B>e@example.org"),
            ("i\u{430}n@example.org", "i<U+0430>n@example.org"),
            ("ia\u{a0}n", "ia<U+00A0>n"),
            ("two\r\nlines\tand\0", "two<U+000D><U+000A>lines<U+0009>and<U+0000>"),
            ("\u{feff}id \u{202e}di\u{2066}", "<U+FEFF>id <U+202E>di<U+2066>"),
            ("Jose\u{301}", "Jose<U+0301>"),
            ("a\u{3164}b", "a<U+3164>b"),
            ("\u{430}\u{fe0f}\u{e0100}\u{fffd}", "\u{430}<U+FE0F><U+E0100><U+FFFD>"),
            ("p\u{ff41}y", "p<U+FF41>y"),
            // Names in their own letters are what they are.
            ("Jürgen \"Ø\" Ångström\\'", "Jürgen \"Ø\" Ångström\\'"),
            ("Иван Ян", "Иван Ян"),
            (LETTERS, LETTERS),
            ("<a…>", "<a…>"),
        ] {
            assert_eq!(visible(text), expected);
            assert_eq!(visible(&visible(text)), expected, "once is enough");
        }
    }

    #[test]
    fn long_values_are_cut() {
        assert_eq!(shown("ten"), "`ten`");
        let long = "ü".repeat(100_000);
        assert_eq!(cut(&long).chars().count(), LONGEST + 1);
        assert_eq!(cut(&long[..2 * LONGEST]), &long[..2 * LONGEST]);
    }
}
