//! The rails of the simulator: each class as crates/README.md describes it, with a journal of what it really did.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use payfleet_domain::{
    KeyUnit, Movement, Outcome, PayoutId, Rail, RailClass, Reference, RefusalCode, StatementEnd, StatementLine,
    StopReason,
};
use payfleet_rails::{
    Account, Adapter, Answer, Call, Finding, Instruction, StatementError, StatementItem, StatementStream,
};
use time::OffsetDateTime;

use crate::EPOCH;
use crate::matrix::{Fault, Step};
use crate::scheduler::{ProcessId, Scheduler};
use crate::world::{Server, World};

/// How destinations begin of which a rail that is asked says nothing. No scenario of a seed has any.
pub const SILENT: &str = "silent";

/// How long a caller waits for an answer.
const CALL_TIMEOUT: Duration = Duration::from_secs(3);

/// What the rail did.
#[derive(Debug, Clone)]
pub struct Entry {
    pub rail: &'static str,
    pub payout: PayoutId,
    pub key: String,
    pub affiliate: usize,
    pub destination: String,
    pub amount_minor: i64,
    pub reference: String,
    pub movement: Movement,
    /// Of a return: the payment that came back.
    pub of: Option<String>,
    pub at: OffsetDateTime,
}

/// A payment that the rail has taken.
#[derive(Debug, Clone)]
pub struct Payment {
    pub outcome: Outcome,
    /// What was ordered.
    pub one: Instruction,
}

