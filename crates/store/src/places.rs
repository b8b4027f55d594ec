//! How many connections one process may open at once: its share of what the server allows to all.
//!
//! The pool's own `resize` is no help: of places that are free it gives none up (deadpool 0.13), and gives more with
//! each growth.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Left to others: commands, reconcilers, the sweeper's lock, whoever looks after connections, and the places that only
/// a superuser has.
const LEFT: u32 = 10;
/// With fewer a process that works on several batches waits for itself.
const LEAST: u32 = 3;

/// Places for connections.
#[derive(Debug)]
pub(crate) struct Places {
    free: Arc<Semaphore>,
    most: u32,
    share: Mutex<Share>,
}

#[derive(Debug)]
struct Share {
    now: u32,
    /// Places that are to be given up, and are in use.
    owed: u32,
}

impl Places {
    /// So many, at most.
    pub(crate) fn new(most: u32) -> Places {
        Places { free: Arc::new(Semaphore::new(most as usize)), most, share: Mutex::new(Share { now: most, owed: 0 }) }
    }

    /// Waits for one. It is given back when it is dropped.
    pub(crate) async fn take(&self) -> Option<OwnedSemaphorePermit> {
        self.free.clone().acquire_owned().await.ok() // never closed
    }

    /// So many processes share what the server allows.
    pub(crate) fn share(&self, server: u32, processes: u32) {
        let wanted = (server.saturating_sub(LEFT) / processes.max(1)).clamp(LEAST.min(self.most), self.most);
        // Both numbers are changed together, by what cannot fail.
        let mut share = self.share.lock().unwrap_or_else(PoisonError::into_inner);
        if wanted >= share.now {
            let more = wanted - share.now;
            let kept = more.min(share.owed);
            share.owed -= kept;
            self.free.add_permits((more - kept) as usize);
        } else {
            share.owed += share.now - wanted;
        }
        share.now = wanted;
        // Those in use are given up when they are free at the next look.
        let given_up = self.free.forget_permits(share.owed as usize);
        share.owed -= u32::try_from(given_up).unwrap_or(share.owed);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[tokio::test]
    async fn a_share_is_given_up_as_places_are_free_and_taken_again() {
        let places = Places::new(8);
        let free = || places.free.available_permits();
        places.share(100, 1);
        assert_eq!(free(), 8, "alone, all");
        let mut taken = Vec::new();
        for _ in 0..6 {
            taken.push(places.take().await.unwrap());
        }
        places.share(100, 30);
        assert_eq!(free(), 0, "six are in use, and three are too many");
        taken.truncate(2);
        places.share(100, 30);
        assert_eq!(free(), 1);
        places.share(100, 18);
        assert_eq!(free(), 3, "five");
        taken.clear();
        places.share(100, 1_000);
        assert_eq!(free(), 3, "three at least");
        places.share(1_000, 2);
        assert_eq!(free(), 8);
        let one = Places::new(1);
        one.share(100, 30);
        assert_eq!(one.free.available_permits(), 1);
    }
}
