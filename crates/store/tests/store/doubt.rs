//! What is known of payments that were not made from here, and what follows at the intent, at a cancel, and when people
//! have looked. Found by readers: each money that went out twice, was kept from its payee, or was told wrongly.

use crate::support::{Db, TTL, looked_up, paid, rail, refused, unknown};
use payfleet_domain::{
    AlarmKind, BatchId, Effect, Epoch, Movement, Outcome, PayoutId, Reference, Role, RunId, StatementLine, TenantId,
};
use payfleet_store::{Applied, Intent, IntentRefused, Recorded, StatementAccount, StatementSource};

/// Reads a part of the rail's own statement of this account.
async fn read(db: &Db, rail: &str, account: &str, lines: &[StatementLine]) -> Applied {
    let account = StatementAccount { rail: rail.into(), account: account.into(), credential: None };
    let mut reading = db.store.account_open(&account, StatementSource::Rail).await.unwrap().unwrap();
    for line in lines {
        reading.line_add(line.clone()).await.unwrap();
    }
    reading.end(None).await.unwrap().applied
}

/// The intent for a batch, after it was asked for where its rail can be.
async fn intend(db: &Db, batch: BatchId) -> Result<Intent, IntentRefused> {
    let leased = db.lease(batch).await;
    let intent = db.store.intent_write(leased.lease, "w", rail(&leased.rail), true).await.unwrap();
    db.expire_lease(batch).await;
    intent
}

async fn alarms(db: &Db) -> Vec<AlarmKind> {
    db.store.alarms_list(false, 10).await.unwrap().into_iter().map(|alarm| alarm.kind).collect()
}

async fn paused(db: &Db, run: RunId) -> Option<String> {
    db.store.run_find(run).await.unwrap().unwrap().pause_reason
}

/// The first batch of a new run of so many, sent once, and what came of it.
async fn sent(db: &Db, rail: &str, payouts: u32, outcome: impl Fn(usize) -> Outcome) -> (TenantId, RunId, BatchId) {
    let tenant = db.tenant("t", rail, payouts.into()).await;
    let run = db.run(tenant, "2026-01", payouts).await;
    let (batch, ids) = (db.batches(run).await[0], db.payouts(run).await);
    let leased = db.lease(batch).await;
    let intent = db.intent(&leased).await;
    db.record(&leased, &intent, |payout| outcome(ids.iter().position(|id| *id == payout).unwrap())).await;
    (tenant, run, batch)
}

/// The rail's statement of another account, or the same with another amount, has the payment of what is unknown here.
/// To ask our account, or to send the key again, could be the second payment.
#[tokio::test]
async fn a_payment_that_is_known_is_not_made_again_though_its_request_has_no_answer() {
    for (name, account) in [("sandbox-lookup", "q"), ("sandbox-payout", "q"), ("sandbox-payout", "t")] {
        let db = Db::new().await;
        let (_, run, batch) = sent(&db, name, 3, |_| Outcome::Unknown).await;
        let payouts = db.payouts(run).await;
        let line = db.line(payouts[1], "theirs").await;
        let line = StatementLine { amount_minor: line.amount_minor - i64::from(account == "t"), ..line };
        read(&db, name, account, &[line]).await;
        if rail(name).needs_dead_requests() {
            db.all_is_dead().await;
        }
        assert_eq!(intend(&db, batch).await.unwrap_err(), IntentRefused::InDoubt, "{name}/{account}");
        assert_eq!(alarms(&db).await, [AlarmKind::PaidUnsent], "{name}/{account}");
        for part in db.batches(run).await {
            if db.try_lease(part).await.is_some() {
                db.expire_lease(part).await;
                let intent = intend(&db, part).await.unwrap();
                assert!(intent.orders.iter().all(|order| order.payout != payouts[1]), "{name}/{account}");
            }
        }
        // What went to another account went there with all of its batch.
        let held = if account == "t" { "held 1" } else { "held 3" };
        assert_eq!(db.states(run).await.split(',').next(), Some(held), "{name}/{account}");
        db.drop().await;
    }
}

