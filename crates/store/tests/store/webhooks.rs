//! What rails say unasked is kept once and makes the batch due that it names; and the role that writes it can do no
//! more than that.

use std::sync::Arc;

use payfleet_domain::{BatchId, Outcome, Reference, RunId};
use payfleet_store::{NamedPayment, NewNotice, PaymentName, Store};
use sqlx::{AssertSqlSafe, PgPool};

use crate::support::{Db, accepted, paid};

const ROLE: &str = include_str!("../../../../deploy/gateway-role.sql");

fn notice(event: &str, signed: u8, body: &str) -> NewNotice {
    NewNotice {
        rail: "paypal",
        account: "t".into(),
        event: event.to_owned(),
        kind: "PAYMENT.PAYOUTSBATCH.SUCCESS".to_owned(),
        signed: [signed; 32],
        body: body.as_bytes().to_vec(),
    }
}

fn named(rail: &'static str, account: &str, name: PaymentName) -> NamedPayment {
    NamedPayment { rail, account: account.into(), name }
}

fn reference(name: &str) -> PaymentName {
    PaymentName::Reference(name.to_owned())
}

async fn keep(store: &Store, notices: &[NewNotice]) -> Vec<bool> {
    store.notices_keep(Arc::new(notices.to_vec())).await.unwrap()
}

/// A run of six payouts at PayPal, in three batches of which the first two are accepted, as `b-1` and `b-2`.
async fn sent(db: &Db) -> (RunId, Vec<BatchId>) {
    let tenant = db.tenant("t", "paypal", 6).await;
    let run = db.run(tenant, "2026-01", 2).await;
    let batches = db.batches(run).await;
    for (batch, name) in batches.iter().zip(["b-1", "b-2"]) {
        db.pay(*batch, |_| Outcome::Accepted(Reference(name.to_owned()))).await;
        // Its worker would look at it in an hour.
        let later = "UPDATE batch SET available_at = clock_timestamp() + interval '1 hour', available_in = '1 hour'
                      WHERE id = $1";
        db.change(later, batch.0).await;
    }
    (run, batches)
}

#[tokio::test]
async fn a_notice_is_kept_once_by_its_name_and_by_what_was_signed() {
    let db = Db::new().await;
    assert_eq!(keep(&db.store, &[notice("e1", 1, "one"), notice("e2", 2, "two")]).await, [true, true]);
    assert_eq!(keep(&db.store, &[notice("e2", 3, "other"), notice("e3", 3, "three")]).await, [false, true]);
    // Under another name, as whoever heard it could send it; and twice in one go.
    assert_eq!(keep(&db.store, &[notice("e4", 1, "forged")]).await, [false]);
    assert_eq!(keep(&db.store, &[notice("e5", 5, "five"), notice("e5", 5, "five")]).await, [true, false]);
    // Another account has events of its own.
    let other = NewNotice { account: "u".into(), ..notice("e1", 1, "one") };
    assert_eq!(keep(&db.store, &[other]).await, [true]);
    let kept: String = db
        .scalar(
            "SELECT string_agg(account || ' ' || event || ' ' || convert_from(body, 'UTF8'), ', '
                             ORDER BY account, event) FROM notice",
        )
        .await;
    assert_eq!(kept, "t e1 one, t e2 two, t e3 three, t e5 five, u e1 one");
    assert_eq!(keep(&db.store, &[]).await, [false; 0]);
    db.drop().await;
}

#[tokio::test]
async fn gateways_that_hear_the_same_at_once_keep_it_once() {
    let db = Db::new().await;
    let notices: Vec<NewNotice> = (0..200).map(|n| notice(&format!("e{n:03}"), n as u8, "x")).collect();
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..8_usize {
        let (store, mut mine) = (db.store.clone(), notices.clone());
        mine.rotate_left(task * 25);
        if task % 2 == 0 {
            mine.reverse();
        }
        tasks.spawn(async move {
            let mut new = 0;
            for group in mine.chunks(7) {
                new += keep(&store, group).await.into_iter().filter(|is_new| *is_new).count();
            }
            new
        });
    }
    assert_eq!(tasks.join_all().await.iter().sum::<usize>(), 200, "each is news to one of them");
    assert_eq!(db.scalar::<i64>("SELECT count(*) FROM notice").await, 200);
    db.drop().await;
}

