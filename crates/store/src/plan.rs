//! Planning: who is paid what in a run, and why the others are not. Set-based SQL over chunks of affiliates in key order, one transaction each, so
//! that a crash loses a chunk at most and memory does not depend on how many there are. Which chunk is planned next is in `chunk`.
//!
//! What is due to an account is what it carried over plus the commissions of the run's window (see table `run`). What was released, came back or was
//! proven late while the run is being planned counts in the next one, and says so (`transfer.due_in`). The same query decides for the plan and for a
//! dry run.

use std::str::FromStr;

use payfleet_domain::{Currency, MAX_AMOUNT_MINOR, MAX_BALANCE_MINOR, MAX_PAYOUTS_PER_BATCH, RAILS, RunId, RunState};
use rust_decimal::Decimal;
use serde::Serialize;
use sqlx::{PgConnection, Row};
use time::OffsetDateTime;

use crate::batch::{currency, word};
use crate::chunk::{chunk_done, chunk_lock, cut, plan_complete};
use crate::connect::{Step, Store, StoreError, detached};
use crate::run::NewRun;

/// One line of what a plan decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PlanLine {
    /// In which currency.
    pub currency: Currency,
    /// `pay`, or the reason code of an exclusion.
    pub verdict: String,
    /// How many accounts.
    pub accounts: i64,
    /// The sum of their balances, in minor units.
    pub amount_minor: i128,
}

/// What planning a chunk did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlanProgress {
    /// The affiliates that it covered, by their numbers: excluded, included.
    pub affiliates: (i64, i64),
    /// Accounts looked at.
    pub accounts: i64,
}

/// What a call for the next chunk found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Planned {
    /// There was a chunk; there may be more.
    Chunk(PlanProgress),
    /// Everybody is planned; the run is no longer `planning`.
    Complete,
    /// The run is paused.
    Paused,
}

/// What the query needs to know of rails and currencies, which are rules of `domain` and not rows.
struct Rules {
    rails: serde_json::Value,
    currencies: Vec<String>,
    minimums: Vec<i64>,
}

#[derive(Serialize)]
struct RailRule {
    rail: &'static str,
    payouts_per_batch: u32,
    currencies: &'static [&'static str],
    max_minor: i64,
}

impl Rules {
    /// `batch_size` lowers what the rails allow, if it is less.
    fn new(minimum: Decimal, batch_size: u32) -> Result<Rules, StoreError> {
        let rails: Vec<RailRule> = RAILS
            .iter()
            .map(|rail| RailRule {
                rail: rail.name,
                payouts_per_batch: rail.payouts_per_batch.min(batch_size).clamp(1, MAX_PAYOUTS_PER_BATCH),
                currencies: rail.currencies,
                max_minor: rail.max_minor.unwrap_or(MAX_AMOUNT_MINOR).min(MAX_AMOUNT_MINOR),
            })
            .collect();
        let mut rules = Rules {
            rails: serde_json::to_value(rails).map_err(|error| StoreError::Broken(error.to_string()))?,
            currencies: Vec::new(),
            minimums: Vec::new(),
        };
        for currency in Currency::all() {
            rules.currencies.push(currency.code().to_owned());
            let minor = currency.threshold_minor(minimum);
            rules
                .minimums
                .push(minor.ok_or_else(|| StoreError::Broken(format!("a minimum of {minimum} {currency} overflows")))?);
        }
        Ok(rules)
    }
}

/// The window of a run and some of its affiliates.
struct Part {
    tenant: i32,
    ordinal: i32,
    opens_after: Option<OffsetDateTime>,
    cutoff: OffsetDateTime,
    after: i64,
    up_to: i64,
}

