//! A database of a test's own, with a small tenant in it.

#![allow(dead_code)] // each test file uses its part

use std::time::Duration;

use payfleet_domain::{
    BatchId, Epoch, Money, Movement, Outcome, PayoutId, PayoutKey, Rail, Reference, RefusalCode, Role, RunId,
    StatementLine, TenantId, TokenHash,
};
use payfleet_store::{
    Applied, CommissionRow, CommissionRows, Feed, Intent, LeasedBatch, NewRun, Planned, Recorded, Report,
    StatementAccount, StatementSource, Store, TenantRail,
};
use sqlx::{PgPool, Row};
use time::OffsetDateTime;
use tokio::sync::mpsc;

pub const TTL: Duration = Duration::from_secs(60);

/// One commission of affiliate `a1`, in EUR.
pub fn commission_row(id: &str, minor: i64, earned_at: OffsetDateTime) -> CommissionRows {
    let amount = Money { minor, currency: "EUR".parse().unwrap() };
    let mut rows = CommissionRows::default();
    let reversal = payfleet_store::Reversal::default();
    rows.push(&CommissionRow { line: 2, id, affiliate: "a1", order_ref: "", amount, earned_at, reversal });
    rows
}

/// A file of this one row.
pub fn commission_file(id: &str, minor: i64, earned_at: OffsetDateTime) -> mpsc::Receiver<Feed<CommissionRows>> {
    let (sender, receiver) = mpsc::channel(2);
    sender.try_send(Feed::Rows(commission_row(id, minor, earned_at))).unwrap();
    sender.try_send(Feed::End).unwrap();
    receiver
}

/// A migrated database that is dropped at the end.
pub struct Db {
    pub store: Store,
    /// For looking, and for breaking things on purpose.
    pub sql: PgPool,
    name: String,
    admin: String,
}

impl Db {
    pub async fn new() -> Db {
        let db = Db::empty().await;
        db.store.schema_migrate().await.unwrap();
        db
    }

    /// Without a schema.
    pub async fn empty() -> Db {
        let admin = std::env::var("PAYFLEET_TEST_POSTGRES")
            .expect("PAYFLEET_TEST_POSTGRES must name a Postgres for tests; scripts/test starts one and sets it");
        let name = format!("test_{}", uuid::Uuid::new_v4().simple());
        let server = PgPool::connect(&admin).await.unwrap();
        sqlx::query(sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"))).execute(&server).await.unwrap();
        server.close().await;
        let url = format!("{}/{name}", admin.rsplit_once('/').unwrap().0);
        let store = Store::connect(&url, 8).await.unwrap();
        Db { store, sql: PgPool::connect(&url).await.unwrap(), name, admin }
    }

    /// What is kept of outcomes must be so after every test.
    pub async fn drop(self) {
        if self.scalar("SELECT to_regclass('batch_counted') IS NOT NULL").await {
            self.assert_outcomes_kept().await;
        }
        self.store.close().await;
        self.sql.close().await;
        let server = PgPool::connect(&self.admin).await.unwrap();
        let sql = format!("DROP DATABASE {} WITH (FORCE)", self.name);
        sqlx::query(sqlx::AssertSqlSafe(sql)).execute(&server).await.unwrap();
        server.close().await;
    }

    /// A tenant `name` with this many affiliates, each with 10.00 EUR due in 2026-01, paid by `rail`.
    pub async fn tenant(&self, name: &str, rail: &str, affiliates: i64) -> TenantId {
        let tenant = self.store.tenant_ensure(name, None).await.unwrap();
        let rail = TenantRail { method: "paypal".into(), rail: rail.into(), account: name.into(), credential: None };
        self.store.tenant_rail_set(tenant, rail).await.unwrap();
        for statement in [
            "INSERT INTO affiliate (tenant_id, external_id, name, email, country, currency)
             SELECT $1, 'a' || n, 'n', 'e', 'DE', 'EUR' FROM generate_series(1, $2) AS n",
            "INSERT INTO payout_method (tenant_id, affiliate_id, method, destination)
             SELECT $1, id, 'paypal', external_id || '@example.com' FROM affiliate WHERE tenant_id = $1 AND $2 > 0",
            "INSERT INTO account (tenant_id, affiliate_id, currency)
             SELECT $1, id, 'EUR' FROM affiliate WHERE tenant_id = $1 AND $2 > 0",
        ] {
            sqlx::query(statement).bind(tenant.0).bind(affiliates).execute(&self.sql).await.unwrap();
        }
        self.commissions(tenant, "2026-01-15T12:00:00Z", 1000).await;
        tenant
    }

    /// One commission for each affiliate of the tenant.
    pub async fn commissions(&self, tenant: TenantId, earned_at: &str, amount_minor: i64) {
        sqlx::query(
            "INSERT INTO commission (tenant_id, external_id, affiliate_id, currency, amount_minor, earned_at, due_at,
               kind, order_ref)
             SELECT $1, $2 || external_id, id, 'EUR', $3, $2::timestamptz, $2::timestamptz, CASE
               WHEN $3 < 0 THEN 'clawback' ELSE 'sale' END, ''
               FROM affiliate WHERE tenant_id = $1",
        )
        .bind(tenant.0)
        .bind(earned_at)
        .bind(amount_minor)
        .execute(&self.sql)
        .await
        .unwrap();
    }

