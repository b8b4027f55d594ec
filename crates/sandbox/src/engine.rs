//! The rail without its HTTP: opens the journal, executes under the lock, and answers only for what is written.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::http::StatusCode;
use payfleet_runtime::shutdown::Shutdown;
use tokio::sync::Notify;

use crate::core::{Core, Due, Returned};
use crate::dialect::{self, Dialects, Record};
use crate::faults::{CallFate, FaultConfig, Faults};
use crate::journal::{Journal, JournalError, Lines, Lost, Opened};
use crate::ledger::{Ledger, Place};
use crate::lies::{FaultKind, FaultRecord, Lies, Phantom, Plan, Planned, Return};
use crate::limit::RateLimit;
use crate::movement::Movement;
use crate::shapes;
use crate::wire::{At, Problem, Shape};

/// What the rail is told at its start.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where the journal is.
    pub data_dir: PathBuf,
    /// How long after its acceptance a batch settles.
    pub batch_settle_after: Duration,
    /// How long after its acceptance a file is on the statement.
    pub statement_after: Duration,
    /// How long after the instant that it bears a line is on the statement, by shape.
    pub statement_lag: [Duration; Shape::COUNT],
    /// How long idempotency keys are remembered.
    pub key_horizon: Duration,
    /// Requests a second and account; 0 is no limit.
    pub rate_limit: u32,
    /// The dialect that is spoken at the root as well.
    pub at_root: Option<Shape>,
    /// The faults to begin with.
    pub faults: FaultConfig,
    /// Whether written means on disk.
    pub fsync: bool,
}

/// See the module.
pub struct Engine {
    core: Mutex<Core>,
    lies: Arc<RwLock<Lies>>,
    journal: Journal,
    settings: Settings,
    planned_changed: Notify,
    notices_changed: Notify,
    shutdown: Shutdown,
}

impl From<Lost> for Problem {
    fn from(_: Lost) -> Self {
        // The server stops as well. Not a word about whether it was executed: unknown, as any 500.
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the journal is lost")
    }
}

impl Engine {
    /// Opens the journal and rebuilds everything from it.
    pub fn open(settings: Settings, shutdown: Shutdown) -> Result<Self, JournalError> {
        let opened = Opened::open(&settings.data_dir)?;
        let Replayed { ledger, lies, planned, dialects, end } = replay(&opened)?;
        let lies = Arc::new(RwLock::new(lies));
        let core = Core::new(
            ledger,
            Faults::new(settings.faults.clone()),
            RateLimit::new(settings.rate_limit),
            planned,
            dialects,
            end,
            Arc::clone(&lies),
        );
        Ok(Self {
            core: Mutex::new(core),
            lies,
            journal: opened.start(settings.fsync)?,
            settings,
            planned_changed: Notify::new(),
            notices_changed: Notify::new(),
            shutdown,
        })
    }

    /// What it was told at its start.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Whether the process is to end.
    pub fn shutdown(&self) -> &Shutdown {
        &self.shutdown
    }

    /// Returns if the journal is ever lost.
    pub async fn lost(&self) -> Lost {
        self.journal.lost().await
    }

    /// What the rail's clock says, if that is not what the machine's says.
    pub fn clock_if_it_differs(&self) -> Option<SystemTime> {
        let now = At::now();
        let said = self.core().clock(now);
        (said != now).then(|| UNIX_EPOCH + Duration::from_millis(u64::try_from(said.0).unwrap_or(0)))
    }

    /// Does this under the lock, and returns once all of it, and all that went before, is written.
    ///
    /// What is done stays done if the caller goes away while waiting.
    pub async fn execute<T>(&self, work: impl FnOnce(&mut Core) -> T) -> Result<T, Lost> {
        let (result, ticket) = {
            let core = &mut *self.core();
            let planned =
                |core: &Core| (core.planned.len(), core.planned_by_rail.len(), core.faults.config().clock_ahead_ms);
            let before = planned(core);
            let notices = |core: &Core| (core.dialects.notices.count(), core.faults.config().clock_ahead_ms);
            let told = notices(core);
            let result = work(core);
            if planned(core) != before {
                self.planned_changed.notify_one();
            }
            if notices(core) != told {
                self.notices_changed.notify_one();
            }
            let (journal, faults) = &mut core.drafts;
            (result, self.journal.append(journal, faults))
        };
        self.journal.written(ticket).await?;
        Ok(result)
    }

    /// Does this under the lock; nothing of it may be written to the journal.
    pub fn with_core<T>(&self, work: impl FnOnce(&mut Core) -> T) -> T {
        work(&mut self.core())
    }

    /// Returns when there may be another notice to send.
    pub async fn notices_changed(&self) {
        self.notices_changed.notified().await;
    }