/// $1 tenant, $2 opens_after, $3 cutoff, $4 ordinal, $5 and $6 the affiliates (excluded, included), $7 currencies, $8 their minimums, $9 rails.
///
/// The months of the window are named one by one, since only then does the index hand out each month in the order of affiliates.
const DECIDED: &str = "
  months AS MATERIALIZED (
    SELECT ARRAY(SELECT generate_series(
      coalesce((extract(year FROM $2::timestamptz AT TIME ZONE 'UTC') * 12 + extract(month FROM $2::timestamptz AT TIME ZONE 'UTC') - 1)::int,
               (SELECT min(due_month) FROM commission WHERE tenant_id = $1 AND late_for IS NULL)),
      (extract(year FROM $3::timestamptz AT TIME ZONE 'UTC') * 12 + extract(month FROM $3::timestamptz AT TIME ZONE 'UTC') - 1)::int)) AS list),
  earned AS (
    -- More than a balance may be is all the same. So many of the largest commission fit, so that most sums need not be asked how large they are.
    SELECT affiliate_id, currency, CASE WHEN count(*) <= 4000 THEN sum(amount_minor) ELSE greatest(least(sum(amount_minor), 4e18), -4e18) END::bigint AS minor
      FROM (
        SELECT c.affiliate_id, c.currency, c.amount_minor FROM commission c
         WHERE c.tenant_id = $1 AND c.late_for IS NULL AND c.due_month = ANY((SELECT list FROM months)::int[])
           AND c.affiliate_id > $5 AND c.affiliate_id <= $6
           AND c.due_at <= $3 AND ($2::timestamptz IS NULL OR c.due_at > $2)
        UNION ALL
        SELECT c.affiliate_id, c.currency, c.amount_minor FROM commission c
         WHERE c.tenant_id = $1 AND c.late_for = $4 AND c.affiliate_id > $5 AND c.affiliate_id <= $6) AS c
     GROUP BY affiliate_id, currency),
  -- What became due again since the run was created: for the next one. Few rows, and most often none.
  later AS (
    SELECT p.affiliate_id, p.currency, sum(CASE WHEN t.kind IN (6, 10) THEN -t.amount_minor ELSE t.amount_minor END)::bigint AS minor
      FROM transfer t JOIN payout p ON p.id = t.payout_id AND p.tenant_id = $1
     WHERE t.tenant_id = $1 AND t.due_in > $4 AND p.affiliate_id > $5 AND p.affiliate_id <= $6
     GROUP BY p.affiliate_id, p.currency),
  opened AS (
    SELECT a.affiliate_id, a.currency, a.carried_minor - coalesce(l.minor, 0) AS carried_minor
      FROM account a LEFT JOIN later l ON l.affiliate_id = a.affiliate_id AND l.currency = a.currency
     WHERE a.tenant_id = $1 AND a.affiliate_id > $5 AND a.affiliate_id <= $6),
  -- A balance that is too large to be told stays what it was, and what was earned waits.
  due AS (
    SELECT o.affiliate_id, o.currency, o.carried_minor, fits.is_told,
           CASE WHEN fits.is_told THEN o.carried_minor + coalesce(e.minor, 0) ELSE o.carried_minor END AS amount_minor
      FROM opened o LEFT JOIN earned e ON e.affiliate_id = o.affiliate_id AND e.currency = o.currency,
           LATERAL (SELECT CASE WHEN o.carried_minor BETWEEN -4000000000000000000 AND 4000000000000000000
                                THEN o.carried_minor + coalesce(e.minor, 0) BETWEEN -900000000000000000 AND 900000000000000000
                                ELSE false END AS is_told) AS fits
     WHERE o.carried_minor <> 0 OR e.minor IS NOT NULL),
  rule AS (
    SELECT * FROM jsonb_to_recordset($9::jsonb) AS rule (rail text, payouts_per_batch int, currencies text[], max_minor bigint)),
  -- The rail accounts of the tenant, numbered: affiliates carry the number, and not three words each.
  way AS MATERIALIZED (
    SELECT t.method, t.rail, t.account, t.credential, dense_rank() OVER (ORDER BY t.rail, t.account, t.credential) AS lane,
           rule.rail IS NOT NULL AS is_known, rule.payouts_per_batch, rule.currencies, rule.max_minor
      FROM tenant_rail t LEFT JOIN rule ON rule.rail = t.rail WHERE t.tenant_id = $1),
  candidate AS (
    SELECT d.*, m.priority, m.id AS method_id, way.lane, way.payouts_per_batch,
           CASE WHEN m.id IS NULL THEN 'no_method'
                WHEN NOT m.usable THEN 'method_unusable'
                WHEN way.is_known IS NOT TRUE THEN 'no_rail'
                WHEN way.currencies <> '{}' AND NOT d.currency::text = ANY(way.currencies) THEN 'currency_unsupported'
                WHEN d.amount_minor < l.min_minor OR d.amount_minor > l.max_minor OR d.amount_minor > way.max_minor
                  THEN 'outside_limits' END AS obstacle
      FROM due d
      LEFT JOIN payout_method m ON m.affiliate_id = d.affiliate_id AND m.tenant_id = $1 AND m.retired_at IS NULL
                               AND m.affiliate_id > $5 AND m.affiliate_id <= $6
      -- A limit in another currency says nothing.
      LEFT JOIN payout_limit l ON l.affiliate_id = d.affiliate_id AND l.method = m.method AND l.currency = d.currency AND l.tenant_id = $1
                              AND l.affiliate_id > $5 AND l.affiliate_id <= $6
      LEFT JOIN way ON way.method = m.method),
  choice AS (
    SELECT DISTINCT ON (affiliate_id, currency) * FROM candidate
     ORDER BY affiliate_id, currency, obstacle IS NOT NULL, priority),
  judged AS (
    SELECT c.*,
           CASE WHEN NOT c.is_told THEN 'balance_out_of_range'
                WHEN c.amount_minor = 0 THEN 'nothing_due'
                WHEN c.amount_minor < 0 THEN 'negative_balance'
                WHEN c.amount_minor < minimum.minor THEN 'below_minimum'
                WHEN f.on_hold THEN 'on_hold'
                WHEN contested.affiliate_id IS NOT NULL THEN 'contested'
                ELSE coalesce(c.obstacle, 'pay') END AS verdict
      FROM choice c
      JOIN affiliate f ON f.id = c.affiliate_id AND f.tenant_id = $1 AND f.id > $5 AND f.id <= $6
      LEFT JOIN (SELECT DISTINCT affiliate_id, currency FROM contest
                  WHERE tenant_id = $1 AND closed_at IS NULL AND affiliate_id > $5 AND affiliate_id <= $6) AS contested
             ON contested.affiliate_id = c.affiliate_id AND contested.currency = c.currency
      LEFT JOIN unnest($7::text[], $8::bigint[]) AS minimum (currency, minor) ON minimum.currency = c.currency),
  decided AS NOT MATERIALIZED (SELECT * FROM judged WHERE verdict <> 'nothing_due')";

