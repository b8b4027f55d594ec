//! The life of a run.

use std::fmt;
use std::str::FromStr;

/// Where a run stands. Whether it is paused is a mark beside its state, so that resuming goes back to where it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// The cutoff is fixed; payouts and exclusions are being written.
    Planning,
    /// Every affiliate with money due has a payout or an exclusion.
    Planned,
    /// The fleet works on it.
    Paying,
    /// Everybody is accounted for (guard G5).
    Settled,
    /// The reconciler found no discrepancy.
    Reconciled,
    /// The reconciler found some.
    Discrepant,
    /// What had not been sent is not sent. What had been is followed to its end.
    Cancelled,
}

/// A move that no rule allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a run that is {from} cannot become {to}")]
pub struct IllegalRunMove {
    /// Where it stood.
    pub from: RunState,
    /// Where it was to go.
    pub to: RunState,
}

impl RunState {
    /// All states.
    pub const ALL: [RunState; 7] = [
        RunState::Planning,
        RunState::Planned,
        RunState::Paying,
        RunState::Settled,
        RunState::Reconciled,
        RunState::Discrepant,
        RunState::Cancelled,
    ];

    /// The one place that says which moves are legal.
    pub fn to(self, to: RunState) -> Result<RunState, IllegalRunMove> {
        use RunState as S;
        match (self, to) {
            (S::Planning, S::Planned)
            | (S::Planned, S::Paying | S::Cancelled)
            | (S::Paying, S::Settled | S::Cancelled)
            // A later statement may show more, or what was missing.
            | (S::Settled | S::Reconciled | S::Discrepant, S::Reconciled | S::Discrepant)
            // Over rails without statements nothing more can be said once a discrepancy is gone.
            | (S::Reconciled | S::Discrepant, S::Settled) => Ok(to),
            (from, to) => Err(IllegalRunMove { from, to }),
        }
    }

    /// Whether the fleet may still work on it.
    pub fn is_open(self) -> bool {
        match self {
            RunState::Planning | RunState::Planned | RunState::Paying => true,
            RunState::Settled | RunState::Reconciled | RunState::Discrepant | RunState::Cancelled => false,
        }
    }

    /// The states from which `to` is legal, in the schema's words.
    pub fn sources(to: RunState) -> Vec<&'static str> {
        Self::ALL.iter().filter(|from| from.to(to).is_ok()).map(RunState::as_str).collect()
    }

    /// The schema's word.
    pub fn as_str(&self) -> &'static str {
        match self {
            RunState::Planning => "planning",
            RunState::Planned => "planned",
            RunState::Paying => "paying",
            RunState::Settled => "settled",
            RunState::Reconciled => "reconciled",
            RunState::Discrepant => "discrepant",
            RunState::Cancelled => "cancelled",
        }
    }
}

impl FromStr for RunState {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|state| state.as_str() == word).ok_or_else(|| format!("`{word}` is not a run state"))
    }
}

impl fmt::Display for RunState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_reconciler_reconciles_and_only_what_is_settled() {
        assert_eq!(RunState::sources(RunState::Reconciled), ["settled", "reconciled", "discrepant"]);
        assert_eq!(RunState::sources(RunState::Cancelled), ["planned", "paying"]);
    }

    #[test]
    fn these_moves_are_legal_and_no_others() {
        use RunState::*;
        let legal: [(RunState, &[RunState]); 7] = [
            (Planning, &[Planned]),
            (Planned, &[Paying, Cancelled]),
            (Paying, &[Settled, Cancelled]),
            (Settled, &[Reconciled, Discrepant]),
            (Reconciled, &[Settled, Reconciled, Discrepant]),
            (Discrepant, &[Settled, Reconciled, Discrepant]),
            (Cancelled, &[]),
        ];
        for (from, targets) in legal {
            let found: Vec<RunState> = RunState::ALL.into_iter().filter(|to| from.to(*to) == Ok(*to)).collect();
            assert_eq!(found, targets, "{from}");
            assert_eq!(from.is_open(), matches!(from, Planning | Planned | Paying), "{from}");
        }
    }
}