    /// A run that is planned and that the fleet has not begun.
    pub async fn planned(&self, tenant: TenantId, period: &str, batch_size: u32) -> RunId {
        let new = NewRun { tenant, period: period.parse().unwrap(), sequence: 1, minimum: "1".parse().unwrap() };
        let (run, _) = self.store.run_create(new).await.unwrap();
        while self.store.plan_chunk(run.id, 7, batch_size).await.unwrap() != Planned::Complete {}
        run.id
    }

    /// Creates and plans a run, and lets the fleet begin on it.
    pub async fn run(&self, tenant: TenantId, period: &str, batch_size: u32) -> RunId {
        let run = self.planned(tenant, period, batch_size).await;
        self.store.runs_begin().await.unwrap();
        run
    }

    pub async fn batches(&self, run: RunId) -> Vec<BatchId> {
        let ids: Vec<i64> =
            sqlx::query_scalar("SELECT id FROM batch WHERE run_id = $1 AND state <> 'split' ORDER BY first_payout_id")
                .bind(run.0)
                .fetch_all(&self.sql)
                .await
                .unwrap();
        ids.into_iter().map(BatchId).collect()
    }

    pub async fn payouts(&self, run: RunId) -> Vec<PayoutId> {
        let ids: Vec<i64> = sqlx::query_scalar("SELECT id FROM payout WHERE run_id = $1 ORDER BY id")
            .bind(run.0)
            .fetch_all(&self.sql)
            .await
            .unwrap();
        ids.into_iter().map(PayoutId).collect()
    }

    pub async fn try_lease(&self, batch: BatchId) -> Option<LeasedBatch> {
        self.store.lease_acquire(batch, "w", TTL).await.unwrap()
    }

    pub async fn lease(&self, batch: BatchId) -> LeasedBatch {
        self.try_lease(batch).await.expect("the batch is free")
    }

    /// As if the lease's time were over.
    pub async fn expire_lease(&self, batch: BatchId) {
        self.change("UPDATE batch SET lease_until = '-infinity', available_at = '-infinity' WHERE id = $1", batch.0)
            .await;
    }

    /// As if everything about a batch had happened so many seconds earlier.
    pub async fn age(&self, batch: BatchId, secs: i64) {
        for statement in [
            "UPDATE batch SET first_sent_at = first_sent_at - $2 * interval '1 second' WHERE id = $1",
            "UPDATE attempt SET opened_at = opened_at - $2 * interval '1 second',
                    may_arrive_until = may_arrive_until - $2 * interval '1 second' WHERE batch_id = $1",
        ] {
            sqlx::query(statement).bind(batch.0).bind(secs).execute(&self.sql).await.unwrap();
        }
    }

    /// As if everything that was sent had been dead for days, and every statement had been read up to now.
    pub async fn all_is_dead_and_listed(&self) {
        self.all_is_dead().await;
        for statement in [
            "INSERT INTO rail_account (rail, account) SELECT rail, account FROM batch ON CONFLICT DO NOTHING",
            "UPDATE rail_account SET reaches_to = clock_timestamp(), reaches_ours = clock_timestamp()",
        ] {
            sqlx::query(statement).execute(&self.sql).await.unwrap();
        }
    }

    /// As if everything that was sent had been dead for days.
    pub async fn all_is_dead(&self) {
        let dead = "UPDATE attempt
                       SET opened_at = opened_at - interval '9 days',
                         may_arrive_until = may_arrive_until - interval '9 days'";
        sqlx::query(dead).execute(&self.sql).await.unwrap();
    }

