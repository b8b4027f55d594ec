//! Peace, and the judgement: every run settled and reconciled, the journal held against the plans, and what was due against what was planned.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use payfleet_domain::invariant::ledger_sums_to_zero;

use super::PEACE;
use super::table::{Outcome, Report};
use super::world::World;
use crate::oracle::{self, Movement};

/// Reconcilers at once.
const AT_ONCE: usize = 3;

/// Waits until everything is settled, reconciles every run, and judges.
pub async fn judge(world: &Arc<World>, prepared: Duration, peace: Instant) -> Report {
    if let Err(open) = all_reconciled(world, peace).await {
        world.table.broken(open);
    }
    let watches = std::mem::take(&mut *world.watches.lock().unwrap_or_else(PoisonError::into_inner));
    watches.join_all().await;
    let outcome = match outcome(world).await {
        Ok(outcome) => outcome,
        Err(error) => {
            world.table.broken(format!("the database cannot be read at the end: {error}"));
            Outcome::default()
        }
    };
    look_through_logs(world);
    let rail_faults = rail_faults(world).await;
    let report = Report::new(&world.table, world.options, (prepared, peace.elapsed()), outcome, rail_faults);
    if report.broken().is_empty() && !world.options.keep {
        let _ = std::fs::remove_dir_all(world.folder()); // it is only a temporary folder
    }
    report
}

