//! Rails that go on after their first answer, and after the verdict: money comes back, whole, with a fee or in part,
//! and is paid again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::RngExt;
use rand_pcg::Pcg64;
use serde_json::{Value, json};

use super::fault::Fault;
use super::world::World;
use crate::oracle::Movement;

/// Until the end of the storm.
pub async fn go_on(world: Arc<World>, mut generator: Pcg64, ends: Instant) {
    while Instant::now() < ends {
        tokio::time::sleep(Duration::from_millis(generator.random_range(200..1_200))).await;
        match generator.random_range(0..10) {
            0..5 => come_back(&world, &mut generator).await,
            5 => part_comes_back(&world, &mut generator).await,
            6..9 => pay_again(&world, &mut generator).await,
            _ => second_comes_back(&world, &mut generator).await,
        }
    }
}

/// Asks the rail for something that nobody but the harness would.
pub async fn ask(world: &World, path: &str, body: &Value) -> bool {
    let request = world.http.post(format!("http://{}/faults/{path}", world.rail)).json(body);
    request.send().await.is_ok_and(|answer| answer.status().is_success())
}

/// A payment as it was ordered, of which nothing else has happened yet, and whether its run has its verdict.
pub async fn untouched(world: &World, generator: &mut Pcg64) -> Option<(Movement, bool)> {
    let judged: Vec<i64> = sqlx::query_scalar("SELECT id FROM run WHERE verdict IS NOT NULL")
        .fetch_all(&world.database)
        .await
        .unwrap_or_default();
    let late = generator.random_bool(0.5);
    let fits = |line: &Movement| {
        line.event == "paid"
            && !line.extra
            && line.amount_minor > 100
            && judged.contains(&(line.payout() >> 32)) == late
            && !world.deeds.is_touched(&line.key)
    };
    let line = world.journal.one(fits, |count| generator.random_range(0..count))?;
    world.deeds.touch(&line.key);
    Some((line, late))
}

async fn come_back(world: &World, generator: &mut Pcg64) {
    let Some((paid, late)) = untouched(world, generator).await else { return };
    let fee = if generator.random_bool(0.3) { generator.random_range(0..100) } else { 0 };
    if ask(world, "return", &json!({ "id": paid.id, "fee_minor": fee, "code": "account_closed" })).await {
        world.table.count(if late { Fault::ReturnedLate } else { Fault::ReturnedEarly });
    }
}

async fn part_comes_back(world: &World, generator: &mut Pcg64) {
    let Some((paid, _)) = untouched(world, generator).await else { return };
    world.deeds.wrong(paid.payout(), "part of it came back");
    let part = generator.random_range(1..paid.amount_minor);
    if ask(world, "return", &json!({ "id": paid.id, "amount_minor": part, "fee_minor": 0 })).await {
        world.table.count(Fault::ReturnedInPart);
    }
}

async fn pay_again(world: &World, generator: &mut Pcg64) {
    let Some((paid, late)) = untouched(world, generator).await else { return };
    if ask(world, "plant", &json!({ "kind": "duplicate_payment", "id": paid.id })).await {
        world.table.count(if late { Fault::PaidAgainLate } else { Fault::PaidAgainEarly });
    }
}

/// The sum is right again.
async fn second_comes_back(world: &World, generator: &mut Pcg64) {
    let second = |line: &Movement| line.event == "paid" && line.extra && !world.deeds.is_touched(&line.id);
    let Some(second) = world.journal.one(second, |count| generator.random_range(0..count)) else { return };
    world.deeds.touch(&second.id);
    if ask(world, "return", &json!({ "id": second.id, "fee_minor": 0 })).await {
        world.table.count(Fault::SecondCameBack);
    }
}
