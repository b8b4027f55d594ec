//! The coordinator's commands as people and cron give them: the real program over a real Postgres. One program: each
//! would link the same crates again.

#![allow(clippy::unwrap_used)]

mod alarms;
mod bad_input;
mod bounds;
mod controls;
mod destinations;
mod doors;
mod files;
mod harness;
mod import;
mod people;
mod runbook;
mod runs;
mod status;
mod views;
