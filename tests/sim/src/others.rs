//! Who else acts on the books while the fleet works: operators, at any moment of anybody's steps, and by commands of
//! their own.

use payfleet_domain::RunId;

use crate::matrix::Fault;
use crate::record::SimRecord;
use crate::scheduler::ProcessId;
use crate::world::World;

/// What operators give as the reason of a pause.
const PERSON: &str = "a person";

impl World {
    /// What rails do when nobody works on the runs any more, where they go on at all in this seed.
    pub fn afterwards(&self) {
        let goes_on: Vec<Fault> = self.profile().acts.iter().copied().filter(|act| act.is_an_afterthought()).collect();
        if goes_on.is_empty() {
            return;
        }
        for _ in 0..self.scheduler.below(4) {
            let act = goes_on[self.scheduler.below(goes_on.len() as u64) as usize];
            if act != Fault::StatementLags {
                self.act(act);
            }
        }
    }

    /// Does at once what somebody does meanwhile, to the first run where it can be done. Returns whether there was one.
    pub fn act(&self, act: Fault) -> bool {
        if act == Fault::StatementLags {
            self.statements_lag();
            return true;
        }
        if act.is_an_afterthought() {
            return self.rails().go_on(&self.scheduler, self, act);
        }
        if act.is_a_control() {
            return self.control(act);
        }
        if act.is_a_file() {
            return self.file(act);
        }
        if act.is_a_decision() {
            return self.decide(act);
        }
        let first = self.scheduler.below(2) as usize;
        [first, 1 - first].into_iter().any(|place| {
            let run = self.backend().run_at(place);
            let done = self.act_on(act, run);
            if done {
                self.scheduler.note(|| format!("meanwhile: {act:?}, run {run}"));
            }
            done
        })
    }

    fn act_on(&self, act: Fault, run: RunId) -> bool {
        match act {
            Fault::RunPaused => self.backend().run_pause(run).is_ok(),
            Fault::RunPausedBriefly => {
                self.backend().run_pause(run).is_ok() && self.may_resume(run) && self.backend().run_resume(run).is_ok()
            }
            Fault::RunCancelled => self.backend().run_cancel(run).is_ok(),
            _ => false,
        }
    }

    /// One of the runs that there may be.
    fn some_run(&self) -> RunId {
        let place = self.scheduler.below(2) as usize;
        self.backend().run_at(place)
    }

    /// Only what people paused is resumed here. An alarm is never cleared.
    fn may_resume(&self, run: RunId) -> bool {
        let reason = self.backend().run_find(run).ok().flatten().and_then(|run| run.pause_reason);
        match reason.as_deref() {
            Some(PERSON) => true,
            // People have looked, and can do no more about it: it was the rail's doing.
            Some(_) if self.rails().has_misbehaved() => true,
            Some(alarm) => {
                self.broken(format!("run {run} was stopped: {alarm}"));
                false
            }
            None => false,
        }
    }

    /// Lets a run go on that people paused.
    pub fn resume(&self, run: RunId) {
        if self.may_resume(run) {
            let _ = self.backend().run_resume(run); // it may be over by now
        }
    }
}

/// Starts an operator, who gives a command now and then until there is peace.
pub fn operator(world: &World) -> ProcessId {
    let process = world.scheduler.process("operator");
    let commands = SimRecord { world: world.clone(), process };
    let world = world.clone();
    let is_busy = world.scheduler.chance(300);
    let longest = if is_busy { 900 } else { 8_000 };
    world.scheduler.clone().spawn(process, async move {
        while !world.is_peace() {
            world.scheduler.sleep(world.scheduler.millis(100, longest)).await;
            let run = world.some_run();
            // What is refused or does not get through is tried by nobody again.
            match world.scheduler.below(40) {
                0..4 => drop(commands.pause(run).await),
                4..20 if world.may_resume(run) => drop(commands.resume(run).await),
                20 => drop(commands.cancel(run).await),
                21..24 => drop(commands.account_resume().await),
                _ => {}
            }
        }
        world.scheduler.never().await;
    });
    process
}
