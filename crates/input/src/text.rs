//! A field as text, if it is one that can be told from others.

use crate::decode::name;
use crate::scan::Writing;
use crate::shown::shown;

/// The text of a field of a file that is written so, or what is wrong with it.
pub(crate) fn text(field: &[u8], writing: Writing) -> Result<&str, String> {
    let Ok(text) = std::str::from_utf8(field) else {
        let value = shown(&String::from_utf8_lossy(field));
        return Err(match writing.is_guess {
            true => format!(
                "{value} is not UTF-8, as the beginning of the input is; name the file instead of a pipe, or say how it is written, such as \
                 --encoding windows-1252"
            ),
            false => format!("{value} is not UTF-8; say how the file is written, such as --encoding windows-1252"),
        });
    };
    let is_wrong = match text.is_ascii() {
        true => field.iter().any(u8::is_ascii_control),
        false => text.chars().any(|c| c.is_control() || c == '\u{fffd}'),
    };
    if !is_wrong {
        return Ok(text);
    }
    Err(match text.contains('\u{fffd}') {
        true => format!(
            "{} has a letter that was lost, or is not {}; correct it, or say how the file is written (--encoding)",
            shown(text),
            name(writing.encoding)
        ),
        false => format!("{} has a line break, a tab or another control character; remove it", shown(text)),
    })
}
