//! The import's reader without database and files: so that hostile files can be tried by the million. Not for commands.

use crate::import::NOTHING;
use crate::input::affiliates::Affiliates;
use crate::input::commissions::Commissions;
use crate::input::{Expected, FeedWriter, ReadError, Table, read};
use payfleet_input::{How, Source};
use payfleet_store::Feed;
use tokio::sync::mpsc;

/// Reads a file of affiliates: whether it would be handed to the store, or what is said to its author.
pub fn affiliates(file: Vec<u8>, how: &How) -> Result<(), String> {
    judged(Affiliates, file, how)
}

/// The same for a file of commissions.
pub fn commissions(file: Vec<u8>, how: &How) -> Result<(), String> {
    judged(Commissions::default(), file, how)
}

fn judged<T: Table>(mut table: T, file: Vec<u8>, how: &How) -> Result<(), String> {
    let (feed, mut rows) = FeedWriter::<T::Chunk>::new();
    let (source, expected) = (Source::of("FILE", file), Expected::default());
    let read = read(&mut table, source, how, &expected, feed, |_| {});
    match (read, ended(&mut rows)) {
        (Ok(_), true) => Ok(()),
        (Err(ReadError::Problems(problems)), false) => Err(problems.report("FILE", NOTHING)),
        // The store imports exactly what was ended.
        (read, ended) => panic!("ended: {ended}, but {:?}", read.is_ok()),
    }
}

fn ended<C>(rows: &mut mpsc::Receiver<Feed<C>>) -> bool {
    std::iter::from_fn(|| rows.try_recv().ok()).any(|news| matches!(news, Feed::End))
}
