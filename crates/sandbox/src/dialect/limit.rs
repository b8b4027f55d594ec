//! What vendors let through: PayPal so many POSTs a minute (400, [P2]), Stripe and Wise so many requests a second
//! (25 to 100 [S5], 100 [W5]); RAILS.md names the sources. By fixed windows of the rail's clock.

use std::collections::HashMap;

use crate::wire::{At, Shape};

/// Counts the requests of each account in the current window.
#[derive(Default)]
pub struct Limits {
    windows: HashMap<(Shape, Box<str>), (i64, u32)>,
}

impl Limits {
    /// Whether this account may make one more request now.
    pub fn admits(&mut self, shape: Shape, account: &str, post: bool, most: u32, now: At) -> bool {
        let width = match shape {
            Shape::Paypal if !post => return true,
            Shape::Paypal => 60_000,
            _ => 1_000,
        };
        let window = now.0.div_euclid(width);
        let (current, count) = self.windows.entry((shape, account.into())).or_insert((window, 0));
        if *current != window {
            (*current, *count) = (window, 0);
        }
        *count = count.saturating_add(1);
        *count <= most
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paypal_counts_posts_by_the_minute_and_the_others_all_by_the_second() {
        let mut limits = Limits::default();
        let mut admits = |shape, post, now| limits.admits(shape, "a", post, 1, At(now));
        assert!(admits(Shape::Paypal, true, 0) && !admits(Shape::Paypal, true, 59_999));
        assert!(admits(Shape::Paypal, false, 59_999) && admits(Shape::Paypal, true, 60_000));
        assert!(admits(Shape::Stripe, false, 0) && !admits(Shape::Stripe, true, 999));
        assert!(admits(Shape::Stripe, true, 1_000));
    }
}
