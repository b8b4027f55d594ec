//! The world of one seed: the servers, the faults, and the arrows of the protocol on which they strike.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use payfleet_store::StoreError;
use time::OffsetDateTime;

use crate::EPOCH;
use crate::backend::{Backend, Scenario};
use crate::controls::Controls;
use crate::files::Files;
use crate::matrix::{FAULTS, Fault, Matrix, Step};
use crate::people::Words;
use crate::queue::Streams;
use crate::rail::Rails;
use crate::scheduler::{ProcessId, Scheduler};

/// Leases of the simulated fleet; short, so that a seed sees many.
pub const LEASE_TTL: Duration = Duration::from_secs(2);

/// How often, in thousandths of arrows, somebody does something meanwhile, and how often at most in a seed.
const ACT_RATE: u64 = 24;
const ACTS_MAX: u64 = 8;

/// The same of what people say about holds, and of files. There are few holds and few returns, so whoever decides looks
/// often.
const DECIDE_RATE: u64 = 160;
const DECISIONS_MAX: u64 = 12;
const FILES_MAX: u64 = 8;

/// Whom an arrow goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Server {
    Postgres,
    Redis,
    Rail,
}

/// A server that does not answer.
#[derive(Debug)]
pub struct Gone;

impl From<Gone> for StoreError {
    fn from(_: Gone) -> StoreError {
        let source = sqlx::Error::Io(std::io::Error::other("simulated"));
        StoreError::Unreachable { place: "nowhere".to_owned(), source }
    }
}

/// What was drawn for one arrow.
#[derive(Debug, Default)]
pub struct Arrow {
    pub is_duplicated: bool,
    is_lost: bool,
    crashes_after: bool,
}

/// Which faults there are in this seed, and how often.
#[derive(Debug, Clone)]
pub struct Profile {
    pub faults: Vec<Fault>,
    /// In thousandths of arrows.
    pub rate: u64,
    /// What people do meanwhile, and rails afterwards.
    pub acts: Vec<Fault>,
    /// What people say about what is held in doubt, and the files that they hand in.
    pub decisions: Vec<Fault>,
    /// When peace begins.
    pub until: Duration,
}

impl Profile {
    /// By lot: some kinds of faults, some rate.
    pub fn draw(seed: u64, scheduler: &Scheduler) -> Profile {
        let goes_on = scheduler.chance(350);
        let often = |fault: &Fault| match fault {
            fault if fault.is_an_act() => 250,
            fault if fault.is_an_afterthought() => u64::from(goes_on) * 600,
            _ => 600,
        };
        let drawn = FAULTS.into_iter().filter(|fault| !fault.is_of_people() && scheduler.chance(often(fault)));
        let (mut acts, faults): (Vec<Fault>, _) =
            drawn.partition(|fault: &Fault| fault.is_an_act() || fault.is_an_afterthought());
        let rate = [2, 10, 30, 60, 120][scheduler.below(5) as usize];
        // By a lot of their own, so that a story without people goes on as it went before there were any.
        let people = Scheduler::new(seed ^ 0x00be_0b1e);
        let there_are = people.chance(400);
        let drawn = FAULTS.into_iter().filter(|fault| there_are && fault.is_of_people() && people.chance(600));
        let (decisions, others): (Vec<Fault>, Vec<Fault>) = drawn.partition(|act| !act.is_a_control());
        acts.extend(others);
        Profile { faults, rate, acts, decisions, until: scheduler.millis(1_000, 9_000) }
    }
}

#[derive(Default)]
struct Trouble {
    is_peace: bool,
    /// How far the database's clock is from the true time, in milliseconds.
    database_ahead: i64,
    postgres_down_until: Duration,
    /// A process that cannot reach a server.
    partitions: BTreeMap<(ProcessId, Server), Duration>,
    weather: Option<(Fault, Duration)>,
    /// How much of the end of every statement is missing yet, and until when.
    lag: Option<(Duration, Duration)>,
    has_lagged: bool,
    /// What people and rails have done.
    acts: u64,
    decisions: u64,
    files_handed: u64,
    controls: Controls,
    words: Words,
    files: Files,
    broken: Vec<String>,
}

struct Inner {
    backend: Mutex<Box<dyn Backend>>,
    streams: Mutex<Streams>,
    rails: Mutex<Rails>,
    trouble: Mutex<Trouble>,
    profile: Profile,
    scenario: Scenario,
}

/// A handle to it.
#[derive(Clone)]
pub struct World {
    pub scheduler: Scheduler,
    pub matrix: Arc<Matrix>,
    inner: Arc<Inner>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner) // a panic ends the seed anyway
}

impl World {
    pub fn new(
        scheduler: Scheduler,
        matrix: Arc<Matrix>,
        backend: Box<dyn Backend>,
        profile: Profile,
        scenario: Scenario,
    ) -> World {
        let inner = Inner {
            backend: Mutex::new(backend),
            streams: Mutex::default(),
            rails: Mutex::default(),
            trouble: Mutex::default(),
            profile,
            scenario,
        };
        World { scheduler, matrix, inner: Arc::new(inner) }
    }

