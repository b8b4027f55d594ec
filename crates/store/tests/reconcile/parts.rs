//! One part of a statement may speak of several runs, and of several payments of one payout; and it may be read late.

use std::collections::HashSet;
use std::time::Duration;

use payfleet_domain::{Movement, Outcome, PayoutId, Rail, Reference, StatementLine};
use payfleet_store::{Intent, IntentRefused, StatementAccount, StatementSource};

use crate::AFFILIATES;
use crate::world::{World, pay};

fn payment_of(lines: &[StatementLine], payout: PayoutId) -> StatementLine {
    let key = format!("{payout}-");
    let ours = |line: &&StatementLine| line.key.starts_with(&key) && line.movement == Movement::Paid;
    lines.iter().find(ours).expect("a paid payout has its line").clone()
}

#[tokio::test]
async fn two_payouts_of_one_account_that_come_back_together_are_both_due_again() {
    let mut world = World::new(AFFILIATES).await;
    world.lines.extend(world.statement(world.first.id).await);
    let (first, second, affiliate, currency, both): (i64, i64, i64, String, i64) = sqlx::query_as(
        "SELECT a.id, b.id, a.affiliate_id, a.currency, a.amount_minor + b.amount_minor
           FROM payout a JOIN payout b ON b.affiliate_id = a.affiliate_id AND b.currency = a.currency
             AND b.state = 'paid'
          WHERE a.run_id = $1 AND b.run_id = $2 AND a.state = 'paid' ORDER BY a.id LIMIT 1",
    )
    .bind(world.first.id.0)
    .bind(world.run.id.0)
    .fetch_one(&world.raw)
    .await
    .unwrap();
    for payout in [first, second] {
        let paid = payment_of(&world.lines, PayoutId(payout));
        let (reference, of) = (format!("back-{payout}"), Some(paid.reference.clone()));
        world.lines.push(StatementLine { reference, of, movement: Movement::Returned, ..paid });
    }
    let carried = || async {
        let find = sqlx::query_scalar("SELECT carried_minor FROM account WHERE affiliate_id = $1 AND currency = $2");
        find.bind(affiliate).bind(&currency).fetch_one(&world.raw).await.unwrap()
    };
    let before: i64 = carried().await;
    let said = world.reconcile().await;
    let after: i64 = carried().await;
    assert_eq!((said.applied.returned, after - before, said.found), (2, both, vec![]));
}

#[tokio::test]
async fn a_payment_and_its_double_on_one_part_raise_the_alarm() {
    let mut world = World::new(AFFILIATES).await;
    let payout = world.payouts("paid").await[0];
    let paid = payment_of(&world.lines, payout);
    world.lines.push(StatementLine { reference: "another".to_owned(), ..paid });
    let said = world.reconcile().await;
    assert_eq!(said.applied.alarms, 1);
    let paused: Option<String> = sqlx::query_scalar("SELECT pause_reason FROM run WHERE id = $1")
        .bind(world.run.id.0)
        .fetch_one(&world.raw)
        .await
        .unwrap();
    assert!(paused.is_some(), "the run goes on");
}

/// The payment that we know of is on one account's statement, a second one on another's, and both are recorded at the
/// same time: the first is held back with its mark not yet to be seen.
#[tokio::test]
async fn a_payment_and_its_double_on_two_statements_at_once_raise_the_alarm() {
    let mut world = World::new(AFFILIATES).await;
    let payout = world.payouts("paid").await[0];
    let paid = payment_of(&world.lines, payout);
    world.lines.retain(|line| line.key != paid.key);
    world.read().await;
    let mut blocker = world.raw.begin().await.unwrap();
    sqlx::query("SELECT FROM listed WHERE run_id = $1 FOR UPDATE")
        .bind(world.run.id.0)
        .execute(&mut *blocker)
        .await
        .unwrap();
    let read = |account: &str| {
        let account = StatementAccount { rail: "sandbox-payout".into(), account: account.into(), credential: None };
        let (store, line) = (world.store.clone(), paid.clone());
        tokio::spawn(async move {
            let mut reading = store.account_open(&account, StatementSource::Rail).await.unwrap().unwrap();
            reading.line_add(line).await.unwrap();
            reading.end(None).await.unwrap().applied
        })
    };
    let mut readings = Vec::new();
    for (n, account) in ["main", "other"].into_iter().enumerate() {
        readings.push(read(account));
        let waiting = "SELECT count(DISTINCT pid) FROM pg_locks l JOIN pg_stat_activity a USING (pid)
                        WHERE NOT l.granted AND a.datname = current_database()";
        while !readings[n].is_finished() {
            // Who is there is looked up once in a transaction otherwise.
            sqlx::query("SELECT pg_stat_clear_snapshot()").execute(&mut *blocker).await.unwrap();
            let waiting: i64 = sqlx::query_scalar(waiting).fetch_one(&mut *blocker).await.unwrap();
            if waiting > n as i64 {
                break;
            }
            tokio::task::yield_now().await;
        }
    }
    blocker.rollback().await.unwrap();
    let mut alarms = 0;
    for reading in readings {
        alarms += reading.await.unwrap().alarms;
    }
    assert_eq!(alarms, 1);
}

