//! Every arrow of the protocol, broken in every way, in real processes: the program that makes the step crashes before
//! it, after it, or with its transaction not committed; fails before or after it; or waits there for longer than a
//! lease lasts. Whatever happens, the run is then paid by others, exactly once by the rail's journal, and the rail's
//! statement agrees.
//!
//! The failpoints (see `payfleet_failpoint`) exist in debug builds only: without `debug_assertions`, `pass` is `Ok(())`
//! and the variable that arms them is not even read. So there is nothing to walk in a release build of the tests.

#![allow(clippy::unwrap_used)]
#![cfg(debug_assertions)]

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use payfleet_tests::{Fleet, FleetOptions, Process, wait_for};
use rustix::process::Signal;

const LONG: Duration = Duration::from_secs(60);
const TENANT: &str = "shop";
/// Each has something due in every period, so a run has as many payouts.
const AFFILIATES: usize = 4;
/// The shortest that there is: what a dead worker held is free after it.
const LEASE: [&str; 2] = ["--lease-ttl", "1s"];
/// Twice the lease; and while the step hangs, so do renewals, or its lease would never be lost.
const DELAY: &str = "delay:2000";
const NO_RENEWAL: &str = "leases_renew.before=delay:3000";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Program {
    Coordinator,
    Worker,
    Reconciler,
}
use Program::{Coordinator, Reconciler, Worker as WorkerProgram};

/// What a step is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A transaction in Postgres.
    Transaction,
    /// A question or a command to some server, done when it is answered.
    Exchange,
}
use Kind::{Exchange, Transaction};

/// What brings a worker to the step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scene {
    /// Any run does.
    Any,
    /// A coordinator that died when everything was planned: only the sweeper can begin.
    NotBegun,
    /// A reader that died with its hints.
    Forgotten,
    /// A rail that is slower than a lease's renewal.
    SlowRail,
    /// An answer of the rail that was lost.
    Unanswered,
    /// An intent of which the database did not say that it is written down.
    IntentUnanswered,
    /// As if five workers had died over the batch.
    Stalled,
}
use Scene::{Any, Forgotten, IntentUnanswered, NotBegun, SlowRail, Stalled, Unanswered};

/// Where a step is broken, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Break {
    place: &'static str,
    action: &'static str,
}

impl Kind {
    fn breaks(self) -> Vec<Break> {
        let places: &[(&str, &str)] = match self {
            Transaction => &[
                ("before", "crash"),
                ("commit", "crash"),
                ("after", "crash"),
                ("before", "error"),
                ("after", "error"),
                ("commit", DELAY), // with its rows locked
            ],
            Exchange => {
                &[("before", "crash"), ("after", "crash"), ("before", "error"), ("after", "error"), ("before", DELAY)]
            }
        };
        places.iter().map(|&(place, action)| Break { place, action }).collect()
    }
}

