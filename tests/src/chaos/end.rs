//! The judgement: the journal held against plans, states, verdicts and balances, at the end of all windows.
//!
//! What a rail or people did on purpose (see [`super::deeds`]) may not be called paid twice by us, nor may a run be
//! called reconciled that it contradicts.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use payfleet_domain::invariant::{broken, ledger_sums_to_zero};

use super::deeds::Done;
use super::fault::Fault;
use super::table::{Outcome, Report};
use super::world::World;
use crate::oracle::{self, Movement, PlannedPayout};

/// Of each kind of fault that was found so many are told one by one.
const TOLD: usize = 10;

/// Judges. Everything is over.
pub async fn judge(world: &Arc<World>, prepared: Duration, peace: Instant) -> Report {
    let watches = std::mem::take(&mut *world.watches.lock().unwrap_or_else(PoisonError::into_inner));
    watches.join_all().await;
    let lasted = peace.elapsed();
    let outcome = match outcome(world).await {
        Ok(outcome) => outcome,
        Err(error) => {
            world.table.broken(format!("the database cannot be read at the end: {error}"));
            Outcome::default()
        }
    };
    let rail_faults = rail_faults(world).await;
    let report = Report::new(&world.table, world.options, (prepared, lasted), outcome, rail_faults);
    if report.broken().is_empty() && !world.options.keep {
        let _ = std::fs::remove_dir_all(world.folder()); // it is only a temporary folder
    }
    report
}

/// What is known at the end.
struct End {
    done: Done,
    /// By payout, refusals left out.
    movements: HashMap<i64, Vec<Movement>>,
    /// The verdict of each run, and whether it is over.
    runs: HashMap<i64, (String, Option<String>)>,
    /// Payouts to which a rail or people did what a verdict must tell of, if it is not right in the end.
    wronged: BTreeSet<i64>,
}

async fn outcome(world: &World) -> Result<Outcome, sqlx::Error> {
    let database = &world.database;
    world.journal.read_on();
    let journal = world.journal.lines();
    let runs: Vec<(i64, String, Option<String>)> =
        sqlx::query_as("SELECT id, state, verdict FROM run").fetch_all(database).await?;
    let mut planned = Vec::new();
    for (run, ..) in &runs {
        planned.extend(oracle::planned(database, *run).await);
    }
    let end = End::of(world, &journal, runs);
    let mut outcome = Outcome { payouts: planned.len(), ..Outcome::default() };
    for (state, verdict) in end.runs.values() {
        let word = match verdict.as_deref() {
            Some(verdict) if verdict != state => format!("{state}, {verdict}"),
            _ => state.clone(),
        };
        *outcome.runs.entry(word).or_default() += 1;
    }
    end.payouts(world, &planned, &mut outcome);
    let known: BTreeSet<i64> = planned.iter().map(|payout| payout.id).collect();
    let strangers: Vec<&i64> = end.movements.keys().filter(|payout| !known.contains(payout)).collect();
    outcome.wrong += strangers.len();
    tell(world, "paid, and never planned", &strangers);
    end.verdicts(world).await?;
    let miscounted: Vec<(i64, String, String)> =
        sqlx::query_as(include_str!("../../../crates/store/tests/support/miscounted.sql")).fetch_all(database).await?;
    tell(world, "batches that keep outcomes that are not those of their payouts", &miscounted);
    let sums = oracle::ledger_sums(database).await?;
    if !ledger_sums_to_zero(&sums) {
        world.table.broken(format!("the ledger does not sum to zero: {sums:?}"));
    }
    end.accounts(world, &mut outcome).await?;
    outcome.excluded = sqlx::query_scalar("SELECT count(*) FROM exclusion").fetch_one(database).await?;
    outcome.stops = stops(world, &journal);
    late(world, &journal, &end);
    end.alarms(world).await?;
    look_through_logs(world);
    Ok(outcome)
}

fn tell<T: std::fmt::Debug>(world: &World, what: &str, found: &[T]) {
    if !found.is_empty() {
        world.table.broken(format!("{what}: {} in all, such as {:?}", found.len(), &found[..found.len().min(TOLD)]));
    }
}

