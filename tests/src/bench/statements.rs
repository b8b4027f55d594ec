//! Counting statements, by pg_stat_statements. On only where it is asked for: it costs some.

use sqlx::Row;

use super::report::Statement;
use super::site::Site;

/// How many are listed.
const LISTED: i32 = 15;

/// Counts from now on what new sessions of this database do.
pub async fn counted(site: &Site, database: &str) {
    let begin =
        format!("ALTER DATABASE {database} SET pg_stat_statements.track = 'top'; SELECT pg_stat_statements_reset();");
    site.execute("postgres", &begin).await;
}

/// New sessions are not counted any more.
pub async fn not_counted(site: &Site, database: &str) {
    site.execute("postgres", &format!("ALTER DATABASE {database} RESET pg_stat_statements.track")).await;
}

/// How many there were.
pub async fn calls(site: &Site, database: &str) -> i64 {
    let calls = sqlx::query_scalar(
        "SELECT coalesce(sum(calls), 0)::bigint
           FROM pg_stat_statements s JOIN pg_database d ON d.oid = s.dbid
          WHERE d.datname = $1",
    );
    calls.bind(database).fetch_one(&site.admin).await.expect("statements are counted")
}

/// How long they took in all, in milliseconds.
pub async fn millis(site: &Site, database: &str) -> f64 {
    let millis = sqlx::query_scalar(
        "SELECT coalesce(sum(total_exec_time), 0)::float8
           FROM pg_stat_statements s JOIN pg_database d ON d.oid = s.dbid
          WHERE d.datname = $1",
    );
    millis.bind(database).fetch_one(&site.admin).await.expect("statements are counted")
}

/// Those that took the most time.
pub async fn top(site: &Site, database: &str, case: &'static str) -> Vec<Statement> {
    let rows = sqlx::query(
        "SELECT sum(calls)::bigint AS calls, sum(total_exec_time) AS millis, sum(wal_bytes)::bigint AS wal_bytes, query
           FROM pg_stat_statements s JOIN pg_database d ON d.oid = s.dbid WHERE d.datname = $1
          GROUP BY query ORDER BY millis DESC LIMIT $2",
    );
    let rows = rows.bind(database).bind(LISTED).fetch_all(&site.admin).await.expect("statements are counted");
    let statement = |row: &sqlx::postgres::PgRow| Statement {
        case,
        calls: row.get("calls"),
        millis: row.get("millis"),
        wal_bytes: row.get("wal_bytes"),
        query: row.get("query"),
    };
    rows.iter().map(statement).collect()
}
