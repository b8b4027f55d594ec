//! Letters that nobody sees. What Unicode says of each is taken from crates of its Technical Standard 39 ("Unicode
//! Security Mechanisms") and Annex 44. A crate of its own, since the reader of files knows nothing of destinations, and
//! both must call the same letters invisible.

#![warn(missing_docs)]

use unicode_properties::{GeneralCategory, UnicodeGeneralCategory};
use unicode_security::GeneralSecurityProfile;
use unicode_security::general_security_profile::IdentifierType;

/// Whether people see nothing of it, or nothing but that something is missing. Spaces are another question.
pub fn is_invisible(letter: char) -> bool {
    if letter.is_ascii() {
        return letter.is_ascii_control();
    }
    let has_no_shape = matches!(
        letter.general_category(),
        GeneralCategory::Control
            | GeneralCategory::Format
            | GeneralCategory::LineSeparator
            | GeneralCategory::ParagraphSeparator
            | GeneralCategory::PrivateUse
            | GeneralCategory::Unassigned
    );
    // Variation selectors, fillers and joiners count as marks or letters. A pattern without dots is a space to the eye,
    // and what stands for letters that were lost is none of them.
    has_no_shape
        || letter.identifier_type() == Some(IdentifierType::Default_Ignorable)
        || matches!(letter, '\u{2800}' | '\u{fffd}')
}
