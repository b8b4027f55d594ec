//! Alarms, and the people who answer for them. An open run is paused by one, and does not go on while one of its alarms
//! has no answer.

use payfleet_domain::{Act, AlarmKind, PayoutId, RunId, TenantId, TokenHash};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};
use time::OffsetDateTime;

use crate::batch::word;
use crate::connect::{Step, Store, StoreError, detached};
use crate::people::{WhoError, person_acts};
use crate::sql::open_runs;

/// An alarm, and its answer if it has one.
#[derive(Debug, Clone)]
pub struct AlarmRow {
    /// Its number.
    pub id: i64,
    /// Of which tenant.
    pub tenant_name: String,
    /// In which run.
    pub run: RunId,
    /// About which payout; `None` if it is about the whole run.
    pub payout: Option<PayoutId>,
    /// What happened.
    pub kind: AlarmKind,
    /// What is known of it.
    pub words: String,
    /// When it was found, by the database's clock.
    pub raised_at: OffsetDateTime,
    /// Who has answered, and with which words.
    pub answer: Option<(String, String)>,
}

/// Why an answer was not taken.
#[derive(Debug, thiserror::Error)]
pub enum AlarmError {
    /// No such alarm.
    #[error("there is no alarm {0} that waits for an answer; `alarms list` shows those that do")]
    NotOpen(i64),
    /// Who says so has no say.
    #[error(transparent)]
    Who(#[from] WhoError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What is to be raised about a payout, with what is known of it.
pub(crate) type Raised = (i64, AlarmKind, String);

/// Keeps alarms about payouts, and pauses the runs that they are of, where those are open, until people have looked.
/// Returns how many are new: one that is there already, answered or not, is the same news again, and pauses nothing.
pub(crate) async fn alarms_raise(tx: &mut PgConnection, raised: &[Raised]) -> Result<u64, StoreError> {
    let new = alarms_tell(tx, raised).await?;
    if new.is_empty() {
        return Ok(0);
    }
    let (runs, reasons): (Vec<i64>, Vec<&str>) = new.iter().map(|(run, kind)| (*run, kind.pause_reason())).unzip();
    sqlx::query(concat!(
        "-- runs_alarm
         UPDATE run r SET paused_at = coalesce(paused_at, clock_timestamp()),
           pause_reason = coalesce(pause_reason, new.reason)
           FROM (SELECT run, min(reason) AS reason FROM unnest($1::bigint[], $2::text[]) AS new (run, reason)
             GROUP BY run) AS new
          WHERE r.id = new.run AND r.state IN ",
        open_runs!()
    ))
    .bind(runs)
    .bind(reasons)
    .execute(tx)
    .await
    .step("runs_alarm")?;
    Ok(new.len() as u64)
}

/// Keeps alarms about payouts, and pauses nothing: for whoever only shares the lock on the run. Returns the runs and
/// kinds of those that are new.
pub(crate) async fn alarms_tell(tx: &mut PgConnection, raised: &[Raised]) -> Result<Vec<(i64, AlarmKind)>, StoreError> {
    if raised.is_empty() {
        return Ok(Vec::new());
    }
    let new = sqlx::query(
        "-- alarms_raise
         INSERT INTO alarm (tenant_id, run_id, payout_id, kind, words)
         SELECT p.tenant_id, p.run_id, p.id, one.kind, one.words
           FROM unnest($1::bigint[], $2::text[], $3::text[]) AS one (id, kind, words) JOIN payout p ON p.id = one.id
          ORDER BY p.id, one.kind
             ON CONFLICT DO NOTHING
      RETURNING run_id, kind",
    )
    .bind(raised.iter().map(|(payout, ..)| *payout).collect::<Vec<_>>())
    .bind(raised.iter().map(|(_, kind, _)| kind.as_str()).collect::<Vec<_>>())
    .bind(raised.iter().map(|(.., words)| words.clone()).collect::<Vec<_>>())
    .fetch_all(tx)
    .await
    .step("alarms_raise")?;
    new.iter().map(|row| Ok((row.try_get("run_id").step("alarms_raise")?, word(row, "kind")?))).collect()
}

/// Keeps an alarm about a whole run, once until it is answered, and pauses the run; a cancelled one too, or its closing
/// would be tried again at once.
pub(crate) async fn run_raise(
    tx: &mut PgConnection,
    run: RunId,
    kind: AlarmKind,
    words: &str,
) -> Result<(), StoreError> {
    sqlx::query(
        "-- run_raise
         INSERT INTO alarm (tenant_id, run_id, kind, words)
         SELECT r.tenant_id, r.id, $2, $3 FROM run r
          WHERE r.id = $1 AND NOT EXISTS (SELECT FROM alarm_open o WHERE o.run_id = r.id AND o.kind = $2
            AND o.payout_id IS NULL)",
    )
    .bind(run.0)
    .bind(kind.as_str())
    .bind(words)
    .execute(&mut *tx)
    .await
    .step("run_raise")?;
    sqlx::query(
        "-- run_unbalanced
         UPDATE run SET paused_at = clock_timestamp(), pause_reason = $2 WHERE id = $1",
    )
    .bind(run.0)
    .bind(kind.pause_reason())
    .execute(tx)
    .await
    .step("run_unbalanced")?;
    Ok(())
}

impl Store {
    /// Alarms in the order in which they were raised, newest last: those that wait for an answer, or all.
    pub async fn alarms_list(&self, all: bool, limit: i64) -> Result<Vec<AlarmRow>, StoreError> {
        let pool = self.pool.clone();
        detached(async move {
            let rows = sqlx::query(
                "-- alarms_list
                 SELECT * FROM (
                   SELECT a.id, t.name AS tenant_name, a.run_id, a.payout_id, a.kind, a.words, a.raised_at,
                     p.name AS by, w.words AS answer
                     FROM alarm a JOIN tenant t ON t.id = a.tenant_id
                     LEFT JOIN alarm_answer w ON w.alarm_id = a.id LEFT JOIN person p ON p.id = w.person_id
                    WHERE $1 OR w.alarm_id IS NULL ORDER BY a.id DESC LIMIT $2) AS newest
                  ORDER BY id",
            )
            .bind(all)
            .bind(limit)
            .fetch_all(&pool)
            .await
            .step("alarms_list")?;
            rows.iter().map(alarm).collect()
        })
        .await
    }

    /// How many alarms wait for an answer.
    pub async fn alarms_open(&self) -> Result<u64, StoreError> {
        let pool = self.pool.clone();
        detached(async move {
            let open: i64 = sqlx::query_scalar("-- alarms_open\nSELECT count(*) FROM alarm_open")
                .fetch_one(&pool)
                .await
                .step("alarms_open")?;
            Ok(open.unsigned_abs())
        })
        .await
    }

    /// How many alarms of one run wait for an answer.
    pub async fn run_alarms_open(&self, run: RunId) -> Result<u64, StoreError> {
        let pool = self.pool.clone();
        detached(async move {
            let open: i64 = sqlx::query_scalar("-- run_alarms_open\nSELECT count(*) FROM alarm_open WHERE run_id = $1")
                .bind(run.0)
                .fetch_one(&pool)
                .await
                .step("run_alarms_open")?;
            Ok(open.unsigned_abs())
        })
        .await
    }

    /// Answers for an alarm: a person has looked, and says what it was. One person is enough, since it frees no money.
    /// Returns who it was.
    pub async fn alarm_answer(&self, alarm: i64, words: &str, by: TokenHash) -> Result<String, AlarmError> {
        let words = words.to_owned();
        self.transaction("alarm_answer", move |tx| {
            let words = words.clone();
            Box::pin(async move { answer(tx, alarm, &words, by).await })
        })
        .await?
    }
}

fn alarm(row: &PgRow) -> Result<AlarmRow, StoreError> {
    let read = "alarms_list";
    let by: Option<String> = row.try_get("by").step(read)?;
    let answer: Option<String> = row.try_get("answer").step(read)?;
    Ok(AlarmRow {
        id: row.try_get("id").step(read)?,
        tenant_name: row.try_get("tenant_name").step(read)?,
        run: RunId(row.try_get("run_id").step(read)?),
        payout: row.try_get::<Option<i64>, _>("payout_id").step(read)?.map(PayoutId),
        kind: word(row, "kind")?,
        words: row.try_get("words").step(read)?,
        raised_at: row.try_get("raised_at").step(read)?,
        answer: by.zip(answer),
    })
}

async fn answer(
    tx: &mut PgConnection,
    alarm: i64,
    words: &str,
    by: TokenHash,
) -> Result<Result<String, AlarmError>, StoreError> {
    let tenant: Option<i32> = sqlx::query_scalar("-- alarm_find\nSELECT tenant_id FROM alarm_open WHERE id = $1")
        .bind(alarm)
        .fetch_optional(&mut *tx)
        .await
        .step("alarm_find")?;
    let person = match person_acts(tx, by, Act::Steer, tenant.map(TenantId)).await? {
        Ok(person) => person,
        Err(who) => return Ok(Err(who.into())),
    };
    if tenant.is_none() {
        return Ok(Err(AlarmError::NotOpen(alarm)));
    }
    let taken = sqlx::query(
        "-- alarm_answer
         INSERT INTO alarm_answer (alarm_id, person_id, words) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
    )
    .bind(alarm)
    .bind(person.id.0)
    .bind(words)
    .execute(tx)
    .await
    .step("alarm_answer")?;
    Ok(if taken.rows_affected() == 1 { Ok(person.name) } else { Err(AlarmError::NotOpen(alarm)) })
}
