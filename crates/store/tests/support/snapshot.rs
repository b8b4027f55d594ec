//! A copy of what is in a database, to begin again from.

use sqlx::{AssertSqlSafe, Executor, PgPool};

/// Copies all tables but those that stay as they are. Returns the statements that bring the copies back: a function of
/// the database, so that two hundred small statements are planned once and not each time.
pub async fn save(sql: &PgPool, fixed: &[&str]) -> String {
    let tables: Vec<(String, String)> = sqlx::query_as(
        "SELECT c.relname::text, string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum)
           FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
          WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND a.attnum > 0 AND a.attgenerated = ''
            AND NOT a.attisdropped
            AND c.relname <> ALL($1) GROUP BY c.relname",
    )
    .bind(fixed)
    .fetch_all(sql)
    .await
    .unwrap();
    let mut restore = String::new();
    let mut save = "CREATE SCHEMA saved;".to_owned();
    for (table, columns) in tables {
        save += &format!("CREATE TABLE saved.{table} AS SELECT {columns} FROM public.{table};");
        restore += &format!("DELETE FROM public.{table};");
        restore += &format!(
            "INSERT INTO public.{table} ({columns}) OVERRIDING SYSTEM VALUE SELECT {columns} FROM saved.{table};"
        );
    }
    save += &format!(
        "CREATE FUNCTION saved.restore() RETURNS void LANGUAGE plpgsql AS $restore$
         #variable_conflict use_column
         BEGIN {restore} END $restore$;"
    );
    sql.execute(AssertSqlSafe(save)).await.unwrap();
    "SET session_replication_role = replica; SELECT saved.restore();".to_owned()
}
