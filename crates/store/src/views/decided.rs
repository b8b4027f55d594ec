//! What a run would decide, account by account, with all that stands in the way of those who are not paid.

use std::collections::BTreeMap;

use payfleet_domain::{Currency, Exclusion, Money, TenantId};
use rust_decimal::Decimal;
use serde::Serialize;
use sqlx::postgres::PgRow;
use sqlx::{Executor, Row};
use time::OffsetDateTime;

use crate::batch::{currency, word};
use crate::connect::{Step, Store, StoreError, detached};
use crate::obstacle::{Asked, DUE, Part, Rules, Window, bind, bind_window, judged};
use crate::plan::{PlanLine, line_read};
use crate::run::NewRun;
use crate::session::Connection;

/// Why an account is not paid, or not by one of its methods.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Obstacle {
    /// The reason code.
    pub code: Exclusion,
    /// The method that it is about; none if it is about the account.
    pub method: Option<String>,
}

/// Where money goes, and from where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Way {
    /// The tenant's name for the method.
    pub method: String,
    /// Over which rail.
    pub rail: String,
    /// From which account there.
    pub account: String,
    /// Where to.
    pub destination: String,
}

/// What is decided about one account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decided {
    /// The tenant's own name for the affiliate.
    pub affiliate: String,
    /// How it is called.
    pub name: String,
    /// What is due, or what it owes.
    pub amount: Money,
    /// Why it is not paid; `None`: it is.
    pub reason: Option<Exclusion>,
    /// All that stands in the way, `reason` first; none of somebody who is paid.
    pub obstacles: Vec<Obstacle>,
    /// How it is paid, if it is.
    pub way: Option<Way>,
}

/// The accounts that are judged, as rows for people. Follows [`judged`] of [`Asked::Reasons`].
pub(super) const LISTED: &str = "
  ways AS (
    SELECT c.affiliate_id, c.currency, array_agg(o.code ORDER BY c.priority, o.place) AS codes,
           array_agg(coalesce(c.method, '') ORDER BY c.priority, o.place) AS methods
      FROM candidate c, unnest(c.of_method) WITH ORDINALITY AS o (code, place)
     WHERE c.of_method <> '{}' GROUP BY c.affiliate_id, c.currency),
  listed AS (
    SELECT d.affiliate_id, a.external_id, a.name, d.currency, d.amount_minor, d.verdict, d.of_account,
           CASE WHEN d.obstacle IS NOT NULL THEN coalesce(ways.codes, '{}') ELSE '{}' END AS codes,
           CASE WHEN d.obstacle IS NOT NULL THEN coalesce(ways.methods, '{}') ELSE '{}' END AS methods,
           m.method, m.destination, w.rail, w.account
      FROM decided d
      JOIN affiliate a ON a.id = d.affiliate_id AND a.tenant_id = $1 AND a.id > $2 AND a.id <= $3
      LEFT JOIN ways ON ways.affiliate_id = d.affiliate_id AND ways.currency = d.currency
      LEFT JOIN payout_method m ON m.id = d.method_id AND m.tenant_id = $1 AND d.verdict = 'pay'
      LEFT JOIN (SELECT DISTINCT lane, rail, account FROM way) AS w ON w.lane = d.lane)";

/// Reads a row of [`LISTED`].
pub(super) fn decided(row: &PgRow) -> Result<Decided, StoreError> {
    let read = "decided_read";
    let verdict: String = row.try_get("verdict").step(read)?;
    let reason = if verdict == "pay" { None } else { Some(word(row, "verdict")?) };
    let code = |code: &String| code.parse::<Exclusion>().map_err(StoreError::Broken);
    let of_account: Vec<String> = row.try_get("of_account").step(read)?;
    let codes: Vec<String> = row.try_get("codes").step(read)?;
    let methods: Vec<String> = row.try_get("methods").step(read)?;
    let mut obstacles = Vec::with_capacity(of_account.len() + codes.len());
    for of in &of_account {
        obstacles.push(Obstacle { code: code(of)?, method: None });
    }
    for (of, method) in codes.iter().zip(methods) {
        obstacles.push(Obstacle { code: code(of)?, method: (!method.is_empty()).then_some(method) });
    }
    let way = match row.try_get::<Option<String>, _>("method").step(read)? {
        Some(method) => Some(Way {
            method,
            rail: row.try_get("rail").step(read)?,
            account: row.try_get("account").step(read)?,
            destination: row.try_get("destination").step(read)?,
        }),
        None => None,
    };
    Ok(Decided {
        affiliate: row.try_get("external_id").step(read)?,
        name: row.try_get("name").step(read)?,
        amount: Money { minor: row.try_get("amount_minor").step(read)?, currency: currency(row, "currency")? },
        reason,
        obstacles,
        way,
    })
}

/// What a new run would decide, in parts. All of them are of one moment, however long it takes.
pub struct DryPlan {
    connection: Connection,
    tenant: TenantId,
    window: Window,
    rules: Rules,
    after: i64,
    chunk: i64,
}

