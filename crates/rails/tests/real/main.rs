//! The real rails' dialects, over HTTP on loopback: a server that answers with bodies in the shape of each contract,
//! and the one thing that may be concluded from each. Every row of an answer table is a case here. Above all: nothing
//! that may have been paid is ever called refused or not executed.
//!
//! Where the public samples of the contracts are on this machine (`PAYFLEET_SPECS`), they are read too; the tests are
//! whole without them.

#![allow(clippy::unwrap_used)]

mod dialects;
mod hazards;
mod logs;
mod paypal_create;
mod paypal_follow;
mod paypal_statement;
mod samples;
mod server;
mod stripe;
mod stripe_statement;
mod tokens;
mod wise;
mod wise_more;
mod world;
