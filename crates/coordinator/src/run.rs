//! `run`: finds or creates the run, plans it, lets the fleet begin, and waits if asked to.

use payfleet_domain::RunState;
use payfleet_runtime::exit::ExitCode;
use payfleet_store::{NewRun, PlanLine, RunCreateError, RunRow, Store};
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
use crate::since::Since;
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
    /// Absent if nothing of this month or those before it became due since they were run.
    #[serde(skip_serializing_if = "Option::is_none")]
    due_since: Option<&'a Since>,
}

/// What there is already.
struct Found {
    /// The run that is asked for.
    run: Option<RunRow>,
    /// The tenant's newest.
    newest: Option<RunRow>,
}

/// `run`.
pub async fn run(store: &Store, cli: &Cli, args: &RunArgs) -> Result<ExitCode, Failure> {
    if let Some(RunCommand::Show(args)) = &args.what {
        return by_name::run_show(store, args).await;
    }
    let (Some(name), Some(period)) = (&args.tenant, args.period) else {
        return Err(Failure::usage("`run` needs --tenant and --period"));
    };
    if args.form.csv && !args.list {
        return Err(Failure::usage("--csv is of a list: --dry-run --list, or `run show RUN`"));
    }
    let new = NewRun {
        tenant: tenant(store, name).await?,
        period,
        sequence: args.sequence,
        minimum: args.minimum.unwrap_or(MINIMUM),
    };
    let there = Found::of(store, new).await?;
    if args.dry_run {
        return dry_run(store, args, name, new, there).await;
    }
    if let Err(wait) = plan_guard(store, new.tenant).await
        && there.run.as_ref().is_none_or(|run| run.state == RunState::Planning)
    {
        return Err(wait);
    }
    if let Some(newest) = there.newest.filter(|newest| there.run.is_none() && newest.state == RunState::Cancelled) {
        // Finishes a cancel that was cut off, or the new plan would be without what that has not freed.
        store.run_cancel(newest.id).await?;
    }
    let (found, is_new) = match args.skip_months {
        true => store.run_create(new).await?,
        false => store.run_create_in_order(new).await?,
    };
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
    let since = Since::find(store, new.tenant, Some(&new.period.to_string())).await?;
    if args.json {
        show::print_json(&Answer {
            dry_run: false,
            new: is_new,
            run: Some(RunFields::from(&row)),
            plan: &plan,
            outcomes: outcomes.as_deref().map(outcome_fields),
            due_since: since.as_ref(),
        })?;
    } else {
        match &outcomes {
            Some(outcomes) => show::print(&format!("\n{}\n{}\n", headline(&row), outcome_table(outcomes))),
            None => show::print(&format!("`status {} --watch` shows how it is paid\n", row.id)),
        }
        tell_since(since.as_ref(), name);
    }
    // Who only asks whether a run was triggered wants to know just that, and whether all of the month was; the
    // outcome's code is for who waits for it.
    Ok(match &since {
        Some(_) => ExitCode::Refused,
        None if args.wait => code,
        None => ExitCode::Done,
    })
}

impl Found {
    /// A run that was cancelled stays what it is, whoever asks for it again: what a person has stopped is not begun by
    /// cron. Its money is due again, and a further sequence pays it.
    async fn of(store: &Store, new: NewRun) -> Result<Found, Failure> {
        let runs = store.runs_list(Some(new.tenant), i64::MAX).await?;
        let period = new.period.to_string();
        let run = runs.iter().find(|run| run.period == period && run.sequence == new.sequence).cloned();
        Ok(Found { run, newest: runs.into_iter().next() })
    }
}

/// Asking for the same run with another minimum is a mistake that must not pass for "done already".
fn same_minimum(args: &RunArgs, run: &RunRow) -> Result<(), Failure> {
    match args.minimum {
        Some(asked) if asked != run.minimum => Err(Failure::usage(format!(
            "run {} of {} {} exists with --minimum {}, and {} is asked for; the minimum of a run never changes: \
             leave it out, or use --sequence",
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

fn tell_since(since: Option<&Since>, tenant: &str) {
    if let Some(since) = since {
        show::print(&since.told(tenant));
    }
}

/// What a run would decide. Refuses what `run` would refuse, except that the month may not be over yet: then it is a
/// forecast.
async fn dry_run(store: &Store, args: &RunArgs, tenant: &str, new: NewRun, there: Found) -> Result<ExitCode, Failure> {
    let Found { run: found, newest } = there;
    let period = new.period.to_string();
    match &found {
        Some(run) => same_minimum(args, run)?,
        None => may_create(store, args, &new, newest.as_ref()).await?,
    }
    if args.list {
        let look = Look::of(args.form, args.json);
        return match &found {
            Some(run) => by_name::show_run(store, run, WhichArgs::default(), look).await,
            None => by_name::dry_run(store, new, tenant, args.plan.chunk, look).await,
        };
    }
    let plan = match &found {
        Some(run) => store.plan_lines(run.id).await?,
        None => store.plan_dry(new, args.plan.chunk).await?,
    };
    // What a run that does not exist would pay is in its plan.
    let since = match &found {
        Some(_) => Since::find(store, new.tenant, Some(&period)).await?,
        None => None,
    };
    if args.json {
        show::print_json(&Answer {
            dry_run: found.is_none(),
            new: false,
            run: found.as_ref().map(RunFields::from),
            plan: &plan,
            outcomes: None,
            due_since: since.as_ref(),
        })?;
    } else {
        match &found {
            Some(run) => tell_plan(run, false, &plan),
            None => show::print(&format!(
                "dry run: {tenant} {period}, minimum {}; nothing was written\n{}\n",
                show::units(new.minimum),
                plan_table(&plan)
            )),
        }
        tell_since(since.as_ref(), tenant);
    }
    Ok(if since.is_some() { ExitCode::Refused } else { ExitCode::Done })
}

/// Why `run` would not make it.
async fn may_create(store: &Store, args: &RunArgs, new: &NewRun, newest: Option<&RunRow>) -> Result<(), Failure> {
    let (period, cutoff) = (new.period.to_string(), new.period.cutoff());
    if let Some(last) = newest {
        if last.cutoff > cutoff || (last.cutoff == cutoff && last.sequence >= new.sequence) {
            return Err(RunCreateError::OutOfOrder { period, last_period: last.period.clone() }.into());
        }
        if last.state == RunState::Planning {
            return Err(RunCreateError::StillPlanning(last.id).into());
        }
    }
    let before = newest.filter(|last| last.period == period).map_or(0, |last| last.sequence);
    if new.sequence != before + 1 {
        return Err(RunCreateError::SequenceGap { period, sequence: new.sequence }.into());
    }
    if !args.skip_months {
        let months = store.months_unrun(new.tenant, cutoff).await?;
        if !months.is_empty() {
            return Err(RunCreateError::SkipsMonths { period, months }.into());
        }
    }
    Ok(())
}