/// A step of the protocol: who makes it, its name, what it is, and what brings it about.
type Arrow = (Program, &'static str, Kind, Scene);

/// Arrows that are walked one after the other, on servers of their own, by one rail. The lanes are walked side by side:
/// mostly they wait.
struct Lane {
    name: &'static str,
    rail: &'static str,
    arrows: &'static [Arrow],
}

const LANES: &[Lane] = &[
    Lane {
        name: "plan and publish",
        rail: "sandbox-payout",
        arrows: &[
            (Coordinator, "run_create", Transaction, Any),
            (Coordinator, "plan_chunk", Transaction, Any),
            (Coordinator, "runs_begin", Transaction, Any),
            (Coordinator, "list the hints of a stream", Exchange, Any),
            (Coordinator, "batches_due", Exchange, Any),
            (Coordinator, "publish hints", Exchange, Any),
        ],
    },
    Lane {
        name: "lease, intent, call, record",
        rail: "sandbox-payout",
        arrows: &[
            (WorkerProgram, "lease_acquire", Transaction, Any),
            (WorkerProgram, "intent_write", Transaction, Any),
            (WorkerProgram, "submit", Exchange, Any),
            (WorkerProgram, "outcomes_record", Transaction, Any),
            (WorkerProgram, "leases_renew", Transaction, SlowRail),
            (WorkerProgram, "batch_split", Transaction, Stalled),
        ],
    },
    Lane {
        name: "read, acknowledge, reclaim, sweep, close",
        rail: "sandbox-payout",
        arrows: &[
            (WorkerProgram, "read hints", Exchange, Any),
            (WorkerProgram, "acknowledge hints", Exchange, Any),
            (WorkerProgram, "claim forgotten hints", Exchange, Forgotten),
            (WorkerProgram, "runs_begin", Transaction, NotBegun),
            (WorkerProgram, "list the hints of a stream", Exchange, NotBegun),
            (WorkerProgram, "batches_due", Exchange, NotBegun),
            (WorkerProgram, "publish hints", Exchange, NotBegun),
            (WorkerProgram, "run_close", Transaction, Any),
        ],
    },
    Lane {
        name: "a key and a lookup",
        rail: "sandbox-batch",
        arrows: &[
            (WorkerProgram, "submit", Exchange, Any),
            (WorkerProgram, "look_up", Exchange, Any),
            (WorkerProgram, "look_up", Exchange, Unanswered),
            (Reconciler, "run_close", Transaction, Any),
            (Reconciler, "verdict_write", Transaction, Any),
        ],
    },
    Lane {
        name: "a lookup alone",
        rail: "sandbox-lookup",
        arrows: &[(WorkerProgram, "submit", Exchange, Any), (WorkerProgram, "look_up", Exchange, Unanswered)],
    },
    Lane {
        name: "waiting for old requests to die",
        rail: "sandbox-lookup",
        arrows: &[(WorkerProgram, "lease_release", Transaction, Unanswered)],
    },
    Lane {
        name: "neither, and statements",
        rail: "sandbox-file",
        arrows: &[
            (WorkerProgram, "intent_write", Transaction, Any),
            (WorkerProgram, "intent_withdraw", Transaction, IntentUnanswered),
            (WorkerProgram, "submit", Exchange, Any),
            (WorkerProgram, "batch_hold", Transaction, Unanswered),
            (Reconciler, "statement", Exchange, Any),
            (Reconciler, "statement_record", Transaction, Any),
        ],
    },
];

/// All of it, or, where one is looked for, the lanes with `PAYFLEET_TEST_LANE` in their name.
#[test]
fn every_arrow_may_break_in_every_way() {
    let wanted = std::env::var("PAYFLEET_TEST_LANE").ok();
    std::thread::scope(|scope| {
        for lane in LANES.iter().filter(|lane| wanted.as_deref().is_none_or(|wanted| lane.name.contains(wanted))) {
            let walk = || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(async {
                    let began = Instant::now();
                    let mut walk = Walk::on(lane).await;
                    for &arrow in lane.arrows {
                        for broken in arrow.2.breaks() {
                            walk.cell(arrow, broken).await;
                        }
                    }
                    println!("{}: all in {:?}", lane.name, began.elapsed());
                });
            };
            std::thread::Builder::new().name(lane.name.to_owned()).spawn_scoped(scope, walk).unwrap();
        }
    });
}

/// One lane on its way.
struct Walk {
    lane: &'static Lane,
    fleet: Fleet,
    /// Class N: what may have been sent is never sent again.
    is_held_when_unknown: bool,
    months: usize,
    /// Payouts that were never sent and must not be, because nobody can know that.
    lost: usize,
}

impl Walk {
    async fn on(lane: &'static Lane) -> Walk {
        let sandbox = ["--statement-after", "0s", "--batch-settle-after", "100ms"].map(String::from).to_vec();
        let options = FleetOptions { paypal: lane.rail, sepa: lane.rail, sandbox, ..FleetOptions::default() };
        let fleet = Fleet::start(options).await;
        let affiliates = AFFILIATES.to_string();
        fleet.must(&["sample", "--plain", "--affiliates", &affiliates, "--start", "2000-01", "--tenant", TENANT]);
        fleet.rails_set(TENANT);
        let mut walk = Walk { lane, fleet, is_held_when_unknown: lane.rail == "sandbox-file", months: 0, lost: 0 };
        // What the sample has due is paid first, so that each cell has a batch of its own size.
        walk.plan("2000-01");
        let worker = walk.fleet.worker(&LEASE);
        walk.sent("2000-01").await;
        worker.kill();
        walk.judge("2000-01").await;
        walk
    }

