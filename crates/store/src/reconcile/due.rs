//! Whether everybody's money is somewhere: what the run before left over, what became due again in this run and what
//! was earned in its window against its payouts and exclusions, and every account's balance against what the newest run
//! left over. Only rows are compared, never instants, and only those of these runs: history is not read again.

use payfleet_domain::RunState;
use payfleet_domain::invariant::{
    AccountFacts, Decided, Total, balance_is_its_history, nobody_is_skipped, run_adds_up,
};
use sqlx::{AssertSqlSafe, Executor, PgConnection, Row};

use crate::close::total;
use crate::connect::{Step, StoreError};
use crate::run::RunRow;
use crate::session::{Connection, Sessions};
use crate::sql::{added_minor, month_of, planned_kinds};

/// `total` is `sum` with a state of eight bytes: a third of the memory and time where there is one group for each
/// account, and an error where a sum does not fit. Both go with the transaction, which ends by ROLLBACK.
const TABLES: &str = "
  SET LOCAL work_mem = '128MB'; SET LOCAL idle_in_transaction_session_timeout = 0;
  CREATE TEMP TABLE suspect (number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, affiliate_id bigint,
    currency text, opening bigint,
    earned bigint, is_decided boolean, carried bigint, amount bigint, residual bigint);
  CREATE AGGREGATE pg_temp.total (bigint) (SFUNC = int8pl, STYPE = bigint, INITCOND = '0')";

