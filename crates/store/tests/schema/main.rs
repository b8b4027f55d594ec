//! Every CHECK, key, foreign key and trigger of the schema: something breaks it and nothing else. Read from the
//! catalog, so that none can be added or taken away without a line here.

#![allow(clippy::unwrap_used)]

mod rules;
#[path = "../support/mod.rs"]
mod support;

use std::collections::BTreeSet;

use rules::{IMPLIED, MAY_BE_NULL, ROWS, RULES};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use support::Db;
/// Name, and the statement that takes it away.
const CATALOG: &str = "
  SELECT conname::text, format('ALTER TABLE %s DROP CONSTRAINT %I CASCADE', conrelid::regclass, conname)
    FROM pg_constraint WHERE connamespace = 'public'::regnamespace AND conrelid <> 0
      AND conrelid <> '_sqlx_migrations'::regclass
  UNION ALL
  SELECT c.relname::text, format('DROP INDEX %I', c.relname)
    FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
   WHERE c.relnamespace = 'public'::regnamespace AND i.indisunique
     AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = i.indexrelid)
  UNION ALL
  SELECT tgname::text, format('DROP TRIGGER %I ON %s', tgname, tgrelid::regclass) FROM pg_trigger WHERE NOT tgisinternal
   ORDER BY 1";

/// Carries a statement out, after `first`, and takes all back.
async fn attempt(connection: &mut PgConnection, first: &str, statement: &str) -> Result<u64, sqlx::Error> {
    let mut tx = connection.begin().await.unwrap();
    tx.execute(sqlx::raw_sql(AssertSqlSafe(first.to_owned()))).await.unwrap();
    let done = tx.execute(AssertSqlSafe(statement.to_owned())).await;
    tx.rollback().await.unwrap();
    done.map(|done| done.rows_affected())
}

/// The rule that a statement broke. A trigger of ours is named by its table; of the two that movements have, one is for
/// what may change in a row.
fn broken(error: &sqlx::Error) -> String {
    let error = error.as_database_error().unwrap_or_else(|| panic!("{error}"));
    match (error.constraint(), error.message().split_once(" is append-only: ")) {
        (Some(name), _) => name.to_owned(),
        (None, Some(("movement", "UPDATE is not allowed"))) => "movement_unchanged".to_owned(),
        (None, Some((table, _))) => format!("{table}_append_only"),
        (None, None) => panic!("{error}"),
    }
}

#[tokio::test]
async fn every_rule_of_the_schema_is_needed() {
    let db = Db::new().await;
    let mut connection = db.sql.acquire().await.unwrap();
    sqlx::raw_sql(ROWS).execute(&mut *connection).await.unwrap();
    let catalog: Vec<(String, String)> = sqlx::query_as(CATALOG).fetch_all(&mut *connection).await.unwrap();
    let there: BTreeSet<&str> = catalog.iter().map(|(name, _)| name.as_str()).collect();
    let listed: BTreeSet<&str> =
        RULES.iter().map(|(name, _)| *name).chain(IMPLIED.iter().map(|(name, _)| *name)).collect();
    assert_eq!(there, listed, "the schema and this file list different rules");
    // What never changes may be changed where another rule is asked.
    let fixed: String =
        catalog.iter().filter(|(name, _)| name.ends_with("_fixed")).map(|(_, drop)| format!("{drop};")).collect();
    for (rule, statements) in RULES {
        let (_, drop) = catalog.iter().find(|(name, _)| name == rule).unwrap();
        let others = if rule.ends_with("_fixed") { "" } else { &fixed };
        for statement in *statements {
            let refused = attempt(&mut connection, others, statement).await;
            assert_eq!(broken(&refused.expect_err(statement)), *rule, "{statement}");
            let without = attempt(&mut connection, &format!("{others}{drop}"), statement).await;
            let changed = without.unwrap_or_else(|error| panic!("more than {rule} forbids {statement}: {error}"));
            assert!(changed > 0 || statement.starts_with("TRUNCATE"), "{statement} does nothing");
        }
    }
    // What movement_unchanged lets through: a return that only a file told is confirmed.
    let confirmed = attempt(&mut connection, "", "UPDATE movement SET counts = true WHERE id = 2").await;
    assert_eq!(confirmed.unwrap(), 1);
    println!("{} rules, {} of them implied by others", there.len(), IMPLIED.len());
    drop(connection);
    db.drop().await;
}

#[tokio::test]
async fn what_may_be_null_is_listed() {
    let db = Db::new().await;
    let columns: Vec<String> = sqlx::query_scalar(
        "SELECT c.relname || '.' || a.attname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
          WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND c.relname <> '_sqlx_migrations'
            AND a.attnum > 0 AND NOT a.attisdropped AND NOT a.attnotnull",
    )
    .fetch_all(&db.sql)
    .await
    .unwrap();
    let columns: BTreeSet<&str> = columns.iter().map(String::as_str).collect();
    assert_eq!(columns, MAY_BE_NULL.split_whitespace().collect());
    db.drop().await;
}