    /// What a statement says of a payment as it was planned.
    pub async fn line(&self, payout: PayoutId, reference: &str) -> StatementLine {
        let (key, destination, external, currency, amount_minor): (uuid::Uuid, String, String, String, i64) =
            sqlx::query_as(
                "SELECT r.key, m.destination, a.external_id, p.currency::text, p.amount_minor
                   FROM payout p JOIN run r ON r.id = p.run_id
                   JOIN payout_method m ON m.id = p.method_id JOIN affiliate a ON a.id = p.affiliate_id
                  WHERE p.id = $1",
            )
            .bind(payout.0)
            .fetch_one(&self.sql)
            .await
            .unwrap();
        StatementLine {
            key: PayoutKey::derive(key, payout, &external, currency.parse().unwrap()).to_string(),
            reference: reference.to_owned(),
            amount_minor,
            fee_minor: 0,
            currency,
            destination,
            movement: Movement::Paid,
            at: None,
            of: None,
        }
    }

    /// Reads a part of the rail's own statement with this line alone; its account is the tenant's of [`Db::tenant`].
    pub async fn line_read(&self, rail: &str, line: StatementLine) -> Applied {
        let account = StatementAccount { rail: rail.into(), account: "t".into(), credential: None };
        let mut reading = self.store.account_open(&account, StatementSource::Rail).await.unwrap().unwrap();
        reading.line_add(line).await.unwrap();
        reading.end(None).await.unwrap().applied
    }

    /// An approver of all tenants.
    pub async fn approver(&self, name: &str) -> TokenHash {
        self.person(name, Role::Approver, None).await
    }

    /// A new person, and before the first of them an administrator.
    pub async fn person(&self, name: &str, role: Role, tenant: Option<TenantId>) -> TokenHash {
        let root = token("root");
        let add =
            |by, name: &str, role, tenant| self.store.person_add(by, name.parse().unwrap(), role, tenant, token(name));
        if self.scalar::<i64>("SELECT count(*) FROM person").await == 0 {
            add(None, "root", Role::Administrator, None).await.unwrap();
        }
        add(Some(root), name, role, tenant).await.unwrap();
        token(name)
    }

    /// Lets go of what the schema fixes, for tests that plant what no program writes.
    pub async fn unfix(&self) {
        sqlx::raw_sql("ALTER TABLE payout DISABLE TRIGGER payout_fixed; ALTER TABLE batch DISABLE TRIGGER batch_fixed")
            .execute(&self.sql)
            .await
            .unwrap();
    }

    pub async fn change(&self, statement: &'static str, id: i64) {
        sqlx::query(statement).bind(id).execute(&self.sql).await.unwrap();
    }

    pub async fn intent(&self, leased: &LeasedBatch) -> Intent {
        self.store.intent_write(leased.lease, "w", rail(&leased.rail), false).await.unwrap().expect("it may be sent")
    }

    pub async fn record(
        &self,
        leased: &LeasedBatch,
        intent: &Intent,
        outcome: impl Fn(PayoutId) -> Outcome,
    ) -> Recorded {
        self.store.outcomes_record(report(leased, intent, outcome)).await.unwrap()
    }

    /// Leases, intends and records one outcome for a whole batch.
    pub async fn pay(&self, batch: BatchId, outcome: impl Fn(PayoutId) -> Outcome) -> Recorded {
        let leased = self.lease(batch).await;
        let intent = self.intent(&leased).await;
        self.record(&leased, &intent, outcome).await
    }

    /// `paid 3, refused 1`
    pub async fn states(&self, run: RunId) -> String {
        let rows =
            sqlx::query("SELECT state, count(*) AS n FROM payout WHERE run_id = $1 GROUP BY state ORDER BY state")
                .bind(run.0)
                .fetch_all(&self.sql)
                .await
                .unwrap();
        let states: Vec<String> =
            rows.iter().map(|row| format!("{} {}", row.get::<String, _>("state"), row.get::<i64, _>("n"))).collect();
        states.join(", ")
    }

