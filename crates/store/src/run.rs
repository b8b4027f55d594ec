//! Runs: how one comes to be, and how people stop, resume and cancel it.

use payfleet_domain::{Period, RunId, RunState, TenantId};
use rust_decimal::Decimal;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::batch::word;
use crate::connect::{Step, Store, StoreError, detached};
use crate::late::months_unrun;
use crate::locks::{CUTOFF_LOCK, RELEASE_LOCK, TURN_LOCK};
use crate::run_errors::{RunChangeError, RunCreateError};
use crate::sql::open_runs;

/// Keeps new runs from being created until the end of the transaction, for the tenants of these payouts.
pub(crate) async fn release_lock(tx: &mut PgConnection, payouts: &[i64]) -> Result<(), StoreError> {
    sqlx::query(
        "-- release_lock
         SELECT pg_advisory_xact_lock_shared($1, tenant_id)
           FROM (SELECT DISTINCT tenant_id FROM payout WHERE id = ANY($2) ORDER BY tenant_id) AS t",
    )
    .bind(RELEASE_LOCK)
    .bind(payouts)
    .execute(tx)
    .await
    .step("release_lock")?;
    Ok(())
}

/// Locks the runs of these tenants in which money may go out, also those that begin meanwhile. An intent shares its
/// run's row: whoever stops money by something else than that row (a control, a contest) takes this first. Then an
/// intent is either written, and seen, or it waits, and sees.
pub(crate) async fn runs_lock_against_intents(tx: &mut PgConnection, tenants: &[i32]) -> Result<(), StoreError> {
    sqlx::query(concat!(
        "-- runs_lock_against_intents
         SELECT FROM run WHERE state IN ",
        open_runs!(),
        " AND tenant_id = ANY($1)
           ORDER BY id FOR NO KEY UPDATE"
    ))
    .bind(tenants)
    .execute(tx)
    .await
    .step("runs_lock_against_intents")?;
    Ok(())
}

/// Waits for the intents of a run that are being written, and keeps later ones waiting.
async fn stop_turn(tx: &mut PgConnection, run: RunId) -> Result<(), StoreError> {
    sqlx::query("-- stop_turn\nSELECT pg_advisory_xact_lock($1, $2::bigint::int)")
        .bind(TURN_LOCK)
        .bind(run.0)
        .execute(tx)
        .await
        .step("stop_turn")?;
    Ok(())
}

