//! Planning: who is paid what in a run, and why the others are not. Set-based SQL over chunks of affiliates in key
//! order, one transaction each, so that a crash loses a chunk at most and memory does not depend on how many there are.
//! Which chunk is planned next is in `chunk`.
//!
//! What is due to an account is what it carried over plus the commissions of the run's window (see table `run`). What
//! was released, came back or was proven late while the run is being planned counts in the next one, and says so
//! (`transfer.due_in`). The query that decides is in `obstacle`; a dry run asks the same.

use std::str::FromStr;

use payfleet_domain::{Currency, RunId, RunState, TransferKind};
use serde::Serialize;
use sqlx::{PgConnection, Row};

use crate::batch::{currency, word};
use crate::chunk::{chunk_done, chunk_lock, cut, plan_complete};
use crate::connect::{Step, Store, StoreError, detached};
use crate::obstacle::{Asked, DUE, Part, Rules, Window, bind, bind_window, judged};

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

impl Store {
    /// Plans the next chunk of a run: one transaction that claims what is due, writes payouts or exclusions, reserves
    /// the money, fills batches and marks the chunk as planned. May be called on several connections at once, which
    /// plan different chunks. `chunk` is the number of accounts in one, about; the run's first call decides.
    pub async fn plan_chunk(&self, run: RunId, chunk: i64, batch_size: u32) -> Result<Planned, StoreError> {
        self.transaction("plan_chunk", move |tx| Box::pin(plan_chunk(tx, run, chunk, batch_size, true))).await
    }

    /// The same for a run that is paused and stays so: a plan must be finished before it can be cancelled.
    pub async fn plan_chunk_paused(&self, run: RunId, chunk: i64, batch_size: u32) -> Result<Planned, StoreError> {
        self.transaction("plan_chunk", move |tx| Box::pin(plan_chunk(tx, run, chunk, batch_size, false))).await
    }

