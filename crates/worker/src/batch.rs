//! The way of one batch: lease (G1), decide, intent (G2), submit, record (G3, G4). Two transactions with the call
//! between them; none is open during a call.

mod ask;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use payfleet_domain::{
    AttemptNo, BatchId, BatchKey, BatchState, Follow, HoldReason, NextStep, PayoutId, Rail, next_step,
};
use payfleet_rails::{Account, Credential};
use payfleet_store::{IntentRefused, Lease, LeasedBatch, Recorded, Report, StoreError, chain};
use time::OffsetDateTime;

use crate::Worker;
use crate::answers::{Answers, Counts};
use crate::calls::{Permission, Route};
use crate::funding::{Sent, Tally};
use crate::leases::Held;
use crate::spool::PageNo;

/// The longest wait between two tries of what must be recorded.
const INSISTS: Duration = Duration::from_secs(2);

/// What became of a look at a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Worked {
    /// Somebody else has it, or it is finished, or not due.
    NotFree,
    /// Answers was recorded; the batch stands there now.
    Recorded(BatchState),
    /// Handed back without news, to be looked at later.
    Postponed,
    /// Its payouts wait for people now.
    Held(HoldReason),
    /// Replaced by its parts.
    Split,
}

impl Worked {
    /// The word in logs and metrics.
    pub fn code(&self) -> &'static str {
        match self {
            Worked::NotFree => "not_free",
            Worked::Recorded(state) => state.as_str(),
            Worked::Postponed => "postponed",
            Worked::Held(_) => "held",
            Worked::Split => "split",
        }
    }
}

impl Worker {
    /// Does what a batch needs next. Errors are of the database; the batch is then as it was left, and its lease runs
    /// out by itself.
    pub async fn work_on(&self, batch: BatchId) -> Result<Worked, StoreError> {
        let asked = self.clock.now();
        let Some(leased) = self.record.lease_acquire(batch, &self.name, self.options.lease_ttl).await? else {
            return Ok(Worked::NotFree);
        };
        let held = self.leases.hold(leased.lease, asked, asked + self.options.lease_ttl);
        let rail = Rail::named(&leased.rail).map_err(|unknown| StoreError::Broken(unknown.to_string()))?;
        let Some(adapter) = self.registry.adapter(rail.name) else {
            tracing::error!(
                %batch, rail = rail.name,
                "this worker has no access to the rail; leaving the batch to others"
            );
            return self.postpone(&leased, self.options.backoff_longest).await;
        };
        let credential = match self.credential(&leased) {
            Ok(credential) => credential,
            Err(error) => {
                tracing::error!(%batch, rail = rail.name, "{}", chain(&error));
                return self.postpone(&leased, self.options.backoff_longest).await;
            }
        };
        let route = Route {
            worker: self,
            adapter: adapter.as_ref(),
            rail,
            account: Account { name: leased.account.clone(), credential },
            batch_key: BatchKey::derive(leased.run_key, leased.first, leased.last),
            batch: &leased,
        };
        match next_step(rail, &leased.facts) {
            NextStep::Submit => self.submit(&route, &held, false).await,
            NextStep::LookUp => self.resolve(&route, &held).await,
            NextStep::Follow => self.follow(&route).await,
            NextStep::WaitUntil(instant) | NextStep::AwaitStatement(instant) => {
                let wait = instant - leased.facts.now;
                self.postpone(&leased, wait.try_into().unwrap_or(Duration::ZERO)).await
            }
            NextStep::Split => {
                tracing::warn!(%batch, payouts = leased.facts.payouts, "every worker on it died; splitting it");
                let split = self.record.batch_split(leased.lease).await?;
                Ok(split.map_or(Worked::NotFree, |()| Worked::Split))
            }
            NextStep::Hold(reason) => self.hold(&leased, reason).await,
            NextStep::Nothing => self.postpone(&leased, self.options.backoff_longest).await,
        }
    }

    fn credential(&self, leased: &LeasedBatch) -> Result<Option<Credential>, payfleet_runtime::secret::SecretError> {
        let Some(name) = &leased.credential else { return Ok(None) };
        let secret = payfleet_runtime::secret::rail_credential(name)?;
        Ok(Some(Credential::new(secret.expose())))
    }

    async fn postpone(&self, leased: &LeasedBatch, wait: Duration) -> Result<Worked, StoreError> {
        self.record.lease_release(leased.lease, wait).await?;
        Ok(Worked::Postponed)
    }

    async fn hold(&self, leased: &LeasedBatch, reason: HoldReason) -> Result<Worked, StoreError> {
        match self.record.batch_hold(leased.lease, reason).await? {
            None => Ok(Worked::NotFree),
            Some(payouts) => {
                tracing::warn!(batch = %leased.lease.batch, payouts, %reason, "held for two people");
                metrics::counter!("payfleet_payouts_total", "rail" => leased.rail.clone(), "outcome" => "held")
                    .increment(payouts);
                Ok(Worked::Held(reason))
            }
        }
    }