    /// Counts a call and draws its fate; a problem if the account has made too many.
    pub fn admit(&self, shape: Shape, account: &str, paying: bool) -> Result<CallFate, Problem> {
        let core = &mut *self.core();
        core.ledger.tallies[shape as usize].requests += 1;
        if !core.limit.admits(account, Instant::now()) {
            core.limited += 1;
            return Err(Problem::rate_limited());
        }
        Ok(core.faults.draw_call(shape, paying))
    }

    /// What is told that is not so.
    pub fn lies(&self) -> RwLockReadGuard<'_, Lies> {
        // A lie is added in one step, so a panic elsewhere leaves none half told.
        self.lies.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads a movement that is written.
    pub fn read(&self, place: Place) -> Result<Movement<'static>, Problem> {
        let line = self.journal.line(place.offset).map_err(unreadable)?;
        let movement: Movement<'_> = serde_json::from_slice(&line).map_err(unreadable)?;
        Ok(movement.into_owned())
    }

    /// Reads lines that are written.
    pub fn lines(&self, start: u64, end: u64) -> Lines {
        self.journal.lines(start, end)
    }

    /// The lines of the journal up to now, from the offset that is found in the same moment; what else is wanted of it
    /// is taken along.
    pub async fn snapshot<T>(&self, start: impl FnOnce(&mut Core) -> (u64, T)) -> Result<(Lines, T), Lost> {
        let ((start, also), end) = self.execute(|core| (start(core), core.end)).await?;
        Ok((self.lines(start, end), also))
    }

    /// Gives the payment at this place back; `None` if nothing of it is left.
    pub async fn give_back(
        &self,
        place: Place,
        back: &Return,
        plan: Option<u64>,
    ) -> Result<Option<(Movement<'static>, Returned)>, Problem> {
        let paid = self.read_written(place).await?;
        let returned = self.execute(|core| core.give_back(&paid, back, plan, At::now())).await?;
        Ok(returned.map(|returned| (paid, returned)))
    }

    /// Reads a movement that was decided; it may still be on its way to the file.
    pub async fn read_written(&self, place: Place) -> Result<Movement<'static>, Problem> {
        self.execute(|_| ()).await?;
        self.read(place)
    }

    /// Carries out what is planned, for ever. To be run beside the server.
    pub async fn run_planned(self: &Arc<Self>) {
        loop {
            let (due, millis) = self.core().next_due(At::now());
            match due {
                Some(due) => {
                    let plan = due.plan.plan;
                    if let Err(problem) = self.carry_out(due).await {
                        tracing::error!(plan, ?problem, "cannot do what was planned");
                    }
                }
                None => {
                    let wait = Duration::from_millis(u64::try_from(millis.unwrap_or(3_600_000)).unwrap_or(0));
                    // Either way it is looked up again.
                    let _ = tokio::time::timeout(wait, self.planned_changed.notified()).await;
                }
            }
        }
    }

    /// Carries out everything that is planned, now and in its order; returns how much that was.
    pub async fn hurry(self: &Arc<Self>) -> Result<usize, Problem> {
        let mut due: Vec<Due> = {
            let core = &mut *self.core();
            core.planned.drain().chain(core.planned_by_rail.drain()).map(|Reverse(due)| due).collect()
        };
        due.sort_unstable();
        let count = due.len();
        for due in due {
            self.carry_out(due).await?;
        }
        Ok(count)
    }

    async fn carry_out(self: &Arc<Self>, due: Due) -> Result<(), Problem> {
        let Plan { plan, event, .. } = due.plan;
        match (event, due.place) {
            (Planned::Return(back), Some(place)) => {
                if self.give_back(place, &back, Some(plan)).await?.is_none() {
                    self.execute(|core| core.give_up(plan)).await?;
                }
            }
            (Planned::Duplicate { account }, Some(place)) => {
                let paid = self.read_written(place).await?;
                self.execute(|core| core.duplicate(paid, account.as_deref(), Some(plan), At::now())).await?;
            }
            (Planned::Denial, Some(place)) => {
                let taken = self.read_written(place).await?;
                self.execute(|core| core.deny(taken, Some(plan), At::now())).await?;
            }
            (Planned::Late(request), None) if request.shape.is_dialect() => {
                let answer = dialect::execute_late(self, &request).await;
                tracing::info!(plan, status = ?answer.status(), "a request was executed late");
                self.execute(|core| core.give_up(plan)).await?;
            }
            (Planned::Late(request), None) => {
                // Refused, expired, or known by its key: nobody is there to be told.
                let reply = shapes::execute(self, &request, Some(plan)).await;
                tracing::info!(plan, ?reply, "a request was executed late");
                self.execute(|core| core.give_up(plan)).await?;
            }
            (Planned::Return(_) | Planned::Duplicate { .. } | Planned::Denial, None) | (Planned::Late(_), Some(_)) => {
                tracing::error!(plan, "a plan that is about nothing");
            }
        }
        Ok(())
    }

    fn core(&self) -> MutexGuard<'_, Core> {
        self.core.lock().expect("after a panic in the middle of a payment nothing may be said about it any more")
    }
}

