//! Imports: a file's rows go through COPY into a temporary table, and from there by set-based SQL to where they belong.
//! One transaction per file: all of it or nothing.
//!
//! Reading and judging the file is the caller's; here is only what needs the other rows: who is known, and what was
//! said before. Rows arrive in chunks through a bounded channel, so that memory does not depend on the file.

mod affiliates;
mod change;
mod commissions;
mod contradiction;
mod copy;
mod dates;
mod differing;
mod due;
mod limit;
mod payees;
mod problem;
mod reversal;
mod same;
mod suspicion;

pub use affiliates::{AffiliateRow, AffiliateRows, AffiliatesTarget, Said};
pub use change::{Change, Changes, LateRow};
pub use commissions::{CommissionRow, CommissionRows};
pub use problem::{Fault, ImportError, RowProblem};
pub use reversal::Reversal;
pub use suspicion::{Suspicion, SuspicionKind, Suspicions};

use futures_util::future::BoxFuture;
use payfleet_domain::TenantId;
use sqlx::postgres::PgConnection;
use tokio::sync::mpsc;

use crate::connect::{Step, Store, StoreError, chain, detached};
use crate::late::MonthCount;
use copy::CopyRows;

/// Problems that are reported one by one; of the rest only the number is told.
pub const PROBLEMS_SHOWN: usize = 100;

/// On which terms a file is taken.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    /// Everything is done, told, and undone: the answer cannot differ from what the import would do.
    pub dry_run: bool,
    /// Nothing is taken if something in it is suspicious.
    pub strict: bool,
    /// Dates that are far from now are meant.
    pub allow_dates: bool,
    /// How many of what is told by name, of each kind.
    pub named: i64,
}

impl Default for Terms {
    /// As for rows that a program has made.
    fn default() -> Terms {
        Terms { dry_run: false, strict: false, allow_dates: true, named: PROBLEMS_SHOWN as i64 }
    }
}

impl Terms {
    fn refuse_if_strict(&self, suspicions: &Suspicions) -> Result<(), ImportError> {
        match self.strict && !suspicions.is_empty() {
            true => Err(ImportError::Suspicious(suspicions.clone())),
            false => Ok(()),
        }
    }
}

/// What the reader of a file says next. A channel that closes without [`Feed::End`] means that the reader gave up:
/// nothing is imported.
#[derive(Debug)]
pub enum Feed<R> {
    /// More rows.
    Rows(R),
    /// The file was read to its end, and every row of it was sent.
    End,
}

/// What an import did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// Whose.
    pub tenant: TenantId,
    /// Whether the tenant was made by this import.
    pub tenant_is_new: bool,
    /// Rows of the file.
    pub rows: u64,
    /// How many were not known before: commissions, or affiliates.
    pub new: u64,
    /// How many were known and have changed. Always 0 for commissions, which never change.
    pub updated: u64,
    /// The tenant's hold period in days before and after, if the import changed it: every sale that comes is due by it.
    pub hold_days: Option<(i32, i32)>,
    /// How many were known just so, or said more than once in the file.
    pub unchanged: u64,
    /// How many were left out since they are reversed, counted only if they were imported before, and were not.
    pub left_out: u64,
    /// What a file of affiliates changed of what stops money or says where it goes; commissions change nothing of it.
    pub controls: Option<Controls>,
    /// Commissions that are new and of months that were run already, by month: the next run pays them.
    pub late: Vec<MonthCount>,
    /// Month and sequence of the tenant's newest run, if they are commissions and there is one.
    pub newest: Option<(String, i16)>,
    /// What is right, and should be looked at all the same.
    pub suspicions: Suspicions,
    /// Of a dry run of affiliates: what would change, by name.
    pub changes: Changes,
    /// Of a dry run of commissions: those that are in `late`, the first of them.
    pub late_rows: Vec<LateRow>,
}

