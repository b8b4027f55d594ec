//! People: who has a say, that two are needed where money is freed, and when it can be said that a held payout was not
//! paid.

use crate::support::{Db, token, unknown};
use payfleet_domain::{
    Act, BatchId, Effect, HoldReason, NotAllowed, NotPaid, PayoutId, Role, RunId, TenantId, TokenHash,
};
use payfleet_store::{Decision, HoldError, HoldRow, HoldSaid, PeopleError, WhoError};
use time::{Duration, OffsetDateTime};

async fn held_on(db: &Db, rail: &str, payouts: i64) -> (TenantId, RunId, BatchId) {
    let tenant = db.tenant("t", rail, payouts).await;
    let run = db.run(tenant, "2026-01", 10).await;
    let batch = db.batches(run).await[0];
    db.pay(batch, unknown).await;
    db.expire_lease(batch).await;
    let leased = db.lease(batch).await;
    db.store.batch_hold(leased.lease, HoldReason::NoWayToKnow).await.unwrap();
    (tenant, run, batch)
}

async fn not_paid(db: &Db, payout: PayoutId, by: TokenHash) -> Result<HoldSaid, HoldError> {
    db.store.hold_decide(payout, Decision::NotPaid, by).await
}

async fn effect(db: &Db, payout: PayoutId, by: TokenHash) -> Effect {
    not_paid(db, payout, by).await.unwrap().effect
}

async fn hold(db: &Db) -> HoldRow {
    db.store.holds_list(None, 10).await.unwrap().remove(0)
}

/// Until when a request can still be executed.
async fn dead_at(db: &Db) -> OffsetDateTime {
    db.scalar("SELECT max(may_arrive_until) FROM attempt").await
}

/// The statement of every account is known up to this long after everything sent is dead; negative is before.
async fn statement_reaches(db: &Db, past: Duration) {
    sqlx::query(
        "INSERT INTO rail_account (rail, account) SELECT DISTINCT rail, account FROM batch ON CONFLICT DO NOTHING",
    )
    .execute(&db.sql)
    .await
    .unwrap();
    // What is known of other accounts and rails says nothing of this one.
    let others = "INSERT INTO rail_account (rail, account, reaches_ours)
                  SELECT rail, 'another', timestamptz '3000-01-01' FROM batch
                    UNION SELECT 'another', account, '3000-01-01' FROM batch ON CONFLICT DO NOTHING";
    sqlx::query(others).execute(&db.sql).await.unwrap();
    let reaches = "UPDATE rail_account SET reaches_to = $1, reaches_ours = $1 WHERE reaches_ours < '3000-01-01'";
    sqlx::query(reaches).bind(dead_at(db).await + past).execute(&db.sql).await.unwrap();
}

