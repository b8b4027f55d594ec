//! What people look at: who is paid in a run and who not, by name; the life of one payout; what stands between an
//! affiliate and its money; why work waits. Everything here only reads. What may be long comes in pages, each of which
//! begins behind the last row of the one before.

mod affiliate;
mod decided;
mod holds;
mod outcomes;
mod payout;
mod run;
mod waits;
mod workers;

pub use affiliate::{AffiliateView, Balance, InRun, LimitView, MethodView, Placed, WhoPlaced};
pub use decided::{Decided, DryPlan, Obstacle, Way};
pub(crate) use outcomes::outcomes_read;
pub use outcomes::{CodeCount, OutcomeCount};
pub use payout::{Earned, Event, PayoutView, What};
pub use run::{Excluded, PayoutFilter, PayoutRow};
pub use waits::{Waiting, Waits};
