//! What a rail recognises a request by. A key is computed, never drawn: whoever computes it for the same payout gets
//! the same one, so nothing can mint a second. Rule `fixed_key`.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::{Currency, PayoutId};

/// The key of one payout, derived from (run, affiliate, currency): `<payout number>-<16 hex digits>`.
///
/// The digits are a hash over the run's own random key, the affiliate and the currency, so that two installations that
/// share a rail account never meet. The number in front leads from a statement line to the payout without an index on
/// keys. At most 36 characters, as a SEPA end-to-end id (35), PayPal's sender_item_id (63) and Stripe's keys (255)
/// allow: numbers stay below 2^62 until there are a billion runs.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct PayoutKey(String);

/// The key of a batch, for rails that recognise batches: derived from the run's key and the batch's range of payouts.
#[derive(Debug, Clone, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct BatchKey(String);

/// A text that no payout of ours ever had as its key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a payout key of this system")]
pub struct KeyError;

fn digest(run_key: Uuid, parts: &[&[u8]]) -> u64 {
    let mut hash = Sha256::new();
    hash.update(run_key.as_bytes());
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes()); // or `a`+`bc` and `ab`+`c` would meet
        hash.update(part);
    }
    hash.finalize().iter().take(8).fold(0, |digest, byte| digest << 8 | u64::from(*byte))
}

impl PayoutKey {
    /// The key of this payout. `affiliate` is the tenant's own name for the affiliate.
    pub fn derive(run_key: Uuid, payout: PayoutId, affiliate: &str, currency: Currency) -> Self {
        let digest = digest(run_key, &[b"payout", affiliate.as_bytes(), currency.code().as_bytes()]);
        PayoutKey(format!("{}-{digest:016x}", payout.0))
    }

    /// The payout that a key claims to be of. Whether it really is must be checked by deriving the key again.
    pub fn payout(&self) -> Result<PayoutId, KeyError> {
        let (number, hash) = self.0.split_once('-').ok_or(KeyError)?;
        let canonical = !number.starts_with(['0', '+']) && hash.len() == 16;
        number.parse().ok().filter(|_| canonical).map(PayoutId).ok_or(KeyError)
    }

    /// As the rail sees it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The key for rails that take a UUID only (Wise, `customerTransactionId`): version 5 of it in the namespace of
    /// object ids (RFC 9562, section 5.5), so that it is fixed as the key is. It does not lead back to the payout.
    pub fn uuid(&self) -> Uuid {
        Uuid::new_v5(&Uuid::NAMESPACE_OID, self.0.as_bytes())
    }
}

impl FromStr for PayoutKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let key = PayoutKey(text.to_owned());
        key.payout().map(|_| key)
    }
}

impl BatchKey {
    /// The key of the batch that holds the payouts `first` to `last`. The halves of a split batch have other ranges,
    /// hence other keys; that is right only because a batch is split after proof that nothing of it was paid.
    pub fn derive(run_key: Uuid, first: PayoutId, last: PayoutId) -> Self {
        let digest = digest(run_key, &[b"batch", &first.0.to_be_bytes(), &last.0.to_be_bytes()]);
        BatchKey(format!("{}-{}-{digest:016x}", first.0, last.0 & 0xffff_ffff))
    }

    /// The first payout of the batch that a text claims to be the key of. Whether it really is must be checked by
    /// deriving the key again.
    pub fn first_payout(text: &str) -> Result<PayoutId, KeyError> {
        let (range, hash) = text.rsplit_once('-').ok_or(KeyError)?;
        let (first, last) = range.split_once('-').ok_or(KeyError)?;
        let is_number = |text: &str| !text.starts_with('0') && text.bytes().all(|byte| byte.is_ascii_digit());
        // The last one is told by its place alone, and the first place is 0.
        let canonical = is_number(first) && (last == "0" || is_number(last)) && hash.len() == 16;
        let is_hash = hash.bytes().all(|byte| byte.is_ascii_hexdigit());
        first.parse().ok().filter(|_| canonical && is_hash && !last.is_empty()).map(PayoutId).ok_or(KeyError)
    }

    /// As the rail sees it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PayoutKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for BatchKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_fixed_and_leads_back_to_its_payout() {
        let run = Uuid::from_u128(7);
        let payout = PayoutId((3 << 32) | 41);
        let eur: Currency = "EUR".parse().expect("a code of ISO 4217");
        let key = PayoutKey::derive(run, payout, "12346", eur);
        assert_eq!(key, PayoutKey::derive(run, payout, "12346", eur));
        assert_eq!(key.as_str(), "12884901929-a94610cdbdd64ddc", "a key must never change between versions");
        assert_eq!(key.payout(), Ok(payout));
        let uuid = "b0edd3a3-1203-53a2-8b82-5261d402173f";
        assert_eq!(key.uuid().to_string(), uuid, "a key must never change between versions");
        assert_ne!(key, PayoutKey::derive(run, payout, "12347", eur));
        assert_ne!(key, PayoutKey::derive(Uuid::from_u128(8), payout, "12346", eur));
        for wrong in ["", "12", "x-0000000000000000", "012-0000000000000000", "12-00", "-1-0000000000000000"] {
            assert!(wrong.parse::<PayoutKey>().is_err(), "{wrong}");
        }
        assert_eq!(key.to_string().parse(), Ok(key));
    }

    #[test]
    fn a_batch_key_is_fixed_and_names_its_range() {
        let run = Uuid::from_u128(7);
        let (first, last) = (PayoutId((3 << 32) | 41), PayoutId((3 << 32) | 42));
        let key = BatchKey::derive(run, first, last);
        assert_eq!(key.as_str(), "12884901929-42-e797d6cb5b15b7a9", "a key must never change between versions");
        assert_eq!(key.to_string(), key.as_str());
        assert_eq!(BatchKey::first_payout(key.as_str()), Ok(first));
        for wrong in ["", "1", "1-2", "1-2-3", "01-2-e797d6cb5b15b7a9", "-1-2-e797d6cb5b15b7a9", "1--e797d6cb5b15b7a9"]
        {
            assert!(BatchKey::first_payout(wrong).is_err(), "{wrong}");
        }
        assert_ne!(key, BatchKey::derive(run, first, first));
        assert_ne!(key, BatchKey::derive(Uuid::from_u128(8), first, last));
    }
}