/// What was paid by our own attempt before a control parted the batch was not paid by somebody else.
#[tokio::test]
async fn what_we_have_paid_ourselves_holds_nothing_of_the_rest() {
    let db = Db::new().await;
    let outcome = |n: usize| if n == 0 { paid(PayoutId(n as i64)) } else { Outcome::NotExecuted };
    let (tenant, run, batch) = sent(&db, "sandbox-payout", 4, outcome).await;
    db.store.affiliate_hold(tenant, "a4", "fraud").await.unwrap();
    assert_eq!(intend(&db, batch).await.unwrap_err(), IntentRefused::Split);
    let rest = db.batches(run).await[0];
    let intent = intend(&db, rest).await.expect("nothing speaks against the rest");
    assert_eq!(intent.orders.len(), 2);
    assert_eq!((db.states(run).await.as_str(), alarms(&db).await), ("held 1, paid 1, planned 2", vec![]));
    db.drop().await;
}

/// Under a batch key the rest cannot be sent without what is paid.
#[tokio::test]
async fn under_a_batch_key_what_is_left_of_a_paid_batch_is_held() {
    let db = Db::new().await;
    let outcome = |n: usize| if n == 0 { paid(PayoutId(n as i64)) } else { Outcome::NotExecuted };
    let (_, run, batch) = sent(&db, "sandbox-batch", 3, outcome).await;
    assert_eq!(intend(&db, batch).await.unwrap_err(), IntentRefused::InDoubt);
    assert_eq!(db.states(run).await, "held 2, paid 1");
    db.drop().await;
}

/// A part of what was one batch is under way while a payment of its unsent sibling is read; then nothing of the part
/// was executed. Somebody else's request may have been for the part too: nothing of it is free at a cancel, and it is
/// sent again only where its key, or a lookup after that request is dead, makes it safe.
#[tokio::test]
async fn a_part_that_was_under_way_when_its_sibling_came_in_doubt_is_in_doubt_too() {
    for (name, cancels) in
        [("sandbox-payout", true), ("sandbox-payout", false), ("sandbox-lookup", false), ("sandbox-file", false)]
    {
        for is_answered in [false, true] {
            let db = Db::new().await;
            let tenant = db.tenant("t", name, 4).await;
            let run = db.run(tenant, "2026-01", 4).await;
            let payouts = db.payouts(run).await;
            db.store.payout_stop(payouts[3], "fraud").await.unwrap();
            assert_eq!(intend(&db, db.batches(run).await[0]).await.unwrap_err(), IntentRefused::Split);
            let part = db.batches(run).await[0];
            let leased = db.lease(part).await;
            let intent = db.intent(&leased).await;
            // Answered before the line is read, it is `sending` since one of them is unknown.
            let answer = |payout| if payout == payouts[0] { Outcome::Unknown } else { Outcome::NotExecuted };
            if is_answered {
                db.record(&leased, &intent, answer).await;
            }
            assert_eq!(read(&db, name, "t", &[db.line(payouts[3], "theirs").await]).await.alarms, 1);
            if !is_answered {
                db.record(&leased, &intent, |_| Outcome::NotExecuted).await;
            }
            let ann = db.person("ann", Role::Operator, None).await;
            db.store.alarm_answer(1, "looked at", ann).await.unwrap();
            db.store.run_resume(run).await.unwrap();
            db.expire_lease(part).await;
            if cancels {
                assert_eq!(db.store.run_cancel(run).await.unwrap(), 0, "answered: {is_answered}");
            } else {
                let again = intend(&db, part).await;
                assert_eq!(again.is_ok(), name == "sandbox-payout", "{name}, answered: {is_answered}: {again:?}");
            }
            assert_eq!(db.states(run).await, "paid 1, unknown 3", "{name}, answered: {is_answered}");
            db.assert_ledger().await;
            db.drop().await;
        }
    }
}

/// The same return, which has no name, told again at another time: it may be the same money.
#[tokio::test]
async fn a_return_without_a_name_frees_nothing() {
    let db = Db::new().await;
    let (_, run, _) = sent(&db, "sandbox-payout", 1, |n| paid(PayoutId(n as i64))).await;
    let own = db.line(db.payouts(run).await[0], "ref-0").await;
    let now = time::OffsetDateTime::now_utc();
    read(&db, "sandbox-payout", "t", std::slice::from_ref(&own)).await;
    for seconds in [0, 1] {
        let back = StatementLine {
            movement: Movement::Returned,
            reference: String::new(),
            amount_minor: own.amount_minor / 2,
            at: Some(now + time::Duration::seconds(seconds)),
            ..own.clone()
        };
        read(&db, "sandbox-payout", "t", &[back]).await;
    }
    assert_eq!(
        (db.states(run).await.as_str(), db.scalar::<i64>("SELECT carried_minor FROM account").await),
        ("paid 1", 0)
    );
    db.drop().await;
}

