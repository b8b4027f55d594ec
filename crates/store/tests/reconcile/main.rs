//! The reconciler's promise: it finds each planted discrepancy and nothing else.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod carried;
mod names;
mod parts;
mod plant;
mod witnesses;
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
    // Again; and of the first run, whose lines have not come yet, and then do.
    let again = world.reconcile().await;
    assert_eq!((again.state, again.applied.settled, again.found), (RunState::Reconciled, 0, vec![]));
    let lines = world.statement(world.first.id).await;
    let paid = lines.len() as i64;
    let first = World { lines: Vec::new(), run: world.first.clone(), ..world };
    let said = first.reconcile().await;
    assert_eq!((said.state, said.compared.discrepancies), (RunState::Discrepant, paid));
    // They are news, and news changes a verdict.
    let first = World { lines, ..first };
    first.read().await;
    assert_eq!(first.store.runs_to_judge().await.unwrap(), [first.run.id]);
    let said = first.reconcile().await;
    assert_eq!((said.state, said.found), (RunState::Reconciled, vec![]));
    assert_eq!(first.store.runs_to_judge().await.unwrap(), []);
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
            "SELECT count(*)
               FROM discrepancy d JOIN reconciliation r ON r.id = d.reconciliation_id
              WHERE r.run_id = $1",
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
            // A payout unknown for long ages its whole batch, and a second line of another run is a payment in two
            // there.
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
    for (n, payout) in held.iter().enumerate() {
        let mut line = world.line_of(*payout).await;
        line.reference = format!("bank_{payout}");
        // One line of the held ones proves nothing: it names another amount.
        line.amount_minor += i64::from(n == 0);
        world.lines.push(line);
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
        .map(|line| StatementLine {
            movement: Movement::Returned,
            reference: format!("r{}", line.reference),
            ..line.clone()
        })
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
    let open = |world: &World| {
        let (store, run) = (world.store.clone(), world.run.clone());
        async move {
            let mut session = store.reconciliation_open(&run).await.unwrap().unwrap();
            assert!(store.reconciliation_open(&run).await.unwrap().is_none(), "one at a time");
            let open = session.batches_open().await.unwrap();
            let compared = session.compare_open(DAY).await.unwrap();
            session.close().await.unwrap();
            (open, compared)
        }
    };
    let (batches, compared) = open(&world).await;
    assert!(batches.iter().all(|part| part.rail == "sandbox-file"));
    assert_eq!(compared.discrepancies, 0);
    let accepted = world.payouts("accepted").await.len() as i64;
    world
        .tamper(
            "UPDATE batch SET first_sent_at = first_sent_at - interval '2 days' WHERE state = 'accepted'".to_owned(),
        )
        .await;
    assert_eq!(open(&world).await.1.discrepancies, accepted);
    world.read().await;
    assert_eq!(open(&world).await.1.discrepancies, 0);
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

/// Which of the two came first is told by their transactions. Clocks say the opposite here, as one that is put right
/// meanwhile may.
#[tokio::test]
async fn what_is_recorded_while_the_statement_is_on_its_way_need_not_be_on_it() {
    let world = World::new(AFFILIATES).await;
    let held = world.payouts("held").await[0];
    let settled = async {
        world.learned(held, Outcome::Paid(Reference("late".to_owned()))).await;
        world.tamper(format!("UPDATE payout SET settled_at = settled_at - interval '1 hour' WHERE id = {held}")).await;
    };
    let said = world.reconcile_while(settled).await;
    assert_eq!((said.compared.newer_than_statement, said.named()), (1, vec![]));

    let said = world.reconcile().await;
    let expected = [(Kind::NotOnStatement, Some(held), Some(world.affiliate(held).await))];
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
    assert_eq!((said.state, said.verdict), (RunState::Cancelled, Some(RunState::Reconciled)));
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

fn line_back(world: &World, payout: payfleet_domain::PayoutId, reference: &str) -> StatementLine {
    let line = world.lines.iter().find(|line| line.key.starts_with(&format!("{payout}-"))).unwrap();
    StatementLine { movement: Movement::Returned, reference: reference.to_owned(), ..line.clone() }
}

async fn balance(world: &World, payout: payfleet_domain::PayoutId) -> i64 {
    sqlx::query_scalar(
        "SELECT a.carried_minor
           FROM account a JOIN payout p ON p.affiliate_id = a.affiliate_id AND p.currency = a.currency
          WHERE p.id = $1",
    )
    .bind(payout.0)
    .fetch_one(&world.raw)
    .await
    .unwrap()
}

/// A payment was doubled by the rail, and one of the two came back: which one, and in which order the references sort,
/// decides nothing.
#[tokio::test]
async fn money_is_free_only_when_all_that_was_paid_has_come_back() {
    let mut world = World::new(AFFILIATES).await;
    for payout in [world.payouts("paid").await[1], world.payouts("accepted").await[0]] {
        for second in ["0_before_all_others", "zz_after_all_others"] {
            let own = world.lines.iter().find(|line| line.key.starts_with(&format!("{payout}-"))).unwrap().clone();
            let before = balance(&world, payout).await;
            world.lines.push(StatementLine { reference: format!("{second}{payout}"), ..own });
            let twice = world.reconcile().await;
            assert!(twice.named().iter().any(|(kind, who, _)| (*kind, *who) == (Kind::PaidTwice, Some(payout))));
            world.lines.push(line_back(&world, payout, &format!("back_{second}{payout}")));
            let said = world.reconcile().await;
            assert_eq!((said.applied.returned, said.named()), (0, vec![]), "the sum is right again");
            assert_eq!(balance(&world, payout).await, before, "the payee has one of them");
        }
        // And then the rest.
        let before = balance(&world, payout).await;
        world.lines.push(line_back(&world, payout, &format!("last_{payout}")));
        let said = world.reconcile().await;
        assert_eq!((said.applied.returned, said.named()), (1, vec![]));
        assert!(balance(&world, payout).await > before);
    }
}

/// After its verdict a payment of a run was doubled, another came back, and a refused one was paid: each is seen with
/// the next part, whoever reads it.
#[tokio::test]
async fn news_after_the_verdict_changes_it() {
    let mut world = World::new(AFFILIATES).await;
    assert_eq!(world.reconcile().await.state, RunState::Reconciled);
    let (paid, refused) = (world.payouts("paid").await, world.payouts("refused").await);
    let doubled = StatementLine { reference: "again".to_owned(), ..world.line_of(paid[0]).await };
    let back = line_back(&world, paid[1], "back");
    let late = StatementLine { reference: "late".to_owned(), ..world.line_of(refused[0]).await };
    let (due, owed) = (balance(&world, paid[1]).await, balance(&world, refused[0]).await);
    let amount = |line: &StatementLine| line.amount_minor;
    let (back_minor, late_minor) = (amount(&back), amount(&late));
    world.lines = vec![doubled, back, late];
    let applied = world.read().await;
    assert_eq!((applied.returned, applied.late, applied.alarms), (1, 1, 1));
    assert_eq!(balance(&world, paid[1]).await, due + back_minor, "due again");
    assert_eq!(balance(&world, refused[0]).await, owed - late_minor, "not due any more");
    assert_eq!(world.store.runs_to_judge().await.unwrap(), [world.first.id, world.run.id]);
    let said = world.reconcile().await;
    assert_eq!(said.state, RunState::Discrepant);
    let kinds: Vec<_> = said.named().into_iter().map(|(kind, payout, _)| (kind, payout)).collect();
    assert_eq!(kinds, [(Kind::PaidTwice, Some(paid[0])), (Kind::PaidLate, Some(refused[0]))]);
}

/// One person with one file: what stops money counts, what frees it waits.
#[tokio::test]
async fn a_return_that_a_file_alone_tells_frees_nothing() {
    let mut world = World::new(AFFILIATES).await;
    assert_eq!(world.reconcile().await.state, RunState::Reconciled);
    let paid = world.payouts("paid").await[1];
    let before = balance(&world, paid).await;
    let line = line_back(&world, paid, "rtn");
    let account =
        payfleet_store::StatementAccount { rail: "sandbox-payout".into(), account: "main".into(), credential: None };
    for _ in 0..2 {
        let source = payfleet_store::StatementSource::File { name: "hand.csv".to_owned(), person: None };
        let mut file = world.store.account_open(&account, source).await.unwrap().unwrap();
        file.line_add(line.clone()).await.unwrap();
        let read = file.end(None).await.unwrap();
        let of_runs = read.applied.of_runs.clone();
        assert_eq!(read.applied, payfleet_store::Applied { of_runs, ..Default::default() });
    }
    world.lines.clear();
    let said = world.reconcile().await;
    assert_eq!(said.named(), [(Kind::ReturnUnconfirmed, Some(paid), Some(world.affiliate(paid).await))]);
    assert_eq!(balance(&world, paid).await, before);
    // The rail itself says the same, asked with our credential.
    world.lines.push(line);
    let said = world.reconcile().await;
    assert_eq!((said.applied.returned, said.state, said.found), (1, RunState::Reconciled, vec![]));
    assert!(balance(&world, paid).await > before);
}

/// Hands in a file of one line at the account that everybody was paid from.
async fn hand_in(world: &World, line: &StatementLine) {
    let account =
        payfleet_store::StatementAccount { rail: "sandbox-payout".into(), account: "main".into(), credential: None };
    let source = payfleet_store::StatementSource::File { name: "hand.csv".to_owned(), person: None };
    let mut file = world.store.account_open(&account, source).await.unwrap().unwrap();
    file.line_add(line.clone()).await.unwrap();
    assert_eq!(file.end(None).await.unwrap().applied.returned, 0);
}

/// A file says how much came back, and the rail says less under the same name: who wrote the file has not decided how
/// much is due, and nobody can by its word any more. Found by the chaos run: a file with a return of what had only been
/// accepted was handed in before the statement was read, and made a payment of it under the receipt's name. The one
/// that the rail listed was a second one then, and the money was due to nobody for ever.
#[tokio::test]
async fn a_file_with_a_return_alone_invents_no_payment() {
    for confirmed in [false, true] {
        let mut world = World::new(AFFILIATES).await;
        let accepted = world.payouts("accepted").await[0];
        let line = line_back(&world, accepted, "rtn");
        let account =
            payfleet_store::StatementAccount { rail: "sandbox-file".into(), account: "bank".into(), credential: None };
        let source = payfleet_store::StatementSource::File { name: "hand.csv".to_owned(), person: None };
        let mut file = world.store.account_open(&account, source).await.unwrap().unwrap();
        file.line_add(line.clone()).await.unwrap();
        file.end(None).await.unwrap();
        assert!(world.payouts("accepted").await.contains(&accepted), "its payment is still to be read");
        if confirmed {
            // By two people.
            sqlx::query("UPDATE movement SET counts = true").execute(&world.raw).await.unwrap();
        }
        world.lines.push(line);
        let said = world.reconcile().await;
        assert_eq!((said.applied.returned, said.state, said.found), (1, RunState::Reconciled, vec![]));
    }
}

/// Found by the chaos run: of a batch that is ready again, since the rest of it was proven unsent, a payment came back
/// that had been made. It was called a return of what had never been sent, for ever.
#[tokio::test]
async fn what_was_paid_before_its_batch_was_ready_again_can_come_back() {
    let mut world = World::new(AFFILIATES).await;
    let paid = world.payouts("paid").await[1];
    world.lines.push(line_back(&world, paid, "rtn"));
    let line = world.lines.iter().position(|line| line.key.starts_with(&format!("{paid}-"))).unwrap();
    // Its payment stood on an earlier part.
    let payment = world.lines.remove(line);
    let back = world.lines.pop().unwrap();
    world.lines.push(payment);
    assert_eq!(world.reconcile().await.state, RunState::Reconciled);
    sqlx::query("UPDATE batch SET first_sent_at = NULL WHERE $1 BETWEEN first_payout_id AND last_payout_id")
        .bind(paid.0)
        .execute(&world.raw)
        .await
        .unwrap();
    world.lines = vec![back];
    let said = world.reconcile().await;
    assert_eq!((said.applied.returned, said.found), (1, vec![]));
}

/// A file says how much came back, and the rail says less under the same name: who wrote the file has not decided how
/// much is due.
#[tokio::test]
async fn a_file_does_not_say_how_much_of_what_the_rail_tells_came_back() {
    let mut world = World::new(AFFILIATES).await;
    assert_eq!(world.reconcile().await.state, RunState::Reconciled);
    let paid = world.payouts("paid").await[1];
    let before = balance(&world, paid).await;
    let line = line_back(&world, paid, "rtn");
    let less = StatementLine { amount_minor: 1, ..line.clone() };
    let rest = StatementLine { amount_minor: line.amount_minor - 1, reference: "rest".to_owned(), ..line.clone() };
    hand_in(&world, &line).await;
    assert_eq!(world.store.returns_waiting(10).await.unwrap().len(), 1);
    world.lines = vec![less];
    let kinds = |said: &world::Said| said.found.iter().map(|found| found.kind).collect::<Vec<_>>();
    assert_eq!(kinds(&world.reconcile().await), [Kind::ReturnInPart]);
    assert_eq!(balance(&world, paid).await, before);
    assert_eq!(world.store.returns_waiting(10).await.unwrap().len(), 0, "what the rail says is so");
    // The file after the rail: the same.
    hand_in(&world, &line).await;
    assert_eq!(world.store.returns_waiting(10).await.unwrap().len(), 0);
    world.lines = vec![rest];
    let said = world.reconcile().await;
    assert_eq!((said.applied.returned, said.state), (1, RunState::Reconciled), "all of it came back, in two parts");
    assert!(balance(&world, paid).await > before);
}

/// A file with a typing error in an amount: its run is discrepant until the rail says what was paid under that name,
/// and then it is so no more.
#[tokio::test]
async fn what_a_file_says_otherwise_ends_when_the_rail_says_it() {
    let mut world = World::new(AFFILIATES).await;
    let paid = world.payouts("paid").await[1];
    let truth = world.line_of(paid).await;
    hand_in(&world, &StatementLine { amount_minor: truth.amount_minor + 900, ..truth.clone() }).await;
    world.lines.retain(|line| line.key != truth.key);
    let kinds = |said: &world::Said| said.found.iter().map(|found| found.kind).collect::<Vec<_>>();
    assert_eq!(kinds(&world.reconcile().await), [Kind::NotOnStatement, Kind::AmountDiffers]);
    world.lines = vec![truth.clone()];
    assert_eq!(world.reconcile().await.state, RunState::Reconciled);
    world.lines = vec![line_back(&world, paid, "rtn")];
    let said = world.reconcile().await;
    assert_eq!((said.applied.returned, said.state), (1, RunState::Reconciled), "no more was paid than the rail says");
}

/// Somebody typed that it was paid: what stops money counts at once, and that the rail does not say so is told as soon
/// as it can be.
#[tokio::test]
async fn what_a_file_alone_lists_is_missed_on_the_rails_own_statement() {
    let mut world = World::new(AFFILIATES).await;
    assert_eq!(world.reconcile().await.state, RunState::Reconciled);
    let refused = world.payouts("refused").await[0];
    let line = world.line_of(refused).await;
    let account =
        payfleet_store::StatementAccount { rail: "sandbox-payout".into(), account: "main".into(), credential: None };
    for _ in 0..2 {
        let source = payfleet_store::StatementSource::File { name: "hand.csv".to_owned(), person: None };
        let mut file = world.store.account_open(&account, source).await.unwrap().unwrap();
        file.line_add(line.clone()).await.unwrap();
        file.end(None).await.unwrap();
    }
    let kinds = |said: &world::Said| said.found.iter().map(|found| found.kind).collect::<Vec<_>>();
    assert_eq!(kinds(&world.reconcile().await), [Kind::PaidLate, Kind::NotOnStatement]);
    world.lines.push(line);
    assert_eq!(kinds(&world.reconcile().await), [Kind::PaidLate], "the rail says so too");
}

/// The key of a payout that is paid from one account was executed on another: nobody's business is everybody's.
#[tokio::test]
async fn a_key_on_another_account_is_found() {
    let world = World::new(AFFILIATES).await;
    assert_eq!(world.reconcile().await.state, RunState::Reconciled);
    let refused = world.payouts("refused").await[0];
    let account =
        payfleet_store::StatementAccount { rail: "sandbox-file".into(), account: "bank".into(), credential: None };
    let mut bank = world.store.account_open(&account, payfleet_store::StatementSource::Rail).await.unwrap().unwrap();
    bank.line_add(world.line_of(refused).await).await.unwrap();
    let read = bank.end(None).await.unwrap();
    assert_eq!(read.applied.late, 1, "money went out, wherever from");
    let said = world.reconcile().await;
    let kinds: Vec<_> = said.named().into_iter().map(|(kind, ..)| kind).collect();
    assert_eq!((said.state, kinds), (RunState::Discrepant, vec![Kind::PaidLate, Kind::AccountDiffers]));
}

/// Without its end, or from later on than the last part ended, a statement proves nothing to be missing or absent.
#[tokio::test]
async fn a_verdict_needs_every_account_covered() {
    let world = World::new(AFFILIATES).await;
    let uncovered = async || {
        let mut session = world.store.reconciliation_open(&world.run).await.unwrap().unwrap();
        let uncovered = session.uncovered().await.unwrap();
        session.close().await.unwrap();
        uncovered.into_iter().map(|one| one.rail).collect::<Vec<_>>()
    };
    world.read().await;
    assert_eq!(world.store.run_close(world.run.id).await.unwrap(), payfleet_store::CloseVerdict::Settled);
    assert_eq!(uncovered().await, ["sandbox-file", "sandbox-payout"], "they end before the run was settled");
    let ends = [None, Some(time::Duration::HOUR), Some(-time::Duration::HOUR)];
    for (gap, covers) in ends.into_iter().zip([false, false, true]) {
        for (rail, account) in [("sandbox-payout", "main"), ("sandbox-file", "bank")] {
            let account =
                payfleet_store::StatementAccount { rail: rail.into(), account: account.into(), credential: None };
            let reading =
                world.store.account_open(&account, payfleet_store::StatementSource::Rail).await.unwrap().unwrap();
            let now = time::OffsetDateTime::now_utc() + time::Duration::HOUR;
            let from = reading.from().unwrap();
            let end = gap.map(|gap| payfleet_domain::StatementEnd {
                from: from + gap,
                until: now,
                now,
                open_from: None,
                lines: 0,
            });
            reading.end(end).await.unwrap();
        }
        assert_eq!(uncovered().await.is_empty(), covers, "{gap:?}");
    }
}
