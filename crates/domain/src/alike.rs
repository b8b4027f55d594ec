//! Which ids look alike: a spreadsheet takes zeros away, a person types another letter case, a space or a letter of
//! another alphabet. Two such ids are still two; but whoever brings both should look.

use std::sync::LazyLock;

use payfleet_letters::is_invisible;
use sha2::{Digest, Sha256};
use unicode_normalization::UnicodeNormalization;
use unicode_security::skeleton;

/// What an id looks like: ids that differ only by letter case, space, letters that nobody sees, zeros before a number,
/// or letters that are easily taken for one another (UTS #39) have the same look.
pub fn look(id: &str) -> String {
    let mut look = String::with_capacity(id.len());
    if id.is_ascii() {
        for letter in without_leading_zeros(id.chars().filter(|c| !c.is_ascii_whitespace())) {
            look.push_str(&ASCII[usize::from(letter as u8)]);
        }
    } else {
        let seen = id.nfkc().filter(|c| !c.is_whitespace() && !is_invisible(*c)).flat_map(char::to_lowercase);
        let text: String = without_leading_zeros(seen).collect();
        look.extend(skeleton(&text).flat_map(char::to_lowercase).map(one_of_a_kind));
    }
    look
}

/// The look in eight bytes, the same in every version: ids with another look have another key, but for one in 2^64.
pub fn look_key(id: &str) -> i64 {
    let mut key = [0; 8];
    key.copy_from_slice(&Sha256::digest(look(id))[..8]);
    i64::from_be_bytes(key)
}

/// How the letters of ASCII look: most ids have no others, and a table is ten times as fast.
static ASCII: LazyLock<Vec<String>> = LazyLock::new(|| {
    let letters = (0..128_u8).map(|byte| char::from(byte).to_ascii_lowercase().to_string());
    letters.map(|text| skeleton(&text).flat_map(char::to_lowercase).map(one_of_a_kind).collect()).collect()
});

/// A capital I looks like a small L, and letter case makes no difference: all three are one.
fn one_of_a_kind(letter: char) -> char {
    if letter == 'i' { 'l' } else { letter }
}

/// Zeros at the beginning of each number say nothing.
fn without_leading_zeros(letters: impl Iterator<Item = char>) -> impl Iterator<Item = char> {
    let mut letters = letters.peekable();
    let mut in_number = false;
    std::iter::from_fn(move || {
        loop {
            let letter = letters.next()?;
            if letter == '0' && !in_number && letters.peek().is_some_and(char::is_ascii_digit) {
                continue;
            }
            in_number = letter.is_ascii_digit();
            return Some(letter);
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_looks_alike_has_one_look() {
        for alike in [
            &["007", "7", "0007", " 7", "0 07", "\u{feff}7", "７"][..],
            &["A7", "a7", "A 7", "a07", "\u{410}7", "a\u{200b}7", "\u{ff21}7"],
            &["C-001", "c-1", "C-01"],
            &["A10", "A1O", "alo", "AIO", "A\u{406}o"],
            &["0", "00", "O"],
            &["J\u{fc}rgen", "Ju\u{308}rgen"],
        ] {
            for id in alike {
                assert_eq!(look(id), look(alike[0]), "{id:?} and {:?}", alike[0]);
                assert_eq!(look_key(id), look_key(alike[0]));
            }
        }
    }

    #[test]
    fn what_looks_different_has_another_look() {
        let different =
            ["7", "70", "77", "A7", "A70", "B7", "C-1", "C1", "C_1", "C-10", "1.5", "15", "J\u{fc}rgen", "Jurgen"];
        for (at, one) in different.iter().enumerate() {
            for other in &different[at + 1..] {
                assert_ne!(look_key(one), look_key(other), "{one} and {other}");
            }
        }
        assert_eq!(look_key("A000000002"), 3_186_932_571_232_563_205, "it is stored: it must be the same for ever");
    }

    proptest! {
        #[test]
        fn the_table_says_what_the_rules_say(id in "[ -~]{0,12}") {
            let seen = id.nfkc().filter(|c| !c.is_whitespace()).flat_map(char::to_lowercase);
            let text: String = without_leading_zeros(seen).collect();
            let look_of_all: String = skeleton(&text).flat_map(char::to_lowercase).map(one_of_a_kind).collect();
            prop_assert_eq!(look(&id), look_of_all);
        }
    }
}
