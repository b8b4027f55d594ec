//! A small world that is built once and restored before each order, with a clock that the test moves on.

use std::sync::Arc;

use payfleet_store::Store;
use sqlx::postgres::PgPoolOptions;
use sqlx::{AssertSqlSafe, Executor, PgPool};
use tokio::sync::Notify;

use crate::lanes::Lane;
use crate::snapshot::save;
use crate::support::Db;

/// What no operation here changes.
const FIXED: [&str; 7] =
    ["_sqlx_migrations", "transfer_kind", "tenant", "tenant_rail", "tenant_method", "reconciliation", "discrepancy"];

/// Found before the one of pg_catalog, which is last in the search path.
const CLOCK: &str = "
  CREATE SCHEMA clock;
  CREATE TABLE clock.ahead (by interval NOT NULL);
  INSERT INTO clock.ahead VALUES ('0');
  CREATE FUNCTION clock.clock_timestamp() RETURNS timestamptz LANGUAGE plpgsql VOLATILE AS $$
  BEGIN RETURN pg_catalog.clock_timestamp() + (SELECT by FROM clock.ahead); END $$";

/// What must be true whatever the order was; named by what is wrong.
const WRONG: &str = "
  WITH part AS (SELECT b.*, p.id AS payout, p.state AS payout_state FROM batch b
                  JOIN payout p ON p.id BETWEEN b.first_payout_id AND b.last_payout_id WHERE b.state <> 'split')
  SELECT name FROM (VALUES
    ('an attempt under an epoch that was never given', EXISTS (
      SELECT FROM attempt a JOIN batch b ON b.id = a.batch_id WHERE a.epoch > b.lease_epoch AND b.parent_id IS NULL)),
    ('attempts that do not follow the epochs', EXISTS (
      SELECT FROM attempt a JOIN attempt l USING (batch_id) JOIN batch b ON b.id = a.batch_id
       WHERE a.n < l.n AND a.epoch > l.epoch AND b.parent_id IS NULL)),
    ('a batch that does not count its attempts', EXISTS (
      SELECT FROM batch b WHERE b.attempt <> coalesce((SELECT max(n) FROM attempt WHERE batch_id = b.id), 0))),
    ('ready, and a request may be under way', EXISTS (
      SELECT FROM batch b JOIN attempt a ON a.batch_id = b.id WHERE b.state = 'ready'
        AND (a.result IS NULL OR a.result = 'unknown'))
      OR EXISTS (SELECT FROM part WHERE state = 'ready' AND payout_state = 'unknown')),
    ('cancelled, and perhaps sent', EXISTS (
      SELECT FROM part JOIN attempt a ON a.batch_id = part.id WHERE payout_state = 'cancelled'
        AND a.result IS DISTINCT FROM 'not_executed')),
    ('sent again for a cancelled run, when nothing was under way', EXISTS (
      SELECT FROM attempt a JOIN batch b ON b.id = a.batch_id JOIN run r ON r.id = b.run_id
       WHERE r.state = 'cancelled' AND a.n > 1 AND NOT EXISTS (
         SELECT FROM attempt l WHERE l.batch_id = a.batch_id AND l.n < a.n
            AND (l.result IS NULL OR l.result = 'unknown' OR l.closed_at > a.opened_at)))),
    ('a payout without an answer in a closed batch', EXISTS (
      SELECT FROM part WHERE state IN ('done', 'held', 'cancelled') AND payout_state IN ('planned', 'unknown'))),
    ('done, and a payout is not final', EXISTS (SELECT FROM part WHERE state = 'done'
      AND payout_state IN ('accepted', 'held'))),
    ('open, and nothing is open', EXISTS (
      SELECT FROM part WHERE state IN ('ready', 'sending')
        GROUP BY id HAVING bool_and(payout_state NOT IN ('planned', 'unknown')))),
    ('a payout in no batch or in two', EXISTS (
      SELECT FROM payout p WHERE (SELECT count(*) FROM part WHERE payout = p.id) <> 1)),
    ('a batch whose sum is not that of its payouts', EXISTS (
      SELECT FROM batch b WHERE amount_minor <> (SELECT sum(p.amount_minor) FROM payout p
        WHERE p.id BETWEEN b.first_payout_id AND b.last_payout_id))),
    ('settled, and somebody is not accounted for', EXISTS (
      SELECT FROM run r JOIN payout p ON p.run_id = r.id WHERE r.state = 'settled'
        AND p.state IN ('planned', 'unknown', 'accepted'))
      OR EXISTS (SELECT FROM run r JOIN batch b ON b.run_id = r.id WHERE r.state = 'settled'
        AND b.state IN ('ready', 'sending', 'accepted'))),
    ('settled while paused', EXISTS (SELECT FROM run WHERE state = 'settled' AND paused_at IS NOT NULL)),
    ('a run that does not count its payouts', EXISTS (
      SELECT FROM run r, LATERAL (SELECT count(*) AS n FROM payout p WHERE p.run_id = r.id) AS written
       WHERE r.state <> 'planning' AND r.payouts <> written.n
          OR written.n <> (SELECT coalesce(sum(accounts), 0) FROM run_plan WHERE run_id = r.id AND verdict = 'pay'))),
    ('a plan whose parts are not everybody', EXISTS (
      SELECT FROM run r WHERE r.state <> 'planning'
        AND EXISTS (SELECT FROM plan_chunk c WHERE c.run_id = r.id AND NOT c.is_planned)
          OR EXISTS (SELECT FROM plan_chunk c WHERE c.run_id = r.id
                      AND c.after_affiliate <> coalesce((SELECT up_to FROM plan_chunk b WHERE b.run_id = r.id
                        AND b.n = c.n - 1), 0)))),
    ('held without a hold, or the reverse', EXISTS (
      SELECT FROM payout p FULL JOIN (SELECT * FROM hold WHERE resolved_at IS NULL) h ON h.payout_id = p.id
       WHERE (p.state = 'held') IS DISTINCT FROM (h.id IS NOT NULL))),
    ('a commission in two windows or in none', EXISTS (
      SELECT FROM commission c WHERE c.due_at < '2026-02-01Z'
         AND (SELECT count(*) FROM run r WHERE r.tenant_id = c.tenant_id
                 AND (CASE WHEN c.late_for IS NULL THEN c.due_at <= r.cutoff
                   AND c.due_at > coalesce(r.opens_after, '-infinity')
                           ELSE r.ordinal = c.late_for END)) > 1))
  ) AS rule (name, broken) WHERE broken";

