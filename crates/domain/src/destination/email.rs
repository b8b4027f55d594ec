//! E-mail addresses: those that can be right. Strict, since what a rail gets is not read by a person who would see a
//! comma too many; nothing here asks whether the address exists.

use super::error::DestinationError;
use super::letters::{counted, is_plain, one_script};
use super::{DestinationKind, bank};

/// RFC 5321, section 4.5.3.1.1, and RFC 1035, section 2.3.4.
const LOCAL_MAX: usize = 64;
const DOMAIN_MAX: usize = 253;
const LABEL_MAX: usize = 63;

/// What addresses are copied with.
const LABELS: [&str; 5] = ["mailto:", "email:", "e-mail:", "mail:", "paypal:"];

/// Checks a text without space around it, in which every letter can be seen.
pub(super) fn check(text: &str) -> Result<(), DestinationError> {
    let kind = DestinationKind::Email;
    let form = |what: &'static str| DestinationError::Form { kind, what: what.into() };
    let has = |wanted: fn(u8) -> bool| text.bytes().any(wanted);
    if has(|byte| byte == b':')
        && let Some(label) = LABELS.iter().find(|label| is_begun_by(text, label))
    {
        return Err(DestinationError::Label { label: text[..label.len()].to_owned() });
    }
    if has(|byte| matches!(byte, b'<' | b'>')) {
        return Err(form("it has angle brackets; write only what is between them"));
    }
    if let Some(letter @ (',' | ';' | ':' | '.')) = text.chars().next_back() {
        return Err(DestinationError::NotAllowed { at: text.chars().count(), letter, kind });
    }
    if text.bytes().filter(|byte| *byte == b'@').count() > 1 {
        return Err(DestinationError::Several);
    }
    if let Some((at, letter)) = counted(text).find(|(_, letter)| !is_in_address(*letter)) {
        return Err(match letter {
            ' ' => DestinationError::Space { at, letter },
            _ => DestinationError::NotAllowed { at, letter, kind },
        });
    }
    let Some((local, domain)) = text.split_once('@') else {
        return Err(form(match bank::is_like_iban(text) {
            true => "it is like an IBAN",
            false => "it has no @",
        }));
    };
    if local.is_empty() {
        return Err(form("nothing stands before the @"));
    }
    if local.len() > LOCAL_MAX || domain.len() > DOMAIN_MAX {
        return Err(form("more than 64 bytes stand before the @, or more than 253 after it"));
    }
    if text.bytes().zip(text.bytes().skip(1)).any(|pair| pair == (b'.', b'.')) {
        return Err(form("it has two dots in a row"));
    }
    if local.starts_with('.') || local.ends_with('.') {
        return Err(form("a dot begins or ends what stands before the @"));
    }
    domain_check(domain).map_err(form)?;
    if text.is_ascii() {
        return Ok(());
    }
    let has_latin = text.bytes().any(|byte| byte.is_ascii_alphabetic());
    let mut from = 1;
    for word in text.split(['@', '.']) {
        one_script(word, from, has_latin)?;
        from += word.chars().count() + 1;
    }
    Ok(())
}

fn is_begun_by(text: &str, label: &str) -> bool {
    text.get(..label.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(label))
}

/// RFC 5322, section 3.2.3: what a word outside of quotes may have; and @ and the dots between words. Beyond ASCII,
/// what names are written with (RFC 6532).
fn is_in_address(letter: char) -> bool {
    match letter {
        'a'..='z' | 'A'..='Z' | '0'..='9' | '@' | '.' => true,
        '!' | '#'..='\'' | '*' | '+' | '-' | '/' | '=' | '?' | '^'..='`' | '{'..='~' => true,
        _ => !letter.is_ascii() && is_plain(letter),
    }
}

