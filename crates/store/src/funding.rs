//! Funding accounts that can pay nothing for now, as all workers know them. What follows from what calls have told is
//! decided by `domain`; here it is read and written, under the locks of the few rows that there are of an account.

use std::time::Duration;

use payfleet_domain::{
    AccountChange, AccountNews, AccountStanding, AccountState, AccountStop, Act, BatchId, CallWindow, Currency,
    PROBE_LASTS, StopReason, TokenHash,
};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};
use time::OffsetDateTime;

use crate::batch::word;
use crate::connect::{Step, Store, StoreError, detached};
use crate::people::{WhoError, person_may};

/// A funding account with which something was wrong, in one currency or in all of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FundingRow {
    /// On which rail.
    pub rail: String,
    /// The rail's name for it.
    pub account: String,
    /// Of which currency; `None` is of all of it.
    pub currency: Option<Currency>,
    /// How it stands.
    pub state: AccountState,
    /// Since when: since it was stopped, or since it pays again.
    pub since: Option<OffsetDateTime>,
    /// Why it is stopped, or was.
    pub reason: Option<StopReason>,
    /// Batches that were sent in vain to find out.
    pub probes: i32,
    /// From when on the next one may be.
    pub probe_at: Option<OffsetDateTime>,
    /// Who let it go on; `None` is a batch that was paid.
    pub resumed_by: Option<String>,
}

/// Why an account was not let go on.
#[derive(Debug, thiserror::Error)]
pub enum ResumeError {
    /// It needs somebody who may.
    #[error(transparent)]
    Who(#[from] WhoError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The rows of an account that concern a currency, of all of it first.
pub(crate) struct Rows {
    rail: String,
    account: String,
    rows: Vec<(String, AccountStanding)>,
    now: OffsetDateTime,
}

/// Whether something is wrong with the funding account of a batch `b`: whether it is stopped, and whether calls are
/// counted. Two looks into a table that is empty as a rule.
macro_rules! funding_columns {
    () => {
        "EXISTS (SELECT FROM funding_stop f WHERE f.rail = b.rail AND f.account = b.account
            AND f.currency IN ('', b.currency) AND f.stopped_at IS NOT NULL) AS is_account_stopped,
         EXISTS (SELECT FROM funding_stop f WHERE f.rail = b.rail AND f.account = b.account
            AND f.currency = '' AND f.window_from > clock_timestamp() - interval '60 seconds') AS is_account_watched"
    };
}
pub(crate) use funding_columns;

impl Rows {
    /// Under their locks, in one order.
    async fn lock(tx: &mut PgConnection, rail: &str, account: &str, currencies: &[&str]) -> Result<Rows, StoreError> {
        let rows = sqlx::query(
            "-- funding_lock
             SELECT currency, reason, stopped_at, probes, probe_at, probe_batch, probe_until, window_from, calls,
                    unknown
               FROM funding_stop WHERE rail = $1 AND account = $2 AND currency = ANY($3)
              ORDER BY currency FOR UPDATE",
        )
        .bind(rail)
        .bind(account)
        .bind(currencies)
        .fetch_all(&mut *tx)
        .await
        .step("funding_lock")?;
        // Looked at when nothing more is waited for.
        let now = sqlx::query_scalar("-- funding_now\nSELECT clock_timestamp()")
            .fetch_one(&mut *tx)
            .await
            .step("funding_now")?;
        let rows = rows.iter().map(standing).collect::<Result<_, _>>()?;
        Ok(Rows { rail: rail.to_owned(), account: account.to_owned(), rows, now })
    }

