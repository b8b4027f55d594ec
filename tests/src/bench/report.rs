//! What was measured, as lines while it goes on, as tables at the end, and as JSON.

use std::fmt;

use comfy_table::{CellAlignment, Table};
use serde::Serialize;

use super::run::Measured;
use super::site::Machine;

/// What a figure should be.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Goal {
    AtMost(f64),
    AtLeast(f64),
    Below(f64),
}

impl Goal {
    fn is_met(self, value: f64) -> bool {
        match self {
            Goal::AtMost(most) => value <= most,
            Goal::AtLeast(least) => value >= least,
            Goal::Below(end) => value < end,
        }
    }

    fn words(self, unit: Unit) -> String {
        match self {
            Goal::AtMost(most) => format!("at most {}", unit.show(most)),
            Goal::AtLeast(least) => format!("at least {}", unit.show(least)),
            Goal::Below(end) => format!("below {}", unit.show(end)),
        }
    }
}

/// What a figure is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    Times,
    Seconds,
    Micros,
    Millis,
    Mib,
    Percent,
    PerSecond,
    Count,
}

impl Unit {
    fn show(self, value: f64) -> String {
        match self {
            Unit::Times => format!("{value:.2} ×"),
            Unit::Seconds => format!("{value:.2} s"),
            Unit::Micros => format!("{value:.2} µs"),
            Unit::Millis => format!("{value:.1} ms"),
            Unit::Mib => format!("{value:.1} MiB"),
            Unit::Percent => format!("{value:.2} %"),
            Unit::PerSecond => format!("{value:.1}/s"),
            Unit::Count => format!("{value:.3}"),
        }
    }
}

/// One number.
#[derive(Debug, Clone, Serialize)]
pub struct Figure {
    pub case: &'static str,
    pub what: String,
    pub value: f64,
    pub unit: Unit,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub goal: Option<Goal>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub met: Option<bool>,
}

/// A statement that Postgres counted.
#[derive(Debug, Clone, Serialize)]
pub struct Statement {
    pub case: &'static str,
    pub calls: i64,
    pub millis: f64,
    pub wal_bytes: i64,
    pub query: String,
}

impl Statement {
    /// The comment that each statement of ours begins with, or how it begins.
    pub fn name(&self) -> &str {
        let line = self.query.lines().next().unwrap_or_default();
        let name = line.strip_prefix("-- ").unwrap_or(line);
        name.char_indices().nth(60).map_or(name, |(end, _)| &name[..end])
    }
}

/// Everything.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    pub machine: Machine,
    /// Whether everything was a tenth of its size, so that goals say nothing.
    pub quick: bool,
    pub runs: Vec<Measured>,
    pub figures: Vec<Figure>,
    pub statements: Vec<Statement>,
}

impl Report {
    /// Nothing measured yet.
    pub fn new(machine: Machine, quick: bool) -> Report {
        let Machine { processor, cores, memory_mib, postgres } = &machine;
        println!("{cores} × {processor}, {memory_mib} MiB, Postgres {postgres}");
        Report { machine, quick, runs: Vec::new(), figures: Vec::new(), statements: Vec::new() }
    }

    /// A figure that is only shown.
    pub fn shown(&mut self, case: &'static str, what: impl Into<String>, value: f64, unit: Unit) {
        self.add(case, what.into(), value, unit, None);
    }

    /// A figure with a goal.
    pub fn judged(&mut self, case: &'static str, what: impl Into<String>, value: f64, unit: Unit, goal: Goal) {
        self.add(case, what.into(), value, unit, Some(goal));
    }

    fn add(&mut self, case: &'static str, what: String, value: f64, unit: Unit, goal: Option<Goal>) {
        let met = goal.map(|goal| goal.is_met(value));
        let figure = Figure { case, what, value, unit, goal, met };
        println!("  {}: {}{}", figure.what, unit.show(value), figure.verdict());
        self.figures.push(figure);
    }

