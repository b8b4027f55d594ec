//! Which faults are configured, and when one strikes. It decides only; others carry it out.
//!
//! All draws come from one seeded generator. A probability of 0 draws nothing, so that adding a fault to a
//! configuration does not move the others more than it must.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;

pub use crate::fault_config::FaultConfig;
use crate::wire::Shape;

/// The code of a payment in a batch that nobody has taken yet; it goes out, and comes back.
pub const UNCLAIMED: &str = "unclaimed";

/// The code of a payment that was accepted and refused later.
pub const REJECTED: &str = "rejected";

/// What strikes a call instead of its execution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Before {
    /// 429.
    RateLimit,
    /// The connection is dropped.
    LoseRequest,
    /// 500.
    Error,
    /// The connection is dropped, and the request executed so much later.
    ExecuteLate(Duration),
}

/// What strikes a call instead of its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// 500.
    Error,
    /// The connection is dropped.
    LoseAnswer,
    /// No answer, ever.
    Hang,
    /// 200 with an unreadable body.
    Garble,
}

/// What will happen to one call.
#[derive(Clone, Copy, Debug, Default)]
pub struct CallFate {
    /// To wait before anything else.
    pub delay: Duration,
    /// Instead of executing.
    pub before: Option<Before>,
    /// Instead of answering.
    pub after: Option<After>,
}

/// What will happen to one payment.
#[derive(Clone, Debug, Default)]
pub struct ItemFate {
    /// Refused, with this code.
    pub refusal: Option<Arc<str>>,
    /// Paid, but bound to come back for this reason.
    pub bounce: Option<Arc<str>>,
    /// Comes back, so much later.
    pub returns_after: Option<Duration>,
    /// Refused, so much after it would have been paid.
    pub rejected_after: Option<Duration>,
    /// Taken by a bank and never paid; the statement says so, so much later.
    pub denied_after: Option<Duration>,
    /// Taken by a bank and never paid, nor spoken of.
    pub silent: bool,
    /// Paid again, so much later.
    pub again_after: Option<Duration>,
    /// Executed twice.
    pub duplicate: bool,
    /// The statement tells another amount.
    pub amount: bool,
    /// The statement tells another currency.
    pub currency: bool,
    /// The statement tells another destination.
    pub destination: bool,
    /// The statement leaves it out.
    pub omit: bool,
    /// The answer tells another reference.
    pub reference: bool,
    /// The statement tells one more.
    pub phantom: bool,
}

/// The configuration in force, its generator, and the count of what struck.
pub struct Faults {
    config: FaultConfig,
    rng: Pcg64,
    injected: u64,
    counts: BTreeMap<&'static str, u64>,
}

impl Faults {
    /// Begins with this configuration.
    pub fn new(config: FaultConfig) -> Self {
        Self { rng: Pcg64::seed_from_u64(config.seed), config, injected: 0, counts: BTreeMap::new() }
    }

    /// The configuration in force.
    pub fn config(&self) -> &FaultConfig {
        &self.config
    }

