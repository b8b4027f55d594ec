//! Who says it: the rail's answer, its own statement, or a file that people hand in. They have names of their own for
//! the same money, and none is added to what another says.

use payfleet_domain::{DiscrepancyKind as Kind, Movement, PayoutId, Role, RunState, StatementLine, TokenHash};
use payfleet_store::{Decision, StatementAccount, StatementSource};

use crate::world::{Said, World};
use crate::{AFFILIATES, balance, hand_in};

fn kinds(said: &Said) -> Vec<Kind> {
    said.found.iter().map(|found| found.kind).collect()
}

fn back(line: &StatementLine, reference: &str, amount_minor: i64) -> StatementLine {
    let of = Some(line.reference.clone());
    StatementLine { movement: Movement::Returned, reference: reference.to_owned(), amount_minor, of, ..line.clone() }
}

fn named(line: &StatementLine, reference: &str) -> StatementLine {
    StatementLine { reference: reference.to_owned(), ..line.clone() }
}

async fn two_people(world: &World) -> [TokenHash; 2] {
    let tokens =
        ["root", "ann", "bob"].map(|name| TokenHash::of_new(std::array::from_fn(|n| name.as_bytes()[n % 3])).1);
    let [root, ann, bob] = tokens;
    let add = |by, name: &str, role, token| world.store.person_add(by, name.parse().unwrap(), role, None, token);
    add(None, "root", Role::Administrator, root).await.unwrap();
    add(Some(root), "ann", Role::Approver, ann).await.unwrap();
    add(Some(root), "bob", Role::Approver, bob).await.unwrap();
    [ann, bob]
}

/// A payout of a run that is reconciled, with its line, and two people.
async fn reconciled(state: &str) -> (World, PayoutId, StatementLine, [TokenHash; 2]) {
    let mut world = World::new(AFFILIATES).await;
    let people = two_people(&world).await;
    assert_eq!(world.reconcile().await.state, RunState::Reconciled);
    let payout = world.payouts(state).await[1];
    let line = world.line_of(payout).await;
    world.lines.clear();
    (world, payout, line, people)
}

async fn confirm(world: &World, payout: PayoutId, people: [TokenHash; 2]) {
    for by in people {
        world.store.return_confirm(payout.0, by).await.unwrap();
    }
}

/// The bank's name for a return, and the rail's own.
#[tokio::test]
async fn one_return_under_two_names_frees_the_money_of_one() {
    let (mut world, payout, line, people) = reconciled("paid").await;
    let before = balance(&world, payout).await;
    world.lines = vec![named(&line, "second")];
    assert_eq!(kinds(&world.reconcile().await), [Kind::PaidTwice]);
    hand_in(&world, &back(&line, "NTRF-0815", line.amount_minor)).await;
    confirm(&world, payout, people).await;
    world.lines = vec![back(&line, "rt", line.amount_minor)];
    let said = world.reconcile().await;
    assert_eq!((said.applied.returned, balance(&world, payout).await), (0, before), "one of two payments came back");
    world.lines = vec![back(&line, "rt-2", line.amount_minor)];
    assert_eq!(world.reconcile().await.applied.returned, 1, "and now the other one");
}

#[tokio::test]
async fn half_of_a_return_under_two_names_is_half_of_it() {
    let (mut world, payout, line, people) = reconciled("paid").await;
    let half = line.amount_minor / 2 + 1;
    hand_in(&world, &back(&line, "NTRF-0815", half)).await;
    confirm(&world, payout, people).await;
    world.lines = vec![back(&line, "rt", half)];
    let said = world.reconcile().await;
    assert_eq!((kinds(&said), said.applied.returned), (vec![Kind::ReturnInPart], 0));
}

/// Somebody hands in the bank's list, and the rail lists the payment under its own name: one payment. What comes back
/// of it is not lost sight of.
#[tokio::test]
async fn one_payment_under_two_names_is_one_and_its_return_is_told() {
    let (mut world, payout, line, _) = reconciled("refused").await;
    hand_in(&world, &named(&line, "NTRF-4711")).await;
    world.lines = vec![line.clone()];
    let said = world.reconcile().await;
    assert_eq!((said.applied.alarms, kinds(&said)), (0, vec![Kind::PaidLate, Kind::ReferenceDiffers]));
    let contest = world.store.contests_list(10).await.unwrap()[0].id;
    world.lines = vec![back(&line, "rt", line.amount_minor)];
    let said = world.reconcile().await;
    assert!(kinds(&said).contains(&Kind::ReturnUnrecorded), "{:?}", kinds(&said));
    let _ = (payout, contest);
}

