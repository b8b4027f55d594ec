//! What a stream entry holds, and how it is written. Not what it is worth: that is decided where the batch is leased.

use payfleet_domain::BatchId;
use serde::{Deserialize, Serialize};

/// The form that this build writes, and the only one that it reads. The byte in front of every hint.
const VERSION: u8 = 1;

/// "Look at this batch."
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Hint {
    /// Which batch.
    pub batch: BatchId,
}

/// Why an entry is no hint. It is set aside in a stream of its own, where a person can look at it. The batch is not
/// lost: the sweeper publishes whatever is due again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HintError {
    /// Written by another version of this program.
    #[error("a hint of version {0}, which this build does not read")]
    UnknownVersion(u8),
    /// Not written by this program at all, or damaged.
    #[error("an entry that is no hint")]
    Unreadable,
}

impl Hint {
    /// As it is written into the stream.
    pub fn encode(self) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        rmp_serde::encode::write(&mut bytes, &self).expect("a Vec takes whatever is written to it");
        bytes
    }

    /// Reads what somebody has written into the stream.
    pub fn decode(bytes: &[u8]) -> Result<Hint, HintError> {
        match bytes {
            [VERSION, body @ ..] => {
                let mut rest = body;
                let hint = rmp_serde::decode::from_read(&mut rest).map_err(|_| HintError::Unreadable)?;
                if rest.is_empty() { Ok(hint) } else { Err(HintError::Unreadable) }
            }
            [version, ..] => Err(HintError::UnknownVersion(*version)),
            [] => Err(HintError::Unreadable),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hint_is_read_back_and_its_bytes_never_change() {
        let hint = Hint { batch: BatchId(300) };
        assert_eq!(hint.encode(), [1, 0x91, 0xcd, 0x01, 0x2c], "workers of one version but two builds share a stream");
        for batch in [0, 1, -1, i64::MAX, i64::MIN] {
            let hint = Hint { batch: BatchId(batch) };
            assert_eq!(Hint::decode(&hint.encode()), Ok(hint));
        }
    }

    #[test]
    fn what_is_no_hint_is_told_apart() {
        assert_eq!(Hint::decode(&[2, 0x91, 1]), Err(HintError::UnknownVersion(2)));
        for bytes in [&[][..], &[1], &[1, 0x91], &[1, 0x90], &[1, 0x91, 1, 0], &[1, 0xc0], b"\x01batch"] {
            assert_eq!(Hint::decode(bytes), Err(HintError::Unreadable), "{bytes:?}");
        }
    }
}
