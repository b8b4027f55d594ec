//! Where an affiliate can be paid: addresses, checked and brought to one form.

/// A destination in the form that decides whether two are the same payee's.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Destination(String);

/// Why a text is no destination for its method.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DestinationError {
    /// Nothing but space.
    #[error("the destination is empty")]
    Empty,
    /// Control characters, or in its normal form longer than 254 bytes (RFC 5321, the longest address).
    #[error("the destination has control characters or is longer than 254 bytes")]
    Malformed,
    /// The method `sepa` wants an IBAN with valid check digits (ISO 13616).
    #[error("the destination is not a valid IBAN: {0}")]
    Iban(String),
    /// The method `paypal` wants an e-mail address.
    #[error("the destination is not an e-mail address")]
    Email,
}

impl Destination {
    /// The normal form.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Checks a destination for its method and brings it to the form in which equal payees are equal: without surrounding space
/// and in one letter case, so that ` Ann@Example.com` and `ann@example.com` are one; an IBAN in capitals without spaces.
pub fn normalise_destination(method: &str, text: &str) -> Result<Destination, DestinationError> {
    let trimmed = text.trim();
    if trimmed.is_empty() {
        return Err(DestinationError::Empty);
    }
    if trimmed.chars().any(char::is_control) {
        return Err(DestinationError::Malformed);
    }
    let destination = match method {
        // Check digits only: the national part differs by country and changes more often than any library is updated.
        "sepa" => {
            let compact: String = trimmed.split_whitespace().collect::<String>().to_uppercase();
            let iban: iban::BaseIban =
                compact.parse().map_err(|why: iban::ParseBaseIbanError| DestinationError::Iban(why.to_string()))?;
            iban::IbanLike::electronic_str(&iban).to_owned()
        }
        "paypal" => {
            let lower = trimmed.to_lowercase();
            let (local, host) = lower.split_once('@').ok_or(DestinationError::Email)?;
            let plausible = !local.is_empty() && host.contains('.') && !host.contains('@') && !lower.contains(' ');
            if !plausible {
                return Err(DestinationError::Email);
            }
            lower
        }
        _ => trimmed.to_lowercase(),
    };
    // Of the form that is kept and sent: some letters take more bytes in lower case.
    if destination.len() > 254 { Err(DestinationError::Malformed) } else { Ok(Destination(destination)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normal(method: &str, text: &str) -> Result<String, DestinationError> {
        normalise_destination(method, text).map(|destination| destination.as_str().to_owned())
    }

    #[test]
    fn one_payee_has_one_form() {
        assert_eq!(normal("paypal", " Ann@Example.COM "), normal("paypal", "ann@example.com"));
        assert_eq!(normal("sepa", "de44 5001 0517 5407 3249 31"), Ok("DE44500105175407324931".to_owned()));
    }

    #[test]
    fn what_is_no_address_is_refused() {
        assert_eq!(normal("paypal", "  "), Err(DestinationError::Empty));
        assert_eq!(normal("paypal", "ann"), Err(DestinationError::Email));
        assert_eq!(normal("paypal", "a\nb@example.com"), Err(DestinationError::Malformed));
        for text in ["@example.com", "ann@example", "ann@example.com@example.com", "ann b@example.com"] {
            assert_eq!(normal("paypal", text), Err(DestinationError::Email), "{text}");
        }
        assert!(matches!(normal("sepa", "DE44500105175407324932"), Err(DestinationError::Iban(_))));
    }

    #[test]
    fn an_address_of_any_method_has_254_bytes_at_most() {
        assert_eq!(normal("other", &"X".repeat(254)), Ok("x".repeat(254)));
        assert_eq!(normal("other", &"X".repeat(255)), Err(DestinationError::Malformed));
        // U+023A has two bytes, its lower case three.
        assert_eq!(normal("other", &"Ⱥ".repeat(127)), Err(DestinationError::Malformed));
        assert_eq!(normal("paypal", &format!("{}@example.com", "Ⱥ".repeat(121))), Err(DestinationError::Malformed));
    }
}
