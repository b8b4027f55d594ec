//! The life of a batch, the unit of work.

use std::fmt;
use std::str::FromStr;

/// Where a batch stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BatchState {
    /// Provably nothing of it is under way.
    Ready,
    /// An intent was committed: it was perhaps sent.
    Sending,
    /// Every payout has an answer; some are accepted and followed until they are final.
    Accepted,
    /// Every payout is final.
    Done,
    /// Some payouts wait for people.
    Held,
    /// Replaced by its parts.
    Split,
    /// Its run was cancelled before it was sent.
    Cancelled,
}

/// A move that no rule allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a batch that is {from} cannot become {to}")]
pub struct IllegalBatchMove {
    /// Where it stood.
    pub from: BatchState,
    /// Where it was to go.
    pub to: BatchState,
}

impl BatchState {
    /// All states.
    pub const ALL: [BatchState; 7] = [
        BatchState::Ready,
        BatchState::Sending,
        BatchState::Accepted,
        BatchState::Done,
        BatchState::Held,
        BatchState::Split,
        BatchState::Cancelled,
    ];

    /// Whether work on it is left for the fleet.
    pub fn is_open(self) -> bool {
        match self {
            BatchState::Ready | BatchState::Sending | BatchState::Accepted => true,
            BatchState::Done | BatchState::Held | BatchState::Split | BatchState::Cancelled => false,
        }
    }

    /// The one place that says which moves are legal.
    pub fn to(self, to: BatchState) -> Result<BatchState, IllegalBatchMove> {
        use BatchState as S;
        match (self, to) {
            (S::Ready, S::Sending | S::Held | S::Split | S::Cancelled)
            // Back to ready only with proof that no attempt was executed or still can be.
            | (S::Sending, S::Ready | S::Sending | S::Accepted | S::Done | S::Held)
            // A batch that was refused whole, or stalls payout by payout, is split; never one that may be under way as a whole.
            | (S::Sending, S::Split)
            | (S::Accepted, S::Accepted | S::Done | S::Held)
            // Late evidence, or two people, can finish what was held; and evidence is recorded even where a rail had said that nothing was executed.
            | (S::Held | S::Ready, S::Accepted | S::Done)
            // The control that held it was lifted; only what was never sent.
            | (S::Held, S::Ready) => Ok(to),
            (from, to) => Err(IllegalBatchMove { from, to }),
        }
    }

    /// The schema's word.
    pub fn as_str(&self) -> &'static str {
        match self {
            BatchState::Ready => "ready",
            BatchState::Sending => "sending",
            BatchState::Accepted => "accepted",
            BatchState::Done => "done",
            BatchState::Held => "held",
            BatchState::Split => "split",
            BatchState::Cancelled => "cancelled",
        }
    }
}

impl FromStr for BatchState {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|state| state.as_str() == word)
            .ok_or_else(|| format!("`{word}` is not a batch state"))
    }
}

impl fmt::Display for BatchState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finished_batch_stays_finished() {
        for to in BatchState::ALL {
            for from in [BatchState::Done, BatchState::Split, BatchState::Cancelled] {
                assert!(from.to(to).is_err(), "{from} {to}");
            }
        }
    }

    #[test]
    fn these_moves_are_legal_and_no_others() {
        use BatchState::*;
        let legal: [(BatchState, &[BatchState]); 7] = [
            (Ready, &[Sending, Accepted, Done, Held, Split, Cancelled]),
            (Sending, &[Ready, Sending, Accepted, Done, Held, Split]),
            (Accepted, &[Accepted, Done, Held]),
            (Done, &[]),
            (Held, &[Ready, Accepted, Done]),
            (Split, &[]),
            (Cancelled, &[]),
        ];
        for (from, targets) in legal {
            let found: Vec<BatchState> = BatchState::ALL.into_iter().filter(|to| from.to(*to) == Ok(*to)).collect();
            assert_eq!(found, targets, "{from}");
            assert_eq!(from.is_open(), matches!(from, Ready | Sending | Accepted), "{from}");
        }
        assert_eq!(Done.to(Ready), Err(IllegalBatchMove { from: Done, to: Ready }));
    }
}
