//! The import's reader without database and files: so that hostile files can be tried by the million. Not for commands.

use crate::input::affiliates::Affiliates;
use crate::input::commissions::Commissions;
pub use crate::input::csv::{CsvError, CsvReader};
use crate::input::{FeedWriter, ReadError, Source, Table, read};
use payfleet_store::Feed;
use tokio::sync::mpsc;

/// Reads a file of affiliates: whether it would be handed to the store, or what is said to its author.
pub fn affiliates(file: Vec<u8>) -> Result<(), String> {
    judged(Affiliates::default(), file)
}

/// The same for a file of commissions.
pub fn commissions(file: Vec<u8>) -> Result<(), String> {
    judged(Commissions, file)
}

fn judged<T: Table>(mut table: T, file: Vec<u8>) -> Result<(), String> {
    let (feed, mut rows) = FeedWriter::<T::Chunk>::new();
    let read = read(&mut table, Source::of("FILE", file), feed);
    match (read, ended(&mut rows)) {
        (Ok(()), true) => Ok(()),
        (Err(ReadError::Problems(problems)), false) => Err(problems.report("FILE")),
        // The store imports exactly what was ended.
        (read, ended) => panic!("ended: {ended}, but {:?}", read.is_ok()),
    }
}

fn ended<C>(rows: &mut mpsc::Receiver<Feed<C>>) -> bool {
    std::iter::from_fn(|| rows.try_recv().ok()).any(|news| matches!(news, Feed::End))
}
