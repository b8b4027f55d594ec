//! What a comparison needs of the system of record, as its steps name it. [`Store`] with its [`AccountReading`] and
//! [`Reconciliation`] is that of production; the simulator of the package `tests` has another one.

use std::time::Duration;

use async_trait::async_trait;
use payfleet_domain::{StatementEnd, StatementLine};
use payfleet_store::{
    AccountRead, AccountReading, CloseVerdict, Compared, OpenBatches, Reconciliation, RunRow, StatementAccount,
    StatementSource, Store, StoreError, Uncovered, Verdict,
};
use time::OffsetDateTime;

/// Where statements are taken in: see the methods of the same names of [`Store`].
#[allow(missing_docs)] // said there
#[async_trait]
pub trait Books: Send + Sync {
    async fn account_open(
        &self,
        account: &StatementAccount,
        source: StatementSource,
    ) -> Result<Option<Box<dyn Reading>>, StoreError>;
}

/// One part of an account's statement: see the methods of the same names of [`AccountReading`].
#[allow(missing_docs)] // said there
#[async_trait]
pub trait Reading: Send {
    fn from(&self) -> Option<OffsetDateTime>;
    async fn line_add(&mut self, line: StatementLine) -> Result<(), StoreError>;
    async fn end(self: Box<Self>, end: Option<StatementEnd>) -> Result<AccountRead, StoreError>;
    async fn abandon(self: Box<Self>) -> Result<(), StoreError>;
}

/// A comparison of one run: see the methods of the same names of [`Reconciliation`].
#[allow(missing_docs)] // said there
#[async_trait]
pub trait Session: Send {
    fn run(&self) -> &RunRow;
    fn lines_add(&mut self, lines: i64);
    async fn accounts(&mut self) -> Result<Vec<StatementAccount>, StoreError>;
    /// Guard G5, of the store.
    async fn run_close(&mut self) -> Result<CloseVerdict, StoreError>;
    async fn batches_open(&mut self) -> Result<Vec<OpenBatches>, StoreError>;
    async fn uncovered(&mut self) -> Result<Vec<Uncovered>, StoreError>;
    async fn has_silent_rails(&mut self) -> Result<bool, StoreError>;
    async fn compare(&mut self, unknown_after: Duration) -> Result<Compared, StoreError>;
    async fn compare_open(&mut self, unknown_after: Duration) -> Result<Compared, StoreError>;
    async fn restart(&mut self) -> Result<(), StoreError>;
    async fn verdict_write(&mut self, statement: &str, has_silent_rails: bool) -> Result<Verdict, StoreError>;
    /// The run as it stands now.
    async fn run_read(&mut self) -> Result<Option<RunRow>, StoreError>;
}

#[async_trait]
impl Books for Store {
    async fn account_open(
        &self,
        account: &StatementAccount,
        source: StatementSource,
    ) -> Result<Option<Box<dyn Reading>>, StoreError> {
        let opened = self.account_open(account, source).await?;
        Ok(opened.map(|reading| Box::new(reading) as Box<dyn Reading>))
    }
}

#[async_trait]
impl Reading for AccountReading {
    fn from(&self) -> Option<OffsetDateTime> {
        self.from()
    }

    async fn line_add(&mut self, line: StatementLine) -> Result<(), StoreError> {
        self.line_add(line).await
    }

    async fn end(self: Box<Self>, end: Option<StatementEnd>) -> Result<AccountRead, StoreError> {
        (*self).end(end).await
    }

    async fn abandon(self: Box<Self>) -> Result<(), StoreError> {
        (*self).abandon().await
    }
}

#[async_trait]
impl Session for Reconciliation {
    fn run(&self) -> &RunRow {
        self.run()
    }

    fn lines_add(&mut self, lines: i64) {
        self.lines_add(lines);
    }

    async fn accounts(&mut self) -> Result<Vec<StatementAccount>, StoreError> {
        self.accounts().await
    }

    async fn run_close(&mut self) -> Result<CloseVerdict, StoreError> {
        self.store().run_close(self.run().id).await
    }

    async fn batches_open(&mut self) -> Result<Vec<OpenBatches>, StoreError> {
        self.batches_open().await
    }

    async fn uncovered(&mut self) -> Result<Vec<Uncovered>, StoreError> {
        self.uncovered().await
    }

    async fn has_silent_rails(&mut self) -> Result<bool, StoreError> {
        self.has_silent_rails().await
    }

    async fn compare(&mut self, unknown_after: Duration) -> Result<Compared, StoreError> {
        self.compare(unknown_after).await
    }

    async fn compare_open(&mut self, unknown_after: Duration) -> Result<Compared, StoreError> {
        self.compare_open(unknown_after).await
    }

    async fn restart(&mut self) -> Result<(), StoreError> {
        self.restart().await
    }

    async fn verdict_write(&mut self, statement: &str, has_silent_rails: bool) -> Result<Verdict, StoreError> {
        self.verdict_write(statement, has_silent_rails).await
    }

    async fn run_read(&mut self) -> Result<Option<RunRow>, StoreError> {
        self.store().run_find(self.run().id).await
    }
}
