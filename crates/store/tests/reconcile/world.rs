//! A small database with one tenant and two paid runs, built through the store's own guards, and the statement that
//! fits it.

use std::collections::HashSet;
use std::time::Duration;

use payfleet_domain::{
    DiscrepancyKind, HoldReason, Movement, Outcome, PayoutId, PayoutKey, Rail, Reference, RefusalCode, RunId, RunState,
    StatementEnd, StatementLine, TenantId,
};
use payfleet_store::{
    Applied, CloseVerdict, Compared, Discrepancy, NewRun, Planned, Report, RunRow, StatementAccount, StatementSource,
    Store, TenantRail,
};
use sqlx::{Connection, Executor, PgConnection, PgPool, Row};
use time::OffsetDateTime;

pub const DAY: Duration = Duration::from_secs(24 * 3600);

/// A database that is dropped with this.
pub struct Database {
    admin: String,
    name: String,
}

impl Database {
    async fn create(template: &str) -> Database {
        let admin = std::env::var("PAYFLEET_TEST_POSTGRES").expect(
            "PAYFLEET_TEST_POSTGRES is not set: run scripts/test, or name a server such as \
             postgres://postgres@127.0.0.1:5432/postgres",
        );
        let name = format!("recon_{}", uuid::Uuid::new_v4().simple());
        let mut connection = PgConnection::connect(&admin).await.unwrap();
        let sql = format!("CREATE DATABASE {name} TEMPLATE {template}");
        connection.execute(sqlx::AssertSqlSafe(sql)).await.unwrap();
        Database { admin, name }
    }

    async fn connect(&self) -> (Store, PgPool) {
        let (server, _) = self.admin.rsplit_once('/').unwrap();
        let url = format!("{server}/{}", self.name);
        let store = Store::connect(&url, 4).await.unwrap();
        let raw = sqlx::postgres::PgPoolOptions::new()
            .max_connections(1)
            .after_connect(|connection, _| {
                Box::pin(async move {
                    connection.execute("SET session_replication_role = replica").await?;
                    Ok(())
                })
            })
            .connect(&url)
            .await
            .unwrap();
        (store, raw)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let (admin, name) = (self.admin.clone(), self.name.clone());
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let mut connection = PgConnection::connect(&admin).await.unwrap();
                connection.execute(sqlx::AssertSqlSafe(format!("DROP DATABASE {name} WITH (FORCE)"))).await.unwrap();
            });
        });
        let _ = dropped.join();
    }
}

pub struct World {
    pub store: Store,
    /// For planting faults: triggers are off in its sessions, so that what must never change can be changed.
    pub raw: PgPool,
    pub first: RunRow,
    pub run: RunRow,
    pub tenant: TenantId,
    pub lines: Vec<StatementLine>,
    pub _database: Database,
}

/// A world to copy: quicker than building one each time.
pub struct Template(World);

impl Template {
    pub async fn copy(&self) -> World {
        let database = Database::create(&self.0._database.name).await;
        let (store, raw) = database.connect().await;
        World {
            store,
            raw,
            first: self.0.first.clone(),
            run: self.0.run.clone(),
            tenant: self.0.tenant,
            lines: self.0.lines.clone(),
            _database: database,
        }
    }
}

/// What a reconciliation said.
pub struct Said {
    pub state: RunState,
    pub verdict: Option<RunState>,
    pub applied: Applied,
    pub compared: Compared,
    pub found: Vec<Discrepancy>,
}

/// A difference as tests name it: its kind, and whose it is.
pub type Named = (DiscrepancyKind, Option<PayoutId>, Option<String>);

impl Said {
    pub fn named(&self) -> Vec<Named> {
        let mut named: Vec<Named> =
            self.found.iter().map(|one| (one.kind, one.payout, one.affiliate.clone())).collect();
        named.sort();
        named
    }
}