/// What an import changed of what stops money or says where it goes: counted, so that nothing is taken away in silence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct Controls {
    /// Affiliates that are on hold now and were not.
    pub holds_set: u64,
    /// Affiliates that were on hold and are not any more.
    pub holds_lifted: u64,
    /// Affiliates that the file would take off hold and that stay on it: a person put them there, and only `affiliate
    /// release` ends that.
    pub holds_kept: u64,
    /// Limits, least and most each counted, that are new or another amount.
    pub limits_changed: u64,
    /// Limits that were taken away.
    pub limits_removed: u64,
    /// Methods that were taken away, with none in their place.
    pub methods_retired: u64,
    /// Methods or addresses that another one replaced.
    pub destinations_changed: u64,
    /// Affiliates whose currency changed, and whose limits are all of other currencies: none binds what they are paid
    /// in now.
    pub limits_of_other_currency: u64,
    /// Payouts of those who were put on hold that may be on their way already.
    pub perhaps_sent: u64,
}

/// From this many new rows on the planner's statistics are renewed after the import: without any, joins of a few
/// thousand rows take seconds, and autovacuum comes a minute too late.
const ANALYZE_FROM: u64 = 500;

impl Store {
    /// Runs an import in one transaction, as a task that the caller cannot cancel half-way. Never repeated: the rows
    /// are gone once they were read.
    async fn import<T, F>(&self, step: &'static str, terms: Terms, work: F) -> Result<T, ImportError>
    where
        T: Send + 'static,
        F: for<'t> FnOnce(&'t mut PgConnection) -> BoxFuture<'t, Result<T, ImportError>> + Send + 'static,
    {
        let pool = self.pool.clone();
        detached(async move {
            let mut connection = pool.acquire().await.step(step)?;
            let mut transaction = sqlx::Connection::begin(&mut *connection).await.step(step)?;
            // A file is sorted and joined once; its parts should not go through the disk for want of a little memory.
            sqlx::query("-- import_memory\nSET LOCAL work_mem = '96MB'")
                .execute(&mut *transaction)
                .await
                .step("import_memory")?;
            match work(&mut transaction).await {
                Ok(done) => {
                    match terms.dry_run {
                        true => transaction.rollback().await.step(step)?,
                        false => transaction.commit().await.step(step)?,
                    }
                    Ok(Ok(done))
                }
                Err(error) => {
                    if let Err(why) = transaction.rollback().await {
                        tracing::debug!(
                            step,
                            error = chain(&why),
                            "the connection was gone before it could be rolled back"
                        );
                    }
                    Ok(Err(error))
                }
            }
        })
        .await?
    }

    /// Renews the planner's statistics after a large import. What fails here costs time later, nothing else.
    async fn import_analyze(&self, new: u64, statement: &'static str) {
        if new < ANALYZE_FROM {
            return;
        }
        let pool = self.pool.clone();
        let analyzed = detached(async move {
            sqlx::query(statement).execute(&pool).await.step("import_analyze")?;
            Ok(())
        });
        if let Err(error) = analyzed.await {
            tracing::warn!(
                error = chain(&error),
                "statistics were not renewed after the import; the first plan may be slow"
            );
        }
    }
}

/// Copies what the reader sends into a temporary table; `take` looks at each chunk on its way. Returns the number of
/// rows.
async fn copy_feed<R>(
    tx: &mut PgConnection,
    step: &'static str,
    statement: &str,
    feed: &mut mpsc::Receiver<Feed<R>>,
    mut take: impl FnMut(R) -> CopyRows,
) -> Result<u64, ImportError> {
    let mut copy = tx.copy_in_raw(statement).await.step(step)?;
    copy.send(copy::HEADER).await.step(step)?;
    let mut rows = 0;
    loop {
        match feed.recv().await {
            Some(Feed::Rows(chunk)) => {
                let chunk = take(chunk);
                rows += chunk.rows();
                copy.send(chunk.bytes()).await.step(step)?;
            }
            Some(Feed::End) => {
                copy.send(copy::TRAILER).await.step(step)?;
                let copied = copy.finish().await.step(step)?;
                return match copied == rows {
                    true => Ok(rows),
                    false => Err(StoreError::Broken(format!("{rows} rows were sent and {copied} arrived")).into()),
                };
            }
            None => {
                copy.abort("the reader gave up").await.step(step)?;
                return Err(ImportError::Aborted);
            }
        }
    }
}
