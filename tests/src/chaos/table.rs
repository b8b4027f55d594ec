//! What was done and what came of it, as one table.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use comfy_table::{CellAlignment, Table as Grid};
use rand::RngExt;
use rand_pcg::Pcg64;

use super::fault::Fault;
use super::recovery::LONGEST;
use super::stops::Kept;

/// What is measured with a stop-watch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Watch {
    /// From a kill until another worker has each of its batches.
    Kill,
    /// From FLUSHALL until workers get hints again.
    Flush,
}

/// The slowest of one kind.
#[derive(Debug, Clone, Copy, Default)]
pub struct Slowest {
    /// How many were measured.
    pub measured: u64,
    /// Over all of them.
    pub of_all: Duration,
    /// How many of them had no other outage in between.
    pub undisturbed: u64,
    /// And the slowest among those.
    pub of_undisturbed: Duration,
}

/// Counts, while it goes on.
#[derive(Debug, Default)]
pub struct Table {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default, Clone)]
struct Inner {
    faults: BTreeMap<Fault, u64>,
    /// What operators did, by the state that they did it in.
    states: BTreeMap<(Fault, String), u64>,
    watches: BTreeMap<Watch, Slowest>,
    notes: Vec<String>,
    broken: Vec<String>,
}

impl Table {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        // Every critical section is one operation on one field.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One more.
    pub fn count(&self, fault: Fault) {
        *self.inner().faults.entry(fault).or_default() += 1;
    }

    /// One more in this state.
    pub fn count_state(&self, fault: Fault, state: &str) {
        *self.inner().states.entry((fault, state.to_owned())).or_default() += 1;
    }

    /// So many more.
    pub fn count_all(&self, fault: Fault, times: usize) {
        *self.inner().faults.entry(fault).or_default() += times as u64;
    }

    /// One of these: as likely as not the one that struck least, so that each strikes in the end.
    pub fn draw(&self, faults: &[Fault], generator: &mut Pcg64) -> Fault {
        let any = faults[generator.random_range(0..faults.len())];
        let inner = self.inner();
        let least = faults.iter().copied().min_by_key(|fault| inner.faults.get(fault)).unwrap_or(any);
        if generator.random_bool(0.5) { least } else { any }
    }

    /// A measurement.
    pub fn measured(&self, watch: Watch, took: Duration, undisturbed: bool) {
        let mut inner = self.inner();
        let slowest = inner.watches.entry(watch).or_default();
        slowest.measured += 1;
        slowest.of_all = slowest.of_all.max(took);
        if undisturbed {
            slowest.undisturbed += 1;
            slowest.of_undisturbed = slowest.of_undisturbed.max(took);
        }
    }

    /// Something that a reader of the table should know.
    pub fn note(&self, note: String) {
        self.inner().notes.push(note);
    }

    /// Something that must not be.
    pub fn broken(&self, what: String) {
        eprintln!("broken: {what}");
        self.inner().broken.push(what);
    }
}

/// What journal and plans say together, in numbers.
#[derive(Debug, Default, Clone)]
pub struct Outcome {
    /// Runs by how they ended.
    pub runs: BTreeMap<String, usize>,
    /// Payouts that they planned.
    pub payouts: usize,
    /// Paid exactly once, as planned.
    pub paid: usize,
    /// Paid more than once by us.
    pub twice: usize,
    /// Paid without a plan, or otherwise than planned.
    pub wrong: usize,
    /// Money due that is neither paid, nor held, nor excluded.
    pub skipped: usize,
    /// By their state, those that the journal does not have as paid.
    pub unpaid: BTreeMap<String, usize>,
    /// Contradicted by the journal for what a rail or people did on purpose, and told as a discrepancy.
    pub told: usize,
    /// Accounts that a plan left out with a reason.
    pub excluded: i64,
    /// Accounts held against all their runs.
    pub accounts: usize,
    /// How pauses and cancels were kept.
    pub stops: Kept,
}

/// The end of the chaos.
#[derive(Debug, Clone)]
pub struct Report {
    /// How to repeat it.
    pub seed: u64,
    /// How long the weather lasted.
    pub lasted: Duration,
    /// How long the preparation took.
    pub prepared: Duration,
    /// From the last fault until everything was reconciled.
    pub peace: Duration,
    /// The judgement.
    pub outcome: Outcome,
    /// What the sandbox did on its own.
    pub rail_faults: BTreeMap<String, u64>,
    counts: Inner,
}

impl Report {
    /// Puts it together.
    pub fn new(
        table: &Table,
        options: super::ChaosOptions,
        (prepared, peace): (Duration, Duration),
        outcome: Outcome,
        rail_faults: BTreeMap<String, u64>,
    ) -> Report {
        let counts = table.inner().clone();
        Report { seed: options.seed, lasted: options.lasts, prepared, peace, outcome, rail_faults, counts }
    }

    /// How often it struck.
    pub fn count(&self, fault: Fault) -> u64 {
        self.counts.faults.get(&fault).copied().unwrap_or(0)
    }

    /// kill -9 of any of our programs.
    pub fn kills(&self) -> u64 {
        [Fault::WorkerKilled, Fault::CoordinatorKilled, Fault::ReconcilerKilled]
            .map(|fault| self.count(fault))
            .iter()
            .sum()
    }