pub struct World {
    pub db: Db,
    pub lanes: [Lane; 2],
    /// A connection of its own, for looking at the others.
    pub look: PgPool,
    pub changed: Arc<Notify>,
    restore: String,
}

impl World {
    /// `build` makes what is there at the beginning of each order.
    pub async fn new<T>(build: impl AsyncFnOnce(&Db) -> T) -> (World, T) {
        let db = Db::new().await;
        let built = build(&db).await;
        db.sql.execute(CLOCK).await.unwrap();
        let name: String = db.scalar("SELECT current_database()::text").await;
        for setting in ["search_path = clock, public, pg_catalog", "deadlock_timeout = '5ms'"] {
            db.sql.execute(AssertSqlSafe(format!("ALTER DATABASE {name} SET {setting}"))).await.unwrap();
        }
        let restore = format!("UPDATE clock.ahead SET by = '0'; {}", save(&db.sql, &FIXED).await);
        let (server, _) = std::env::var("PAYFLEET_TEST_POSTGRES").map(|url| split_url(&url)).unwrap();
        let url = format!("{server}/{name}");
        let changed = Arc::new(Notify::new());
        let lanes = [Lane::new(&url, changed.clone()).await, Lane::new(&url, changed.clone()).await];
        let look = PgPoolOptions::new().max_connections(1).connect(&url).await.unwrap();
        (World { db, lanes, look, changed, restore }, built)
    }

    /// Everything as it was when the world was built, and the clock too.
    pub async fn restore(&self) {
        self.look.execute(AssertSqlSafe(self.restore.clone())).await.unwrap();
    }

    /// Time passes.
    pub async fn two_hours_later(look: PgPool) {
        look.execute("UPDATE clock.ahead SET by = '2 hours'").await.unwrap();
    }

    /// Panics if anything is wrong that is wrong in any order.
    pub async fn assert_sound(&self, told: &str) {
        let wrong: Vec<String> = sqlx::query_scalar(WRONG).fetch_all(&self.look).await.unwrap();
        assert!(wrong.is_empty(), "{wrong:?} after {told}");
    }

    pub async fn drop(self) {
        let [one, other]: [Store; 2] = self.lanes.map(|lane| lane.store);
        one.close().await;
        other.close().await;
        self.look.close().await;
        self.db.drop().await;
    }
}

fn split_url(url: &str) -> (String, String) {
    let (server, database) = url.rsplit_once('/').unwrap();
    (server.to_owned(), database.to_owned())
}