/// Nobody read for longer than money may come back; what came meanwhile is read all the same, once.
#[tokio::test]
async fn an_account_is_read_until_its_statement_has_reached_past_everything_that_may_come_back() {
    let world = World::new(AFFILIATES).await;
    let long_ago = "UPDATE run SET settled_at = clock_timestamp() - interval '200 days' WHERE state <> 'planning'";
    sqlx::query(long_ago).execute(&world.raw).await.unwrap();
    let reaches = |ago: &'static str| {
        sqlx::query("UPDATE rail_account SET reaches_to = clock_timestamp() - $1::interval")
            .bind(ago)
            .execute(&world.raw)
    };
    let known =
        "INSERT INTO rail_account (rail, account) SELECT DISTINCT rail, account FROM batch ON CONFLICT DO NOTHING";
    sqlx::query(known).execute(&world.raw).await.unwrap();
    reaches("190 days").await.unwrap();
    assert!(!world.store.accounts_to_read().await.unwrap().is_empty());
    reaches("1 minute").await.unwrap();
    assert_eq!(world.store.accounts_to_read().await.unwrap().len(), 0);
}

/// Its run is stopped by the alarm, and somebody cancels it: the money went out all the same, so it is not due again.
#[tokio::test]
async fn what_was_paid_before_it_was_sent_is_not_free_when_it_is_cancelled() {
    let mut world = World::planned(AFFILIATES).await;
    let payout = world.payouts("planned").await[0];
    world.lines = vec![world.line_of(payout).await];
    world.read().await;
    let carried = || async {
        let find = sqlx::query_scalar(
            "SELECT a.carried_minor
               FROM account a JOIN payout p USING (tenant_id, affiliate_id, currency)
              WHERE p.id = $1",
        );
        find.bind(payout.0).fetch_one(&world.raw).await.unwrap()
    };
    let before: i64 = carried().await;
    world.store.run_cancel(world.run.id).await.unwrap();
    let after: i64 = carried().await;
    assert_eq!(after, before, "the money is due again although it was paid");
    assert!(world.payouts("paid").await.contains(&payout));
}

/// Leases the first batch that is due and asks for permission to send it.
async fn intend(world: &World) -> Result<Intent, IntentRefused> {
    world.answer_alarms().await;
    world.store.run_resume(world.run.id).await.unwrap();
    world.store.runs_begin().await.unwrap();
    let rail = Rail::named("sandbox-payout").unwrap();
    let due = world.store.batches_due(rail.name, HashSet::new(), 9).await.unwrap();
    let first = due.into_iter().min().unwrap();
    let leased = world.store.lease_acquire(first, "w", Duration::from_secs(60)).await.unwrap().unwrap();
    world.store.intent_write(leased.lease, "w", rail, false).await.unwrap()
}

