//! A database that lacks an intent which was confirmed to somebody: who finds it out, what is refused, and what a
//! recovery makes of what is open.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::support::{Db, rail};
use futures_util::future::BoxFuture;
use payfleet_domain::{AttemptNo, BatchState, Effect, Epoch, Outcome, RefusalCode, Role, StatementEnd, TokenHash};
use payfleet_store::{
    ControlError, ControlLifted, IntentRefused, LeasedBatch, Mark, Memory, RecoveryError, Report, StatementAccount,
    StatementSource, Store, StoreError, TenantRail,
};

/// What a process remembers, without its folder.
#[derive(Debug, Default)]
struct Remembers {
    marks: Mutex<Vec<Mark>>,
    cannot: bool,
}

impl Memory for Remembers {
    fn keep<'a>(&'a self, mark: &'a Mark) -> BoxFuture<'a, Result<(), String>> {
        if !self.cannot {
            self.marks.lock().unwrap().push(*mark);
        }
        let kept = if self.cannot { Err("the disk is gone".to_owned()) } else { Ok(()) };
        Box::pin(async move { kept })
    }

    fn own(&self) -> Vec<Mark> {
        self.marks.lock().unwrap().clone()
    }

    fn seen(&self) -> BoxFuture<'_, Result<Vec<Mark>, String>> {
        let marks = self.own();
        Box::pin(async move { Ok(marks) })
    }

    fn learn<'a>(&'a self, marks: &'a [Mark]) -> BoxFuture<'a, ()> {
        self.marks.lock().unwrap().extend(marks);
        Box::pin(async {})
    }
}

async fn intent(store: &Store, leased: &LeasedBatch) -> Result<Result<usize, IntentRefused>, StoreError> {
    let intent = store.intent_write(leased.lease, "w", rail(&leased.rail), false).await?;
    Ok(intent.map(|intent| intent.orders.len()))
}

fn is_behind<T: std::fmt::Debug>(result: &Result<T, StoreError>) -> bool {
    matches!(result, Err(StoreError::Behind(_)))
}

/// As a restored database has it: the attempt never was.
async fn lose(db: &Db, leased: &LeasedBatch) {
    db.change("DELETE FROM attempt WHERE batch_id = $1", leased.lease.batch.0).await;
    db.change(
        "UPDATE batch SET state = 'ready', attempt = 0, first_sent_at = NULL WHERE id = $1",
        leased.lease.batch.0,
    )
    .await;
}

async fn recover(db: &Db, by: [TokenHash; 2]) {
    assert!(db.store.recovery_doubt().await.unwrap());
    db.all_is_dead_and_listed().await;
    sqlx::query("UPDATE recovery SET doubted_at = doubted_at - interval '1 day' WHERE closed_at IS NULL")
        .execute(&db.sql)
        .await
        .unwrap();
    let effects =
        [db.store.recovery_decide(by[0], true).await.unwrap(), db.store.recovery_decide(by[1], true).await.unwrap()];
    assert_eq!(effects.map(|said| said.effect), [Effect::Proposes, Effect::Agrees]);
}

