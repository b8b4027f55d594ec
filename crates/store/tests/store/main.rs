//! The operations of the store over a real Postgres, each file about one thing that they keep. One program: each would
//! link the same crates again.

#![allow(clippy::unwrap_used)]

mod accepted;
mod alarms;
mod cancel;
mod claims;
mod confirm;
mod doubt;
mod fences;
mod funding;
mod generations;
mod guards;
mod import;
mod methods;
mod notices;
mod parts;
mod people;
mod planning;
mod proofs;
#[path = "../support/snapshot.rs"]
mod snapshot;
mod stops;
#[path = "../support/mod.rs"]
mod support;
mod unfound;
mod upgrade;
mod views;
mod webhooks;
#[path = "../support/wire.rs"]
mod wire;