impl Store {
    /// Begins to decide what a new run would decide, without writing anything, so many accounts at a time.
    pub async fn plan_dry_open(&self, new: NewRun, chunk: i64) -> Result<DryPlan, StoreError> {
        let store = self.clone();
        let rules = Rules::new(new.minimum, u32::MAX)?;
        detached(async move {
            let step = "plan_dry";
            // Not given back to the pool: its snapshot ends with it.
            let mut connection = store.pool.acquire().await.step(step)?.keep();
            connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await.step(step)?;
            let last: Option<(i32, OffsetDateTime)> = sqlx::query_as(
                "-- run_newest\nSELECT ordinal, cutoff FROM run WHERE tenant_id = $1 ORDER BY ordinal DESC LIMIT 1",
            )
            .bind(new.tenant.0)
            .fetch_optional(&mut *connection)
            .await
            .step("run_newest")?;
            let window = Window {
                ordinal: last.map_or(1, |(ordinal, _)| ordinal + 1),
                opens_after: last.map(|(_, cutoff)| cutoff),
                cutoff: new.period.cutoff(),
            };
            Ok(DryPlan { connection, tenant: new.tenant, window, rules, after: 0, chunk })
        })
        .await
    }

    /// What a new run would decide, by currency and verdict.
    pub async fn plan_dry(&self, new: NewRun, chunk: i64) -> Result<Vec<PlanLine>, StoreError> {
        let mut plan = self.plan_dry_open(new, chunk).await?;
        let mut sums: BTreeMap<(Currency, String), (i64, i128)> = BTreeMap::new();
        while let Some(lines) = plan.lines_next().await? {
            for line in lines {
                let sum = sums.entry((line.currency, line.verdict)).or_default();
                sum.0 += line.accounts;
                sum.1 += line.amount_minor;
            }
        }
        plan.end().await?;
        let line =
            |((currency, verdict), (accounts, amount_minor))| PlanLine { currency, verdict, accounts, amount_minor };
        Ok(sums.into_iter().map(line).collect())
    }

    /// What a run that was planned now, up to this very moment, would decide about one affiliate: what is due to it by
    /// now in each currency, and all that stands in the way. `minimum` is that of the run.
    pub(super) async fn decided_now(
        &self,
        tenant: TenantId,
        affiliate: i64,
        minimum: Decimal,
    ) -> Result<Vec<Decided>, StoreError> {
        let pool = self.pool.clone();
        let rules = Rules::new(minimum, u32::MAX)?;
        detached(async move {
            let mut connection = pool.acquire().await.step("decided_now")?;
            let (ordinal, opens_after, cutoff) = sqlx::query_as(
                "-- window_now
                 SELECT coalesce(max(ordinal), 0) + 1, max(cutoff), greatest(max(cutoff), clock_timestamp())
                   FROM run WHERE tenant_id = $1",
            )
            .bind(tenant.0)
            .fetch_one(&mut *connection)
            .await
            .step("window_now")?;
            let window = Window { ordinal, opens_after, cutoff };
            let part = Part { tenant: tenant.0, after: affiliate - 1, up_to: affiliate };
            let rows = bind_window(bind(sqlx::query(sqlx::AssertSqlSafe(listed())), &part, &rules), &window)
                .fetch_all(&mut *connection)
                .await
                .step("decided_now")?;
            rows.iter().map(decided).collect()
        })
        .await
    }
}

/// What a window decides, row by row.
fn listed() -> String {
    let judged = judged(Asked::Reasons);
    format!("-- plan_list\nWITH {DUE}, {judged}, {LISTED} SELECT * FROM listed ORDER BY affiliate_id, currency")
}

impl DryPlan {
    /// The next accounts, each with what is decided about it. `None`: that were all.
    pub async fn rows_next(&mut self) -> Result<Option<Vec<Decided>>, StoreError> {
        let Some(part) = self.part_next().await? else { return Ok(None) };
        let rows = bind_window(bind(sqlx::query(sqlx::AssertSqlSafe(listed())), &part, &self.rules), &self.window)
            .fetch_all(&mut *self.connection)
            .await
            .step("plan_list")?;
        rows.iter().map(decided).collect::<Result<_, _>>().map(Some)
    }

    /// The same, counted.
    async fn lines_next(&mut self) -> Result<Option<Vec<PlanLine>>, StoreError> {
        let Some(part) = self.part_next().await? else { return Ok(None) };
        let sql = format!(
            "-- plan_dry\nWITH {DUE}, {judged}
             SELECT currency, verdict, count(*) AS accounts, sum(amount_minor)::text AS minor
               FROM decided GROUP BY currency, verdict",
            judged = judged(Asked::Verdict),
        );
        let rows = bind_window(bind(sqlx::query(sqlx::AssertSqlSafe(sql)), &part, &self.rules), &self.window)
            .fetch_all(&mut *self.connection)
            .await
            .step("plan_dry")?;
        rows.iter().map(|row| line_read(row, "minor")).collect::<Result<_, _>>().map(Some)
    }

    /// The affiliates of the next so many accounts.
    async fn part_next(&mut self) -> Result<Option<Part>, StoreError> {
        let up_to: Option<i64> = sqlx::query_scalar(
            "-- plan_chunk_end
             SELECT max(affiliate_id) FROM (
               SELECT affiliate_id FROM account WHERE tenant_id = $1 AND affiliate_id > $2
                ORDER BY tenant_id, affiliate_id LIMIT $3) AS next",
        )
        .bind(self.tenant.0)
        .bind(self.after)
        .bind(self.chunk)
        .fetch_one(&mut *self.connection)
        .await
        .step("plan_chunk_end")?;
        let Some(up_to) = up_to else { return Ok(None) };
        let part = Part { tenant: self.tenant.0, after: self.after, up_to };
        self.after = up_to;
        Ok(Some(part))
    }

    /// Lets the moment go.
    pub async fn end(self) -> Result<(), StoreError> {
        self.connection.end().await.step("plan_dry")
    }
}
