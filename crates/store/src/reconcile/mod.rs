//! Comparing what rails say that they paid with plan and ledger.
//!
//! A [`Reconciliation`] is one session of its own: the statement goes into temporary tables of that session, which
//! nobody else sees and which end with it, and everything is compared there, set-based: SQL finds the facts of what is
//! not simply as it should be, the invariants of `domain` judge each combination of facts once, and SQL writes down
//! what they said. It writes no money except through the guards of `record`, and its verdict only at the end. Dropping
//! it half-way loses the temporary tables and nothing else.

mod compare;
mod due;
mod evidence;
mod ledger;
mod lines;
mod payouts;
mod summary;
mod verdict;

use payfleet_domain::{DiscrepancyKind, PayoutId, RunId};
use sqlx::postgres::PgConnection;
use sqlx::{Connection, Executor, Row};

use crate::connect::{Step, Store, StoreError, detached};
use crate::run::RunRow;

pub use compare::Compared;
pub use evidence::Applied;
pub use summary::{OpenBatches, Summary, SummaryLine};
pub use verdict::Verdict;

/// First key of the advisory lock that a reconciliation of a run holds; the second is the run.
const RECONCILE_LOCK: i32 = 0x5046_0003;

/// An account on a rail from which a run is paid.
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

/// One comparison of one run, from its statement to its verdict.
#[derive(Debug)]
pub struct Reconciliation {
    store: Store,
    connection: PgConnection,
    run: RunRow,
    /// The snapshot in which the statement was asked for: what is recorded and not visible there may be missing from it.
    asked_in: String,
    lines: lines::Lines,
}

impl Store {
    /// Opens a session for comparing a run. `None` if another one is at it.
    pub async fn reconciliation_open(&self, run: &RunRow) -> Result<Option<Reconciliation>, StoreError> {
        let (store, run) = (self.clone(), run.clone());
        detached(async move {
            // Not given back to the pool: its temporary tables, settings and lock end with it.
            let mut connection = store.pool.acquire().await.step("reconciliation_open")?.detach();
            let free: bool =
                sqlx::query_scalar("-- reconcile_lock\nSELECT pg_try_advisory_lock($1, ($2::bigint)::int)")
                    .bind(RECONCILE_LOCK)
                    .bind(run.id.0)
                    .fetch_one(&mut connection)
                    .await
                    .step("reconcile_lock")?;
            if !free {
                connection.close().await.step("reconciliation_open")?;
                return Ok(None);
            }
            connection.execute(lines::TABLES).await.step("reconcile_tables")?;
            let asked_in = snapshot(&mut connection).await?;
            Ok(Some(Reconciliation { store, connection, run, asked_in, lines: lines::Lines::default() }))
        })
        .await
    }

    /// Runs for which a statement may bring news: settled and not yet compared, or with payments that only a statement
    /// can finish.
    pub async fn runs_to_reconcile(&self) -> Result<Vec<RunId>, StoreError> {
        let pool = self.pool.clone();
        detached(async move {
            let rows: Vec<i64> = sqlx::query_scalar(
                "-- runs_to_reconcile
                 SELECT r.id FROM run r
                  WHERE r.state = 'settled'
                     OR r.state IN ('paying', 'cancelled')
                        AND EXISTS (SELECT FROM batch b WHERE b.run_id = r.id AND b.state = 'accepted')
                  ORDER BY r.id",
            )
            .fetch_all(&pool)
            .await
            .step("runs_to_reconcile")?;
            Ok(rows.into_iter().map(RunId).collect())
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

    /// How many lines were read.
    pub fn lines(&self) -> i64 {
        self.lines.read()
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
        .fetch_all(&mut self.connection)
        .await
        .step("statement_accounts")?;
        rows.iter()
            .map(|row| {
                Ok(StatementAccount {
                    rail: row.try_get("rail").step("statement_accounts")?,
                    account: row.try_get("account").step("statement_accounts")?,
                    credential: row.try_get("credential").step("statement_accounts")?,
                })
            })
            .collect()
    }

    /// Forgets the statement and what was found, for reading it anew.
    pub async fn restart(&mut self) -> Result<(), StoreError> {
        self.connection.execute(lines::TRUNCATE).await.step("reconcile_restart")?;
        self.lines = lines::Lines::default();
        self.asked_in = snapshot(&mut self.connection).await?;
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
            .execute(&mut self.connection)
            .await
            .step("reconcile_unlock")?;
        self.connection.close().await.step("reconciliation_close")
    }
}

async fn snapshot(connection: &mut PgConnection) -> Result<String, StoreError> {
    sqlx::query_scalar("-- snapshot\nSELECT pg_current_snapshot()::text").fetch_one(connection).await.step("snapshot")
}
