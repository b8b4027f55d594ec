//! Where an affiliate can be paid. A method names a kind, and the kind says what a destination is: how it is checked,
//! and when two are the same payee's. What is sent to the rail is what was written, without the space around it; only
//! what is compared is brought to one form.

mod bank;
mod email;
mod error;
mod letters;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

pub use error::DestinationError;
pub use letters::visible;
use unicode_normalization::UnicodeNormalization;

/// The longest destination in bytes: an e-mail address has at most so many (RFC 5321, section 4.5.3.1.3, less the angle
/// brackets of a path).
const BYTES_MAX: usize = 254;

/// What the destinations of a method are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DestinationKind {
    /// An e-mail address as RFC 5321 and 5322 have it in practice: no quotes, no comments, a domain with a dot.
    /// Compared without regard to case.
    Email,
    /// An account number of ISO 13616 with its check digits, and the length that its country gives it (SWIFT, "IBAN
    /// Registry"). Compared without regard to case and spaces.
    Iban,
    /// PayPal's own number of an account: 13 capitals and digits (PayPal, "Payouts", recipient type `PAYPAL_ID`).
    /// Compared letter by letter.
    PaypalId,
    /// A telephone number as ITU-T E.164 writes it internationally: `+`, and 7 to 15 digits of which the first is not
    /// 0.
    Phone,
    /// A connected account of Stripe: `acct_`, then letters and digits (Stripe API, "Accounts"). Capitals count, so it
    /// is compared letter by letter.
    StripeAccount,
    /// A recipient that was made at Wise beforehand: its number, or a UUID (Wise API, "Recipient accounts"). Capitals
    /// say nothing in a UUID (RFC 9562, section 4).
    WiseRecipient,
    /// An account at a bank of the United States: `ROUTING:ACCOUNT`. The routing number has nine digits, of which the
    /// last is a check digit (ABA "Routing Number Policy"); the account number has 1 to 17 letters, digits and hyphens
    /// (NACHA, entry detail, columns 13 to 29).
    UsBank,
    /// Anything that people can see, of at most 254 bytes: this build does not know what it means. Compared letter by
    /// letter.
    Opaque,
}

/// A destination that is right for its kind.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Destination {
    text: String,
    /// Only where it is not the text itself.
    compared: Option<String>,
}

impl Destination {
    /// As it is kept and sent.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The form that decides whether two destinations of one method are the same payee's.
    pub fn compared(&self) -> &str {
        self.compared.as_deref().unwrap_or(&self.text)
    }
}

/// No kind has the name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no kind of destination; there are: {names}", names = names())]
pub struct UnknownKind(pub String);

fn names() -> String {
    DestinationKind::ALL.map(|kind| kind.as_str()).join(", ")
}

impl DestinationKind {
    /// All kinds.
    pub const ALL: [DestinationKind; 8] = [
        DestinationKind::Email,
        DestinationKind::Iban,
        DestinationKind::PaypalId,
        DestinationKind::Phone,
        DestinationKind::StripeAccount,
        DestinationKind::WiseRecipient,
        DestinationKind::UsBank,
        DestinationKind::Opaque,
    ];