impl End {
    fn of(world: &World, journal: &[Movement], runs: Vec<(i64, String, Option<String>)>) -> End {
        let done = world.deeds.all();
        let mut wronged: BTreeSet<i64> = done.wronged.keys().copied().collect();
        let mut movements: HashMap<i64, Vec<Movement>> = HashMap::new();
        for movement in journal.iter().filter(|movement| movement.event != "refused") {
            let payout = movement.payout();
            // The rail paid what nobody had ordered, or what it had promised not to pay any more.
            if movement.event == "paid"
                && (movement.extra || done.given_up.get(&payout).is_some_and(|given_up| movement.at > *given_up))
            {
                wronged.insert(payout);
            }
            movements.entry(payout).or_default().push(movement.clone());
        }
        let runs = runs.into_iter().map(|(run, state, verdict)| (run, (state, verdict))).collect();
        End { done, movements, runs, wronged }
    }

    fn verdict(&self, payout: i64) -> Option<&str> {
        self.runs.get(&(payout >> 32)).and_then(|(_, verdict)| verdict.as_deref())
    }

    /// Each payout against the journal.
    fn payouts(&self, world: &World, planned: &[PlannedPayout], outcome: &mut Outcome) {
        let (mut twice, mut wrong, mut untold, mut forgotten) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for payout in planned {
            let movements: Vec<&Movement> = self.movements.get(&payout.id).into_iter().flatten().collect();
            let ours = movements.iter().filter(|movement| movement.event == "paid" && !movement.extra).count();
            if ours > 1 {
                twice.push(payout.id);
            }
            let kinds = broken(&oracle::facts(payout, &movements));
            let verdict = self.verdict(payout.id);
            let told = || format!("{} {} in a run that is {verdict:?}: {kinds:?}", payout.id, payout.state);
            let is_kept = self.done.kept_runs.contains(&(payout.id >> 32));
            match (kinds.is_empty(), self.wronged.contains(&payout.id), verdict) {
                (true, ..) => {}
                (false, true, Some("discrepant")) => outcome.told += 1,
                // It stays paused, and nobody has called it right.
                (false, true, None) if is_kept => {}
                (false, true, _) => untold.push(told()),
                (false, false, _) => wrong.push(told()),
            }
            match (net(&movements), payout.state.as_str()) {
                (0, "held" | "refused" | "cancelled" | "returned") => {
                    *outcome.unpaid.entry(payout.state.clone()).or_default() += 1;
                }
                (0, "planned" | "unknown" | "accepted") if is_kept => {
                    *outcome.unpaid.entry("paused".to_owned()).or_default() += 1;
                }
                (0, _) if !kinds.is_empty() => {}
                (0, _) => forgotten.push((payout.id, &payout.state)),
                (_, "planned" | "unknown" | "accepted") if !is_kept => forgotten.push((payout.id, &payout.state)),
                _ if ours == 1 && kinds.is_empty() => outcome.paid += 1,
                _ => {}
            }
        }
        (outcome.twice, outcome.wrong, outcome.skipped) = (twice.len(), wrong.len(), forgotten.len());
        tell(world, "paid twice by us", &twice);
        tell(world, "the journal contradicts what nobody but the fleet did", &wrong);
        tell(world, "the journal contradicts what is not told", &untold);
        tell(world, "planned, and its outcome is not known", &forgotten);
    }

    /// Each discrepancy is one that the harness can explain, and no run is discrepant without.
    async fn verdicts(&self, world: &World) -> Result<(), sqlx::Error> {
        let found: Vec<(i64, Option<i64>, String, String)> = sqlx::query_as(
            "SELECT n.run_id, d.payout_id, d.kind, concat_ws(' ', d.affiliate, d.currency, d.expected, d.found)
               FROM (SELECT DISTINCT ON (run_id) run_id, id FROM reconciliation ORDER BY run_id, id DESC) AS n
               JOIN discrepancy d ON d.reconciliation_id = n.id JOIN run r ON r.id = n.run_id
              WHERE r.verdict IS NOT NULL",
        )
        .fetch_all(&world.database)
        .await?;
        let explained = |payout: &Option<i64>| payout.is_some_and(|payout| self.wronged.contains(&payout));
        let unexplained: Vec<_> = found.iter().filter(|(_, payout, ..)| !explained(payout)).collect();
        tell(world, "discrepancies that nobody caused", &unexplained);
        let with_some: BTreeSet<i64> = found.iter().map(|(run, ..)| *run).collect();
        let discrepant = self.runs.iter().filter(|(_, (_, verdict))| verdict.as_deref() == Some("discrepant"));
        let without: Vec<_> = discrepant.filter(|(run, _)| !with_some.contains(run)).collect();
        tell(world, "discrepant without a discrepancy", &without);
        Ok(())
    }