#[tokio::test]
async fn not_paid_is_refused_while_a_request_can_arrive_and_until_a_statement_is_silent_about_it() {
    let db = Db::new().await;
    let (_, run, batch) = held_on(&db, "sandbox-file", 2).await;
    let [ann, bob] = [db.approver("ann").await, db.approver("bob").await];
    let payout = db.payouts(run).await[0];
    // A statement read far into the future would be no excuse.
    statement_reaches(&db, Duration::DAY).await;
    let until = dead_at(&db).await;
    assert!(until > OffsetDateTime::now_utc() + Duration::days(4), "three days, and half as much again");
    assert!(matches!(not_paid(&db, payout, ann).await, Err(HoldError::NotBefore { until: told, .. }) if told == until));
    assert_eq!(hold(&db).await.not_paid, Some(NotPaid::NotBefore(until)));

    db.age(batch, 4 * 86_400).await;
    assert!(matches!(not_paid(&db, payout, ann).await, Err(HoldError::NotBefore { .. })), "half a day is left");
    db.all_is_dead().await;
    for short in [Duration::ZERO, Duration::seconds(-1)] {
        statement_reaches(&db, short).await;
        let refused = not_paid(&db, payout, ann).await.unwrap_err();
        assert!(matches!(&refused, HoldError::NotBeforeStatement { .. }), "{refused}");
        for part in ["sandbox-file/t", "payfleet-reconciler watch", "not in a file proves nothing"] {
            assert!(refused.to_string().contains(part), "{refused}");
        }
    }
    assert!(matches!(hold(&db).await.not_paid, Some(NotPaid::NotBeforeStatement(_))));
    assert_eq!(db.scalar::<i64>("SELECT count(*) FROM word WHERE subject = 'hold'").await, 0, "nothing was said yet");

    statement_reaches(&db, Duration::MICROSECOND).await;
    // As after a file whose end says so, of an account that was never fetched.
    let fetched: OffsetDateTime =
        db.scalar("SELECT reaches_ours FROM rail_account WHERE reaches_ours < '3000-01-01'").await;
    let by_file = "UPDATE rail_account
                      SET file_reaches = '2999-01-01', reaches_ours = '-infinity'
                    WHERE reaches_ours < '3000-01-01'";
    sqlx::query(by_file).execute(&db.sql).await.unwrap();
    let refused = not_paid(&db, payout, ann).await.unwrap_err();
    assert!(matches!(&refused, HoldError::NotBeforeStatement { .. }), "{refused}");
    let by_rail = "UPDATE rail_account SET reaches_ours = $1 WHERE reaches_ours < '3000-01-01'";
    sqlx::query(by_rail).bind(fetched).execute(&db.sql).await.unwrap();
    assert_eq!(hold(&db).await.not_paid, Some(NotPaid::MayBeSaid));
    assert_eq!(effect(&db, payout, ann).await, Effect::Proposes);
    // The second word is judged anew: another attempt may have become known, or the line.
    db.change("UPDATE attempt SET may_arrive_until = now() + interval '1 hour' WHERE batch_id = $1", batch.0).await;
    assert!(matches!(not_paid(&db, payout, bob).await, Err(HoldError::NotBefore { .. })));
    db.all_is_dead_and_listed().await;
    let news: i64 = db.scalar("SELECT news_no::bigint FROM run").await;
    assert_eq!(effect(&db, payout, bob).await, Effect::Agrees);
    assert!(
        db.scalar::<i64>("SELECT news_no::bigint FROM run").await > news,
        "a verdict may have been written meanwhile"
    );
    assert_eq!(db.states(run).await, "held 1, refused 1");
    db.assert_ledger().await;
    db.drop().await;
}

#[tokio::test]
async fn a_payout_that_the_rail_has_told_of_was_not_not_paid() {
    let db = Db::new().await;
    let (_, run, _) = held_on(&db, "sandbox-file", 1).await;
    let [ann, bob] = [db.approver("ann").await, db.approver("bob").await];
    let payout = db.payouts(run).await[0];
    db.all_is_dead_and_listed().await;
    assert_eq!(effect(&db, payout, ann).await, Effect::Proposes);
    let told = [
        "INSERT INTO statement_line (account_id, content, run_id, payout_id, kind, key, reference, amount_minor,
           currency, destination, source)
         SELECT max(id), gen_random_uuid(), 1, $1, 'paid', 'k', 'bank-7', 1, 'EUR', 'd', 'rail' FROM rail_account",
        "INSERT INTO movement (tenant_id, payout_id, kind, reference, amount_minor, currency, source)
         VALUES (1, $1, 'paid', 'bank-7', 1000, 'EUR', 'statement')",
    ];
    for told in told {
        let mut tx = db.sql.begin().await.unwrap();
        sqlx::query("ALTER TABLE statement_line DISABLE TRIGGER USER").execute(&mut *tx).await.unwrap();
        sqlx::query("DELETE FROM statement_line").execute(&mut *tx).await.unwrap();
        sqlx::query(told).bind(payout.0).execute(&mut *tx).await.unwrap();
        tx.commit().await.unwrap();
        let refused = not_paid(&db, payout, bob).await.unwrap_err();
        assert!(
            matches!(&refused, HoldError::OnStatement { .. }) && refused.to_string().contains("paid bank-7"),
            "{refused}"
        );
    }
    assert_eq!(hold(&db).await.not_paid, Some(NotPaid::OnStatement));
    // Whoever says that it was paid, but by another reference, is told.
    let says = |reference: &str, by| db.store.hold_decide(payout, Decision::Paid(reference.into()), by);
    assert_eq!(says("bank-8", bob).await.unwrap().known, ["paid bank-7"]);
    assert!(says("bank-7", bob).await.unwrap().known.is_empty());
    db.drop().await;
}

