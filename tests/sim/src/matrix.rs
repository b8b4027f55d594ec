//! The fault matrix: every step of the protocol under every fault. A cell is hit when the fault strikes at that step,
//! right before or right after it was done.

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
    /// Of an intent without an answer.
    Withdraw,
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

impl Step {
    /// Whether thousands of seeds bring the two together. A fault has struck already where something is taken back, and
    /// what people and rails do rarely comes at just that moment too.
    fn meets(self, fault: Fault) -> bool {
        self != Step::Withdraw || !(fault.is_an_act() || fault.is_an_afterthought())
    }
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
    /// Somebody stops one payout.
    PayoutStopped,
    /// Somebody puts an affiliate on hold.
    AffiliateHeld,
    /// Somebody lifts one of the two.
    ControlLifted,
    /// Two people who have looked say what became of a payout that is held in doubt.
    HoldDecided,
    /// Somebody, or two, say that it was not paid, and have not looked.
    HoldDecidedRashly,
    /// The same person says it twice.
    HoldSaidTwice,
    /// Two say different things.
    HoldContradicted,
    /// Somebody hands in a part of a rail's statement as a file.
    FileHandedIn,
    /// One that was cut at the end of a line.
    FileCut,
    /// One twice.
    FileAgain,
    /// One with a return that the rail knows nothing of.
    FileForged,
    /// Somebody who has looked, or who told it, confirms a return that a file tells.
    ReturnConfirmed,
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

pub const STEPS: [Step; 14] = [
    Step::Plan,
    Step::Publish,
    Step::Read,
    Step::Lease,
    Step::Intent,
    Step::Withdraw,
    Step::Call,
    Step::Record,
    Step::Acknowledge,
    Step::Reclaim,
    Step::Sweep,
    Step::Close,
    Step::Reconcile,
    Step::Operate,
];

pub const FAULTS: [Fault; 37] = [
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
    Fault::PayoutStopped,
    Fault::AffiliateHeld,
    Fault::ControlLifted,
    Fault::HoldDecided,
    Fault::HoldDecidedRashly,
    Fault::HoldSaidTwice,
    Fault::HoldContradicted,
    Fault::FileHandedIn,
    Fault::FileCut,
    Fault::FileAgain,
    Fault::FileForged,
    Fault::ReturnConfirmed,
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
        matches!(self, Fault::RunPaused | Fault::RunPausedBriefly | Fault::RunCancelled) || self.is_of_people()
    }

    /// Whether it is about single payouts and payees, and not about a run.
    pub fn is_of_people(self) -> bool {
        self.is_a_control() || self.is_a_decision() || self.is_a_file()
    }

    /// Whether it sets or lifts a control.
    pub fn is_a_control(self) -> bool {
        matches!(self, Fault::PayoutStopped | Fault::AffiliateHeld | Fault::ControlLifted)
    }

    /// Whether it is about what is held in doubt.
    pub fn is_a_decision(self) -> bool {
        use Fault::{HoldContradicted, HoldDecided, HoldDecidedRashly, HoldSaidTwice};
        matches!(self, HoldDecided | HoldDecidedRashly | HoldSaidTwice | HoldContradicted)
    }

    /// Whether it is about files.
    pub fn is_a_file(self) -> bool {
        use Fault::{FileAgain, FileCut, FileForged, FileHandedIn, ReturnConfirmed};
        matches!(self, FileHandedIn | FileCut | FileAgain | FileForged | ReturnConfirmed)
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

    /// The cells that were never hit, and should have been.
    pub fn unhit(&self) -> Vec<(Step, Fault)> {
        let cells = self.cells();
        let all = STEPS.iter().flat_map(|step| FAULTS.iter().map(|fault| (*step, *fault)));
        all.filter(|(step, fault)| !cells.contains_key(&(*step, *fault)) && step.meets(*fault)).collect()
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