    async fn cell(&mut self, arrow: Arrow, broken: Break) {
        let (program, step, _, _) = arrow;
        let cell = format!("{}: {program:?} {step}.{}={}", self.lane.name, broken.place, broken.action);
        println!("{cell}");
        let began = Instant::now();
        self.months += 1;
        let period = format!("{}-{:02}", 2001 + self.months / 12, self.months % 12 + 1);
        sqlx::query(
            "INSERT INTO commission (tenant_id, external_id, affiliate_id, currency, amount_minor, earned_at, due_at,
               kind, order_ref)
             SELECT tenant_id, $1 || '-' || affiliate_id, affiliate_id, currency, 1500 + affiliate_id, $2::timestamptz,
               $2::timestamptz, 'sale', ''
               FROM account",
        )
        .bind(&period)
        .bind(format!("{period}-15T12:00:00Z"))
        .execute(&self.fleet.database)
        .await
        .unwrap();
        match program {
            Coordinator => {
                let command = self.fleet.coordinator_command(&["run", "--tenant", TENANT, "--period", &period]);
                // Hints only wake: without Redis the plan is made, and the workers' sweeper does the rest.
                let is_warning = matches!(step, "list the hints of a stream" | "publish hints");
                ends_as(command, step, broken, if is_warning { 0 } else { 69 });
                self.plan(&period);
                let worker = self.fleet.worker(&LEASE);
                self.sent(&period).await;
                worker.kill();
            }
            WorkerProgram => self.worker(arrow, broken, &period).await,
            Reconciler => {
                self.plan(&period);
                let worker = self.fleet.worker(&LEASE);
                self.sent(&period).await;
                worker.kill();
                let run = self.fleet.run_id(TENANT, &period).await;
                ends_as(self.fleet.reconciler_command(run), step, broken, 69);
            }
        }
        self.judge(&period).await;
        println!("{cell} took {:?}", began.elapsed());
    }

    fn plan(&self, period: &str) {
        self.fleet.must(&["run", "--tenant", TENANT, "--period", period]);
    }

    async fn worker(&mut self, (_, step, _, scene): Arrow, broken: Break, period: &str) {
        let is_delay = broken.action == DELAY;
        let mut failpoints = format!("{step}.{}={}", broken.place, broken.action);
        if is_delay && step != "leases_renew" {
            failpoints += &format!("; {NO_RENEWAL}");
        }
        match scene {
            NotBegun => {
                let mut command = self.fleet.coordinator_command(&["run", "--tenant", TENANT, "--period", period]);
                let output = command.env("PAYFLEET_FAILPOINTS", "runs_begin.before=crash").output().unwrap();
                is_abort(output.status);
            }
            Any | Forgotten | SlowRail | Unanswered | IntentUnanswered | Stalled => self.plan(period),
        }
        match scene {
            Any | NotBegun => {}
            Forgotten => {
                let mut reader = self.fleet.worker_armed("read hints.after=crash", &LEASE);
                is_abort(end(&mut reader.process).await);
            }
            SlowRail => self.fleet.faults(r#"{"latency_ms": 700}"#).await,
            IntentUnanswered => failpoints += "; intent_write.after=error",
            Unanswered => failpoints += "; submit.after=error",
            Stalled => {
                let stalled = sqlx::query("UPDATE batch SET stalled_leases = 5 WHERE state = 'ready'");
                assert!(stalled.execute(&self.fleet.database).await.unwrap().rows_affected() > 0);
            }
        }
        let mut broken_one = self.fleet.worker_armed(&failpoints, &LEASE);
        let passed = passed(step, broken.place);
        wait_for(&passed, LONG, async || broken_one.log().contains(&passed).then_some(())).await;
        if broken.action == "crash" {
            is_abort(end(&mut broken_one.process).await);
            let other = self.fleet.worker(&LEASE);
            self.sent(period).await;
            other.kill();
        } else if is_delay {
            let other = self.fleet.worker(&LEASE);
            self.sent(period).await;
            let over = format!("the delay is over step=\"{step}\"");
            wait_for(&over, LONG, async || broken_one.log().contains(&over).then_some(())).await;
            // It comes back from the dead; when it has signed off, it has done whatever it was to do.
            broken_one.signal(Signal::TERM);
            assert!(end(&mut broken_one.process).await.success());
            other.kill();
            if matches!(step, "lease_acquire" | "intent_write" | "submit") {
                assert!(self.leases(period).await > 1, "it lost its lease to the other");
            }
        } else {
            // It survives an error, and nobody helps it.
            self.sent(period).await;
            assert!(broken_one.process.is_running());
            broken_one.kill();
        }
        if scene == SlowRail {
            self.fleet.faults(r#"{"latency_ms": 0}"#).await;
        }
        // Nobody is left who knows that nothing was sent, or who knows it is too late to say so.
        let is_lost = matches!(
            (step, broken.place, broken.action),
            ("submit", "before", "crash")
                | ("intent_write", "after", "crash")
                | ("intent_write", "commit", DELAY)
                | ("intent_withdraw", "before" | "commit", "crash")
        );
        if self.is_held_when_unknown && is_lost {
            self.lost += AFFILIATES;
        }
    }

    /// How often a batch of a run was leased, at most.
    async fn leases(&self, period: &str) -> i32 {
        let run = self.fleet.run_id(TENANT, period).await;
        let leases = sqlx::query_scalar("SELECT max(lease_epoch) FROM batch WHERE run_id = $1").bind(run);
        leases.fetch_one(&self.fleet.database).await.unwrap()
    }

    /// Waits until nothing of a run is to be sent any more. What a bank has accepted is paid when its statement says
    /// so.
    async fn sent(&self, period: &str) {
        let run = self.fleet.run_id(TENANT, period).await;
        if !self.is_held_when_unknown {
            return self.fleet.settled(run, LONG).await;
        }
        wait_for("every file to be sent or held", LONG, async || {
            let states = self.fleet.payout_states(run).await;
            states.iter().all(|(state, _)| matches!(state.as_str(), "accepted" | "held" | "paid")).then_some(())
        })
        .await;
    }

    /// Everything ends well.
    async fn judge(&self, period: &str) {
        let run = self.fleet.run_id(TENANT, period).await;
        self.fleet.assert_reconciled(run).await;
        let payouts: i64 = self.fleet.payout_states(run).await.iter().map(|(_, payouts)| payouts).sum();
        assert_eq!(payouts, AFFILIATES as i64);
        if self.is_held_when_unknown {
            let verdict = self.fleet.assert_never_twice_and_the_rest_held().await;
            assert_eq!(verdict.unpaid.len(), self.lost, "{verdict:?}");
        } else {
            self.fleet.assert_paid_exactly_once().await;
        }
    }
}

/// Runs a program that ends by itself with a failpoint. Waiting there harms nothing.
fn ends_as(mut command: Command, step: &str, broken: Break, on_error: i32) {
    let Break { place, action } = broken;
    let output = command.env("PAYFLEET_FAILPOINTS", format!("{step}.{place}={action}")).output().unwrap();
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(log.contains(&passed(step, place)), "it never came to the failpoint: {log}");
    match action {
        "crash" => is_abort(output.status),
        "error" => assert_eq!(output.status.code(), Some(on_error), "{log}"),
        _ => assert_eq!(output.status.code(), Some(0), "{log}"),
    }
}

/// What a failpoint logs when it is passed.
fn passed(step: &str, place: &str) -> String {
    format!("failpoint step=\"{step}\" place=\"{place}\"")
}

async fn end(process: &mut Process) -> ExitStatus {
    wait_for("a worker to end", LONG, async || process.ended()).await
}

fn is_abort(status: ExitStatus) {
    assert_eq!(status.signal(), Some(Signal::ABORT.as_raw()), "{status}");
}
