//! Has the batches looked at that notices name: at once, and then the less often the more is said of one.
//!
//! A rail tells of each of a thousand items of a batch, and each look at the batch costs calls that payments need. So a
//! batch is woken by the first notice, and by all that follow within a few seconds together; what is said last always
//! wakes it. All of this is in memory: what is lost with it costs time.

use std::collections::{HashMap, HashSet, hash_map};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use payfleet_domain::BatchId;
use payfleet_store::{NamedPayment, PaymentName, Store, StoreError};
use tokio::sync::Notify;
use tokio::time::Instant;

/// Payments that wait to be looked up, at most: a batch of PayPal's is one, and its rail is asked anyway.
const MOST: usize = 20_000;
/// Looked up in one go.
const TOGETHER: usize = 1_000;
/// Between two looks, while there is something: so many times what the last one took, and never less than the first nor
/// more than the second of these. A rail's name is looked for among all that its account has accepted, which takes a
/// third of a second of 100,000 payouts.
const SHARE: u32 = 10;
const PACE: Duration = Duration::from_millis(200);
const SLOWEST: Duration = Duration::from_secs(10);
/// Until a batch is woken again, first and at most. At most it is what workers wait for news themselves.
const FIRST: Duration = Duration::from_secs(2);
const LONGEST: Duration = Duration::from_secs(60);
/// Until a batch that somebody works on is tried again.
const BUSY: Duration = Duration::from_secs(1);
/// Of which nothing was said for so long is as if nothing ever was.
const FORGOTTEN: Duration = Duration::from_secs(180);
/// A rail's name that is not recorded yet is looked up again after these waits: the notice was faster than the answer.
const LATER: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(5), Duration::from_secs(30)];

/// A payment to be looked up.
struct Lookup {
    at: Instant,
    tried: usize,
}

/// A batch that something was said of.
struct Said {
    /// When it is woken, if something was said since it last was.
    due: Option<Instant>,
    /// Not before.
    earliest: Instant,
    gap: Duration,
}

/// What was heard and is not seen to yet.
#[derive(Default)]
pub(super) struct Waker {
    heard: Mutex<HashMap<NamedPayment, Lookup>>,
    begin: Notify,
}