    /// The name in commands and in the schema.
    pub fn as_str(self) -> &'static str {
        match self {
            DestinationKind::Email => "email",
            DestinationKind::Iban => "iban",
            DestinationKind::PaypalId => "paypal-id",
            DestinationKind::Phone => "phone",
            DestinationKind::StripeAccount => "stripe-account",
            DestinationKind::WiseRecipient => "wise-recipient",
            DestinationKind::UsBank => "us-bank",
            DestinationKind::Opaque => "opaque",
        }
    }

    /// Names of methods that mean what they say.
    pub const NAMED: [(&str, DestinationKind); 8] = [
        ("paypal", DestinationKind::Email),
        ("sepa", DestinationKind::Iban),
        ("iban", DestinationKind::Iban),
        ("bank", DestinationKind::Iban),
        ("stripe", DestinationKind::StripeAccount),
        ("wise", DestinationKind::WiseRecipient),
        ("ach", DestinationKind::UsBank),
        ("us-bank", DestinationKind::UsBank),
    ];

    /// What a method's destinations are if its tenant has not said otherwise.
    pub fn of_method(method: &str) -> DestinationKind {
        let named = DestinationKind::NAMED.iter().find(|(name, _)| *name == method);
        named.map_or(DestinationKind::Opaque, |(_, kind)| *kind)
    }

    /// Checks a text as a destination of this kind. The space around it is left out; nothing else of it is changed.
    pub fn check(self, text: &str) -> Result<Destination, DestinationError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(DestinationError::Empty);
        }
        if text.len() > BYTES_MAX {
            return Err(DestinationError::TooLong { most: BYTES_MAX });
        }
        letters::all_visible(text)?;
        match self {
            DestinationKind::Email => email::check(text)?,
            DestinationKind::Opaque => {
                letters::words_of_one_script(text)?;
                // Its form is not known, but an account number that is mistyped shows whatever the method is called.
                bank::no_broken_iban(text)?;
            }
            DestinationKind::Iban
            | DestinationKind::PaypalId
            | DestinationKind::Phone
            | DestinationKind::StripeAccount
            | DestinationKind::WiseRecipient
            | DestinationKind::UsBank => {
                letters::only_ascii(self, text)?;
                match self {
                    DestinationKind::Iban => bank::iban(text)?,
                    DestinationKind::UsBank => bank::us_bank(text)?,
                    _ => own_id(self, text)?,
                }
            }
        }
        let compared = match self.compared(text) {
            Cow::Borrowed(same) if same == text => None,
            other => Some(other.into_owned()),
        };
        Ok(Destination { text: text.to_owned(), compared })
    }

    /// The form in which this kind compares a text, whoever wrote it: rails and banks write destinations in their own
    /// way.
    pub fn compared(self, text: &str) -> Cow<'_, str> {
        let text = text.trim();
        match self {
            // No address has a space, but lines that are broken have.
            DestinationKind::Email => {
                match text.bytes().all(|byte| byte.is_ascii() && byte != b' ' && !byte.is_ascii_uppercase()) {
                    true => Cow::Borrowed(text),
                    false => Cow::Owned(text.to_lowercase().nfc().filter(|letter| *letter != ' ').collect()),
                }
            }
            DestinationKind::Iban => {
                match text.bytes().any(|byte| byte.is_ascii_lowercase() || byte.is_ascii_whitespace()) {
                    true => Cow::Owned(bank::compact(text)),
                    false => Cow::Borrowed(text),
                }
            }
            DestinationKind::WiseRecipient => Cow::Owned(text.to_ascii_lowercase()),
            DestinationKind::PaypalId
            | DestinationKind::Phone
            | DestinationKind::StripeAccount
            | DestinationKind::UsBank
            | DestinationKind::Opaque => Cow::Borrowed(text),
        }
    }

    /// Whether both are the same payee's.
    pub fn is_same(self, one: &str, other: &str) -> bool {
        one == other || self.compared(one) == self.compared(other)
    }
}

/// The ids that rails and telephone networks give.
fn own_id(kind: DestinationKind, text: &str) -> Result<(), DestinationError> {
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let alphanumeric = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let (fits, form) = match kind {
        DestinationKind::PaypalId => (
            text.len() == 13 && text.bytes().all(|byte| byte.is_ascii_digit() || byte.is_ascii_uppercase()),
            "it has 13 capitals and digits, such as WXKH2C8V6BQTE",
        ),
        DestinationKind::Phone => (
            text.strip_prefix('+')
                .is_some_and(|number| (7..=15).contains(&number.len()) && digits(number) && !number.starts_with('0')),
            "it is + and 7 to 15 digits, without spaces and with the country first, such as +4915112345678",
        ),
        DestinationKind::StripeAccount => (
            text.strip_prefix("acct_").is_some_and(alphanumeric),
            "it is acct_ and then letters and digits, with the capitals that Stripe gave it",
        ),
        DestinationKind::WiseRecipient => (
            digits(text) || text.len() == 36 && uuid::Uuid::try_parse(text).is_ok(),
            "it is the number of the recipient, such as 148135825, or its UUID",
        ),
        DestinationKind::Email | DestinationKind::Iban | DestinationKind::UsBank | DestinationKind::Opaque => {
            (true, "")
        }
    };
    if fits { Ok(()) } else { Err(DestinationError::Form { kind, what: form.into() }) }
}

impl FromStr for DestinationKind {
    type Err = UnknownKind;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        DestinationKind::ALL.into_iter().find(|kind| kind.as_str() == name).ok_or_else(|| UnknownKind(name.to_owned()))
    }
}

