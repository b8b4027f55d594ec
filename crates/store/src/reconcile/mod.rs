//! Comparing what rails say that they paid with plan and ledger.
//!
//! Statements are of accounts: an [`AccountReading`] takes in the next part of one, each line once, and records what it
//! proves of whichever run it names. A verdict is of a run: a [`Reconciliation`] is one session of its own, in which
//! the run is compared with all that statements have said so far, set-based: SQL finds the facts of what is not simply
//! as it should be, the invariants of `domain` judge them, and SQL writes down what they said. It writes no money.
//! Dropping it half-way loses temporary tables and nothing else.

mod compare;
mod coverage;
mod due;
mod ledger;
mod lines;
mod names;
mod odd;
mod payouts;
mod piece;
mod reading;
mod standing;
mod summary;
mod verdict;

use payfleet_domain::{DiscrepancyKind, PayoutId};
use sqlx::Executor;

use crate::connect::{Step, Store, StoreError, detached};
use crate::locks::RECONCILE_LOCK;
use crate::run::RunRow;
use crate::session::Connection;

pub use compare::Compared;
pub use coverage::Uncovered;
pub use piece::{Applied, Told};
pub use reading::{AccountRead, AccountReading, StatementSource};
pub use summary::{OpenBatches, Summary, SummaryLine};
pub use verdict::Verdict;

/// An account on a rail from which payouts are paid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatementAccount {
    /// Which rail.
    pub rail: String,
    /// The account there.
    pub account: String,
    /// Under which name the credential is found.
    pub credential: Option<String>,
}

/// A difference that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Discrepancy {
    /// Its place in the report.
    pub number: i64,
    /// What it is.
    pub kind: DiscrepancyKind,
    /// Which payout, where it is one of ours.
    pub payout: Option<PayoutId>,
    /// The tenant's own name for the affiliate.
    pub affiliate: Option<String>,
    /// In which currency; the statement's own word where the payment is not ours.
    pub currency: Option<String>,
    /// What plan and ledger say. Amounts are minor units.
    pub expected: Option<String>,
    /// What was found instead.
    pub found: Option<String>,
}

/// `finding.id` keeps the order in which differences were found. Made here since in a snapshot that is only read it can
/// be filled, but not made.
///
/// Everything of a run is there in the order of its payouts, so to merge takes half of the time of hashing, and no
/// memory.
const TABLES: &str = "
  SET work_mem = '128MB'; SET enable_hashjoin = off; SET enable_hashagg = off;
  CREATE TEMP TABLE finding (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, kind text NOT NULL, payout_id bigint,
    affiliate_id bigint,
    affiliate text, currency text, expected text, found text)";

/// One comparison of one run, up to its verdict.
#[derive(Debug)]
pub struct Reconciliation {
    store: Store,
    connection: Connection,
    run: RunRow,
    /// Statement lines that were read for it, for the record.
    lines_read: i64,
    /// The newest news that the comparison knew of.
    judged_news: i64,
}

impl Store {
    /// Opens a session for comparing a run. `None` if another one is at it.
    pub async fn reconciliation_open(&self, run: &RunRow) -> Result<Option<Reconciliation>, StoreError> {
        let (store, run) = (self.clone(), run.clone());
        detached(async move {
            // Not given back to the pool: its temporary table, settings and lock end with it.
            let mut connection = store.pool.acquire().await.step("reconciliation_open")?.keep();
            let free: bool =
                sqlx::query_scalar("-- reconcile_lock\nSELECT pg_try_advisory_lock($1, ($2::bigint)::int)")
                    .bind(RECONCILE_LOCK)
                    .bind(run.id.0)
                    .fetch_one(&mut *connection)
                    .await
                    .step("reconcile_lock")?;
            if !free {
                connection.end().await.step("reconciliation_open")?;
                return Ok(None);
            }
            connection.execute(TABLES).await.step("reconcile_tables")?;
            Ok(Some(Reconciliation { store, connection, run, lines_read: 0, judged_news: 0 }))
        })
        .await
    }
}

impl Reconciliation {
    /// The run as it was found.
    pub fn run(&self) -> &RunRow {
        &self.run
    }

    /// Where the run is.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Statement lines that were read for it.
    pub fn lines(&self) -> i64 {
        self.lines_read
    }

    /// Counts statement lines that were read for it.
    pub fn lines_add(&mut self, lines: i64) {
        self.lines_read += lines;
    }

    /// The rail accounts from which the run is paid.
    pub async fn accounts(&mut self) -> Result<Vec<StatementAccount>, StoreError> {
        // By account, not by credential: two names for one key would bring every line twice.
        let rows = sqlx::query(
            "-- statement_accounts
             SELECT DISTINCT ON (rail, account) rail, account, credential FROM batch WHERE run_id = $1
              ORDER BY rail, account, credential IS NULL, id DESC",
        )
        .bind(self.run.id.0)
        .fetch_all(&mut *self.connection)
        .await
        .step("statement_accounts")?;
        rows.iter().map(coverage::account).collect()
    }

    /// Forgets what was found, and reads the run anew.
    pub async fn restart(&mut self) -> Result<(), StoreError> {
        self.connection.execute("TRUNCATE finding RESTART IDENTITY").await.step("reconcile_restart")?;
        if let Some(run) = self.store.run_find(self.run.id).await? {
            self.run = run;
        }
        Ok(())
    }

    /// Ends the session. Another reconciliation of the run can begin once this has returned.
    pub async fn close(mut self) -> Result<(), StoreError> {
        sqlx::query("-- reconcile_unlock\nSELECT pg_advisory_unlock($1, ($2::bigint)::int)")
            .bind(RECONCILE_LOCK)
            .bind(self.run.id.0)
            .execute(&mut *self.connection)
            .await
            .step("reconcile_unlock")?;
        self.connection.end().await.step("reconciliation_close")
    }
}
