//! The reconciler's promise: it finds each planted discrepancy and nothing else.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod carried;
mod plant;
mod world;

use payfleet_domain::{DiscrepancyKind as Kind, Movement, Outcome, Reference, RunState, StatementLine};
use plant::{Plant, Where};
use world::{DAY, World, pay};

const AFFILIATES: i32 = 60;

/// Payouts and affiliates that faults can be planted in, each used once.
struct Places {
    paid: Vec<i64>,
    refused: Vec<i64>,
    excluded: Vec<i64>,
}

impl Places {
    async fn of(world: &World) -> Places {
        let ids = |payouts: Vec<payfleet_domain::PayoutId>| payouts.into_iter().map(|id| id.0).collect();
        let excluded = sqlx::query_scalar("SELECT affiliate_id FROM exclusion WHERE run_id = $1 ORDER BY affiliate_id")
            .bind(world.run.id.0)
            .fetch_all(&world.raw)
            .await
            .unwrap();
        // The first payout lends its line to forgeries.
        let mut paid: Vec<i64> = ids(world.payouts("paid").await);
        paid.remove(0);
        Places { paid, refused: ids(world.payouts("refused").await), excluded }
    }

    fn take(&mut self, plant: Plant, pick: usize) -> Option<i64> {
        let list = match plant.place() {
            Where::Paid => &mut self.paid,
            Where::Refused => &mut self.refused,
            Where::Excluded => &mut self.excluded,
            Where::Anywhere => return Some(0),
        };
        (!list.is_empty()).then(|| list.remove(pick % list.len()))
    }
}

#[tokio::test]
async fn a_clean_run_is_reconciled_by_its_statement() {
    let world = World::new(AFFILIATES).await;
    assert_eq!(world.run.state, RunState::Paying, "the bank file waits for its statement");
    let accepted = world.payouts("accepted").await.len() as u64;
    assert!(accepted > 0 && !world.payouts("held").await.is_empty());
    let said = world.reconcile().await;
    assert_eq!(said.found, []);
    assert_eq!(said.state, RunState::Reconciled);
    assert_eq!(said.applied.settled, accepted);
    assert!(world.payouts("accepted").await.is_empty());
    // Again, and of the first run too, whose lines are not this one's business.
    let again = world.reconcile().await;
    assert_eq!((again.state, again.applied.settled, again.found), (RunState::Reconciled, 0, vec![]));
    let first = World { lines: world.statement(world.first.id).await, run: world.first.clone(), ..world };
    assert_eq!(first.reconcile().await.found, []);
}

#[tokio::test]
async fn each_fault_is_found_alone() {
    let template = World::new(AFFILIATES).await.into_template().await;
    for (n, plant) in plant::ALL.into_iter().enumerate() {
        let mut world = template.copy().await;
        let mut places = Places::of(&world).await;
        let target = places.take(plant, n).unwrap();
        let mut expected = plant.plant(&mut world, target, n).await;
        expected.sort();
        let said = world.reconcile().await;
        assert_eq!(said.named(), expected, "{plant:?}: {:#?}", said.found);
        let state = if expected.is_empty() { RunState::Reconciled } else { RunState::Discrepant };
        assert_eq!(said.state, state, "{plant:?}");
        // What was found is kept.
        let kept: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM discrepancy d JOIN reconciliation r ON r.id = d.reconciliation_id WHERE r.run_id = $1",
        )
        .bind(world.run.id.0)
        .fetch_one(&world.raw)
        .await
        .unwrap();
        assert_eq!(kept, expected.len() as i64);
    }
}

/// A generator of our own, so that a seed means the same for ever.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        ((self.0 >> 33) as usize) % n
    }
}

#[tokio::test]
async fn any_mixture_of_faults_is_found_exactly() {
    let seed = match std::env::var("PAYFLEET_TEST_SEED") {
        Ok(seed) => seed.parse().unwrap(),
        Err(_) => u64::from(std::process::id()),
    };
    let template = World::new(AFFILIATES).await.into_template().await;
    for round in 0..8 {
        let seed = seed + round;
        println!("PAYFLEET_TEST_SEED={seed}");
        let mut random = Random(seed);
        let mut world = template.copy().await;
        let mut places = Places::of(&world).await;
        let mut expected = Vec::new();
        let mut planted = Vec::new();
        for n in 0..5 + random.below(20) {
            let plant = plant::ALL[random.below(plant::ALL.len())];
            // A payout unknown for long ages its whole batch, and a second line of another run is a payment in two there.
            let Some(target) = places.take(plant, random.below(1000)) else { continue };
            expected.extend(plant.plant(&mut world, target, n).await);
            planted.push(plant);
        }
        for place in (1..world.lines.len()).rev() {
            let other = random.below(place + 1);
            world.lines.swap(place, other);
        }
        let said = world.reconcile().await;
        expected.sort();
        assert_eq!(said.named(), expected, "seed {seed}, {planted:?}");
    }
}

