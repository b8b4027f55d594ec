//! The real store over a real Postgres, one whole operation at a time. Its clock is the simulator's: a schema in front
//! of `pg_catalog` has a `clock_timestamp()` and a `now()` that read a row.

mod database;
mod ended;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use payfleet_domain::{
    AccountChange, AccountNews, AttemptNo, BatchId, BatchState, Epoch, HoldReason, NotPaid, PayoutId, PayoutState,
    Rail, RunId, StatementEnd, StatementLine, TenantId, TokenHash,
};
use payfleet_store::{
    AccountRead, AccountReading, CloseVerdict, Compared, ConfirmError, ControlError, ControlLifted, ControlSet,
    Decision, Heard, HoldError, HoldSaid, Intent, IntentRefused, Lease, LeasedBatch, NewRun, OpenBatches, Order,
    Planned, Reconciliation, Recorded, Report, ResumeError, RunChangeError, RunCreateError, RunRow, SplitRefused,
    StatementAccount, StatementSource, StopConfirmed, StopSeen, Store, StoreError, Uncovered, Verdict,
};
use time::OffsetDateTime;

use crate::backend::{Backend, Ended, Handed, Opened, Scenario, SessionId};

pub use database::Database;

/// What is kept of a person's token.
fn token(person: usize) -> TokenHash {
    TokenHash([person as u8; 32])
}

/// A number that no run has.
const NO_RUN: RunId = RunId(i32::MAX as i64);

/// The system of record of one seed.
pub struct Postgres {
    database: Database,
    scenario: Scenario,
    tenant: TenantId,
    /// Their numbers, by place in the scenario.
    affiliates: Vec<i64>,
    now: OffsetDateTime,
    /// The seed's own account at every rail.
    account: String,
    sessions: BTreeMap<SessionId, Reconciliation>,
    /// With the rail that each is of.
    readings: BTreeMap<SessionId, (String, AccountReading)>,
    sessions_opened: u64,
}

impl Postgres {
    fn wait<T>(&self, operation: impl Future<Output = T>) -> T {
        self.database.runtime.block_on(operation)
    }

    fn store(&self) -> Store {
        self.database.store.clone()
    }

    /// People have looked at whatever there was.
    async fn answer_alarms(&self) {
        let answer = "INSERT INTO person (name, name_key, role, token_hash)
                      VALUES ('Ann', 'ann', 'operator', sha256('a')) ON CONFLICT DO NOTHING;
                      INSERT INTO alarm_answer (alarm_id, person_id, words)
                      SELECT o.id, p.id, 'looked at' FROM alarm_open o, person p
                       WHERE p.name_key = 'ann'";
        sqlx::raw_sql(answer).execute(&self.database.sql).await.unwrap();
    }

    /// Does something with a session that is open.
    fn with<T>(
        &mut self,
        id: SessionId,
        operation: impl AsyncFnOnce(&mut Reconciliation) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let gone = || StoreError::Broken("a session that has ended".to_owned());
        let mut session = self.sessions.remove(&id).ok_or_else(gone)?;
        let result = self.wait(operation(&mut session));
        self.sessions.insert(id, session);
        result
    }

    fn place(&self, affiliate: i64) -> usize {
        self.affiliates.iter().position(|id| *id == affiliate).expect("an affiliate of this seed")
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        for id in self.sessions.keys().chain(self.readings.keys()).copied().collect::<Vec<_>>() {
            self.session_end(id);
        }
    }
}

impl Backend for Postgres {
    fn clock(&mut self, now: OffsetDateTime) {
        if now != self.now {
            self.now = now;
            let set = sqlx::query("UPDATE sim.clock SET at = $1").bind(now).execute(&self.database.sql);
            self.database.runtime.block_on(set).expect("the clock can be set");
        }
    }

    fn tenant(&self) -> TenantId {
        self.tenant
    }

    fn run_create(&mut self, new: NewRun) -> Result<(RunRow, bool), RunCreateError> {
        self.wait(self.store().run_create(new))
    }

    fn plan_chunk(&mut self, run: RunId, chunk: i64, batch_size: u32) -> Result<Planned, StoreError> {
        self.wait(self.store().plan_chunk(run, chunk, batch_size))
    }

