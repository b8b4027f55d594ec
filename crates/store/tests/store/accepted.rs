//! What a rail has accepted does not wait for ever: the rail refuses it after all, or says no more of it, or only a
//! file does.

use crate::support::{Db, accepted, rail};
use payfleet_domain::{HoldReason, Movement, NextStep, PayoutId, RunId, StatementEnd, StatementLine, next_step};
use payfleet_store::{Applied, CloseVerdict, Decision, HoldError, StatementAccount, StatementSource};
use time::{Duration, OffsetDateTime};

const FILE: &str = "sandbox-file";

/// A run of so many payouts in one batch, which the bank has taken.
async fn taken(db: &Db, affiliates: i64) -> (RunId, Vec<PayoutId>) {
    let tenant = db.tenant("t", FILE, affiliates).await;
    let run = db.run(tenant, "2026-01", 100).await;
    db.pay(db.batches(run).await[0], accepted).await;
    let payouts = db.payouts(run).await;
    (run, payouts)
}

async fn rejection(db: &Db, payout: PayoutId) -> StatementLine {
    StatementLine { movement: Movement::Rejected, ..db.line(payout, "rj-1").await }
}

async fn file_read(db: &Db, line: StatementLine) -> Applied {
    let account = StatementAccount { rail: FILE.into(), account: "t".into(), credential: None };
    let source = StatementSource::File { name: "bank.csv".to_owned(), person: None };
    let mut file = db.store.account_open(&account, source).await.unwrap().unwrap();
    file.line_add(line).await.unwrap();
    // It says that it reaches a year ahead.
    let (from, until) = (OffsetDateTime::UNIX_EPOCH, OffsetDateTime::now_utc() + Duration::days(365));
    file.end(Some(StatementEnd { from, until, now: until, open_from: None, lines: 1 })).await.unwrap().applied
}

#[tokio::test]
async fn the_rails_own_statement_refuses_what_it_had_accepted() {
    let db = Db::new().await;
    let (run, payouts) = taken(&db, 3).await;
    for _ in 0..2 {
        db.line_read(FILE, rejection(&db, payouts[0]).await).await;
        assert_eq!(db.states(run).await, "accepted 2, refused 1");
    }
    let told: String = db.scalar("SELECT source || ' ' || says || ' ' || code FROM evidence").await;
    assert_eq!(told, "statement refused rejected");
    // Of another amount it is of something else: kept, and believed of nothing.
    let other = StatementLine { amount_minor: 1, ..rejection(&db, payouts[1]).await };
    let applied = db.line_read(FILE, other).await;
    assert_eq!((applied.rejected, applied.rejected_otherwise), (0, 1));
    // Nor does it take back what counts as paid.
    for (payout, reference) in [(payouts[1], "po-1"), (payouts[2], "po-2")] {
        db.line_read(FILE, db.line(payout, reference).await).await;
    }
    let applied = db.line_read(FILE, rejection(&db, payouts[2]).await).await;
    assert_eq!((applied.rejected, applied.rejected_otherwise), (0, 1));
    assert_eq!(db.states(run).await, "paid 2, refused 1");
    assert_eq!(db.scalar::<i64>("SELECT count(*) FROM evidence WHERE says = 'refused'").await, 3);
    assert_eq!(db.store.run_close(run).await.unwrap(), CloseVerdict::Settled, "nobody waits any more");
    db.assert_ledger().await;
    db.drop().await;
}

#[tokio::test]
async fn a_file_alone_only_holds_what_it_says_was_refused() {
    let db = Db::new().await;
    let (run, payouts) = taken(&db, 2).await;
    for expected in [1, 0] {
        let applied = file_read(&db, rejection(&db, payouts[0]).await).await;
        assert_eq!(applied.rejected, expected);
    }
    assert_eq!(db.states(run).await, "accepted 1, held 1");
    let hold = &db.store.holds_list(Some(run), 10).await.unwrap()[0];
    assert_eq!((hold.payout, hold.reason.as_str()), (payouts[0], "rejected_by_file"));
    // Whoever asks for the money now is told to wait: the bank may make the payment as long as it declares.
    let ann = db.approver("ann").await;
    let says_no = db.store.hold_decide(payouts[0], Decision::NotPaid, ann).await;
    assert!(matches!(says_no, Err(HoldError::NotBefore { .. })), "{says_no:?}");
    db.all_is_dead_and_listed().await;
    let says_no = db.store.hold_decide(payouts[0], Decision::NotPaid, ann).await;
    assert!(
        matches!(says_no, Err(HoldError::NotBefore { .. })),
        "its request is dead, but it was accepted: {says_no:?}"
    );
    // The rail's own word is enough.
    db.line_read(FILE, rejection(&db, payouts[0]).await).await;
    assert_eq!(db.states(run).await, "accepted 1, refused 1");
    assert_eq!(db.scalar::<String>("SELECT resolution FROM hold").await, "evidence");
    // And one that was held so may have been paid all the same.
    file_read(&db, rejection(&db, payouts[1]).await).await;
    assert_eq!(db.states(run).await, "held 1, refused 1");
    db.line_read(FILE, db.line(payouts[1], "po-1").await).await;
    assert_eq!(db.states(run).await, "paid 1, refused 1");
    db.assert_ledger().await;
    db.drop().await;
}

#[tokio::test]
async fn what_nobody_speaks_of_is_held_when_the_rails_time_is_over() {
    let db = Db::new().await;
    let (run, payouts) = taken(&db, 2).await;
    let batch = db.batches(run).await[0];
    let early = db.lease(batch).await;
    let NextStep::AwaitStatement(until) = next_step(rail(FILE), &early.facts) else { panic!("{:?}", early.facts) };
    assert_eq!(until, early.facts.first_sent_at.unwrap() + rail(FILE).news_within);
    assert_eq!(db.store.batch_hold(early.lease, HoldReason::NoWayToKnow).await.unwrap(), None, "the rail has it");
    db.store.lease_release(early.lease, std::time::Duration::ZERO).await.unwrap();
    db.age(batch, 14 * 24 * 3600).await;
    let late = db.lease(batch).await;
    assert_eq!(next_step(rail(FILE), &late.facts), NextStep::Hold(HoldReason::NoNews));
    assert_eq!(db.store.batch_hold(late.lease, HoldReason::NoNews).await.unwrap(), Some(2));
    assert_eq!(db.states(run).await, "held 2");
    assert_eq!(db.store.run_close(run).await.unwrap(), CloseVerdict::Settled);
    // Two people may say so when the statement is silent past all that the bank may do.
    let people = [db.approver("ann").await, db.approver("bob").await];
    let says_no = db.store.hold_decide(payouts[0], Decision::NotPaid, people[0]).await;
    assert!(matches!(says_no, Err(HoldError::NotBeforeStatement { .. })), "{says_no:?}");
    db.all_is_dead_and_listed().await;
    for person in people {
        db.store.hold_decide(payouts[0], Decision::NotPaid, person).await.unwrap();
    }
    // The other is paid after all, and counts.
    db.line_read(FILE, db.line(payouts[1], "po-1").await).await;
    assert_eq!(db.states(run).await, "paid 1, refused 1");
    db.assert_ledger().await;
    db.drop().await;
}
