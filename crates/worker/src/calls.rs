//! Calling a rail: the only place from which money moves. What is called here has a committed intent.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures_util::stream::{self, StreamExt};
use payfleet_domain::{AttemptNo, BatchKey, KeyUnit, Outcome, PayoutId, PayoutKey, Rail};
use payfleet_rails::{Account, Adapter, Answer, Call, Finding, Going, Instruction, Pace, Payee, Turns};
use payfleet_store::{LeasedBatch, Order};
use time::OffsetDateTime;

use crate::Worker;
use crate::funding::Tally;
use crate::leases::{Held, NoCall, UnderWay};
use crate::ports::Moment;
use crate::spool::PageNo;

/// How often a call that may not begin now asks again.
const ASK_AGAIN: Duration = Duration::from_millis(50);

/// What a batch's calls brought.
pub(crate) struct Answers {
    /// One for each order.
    pub outcomes: Vec<(PayoutId, Outcome)>,
    /// The request was refused as a whole.
    pub refused_whole: bool,
    /// What its calls told of the account.
    pub tally: Tally,
}

/// What an intent allows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Permission {
    /// The rail must not execute a request later, by the database's clock.
    pub expires_at: OffsetDateTime,
    /// When it was asked for, by ours.
    pub intended: Moment,
    /// It is to be found out whether the account pays again: a call is made alone before the others, for another payout
    /// at each of the batch's attempts, of which this is the number.
    pub probe: Option<AttemptNo>,
}

/// What a rail can be asked.
#[derive(Debug, Clone, Copy)]
enum Question {
    LookUp,
    Follow,
}

/// A rail, and how to reach it for one batch.
pub(crate) struct Route<'a> {
    pub worker: &'a Worker,
    pub adapter: &'a dyn Adapter,
    pub rail: &'static Rail,
    pub account: Account,
    pub batch_key: BatchKey,
    pub batch: &'a LeasedBatch,
}

#[async_trait]
impl Turns for Route<'_> {
    async fn turn(&self) {
        let (hints, clock) = (self.worker.hints.as_ref(), self.worker.clock.as_ref());
        self.worker.paces.permit(hints, clock, self.rail, &self.account.name).await;
    }
}