#[tokio::test]
async fn a_name_leads_to_the_open_batch_of_its_rail_and_account() {
    let db = Db::new().await;
    let (run, batches) = sent(&db).await;
    let payouts = db.payouts(run).await;
    let of = async |names: &[NamedPayment]| {
        let mut found = db.store.notices_batches(names.to_vec()).await.unwrap();
        found.sort_unstable();
        found
    };
    let payout = |index: usize| PaymentName::Payout(payouts[index]);
    let names = [
        named("paypal", "t", payout(3)),
        named("paypal", "t", reference("b-1")),
        named("paypal", "t", reference("b-3")),
        named("paypal", "u", reference("b-1")),
        named("wise", "t", payout(0)),
        named("paypal", "t", payout(1)),
        // Of the batch that is ready.
        named("paypal", "t", payout(4)),
    ];
    assert_eq!(of(&names).await, [(0, batches[1]), (1, batches[0]), (5, batches[0])]);
    assert_eq!(of(&[]).await, []);
    // What was perhaps sent is open too; its reference is not known yet.
    let leased = db.lease(batches[2]).await;
    db.intent(&leased).await;
    assert_eq!(of(&[named("paypal", "t", payout(5))]).await, [(0, batches[2])]);
    // What is done is not.
    db.expire_lease(batches[0]).await;
    let leased = db.lease(batches[0]).await;
    let report = payfleet_store::Report {
        batch: batches[0],
        epoch: leased.lease.epoch,
        attempt: None,
        outcomes: payouts[..2].iter().map(|payout| (*payout, paid(*payout))).collect(),
        unanswered: false,
        refused_whole: false,
        available_in: std::time::Duration::ZERO,
        release: true,
    };
    db.store.outcomes_record(Arc::new(report)).await.unwrap();
    assert_eq!(of(&[named("paypal", "t", payout(0)), named("paypal", "t", reference("b-1"))]).await, []);
    db.drop().await;
}

#[tokio::test]
async fn a_batch_is_due_at_once_and_one_that_is_worked_on_afterwards() {
    let db = Db::new().await;
    let (_, batches) = sent(&db).await;
    assert!(db.try_lease(batches[0]).await.is_none(), "it is not due");
    let woken = db.store.notices_wake(batches.clone()).await.unwrap();
    assert_eq!(
        (woken.get(&batches[0]), woken.get(&batches[1]), woken.get(&batches[2])),
        (Some(&true), Some(&true), None)
    );
    let leased = db.lease(batches[0]).await;
    let woken = db.store.notices_wake(vec![batches[0]]).await.unwrap();
    assert_eq!(woken.get(&batches[0]), Some(&false), "somebody works on it");
    db.store.lease_release(leased.lease, std::time::Duration::from_secs(3600)).await.unwrap();
    assert!(db.try_lease(batches[0]).await.is_none());
    // A lock is waited for by nobody.
    let mut lock = db.sql.begin().await.unwrap();
    sqlx::query("SELECT FROM batch WHERE id = $1 FOR UPDATE").bind(batches[0].0).execute(&mut *lock).await.unwrap();
    assert_eq!(db.store.notices_wake(vec![batches[0]]).await.unwrap().get(&batches[0]), Some(&false));
    lock.rollback().await.unwrap();
    assert_eq!(db.store.notices_wake(vec![batches[0]]).await.unwrap().get(&batches[0]), Some(&true));
    assert!(db.try_lease(batches[0]).await.is_some());
    db.drop().await;
}

/// A login that has the gateway's role, and what is left to do at the end.
async fn gateway(db: &Db) -> (Store, PgPool, String) {
    sqlx::raw_sql(ROLE).execute(&db.sql).await.unwrap();
    sqlx::raw_sql(ROLE).execute(&db.sql).await.expect("a second time");
    let name = format!("gateway_{}", uuid::Uuid::new_v4().simple());
    let create = format!("CREATE ROLE {name} LOGIN PASSWORD 'x' IN ROLE payfleet_gateway");
    sqlx::query(AssertSqlSafe(create)).execute(&db.sql).await.unwrap();
    let database: String = db.scalar("SELECT current_database()::text").await;
    let server = std::env::var("PAYFLEET_TEST_POSTGRES").unwrap();
    let (_, place) = server.split_once('@').expect("a URL with a user");
    let url = format!("postgres://{name}:x@{}/{database}", place.rsplit_once('/').unwrap().0);
    (Store::connect(&url, 2).await.unwrap(), PgPool::connect(&url).await.unwrap(), name)
}