    /// An alarm that says that somebody was paid twice is about a payout to which a rail or people did it.
    async fn alarms(&self, world: &World) -> Result<(), sqlx::Error> {
        let raised: Vec<(i64, String)> = sqlx::query_as(
            "SELECT payout_id, kind || ': ' || words
               FROM alarm
              WHERE kind IN ('double_payment', 'paid_again')
              ORDER BY id",
        )
        .fetch_all(&world.database)
        .await?;
        let unexplained: Vec<_> = raised.iter().filter(|(payout, _)| !self.wronged.contains(payout)).collect();
        tell(world, "alarms that nobody caused", &unexplained);
        Ok(())
    }

    /// Each account over all its runs: what was earned is with the payee by the journal, or still due, or held; and
    /// what is due is in the last plan's exclusions, or was in its payout. So whatever was cancelled, refused or
    /// returned was payable again exactly once.
    async fn accounts(&self, world: &World, outcome: &mut Outcome) -> Result<(), sqlx::Error> {
        let open: Vec<(i64, i64, String, i64, String)> =
            sqlx::query_as("SELECT id, affiliate_id, currency::text, amount_minor, state FROM payout")
                .fetch_all(&world.database)
                .await?;
        // By the journal, and by what our record says of each payout.
        let mut gone: BTreeMap<(i64, String), i64> = BTreeMap::new();
        let mut booked: BTreeMap<(i64, String), i64> = BTreeMap::new();
        let mut wronged: BTreeSet<(i64, String)> = BTreeSet::new();
        for (payout, affiliate, currency, amount, state) in open {
            let movements: Vec<&Movement> = self.movements.get(&payout).into_iter().flatten().collect();
            let account = (affiliate, currency);
            let waits = matches!(state.as_str(), "held" | "planned" | "unknown" | "accepted");
            *gone.entry(account.clone()).or_default() += match net(&movements) {
                0 if waits => amount,
                net => net,
            };
            if !matches!(state.as_str(), "refused" | "cancelled" | "returned") {
                *booked.entry(account.clone()).or_default() += amount;
            }
            if self.wronged.contains(&payout) {
                wronged.insert(account);
            }
        }
        let accounts: Vec<(i64, String, i64, i64, i64, i64)> = sqlx::query_as(
            "WITH last AS (SELECT DISTINCT ON (tenant_id) id, tenant_id, cutoff FROM run
                            ORDER BY tenant_id, ordinal DESC),
                  due AS (SELECT c.affiliate_id, c.currency, sum(c.amount_minor)::bigint AS minor
                            FROM commission c JOIN last USING (tenant_id) WHERE c.due_at <= last.cutoff GROUP BY 1, 2)
             SELECT a.affiliate_id, a.currency::text, coalesce(due.minor, 0), a.carried_minor,
                    coalesce(e.amount_minor, 0), coalesce(p.amount_minor, 0)
               FROM account a JOIN last USING (tenant_id)
               FULL JOIN due ON due.affiliate_id = a.affiliate_id AND due.currency = a.currency
               LEFT JOIN exclusion e ON e.run_id = last.id AND e.affiliate_id = a.affiliate_id
                                    AND e.currency = a.currency
               LEFT JOIN payout p ON p.run_id = last.id AND p.affiliate_id = a.affiliate_id AND p.currency = a.currency
                                 AND p.state IN ('refused', 'returned', 'cancelled')",
        )
        .fetch_all(&world.database)
        .await?;
        outcome.accounts = accounts.len();
        let (mut wrong, mut forgotten) = (Vec::new(), Vec::new());
        for (affiliate, currency, earned, carried, excluded, freed) in accounts {
            let account = (affiliate, currency);
            let of = |sums: &BTreeMap<_, i64>| sums.get(&account).copied().unwrap_or(0);
            let (gone, booked) = (of(&gone), of(&booked));
            if earned - carried != booked || booked != gone && !wronged.contains(&account) {
                wrong.push(format!(
                    "{account:?}: earned {earned}, still due {carried}, gone by our record {booked} and by the journal \
                     {gone}"
                ));
            }
            if carried != excluded + freed {
                forgotten.push(format!("{account:?}: due {carried}, excluded {excluded}, freed since {freed}"));
            }
        }
        outcome.skipped += forgotten.len();
        outcome.wrong += wrong.len();
        tell(world, "accounts of which journal and balance do not add up", &wrong);
        tell(world, "due, and not in the last plan", &forgotten);
        Ok(())
    }
}

