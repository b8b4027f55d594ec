//! The contract of the sandbox rail, against the real program over real connections.
#![allow(clippy::unwrap_used)]

mod adapters;
mod faults;
mod groups;
mod honest;
mod later;
mod lies;
mod lookup;
mod payout;
mod paypal;
mod paypal_statement;
mod process;
mod rail;
mod statement;
mod stripe;
mod stripe_later;
mod vendors;
mod webhooks;
mod wise;
mod wise_course;