    /// What Postgres did.
    pub fn statements(&mut self, statements: Vec<Statement>) {
        for statement in &statements {
            println!("  {:9.1} ms {:6} × {}", statement.millis, statement.calls, statement.name());
        }
        self.statements.extend(statements);
    }

    /// A run.
    pub fn run(&mut self, measured: Measured) {
        let seconds = measured.taken.seconds;
        let reference = measured.reference_secs().map_or(String::new(), |secs| format!(", reference {secs:.2} s"));
        println!(
            "  {}: plan {:.2} s, settle {:.2} s, total {:.2} s; limit {:.2} s{reference}",
            measured.label,
            seconds.plan,
            seconds.settle,
            seconds.total(),
            measured.limit_secs()
        );
        self.runs.push(measured);
    }
}

impl Figure {
    fn verdict(&self) -> String {
        let Some(goal) = self.goal else { return String::new() };
        let met = if self.met == Some(true) { "met" } else { "not met" };
        format!(" (goal: {}; {met})", goal.words(self.unit))
    }
}

fn mib(kib: u64) -> String {
    format!("{:.1}", kib as f64 / 1024.0)
}

const RUN_COLUMNS: [&str; 15] = [
    "run",
    "plan s",
    "settle s",
    "total s",
    "µs each",
    "limit s",
    "× limit",
    "ref. s",
    "× ref.",
    "CPU s coord.",
    "workers",
    "Postgres",
    "Redis",
    "WAL MB",
    "peak MiB coord./worker",
];

fn run_cells(measured: &Measured) -> Vec<String> {
    let taken = &measured.taken;
    let total = taken.seconds.total();
    let workers = taken.workers.iter().map(|worker| format!("{:.1}", worker.cpu_secs)).collect::<Vec<_>>().join(" ");
    let worker_peak = taken.workers.iter().map(|worker| worker.peak_kib).max().unwrap_or(0);
    vec![
        measured.label.clone(),
        format!("{:.2}", taken.seconds.plan),
        format!("{:.2}", taken.seconds.settle),
        format!("{total:.2}"),
        format!("{:.2}", taken.micros_each()),
        format!("{:.2}", measured.limit_secs()),
        format!("{:.2}", measured.ratio()),
        measured.reference_secs().map(|secs| format!("{secs:.2}")).unwrap_or_default(),
        measured.reference_secs().map(|secs| format!("{:.2}", total / secs)).unwrap_or_default(),
        format!("{:.1}", taken.coordinator.cpu_secs),
        workers,
        format!("{:.1}", taken.postgres_cpu_secs),
        format!("{:.1}", taken.redis_cpu_secs),
        format!("{:.0}", taken.wal_bytes as f64 / 1e6),
        format!("{} / {}", mib(taken.coordinator.peak_kib), mib(worker_peak)),
    ]
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.runs.is_empty() {
            let mut grid = grid(&RUN_COLUMNS);
            grid.add_rows(self.runs.iter().map(run_cells));
            writeln!(f, "{}", right(grid))?;
        }
        let mut grid = grid(&["case", "what", "goal", "measured", ""]);
        for figure in &self.figures {
            let Some(goal) = figure.goal else { continue };
            let met = if figure.met == Some(true) { "met" } else { "not met" };
            let cells = [figure.case, &figure.what, &goal.words(figure.unit), &figure.unit.show(figure.value), met];
            grid.add_row(cells.map(str::to_owned));
        }
        write!(f, "{}", right(grid))?;
        if self.quick {
            write!(f, "\nA tenth of the real sizes: this tries the bench, and its goals say nothing.")?;
        }
        Ok(())
    }
}

fn grid(columns: &[&str]) -> Table {
    let mut grid = Table::new();
    grid.load_style(comfy_table::presets::UTF8_BORDERS_ONLY).set_header(columns);
    grid.set_content_arrangement(comfy_table::ContentArrangement::Disabled);
    grid
}

fn right(mut grid: Table) -> Table {
    for column in grid.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    grid
}