/// Of a batch that was split both what was sent of the half and of the whole counts; and of each attempt only that it
/// did nothing excuses it.
#[tokio::test]
async fn every_attempt_counts_that_did_not_provably_do_nothing() {
    let db = Db::new().await;
    let tenant = db.tenant("t", "null", 2).await;
    let run = db.run(tenant, "2026-01", 10).await;
    let whole = db.batches(run).await[0];
    let leased = db.lease(whole).await;
    db.intent(&leased).await;
    db.unfix().await;
    sqlx::query("UPDATE batch SET rail = 'sandbox-payout'").execute(&db.sql).await.unwrap();
    db.store.batch_split(leased.lease).await.unwrap().unwrap();
    let [other, half] = db.batches(run).await[..] else { panic!("two halves") };
    db.change(
        "UPDATE attempt SET opened_at = '2000-01-01', may_arrive_until = '2000-01-02' WHERE batch_id = $1",
        other.0,
    )
    .await;
    let leased = db.lease(half).await;
    db.store.batch_hold(leased.lease, HoldReason::Poison).await.unwrap();
    sqlx::query("UPDATE batch SET rail = 'null'").execute(&db.sql).await.unwrap();
    let ann = db.approver("ann").await;
    let payout = leased.first;
    assert_eq!(hold(&db).await.payout, payout);
    let dead = "UPDATE attempt
                   SET opened_at = opened_at - interval '9 days',
                     may_arrive_until = may_arrive_until - interval '9 days'
                 WHERE batch_id = $1";
    let alive = "UPDATE attempt SET may_arrive_until = now() + interval '9 days' WHERE batch_id = $1";
    db.change(dead, half.0).await;
    assert!(matches!(not_paid(&db, payout, ann).await, Err(HoldError::NotBefore { .. })), "the whole may still arrive");
    db.change(dead, whole.0).await;
    db.change(alive, half.0).await;
    for result in ["NULL", "'unknown'", "'answered'", "'superseded'"] {
        let closed = if result == "NULL" { "NULL" } else { "now()" };
        let sql = format!("UPDATE attempt SET result = {result}, closed_at = {closed} WHERE batch_id = {half}");
        sqlx::query(sqlx::AssertSqlSafe(sql)).execute(&db.sql).await.unwrap();
        assert!(matches!(not_paid(&db, payout, ann).await, Err(HoldError::NotBefore { .. })), "{result}");
        assert!(matches!(hold(&db).await.not_paid, Some(NotPaid::NotBefore(_))), "{result}");
    }
    db.change("UPDATE attempt SET result = 'not_executed', closed_at = now() WHERE batch_id = $1", half.0).await;
    assert_eq!(effect(&db, payout, ann).await, Effect::Proposes);

    // Of the other half, which begins where the whole did, its own attempts are listed.
    sqlx::query("UPDATE batch SET rail = 'sandbox-payout' WHERE id = $1").bind(other.0).execute(&db.sql).await.unwrap();
    let leased = db.lease(other).await;
    db.store.batch_hold(leased.lease, HoldReason::Poison).await.unwrap();
    db.change(alive, other.0).await;
    let holds = db.store.holds_list(Some(run), 10).await.unwrap();
    let listed = holds.iter().find(|hold| hold.payout == leased.first).unwrap();
    assert!(matches!(listed.not_paid, Some(NotPaid::NotBefore(_))), "{listed:?}");
    db.drop().await;
}

