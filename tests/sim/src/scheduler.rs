//! One seed, one order of events: an executor with virtual time, in which processes can be stopped, continued and
//! killed between any two polls.
//!
//! Nothing here runs in parallel and nothing waits: when no task can go on, the clock jumps to the next timer. Which of
//! several tasks that can go on does so is drawn from the seed.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

/// A process: its tasks live and die together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProcessId(pub usize);

/// Far more than any seed has.
const EVENTS_MAX: u64 = 300_000;

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;
type Call = Box<dyn FnOnce(&Scheduler) + Send>;

enum Timer {
    Wake(Waker),
    Call(Call),
}

#[derive(Default)]
struct Process {
    name: String,
    is_dead: bool,
    stopped_until: Duration,
}

struct State {
    rng: Pcg64Mcg,
    now: Duration,
    sequence: u64,
    timers: BTreeMap<(Duration, u64), Timer>,
    processes: Vec<Process>,
    born: Vec<(ProcessId, Task)>,
    deaths: Vec<ProcessId>,
    trace: Vec<(Duration, String)>,
    /// Of everything that was ever drawn: equal for equal orders of events.
    fingerprint: u64,
    events: u64,
}

/// A handle to the one world of a seed.
#[derive(Clone)]
pub struct Scheduler(Arc<Mutex<State>>);

struct ReadyList(Mutex<Vec<usize>>);

struct TaskWaker {
    task: usize,
    ready: Arc<ReadyList>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.ready.0.lock().unwrap_or_else(PoisonError::into_inner).push(self.task);
    }
}

