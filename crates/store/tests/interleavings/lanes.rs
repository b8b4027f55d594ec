//! Statements that wait for their turn: each operation runs over a connection of its own, on which every statement is
//! held back until it is let go, and all orders are gone through depth-first.
//!
//! One step is one statement, COMMIT included. BEGIN is none: under READ COMMITTED it takes no snapshot; neither are
//! preparing a statement and what the pool clears a session with, which begins with BEGIN.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use payfleet_store::Store;
use sqlx::PgPool;
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;

use crate::wire::{Message, Proxy, Session};

/// How often a statement that has not answered is asked about: does it wait for a lock?
const LOOK: Duration = Duration::from_millis(1);
/// Nothing here takes this long, unless a deadlock was not resolved.
const STUCK: Duration = Duration::from_secs(20);

/// The connection of one operation.
pub struct Lane {
    pub store: Store,
    gate: Arc<Gate>,
}

#[derive(Default)]
struct Gate {
    changed: Arc<Notify>,
    now: Mutex<Now>,
}

#[derive(Default)]
struct Now {
    /// Of the server's session.
    pid: i32,
    armed: bool,
    /// Statements prepared, by their names.
    statements: HashMap<String, String>,
    /// The next step, held back.
    next: Option<(String, oneshot::Sender<()>)>,
    /// Groups that the server has not answered.
    unanswered: usize,
    /// The operation has returned.
    over: bool,
}

impl Gate {
    fn now<T>(&self, look: impl FnOnce(&mut Now) -> T) -> T {
        let looked = look(&mut self.now.lock().unwrap());
        self.changed.notify_one();
        looked
    }
}

/// `lease_acquire`, from the comment in a statement's first line; else its first word.
fn label(sql: &str) -> String {
    let line = sql.lines().next().unwrap_or("");
    let word = line.strip_prefix("-- ").unwrap_or(line);
    word.split_whitespace().next().unwrap_or("").to_owned()
}

impl Session for Gate {
    fn to_server(&self, group: Vec<Message>) -> BoxFuture<'_, Vec<Message>> {
        Box::pin(async move {
            let turn = self.now(|now| {
                let mut step = None;
                for message in &group {
                    match (message.tag, message.statement(), message.bound()) {
                        (b'P', Some((name, sql)), _) => {
                            now.statements.insert(name.to_owned(), label(sql));
                        }
                        (b'Q', Some((_, sql)), _) => step = Some(label(sql)),
                        (_, _, Some(name)) => step = now.statements.get(name).cloned(),
                        _ => {}
                    }
                }
                let held = step.filter(|step| now.armed && !step.starts_with("BEGIN"));
                held.map(|step| {
                    let (go, turn) = oneshot::channel();
                    now.next = Some((step, go));
                    turn
                })
            });
            if let Some(turn) = turn {
                // Let go, or the test has ended.
                let _ = turn.await;
            }
            if group.iter().any(|message| matches!(message.tag, b'S' | b'Q')) {
                self.now(|now| now.unanswered += 1);
            }
            group
        })
    }

    fn to_client(&self, message: &Message) {
        match message.tag {
            // Of the session that goes on; others that are opened beside it end at once.
            b'K' => self.now(|now| {
                if now.pid == 0 {
                    now.pid = i32::from_be_bytes(*message.body.first_chunk().unwrap());
                }
            }),
            b'Z' => self.now(|now| now.unanswered = now.unanswered.saturating_sub(1)),
            _ => {}
        }
    }
}

impl Lane {
    pub async fn new(url: &str, changed: Arc<Notify>) -> Lane {
        let gate = Arc::new(Gate { changed, now: Mutex::default() });
        let session = gate.clone();
        let proxy = Proxy::start(url, move || session.clone()).await;
        let store = Store::connect(&proxy.url, 1).await.unwrap();
        gate.now(|now| now.armed = true);
        Lane { store, gate }
    }

