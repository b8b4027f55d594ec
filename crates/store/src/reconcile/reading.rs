//! The statement of one account on its way in, read forward: each part once, whichever runs and tenants it speaks of.
//!
//! Pieces of it are held against the plans and recorded as they come, beside the reading of the next. What a line
//! proves counts at once; that something is *not* there counts only when the statement has come to its end mark, and
//! only up to the instant that this names.

use std::collections::VecDeque;

use payfleet_domain::{Person, Rail, StatementEnd, StatementLine};
use sha2::{Digest, Sha256};
use sqlx::{Executor, Row};
use time::{Duration, OffsetDateTime};
use tokio::task::JoinHandle;

use super::lines::piece_match;
use super::names::{AT_ONCE, Named, is_unnamed, keys_find, strays_name, strays_settle};
use super::piece::piece_record;
use super::{Applied, StatementAccount};
use crate::connect::{Step, Store, StoreError, detached};
use crate::locks::ACCOUNT_LOCK;
use crate::session::Connection;

/// Lines are matched and recorded in pieces of so many.
const PIECE_LINES: usize = 2_000;
/// So many pieces are recorded while the next is read; all that the program keeps of a statement.
const PIECES_AHEAD: usize = 2;

/// How long to wait for whoever reads the same account.
const PATIENCE: &str = "SET lock_timeout = '10s'";

/// Clocks of rail and database may differ, but not by this.
const BEFORE_THE_FIRST_RUN: Duration = Duration::DAY;

/// The clock of whoever wrote a file is taken to be ours, up to this.
const FILE_CLOCK_ERROR: Duration = Duration::MINUTE;

/// Where a statement comes from. What frees money counts at once only if the rail itself says it, asked with our
/// credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StatementSource {
    /// Fetched from the rail.
    Rail,
    /// Handed in by a person.
    File {
        /// The file's name.
        name: String,
        /// Who handed it in, if they said so by a token; it is their word that what the file tells is so.
        person: Option<Person>,
    },
}

impl StatementSource {
    pub(super) fn as_str(&self) -> &'static str {
        match self {
            StatementSource::Rail => "rail",
            StatementSource::File { .. } => "file",
        }
    }
}

/// What an account's statement brought.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AccountRead {
    /// Lines read.
    pub lines: i64,
    /// What they proved.
    pub applied: Applied,
    /// Up to when the statement is known without a gap, by the rail's clock.
    pub reaches_to: Option<OffsetDateTime>,
}

/// One part of an account's statement, from its first line to its end.
#[derive(Debug)]
pub struct AccountReading {
    store: Store,
    lock: Connection,
    account: Paying,
    source: StatementSource,
    from: Option<OffsetDateTime>,
    asked_at: OffsetDateTime,
    asked_in: String,
    lines: i64,
    digest: Sha256,
    piece: Vec<StatementLine>,
    /// Whether lines may be told by the rail's own names alone, and those that wait to be looked up by them.
    has_unnamed: bool,
    unnamed: Vec<StatementLine>,
    ahead: VecDeque<JoinHandle<Result<Applied, StoreError>>>,
    applied: Applied,
}

/// The account as its lines are held against it.
#[derive(Debug, Clone)]
pub(super) struct Paying {
    pub id: i32,
    pub rail: String,
    pub account: String,
}