impl Scheduler {
    pub fn new(seed: u64) -> Scheduler {
        Scheduler(Arc::new(Mutex::new(State {
            rng: Pcg64Mcg::seed_from_u64(seed),
            now: Duration::ZERO,
            sequence: 0,
            timers: BTreeMap::new(),
            processes: Vec::new(),
            born: Vec::new(),
            deaths: Vec::new(),
            trace: Vec::new(),
            fingerprint: seed,
            events: 0,
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner) // a panic ends the seed anyway
    }

    /// Time since the beginning.
    pub fn now(&self) -> Duration {
        self.state().now
    }

    /// A number below `end`.
    pub fn below(&self, end: u64) -> u64 {
        let mut state = self.state();
        let drawn = state.rng.random_range(0..end.max(1));
        state.fingerprint = state.fingerprint.wrapping_mul(0x0100_0000_01b3).wrapping_add(drawn + 1);
        drawn
    }

    /// Something that no draw shows, and that must be the same too.
    pub fn mark(&self, what: u64) {
        let mut state = self.state();
        state.fingerprint = state.fingerprint.wrapping_mul(0x0100_0000_01b3).wrapping_add(what + 1);
    }

    /// Whether something of this probability, in thousandths, happens.
    pub fn chance(&self, thousandths: u64) -> bool {
        self.below(1_000) < thousandths
    }

    /// From `low` to `high` milliseconds.
    pub fn millis(&self, low: u64, high: u64) -> Duration {
        Duration::from_millis(low + self.below(high - low + 1))
    }

    /// A sign that is the same for the same order of events.
    pub fn fingerprint(&self) -> u64 {
        self.state().fingerprint
    }

    /// How often a task went on.
    pub fn events(&self) -> u64 {
        self.state().events
    }

    /// Writes down what happened, for the story of a seed that fails.
    pub fn note(&self, text: impl FnOnce() -> String) {
        let mut state = self.state();
        let now = state.now;
        state.trace.push((now, text()));
    }

    /// What happened, one line each.
    pub fn story(&self) -> String {
        let state = self.state();
        state.trace.iter().map(|(at, what)| format!("{:>10.3}s  {what}\n", at.as_secs_f64())).collect()
    }

    /// A new process. It lives until it is killed or its tasks end.
    pub fn process(&self, name: &str) -> ProcessId {
        let mut state = self.state();
        state.processes.push(Process { name: name.to_owned(), ..Process::default() });
        ProcessId(state.processes.len() - 1)
    }

    pub fn name(&self, process: ProcessId) -> String {
        self.state().processes[process.0].name.clone()
    }

    /// Starts a task of a process.
    pub fn spawn(&self, process: ProcessId, task: impl Future<Output = ()> + Send + 'static) {
        self.state().born.push((process, Box::pin(task)));
    }

    /// Ends a process at once: its futures are dropped where they are.
    pub fn kill(&self, process: ProcessId) {
        let mut state = self.state();
        if !state.processes[process.0].is_dead {
            state.processes[process.0].is_dead = true;
            state.deaths.push(process);
        }
    }

    pub fn is_dead(&self, process: ProcessId) -> bool {
        self.state().processes[process.0].is_dead
    }

    /// Stops a process for a while. The clock goes on.
    pub fn stop(&self, process: ProcessId, time: Duration) {
        let mut state = self.state();
        let until = state.now + time;
        let stopped = &mut state.processes[process.0];
        stopped.stopped_until = stopped.stopped_until.max(until);
    }

    /// Continues everything that is stopped.
    pub fn continue_all(&self) {
        let mut state = self.state();
        state.processes.iter_mut().for_each(|process| process.stopped_until = Duration::ZERO);
    }

    /// Lets something happen later that belongs to no process, such as the arrival of a request.
    pub fn later(&self, wait: Duration, call: impl FnOnce(&Scheduler) + Send + 'static) {
        let mut state = self.state();
        let key = (state.now + wait, state.sequence);
        state.sequence += 1;
        state.timers.insert(key, Timer::Call(Box::new(call)));
    }

    /// Waits; also for no time at all, which lets others go first.
    pub async fn sleep(&self, wait: Duration) {
        let mut until = None;
        std::future::poll_fn(|context| {
            let mut state = self.state();
            match until {
                Some(until) if state.now >= until => Poll::Ready(()),
                _ => {
                    let at = state.now + wait;
                    // Woken by its timer alone, so polls for other reasons find the timer set.
                    if until.is_none() {
                        until = Some(at);
                    }
                    let key = (until.unwrap_or(at), state.sequence);
                    state.sequence += 1;
                    state.timers.insert(key, Timer::Wake(context.waker().clone()));
                    Poll::Pending
                }
            }
        })
        .await;
    }

    /// Never ends: what the rest of a killed process does.
    pub async fn never(&self) {
        std::future::pending::<()>().await;
    }

    /// Runs until `done` says so (asked whenever the clock moves), or until the clock reaches `limit`. Returns whether
    /// it was done. A world that goes round in circles is given up too.
    pub fn run(&self, tasks: &mut Tasks, limit: Duration, mut done: impl FnMut(&Scheduler) -> bool) -> bool {
        for _ in 0..EVENTS_MAX {
            tasks.admit(self);
            let Some(task) = tasks.next_ready(self) else {
                if done(self) {
                    return true;
                }
                let next = {
                    let mut state = self.state();
                    let wake = tasks.stopped_wake(&state);
                    let timer = state.timers.keys().next().map(|(at, _)| *at);
                    let at = [timer, wake].into_iter().flatten().min();
                    match at {
                        None => return false,
                        Some(at) if at > limit => return false,
                        Some(at) => {
                            state.now = state.now.max(at);
                            let due = state.timers.first_entry().filter(|first| first.key().0 <= at);
                            due.map(|first| first.remove())
                        }
                    }
                };
                match next {
                    Some(Timer::Wake(waker)) => waker.wake(),
                    Some(Timer::Call(call)) => call(self),
                    None => {}
                }
                continue;
            };
            self.state().events += 1;
            tasks.poll(task);
        }
        false
    }
}

/// The tasks of all processes.
pub struct Tasks {
    slots: Vec<Option<(ProcessId, Task)>>,
    ready: Arc<ReadyList>,
}

impl Default for Tasks {
    fn default() -> Self {
        Tasks { slots: Vec::new(), ready: Arc::new(ReadyList(Mutex::default())) }
    }
}

impl Tasks {
    fn admit(&mut self, scheduler: &Scheduler) {
        let (born, deaths) = {
            let mut state = scheduler.state();
            (std::mem::take(&mut state.born), std::mem::take(&mut state.deaths))
        };
        for (process, task) in born {
            self.slots.push(Some((process, task)));
            self.ready.0.lock().unwrap_or_else(PoisonError::into_inner).push(self.slots.len() - 1);
        }
        for dead in deaths {
            for slot in &mut self.slots {
                if slot.as_ref().is_some_and(|(process, _)| *process == dead) {
                    *slot = None;
                }
            }
        }
    }

    /// One of the tasks that can go on, by lot.
    fn next_ready(&mut self, scheduler: &Scheduler) -> Option<usize> {
        let mut ready = self.ready.0.lock().unwrap_or_else(PoisonError::into_inner);
        ready.sort_unstable();
        ready.dedup();
        ready.retain(|task| self.slots[*task].is_some());
        let awake: Vec<usize> = {
            let state = scheduler.state();
            let is_awake = |process: ProcessId| {
                let process = &state.processes[process.0];
                !process.is_dead && process.stopped_until <= state.now
            };
            let of = |task: usize| self.slots[task].as_ref().map(|(process, _)| *process);
            ready.iter().copied().filter(|task| of(*task).is_some_and(is_awake)).collect()
        };
        if awake.is_empty() {
            return None;
        }
        let lot = if awake.len() == 1 { 0 } else { scheduler.below(awake.len() as u64) as usize };
        ready.retain(|task| *task != awake[lot]);
        Some(awake[lot])
    }

    /// When the next stopped process with something to do goes on.
    fn stopped_wake(&self, state: &State) -> Option<Duration> {
        let ready = self.ready.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of = |task: &usize| self.slots[*task].as_ref().map(|(process, _)| *process);
        let until = ready.iter().filter_map(of).map(|process| state.processes[process.0].stopped_until);
        until.filter(|until| *until > state.now).min()
    }

    fn poll(&mut self, task: usize) {
        let waker = Waker::from(Arc::new(TaskWaker { task, ready: self.ready.clone() }));
        let mut context = Context::from_waker(&waker);
        if let Some((_, future)) = &mut self.slots[task]
            && future.as_mut().poll(&mut context).is_ready()
        {
            self.slots[task] = None;
        }
    }
}