/// Affiliates go by tens: 0 has no method, 1 is paid by a bank file, 2 is below the minimum, 3 owes money, 4 has a
/// second currency, the others are paid one by one. The 999th owes in October exactly what it earns in November.
const PEOPLE: &str = "
  INSERT INTO affiliate (tenant_id, external_id, name, email, country, currency)
  SELECT $1, 'añn ' || i, 'Ann', 'ann@example.com', 'DE', 'EUR' FROM generate_series(1, $2) AS i
    UNION ALL SELECT $1, 'zero', 'Zoe', 'z@example.com', 'DE', 'EUR'";
const METHODS: &str = "
  INSERT INTO payout_method (tenant_id, affiliate_id, method, destination)
  SELECT $1, id, CASE id % 10 WHEN 1 THEN 'sepa' ELSE 'paypal' END, CASE id % 10 WHEN 1 THEN 'DE0012345' || id
    ELSE 'ann' || id || '@example.com' END
    FROM affiliate WHERE tenant_id = $1 AND id % 10 <> 0";
const COMMISSIONS: &str = "
  INSERT INTO commission (tenant_id, external_id, affiliate_id, currency, amount_minor, earned_at, due_at, kind,
    order_ref)
  SELECT $1, m || '/' || n || '/' || id, id, CASE WHEN id % 10 = 4 AND n = 2 THEN 'USD' ELSE 'EUR' END,
         CASE id % 10 WHEN 2 THEN 3 WHEN 3 THEN -50 ELSE 1000 + id * n END, at, at, CASE id % 10 WHEN 3 THEN 'clawback'
           ELSE 'sale' END, 'o'
    FROM affiliate, generate_series(1, 2) AS n,
      (VALUES (10, timestamptz '2011-10-15 12:00Z'), (11, '2011-11-15 12:00Z')) AS month (m, at)
   WHERE tenant_id = $1 AND external_id <> 'zero'
  UNION ALL
  SELECT $1, 'zero/' || amount, id, 'EUR', amount, at, at, CASE WHEN amount < 0 THEN 'clawback' ELSE 'sale' END, 'o'
    FROM affiliate, (VALUES (-500, timestamptz '2011-10-20Z'), (500, '2011-11-20Z')) AS entry (amount, at)
      WHERE tenant_id = $1 AND external_id = 'zero'";
const ACCOUNTS: &str = "INSERT INTO account (tenant_id, affiliate_id, currency)
                        SELECT DISTINCT tenant_id, affiliate_id, currency FROM commission WHERE tenant_id = $1";

impl World {
    /// Two settled runs. Of the second, the bank file waits for its statement, some payouts were refused, and one is
    /// held.
    pub async fn new(affiliates: i32) -> World {
        let world = World::planned(affiliates).await;
        pay(&world.store, world.run.id, usual).await;
        world.finish().await
    }

    /// Settles the run, and closes the connections, so that the database can be copied. Whoever copies it reads its
    /// statements anew.
    pub async fn into_template(self) -> Template {
        assert_eq!(self.reconcile().await.state, RunState::Reconciled);
        self.forget().await;
        self.store.close().await;
        self.raw.close().await;
        Template(self)
    }