/// A payment with our key before anything of it was sent (a database that forgot, or somebody else with our credential)
/// is evidence like any other, and whoever lets the run go on afterwards does not pay it again.
#[tokio::test]
async fn what_was_paid_before_it_was_sent_is_paid_and_never_sent() {
    let mut world = World::planned(AFFILIATES).await;
    let payout = world.payouts("planned").await[1];
    world.lines = vec![world.line_of(payout).await];
    assert_eq!((world.read().await.settled, world.read().await.alarms), (1, 0), "told once");
    let run = world.store.run_find(world.run.id).await.unwrap().unwrap();
    assert!(run.pause_reason.is_some(), "nobody has looked, and the run goes on");
    let intent = intend(&world).await.unwrap();
    assert!(intent.orders.iter().all(|order| order.payout != payout) && !intent.orders.is_empty());
}

/// Of another amount, or to somebody else: it does not settle the payout; it is in doubt with its batch.
#[tokio::test]
async fn what_was_paid_otherwise_before_it_was_sent_is_held_with_its_batch() {
    let mut world = World::planned(AFFILIATES).await;
    let payout = world.payouts("planned").await[1];
    let line = world.line_of(payout).await;
    world.lines = vec![StatementLine { amount_minor: line.amount_minor - 1, ..line }];
    for alarms in [1, 0] {
        assert_eq!(world.read().await.alarms, alarms, "told once");
    }
    let held = world.payouts("held").await;
    assert!(held.contains(&payout) && held.len() > 1, "{held:?}");
    assert!(intend(&world).await.unwrap().orders.iter().all(|order| !held.contains(&order.payout)));
}

/// It came back too: where a payment is known, nothing need have been sent for that, as far as we know.
#[tokio::test]
async fn what_comes_back_of_a_payment_that_we_did_not_send_is_due_again() {
    let mut world = World::planned(AFFILIATES).await;
    let payout = world.payouts("planned").await[1];
    let paid = world.line_of(payout).await;
    let back = StatementLine { movement: Movement::Returned, reference: "back".to_owned(), ..paid.clone() };
    // Before its payment: it stops what was to be sent, and counts when the payment is known.
    world.lines = vec![back];
    let read = world.read().await;
    assert_eq!((read.returned, read.alarms), (0, 1));
    assert!(world.payouts("held").await.contains(&payout));
    world.lines = vec![paid];
    assert_eq!(world.read().await.returned, 1);
    assert!(world.payouts("returned").await.contains(&payout));
}

#[tokio::test]
async fn what_comes_back_of_what_was_paid_after_it_was_cancelled_is_due_again() {
    let mut world = World::planned(AFFILIATES).await;
    let payout = world.payouts("planned").await[1];
    world.store.run_cancel(world.run.id).await.unwrap();
    let paid = world.line_of(payout).await;
    let back = StatementLine { movement: Movement::Returned, reference: "back".to_owned(), ..paid.clone() };
    world.lines = vec![paid, back];
    let read = world.read().await;
    assert_eq!((read.late, read.returned), (0, 0), "it went out and came back, and is due as before");
    assert!(world.payouts("cancelled").await.contains(&payout));
}

/// A batch of which a part was paid, and the rest proven not to be, is as one that was never sent. What was paid of it
/// can come back all the same.
#[tokio::test]
async fn what_was_paid_of_a_batch_whose_rest_was_not_sent_can_come_back() {
    let world = World::planned(AFFILIATES).await;
    let several =
        "SELECT min(first_payout_id) FROM batch WHERE run_id = $1 AND rail = 'sandbox-payout' AND payouts > 1";
    let first: i64 = sqlx::query_scalar(several).bind(world.run.id.0).fetch_one(&world.raw).await.unwrap();
    let paid = PayoutId(first);
    pay(&world.store, world.run.id, |_, id| match id == paid {
        true => Outcome::Paid(Reference(format!("po_{id}"))),
        false => Outcome::NotExecuted,
    })
    .await;
    world.store.run_cancel(world.run.id).await.unwrap();
    let mut world = world.finish().await;
    assert_eq!(world.reconcile().await.found, []);
    // In a part of its own, as most returns are.
    let payment = payment_of(&world.lines, paid);
    let of = Some(payment.reference.clone());
    world.lines = vec![StatementLine { reference: "back".to_owned(), of, movement: Movement::Returned, ..payment }];
    let said = world.reconcile().await;
    assert_eq!((said.applied.returned, said.found), (1, vec![]));
    assert_eq!(world.payouts("returned").await, [paid]);
}
