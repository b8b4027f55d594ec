//! Whether this is the database that the fleet has worked with, or one that lost what it had confirmed: restored from a
//! backup, or a standby that was promoted too early. What it does not know of is sent again, so it is refused until
//! people have recovered it (see `recovery`).
//!
//! A number that counts intents would not tell: those of two workers are not confirmed in the order in which they were
//! counted, and a sequence is restored to where it was, or ahead of it. So what is remembered are the last intents
//! themselves. Whatever a database lost it lost from the end: if the one that was confirmed last is there, all are. Of
//! those that one worker has under way at once nobody knows which that is, so more are remembered than it can have
//! under way.

use std::fmt;
use std::str::FromStr;

use futures_util::future::BoxFuture;
use payfleet_domain::{AttemptNo, BatchId};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::connect::{Step, Store, StoreError, chain};
use crate::recovery::LOST;

/// An intent that was confirmed to somebody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Mark {
    /// The generation of the database that has it.
    pub generation: Uuid,
    /// Of which batch.
    pub batch: BatchId,
    /// Which of its attempts.
    pub attempt: AttemptNo,
    /// When, by the database's clock: the same attempt of a restored database is another one.
    pub opened_at: OffsetDateTime,
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = self.opened_at.unix_timestamp_nanos() / 1_000;
        write!(f, "{} {} {} {micros}", self.generation.simple(), self.batch, self.attempt.0)
    }
}

/// What was remembered is not a mark.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not the mark of an intent")]
pub struct NoMark(pub String);

impl FromStr for Mark {
    type Err = NoMark;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let read = || {
            let mut words = text.split(' ');
            let mark = Mark {
                generation: words.next()?.parse().ok()?,
                batch: BatchId(words.next()?.parse().ok()?),
                attempt: AttemptNo(words.next()?.parse().ok()?),
                opened_at: OffsetDateTime::from_unix_timestamp_nanos(words.next()?.parse::<i128>().ok()? * 1_000)
                    .ok()?,
            };
            words.next().is_none().then_some(mark)
        };
        read().ok_or_else(|| NoMark(text.to_owned()))
    }
}

/// What outlives the database in the memory of programs.
pub trait Memory: Send + Sync + fmt::Debug {
    /// Keeps the mark of an intent. Only when this has returned without an error may the call be made.
    fn keep<'a>(&'a self, mark: &'a Mark) -> BoxFuture<'a, Result<(), String>>;

    /// The newest marks of this process: a few, since they are asked for with each intent.
    fn own(&self) -> Vec<Mark>;

    /// All marks that can be known here: of this process, of others and of those that have ended.
    fn seen(&self) -> BoxFuture<'_, Result<Vec<Mark>, String>>;

    /// Keeps marks that others have made and that were found to be there. What fails here costs a witness, no more.
    fn learn<'a>(&'a self, marks: &'a [Mark]) -> BoxFuture<'a, ()>;
}

/// What a session has to do with its database.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Standing {
    pub generation: Uuid,
    /// It was proven in this session that nothing is missing.
    pub is_proven: bool,
}

/// The answer of a session that has not proven anything yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unproven;

/// How many of the newest intents are learned from the database by who has made none.
const LEARNED: i64 = 64;

impl Store {
    /// The same store, for a program that remembers what it has seen of it.
    #[must_use]
    pub fn remembering(self, memory: std::sync::Arc<dyn Memory>) -> Store {
        Store { memory: Some(memory), ..self }
    }

    /// The key of the database's first generation: the name of the installation.
    pub async fn installation(&self) -> Result<Uuid, StoreError> {
        self.transaction("installation_read", |tx| {
            Box::pin(async move {
                sqlx::query_scalar("-- installation_read\nSELECT key FROM generation WHERE no = 1")
                    .fetch_one(tx)
                    .await
                    .step("installation_read")
            })
        })
        .await
    }