    async fn write(&self, tx: &mut PgConnection, at: usize, resumed: bool) -> Result<(), StoreError> {
        let (currency, AccountStanding { stop, window }) = &self.rows[at];
        sqlx::query(
            "-- funding_write
             UPDATE funding_stop
                SET reason = coalesce($4, reason), stopped_at = $5, probes = $6, probe_at = $7, probe_batch = $8,
                    probe_until = $9, window_from = $10, calls = $11, unknown = $12,
                    resumed_at = CASE WHEN $13 THEN $14 ELSE resumed_at END,
                    resumed_by = CASE WHEN $13 THEN NULL ELSE resumed_by END
              WHERE rail = $1 AND account = $2 AND currency = $3",
        )
        .bind(&self.rail)
        .bind(&self.account)
        .bind(currency)
        .bind(stop.map(|stop| stop.reason.as_str()))
        .bind(stop.map(|stop| stop.since))
        .bind(stop.map_or(0, |stop| stop.probes))
        .bind(stop.map(|stop| stop.probe_at))
        .bind(stop.and_then(|stop| stop.probe).map(|(batch, _)| batch.0))
        .bind(stop.and_then(|stop| stop.probe).map(|(_, until)| until))
        .bind(window.map(|window| window.from))
        .bind(window.map_or(0, |window| window.calls))
        .bind(window.map_or(0, |window| window.unknown))
        .bind(resumed)
        .bind(self.now)
        .execute(tx)
        .await
        .step("funding_write")?;
        Ok(())
    }
}

fn standing(row: &PgRow) -> Result<(String, AccountStanding), StoreError> {
    let read = "funding_lock";
    let stop = match row.try_get::<Option<OffsetDateTime>, _>("stopped_at").step(read)? {
        None => None,
        Some(since) => {
            let batch: Option<i64> = row.try_get("probe_batch").step(read)?;
            let until: Option<OffsetDateTime> = row.try_get("probe_until").step(read)?;
            Some(AccountStop {
                reason: word(row, "reason")?,
                since,
                probes: row.try_get("probes").step(read)?,
                probe_at: row.try_get("probe_at").step(read)?,
                probe: batch.map(BatchId).zip(until),
            })
        }
    };
    let window = match row.try_get::<Option<OffsetDateTime>, _>("window_from").step(read)? {
        None => None,
        Some(from) => Some(CallWindow {
            from,
            calls: row.try_get("calls").step(read)?,
            unknown: row.try_get("unknown").step(read)?,
        }),
    };
    Ok((row.try_get("currency").step(read)?, AccountStanding { stop, window }))
}

/// Whether a batch may be sent although its account was stopped, to find out; if not, how long it has to wait. It holds
/// the batch's lock; others wait for it until it commits.
pub(crate) async fn funding_probe(tx: &mut PgConnection, batch: BatchId) -> Result<Result<(), Duration>, StoreError> {
    let (rail, account, currency): (String, String, String) =
        sqlx::query_as("-- funding_of\nSELECT rail, account, currency::text FROM batch WHERE id = $1")
            .bind(batch.0)
            .fetch_one(&mut *tx)
            .await
            .step("funding_of")?;
    let mut rows = Rows::lock(tx, &rail, &account, &["", &currency]).await?;
    let now = rows.now;
    let stops = rows.rows.iter().filter_map(|(_, standing)| standing.stop);
    let wait = stops.map(|stop| stop.probe_in(batch, now)).max().unwrap_or(Duration::ZERO);
    if !wait.is_zero() {
        return Ok(Err(wait));
    }
    for at in 0..rows.rows.len() {
        if let Some(stop) = &mut rows.rows[at].1.stop {
            stop.probe_begin(batch, now);
            rows.write(tx, at, false).await?;
        }
    }
    Ok(Ok(()))
}

/// What waits for an account is looked at now.
async fn batches_wake(tx: &mut PgConnection, rail: &str, account: &str, currencies: &[&str]) -> Result<(), StoreError> {
    sqlx::query(
        "-- funding_wake
         WITH free AS (
           SELECT b.id FROM batch b
            WHERE b.rail = $1 AND b.account = $2 AND ('' = ANY($3) OR b.currency::text = ANY($3))
              AND b.state IN ('ready', 'sending') AND b.lease_until < clock_timestamp()
              AND b.available_at > clock_timestamp()
            ORDER BY b.id FOR NO KEY UPDATE SKIP LOCKED)
         UPDATE batch b SET available_at = clock_timestamp(), available_in = '0' FROM free WHERE b.id = free.id",
    )
    .bind(rail)
    .bind(account)
    .bind(currencies)
    .execute(tx)
    .await
    .step("funding_wake")?;
    Ok(())
}

impl Store {
    /// Takes in what calls have told of the account that they were made from. Only to be asked where something is
    /// wrong, was a moment ago, or is to be found out: of what goes well nothing is kept. Returns what has changed.
    pub async fn account_hear(
        &self,
        rail: &'static str,
        account: &str,
        currency: Currency,
        news: AccountNews,
    ) -> Result<Vec<AccountChange>, StoreError> {
        let account = account.to_owned();
        self.transaction("account_hear", move |tx| {
            let account = account.clone();
            Box::pin(async move {
                let code = currency.code();
                let of_all = news.unknown > 0 || news.stop.is_some_and(|reason| !reason.is_of_currency());
                let of_one = news.stop.is_some_and(|reason| reason.is_of_currency());
                let wanted: Vec<&str> = [of_all.then_some(""), of_one.then_some(code)].into_iter().flatten().collect();
                sqlx::query(
                    "-- funding_insert
                     INSERT INTO funding_stop (rail, account, currency) SELECT $1, $2, unnest($3::text[])
                         ON CONFLICT DO NOTHING",
                )
                .bind(rail)
                .bind(&account)
                .bind(&wanted)
                .execute(&mut *tx)
                .await
                .step("funding_insert")?;
                let mut rows = Rows::lock(tx, rail, &account, &["", code]).await?;
                let mut changes = Vec::new();
                let now = rows.now;
                for at in 0..rows.rows.len() {
                    let (currency, standing) = &mut rows.rows[at];
                    let before = *standing;
                    let change = standing.hear(&news, currency.is_empty(), now);
                    if *standing != before {
                        rows.write(tx, at, change == Some(AccountChange::Resumed)).await?;
                    }
                    changes.extend(change);
                }
                if changes.contains(&AccountChange::Resumed) {
                    batches_wake(tx, rail, &account, &["", code]).await?;
                }
                Ok(changes)
            })
        })
        .await
    }

