//! What is due is claimed once: which run's it is, and who waits for whom where two claim at once.

use crate::support::{Db, commission_file, paid, refused};
use payfleet_domain::RunId;
use payfleet_store::{CloseVerdict, NewRun, Planned};

#[tokio::test]
async fn a_commission_is_its_tenants_and_the_cutoff_itself_is_in_the_window() {
    let db = Db::new().await;
    let tenant = db.tenant("t", "sandbox-payout", 3).await;
    db.tenant("u", "sandbox-payout", 3).await;
    let new = NewRun { tenant, period: "2026-01".parse().unwrap(), sequence: 1, minimum: "1".parse().unwrap() };
    let (run, _) = db.store.run_create(new).await.unwrap();
    let imported = db.store.commissions_import("t", commission_file("edge", 500, run.cutoff)).await.unwrap();
    assert_eq!(imported.new, 1, "the other tenant's a1 is somebody else");
    let imported = db.store.commissions_import("u", commission_file("edge", 500, run.cutoff)).await.unwrap();
    assert_eq!(imported.new, 1, "and the other way round");
    for of in ["commission", "account"] {
        let strays = format!(
            "SELECT count(*) FROM {of} o JOIN affiliate a ON a.id = o.affiliate_id WHERE a.tenant_id <> o.tenant_id"
        );
        let strays: i64 = sqlx::query_scalar(sqlx::AssertSqlSafe(strays)).fetch_one(&db.sql).await.unwrap();
        assert_eq!(strays, 0, "{of}");
    }
    let late: Option<i32> =
        db.scalar("SELECT late_for FROM commission WHERE external_id = 'edge' AND tenant_id = 1").await;
    assert_eq!(late, Some(2), "known after its window was fixed");
    while db.store.plan_chunk(run.id, 1, 2).await.unwrap() != Planned::Complete {}
    db.store.runs_begin().await.unwrap();
    for batch in db.batches(run.id).await {
        db.pay(batch, paid).await;
    }
    assert_eq!(db.store.run_close(run.id).await.unwrap(), CloseVerdict::Settled, "all chunks are counted");
    db.assert_ledger().await;
    db.drop().await;
}

#[tokio::test]
async fn imports_of_one_tenant_take_turns() {
    let db = Db::new().await;
    db.tenant("t", "sandbox-payout", 1).await;
    db.change("DELETE FROM account WHERE tenant_id = $1", 1).await;
    let mut keeper = db.sql.begin().await.unwrap();
    // Whoever inserts waits: an account's row is made by neither before both have looked for it, unless one waits for
    // the other's end.
    sqlx::query("LOCK TABLE commission IN SHARE MODE").execute(&mut *keeper).await.unwrap();
    let at = time::macros::datetime!(2026-01-20 00:00 UTC);
    let imports = ["one", "two"].map(|id| {
        let store = db.store.clone();
        tokio::spawn(async move { store.commissions_import("t", commission_file(id, 500, at)).await.unwrap().new })
    });
    db.until_waiting(2).await;
    keeper.commit().await.unwrap();
    for import in imports {
        assert_eq!(import.await.unwrap(), 1);
    }
    db.drop().await;
}

/// A run that is made, and of which nothing is planned.
async fn unplanned(db: &Db, tenant: payfleet_domain::TenantId, period: &str) -> RunId {
    let new = NewRun { tenant, period: period.parse().unwrap(), sequence: 1, minimum: "1".parse().unwrap() };
    db.store.run_create(new).await.unwrap().0.id
}

/// Plans the next chunk, on a connection of its own.
fn plan(db: &Db, run: RunId) -> tokio::task::JoinHandle<Result<Planned, payfleet_store::StoreError>> {
    let store = db.store.clone();
    tokio::spawn(async move { store.plan_chunk(run, 10, 10).await })
}

#[tokio::test]
async fn a_run_is_cut_once() {
    let db = Db::new().await;
    let tenant = db.tenant("t", "sandbox-payout", 3).await;
    let run = unplanned(&db, tenant, "2026-01").await;
    // Another coordinator is at it.
    let mut other = db.sql.begin().await.unwrap();
    for statement in [
        "SELECT FROM run WHERE id = $1 FOR NO KEY UPDATE",
        "INSERT INTO plan_chunk (run_id, n, tenant_id, after_affiliate, up_to, first_place, accounts)
         SELECT $1, 1, tenant_id, 0, 1000000, 0, 3 FROM run WHERE id = $1",
    ] {
        sqlx::query(statement).bind(run.0).execute(&mut *other).await.unwrap();
    }
    let planned = plan(&db, run);
    db.until_waiting(1).await;
    other.commit().await.unwrap();
    assert!(matches!(planned.await.unwrap().unwrap(), Planned::Chunk(_)), "what the other has cut");
    assert_eq!(db.payouts(run).await.len(), 3);
    db.drop().await;
}

#[tokio::test]
async fn who_finds_the_last_chunk_planned_by_another_changes_nothing_any_more() {
    let db = Db::new().await;
    let tenant = db.tenant("t", "sandbox-payout", 3).await;
    let run = unplanned(&db, tenant, "2026-01").await;
    assert!(matches!(db.store.plan_chunk(run, 10, 10).await.unwrap(), Planned::Chunk(_)));
    db.change("UPDATE plan_chunk SET is_planned = false WHERE run_id = $1", run.0).await;
    // Another coordinator is at the only chunk; it ends the planning, and the run begins.
    let mut other = db.sql.begin().await.unwrap();
    sqlx::query("UPDATE plan_chunk SET is_planned = true WHERE run_id = $1")
        .bind(run.0)
        .execute(&mut *other)
        .await
        .unwrap();
    let planned = plan(&db, run);
    db.until_waiting(1).await;
    sqlx::query("UPDATE run SET state = 'paying', planned_at = now(), paying_at = now(), payouts = 3 WHERE id = $1")
        .bind(run.0)
        .execute(&mut *other)
        .await
        .unwrap();
    other.commit().await.unwrap();
    assert_eq!(planned.await.unwrap().unwrap(), Planned::Complete);
    assert_eq!(db.scalar::<String>("SELECT state FROM run").await, "paying", "it does not begin again");
    assert_eq!(db.payouts(run).await.len(), 3);
    db.drop().await;
}

#[tokio::test]
async fn what_comes_back_while_it_is_planned_stays_for_the_next_run() {
    let db = Db::new().await;
    let tenant = db.tenant("t", "sandbox-payout", 1).await;
    let first = db.run(tenant, "2026-01", 10).await;
    db.pay(db.batches(first).await[0], refused).await;
    let second = unplanned(&db, tenant, "2026-02").await;
    let mut other = db.sql.begin().await.unwrap();
    sqlx::query("UPDATE account SET carried_minor = carried_minor + 50").execute(&mut *other).await.unwrap();
    let planned = plan(&db, second);
    db.until_waiting(1).await;
    other.commit().await.unwrap();
    assert!(matches!(planned.await.unwrap().unwrap(), Planned::Chunk(_)));
    let of_it: i64 = db.scalar("SELECT amount_minor FROM payout ORDER BY id DESC LIMIT 1").await;
    let carried: i64 = db.scalar("SELECT carried_minor FROM account").await;
    assert_eq!((of_it, carried), (1000, 50));
    db.drop().await;
}