    fn runs_begin(&mut self) -> Result<u64, StoreError> {
        self.wait(self.store().runs_begin())
    }

    fn rails_open(&mut self) -> Result<Vec<String>, StoreError> {
        self.wait(self.store().rails_open())
    }

    fn batches_due(
        &mut self,
        rail: &'static str,
        hinted: HashSet<BatchId>,
        limit: i64,
    ) -> Result<Vec<BatchId>, StoreError> {
        self.wait(self.store().batches_due(rail, hinted, limit))
    }

    fn runs_to_cancel(&mut self) -> Result<Vec<RunId>, StoreError> {
        self.wait(self.store().runs_to_cancel())
    }

    fn run_cancel(&mut self, run: RunId) -> Result<u64, RunChangeError> {
        self.wait(self.store().run_cancel(run))
    }

    fn run_pause(&mut self, run: RunId) -> Result<(), RunChangeError> {
        self.wait(self.store().run_pause(run, "a person"))
    }

    fn run_resume(&mut self, run: RunId) -> Result<(), RunChangeError> {
        // Whoever resumes has answered for the alarms.
        self.wait(self.answer_alarms());
        self.wait(self.store().run_resume(run))
    }

    fn payout_stop(&mut self, payout: PayoutId) -> Result<ControlSet, ControlError> {
        self.wait(self.store().payout_stop(payout, "a person"))
    }

    fn payout_release(&mut self, payout: PayoutId) -> Result<ControlLifted, ControlError> {
        self.wait(self.store().payout_release(payout))
    }

    fn affiliate_hold(&mut self, affiliate: usize) -> Result<ControlSet, ControlError> {
        let name = &self.scenario.affiliates[affiliate].name;
        self.wait(self.store().affiliate_hold(self.tenant, name, "a person"))
    }

    fn affiliate_release(&mut self, affiliate: usize) -> Result<ControlLifted, ControlError> {
        let name = &self.scenario.affiliates[affiliate].name;
        self.wait(self.store().affiliate_release(self.tenant, name))
    }

    fn holds(&mut self, run: RunId) -> Result<Vec<(PayoutId, Option<NotPaid>)>, StoreError> {
        let holds = self.wait(self.store().holds_list(Some(run), i64::MAX))?;
        let mut holds: Vec<_> = holds.into_iter().map(|hold| (hold.payout, hold.not_paid)).collect();
        holds.sort_by_key(|(payout, _)| *payout);
        Ok(holds)
    }

    fn hold_decide(&mut self, payout: PayoutId, decision: Decision, person: usize) -> Result<HoldSaid, HoldError> {
        self.wait(self.store().hold_decide(payout, decision, token(person)))
    }

    fn runs_closable(&mut self) -> Result<Vec<RunId>, StoreError> {
        self.wait(self.store().runs_closable())
    }

    fn run_close(&mut self, run: RunId) -> Result<CloseVerdict, StoreError> {
        self.wait(self.store().run_close(run))
    }

    fn run_find(&mut self, run: RunId) -> Result<Option<RunRow>, StoreError> {
        self.wait(self.store().run_find(run))
    }

    fn accounts_to_read(&mut self) -> Result<Vec<StatementAccount>, StoreError> {
        // Other seeds have accounts of their own.
        let accounts = self.wait(self.store().accounts_to_read())?;
        Ok(accounts.into_iter().filter(|account| account.account == self.account).collect())
    }

    fn runs_to_judge(&mut self) -> Result<Vec<RunId>, StoreError> {
        let runs = self.wait(self.store().runs_to_judge())?;
        let ours = sqlx::query_scalar("SELECT id FROM run WHERE tenant_id = $1");
        let ours: Vec<i64> = self.wait(ours.bind(self.tenant.0).fetch_all(&self.database.sql)).unwrap();
        Ok(runs.into_iter().filter(|run| ours.contains(&run.0)).collect())
    }

    fn lease_acquire(
        &mut self,
        batch: BatchId,
        worker: &str,
        ttl: Duration,
    ) -> Result<Option<LeasedBatch>, StoreError> {
        self.wait(self.store().lease_acquire(batch, worker, ttl))
    }

