//! The database's clock, as the programs see it: functions that stand before those of the system on their search path
//! and add what one row says.

use std::net::SocketAddr;
use std::time::Duration;

use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;

const SIMULATED: &str = "
CREATE SCHEMA sim;
CREATE TABLE sim.clock (ahead interval NOT NULL);
INSERT INTO sim.clock VALUES ('0');
CREATE FUNCTION sim.clock_timestamp() RETURNS timestamptz VOLATILE LANGUAGE sql AS
  'SELECT pg_catalog.clock_timestamp() + ahead FROM sim.clock';
CREATE FUNCTION sim.now() RETURNS timestamptz STABLE LANGUAGE sql AS 'SELECT pg_catalog.now() + ahead FROM sim.clock';
-- What a column is given by default was bound to the system's functions when the table was made.
DO $$
DECLARE bound record;
BEGIN
  FOR bound IN SELECT d.adrelid::regclass AS relation, a.attname, pg_get_expr(d.adbin, d.adrelid) AS expression
                 FROM pg_attrdef d JOIN pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum
                WHERE pg_get_expr(d.adbin, d.adrelid) IN ('clock_timestamp()', 'now()')
  LOOP
    EXECUTE format('ALTER TABLE %s ALTER COLUMN %I SET DEFAULT sim.%s',
                   bound.relation, bound.attname, bound.expression);
  END LOOP;
END $$;
";

/// Puts the simulated clock in. The schema must be there.
pub async fn install(database: &PgPool) {
    sqlx::raw_sql(SIMULATED).execute(database).await.expect("the clock can be put in");
}

/// The URL by which a program sees the simulated clock. That the system's schema is named makes it the second.
pub fn url(address: SocketAddr) -> String {
    format!("postgres://postgres@{address}/payfleet?options=-c%20search_path%3Dsim%2Cpg_catalog%2Cpublic")
}

/// A pool that sees it too, and survives crashes of the server.
pub fn connect(address: SocketAddr) -> PgPool {
    let options = PgPoolOptions::new().max_connections(8).test_before_acquire(true);
    options.acquire_timeout(Duration::from_secs(2)).connect_lazy(&url(address)).expect("a valid URL")
}

/// Steps it, forward or, with a negative number, back. Returns whether Postgres did.
pub async fn step(database: &PgPool, by_ms: i64) -> bool {
    let update = sqlx::query("UPDATE sim.clock SET ahead = ahead + $1 * interval '1 millisecond'").bind(by_ms);
    update.execute(database).await.is_ok()
}
