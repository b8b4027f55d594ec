//! First hints to the workers. They only save the second that the sweeper would take; whatever goes wrong here is a
//! warning.

use payfleet_domain::Rail;
use payfleet_queue::{Hint, LOOKED_AT, QueueError};
use payfleet_store::chain;

use crate::failure::Failure;
use crate::ports::{Hints, SystemOfRecord};

/// Hints of a rail that nobody has read, at most. The sweeper publishes the rest as these are worked off, taking turns
/// between runs.
const WINDOW: usize = 16;

/// Publishes a hint for batches that are due and have none. Returns how many.
pub async fn publish(store: &dyn SystemOfRecord, queue: &dyn Hints) -> Result<usize, Failure> {
    let mut published = 0;
    for name in store.rails_open().await? {
        // A rail of another build: its workers have a sweeper too.
        let Ok(rail) = Rail::named(&name) else { continue };
        match publish_rail(store, queue, rail).await? {
            Ok(hints) => published += hints,
            Err(error) => {
                tracing::warn!(error = chain(&error), "hints were not published; the workers' sweeper will do it");
                break;
            }
        }
    }
    Ok(published)
}

async fn publish_rail(
    store: &dyn SystemOfRecord,
    queue: &dyn Hints,
    rail: &'static Rail,
) -> Result<Result<usize, QueueError>, Failure> {
    let outstanding = match queue.outstanding(rail.name, LOOKED_AT).await {
        Ok(outstanding) => outstanding,
        Err(error) => return Ok(Err(error)),
    };
    let room = WINDOW.saturating_sub(outstanding.waiting);
    if room == 0 {
        return Ok(Ok(0));
    }
    let due = store.batches_due(rail.name, outstanding.batches, room as i64).await?;
    let hints: Vec<Hint> = due.into_iter().map(|batch| Hint { batch }).collect();
    Ok(queue.publish(rail.name, &hints).await.map(|()| hints.len()))
}
