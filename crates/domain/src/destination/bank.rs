//! Account numbers of banks: their check digits find a digit that is wrong and two that are exchanged.

use iban::BaseIban;

use super::DestinationKind;
use super::error::DestinationError;
use super::letters::counted;

/// Letters and digits of an IBAN, by country, in order (SWIFT, "IBAN Registry"). What the national part is made of is
/// not asked: it changes more often than any list of it, and check digits find a wrong letter there too.
const LENGTHS: [(&str, usize); 87] = [
    ("AD", 24),
    ("AE", 23),
    ("AL", 28),
    ("AT", 20),
    ("AZ", 28),
    ("BA", 20),
    ("BE", 16),
    ("BG", 22),
    ("BH", 22),
    ("BI", 27),
    ("BR", 29),
    ("BY", 28),
    ("CH", 21),
    ("CR", 22),
    ("CY", 28),
    ("CZ", 24),
    ("DE", 22),
    ("DJ", 27),
    ("DK", 18),
    ("DO", 28),
    ("EE", 20),
    ("EG", 29),
    ("ES", 24),
    ("FI", 18),
    ("FK", 18),
    ("FO", 18),
    ("FR", 27),
    ("GB", 22),
    ("GE", 22),
    ("GI", 23),
    ("GL", 18),
    ("GR", 27),
    ("GT", 28),
    ("HR", 21),
    ("HU", 28),
    ("IE", 22),
    ("IL", 23),
    ("IQ", 23),
    ("IS", 26),
    ("IT", 27),
    ("JO", 30),
    ("KW", 30),
    ("KZ", 20),
    ("LB", 28),
    ("LC", 32),
    ("LI", 21),
    ("LT", 20),
    ("LU", 20),
    ("LV", 21),
    ("LY", 25),
    ("MC", 27),
    ("MD", 24),
    ("ME", 22),
    ("MK", 19),
    ("MN", 20),
    ("MR", 27),
    ("MT", 31),
    ("MU", 30),
    ("NI", 28),
    ("NL", 18),
    ("NO", 15),
    ("OM", 23),
    ("PL", 28),
    ("PS", 29),
    ("PT", 25),
    ("QA", 29),
    ("RO", 24),
    ("RS", 22),
    ("RU", 33),
    ("SA", 24),
    ("SC", 31),
    ("SD", 18),
    ("SE", 24),
    ("SI", 19),
    ("SK", 24),
    ("SM", 27),
    ("SO", 23),
    ("ST", 25),
    ("SV", 28),
    ("TL", 23),
    ("TN", 24),
    ("TR", 26),
    ("UA", 29),
    ("VA", 22),
    ("VG", 24),
    ("XK", 20),
    ("YE", 30),
];

/// Without spaces, in capitals.
pub(super) fn compact(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_whitespace()).map(|letter| letter.to_ascii_uppercase()).collect()
}

fn length_in(country: &str) -> Option<usize> {
    LENGTHS.binary_search_by(|(known, _)| (*known).cmp(country)).ok().map(|place| LENGTHS[place].1)
}

/// Whether it begins as an IBAN does, and is long enough for one: two letters, two digits, and 11 or more letters and
/// digits.
fn begins_like_iban(compact: &str) -> bool {
    let bytes = compact.as_bytes();
    bytes.len() >= 15
        && bytes[..2].iter().all(u8::is_ascii_uppercase)
        && bytes[2..4].iter().all(u8::is_ascii_digit)
        && bytes[4..].iter().all(u8::is_ascii_alphanumeric)
}

/// Whether it is meant as an IBAN: it begins like one, and is as long as its country's are.
pub(super) fn is_like_iban(text: &str) -> bool {
    let compact = compact(text);
    begins_like_iban(&compact) && length_in(&compact[..2]) == Some(compact.len())
}

/// The label before an account number, if there is one.
fn label(text: &str) -> Option<&str> {
    let begin = text.get(..4).filter(|begin| begin.eq_ignore_ascii_case("iban"))?;
    let rest = &text[begin.len()..];
    let number = rest.trim_start_matches(|letter: char| !letter.is_alphanumeric());
    begins_like_iban(&compact(number)).then(|| text[..text.len() - number.len()].trim_end())
}