/// One line of a file, handed in by anybody, before or after: what the rail's own statement leaves out is missed.
#[tokio::test]
async fn a_file_does_not_put_a_payment_on_the_rails_own_statement() {
    for file_first in [true, false] {
        let mut world = World::new(AFFILIATES).await;
        let payout = world.payouts("paid").await[1];
        let line = world.line_of(payout).await;
        world.lines.retain(|one| one.key != line.key);
        if file_first {
            hand_in(&world, &line).await;
        } else {
            assert_eq!(kinds(&world.reconcile().await), [Kind::NotOnStatement]);
            hand_in(&world, &line).await;
            world.lines.clear();
        }
        assert_eq!(kinds(&world.reconcile().await), [Kind::NotOnStatement], "file first: {file_first}");
    }
}

/// References are unique within one account, if at all.
#[tokio::test]
async fn the_same_reference_on_another_account_is_another_payment() {
    let (mut world, payout, line, _) = reconciled("paid").await;
    let before = balance(&world, payout).await;
    let bank = StatementAccount { rail: "sandbox-file".into(), account: "bank".into(), credential: None };
    let mut reading = world.store.account_open(&bank, StatementSource::Rail).await.unwrap().unwrap();
    reading.line_add(line.clone()).await.unwrap();
    assert_eq!(reading.end(None).await.unwrap().applied.alarms, 1);
    world.lines = vec![back(&line, "rt", line.amount_minor)];
    let said = world.reconcile().await;
    assert_eq!((said.applied.returned, balance(&world, payout).await), (0, before), "the other payment stands");
}

/// Somebody hands in the list of orders in place of the statement: that stops what it names, and settles nothing that
/// was never sent.
#[tokio::test]
async fn a_file_settles_nothing_that_was_never_sent() {
    let world = World::planned(AFFILIATES).await;
    let payout = world.payouts("planned").await[1];
    for _ in 0..2 {
        hand_in(&world, &world.line_of(payout).await).await;
        assert!(world.payouts("paid").await.is_empty());
        assert!(world.payouts("held").await.contains(&payout), "nothing of its batch is sent");
    }
    assert_eq!(world.store.alarms_open().await.unwrap(), 1);
}

/// Nor does what it says of money that came back of it; but nobody holds a whole batch without a word.
#[tokio::test]
async fn a_file_that_holds_what_was_never_sent_raises_an_alarm() {
    let world = World::planned(AFFILIATES).await;
    let payout = world.payouts("planned").await[1];
    let line = world.line_of(payout).await;
    for _ in 0..2 {
        hand_in(&world, &back(&line, "rtn", line.amount_minor)).await;
    }
    assert!(world.payouts("held").await.contains(&payout));
    let alarms = world.store.alarms_list(false, 10).await.unwrap();
    let told: Vec<_> = alarms.iter().map(|alarm| (alarm.payout, alarm.words.as_str())).collect();
    assert_eq!(told, [(Some(payout), "rtn")], "once");
}

/// A wrong file leaves no payout where nobody can decide it: the rail's own statement and two people stand above it.
#[tokio::test]
async fn two_people_may_say_that_what_only_a_file_tells_was_not_paid() {
    let (world, _, _, people) = reconciled("paid").await;
    let payout = world.payouts("held").await[0];
    let line = world.line_of(payout).await;
    let bank = StatementAccount { rail: "sandbox-file".into(), account: "bank".into(), credential: None };
    let source = StatementSource::File { name: "hand.csv".to_owned(), person: None };
    let mut file = world.store.account_open(&bank, source).await.unwrap().unwrap();
    file.line_add(StatementLine { amount_minor: line.amount_minor + 1, ..line }).await.unwrap();
    file.end(None).await.unwrap();
    world
        .tamper(
            "UPDATE attempt
                SET opened_at = opened_at - interval '30 days',
                  may_arrive_until = may_arrive_until - interval '30 days'"
                .into(),
        )
        .await;
    world.read().await;
    for by in people {
        world.store.hold_decide(payout, Decision::NotPaid, by).await.unwrap();
    }
    assert!(world.payouts("refused").await.contains(&payout));
}

