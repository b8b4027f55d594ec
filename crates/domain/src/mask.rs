//! Destinations as they are shown to people who did not ask for them.

/// Enough to recognise a destination by, too little to use it.
pub fn masked(destination: &str) -> String {
    let chars: Vec<char> = destination.chars().collect();
    match chars.as_slice() {
        [a, b, .., y, z] if chars.len() >= 8 => format!("{a}{b}***{y}{z}"),
        _ => "***".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_destination_is_recognised_and_cannot_be_used() {
        assert_eq!(masked("ann@example.com"), "an***om");
        assert_eq!(masked("short"), "***");
    }
}
