//! Each pair of the operations that decide about money, in the orders of their statements, over real connections. See
//! `lanes` for what a statement is, and which orders are the same or left out.
//!
//! In each run every pair is gone through with one interruption, and a twentieth of them, drawn anew and told at the
//! beginning, with two. `PAYFLEET_INTERLEAVINGS=all` goes through all with two; `PAYFLEET_INTERLEAVINGS=<number>` draws
//! the same twentieth again.

#![allow(clippy::unwrap_used)]

mod lanes;
mod ops;
#[path = "../support/snapshot.rs"]
mod snapshot;
#[path = "../support/mod.rs"]
mod support;
#[path = "../support/wire.rs"]
mod wire;
mod world;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::LazyLock;
use std::time::Duration;

use futures_util::future::BoxFuture;
use lanes::Orders;
use ops::{Op, check};
use payfleet_domain::{BatchId, Outcome, RunId};
use payfleet_store::{Intent, LeasedBatch, NewRun, Report};
use support::{Db, looked_up, paid, refused, report, unknown};
use world::World;

const RAIL: &str = "sandbox-payout";

/// How often one operation of this pair interrupts the other.
fn interruptions(told: &str) -> usize {
    static DRAWN: LazyLock<Option<u64>> = LazyLock::new(|| {
        let drawn = match std::env::var("PAYFLEET_INTERLEAVINGS").as_deref() {
            Ok("all") => return None,
            Ok(number) => number.parse().expect("PAYFLEET_INTERLEAVINGS is `all` or a number"),
            Err(_) => u64::from(uuid::Uuid::new_v4().as_fields().0),
        };
        println!("orders of two interruptions: a twentieth of the pairs, PAYFLEET_INTERLEAVINGS={drawn}");
        Some(drawn)
    });
    let Some(drawn) = *DRAWN else { return 2 };
    let mut hasher = DefaultHasher::new();
    (drawn, told).hash(&mut hasher);
    if hasher.finish().is_multiple_of(20) { 2 } else { 1 }
}