/// The runbook's way out of a line that was wrong ("A file was wrong"): money that never went out is written back as a
/// return of it, by two people. That the rail's own statement is without it stays, and is true.
#[tokio::test]
async fn a_payment_that_a_file_made_up_is_written_back_by_two_people() {
    let (mut world, payout, line, people) = reconciled("refused").await;
    let before = balance(&world, payout).await;
    let wrong = named(&line, "typo");
    hand_in(&world, &wrong).await;
    assert_eq!(kinds(&world.reconcile().await), [Kind::PaidLate, Kind::NotOnStatement]);
    assert_eq!(balance(&world, payout).await, before - line.amount_minor, "it counts as paid");
    let contest = world.store.contests_list(10).await.unwrap()[0].id;
    for by in people {
        world.store.contest_clear(contest, by).await.unwrap();
    }
    hand_in(&world, &back(&wrong, "written back", line.amount_minor)).await;
    confirm(&world, payout, people).await;
    assert_eq!(balance(&world, payout).await, before, "it is due again");
    assert_eq!(kinds(&world.reconcile().await), [Kind::NotOnStatement]);
    // What two people have said stands against it: if the rail lists it after all, nothing is due back by itself. The
    // runbook says so.
    world.lines = vec![wrong];
    world.read().await;
    assert_eq!(balance(&world, payout).await, before);
}

#[tokio::test]
async fn a_second_payment_that_a_file_made_up_is_written_back_too() {
    let (mut world, payout, line, people) = reconciled("paid").await;
    let before = balance(&world, payout).await;
    hand_in(&world, &line).await;
    let wrong = named(&line, "typo");
    hand_in(&world, &wrong).await;
    assert_eq!(kinds(&world.reconcile().await), [Kind::PaidTwice]);
    hand_in(&world, &back(&wrong, "written back", line.amount_minor)).await;
    confirm(&world, payout, people).await;
    assert_eq!(
        (kinds(&world.reconcile().await), balance(&world, payout).await),
        (vec![Kind::ReferenceDiffers], before)
    );
    world.lines = vec![back(&line, "rt", line.amount_minor)];
    let said = world.reconcile().await;
    assert_eq!(
        (kinds(&said), balance(&world, payout).await),
        (vec![Kind::ReferenceDiffers], before),
        "nor is this return due"
    );
}

#[tokio::test]
async fn a_debt_by_a_bank_with_names_of_its_own_is_written_back_too() {
    let (mut world, payout, line, people) = reconciled("paid").await;
    let before = balance(&world, payout).await;
    world.lines = vec![back(&line, "rt", line.amount_minor)];
    assert_eq!(world.reconcile().await.applied.returned, 1);
    assert_eq!(balance(&world, payout).await, before + line.amount_minor);
    let bank = named(&line, "NTRF-1");
    hand_in(&world, &bank).await;
    hand_in(&world, &back(&bank, "NRTI-1", line.amount_minor)).await;
    assert!(kinds(&world.reconcile().await).contains(&Kind::PaidLate));
    assert_eq!(balance(&world, payout).await, before, "it counts as paid");
    confirm(&world, payout, people).await;
    assert!(kinds(&world.reconcile().await).contains(&Kind::ReturnUnrecorded));
    assert_eq!(balance(&world, payout).await, before, "perhaps the return that the rail has told");
    hand_in(&world, &back(&bank, "written back", line.amount_minor)).await;
    confirm(&world, payout, people).await;
    assert_eq!(kinds(&world.reconcile().await), [Kind::PaidLate, Kind::ReferenceDiffers]);
    assert_eq!(balance(&world, payout).await, before + line.amount_minor, "it is due again");
}

/// Long after its run was over somebody says that a held payout was paid: the statement is asked again, or nobody would
/// ever miss it there.
#[tokio::test]
async fn what_people_say_was_paid_after_the_window_is_looked_for() {
    let (world, _, _, people) = reconciled("paid").await;
    let payout = world.payouts("held").await[0];
    world.tamper("UPDATE run SET settled_at = settled_at - interval '200 days'".into()).await;
    assert_eq!(world.store.accounts_to_read().await.unwrap().len(), 0);
    for by in people {
        world.store.hold_decide(payout, Decision::Paid("NTRF-4711".into()), by).await.unwrap();
    }
    assert!(world.store.accounts_to_read().await.unwrap().iter().any(|account| account.rail == "sandbox-file"));
}

