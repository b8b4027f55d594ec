//! What must hold of accounts and of whole runs: whatever was due is in a payout or an exclusion, and balances follow
//! from that.

/// What a run decided about an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Decided {
    /// The balance that the plan saw.
    pub carried: i64,
    /// What the payout or the exclusion is about.
    pub amount: i64,
}

/// What happened to one account in one run, by rows and never by instants: minor units of one currency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AccountFacts {
    /// What the run before left over, and what was due again in this run. Not known of runs from before that was
    /// written down.
    pub opening: Option<i64>,
    /// Earned in the run's window.
    pub earned: i64,
    /// Its payout or its exclusion.
    pub decided: Option<Decided>,
    /// The balance, less what the newest run left over and what became due again since.
    pub residual: i64,
}

impl AccountFacts {
    /// What neither payout nor exclusion took.
    pub fn skipped(&self) -> i128 {
        let taken = self.decided.map_or(0, |decided| decided.amount);
        match (self.opening, self.decided) {
            (Some(opening), _) => i128::from(opening) + i128::from(self.earned) - i128::from(taken),
            // Whatever it had before, this much is new.
            (None, Some(decided)) => i128::from(self.earned) + i128::from(decided.carried) - i128::from(taken),
            (None, None) => 0,
        }
    }
}

/// Everything that was due to the account is in a payout or an exclusion, and the plan saw the balance that there was:
/// nobody is left out.
pub fn nobody_is_skipped(facts: &AccountFacts) -> bool {
    let saw_the_balance = match (facts.opening, facts.decided) {
        (Some(opening), Some(decided)) => decided.carried == opening,
        _ => true,
    };
    facts.skipped() == 0 && saw_the_balance
}

/// The balance follows from the decisions. What was skipped is missing from the balance too; that is the same
/// difference, not another one.
pub fn balance_is_its_history(facts: &AccountFacts) -> bool {
    let residual = i128::from(facts.residual);
    residual == 0 || (!nobody_is_skipped(facts) && residual == facts.skipped())
}

/// How many accounts, and the sum of their amounts in minor units.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Total {
    /// How many.
    pub accounts: i64,
    /// How much.
    pub amount_minor: i128,
}

/// Guard G5 as a rule: whoever had money due at the cutoff is paid, refused, returned, held or cancelled, or excluded
/// with a reason; counts and sums add up to what was due. Both in one currency.
pub fn run_adds_up(due: Total, accounted_for: Total) -> bool {
    due == accounted_for
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_with_money_due_is_left_out() {
        let decided = Some(Decided { carried: 500, amount: 700 });
        let fine = AccountFacts { opening: Some(500), earned: 200, decided, residual: 0 };
        let nothing_due = AccountFacts { earned: -500, decided: None, ..fine };
        let before_that_was_written = AccountFacts { opening: None, ..fine };
        for facts in [fine, nothing_due, before_that_was_written] {
            assert!(nobody_is_skipped(&facts) && balance_is_its_history(&facts), "{facts:?}");
        }
        assert!(!nobody_is_skipped(&AccountFacts { earned: 201, ..fine }));
        assert!(!nobody_is_skipped(&AccountFacts { decided: None, ..fine }));
        assert!(!nobody_is_skipped(&AccountFacts { opening: Some(499), ..fine }));
        let saw_another_balance = Some(Decided { carried: 499, amount: 700 });
        assert!(!nobody_is_skipped(&AccountFacts { decided: saw_another_balance, ..fine }));
        assert!(!nobody_is_skipped(&AccountFacts { decided: saw_another_balance, ..before_that_was_written }));
        assert!(!balance_is_its_history(&AccountFacts { residual: -1, ..fine }));
        let left_out = AccountFacts { decided: None, residual: 700, ..fine };
        assert!(balance_is_its_history(&left_out), "what was left out is in the balance, and said already");
        assert!(!balance_is_its_history(&AccountFacts { residual: 701, ..left_out }));
    }
}