/// The orders of two operations. Returns how many there are.
async fn explore(world: &World, ops: [&Op; 2], clock: bool) -> usize {
    let mut orders = Orders::new(interruptions(&format!("{} × {}", ops[0].name(), ops[1].name())));
    loop {
        world.restore().await;
        let pair = ops.map(Op::clone);
        let work = pair.iter().zip(&world.lanes).map(|(op, lane)| op.clone().carry_out(lane.store.clone())).collect();
        let passes = clock.then(|| Box::pin(World::two_hours_later(world.look.clone())) as BoxFuture<'static, ()>);
        let order = orders.run(&world.look, &world.changed, &world.lanes, work, passes).await;
        let steps: Vec<String> = order.ended.iter().map(|(lane, step)| format!("{lane}:{step}")).collect();
        let told = format!("{} × {}: {}", pair[0].name(), pair[1].name(), steps.join(" "));
        check(world, &pair, &order, &told).await;
        finish_plans(world).await;
        world.assert_sound(&told).await;
        world.db.assert_ledger().await;
        if !orders.next() {
            return orders.count;
        }
    }
}

/// A run that is being planned is planned to its end, so that balances can be compared.
async fn finish_plans(world: &World) {
    let planning: Vec<i64> = sqlx::query_scalar("SELECT id FROM run WHERE state = 'planning' ORDER BY id")
        .fetch_all(&world.look)
        .await
        .unwrap();
    for run in planning {
        while world.db.store.plan_chunk_paused(RunId(run), 2, 2).await.unwrap() != payfleet_store::Planned::Complete {}
    }
}

/// Every unordered pair, one with itself too.
async fn explore_pairs(stage: &str, world: World, ops: &[Op]) {
    let began = std::time::Instant::now();
    let mut total = 0;
    for (n, one) in ops.iter().enumerate() {
        for other in ops[n..].iter().filter(|other| one.may_meet(other)) {
            let clock = one.heeds_time() && other.heeds_time();
            let since = std::time::Instant::now();
            let count = explore(&world, [one, other], clock).await;
            println!("{stage}: {} × {}: {count} orders, {:?}", one.name(), other.name(), since.elapsed());
            total += count;
        }
    }
    println!("{stage}: {total} orders in {:.1} s", began.elapsed().as_secs_f64());
    world.drop().await;
}

/// Each pair with this one.
async fn explore_with(stage: &str, world: World, one: &Op, others: &[Op]) {
    let began = std::time::Instant::now();
    let mut total = 0;
    for other in others {
        total += explore(&world, [one, other], other.heeds_time()).await;
    }
    println!("{stage}: {total} orders in {:.1} s", began.elapsed().as_secs_f64());
    world.drop().await;
}

/// A run of two batches with two payouts each, and what two workers did with the first of them.
async fn paying(db: &Db) -> (RunId, BatchId) {
    let tenant = db.tenant("t", RAIL, 4).await;
    let run = db.run(tenant, "2026-01", 2).await;
    let batches = db.batches(run).await;
    db.pay(batches[1], paid).await;
    (run, batches[0])
}

async fn lease(db: &Db, batch: BatchId, worker: &str) -> LeasedBatch {
    db.store.lease_acquire(batch, worker, Duration::from_secs(3600)).await.unwrap().unwrap()
}

/// A run of which everything is paid: the run, and by what the second batch was.
async fn paid_run(db: &Db) -> (RunId, LeasedBatch, Intent) {
    let (run, batch) = paying(db).await;
    let leased = lease(db, batch, "w1").await;
    let intent = db.intent(&leased).await;
    db.record(&leased, &intent, paid).await;
    (run, leased, intent)
}

/// A batch that is leased and not sent.
#[tokio::test]
async fn nothing_sent_yet() {
    let (world, ops) = World::new(async |db| {
        let (run, batch) = paying(db).await;
        let leased = lease(db, batch, "w1").await.lease;
        vec![
            Op::Lease(batch, "w2"),
            Op::Lease(batch, "w3"),
            Op::Intend(leased),
            Op::Renew(leased),
            Op::Release(leased),
            Op::Hold(leased),
            Op::Split(leased),
            Op::Pause(run),
            Op::Resume(run),
            Op::Cancel(run),
            Op::Close(run),
            Op::Sweep,
        ]
    })
    .await;
    explore_pairs("nothing sent yet", world, &ops).await;
}

/// A run of which everything is paid, and which can be closed.
#[tokio::test]
async fn all_paid() {
    let (world, ops) = World::new(async |db| {
        let (run, ..) = paid_run(db).await;
        vec![Op::Close(run), Op::Pause(run), Op::Cancel(run)]
    })
    .await;
    explore_pairs("all paid", world, &ops).await;
}

/// The same, and there is another payment.
#[tokio::test]
async fn all_paid_and_more() {
    let (world, ops) = World::new(async |db| {
        let (run, leased, intent) = paid_run(db).await;
        let other = |_| Outcome::Paid(payfleet_domain::Reference("x".into()));
        vec![
            Op::Close(run),
            Op::Pause(run),
            Op::Cancel(run),
            Op::Record("paid otherwise", report(&leased, &intent, other)),
        ]
    })
    .await;
    explore_pairs("all paid and more", world, &ops).await;
}

/// A batch of a paused run: whoever wants to send it locks its row, and leaves it as it was.
#[tokio::test]
async fn paused() {
    let (world, ops) = World::new(async |db| {
        let (run, batch) = paying(db).await;
        let leased = lease(db, batch, "w1").await.lease;
        db.store.run_pause(run, "a look").await.unwrap();
        vec![Op::Lease(batch, "w2"), Op::Intend(leased), Op::Renew(leased), Op::Resume(run)]
    })
    .await;
    explore_pairs("paused", world, &ops).await;
}

/// A batch that was sent once, of a run that was cancelled since: it is sent again only as long as the first request
/// may have paid.
#[tokio::test]
async fn cancelled() {
    let (world, ops) = World::new(async |db| {
        let (run, batch) = paying(db).await;
        let leased = lease(db, batch, "w1").await;
        let intent = db.intent(&leased).await;
        db.store.run_cancel(run).await.unwrap();
        let not_executed = report(&leased, &intent, |_| Outcome::NotExecuted);
        vec![
            Op::Intend(leased.lease),
            Op::Record("paid", report(&leased, &intent, paid)),
            Op::Record("not executed", not_executed.clone()),
            Op::Record("not executed, going on", Report { release: false, ..not_executed }),
            Op::Cancel(run),
            Op::Sweep,
        ]
    })
    .await;
    explore_pairs("cancelled", world, &ops).await;
}

/// A batch that was sent once, and whose worker may be late.
#[tokio::test]
async fn sent_once() {
    let (world, ops) = World::new(async |db| {
        let (run, batch) = paying(db).await;
        let leased = lease(db, batch, "w1").await;
        let intent = db.intent(&leased).await;
        vec![
            Op::Lease(batch, "w2"),
            Op::Intend(leased.lease),
            Op::Record("paid", report(&leased, &intent, paid)),
            Op::Record("refused", report(&leased, &intent, refused)),
            Op::Record("unknown", report(&leased, &intent, unknown)),
            Op::Record("not executed", report(&leased, &intent, |_| Outcome::NotExecuted)),
            Op::Hold(leased.lease),
            Op::Split(leased.lease),
            Op::Renew(leased.lease),
            Op::Pause(run),
            Op::Cancel(run),
            Op::Close(run),
            Op::Sweep,
        ]
    })
    .await;
    explore_pairs("sent once", world, &ops).await;
}

/// A batch that two workers have sent, one after the other.
#[tokio::test]
async fn sent_by_two() {
    let (world, ops) = World::new(async |db| {
        let (run, batch) = paying(db).await;
        let old = lease(db, batch, "w1").await;
        let first = db.intent(&old).await;
        db.expire_lease(batch).await;
        let new = lease(db, batch, "w2").await;
        let second = db.intent(&new).await;
        let whole = Report { refused_whole: true, ..report(&new, &second, refused) };
        vec![
            Op::Lease(batch, "w3"),
            Op::Intend(old.lease),
            Op::Intend(new.lease),
            Op::Record("paid, late", report(&old, &first, paid)),
            Op::Record("refused, late", report(&old, &first, refused)),
            Op::Record("paid", report(&new, &second, paid)),
            Op::Record(
                "paid otherwise",
                report(&new, &second, |_| Outcome::Paid(payfleet_domain::Reference("x".into()))),
            ),
            Op::Record("refused", report(&new, &second, refused)),
            Op::Record("refused whole", whole),
            Op::Hold(old.lease),
            Op::Hold(new.lease),
            Op::Split(new.lease),
            Op::Cancel(run),
            Op::Sweep,
        ]
    })
    .await;
    explore_pairs("sent by two", world, &ops).await;
}

/// A batch whose intent has no answer, and what others do before its worker takes it back.
#[tokio::test]
async fn intent_unanswered() {
    let (world, ops) = World::new(async |db| {
        let (run, batch) = paying(db).await;
        let leased = lease(db, batch, "w1").await;
        db.intent(&leased).await;
        let leased = leased.lease;
        vec![
            Op::Withdraw(leased),
            Op::Lease(batch, "w2"),
            Op::Hold(leased),
            Op::Renew(leased),
            Op::Pause(run),
            Op::Cancel(run),
            Op::Sweep,
        ]
    })
    .await;
    let [withdraw, others @ ..] = &ops[..] else { unreachable!("there are seven") };
    explore_with("intent unanswered", world, withdraw, others).await;
}

/// The same when somebody else has the batch already, and sends it.
#[tokio::test]
async fn intent_unanswered_and_sent_by_another() {
    let (world, ops) = World::new(async |db| {
        let (run, batch) = paying(db).await;
        let lost = lease(db, batch, "w1").await;
        db.intent(&lost).await;
        db.expire_lease(batch).await;
        let new = lease(db, batch, "w2").await;
        let sent = db.intent(&new).await;
        vec![
            Op::Withdraw(lost.lease),
            Op::Record("paid", report(&new, &sent, paid)),
            Op::Record("refused", report(&new, &sent, refused)),
            Op::Record("unknown", report(&new, &sent, unknown)),
            Op::Record("not executed", report(&new, &sent, |_| Outcome::NotExecuted)),
            Op::Split(new.lease),
            Op::Cancel(run),
        ]
    })
    .await;
    let [withdraw, others @ ..] = &ops[..] else { unreachable!("there are seven") };
    explore_with("intent unanswered, sent by another", world, withdraw, others).await;
}

/// Somebody holds an affiliate while its batch is being sent.
#[tokio::test]
async fn affiliate_held() {
    let (world, ops) = World::new(async |db| {
        let tenant = db.tenant("t", RAIL, 2).await;
        let run = db.run(tenant, "2026-01", 2).await;
        let leased = lease(db, db.batches(run).await[0], "w1").await.lease;
        [Op::HoldAffiliate(tenant), Op::Intend(leased)]
    })
    .await;
    let [hold, intend] = &ops;
    explore_with("affiliate held", world, hold, std::slice::from_ref(intend)).await;
}

/// Late proof of money that was due again, beside the intent of the run that has it now.
#[tokio::test]
async fn proven_late() {
    let (world, ops) = World::new(async |db| {
        let tenant = db.tenant("t", RAIL, 2).await;
        let first = db.run(tenant, "2026-01", 2).await;
        let batch = db.batches(first).await[0];
        db.pay(batch, refused).await;
        let second = db.run(tenant, "2026-02", 2).await;
        let leased = lease(db, db.batches(second).await[0], "w1").await.lease;
        let late = vec![(db.payouts(first).await[0], Outcome::Paid(payfleet_domain::Reference("late".into())))];
        let late = looked_up(batch, payfleet_domain::Epoch(1), late);
        vec![Op::Record("paid late", late), Op::Intend(leased)]
    })
    .await;
    let [late, others @ ..] = &ops[..] else { unreachable!("there are two") };
    explore_with("proven late", world, late, others).await;
}

/// A run that is being planned, beside an earlier one of the same tenant whose money may come back.
#[tokio::test]
async fn planning() {
    let (world, ops) = World::new(async |db| {
        let tenant = db.tenant("t", RAIL, 4).await;
        let first = db.run(tenant, "2026-01", 2).await;
        let batches = db.batches(first).await;
        db.pay(batches[1], paid).await;
        let leased = lease(db, batches[0], "w1").await;
        let intent = db.intent(&leased).await;
        db.commissions(tenant, "2026-02-10T00:00:00Z", 700).await;
        let new = |period: &str| NewRun {
            tenant,
            period: period.parse().unwrap(),
            sequence: 1,
            minimum: "1".parse().unwrap(),
        };
        let (second, _) = db.store.run_create(new("2026-02")).await.unwrap();
        vec![
            Op::Plan(second.id),
            Op::Create(new("2026-02")),
            Op::Create(new("2026-03")),
            Op::Import("t"),
            Op::Record("paid", report(&leased, &intent, paid)),
            Op::Record("refused", report(&leased, &intent, refused)),
            Op::Pause(second.id),
            Op::Cancel(first),
            Op::Close(first),
            Op::Sweep,
        ]
    })
    .await;
    explore_pairs("planning", world, &ops).await;
}