#[tokio::test]
async fn a_payout_that_was_never_sent_waits_for_no_statement() {
    let db = Db::new().await;
    let tenant = db.tenant("t", "sandbox-file", 1).await;
    let run = db.run(tenant, "2026-01", 10).await;
    let leased = db.lease(db.batches(run).await[0]).await;
    db.store.batch_hold(leased.lease, HoldReason::Poison).await.unwrap();
    for person in [db.approver("ann").await, db.approver("bob").await] {
        not_paid(&db, leased.first, person).await.unwrap();
    }
    assert_eq!(db.states(run).await, "refused 1");
    db.drop().await;
}

/// What somebody wants held is not in doubt, and is not for two people to find out.
#[tokio::test]
async fn a_control_is_not_decided_by_words() {
    let db = Db::new().await;
    let (_, run, _) = held_on(&db, "sandbox-file", 1).await;
    let ann = db.approver("ann").await;
    db.all_is_dead_and_listed().await;
    for control in ["on_hold", "stopped"] {
        sqlx::query("UPDATE hold SET reason = $1").bind(control).execute(&db.sql).await.unwrap();
        let refused = not_paid(&db, db.payouts(run).await[0], ann).await;
        assert!(matches!(refused, Err(HoldError::Control { reason, .. }) if reason == control));
        assert_eq!(hold(&db).await.not_paid, None);
    }
    db.drop().await;
}

#[tokio::test]
async fn two_different_people_decide_and_a_contradiction_begins_anew() {
    let db = Db::new().await;
    let (_, run, _) = held_on(&db, "sandbox-file", 2).await;
    let [another, payout] = db.payouts(run).await[..] else { panic!("two payouts") };
    let [ann, bob] = [db.approver("ann").await, db.approver("bob").await];
    db.all_is_dead_and_listed().await;
    assert_eq!(effect(&db, payout, ann).await, Effect::Proposes);
    assert_eq!(effect(&db, another, bob).await, Effect::Proposes, "a word is about one payout");
    assert!(matches!(not_paid(&db, payout, ann).await, Err(HoldError::SamePerson(name)) if name == "ann"));

    // With another token she is still the same person.
    let other = token("ann's second");
    db.store.person_replace(token("root"), "ANN ".parse().unwrap(), None, other).await.unwrap();
    assert!(matches!(not_paid(&db, payout, ann).await, Err(HoldError::Who(WhoError::Unknown))));
    assert!(matches!(not_paid(&db, payout, other).await, Err(HoldError::SamePerson(_))));

    let paid = |by| db.store.hold_decide(payout, Decision::Paid("bank-1".into()), by);
    assert_eq!(paid(bob).await.unwrap().effect, Effect::Contradicts);
    assert_eq!(effect(&db, payout, other).await, Effect::Proposes, "neither word is open any more");
    assert_eq!(db.states(run).await, "held 2");
    assert_eq!(effect(&db, payout, bob).await, Effect::Agrees);
    let said: Vec<(String, String)> =
        sqlx::query_as("SELECT says, effect FROM word WHERE subject = 'hold' ORDER BY id")
            .fetch_all(&db.sql)
            .await
            .unwrap();
    let said: Vec<String> = said.into_iter().map(|(says, effect)| format!("{says} {effect}")).collect();
    assert_eq!(
        said,
        ["not_paid proposes", "not_paid proposes", "paid contradicts", "not_paid proposes", "not_paid agrees"]
    );
    assert_eq!(db.states(run).await, "held 1, refused 1");
    db.drop().await;
}

