//! Imports against the rest of the world: a run whose cutoff is being fixed, another import, a reader that gives up.

use crate::support::{Db, commission_file, commission_row, rail};
use payfleet_domain::TenantId;
use payfleet_store::{AffiliateRow, AffiliateRows, AffiliatesTarget, CommissionRows, Feed, ImportError, NewRun, Said};
use sqlx::{Connection, PgConnection};
use time::OffsetDateTime;
use time::macros::datetime;
use tokio::sync::mpsc;

/// When all of it was earned: due in 2026-01.
const EARNED: OffsetDateTime = datetime!(2026-01-20 00:00 UTC);

/// A file of one row.
fn file(id: &str, minor: i64) -> mpsc::Receiver<Feed<CommissionRows>> {
    commission_file(id, minor, EARNED)
}

fn january(tenant: TenantId) -> NewRun {
    NewRun { tenant, period: "2026-01".parse().unwrap(), sequence: 1, minimum: "1".parse().unwrap() }
}

/// Makes every INSERT into a table wait until the returned connection is closed.
async fn gate(db: &Db, table: &str) -> PgConnection {
    let sql = format!(
        "CREATE FUNCTION wait_at_gate() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN PERFORM pg_advisory_xact_lock_shared(42); RETURN NEW; END $$;
         CREATE TRIGGER gate BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION wait_at_gate()"
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&db.sql).await.unwrap();
    let mut keeper = db.sql.acquire().await.unwrap().detach();
    sqlx::query("SELECT pg_advisory_lock(42)").execute(&mut keeper).await.unwrap();
    keeper
}

async fn late_for(db: &Db, id: &str) -> Option<i32> {
    sqlx::query_scalar("SELECT late_for FROM commission WHERE external_id = $1")
        .bind(id)
        .fetch_one(&db.sql)
        .await
        .unwrap()
}

#[tokio::test]
async fn a_cutoff_waits_for_an_import_under_way() {
    let db = Db::new().await;
    let tenant = db.tenant("acme", "null", 1).await;
    let keeper = gate(&db, "commission").await;
    let store = db.store.clone();
    let import = tokio::spawn(async move { store.commissions_import("acme", file("c1", 500)).await });
    db.until_waiting(1).await; // the import, with the shared lock
    let store = db.store.clone();
    let create = tokio::spawn(async move { store.run_create(january(tenant)).await });
    db.until_waiting(2).await; // the run, for the exclusive one
    keeper.close().await.unwrap();
    assert_eq!(import.await.unwrap().unwrap().new, 1);
    let (run, is_new) = create.await.unwrap().unwrap();
    // Known before the cutoff was fixed: in its window.
    assert_eq!((is_new, late_for(&db, "c1").await), (true, None));
    while let payfleet_store::Planned::Chunk(_) = db.store.plan_chunk(run.id, 10, 10).await.unwrap() {}
    assert_eq!(db.store.plan_lines(run.id).await.unwrap()[0].amount_minor, 1500);
    db.drop().await;
}

#[tokio::test]
async fn an_import_waits_for_a_cutoff_that_is_being_fixed() {
    let db = Db::new().await;
    let tenant = db.tenant("acme", "null", 1).await;
    let keeper = gate(&db, "run").await;
    let store = db.store.clone();
    let create = tokio::spawn(async move { store.run_create(january(tenant)).await });
    db.until_waiting(1).await;
    let store = db.store.clone();
    let import = tokio::spawn(async move { store.commissions_import("acme", file("c1", 500)).await });
    db.until_waiting(2).await;
    keeper.close().await.unwrap();
    let (run, _) = create.await.unwrap().unwrap();
    assert_eq!(import.await.unwrap().unwrap().new, 1);
    // Known after: in the next window, and not in this one.
    assert_eq!(late_for(&db, "c1").await, Some(2));
    while let payfleet_store::Planned::Chunk(_) = db.store.plan_chunk(run.id, 10, 10).await.unwrap() {}
    assert_eq!(db.store.plan_lines(run.id).await.unwrap()[0].amount_minor, 1000);
    db.drop().await;
}

#[tokio::test]
async fn two_imports_of_the_same_file_at_once_import_it_once() {
    let db = Db::new().await;
    db.tenant("acme", "null", 1).await;
    let keeper = gate(&db, "commission").await;
    let import = |minor| {
        let store = db.store.clone();
        tokio::spawn(async move { store.commissions_import("acme", file("c1", minor)).await })
    };
    let first = import(500);
    db.until_waiting(1).await;
    let same = import(500);
    db.until_waiting(2).await;
    let other = import(501);
    db.until_waiting(3).await;
    keeper.close().await.unwrap();
    assert_eq!(first.await.unwrap().unwrap().new, 1);
    assert_eq!(same.await.unwrap().unwrap().unchanged, 1);
    let Err(ImportError::Problems { first, total: 1 }) = other.await.unwrap() else { panic!("must be refused") };
    assert_eq!((first[0].line, first[0].field), (2, "amount"));
    db.drop().await;
}

