//! The demo of the real rails: what can go wrong goes wrong, in front of whoever watches, and the figures at its end
//! are measured: twice by the rails' journal, skipped by the reconciler.

use std::fmt;
use std::time::{Duration, Instant};

use crate::fleet::{Fleet, FleetOptions, Gateway};
use crate::real::{BEHIND, DAY, DEAD, RAILS, VARIABLES};

/// What is shown.
#[derive(Debug, Clone, Copy)]
pub struct DemoOptions {
    /// Affiliates.
    pub affiliates: u32,
    /// Workers.
    pub workers: usize,
    /// One of them is killed.
    pub kills: bool,
}

/// What came of it; its words are those of `scripts/demo`.
#[derive(Debug, Default)]
pub struct DemoResult {
    runs: usize,
    paid: i64,
    twice: usize,
    skipped: u64,
    refused: i64,
    held: i64,
    seconds: u64,
    discrepancies: u64,
    wrong: usize,
}

impl fmt::Display for DemoResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let DemoResult { runs, paid, twice, skipped, refused, held, seconds, .. } = self;
        write!(
            f,
            "result: runs {runs}, paid {paid}, twice {twice}, skipped {skipped}, refused {refused}, held {held}, \
             seconds {seconds}"
        )
    }
}

impl DemoResult {
    /// Nobody was paid twice, wrongly or not at all, and no statement says otherwise.
    pub fn is_good(&self) -> bool {
        self.twice == 0 && self.skipped == 0 && self.discrepancies == 0 && self.wrong == 0
    }
}

const LONG: Duration = Duration::from_secs(300);

/// Answers are lost after the rail has accepted, batches are denied, tokens expire, a stored 500 is repeated, and some
/// of the money comes back a week later.
const FAULTS: &str = r#"{"latency_ms": 50, "lose_answer": 0.06, "error_after": 0.03, "error_before": 0.03,
 "rate_limit": 0.03,
 "paypal": {"denied": 0.1, "token_life_ms": 5000},
 "stripe": {"stored_500_paid": 0.02, "key_in_use": 0.02},
 "wise": {"any_recipient": true, "step_ms": 300, "reject": 0.02, "roll_back": 0.02}}"#;
const PEACE: &str = r#"{"latency_ms": 0, "lose_answer": 0, "error_after": 0, "error_before": 0, "rate_limit": 0,
 "paypal": null, "stripe": null, "wise": {"reject": 0, "roll_back": 0}}"#;