#[tokio::test]
async fn whoever_misses_an_intent_stops_everybody_until_two_have_recovered() {
    let db = Db::new().await;
    let tenant = db.tenant("t", "sandbox-lookup", 8).await;
    let run = db.run(tenant, "2026-01", 2).await;
    let batches = db.batches(run).await;
    let memory = Arc::new(Remembers::default());
    let store = db.store.clone().remembering(memory.clone());
    let mut leased = Vec::new();
    for batch in batches {
        leased.push(db.lease(batch).await);
    }
    assert_eq!(intent(&store, &leased[0]).await.unwrap(), Ok(2));
    assert_eq!(intent(&store, &leased[1]).await.unwrap(), Ok(2));
    assert_eq!(memory.own().len(), 2);
    store.generation_check("test").await.unwrap();

    // Not the newest by number: two workers' intents are not confirmed in the order in which they were counted.
    lose(&db, &leased[0]).await;
    assert!(is_behind(&intent(&store, &leased[2]).await));
    // From now on also those who remember nothing know it.
    assert!(is_behind(&intent(&db.store, &leased[2]).await));
    assert!(is_behind(&db.store.generation_check("test").await));
    assert_eq!(db.store.runs_begin().await.unwrap(), 0);
    let recovery = db.store.recovery_find().await.unwrap().unwrap();
    assert!(recovery.words.contains("attempt 1 of batch"), "{recovery:?}");

    let (ann, bob) = (db.approver("ann").await, db.approver("bob").await);
    let early = db.store.recovery_decide(ann, true).await;
    assert!(matches!(early, Err(RecoveryError::NotRead(_))), "{early:?}");
    recover(&db, [ann, bob]).await;
    assert_eq!(db.states(run).await, "unknown 8", "whatever was open was perhaps sent");
    for leased in &leased {
        let facts = db.scalar::<String>("SELECT string_agg(DISTINCT state, ',') FROM batch").await;
        assert_eq!(facts, BatchState::Sending.as_str(), "{leased:?}");
    }
    // What was seen before counts no more, and a session proves itself anew.
    store.generation_check("test").await.unwrap();
    db.expire_lease(leased[2].lease.batch).await;
    let again = db.lease(leased[2].lease.batch).await;
    let sent = store.intent_write(again.lease, "w", rail("sandbox-lookup"), true).await.unwrap();
    assert_eq!(sent.unwrap().orders.len(), 2, "a lookup after all are dead lets it go");
    // The same backup once more: it has never heard of the generation in which that was.
    let mut newer = memory.own();
    newer.retain(|mark| mark.batch == leased[2].lease.batch);
    newer[0].generation = uuid::Uuid::new_v4();
    let other = db.store.clone().remembering(Arc::new(Remembers { marks: Mutex::new(newer), cannot: false }));
    assert!(is_behind(&other.generation_check("test").await));
    // And that it is recovered from too: of that generation there is no row, and yet it counts no more.
    recover(&db, [ann, bob]).await;
    other.generation_check("test").await.unwrap();
    db.store.generation_check("test").await.unwrap();
    db.drop().await;
}

#[tokio::test]
async fn what_cannot_be_remembered_is_not_sent() {
    let db = Db::new().await;
    let tenant = db.tenant("t", "sandbox-file", 2).await;
    let run = db.run(tenant, "2026-01", 2).await;
    let leased = db.lease(db.batches(run).await[0]).await;
    let store = db.store.clone().remembering(Arc::new(Remembers { cannot: true, ..Remembers::default() }));
    assert!(matches!(intent(&store, &leased).await, Err(StoreError::Memory(_))));
    // As its worker does.
    assert!(store.intent_withdraw(leased.lease, "w", leased.facts.attempt, Duration::ZERO).await.unwrap());
    assert_eq!(db.states(run).await, "planned 2", "nothing of it is in doubt");
    assert_eq!(db.scalar::<String>("SELECT state || ' ' || (first_sent_at IS NULL) FROM batch").await, "ready true");
    db.drop().await;
}

/// What travels under a batch key was perhaps cut after the backup, by a stop or a hold that is lost too: its parts
/// went under keys that nobody here knows, and the whole would be taken for something new. A batch of one cannot be
/// cut.
#[tokio::test]
async fn what_travels_under_a_batch_key_is_not_sent_again_after_a_recovery() {
    let db = Db::new().await;
    let tenant = db.tenant("t", "sandbox-batch", 5).await;
    let run = db.run(tenant, "2026-01", 2).await;
    let payouts = db.payouts(run).await;
    let (ann, bob) = (db.approver("ann").await, db.approver("bob").await);
    assert!(db.store.recovery_open("test", "restored").await.unwrap());
    assert!(!db.store.recovery_open("test", "restored").await.unwrap(), "one at a time");
    assert!(db.store.recovery_doubt().await.unwrap());
    db.line_read("sandbox-batch", db.line(payouts[0], "r1").await).await;
    recover(&db, [ann, bob]).await;
    assert_eq!(db.states(run).await, "held 3, paid 1, unknown 1");
    // What is listed later is paid all the same.
    db.line_read("sandbox-batch", db.line(payouts[1], "r2").await).await;
    assert_eq!(db.states(run).await, "held 2, paid 2, unknown 1");
    db.assert_ledger().await;
    db.drop().await;
}