    fn leases_renew(&mut self, leases: Vec<(BatchId, Epoch)>, ttl: Duration) -> Result<Vec<Lease>, StoreError> {
        self.wait(self.store().leases_renew(leases, ttl))
    }

    fn lease_release(&mut self, lease: Lease, available_in: Duration) -> Result<(), StoreError> {
        self.wait(self.store().lease_release(lease, available_in))
    }

    fn stops_find(&mut self, leases: Vec<(BatchId, Epoch)>) -> Result<Vec<StopSeen>, StoreError> {
        self.wait(self.store().stops_find(leases))
    }

    fn stops_confirm(&mut self, confirmed: Vec<StopConfirmed>) -> Result<(), StoreError> {
        self.wait(self.store().stops_confirm(confirmed))
    }

    fn batch_clear(&mut self, lease: Lease) -> Result<Option<BatchState>, StoreError> {
        self.wait(self.store().batch_clear(lease))
    }

    fn intent_write(
        &mut self,
        lease: Lease,
        worker: &str,
        rail: &'static Rail,
        looked_up: bool,
    ) -> Result<Result<Intent, IntentRefused>, StoreError> {
        self.wait(self.store().intent_write(lease, worker, rail, looked_up))
    }

    fn intent_withdraw(
        &mut self,
        lease: Lease,
        worker: &str,
        known: AttemptNo,
        available_in: Duration,
    ) -> Result<bool, StoreError> {
        self.wait(self.store().intent_withdraw(lease, worker, known, available_in))
    }

    fn orders_read(&mut self, batch: BatchId, states: &'static [PayoutState]) -> Result<Vec<Order>, StoreError> {
        self.wait(self.store().orders_read(batch, states))
    }

    fn outcomes_record(&mut self, report: Arc<Report>) -> Result<Recorded, StoreError> {
        self.wait(self.store().outcomes_record(report))
    }

    fn account_hear(&mut self, rail: &'static str, news: AccountNews) -> Result<Vec<AccountChange>, StoreError> {
        let euro = "EUR".parse().expect("a code of ISO 4217");
        self.wait(self.store().account_hear(rail, &self.account, euro, news))
    }

    fn account_resume(&mut self, rail: &'static str) -> Result<usize, StoreError> {
        let resumed = self.wait(self.store().funding_resume(rail, Some(self.account.clone()), token(0)));
        resumed.map(|(_, rows)| rows.len()).map_err(|error| match error {
            ResumeError::Store(error) => error,
            ResumeError::Who(who) => StoreError::Broken(who.to_string()),
        })
    }

    fn batch_split(&mut self, lease: Lease) -> Result<Result<(), SplitRefused>, StoreError> {
        self.wait(self.store().batch_split(lease))
    }

    fn batch_hold(&mut self, lease: Lease, reason: HoldReason) -> Result<Option<u64>, StoreError> {
        self.wait(self.store().batch_hold(lease, reason))
    }

    fn account_open(&mut self, account: &StatementAccount) -> Result<Option<Opened>, StoreError> {
        let reading = self.wait(self.store().account_open(account, StatementSource::Rail))?;
        Ok(reading.map(|reading| {
            let from = reading.from();
            self.sessions_opened += 1;
            self.readings.insert(SessionId(self.sessions_opened), (account.rail.clone(), reading));
            (SessionId(self.sessions_opened), from)
        }))
    }

    fn account_take(
        &mut self,
        reading: SessionId,
        lines: &[StatementLine],
        end: Option<StatementEnd>,
    ) -> Result<AccountRead, StoreError> {
        let gone = || StoreError::Broken("a session that has ended".to_owned());
        let (_, mut reading) = self.readings.remove(&reading).ok_or_else(gone)?;
        self.wait(async {
            for line in lines {
                reading.line_add(line.clone()).await?;
            }
            reading.end(end).await
        })
    }

    fn session_open(&mut self, run: RunId) -> Result<Option<SessionId>, StoreError> {
        let store = self.store();
        let session = self.wait(async {
            match store.run_find(run).await? {
                Some(row) => store.reconciliation_open(&row).await,
                None => Ok(None),
            }
        })?;
        Ok(session.map(|session| {
            self.sessions_opened += 1;
            self.sessions.insert(SessionId(self.sessions_opened), session);
            SessionId(self.sessions_opened)
        }))
    }