#[tokio::test]
async fn a_reader_that_gives_up_leaves_nothing_behind() {
    let db = Db::new().await;
    db.tenant("acme", "null", 1).await;
    let (sender, receiver) = mpsc::channel(1);
    let store = db.store.clone();
    let import = tokio::spawn(async move { store.commissions_import("acme", receiver).await });
    sender.send(Feed::Rows(commission_row("c1", 500, EARNED))).await.unwrap();
    drop(sender); // without the end
    assert!(matches!(import.await.unwrap(), Err(ImportError::Aborted)));
    let left: i64 = sqlx::query_scalar("SELECT count(*) FROM commission WHERE external_id = 'c1'")
        .fetch_one(&db.sql)
        .await
        .unwrap();
    assert_eq!(left, 0);
    // The connection is fit for the next one.
    assert_eq!(db.store.commissions_import("acme", file("c1", 500)).await.unwrap().new, 1);
    db.drop().await;
}

/// The migration's file once more, on a database as it was before.
#[tokio::test]
async fn limits_of_before_belong_to_the_kind_of_method_and_the_strictest_count() {
    let db = Db::new().await;
    db.tenant("acme", "null", 4).await;
    for sql in [
        "DROP TABLE payout_limit; DROP FUNCTION refuse_old_limit CASCADE;
         UPDATE affiliate SET currency = 'JPY' WHERE external_id = 'a2';
         INSERT INTO payout_method (tenant_id, affiliate_id, method, destination, priority)
         SELECT tenant_id, affiliate_id, m, destination || '2', p
           FROM payout_method, (VALUES ('paypal', 1), ('sepa', 2)) AS more (m, p);
         UPDATE payout_method SET min_minor = 20, max_minor = 50 WHERE affiliate_id IN (1, 2) AND priority = 0;
         UPDATE payout_method SET min_minor = 51 WHERE affiliate_id = 1 AND priority = 1;
         UPDATE payout_method SET min_minor = 7 WHERE affiliate_id = 1 AND priority = 2;
         UPDATE payout_method SET max_minor = 40 WHERE affiliate_id = 2 AND priority = 1;
         UPDATE payout_method SET max_minor = 9, retired_at = now() WHERE affiliate_id = 3",
        include_str!("../../migrations/0005_limits_and_bounds.sql").split("\n-- An account").next().unwrap(),
    ] {
        sqlx::raw_sql(sql).execute(&db.sql).await.unwrap();
    }
    let limits: Vec<String> = sqlx::query_scalar(
        "SELECT concat_ws(' ', affiliate_id, method, currency, coalesce(min_minor, 0), coalesce(max_minor, 0))
           FROM payout_limit
          ORDER BY 1",
    )
    .fetch_all(&db.sql)
    .await
    .unwrap();
    assert_eq!(limits, ["1 paypal EUR 20 50", "1 sepa EUR 7 0", "2 paypal JPY 20 40"]);
    db.drop().await;
}

/// A file puts somebody on hold whose intent is being written: the import waits for it, and says that the payout may be
/// on its way.
#[tokio::test]
async fn a_hold_by_file_says_what_may_be_on_its_way() {
    let db = Db::new().await;
    let tenant = db.tenant("t", "sandbox-payout", 2).await;
    let run = db.run(tenant, "2026-01", 2).await;
    let leased = db.lease(db.batches(run).await[0]).await;
    let mut gate = gate(&db, "attempt").await;
    let store = db.store.clone();
    let intent =
        tokio::spawn(async move { store.intent_write(leased.lease, "w", rail(&leased.rail), false).await.unwrap() });
    db.until_waiting(1).await;
    let mut rows = AffiliateRows::default();
    rows.push(&AffiliateRow {
        line: 2,
        id: "a1",
        name: "",
        email: "",
        country: "",
        currency: "EUR".parse().unwrap(),
        on_hold: Some(true),
        method: Said::Nothing,
        priority: 0,
        min: Said::Nothing,
        max: Said::Nothing,
    });
    let (sender, receiver) = mpsc::channel(2);
    sender.try_send(Feed::Rows(rows)).unwrap();
    sender.try_send(Feed::End).unwrap();
    let store = db.store.clone();
    let target = AffiliatesTarget { tenant: "t".to_owned(), hold_days: None, kinds: Default::default() };
    let import = tokio::spawn(async move { store.affiliates_import(target, receiver).await.unwrap() });
    while !import.is_finished() && db.waiting().await < 2 {
        tokio::task::yield_now().await;
    }
    sqlx::query("SELECT pg_advisory_unlock_all()").execute(&mut gate).await.unwrap();
    assert_eq!(intent.await.unwrap().unwrap().orders.len(), 2);
    let controls = import.await.unwrap().controls.unwrap();
    assert_eq!((controls.holds_set, controls.perhaps_sent), (1, 1));
    db.drop().await;
}