/// What was accepted in the time that is lost, and is not executed yet, is on no statement: only people can find it.
#[tokio::test]
async fn of_a_rail_that_lists_late_people_must_have_looked_for_what_is_pending() {
    for (rail, asks) in [("sandbox-batch", true), ("sandbox-payout", false)] {
        let db = Db::new().await;
        db.tenant("t", rail, 1).await;
        let (ann, bob) = (db.approver("ann").await, db.approver("bob").await);
        assert!(db.store.recovery_open("test", "restored").await.unwrap());
        assert!(db.store.recovery_doubt().await.unwrap());
        for read in [
            "INSERT INTO rail_account (rail, account) SELECT rail, account FROM tenant_rail",
            "UPDATE rail_account SET reaches_to = clock_timestamp(), reaches_ours = clock_timestamp()",
            "UPDATE recovery SET doubted_at = doubted_at - interval '1 day'",
        ] {
            sqlx::query(read).execute(&db.sql).await.unwrap();
        }
        match (asks, db.store.recovery_decide(ann, false).await) {
            (true, Err(RecoveryError::Pending(of))) => assert_eq!(of, ["sandbox-batch/t"]),
            (false, Ok(said)) => assert_eq!(said.effect, Effect::Proposes),
            (_, said) => panic!("{rail}: {said:?}"),
        }
        db.store.recovery_decide(bob, true).await.unwrap();
        db.drop().await;
    }
}

/// A worker that was suspended since before the database was restored has answers to attempts that this database has
/// never heard of, under leases that it has not given. The numbers by which it names them are not given again.
#[tokio::test]
async fn what_is_answered_late_to_a_lost_attempt_meets_no_other() {
    let db = Db::new().await;
    let tenant = db.tenant("t", "sandbox-lookup", 2).await;
    let run = db.run(tenant, "2026-01", 2).await;
    let batch = db.batches(run).await[0];
    let payouts = db.payouts(run).await;
    let (ann, bob) = (db.approver("ann").await, db.approver("bob").await);
    // Backup, and two attempts under two leases after it; all that is left of them is the report of the second.
    let late = |outcome: Outcome| Report {
        batch,
        epoch: Epoch(2),
        attempt: Some(AttemptNo(2)),
        outcomes: payouts.iter().map(|payout| (*payout, outcome.clone())).collect(),
        refused_whole: false,
        unanswered: false,
        available_in: Duration::ZERO,
        release: true,
    };
    assert!(db.store.recovery_open("test", "restored").await.unwrap());
    recover(&db, [ann, bob]).await;
    db.lease(batch).await;
    db.expire_lease(batch).await;
    let again = db.lease(batch).await;
    db.store.intent_write(again.lease, "w", rail("sandbox-lookup"), true).await.unwrap().unwrap();
    for outcome in [Outcome::NotExecuted, Outcome::Refused(RefusalCode::new("account_closed"))] {
        db.store.outcomes_record(late(outcome)).await.unwrap();
        assert_eq!(db.states(run).await, "unknown 2", "what is under way may pay them");
        let open = "SELECT count(*) FROM attempt WHERE result IS NULL";
        assert_eq!(db.scalar::<i64>(open).await, 1, "the attempt that is under way is open");
        assert!(db.scalar::<bool>("SELECT lease_until > clock_timestamp() FROM batch").await, "and its lease is held");
    }
    let next = db.run(tenant, "2026-02", 2).await;
    assert!(next.0 > run.0 + 1_000, "nor is a run's number: {next}");
    db.drop().await;
}