    /// What a run's plan decided, by currency and verdict.
    pub async fn plan_lines(&self, run: RunId) -> Result<Vec<PlanLine>, StoreError> {
        let pool = self.pool.clone();
        detached(async move {
            let rows = sqlx::query(
                "-- plan_lines
                 SELECT currency, verdict, sum(accounts)::bigint AS accounts, sum(amount_minor)::text AS minor
                   FROM run_plan WHERE run_id = $1
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

pub(crate) fn line_read(row: &sqlx::postgres::PgRow, minor: &str) -> Result<PlanLine, StoreError> {
    let sum: String = row.try_get(minor).step("plan_read")?;
    Ok(PlanLine {
        currency: currency(row, "currency")?,
        verdict: row.try_get("verdict").step("plan_read")?,
        accounts: row.try_get("accounts").step("plan_read")?,
        amount_minor: i128::from_str(&sum).map_err(|error| StoreError::Broken(format!("a sum of `{sum}`: {error}")))?,
    })
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
         SELECT tenant_id, ordinal, opens_after, cutoff, minimum, state, paused_at IS NOT NULL AS paused FROM run
           WHERE id = $1",
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
    let part = Part { tenant, after: chunk.after, up_to: chunk.up_to };
    let window = Window {
        ordinal: row.try_get("ordinal").step(read)?,
        opens_after: row.try_get("opens_after").step(read)?,
        cutoff: row.try_get("cutoff").step(read)?,
    };
    // Numbered in the order of rail account and currency, so that every batch is one range of numbers; and written as
    // they come, in this order.
    let sql = format!(
        "-- plan_chunk\nWITH {DUE}, {judged},
           numbered AS (
             SELECT d.*, ($10::bigint << 32) + $11 + row_number() OVER (ORDER BY lane, currency,
               affiliate_id) - 1 AS id,
                    (row_number() OVER (PARTITION BY lane, currency
                      ORDER BY affiliate_id) - 1) / payouts_per_batch AS part
               FROM decided d WHERE verdict = 'pay'),
           paid AS (
             INSERT INTO payout (id, run_id, affiliate_id, method_id, amount_minor, carried_minor, tenant_id, currency)
             SELECT id, $10, affiliate_id, method_id, amount_minor, carried_minor, $1, currency FROM numbered),
           reserved AS (
             INSERT INTO transfer (payout_id, kind, tenant_id, amount_minor, currency)
             SELECT id, $13, $1, amount_minor, currency FROM numbered),
           batched AS (
             INSERT INTO batch (tenant_id, run_id, rail, account, credential, currency, first_payout_id,
               last_payout_id, payouts, amount_minor, outcomes, counted_after)
             SELECT $1, $10, rail, account, credential, currency, first, last, payouts, amount_minor,
                    jsonb_build_array(jsonb_build_object('state', 'planned', 'payouts', payouts,
                      'minor', amount_minor)), pg_snapshot_xmin(pg_current_snapshot())
               FROM (SELECT lane, currency, min(id) AS first, max(id) AS last, count(*) AS payouts,
                 sum(amount_minor) AS amount_minor
                       FROM numbered GROUP BY lane, currency, part) AS b
               JOIN (SELECT DISTINCT lane, rail, account, credential FROM way) AS w USING (lane) ORDER BY first
             RETURNING payouts),
           excluded AS (
             INSERT INTO exclusion (run_id, affiliate_id, currency, tenant_id, reason, amount_minor, carried_minor)
             SELECT $10, affiliate_id, currency, $1, verdict, amount_minor, carried_minor FROM decided
               WHERE verdict <> 'pay'
              ORDER BY affiliate_id, currency
             RETURNING reason),
           -- A difference, not a new balance: money released meanwhile by an earlier run is added to the same row and
           -- stays for the next one.
           carried AS (
             UPDATE account a SET carried_minor = a.carried_minor + moved.minor
               FROM (SELECT affiliate_id, currency, CASE verdict WHEN 'pay' THEN 0
                 ELSE amount_minor END - carried_minor AS minor
                       FROM judged) AS moved
              WHERE a.tenant_id = $1 AND a.affiliate_id = moved.affiliate_id AND a.currency = moved.currency
                AND moved.minor <> 0),
           counted AS (
             INSERT INTO run_plan (run_id, chunk, currency, verdict, accounts, amount_minor)
             SELECT $10, $12, currency, verdict, count(*), sum(amount_minor) FROM decided GROUP BY currency, verdict)
         SELECT (SELECT coalesce(sum(payouts), 0)::bigint FROM batched) AS payouts,
                EXISTS (SELECT FROM excluded WHERE reason = 'balance_out_of_range') AS some_wait",
        judged = judged(Asked::Verdict),
    );
    let row = bind_window(bind(sqlx::query(sqlx::AssertSqlSafe(sql)), &part, &rules), &window)
        .bind(run.0)
        .bind(chunk.first_place)
        .bind(chunk.n)
        .bind(TransferKind::Reserve.number())
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
        earned_wait(tx, run, &part, &window).await?;
    }
    chunk_done(tx, run, chunk.n).await?;
    Ok(Planned::Chunk(PlanProgress { affiliates: (chunk.after, chunk.up_to), accounts: chunk.accounts }))
}

/// Leaves to the next run what was earned in this one's window by accounts whose balance would be too large: its
/// commissions are `late_for` it.
async fn earned_wait(tx: &mut PgConnection, run: RunId, part: &Part, window: &Window) -> Result<(), StoreError> {
    sqlx::query(
        "-- plan_earned_wait
         UPDATE commission c SET late_for = $4 + 1
           FROM exclusion x
          WHERE x.run_id = $7 AND x.reason = 'balance_out_of_range' AND x.affiliate_id > $5 AND x.affiliate_id <= $6
            AND c.tenant_id = $1 AND c.affiliate_id = x.affiliate_id AND c.currency = x.currency
            AND (c.late_for = $4 OR c.late_for IS NULL AND c.due_at <= $3
              AND ($2::timestamptz IS NULL OR c.due_at > $2))",
    )
    .bind(part.tenant)
    .bind(window.opens_after)
    .bind(window.cutoff)
    .bind(window.ordinal)
    .bind(part.after)
    .bind(part.up_to)
    .bind(run.0)
    .execute(tx)
    .await
    .step("plan_earned_wait")?;
    Ok(())
}
