//! Letters that nobody sees, and letters that people take for others. What Unicode says of each is taken from crates of
//! the Unicode Technical Standard 39 ("Unicode Security Mechanisms") and Annex 44; here is only which of it a
//! destination may have.

use payfleet_letters::is_invisible;
use unicode_normalization::char::{compose, is_combining_mark};
use unicode_security::GeneralSecurityProfile;
use unicode_security::mixed_script::AugmentedScriptSet;

use super::DestinationKind;
use super::error::DestinationError;

/// No letter of a destination may be one that nobody sees, nor a space that is not the one of the keyboard.
pub(super) fn all_visible(text: &str) -> Result<(), DestinationError> {
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return Ok(());
    }
    for (at, letter) in counted(text) {
        if is_invisible(letter) {
            return Err(DestinationError::Invisible { at, letter });
        }
        if letter != ' ' && letter.is_whitespace() {
            return Err(DestinationError::Space { at, letter });
        }
    }
    Ok(())
}

/// Whether a letter beyond ASCII can be in a name that people write: a letter, an accent or a digit of a script that is
/// in use, in its plain form.
pub(super) fn is_plain(letter: char) -> bool {
    letter.identifier_allowed() && (letter.is_alphanumeric() || is_combining_mark(letter))
}

/// What people take a letter for, if that is one of ASCII.
fn ascii_like(letter: char) -> Option<char> {
    let mut like = unicode_security::skeleton(letter.encode_utf8(&mut [0; 4])).collect::<Vec<_>>().into_iter();
    match (like.next(), like.next()) {
        (Some(one), None) if one.is_ascii() && !letter.is_ascii() => Some(one),
        _ => None,
    }
}

/// A word of a destination is written in one script, or in Latin and one of East Asia beside it, as people there do
/// (UTS 39, "Highly Restrictive"). `from` is the number of its first letter; `is_beside_latin` says that the
/// destination has Latin letters too.
pub(super) fn one_script(word: &str, from: usize, is_beside_latin: bool) -> Result<(), DestinationError> {
    if word.is_ascii() {
        return Ok(());
    }
    let wrong = |(at, letter): (usize, char)| match ascii_like(letter) {
        Some(like) => DestinationError::LooksLike { at, letter, like },
        None => DestinationError::OtherScript { at, letter },
    };
    let letters = || word.chars().enumerate().map(|(at, letter)| (from + at, letter));
    let beyond_ascii = || letters().filter(|(_, letter)| !letter.is_ascii());
    // An accent that no letter of the alphabet has is not seen as one: the dot on an i.
    let mut before = None;
    for (at, letter) in letters() {
        let base = before.replace(letter).filter(char::is_ascii);
        if let Some(base) = base
            && is_combining_mark(letter)
            && compose(base, letter).is_none()
        {
            return Err(DestinationError::LooksLike { at, letter, like: base });
        }
    }
    // All of it is taken for a word of ASCII, and is none.
    if is_beside_latin && unicode_security::skeleton(word).all(|letter| letter.is_ascii()) {
        return Err(beyond_ascii().next().map_or(DestinationError::Empty, wrong));
    }
    if !AugmentedScriptSet::for_str(word).is_empty() {
        return Ok(());
    }
    let is_latin = |letter: char| {
        let mut shared = AugmentedScriptSet::for_char(letter);
        shared.intersect_with(AugmentedScriptSet::for_char('a'));
        !shared.is_empty()
    };
    let rest: String = word.chars().filter(|letter| !is_latin(*letter)).collect();
    let scripts = AugmentedScriptSet::for_str(&rest);
    let is_east_asian = !scripts.is_empty() && (scripts.jpan || scripts.hanb || scripts.kore);
    if is_east_asian && rest.chars().all(|letter| ascii_like(letter).is_none()) {
        return Ok(());
    }
    let has_ascii = word.bytes().any(|byte| byte.is_ascii_alphabetic());
    let mut shared = AugmentedScriptSet::default();
    let stranger = letters().find(|(_, letter)| match has_ascii {
        true => !is_latin(*letter),
        false => {
            shared.intersect_with(AugmentedScriptSet::for_char(*letter));
            shared.is_empty()
        }
    });
    Err(stranger.map_or(DestinationError::Empty, wrong))
}