    /// The first run is settled, the second is planned and has begun.
    pub async fn planned(affiliates: i32) -> World {
        let database = Database::create("template1").await;
        let (store, raw) = database.connect().await;
        store.schema_migrate().await.unwrap();
        let tenant = store.tenant_ensure("acme", None).await.unwrap();
        for (method, rail, account) in [("paypal", "sandbox-payout", "main"), ("sepa", "sandbox-file", "bank")] {
            let rail = TenantRail {
                method: method.to_owned(),
                rail: rail.to_owned(),
                account: account.to_owned(),
                credential: None,
            };
            store.tenant_rail_set(tenant, rail).await.unwrap();
        }
        sqlx::query(PEOPLE).bind(tenant.0).bind(affiliates).execute(&raw).await.unwrap();
        for sql in [METHODS, COMMISSIONS, ACCOUNTS] {
            sqlx::query(sql).bind(tenant.0).execute(&raw).await.unwrap();
        }
        let mut runs = Vec::new();
        for (n, period) in ["2011-10", "2011-11"].iter().enumerate() {
            let new = NewRun { tenant, period: period.parse().unwrap(), sequence: 1, minimum: "1.00".parse().unwrap() };
            let (run, _) = store.run_create(new).await.unwrap();
            while store.plan_chunk(run.id, 7, 5).await.unwrap() != Planned::Complete {}
            store.runs_begin().await.unwrap();
            let run = store.run_find(run.id).await.unwrap().unwrap();
            runs.push(run.clone());
            if n == 0 {
                pay(&store, run.id, |_, id| Outcome::Paid(Reference(format!("po_{id}")))).await;
                assert_eq!(store.run_close(run.id).await.unwrap(), CloseVerdict::Settled);
            }
        }
        let run = runs.pop().unwrap();
        let first = runs.pop().unwrap();
        World { store, raw, first, run, tenant, lines: Vec::new(), _database: database }
    }

    /// The statement that fits, and the run closed as far as it can be without it.
    pub async fn finish(mut self) -> World {
        self.lines = self.statement(self.run.id).await;
        self.run = self.store.run_find(self.run.id).await.unwrap().unwrap();
        self
    }

    /// Everything that statements ever said is forgotten: as if they had not been read.
    pub async fn forget(&self) {
        let forget = "TRUNCATE statement_part, statement_line, statement_line_named, stray_booked, movement, listed,
                      listed_by_file, contest;
                      UPDATE rail_account SET reaches_to = '-infinity', reaches_ours = '-infinity',
                        file_reaches = '-infinity'";
        self.raw.execute(forget).await.unwrap();
    }

    /// Somebody has looked at every alarm.
    pub async fn answer_alarms(&self) {
        let answer = "INSERT INTO person (name, name_key, role, token_hash)
                      VALUES ('Ann', 'ann', 'operator', sha256('a')) ON CONFLICT DO NOTHING;
                      INSERT INTO alarm_answer (alarm_id, person_id, words) SELECT o.id, p.id, 'looked at'
                        FROM alarm_open o, person p WHERE p.name_key = 'ann'";
        self.raw.execute(answer).await.unwrap();
    }

    /// What the rails would truthfully say of a run.
    pub async fn statement(&self, run: RunId) -> Vec<StatementLine> {
        let row = self.store.run_find(run).await.unwrap().unwrap();
        let rows = sqlx::query(
            "SELECT p.id, a.external_id, p.amount_minor, p.currency::text AS currency, m.destination, p.state,
               p.reference
               FROM payout p JOIN affiliate a ON a.id = p.affiliate_id JOIN payout_method m ON m.id = p.method_id
              WHERE p.run_id = $1 AND p.state IN ('paid', 'accepted') ORDER BY p.id",
        )
        .bind(run.0)
        .fetch_all(&self.raw)
        .await
        .unwrap();
        rows.iter()
            .map(|line| {
                let payout = PayoutId(line.get("id"));
                let currency: String = line.get("currency");
                let reference = match line.get::<&str, _>("state") {
                    "accepted" => format!("bank_{payout}"),
                    _ => line.get("reference"),
                };
                StatementLine {
                    key: PayoutKey::derive(row.key, payout, line.get("external_id"), currency.parse().unwrap())
                        .to_string(),
                    reference,
                    amount_minor: line.get("amount_minor"),
                    currency,
                    destination: line.get("destination"),
                    fee_minor: 0,
                    movement: Movement::Paid,
                    at: None,
                    of: None,
                }
            })
            .collect()
    }

    /// Does what the reconciler does.
    pub async fn reconcile(&self) -> Said {
        self.reconcile_while(async {}).await
    }