/// Rails and banks write destinations in their own way. Whoever got a payment of a run that is lost is known by theirs
/// all the same.
#[tokio::test]
async fn who_was_paid_by_a_lost_run_is_known_however_the_statement_writes_it() {
    let db = Db::new().await;
    let tenant = db.tenant("t", "sandbox-payout", 3).await;
    let run = db.run(tenant, "2026-01", 3).await;
    let (ann, bob) = (db.approver("ann").await, db.approver("bob").await);
    assert!(db.store.recovery_open("test", "restored").await.unwrap());
    for (payout, destination) in
        db.payouts(run).await.into_iter().zip(["A1@Example.COM", "a2 @example .com", "else@example.com"])
    {
        let line = db.line(payout, &format!("lost-{payout}")).await;
        let key = format!("{}-0123456789abcdef", payout.0 + (7 << 32));
        db.line_read("sandbox-payout", payfleet_domain::StatementLine { key, destination: destination.into(), ..line })
            .await;
    }
    let strays = db.store.recovery_strays().await.unwrap();
    assert_eq!(strays.iter().map(|stray| (stray.payments, stray.held)).collect::<Vec<_>>(), [(3, 2)]);
    recover(&db, [ann, bob]).await;
    let held: String =
        db.scalar("SELECT string_agg(external_id, ' ' ORDER BY external_id) FROM affiliate WHERE on_hold").await;
    assert_eq!(held, "a1 a2");
    db.drop().await;
}

/// The same backup, restored and recovered twice: what one time has answered late must not be taken for an answer of
/// the other.
#[tokio::test]
async fn two_recoveries_of_one_backup_give_no_number_twice() {
    let db = Db::new().await;
    let tenant = db.tenant("t", "sandbox-lookup", 2).await;
    let run = db.run(tenant, "2026-01", 2).await;
    let batch = db.batches(run).await[0];
    let (ann, bob) = (db.approver("ann").await, db.approver("bob").await);
    let mut given = Vec::new();
    for _ in 0..2 {
        assert!(db.store.recovery_open("test", "restored").await.unwrap());
        recover(&db, [ann, bob]).await;
        let leased = db.lease(batch).await;
        let intent = db.store.intent_write(leased.lease, "w", rail("sandbox-lookup"), true).await.unwrap().unwrap();
        let next: i64 = db.scalar("SELECT nextval(pg_get_serial_sequence('batch', 'id'))").await;
        given.push((leased.lease.epoch.0, intent.attempt.0, next));
        // Back to the backup, a second later.
        for statement in [
            "UPDATE recovery SET closed_at = clock_timestamp() WHERE closed_at IS NULL",
            "DELETE FROM attempt",
            "UPDATE payout SET state = 'planned'",
            "UPDATE batch
                SET state = 'ready', lease_epoch = 0, lease_until = '-infinity', attempt = 0, first_sent_at = NULL",
            "SELECT setval(pg_get_serial_sequence('batch', 'id'), 1)",
        ] {
            sqlx::query(statement).execute(&db.sql).await.unwrap();
        }
        let second = "SELECT extract(epoch FROM clock_timestamp())::bigint";
        let now: i64 = db.scalar(second).await;
        while db.scalar::<i64>(second).await == now {
            tokio::task::yield_now().await;
        }
    }
    let [(epoch, attempt, next), again] = given[..] else { unreachable!("there were two") };
    assert!(again.0 > epoch && again.1 > attempt && again.2 > next, "{given:?}");
    db.drop().await;
}