/// Shows it. Panics only if the harness itself cannot go on.
pub async fn run(options: DemoOptions) -> DemoResult {
    let variables = VARIABLES;
    // Batches small enough that one of PayPal's that is denied spoils few.
    let fleet = FleetOptions { batch_size: 50, variables, virtual_time: true, ..FleetOptions::default() };
    let mut fleet = Fleet::start(fleet).await;
    fleet.faults(FAULTS).await;
    fleet.real_rails(options.affiliates, "", "");
    println!(
        "== {} affiliates over {}; Postgres, Redis, the sandbox and {} workers are up",
        options.affiliates,
        RAILS.join(", "),
        options.workers
    );
    let _gateway = webhooks(&fleet).await;
    let mut result = DemoResult::default();
    let begun = Instant::now();
    let run = fleet.run("shop", "2026-01").await;
    let mut workers = fleet.workers(options.workers);
    let planned = u64::from(options.affiliates);
    if options.kills {
        fleet.paid_at_least(planned * 4 / 10, LONG).await;
        workers.remove(0).kill();
        println!("   kill -9: a worker ends when 40 % are paid; nobody takes its place");
    }
    settled(&fleet, run).await;
    told(&fleet, run).await;
    // From now on they come.
    fleet.faults(r#"{"webhook": null}"#).await;
    fleet.time_passes(BEHIND).await;
    result.judge(&fleet, run).await;
    fleet.time_passes(7 * DAY).await;
    let back = give_back(&fleet).await;
    println!("== a week later: {back} payments come back");
    fleet.time_passes(BEHIND).await;
    result.judge(&fleet, run).await;
    told(&fleet, run).await;
    fleet.faults(PEACE).await;
    let again = fleet.run("shop", "2026-02").await;
    settled(&fleet, again).await;
    println!("== what was refused and what came back is due again, and paid by the next run");
    told(&fleet, again).await;
    fleet.time_passes(BEHIND).await;
    result.judge(&fleet, again).await;
    result.seconds = begun.elapsed().as_secs();
    result.count(&fleet).await;
    result
}

/// Starts the gateway, which hears the sandbox's notices; all of them are lost for a while.
async fn webhooks(fleet: &Fleet) -> Gateway {
    fleet.rail_accounts().await;
    let gateway = fleet.gateway().await;
    fleet.faults(r#"{"webhook": {"lose": 1}}"#).await;
    println!("   webhooks are lost for the first run");
    gateway
}

async fn settled(fleet: &Fleet, run: i64) {
    let told = |by: Duration| match by {
        DEAD => println!("   200 seconds pass: lost requests are dead then, and what became of them is asked"),
        _ => println!("   a day passes: what is still with a rail is told by its statement"),
    };
    fleet.settled_as_time_passes(run, LONG, told).await;
}

/// Says how the payouts of a run stand, by rail.
async fn told(fleet: &Fleet, run: i64) {
    let rows: Vec<(String, String, i64)> = sqlx::query_as(
        "SELECT b.rail, p.state, count(*) FROM payout p
           JOIN batch b ON b.run_id = p.run_id AND b.state <> 'split'
            AND p.id BETWEEN b.first_payout_id AND b.last_payout_id
          WHERE p.run_id = $1 GROUP BY 1, 2 ORDER BY 1, 2",
    )
    .bind(run)
    .fetch_all(&fleet.database)
    .await
    .expect("the plan can be read");
    for rail in RAILS {
        let of: Vec<String> =
            rows.iter().filter(|(of, ..)| of == rail).map(|(_, state, n)| format!("{n} {state}")).collect();
        println!("   run {run}, {rail}: {}", of.join(", "));
    }
}

/// Every fiftieth payment comes back: payees' accounts were closed, or somebody reversed it. Returns how many.
async fn give_back(fleet: &Fleet) -> usize {
    let paid: Vec<_> = fleet.journal().await.into_iter().filter(|one| one.event == "paid").step_by(50).collect();
    for payment in &paid {
        fleet.sandbox_post("/faults/return", &format!(r#"{{"id": "{}", "key": "{}"}}"#, payment.id, payment.key)).await;
    }
    paid.len()
}

impl DemoResult {
    /// Compares a run with the statements of its accounts.
    async fn judge(&mut self, fleet: &Fleet, run: i64) {
        let report = fleet.reconcile_insisting(run, &["--json"]).await;
        let said: serde_json::Value = serde_json::from_str(&report.stdout).unwrap_or_default();
        let found = |kind: &str| said["discrepancies_by_kind"][kind].as_u64().unwrap_or(0);
        self.skipped += found("skipped") + found("not_on_statement");
        let discrepancies = said["discrepancies_total"].as_u64().unwrap_or(1);
        self.discrepancies += discrepancies;
        println!(
            "   run {run} against {}: {}, {} lines, {discrepancies} discrepancies",
            said["statement"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|one| one.as_str())
                .collect::<Vec<_>>()
                .join(", "),
            said["state"].as_str().unwrap_or("no verdict"),
            said["lines"]
        );
        if report.code != 0 {
            self.discrepancies += u64::from(discrepancies == 0);
            println!("{}", report.stderr);
        }
    }

    /// What both runs came to.
    async fn count(&mut self, fleet: &Fleet) {
        let states: Vec<(String, i64)> = sqlx::query_as("SELECT state, count(*) FROM payout GROUP BY state")
            .fetch_all(&fleet.database)
            .await
            .expect("the plan can be read");
        let of = |state: &str| states.iter().filter(|(of, _)| of == state).map(|(_, n)| n).sum::<i64>();
        let verdict = fleet.verdict().await;
        let runs = sqlx::query_scalar::<_, i64>("SELECT count(*) FROM run").fetch_one(&fleet.database).await;
        self.runs = usize::try_from(runs.expect("runs can be counted")).unwrap_or(0);
        (self.paid, self.refused, self.held) = (of("paid"), of("refused"), of("held"));
        (self.twice, self.wrong) = (verdict.twice.len(), verdict.wrong.len());
    }
}