#[tokio::test]
async fn a_statement_settles_what_was_held_and_refuses_nothing() {
    let mut world = World::new(AFFILIATES).await;
    let held = world.payouts("held").await;
    let mut line = world.lines[0].clone();
    for (n, payout) in held.iter().enumerate() {
        line.key = world.key(*payout).await;
        line.reference = format!("bank_{payout}");
        let (amount, currency, destination): (i64, String, String) = sqlx::query_as(
            "SELECT p.amount_minor, p.currency::text, m.destination FROM payout p JOIN payout_method m ON m.id = p.method_id WHERE p.id = $1",
        )
        .bind(payout.0)
        .fetch_one(&world.raw)
        .await
        .unwrap();
        // One line of the held ones proves nothing: it names another amount.
        line.amount_minor = if n == 0 { amount + 1 } else { amount };
        (line.currency, line.destination) = (currency, destination);
        world.lines.push(line.clone());
    }
    let accepted = world.payouts("accepted").await.len();
    let said = world.reconcile().await;
    assert_eq!(said.applied.settled as usize, accepted + held.len() - 1);
    let who = world.affiliate(held[0]).await;
    assert_eq!(said.named(), [(Kind::AmountDiffers, Some(held[0]), Some(who))]);
    assert_eq!(world.payouts("held").await, [held[0]]);
    let open: i64 =
        sqlx::query_scalar("SELECT count(*) FROM hold WHERE resolved_at IS NULL").fetch_one(&world.raw).await.unwrap();
    assert_eq!(open, 1, "holds that evidence decided are closed");
}

/// Whatever a line holds is reported as it is; only NUL, which Postgres has not, is replaced.
#[tokio::test]
async fn a_line_of_nobodys_is_reported_word_for_word() {
    let mut world = World::new(AFFILIATES).await;
    let line = StatementLine {
        key: "\t\\N\n\r\\.\0{NULL}".to_owned(),
        reference: "\"'; --\u{1}\0\u{202e}".to_owned(),
        currency: "\0\\".to_owned(),
        amount_minor: i64::MIN,
        ..world.lines[0].clone()
    };
    world.lines.push(line);
    let said = world.reconcile().await;
    assert_eq!(said.named(), [(Kind::NeverPlanned, None, None)]);
    let word =
        "key \t\\N\n\r\\.\u{fffd}{NULL}, reference \"'; --\u{1}\u{fffd}\u{202e}, -9223372036854775808 minor units";
    assert_eq!(said.found[0].found.as_deref(), Some(word));
    assert_eq!(said.found[0].currency.as_deref(), Some("\u{fffd}\\"));
}

#[tokio::test]
async fn money_that_came_back_is_due_again_and_stays_in_balance() {
    let mut world = World::new(AFFILIATES).await;
    let accepted = world.payouts("accepted").await;
    let back: Vec<StatementLine> = world
        .lines
        .iter()
        .filter(|line| accepted.iter().any(|id| line.key.starts_with(&format!("{id}-"))))
        .map(|line| StatementLine { movement: Movement::Returned, ..line.clone() })
        .collect();
    world.lines.extend(back);
    let said = world.reconcile().await;
    assert_eq!(said.found, []);
    assert_eq!(said.applied.returned as usize, accepted.len());
    assert_eq!(world.payouts("returned").await, accepted);
    assert_eq!(world.reconcile().await.found, []);
}

#[tokio::test]
async fn of_an_open_run_nothing_is_said_but_what_is_unknown_for_too_long() {
    let world = World::new(AFFILIATES).await;
    let open = |world: &World, lines: Vec<StatementLine>| {
        let (store, run) = (world.store.clone(), world.run.clone());
        async move {
            let mut session = store.reconciliation_open(&run).await.unwrap().unwrap();
            assert!(store.reconciliation_open(&run).await.unwrap().is_none(), "one at a time");
            for line in &lines {
                session.line_add(line.clone()).await.unwrap();
            }
            session.lines_match().await.unwrap();
            session.evidence_apply().await.unwrap();
            let open = session.batches_open().await.unwrap();
            let compared = session.compare_open(DAY).await.unwrap();
            session.close().await.unwrap();
            (open, compared)
        }
    };
    let (batches, compared) = open(&world, Vec::new()).await;
    assert!(batches.iter().all(|part| part.rail == "sandbox-file"));
    assert_eq!(compared.discrepancies, 0);
    let accepted = world.payouts("accepted").await.len() as i64;
    world
        .tamper(
            "UPDATE batch SET first_sent_at = first_sent_at - interval '2 days' WHERE state = 'accepted'".to_owned(),
        )
        .await;
    assert_eq!(open(&world, Vec::new()).await.1.discrepancies, accepted);
    assert_eq!(open(&world, world.lines.clone()).await.1.discrepancies, 0);
}