/// $1 tenant, $2 run, $3 its ordinal, $4 opens_after, $5 cutoff, $6 and $7 its payouts, $8 the run before it, $9 and
/// $10 number and ordinal of the newest run that is planned for all accounts, $11 and $12 number and planned affiliates
/// of the one that is being planned, if there is one; $13 whether what became due again in this run is written down,
/// $14 whether that since the newest one is.
///
/// - `opening`: what exclusions of the run before left over (a payout leaves nothing, and who had neither has nothing),
///   and what became due again before this run was created.
/// - `earned`, `carried`, `amount`: the commissions of the window, and what payout or exclusion say.
/// - `residual`: by how much the balance is not what the newest plan left over, and what became due again since.
///
/// One pass, and one group for each account: joins of totals took three times as long. Accounts of which every number
/// is as it should be are left out; a test asserts that no invariant could say anything about them.
const ACCOUNTS: &str = concat!(
    "-- compare_accounts
WITH flow (affiliate_id, currency, opening, earned, decisions, carried, amount, residual) AS (
  SELECT affiliate_id, currency, 0::bigint, amount_minor, 0::bigint, 0::bigint, 0::bigint, 0::bigint FROM commission
   WHERE tenant_id = $1 AND late_for IS NULL AND due_at <= $5 AND ($4::timestamptz IS NULL OR due_at > $4)
     AND due_month <= ",
    month_of!("$5::timestamptz"),
    "
     AND ($4 IS NULL OR due_month >= ",
    month_of!("$4::timestamptz"),
    ")
  UNION ALL
  SELECT affiliate_id, currency, 0, amount_minor, 0, 0, 0, 0 FROM commission WHERE tenant_id = $1 AND late_for = $3
  UNION ALL
  SELECT affiliate_id, currency, 0, 0, 1, carried_minor, amount_minor, 0 FROM payout WHERE id BETWEEN $6 AND $7
  UNION ALL
  SELECT affiliate_id, currency, 0, 0, 1, carried_minor, amount_minor, 0 FROM exclusion WHERE run_id = $2
  UNION ALL
  SELECT affiliate_id, currency, amount_minor, 0, 0, 0, 0, 0 FROM exclusion WHERE run_id = $8
  UNION ALL
  SELECT p.affiliate_id, p.currency, CASE WHEN t.due_in = $3 THEN moved ELSE 0 END, 0, 0, 0, 0,
         CASE WHEN t.due_in > $10 AND (t.due_in > $10 + 1
           OR (p.affiliate_id <@ $12::int8multirange) IS NOT TRUE) THEN -moved ELSE 0 END
    FROM (SELECT payout_id, due_in, ",
    added_minor!("transfer"),
    " AS moved
      FROM transfer
           WHERE tenant_id = $1 AND due_in IS NOT NULL AND (due_in = $3 OR due_in > $10)) AS t
    JOIN payout p ON p.id = t.payout_id AND p.tenant_id = $1
  UNION ALL
  SELECT affiliate_id, currency, 0, 0, 0, 0, 0, -amount_minor FROM exclusion
   WHERE run_id = $9 AND (affiliate_id <@ $12::int8multirange) IS NOT TRUE OR run_id = $11
  UNION ALL
  SELECT affiliate_id, currency, 0, 0, 0, 0, 0, carried_minor FROM account WHERE tenant_id = $1),
 state AS (
  SELECT affiliate_id, currency, pg_temp.total(opening) AS opening, pg_temp.total(earned) AS earned,
    pg_temp.total(decisions) AS decisions,
         pg_temp.total(carried) AS carried, pg_temp.total(amount) AS amount,
         CASE WHEN $14 THEN pg_temp.total(residual) ELSE 0 END AS residual
    FROM flow GROUP BY affiliate_id, currency)
INSERT INTO suspect (affiliate_id, currency, opening, earned, is_decided, carried, amount, residual)
SELECT affiliate_id, currency, CASE WHEN $13 THEN opening END, earned, decisions > 0, carried, amount, residual
  FROM state
 WHERE CASE WHEN $13 THEN opening + earned <> amount OR decisions > 0 AND carried <> opening
            ELSE decisions > 0 AND carried + earned <> amount END
    OR residual <> 0
 ORDER BY affiliate_id, currency"
);

/// A worker of the version before does not say which run counts what it releases: of such accounts nothing can be said.
/// Looked for only where something is not as it should be.
const UNSAID: &str = concat!(
    "-- compare_unsaid
DELETE FROM suspect s USING payout p JOIN transfer t ON t.payout_id = p.id
 WHERE p.tenant_id = $1 AND p.affiliate_id = s.affiliate_id AND p.currency = s.currency AND t.kind NOT IN ",
    planned_kinds!(),
    "
   AND t.due_in IS NULL
   AND t.at >= (SELECT min(created_at) FROM run WHERE tenant_id = $1 AND stamped)"
);

/// So many accounts are in memory at once.
const CHUNK: i64 = 5_000;

const SUSPECTS: &str = "-- compare_suspects
SELECT number, affiliate_id, currency, opening, earned, is_decided, carried, amount, residual
  FROM suspect WHERE number > $1 ORDER BY number LIMIT $2";

const FINDINGS: &str = "-- findings_insert
INSERT INTO finding (kind, affiliate_id, currency, expected, found)
SELECT $1, f.* FROM unnest($2::bigint[], $3::text[], $4::text[], $5::text[]) AS f";

const PLAN: &str = "-- compare_plan
WITH written AS (
  SELECT currency, 'pay' AS verdict, count(*) AS accounts, sum(amount_minor) AS amount_minor FROM payout
    WHERE id BETWEEN $2 AND $3 GROUP BY currency
  UNION ALL
  SELECT currency, reason, count(*), sum(amount_minor) FROM exclusion WHERE run_id = $1 GROUP BY currency, reason)
SELECT currency::text AS currency, verdict, coalesce(p.accounts, 0) AS planned,
  coalesce(p.amount_minor, 0)::text AS planned_minor,
       coalesce(w.accounts, 0) AS written, coalesce(w.amount_minor, 0)::text AS written_minor
  FROM (SELECT currency, verdict, sum(accounts)::bigint AS accounts, sum(amount_minor) AS amount_minor
          FROM run_plan WHERE run_id = $1 GROUP BY currency, verdict) AS p FULL JOIN written w USING (currency, verdict)
 ORDER BY currency, verdict";

/// A wrong transfer of a payout shows in the balance of its account too; that is the same difference, not another one.
const BALANCES: &str = "-- compare_balances
WITH same AS (
  DELETE FROM finding b WHERE b.kind = 'balance'
     AND EXISTS (SELECT FROM finding f WHERE f.kind = 'ledger_out_of_balance' AND f.affiliate_id = b.affiliate_id
       AND f.currency = b.currency)
  RETURNING b.id)
UPDATE finding SET kind = 'ledger_out_of_balance' WHERE kind = 'balance' AND id NOT IN (SELECT id FROM same)";

/// Accounts are compared in a transaction of their own, in the snapshot of the rest and beside it: they take as long.
pub(super) struct Accounts {
    /// In a transaction.
    tx: Connection,
    /// Totals of the plan that payouts and exclusions do not add up to: currency, expected, found.
    totals: Vec<(String, String, String)>,
}

/// Finds in this snapshot which accounts are not as they should be, and which totals.
pub(super) async fn accounts_compare(pool: Sessions, run: RunRow, snapshot: String) -> Result<Accounts, StoreError> {
    let started = std::time::Instant::now();
    // A snapshot's name is Postgres' own word: hexadecimal digits and hyphens.
    let begin =
        format!("-- accounts_begin\nBEGIN ISOLATION LEVEL REPEATABLE READ; SET TRANSACTION SNAPSHOT '{snapshot}'");
    let mut tx = pool.acquire().await.step("accounts_begin")?.keep();
    tx.execute(AssertSqlSafe(begin)).await.step("accounts_begin")?;
    tx.execute(TABLES).await.step("accounts_tables")?;
    suspects_find(&mut tx, &run).await?;
    let totals = totals_compare(&mut tx, &run).await?;
    tracing::debug!(step = "compare_accounts", millis = started.elapsed().as_millis(), "compared");
    Ok(Accounts { tx, totals })
}

/// A run as the comparison of accounts needs it: number, ordinal, state, whether it is stamped, the affiliates that are
/// planned.
type Window = (i64, i32, String, bool, String);

async fn suspects_find(connection: &mut PgConnection, run: &RunRow) -> Result<(), StoreError> {
    let windows: Vec<Window> = sqlx::query_as(
        "-- windows_read
         SELECT id, ordinal, state, stamped,
                (SELECT coalesce(range_agg(int8range(after_affiliate, up_to, '(]')), '{}')::text FROM plan_chunk
                  WHERE run_id = r.id AND is_planned AND r.state = 'planning')
           FROM run r
          WHERE tenant_id = $1
            AND (ordinal BETWEEN $2 - 1 AND $2 OR ordinal >= (SELECT max(ordinal) - 1 FROM run WHERE tenant_id = $1))
          ORDER BY ordinal DESC",
    )
    .bind(run.tenant.0)
    .bind(run.ordinal)
    .fetch_all(&mut *connection)
    .await
    .step("windows_read")?;
    let of = |ordinal| windows.iter().find(|window| window.1 == ordinal);
    // Only the newest can be in planning: the next one waits for it.
    let is_planning = |window: &&Window| window.2 == RunState::Planning.as_str();
    let planning = windows.iter().find(is_planning);
    let closed = windows.iter().find(|window| !is_planning(window));
    let stamped = |window: Option<&Window>| window.is_none_or(|window| window.3);
    let suspects = sqlx::query(ACCOUNTS)
        .bind(run.tenant.0)
        .bind(run.id.0)
        .bind(run.ordinal)
        .bind(run.opens_after)
        .bind(run.cutoff)
        .bind(run.id.payouts().0.0)
        .bind(run.id.payouts().1.0)
        .bind(of(run.ordinal - 1).map(|window| window.0))
        .bind(closed.map(|window| window.0))
        .bind(closed.map(|window| window.1))
        .bind(planning.map(|window| window.0))
        .bind(planning.map(|window| window.4.as_str()))
        .bind(stamped(of(run.ordinal)) && stamped(of(run.ordinal - 1)))
        .bind(stamped(closed) && stamped(planning))
        .execute(&mut *connection)
        .await
        .step("compare_accounts")?;
    if suspects.rows_affected() > 0 {
        sqlx::query(UNSAID).bind(run.tenant.0).execute(&mut *connection).await.step("compare_unsaid")?;
    }
    Ok(())
}

/// Finds totals that are wrong.
async fn totals_compare(
    connection: &mut PgConnection,
    run: &RunRow,
) -> Result<Vec<(String, String, String)>, StoreError> {
    let read = "compare_plan";
    let rows = sqlx::query(PLAN)
        .bind(run.id.0)
        .bind(run.id.payouts().0.0)
        .bind(run.id.payouts().1.0)
        .fetch_all(&mut *connection)
        .await
        .step(read)?;
    let mut wrong = Vec::new();
    for row in &rows {
        let planned = total(row, "planned", "planned_minor")?;
        let written = total(row, "written", "written_minor")?;
        if !run_adds_up(planned, written) {
            let verdict: String = row.try_get("verdict").step(read)?;
            let told = |sum: Total| format!("{} accounts, {} minor units", sum.accounts, sum.amount_minor);
            wrong.push((row.try_get("currency").step(read)?, format!("{verdict}: {}", told(planned)), told(written)));
        }
    }
    Ok(wrong)
}

impl Accounts {
    /// Judges what was found, and writes the differences into the session that compares the run. Balances that are
    /// wrong wait there as `balance`.
    pub(super) async fn judge(mut self, findings: &mut PgConnection) -> Result<(), StoreError> {
        self.suspects_judge(findings, "skipped", nobody_is_skipped, |facts| {
            let found = match facts.skipped() {
                0 => "a plan that saw another balance than there was".to_owned(),
                missing @ 1.. => format!("{missing} minor units in neither payout nor exclusion"),
                over => format!("{} minor units more than was due", -over),
            };
            ("all that was due in the run", found)
        })
        .await?;
        self.suspects_judge(findings, "balance", balance_is_its_history, |facts| {
            let way = if facts.residual > 0 { "much" } else { "little" };
            (
                "a balance that is the sum of its history",
                format!("{} minor units too {way}", facts.residual.unsigned_abs()),
            )
        })
        .await?;
        // Where no account explains it.
        let explained: Vec<String> =
            sqlx::query_scalar("-- skipped_currencies\nSELECT DISTINCT currency FROM finding WHERE kind = 'skipped'")
                .fetch_all(&mut *findings)
                .await
                .step("skipped_currencies")?;
        let mut found = Findings::default();
        for (currency, expected, instead) in self.totals.into_iter().filter(|total| !explained.contains(&total.0)) {
            found.push(None, currency, expected, instead);
        }
        found.write(findings, "skipped").await?;
        self.tx.end().await.step("accounts_end")
    }

    /// Writes down which accounts break an invariant, with what was expected and what was found.
    async fn suspects_judge(
        &mut self,
        findings: &mut PgConnection,
        kind: &str,
        holds: fn(&AccountFacts) -> bool,
        describe: impl Fn(&AccountFacts) -> (&'static str, String),
    ) -> Result<(), StoreError> {
        let read = "compare_suspects";
        let mut after = 0_i64;
        loop {
            let suspects = sqlx::query(SUSPECTS).bind(after).bind(CHUNK);
            let rows = suspects.fetch_all(&mut *self.tx).await.step(read)?;
            let Some(last) = rows.last() else { return Ok(()) };
            after = last.try_get("number").step(read)?;
            let mut found = Findings::default();
            for row in &rows {
                let minor = |column: &str| row.try_get(column).step(read);
                let decided = Decided { carried: minor("carried")?, amount: minor("amount")? };
                let facts = AccountFacts {
                    opening: row.try_get("opening").step(read)?,
                    earned: minor("earned")?,
                    decided: row.try_get::<bool, _>("is_decided").step(read)?.then_some(decided),
                    residual: minor("residual")?,
                };
                if !holds(&facts) {
                    let (expected, instead) = describe(&facts);
                    let affiliate = row.try_get("affiliate_id").step(read)?;
                    let currency = row.try_get("currency").step(read)?;
                    found.push(Some(affiliate), currency, expected.to_owned(), instead);
                }
            }
            found.write(findings, kind).await?;
        }
    }
}

/// Findings on their way into the session.
#[derive(Debug, Default)]
pub(super) struct Findings {
    affiliates: Vec<Option<i64>>,
    currencies: Vec<String>,
    expected: Vec<String>,
    found: Vec<String>,
}

impl Findings {
    pub(super) fn push(&mut self, affiliate: Option<i64>, currency: String, expected: String, found: String) {
        self.affiliates.push(affiliate);
        self.currencies.push(currency);
        self.expected.push(expected);
        self.found.push(found);
    }

    pub(super) async fn write(self, connection: &mut PgConnection, kind: &str) -> Result<(), StoreError> {
        if self.found.is_empty() {
            return Ok(());
        }
        sqlx::query(FINDINGS)
            .bind(kind)
            .bind(self.affiliates)
            .bind(self.currencies)
            .bind(self.expected)
            .bind(self.found)
            .execute(connection)
            .await
            .step("findings_insert")?;
        Ok(())
    }
}

/// Keeps the wrong balances that no transfer explains.
pub(super) async fn balances_compare(connection: &mut PgConnection) -> Result<(), StoreError> {
    sqlx::query(BALANCES).execute(connection).await.step("compare_balances")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The condition of `ACCOUNTS` in other words.
    #[test]
    fn nothing_can_be_broken_about_the_accounts_that_are_not_judged() {
        for (opening, earned) in [(-1, 1), (0, 0), (2, 3), (3, -5)] {
            let decided = Some(Decided { carried: opening, amount: opening + earned });
            let nothing_due = (opening + earned == 0).then_some(None);
            for opening in [Some(opening), None] {
                for decided in [Some(decided), nothing_due].into_iter().flatten() {
                    let facts = AccountFacts { opening, earned, decided, residual: 0 };
                    assert!(nobody_is_skipped(&facts) && balance_is_its_history(&facts), "{facts:?}");
                }
            }
        }
    }
}
