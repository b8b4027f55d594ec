//! A database of the first release with a run in progress is brought to this schema, and the run goes on to its end.

use crate::support::{Db, paid, rail};
use payfleet_domain::{BatchState, NextStep, RunId, next_step};
use payfleet_store::{CloseVerdict, SchemaState, StoreError};
use sqlx::PgPool;
use sqlx::migrate::Migrator;

/// The migrations up to this one, as the driver itself reads the folder.
async fn migrate_to(version: i64, sql: &PgPool) {
    let folder = std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations"));
    Migrator::new(folder).await.unwrap().run_to(version, sql).await.unwrap();
}

/// What the programs of the first release (commit e2e52b8) had written: batch 1 is paid, batch 2 was perhaps sent when
/// its worker died, batch 3 is ready, and a bank has taken batch 4, which those programs would look at again in ten
/// years.
const IN_PROGRESS: &str = "
  INSERT INTO tenant (name) VALUES ('t');
  INSERT INTO tenant_rail VALUES (1, 'paypal', 'sandbox-payout', 't', NULL), (1, 'sepa', 'sandbox-file', 't', NULL);
  INSERT INTO affiliate (tenant_id, external_id, name, email, country, currency)
  SELECT 1, 'a' || n, 'n', 'e', 'DE', 'EUR' FROM generate_series(1, 8) AS n;
  INSERT INTO payout_method (tenant_id, affiliate_id, method, destination)
  SELECT 1, id, CASE WHEN id > 6 THEN 'sepa' ELSE 'paypal' END, external_id || '@example.com' FROM affiliate
    ORDER BY id;
  INSERT INTO account (tenant_id, affiliate_id, currency) SELECT 1, id, 'EUR' FROM affiliate;
  INSERT INTO commission (tenant_id, external_id, affiliate_id, currency, amount_minor, earned_at, due_at, kind,
    order_ref)
  SELECT 1, 'c' || id, id, 'EUR', 1000, '2026-01-15T12:00:00Z', '2026-01-15T12:00:00Z', 'sale', '' FROM affiliate;
  INSERT INTO run (tenant_id, period, sequence, ordinal, cutoff, minimum, state, payouts, planned_at, paying_at)
  VALUES (1, '2026-01', 1, 1, '2026-02-01T00:00:00Z', 1, 'paying', 8, clock_timestamp(), clock_timestamp());
  INSERT INTO plan_chunk VALUES (1, 1, 1, 0, 8, 0, 8, true);
  INSERT INTO run_plan VALUES (1, 1, 'EUR', 'pay', 8, 8000);
  INSERT INTO payout (id, run_id, affiliate_id, method_id, amount_minor, carried_minor, tenant_id, currency)
  SELECT (1::bigint << 32) + a.id - 1, 1, a.id, m.id, 1000, 0, 1, 'EUR' FROM affiliate a JOIN payout_method m
    ON m.affiliate_id = a.id;
  INSERT INTO transfer (payout_id, kind, tenant_id, amount_minor, currency) SELECT id, 0, 1, 1000, 'EUR' FROM payout;
  INSERT INTO batch (tenant_id, run_id, rail, account, currency, first_payout_id, last_payout_id, payouts, amount_minor)
  SELECT 1, 1, CASE n WHEN 3 THEN 'sandbox-file'
    ELSE 'sandbox-payout' END, 't', 'EUR', (1::bigint << 32) + 2 * n, (1::bigint << 32) + 2 * n + 1, 2, 2000
    FROM generate_series(0, 3) AS n;
  INSERT INTO attempt (batch_id, n, tenant_id, epoch, worker, opened_at, may_arrive_until, closed_at, result)
  SELECT id, 1, 1, 1, 'old', clock_timestamp(), clock_timestamp() + interval '90 seconds',
         CASE id WHEN 2 THEN NULL ELSE clock_timestamp() END, CASE id WHEN 2 THEN NULL ELSE 'answered' END FROM batch
           WHERE id <> 3;
  UPDATE batch SET state = 'done', closed_at = clock_timestamp(), attempt = 1, lease_epoch = 1,
    first_sent_at = clock_timestamp() WHERE id = 1;
  UPDATE batch SET state = 'sending', attempt = 1, lease_epoch = 1, first_sent_at = clock_timestamp(),
    lease_until = clock_timestamp() - interval '1 second',
         lease_owner = 'old', stalled_leases = 1 WHERE id = 2;
  UPDATE batch SET state = 'accepted', attempt = 1, lease_epoch = 1, first_sent_at = clock_timestamp(),
    available_at = clock_timestamp() + interval '10 years'
   WHERE id = 4;
  UPDATE payout SET state = 'paid', reference = 'po-' || id, settled_at = clock_timestamp() WHERE affiliate_id <= 2;
  INSERT INTO transfer (payout_id, kind, tenant_id, amount_minor, currency) SELECT id, 2, 1, 1000, 'EUR' FROM payout
    WHERE affiliate_id <= 2;
  UPDATE payout SET state = 'accepted', reference = 'receipt' WHERE affiliate_id > 6;";

async fn first_release(sql: &PgPool) {
    migrate_to(1, sql).await;
    sqlx::raw_sql(IN_PROGRESS).execute(sql).await.unwrap();
}

