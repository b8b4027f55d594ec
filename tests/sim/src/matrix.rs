//! The fault matrix: every step of the protocol under every fault. A cell is hit when the fault strikes at that step, right before or right after it was
//! done.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Mutex;

/// The arrows of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    Plan,
    Publish,
    Read,
    Lease,
    Intent,
    Call,
    Record,
    Acknowledge,
    Reclaim,
    Sweep,
    Close,
    Reconcile,
    /// An operator's command.
    Operate,
}

/// What can go wrong at any of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    CrashBefore,
    CrashAfter,
    PausePastLease,
    PartitionFromRedis,
    PartitionFromPostgres,
    PartitionFromRail,
    /// What was asked arrives twice.
    Duplicate,
    /// What was asked is done, and the answer lost.
    Lost,
    Flushall,
    StaleFailover,
    PostgresRestart,
    /// The rail takes the payment and does not answer in time.
    TimeoutAfterAccept,
    RateLimited,
    ServerError,
    Malformed,
    ClockStep,
    /// An operator pauses a run while the step is done.
    RunPaused,
    /// And thinks better of it at once.
    RunPausedBriefly,
    RunCancelled,
    /// A rail pays once more what it has paid.
    PaidTwice,
    /// It pays what it had refused.
    PaidAfterRefusal,
    /// It executes a request that was lost, when it is long dead.
    ExecutedLate,
    /// Money that it paid comes back.
    GivenBack,
    /// It refuses what it had accepted.
    RefusedLate,
    /// Its statement does not have the last moments yet.
    StatementLags,
}

pub const STEPS: [Step; 13] = [
    Step::Plan,
    Step::Publish,
    Step::Read,
    Step::Lease,
    Step::Intent,
    Step::Call,
    Step::Record,
    Step::Acknowledge,
    Step::Reclaim,
    Step::Sweep,
    Step::Close,
    Step::Reconcile,
    Step::Operate,
];

pub const FAULTS: [Fault; 25] = [
    Fault::CrashBefore,
    Fault::CrashAfter,
    Fault::PausePastLease,
    Fault::PartitionFromRedis,
    Fault::PartitionFromPostgres,
    Fault::PartitionFromRail,
    Fault::Duplicate,
    Fault::Lost,
    Fault::Flushall,
    Fault::StaleFailover,
    Fault::PostgresRestart,
    Fault::TimeoutAfterAccept,
    Fault::RateLimited,
    Fault::ServerError,
    Fault::Malformed,
    Fault::ClockStep,
    Fault::RunPaused,
    Fault::RunPausedBriefly,
    Fault::RunCancelled,
    Fault::PaidTwice,
    Fault::PaidAfterRefusal,
    Fault::ExecutedLate,
    Fault::GivenBack,
    Fault::RefusedLate,
    Fault::StatementLags,
];

impl Fault {
    /// Whether it is what somebody does on purpose, meanwhile. In few seeds, or most runs would end by it.
    pub fn is_an_act(self) -> bool {
        matches!(self, Fault::RunPaused | Fault::RunPausedBriefly | Fault::RunCancelled)
    }

    /// Whether it is what a rail does after its first answer.
    pub fn is_an_afterthought(self) -> bool {
        use Fault::{ExecutedLate, GivenBack, PaidAfterRefusal, PaidTwice, RefusedLate, StatementLags};
        matches!(self, PaidTwice | PaidAfterRefusal | ExecutedLate | GivenBack | RefusedLate | StatementLags)
    }
}

/// How often each cell was hit, over many seeds.
#[derive(Debug, Default)]
pub struct Matrix(Mutex<BTreeMap<(Step, Fault), u64>>);

impl Matrix {
    /// Marks a cell.
    pub fn hit(&self, step: Step, fault: Fault) {
        *self.cells().entry((step, fault)).or_default() += 1;
    }

    /// The cells that were never hit.
    pub fn unhit(&self) -> Vec<(Step, Fault)> {
        let cells = self.cells();
        let all = STEPS.iter().flat_map(|step| FAULTS.iter().map(|fault| (*step, *fault)));
        all.filter(|cell| !cells.contains_key(cell)).collect()
    }

    fn cells(&self) -> std::sync::MutexGuard<'_, BTreeMap<(Step, Fault), u64>> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner) // counters, always whole
    }
}

impl fmt::Display for Matrix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cells = self.cells();
        write!(f, "{:<22}", "")?;
        STEPS.iter().try_for_each(|step| write!(f, "{:>12}", format!("{step:?}").to_lowercase()))?;
        for fault in FAULTS {
            write!(f, "\n{:<22}", format!("{fault:?}"))?;
            for step in STEPS {
                write!(f, "{:>12}", cells.get(&(step, fault)).copied().unwrap_or(0))?;
            }
        }
        writeln!(f)
    }
}
