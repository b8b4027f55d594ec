//! What the open batches of runs wait for. Reads batches, and of payouts only those that are held.

use payfleet_domain::{BatchState, RunId, Turn, WaitFacts, WaitReason, WorkerOffer, wait_reason};
use sqlx::Row;
use sqlx::postgres::PgRow;
use time::OffsetDateTime;

use crate::batch::word;
use crate::connect::{Step, Store, StoreError, detached};
use crate::sql::open_states;

/// Batches of one run that wait for the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// Of which run.
    pub run: RunId,
    /// Why.
    pub reason: WaitReason,
    /// Over which rail they are paid.
    pub rail: String,
    /// From which account there.
    pub account: String,
    /// Under which name a worker finds the credential.
    pub credential: Option<String>,
    /// How many.
    pub batches: i64,
    /// Payouts in them; of those that are held, only the payouts that are.
    pub payouts: i64,
    /// Since when the oldest of them has been open: since its run began to pay, or since it was first sent. Never moved
    /// by a try that brought nothing.
    pub since: Option<OffsetDateTime>,
    /// When the next of them is looked at, if nobody may before.
    pub until: Option<OffsetDateTime>,
    /// Failures in a row of the one that has most.
    pub failures: i32,
    /// What the last try brought.
    pub code: Option<String>,
}

/// Why work waits.
#[derive(Debug, Clone, Default)]
pub struct Waits {
    /// By run, what needs somebody first.
    pub waiting: Vec<Waiting>,
    /// The workers that live.
    pub workers: Vec<WorkerOffer>,
}

impl Store {
    /// Why the open batches of these runs wait, and which workers live.
    pub async fn waits_read(&self, runs: &[RunId]) -> Result<Waits, StoreError> {
        let workers = self.workers_alive().await?;
        let pool = self.pool.clone();
        let ids: Vec<i64> = runs.iter().map(|run| run.0).collect();
        detached(async move {
            let rows = sqlx::query(concat!(
                "-- waits_read
                 WITH open AS (
                   SELECT b.*, r.paused_at IS NOT NULL AS is_paused, r.state <> 'planned' AS has_begun,
                          CASE WHEN b.lease_until >= clock_timestamp() THEN 'in_hand'
                               WHEN b.available_at > clock_timestamp() THEN 'later' ELSE 'due' END AS turn,
                          EXISTS (SELECT FROM funding_stop f WHERE f.rail = b.rail AND f.account = b.account
                            AND f.currency IN ('', b.currency) AND f.stopped_at IS NOT NULL) AS is_account_stopped,
                          CASE WHEN b.state = 'ready' THEN coalesce(r.paying_at, r.planned_at)
                               ELSE coalesce(b.first_sent_at, r.paying_at) END AS since,
                          -- Other payouts of such a batch have their answers.
                          CASE WHEN b.state <> 'held' THEN b.payouts::bigint
                               ELSE (SELECT count(*) FROM hold h WHERE h.resolved_at IS NULL
                                        AND h.payout_id BETWEEN b.first_payout_id AND b.last_payout_id) END AS waiting
                     FROM batch b JOIN run r ON r.id = b.run_id
                    WHERE b.run_id = ANY($1) AND (b.state = 'held' OR b.state IN ",
                open_states!(),
                ")
                      AND r.state <> 'planning')
                 SELECT run_id, rail, account, credential, state, turn, is_paused, has_begun, is_account_stopped,
                        failures > 0 AS has_failed, CASE WHEN failures > 0 THEN last_code END AS code,
                        count(*) AS batches, sum(waiting)::bigint AS payouts,
                        min(since) AS since, max(failures) AS failures,
                        CASE WHEN turn = 'later' THEN min(available_at) END AS until
                   FROM open
                  GROUP BY run_id, rail, account, credential, state, turn, is_paused, has_begun,
                        is_account_stopped, failures > 0,
                        CASE WHEN failures > 0 THEN last_code END"
            ))
            .bind(ids)
            .fetch_all(&pool)
            .await
            .step("waits_read")?;
            let mut waiting: Vec<Waiting> = Vec::new();
            for row in &rows {
                let one = of_row(row, &workers)?;
                match waiting.iter_mut().find(|other| is_alike(other, &one)) {
                    Some(other) => add(other, &one),
                    None => waiting.push(one),
                }
            }
            waiting.sort_by(|one, other| {
                let key = |wait: &Waiting| (wait.run, wait.reason, wait.rail.clone(), wait.account.clone());
                key(one).cmp(&key(other))
            });
            Ok(Waits { waiting, workers })
        })
        .await
    }
}

fn of_row(row: &PgRow, workers: &[WorkerOffer]) -> Result<Waiting, StoreError> {
    let read = "waits_read";
    let (rail, account): (String, String) = (row.try_get("rail").step(read)?, row.try_get("account").step(read)?);
    let credential: Option<String> = row.try_get("credential").step(read)?;
    let state: BatchState = word(row, "state")?;
    let turn = match row.try_get::<String, _>("turn").step(read)?.as_str() {
        "in_hand" => Turn::InHand,
        "later" => Turn::Later,
        _ => Turn::Due,
    };
    let facts = WaitFacts {
        state,
        rail: &rail,
        account: &account,
        credential: credential.as_deref(),
        turn,
        has_failed: row.try_get("has_failed").step(read)?,
        is_paused: row.try_get("is_paused").step(read)?,
        has_begun: row.try_get("has_begun").step(read)?,
        is_account_stopped: row.try_get("is_account_stopped").step(read)?,
    };
    let reason = wait_reason(&facts, workers);
    Ok(Waiting {
        run: RunId(row.try_get("run_id").step(read)?),
        reason,
        batches: row.try_get("batches").step(read)?,
        payouts: row.try_get("payouts").step(read)?,
        since: row.try_get("since").step(read)?,
        until: row.try_get("until").step(read)?,
        failures: row.try_get("failures").step(read)?,
        code: row.try_get("code").step(read)?,
        rail,
        account,
        credential,
    })
}

/// Whether both are one line on a screen.
fn is_alike(one: &Waiting, other: &Waiting) -> bool {
    let key = |wait: &Waiting| (wait.run, wait.reason, wait.rail.clone(), wait.account.clone());
    let is_about_tries = one.reason == WaitReason::BackOff;
    let is_about_credential = one.reason == WaitReason::CredentialMissing;
    key(one) == key(other)
        && (!is_about_tries || one.code == other.code)
        && (!is_about_credential || one.credential == other.credential)
}

fn add(to: &mut Waiting, more: &Waiting) {
    to.batches += more.batches;
    to.payouts += more.payouts;
    to.since = [to.since, more.since].into_iter().flatten().min();
    to.until = [to.until, more.until].into_iter().flatten().min();
    to.failures = to.failures.max(more.failures);
    to.code = to.code.take().or_else(|| more.code.clone());
}
