//! A return that only a file tells of, and an account that was perhaps paid twice: two people free what is held back.

#![allow(clippy::unwrap_used)]

mod support;

use payfleet_domain::{Effect, PayoutId, Role, TenantId};
use payfleet_store::{ConfirmError, WhoError};
use support::{Db, paid};

async fn paid_run(db: &Db, payouts: i64) -> (TenantId, Vec<PayoutId>) {
    let tenant = db.tenant("t", "sandbox-file", payouts).await;
    let run = db.run(tenant, "2026-01", 10).await;
    db.pay(db.batches(run).await[0], paid).await;
    (tenant, db.payouts(run).await)
}

/// A file says that all of it came back.
async fn returned(db: &Db, payout: PayoutId, reference: &str) {
    sqlx::query(
        "INSERT INTO movement (tenant_id, payout_id, kind, reference, amount_minor, currency, source, counts)
         SELECT tenant_id, id, 'returned', $2, amount_minor, currency, 'file', false FROM payout WHERE id = $1",
    )
    .bind(payout.0)
    .bind(reference)
    .execute(&db.sql)
    .await
    .unwrap();
}

#[tokio::test]
async fn a_return_that_a_file_tells_of_counts_when_two_people_say_so() {
    let db = Db::new().await;
    let (tenant, payouts) = paid_run(&db, 2).await;
    let other = db.store.tenant_ensure("u", None).await.unwrap();
    let [ann, bob] = [db.approver("ann").await, db.person("bob", Role::Approver, Some(tenant)).await];
    let [viewer, stranger] =
        [db.person("viewer", Role::Viewer, None).await, db.person("stranger", Role::Approver, Some(other)).await];
    for (payout, reference) in [(payouts[0], "back-1"), (payouts[1], "back-2"), (payouts[1], "back-3")] {
        returned(&db, payout, reference).await;
    }
    let confirm = |number, by| db.store.return_confirm(number, by);
    assert!(matches!(confirm(payouts[1].0, ann).await, Err(ConfirmError::Several { ids, .. }) if ids == [2, 3]));
    for nobody in [viewer, stranger] {
        assert!(matches!(confirm(1, nobody).await, Err(ConfirmError::Who(WhoError::NotAllowed(_)))));
    }
    for number in [0, 4, payouts[0].0 + 9] {
        assert!(matches!(confirm(number, ann).await, Err(ConfirmError::NotWaiting(_))), "{number}");
    }
    assert_eq!(confirm(payouts[0].0, ann).await.unwrap().effect, Effect::Proposes);
    assert!(matches!(confirm(1, ann).await, Err(ConfirmError::SamePerson(_))));
    let waiting = db.store.returns_waiting(10).await.unwrap();
    let words: Vec<usize> = waiting.iter().map(|back| back.words.len()).collect();
    assert_eq!((words, waiting[0].reference.as_str(), waiting[0].payout), (vec![1, 0, 0], "back-1", payouts[0]));
    assert_eq!(db.scalar::<i64>("SELECT count(*) FROM movement WHERE counts").await, 0, "one person frees nothing");

    assert_eq!(confirm(1, bob).await.unwrap().effect, Effect::Agrees);
    assert!(matches!(confirm(1, bob).await, Err(ConfirmError::NotWaiting(1))), "it is done");
    let counts: String = db.scalar("SELECT string_agg(reference, ' ') FROM movement WHERE counts").await;
    assert_eq!(counts, "back-1");
    let run = payouts[0].run();
    assert_eq!(db.states(run).await, "paid 1, returned 1", "its money is due again, and that of nobody else");
    db.assert_ledger().await;
    for by in [ann, bob] {
        confirm(2, by).await.unwrap();
    }
    assert_eq!(confirm(payouts[1].0, bob).await.unwrap().effect, Effect::Proposes, "only one of it waits now");
    db.drop().await;
}

