//! One notice, after its signature was found to be right.

use payfleet_domain::PayoutId;
use ring::digest::{SHA256, digest};
use serde::Deserialize;
use serde_json::value::RawValue;

/// Longer names are none of a rail's: PayPal's, Stripe's and Wise's have 20 to 60 letters.
const NAME_LETTERS: usize = 200;

/// What a notice says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// The rail's own name of the event; of one that is sent again it is the same.
    pub id: String,
    /// What happened, in the rail's word. Unknown ones are kept as well.
    pub kind: String,
    /// SHA-256 of what was signed and no replay can change: whoever heard a notice can send it again, and where headers
    /// or most of the body are not bound by its signature, under another [`id`](Notice::id).
    pub signed: [u8; 32],
    /// Which payment it names, if any.
    pub about: Option<About>,
}

/// How a notice names a payment. A hint only: whose batch it leads to must be of the rail and account that the notice
/// came from, and a wrong one costs a look.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum About {
    /// By a key of ours: the payout in it.
    Payout(PayoutId),
    /// By the rail's own name, which `Accepted` or `Paid` brought.
    Reference(String),
}

/// Why a notice is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Its signature is missing or wrong: the rail did not say this, or the secret or key here is another.
    #[error("the signature is missing or wrong")]
    Forged,
    /// It is signed, and older than any that its rail sends, or from the future: perhaps heard before, and sent again.
    #[error("its time is out of bounds")]
    Stale,
    /// It is signed, and no event of this rail.
    #[error("it is no event of this rail")]
    Malformed,
}

/// The text, if a name can be that.
pub(crate) fn name(text: &str) -> Option<&str> {
    let is_name = (1..=NAME_LETTERS).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    is_name.then_some(text)
}

/// The same, of what every event must have.
pub(crate) fn must_name(text: Option<&str>) -> Result<String, Refusal> {
    text.and_then(name).map(str::to_owned).ok_or(Refusal::Malformed)
}

/// What the rail calls the payment.
pub(crate) fn reference(text: &str) -> Option<About> {
    name(text).map(|text| About::Reference(text.to_owned()))
}

/// What an event is about, as far as it has this form: events of other kinds have others, and are kept as well.
pub(crate) fn lenient<'a, T: Deserialize<'a> + Default>(value: Option<&'a RawValue>) -> T {
    value.and_then(|value| serde_json::from_str(value.get()).ok()).unwrap_or_default()
}

pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut sum = [0; 32];
    sum.copy_from_slice(digest(&SHA256, bytes).as_ref());
    sum
}
