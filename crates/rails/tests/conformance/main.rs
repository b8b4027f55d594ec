//! The suite that every adapter must pass: a server that does whatever a rail should not, and the one thing that may be
//! concluded from it. Above all: nothing that may have been paid is ever called refused or not executed.
//!
//! `hazards` names what every adapter must survive, one test each over all shapes and all that can be asked of an
//! adapter; the other files go into the details of the sandbox's answers. Another adapter joins by a line in `shapes`.
//!
//! It judges the adapters by their public face. What a well-behaved rail and the whole fleet do together is tested
//! elsewhere.

#![allow(clippy::unwrap_used)]

mod hazards;
mod look_up;
mod requests;
mod server;
mod shapes;
mod statement;
mod submit;

use shapes::{CALL_TIMEOUT, Order, Shape};