/// Whoever has no say any more has none in what is still open, either.
#[tokio::test]
async fn the_proposal_of_who_has_lost_their_say_is_nobodys() {
    let db = Db::new().await;
    let (_, run, _) = held_on(&db, "sandbox-file", 2).await;
    let [revoked, demoted] = db.payouts(run).await[..] else { panic!("two payouts") };
    let [ann, bob, eve] = [db.approver("ann").await, db.approver("bob").await, db.approver("eve").await];
    db.all_is_dead_and_listed().await;
    for payout in [revoked, demoted] {
        assert_eq!(effect(&db, payout, ann).await, Effect::Proposes);
    }
    db.store.person_revoke(token("root"), "ann".parse().unwrap()).await.unwrap();
    assert_eq!(effect(&db, revoked, bob).await, Effect::Proposes, "hers does not count any more");
    let operator = Some(Role::Operator);
    db.store.person_replace(token("root"), "ann".parse().unwrap(), operator, token("x")).await.unwrap();
    assert_eq!(effect(&db, demoted, bob).await, Effect::Proposes, "nor does an operator's");
    for payout in [revoked, demoted] {
        assert_eq!(effect(&db, payout, eve).await, Effect::Agrees);
    }
    assert_eq!(db.states(run).await, "refused 2");
    db.drop().await;
}

#[tokio::test]
async fn only_approvers_of_the_tenant_or_of_all_decide() {
    let db = Db::new().await;
    let (tenant, run, _) = held_on(&db, "sandbox-file", 1).await;
    let other = db.store.tenant_ensure("u", None).await.unwrap();
    let payout = db.payouts(run).await[0];
    db.all_is_dead_and_listed().await;
    for role in [Role::Viewer, Role::Operator, Role::Administrator] {
        let person = db.person(role.as_str(), role, None).await;
        let refused = not_paid(&db, payout, person).await;
        assert!(matches!(refused, Err(HoldError::Who(WhoError::NotAllowed(NotAllowed::Role { .. })))), "{role}");
    }
    let stranger = db.person("stranger", Role::Approver, Some(other)).await;
    let refused = not_paid(&db, payout, stranger).await;
    assert!(matches!(refused, Err(HoldError::Who(WhoError::NotAllowed(NotAllowed::OtherTenant { .. })))));
    let missing = not_paid(&db, PayoutId(7), stranger).await;
    assert!(matches!(missing, Err(HoldError::NotHeld(_))), "what is not there is nobody's");
    let ours = db.person("ours", Role::Approver, Some(tenant)).await;
    assert_eq!(effect(&db, payout, ours).await, Effect::Proposes);
    let revoked = db.approver("revoked").await;
    db.store.person_revoke(token("root"), "Revoked".parse().unwrap()).await.unwrap();
    assert!(matches!(not_paid(&db, payout, revoked).await, Err(HoldError::Who(WhoError::Revoked(_)))));
    assert!(matches!(not_paid(&db, payout, token("nobody")).await, Err(HoldError::Who(WhoError::Unknown))));
    assert_eq!(db.states(run).await, "held 1");
    let all = db.approver("all").await;
    assert_eq!(effect(&db, payout, all).await, Effect::Agrees);
    db.drop().await;
}

#[tokio::test]
async fn of_two_second_words_at_once_one_counts() {
    let db = Db::new().await;
    let (_, run, batch) = held_on(&db, "sandbox-file", 1).await;
    let payout = db.payouts(run).await[0];
    let [ann, bob, eve] = [db.approver("ann").await, db.approver("bob").await, db.approver("eve").await];
    db.all_is_dead_and_listed().await;
    assert_eq!(effect(&db, payout, ann).await, Effect::Proposes);
    let mut gate = db.sql.begin().await.unwrap();
    sqlx::query("SELECT FROM batch WHERE id = $1 FOR UPDATE").bind(batch.0).execute(&mut *gate).await.unwrap();
    let says = |by| {
        let store = db.store.clone();
        tokio::spawn(async move { store.hold_decide(payout, Decision::NotPaid, by).await })
    };
    let (bob, eve) = (says(bob), says(eve));
    db.until_waiting(2).await;
    gate.commit().await.unwrap();
    let ended = [bob.await.unwrap(), eve.await.unwrap()];
    let agreed = ended.iter().filter(|said| matches!(said, Ok(HoldSaid { effect: Effect::Agrees, .. }))).count();
    let late = ended.iter().filter(|said| matches!(said, Err(HoldError::NotHeld(_)))).count();
    assert_eq!((agreed, late), (1, 1), "{ended:?}");
    db.assert_ledger().await;
    db.drop().await;
}

