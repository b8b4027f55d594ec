//! Rules of `domain` that statements must have word for word: by a bound list Postgres would not see that the index
//! over what is open is meant. Each is written here and nowhere else, and a test holds it against `domain`.

/// The states of a batch that has work left for the fleet: `BatchState::is_open`.
macro_rules! open_states {
    () => {
        "('ready', 'sending', 'accepted')"
    };
}
pub(crate) use open_states;

/// The states of a run that may still pay: `RunState::is_open`.
macro_rules! open_runs {
    () => {
        "('planning', 'planned', 'paying')"
    };
}
pub(crate) use open_runs;

/// The states of a batch of which payouts may have no answer: `BatchState::may_lack_answers`.
macro_rules! unanswered_batches {
    () => {
        "('ready', 'sending')"
    };
}
pub(crate) use unanswered_batches;

/// The states of a payout without an answer: `PayoutState::is_unanswered`.
macro_rules! unanswered {
    () => {
        "('planned', 'unknown')"
    };
}
pub(crate) use unanswered;

/// Whether a request of this attempt may still be executed, as far as answers tell: `AttemptResult::is_alive`.
macro_rules! alive {
    ($attempt:literal) => {
        concat!("(", $attempt, ".result IS NULL OR ", $attempt, ".result = 'unknown')")
    };
}
pub(crate) use alive;

/// Whether a request of this attempt may still reach the rail: `AttemptResult::may_arrive`.
macro_rules! may_arrive {
    ($attempt:literal) => {
        concat!("(", $attempt, ".result IS NULL OR ", $attempt, ".result IN ('unknown', 'superseded'))")
    };
}
pub(crate) use may_arrive;

/// What the rail is told to pay, in minor units of [`pays_currency`]. Answers, statements and movements speak of it;
/// the ledger, balances and the plan of `amount_minor`, which is due. The same, where nothing is converted.
macro_rules! pays_minor {
    ($payout:literal) => {
        concat!("coalesce(", $payout, ".pays_minor, ", $payout, ".amount_minor)")
    };
}
pub(crate) use pays_minor;

/// In which currency the rail is told to pay.
macro_rules! pays_currency {
    ($payout:literal) => {
        concat!("coalesce(", $payout, ".pays_currency, ", $payout, ".currency)")
    };
}
pub(crate) use pays_currency;

/// What a transfer adds to its payee's balance, outside of a plan: `TransferKind::takes_back`.
macro_rules! added_minor {
    ($transfer:literal) => {
        concat!(
            "CASE WHEN ",
            $transfer,
            ".kind IN (6, 10) THEN -",
            $transfer,
            ".amount_minor ELSE ",
            $transfer,
            ".amount_minor END"
        )
    };
}
pub(crate) use added_minor;

/// The kinds of transfers that say that the payee was paid: `TransferKind::pays`.
macro_rules! payments {
    () => {
        "(2, 6, 10)"
    };
}
pub(crate) use payments;

/// The kinds of transfers that move no balance but by a plan: those that no run counts.
macro_rules! planned_kinds {
    () => {
        "(0, 2)"
    };
}
pub(crate) use planned_kinds;

/// The month of an instant, in UTC, as columns `due_month` count them: since year 0.
macro_rules! month_of {
    ($at:literal) => {
        concat!(
            "(extract(year FROM ",
            $at,
            " AT TIME ZONE 'UTC') * 12 + extract(month FROM ",
            $at,
            " AT TIME ZONE 'UTC') - 1)::int"
        )
    };
}
pub(crate) use month_of;

/// A month that is counted so, as it is written: `2011-11`.
macro_rules! month_name {
    ($month:literal) => {
        concat!("to_char(", $month, " / 12, 'FM0000') || '-' || to_char(", $month, " % 12 + 1, 'FM00')")
    };
}
pub(crate) use month_name;

/// In which row of `listed` and `listed_by_file` a payout has its bit: its place in the plan, by 8,192.
macro_rules! block_of {
    ($payout:literal) => {
        concat!("((", $payout, " & 4294967295) >> 13)::int")
    };
}
pub(crate) use block_of;

/// The bit of a payout in its row.
macro_rules! bit_of {
    ($row:literal, $payout:literal) => {
        concat!("get_bit(", $row, ".bits, (", $payout, " & 8191)::int)")
    };
}
pub(crate) use bit_of;

#[cfg(test)]
mod tests {
    use payfleet_domain::{AttemptResult, BatchState, PayoutState, RunState, TransferKind};

    fn list<'a>(words: impl Iterator<Item = &'a str>) -> String {
        format!("('{}')", words.collect::<Vec<_>>().join("', '"))
    }

    #[test]
    fn statements_say_what_domain_says() {
        let batches = |of: fn(BatchState) -> bool| {
            list(BatchState::ALL.iter().filter(|state| of(**state)).map(BatchState::as_str))
        };
        assert_eq!(open_states!(), batches(BatchState::is_open));
        assert_eq!(unanswered_batches!(), batches(BatchState::may_lack_answers));
        assert_eq!(open_runs!(), list(RunState::ALL.iter().filter(|state| state.is_open()).map(RunState::as_str)));
        let kinds = |of: fn(TransferKind) -> bool| {
            let numbers = TransferKind::ALL.into_iter().filter(|kind| of(*kind)).map(|kind| kind.number().to_string());
            format!("({})", numbers.collect::<Vec<_>>().join(", "))
        };
        assert!(added_minor!("t").contains(&format!(".kind IN {} THEN -t.", kinds(TransferKind::takes_back))));
        assert_eq!(payments!(), kinds(TransferKind::pays));
        assert_eq!(planned_kinds!(), kinds(|kind| !kind.takes_back() && !kind.frees()));
        let payouts = PayoutState::ALL.iter().filter(|state| state.is_unanswered());
        assert_eq!(unanswered!(), list(payouts.map(PayoutState::as_str)));
        let alive = AttemptResult::ALL.into_iter().filter(|result| AttemptResult::is_alive(Some(*result)));
        assert!(AttemptResult::is_alive(None), "an attempt without a result is alive");
        let words: Vec<String> = alive.map(|result| format!("a.result = '{result}'")).collect();
        assert_eq!(alive!("a"), format!("(a.result IS NULL OR {})", words.join(" OR ")));
        let arriving = AttemptResult::ALL.iter().filter(|result| AttemptResult::may_arrive(Some(**result)));
        let arriving = list(arriving.map(AttemptResult::as_str));
        assert!(AttemptResult::may_arrive(None), "and may arrive");
        assert_eq!(may_arrive!("a"), format!("(a.result IS NULL OR a.result IN {arriving})"));
    }
}
