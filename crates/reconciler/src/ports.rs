//! What a comparison needs of the system of record, in the words of [`Reconciliation`], which is what it is. The simulator of the package `tests` is another.

use std::time::Duration;

use async_trait::async_trait;
use payfleet_domain::StatementLine;
use payfleet_store::{
    Applied, CloseVerdict, Compared, OpenBatches, Reconciliation, RunRow, StatementAccount, StoreError, Verdict,
};

/// One comparison of one run: see the methods of the same names of [`Reconciliation`].
#[allow(missing_docs)] // said there
#[async_trait]
pub trait Session: Send {
    fn run(&self) -> &RunRow;
    async fn accounts(&mut self) -> Result<Vec<StatementAccount>, StoreError>;
    async fn line_add(&mut self, line: StatementLine) -> Result<(), StoreError>;
    async fn lines_match(&mut self) -> Result<(), StoreError>;
    async fn evidence_apply(&mut self) -> Result<Applied, StoreError>;
    /// Guard G5, of the store.
    async fn run_close(&mut self) -> Result<CloseVerdict, StoreError>;
    async fn batches_open(&mut self) -> Result<Vec<OpenBatches>, StoreError>;
    async fn compare(&mut self, without_statement: &[&str], unknown_after: Duration) -> Result<Compared, StoreError>;
    async fn compare_open(&mut self, unknown_after: Duration) -> Result<Compared, StoreError>;
    async fn restart(&mut self) -> Result<(), StoreError>;
    async fn verdict_write(&mut self, statement: &str) -> Result<Verdict, StoreError>;
    /// The run as it stands now.
    async fn run_read(&mut self) -> Result<Option<RunRow>, StoreError>;
}

#[async_trait]
impl Session for Reconciliation {
    fn run(&self) -> &RunRow {
        self.run()
    }

    async fn accounts(&mut self) -> Result<Vec<StatementAccount>, StoreError> {
        self.accounts().await
    }

    async fn line_add(&mut self, line: StatementLine) -> Result<(), StoreError> {
        self.line_add(line).await
    }

    async fn lines_match(&mut self) -> Result<(), StoreError> {
        self.lines_match().await
    }

    async fn evidence_apply(&mut self) -> Result<Applied, StoreError> {
        self.evidence_apply().await
    }

    async fn run_close(&mut self) -> Result<CloseVerdict, StoreError> {
        self.store().run_close(self.run().id).await
    }

    async fn batches_open(&mut self) -> Result<Vec<OpenBatches>, StoreError> {
        self.batches_open().await
    }

    async fn compare(&mut self, without_statement: &[&str], unknown_after: Duration) -> Result<Compared, StoreError> {
        self.compare(without_statement, unknown_after).await
    }

    async fn compare_open(&mut self, unknown_after: Duration) -> Result<Compared, StoreError> {
        self.compare_open(unknown_after).await
    }

    async fn restart(&mut self) -> Result<(), StoreError> {
        self.restart().await
    }

    async fn verdict_write(&mut self, statement: &str) -> Result<Verdict, StoreError> {
        self.verdict_write(statement).await
    }

    async fn run_read(&mut self) -> Result<Option<RunRow>, StoreError> {
        self.store().run_find(self.run().id).await
    }
}