/// The journal cannot be read, and says no more than that.
pub fn unreadable(error: impl std::fmt::Display) -> Problem {
    tracing::error!(%error, "cannot read the journal");
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the journal cannot be read")
}

struct Replayed {
    ledger: Ledger,
    lies: Lies,
    /// By the machine's clock, and by the rail's.
    planned: (BinaryHeap<Reverse<Due>>, BinaryHeap<Reverse<Due>>),
    dialects: Dialects,
    end: u64,
}

fn replay(opened: &Opened) -> Result<Replayed, JournalError> {
    loop {
        let replayed = replay_once(opened)?;
        match replayed.ledger.incomplete_from() {
            None => return Ok(replayed),
            // Killed in the middle of a batch that nobody was told of: as if it had never come.
            Some(offset) => {
                tracing::warn!(offset, "cut off a batch that was not written whole");
                opened.cut(offset)?;
            }
        }
    }
}

/// What concerns dialects, in the order in which it was kept.
enum Kept {
    Record(Record),
    Phantom(Phantom),
    Forgotten,
}

fn replay_once(opened: &Opened) -> Result<Replayed, JournalError> {
    let mut ledger = Ledger::default();
    let mut lies = Lies::default();
    let mut planned: BTreeMap<u64, (u64, Plan)> = BTreeMap::new();
    let mut last_fault = 0;
    let mut forgotten = 0;
    let mut records = Vec::new();
    opened.each_fault(|line| {
        let FaultRecord { line, kind } = serde_json::from_slice(line).map_err(|error| error.to_string())?;
        last_fault = last_fault.max(line);
        match kind {
            FaultKind::Alter(alteration) => lies.alter(line, alteration),
            FaultKind::Phantom(phantom) => {
                if phantom.shape.is_dialect() {
                    records.push((line, Kept::Phantom(phantom.clone())));
                }
                lies.invent(line, phantom);
            }
            FaultKind::Plan(plan) => {
                last_fault = last_fault.max(plan.plan);
                planned.insert(plan.plan, (line, plan));
            }
            FaultKind::Done => {
                planned.remove(&line);
            }
            FaultKind::ForgetKeys => {
                forgotten = forgotten.max(line);
                records.push((line, Kept::Forgotten));
            }
            FaultKind::Dialect { record } => records.push((line, Kept::Record(*record))),
        }
        Ok(())
    })?;
    let of_dialects = records.iter().map(|(line, _)| line);
    let mut places: HashMap<u64, Option<Place>> =
        planned.values().map(|(line, _)| line).chain(of_dialects).map(|line| (*line, None)).collect();
    let mut follow = Vec::new();
    let mut offset_after = 0;
    let end = opened.each_movement(|offset, line| {
        offset_after = offset + line.len() as u64 + 1;
        let movement: Movement<'_> = serde_json::from_slice(line).map_err(|error| error.to_string())?;
        if let Some(place) = places.get_mut(&movement.line) {
            *place = Some(Place { offset, line: movement.line, at: movement.at });
        }
        if let Some(done) = movement.plan {
            planned.remove(&done);
        }
        ledger.apply(&movement, offset..offset_after)?;
        if movement.shape.is_dialect() && movement.of.is_some() {
            follow.push(movement.into_owned());
        }
        Ok(())
    })?;
    // Numbers that a lie was told of are not used again, even if the payment itself was never written.
    ledger.skip_line(last_fault);
    ledger.forget_keys_before(forgotten);
    // What was planned for a payment that was never written is not there either.
    let mut dialects = Dialects::default();
    let (mut records, mut follow) = (records.into_iter().peekable(), follow.into_iter().peekable());
    while let Some((line, record)) = records.next() {
        match record {
            Kept::Record(record) if line == 0 || places.get(&line).is_some_and(Option::is_some) => {
                dialects.apply(line, record);
            }
            // Of a payment that was never written.
            Kept::Record(_) => {}
            Kept::Phantom(phantom) => dialects.invent(line, &phantom),
            Kept::Forgotten => dialects.forget_keys(),
        }
        // What came later to a payment is followed as soon as everything is there that was kept before it.
        let next = records.peek().map_or(u64::MAX, |(next, _)| *next);
        while let Some(movement) = follow.next_if(|movement| movement.line < next) {
            dialects.follow(&movement);
        }
    }
    let planned = planned.into_values().filter_map(|(line, plan)| {
        let place = places.get(&line).copied().flatten();
        let is_late = matches!(plan.event, Planned::Late(_));
        (is_late || place.is_some()).then_some(Reverse(Due { plan, place }))
    });
    let planned = planned.partition(|Reverse(due)| !due.plan.by_rail);
    Ok(Replayed { ledger, lies, planned, dialects, end })
}
