//! Which faults are configured, and when one strikes. It decides only; others carry it out.
//!
//! All draws come from one seeded generator. A probability of 0 draws nothing, so that adding a fault to a
//! configuration does not move the others more than it must.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;
use serde::{Deserialize, Serialize};

use crate::dialect::faults::{PaypalFaults, StripeFaults, WebhookFaults, WiseFaults};
use crate::wire::Shape;

/// The code of a payment in a batch that nobody has taken yet; it goes out, and comes back.
pub const UNCLAIMED: &str = "unclaimed";

/// The code of a payment that was accepted and refused later.
pub const REJECTED: &str = "rejected";

/// What can go wrong, and how often. Probabilities are 0 to 1.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FaultConfig {
    /// Each call takes so long before it is executed.
    pub latency_ms: u64,
    /// And up to so much longer.
    pub latency_jitter_ms: u64,
    /// Pays, then drops the connection without a byte.
    pub lose_answer: f64,
    /// Drops the connection before executing.
    pub lose_request: f64,
    /// 500, not executed.
    pub error_before: f64,
    /// Pays, then 500.
    pub error_after: f64,
    /// 429, not executed.
    pub rate_limit: f64,
    /// Pays, then never answers.
    pub hang: f64,
    /// Pays, then answers 200 with a body that cannot be read.
    pub garble: f64,
    /// Refuses a payment: code and probability. In a file, and with the code `unclaimed` in a batch, it is paid and
    /// comes back after `return_after_ms` instead.
    pub refuse: BTreeMap<Arc<str>, f64>,
    /// A payment comes back so much later...
    pub return_after_ms: u64,
    /// ...with this probability...
    pub return_rate: f64,
    /// ...less what the rail keeps, in minor units; something always comes back.
    pub return_fee_minor: i64,
    /// A payment is refused after it was accepted: so much after it would have been paid...
    pub reject_after_ms: u64,
    /// ...with this probability. A batch's item is pending until then, and nothing of it is on a statement; a bank pays
    /// and takes the money back. The other two shapes accept nothing that they have not paid.
    pub reject_after: f64,
    /// A bank takes a payment, never makes it, and says so on its statement `reject_after_ms` later...
    pub file_denied: f64,
    /// ...or never says anything of it.
    pub file_silent: f64,
    /// A payment is made again so much later...
    pub duplicate_after_ms: u64,
    /// ...with this probability.
    pub duplicate_after: f64,
    /// A request is executed only so much later, even if the rail is restarted meanwhile...
    pub execute_late_ms: u64,
    /// ...with this probability; its connection is dropped without a byte. Where it carries `expires_at` and comes
    /// after it, it is not executed.
    pub execute_late: f64,
    /// A file that is executed late gets its receipt at once.
    pub execute_late_answered: bool,
    /// Lines are on the statement so much after the instant that they bear, by shape; instead of what --statement-lag
    /// says.
    pub statement_lag_ms: BTreeMap<Shape, u64>,
    /// Its clock is so far ahead of the machine's, or behind: in answers, and where it looks whether a request has
    /// expired. Not of one shape alone.
    pub clock_ahead_ms: i64,
    /// Says on the statement what is not so.
    pub lie: LieConfig,
    /// Lists and statements of the dialects take so much longer...
    pub list_latency_ms: u64,
    /// ...and are cut off in the middle of their body with this probability.
    pub garble_list: f64,
    /// What strikes after paying strikes those calls of the dialects too that pay nothing and make something:
    /// recipients, quotes, transfers and groups of Wise, and what cancels. None of them is executed late.
    pub strike_preparing: bool,
    /// What a dialect lets through, 429 above it: of `paypal` POSTs a minute, of the others requests a second. What the
    /// vendors say of themselves is 400, 25 to 100, and 100.
    pub limit: BTreeMap<Shape, u32>,
    /// Of the dialect `paypal` alone.
    pub paypal: PaypalFaults,
    /// Of the dialect `stripe` alone.
    pub stripe: StripeFaults,
    /// Of the dialect `wise` alone.
    pub wise: WiseFaults,
    /// Of the notices that dialects send.
    pub webhook: WebhookFaults,
    /// Only calls of this shape.
    pub only_shape: Option<Shape>,
    /// No more than so many faults, counted from when this was set; latency does not count.
    pub max: Option<u64>,
    /// Start of the generator.
    pub seed: u64,
}

/// The lies, each for one payment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LieConfig {
    /// The statement tells another amount.
    pub amount: f64,
    /// The answer tells another reference than journal and statement.
    pub reference: f64,
    /// The statement leaves it out.
    pub omit_statement: f64,
    /// The statement tells one more that nobody ordered.
    pub phantom_statement: f64,
    /// The payment is executed twice.
    pub duplicate_payment: f64,
    /// The statement tells another currency.
    pub currency: f64,
    /// The statement tells another destination.
    pub destination: f64,
    /// No probability: statements say that they reach so many milliseconds further than they do, as far as to now.
    pub reach_ms: u64,
}

impl FaultConfig {
    /// Reads a whole configuration; what is not named is off.
    pub fn from_json(text: &str) -> Result<Self, String> {
        let config: Self = serde_json::from_str(text).map_err(|error| error.to_string())?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), String> {
        let lie = &self.lie;
        let fixed = [
            ("lose_answer", self.lose_answer),
            ("lose_request", self.lose_request),
            ("error_before", self.error_before),
            ("error_after", self.error_after),
            ("rate_limit", self.rate_limit),
            ("hang", self.hang),
            ("garble", self.garble),
            ("return_rate", self.return_rate),
            ("reject_after", self.reject_after),
            ("file_denied", self.file_denied),
            ("file_silent", self.file_silent),
            ("duplicate_after", self.duplicate_after),
            ("execute_late", self.execute_late),
            ("lie.amount", lie.amount),
            ("lie.reference", lie.reference),
            ("lie.omit_statement", lie.omit_statement),
            ("lie.phantom_statement", lie.phantom_statement),
            ("lie.duplicate_payment", lie.duplicate_payment),
            ("lie.currency", lie.currency),
            ("lie.destination", lie.destination),
            ("garble_list", self.garble_list),
            ("the sum of refuse", self.refuse.values().sum()),
        ];
        let codes = self.refuse.iter().map(|(code, p)| (&**code, *p));
        let dialects = self.paypal.shares().into_iter().chain(self.stripe.shares()).chain(self.wise.shares());
        for (name, p) in fixed.into_iter().chain(codes).chain(dialects).chain(self.webhook.shares()) {
            if !(0.0..=1.0).contains(&p) {
                return Err(format!("{name} must be 0 to 1, not {p}"));
            }
        }
        if self.return_fee_minor < 0 {
            return Err("return_fee_minor must not be below 0".to_owned());
        }
        if let Some(shape) = self.limit.keys().find(|shape| !shape.is_dialect()) {
            return Err(format!("limit is of dialects, and {} is none; see --rate-limit", shape.name()));
        }
        self.paypal.check()
    }
}

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