/// Whichever of two payments is listed first.
#[tokio::test]
async fn the_known_payment_listed_after_another_one_makes_two() {
    let db = Db::new().await;
    let (_, run, _) = sent(&db, "sandbox-payout", 2, |n| paid(PayoutId(n as i64))).await;
    let payout = db.payouts(run).await[0];
    let own = db.line(payout, "ref-0").await;
    let other = StatementLine { reference: "other".to_owned(), ..own.clone() };
    assert_eq!(read(&db, "sandbox-payout", "t", &[other]).await.alarms, 0, "perhaps one payment under two names");
    let own = [own];
    assert_eq!(read(&db, "sandbox-payout", "t", &own).await.alarms, 1);
    assert_eq!(read(&db, "sandbox-payout", "t", &own).await.alarms, 0, "the same again is no news");
    assert_eq!(
        (alarms(&db).await, paused(&db, run).await.as_deref()),
        (vec![AlarmKind::DoublePayment], Some("double payment"))
    );
    db.drop().await;
}

/// A second payment without a name, and one with a name that no index takes: neither is lost, nor does it keep the
/// statement from being read.
#[tokio::test]
async fn a_payment_with_no_name_that_can_be_kept_is_one_all_the_same() {
    let long = (0..3_000).map(|n| char::from_digit(n * 7_919 % 36, 36).unwrap()).collect::<String>();
    for name in ["", "po\0", &long] {
        let db = Db::new().await;
        let (_, run, _) = sent(&db, "sandbox-payout", 2, |n| paid(PayoutId(n as i64))).await;
        let payout = db.payouts(run).await[0];
        let own = db.line(payout, "ref-0").await;
        let other = StatementLine { reference: name.to_owned(), ..own.clone() };
        let applied = read(&db, "sandbox-payout", "t", &[own, other]).await;
        assert_eq!((applied.alarms, alarms(&db).await), (1, vec![AlarmKind::DoublePayment]), "{name:.9}");
        db.drop().await;
    }
    // Of what has no answer such a line is proof like another.
    let db = Db::new().await;
    let (_, run, _) = sent(&db, "sandbox-payout", 1, |_| Outcome::Unknown).await;
    let line = db.line(db.payouts(run).await[0], "po\0").await;
    assert_eq!(read(&db, "sandbox-payout", "t", &[line]).await.settled, 1);
    db.drop().await;
}

/// An alarm that people have answered is not raised again by news that changes nothing of it, and its run is not
/// paused.
#[tokio::test]
async fn what_people_have_answered_pauses_nothing_again() {
    let db = Db::new().await;
    let (_, run, batch) = sent(&db, "sandbox-payout", 2, |n| paid(PayoutId(n as i64))).await;
    let payout = db.payouts(run).await[0];
    let other = Outcome::Paid(Reference("other".into()));
    let news = |outcome| looked_up(batch, Epoch(1), vec![(payout, outcome)]);
    assert_eq!(db.store.outcomes_record(news(other)).await.unwrap().alarms, 1);
    let ann = db.person("ann", Role::Operator, None).await;
    db.store.alarm_answer(1, "looked at", ann).await.unwrap();
    db.store.run_resume(run).await.unwrap();
    let line = db.line(payout, "cent").await;
    let cent = StatementLine { movement: Movement::Returned, amount_minor: 1, ..line };
    assert_eq!(read(&db, "sandbox-payout", "t", &[cent]).await.alarms, 0);
    assert_eq!((alarms(&db).await, paused(&db, run).await), (vec![], None));
    db.drop().await;
}

/// Late proof of a payout whose money was released: with a later run that has planned it again, and perhaps sent it.
async fn late(db: &Db, sends: bool, earns: bool) -> (RunId, Recorded) {
    let (tenant, first, batch) = sent(db, "sandbox-payout", 1, |n| refused(PayoutId(n as i64))).await;
    let run = db.run(tenant, "2026-02", 1).await;
    if sends {
        db.pay(db.batches(run).await[0], paid).await;
    }
    if earns {
        db.commissions(tenant, "2026-03-10T00:00:00Z", 5_000).await;
        db.run(tenant, "2026-03", 1).await;
    }
    let news = vec![(db.payouts(first).await[0], Outcome::Paid(Reference("late".into())))];
    (run, db.store.outcomes_record(looked_up(batch, Epoch(1), news)).await.unwrap())
}