impl Waker {
    /// Something was said of this payment.
    pub(super) fn hear(&self, payment: NamedPayment) {
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner); // each change is whole
        if heard.len() >= MOST && !heard.contains_key(&payment) {
            metrics::counter!("payfleet_notices_not_woken_total").increment(1);
            return;
        }
        heard.insert(payment, Lookup { at: Instant::now(), tried: 0 });
    }

    /// What was heard is seen to.
    pub(super) fn begin(&self) {
        self.begin.notify_one();
    }

    /// Sees to it until dropped.
    pub(super) async fn run(self: Arc<Self>, store: Store) {
        let mut batches = HashMap::new();
        loop {
            let began = Instant::now();
            if let Err(error) = self.look(&store, &mut batches).await {
                tracing::warn!(%error, "no batch can be woken now; workers look at them by themselves");
                tokio::time::sleep(FIRST).await;
            }
            let rest = (began.elapsed() * SHARE).clamp(PACE, SLOWEST);
            let next = self.next(&batches);
            tokio::select! {
                () = self.begin.notified() => {}
                () = tokio::time::sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {}
            }
            tokio::time::sleep(rest).await;
        }
    }

    /// When something is to be done, whatever is heard.
    fn next(&self, batches: &HashMap<BatchId, Said>) -> Option<Instant> {
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let lookups = heard.values().map(|lookup| lookup.at);
        lookups.chain(batches.values().filter_map(|said| said.due)).min()
    }

    async fn look(&self, store: &Store, batches: &mut HashMap<BatchId, Said>) -> Result<(), StoreError> {
        let now = Instant::now();
        let mut names = self.take(now);
        if !names.is_empty() {
            let asked: Vec<NamedPayment> = names.iter().map(|(name, _)| name.clone()).collect();
            let found = match store.notices_batches(asked).await {
                Ok(found) => found,
                Err(error) => {
                    self.give_back(names);
                    return Err(error);
                }
            };
            let placed: HashSet<usize> = found.iter().map(|(place, _)| *place).collect();
            for (_, batch) in found {
                say(batches, batch, now);
            }
            let mut place = 0..;
            names.retain(|_| place.next().is_some_and(|place| !placed.contains(&place)));
            // One that is named by our own number, and not open, is done.
            names.retain(|(name, lookup)| matches!(name.name, PaymentName::Reference(_)) && lookup.tried < LATER.len());
            for (_, lookup) in &mut names {
                lookup.at = now + LATER[lookup.tried];
                lookup.tried += 1;
            }
            self.give_back(names);
        }
        let due: Vec<BatchId> =
            batches.iter().filter(|(_, said)| said.due.is_some_and(|due| due <= now)).map(|(id, _)| *id).collect();
        if !due.is_empty() {
            let open = store.notices_wake(due.clone()).await?;
            let woken = open.values().filter(|is_woken| **is_woken).count();
            metrics::counter!("payfleet_batches_woken_total").increment(woken as u64);
            for batch in due {
                if let Some(said) = batches.get_mut(&batch) {
                    settle(said, open.get(&batch).copied(), now);
                }
            }
        }
        batches.retain(|_, said| said.due.is_some() || said.earliest + FORGOTTEN > now);
        Ok(())
    }

    /// Those that are to be looked up now.
    fn take(&self, now: Instant) -> Vec<(NamedPayment, Lookup)> {
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let due: Vec<NamedPayment> =
            heard.iter().filter(|(_, lookup)| lookup.at <= now).map(|(name, _)| name.clone()).take(TOGETHER).collect();
        due.into_iter().filter_map(|name| heard.remove_entry(&name)).collect()
    }

    /// To be looked up later, unless more was heard of it meanwhile.
    fn give_back(&self, names: Vec<(NamedPayment, Lookup)>) {
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, lookup) in names {
            heard.entry(name).or_insert(lookup);
        }
    }
}

/// Something was said of a batch.
fn say(batches: &mut HashMap<BatchId, Said>, batch: BatchId, now: Instant) {
    match batches.entry(batch) {
        hash_map::Entry::Vacant(entry) => {
            entry.insert(Said { due: Some(now), earliest: now, gap: FIRST });
        }
        hash_map::Entry::Occupied(mut entry) => {
            let said = entry.get_mut();
            said.due.get_or_insert(said.earliest.max(now));
        }
    }
}

/// A batch was woken. Or somebody works on it, and what they found out may be older than what was said: it is woken
/// when they have finished. Or it is done.
fn settle(said: &mut Said, is_woken: Option<bool>, now: Instant) {
    match is_woken {
        Some(true) => {
            said.due = None;
            said.earliest = now + said.gap;
            said.gap = (said.gap * 2).min(LONGEST);
        }
        Some(false) => said.due = Some(now + BUSY),
        None => said.due = None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_more_is_said_of_a_batch_the_less_often_it_is_woken_and_what_is_said_last_always_wakes_it() {
        let (mut batches, mut now, mut woken) = (HashMap::new(), Instant::now(), Vec::new());
        let begun = now;
        for second in 0..300_u64 {
            if second < 200 {
                say(&mut batches, BatchId(1), now);
            }
            let said = batches.get_mut(&BatchId(1)).expect("it was said");
            if said.due.is_some_and(|due| due <= now) {
                settle(said, Some(true), now);
                woken.push((now - begun).as_secs());
            }
            now += Duration::from_secs(1);
        }
        assert_eq!(woken, [0, 2, 6, 14, 30, 62, 122, 182, 242], "and nothing is said after 200");
    }

    #[test]
    fn a_batch_that_is_worked_on_is_woken_afterwards_and_one_that_is_done_is_not() {
        let (mut batches, now) = (HashMap::new(), Instant::now());
        say(&mut batches, BatchId(1), now);
        let said = batches.get_mut(&BatchId(1)).expect("it was said");
        settle(said, Some(false), now);
        assert_eq!(said.due, Some(now + BUSY));
        settle(said, None, now);
        assert_eq!(said.due, None);
    }
}