/// Somebody is on hold for another reason, and got a payment that no run knows; and what was planned for them before is
/// still open. Whoever lifts the hold is told of both, and pays nothing by it that was planned before.
#[tokio::test]
async fn releasing_who_was_paid_by_a_lost_run_lets_nothing_go_that_was_planned_before() {
    let db = Db::new().await;
    let tenant = db.tenant("t", "sandbox-lookup", 2).await;
    let run = db.run(tenant, "2026-01", 2).await;
    let (ann, bob) = (db.approver("ann").await, db.approver("bob").await);
    let words = db.store.affiliate_hold(tenant, "a1", "recovered: account").await.unwrap_err();
    assert!(matches!(words, ControlError::WordsOfRecovery), "it would be taken for a recovery's own: {words}");
    db.store.affiliate_hold(tenant, "a1", "fraud").await.unwrap();
    assert!(db.store.recovery_open("test", "restored").await.unwrap());
    for (payout, destination) in db.payouts(run).await.into_iter().zip(["a1@example.com", "a2@example.com"]) {
        let line = db.line(payout, &format!("lost-{payout}")).await;
        let key = format!("{}-0123456789abcdef", payout.0 + (7 << 32));
        let line = payfleet_domain::StatementLine { key, destination: destination.into(), ..line };
        db.line_read("sandbox-lookup", line).await;
    }
    recover(&db, [ann, bob]).await;
    let reasons: String = db.scalar("SELECT string_agg(reason, ' | ' ORDER BY affiliate_id) FROM control").await;
    assert!(reasons.starts_with("fraud; recovered: ") && reasons.contains(" | recovered: "), "{reasons}");
    // Of the old requests nothing is known at the rail, so that they would be sent again.
    let leased = db.lease(db.batches(run).await[0]).await;
    let intent = db.store.intent_write(leased.lease, "w", rail("sandbox-lookup"), true).await.unwrap();
    assert!(intent.is_err(), "both are on hold");
    for affiliate in ["a1", "a2"] {
        let early = db.store.affiliate_release(tenant, affiliate).await.unwrap_err().to_string();
        assert!(early.contains("It got 10.00 EUR as lost-"), "{early}");
        let (heard, lifted) = db.store.affiliate_booked(tenant, affiliate, ann).await.unwrap();
        assert_eq!((heard.effect, lifted), (Effect::Proposes, ControlLifted::default()));
        let again = db.store.affiliate_booked(tenant, affiliate, ann).await.unwrap_err();
        assert!(matches!(again, ControlError::SamePerson(_)), "{again}");
        let (heard, lifted) = db.store.affiliate_booked(tenant, affiliate, bob).await.unwrap();
        assert_eq!((heard.effect, lifted.go_on, lifted.cancelled), (Effect::Agrees, 0, 1), "{affiliate}");
    }
    assert_eq!(db.states(run).await, "cancelled 2");
    // They have been looked at.
    assert!(db.store.recovery_plan_guard(tenant).await.unwrap().is_none());
    assert_eq!(db.scalar::<i64>("SELECT count(*) FROM affiliate WHERE on_hold").await, 0);
    // And one of them got more, as is read later.
    let line = db.line(db.payouts(run).await[0], "lost-more").await;
    let line = payfleet_domain::StatementLine { key: "77-0123456789abcdef".into(), amount_minor: 700, ..line };
    db.line_read("sandbox-lookup", line).await;
    assert!(db.store.recovery_plan_guard(tenant).await.unwrap().is_none());
    let again = db.store.affiliate_release(tenant, "a1").await.unwrap_err().to_string();
    assert!(again.contains("It got 7.00 EUR as lost-more from"), "{again}");
    // What one has seen is not what the other one sees.
    db.store.affiliate_booked(tenant, "a1", ann).await.unwrap();
    let line = db.line(db.payouts(run).await[0], "lost-most").await;
    let line = payfleet_domain::StatementLine { key: "78-0123456789abcdef".into(), amount_minor: 800, ..line };
    db.line_read("sandbox-lookup", line).await;
    let (heard, lifted) = db.store.affiliate_booked(tenant, "a1", bob).await.unwrap();
    assert_eq!((heard.effect, lifted), (Effect::Contradicts, ControlLifted::default()));
    assert_eq!(db.scalar::<i64>("SELECT count(*) FROM affiliate WHERE on_hold").await, 1);
    let other = db.store.affiliate_booked(tenant, "a2", bob).await.unwrap_err();
    assert!(matches!(other, ControlError::NotRecovered(_)), "{other}");
    db.drop().await;
}