impl Store {
    /// Begins with the next part of an account's statement. `None` if another one has been reading it for too long.
    pub async fn account_open(
        &self,
        account: &StatementAccount,
        source: StatementSource,
    ) -> Result<Option<AccountReading>, StoreError> {
        let (store, wanted) = (self.clone(), account.clone());
        detached(async move {
            // Not given back to the pool: its lock ends with it.
            let mut lock = store.pool.acquire().await.step("account_open")?.keep();
            let id: i32 = sqlx::query_scalar(
                "-- account_ensure
                 INSERT INTO rail_account (rail, account) VALUES ($1, $2) ON CONFLICT (rail, account) DO UPDATE
                   SET rail = excluded.rail RETURNING id",
            )
            .bind(&wanted.rail)
            .bind(&wanted.account)
            .fetch_one(&mut *lock)
            .await
            .step("account_ensure")?;
            // Another one's part may be just what is wanted, so it is waited for, and then read on from there.
            lock.execute(PATIENCE).await.step("account_lock")?;
            let locked = sqlx::query("-- account_lock\nSELECT pg_advisory_lock($1, $2)")
                .bind(ACCOUNT_LOCK)
                .bind(id)
                .execute(&mut *lock)
                .await
                .step("account_lock");
            match locked {
                Ok(_) => {}
                Err(late) if late.sqlstate().as_deref() == Some("55P03") => {
                    lock.end().await.step("account_open")?;
                    return Ok(None);
                }
                Err(error) => return Err(error),
            }
            let row = sqlx::query(
                "-- account_read
                 SELECT nullif(reaches_to, '-infinity') AS reaches_to, clock_timestamp() AS asked_at,
                   pg_current_snapshot()::text AS asked_in,
                        coalesce((SELECT min(r.created_at) FROM run r
                          WHERE EXISTS (SELECT FROM batch b WHERE b.run_id = r.id AND b.rail = a.rail
                            AND b.account = a.account)),
                          -- Of a run that is lost: since there was somebody to pay.
                          (SELECT min(t.created_at) FROM tenant t WHERE EXISTS (SELECT FROM recovery))) AS first_run
                   FROM rail_account a WHERE id = $1",
            )
            .bind(id)
            .fetch_one(&mut *lock)
            .await
            .step("account_read")?;
            let reaches_to: Option<OffsetDateTime> = row.try_get("reaches_to").step("account_read")?;
            let first_run: Option<OffsetDateTime> = row.try_get("first_run").step("account_read")?;
            Ok(Some(AccountReading {
                store,
                has_unnamed: Rail::named(&wanted.rail).is_ok_and(|rail| !rail.statement_bears_key),
                unnamed: Vec::new(),
                account: Paying { id, rail: wanted.rail, account: wanted.account },
                source,
                from: reaches_to.or(first_run.map(|at| at - BEFORE_THE_FIRST_RUN)),
                asked_at: row.try_get("asked_at").step("account_read")?,
                asked_in: row.try_get("asked_in").step("account_read")?,
                lock,
                lines: 0,
                digest: Sha256::new(),
                piece: Vec::new(),
                ahead: VecDeque::new(),
                applied: Applied::default(),
            }))
        })
        .await
    }
}

impl AccountReading {
    /// From which instant on, by the rail's clock, the next part is wanted. `None` if nothing was ever paid from the
    /// account.
    pub fn from(&self) -> Option<OffsetDateTime> {
        self.from
    }

    /// Takes a line. Nothing of it is believed yet.
    pub async fn line_add(&mut self, line: StatementLine) -> Result<(), StoreError> {
        self.lines += 1;
        self.digest.update(content(&line));
        if self.has_unnamed && is_unnamed(&line) {
            self.unnamed.push(line);
            return if self.unnamed.len() >= AT_ONCE { self.unnamed_send().await } else { Ok(()) };
        }
        self.piece_add(line).await
    }

    async fn piece_add(&mut self, line: StatementLine) -> Result<(), StoreError> {
        self.piece.push(line);
        if self.piece.len() >= PIECE_LINES { self.piece_send().await } else { Ok(()) }
    }

    /// Looks up whose the lines without a key are.
    async fn unnamed_send(&mut self) -> Result<(), StoreError> {
        let mut lines = std::mem::take(&mut self.unnamed);
        if lines.is_empty() {
            return Ok(());
        }
        let (store, account) = (self.store.clone(), self.account.clone());
        let lines = detached(async move {
            keys_find(&store.pool, &account, &mut lines).await?;
            Ok(lines)
        })
        .await?;
        for line in lines {
            self.piece_add(line).await?;
        }
        Ok(())
    }

    /// What earlier parts told of payments that were not known then, and are now.
    async fn strays_add(&mut self) -> Result<Vec<Named>, StoreError> {
        if !self.has_unnamed || !matches!(self.source, StatementSource::Rail) {
            return Ok(Vec::new());
        }
        let (store, account) = (self.store.clone(), self.account.clone());
        let named = detached(async move { strays_name(&store.pool, &account).await }).await?;
        for one in &named {
            self.piece_add(one.line.clone()).await?;
        }
        Ok(named)
    }