    /// The same, with something that happens while the statements are on their way.
    pub async fn reconcile_while(&self, meanwhile: impl Future<Output = ()>) -> Said {
        let run = self.store.run_find(self.run.id).await.unwrap().unwrap();
        let mut session = self.store.reconciliation_open(&run).await.unwrap().expect("nobody else is at it");
        let applied = self.read_while(meanwhile).await;
        self.store.run_close(run.id).await.unwrap();
        assert_eq!(session.batches_open().await.unwrap(), []);
        let compared = session.compare(DAY).await.unwrap();
        let verdict = session.verdict_write("test", false).await.unwrap();
        let found = session.discrepancies_read(0, 10_000).await.unwrap();
        assert_eq!(found.len() as i64, compared.discrepancies);
        session.close().await.unwrap();
        Said { state: verdict.state, verdict: verdict.verdict, applied, compared, found }
    }

    /// Takes in the statements of both accounts.
    pub async fn read(&self) -> Applied {
        self.read_while(async {}).await
    }

    async fn read_while(&self, meanwhile: impl Future<Output = ()>) -> Applied {
        let bank: Vec<(i64, i64)> =
            sqlx::query_as("SELECT first_payout_id, last_payout_id FROM batch WHERE rail = 'sandbox-file'")
                .fetch_all(&self.raw)
                .await
                .unwrap();
        let is_of_bank = |line: &&StatementLine| {
            let number = line.key.split('-').next().and_then(|number| number.parse::<i64>().ok());
            number.is_some_and(|id| bank.iter().any(|(first, last)| (*first..=*last).contains(&id)))
        };
        let (of_bank, of_main): (Vec<_>, Vec<_>) = self.lines.iter().partition(is_of_bank);
        let mut readings = Vec::new();
        for (rail, account) in [("sandbox-payout", "main"), ("sandbox-file", "bank")] {
            let account = StatementAccount { rail: rail.to_owned(), account: account.to_owned(), credential: None };
            let reading = self.store.account_open(&account, StatementSource::Rail).await.unwrap();
            readings.push(reading.expect("nobody else is at it"));
        }
        meanwhile.await;
        let mut applied = Applied::default();
        for (mut reading, lines) in readings.into_iter().zip([of_main, of_bank]) {
            for line in &lines {
                reading.line_add((*line).clone()).await.unwrap();
            }
            let now = OffsetDateTime::now_utc();
            let from = reading.from().unwrap_or(now);
            let end = StatementEnd {
                from,
                until: now.max(from),
                now: now.max(from),
                open_from: None,
                lines: lines.len() as u64,
            };
            applied += reading.end(Some(end)).await.unwrap().applied;
        }
        applied
    }

    /// Payouts of the run in a state, in order.
    pub async fn payouts(&self, state: &str) -> Vec<PayoutId> {
        let rows: Vec<i64> = sqlx::query_scalar("SELECT id FROM payout WHERE run_id = $1 AND state = $2 ORDER BY id")
            .bind(self.run.id.0)
            .bind(state)
            .fetch_all(&self.raw)
            .await
            .unwrap();
        rows.into_iter().map(PayoutId).collect()
    }

    pub async fn affiliate(&self, payout: PayoutId) -> String {
        sqlx::query_scalar(
            "SELECT a.external_id FROM payout p JOIN affiliate a ON a.id = p.affiliate_id WHERE p.id = $1",
        )
        .bind(payout.0)
        .fetch_one(&self.raw)
        .await
        .unwrap()
    }

    /// The key of a payout of the tested run, as `PayoutKey` derives it.
    pub async fn key(&self, payout: PayoutId) -> String {
        let currency: String = sqlx::query_scalar("SELECT currency::text FROM payout WHERE id = $1")
            .bind(payout.0)
            .fetch_one(&self.raw)
            .await
            .unwrap();
        let affiliate = self.affiliate(payout).await;
        PayoutKey::derive(self.run.key, payout, &affiliate, currency.parse().unwrap()).to_string()
    }