/// A line of nobody's, an impossible return, and an answer that comes late: each reaches a run that has its verdict.
#[tokio::test]
async fn every_kind_of_news_reaches_a_run_that_has_its_verdict() {
    let (mut world, payout, line, _) = reconciled("paid").await;
    assert!(!world.store.runs_to_judge().await.unwrap().contains(&world.run.id));
    let stray = StatementLine { key: "nobody".to_owned(), ..named(&line, "stray") };
    let too_much = back(&line, "too much", line.amount_minor + 1);
    for (line, kind) in [(stray, Kind::NeverPlanned), (too_much, Kind::ReturnDiffers)] {
        world.lines = vec![line];
        world.read().await;
        assert!(world.store.runs_to_judge().await.unwrap().contains(&world.run.id), "{kind:?}");
        world.lines.clear();
        assert!(kinds(&world.reconcile().await).contains(&kind));
    }
    let held = world.payouts("held").await[0];
    world.learned(held, payfleet_domain::Outcome::Paid(payfleet_domain::Reference("late".to_owned()))).await;
    assert!(world.store.runs_to_judge().await.unwrap().contains(&world.run.id), "an answer ends a hold");
    let _ = payout;
}

/// Its verdict was one of files; then the rail's own statement comes, complete, and is without it. Nobody asks by hand.
#[tokio::test]
async fn a_verdict_by_a_file_is_heard_again_when_the_rail_has_been_read() {
    let mut world = World::new(AFFILIATES).await;
    let line = world.line_of(world.payouts("paid").await[1]).await;
    for (rail, account) in [("sandbox-payout", "main"), ("sandbox-file", "bank")] {
        let account = StatementAccount { rail: rail.to_owned(), account: account.to_owned(), credential: None };
        let source = StatementSource::File { name: "hand.csv".to_owned(), person: None };
        let mut file = world.store.account_open(&account, source).await.unwrap().unwrap();
        for line in world.lines.iter().filter(|line| line.reference.starts_with("bank_") == (account.account == "bank"))
        {
            file.line_add(line.clone()).await.unwrap();
        }
        let until = time::OffsetDateTime::now_utc() + time::Duration::HOUR;
        file.end(Some(payfleet_domain::StatementEnd {
            from: time::OffsetDateTime::UNIX_EPOCH,
            until,
            now: until,
            open_from: None,
            lines: 0,
        }))
        .await
        .unwrap();
    }
    let closed = world.store.run_close(world.run.id).await.unwrap();
    assert_eq!(closed, payfleet_store::CloseVerdict::Settled);
    world.tamper("UPDATE rail_account SET file_reaches = clock_timestamp() + interval '1 hour'".into()).await;
    let run = world.store.run_find(world.run.id).await.unwrap().unwrap();
    let mut session = world.store.reconciliation_open(&run).await.unwrap().unwrap();
    session.compare(crate::world::DAY).await.unwrap();
    let verdict = session.verdict_write("test", false).await.unwrap();
    assert_eq!(verdict.verdict, Some(RunState::Reconciled));
    session.close().await.unwrap();
    assert!(!world.store.runs_to_judge().await.unwrap().contains(&run.id));
    world.lines.retain(|one| one.key != line.key);
    world.read().await;
    assert!(world.store.runs_to_judge().await.unwrap().contains(&run.id));
}

/// An alarm that is being raised has the run's row already. Whoever resumes the run meanwhile waits for it, and is
/// told.
#[tokio::test]
async fn a_run_is_not_resumed_past_an_alarm_that_is_just_being_raised() {
    let world = World::planned(AFFILIATES).await;
    world.store.run_pause(world.run.id, "a look").await.unwrap();
    let mut tx = world.raw.begin().await.unwrap();
    let raise = "UPDATE run SET news_no = news_no + 1;
                 INSERT INTO alarm (tenant_id, run_id, kind, words) SELECT tenant_id, id, 'out_of_balance', 'w'
                   FROM run ORDER BY id DESC LIMIT 1";
    sqlx::raw_sql(raise).execute(&mut *tx).await.unwrap();
    let (store, run) = (world.store.clone(), world.run.id);
    let resume = tokio::spawn(async move { store.run_resume(run).await });
    let waits = "SELECT count(*)
                   FROM pg_locks
                  WHERE NOT granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
                    OR NOT granted AND locktype = 'transactionid'";
    while sqlx::query_scalar::<_, i64>(waits).fetch_one(&mut *tx).await.unwrap() == 0 {
        tokio::task::yield_now().await;
    }
    tx.commit().await.unwrap();
    assert!(matches!(resume.await.unwrap(), Err(payfleet_store::RunChangeError::Alarmed(_))));
}