/// The same for all open runs of a tenant. For who has locked nothing yet: an intent that has its turn may wait for a
/// row.
pub(crate) async fn stop_turns(tx: &mut PgConnection, tenant: TenantId) -> Result<(), StoreError> {
    sqlx::query(concat!(
        "-- stop_turns
         SELECT pg_advisory_xact_lock($1, r.id::int) FROM (
           SELECT id FROM run WHERE state IN ",
        open_runs!(),
        " AND tenant_id = $2 ORDER BY id) AS r"
    ))
    .bind(TURN_LOCK)
    .bind(tenant.0)
    .execute(tx)
    .await
    .step("stop_turns")?;
    Ok(())
}

/// What a run is asked for.
#[derive(Debug, Clone, Copy)]
pub struct NewRun {
    /// Whose.
    pub tenant: TenantId,
    /// For which month.
    pub period: Period,
    /// 1, or more for a further run of the same period.
    pub sequence: i16,
    /// The least that is paid, in units of each currency.
    pub minimum: Decimal,
}

/// A run.
#[derive(Debug, Clone)]
pub struct RunRow {
    /// Its number.
    pub id: RunId,
    /// Whose.
    pub tenant: TenantId,
    /// Its tenant's name.
    pub tenant_name: String,
    /// The random part of its keys.
    pub key: Uuid,
    /// Its month.
    pub period: String,
    /// 1, or more for a further run of the same period.
    pub sequence: i16,
    /// Its place among the tenant's runs.
    pub ordinal: i32,
    /// Where its window opens (excluded); `None` is the beginning.
    pub opens_after: Option<OffsetDateTime>,
    /// Where its window ends (included).
    pub cutoff: OffsetDateTime,
    /// The least that is paid, in units of each currency.
    pub minimum: Decimal,
    /// Where it stands.
    pub state: RunState,
    /// What the reconciler has found: `reconciled` or `discrepant`. Its state too, unless that is `cancelled`.
    pub verdict: Option<RunState>,
    /// Why it is paused, if it is.
    pub pause_reason: Option<String>,
    /// Payouts planned so far.
    pub payouts: i64,
    /// When it was created.
    pub created_at: OffsetDateTime,
    /// When payment began.
    pub paying_at: Option<OffsetDateTime>,
    /// When everybody was accounted for.
    pub settled_at: Option<OffsetDateTime>,
}

const COLUMNS: &str = "
    r.id, r.tenant_id, t.name AS tenant_name, r.key, r.period, r.sequence, r.ordinal, r.opens_after, r.cutoff,
    r.minimum, r.state, r.verdict, r.pause_reason, r.payouts, r.created_at, r.paying_at, r.settled_at";

fn run_row(row: &PgRow) -> Result<RunRow, StoreError> {
    let read = "run_read";
    Ok(RunRow {
        id: RunId(row.try_get("id").step(read)?),
        tenant: TenantId(row.try_get("tenant_id").step(read)?),
        tenant_name: row.try_get("tenant_name").step(read)?,
        key: row.try_get("key").step(read)?,
        period: row.try_get("period").step(read)?,
        sequence: row.try_get("sequence").step(read)?,
        ordinal: row.try_get("ordinal").step(read)?,
        opens_after: row.try_get("opens_after").step(read)?,
        cutoff: row.try_get("cutoff").step(read)?,
        minimum: row.try_get("minimum").step(read)?,
        state: word(row, "state")?,
        verdict: row
            .try_get::<Option<String>, _>("verdict")
            .step(read)?
            .map(|verdict| verdict.parse().map_err(StoreError::Broken))
            .transpose()?,
        pause_reason: row.try_get("pause_reason").step(read)?,
        payouts: row.try_get("payouts").step(read)?,
        created_at: row.try_get("created_at").step(read)?,
        paying_at: row.try_get("paying_at").step(read)?,
        settled_at: row.try_get("settled_at").step(read)?,
    })
}

async fn run_where(
    connection: &mut PgConnection,
    condition: &'static str,
    key: i64,
    wanted: &str,
    n: i16,
) -> Result<Option<RunRow>, StoreError> {
    let sql = format!("-- run_find\nSELECT {COLUMNS} FROM run r JOIN tenant t ON t.id = r.tenant_id WHERE {condition}");
    let row = sqlx::query(sqlx::AssertSqlSafe(sql)) // only constants of this file
        .bind(key)
        .bind(wanted)
        .bind(n)
        .fetch_optional(connection)
        .await
        .step("run_find")?;
    row.as_ref().map(run_row).transpose()
}

impl Store {
    /// Creates the run of (tenant, period, sequence), or finds it: the second trigger of a run gets the first one's.
    /// Fixes its cutoff: imports that commit later belong to the next window, whatever their dates. Returns whether it
    /// is new. What is due of months before it that were never run is in its window.
    pub async fn run_create(&self, new: NewRun) -> Result<(RunRow, bool), RunCreateError> {
        self.run_make(new, true).await
    }

    /// The same, but no run that closes months before it which were never run.
    pub async fn run_create_in_order(&self, new: NewRun) -> Result<(RunRow, bool), RunCreateError> {
        self.run_make(new, false).await
    }

    async fn run_make(&self, new: NewRun, may_skip: bool) -> Result<(RunRow, bool), RunCreateError> {
        self.transaction("run_create", move |tx| {
            Box::pin(async move {
                sqlx::query("-- cutoff_lock\nSELECT pg_advisory_xact_lock($1, $2)")
                    .bind(CUTOFF_LOCK)
                    .bind(new.tenant.0)
                    .execute(&mut *tx)
                    .await
                    .step("cutoff_lock")?;
                sqlx::query("-- release_lock_alone\nSELECT pg_advisory_xact_lock($1, $2)")
                    .bind(RELEASE_LOCK)
                    .bind(new.tenant.0)
                    .execute(&mut *tx)
                    .await
                    .step("release_lock_alone")?;
                let period = new.period.to_string();
                let same = "r.tenant_id = $1 AND r.period = $2 AND r.sequence = $3";
                if let Some(run) = run_where(tx, same, new.tenant.0.into(), &period, new.sequence).await? {
                    return Ok(Ok((run, false)));
                }
                let newest = "r.tenant_id = $1 AND $2::text IS NOT NULL AND $3::smallint IS NOT NULL
                               ORDER BY r.ordinal DESC
                               LIMIT 1";
                let last = run_where(tx, newest, new.tenant.0.into(), "", 0).await?;
                let cutoff = new.period.cutoff();
                let over: bool = sqlx::query_scalar("-- period_over\nSELECT $1 < clock_timestamp()")
                    .bind(cutoff)
                    .fetch_one(&mut *tx)
                    .await
                    .step("period_over")?;
                if !over {
                    return Ok(Err(RunCreateError::NotOver(period)));
                }
                if let Some(last) = &last {
                    if last.cutoff > cutoff || (last.cutoff == cutoff && last.sequence >= new.sequence) {
                        return Ok(Err(RunCreateError::OutOfOrder { period, last_period: last.period.clone() }));
                    }
                    // Two half-planned runs would read each other's balances half-way.
                    if last.state == RunState::Planning {
                        return Ok(Err(RunCreateError::StillPlanning(last.id)));
                    }
                }
                let before = last.as_ref().filter(|last| last.cutoff == cutoff).map_or(0, |last| last.sequence);
                if new.sequence != before + 1 {
                    return Ok(Err(RunCreateError::SequenceGap { period, sequence: new.sequence }));
                }
                let months = if may_skip { Vec::new() } else { months_unrun(tx, new.tenant.0, cutoff).await? };
                if !months.is_empty() {
                    return Ok(Err(RunCreateError::SkipsMonths { period, months }));
                }
                let id: i64 = sqlx::query_scalar(
                    "-- run_insert
                     INSERT INTO run (tenant_id, period, sequence, ordinal, opens_after, cutoff, minimum)
                     VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING id",
                )
                .bind(new.tenant.0)
                .bind(&period)
                .bind(new.sequence)
                .bind(last.as_ref().map_or(1, |last| last.ordinal + 1))
                .bind(last.as_ref().map(|last| last.cutoff))
                .bind(cutoff)
                .bind(new.minimum)
                .fetch_one(&mut *tx)
                .await
                .step("run_insert")?;
                let by_id = "r.id = $1 AND $2::text IS NOT NULL AND $3::smallint IS NOT NULL";
                let run = run_where(tx, by_id, id, "", 0).await?;
                run.map(|run| Ok((run, true)))
                    .ok_or_else(|| StoreError::Broken("a run that was just inserted cannot be read".into()))
            })
        })
        .await?
    }

    /// The run of this number.
    pub async fn run_find(&self, run: RunId) -> Result<Option<RunRow>, StoreError> {
        let pool = self.pool.clone();
        detached(async move {
            let mut connection = pool.acquire().await.step("run_find")?;
            run_where(&mut connection, "r.id = $1 AND $2::text IS NOT NULL AND $3::smallint IS NOT NULL", run.0, "", 0)
                .await
        })
        .await
    }

    /// Runs, newest first; of one tenant or of all.
    pub async fn runs_list(&self, tenant: Option<TenantId>, limit: i64) -> Result<Vec<RunRow>, StoreError> {
        let pool = self.pool.clone();
        detached(async move {
            let sql = format!(
                "-- runs_list\nSELECT {COLUMNS} FROM run r JOIN tenant t ON t.id = r.tenant_id
                  WHERE $1::int IS NULL OR r.tenant_id = $1 ORDER BY r.id DESC LIMIT $2"
            );
            let rows = sqlx::query(sqlx::AssertSqlSafe(sql)) // only constants of this file
                .bind(tenant.map(|id| id.0))
                .bind(limit)
                .fetch_all(&pool)
                .await
                .step("runs_list")?;
            rows.iter().map(run_row).collect()
        })
        .await
    }

    /// Pauses a run: no intent is written any more once this returns. What is under way is still recorded; calls of
    /// intents that were written before go on until their workers have confirmed the stop (see `stop_progress`). Any
    /// run that is not closed can be paused; of a cancelled one nothing is sent anyway.
    pub async fn run_pause(&self, run: RunId, reason: &str) -> Result<(), RunChangeError> {
        let reason = reason.to_owned();
        let done = self
            .transaction("run_pause", move |tx| {
                let reason = reason.clone();
                Box::pin(async move {
                    stop_turn(tx, run).await?;
                    sqlx::query(concat!(
                        "-- run_pause
                         UPDATE run SET paused_at = coalesce(paused_at, clock_timestamp()),
                           pause_reason = coalesce(pause_reason, $2), stop_no = stop_no + 1
                          WHERE id = $1 AND state IN ",
                        open_runs!()
                    ))
                    .bind(run.0)
                    .bind(reason)
                    .execute(tx)
                    .await
                    .step("run_pause")
                    .map(|done| done.rows_affected())
                })
            })
            .await?;
        self.explain_unless(done == 1, run, "paused").await
    }

    /// Lets a paused run go on, if each of its alarms is answered: one reason to pause must not hide another.
    pub async fn run_resume(&self, run: RunId) -> Result<(), RunChangeError> {
        let (is_alarmed, done) = self
            .transaction("run_resume", move |tx| {
                Box::pin(async move {
                    // Locked before it is asked about alarms: one that is just being raised has the row, and is seen
                    // only by a statement that begins later.
                    sqlx::query("-- run_lock\nSELECT FROM run WHERE id = $1 FOR NO KEY UPDATE")
                        .bind(run.0)
                        .execute(&mut *tx)
                        .await
                        .step("run_lock")?;
                    let is_alarmed: bool =
                        sqlx::query_scalar("-- run_alarmed\nSELECT EXISTS (SELECT FROM alarm_open WHERE run_id = $1)")
                            .bind(run.0)
                            .fetch_one(&mut *tx)
                            .await
                            .step("run_alarmed")?;
                    sqlx::query(concat!(
                        "-- run_resume
                         UPDATE run SET paused_at = NULL, pause_reason = NULL
                          WHERE id = $1 AND (state IN ",
                        open_runs!(),
                        " OR state = 'cancelled'
                            AND paused_at IS NOT NULL)
                            AND NOT $2"
                    ))
                    .bind(run.0)
                    .bind(is_alarmed)
                    .execute(tx)
                    .await
                    .step("run_resume")
                    .map(|done| (is_alarmed, done.rows_affected()))
                })
            })
            .await?;
        match self.run_find(run).await? {
            Some(row) if done == 0 && is_alarmed && row.pause_reason.is_some() => Err(RunChangeError::Alarmed(run)),
            _ => self.explain_unless(done == 1, run, "resumed").await,
        }
    }

    async fn explain_unless(&self, done: bool, run: RunId, wanted: &'static str) -> Result<(), RunChangeError> {
        if done {
            return Ok(());
        }
        match self.run_find(run).await? {
            None => Err(RunChangeError::Unknown(run)),
            Some(row) => Err(RunChangeError::Illegal { run, state: row.state, wanted }),
        }
    }

    /// Cancels a run that is planned or paying: nothing of it is sent any more, not even to find out, and the money of
    /// what provably was not is due again. Returns how many payouts were cancelled. To be repeated once the workers
    /// have confirmed it; and after an interruption.
    pub async fn run_cancel(&self, run: RunId) -> Result<u64, RunChangeError> {
        let changed = self
            .transaction("run_cancel", move |tx| {
                Box::pin(async move {
                    stop_turn(tx, run).await?;
                    sqlx::query(
                        "-- run_cancel
                         UPDATE run SET state = 'cancelled', paused_at = NULL, pause_reason = NULL,
                                stop_no = stop_no + CASE WHEN state = 'cancelled' THEN 0 ELSE 1 END
                          WHERE id = $1 AND (state = ANY($2) OR state = 'cancelled')",
                    )
                    .bind(run.0)
                    .bind(RunState::sources(RunState::Cancelled))
                    .execute(tx)
                    .await
                    .step("run_cancel")
                    .map(|done| done.rows_affected())
                })
            })
            .await?;
        self.explain_unless(changed == 1, run, "cancelled").await?;
        Ok(self.unsent_cancel(run).await?)
    }
}