impl Route<'_> {
    /// Rule `fixed_key`: the key is computed again for each request.
    fn instruction(&self, order: Order) -> Instruction {
        Instruction {
            key: PayoutKey::derive(self.batch.run_key, order.payout, &order.affiliate, order.due_currency),
            amount: order.amount,
            destination: order.destination,
            payee: Payee {
                name: said(order.payee_name),
                // Of a country that is written in words no rail knows the code.
                country: said(order.payee_country).filter(|country| country.len() == 2),
                text: None,
            },
            reference: order.reference,
        }
    }

    /// The payouts of orders, and what is sent for each.
    fn instructions(&self, orders: Vec<Order>) -> (Vec<PayoutId>, Vec<Instruction>) {
        orders.into_iter().map(|order| (order.payout, self.instruction(order))).unzip()
    }

    fn call<'c>(&'c self, instructions: &'c [Instruction], expires_at: OffsetDateTime) -> Call<'c> {
        Call {
            account: &self.account,
            batch_key: &self.batch_key,
            instructions,
            expires_at,
            going: Going::On,
            pace: Pace::Free,
        }
    }

    /// Submits every order of an intent. Right before each call it is asked whether the lease is still held, the
    /// request can still be in time, and nobody wants us to stop; where not, nothing is sent and the outcome says so.
    /// Each answer is taken down as it comes.
    pub(crate) async fn submit(
        &self,
        held: &Held,
        page: PageNo,
        orders: Vec<Order>,
        permission: Permission,
    ) -> Answers {
        let tally = &Mutex::new(Tally::default());
        let (outcomes, refused_whole) = match self.rail.key_unit {
            KeyUnit::Payout => (self.submit_each(held, page, orders, permission, tally).await, false),
            KeyUnit::Batch => {
                let (payouts, instructions) = self.instructions(orders);
                let answer = self.one_call(held, permission, &instructions, tally).await;
                let all = |outcome: Outcome| payouts.iter().map(|payout| (*payout, outcome.clone())).collect();
                match answer {
                    Answer::All(outcome) => (all(outcome.clone()), matches!(outcome, Outcome::Refused(_))),
                    Answer::Stopped(_) => (all(Outcome::NotExecuted), false),
                    Answer::Each(outcomes) if outcomes.len() == payouts.len() => {
                        (payouts.into_iter().zip(outcomes).collect(), false)
                    }
                    // Contradictory: an answer for each was promised.
                    Answer::Each(_) => (all(Outcome::Unknown), false),
                }
            }
        };
        let tally = *tally.lock().unwrap_or_else(PoisonError::into_inner);
        Answers { outcomes, refused_whole, tally }
    }

    async fn submit_each(
        &self,
        held: &Held,
        page: PageNo,
        mut orders: Vec<Order>,
        permission: Permission,
        tally: &Mutex<Tally>,
    ) -> Vec<(PayoutId, Outcome)> {
        let one = |order: Order| async move {
            let payout = order.payout;
            let instructions = [self.instruction(order)];
            let outcome = match self.one_call(held, permission, &instructions, tally).await {
                Answer::All(outcome) => outcome,
                Answer::Stopped(_) => Outcome::NotExecuted,
                Answer::Each(mut outcomes) if outcomes.len() == 1 => outcomes.remove(0),
                Answer::Each(_) => Outcome::Unknown,
            };
            self.worker.in_hand.answered(page, payout, outcome.clone());
            (payout, outcome)
        };
        let mut outcomes = Vec::with_capacity(orders.len());
        if let (Some(AttemptNo(nth)), false) = (permission.probe, orders.is_empty()) {
            let at = nth.unsigned_abs() as usize % orders.len();
            outcomes.push(one(orders.swap_remove(at)).await);
        }
        let others = stream::iter(orders).map(one).buffer_unordered(self.worker.options.calls.into());
        outcomes.extend(others.collect::<Vec<_>>().await);
        outcomes
    }

    /// Whether nothing may be sent by this permission any more: it is too late by our own steady clock, or it is known
    /// since that the account can pay nothing.
    fn is_over(&self, permission: Permission, instructions: &[Instruction]) -> bool {
        let is_stopped = instructions.first().is_some_and(|one| {
            let (rail, account, currency) = (self.rail.name, &self.account.name, one.amount.currency);
            self.worker.stops.is_stopped_since(rail, account, currency, permission.intended)
        });
        is_stopped || self.worker.clock.now() >= permission.intended + self.rail.request_lifetime
    }

    /// Waits until a call for so many payouts may begin, and begins it. `None` if it may never.
    async fn begin<'h>(
        &self,
        held: &'h Held,
        permission: Permission,
        instructions: &[Instruction],
    ) -> Option<UnderWay<'h>> {
        let clock = &self.worker.clock;
        loop {
            let now = clock.now();
            // Rule `suspended_time_counts`. By both clocks: the steady one does not know of a host that was suspended,
            // and the other one may be set back.
            let is_over = self.is_over(permission, instructions);
            let has_expired = clock.wall() >= permission.expires_at;
            if has_expired && !is_over {
                let rail = self.rail.name;
                tracing::warn!(
                    rail,
                    "nothing was sent: by this machine's clock the request had expired before it was made; \
                     is that clock ahead of the database's?"
                );
            }
            if is_over || has_expired || self.worker.shutdown.is_requested() {
                return None;
            }
            match held.begin(instructions.len(), now) {
                Ok(under_way) => return Some(under_way),
                Err(NoCall::Never) => return None,
                Err(NoCall::NotNow) => clock.sleep(ASK_AGAIN).await,
            }
        }
    }

    async fn one_call(
        &self,
        held: &Held,
        permission: Permission,
        instructions: &[Instruction],
        tally: &Mutex<Tally>,
    ) -> Answer {
        let call = &self.call(instructions, permission.expires_at);
        let Ok(_permit) = self.worker.calls.acquire().await else {
            return Answer::All(Outcome::NotExecuted); // the semaphore is never closed; and nothing was sent
        };
        // What is not sent any more must not take a place in the rate from what is.
        if self.is_over(permission, instructions) {
            return Answer::All(Outcome::NotExecuted);
        }
        self.turn().await;
        let Some(_under_way) = self.begin(held, permission, instructions).await else {
            return Answer::All(Outcome::NotExecuted);
        };
        if payfleet_failpoint::pass("submit", "before").await.is_err() {
            return Answer::All(Outcome::NotExecuted);
        }
        let started = Instant::now();
        let ends = permission.intended + self.rail.request_lifetime;
        let is_going = || {
            let now = self.worker.clock.now();
            now < ends && held.is_going(now)
        };
        let mut answer = self.adapter.submit(&Call { going: Going::While(&is_going), ..*call }).await;
        if payfleet_failpoint::pass("submit", "after").await.is_err() {
            answer = Answer::All(Outcome::Unknown); // as if the answer had been lost
        }
        tally.lock().unwrap_or_else(PoisonError::into_inner).add(&answer);
        if let Some(one) = instructions.first() {
            self.worker.account_told(self, one.amount.currency, &answer);
        }
        metrics::histogram!("payfleet_call_seconds", "rail" => self.rail.name, "call" => "submit")
            .record(started.elapsed());
        self.called(!matches!(answer, Answer::All(Outcome::Unknown | Outcome::NotExecuted)));
        answer
    }

    /// Counts calls, and whether the rail said anything that can be used. That nothing was executed is no such thing:
    /// nobody listens, or it takes no more.
    fn called(&self, is_answered: bool) {
        let answered = if is_answered { "yes" } else { "no" };
        metrics::counter!("payfleet_calls_total", "rail" => self.rail.name, "answered" => answered).increment(1);
    }

    /// Asks the rail whether it ever executed payments. Sends no money, so it needs no intent.
    pub(crate) async fn look_up(&self, orders: Vec<Order>) -> Vec<(PayoutId, Finding)> {
        self.ask(orders, Question::LookUp).await
    }

    /// Asks the rail what became of payments that it has accepted.
    pub(crate) async fn follow(&self, orders: Vec<Order>) -> Vec<(PayoutId, Finding)> {
        self.ask(orders, Question::Follow).await
    }

    async fn ask(&self, orders: Vec<Order>, question: Question) -> Vec<(PayoutId, Finding)> {
        // When the last of the requests that were sent expires; where none was, it has.
        let margin = self.rail.dead_after() - self.rail.request_lifetime;
        let expired_at = self.batch.facts.may_arrive_until.map_or(OffsetDateTime::UNIX_EPOCH, |dead| dead - margin);
        let (payouts, instructions) = self.instructions(orders);
        let is_together = matches!(question, Question::LookUp) && self.adapter.looks_up_together();
        let pieces: Vec<Vec<Instruction>> = match self.rail.key_unit {
            KeyUnit::Payout if !is_together => instructions.into_iter().map(|instruction| vec![instruction]).collect(),
            KeyUnit::Payout | KeyUnit::Batch => vec![instructions],
        };
        let pace = if self.rail.rate_counts_questions { Pace::By(self) } else { Pace::Free };
        let findings: Vec<Vec<Finding>> = stream::iter(pieces)
            .map(|piece| async move {
                let Ok(_permit) = self.worker.calls.acquire().await else { return unanswered(&piece) };
                pace.turn().await;
                if payfleet_failpoint::pass("look_up", "before").await.is_err() {
                    return unanswered(&piece);
                }
                let started = Instant::now();
                let call = Call { pace, ..self.call(&piece, expired_at) };
                let (findings, name) = match question {
                    Question::LookUp => (self.adapter.look_up(&call).await, "look_up"),
                    Question::Follow => (self.adapter.follow(&call).await, "follow"),
                };
                if payfleet_failpoint::pass("look_up", "after").await.is_err() {
                    return unanswered(&piece);
                }
                metrics::histogram!("payfleet_call_seconds", "rail" => self.rail.name, "call" => name)
                    .record(started.elapsed());
                self.called(findings.iter().any(|finding| *finding != Finding::Unanswered));
                if findings.len() == piece.len() { findings } else { unanswered(&piece) }
            })
            .buffered(self.worker.options.calls.into())
            .collect()
            .await;
        payouts.into_iter().zip(findings.into_iter().flatten()).collect()
    }
}

/// What was imported, if it was.
fn said(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

fn unanswered(piece: &[Instruction]) -> Vec<Finding> {
    piece.iter().map(|_| Finding::Unanswered).collect()
}