    pub async fn scalar<T>(&self, query: &'static str) -> T
    where
        T: for<'r> sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres> + Send + Unpin,
    {
        sqlx::query_scalar(query).fetch_one(&self.sql).await.unwrap()
    }

    /// How many sessions wait for a lock.
    pub async fn waiting(&self) -> i64 {
        self.scalar(
            "SELECT count(DISTINCT pid) FROM pg_locks l JOIN pg_stat_activity a USING (pid)
              WHERE NOT l.granted AND a.datname = current_database()",
        )
        .await
    }

    /// Waits until so many do.
    pub async fn until_waiting(&self, sessions: i64) {
        let since = std::time::Instant::now();
        while self.waiting().await < sessions {
            assert!(since.elapsed() < Duration::from_secs(30), "nobody waits");
            tokio::task::yield_now().await;
        }
    }

    /// Of each batch whose outcomes are believed, they are those of its payouts.
    pub async fn assert_outcomes_kept(&self) {
        let wrong: Vec<(i64, String, String)> =
            sqlx::query_as(include_str!("miscounted.sql")).fetch_all(&self.sql).await.unwrap();
        assert!(wrong.is_empty(), "batches that keep what is not so: {wrong:?}");
    }

    /// What must hold after every test: transfers follow states, balances follow transfers, each step at most once.
    pub async fn assert_ledger(&self) {
        let wrong: i64 = self
            .scalar(
                "SELECT count(*) FROM payout p
                   LEFT JOIN (SELECT payout_id, array_agg(kind::int ORDER BY kind) AS kinds,
                     bool_and(amount_minor > 0) AS positive
                                FROM transfer GROUP BY payout_id) t ON t.payout_id = p.id
                  WHERE NOT coalesce(t.kinds::text = ANY(CASE p.state
                          WHEN 'paid' THEN ARRAY['{0,2}', '{0,3,6}', '{0,2,4,6}', '{0,3,4,6,10}']
                          WHEN 'returned' THEN ARRAY['{0,2,4}', '{0,3,4,6}', '{0,2,4,6,8}']
                          WHEN 'refused' THEN ARRAY['{0,3}'] WHEN 'cancelled' THEN ARRAY['{0,3}']
                            ELSE ARRAY['{0}'] END), false)",
            )
            .await;
        assert_eq!(wrong, 0, "payouts whose transfers do not follow their state");
        let wrong: i64 = self
            .scalar(
                "SELECT count(*) FROM (
                   SELECT a.tenant_id, a.affiliate_id, a.currency, a.carried_minor,
                          coalesce((SELECT sum(c.amount_minor) FROM commission c
                             WHERE c.tenant_id = a.tenant_id AND c.affiliate_id = a.affiliate_id
                               AND c.currency = a.currency
                               AND EXISTS (SELECT FROM run r WHERE r.tenant_id = c.tenant_id AND r.state <> 'planning'
                                              AND (r.cutoff >= c.due_at AND c.late_for IS NULL
                                                OR r.ordinal = c.late_for))), 0)
                        + coalesce((SELECT sum(CASE WHEN t.kind IN (0, 6, 10) THEN -t.amount_minor
                          WHEN t.kind = 2 THEN 0 ELSE t.amount_minor END)
                             FROM transfer t JOIN payout p ON p.id = t.payout_id
                            WHERE p.tenant_id = a.tenant_id AND p.affiliate_id = a.affiliate_id
                              AND p.currency = a.currency), 0) AS expected
                     FROM account a) AS a WHERE carried_minor <> expected",
            )
            .await;
        assert_eq!(wrong, 0, "accounts whose balance does not follow from commissions and transfers");
    }
}

pub fn report(leased: &LeasedBatch, intent: &Intent, outcome: impl Fn(PayoutId) -> Outcome) -> Report {
    Report {
        batch: leased.lease.batch,
        epoch: leased.lease.epoch,
        attempt: Some(intent.attempt),
        outcomes: intent.orders.iter().map(|order| (order.payout, outcome(order.payout))).collect(),
        unanswered: false,
        refused_whole: false,
        available_in: Duration::ZERO,
        release: true,
    }
}

/// News that nobody's answer brought.
pub fn looked_up(batch: BatchId, epoch: Epoch, outcomes: Vec<(PayoutId, Outcome)>) -> Report {
    Report {
        batch,
        epoch,
        attempt: None,
        outcomes,
        unanswered: false,
        refused_whole: false,
        available_in: Duration::ZERO,
        release: true,
    }
}

/// The token of who has this name in a test.
pub fn token(name: &str) -> TokenHash {
    let mut random = [0; 32];
    random[..name.len()].copy_from_slice(name.as_bytes());
    TokenHash::of_new(random).1
}

pub fn rail(name: &str) -> &'static Rail {
    Rail::named(name).unwrap()
}

pub fn accepted(payout: PayoutId) -> Outcome {
    Outcome::Accepted(Reference(format!("ref-{payout}")))
}

pub fn paid(payout: PayoutId) -> Outcome {
    Outcome::Paid(Reference(format!("ref-{payout}")))
}

/// By what the payee can mend at the rail: the same destination may be tried again.
pub fn refused(_: PayoutId) -> Outcome {
    Outcome::Refused(RefusalCode::new("receiver_unregistered"))
}

/// For ever.
pub fn closed(_: PayoutId) -> Outcome {
    Outcome::Refused(RefusalCode::new("account_closed"))
}

pub fn unknown(_: PayoutId) -> Outcome {
    Outcome::Unknown
}