/// An IBAN, in groups or in one. Letter case does not matter: no two accounts differ in it.
pub(super) fn iban(text: &str) -> Result<(), DestinationError> {
    let kind = DestinationKind::Iban;
    if let Some(label) = label(text) {
        return Err(DestinationError::Label { label: label.to_owned() });
    }
    if let Some((at, letter)) = counted(text).find(|(_, letter)| !letter.is_ascii_alphanumeric() && *letter != ' ') {
        return Err(DestinationError::NotAllowed { at, letter, kind });
    }
    let compact = compact(text);
    let form = |what: String| DestinationError::Form { kind, what: what.into() };
    if !begins_like_iban(&compact) {
        return Err(form("it is two letters, two digits, and then 11 or more letters and digits".to_owned()));
    }
    let country = &compact[..2];
    match length_in(country) {
        None => return Err(form(format!("`{country}` is no country that has IBANs"))),
        Some(length) if length != compact.len() => {
            let found = compact.len();
            return Err(form(format!(
                "{country} has {length} letters and digits, and this has {found}; compare it with the original"
            )));
        }
        Some(_) => {}
    }
    match compact.parse::<BaseIban>() {
        Ok(_) => Ok(()),
        Err(_) => Err(form("its check digits do not fit; compare it with the original".to_owned())),
    }
}

/// What is meant as an IBAN is one, whatever the method is called.
pub(super) fn no_broken_iban(text: &str) -> Result<(), DestinationError> {
    if label(text).is_some() || is_like_iban(text) { iban(text) } else { Ok(()) }
}

/// The first two digits of routing numbers that the ABA gives out: the government, the Federal Reserve's districts,
/// thrift institutions, electronic payments, traveller's cheques.
const PREFIXES: [std::ops::RangeInclusive<u32>; 4] = [0..=12, 21..=32, 61..=72, 80..=80];