    /// Crashes of servers.
    pub fn crashes(&self) -> u64 {
        [Fault::PostgresCrash, Fault::RedisCrash, Fault::RailCrash].map(|fault| self.count(fault)).iter().sum()
    }

    /// From a kill until others have what it had.
    pub fn after_kill(&self) -> Slowest {
        self.counts.watches.get(&Watch::Kill).copied().unwrap_or_default()
    }

    /// From FLUSHALL until workers get hints again.
    pub fn after_flush(&self) -> Slowest {
        self.counts.watches.get(&Watch::Flush).copied().unwrap_or_default()
    }

    /// Everything that must not be, in words. Empty is good.
    pub fn broken(&self) -> Vec<String> {
        let mut broken = self.counts.broken.clone();
        let Outcome { payouts, paid, twice, wrong, skipped, .. } = self.outcome;
        for (what, number) in [("paid twice", twice), ("paid wrongly", wrong), ("skipped", skipped)] {
            if number > 0 {
                broken.push(format!("{what}: {number}"));
            }
        }
        if payouts == 0 || paid == 0 {
            broken.push("nothing was paid".to_owned());
        }
        // How fast is told in the table, and depends on the machine: a lease of 8 s, 2 s to become the sweeper and 3 s
        // until a dead one is known, at most, on one that is quick; on one that has more to do than it can, what was
        // leased waits its turn besides. This is for what does not come back by itself.
        for (what, slowest) in [("a kill", self.after_kill()), ("FLUSHALL", self.after_flush())] {
            if slowest.of_undisturbed >= LONGEST {
                broken.push(format!("recovered from {what} only after {:.1?}", slowest.of_undisturbed));
            }
        }
        broken
    }

    /// Things to know.
    pub fn notes(&self) -> &[String] {
        &self.counts.notes
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut grid = Grid::new();
        grid.load_style(comfy_table::presets::UTF8_BORDERS_ONLY).set_header(["fault", "times"]);
        for (fault, words) in Fault::ALL {
            grid.add_row([words.to_owned(), self.count(fault).to_string()]);
        }
        for (fault, times) in &self.rail_faults {
            grid.add_row([format!("rail: {fault}"), times.to_string()]);
        }
        right(&mut grid);
        writeln!(f, "{grid}")?;

        let Outcome { runs, payouts, paid, twice, wrong, skipped, unpaid, told, excluded, accounts, stops } =
            &self.outcome;
        let mut grid = Grid::new();
        grid.load_style(comfy_table::presets::UTF8_BORDERS_ONLY).set_header(["outcome, by the rail's journal", ""]);
        let rows = |what: &str, counts: &BTreeMap<String, usize>| {
            counts.iter().map(|(word, count)| (format!("{what}{word}"), count.to_string())).collect::<Vec<_>>()
        };
        let numbers = [
            ("payouts planned", payouts.to_string()),
            ("paid once, as planned", paid.to_string()),
            ("twice", twice.to_string()),
            ("paid wrongly or unplanned", wrong.to_string()),
            ("skipped", skipped.to_string()),
            ("wronged by rails or people, and told", told.to_string()),
            ("excluded with a reason", excluded.to_string()),
            ("accounts compared over all runs", accounts.to_string()),
            ("stops of runs that returned", stops.stops.to_string()),
            ("latest call after one, at least", format!("{:.1} s", stops.latest.as_secs_f64())),
        ];
        let numbers = numbers.map(|(what, number)| (what.to_owned(), number));
        for (what, number) in rows("runs ", runs).into_iter().chain(numbers).chain(rows("not with the payee: ", unpaid))
        {
            grid.add_row([what, number]);
        }
        right(&mut grid);
        writeln!(f, "{grid}")?;

        let mut grid = Grid::new();
        grid.load_style(comfy_table::presets::UTF8_BORDERS_ONLY).set_header([
            "slowest recovery",
            "measured",
            "slowest",
            "of these undisturbed",
            "slowest",
        ]);
        for (what, slowest) in [("from a killed worker", self.after_kill()), ("from FLUSHALL", self.after_flush())] {
            grid.add_row([
                what.to_owned(),
                slowest.measured.to_string(),
                format!("{:.1} s", slowest.of_all.as_secs_f64()),
                slowest.undisturbed.to_string(),
                format!("{:.1} s", slowest.of_undisturbed.as_secs_f64()),
            ]);
        }
        right(&mut grid);
        writeln!(f, "{grid}")?;
        for note in self.notes() {
            writeln!(f, "note: {note}")?;
        }
        let states = self.counts.states.iter().map(|((fault, state), times)| format!("{fault:?} {state}: {times}"));
        writeln!(f, "note: operators acted on {}", states.collect::<Vec<_>>().join(", "))?;
        let minutes = self.lasted.as_secs().div_ceil(60);
        write!(
            f,
            "prepared in {:.0} s, chaos {:.0} s, peace {:.0} s; repeat with scripts/chaos --minutes {minutes} --seed \
             {}",
            self.prepared.as_secs_f64(),
            self.lasted.as_secs_f64(),
            self.peace.as_secs_f64(),
            self.seed
        )
    }
}

fn right(grid: &mut Grid) {
    for column in grid.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
}