/// A rail and a key.
pub type Slot = (&'static str, String);

/// A key that the rail remembers.
#[derive(Debug, Clone)]
struct Remembered {
    since: Duration,
    body: Vec<(String, i64)>,
    answer: Answer,
}

/// All rails.
#[derive(Default)]
pub struct Rails {
    keys: BTreeMap<(&'static str, String), Remembered>,
    pub payments: BTreeMap<Slot, Vec<Payment>>,
    /// In the order of their first payment; keys order otherwise in a database that has seen other seeds.
    pub slots: Vec<Slot>,
    pub journal: Vec<Entry>,
    /// Requests that went out, whether or not they arrived.
    pub requests: Vec<Request>,
    /// Payouts of which a rail did what its class denies.
    pub mistreated: BTreeSet<PayoutId>,
    references: u64,
}

/// A request as it travels.
#[derive(Debug, Clone)]
pub struct Request {
    pub rail: &'static Rail,
    batch_key: String,
    pub instructions: Vec<Instruction>,
    expires_at: OffsetDateTime,
    /// When it was made.
    begun: Duration,
    /// The rail said of it, and so of every copy, that it did not execute it.
    is_refused: bool,
}

impl Rails {
    pub fn reference(&mut self) -> Reference {
        self.references += 1;
        Reference(format!("r{}", self.references))
    }

    /// What the rail does with a request that arrives.
    fn execute(&mut self, scheduler: &Scheduler, world: &World, request: &Request) -> Answer {
        let now = scheduler.now();
        let rail = request.rail;
        // The assumption of every class: a request leaves and arrives within its lifetime or never, also if its process
        // was stopped on the way. A rail without keys enforces it below, by its own clock; for the others it is what
        // connections and time-outs make true.
        if now > request.begun + rail.request_lifetime && rail.class != RailClass::Lookup {
            return Answer::All(Outcome::Unknown);
        }
        let (horizon, key) = match (rail.class, rail.key_unit) {
            (RailClass::Key { horizon } | RailClass::KeyAndLookup { horizon }, KeyUnit::Batch) => {
                (Some(horizon), request.batch_key.clone())
            }
            (RailClass::Key { horizon } | RailClass::KeyAndLookup { horizon }, KeyUnit::Payout) => {
                (Some(horizon), request.instructions[0].key.as_str().to_owned())
            }
            (RailClass::Lookup | RailClass::Neither, _) => (None, String::new()),
        };
        let body: Vec<(String, i64)> = request
            .instructions
            .iter()
            .map(|instruction| (instruction.destination.clone(), instruction.amount.minor))
            .collect();
        if let Some(horizon) = horizon {
            if let Some(known) = self.keys.get(&(rail.name, key.clone()))
                && now < known.since + horizon
            {
                // The same key with another body is an error, and tells nothing.
                return if known.body == body { known.answer.clone() } else { Answer::All(Outcome::Unknown) };
            }
        } else if rail.class == RailClass::Lookup && EPOCH + now > request.expires_at {
            return Answer::All(Outcome::NotExecuted);
        }
        let is_whole = rail.key_unit == KeyUnit::Batch && horizon.is_some();
        let spoils = |instruction: &Instruction| instruction.destination.starts_with("spoiled");
        let answer = if is_whole && request.instructions.iter().any(spoils) {
            Answer::All(Outcome::Refused(RefusalCode::new("invalid_item")))
        } else {
            let outcomes: Vec<Outcome> =
                request.instructions.iter().map(|instruction| self.pay(scheduler, world, rail, instruction)).collect();
            match outcomes.as_slice() {
                [one] if rail.key_unit == KeyUnit::Payout => Answer::All(one.clone()),
                _ => Answer::Each(outcomes),
            }
        };
        if horizon.is_some() {
            self.keys.insert((rail.name, key), Remembered { since: now, body, answer: answer.clone() });
        }
        answer
    }

    pub fn pay(&mut self, scheduler: &Scheduler, world: &World, rail: &'static Rail, one: &Instruction) -> Outcome {
        let lot = scheduler.below(100);
        let is_closed = one.destination.starts_with("closed") || one.destination.starts_with("spoiled");
        let outcome = match (rail.class, is_closed, lot) {
            (RailClass::Neither, _, _) => Outcome::Accepted(self.reference()),
            (_, true, _) => Outcome::Refused(RefusalCode::new("receiver_unregistered")),
            (_, _, 0..6) => Outcome::Refused(RefusalCode::new("insufficient_funds")),
            (RailClass::KeyAndLookup { .. }, _, 6..60) => Outcome::Accepted(self.reference()),
            (RailClass::Key { .. }, _, 6..9) => Outcome::Accepted(self.reference()),
            _ => Outcome::Paid(self.reference()),
        };
        let slot = (rail.name, one.key.as_str().to_owned());
        if !self.payments.contains_key(&slot) {
            self.slots.push(slot.clone());
        }
        let payments = self.payments.entry(slot).or_default();
        payments.push(Payment { outcome: outcome.clone(), one: one.clone() });
        let place = payments.len() - 1;
        match &outcome {
            Outcome::Paid(reference) => {
                self.enter(scheduler, rail.name, one, reference, Movement::Paid, None);
                if scheduler.chance(30) {
                    self.finish_later(scheduler, world, rail, one, place, scheduler.millis(500, 20_000));
                }
            }
            Outcome::Accepted(_) => {
                self.finish_later(scheduler, world, rail, one, place, scheduler.millis(10, 8_000));
            }
            _ => {}
        }
        outcome
    }

    pub fn enter(
        &mut self,
        scheduler: &Scheduler,
        rail: &'static str,
        one: &Instruction,
        reference: &Reference,
        movement: Movement,
        of: Option<&Reference>,
    ) {
        let payout = one.key.payout().unwrap_or(PayoutId(-1));
        let affiliate = one.destination.rsplit('-').next().and_then(|n| n.parse().ok()).unwrap_or(usize::MAX);
        let before = self.journal.iter().filter(|entry| entry.payout == payout && entry.movement == Movement::Paid);
        if movement == Movement::Paid && before.count() > 0 {
            scheduler.note(|| format!("!! payout {payout} IS PAID A SECOND TIME"));
        }
        scheduler.note(|| format!("{rail}: {payout} {} {}", movement.as_str(), reference.0));
        self.journal.push(Entry {
            rail,
            payout,
            key: one.key.as_str().to_owned(),
            affiliate,
            destination: one.destination.clone(),
            amount_minor: one.amount.minor,
            reference: reference.0.clone(),
            movement,
            of: of.map(|of| of.0.clone()),
            at: EPOCH + scheduler.now(),
        });
    }

    /// What was accepted is paid or refused after a while; what was paid comes back.
    fn finish_later(
        &mut self,
        scheduler: &Scheduler,
        world: &World,
        rail: &'static Rail,
        one: &Instruction,
        place: usize,
        wait: Duration,
    ) {
        let (world, one) = (world.clone(), one.clone());
        scheduler.later(wait, move |scheduler| {
            let lot = scheduler.below(100);
            let mut rails = world.rails();
            let slot = (rail.name, one.key.as_str().to_owned());
            let Some(payment) = rails.payments.get(&slot).and_then(|payments| payments.get(place)).cloned() else {
                return;
            };
            let next = match payment.outcome {
                // A file's rejects come as money that comes back; where the rail can be asked, it says so.
                Outcome::Accepted(_) if lot < 8 && rail.can_be_looked_up() => {
                    Outcome::Refused(RefusalCode::new("receiver_unregistered"))
                }
                Outcome::Accepted(reference) => {
                    rails.enter(scheduler, rail.name, &one, &reference, Movement::Paid, None);
                    Outcome::Paid(reference)
                }
                Outcome::Paid(_) => return rails.come_back(scheduler, &slot, place, &one),
                other => other,
            };
            if let Some(payment) = rails.payments.get_mut(&slot).and_then(|payments| payments.get_mut(place)) {
                payment.outcome = next;
            }
        });
    }

    /// The rail's name for its payment of a payout, if it made one.
    pub fn paid_as(&self, payout: PayoutId) -> Option<String> {
        let paid = |entry: &&Entry| entry.payout == payout && entry.movement == Movement::Paid;
        self.journal.iter().find(paid).map(|entry| entry.reference.clone())
    }

    /// Whether a payment of a payout came back under this name.
    pub fn has_returned(&self, payout: PayoutId, reference: &str) -> bool {
        let returned = |entry: &Entry| entry.movement == Movement::Returned && entry.reference == reference;
        self.journal.iter().any(|entry| entry.payout == payout && returned(entry))
    }

    /// The rail's statement, of these instants.
    pub fn lines(&self, rail: &'static str, is_there: impl Fn(OffsetDateTime) -> bool) -> Vec<StatementLine> {
        let says_of = Rail::named(rail).is_ok_and(Rail::can_be_looked_up);
        let ours = self.journal.iter().filter(|entry| entry.rail == rail && is_there(entry.at));
        ours.map(|entry| StatementLine {
            key: entry.key.clone(),
            reference: entry.reference.clone(),
            amount_minor: entry.amount_minor,
            fee_minor: 0,
            currency: "EUR".to_owned(),
            destination: entry.destination.clone(),
            movement: entry.movement,
            at: Some(entry.at),
            // A bank says no more than the key.
            of: entry.of.clone().filter(|_| says_of),
        })
        .collect()
    }

    /// Why a payout was paid, or can still be, by a rail that does what its class says.
    pub fn may_be_paid(&self, payout: PayoutId, now: Duration) -> Option<&'static str> {
        let is_ours = |one: &Instruction| one.key.payout().is_ok_and(|key| key == payout);
        let is_alive = |request: &&Request| {
            !request.is_refused
                && now <= request.begun + request.rail.request_lifetime
                && request.instructions.iter().any(is_ours)
        };
        if self.mistreated.contains(&payout) {
            None
        } else if self.paid_as(payout).is_some() {
            Some("it was paid")
        } else if self.requests.iter().any(|request| is_alive(&request)) {
            Some("a request can still arrive")
        } else {
            None
        }
    }

    fn find(&self, rail: &'static Rail, key: &str) -> Option<Outcome> {
        let payments = self.payments.get(&(rail.name, key.to_owned()))?;
        let proof = payments.iter().find(|payment| !matches!(payment.outcome, Outcome::Refused(_)));
        proof.or(payments.last()).map(|payment| payment.outcome.clone())
    }
}

/// A process's way to one rail.
pub struct SimAdapter {
    pub world: World,
    pub process: ProcessId,
    pub rail: &'static Rail,
}

impl SimAdapter {
    /// What becomes of a request: whether and when it arrives, and whether its answer does.
    async fn travel(&self, request: Request, twice: bool) -> Answer {
        let (world, scheduler) = (&self.world, &self.world.scheduler);
        let arrive = |wait: Duration| {
            let (world, request) = (self.world.clone(), request.clone());
            scheduler.later(wait, move |scheduler| {
                scheduler.note(|| format!("{}: a request of {} arrives late", request.rail.name, request.batch_key));
                world.rails().execute(scheduler, &world, &request);
            });
        };
        // A rail that says "not executed" says it of every copy of the request: an assumption of its class.
        let is_keyed = !matches!(self.rail.class, RailClass::Lookup | RailClass::Neither);
        if twice && is_keyed && world.weather() != Some(Fault::RateLimited) {
            world.matrix.hit(Step::Call, Fault::Duplicate);
            arrive(scheduler.millis(1, 5_000));
        }
        let weather = world.weather();
        let is_refused = weather == Some(Fault::RateLimited);
        world.rails().requests.push(Request { is_refused, ..request.clone() });
        let execute = || world.rails().execute(scheduler, world, &request);
        match weather {
            // For now, or not from this account.
            Some(Fault::RateLimited) => match scheduler.below(8) {
                0 => Answer::Stopped(StopReason::CredentialRefused),
                1 | 2 => Answer::Stopped(StopReason::NoFunds),
                _ => Answer::All(Outcome::NotExecuted),
            },
            Some(Fault::ServerError) => {
                if scheduler.chance(500) {
                    execute();
                }
                Answer::All(Outcome::Unknown)
            }
            Some(Fault::Malformed) => {
                if scheduler.chance(700) {
                    execute();
                }
                Answer::All(Outcome::Unknown)
            }
            Some(Fault::TimeoutAfterAccept) => {
                match scheduler.below(3) {
                    0 => {}
                    1 => drop(execute()),
                    // Within the lifetime that the rail's class promises.
                    _ => arrive(scheduler.millis(100, self.rail.request_lifetime.as_millis().min(60_000) as u64)),
                }
                scheduler.sleep(CALL_TIMEOUT).await;
                Answer::All(Outcome::Unknown)
            }
            _ => {
                scheduler.sleep(scheduler.millis(1, 60)).await;
                let answer = execute();
                scheduler.sleep(scheduler.millis(1, 60)).await;
                answer
            }
        }
    }
}

#[async_trait]
impl Adapter for SimAdapter {
    fn rail(&self) -> &'static Rail {
        self.rail
    }

    async fn submit(&self, call: &Call<'_>) -> Answer {
        let request = Request {
            rail: self.rail,
            batch_key: call.batch_key.as_str().to_owned(),
            instructions: call.instructions.to_vec(),
            expires_at: call.expires_at,
            begun: self.world.scheduler.now(),
            is_refused: false,
        };
        let Ok(arrow) = self.world.before(self.process, Step::Call, Server::Rail).await else {
            return Answer::All(Outcome::NotExecuted); // no connection, so no request
        };
        let twice = arrow.is_duplicated;
        let answer = self.travel(request, twice).await;
        match self.world.after(self.process, Step::Call, Server::Rail, arrow).await {
            Ok(()) => answer,
            Err(_) => Answer::All(Outcome::Unknown),
        }
    }

    async fn look_up(&self, call: &Call<'_>) -> Vec<Finding> {
        let unanswered = vec![Finding::Unanswered; call.instructions.len()];
        let Ok(arrow) = self.world.before(self.process, Step::Call, Server::Rail).await else { return unanswered };
        let is_ill = self.world.weather().is_some();
        let findings: Vec<Finding> = {
            let rails = self.world.rails();
            let find = |one: &Instruction| match rails.find(self.rail, one.key.as_str()) {
                // Whatever it is asked, it says nothing of these.
                _ if one.destination.starts_with(SILENT) => Finding::Unanswered,
                Some(outcome) => Finding::Known(outcome),
                // The adapter's rule: by the rail's own clock, what was sent must have expired.
                None if EPOCH + self.world.scheduler.now() <= call.expires_at => Finding::NotYet,
                None => Finding::NotFound,
            };
            call.instructions.iter().map(find).collect()
        };
        match self.world.after(self.process, Step::Call, Server::Rail, arrow).await {
            Ok(()) if !is_ill => findings,
            _ => unanswered,
        }
    }

    async fn follow(&self, call: &Call<'_>) -> Vec<Finding> {
        self.look_up(call).await
    }

    async fn statement(&self, account: &Account, from: OffsetDateTime) -> Result<StatementStream, StatementError> {
        let unreachable =
            || StatementError::Unreachable { rail: self.rail.name, account: account.name.clone(), why: "simulated" };
        let arrow = self.world.before(self.process, Step::Reconcile, Server::Rail).await.map_err(|_| unreachable())?;
        let now = EPOCH + self.world.scheduler.now();
        let until = from.max(now - self.world.statement_lag());
        let mut items: Vec<Result<StatementItem, StatementError>> = {
            let rails = self.world.rails();
            let is_there = |at| at >= from && (at < until || until == now);
            rails.lines(self.rail.name, is_there).into_iter().map(StatementItem::Line).map(Ok).collect()
        };
        let end = StatementEnd { from, until, now, open_from: None, lines: items.len() as u64 };
        items.push(Ok(StatementItem::End(end)));
        self.world.after(self.process, Step::Reconcile, Server::Rail, arrow).await.map_err(|_| unreachable())?;
        Ok(futures_util::stream::iter(items).boxed())
    }
}
