//! Which faults can be configured, and within which bounds. What they do is elsewhere.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::dialect::faults::{PaypalFaults, StripeFaults, WebhookFaults, WiseFaults};
use crate::wire::Shape;

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

    /// What must be so.
    pub fn check(&self) -> Result<(), String> {
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
        // A century either way: an answer can be dated to year 9999 at most.
        if self.clock_ahead_ms.unsigned_abs() > 100 * 366 * 24 * 3_600_000 {
            return Err("clock_ahead_ms must be within a hundred years".to_owned());
        }
        if let Some(shape) = self.limit.keys().find(|shape| !shape.is_dialect()) {
            return Err(format!("limit is of dialects, and {} is none; see --rate-limit", shape.name()));
        }
        self.paypal.check()
    }
}