    /// Fails with [`StoreError::Behind`] if the database does not have all that was seen of it, or is being recovered;
    /// then nothing may be planned, sent or freed. Whoever finds it out first says it to all. `program` is who asks.
    pub async fn generation_check(&self, program: &'static str) -> Result<(), StoreError> {
        let memory = self.memory.clone();
        let seen = match &memory {
            Some(memory) => memory.seen().await.map_err(StoreError::Memory)?,
            None => Vec::new(),
        };
        let remembered: Vec<Uuid> = seen.iter().map(|mark| mark.generation).collect();
        let newest = self
            .transaction("generation_check", move |tx| {
                let seen = seen.clone();
                Box::pin(async move {
                    let (standing, missing) = standing(tx, &seen).await?;
                    if let Some(missing) = missing {
                        return Ok(Err(missing));
                    }
                    newest(tx, &standing).await.map(Ok)
                })
            })
            .await;
        if let Err(StoreError::Behind(_)) = newest {
            // A recovery is open already: what is remembered only here counts no more after it, or it would be found
            // missing then.
            if let Err(error) = self.generations_lose(remembered).await {
                tracing::warn!(
                    error = chain(&error),
                    "which lost times are remembered here could not be written; after the recovery they will be found \
                     again"
                );
            }
        }
        match newest? {
            Ok(newest) => {
                if let Some(memory) = memory {
                    memory.learn(&newest).await;
                }
                Ok(())
            }
            Err(missing) => Err(self.behind(program, missing).await),
        }
    }