    pub fn rails(&self) -> MutexGuard<'_, Rails> {
        lock(&self.inner.rails)
    }

    pub fn streams(&self) -> MutexGuard<'_, Streams> {
        lock(&self.inner.streams)
    }

    fn trouble(&self) -> MutexGuard<'_, Trouble> {
        lock(&self.inner.trouble)
    }

    /// The backend, with its clock set.
    pub fn backend(&self) -> MutexGuard<'_, Box<dyn Backend>> {
        let now = self.database_now();
        let mut backend = lock(&self.inner.backend);
        backend.clock(now);
        backend
    }

    pub fn database_now(&self) -> OffsetDateTime {
        EPOCH + self.scheduler.now() + time::Duration::milliseconds(self.trouble().database_ahead)
    }

    pub fn profile(&self) -> &Profile {
        &self.inner.profile
    }

    pub fn scenario(&self) -> &Scenario {
        &self.inner.scenario
    }

    pub fn controls(&self) -> Controls {
        self.trouble().controls.clone()
    }

    pub fn controls_mut<T>(&self, change: impl FnOnce(&mut Controls) -> T) -> T {
        change(&mut self.trouble().controls)
    }

    pub fn files<T>(&self, use_them: impl FnOnce(&mut Files) -> T) -> T {
        use_them(&mut self.trouble().files)
    }

    pub fn words_mut<T>(&self, change: impl FnOnce(&mut Words) -> T) -> T {
        change(&mut self.trouble().words)
    }

    pub fn is_peace(&self) -> bool {
        self.trouble().is_peace
    }

    /// No more faults, and every server answers.
    pub fn make_peace(&self) {
        self.scheduler.note(|| "peace".to_owned());
        let mut trouble = self.trouble();
        trouble.is_peace = true;
        trouble.postgres_down_until = Duration::ZERO;
        trouble.partitions.clear();
        trouble.weather = None;
        trouble.lag = None;
        // Set right, which is one step more. A clock that stays behind that of a rail without keys makes every request
        // too late for it.
        trouble.database_ahead = 0;
        drop(trouble);
        self.scheduler.continue_all();
    }

    /// What is wrong with the rails at the moment.
    pub fn weather(&self) -> Option<Fault> {
        let now = self.scheduler.now();
        self.trouble().weather.filter(|(_, until)| *until > now).map(|(fault, _)| fault)
    }

    /// How much of the end of every statement is missing yet.
    pub fn statement_lag(&self) -> Duration {
        let now = self.scheduler.now();
        self.trouble().lag.filter(|(_, until)| *until > now).map_or(Duration::ZERO, |(lag, _)| lag)
    }

    pub fn statements_lag(&self) {
        let (lag, until) = (self.scheduler.millis(500, 20_000), self.scheduler.millis(1_000, 12_000));
        self.scheduler.note(|| format!("statements lag by {lag:?} for {until:?}"));
        let mut trouble = self.trouble();
        trouble.lag = Some((lag, self.scheduler.now() + until));
        trouble.has_lagged = true;
    }

    /// Whether a run may be called discrepant for a while although it is not: when a rail did what its class denies; or
    /// when its statement lagged, and the database's clock was set forward between a payment and the statement, which
    /// then seems to reach past it; or when a file tells what the rail's own statement does not, or not yet.
    pub fn may_seem_discrepant(&self) -> bool {
        self.rails().has_misbehaved() || self.trouble().has_lagged || self.trouble().files.count > 0
    }

    /// An error that no fault explains.
    pub fn broken(&self, what: String) {
        self.scheduler.note(|| format!("!! {what}"));
        self.trouble().broken.push(what);
    }

    pub fn all_broken(&self) -> Vec<String> {
        self.trouble().broken.clone()
    }

    fn is_gone(&self, process: ProcessId, server: Server) -> bool {
        let now = self.scheduler.now();
        let trouble = self.trouble();
        let is_down = server == Server::Postgres && trouble.postgres_down_until > now;
        is_down || trouble.partitions.get(&(process, server)).is_some_and(|until| *until > now)
    }

    /// Right before a step is done. Every await of the fleet passes here, and here it may end.
    pub async fn before(&self, process: ProcessId, step: Step, server: Server) -> Result<Arrow, Gone> {
        let scheduler = &self.scheduler;
        let wait = if scheduler.chance(50) { scheduler.millis(1, 400) } else { scheduler.millis(0, 4) };
        scheduler.sleep(wait).await;
        let mut arrow = Arrow::default();
        let profile = &self.inner.profile;
        // Most arrows are those of sweeps and reads, to which little can happen.
        let share = if matches!(step, Step::Sweep | Step::Read | Step::Reclaim) { 4 } else { 1 };
        let rate = match step {
            // Of these there are some hundred in twenty thousand seeds, and every fault is to meet one.
            Step::Withdraw => profile.rate * 4,
            _ => profile.rate / share,
        };
        let act_rate = match step {
            Step::Plan | Step::Intent | Step::Reclaim | Step::Operate => ACT_RATE * 4,
            _ => ACT_RATE / share,
        };
        if !self.is_peace() && !profile.acts.is_empty() && scheduler.chance(act_rate) {
            let act = profile.acts[scheduler.below(profile.acts.len() as u64) as usize];
            if self.trouble().acts < ACTS_MAX && self.act(act) {
                self.trouble().acts += 1;
                self.matrix.hit(step, act);
            }
        }
        // Of these there are few while something is held.
        let (decide_rate, looks) = match step {
            Step::Plan | Step::Publish | Step::Intent | Step::Call | Step::Record | Step::Acknowledge => {
                (DECIDE_RATE * 5, 2)
            }
            _ => (DECIDE_RATE, 1),
        };
        for _ in 0..looks {
            if !self.is_peace() && !profile.decisions.is_empty() && scheduler.chance(decide_rate) {
                self.decide_at(step);
            }
        }
        if !self.is_peace() && !profile.faults.is_empty() && scheduler.chance(rate) {
            let fault = profile.faults[scheduler.below(profile.faults.len() as u64) as usize];
            self.strike(fault, process, step, &mut arrow).await;
        }
        if self.is_gone(process, server) {
            scheduler.sleep(scheduler.millis(20, 300)).await;
            return Err(Gone);
        }
        Ok(arrow)
    }

    fn decide_at(&self, step: Step) {
        let decisions = &self.profile().decisions;
        let act = decisions[self.scheduler.below(decisions.len() as u64) as usize];
        let is_a_file = act.is_a_file();
        let may = match is_a_file {
            true => self.trouble().files_handed < FILES_MAX,
            false => self.trouble().decisions < DECISIONS_MAX,
        };
        if may && self.act(act) {
            self.trouble().decisions += u64::from(!is_a_file);
            self.trouble().files_handed += u64::from(is_a_file);
            self.matrix.hit(step, act);
        }
    }

    /// Right after it was done.
    pub async fn after(&self, process: ProcessId, step: Step, server: Server, arrow: Arrow) -> Result<(), Gone> {
        if arrow.crashes_after {
            self.matrix.hit(step, Fault::CrashAfter);
            self.crash(process, step, "after").await;
        }
        if arrow.is_lost {
            self.matrix.hit(step, Fault::Lost);
            let name = self.scheduler.name(process);
            self.scheduler.note(|| format!("{name}: the answer to {step:?} is lost"));
            self.scheduler.sleep(self.scheduler.millis(20, 300)).await;
            return Err(Gone);
        }
        // An answer can be lost by what happened to the server meanwhile.
        if self.is_gone(process, server) {
            return Err(Gone);
        }
        Ok(())
    }

    async fn crash(&self, process: ProcessId, step: Step, when: &str) {
        let name = self.scheduler.name(process);
        self.scheduler.note(|| format!("{name} is killed {when} {step:?}"));
        self.scheduler.kill(process);
        self.scheduler.never().await;
    }

    async fn strike(&self, fault: Fault, process: ProcessId, step: Step, arrow: &mut Arrow) {
        let scheduler = &self.scheduler;
        let now = scheduler.now();
        let name = scheduler.name(process);
        match fault {
            Fault::CrashAfter => arrow.crashes_after = true,
            Fault::Lost => arrow.is_lost = true,
            Fault::Duplicate => {
                arrow.is_duplicated = true;
                // A rail's request is doubled only where the rail takes it for what it is.
                if step != Step::Call {
                    self.matrix.hit(step, fault);
                }
            }
            _ => {
                self.matrix.hit(step, fault);
                scheduler.note(|| format!("{fault:?} at {step:?} of {name}"));
            }
        }
        match fault {
            Fault::CrashBefore => self.crash(process, step, "before").await,
            Fault::PausePastLease => {
                scheduler.stop(process, LEASE_TTL + scheduler.millis(10, 6_000));
                scheduler.sleep(Duration::ZERO).await;
            }
            Fault::PartitionFromRedis => self.part(process, Server::Redis),
            Fault::PartitionFromPostgres => self.part(process, Server::Postgres),
            Fault::PartitionFromRail => self.part(process, Server::Rail),
            Fault::Flushall => self.streams().flush_all(),
            Fault::StaleFailover => self.streams().fail_over(),
            Fault::PostgresRestart => self.trouble().postgres_down_until = now + scheduler.millis(200, 3_000),
            Fault::TimeoutAfterAccept | Fault::RateLimited | Fault::ServerError | Fault::Malformed => {
                self.trouble().weather = Some((fault, now + scheduler.millis(100, 4_000)));
            }
            Fault::ClockStep => {
                // Anywhere within what the reconciler allows for.
                self.trouble().database_ahead = scheduler.below(80_000) as i64 - 25_000;
            }
            Fault::CrashAfter | Fault::Lost | Fault::Duplicate => {}
            _ => {} // acts are no faults of an arrow
        }
    }

    fn part(&self, process: ProcessId, server: Server) {
        let until = self.scheduler.now() + self.scheduler.millis(100, 5_000);
        self.trouble().partitions.insert((process, server), until);
    }
}