impl fmt::Display for DestinationKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl serde::Serialize for DestinationKind {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// The kinds of a tenant's methods: what was said of some, and of all others what their names mean.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MethodKinds(BTreeMap<String, DestinationKind>);

impl MethodKinds {
    /// What the method's destinations are.
    pub fn of(&self, method: &str) -> DestinationKind {
        self.0.get(method).copied().unwrap_or_else(|| DestinationKind::of_method(method))
    }
}

impl FromIterator<(String, DestinationKind)> for MethodKinds {
    fn from_iter<I: IntoIterator<Item = (String, DestinationKind)>>(said: I) -> Self {
        MethodKinds(said.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use DestinationKind as K;

    #[test]
    fn what_is_sent_is_what_was_written() {
        for (kind, text, compared) in [
            (K::Email, " Zoe@Example.ORG ", "zoe@example.org"),
            (K::Email, "Jürgen@MÜNCHEN.example", "jürgen@münchen.example"),
            (K::Iban, "de44 5001 0517 5407 3249 31", "DE44500105175407324931"),
            (K::StripeAccount, "acct_1QxYzAbCdEfGh", "acct_1QxYzAbCdEfGh"),
            (K::PaypalId, "WXKH2C8V6BQTE", "WXKH2C8V6BQTE"),
            (K::Phone, "+4915112345678", "+4915112345678"),
            (K::WiseRecipient, "148135825", "148135825"),
            (K::WiseRecipient, "9CE3D8B8-6b4c-4b5d-9a0e-2f1c3d4e5f60", "9ce3d8b8-6b4c-4b5d-9a0e-2f1c3d4e5f60"),
            (K::UsBank, "021000021:00012345-A", "021000021:00012345-A"),
            (K::Opaque, "1MixedCaseAddrXyZ9", "1MixedCaseAddrXyZ9"),
            (K::Opaque, "box 7, Łódź", "box 7, Łódź"),
        ] {
            let destination = kind.check(text).expect(text);
            assert_eq!((destination.as_str(), destination.compared()), (text.trim(), compared), "{kind}");
            assert_eq!(kind.compared(compared), compared, "it is final");
        }
    }

    #[test]
    fn a_kind_says_when_two_are_one() {
        for (kind, one, other, same) in [
            (K::Email, "Zoe@Example.org", "zoe@example.ORG ", true),
            (K::Email, "zoe@example.org", "zoe @ex ample.org", true),
            (K::Email, "zoe@example.org", "zoe@example.com", false),
            // An accent of its own, and a letter that has it.
            (K::Email, "jose\u{301}@example.org", "josé@example.org", true),
            (K::Iban, "DE44500105175407324931", "de44 5001 0517 5407 3249 31", true),
            (K::StripeAccount, "acct_1A", "acct_1a", false),
            (K::Opaque, "bc1QX", "bc1qx", false),
            (K::Opaque, "a b", "ab", false),
        ] {
            assert_eq!(kind.is_same(one, other), same, "{kind}: {one} and {other}");
        }
    }

    #[test]
    fn ids_have_the_form_that_their_giver_gave_them() {
        for (kind, wrong) in [
            (K::PaypalId, vec!["WXKH2C8V6BQT", "WXKH2C8V6BQTEE", "wxkh2c8v6bqte", "WXKH2C8V6BQT-", "ann@example.org"]),
            (
                K::Phone,
                vec!["4915112345678", "+0015112345", "+49 151 12345678", "+491511", "+4915112345678901", "+49x5112345"],
            ),
            (K::StripeAccount, vec!["acct_", "ACCT_1Qx", "ba_1Qx", "acct_1Q x", "acct_1Q/x"]),
            (
                K::WiseRecipient,
                vec!["12a", "9ce3d8b86b4c4b5d9a0e2f1c3d4e5f60", "{9ce3d8b8-6b4c-4b5d-9a0e-2f1c3d4e5f60}"],
            ),
        ] {
            for text in wrong {
                let told = kind.check(text).expect_err(text);
                assert!(matches!(told, DestinationError::Form { .. }), "{kind}: {text}: {told}");
            }
        }
    }

    #[test]
    fn a_method_means_what_its_name_says_unless_its_tenant_says_otherwise() {
        let kinds: MethodKinds = [("paypal".to_owned(), K::PaypalId)].into_iter().collect();
        for (method, kind) in [
            ("paypal", K::PaypalId),
            ("sepa", K::Iban),
            ("iban", K::Iban),
            ("bank", K::Iban),
            ("stripe", K::StripeAccount),
            ("wise", K::WiseRecipient),
            ("ach", K::UsBank),
            ("us-bank", K::UsBank),
            ("btc", K::Opaque),
        ] {
            assert_eq!(kinds.of(method), kind, "{method}");
        }
        assert_eq!(MethodKinds::default().of("paypal"), K::Email);
    }

    #[test]
    fn a_kind_is_read_as_it_is_written() {
        for kind in K::ALL {
            assert_eq!(kind.as_str().parse(), Ok(kind));
        }
        let told = "PayPal".parse::<K>().expect_err("no kind").to_string();
        let names = "email, iban, paypal-id, phone, stripe-account, wise-recipient, us-bank, opaque";
        assert_eq!(told, format!("`PayPal` is no kind of destination; there are: {names}"));
    }

    #[test]
    fn no_destination_is_longer_than_254_bytes() {
        assert!(K::Opaque.check(&"x".repeat(254)).is_ok());
        for text in ["x".repeat(255), "Ⱥ".repeat(128)] {
            assert_eq!(K::Opaque.check(&text), Err(DestinationError::TooLong { most: 254 }));
        }
        assert_eq!(K::Opaque.check(" \u{a0} "), Err(DestinationError::Empty));
    }
}