#[tokio::test]
async fn the_gateways_role_keeps_notices_and_wakes_batches_and_can_do_nothing_else() {
    let db = Db::new().await;
    let (run, batches) = sent(&db).await;
    let payouts = db.payouts(run).await;
    let (store, sql, name) = gateway(&db).await;
    store.schema_check().await.unwrap();
    assert_eq!(keep(&store, &[notice("e1", 1, "x")]).await, [true]);
    let found = store.notices_batches(vec![named("paypal", "t", PaymentName::Payout(payouts[0]))]).await.unwrap();
    assert_eq!(found, [(0, batches[0])]);
    assert_eq!(store.notices_wake(vec![batches[0]]).await.unwrap().get(&batches[0]), Some(&true));

    // Every table, column, view and sequence, by what the server itself says.
    let may: Vec<String> = sqlx::query_scalar(
        "SELECT c.relname || ' ' || p.privilege
           FROM pg_class c, unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER'])
             AS p (privilege)
          WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
            AND (has_table_privilege(current_user, c.oid, p.privilege)
              OR p.privilege IN ('SELECT', 'INSERT', 'UPDATE', 'REFERENCES')
                 AND has_any_column_privilege(current_user, c.oid, p.privilege))
          ORDER BY 1",
    )
    .fetch_all(&sql)
    .await
    .unwrap();
    assert_eq!(may, ["_sqlx_migrations SELECT", "schema_serves SELECT"]);
    let may: Vec<String> = sqlx::query_scalar(
        "SELECT p.proname::text FROM pg_proc p
          WHERE p.pronamespace = 'public'::regnamespace AND p.prorettype <> 'trigger'::regtype
            AND has_function_privilege(current_user, p.oid, 'EXECUTE') ORDER BY 1",
    )
    .fetch_all(&sql)
    .await
    .unwrap();
    assert_eq!(may, ["notices_batches", "notices_keep", "notices_wake"], "whatever is added must be kept from all");
    // And by trying.
    for statement in [
        "SELECT destination FROM payout_method",
        "SELECT body FROM notice",
        "SELECT amount_minor FROM payout",
        "SELECT token_hash FROM person",
        "UPDATE payout SET state = 'paid', reference = 'x', settled_at = now()",
        "UPDATE batch SET available_at = now()",
        "INSERT INTO transfer (payout_id, amount_minor, tenant_id, kind, currency) VALUES (1, 1, 1, 0, 'EUR')",
        "DELETE FROM notice",
        "CREATE TABLE public.batch2 (id bigint)",
        "CREATE FUNCTION public.f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "SET ROLE postgres",
    ] {
        let told = sqlx::query(statement).execute(&sql).await.expect_err(statement);
        assert_eq!(told.as_database_error().and_then(|error| error.code()).as_deref(), Some("42501"), "{statement}");
    }
    // A table of its own that has the name of ours is not what the functions write to.
    let mut session = sql.acquire().await.unwrap();
    sqlx::raw_sql(
        "CREATE TEMP TABLE notice (rail text, account text, event text, kind text, signed bytea, body bytea)",
    )
    .execute(&mut *session)
    .await
    .unwrap();
    sqlx::query("SELECT * FROM notices_keep('{paypal}', '{t}', '{e2}', '{k}', ARRAY[sha256('2')], ARRAY['x'::bytea])")
        .execute(&mut *session)
        .await
        .unwrap();
    sqlx::query("DROP TABLE pg_temp.notice").execute(&mut *session).await.unwrap();
    drop(session);
    assert_eq!(db.scalar::<i64>("SELECT count(*) FROM notice").await, 2);
    // Whoever has not the role may not call them either.
    let stranger = format!("stranger_{}", uuid::Uuid::new_v4().simple());
    sqlx::query(AssertSqlSafe(format!("CREATE ROLE {stranger}"))).execute(&db.sql).await.unwrap();
    let mut session = db.sql.acquire().await.unwrap();
    sqlx::query(AssertSqlSafe(format!("SET ROLE {stranger}"))).execute(&mut *session).await.unwrap();
    let told = sqlx::query("SELECT * FROM notices_wake('{1}')").execute(&mut *session).await.unwrap_err();
    assert_eq!(told.as_database_error().and_then(|error| error.code()).as_deref(), Some("42501"));
    sqlx::query("RESET ROLE").execute(&mut *session).await.unwrap();
    drop(session);

    store.close().await;
    sql.close().await;
    sqlx::query(AssertSqlSafe(format!("DROP ROLE {name}, {stranger}"))).execute(&db.sql).await.unwrap();
    db.drop().await;
}

#[tokio::test]
async fn one_reference_finds_its_batch_among_many() {
    let db = Db::new().await;
    let tenant = db.tenant("t", "paypal", 300).await;
    let run = db.run(tenant, "2026-01", 50).await;
    let batches = db.batches(run).await;
    for batch in &batches {
        db.pay(*batch, accepted).await;
    }
    let payouts = db.payouts(run).await;
    let Outcome::Accepted(Reference(name)) = accepted(payouts[123]) else { panic!("it is accepted") };
    let found = db.store.notices_batches(vec![named("paypal", "t", reference(&name))]).await.unwrap();
    let of: i64 = sqlx::query_scalar("SELECT id FROM batch WHERE $1 BETWEEN first_payout_id AND last_payout_id")
        .bind(payouts[123].0)
        .fetch_one(&db.sql)
        .await
        .unwrap();
    assert_eq!(found, [(0, BatchId(of))]);
    db.drop().await;
}
