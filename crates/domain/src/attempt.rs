//! What became of a try to submit a batch.

use std::fmt;

use crate::{BatchState, Outcome, RefusalCode, RefusalKind};

/// What is known of an attempt. One that has no result is open: its answer may still come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttemptResult {
    /// Every payout that was sent has its answer.
    Answered,
    /// Provably nothing of it was executed.
    NotExecuted,
    /// Of some payouts it is not known whether it was executed.
    Unknown,
    /// It does not matter any more: what it did is known from elsewhere, or it is dead and the rail does not know it.
    Superseded,
}

impl AttemptResult {
    /// All results.
    pub const ALL: [AttemptResult; 4] =
        [AttemptResult::Answered, AttemptResult::NotExecuted, AttemptResult::Unknown, AttemptResult::Superseded];

    /// What the answers to an attempt say of it. `lost_track` says that some of them prove nothing.
    pub fn of<'a>(lost_track: bool, outcomes: impl IntoIterator<Item = &'a Outcome>) -> AttemptResult {
        match lost_track {
            true => AttemptResult::Unknown,
            false if outcomes.into_iter().all(|outcome| *outcome == Outcome::NotExecuted) => AttemptResult::NotExecuted,
            false => AttemptResult::Answered,
        }
    }

    /// Whether a request of an attempt with this result may still be executed, as far as answers tell; whether its time
    /// is over is another question.
    pub fn is_alive(result: Option<AttemptResult>) -> bool {
        matches!(result, None | Some(AttemptResult::Unknown))
    }

    /// Whether a request of an attempt with this result may still reach the rail. One that was superseded has had its
    /// answer by another request: that says nothing of when it arrives itself, and where a rail sets a refused key free
    /// (PayPal, after DENIED), it would be executed then. Rule `refusal_proof`.
    pub fn may_arrive(result: Option<AttemptResult>) -> bool {
        Self::is_alive(result) || result == Some(AttemptResult::Superseded)
    }

    /// The schema's word.
    pub fn as_str(&self) -> &'static str {
        match self {
            AttemptResult::Answered => "answered",
            AttemptResult::NotExecuted => "not_executed",
            AttemptResult::Unknown => "unknown",
            AttemptResult::Superseded => "superseded",
        }
    }
}

impl fmt::Display for AttemptResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Outcome {
    /// Whether it says what became of the payment. That nothing was executed, or that nobody knows, moves nothing.
    pub fn is_news(&self) -> bool {
        !matches!(self, Outcome::NotExecuted | Outcome::Unknown)
    }
}

/// Whether parts of a batch that was refused as a whole may fare better: only if the reason is a payee's, as one may
/// spoil the others.
pub fn one_may_spoil<'a>(state: BatchState, payouts: i32, codes: impl IntoIterator<Item = &'a str>) -> bool {
    let mut kinds = codes.into_iter().map(|code| RefusalCode::new(code).kind());
    payouts > 1 && state == BatchState::Sending && kinds.all(|kind| kind == RefusalKind::Payee)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Reference;

    #[test]
    fn an_attempt_is_what_its_answers_say() {
        let paid = Outcome::Paid(Reference("r".to_owned()));
        assert_eq!(AttemptResult::of(false, [&paid, &Outcome::NotExecuted]), AttemptResult::Answered);
        assert_eq!(AttemptResult::of(false, [&Outcome::NotExecuted]), AttemptResult::NotExecuted);
        assert_eq!(AttemptResult::of(false, []), AttemptResult::NotExecuted, "no call was made");
        assert_eq!(AttemptResult::of(true, [&paid]), AttemptResult::Unknown);
        let alive = |result| AttemptResult::is_alive(result);
        assert!(alive(None) && alive(Some(AttemptResult::Unknown)));
        assert!(!alive(Some(AttemptResult::Answered)) && !alive(Some(AttemptResult::Superseded)));
        assert!(!alive(Some(AttemptResult::NotExecuted)));
        assert!(paid.is_news() && !Outcome::Unknown.is_news() && !Outcome::NotExecuted.is_news());
    }

    #[test]
    fn one_spoils_the_others_only_by_what_is_its_own() {
        let sending = BatchState::Sending;
        assert!(one_may_spoil(sending, 2, ["account_closed"]));
        assert!(!one_may_spoil(sending, 1, ["account_closed"]), "there are no others");
        assert!(!one_may_spoil(sending, 2, ["account_closed", "insufficient_funds"]));
        assert!(!one_may_spoil(BatchState::Ready, 2, ["account_closed"]), "nothing of it was refused as a whole");
    }
}