    async fn piece_send(&mut self) -> Result<(), StoreError> {
        if self.ahead.len() >= PIECES_AHEAD {
            self.piece_keep().await?;
        }
        let piece = std::mem::replace(&mut self.piece, Vec::with_capacity(PIECE_LINES));
        let (store, account, source) = (self.store.clone(), self.account.clone(), self.source.clone());
        // At once, beside the reading of the next one.
        self.ahead.push_back(tokio::spawn(detached(async move {
            let matched = piece_match(&store.pool, &account, piece).await?;
            piece_record(&store, account, source, matched).await
        })));
        Ok(())
    }

    /// Waits for the oldest piece under way.
    async fn piece_keep(&mut self) -> Result<(), StoreError> {
        let Some(piece) = self.ahead.pop_front() else { return Ok(()) };
        let lost = |lost| StoreError::Broken(format!("a part of the statement was lost: {lost}"));
        self.applied += piece.await.map_err(lost)??;
        Ok(())
    }

    /// The statement has ended. Without an end mark it proves nothing to be missing.
    pub async fn end(mut self, end: Option<StatementEnd>) -> Result<AccountRead, StoreError> {
        if let (StatementSource::File { name, .. }, Some(end)) = (&self.source, end)
            && end.until > self.asked_at + FILE_CLOCK_ERROR
        {
            let (says, believed) = (end.until.to_string(), self.asked_at.to_string());
            tracing::warn!(
                file = name,
                says,
                believed,
                "the file says that it reaches to an instant that is still to come; it is believed up to now"
            );
        }
        self.unnamed_send().await?;
        let named = self.strays_add().await?;
        if !self.piece.is_empty() {
            self.piece_send().await?;
        }
        while !self.ahead.is_empty() {
            self.piece_keep().await?;
        }
        strays_settle(&self.store, named).await?;
        // Nobody has a statement of what is still to come, whatever a file says; and one that ends before it begins
        // reaches nowhere.
        let end = end.filter(|end| end.from <= end.until).map(|end| match self.source {
            // Nor is it silent about what it lists as pending.
            StatementSource::Rail => StatementEnd { until: read_on_from(end), ..end },
            StatementSource::File { .. } => StatementEnd { until: end.until.min(self.asked_at), ..end },
        });
        let reaches_ours = end.map(|end| match self.source {
            // However the clocks differ: what is as old for the rail as its end is, was so long ago for us too.
            StatementSource::Rail => self.asked_at - (end.now - end.until).max(Duration::ZERO),
            StatementSource::File { .. } => end.until - FILE_CLOCK_ERROR,
        });
        let (name, person) = match &self.source {
            StatementSource::Rail => (format!("{}/{}", self.account.rail, self.account.account), None),
            StatementSource::File { name, person } => (name.clone(), person.as_ref().map(|person| person.id.0)),
        };
        let read = AccountRead { lines: self.lines, applied: self.applied, reaches_to: None };
        let (id, lines, source, wanted) = (self.account.id, self.lines, self.source.as_str(), self.from);
        let is_rail = matches!(self.source, StatementSource::Rail);
        let (asked_in, digest) = (self.asked_in.clone(), self.digest.finalize().to_vec());
        let reaches_to = self
            .store
            .transaction("statement_end", move |tx| {
                let (name, asked_in, digest) = (name.clone(), asked_in.clone(), digest.clone());
                Box::pin(async move {
                    // A bank's files go on from each other where no rail is read; each person's from their own.
                    let filed: Option<OffsetDateTime> = match is_rail {
                        true => None,
                        false => sqlx::query_scalar(
                            "-- filed_until
                             SELECT max(until_at) FROM statement_part
                              WHERE account_id = $1 AND source = 'file' AND goes_on
                                AND person_id IS NOT DISTINCT FROM $2",
                        )
                        .bind(id)
                        .bind(person)
                        .fetch_one(&mut *tx)
                        .await
                        .step("filed_until")?,
                    };
                    // Only if it goes on from where the last part ended: a gap proves nothing to be missing.
                    let goes_on = end.filter(|end| {
                        wanted.is_none_or(|wanted| end.from <= filed.map_or(wanted, |at| at.max(wanted)))
                    });
                    // That a file has nothing is somebody's word too.
                    if lines > 0 || person.is_some() {
                        sqlx::query(
                            "-- statement_part_insert
                             INSERT INTO statement_part (account_id, source, name, digest, lines, from_at, until_at,
                               person_id, goes_on)
                             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
                        )
                        .bind(id)
                        .bind(source)
                        .bind(name)
                        .bind(digest)
                        .bind(lines)
                        .bind(end.map(|end| end.from.min(end.until)))
                        .bind(end.map(|end| end.until))
                        .bind(person)
                        .bind(goes_on.is_some())
                        .execute(&mut *tx)
                        .await
                        .step("statement_part_insert")?;
                    }
                    // A file says what is on a statement, and the rail is read from where the rail was read last all
                    // the same: else what an old or shortened file leaves out would never be heard of.
                    if is_rail && let Some(reaches_ours) = goes_on.and(reaches_ours) {
                        // Verdicts by a file that came before, or that is just being written: the rail's own statement
                        // may be without what that lists.
                        sqlx::query(
                            "-- runs_reached
                             UPDATE run r SET news_no = news_no + 1
                               FROM rail_account a
                              WHERE a.id = $1 AND r.settled_at > a.reaches_ours AND r.settled_at <= $2
                                AND EXISTS (SELECT FROM batch b WHERE b.run_id = r.id AND b.rail = a.rail
                                  AND b.account = a.account)",
                        )
                        .bind(id)
                        .bind(reaches_ours)
                        .execute(&mut *tx)
                        .await
                        .step("runs_reached")?;
                    }
                    // Both stay where they are without an end that goes on.
                    let (until, reaches_ours) = (goes_on.map(|end| end.until), goes_on.and(reaches_ours));
                    let moved = match is_rail {
                        true => sqlx::query_scalar(
                            "-- account_reaches
                             UPDATE rail_account
                                SET reaches_to = greatest(reaches_to, coalesce($4, reaches_to)),
                                  reaches_ours = greatest(reaches_ours, coalesce($2, reaches_ours)),
                                    asked_in = CASE WHEN $2 IS NULL THEN asked_in
                                      ELSE $3::pg_snapshot END, read_at = clock_timestamp()
                              WHERE id = $1 RETURNING nullif(reaches_to, '-infinity')",
                        )
                        .bind(id)
                        .bind(reaches_ours)
                        .bind(asked_in)
                        .bind(until),
                        false => sqlx::query_scalar(
                            "-- account_file_reaches
                             UPDATE rail_account
                                SET file_reaches = greatest(file_reaches, coalesce($2, file_reaches)),
                                    file_asked_in = CASE WHEN $2 IS NULL THEN file_asked_in
                                      ELSE $3::pg_snapshot END, read_at = clock_timestamp()
                              WHERE id = $1 RETURNING nullif(reaches_to, '-infinity')",
                        )
                        .bind(id)
                        .bind(reaches_ours)
                        .bind(asked_in),
                    };
                    let step = if is_rail { "account_reaches" } else { "account_file_reaches" };
                    moved.fetch_one(tx).await.step(step)
                })
            })
            .await?;
        self.lock.end().await.step("account_close")?;
        Ok(AccountRead { reaches_to, ..read })
    }

    /// Leaves the statement where it is; what its lines proved so far stays.
    pub async fn abandon(mut self) -> Result<(), StoreError> {
        while !self.ahead.is_empty() {
            self.piece_keep().await?;
        }
        self.lock.end().await.step("account_close")
    }
}

/// Where the next part begins: behind what is final.
fn read_on_from(end: StatementEnd) -> OffsetDateTime {
    end.open_from.map_or(end.until, |open| open.clamp(end.from, end.until))
}

/// A hash of all that a line says: the same line read again is the same.
pub(super) fn content(line: &StatementLine) -> [u8; 32] {
    let mut hash = Sha256::new();
    let at = line.at.map_or(String::new(), |at| at.unix_timestamp_nanos().to_string());
    let movement = line.movement.as_str();
    let (amount, fee) = (line.amount_minor.to_string(), line.fee_minor.to_string());
    let of = line.of.as_deref().unwrap_or_default();
    for part in [&line.key, &line.reference, &amount, &fee, &line.currency, &line.destination, movement, of, &at] {
        hash.update((part.len() as u64).to_be_bytes()); // or `a`+`bc` and `ab`+`c` would meet
        hash.update(part.as_bytes());
    }
    hash.finalize().into()
}