#[tokio::test]
async fn a_contested_account_is_cleared_by_two_people() {
    let db = Db::new().await;
    let (tenant, payouts) = paid_run(&db, 2).await;
    let other = db.store.tenant_ensure("u", None).await.unwrap();
    let [ann, bob] = [db.approver("ann").await, db.person("bob", Role::Approver, Some(tenant)).await];
    let stranger = db.person("stranger", Role::Approver, Some(other)).await;
    sqlx::query(
        "INSERT INTO contest (tenant_id, affiliate_id, currency, payout_id) SELECT tenant_id, affiliate_id, currency, id FROM payout ORDER BY id",
    )
    .execute(&db.sql)
    .await
    .unwrap();
    let clear = |contest, by| db.store.contest_clear(contest, by);
    assert!(matches!(clear(1, stranger).await, Err(ConfirmError::Who(_))));
    assert!(matches!(clear(3, ann).await, Err(ConfirmError::NotContested(3))));
    assert_eq!(clear(1, ann).await.unwrap().effect, Effect::Proposes);
    assert!(matches!(clear(1, ann).await, Err(ConfirmError::SamePerson(_))));
    let listed = db.store.contests_list(10).await.unwrap();
    assert_eq!((listed.len(), listed[0].payout, listed[0].words.len()), (2, payouts[0], 1));
    assert_eq!(db.scalar::<i64>("SELECT count(*) FROM contest WHERE closed_at IS NULL").await, 2);
    assert_eq!(clear(1, bob).await.unwrap().effect, Effect::Agrees);
    assert!(matches!(clear(1, bob).await, Err(ConfirmError::NotContested(1))));
    let listed = db.store.contests_list(10).await.unwrap();
    assert_eq!((listed.len(), listed[0].id), (1, 2), "the other one is as it was");
    db.drop().await;
}

/// Two second words at once: one counts, and the other one finds it done.
#[tokio::test]
async fn of_two_second_words_at_once_one_counts() {
    let db = Db::new().await;
    let (_, payouts) = paid_run(&db, 1).await;
    let [ann, bob, eve] = [db.approver("ann").await, db.approver("bob").await, db.approver("eve").await];
    returned(&db, payouts[0], "back-1").await;
    sqlx::query("INSERT INTO contest (tenant_id, affiliate_id, currency, payout_id) SELECT tenant_id, affiliate_id, currency, id FROM payout")
        .execute(&db.sql)
        .await
        .unwrap();
    db.store.return_confirm(1, ann).await.unwrap();
    db.store.contest_clear(1, ann).await.unwrap();
    let mut gate = db.sql.begin().await.unwrap();
    sqlx::query("SELECT FROM movement, contest FOR UPDATE").execute(&mut *gate).await.unwrap();
    let both = [bob, eve].map(|by| {
        let (confirms, clears) = (db.store.clone(), db.store.clone());
        (
            tokio::spawn(async move { confirms.return_confirm(1, by).await.map(|heard| heard.effect) }),
            tokio::spawn(async move { clears.contest_clear(1, by).await.map(|heard| heard.effect) }),
        )
    });
    db.until_waiting(4).await;
    gate.commit().await.unwrap();
    let (mut confirmed, mut cleared) = (Vec::new(), Vec::new());
    for (confirms, clears) in both {
        confirmed.push(confirms.await.unwrap());
        cleared.push(clears.await.unwrap());
    }
    for (what, ended) in [("confirm", confirmed), ("clear", cleared)] {
        let agreed = ended.iter().filter(|effect| matches!(effect, Ok(Effect::Agrees))).count();
        let late = |error: &ConfirmError| matches!(error, ConfirmError::NotWaiting(1) | ConfirmError::NotContested(1));
        let late = ended.iter().filter(|effect| effect.as_ref().is_err_and(late)).count();
        assert_eq!((agreed, late), (1, 1), "{what}: {ended:?}");
    }
    db.drop().await;
}