/// What the payee has of it, by the journal.
fn net(movements: &[&Movement]) -> i64 {
    let of = |movement: &&Movement| match movement.event.as_str() {
        "paid" => movement.amount_minor,
        _ => -(movement.amount_minor + movement.fee_minor),
    };
    movements.iter().map(of).sum()
}

/// Whether the journal has a call that began after its run had been stopped.
fn stops(world: &World, journal: &[Movement]) -> super::stops::Kept {
    // Of what came together, only the first line says that it is executed late.
    let late: BTreeSet<&String> =
        journal.iter().filter(|line| line.plan.is_some()).filter_map(|line| line.batch.as_ref()).collect();
    let called = |line: &&Movement| {
        let is_late = line.plan.is_some() || line.batch.as_ref().is_some_and(|batch| late.contains(batch));
        line.event != "returned" && !line.extra && !is_late
    };
    let seen = |line: &Movement| world.journal.seen(&line.id);
    let calls: Vec<(&Movement, Instant)> =
        journal.iter().filter(called).filter_map(|line| Some((line, seen(line)?))).collect();
    let kept = world.stops.judge(&calls, &world.blurred);
    tell(world, "called after its run was stopped", &kept.broken);
    if kept.unknown > 0 {
        world.table.note(format!(
            "{} calls around stops are not measured: the way to the rail was not itself, or the database's clock was \
             stepped",
            kept.unknown
        ));
    }
    kept
}

/// Counts what the rail did late.
fn late(world: &World, journal: &[Movement], end: &End) {
    let count = |fault, wanted: &dyn Fn(&&Movement) -> bool| {
        world.table.count_all(fault, journal.iter().filter(wanted).count())
    };
    count(Fault::ExecutedLate, &|line| line.event == "paid" && line.plan.is_some() && !line.extra);
    count(Fault::RefusedLate, &|line| {
        line.event == "refused" && line.of_id.is_some()
            || line.event == "returned" && line.code.as_deref() == Some("rejected")
    });
    count(Fault::ExecutedAfterAll, &|line| {
        line.event == "paid" && end.done.given_up.get(&line.payout()).is_some_and(|given_up| line.at > *given_up)
    });
}

/// Our programs end with a message, never with a panic.
fn look_through_logs(world: &World) {
    let logs = std::fs::read_dir(world.folder()).into_iter().flatten().flatten().map(|entry| entry.path());
    for log in logs.filter(|path| path.extension().is_some_and(|extension| extension == "log")) {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        for bad in ["panicked at", "do not add up", "a broken invariant"] {
            if let Some(line) = text.lines().find(|line| line.contains(bad)) {
                world.table.broken(format!("{}: {line}", log.display()));
            }
        }
    }
}

async fn rail_faults(world: &World) -> BTreeMap<String, u64> {
    let answer = world.http.get(format!("http://{}/stats", world.rail)).send().await;
    let Ok(answer) = answer else { return BTreeMap::new() };
    let stats: serde_json::Value = answer.json().await.unwrap_or_default();
    serde_json::from_value(stats["faults"].clone()).unwrap_or_default()
}