    /// Intent, call, record. Rule `write_ahead_intent`.
    async fn submit(&self, route: &Route<'_>, held: &Held, looked_up: bool) -> Result<Worked, StoreError> {
        if self.shutdown.is_requested() {
            return self.postpone(route.batch, Duration::ZERO).await;
        }
        let intended = self.clock.now();
        let intent = match self.record.intent_write(held.lease, &self.name, route.rail, looked_up).await {
            Err(error) => {
                self.withdraw(route, &error).await;
                return Err(error);
            }
            Ok(Ok(intent)) => intent,
            Ok(Err(IntentRefused::Split)) => {
                tracing::info!(batch = %held.lease.batch, "payouts of it are under control; they are held");
                return Ok(Worked::Split);
            }
            Ok(Err(IntentRefused::InDoubt)) => {
                metrics::counter!("payfleet_alarms_total", "rail" => route.rail.name).increment(1);
                tracing::error!(
                    batch = %held.lease.batch,
                    "payments of it are known that were not made from here; what they may be of is held: \
                     see `alarms list`"
                );
                return Ok(Worked::Held(HoldReason::StoppedInDoubt));
            }
            Ok(Err(IntentRefused::AccountStopped(wait))) => {
                tracing::debug!(batch = %held.lease.batch, ?wait, "nothing was sent: the funding account is stopped");
                // Whoever lets the account go on wakes what waits; but not what is just being given back.
                let wait = wait.clamp(self.options.backoff_first, self.options.backoff_longest);
                return self
                    .postpone(route.batch, wait + self.options.backoff_first.mul_f64(self.clock.jitter()))
                    .await;
            }
            Ok(Err(refused)) => {
                tracing::info!(batch = %held.lease.batch, %refused, "nothing was sent");
                return self.postpone(route.batch, self.options.backoff_first).await;
            }
        };
        held.intended(intent.orders.len(), intended);
        let page = self.page(route, Some(intent.attempt), intent.orders.iter().map(|order| order.payout));
        let probe = intent.is_probe.then_some(intent.attempt);
        let permission = Permission { expires_at: intent.expires_at, intended, probe };
        let currency = intent.orders.first().map(|order| order.amount.currency);
        let sent = currency.map(|currency| Sent { currency, is_probe: intent.is_probe, is_watched: intent.is_watched });
        let answered = route.submit(held, page, intent.orders, permission).await;
        let answers = Answers {
            page: Some(page),
            attempt: Some(intent.attempt),
            outcomes: answered.outcomes,
            refused_whole: answered.refused_whole,
            unanswered: 0,
            release: true,
        };
        let recorded = self.record_heard(route, sent, answered.tally, answers).await?;
        Ok(Worked::Recorded(recorded.state))
    }

    /// Records, and tells of the account what was heard: before, so that whoever comes next knows of it; but nothing
    /// that is evidence waits for it.
    pub(super) async fn record_heard(
        &self,
        route: &Route<'_>,
        sent: Option<Sent>,
        tally: Tally,
        answers: Answers,
    ) -> Result<Recorded, StoreError> {
        if let Some(sent) = sent
            && let Err(error) = self.account_hear(route, sent, tally, answers.outcomes.iter().map(|(_, one)| one)).await
        {
            self.account_unheard(route, &error);
        }
        self.record_outcomes(route, answers).await
    }

    /// Takes back an intent of which the database did not say whether it is written down: nothing was sent, and that is
    /// known here alone.
    async fn withdraw(&self, route: &Route<'_>, error: &StoreError) {
        if !(error.may_pass() || matches!(error, StoreError::Memory(_))) {
            return;
        }
        let (lease, available_in) = (route.batch.lease, self.wait_after_failure(route.batch));
        let known = route.batch.facts.attempt;
        let withdraw = || self.record.intent_withdraw(lease, &self.name, known, available_in);
        match self.insist(lease.batch, "an intent without an answer cannot be taken back yet", withdraw).await {
            Ok(false) => {}
            Ok(true) => {
                tracing::info!(batch = %lease.batch, "an intent without an answer is taken back: nothing was sent");
            }
            Err(error) => {
                tracing::error!(
                    batch = %lease.batch, error = chain(&error),
                    "an intent without an answer cannot be taken back: it counts as perhaps sent"
                );
            }
        }
    }