/// Labels of letters, digits and hyphens (RFC 5321, section 4.1.2; RFC 1123, section 2.1), of which the last is no
/// number.
fn domain_check(domain: &str) -> Result<(), &'static str> {
    let Some((_, top)) = domain.rsplit_once('.') else { return Err("what stands after the @ has no dot") };
    for label in domain.split('.') {
        if label.is_empty() {
            return Err("a dot begins or ends what stands after the @");
        }
        if label.len() > LABEL_MAX {
            return Err("a part of what stands after the @ is longer than 63 bytes");
        }
        if label.starts_with('-') || label.ends_with('-') {
            return Err("a hyphen begins or ends a part of what stands after the @");
        }
        if label.bytes().any(|byte| byte.is_ascii() && !byte.is_ascii_alphanumeric() && byte != b'-') {
            return Err("what stands after the @ has other signs than letters, digits, hyphens and dots");
        }
    }
    match top.chars().count() < 2 || top.bytes().all(|byte| byte.is_ascii_digit()) {
        true => Err("it does not end as addresses do, such as with .com"),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use DestinationError as E;

    /// As callers do.
    fn check(text: &str) -> Result<(), E> {
        DestinationKind::Email.check(text).map(drop)
    }

    #[test]
    fn addresses_that_can_be_right_are_taken() {
        for text in [
            "ann@example.com",
            "Ann.O'Neil+pay_1@mail.Example-Site.co.uk",
            "a@b.cd",
            "x!#$%&'*+/=?^_`{|}~y@example.org",
            "1@1.museum",
            "ann@xn--mnchen-3ya.example",
            "jürgen@münchen.example",
            "ışık@example.com.tr",
            "иван@почта.рф",
            // Letters that look like Latin ones are what they are where no Latin one is.
            "сосо@почта.рф",
            "иван@example.org",
            "δοκιμή@παράδειγμα.ελ",
            "用户@例子.中国",
            "用户abc@example.com",
            "やまだ@example.jp",
            "दीपक@उदाहरण.भारत",
            "łukasz@żółw.example",
        ] {
            assert_eq!(check(text), Ok(()), "{text}");
        }
        let longest = format!("{}@{}.example.com", "a".repeat(64), "b".repeat(63));
        assert_eq!(check(&longest), Ok(()));
    }

    #[test]
    fn letters_that_nobody_sees_or_that_look_like_others_are_named_with_their_place() {
        let looks = |at, letter, like| Err(E::LooksLike { at, letter, like });
        for (text, told) in [
            ("i\u{200b}an@example.org", Err(E::Invisible { at: 2, letter: '\u{200b}' })),
            ("ian@example.org\u{feff}", Err(E::Invisible { at: 16, letter: '\u{feff}' })),
            ("\u{202e}ian@example.org", Err(E::Invisible { at: 1, letter: '\u{202e}' })),
            ("ia\u{ad}n@example.org", Err(E::Invisible { at: 3, letter: '\u{ad}' })),
            ("ian@example\u{fe0f}.org", Err(E::Invisible { at: 12, letter: '\u{fe0f}' })),
            ("ia\u{a0}n@example.org", Err(E::Space { at: 3, letter: '\u{a0}' })),
            ("ia n@example.org", Err(E::Space { at: 3, letter: ' ' })),
            ("ian @example.org", Err(E::Space { at: 4, letter: ' ' })),
            ("i\u{430}n@example.org", looks(2, 'а', 'a')),
            ("ian@ex\u{430}mple.org", looks(7, 'а', 'a')),
            ("ian@example.\u{43e}rg", looks(13, 'о', 'o')),
            ("\u{391}nn@example.org", looks(1, 'Α', 'A')),
            ("ann@ex\u{3b1}mple.org", looks(7, 'α', 'a')),
            ("i\u{430}nü@example.org", looks(2, 'а', 'a')),
            // A whole word that is taken for a Latin one.
            ("\u{441}\u{43e}\u{441}\u{43e}@example.org", looks(1, 'с', 'c')),
            ("\u{131}an@example.org", looks(1, 'ı', 'i')),
            ("i\u{307}an@example.org", looks(2, '\u{307}', 'i')),
            ("ian\u{436}@example.org", Err(E::OtherScript { at: 4, letter: 'ж' })),
            ("ж\u{3b4}@пример.рф", Err(E::OtherScript { at: 2, letter: 'δ' })),
        ] {
            assert_eq!(check(text), told, "{text:?}");
        }
        let told = check("ia\u{43d}\u{430}@example.org").expect_err("mixed").to_string();
        assert!(told.starts_with("letter 3 is U+043D (Cyrillic small letter en), "), "{told}");
        let told = check("an\u{430}@example.org").expect_err("mixed").to_string();
        assert_eq!(told, "letter 3 is U+0430 (Cyrillic small letter a), which looks like a; type it anew");
        // Not as people write it: a wide form, a letter of mathematics, a sign.
        for (text, at) in [
            ("ian\u{ff20}example.org", 4),
            ("\u{1d422}an@example.org", 1),
            ("ian\u{2019}s@example.org", 4),
            ("ian@example\u{3002}org", 12),
        ] {
            let told = check(text);
            assert!(matches!(told, Err(E::NotAllowed { at: found, .. }) if found == at), "{text}: {told:?}");
        }
    }

    #[test]
    fn what_addresses_are_copied_with_is_no_part_of_them() {
        for (text, told) in [
            ("mailto:ian@example.org", "begins with `mailto:`, which is not part of it; remove that"),
            ("MailTo:ian@example.org", "begins with `MailTo:`, which is not part of it; remove that"),
            ("<ian@example.org>", "is not an e-mail address: it has angle brackets; write only what is between them"),
            (
                "Ian <ian@example.org>",
                "is not an e-mail address: it has angle brackets; write only what is between them",
            ),
            ("ian@example.org,", "letter 16 is `,`, which cannot be in an e-mail address; remove or correct it"),
            ("ian@example.org;", "letter 16 is `;`, which cannot be in an e-mail address; remove or correct it"),
            ("ian@example.org.", "letter 16 is `.`, which cannot be in an e-mail address; remove or correct it"),
            ("\"ian@example.org\"", "letter 1 is `\"`, which cannot be in an e-mail address; remove or correct it"),
            (
                "ian@example.org, eve@example.org",
                "there is more than one e-mail address; give one, and another in a row of its own with another \
                 `priority`",
            ),
            ("(work) ian@example.org", "letter 1 is `(`, which cannot be in an e-mail address; remove or correct it"),
        ] {
            assert_eq!(check(text).expect_err(text).to_string(), told, "{text}");
        }
        for several in [
            "a@example.org;b@example.org",
            "a@example.org b@example.org",
            "a@b@example.org",
            "a@example.org/b@example.org",
        ] {
            assert_eq!(check(several), Err(E::Several), "{several}");
        }
    }

    #[test]
    fn what_has_not_the_form_of_an_address_is_refused() {
        for (text, what) in [
            ("ann", "it has no @"),
            ("DE44 5001 0517 5407 3249 31", ""),
            ("DE44500105175407324931", "it is like an IBAN"),
            ("@example.org", "nothing stands before the @"),
            ("ian@", "what stands after the @ has no dot"),
            ("ian@example", "what stands after the @ has no dot"),
            ("ian@example..org", "it has two dots in a row"),
            ("i..an@example.org", "it has two dots in a row"),
            (".ian@example.org", "a dot begins or ends what stands before the @"),
            ("ian.@example.org", "a dot begins or ends what stands before the @"),
            ("ian@.example.org", "a dot begins or ends what stands after the @"),
            ("ian@-example.org", "a hyphen begins or ends a part of what stands after the @"),
            ("ian@example-.org", "a hyphen begins or ends a part of what stands after the @"),
            ("ian@ex_ample.org", "what stands after the @ has other signs than letters, digits, hyphens and dots"),
            ("ian@127.0.0.1", "it does not end as addresses do, such as with .com"),
            ("ian@example.c", "it does not end as addresses do, such as with .com"),
        ] {
            let told = check(text).expect_err(text).to_string();
            assert!(told.ends_with(what), "{text}: {told}");
        }
        for text in
            [format!("{}@example.org", "a".repeat(65)), format!("a@{}.org", "b".repeat(64)), "ian@[127.0.0.1]".into()]
        {
            assert!(check(&text).is_err(), "{text}");
        }
    }
}