/// Two have booked before any worker has looked: what was planned before is not sent for that. And what becomes theirs
/// later, or is read while they speak, is not what they have seen.
#[tokio::test]
async fn what_two_have_booked_is_what_they_have_seen_and_frees_nothing_that_was_planned_before() {
    let db = Db::new().await;
    let tenant = db.tenant("t", "sandbox-lookup", 2).await;
    let run = db.run(tenant, "2026-01", 2).await;
    let (ann, bob) = (db.approver("ann").await, db.approver("bob").await);
    let payout = db.payouts(run).await[0];
    let stray = |n: u64, destination: &str, minor: i64, line: payfleet_domain::StatementLine| {
        let (key, reference) = (format!("{}-0123456789abcdef", n << 32), format!("lost-{n}"));
        payfleet_domain::StatementLine { key, reference, destination: destination.into(), amount_minor: minor, ..line }
    };
    assert!(db.store.recovery_open("test", "restored").await.unwrap());
    for (n, destination) in [(71, "a1@example.com"), (72, "elsewhere@example.com")] {
        db.line_read("sandbox-lookup", stray(n, destination, 1_000, db.line(payout, "r").await)).await;
    }
    recover(&db, [ann, bob]).await;
    for by in [ann, bob] {
        db.store.affiliate_booked(tenant, "a1", by).await.unwrap();
    }
    assert_eq!(db.scalar::<i64>("SELECT count(*) FROM affiliate WHERE on_hold").await, 0);
    let leased = db.lease(db.batches(run).await[0]).await;
    let intent = db.store.intent_write(leased.lease, "w", rail("sandbox-lookup"), true).await.unwrap();
    assert!(intent.is_err(), "one of them is paid already");
    assert_eq!(db.store.contested_let_go().await.unwrap(), ControlLifted { go_on: 0, cancelled: 1 });
    let states: String = db.scalar("SELECT string_agg(state, ' ' ORDER BY id) FROM payout").await;
    assert_eq!(states, "cancelled unknown");

    // The other payment turns out to be theirs.
    let method = "INSERT INTO payout_method (tenant_id, affiliate_id, method, destination, priority)
                  SELECT tenant_id, id, 'paypal', 'elsewhere@example.com', 1 FROM affiliate
                   WHERE tenant_id = $1 AND external_id = 'a1'";
    db.change(method, tenant.0.into()).await;
    assert!(db.store.recovery_plan_guard(tenant).await.unwrap().is_none());
    let again = db.store.affiliate_release(tenant, "a1").await.unwrap_err().to_string();
    assert!(again.contains("It got 10.00 EUR as lost-72 from"), "only what nobody has booked: {again}");

    // A line that was being read when the second of them spoke was written down before, and is seen later.
    for by in [ann, bob] {
        db.store.affiliate_booked(tenant, "a1", by).await.unwrap();
    }
    db.line_read("sandbox-lookup", stray(73, "a1@example.com", 700, db.line(payout, "r").await)).await;
    let unfixed = "ALTER TABLE statement_line DISABLE TRIGGER statement_line_append_only";
    sqlx::raw_sql(unfixed).execute(&db.sql).await.unwrap();
    let earlier = "UPDATE statement_line SET read_at = (SELECT max(lifted_at) FROM control) - interval '1 millisecond'
                    WHERE reference = 'lost-' || $1";
    db.change(earlier, 73).await;
    assert!(db.store.recovery_plan_guard(tenant).await.unwrap().is_none());
    assert_eq!(db.scalar::<i64>("SELECT count(*) FROM affiliate WHERE on_hold").await, 1);
    db.drop().await;
}

