//! The simulator: the decisions of coordinator, worker, sweeper and reconciler, as they are shipped, against a system
//! of record, a queue, rails and a clock that are a seeded scheduler's. Every await is a place to crash, pause, lose,
//! double, reorder, or to time out after the deed.
//!
//! A seed draws a scenario, a profile of faults and every event. After a phase of faults comes peace, in which
//! everything must end within a bounded time; then the rails' own journal is held against the plan. One seed is one
//! story, told again exactly by the same seed.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a harness that cannot go on should stop there and say where

mod afterthought;
pub mod backend;
mod controls;
mod files;
pub mod fleet;
mod judge;
pub mod matrix;
pub mod memory;
mod others;
mod people;
pub mod postgres;
mod queue;
mod rail;
mod record;
pub mod scheduler;
mod story;
mod world;

pub use story::{Story, scenario, tell};

use time::OffsetDateTime;
use time::macros::datetime;

/// When every simulation begins: after the months that it pays.
pub const EPOCH: OffsetDateTime = datetime!(2026-03-05 00:00 UTC);
