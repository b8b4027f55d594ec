//! Account numbers that pass the check of ISO 13616 and belong to nobody in particular.

use super::random::Random;

/// Countries and the lengths of their national parts. `true`: begins with a bank's four letters.
const COUNTRIES: [(&str, usize, bool); 5] =
    [("DE", 18, false), ("NL", 14, true), ("AT", 16, false), ("FI", 14, false), ("ES", 20, false)];

/// An IBAN with valid check digits.
pub fn iban(random: &mut Random) -> String {
    let &(country, length, has_bank) = random.one_of(&COUNTRIES);
    let mut national = String::with_capacity(length);
    for at in 0..length {
        let symbol = match has_bank && at < 4 {
            true => b'A' + random.below(26) as u8,
            false => b'0' + random.below(10) as u8,
        };
        national.push(char::from(symbol));
    }
    // 98 minus the remainder of the number with `00` in place of the check digits.
    let check = 98 - remainder(&format!("{national}{country}00"));
    format!("{country}{check:02}{national}")
}

/// The remainder by 97, with letters as 10 to 35.
fn remainder(text: &str) -> u32 {
    text.chars().filter_map(|symbol| symbol.to_digit(36)).fold(0, |rest, value| {
        let shifted = if value < 10 { rest * 10 } else { rest * 100 };
        (shifted + value) % 97
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_iban_passes_the_check_of_imports() {
        let mut random = Random::new(7, 0, 0);
        for _ in 0..1_000 {
            let iban = iban(&mut random);
            let checked = payfleet_domain::DestinationKind::Iban.check(&iban);
            assert_eq!(checked.as_ref().map(|destination| destination.as_str()), Ok(iban.as_str()));
        }
    }
}
