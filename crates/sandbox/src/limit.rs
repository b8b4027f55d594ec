//! The rate limit of `--rate-limit`: a bucket of tokens for each account. Injected 429s are in `faults`.

use std::collections::HashMap;
use std::time::Instant;

/// Lets N requests a second and account through, and up to N at once.
pub struct RateLimit {
    per_second: f64,
    buckets: HashMap<Box<str>, Bucket>,
}

struct Bucket {
    tokens: f64,
    filled: Instant,
}

impl RateLimit {
    /// 0 lets everything through.
    pub fn new(per_second: u32) -> Self {
        Self { per_second: f64::from(per_second), buckets: HashMap::new() }
    }

    /// Whether this account may make one more request now.
    pub fn admits(&mut self, account: &str, now: Instant) -> bool {
        if self.per_second == 0.0 {
            return true;
        }
        if !self.buckets.contains_key(account) {
            let full = Bucket { tokens: self.per_second, filled: now };
            self.buckets.insert(account.into(), full);
        }
        let Some(bucket) = self.buckets.get_mut(account) else {
            return true;
        };
        let passed = now.saturating_duration_since(bucket.filled).as_secs_f64();
        bucket.tokens = (bucket.tokens + passed * self.per_second).min(self.per_second);
        bucket.filled = now;
        if bucket.tokens < 1.0 {
            return false;
        }
        bucket.tokens -= 1.0;
        true
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn each_account_has_its_own_bucket_that_refills() {
        let mut limit = RateLimit::new(2);
        let start = Instant::now();
        assert!(limit.admits("a", start) && limit.admits("a", start));
        assert!(!limit.admits("a", start));
        assert!(limit.admits("b", start));
        assert!(limit.admits("a", start + Duration::from_millis(500)));
        assert!(!limit.admits("a", start + Duration::from_millis(500)));
    }
}
