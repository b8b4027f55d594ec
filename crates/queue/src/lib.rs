//! All Redis: hints that wake workers, rate limits of the whole fleet, signs of life. Nothing else speaks to Redis.
//!
//! Redis decides nothing. A hint says "look at this batch" and holds no amount and no payee; whether there is work is
//! decided by Postgres when the batch is leased. Everything here may be lost, doubled, delayed or wiped at any moment,
//! and costs seconds, never a payment. So nothing here is retried inside: an error is handed up, and the next round
//! tries again.

#![warn(missing_docs)]

mod connect;
mod entry;
mod heartbeat;
mod hint;
mod rate;
mod reader;
mod seen;
mod stream;

pub use connect::{Queue, QueueError};
pub use entry::{Delivery, EntryId};
pub use heartbeat::WorkerBeat;
pub use hint::{Hint, HintError};
pub use reader::Reader;
pub use stream::{LOOKED_AT, Outstanding};
