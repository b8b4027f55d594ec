//! Hands rows from a reading thread to the store, in chunks of bounded size through a bounded channel.

use payfleet_store::{AffiliateRows, CommissionRows, Feed};
use tokio::sync::mpsc;

/// A chunk of this size is worth a message of its own.
const CHUNK_BYTES: usize = 128 * 1024;
/// Chunks under way; with those at both ends this bounds what is in memory.
const CHUNKS_MAX: usize = 4;

/// Rows that are collected before they are handed on.
pub trait Chunk: Default + Send + 'static {
    /// How large it is, in bytes.
    fn size(&self) -> usize;

    /// Throws the rows away if there are many.
    fn clear_if_full(&mut self) {
        if self.size() >= CHUNK_BYTES {
            *self = Self::default();
        }
    }
}

impl Chunk for AffiliateRows {
    fn size(&self) -> usize {
        AffiliateRows::size(self)
    }
}

impl Chunk for CommissionRows {
    fn size(&self) -> usize {
        CommissionRows::size(self)
    }
}

/// The store takes no more rows. Why is known there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FeedClosed;

/// The reader's end. Dropped without [`FeedWriter::end`], it tells the store that nothing is to be imported.
pub struct FeedWriter<C> {
    chunk: C,
    sender: mpsc::Sender<Feed<C>>,
}

impl<C: Chunk> FeedWriter<C> {
    /// Both ends.
    pub fn new() -> (FeedWriter<C>, mpsc::Receiver<Feed<C>>) {
        let (sender, receiver) = mpsc::channel(CHUNKS_MAX);
        (FeedWriter { chunk: C::default(), sender }, receiver)
    }

    /// Where the next row goes.
    pub fn chunk(&mut self) -> &mut C {
        &mut self.chunk
    }

    /// Hands the chunk on if it is large enough. Blocks while the store is behind: not to be called on an async thread.
    pub fn flush_if_full(&mut self) -> Result<(), FeedClosed> {
        if self.chunk.size() < CHUNK_BYTES { Ok(()) } else { self.flush() }
    }

    /// Hands on what is left, and says that this was all.
    pub fn end(mut self) -> Result<(), FeedClosed> {
        self.flush()?;
        self.sender.blocking_send(Feed::End).map_err(|_| FeedClosed)
    }

    fn flush(&mut self) -> Result<(), FeedClosed> {
        let chunk = std::mem::take(&mut self.chunk);
        self.sender.blocking_send(Feed::Rows(chunk)).map_err(|_| FeedClosed)
    }
}
