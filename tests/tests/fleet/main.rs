//! Whole fleets: the real programs over servers of their own, each file about one kind of weather. One program: each would link the same crates again.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod canaries;
mod clocks;
mod corpus;
mod crashes;
mod crowds;
mod decisions;
mod elsewhere;
mod ends;
mod layers;
mod logs;
mod outages;
mod partitions;
mod poolers;
mod rails;
mod redis;
mod restore;
mod rotation;
mod runs;
mod silence;
mod statements;
mod stops;