    /// Begins an operation; its first statement is held back.
    fn begin<T: Send + 'static>(&self, work: BoxFuture<'static, T>) -> JoinHandle<T> {
        self.gate.now(|now| now.over = false);
        let gate = self.gate.clone();
        tokio::spawn(async move {
            let done = work.await;
            gate.now(|now| now.over = true);
            done
        })
    }

    /// The step that is held back.
    fn next(&self) -> Option<String> {
        self.gate.now.lock().unwrap().next.as_ref().map(|(step, _)| step.clone())
    }

    fn over(&self) -> bool {
        self.gate.now.lock().unwrap().over
    }

    fn let_go(&self) {
        let next = self.gate.now(|now| now.next.take());
        next.expect("a step is held back").1.send(()).unwrap();
    }

    /// Whether the server has a statement that waits for a lock.
    async fn is_blocked(&self, look: &PgPool) -> bool {
        let (pid, busy) = {
            let now = self.gate.now.lock().unwrap();
            (now.pid, now.unanswered > 0)
        };
        busy && sqlx::query_scalar("SELECT cardinality(pg_blocking_pids($1)) > 0")
            .bind(pid)
            .fetch_one(look)
            .await
            .unwrap()
    }
}

/// One point at which a choice was made.
struct Choice {
    /// Which lane went on.
    lane: usize,
    /// Lanes that could have gone on and were not tried yet.
    open: Vec<usize>,
    /// Lanes whose going on here was tried already, or need not be: see [`Orders::next`].
    asleep: Vec<usize>,
}

/// A lane and one of its steps.
type Step = (usize, String);

/// All orders of a few lanes' steps, up to a number of interruptions.
pub struct Orders {
    /// How often a lane that could go on is interrupted by the other, at most. Without a bound the orders of two
    /// operations of several transactions are tens of thousands; what goes wrong nearly always does so within two or
    /// three interruptions (iterative context bounding, Musuvathi and Qadeer, 2007).
    interruptions: usize,
    path: Vec<Choice>,
    /// Steps of which one has waited for the transaction of the other.
    conflicts: HashSet<(Step, Step)>,
    /// How many were gone through.
    pub count: usize,
}

/// What happened in one order.
pub struct Order<T> {
    /// What the operations returned, in the order of the lanes.
    pub returned: Vec<T>,
    /// The steps in the order in which they ended: lane and name.
    pub ended: Vec<Step>,
}

impl<T> Order<T> {
    /// Where the last commit of a lane stands among all steps.
    pub fn commit(&self, lane: usize) -> usize {
        let last = self.ended.iter().rposition(|(of, step)| *of == lane && step == "COMMIT");
        last.unwrap_or_else(|| panic!("lane {lane} has not committed: {:?}", self.ended))
    }
}

/// Something that happens at one instant, when its turn has come: time passes.
pub const CLOCK: &str = "clock";

impl Orders {
    pub fn new(interruptions: usize) -> Orders {
        Orders { interruptions, path: Vec::new(), conflicts: HashSet::new(), count: 0 }
    }

    /// Goes on to the next order. `false` when all were gone through.
    ///
    /// Two neighbouring steps of different lanes need only one order if neither is a COMMIT or the clock and neither
    /// waits for the other's locks: under READ COMMITTED neither sees what the other has not committed. So a lane whose
    /// step was tried first sleeps until a step that could matter to it (sleep sets, of partial-order reduction).
    pub fn next(&mut self) -> bool {
        while let Some(last) = self.path.last_mut() {
            if let Some(lane) = last.open.pop() {
                last.asleep.push(last.lane);
                last.lane = lane;
                return true;
            }
            self.path.pop();
        }
        false
    }