/// The run that has the money begins, and would send it, while late proof is being written: it waits, and then knows.
#[tokio::test]
async fn a_run_that_begins_while_late_proof_is_written_does_not_pay_again_unsaid() {
    let db = Db::new().await;
    let (tenant, first, batch) = sent(&db, "sandbox-payout", 1, |n| refused(PayoutId(n as i64))).await;
    let run = db.planned(tenant, "2026-02", 1).await;
    let (late, next) = (db.payouts(first).await[0], db.batches(run).await[0]);
    let mut blocker = db.sql.begin().await.unwrap();
    sqlx::query("SELECT FROM account FOR UPDATE").execute(&mut *blocker).await.unwrap();
    let store = db.store.clone();
    let news = looked_up(batch, Epoch(1), vec![(late, Outcome::Paid(Reference("late".into())))]);
    let recorded = tokio::spawn(async move { store.outcomes_record(news).await.unwrap() });
    db.until_waiting(1).await;
    let store = db.store.clone();
    let sent = tokio::spawn(async move {
        store.runs_begin().await.unwrap();
        let leased = store.lease_acquire(next, "w", TTL).await.unwrap()?;
        store.intent_write(leased.lease, "w", rail(&leased.rail), false).await.unwrap().ok()
    });
    while !sent.is_finished() && db.waiting().await < 2 {
        tokio::task::yield_now().await;
    }
    blocker.rollback().await.unwrap();
    let (recorded, sent) = (recorded.await.unwrap(), sent.await.unwrap());
    assert_eq!(recorded.late, 1);
    assert!(sent.is_none() || recorded.alarms == 1, "sent again, and nobody is told");
    db.drop().await;
}

/// Whether it was paid again is a matter of rows, not of the balance.
#[tokio::test]
async fn late_proof_says_paid_again_only_where_it_was() {
    for (sends, earns, alarm) in [(false, false, 0), (true, false, 1), (true, true, 1)] {
        let db = Db::new().await;
        let (_, recorded) = late(&db, sends, earns).await;
        assert_eq!((recorded.late, recorded.alarms), (1, alarm), "sends: {sends}, earns: {earns}");
        db.drop().await;
    }
}

/// The later payout was planned with money that late proof has used up: it is not sent when people have cleared the
/// contest, in whichever order it meets them, and the next run pays what is due.
#[tokio::test]
async fn what_late_proof_has_used_up_is_cancelled_when_the_contest_is_cleared() {
    for held_before in [true, false] {
        let db = Db::new().await;
        let (run, _) = late(&db, false, false).await;
        let batch = db.batches(run).await[0];
        if held_before {
            assert_eq!(intend(&db, batch).await.unwrap_err(), IntentRefused::Split);
            assert_eq!(db.states(run).await, "held 1");
        }
        let [ann, bob] = [db.approver("ann").await, db.approver("bob").await];
        db.store.contest_clear(1, ann).await.unwrap();
        assert_eq!(db.store.contest_clear(1, bob).await.unwrap().effect, Effect::Agrees);
        if !held_before {
            assert_eq!(intend(&db, batch).await.unwrap_err(), IntentRefused::Split, "it was planned before");
            db.store.contested_let_go().await.unwrap();
        }
        assert_eq!(db.states(run).await, "cancelled 1", "held before: {held_before}");
        assert_eq!(db.scalar::<i64>("SELECT carried_minor FROM account").await, 0);
        db.assert_ledger().await;
        db.drop().await;
    }
}

/// What the rail kept of the first return is booked once, however often money goes out and comes back.
#[tokio::test]
async fn what_was_kept_of_a_return_is_booked_once() {
    let db = Db::new().await;
    let (_, run, _) = sent(&db, "sandbox-payout", 1, |n| paid(PayoutId(n as i64))).await;
    let payout = db.payouts(run).await[0];
    let own = db.line(payout, "ref-0").await;
    let back = |reference: &str, fee: i64| StatementLine {
        movement: Movement::Returned,
        reference: reference.to_owned(),
        amount_minor: own.amount_minor - fee,
        fee_minor: fee,
        ..own.clone()
    };
    let again = StatementLine { reference: "again".to_owned(), ..own.clone() };
    for line in [own.clone(), back("r", 100), again, back("s", 0)] {
        read(&db, "sandbox-payout", "t", &[line]).await;
    }
    assert_eq!(db.states(run).await, "returned 1");
    let fees: i64 = db.scalar("SELECT sum(amount_minor)::bigint FROM transfer WHERE kind >= 32").await;
    assert_eq!(fees, 100);
    // As often as the ledger can follow.
    let third = StatementLine { reference: "third".to_owned(), ..own.clone() };
    for line in [third, back("u", 25)] {
        read(&db, "sandbox-payout", "t", &[line]).await;
    }
    assert_eq!(db.states(run).await, "returned 1");
    let fees: i64 = db.scalar("SELECT sum(amount_minor)::bigint FROM transfer WHERE kind >= 32").await;
    assert_eq!(fees, 125);
    db.drop().await;
}