    /// A payment of a payout of the tested run, just as it was ordered.
    pub async fn line_of(&self, payout: PayoutId) -> StatementLine {
        let (amount_minor, currency, destination): (i64, String, String) = sqlx::query_as(
            "SELECT p.amount_minor, p.currency::text, m.destination
               FROM payout p JOIN payout_method m ON m.id = p.method_id
              WHERE p.id = $1",
        )
        .bind(payout.0)
        .fetch_one(&self.raw)
        .await
        .unwrap();
        StatementLine {
            key: self.key(payout).await,
            reference: format!("po_{payout}"),
            amount_minor,
            currency,
            destination,
            fee_minor: 0,
            movement: Movement::Paid,
            at: None,
            of: None,
        }
    }

    /// Carries out a statement that no program of ours would.
    pub async fn tamper(&self, sql: String) {
        let done = sqlx::query(sqlx::AssertSqlSafe(sql.clone())).execute(&self.raw).await.unwrap();
        assert!(done.rows_affected() > 0, "nothing was changed by {sql}");
    }

    /// Records that a paid payout came back, as a worker does that looked it up.
    pub async fn returned(&self, payout: PayoutId, reference: &str) {
        self.learned(payout, Outcome::Returned(Reference(reference.to_owned()))).await;
    }

    /// What becomes known of one payout, long after it was sent.
    pub async fn learned(&self, payout: PayoutId, outcome: Outcome) {
        let batch: i64 = sqlx::query_scalar(
            "SELECT id
               FROM batch
              WHERE run_id = $1 AND state <> 'split' AND $2 BETWEEN first_payout_id AND last_payout_id",
        )
        .bind(self.run.id.0)
        .bind(payout.0)
        .fetch_one(&self.raw)
        .await
        .unwrap();
        let report = Report {
            batch: payfleet_domain::BatchId(batch),
            epoch: payfleet_domain::Epoch(0),
            attempt: None,
            outcomes: vec![(payout, outcome)],
            unanswered: false,
            refused_whole: false,
            available_in: Duration::ZERO,
            release: true,
        };
        self.store.outcomes_record(report).await.unwrap();
    }
}

/// What the rails say of the second run: a few are refused, one bank file is lost and held, the others wait for the
/// statement.
fn usual(rail: &str, payout: PayoutId) -> Outcome {
    match (rail, payout.0 % 5) {
        ("sandbox-file", 0 | 1) => Outcome::Unknown,
        ("sandbox-file", _) => Outcome::Accepted(Reference("file_1".to_owned())),
        (_, 3) => Outcome::Refused(RefusalCode::new("account_closed")),
        _ => Outcome::Paid(Reference(format!("po_{payout}"))),
    }
}

/// Pays every open batch once, with what the rail says of each payout.
pub async fn pay(store: &Store, run: RunId, says: impl Fn(&str, PayoutId) -> Outcome) {
    for rail in store.rails_open().await.unwrap() {
        let rail = Rail::named(&rail).unwrap();
        let due = store.batches_due(rail.name, HashSet::new(), 10_000).await.unwrap();
        for batch in due {
            let ttl = Duration::from_secs(60);
            let Some(leased) = store.lease_acquire(batch, "w", ttl).await.unwrap() else { continue };
            if leased.run != run || leased.facts.state != payfleet_domain::BatchState::Ready {
                continue;
            }
            let intent = store.intent_write(leased.lease, "w", rail, false).await.unwrap().unwrap();
            let outcomes: Vec<_> =
                intent.orders.iter().map(|order| (order.payout, says(rail.name, order.payout))).collect();
            let lost = outcomes.iter().any(|(_, outcome)| *outcome == Outcome::Unknown);
            let report = Report {
                batch,
                epoch: leased.lease.epoch,
                attempt: Some(intent.attempt),
                outcomes,
                unanswered: false,
                refused_whole: false,
                available_in: Duration::ZERO,
                release: !lost,
            };
            store.outcomes_record(report).await.unwrap();
            if lost {
                store.batch_hold(leased.lease, HoldReason::NoWayToKnow).await.unwrap();
            }
        }
    }
}