/// Runs that the reconciler has found in order, and those that are still to be asked about.
async fn all_reconciled(world: &Arc<World>, peace: Instant) -> Result<(), String> {
    let mut proven: Vec<i64> = Vec::new();
    // After long chaos one round takes minutes; what is bounded is how long nothing gets better.
    let mut since = peace;
    loop {
        let left: Vec<(i64, bool, String)> = sqlx::query_as(
            "SELECT r.id, r.paused_at IS NULL AND r.state <> 'planning' AND NOT EXISTS (
                      SELECT FROM batch b WHERE b.run_id = r.id
                         AND (b.state IN ('ready', 'sending') OR b.state = 'accepted' AND b.rail <> 'sandbox-file')),
                    concat_ws(' ', 'run', r.id, t.name, r.period, r.state, r.pause_reason)
               FROM run r JOIN tenant t ON t.id = r.tenant_id WHERE r.id <> ALL($1) ORDER BY r.id",
        )
        .bind(&proven)
        .fetch_all(&world.database)
        .await
        .unwrap_or_else(|error| vec![(0, false, error.to_string())]);
        if left.is_empty() {
            return Ok(());
        }
        let mut problems: Vec<String> = Vec::new();
        let proven_before = proven.len();
        let ready: Vec<i64> = left.iter().filter(|(_, ready, _)| *ready).map(|(run, ..)| *run).collect();
        for some in ready.chunks(AT_ONCE) {
            let reconcilers: Vec<_> = some
                .iter()
                .map(|run| {
                    let mut command = world.program("payfleet-reconciler");
                    command.args(["run", &run.to_string()]);
                    (*run, tokio::task::spawn_blocking(move || command.output()))
                })
                .collect();
            for (run, reconciler) in reconcilers {
                let output =
                    reconciler.await.expect("waiting for a program does not panic").expect("the reconciler runs");
                match output.status.code() {
                    Some(0) => proven.push(run),
                    code => problems.push(format!(
                        "run {run}, reconciler {code:?}: {}{}",
                        String::from_utf8_lossy(&output.stdout),
                        String::from_utf8_lossy(&output.stderr)
                    )),
                }
            }
        }
        if proven.len() > proven_before {
            since = Instant::now();
        } else if since.elapsed() > PEACE {
            let open: Vec<&str> =
                left.iter().filter(|(run, ..)| !proven.contains(run)).map(|(.., words)| words.as_str()).collect();
            return Err(format!(
                "after {PEACE:?} of peace in which nothing got better {} runs are not reconciled: {open:?}\n{}",
                open.len(),
                problems.join("\n")
            ));
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

fn journal(world: &World) -> Vec<Movement> {
    let file = File::open(world.folder().join("sandbox").join("journal.jsonl")).expect("the sandbox has a journal");
    let lines = BufReader::new(file).lines().map(|line| line.expect("the journal is readable"));
    lines.map(|line| serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

async fn outcome(world: &World) -> Result<Outcome, sqlx::Error> {
    let database = &world.database;
    let runs: Vec<i64> = sqlx::query_scalar("SELECT id FROM run").fetch_all(database).await?;
    let mut planned = Vec::new();
    for run in &runs {
        planned.extend(oracle::planned(database, *run).await);
    }
    let verdict = oracle::judge(&planned, &journal(world));
    for (what, some) in [("twice", format!("{:?}", verdict.twice)), ("wrong", format!("{:?}", verdict.wrong))] {
        if some != "[]" {
            world.table.broken(format!("{what}: {some}"));
        }
    }
    let unpaid = |state: &str| verdict.unpaid.iter().filter(|(_, found)| found == state).count();
    let (held, refused) = (unpaid("held"), unpaid("refused"));
    let sums = oracle::ledger_sums(database).await?;
    if !ledger_sums_to_zero(&sums) {
        world.table.broken(format!("the ledger does not sum to zero: {sums:?}"));
    }
    let forgotten = forgotten(world).await?;
    let neither = verdict.unpaid.len() - held - refused;
    if neither > 0 {
        let some: Vec<_> =
            verdict.unpaid.iter().filter(|(_, state)| state != "held" && state != "refused").take(10).collect();
        world.table.broken(format!("planned, not in the journal, and neither held nor refused: {some:?}"));
    }
    Ok(Outcome {
        runs: runs.len(),
        payouts: verdict.planned,
        paid: verdict.paid_once,
        twice: verdict.twice.len(),
        wrong: verdict.wrong.len(),
        skipped: neither + forgotten,
        held,
        refused,
        excluded: sqlx::query_scalar("SELECT count(*) FROM exclusion").fetch_one(database).await?,
    })
}

/// Accounts of which something was due up to the tenant's last cutoff that is in no payout, and which the last plan did not leave out with exactly that
/// amount either. What was refused after that plan waits for the next. Asks commissions and plans, not what the fleet keeps about balances.
async fn forgotten(world: &World) -> Result<usize, sqlx::Error> {
    let left: Vec<(String, i64, String)> = sqlx::query_as(
        "WITH last AS (SELECT DISTINCT ON (tenant_id) id, tenant_id, cutoff FROM run ORDER BY tenant_id, ordinal DESC),
              due AS (SELECT c.tenant_id, c.affiliate_id, c.currency, sum(c.amount_minor) AS minor
                        FROM commission c JOIN last USING (tenant_id) WHERE c.due_at <= last.cutoff GROUP BY 1, 2, 3),
              planned AS (SELECT tenant_id, affiliate_id, currency, coalesce(sum(amount_minor) FILTER (WHERE state <> 'refused'), 0) AS minor,
                                 coalesce(sum(amount_minor) FILTER (WHERE state = 'refused'), 0) AS freed
                            FROM payout GROUP BY 1, 2, 3),
              account AS (SELECT due.*, coalesce(planned.minor, 0) AS planned, coalesce(planned.freed, 0) AS freed,
                                 coalesce(e.amount_minor, 0) AS excluded
                            FROM due JOIN last USING (tenant_id) LEFT JOIN planned USING (tenant_id, affiliate_id, currency)
                            LEFT JOIN exclusion e
                                   ON e.run_id = last.id AND e.affiliate_id = due.affiliate_id AND e.currency = due.currency)
         SELECT t.name, a.affiliate_id, concat_ws(' ', a.currency, 'due', a.minor, 'planned', a.planned, 'refused', a.freed, 'excluded', a.excluded)
           FROM account a JOIN tenant t ON t.id = a.tenant_id
          WHERE a.minor - a.planned - a.excluded NOT BETWEEN 0 AND a.freed",
    )
    .fetch_all(&world.database)
    .await?;
    if !left.is_empty() {
        world.table.broken(format!("due, and neither planned nor excluded: {:?}", &left[..left.len().min(10)]));
    }
    Ok(left.len())
}

/// Our programs end with a message, never with a panic; and an alarm is one.
fn look_through_logs(world: &World) {
    let logs = std::fs::read_dir(world.folder()).into_iter().flatten().flatten().map(|entry| entry.path());
    for log in logs.filter(|path| path.extension().is_some_and(|extension| extension == "log")) {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        for bad in ["panicked at", "DOUBLE PAYMENT", "do not add up", "a broken invariant"] {
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