/// The statement has it as a number.
const _: () = assert!(MAX_BALANCE_MINOR == 900_000_000_000_000_000);

impl Store {
    /// Plans the next chunk of a run: one transaction that claims what is due, writes payouts or exclusions, reserves the money, fills batches and
    /// marks the chunk as planned. May be called on several connections at once, which plan different chunks. `chunk` is the number of accounts in one,
    /// about; the run's first call decides.
    pub async fn plan_chunk(&self, run: RunId, chunk: i64, batch_size: u32) -> Result<Planned, StoreError> {
        self.transaction("plan_chunk", move |tx| Box::pin(plan_chunk(tx, run, chunk, batch_size, true))).await
    }

    /// The same for a run that is paused and stays so: a plan must be finished before it can be cancelled.
    pub async fn plan_chunk_paused(&self, run: RunId, chunk: i64, batch_size: u32) -> Result<Planned, StoreError> {
        self.transaction("plan_chunk", move |tx| Box::pin(plan_chunk(tx, run, chunk, batch_size, false))).await
    }

    /// What a new run would decide, without writing anything. Reads one snapshot, however long it takes.
    pub async fn plan_dry(&self, new: NewRun, chunk: i64) -> Result<Vec<PlanLine>, StoreError> {
        let pool = self.pool.clone();
        detached(async move {
            let mut connection = pool.acquire().await.step("plan_dry")?;
            let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
            let mut tx = sqlx::Connection::begin_with(&mut *connection, begin).await.step("plan_dry")?;
            let last: Option<(i32, OffsetDateTime)> = sqlx::query_as(
                "-- run_newest\nSELECT ordinal, cutoff FROM run WHERE tenant_id = $1 ORDER BY ordinal DESC LIMIT 1",
            )
            .bind(new.tenant.0)
            .fetch_optional(&mut *tx)
            .await
            .step("run_newest")?;
            let rules = Rules::new(new.minimum, u32::MAX)?;
            let mut lines: std::collections::BTreeMap<(Currency, String), (i64, i128)> = Default::default();
            let mut after = 0;
            while let Some(up_to) = chunk_end(&mut tx, new.tenant.0, after, chunk).await? {
                let part = Part {
                    tenant: new.tenant.0,
                    ordinal: last.map_or(1, |(ordinal, _)| ordinal + 1),
                    opens_after: last.map(|(_, cutoff)| cutoff),
                    cutoff: new.period.cutoff(),
                    after,
                    up_to,
                };
                let sql = format!(
                    "-- plan_dry\nWITH {DECIDED} SELECT currency, verdict, count(*) AS accounts, sum(amount_minor)::text AS minor
                       FROM decided GROUP BY currency, verdict"
                );
                let rows = bind(sqlx::query(sqlx::AssertSqlSafe(sql)), &part, &rules)
                    .fetch_all(&mut *tx)
                    .await
                    .step("plan_dry")?;
                for row in rows {
                    let line = line_read(&row, "minor")?;
                    let sum = lines.entry((line.currency, line.verdict)).or_default();
                    sum.0 += line.accounts;
                    sum.1 += line.amount_minor;
                }
                after = up_to;
            }
            tx.rollback().await.step("plan_dry")?;
            Ok(lines
                .into_iter()
                .map(|((currency, verdict), (accounts, amount_minor))| PlanLine { currency, verdict, accounts, amount_minor })
                .collect())
        })
        .await
    }