    /// Tries until the database has taken it, or cannot: for what must not be lost because the database is away. Each
    /// try is idempotent.
    pub(crate) async fn insist<'a, T>(
        &self,
        batch: BatchId,
        not_yet: &'static str,
        attempt: impl Fn() -> BoxFuture<'a, Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let mut failures = 0;
        loop {
            match attempt().await {
                Err(error) if error.may_pass() => {
                    failures += 1;
                    tracing::warn!(%batch, error = chain(&error), "{not_yet}; trying again");
                    let wait = self.backoff.wait(failures, self.clock.jitter());
                    self.clock.sleep(wait.min(INSISTS)).await;
                }
                done => return done,
            }
        }
    }

    /// Where answers are taken down until they are recorded.
    fn page(
        &self,
        route: &Route<'_>,
        attempt: Option<AttemptNo>,
        payouts: impl IntoIterator<Item = PayoutId>,
    ) -> PageNo {
        let Lease { batch, epoch } = route.batch.lease;
        self.in_hand.open(route.batch.run_key, batch, epoch, attempt, payouts)
    }

    /// Records, whatever it takes: an answer that was received is evidence, and is not dropped because the database is
    /// away. Each try is idempotent.
    async fn record_outcomes(&self, route: &Route<'_>, answers: Answers) -> Result<Recorded, StoreError> {
        let Answers { page, attempt, outcomes, unanswered, refused_whole, release } = answers;
        let counts = Counts::of(&outcomes);
        let available_in = match counts {
            Counts { unresolved: 0, accepted: 0, .. } if unanswered == 0 => Duration::ZERO,
            Counts { unresolved: 0, .. } if unanswered == 0 => self.wait_for_news(route),
            // Nobody failed: whoever comes next may go on at once.
            Counts { .. }
                if unanswered == 0 && (self.shutdown.is_requested() || self.leases.is_stopped(route.batch.lease)) =>
            {
                Duration::ZERO
            }
            Counts { .. } if route.batch.facts.state == BatchState::Accepted => {
                self.wait_after_failure(route.batch).max(self.wait_for_news(route))
            }
            Counts { .. } => self.wait_after_failure(route.batch),
        };
        let report = Arc::new(Report {
            batch: route.batch.lease.batch,
            epoch: route.batch.lease.epoch,
            attempt,
            unanswered: unanswered > 0 && outcomes.is_empty(),
            outcomes,
            refused_whole,
            available_in,
            release,
        });
        let page = page.unwrap_or_else(|| self.page(route, None, []));
        self.in_hand.complete(page, &report);
        let record = || self.record.outcomes_record(report.clone());
        let recorded = match self.insist(report.batch, "what the rail answered cannot be recorded yet", record).await {
            Ok(recorded) => recorded,
            Err(error) => {
                tracing::error!(
                    batch = %report.batch, error = chain(&error),
                    "what the rail answered cannot be recorded; it is kept"
                );
                // On disk it is out of hand; if not, it is kept with the rest when the process ends.
                if self.keep_answers(Some(page)) {
                    self.in_hand.recorded(page);
                }
                return Err(error);
            }
        };
        self.in_hand.recorded(page);
        let count = |outcome: &'static str, payouts: u64| {
            metrics::counter!("payfleet_payouts_total", "rail" => route.rail.name, "outcome" => outcome)
                .increment(payouts);
        };
        count("paid", recorded.paid);
        count("refused", recorded.refused);
        count("unknown", counts.unknown);
        self.told(route.rail.name, report.batch, &recorded);
        Ok(recorded)
    }

    /// Says what must be said of what was recorded.
    pub(crate) fn told(&self, rail: &str, batch: BatchId, recorded: &Recorded) {
        if recorded.late > 0 {
            let rail = rail.to_owned();
            metrics::counter!("payfleet_payouts_total", "rail" => rail, "outcome" => "late").increment(recorded.late);
            tracing::error!(
                %batch, payouts = recorded.late,
                "LATE PROOF: payouts that counted as not paid are proven paid; booked, and nobody pays their accounts \
                 before two people have looked: `payfleet-coordinator contests list`"
            );
        }
        if recorded.alarms > 0 {
            metrics::counter!("payfleet_alarms_total", "rail" => rail.to_owned()).increment(recorded.alarms);
            tracing::error!(
                %batch, alarms = recorded.alarms,
                "ALARM: the rail proved more than one payment, or one of money that was paid again meanwhile; \
                 open runs are paused: `payfleet-coordinator alarms list`"
            );
        }
    }

    fn wait_after_failure(&self, leased: &LeasedBatch) -> Duration {
        self.backoff.wait(leased.failures.saturating_add(1), self.clock.jitter())
    }

    /// How long to wait until asking for news of accepted payments: a quarter of the time that they took so far.
    fn wait_for_news(&self, route: &Route<'_>) -> Duration {
        let facts = &route.batch.facts;
        let age: Duration = facts
            .first_sent_at
            .map_or(Duration::ZERO, |sent: OffsetDateTime| (facts.now - sent).try_into().unwrap_or_default());
        if route.rail.follow == Follow::ByStatement {
            // The fleet looks again when it is too late for any.
            return route.rail.news_within.saturating_sub(age);
        }
        (age / 4).clamp(self.options.backoff_first, self.options.backoff_longest)
    }
}