    fn file_take(&mut self, file: &Handed) -> Result<Option<AccountRead>, StoreError> {
        // The store would wait for it, and the simulator's clock does not go on meanwhile.
        if self.readings.values().any(|(rail, _)| rail == file.rail) {
            return Ok(None);
        }
        let (store, name) = (self.store(), "a file".to_owned());
        let account = StatementAccount { rail: file.rail.to_owned(), account: self.account.clone(), credential: None };
        self.wait(async {
            let person = match file.person {
                Some(person) => Some(store.person_find(token(person)).await?.expect("a person")),
                None => None,
            };
            let source = StatementSource::File { name, person };
            let Some(mut reading) = store.account_open(&account, source).await? else { return Ok(None) };
            for line in &file.lines {
                reading.line_add(line.clone()).await?;
            }
            reading.end(file.end).await.map(Some)
        })
    }

    fn returns_waiting(&mut self) -> Result<Vec<(PayoutId, String)>, StoreError> {
        let waiting = self.wait(self.store().returns_waiting(i64::MAX))?;
        let ours: Vec<RunId> = (0..self.scenario.periods.len()).map(|place| self.run_at(place)).collect();
        let waiting = waiting.into_iter().filter(|one| ours.contains(&one.run));
        Ok(waiting.map(|one| (one.payout, one.reference)).collect())
    }

    fn return_confirm(&mut self, payout: PayoutId, person: usize) -> Result<Heard, ConfirmError> {
        let store = self.store();
        match self.wait(store.return_confirm(payout.0, token(person))) {
            Err(ConfirmError::Several { ids, .. }) => self.wait(store.return_confirm(ids[0], token(person))),
            heard => heard,
        }
    }

    fn session_end(&mut self, session: SessionId) {
        if let Some(open) = self.sessions.remove(&session) {
            // In good order, so that the lock is free at a time that does not depend on the machine.
            self.wait(open.close()).expect("a session ends");
        }
        if let Some((_, reading)) = self.readings.remove(&session) {
            self.wait(reading.abandon()).expect("a reading ends");
        }
    }

    fn session_accounts(&mut self, session: SessionId) -> Result<Vec<StatementAccount>, StoreError> {
        self.with(session, async |session| session.accounts().await)
    }

    fn session_open_batches(&mut self, session: SessionId) -> Result<Vec<OpenBatches>, StoreError> {
        self.with(session, async |session| session.batches_open().await)
    }

    fn session_uncovered(&mut self, session: SessionId) -> Result<Vec<Uncovered>, StoreError> {
        self.with(session, async |session| session.uncovered().await)
    }

    fn session_compare(&mut self, session: SessionId, unknown_after: Duration) -> Result<Compared, StoreError> {
        self.with(session, async |session| session.compare(unknown_after).await)
    }

    fn session_compare_open(&mut self, session: SessionId, unknown_after: Duration) -> Result<Compared, StoreError> {
        self.with(session, async |session| session.compare_open(unknown_after).await)
    }

    fn session_restart(&mut self, session: SessionId) -> Result<RunRow, StoreError> {
        self.with(session, async |session| {
            session.restart().await?;
            Ok(session.run().clone())
        })
    }

    fn session_verdict(&mut self, session: SessionId, statement: &str) -> Result<Verdict, StoreError> {
        self.with(session, async |session| session.verdict_write(statement, false).await)
    }

    fn run_at(&mut self, place: usize) -> RunId {
        let Some(period) = self.scenario.periods.get(place) else { return NO_RUN };
        let find = sqlx::query_scalar("SELECT id FROM run WHERE tenant_id = $1 AND period = $2");
        let found: Option<i64> =
            self.wait(find.bind(self.tenant.0).bind(*period).fetch_optional(&self.database.sql)).unwrap();
        found.map_or(NO_RUN, RunId)
    }

    fn is_open(&mut self, run: RunId) -> bool {
        let find = sqlx::query_scalar(
            "SELECT EXISTS (SELECT FROM batch WHERE run_id = $1 AND state IN ('ready', 'sending', 'accepted'))",
        );
        self.wait(find.bind(run.0).fetch_one(&self.database.sql)).unwrap()
    }

    fn ended(&mut self) -> Ended {
        self.end()
    }
}
