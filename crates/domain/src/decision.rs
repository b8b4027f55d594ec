//! What people decide: the rule of two, and when it can be said that a payout was not paid.

use std::fmt;

use time::OffsetDateTime;

use crate::PersonId;

/// What one person says about something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word<'a> {
    /// Who.
    pub person: PersonId,
    /// What.
    pub says: &'a str,
    /// What it refers to, as a rail's name for a payment; empty if to nothing.
    pub reference: &'a str,
}

/// What a word did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Effect {
    /// It is the first of two.
    Proposes,
    /// It is the second of two, and is carried out.
    Agrees,
    /// It says something else than the proposal, which has ended with it; two people must agree anew.
    Contradicts,
}

impl Effect {
    /// The schema's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Effect::Proposes => "proposes",
            Effect::Agrees => "agrees",
            Effect::Contradicts => "contradicts",
        }
    }
}

/// The same person twice is one person.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SamePerson;

/// The rule of two: what a word does, given the proposal that is open.
pub fn hear(proposal: Option<&Word>, word: &Word) -> Result<Effect, SamePerson> {
    match proposal {
        None => Ok(Effect::Proposes),
        Some(open) if (open.says, open.reference) != (word.says, word.reference) => Ok(Effect::Contradicts),
        Some(open) if open.person == word.person => Err(SamePerson),
        Some(_) => Ok(Effect::Agrees),
    }
}

/// What must be known before somebody may say that a payout was not paid. All instants are of the database's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HoldFacts {
    /// Whether the rail tells by statements what it paid.
    pub has_statement: bool,
    /// Until when a request for it can still be executed: of its batch and of those that this was split from, of all
    /// attempts but those that provably did nothing. `None`: nothing of it was ever sent.
    pub may_arrive_until: Option<OffsetDateTime>,
    /// Up to when the statement of its account is known, without a gap.
    pub statement_reaches: Option<OffsetDateTime>,
    /// Whether a statement, or a movement that is known, names the payout.
    pub is_on_statement: bool,
    /// Now.
    pub now: OffsetDateTime,
}

/// Whether it may be said that a held payout was not paid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotPaid {
    /// Nothing can pay it any more, and nothing did that could be known.
    MayBeSaid,
    /// A request for it can still be executed.
    NotBefore(OffsetDateTime),
    /// No request can be executed any more, and the statement does not reach past the instant since when that is so.
    NotBeforeStatement(OffsetDateTime),
    /// A statement names it.
    OnStatement,
}

impl HoldFacts {
    /// Whether people may say that it was not paid, and from when on.
    pub fn not_paid(&self) -> NotPaid {
        if self.is_on_statement {
            return NotPaid::OnStatement;
        }
        let Some(until) = self.may_arrive_until else { return NotPaid::MayBeSaid };
        if until >= self.now {
            return NotPaid::NotBefore(until);
        }
        match self.has_statement && self.statement_reaches.is_none_or(|reaches| reaches <= until) {
            true => NotPaid::NotBeforeStatement(until),
            false => NotPaid::MayBeSaid,
        }
    }
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use time::Duration;
    use time::macros::datetime;

    use super::*;

    const NOW: OffsetDateTime = datetime!(2026-01-10 12:00 UTC);

    fn word(person: i32, says: &'static str, reference: &'static str) -> Word<'static> {
        Word { person: PersonId(person), says, reference }
    }

    #[test]
    fn the_first_word_proposes_and_the_same_of_another_agrees() {
        let first = word(1, "paid", "r");
        assert_eq!(hear(None, &first), Ok(Effect::Proposes));
        assert_eq!(hear(Some(&first), &word(2, "paid", "r")), Ok(Effect::Agrees));
        assert_eq!(hear(Some(&first), &word(1, "paid", "r")), Err(SamePerson));
    }

    #[test]
    fn another_word_ends_the_proposal_whoever_says_it() {
        let first = word(1, "paid", "r");
        for other in [word(2, "not_paid", ""), word(2, "paid", "q"), word(1, "not_paid", "")] {
            assert_eq!(hear(Some(&first), &other), Ok(Effect::Contradicts));
        }
    }

    #[test]
    fn not_paid_may_be_said_once_nothing_can_pay_and_the_statement_is_silent() {
        let until = NOW - Duration::seconds(1);
        let file = HoldFacts {
            has_statement: true,
            may_arrive_until: Some(until),
            statement_reaches: Some(NOW),
            is_on_statement: false,
            now: NOW,
        };
        assert_eq!(file.not_paid(), NotPaid::MayBeSaid);
        assert_eq!(HoldFacts { is_on_statement: true, ..file }.not_paid(), NotPaid::OnStatement);
        for alive in [NOW, NOW + Duration::days(3)] {
            let alive_facts = HoldFacts { may_arrive_until: Some(alive), statement_reaches: Some(alive), ..file };
            assert_eq!(alive_facts.not_paid(), NotPaid::NotBefore(alive));
        }
        for reaches in [None, Some(until - Duration::days(1)), Some(until)] {
            let short = HoldFacts { statement_reaches: reaches, ..file };
            assert_eq!(short.not_paid(), NotPaid::NotBeforeStatement(until), "{reaches:?}");
            assert_eq!(HoldFacts { may_arrive_until: None, ..short }.not_paid(), NotPaid::MayBeSaid, "never sent");
            let silent = HoldFacts { has_statement: false, ..short };
            assert_eq!(silent.not_paid(), NotPaid::MayBeSaid, "there is no statement to wait for");
        }
    }
}
