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

/// What of a batch's payouts and attempts decides where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BatchStanding {
    /// Some payout has no answer: it is planned or unknown.
    pub is_unanswered: bool,
    /// Something may be under way: some payout is unknown, or some attempt has no result.
    pub is_under_way: bool,
    /// The rail has accepted some payout, and not told what became of it.
    pub has_accepted: bool,
    /// People have some payout.
    pub has_held: bool,
}

impl BatchStanding {
    /// Where a batch stands of which everything has an answer.
    fn answered(&self) -> BatchState {
        match (self.has_accepted, self.has_held) {
            (true, _) => BatchState::Accepted,
            (false, true) => BatchState::Held,
            (false, false) => BatchState::Done,
        }
    }
}

impl BatchState {
    /// Where a batch stands after news of its payouts. Only its lessee may say that it is free of requests under way;
    /// anybody else leaves that alone.
    pub fn after_news(self, standing: &BatchStanding, by_lessee: bool) -> BatchState {
        match self {
            BatchState::Split | BatchState::Cancelled | BatchState::Done => self,
            _ if !standing.is_unanswered => standing.answered(),
            _ if by_lessee && !standing.is_under_way => BatchState::Ready,
            // What the rail had accepted is in doubt again.
            BatchState::Accepted => BatchState::Sending,
            _ => self,
        }
    }

    /// Where a batch stands whose payouts were moved by somebody else than a worker on it: people, a statement, news of
    /// what it is a part of. `None` as long as some payout has no answer, and of what is over for good.
    pub fn settled(self, standing: &BatchStanding) -> Option<BatchState> {
        let is_over = matches!(self, BatchState::Split | BatchState::Cancelled);
        (!is_over && !standing.is_unanswered).then(|| standing.answered())
    }

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

    /// Whether payouts of it may have no answer.
    pub fn may_lack_answers(self) -> bool {
        match self {
            BatchState::Ready | BatchState::Sending => true,
            BatchState::Accepted | BatchState::Done | BatchState::Held | BatchState::Split | BatchState::Cancelled => {
                false
            }
        }
    }

    /// The one place that says which moves are legal.
    pub fn to(self, to: BatchState) -> Result<BatchState, IllegalBatchMove> {
        use BatchState as S;
        match (self, to) {
            (S::Ready, S::Sending | S::Held | S::Split | S::Cancelled)
            // Back to ready only with proof that no attempt was executed or still can be.
            | (S::Sending, S::Ready | S::Sending | S::Accepted | S::Done | S::Held)
            // A batch that was refused whole, or stalls payout by payout, is split; never one that may be under way as
            // a whole.
            | (S::Sending, S::Split)
            // Accepted under one name and refused, and perhaps accepted under another.
            | (S::Accepted, S::Sending)
            | (S::Accepted, S::Accepted | S::Done | S::Held)
            // Late evidence, or two people, can finish what was held; and evidence is recorded even where a rail had
            // said that nothing was executed.
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

    /// Every standing that there is.
    fn standings() -> impl Iterator<Item = BatchStanding> {
        (0..16_u8).map(|bits| BatchStanding {
            is_unanswered: bits & 1 != 0,
            is_under_way: bits & 2 != 0,
            has_accepted: bits & 4 != 0,
            has_held: bits & 8 != 0,
        })
    }

    #[test]
    fn news_moves_a_batch_only_where_it_may_go_and_only_the_lessee_frees_it() {
        for from in BatchState::ALL {
            for standing in standings() {
                for by_lessee in [true, false] {
                    let next = from.after_news(&standing, by_lessee);
                    // A payout of what is accepted has no answer only if another request for it may be under way.
                    let cannot_be = from == BatchState::Accepted && standing.is_unanswered && !standing.is_under_way;
                    assert!(next == from || from.to(next).is_ok() || cannot_be, "{from} {next} {standing:?}");
                    if next == BatchState::Ready && from != BatchState::Ready {
                        assert!(by_lessee && !standing.is_under_way, "{from} {standing:?}");
                    }
                    if !standing.is_unanswered && (from.is_open() || from == BatchState::Held) {
                        assert!(!matches!(next, BatchState::Ready | BatchState::Sending), "{from} {standing:?}");
                    }
                }
                let settled = from.settled(&standing);
                assert_eq!(
                    settled.is_some(),
                    !standing.is_unanswered && !matches!(from, BatchState::Split | BatchState::Cancelled)
                );
            }
        }
        let held = BatchStanding { has_held: true, has_accepted: true, ..BatchStanding::default() };
        assert_eq!(BatchState::Sending.after_news(&held, false), BatchState::Accepted, "the rail has some yet");
    }

    #[test]
    fn these_moves_are_legal_and_no_others() {
        use BatchState::*;
        let legal: [(BatchState, &[BatchState]); 7] = [
            (Ready, &[Sending, Accepted, Done, Held, Split, Cancelled]),
            (Sending, &[Ready, Sending, Accepted, Done, Held, Split]),
            (Accepted, &[Sending, Accepted, Done, Held]),
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