/// What is not known to be a word may have several words, each in a script of its own.
pub(super) fn words_of_one_script(text: &str) -> Result<(), DestinationError> {
    let mut from = 1;
    for word in text.split(' ') {
        one_script(word, from, word.bytes().any(|byte| byte.is_ascii_alphabetic()))?;
        from += word.chars().count() + 1;
    }
    Ok(())
}

/// What has letters of ASCII alone, as the ids of rails and banks do.
pub(super) fn only_ascii(kind: DestinationKind, text: &str) -> Result<(), DestinationError> {
    match counted(text).find(|(_, letter)| !letter.is_ascii()) {
        None => Ok(()),
        Some((at, letter)) => Err(match ascii_like(letter) {
            Some(like) => DestinationError::LooksLike { at, letter, like },
            None => DestinationError::NotAllowed { at, letter, kind },
        }),
    }
}

/// Letters with their numbers, from 1.
pub(super) fn counted(text: &str) -> impl Iterator<Item = (usize, char)> + '_ {
    text.chars().enumerate().map(|(at, letter)| (at + 1, letter))
}

/// A letter as people can look it up: as it is where it is on every keyboard, else its number and its name.
pub(super) fn named(letter: char) -> String {
    if matches!(letter, '!'..='~') {
        return format!("`{letter}`");
    }
    let name = match unicode_names2::name(letter) {
        Some(name) => name.to_string().to_lowercase(),
        None if letter.is_control() => "control character".to_owned(),
        None => return format!("U+{:04X}", u32::from(letter)),
    };
    // Scripts have names of their own.
    let name = match letter.is_alphabetic() {
        true => name[..1].to_uppercase() + &name[1..],
        false => name,
    };
    format!("U+{:04X} ({name})", u32::from(letter))
}

/// A text for people, in which every letter can be seen: the others are written as `\u{200b}`.
pub fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter != ' ' && (is_invisible(letter) || letter.is_whitespace()) {
            true => shown.extend(letter.escape_unicode()),
            false => shown.push(letter),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_sees_is_found_and_shown() {
        let invisible = [
            '\0',
            '\t',
            '\u{7f}',
            '\u{85}',
            '\u{ad}',
            '\u{34f}',
            '\u{61c}',
            '\u{115f}',
            '\u{17b4}',
            '\u{180b}',
            '\u{180e}',
            '\u{200b}',
            '\u{200c}',
            '\u{200d}',
            '\u{200e}',
            '\u{200f}',
            '\u{2028}',
            '\u{202a}',
            '\u{202e}',
            '\u{2060}',
            '\u{2066}',
            '\u{2069}',
            '\u{2800}',
            '\u{3164}',
            '\u{e000}',
            '\u{fe0f}',
            '\u{feff}',
            '\u{ffa0}',
            '\u{fff9}',
            '\u{fffd}',
            '\u{e0041}',
            '\u{e0100}',
        ];
        for letter in invisible {
            let text = format!("ab{letter}c");
            assert_eq!(all_visible(&text), Err(DestinationError::Invisible { at: 3, letter }), "{letter:?}");
            assert_eq!(visible(&text), format!("ab\\u{{{:x}}}c", u32::from(letter)));
        }
        for letter in ['\u{a0}', '\u{1680}', '\u{2000}', '\u{2009}', '\u{202f}', '\u{205f}', '\u{3000}'] {
            let text = format!("a{letter}b");
            assert_eq!(all_visible(&text), Err(DestinationError::Space { at: 2, letter }), "{letter:?}");
            assert!(!visible(&text).contains(letter));
        }
        let plain = "Ann Müller 7/8 {ü} Иван 用户 ~";
        assert_eq!((all_visible(plain), visible(plain).as_str()), (Ok(()), plain));
    }

    #[test]
    fn a_letter_is_called_by_its_name() {
        for (letter, name) in [
            ('а', "U+0430 (Cyrillic small letter a)"),
            ('\u{200b}', "U+200B (zero width space)"),
            ('\u{a0}', "U+00A0 (no-break space)"),
            ('\u{1}', "U+0001 (control character)"),
            ('\u{e000}', "U+E000"),
            (',', "`,`"),
            (' ', "U+0020 (space)"),
        ] {
            assert_eq!(named(letter), name);
        }
    }
}