    /// How often each fault struck since the start.
    pub fn counts(&self) -> &BTreeMap<&'static str, u64> {
        &self.counts
    }

    /// Changes the fields that the patch names; `null` puts one back to off.
    pub fn merge(&mut self, patch: &serde_json::Value) -> Result<(), String> {
        if !patch.is_object() {
            return Err("must be an object".to_owned());
        }
        let mut merged = serde_json::to_value(&self.config).map_err(|error| error.to_string())?;
        merge_json(&mut merged, patch);
        let config: FaultConfig = serde_json::from_value(merged).map_err(|error| error.to_string())?;
        config.check()?;
        if patch.get("seed").is_some() {
            self.rng = Pcg64::seed_from_u64(config.seed);
        }
        if patch.get("max").is_some() {
            self.injected = 0;
        }
        self.config = config;
        Ok(())
    }

    /// Back to none; the generator goes on where it is.
    pub fn clear(&mut self) {
        self.config = FaultConfig { seed: self.config.seed, ..FaultConfig::default() };
        self.injected = 0;
    }

    /// Counts a fault that was asked for by hand; `max` does not limit those.
    pub fn count(&mut self, name: &'static str) {
        *self.counts.entry(name).or_default() += 1;
    }

    /// Draws what happens to a call. What strikes after paying strikes only calls that pay.
    pub fn draw_call(&mut self, shape: Shape, paying: bool) -> CallFate {
        if self.spares(shape) {
            return CallFate::default();
        }
        let mut delay_ms = self.config.latency_ms;
        if self.config.latency_jitter_ms > 0 {
            delay_ms = delay_ms.saturating_add(self.rng.random_range(0..=self.config.latency_jitter_ms));
        }
        let mut fate = CallFate { delay: Duration::from_millis(delay_ms), ..CallFate::default() };
        let before = [
            (Before::RateLimit, "rate_limit", self.config.rate_limit),
            (Before::LoseRequest, "lose_request", self.config.lose_request),
            (Before::Error, "error_before", self.config.error_before),
        ];
        for (what, name, p) in before {
            if fate.before.is_none() && self.strikes(name, p) {
                fate.before = Some(what);
            }
        }
        if fate.before.is_some() || !paying {
            return fate;
        }
        if self.strikes("execute_late", self.config.execute_late) {
            let delay = Duration::from_millis(self.config.execute_late_ms);
            fate.before = Some(Before::ExecuteLate(delay));
            return fate;
        }
        let after = [
            (After::Error, "error_after", self.config.error_after),
            (After::LoseAnswer, "lose_answer", self.config.lose_answer),
            (After::Hang, "hang", self.config.hang),
            (After::Garble, "garble", self.config.garble),
        ];
        for (what, name, p) in after {
            if fate.after.is_none() && self.strikes(name, p) {
                fate.after = Some(what);
            }
        }
        fate
    }

    /// Draws what happens to one payment.
    pub fn draw_item(&mut self, shape: Shape) -> ItemFate {
        let mut fate = ItemFate::default();
        if self.spares(shape) {
            return fate;
        }
        if shape == Shape::File {
            let after = Duration::from_millis(self.config.reject_after_ms);
            fate.denied_after = self.strikes("file_denied", self.config.file_denied).then_some(after);
            fate.silent = fate.denied_after.is_none() && self.strikes("file_silent", self.config.file_silent);
            if fate.denied_after.is_some() || fate.silent {
                return fate;
            }
        }
        match self.draw_refusal() {
            // A bank takes the whole file, and nobody claims what is still refused later: that money goes out and
            // comes back.
            Some(code) if shape == Shape::File || (shape == Shape::Batch && *code == *UNCLAIMED) => {
                fate.bounce = Some(code);
            }
            Some(code) => {
                fate.refusal = Some(code);
                return fate;
            }
            None => {}
        }
        if fate.bounce.is_some() || self.strikes("return", self.config.return_rate) {
            fate.returns_after = Some(Duration::from_millis(self.config.return_after_ms));
        }
        let is_final = !matches!(shape, Shape::Batch | Shape::File);
        if !is_final && fate.bounce.is_none() && self.strikes("reject_after", self.config.reject_after) {
            let after = Duration::from_millis(self.config.reject_after_ms);
            if shape == Shape::Batch {
                return ItemFate { rejected_after: Some(after), ..ItemFate::default() };
            }
            (fate.bounce, fate.returns_after) = (Some(REJECTED.into()), Some(after));
        }
        if self.strikes("duplicate_after", self.config.duplicate_after) {
            fate.again_after = Some(Duration::from_millis(self.config.duplicate_after_ms));
        }
        let lie = self.config.lie.clone();
        fate.duplicate = self.strikes("lie_duplicate_payment", lie.duplicate_payment);
        fate.amount = self.strikes("lie_amount", lie.amount);
        fate.currency = self.strikes("lie_currency", lie.currency);
        fate.destination = self.strikes("lie_destination", lie.destination);
        fate.omit = self.strikes("lie_omit_statement", lie.omit_statement);
        // A dialect's answers are looked up by the reference that they tell.
        fate.reference = !shape.is_dialect() && self.strikes("lie_reference", lie.reference);
        fate.phantom = self.strikes("lie_phantom_statement", lie.phantom_statement);
        fate
    }

    /// A number for the content of a lie.
    pub fn draw_number(&mut self, below: u64) -> u64 {
        self.rng.random_range(0..below.max(1))
    }

    /// Draws whether a call that lists is answered with a part of its body.
    pub fn draw_garbled_list(&mut self, shape: Shape) -> bool {
        let p = self.config.garble_list;
        self.strikes_dialect(shape, "garble_list", p)
    }

    /// Draws whether a fault of one dialect strikes.
    pub fn strikes_dialect(&mut self, shape: Shape, name: &'static str, p: f64) -> bool {
        !self.spares(shape) && self.strikes(name, p)
    }

    fn draw_refusal(&mut self) -> Option<Arc<str>> {
        if self.config.refuse.is_empty() || self.exhausted() {
            return None;
        }
        let mut point: f64 = self.rng.random();
        for (code, p) in &self.config.refuse {
            if point < *p {
                let code = Arc::clone(code);
                self.injected += 1;
                self.count("refuse");
                return Some(code);
            }
            point -= p;
        }
        None
    }

    fn strikes(&mut self, name: &'static str, p: f64) -> bool {
        if p <= 0.0 || self.exhausted() || self.rng.random::<f64>() >= p {
            return false;
        }
        self.injected += 1;
        self.count(name);
        true
    }

    fn exhausted(&self) -> bool {
        self.config.max.is_some_and(|max| self.injected >= max)
    }

    fn spares(&self, shape: Shape) -> bool {
        self.config.only_shape.is_some_and(|only| only != shape)
    }
}

