//! Whether everybody's money is somewhere: what was due in the run's window against payouts and exclusions, and every account's balance against
//! its whole history.

use payfleet_domain::RunState;
use sqlx::PgConnection;
use time::OffsetDateTime;

use crate::connect::{Step, StoreError};
use crate::run::RunRow;

/// $1 tenant, $2 run, $3 its ordinal, $4 opens_after, $5 cutoff, $6 and $7 its payouts, $8 created_at, $9 planned_at; $10 and $11 ordinal and cutoff of
/// the newest window that is planned for all accounts; $12 to $14 ordinal, cutoff and cursor of the one that is being planned, if there is one.
///
/// - `missing`: commissions of this run's window that no payout or exclusion of it has claimed.
/// - `opening_low`, `opening_high`: the balance before the run, as of its creation and of the end of its planning: money released in between was
///   perhaps in time for it. Needed only for accounts without a decision: with a balance of zero there is none.
/// - `residual`: by how much the balance is not commissions in closed windows - reserved + released + returned.
///
/// One pass over everything that ever happened to an account, and one group for each: joins of totals took three times as long.
const ACCOUNTS: &str = "-- compare_accounts
WITH flow AS (
  SELECT affiliate_id, currency, CASE place WHEN 0 THEN amount_minor ELSE 0 END AS missing, CASE place WHEN -1 THEN amount_minor ELSE 0 END AS low,
         CASE place WHEN -1 THEN amount_minor ELSE 0 END AS high, -amount_minor AS residual, 0::bigint AS decisions
    FROM (
      SELECT affiliate_id, currency, amount_minor,
             CASE WHEN due_at > $5 THEN 1 WHEN $4::timestamptz IS NULL OR due_at > $4 THEN 0 ELSE -1 END AS place
        FROM commission
       WHERE tenant_id = $1 AND late_for IS NULL
         AND due_month <= (extract(year FROM greatest($11, $13::timestamptz) AT TIME ZONE 'UTC') * 12
                           + extract(month FROM greatest($11, $13) AT TIME ZONE 'UTC') - 1)::int
         AND (due_at <= $11 OR due_at <= $13 AND affiliate_id <= $14)
      UNION ALL
      SELECT affiliate_id, currency, amount_minor, sign(late_for - $3)::int
        FROM commission
       WHERE tenant_id = $1 AND late_for IS NOT NULL AND (late_for <= $10 OR late_for <= $12 AND affiliate_id <= $14)) AS c
  UNION ALL
  SELECT p.affiliate_id, p.currency, 0, CASE WHEN p.run_id < $2 AND (t.kind = 0 OR t.at <= $8) THEN moved ELSE 0 END,
         CASE WHEN p.run_id < $2 AND (t.kind = 0 OR t.at <= $9) THEN moved ELSE 0 END, -moved, 0
    FROM (SELECT payout_id, kind, at, CASE kind WHEN 0 THEN -amount_minor ELSE amount_minor END AS moved FROM transfer
           WHERE tenant_id = $1 AND kind IN (0, 3, 4)) AS t
    JOIN payout p ON p.id = t.payout_id AND p.tenant_id = $1
  UNION ALL
  SELECT affiliate_id, currency, carried_minor - amount_minor, 0, 0, 0, 1 FROM payout WHERE id BETWEEN $6 AND $7
  UNION ALL
  SELECT affiliate_id, currency, carried_minor - amount_minor, 0, 0, 0, 1 FROM exclusion WHERE run_id = $2
  UNION ALL
  SELECT affiliate_id, currency, 0, 0, 0, carried_minor, 0 FROM account WHERE tenant_id = $1),
 state AS (
  SELECT affiliate_id, currency, pg_temp.total(decisions) AS decisions, pg_temp.total(missing) AS missing,
         pg_temp.total(low) AS opening_low, pg_temp.total(high) AS opening_high, pg_temp.total(residual) AS residual
    FROM flow GROUP BY affiliate_id, currency),
 judged AS (
  SELECT s.*, CASE WHEN decisions > 0 THEN missing ELSE missing + opening_low END AS skipped,
         CASE WHEN decisions > 0 THEN missing <> 0 ELSE missing + opening_low <> 0 AND missing + opening_high <> 0 END AS is_skipped
    FROM state s)
INSERT INTO finding (kind, affiliate_id, currency, expected, found)
SELECT kind, affiliate_id, currency, expected, found
  FROM judged j,
       LATERAL (VALUES
         ('skipped', is_skipped, 'all that was due in the run',
          CASE WHEN skipped > 0 THEN skipped || ' minor units in neither payout nor exclusion' ELSE -skipped || ' minor units more than was due' END),
         -- What was skipped is missing from the balance too; that is the same difference, not another one.
         ('balance', residual <> 0 AND NOT (is_skipped AND (residual + missing = 0 OR residual + skipped = 0)), 'a balance that is the sum of its history',
          abs(residual) || ' minor units too ' || CASE WHEN residual > 0 THEN 'much' ELSE 'little' END)
       ) AS f (kind, holds, expected, found)
 WHERE (missing <> 0 OR residual <> 0 OR decisions = 0) AND f.holds
 ORDER BY kind DESC, affiliate_id, currency";