#[tokio::test]
async fn a_run_of_the_first_release_goes_on_to_its_end() {
    let db = Db::empty().await;
    first_release(&db.sql).await;
    let stale = db.store.schema_check().await.unwrap_err();
    assert!(matches!(stale, StoreError::Schema(SchemaState::Older { database: 1, .. })), "{stale}");
    assert!(db.store.schema_migrate().await.unwrap());
    assert!(!db.store.schema_migrate().await.unwrap());
    assert_eq!(db.store.schema_state().await.unwrap(), SchemaState::Current);

    let run = RunId(1);
    crate::views::assert_outcomes(&db, run).await;
    let [_, sent, ready, taken] = db.batches(run).await[..] else { panic!("four batches") };
    let again = db.lease(sent).await;
    assert_eq!(next_step(rail(&again.rail), &again.facts), NextStep::Submit, "under the same key");
    let intent = db.intent(&again).await;
    assert_eq!(db.record(&again, &intent, paid).await.state, BatchState::Done);
    assert_eq!(db.pay(ready, paid).await.state, BatchState::Done);
    let waits = db.lease(taken).await;
    let NextStep::AwaitStatement(until) = next_step(rail(&waits.rail), &waits.facts) else {
        panic!("{:?}", waits.facts)
    };
    assert_eq!(until, waits.facts.first_sent_at.unwrap() + rail("sandbox-file").news_within);
    for (n, payout) in db.payouts(run).await[6..].iter().enumerate() {
        db.line_read("sandbox-file", db.line(*payout, &format!("bank-{n}")).await).await;
    }
    assert_eq!(db.states(run).await, "paid 8");
    crate::views::assert_outcomes(&db, run).await;
    assert_eq!(db.store.run_close(run).await.unwrap(), CloseVerdict::Settled);
    db.assert_ledger().await;
    db.drop().await;
}

/// What a version wrote that kept destinations in small letters is compared as the kind of its method says, and sent as
/// it is.
#[tokio::test]
async fn destinations_that_are_there_are_compared_by_kind() {
    let db = Db::empty().await;
    migrate_to(15, &db.sql).await;
    sqlx::raw_sql(
        "INSERT INTO tenant (name) VALUES ('t');
         INSERT INTO affiliate (tenant_id, external_id, name, email, country, currency)
         SELECT 1, 'a' || n, 'n', 'e', 'DE', 'EUR' FROM generate_series(1, 4) AS n;
         INSERT INTO payout_method (tenant_id, affiliate_id, method, destination, priority) VALUES
         (1, 1, 'iban', 'nl91 abna 0417 1643 00', 0), (1, 2, 'bank', 'de44500105175407324931', 0),
         -- One account twice, which no version has seen before.
         (1, 2, 'bank', 'de44 5001 0517 5407 3249 31', 1),
         (1, 3, 'sepa', 'DE44500105175407324931', 0), (1, 4, 'btc', '1mixedcase', 0)",
    )
    .execute(&db.sql)
    .await
    .unwrap();
    assert!(db.store.schema_migrate().await.unwrap());
    let rows: Vec<(String, String)> =
        sqlx::query_as("SELECT destination, coalesce(compared, destination) FROM payout_method ORDER BY id")
            .fetch_all(&db.sql)
            .await
            .unwrap();
    let rows: Vec<(&str, &str)> = rows.iter().map(|(sent, compared)| (sent.as_str(), compared.as_str())).collect();
    assert_eq!(
        rows,
        [
            ("nl91 abna 0417 1643 00", "NL91ABNA0417164300"),
            ("de44500105175407324931", "DE44500105175407324931"),
            ("de44 5001 0517 5407 3249 31", "de44 5001 0517 5407 3249 31"),
            ("DE44500105175407324931", "DE44500105175407324931"),
            ("1mixedcase", "1mixedcase"),
        ]
    );
    db.drop().await;
}

#[tokio::test]
async fn programs_go_on_on_a_newer_schema_that_serves_them_and_on_no_other() {
    let db = Db::new().await;
    let newest: i64 = db.scalar("SELECT max(version) FROM _sqlx_migrations").await;
    sqlx::raw_sql(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
         VALUES (9001, 'later', true, '\\x01', 0)",
    )
    .execute(&db.sql)
    .await
    .unwrap();
    assert_eq!(db.store.schema_state().await.unwrap(), SchemaState::Newer { database: 9001, program: newest });
    db.store.schema_check().await.unwrap();
    assert!(!db.store.schema_migrate().await.unwrap(), "there is nothing to do for this program");
    sqlx::raw_sql("INSERT INTO schema_serves (serves_from) VALUES (9001)").execute(&db.sql).await.unwrap();
    let told = db.store.schema_check().await.unwrap_err().to_string();
    assert!(told.contains("serves programs from version 9001 on"), "{told}");
    assert!(db.store.schema_migrate().await.is_err());
    sqlx::raw_sql("UPDATE _sqlx_migrations SET checksum = '\\x02' WHERE version = 3").execute(&db.sql).await.unwrap();
    let told = db.store.schema_check().await.unwrap_err().to_string();
    assert!(told.contains("migration 3 is not the one"), "{told}");
    db.drop().await;
}