    /// What a run's plan decided, by currency and verdict.
    pub async fn plan_lines(&self, run: RunId) -> Result<Vec<PlanLine>, StoreError> {
        let pool = self.pool.clone();
        detached(async move {
            let rows = sqlx::query(
                "-- plan_lines
                 SELECT currency, verdict, sum(accounts)::bigint AS accounts, sum(amount_minor)::text AS minor FROM run_plan WHERE run_id = $1
                  GROUP BY currency, verdict ORDER BY currency, verdict",
            )
            .bind(run.0)
            .fetch_all(&pool)
            .await
            .step("plan_lines")?;
            rows.iter().map(|row| line_read(row, "minor")).collect()
        })
        .await
    }
}

fn line_read(row: &sqlx::postgres::PgRow, minor: &str) -> Result<PlanLine, StoreError> {
    let sum: String = row.try_get(minor).step("plan_read")?;
    Ok(PlanLine {
        currency: currency(row, "currency")?,
        verdict: row.try_get("verdict").step("plan_read")?,
        accounts: row.try_get("accounts").step("plan_read")?,
        amount_minor: i128::from_str(&sum).map_err(|error| StoreError::Broken(format!("a sum of `{sum}`: {error}")))?,
    })
}

fn bind<'q>(
    query: sqlx::query::Query<'q, sqlx::Postgres, sqlx::postgres::PgArguments>,
    part: &Part,
    rules: &Rules,
) -> sqlx::query::Query<'q, sqlx::Postgres, sqlx::postgres::PgArguments> {
    query
        // Planned anew for each chunk: a plan that is kept forgets how many affiliates lie between $5 and $6, and takes minutes.
        .persistent(false)
        .bind(part.tenant)
        .bind(part.opens_after)
        .bind(part.cutoff)
        .bind(part.ordinal)
        .bind(part.after)
        .bind(part.up_to)
        .bind(rules.currencies.clone())
        .bind(rules.minimums.clone())
        .bind(rules.rails.clone())
}

