//! `pause`, `resume`, `cancel`: how people steer a run.

use std::collections::BTreeMap;
use std::time::Duration;

use payfleet_domain::{PayoutState, Rail, RunId, RunState};
use payfleet_runtime::exit::ExitCode;
use payfleet_store::{RunControls, StopCounts, Store};

use crate::cli::{CancelArgs, PauseArgs, RunNumber};
use crate::failure::Failure;
use crate::plan::{OnPause, complete, find};
use crate::show;
use crate::since::Since;

/// `pause`.
pub async fn pause(store: &Store, args: &PauseArgs) -> Result<ExitCode, Failure> {
    let run = args.run.run;
    store.run_pause(run, &args.reason).await?;
    if !arrived(store, run).await? {
        return Err(Failure::busy(format!("run {run} was resumed by somebody before the whole fleet had stopped")));
    }
    let left = Left::of(&store.stop_counts(run).await?);
    show::print(&format!(
        "run {run} is paused: nothing more of it is sent\n{}{}",
        calls(left.total.calls),
        line(left.total.unsent, "were not sent"),
    ));
    show::print(&line(left.total.answering, "were sent, and their answers are coming in"));
    show::print(&line(left.total.in_doubt, "were perhaps sent, and have no answer"));
    show::print(&controls(store, run).await?);
    Ok(ExitCode::Done)
}

/// `resume`.
pub async fn resume(store: &Store, args: &RunNumber) -> Result<ExitCode, Failure> {
    store.run_resume(args.run).await?;
    show::print(&format!("run {} goes on\n{}", args.run, controls(store, args.run).await?));
    Ok(ExitCode::Done)
}

/// `cancel`.
pub async fn cancel(store: &Store, args: &CancelArgs) -> Result<ExitCode, Failure> {
    let run = args.run.run;
    if find(store, run).await?.state == RunState::Planning {
        // A half-made plan has closed the windows of half of the accounts, so it must be finished before it can be
        // undone. The pause keeps it from being paid in between, whoever else runs meanwhile.
        store.run_pause(run, "is being cancelled").await?;
        complete(store, run, args.plan, OnPause::GoOn).await?;
    }
    store.run_cancel(run).await?;
    arrived(store, run).await?;
    // What its workers have given back since.
    store.run_cancel(run).await?;
    let left = Left::of(&store.stop_counts(run).await?);
    // Whoever cancelled them: workers do it too, and so did this command if it is repeated.
    let (cancelled, unsent) = store.cancel_counts(run).await?;
    let outcomes = store.run_outcomes(run).await?;
    let held: i64 = outcomes.iter().filter(|line| line.state == PayoutState::Held).map(|line| line.payouts).sum();
    let mut told = format!("run {run} is cancelled: nothing more of it is sent\n{}", calls(left.total.calls));
    told += &line(cancelled + unsent, "are never sent, and their money is due again in the next run");
    told += &line(unsent, "of these are cancelled only when the calls under way have ended");
    told += &line(left.total.answering, "were sent, and their answers are coming in");
    told += &line(left.asked, "were perhaps sent: the rail is asked, and what it does not know is cancelled");
    for (rail, class, payouts) in left.no_way {
        let what = format!(
            "were perhaps sent over {rail}, which cannot be asked (class {class}): \
             without an answer they are held for people"
        );
        told += &line(payouts, &what);
    }
    told += &line(held, "are held for people; see `holds`");
    let row = find(store, run).await?;
    if let Some(since) = Since::find(store, row.tenant, Some(&row.period)).await? {
        told += &since.told(&row.tenant_name);
    }
    show::print(&told);
    Ok(ExitCode::Done)
}

/// What controls hold back of a run.
async fn controls(store: &Store, run: RunId) -> Result<String, Failure> {
    let RunControls { held, waiting } = store.run_controls(run).await?;
    Ok(line(held, "are held by controls; `holds` lists them") + &line(waiting, "are under control, and will be held"))
}

/// A line of the answer, if there is something to say.
fn line(payouts: i64, what: &str) -> String {
    if payouts > 0 { format!("  {payouts} payouts {what}\n") } else { String::new() }
}

fn calls(calls: i64) -> String {
    format!("  {calls} calls were under way when it stopped\n")
}

/// Waits until the stop has arrived at every worker, or the leases of those that do not answer have ended: at most a
/// lease's lifetime. Returns whether the run is still stopped then.
async fn arrived(store: &Store, run: RunId) -> Result<bool, Failure> {
    let mut every = tokio::time::interval(Duration::from_millis(50));
    loop {
        every.tick().await;
        let progress = store.stop_progress(run).await?;
        if !progress.is_stopped || progress.unconfirmed == 0 {
            return Ok(progress.is_stopped);
        }
    }
}

/// What a stop has left, as it is told.
#[derive(Debug, Default)]
struct Left {
    total: StopCounts,
    /// In doubt, where the rail can be asked.
    asked: i64,
    /// In doubt, where it cannot: rail and class.
    no_way: Vec<(String, &'static str, i64)>,
}

impl Left {
    fn of(rails: &BTreeMap<String, StopCounts>) -> Left {
        let mut left = Left::default();
        for (name, counts) in rails {
            left.total.calls += counts.calls;
            left.total.unsent += counts.unsent;
            left.total.answering += counts.answering;
            left.total.in_doubt += counts.in_doubt;
            match Rail::named(name) {
                Ok(rail) if rail.can_be_looked_up() => left.asked += counts.in_doubt,
                known if counts.in_doubt > 0 => {
                    let class = known.map_or("?", |rail| rail.class.letter());
                    left.no_way.push((name.clone(), class, counts.in_doubt));
                }
                _ => {}
            }
        }
        left
    }
}