/// `rails set` again, as it was since the backup, takes nothing away of what must be read, nor of whose it is.
#[tokio::test]
async fn an_account_that_is_left_in_a_recovery_is_read_all_the_same() {
    let db = Db::new().await;
    let tenant = db.tenant("t", "sandbox-lookup", 1).await;
    let (ann, bob) = (db.approver("ann").await, db.approver("bob").await);
    assert!(db.store.recovery_open("test", "restored").await.unwrap());
    let other = TenantRail {
        method: "paypal".into(),
        rail: "sandbox-lookup".into(),
        account: "other".into(),
        credential: None,
    };
    db.store.tenant_rail_set(tenant, other).await.unwrap();
    let accounts = db.store.recovery_accounts().await.unwrap();
    let names: Vec<&str> = accounts.iter().map(|one| one.account.account.as_str()).collect();
    assert_eq!(names, ["other", "t"]);
    let lost = payfleet_domain::StatementLine {
        key: format!("{}-0123456789abcdef", 71_i64 << 32),
        reference: "lost".into(),
        amount_minor: 1_000,
        fee_minor: 0,
        currency: "EUR".into(),
        destination: "a1@example.com".into(),
        movement: payfleet_domain::Movement::Paid,
        at: None,
        of: None,
    };
    db.line_read("sandbox-lookup", lost).await;
    db.change("INSERT INTO rail_account (rail, account) SELECT 'sandbox-lookup', 'other' WHERE $1 > 0", 1).await;
    recover(&db, [ann, bob]).await;
    assert_eq!(db.scalar::<i64>("SELECT count(*) FROM affiliate WHERE on_hold").await, 1);
    // And a plan waits for both: neither is read past what may still be executed.
    db.change("UPDATE rail_account SET reaches_ours = '-infinity' WHERE account = 't' AND $1 > 0", 1).await;
    let waits = db.store.recovery_plan_guard(tenant).await.unwrap().expect("of the one that was left too");
    assert_eq!(waits.account.account, "t");
    let wanted = db.store.accounts_to_read().await.unwrap();
    assert!(wanted.iter().any(|account| account.account == "t"), "what is waited for is read: {wanted:?}");
    db.drop().await;
}

/// By what a file leaves out money would go out again: it counts for as much as whoever hands it in, and is named.
#[tokio::test]
async fn a_file_without_a_person_makes_no_account_read() {
    let db = Db::new().await;
    let tenant = db.tenant("t", "sandbox-lookup", 1).await;
    db.run(tenant, "2026-01", 1).await;
    let ann = db.approver("ann").await;
    assert!(db.store.recovery_open("test", "restored").await.unwrap());
    assert!(db.store.recovery_doubt().await.unwrap());
    sqlx::query("UPDATE recovery SET doubted_at = doubted_at - interval '1 day'").execute(&db.sql).await.unwrap();
    let account = StatementAccount { rail: "sandbox-lookup".into(), account: "t".into(), credential: None };
    let viewer = db.person("vic", Role::Viewer, None).await;
    let (ann, vic) = (db.store.person_find(ann).await, db.store.person_find(viewer).await);
    for (person, is_read) in [(None, false), (Some(vic.unwrap().unwrap()), false), (Some(ann.unwrap().unwrap()), true)]
    {
        let source = StatementSource::File { name: "cut.csv".into(), person };
        let reading = db.store.account_open(&account, source).await.unwrap().unwrap();
        let (from, now) = (reading.from().expect("somebody is to be paid"), time::OffsetDateTime::now_utc());
        reading.end(Some(StatementEnd { from, until: now, now, open_from: None, lines: 0 })).await.unwrap();
        let accounts = db.store.recovery_accounts().await.unwrap();
        assert_eq!(accounts[0].is_read, is_read);
        assert_eq!(accounts[0].by_file.as_deref(), is_read.then_some("cut.csv of ann"));
        // Nobody decides about a plan: there only the rail itself counts.
        assert!(db.store.recovery_plan_guard(tenant).await.unwrap().is_some());
    }
    db.drop().await;
}

/// A bank's statements come as one file after the other: each person's go on from their own, and from nobody else's.
#[tokio::test]
async fn a_second_file_goes_on_from_the_first_of_the_same_person() {
    let db = Db::new().await;
    let tenant = db.tenant("t", "sandbox-lookup", 1).await;
    db.run(tenant, "2026-01", 1).await;
    let (ann, bob) = (db.approver("ann").await, db.approver("bob").await);
    assert!(db.store.recovery_open("test", "restored").await.unwrap());
    assert!(db.store.recovery_doubt().await.unwrap());
    sqlx::query("UPDATE recovery SET doubted_at = doubted_at - interval '1 day'").execute(&db.sql).await.unwrap();
    let account = StatementAccount { rail: "sandbox-lookup".into(), account: "t".into(), credential: None };
    let (now, mut begins) = (time::OffsetDateTime::now_utc(), None);
    let minute = time::Duration::MINUTE;
    for (who, is_first, is_read) in [(ann, true, false), (bob, false, false), (ann, false, true)] {
        let person = Some(db.store.person_find(who).await.unwrap().unwrap());
        let source = StatementSource::File { name: "part.csv".into(), person };
        let reading = db.store.account_open(&account, source).await.unwrap().unwrap();
        let first = *begins.get_or_insert(reading.from().expect("somebody is to be paid"));
        let (from, until) = if is_first { (first, first + minute) } else { (first + minute, now) };
        reading.end(Some(StatementEnd { from, until, now, lines: 0, open_from: None })).await.unwrap();
        assert_eq!(db.store.recovery_accounts().await.unwrap()[0].is_read, is_read, "{from} to {until}");
    }
    db.drop().await;
}

