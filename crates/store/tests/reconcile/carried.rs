//! Money that becomes due again while runs are planned: rows say in which run it counts, whatever the clocks do.

use payfleet_domain::{DiscrepancyKind as Kind, Outcome, PayoutId, Reference, RefusalCode};
use payfleet_store::{NewRun, Planned, RunRow, Store};

use crate::world::{World, pay};

const AFFILIATES: i32 = 60;

fn paid(_: &str, payout: PayoutId) -> Outcome {
    Outcome::Paid(Reference(format!("po_{payout}")))
}

/// Half of them is refused, the others are paid.
fn every_other(rail: &str, payout: PayoutId) -> Outcome {
    match payout.0 % 2 {
        0 => Outcome::Refused(RefusalCode::new("receiver_unregistered")),
        _ => paid(rail, payout),
    }
}

async fn create(world: &World, sequence: i16) -> RunRow {
    let period = "2011-11".parse().unwrap();
    let new = NewRun { tenant: world.tenant, period, sequence, minimum: "1.00".parse().unwrap() };
    world.store.run_create(new).await.unwrap().0
}

async fn plan(store: &Store, run: &RunRow) {
    while store.plan_chunk(run.id, 2, 5).await.unwrap() != Planned::Complete {}
}

/// Pays what is planned, and plans and pays what is created.
async fn finish(store: &Store, planned: &RunRow, created: &RunRow) {
    store.runs_begin().await.unwrap();
    pay(store, planned.id, paid).await;
    plan(store, created).await;
    store.runs_begin().await.unwrap();
    pay(store, created.id, paid).await;
}

/// Compares each of these runs, and finds nothing.
async fn compare(mut world: World, runs: Vec<RunRow>) -> World {
    for run in runs {
        let run = world.store.run_find(run.id).await.unwrap().unwrap();
        let lines = world.statement(run.id).await;
        world = World { run, lines, ..world };
        assert_eq!(world.reconcile().await.found, [], "run {}", world.run.ordinal);
    }
    world
}

/// What payouts and exclusions of a run carried over, and what they are about.
async fn carried(world: &World, run: &RunRow) -> (i64, i64) {
    sqlx::query_as(
        "SELECT coalesce(sum(carried_minor), 0)::bigint, coalesce(sum(amount_minor), 0)::bigint FROM (
           SELECT carried_minor, amount_minor FROM payout WHERE run_id = $1
           UNION ALL SELECT carried_minor, amount_minor FROM exclusion WHERE run_id = $1) AS d",
    )
    .bind(run.id.0)
    .fetch_one(&world.raw)
    .await
    .unwrap()
}

/// Sum of what was released or came back, by the run that counts it.
async fn due_in(world: &World, run: &RunRow) -> i64 {
    sqlx::query_scalar("SELECT coalesce(sum(amount_minor), 0)::bigint FROM transfer WHERE due_in = $1")
        .bind(run.ordinal)
        .fetch_one(&world.raw)
        .await
        .unwrap()
}

#[tokio::test]
async fn three_sequences_within_a_moment_and_an_answer_that_is_late() {
    let world = World::planned(AFFILIATES).await;
    let second = world.run.clone();
    let third = create(&world, 2).await;
    world.store.plan_chunk(third.id, 7, 5).await.unwrap();
    // The answer to the second run, in the middle of the third one's plan: whatever the plan has seen yet, it is the
    // fourth one's.
    pay(&world.store, second.id, every_other).await;
    plan(&world.store, &third).await;
    let fourth = create(&world, 3).await;
    finish(&world.store, &third, &fourth).await;
    let refused = due_in(&world, &fourth).await;
    assert!(refused > 0);
    assert_eq!(due_in(&world, &third).await, 0);
    let left = carried(&world, &third).await;
    assert_eq!(carried(&world, &fourth).await.0, left.1 + refused);
    compare(world, vec![second, third, fourth]).await;
}

#[tokio::test]
async fn money_released_right_before_and_while_a_plan_is_made_on_several_connections() {
    for round in 0..3 {
        let world = World::planned(AFFILIATES).await;
        let second = world.run.clone();
        let store = &world.store;
        let release = async {
            // As soon as it can be, so that some of it is before and some after the creation of the next run, and among
            // its chunks.
            pay(store, second.id, every_other).await;
        };
        let next = async {
            let released = "SELECT count(*) FROM transfer WHERE kind = 3";
            while sqlx::query_scalar::<_, i64>(released).fetch_one(&world.raw).await.unwrap() < round * 5 {}
            let third = create(&world, 2).await;
            tokio::join!(plan(store, &third), plan(store, &third), plan(store, &third));
            third
        };
        let ((), third) = tokio::join!(release, next);
        let fourth = create(&world, 3).await;
        finish(store, &third, &fourth).await;
        let counted = (due_in(&world, &third).await, due_in(&world, &fourth).await);
        println!("released before and after the plan: {counted:?}");
        compare(world, vec![second, third, fourth]).await;
    }
}

#[tokio::test]
async fn what_a_plan_did_not_see_is_found_and_what_was_never_written_down_is_not_asked_for() {
    let world = World::new(AFFILIATES).await;
    let left: (i64, String) = sqlx::query_as(
        "SELECT x.affiliate_id, a.external_id
           FROM exclusion x JOIN affiliate a ON a.id = x.affiliate_id
          WHERE run_id = $1
          ORDER BY 1
          LIMIT 1",
    )
    .bind(world.first.id.0)
    .fetch_one(&world.raw)
    .await
    .unwrap();
    world
        .tamper(format!(
            "UPDATE exclusion SET amount_minor = amount_minor - 1 WHERE run_id = {} AND affiliate_id = {}",
            world.first.id, left.0
        ))
        .await;
    assert_eq!(world.reconcile().await.named(), [(Kind::Skipped, None, Some(left.1))]);
    // The same where the run before was planned by a version that did not write down what it counts.
    world.tamper(format!("UPDATE run SET stamped = false WHERE id = {}", world.first.id)).await;
    assert_eq!(world.reconcile().await.found, []);
}

#[tokio::test]
async fn what_a_worker_of_the_version_before_released_is_not_held_against_a_plan() {
    let world = World::planned(AFFILIATES).await;
    pay(&world.store, world.run.id, every_other).await;
    let second = world.run.clone();
    // It does not say which run counts what it releases; the next plan does.
    world.tamper("UPDATE transfer SET due_in = NULL WHERE due_in IS NOT NULL".to_owned()).await;
    let third = create(&world, 2).await;
    plan(&world.store, &third).await;
    world.store.runs_begin().await.unwrap();
    pay(&world.store, third.id, paid).await;
    let world = compare(world, vec![second, third]).await;
    // Of others, everything is still seen.
    let other: String = sqlx::query_scalar(
        "UPDATE account
            SET carried_minor = carried_minor + 5
          WHERE affiliate_id = (SELECT min(affiliate_id) FROM exclusion WHERE reason = 'no_method')
         RETURNING (SELECT external_id FROM affiliate a WHERE a.id = affiliate_id)",
    )
    .fetch_one(&world.raw)
    .await
    .unwrap();
    assert_eq!(world.reconcile().await.named(), [(Kind::LedgerOutOfBalance, None, Some(other))]);
}
