//! Where an affiliate is: a country of ISO 3166-1, by its two letters.

use std::borrow::Cow;

/// Assigned by those who use it: banks and processors write Kosovo so (SWIFT, "IBAN Registry"), and ISO 3166-1 leaves
/// it to them.
const ASSIGNED_BY_USERS: [&str; 1] = ["XK"];

/// A country as it is written down.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Country<'a> {
    /// Two letters in capitals; or what stands there in words; or nothing.
    pub text: Cow<'a, str>,
    /// It is a name and no code. A name pays nobody, but what needs the code later must ask for it.
    pub is_name: bool,
}

/// The text is no country.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no country of ISO 3166; write its two letters, such as DE, or GB for the United Kingdom")]
pub struct UnknownCountry(pub String);

impl<'a> Country<'a> {
    /// Reads a code in capitals or small letters, or a name; a code that is not given to any country is refused.
    pub fn read(text: &'a str) -> Result<Country<'a>, UnknownCountry> {
        let text = text.trim();
        let unknown = || UnknownCountry(crate::visible(text));
        match text.chars().count() {
            0 => return Ok(Country { text: Cow::Borrowed(""), is_name: false }),
            1 => return Err(unknown()),
            2 => {}
            // Numbers are codes too, of another part of the standard.
            _ if text.chars().any(|letter| letter.is_numeric()) => return Err(unknown()),
            _ if crate::visible(text) != text => return Err(unknown()),
            _ => return Ok(Country { text: Cow::Borrowed(text), is_name: true }),
        }
        let code = match text.bytes().any(|byte| byte.is_ascii_lowercase()) {
            true => Cow::Owned(text.to_ascii_uppercase()),
            false => Cow::Borrowed(text),
        };
        match code.parse::<iso_currency::Country>().is_ok() || ASSIGNED_BY_USERS.contains(&&*code) {
            true => Ok(Country { text: code, is_name: false }),
            false => Err(unknown()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_one_of_iso_3166() {
        for (text, code) in
            [("DE", "DE"), ("gb", "GB"), (" Nl ", "NL"), ("XK", "XK"), ("SS", "SS"), ("", ""), (" ", "")]
        {
            assert_eq!(Country::read(text), Ok(Country { text: code.into(), is_name: false }), "{text}");
        }
        for text in ["X", "UK", "EN", "XX", "ZZ", "AN", "D1", "ÄÖ", "276", "DE\u{200b}"] {
            assert!(Country::read(text).is_err(), "{text}");
        }
        let told = Country::read("UK").map_err(|unknown| unknown.to_string());
        let way = "`UK` is no country of ISO 3166; write its two letters, such as DE, or GB for the United Kingdom";
        assert_eq!(told, Err(way.to_owned()));
        let all = (b'A'..=b'Z').flat_map(|first| (b'A'..=b'Z').map(move |second| [first, second].map(char::from)));
        let countries = all.filter(|letters| Country::read(&letters.iter().collect::<String>()).is_ok()).count();
        assert_eq!(countries, 249 + 1, "those of the standard, and Kosovo");
    }

    #[test]
    fn a_name_is_taken_and_told_apart() {
        for name in ["Germany", "Channel Islands", "Côte d'Ivoire", "USA"] {
            assert_eq!(Country::read(name), Ok(Country { text: name.into(), is_name: true }));
        }
    }
}
