//! What a rail is asked about: what was perhaps sent, and what it has accepted.

use std::time::Duration;

use payfleet_domain::{BatchState, HoldReason, KeyUnit, Outcome, PayoutId, PayoutState, silence_step};
use payfleet_rails::Finding;
use payfleet_store::StoreError;

use super::Worked;
use crate::Worker;
use crate::answers::Answers;
use crate::calls::Route;
use crate::funding::{Sent, Tally};
use crate::leases::Held;

impl Worker {
    /// What was perhaps sent, on a rail that can be asked: only what it does not know may be submitted, in the way of
    /// its class; nothing, if people have stopped it.
    pub(super) async fn resolve(&self, route: &Route<'_>, held: &Held) -> Result<Worked, StoreError> {
        let (batch, facts) = (held.lease.batch, &route.batch.facts);
        let orders = self.record.orders_read(batch, &PayoutState::UNANSWERED).await?;
        let asked = orders.len();
        let sent = orders.first().map(|order| Sent::nothing(order.amount.currency));
        let findings = route.look_up(orders).await;
        let (mut known, mut unfound, mut unanswered) = (Vec::new(), Vec::new(), 0_usize);
        for (payout, finding) in findings {
            match finding {
                Finding::Known(outcome) => known.push((payout, outcome)),
                Finding::NotFound => unfound.push((payout, Outcome::NotExecuted)),
                // A key makes it safe to ask for the payment once more; that nothing was paid, and that its money is
                // due again, needs more.
                Finding::NotYet if !route.rail.needs_dead_requests() && !facts.is_stopped(route.rail) => {}
                Finding::NotYet | Finding::Unanswered => unanswered += 1,
            }
        }
        let known_now = known.len();
        let tally = Tally::of_outcomes(known.iter().map(|(_, outcome)| outcome));
        let too_often = match unanswered {
            0 => None,
            _ => silence_step(route.rail, facts, known_now + unfound.len() > 0),
        };
        // Nobody waits for an answer about others that has no bearing on them: a request of their own is dead.
        let goes_apart = route.rail.needs_dead_requests() && unanswered > 0 && !unfound.is_empty();
        let goes_on = goes_apart && !facts.is_stopped(route.rail);
        if goes_apart {
            known.append(&mut unfound);
        }
        let release = known_now == asked || (unanswered > 0 && too_often.is_none() && !goes_on);
        if known_now > 0 || unanswered > 0 {
            let answers = Answers { release, ..Answers::of_lookup(known, unanswered) };
            let recorded = self.record_heard(route, sent, tally, answers).await?;
            if known_now == asked {
                return Ok(Worked::Recorded(recorded.state));
            }
        }
        if let Some(reason) = too_often {
            return self.hold(route.batch, reason).await;
        }
        if unanswered > 0 {
            tracing::info!(%batch, unanswered, "the rail did not say what became of them; asking again later");
        }
        if goes_on {
            return self.submit(route, held, false).await;
        }
        if unanswered > 0 {
            return Ok(Worked::Postponed);
        }
        if facts.is_stopped(route.rail) {
            // Rule `stop_sends_nothing`.
            if route.rail.key_unit == KeyUnit::Batch && facts.payouts.unsigned_abs() as usize > asked - known_now {
                // A rail that knows a part of what travelled as a whole contradicts itself.
                return self.hold(route.batch, HoldReason::StoppedInDoubt).await;
            }
            return Ok(self.record.batch_clear(held.lease).await?.map_or(Worked::NotFree, Worked::Recorded));
        }
        if !route.rail.needs_dead_requests() && !route.rail.key_is_certain(facts.first_sent_at, facts.now) {
            // Rule `expired_is_held`.
            return self.hold(route.batch, HoldReason::HorizonExpired).await;
        }
        self.submit(route, held, true).await
    }

    /// Asks for news of accepted payments.
    pub(super) async fn follow(&self, route: &Route<'_>) -> Result<Worked, StoreError> {
        let orders = self.record.orders_read(route.batch.lease.batch, &[PayoutState::Accepted]).await?;
        let asked = orders.len();
        let sent = orders.first().map(|order| Sent::nothing(order.amount.currency));
        let findings = route.follow(orders).await;
        let known: Vec<(PayoutId, Outcome)> = findings
            .into_iter()
            .filter_map(|(payout, finding)| match finding {
                Finding::Known(outcome) => Some((payout, outcome)),
                // What was accepted stays accepted: not being found is no proof of anything once it was there.
                Finding::NotFound | Finding::NotYet | Finding::Unanswered => None,
            })
            .collect();
        let unanswered = asked - known.len();
        let facts = &route.batch.facts;
        let is_late = route.rail.news_until(facts).is_none_or(|until| until <= facts.now);
        let tally = Tally::of_outcomes(known.iter().map(|(_, outcome)| outcome));
        let answers = Answers { release: !is_late, ..Answers::of_lookup(known, unanswered) };
        let recorded = self.record_heard(route, sent, tally, answers).await?;
        if is_late && recorded.state == BatchState::Accepted {
            return self.hold(route.batch, HoldReason::NoNews).await;
        }
        if is_late {
            self.record.lease_release(route.batch.lease, Duration::ZERO).await?;
        }
        Ok(Worked::Recorded(recorded.state))
    }
}