    /// Carries the operations out in the current order, one on each lane, and `clock`, if given, when its turn has
    /// come.
    pub async fn run<T: Send + 'static>(
        &mut self,
        look: &PgPool,
        changed: &Notify,
        lanes: &[Lane],
        work: Vec<BoxFuture<'static, T>>,
        mut clock: Option<BoxFuture<'static, ()>>,
    ) -> Order<T> {
        let tasks: Vec<JoinHandle<T>> = lanes.iter().zip(work).map(|(lane, work)| lane.begin(work)).collect();
        let mut ended: Vec<Step> = Vec::new();
        let mut under_way: Vec<Option<Step>> = vec![None; lanes.len()];
        let mut asleep: Vec<usize> = Vec::new();
        let (mut last, mut interruptions) = (None, 0);
        for depth in 0.. {
            let blocked = settle(look, changed, lanes, &mut under_way, &mut ended).await;
            for waits in blocked.iter().filter_map(|lane| under_way[*lane].as_ref()) {
                self.note_conflicts(waits, &ended);
            }
            let mut ready: Vec<Step> = Vec::new();
            ready.extend(lanes.iter().enumerate().filter_map(|(n, lane)| Some((n, lane.next()?))));
            ready.extend(clock.is_some().then(|| (lanes.len(), CLOCK.to_owned())));
            let Some(first) = ready.first() else { break };
            let goes_on = last.filter(|last| ready.iter().any(|step| step.0 == *last));
            // Time passes beside the lanes, and interrupts none.
            let interrupts = |lane: usize| lane < lanes.len() && goes_on.is_some_and(|last| last != lane);
            if depth == self.path.len() {
                let may =
                    |lane: &usize| !asleep.contains(lane) && (interruptions < self.interruptions || !interrupts(*lane));
                let mut open: Vec<usize> = ready.iter().map(|step| step.0).filter(may).collect();
                // If all sleep, this order is as good as one that was; it is ended as it comes.
                let lane = open.pop().or(goes_on).unwrap_or(first.0);
                self.path.push(Choice { lane, open, asleep });
            }
            // A deadlock's victim is the server's choice, so that an order may not be feasible twice.
            let chosen = ready.iter().find(|step| step.0 == self.path[depth].lane).unwrap_or(first).clone();
            self.path[depth].lane = chosen.0;
            interruptions += usize::from(interrupts(chosen.0));
            last = if chosen.0 < lanes.len() { Some(chosen.0) } else { last };
            let choice = &self.path[depth];
            let indifferent =
                |step: &&Step| choice.asleep.contains(&step.0) && step.0 != chosen.0 && !self.conflict(step, &chosen);
            asleep = ready.iter().filter(indifferent).map(|step| step.0).collect();
            match lanes.get(chosen.0) {
                Some(lane) => {
                    lane.let_go();
                    let place = chosen.0;
                    under_way[place] = Some(chosen);
                }
                None => {
                    if let Some(passes) = clock.take() {
                        passes.await;
                    }
                    ended.push(chosen);
                }
            }
        }
        self.count += 1;
        let mut returned = Vec::new();
        for task in tasks {
            returned.push(task.await.unwrap());
        }
        Order { returned, ended }
    }

    /// A step waits: for something that another lane did since its last COMMIT.
    fn note_conflicts(&mut self, waits: &Step, ended: &[Step]) {
        for lane in ended.iter().map(|step| step.0).filter(|lane| *lane != waits.0).collect::<HashSet<_>>() {
            let of_lane = ended.iter().rev().filter(|step| step.0 == lane);
            for step in of_lane.take_while(|step| step.1 != "COMMIT") {
                self.conflicts.insert((step.clone(), waits.clone()));
                self.conflicts.insert((waits.clone(), step.clone()));
            }
        }
    }

    fn conflict(&self, one: &Step, other: &Step) -> bool {
        let always = |step: &Step| matches!(step.1.as_str(), "COMMIT" | CLOCK);
        always(one) || always(other) || self.conflicts.contains(&(one.clone(), other.clone()))
    }
}

/// Waits until every lane has its next step held back, waits for a lock, or is over. Returns those that wait for a
/// lock.
async fn settle(
    look: &PgPool,
    changed: &Notify,
    lanes: &[Lane],
    under_way: &mut [Option<Step>],
    ended: &mut Vec<Step>,
) -> Vec<usize> {
    let since = Instant::now();
    // Most statements answer before anybody would have asked whether they wait.
    let mut is_late = false;
    loop {
        let (mut blocked, mut over, mut unsettled) = (Vec::new(), 0, 0);
        for (n, lane) in lanes.iter().enumerate() {
            if lane.over() || lane.next().is_some() {
                ended.extend(under_way[n].take());
                over += usize::from(lane.over());
            } else if is_late && lane.is_blocked(look).await {
                blocked.push(n);
            } else {
                unsettled += 1;
            }
        }
        // Lanes that all wait for each other are a deadlock: the server ends it.
        if unsettled == 0 && (blocked.is_empty() || blocked.len() + over < lanes.len()) {
            return blocked;
        }
        assert!(since.elapsed() < STUCK, "stuck after {ended:?} in {under_way:?}");
        is_late = tokio::time::timeout(LOOK, changed.notified()).await.is_err();
    }
}