/// Where the totals are wrong and no account explains it.
const PLAN: &str = "-- compare_plan
WITH written AS (
  SELECT currency, 'pay' AS verdict, count(*) AS accounts, sum(amount_minor) AS amount_minor FROM payout WHERE id BETWEEN $2 AND $3 GROUP BY currency
  UNION ALL
  SELECT currency, reason, count(*), sum(amount_minor) FROM exclusion WHERE run_id = $1 GROUP BY currency, reason)
INSERT INTO finding (kind, currency, expected, found)
SELECT 'skipped', currency, format('%s: %s accounts, %s minor units', verdict, coalesce(p.accounts, 0), coalesce(p.amount_minor, 0)),
       format('%s accounts, %s minor units', coalesce(w.accounts, 0), coalesce(w.amount_minor, 0))
  FROM (SELECT * FROM run_plan WHERE run_id = $1) AS p FULL JOIN written w USING (currency, verdict)
 WHERE (p.accounts = w.accounts AND p.amount_minor = w.amount_minor) IS NOT TRUE
   AND NOT EXISTS (SELECT FROM finding f WHERE f.kind = 'skipped' AND f.currency = coalesce(p.currency, w.currency))
 ORDER BY currency, verdict";

/// A wrong transfer of a payout shows in the balance of its account too; that is the same difference, not another one.
const BALANCES: &str = "-- compare_balances
WITH same AS (
  DELETE FROM finding b WHERE b.kind = 'balance'
     AND EXISTS (SELECT FROM finding f WHERE f.kind = 'ledger_out_of_balance' AND f.affiliate_id = b.affiliate_id AND f.currency = b.currency)
  RETURNING b.id)
UPDATE finding SET kind = 'ledger_out_of_balance' WHERE kind = 'balance' AND id NOT IN (SELECT id FROM same)";

/// Finds what was skipped, and balances that are wrong: those wait as `balance` until the transfers have been compared.
pub(super) async fn accounts_compare(connection: &mut PgConnection, run: &RunRow) -> Result<(), StoreError> {
    let planned_at: Option<OffsetDateTime> =
        sqlx::query_scalar("-- run_planned_at\nSELECT planned_at FROM run WHERE id = $1")
            .bind(run.id.0)
            .fetch_one(&mut *connection)
            .await
            .step("run_planned_at")?;
    let windows: Vec<(String, i32, OffsetDateTime, i64)> = sqlx::query_as(
        "-- windows_newest
         SELECT state, ordinal, cutoff, plan_cursor FROM run WHERE tenant_id = $1 ORDER BY ordinal DESC LIMIT 2",
    )
    .bind(run.tenant.0)
    .fetch_all(&mut *connection)
    .await
    .step("windows_newest")?;
    // Only the newest can be in planning: the next one waits for it.
    let is_planning = |window: &&(String, i32, OffsetDateTime, i64)| window.0 == RunState::Planning.as_str();
    let planning = windows.iter().find(is_planning);
    let closed = windows.iter().find(|window| !is_planning(window));
    let started = std::time::Instant::now();
    sqlx::query(ACCOUNTS)
        .bind(run.tenant.0)
        .bind(run.id.0)
        .bind(run.ordinal)
        .bind(run.opens_after)
        .bind(run.cutoff)
        .bind(run.id.payouts().0.0)
        .bind(run.id.payouts().1.0)
        .bind(run.created_at)
        .bind(planned_at)
        .bind(closed.map(|window| window.1))
        .bind(closed.map(|window| window.2))
        .bind(planning.map(|window| window.1))
        .bind(planning.map(|window| window.2))
        .bind(planning.map(|window| window.3))
        .execute(&mut *connection)
        .await
        .step("compare_accounts")?;
    tracing::debug!(step = "compare_accounts", millis = started.elapsed().as_millis(), "compared");
    sqlx::query(PLAN)
        .bind(run.id.0)
        .bind(run.id.payouts().0.0)
        .bind(run.id.payouts().1.0)
        .execute(connection)
        .await
        .step("compare_plan")?;
    Ok(())
}

/// Keeps the wrong balances that no transfer explains.
pub(super) async fn balances_compare(connection: &mut PgConnection) -> Result<(), StoreError> {
    sqlx::query(BALANCES).execute(connection).await.step("compare_balances")?;
    Ok(())
}
