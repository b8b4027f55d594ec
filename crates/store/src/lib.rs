//! All SQL of Payfleet: the schema, the guards of the protocol, planning, imports and what the screens ask. Nothing
//! else speaks to Postgres.
//!
//! Each write of money is one explicit transaction that runs as a task of its own (see [`Store`]), so no caller can
//! cancel it half-way. Methods are named `noun_verb`; each statement carries its name in its first line, which is what
//! `pg_stat_statements` and the server's log show.

#![warn(missing_docs)]

mod alarm;
mod batch;
mod chunk;
mod close;
mod confirm;
mod connect;
mod control;
mod decision;
mod doubt;
mod funding;
mod generation;
mod hold;
mod import;

mod intent;
mod late;
mod lease;
mod locks;
mod method;
mod movement;
mod notice;
mod obstacle;
mod order;
mod outcomes;
mod payout;
mod people;
mod places;
mod plan;
mod presence;

mod reconcile;
mod record;
mod recovery;
mod returned;
mod row;
mod run;
mod run_errors;
mod schema;
mod session;
mod split;
mod sql;
mod status;
mod stop;
mod stray;
mod sweep;
mod tenant;
mod unfound;
mod views;
mod watched;

pub use alarm::{AlarmError, AlarmRow};
pub use close::{CloseVerdict, NotBalanced};
pub use confirm::{ConfirmError, Contest, Heard, WaitingReturn};
pub use connect::{Store, StoreError, chain};
pub use control::{ControlError, ControlLifted, ControlSet, RunControls};
pub use decision::WordRow;
pub use funding::{FundingRow, ResumeError};
pub use generation::{Mark, Memory, NoMark};
pub use hold::{Decision, HoldError, HoldRow, HoldSaid, RailAccount};
pub use import::{
    AffiliateRow, AffiliateRows, AffiliatesTarget, Change, Changes, CommissionRow, CommissionRows, Controls, Fault,
    Feed, ImportError, Imported, LateRow, PROBLEMS_SHOWN, Reversal, RowProblem, Said, Suspicion, SuspicionKind,
    Suspicions, Terms,
};

pub use intent::{Intent, IntentRefused};
pub use late::{CancelledRun, DueSince, MonthCount};
pub use lease::{Lease, LeasedBatch};
pub use method::{KindSaid, MethodUse};
pub use notice::{NamedPayment, NewNotice, PaymentName};
pub use order::Order;
pub use plan::{PlanLine, PlanProgress, Planned};

pub use payout::Source;
pub use people::{PeopleError, PersonRow, WhoError};
pub use presence::WorkerWords;
pub use reconcile::{
    AccountRead, AccountReading, Applied, Compared, Discrepancy, OpenBatches, Reconciliation, StatementAccount,
    StatementSource, Summary, SummaryLine, Told, Uncovered, Verdict,
};
pub use record::{Recorded, Report};
pub use recovery::{Recovery, RecoveryAccount, RecoveryError, RecoverySaid, Stray};
pub use run::{NewRun, RunRow};
pub use run_errors::{RunChangeError, RunCreateError};
pub use schema::SchemaState;
pub use split::SplitRefused;
pub use status::{BatchProgress, ReturnedPayout, RunAside, RunStatus};
pub use stop::{StopConfirmed, StopCounts, StopProgress, StopSeen};
pub use sweep::{SweepLock, Sweeper};
pub use tenant::{RailRemoved, TenantRail};
pub use views::{
    AffiliateView, Balance, CodeCount, Decided, DryPlan, Earned, Event, Excluded, InRun, LimitView, MethodView,
    Obstacle, OutcomeCount, PayoutFilter, PayoutRow, PayoutView, Placed, Waiting, Waits, Way, What, WhoPlaced,
};
pub use watched::Watched;