#[tokio::test]
async fn the_first_person_is_an_administrator_and_one_always_remains() {
    let db = Db::new().await;
    let tenant = db.store.tenant_ensure("t", None).await.unwrap();
    let add = |by: Option<&str>, name: &str, role, tenant| {
        db.store.person_add(by.map(token), name.parse().unwrap(), role, tenant, token(&name.to_lowercase()))
    };
    for (role, tenant) in [(Role::Approver, None), (Role::Administrator, Some(tenant))] {
        assert!(matches!(add(None, "Ann", role, tenant).await, Err(PeopleError::FirstIsAdministrator)));
    }
    // Two at once, neither of whom sees the other's row: one is the first, and the other one needs a token.
    let mut gate = db.sql.begin().await.unwrap();
    sqlx::query("LOCK TABLE person IN EXCLUSIVE MODE").execute(&mut *gate).await.unwrap();
    let at_once = |name: &'static str| {
        let store = db.store.clone();
        tokio::spawn(async move {
            store.person_add(None, name.parse().unwrap(), Role::Administrator, None, token(name)).await
        })
    };
    let (one, two) = (at_once("ann"), at_once("ann2"));
    db.until_waiting(2).await;
    gate.commit().await.unwrap();
    let first = match (one.await.unwrap(), two.await.unwrap()) {
        (Ok(_), Err(PeopleError::NoToken)) => "ann",
        (Err(PeopleError::NoToken), Ok(_)) => "ann2",
        both => panic!("{both:?}"),
    };
    let name = |name: &str| name.parse().unwrap();
    let last = db.store.person_revoke(token(first), name(first)).await;
    assert!(matches!(last, Err(PeopleError::LastAdministrator(_))));
    let demoted = db.store.person_replace(token(first), name(first), Some(Role::Viewer), token("x")).await;
    assert!(matches!(demoted, Err(PeopleError::LastAdministrator(_))));

    add(Some(first), "Chief", Role::Administrator, Some(tenant)).await.unwrap();
    add(Some(first), "Looker", Role::Viewer, None).await.unwrap();
    assert!(matches!(db.store.person_revoke(token(first), name(first)).await, Err(PeopleError::LastAdministrator(_))));
    add(Some("chief"), "Bob", Role::Approver, Some(tenant)).await.unwrap();
    for (by, who, tenant) in [("chief", "Eve", None), ("bob", "Eve", Some(tenant)), ("nobody", "Eve", None)] {
        assert!(matches!(add(Some(by), who, Role::Viewer, tenant).await, Err(PeopleError::Who(_))), "{by}");
    }
    assert!(matches!(db.store.person_revoke(token("chief"), name(first)).await, Err(PeopleError::Who(_))));
    assert!(matches!(add(Some(first), " BOB", Role::Viewer, None).await, Err(PeopleError::NameTaken(_))));
    assert!(matches!(db.store.person_revoke(token(first), name("nobody")).await, Err(PeopleError::NoSuchPerson(_))));

    db.store.person_revoke(token("chief"), name("bob")).await.unwrap();
    assert!(matches!(add(Some(first), "bob", Role::Viewer, None).await, Err(PeopleError::NameTaken(_))), "for ever");
    let back = db.store.person_replace(token(first), name("bob"), Some(Role::Operator), token("new")).await.unwrap();
    assert_eq!((back.name.as_str(), back.role, back.tenant), ("Bob", Role::Operator, Some(tenant)));
    let found = db.store.person_find(token("new")).await.unwrap().unwrap();
    assert_eq!((found.id, found.may(Act::Steer, Some(tenant))), (back.id, Ok(())));

    add(Some(first), "Second", Role::Administrator, None).await.unwrap();
    db.store.person_revoke(token("second"), name(first)).await.unwrap();
    let last = db.store.person_revoke(token("second"), name("second")).await;
    assert!(matches!(last, Err(PeopleError::LastAdministrator(_))), "who was revoked is no administrator");
    let acts: Vec<String> = sqlx::query_scalar("SELECT says FROM word WHERE subject = 'person' ORDER BY id")
        .fetch_all(&db.sql)
        .await
        .unwrap();
    assert_eq!(acts, ["add", "add", "add", "add", "revoke", "replace", "add", "revoke"]);
    let listed: Vec<(String, bool)> = db
        .store
        .people_list()
        .await
        .unwrap()
        .into_iter()
        .map(|row| (row.person.name, row.revoked_at.is_some()))
        .collect();
    assert_eq!(listed.iter().filter(|(_, revoked)| *revoked).count(), 1, "{listed:?}");
    db.drop().await;
}