#[tokio::test]
async fn totals_that_no_account_explains_are_found() {
    let world = World::new(AFFILIATES).await;
    assert_eq!(world.reconcile().await.found, []);
    let run = world.run.id;
    world
        .tamper(format!(
            "UPDATE run_plan SET accounts = accounts + 1 WHERE run_id = {run} AND verdict = 'pay' AND currency = 'EUR'"
        ))
        .await;
    let said = world.reconcile().await;
    assert_eq!(said.named(), [(Kind::Skipped, None, None)]);
}

#[tokio::test]
async fn a_transfer_without_two_sides_is_money_from_nowhere() {
    let world = World::new(AFFILIATES).await;
    world.tamper("DELETE FROM transfer_kind WHERE name = 'settle'".to_owned()).await;
    let said = world.reconcile().await;
    assert!(!said.found.is_empty());
    for found in &said.found {
        assert_eq!((found.kind, found.payout), (Kind::LedgerOutOfBalance, None));
        let expected = (Some("transfers with two sides"), true);
        let instead = found.found.as_deref().is_some_and(|found| found.ends_with("minor units from nowhere"));
        assert_eq!((found.expected.as_deref(), instead), expected);
    }
}

/// Which of the two came first is told by their transactions. Clocks say the opposite here, as one that is put right meanwhile may.
#[tokio::test]
async fn what_is_recorded_while_the_statement_is_on_its_way_need_not_be_on_it() {
    let world = World::new(AFFILIATES).await;
    let (held, paid) = (world.payouts("held").await[0], world.payouts("paid").await[0]);
    let settled = async {
        world.learned(held, Outcome::Paid(Reference("late".to_owned()))).await;
        world.returned(paid, &format!("po_{paid}")).await;
        world.tamper(format!("UPDATE payout SET settled_at = settled_at - interval '1 hour' WHERE id = {held}")).await;
    };
    let said = world.reconcile_while(settled).await;
    assert_eq!((said.compared.newer_than_statement, said.named()), (2, vec![]));

    world.tamper(format!("UPDATE payout SET settled_at = settled_at + interval '2 hours' WHERE id = {held}")).await;
    let said = world.reconcile().await;
    let missing = |kind, payout, who| (kind, Some(payout), Some(who));
    let mut expected = [
        missing(Kind::NotOnStatement, held, world.affiliate(held).await),
        missing(Kind::ReturnUnrecorded, paid, world.affiliate(paid).await),
    ];
    expected.sort();
    assert_eq!((said.compared.newer_than_statement, said.named()), (0, expected.to_vec()));
}

#[tokio::test]
async fn a_cancelled_run_and_a_next_one_are_compared_too() {
    let world = World::planned(AFFILIATES).await;
    // Of the second run only the bank files were sent.
    pay(&world.store, world.run.id, |rail, id| match rail {
        "sandbox-file" => Outcome::Accepted(Reference(format!("file_{id}"))),
        _ => Outcome::NotExecuted,
    })
    .await;
    assert!(world.store.run_cancel(world.run.id).await.unwrap() > 0);
    let world = world.finish().await;
    let said = world.reconcile().await;
    assert_eq!(said.found, []);
    assert_eq!(said.state, RunState::Cancelled);
    // What was released is due in the next run, also where it meets a clawback of the same size.
    let new = payfleet_store::NewRun {
        tenant: world.tenant,
        period: "2011-11".parse().unwrap(),
        sequence: 2,
        minimum: "1.00".parse().unwrap(),
    };
    let (next, _) = world.store.run_create(new).await.unwrap();
    world.store.plan_chunk(next.id, 7, 5).await.unwrap();
    // While the next one is half planned, the balances are still those of their histories.
    assert_eq!(world.reconcile().await.found, []);
    while world.store.plan_chunk(next.id, 7, 5).await.unwrap() != payfleet_store::Planned::Complete {}
    world.store.runs_begin().await.unwrap();
    pay(&world.store, next.id, |_, id| Outcome::Paid(Reference(format!("po_{id}")))).await;
    let next = world.store.run_find(next.id).await.unwrap().unwrap();
    let mut world = World { run: next, ..world };
    world.lines.extend(world.statement(world.run.id).await);
    let said = world.reconcile().await;
    assert_eq!(said.found, []);
    assert_eq!(said.state, RunState::Reconciled);
}
