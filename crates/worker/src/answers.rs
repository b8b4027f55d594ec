//! What is to be recorded about a batch, and what that is in numbers.

use payfleet_domain::{AttemptNo, Outcome, PayoutId};

use crate::spool::PageNo;

/// What is to be recorded about a batch.
pub(crate) struct Answers {
    /// Where what is answered to its calls is taken down as it comes.
    pub(crate) page: Option<PageNo>,
    pub(crate) attempt: Option<AttemptNo>,
    pub(crate) outcomes: Vec<(PayoutId, Outcome)>,
    /// About so many the rail was asked, and did not say.
    pub(crate) unanswered: usize,
    pub(crate) refused_whole: bool,
    pub(crate) release: bool,
}

impl Answers {
    pub(crate) fn of_lookup(outcomes: Vec<(PayoutId, Outcome)>, unanswered: usize) -> Answers {
        Answers { page: None, attempt: None, outcomes, unanswered, refused_whole: false, release: true }
    }
}

/// How many outcomes of which sort.
pub(crate) struct Counts {
    pub(crate) accepted: u64,
    pub(crate) unknown: u64,
    /// Unknown or not executed: the batch must be looked at again.
    pub(crate) unresolved: u64,
}

impl Counts {
    pub(crate) fn of(outcomes: &[(PayoutId, Outcome)]) -> Counts {
        let mut counts = Counts { accepted: 0, unknown: 0, unresolved: 0 };
        for (_, outcome) in outcomes {
            match outcome {
                Outcome::Accepted(_) => counts.accepted += 1,
                Outcome::Unknown => {
                    counts.unknown += 1;
                    counts.unresolved += 1;
                }
                Outcome::NotExecuted => counts.unresolved += 1,
                Outcome::Paid(_) | Outcome::Refused(_) | Outcome::Returned(_) | Outcome::ReturnedPart(..) => {}
            }
        }
        counts
    }
}
