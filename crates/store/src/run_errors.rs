//! Why a run is not made, or not changed; the way out is part of the text.

use payfleet_domain::{RunId, RunState};

use crate::connect::StoreError;

/// Why a run cannot be created.
#[derive(Debug, thiserror::Error)]
pub enum RunCreateError {
    /// Its window would end before the last one did.
    #[error(
        "period {period} ended before the last cutoff, that of {last_period}: what was due then belongs to later runs; \
         runs are created in the order of their periods"
    )]
    OutOfOrder {
        /// The asked one.
        period: String,
        /// The tenant's newest.
        last_period: String,
    },
    /// Months before it have money due and were never run: their money would be paid with it.
    #[error(
        "before {period}, {} never run and {} money due; a run of {period} closes {} and pays that money too: \
         run {} first, or say --skip-months",
        if months.len() == 1 { format!("{} was", months[0]) } else { format!("{} were", months.join(", ")) },
        if months.len() == 1 { "has" } else { "have" },
        if months.len() == 1 { "it" } else { "them" },
        months[0],
    )]
    SkipsMonths {
        /// The asked one.
        period: String,
        /// Those that it would close, in order.
        months: Vec<String>,
    },
    /// A further run of a period needs the one before it.
    #[error("run {sequence} of period {period} needs run {before} of it first", before = sequence - 1)]
    SequenceGap {
        /// The asked period.
        period: String,
        /// The asked sequence.
        sequence: i16,
    },
    /// The tenant's last run is still being planned.
    #[error("run {0} of this tenant is still being planned; `tick` goes on with it, try again after that")]
    StillPlanning(RunId),
    /// The period has not ended.
    #[error("period {0} has not ended yet; its cutoff is its last instant in UTC")]
    NotOver(String),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a run's state was not changed.
#[derive(Debug, thiserror::Error)]
pub enum RunChangeError {
    /// No such run.
    #[error("there is no run {0}; `status` lists them")]
    Unknown(RunId),
    /// Its state does not allow it.
    #[error("run {run} is {state} and cannot be {wanted}")]
    Illegal {
        /// The run.
        run: RunId,
        /// Where it stands.
        state: RunState,
        /// What was asked.
        wanted: &'static str,
    },
    /// An alarm of it waits for a person.
    #[error(
        "run {0} has alarms that nobody has answered: `alarms list` shows them, and when each is answered it can be \
         resumed"
    )]
    Alarmed(RunId),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}