    /// What of all this, which was seen of the database, it does not have, in words, for a screen: nothing is written,
    /// and nobody is stopped. `None` if nothing is missing, and while a recovery is open, which has its own words.
    pub async fn generation_missing(&self, seen: Vec<Mark>) -> Result<Option<String>, StoreError> {
        let standing = self
            .transaction("generation_look", move |tx| {
                let seen = seen.clone();
                Box::pin(async move { standing(tx, &seen).await })
            })
            .await;
        match standing {
            Ok((_, missing)) => Ok(missing.map(missing_words)),
            Err(StoreError::Behind(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Tells all programs that the database is behind, and gives the error to end with.
    async fn generations_lose(&self, keys: Vec<Uuid>) -> Result<(), StoreError> {
        self.transaction("generations_lose", move |tx| {
            let keys = keys.clone();
            Box::pin(async move { generations_lost(tx, &keys).await })
        })
        .await
    }

    pub(crate) async fn behind(&self, program: &'static str, missing: Mark) -> StoreError {
        let words = missing_words(missing);
        match self.recovery_open(program, &words).await {
            // Not even that could be written: it is behind all the same.
            Err(error) => {
                tracing::warn!(error = chain(&error), "that the database is behind could not be written into it");
                StoreError::Behind(words)
            }
            Ok(_) => {
                let mut keys = vec![missing.generation];
                // What else is remembered here of times that are lost counts no more either after the recovery, or each
                // would need one of its own.
                match &self.memory {
                    None => {}
                    Some(memory) => match memory.seen().await {
                        Ok(seen) => keys.extend(seen.into_iter().map(|mark| mark.generation)),
                        Err(why) => tracing::warn!(why, "what else was seen cannot be read"),
                    },
                }
                if let Err(error) = self.generations_lose(keys).await {
                    tracing::warn!(
                        error = chain(&error),
                        "of which generation it was could not be written; after the recovery it will be found again"
                    );
                }
                StoreError::Behind(words)
            }
        }
    }
}

fn missing_words(missing: Mark) -> String {
    let Mark { batch, attempt, opened_at, .. } = missing;
    format!("attempt {} of batch {batch}, opened at {opened_at}, is missing here", attempt.0)
}

/// Writes down which of these generations this database has never heard of, with the recovery that is open.
pub(crate) async fn generations_lost(tx: &mut PgConnection, keys: &[Uuid]) -> Result<(), StoreError> {
    sqlx::query(
        "-- generations_lost
         INSERT INTO generation_lost (key, recovery_id)
         SELECT DISTINCT lost.key, r.id FROM unnest($1::uuid[]) AS lost (key), recovery r
          WHERE r.closed_at IS NULL AND NOT EXISTS (SELECT FROM generation g WHERE g.key = lost.key)
             ON CONFLICT DO NOTHING",
    )
    .bind(keys)
    .execute(tx)
    .await
    .step("generations_lost")?;
    Ok(())
}

/// What a session has to do with its database, as columns of a statement that has the newest generation as `g`. Of the
/// marks, which are four arrays, the last that should be here and is not: what was seen in an older generation was
/// recovered from, also in one that was itself lost since; one that the database has never heard of came after it.
macro_rules! standing_columns {
    ($generations:literal, $batches:literal, $attempts:literal, $instants:literal) => {
        concat!(
            "g.key, current_setting('payfleet.proven', true) IS NOT DISTINCT FROM g.key::text AS is_proven,
             (SELECT found_by || ': ' || words FROM recovery WHERE closed_at IS NULL) AS recovering,
             (SELECT max(s.place) FROM unnest(",
            $generations,
            "::uuid[], ",
            $batches,
            "::bigint[], ",
            $attempts,
            "::int[], ",
            $instants,
            "::timestamptz[]) WITH ORDINALITY AS s (generation, batch, n, opened_at, place)
               WHERE CASE WHEN s.generation = g.key
                          THEN NOT EXISTS (SELECT FROM attempt a WHERE a.batch_id = s.batch AND a.n = s.n
                            AND a.opened_at = s.opened_at)
                          ELSE NOT EXISTS (SELECT FROM generation o WHERE o.key = s.generation)
                           AND NOT EXISTS (SELECT FROM generation_lost o WHERE o.key = s.generation) END) AS missing"
        )
    };
}
pub(crate) use standing_columns;

/// The marks as the arrays that these columns ask for.
pub(crate) fn arrays(seen: &[Mark]) -> (Vec<Uuid>, Vec<i64>, Vec<i32>, Vec<OffsetDateTime>) {
    (
        seen.iter().map(|mark| mark.generation).collect(),
        seen.iter().map(|mark| mark.batch.0).collect(),
        seen.iter().map(|mark| mark.attempt.0).collect(),
        seen.iter().map(|mark| mark.opened_at).collect(),
    )
}

/// Reads the columns; fails if a recovery is open.
pub(crate) fn standing_of(row: &PgRow, seen: &[Mark]) -> Result<(Standing, Option<Mark>), StoreError> {
    let read = "generation_standing";
    if let Some(words) = row.try_get::<Option<String>, _>("recovering").step(read)? {
        return Err(StoreError::Behind(words));
    }
    let place: Option<i64> = row.try_get("missing").step(read)?;
    let missing = place.and_then(|place| seen.get(usize::try_from(place).ok()?.checked_sub(1)?)).copied();
    let standing =
        Standing { generation: row.try_get("key").step(read)?, is_proven: row.try_get("is_proven").step(read)? };
    Ok((standing, missing))
}

async fn standing(tx: &mut PgConnection, seen: &[Mark]) -> Result<(Standing, Option<Mark>), StoreError> {
    let (generations, batches, attempts, instants) = arrays(seen);
    let row = sqlx::query(concat!(
        "-- generation_standing\nSELECT ",
        standing_columns!("$1", "$2", "$3", "$4"),
        " FROM generation g ORDER BY g.no DESC LIMIT 1"
    ))
    .bind(generations)
    .bind(batches)
    .bind(attempts)
    .bind(instants)
    .fetch_one(tx)
    .await
    .step("generation_standing")?;
    standing_of(&row, seen)
}

/// From now on this session is one of the database that the fleet has worked with. Ends with the transaction if that is
/// taken back.
pub(crate) async fn session_prove(tx: &mut PgConnection, standing: &Standing) -> Result<(), StoreError> {
    sqlx::query("-- session_prove\nSELECT set_config('payfleet.proven', $1, false)")
        .bind(standing.generation.to_string())
        .execute(tx)
        .await
        .step("session_prove")?;
    Ok(())
}

async fn newest(tx: &mut PgConnection, standing: &Standing) -> Result<Vec<Mark>, StoreError> {
    let rows: Vec<(i64, i32, OffsetDateTime)> = sqlx::query_as(
        "-- attempts_newest
         SELECT batch_id, n, opened_at FROM attempt
          WHERE opened_at >= (SELECT began_at FROM generation WHERE key = $1) AND worker <> ALL($3)
            ORDER BY opened_at DESC LIMIT $2",
    )
    .bind(standing.generation)
    .bind(LEARNED)
    // Those have no instant of their own.
    .bind(["nobody known", LOST])
    .fetch_all(tx)
    .await
    .step("attempts_newest")?;
    let mark = |(batch, n, opened_at)| Mark {
        generation: standing.generation,
        batch: BatchId(batch),
        attempt: AttemptNo(n),
        opened_at,
    };
    Ok(rows.into_iter().map(mark).rev().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_read_as_it_was_written_and_nothing_else_is_one() {
        let mark = Mark {
            generation: Uuid::from_u128(7),
            batch: BatchId(12),
            attempt: AttemptNo(3),
            opened_at: OffsetDateTime::UNIX_EPOCH + time::Duration::microseconds(1_764_443_057_123_456),
        };
        assert_eq!(mark.to_string().parse(), Ok(mark));
        assert!(mark.to_string().len() < 100, "a line of the file beside the program");
        for no_mark in ["", "x", "1 2 3 4 5", &format!("{mark} 1")] {
            assert!(no_mark.parse::<Mark>().is_err(), "{no_mark}");
        }
    }
}
