//! What every program of the fleet needs around its work: exit codes, logs, secrets, health, shutdown.
//!
//! It knows nothing of payouts, Postgres or Redis, and holds no business rule; a program's own options stay with the
//! program.

pub mod exit;
pub mod health;
pub mod secret;
pub mod shutdown;
pub mod state;
pub mod telemetry;
pub mod tls;