    /// Lets funding accounts of a rail go on, one or all of them: a person says that what was wrong is mended. Whoever
    /// is wrong costs a call. Returns which were stopped.
    pub async fn funding_resume(
        &self,
        rail: &'static str,
        account: Option<String>,
        by: TokenHash,
    ) -> Result<(String, Vec<FundingRow>), ResumeError> {
        self.transaction("funding_resume", move |tx| {
            let account = account.clone();
            Box::pin(async move {
                // Accounts are of the whole installation: several tenants may pay from one.
                let person = match person_may(tx, by, Act::Steer, None).await? {
                    Ok(person) => person,
                    Err(error) => return Ok(Err(ResumeError::Who(error))),
                };
                let rows = sqlx::query(
                    "-- funding_resume
                     WITH stopped AS (
                       SELECT f.rail, f.account, f.currency, f.reason, f.stopped_at, f.probes, f.probe_at,
                              f.probe_until, f.resumed_at, NULL::text AS resumed_by, clock_timestamp() AS now
                         FROM funding_stop f
                        WHERE f.rail = $1 AND ($2::text IS NULL OR f.account = $2) AND f.stopped_at IS NOT NULL
                        ORDER BY f.rail, f.account, f.currency FOR UPDATE),
                     resumed AS (
                       UPDATE funding_stop f
                          SET stopped_at = NULL, probes = 0, probe_at = NULL, probe_batch = NULL, probe_until = NULL,
                              window_from = NULL, calls = 0, unknown = 0, resumed_at = clock_timestamp(),
                              resumed_by = $3
                         FROM stopped s
                        WHERE f.rail = s.rail AND f.account = s.account AND f.currency = s.currency)
                     SELECT * FROM stopped ORDER BY account, currency",
                )
                .bind(rail)
                .bind(&account)
                .bind(person.id.0)
                .fetch_all(&mut *tx)
                .await
                .step("funding_resume")?;
                let rows: Vec<FundingRow> = rows.iter().map(funding_row).collect::<Result<_, _>>()?;
                for row in &rows {
                    let currency = row.currency.map(|currency| currency.to_string()).unwrap_or_default();
                    batches_wake(tx, rail, &row.account, &[&currency]).await?;
                }
                Ok(Ok((person.name, rows)))
            })
        })
        .await?
    }

    /// Funding accounts with which something is or was wrong, what is stopped first.
    pub async fn funding_list(&self) -> Result<Vec<FundingRow>, StoreError> {
        let pool = self.pool.clone();
        detached(async move {
            let rows = sqlx::query(
                "-- funding_list
                 SELECT f.rail, f.account, f.currency, f.reason, f.stopped_at, f.probes, f.probe_at, f.probe_until,
                        f.resumed_at, p.name AS resumed_by, clock_timestamp() AS now
                   FROM funding_stop f LEFT JOIN person p ON p.id = f.resumed_by
                  ORDER BY f.stopped_at IS NULL, f.rail, f.account, f.currency",
            )
            .fetch_all(&pool)
            .await
            .step("funding_list")?;
            rows.iter().map(funding_row).collect()
        })
        .await
    }
}

fn funding_row(row: &PgRow) -> Result<FundingRow, StoreError> {
    let read = "funding_list";
    let instant = |column: &str| row.try_get::<Option<OffsetDateTime>, _>(column).step(read);
    let (stopped_at, now) = (instant("stopped_at")?, row.try_get::<OffsetDateTime, _>("now").step(read)?);
    let reason: Option<String> = row.try_get("reason").step(read)?;
    let currency: String = row.try_get("currency").step(read)?;
    let is_probing = instant("probe_until")?.is_some_and(|until| until > now && until <= now + PROBE_LASTS);
    Ok(FundingRow {
        rail: row.try_get("rail").step(read)?,
        account: row.try_get("account").step(read)?,
        currency: match currency.as_str() {
            "" => None,
            code => Some(code.parse().map_err(|_| StoreError::Broken(format!("`{code}` is no currency")))?),
        },
        state: match (stopped_at, is_probing) {
            (None, _) => AccountState::Closed,
            (Some(_), false) => AccountState::Open,
            (Some(_), true) => AccountState::Probing,
        },
        since: stopped_at.or(instant("resumed_at")?),
        reason: reason.map(|word| word.parse().map_err(StoreError::Broken)).transpose()?,
        probes: row.try_get("probes").step(read)?,
        probe_at: instant("probe_at")?,
        resumed_by: row.try_get("resumed_by").step(read)?,
    })
}

#[cfg(test)]
mod tests {
    use payfleet_domain::BREAKER_WINDOW;

    #[test]
    fn a_statement_counts_for_as_long_as_domain_does() {
        let window = format!("interval '{} seconds'", BREAKER_WINDOW.as_secs());
        assert!(funding_columns!().contains(&window), "{window}");
    }
}