/// A return is held against the payment that it is of, wherever the statement was cut.
#[tokio::test]
async fn a_return_before_a_second_payment_is_not_too_early() {
    let at = |minutes: i64| Some(time::OffsetDateTime::now_utc() + time::Duration::minutes(minutes));
    for cuts in [false, true] {
        for of in [Some("ref-0".to_owned()), None] {
            let db = Db::new().await;
            let (_, run, _) = sent(&db, "sandbox-payout", 1, |n| paid(PayoutId(n as i64))).await;
            let payout = db.payouts(run).await[0];
            let own = StatementLine { at: at(0), ..db.line(payout, "ref-0").await };
            let second = StatementLine { at: at(2), reference: "second".to_owned(), ..own.clone() };
            let movement = Movement::Returned;
            let back = StatementLine { at: at(1), reference: "back".to_owned(), movement, of, ..own.clone() };
            if cuts {
                read(&db, "sandbox-payout", "t", &[own, second]).await;
                read(&db, "sandbox-payout", "t", &[back]).await;
            } else {
                read(&db, "sandbox-payout", "t", &[own, second, back]).await;
            }
            let wrong: i64 = db.scalar("SELECT count(*) FROM statement_line WHERE differs_return").await;
            let known: i64 = db.scalar("SELECT count(*) FROM movement WHERE kind = 'returned' AND counts").await;
            assert_eq!((wrong, known, db.states(run).await.as_str()), (0, 1, "paid 1"), "cuts: {cuts}");
            db.drop().await;
        }
    }
}

/// A rail whose clock was set back says that it reaches to before it begins: that is nowhere.
#[tokio::test]
async fn a_statement_that_ends_before_it_begins_moves_no_mark() {
    let db = Db::new().await;
    let (_, _, _) = sent(&db, "sandbox-payout", 1, |n| unknown(PayoutId(n as i64))).await;
    let account = StatementAccount { rail: "sandbox-payout".into(), account: "t".into(), credential: None };
    let reading = db.store.account_open(&account, StatementSource::Rail).await.unwrap().unwrap();
    let from = reading.from().unwrap();
    let until = from - time::Duration::hours(1);
    let end = payfleet_domain::StatementEnd { from, until, now: until, open_from: None, lines: 0 };
    reading.end(Some(end)).await.unwrap();
    let reaches: bool =
        db.scalar("SELECT reaches_ours = '-infinity' AND reaches_to = '-infinity' FROM rail_account").await;
    assert!(reaches);
    db.drop().await;
}

/// A statement waits for the row of a batch that is just being split: the parts of it are looked at too, or one would
/// stay open with nothing unanswered in it.
#[tokio::test]
async fn a_batch_that_is_split_while_a_statement_waits_for_it_leaves_nothing_open() {
    let db = Db::new().await;
    let (_, run, batch) = sent(&db, "sandbox-payout", 2, |_| Outcome::Unknown).await;
    let payouts = db.payouts(run).await;
    let leased = db.lease(batch).await;
    let mut first = db.sql.begin().await.unwrap();
    sqlx::query("SELECT FROM batch WHERE id = $1 FOR UPDATE").bind(batch.0).execute(&mut *first).await.unwrap();
    // Both wait for the row, in this order.
    let split = tokio::spawn({
        let store = db.store.clone();
        async move { store.batch_split(leased.lease).await.unwrap().unwrap() }
    });
    db.until_waiting(1).await;
    let line = [db.line(payouts[0], "theirs").await];
    let reading = read(&db, "sandbox-payout", "t", &line);
    let go_on = async {
        db.until_waiting(2).await;
        first.commit().await.unwrap();
    };
    let (applied, ()) = tokio::join!(reading, go_on);
    split.await.unwrap();
    assert_eq!((applied.settled, db.states(run).await.as_str()), (1, "paid 1, unknown 1"));
    let open: i64 = db
        .scalar(
            "SELECT count(*) FROM batch b WHERE b.state = 'sending' AND NOT EXISTS (
               SELECT FROM payout p WHERE p.id BETWEEN b.first_payout_id AND b.last_payout_id AND p.state = 'unknown')",
        )
        .await;
    assert_eq!(open, 0, "open, and nothing in it is unanswered");
    db.drop().await;
}
