//! Stops as `store` has them.

use payfleet_domain::{BatchId, BatchState, Epoch, PayoutEvent, PayoutId, PayoutState, RunId, RunState};
use payfleet_store::{Lease, StopConfirmed, StopSeen, StoreError};

use super::{Attempt, Batch, Memory, is_past};

impl Memory {
    pub(super) fn find_stops(&self, leases: Vec<(BatchId, Epoch)>) -> Vec<StopSeen> {
        let seen = |(id, epoch): (BatchId, Epoch)| {
            let batch = self.batches.get(&id).filter(|batch| batch.epoch == epoch)?;
            let run = &self.runs[&batch.run];
            Some(StopSeen {
                lease: Lease { batch: id, epoch },
                is_stopped: run.paused || run.row.state == RunState::Cancelled,
                stop_no: run.stop_no,
                is_unconfirmed: batch.stop_seen < run.stop_no,
            })
        };
        leases.into_iter().filter_map(seen).collect()
    }

    pub(super) fn confirm_stops(&mut self, confirmed: &[StopConfirmed]) {
        for one in confirmed {
            if let Some(batch) = self.batches.get_mut(&one.lease.batch)
                && batch.epoch == one.lease.epoch
            {
                batch.stop_seen = batch.stop_seen.max(one.stop_no);
            }
        }
    }

    pub(super) fn clear(&mut self, lease: Lease) -> Result<Option<BatchState>, StoreError> {
        let now = self.now;
        let batch = self.batch(lease.batch)?;
        if batch.epoch != lease.epoch || batch.state != BatchState::Sending {
            return Ok(None);
        }
        batch.supersede(now);
        if batch.attempts.values().any(Attempt::is_alive) {
            return Ok(None);
        }
        batch.state = BatchState::Ready;
        batch.first_sent_at = None;
        batch.stalled_leases = 0;
        batch.lease_until = None;
        batch.available_at = Some(now);
        let batch = batch.clone();
        let payouts = self.in_batch(&batch);
        self.move_all(&payouts, PayoutEvent::Clear);
        self.settle_held(lease.batch);
        Ok(Some(self.batch(lease.batch)?.state))
    }

    /// Whether a batch that nobody works on has payouts that every attempt has said it did not execute.
    fn has_unsent_part(&self, batch: &Batch) -> bool {
        let planned = |payout: &PayoutId| self.payouts[payout].state == PayoutState::Planned;
        batch.state == BatchState::Sending
            && is_past(batch.lease_until, self.now)
            && batch.attempts.values().all(|attempt| attempt.result.is_some())
            && self.in_batch(batch).iter().any(planned)
    }

    pub(super) fn has_unsent(&self, run: RunId) -> bool {
        let mut batches = self.batches.values().filter(|batch| batch.run == run);
        batches.any(|batch| batch.state == BatchState::Ready || self.has_unsent_part(batch))
    }

    pub(super) fn cancel_unsent(&mut self, run: RunId) -> Result<u64, StoreError> {
        let mut cancelled = 0;
        let of_run: Vec<BatchId> =
            self.batches.iter().filter(|(_, batch)| batch.run == run).map(|(id, _)| *id).collect();
        for id in of_run {
            let batch = self.batches[&id].clone();
            if batch.state == BatchState::Ready {
                self.hold_known(id)?;
                cancelled += self.set_free(&self.in_batch(&batch), PayoutState::Cancelled, PayoutEvent::Cancel);
                let is_open =
                    |id: &PayoutId| matches!(self.payouts[id].state, PayoutState::Accepted | PayoutState::Held);
                if self.in_batch(&batch).iter().any(is_open) {
                    self.settle_held(id);
                } else {
                    let batch = self.batch(id)?;
                    batch.state = BatchState::Cancelled;
                    batch.lease_until = None;
                }
            } else if self.has_unsent_part(&batch) {
                cancelled += self.cancel_part(id)?;
                self.settle_held(id);
            }
        }
        Ok(cancelled + self.cancel_controlled(run)?)
    }

    /// Cancels what provably was not sent; while an attempt has no result, that is nothing.
    pub(super) fn cancel_part(&mut self, id: BatchId) -> Result<u64, StoreError> {
        let batch = self.batch(id)?.clone();
        if batch.attempts.values().any(|attempt| attempt.result.is_none()) {
            return Ok(0);
        }
        Ok(self.set_free(&self.in_batch(&batch), PayoutState::Cancelled, PayoutEvent::Cancel))
    }
}
