//! `run`: finds or creates the run, plans it, lets the fleet begin, and waits if asked to.

use payfleet_domain::RunState;
use payfleet_runtime::exit::ExitCode;
use payfleet_store::{NewRun, OutcomeCount, PlanLine, RunCreateError, RunRow, Store};
use rust_decimal::Decimal;
use serde::Serialize;

use crate::by_name::{self, Look};
use crate::cli::{Cli, RunArgs, RunCommand, WhichArgs};
use crate::connect::{SWEEPER_WILL, open_queue};
use crate::failure::Failure;
use crate::plan::{OnPause, Planning, complete, find, paused};
use crate::rails::tenant;
use crate::recover::plan_guard;
use crate::report::{OutcomeFields, RunFields, exit_code, headline, outcome_fields, outcome_table, plan_table};
use crate::{hints, show, wait};

/// The least that is paid where nobody says otherwise: 10.00.
pub const MINIMUM: Decimal = Decimal::from_parts(1_000, 0, 0, false, 2);

#[derive(Serialize)]
struct Answer<'a> {
    dry_run: bool,
    new: bool,
    #[serde(flatten)]
    run: Option<RunFields<'a>>,
    plan: &'a [PlanLine],
    /// Absent until the run is closed.
    #[serde(skip_serializing_if = "Option::is_none")]
    outcomes: Option<Vec<OutcomeFields>>,
}

/// `run`.
pub async fn run(store: &Store, cli: &Cli, args: &RunArgs) -> Result<ExitCode, Failure> {
    if let Some(RunCommand::Show(args)) = &args.what {
        return by_name::run_show(store, args).await;
    }
    let (Some(name), Some(period)) = (&args.tenant, args.period) else {
        return Err(Failure::usage("`run` needs --tenant and --period"));
    };
    let new = NewRun {
        tenant: tenant(store, name).await?,
        period,
        sequence: args.sequence,
        minimum: args.minimum.unwrap_or(MINIMUM),
    };
    if args.dry_run {
        return dry_run(store, args, name, new).await;
    }
    if let Err(wait) = plan_guard(store, new.tenant).await {
        let period = new.period.to_string();
        let is_planned =
            |run: &RunRow| run.period == period && run.sequence == new.sequence && run.state != RunState::Planning;
        if !store.runs_list(Some(new.tenant), i64::MAX).await?.iter().any(is_planned) {
            return Err(wait);
        }
    }
    let (found, is_new) = store.run_create(new).await?;
    same_minimum(args, &found)?;
    if found.state == RunState::Planning
        && complete(store, found.id, args.plan, OnPause::Stop).await? == Planning::Paused
    {
        return Err(paused(&find(store, found.id).await?));
    }
    store.runs_begin().await?;
    let row = find(store, found.id).await?;
    if row.state.is_open()
        && let Some(queue) = open_queue(cli, SWEEPER_WILL).await?
    {
        hints::publish(store, &queue).await?;
    }
    let plan = store.plan_lines(row.id).await?;
    if !args.json {
        tell_plan(&row, is_new, &plan);
    }
    let row = if args.wait { wait::until_closed(store, row.id, &cli.log).await? } else { row };
    let outcomes = match row.state.is_open() {
        true => None,
        false => Some(store.run_outcomes(row.id).await?),
    };
    let code = match (outcomes.as_deref(), row.state) {
        // Also if all of it had been paid by then, or nothing was due: somebody did not want it.
        (_, RunState::Cancelled) => ExitCode::Refused,
        (outcomes, _) => outcomes.map_or(ExitCode::Done, exit_code),
    };
    match (args.json, &outcomes) {
        (true, _) => tell_json(Some(&row), is_new, &plan, outcomes.as_deref())?,
        (false, Some(outcomes)) => show::print(&format!("\n{}\n{}\n", headline(&row), outcome_table(outcomes))),
        (false, None) => show::print(&format!("`status {} --watch` shows how it is paid\n", row.id)),
    }
    // Who only asks whether a run was triggered wants to know just that; the outcome's code is for who waits for it.
    Ok(if args.wait { code } else { ExitCode::Done })
}

/// Asking for the same run with another minimum is a mistake that must not pass for "done already".
fn same_minimum(args: &RunArgs, run: &RunRow) -> Result<(), Failure> {
    match args.minimum {
        Some(asked) if asked != run.minimum => Err(Failure::usage(format!(
            "run {} of {} {} exists with --minimum {}, and {} is asked for; the minimum of a run never changes: leave it out, or use --sequence",
            run.id,
            run.tenant_name,
            run.period,
            show::units(run.minimum),
            show::units(asked),
        ))),
        _ => Ok(()),
    }
}

fn tell_plan(run: &RunRow, is_new: bool, plan: &[PlanLine]) {
    let exists = if is_new { String::new() } else { format!("run {} exists\n", run.id) };
    show::print(&format!("{exists}{}\n{}\n", headline(run), plan_table(plan)));
}

fn tell_json(
    run: Option<&RunRow>,
    is_new: bool,
    plan: &[PlanLine],
    outcomes: Option<&[OutcomeCount]>,
) -> Result<(), Failure> {
    show::print_json(&Answer {
        dry_run: run.is_none(),
        new: is_new,
        run: run.map(RunFields::from),
        plan,
        outcomes: outcomes.map(outcome_fields),
    })
}

/// What a run would decide. Refuses what `run` would refuse, except that the month may not be over yet: then it is a forecast.
async fn dry_run(store: &Store, args: &RunArgs, tenant: &str, new: NewRun) -> Result<ExitCode, Failure> {
    let look = Look::of(args.form, args.json);
    let runs = store.runs_list(Some(new.tenant), i64::MAX).await?;
    let period = new.period.to_string();
    if let Some(run) = runs.iter().find(|run| run.period == period && run.sequence == new.sequence) {
        same_minimum(args, run)?;
        if args.list {
            return by_name::show_run(store, run, WhichArgs::default(), look).await;
        }
        let plan = store.plan_lines(run.id).await?;
        match args.json {
            true => tell_json(Some(run), false, &plan, None)?,
            false => tell_plan(run, false, &plan),
        }
        return Ok(ExitCode::Done);
    }
    if let Some(last) = runs.first() {
        let cutoff = new.period.cutoff();
        if last.cutoff > cutoff || (last.cutoff == cutoff && last.sequence >= new.sequence) {
            return Err(RunCreateError::OutOfOrder { period, last_period: last.period.clone() }.into());
        }
        if last.state == RunState::Planning {
            return Err(RunCreateError::StillPlanning(last.id).into());
        }
    }
    let before = runs.first().filter(|last| last.period == period).map_or(0, |last| last.sequence);
    if new.sequence != before + 1 {
        return Err(RunCreateError::SequenceGap { period, sequence: new.sequence }.into());
    }
    if args.list {
        return by_name::dry_run(store, new, tenant, args.plan.chunk, look).await;
    }
    let plan = store.plan_dry(new, args.plan.chunk).await?;
    match args.json {
        true => tell_json(None, false, &plan, None)?,
        false => show::print(&format!(
            "dry run: {tenant} {period}, minimum {}; nothing was written\n{}\n",
            show::units(new.minimum),
            plan_table(&plan)
        )),
    }
    Ok(ExitCode::Done)
}
