//! The sandbox rail: an HTTP server that pays nobody, writes a durable journal of what it would have paid, and
//! misbehaves on demand.
//!
//! It is the judge of the fleet, so it shares no code with what it judges: not the domain, and not the adapter that
//! calls it.

mod admin;
mod core;
mod dialect;
pub mod engine;
mod fault_config;
pub mod faults;
pub mod journal;
mod ledger;
mod lies;
mod limit;
mod movement;
pub mod options;
mod paypal;
pub mod server;
mod shapes;
mod statement;
mod stripe;
mod wire;
mod wise;
