//! The operations that meet, and what each must have done, whatever came in between.

use std::collections::HashSet;
use std::time::Duration;

use futures_util::future::BoxFuture;
use payfleet_domain::{AttemptNo, BatchId, HoldReason, PayoutId, Rail, RunId, TenantId};
use payfleet_store::{
    CloseVerdict, CommissionRow, CommissionRows, Feed, Intent, IntentRefused, Lease, LeasedBatch, NewRun, Planned,
    Recorded, Report, RunChangeError, RunCreateError, Store,
};
use time::macros::datetime;
use tokio::sync::mpsc;

use crate::lanes::{CLOCK, Order};
use crate::support::TTL;
use crate::world::World;

#[derive(Debug, Clone)]
pub enum Op {
    /// G1, by a worker of this name.
    Lease(BatchId, &'static str),
    /// G2.
    Intend(Lease),
    /// Takes back what was intended under it.
    Withdraw(Lease),
    /// G3 or G4, named.
    Record(&'static str, Report),
    /// G5.
    Close(RunId),
    /// What a sweeper does, one after the other.
    Sweep,
    Plan(RunId),
    Create(NewRun),
    /// One more commission for affiliate `a1` of the tenant of this name.
    Import(&'static str),
    Pause(RunId),
    Resume(RunId),
    Cancel(RunId),
    Hold(Lease),
    /// A person holds affiliate `a1` of this tenant.
    HoldAffiliate(TenantId),
    Split(Lease),
    Renew(Lease),
    Release(Lease),
}

#[derive(Debug)]
pub enum Did {
    Leased(Option<LeasedBatch>),
    Intended(Result<Intent, IntentRefused>),
    Recorded(Recorded),
    Closed(CloseVerdict),
    Renewed(bool),
    Held(Option<u64>),
    /// Of how many payouts it was said that they are not sent.
    AffiliateHeld {
        unsent: i64,
    },
    /// Whether it was done; only reasons that are the caller's to expect make it `false`.
    Done(bool),
}

const RAIL: &str = "sandbox-payout";

impl Op {
    pub fn name(&self) -> String {
        match self {
            Op::Lease(_, worker) => format!("lease by {worker}"),
            Op::Intend(lease) => format!("intent under {}", lease.epoch.0),
            Op::Record(name, _) => (*name).to_owned(),
            Op::Withdraw(lease) => format!("withdraw under {}", lease.epoch.0),
            Op::Hold(lease) => format!("hold under {}", lease.epoch.0),
            Op::Split(lease) => format!("split under {}", lease.epoch.0),
            Op::Renew(lease) => format!("renew {}", lease.epoch.0),
            Op::Release(lease) => format!("release {}", lease.epoch.0),
            other => format!("{other:?}").split(['(', ' ']).next().unwrap_or("").to_lowercase(),
        }
    }

    /// Whether it matters to it when a lease ends.
    pub fn heeds_time(&self) -> bool {
        matches!(self, Op::Lease(..) | Op::Intend(_) | Op::Renew(_) | Op::Release(_))
    }

    /// Imports are slow, have nothing in common with payment, and of one tenant take turns.
    pub fn may_meet(&self, other: &Op) -> bool {
        let plans = |op: &Op| matches!(op, Op::Plan(_) | Op::Create(_));
        let imports = |op: &Op| matches!(op, Op::Import(_));
        !imports(self) && !imports(other) || plans(self) || plans(other)
    }

    pub fn carry_out(self, store: Store) -> BoxFuture<'static, Did> {
        Box::pin(async move {
            match self {
                Op::Lease(batch, worker) => Did::Leased(store.lease_acquire(batch, worker, TTL).await.unwrap()),
                Op::Intend(lease) => {
                    Did::Intended(store.intent_write(lease, "w", Rail::named(RAIL).unwrap(), false).await.unwrap())
                }
                Op::Withdraw(lease) => {
                    let withdrawn = store.intent_withdraw(lease, "w", AttemptNo(0), Duration::ZERO);
                    Did::Done(withdrawn.await.unwrap())
                }
                Op::Record(_, report) => Did::Recorded(store.outcomes_record(report).await.unwrap()),
                Op::Close(run) => Did::Closed(store.run_close(run).await.unwrap()),
                Op::Sweep => {
                    store.runs_begin().await.unwrap();
                    store.batches_due(RAIL, HashSet::new(), 10).await.unwrap();
                    for run in store.runs_closable().await.unwrap() {
                        assert!(!matches!(store.run_close(run).await.unwrap(), CloseVerdict::NotBalanced(_)));
                    }
                    Did::Done(true)
                }
                Op::Plan(run) => Did::Done(store.plan_chunk(run, 2, 2).await.unwrap() != Planned::Paused),
                Op::Create(new) => match store.run_create(new).await {
                    Ok(_) => Did::Done(true),
                    Err(RunCreateError::StillPlanning(_)) => Did::Done(false),
                    Err(error) => panic!("{error}"),
                },
                Op::Import(tenant) => {
                    let imported = store.commissions_import(tenant, file()).await.unwrap();
                    Did::Done(imported.rows == 1)
                }
                Op::Pause(run) => changed(store.run_pause(run, "a look").await),
                Op::Resume(run) => changed(store.run_resume(run).await),
                Op::Cancel(run) => changed(store.run_cancel(run).await.map(|_| ())),
                Op::Hold(lease) => Did::Held(store.batch_hold(lease, HoldReason::Poison).await.unwrap()),
                Op::HoldAffiliate(tenant) => {
                    let set = store.affiliate_hold(tenant, "a1", "fraud").await.unwrap();
                    Did::AffiliateHeld { unsent: set.unsent }
                }
                Op::Split(lease) => Did::Done(store.batch_split(lease).await.unwrap().is_ok()),
                Op::Renew(lease) => {
                    let renewed = store.leases_renew(vec![(lease.batch, lease.epoch)], TTL).await.unwrap();
                    Did::Renewed(!renewed.is_empty())
                }
                Op::Release(lease) => {
                    store.lease_release(lease, Duration::ZERO).await.unwrap();
                    Did::Done(true)
                }
            }
        })
    }
}

fn changed(result: Result<(), RunChangeError>) -> Did {
    match result {
        Ok(()) => Did::Done(true),
        Err(RunChangeError::Illegal { .. }) => Did::Done(false),
        Err(error) => panic!("{error}"),
    }
}

fn file() -> mpsc::Receiver<Feed<CommissionRows>> {
    let mut rows = CommissionRows::default();
    rows.push(&CommissionRow {
        line: 2,
        id: "imported",
        affiliate: "a1",
        order_ref: "",
        amount: payfleet_domain::Money { minor: 500, currency: "EUR".parse().unwrap() },
        earned_at: datetime!(2026-01-20 00:00 UTC),
        reversal: payfleet_store::Reversal::default(),
    });
    let (sender, receiver) = mpsc::channel(2);
    sender.try_send(Feed::Rows(rows)).unwrap();
    sender.try_send(Feed::End).unwrap();
    receiver
}

/// What must be true of what two operations returned, given the order in which they committed.
pub async fn check(world: &World, ops: &[Op; 2], order: &Order<Did>, told: &str) {
    for (mine, other) in [(0, 1), (1, 0)] {
        alone(world, &ops[mine], &order.returned[mine], told).await;
        together(ops, order, (mine, other), told);
    }
    if let (Did::Leased(Some(one)), Did::Leased(Some(other))) = (&order.returned[0], &order.returned[1]) {
        assert_ne!(one.lease.epoch, other.lease.epoch, "one epoch for two leases after {told}");
        let between = order.ended.iter().position(|(_, step)| step == CLOCK);
        let later = order.commit(0).max(order.commit(1));
        assert!(between.is_some_and(|passed| passed < later), "two valid leases after {told}");
    }
}

/// What must be true of one operation, whatever the other was.
async fn alone(world: &World, op: &Op, did: &Did, told: &str) {
    match (op, did) {
        (Op::Lease(batch, _), Did::Leased(Some(leased))) => {
            let epoch: i32 = scalar(world, "SELECT lease_epoch FROM batch WHERE id = $1", batch.0).await;
            assert!(epoch >= leased.lease.epoch.0, "an epoch went back after {told}");
        }
        (Op::Intend(lease), Did::Intended(Ok(intent))) => {
            let kept: Vec<i32> = sqlx::query_scalar("SELECT epoch FROM attempt WHERE batch_id = $1 AND n = $2")
                .bind(lease.batch.0)
                .bind(intent.attempt.0)
                .fetch_all(&world.look)
                .await
                .unwrap();
            assert_eq!(kept, [lease.epoch.0], "a permission that is not written down after {told}");
        }
        (Op::Withdraw(lease), Did::Done(_)) => {
            let results: Vec<Option<String>> =
                sqlx::query_scalar("SELECT result FROM attempt WHERE batch_id = $1 AND epoch = $2")
                    .bind(lease.batch.0)
                    .bind(lease.epoch.0)
                    .fetch_all(&world.look)
                    .await
                    .unwrap();
            let is_sent = |result: &Option<String>| matches!(result.as_deref(), None | Some("unknown"));
            assert!(!results.iter().any(is_sent), "counts as perhaps sent, {results:?}, after {told}");
        }
        (Op::Record(_, report), Did::Recorded(_)) => {
            let paid: Vec<(PayoutId, &str)> = report
                .outcomes
                .iter()
                .filter_map(|(payout, outcome)| match outcome {
                    payfleet_domain::Outcome::Paid(reference) => Some((*payout, reference.0.as_str())),
                    _ => None,
                })
                .collect();
            let lost: i64 = sqlx::query_scalar(
                "SELECT count(*) FROM unnest($1::bigint[], $2::text[]) AS said (id, reference) JOIN payout p USING (id)
                  WHERE NOT (p.state IN ('paid', 'returned') AND p.reference = said.reference)
                    AND NOT EXISTS (SELECT FROM movement m WHERE m.payout_id = p.id AND m.kind = 'paid'
                      AND m.reference = said.reference)",
            )
            .bind(paid.iter().map(|(payout, _)| payout.0).collect::<Vec<i64>>())
            .bind(paid.iter().map(|(_, reference)| *reference).collect::<Vec<&str>>())
            .fetch_one(&world.look)
            .await
            .unwrap();
            assert_eq!(lost, 0, "proof of payment without effect after {told}");
        }
        (Op::Close(run), Did::Closed(verdict)) => {
            assert!(!matches!(verdict, CloseVerdict::NotBalanced(_)), "{verdict:?} after {told}");
            if *verdict == CloseVerdict::Settled {
                let state: String = scalar(world, "SELECT state FROM run WHERE id = $1", run.0).await;
                assert!(state == "settled" || state == "cancelled", "{state} after {told}");
            }
        }
        _ => {}
    }
}

/// What must be true of one operation, seen from the other.
fn together(ops: &[Op; 2], order: &Order<Did>, (mine, other): (usize, usize), told: &str) {
    let first = |lane: usize| order.commit(lane) < order.commit(if lane == mine { other } else { mine });
    if let Did::Renewed(true) = order.returned[mine] {
        let step = |lane: Option<usize>, name: &str| {
            order.ended.iter().position(|(of, step)| lane.is_none_or(|lane| lane == *of) && step == name)
        };
        let passed = step(None, CLOCK);
        assert!(
            passed.is_none() || step(Some(mine), "leases_renew") < passed,
            "an ended lease was revived after {told}"
        );
    }
    match (&ops[mine], &order.returned[mine], &ops[other], &order.returned[other]) {
        (Op::Lease(..), Did::Leased(Some(leased)), Op::Intend(old), Did::Intended(Ok(intent))) => {
            assert!(old.epoch < leased.lease.epoch && first(other), "an intent under a lost lease after {told}");
            assert!(leased.facts.attempt >= intent.attempt, "the new lessee does not know of an intent after {told}");
        }
        (Op::Intend(lease), Did::Intended(Ok(intent)), Op::Intend(same), Did::Intended(Ok(again))) => {
            assert_eq!(lease.epoch, same.epoch, "intents under two leases at once after {told}");
            assert_ne!(intent.attempt, again.attempt, "one attempt for two permissions after {told}");
        }
        (Op::Pause(_), Did::Done(true), Op::Intend(_), Did::Intended(Ok(_))) => {
            assert!(first(other), "an intent after the run was paused, after {told}");
        }
        (Op::Cancel(_), Did::Done(true), Op::Intend(_), Did::Intended(Ok(intent))) => {
            let stopped = order.ended.iter().position(|(lane, step)| *lane == mine && step == "COMMIT");
            let late = stopped.is_some_and(|stopped| stopped < order.commit(other));
            assert!(!late || intent.attempt.0 > 1, "a first intent after the run was cancelled, after {told}");
        }
        (Op::Record(_, report), Did::Recorded(recorded), Op::Intend(_), Did::Intended(Ok(intent))) => {
            let newer = report.attempt.is_some_and(|attempt| attempt < intent.attempt);
            assert!(!newer || recorded.refused == 0, "refused while a newer request is under way, after {told}");
            assert!(recorded.late == 0 || recorded.alarms > 0, "paid again, and nobody is told, after {told}");
        }
        (Op::Lease(..), Did::Leased(Some(_)), Op::Renew(_), Did::Renewed(true)) => {
            assert!(first(other), "a lost lease was renewed after {told}");
        }
        (Op::Close(_), Did::Closed(CloseVerdict::Settled), Op::Close(_), Did::Closed(verdict)) => {
            assert_ne!(*verdict, CloseVerdict::Settled, "settled twice after {told}");
        }
        (Op::HoldAffiliate(_), Did::AffiliateHeld { unsent: 1.. }, Op::Intend(_), Did::Intended(Ok(intent))) => {
            let is_sent = intent.orders.iter().any(|order| order.affiliate == "a1");
            assert!(!is_sent, "sent although it was said that it is not, after {told}");
        }
        (Op::Hold(_), Did::Held(Some(_)), Op::Intend(_), Did::Intended(Ok(_))) => {
            assert!(first(other), "an intent for what is held after {told}");
        }
        _ => {}
    }
}

async fn scalar<T>(world: &World, query: &'static str, id: i64) -> T
where
    T: for<'r> sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres> + Send + Unpin,
{
    sqlx::query_scalar(query).bind(id).fetch_one(&world.look).await.unwrap()
}