/// Of a kind whose letter case counts a rail may write another one all the same, and who got the money is not
/// changed by it.
#[tokio::test]
async fn whoever_may_have_got_a_lost_payment_is_held_however_their_destination_is_written() {
    let db = Db::new().await;
    let tenant = db.tenant("t", "sandbox-lookup", 2).await;
    let run = db.run(tenant, "2026-01", 2).await;
    let (ann, bob) = (db.approver("ann").await, db.approver("bob").await);
    let wallet = "INSERT INTO payout_method (tenant_id, affiliate_id, method, destination, priority)
                  SELECT tenant_id, id, 'wallet', 'Zoe ' || external_id || '@Example.com', 1
                    FROM affiliate
                   WHERE tenant_id = $1";
    db.change(wallet, tenant.0.into()).await;
    assert!(db.store.recovery_open("test", "restored").await.unwrap());
    let line = db.line(db.payouts(run).await[0], "lost").await;
    let key = "77-0123456789abcdef".into();
    let destination = "zoeA1@EXAMPLE.COM".into();
    db.line_read("sandbox-lookup", payfleet_domain::StatementLine { key, destination, ..line }).await;
    recover(&db, [ann, bob]).await;
    let held: String =
        db.scalar("SELECT coalesce(string_agg(external_id, ' '), '') FROM affiliate WHERE on_hold").await;
    assert_eq!(held, "a1");
    db.drop().await;
}

/// An account that the restored database had forgotten is named again: nothing is planned before its statement was
/// read, which is asked for.
#[tokio::test]
async fn an_account_that_is_named_after_a_recovery_is_read_before_anything_is_planned() {
    let db = Db::new().await;
    let tenant = db.tenant("t", "sandbox-payout", 1).await;
    let (ann, bob) = (db.approver("ann").await, db.approver("bob").await);
    assert!(db.store.recovery_open("test", "restored").await.unwrap());
    db.run(tenant, "2026-01", 1).await;
    recover(&db, [ann, bob]).await;
    assert!(db.store.recovery_plan_guard(tenant).await.unwrap().is_none());
    let new = TenantRail {
        method: "paypal".into(),
        rail: "sandbox-payout".into(),
        account: "forgotten".into(),
        credential: None,
    };
    db.store.tenant_rail_set(tenant, new).await.unwrap();
    let waits = db.store.recovery_plan_guard(tenant).await.unwrap().expect("it has never been read");
    assert_eq!(waits.account.account, "forgotten");
    let wanted = db.store.accounts_to_read().await.unwrap();
    assert!(wanted.iter().any(|account| account.account == "forgotten"), "{wanted:?}");
    let reading = db.store.account_open(&waits.account, StatementSource::Rail).await.unwrap().unwrap();
    let from = reading.from().expect("since there is somebody to pay");
    let now = time::OffsetDateTime::now_utc();
    reading.end(Some(StatementEnd { from, until: now, now, open_from: None, lines: 0 })).await.unwrap();
    assert!(db.store.recovery_plan_guard(tenant).await.unwrap().is_none());
    let wanted = db.store.accounts_to_read().await.unwrap();
    assert!(!wanted.iter().any(|account| account.account == "forgotten"), "{wanted:?}");
    db.drop().await;
}