/// The last affiliate of the next `size` accounts after `after`.
async fn chunk_end(tx: &mut PgConnection, tenant: i32, after: i64, size: i64) -> Result<Option<i64>, StoreError> {
    sqlx::query_scalar(
        "-- plan_chunk_end
         SELECT max(affiliate_id) FROM (
           SELECT affiliate_id FROM account WHERE tenant_id = $1 AND affiliate_id > $2 ORDER BY tenant_id, affiliate_id LIMIT $3) AS next",
    )
    .bind(tenant)
    .bind(after)
    .bind(size)
    .fetch_one(tx)
    .await
    .step("plan_chunk_end")
}

async fn plan_chunk(
    tx: &mut PgConnection,
    run: RunId,
    size: i64,
    batch_size: u32,
    heeds_pause: bool,
) -> Result<Planned, StoreError> {
    let row = sqlx::query(
        "-- plan_run
         SELECT tenant_id, ordinal, opens_after, cutoff, minimum, state, paused_at IS NOT NULL AS paused FROM run WHERE id = $1",
    )
    .bind(run.0)
    .fetch_optional(&mut *tx)
    .await
    .step("plan_run")?
    .ok_or_else(|| StoreError::Broken(format!("run {run} does not exist")))?;
    let read = "plan_run";
    if word::<RunState>(&row, "state")? != RunState::Planning {
        return Ok(Planned::Complete);
    }
    if heeds_pause && row.try_get("paused").step(read)? {
        return Ok(Planned::Paused);
    }
    let tenant: i32 = row.try_get("tenant_id").step(read)?;
    cut(tx, run, tenant, size).await?;
    let Some(chunk) = chunk_lock(tx, run).await? else {
        plan_complete(tx, run).await?;
        return Ok(Planned::Complete);
    };
    let rules = Rules::new(row.try_get("minimum").step(read)?, batch_size)?;
    let part = Part {
        tenant,
        ordinal: row.try_get("ordinal").step(read)?,
        opens_after: row.try_get("opens_after").step(read)?,
        cutoff: row.try_get("cutoff").step(read)?,
        after: chunk.after,
        up_to: chunk.up_to,
    };
    // Numbered in the order of rail account and currency, so that every batch is one range of numbers; and written as they come, in this order.
    let sql = format!(
        "-- plan_chunk\nWITH {DECIDED},
           numbered AS (
             SELECT d.*, ($10::bigint << 32) + $11 + row_number() OVER (ORDER BY lane, currency, affiliate_id) - 1 AS id,
                    (row_number() OVER (PARTITION BY lane, currency ORDER BY affiliate_id) - 1) / payouts_per_batch AS part
               FROM decided d WHERE verdict = 'pay'),
           paid AS (
             INSERT INTO payout (id, run_id, affiliate_id, method_id, amount_minor, carried_minor, tenant_id, currency)
             SELECT id, $10, affiliate_id, method_id, amount_minor, carried_minor, $1, currency FROM numbered),
           reserved AS (
             INSERT INTO transfer (payout_id, kind, tenant_id, amount_minor, currency)
             SELECT id, 0, $1, amount_minor, currency FROM numbered),
           batched AS (
             INSERT INTO batch (tenant_id, run_id, rail, account, credential, currency, first_payout_id, last_payout_id, payouts, amount_minor)
             SELECT $1, $10, rail, account, credential, currency, first, last, payouts, amount_minor
               FROM (SELECT lane, currency, min(id) AS first, max(id) AS last, count(*) AS payouts, sum(amount_minor) AS amount_minor
                       FROM numbered GROUP BY lane, currency, part) AS b
               JOIN (SELECT DISTINCT lane, rail, account, credential FROM way) AS w USING (lane) ORDER BY first
             RETURNING payouts),
           excluded AS (
             INSERT INTO exclusion (run_id, affiliate_id, currency, tenant_id, reason, amount_minor, carried_minor)
             SELECT $10, affiliate_id, currency, $1, verdict, amount_minor, carried_minor FROM decided WHERE verdict <> 'pay'
              ORDER BY affiliate_id, currency
             RETURNING reason),
           -- A difference, not a new balance: money released meanwhile by an earlier run is added to the same row and stays for the next one.
           carried AS (
             UPDATE account a SET carried_minor = a.carried_minor + moved.minor
               FROM (SELECT affiliate_id, currency, CASE verdict WHEN 'pay' THEN 0 ELSE amount_minor END - carried_minor AS minor
                       FROM judged) AS moved
              WHERE a.tenant_id = $1 AND a.affiliate_id = moved.affiliate_id AND a.currency = moved.currency AND moved.minor <> 0),
           counted AS (
             INSERT INTO run_plan (run_id, chunk, currency, verdict, accounts, amount_minor)
             SELECT $10, $12, currency, verdict, count(*), sum(amount_minor) FROM decided GROUP BY currency, verdict)
         SELECT (SELECT coalesce(sum(payouts), 0)::bigint FROM batched) AS payouts,
                EXISTS (SELECT FROM excluded WHERE reason = 'balance_out_of_range') AS some_wait"
    );
    let row = bind(sqlx::query(sqlx::AssertSqlSafe(sql)), &part, &rules)
        .bind(run.0)
        .bind(chunk.first_place)
        .bind(chunk.n)
        .fetch_one(&mut *tx)
        .await
        .step("plan_chunk")?;
    let payouts: i64 = row.try_get("payouts").step("plan_chunk")?;
    if payouts > chunk.accounts {
        // Their numbers would be those of the next chunk's payouts.
        return Err(StoreError::Broken(format!(
            "chunk {} of run {run} has {payouts} payouts of {} accounts",
            chunk.n, chunk.accounts
        )));
    }
    if row.try_get("some_wait").step("plan_chunk")? {
        earned_wait(tx, run, &part).await?;
    }
    chunk_done(tx, run, chunk.n).await?;
    Ok(Planned::Chunk(PlanProgress { affiliates: (chunk.after, chunk.up_to), accounts: chunk.accounts }))
}

/// Leaves to the next run what was earned in this one's window by accounts whose balance would be too large: its commissions are `late_for` it.
async fn earned_wait(tx: &mut PgConnection, run: RunId, part: &Part) -> Result<(), StoreError> {
    sqlx::query(
        "-- plan_earned_wait
         UPDATE commission c SET late_for = $4 + 1
           FROM exclusion x
          WHERE x.run_id = $7 AND x.reason = 'balance_out_of_range' AND x.affiliate_id > $5 AND x.affiliate_id <= $6
            AND c.tenant_id = $1 AND c.affiliate_id = x.affiliate_id AND c.currency = x.currency
            AND (c.late_for = $4 OR c.late_for IS NULL AND c.due_at <= $3 AND ($2::timestamptz IS NULL OR c.due_at > $2))",
    )
    .bind(part.tenant)
    .bind(part.opens_after)
    .bind(part.cutoff)
    .bind(part.ordinal)
    .bind(part.after)
    .bind(part.up_to)
    .bind(run.0)
    .execute(tx)
    .await
    .step("plan_earned_wait")?;
    Ok(())
}
