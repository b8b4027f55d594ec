//! The harness of the fleet tests: real programs, real Postgres, real Redis, real signals.
//!
//! Every [`Fleet`] has servers of its own on free ports in a folder of its own, and stops exactly the processes that it
//! started. The oracle is the sandbox's journal, never our database: see [`oracle`].

#![allow(clippy::unwrap_used, clippy::expect_used)] // a harness that cannot go on should stop there and say where

pub mod adapters;
pub mod bench;
pub mod chaos;
pub mod demo;
mod disk;
mod fleet;
pub mod hostile;
pub mod oracle;
mod process;
pub mod proxy;
pub mod real;
mod servers;

pub use disk::Disk;
pub use fleet::{Fleet, FleetOptions, Gateway, RunReport, Worker};
pub use process::{Process, free_port, wait_for};
pub use servers::{Postgres, Redis};

/// Of clients that speak to the harness's own servers. Those close what was idle for half a minute (hyper's
/// `header_read_timeout`), perhaps while a request is on its way: nothing so old is used.
pub fn http_client() -> reqwest::ClientBuilder {
    payfleet_runtime::tls::cryptography_set();
    reqwest::Client::builder().no_proxy().pool_idle_timeout(std::time::Duration::from_secs(10))
}
