//! A return that only a file tells of, and an account that was perhaps paid twice: two people free what is held back.

use crate::support::{Db, paid, token};
use payfleet_domain::{Effect, Movement, PayoutId, Role, StatementEnd, StatementLine, TenantId, TokenHash};
use payfleet_store::{ConfirmError, StatementAccount, StatementSource, WhoError, WordRow};
use time::{Duration, OffsetDateTime};

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
        "INSERT INTO contest (tenant_id, affiliate_id, currency, payout_id)
         SELECT tenant_id, affiliate_id, currency, id FROM payout ORDER BY id",
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

/// Hands in a file of this one line.
async fn hand_in_line(db: &Db, line: StatementLine, by: Option<TokenHash>) {
    let account = StatementAccount { rail: "sandbox-file".into(), account: "t".into(), credential: None };
    let person = match by {
        Some(by) => Some(db.store.person_find(by).await.unwrap().unwrap()),
        None => None,
    };
    let source = StatementSource::File { name: "hand.csv".to_owned(), person };
    let mut file = db.store.account_open(&account, source).await.unwrap().unwrap();
    file.line_add(line).await.unwrap();
    // It says that it reaches a year ahead.
    let (from, until) = (OffsetDateTime::UNIX_EPOCH, OffsetDateTime::now_utc() + Duration::days(365));
    file.end(Some(StatementEnd { from, until, now: until, open_from: None, lines: 1 })).await.unwrap();
}

/// Hands in a file that says that this payout was paid, or came back.
async fn hand_in(db: &Db, payout: PayoutId, movement: Movement, reference: &str, by: TokenHash) {
    let at = Some(OffsetDateTime::now_utc() + Duration::DAY);
    hand_in_line(db, StatementLine { movement, at, ..db.line(payout, reference).await }, Some(by)).await;
}

/// What was said about each return that waits.
async fn said(db: &Db) -> Vec<Vec<String>> {
    let waiting = db.store.returns_waiting(10).await.unwrap().into_iter();
    let words =
        |words: Vec<WordRow>| words.into_iter().map(|word| format!("{} {}", word.person, word.effect)).collect();
    waiting.map(|back| words(back.words)).collect()
}

/// A file that was read before is heard too: from whoever hands it in as the first of two.
#[tokio::test]
async fn a_file_that_was_read_before_is_a_first_word_and_never_the_second() {
    let db = Db::new().await;
    let (_, payouts) = paid_run(&db, 2).await;
    let [bob, cid, eve] = [db.approver("bob").await, db.approver("cid").await, db.approver("eve").await];
    let at = Some(OffsetDateTime::now_utc() + Duration::DAY);
    let back = StatementLine { movement: Movement::Returned, at, ..db.line(payouts[0], "back-1").await };
    hand_in_line(&db, back.clone(), None).await;
    let other = StatementLine { movement: Movement::Returned, at, ..db.line(payouts[1], "back-2").await };
    hand_in_line(&db, other.clone(), None).await;
    assert_eq!(said(&db).await, [vec![""; 0], vec![]], "nobody has said who they are");
    // That another amount came back under this name is another word, of which there is no return yet.
    hand_in_line(&db, StatementLine { amount_minor: back.amount_minor - 1, ..back.clone() }, Some(bob)).await;
    assert_eq!(said(&db).await, [vec![""; 0], vec![]]);
    for by in [bob, bob, cid] {
        hand_in_line(&db, back.clone(), Some(by)).await;
        assert_eq!(said(&db).await, [vec!["bob proposes"], vec![]], "who hands in what bob has has not looked at it");
    }
    assert_eq!(db.scalar::<i64>("SELECT count(*) FROM movement WHERE counts").await, 0, "a file frees nothing");
    // Whose say is gone has said nothing.
    db.store.person_revoke(token("root"), "bob".parse().unwrap()).await.unwrap();
    hand_in_line(&db, back.clone(), Some(cid)).await;
    assert_eq!(said(&db).await, [vec!["bob proposes", "cid proposes"], vec![]]);
    assert!(matches!(db.store.return_confirm(1, cid).await, Err(ConfirmError::SamePerson(_))));
    assert_eq!(db.store.return_confirm(1, eve).await.unwrap().effect, Effect::Agrees);
    assert_eq!(db.states(payouts[0].run()).await, "paid 1, returned 1");
    hand_in_line(&db, back, Some(eve)).await;
    assert_eq!(db.scalar::<i64>("SELECT count(*) FROM word WHERE subject = 'movement'").await, 3, "it is done");
    db.assert_ledger().await;
    db.drop().await;
}

#[tokio::test]
async fn who_hands_in_a_file_has_said_the_first_word_if_they_may_decide() {
    let db = Db::new().await;
    let (tenant, payouts) = paid_run(&db, 4).await;
    let other = db.store.tenant_ensure("u", None).await.unwrap();
    let ours = db.person("ours", Role::Approver, Some(tenant)).await;
    let all = db.approver("all").await;
    let stranger = db.person("stranger", Role::Approver, Some(other)).await;
    let operator = db.person("operator", Role::Operator, None).await;
    for (n, (payout, by)) in payouts.iter().zip([ours, all, stranger, operator]).enumerate() {
        for _ in 0..2 {
            hand_in(&db, *payout, Movement::Returned, &format!("back-{n}"), by).await;
        }
    }
    // A payment counts at once, and needs no word.
    hand_in(&db, payouts[3], Movement::Paid, "again", all).await;
    assert_eq!(db.scalar::<i64>("SELECT count(*) FROM word WHERE subject = 'movement'").await, 2);
    let ahead =
        "SELECT count(*) FROM rail_account WHERE reaches_to > clock_timestamp() OR file_reaches > clock_timestamp()";
    assert_eq!(db.scalar::<i64>(ahead).await, 0, "no file knows what is still to come");
    assert_eq!(db.scalar::<i64>("SELECT count(*) FROM rail_account WHERE file_reaches > '-infinity'").await, 1);
    let fetched = "SELECT count(*) FROM rail_account WHERE reaches_to > '-infinity' OR reaches_ours > '-infinity'";
    assert_eq!(db.scalar::<i64>(fetched).await, 0, "the rail is still to be asked for all that it has");
    assert_eq!(said(&db).await, [vec!["ours proposes"], vec!["all proposes"], vec![], vec![]]);
    assert!(matches!(db.store.return_confirm(payouts[0].0, ours).await, Err(ConfirmError::SamePerson(_))));
    assert_eq!(db.store.return_confirm(payouts[0].0, all).await.unwrap().effect, Effect::Agrees);
    assert_eq!(db.states(payouts[0].run()).await, "paid 3, returned 1");
    db.assert_ledger().await;
    db.drop().await;
}

/// Two second words at once: one counts, and the other one finds it done.
#[tokio::test]
async fn of_two_second_words_at_once_one_counts() {
    let db = Db::new().await;
    let (_, payouts) = paid_run(&db, 1).await;
    let [ann, bob, eve] = [db.approver("ann").await, db.approver("bob").await, db.approver("eve").await];
    returned(&db, payouts[0], "back-1").await;
    sqlx::query(
        "INSERT INTO contest (tenant_id, affiliate_id, currency, payout_id)
         SELECT tenant_id, affiliate_id, currency, id FROM payout",
    )
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