/// RFC 7396.
fn merge_json(target: &mut serde_json::Value, patch: &serde_json::Value) {
    let serde_json::Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = serde_json::json!({});
    }
    let Some(target) = target.as_object_mut() else {
        return;
    };
    for (name, value) in patch {
        if value.is_null() {
            target.remove(name);
        } else {
            merge_json(target.entry(name.clone()).or_insert(serde_json::Value::Null), value);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;

    #[test]
    fn a_patch_changes_what_it_names_and_null_puts_it_back() {
        let mut faults = Faults::new(FaultConfig::from_json(r#"{"refuse":{"a":0.1},"hang":0.5}"#).unwrap());
        faults.merge(&json!({"refuse":{"b":0.2},"hang":null,"lie":{"amount":1.0}})).unwrap();
        let config = faults.config();
        assert_eq!(config.refuse.len(), 2);
        assert_eq!((config.hang, config.lie.amount), (0.0, 1.0));
        assert!(faults.merge(&json!({"hangs":1})).unwrap_err().contains("hangs"));
        assert!(faults.merge(&json!({"hang":1.5})).is_err());
        assert!(faults.merge(&json!({"clock_ahead_ms":i64::MAX})).is_err());
        assert!(faults.merge(&json!({"limit":{"payout":1}})).is_err());
        assert!(faults.merge(&json!({"wise":{"sca":2}})).is_err());
        assert!(faults.merge(&json!({"paypal":{"onhold_becomes":"PAID"}})).is_err());
        assert!(faults.merge(&json!({"refuse":{"b":0.95}})).is_err());
        assert_eq!(faults.config().hang, 0.0);
        faults.clear();
        assert_eq!(*faults.config(), FaultConfig::default());
    }

    #[test]
    fn the_same_seed_draws_the_same_faults() {
        let draw = |seed: u64| {
            let config = format!(r#"{{"lose_answer":0.5,"refuse":{{"x":0.5}},"seed":{seed}}}"#);
            let mut faults = Faults::new(FaultConfig::from_json(&config).unwrap());
            (0..64)
                .map(|_| {
                    let call = faults.draw_call(Shape::Payout, true).after.is_some();
                    (call, faults.draw_item(Shape::Payout).refusal.is_some())
                })
                .collect::<Vec<_>>()
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
    }

    #[test]
    fn max_and_only_shape_limit() {
        let config = r#"{"error_before":1,"max":2,"only_shape":"batch"}"#;
        let mut faults = Faults::new(FaultConfig::from_json(config).unwrap());
        assert_eq!(faults.draw_call(Shape::Payout, true).before, None);
        for expected in [Some(Before::Error), Some(Before::Error), None] {
            assert_eq!(faults.draw_call(Shape::Batch, true).before, expected);
        }
        assert_eq!(faults.counts()["error_before"], 2);
        faults.merge(&json!({"max":1})).unwrap();
        assert!(faults.draw_call(Shape::Batch, true).before.is_some());
    }
}