/// `ROUTING:ACCOUNT`.
pub(super) fn us_bank(text: &str) -> Result<(), DestinationError> {
    let form = |what: &'static str| DestinationError::Form { kind: DestinationKind::UsBank, what: what.into() };
    let Some((routing, account)) = text.split_once(':') else {
        return Err(form("it is the routing number, a colon, and the account number, such as 021000021:123456789"));
    };
    let digits: Vec<u32> = routing.chars().filter_map(|digit| digit.to_digit(10)).collect();
    if digits.len() != 9 || routing.len() != 9 {
        return Err(form("its routing number does not have nine digits; a zero at the beginning may be lost"));
    }
    let sum: u32 = digits.iter().zip([3, 7, 1].iter().cycle()).map(|(digit, weight)| digit * weight).sum();
    let prefix = digits[0] * 10 + digits[1];
    if sum == 0 || !sum.is_multiple_of(10) || !PREFIXES.iter().any(|known| known.contains(&prefix)) {
        return Err(form("the check digit of its routing number does not fit; compare it with the original"));
    }
    let fits = account.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    match fits && (1..=17).contains(&account.len()) && account.bytes().any(|byte| byte.is_ascii_alphanumeric()) {
        true => Ok(()),
        false => Err(form("its account number is 1 to 17 letters, digits and hyphens")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(kind: DestinationKind, text: &str) -> String {
        kind.check(text).map_or_else(|wrong| wrong.to_string(), |_| "right".to_owned())
    }

    #[test]
    fn an_iban_has_its_countrys_length_and_its_check_digits() {
        let fits = "its check digits do not fit; compare it with the original";
        for (text, what) in [
            ("DE44500105175407324931", "right"),
            ("nl91 abna 0417 1643 00", "right"),
            // No letter of a bank where the registry has one: its digits are right.
            ("IT6900000000000000097791731", "right"),
            ("XK051212012345678906", "right"),
            ("NL91ABNA0417164301", fits),
            ("DE44500105175407329431", fits),
            ("DE4450010517540732493", "DE has 22 letters and digits, and this has 21; compare it with the original"),
            ("US44500105175407324931", "`US` is no country that has IBANs"),
            ("DE44-5001-0517-5407-3249-31", "letter 5 is `-`, which cannot be in an IBAN; remove or correct it"),
            ("1234", "it is two letters, two digits, and then 11 or more letters and digits"),
            ("IBAN: DE44 5001 0517 5407 3249 31", "begins with `IBAN:`, which is not part of it; remove that"),
            ("iban DE44500105175407324931", "begins with `iban`, which is not part of it; remove that"),
            ("IBANDE44500105175407324931", "begins with `IBAN`, which is not part of it; remove that"),
        ] {
            let told = told(DestinationKind::Iban, text);
            assert!(told.ends_with(what), "{text}: {told}");
        }
    }

    #[test]
    fn what_is_meant_as_an_iban_is_one_whatever_the_method_is_called() {
        let opaque = DestinationKind::Opaque;
        for wrong in
            ["NL91ABNA0417164301", "nl91 abna 0417 1643 01", "IBAN NL91ABNA0417164300", "Iban: NL91ABNA0417164301"]
        {
            assert_ne!(told(opaque, wrong), "right", "{wrong}");
        }
        // Another length, no such country, no such form: it means something else.
        for other in
            ["NL91ABNA041716430", "ZZ91ABNA0417164301", "N191ABNA0417164301", "iban of my mother", "NL91ABNA0417164300"]
        {
            assert_eq!(told(opaque, other), "right", "{other}");
        }
    }

    /// With the check digits that fit.
    fn iban_of(country: &str, national: &str) -> String {
        let digits = format!("{national}{country}00");
        let rest = digits.chars().filter_map(|symbol| symbol.to_digit(36)).fold(0, |rest, value| {
            let shifted = if value < 10 { rest * 10 } else { rest * 100 };
            (shifted + value) % 97
        });
        format!("{country}{:02}{national}", 98 - rest)
    }

    #[test]
    fn the_table_has_the_countries_of_the_registry() {
        assert!(LENGTHS.is_sorted());
        for first in b'A'..=b'Z' {
            for second in b'A'..=b'Z' {
                let country: String = [first, second].map(char::from).into_iter().collect();
                // Whatever its national part is: a country that the library does not know is told as such.
                let told = iban_of(&country, "00000000000").parse::<iban::Iban>();
                let is_known = !matches!(told, Err(iban::ParseIbanError::UnknownCountry(_)));
                assert_eq!(length_in(&country).is_some(), is_known, "{country}");
            }
        }
        // No other length is right for the library, where zeros or letters can stand in all places.
        for (country, length) in LENGTHS {
            for other in (15..=34).filter(|other| *other != length) {
                for fill in ["0", "A"] {
                    let text = iban_of(country, &fill.repeat(other - 4));
                    assert!(text.parse::<iban::Iban>().is_err(), "{text}");
                }
            }
        }
    }

    #[test]
    fn an_account_in_the_united_states_has_a_routing_number_with_its_check_digit() {
        let us = DestinationKind::UsBank;
        for right in ["021000021:123456789", "011401533:1", "322271627:0012-3456-AB", "000000518:77"] {
            assert_eq!(told(us, right), "right", "{right}");
        }
        for (text, what) in [
            ("021000021", "such as 021000021:123456789"),
            ("21000021:123456789", "a zero at the beginning may be lost"),
            ("0210000211:123456789", "a zero at the beginning may be lost"),
            ("021000012:123456789", "the check digit of its routing number does not fit; compare it with the original"),
            ("000000000:123456789", "the check digit of its routing number does not fit; compare it with the original"),
            ("991000024:123456789", "the check digit of its routing number does not fit; compare it with the original"),
            ("021000021:", "its account number is 1 to 17 letters, digits and hyphens"),
            ("021000021:123456789012345678", "its account number is 1 to 17 letters, digits and hyphens"),
            ("021000021:1234 5678", "its account number is 1 to 17 letters, digits and hyphens"),
        ] {
            let told = told(us, text);
            assert!(told.ends_with(what), "{text}: {told}");
        }
    }
}