/// Two administrators revoke each other at once: one of them stays.
#[tokio::test]
async fn the_last_two_administrators_do_not_revoke_each_other() {
    let db = Db::new().await;
    db.person("one", Role::Administrator, None).await;
    db.store.person_revoke(token("one"), "root".parse().unwrap()).await.unwrap();
    db.store
        .person_add(Some(token("one")), "two".parse().unwrap(), Role::Administrator, None, token("two"))
        .await
        .unwrap();
    let revoke = |by, name: &str| db.store.person_revoke(token(by), name.parse().unwrap());
    let (a, b) = tokio::join!(revoke("one", "two"), revoke("two", "one"));
    assert!(a.is_ok() != b.is_ok(), "{a:?} {b:?}");
    db.drop().await;
}

/// On a database that is in use: what two names had decided stays, and what one name had proposed is open again for
/// people.
#[tokio::test]
async fn proposals_by_typed_names_end_with_the_upgrade() {
    let db = Db::new().await;
    let mut old = db.sql.acquire().await.unwrap();
    sqlx::raw_sql("CREATE SCHEMA old; SET search_path = old").execute(&mut *old).await.unwrap();
    for migration in
        [include_str!("../../migrations/0001_init.sql"), include_str!("../../migrations/0002_statements.sql")]
    {
        sqlx::raw_sql(migration).execute(&mut *old).await.unwrap();
    }
    let holds = "INSERT INTO tenant (name) VALUES ('t');
        INSERT INTO hold (tenant_id, run_id, payout_id, reason, proposal, proposed_reference, proposed_by, approved_by,
          resolution, resolved_at)
        VALUES (1, 1, 1, 'r', 'not_paid', NULL, 'Ann', NULL, NULL, NULL),
               (1, 1, 2, 'r', 'paid', 'ref', 'Ann', 'Bob', 'paid', now()),
               (1, 1, 3, 'r', 'not_paid', NULL, 'Ann', NULL, 'evidence', now()),
               (1, 1, 4, 'r', NULL, NULL, NULL, NULL, NULL, NULL)";
    sqlx::raw_sql(holds).execute(&mut *old).await.unwrap();
    sqlx::raw_sql(include_str!("../../migrations/0003_people.sql")).execute(&mut *old).await.unwrap();
    let left: Vec<Option<String>> =
        sqlx::query_scalar("SELECT proposed_by FROM hold ORDER BY id").fetch_all(&mut *old).await.unwrap();
    assert_eq!(left, [None, Some("Ann".to_owned()), Some("Ann".to_owned()), None]);
    let again = sqlx::query("UPDATE hold SET proposal = 'not_paid', proposed_by = 'Ann' WHERE id = 4");
    assert!(again.execute(&mut *old).await.is_err(), "nobody proposes by a name any more");
    old.close().await.unwrap(); // nobody else should look into its schema
    db.drop().await;
}
