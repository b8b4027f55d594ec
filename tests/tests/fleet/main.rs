//! Whole fleets: the real programs over servers of their own, each file about one kind of weather; and, beside them,
//! what bytes and the map of the crates may be. One program: each would link the same crates again.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod alerts;
mod canaries;
mod clocks;
mod corpus;
mod crashes;
mod crowds;
mod decisions;
mod disks;
mod ends;
mod funding;
mod layers;
mod locales;
mod logs;
mod outages;
mod partitions;
mod poolers;
mod rails;
mod real_rails;
mod redis;
mod restore;
mod rotation;
mod runs;
mod silence;
mod statements;
mod stops;
mod waits;
mod webhooks;
